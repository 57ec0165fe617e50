"""The JSON API of prediction targets and the quality of their predictions."""

import time
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field

from otel_ml_collector.access import ANNOTATE, READ, Access
from otel_ml_collector.api.bodies import JsonRoute
from otel_ml_collector.api.parameters import DocumentName, FromReader, needs, reader_for
from otel_ml_collector.errors import BadInput
from otel_ml_collector.ground_truth.find import (
    QualityQuestion,
    TargetQuality,
    Targets,
    choose_step,
    find_quality,
    find_target,
    list_targets,
    save_target,
)
from otel_ml_collector.ground_truth.target import (
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

Base = Annotated[
    int | None,
    Query(
        ge=0,
        description="Version that must be the newest one; 0 if there must be none. If missing, any",
    ),
]
ToRead = Annotated[Access, Depends(needs(READ))]
FromAnnotator = Annotated[Reader, Depends(reader_for(ANNOTATE))]
FromStore = Annotated[Documents, Depends(service_of(Documents))]


class WantedQuality(BaseModel):
    """The predictions to measure."""

    last: LastDays = Field("30d", description="How far back")
    start: str | None = Field(
        None, description="Only runs that started at this time or later, RFC 3339"
    )
    end: str | None = Field(
        None, description="Only runs that started before this time. Default: now"
    )
    bucket: Literal["hour", "day", "week"] | None = Field(
        None, description="Length of a bucket; default about sixty buckets in the window"
    )
    where: str = Field("", description="Filter of the runs, such as a slice or a version")
    slices: bool = Field(False, description="Whether to compare tag values with all other runs")


def make_question(
    reader: Reader, project: str, target: str, wanted: WantedQuality, now_ns: int
) -> QualityQuestion:
    """Turn the parameters of a request into a query for the quality of predictions.

    Raises:
        BadInput: The window is empty or has too many buckets.
        Missing: There is no such prediction target or ground truth.
    """
    end_ns = from_rfc3339(wanted.end, "end") if wanted.end else now_ns + 1
    step_ns = _BUCKETS[wanted.bucket] if wanted.bucket else 0
    if wanted.start:
        start_ns = from_rfc3339(wanted.start, "start")
    else:
        # Start at a whole bucket, so that a request a minute later has the same buckets.
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
        has_matches=True,
    )


@api.get("/projects/{project:path}/targets")
def get_targets(project: str, reader: FromReader) -> Targets:
    """List the prediction targets of a project, and ground truth that has no target."""
    return list_targets(reader, project)


@api.get("/projects/{project:path}/targets/{target}")
def get_target(
    project: str,
    target: DocumentName,
    reader: FromReader,
    wanted: Annotated[WantedQuality, Query()],
) -> TargetQuality:
    """Return how often a model's predictions were right, by the time of the prediction.

    The newest ground truth of each run counts, whether it arrived before or after the run. Ground
    truth often arrives days later. A time bucket is marked `early` if its ground truth is not
    complete yet, for example if it has less than buckets of the same age usually have.

    `target` names a prediction target, which maps part of an output to ground truth. It can also be
    the name of ground truth that has no prediction target. In this case, the ground truth is
    compared with the part of the output that has its name, or else with the whole output.
    """
    return find_quality(reader, make_question(reader, project, target, wanted, time.time_ns()))


@api.put("/projects/{project:path}/targets/{target}")
def put_target(
    *,
    project: str,
    target: DocumentName,
    wanted: WantedTarget,
    reader: FromAnnotator,
    _: ToRead,
    store: FromStore,
    base: Base = None,
) -> SavedTarget:
    """Save which part of an output predicts which ground truth, or change this."""
    return save_target(reader, store, project, target, wanted, base)


@api.delete("/projects/{project:path}/targets/{target}")
def delete_target(
    *,
    project: str,
    target: DocumentName,
    reader: FromAnnotator,
    _: ToRead,
    store: FromStore,
    base: Base = None,
) -> SavedTarget:
    """Delete a prediction target and return it; its ground truth is kept."""
    return make_target(store.delete(reader, project, TARGETS, target, base=base))
