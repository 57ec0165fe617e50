"""What was sent but is not here: one `find` behind the JSON API and the watch."""

from dataclasses import dataclass
from typing import Final

from pydantic import BaseModel, Field

from otel_ml_collector.errors import BadQuery
from otel_ml_collector.store.arrivals import Hours, read_loss, read_totals
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.times import DAY_NS, HOUR_NS, to_rfc3339

MAX_LIMIT: Final = 1_000
_MOST_NS: Final = 31 * DAY_NS


class LossCounts(BaseModel):
    """How many spans came of those that processes numbered.

    Only spans of our SDK are numbered, also updates, evaluations and heartbeats.
    """

    received: int = Field(description="Spans that are here, each counted once")
    missing: int = Field(
        description="Sent but not here (lost, or dropped by sampling on the way): numbers below "
        "one that has been here for a minute; a span that comes later is not missing any more"
    )
    late: int = Field(description="Of those received, came more than 5 minutes after they ended")
    dropped: int = Field(
        description="What the process told that it had dropped itself, which is missing too"
    )


class LossHour(LossCounts):
    """What came of one process, of spans that ended in one hour.

    What is missing counts in the hour in which the next span that is here ended.
    """

    hour: str = Field(description="When it began: RFC 3339, UTC")
    process: str


class Loss(BaseModel):
    """What came and what is missing, the latest hour first; `totals` are of the whole time."""

    start_time: str
    end_time: str
    hours: list[LossHour]
    left_out: int = Field(description="How many rows there are beyond those in `hours`")
    totals: LossCounts


@dataclass(frozen=True, slots=True)
class LossQuery:
    """Which hours of a project: those in which some moment from start to before end lies."""

    project: str
    start_ns: int
    end_ns: int
    limit: int = MAX_LIMIT


def find_loss(reader: Reader, query: LossQuery, now_ns: int) -> Loss:
    """Find what came and what is missing of a project, by process and hour.

    Args:
        reader: The store.
        query: Which hours.
        now_ns: Says what is still under way.

    Raises:
        BadQuery: The time is empty, or longer than 31 days.
    """
    if not 0 < query.end_ns - query.start_ns <= _MOST_NS:
        raise BadQuery("Invalid start: expected one before end, by at most 31 days", "start")
    first, last = query.start_ns // HOUR_NS, (query.end_ns - 1) // HOUR_NS + 1
    hours = Hours(first, last, now_ns, query.project)
    rows = read_loss(reader, hours, limit=query.limit)
    totals = read_totals(reader, hours)
    return Loss(
        start_time=to_rfc3339(first * HOUR_NS),
        end_time=to_rfc3339(last * HOUR_NS),
        hours=[LossHour(**{**row, "hour": to_rfc3339(row["hour"] * HOUR_NS)}) for row in rows],
        left_out=max(sum(row["rows"] for row in totals) - len(rows), 0),
        totals=LossCounts(
            **{name: sum(row[name] for row in totals) for name in LossCounts.model_fields}
        ),
    )


def last_day(now_ns: int) -> Hours:
    """Name the last 24 hours of all projects, the one that goes on among them."""
    last = now_ns // HOUR_NS + 1
    return Hours(max(last - 24, 0), last, now_ns)
