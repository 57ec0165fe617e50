"""How much a request may hold: bodies of nothing but empty messages would fill any memory.

A byte of protobuf can become eighty in memory, a byte of JSON thirty. This module counts from above
and at the speed of memory, and only in bodies that are large enough to matter.
"""

from typing import Final

from otel_ml_collector.decode.signals import Form
from otel_ml_collector.errors import TooLarge

# As many as are stored in the time that a sender waits: of more, each try would be in vain.
MOST_RECORDS: Final = 25_000
# A body of 64 MiB has fewer when its attributes are of thirty bytes or more. An empty link takes
# 500 bytes of memory, and there may be two such bodies at a time.
_MOST_VALUES: Final = {Form.PROTOBUF: 1_500_000, Form.JSON: 3_000_000}
_COUNTED_BYTES: Final = 1_000_000
# What is counted at a time: the interpreter's lock is held meanwhile.
_WINDOW: Final = 1024 * 1024
_JSON_MARKS: Final = (b",{", b",[", b',"', b'{"', b"{}", b"[]")
# The tags of fields with a length, and the lengths, of which a body can have very many; but for
# tabs and line ends, which follow each other in texts.
_LEN: Final = 2  # protobuf's wire type
_LENGTH_TAGS: Final = bytes(byte & 7 == _LEN for byte in range(256))
_LENGTH_BYTES: Final = bytes(byte for byte in range(16) if byte not in b"\t\n\r")
_LENGTHS: Final = bytes(byte in _LENGTH_BYTES for byte in range(256))


def check_values(body: bytes, form: Form) -> None:
    """Refuse a body of too many values, before anything is made of it.

    Raises:
        TooLarge: It has more than can be meant.
    """
    most = _MOST_VALUES[form]
    if len(body) < _COUNTED_BYTES or _has_few(body, form, most):
        return
    count = _count_json if form is Form.JSON else _count_protobuf
    if sum(count(body[at : at + _WINDOW]) for at in range(0, len(body), _WINDOW)) > most:
        raise TooLarge(f"The body has more than {most} values: send smaller ones")


def check_records(number: int) -> None:
    """Refuse a request of too many spans, log records or envelopes.

    Raises:
        TooLarge: It has more than can be stored at once.
    """
    if number > MOST_RECORDS:
        raise TooLarge(
            f"The body has {number} records: expected at most {MOST_RECORDS}, send smaller ones"
        )


def _has_few(body: bytes, form: Form, most: int) -> bool:
    """Tell at a glance that a body has no more values than bytes that may begin a value.

    It is a seventh of the time that counting them takes, and most bodies need no more.
    """
    if form is Form.JSON:
        return False
    return len(body) <= most or len(body) - len(body.translate(None, _LENGTH_BYTES)) <= most


def _count_json(body: bytes) -> int:
    """Count the marks that may begin a JSON value; marks within texts are counted, too."""
    return sum(map(body.count, _JSON_MARKS))


def _count_protobuf(body: bytes) -> int:
    """Count, wherever they stand, bytes that may be a tag before bytes that may be its length."""
    tags = int.from_bytes(body[:-1].translate(_LENGTH_TAGS))
    lengths = int.from_bytes(body[1:].translate(_LENGTHS))
    return (tags & lengths).bit_count()
