"""Jaeger's query API over the stored spans, for Grafana's Jaeger data source.

Lists services, operations and dependencies, and finds traces by attributes of their spans. The API
is available under ``/jaeger/api`` and under ``/api``, because some releases of Grafana drop the
path of the data source's address in searches.
"""

# ruff: noqa: N803, N815 - the names are Jaeger's

import re
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final, Literal

import orjson
from fastapi import APIRouter, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.responses import Response

from otel_ml_collector.access import note_read
from otel_ml_collector.api.parameters import FromReader
from otel_ml_collector.api.problems import headers_of, problem_of
from otel_ml_collector.api.route import DeferredRoute
from otel_ml_collector.errors import BadInput, CollectorError, Missing
from otel_ml_collector.jaeger.attributes import (
    ANSWER_BYTES,
    SPAN_KEY,
    VALUE_CHARS,
    WITHIN,
    SpanFacts,
    TraceFacts,
    is_tagged,
    read_facts,
)
from otel_ml_collector.jaeger.traces import (
    UNKNOWN_SERVICE,
    Dependency,
    JaegerError,
    JaegerTrace,
    MissingTrace,
    Operation,
    Structured,
    make_result,
    make_trace,
    part_servers,
)
from otel_ml_collector.store.counted import DELIVERIES
from otel_ml_collector.store.facts import read_evaluations, read_trace_keys
from otel_ml_collector.store.open_runs import find_all_open_keys, read_open_runs
from otel_ml_collector.store.reader import IDS, Reader, Row, run_id_of, span_of
from otel_ml_collector.store.runs import (
    OF_KEYS,
    Key,
    Place,
    find_all_places,
    key_parameters,
    read_whole_traces,
)
from otel_ml_collector.store.sql import Sql, join_sql
from otel_ml_collector.times import DAY_NS, HOUR_NS, LATEST_NS, UNITS_NS, from_rfc3339

PREFIXES: Final = ("/jaeger/api", "/api")
_NEW: Final = "/v3/"
_US: Final = 1_000
_MS: Final = 1_000_000
_MOST_OPERATIONS: Final = 1_000

_SERVICE: Final = Sql("""if(JSONExtractString(resource, 'service.name') = '', '{unknown}',
  JSONExtractString(resource, 'service.name'))""").fill(unknown=Sql(UNKNOWN_SERVICE))
_OF_SERVICE: Final = Sql("""({key}) IN (
  SELECT {key} FROM payloads WHERE {within} AND {service} = {service:String})""").fill(
    key=SPAN_KEY, within=WITHIN, service=_SERVICE
)
_MAX_LIMIT: Final = 1_000
_LIMIT: Final = 100
_MOST_IDS: Final = 100
_ANSWERED_SPANS: Final = 10_000
_NO_ROOM: Final = f"an answer can contain {_ANSWERED_SPANS} spans"
# Dependencies are counted over this many spans with a parent, newest first.
_CALLS: Final = 100_000
_KNOWN_NS: Final = 30 * DAY_NS
_LOOKBACK_NS: Final = 2 * DAY_NS  # Jaeger's default
_MOST_TAGS: Final = 20
_TRACE_ID: Final = re.compile(r"[0-9a-f]{1,32}")
_DURATION: Final = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_DURATION_UNITS_NS: Final = UNITS_NS | {"µs": 1_000, "μs": 1_000}
Text = Annotated[str, Query(max_length=1_000)]
Texts = Annotated[list[Annotated[str, Query(max_length=4_000)]], Query(max_length=20)]


class TraceSearch(BaseModel):
    """Search parameters of Jaeger's API v1. Times are in microseconds, durations in Go's format."""

    service: Text = ""
    operation: Text = ""
    tag: Texts = []
    tags: Texts = []
    start: Text = ""
    end: Text = ""
    minDuration: Text = ""
    maxDuration: Text = ""
    limit: int = Field(default=_LIMIT, ge=1)
    traceID: list[str] = Field(default=[], max_length=_MOST_IDS)


class NewSearch(BaseModel):
    """Search parameters of Jaeger's API v3. Times are RFC 3339."""

    service: Text = Field(default="", alias="query.service_name")
    operation: Text = Field(default="", alias="query.operation_name")
    start: Text = Field(default="", alias="query.start_time_min")
    end: Text = Field(default="", alias="query.start_time_max")
    least: Text = Field(default="", alias="query.duration_min")
    most: Text = Field(default="", alias="query.duration_max")
    attributes: Annotated[str, Query(max_length=4_000)] = Field(
        default="", alias="query.attributes"
    )
    traces: int | None = Field(default=None, alias="query.num_traces", ge=1)
    depth: int | None = Field(default=None, alias="query.search_depth", ge=1)


class SearchQuery(BaseModel):
    """A search by API v1 or v3. Times and durations are nanoseconds; both ends are included."""

    service: str
    operation: str
    tags: Mapping[str, str]
    start_ns: int
    end_ns: int
    least_ns: int
    most_ns: int
    limit: int


def find_services(reader: Reader, now_ns: int) -> list[str]:
    """Return the services that sent spans in the last 30 days, at most 1,000."""
    sql = Sql("""
        SELECT DISTINCT {service} AS service FROM payloads
        WHERE {within} ORDER BY service LIMIT {names}
        """).fill(service=_SERVICE, within=WITHIN, names=_MOST_OPERATIONS)
    return [row["service"] for row in reader.rows(sql, _lately(now_ns))]


def find_operations(reader: Reader, service: str, now_ns: int) -> list[Operation]:
    """Return names and kinds of a service's spans of the last 30 days, at most 1,000."""
    sql = Sql("""
        SELECT DISTINCT name, span_kind FROM {deliveries}
        WHERE {within} AND {of_service} ORDER BY name, span_kind LIMIT {names}
        """).fill(
        deliveries=DELIVERIES, within=WITHIN, of_service=_OF_SERVICE, names=_MOST_OPERATIONS
    )
    rows = reader.rows(sql, {**_lately(now_ns), "service": service})
    return [Operation(name=row["name"], spanKind=row["span_kind"]) for row in rows]


def find_dependencies(reader: Reader, end: str, lookback: str, now_ns: int) -> list[Dependency]:
    """Count spans by their service and the service of their parent, at most 1,000 pairs.

    Args:
        reader: The store.
        end: End of the time range, in milliseconds since the epoch; empty for now.
        lookback: Length of the time range in milliseconds; empty for a day.
        now_ns: Current time.

    Returns:
        Counts over the newest 100,000 spans with a parent in that range. A server span that has
        the same ID as its client span is counted, too.

    Raises:
        BadInput: `end` or `lookback` is not a number.
    """
    tagged_ns = _read_time(end, "endTs", "milliseconds")
    end_ns = now_ns if tagged_ns is None else tagged_ns
    back_ns = _read_time(lookback, "lookback", "milliseconds") or DAY_NS
    sql = Sql("""
        WITH spans AS (
          SELECT start_ns, trace_id, span_id, parent_span_id, span_kind FROM {deliveries}
          WHERE {within} AND (parent_span_id != toFixedString('', 8) OR span_kind = 'server')
          ORDER BY start_ns DESC LIMIT {calls}
        ),
        clients AS (
          SELECT trace_id, span_id, max(start_ns) AS start_ns FROM {deliveries}
          WHERE {within} AND span_kind = 'client'
            AND (trace_id, span_id) IN (
              SELECT trace_id, span_id FROM spans WHERE span_kind = 'server')
          GROUP BY trace_id, span_id
        ),
        below AS (
          SELECT *, span_kind = 'server'
            AND (trace_id, span_id) IN (SELECT trace_id, span_id FROM clients) AS is_shared
          FROM spans
        ),
        services AS (
          SELECT trace_id, span_id, start_ns, any({service}) AS service FROM payloads
          WHERE {within} AND trace_id IN (SELECT trace_id FROM below)
          GROUP BY trace_id, span_id, start_ns
        ),
        parents AS (
          SELECT trace_id, span_id, 0 AS is_client, argMax(service, start_ns) AS service
          FROM services GROUP BY trace_id, span_id
          UNION ALL
          SELECT trace_id, span_id, 1 AS is_client, service FROM services
          WHERE (trace_id, span_id, start_ns) IN (SELECT trace_id, span_id, start_ns FROM clients)
        )
        SELECT above.service AS parent, own.service AS child,
          uniqExact(below.trace_id, below.span_id, below.start_ns) AS calls
        FROM below
        INNER JOIN services AS own
          ON own.trace_id = below.trace_id AND own.span_id = below.span_id
            AND own.start_ns = below.start_ns
        INNER JOIN parents AS above
          ON above.trace_id = below.trace_id
            AND above.span_id = if(below.is_shared, below.span_id, below.parent_span_id)
            AND above.is_client = below.is_shared
        GROUP BY parent, child ORDER BY parent, child LIMIT {names}
        """).fill(
        deliveries=DELIVERIES, within=WITHIN, service=_SERVICE, calls=_CALLS, names=_MOST_OPERATIONS
    )
    rows = reader.rows(sql, {"start": max(end_ns - back_ns, 0), "end": end_ns + 1})
    return [
        Dependency(parent=row["parent"], child=row["child"], callCount=row["calls"]) for row in rows
    ]


def search(reader: Reader, asked: TraceSearch, now_ns: int) -> list[JaegerTrace]:
    """Return the traces with a matching span, latest start first, up to 10,000 spans in total.

    Raises:
        BadInput: A parameter is missing or invalid.
    """
    if not asked.service:
        raise BadInput("parameter 'service' is required", "service")
    least_ns = _read_duration(asked.minDuration, "minDuration")
    most_ns = _read_duration(asked.maxDuration, "maxDuration")
    if most_ns and most_ns < least_ns:
        raise BadInput("'maxDuration' should be greater than 'minDuration'", "maxDuration")
    start_ns = _read_time(asked.start, "start", "microseconds")
    end_ns = _read_time(asked.end, "end", "microseconds")
    wanted = SearchQuery(
        service=asked.service,
        operation=asked.operation,
        tags=_read_tags(asked),
        start_ns=now_ns - _LOOKBACK_NS if start_ns is None else start_ns,
        end_ns=now_ns + HOUR_NS if end_ns is None else end_ns,
        least_ns=least_ns,
        most_ns=most_ns,
        limit=min(asked.limit, _MAX_LIMIT),
    )
    return read_traces(reader, _find_traces(reader, wanted), now_ns)


def find_newly(reader: Reader, asked: NewSearch, now_ns: int) -> list[SpanFacts]:
    """Search by version 3 of Jaeger's API, and return the spans of all matching traces.

    Unlike in version 1, a time range is required, and the service is optional.

    Args:
        reader: The store.
        asked: The search parameters.
        now_ns: Current time, in nanoseconds since the epoch.

    Raises:
        BadInput: A parameter is missing or invalid.
        Missing: No trace matches.
    """
    if not (asked.start and asked.end):
        raise BadInput(
            "query.start_time_min and query.start_time_max are required", "query.start_time_min"
        )
    tags = _read_map(asked.attributes, "query.attributes") if asked.attributes else {}
    if len(tags) > _MOST_TAGS:
        raise BadInput(f"Too many attributes: expected at most {_MOST_TAGS}", "query.attributes")
    wanted = SearchQuery(
        service=asked.service,
        operation=asked.operation,
        tags=tags,
        start_ns=from_rfc3339(asked.start, "query.start_time_min"),
        end_ns=from_rfc3339(asked.end, "query.start_time_max"),
        least_ns=_read_duration(asked.least, "query.duration_min"),
        most_ns=_read_duration(asked.most, "query.duration_max"),
        limit=min(asked.traces or asked.depth or _LIMIT, _MAX_LIMIT),
    )
    traces = _read_traces(reader, _find_traces(reader, wanted), now_ns)
    spans = [span for trace in traces for span in trace.warned]
    if not spans:
        raise Missing("No traces found")
    return spans


def _find_traces(reader: Reader, wanted: SearchQuery) -> list[str]:
    """Return the IDs of matching traces, the most recent start first."""
    parameters: dict[str, Any] = {
        "start": wanted.start_ns,
        "end": min(wanted.end_ns, LATEST_NS - 1) + 1,
        "service": wanted.service,
        "operation": wanted.operation,
        "least": wanted.least_ns,
        "most": wanted.most_ns or LATEST_NS,
        "limit": wanted.limit,
    }
    conditions = [_OF_SERVICE] if wanted.service else []
    for number, (name, text) in enumerate(wanted.tags.items()):
        condition = is_tagged(number, name, text)
        parameters |= condition.parameters
        conditions.append(condition.sql)
    sql = Sql("""
        SELECT lower(hex(trace_id)) AS trace FROM {deliveries}
        WHERE {within} AND latency_ns >= {least:Int64} AND latency_ns <= {most:Int64}
          AND ({operation:String} = '' OR name = {operation:String})
          AND {conditions}
        GROUP BY trace_id ORDER BY max(start_ns) DESC, trace LIMIT {limit:UInt32}
        """).fill(
        deliveries=DELIVERIES, within=WITHIN, conditions=join_sql(" AND ", conditions) or Sql("1")
    )
    return [row["trace"] for row in reader.rows(sql, parameters)]


def read_traces(reader: Reader, trace_ids: Sequence[str], now_ns: int) -> list[JaegerTrace]:
    """Read traces by ID, up to 10,000 spans in total. IDs that are not stored are skipped."""
    return [
        make_trace(trace.trace_id, trace.spans, trace.warnings)
        for trace in _read_traces(reader, trace_ids, now_ns)
    ]


def find_jaeger_trace(reader: Reader, trace_id: str, now_ns: int) -> JaegerTrace:
    """Return a trace with its spans from all projects that you may read.

    Raises:
        BadInput: The id is invalid.
        Missing: There is no such trace.
    """
    for trace in read_traces(reader, [read_trace_id(trace_id)], now_ns):
        return trace
    raise Missing("trace not found")


def find_spans(reader: Reader, trace_id: str, now_ns: int) -> Sequence[SpanFacts]:
    """Return the spans of a trace. If some are left out, the first span has a warning.

    Raises:
        BadInput: The id is invalid.
        Missing: There is no such trace.
    """
    for trace in _read_traces(reader, [read_trace_id(trace_id)], now_ns):
        return trace.warned
    raise Missing("No traces found")


def read_trace_id(text: str) -> str:
    """Return a trace id with 32 hex digits. Leading zeros may be missing in the text.

    Raises:
        BadInput: The text is not a trace id.
    """
    if not _TRACE_ID.fullmatch(text.lower()):
        raise BadInput(f"Invalid traceID {text[:80]!r}: expected up to 32 hex digits", "traceID")
    return text.lower().rjust(32, "0")


@dataclass(frozen=True, slots=True)
class _Trace:
    """The spans of a trace, oldest first, with warnings if spans or traces are left out."""

    trace_id: str
    spans: Sequence[SpanFacts]
    warnings: Sequence[str]

    @property
    def warned(self) -> Sequence[SpanFacts]:
        """The spans. The first one also has the warnings of the trace."""
        first, *others = self.spans
        return [replace(first, warnings=[*self.warnings, *first.warnings]), *others]


def _read_traces(reader: Reader, trace_ids: Sequence[str], now_ns: int) -> list[_Trace]:
    """Read traces in the order of `trace_ids`, up to 10,000 spans in total.

    IDs that are not stored are skipped. A trace has a warning if some of its spans are left out.
    The last trace has a warning if further traces are left out.
    """
    places = find_all_places(reader, trace_ids)
    within: dict[str, list[Place]] = {}
    for trace_id in trace_ids:
        for place in places.get(trace_id, ()):
            within.setdefault(place.project, []).append(place)
    rows: dict[tuple[str, str], list[Row]] = {}
    for project, value in within.items():
        for row in _read_rows(reader, project, value, now_ns):
            rows.setdefault((project, row["trace_id"]), []).append(row)
    shown: list[tuple[str, list[Row], list[str]]] = []
    left, left_out = _ANSWERED_SPANS, 0
    for trace_id in trace_ids:
        every = [
            row
            for place in places.get(trace_id, ())
            for row in rows.get((place.project, place.trace_id), ())
        ]
        every.sort(key=lambda row: (row["start_ns"], row["span_id"]))
        if every and left > 0:
            more = f"Only {left} spans are shown"
            shown.append((trace_id, every[:left], [more] if len(every) > left else []))
            left -= len(every)
        elif left <= 0 and trace_id in places:  # above the limit, so it was not read
            left_out += 1
    if left_out:
        shown[-1][2].append(f"Traces left out: {left_out}, {_NO_ROOM}")
    payloads = _read_facts(reader, [row for _, of, _ in shown for row in of])
    return [
        _Trace(trace_id, part_servers([read_facts(row, payloads) for row in of]), warnings)
        for trace_id, of, warnings in shown
    ]


def _read_rows(reader: Reader, project: str, places: Sequence[Place], now_ns: int) -> list[Row]:
    """Return the rows of a project's traces without payloads; runs without an end come last."""
    ended = read_whole_traces(reader, project, places, _ANSWERED_SPANS + 1)
    known = {run_id_of(row) for row in ended}
    open_keys = find_all_open_keys(reader, project, [place.trace_id for place in places])
    keys = [key for key in open_keys if key.run_id not in known]
    return ended + read_open_runs(reader, project, keys, now_ns)


def _read_facts(reader: Reader, rows: Sequence[Row]) -> TraceFacts:
    """Read payloads, scores and trace keys for spans; payloads only while there is room."""
    payloads: dict[tuple[str, tuple[str, int]], Row] = {}
    scores: dict[str, list[Row]] = {}
    keys: dict[tuple[str, str], str] = {}
    below: dict[str, list[Row]] = {}
    for row in rows:
        below.setdefault(row["project"], []).append(row)
    room = ANSWER_BYTES
    for project, value in below.items():
        note_read(project, "traces in Jaeger")
        read, room = _read_payloads(reader, project, value, room)
        payloads |= {(project, span): row for span, row in read.items()}
        calls = [row for row in value if row["kind"] != "span"]
        if not calls:
            continue
        for row in read_evaluations(reader, project, [run_id_of(row) for row in calls]):
            if row["source"] != "agent":
                scores.setdefault(row["owner"], []).append(row)
        keys |= _read_keys(reader, project, sorted({row["trace_id"] for row in calls}))
    return TraceFacts(payloads, scores, keys)


def _read_payloads(
    reader: Reader, project: str, rows: Sequence[Row], room: int
) -> tuple[dict[tuple[str, int], Row], int]:
    """Read inputs, outputs and the other large columns of spans.

    Inputs, outputs and parameters are cut at 65,536 characters each. They are left out if there is
    no room.

    Returns:
        The columns by `span_of`, and the bytes that are left in the answer.
    """
    columns = Sql("""{ids}, logs, events, links, attributes, resource, scope, inputs, params, rank,
      start_ns""").fill(ids=IDS)
    names = [Sql("inputs"), Sql("outputs"), Sql("params")]
    sizes = [Sql("least(length({n}), {most})").fill(n=n, most=4 * VALUE_CHARS) for n in names]
    shown = [
        Sql("""if(fits, substringUTF8({n}, 1, {chars}), '') AS shown_{n},
          lengthUTF8({n}) AS {n}_chars""").fill(n=name, chars=VALUE_CHARS)
        for name in names
    ]
    sql = Sql("""
        SELECT trace_id, span_id, start_ns, logs, events, links, attributes, resource, scope, rank,
          sum({size}) OVER (ORDER BY indexOf({traces:Array(String)}, trace_id), start_ns, span_id,
            rank ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) <= {room:Int64} AS fits, {shown}
        FROM (
          SELECT {columns}, outputs FROM payloads WHERE {ours}
          UNION ALL
          SELECT {columns}, '' AS outputs FROM open_runs WHERE {ours})
        ORDER BY rank LIMIT {spans}
        """)
    sql = sql.fill(
        columns=columns,
        ours=OF_KEYS,
        spans=2 * _ANSWERED_SPANS,
        size=join_sql(" + ", sizes),
        shown=join_sql(", ", shown),
    )
    keys = [Key(row["start_ns"], row["trace_id"], row["span_id"]) for row in rows]
    traces = [*dict.fromkeys(row["trace_id"] for row in rows)]
    asked = {**key_parameters(project, keys), "traces": traces, "room": max(room, 0)}
    payloads = {}
    for row in reader.rows(sql, asked):  # sorted by rank: the last row of a span counts
        shown_of = {name: row.pop(f"shown_{name}") for name in ("inputs", "outputs", "params")}
        room -= sum(len(text.encode()) for text in shown_of.values())
        payloads[span_of(row)] = {**row, **shown_of}
    return payloads, room


def _read_keys(
    reader: Reader, project: str, trace_ids: Sequence[str]
) -> dict[tuple[str, str], str]:
    """Return the user's own keys of some traces; the first one if a trace has several."""
    keys: dict[tuple[str, str], str] = {}
    for row in read_trace_keys(reader, project, trace_ids):
        keys.setdefault((project, row["trace_id"]), row["key"])
    return keys


def _read_tags(asked: TraceSearch) -> dict[str, str]:
    tags: dict[str, str] = {}
    for text in asked.tag:
        name, colon, value = text.partition(":")
        if not colon:
            raise BadInput(f"malformed 'tag' parameter, expecting key:value: {text[:80]}", "tag")
        tags[name] = value
    for text in asked.tags:
        tags |= _read_map(text, "tags")
    if len(tags) > _MOST_TAGS:
        raise BadInput(f"Too many tags: expected at most {_MOST_TAGS}", "tags")
    return tags


def _read_map(text: str, field: str) -> Mapping[str, str]:
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError:
        document = None
    if not isinstance(document, dict) or not all(
        isinstance(value, str) for value in document.values()
    ):
        raise BadInput(f"malformed '{field}' parameter: expected a JSON object of text", field)
    return document


def _read_time(text: str, field: str, unit: Literal["milliseconds", "microseconds"]) -> int | None:
    """Return a time in milliseconds or microseconds as nanoseconds; None if it is missing."""
    if not text:
        return None
    if not text.isascii() or not text.isdecimal() or len(text) > len(str(LATEST_NS)):
        raise BadInput(f"unable to parse param '{field}': expected {unit}", field)
    return min(int(text) * (_MS if unit == "milliseconds" else _US), LATEST_NS - 1)


def _read_duration(text: str, field: str) -> int:
    """Return a duration in Go's format, such as ``1.5s`` or ``1m30s``, in nanoseconds."""
    if not text:
        return 0
    if len(text) > len("2562047h47m16.854775807s") or _DURATION.sub("", text):
        raise BadInput(f"unable to parse param '{field}': invalid duration {text[:80]!r}", field)
    total = sum(
        float(number) * _DURATION_UNITS_NS[unit] for number, unit in _DURATION.findall(text)
    )
    return min(int(total), LATEST_NS)


def _lately(now_ns: int) -> dict[str, Any]:
    return {"start": now_ns - _KNOWN_NS, "end": now_ns + HOUR_NS}


class JaegerRoute(DeferredRoute):
    """A route that reports errors in the format of its version of Jaeger's API."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler with errors converted."""
        handle = super().get_route_handler()
        is_new = _NEW in self.path

        async def handle_as_jaeger(request: Request) -> Response:
            try:
                return await handle(request)
            except CollectorError as error:
                status, problem = problem_of(error)
                return _failed(is_new, status, problem.message, headers_of(error))
            except RequestValidationError as error:
                first = error.errors()[0]
                message = f"unable to parse param '{first['loc'][1]}': {first['msg']}"
                return _failed(is_new, 400, message)

        return handle_as_jaeger


def _failed(
    is_new: bool, status: int, message: str, headers: dict[str, str] | None = None
) -> JSONResponse:
    if is_new:
        return JSONResponse({"error": {"httpCode": status, "message": message}}, status, headers)
    answer = Structured(data=None, errors=[JaegerError(code=status, msg=message)])
    return JSONResponse(answer.model_dump(), status, headers)


router = APIRouter(route_class=JaegerRoute, include_in_schema=False)


@router.get("/services")
def get_services(reader: FromReader) -> Structured:
    """List services."""
    services = find_services(reader, time.time_ns())
    return Structured(data=services, total=len(services))


@router.get("/services/{service:path}/operations")
def get_service_operations(service: str, reader: FromReader) -> Structured:
    """List the names of a service's spans; null for an unknown service."""
    operations = find_operations(reader, service, time.time_ns())
    names = list(dict.fromkeys(operation.name for operation in operations))
    return Structured(data=names or None, total=len(names))


@router.get("/operations")
def get_operations(reader: FromReader, service: Text, spanKind: Text = "") -> Structured:
    """List names and kinds of a service's spans."""
    operations = find_operations(reader, service, time.time_ns())
    data = [operation for operation in operations if spanKind in {"", operation.spanKind}]
    return Structured(data=data, total=len(data))


@router.get("/traces")
def get_traces(reader: FromReader, asked: Annotated[TraceSearch, Query()]) -> Structured:
    """Search traces, or read those with the given ids."""
    now_ns = time.time_ns()
    if not asked.traceID:
        return Structured(data=search(reader, asked, now_ns))
    wanted = [read_trace_id(text) for text in asked.traceID]
    traces = read_traces(reader, wanted, now_ns)
    known = {trace.traceID for trace in traces}
    others = [trace_id for trace_id in wanted if trace_id not in known]
    left_out = find_all_places(reader, others) if others else {}
    missing = [
        MissingTrace(traceID=trace_id, msg=_NO_ROOM)
        if trace_id in left_out
        else MissingTrace(traceID=trace_id)
        for trace_id in others
    ]
    return Structured(data=traces, errors=missing or None)


@router.get("/traces/{trace_id}")
def get_trace(trace_id: str, reader: FromReader) -> Structured:
    """Read one trace. A time range in the request is ignored."""
    return Structured(data=[find_jaeger_trace(reader, trace_id, time.time_ns())])


@router.get("/dependencies")
def get_dependencies(reader: FromReader, endTs: Text = "", lookback: Text = "") -> Structured:
    """Count calls from one service to another."""
    return Structured(data=find_dependencies(reader, endTs, lookback, time.time_ns()))


@router.get("/v3/services")
def get_new_services(reader: FromReader) -> dict[str, Any]:
    """List services."""
    return {"services": find_services(reader, time.time_ns())}


@router.get("/v3/operations")
def get_new_operations(reader: FromReader, service: Text = "", span_kind: Text = "") -> Response:
    """List names and kinds of a service's spans."""
    operations = find_operations(reader, service, time.time_ns())
    new_operations = [
        operation.model_dump() for operation in operations if span_kind in {"", operation.spanKind}
    ]
    return JSONResponse({"operations": new_operations})


@router.get("/v3/traces")
def get_new_traces(reader: FromReader, asked: Annotated[NewSearch, Query()]) -> Response:
    """Search traces. The spans of all matches are in one result."""
    return JSONResponse(make_result(find_newly(reader, asked, time.time_ns())))


@router.get("/v3/traces/{trace_id}")
def get_new_trace(trace_id: str, reader: FromReader) -> Response:
    """Read one trace."""
    return JSONResponse(make_result(find_spans(reader, trace_id, time.time_ns())))


ROUTES: Final = tuple(
    JaegerRoute(prefix + route.path, route.endpoint, include_in_schema=False)
    for prefix in PREFIXES
    for route in router.routes
    if isinstance(route, JaegerRoute)
)
