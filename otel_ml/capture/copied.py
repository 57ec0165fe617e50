"""A value of the host's as a copy that holds nothing of the host's but texts, numbers and dates."""

import datetime
import enum
from collections.abc import Sequence
from typing import Any, Final

import orjson

from otel_ml.capture.description import describe
from otel_ml.errors import hand_on

# A date may have a time zone of the host's, a dataclass attributes that are not set or computed.
ALONE: Final = (
    orjson.OPT_NON_STR_KEYS | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME
)

CONTAINERS: Final = frozenset({dict, list, tuple})

_LEVELS: Final = 64
_FOREIGN: Final = 7  # what an object of the host's counts, which takes as long as some elements
_MAX_DEPTH: Final = 100
_TRIES: Final = 4  # that fail: each reads up to the whole of the value
# What orjson reads without calling any code of the host's.
_KNOWN: Final = frozenset({str, int, float, bool, type(None), datetime.date})
_ZONES: Final = frozenset({type(None), datetime.timezone})


def copy(value: object, most: int) -> object:
    """Copy a value into containers of our own, what JSON has no form for described.

    Parts that orjson encodes alone are encoded, which takes a tenth of the time of their copy.

    Args:
        value: Anything.
        most: How many elements it may have in all.

    Raises:
        Exception: It is larger or deeper, or it raises itself.
    """
    return _Copier(most).copy(value, 0)


def may_fit(value: object, limit_bytes: int) -> bool:
    """Tell whether a value's text may be within a limit, at a cost that does not grow beyond it.

    Each level of plain containers is counted with the least that it can take; what is in an
    object of the host's counts as nothing.
    """
    left = limit_bytes
    level: Sequence[Any] = (value,)
    for _ in range(_LEVELS):
        left -= len(level)
        if left < 0:
            break
        kinds = set(map(type, level))
        if str in kinds:
            left -= sum(
                map(len, level if len(kinds) == 1 else [i for i in level if type(i) is str])
            )
        if left < 0 or not kinds & CONTAINERS:
            break
        below: list[Any] = []
        for item in level if kinds <= CONTAINERS else [i for i in level if type(i) in CONTAINERS]:
            left -= len(item)
            if type(item) is dict:
                left -= 3 * len(item)
            if left < 0:
                return False
            below += item.values() if type(item) is dict else item
        level = below
    return left >= 0


class _Copier:
    def __init__(self, most: int) -> None:
        self._left = most
        self._most_bytes = 2 * most
        self._tries = _TRIES

    def copy(self, value: object, depth: int) -> object:
        kind = type(value)
        if depth > _MAX_DEPTH:
            raise RecursionError
        if kind is dict or kind is list:
            if depth and not may_fit(value, self._most_bytes):
                raise OverflowError
            if self._tries and depth:
                try:
                    return orjson.Fragment(orjson.dumps(value, option=ALONE))
                except TypeError as error:  # what orjson raises, and nothing of the host's values
                    hand_on(error)
                    self._tries -= 1
        elif not issubclass(kind, dict | list | tuple):
            return self._leaf(value, depth)
        # By the methods of the base: those of a subclass are the host's.
        if issubclass(kind, dict):
            return self._items(dict(dict.items(value)), depth + 1)  # type: ignore[arg-type]
        if issubclass(kind, list):
            return self._elements(list.copy(value), depth + 1)  # type: ignore[arg-type]
        return self._elements([*tuple.__iter__(value)], depth + 1)  # type: ignore[arg-type]

    def _leaf(self, value: object, depth: int) -> object:
        kind = type(value)
        if kind in _KNOWN:
            return value
        if kind is datetime.datetime and type(value.tzinfo) in _ZONES:  # type: ignore[attr-defined]
            return value
        if issubclass(kind, enum.Enum):
            return self.copy(value.value, depth + 1)  # type: ignore[attr-defined]  # just checked
        if issubclass(kind, str | int):
            return value
        self._count(_FOREIGN)
        return self.copy(describe(value), depth + 1)

    def _items(self, items: dict[object, object], depth: int) -> object:
        self._count(len(items))
        return {
            key: item if type(item) in _KNOWN else self.copy(item, depth)
            for key, item in items.items()
        }

    def _elements(self, items: list[object], depth: int) -> object:
        self._count(len(items))
        if _KNOWN.issuperset(map(type, items)):
            return items
        return [item if type(item) in _KNOWN else self.copy(item, depth) for item in items]

    def _count(self, items: int) -> None:
        self._left -= items + 1
        if self._left < 0:
            raise OverflowError
