"""A real OTLP/HTTP server on loopback that keeps the requests it receives."""

import gzip
import ssl
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from tests.support.certificates import Certificate


@dataclass(slots=True)
class Receiver:
    """The requests that a server received; `address` is its base address."""

    address: str
    requests: list[ExportTraceServiceRequest] = field(default_factory=list)

    @property
    def spans(self) -> dict[str, dict[str, Any]]:
        """Return all received spans by span id, with their resource and scope."""
        return {
            span.span_id.hex(): {
                "name": span.name,
                "trace_id": span.trace_id.hex(),
                "parent_id": span.parent_span_id.hex(),
                "trace_state": span.trace_state,
                "flags": span.flags,
                "kind": span.kind,
                "start_ns": span.start_time_unix_nano,
                "end_ns": span.end_time_unix_nano,
                "attributes": _attributes(span.attributes),
                "events": [
                    (event.name, event.time_unix_nano, _attributes(event.attributes))
                    for event in span.events
                ],
                "links": [
                    (link.trace_id.hex(), link.span_id.hex(), _attributes(link.attributes))
                    for link in span.links
                ],
                "status": (span.status.code, span.status.message),
                "dropped": (
                    span.dropped_attributes_count,
                    span.dropped_events_count,
                    span.dropped_links_count,
                ),
                "scope": (scope.scope.name, scope.scope.version),
                "scope_attributes": _attributes(scope.scope.attributes),
                "resource": _attributes(resource.resource.attributes),
                "schema_urls": (resource.schema_url, scope.schema_url),
            }
            for request in list(self.requests)
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        }

    @property
    def messages(self) -> dict[str, dict[str, Any]]:
        """Return otel-ml's spans as received, with value types and attribute order."""
        return {
            span.span_id.hex(): MessageToDict(span)
            for request in list(self.requests)
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
            if scope.scope.name == "otel_ml"
        }

    @property
    def ours(self) -> dict[str, dict[str, Any]]:
        """Return the spans of otel-ml's scope."""
        return {key: span for key, span in self.spans.items() if span["scope"][0] == "otel_ml"}

    @property
    def names(self) -> list[str]:
        """Return the names of all received spans, sorted."""
        return sorted(span["name"] for span in self.spans.values())

    def named(self, name: str) -> dict[str, Any]:
        """Return the only span with a name, including its id."""
        [found] = [(key, span) for key, span in self.spans.items() if span["name"] == name]
        return {"span_id": found[0], **found[1]}


@contextmanager
def open_receiver(certificate: Certificate | None = None) -> Iterator[Receiver]:
    """Serve until the block ends, over TLS with a certificate; respond to all with success."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    scheme = "http"
    if certificate is not None:
        scheme, tls = "https", ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificate.cert, certificate.key)
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    receiver = Receiver(f"{scheme}://127.0.0.1:{server.server_port}")
    server.receiver = receiver  # type: ignore[attr-defined]  # the handler finds it there
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        if self.path.endswith("/v1/traces"):
            self.server.receiver.requests.append(  # type: ignore[attr-defined]  # set above
                ExportTraceServiceRequest.FromString(body)
            )
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing, to keep the test's output clean."""


def _attributes(pairs: Iterable[KeyValue]) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    if kind == "kvlist_value":
        return _attributes(value.kvlist_value.values)
    return None if kind is None else getattr(value, kind)
