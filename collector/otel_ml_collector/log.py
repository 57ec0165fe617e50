"""A log record as it arrived, free of the wire: what decode makes and mapping reads."""

from collections.abc import Mapping
from dataclasses import dataclass

from otel_ml_collector.span import Scope, Value


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
