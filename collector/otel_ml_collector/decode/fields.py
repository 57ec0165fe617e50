"""Reads and writes the fields of protobuf messages without knowing their types.

Spec: https://protobuf.dev/programming-guides/encoding/
"""

from collections.abc import Iterator
from typing import Final

LEN: Final = 2  # the wire type of texts, bytes and messages
_SIZES: Final = {1: 8, 5: 4}
_VARINT_BYTES: Final = 10
_MORE: Final = 128  # the bit of a varint's byte that says that more bytes follow


class Odd(Exception):
    """The bytes of a request do not have the expected form."""


def walk_fields(body: bytes, at: int, end: int) -> Iterator[tuple[int, int, int, int, int]]:
    """Yield the fields of a message: number, wire type, start, start of its content, and end.

    Raises:
        Odd: The bytes are not a message.
    """
    while at < end:
        begin = at
        tag, at = _varint(body, at)
        number, wire = tag >> 3, tag & 7
        start = at
        if not number:  # invalid, and so is a body of NUL bytes
            raise Odd
        if wire == LEN:
            size, start = _varint(body, at)
            at = start + size
        elif wire == 0:
            _, at = _varint(body, at)
        elif wire in _SIZES:
            at += _SIZES[wire]
        else:
            raise Odd
        if at > end:
            raise Odd
        yield number, wire, begin, start, at


def write_field(number: int, content: bytes) -> bytes:
    """Return a field of wire type `LEN`."""
    return b"".join((_write_varint(number << 3 | LEN), _write_varint(len(content)), content))


def _varint(body: bytes, at: int) -> tuple[int, int]:
    number = 0
    for place, byte in enumerate(body[at : at + _VARINT_BYTES]):
        number |= (byte % _MORE) << 7 * place
        if byte < _MORE:
            return number, at + place + 1
    raise Odd


def _write_varint(number: int) -> bytes:
    written = bytearray()
    while number >= _MORE:
        written.append(number % _MORE | _MORE)
        number >>= 7
    return bytes((*written, number))
