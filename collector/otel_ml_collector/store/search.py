"""Lists the runs whose payloads a filter searches: payloads first, then what else must hold.

The index on words finds few payloads at once, where the runs beside them would all be read.
"""

from dataclasses import replace
from typing import Any, Final

from otel_ml_collector.store.condition import Search
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.runs import FILTERED, Key, Listing, Window
from otel_ml_collector.store.sql import Sql

_FEWEST: Final = 100
_MOST: Final = 5_000
_KEY: Final = Sql(
    "start_ns, lower(hex(trace_id)) AS trace_id, lower(hex(span_id)) AS span_id, rank"
)
_AFTER: Final = Sql("""({after:Int64}, toFixedString(unhex({trace:String}), 16),
  toFixedString(unhex({span:String}), 8))""")


def search_keys(
    reader: Reader, listing: Listing, search: Search, window: Window, limit: int
) -> list[Key]:
    """List the keys of the runs of a window whose payloads match, in order.

    Args:
        reader: The store.
        listing: What to list.
        search: The search that its condition has.
        window: Started when.
        limit: How many are wanted.
    """
    found: list[Key] = []
    size = max(limit, _FEWEST)
    while True:
        page = _list_payloads(reader, listing, search, window, size)
        found += _keep(reader, listing, search, window, page)
        if len(page) < size or len(found) >= limit:
            return found[:limit]
        listing, size = replace(listing, after=page[-1]), min(2 * size, _MOST)


def _list_payloads(
    reader: Reader, listing: Listing, search: Search, window: Window, limit: int
) -> list[Key]:
    """List the keys of payloads that pass the tests, in the order of runs."""
    direction, sign = (Sql("DESC"), Sql("<")) if listing.newest_first else (Sql("ASC"), Sql(">"))
    seek = Sql("1")
    if listing.after is not None:
        seek = Sql("(start_ns, trace_id, span_id) {sign} {after}").fill(sign=sign, after=_AFTER)
    sql = Sql("""
        SELECT {key} FROM payloads
        WHERE project = {project:String}
          AND start_ns >= {start:Int64} AND start_ns < {end:Int64}
          AND {seek} AND ({tests})
        ORDER BY start_ns {direction}, payloads.trace_id {direction},
          payloads.span_id {direction}, rank DESC
        LIMIT {limit:UInt32}""").fill(key=_KEY, seek=seek, tests=search.tests, direction=direction)
    parameters = {**_parameters(listing, window), "limit": limit}
    return [Key(**row) for row in reader.rows(sql, parameters, FILTERED)]


def _keep(
    reader: Reader, listing: Listing, search: Search, window: Window, page: list[Key]
) -> list[Key]:
    """Keep the keys of those runs for which the rest of the condition holds."""
    if not page:
        return []
    sql = Sql("""
        SELECT {key} FROM runs
        WHERE project = {project:String} AND start_ns IN {starts:Array(Int64)}
          AND span_id IN (SELECT toFixedString(unhex(arrayJoin({spans:Array(String)})), 8))
          AND ({rest})
        """).fill(key=_KEY, rest=search.rest)
    parameters = {
        **_parameters(listing, window),
        "starts": sorted({key.start_ns for key in page}),
        "spans": sorted({key.span_id for key in page}),
    }
    there = {Key(**row) for row in reader.rows(sql, parameters)}
    return [key for key in page if key in there]


def _parameters(listing: Listing, window: Window) -> dict[str, Any]:
    parameters = {
        "project": listing.project,
        "start": window.start_ns,
        "end": window.end_ns,
        **listing.condition.parameters,
    }
    if listing.after is not None:
        parameters |= {
            "after": listing.after.start_ns,
            "trace": listing.after.trace_id,
            "span": listing.after.span_id,
        }
    return parameters
