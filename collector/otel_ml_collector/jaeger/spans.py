"""Runs as spans of Jaeger: tags with types, logs, references, processes.

The answers are field by field as Jaeger's `model/json` and `http_handler` say.
"""

# ruff: noqa: N815 - the names are Jaeger's

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal

import orjson
from pydantic import BaseModel, Field

from otel_ml import attributes as names
from otel_ml.records import Run, attributes_of
from otel_ml_collector.store.reader import Row, is_open, load_json

TagType = Literal["string", "bool", "int64", "float64", "binary"]
_US: Final = 1_000
# Beyond it a number is not exact in a browser, and is text, as Jaeger writes it.
_SAFE: Final = 2**53 - 1
# Fields of a run as the attributes by which they came.
_FIELDS: Final = attributes_of(Run)
UNKNOWN: Final = "unknown_service"


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
    return JaegerProcess(serviceName=str(resource.get("service.name") or UNKNOWN), tags=_tags(rest))


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


def payloads_by_span(project: str, rows: Iterable[Row]) -> dict[str, Row]:
    """Keep of each span's payload the delivery that counts, by project and id."""
    best: dict[str, Row] = {}
    for row in sorted(rows, key=lambda row: int(row["rank"])):
        best[f"{project}/{row['span']}"] = row
    return best
