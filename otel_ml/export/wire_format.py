"""Protobuf's wire format: the few pieces of it that spans need.

Spec: https://protobuf.dev/programming-guides/encoding/
"""

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

SHORT_CHARS: Final = 64  # text that is worth to be kept as it was written

K = TypeVar("K")
V = TypeVar("V")

_KEPT_BELOW: Final = 8_192
_MORE: Final = 0x80
_TWO_BYTES: Final = 0x4000
_UINT64: Final = 2**64 - 1


def write_varint(number: int) -> bytes:
    """Write an integer, 7 bits a byte; a negative one as its two's complement of 64 bits."""
    if 0 <= number < _TWO_BYTES:
        return bytes((number,)) if number < _MORE else bytes((number & 0x7F | _MORE, number >> 7))
    number &= _UINT64
    written = bytearray()
    while number >= _MORE:
        written.append(number & 0x7F | _MORE)
        number >>= 7
    written.append(number)
    return bytes(written)


def keep(kept: dict[K, V], key: K, value: V, most: int = 4_096) -> V:
    """Remember a value and return it; beyond `most` values the memory begins anew."""
    if len(kept) >= most:
        kept.clear()
    kept[key] = value
    return value


class Kept(dict[int, bytes]):
    """What `make` writes for a number; below 8,192 it is made once."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[[int], bytes]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, number: int) -> bytes:
        written = self._make(number)
        if 0 <= number < _KEPT_BELOW:
            self[number] = written
        return written


def make_heads(tag: bytes) -> Kept:
    """Return what stands before a field's content, by the content's length in bytes."""
    return Kept(lambda length: tag + write_varint(length))


def write_text(text: str) -> bytes:
    """Write text as UTF-8; lone surrogates, which no wire can carry, become question marks."""
    # Not text.encode(): a subclass may have its own.
    try:
        return str.encode(text)
    except UnicodeEncodeError:
        return str.encode(text, "utf-8", "replace")


def write_text_field(tag: bytes, text: str | None) -> bytes:
    """Write a field of text; empty when the text is empty or absent, as protobuf wants it."""
    if not text:
        return b""
    written = write_text(text)
    return tag + write_varint(len(written)) + written


def write_count_field(tag: bytes, count: int) -> bytes:
    """Write a field with a number that is not negative; empty for 0."""
    return tag + write_varint(count) if count else b""


def wrap(heads: Kept, parts: Sequence[bytes]) -> list[bytes]:
    """Put the head of a field before its parts."""
    return [heads[sum(map(len, parts))], *parts]
