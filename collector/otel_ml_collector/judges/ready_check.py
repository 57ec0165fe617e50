"""Checks a rubric judge on the labelled examples of a ready rubric. No score is stored.

A ready rubric is a built-in rubric, such as `correctness`, that users can copy. It has examples
with the right answer to each.
"""

import math
from functools import partial
from statistics import median
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from otel_ml.rubric import Rubric, RubricVerdict
from otel_ml.statistics.agreement import kappa_of_clusters
from otel_ml.statistics.intervals import wilson
from otel_ml_collector.answer_body import AnswerBody
from otel_ml_collector.errors import BadInput, Conflict, Missing
from otel_ml_collector.judges.asking import RubricAnswer, RubricAsking, write_trial_calls
from otel_ml_collector.judges.job import RubricJudgeJob
from otel_ml_collector.judges.ready_rubrics import (
    ReadyExample,
    ReadyRubric,
    read_ready_rubric,
)
from otel_ml_collector.judges.rubric_judge import WantedRubricJudge
from otel_ml_collector.judges.trial import ONE_TRIAL, wait_for_answers
from otel_ml_collector.price import round_cost
from otel_ml_collector.verdicts.verdicts import Interval

_MOST_EXAMPLES: Final = 40
_PASS: Final = ("fail", "pass")


class WantedReadyCheck(BaseModel):
    """What to check."""

    model_config = ConfigDict(extra="forbid")

    ready: Annotated[str, Field(min_length=1, max_length=64)] = Field(
        description="Name of the built-in rubric whose examples are used, such as correctness"
    )
    judge: WantedRubricJudge | None = Field(
        default=None, description="The judge to check; null for the saved one"
    )
    examples: Annotated[int, Field(ge=0, le=_MOST_EXAMPLES)] = Field(
        default=_MOST_EXAMPLES,
        description="Number of examples; with 0, only the judge's fields are checked",
    )


class CheckedExample(AnswerBody):
    """A judge's answer to an example, and the example's label."""

    example: int = Field(description="Line of the file of examples, from 1")
    inputs: JsonValue
    outputs: JsonValue
    expected: JsonValue
    label: str = Field(description="Right answer to the example")
    answer: str = Field(description="The judge's answer; empty after an error")
    agrees: bool | None = Field(
        description="Whether the answer is the same as the label; null after an error"
    )
    explanation: str
    error: str = Field(description="Why there is no answer; empty if there is one")
    latency_ms: float | None
    cost: float | None


class ReadyCheck(AnswerBody):
    """The agreement of a judge with the labels of examples. No score was stored."""

    ready: str
    digest: str = Field(description="Version that the judge would get if it were saved")
    model: str = Field(description="Name of the model as the provider reported it")
    examples: list[CheckedExample] = Field(description="Disagreements first, then errors")
    answered: int = Field(description="Number of examples with an answer")
    errors: int
    agreed: int = Field(description="Number of answers that are the same as the label")
    agreement: Interval | None = Field(
        description="Share of the answers that are the same as the label, with a 95 % interval; "
        "null without answers"
    )
    kappa: Interval | None = Field(
        description="Cohen's kappa: agreement beyond chance; null if all results are equal"
    )
    cost: float | None = Field(description="Cost of the check in US dollars; null if unknown")
    median_ms: float | None = Field(description="Median time of one answer")


def check_ready(
    job: RubricJudgeJob,
    place: tuple[str, str],
    wanted: WantedRubricJudge,
    name: str,
    number: int = _MOST_EXAMPLES,
) -> ReadyCheck:
    """Let a judge score the examples of a built-in rubric, and compare the scores with the labels.

    The judge gets at most two minutes.

    Args:
        job: Calls the model.
        place: Project and name of the judge.
        wanted: The judge to check.
        name: Name of the built-in (ready) rubric whose examples are used, such as `correctness`.
        number: Number of examples, at most 40. With 0, only the judge's fields are checked.

    Raises:
        BadInput: The judge is invalid, its connection is misconfigured, or there is no such
            built-in rubric. Also if the examples have labels that the judge can never give, such as
            `pass` and `fail` for a judge that answers `polite` or `rude`.
        Conflict: Another trial is running.
    """
    try:
        ready = read_ready_rubric(name)
    except Missing as error:
        raise BadInput(str(error), "ready") from error
    asking = job.make_asking(*place, wanted)
    _check_form(ready, asking.rubric)
    if not ONE_TRIAL.acquire(blocking=False):
        raise Conflict("Another judge is being tried: try again when its trial is finished")
    try:
        examples = ready.examples[:number]
        shown = [example.shown for example in examples]
        pending = [job.callers.submit(partial(asking.ask, data)) for data in shown]
        answers = [
            RubricAnswer(None, None, None, answer) if isinstance(answer, str) else answer
            for answer in wait_for_answers(asking, pending)
        ]
        if any(answer.answer is not None for answer in answers):
            job.store(asking.project, write_trial_calls(asking, answers))
    finally:
        ONE_TRIAL.release()
    return _summarize(asking, name, list(zip(examples, answers, strict=True)))


def _check_form(ready: ReadyRubric, rubric: Rubric) -> None:
    words = {example.label for example in ready.examples}
    allowed = {*(rubric.labels if rubric.answer == "label" else _PASS)}
    if not words <= allowed:
        raise BadInput(
            f"The examples of {ready.name!r} have the labels {', '.join(sorted(words))}, but the "
            f"judge answers {', '.join(sorted(allowed))}: use the answer form of {ready.name!r}",
            "judge",
        )


def _summarize(
    asking: RubricAsking, name: str, results: list[tuple[ReadyExample, RubricAnswer]]
) -> ReadyCheck:
    checked = [
        _describe(number, example, answer) for number, (example, answer) in enumerate(results, 1)
    ]
    checked.sort(key=lambda item: (item.agrees is not False, not item.error))
    pairs = [(item.label, item.answer) for item in checked if not item.error]
    agreed = sum(label == answer for label, answer in pairs)
    agreement = wilson(agreed, len(pairs)) if pairs else None
    kappa = kappa_of_clusters((None, pair, 1) for pair in pairs) if pairs else None
    costs = [answer.cost for _, answer in results if answer.cost is not None]
    times = [answer.latency_ms for _, answer in results if answer.latency_ms is not None]
    models = [answer.answer.model for _, answer in results if answer.answer is not None]
    return ReadyCheck(
        ready=name,
        digest=asking.rubric.digest,
        model=next(iter(models), ""),
        examples=checked,
        answered=len(pairs),
        errors=len(checked) - len(pairs),
        agreed=agreed,
        agreement=None if agreement is None else Interval.model_validate(agreement),
        kappa=(
            None if kappa is None or math.isnan(kappa.value) else Interval.model_validate(kappa)
        ),
        cost=round_cost(sum(costs)) if costs else None,
        median_ms=median(times) if times else None,
    )


def _describe(number: int, example: ReadyExample, answer: RubricAnswer) -> CheckedExample:
    word = "" if answer.verdict is None else _word_of(answer.verdict)
    return CheckedExample(
        example=number,
        inputs=example.inputs,
        outputs=example.outputs,
        expected=example.expected,
        label=example.label,
        answer=word,
        agrees=None if answer.verdict is None else word == example.label,
        explanation="" if answer.verdict is None else answer.verdict.explanation,
        error=answer.error,
        latency_ms=answer.latency_ms,
        cost=None if answer.cost is None else round_cost(answer.cost),
    )


def _word_of(verdict: RubricVerdict) -> str:
    return verdict.label or _PASS[verdict.passed]
