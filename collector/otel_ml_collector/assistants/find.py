"""Queries that only the assistants' tools need: runs by short ID, number of runs in a list."""

from typing import Final

from otel_ml_collector.runs.find import MATCHING, RunsQuery, make_listing
from otel_ml_collector.store.counted import DELIVERIES, RECORDED
from otel_ml_collector.store.open_runs import list_open_keys, read_open_runs
from otel_ml_collector.store.reader import IDS, Reader, run_id_of
from otel_ml_collector.store.runs import ACROSS_PARTITIONS, FILTERED
from otel_ml_collector.store.sql import Sql

_MOST_SHORT: Final = 3


def find_short(reader: Reader, project: str, span_id: str) -> list[str]:
    """Return the ids of runs with this span id (16 hex digits), at most three.

    Several ids mean that the short id is ambiguous. Finds finished and open runs.
    """
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
    """Count the runs of a list after its cursor, including runs that have not ended.

    Raises:
        BadInput: The filter, order or cursor is invalid.
    """
    listing = make_listing(reader, query)
    window = query.window(now_ns)
    sql = Sql("""
        SELECT count() AS number FROM (
          SELECT * FROM {recorded} WHERE {matching}) AS runs {join}
        WHERE {is_valued} AND {seek}""").fill(
        recorded=RECORDED,
        matching=MATCHING.fill(condition=listing.condition.sql),
        join=listing.join,
        is_valued=listing.is_valued,
        seek=listing.seek,
    )
    settings = (FILTERED if listing.is_filtered else {}) | ACROSS_PARTITIONS
    [row] = reader.rows(sql, listing.parameters(window), settings)
    if listing.ordering is not None:
        return int(row["number"])
    keys = list_open_keys(reader, listing, window)
    open_runs = read_open_runs(reader, query.project, keys, now_ns, listing.condition)
    return int(row["number"]) + len(open_runs)
