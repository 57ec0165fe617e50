"""Estimates what a backfill of a rubric judge needs, and reports its progress."""

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from otel_ml.records import Tokens
from otel_ml_collector.answer_body import AnswerBody
from otel_ml_collector.errors import BadInput, Conflict, Missing
from otel_ml_collector.judges.asking import RubricAsking
from otel_ml_collector.judges.backfill import (
    JUDGE_BACKFILL,
    MOST_BACKFILLED,
    BackfillState,
    ConfirmedBackfill,
    JudgeBackfill,
    begin_backfill,
    end_backfill,
    make_backfill,
)
from otel_ml_collector.judges.job import RubricJudgeJob
from otel_ml_collector.judges.judge_store import (
    LEASE,
    find_backfill_spending,
    find_unjudged,
    is_judgeable,
    make_lease,
    show_run,
)
from otel_ml_collector.judges.rubric_judge import SavedRubricJudge
from otel_ml_collector.price import round_cost
from otel_ml_collector.runs.find import find_run
from otel_ml_collector.store.documents import Documents, list_documents, read_document
from otel_ml_collector.store.judging import (
    count_unjudged,
    find_earlier_calls,
    list_unjudged,
)
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.times import to_rfc3339
from otel_ml_collector.windows import UTC_ZONE, find_last

_SIZED_RUNS: Final = 20
# Factor of the estimate to get the suggested budget in dollars, because runs differ in size.
_SPARE: Final = 1.5
_SECONDS_PER_MINUTE: Final = 60.0
_USUAL_S: Final = 2.0


class WantedBackfill(BaseModel):
    """Which runs of the past a judge should score."""

    model_config = ConfigDict(extra="forbid")

    last: Annotated[str, Field(min_length=1, max_length=32)] = Field(
        default="30d", description="How far back to score runs, such as 30d"
    )
    where: Annotated[str | None, Field(max_length=4_000)] = Field(
        default=None, description="Filter of the runs; null for the filter of the judge"
    )
    sample: Annotated[float | None, Field(gt=0, le=1)] = Field(
        default=None,
        description="Share of the runs to score; null for the share that the judge uses for new"
        " runs",
    )
    runs: Annotated[int | None, Field(ge=1, le=MOST_BACKFILLED)] = Field(
        default=None, description="Score only this many of the newest runs"
    )
    dollars: Annotated[float | None, Field(gt=0, le=1_000_000)] = Field(
        default=None,
        description="Maximum cost in US dollars; null for 1.5 times the estimate",
    )


class BackfillPlan(AnswerBody):
    """What a backfill will need. Nothing has been asked or stored yet."""

    judge: str
    digest: str = Field(description="Version of the judge")
    start_time: str = Field(description="Only runs that started at this time or later, RFC 3339")
    end_time: str
    where: str = Field(description="Filter of the runs; empty for all")
    sample: float
    runs: int = Field(
        description="Number of runs to score. Runs that this version has already scored are left "
        "out"
    )
    input_tokens: int = Field(description="Estimated input tokens for all runs")
    output_tokens: int
    based_on: Literal["earlier calls", "size of runs"] = Field(
        description="Data from which the number of tokens is estimated"
    )
    measured: int = Field(description="Number of calls or runs that the estimate is based on")
    cost: float | None = Field(
        description="Estimated cost in US dollars; null if the price is unknown"
    )
    duration_s: float = Field(
        description="Estimated duration, from the judge's limit of calls per minute"
    )
    confirm: ConfirmedBackfill | None = Field(
        description="Send this to start the backfill; null if there is nothing to score"
    )


class RubricBackfill(AnswerBody):
    """The newest backfill of a judge, and how far it has come."""

    id: str
    judge: str
    digest: str = Field(description="Version of the judge")
    state: BackfillState
    reason: str = Field(
        description="Why the backfill was stopped or cannot continue; empty otherwise"
    )
    start_time: str
    end_time: str
    where: str
    sample: float
    runs: int = Field(description="Number of runs to score, as of when the backfill was confirmed")
    scored: int = Field(
        description="How many of these runs are done, including those on which the judge raised "
        "an error"
    )
    calls: int = Field(description="Number of calls of the language model")
    most_calls: int
    dollars: float = Field(description="Known cost of these calls in US dollars")
    most_dollars: float | None
    created_time: str = Field(description="When the backfill was confirmed")
    ended_time: str | None


def plan_backfill(
    reader: Reader,
    job: RubricJudgeJob,
    project: str,
    judge: SavedRubricJudge,
    wanted: WantedBackfill,
) -> BackfillPlan:
    """Count the runs of a backfill, and estimate tokens, cost and duration.

    Raises:
        BadInput: A field is wrong, the judge does not fit the settings, or a limit in dollars was
            given for a model without a known price.
    """
    asking = job.make_asking(project, judge.name, judge.wanted)
    now_ns = time.time_ns()
    window = find_last(wanted.last, now_ns, UTC_ZONE)
    bounds = ConfirmedBackfill(
        digest=judge.digest,
        start_ns=window.start_ns,
        end_ns=window.end_ns,
        where=judge.where if wanted.where is None else wanted.where,
        sample=judge.sample if wanted.sample is None else wanted.sample,
        most_calls=wanted.runs or MOST_BACKFILLED,
    )
    runs = find_unjudged(reader, project, judge, bounds)
    count = count_unjudged(reader, runs)
    if count > bounds.most_calls:
        [(_, first_ns)] = list_unjudged(reader, runs, 1, bounds.most_calls - 1)
        runs = replace(runs, window=replace(runs.window, start_ns=first_ns))
        bounds.start_ns, count = first_ns, bounds.most_calls
    tokens, measured, call_s = Tokens(0, 0), 0, _USUAL_S
    earlier = find_earlier_calls(reader, project, judge.name, judge.digest)
    if earlier is not None:
        tokens = Tokens(round(earlier.input), round(earlier.output))
        measured, call_s = earlier.calls, earlier.seconds
    elif count:
        run_ids = [run_id for run_id, _ in list_unjudged(reader, runs, min(count, _SIZED_RUNS))]
        tokens, measured = _measure(reader, job, asking, run_ids, now_ns)
    each = asking.price(tokens, now_ns)
    if wanted.dollars is not None and each is None:
        raise BadInput(
            f"The price of model {judge.model!r} at provider "
            f"{asking.connection.provider_name!r} is unknown: limit the number of runs instead, "
            "or add the price to the setting prices",
            "dollars",
        )
    cost = None if each is None else round_cost(each * count)
    if count:
        bounds.most_calls = count
        usual = None if not cost else _round_up(cost * _SPARE)
        bounds.most_dollars = wanted.dollars or usual
    return BackfillPlan(
        judge=judge.name,
        digest=judge.digest,
        start_time=to_rfc3339(bounds.start_ns),
        end_time=to_rfc3339(bounds.end_ns),
        where=bounds.where,
        sample=bounds.sample,
        runs=count,
        input_tokens=(tokens.input or 0) * count,
        output_tokens=(tokens.output or 0) * count,
        based_on="size of runs" if earlier is None else "earlier calls",
        measured=measured,
        cost=cost,
        duration_s=max(
            count * _SECONDS_PER_MINUTE / judge.calls_per_minute,
            count * call_s / job.options.threads,
        ),
        confirm=bounds if count else None,
    )


def _round_up(dollars: float) -> float:
    """Round a dollar amount up to two significant digits."""
    step = 10.0 ** (math.floor(math.log10(dollars)) - 1)
    return float(f"{math.ceil(dollars / step) * step:.2g}")


def _measure(
    reader: Reader,
    job: RubricJudgeJob,
    asking: RubricAsking,
    run_ids: Sequence[str],
    now_ns: int,
) -> tuple[Tokens, int]:
    """Average the estimated tokens of some runs; also return how many there were."""
    placeholders, uses = asking.rubric.placeholders, []
    for run_id in run_ids:
        try:
            run = find_run(reader, run_id, asking.project, now_ns=now_ns)
        except Missing:  # deleted meanwhile
            continue
        if is_judgeable(run, placeholders):
            shown = show_run(reader, run, placeholders, job.redaction, now_ns)
            uses.append(asking.estimate(shown))
    if not uses:
        return Tokens(0, 0), 0
    sums = [sum(use.input or 0 for use in uses), sum(use.output or 0 for use in uses)]
    return Tokens(*(math.ceil(total / len(uses)) for total in sums)), len(uses)


def start_backfill(
    reader: Reader,
    documents: Documents,
    job: RubricJudgeJob,
    place: tuple[str, str],
    *,
    judge: SavedRubricJudge,
    confirmed: ConfirmedBackfill,
) -> RubricBackfill:
    """Start a backfill: let a judge score stored runs, after the user has confirmed the plan.

    The plan showed the number of runs and the estimated cost. The background job scores the runs.

    Raises:
        BadInput: A field is wrong, or there is nothing to score.
        Conflict: The judge was changed since the plan was made, or another backfill is running.
    """
    project, name = place
    narrowed = judge.wanted.model_copy(
        update={"where": confirmed.where, "dollars_per_day": confirmed.most_dollars}
    )
    try:
        job.make_asking(project, name, narrowed)
    except BadInput as error:
        field = "most_dollars" if error.field == "dollars_per_day" else error.field
        raise BadInput(str(error), field) from error
    if confirmed.digest != judge.digest:
        raise Conflict(
            f"The judge {name!r} was changed: its version is {judge.digest}, not "
            f"{confirmed.digest[:80]!r}. Make a new plan"
        )
    runs = count_unjudged(reader, find_unjudged(reader, project, judge, confirmed))
    if not runs:
        raise BadInput("There are no runs to score: choose a longer time or another filter", "last")
    runs = min(runs, confirmed.most_calls)
    backfill = begin_backfill(reader, documents, place, confirmed, runs)
    return _describe(reader, place, judge, backfill, "")


def stop_backfill(
    reader: Reader, documents: Documents, project: str, judge: SavedRubricJudge, reason: str = ""
) -> None:
    """Stop the backfill of a judge; does nothing if none is running.

    Args:
        reader: The store.
        documents: Saves the backfill.
        project: The project.
        judge: The judge, as it was when the backfill began.
        reason: Why it stops; empty if a user stopped it.
    """
    stored = {item.name: item for item in list_documents(reader, project, JUDGE_BACKFILL)}
    document = stored.get(judge.name)
    if document is not None and (backfill := make_backfill(document)).state == "running":
        left = count_unjudged(reader, find_unjudged(reader, project, judge, backfill))
        place = (project, judge.name)
        end_backfill(reader, documents, place, "stopped", left=left, reason=reason)


def read_backfill(reader: Reader, project: str, judge: SavedRubricJudge) -> RubricBackfill:
    """Read the newest backfill of a judge.

    Raises:
        Missing: There was none yet.
    """
    document = read_document(reader, project, JUDGE_BACKFILL, judge.name)
    leases = {item.name: item for item in list_documents(reader, project, LEASE)}
    trouble = make_lease(leases.get(judge.name)).trouble
    return _describe(reader, (project, judge.name), judge, make_backfill(document), trouble)


def _describe(
    reader: Reader,
    place: tuple[str, str],
    judge: SavedRubricJudge,
    backfill: JudgeBackfill,
    trouble: str,
) -> RubricBackfill:
    spent = find_backfill_spending(reader, place, backfill)
    state, reason = backfill.state, backfill.reason
    left = backfill.left
    if state == "running":
        left = count_unjudged(reader, find_unjudged(reader, place[0], judge, backfill))
        reason = trouble
        if backfill.digest != judge.digest:
            state, reason = "stopped", "the judge was changed"
    return RubricBackfill(
        id=backfill.id,
        judge=judge.name,
        digest=backfill.digest,
        state=state,
        reason=reason,
        start_time=to_rfc3339(backfill.start_ns),
        end_time=to_rfc3339(backfill.end_ns),
        where=backfill.where,
        sample=backfill.sample,
        runs=backfill.runs,
        scored=max(backfill.runs - left, 0),
        calls=spent.calls,
        most_calls=backfill.most_calls,
        dollars=spent.dollars,
        most_dollars=backfill.most_dollars,
        created_time=to_rfc3339(backfill.created_ns),
        ended_time=to_rfc3339(backfill.ended_ns) if backfill.ended_ns else None,
    )
