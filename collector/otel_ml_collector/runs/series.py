"""Metric points as metrics: how points of one name combine, resolved when read.

The points come in the order (time, span id, position), whatever order they were delivered in.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Final

from otel_ml.records import Infinite, MetricPoint
from otel_ml_collector.store.reader import Reader, Row
from otel_ml_collector.store.sql import Sql

# Null is NaN.
MetricValue = float | Infinite | None | list[float | Infinite | None]
# Points are in partitions by arrival: a repeated one may stand in two of them.
_ACROSS_PARTITIONS: Final = {"do_not_merge_across_partitions_select_final": 0}
NAMES: Final = 1_000

_LOGGED: Final = Sql("""project = {project:String} AND owner IN {owners:Array(String)}
  AND source = 'logged' AND ({name:String} = '' OR name = {name:String})""")
# In the order (time, record, position): `replace` and `restart` cut what came before them, and
# `single` counts as the first one only.
_COUNTING: Final = Sql("""
SELECT name, value, step, time_ns, mode,
  toInt64(row_number() OVER (PARTITION BY name ORDER BY place)) AS nth,
  toInt64(count() OVER (PARTITION BY name)) AS number
FROM (
  SELECT *, max(if(mode IN ('replace', 'restart'), place, 0)) OVER (PARTITION BY name) AS cut
  FROM (
    SELECT toString(name) AS name, assumeNotNull(value) AS value, step, time_ns,
      toString(mode) AS mode,
      row_number() OVER (PARTITION BY name ORDER BY time_ns, record_id, position) AS place
    FROM metrics FINAL
    WHERE {logged} AND name IN (
      SELECT name FROM metrics WHERE {logged} GROUP BY name ORDER BY name LIMIT {names})
  )
) WHERE place >= cut AND (mode != 'single' OR place = 1)
""").fill(logged=_LOGGED, names=NAMES)
# The first point, the last one, and of each bucket between them the lowest and the highest one.
# A bucket of nothing but NaN keeps one. Arrays of numbers: comparing tuples takes three times as
# long for 100,000 points.
_THINNED: Final = Sql("""
SELECT name, points, mode, arrayMap(nth -> (indexOf(places, nth) AS at,
  (nth, `values`[at], steps[at], times[at])).2, arrayDistinct(arraySort(if(empty(real),
    [arrayMin(places)], [
      arrayMin(arrayFilter((nth, value) -> value = arrayMin(real), places, `values`)),
      arrayMax(arrayFilter((nth, value) -> value = arrayMax(real), places, `values`))
    ])))) AS kept
FROM (
  SELECT name, any(number) AS points, any(mode) AS mode, groupArray(nth) AS places,
    groupArray(value) AS `values`, groupArray(step) AS steps, groupArray(time_ns) AS times,
    arrayFilter(value -> NOT isNaN(value), `values`) AS real,
    multiIf(number <= {most:Int64}, nth, nth = 1, 0, nth = number, {most:Int64},
      1 + intDiv((nth - 2) * (intDiv({most:Int64}, 2) - 1), number - 2)) AS bucket
  FROM ({points}) GROUP BY name, bucket
)
ORDER BY name, bucket
""")
# Where no point cuts or counts alone, each counts as the one that it is.
_PLAIN: Final = Sql("""
SELECT name, value, step, time_ns, mode,
  toInt64(row_number() OVER (PARTITION BY name ORDER BY time_ns, record_id, position)) AS nth,
  toInt64(count() OVER (PARTITION BY name)) AS number
FROM (
  SELECT toString(name) AS name, assumeNotNull(value) AS value, step, time_ns,
    toString(mode) AS mode, record_id, position
  FROM metrics FINAL
  WHERE {logged} AND name IN (
    SELECT name FROM metrics WHERE {logged} GROUP BY name ORDER BY name LIMIT {names})
)
""").fill(logged=_LOGGED, names=NAMES)
# How many points of a metric an answer holds unless more are asked for, and of all metrics.
MOST: Final = 1_000
MOST_OF_ALL: Final = 100_000
_FEWEST: Final = MOST_OF_ALL // NAMES
_SERIES: Final = frozenset({"append", "restart"})


def count_names(
    reader: Reader, project: str, owners: Sequence[str], name: str = ""
) -> tuple[int, bool]:
    """Count the metrics that were logged for some owners, and tell whether each point counts.

    It does where none replaces what came before it and none is to stand alone.
    """
    sql = Sql("""
        SELECT uniqExact(name) AS names,
          countIf(mode IN ('single', 'replace', 'restart')) = 0 AS is_plain
        FROM metrics WHERE {logged}""").fill(logged=_LOGGED)
    parameters = {"project": project, "owners": list(owners), "name": name}
    (row,) = reader.rows(sql, parameters)
    return int(row["names"]), bool(row["is_plain"])


def read_points(
    reader: Reader,
    project: str,
    owners: Sequence[str],
    name: str,
    most: int,
    *,
    is_plain: bool = False,
) -> list[Row]:
    """Read the points that count, of the first 1,000 metrics by name.

    Args:
        reader: The store.
        project: Whose metrics.
        owners: What they were logged for; points of one name are one metric.
        name: Which metric; empty for all.
        most: How many points of a metric are read. Of more than that the first and the last one
            and the lowest and highest of each stretch between them.
        is_plain: Whether each of them is known to count.

    Returns:
        Rows of a few points each, in order: `name`, `points` (how many count), `mode` (of the
        first point) and `kept`, tuples of place, value, step and time.
    """
    parameters = {"project": project, "owners": list(owners), "name": name, "most": most}
    sql = _THINNED.fill(points=_PLAIN if is_plain else _COUNTING)
    return reader.rows(sql, parameters, _ACROSS_PARTITIONS)


@dataclass(frozen=True, slots=True)
class LoggedMetric:
    """One metric.

    Attributes:
        count: How many points it has; `points` may be fewer, among them the first and the last,
            the lowest and the highest.
        is_single: Whether it is a plain number.
    """

    name: str
    count: int
    is_single: bool
    points: Sequence[MetricPoint]

    @property
    def value(self) -> MetricValue:
        """The metric as a number, or the numbers of its points."""
        values = [point.value for point in self.points]
        return values[0] if self.is_single else values


def find_series(
    reader: Reader, project: str, owners: Sequence[str], *, name: str = "", most: int = MOST
) -> list[LoggedMetric]:
    """Find the metrics that were logged for some owners, the first 1,000 by name.

    A metric alone is a series after ``append`` and ``restart``, else a number; two points are a
    series. Of more points than `most`, or than 100,000 in all, the shape of the curve is kept.
    """
    names, is_plain = count_names(reader, project, owners, name)
    if not names:
        return []
    most = min(most, max(MOST_OF_ALL // names, _FEWEST))
    rows = read_points(reader, project, owners, name, most, is_plain=is_plain)
    return [_series(key, list(parts)) for key, parts in groupby(rows, itemgetter("name"))]


def values_of(found: Iterable[LoggedMetric]) -> dict[str, MetricValue]:
    """Return metrics as numbers and lists of numbers, by name."""
    return {series.name: series.value for series in found}


def counts_of(found: Iterable[LoggedMetric]) -> dict[str, int]:
    """Return how many points metrics have, by name."""
    return {series.name: series.count for series in found}


def _series(name: str, rows: Sequence[Row]) -> LoggedMetric:
    first = rows[0]
    points = [_point(*kept) for row in rows for kept in row["kept"]]
    is_single = first["points"] == 1 and first["mode"] not in _SERIES
    return LoggedMetric(name, first["points"], is_single, points)


def _spell(value: float) -> float | Infinite | None:
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return None if math.isnan(value) else value


def _point(_: int, value: float, step: int, time_ns: int) -> MetricPoint:
    return MetricPoint(
        value=_spell(value),
        step=None if step < 0 else step,
        time_ns=time_ns,
    )
