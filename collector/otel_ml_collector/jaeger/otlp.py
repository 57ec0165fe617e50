"""Traces as Jaeger's third query API writes them: OTLP as JSON, in the shape of its messages.

Spec: https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from otel_ml_collector.jaeger.attributes import SpanFacts, load_object, to_text
from otel_ml_collector.jaeger.traces import UNKNOWN_SERVICE

_KINDS: Final = {"internal": 1, "server": 2, "client": 3, "producer": 4, "consumer": 5}
_CODES: Final = {"OK": 1, "ERROR": 2}
# Jaeger's own name of an attribute that holds what is wrong with a span.
_WARNINGS: Final = "@jaeger@warnings"


def make_result(spans: Sequence[SpanFacts]) -> dict[str, Any]:
    """Write spans below their resources and scopes, as ``{"result": {"resourceSpans": …}}``."""
    resources: dict[str, dict[str, dict[str, Any]]] = {}
    for span in spans:
        scopes = resources.setdefault(span.resource, {})
        scope = scopes.setdefault(
            to_text(span.scope), {"scope": _scope(span.scope), "spans": list[Any]()}
        )
        scope["spans"].append(_span(span))
    return {
        "result": {
            "resourceSpans": [
                {"resource": _resource(resource), "scopeSpans": list(scopes.values())}
                for resource, scopes in resources.items()
            ]
        }
    }


def _resource(text: str) -> dict[str, Any]:
    said = load_object(text)
    return {
        "attributes": _pairs({**said, "service.name": said.get("service.name") or UNKNOWN_SERVICE})
    }


def _scope(scope: Mapping[str, Any]) -> dict[str, Any]:
    told = {name: scope[name] for name in ("name", "version") if scope.get(name)}
    attributes = scope.get("attributes", {})
    return {**told, "attributes": _pairs(attributes)} if attributes else told


def _span(span: SpanFacts) -> dict[str, Any]:
    row = span.row
    code, message = span.status
    said = dict(span.attributes)
    if span.warnings:
        said[_WARNINGS] = list(span.warnings)
    made: dict[str, Any] = {
        "traceId": row["trace_id"],
        "spanId": row["span_id"],
        "parentSpanId": row["parent_span_id"].strip("0") and row["parent_span_id"],
        "name": row["name"],
        "kind": _KINDS.get(row["span_kind"], 0),
        "startTimeUnixNano": str(row["start_ns"]),
        "endTimeUnixNano": str(row["start_ns"] + (row["latency_ns"] or 0)),
        "attributes": _pairs(said, span.binary),
        "events": [_event(event) for event in span.events],
        "links": [_link(link) for link in span.links],
    }
    status = {"message": message, "code": _CODES.get(code, 0)}
    return {
        **{name: value for name, value in made.items() if value},
        "status": {name: value for name, value in status.items() if value},
    }


def _event(event: Mapping[str, Any]) -> dict[str, Any]:
    made = {"timeUnixNano": str(event["time_ns"]), "name": event["name"]}
    attributes = event["attributes"]
    return {**made, "attributes": _pairs(attributes)} if attributes else made


def _link(link: Mapping[str, Any]) -> dict[str, Any]:
    made = {"traceId": link["trace_id"], "spanId": link["span_id"]}
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
            return {"arrayValue": {"values": [_any_value(one) for one in value]} if value else {}}
        case _:
            return {"kvlistValue": {"values": _pairs(value)} if value else {}}
