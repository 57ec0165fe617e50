"""Tags: named values on a run that you can filter by, with an optional type and group."""

import math
import numbers
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from otel_ml import attributes as names
from otel_ml.arguments import check_optional_text, check_text, invalid
from otel_ml.capture.description import type_name
from otel_ml.capture.taker import TRUNCATED
from otel_ml.capture.values import clean, encode
from otel_ml.errors import untrusted

Value = str | bool | int | float
Details = dict[str, dict[str, str]]

# All further tags share one JSON attribute, because a span holds at most 128 attributes.
_OWN_ATTRIBUTES: Final = 80
_INT64_MAX: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Tag:
    """A tag with a type and a group.

    Attributes:
        name: Name of the tag. You can filter runs by it.
        value: A string, number or bool. Other values are converted to text.
        type: Type of the tag, such as ``label``, ``metric`` or ``error``.
        group: Name of a group of related tags. Pages show them together.

    Raises:
        ValueError: `name`, `type` or `group` is not a string.
    """

    name: str
    value: object
    type: str | None = None
    group: str | None = None

    def __post_init__(self) -> None:
        check_text("name", self.name)
        check_optional_text("type", self.type)
        check_optional_text("group", self.group)


_TEXT_TYPES: Final = frozenset({str, bytes})
_ANY_TAGS: Final = "a mapping of names to values, a Tag, a list of both, or None"

Tags = Mapping[str, object] | Tag | Iterable[Mapping[str, object] | Tag] | None


def read_tags(given: Iterable[Any]) -> tuple[dict[str, Value], Details]:
    """Read tags in any form that users pass: mappings, `Tag` objects, or lists of both.

    Returns:
        Two dicts by tag name. The first has the value of every tag. The second has a dict for each
        tag with a type or group: ``{"type": ..., "group": ...}``, or only one of the two keys.

    Raises:
        ValueError: An element is not a tag.
    """
    values: dict[str, Value] = {}
    details: Details = {}
    for part in given:
        if part is None:
            continue
        kind = type(part)  # not isinstance(), which asks the object's class and may raise
        if issubclass(kind, Mapping):
            values.update(tags_of(part))
        elif issubclass(kind, Tag):
            values[part.name] = primitive(part.value)
            facts = {"type": part.type, "group": part.group}
            if any(facts.values()):
                details[part.name] = {key: item for key, item in facts.items() if item}
        elif issubclass(kind, Iterable) and kind not in _TEXT_TYPES:
            for item in part:
                if not issubclass(type(item), Mapping | Tag):
                    raise invalid("tags", item, _ANY_TAGS)
                more, tags_read = read_tags((item,))
                values.update(more)
                details.update(tags_read)
        else:
            raise invalid("tags", part, _ANY_TAGS)
    return values, details


def tags_of(given: Mapping[str, object]) -> dict[str, Value]:
    """Convert a mapping to tags: names become strings, values are converted by `primitive`."""
    return {str(key): primitive(item) for key, item in given.items()}


def primitive(value: object) -> Value:
    """Convert a tag's value to a string, number or bool. Other types become text."""
    with untrusted:
        if isinstance(value, str):
            return clean(value)
        if isinstance(value, bool | float):
            return value
        if type(value).__module__ == "numpy" and getattr(value, "shape", None) == ():
            return primitive(value.item())  # type: ignore[attr-defined]  # a numpy scalar has it
        if isinstance(value, int):
            return value if -_INT64_MAX - 1 <= value <= _INT64_MAX else str(value)
        if isinstance(value, numbers.Real):
            return float(value)
        return clean(str(value))
    return type_name(value)


def tag_attributes(tags: Mapping[str, Value], details: Details | None = None) -> dict[str, Value]:
    """Convert the tags of a run to span attributes.

    The first 80 tags get an attribute each. All further tags share one attribute, as JSON. It also
    contains the types and groups of all tags.

    Args:
        tags: Values of the tags, by name. If they may be too many, check them with `fits` first:
            tags that do not fit into the JSON attribute are lost.
        details: Type and group of the tags that have them, by tag name.
    """
    pairs = list(tags.items())
    attributes = {names.TAG_PREFIX + name: value for name, value in pairs[:_OWN_ATTRIBUTES]}
    rest: dict[str, dict[str, object]] = {
        name: {"value": finite(value)} for name, value in pairs[_OWN_ATTRIBUTES:]
    }
    for name, detail in (details or {}).items():
        if name in tags:
            rest.setdefault(name, {}).update(detail)
    if rest:
        attributes[names.TAGS] = encode(rest).text
    return attributes


def fits(tags: Mapping[str, Value]) -> bool:
    """Return whether `tag_attributes` can write all of these tags."""
    if len(tags) <= _OWN_ATTRIBUTES:
        return True
    rest = dict(list(tags.items())[_OWN_ATTRIBUTES:])
    encoded = encode({name: {"value": finite(value)} for name, value in rest.items()})
    return TRUNCATED not in encoded.notes


def finite(value: object) -> object:
    """Return a value that JSON can hold: NaN and infinities become text such as ``nan``."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
