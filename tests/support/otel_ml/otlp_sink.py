"""A real OTLP/HTTP server on loopback that keeps everything it receives."""

import gzip
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.support.ports import free_port


@dataclass(frozen=True, slots=True)
class Received:
    """One request: its path, its lower-case headers, and its spans as attribute dicts.

    Also the run ids of the spans, their events, and the arrival time on the monotonic clock.
    """

    path: str
    headers: dict[str, str]
    spans: list[dict[str, Any]]
    ids: list[str]
    at_s: float
    events: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Reply:
    """The server's response to a request."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(slots=True)
class Sink:
    """The requests that a server received; `address` is its base address.

    Attributes:
        reply: Returns the response to a request, in a separate thread; success by default.
        taken: The requests with a success response.
        documents: Uploaded documents, by address relative to the base address.
    """

    address: str
    requests: list[Received] = field(default_factory=list)
    reply: Callable[[Received], Reply] = lambda _: Reply()
    taken: list[Received] = field(default_factory=list)
    documents: dict[str, bytes] = field(default_factory=dict)

    @property
    def spans(self) -> list[dict[str, Any]]:
        """All accepted spans: attributes, with the span's name under ``name``."""
        return [span for request in list(self.taken) for span in request.spans]

    @property
    def ids(self) -> list[str]:
        """The run ids of all accepted spans."""
        return [run_id for request in list(self.taken) for run_id in request.ids]

    @property
    def events(self) -> list[dict[str, Any]]:
        """All events of accepted spans: attributes, with the name under ``name``."""
        return [event for request in list(self.taken) for event in request.events]

    @property
    def runs(self) -> list[dict[str, Any]]:
        """The accepted spans that are runs, not records about a run or the process."""
        return [span for span in self.spans if "otel_ml.record" not in span]

    @property
    def paths(self) -> list[str]:
        return [request.path for request in list(self.requests)]


@contextmanager
def open_sink(port: int = 0) -> Iterator[Sink]:
    """Serve until the block ends; respond to every request with success."""
    server = ThreadingHTTPServer(("127.0.0.1", port), _Handler)
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
    """Return a loopback address where nothing listens."""
    return f"http://127.0.0.1:{free_port()}"


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        request = ExportTraceServiceRequest.FromString(body)
        headers = {key.lower(): value for key, value in self.headers.items()}
        sink: Sink = self.server.sink  # type: ignore[attr-defined]  # set by open_sink
        received = Received(
            self.path,
            headers,
            list(_spans(request)),
            list(_ids(request)),
            time.monotonic(),
            list(_events(request)),
        )
        sink.requests.append(received)
        reply = sink.reply(received)
        if reply.status == 200:
            sink.taken.append(received)
        with suppress(OSError):  # the client disconnected
            self._answer(reply)

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {key.lower(): value for key, value in self.headers.items()}
        sink: Sink = self.server.sink  # type: ignore[attr-defined]  # set by open_sink
        received = Received(self.path, headers, [], [], time.monotonic())
        sink.requests.append(received)
        reply = sink.reply(received)
        if reply.status == 200:
            sink.documents[self.path] = body
        with suppress(OSError):  # the client disconnected
            self._answer(reply)

    def _answer(self, reply: Reply) -> None:
        self.send_response(reply.status)
        for name, text in reply.headers.items():
            self.send_header(name, text)
        self.send_header("content-length", str(len(reply.body)))
        self.end_headers()
        self.wfile.write(reply.body)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing, to keep the test's output clean."""


def _spans(request: ExportTraceServiceRequest) -> Iterator[dict[str, Any]]:
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                attributes = {item.key: _value(item.value) for item in span.attributes}
                yield {"name": span.name, **attributes}


def _events(request: ExportTraceServiceRequest) -> Iterator[dict[str, Any]]:
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                for event in span.events:
                    attributes = {item.key: _value(item.value) for item in event.attributes}
                    yield {"name": event.name, **attributes}


def _ids(request: ExportTraceServiceRequest) -> Iterator[str]:
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield f"{span.trace_id.hex()}-{span.span_id.hex()}"


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    return getattr(value, kind)
