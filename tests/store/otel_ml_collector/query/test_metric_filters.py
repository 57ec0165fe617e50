"""Tests of filters on metrics and on relative times."""

import time

import pytest

from otel_ml_collector.mapping.filing import Filing
from otel_ml_collector.mapping.spans import map_spans
from otel_ml_collector.runs.find import RunsQuery, find_runs
from otel_ml_collector.span import Span, Value
from tests.support.otel_ml_collector.spans import (
    NOW_NS,
    SECOND_NS,
    id_of,
    make_call,
    make_record,
    make_span,
    make_start,
)
from tests.support.otel_ml_collector.stores import Store
from tests.support.sampling import sampled


def log(run: Span, mode: str, *values: float, after_s: int = 0) -> Span:
    """Make an update that logs points of one metric."""
    told: dict[str, Value] = {
        "otel_ml.metric.names": ["loss"] * len(values),
        "otel_ml.metric.values": list(values),
        "otel_ml.metric.modes": [mode] * len(values),
    }
    return make_record("update", run, told, start_ns=run.start_ns + after_s * SECOND_NS)


def find(store: Store, project: str, where: str, now_ns: int = NOW_NS) -> list[str]:
    return [run.run_id for run in find_runs(store.reader, RunsQuery(project, where), now_ns).runs]


@sampled(1)
@pytest.mark.parametrize(
    ("points", "last"),
    [
        ([("append", [3, 1, 2], 0)], 2),
        ([("append", [3], 5), ("append", [9], 1)], 3),
        ([("single", [3], 0), ("single", [9], 1)], 3),
        ([("append", [3], 0), ("single", [9], 1)], 3),
        ([("single", [3], 0), ("auto", [9], 1)], 9),
        ([("append", [3, 4], 0), ("replace", [9], 1)], 9),
    ],
    ids=str,
)
def test_last_point(
    store: Store, project: str, points: list[tuple[str, list[float], int]], last: float
) -> None:
    """A filter compares the last point of a metric, the one that the run's page shows."""
    call = make_call()
    store.take(project, call, *(log(call, mode, *some, after_s=at) for mode, some, at in points))
    assert find(store, project, f'metrics["loss"] == {last}') == [id_of(call)]
    assert find(store, project, f'metrics["loss"] != {last}') == []


def test_absent_metric(store: Store, project: str) -> None:
    """A comparison with a metric that the run lacks is false, and its negation is true."""
    logged, other = make_call(start_ns=NOW_NS), make_call(start_ns=NOW_NS - SECOND_NS)
    store.take(project, logged, other, log(logged, "append", 1))
    assert find(store, project, 'metrics["loss"] != 5') == [id_of(logged)]
    assert find(store, project, 'not metrics["loss"] == 1') == [id_of(other)]
    assert find(store, project, '"loss" in metrics') == [id_of(logged)]
    assert find(store, project, '"loss" not in metrics') == [id_of(other)]


def test_not_a_number(store: Store, project: str) -> None:
    """If the last point is NaN, every order comparison is false."""
    call = make_call()
    store.take(project, call, log(call, "append", 1, float("nan")))
    assert find(store, project, 'metrics["loss"] < 5 or metrics["loss"] >= 5') == []


def test_emptied_metric(store: Store, project: str) -> None:
    """If a metric has no points, every order comparison is false."""
    call = make_call()
    store.take(project, call, log(call, "append", 1), log(call, "clear", 0, after_s=1))
    assert find(store, project, 'metrics["loss"] < 5 or metrics["loss"] >= 5') == []


def test_metric_of_an_open_run(store: Store, project: str) -> None:
    """A filter finds a run without an end by the metrics it has logged so far."""
    call = make_call()
    store.take(project, make_start(call), log(call, "append", 0.5))
    where = 'metrics["loss"] < 1 and outcome in ("running", "crashed")'
    assert find(store, project, where) == [id_of(call)]


def test_metric_by_trace_key(store: Store, project: str) -> None:
    """A metric logged for a trace key belongs to the root runs of its traces."""
    call = make_call(attributes={"otel_ml.trace_key": "k"})
    told: dict[str, Value] = {
        "otel_ml.record": "update",
        "otel_ml.target.trace_key": "k",
        "otel_ml.metric.names": ["loss"],
        "otel_ml.metric.values": [0.25],
    }
    store.take(project, call, make_call(), make_span("update", told))
    assert find(store, project, 'metrics["loss"] < 1') == [id_of(call)]


def test_last_hours(store: Store, project: str) -> None:
    """``last`` counts back from now."""
    now_ns = time.time_ns()
    old, new = (make_call(start_ns=now_ns - ago_s * SECOND_NS) for ago_s in (7_200, 600))
    store.writer.write(map_spans([old, new], Filing(project, now_ns)))
    assert find(store, project, 'last("1h")', now_ns) == [id_of(new)]
    assert find(store, project, 'start < last("1h")', now_ns) == [id_of(old)]
    assert find(store, project, 'end > last("3h")', now_ns) == [id_of(new), id_of(old)]
