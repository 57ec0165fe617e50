"""The JSON API for figures from metrics."""

import time
from typing import Final

from fastapi import APIRouter

from otel_ml_collector.api.parameters import End, FromReader, Start
from otel_ml_collector.api.route import DeferredRoute
from otel_ml_collector.errors import BadInput
from otel_ml_collector.reported.find import Reported, find_reported
from otel_ml_collector.times import DAY_NS

_MOST_NS: Final = 400 * DAY_NS

api = APIRouter(prefix="/api/v1", route_class=DeferredRoute)


@api.get("/projects/{project:path}/reported")
def get_reported(
    project: str, reader: FromReader, *, start_ns: Start = None, end_ns: End = None
) -> Reported:
    """Read what services report in OpenTelemetry metrics about their calls, by model.

    By default, this covers the last 24 hours. The figures, such as token counts and durations, are
    never added to the figures of runs.
    """
    if end_ns is None:
        end_ns = time.time_ns()
    if start_ns is None:
        start_ns = max(end_ns - DAY_NS, 0)
    if not 0 < end_ns - start_ns <= _MOST_NS:
        raise BadInput("Invalid start: expected a time before end, by at most 400 days", "start")
    return find_reported(reader, project, start_ns, end_ns)
