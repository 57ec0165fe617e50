"""How logged points become the value or series of a metric."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_ml.errors import InvalidMetricError
from otel_ml.metrics import (
    MOST_NAMES,
    MOST_POINTS,
    LoggedPoint,
    Metric,
    MetricValues,
    make_points,
    resolve,
)
from otel_ml.runs import NO_RUN, Run
from tests.support.otel_ml.recording import Recording

Log = Callable[[Run], None]

# Test vectors of the library that the methods come from; calls that crashed it make a series.
VECTORS: list[tuple[str, list[Log], dict[str, Metric]]] = [
    (
        "numbers stay single while they are alone",
        [lambda run: run.log_metrics({"loss": 0.002, "acc": 0.95})],
        {"loss": 0.002, "acc": 0.95},
    ),
    (
        "a second number makes a series",
        [
            lambda run: run.log_metrics({"loss": 0.002}),
            lambda run: run.log_metrics({"loss": 0.001}),
        ],
        {"loss": [0.002, 0.001]},
    ),
    (
        "a list extends a series",
        [
            lambda run: run.log_metrics({"loss": 0.002}),
            lambda run: run.log_metrics({"loss": 0.001}),
            lambda run: run.log_metrics({"loss": [0.5, 0.4]}),
        ],
        {"loss": [0.002, 0.001, 0.5, 0.4]},
    ),
    (
        "a list extends a single number",
        [lambda run: run.log_metrics({"a": 1}), lambda run: run.log_metric("a", [2, 3])],
        {"a": [1.0, 2.0, 3.0]},
    ),
    (
        "a number replaces a series",
        [
            lambda run: run.log_metrics({"loss": [1, 2, 3]}),
            lambda run: run.log_metrics({"loss": 9.0}, overwrite=True),
        ],
        {"loss": 9.0},
    ),
    ("log_metric makes a series", [lambda run: run.log_metric("x", 1)], {"x": [1.0]}),
    (
        "log_metric appends",
        [lambda run: run.log_metric("x", 1), lambda run: run.log_metric("x", 2)],
        {"x": [1.0, 2.0]},
    ),
    (
        "overwrite begins a series",
        [
            lambda run: run.log_metric("x", [1, 2]),
            lambda run: run.log_metric("x", 9, overwrite=True),
        ],
        {"x": [9.0]},
    ),
    (
        "a single value stays",
        [
            lambda run: run.log_metric("x", 1, single_value=True),
            lambda run: run.log_metric("x", 2, single_value=True),
        ],
        {"x": 1.0},
    ),
    (
        "a single value is overwritten",
        [
            lambda run: run.log_metric("x", 1, single_value=True),
            lambda run: run.log_metric("x", 2, single_value=True, overwrite=True),
        ],
        {"x": 2.0},
    ),
    ("an empty list says nothing", [lambda run: run.log_metric("x", [])], {}),
    (
        "an empty list that overwrites empties",
        [
            lambda run: run.log_metric("x", [1, 2]),
            lambda run: run.log_metric("x", [], overwrite=True),
        ],
        {"x": []},
    ),
    (
        "what is emptied is a series",
        [
            lambda run: run.log_metrics({"x": 1}),
            lambda run: run.log_metrics({"x": []}, overwrite=True),
            lambda run: run.log_metrics({"x": 3}),
            lambda run: run.log_metric("x", 4, single_value=True),
        ],
        {"x": [3.0]},
    ),
]


@pytest.mark.parametrize(
    ("calls", "metrics"), [v[1:] for v in VECTORS], ids=[v[0] for v in VECTORS]
)
def test_metrics_of_a_run(
    recording: Recording, calls: list[Log], metrics: dict[str, Metric]
) -> None:
    """`metrics` of a run returns the logged values, and the run's records give the same."""
    with recording.client.run("fit") as run:
        for call in calls:
            call(run)
        assert run.metrics == metrics
    assert run.metrics == metrics
    points = [
        LoggedPoint(name, value, -1, 0, mode)
        for update in recording.records("update")
        for name, value, mode in zip(
            *(
                (update.attributes or {})[f"otel_ml.metric.{column}"]
                for column in ("names", "values", "modes")
            ),
            strict=True,
        )
    ]
    assert resolve(points) == metrics


def test_metrics_of_no_run() -> None:
    """Metrics logged when no run is recorded are not kept."""
    NO_RUN.log_metric("loss", 1)
    assert NO_RUN.metrics == {}


MODES = st.sampled_from(["append", "auto", "single", "replace", "restart", "clear"])


@given(st.lists(st.tuples(st.sampled_from("ab"), st.floats(allow_nan=False), MODES)))
def test_a_name_does_not_depend_on_others(said: list[tuple[str, float, str]]) -> None:
    """Points of one metric do not affect the value of another metric."""
    points = [LoggedPoint(name, value, -1, 0, mode) for name, value, mode in said]
    apart = {
        name: value
        for wanted in "ab"
        for name, value in resolve(point for point in points if point.name == wanted).items()
    }
    assert resolve(points) == apart


def test_long_series_keeps_its_end() -> None:
    """Only the last 10,000 points of a series of a million are kept."""
    metrics = MetricValues()
    for start in range(0, 1_000_000, 1_000):
        values = {"loss": list(range(start, start + 1_000))}
        metrics.add(make_points(values, None, "append"))
    last = range(1_000_000 - MOST_POINTS, 1_000_000)
    assert metrics.values() == {"loss": [float(number) for number in last]}


def test_names_are_bounded() -> None:
    """After 1,000 metric names new names are dropped, and known names still take points."""
    metrics = MetricValues()
    metrics.add(make_points({str(number): number for number in range(2_000)}, None, "auto"))
    metrics.add(make_points({"0": 1}, None, "auto"))
    values = metrics.values()
    assert (len(values), values["0"]) == (MOST_NAMES, [0.0, 1.0])


class IntegerTensor:
    """An object that converts to an integer like a tensor with one integer."""

    def __index__(self) -> int:
        return 3


@pytest.mark.parametrize("step", [IntegerTensor(), np.int32(3), np.array(3), 3.0, 3])
def test_step_of_any_library(step: Any) -> None:
    """A step may be an integer of any library."""
    [point] = make_points({"loss": 0.5}, step, "auto")
    assert point.step == 3


@pytest.mark.parametrize("step", [0.5, "3", np.array([1, 2]), np.array(0.5)])
def test_step_that_is_no_integer(step: Any) -> None:
    """A step that is not an integer is refused."""
    with pytest.raises(InvalidMetricError, match="Invalid step"):
        make_points({"loss": 0.5}, step, "auto")
