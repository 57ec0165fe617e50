"""Spans and log records as OTLP/JSON, written without protobuf, in every allowed form."""

import json
import math
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from random import Random
from typing import Any

from otel_ml_collector.span import Log, Scope, Span, Value

_IN_JSON = {
    "trace_state": "traceState",
    "flags": "flags",
    "dropped_attributes_count": "droppedAttributesCount",
    "dropped_events_count": "droppedEventsCount",
    "dropped_links_count": "droppedLinksCount",
}
_NOT_IN_JSON = {math.inf: "Infinity", -math.inf: "-Infinity"}


def encode_json(spans: Iterable[Span], random: Random) -> bytes:
    """Return spans as one export request, each with its own resource and scope."""
    writer = _Writer(random)
    told = [(span.scope, writer.span(span)) for span in spans]
    return writer.request("resourceSpans", "scopeSpans", "spans", told)


def encode_json_logs(logs: Iterable[Log], random: Random) -> bytes:
    """Return log records as one export request, each with its own resource and scope."""
    writer = _Writer(random)
    told = [(log.scope, writer.log(log)) for log in logs]
    return writer.request("resourceLogs", "scopeLogs", "logRecords", told)


class _Writer:
    """Picks one of the allowed forms of each value at random."""

    def __init__(self, random: Random) -> None:
        self._random = random

    def request(
        self, resources: str, scopes: str, records: str, told: Sequence[tuple[Scope, object]]
    ) -> bytes:
        """Return a request with records; the first three arguments are the names of its lists."""
        request = {
            resources: [
                {
                    "resource": self._object(
                        attributes=self.pairs(scope.resource),
                        droppedAttributesCount=scope.resource_dropped_attributes,
                    ),
                    "schemaUrl": scope.resource_schema_url,
                    scopes: [
                        {
                            "scope": self.scope(scope),
                            "schemaUrl": scope.schema_url,
                            records: [record],
                        }
                    ],
                }
                for scope, record in told
            ]
        }
        return json.dumps(request, ensure_ascii=self._random.random() < 0.5).encode()

    def span(self, span: Span) -> dict[str, Any]:
        return self._object(
            traceId=self._hex(span.trace_id),
            spanId=self._hex(span.span_id),
            parentSpanId=self._hex(span.parent_span_id),
            name=span.name,
            kind=span.kind,
            startTimeUnixNano=self._integer(span.start_ns),
            endTimeUnixNano=self._integer(span.end_ns),
            status=self._object(code=span.status_code, message=span.status_message),
            attributes=self.pairs(span.attributes),
            events=[
                self._object(
                    name=event.name,
                    timeUnixNano=self._integer(event.time_ns),
                    attributes=self.pairs(event.attributes),
                    droppedAttributesCount=self._integer(event.dropped_attributes),
                )
                for event in span.events
            ],
            links=[
                self._object(
                    traceId=self._hex(link.trace_id),
                    spanId=self._hex(link.span_id),
                    attributes=self.pairs(link.attributes),
                    traceState=link.trace_state,
                    flags=link.flags,
                    droppedAttributesCount=link.dropped_attributes,
                )
                for link in span.links
            ],
            **{_IN_JSON[name]: value for name, value in span.otlp.items()},
        )

    def log(self, log: Log) -> dict[str, Any]:
        return self._object(
            traceId=self._hex(log.trace_id),
            spanId=self._hex(log.span_id),
            timeUnixNano=self._integer(log.time_ns),
            observedTimeUnixNano=self._integer(log.observed_ns),
            severityNumber=log.severity_number,
            severityText=log.severity_text,
            eventName=log.event,
            body=self.value(log.body),
            attributes=self.pairs(log.attributes),
        )

    def scope(self, scope: Scope) -> dict[str, Any]:
        return self._object(
            name=scope.name,
            version=scope.version,
            attributes=self.pairs(scope.attributes),
            droppedAttributesCount=scope.dropped_attributes,
        )

    def pairs(self, attributes: Mapping[str, Value]) -> list[dict[str, Any]]:
        return [{"key": key, "value": self.value(value)} for key, value in attributes.items()]

    def value(self, value: Value) -> dict[str, Any]:
        if value is None:
            return {}
        if isinstance(value, bool):
            return {"boolValue": value}
        if isinstance(value, int):
            return {"intValue": self._integer(value)}
        if isinstance(value, float):
            return {"doubleValue": _NOT_IN_JSON.get(value, value)}
        if isinstance(value, str):
            return {"stringValue": value}
        if isinstance(value, bytes):
            return {"bytesValue": b64encode(value).decode()}
        if isinstance(value, Mapping):
            return {"kvlistValue": self._object(values=self.pairs(value))}
        assert isinstance(value, Sequence)
        return {"arrayValue": self._object(values=[self.value(item) for item in value])}

    def _integer(self, number: int) -> int | str:
        return number if self._chance() else str(number)

    def _hex(self, found: bytes) -> str:
        return found.hex().upper() if self._chance() else found.hex()

    def _object(self, **fields: Any) -> dict[str, Any]:
        """Omit empty values or make them null, and add a field that OTLP does not define."""
        said: dict[str, Any] = {}
        for key, value in fields.items():
            if value or not self._chance():
                said[key] = value
            elif self._chance():
                said[key] = None
        return {**said, "fieldOfTomorrow": {"a": [1]}} if self._chance() else said

    def _chance(self) -> bool:
        return self._random.random() < 0.5
