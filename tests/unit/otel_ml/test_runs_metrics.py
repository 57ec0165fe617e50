"""Metrics of a run, sent as update records ahead of it."""

import array
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]  # it carries no types
import pytest

from otel_ml import Client, InvalidMetricError
from tests.support.otel_ml.recording import (
    Recording,
    attributes,
    parent_id,
    span_id,
    stable,
    trace_id,
)
from tests.support.waiting import wait_until


def points(recording: Recording) -> list[tuple[Any, ...]]:
    """Return name, value, step and mode of each metric point, in the order of the records."""
    found: list[tuple[Any, ...]] = []
    for record in recording.records("update"):
        columns = [
            attributes(record)[f"otel_ml.metric.{name}"]
            for name in ("names", "values", "steps", "modes")
        ]
        found += zip(*columns, strict=True)
    return found


def test_metrics_travel_as_updates(recording: Recording) -> None:
    """Metric points are sent as update records with parallel names, values, steps and modes."""
    with recording.client.run("training") as run:
        run.log_metrics({"loss": 0.5, "accuracy": 1}, step=3)
    [update] = recording.records("update")
    span = recording.run()
    times = attributes(update)["otel_ml.metric.times"]
    assert stable(update) == {
        "otel_ml.project": "shop",
        "otel_ml.record": "update",
        "otel_ml.metric.names": ("loss", "accuracy"),
        "otel_ml.metric.values": (0.5, 1.0),
        "otel_ml.metric.steps": (3, 3),
        "otel_ml.metric.modes": ("auto", "auto"),
    }
    assert (span.start_time or 0) <= times[0] == times[1] <= (span.end_time or 0)
    assert attributes(update)["otel_ml.target.start_ns"] == span.start_time
    assert (trace_id(update), parent_id(update)) == (trace_id(span), span_id(span))
    assert (update.name, update.start_time) == ("otel_ml.update", update.end_time)


def test_single_metric_is_a_series(recording: Recording) -> None:
    """`log_metric` appends to a series; a point without a step has step -1."""
    with recording.client.run("training") as run:
        run.log_metric("loss", 0.5)
        run.log_metric("loss", 0.25, step=0)
    assert points(recording) == [("loss", 0.5, -1, "append"), ("loss", 0.25, 0, "append")]


def test_list_is_a_series(recording: Recording) -> None:
    """A list of numbers is logged as that many points of a series."""
    with recording.client.run("training") as run:
        run.log_metrics({"loss": [0.5, 0.25], "accuracy": ()})
        run.log_metric("loss", (0.125,))
    assert points(recording) == [
        ("loss", 0.5, -1, "append"),
        ("loss", 0.25, -1, "append"),
        ("loss", 0.125, -1, "append"),
    ]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, 1.0),
        (0.5, 0.5),
        (10**30, 1e30),
        (np.float32(0.5), 0.5),
        (np.int64(1), 1.0),
        (np.array([0.5]), 0.5),
        (np.array(1), 1.0),
    ],
)
def test_number_is_a_metric(recording: Recording, value: object, expected: float) -> None:
    """Any real number, and an array or tensor with one element, is a metric value."""
    with recording.client.run("training") as run:
        run.log_metrics({"loss": value})
    assert points(recording) == [("loss", expected, -1, "auto")]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_odd_number_is_a_metric(recording: Recording, value: float) -> None:
    """NaN and infinities are kept unchanged."""
    with recording.client.run("training") as run:
        run.log_metrics({"loss": value})
    [(_, found, _, _)] = points(recording)
    assert str(found) == str(value)


class Tensor:
    """An object like TensorFlow's tensors, with neither ``tolist`` nor ``item``."""

    def __init__(self, *items: float) -> None:
        self._items = items

    def __array__(self) -> "np.ndarray[Any, Any]":
        return np.array(self._items)


class Traced:
    """An object that raises like a value that jax is tracing."""

    shape = ()

    def tolist(self) -> float:
        raise TypeError("traced")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.array([0.5]), 0.5),
        (np.array([[0.5]]), 0.5),
        (np.float32(0.5), 0.5),
        (Tensor(0.5), 0.5),
        (np.array([1, 2]), [1.0, 2.0]),
        (np.array([[1, 2]])[0], [1.0, 2.0]),
        (Tensor(1, 2), [1.0, 2.0]),
        (pd.Series([1.0, 2.0]), [1.0, 2.0]),
        (array.array("d", [1, 2]), [1.0, 2.0]),
        ([np.array([1.0]), Tensor(2)], [1.0, 2.0]),
        (np.array([]), []),
    ],
)
def test_arrays_are_numbers_or_lists(
    recording: Recording, value: object, expected: float | list[float]
) -> None:
    """An array with one element is a number; one with one dimension is a list."""
    with recording.client.run("training") as run:
        run.log_metrics({"loss": value})
    assert run.metrics == ({} if expected == [] else {"loss": expected})


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (True, "True"),
        ("0.5", "'0.5'"),
        (None, "None"),
        ("abc", "'abc'"),
        ({"a": 1}, "{'a': 1}"),
        ([1, "a"], "'a'"),
        ([1, True], "True"),
        (1 + 2j, r"\(1\+2j\)"),
        (np.bool_(True), r"of type numpy\.bool"),
        (np.array([[1, 2], [3, 4]]), r"of type numpy\.ndarray with shape \(2, 2\)"),
        (np.array(["a", "b"]), "'a'"),
        (Traced(), r"of type tests\.unit\.otel_ml\.test_runs_metrics\.Traced with shape \(\)"),
        (np.array([True, False]), "True"),
        pytest.param(10**400, "1000", id="huge"),
    ],
)
def test_no_number_is_refused(client: Client, value: object, shown: str) -> None:
    """A value that is not a number is refused with an error that names metric and value."""
    with (
        client.run("training") as run,
        pytest.raises(InvalidMetricError, match=rf"^Invalid value {shown}.* of metric 'loss': "),
    ):
        run.log_metrics({"loss": value})


def test_refused_metrics_leave_nothing(recording: Recording) -> None:
    """If one value of a call is refused, none of the call's metrics are logged."""
    with recording.client.run("training") as run:
        with pytest.raises(InvalidMetricError):
            run.log_metrics({"loss": 0.5, "accuracy": "high"})
        run.log_metrics({"loss": 0.25})
    assert points(recording) == [("loss", 0.25, -1, "auto")]


@pytest.mark.parametrize("step", ["one", float("nan"), [1]])
def test_step_that_is_no_number_is_refused(client: Client, step: Any) -> None:
    """A step that is not a number is refused like a value."""
    with client.run("training") as run, pytest.raises(InvalidMetricError, match="step"):
        run.log_metrics({"loss": 0.5}, step=step)


def test_many_points_are_all_sent(recording: Recording) -> None:
    """All 2,500 points logged in a tight loop are sent, in order."""
    with recording.client.run("training") as run:
        for number in range(2_500):
            run.log_metrics({"loss": number}, step=number)
    assert points(recording) == [("loss", float(n), n, "auto") for n in range(2_500)]
    assert len(recording.records("update")) <= 10


def test_points_of_threads_are_all_sent(recording: Recording) -> None:
    """All points that eight threads log to one run are sent."""
    with recording.client.run("training") as run, ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: run.log_metric("loss", n, step=n), range(800)))
    assert sorted(step for _, _, step, _ in points(recording)) == list(range(800))


def test_updates_come_before_their_run(recording: Recording) -> None:
    """Waiting points are sent together when the run ends, before the run."""
    with recording.client.run("training") as run:
        run.log_metric("loss", 1)
        run.log_metric("loss", 2)
    names = [span.name for span in recording.spans()]
    assert names == ["otel_ml.start", "otel_ml.update", "training"]


def test_points_are_sent_while_the_run_waits(recording: Recording) -> None:
    """Waiting points are sent soon, even if the run logs nothing more."""

    def sent() -> list[float]:
        return [
            value
            for update in recording.records("update")
            for value in attributes(update)["otel_ml.metric.values"]
        ]

    with recording.client.run("training") as run:
        run.log_metric("loss", 1)
        run.log_metric("loss", 2)
        wait_until(lambda: sent() == [1.0, 2.0])
