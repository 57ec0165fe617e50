"""Judges: a scoring rubric and a passing criterion, versioned by their code."""

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Final

import orjson

from otel_ml.arguments import (
    check_callable,
    check_flag,
    check_mapping,
    check_seconds,
    check_text,
)
from otel_ml.capture.values import LIMIT_BYTES, encode
from otel_ml.errors import is_of_signal, untrusted
from otel_ml.judges.answer import (
    Judgement,
    JudgeTimedOut,
    Score,
    arguments_of,
    parameters_of,
    read_pass,
    read_score,
    tell,
)
from otel_ml.judges.steps import Steps, drive
from otel_ml.late import late
from otel_ml.redaction import Redaction

if TYPE_CHECKING:
    from otel_ml.versions import definition as definitions
    from otel_ml.versions.definition import Definition
else:
    definitions = late("versions.definition")

__all__ = ["Judge", "Judgement", "Score", "is_in_sample"]

Rubric = Callable[..., Any]
Criteria = Callable[[Any], Any]

_MIX: Final = 0x9E3779B97F4A7C15  # 2**64 / golden ratio: also ids in a row fall evenly
_SPAN_IDS: Final = 2**64
_CACHED: Final = 1_024
_CRITERION: Final = "passing_criteria"
NO_MORE: Final[Mapping[str, object]] = {}
_PREFERENCES: Final = frozenset({-1.0, 0.0, 1.0})


class Judge:
    """Scores a run's outputs.

    Args:
        name: The name under which scores and versions of this judge gather.
        description: What it looks at, for the page.
        scoring_rubric: Called with parameters by name: ``outputs``, ``inputs`` (a dict), or
            the name of an input; in an experiment also ``expected`` and ``item``. Sync or async.
            Returns a number, a bool, ``(number, explanation)`` or a `Score`.
        passing_criteria: Called with the score, returns a bool. Sync or async. Without it a
            bool score says itself whether the run passed; a number alone does not.
        timeout_s: For rubric and criterion together. A judge that takes longer is an error,
            and what it answers later is thrown away.
        cache: Remember the scores of the last 1,024 inputs and outputs. Off, because a rubric
            may answer differently each time.
        pairwise: In an experiment that has a baseline, compare ``outputs`` with the baseline's
            ``baseline``: 1 for better, 0 for even, −1 for worse. It is asked in both orders;
            answers that contradict each other are a tie with the label ``order``.
        lower_is_better: Whether a lower score is a better one, for experiments and for lists that
            have the worst first. None: what passes tells, and without a criterion more is better.

    Raises:
        ValueError: The timeout is no positive number of seconds, or another argument is none of
            what it takes.
    """

    def __init__(
        self,
        name: str,
        description: str,
        scoring_rubric: Rubric,
        passing_criteria: Criteria | None = None,
        *,
        timeout_s: float = 30.0,
        cache: bool = False,
        pairwise: bool = False,
        lower_is_better: bool | None = None,
    ) -> None:
        check_seconds("timeout_s", timeout_s)
        if lower_is_better is not None:
            check_flag("lower_is_better", lower_is_better)
        if passing_criteria is not None:
            check_callable("passing_criteria", passing_criteria, "a function of the score, or None")
        self.name = check_text("name", name)
        self.description = check_text("description", description, 65_536, may_be_empty=True)
        self.scoring_rubric = check_callable("scoring_rubric", scoring_rubric, "a function")
        self.passing_criteria = passing_criteria
        self.timeout_s = timeout_s
        self._cache = ScoreCache() if check_flag("cache", cache) else None
        self.pairwise = check_flag("pairwise", pairwise)
        self.lower_is_better = lower_is_better

    @cached_property
    def definition(self) -> "Definition":
        """The rubric's definition, which names the criterion among its helpers."""
        rubric = self._define_rubric()
        if self.passing_criteria is None:
            return rubric
        criterion = definitions.define(self.passing_criteria)
        return definitions.join(rubric, _CRITERION, criterion)

    @cached_property
    def _parameters(self) -> dict[str, bool]:
        return parameters_of(self.scoring_rubric)

    @property
    def version(self) -> str:
        """16 hex digits that change with the code of rubric or criterion, not with comments."""
        return self.definition.digest

    @property
    def tag(self) -> str:
        """``name@version``, as `Client.add_judge` returns it and `Client.assess` takes it."""
        return f"{self.name}@{self.version}"

    def to_json(self) -> str:
        """Return name, description, version and source as JSON text."""
        return orjson.dumps(
            {
                "name": self.name,
                "description": self.description,
                "version": self.version,
                "scoring_rubric": self.definition.source,
                "passing_criteria": self.definition.helpers.get(_CRITERION),
            }
        ).decode()

    def evaluate(self, inputs: Mapping[str, object], outputs: object) -> Judgement:
        """Score a single run on this thread, as when a judge is tried out. Nothing is recorded.

        Never raises for the user's code: that is the result.

        Raises:
            ValueError: The inputs are no mapping.
        """
        check_mapping("inputs", inputs, "a mapping of names to values")
        return drive(self.steps(inputs, outputs), _wait, self.timeout_s)

    def steps(
        self, inputs: Mapping[str, object], outputs: object, more: Mapping[str, object] = NO_MORE
    ) -> Steps[Judgement]:
        """Score a run in steps. Never raises for the user's code: that is the result.

        Args:
            inputs: By name.
            outputs: The run's output.
            more: Further values that a rubric may name: ``expected``, ``item``, ``baseline``.
        """
        started = time.perf_counter()
        key = None
        if self._cache is not None:
            key = cache_key(self.version, inputs, outputs, more)
            known = None if key is None else self._cache.find(key)
            if known is not None:
                return replace(known, cached=True, latency_ms=_since(started), cost=None)
        evaluation = yield from self._evaluate(started, inputs, outputs, more)
        if self._cache is not None and key is not None:
            self._cache.keep(key, evaluation)
        return evaluation

    def _evaluate(
        self,
        started: float,
        inputs: Mapping[str, object],
        outputs: object,
        more: Mapping[str, object],
    ) -> Steps[Judgement]:
        score, passed, error = None, None, None
        try:
            score, passed = yield from self._score(inputs, outputs, more)
            if self.pairwise:
                turned = {**more, "baseline": outputs}
                other, _ = yield from self._score(inputs, more.get("baseline"), turned)
                score, passed = _settle(score, other, self.name), None
            if self.passing_criteria is not None:
                answer = yield partial(self.passing_criteria, score.value)
                passed = read_pass(answer, self.name)
        except BaseException as problem:
            if is_of_signal(problem):
                raise
            error, passed = tell(problem), None
            if isinstance(problem, JudgeTimedOut):
                score = None
        return Judgement(
            judge=self.name,
            version=self.version,
            score=None if score is None else score.value,
            passed=passed,
            label=None if score is None else score.label,
            explanation=None if score is None else score.explanation,
            error=error,
            latency_ms=_since(started),
            cost=None if score is None else score.cost,
        )

    def _score(
        self, inputs: Mapping[str, object], outputs: object, more: Mapping[str, object]
    ) -> Steps[tuple[Score, bool | None]]:
        arguments = arguments_of(self._parameters, self.name, inputs, outputs, more)
        answer = yield partial(self.scoring_rubric, **arguments)
        return read_score(answer, self.name)

    def _define_rubric(self) -> "Definition":
        return definitions.define(self.scoring_rubric)


def describe_judge(judge: Judge, redaction: Redaction) -> str:
    """Write the record of a judge's version: a definition like a model's, with more parts.

    With ``OTEL_ML_CAPTURE_SOURCE=off`` it has neither rubric, criterion nor description, which
    may be the rubric in words.
    """
    from otel_ml.versions.definition import is_source_left_out  # no part of start-up

    definition = judge.definition
    criterion = definition.helpers.get(_CRITERION)
    helpers = {name: text for name, text in definition.helpers.items() if name != _CRITERION}
    document = orjson.loads(replace(definition, helpers=helpers).to_json(redaction))
    hidden = is_source_left_out()
    # "type" stands first: of two texts of one version the store keeps the greater one, so this
    # one holds against that of an SDK which sent no description; "lower_is_better" is greater than
    # "description", so a text that says it holds against one that does not.
    direction = judge.lower_is_better
    content = {
        "type": "judge",
        **({} if direction is None else {"lower_is_better": direction}),
        "description": "" if hidden else redaction.shown(judge.description),
        "criterion": None if hidden or criterion is None else redaction.source(criterion),
        **document,
    }
    return encode(content).text


def is_in_sample(span_id: int, sample: float) -> bool:
    """Tell whether a run is judged; the same run always is, or never.

    The span id, times an odd constant and modulo 2**64, stands in the lowest `sample` of its
    range. A run judged at a share is also judged at every larger share.
    """
    return span_id * _MIX % _SPAN_IDS < sample * _SPAN_IDS


def _wait(awaitable: Awaitable[object], timeout_s: float) -> object:
    from otel_ml.judges.loop import JudgeLoop  # loads asyncio, for async rubrics only

    loop = JudgeLoop()
    try:
        return loop.wait(awaitable, timeout_s)
    finally:
        loop.close()


def _settle(score: Score, turned: Score, judge: str) -> Score:
    """Join the scores of a pairwise judge on two outputs and on the same outputs turned round.

    Raises:
        TypeError: An answer is not 1, 0 or -1.
    """
    for answer in (score, turned):
        if answer.value not in _PREFERENCES:
            raise TypeError(
                f"scoring_rubric of judge {judge!r} returned {answer.value:g}: expected 1, 0 or -1 "
                "(better, even, worse) of a pairwise judge"
            )
    costs = [answer.cost for answer in (score, turned) if answer.cost is not None]
    cost = sum(costs) if costs else None
    if score.value == -turned.value:
        return replace(score, cost=cost)
    return Score(0.0, "order", score.explanation, cost)


def _since(started: float) -> float:
    return (time.perf_counter() - started) * 1e3


class ScoreCache:
    """The last 1,024 scores of a judge. Safe to use from several threads."""

    # No lock, which a fork or a finalizer could find held: each step is one of the dict's own.

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, Judgement] = OrderedDict()

    def find(self, key: bytes) -> Judgement | None:
        """Return a kept judgement, and keep it longer."""
        judgement = self._known.get(key)
        if judgement is not None:
            with suppress(KeyError):  # it was the oldest, and is gone
                self._known.move_to_end(key)
        return judgement

    def keep(self, key: bytes, evaluation: Judgement) -> None:
        """Keep a score; errors are not kept, so that the next call tries again."""
        if evaluation.error is not None:
            return
        self._known[key] = evaluation
        if len(self._known) > _CACHED:
            with suppress(KeyError):  # others were as many
                self._known.popitem(last=False)


def cache_key(
    version: str,
    inputs: Mapping[str, object],
    outputs: object,
    more: Mapping[str, object] = NO_MORE,
) -> bytes | None:
    """Return a digest of everything that a score depends on.

    Returns:
        None where JSON does not hold all: values too long for a run, opaque (an array, a table, an
        object, of which a run shows the beginning) or changed on its way (NaN, a tuple, a date).
    """
    import hashlib  # loads OpenSSL, which is no part of start-up

    seen: dict[str, object] = {"inputs": dict(inputs), "outputs": outputs}
    if more:  # an item is known by its id
        seen["more"] = {name: getattr(value, "id", value) for name, value in more.items()}
    with untrusted:
        text = orjson.dumps(seen, option=orjson.OPT_SORT_KEYS)
        if len(text) <= LIMIT_BYTES and orjson.loads(text) == seen:
            return hashlib.sha256(version.encode() + b"\0" + text).digest()
    return None
