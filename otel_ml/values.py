"""Any Python value as bounded JSON text; a value of the host's never makes these functions raise.

Big opaque values (arrays, tables, images, bytes) leave their type, shape and first elements,
not their content.
"""

from itertools import islice
from typing import Final, NamedTuple

import orjson

from otel_ml.copied import ALONE, copy
from otel_ml.described import HEAD, describe, text_of, type_name

LIMIT_BYTES: Final = 64 * 1024
PREVIEW_BYTES: Final = 1024

TRUNCATED: Final = "truncated"
UNSERIALISABLE: Final = "unserialisable"
NOT_FOLLOWED: Final = "not_followed"  # a stream that was returned, and whose chunks nobody sees

_MAX_DEPTH: Final = 64
_MORE: Final = "..."  # in ASCII: one other character doubles what a text costs to copy
_NUMBERS: Final = frozenset({int, float, bool, type(None)})
_SKETCH_ITEMS: Final = 16  # of an object in a preview
_SKETCH_MARGIN: Final = 24  # for a key, quotes and what a text's escapes add
_INT64_MIN: Final = -(2**63)
_UINT64_MAX: Final = 2**64 - 1
_FLOAT_BYTES: Final = 16  # of most floats; the exact number would cost their text


class Encoded(NamedTuple):
    """JSON text and what was left out of it (`TRUNCATED`, `UNSERIALISABLE`)."""

    text: str
    notes: frozenset[str]


_WHOLE: Final[frozenset[str]] = frozenset()
_COPIED: Final = LIMIT_BYTES // 2  # elements: more of them do not fit, each takes two bytes


def encode(value: object, limit_bytes: int = LIMIT_BYTES) -> Encoded:
    """Encode a value as JSON text of at most `limit_bytes` UTF-8 bytes.

    Args:
        value: Anything. It is read, never changed, and never kept.
        limit_bytes: Beyond it the value is cut between elements or inside a string, so that
            the text stays valid JSON.

    Returns:
        The text and its notes. NaN and infinities become ``null``, integers of more than 64
        bits and keys that are no strings become strings.
    """
    raw = _dump(value)
    if raw is None or len(raw) > limit_bytes:
        return _encode_bounded(value, limit_bytes)
    return Encoded(raw.decode(), _WHOLE)


def encode_whole(value: object) -> str | None:
    """Encode a value whose text is whole within the limit; None for any other, see `encode`."""
    raw = _dump(value)
    return None if raw is None or len(raw) > LIMIT_BYTES else raw.decode()


def _dump(value: object) -> bytes | None:
    """Encode a value of any length; None for one that only the bounded walk can encode.

    While orjson reads the host's own lists nothing else may run: code of the host's, or another
    thread during ours, could change them under it. So it gets no function for what it does not
    know, and leaves alone what it would call the host's code for: those values are copied.
    """
    try:
        return orjson.dumps(value, option=ALONE)
    except Exception:  # noqa: BLE001 - the border to the host's values, see errors.py
        return _dump_copy(value)


def _dump_copy(value: object) -> bytes | None:
    try:
        return orjson.dumps(copy(value, _COPIED), option=orjson.OPT_NON_STR_KEYS)
    except Exception:  # noqa: BLE001 - the border to the host's values, see errors.py
        return None


def preview(value: object, text: str) -> str | None:
    """Return short valid JSON that stands for `text`, or None when `text` is short itself."""
    if len(text) <= PREVIEW_BYTES and (text.isascii() or len(text.encode()) <= PREVIEW_BYTES):
        return None
    try:
        raw = _dump(_sketch(value, PREVIEW_BYTES - _SKETCH_MARGIN))
    except Exception:  # noqa: BLE001 - the border to the host's values, see errors.py
        raw = None
    if raw is None or len(raw) > PREVIEW_BYTES:
        return _encode_bounded(value, PREVIEW_BYTES).text
    return raw.decode()


def _sketch(value: object, room: int) -> object:
    """Take the beginning of each part, all parts alike: a fifth of the cost of a walk."""
    kind = type(value)
    if kind is str:
        text: str = value  # type: ignore[assignment]  # just checked
        return text if len(text) <= room else text[: max(room, 0)] + _MORE
    if kind is dict:
        items: dict[object, object] = value  # type: ignore[assignment]  # just checked
        share = room // (min(len(items), _SKETCH_ITEMS) or 1) - _SKETCH_MARGIN
        return {key: _sketch(item, share) for key, item in islice(items.items(), _SKETCH_ITEMS)}
    if kind is list or kind is tuple:
        head: list[object] = value[:HEAD]  # type: ignore[index]  # just checked
        if not _NUMBERS.issuperset(map(type, head)):
            share = room // (len(head) or 1) - _SKETCH_MARGIN
            head = [_sketch(item, share) for item in head]
        return head if len(value) <= HEAD else [*head, _MORE]  # type: ignore[arg-type]
    return value


def _encode_bounded(value: object, limit_bytes: int) -> Encoded:
    """Walk the value in Python, with a budget. Escapes may double a text: then less is taken."""
    budget = limit_bytes
    while budget > 0:
        walker = _Walker(budget)
        raw = orjson.dumps(walker.walk(value, 0))
        if len(raw) <= limit_bytes:
            return Encoded(raw.decode(), frozenset(walker.notes))
        budget //= 2
    return Encoded("null", frozenset({TRUNCATED}))


class _Walker:
    """Turns one value into what orjson encodes without help, within a budget of bytes."""

    def __init__(self, budget: int) -> None:
        self.left = budget
        self.notes: set[str] = set()
        self._path: set[int] = set()

    def walk(self, value: object, depth: int) -> object:
        """Return a JSON-able stand-in for `value`; what does not fit is left out and noted."""
        try:
            return self._walk(value, depth)
        except Exception as error:  # noqa: BLE001 - the border to the host's values
            self.notes.add(UNSERIALISABLE)
            return {"type": type_name(value), "unserialisable": type(error).__name__}

    def _walk(self, value: object, depth: int) -> object:
        self.left -= 2
        if value is None or value is True or value is False:
            return value
        if isinstance(value, float):
            self.left -= _FLOAT_BYTES
            return float(value)  # a numpy float is one that orjson refuses
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
        try:
            if isinstance(value, dict):
                return self._items(value, depth)
            return self._elements(value, depth)
        finally:
            self._path.discard(id(value))

    def _items(self, value: dict[object, object], depth: int) -> dict[str, object]:
        result: dict[str, object] = {}
        for key, item in value.items():
            if self.left <= 0:
                self.notes.add(TRUNCATED)
                break
            name = self._string(key if isinstance(key, str) else text_of(key))
            result[name] = self.walk(item, depth + 1)
        return result

    def _elements(self, value: list[object] | tuple[object, ...], depth: int) -> list[object]:
        result: list[object] = []
        for item in value:
            if self.left <= 0:
                self.notes.add(TRUNCATED)
                break
            result.append(self.walk(item, depth + 1))
        return result


def clean(text: str) -> str:
    """Replace lone surrogates, which no wire can carry, as file names and models make them."""
    return text.encode("utf-8", "replace").decode()
