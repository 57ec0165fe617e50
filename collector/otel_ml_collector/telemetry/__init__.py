"""What Prometheus reads at ``/metrics``: the collector's own numbers and those of its users."""

from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4 as MEDIA_TYPE

from otel_ml_collector.telemetry.forward import OtlpForwardNumbers, RecordNumbers, Waiting
from otel_ml_collector.telemetry.runs import Remembered, RunNumbers, Versions
from otel_ml_collector.telemetry.service import (
    ANSWERS,
    UPLOAD_ANSWERS,
    LossNumbers,
    Missed,
    StoreNumbers,
    TableSize,
    Telemetry,
)

__all__ = [
    "ANSWERS",
    "MEDIA_TYPE",
    "UPLOAD_ANSWERS",
    "LossNumbers",
    "Missed",
    "OtlpForwardNumbers",
    "RecordNumbers",
    "Remembered",
    "RunNumbers",
    "StoreNumbers",
    "TableSize",
    "Telemetry",
    "Versions",
    "Waiting",
]
