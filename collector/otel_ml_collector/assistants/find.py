"""What assistants ask of the store and no page does: a short id, other orders, shapes of errors."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from otel_ml_collector.errors import BadInput
from otel_ml_collector.filter.sql import compile_where
from otel_ml_collector.judges.find import OF_JUDGES
from otel_ml_collector.runs.answers import RunSummary, summarise
from otel_ml_collector.runs.find import MATCHING, RunsQuery, read_cursor
from otel_ml_collector.store.apart import find_apart
from otel_ml_collector.store.counted import DELIVERIES, RECORDED
from otel_ml_collector.store.open_runs import list_open_keys, read_open_runs
from otel_ml_collector.store.reader import IDS, Reader, run_id_of, winners
from otel_ml_collector.store.runs import (
    ACROSS_PARTITIONS,
    FILTERED,
    Key,
    Listing,
    read_runs,
)
from otel_ml_collector.store.scores import BY_RUN, all_scores, newest_scores
from otel_ml_collector.store.sql import Condition, Sql

_MOST_SHORT: Final = 3
ORDERS: Final = ("newest", "oldest", "slowest", "costliest")
JUDGED: Final = ("lowest", "highest")


@dataclass(frozen=True, slots=True)
class Ordered:
    """The first runs by another order than time, and how many match."""

    runs: Sequence[RunSummary]
    total: int


def has_project(reader: Reader, project: str) -> bool:
    """Tell whether anything of a project is here."""
    sql = Sql("""
        SELECT 1 FROM {deliveries} WHERE project = {project:String} LIMIT 1
        UNION ALL SELECT 1 FROM open_runs WHERE project = {project:String} LIMIT 1
        UNION ALL SELECT 1 FROM model_versions WHERE project = {project:String} LIMIT 1
        UNION ALL SELECT 1 FROM metrics WHERE project = {project:String} LIMIT 1""").fill(
        deliveries=DELIVERIES
    )
    return bool(reader.rows(sql, {"project": project}))


def find_short(reader: Reader, project: str, span_id: str) -> list[str]:
    """Find the runs whose spans have these 16 hex digits, ended or open; at most three."""
    sql = Sql("""
        SELECT DISTINCT {ids} FROM (
          SELECT trace_id, span_id FROM {deliveries} WHERE project = {project:String}
            AND span_id = toFixedString(unhex({span:String}), 8)
          UNION ALL
          SELECT trace_id, span_id FROM open_runs WHERE project = {project:String}
            AND span_id = toFixedString(unhex({span:String}), 8))
        ORDER BY trace_id LIMIT {most:UInt32}""").fill(deliveries=DELIVERIES, ids=IDS)
    rows = reader.rows(sql, {"project": project, "span": span_id, "most": _MOST_SHORT})
    return [run_id_of(row) for row in rows]


def count_behind(reader: Reader, query: RunsQuery, now_ns: int) -> int:
    """Count the runs that a list has from where its cursor says, those without an end too.

    Raises:
        BadInput: Filter or cursor is wrong.
    """
    condition, is_filtered = _condition(reader, query)
    after = None if query.cursor is None else read_cursor(query.cursor)
    listing = Listing(query.project, condition, is_filtered, after, query.newest_first)
    window = query.window(now_ns)
    sql = Sql("SELECT count() AS number FROM {recorded} WHERE {matching} AND {seek}").fill(
        recorded=RECORDED, matching=MATCHING.fill(condition=condition.sql), seek=listing.seek
    )
    [row] = reader.rows(sql, listing.parameters(window), FILTERED if is_filtered else {})
    keys = list_open_keys(reader, listing, window)
    open_runs = read_open_runs(reader, query.project, keys, now_ns, condition) if keys else []
    return int(row["number"]) + len(open_runs)


def find_ordered(reader: Reader, query: RunsQuery, order: str, now_ns: int) -> Ordered:
    """List the ended runs that are first by latency, cost or a judge's last score.

    The cursor and the order of the query mean nothing; `order` is ``slowest``, ``costliest``,
    ``lowest:JUDGE`` or ``highest:JUDGE``.

    Raises:
        BadInput: The filter or the order is wrong.
    """
    condition, _ = _condition(reader, query)
    by, parameters = _read_order(reader, query.project, order)
    sql = Sql("""
        SELECT run.start_ns AS start, lower(hex(run.trace_id)) AS trace,
          lower(hex(run.span_id)) AS span, run.rank AS ranked, count() OVER () AS total
        FROM (
          SELECT start_ns, trace_id, span_id, rank, latency_ns, cost FROM {recorded}
          WHERE {matching}
        ) AS run {by}, run.start_ns DESC, run.trace_id, run.span_id
        LIMIT {limit:UInt32}""").fill(
        recorded=RECORDED, matching=MATCHING.fill(condition=condition.sql), by=by
    )
    values = {**query.values(condition, now_ns), **parameters, "limit": query.limit}
    rows = reader.rows(sql, values, ACROSS_PARTITIONS)
    keys = [Key(row["start"], row["trace"], row["span"], row["ranked"]) for row in rows]
    light = {run_id_of(row): row for row in winners(read_runs(reader, query.project, keys))}
    found = [light[key.run_id] for key in keys if key.run_id in light]
    runs = summarise(reader, query.project, found)
    return Ordered(runs, rows[0]["total"] if rows else 0)


def _read_order(reader: Reader, project: str, order: str) -> tuple[Sql, dict[str, Any]]:
    """Write what runs are ordered by, with the values that it needs."""
    if order == "slowest":
        return Sql("ORDER BY run.latency_ns DESC"), {}
    if order == "costliest":
        return Sql("WHERE run.cost IS NOT NULL ORDER BY run.cost DESC"), {}
    way, _, judge = order.partition(":")
    if way not in JUDGED or not judge:
        expected = ", ".join((*ORDERS, *(f"{one}:JUDGE" for one in JUDGED)))
        raise BadInput(f"order: {order[:80]!r}: expected one of {expected}", "order")
    apart = find_apart(reader, project)
    scores = all_scores(judges=OF_JUDGES, is_told=apart.told_scores, said=("score",))
    join = Sql("""
        INNER JOIN ({newest}) AS said
          ON said.trace_id = run.trace_id AND said.span_id = run.span_id
        WHERE said.score IS NOT NULL ORDER BY said.score {direction}""").fill(
        newest=newest_scores(scores, by=BY_RUN, said=("score",)),
        direction=Sql("ASC") if way == "lowest" else Sql("DESC"),
    )
    return join, {"judges": [judge]}


def _condition(reader: Reader, query: RunsQuery) -> tuple[Condition, bool]:
    return compile_where(reader, query.project, query.where, is_bounded=True)
