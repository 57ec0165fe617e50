"""Tests of the limit on clients that do not read their responses."""

import asyncio
import socket

from starlette.types import Receive, Scope, Send
from uvicorn import Config
from uvicorn.server import ServerState

from otel_ml_collector.serve.http_server import Limits, make_protocol
from tests.support.waiting import async_wait_until

CHUNK = bytes(1 << 20)
CHUNKS = 64
REQUEST = b"GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n"


async def ask(reads: bool) -> int:
    """Request more than the buffers hold; return the number of bytes that the client read.

    This returns once the application is done and the server has dropped the connection, while the
    client still holds it.
    """
    ended = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for number in range(CHUNKS):
            last = number == CHUNKS - 1
            await send({"type": "http.response.body", "body": CHUNK, "more_body": not last})
        ended.set()

    protocol, state = make_protocol(Limits(unread_s=0.3)), ServerState()
    config = Config(app, http=protocol, lifespan="off", log_config=None)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: protocol(config, state, {}), "127.0.0.1", 0)
    received = 0
    with socket.create_connection(server.sockets[0].getsockname()) as client:
        client.setblocking(False)
        await loop.sock_sendall(client, REQUEST)
        while reads and (part := await loop.sock_recv(client, len(CHUNK))):
            received += len(part)
        await ended.wait()
        await async_wait_until(lambda: not state.connections)
    server.close()
    return received


def test_unread_answer() -> None:
    """A client that does not read its response is disconnected after a while."""
    assert asyncio.run(asyncio.wait_for(ask(reads=False), 20)) == 0


def test_read_answer() -> None:
    """A client that reads gets a complete response, even if it is larger than the buffers."""
    assert asyncio.run(asyncio.wait_for(ask(reads=True), 20)) > CHUNKS * len(CHUNK)
