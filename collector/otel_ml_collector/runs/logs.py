"""Logs of runs: lines of text, and points of metrics.

The lines of plain spans belong to the run around them. Lines of a span without a run around it
belong to no run. Points of the same name are one metric. They are ordered by time, span ID and
position, whatever the order of their arrival.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import Final, TypeVar

from otel_ml import records
from otel_ml.records import Infinite, MetricPoint, about, about_field
from otel_ml_collector.fold.contents import complete_words
from otel_ml_collector.mapping.dialects.gen_ai_events import (
    CONTENT_EVENTS,
    EXCEPTION,
    CallEvent,
    event_of,
)
from otel_ml_collector.store.counted import DELIVERIES
from otel_ml_collector.store.facts import (
    SPANS_OF_TRACE,
    list_spans_with_lines,
    read_all_lines,
    read_events_of,
    read_lines,
)
from otel_ml_collector.store.reader import (
    ID16,
    JsonValue,
    Reader,
    Row,
    group_rows,
    load_json,
    run_id_of,
)
from otel_ml_collector.store.record_kinds import find_record_kinds
from otel_ml_collector.store.runs import ACROSS_PARTITIONS
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.store.tables import IS_POINT

_Key = TypeVar("_Key")
_CONTENT_EVENTS: Final = (*sorted(CONTENT_EVENTS), EXCEPTION)
_BELOW: Final = 10_000


# None means NaN.
MetricValue = float | Infinite | None | list[float | Infinite | None]
_MOST_NAMES: Final = 1_000

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


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLine(records.LineRecord):
    """A line of text of a run."""

    offset_ms: float = field(metadata=about("Time since the run's start"))
    event: str = about_field("", "What kind of event it is, such as gen_ai.choice")
    attributes: dict[str, JsonValue] = field(
        default_factory=dict, metadata=about("What else a log record says")
    )


@dataclass(frozen=True, slots=True)
class SpanNode:
    """The place of a span in its trace: its parent's run ID, and whether it is no plain span."""

    parent: str
    is_call: bool


def find_call_events(
    reader: Reader, project: str, run_ids: Sequence[str]
) -> dict[str, list[CallEvent]]:
    """Read the contents of calls that arrived as log records, by run ID."""
    events_of = read_events_of(reader, project, run_ids, _CONTENT_EVENTS)
    return {
        run_id: [
            event_of(item["event"], item["time_ns"], item["message"], item["attributes"])
            for item in of_run
        ]
        for run_id, of_run in events_of.items()
    }


def add_contents(reader: Reader, project: str, rows: Sequence[Row]) -> None:
    """Add previews, errors, sessions and users that arrived as log records to the rows of runs."""
    lacking = {run_id_of(row): row for row in rows if row["kind"] != "span" and _lacks_content(row)}
    if not lacking or not find_record_kinds(reader, project).contents:
        return
    for run_id, events in find_call_events(reader, project, list(lacking)).items():
        lacking[run_id].update(complete_words(lacking[run_id], events))


def _lacks_content(row: Row) -> bool:
    """Return whether a row lacks a preview, or the message of its error."""
    is_whole = row["inputs_preview"] and row["outputs_preview"]
    return not is_whole or (row["outcome"] == "error" and not row["error_message"])


def read_nodes(reader: Reader, project: str, trace_id: str) -> dict[str, SpanNode]:
    """Read the places of the spans in a trace, by run ID; at most 100,000."""
    times = Sql("FROM trace_index WHERE key = {trace:String} AND project = {project:String}")
    condition = Sql("project = {project:String} AND trace_id = {id16}").fill(id16=ID16)
    sql = Sql("""
        SELECT groupArray((span, above.1, above.2)) AS nodes FROM (
          SELECT lower(hex(span_id)) AS span,
            argMax((lower(hex(parent_span_id)), kind != 'span'), (is_ended, rank)) AS above
          FROM (
            SELECT span_id, parent_span_id, kind, 1 AS is_ended, rank FROM {deliveries}
            WHERE {ours} AND start_ns >= (SELECT minOrNull(start_ns) {times})
              AND start_ns <= (SELECT maxOrNull(end_ns) {times})
            UNION ALL
            SELECT span_id, parent_span_id, kind, 0, rank FROM open_runs WHERE {ours})
          GROUP BY span_id LIMIT {spans})
        """).fill(deliveries=DELIVERIES, ours=condition, times=times, spans=SPANS_OF_TRACE)
    (row,) = reader.rows(sql, {"project": project, "trace": trace_id})
    return {
        f"{trace_id}-{span}": SpanNode(f"{trace_id}-{parent}", bool(is_call))
        for span, parent, is_call in row["nodes"]
    }


def find_calls_above(nodes: Mapping[str, SpanNode], spans: Iterable[str]) -> dict[str, str]:
    """Find the run to which each span belongs: the span itself, or the nearest run above it.

    Ordinary spans, such as those of an HTTP request, are not runs. A span that is not inside a run
    is left out, for example because a parent is missing, or because the parents form a cycle.
    """
    known: dict[str, str] = {}
    for span in spans:
        path: list[str] = []
        here, text = span, ""
        while here in nodes and here not in known:
            if nodes[here].is_call:
                text = here
                break
            known[here] = ""  # until it is found; also ends a cycle of parents
            path.append(here)
            here = nodes[here].parent
        text = text or known.get(here, "")
        known.update(dict.fromkeys(path, text))
        known[span] = text
    return {span: known[span] for span in spans if known[span]}


def make_lines(rows: Iterable[Row], start_ns: int) -> list[RunLine]:
    """Make lines of text, oldest first, with their time since a start."""
    return [
        RunLine(
            time_ns=row["time_ns"],
            offset_ms=(row["time_ns"] - start_ns) / 1e6,
            severity=row["severity"],
            message=row["message"],
            event=row.get("event", ""),
            attributes=load_json(row.get("attributes", ""), {}),
        )
        for row in sorted(rows, key=itemgetter("time_ns"))
    ]


def find_lines(
    reader: Reader, project: str, rows: Sequence[Row], owners: Mapping[str, Sequence[str]]
) -> dict[str, list[Row]]:
    """Find the log lines of some runs, as far as they were sent separately from the spans.

    A run also gets the lines of ordinary spans inside it, such as the span of an HTTP request. If
    such a span is inside several runs, only the innermost run gets the lines of the span.

    Args:
        reader: The store.
        project: The project.
        rows: The rows of the runs. The columns with inputs and outputs are not needed.
        owners: By run ID, the names under which log lines about the run are stored. These are the
            run ID itself, and trace keys and tags of the run.

    Returns:
        Rows of log lines by run ID, oldest first, at most 10,000 for each run.
    """
    named = {run_id: [*of_run] for run_id, of_run in owners.items()}
    calls = {run_id_of(row) for row in rows if row["kind"] != "span"}
    for trace_id in sorted({run_id.partition("-")[0] for run_id in calls}):
        spans = [
            span
            for span in list_spans_with_lines(reader, project, trace_id)
            if span not in calls  # the lines of a call belong to the call itself
        ]
        above = find_calls_above(read_nodes(reader, project, trace_id), spans) if spans else {}
        below: defaultdict[str, list[str]] = defaultdict(list)
        for span, call in above.items():
            below[call].append(span)
        for call in calls & below.keys():
            named[call] += [span for span in below[call] if span != call][:_BELOW]
    return read_all_lines(reader, project, named)


def find_loose_lines(
    reader: Reader, project: str, trace_id: str, limit: int
) -> dict[str, list[Row]]:
    """Find the log lines of a trace that belong to no run.

    A run is, for example, a call of a model. These lines come from ordinary spans, such as those of
    a web server, that are not inside any run. Only spans that are stored are considered.

    Returns:
        Rows of log lines, for at most `limit` spans. The key is the trace ID and span ID:
            ``<32 hex>-<16 hex>``.
    """
    spans = list_spans_with_lines(reader, project, trace_id)
    if not spans:
        return {}
    nodes = read_nodes(reader, project, trace_id)
    here = [span for span in spans if span in nodes]
    calls = find_calls_above(nodes, here)
    loose = [span for span in here if span not in calls][:limit]
    return dict(group_rows(read_lines(reader, project, loose), "owner"))


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
        is_plain: Whether the caller knows that every point counts, which makes the query faster.
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


def values_of(logged_metrics: Iterable[LoggedMetric]) -> dict[str, MetricValue]:
    """Return metrics as numbers and lists of numbers, by name."""
    return {series.name: series.value for series in logged_metrics}


def counts_of(logged_metrics: Iterable[LoggedMetric]) -> dict[str, int]:
    """Return how many points metrics have, by name."""
    return {series.name: series.count for series in logged_metrics}


def sources_of(logged_metrics: Iterable[LoggedMetric]) -> dict[str, str]:
    """Return where metrics come from, by name: ``logged`` or ``data``."""
    return {series.name: series.source for series in logged_metrics}


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
