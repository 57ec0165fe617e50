"""The JSON API for feedback, ground truth and tags, for keys with the scope annotate."""

import math
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Annotated, Final

import orjson
from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Path, Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from otel_ml import attributes as names
from otel_ml.records import TagValue
from otel_ml_collector.access import ANNOTATE, Access
from otel_ml_collector.answer_body import AnswerBody
from otel_ml_collector.api.bodies import JsonRoute
from otel_ml_collector.api.parameters import needs
from otel_ml_collector.errors import Unavailable
from otel_ml_collector.feedback import (
    MOST,
    StoredEvaluation,
    WantedEvaluation,
    find_starts,
    identify,
    make_feedback,
    make_request,
    make_span,
    name_owner,
    record_id_of,
    store_request,
)
from otel_ml_collector.ground_truth.matches import TruthMatches, match_keys
from otel_ml_collector.receive.pipeline import Intake
from otel_ml_collector.services import find_service, service_of
from otel_ml_collector.store.calls import NamedRuns
from otel_ml_collector.store.deletion import Deleter
from otel_ml_collector.store.reader import Reader

_MOST_TAGS: Final = 100
_MOST_TAGGED: Final = 1_000
_Name = Annotated[str, Field(min_length=1, max_length=256)]
_RunId = Annotated[str, Field(pattern=f"^{names.RUN_ID.pattern}$")]
_RecordId = Annotated[str, Field(pattern="^[0-9a-f]{16}$")]


def _check_tag(value: object) -> object:
    is_infinite = isinstance(value, float) and not math.isfinite(value)
    if is_infinite or not isinstance(value, str | bool | int | float):
        raise ValueError("Expected a text, a finite number or a boolean")
    return value


_TagValue = Annotated[TagValue, BeforeValidator(_check_tag)]

router = APIRouter(prefix="/api/v1", route_class=JsonRoute)


class WantedEvaluations(BaseModel):
    """Evaluations that are stored together."""

    model_config = ConfigDict(extra="forbid")

    evaluations: Annotated[list[WantedEvaluation], Field(min_length=1, max_length=MOST)]


class WantedTags(BaseModel):
    """Tags of a run; each replaces the run's tag of the same name."""

    model_config = ConfigDict(extra="forbid")

    tags: Annotated[dict[_Name, _TagValue], Field(min_length=1, max_length=_MOST_TAGS)]


class StoredTags(AnswerBody):
    """The outcome of storing tags."""

    run_id: str
    known: bool = Field(
        description="Whether the run is stored already; otherwise the tags apply when it arrives"
    )


class StoredEvaluations(AnswerBody):
    """The outcome of storing evaluations, in their order."""

    evaluations: list[StoredEvaluation]
    ground_truth: TruthMatches | None = Field(
        description="How much of the ground truth in the request belongs to a run; null if the "
        "request has none, and if the store did not answer in time"
    )
    pending_runs: int = Field(
        description="How many runs with the trace keys and tags of the request get the evaluations "
        "in the background. The first 1,000 runs have them already"
    )


@router.post("/projects/{project:path}/evaluations")
async def post_evaluations(
    project: str,
    wanted: WantedEvaluations,
    request: Request,
    pipeline: Annotated[Intake, Depends(service_of(Intake))],
    access: Annotated[Access, Depends(needs(ANNOTATE))],
) -> StoredEvaluations:
    """Store reviewers' labels and ground truth of runs.

    When you get the response, they are on disk. You can send them before the runs themselves
    arrive. If you send an evaluation again with the same `id`, it is stored only once.
    """
    reader = find_service(request, Reader).narrow(access)
    for evaluation in wanted.evaluations:
        evaluation.annotator = evaluation.annotator or access.name
    now_ns = time.time_ns()
    with pipeline.hold() as reservation:
        feedback = await run_sync(make_feedback, reader, project, wanted.evaluations, now_ns)
        await store_request(pipeline, reservation, feedback.body, access, project)
    matches, pending = None, 0
    # The evaluations are stored. If this fails, a background job resolves their runs.
    with suppress(Unavailable):
        matched = set(feedback.known_runs)
        owners = {owner for owner in map(name_owner, wanted.evaluations) if owner}
        of_owners = await run_sync(find_service(request, NamedRuns).resolve, project, owners)
        matched |= {*of_owners.owners}
        pending = of_owners.pending
        if feedback.truths:
            matches = await run_sync(match_keys, reader, project, feedback.truths, matched, now_ns)
    return StoredEvaluations(
        evaluations=list(feedback.stored), ground_truth=matches, pending_runs=pending
    )


class WantedRunTags(WantedTags):
    """The same tags for several runs."""

    run_ids: Annotated[list[_RunId], Field(min_length=1, max_length=_MOST_TAGGED)]


class StoredRunTags(AnswerBody):
    """The outcome of tagging several runs."""

    run_ids: list[str]
    record_ids: list[str] = Field(
        description="For each run, the ID of the record that adds the tags. Send these IDs to "
        "undo the tags"
    )


class UnwantedTags(BaseModel):
    """Tags of several runs to take back."""

    model_config = ConfigDict(extra="forbid")

    run_ids: Annotated[list[_RunId], Field(min_length=1, max_length=_MOST_TAGGED)]
    record_ids: Annotated[list[_RecordId], Field(min_length=1, max_length=_MOST_TAGGED)]


@router.post("/projects/{project:path}/run-tags")
async def post_run_tags(
    *,
    project: str,
    wanted: WantedRunTags,
    request: Request,
    pipeline: Annotated[Intake, Depends(service_of(Intake))],
    access: Annotated[Access, Depends(needs(ANNOTATE))],
) -> StoredRunTags:
    """Tag several runs. The response means that the tags are on disk."""
    reader = find_service(request, Reader).narrow(access)
    with pipeline.hold() as reservation:
        starts = await run_sync(find_starts, reader, project, wanted.run_ids)
        body, record_ids = _make_tags(project, wanted.run_ids, starts, wanted.tags)
        await store_request(pipeline, reservation, body, access, project)
    return StoredRunTags(run_ids=wanted.run_ids, record_ids=record_ids)


@router.post("/projects/{project:path}/run-tags/undo")
async def undo_run_tags(
    *,
    project: str,
    unwanted: UnwantedTags,
    deleter: Annotated[Deleter, Depends(service_of(Deleter))],
    _: Annotated[Access, Depends(needs(ANNOTATE))],
) -> UnwantedTags:
    """Take back tags of several runs. Earlier tags of the same name are valid again."""
    await run_sync(deleter.forget_tags, project, unwanted.run_ids, unwanted.record_ids)
    return unwanted


@router.post("/projects/{project:path}/runs/{run_id}/tags")
async def post_tags(
    *,
    project: str,
    run_id: Annotated[str, Path(pattern=f"^{names.RUN_ID.pattern}$")],
    wanted: WantedTags,
    request: Request,
    pipeline: Annotated[Intake, Depends(service_of(Intake))],
    access: Annotated[Access, Depends(needs(ANNOTATE))],
) -> StoredTags:
    """Tag a run, even before it arrives. The response means that the tag is on disk."""
    reader = find_service(request, Reader).narrow(access)
    with pipeline.hold() as reservation:
        starts = await run_sync(find_starts, reader, project, [run_id])
        body, _ = _make_tags(project, [run_id], starts, wanted.tags)
        await store_request(pipeline, reservation, body, access, project)
    return StoredTags(run_id=run_id, known=run_id in starts)


def _make_tags(
    project: str, run_ids: Sequence[str], starts: Mapping[str, int], tags: Mapping[str, TagValue]
) -> tuple[bytes, list[str]]:
    """Make the request that tags runs; return it and the IDs of its records."""
    spans, record_ids = [], []
    for run_id in run_ids:
        identity = identify(project, "")
        facts: dict[str, object] = {
            names.RECORD: "update",
            names.PROJECT: project,
            names.TARGET_RUN: run_id,
            names.TARGET_START_NS: starts.get(run_id),
            **{f"{names.TAG_PREFIX}{name}": value for name, value in tags.items()},
        }
        spans.append(make_span("otel_ml.update", identity, time.time_ns(), facts))
        record_ids.append(record_id_of(identity))
    return orjson.dumps(make_request(spans)), record_ids
