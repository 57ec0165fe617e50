"""The JSON API of rubric judges: save, list, try, turn on and off, delete, score history."""

import time
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path, Query
from pydantic import Field

from otel_ml_collector.access import ADMIN
from otel_ml_collector.answer_body import AnswerBody
from otel_ml_collector.api.bodies import JsonRoute
from otel_ml_collector.api.parameters import FromReader, reader_for
from otel_ml_collector.judge_budget import RUBRIC_JUDGE, day_start
from otel_ml_collector.judges.backfill import ConfirmedBackfill
from otel_ml_collector.judges.backfill_plan import (
    BackfillPlan,
    RubricBackfill,
    WantedBackfill,
    plan_backfill,
    read_backfill,
    start_backfill,
    stop_backfill,
)
from otel_ml_collector.judges.job import RubricJudgeJob
from otel_ml_collector.judges.judge_store import LEASE
from otel_ml_collector.judges.ready_check import ReadyCheck, WantedReadyCheck, check_ready
from otel_ml_collector.judges.rubric_judge import (
    RUBRIC_JUDGE_NAME,
    SavedRubricJudge,
    WantedRubricJudge,
    is_used_up,
    make_rubric_judge,
    refuse_filed_judge,
    write_rubric_body,
)
from otel_ml_collector.judges.trial import JudgeTrial, WantedTrial, try_judge
from otel_ml_collector.services import service_of
from otel_ml_collector.store.documents import (
    Document,
    Documents,
    list_documents,
    read_document,
)
from otel_ml_collector.store.judging import find_spending
from otel_ml_collector.store.reader import Reader

api = APIRouter(prefix="/api/v1", route_class=JsonRoute)

JudgeName = Annotated[str, Path(min_length=1, max_length=64, pattern=RUBRIC_JUDGE_NAME)]
BaseVersion = Annotated[
    int | None,
    Query(
        ge=0,
        description="Save only if this version is the newest, or, with 0, if the judge does not "
        "exist. Omit it to save in any case",
    ),
]
FromAdmin = Annotated[Reader, Depends(reader_for(ADMIN))]
FromStore = Annotated[Documents, Depends(service_of(Documents))]
FromJob = Annotated[RubricJudgeJob, Depends(service_of(RubricJudgeJob))]


class RubricJudgeState(SavedRubricJudge):
    """A rubric judge, and what it does at present."""

    state: str = Field(
        description="off, on, budget used up (the judge continues tomorrow, UTC), or what the "
        "trouble is"
    )
    calls_today: int = Field(description="Calls of the model today (UTC), trials included")
    dollars_today: float = Field(description="Known cost of these calls in US dollars")


class RubricJudges(AnswerBody):
    """The rubric judges of a project, by name."""

    judges: list[RubricJudgeState]


def find_rubric_judges(reader: Reader, project: str, now_ns: int) -> list[RubricJudgeState]:
    """List the rubric judges of a project, by name."""
    documents = list_documents(reader, project, RUBRIC_JUDGE)
    if not documents:
        return []
    leases = {lease.name: lease for lease in list_documents(reader, project, LEASE)}
    return [
        _add_state(reader, project, document, leases.get(document.name), now_ns)
        for document in documents
    ]


def find_rubric_judge(reader: Reader, project: str, name: str, now_ns: int) -> RubricJudgeState:
    """Read a rubric judge.

    Raises:
        Missing: There is no such judge.
    """
    leases = {lease.name: lease for lease in list_documents(reader, project, LEASE)}
    document = read_document(reader, project, RUBRIC_JUDGE, name)
    return _add_state(reader, project, document, leases.get(name), now_ns)


def _add_state(
    reader: Reader, project: str, document: Document, lease: Document | None, now_ns: int
) -> RubricJudgeState:
    judge = make_rubric_judge(document)
    spent = find_spending(reader, project, judge.name, day_start(now_ns))
    state = "on" if judge.is_on else "off"
    if judge.is_on and lease is not None and lease.body["trouble"]:
        state = str(lease.body["trouble"])
    if judge.is_on and is_used_up(judge, spent):
        state = _USED_UP
    return RubricJudgeState(
        **judge.model_dump(),
        state=state,
        calls_today=spent.calls,
        dollars_today=spent.dollars,
    )


_USED_UP: Final = "budget used up"


def save_rubric_judge(
    reader: Reader,
    store: Documents,
    job: RubricJudgeJob,
    place: tuple[str, str],
    wanted: WantedRubricJudge,
    *,
    base: int | None = None,
) -> SavedRubricJudge:
    """Save a rubric judge under its project and name.

    If the rubric or the model has changed, a running backfill of the judge is stopped.

    Args:
        reader: The store.
        store: Saves the judge.
        job: Checks the judge.
        place: Project and name of the judge.
        wanted: The judge to save.
        base: Number of the stored version that the caller has edited; 0 if the judge is new. If
            None, the stored version is replaced without this check.

    Raises:
        BadInput: A field is invalid, or does not fit the collector's settings: for example, the
            judge's connection does not exist.
        Conflict: The judge is in the configuration file, or the stored version is not `base`.
    """
    project, name = place
    job.make_asking(project, name, wanted)  # checks it
    before = _find_document(reader, project, name)
    refuse_filed_judge(before)
    body = write_rubric_body(wanted, before, time.time_ns())
    saved = make_rubric_judge(store.save(reader, project, RUBRIC_JUDGE, name, body, base=base))
    if before is not None and (old := make_rubric_judge(before)).digest != saved.digest:
        stop_backfill(reader, store, project, old, reason="the judge was changed")
    return saved


def _find_document(reader: Reader, project: str, name: str) -> Document | None:
    documents = list_documents(reader, project, RUBRIC_JUDGE)
    return next((document for document in documents if document.name == name), None)


@api.get("/projects/{project:path}/rubric-judges")
def get_rubric_judges(project: str, reader: FromReader) -> RubricJudges:
    """List the rubric judges of a project, by name."""
    return RubricJudges(judges=find_rubric_judges(reader, project, time.time_ns()))


@api.get("/projects/{project:path}/rubric-judges/{judge}")
def get_rubric_judge(project: str, judge: JudgeName, reader: FromReader) -> RubricJudgeState:
    """Return a rubric judge with its state."""
    return find_rubric_judge(reader, project, judge, time.time_ns())


@api.put("/projects/{project:path}/rubric-judges/{judge}")
def put_rubric_judge(
    *,
    project: str,
    judge: JudgeName,
    wanted: WantedRubricJudge,
    reader: FromAdmin,
    store: FromStore,
    job: FromJob,
    base: BaseVersion = None,
) -> SavedRubricJudge:
    """Save a rubric judge. A change of the rubric or the model makes a new judge version.

    While the judge is on, it judges each new run that matches its filter and is in its sample. It
    waits until 60 s after the last record of the run's trace. If the rubric shows a whole
    conversation, it waits until 10 minutes after the last record of the session. Settings can
    change both times.
    """
    return save_rubric_judge(reader, store, job, (project, judge), wanted, base=base)


@api.post("/projects/{project:path}/rubric-judges/{judge}/on")
def turn_on_rubric_judge(
    *, project: str, judge: JudgeName, reader: FromAdmin, store: FromStore, job: FromJob
) -> SavedRubricJudge:
    """Turn a rubric judge on. It judges runs that arrive from now on."""
    return _turn(reader, store, job, (project, judge), is_on=True)


@api.post("/projects/{project:path}/rubric-judges/{judge}/off")
def turn_off_rubric_judge(
    *, project: str, judge: JudgeName, reader: FromAdmin, store: FromStore, job: FromJob
) -> SavedRubricJudge:
    """Turn a rubric judge off; its scores are kept."""
    return _turn(reader, store, job, (project, judge), is_on=False)


def _turn(
    reader: Reader, store: Documents, job: RubricJudgeJob, place: tuple[str, str], *, is_on: bool
) -> SavedRubricJudge:
    project, name = place
    document = read_document(reader, project, RUBRIC_JUDGE, name)
    wanted = make_rubric_judge(document).wanted.model_copy(update={"is_on": is_on})
    if is_on:
        return save_rubric_judge(reader, store, job, place, wanted, base=document.version)
    refuse_filed_judge(document)  # even a judge that no longer fits the settings can be turned off
    body = write_rubric_body(wanted, document, time.time_ns())
    version = document.version
    saved = store.save(reader, project, RUBRIC_JUDGE, name, body, base=version)
    return make_rubric_judge(saved)


@api.post("/projects/{project:path}/rubric-judges/{judge}/try")
def try_rubric_judge(
    *,
    project: str,
    judge: JudgeName,
    reader: FromAdmin,
    job: FromJob,
    wanted: WantedTrial,
) -> JudgeTrial:
    """Try a judge on the newest runs that match its filter.

    If the body contains a judge, it is tried, otherwise the saved one. No score is stored. The
    judge's calls to its model are recorded as runs of kind `judge` with the tag `trial`.
    """
    tried = wanted.judge or _read_saved(reader, project, judge)
    return try_judge(reader, job, (project, judge), tried, wanted.runs)


@api.post("/projects/{project:path}/rubric-judges/{judge}/check")
def check_rubric_judge_on_examples(
    *,
    project: str,
    judge: JudgeName,
    reader: FromAdmin,
    job: FromJob,
    wanted: WantedReadyCheck,
) -> ReadyCheck:
    """Check a judge on the labelled examples of a built-in rubric, such as `correctness`.

    If the body contains a judge, it is checked, otherwise the saved one. No score is stored. The
    judge's calls to its model are recorded as runs of kind `judge` with the tag `trial`.
    """
    checked = wanted.judge or _read_saved(reader, project, judge)
    return check_ready(job, (project, judge), checked, wanted.ready, wanted.examples)


def _read_saved(reader: Reader, project: str, name: str) -> WantedRubricJudge:
    return make_rubric_judge(read_document(reader, project, RUBRIC_JUDGE, name)).wanted


@api.delete("/projects/{project:path}/rubric-judges/{judge}")
def delete_rubric_judge(
    *,
    project: str,
    judge: JudgeName,
    reader: FromAdmin,
    store: FromStore,
    base: BaseVersion = None,
) -> SavedRubricJudge:
    """Delete a rubric judge and return it; its scores are kept."""
    refuse_filed_judge(_find_document(reader, project, judge))
    deleted = make_rubric_judge(store.delete(reader, project, RUBRIC_JUDGE, judge, base=base))
    stop_backfill(reader, store, project, deleted, reason="the judge was deleted")
    return deleted


@api.post("/projects/{project:path}/rubric-judges/{judge}/backfill-plan")
def plan_rubric_backfill(
    *, project: str, judge: JudgeName, reader: FromAdmin, job: FromJob, wanted: WantedBackfill
) -> BackfillPlan:
    """Plan a backfill, which scores past runs: estimate its runs, tokens, cost and duration.

    No model is called and nothing is stored. To start the backfill, send the field `confirm` of
    this response as the body of a `POST` to the path that ends in `/backfill`.
    """
    saved = make_rubric_judge(read_document(reader, project, RUBRIC_JUDGE, judge))
    return plan_backfill(reader, job, project, saved, wanted)


@api.post("/projects/{project:path}/rubric-judges/{judge}/backfill")
def start_rubric_backfill(
    *,
    project: str,
    judge: JudgeName,
    reader: FromAdmin,
    store: FromStore,
    job: FromJob,
    confirmed: ConfirmedBackfill,
) -> RubricBackfill:
    """Start a backfill, in which a judge scores past runs.

    To get the body of this request, first send a `POST` to the path that ends in `/backfill-plan`.
    The body is the field `confirm` of that response. The backfill runs in the background. It has a
    budget of its own and does not use the judge's daily budget for new runs. Runs that this version
    of the judge has already scored are left out.
    """
    saved = make_rubric_judge(read_document(reader, project, RUBRIC_JUDGE, judge))
    place = (project, judge)
    return start_backfill(reader, store, job, place, judge=saved, confirmed=confirmed)


@api.get("/projects/{project:path}/rubric-judges/{judge}/backfill")
def get_rubric_backfill(project: str, judge: JudgeName, reader: FromReader) -> RubricBackfill:
    """Return the newest backfill of a judge, and how far it has come."""
    saved = make_rubric_judge(read_document(reader, project, RUBRIC_JUDGE, judge))
    return read_backfill(reader, project, saved)


@api.delete("/projects/{project:path}/rubric-judges/{judge}/backfill")
def stop_rubric_backfill(
    *, project: str, judge: JudgeName, reader: FromAdmin, store: FromStore
) -> RubricBackfill:
    """Stop the backfill of a judge within seconds; its scores are kept."""
    saved = make_rubric_judge(read_document(reader, project, RUBRIC_JUDGE, judge))
    stop_backfill(reader, store, project, saved)
    return read_backfill(reader, project, saved)
