"""Backfills of rubric judges: runs of the past to score, within a budget that was confirmed.

A judge has at most one backfill at a time. It is a document, which the job of judges reads.
"""

import secrets
import time
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from otel_ml_collector.errors import Conflict, Missing
from otel_ml_collector.judge_budget import RUBRIC_JUDGE
from otel_ml_collector.judges.rubric_judge import SavedRubricJudge
from otel_ml_collector.store.documents import (
    Document,
    DocumentKind,
    Documents,
    list_documents,
    read_document,
)
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.times import LATEST_NS

JUDGE_BACKFILL: Final = DocumentKind(
    "judge backfill", most=RUBRIC_JUDGE.most, limit_bytes=32 * 1024, noted_as="judge backfill"
)
MOST_BACKFILLED: Final = 1_000_000
BackfillState = Literal["running", "finished", "budget used up", "stopped"]


class ConfirmedBackfill(BaseModel):
    """A backfill as its plan names it, and as you confirm it."""

    model_config = ConfigDict(extra="forbid")

    digest: Annotated[str, Field(min_length=1, max_length=256)] = Field(
        description="Version of the judge"
    )
    start_ns: Annotated[int, Field(ge=0, le=LATEST_NS)] = Field(
        description="Only runs that started at this time or later, in nanoseconds since the epoch"
    )
    end_ns: Annotated[int, Field(ge=0, le=LATEST_NS)] = Field(
        description="Only runs that started before this time, in nanoseconds since the epoch"
    )
    where: Annotated[str, Field(max_length=4_000)] = Field(
        description="Filter of the runs; empty for all"
    )
    sample: Annotated[float, Field(gt=0, le=1)] = Field(
        description="Share of the runs. Runs with a session are sampled by session"
    )
    most_calls: Annotated[int, Field(ge=1, le=MOST_BACKFILLED)] = Field(
        description="Maximum number of calls of the language model"
    )
    most_dollars: Annotated[float | None, Field(gt=0, le=1_000_000)] = Field(
        default=None,
        description="Maximum cost in US dollars; null if there is no limit, or if the price "
        "is unknown",
    )


class JudgeBackfill(ConfirmedBackfill):
    """A backfill as it is stored."""

    id: str
    runs: int = Field(description="Number of runs to score, as of when the backfill was confirmed")
    created_ns: int
    ended_ns: int = Field(
        default=0,
        description="When the backfill ended, in nanoseconds since the epoch; 0 while it runs",
    )
    state: BackfillState = "running"
    reason: str = Field(
        default="", description="Why the backfill was stopped; empty if a user stopped it"
    )
    left: int = Field(
        default=0, description="Number of runs without a score when the backfill ended"
    )

    def narrow(self, judge: SavedRubricJudge) -> SavedRubricJudge:
        """Return a copy of the judge that is limited to the runs and budget of this backfill.

        The copy has the filter, the sampling and the maximum calls and cost of the backfill. The
        judge's version and its limit of calls per minute are unchanged.
        """
        changes = {
            "where": self.where,
            "sample": self.sample,
            "calls_per_day": self.most_calls,
            "dollars_per_day": self.most_dollars,
        }
        return judge.model_copy(update=changes)


def make_backfill(document: Document) -> JudgeBackfill:
    """Read a backfill from its document."""
    return JudgeBackfill(**document.body)


def begin_backfill(
    reader: Reader,
    documents: Documents,
    place: tuple[str, str],
    confirmed: ConfirmedBackfill,
    runs: int,
) -> JudgeBackfill:
    """Save a backfill in place of an earlier one; the job of judges starts it.

    Raises:
        Conflict: Another backfill of the judge is running.
    """
    project, name = place
    stored = {item.name: item for item in list_documents(reader, project, JUDGE_BACKFILL)}
    before = stored.get(name)
    if before is not None and before.body["state"] == "running":
        raise Conflict(
            f"A backfill of the judge {name!r} is running: wait until it is finished, or stop it"
        )
    backfill = JudgeBackfill(
        **confirmed.model_dump(), id=secrets.token_hex(8), runs=runs, created_ns=time.time_ns()
    )
    base = 0 if before is None else before.version
    documents.save(reader, project, JUDGE_BACKFILL, name, backfill.model_dump(), base=base)
    return backfill


def end_backfill(
    reader: Reader,
    documents: Documents,
    place: tuple[str, str],
    state: BackfillState,
    *,
    left: int,
    reason: str = "",
    which: str = "",
) -> None:
    """Save that the backfill of a judge has ended. Does nothing if no backfill is running.

    In a backfill, a judge scores past runs.

    Args:
        reader: The store.
        documents: Saves the backfill.
        place: Project and name of the judge.
        state: How the backfill ended.
        left: Number of runs that the backfill has not scored.
        reason: Why the backfill was stopped; empty if there is nothing to say.
        which: ID of the backfill that has ended. If another backfill is running now, nothing is
            saved. If empty, the ID is not checked.
    """
    project, name = place
    try:
        document = read_document(reader, project, JUDGE_BACKFILL, name)
    except Missing:
        return
    backfill = make_backfill(document)
    if backfill.state != "running" or which not in {"", backfill.id}:
        return
    changes = {"state": state, "reason": reason, "left": left, "ended_ns": time.time_ns()}
    body = backfill.model_copy(update=changes).model_dump()
    try:
        documents.save(reader, project, JUDGE_BACKFILL, name, body, base=document.version)
    except Conflict:  # it ended at the same time
        return
