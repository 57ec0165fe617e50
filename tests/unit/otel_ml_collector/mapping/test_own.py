"""Tests of the `otel_ml` dialect: the ``otel_ml.*`` attributes of a run."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import pytest

from otel_ml_collector.records import LineRecord, Metric, ModelVersion, Records, Run, Tag, TraceKey
from otel_ml_collector.span import Event, Link, Scope, Span, Value
from tests.support.otel_ml_collector.spans import (
    MS_NS,
    NOW_NS,
    SECOND_NS,
    make_call,
    make_span,
    map_all,
    map_one,
    span_id,
    trace_id,
)

RUN_ID: Final = f"{'0' * 31}1-{'0' * 15}2"

SPAN: Final = Span(
    trace_id=trace_id(1),
    span_id=span_id(2),
    parent_span_id=span_id(3),
    name="answer step",
    kind=1,
    start_ns=NOW_NS,
    end_ns=NOW_NS + 12 * MS_NS,
    status_code=2,
    status_message="unseen",
    attributes={
        "otel_ml.project": "shop",
        "otel_ml.kind": "chain",
        "otel_ml.record": "run",
        "otel_ml.model.name": "answer",
        "otel_ml.model.version": "0123456789abcdef",
        "otel_ml.model.output_schema": "fedcba98",
        "otel_ml.model.definition": '{"source":"def answer(): ..."}',
        "otel_ml.inputs": '{"question": "Where?", "again": null}',
        "otel_ml.inputs.preview": "unseen",
        "otel_ml.outputs": '"Here."',
        "otel_ml.latency_ms": 12.5,
        "otel_ml.outcome": "error",
        "otel_ml.tag.client": "bigshot",
        "otel_ml.tag.size": 3,
        "otel_ml.tags": '{"client": {"type": "label", "group": "who"}}',
        "otel_ml.trace_key": "order-7",
        "otel_ml.params": '{"k": 5}',
        "otel_ml.process": "ab12cd34",
        "otel_ml.seq": 9,
        "session.id": "s-1",
        "user.id": "u-1",
        "error.type": "KeyError",
        "http.route": "/answer",
    },
    events=[
        Event(
            "otel_ml.log",
            NOW_NS + 1,
            {"otel_ml.log.severity": "warning", "otel_ml.log.message": "Slow."},
        ),
        Event(
            "exception",
            NOW_NS + 2,
            {"exception.type": "shop.NoStock", "exception.message": "None left"},
        ),
    ],
    links=[Link(trace_id(4), span_id(5), {"why": "retry"})],
    scope=Scope(
        {"deployment.environment.name": "prod", "service.version": "1.2"}, "otel_ml", "0.1.0", {}
    ),
)
RUN: Final = Run(
    project="shop",
    trace_id=trace_id(1),
    span_id=span_id(2),
    parent_span_id=span_id(3),
    kind="chain",
    name="answer step",
    span_kind="internal",
    model="answer",
    digest="0123456789abcdef",
    structure="fedcba98",
    start_ns=NOW_NS,
    end_ns=NOW_NS + 12 * MS_NS,
    outcome="error",
    error_type="KeyError",
    error_message="None left",
    inputs='{"question":"Where?","again":null}',
    outputs='"Here."',
    inputs_preview="Where?",
    outputs_preview="None left",
    tags=[Tag("client", "bigshot", "label", "who"), Tag("size", 3)],
    session="s-1",
    user="u-1",
    environment="prod",
    release="1.2",
    provider="",
    provider_model="",
    input_tokens=None,
    output_tokens=None,
    cached_tokens=None,
    reasoning_tokens=None,
    cost=None,
    params='{"k":5}',
    logs=[LineRecord(NOW_NS + 1, "warning", "Slow.")],
    events=(
        f'[{{"name":"exception","time_ns":{NOW_NS + 2},"attributes":'
        '{"exception.type":"shop.NoStock","exception.message":"None left"}}]'
    ),
    links=(
        '[{"trace_id":"00000000000000000000000000000004",'
        '"span_id":"0000000000000005","attributes":{"why":"retry"}}]'
    ),
    attributes='{"http.route":"/answer","otel.status_description":"unseen"}',
    resource='{"deployment.environment.name":"prod","service.version":"1.2"}',
    scope='{"name":"otel_ml","version":"0.1.0"}',
    dialect="otel_ml",
    process="ab12cd34",
    seq=9,
    rank=0,
)


def test_run() -> None:
    """An `otel_ml` span is mapped field by field."""
    (run,) = map_all(SPAN).runs
    assert replace(run, rank=0) == RUN


def test_run_id() -> None:
    """A run ID consists of the trace ID and the span ID in hex."""
    assert RUN.run_id == RUN_ID


def test_version() -> None:
    """A run with a digest stores its version, with the definition on the span."""
    assert map_all(SPAN).versions == [
        ModelVersion(
            project="shop",
            kind="model",
            name="answer",
            digest="0123456789abcdef",
            structure="fedcba98",
            definition='{"source":"def answer(): ..."}',
            first_seen_ns=NOW_NS,
            last_seen_ns=NOW_NS,
        )
    ]


def test_no_version() -> None:
    """A run without a digest stores no version."""
    assert map_all(make_call()).versions == []


def test_trace_keys() -> None:
    """A run is found by its trace ID and by the user's own trace key."""
    end_ns = NOW_NS + 12 * MS_NS
    assert map_all(SPAN).trace_keys == [
        TraceKey(f"{'0' * 31}1", "shop", trace_id(1), NOW_NS, end_ns),
        TraceKey("order-7", "shop", trace_id(1), NOW_NS, end_ns),
    ]


@pytest.mark.parametrize("kind", ["model", "chain", "tool", "retriever", "embedding", "agent"])
def test_kind(kind: str) -> None:
    """A run has the kind that its span names."""
    assert map_one(make_call(attributes={"otel_ml.kind": kind})).kind == kind


def test_default_kind() -> None:
    """A run with a model name but no kind is a model call."""
    assert map_one(make_call()).kind == "model"


def test_unknown_kind() -> None:
    """A run with a model name and an unknown kind is a model call."""
    assert map_one(make_call(attributes={"otel_ml.kind": "oracle"})).kind == "model"


def test_no_model_call() -> None:
    """A span whose only `otel_ml` attribute is the project is not a model call."""
    run = map_one(make_span("GET", {"otel_ml.project": "shop"}))
    assert (run.kind, run.model, run.project) == ("span", "", "shop")


@pytest.mark.parametrize("outcome", ["ok", "error", "cancelled", "abandoned"])
def test_outcome(outcome: str) -> None:
    """The outcome that the span names takes precedence over its status."""
    run = map_one(make_call(attributes={"otel_ml.outcome": outcome}, status_code=2))
    assert run.outcome == outcome


def test_unknown_outcome() -> None:
    """If the outcome is unknown, the span's status is used."""
    run = map_one(make_call(attributes={"otel_ml.outcome": "great"}, status_code=2))
    assert run.outcome == "error"


@pytest.mark.parametrize(
    ("attributes", "tags"),
    [
        ({"otel_ml.tag.a": "text"}, [Tag("a", "text")]),
        ({"otel_ml.tag.a": False}, [Tag("a", value=False)]),
        ({"otel_ml.tag.a": 0}, [Tag("a", 0)]),
        ({"otel_ml.tag.a": 0.5}, [Tag("a", 0.5)]),
        ({"otel_ml.tag.a": math.inf}, [Tag("a", "Infinity")]),
        ({"otel_ml.tag.a": math.nan}, [Tag("a", "NaN")]),
        ({"otel_ml.tag.a": ["x", 1]}, [Tag("a", '["x",1]')]),
        ({"otel_ml.tag.b": 2, "otel_ml.tag.a": 1}, [Tag("a", 1), Tag("b", 2)]),
        (
            {"otel_ml.tag.a": 1, "otel_ml.tags": '{"a": {"type": "metric"}}'},
            [Tag("a", 1, "metric", "")],
        ),
        (
            {"otel_ml.tags": '{"a": {"value": 0, "type": "metric", "group": "g"}}'},
            [Tag("a", 0, "metric", "g")],
        ),
        ({"otel_ml.tags": {"a": {"value": 1, "group": "g"}}}, [Tag("a", 1, "", "g")]),
        ({"otel_ml.tags": "{broken"}, []),
        ({"otel_ml.tags": '["a"]'}, []),
        ({"otel_ml.tags": '{"a": 1}'}, []),
    ],
)
def test_tags(attributes: dict[str, Value], tags: list[Tag]) -> None:
    """Tags are read from one attribute each. `otel_ml.tags` adds types, groups and further tags."""
    assert map_one(make_call(attributes=attributes)).tags == tags


@pytest.mark.parametrize(
    ("attributes", "severity", "message"),
    [
        ({"otel_ml.log.severity": "debug", "otel_ml.log.message": "a"}, "debug", "a"),
        ({"otel_ml.log.message": "a"}, "info", "a"),
        ({"otel_ml.log.severity": "shout", "otel_ml.log.message": "a"}, "info", "a"),
        ({"otel_ml.log.message": 3}, "info", "3"),
        ({}, "info", ""),
    ],
)
def test_text_line(attributes: dict[str, Value], severity: str, message: str) -> None:
    """A text line has the severity of its event, or info."""
    run = map_one(make_call(events=[Event("otel_ml.log", NOW_NS + 5, attributes)]))
    assert (run.logs, run.events) == ([LineRecord(NOW_NS + 5, severity, message)], "")


@pytest.mark.parametrize(
    ("sent", "stored", "preview"),
    [
        ("{broken", '"{broken"', "{broken"),
        ("", '""', ""),
        ("null", "null", ""),
        ({"a": 1}, '{"a":1}', "1"),
        (7, "7", "7"),
        (b"\x00\xff", '"AP8="', '"AP8="'),
    ],
)
def test_payload(sent: Value, stored: str, preview: str) -> None:
    """A payload that is not JSON text is stored as its value in JSON."""
    run = map_one(make_call(attributes={"otel_ml.inputs": sent}))
    assert (run.inputs, run.inputs_preview) == (stored, preview)


@pytest.mark.parametrize("depth", [300, 1_000])
@pytest.mark.parametrize("wrap", ["[{}]", '{{"a":{}}}'], ids=["lists", "objects"])
def test_deep_payload(depth: int, wrap: str) -> None:
    """A payload that is nested too deeply to be written again is kept as text."""
    opening, closing = wrap.format("|").split("|")
    text = opening * depth + "1" + closing * depth
    run = map_one(make_call(attributes={"otel_ml.inputs": text}))
    assert run.inputs.startswith('"')


def score(name: str, value: float | None, **fields: object) -> Metric:
    """Make an expected judge's score of the run of `SPAN`."""
    metric = Metric(
        project="shop",
        owner=RUN_ID,
        owner_start_ns=NOW_NS,
        name=name,
        value=value,
        step=-1,
        time_ns=NOW_NS + 12 * MS_NS,
        mode="single",
        source="judge",
    )
    return replace(metric, **fields)  # type: ignore[arg-type] # each by its own name


def with_scores(attributes: Mapping[str, Value]) -> Records:
    """Map `SPAN` with the given scores and without its own version."""
    kept = {k: v for k, v in SPAN.attributes.items() if not k.startswith("otel_ml.model.v")}
    return map_all(replace(SPAN, attributes={**kept, **attributes}))


def test_scores() -> None:
    """Scores on the span become metrics, with the details of their judges."""
    records = with_scores(
        {
            "otel_ml.score.grounded": 0.25,
            "otel_ml.passed.grounded": False,
            "otel_ml.judges": (
                '{"grounded": {"version": "00000000000000aa", "label": "weak",'
                ' "explanation": "No source", "definition": "{}"},'
                ' "polite": {"version": "00000000000000bb", "error": "TimeoutError"}}'
            ),
        }
    )
    assert sorted(records.metrics, key=lambda metric: metric.name) == [
        score(
            "grounded",
            0.25,
            passed=False,
            label="weak",
            explanation="No source",
            judge_version="00000000000000aa",
        ),
        score("polite", None, error="TimeoutError", judge_version="00000000000000bb"),
    ]
    assert sorted(records.versions, key=lambda version: version.name) == [
        ModelVersion("shop", "judge", "grounded", "00000000000000aa", "", "{}", NOW_NS, NOW_NS),
        ModelVersion("shop", "judge", "polite", "00000000000000bb", "", "", NOW_NS, NOW_NS),
    ]


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"otel_ml.score.j": 0}, score("j", 0.0)),
        ({"otel_ml.score.j": "0.5"}, score("j", 0.5)),
        ({"otel_ml.score.j": True}, score("j", None)),
        ({"otel_ml.passed.j": True}, score("j", None, passed=True)),
        ({"otel_ml.score.j": 1, "otel_ml.passed.j": "yes"}, score("j", 1.0)),
        ({"otel_ml.score.j": 1, "otel_ml.judges": "{broken"}, score("j", 1.0)),
        ({"otel_ml.judges": '{"j": {"score": 1, "passed": true}}'}, score("j", 1.0, passed=True)),
        ({"otel_ml.score.j": 1, "otel_ml.judges": '{"j": {"score": 2}}'}, score("j", 1.0)),
    ],
)
def test_score_alone(attributes: dict[str, Value], expected: Metric) -> None:
    """A score without details of its judge is a metric without a judge version."""
    records = with_scores(attributes)
    assert (records.metrics, records.versions) == ([expected], [])


def test_times() -> None:
    """A run whose span ends before it starts has a duration of 0."""
    run = map_one(make_call(end_ns=NOW_NS - SECOND_NS))
    assert (run.start_ns, run.end_ns) == (NOW_NS, NOW_NS)
