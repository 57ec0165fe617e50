"""Attribute values as OTLP's AnyValue.

Every value comes with its length before it: so it stands in a pair, in an array and in a map.

Spec: https://opentelemetry.io/docs/specs/otel/common/#anyvalue
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from struct import Struct
from typing import Final

from otel_ml.export.wire_format import Kept, make_heads, write_text, write_varint

# A map is three messages within each other; readers refuse a request of more than 100.
_DEEPEST: Final = 30
_INT64_MAX: Final = 2**63 - 1

_NONE: Final = b"\x00"
_FALSE: Final = b"\x02\x10\x00"
_TRUE: Final = b"\x02\x10\x01"
# The abstract classes answer slowly: before them stands what every list and map is of.
_SEQUENCES: Final = (list, tuple, Sequence)
_MAPPINGS: Final = (dict, Mapping)

_LENGTHS: Final = make_heads(b"")
_ARRAYS: Final = make_heads(b"\x2a")
_MAPS: Final = make_heads(b"\x32")
_MAP_PAIRS: Final = make_heads(b"\x0a")


def write_value(value: object, depth: int = 0) -> bytes:
    """Write a value of any type that OTLP has.

    Integers outside 64 bits become their decimal text, lone surrogates question marks.

    Args:
        value: Text, a boolean, a number, bytes, None, or a sequence or mapping of such.
        depth: How many sequences and mappings it is in.

    Raises:
        TypeError: The value is of another type.
        ValueError: It is nested more than 30 deep, as one that contains itself is.
    """
    if value is None:
        return _NONE
    if isinstance(value, bool):
        return _TRUE if value else _FALSE
    if isinstance(value, str):
        return _write_string(value)
    if isinstance(value, int):
        return write_int(value)
    if isinstance(value, float):
        return write_double(value)
    return _write_composite(value, depth)


def _write_composite(value: object, depth: int) -> bytes:
    if isinstance(value, bytes):
        return _with_length(b"\x3a" + write_varint(len(value)), value)
    if depth == _DEEPEST:
        raise ValueError(f"Invalid value: expected no more than {_DEEPEST} levels in each other")
    if isinstance(value, _SEQUENCES):
        return _write_array(value, depth + 1)
    if isinstance(value, _MAPPINGS):
        return _write_map(value, depth + 1)
    raise TypeError(f"Invalid type {type(value).__name__}: expected one that OTLP has")


# Writes a float, also one that is infinite or not a number.
write_double: Final[Callable[[float], bytes]] = partial(Struct("<BBd").pack, 9, 0x21)


def write_int(number: int) -> bytes:
    """Write an integer, as decimal text when it does not fit into 64 bits."""
    if not -_INT64_MAX - 1 <= number <= _INT64_MAX:
        return _write_string(str(number))
    written = write_varint(number)
    return bytes((1 + len(written), 0x18)) + written


def _write_string_head(length: int) -> bytes:
    head = b"\x0a" + write_varint(length)
    return write_varint(len(head) + length) + head


# What stands before text, by its length in UTF-8.
STRING_HEADS: Final = Kept(_write_string_head)


def _write_string(text: str) -> bytes:
    written = write_text(text)
    return STRING_HEADS[len(written)] + written


def write_key(key: str) -> bytes:
    """Write what stands before the value in a pair: the key, and that the value follows.

    Raises:
        TypeError: The key is no text.
    """
    written = write_text(key)
    return b"\x0a" + write_varint(len(written)) + written + b"\x12"


def _write_array(values: Sequence[object], depth: int) -> bytes:
    body = b"".join([b"\x0a" + write_value(value, depth) for value in values])
    return _with_length(_ARRAYS[len(body)], body)


def _write_map(values: Mapping[object, object], depth: int) -> bytes:
    pairs: list[bytes] = []
    for key, value in values.items():
        before = write_key(str(key))
        written = write_value(value, depth)
        pairs += (_MAP_PAIRS[len(before) + len(written)], before, written)
    body = b"".join(pairs)
    return _with_length(_MAPS[len(body)], body)


def _with_length(head: bytes, body: bytes) -> bytes:
    return _LENGTHS[len(head) + len(body)] + head + body
