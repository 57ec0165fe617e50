"""Names of OTLP's signals, and the forms in which a request may be written."""

from enum import StrEnum
from typing import Final


class Signal(StrEnum):
    """Which of OTLP's requests it is, by the end of its path ``/v1/traces``."""

    TRACES = "traces"
    LOGS = "logs"
    METRICS = "metrics"


# What takes each over gRPC, by its method ``Export``.
SERVICES: Final = {
    Signal.TRACES: "opentelemetry.proto.collector.trace.v1.TraceService",
    Signal.LOGS: "opentelemetry.proto.collector.logs.v1.LogsService",
    Signal.METRICS: "opentelemetry.proto.collector.metrics.v1.MetricsService",
}


class Form(StrEnum):
    """How a request is written, and so its answer, by its content type."""

    PROTOBUF = "application/x-protobuf"
    JSON = "application/json"


def media_type_of(content_type: str) -> str:
    """Read a content type: in lower case, without parameters such as its charset."""
    return content_type.partition(";")[0].strip().lower()
