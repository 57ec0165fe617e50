"""Tests of counting the data points of metric requests, which are not stored."""

import json

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

from otel_ml_collector.decode.metrics import read_json_metrics, read_metrics
from otel_ml_collector.errors import BadField, Rejected

KINDS = {
    "gauge": "gauge",
    "sum": "sum",
    "histogram": "histogram",
    "exponential_histogram": "exponentialHistogram",
    "summary": "summary",
}


@pytest.mark.parametrize("number", [0, 1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_protobuf(kind: str, number: int) -> None:
    """Data points of every kind of metric are counted, across all metrics."""
    request = ExportMetricsServiceRequest()
    scope_metrics = request.resource_metrics.add().scope_metrics.add()
    for _ in range(2):
        points = getattr(scope_metrics.metrics.add(), kind).data_points
        for _ in range(number):
            points.add()
    scope_metrics.metrics.add(name="of no kind")
    assert read_metrics(request.SerializeToString()) == (2 * number, "", [], [""][:number])


@pytest.mark.parametrize("kind", KINDS.values())
def test_json(kind: str) -> None:
    """Data points in JSON are counted, whatever their content."""
    metric = {"name": "m", kind: {"dataPoints": [{"asInt": "1"}, {}]}}
    body = {"resourceMetrics": [{"scopeMetrics": [{"metrics": [metric, metric, {}]}]}]}
    assert read_json_metrics(json.dumps(body).encode()) == (4, "", [], ["m"])


@pytest.mark.parametrize("body", [b"\x0a\x7f\x01", b"{}"], ids=repr)
def test_undecodable(body: bytes) -> None:
    """A body that is not an export request is rejected permanently."""
    with pytest.raises(Rejected, match=r"^The body is not an OTLP ExportMetricsServiceRequest in "):
        read_metrics(body)


def test_wrong_json() -> None:
    """A field of the wrong type is rejected. The error names its place."""
    body = {"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"sum": {"dataPoints": [7]}}]}]}]}
    with pytest.raises(BadField) as caught:
        read_json_metrics(json.dumps(body).encode())
    place = "resourceMetrics[0].scopeMetrics[0].metrics[0].sum.dataPoints[0]"
    assert str(caught.value) == f"{place}: expected an object, got a number"
