"""Services that report their calls only as metrics, from OTLP to API and page."""

import json
import time
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality

from otel_ml_collector.times import HOUR_NS, MINUTE_NS
from tests.support.otel_ml_collector.asgi import Answered, ask
from tests.support.otel_ml_collector.spans import make_call
from tests.support.otel_ml_collector.stores import Service
from tests.support.otel_ml_collector.wire import encode, pairs
from tests.support.sampling import at_night, sampled
from tests.support.waiting import wait_until

DELTA: Final = AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA
CUMULATIVE: Final = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
NOW_NS: Final = time.time_ns()
DURATION: Final = "gen_ai.client.operation.duration"
USAGE: Final = "gen_ai.client.token.usage"
BOUNDS: Final = [0.5, 1.0, 2.0]


class Report:
    """A metrics request."""

    def __init__(
        self, service: str = "shop", temporality: "AggregationTemporality.ValueType" = CUMULATIVE
    ) -> None:
        self.request = ExportMetricsServiceRequest()
        resource = self.request.resource_metrics.add()
        resource.resource.attributes.extend(pairs({"service.name": service}))
        self._metrics = resource.scope_metrics.add().metrics
        self._temporality = temporality

    def histogram(
        self, name: str, total: float, buckets: list[int], at_ns: int = NOW_NS, **more: str
    ) -> "Report":
        """Add a point of a histogram."""
        metric = self._metrics.add(name=name, unit="s" if name == DURATION else "{token}")
        metric.histogram.aggregation_temporality = self._temporality
        point = metric.histogram.data_points.add(
            count=sum(buckets), sum=total, explicit_bounds=BOUNDS, bucket_counts=buckets
        )
        self._finish(point, at_ns, more)
        return self

    def counter(self, name: str, value: int, at_ns: int = NOW_NS, **more: str) -> "Report":
        """Add a point of a counter."""
        metric = self._metrics.add(name=name, unit="{token}")
        metric.sum.aggregation_temporality = self._temporality
        metric.sum.is_monotonic = True
        self._finish(metric.sum.data_points.add(as_int=value), at_ns, more)
        return self

    def _finish(self, point: Any, at_ns: int, more: dict[str, str]) -> None:
        point.start_time_unix_nano, point.time_unix_nano = NOW_NS - 30 * HOUR_NS, at_ns
        if self._temporality == DELTA:
            point.start_time_unix_nano = at_ns - MINUTE_NS
        attributes = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": more.pop("model", "gpt-4o"),
            **{name.replace("__", "."): value for name, value in more.items()},
        }
        point.attributes.extend(pairs(attributes))


def send(service: Service, project: str, report: Report) -> bytes:
    headers = {"content-type": "application/x-protobuf", "x-otel-ml-project": project}
    body = [report.request.SerializeToString()]

    def try_once() -> Answered | None:
        answer = ask(service.app, "/v1/metrics", method="POST", headers=headers, body=body)
        assert answer.status in {200, 503}  # the store may be busy with its first insert
        return answer if answer.status == 200 else None

    return wait_until(try_once, about="a stored request").body


def reported(service: Service, project: str) -> Any:
    return ask(service.app, f"/api/v1/projects/{quote(project, safe='')}/reported").json


def test_cumulative(service: Service, project: str) -> None:
    """Cumulative histograms count from the start of the time range."""
    for at_ns, times in ((NOW_NS - 25 * HOUR_NS, 1), (NOW_NS - HOUR_NS, 2), (NOW_NS, 3)):
        report = (
            Report()
            .histogram(DURATION, 3.0 * times, [times, times, 0, 0], at_ns)
            .histogram(DURATION, 1.0 * times, [0, 0, times, 0], at_ns, error__type="timeout")
            .histogram(USAGE, 500 * times, [0, 0, 0, times], at_ns, gen_ai__token__type="input")
            .histogram(USAGE, 20 * times, [0, 0, 0, times], at_ns, gen_ai__token__type="output")
        )
        assert send(service, project, report) == b""
        assert send(service, project, report) == b""  # sent again, it is counted once
    answer = reported(service, project)
    assert (answer["source"], answer["services"]) == ("metrics", ["shop"])
    (model,) = answer["models"]
    assert model == {
        "model": "gpt-4o",
        "provider": "openai",
        "calls": 6,
        "errors": 2,
        "errors_by_type": {"timeout": 2},
        "input_tokens": 1000,
        "output_tokens": 40,
        "cached_tokens": None,
        "cache_creation_tokens": None,
        "reasoning_tokens": None,
        "p50_ms": 750.0,
        "p90_ms": 1700.0,
        "p95_ms": 1850.0,
        "p99_ms": 1970.0,
    }


def test_delta(service: Service, project: str) -> None:
    """Deltas of several processes are added."""
    for name in ("one", "two"):
        for minutes in (1, 2):
            report = Report(name, DELTA)
            report.histogram(DURATION, 1.0, [2, 0, 0, 0], NOW_NS - minutes * MINUTE_NS)
            assert send(service, project, report) == b""
    answer = reported(service, project)
    assert answer["services"] == ["one", "two"]
    assert [(one["calls"], one["errors"], one["p50_ms"]) for one in answer["models"]] == [
        (8, 0, 250.0)
    ]


@at_night
def test_newer_counters(service: Service, project: str) -> None:
    """The newer counters replace the histogram and are never added to it."""
    name = "gen_ai.client.inference.usage."
    report = (
        Report(temporality=DELTA)
        .counter(f"{name}input_tokens", 70, gen_ai__token__modality="text")
        .counter(f"{name}input_tokens", 30, gen_ai__token__modality="image")
        .counter(f"{name}cache_read.input_tokens", 10)
        .counter(f"{name}output_tokens", 7)
        .histogram(USAGE, 100, [0, 0, 0, 2], gen_ai__token__type="input")
    )
    assert send(service, project, report) == b""
    (model,) = reported(service, project)["models"]
    assert (model["input_tokens"], model["output_tokens"], model["cached_tokens"]) == (100, 7, 10)
    assert (model["calls"], model["errors"], model["p50_ms"]) == (2, None, None)


@at_night
def test_exponential_histogram(service: Service, project: str) -> None:
    """An exponential histogram has quantiles, and JSON is read like protobuf."""
    point = {
        "attributes": [{"key": "gen_ai.response.model", "value": {"stringValue": "claude"}}],
        "startTimeUnixNano": str(NOW_NS - MINUTE_NS),
        "timeUnixNano": str(NOW_NS),
        "count": "4",
        "sum": 6.0,
        "scale": 0,
        "positive": {"offset": 0, "bucketCounts": ["4"]},
        "exemplars": [{"traceId": "0af7651916cd43dd8448eb211c80319c", "asDouble": 1.5}],
    }
    metric = {
        "name": DURATION,
        "unit": "s",
        "exponentialHistogram": {"aggregationTemporality": 1, "dataPoints": [point]},
    }
    body = {"resourceMetrics": [{"scopeMetrics": [{"metrics": [metric]}]}]}
    headers = {"content-type": "application/json", "x-otel-ml-project": project}
    sent = [json.dumps(body).encode()]
    answer = ask(service.app, "/v1/metrics", method="POST", headers=headers, body=sent)
    assert (answer.status, answer.body) == (200, b"{}")
    (model,) = reported(service, project)["models"]
    assert (model["model"], model["calls"], model["p50_ms"]) == ("claude", 4, 1500.0)


def test_project(service: Service, project: str) -> None:
    """A service that sends only metrics has a project, and its page marks figures from metrics."""
    send(service, project, Report(temporality=DELTA).histogram(DURATION, 1.0, [41, 0, 0, 0]))
    counts = ask(service.app, f"/api/v1/projects/{quote(project, safe='')}").json
    assert (counts["project"], counts["runs"]) == (project, 0)
    page = ask(service.app, f"/projects/{quote(project, safe='')}").text
    assert "From metrics" in page
    assert '<td class="n">41</td>' in page
    assert "No runs yet" not in page


def test_never_added_to_runs(service: Service, project: str) -> None:
    """Figures of runs do not include calls reported by metrics."""
    headers = {"content-type": "application/x-protobuf", "x-otel-ml-project": project}
    body = [encode([make_call("answer", start_ns=NOW_NS, end_ns=NOW_NS)])]
    assert ask(service.app, "/v1/traces", method="POST", headers=headers, body=body).status == 200
    send(service, project, Report(temporality=DELTA).histogram(DURATION, 1.0, [41, 0, 0, 0]))
    path = f"/api/v1/projects/{quote(project, safe='')}"
    assert ask(service.app, path).json["runs"] == 1
    assert ask(service.app, f"{path}/overview?last=24h").json["total"]["runs"] == 1
    assert [one["calls"] for one in reported(service, project)["models"]] == [41]


def test_deleted(service: Service, project: str) -> None:
    """A project with only metrics can be deleted, and a report that arrives later stays out."""
    report = Report(temporality=DELTA).histogram(DURATION, 1.0, [41, 0, 0, 0])
    send(service, project, report)
    path = f"/api/v1/projects/{quote(project, safe='')}"
    # 202: it takes longer. If it fails then, the next request tries again: no job runs here.
    wait_until(lambda: ask(service.app, path, method="DELETE").status == HTTPStatus.OK)
    assert ask(service.app, path).status == HTTPStatus.NOT_FOUND
    assert reported(service, project)["models"] == []
    send(service, project, report)
    assert reported(service, project)["models"] == []
    later = Report(temporality=DELTA).histogram(DURATION, 1.0, [7, 0, 0, 0], time.time_ns())
    send(service, project, later)
    assert [model["calls"] for model in reported(service, project)["models"]] == [7]


@sampled(1)
@pytest.mark.parametrize("name", ["http.server.request.duration", "gen_ai.server.request.duration"])
def test_other_metrics(service: Service, project: str, name: str) -> None:
    """Other metrics are accepted and ignored."""
    assert send(service, project, Report().histogram(name, 1.0, [1, 0, 0, 0])) == b""
    assert reported(service, project)["models"] == []
