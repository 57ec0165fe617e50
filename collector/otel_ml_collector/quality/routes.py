"""The JSON API of targets: saved, deleted, and how good their predictions were."""

import time
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel, Field

from otel_ml_collector.access import ANNOTATE, READ, Access
from otel_ml_collector.api.bodies import JsonRoute
from otel_ml_collector.api.parameters import FromReader, needs, reader_for
from otel_ml_collector.errors import BadInput
from otel_ml_collector.quality.find import (
    QualityQuestion,
    TargetQuality,
    Targets,
    choose_step,
    find_quality,
    find_target,
    list_targets,
    save_target,
)
from otel_ml_collector.quality.target import (
    TARGETS,
    SavedTarget,
    WantedTarget,
    make_target,
)
from otel_ml_collector.services import service_of
from otel_ml_collector.store.documents import Documents
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.times import DAY_NS, HOUR_NS, from_rfc3339
from otel_ml_collector.windows import Window

_MOST_POINTS: Final = 400
_BUCKETS: Final = {"hour": HOUR_NS, "day": DAY_NS, "week": 7 * DAY_NS}
_PAST_NS: Final = {"24h": DAY_NS, "7d": 7 * DAY_NS, "30d": 30 * DAY_NS, "60d": 60 * DAY_NS}
LastDays = Literal["24h", "7d", "30d", "60d"]

api = APIRouter(prefix="/api/v1", route_class=JsonRoute)

TargetName = Annotated[str, Path(min_length=1, max_length=64, pattern=r"^[^/\x00-\x1f\x7f]+$")]
Base = Annotated[
    int | None,
    Query(ge=0, description="The version that is to be the newest, 0 for none; without it any"),
]
ToRead = Annotated[Access, Depends(needs(READ))]
FromAnnotator = Annotated[Reader, Depends(reader_for(ANNOTATE))]
FromStore = Annotated[Documents, Depends(service_of(Documents))]


class WantedQuality(BaseModel):
    """Which predictions are asked about."""

    last: LastDays = Field("30d", description="Predictions of the last so many days")
    start: str | None = Field(None, description="Of runs that began then or later; RFC 3339")
    end: str | None = Field(None, description="Of runs that began before; now unless told")
    bucket: Literal["hour", "day", "week"] | None = Field(
        None, description="How long a bucket is; about sixty in the window unless told"
    )
    where: str = Field("", description="A filter of the runs, such as a slice or a version")
    slices: bool = Field(False, description="Whether values of tags are held against the rest")


def make_question(
    reader: Reader, project: str, target: str, wanted: WantedQuality, now_ns: int
) -> QualityQuestion:
    """Read which predictions are asked about.

    Raises:
        BadInput: The window is none, or has too many buckets.
        Missing: There is no such target or truth.
    """
    end_ns = from_rfc3339(wanted.end, "end") if wanted.end else now_ns + 1
    step_ns = _BUCKETS[wanted.bucket] if wanted.bucket else 0
    if wanted.start:
        start_ns = from_rfc3339(wanted.start, "start")
    else:
        # Whole buckets, so that a question asked a minute later has the same ones.
        length_ns = _PAST_NS[wanted.last]
        step = step_ns or choose_step(Window(0, length_ns))
        start_ns = max((end_ns - length_ns) // step * step, 0)
    if start_ns >= end_ns:
        raise BadInput("The window is empty: expected a start before its end", "start")
    window = Window(start_ns, end_ns)
    step_ns = step_ns or choose_step(window)
    if (end_ns - start_ns) / step_ns > _MOST_POINTS:
        raise BadInput(f"Too many buckets: expected at most {_MOST_POINTS}", "bucket")
    return QualityQuestion(
        project,
        find_target(reader, project, target),
        window,
        wanted.where,
        step_ns,
        now_ns,
        slices=wanted.slices,
    )


@api.get("/projects/{project:path}/targets")
def get_targets(project: str, reader: FromReader) -> Targets:
    """List the targets of a project by name, and the names of truths that have none."""
    return list_targets(reader, project)


@api.get("/projects/{project:path}/targets/{target}")
def get_target(
    project: str,
    target: TargetName,
    reader: FromReader,
    wanted: Annotated[WantedQuality, Query()],
) -> TargetQuality:
    """Say how good the predictions of a target were, at the time of the prediction.

    The newest truth of each run holds, whichever came first, the run or its truth. A bucket in
    which less of the truth is here than usual at its age is marked `early`. Of a truth without a
    target it is asked whether it equals the whole output.
    """
    return find_quality(reader, make_question(reader, project, target, wanted, time.time_ns()))


@api.put("/projects/{project:path}/targets/{target}")
def put_target(
    *,
    project: str,
    target: TargetName,
    wanted: WantedTarget,
    reader: FromAnnotator,
    _: ToRead,
    store: FromStore,
    base: Base = None,
) -> SavedTarget:
    """Save which part of a model's output foretells a truth; as it is already it stays the same."""
    return save_target(reader, store, project, target, wanted, base)


@api.delete("/projects/{project:path}/targets/{target}")
def delete_target(
    *,
    project: str,
    target: TargetName,
    reader: FromAnnotator,
    _: ToRead,
    store: FromStore,
    base: Base = None,
) -> SavedTarget:
    """Delete a target, and answer what it was; its truths stay."""
    return make_target(store.delete(reader, project, TARGETS, target, base=base))
