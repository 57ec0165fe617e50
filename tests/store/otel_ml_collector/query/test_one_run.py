"""Tests of reading one run with all its details, and of reading traces."""

from typing import Any

import pytest

from otel_ml_collector.errors import BadInput, Missing
from otel_ml_collector.runs.answers import run_writer
from otel_ml_collector.runs.find import find_run
from otel_ml_collector.runs.traces import find_trace
from otel_ml_collector.span import Event, Link, Scope, Span
from tests.support.otel_ml_collector.spans import (
    MS_NS,
    NOW_NS,
    SECOND_NS,
    id_of,
    make_call,
    make_record,
    make_span,
    span_id,
    trace_id,
)
from tests.support.otel_ml_collector.stores import Store


def make_story() -> tuple[Span, list[Span]]:
    """Make a run and the spans that provide all its details."""
    root = make_call(
        "request",
        {"session.id": "s-1", "user.id": "u-1", "otel_ml.trace_key": "order-7"},
        trace_id=trace_id(1),
        span_id=span_id(1),
    )
    call = make_call(
        "answer",
        {
            "otel_ml.model.version": "00000000000000aa",
            "otel_ml.inputs": '{"question": "Where?"}',
            "otel_ml.outputs": '{"text": "Here.", "score": 0.5}',
            "otel_ml.params": '{"k": 3}',
            "otel_ml.tag.client": "bigshot",
            "otel_ml.tags": '{"client": {"type": "label", "group": "who"}}',
            "otel_ml.score.grounded": 0.5,
            "otel_ml.passed.grounded": True,
            "otel_ml.judges": '{"grounded": {"version": "00000000000000bb", "label": "ok"}}',
            "gen_ai.usage.input_tokens": 7,
            "http.route": "/answer",
            "otel_ml.capture": '{"inputs": ["truncated", "redacted"]}',
        },
        trace_id=trace_id(1),
        span_id=span_id(2),
        parent_span_id=span_id(1),
        end_ns=NOW_NS + 20 * MS_NS,
        events=[
            Event("otel_ml.log", NOW_NS + 2 * MS_NS, {"otel_ml.log.message": "second"}),
            Event("cache.miss", NOW_NS + MS_NS, {"key": "k"}),
        ],
        links=[Link(trace_id(9), span_id(9), {})],
        scope=Scope({"service.version": "1.2"}, "otel_ml", "0.1", {}),
    )
    update = make_record(
        "update",
        call,
        {
            "otel_ml.tag.late": 3,
            "otel_ml.metric.names": ["loss", "loss", "accuracy"],
            "otel_ml.metric.values": [0.5, 0.25, 1.0],
            "otel_ml.metric.modes": ["auto", "auto", "auto"],
        },
        start_ns=NOW_NS + SECOND_NS,
        events=[
            Event(
                "otel_ml.log",
                NOW_NS + MS_NS,
                {"otel_ml.log.message": "first", "otel_ml.log.severity": "error"},
            )
        ],
    )
    person = make_record(
        "evaluation",
        call,
        {
            "otel_ml.judge.name": "liked",
            "otel_ml.source": "human",
            "otel_ml.passed": False,
            "otel_ml.explanation": "Too short",
        },
        start_ns=NOW_NS + 2 * SECOND_NS,
    )
    failed = make_record(
        "evaluation",
        call,
        {"otel_ml.judge.name": "polite", "error.type": "KeyError"},
        start_ns=NOW_NS + 3 * SECOND_NS,
    )
    return call, [root, call, update, person, failed]


def test_find_run(store: Store, project: str) -> None:
    """A run is read with all its details."""
    call, story = make_story()
    store.take(project, *story)
    assert run_writer().dump_python(
        find_run(store.reader, id_of(call), project, now_ns=NOW_NS)
    ) == {
        "run_id": f"{'0' * 31}1-{'0' * 15}2",
        "trace_id": f"{'0' * 31}1",
        "parent_run_id": f"{'0' * 31}1-{'0' * 15}1",
        "trace_key": "order-7",
        "project": project,
        "kind": "model",
        "name": "answer",
        "span_kind": "internal",
        "model": "answer",
        "version": 1,
        "digest": "00000000000000aa",
        "start_time": "2026-11-20T07:00:00.000000000Z",
        "start_ns": NOW_NS,
        "latency_ms": 20.0,
        "outcome": "ok",
        "last_heard_ns": None,
        "error_type": "",
        "error_message": "",
        "inputs": {"question": "Where?"},
        "outputs": {"text": "Here.", "score": 0.5},
        "tags": {"client": "bigshot", "late": 3},
        "scores": {"grounded": 0.5},
        "passed": {"grounded": True, "liked": False},
        "failed_judges": ["polite"],
        "truth": {},
        "label": {"liked": False},
        "agent": {},
        "session": "s-1",
        "user": "u-1",
        "environment": "",
        "release": "1.2",
        "provider": "",
        "provider_model": "",
        "tokens": dict.fromkeys(("output", "cached", "reasoning", "cache_creation")) | {"input": 7},
        "cost": None,
        "cost_note": "",
        "first_token_ms": None,
        "stream_chunks": None,
        "tokens_per_second": None,
        "record_of": None,
        "experiment": "",
        "dataset": "",
        "item": "",
        "item_digest": "",
        "repeat": 0,
        "also_recorded": (),
        "counted": None,
        "finish_reason": "",
        "response_id": "",
        "chunks": None,
        "params": {"k": 3},
        "trace_keys": ["order-7"],
        "capture": {"inputs": ["truncated", "redacted"]},
        "metrics": {"loss": [0.5, 0.25], "accuracy": 1.0},
        "metric_points": {"loss": 2, "accuracy": 1},
        "metric_sources": {"loss": "logged", "accuracy": "logged"},
        "evaluations": [
            {
                "judge": "grounded",
                "version": 1,
                "digest": "00000000000000bb",
                "score": 0.5,
                "passed": True,
                "label": "ok",
                "explanation": "",
                "error": "",
                "source": "judge",
                "actual": None,
                "time": "2026-11-20T07:00:00.020000000Z",
                "annotator": "",
            },
            {
                "judge": "liked",
                "version": None,
                "digest": "",
                "score": None,
                "passed": False,
                "label": "",
                "explanation": "Too short",
                "error": "",
                "source": "human",
                "actual": None,
                "time": "2026-11-20T07:00:02.000000000Z",
                "annotator": "",
            },
            {
                "judge": "polite",
                "version": None,
                "digest": "",
                "score": None,
                "passed": None,
                "label": "",
                "explanation": "",
                "error": "KeyError",
                "source": "judge",
                "actual": None,
                "time": "2026-11-20T07:00:03.000000000Z",
                "annotator": "",
            },
        ],
        "tag_details": [
            {"name": "late", "value": 3, "type": "", "group": ""},
            {"name": "client", "value": "bigshot", "type": "label", "group": "who"},
        ],
        "artifacts": [],
        "logs": [
            {
                "time_ns": NOW_NS + MS_NS,
                "offset_ms": 1.0,
                "severity": "error",
                "message": "first",
                "event": "",
                "attributes": {},
            },
            {
                "time_ns": NOW_NS + 2 * MS_NS,
                "offset_ms": 2.0,
                "severity": "info",
                "message": "second",
                "event": "",
                "attributes": {},
            },
        ],
        "events": [{"name": "cache.miss", "time_ns": NOW_NS + MS_NS, "attributes": {"key": "k"}}],
        "links": [
            {"trace_id": f"{'0' * 31}9", "span_id": f"{'0' * 15}9", "attributes": {}},
        ],
        "attributes": {"http.route": "/answer", "gen_ai.usage.input_tokens": 7},
        "otlp": {},
        "resource": {"service.version": "1.2"},
        "scope": {"name": "otel_ml", "version": "0.1"},
        "dialect": "otel_ml",
        "uses": [],
        "produced": [],
        "used_by": [],
    }


def test_score_that_travels_twice(store: Store, project: str) -> None:
    """A judge's score that arrives on the span and again later counts once, as the later value."""
    told = '{"j": {"version": "00000000000000bb"}}'
    call = make_call(attributes={"otel_ml.score.j": 0.25, "otel_ml.judges": told})
    later = make_record(
        "evaluation",
        call,
        {
            "otel_ml.judge.name": "j",
            "otel_ml.judge.version": "00000000000000bb",
            "otel_ml.score.value": 0.75,
        },
        start_ns=NOW_NS + SECOND_NS,
    )
    store.take(project, later)
    store.take(project, call, later)
    run = find_run(store.reader, id_of(call), project, now_ns=NOW_NS)
    assert [(one.judge, one.score) for one in run.evaluations] == [("j", 0.75)]
    assert run.scores == {"j": 0.75}


def test_find_bare_run(store: Store, project: str) -> None:
    """A run without details has empty parts."""
    call = make_call()
    store.take(project, call)
    run = find_run(store.reader, id_of(call), project, now_ns=NOW_NS)
    assert (run.inputs, run.outputs, run.params) == (None, None, None)
    assert (run.metrics, run.evaluations, run.tag_details, run.logs) == ({}, [], [], [])
    assert (run.events, run.links, run.attributes, run.parent_run_id) == ([], [], {}, None)


def test_find_run_without_project(store: Store, project: str) -> None:
    """A run that only one project has is found by its ID alone."""
    call = make_call()
    store.take(project, call)
    assert find_run(store.reader, id_of(call), now_ns=NOW_NS).project == project


def test_find_run_in_two_projects(store: Store, project: str) -> None:
    """A run that two projects have is found only with the project's name."""
    call = make_call()
    store.take(f"{project} a", call)
    store.take(f"{project} b", call)
    with pytest.raises(BadInput) as caught:
        find_run(store.reader, id_of(call), now_ns=NOW_NS)
    assert str(caught.value) == (
        f"Several projects have run {id_of(call)}: choose one of {project} a, {project} b"
    )
    assert caught.value.field == "project"
    assert (
        find_run(store.reader, id_of(call), f"{project} b", now_ns=NOW_NS).project == f"{project} b"
    )


@pytest.mark.parametrize("run_id", ["", "nonsense", "A" * 32 + "-" + "B" * 16, "a" * 32])
def test_find_run_by_bad_id(store: Store, run_id: str) -> None:
    """The error for an invalid run ID states the expected form."""
    with pytest.raises(BadInput) as caught:
        find_run(store.reader, run_id, now_ns=NOW_NS)
    assert (
        str(caught.value)
        == f"Invalid run ID {run_id!r}: expected 32 hex digits, a dash, 16 hex digits"
    )


def test_find_unknown_run(store: Store, project: str) -> None:
    """An unknown run is not found, even if its trace exists."""
    call = make_call()
    store.take(project, call)
    unknown = f"{call.trace_id.hex()}-{'f' * 16}"
    with pytest.raises(Missing, match=f"^There is no run {unknown}$"):
        find_run(store.reader, unknown, now_ns=NOW_NS)
    with pytest.raises(Missing):
        find_run(store.reader, id_of(call), "another project", now_ns=NOW_NS)


def test_find_run_behind_many_roots(store: Store, project: str) -> None:
    """A run in a trace with many roots is found."""
    roots = [make_call(trace_id=trace_id(5), start_ns=NOW_NS - 200 + n) for n in range(150)]
    store.take(project, *roots)
    assert find_run(store.reader, id_of(roots[-1]), project, now_ns=NOW_NS).run_id == id_of(
        roots[-1]
    )


def test_find_trace(store: Store, project: str) -> None:
    """A trace contains all its runs and plain spans, oldest first, each once."""
    spans = [
        make_call("b", trace_id=trace_id(6), start_ns=NOW_NS + 2),
        make_call("a", trace_id=trace_id(6), start_ns=NOW_NS + 1),
        make_span("GET", trace_id=trace_id(6)),
    ]
    store.take(project, *spans, make_call("other"))
    store.take(project, *spans)
    trace = find_trace(store.reader, f"{'0' * 31}6", project, now_ns=NOW_NS)
    assert [run.name for run in trace.runs] == ["GET", "a", "b"]
    assert (trace.key, trace.truncated) == (f"{'0' * 31}6", False)


def test_find_traces_by_key(store: Store, project: str) -> None:
    """A user's own key finds all traces that have the key, with all their runs."""
    key = {"otel_ml.trace_key": f"{project}/order 7"}
    one = make_call("one", key, start_ns=NOW_NS - 9)
    child = make_call("child", trace_id=one.trace_id, start_ns=NOW_NS - 5, end_ns=NOW_NS)
    two = make_call("two", key, start_ns=NOW_NS - 7)
    other = make_call("other", {"otel_ml.trace_key": f"{project}/order 8"})
    store.take(project, one, two, other)
    store.take(f"{project} elsewhere", child)
    trace = find_trace(store.reader, f"{project}/order 7", now_ns=NOW_NS)
    assert [run.name for run in trace.runs] == ["one", "two"]


def test_key_of_one_span(store: Store, project: str) -> None:
    """A key on one span of a trace also finds the other spans of the trace."""
    root = make_span("GET", start_ns=NOW_NS - SECOND_NS)
    ids: dict[str, Any] = {"trace_id": root.trace_id, "parent_span_id": root.span_id}
    keyed = make_call("keyed", {"otel_ml.trace_key": f"{project} key"}, **ids)
    after = make_call("after", start_ns=NOW_NS + SECOND_NS, **ids)
    store.take(project, root, keyed, after)
    trace = find_trace(store.reader, f"{project} key", now_ns=NOW_NS)
    assert [run.name for run in trace.runs] == ["GET", "keyed", "after"]


def test_long_key(store: Store, project: str) -> None:
    """A key of any length finds its trace."""
    key = f"{project} " * 20
    store.take(project, make_call("one", {"otel_ml.trace_key": key}))
    assert [run.name for run in find_trace(store.reader, key, now_ns=NOW_NS).runs] == ["one"]


def test_find_unknown_trace(store: Store, project: str) -> None:
    """An unknown trace is not found."""
    with pytest.raises(Missing, match=f"^There is no trace '{project}'$"):
        find_trace(store.reader, project, now_ns=NOW_NS)
