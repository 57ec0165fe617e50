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
HELD: Final = 1
KEY_BYTES: Final = 24
SALT_BYTES: Final = 8

_LEAD: Final = struct.Struct("<4sI")
_BODY: Final = struct.Struct("<BI24s")
_HEAD: Final = struct.Struct("<4xIBI24s")


class Frame(NamedTuple):
    """An intact encoded span in a file, with its position.

    A frame is a span with a header and a checksum; see the module for the layout.
    """

    start: int
    end: int
    held: bool
    key: bytes
    payload: bytes


class Seal:
    """Packs spans into frames, and finds the frames of one process in a file.

    Args:
        salt: 8 random bytes of that process. A frame of another process is not recognised.
    """

    __slots__ = ("_marker", "_seed", "salt")

    def __init__(self, salt: bytes) -> None:
        self.salt = salt
        self._marker = salt[:4]
        self._seed = int.from_bytes(salt[4:], "little")

    def pack(self, key: bytes, payload: bytes, flags: int) -> bytes:
        """Return the frame for an encoded span.

        Args:
            key: Trace ID and span ID, 24 bytes in total.
            payload: The encoded span, shorter than 4 GiB.
            flags: `FINAL`, or `HELD` for the span of a call that is not finished.
        """
        body = _BODY.pack(flags, len(payload), key) + payload
        return _LEAD.pack(self._marker, zlib.crc32(body, self._seed)) + body

    def scan(self, data: bytes, *, whole: bool) -> Iterator[Frame]:
        """Find the frames in bytes of a segment file. Bytes between frames are damaged.

        Args:
            data: Bytes that start where a frame is expected.
            whole: True if the file ends with these bytes. False stops at a frame whose end is
                missing, because the file may contain it.

        Returns:
            The intact frames in order. A damaged frame passes the checksum with probability 2**-32.
        """
        view = memoryview(data)
        start = data.find(self._marker)
        while start >= 0 and start + _HEAD.size <= len(data):
            crc, flags, length, key = _HEAD.unpack_from(data, start)
            end = start + _HEAD.size + length
            if end > len(data) and not whole:
                return
            if end <= len(data) and zlib.crc32(view[start + _LEAD.size : end], self._seed) == crc:
                yield Frame(start, end, flags == HELD, key, data[start + _HEAD.size : end])
            else:
                end = start + 1
            start = data.find(self._marker, end)
