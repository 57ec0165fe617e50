"""Jaeger's query API: the requests of Grafana's Jaeger data source, field by field.

Formats: `model/json/model.go` and `cmd/query/app/http_handler.go` of jaegertracing/jaeger.
Requests: `pkg/tsdb/jaeger/client.go` of grafana/grafana.
"""

import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from otel_ml_collector.access import READ, Access
from otel_ml_collector.errors import Missing
from otel_ml_collector.jaeger.routes import (
    TraceSearch,
    find_jaeger_trace,
    find_operations,
    find_services,
    search,
)
from otel_ml_collector.mapping.filing import Filing
from otel_ml_collector.mapping.spans import map_spans
from otel_ml_collector.span import Event, Link, Scope, Span, Value
from tests.support.otel_ml_collector.asgi import Answered, ask
from tests.support.otel_ml_collector.spans import (
    make_call,
    make_span,
    make_start,
    span_id,
    trace_id,
)
from tests.support.otel_ml_collector.stores import Service, open_service
from tests.support.sampling import sampled

MS = 10**6
NOW_NS = time.time_ns() // 10**9 * 10**9
START_NS = NOW_NS - 60 * 10**9
START_US = START_NS // 1_000
SHOP = Scope({"service.name": "shop", "host.name": "a", "replicas": 3}, "lib", "1.2", {})
BANK = Scope({"service.name": "bank"}, "lib", "1.2", {})
NAMELESS = Scope({}, "lib", "1.2", {})


def story() -> list[Span]:
    """Make a trace of two services with a failed child, and a call without a service name."""
    first: dict[str, Value] = {"http.status": 200, "ratio": 0.5, "cached": True, "big": 2**60}
    root = make_call(
        "order",
        {**first, "otel_ml.tag.client": "bigshot", "list": ["a", "b"]},
        trace_id=trace_id(1),
        span_id=span_id(1),
        kind=2,
        start_ns=START_NS,
        end_ns=START_NS + 250 * MS,
        scope=SHOP,
        events=[Event("retry", START_NS + 5 * MS, {"attempt": 2})],
        links=[Link(trace_id(9), span_id(9), {})],
    )
    child = make_span(
        "pay",
        {},
        trace_id=trace_id(1),
        span_id=span_id(2),
        parent_span_id=span_id(1),
        kind=3,
        start_ns=START_NS + 10 * MS,
        end_ns=START_NS + 30 * MS,
        status_code=2,
        status_message="no money",
        scope=BANK,
    )
    later = START_NS + 1_000 * MS
    lone = make_call(
        "answer", trace_id=trace_id(2), start_ns=later, end_ns=later + MS, scope=NAMELESS
    )
    return [root, child, lone]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Open a collector with the story and a running call in one project, and a call in another."""
    with open_service(tmp_path_factory.mktemp("data")) as opened:
        hidden = make_call("secret", trace_id=trace_id(3), start_ns=START_NS, scope=SHOP)
        began = make_start(make_call("train", trace_id=trace_id(4), start_ns=START_NS), scope=BANK)
        for project, spans in {"p": [*story(), began], "other": [hidden]}.items():
            opened.store.writer.write(map_spans(spans, Filing(project, NOW_NS)))
        yield opened


def get(shop: Service, path: str, **parameters: object) -> Answered:
    """Send a request as Grafana does."""
    query = f"?{urlencode(parameters, doseq=True)}" if parameters else ""
    return ask(shop.app, f"/jaeger/api{path}{query}")


def traces(shop: Service, **parameters: object) -> list[str]:
    """Search; return the trace ids without leading zeros."""
    found = get(shop, "/traces", **parameters).json
    return [trace["traceID"].lstrip("0") for trace in found["data"]]


def tags(span: dict[str, Any]) -> dict[str, tuple[str, Any]]:
    """Return the type and value of each tag of a span or process."""
    return {tag["key"]: (tag["type"], tag["value"]) for tag in span["tags"]}


def test_services(shop: Service) -> None:
    """Services are the service names in the resources of spans."""
    assert get(shop, "/services").json == {
        "data": ["bank", "shop", "unknown_service"],
        "total": 3,
        "limit": 0,
        "offset": 0,
        "errors": None,
    }


def test_operations_of_a_service(shop: Service) -> None:
    """Grafana's list of operations has the names of a service's spans."""
    answer = get(shop, "/services/shop/operations").json
    assert (answer["data"], answer["total"]) == (["order", "secret"], 2)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ({}, [("order", "server"), ("secret", "internal")]),
        ({"spanKind": "server"}, [("order", "server")]),
    ],
)
def test_operations(shop: Service, kind: dict[str, str], expected: list[tuple[str, str]]) -> None:
    """Jaeger's list of operations has the names and kinds of spans."""
    answer = get(shop, "/operations", service="shop", **kind).json
    assert answer["data"] == [{"name": name, "spanKind": told} for name, told in expected]


def test_dependencies(shop: Service) -> None:
    """The response lists no dependencies."""
    answer = get(shop, "/dependencies", endTs=NOW_NS // MS, lookback=1000).json
    assert (answer["data"], answer["errors"]) == ([], None)


def test_trace(shop: Service) -> None:
    """A trace has its spans with ids, times in microseconds, references, logs and processes."""
    answer = get(shop, f"/traces/{trace_id(1).hex()}", start=1, end=2).json
    assert {name: answer[name] for name in ("total", "limit", "offset", "errors")} == {
        "total": 0,
        "limit": 0,
        "offset": 0,
        "errors": None,
    }
    (trace,) = answer["data"]
    ids = {"traceID": trace_id(1).hex(), "warnings": None}
    spans = [
        {name: value for name, value in span.items() if name != "tags"} for span in trace["spans"]
    ]
    assert spans == [
        {
            **ids,
            "spanID": span_id(1).hex(),
            "operationName": "order",
            "references": [
                {
                    "refType": "FOLLOWS_FROM",
                    "traceID": trace_id(9).hex(),
                    "spanID": span_id(9).hex(),
                }
            ],
            "startTime": START_US,
            "duration": 250_000,
            "logs": [
                {
                    "timestamp": START_US + 5_000,
                    "fields": [
                        {"key": "event", "type": "string", "value": "retry"},
                        {"key": "attempt", "type": "int64", "value": 2},
                    ],
                }
            ],
            "processID": "p1",
        },
        {
            **ids,
            "spanID": span_id(2).hex(),
            "operationName": "pay",
            "references": [
                {"refType": "CHILD_OF", "traceID": trace_id(1).hex(), "spanID": span_id(1).hex()}
            ],
            "startTime": START_US + 10_000,
            "duration": 20_000,
            "logs": [],
            "processID": "p2",
        },
    ]
    assert trace["processes"] == {
        "p1": {
            "serviceName": "shop",
            "tags": [
                {"key": "host.name", "type": "string", "value": "a"},
                {"key": "replicas", "type": "int64", "value": 3},
            ],
        },
        "p2": {"serviceName": "bank", "tags": []},
    }
    assert (trace["traceID"], trace["warnings"]) == (trace_id(1).hex(), None)


def test_tags(shop: Service) -> None:
    """A tag has its value's type; integers too large for a browser are text, lists are JSON."""
    (trace,) = get(shop, "/traces/1").json["data"]
    found = tags(trace["spans"][0])
    assert {name: found.get(name) for name in ("http.status", "ratio", "cached", "big")} == {
        "http.status": ("int64", 200),
        "ratio": ("float64", 0.5),
        "cached": ("bool", True),
        "big": ("int64", str(2**60)),
    }
    assert found["list"] == ("string", '["a","b"]')
    assert found["span.kind"] == ("string", "server")
    assert found["otel.scope.name"] == ("string", "lib")
    assert found["otel_ml.project"] == ("string", "p")
    assert found["otel_ml.tag.client"] == ("string", "bigshot")


def test_error(shop: Service) -> None:
    """A failed span has Jaeger's error tags."""
    (trace,) = get(shop, "/traces/1").json["data"]
    found = tags(trace["spans"][1])
    assert found["error"] == ("bool", True)
    assert found["otel.status_code"] == ("string", "ERROR")
    assert found["otel.status_description"] == ("string", "no money")


def test_open_span(shop: Service) -> None:
    """An open span has a duration of 0 and a warning."""
    (trace,) = get(shop, "/traces/4").json["data"]
    (span,) = trace["spans"]
    assert (span["operationName"], span["duration"]) == ("train", 0)
    assert span["warnings"] == ["The span has not ended: it is running"]
    assert trace["processes"] == {span["processID"]: {"serviceName": "bank", "tags": []}}


@sampled(5)
@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"service": "shop"}, {"1", "3"}),
        ({"service": "bank"}, {"1"}),
        ({"service": "nobody"}, set()),
        ({"service": "shop", "operation": "order"}, {"1"}),
        ({"service": "bank", "operation": "order"}, set()),
        ({"service": "shop", "tags": '{"client":"bigshot"}'}, {"1"}),
        ({"service": "shop", "tags": '{"http.status":"200","host.name":"a"}'}, {"1"}),
        ({"service": "shop", "tags": '{"http.status":"404"}'}, set()),
        ({"service": "shop", "tag": ["client:bigshot", "cached:true"]}, {"1"}),
        ({"service": "bank", "tags": '{"error":"true"}'}, {"1"}),
        ({"service": "shop", "tags": '{"error":"true"}'}, set()),
        ({"service": "shop", "minDuration": "200ms"}, {"1"}),
        ({"service": "shop", "maxDuration": "1.5ms"}, {"3"}),
        ({"service": "shop", "minDuration": "2000us", "maxDuration": "1m0.5s"}, {"1"}),
        ({"service": "shop", "start": START_US + 1}, set()),
        ({"service": "shop", "end": START_US - 1}, set()),
        ({"service": "shop", "end": START_US}, {"1", "3"}),
        ({"service": "shop", "start": START_US, "end": START_US + 1, "lookback": "1h"}, {"1", "3"}),
    ],
)
def test_search(shop: Service, asked: dict[str, object], expected: set[str]) -> None:
    """A trace is found if one span of the service matches all conditions."""
    assert set(traces(shop, **asked)) == expected


def test_search_is_limited(shop: Service) -> None:
    """A search returns at most as many traces as its limit."""
    assert len(traces(shop, service="shop", limit=1)) == 1


def test_found_trace_is_whole(shop: Service) -> None:
    """A trace that is found includes the spans of all services."""
    (found,) = get(shop, "/traces", service="bank").json["data"]
    assert [found] == get(shop, "/traces/1").json["data"]


def test_traces_by_id(shop: Service) -> None:
    """Several traces are read by their ids; unknown ids are left out."""
    assert traces(shop, traceID=["1", "2", "77"]) == ["1", "2"]


def test_root(shop: Service) -> None:
    """The API is also served without the prefix, because some Grafana releases search there."""
    path = "/api/traces?service=bank"
    assert ask(shop.app, path).json == ask(shop.app, f"/jaeger{path}").json


@sampled(2)
@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/traces", 400, "parameter 'service' is required"),
        ("/traces/xyz", 400, "Invalid traceID 'xyz': expected up to 32 hex digits"),
        ("/traces/77", 404, "trace not found"),
        ("/traces?service=s&start=x", 400, "unable to parse param 'start': expected microseconds"),
        (
            "/traces?service=s&minDuration=soon",
            400,
            "unable to parse param 'minDuration': invalid duration 'soon'",
        ),
        (
            "/traces?service=s&minDuration=2s&maxDuration=1s",
            400,
            "'maxDuration' should be greater than 'minDuration'",
        ),
        (
            "/traces?service=s&tags=" + quote('{"a":1}'),
            400,
            "malformed 'tags' parameter: expected a JSON object of text",
        ),
        (
            "/traces?service=s&limit=none",
            400,
            "unable to parse param 'limit': Input should be a valid integer, unable to parse "
            "string as an integer",
        ),
        ("/operations", 400, "unable to parse param 'service': Field required"),
    ],
)
def test_wrong_question(shop: Service, path: str, status: int, message: str) -> None:
    """An invalid request gets Jaeger's error response."""
    answer = get(shop, path)
    assert (answer.status, answer.json) == (
        status,
        {
            "data": None,
            "total": 0,
            "limit": 0,
            "offset": 0,
            "errors": [{"code": status, "msg": message}],
        },
    )


def test_projects_of_a_key(shop: Service) -> None:
    """A key can read services, operations and traces of its projects only."""
    access = Access("id", "name", frozenset({READ}), ("other",))
    reader = shop.store.reader.narrow(access)
    assert find_services(reader, NOW_NS) == ["shop"]
    assert [one.name for one in find_operations(reader, "shop", NOW_NS)] == ["secret"]
    found = search(reader, TraceSearch(service="shop", limit=10), NOW_NS)
    assert [trace.traceID for trace in found] == [trace_id(3).hex()]
    with pytest.raises(Missing):
        find_jaeger_trace(reader, "1", NOW_NS)
