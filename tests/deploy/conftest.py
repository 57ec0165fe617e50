"""A collector that has something to count, for the checks of metrics and queries."""

from collections.abc import Iterator

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from tests.support.collector import CollectorProcess

PROTOBUF = {"Content-Type": "application/x-protobuf"}


@pytest.fixture(scope="session")
def counting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CollectorProcess]:
    """A collector that has stored a span, rejected a span, and refused a request."""
    process = CollectorProcess(tmp_path_factory.mktemp("counting"))
    try:
        process.wait_ready()
        spans = [Span(trace_id=b"t" * 16, span_id=b"s" * 8, name="stored"), Span(name="no ids")]
        scopes = [ScopeSpans(spans=spans)]
        request = ExportTraceServiceRequest(resource_spans=[ResourceSpans(scope_spans=scopes)])
        assert process.post("/v1/traces", request.SerializeToString(), PROTOBUF)[0] == 200
        assert process.post("/v1/traces", b"\xff", PROTOBUF)[0] == 400
        yield process
    finally:
        process.kill()
