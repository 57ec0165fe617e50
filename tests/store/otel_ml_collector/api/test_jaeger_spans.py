"""Jaeger's query API returns all the data of spans, and finds spans by all of it.

`tests/nightly/neighbours` compares it with Jaeger's own responses for the same spans.
"""

import json
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest

from otel_ml_collector.jaeger.attributes import VALUE_CHARS, readings, to_text
from otel_ml_collector.mapping.filing import Filing
from otel_ml_collector.mapping.spans import map_spans
from otel_ml_collector.span import Scope, Span, Value
from tests.support.neighbours.story import ANSWER, PROJECT, QUESTION, make_story
from tests.support.otel_ml_collector.asgi import Answered, ask
from tests.support.otel_ml_collector.spans import make_call, make_span, span_id, trace_id
from tests.support.otel_ml_collector.stores import Service, open_service
from tests.support.sampling import at_night, sampled

SPANS = make_story()
IDS = {span.span_id.hex(): span.trace_id.hex() for span in SPANS}
NOW_NS = time.time_ns()


def large() -> list[Span]:
    """Make three traces of 100 spans; their inputs are too large for one response."""
    told: dict[str, Value] = {"otel_ml.inputs": json.dumps("x" * VALUE_CHARS)}
    scope = Scope({"service.name": "large"}, "", "", {})
    ids = [trace_id(0x800 + number // 100) for number in range(300)]
    return [make_call("many", told, trace_id=one, start_ns=NOW_NS, scope=scope) for one in ids]


def many(number: int, count: int) -> list[Span]:
    """Make a trace of many spans; the trace with the higher number starts later."""
    scope = Scope({"service.name": "many"}, "", "", {})
    began_ns = NOW_NS + number * 10**6
    return [
        make_span("many", trace_id=trace_id(number), start_ns=began_ns + at, scope=scope)
        for at in range(count)
    ]


def shared() -> list[Span]:
    """Make 200 spans. Ten of them share an ID; a client and a server span share another."""
    ids = [1 if number % 20 == 0 else number + 1 for number in range(200)]
    repeated = [
        make_span("many", trace_id=trace_id(0xA01), span_id=span_id(one), start_ns=NOW_NS + number)
        for number, one in enumerate(ids)
    ]
    ends = [
        make_span(
            f"pay {service}",
            {"who": service},
            kind=kind,
            trace_id=trace_id(0xA02),
            span_id=span_id(1),
            start_ns=NOW_NS + place,
            scope=Scope({"service.name": f"zipkin-{service}"}, "", "", {}),
        )
        for place, (service, kind) in enumerate({"client": 3, "server": 2}.items())
    ]
    return [*repeated, *ends]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Open a collector with the story and with traces that are too large to be shown in full."""
    with open_service(tmp_path_factory.mktemp("data")) as opened:
        long = make_call(
            "long",
            {"otel_ml.inputs": json.dumps("é" * (VALUE_CHARS + 10))},
            trace_id=trace_id(0x777),
            start_ns=SPANS[0].start_ns,
        )
        opened.store.writer.write(map_spans([*SPANS, long], Filing(PROJECT, NOW_NS)))
        for spans in (large(), many(0x900, 3), many(0x901, 10_008)):
            opened.store.writer.write(map_spans(spans, Filing(PROJECT, NOW_NS)))
        for spans in (shared()[::2], shared()[::-1], shared()):  # split, reversed, repeated
            records = map_spans(spans, Filing(PROJECT, NOW_NS))
            assert not records.rejected
            opened.store.writer.write(records)
        yield opened


def get(told: Service, path: str, **parameters: object) -> Answered:
    query = f"?{urlencode(parameters, doseq=True)}" if parameters else ""
    return ask(told.app, f"/jaeger/api{path}{query}")


def read_span(told: Service, number: int) -> dict[str, Any]:
    """Return the tags of a span, type and value by name."""
    (trace,) = get(told, f"/traces/{IDS[span_id(number).hex()]}").json["data"]
    [span] = [one for one in trace["spans"] if one["spanID"] == span_id(number).hex()]
    return {tag["key"]: (tag["type"], tag["value"]) for tag in span["tags"]}


def found(told: Service, service: str, tags: dict[str, str]) -> set[str]:
    """Search; return the trace ids."""
    answer = get(told, "/traces", service=service, tags=json.dumps(tags)).json
    assert answer["errors"] is None, answer
    return {trace["traceID"] for trace in answer["data"]}


def test_values(told: Service) -> None:
    """Empty text, bytes, integers and lists have Jaeger's types and formats."""
    tags = read_span(told, 1)
    assert {name: tags[name] for name in tags if name.startswith("a.")} == {
        "a.text": ("string", "plain"),
        "a.spaces": ("string", "two words: 100 % [x]"),
        "a.accents": ("string", "Grüße, 東京"),
        "a.empty": ("string", ""),
        "a.number": ("int64", 42),
        "a.negative": ("int64", -7),
        "a.zero": ("int64", 0),
        "a.large": ("int64", "1152921504606846976"),
        "a.half": ("float64", 0.5),
        "a.whole": ("float64", 2.0),
        "a.tiny": ("float64", 1.5e-7),
        "a.huge": ("float64", 2.5e21),
        "a.true": ("bool", True),
        "a.false": ("bool", False),
        "a.bytes": ("binary", "AP8Q"),
        "a.texts": ("string", '["a","b"]'),
        "a.numbers": ("string", "[1,2,3]"),
        "a.floats": ("string", "[0.5,1,2.5e+21]"),
        "a.bools": ("string", "[true,false]"),
        "a.nothing": ("string", "[]"),
        "a.map": ("string", '{"inner":{"deep":1},"list":[1,"x"]}'),
        "a.markup": ("string", "<b>&amp;</b>"),
    }


@sampled(1)
@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (1, {"otel.status_code": ("string", "OK")}),
        (
            2,
            {
                "error": ("bool", True),
                "otel.status_code": ("string", "ERROR"),
                "otel.status_description": ("string", "no money"),
            },
        ),
        (3, {}),
        (
            5,
            {
                "error": ("bool", True),
                "otel.status_code": ("string", "ERROR"),
                "otel.status_description": ("string", "ValueError: no idea"),
            },
        ),
    ],
)
def test_status(told: Service, number: int, expected: dict[str, Any]) -> None:
    """A status is returned as it was recorded: OK, unset, or an error with its description."""
    tags = read_span(told, number)
    names = ("error", "otel.status_code", "otel.status_description")
    assert {name: tags[name] for name in names if name in tags} == expected


def test_own_fields(told: Service) -> None:
    """A run shows its version, scores, latency and parameters, and full inputs and outputs."""
    tags = read_span(told, 4)
    expected = {
        "otel_ml.model.version": ("string", "0123456789abcdef"),
        "otel_ml.model.output_schema": ("string", "fedcba9876543210"),
        "otel_ml.inputs": ("string", json.dumps({"question": QUESTION}, separators=(",", ":"))),
        "otel_ml.outputs": ("string", json.dumps(ANSWER)),
        "otel_ml.params": ("string", '{"k":3}'),
        "otel_ml.latency_ms": ("float64", 250.0),
        "otel_ml.score.grounded": ("float64", 0.75),
        "otel_ml.passed.grounded": ("bool", True),
        "otel_ml.judges": ("string", '{"grounded":{"version":"00000000000000aa"}}'),
        "otel_ml.trace_key": ("string", "order-17"),
        "otel_ml.process": ("string", "0000000a"),
        "otel_ml.seq": ("int64", 1),
        "otel_ml.tag.tier": ("int64", 2),
    }
    assert {name: tags.get(name) for name in expected} == expected


def test_long_input_is_cut(told: Service) -> None:
    """An input is shown up to 65,536 characters, with a warning that it is cut."""
    (trace,) = get(told, "/traces/777").json["data"]
    [span] = trace["spans"]
    tags = {tag["key"]: tag["value"] for tag in span["tags"]}
    assert tags["otel_ml.inputs"] == '"' + "é" * (VALUE_CHARS - 1)
    assert span["warnings"] == ["otel_ml.inputs is cut: 65536 of 65548 characters are shown"]


def test_answer_is_bounded(told: Service) -> None:
    """Inputs beyond 16 MiB per response are left out, with a warning on each span."""
    found = get(told, "/traces", service="large").json["data"]
    shown = [span for trace in found for span in trace["spans"]]
    whole = [span for span in shown if any(t["key"] == "otel_ml.inputs" for t in span["tags"])]
    assert (len(shown), len(whole)) == (300, 100 + 100 + 55)
    [warning] = {span["warnings"][0] for span in shown if span not in whole}
    assert warning == "otel_ml.inputs is cut: 0 of 65538 characters are shown"


def test_shared_ids(told: Service) -> None:
    """All 200 spans of a trace are shown once, including the 10 that share an id."""
    (trace,) = get(told, "/traces/a01").json["data"]
    assert sorted(span["spanID"] for span in trace["spans"]) == sorted(
        span.span_id.hex() for span in shared()[:200]
    )
    assert len(spans_of(get(told, "/v3/traces/a01"))) == 200


def test_client_and_server_of_one_id(told: Service) -> None:
    """A client and a server with the same id are both shown with their own data, and both found."""
    (trace,) = get(told, "/traces/a02").json["data"]
    tags = [{tag["key"]: tag["value"] for tag in span["tags"]} for span in trace["spans"]]
    services = [trace["processes"][span["processID"]]["serviceName"] for span in trace["spans"]]
    shown = [
        (span["operationName"], one["span.kind"], one["who"], service)
        for span, one, service in zip(trace["spans"], tags, services, strict=True)
    ]
    assert shown == [
        ("pay client", "client", "client", "zipkin-client"),
        ("pay server", "server", "server", "zipkin-server"),
    ]
    client, server = trace["spans"]
    assert [one["spanID"] for one in server["references"]] == [client["spanID"]]
    assert client["spanID"] == span_id(1).hex() != server["spanID"]
    for service in ("client", "server"):
        found_by = found(told, f"zipkin-{service}", {"who": service})
        assert found_by == {trace_id(0xA02).hex()}


def test_runs_of_a_shared_id(told: Service) -> None:
    """The trace's response and page have both spans with the same id; its run is one of them."""
    answer = ask(told.app, f"/api/v1/traces/{trace_id(0xA02).hex()}").json
    assert [run["name"] for run in answer["runs"]] == ["pay client", "pay server"]
    [run_id] = {run["run_id"] for run in answer["runs"]}
    page = ask(told.app, f"/projects/{PROJECT}/runs/{run_id}").text
    assert "pay client" in page
    assert "pay server" in page
    first, again = (ask(told.app, f"/api/v1/runs/{run_id}").json for _ in range(2))
    assert first == again


MORE = "Only 10000 spans are shown"
LEFT_OUT = "Traces left out: 1, an answer can contain 10000 spans"


def spans_of(answer: Answered) -> list[dict[str, Any]]:
    """Return the spans of an API v3 response."""
    return [
        span
        for resource in answer.json["result"]["resourceSpans"]
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
    ]


def new_warnings(answer: Answered) -> tuple[int, list[list[str]]]:
    """Return the number of spans of an API v3 response, and their warnings."""
    spans = spans_of(answer)
    lists = [
        pair["value"]["arrayValue"]["values"]
        for span in spans
        for pair in span["attributes"]
        if pair["key"] == "@jaeger@warnings"
    ]
    return len(spans), [[one["stringValue"] for one in values] for values in lists]


@at_night
def test_cut_trace_says_so(told: Service) -> None:
    """Both API versions show 10,000 of 10,008 spans, and warn that there are more."""
    (trace,) = get(told, "/traces/901").json["data"]
    assert (len(trace["spans"]), trace["warnings"]) == (10_000, [MORE])
    assert new_warnings(get(told, "/v3/traces/901")) == (10_000, [[MORE]])


@at_night
def test_cut_search_says_so(told: Service) -> None:
    """A search without room for all traces warns how many are left out, in both API versions."""
    (trace,) = get(told, "/traces", service="many").json["data"]
    assert (len(trace["spans"]), trace["warnings"]) == (10_000, [MORE, LEFT_OUT])
    times = {
        "query.start_time_min": "2020-01-01T00:00:00Z",
        "query.start_time_max": "2100-01-01T00:00:00Z",
    }
    found = get(told, "/v3/traces", **{**times, "query.service_name": "many"})
    assert new_warnings(found) == (10_000, [[MORE, LEFT_OUT]])


@at_night
def test_traces_without_room(told: Service) -> None:
    """Reading traces by id, the errors distinguish a trace without room from an unknown trace."""
    ids = [trace_id(number).hex() for number in (0x901, 0x900, 0x902)]
    assert get(told, "/traces", traceID=ids).json["errors"] == [
        {"traceID": ids[1], "msg": "an answer can contain 10000 spans"},
        {"traceID": ids[2], "msg": "trace not found"},
    ]


@sampled(1)
@pytest.mark.parametrize("span", SPANS, ids=[span.name for span in SPANS])
def test_what_is_shown_is_found(told: Service, span: Any) -> None:
    """A trace is found by each tag that one of its spans shows, except details of judges."""
    (trace,) = get(told, f"/traces/{span.trace_id.hex()}").json["data"]
    [shown] = [one for one in trace["spans"] if one["startTime"] == span.start_ns // 1_000]
    process = trace["processes"][shown["processID"]]
    fields = [field for log in shown["logs"] for field in log["fields"] if field["key"] != "event"]
    # A search for several tags finds traces with all of them. It accepts 20 tags, 4,000 characters.
    searches: list[dict[str, str]] = [{}]
    for tag in [*shown["tags"], *process["tags"], *fields]:
        name, text = tag["key"], to_text(tag["value"])
        if name != "otel_ml.judges":
            wanted = {**searches[-1], name: text}
            if name in searches[-1] or len(wanted) > 20 or len(json.dumps(wanted)) > 4_000:
                searches.append({})
            searches[-1][name] = text
    service = process["serviceName"]
    missed = [tags for tags in searches if trace["traceID"] not in found(told, service, tags)]
    assert [
        (name, text[:80])
        for tags in missed
        for name, text in tags.items()
        if trace["traceID"] not in found(told, service, {name: text})
    ] == []
    assert missed == []


@at_night
@pytest.mark.parametrize("span", SPANS, ids=[span.name for span in SPANS])
def test_another_value_is_not_found(told: Service, span: Any) -> None:
    """No trace is found by a value that none of its spans has."""
    (trace,) = get(told, f"/traces/{span.trace_id.hex()}").json["data"]
    services = {one["serviceName"] for one in trace["processes"].values()}
    tags = {tag["key"] for one in trace["spans"] for tag in one["tags"]} - {"error"}
    for service in services:
        assert [name for name in sorted(tags) if found(told, service, {name: "no such"})] == []


@sampled(3)
@pytest.mark.parametrize(
    ("service", "tags", "is_found"),
    [
        ("shop", {"scope.team": "blue"}, True),
        ("shop", {"scope.level": "7"}, True),
        ("shop", {"zones": '["x","y"]'}, True),
        ("shop", {"attempt": "2"}, True),
        ("shop", {"attempt": "2", "a.text": "plain"}, True),
        ("shop", {"attempt": "2", "a.text": "other"}, False),
        ("shop", {"link.reason": "batch"}, True),
        ("shop", {"link.reason": "other"}, False),
        ("shop", {"trace_id": "batch"}, False),
        ("shop", {"name": "retry"}, False),
        ("shop", {"deep": "1"}, False),
        ("shop", {"a.whole": "2.0"}, False),
        ("shop", {"a.true": "1"}, False),
        ("shop", {"a.text": '"plain"'}, False),
        ("bank", {"exception.message": "the account is empty"}, True),
        ("bank", {"error": "1"}, True),
        ("bank", {"error": "maybe"}, False),
        ("shop", {"error": "false"}, True),
        ("models", {"otel_ml.score.grounded": "0.7"}, False),
        ("models", {"otel_ml.passed.grounded": "false"}, False),
        ("models", {"otel_ml.inputs": '{"question": "how?"}'}, True),
        ("models", {"otel_ml.outcome": "error", "error.type": "ValueError"}, True),
        ("models", {"otel_ml.outcome": "ok", "error.type": "ValueError"}, False),
    ],
)
def test_search(told: Service, service: str, tags: dict[str, str], is_found: bool) -> None:
    """A search compares the text of fields of the span, its resource, scope and events."""
    assert bool(found(told, service, tags)) is is_found


def test_dependencies(told: Service) -> None:
    """Dependencies count spans by their parent's service and their own."""
    end = time.time_ns() // 10**6
    found = get(told, "/dependencies", endTs=end, lookback=3_600_000).json["data"]
    assert found == [
        {"parent": "bank", "child": "bank", "callCount": 1},
        {"parent": "ledger", "child": "ledger", "callCount": 1},
        {"parent": "shop", "child": "bank", "callCount": 1},
        {"parent": "till", "child": "ledger", "callCount": 1},
        {"parent": "zipkin-client", "child": "zipkin-server", "callCount": 1},
    ]
    assert get(told, "/dependencies", endTs=1).json["data"] == []


@at_night
def test_unknown_operations(told: Service) -> None:
    """The operations of an unknown service are null."""
    assert get(told, "/services/nobody/operations").json["data"] is None


def test_missing_trace_is_named(told: Service) -> None:
    """Reading several traces, the errors name the unknown ones."""
    answer = get(told, "/traces", traceID=["777", "778"]).json
    assert [trace["traceID"] for trace in answer["data"]] == [f"{0x777:032x}"]
    assert answer["errors"] == [{"msg": "trace not found", "traceID": f"{0x778:032x}"}]


WINDOW = {
    "query.start_time_min": "2026-01-01T00:00:00Z",
    "query.start_time_max": "2100-01-01T00:00:00Z",
}


def newly(told: Service, **parameters: object) -> Answered:
    """Search with API v3."""
    return get(told, "/v3/traces", **{**WINDOW, **{f"query.{k}": v for k, v in parameters.items()}})


def names_of(answer: Answered) -> list[str]:
    """List the names of all spans in a result."""
    return sorted(
        span["name"]
        for resource in answer.json["result"]["resourceSpans"]
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
    )


def test_new_services(told: Service) -> None:
    """API v3 lists services and operations."""
    assert get(told, "/v3/services").json == {
        "services": [
            *("bank", "large", "ledger", "many", "models", "shop", "till", "unknown_service"),
            *("zipkin-client", "zipkin-server"),
        ]
    }
    assert get(told, "/v3/operations", service="bank", span_kind="client").json == {
        "operations": [{"name": "pay", "spanKind": "client"}]
    }


def test_new_trace(told: Service) -> None:
    """API v3 returns a trace as OTLP JSON."""
    answer = get(told, f"/v3/traces/{IDS[span_id(2).hex()]}").json
    [found] = [
        (one["resource"], scope["scope"], span)
        for one in answer["result"]["resourceSpans"]
        for scope in one["scopeSpans"]
        for span in scope["spans"]
        if span["name"] == "pay"
    ]
    resource, scope, span = found
    assert resource == {
        "attributes": [
            {"key": "host.name", "value": {"stringValue": "b"}},
            {"key": "service.name", "value": {"stringValue": "bank"}},
        ]
    }
    assert scope == {"name": "lib.bank", "version": "2.0"}
    start_ns = SPANS[1].start_ns
    attributes = {pair["key"]: pair["value"] for pair in span.pop("attributes")}
    assert attributes["peer"] == {"stringValue": "bank"}
    assert span == {
        "traceId": SPANS[1].trace_id.hex(),
        "spanId": span_id(2).hex(),
        "parentSpanId": span_id(1).hex(),
        "name": "pay",
        "kind": 3,
        "startTimeUnixNano": str(start_ns),
        "endTimeUnixNano": str(start_ns + 20 * 10**6),
        "events": [
            {
                "timeUnixNano": str(start_ns + 19 * 10**6),
                "name": "exception",
                "attributes": [
                    {"key": "exception.message", "value": {"stringValue": "the account is empty"}},
                    {"key": "exception.stacktrace", "value": {"stringValue": "Traceback: here"}},
                    {"key": "exception.type", "value": {"stringValue": "NoMoney"}},
                ],
            }
        ],
        "status": {"message": "no money", "code": 2},
    }


@sampled(2)
@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"service_name": "bank", "operation_name": "take"}, ["take"]),
        ({"service_name": "bank", "duration_min": "1s"}, ["take"]),
        ({"service_name": "bank", "num_traces": 1}, ["take"]),
        ({"service_name": "bank", "search_depth": 1}, ["take"]),
        ({"service_name": "bank", "attributes": '{"peer":"bank"}'}, ["order", "pay", "store"]),
        ({"attributes": '{"alone":"true"}'}, ["lone"]),
    ],
)
def test_new_search(told: Service, asked: dict[str, object], expected: list[str]) -> None:
    """API v3 searches traces, with or without a service."""
    assert names_of(newly(told, **asked)) == expected


@sampled(1)
@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/v3/traces/78", 404, "No traces found"),
        ("/v3/traces/zz", 400, "Invalid traceID 'zz': expected up to 32 hex digits"),
        ("/v3/traces", 400, "query.start_time_min and query.start_time_max are required"),
        (
            f"/v3/traces?{urlencode({**WINDOW, 'query.attributes': '[]'})}",
            400,
            "malformed 'query.attributes' parameter: expected a JSON object of text",
        ),
        (f"/v3/traces?{urlencode({**WINDOW, 'query.service_name': 'x'})}", 404, "No traces found"),
    ],
)
def test_new_wrong_question(told: Service, path: str, status: int, message: str) -> None:
    """API v3 has its own error format."""
    answer = get(told, path)
    assert (answer.status, answer.json) == (
        status,
        {"error": {"httpCode": status, "message": message}},
    )


@sampled(1)
@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2.0, "2"),
        (0.5, "0.5"),
        (1.5e-7, "1.5e-7"),
        (1e-6, "0.000001"),
        (2.5e21, "2.5e+21"),
        (1e21, "1e+21"),
        (1.2345678901234568e20, "123456789012345680000"),
        (-3.0, "-3"),
        (0.0, "0"),
        (True, "true"),
        (None, ""),
        ("é", "é"),
        ([1.0, "a", None, {"b": 2.5}], '[1,"a",null,{"b":2.5}]'),
    ],
)
def test_text(value: object, text: str) -> None:
    """A value is formatted as in Go, and reading the text can give the value again."""
    assert to_text(value) == text
    assert isinstance(value, str | None) or value in readings(text)
