"""Spans as OTLP protobuf, written with the official messages."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import (
    AnyValue,
    ArrayValue,
    InstrumentationScope,
    KeyValue,
    KeyValueList,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1 import trace_pb2

from otel_ml_collector.span import Scope, Span, Value


def encode(spans: Iterable[Span]) -> bytes:
    """Return spans as one export request, each with its own resource and scope."""
    request = ExportTraceServiceRequest()
    for span in spans:
        scope = span.scope
        resource_spans = request.resource_spans.add(
            resource=resource_of(scope), schema_url=scope.resource_schema_url
        )
        resource_spans.scope_spans.add(
            scope=instrumentation(scope), spans=[_message(span)], schema_url=scope.schema_url
        )
    return request.SerializeToString()


def resource_of(scope: Scope) -> Resource:
    """Return the resource of a scope."""
    return Resource(
        attributes=pairs(scope.resource),
        dropped_attributes_count=scope.resource_dropped_attributes,
    )


def instrumentation(scope: Scope) -> InstrumentationScope:
    """Return a scope without its resource."""
    return InstrumentationScope(
        name=scope.name,
        version=scope.version,
        attributes=pairs(scope.attributes),
        dropped_attributes_count=scope.dropped_attributes,
    )


def any_value(value: Value) -> AnyValue:
    """Return one attribute value; None becomes an empty one."""
    message = AnyValue()
    if isinstance(value, bool):
        message.bool_value = value
    elif isinstance(value, int):
        message.int_value = value
    elif isinstance(value, float):
        message.double_value = value
    elif isinstance(value, str):
        message.string_value = value
    elif isinstance(value, bytes):
        message.bytes_value = value
    elif isinstance(value, Mapping):
        message.kvlist_value.CopyFrom(KeyValueList(values=pairs(value)))
    elif isinstance(value, Sequence):
        message.array_value.CopyFrom(ArrayValue(values=[any_value(item) for item in value]))
    return message


def pairs(attributes: Mapping[str, Value]) -> list[KeyValue]:
    """Return attributes as key-value pairs."""
    return [KeyValue(key=key, value=any_value(value)) for key, value in attributes.items()]


def _message(span: Span) -> trace_pb2.Span:
    return trace_pb2.Span(
        trace_id=span.trace_id,
        span_id=span.span_id,
        parent_span_id=span.parent_span_id,
        name=span.name,
        kind=trace_pb2.Span.SpanKind.ValueType(span.kind),
        start_time_unix_nano=span.start_ns,
        end_time_unix_nano=span.end_ns,
        status=trace_pb2.Status(
            code=trace_pb2.Status.StatusCode.ValueType(span.status_code),
            message=span.status_message,
        ),
        attributes=pairs(span.attributes),
        events=[
            trace_pb2.Span.Event(
                name=event.name,
                time_unix_nano=event.time_ns,
                attributes=pairs(event.attributes),
                dropped_attributes_count=event.dropped_attributes,
            )
            for event in span.events
        ],
        links=[
            trace_pb2.Span.Link(
                trace_id=link.trace_id,
                span_id=link.span_id,
                attributes=pairs(link.attributes),
                trace_state=link.trace_state,
                flags=link.flags,
                dropped_attributes_count=link.dropped_attributes,
            )
            for link in span.links
        ],
        **cast("dict[str, Any]", span.otlp),
    )
