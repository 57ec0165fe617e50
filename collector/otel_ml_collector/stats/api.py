"""The part of the JSON API that counts recorded runs over time."""

import re
import time
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query

from otel_ml_collector.api.parameters import FromReader, Time, Where
from otel_ml_collector.errors import BadQuery
from otel_ml_collector.stats.find import (
    GROUPS,
    MAX_GROUPS,
    AllStats,
    Stats,
    StatsQuery,
    find_all_stats,
    find_stats,
)
from otel_ml_collector.store.runs import Window
from otel_ml_collector.times import DAY_NS, HOUR_NS, SECOND_NS, from_rfc3339

_BUCKET: Final = re.compile("([1-9][0-9]{0,5})([mhd])", re.ASCII)
_UNITS_NS: Final = {"m": 60 * SECOND_NS, "h": HOUR_NS, "d": DAY_NS}

router = APIRouter(prefix="/api/v1")

Group = Annotated[
    str, Query(max_length=220, description=f"Empty for none, else one of {', '.join(GROUPS)}")
]
Bucket = Annotated[
    str, Query(max_length=8, description="How long a bucket is, such as `15m`, `1h` or `1d`")
]


def parse_stats(
    *,
    project: str,
    where: Where = "",
    group: Group = "",
    start: Time = None,
    end: Time = None,
    bucket: Bucket = "1h",
    groups: Annotated[int, Query(ge=1, le=MAX_GROUPS, description="How many are told apart")] = 10,
) -> StatsQuery:
    """Read what to count.

    Raises:
        BadQuery: A time, or the length of a bucket, cannot be read.
    """
    match = _BUCKET.fullmatch(bucket)
    if match is None:
        raise BadQuery(f"Invalid bucket {bucket!r}: expected such as 15m, 1h or 1d", "bucket")
    step_ns = int(match[1]) * _UNITS_NS[match[2]]
    end_ns = from_rfc3339(end, "end") if end else -(-time.time_ns() // step_ns) * step_ns
    start_ns = from_rfc3339(start, "start") if start else max(end_ns - DAY_NS, 0)
    # Buckets begin at whole hours or days, whenever the first run may have started.
    window = Window(start_ns // step_ns * step_ns, end_ns)
    return StatsQuery(project, where, group, window, step_ns, groups)


@router.get("/projects/{project:path}/stats")
def get_stats(query: Annotated[StatsQuery, Depends(parse_stats)], reader: FromReader) -> Stats:
    """Count recorded runs by group and time: errors, latency, scores, tokens, cost.

    The last 24 hours unless told. The first bucket begins where a whole one does, at or before
    `start`; at most 750 buckets, and 10,000 buckets times groups.
    """
    return find_stats(reader, query)


@router.get("/stats")
def get_all_stats(reader: FromReader) -> AllStats:
    """Count the recorded runs of all projects in the last 24 hours, by the hour."""
    return find_all_stats(reader, time.time_ns())
