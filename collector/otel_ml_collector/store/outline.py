"""What is asked of a trace as a whole: its spans in outline, and who sent some of them."""

from collections.abc import Sequence
from typing import Any, Final

from otel_ml_collector.store.reader import Reader, Row
from otel_ml_collector.store.runs import Place
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.store.tables import OF_TOKENS

_OURS: Final = Sql("""project = {project:String} AND start_ns >= {start:Int64}
  AND start_ns <= {end:Int64} AND trace_id = toFixedString(unhex({trace:String}), 16)""")
_THESE: Final = Sql("span_id IN (SELECT toFixedString(unhex(arrayJoin({spans:Array(String)})), 8))")


def read_outline(reader: Reader, place: Place, limit: int) -> list[Row]:
    """Read names, times, tokens and costs of the ended runs of a trace, each once."""
    sql = Sql("""
        SELECT lower(hex(span_id)) AS span_id, lower(hex(parent_span_id)) AS parent_span_id,
          toString(name) AS name, start_ns, start_ns + latency_ns AS end_ns,
          {tokens}, cost
        FROM runs WHERE {ours}
        ORDER BY rank DESC LIMIT 1 BY runs.span_id LIMIT {limit:UInt32}
        """).fill(ours=_OURS, tokens=OF_TOKENS)
    return reader.rows(sql, {**_parameters(place), "limit": limit})


def read_senders(reader: Reader, place: Place, span_ids: Sequence[str]) -> list[Row]:
    """Read the resources of some runs of a trace, also open ones: `span_id` and `resource`."""
    sql = Sql("""
        SELECT lower(hex(span_id)) AS span_id, any(resource) AS resource FROM (
          SELECT span_id, resource FROM payloads WHERE {ours} AND {these}
          UNION ALL
          SELECT span_id, resource FROM open_runs WHERE {ours} AND {these})
        GROUP BY span_id
        """).fill(ours=_OURS, these=_THESE)
    return reader.rows(sql, {**_parameters(place), "spans": list(span_ids)})


def _parameters(place: Place) -> dict[str, Any]:
    return {
        "project": place.project,
        "start": place.start_ns,
        "end": place.end_ns,
        "trace": place.trace_id,
    }
