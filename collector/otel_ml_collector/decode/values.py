"""Requests, attribute values and scope in protobuf: what traces, logs and metrics share."""

from collections.abc import Iterable
from typing import TypeVar

from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue

from otel_ml_collector.errors import Refused
from otel_ml_collector.span import Scope, Value

Request = TypeVar("Request", bound=Message)


def parse(body: bytes, message: type[Request]) -> Request:
    """Read a request.

    Raises:
        Refused: It is no such message.
    """
    try:
        return message.FromString(body)
    except (DecodeError, RecursionError) as error:
        name = message.DESCRIPTOR.name
        raise Refused(f"The body is not an OTLP {name} in protobuf") from error


def scope_of(resource: dict[str, Value], scope: InstrumentationScope) -> Scope:
    """Join a scope and the attributes of its resource."""
    return Scope(resource, scope.name, scope.version, attributes_of(scope.attributes))


def attributes_of(pairs: Iterable[KeyValue]) -> dict[str, Value]:
    """Read attributes; of a key that stands twice the last value stays."""
    found: dict[str, Value] = {}
    for pair in pairs:
        value = pair.value
        # Most are texts: asking for one is faster than asking which kind it is.
        found[pair.key] = value.string_value or value_of(value)
    return found


def value_of(value: AnyValue) -> Value:
    """Read a value of any kind; None when it has none."""
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [value_of(item) for item in value.array_value.values]
    if kind == "kvlist_value":
        return attributes_of(value.kvlist_value.values)
    if kind is None or kind == "string_value_strindex":  # profiles only: to be read as absent
        return None
    found: Value = getattr(value, kind)
    return found
