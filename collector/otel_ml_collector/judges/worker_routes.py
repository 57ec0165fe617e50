"""The JSON API for workers, which run the job of rubric judges on another machine.

A worker sends its scores as spans. Why: docs/design/058-rubric-judges.md.
"""

from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel

from otel_ml_collector.access import INGEST
from otel_ml_collector.answer_body import AnswerBody
from otel_ml_collector.api.bodies import JsonRoute
from otel_ml_collector.api.parameters import TIMES, FromReader, reader_for
from otel_ml_collector.errors import Conflict, Missing
from otel_ml_collector.judge_budget import RUBRIC_JUDGE
from otel_ml_collector.judges.backfill import JUDGE_BACKFILL, make_backfill
from otel_ml_collector.judges.judge_store import (
    DueRun,
    DueRuns,
    JudgeLease,
    LiveRubricJudge,
    LocalJudgeStore,
)
from otel_ml_collector.judges.rubric_judge import make_rubric_judge
from otel_ml_collector.judges.rubric_routes import JudgeName
from otel_ml_collector.services import service_of
from otel_ml_collector.store.documents import read_document
from otel_ml_collector.store.reader import Reader

api = APIRouter(prefix="/api/v1", route_class=JsonRoute)

FromJudgeStore = Annotated[LocalJudgeStore, Depends(service_of(LocalJudgeStore))]
FromSender = Annotated[Reader, Depends(reader_for(INGEST))]
Arrival = Annotated[
    int,
    Query(
        ge=0,
        le=TIMES[-1],
        description="Only runs that arrived after this time, in nanoseconds since the epoch. For "
        "a backfill: only runs that started before it, or 0 for all",
    ),
]
Digest = Annotated[
    str, Query(max_length=256, description="Version that the judge must have; empty for any")
]
BackfillId = Annotated[
    str, Query(max_length=64, description="ID of the backfill; empty for live traffic")
]
_CHANGED: Final = "The judge {name!r} was changed: read it again"


class EndedBackfill(BaseModel):
    """How a backfill ended."""

    state: Literal["finished", "budget used up"]


class LiveRubricJudges(AnswerBody):
    """The rubric judges that are on, by project and name, and the running backfills."""

    judges: list[LiveRubricJudge]


@api.get("/rubric-judges")
def get_live_judges(reader: FromReader, store: FromJudgeStore) -> LiveRubricJudges:
    """List the live rubric judges of all projects that the key may access, for workers.

    Each judge comes with its lease, which says which worker runs it now. A running backfill is
    listed like a live judge, with the runs and the budget of the backfill.
    """
    return LiveRubricJudges(judges=[*store.narrow(reader).list_judges()])


@api.put("/projects/{project:path}/rubric-judges/{judge}/lease")
def put_lease(
    *,
    project: str,
    judge: JudgeName,
    wanted: JudgeLease,
    reader: FromSender,
    store: FromJudgeStore,
) -> JudgeLease:
    """Take, renew or end the lease of a judge, if its version is still the newest. For workers."""
    _read_live(reader, project, judge)
    return store.narrow(reader).save_lease(project, judge, wanted)


@api.get("/projects/{project:path}/rubric-judges/{judge}/due")
def get_due_runs(
    *,
    project: str,
    judge: JudgeName,
    reader: FromReader,
    store: FromJudgeStore,
    digest: Digest = "",
    after_ns: Arrival = 0,
    backfill: BackfillId = "",
) -> DueRuns:
    """Find the runs that a judge must judge now; none if the judge is off. For workers."""
    live = _read_live(reader, project, judge)
    if digest not in {"", live.judge.digest}:
        raise Conflict(_CHANGED.format(name=judge))
    if backfill:
        return store.narrow(reader).find_due(_read_backfill(reader, live, backfill), after_ns)
    if not live.on_ns:
        return DueRuns(run_ids=[], last_ns=None, waits_ns=None)
    return store.narrow(reader).find_due(live, after_ns)


@api.get("/projects/{project:path}/rubric-judges/{judge}/due/{run_id}")
def get_run_to_judge(
    *, project: str, judge: JudgeName, run_id: str, reader: FromReader, store: FromJudgeStore
) -> DueRun:
    """Return the parts of a run that a worker, a process that runs judges, needs to judge it.

    Redacted data is left out. The response is 404 if the run ended with an error, or if the rubric
    shows the ground truth and the run has none.
    """
    runs = store.narrow(reader).read_runs(_read_live(reader, project, judge), [run_id])
    if run_id not in runs:
        raise Missing(f"There is no run {run_id[:80]!r} to judge")
    return runs[run_id]


@api.put("/projects/{project:path}/rubric-judges/{judge}/backfill/{backfill}/end")
def end_rubric_backfill(
    *,
    project: str,
    judge: JudgeName,
    backfill: Annotated[str, Path(max_length=64, description="ID of the backfill")],
    wanted: EndedBackfill,
    reader: FromSender,
    store: FromJudgeStore,
) -> EndedBackfill:
    """Note that a backfill has no more runs, or has used up its budget. For workers."""
    live = _read_backfill(reader, _read_live(reader, project, judge), backfill)
    store.narrow(reader).end_backfill(live, wanted.state)
    return wanted


def _read_backfill(reader: Reader, live: LiveRubricJudge, wanted: str) -> LiveRubricJudge:
    """Return a judge with the runs of its backfill.

    Raises:
        Missing: There was no backfill yet.
        Conflict: Another backfill has replaced this one, or the judge was changed.
    """
    document = read_document(reader, live.project, JUDGE_BACKFILL, live.judge.name)
    backfill = make_backfill(document)
    if backfill.id != wanted or backfill.digest != live.judge.digest:
        raise Conflict(f"The backfill of judge {live.judge.name!r} has changed: load it again")
    return live.of_backfill(backfill)


def _read_live(reader: Reader, project: str, name: str) -> LiveRubricJudge:
    document = read_document(reader, project, RUBRIC_JUDGE, name)
    body: dict[str, Any] = document.body
    return LiveRubricJudge(
        project=project,
        judge=make_rubric_judge(document),
        on_ns=body["on_ns"],
        lease=JudgeLease(),
    )
