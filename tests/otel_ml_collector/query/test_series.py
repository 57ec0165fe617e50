"""Tests of metric points as metrics, after the vectors that DigitalHub's own code gives."""

import itertools
from collections.abc import Sequence
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_ml_collector.query.runs import find_run
from otel_ml_collector.query.series import group, resolve
from otel_ml_collector.span import Span
from tests.otel_ml_collector.spans import NOW_NS, id_of, make_call, make_record, span_id
from tests.otel_ml_collector.stores import Store

Point = tuple[str, str, float]
COUNTER: Final = itertools.count()


def rows(*points: Point) -> list[dict[str, Any]]:
    """Make points of (mode, name, value) in the order in which they were logged."""
    return [
        {"name": name, "value": value, "mode": mode, "step": -1, "time_ns": place}
        for place, (mode, name, value) in enumerate(points)
    ]


FIRST: Final[list[Point]] = [("auto", "loss", 0.002), ("auto", "acc", 0.95)]
SECOND: Final[list[Point]] = [*FIRST, ("auto", "loss", 0.001)]
THIRD: Final[list[Point]] = [*SECOND, ("append", "loss", 0.5), ("append", "loss", 0.4)]


@pytest.mark.parametrize(
    ("points", "metrics"),
    [
        ([], {}),
        (FIRST, {"loss": 0.002, "acc": 0.95}),
        (SECOND, {"loss": [0.002, 0.001], "acc": 0.95}),
        (THIRD, {"loss": [0.002, 0.001, 0.5, 0.4], "acc": 0.95}),
        ([*THIRD, ("replace", "loss", 9.0)], {"loss": 9.0, "acc": 0.95}),
        (
            [*THIRD, ("replace", "loss", 9.0), ("auto", "loss", 8.0)],
            {"loss": [9.0, 8.0], "acc": 0.95},
        ),
        ([("append", "x", 1.0)], {"x": [1.0]}),
        ([("append", "x", 1.0), ("append", "x", 2.0)], {"x": [1.0, 2.0]}),
        ([("append", "x", 1.0), ("auto", "x", 2.0)], {"x": [1.0, 2.0]}),
        ([("single", "x", 1.0)], {"x": 1.0}),
        ([("single", "x", 1.0), ("single", "x", 2.0)], {"x": 1.0}),
        ([("auto", "x", 1.0), ("single", "x", 2.0)], {"x": 1.0}),
        ([("append", "x", 1.0), ("single", "x", 2.0)], {"x": [1.0]}),
        ([("single", "x", 1.0), ("replace", "x", 2.0)], {"x": 2.0}),
        ([("replace", "x", 1.0)], {"x": 1.0}),
        ([("replace", "x", 1.0), ("single", "x", 2.0)], {"x": 1.0}),
        # A list on a key that holds a single value makes a series.
        ([("auto", "x", 1.0), ("append", "x", 2.0), ("append", "x", 3.0)], {"x": [1.0, 2.0, 3.0]}),
        ([("single", "x", 1.0), ("append", "x", 2.0)], {"x": [1.0, 2.0]}),
        ([("auto", "x", 0.0), ("auto", "x", 0.0)], {"x": [0.0, 0.0]}),
    ],
)
def test_resolve(points: Sequence[Point], metrics: dict[str, Any]) -> None:
    """Points of one name combine as their modes say, in the order in which they were logged."""
    assert resolve(rows(*points)) == metrics


@pytest.mark.parametrize(
    ("points", "groups"),
    [
        ([], {}),
        (THIRD, {"loss": [0.002, 0.001, 0.5, 0.4], "acc": [0.95]}),
        ([*THIRD, ("replace", "loss", 9.0)], {"loss": [9.0], "acc": [0.95]}),
        ([("single", "x", 1.0), ("single", "x", 2.0)], {"x": [1.0]}),
        ([("replace", "x", 1.0), ("append", "x", 2.0)], {"x": [1.0, 2.0]}),
    ],
)
def test_group(points: Sequence[Point], groups: dict[str, list[float]]) -> None:
    """The points of a series are those that count, in their order."""
    found = group(rows(*points))
    assert {name: [point["value"] for point in kept] for name, kept in found.items()} == groups


points = st.tuples(
    st.sampled_from(["append", "auto", "single", "replace"]),
    st.sampled_from(["loss", "acc"]),
    st.sampled_from([0.0, 0.5, 1.0, 2.0]),
)


@given(st.lists(points, max_size=12))
def test_metric_and_series(given_points: list[Point]) -> None:
    """A metric's value and its series are made of the same points."""
    made = rows(*given_points)
    series = {name: [point["value"] for point in kept] for name, kept in group(made).items()}
    metrics = resolve(made)
    assert {n: v if isinstance(v, list) else [v] for n, v in metrics.items()} == series


def make_updates(call: Span, groups: Sequence[Sequence[Point]]) -> list[Span]:
    """Make updates of a run; some log at the same time, apart by their ids."""
    return [
        make_record(
            "update",
            call,
            {
                "otel_ml.metric.names": [name for _, name, _ in logged],
                "otel_ml.metric.values": [value for _, _, value in logged],
                "otel_ml.metric.modes": [mode for mode, _, _ in logged],
                "otel_ml.metric.times": [NOW_NS + place // 2] * len(logged),
            },
            span_id=span_id(1 + place),
        )
        for place, logged in enumerate(groups)
    ]


@settings(max_examples=30, deadline=None)
@given(groups=st.lists(st.lists(points, min_size=1, max_size=3), max_size=5), data=st.data())
def test_order_of_delivery(store: Store, groups: list[list[Point]], data: st.DataObject) -> None:
    """Metrics do not depend on the order, the number and the parts in which points came."""
    project = f"delivery {next(COUNTER)}"
    call = make_call()
    store.take(project, call)
    updates = make_updates(call, groups)
    for update in data.draw(st.permutations(updates * 2)):
        store.take(project, update)
    expected = resolve(rows(*(point for logged in groups for point in logged)))
    assert find_run(store.reader, id_of(call), project, now_ns=NOW_NS).metrics == expected
