"""Tests of metric points as series, with test vectors from DigitalHub's own code.

Each test goes through a store, which resolves the points that count and their order.
"""

import itertools
import math
import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_ml_collector.metrics import find_metrics
from otel_ml_collector.runs.find import find_run
from otel_ml_collector.span import Span, Value
from tests.support.examples import examples
from tests.support.otel_ml_collector.spans import NOW_NS, id_of, make_call, make_record, span_id
from tests.support.otel_ml_collector.stores import Store
from tests.support.sampling import at_night, sampled

Point = tuple[str, str, float]
COUNTER: Final = itertools.count()

FIRST: Final[list[Point]] = [("auto", "loss", 0.002), ("auto", "acc", 0.95)]
SECOND: Final[list[Point]] = [*FIRST, ("auto", "loss", 0.001)]
THIRD: Final[list[Point]] = [*SECOND, ("append", "loss", 0.5), ("append", "loss", 0.4)]


def make_updates(call: Span, groups: Sequence[Sequence[Point]]) -> list[Span]:
    """Make updates of a run. Some have the same time and differ only in their IDs."""
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


def deliver(store: Store, groups: Sequence[Sequence[Point]], order: Iterable[int]) -> Any:
    """Store a run's updates one by one in the given order, then the run, and read the run."""
    project = f"delivery {next(COUNTER)}"
    call = make_call()
    updates = make_updates(call, groups)
    for place in order:
        store.take(project, updates[place])
    store.take(project, call)
    return find_run(store.reader, id_of(call), project, now_ns=NOW_NS)


@sampled(2)
@pytest.mark.parametrize("order", ["as logged", "reversed", "shuffled", "twice"])
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
        ([*THIRD, ("restart", "loss", 9.0)], {"loss": [9.0], "acc": 0.95}),
        (
            [*THIRD, ("restart", "loss", 9.0), ("append", "loss", 8.0)],
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
        ([("restart", "x", 1.0), ("single", "x", 2.0)], {"x": [1.0]}),
        # Appending to a single value makes a series.
        ([("auto", "x", 1.0), ("append", "x", 2.0), ("append", "x", 3.0)], {"x": [1.0, 2.0, 3.0]}),
        ([("single", "x", 1.0), ("append", "x", 2.0)], {"x": [1.0, 2.0]}),
        # A cleared metric has no points, and is a series from then on.
        ([("append", "x", 1.0), ("clear", "x", 0.0)], {}),
        ([("auto", "x", 1.0), ("clear", "x", 0.0), ("auto", "x", 2.0)], {"x": [2.0]}),
        ([("clear", "x", 0.0), ("single", "x", 2.0)], {}),
        ([("clear", "x", 0.0), ("replace", "x", 2.0)], {"x": 2.0}),
        ([("auto", "x", 0.0), ("auto", "x", 0.0)], {"x": [0.0, 0.0]}),
        # Infinity and NaN are points too. JSON cannot represent them as numbers.
        ([("append", "x", 1.0), ("append", "x", math.nan)], {"x": [1.0, None]}),
        ([("auto", "x", math.inf)], {"x": "Infinity"}),
        ([("append", "x", -math.inf)], {"x": ["-Infinity"]}),
    ],
)
def test_modes(store: Store, points: list[Point], metrics: dict[str, Any], order: str) -> None:
    """Points of one name combine according to their modes, in any order of arrival."""
    places = list(range(len(points)))
    if order == "reversed":
        places.reverse()
    elif order == "shuffled":
        random.Random(7).shuffle(places)  # noqa: S311 - guards nothing
    elif order == "twice":
        places = [*reversed(places), *places]
    assert deliver(store, [[point] for point in points], places).metrics == metrics


def resolve(points: Iterable[Point]) -> Mapping[str, Any]:
    """Return the points combined by their modes, as the reference."""
    metrics: dict[str, Any] = {}
    for mode, name, value in points:
        known = metrics.get(name)
        if mode == "clear":
            metrics[name] = []
        elif known is None or mode in {"replace", "restart"}:
            metrics[name] = [value] if mode in {"append", "restart"} else value
        elif mode != "single":
            metrics[name] = [*known, value] if isinstance(known, list) else [known, value]
    return {name: value for name, value in metrics.items() if value != []}


drawn = st.tuples(
    st.sampled_from(["append", "auto", "single", "replace", "restart", "clear"]),
    st.sampled_from(["loss", "acc"]),
    st.sampled_from([0.0, 0.5, 1.0, 2.0]),
)


@at_night
@settings(max_examples=examples(40, on_commit=10))
@given(groups=st.lists(st.lists(drawn, min_size=1, max_size=3), max_size=5), data=st.data())
def test_order_of_delivery(store: Store, groups: list[list[Point]], data: st.DataObject) -> None:
    """Metrics do not depend on the order, number or grouping of deliveries."""
    order = data.draw(st.permutations([*range(len(groups))] * 2))
    expected = resolve(point for logged in groups for point in logged)
    run = deliver(store, groups, order)
    assert run.metrics == expected
    assert run.metric_points == {
        name: len(value) if isinstance(value, list) else 1 for name, value in expected.items()
    }


def log_curve(store: Store, project: str, values: Sequence[float]) -> Span:
    """Store a run that logged a curve in one update."""
    call = make_call()
    logged: dict[str, Value] = {
        "otel_ml.metric.names": ["loss"] * len(values),
        "otel_ml.metric.values": list(values),
        "otel_ml.metric.steps": list(range(len(values))),
    }
    store.take(project, call, make_record("update", call, logged))
    return call


def read_curve(store: Store, project: str, call: Span, most: int) -> tuple[int, list[Any]]:
    """Return the curve's number of points, and the step and value of each returned point."""
    (series,) = find_metrics(store.reader, project, id_of(call), points=most).series
    return series.count, [(point.step, point.value) for point in series.points]


def test_whole_curve(store: Store, project: str) -> None:
    """A curve with no more points than the limit is returned whole."""
    values = [float(number % 7) for number in range(1_000)]
    call = log_curve(store, project, values)
    assert read_curve(store, project, call, 1_000) == (1_000, list(enumerate(values)))


def test_thinned_curve(store: Store, project: str) -> None:
    """A longer curve keeps its first and last points, and the extremes of each segment."""
    values = [float(number % 10) for number in range(42)]
    call = log_curve(store, project, values)
    # Four segments of ten points each between the first point and the last.
    steps = [0, 9, 10, 19, 20, 29, 30, 39, 40, 41]
    expected = [(step, float(step % 10)) for step in steps]
    assert read_curve(store, project, call, 10) == (42, expected)


def test_peak_is_kept(store: Store, project: str) -> None:
    """One high value among many points is kept."""
    values = [0.0] * 5_000
    values[3_333] = 100.0
    call = log_curve(store, project, values)
    run = find_run(store.reader, id_of(call), project, now_ns=NOW_NS)
    assert run.metric_points == {"loss": 5_000}
    assert isinstance(run.metrics["loss"], list)
    assert len(run.metrics["loss"]) <= 1_000
    assert max(value or 0.0 for value in run.metrics["loss"]) == 100.0


def test_gap_of_a_thinned_curve(store: Store, project: str) -> None:
    """A segment of only NaN becomes a gap. A segment with a number shows the number."""
    values = [float(number) for number in range(42)]
    values[11:21] = [math.nan] * 10
    values[25] = math.nan
    call = log_curve(store, project, values)
    count, points = read_curve(store, project, call, 10)
    assert count == 42
    steps = [0, 1, 10, 11, 21, 30, 31, 40, 41]
    assert points == [(step, None if step == 11 else float(step)) for step in steps]


@at_night
def test_many_metrics(store: Store, project: str) -> None:
    """A run with many metrics shows the first 1,000 by name, and at most 100,000 numbers."""
    call = make_call()
    for part in range(11):
        names = [f"m{part * 100 + number:04}" for number in range(100)] * 120
        logged: dict[str, Value] = {
            "otel_ml.metric.names": names,
            "otel_ml.metric.values": [1.0] * len(names),
        }
        store.take(project, make_record("update", call, logged))
    store.take(project, call)
    run = find_run(store.reader, id_of(call), project, now_ns=NOW_NS)
    assert list(run.metrics) == [f"m{number:04}" for number in range(1_000)]
    assert set(run.metric_points.values()) == {120}
    assert sum(len(value) for value in run.metrics.values() if isinstance(value, list)) <= 100_000
