"""Reads the fields of a run by the tables of dialects; any value may come, and none raises."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final, cast

from otel_ml.records import TOKENS
from otel_ml_collector.mapping.dialects.table import (
    Dialect,
    Failure,
    FieldSource,
    Form,
    Leaf,
    Present,
    Row,
    Shape,
)
from otel_ml_collector.mapping.found import Found
from otel_ml_collector.mapping.values import parse, read_payload, to_float, to_int, to_json, to_text
from otel_ml_collector.owners import RESPONSE_CHARS
from otel_ml_collector.price import provider_of
from otel_ml_collector.records import Tag
from otel_ml_collector.span import Span, Value

_MAX_TAGS: Final = 128
_TAG_CHARS: Final = 256
_PAYLOADS: Final = frozenset({"inputs", "outputs"})
# A payload that is an empty text, and its JSON text.
_EMPTY: Final = ("", '""')


class SpanValues:
    """The attributes of one span while its dialects are read.

    Args:
        attributes: As they came.
        used: Names whose values fill a field, and stay no attributes.
    """

    __slots__ = ("_opened", "attributes", "used")

    def __init__(self, attributes: Mapping[str, Value], used: set[str]) -> None:
        self.attributes = attributes
        self.used = used
        # What was read of JSON so far: several sources are members of one.
        self._opened: dict[str, object] = {}

    def read(self, source: FieldSource) -> Value:
        """Read the value of a source; None when it has none."""
        attributes = self.attributes
        if source.name:
            return attributes[source.name]
        if source.shape is not None:
            return fill(source.shape, attributes)
        if source.prefix:
            return {name.removeprefix(source.prefix): attributes[name] for name in source.names}
        if source.schema:
            return self._read_listed(source.schema)
        told = self._open(source.names[0])
        for member in source.member:
            told = told.get(member) if isinstance(told, Mapping) else None
        return cast("Value", told)

    def _open(self, name: str) -> object:
        if name not in self._opened:
            self._opened[name] = read_structured(self.attributes[name])
        return self._opened[name]

    def _read_listed(self, schema: str) -> Value:
        """Read the attributes that a JSON schema lists and that fill no field yet."""
        told = self._open(schema)
        properties = told.get("properties") if isinstance(told, Mapping) else None
        listed = properties if isinstance(properties, Mapping) else ()
        names = [name for name in listed if name in self.attributes and name not in self.used]
        arguments = {name: read_structured(self.attributes[name]) for name in names}
        return cast("Value", arguments or None)


def fill(shape: Shape, attributes: Mapping[str, Value]) -> Value:
    """Put a span's values into a list that was found in its names."""
    if isinstance(shape, Leaf):
        return attributes[shape.name]
    if isinstance(shape, Mapping):
        return {name: fill(inner, attributes) for name, inner in shape.items()}
    return [fill(inner, attributes) for inner in shape]


def is_spoken(dialect: Dialect, span: Span) -> bool:
    """Tell whether a span is of those who speak a dialect, where its names alone do not."""
    return not dialect.sdk or span.scope.resource.get("telemetry.sdk.name") == dialect.sdk


def read_dialect(span: Span, present: Present, values: SpanValues, found: Found) -> None:
    """Fill the fields that a dialect names and nobody named before."""
    dialect = present.dialect
    if dialect.sdk and not is_spoken(dialect, span):
        return
    found.setdefault("dialect", dialect.name)
    if "kind" not in found and (kind := _read_kind(present, values.attributes)):
        found["kind"] = kind
    read_rows(present, values, found)
    if dialect.failure is not None:
        _read_failure(span, dialect.failure, found)


def read_rows(
    present: Present, values: SpanValues, found: Found, fields: Collection[str] | None = None
) -> None:
    """Fill the fields of a table's rows, or of some of them, that nobody named before."""
    filled = cast("dict[str, Any]", found)
    for row, sources, form in present.rows:
        name = row.field
        if row.on and found.get("kind") not in row.on:
            continue
        if fields is not None and name not in fields:
            continue
        if name == "tags":
            for source in sources:
                _add_tags(values.read(source), form, found)
        elif name in filled:
            continue
        elif name == "params":
            _read_params(sources, values, found)
        else:
            _read_field(row, sources, form, values, filled)


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


def structured(value: Value) -> Value:
    """Read JSON text that is a list or a mapping; any other value stays what it is."""
    if not isinstance(value, str) or value.lstrip()[:1] not in {"[", "{"}:
        return value
    return cast("Value", parse(value))


def _read_kind(present: Present, attributes: Mapping[str, Value]) -> str:
    """Read one of our kinds; a word that the dialect does not know has one for all such."""
    dialect = present.dialect
    for name in present.kind_sources:
        word = attributes[name]
        if isinstance(word, str) and word in dialect.kinds:
            return dialect.kinds[word]
        if word := to_text(_unquote(word)).strip().lower():
            return dialect.kinds.get(word, dialect.other_kind)
    return present.kind


def _read_field(
    row: Row, sources: Sequence[FieldSource], form: Form, values: SpanValues, fields: dict[str, Any]
) -> None:
    """Fill a field from the first source that can be read; an empty one counts when all are."""
    read, attributes = _READERS[row.field], values.attributes
    chosen: Any = None
    of: FieldSource | None = None
    for source in sources:
        told = attributes[source.name] if source.name else values.read(source)
        if source.text_if and isinstance(told, str) and _is_text(source, attributes):
            value: object = (told, to_json(told))
        else:
            value = read(told, form)
        if value is not None and (of is None or value != _EMPTY):
            chosen, of = value, source
            if value != _EMPTY:
                break
    if of is None:
        return
    if row.field in _PAYLOADS:
        values.used.update(of.names or chosen[0])
        if row.system in attributes:
            chosen = _with_system(row.system, chosen, values)
    fields[row.field] = chosen


def _is_text(source: FieldSource, attributes: Mapping[str, Value]) -> bool:
    return attributes.get(source.text_if) == "text/plain"


def _with_system(name: str, inputs: tuple[object, str], values: SpanValues) -> tuple[object, str]:
    """Put instructions before messages, unless they have some."""
    messages, system = inputs[0], parse(values.attributes.get(name))
    if system is None or not isinstance(messages, list) or any(map(_is_system, messages)):
        return inputs
    values.used.add(name)
    joined = [{"role": "system", "parts": system}, *messages]
    return joined, to_json(joined)


def _is_system(message: object) -> bool:
    return isinstance(message, Mapping) and message.get("role") == "system"


def _read_params(sources: Sequence[FieldSource], values: SpanValues, found: Found) -> None:
    params: dict[str, object] = {}
    for source in sources:
        told = read_structured(values.read(source))
        if isinstance(told, Mapping):
            for name, value in told.items():
                params.setdefault(name, value)
        elif told is not None and len(source.names) == 1 and not source.prefix:
            params.setdefault(source.names[0].rpartition(".")[2], told)
    if params:
        found["params"] = to_json(params)


def _add_tags(value: Value, form: Form, found: Found) -> None:
    """Add tags that nobody named before: a mapping's members, or names alone, which are true.

    What is nested is no tag, and stays among the attributes.
    """
    told = read_structured(value)
    if isinstance(told, Mapping):
        pairs = [(str(name), item) for name, item in told.items()]
        if form == "quoted":
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


def _read_failure(span: Span, failure: Failure, found: Found) -> None:
    """Tell that a run failed and why, unless what was found says that it did not."""
    told = span.attributes.get(failure.level)
    if isinstance(failure.at, str):
        has_failed = told == failure.at
    else:
        has_failed = (to_int(told) or 0) >= failure.at
    if not has_failed or found.setdefault("outcome", "error") != "error":
        return
    has_better = failure.is_spare and (span.events or span.status_message)
    message = "" if has_better else to_text(span.attributes.get(failure.message))
    if message:
        found.setdefault("error_message", message)


def _read_quoted(value: Value) -> object:
    """Read a value that is JSON, plain texts and the items of a list too."""
    if isinstance(value, list | tuple):
        return [_read_quoted(item) if isinstance(item, str) else item for item in value]
    found = parse(value)
    return structured(found) if isinstance(found, str) else found


def _unquote(value: Value) -> Value:
    """Take the quotes off a text that was written as JSON."""
    if isinstance(value, str) and value[:1] == '"':
        found = parse(value)
        return found if isinstance(found, str) else value
    return value


def _read_text(value: Value, form: Form) -> str | None:
    if form == "quoted":
        value = _unquote(value)
    return (value if isinstance(value, str) else to_text(value)) or None


def _read_provider(value: Value, form: Form) -> str | None:
    text = _read_text(value, form)
    return provider_of(text) if text else None


def _read_response(value: Value, form: Form) -> str | None:
    text = _read_text(value, form)
    return text and text[:RESPONSE_CHARS]


def _read_count(value: Value, form: Form) -> int | None:
    return to_int(_unquote(value) if form == "quoted" else value)


def _read_cost(value: Value, form: Form) -> float | None:
    cost = to_float(_unquote(value) if form == "quoted" else value)
    return cost if cost is not None and math.isfinite(cost) else None


def _read_payload(value: Value, form: Form) -> tuple[object, str] | None:
    if value is None:
        return None
    if form == "json":
        return read_payload(value)
    told = _read_quoted(value) if form == "quoted" else read_structured(value)
    return told, to_json(told)


_READERS: Final[Mapping[str, Callable[[Value, Form], object]]] = {
    "model": _read_text,
    "provider": _read_provider,
    "provider_model": _read_text,
    "inputs": _read_payload,
    "outputs": _read_payload,
    **dict.fromkeys(TOKENS, _read_count),
    "cost": _read_cost,
    "response_id": _read_response,
    "session": _read_text,
    "user": _read_text,
    "environment": _read_text,
    "release": _read_text,
}
