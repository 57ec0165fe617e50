"""What Prometheus reads at ``/metrics``: the collector's own numbers and those of its users."""

from otel_ml_collector.telemetry.forward import RecordNumbers
from otel_ml_collector.telemetry.loss import LossNumbers, Missed
from otel_ml_collector.telemetry.otlp_forward import OtlpForwardNumbers, Waiting
from otel_ml_collector.telemetry.remembered import Remembered
from otel_ml_collector.telemetry.runs import RunNumbers, Versions
from otel_ml_collector.telemetry.service import ANSWERS, MEDIA_TYPE, UPLOAD_ANSWERS, Telemetry
from otel_ml_collector.telemetry.store import StoreNumbers, TableSize

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
