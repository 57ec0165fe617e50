"""Judges: a scoring rubric and a passing criterion, versioned by their code."""

import inspect
import math
import numbers
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from otel_ml.model_version import Definition


Rubric = Callable[..., Any]
Criteria = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Score:
    """What a rubric may return instead of a plain number.

    Attributes:
        value: The score, in the judge's own range.
        label: A word for it, such as ``relevant``.
        explanation: Why, in a sentence.
    """

    value: float
    label: str | None = None
    explanation: str | None = None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a judge said of one run; with an error there is no pass and, mostly, no score."""

    judge: str
    version: str
    score: float | None = None
    passed: bool | None = None
    label: str | None = None
    explanation: str | None = None
    error: str | None = None
    latency_ms: float | None = None


class Judge:
    """Scores a run's outputs.

    Args:
        name: The name under which scores and versions of this judge gather.
        description: What it looks at, for the page.
        scoring_rubric: Called with parameters by name: ``outputs``, ``inputs`` (a dict), or
            the name of an input. Sync or async. Returns a number, a bool, ``(number,
            explanation)`` or a `Score`.
        passing_criteria: Called with the score, returns a bool. Without it a bool score says
            itself whether the run passed; a number alone does not.
    """

    def __init__(
        self,
        name: str,
        description: str,
        scoring_rubric: Rubric,
        passing_criteria: Criteria | None = None,
    ) -> None:
        self.name = name
        self.description = description
        self.scoring_rubric = scoring_rubric
        self.passing_criteria = passing_criteria

    @cached_property
    def definition(self) -> "Definition":
        """The rubric's definition, which names the criterion among its helpers."""
        from otel_ml.model_version import define, join  # parsing is no part of start-up

        rubric = define(self.scoring_rubric)
        if self.passing_criteria is None:
            return rubric
        return join(rubric, "passing_criteria", define(self.passing_criteria))

    @property
    def version(self) -> str:
        """16 hex digits that change with the code of rubric or criterion, not with comments."""
        return self.definition.digest

    @property
    def tag(self) -> str:
        """``name@version``: what `Client.add_judge` returns and `Client.assess` takes."""
        return f"{self.name}@{self.version}"

    def to_json(self) -> str:
        """Return name, description, version and source as JSON text."""
        return orjson.dumps(
            {
                "name": self.name,
                "description": self.description,
                "version": self.version,
                "scoring_rubric": self.definition.source,
                "passing_criteria": self.definition.helpers.get("passing_criteria"),
            }
        ).decode()

    def evaluate(self, inputs: Mapping[str, object], outputs: object) -> Evaluation:
        """Score one run. Never raises for an `Exception` of the user's code: it is the result."""
        started = time.perf_counter()
        score: Score | None = None
        passed, error = None, None
        try:
            score, passed = self._score(inputs, outputs)
            if self.passing_criteria is not None:
                passed = _truth(self.passing_criteria(score.value), self.name)
        except BaseException as problem:  # noqa: BLE001 - also exits and cancelled tasks of theirs
            error = _told(problem)
            passed = None
        return Evaluation(
            judge=self.name,
            version=self.version,
            score=None if score is None else score.value,
            passed=passed,
            label=None if score is None else score.label,
            explanation=None if score is None else score.explanation,
            error=error,
            latency_ms=(time.perf_counter() - started) * 1e3,
        )

    def _score(self, inputs: Mapping[str, object], outputs: object) -> tuple[Score, bool | None]:
        result = self.scoring_rubric(**self._arguments(inputs, outputs))
        if inspect.isawaitable(result):
            result = _await(result)
        if isinstance(result, Score):
            return Score(_number(result.value, self.name), result.label, result.explanation), None
        if isinstance(result, tuple) and len(result) == 2:  # noqa: PLR2004 - (number, explanation)
            explanation = None if result[1] is None else str(result[1])
            return Score(_number(result[0], self.name), None, explanation), None
        if type(result).__module__ == "numpy" and getattr(result, "shape", None) == ():
            result = result.item()
        passed = result if isinstance(result, bool) else None
        return Score(_number(result, self.name)), passed

    def _arguments(self, inputs: Mapping[str, object], outputs: object) -> dict[str, object]:
        arguments: dict[str, object] = {}
        for name, parameter in inspect.signature(self.scoring_rubric).parameters.items():
            if name in {"outputs", "output"}:
                arguments[name] = outputs
            elif name == "inputs":
                arguments[name] = dict(inputs)
            elif name in inputs:
                arguments[name] = inputs[name]
            elif parameter.default is parameter.empty and parameter.kind not in {
                parameter.VAR_POSITIONAL,
                parameter.VAR_KEYWORD,
            }:
                raise TypeError(
                    f"scoring_rubric of judge {self.name!r} wants {name!r}: expected 'outputs', "
                    f"'inputs' or one of the inputs {sorted(inputs)}"
                )
        return arguments


def _told(problem: BaseException) -> str:
    try:
        return f"{type(problem).__name__}: {problem}"[:1024]
    except Exception:  # noqa: BLE001 - the user's own exception class
        return type(problem).__name__


def _await(awaitable: Awaitable[object]) -> object:
    import asyncio  # 14 ms that a process without async rubrics need not spend

    async def wait() -> object:
        return await awaitable

    return asyncio.run(wait())


def _number(value: object, judge: str) -> float:
    if hasattr(value, "item"):  # a numpy or torch scalar
        value = value.item()
    if isinstance(value, numbers.Real) and not math.isnan(value):
        return float(value)
    raise TypeError(
        f"scoring_rubric of judge {judge!r} returned {type(value).__name__}: expected a number, "
        "(number, explanation) or Score"
    )


def _truth(value: object, judge: str) -> bool:
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, bool):
        return value
    raise TypeError(
        f"passing_criteria of judge {judge!r} returned {type(value).__name__}: expected a bool"
    )
