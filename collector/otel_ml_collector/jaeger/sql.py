"""What is asked of services, the senders by the name in their resource: which, and what they did.

The name is in the payload, beside the row of a run: a question reads it within a span of time.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from otel_ml_collector.store.reader import READABLE, Reader, Row
from otel_ml_collector.store.runs import Place, Window
from otel_ml_collector.store.sql import Sql, join_sql

UNKNOWN: Final = "unknown_service"
_NAMES: Final = 1_000
_SPANS: Final = 10_000

_SERVICE: Final = Sql("""if(JSONExtractString(resource, 'service.name') = '', '{unknown}',
  JSONExtractString(resource, 'service.name'))""").fill(unknown=Sql(UNKNOWN))
_WITHIN: Final = Sql("{readable} AND start_ns >= {start:Int64} AND start_ns < {end:Int64}").fill(
    readable=READABLE
)
_KEY: Final = Sql("project, start_ns, trace_id, span_id")


@dataclass(frozen=True, slots=True)
class TracesWanted:
    """Traces with a span that is all of this.

    Attributes:
        tags: Text by name: of tags, attributes and resource.
        is_error: Whether it failed; None for either.
    """

    service: str
    window: Window
    operation: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    is_error: bool | None = None
    least_ns: int = 0
    most_ns: int = 2**63 - 1


def list_services(reader: Reader, window: Window) -> list[str]:
    """List the services whose spans began in a window, at most 1,000."""
    sql = Sql("""
        SELECT DISTINCT {service} AS service FROM payloads
        WHERE {within} ORDER BY service LIMIT {names}
        """).fill(service=_SERVICE, within=_WITHIN, names=_NAMES)
    return [row["service"] for row in reader.rows(sql, _times(window))]


def list_operations(reader: Reader, service: str, window: Window) -> list[Row]:
    """List names and kinds of the spans of a service that began in a window, at most 1,000."""
    sql = Sql("""
        SELECT DISTINCT name, span_kind FROM runs
        WHERE {within} AND ({key}) IN (
          SELECT {key} FROM payloads WHERE {within} AND {service} = {service:String})
        ORDER BY name, span_kind LIMIT {names}
        """).fill(within=_WITHIN, key=_KEY, service=_SERVICE, names=_NAMES)
    return reader.rows(sql, {**_times(window), "service": service})


def find_trace_ids(reader: Reader, wanted: TracesWanted, limit: int) -> list[str]:
    """Find traces by one of their spans; the one that began last comes first."""
    parameters: dict[str, Any] = {
        **_times(wanted.window),
        "service": wanted.service,
        "operation": wanted.operation,
        "least": wanted.least_ns,
        "most": wanted.most_ns,
        "limit": limit,
    }
    conditions = [Sql("1")]
    if wanted.is_error is not None:
        conditions.append(
            Sql("outcome = 'error'") if wanted.is_error else Sql("outcome != 'error'")
        )
    for number, (name, text) in enumerate(wanted.tags.items()):
        parameters |= {
            f"token_{number}": f"{name}={text}",
            f"name_{number}": name,
            f"text_{number}": text,
        }
        conditions.append(_tagged(number))
    sql = Sql("""
        SELECT lower(hex(trace_id)) AS trace FROM runs
        WHERE {within} AND latency_ns >= {least:Int64} AND latency_ns <= {most:Int64}
          AND ({operation:String} = '' OR name = {operation:String})
          AND {conditions}
          AND ({key}) IN (
            SELECT {key} FROM payloads WHERE {within} AND {service} = {service:String})
        GROUP BY trace_id ORDER BY max(start_ns) DESC, trace LIMIT {limit:UInt32}
        """).fill(
        within=_WITHIN, conditions=join_sql(" AND ", conditions), key=_KEY, service=_SERVICE
    )
    return [row["trace"] for row in reader.rows(sql, parameters)]


def read_span_payloads(reader: Reader, place: Place) -> list[Row]:
    """Read what spans of a trace told beside their light rows, at most 10,000, with `rank`."""
    told = Sql("""lower(hex(span_id)) AS span, logs, events, links, attributes, resource, scope,
      rank, start_ns""")
    ours = Sql("""project = {project:String} AND start_ns >= {start:Int64}
      AND start_ns <= {end:Int64} AND trace_id = toFixedString(unhex({trace:String}), 16)""")
    sql = Sql("""
        SELECT * FROM (
          SELECT {told} FROM payloads WHERE {ours}
          UNION ALL
          SELECT {told} FROM open_runs WHERE {ours})
        ORDER BY start_ns, span LIMIT {spans}
        """).fill(told=told, ours=ours, spans=_SPANS)
    parameters = {
        "project": place.project,
        "start": place.start_ns,
        "end": place.end_ns,
        "trace": place.trace_id,
    }
    return reader.rows(sql, parameters)


def _times(window: Window) -> dict[str, Any]:
    return {"start": window.start_ns, "end": window.end_ns}


def _tagged(number: int) -> Sql:
    """Say that a span has a tag, as one of the user's, an attribute or one of its resource."""
    said = Sql("""JSONExtractString({column}, {name_{number}:String}) = {text_{number}:String}
      OR JSONExtractRaw({column}, {name_{number}:String}) = {text_{number}:String}""")
    columns = (Sql("attributes"), Sql("resource"))
    either = join_sql(" OR ", [said.fill(column=column, number=number) for column in columns])
    return Sql("""(has(tag_kv, {token_{number}:String}) OR ({key}) IN (
      SELECT {key} FROM payloads WHERE {within} AND ({either})))""").fill(
        number=number, key=_KEY, within=_WITHIN, either=either
    )
