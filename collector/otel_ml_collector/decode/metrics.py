"""OTLP metric requests in protobuf: how many data points they hold, which is all that is asked."""

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.metrics.v1 import metrics_pb2

from otel_ml_collector.decode.values import parse


def count_points(body: bytes) -> int:
    """Count the data points of one OTLP export request in protobuf.

    Raises:
        Refused: The body is no export request.
    """
    request = parse(body, ExportMetricsServiceRequest)
    return sum(
        _points(metric)
        for resource_metrics in request.resource_metrics
        for scope_metrics in resource_metrics.scope_metrics
        for metric in scope_metrics.metrics
    )


def _points(metric: metrics_pb2.Metric) -> int:
    kind = metric.WhichOneof("data")
    return len(getattr(metric, kind).data_points) if kind else 0
