"""Spans and log records, independent of the wire format: created by `decode`, read by `mapping`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

# Attribute values: OTLP's AnyValue as Python values. Bytes stay bytes.
Value = None | bool | int | float | str | bytes | Sequence["Value"] | Mapping[str, "Value"]

# Attributes that hold a status. Spec:
# https://opentelemetry.io/docs/specs/otel/common/mapping-to-non-otlp/#span-status
STATUS_CODE: Final = "otel.status_code"
STATUS_DESCRIPTION: Final = "otel.status_description"
# Lists which attributes of a span are bytes. In JSON they are base64 text.
BINARY: Final = "otel_ml.binary"
# Name of `Span.otlp` among the attributes of a stored span.
OTLP: Final = "otel_ml.otlp"

# Kinds of spans as runs name them, by OTLP's number. An unknown kind is empty.
SPAN_KINDS: Final = ("", "internal", "server", "client", "producer", "consumer")
STATUS_ERROR: Final = 2

_TRACE_ID_BYTES: Final = 16
_SPAN_ID_BYTES: Final = 8


def is_trace_id(trace_id: bytes) -> bool:
    """Return whether a trace id is valid: 16 bytes that are not all zero."""
    return len(trace_id) == _TRACE_ID_BYTES and any(trace_id)


def is_span_id(span_id: bytes) -> bool:
    """Return whether a span id is valid: 8 bytes that are not all zero."""
    return len(span_id) == _SPAN_ID_BYTES and any(span_id)


@dataclass(frozen=True, slots=True)
class Scope:
    """Resource and instrumentation scope, shared by the spans or log records under them.

    Attributes:
        resource: Attributes of the resource.
        name: Name of the scope, usually the library.
        version: Version of the scope.
        attributes: Attributes of the scope.
        schema_url: Schema of the scope.
        dropped_attributes: Number of scope attributes that the sender left out.
        resource_schema_url: Schema of the resource.
        resource_dropped_attributes: Number of resource attributes that the sender left out.
    """

    resource: Mapping[str, Value]
    name: str
    version: str
    attributes: Mapping[str, Value]
    schema_url: str = ""
    dropped_attributes: int = 0
    resource_schema_url: str = ""
    resource_dropped_attributes: int = 0


@dataclass(frozen=True, slots=True)
class Event:
    """An event of a span. `time_ns` is in nanoseconds since the epoch."""

    name: str
    time_ns: int
    attributes: Mapping[str, Value]
    dropped_attributes: int = 0


@dataclass(frozen=True, slots=True)
class Link:
    """A reference to another span."""

    trace_id: bytes
    span_id: bytes
    attributes: Mapping[str, Value]
    trace_state: str = ""
    flags: int = 0
    dropped_attributes: int = 0


@dataclass(slots=True)  # frozen would take three times as long to create
class Span:
    """One span.

    Attributes:
        trace_id: 16 bytes.
        span_id: 8 bytes.
        parent_span_id: 8 bytes; empty for a root span.
        kind: OTLP's span kind, 0 to 5.
        start_ns: Start in nanoseconds since the epoch (UTC).
        end_ns: End in nanoseconds since the epoch (UTC).
        status_code: 0 unset, 1 ok, 2 error.
        otlp: Those of `trace_state`, `flags`, `dropped_attributes_count`, `dropped_events_count`
            and `dropped_links_count` that are not empty.
    """

    trace_id: bytes
    span_id: bytes
    parent_span_id: bytes
    name: str
    kind: int
    start_ns: int
    end_ns: int
    status_code: int
    status_message: str
    attributes: Mapping[str, Value]
    events: Sequence[Event]
    links: Sequence[Link]
    scope: Scope
    otlp: Mapping[str, Value] = field(default_factory=dict)


def service_of(resource: Mapping[str, Value]) -> str:
    """Return ``service.name`` of a resource; empty if it has none."""
    name = resource.get("service.name")
    return name if isinstance(name, str) else ""


@dataclass(frozen=True, slots=True)
class Log:
    """One log record.

    Attributes:
        trace_id: 16 bytes; empty if it belongs to no trace.
        span_id: 8 bytes; empty if it belongs to no span.
        time_ns: Time of the record in nanoseconds since the epoch; 0 if unknown.
        observed_ns: When it was collected, in nanoseconds since the epoch.
        severity_number: OpenTelemetry's severity number, 1 to 24; 0 if it has none.
        event: Name of the event; empty for an ordinary log record.
    """

    trace_id: bytes
    span_id: bytes
    time_ns: int
    observed_ns: int
    severity_number: int
    severity_text: str
    event: str
    body: Value
    attributes: Mapping[str, Value]
    scope: Scope


@dataclass(frozen=True, slots=True)
class OtlpPoint:
    """One data point of a counter or a histogram.

    Attributes:
        name: Name of the metric.
        unit: Its unit.
        start_ns: Start of the period that the point covers, in nanoseconds since the epoch; 0 if
            unknown.
        time_ns: End of the period, in nanoseconds since the epoch.
        is_delta: Whether the temporality is delta: the point covers only the time since the
            previous point.
        count: Number of values in a histogram; 0 for a counter.
        total: Sum of the values of a histogram, or value of a counter.
        bounds: Upper bounds of the histogram's buckets. The last bucket has none.
        buckets: Number of values in each bucket. Empty for a counter, or if the sender used
            too many buckets.
    """

    name: str
    unit: str
    attributes: Mapping[str, Value]
    scope: Scope
    start_ns: int
    time_ns: int
    is_delta: bool
    count: int
    total: float
    bounds: Sequence[float] = ()
    buckets: Sequence[int] = ()
