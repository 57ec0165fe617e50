"""OTLP's signals (traces, logs, metrics), and the content types of OTLP requests."""

from enum import StrEnum
from typing import Final


class Signal(StrEnum):
    """The kind of data in an OTLP request; also the end of its path, as in ``/v1/traces``."""

    TRACES = "traces"
    LOGS = "logs"
    METRICS = "metrics"


# The gRPC service of each signal. Each has a method ``Export``.
SERVICES: Final = {
    Signal.TRACES: "opentelemetry.proto.collector.trace.v1.TraceService",
    Signal.LOGS: "opentelemetry.proto.collector.logs.v1.LogsService",
    Signal.METRICS: "opentelemetry.proto.collector.metrics.v1.MetricsService",
}


class Form(StrEnum):
    """The content type of an OTLP request and of its answer."""

    PROTOBUF = "application/x-protobuf"
    JSON = "application/json"


def media_type_of(content_type: str) -> str:
    """Return a content type in lower case, without parameters such as the charset."""
    return content_type.partition(";")[0].strip().lower()
