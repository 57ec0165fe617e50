"""Writes inputs and outputs of items as text, for reports and messages."""

import json
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import orjson

from otel_ml.capture.description import type_name, words_of
from otel_ml.errors import untrusted

_INTEGERS: Final = range(-(2**63), 2**64)
_LEAVES: Final = frozenset({str, bool, type(None)})


def write_value(value: object) -> str:
    """Return a value as one line: as JSON, or as in Python if JSON lacks it, such as ``(1, "a")``.

    An object without a ``repr`` is shown as its type.
    """
    return orjson.dumps(value).decode() if _is_json(value) else _write_python(value)


def describe_value(value: object) -> object:
    """Return a value unchanged if it is JSON, else its text from `write_value`."""
    return value if _is_json(value) else write_value(value)


def _is_json(value: object) -> bool:
    kind = type(value)
    if kind in _LEAVES:
        return True
    if isinstance(value, int) and kind is int:
        return value in _INTEGERS
    if isinstance(value, float) and kind is float:
        return math.isfinite(value)
    if isinstance(value, list) and kind is list:
        return all(map(_is_json, value))
    if isinstance(value, dict) and kind is dict:
        return all(type(key) is str and _is_json(item) for key, item in value.items())
    return False


def _write_python(value: object) -> str:
    kind = type(value)
    write = _FORMS.get(kind)
    return _write_words(value) if write is None else write(value)


def _write_words(value: object) -> str:
    """Return the ``repr`` of a value in one line, or its type if it has none."""
    text = None
    with untrusted:
        text = words_of(value)
    return type_name(value) if text is None else " ".join(text.split())


def _write_items(values: Iterable[object]) -> str:
    return ", ".join(map(_write_python, values))


def _write_pairs(pairs: Mapping[object, object]) -> str:
    return ", ".join(f"{_write_python(key)}: {_write_python(item)}" for key, item in pairs.items())


_FORMS: Final[dict[type, Callable[[Any], str]]] = {
    str: lambda value: json.dumps(value, ensure_ascii=False),
    list: lambda value: f"[{_write_items(value)}]",
    tuple: lambda value: f"({_write_items(value)}{',' * (len(value) == 1)})",
    set: lambda value: f"{{{_write_items(value)}}}" if value else "set()",
    dict: lambda value: f"{{{_write_pairs(value)}}}",
}
