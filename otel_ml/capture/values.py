"""Converts any Python value to JSON text of limited size. No value makes these functions raise.

Large opaque values such as arrays, tables, images and bytes are replaced by type, shape and first
elements.
"""

import datetime
import enum
from collections.abc import Collection, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any, Final, NamedTuple

import orjson

from otel_ml.capture.cells import HEAD
from otel_ml.capture.description import is_placeholder, type_name, type_name_of
from otel_ml.capture.snapshot import Snapshot
from otel_ml.capture.taker import (
    TRUNCATED,
    UNSERIALISABLE,
    describe,
    key_text,
    name_key,
    name_keys,
)
from otel_ml.errors import reraise_host_error, untrusted

LIMIT_BYTES: Final = 64 * 1024
PREVIEW_BYTES: Final = 1024

NOT_FOLLOWED: Final = "not_followed"  # a returned stream whose chunks are not recorded

_MAX_DEPTH: Final = 64
_ELLIPSIS: Final = "..."  # ASCII: one other character would double the time to copy a text
_NUMBER_TYPES: Final = frozenset({int, float, bool, type(None)})
# in bytes; for longer texts, checking the types of a value is faster than searching for null
_SEARCHED: Final = 2_048
_NULL: Final = b"null"  # searched from the end, which takes less than half the time
_FEW_LETTERS: Final = 4  # number of letters "u" to check before searching the whole text
_FINITE: Final = frozenset({str, int, bool, type(None)})
JSON_TYPES: Final = frozenset({str, int, float, bool, type(None), dict, list, tuple})
_SKETCH_ITEMS: Final = 16  # entries of an object in a preview
# keys of a described array, see `describe`
_ARRAY: Final = frozenset(
    {"type", "dtype", "shape", "device", "stored", "values", "head", "cells", "sample"}
)
_SKETCH_MARGIN: Final = 24  # bytes for a key, quotes and escapes
_INT64_MIN: Final = -(2**63)
_UINT64_MAX: Final = 2**64 - 1
_FEW: Final = 1_024
_FEW_NUMBERS: Final = 4_096
_SAMPLED: Final = 3
_SMALL_BYTES: Final = 16 * 1024
_WALKED: Final = (str, int, float, dict, list, tuple, type(None))
_LEAST_BYTES: Final = 16  # an element is not cut to fewer bytes
_FLOAT_BYTES: Final = 16  # size of most floats; the exact size would require converting them


# Not written by orjson alone: dates may have a user-defined time zone, dataclasses may have unset
# or computed attributes.
ALONE: Final = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME
# for dicts whose keys cannot become the same text, see `_have_clear_keys`
_ANY_KEYS: Final = ALONE | orjson.OPT_NON_STR_KEYS
_TEXT: Final = frozenset({str})
_CLEAR: Final[tuple[object, ...]] = (_TEXT, frozenset({int}))

_CONTAINERS: Final = frozenset({dict, list, tuple})

_MOST_LEVELS: Final = 64
_HOST_OBJECT: Final = 7  # a user's object takes as long as this many elements
_MAX_COPY_DEPTH: Final = 100
_FAILED_READS: Final = 4  # few, because each failed attempt may read the whole value
# types that orjson reads without calling user code
_SAFE_TYPES: Final = frozenset({str, int, float, bool, type(None), datetime.date})
# no floats: JSON has no infinities, and NaN must become null
_AS_THEY_ARE: Final = _SAFE_TYPES - {float}
_INFINITE: Final = {float("inf"): "Infinity", float("-inf"): "-Infinity"}
_ZONES: Final = frozenset({type(None), datetime.timezone})


class Encoded(NamedTuple):
    """JSON text, and notes on parts that were left out (`TRUNCATED`, `UNSERIALISABLE`)."""

    text: str
    notes: frozenset[str]


_TOO_LONG: Final = b""
_WHOLE: Final[frozenset[str]] = frozenset()
_COPIED: Final = LIMIT_BYTES // 2  # more elements cannot fit, because each takes at least two bytes


def encode(value: object, limit_bytes: int = LIMIT_BYTES, *, is_too_long: bool = False) -> Encoded:
    """Convert any value to JSON text of at most `limit_bytes` bytes in UTF-8.

    Args:
        value: Any value. It is not changed, and no reference is kept.
        limit_bytes: Maximum size. If a value is too long, elements are left out and strings are
            cut. The text is always valid JSON.
        is_too_long: True if you already know that the value is too long.

    Returns:
        The text, and notes on parts that were left out. NaN becomes ``null``. Infinities, integers
        of more than 64 bits and keys that are not strings become strings.
    """
    seen = None if is_too_long else check_short(value)
    if is_too_long or (seen is None and not _may_fit(value, limit_bytes)):
        return _cut(value, limit_bytes)
    raw = _dump(value, seen)
    if raw is None:
        return _encode_bounded(value, limit_bytes)
    if not 0 < len(raw) <= limit_bytes:
        return _cut(value, limit_bytes)
    return Encoded(raw.decode(), _WHOLE)


def encode_whole(value: object, seen: bool | None = None) -> str | None:
    """Convert a simple value, such as a dict of strings and numbers, to JSON quickly.

    For all other values, use `encode`.

    Args:
        value: Any value. It is not changed.
        seen: Result of `check_short` for this value, so that its size is not checked again. None if
            you have not called it.

    Returns:
        The JSON text. An empty string if it is longer than 64 KiB. None if the value is not simple.
    """
    if seen is None and not _may_fit(value, LIMIT_BYTES):
        return ""
    raw = _dump_plain(value, seen)
    if raw is None:
        return None
    return raw.decode() if len(raw) <= LIMIT_BYTES else ""


def may_be_plain(value: Any) -> bool:
    """Tell quickly whether a value may be plain JSON data, from the types on its first levels."""
    kind = type(value)
    if kind is dict:
        kinds = {*map(type, value.values())}
        if dict in kinds and kinds <= JSON_TYPES:
            inner = [item for item in value.values() if type(item) is dict and len(item) <= _FEW]
            return all(JSON_TYPES.issuperset(map(type, item.values())) for item in inner)
        return kinds <= JSON_TYPES
    if kind is list or kind is tuple:
        return not value or type(value[0]) in JSON_TYPES
    return kind in JSON_TYPES


def _has_null(raw: bytes) -> bool:
    """Tell whether a text contains ``null``. Looks for its rare letter first, which is faster."""
    end = len(raw)
    for _ in range(_FEW_LETTERS):
        end = raw.rfind(b"u", 0, end)
        if end < 0:
            return False
        if raw.startswith(_NULL, max(end - 1, 0)):
            return True
    return raw.rfind(_NULL, 0, end) >= 0


def encode_tree(tree: object) -> str | None:
    """Convert plain values and `Snapshot` objects to JSON quickly.

    Args:
        tree: The values. They must not change during the call.

    Returns:
        The JSON text. None if the value must be converted with `encode` instead, because it is
        longer than 64 KiB, contains an infinite number, or cannot be converted here.
    """
    described = [tree]

    def describe_snapshot(value: object) -> object:
        if type(value) is not Snapshot:
            raise TypeError
        described.append(value.describe())
        return described[-1]

    try:
        raw = orjson.dumps(tree, default=describe_snapshot, option=orjson.OPT_NON_STR_KEYS)
    except BaseException as error:  # noqa: BLE001 - code of third-party libraries, see errors.py
        reraise_host_error(error)
        return None
    if len(raw) > LIMIT_BYTES:
        return None
    # orjson wrote NaN and infinities as null, which is right only for NaN
    return None if _has_null(raw) and _is_infinite_within(described) else raw.decode()


def check_short(value: object) -> bool | None:
    """Estimate quickly whether a value is short, so that its exact size need not be measured.

    Returns:
        None if the value may be long. True if it is a short dict of only strings, finite numbers
        and other scalars, which can be converted to JSON without further checks. False if it is
        short, but not such a dict.
    """
    kind: type = type(value)
    left = _SMALL_BYTES
    if kind is dict:
        fields: dict[object, Any] = value  # type: ignore[assignment]  # just checked
        if len(fields) > _FEW:
            return None
        for item in fields.values():
            kind = type(item)
            if kind is str:
                left -= len(item)
            elif kind is not int and (
                kind not in _NUMBER_TYPES or (kind is float and item in _INFINITE)
            ):
                return False if _are_short([*fields.values()]) else None
        return True if left > 0 else None
    if kind is str:
        return False if len(value) < left else None  # type: ignore[arg-type]  # just checked
    return False if _are_short([value]) else None


def _are_short(parts: list[Any]) -> bool:
    """Tell whether values are short. The list is extended with their parts."""
    left = _SMALL_BYTES
    for part in parts:
        kind = type(part)
        if kind is str:
            left -= len(part)
        elif kind is dict or kind is list or kind is tuple:
            size = len(part)
            # of a longer list, check only the first, middle and last element
            if (
                kind is not dict
                and _SAMPLED < size <= _FEW_NUMBERS
                and type(part[0]) in _NUMBER_TYPES
                and type(part[size // 2]) in _NUMBER_TYPES
                and type(part[-1]) in _NUMBER_TYPES
            ):
                continue
            if size + len(parts) > _FEW:
                return False
            parts += part.values() if kind is dict else part
        elif kind not in _NUMBER_TYPES:
            return False
    return left > 0


def _may_fit(value: object, limit_bytes: int) -> bool:
    """Tell whether the text of a value may fit into a limit.

    The cost does not grow beyond the limit.

    Each level of plain containers counts with its minimum size. The content of other objects counts
    as 0.
    """
    left = limit_bytes
    level: Sequence[Any] = (value,)
    for _ in range(_MOST_LEVELS):
        left -= len(level)
        if left < 0:
            break
        kinds = set(map(type, level))
        if str in kinds:
            left -= sum(
                map(len, level if len(kinds) == 1 else [i for i in level if type(i) is str])
            )
        if left < 0 or not kinds & _CONTAINERS:
            break
        below: list[Any] = []
        for item in level if kinds <= _CONTAINERS else [i for i in level if type(i) in _CONTAINERS]:
            left -= len(item)
            if type(item) is dict:
                left -= 3 * len(item)
            if left < 0:
                return False
            below += item.values() if type(item) is dict else item
        level = below
    return left >= 0


def _dump(value: object, seen: bool | None = None) -> bytes | None:
    """Encode a value with orjson. Return None if only the slower `_Walker` can encode it.

    The result is empty if the value contains too many of the user's objects to copy them.

    While orjson reads the user's lists, no other code may run, because user code or another thread
    could change them. So orjson gets no function for unknown types. Values that need user code are
    copied first.
    """
    raw = _dump_plain(value, seen)
    return _dump_copy(value) if raw is None else raw


def _dump_plain(value: object, seen: bool | None = None) -> bytes | None:
    """Encode a value that JSON can hold completely; return None for any other value."""
    try:
        raw = orjson.dumps(value, option=ALONE)
    except BaseException as error:  # noqa: BLE001 - the user's values, see errors.py
        reraise_host_error(error)
        again = _dump_with_keys(value)
        if again is None:
            return None
        raw = again
    if seen or type(value) in _FINITE or (len(raw) < _SEARCHED and raw.rfind(_NULL) < 0):
        return raw
    if type(value) is dict and _FINITE.issuperset(map(type, value.values())):
        return raw
    return None if _has_null(raw) and _is_infinite_within(value) else raw


def _dump_with_keys(value: object) -> bytes | None:
    """Encode a value with keys that are numbers; None if keys could become the same text."""
    try:
        if _have_clear_keys(value):
            return orjson.dumps(value, option=_ANY_KEYS)
    except BaseException as error:  # noqa: BLE001 - the user's values, see errors.py
        reraise_host_error(error)
    return None


def _have_clear_keys(value: object) -> bool:
    """Tell whether each dict in a value has only texts as keys, or only integers.

    Other keys could become the same text, such as 1 and "1". False if no dict has integers.
    """
    has_integers = False
    level: list[Any] = [value]
    for _ in range(_MOST_LEVELS):
        below: list[Any] = []
        for item in level:
            kind = type(item)
            if kind is dict and item:
                kinds = {*map(type, item)}
                if kinds not in _CLEAR:
                    return False
                has_integers = has_integers or kinds != _TEXT
                below += item.values()
            elif kind is list or kind is tuple:
                below += item
        level = [item for item in below if type(item) in _CONTAINERS]
        if not level:
            return has_integers
    return False


def _dump_alone(value: object) -> bytes | None:
    """Encode a value that needs no user code. Any other value raises."""
    raw = orjson.dumps(value, option=ALONE)
    return _dump_copy(value) if _has_null(raw) and _is_infinite_within(value) else raw


def _is_infinite_within(value: object) -> bool:
    """Tell whether plain containers contain an infinite number."""
    level: list[Any] = [value]
    for _ in range(_MOST_LEVELS):
        if not level:
            break
        if _has_infinite(level):
            return True
        containers = [item for item in level if type(item) in _CONTAINERS]
        level = []
        for item in containers:
            level += item.values() if type(item) is dict else item
    return False


def _has_infinite(items: Collection[Any]) -> bool:
    return any(type(item) is float and item in _INFINITE for item in items)


def _dump_copy(value: object) -> bytes | None:
    with untrusted:
        try:
            return orjson.dumps(_Copier(_COPIED).copy(value, 0), option=orjson.OPT_NON_STR_KEYS)
        except OverflowError as error:
            reraise_host_error(error)
            return _TOO_LONG
    return None


class _SameKeys(Exception):
    """Raised if two keys of a dict become the same text. The slower `_Walker` renames one."""


class _Copier:
    """Copies a value into new containers. Values that JSON cannot represent are described.

    Parts that orjson can encode directly are encoded, which takes a tenth of the time. It raises if
    the value is too large, too deep, or raises itself.

    Args:
        most: Largest total number of elements.
    """

    def __init__(self, most: int) -> None:
        self._left = most
        self._most_bytes = 2 * most
        self._tries = _FAILED_READS

    def copy(self, value: object, depth: int) -> object:
        kind = type(value)
        if depth > _MAX_COPY_DEPTH:
            raise RecursionError
        if kind is dict or kind is list:
            if depth and not _may_fit(value, self._most_bytes):
                raise OverflowError
            if self._tries and depth:
                try:
                    raw = orjson.dumps(value, option=ALONE)
                    if not (_has_null(raw) and _is_infinite_within(value)):
                        return orjson.Fragment(raw)
                except TypeError as error:  # raised by orjson, not by the user's values
                    reraise_host_error(error)
                    self._tries -= 1
        elif not issubclass(kind, dict | list | tuple):
            return self._leaf(value, depth)
        # methods of the base class, because a subclass may override them
        if issubclass(kind, dict):
            return self._items(dict(dict.items(value)), depth + 1)  # type: ignore[arg-type]
        if issubclass(kind, list):
            return self._elements(list.copy(value), depth + 1)  # type: ignore[arg-type]
        return self._elements([*tuple.__iter__(value)], depth + 1)  # type: ignore[arg-type]

    def _leaf(self, value: object, depth: int) -> object:
        kind = type(value)
        if kind is float:
            return _INFINITE.get(value, value)  # type: ignore[call-overload]  # just checked
        if kind in _SAFE_TYPES:
            return value
        if kind is datetime.datetime and type(value.tzinfo) in _ZONES:  # type: ignore[attr-defined]
            return value
        if issubclass(kind, enum.Enum):
            return self.copy(value.value, depth + 1)  # type: ignore[attr-defined]  # just checked
        if issubclass(kind, str | int):
            return value
        self._count(_HOST_OBJECT)
        return self.copy(describe(value), depth + 1)

    def _items(self, items: dict[object, object], depth: int) -> object:
        self._count(len(items))
        if not _TEXT.issuperset(map(type, items)):
            notes: set[str] = set()
            items = name_keys(items.items(), notes)  # type: ignore[assignment]  # of any keys
            if notes:
                raise _SameKeys
        return {
            key: item if type(item) in _AS_THEY_ARE else self.copy(item, depth)
            for key, item in items.items()
            if type(item) in _SAFE_TYPES or not is_placeholder(item)
        }

    def _elements(self, items: list[object], depth: int) -> object:
        self._count(len(items))
        if _SAFE_TYPES.issuperset(map(type, items)) and not _has_infinite(items):
            return items
        return [item if type(item) in _AS_THEY_ARE else self.copy(item, depth) for item in items]

    def _count(self, items: int) -> None:
        self._left -= items + 1
        if self._left < 0:
            raise OverflowError


def preview(value: object, text: str, limit_bytes: int = PREVIEW_BYTES) -> str | None:
    """Return a shortened version of a value as valid JSON. None if it is short enough already.

    Args:
        value: The value.
        text: The complete value as JSON.
        limit_bytes: Largest size of the result in bytes.
    """
    if _is_short(text, limit_bytes):
        return None
    for dump in (_dump_alone, _dump):
        try:
            raw = dump(_sketch(value, limit_bytes - _SKETCH_MARGIN))
        except BaseException as error:  # noqa: BLE001 - the user's values, see errors.py
            reraise_host_error(error)
            raw = None
        if raw is not None:
            break
        # do not call the user's objects again, because the text contains their results
        with suppress(orjson.JSONDecodeError):
            value = orjson.loads(text)
    if not raw or len(raw) > limit_bytes:
        return _encode_bounded(value, limit_bytes).text
    return raw.decode()


def preview_of(text: str) -> str | None:
    """Return a short version of JSON text as valid JSON, see `preview`."""
    return None if _is_short(text, PREVIEW_BYTES) else preview(orjson.loads(text), text)


def _is_short(text: str, limit_bytes: int) -> bool:
    return len(text) <= limit_bytes and (text.isascii() or len(text.encode()) <= limit_bytes)


def _sketch(value: object, room: int) -> object:
    """Return the beginning of each part, with equal space for all.

    It takes a fifth of the time of a full walk.
    """
    kind = type(value)
    if kind is str:
        text: str = value  # type: ignore[assignment]  # just checked
        return text if len(text) <= room else text[: max(room, 0)] + _ELLIPSIS
    if kind is dict:
        items: dict[object, object] = value  # type: ignore[assignment]  # just checked
        if "dtype" in items and _ARRAY.issuperset(items):
            return _sketch_array(items, room)
        share = room // (min(len(items), _SKETCH_ITEMS) or 1) - _SKETCH_MARGIN
        return {
            key: item if type(item) in _NUMBER_TYPES else _sketch(item, share)
            for key, item in islice(items.items(), _SKETCH_ITEMS)
        }
    if kind is list or kind is tuple:
        head: list[object] = value[:HEAD]  # type: ignore[index]  # just checked
        if not _NUMBER_TYPES.issuperset(map(type, head)):
            share = room // (len(head) or 1) - _SKETCH_MARGIN
            head = [_sketch(item, share) for item in head]
        return head if len(value) <= HEAD else [*head, _ELLIPSIS]  # type: ignore[arg-type]
    return value


def _sketch_array(described: dict[object, object], room: int) -> object:
    """Return a description of an array with as many first elements as fit."""
    head = described.get("head", described.get("values"))
    while type(head) is list and head and type(head[0]) is list:
        head = head[0]
    facts: dict[object, object] = {
        key: described[key] for key in ("dtype", "shape") if key in described
    }
    if type(head) is not list:
        return facts
    left = room - len(str(facts))
    shown: list[object] = []
    for item in head[:HEAD]:
        left -= len(str(item)) + 1
        if left < 0 and shown:
            break
        shown.append(_sketch(item, _LEAST_BYTES) if left < 0 else item)
    return {**facts, "head": shown}


def _cut(value: object, limit_bytes: int) -> Encoded:
    """Encode the beginning of a value that is too long."""
    cutter = _Cutter()
    try:
        raw = cutter.cut(value, limit_bytes, 0)
    except BaseException as error:  # noqa: BLE001 - the user's values, see errors.py
        reraise_host_error(error)
        return _encode_bounded(value, limit_bytes)  # another thread is changing it
    return Encoded(raw.decode(), frozenset(cutter.notes))


def cut_plain(value: object, limit_bytes: int = LIMIT_BYTES) -> Encoded | None:
    """Encode the beginning of a long value; None if JSON cannot represent a part of it."""
    cutter = _Cutter(is_plain=True)
    try:
        raw = cutter.cut(value, limit_bytes, 0)
    except BaseException as error:  # noqa: BLE001 - the user's values, see errors.py
        reraise_host_error(error)
        return None
    return Encoded(raw.decode(), frozenset(cutter.notes))


class _NotPlain(Exception):
    """Raised if JSON cannot represent a part of a value."""


class _Cutter:
    """Cuts plain containers between elements, and strings inside. Other values are walked.

    Args:
        is_plain: Raise `_NotPlain` for other values.
    """

    def __init__(self, *, is_plain: bool = False) -> None:
        self.notes: set[str] = set()
        self._dump = _dump_plain if is_plain else _dump
        self._is_plain = is_plain

    def cut(self, value: Any, limit_bytes: int, depth: int) -> bytes:
        """Return valid JSON of at most `limit_bytes` bytes, which must be 2 or more."""
        kind = type(value)
        if kind is str:
            self.notes.add(TRUNCATED)
            return _cut_text(value, limit_bytes)
        if depth < _MAX_DEPTH and limit_bytes > _LEAST_BYTES:
            if kind is list or kind is tuple:
                return b"[%b]" % self._joined(value, False, limit_bytes, depth)
            if kind is dict:
                if {*map(type, islice(value, limit_bytes))} not in _CLEAR:
                    if self._is_plain:
                        raise _NotPlain
                    value = name_keys(islice(value.items(), limit_bytes), self.notes)
                return b"{%b}" % self._joined(value.items(), True, limit_bytes, depth)
            if not issubclass(kind, _WALKED):
                if self._is_plain:
                    raise _NotPlain
                return self.cut(describe(value), limit_bytes, depth + 1)
        if self._is_plain and kind not in JSON_TYPES:
            raise _NotPlain
        text, notes = _encode_bounded(value, limit_bytes)
        self.notes |= notes
        return text.encode()

    def _joined(
        self, items: Collection[Any], are_pairs: bool, limit_bytes: int, depth: int
    ) -> bytes:
        """Encode as many elements as fit, and the beginning of the next one."""
        parts: list[bytes] = []
        coming, waiting = iter(items), list[Any]()
        left, count = limit_bytes - 2, 16
        while left > _LEAST_BYTES:
            waiting += islice(coming, max(count - len(waiting), 0))
            some = waiting[:count]
            if not some:
                return b",".join(parts)
            # not all elements can fit, so do not try to encode all of them
            raw = None
            if len(some) < len(items):
                raw = self._whole(dict(some) if are_pairs else some, left)
            if not (raw and len(raw) <= left):
                if len(some) > 1:
                    fitting = left * len(some) // len(raw) if raw else len(some) // 4
                    count = max(fitting - fitting // 8, 1)
                    continue
                raw = self._beginning(some[0], are_pairs, left, depth)
                if raw is None:
                    break
            del waiting[: len(some)]
            parts.append(raw)
            left -= len(raw) + 1
            fitting = left * len(some) // (len(raw) + 1)
            count = max(min(4 * count, fitting - fitting // 8), 1)
        self.notes.add(TRUNCATED)
        return b",".join(parts)

    def _whole(self, items: Sequence[Any] | dict[object, object], left: int) -> bytes | None:
        raw = self._dump(items) if _may_fit(items, left + 2) else None
        return None if raw is None else raw[1:-1]

    def _beginning(self, item: Any, is_pair: bool, left: int, depth: int) -> bytes | None:
        if not is_pair:
            return self.cut(item, left, depth + 1)
        key, inner = item
        name = key if type(key) is str else key_text(key)
        if len(name) > left // 2:
            return None
        raw = orjson.dumps(clean(name))
        rest = left - len(raw) - 1
        return None if rest < _LEAST_BYTES else raw + b":" + self.cut(inner, rest, depth + 1)


def _cut_text(value: str, limit_bytes: int) -> bytes:
    room = limit_bytes - 5
    raw = b'""'
    while room > 0:
        text = value[:room].encode("utf-8", "replace")[:room].decode("utf-8", "ignore")
        raw = orjson.dumps(text + (_ELLIPSIS if text.isascii() else "…"))
        if len(raw) <= limit_bytes:
            break
        room = min(room * limit_bytes // len(raw), room - 1)  # escapes take more space
    return raw if len(raw) <= limit_bytes else b'""'


def _encode_bounded(value: object, limit_bytes: int) -> Encoded:
    """Walk the value in Python with a size budget. Retry with less if escapes make it too long."""
    budget = limit_bytes
    while budget > 0:
        walker = _Walker(budget)
        raw = orjson.dumps(walker.walk(value, 0))
        if len(raw) <= limit_bytes:
            return Encoded(raw.decode(), frozenset(walker.notes))
        budget //= 2
    return Encoded("null", frozenset({TRUNCATED}))


class _Walker:
    """Converts a value to types that orjson can encode, within a budget of bytes."""

    def __init__(self, budget: int) -> None:
        self.left = budget
        self.notes: set[str] = set()
        self._path: set[int] = set()

    def walk(self, value: object, depth: int) -> object:
        """Return a JSON-compatible value. Parts that do not fit are left out and noted."""
        try:
            return self._walk(value, depth)
        except BaseException as error:  # noqa: BLE001 - as above
            reraise_host_error(error)
            self.notes.add(UNSERIALISABLE)
            name = type_name_of(value.kind) if type(value) is Snapshot else type_name(value)
            return {"type": name, "unserialisable": type(error).__name__}

    def _walk(self, value: object, depth: int) -> object:
        self.left -= 2
        if value is None or value is True or value is False:
            return value
        if isinstance(value, float):
            self.left -= _FLOAT_BYTES
            number = float(value)  # orjson rejects subclasses such as NumPy floats
            return _INFINITE.get(number, number)
        if isinstance(value, int):
            self.left -= value.bit_length() // 3
            return int(value) if _INT64_MIN <= value <= _UINT64_MAX else str(value)
        if isinstance(value, str):
            return self._string(value)
        if isinstance(value, dict | list | tuple):
            return self._container(value, depth)
        return self.walk(describe(value), depth + 1)

    def _string(self, value: str) -> str:
        room = max(self.left, 0)
        text = value[:room].encode("utf-8", "replace")
        if len(value) > room or len(text) > room:
            self.notes.add(TRUNCATED)
            text = text[: max(room - 3, 0)] + "…".encode()
        self.left -= len(text)
        return text.decode("utf-8", "ignore")

    def _container(
        self, value: dict[object, object] | list[object] | tuple[object, ...], depth: int
    ) -> object:
        if depth >= _MAX_DEPTH or id(value) in self._path:
            self.notes.add(TRUNCATED if depth >= _MAX_DEPTH else UNSERIALISABLE)
            return "…"
        self._path.add(id(value))
        named: dict[str, object] = {}
        listed: list[object] = []
        is_dict = isinstance(value, dict)
        try:
            for key, item in value.items() if isinstance(value, dict) else enumerate(value):
                if self.left <= 0:
                    self.notes.add(TRUNCATED)
                    break
                if is_dict:
                    name = self._string(key if isinstance(key, str) else key_text(key))
                    name = name_key(key, named, self.notes, name)
                    named[name] = self.walk(item, depth + 1)
                else:
                    listed.append(self.walk(item, depth + 1))
        finally:
            self._path.discard(id(value))
        return named if is_dict else listed


def clean(text: str) -> str:
    """Replace characters that UTF-8 cannot represent (lone surrogates) in a text.

    File names and outputs of models can contain them.
    """
    return text.encode("utf-8", "replace").decode()
