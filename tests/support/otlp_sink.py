"""Real HTTP and gRPC servers that keep each OTLP request as received, byte by byte."""

import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ssl import SSLContext

import grpc

_SERVICES = (
    "opentelemetry.proto.collector.trace.v1.TraceService",
    "opentelemetry.proto.collector.logs.v1.LogsService",
)


@dataclass(frozen=True, slots=True)
class Sent:
    """One request: path, headers, body, and arrival time."""

    path: str
    headers: dict[str, str]
    body: bytes
    at_s: float


@dataclass(frozen=True, slots=True)
class Reply:
    """A sink's response: over HTTP a status, over gRPC a code and its details."""

    status: int = 200
    headers: Sequence[tuple[str, str]] = ()
    body: bytes = b""
    code: grpc.StatusCode = grpc.StatusCode.OK


@dataclass(slots=True)
class Sink:
    """The requests that a server received.

    Attributes:
        address: ``host:port``.
        requests: The requests, in order.
        replies: The next responses, in order; success when none is left.
        may_answer: The server responds while this is set.
        takes_otlp: Whether it accepts OTLP. Clients of another test may still send to a server that
            used the port before.
    """

    address: str
    requests: list[Sent] = field(default_factory=list)
    replies: deque[Reply] = field(default_factory=deque)
    may_answer: threading.Event = field(default_factory=threading.Event)
    takes_otlp: bool = True

    def __post_init__(self) -> None:
        self.may_answer.set()

    def take(self, request: Sent) -> Reply:
        self.requests.append(request)
        self.may_answer.wait(30)
        return self.replies.popleft() if self.replies else Reply()


@contextmanager
def http_sink(
    port: int = 0, tls: SSLContext | None = None, *, takes_otlp: bool = True
) -> Iterator[Sink]:
    """Serve OTLP or any other requests over HTTP until the block ends."""
    server = ThreadingHTTPServer(("127.0.0.1", port), _Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    sink = Sink(f"127.0.0.1:{server.server_port}", takes_otlp=takes_otlp)
    server.sink = sink  # type: ignore[attr-defined]  # the handler finds it there
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield sink
    finally:
        sink.may_answer.set()
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def grpc_sink() -> Iterator[Sink]:
    """Serve OTLP over gRPC until the block ends."""
    server = grpc.server(ThreadPoolExecutor(4))
    sink = Sink(f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}")

    def export(body: bytes, context: grpc.ServicerContext) -> bytes:
        headers = {key: str(value) for key, value in context.invocation_metadata()}
        reply = sink.take(Sent("", headers, body, time.monotonic()))
        if reply.code is not grpc.StatusCode.OK:
            context.set_trailing_metadata((("grpc-status-details-bin", reply.body),))
            context.abort(reply.code, "no")
        return b""

    method: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(export)
    for service in _SERVICES:
        handler = grpc.method_handlers_generic_handler(service, {"Export": method})
        server.add_generic_rpc_handlers((handler,))
    server.start()
    try:
        yield sink
    finally:
        server.stop(0).wait()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        sink: Sink = self.server.sink  # type: ignore[attr-defined]  # set above
        is_foreign = self.path.startswith("/v1/") and not sink.takes_otlp
        sent = Sent(self.path, headers, body, time.monotonic())
        reply = Reply(404) if is_foreign else sink.take(sent)
        self.send_response(reply.status)
        for name, value in reply.headers:
            self.send_header(name, value)
        self.send_header("content-length", str(len(reply.body)))
        self.end_headers()
        self.wfile.write(reply.body)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing, to keep the test's output clean."""
