"""DigitalHub's decorator records outputs by name and keeps the function's signature."""

import inspect
from pathlib import Path

import pytest

from otel_ml.compat.digitalhub import handler, name_outputs
from tests.support.otel_ml.otlp_sink import Sink
from tests.support.otel_ml.scripts import run_script
from tests.support.waiting import run_other_tasks

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


PROJECTS = """
    import asyncio
    from otel_ml.compat.digitalhub import get_or_create_project, handler

    @handler(outputs=["model"])
    def train(project, rate):
        return rate

    @handler()
    async def later(rate, *, project=None):
        return rate

    @handler()
    def batches(project, count):
        total = 0
        for number in range(count):
            total += yield number
        return total

    def drive(job):
        sent = [next(job), job.send(5)]
        try:
            job.send(6)
        except StopIteration as end:
            return sent, end.value

    churn, fraud = get_or_create_project("churn"), get_or_create_project("fraud")
    assert (train(churn, 1), train(rate=2, project=fraud), train(churn, 3)) == (1, 2, 3)
    assert (asyncio.run(later(4)), asyncio.run(later(5, project=fraud))) == (4, 5)
    assert drive(batches(churn, 2)) == ([0, 1], 11)
    assert train("fraud", 6) == 6
"""


def test_run_is_filed_under_its_project(tmp_path: Path, sink: Sink) -> None:
    """A call is recorded in the project passed to it, or else in the default project."""
    run_script(tmp_path, PROJECTS, OTEL_ML_ENDPOINT=sink.address, OTEL_ML_PROJECT="usual")
    found = sorted((run["otel_ml.project"], run["name"]) for run in sink.runs)
    assert found == [
        ("churn", "batches"),
        ("churn", "train"),
        ("churn", "train"),
        ("fraud", "later"),
        ("fraud", "train"),
        ("usual", "later"),
        ("usual", "train"),
    ]
    by_name = {(run["otel_ml.project"], run["name"]): run for run in sink.runs}
    assert len({run["otel_ml.model.version"] for run in sink.runs if run["name"] == "train"}) == 1
    assert by_name["fraud", "train"]["otel_ml.outputs"] == '{"model":2}'


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
    """Outputs are named if there are as many as names; otherwise they are recorded unchanged."""
    assert name_outputs(named, returned) == expected


def test_function_keeps_its_kind_and_signature() -> None:
    """A job function has the same kind and signature as the original function."""

    @handler(outputs=["model"])
    async def train(project: str, rate: float = 0.1) -> float:
        """Train."""
        await run_other_tasks()
        return rate

    assert inspect.iscoroutinefunction(train)
    assert str(inspect.signature(train)) == "(project: str, rate: float = 0.1) -> float"
    assert (train.__name__, train.__doc__) == ("train", "Train.")
