"""Requests to an ASGI application without a server or a network, or over loopback."""

import asyncio
import json
import socket
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

import uvicorn
from starlette.types import ASGIApp, Message

from otel_ml_collector.access import OPEN, put_access

HOST = "localhost:4318"


@dataclass(frozen=True, slots=True)
class Answered:
    """The response to a request; header names are lower-case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def ask(
    app: ASGIApp,
    target: str,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: Iterable[bytes] = (b"",),
) -> Answered:
    """Send one request to the application; the target is a path with its query."""
    return asyncio.run(ask_async(app, target, method=method, headers=headers, body=body))


async def ask_async(
    app: ASGIApp,
    target: str,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: Iterable[bytes] = (b"",),
) -> Answered:
    """Send one request like `ask`, from within a running event loop."""
    given, parts_of_body = {"host": HOST, **(headers or {})}, list(body)
    parts = urlsplit(target)
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(parts.path),
        "raw_path": parts.path.encode(),
        "query_string": parts.query.encode(),
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode()) for name, value in given.items()],
        "client": ("127.0.0.1", 50_000),
        "server": ("127.0.0.1", 4318),
    }
    put_access(scope, OPEN)  # normally set by the access gate
    waiting: list[Message] = [
        {"type": "http.request", "body": part, "more_body": place < len(parts_of_body) - 1}
        for place, part in enumerate(parts_of_body)
    ]
    sent: list[Message] = []

    answered = asyncio.Event()

    async def receive() -> Message:
        if not waiting:  # the client stays connected until it has its response
            await answered.wait()
        return waiting.pop(0) if waiting else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body"):
            answered.set()

    await app(scope, receive, send)
    return Answered(
        status=sent[0]["status"],
        headers={name.decode(): value.decode() for name, value in sent[0]["headers"]},
        body=b"".join(message.get("body", b"") for message in sent[1:]),
    )


@contextmanager
def served(app: ASGIApp) -> Iterator[str]:
    """Serve an application at a local address."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
        listener.close()
        assert not thread.is_alive()
