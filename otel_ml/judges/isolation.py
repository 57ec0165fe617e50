"""Copies what a judge gets, so that no other judge, repeat or record sees what it changes."""

import copy
from collections.abc import Mapping
from typing import Any, Final

from otel_ml.errors import untrusted

# Types whose values nobody can change. Copying them is not needed.
_FIXED: Final = frozenset({str, int, float, bool, bytes, complex, type(None)})


def isolate(arguments: Mapping[str, object]) -> dict[str, Any]:
    """Return copies of the arguments for a judge, so that it cannot change the originals.

    If an object occurs twice, both places get the same copy. A value that cannot be copied, such as
    a generator or a connection, is passed as it is.
    """
    copies: dict[int, Any] = {}
    return {name: _copy(value, copies) for name, value in arguments.items()}


def _copy(value: Any, copies: dict[int, Any]) -> Any:
    with untrusted:  # the user's own `__deepcopy__`, a very deep value, or no memory
        return _copy_plain(value, copies)
    return value


def _copy_plain(value: Any, copies: dict[int, Any]) -> Any:
    """Copy lists and dicts ourselves, because `copy.deepcopy` takes 10 times as long for them."""
    kind = type(value)
    if kind in _FIXED:
        return value
    if kind is not list and kind is not dict:
        return copy.deepcopy(value, copies)
    if id(value) in copies:  # it contains itself, or occurs twice
        return copies[id(value)]
    if kind is list:
        items: list[Any] = []
        copies[id(value)] = items
        items.extend(_copy(item, copies) for item in value)
        return items
    entries: dict[Any, Any] = {}
    copies[id(value)] = entries
    entries.update((key, _copy(item, copies)) for key, item in value.items())
    return entries
