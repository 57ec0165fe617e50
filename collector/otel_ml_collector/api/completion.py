"""The part of the JSON API that completes filters while they are typed."""

import time
from typing import Annotated, Final

from fastapi import APIRouter, Query

from otel_ml_collector.api.parameters import FromReader, Time
from otel_ml_collector.filter.complete import Completion, CompletionQuery, find_completion
from otel_ml_collector.store.runs import Window
from otel_ml_collector.times import DAY_NS, HOUR_NS, from_rfc3339

_TEXT: Final = 4_000
_DAYS: Final = 30

router = APIRouter(prefix="/api/v1")

Typed = Annotated[
    str,
    Query(
        max_length=_TEXT,
        description='The filter up to the caret, such as `tags["client"] == "bi`',
    ),
]
Limit = Annotated[int, Query(ge=1, le=100)]


@router.get("/projects/{project:path}/completion")
def get_completion(
    *,
    project: str,
    reader: FromReader,
    where: Typed = "",
    start: Time = None,
    end: Time = None,
    limit: Limit = 20,
) -> Completion:
    """Tell what may be typed next in a filter: fields, operators, values with their counts.

    Values are counted among the newest 20,000 runs between `start`, 30 days ago unless told, and
    `end`, and those inside payloads among the newest 500.
    """
    end_ns = from_rfc3339(end, "end") if end else time.time_ns() + HOUR_NS
    start_ns = from_rfc3339(start, "start") if start else max(end_ns - _DAYS * DAY_NS, 0)
    query = CompletionQuery(project, where, Window(start_ns, end_ns), limit)
    return find_completion(reader, query)
