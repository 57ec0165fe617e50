"""The binary layout of an encoded span in a segment, and how frames are found after damage.

A frame is little endian, without padding::

    marker 4 | crc 4 | flags 1 | length 4 | key 24 | payload (length bytes)

The key is trace ID and span ID. The crc covers flags to payload. The marker and the crc's start
value are random for each process and stored in the header of its segments as the salt. So no text
of a user can be mistaken for a frame.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import Final, NamedTuple

FINAL: Final = 0
PROVISIONAL: Final = 1
KEY_BYTES: Final = 24
SALT_BYTES: Final = 8

_LEAD: Final = struct.Struct("<4sI")
_BODY: Final = struct.Struct("<BI24s")
_HEAD: Final = struct.Struct("<4xIBI24s")


class Frame(NamedTuple):
    """One undamaged span in a file of the disk queue (spool).

    In the file, a span is stored as a frame: a header with a checksum, then the encoded span.

    Attributes:
        start: Position of the frame's first byte in the bytes that were scanned.
        end: Position after the frame's last byte.
        provisional: Whether the call was not finished when the span was written.
        key: Trace ID and span ID, 24 bytes in total.
        payload: The encoded span.
    """

    start: int
    end: int
    provisional: bool
    key: bytes
    payload: bytes


class Seal:
    """Encodes spans for a file of the disk queue (spool), and finds them in such a file.

    Each span gets a header with a checksum, so that damaged spans are recognized.

    Args:
        salt: 8 random bytes, different for each process. They are part of header and checksum, so
            that old bytes of another process's file are never taken for a span.
    """

    __slots__ = ("_marker", "_seed", "salt")

    def __init__(self, salt: bytes) -> None:
        self.salt = salt
        self._marker = salt[:4]
        self._seed = int.from_bytes(salt[4:], "little")

    def pack(self, key: bytes, payload: bytes, flags: int) -> bytes:
        """Return an encoded span with a header and a checksum in front, ready to write to a file.

        Args:
            key: Trace ID and span ID, 24 bytes in total.
            payload: The encoded span, shorter than 4 GiB.
            flags: `PROVISIONAL` for the span of a call that is not finished, otherwise `FINAL`.
        """
        body = _BODY.pack(flags, len(payload), key) + payload
        return _LEAD.pack(self._marker, zlib.crc32(body, self._seed)) + body

    def scan(self, data: bytes, *, whole: bool) -> Iterator[Frame]:
        """Find the undamaged spans in the bytes of a file. Damaged bytes are skipped.

        Args:
            data: Bytes of the file. They begin where a span should begin.
            whole: Whether `data` reaches to the end of the file. If it does, an incomplete span at
                the end is damaged. If not, the scan stops before that span, because the file
                continues.

        Returns:
            The spans in the order of the file. In one of about four billion cases, the
            checksum does not detect that a span is damaged.
        """
        view = memoryview(data)
        start = data.find(self._marker)
        while start >= 0 and start + _HEAD.size <= len(data):
            crc, flags, length, key = _HEAD.unpack_from(data, start)
            end = start + _HEAD.size + length
            if end > len(data) and not whole:
                return
            if end <= len(data) and zlib.crc32(view[start + _LEAD.size : end], self._seed) == crc:
                yield Frame(start, end, flags == PROVISIONAL, key, data[start + _HEAD.size : end])
            else:
                end = start + 1
            start = data.find(self._marker, end)
