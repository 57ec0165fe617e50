"""Judges: a scoring rubric and a passing criterion, versioned by their code."""

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Mapping
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
    BASELINE,
    EXPECTED,
    Judgement,
    JudgeTimedOut,
    Score,
    arguments_of,
    check_arguments,
    describe_problem,
    parameters_of,
    read_pass,
    read_score,
)
from otel_ml.judges.isolation import isolate
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

_MIX: Final = 0x9E3779B97F4A7C15  # 2**64 / golden ratio: spreads consecutive ids evenly
_SPAN_IDS: Final = 2**64
_CACHED: Final = 1_024
_CRITERION: Final = "passing_criteria"
NO_MORE: Final[Mapping[str, object]] = {}
_PREFERENCES: Final = frozenset({-1.0, 0.0, 1.0})


class Judge:
    """Scores the output of a run.

    Args:
        name: Name of the judge. Its scores and versions share the name.
        description: What the judge checks. Shown on its web page.
        scoring_rubric: Function that returns the score, sync or async. Parameters get their values
            by name: ``outputs``, ``inputs`` (a dict), or the name of an input; in experiments also
            ``expected`` and ``item``. It gets copies, so it can change them without an effect on
            other judges. It returns a number, a bool, ``(number, explanation)`` or a `Score`.
        passing_criteria: Function that takes the score and returns whether the run passed, sync or
            async. Without it, a score that is a bool decides whether the run passed. A score that
            is a number does not.
        timeout_s: Time limit in seconds for rubric and criterion together. If it is exceeded, the
            judge has failed and a later score is ignored.
        cache: Whether to remember the scores of the last 1,024 inputs and outputs. Off by default,
            because a rubric may return different scores for the same run.
        pairwise: Whether the judge compares the output with the output in the baseline of an
            experiment. The rubric gets ``outputs`` and ``baseline``. It returns 1 if ``outputs`` is
            better, 0 if both are equal, −1 if it is worse. The rubric is called a second time with
            the two swapped. If the answers contradict each other, the score is 0 and has the label
            ``order``.
        lower_is_better: Whether lower scores are better, for experiments and for lists with the
            worst first. With None, it is derived from which scores pass. If there is no passing
            criterion either, higher scores are better.

    Raises:
        ValueError: An argument is invalid, for example the timeout is not a positive number, or the
            rubric's parameters cannot be passed by name.
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
        self._parameters = self._read_parameters()
        self.passing_criteria = passing_criteria
        self.timeout_s = timeout_s
        self._cache = ScoreCache() if check_flag("cache", cache) else None
        self.pairwise = check_flag("pairwise", pairwise)
        self.lower_is_better = lower_is_better

    def __getstate__(self) -> dict[str, Any]:
        """Pickle the judge with its definition: another process may not have the source."""
        return {**vars(self), "definition": self.definition.without_objects()}

    @cached_property
    def definition(self) -> "Definition":
        """The judge's code, stored with its version: the rubric and the passing criterion."""
        rubric = self._define_rubric()
        if self.passing_criteria is None:
            return rubric
        criterion = definitions.define(self.passing_criteria)
        return definitions.join(rubric, _CRITERION, criterion)

    def _check_inputs(self, inputs: Collection[str]) -> None:
        """Raise an error if the rubric requires a value that runs with these inputs do not have.

        Raises:
            ValueError: The rubric has a required parameter for which there is no value.
        """
        passed = (*EXPECTED, BASELINE) if self.pairwise else EXPECTED
        check_arguments(self.name, self._parameters, passed, inputs)

    @property
    def version(self) -> str:
        """Digest of the code of rubric and criterion, 16 hex digits. Comments do not change it."""
        return self.definition.digest

    @property
    def tag(self) -> str:
        """``name@version``: returned by `Client.add_judge`, accepted by `Client.assess`."""
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
        """Score one output and return the result. Use it to try the judge out: nothing is recorded.

        Errors of the rubric or the passing criterion are not raised, but returned in `error`.

        Args:
            inputs: Inputs by name.
            outputs: Output to score.

        Raises:
            ValueError: The inputs are not a mapping.
        """
        check_mapping("inputs", inputs, "a mapping of names to values")
        return drive(self.steps(inputs, outputs), _wait, self.timeout_s)

    def steps(
        self, inputs: Mapping[str, object], outputs: object, more: Mapping[str, object] = NO_MORE
    ) -> Steps[Judgement]:
        """Return a generator that scores one output.

        The generator yields functions without arguments, which call the user's code. Call each
        function, wait for its result, and send the result into the generator. Because the caller
        waits, the generator works both in threads and on event loops. Errors of the user's code are
        not raised, but returned in `error`.

        Args:
            inputs: Inputs by name.
            outputs: Output to score.
            more: Further values for the rubric: ``expected``, ``item``, ``baseline``.

        Returns:
            The score, as a `Judgement`.
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
                score, passed = _combine_orders(score, other, self.name), None
            if self.passing_criteria is not None:
                answer = yield partial(self.passing_criteria, score.value)
                passed = read_pass(answer, self.name)
        except BaseException as problem:
            if is_of_signal(problem):
                raise
            error, passed = describe_problem(problem), None
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
        answer = yield partial(self.scoring_rubric, **isolate(arguments))
        return read_score(answer, self.name)

    def _read_parameters(self) -> Mapping[str, bool]:
        return parameters_of(self.scoring_rubric)

    def _define_rubric(self) -> "Definition":
        return definitions.define(self.scoring_rubric)


def describe_judge(judge: Judge, redaction: Redaction) -> str:
    """Return a judge's code and description as JSON text for the collector.

    With ``OTEL_ML_CAPTURE_SOURCE=off``, the code is left out. The description is left out too,
    because it can be a prompt.

    Args:
        judge: The judge.
        redaction: Hides secrets in the texts.
    """
    from otel_ml.versions.definition import is_source_left_out  # keeps start-up fast

    definition = judge.definition
    criterion = definition.helpers.get(_CRITERION)
    helpers = {name: text for name, text in definition.helpers.items() if name != _CRITERION}
    document = orjson.loads(replace(definition, helpers=helpers).to_json(redaction))
    hidden = is_source_left_out()
    # If a version is sent with two texts, the store keeps the lexically greater one. "type" comes
    # first so that this text wins over that of an older SDK without a description.
    # "lower_is_better" is greater than "description", so that a text with it wins over one without
    # it.
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
    """Return whether a run belongs to a random sample of runs.

    The decision depends only on the span ID, so it is always the same for a run. A run that belongs
    to a sample also belongs to every larger sample.

    Args:
        span_id: Span id of the run.
        sample: Size of the sample, as a share of all runs from 0 to 1.
    """
    return span_id * _MIX % _SPAN_IDS < sample * _SPAN_IDS


def _wait(awaitable: Awaitable[object], timeout_s: float) -> object:
    from otel_ml.judges.loop import JudgeLoop  # imports asyncio, needed only for async rubrics

    loop = JudgeLoop()
    try:
        return loop.wait(awaitable, timeout_s)
    finally:
        loop.close()


def _combine_orders(score: Score, turned: Score, judge: str) -> Score:
    """Combine the two scores of a pairwise judge: in the given order and in the reverse order.

    Raises:
        TypeError: A score is not 1, 0 or -1.
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
    """Remembers the last 1,024 scores of a judge. Safe to use from several threads."""

    # No lock, because a fork or a finalizer could find it held. Each dict operation is atomic.

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, Judgement] = OrderedDict()

    def find(self, key: bytes) -> Judgement | None:
        """Return the remembered score of a key. None if there is none."""
        judgement = self._known.get(key)
        if judgement is not None:
            with suppress(KeyError):  # another thread has just evicted it
                self._known.move_to_end(key)
        return judgement

    def keep(self, key: bytes, evaluation: Judgement) -> None:
        """Remember a score. Errors are not remembered, so that the next call tries again."""
        if evaluation.error is not None:
            return
        self._known[key] = evaluation
        if len(self._known) > _CACHED:
            with suppress(KeyError):  # another thread has emptied the cache
                self._known.popitem(last=False)


def cache_key(
    version: str,
    inputs: Mapping[str, object],
    outputs: object,
    more: Mapping[str, object] = NO_MORE,
) -> bytes | None:
    """Return the key under which `ScoreCache` stores a score: a hash of all the judge's inputs.

    Args:
        version: Hash of the judge's code.
        inputs: Inputs of the run by name.
        outputs: Output of the run.
        more: Further values that the judge gets, such as ``expected``.

    Returns:
        The key. None if the score must not be cached, because a value is too long or is not plain
        JSON, such as an array, a tuple or a date.
    """
    import hashlib  # loads OpenSSL, which would slow down start-up

    seen: dict[str, object] = {"inputs": dict(inputs), "outputs": outputs}
    if more:  # an item is identified by its id
        seen["more"] = {name: getattr(value, "id", value) for name, value in more.items()}
    with untrusted:
        text = orjson.dumps(seen, option=orjson.OPT_SORT_KEYS)
        if len(text) <= LIMIT_BYTES and orjson.loads(text) == seen:
            return hashlib.sha256(version.encode() + b"\0" + text).digest()
    return None
