"""Values of other dialects as fields of a run: any value may come, and none raises."""

import math
from collections.abc import Callable, Mapping
from typing import Final, cast

from otel_ml_collector.mapping.dialects.events import structured
from otel_ml_collector.mapping.found import Found
from otel_ml_collector.mapping.providers import provider_of
from otel_ml_collector.mapping.values import parse, to_float, to_int, to_json, to_text
from otel_ml_collector.records import Tag
from otel_ml_collector.span import Value

_MAX_TAGS: Final = 128
_TAG_CHARS: Final = 256
_KNOWN_NOT: Final = "chain"

_Reader = Callable[[Value, bool], object]


def read_structured(value: Value) -> object:
    """Read JSON text of a list or a mapping, also when it was written as JSON twice.

    Any other value stays what it is: a text that happens to be a number is a text.
    """
    if not isinstance(value, str) or value.lstrip()[:1] not in {"[", "{", '"'}:
        return value
    found = parse(value)
    if isinstance(found, str):
        inner = structured(found)
        return value if isinstance(inner, str) else inner
    return found


def _read_quoted(value: Value) -> object:
    """Read a value that is JSON, plain texts and the items of a list too."""
    if isinstance(value, list | tuple):
        return [_read_quoted(item) if isinstance(item, str) else item for item in value]
    found = parse(value)
    return structured(found) if isinstance(found, str) else found


def read_kind(value: Value, kinds: Mapping[str, str]) -> str:
    """Read one of our kinds; the nearest to a word that nobody knows is a chain."""
    word = to_text(_unquote(value)).strip().lower()
    return kinds.get(word, _KNOWN_NOT) if word else ""


def add_tags(value: Value, found: Found, *, is_quoted: bool) -> None:
    """Add tags that nobody named before: a mapping's members, or names alone, which are true.

    What is nested is no tag, and stays among the attributes.

    Args:
        value: What tells them.
        found: What was found so far.
        is_quoted: Whether the members are JSON, plain texts too.
    """
    told = read_structured(value)
    if isinstance(told, Mapping):
        pairs = [(str(name), item) for name, item in told.items()]
        if is_quoted:
            pairs = [(name, _read_quoted(cast("Value", item))) for name, item in pairs]
    elif isinstance(told, list | tuple):
        pairs = [(name, True) for name in told if isinstance(name, str)]
    else:
        pairs = [(told, True)] if isinstance(told, str) else []
    tags = found.setdefault("tags", {})
    for name, item in sorted(pairs, key=lambda pair: pair[0]):
        is_tag = isinstance(item, str | bool | int | float) and 0 < len(name) <= _TAG_CHARS
        if is_tag and name not in tags and len(tags) < _MAX_TAGS:
            tags[name] = Tag(name, cast("str | bool | int | float", item))


def add_error(message: str, found: Found) -> None:
    """Tell that a run failed and why, unless what was found says that it did not."""
    found.setdefault("outcome", "error")
    if message and found["outcome"] == "error":
        found.setdefault("error_message", message)


def _unquote(value: Value) -> Value:
    """Take the quotes off a text that was written as JSON."""
    if isinstance(value, str) and value[:1] == '"':
        found = parse(value)
        return found if isinstance(found, str) else value
    return value


def _read_text(value: Value, is_quoted: bool) -> str | None:
    return to_text(_unquote(value) if is_quoted else value) or None


def _read_provider(value: Value, is_quoted: bool) -> str | None:
    text = _read_text(value, is_quoted)
    return provider_of(text) if text else None


def _read_count(value: Value, is_quoted: bool) -> int | None:
    return to_int(_unquote(value) if is_quoted else value)


def _read_cost(value: Value, is_quoted: bool) -> float | None:
    cost = to_float(_unquote(value) if is_quoted else value)
    return cost if cost is not None and math.isfinite(cost) else None


def _read_payload(value: Value, is_quoted: bool) -> tuple[object, str] | None:
    if value is None:
        return None
    told = _read_quoted(value) if is_quoted else read_structured(value)
    return told, to_json(told)


READERS: Final[Mapping[str, _Reader]] = {
    "model": _read_text,
    "provider": _read_provider,
    "provider_model": _read_text,
    "inputs": _read_payload,
    "outputs": _read_payload,
    "input_tokens": _read_count,
    "output_tokens": _read_count,
    "cached_tokens": _read_count,
    "reasoning_tokens": _read_count,
    "cost": _read_cost,
    "response_id": _read_text,
    "session": _read_text,
    "user": _read_text,
    "environment": _read_text,
    "release": _read_text,
}
