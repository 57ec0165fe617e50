"""Tries a rubric judge on recorded runs. No score is stored; calls are marked as trial."""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial
from statistics import median
from typing import Annotated, Final, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, Field

from otel_ml_collector.answer_body import AnswerBody
from otel_ml_collector.errors import BadInput, Conflict
from otel_ml_collector.judges.asking import (
    RubricAnswer,
    RubricAsking,
    RubricJudgement,
    write_calls,
)
from otel_ml_collector.judges.job import RubricJudgeJob
from otel_ml_collector.judges.judge_store import DueRun, is_judgeable, show_run
from otel_ml_collector.judges.provider import NoAnswer
from otel_ml_collector.judges.rubric_judge import WantedRubricJudge
from otel_ml_collector.price import round_cost
from otel_ml_collector.runs.answers import Run
from otel_ml_collector.runs.find import RunsQuery, compile_query, find_run, find_runs
from otel_ml_collector.store.judging import count_runs
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.times import AHEAD_NS, DAY_NS
from otel_ml_collector.windows import Window

MOST_TRIED: Final = 100
_LONGEST_S: Final = 120.0
_PREVIEW_CHARS: Final = 300
_PART_CHARS: Final = 2_000
ONE_TRIAL: Final = threading.Lock()
_Answer = TypeVar("_Answer", bound=RubricAnswer)


class WantedTrial(BaseModel):
    """What to try."""

    model_config = ConfigDict(extra="forbid")

    runs: Annotated[int, Field(ge=1, le=MOST_TRIED)] = Field(
        default=20,
        description="Number of runs to try the judge on: the newest that match its filter",
    )
    judge: WantedRubricJudge | None = Field(
        default=None, description="The judge to try; null for the saved one"
    )


class TriedRun(AnswerBody):
    """A judge's answer for a run, and a reviewer's label."""

    run_id: str
    outputs: str | None = Field(description="Preview of the outputs that are judged")
    shown: dict[str, str] = Field(
        description="What the model saw of the run: parts by name, as JSON texts of at most 2,000 "
        "characters; empty if the run lacks one of them"
    )
    answer: str = Field(
        description="The judge's answer: pass, fail, a score or a label. Empty if the judge failed"
    )
    score: float | None
    passed: bool | None
    explanation: str
    error: str = Field(description="Why there is no answer; empty if there is one")
    label: str = Field(
        description="The label that a reviewer gave under the judge's name; empty if there is none"
    )
    agrees: bool | None = Field(
        description="Whether the answer is the same as the label; null without a label"
    )
    latency_ms: float | None
    cost: float | None


class JudgeTrial(AnswerBody):
    """The result of trying a judge. No score was stored."""

    judge: str
    digest: str = Field(description="Version that the judge would have")
    model: str = Field(description="Name of the model as the provider reported it")
    runs: list[TriedRun] = Field(description="Disagreements with reviewers first, then errors")
    passed: int
    answered: int = Field(description="Number of runs with an answer")
    errors: int
    labelled: int = Field(
        description="Number of runs with an answer of the judge and a label of a reviewer"
    )
    agreed: int = Field(description="Number of these runs whose answer is the same as the label")
    cost: float | None = Field(description="Cost of the trial in US dollars; null if unknown")
    cost_per_run: float | None
    median_ms: float | None = Field(description="Median time of one answer")
    runs_per_day: int = Field(
        description="Number of runs that the judge would score per day, estimated from the last "
        "24 hours"
    )
    cost_per_day: float | None = Field(
        description="Cost of these runs per day in US dollars, if the judge had no limits"
    )


def try_judge(
    reader: Reader,
    job: RubricJudgeJob,
    place: tuple[str, str],
    wanted: WantedRubricJudge,
    number: int,
) -> JudgeTrial:
    """Let a judge score the newest finished runs that match the judge's filter.

    The scores are returned, but not stored. The calls of the model are stored as runs with the tag
    `trial`. The function waits at most two minutes for the model.

    Args:
        reader: The store, limited to what the caller may read.
        job: Asks the model, and stores the calls.
        place: Project and name of the judge.
        wanted: The judge to try.
        number: Largest number of runs to score.

    Raises:
        BadInput: The judge is invalid, or its connection is misconfigured.
        Conflict: Another trial is running.
    """
    project, name = place
    asking = job.make_asking(project, name, wanted)
    if not ONE_TRIAL.acquire(blocking=False):
        raise Conflict("Another judge is being tried: try again when its trial is finished")
    try:
        now_ns = time.time_ns()
        runs = _find_tried(reader, asking, wanted.where, number, now_ns)
        parts, redaction = asking.rubric.placeholders, job.redaction
        shown = [show_run(reader, run, parts, redaction, now_ns) for run in runs]
        judgements = _judge(job, asking, shown)
        answered = [judgement for judgement in judgements if judgement.answer is not None]
        if answered:
            job.store(project, write_calls(asking, answered, is_trial=True))
    finally:
        ONE_TRIAL.release()
    window = Window(now_ns - DAY_NS, now_ns + AHEAD_NS)
    query = RunsQuery(project, wanted.where, start_ns=window.start_ns)
    condition, _ = compile_query(reader, query)
    per_day = round(count_runs(reader, project, condition, window) * wanted.sample)
    return _summarize(asking, [*zip(runs, judgements, strict=True)], per_day)


def _find_tried(
    reader: Reader, asking: RubricAsking, where: str, number: int, now_ns: int
) -> list[Run]:
    """Read the newest finished runs that match, and that have what the rubric compares with."""
    query = RunsQuery(asking.project, where, limit=min(3 * number, MOST_TRIED))
    runs: list[Run] = []
    for summary in find_runs(reader, query, now_ns).runs:
        if is_judgeable(summary, asking.rubric.placeholders) and len(runs) < number:
            runs.append(find_run(reader, summary.run_id, asking.project, now_ns=now_ns))
    return runs


def _judge(
    job: RubricJudgeJob, asking: RubricAsking, runs: Sequence[DueRun]
) -> list[RubricJudgement]:
    """Ask about runs at the same time, and wait for at most two minutes.

    Raises:
        BadInput: The connection is misconfigured.
    """
    pending = [job.callers.submit(partial(asking.judge, run)) for run in runs]
    return [
        RubricJudgement(None, None, None, answer, run=run) if isinstance(answer, str) else answer
        for run, answer in zip(runs, wait_for_answers(asking, pending), strict=True)
    ]


def wait_for_answers(
    asking: RubricAsking, pending: Sequence["Future[_Answer]"]
) -> list[_Answer | str]:
    """Wait at most two minutes for answers. Later answers are returned as an error text.

    Raises:
        BadInput: The connection is misconfigured.
    """
    until_s = time.monotonic() + _LONGEST_S
    answers: list[_Answer | str] = []
    try:
        for future in pending:
            try:
                answers.append(future.result(max(until_s - time.monotonic(), 0.0)))
            except TimeoutError:
                answers.append(f"no answer in {_LONGEST_S:g} s")
    except NoAnswer as error:
        text = f"The connection {asking.connection.name!r} does not answer: {error}"
        raise BadInput(text, "connection") from error
    finally:
        for future in pending:
            future.cancel()
    return answers


def _summarize(
    asking: RubricAsking, answers: Sequence[tuple[Run, RubricJudgement]], per_day: int
) -> JudgeTrial:
    judgements = [judgement for _, judgement in answers]
    tried = [_describe(asking, run, judgement) for run, judgement in answers]
    tried.sort(key=lambda run: (run.agrees is not False, not run.error, run.agrees is None))
    costs = [item.cost for item in judgements if item.cost is not None]
    times = [item.latency_ms for item in judgements if item.latency_ms is not None]
    each = sum(costs) / len(costs) if costs else None
    models = [item.answer.model for item in judgements if item.answer is not None]
    return JudgeTrial(
        judge=asking.name,
        digest=asking.rubric.digest,
        model=next(iter(models), ""),
        runs=tried,
        passed=sum(run.passed is True for run in tried),
        answered=sum(not run.error for run in tried),
        errors=sum(bool(run.error) for run in tried),
        labelled=sum(run.agrees is not None for run in tried),
        agreed=sum(run.agrees is True for run in tried),
        cost=round_cost(sum(costs)) if costs else None,
        cost_per_run=None if each is None else round_cost(each),
        median_ms=median(times) if times else None,
        runs_per_day=per_day,
        cost_per_day=None if each is None else round_cost(each * per_day),
    )


def _describe(asking: RubricAsking, run: Run, judgement: RubricJudgement) -> TriedRun:
    verdict = judgement.verdict
    answer = ""
    if verdict is not None:
        is_score = asking.rubric.answer == "score"
        word = f"{verdict.score:g}" if is_score else "pass" if verdict.passed else "fail"
        answer = verdict.label or word
    labels = [
        evaluation
        for evaluation in run.evaluations
        if evaluation.source == "human" and evaluation.judge == asking.name
    ]
    label, agrees = "", None
    if labels:
        newest = max(labels, key=lambda evaluation: evaluation.time)
        label = newest.label or _word_of(newest.passed, newest.score)
        if verdict is not None and newest.passed is not None:
            agrees = newest.passed is verdict.passed
        elif verdict is not None and label:
            agrees = label == answer
    return TriedRun(
        run_id=run.run_id,
        outputs=_preview(run.outputs),
        shown={
            name: text if len(text) <= _PART_CHARS else f"{text[:_PART_CHARS]}…"
            for name, text in asking.list_parts(judgement.run).items()
        },
        answer=answer,
        score=None if verdict is None else verdict.score,
        passed=None if verdict is None else verdict.passed,
        explanation="" if verdict is None else verdict.explanation,
        error=judgement.error,
        label=label,
        agrees=agrees,
        latency_ms=judgement.latency_ms,
        cost=None if judgement.cost is None else round_cost(judgement.cost),
    )


def _word_of(passed: bool | None, score: float | None) -> str:
    if passed is not None:
        return "pass" if passed else "fail"
    return "" if score is None else f"{score:g}"


def _preview(value: object) -> str:
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    return text[:_PREVIEW_CHARS]
