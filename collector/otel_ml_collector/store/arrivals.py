"""What is asked about the numbers of processes: which came, which are missing, which were late.

A process numbers its spans of a project 1, 2, 3 and so on. A number that is not here while a
higher one is was sent, or dropped on the way. It counts in the hour of the next number that is
here, once that one has been here for a minute: what is under way is not missing.
"""

from dataclasses import dataclass
from typing import Any, Final

from otel_ml_collector.store.reader import READABLE, Reader, Row
from otel_ml_collector.store.sql import Sql

_MINUTE_NS: Final = 60 * 10**9
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
    settled = max(hours.now_ns // _MINUTE_NS - _SETTLED_MINUTES, 0)
    first = max(hours.first, _BASE_HOUR + 2)
    return {"first": first, "last": hours.last, "settled": settled, **whose}
