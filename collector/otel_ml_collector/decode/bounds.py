"""Limits how many values a request may hold, so that tiny messages cannot fill the memory.

A byte of protobuf can become 80 bytes in memory, a byte of JSON 30. This module therefore estimates
an upper bound of the number of values before decoding. It only looks at bodies of at least 1 MB,
and is about as fast as copying memory.
"""

from typing import Final

from otel_ml_collector.decode.signals import Form
from otel_ml_collector.errors import TooLarge

# As many records as can be stored while the sender waits. Larger requests would time out each time.
MOST_RECORDS: Final = 25_000
# A body of 20 MiB stays below this if its attributes have 10 bytes or more. An empty link takes 500
# bytes of memory. One such body is decoded at a time.
_MOST_VALUES: Final = {Form.PROTOBUF: 1_500_000, Form.JSON: 3_000_000}
_COUNTED_BYTES: Final = 1_000_000
# Number of bytes to count at once, because counting holds the interpreter lock.
_WINDOW: Final = 1024 * 1024
_JSON_MARKS: Final = (b",{", b",[", b',"', b'{"', b"{}", b"[]")
# Bytes that can be the tag of a length-delimited field, and bytes that can be its length. Tabs and
# line ends are not lengths here: they often follow each other in texts.
_LEN: Final = 2  # protobuf's wire type
_LENGTH_TAGS: Final = bytes(byte & 7 == _LEN for byte in range(256))
_LENGTH_BYTES: Final = bytes(byte for byte in range(16) if byte not in b"\t\n\r")
_LENGTHS: Final = bytes(byte in _LENGTH_BYTES for byte in range(256))


def check_values(body: bytes, form: Form) -> None:
    """Refuse a body with too many values, before it is decoded.

    Raises:
        TooLarge: The estimate is above 1.5 million values (protobuf) or 3 million values (JSON).
            The estimate is never too low.
    """
    most = _MOST_VALUES[form]
    if len(body) < _COUNTED_BYTES or _has_few(body, form, most):
        return
    count = _count_json if form is Form.JSON else _count_protobuf
    if sum(count(body[at : at + _WINDOW]) for at in range(0, len(body), _WINDOW)) > most:
        raise TooLarge(f"The body has more than {most} values: send smaller ones")


def check_records(number: int) -> None:
    """Refuse a request with too many spans, log records, resources or scopes.

    Raises:
        TooLarge: There are more than `MOST_RECORDS`.
    """
    if number > MOST_RECORDS:
        raise TooLarge(
            f"The body has {number} records: expected at most {MOST_RECORDS}, send "
            "fewer in each request"
        )


def _has_few(body: bytes, form: Form, most: int) -> bool:
    """Fast path: return True if the body has too few bytes that could be a value.

    Takes a seventh of the time of counting, and is enough for most bodies.
    """
    if form is Form.JSON:
        return False
    return len(body) <= most or len(body) - len(body.translate(None, _LENGTH_BYTES)) <= most


def _count_json(body: bytes) -> int:
    """Count the characters that may begin a JSON value, including those inside texts."""
    return sum(map(body.count, _JSON_MARKS))


def _count_protobuf(body: bytes) -> int:
    """Count, at any position, a byte that may be a tag followed by one that may be its length."""
    tags = int.from_bytes(body[:-1].translate(_LENGTH_TAGS))
    lengths = int.from_bytes(body[1:].translate(_LENGTHS))
    return (tags & lengths).bit_count()
