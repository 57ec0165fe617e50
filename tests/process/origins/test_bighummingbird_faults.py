"""Faults of BigHummingbird's package that otel-ml does not have; one test each.

* each call makes two to five blocking requests: `test_call_waits_for_no_server`
* a failing server raises, and the result is lost: `test_result_is_never_lost`
* keyword arguments are not recorded: `test_arguments_are_recorded_by_name`
* the function loses its name, docstring and signature: `test_function_stays_itself`
* coroutines, generators and methods are not supported: `test_every_kind_of_function`
* exceptions are not recorded: `test_exception_is_recorded`
* the judge's code is fetched and executed for each call, so that its module's imports are
  missing: `test_rubric_uses_what_its_module_has`; a self-contained rubric can still be run from
  its source: `test_rubric_runs_from_its_source`
* an invalid result of a rubric ends the call: `test_wrong_answer_is_an_error_of_the_judge`
* it prints, and replaces ``sys.excepthook``: `test_process_is_left_as_it_was`
* it pins pip and urllib3: `test_nothing_is_pinned`
* traced functions have no scores: `test_traced_run_takes_scores`
* inputs must be JSON: `test_any_input_is_recorded`
* a function without a file fails: `test_function_without_a_file`
"""

import asyncio
import inspect
import json
import math
import re
import time
from collections.abc import AsyncIterator, Iterator
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import pytest

from otel_ml.compat.bighummingbird import BigHummingbird
from otel_ml.compat.bighummingbird.judge import Judge
from tests.process.origins.silent import silent_server
from tests.support.origins.program import finish, preamble, snippet, start
from tests.support.otel_ml.otlp_sink import Sink, open_sink

UNSERVED = "http://127.0.0.1:9"


class Handle:
    """A BigHummingbird client whose spans are received by a test server."""

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self.bhb = BigHummingbird("faults", None)

    @property
    def runs(self) -> list[dict[str, Any]]:
        """Return all runs received so far."""
        assert self.bhb.client.flush()
        return self.sink.runs


@pytest.fixture
def handle(monkeypatch: pytest.MonkeyPatch) -> Iterator[Handle]:
    with open_sink() as sink:
        monkeypatch.setenv("OTEL_ML_ENDPOINT", sink.address)
        yield Handle(sink)


def test_call_waits_for_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred calls return at once although the server never responds."""
    with silent_server() as address:
        monkeypatch.setenv("OTEL_ML_ENDPOINT", address)
        model = BigHummingbird("faults", None).trace(lambda a: a)
        model(0)
        started = time.perf_counter()
        assert [model(number) for number in range(100)] == list(range(100))
        assert time.perf_counter() - started < 1


def test_result_is_never_lost(tmp_path: Path) -> None:
    """Without a server, a judged call returns its result."""
    text = preamble("a") + snippet("a2_judge") + "\nprint(model(1, 2))\n"
    program = start(tmp_path, text, UNSERVED)
    printed, _ = program.communicate(timeout=180)
    assert (program.returncode, printed) == (0, "3\n")


def test_arguments_are_recorded_by_name(handle: Handle) -> None:
    """Positional, keyword and default arguments are recorded under their names."""

    @handle.bhb.trace
    def model(a: int, b: int = 2, *, c: int = 3) -> int:
        return a + b + c

    assert model(1, c=4) == 7
    [run] = handle.runs
    assert json.loads(run["otel_ml.inputs"]) == {"a": 1, "b": 2, "c": 4}


def test_function_stays_itself(handle: Handle) -> None:
    """A traced function keeps its name, docstring and signature."""

    @handle.bhb.trace
    def model(a: int, b: int = 2) -> int:
        """Add."""
        return a + b

    assert (model.__name__, model.__doc__) == ("model", "Add.")
    assert str(inspect.signature(model)) == "(a: int, b: int = 2) -> int"


def test_every_kind_of_function(handle: Handle) -> None:
    """Coroutines, generators of both kinds and methods are traced; `self` is not an input."""

    class Model:
        @handle.bhb.trace
        def method(self, a: int) -> int:
            return a

    @handle.bhb.trace
    async def later(a: int) -> int:
        return a

    @handle.bhb.trace
    def stream(a: int) -> Iterator[int]:
        yield from range(a)

    @handle.bhb.trace
    async def stream_later(a: int) -> AsyncIterator[int]:
        for number in range(a):
            yield number

    async def gather() -> list[int]:
        return [await later(1), *[number async for number in stream_later(2)]]

    assert (Model().method(1), list(stream(2)), asyncio.run(gather())) == (1, [0, 1], [1, 0, 1])
    told = [(json.loads(run["otel_ml.inputs"]), run["otel_ml.outputs"]) for run in handle.runs]
    assert told == [({"a": 1}, "1"), ({"a": 2}, "[0,1]"), ({"a": 1}, "1"), ({"a": 2}, "[0,1]")]


def test_exception_is_recorded(handle: Handle) -> None:
    """An exception reaches the caller and is recorded as the run's outcome."""

    @handle.bhb.trace
    def model(a: int) -> float:
        return 1 / a

    with pytest.raises(ZeroDivisionError):
        model(0)
    [run] = handle.runs
    assert (run["otel_ml.outcome"], run["error.type"]) == ("error", "ZeroDivisionError")


def root(outputs: float) -> float:
    return math.sqrt(outputs)


def self_contained(outputs: float) -> float:
    import math as mathematics

    return mathematics.sqrt(outputs)


def test_rubric_uses_what_its_module_has(handle: Handle) -> None:
    """A rubric can use its module's imports and enclosing variables."""
    calls = []

    def rubric(outputs: float) -> float:
        calls.append(outputs)
        return root(outputs)

    judge = Judge("root", "", rubric, lambda score: score > 2)
    model = handle.bhb.assess(handle.bhb.add_judge(judge))(lambda a: a)
    assert model(9.0) == 9.0
    [run] = handle.runs
    assert (run["otel_ml.score.root"], run["otel_ml.passed.root"], calls) == (3.0, True, [9.0])


def test_rubric_runs_from_its_source() -> None:
    """A self-contained rubric can be run from its stored source."""
    source = json.loads(Judge("root", "", self_contained).to_json())["scoring_rubric"]
    found: dict[str, Any] = {}
    exec(source, found)  # noqa: S102 - whether the source can be run is the point
    assert found["self_contained"](16.0) == 4.0


@pytest.mark.parametrize(
    ("score", "passed", "error"),
    [
        ("ten", True, "scoring_rubric of judge 'j' returned str: expected a finite number"),
        (None, True, "scoring_rubric of judge 'j' returned NoneType: expected a finite number"),
        (1, "yes", "passing_criteria of judge 'j' returned str: expected a bool"),
        (1, 1, "passing_criteria of judge 'j' returned int: expected a bool"),
    ],
)
def test_wrong_answer_is_an_error_of_the_judge(
    handle: Handle, score: object, passed: object, error: str
) -> None:
    """A score that is no number, or a result that is no bool, is only an error of the judge."""
    judge = Judge("j", "", lambda outputs: score, lambda _: passed)
    model = handle.bhb.assess(handle.bhb.add_judge(judge))(lambda a: a)
    assert model(1) == 1
    [run] = handle.runs
    assert run["otel_ml.outcome"] == "ok"
    assert "otel_ml.passed.j" not in run
    assert error in json.loads(run["otel_ml.judges"])["j"]["error"]


def test_process_is_left_as_it_was(tmp_path: Path) -> None:
    """Nothing is printed, and the interpreter's hooks are unchanged."""
    text = preamble("a") + snippet("a2_judge") + "\nmodel(1, 2)\n"
    check = "import sys\nassert sys.excepthook is sys.__excepthook__\n"
    with open_sink() as sink:
        assert finish(start(tmp_path, text + check, sink.address)) == ""


def test_nothing_is_pinned() -> None:
    """The package pins no dependency to an exact version and does not depend on pip."""
    asked = [text for text in requires("otel-ml") or [] if "extra ==" not in text]
    assert asked
    assert [text for text in asked if "==" in text or re.match("pip\\b", text)] == []


def test_traced_run_takes_scores(handle: Handle) -> None:
    """A run without a judge can be scored while it is open."""

    @handle.bhb.trace
    def model(a: int) -> int:
        handle.bhb.client.current_run().feedback("helpful", 4, passed=True)
        return a

    model(1)
    assert handle.runs
    [said] = [span for span in handle.sink.spans if span.get("otel_ml.record") == "evaluation"]
    assert (said["otel_ml.judge.name"], said["otel_ml.score.value"]) == ("helpful", 4.0)


def test_any_input_is_recorded(handle: Handle) -> None:
    """Inputs that JSON cannot represent are recorded, and the function gets them unchanged."""
    thing = object()
    assert handle.bhb.trace(lambda a, b: a)(thing, {1, 2}) is thing
    [run] = handle.runs
    assert set(json.loads(run["otel_ml.inputs"])) == {"a", "b"}


def test_function_without_a_file(handle: Handle) -> None:
    """A function defined by exec() is traced, and its version changes with its code."""
    digests = []
    for text in ("a + 1", "a + 1", "a + 2"):
        found: dict[str, Any] = {}
        exec(f"def model(a):\n    return {text}\n", found)  # noqa: S102 - as a console does
        handle.bhb.trace(found["model"])(1)
        digests.append(handle.runs[-1]["otel_ml.model.version"])
    assert digests[0] == digests[1] != digests[2]
