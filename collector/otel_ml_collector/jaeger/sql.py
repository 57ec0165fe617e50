"""What is asked of services, the senders by the name in their resource: which, and what they did.

The name is in the payload, beside the row of a run: a question reads it within a span of time.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from otel_ml_collector.store.reader import READABLE, Reader, Row
from otel_ml_collector.store.runs import Place, Window

UNKNOWN: Final = "unknown_service"
_NAMES: Final = 1_000
_SPANS: Final = 10_000

_SERVICE: Final = f"""if(JSONExtractString(resource, 'service.name') = '', '{UNKNOWN}',
  JSONExtractString(resource, 'service.name'))"""
_WITHIN: Final = f"{READABLE} AND start_ns >= {{start:Int64}} AND start_ns < {{end:Int64}}"
_KEY: Final = "project, start_ns, trace_id, span_id"


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
    sql = f"""
        SELECT DISTINCT {_SERVICE} AS service FROM payloads
        WHERE {_WITHIN} ORDER BY service LIMIT {_NAMES}
        """  # noqa: S608 - fixed text; values are parameters
    return [row["service"] for row in reader.rows(sql, _times(window))]


def list_operations(reader: Reader, service: str, window: Window) -> list[Row]:
    """List names and kinds of the spans of a service that began in a window, at most 1,000."""
    sql = f"""
        SELECT DISTINCT name, span_kind FROM runs
        WHERE {_WITHIN} AND ({_KEY}) IN (
          SELECT {_KEY} FROM payloads WHERE {_WITHIN} AND {_SERVICE} = {{service:String}})
        ORDER BY name, span_kind LIMIT {_NAMES}
        """  # noqa: S608 - fixed text; values are parameters
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
    conditions = ["1"]
    if wanted.is_error is not None:
        conditions.append("outcome = 'error'" if wanted.is_error else "outcome != 'error'")
    for number, (name, text) in enumerate(wanted.tags.items()):
        parameters |= {
            f"token_{number}": f"{name}={text}",
            f"name_{number}": name,
            f"text_{number}": text,
        }
        conditions.append(_tagged(number))
    sql = f"""
        SELECT lower(hex(trace_id)) AS trace FROM runs
        WHERE {_WITHIN} AND latency_ns >= {{least:Int64}} AND latency_ns <= {{most:Int64}}
          AND ({{operation:String}} = '' OR name = {{operation:String}})
          AND {" AND ".join(conditions)}
          AND ({_KEY}) IN (
            SELECT {_KEY} FROM payloads WHERE {_WITHIN} AND {_SERVICE} = {{service:String}})
        GROUP BY trace_id ORDER BY max(start_ns) DESC, trace LIMIT {{limit:UInt32}}
        """  # noqa: S608 - fixed text; values are parameters
    return [row["trace"] for row in reader.rows(sql, parameters)]


def read_span_payloads(reader: Reader, place: Place) -> list[Row]:
    """Read what spans of a trace told beside their light rows, at most 10,000, with `rank`."""
    told = """lower(hex(span_id)) AS span, logs, events, links, attributes, resource, scope, rank,
      start_ns"""
    ours = """project = {project:String} AND start_ns >= {start:Int64}
      AND start_ns <= {end:Int64} AND trace_id = toFixedString(unhex({trace:String}), 16)"""
    sql = f"""
        SELECT * FROM (
          SELECT {told} FROM payloads WHERE {ours}
          UNION ALL
          SELECT {told} FROM open_runs WHERE {ours})
        ORDER BY start_ns, span LIMIT {_SPANS}
        """  # noqa: S608 - fixed text; values are parameters
    parameters = {
        "project": place.project,
        "start": place.start_ns,
        "end": place.end_ns,
        "trace": place.trace_id,
    }
    return reader.rows(sql, parameters)


def _times(window: Window) -> dict[str, Any]:
    return {"start": window.start_ns, "end": window.end_ns}


def _tagged(number: int) -> str:
    """Say that a span has a tag, as one of the user's, an attribute or one of its resource."""
    name, text = f"{{name_{number}:String}}", f"{{text_{number}:String}}"
    said = " OR ".join(
        f"JSONExtractString({column}, {name}) = {text} OR JSONExtractRaw({column}, {name}) = {text}"
        for column in ("attributes", "resource")
    )
    return f"""(has(tag_kv, {{token_{number}:String}}) OR ({_KEY}) IN (
      SELECT {_KEY} FROM payloads WHERE {_WITHIN} AND ({said})))"""  # noqa: S608 - fixed text; values are parameters
