"""OTLP trace requests in JSON to spans.

Spec: https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding
"""

from typing import Final

from otel_ml_collector.decode.json_request import records_of
from otel_ml_collector.decode.json_values import (
    JsonObject,
    attributes_of,
    each,
    enum,
    hex_bytes,
    text,
    uint64,
    within,
)
from otel_ml_collector.span import Event, Link, Scope, Span

_SPAN_KINDS: Final = {
    "SPAN_KIND_UNSPECIFIED": 0,
    "SPAN_KIND_INTERNAL": 1,
    "SPAN_KIND_SERVER": 2,
    "SPAN_KIND_CLIENT": 3,
    "SPAN_KIND_PRODUCER": 4,
    "SPAN_KIND_CONSUMER": 5,
}
_STATUS_CODES: Final = {"STATUS_CODE_UNSET": 0, "STATUS_CODE_OK": 1, "STATUS_CODE_ERROR": 2}


def decode_json_traces(body: bytes) -> list[Span]:
    """Read the spans of one OTLP export request in JSON, as `decode_traces` does of protobuf.

    Raises:
        Refused: The body is no export request; where a field is wrong, a `BadField`.
    """
    levels = ("resourceSpans", "scopeSpans", "spans")
    return records_of(body, "ExportTraceServiceRequest", levels, _span)


def _span(scope: Scope, found: JsonObject) -> Span:
    status_code, status_message = within(found, "status", _status)
    return Span(
        trace_id=hex_bytes(found, "traceId"),
        span_id=hex_bytes(found, "spanId"),
        parent_span_id=hex_bytes(found, "parentSpanId"),
        name=text(found, "name"),
        kind=enum(found, "kind", _SPAN_KINDS),
        start_ns=uint64(found, "startTimeUnixNano"),
        end_ns=uint64(found, "endTimeUnixNano"),
        status_code=status_code,
        status_message=status_message,
        attributes=attributes_of(found),
        events=each(found, "events", _event),
        links=each(found, "links", _link),
        scope=scope,
    )


def _status(found: JsonObject) -> tuple[int, str]:
    return enum(found, "code", _STATUS_CODES), text(found, "message")


def _event(found: JsonObject) -> Event:
    return Event(text(found, "name"), uint64(found, "timeUnixNano"), attributes_of(found))


def _link(found: JsonObject) -> Link:
    return Link(hex_bytes(found, "traceId"), hex_bytes(found, "spanId"), attributes_of(found))
