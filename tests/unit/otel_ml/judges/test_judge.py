"""Judges: rubric, criterion and version."""

import asyncio
import json
import math
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_ml import Judge, Score
from otel_ml.judges.judge import Judgement
from tests.support.otel_ml.hostile import Hostile, HostileClass
from tests.support.otel_ml.written import imported
from tests.support.waiting import elapsed, run_other_tasks, wait_until

INPUTS = {"question": "why", "limit": 3}


class HostileError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("hostile")


def score_length(outputs: str) -> int:
    return len(outputs)


def score_output(output: str) -> int:
    return len(output)


def evaluate(rubric: Any, criteria: Any = None) -> Judgement:
    """Return the judgement of one run, without its version and latency."""
    judge = Judge("grounded", "", rubric, criteria)
    found = judge.evaluate(INPUTS, "because")
    assert found.latency_ms is not None
    assert found.latency_ms >= 0
    return replace(found, version="", latency_ms=None)


def said(**facts: Any) -> Judgement:
    return Judgement("grounded", "", **facts)


@pytest.mark.parametrize(
    "rubric",
    [
        score_length,
        score_output,
        lambda inputs, outputs: len(outputs) if inputs == INPUTS else 0,
        lambda question, limit, outputs: len(outputs) + limit - len(question),
        lambda limit, extra=4: limit + extra,
        lambda outputs, *others, **more: len(outputs) + len(others) + len(more),
        lambda: 7,
    ],
)
def test_rubric_takes_what_it_names(rubric: Callable[..., float]) -> None:
    """A rubric's parameters receive outputs, inputs, or single inputs by name."""
    assert evaluate(rubric) == said(score=7.0)


def test_rubric_s_inputs_are_a_copy() -> None:
    """A rubric that changes the inputs changes only its own copy of the mapping."""
    inputs = {"a": 1}
    Judge("grounded", "", lambda inputs: inputs.clear() or 1).evaluate(inputs, None)
    assert inputs == {"a": 1}


def test_unknown_parameter_is_an_error() -> None:
    """A rubric with an unknown parameter has an error that names the available ones."""
    assert evaluate(lambda answer: 1) == said(
        error=(
            "TypeError: scoring_rubric of judge 'grounded' has the parameter 'answer': expected "
            "'outputs', 'inputs' or one of the inputs ['limit', 'question']"
        )
    )


async def later(outputs: str) -> float:
    await run_other_tasks()
    return float(len(outputs))


@pytest.mark.parametrize(
    ("rubric", "expected"),
    [
        (lambda: 1, said(score=1.0)),
        (lambda: 0.5, said(score=0.5)),
        (lambda: np.float32(0.5), said(score=0.5)),
        (lambda: np.int64(3), said(score=3.0)),
        (lambda: True, said(score=1.0, passed=True)),
        (lambda: False, said(score=0.0, passed=False)),
        (lambda: np.bool_(True), said(score=1.0, passed=True)),
        (lambda: (0.5, "because"), said(score=0.5, explanation="because")),
        (lambda: (1, None), said(score=1.0)),
        (lambda: Score(0.5), said(score=0.5)),
        (
            lambda: Score(0.5, "weak", "because"),
            said(score=0.5, label="weak", explanation="because"),
        ),
        (later, said(score=7.0)),
    ],
)
def test_rubric_s_answer_is_a_score(rubric: Callable[..., Any], expected: Judgement) -> None:
    """A rubric may return a number, a bool, a number with an explanation, or a Score."""
    assert evaluate(rubric) == expected


@pytest.mark.parametrize(
    "answer",
    [
        *(None, "high", "0.5", [1], (1, 2, 3), {}, 1j, 10**400),
        *(math.nan, math.inf, -math.inf, np.float32("inf"), (math.inf, "because")),
    ],
)
def test_no_number_is_an_error(answer: object) -> None:
    """An answer that is not a finite number is an error, never a score or a pass."""
    found = evaluate(lambda: answer, lambda score: True)
    shown = answer[0] if isinstance(answer, tuple) and len(answer) == 2 else answer
    shown = float(shown) if isinstance(shown, np.floating) else shown
    returned = shown if isinstance(shown, float) else type(shown).__name__
    assert found == said(
        error=(
            f"TypeError: scoring_rubric of judge 'grounded' returned {returned}: "
            "expected a finite number, (number, explanation) or Score"
        )
    )


@pytest.mark.parametrize(
    "rubric",
    [
        lambda: Score("high"),  # type: ignore[arg-type]  # on purpose
        lambda: Score(math.inf),
        lambda: Score(0.5, cost=math.inf),
        lambda: ("high", "because"),
    ],
)
def test_no_number_inside_is_an_error(rubric: Callable[[], object]) -> None:
    """A Score or a pair without a number is an error."""
    assert evaluate(rubric).error is not None
    assert evaluate(rubric).score is None


@pytest.mark.parametrize("value", [np.float32(0.5), np.array(0.5), np.array([0.5]), 0.5])
def test_score_takes_numbers_of_others(value: Any) -> None:
    """A Score accepts any number, including numpy scalars and arrays with one element."""
    assert evaluate(lambda: Score(value)).score == 0.5


def raising(error: BaseException) -> Callable[[], float]:
    def rubric() -> float:
        raise error

    return rubric


def test_raising_rubric_is_an_error() -> None:
    """A rubric that raises has an error, but no score and no pass."""
    found = evaluate(raising(ValueError("wrong")), lambda score: True)
    assert found == said(error="ValueError: wrong")


def test_hostile_error_is_an_error() -> None:
    """An error whose text cannot be read is recorded by its type."""
    assert (evaluate(raising(HostileError())).error or "").startswith("HostileError")


@pytest.mark.parametrize("stop", [SystemExit(1), asyncio.CancelledError()])
def test_stopping_rubric_is_an_error(stop: BaseException) -> None:
    """A rubric that exits or is cancelled has an error, like one that raises."""
    assert (evaluate(raising(stop)).error or "").startswith(type(stop).__name__)


def test_long_error_is_cut() -> None:
    """An error is truncated to 1,024 characters."""
    assert evaluate(raising(ValueError("x" * 5_000))).error == "ValueError: " + "x" * 1_012


@pytest.mark.parametrize(("score", "passed"), [(6, True), (5, False)])
def test_criteria_says_whether_it_passed(score: int, passed: bool) -> None:
    """The passing criterion receives the score and decides whether the run passed."""
    found = evaluate(lambda: score, lambda score: score > 5)
    assert found == said(score=float(score), passed=passed)


def test_criteria_wins_over_a_bool() -> None:
    """With a criterion, a bool score does not decide whether the run passed."""
    assert evaluate(lambda: True, lambda score: score > 1) == said(score=1.0, passed=False)


def test_numpy_truth_is_a_pass() -> None:
    """A numpy bool that the criterion returns counts as a bool."""
    assert evaluate(lambda: 1, lambda score: np.float64(score) > 0) == said(score=1.0, passed=True)


@pytest.mark.parametrize("answer", [1, None, "yes"])
def test_criteria_that_is_no_bool_is_an_error(answer: object) -> None:
    """A criterion that does not return a bool is an error and no pass; the score is kept."""
    assert evaluate(lambda: 1, lambda score: answer) == said(
        score=1.0,
        error=(
            f"TypeError: passing_criteria of judge 'grounded' returned {type(answer).__name__}: "
            "expected a bool"
        ),
    )


def test_raising_criteria_is_an_error() -> None:
    """A criterion that raises is an error and no pass; the score is kept."""
    assert evaluate(lambda: 1, lambda score: 1 / 0) == said(
        score=1.0, error="ZeroDivisionError: division by zero"
    )


JUDGE = """
LIMIT = 5

def rubric(outputs):
    # why
    return len(outputs)

def criteria(score):
    # why
    return score > LIMIT
"""


async def is_long_later(score: float) -> bool:
    await run_other_tasks()
    return score > 5


class LaterCriteria:
    async def __call__(self, score: float) -> bool:
        return score > 5


@pytest.mark.parametrize("criteria", [is_long_later, LaterCriteria(), partial(is_long_later)])
@pytest.mark.parametrize("rubric", [later, score_length])
def test_criteria_may_be_async(rubric: Callable[..., Any], criteria: Callable[..., Any]) -> None:
    """A passing criterion may be async, with a sync or an async rubric."""
    assert evaluate(rubric, criteria) == said(score=7.0, passed=True)


async def raise_later(score: float) -> bool:
    raise ValueError("wrong")


def test_raising_async_criteria_is_an_error() -> None:
    """An async criterion that raises is an error and no pass; the score is kept."""
    assert evaluate(later, raise_later) == said(score=7.0, error="ValueError: wrong")


async def never_ending(outputs: str) -> float:
    await asyncio.Event().wait()
    return 1.0


def slow(outputs: str) -> float:
    wait_until(elapsed(0.02))
    return 1.0


def slow_and_raising(outputs: str) -> float:
    wait_until(elapsed(0.02))
    raise ValueError("wrong")


@pytest.mark.parametrize("rubric", [never_ending, slow, slow_and_raising])
def test_slow_rubric_is_an_error(rubric: Callable[..., Any]) -> None:
    """A rubric that exceeds its timeout has an error, but no score and no pass."""
    found = Judge("grounded", "", rubric, lambda score: True, timeout_s=0.01).evaluate({}, "")
    assert replace(found, version="", latency_ms=None) == said(error="timed out after 0.01 s")


def test_slow_criteria_is_an_error() -> None:
    """If the criterion exceeds the timeout, there is no score either."""
    judge = Judge("grounded", "", lambda: 1, lambda score: slow("") > 0, timeout_s=0.01)
    found = judge.evaluate({}, "")
    assert replace(found, version="", latency_ms=None) == said(error="timed out after 0.01 s")


def test_slow_async_rubric_is_cancelled() -> None:
    """An async rubric that exceeds its timeout is cancelled."""
    stopped = threading.Event()

    async def rubric() -> float:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        return 1.0

    Judge("grounded", "", rubric, timeout_s=0.01).evaluate({}, "")
    assert stopped.wait(10)


@pytest.mark.parametrize("timeout_s", [0, -1, float("nan"), float("inf")])
def test_impossible_timeout_is_refused(timeout_s: float) -> None:
    """A timeout that is not a positive number raises an error that shows the value."""
    with pytest.raises(
        ValueError,
        match=rf"^Invalid timeout_s {timeout_s!r}: expected a positive number of seconds$",
    ):
        Judge("grounded", "", score_length, timeout_s=timeout_s)


answers = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.builds(np.float64, st.floats()),
    st.builds(np.bool_, st.booleans()),
    st.builds(np.zeros, st.integers(0, 3)),
    st.lists(st.integers() | st.text(max_size=3), max_size=4).map(tuple),
    st.builds(Score, st.floats(allow_nan=False, allow_infinity=False)),
    st.just(("x",) * 100_000),
    st.builds(Hostile),
    st.builds(HostileClass),
)


class Answering:
    """Rubric and criterion that return what they were given."""

    def __init__(self, answer: object) -> None:
        self.answer = answer

    def __call__(self, *_: object) -> Any:
        return self.answer


@settings(deadline=None)  # parsing the classes takes a while, once
@given(answers, answers)
def test_any_answer_is_a_score_or_an_error(answer: object, verdict: object) -> None:
    """Any answers give a finite score or an error, and a pass only with a score."""
    found = evaluate(Answering(answer), Answering(verdict))
    assert found.score is None or math.isfinite(found.score)
    assert (found.error is None) == (found.passed is not None)
    assert found.score is not None or found.error is not None


@pytest.mark.parametrize(
    "error",
    [BaseException("wrong"), GeneratorExit(), KeyboardInterrupt(), StopIteration(1)],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("is_async", [False, True])
def test_any_exception_is_an_error(error: BaseException, is_async: bool) -> None:
    """Any exception of a sync or async rubric becomes an error."""

    def rubric() -> float:
        raise error

    async def rubric_later() -> float:
        raise error

    found = evaluate(rubric_later if is_async else rubric, lambda score: True)
    assert (found.score, found.passed) == (None, None)
    assert found.error is not None


@pytest.mark.parametrize("rubric", [type, lambda outputs, /: 1, [].append])
def test_rubric_without_names_is_refused(rubric: Callable[..., Any]) -> None:
    """A rubric whose parameters have no names is refused when the judge is created."""
    with pytest.raises(ValueError, match="expected a function whose parameters can be passed by"):
        Judge("grounded", "", rubric)


class Reply:
    """An output of a user's own class."""

    def __init__(self, *words: str) -> None:
        self.words = [*words]


@pytest.mark.parametrize(
    ("outputs", "change", "read"),
    [
        ([1, 2], lambda outputs: outputs.clear(), lambda outputs: outputs == [1, 2]),
        ({"a": {"b": [1]}}, lambda outputs: outputs["a"].pop("b"), lambda outputs: outputs["a"]),
        ({"x", "y"}, lambda outputs: outputs.pop(), lambda outputs: len(outputs) == 2),
        (([1],), lambda outputs: outputs[0].append(2), lambda outputs: outputs == ([1],)),
        (np.array([3, 1]), lambda outputs: outputs.sort(), lambda outputs: outputs[0] == 3),
        (Reply("a"), lambda outputs: outputs.words.clear(), lambda outputs: outputs.words),
    ],
    ids=["list", "dict", "set", "tuple", "array", "object"],
)
def test_judges_see_no_change_of_others(
    outputs: Any, change: Callable[[Any], object], read: Callable[[Any], object]
) -> None:
    """A judge that changes outputs or inputs changes only its own copy."""
    inputs = {"seen": outputs}

    def changing(outputs: Any, seen: Any) -> float:
        change(outputs)
        assert seen is outputs  # an object that occurs twice is copied once
        return 1.0

    judge = Judge("changing", "", changing)
    for _ in range(2):
        assert judge.evaluate(inputs, outputs).error is None
    assert read(outputs)
    assert inputs["seen"] is outputs


def test_what_cannot_be_copied_is_passed() -> None:
    """A judge receives an output that cannot be copied, or that contains itself."""
    lock, own = threading.Lock(), [1]
    own.append(own)  # type: ignore[arg-type]  # on purpose
    assert Judge("same", "", lambda outputs: outputs is lock).evaluate({}, lock).passed
    judge = Judge("own", "", lambda outputs: outputs is not own and outputs[1] is outputs)
    assert judge.evaluate({}, own).passed


def version(directory: Path, source: str) -> str:
    with imported(directory, {"shop.judge": source}, "shop.judge") as module:
        return Judge("grounded", "", module.rubric, module.criteria).version


@pytest.mark.parametrize(
    ("old", "new"),
    [("len(outputs)", "len(outputs) + 1"), ("score > LIMIT", "score < LIMIT"), ("= 5", "= 6")],
    ids=["rubric", "criteria", "constant"],
)
def test_code_opens_a_version(tmp_path: Path, old: str, new: str) -> None:
    """A judge's version changes with the code of its rubric and its criterion."""
    assert version(tmp_path, JUDGE) != version(tmp_path, JUDGE.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [("# why", "# because"), ("    # why\n", ""), ("(outputs)", "( outputs )")],
    ids=["comment", "no comment", "spaces"],
)
def test_writing_opens_no_version(tmp_path: Path, old: str, new: str) -> None:
    """Comments and spaces do not change a judge's version."""
    assert version(tmp_path, JUDGE) == version(tmp_path, JUDGE.replace(old, new))


def is_long(score: float) -> bool:
    return score > 5


RANDOM = """
import random

def rubric(outputs):
    return random.randint(1, 10)

def criteria(score):
    return score > 5
"""


def test_rubric_may_use_what_its_module_imports(tmp_path: Path) -> None:
    """A rubric can use the imports of its module."""
    with imported(tmp_path, {"shop.judge": RANDOM}, "shop.judge") as module:
        found = Judge("random", "", module.rubric, module.criteria).evaluate({}, "")
    assert found.error is None
    assert found.score is not None
    assert found.score in range(1, 11)
    assert found.passed is (found.score > 5)


def test_criteria_opens_a_version() -> None:
    """A judge with a criterion has another version than the judge without one."""
    with_criteria = Judge("grounded", "", score_length, is_long)
    assert with_criteria.version != Judge("grounded", "", score_length).version


def test_tag_is_name_and_version() -> None:
    """A judge's tag is its name and the 16 hex digits of its version."""
    judge = Judge("grounded", "", score_length)
    assert judge.tag == f"grounded@{judge.version}"
    assert len(bytes.fromhex(judge.version)) == 8


def test_json_shows_the_judge() -> None:
    """A judge's JSON contains name, description, version and both sources."""
    judge = Judge("grounded", "Looks at length", score_length, is_long)
    assert json.loads(judge.to_json()) == {
        "name": "grounded",
        "description": "Looks at length",
        "version": judge.version,
        "scoring_rubric": "def score_length(outputs: str) -> int:\n    return len(outputs)",
        "passing_criteria": "def is_long(score: float) -> bool:\n    return score > 5",
    }
