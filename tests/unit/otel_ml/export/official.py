"""The official encoder of the installed SDK, and the values that its version can write."""

from collections.abc import Sequence
from typing import Any

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans as encode_official
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext

from otel_ml.export.encoder import encode_spans

CONTEXT = SpanContext(trace_id=2**100 + 1, span_id=2**50 + 1, is_remote=False)
RESOURCE = Resource({"service.name": "tested"})


def make_span(**parts: Any) -> ReadableSpan:
    """Build a span directly, with only the given parts."""
    return ReadableSpan(**{"name": "run", "context": CONTEXT, "resource": RESOURCE, **parts})


def decode(body: bytes) -> ExportTraceServiceRequest:
    return ExportTraceServiceRequest.FromString(body)


def decode_only_span(body: bytes) -> Span:
    [resource_spans] = decode(body).resource_spans
    [scope_spans] = resource_spans.scope_spans
    [span] = scope_spans.spans
    return span


def attributes_of(span: ReadableSpan) -> dict[str, AnyValue]:
    """Encode one span and return its attributes."""
    encoded = encode_spans([span])
    assert (encoded.spans, encoded.failed) == (1, 0)
    return {pair.key: pair.value for pair in decode_only_span(encoded.body).attributes}


def _official_value(value: object) -> AnyValue | None:
    body = encode_official([make_span(attributes={"key": value})]).SerializeToString()
    return next((pair.value for pair in decode_only_span(body).attributes), None)


def _writes_scope_url() -> bool:
    span = make_span(instrumentation_scope=InstrumentationScope("name", schema_url="url"))
    return bool(encode_official([span]).resource_spans[0].scope_spans[0].schema_url)


WRITES_NONE = _official_value([None]) is not None
WRITES_BYTES = _official_value(b"\xff") == AnyValue(bytes_value=b"\xff")
WRITES_SCOPE_URL = _writes_scope_url()


def assert_official(spans: Sequence[ReadableSpan]) -> None:
    """Assert that our request equals the official one, first by field, then by byte."""
    encoded = encode_spans(spans)
    assert (encoded.spans, encoded.failed) == (len(spans), 0)
    found = decode(encoded.body)
    if not WRITES_SCOPE_URL:
        for resource_spans in found.resource_spans:
            for scope_spans in resource_spans.scope_spans:
                scope_spans.ClearField("schema_url")
    expected = encode_official(spans)
    assert str(found) == str(expected)
    # Messages with NaN are never equal, and their text omits unknown fields.
    assert found.SerializeToString(deterministic=True) == expected.SerializeToString(
        deterministic=True
    )
