"""What was sent but is not here: one `find` behind the JSON API and the watch."""

from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel, Field

from otel_ml_collector.errors import BadQuery
from otel_ml_collector.store.reader import READABLE, Reader, Row
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.times import DAY_NS, HOUR_NS, MINUTE_NS, to_rfc3339

# Numbers by the minute in which they came: in that of now minus 2 all came a minute ago or more.
_SETTLED_MINUTES: Final = 2
# In it stands up to which number nothing was kept; that is always of what came before.
_BASE_HOUR: Final = 0
_PROCESSES: Final = 1_000
_ONE: Final = Sql("project = {project:String}")
_SETTLED: Final = Sql("""arrayMax(arrayPushFront(arrayMap(
  (minute, number) -> if(minute <= {settled:UInt32}, number, 0),
  mapKeys(highest), mapValues(highest)), 0))""")
# Hours of a process stand in the order of their numbers. Beside those that are asked for there is
# one on each side: numbers are given in the order of time, but for what several threads finish at
# the turn of an hour, so an hour and its neighbours hold all that is in its stretch of numbers. Of
# what came before only the highest number is read.
_HOURS: Final = Sql("""
WITH by_hour AS (
  SELECT project, process, hour,
    groupBitmapMergeState(timely) AS soon, groupBitmapMergeState(late) AS later,
    bitmapOr(soon, later) AS numbers, bitmapMax(numbers) AS most, max(dropped) AS told,
    max(greatest(base, {settled})) AS mark
  FROM arrivals
  WHERE {belongs} AND hour + 1 >= {first:UInt32} AND hour <= {last:UInt32}
    AND (project, process) IN ({processes})
  GROUP BY project, process, hour
),
earlier AS (
  SELECT project, process, max(dropped) AS told, max(greatest(base, {settled})) AS mark
  FROM arrivals
  WHERE {belongs} AND hour + 1 < {first:UInt32} AND (project, process) IN ({processes})
  GROUP BY project, process
),
passed AS (
  SELECT by_hour.project AS project, by_hour.process AS process, by_hour.hour AS hour,
    bitmapCardinality(by_hour.numbers) AS received,
    bitmapCardinality(bitmapAndnot(later, soon)) AS late,
    greatest(earlier.mark, max(by_hour.mark) OVER upto) AS reached,
    greatest(earlier.mark, max(by_hour.mark) OVER before) AS below,
    greatest(earlier.told, max(by_hour.told) OVER upto)
      - greatest(earlier.told, max(by_hour.told) OVER before) AS dropped,
    groupBitmapOrState(by_hour.numbers) OVER around AS near
  FROM by_hour LEFT JOIN earlier
    ON earlier.project = by_hour.project AND earlier.process = by_hour.process
  WINDOW upto AS (PARTITION BY by_hour.project, by_hour.process ORDER BY most, by_hour.hour
      ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW),
    before AS (PARTITION BY by_hour.project, by_hour.process ORDER BY most, by_hour.hour
      ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING),
    around AS (PARTITION BY by_hour.project, by_hour.process ORDER BY most, by_hour.hour
      ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING)
)
SELECT project, process, hour, received, late, dropped,
  toUInt64(reached - below - bitmapCardinality(
    bitmapSubsetInRange(near, below + 1, reached + 1))) AS missing
FROM passed WHERE hour >= {first:UInt32} AND hour < {last:UInt32}
""")
_SENDERS: Final = Sql("""
SELECT project, process FROM arrivals
WHERE {belongs} AND hour >= {first:UInt32} AND hour < {last:UInt32}
GROUP BY project, process ORDER BY max(hour) DESC, process LIMIT {most}
""")
MAX_LIMIT: Final = 1_000
_MOST_NS: Final = 31 * DAY_NS


@dataclass(frozen=True, slots=True)
class Hours:
    """Hours since 1970, UTC: from `first` to before `last`.

    Attributes:
        now_ns: Says what is still under way.
        project: Whose; None for all that may be read.
    """

    first: int
    last: int
    now_ns: int
    project: str | None = None


def read_loss(reader: Reader, hours: Hours, *, limit: int, only_missing: bool = False) -> list[Row]:
    """Read what came and what is missing, of the 1,000 processes that sent last.

    Returns:
        Rows of a project, process and hour in which a span of it ended, the latest hour first:
        `project process hour received missing late dropped`.
    """
    condition = Sql("missing > 0") if only_missing else Sql("1")
    sql = Sql("""
        SELECT * FROM ({loss}) WHERE {condition}
        ORDER BY hour DESC, project, process LIMIT {limit:UInt32}
        """).fill(loss=_of(hours), condition=condition)
    return reader.rows(sql, {**_parameters(hours), "limit": limit})


def read_totals(reader: Reader, hours: Hours) -> list[Row]:
    """Add up what `read_loss` reads by project, and count its rows."""
    sql = Sql("""
        SELECT project, count() AS rows, sum(received) AS received, sum(missing) AS missing,
          sum(late) AS late, sum(dropped) AS dropped
        FROM ({loss}) GROUP BY project ORDER BY project
        """).fill(loss=_of(hours))
    return reader.rows(sql, _parameters(hours))


def _of(hours: Hours) -> Sql:
    belongs = READABLE if hours.project is None else _ONE
    senders = _SENDERS.fill(belongs=belongs, most=_PROCESSES)
    return _HOURS.fill(belongs=belongs, settled=_SETTLED, processes=senders)


def _parameters(hours: Hours) -> dict[str, Any]:
    whose = {} if hours.project is None else {"project": hours.project}
    settled = max(hours.now_ns // MINUTE_NS - _SETTLED_MINUTES, 0)
    first = max(hours.first, _BASE_HOUR + 2)
    return {"first": first, "last": hours.last, "settled": settled, **whose}


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
