"""Tests of the aggregates over recorded runs."""

from dataclasses import replace
from typing import Any, Final

import pytest

from otel_ml_collector.measures import statistics
from otel_ml_collector.measures.sums import mean_score
from otel_ml_collector.records import Metric, Records
from otel_ml_collector.runs.find import RunsQuery, find_runs
from otel_ml_collector.store import facts
from otel_ml_collector.store.sql import ALWAYS, Condition, Sql
from otel_ml_collector.store.tables import METRICS
from otel_ml_collector.windows import Window
from tests.support.otel_ml_collector.spans import (
    DAY_NS,
    MS_NS,
    NOW_NS,
    SECOND_NS,
    id_of,
    make_call,
    make_record,
    make_span,
)
from tests.support.otel_ml_collector.stores import Store

V1: Final = {"otel_ml.model.version": "aa", "otel_ml.model.output_schema": "s"}
V2: Final = {"otel_ml.model.version": "bb", "otel_ml.model.output_schema": "s"}


def call(age_s: int, latency_ms: int, attributes: dict[str, Any], **fields: Any) -> Any:
    start_ns = NOW_NS - age_s * SECOND_NS
    times = {"start_ns": start_ns, "end_ns": start_ns + latency_ms * MS_NS}
    return make_call("answer", attributes, **{**times, **fields})


def test_projects(store: Store, project: str) -> None:
    """Projects are listed with their runs, errors and other spans, the newest first."""
    store.take(f"{project} old", call(60, 1, {}), call(50, 1, {}, status_code=2))
    store.take(f"{project} new", call(40, 1, {}), make_span("GET"))
    rows = [row for row in statistics.list_projects(store.reader) if project in row["project"]]
    assert rows == [
        {
            "project": f"{project} new",
            "runs": 1,
            "other_spans": 1,
            "errors": 0,
            "last_start_ns": NOW_NS,
        },
        {
            "project": f"{project} old",
            "runs": 2,
            "other_spans": 0,
            "errors": 1,
            "last_start_ns": NOW_NS - 50 * SECOND_NS,
        },
    ]


def test_models(store: Store, project: str) -> None:
    """Models are listed with their runs and errors, the one that ran last first."""
    tool = {"otel_ml.kind": "tool"}
    store.take(
        project,
        call(9, 1, {}),
        call(8, 1, {}, status_code=2),
        make_call("search", tool, start_ns=NOW_NS - 1),
        make_span("GET"),
    )
    assert statistics.list_models(store.reader, project) == [
        {
            "model": "search",
            "kind": "tool",
            "runs": 1,
            "errors": 0,
            "last_start_ns": NOW_NS - 1,
            "experiment_runs": 0,
        },
        {
            "model": "answer",
            "kind": "model",
            "runs": 2,
            "errors": 1,
            "last_start_ns": NOW_NS - 8 * SECOND_NS,
            "experiment_runs": 0,
        },
    ]


def test_version_runs(store: Store, project: str) -> None:
    """Each version has its runs, errors and latency quantiles accurate to 1 %."""
    first = [call(100 - ms, ms, V1, status_code=2 if ms == 5 else 0) for ms in range(1, 12)]
    store.take(project, *first)
    store.take(project, call(11, 7, V2), call(10, 9, V2), call(9, 9, V2))
    assert statistics.read_version_runs(store.reader, project, "answer") == [
        {
            "number": 1,
            "runs": 11,
            "errors": 1,
            "p50_ms": pytest.approx(6, rel=0.01),
            "p95_ms": pytest.approx(10, rel=0.01),
            "first_start_ns": NOW_NS - 99 * SECOND_NS,
            "last_start_ns": NOW_NS - 89 * SECOND_NS,
            "experiment_runs": 0,
        },
        {
            "number": 2,
            "runs": 3,
            "errors": 0,
            "p50_ms": pytest.approx(9, rel=0.01),
            "p95_ms": pytest.approx(9, rel=0.01),
            "first_start_ns": NOW_NS - 11 * SECOND_NS,
            "last_start_ns": NOW_NS - 9 * SECOND_NS,
            "experiment_runs": 0,
        },
    ]


def test_version_runs_of_repetitions(store: Store, project: str) -> None:
    """Runs delivered again change neither counts nor quantiles."""
    spans = [call(100 - ms, ms, V1) for ms in (1, 2, 3)]
    store.take(project, *spans)
    for span in (*spans, spans[0], spans[0]):
        store.take(project, span)
    (row,) = statistics.read_version_runs(store.reader, project, "answer")
    assert (row["runs"], row["p50_ms"]) == (3, pytest.approx(2, rel=0.01))


def evaluation(target: Any, judge: str, version: str, **attributes: Any) -> Any:
    return make_record(
        "evaluation",
        target,
        {
            "otel_ml.judge.name": judge,
            "otel_ml.judge.version": version,
            **{key.replace("_", "."): value for key, value in attributes.items()},
        },
        start_ns=attributes.pop("time_ns", NOW_NS),
    )


def test_version_scores(store: Store, project: str) -> None:
    """Each version has the mean of its judges' newest scores, and counts of passes and failures."""
    one, two, three = (call(age, 1, V1) for age in (3, 2, 1))
    store.take(project, one, two, three)
    judge = {"otel_ml.judge.name": "grounded", "otel_ml.judge.version": "j1"}
    told: list[tuple[Any, dict[str, Any], int]] = [
        (one, {"otel_ml.score.value": 0.25, "otel_ml.passed": False}, 1),
        (one, {"otel_ml.score.value": 0.5, "otel_ml.passed": True}, 2),
        (two, {"otel_ml.score.value": 1.0}, 1),
        (three, {"error.type": "TimeoutError"}, 1),
    ]
    for target, attributes, seconds in told:
        start_ns = NOW_NS + seconds * SECOND_NS
        store.take(
            project,
            make_record("evaluation", target, {**judge, **attributes}, start_ns=start_ns),
        )
    (row,) = statistics.read_version_scores(store.reader, project, "answer")
    assert mean_score(row) == 0.75
    assert row == {
        "number": 1,
        "judge": "grounded",
        "judge_version": "j1",
        "evaluations": 3,
        "on_request": 0,
        "failed": 1,
        "score": 1_500_000_000_000_000,
        "scored": 2,
        "passed": 1,
        "judged": 1,
    }


def test_count_runs(store: Store, project: str) -> None:
    """Runs are counted by time bucket within a half-open window."""
    spans = [call(age, 1, {}, status_code=2 if age == 12 else 0) for age in (31, 30, 12, 11, 10, 9)]
    store.take(project, *spans, *spans)
    start_ns, end_ns = NOW_NS - 30 * SECOND_NS, NOW_NS - 10 * SECOND_NS
    buckets = Window(start_ns, end_ns).cut(10 * SECOND_NS)
    rows = statistics.count_runs(store.reader, project, ALWAYS, buckets)
    assert rows == [
        {"bucket": start_ns, "runs": 1, "errors": 0},
        {"bucket": start_ns + 10 * SECOND_NS, "runs": 2, "errors": 1},
    ]


def test_count_of_winners(store: Store, project: str) -> None:
    """A run whose losing delivery matches is not counted."""
    span = call(5, 1, {"otel_ml.outcome": "error"})
    ended = replace(span, attributes={**span.attributes, "otel_ml.outputs": '"the whole answer"'})
    ended = replace(ended, attributes={**ended.attributes, "otel_ml.outcome": "ok"})
    store.take(project, span)
    store.take(project, ended)
    rows = statistics.count_runs(
        store.reader,
        project,
        Condition(Sql("outcome = 'error'")),
        Window(NOW_NS - DAY_NS, NOW_NS).cut(DAY_NS),
    )
    assert rows == []


def test_count_of_roots(store: Store, project: str) -> None:
    """A root is a run inside no other run, with any number of plain spans between."""
    failed = {"otel_ml.outcome": "error"}
    root, alone = call(20, 9, {}), call(20, 9, failed)
    child = call(19, 1, failed, trace_id=root.trace_id, parent_span_id=root.span_id)
    outer = make_span("POST", start_ns=NOW_NS - 40 * SECOND_NS)
    inner = make_span("db", trace_id=outer.trace_id, parent_span_id=outer.span_id)
    served = call(20, 9, {}, trace_id=outer.trace_id, parent_span_id=inner.span_id)
    within = make_span("GET", trace_id=outer.trace_id, parent_span_id=served.span_id)
    deeper = make_span("db", trace_id=outer.trace_id, parent_span_id=within.span_id)
    asked = call(19, 1, {}, trace_id=outer.trace_id, parent_span_id=deeper.span_id)
    orphan = call(10, 1, {}, parent_span_id=b"elsewher")
    spans = [root, alone, child, outer, inner, served, within, deeper, asked, orphan]
    store.take(project, *spans, *spans)
    window = Window(NOW_NS - 30 * SECOND_NS, NOW_NS)
    buckets = window.cut(15 * SECOND_NS)
    is_call = Condition(Sql("kind != 'span'"))
    counted = statistics.count_roots(store.reader, project, is_call, buckets)
    assert counted == [
        {"bucket": window.start_ns, "runs": 3, "errors": 1},
        {"bucket": window.start_ns + 15 * SECOND_NS, "runs": 1, "errors": 0},
    ]
    query = RunsQuery(project, roots=True)
    assert {run.run_id for run in find_runs(store.reader, query, NOW_NS).runs} == {
        *map(id_of, (root, alone, served, orphan))
    }


def test_bounds(store: Store, project: str) -> None:
    """The bounds of a project reach from its first run to just after its last run."""
    store.take(project, call(9, 1, {}), call(5, 1, {}), make_span("GET", start_ns=NOW_NS - DAY_NS))
    assert statistics.bound_runs(store.reader, project) == Window(
        NOW_NS - 9 * SECOND_NS, NOW_NS - 5 * SECOND_NS + 1
    )


def test_bounds_of_nothing(store: Store, project: str) -> None:
    """A project without recorded runs has no bounds."""
    store.take(project, make_span("GET"))
    assert statistics.bound_runs(store.reader, project) is None


def point(project: str, name: str, position: int) -> Metric:
    owner = id_of(make_call(trace_id=bytes(15) + b"\x01", span_id=bytes(7) + b"\x02"))
    return Metric(
        project=project,
        owner=owner,
        owner_start_ns=0,
        name=name,
        value=0.5,
        step=-1,
        time_ns=NOW_NS + position,
        mode="append",
        source="logged",
        record_id="00000000000000aa",
        position=position,
    )


def test_metric_owners(store: Store, project: str) -> None:
    """Runs that logged metrics are listed with the names and number of their points."""
    points = [point(project, name, place) for place, name in enumerate(["b", "a", "b"])]
    store.writer.write(Records(metrics=points))
    store.writer.write(Records(metrics=points))
    assert facts.list_metric_owners(store.reader, project, 10) == [
        {
            "owner": f"{'0' * 31}1-{'0' * 15}2",
            "start_ns": 0,
            "names": ["a", "b"],
            "points": 3,
            "last_time_ns": NOW_NS + 2,
        }
    ]


def test_metric_owners_of_next_month(store: Store, project: str) -> None:
    """A point delivered again in another month counts once."""
    client = store.connections.open()
    for arrived_ns in (NOW_NS, NOW_NS + 31 * DAY_NS):
        client.insert_arrow("metrics", METRICS.to_arrow([point(project, "a", 0)], [arrived_ns]))
    (row,) = facts.list_metric_owners(store.reader, project, 10)
    assert row["points"] == 1
