"""Jaeger's query API, for Grafana's Jaeger data source: over the spans that are here.

It is under ``/jaeger/api`` and under ``/api``: some releases of Grafana drop the path of the data
source's address when they search. The answers are field by field as Jaeger's `model/json` and
`http_handler` say: tags with types, logs, references, processes.
"""

# ruff: noqa: N803, N815 - the names are Jaeger's

import re
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Annotated, Any, Final, Literal

import orjson
from fastapi import APIRouter, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field
from starlette.responses import Response

from otel_ml import attributes as names
from otel_ml.records import Run, attributes_of
from otel_ml_collector.api.parameters import FromReader
from otel_ml_collector.api.problems import headers_of, problem_of
from otel_ml_collector.errors import BadQuery, CollectorError, NotFound
from otel_ml_collector.runs.find import add_open
from otel_ml_collector.store.reader import READABLE, Reader, Row, is_open, load_json, winners
from otel_ml_collector.store.runs import OF_TRACE, Place, find_places, read_trace
from otel_ml_collector.store.sql import Sql, join_sql
from otel_ml_collector.times import DAY_NS, HOUR_NS, SECOND_NS

TagType = Literal["string", "bool", "int64", "float64", "binary"]
_US: Final = 1_000
# Beyond it a number is not exact in a browser, and is text, as Jaeger writes it.
_SAFE: Final = 2**53 - 1
# Fields of a run as the attributes by which they came.
_FIELDS: Final = attributes_of(Run)
_UNKNOWN: Final = "unknown_service"
_NAMES: Final = 1_000

_SERVICE: Final = Sql("""if(JSONExtractString(resource, 'service.name') = '', '{unknown}',
  JSONExtractString(resource, 'service.name'))""").fill(unknown=Sql(_UNKNOWN))
_WITHIN: Final = Sql("{readable} AND start_ns >= {start:Int64} AND start_ns < {end:Int64}").fill(
    readable=READABLE
)
_KEY: Final = Sql("project, start_ns, trace_id, span_id")
_OF_SERVICE: Final = Sql("""({key}) IN (
  SELECT {key} FROM payloads WHERE {within} AND {service} = {service:String})""").fill(
    key=_KEY, within=_WITHIN, service=_SERVICE
)
_MAX_LIMIT: Final = 1_000
_LIMIT: Final = 100
_MOST_IDS: Final = 100
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
PREFIXES: Final = ("/jaeger/api", "/api")
Text = Annotated[str, Query(max_length=1_000)]
Texts = Annotated[list[Annotated[str, Query(max_length=4_000)]], Query(max_length=20)]


class KeyValue(BaseModel):
    """A tag, or a field of a log."""

    key: str
    type: TagType
    value: str | bool | int | float


class Reference(BaseModel):
    """One span's tie to another."""

    refType: Literal["CHILD_OF", "FOLLOWS_FROM"]
    traceID: str
    spanID: str


class JaegerLog(BaseModel):
    """Something that a span told while it went on."""

    timestamp: int = Field(description="Microseconds since the epoch")
    fields: list[KeyValue]


class JaegerProcess(BaseModel):
    """Who sent spans."""

    serviceName: str
    tags: list[KeyValue]


class JaegerSpan(BaseModel):
    """A span; times are microseconds."""

    traceID: str
    spanID: str
    flags: int = 1
    operationName: str
    references: list[Reference]
    startTime: int
    duration: int
    tags: list[KeyValue]
    logs: list[JaegerLog]
    processID: str
    warnings: list[str] | None


class JaegerTrace(BaseModel):
    """A trace with its spans, oldest first."""

    traceID: str
    spans: list[JaegerSpan]
    processes: dict[str, JaegerProcess]
    warnings: list[str] | None


class Operation(BaseModel):
    """What a service does."""

    name: str
    spanKind: str


class JaegerError(BaseModel):
    """What went wrong."""

    code: int
    msg: str


class Structured(BaseModel):
    """Every answer, also that of an error."""

    data: list[JaegerTrace] | list[Operation] | list[str] | None
    total: int = 0
    limit: int = 0
    offset: int = 0
    errors: list[JaegerError] | None = None


def make_trace(
    trace_id: str, rows: Sequence[Row], payloads: Mapping[str, Row], *, is_cut: bool
) -> JaegerTrace:
    """Make a trace of light rows and of what their spans told beside them, by project and id."""
    processes: dict[str, JaegerProcess] = {}
    known: dict[str, str] = {}
    spans: list[JaegerSpan] = []
    for row in rows:
        payload = payloads.get(f"{row['project']}/{row['span_id']}", {})
        resource = payload.get("resource", "")
        if resource not in known:
            known[resource] = f"p{len(known) + 1}"
            processes[known[resource]] = _process(load_json(resource, {}))
        spans.append(_span(row, payload, known[resource]))
    warnings = [f"There are more spans than the {len(rows)} shown"] if is_cut else None
    return JaegerTrace(traceID=trace_id, spans=spans, processes=processes, warnings=warnings)


def _process(resource: Mapping[str, Any]) -> JaegerProcess:
    rest = {name: value for name, value in resource.items() if name != "service.name"}
    service = str(resource.get("service.name") or _UNKNOWN)
    return JaegerProcess(serviceName=service, tags=_tags(rest))


def _span(row: Row, payload: Mapping[str, Any], process: str) -> JaegerSpan:
    outcome = row["outcome"]
    return JaegerSpan(
        traceID=row["trace_id"],
        spanID=row["span_id"],
        operationName=row["name"],
        references=_references(row, payload),
        startTime=row["start_ns"] // _US,
        duration=(row["latency_ns"] or 0) // _US,
        tags=_span_tags(row, payload),
        logs=_logs(payload),
        processID=process,
        warnings=[f"The span has no end: it is {outcome}"] if is_open(row) else None,
    )


def _references(row: Row, payload: Mapping[str, Any]) -> list[Reference]:
    parent = row["parent_span_id"]
    above = [Reference(refType="CHILD_OF", traceID=row["trace_id"], spanID=parent)]
    links = load_json(payload.get("links", ""), [])
    return [
        *(above if parent.strip("0") else []),
        *(
            Reference(refType="FOLLOWS_FROM", traceID=link["trace_id"], spanID=link["span_id"])
            for link in links
        ),
    ]


def _span_tags(row: Row, payload: Mapping[str, Any]) -> list[KeyValue]:
    scope = load_json(payload.get("scope", ""), {})
    told: dict[str, Any] = {
        "span.kind": row["span_kind"],
        "otel.scope.name": scope.get("name"),
        "otel.scope.version": scope.get("version"),
        **{name: row.get(field) for field, name in _FIELDS.items()},
        **{f"{names.TAG_PREFIX}{name}": load_json(text) for name, text in row["tags"].items()},
        **load_json(payload.get("attributes", ""), {}),
    }
    if row["outcome"] == "error":
        told |= {"error": True, "otel.status_code": "ERROR"}
        told["otel.status_description"] = row["error_message"]
    return _tags({name: value for name, value in told.items() if value not in (None, "")})


def _logs(payload: Mapping[str, Any]) -> list[JaegerLog]:
    lines = [
        (line["time_ns"], {"event": "log", "level": line["severity"], "message": line["message"]})
        for line in load_json(payload.get("logs", ""), [])
    ]
    events = [
        (event["time_ns"], {"event": event["name"], **event["attributes"]})
        for event in load_json(payload.get("events", ""), [])
    ]
    told = sorted([*lines, *events], key=lambda log: log[0])
    return [JaegerLog(timestamp=time_ns // _US, fields=_tags(fields)) for time_ns, fields in told]


def _tags(values: Mapping[str, Any]) -> list[KeyValue]:
    return [_tag(name, value) for name, value in values.items()]


def _tag(name: str, value: Any) -> KeyValue:
    if isinstance(value, bool):
        return KeyValue(key=name, type="bool", value=value)
    if isinstance(value, int):
        exact = value if abs(value) <= _SAFE else str(value)
        return KeyValue(key=name, type="int64", value=exact)
    if isinstance(value, float):
        return KeyValue(key=name, type="float64", value=value)
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    return KeyValue(key=name, type="string", value=text)


class TraceSearch(BaseModel):
    """The parameters of a search: times are microseconds, durations as Go writes them."""

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


def find_services(reader: Reader, now_ns: int) -> list[str]:
    """Find the services that sent spans in the last 30 days, at most 1,000."""
    sql = Sql("""
        SELECT DISTINCT {service} AS service FROM payloads
        WHERE {within} ORDER BY service LIMIT {names}
        """).fill(service=_SERVICE, within=_WITHIN, names=_NAMES)
    return [row["service"] for row in reader.rows(sql, _lately(now_ns))]


def find_operations(reader: Reader, service: str, now_ns: int) -> list[Operation]:
    """Find names and kinds of a service's spans of the last 30 days, at most 1,000."""
    sql = Sql("""
        SELECT DISTINCT name, span_kind FROM runs
        WHERE {within} AND {of_service} ORDER BY name, span_kind LIMIT {names}
        """).fill(within=_WITHIN, of_service=_OF_SERVICE, names=_NAMES)
    rows = reader.rows(sql, {**_lately(now_ns), "service": service})
    return [Operation(name=row["name"], spanKind=row["span_kind"]) for row in rows]


def search(reader: Reader, asked: TraceSearch, now_ns: int) -> list[JaegerTrace]:
    """Find traces by one of their spans, the one that began last first; of 10,000 spans in all.

    Raises:
        BadQuery: A parameter is missing or cannot be read.
    """
    if not asked.service:
        raise BadQuery("parameter 'service' is required", "service")
    tags = _read_tags(asked)
    least_ns = _read_duration(asked.minDuration, "minDuration")
    most_ns = _read_duration(asked.maxDuration, "maxDuration")
    if most_ns and most_ns < least_ns:
        raise BadQuery("'maxDuration' should be greater than 'minDuration'", "maxDuration")
    parameters: dict[str, Any] = {
        "start": _read_time(asked.start, "start", now_ns - _LOOKBACK_NS),
        "end": _read_time(asked.end, "end", now_ns + HOUR_NS),
        "service": asked.service,
        "operation": asked.operation,
        "least": least_ns,
        "most": most_ns or 2**63 - 1,
        "limit": min(asked.limit, _MAX_LIMIT),
    }
    conditions = []
    match tags.pop("error", None):
        case None:
            pass
        case "true":
            conditions.append(Sql("outcome = 'error'"))
        case _:
            conditions.append(Sql("outcome != 'error'"))
    for number, (name, text) in enumerate(tags.items()):
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
          AND {conditions} AND {of_service}
        GROUP BY trace_id ORDER BY max(start_ns) DESC, trace LIMIT {limit:UInt32}
        """).fill(
        within=_WITHIN,
        conditions=join_sql(" AND ", conditions) or Sql("1"),
        of_service=_OF_SERVICE,
    )
    found = [row["trace"] for row in reader.rows(sql, parameters)]
    return read_traces(reader, found, now_ns)


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
        payloads |= {
            f"{place.project}/{payload['span']}": payload
            for payload in _read_payloads(reader, place)
        }
    if not rows:
        return None
    rows.sort(key=lambda row: (row["start_ns"], row["span_id"]))
    return make_trace(trace_id, rows[:most], payloads, is_cut=len(rows) > most)


def _read_payloads(reader: Reader, place: Place) -> list[Row]:
    """Read what spans of a trace told beside their light rows; the delivery that counts is last."""
    told = Sql("""lower(hex(span_id)) AS span, logs, events, links, attributes, resource, scope,
      rank, start_ns""")
    sql = Sql("""
        SELECT * FROM (
          SELECT {told} FROM payloads WHERE {ours}
          UNION ALL
          SELECT {told} FROM open_runs WHERE {ours})
        ORDER BY start_ns, span LIMIT {spans}
        """).fill(told=told, ours=OF_TRACE, spans=_SPANS)
    return sorted(reader.rows(sql, place.parameters), key=lambda row: int(row["rank"]))


def _read_tags(asked: TraceSearch) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in asked.tag:
        name, colon, value = text.partition(":")
        if not colon:
            raise BadQuery(f"malformed 'tag' parameter, expecting key:value: {text[:80]}", "tag")
        found[name] = value
    for text in asked.tags:
        found |= _read_map(text)
    if len(found) > _MOST_TAGS:
        raise BadQuery(f"Too many tags: expected at most {_MOST_TAGS}", "tags")
    return found


def _read_map(text: str) -> Mapping[str, str]:
    try:
        told = orjson.loads(text)
    except orjson.JSONDecodeError:
        told = None
    if not isinstance(told, dict) or not all(isinstance(value, str) for value in told.values()):
        raise BadQuery("malformed 'tags' parameter: expected a JSON object of text", "tags")
    return told


def _read_time(text: str, field: str, otherwise: int) -> int:
    if not text:
        return otherwise
    if not text.isascii() or not text.isdecimal() or len(text) > len("9223372036854775"):
        raise BadQuery(f"unable to parse param '{field}': expected microseconds", field)
    return int(text) * _US


def _read_duration(text: str, field: str) -> int:
    """Read a duration as Go writes it, such as ``1.5s`` or ``1m30s``, in nanoseconds."""
    if not text:
        return 0
    if len(text) > len("2562047h47m16.854775807s") or _DURATION.sub("", text):
        raise BadQuery(f"unable to parse param '{field}': invalid duration {text[:80]!r}", field)
    total = sum(float(number) * _UNITS_NS[unit] for number, unit in _DURATION.findall(text))
    return min(int(total), 2**63 - 1)


def _lately(now_ns: int) -> dict[str, Any]:
    return {"start": now_ns - _KNOWN_NS, "end": now_ns + HOUR_NS}


class JaegerRoute(APIRoute):
    """A route whose errors are in Jaeger's shape."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap the handler."""
        handle = super().get_route_handler()

        async def handle_as_jaeger(request: Request) -> Response:
            try:
                return await handle(request)
            except CollectorError as error:
                status, problem = problem_of(error)
                return _failed(status, problem.message, headers_of(error))
            except RequestValidationError as error:
                first = error.errors()[0]
                return _failed(400, f"unable to parse param '{first['loc'][1]}': {first['msg']}")

        return handle_as_jaeger


def _failed(status: int, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    answer = Structured(data=None, errors=[JaegerError(code=status, msg=message)])
    return JSONResponse(answer.model_dump(), status, headers)


router = APIRouter(route_class=JaegerRoute, include_in_schema=False)


@router.get("/services")
def get_services(reader: FromReader) -> Structured:
    """List services."""
    found = find_services(reader, time.time_ns())
    return Structured(data=found, total=len(found))


@router.get("/services/{service:path}/operations")
def get_service_operations(service: str, reader: FromReader) -> Structured:
    """List the names of a service's spans."""
    found = find_operations(reader, service, time.time_ns())
    names = list(dict.fromkeys(one.name for one in found))
    return Structured(data=names, total=len(names))


@router.get("/operations")
def get_operations(reader: FromReader, service: Text, spanKind: Text = "") -> Structured:
    """List names and kinds of a service's spans."""
    found = find_operations(reader, service, time.time_ns())
    data = [one for one in found if spanKind in {"", one.spanKind}]
    return Structured(data=data, total=len(data))


@router.get("/traces")
def get_traces(reader: FromReader, asked: Annotated[TraceSearch, Query()]) -> Structured:
    """Search traces, or read those with some ids."""
    now_ns = time.time_ns()
    if asked.traceID:
        wanted = [read_trace_id(text) for text in asked.traceID]
        return Structured(data=read_traces(reader, wanted, now_ns))
    return Structured(data=search(reader, asked, now_ns))


@router.get("/traces/{trace_id}")
def get_trace(trace_id: str, reader: FromReader) -> Structured:
    """Read one trace; a span of time beside its id changes nothing."""
    return Structured(data=[find_jaeger_trace(reader, trace_id, time.time_ns())])


@router.get("/dependencies")
def get_dependencies(reader: FromReader) -> Structured:
    """List none: who calls whom is not computed here."""
    return Structured(data=[])
