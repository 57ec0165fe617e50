"""What was sent but is not here, in the JSON API."""

import time
from typing import Annotated

from fastapi import APIRouter, Query, Request

from otel_ml_collector.api.parameters import FromReader, Time
from otel_ml_collector.loss import find as loss
from otel_ml_collector.loss.find import Loss
from otel_ml_collector.loss.watch import LossWatch
from otel_ml_collector.services import find_service
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.times import DAY_NS, from_rfc3339

router = APIRouter(prefix="/api/v1")


@router.get("/projects/{project:path}/loss")
def get_loss(
    project: str,
    reader: FromReader,
    start: Time = None,
    end: Time = None,
    limit: Annotated[int, Query(ge=1, le=loss.MAX_LIMIT)] = loss.MAX_LIMIT,
) -> Loss:
    """Read how many spans came and how many were sent but are not here, by process and hour.

    Whole hours, the last 24 unless told, at most 31 days.
    """
    end_ns = from_rfc3339(end, "end") if end else time.time_ns()
    start_ns = from_rfc3339(start, "start") if start else max(end_ns - DAY_NS, 0)
    query = loss.LossQuery(project, start_ns, end_ns, limit)
    return loss.find_loss(reader, query, time.time_ns())


def missing_spans(
    request: Request, reader: Reader, project: str | None = None
) -> list[tuple[str, int]]:
    """Name projects of which spans are missing, as the watch saw them last."""
    return find_service(request, LossWatch).missing_of(reader.access, project)
