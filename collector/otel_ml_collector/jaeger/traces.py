"""Traces in the formats of Jaeger's query APIs, and the models of the answers.

Version 1 has typed tags, logs, references and processes. Its fields follow Jaeger's `model/json`
and the way Jaeger 2 converts OpenTelemetry spans. Version 3 has OTLP as JSON. Spec:
https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding
"""

# ruff: noqa: N815 - the names are Jaeger's

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import Any, Final, Literal

from pydantic import Field

from otel_ml_collector.answer_body import AnswerBody
from otel_ml_collector.jaeger.attributes import TRACE_STATE, SpanFacts, load_object, to_text

TagType = Literal["string", "bool", "int64", "float64", "binary"]
UNKNOWN_SERVICE: Final = "unknown_service"
_US: Final = 1_000
# Larger integers are not exact in a browser and become text, as in Jaeger.
_SAFE: Final = 2**53 - 1
_KINDS: Final = {"internal": 1, "server": 2, "client": 3, "producer": 4, "consumer": 5}
_CODES: Final = {"OK": 1, "ERROR": 2}
# JSON names of the fields in `Span.otlp`.
_IN_JSON: Final = {
    "trace_state": "traceState",
    "flags": "flags",
    "dropped_attributes_count": "droppedAttributesCount",
    "dropped_events_count": "droppedEventsCount",
    "dropped_links_count": "droppedLinksCount",
}
# Jaeger's attribute for warnings about a span.
_WARNINGS: Final = "@jaeger@warnings"


class KeyValue(AnswerBody):
    """A tag, or a field of a log."""

    key: str
    type: TagType
    value: str | bool | int | float


class SpanReference(AnswerBody):
    """A reference from one span to another."""

    refType: Literal["CHILD_OF", "FOLLOWS_FROM"]
    traceID: str
    spanID: str


class JaegerLog(AnswerBody):
    """An event of a span."""

    timestamp: int = Field(description="Microseconds since the epoch")
    fields: list[KeyValue]


class JaegerProcess(AnswerBody):
    """The resource of spans: service name and tags."""

    serviceName: str
    tags: list[KeyValue]


class JaegerSpan(AnswerBody):
    """A span. Times are in microseconds."""

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


class JaegerTrace(AnswerBody):
    """A trace with its spans, oldest first."""

    traceID: str
    spans: list[JaegerSpan]
    processes: dict[str, JaegerProcess]
    warnings: list[str] | None


class Operation(AnswerBody):
    """An operation of a service."""

    name: str
    spanKind: str


class Dependency(AnswerBody):
    """Number of calls from one service to another."""

    parent: str
    child: str
    callCount: int


class JaegerError(AnswerBody):
    """An error in Jaeger's format."""

    code: int
    msg: str


class MissingTrace(AnswerBody):
    """A requested trace that does not exist or does not fit into the answer."""

    msg: str = "trace not found"
    traceID: str


class Structured(AnswerBody):
    """The envelope of every answer, including errors."""

    data: list[JaegerTrace] | list[Operation] | list[Dependency] | list[str] | None
    total: int = 0
    limit: int = 0
    offset: int = 0
    errors: list[JaegerError] | list[MissingTrace] | None = None


def part_servers(spans: Sequence[SpanFacts]) -> Sequence[SpanFacts]:
    """Give a server span its own id if it shares the id of its client, as Jaeger does.

    The server span becomes a child of its client span, and children of the shared id become
    children of the server span. The new id is the lowest one that is unused in the trace.
    """
    clients = {span.row["span_id"] for span in spans if span.row["span_kind"] == "client"}
    shared = [
        place
        for place, span in enumerate(spans)
        if span.row["span_kind"] == "server" and span.row["span_id"] in clients
    ]
    if not shared:
        return spans
    used = {span.row["span_id"] for span in spans}
    free = (span_id for number in count(1) if (span_id := f"{number:016x}") not in used)
    own = dict(zip(shared, free, strict=False))
    servers = {spans[place].row["span_id"]: span_id for place, span_id in own.items()}
    parted = []
    for place, span in enumerate(spans):
        old, above = span.row["span_id"], span.row["parent_span_id"]
        ids = {"parent_span_id": servers.get(above, above)}
        if place in own:
            ids = {"span_id": own[place], "parent_span_id": old}
        parted.append(replace(span, row={**span.row, **ids}))
    return parted


def make_trace(
    trace_id: str, spans: Sequence[SpanFacts], warnings: Sequence[str] = ()
) -> JaegerTrace:
    """Build a trace from its spans, with warnings about it."""
    processes: dict[str, JaegerProcess] = {}
    known: dict[str, str] = {}
    made: list[JaegerSpan] = []
    for span in spans:
        if span.resource not in known:
            known[span.resource] = f"p{len(known) + 1}"
            resource = load_object(span.resource)
            rest = {
                name: value for name, value in sorted(resource.items()) if name != "service.name"
            }
            service = str(resource.get("service.name") or UNKNOWN_SERVICE)
            processes[known[span.resource]] = JaegerProcess(serviceName=service, tags=_tags(rest))
        made.append(_span(span, known[span.resource]))
    return JaegerTrace(
        traceID=trace_id, spans=made, processes=processes, warnings=list(warnings) or None
    )


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
        TRACE_STATE: span.otlp.get("trace_state"),
    }
    if code == "ERROR":
        added["error"] = True
    facts = {name: value for name, value in added.items() if value not in (None, "")}
    return _tags(dict(sorted({**facts, **span.attributes}.items())), span.binary)


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


def make_result(spans: Sequence[SpanFacts]) -> dict[str, Any]:
    """Return spans grouped by resource and scope, as ``{"result": {"resourceSpans": …}}``."""
    resources: dict[tuple[str, str], dict[str, Any]] = {}
    scopes: dict[tuple[str, str], dict[str, Any]] = {}
    for span in spans:
        value = span.scope.get("resource", {})
        resource = resources.setdefault(
            (span.resource, to_text(value)),
            {"resource": _resource(span.resource, value), "scopeSpans": [], **_schema(value)},
        )
        key = span.resource, to_text(span.scope)  # includes the resource
        if key not in scopes:
            scopes[key] = {"scope": _scope(span.scope), "spans": [], **_schema(span.scope)}
            resource["scopeSpans"].append(scopes[key])
        scopes[key]["spans"].append(_otlp_span(span))
    return {"result": {"resourceSpans": list(resources.values())}}


def _schema(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {"schemaUrl": facts["schema_url"]} if facts.get("schema_url") else {}


def _otlp(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return trace state, flags and dropped counts by their JSON names."""
    return {written: facts[name] for name, written in _IN_JSON.items() if facts.get(name)}


def _resource(text: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    document = load_object(text)
    service = document.get("service.name") or UNKNOWN_SERVICE
    return {"attributes": _pairs({**document, "service.name": service}), **_otlp(facts)}


def _scope(scope: Mapping[str, Any]) -> dict[str, Any]:
    facts = {name: scope[name] for name in ("name", "version") if scope.get(name)} | _otlp(scope)
    attributes = scope.get("attributes", {})
    return {**facts, "attributes": _pairs(attributes)} if attributes else facts


def _otlp_span(span: SpanFacts) -> dict[str, Any]:
    row = span.row
    code, message = span.status
    attributes = dict(span.attributes)
    if span.warnings:
        attributes[_WARNINGS] = list(span.warnings)
    made: dict[str, Any] = {
        "traceId": row["trace_id"],
        "spanId": row["span_id"],
        "parentSpanId": row["parent_span_id"].strip("0") and row["parent_span_id"],
        "name": row["name"],
        "kind": _KINDS.get(row["span_kind"], 0),
        "startTimeUnixNano": str(row["start_ns"]),
        "endTimeUnixNano": str(row["start_ns"] + (row["latency_ns"] or 0)),
        "attributes": _pairs(attributes, span.binary),
        "events": [_event(event) for event in span.events],
        "links": [_link(link) for link in span.links],
        **_otlp(span.otlp),
    }
    status = {"message": message, "code": _CODES.get(code, 0)}
    return {
        **{name: value for name, value in made.items() if value},
        "status": {name: value for name, value in status.items() if value},
    }


def _event(event: Mapping[str, Any]) -> dict[str, Any]:
    made = {"timeUnixNano": str(event["time_ns"]), "name": event["name"], **_otlp(event)}
    attributes = event["attributes"]
    return {**made, "attributes": _pairs(attributes)} if attributes else made


def _link(link: Mapping[str, Any]) -> dict[str, Any]:
    made = {"traceId": link["trace_id"], "spanId": link["span_id"], **_otlp(link)}
    attributes = link.get("attributes")
    return {**made, "attributes": _pairs(attributes)} if attributes else made


def _pairs(values: Mapping[str, Any], binary: frozenset[str] = frozenset()) -> list[dict[str, Any]]:
    return [
        {"key": name, "value": {"bytesValue": value} if name in binary else _any_value(value)}
        for name, value in sorted(values.items())
    ]


def _any_value(value: Any) -> dict[str, Any]:
    match value:
        case None:
            return {}
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}
        case float():
            return {"doubleValue": value}
        case str():
            return {"stringValue": value}
        case list():
            return {"arrayValue": {"values": [_any_value(item) for item in value]} if value else {}}
        case _:
            return {"kvlistValue": {"values": _pairs(value)} if value else {}}
