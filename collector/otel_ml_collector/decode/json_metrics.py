"""OTLP metric requests in JSON: how many data points they hold, which is all that is asked."""

from typing import Final

from otel_ml_collector.decode.json_request import parse
from otel_ml_collector.decode.json_values import JsonObject, each, within

_KINDS: Final = ("gauge", "sum", "histogram", "exponentialHistogram", "summary")


def count_json_points(body: bytes) -> int:
    """Count the data points of one OTLP export request in JSON.

    Raises:
        Refused: The body is no export request; where a field is wrong, a `BadField`.
    """
    return sum(each(parse(body, "ExportMetricsServiceRequest"), "resourceMetrics", _resource))


def _resource(found: JsonObject) -> int:
    return sum(each(found, "scopeMetrics", _scope))


def _scope(found: JsonObject) -> int:
    return sum(each(found, "metrics", _metric))


def _metric(found: JsonObject) -> int:
    return sum(within(found, kind, _points) for kind in _KINDS)


def _points(found: JsonObject) -> int:
    return len(each(found, "dataPoints", bool))
