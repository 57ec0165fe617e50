"""Decodes OTLP metrics: counts all data points, and reads those about calls of models.

Spec: https://opentelemetry.io/docs/specs/otel/metrics/data-model/
"""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from google.protobuf.json_format import ParseDict, ParseError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.metrics.v1 import metrics_pb2

from otel_ml_collector.decode.bounds import check_records
from otel_ml_collector.decode.json import count_json_points, parse
from otel_ml_collector.decode.protobuf import attributes_of, parse_protobuf
from otel_ml_collector.decode.signals import Form
from otel_ml_collector.errors import Rejected
from otel_ml_collector.span import OtlpPoint, Scope, service_of

# Metrics with other names are only counted.
_OF_CALLS: Final = "gen_ai."
_DATA_KINDS: Final = frozenset({"sum", "histogram", "exponential_histogram"})
_BUCKETS: Final = 1_000


class Metrics(NamedTuple):
    """The metrics of a request.

    Attributes:
        number: Number of all data points.
        service: ``service.name`` of the first resource; empty if missing.
        points: The data points about calls of models.
        names: Names of all metrics with data points, each once, in the order of the request.
    """

    number: int
    service: str
    points: list[OtlpPoint]
    names: list[str]


def read_metrics(body: bytes) -> Metrics:
    """Read an OTLP metrics request in protobuf.

    Raises:
        Rejected: The body is not an export request.
    """
    request = parse_protobuf(body, ExportMetricsServiceRequest)
    number, names = 0, dict[str, None]()
    for resource_metrics in request.resource_metrics:
        for scope_metrics in resource_metrics.scope_metrics:
            for metric in scope_metrics.metrics:
                if count := _count(metric):
                    number += count
                    names[metric.name] = None
    return _read(request, number, list(names))


def read_json_metrics(body: bytes) -> Metrics:
    """Read an OTLP metrics request in JSON.

    Raises:
        Rejected: The body is not an export request. If one field is wrong, the error is a
            `BadField`.
    """
    document: Any = parse(body, "ExportMetricsServiceRequest")
    number = count_json_points(document)
    try:
        request = ParseDict(_choose(document), ExportMetricsServiceRequest(), True)
    except ParseError as error:
        raise Rejected(f"The body is not an OTLP ExportMetricsServiceRequest: {error}") from error
    return _read(request, number, _names_of(document))


READERS: Final = {Form.JSON: read_json_metrics, Form.PROTOBUF: read_metrics}


def _names_of(document: Any) -> list[str]:
    """Return the names of the metrics of a valid document that have data points, each once."""
    names = (
        str(metric.get("name") or "")
        for resource in document.get("resourceMetrics") or ()
        for scope in resource.get("scopeMetrics") or ()
        for metric in scope.get("metrics") or ()
        if any(isinstance(data, dict) and data.get("dataPoints") for data in metric.values())
    )
    return list(dict.fromkeys(names))


def _choose(document: Any) -> dict[str, Any]:
    """Return the metrics to read. Exemplars are left out: their IDs are hex, unlike protobuf's."""
    return {
        "resourceMetrics": [
            {
                "resource": _attributes(resource.get("resource")),
                "scopeMetrics": [
                    {
                        "scope": _attributes(scope.get("scope")),
                        "metrics": [
                            _without_exemplars(metric)
                            for metric in scope.get("metrics") or ()
                            if str(metric.get("name")).startswith(_OF_CALLS)
                        ],
                    }
                    for scope in resource.get("scopeMetrics") or ()
                ],
            }
            for resource in document.get("resourceMetrics") or ()
        ]
    }


def _attributes(holder: Any) -> dict[str, Any]:
    names = ("name", "version", "attributes")
    return {name: holder[name] for name in names if name in holder} if holder else {}


def _without_exemplars(metric: dict[str, Any]) -> dict[str, Any]:
    return {
        name: {
            **data,
            "dataPoints": [
                {key: value for key, value in point.items() if key != "exemplars"}
                for point in data.get("dataPoints") or ()
            ],
        }
        if isinstance(data, dict)
        else data
        for name, data in metric.items()
        if name != "metadata"
    }


def _read(request: ExportMetricsServiceRequest, number: int, names: list[str]) -> Metrics:
    first = request.resource_metrics[0].resource if request.resource_metrics else None
    service = service_of(attributes_of(first.attributes)) if first else ""
    points = list(_points(request))
    check_records(len(points))
    return Metrics(number, service, points, names)


def _count(metric: metrics_pb2.Metric) -> int:
    kind = metric.WhichOneof("data")
    return len(getattr(metric, kind).data_points) if kind else 0


def _points(request: ExportMetricsServiceRequest) -> Iterator[OtlpPoint]:
    for resource_metrics in request.resource_metrics:
        resource = attributes_of(resource_metrics.resource.attributes)
        for scope_metrics in resource_metrics.scope_metrics:
            inner = scope_metrics.scope
            scope = Scope(resource, inner.name, inner.version, attributes_of(inner.attributes))
            for metric in scope_metrics.metrics:
                kind = metric.WhichOneof("data")
                if kind in _DATA_KINDS and metric.name.startswith(_OF_CALLS):
                    data = getattr(metric, kind)
                    for point in data.data_points:
                        yield _point(metric, kind, data, point, scope)


def _point(metric: metrics_pb2.Metric, kind: str, data: Any, point: Any, scope: Scope) -> OtlpPoint:
    count, bounds, buckets = 0, (), ()
    if kind == "sum":
        total = float(point.as_int if point.WhichOneof("value") == "as_int" else point.as_double)
    else:
        total, count = point.sum, point.count
        bounds, buckets = _explicit(point) if kind == "histogram" else _exponential(point)
    return OtlpPoint(
        metric.name,
        metric.unit,
        attributes_of(point.attributes),
        scope,
        point.start_time_unix_nano,
        point.time_unix_nano,
        data.aggregation_temporality == metrics_pb2.AGGREGATION_TEMPORALITY_DELTA,
        count,
        total,
        bounds,
        buckets,
    )


def _explicit(point: Any) -> Any:
    bounds, buckets = list(point.explicit_bounds), list(point.bucket_counts)
    return (bounds, buckets) if len(buckets) <= _BUCKETS else ((), ())


def _exponential(point: Any) -> Any:
    """Return the bounds and buckets of an exponential histogram of values that are not negative.

    Spec: https://opentelemetry.io/docs/specs/otel/metrics/data-model/#exponentialhistogram
    """
    counts = list(point.positive.bucket_counts)
    if not counts:
        return [point.zero_threshold], [point.zero_count, 0]
    if len(counts) > _BUCKETS:
        return (), ()
    first = point.positive.offset
    try:
        base = 2.0 ** (2.0**-point.scale)
        bounds = [base**place for place in range(first, first + len(counts) + 1)]
    except OverflowError:
        return (), ()
    return bounds, [point.zero_count, *counts, 0]
