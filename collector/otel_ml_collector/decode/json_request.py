"""OTLP requests in JSON: the object that one is, and the records below its resources and scopes.

Spec: https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding
"""

import re
from collections.abc import Callable, Mapping
from functools import partial
from itertools import chain
from typing import Final

import orjson

from otel_ml_collector.decode.bounds import check_records
from otel_ml_collector.decode.json_values import (
    Item,
    JsonObject,
    attributes_of,
    each,
    kind_of,
    text,
    within,
)
from otel_ml_collector.errors import Refused
from otel_ml_collector.span import Scope, Value

# Each escape; group 1 is half a surrogate pair, which JavaScript writes where a text is cut.
_ESCAPE: Final = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)


def parse(body: bytes, message: str) -> JsonObject:
    """Read a request; numbers that are no JSON, such as NaN, are not read.

    Args:
        body: The request.
        message: What it should be, for the error.

    Raises:
        Refused: It is no JSON object.
    """
    try:
        found = _load(body)
    except orjson.JSONDecodeError as error:
        raise Refused(f"The body is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise Refused(
            f"The body is not an OTLP {message}: expected an object, got {kind_of(found)}"
        )
    return found


def _load(body: bytes) -> object:
    try:
        found: object = orjson.loads(body)
    except orjson.JSONDecodeError:
        if b"\\u" not in body:
            raise
        found = orjson.loads(_ESCAPE.sub(_whole_escape, body))
    return found


def _whole_escape(match: re.Match[bytes]) -> bytes:
    return rb"\ufffd" if match[1] else match[0]


def _check_size(request: JsonObject, *keys: str) -> None:
    """Refuse a request of too many records or envelopes; what is no list is left for `each`.

    Args:
        request: The request.
        keys: The names of the lists, from the outer one to the records.

    Raises:
        TooLarge: It has more than can be stored at once.
    """
    level: list[object] = [request]
    for key in keys:
        lists = [found.get(key) for found in level if isinstance(found, dict)]
        check_records(sum(len(items) for items in lists if isinstance(items, list)))
        level = [item for items in lists if isinstance(items, list) for item in items]


def records_of(
    body: bytes,
    message: str,
    levels: tuple[str, str, str],
    read: Callable[[Scope, JsonObject], Item],
) -> list[Item]:
    """Read what a request holds below its resources and scopes.

    Args:
        body: The request.
        message: What it should be, for the error.
        levels: The names of the lists: of resources, scopes and records.
        read: Reads one record of a scope.

    Raises:
        Refused: It is no such request; where a field is wrong, a `BadField`.
    """
    resources, scopes, records = levels
    request = parse(body, message)
    _check_size(request, *levels)

    def read_resource(found: JsonObject) -> list[Item]:
        resource = within(found, "resource", attributes_of)
        return list(chain.from_iterable(each(found, scopes, partial(read_scope, resource))))

    def read_scope(resource: Mapping[str, Value], found: JsonObject) -> list[Item]:
        return each(found, records, partial(read, _scope_of(resource, found)))

    return list(chain.from_iterable(each(request, resources, read_resource)))


def _scope_of(resource: Mapping[str, Value], parent: JsonObject) -> Scope:
    """Join a scope and the attributes of its resource."""

    def read(found: JsonObject) -> Scope:
        return Scope(resource, text(found, "name"), text(found, "version"), attributes_of(found))

    return within(parent, "scope", read)
