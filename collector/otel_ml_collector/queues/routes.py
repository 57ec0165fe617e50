"""The JSON API of labelling queues and their answers."""

import time
from collections.abc import Sequence
from typing import Annotated, Final

from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from otel_ml import attributes as names
from otel_ml.records import DatasetVersion
from otel_ml_collector.access import ANNOTATE, READ, Access
from otel_ml_collector.answer_body import AnswerBody
from otel_ml_collector.api.bodies import JsonRoute
from otel_ml_collector.api.parameters import DocumentName, FromReader, needs, reader_for
from otel_ml_collector.errors import BadInput
from otel_ml_collector.evaluations.dataset_changes import WantedRuns
from otel_ml_collector.evaluations.dataset_turns import Turns, save_runs
from otel_ml_collector.feedback import WantedEvaluation, make_feedback, store_request
from otel_ml_collector.filter.sql import compile_where
from otel_ml_collector.queues.agreement import (
    Agreement,
    find_judge_agreement,
    find_queue_agreement,
)
from otel_ml_collector.queues.find import (
    NextRun,
    OpenedRuns,
    Queues,
    QueueState,
    find_next,
    find_queue,
    find_state,
    list_queues,
)
from otel_ml_collector.queues.queue import (
    MOST_ADDED,
    QUEUE,
    Queue,
    QueueChoice,
    WantedQueue,
    make_queue,
)
from otel_ml_collector.receive.pipeline import Intake
from otel_ml_collector.services import find_service, service_of
from otel_ml_collector.store.deletion import Deleter
from otel_ml_collector.store.documents import Documents
from otel_ml_collector.store.reader import Reader

_LONG: Final = 10_000
_MOST_SKIPPED: Final = 100
TAKEN_BACK: Final = "taken back"

api = APIRouter(prefix="/api/v1", route_class=JsonRoute)

RunId = Annotated[str, Path(pattern=f"^{names.RUN_ID.pattern}$")]
_RunIdText = Annotated[str, Field(pattern=f"^{names.RUN_ID.pattern}$")]
Annotator = Annotated[
    str, Query(max_length=256, description="Name of the reviewer; by default the name of the key")
]
Base = Annotated[
    int | None,
    Query(ge=0, description="Version that must be the newest, 0 for none; without it any"),
]
# Reviewers can see queues and their runs. To choose the runs, a key needs scope `read` too.
ToSee = Annotated[Access, Depends(needs(READ, ANNOTATE))]
ToJudge = Annotated[Access, Depends(needs(ANNOTATE))]
ToRead = Annotated[Access, Depends(needs(READ))]
FromSeer = Annotated[Reader, Depends(reader_for(READ, ANNOTATE))]
FromPerson = Annotated[Reader, Depends(reader_for(ANNOTATE))]
FromStore = Annotated[Documents, Depends(service_of(Documents))]
Hand = Annotated[OpenedRuns, Depends(service_of(OpenedRuns))]


class WantedAnswer(BaseModel):
    """A reviewer's answer about a run of a queue: one of its choices."""

    model_config = ConfigDict(extra="forbid")

    run_id: Annotated[str, Field(pattern=r"^[0-9a-f]{32}-[0-9a-f]{16}$")]
    label: Annotated[str, Field(max_length=100)] = Field(
        default="", description="One of the labels of the queue"
    )
    score: int | None = Field(default=None, description="One of the numbers of its scale")
    explanation: Annotated[str, Field(max_length=_LONG)] = ""
    annotator: Annotated[str, Field(max_length=256)] = Field(
        default="", description="Name of the reviewer; by default the name of the key"
    )
    save: bool = Field(
        default=False, description="Whether the run becomes an item of the queue's data set"
    )


class SavedAnswer(AnswerBody):
    """A saved answer."""

    run_id: str
    record_id: str = Field(description="ID of the record that contains the answer")
    annotator: str
    dataset: DatasetVersion | None = Field(
        description="Version of the data set that has the run as an item; null if it was not saved"
    )


@api.get("/projects/{project:path}/queues")
def get_queues(project: str, reader: FromSeer, access: ToSee, annotator: Annotator = "") -> Queues:
    """List the labelling queues of a project by name, each with its progress."""
    who = annotator or access.name
    return Queues(queues=list_queues(reader, project, who, time.time_ns()))


@api.get("/projects/{project:path}/queues/{queue}")
def get_queue(
    project: str, queue: DocumentName, reader: FromSeer, access: ToSee, annotator: Annotator = ""
) -> QueueState:
    """Read one labelling queue with its progress."""
    stored_queue = find_queue(reader, project, queue)
    return find_state(reader, project, stored_queue, annotator or access.name, time.time_ns())


@api.get("/projects/{project:path}/queues/{queue}/agreement")
def get_queue_agreement(project: str, queue: DocumentName, reader: FromReader) -> Agreement:
    """Return how far reviewers agree with each other and with the judge on the runs of a queue.

    The key must have scope `read`. Keys that can only label do not get these answers, so that
    reviewers are not influenced by others.
    """
    stored_queue = find_queue(reader, project, queue)
    return find_queue_agreement(reader, project, stored_queue, time.time_ns())


@api.get("/projects/{project:path}/judges/{judge:path}/agreement")
def get_judge_agreement(project: str, judge: str, reader: FromReader) -> Agreement:
    """Return how far reviewers agree with each version of a judge, on all recorded runs.

    For the newest version, the answer also says how far other judges agree with it.
    """
    return find_judge_agreement(reader, project, judge, time.time_ns())


@api.put("/projects/{project:path}/queues/{queue}")
def put_queue(
    *,
    project: str,
    queue: DocumentName,
    wanted: WantedQueue,
    reader: FromPerson,
    _: ToRead,
    store: FromStore,
    base: Base = None,
) -> Queue:
    """Save a labelling queue; needs a key that reads too, as the queue shows its runs."""
    compile_where(reader, project, wanted.where)
    body = wanted.model_dump()
    return make_queue(store.save(reader, project, QUEUE, queue, body, base=base))


class WantedQueueRuns(BaseModel):
    """Runs to add to a labelling queue, or to take out of it."""

    model_config = ConfigDict(extra="forbid")

    add: Annotated[list[_RunIdText], Field(max_length=MOST_ADDED)] = Field(default_factory=list)
    remove: Annotated[list[_RunIdText], Field(max_length=MOST_ADDED)] = Field(
        default_factory=list, description="Runs that were added; runs that match the filter stay"
    )


@api.post("/projects/{project:path}/queues/{queue}/runs")
def post_queue_runs(
    *,
    project: str,
    queue: DocumentName,
    wanted: WantedQueueRuns,
    reader: FromPerson,
    _: ToRead,
    store: FromStore,
) -> Queue:
    """Add runs to a labelling queue, or take them out again. Answers are kept."""
    stored_queue = find_queue(reader, project, queue)
    if not stored_queue.where.strip() and not stored_queue.run_ids:
        raise BadInput(f"The queue {queue[:80]!r} already contains all recorded runs", "add")
    kept = [run_id for run_id in stored_queue.run_ids if run_id not in set(wanted.remove)]
    run_ids = [*dict.fromkeys([*kept, *wanted.add])]
    if len(run_ids) > MOST_ADDED:
        raise BadInput(f"Too many added runs: {len(run_ids)}, at most {MOST_ADDED}", "add")
    fields = set(WantedQueue.model_fields)
    body = {**stored_queue.model_dump(include=fields), "run_ids": run_ids}
    base = stored_queue.version
    return make_queue(store.save(reader, project, QUEUE, queue, body, base=base))


@api.delete("/projects/{project:path}/queues/{queue}")
def delete_queue(
    *,
    project: str,
    queue: DocumentName,
    reader: FromPerson,
    _: ToRead,
    store: FromStore,
    base: Base = None,
) -> Queue:
    """Delete a labelling queue and return it; its answers are kept."""
    return make_queue(store.delete(reader, project, QUEUE, queue, base=base))


@api.get("/projects/{project:path}/queues/{queue}/next")
def get_next(
    *,
    project: str,
    queue: DocumentName,
    reader: FromPerson,
    access: ToJudge,
    hand: Hand,
    annotator: Annotator = "",
    skip: Annotated[
        Sequence[str],
        Query(max_length=_MOST_SKIPPED, description="Runs to show only after all others"),
    ] = (),
) -> NextRun:
    """Return the next run for a reviewer to label, without its scores and labels.

    The run is reserved for this reviewer for ten minutes. Other reviewers get it in this time only
    if it needs more answers.
    """
    stored_queue = find_queue(reader, project, queue)
    who = _name_reviewer(annotator, access)
    return find_next(reader, project, stored_queue, who, time.time_ns(), hand=hand, skipped=skip)


@api.get("/projects/{project:path}/queues/{queue}/answers/{run_id}")
def get_answer(
    *,
    project: str,
    queue: DocumentName,
    run_id: RunId,
    reader: FromPerson,
    access: ToJudge,
    hand: Hand,
    annotator: Annotator = "",
) -> NextRun:
    """Read one run of a queue again; if the reviewer answered it, with its scores and labels."""
    stored_queue = find_queue(reader, project, queue)
    who = _name_reviewer(annotator, access)
    return find_next(reader, project, stored_queue, who, time.time_ns(), hand=hand, run_id=run_id)


@api.post("/projects/{project:path}/queues/{queue}/answers")
async def post_answer(
    *,
    project: str,
    queue: DocumentName,
    wanted: WantedAnswer,
    request: Request,
    pipeline: Annotated[Intake, Depends(service_of(Intake))],
    turns: Annotated[Turns, Depends(service_of(Turns))],
    access: ToJudge,
) -> SavedAnswer:
    """Store a reviewer's answer about a run; the response means that it is on disk.

    The last answer of a reviewer about a run counts.
    """
    reader = find_service(request, Reader).narrow(access)
    stored_queue = await run_sync(find_queue, reader, project, queue)
    choice = _choose(stored_queue, wanted)
    if wanted.save and not stored_queue.dataset:
        raise BadInput(f"The queue {stored_queue.name[:80]!r} has no data set", "save")
    who = _name_reviewer(wanted.annotator, access)
    statement = WantedEvaluation(
        id=stored_queue.statement_id(wanted.run_id, who),
        run_id=wanted.run_id,
        judge=stored_queue.judge,
        annotator=who,
        label=choice.label if stored_queue.labels else "",
        score=choice.score,
        passed=choice.passed,
        explanation=wanted.explanation,
    )
    record_id = await _store(pipeline, reader, project, statement)
    version = None
    if wanted.save:
        right = choice.label if stored_queue.labels else wanted.score
        item = WantedRuns(
            run_ids=[wanted.run_id],
            expected="outputs" if stored_queue.expected == "outputs" else "given",
            given=None if stored_queue.expected == "outputs" else right,
            reason=f"Labelled in {stored_queue.name}",
        )
        saved = await save_runs(turns, pipeline, reader, (project, stored_queue.dataset), item)
        version = saved.version
    return SavedAnswer(run_id=wanted.run_id, record_id=record_id, annotator=who, dataset=version)


@api.delete("/projects/{project:path}/queues/{queue}/answers/{run_id}")
async def delete_answer(
    *,
    project: str,
    queue: DocumentName,
    run_id: RunId,
    request: Request,
    pipeline: Annotated[Intake, Depends(service_of(Intake))],
    deleter: Annotated[Deleter, Depends(service_of(Deleter))],
    access: ToJudge,
    annotator: Annotator = "",
) -> SavedAnswer:
    """Undo a reviewer's answer about a run. The run keeps a record that it was undone.

    The answer is not a score any more; the last score of a judge or another reviewer counts.
    """
    reader = find_service(request, Reader).narrow(access)
    stored_queue = await run_sync(find_queue, reader, project, queue)
    who = _name_reviewer(annotator, access)
    statement = WantedEvaluation(
        id=stored_queue.statement_id(run_id, who),
        run_id=run_id,
        judge=stored_queue.judge,
        annotator=who,
        explanation=TAKEN_BACK,
    )
    record_id = await _store(pipeline, reader, project, statement)
    await run_sync(deleter.forget_score, project, stored_queue.judge, run_id, record_id)
    return SavedAnswer(run_id=run_id, record_id=record_id, annotator=who, dataset=None)


def _name_reviewer(annotator: str, access: Access) -> str:
    """Return who answers: the name in the request, or the name of the key.

    Raises:
        BadInput: Neither is given.
    """
    name = annotator.strip() or access.name.strip()
    if not name:
        raise BadInput("No reviewer: set annotator, or use an API key that has a name", "annotator")
    return name


def _choose(queue: Queue, wanted: WantedAnswer) -> QueueChoice:
    """Find the choice of a queue that an answer names.

    Raises:
        BadInput: The queue has no such choice.
    """
    field = "label" if queue.labels else "score"
    value = wanted.label if queue.labels else wanted.score
    other = wanted.score if queue.labels else wanted.label
    for choice in queue.choices:
        if value == (choice.label if queue.labels else choice.score) and not other:
            return choice
    expected = ", ".join(choice.label for choice in queue.choices)
    raise BadInput(f"Invalid {field} {value!r}: expected one of {expected}", field)


async def _store(
    pipeline: Intake, reader: Reader, project: str, statement: WantedEvaluation
) -> str:
    """Store an answer as feedback; return the ID of its record."""
    with pipeline.hold() as held:
        feedback = await run_sync(make_feedback, reader, project, [statement], time.time_ns())
        await store_request(pipeline, held, feedback.body, reader.access, project)
    [stored] = feedback.stored
    return stored.record_id
