"""The attributes of a message, as its fields of OTLP's KeyValue."""

from collections.abc import Mapping
from typing import Any, Final

from otel_ml.errors import hand_on, quiet
from otel_ml.export.any_value import (
    STRING_HEADS,
    write_double,
    write_int,
    write_key,
    write_value,
)
from otel_ml.export.wire_format import MOST_KEPT, SHORT_CHARS, Kept, make_heads

_MOST_KEY_CHARS: Final = 256

_INTS: Final = Kept(write_int)
_NO_TEXT: Final = object()


class AttributeField:
    """Writes attributes, and remembers pairs of a key and short text, which most spans repeat.

    Any thread may write. Of keys and of pairs 4,096 are kept, then it begins again.

    Args:
        tag: The field's tag in its message.
    """

    __slots__ = ("_heads", "_keys", "_pairs")

    def __init__(self, tag: bytes) -> None:
        self._heads = make_heads(tag)
        # By key: its last short text, the field of both, and what stands before any value.
        self._keys: dict[str, tuple[object, bytes, bytes]] = {}
        # Of text alone: 1, 1.0 and True are one key of a dict, and three values on the wire.
        self._pairs: dict[tuple[str, str], bytes] = {}

    def write(self, parts: list[bytes], attributes: Mapping[str, Any] | None) -> None:
        """Append the fields to `parts`; an attribute that cannot be written is left out.

        Text that is the same object as the key's last one takes the shortest way, then other
        short text, then long text and numbers; the first of a key and all that fails, the longest.
        """
        keys = self._keys
        heads = self._heads
        try:  # the SDK's attributes take a call each to read, a copy of them takes one
            items = attributes.copy().items()  # type: ignore[union-attr]  # what if it has none
        except AttributeError:
            items = () if attributes is None else attributes.items()
        for key, value in items:
            try:
                last, field, before = keys[key]
                if value is last:
                    parts.append(field)
                    continue
                kind = type(value)
                if kind is str:
                    if len(value) <= SHORT_CHARS:
                        parts.append(self._write_short(key, value, before))
                        continue
                    text = value.encode()
                    size = len(text)
                    head = STRING_HEADS[size]
                    parts += (heads[len(before) + len(head) + size], before, head, text)
                    continue
                if kind is float:
                    written = write_double(value)
                elif kind is int:
                    written = _INTS[value]
                else:
                    written = write_value(value)
                parts += (heads[len(before) + len(written)], before, written)
            except BaseException as error:  # noqa: BLE001 - a new key, or a value of the host's
                hand_on(error)
                parts.append(self._write_slowly(key, value))

    def _write_short(self, key: str, text: str, before: bytes) -> bytes:
        pair = (key, text)
        field = self._pairs.get(pair)
        if field is None:
            field = self._write_field(before, write_value(text))
            if len(self._pairs) >= MOST_KEPT:
                self._pairs.clear()
            self._pairs[pair] = field
        self._keys[key] = (text, field, before)
        return field

    def _write_slowly(self, key: str, value: object) -> bytes:
        """Write any field, empty when that is not possible, and learn its key."""
        field = b""
        with quiet("encode"):
            before = write_key(key)
            field = self._write_field(before, write_value(value))
        if not field:
            return field
        if type(key) is str and len(key) <= _MOST_KEY_CHARS:
            if len(self._keys) >= MOST_KEPT:
                self._keys.clear()
            self._keys[key] = (_NO_TEXT, b"", before)
        return field

    def _write_field(self, before: bytes, value: bytes) -> bytes:
        return self._heads[len(before) + len(value)] + before + value
