"""Attribute values as JSON text and numbers; nothing here raises for data."""

import base64
import math
from collections.abc import Mapping, Sequence
from typing import Final, cast

import orjson

from otel_ml_collector.span import Value

_CLASS: Final = "<class '"
# Spec: https://opentelemetry.io/docs/specs/semconv/resource/#service
_UNKNOWN_SERVICE: Final = "unknown_service"


def parse(value: Value) -> object:
    """Read a structured value: JSON text is parsed, broken JSON stays the text that it is."""
    if not isinstance(value, str):
        return value
    try:
        document: object = orjson.loads(value)
        orjson.dumps(document)  # deeper than the encoder goes: it stays text
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return value
    return document


def find_member(value: object, path: Sequence[str]) -> object:
    """Find a member of JSON, of a list by its number; None where there is none."""
    for member in path:
        if isinstance(value, Mapping):
            value = value.get(member)
        elif isinstance(value, list) and member.isdigit() and int(member) < len(value):
            value = value[int(member)]
        else:
            return None
    return value


def read_structured(value: Value) -> object:
    """Read JSON text of a list or a mapping, also when it was written as JSON twice.

    Any other value stays what it is: a text that happens to be a number is a text.
    """
    if not isinstance(value, str) or value.lstrip()[:1] not in {"[", "{", '"'}:
        return value
    document = parse(value)
    if isinstance(document, str):
        inner = structured(document)
        return value if isinstance(inner, str) else inner
    return document


def structured(value: Value) -> Value:
    """Read JSON text that is a list or a mapping; return any other value unchanged."""
    if not isinstance(value, str) or value.lstrip()[:1] not in {"[", "{"}:
        return value
    return cast("Value", parse(value))


def read_payload(value: Value) -> tuple[object, str]:
    """Read a structured value as `parse` does, together with its JSON text."""
    if not isinstance(value, str):
        return value, to_json(value)
    try:
        document: object = orjson.loads(value)
        return document, orjson.dumps(document).decode()
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return value, to_json(value)


def to_json(value: object) -> str:
    """Write a value as JSON text: bytes as base64, unknown types as text."""
    return _dump(value, orjson.OPT_NON_STR_KEYS)


def to_sorted_json(value: Mapping[str, object]) -> str:
    """Write attributes as JSON text, the same whatever order they came in."""
    return _dump(value, orjson.OPT_NON_STR_KEYS | orjson.OPT_SORT_KEYS)


def _dump(value: object, options: int) -> str:
    try:
        return orjson.dumps(value, default=_encode, option=options).decode()
    except orjson.JSONEncodeError:  # nested deeper than the encoder goes
        return orjson.dumps(repr(value)).decode()


def to_text(value: Value) -> str:
    """Write a value that is wanted as plain text."""
    if isinstance(value, str):
        return value
    return "" if value is None else to_json(value)


def service_name(resource: Mapping[str, Value]) -> str:
    """Read the service's name; the name that an SDK makes up by default is left out."""
    name = to_text(resource.get("service.name"))
    return "" if name.startswith(_UNKNOWN_SERVICE) else name


def to_type_name(value: Value) -> str:
    """Write the type of an error; of Python's ``<class 'x.y.Z'>`` the name alone."""
    text = to_text(value)
    if not text.startswith(_CLASS):
        return text
    return text.removeprefix(_CLASS).removesuffix("'>").rpartition(".")[2]


def to_int(value: Value) -> int | None:
    """Read a count that may come as int, float or numeric text; None when it is none of these."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value if -(2**63) <= value < 2**63 else None
    number = to_float(value)
    if number is None or not math.isfinite(number) or abs(number) >= 2**63:  # int64
        return None
    return int(number)


def to_float(value: Value) -> float | None:
    """Read a number that may come as numeric text; None when it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def real_score(score: float | None) -> tuple[float | None, str]:
    """Tell a score from NaN, which is no score: the second value is the error for it."""
    if score is None or not math.isnan(score):
        return score, ""
    return None, "the score is not a number"


def _encode(value: object) -> object:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return str(value)
