"""OTLP bytes to spans: the only module that knows the wire.

Spec: https://opentelemetry.io/docs/specs/otlp/
"""

import zlib
from collections.abc import Iterable, Iterator
from typing import Final

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2

from otel_ml_collector.errors import Refused, TooLarge
from otel_ml_collector.span import Event, Link, Scope, Span, Value

# zlib's window argument: 32 more reads gzip and zlib alike.
_WINDOW: Final = zlib.MAX_WBITS | 32
# Each member costs a copy of what is behind it.
_MEMBERS: Final = 64
ENCODINGS: Final = frozenset({"identity", "gzip", "deflate"})


def decompress(body: bytes, encoding: str, limit_bytes: int) -> bytes:
    """Decompress a body, and stop as soon as it is larger than the limit.

    Args:
        body: The request as received.
        encoding: One of `ENCODINGS`.
        limit_bytes: What the result may hold.

    Raises:
        TooLarge: The result is larger; no more than the limit was ever made.
        Refused: The body is not compressed as it says.
    """
    if encoding == "identity":
        return body
    parts: list[bytes] = []
    left = limit_bytes
    members = 0
    while body:  # gzip data may be several members, one after the other
        members += 1
        if members > _MEMBERS:
            raise Refused(f"The body has more than {_MEMBERS} {encoding} members")
        inflate = zlib.decompressobj(_WINDOW)
        try:
            part = inflate.decompress(body, left + 1)
        except zlib.error as error:
            raise Refused(f"The body is not {encoding} data: {error}") from error
        left -= len(part)
        if left < 0:
            raise TooLarge(f"The body has more than {limit_bytes} bytes uncompressed")
        if not inflate.eof:
            raise Refused(f"The body ends in the middle of its {encoding} data")
        parts.append(part)
        body = inflate.unused_data
    return b"".join(parts)


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
        resource = _attributes(resource_spans.resource.attributes)
        for scope_spans in resource_spans.scope_spans:
            scope = _scope(resource, scope_spans.scope)
            for span in scope_spans.spans:
                yield _span(span, scope)


def _scope(resource: dict[str, Value], scope: InstrumentationScope) -> Scope:
    return Scope(resource, scope.name, scope.version, _attributes(scope.attributes))


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
        attributes=_attributes(span.attributes),
        events=[
            Event(event.name, event.time_unix_nano, _attributes(event.attributes))
            for event in span.events
        ],
        links=[
            Link(link.trace_id, link.span_id, _attributes(link.attributes)) for link in span.links
        ],
        scope=scope,
    )


def _attributes(pairs: Iterable[KeyValue]) -> dict[str, Value]:
    """Read attributes; of a key that stands twice the last value stays."""
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Value:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    if kind == "kvlist_value":
        return _attributes(value.kvlist_value.values)
    if kind is None or kind == "string_value_strindex":  # profiles only: to be read as absent
        return None
    found: Value = getattr(value, kind)
    return found
