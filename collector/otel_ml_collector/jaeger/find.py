"""Finds services, operations and traces as Jaeger's query API asks for them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from otel_ml_collector.errors import BadQuery, NotFound
from otel_ml_collector.jaeger.spans import UNKNOWN, JaegerTrace, make_trace, payloads_by_span
from otel_ml_collector.runs.find import add_open
from otel_ml_collector.store.reader import READABLE, Reader, Row, winners
from otel_ml_collector.store.runs import OF_TRACE, Place, Window, find_places, read_trace
from otel_ml_collector.store.sql import Sql, join_sql
from otel_ml_collector.times import DAY_NS, HOUR_NS, SECOND_NS

_NAMES: Final = 1_000
_PAYLOADS: Final = 10_000

_SERVICE: Final = Sql("""if(JSONExtractString(resource, 'service.name') = '', '{unknown}',
  JSONExtractString(resource, 'service.name'))""").fill(unknown=Sql(UNKNOWN))
_WITHIN: Final = Sql("{readable} AND start_ns >= {start:Int64} AND start_ns < {end:Int64}").fill(
    readable=READABLE
)
_KEY: Final = Sql("project, start_ns, trace_id, span_id")
MAX_LIMIT: Final = 1_000
DEFAULT_LIMIT: Final = 100
_SPANS: Final = 10_000
_KNOWN_NS: Final = 30 * DAY_NS
_LOOKBACK_NS: Final = 2 * DAY_NS  # Jaeger's own, when no start is named
_MOST_TAGS: Final = 20
_TRACE_ID: Final = re.compile(r"[0-9a-f]{1,32}")
_DURATION: Final = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_UNITS_NS: Final = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 10**6,
    "s": SECOND_NS,
    "m": 60 * SECOND_NS,
    "h": HOUR_NS,
}


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
    sql = Sql("""
        SELECT * FROM (
          SELECT {told} FROM payloads WHERE {ours}
          UNION ALL
          SELECT {told} FROM open_runs WHERE {ours})
        ORDER BY start_ns, span LIMIT {spans}
        """).fill(told=told, ours=OF_TRACE, spans=_PAYLOADS)
    return reader.rows(sql, place.parameters)


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


@dataclass(frozen=True, slots=True)
class TraceQuery:
    """A search, in the text of its parameters: times are microseconds, durations as Go's."""

    service: str
    operation: str = ""
    tags: Sequence[str] = ()
    tag: Sequence[str] = ()
    start: str = ""
    end: str = ""
    min_duration: str = ""
    max_duration: str = ""


def find_services(reader: Reader, now_ns: int) -> list[str]:
    """Find the services that sent spans in the last 30 days."""
    return list_services(reader, _known(now_ns))


def find_operations(reader: Reader, service: str, now_ns: int) -> list[Row]:
    """Find names and kinds of a service's spans of the last 30 days."""
    return list_operations(reader, service, _known(now_ns))


def search(reader: Reader, asked: TraceQuery, limit: int, now_ns: int) -> list[JaegerTrace]:
    """Find traces, the one that began last first; their spans are 10,000 at most.

    Raises:
        BadQuery: A parameter is missing or cannot be read.
    """
    trace_ids = find_trace_ids(reader, _parse(asked, now_ns), limit)
    return read_traces(reader, trace_ids, now_ns)


def read_traces(reader: Reader, trace_ids: Sequence[str], now_ns: int) -> list[JaegerTrace]:
    """Read those of some traces that are here, until there are 10,000 spans."""
    traces: list[JaegerTrace] = []
    left = _SPANS
    for trace_id in trace_ids:
        trace = _read_trace(reader, trace_id, left, now_ns)
        if trace is not None:
            traces.append(trace)
            left -= len(trace.spans)
        if left <= 0:
            break
    return traces


def find_jaeger_trace(reader: Reader, trace_id: str, now_ns: int) -> JaegerTrace:
    """Find one trace with the spans of all projects that may be read.

    Raises:
        BadQuery: The id is none.
        NotFound: There is no such trace.
    """
    trace = _read_trace(reader, read_trace_id(trace_id), _SPANS, now_ns)
    if trace is None:
        raise NotFound("trace not found")
    return trace


def read_trace_id(text: str) -> str:
    """Read a trace id: hex, without the zeros before it if need be.

    Raises:
        BadQuery: It is none.
    """
    if not _TRACE_ID.fullmatch(text.lower()):
        raise BadQuery(f"Invalid traceID {text[:80]!r}: expected up to 32 hex digits", "traceID")
    return text.lower().rjust(32, "0")


def _read_trace(reader: Reader, trace_id: str, most: int, now_ns: int) -> JaegerTrace | None:
    rows: list[Row] = []
    payloads: dict[str, Row] = {}
    for place in find_places(reader, trace_id):
        ended = winners(read_trace(reader, place, None, None, _SPANS + 1))
        rows += add_open(reader, place, ended, now_ns)
        payloads |= payloads_by_span(place.project, read_span_payloads(reader, place))
    if not rows:
        return None
    rows.sort(key=lambda row: (row["start_ns"], row["span_id"]))
    return make_trace(trace_id, rows[:most], payloads, is_cut=len(rows) > most)


def _parse(asked: TraceQuery, now_ns: int) -> TracesWanted:
    if not asked.service:
        raise BadQuery("parameter 'service' is required", "service")
    tags = _parse_tags(asked)
    least_ns = _parse_duration(asked.min_duration, "minDuration")
    most_ns = _parse_duration(asked.max_duration, "maxDuration")
    if most_ns and most_ns < least_ns:
        raise BadQuery("'maxDuration' should be greater than 'minDuration'", "maxDuration")
    error = tags.pop("error", None)
    return TracesWanted(
        service=asked.service,
        window=Window(
            _parse_time(asked.start, "start", now_ns - _LOOKBACK_NS),
            _parse_time(asked.end, "end", now_ns + HOUR_NS),
        ),
        operation=asked.operation,
        tags=tags,
        is_error=None if error is None else error == "true",
        least_ns=least_ns,
        most_ns=most_ns or 2**63 - 1,
    )


def _parse_tags(asked: TraceQuery) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in asked.tag:
        name, colon, value = text.partition(":")
        if not colon:
            raise BadQuery(f"malformed 'tag' parameter, expecting key:value: {text[:80]}", "tag")
        found[name] = value
    for text in asked.tags:
        found |= _parse_map(text)
    if len(found) > _MOST_TAGS:
        raise BadQuery(f"Too many tags: expected at most {_MOST_TAGS}", "tags")
    return found


def _parse_map(text: str) -> Mapping[str, str]:
    try:
        told = orjson.loads(text)
    except orjson.JSONDecodeError:
        told = None
    if not isinstance(told, dict) or not all(isinstance(value, str) for value in told.values()):
        raise BadQuery("malformed 'tags' parameter: expected a JSON object of text", "tags")
    return told


def _parse_time(text: str, field: str, otherwise: int) -> int:
    if not text:
        return otherwise
    if not text.isascii() or not text.isdecimal() or len(text) > len("9223372036854775"):
        raise BadQuery(f"unable to parse param '{field}': expected microseconds", field)
    return int(text) * 1_000


def _parse_duration(text: str, field: str) -> int:
    """Read a duration as Go writes it, such as ``1.5s`` or ``1m30s``, in nanoseconds."""
    if not text:
        return 0
    if len(text) > len("2562047h47m16.854775807s") or _DURATION.sub("", text):
        raise BadQuery(f"unable to parse param '{field}': invalid duration {text[:80]!r}", field)
    total = sum(float(number) * _UNITS_NS[unit] for number, unit in _DURATION.findall(text))
    return min(int(total), 2**63 - 1)


def _known(now_ns: int) -> Window:
    return Window(now_ns - _KNOWN_NS, now_ns + HOUR_NS)
