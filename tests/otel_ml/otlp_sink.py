"""A real OTLP/HTTP server on loopback that keeps what it was sent."""

import gzip
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True, slots=True)
class Received:
    """One request: where it went, its headers in lower case, its spans as attribute dicts."""

    path: str
    headers: dict[str, str]
    spans: list[dict[str, Any]]


@dataclass(slots=True)
class Sink:
    """What the server got; `address` is its base address."""

    address: str
    requests: list[Received] = field(default_factory=list)

    @property
    def spans(self) -> list[dict[str, Any]]:
        """All spans of all requests: attributes, with the span's name under ``name``."""
        return [span for request in list(self.requests) for span in request.spans]

    @property
    def paths(self) -> list[str]:
        return [request.path for request in list(self.requests)]


@contextmanager
def open_sink() -> Iterator[Sink]:
    """Serve until the block ends; answers every request with success."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    sink = Sink(f"http://127.0.0.1:{server.server_port}")
    server.sink = sink  # type: ignore[attr-defined]  # the handler finds it there
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield sink
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def closed_address() -> str:
    """An address of loopback where nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        request = ExportTraceServiceRequest.FromString(body)
        headers = {key.lower(): value for key, value in self.headers.items()}
        self.server.sink.requests.append(  # type: ignore[attr-defined]  # set by open_sink
            Received(self.path, headers, list(_spans(request)))
        )
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test's output clean."""


def _spans(request: ExportTraceServiceRequest) -> Iterator[dict[str, Any]]:
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                attributes = {item.key: _value(item.value) for item in span.attributes}
                yield {"name": span.name, **attributes}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    return getattr(value, kind)
