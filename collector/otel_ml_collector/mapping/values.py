"""Converts attribute values to JSON text, texts and numbers. No function raises for any input."""

import base64
import math
from collections.abc import Mapping, Sequence
from typing import Final, cast

import orjson

from otel_ml_collector.json_text import read_json, spell_numbers
from otel_ml_collector.span import Value

_CLASS: Final = "<class '"
# Spec: https://opentelemetry.io/docs/specs/semconv/resource/#service
_UNKNOWN_SERVICE: Final = "unknown_service"
NAN: Final = "NaN"
"""NaN as the value of an attribute."""
# No call has more tokens. 9 million runs with this many can be added up in an int64.
_MOST_TOKENS: Final = 10**12


def parse(value: Value) -> object:
    """Return a value parsed as JSON. A text that is not JSON is returned unchanged."""
    if not isinstance(value, str):
        return value
    try:
        document = read_json(value)
        orjson.dumps(document)  # too deeply nested to encode: keep the text
    except (ValueError, orjson.JSONEncodeError):
        return value
    return document


def find_member(value: object, path: Sequence[str]) -> object:
    """Return the member of a JSON value at a path; None if missing. Digits index lists."""
    for member in path:
        if isinstance(value, Mapping):
            value = value.get(member)
        elif isinstance(value, list) and member.isdigit() and int(member) < len(value):
            value = value[int(member)]
        else:
            return None
    return value


def read_structured(value: Value) -> object:
    """Parse JSON text of a list or an object, even if it was encoded as JSON twice.

    Other values are returned unchanged. So a text that looks like a number stays a text.
    """
    if not isinstance(value, str) or value.lstrip()[:1] not in {"[", "{", '"'}:
        return value
    document = parse(value)
    if isinstance(document, str):
        inner = structured(document)
        return value if isinstance(inner, str) else inner
    return document


def read_quoted(value: Value) -> object:
    """Parse a value written as JSON, including plain texts and the items of a list."""
    if isinstance(value, list | tuple):
        return [read_quoted(item) if isinstance(item, str) else item for item in value]
    document = parse(value)
    return structured(document) if isinstance(document, str) else document


def structured(value: Value) -> Value:
    """Parse JSON text of a list or an object. Return any other value unchanged."""
    if not isinstance(value, str) or value.lstrip()[:1] not in {"[", "{"}:
        return value
    return cast("Value", parse(value))


def read_payload(value: Value) -> tuple[object, str]:
    """Parse a value as `parse` does. Return the parsed value and its JSON text."""
    if not isinstance(value, str):
        return value, to_json(value)
    try:
        document = read_json(value)
        return document, orjson.dumps(document).decode()
    except (ValueError, orjson.JSONEncodeError):
        return value, to_json(value)


def to_json(value: object, nan: str | None = None) -> str:
    """Return a value as JSON text. Bytes become base64, unknown types become text.

    Infinite numbers become the texts `Infinity` and `-Infinity`.

    Args:
        value: The value.
        nan: The text that replaces NaN. None writes `null`, as otel-ml's SDK does in payloads.
    """
    return _dump(value, orjson.OPT_NON_STR_KEYS, nan)


def to_sorted_json(value: Mapping[str, object]) -> str:
    """Return attributes as JSON text with sorted keys. NaN and infinite numbers become texts."""
    return _dump(value, orjson.OPT_NON_STR_KEYS | orjson.OPT_SORT_KEYS, NAN)


def _dump(value: object, options: int, nan: str | None) -> str:
    try:
        text = orjson.dumps(value, default=_encode, option=options)
        if b"null" in text:  # also written for numbers that JSON cannot represent
            spelled = spell_numbers(value, nan)
            if spelled is not value:
                text = orjson.dumps(spelled, default=_encode, option=options)
    except (orjson.JSONEncodeError, RecursionError):  # too deeply nested
        return orjson.dumps(repr(value)).decode()
    return text.decode()


def to_text(value: Value) -> str:
    """Return a value as text: texts unchanged, None as empty, anything else as JSON."""
    if isinstance(value, str):
        return value
    return "" if value is None else to_json(value)


def service_name(resource: Mapping[str, Value]) -> str:
    """Return ``service.name`` of a resource; empty for the default that SDKs make up."""
    name = to_text(resource.get("service.name"))
    return "" if name.startswith(_UNKNOWN_SERVICE) else name


def to_type_name(value: Value) -> str:
    """Return the name of an error type. Python's ``<class 'x.y.Z'>`` becomes ``Z``."""
    text = to_text(value)
    if not text.startswith(_CLASS):
        return text
    return text.removeprefix(_CLASS).removesuffix("'>").rpartition(".")[2]


def to_int(value: Value) -> int | None:
    """Return an integer given as int, float or numeric text; None for anything else."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value if -(2**63) <= value < 2**63 else None
    number = to_float(value)
    if number is None or not math.isfinite(number) or abs(number) >= 2**63:  # int64
        return None
    return int(number)


def to_token_count(value: Value) -> int | None:
    """Return a count of tokens from 0 to 10^12; None for anything else."""
    count = to_int(value)
    return count if count is not None and 0 <= count <= _MOST_TOKENS else None


def to_float(value: Value) -> float | None:
    """Return a number given as number or numeric text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def real_score(score: float | None) -> tuple[float | None, str]:
    """Return a score and an empty text, or None and an error text if the score is not finite."""
    if score is None or math.isfinite(score):
        return score, ""
    return None, "the score is not a number" if math.isnan(score) else "the score is infinite"


def _encode(value: object) -> object:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return str(value)
