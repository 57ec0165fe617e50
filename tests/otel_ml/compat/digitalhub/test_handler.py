"""DigitalHub's decorator: outputs by name, and a function that stays what it is."""

import asyncio
import inspect
from pathlib import Path

import pytest

from otel_ml.compat.digitalhub import handler, name_outputs
from tests.otel_ml.otlp_sink import Sink
from tests.otel_ml.scripts import run_script

SCRIPT = """
    import asyncio
    from otel_ml.compat.digitalhub import handler

    @handler(outputs=["model"])
    def one(rate):
        return rate * 2

    @handler(outputs=["model", "report"])
    def two(rate):
        return rate, "fine"

    @handler(outputs=["model"])
    async def later(rate):
        return rate

    @handler()
    def bare(rate):
        return rate

    @handler(outputs=["model"])
    def failing(rate):
        raise ValueError(rate)

    assert (one(1), two(2), asyncio.run(later(3)), bare(4)) == (2, (2, "fine"), 3, 4)
    try:
        failing(5)
    except ValueError as error:
        assert error.args == (5,)
"""


def test_outputs_are_recorded_by_name(tmp_path: Path, sink: Sink) -> None:
    """Each job is a run of kind training with its outputs by name, or with its error."""
    run_script(tmp_path, SCRIPT, OTEL_ML_ENDPOINT=sink.address)
    assert [
        (run["name"], run["otel_ml.kind"], run.get("otel_ml.outputs"), run["otel_ml.outcome"])
        for run in sink.runs
    ] == [
        ("one", "training", '{"model":2}', "ok"),
        ("two", "training", '{"model":2,"report":"fine"}', "ok"),
        ("later", "training", '{"model":3}', "ok"),
        ("bare", "training", "4", "ok"),
        ("failing", "training", None, "error"),
    ]


@pytest.mark.parametrize(
    ("named", "returned", "expected"),
    [
        (["a"], (1, 2), {"a": (1, 2)}),
        (["a", "b"], (1, 2), {"a": 1, "b": 2}),
        (["a", "b"], [1, 2], {"a": 1, "b": 2}),
        (["a", "b"], (1, 2, 3), (1, 2, 3)),
        (["a", "b"], 1, 1),
    ],
)
def test_names_that_do_not_fit_change_nothing(
    named: list[str], returned: object, expected: object
) -> None:
    """As many values as names get them; anything else is recorded as it is."""
    assert name_outputs(named, returned) == expected


def test_function_keeps_its_kind_and_signature() -> None:
    """A job function is introspected as before."""

    @handler(outputs=["model"])
    async def train(project: str, rate: float = 0.1) -> float:
        """Train."""
        await asyncio.sleep(0)
        return rate

    assert inspect.iscoroutinefunction(train)
    assert str(inspect.signature(train)) == "(project: str, rate: float = 0.1) -> float"
    assert (train.__name__, train.__doc__) == ("train", "Train.")
