"""Scores and errors of judges, and the strict reading of what rubrics return."""

import inspect
import math
import numbers
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from otel_ml.arguments import invalid
from otel_ml.errors import untrusted

_ERROR_CHARS: Final = 1_024
_LABEL_CHARS: Final = 256
_EXPLANATION_CHARS: Final = 16_384
_RETURNED: Final = frozenset({"outputs", "output"})
_INPUTS: Final = "inputs"
# What a rubric can ask for in an experiment, besides outputs and inputs.
EXPECTED: Final = ("expected", "item")
BASELINE: Final = "baseline"


@dataclass(frozen=True, slots=True)
class Score:
    """A score with a label, an explanation or a cost. A rubric may return it instead of a number.

    Attributes:
        value: The score, in the judge's own range.
        label: A word for the score, such as ``relevant``.
        explanation: The reason for the score, in a sentence.
        cost: Cost of computing the score in US dollars, for example of an LLM call.

    Raises:
        ValueError: `value` or `cost` is not a finite number, or `label` or `explanation` is not
            text.
    """

    value: float
    label: str | None = None
    explanation: str | None = None
    cost: float | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        number: Any = self.value
        if hasattr(type(number), "item"):  # a numpy or torch scalar
            with untrusted:
                number = number.item()
        if not _is_number(number):
            raise invalid("value", self.value, "a finite number")
        for argument, text in (("label", self.label), ("explanation", self.explanation)):
            if not (text is None or issubclass(type(text), str)):
                raise invalid(argument, text, "a text, or None")
        if not (self.cost is None or _is_number(self.cost)):
            raise invalid("cost", self.cost, "a finite number, or None")


@dataclass(frozen=True, slots=True)
class Judgement:
    """A judge's result for one run: a score, passed or failed, or an error of the judge.

    If the judge raised an error, `error` describes it and `passed` is None. If the judge compared
    two runs, `against` is the ID of the other run.
    """

    judge: str
    version: str
    score: float | None = None
    passed: bool | None = None
    label: str | None = None
    explanation: str | None = None
    error: str | None = None
    latency_ms: float | None = None
    cached: bool = False
    cost: float | None = None
    against: str | None = None


class JudgeError(Exception):
    """A judge could not score a run. Users see the message without the exception's type."""


class JudgeTimedOut(JudgeError):
    """A judge exceeded its time limit. Scores that arrive later are ignored."""

    def __init__(self, timeout_s: float) -> None:
        super().__init__(f"timed out after {timeout_s:g} s")


def describe_problem(problem: BaseException) -> str:
    """Return an exception's type and message as one short line.

    Works even if the message cannot be read.
    """
    with untrusted:
        if isinstance(problem, JudgeError):
            return str(problem)[:_ERROR_CHARS]
        return f"{type(problem).__name__}: {problem}"[:_ERROR_CHARS]
    return type(problem).__name__


def read_score(answer: object, judge: str) -> tuple[Score, bool | None]:
    """Convert the return value of a rubric to a score. A rubric is a function that scores a run.

    Args:
        answer: What the rubric returned.
        judge: Name of the judge, for the error message.

    Returns:
        The score, and whether the run passed. The second is None if the rubric did not return a
        bool.

    Raises:
        TypeError: The score is not a finite number.
    """
    if type(answer) is bool:
        return _OF_BOOL[answer], answer
    if isinstance(answer, Score):
        label = _text(answer.label, _LABEL_CHARS)
        explanation = _text(answer.explanation, _EXPLANATION_CHARS)
        cost = None if answer.cost is None else float(answer.cost)
        return Score(_number(answer.value, judge), label, explanation, cost), None
    match answer:
        case tuple((value, text)):
            return Score(_number(value, judge), None, _text(text, _EXPLANATION_CHARS)), None
    if type(answer).__module__ == "numpy" and getattr(answer, "shape", None) == ():
        answer = answer.item()  # type: ignore[attr-defined]  # numpy scalars have it
    passed = answer if isinstance(answer, bool) else None
    return Score(_number(answer, judge)), passed


def read_pass(answer: object, judge: str) -> bool:
    """Return the result of a passing criterion, if it is a bool. Raise otherwise.

    A passing criterion is a function that decides whether a score passes.

    Raises:
        TypeError: The criterion did not return a bool.
    """
    if hasattr(answer, "item"):
        answer = answer.item()
    if isinstance(answer, bool):
        return answer
    raise TypeError(
        f"passing_criteria of judge {judge!r} returned {type(answer).__name__}: expected a bool"
    )


def parameters_of(rubric: Callable[..., object]) -> dict[str, bool]:
    """Return the parameters of a rubric (a function that scores a run).

    Returns:
        A dict by parameter name. The value is True for a required and False for an optional
        parameter.

    Raises:
        ValueError: The rubric has no signature, or a parameter that cannot be passed by name.
    """
    expected = "a function whose parameters can be passed by name"
    parameters = None
    with untrusted:
        parameters = inspect.signature(rubric).parameters
    if parameters is None:
        raise invalid("scoring_rubric", rubric, expected)
    packed = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
    required = {
        name: parameter.default is parameter.empty and parameter.kind not in packed
        for name, parameter in parameters.items()
    }
    unnamed = {
        name
        for name, parameter in parameters.items()
        if parameter.kind is inspect.Parameter.POSITIONAL_ONLY
    }
    if any(required[name] for name in unnamed):
        raise invalid("scoring_rubric", rubric, expected)
    return {name: is_required for name, is_required in required.items() if name not in unnamed}


def check_arguments(
    judge: str, parameters: Mapping[str, bool], passed: Collection[str], inputs: Collection[str]
) -> None:
    """Check that all required parameters of a rubric can be passed to it.

    A rubric is a function that scores a run. Its parameters can be ``outputs``, ``inputs``, the
    name of an input, or a name in `passed`.

    Args:
        judge: Name of the judge.
        parameters: Parameters of its rubric, from `parameters_of`.
        passed: Names of other available values, such as ``expected``.
        inputs: Names of the run's inputs.

    Raises:
        ValueError: The rubric requires another parameter. The message names it.
    """
    known = {*_RETURNED, _INPUTS, *passed, *inputs}
    for name, is_required in parameters.items():
        if is_required and name not in known:
            besides = "".join(f", {item!r}" for item in passed)
            raise ValueError(
                f"Invalid scoring_rubric of judge {judge!r} with the parameter {name!r}, which "
                f"has no value: expected 'outputs', 'inputs'{besides} or one of the inputs "
                f"{sorted(inputs)}"
            )


def arguments_of(
    parameters: Mapping[str, bool],
    judge: str,
    inputs: Mapping[str, object],
    outputs: object,
    more: Mapping[str, object],
) -> dict[str, object]:
    """Return the arguments for calling a rubric, by parameter name.

    A rubric is a function that scores a run. Its parameters have the names of the values that it
    needs, such as ``outputs`` or the name of an input.

    Args:
        parameters: Parameters of the rubric, from `parameters_of`.
        judge: Name of the judge, for the error message.
        inputs: Inputs of the run by name.
        outputs: Output of the run.
        more: Further values by name, such as ``expected``.

    Raises:
        TypeError: The rubric requires a value that the run does not have.
    """
    arguments: dict[str, object] = {}
    for name, must_be_given in parameters.items():
        if name in _RETURNED:
            arguments[name] = outputs
        elif name == _INPUTS:
            arguments[name] = dict(inputs)
        elif name in more:
            arguments[name] = more[name]
        elif name in inputs:
            arguments[name] = inputs[name]
        elif must_be_given:
            besides = "".join(f", {item!r}" for item in more)
            raise TypeError(
                f"scoring_rubric of judge {judge!r} has the parameter {name!r}: expected "
                f"'outputs', 'inputs'{besides} or one of the inputs {sorted(inputs)}"
            )
    return arguments


def _number(value: object, judge: str) -> float:
    if hasattr(value, "item"):  # a numpy or torch scalar
        value = value.item()
    if _is_number(value):
        return float(value)  # type: ignore[arg-type]  # just checked
    returned = f"{value!r}" if type(value) is float else type(value).__name__
    raise TypeError(
        f"scoring_rubric of judge {judge!r} returned {returned}: expected a finite number, "
        "(number, explanation) or Score"
    )


def _is_number(value: Any) -> bool:
    """Return whether a value is a finite number. Other values would make a mean useless."""
    try:
        return issubclass(type(value), numbers.Real) and math.isfinite(value)
    except OverflowError:  # an int too large for a float
        return False


def _text(value: object, chars: int) -> str | None:
    return None if value is None else str(value)[:chars]


# Shared scores of `False` and `True`, by far the most frequent results.
_OF_BOOL: Final = (Score(0.0), Score(1.0))
