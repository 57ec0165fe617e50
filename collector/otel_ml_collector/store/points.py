"""What is asked about metric points: which of them count, and as many of those as are wanted."""

from collections.abc import Sequence
from typing import Final

from otel_ml_collector.store.reader import Reader, Row

# Points are in partitions by arrival: a repeated one may stand in two of them.
_ACROSS_PARTITIONS: Final = {"do_not_merge_across_partitions_select_final": 0}
NAMES: Final = 1_000

_LOGGED: Final = """project = {project:String} AND owner IN {owners:Array(String)}
  AND source = 'logged' AND ({name:String} = '' OR name = {name:String})"""
# In the order (time, record, position): `replace` and `restart` cut what came before them, and
# `single` counts as the first one only.
_COUNTING: Final = f"""
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
    WHERE {_LOGGED} AND name IN (
      SELECT name FROM metrics WHERE {_LOGGED} GROUP BY name ORDER BY name LIMIT {NAMES})
  )
) WHERE place >= cut AND (mode != 'single' OR place = 1)
"""  # noqa: S608 - fixed text; values are parameters
# The first point, the last one, and of each bucket between them the lowest and the highest one.
# A bucket of nothing but NaN keeps one.
_THINNED: Final = f"""
SELECT name, any(number) AS points, any(mode) AS mode,
  arrayDistinct(arraySort(arrayFilter(point -> point.1 > 0, [
    argMinIf((nth, value, step, time_ns), (value, nth), NOT isNaN(value)),
    argMaxIf((nth, value, step, time_ns), (value, nth), NOT isNaN(value)),
    if(countIf(NOT isNaN(value)) = 0, min((nth, value, step, time_ns)),
      (toInt64(0), toFloat64(0), toInt64(0), toInt64(0)))
  ]))) AS kept
FROM ({_COUNTING})
GROUP BY name, multiIf(number <= {{most:Int64}}, nth, nth = 1, 0, nth = number, {{most:Int64}},
  1 + intDiv((nth - 2) * (intDiv({{most:Int64}}, 2) - 1), number - 2)) AS bucket
ORDER BY name, bucket
"""  # noqa: S608 - fixed text; values are parameters


def count_names(reader: Reader, project: str, owners: Sequence[str], name: str = "") -> int:
    """Count the metrics that were logged for some owners."""
    sql = f"SELECT uniqExact(name) AS names FROM metrics WHERE {_LOGGED}"  # noqa: S608 - fixed text; values are parameters
    parameters = {"project": project, "owners": list(owners), "name": name}
    return int(reader.rows(sql, parameters)[0]["names"])


def read_points(
    reader: Reader, project: str, owners: Sequence[str], name: str, most: int
) -> list[Row]:
    """Read the points that count, of the first 1,000 metrics by name.

    Args:
        reader: The store.
        project: Whose metrics.
        owners: What they were logged for; points of one name are one metric.
        name: Which metric; empty for all.
        most: How many points of a metric are read. Of more than that the first and the last one
            and the lowest and highest of each stretch between them.

    Returns:
        Rows of a few points each, in order: `name`, `points` (how many count), `mode` (of the
        first point) and `kept`, tuples of place, value, step and time.
    """
    parameters = {"project": project, "owners": list(owners), "name": name, "most": most}
    return reader.rows(_THINNED, parameters, _ACROSS_PARTITIONS)
