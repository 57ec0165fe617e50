"""Traces as Jaeger's first query API writes them: tags with types, logs, references, processes.

Field by field as its `model/json` and what Jaeger 2 makes of spans of OpenTelemetry.
"""

# ruff: noqa: N815 - the names are Jaeger's

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from pydantic import BaseModel, Field

from otel_ml_collector.jaeger.attributes import SpanFacts, load_object, to_text

TagType = Literal["string", "bool", "int64", "float64", "binary"]
UNKNOWN_SERVICE: Final = "unknown_service"
_US: Final = 1_000
# Beyond it a number is not exact in a browser, and is text, as Jaeger writes it.
_SAFE: Final = 2**53 - 1


class KeyValue(BaseModel):
    """A tag, or a field of a log."""

    key: str
    type: TagType
    value: str | bool | int | float


class SpanReference(BaseModel):
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
    operationName: str
    references: list[SpanReference]
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


class Dependency(BaseModel):
    """How often spans of one service began below spans of another."""

    parent: str
    child: str
    callCount: int


class JaegerError(BaseModel):
    """What went wrong."""

    code: int
    msg: str


class MissingTrace(BaseModel):
    """One of several traces that is not here."""

    msg: str = "trace not found"
    traceID: str


class Structured(BaseModel):
    """Every answer, also that of an error."""

    data: list[JaegerTrace] | list[Operation] | list[Dependency] | list[str] | None
    total: int = 0
    limit: int = 0
    offset: int = 0
    errors: list[JaegerError] | list[MissingTrace] | None = None


def make_trace(trace_id: str, spans: Sequence[SpanFacts], *, is_cut: bool) -> JaegerTrace:
    """Make a trace of its spans."""
    processes: dict[str, JaegerProcess] = {}
    known: dict[str, str] = {}
    made: list[JaegerSpan] = []
    for span in spans:
        if span.resource not in known:
            known[span.resource] = f"p{len(known) + 1}"
            processes[known[span.resource]] = _process(load_object(span.resource))
        made.append(_span(span, known[span.resource]))
    warnings = [f"There are more spans than the {len(spans)} shown"] if is_cut else None
    return JaegerTrace(traceID=trace_id, spans=made, processes=processes, warnings=warnings)


def _process(resource: Mapping[str, Any]) -> JaegerProcess:
    rest = {name: value for name, value in sorted(resource.items()) if name != "service.name"}
    service = str(resource.get("service.name") or UNKNOWN_SERVICE)
    return JaegerProcess(serviceName=service, tags=_tags(rest))


def _span(span: SpanFacts, process: str) -> JaegerSpan:
    row = span.row
    return JaegerSpan(
        traceID=row["trace_id"],
        spanID=row["span_id"],
        operationName=row["name"],
        references=_references(span),
        startTime=row["start_ns"] // _US,
        duration=(row["latency_ns"] or 0) // _US,
        tags=_span_tags(span),
        logs=[
            JaegerLog(
                timestamp=event["time_ns"] // _US,
                fields=_tags({"event": event["name"], **dict(sorted(event["attributes"].items()))}),
            )
            for event in span.events
        ],
        processID=process,
        warnings=list(span.warnings) or None,
    )


def _references(span: SpanFacts) -> list[SpanReference]:
    parent = span.row["parent_span_id"]
    above = [SpanReference(refType="CHILD_OF", traceID=span.row["trace_id"], spanID=parent)]
    return [
        *(above if parent.strip("0") else []),
        *(
            SpanReference(refType="FOLLOWS_FROM", traceID=link["trace_id"], spanID=link["span_id"])
            for link in span.links
        ),
    ]


def _span_tags(span: SpanFacts) -> list[KeyValue]:
    code, message = span.status
    added: dict[str, Any] = {
        "span.kind": span.row["span_kind"],
        "otel.scope.name": span.scope.get("name"),
        "otel.scope.version": span.scope.get("version"),
        "otel.status_code": code,
        "otel.status_description": message,
    }
    if code == "ERROR":
        added["error"] = True
    told = {name: value for name, value in added.items() if value not in (None, "")}
    return _tags(dict(sorted({**told, **span.attributes}.items())), span.binary)


def _tags(values: Mapping[str, Any], binary: frozenset[str] = frozenset()) -> list[KeyValue]:
    return [
        KeyValue(key=name, type="binary", value=value) if name in binary else _tag(name, value)
        for name, value in values.items()
    ]


def _tag(name: str, value: Any) -> KeyValue:
    if isinstance(value, bool):
        return KeyValue(key=name, type="bool", value=value)
    if isinstance(value, int):
        exact = value if abs(value) <= _SAFE else str(value)
        return KeyValue(key=name, type="int64", value=exact)
    if isinstance(value, float):
        return KeyValue(key=name, type="float64", value=value)
    return KeyValue(key=name, type="string", value=to_text(value))
