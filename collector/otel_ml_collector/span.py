"""Spans and log records free of the wire format: made by decode and read by mapping."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

# Attribute values: OTLP's AnyValue as Python values. Bytes stay bytes.
Value = None | bool | int | float | str | bytes | Sequence["Value"] | Mapping[str, "Value"]

# A status where it has to be an attribute. Spec:
# https://opentelemetry.io/docs/specs/otel/common/mapping-to-non-otlp/#span-status
STATUS_CODE: Final = "otel.status_code"
STATUS_DESCRIPTION: Final = "otel.status_description"
# Which attributes of a span are bytes: as JSON they are text in base64.
BINARY: Final = "otel_ml.binary"
# Under which name the store keeps `Span.otlp` among the attributes of a span.
OTLP: Final = "otel_ml.otlp"

_TRACE_ID_BYTES: Final = 16
_SPAN_ID_BYTES: Final = 8


def is_trace_id(trace_id: bytes) -> bool:
    """Tell a valid trace id: 16 bytes, not all of them zero."""
    return len(trace_id) == _TRACE_ID_BYTES and any(trace_id)


def is_span_id(span_id: bytes) -> bool:
    """Tell a valid span id: eight bytes, not all of them zero."""
    return len(span_id) == _SPAN_ID_BYTES and any(span_id)


@dataclass(frozen=True, slots=True)
class Scope:
    """Resource and instrumentation scope, shared by the spans that came under them.

    Attributes:
        dropped_attributes: How many attributes of the scope its sender left out.
        resource_dropped_attributes: How many of the resource.
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
    """Something that happened during a span, at a time in nanoseconds since the epoch."""

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


@dataclass(slots=True)  # not frozen: that triples the time it takes to make one
class Span:
    """One span.

    Attributes:
        trace_id: 16 bytes. span_id: 8 bytes. parent_span_id: 8 bytes, or empty for a root.
        kind: OTLP's span kind, 0 to 5.
        start_ns: Nanoseconds since the epoch (UTC), and so is `end_ns`.
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
    """Name the service of a resource; empty when it names none."""
    name = resource.get("service.name")
    return name if isinstance(name, str) else ""


@dataclass(frozen=True, slots=True)
class Log:
    """One log record.

    Attributes:
        trace_id: 16 bytes, or empty when it belongs to no trace. span_id: 8 bytes, or empty.
        time_ns: When it happened, in nanoseconds since the epoch; 0 when that is not known.
        observed_ns: When it was seen by who collected it.
        severity_number: OpenTelemetry's, 1 to 24; 0 when it has none.
        event: What kind of event it is; empty for an ordinary log record.
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
