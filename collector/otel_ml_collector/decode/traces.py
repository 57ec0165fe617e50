"""OTLP trace requests in protobuf to spans.

Spec: https://opentelemetry.io/docs/specs/otlp/
"""

from collections.abc import Iterator

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1 import trace_pb2

from otel_ml_collector.decode.values import attributes_of, scope_of
from otel_ml_collector.errors import Refused
from otel_ml_collector.span import Event, Link, Scope, Span


def decode_traces(body: bytes) -> list[Span]:
    """Read the spans of one OTLP export request in protobuf.

    Args:
        body: The request, uncompressed, already held to the size limit.

    Returns:
        Spans in the order of the request, empty for an empty request. Ids are as they came:
        whether they are valid is for the mapping to say, span by span.

    Raises:
        Refused: The body is no export request. Sending it again cannot help.

    Spec: https://opentelemetry.io/docs/specs/otlp/#otlphttp-request
    """
    try:
        request = ExportTraceServiceRequest.FromString(body)
    except (DecodeError, RecursionError) as error:
        raise Refused("The body is not an OTLP ExportTraceServiceRequest in protobuf") from error
    return list(_spans(request))


def _spans(request: ExportTraceServiceRequest) -> Iterator[Span]:
    for resource_spans in request.resource_spans:
        resource = attributes_of(resource_spans.resource.attributes)
        for scope_spans in resource_spans.scope_spans:
            scope = scope_of(resource, scope_spans.scope)
            for span in scope_spans.spans:
                yield _span(span, scope)


def _span(span: trace_pb2.Span, scope: Scope) -> Span:
    return Span(
        trace_id=span.trace_id,
        span_id=span.span_id,
        parent_span_id=span.parent_span_id,
        name=span.name,
        kind=span.kind,
        start_ns=span.start_time_unix_nano,
        end_ns=span.end_time_unix_nano,
        status_code=span.status.code,
        status_message=span.status.message,
        attributes=attributes_of(span.attributes),
        events=[
            Event(event.name, event.time_unix_nano, attributes_of(event.attributes))
            for event in span.events
        ],
        links=[
            Link(link.trace_id, link.span_id, attributes_of(link.attributes)) for link in span.links
        ],
        scope=scope,
    )
