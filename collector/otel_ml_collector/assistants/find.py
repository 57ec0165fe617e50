"""What assistants ask of the store and no page does: a short id, other orders, shapes of errors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from otel_ml_collector.errors import BadQuery
from otel_ml_collector.filter.sql import compile_where
from otel_ml_collector.judges.find import SAID, SAID_APART
from otel_ml_collector.runs.answers import RunSummary, summarise
from otel_ml_collector.runs.find import RunsQuery, read_cursor
from otel_ml_collector.store.apart import find_apart
from otel_ml_collector.store.open_runs import list_open_keys, read_open_runs
from otel_ml_collector.store.reader import IDS, Reader, Row, run_id_of, winners
from otel_ml_collector.store.runs import (
    ACROSS_PARTITIONS,
    FILTERED,
    Key,
    Listing,
    Window,
    read_runs,
)
from otel_ml_collector.store.sql import EMPTY, Condition, Sql
from otel_ml_collector.store.statistics import all_version_numbers
from otel_ml_collector.times import AHEAD_NS, DAY_NS

_NEW_NS: Final = 7 * DAY_NS
_MOST_SHORT: Final = 3
_VERSIONS: Final = 5
_SHAPE_CHARS: Final = 300
ORDERS: Final = ("newest", "oldest", "slowest", "costliest")
JUDGED: Final = ("lowest", "highest")

# What is made equal of a message, and what stands in its place: quoted parts, ids, numbers.
_EQUAL: Final = (
    (r"\"[^\"]*\"|'[^']*'|`[^`]*`", "'…'"),
    (r"\b(0x)?[0-9a-fA-F]{8,}(-[0-9a-fA-F]{4,})*\b", "#"),
    (r"[0-9]+([.,:][0-9]+)*", "#"),
)
_SHAPE: Final = Sql("""substringUTF8(replaceRegexpAll(replaceRegexpAll(replaceRegexpAll(
  substringUTF8(error_message, 1, {message_chars:UInt32}), {quoted:String}, {quoted_as:String}),
  {ids:String}, {ids_as:String}), {numbers:String}, {numbers_as:String}),
  1, {shape_chars:UInt32})""")
_SHAPED: Final[Mapping[str, Any]] = {
    "message_chars": 4 * _SHAPE_CHARS,
    "shape_chars": _SHAPE_CHARS,
    **{
        name: text
        for (pattern, mark), named in zip(_EQUAL, ("quoted", "ids", "numbers"), strict=True)
        for name, text in ((named, pattern), (f"{named}_as", mark))
    },
}
_MATCHING: Final = Sql("""project = {project:String} AND start_ns >= {start:Int64}
  AND start_ns < {end:Int64} AND ({condition})""")


@dataclass(frozen=True, slots=True)
class Ordered:
    """The first runs by another order than time, and how many match."""

    runs: Sequence[RunSummary]
    total: int


@dataclass(frozen=True, slots=True)
class ErrorGroup:
    """Failed runs whose messages have one shape.

    Attributes:
        versions: Labels of at most five versions, such as ``answer:v4``.
        is_new: Whether there was none in the seven days before the window.
        run_id: The last of them.
    """

    error_type: str
    shape: str
    runs: int
    first_ns: int
    last_ns: int
    versions: Sequence[str]
    is_new: bool
    run_id: str


@dataclass(frozen=True, slots=True)
class ErrorGroups:
    """The largest groups, how many there are, and how many runs failed in all."""

    groups: Sequence[ErrorGroup]
    found: int
    errors: int


def has_project(reader: Reader, project: str) -> bool:
    """Tell whether anything of a project is here."""
    sql = Sql("""
        SELECT 1 FROM runs WHERE project = {project:String} LIMIT 1
        UNION ALL SELECT 1 FROM open_runs WHERE project = {project:String} LIMIT 1
        UNION ALL SELECT 1 FROM model_versions WHERE project = {project:String} LIMIT 1
        UNION ALL SELECT 1 FROM metrics WHERE project = {project:String} LIMIT 1""")
    return bool(reader.rows(sql, {"project": project}))


def find_short(reader: Reader, project: str, span_id: str) -> list[str]:
    """Find the runs whose spans have these 16 hex digits, ended or open; at most three."""
    sql = Sql("""
        SELECT DISTINCT {ids} FROM (
          SELECT trace_id, span_id FROM runs WHERE project = {project:String}
            AND span_id = toFixedString(unhex({span:String}), 8)
          UNION ALL
          SELECT trace_id, span_id FROM open_runs WHERE project = {project:String}
            AND span_id = toFixedString(unhex({span:String}), 8))
        ORDER BY trace_id LIMIT {most:UInt32}""").fill(ids=IDS)
    rows = reader.rows(sql, {"project": project, "span": span_id, "most": _MOST_SHORT})
    return [run_id_of(row) for row in rows]


def count_behind(reader: Reader, query: RunsQuery, now_ns: int) -> int:
    """Count the runs that a list has from where its cursor says, those without an end too.

    Raises:
        BadQuery: Filter or cursor is wrong.
    """
    condition, is_filtered = _condition(reader, query)
    after = None if query.cursor is None else read_cursor(query.cursor)
    listing = Listing(query.project, condition, is_filtered, after, query.newest_first)
    window = _window(query, now_ns)
    sql = Sql("SELECT count() AS number FROM runs FINAL WHERE {matching} AND {seek}").fill(
        matching=_MATCHING.fill(condition=condition.sql), seek=listing.seek
    )
    [row] = reader.rows(sql, listing.parameters(window), FILTERED if is_filtered else {})
    keys = list_open_keys(reader, listing, window)
    open_runs = read_open_runs(reader, query.project, keys, now_ns, condition) if keys else []
    return int(row["number"]) + len(open_runs)


def find_ordered(reader: Reader, query: RunsQuery, order: str, now_ns: int) -> Ordered:
    """List the ended runs that are first by latency, cost or a judge's last score.

    Args:
        reader: The store.
        query: Which runs; its cursor and order mean nothing.
        order: ``slowest``, ``costliest``, ``lowest:JUDGE`` or ``highest:JUDGE``.
        now_ns: The time.

    Raises:
        BadQuery: The filter or the order is wrong.
    """
    condition, _ = _condition(reader, query)
    by, parameters = _read_order(reader, query.project, order)
    sql = Sql("""
        SELECT run.start_ns AS start, lower(hex(run.trace_id)) AS trace,
          lower(hex(run.span_id)) AS span, run.rank AS ranked, count() OVER () AS total
        FROM (
          SELECT start_ns, trace_id, span_id, rank, latency_ns, cost FROM runs FINAL
          WHERE {matching}
        ) AS run {by}, run.start_ns DESC, run.trace_id, run.span_id
        LIMIT {limit:UInt32}""").fill(matching=_MATCHING.fill(condition=condition.sql), by=by)
    values = {**_values(query, condition, now_ns), **parameters, "limit": query.limit}
    rows = reader.rows(sql, values, ACROSS_PARTITIONS)
    keys = [Key(row["start"], row["trace"], row["span"], row["ranked"]) for row in rows]
    light = {run_id_of(row): row for row in winners(read_runs(reader, query.project, keys))}
    found = [light[key.run_id] for key in keys if key.run_id in light]
    runs = summarise(reader, query.project, found)
    return Ordered(runs, rows[0]["total"] if rows else 0)


def find_error_groups(reader: Reader, query: RunsQuery, now_ns: int, limit: int) -> ErrorGroups:
    """Group the runs that failed by type and shape of the message, the largest group first.

    Raises:
        BadQuery: The filter is wrong.
    """
    condition, _ = _condition(reader, query)
    ours = Sql("runs FINAL WHERE outcome = 'error' AND {matching}").fill(
        matching=_MATCHING.fill(condition=condition.sql)
    )
    sql = Sql("""
        SELECT toString(error_type) AS type, shape, count() AS number, min(start_ns) AS first_ns,
          max(start_ns) AS last_ns, groupUniqArray({most_versions})(
            (toString(model), toString(digest), toString(structure))) AS of_versions,
          argMax((lower(hex(trace_id)), lower(hex(span_id))), start_ns) AS last,
          count() OVER () AS found, sum(count()) OVER () AS errors
        FROM (SELECT *, {shape} AS shape FROM {ours})
        GROUP BY type, shape ORDER BY number DESC, last_ns DESC, type, shape
        LIMIT {limit:UInt32}""").fill(shape=_SHAPE, ours=ours, most_versions=_VERSIONS)
    values = {**_values(query, condition, now_ns), **_SHAPED, "limit": limit}
    rows = reader.rows(sql, values)
    known = _find_known(reader, ours, values, rows) if rows else set()
    numbers = all_version_numbers(reader, query.project, "model") if rows else {}
    return ErrorGroups(
        [
            ErrorGroup(
                error_type=row["type"],
                shape=row["shape"],
                runs=row["number"],
                first_ns=row["first_ns"],
                last_ns=row["last_ns"],
                versions=sorted({_label(one, numbers) for one in row["of_versions"]}),
                is_new=(row["type"], row["shape"]) not in known,
                run_id="-".join(row["last"]),
            )
            for row in rows
        ],
        rows[0]["found"] if rows else 0,
        rows[0]["errors"] if rows else 0,
    )


def _find_known(
    reader: Reader, ours: Sql, values: Mapping[str, Any], rows: Sequence[Row]
) -> set[tuple[str, str]]:
    """Find which of some groups had runs in the seven days before the window."""
    sql = Sql("""
        SELECT DISTINCT toString(error_type) AS type, shape
        FROM (SELECT *, {shape} AS shape FROM {ours})
        WHERE type IN {types:Array(String)} AND shape IN {shapes:Array(String)}""").fill(
        shape=_SHAPE, ours=ours
    )
    before = {
        **values,
        "start": max(values["start"] - _NEW_NS, 0),
        "end": values["start"],
        "types": sorted({row["type"] for row in rows}),
        "shapes": sorted({row["shape"] for row in rows}),
    }
    return {(row["type"], row["shape"]) for row in reader.rows(sql, before)}


def _label(version: Sequence[str], numbers: Mapping[tuple[str, str, str], int]) -> str:
    model, digest, structure = version
    number = numbers.get((model, digest, structure))
    return model if number is None else f"{model}:v{number}"


def _read_order(reader: Reader, project: str, order: str) -> tuple[Sql, dict[str, Any]]:
    """Write what runs are ordered by, with the values that it needs."""
    if order == "slowest":
        return Sql("ORDER BY run.latency_ns DESC"), {}
    if order == "costliest":
        return Sql("WHERE run.cost IS NOT NULL ORDER BY run.cost DESC"), {}
    way, _, judge = order.partition(":")
    if way not in JUDGED or not judge:
        expected = ", ".join((*ORDERS, *(f"{one}:JUDGE" for one in JUDGED)))
        raise BadQuery(f"order: {order[:80]!r}: expected one of {expected}", "order")
    apart = find_apart(reader, project)
    join = Sql("""
        INNER JOIN (
          SELECT trace_id, span_id,
            argMax(tuple(score), (time_ns, judge_version, record_id)).1 AS score
          FROM ({said}) GROUP BY trace_id, span_id
        ) AS told ON told.trace_id = run.trace_id AND told.span_id = run.span_id
        WHERE told.score IS NOT NULL ORDER BY told.score {direction}""").fill(
        said=SAID + (SAID_APART if apart.told_scores else EMPTY),
        direction=Sql("ASC") if way == "lowest" else Sql("DESC"),
    )
    return join, {"judges": [judge]}


def _condition(reader: Reader, query: RunsQuery) -> tuple[Condition, bool]:
    return compile_where(reader, query.project, query.where, is_bounded=True)


def _window(query: RunsQuery, now_ns: int) -> Window:
    return Window(query.start_ns, now_ns + AHEAD_NS if query.end_ns is None else query.end_ns)


def _values(query: RunsQuery, condition: Condition, now_ns: int) -> dict[str, Any]:
    window = _window(query, now_ns)
    return {
        "project": query.project,
        "start": window.start_ns,
        "end": window.end_ns,
        **condition.parameters,
    }
