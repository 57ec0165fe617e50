"""What is asked about metric points: which of them count, and as many of those as are wanted."""

from collections.abc import Sequence
from typing import Final

from otel_ml_collector.store.reader import Reader, Row
from otel_ml_collector.store.sql import Sql

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
