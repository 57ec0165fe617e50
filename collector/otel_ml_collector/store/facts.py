"""Reads facts as they were recorded: evaluations, tags, trace keys, log lines, points of metrics.

A fact names its owner: a run ID, a trace key, a tag, a model version or a version of a data set.
`fold` decides which of several facts counts for a run, not this module.

Points with the same name form one metric. They are sorted by time, span ID and position, not by
arrival.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Final, TypeVar

from otel_ml.records import Infinite, MetricPoint
from otel_ml_collector.fold.contents import MOST_EVENTS
from otel_ml_collector.fold.late import write_word
from otel_ml_collector.owners import FIRST
from otel_ml_collector.store.counted import DELIVERIES, OF_PROJECT, RECORDED
from otel_ml_collector.store.reader import READABLE, Reader, Row, group_rows
from otel_ml_collector.store.record_kinds import find_counted
from otel_ml_collector.store.runs import ACROSS_PARTITIONS, BY_KEY
from otel_ml_collector.store.sql import EMPTY, Sql
from otel_ml_collector.store.tables import IS_POINT, WORD
from otel_ml_collector.windows import Window

_Key = TypeVar("_Key")
_ANYTHING: Final = Sql("""
    SELECT 1 FROM (
      SELECT 1 FROM {deliveries} WHERE {ours} LIMIT 1
      UNION ALL SELECT 1 FROM open_runs WHERE {ours} LIMIT 1
      UNION ALL SELECT 1 FROM model_versions WHERE {ours} AND last_seen_ns > 0 LIMIT 1
      UNION ALL SELECT 1 FROM metrics WHERE {ours} LIMIT 1
      UNION ALL SELECT 1 FROM call_points WHERE {ours} LIMIT 1
      UNION ALL SELECT 1 FROM artifacts WHERE {ours} LIMIT 1
      UNION ALL SELECT 1 FROM documents FINAL WHERE {ours} AND body != '' LIMIT 1)
    LIMIT 1""").fill(deliveries=DELIVERIES, ours=OF_PROJECT)
# Values of the late-arriving tags of a project, one row for each tag.
LATE_TAG_VALUES: Final = Sql("SELECT name, value FROM late_tags WHERE project = {project:String}")
# Values of ground truth, labels or agents' reports, depending on the parameter `source`.
WORDS_OF_SOURCE: Final = Sql("""SELECT name, {word} AS word FROM metrics
  WHERE project = {project:String} AND source = {source:String} AND word != ''""").fill(word=WORD)
_TRUTHS: Final = Sql("""
    SELECT name,
      countIf(isNull(number)) = 0 AND countIf(number != floor(number)) > 0 AS is_measured
    FROM (
      SELECT name, toFloat64OrNull(actual) AS number FROM metrics
      WHERE project = {project:String} AND source = 'actual' AND {chosen})
    GROUP BY name ORDER BY name LIMIT {most}""")
_MOST_JUDGES: Final = 1_000
# Maximum number of runs whose names of ground truth are counted, the newest.
_MOST_RANKED_RUNS: Final = 50_000
_MOST_LINES: Final = 10_000
_OWNERS_AT_ONCE: Final = 1_000
_OF_ALL: Final = Sql("LIMIT {lines}").fill(lines=_MOST_LINES)
# With more lines than this, the lists of owners are read one by one.
_MOST_LINES_OF_MANY: Final = 50_000
_OF_EACH: Final = Sql("LIMIT {lines} BY owner LIMIT {most}").fill(
    lines=_MOST_LINES, most=_MOST_LINES_OF_MANY
)
SPANS_OF_TRACE: Final = 100_000
_OF_TRACE: Final = Sql("""project = {project:String} AND owner > concat({trace:String}, '-')
  AND owner < concat({trace:String}, '.')""")
# None means NaN.
MetricValue = float | Infinite | None | list[float | Infinite | None]
_MOST_NAMES: Final = 1_000
_MOST_PROJECTS: Final = 20_000

_LOGGED: Final = Sql("""project = {project:String} AND owner IN {owners:Array(String)}
  AND {point} AND ({name:String} = '' OR name = {name:String})""").fill(point=IS_POINT)
# `part` is the owner if each owner has its own metrics, else empty: then all owners share them.
_POINTS: Final = Sql("""
SELECT if({by_owner:Bool}, owner, '') AS part, toString(name) AS name,
  assumeNotNull(value) AS value, step, time_ns, toString(mode) AS mode,
  toString(source) AS source,
  row_number() OVER (PARTITION BY part, name ORDER BY time_ns, record_id, position) AS place
FROM metrics FINAL
WHERE {logged} AND (part, name) IN (
  SELECT if({by_owner:Bool}, owner, '') AS part, name FROM metrics WHERE {logged}
  GROUP BY part, name ORDER BY part, name LIMIT {names} BY part)
""").fill(logged=_LOGGED, names=_MOST_NAMES)
# In time order, `replace`, `restart` and `clear` discard all points before them. `clear` is no
# point itself and begins a series. `single` only counts as the first point.
_COUNTING: Final = Sql("""
SELECT part, name, value, step, time_ns, source,
  if(cleared > 0 AND cleared = cut, 'append', own_mode) AS mode,
  toInt64(row_number() OVER (PARTITION BY part, name ORDER BY place)) AS nth,
  toInt64(count() OVER (PARTITION BY part, name)) AS number
FROM (
  SELECT part, name, value, step, time_ns, source, place, mode AS own_mode,
    max(if(own_mode IN ('replace', 'restart', 'clear'), place, 0)) OVER metric AS cut,
    max(if(own_mode = 'clear', place, 0)) OVER metric AS cleared
  FROM ({points}) WINDOW metric AS (PARTITION BY part, name)
) WHERE place >= cut AND own_mode != 'clear' AND (own_mode != 'single' OR place = 1)
""").fill(points=_POINTS)
# Keeps the first and the last point, and the lowest and highest of each bucket between them. A
# bucket with only NaN keeps one point. Arrays of numbers, because comparing tuples takes three
# times as long for 100,000 points.
_THINNED: Final = Sql("""
SELECT part, name, points, mode, source, arrayMap(nth -> (indexOf(places, nth) AS at,
  (nth, `values`[at], steps[at], times[at])).2, arrayDistinct(arraySort(if(empty(real),
    [arrayMin(places)], [
      arrayMin(arrayFilter((nth, value) -> value = arrayMin(real), places, `values`)),
      arrayMax(arrayFilter((nth, value) -> value = arrayMax(real), places, `values`))
    ])))) AS kept
FROM (
  SELECT part, name, any(number) AS points, any(mode) AS mode, groupArray(nth) AS places,
    argMax(source, nth) AS source,
    groupArray(value) AS `values`, groupArray(step) AS steps, groupArray(time_ns) AS times,
    arrayFilter(value -> NOT isNaN(value), `values`) AS real,
    multiIf(number <= {most:Int64}, nth, nth = 1, 0, nth = number, {most:Int64},
      1 + intDiv((nth - 2) * (intDiv({most:Int64}, 2) - 1), number - 2)) AS bucket
  FROM ({points}) GROUP BY part, name, bucket
)
ORDER BY part, name, bucket
""")
# For metrics with only plain points: each point counts unchanged.
_UNCUT_POINTS: Final = Sql("""
SELECT part, name, value, step, time_ns, source, mode, toInt64(place) AS nth,
  toInt64(count() OVER (PARTITION BY part, name)) AS number
FROM ({points})
""").fill(points=_POINTS)
# Maximum number of points in an answer: by default for each metric, and for all metrics together.
MOST_POINTS: Final = 1_000
MOST_OF_ALL: Final = 100_000
_FEWEST: Final = MOST_OF_ALL // _MOST_NAMES
# The key of `metrics`.
_METRICS_KEY: Final = ("owner", "judge", "source", "version", "record_id", "position")


def has_records(reader: Reader, project: str) -> bool:
    """Return whether a project has any record, such as a run, a data set or an alert rule.

    Raises:
        Missing: The caller may not read the project.
    """
    return bool(reader.rows(_ANYTHING, {"project": project}))


def write_names(kind: Sql) -> Sql:
    """Write the SQL for the names of metrics, judges or ground truth: one row for each record.

    Args:
        kind: A condition on the records of a project, such as `IS_POINT`.
    """
    return Sql("SELECT name FROM metrics WHERE project = {project:String} AND {kind}").fill(
        kind=kind
    )


def list_judge_names(reader: Reader, project: str) -> list[str]:
    """List the judges that a project declared or that scored its runs, at most 1,000, by name."""
    sql = Sql("""
        SELECT DISTINCT name FROM (
          SELECT name FROM model_versions
          WHERE project = {project:String} AND kind = 'judge' AND last_seen_ns > 0
          UNION ALL {scored}
        ) ORDER BY name LIMIT {most}""").fill(
        scored=write_names(Sql("source = 'judge'")), most=_MOST_JUDGES
    )
    return [row["name"] for row in reader.rows(sql, {"project": project})]


def list_truths(reader: Reader, project: str, *, without: Sequence[str], most: int) -> list[Row]:
    """List the ground truth of a project by name, without some names.

    Returns:
        Rows with `name`, and `is_measured`: whether the values are measured numbers. Then all are
            numbers, and not all are integers, which could be the numbers of classes.
    """
    sql = _TRUTHS.fill(chosen=Sql("name NOT IN {without:Array(String)}"), most=most)
    return reader.rows(sql, {"project": project, "without": [*without]})


def find_truth(reader: Reader, project: str, name: str) -> Row | None:
    """Find the ground truth with a name: a row as in `list_truths`, or None if there is none."""
    sql = _TRUTHS.fill(chosen=Sql("name = {name:String}"), most=1)
    return next(iter(reader.rows(sql, {"project": project, "name": name})), None)


def rank_truths(
    reader: Reader, project: str, names: Sequence[str], *, models: Sequence[str], window: Window
) -> list[str]:
    """Rank ground truth by how many of the newest runs of some models have it, most runs first.

    Args:
        reader: The store.
        project: The project.
        names: Names of ground truth.
        models: Names of the models.
        window: The time range in which the runs started. The newest 50,000 runs in it count.

    Returns:
        The names that some of the runs have.
    """
    sql = Sql("""
        SELECT name, uniqExact(owner) AS runs FROM metrics
        WHERE project = {project:String} AND source = 'actual' AND name IN {names:Array(String)}
          AND owner IN (
            SELECT concat(lower(hex(trace_id)), '-', lower(hex(span_id))) FROM (
              SELECT trace_id, span_id FROM {recorded}
              WHERE project = {project:String} AND model IN {models:Array(String)}
                AND start_ns >= {start:Int64} AND start_ns < {end:Int64}
              ORDER BY start_ns DESC LIMIT {most}))
        GROUP BY name ORDER BY runs DESC, name""").fill(recorded=RECORDED, most=_MOST_RANKED_RUNS)
    asked = {
        "project": project,
        "names": [*names],
        "models": [*models],
        "start": window.start_ns,
        "end": window.end_ns,
    }
    return [row["name"] for row in reader.rows(sql, asked)]


def read_evaluations(reader: Reader, project: str, owners: Sequence[str]) -> list[Row]:
    """Read all scores, labels and ground truth of runs, oldest first.

    Args:
        reader: The store.
        project: The project.
        owners: The names to which these records were sent: run IDs, trace keys, tags or versions.

    Returns:
        Rows of the table `metrics`, each with a column `word`. For ground truth and labels, `word`
            is the value as text. For scores, it is empty.
    """
    # Without FINAL, ORDER BY and a join of parts: planning takes 80 % of the time of a small query.
    sql = Sql("""
        SELECT owner, name AS judge, judge_version AS version, value AS score, passed, label,
          explanation, error, source, time_ns, record_id, position, actual, annotator, arrived_ns
        FROM metrics
        PREWHERE project = {project:String} AND owner IN {owners:Array(String)}
          AND NOT ({point})""").fill(point=IS_POINT)
    rows = reader.rows(sql, {"project": project, "owners": list(owners)}, BY_KEY)
    return [row | {"word": _word_of(row)} for row in _last_sent(rows)]


def _word_of(row: Row) -> str:
    """Write the value of a ground truth or label; empty for a score."""
    if row["source"] not in {"human", "actual", "agent"}:
        return ""
    return write_word(row["actual"], row["label"], row["score"], row["passed"])


def _last_sent(rows: Iterable[Row]) -> list[Row]:
    """Keep the last of several rows for the same record, as the engine does when it merges.

    `otel_ml_collector.store.scores.LAST` defines which score of a judge is the last.
    """
    kept: dict[tuple[object, ...], Row] = {}
    for row in sorted(rows, key=itemgetter("time_ns", "arrived_ns")):
        kept[tuple(row[name] for name in _METRICS_KEY)] = row
    order = itemgetter("time_ns", "judge", "version", "record_id", "position", "source")
    return sorted(kept.values(), key=order)


def read_late_tags(reader: Reader, project: str, owners: Sequence[str]) -> list[Row]:
    """Read late-arriving tags of runs, oldest first."""
    sql = Sql("""
        SELECT owner, name, value, type, `group`, time_ns, record_id FROM late_tags
        PREWHERE project = {project:String} AND owner IN {owners:Array(String)}""")
    rows = reader.rows(sql, {"project": project, "owners": list(owners)}, BY_KEY)
    return sorted(rows, key=itemgetter("time_ns", "record_id"))


def find_holders(reader: Reader, project: str, owners: Sequence[str]) -> tuple[set[str], set[str]]:
    """Return the owners, such as run IDs, that have metrics, and those that have artifacts."""
    condition = Sql("project = {project:String} AND owner IN {owners:Array(String)}")
    sql = Sql("""
        SELECT DISTINCT owner, 1 AS is_metric FROM metrics WHERE {ours} AND {point}
        UNION ALL
        SELECT DISTINCT owner, 0 FROM objects WHERE {ours}
        """).fill(ours=condition, point=IS_POINT)
    rows = reader.rows(sql, {"project": project, "owners": list(owners)}) if owners else []
    return (
        {row["owner"] for row in rows if row["is_metric"]},
        {row["owner"] for row in rows if not row["is_metric"]},
    )


def read_trace_keys(reader: Reader, project: str, trace_ids: Sequence[str]) -> list[Row]:
    """Read the trace keys of traces, in alphabetical order."""
    sql = Sql("""
        SELECT lower(hex(trace_id)) AS trace_id, key FROM trace_keys
        PREWHERE project = {project:String}
          AND trace_id IN (SELECT toFixedString(unhex(arrayJoin({traces:Array(String)})), 16))""")
    rows = reader.rows(sql, {"project": project, "traces": list(trace_ids)}, BY_KEY)
    keys = {(row["key"], row["trace_id"]) for row in rows}
    return [{"trace_id": trace_id, "key": key} for key, trace_id in sorted(keys)]


def write_first_keys(traces: Sql) -> Sql:
    """Write the SQL for the first trace key, by alphabet, of each trace that has one.

    Args:
        traces: A SELECT of the IDs of the traces.

    Returns:
        SQL that selects `trace_id` and `trace_key`.
    """
    return Sql("""
        SELECT trace_id, min(key) AS trace_key FROM trace_keys
        WHERE project = {project:String} AND trace_id IN ({traces}) GROUP BY trace_id""").fill(
        traces=traces
    )


def read_lines(reader: Reader, project: str, owners: Sequence[str]) -> list[Row]:
    """Read the lines of text of some owners, oldest first, at most 10,000."""
    rows: list[Row] = []
    for place in range(0, len(owners), _OWNERS_AT_ONCE):
        rows += _read_lines(reader, project, owners[place : place + _OWNERS_AT_ONCE], _OF_ALL)
    return _first_lines(rows)


def _read_lines(reader: Reader, project: str, owners: Sequence[str], most: Sql) -> list[Row]:
    sql = Sql("""
        SELECT owner, time_ns, severity, message, event, attributes, record_id, position
        FROM late_logs FINAL
        WHERE project = {project:String} AND owner IN {owners:Array(String)}
        ORDER BY time_ns, record_id, position {most}
        """).fill(most=most)
    return reader.rows(sql, {"project": project, "owners": list(owners)}, ACROSS_PARTITIONS)


def _first_lines(rows: Iterable[Row]) -> list[Row]:
    return sorted(rows, key=itemgetter("time_ns", "record_id", "position"))[:_MOST_LINES]


def read_all_lines(
    reader: Reader, project: str, owners: Mapping[str, Sequence[str]]
) -> dict[str, list[Row]]:
    """Read log lines as `read_lines` does, for several lists of owners, by the key of the list."""
    asked = sorted({owner for of_key in owners.values() for owner in of_key})
    if len(owners) > 1 and len(asked) <= _OWNERS_AT_ONCE:
        lines = _read_lines(reader, project, asked, _OF_EACH)
        if len(lines) < _MOST_LINES_OF_MANY:
            by_owner = group_rows(lines, "owner")
            return {
                key: _first_lines(line for owner in of_key for line in by_owner.get(owner, ()))
                for key, of_key in owners.items()
            }
    return {key: read_lines(reader, project, of_key) for key, of_key in owners.items()}


def read_events_of(
    reader: Reader, project: str, owners: Sequence[str], events: Sequence[str]
) -> dict[str, list[Row]]:
    """Read the events with these names: the oldest `MOST_EVENTS` of each owner."""
    sql = Sql("""
        SELECT owner, time_ns, message, event, attributes FROM late_logs FINAL
        WHERE project = {project:String} AND owner IN {owners:Array(String)}
          AND event IN {events:Array(String)}
        ORDER BY time_ns, record_id, position LIMIT {most} BY owner
        """).fill(most=MOST_EVENTS)
    parameters = {"project": project, "owners": list(owners), "events": list(events)}
    rows = reader.rows(sql, parameters, ACROSS_PARTITIONS) if owners else []
    return group_rows(rows, "owner")


def list_spans_with_lines(reader: Reader, project: str, trace_id: str) -> list[str]:
    """List the spans of a trace whose log lines were sent separately: at most 100,000 run IDs."""
    sql = Sql("""
        SELECT DISTINCT owner FROM late_logs WHERE {of_trace} ORDER BY owner LIMIT {spans}
        """).fill(of_trace=_OF_TRACE, spans=SPANS_OF_TRACE)
    rows = reader.rows(sql, {"project": project, "trace": trace_id})
    return [row["owner"] for row in rows]


def read_points(
    reader: Reader,
    project: str,
    owners: Sequence[str],
    name: str,
    most: int,
    *,
    is_plain: bool = False,
    by_owner: bool = False,
) -> list[Row]:
    """Read the points of metrics, for at most the first 1,000 names.

    Points before a later `replace`, `restart` or `clear` do not count, and are not read.

    Args:
        reader: The store.
        project: The project.
        owners: What the metrics were logged for: run IDs, trace keys and others, as text.
        name: Name of the metric; empty for all.
        most: Maximum number of points of a metric. If it has more, the first and last point are
            read, and the lowest and highest of each interval between them.
        is_plain: True if the caller knows that every point counts. Then the query is faster.
        by_owner: Whether metrics of different owners with the same name are different metrics. If
            not, their points are joined.

    Returns:
        Rows in order. A metric has one or more rows, each with some of its points: `part` (the
            owner, or empty), `name`, `points` (number of points that count), `mode` (of the first
            point), `source` (of the last point in the row) and `kept`, tuples of number (from 1),
            value, step and time.
    """
    parameters = {
        "project": project,
        "owners": list(owners),
        "name": name,
        "most": most,
        "by_owner": by_owner,
    }
    sql = _THINNED.fill(points=_UNCUT_POINTS if is_plain else _COUNTING)
    return reader.rows(sql, parameters, ACROSS_PARTITIONS)


@dataclass(frozen=True, slots=True)
class LoggedMetric:
    """One metric of a run.

    Attributes:
        count: Number of recorded points.
        is_single: Whether the metric is a single number and not a series.
        points: The recorded points. If there are too many, only the first and the last point, and
            the lowest and the highest point of each interval between them.
        source: ``data`` if the SDK's function `data_metrics` computed the last point; ``logged`` if
            the program logged it.
    """

    name: str
    count: int
    is_single: bool
    points: Sequence[MetricPoint]
    source: str = "logged"

    @property
    def value(self) -> MetricValue:
        """The metric as a number, or as the list of the numbers of its points."""
        values = [point.value for point in self.points]
        return values[0] if self.is_single else values


def find_series(
    reader: Reader, project: str, owners: Sequence[str], *, name: str = "", most: int = MOST_POINTS
) -> list[LoggedMetric]:
    """Find the metrics that were logged for some runs, trace keys or model versions.

    A metric is a series if it has two or more points, or if it was logged with mode ``append``,
    ``restart`` or ``clear``. Any other metric with one point is a single number. A metric without
    points is left out.

    Returns:
        At most 1,000 metrics, sorted by name. If a metric has more points than `most`, or all
            metrics together have more than 100,000, some points are left out. A curve through the
            returned points still looks the same.
    """
    return find_all_series(reader, project, {"": owners}, name=name, most=most)[""]


def find_all_series(
    reader: Reader,
    project: str,
    owners: Mapping[_Key, Sequence[str]],
    *,
    name: str = "",
    most: int = MOST_POINTS,
) -> dict[_Key, list[LoggedMetric]]:
    """Find metrics as `find_series` does, for several lists of owners, by the key of the list."""
    sql = Sql("""
        SELECT owner, groupUniqArray({names})(name) AS names,
          countIf(mode IN ('single', 'replace', 'restart', 'clear')) = 0 AS is_plain
        FROM metrics WHERE {logged} GROUP BY owner""").fill(logged=_LOGGED, names=_MOST_NAMES)
    asked = sorted({owner for of_one in owners.values() for owner in of_one})
    facts = {
        row["owner"]: row
        for row in reader.rows(sql, {"project": project, "owners": asked, "name": name})
    }
    logged_metrics: dict[_Key, list[LoggedMetric]] = {}
    alone: dict[_Key, str] = {}
    for key, of_one in owners.items():
        telling = [owner for owner in of_one if owner in facts]
        names = {name for owner in telling for name in facts[owner]["names"]}
        each = min(most, max(MOST_OF_ALL // max(len(names), 1), _FEWEST))
        if len(owners) > 1 and len(telling) == 1 and each == most:
            alone[key] = telling[0]
            continue
        is_plain = all(facts[owner]["is_plain"] for owner in telling)
        rows = (
            read_points(reader, project, telling, name, each, is_plain=is_plain) if telling else []
        )
        logged_metrics[key] = _make_series(rows)
    if alone:
        parts = sorted(set(alone.values()))
        is_plain = all(facts[owner]["is_plain"] for owner in parts)
        rows = read_points(reader, project, parts, name, most, is_plain=is_plain, by_owner=True)
        by_owner = group_rows(rows, "part")
        logged_metrics |= {key: _make_series(by_owner[owner]) for key, owner in alone.items()}
    return logged_metrics


def _make_series(rows: Sequence[Row]) -> list[LoggedMetric]:
    return [_series(key, list(parts)) for key, parts in groupby(rows, itemgetter("name"))]


def _series(name: str, rows: Sequence[Row]) -> LoggedMetric:
    first = rows[0]
    points = [_point(*kept) for row in rows for kept in row["kept"]]
    is_single = first["points"] == 1 and first["mode"] not in {"append", "restart"}
    return LoggedMetric(name, first["points"], is_single, points, rows[-1]["source"])


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


def read_last_values(reader: Reader, project: str, owners: Sequence[str]) -> list[Row]:
    """Read the last finite value of each metric of some owners; at most 1,000 metrics of each.

    Returns:
        Rows with `owner`, `name` and `value`, in this order.
    """
    sql = Sql("""
        SELECT owner, toString(name) AS name,
          argMax(assumeNotNull(value), (time_ns, record_id, position)) AS value
        FROM metrics FINAL
        WHERE project = {project:String} AND owner IN {owners:Array(String)} AND {point}
          AND isFinite(value)
        GROUP BY owner, name ORDER BY owner, name LIMIT {names} BY owner
        """).fill(point=IS_POINT, names=_MOST_NAMES)
    return reader.rows(sql, {"project": project, "owners": list(owners)})


def list_metric_owners(reader: Reader, project: str, limit: int) -> list[Row]:
    """List the runs with metrics and the names of the metrics, latest run first."""
    items_left = EMPTY
    if find_counted(reader, project).items:
        items_left = Sql("""AND toFixedString(unhex(substring(owner, 1, 32)), 16) NOT IN (
          SELECT trace_id FROM {deliveries} WHERE {ours} AND experiment != ''
          UNION ALL SELECT trace_id FROM open_runs WHERE {ours} AND experiment != '')""").fill(
            deliveries=DELIVERIES, ours=OF_PROJECT
        )
    sql = Sql("""
        SELECT owner, max(owner_start_ns) AS start_ns,
          arraySort(groupUniqArray(100)(name)) AS names, count() AS points,
          max(time_ns) AS last_time_ns
        FROM metrics FINAL
        WHERE project = {project:String} AND {point} AND owner < '{first}' {no_items}
        GROUP BY owner ORDER BY last_time_ns DESC, start_ns DESC, owner LIMIT {limit:UInt32}
        """).fill(first=Sql(FIRST), no_items=items_left, point=IS_POINT)
    return reader.rows(sql, {"project": project, "limit": limit}, ACROSS_PARTITIONS)


def list_metric_projects(reader: Reader) -> list[Row]:
    """List projects and how many of their runs have metrics, the most recent project first."""
    sql = Sql("""
        SELECT project, uniqExact(owner) AS runs FROM metrics
        WHERE {readable} AND {point} AND owner < '{first}'
        GROUP BY project ORDER BY max(time_ns) DESC, project LIMIT {most_projects}
        """).fill(readable=READABLE, first=Sql(FIRST), most_projects=_MOST_PROJECTS, point=IS_POINT)
    return reader.rows(sql, {})
