"""Metrics of DigitalHub's entities: the results match its `update_metrics`, invalid values fail."""

import math
from collections.abc import Callable
from typing import Any

import pytest

from otel_ml import Client
from otel_ml.compat.digitalhub import Entity

Log = Callable[[Entity], None]


@pytest.fixture(params=["run", "model"])
def entity(request: pytest.FixtureRequest, client: Client) -> Entity:
    """Return an entity of a run and an entity of a model."""
    is_run = request.param == "run"
    return Entity(client.run("fit") if is_run else client.model("classifier"))


@pytest.mark.parametrize(
    ("steps", "metrics"),
    [
        ([{"loss": 0.002, "acc": 0.95}], {"loss": 0.002, "acc": 0.95}),
        ([{"loss": 0.002}, {"loss": 0.001}], {"loss": [0.002, 0.001]}),
        (
            [{"loss": 0.002}, {"loss": 0.001}, {"loss": [0.5, 0.4]}],
            {"loss": [0.002, 0.001, 0.5, 0.4]},
        ),
        ([{"loss": [0.5]}, {"loss": 0.4}], {"loss": [0.5, 0.4]}),
        ([{"loss": 0.002}, {"loss": [0.5, 0.4]}], {"loss": [0.002, 0.5, 0.4]}),
        ([{"loss": []}], {}),
        ([{"loss": 1}, {"loss": []}], {"loss": 1.0}),
    ],
)
def test_log_metrics(
    entity: Entity, steps: list[dict[str, Any]], metrics: dict[str, float | list[float]]
) -> None:
    """A single number stays a number; a second number or a list turns it into a series."""
    for step in steps:
        entity.log_metrics(step)
    assert entity.metrics == metrics


def test_log_metrics_overwrites_by_position(entity: Entity) -> None:
    """The second positional argument of log_metrics replaces whole series."""
    entity.log_metrics({"loss": [0.002, 0.001], "acc": 0.9})
    entity.log_metrics({"loss": 9.0, "acc": [0.1, 0.2]}, True)
    assert entity.metrics == {"loss": 9.0, "acc": [0.1, 0.2]}


@pytest.mark.parametrize(
    ("steps", "value"),
    [
        ([("x", 1)], [1.0]),
        ([("x", 1), ("x", 2)], [1.0, 2.0]),
        ([("x", [1, 2]), ("x", [3])], [1.0, 2.0, 3.0]),
        ([("x", 1), ("x", 2, True)], [2.0]),
        ([("x", 1, False, True)], 1.0),
        ([("x", 1, False, True), ("x", 2, False, True)], 1.0),
        ([("x", 1, False, True), ("x", 2, True, True)], 2.0),
        ([("x", 1, False, True), ("x", [2, 3])], [1.0, 2.0, 3.0]),
        ([("x", [1, 2]), ("x", [], True)], []),
        ([("x", 1, False, True), ("x", [], True), ("x", 2)], [2.0]),
    ],
)
def test_log_metric(
    entity: Entity, steps: list[tuple[Any, ...]], value: float | list[float]
) -> None:
    """A value starts a series unless it is logged as a single value; flags are positional."""
    for step in steps:
        entity.log_metric(*step)
    assert entity.metrics == {"x": value}


@pytest.mark.parametrize("value", [True, False, "0.5", "abc", None, [1, "a"], [True], [None]])
@pytest.mark.parametrize(
    "log",
    [
        lambda entity, value: entity.log_metric("rate", value),
        lambda entity, value: entity.log_metrics({"fine": 1, "rate": value}),
    ],
)
def test_no_number_is_refused(
    entity: Entity, log: Callable[[Entity, Any], None], value: object
) -> None:
    """A bool, a text, None or a list with one raises an error that names key and value."""
    with pytest.raises(ValueError, match="rate") as refusal:
        log(entity, value)
    bad = value[-1] if isinstance(value, list) else value
    assert repr(bad) in str(refusal.value)
    assert entity.metrics == {}


def test_nan_is_a_number(entity: Entity) -> None:
    """NaN and infinity are accepted."""
    entity.log_metrics({"loss": math.nan, "most": math.inf})
    loss = entity.metrics["loss"]
    assert isinstance(loss, float)
    assert math.isnan(loss)
    assert entity.metrics["most"] == math.inf
