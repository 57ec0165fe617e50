"""Finds what was sent but is not here: the one `find` behind the JSON API and the watch."""

from dataclasses import dataclass
from typing import Final

from otel_ml_collector.errors import BadQuery
from otel_ml_collector.query.answers.loss import Loss, LossCounts, LossHour
from otel_ml_collector.query.times import DAY_NS, HOUR_NS, to_rfc3339
from otel_ml_collector.store.arrivals import Hours, read_loss, read_totals
from otel_ml_collector.store.reader import Reader, Row

MAX_LIMIT: Final = 1_000
_MOST_NS: Final = 31 * DAY_NS


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
        hours=[_hour(row) for row in rows],
        left_out=max(sum(row["rows"] for row in totals) - len(rows), 0),
        totals=LossCounts(
            received=sum(row["received"] for row in totals),
            missing=sum(row["missing"] for row in totals),
            late=sum(row["late"] for row in totals),
            dropped=sum(row["dropped"] for row in totals),
        ),
    )


def last_day(now_ns: int) -> Hours:
    """Name the last 24 hours of all projects, the one that goes on among them."""
    last = now_ns // HOUR_NS + 1
    return Hours(max(last - 24, 0), last, now_ns)


def _hour(row: Row) -> LossHour:
    return LossHour(
        hour=to_rfc3339(row["hour"] * HOUR_NS),
        process=row["process"],
        received=row["received"],
        missing=row["missing"],
        late=row["late"],
        dropped=row["dropped"],
    )
