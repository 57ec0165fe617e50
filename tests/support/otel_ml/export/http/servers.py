"""Real servers on loopback (good, slow and odd ones), and requests to them."""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import BaseRequestHandler, BaseServer, ThreadingTCPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)

from otel_ml.export.answer import Answer
from otel_ml.export.http import HttpSender
from otel_ml.export.settings import ExportSettings
from tests.support.waiting import elapsed, wait_until

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
DELIVERED = Answer(delivered=True)
TIMED_OUT = Answer(delivered=False, retry=True, message="timed out")
HUNG_UP = Answer(delivered=False, retry=True, message="connection closed by the receiver")
SHORT_S = 0.3
LONG_S = 20.0


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True)
class Receiver:
    """An HTTP/1.1 server: its requests, number of connections, and current response."""

    address: str = ""
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    reply: tuple[int, dict[str, str], bytes] = (200, {}, b"")

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        self.reply = (status, named, body)


@contextmanager
def serve(server: BaseServer) -> Iterator[None]:
    """Serve until the block ends, then wait for the threads of all connections."""
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def open_receiver(tls: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def setup(self) -> None:
            if tls is not None:
                self.request = tls.wrap_socket(self.request, server_side=True)
            super().setup()
            receiver.connections += 1

        def do_POST(self) -> None:
            headers = {name.lower(): text for name, text in self.headers.items()}
            body = self.rfile.read(int(headers["content-length"]))
            receiver.requests.append(Request(self.command, self.path, headers, body))
            status, named, reply = receiver.reply
            self.send_response(status)
            for name, text in named.items():
                self.send_header(name, text)
            if status != 204:
                self.send_header("content-length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply)

        def finish(self) -> None:
            super().finish()
            self.request.close()

        def log_message(self, format: str, *args: object) -> None:
            """Log nothing, to keep the test's output clean."""

    class Server(ThreadingHTTPServer):
        daemon_threads = False

        def handle_error(self, request: object, client_address: object) -> None:
            """Ignore clients that reject the certificate and disconnect: the tests expect it."""

    server = Server(("127.0.0.1", 0), Handler)
    receiver.address = f"http{'s' if tls else ''}://127.0.0.1:{server.server_port}"
    with serve(server):
        yield receiver


@contextmanager
def open_raw(handle: Callable[[socket.socket], None]) -> Iterator[str]:
    """Handle connections with a function; yield the server's address."""

    class Handler(BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):  # the client disconnected
                handle(self.request)

    server = ThreadingTCPServer(("127.0.0.1", 0), Handler)
    with serve(server):
        yield f"http://127.0.0.1:{server.server_address[1]}"


def read_request(connection: socket.socket) -> bytes:
    """Read one request, head and body; return nothing if the client closed the connection."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += (chunk := connection.recv(65536))
        if not chunk:
            return b""
    head, _, body = data.partition(b"\r\n\r\n")
    [length] = [
        int(line.split(b":")[1])
        for line in head.lower().split(b"\r\n")
        if line.startswith(b"content-length:")
    ] or [0]
    while len(body) < length:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def answer_all(connection: socket.socket, answer: bytes) -> None:
    while read_request(connection):
        connection.sendall(answer)


@contextmanager
def open_sender(address: str, **changes: object) -> Iterator[HttpSender]:
    chosen = ExportSettings(url=f"{address}/v1/traces", page=address)
    sender = HttpSender(replace(chosen, **changes))  # type: ignore[arg-type]  # fields of ExportSettings
    try:
        yield sender
    finally:
        sender.close()


def send_once(address: str, timeout_s: float = LONG_S, **changes: object) -> Answer:
    with open_sender(address, **changes) as sender:
        return sender.post(b"body", timeout_s)


def drip(connection: socket.socket, data: bytes) -> None:
    """Send a byte now and then until the client disconnects."""
    for byte in data:
        connection.sendall(bytes([byte]))
        wait_until(elapsed(0.02))


def silent(connection: socket.socket) -> None:
    while connection.recv(65536):
        pass


@contextmanager
def takes(least_s: float, most_s: float) -> Iterator[None]:
    began = time.monotonic()
    yield
    assert least_s <= time.monotonic() - began < most_s


def partial(rejected: int, message: str) -> bytes:
    return ExportTraceServiceResponse(
        partial_success=ExportTracePartialSuccess(rejected_spans=rejected, error_message=message)
    ).SerializeToString()
