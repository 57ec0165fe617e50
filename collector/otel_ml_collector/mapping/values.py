"""Attribute values as JSON text, numbers and short previews; nothing here raises for data."""

import base64
import math
from collections.abc import Mapping
from typing import Final

import orjson

from otel_ml_collector.span import Value

_PREVIEW_CHARS: Final = 200


def parse(value: Value) -> object:
    """Read a structured value: JSON text is parsed, broken JSON stays the text that it is."""
    if not isinstance(value, str):
        return value
    try:
        found: object = orjson.loads(value)
        orjson.dumps(found)  # deeper than the encoder goes: it stays text
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return value
    return found


def read_payload(value: Value) -> tuple[object, str]:
    """Read a structured value as `parse` does, with the JSON text of what was read."""
    if not isinstance(value, str):
        return value, to_json(value)
    try:
        found: object = orjson.loads(value)
        return found, orjson.dumps(found).decode()
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return value, to_json(value)


def to_json(value: object) -> str:
    """Write a value as JSON text: bytes as base64, what is left as text."""
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
    """Tell a score from NaN, which is none: the second value says what is wrong."""
    if score is None or not math.isnan(score):
        return score, ""
    return None, "the score is not a number"


def preview(value: object) -> str:
    """Return one short line of plain text for lists: the text that a person would look for."""
    text = _headline(value)
    head = text[: _PREVIEW_CHARS + 1]
    if not _is_line(head):
        head = " ".join(text.lstrip()[: 2 * _PREVIEW_CHARS].split())
    return head if len(head) <= _PREVIEW_CHARS else f"{head[: _PREVIEW_CHARS - 1]}…"


def _is_line(text: str) -> bool:
    """Tell a text without a space at an end, two in a row, or one that is not the common one."""
    return text.isprintable() and "  " not in text and not text.startswith(" ") and text[-1:] != " "


def _headline(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        first = next(iter(value.values()), None)
        if len(value) == 1 or isinstance(first, str):  # a question with its context
            return _headline(first)
        return ", ".join(f"{name}: {_short(item)}" for name, item in list(value.items())[:16])
    if isinstance(value, list) and value:
        if _is_message(value[-1]):
            return _message_text(value[-1])
        if isinstance(value[0], dict):
            return _headline(value[0])
    return "" if value is None else _short(value)


def _short(value: object) -> str:
    return (value if isinstance(value, str) else to_json(value))[: 2 * _PREVIEW_CHARS]


def _is_message(value: object) -> bool:
    return isinstance(value, dict) and "role" in value and ("parts" in value or "content" in value)


def _message_text(message: Mapping[str, object]) -> str:
    parts = message.get("parts", message.get("content"))
    if not isinstance(parts, list):
        return _short(parts)
    texts = [part.get("content") or part.get("text") for part in parts if isinstance(part, dict)]
    return " ".join(text for text in texts if isinstance(text, str)) or _short(parts)


def _encode(value: object) -> object:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return str(value)
