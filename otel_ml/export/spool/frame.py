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
    """A frame with a correct crc, and its position in the scanned bytes."""

    start: int
    end: int
    held: bool
    key: bytes
    payload: bytes


class Seal:
    """Packs and recognises the frames of one process.

    Args:
        salt: 8 random bytes: the marker, then the start value of the crc.
    """

    __slots__ = ("_marker", "_seed", "salt")

    def __init__(self, salt: bytes) -> None:
        self.salt = salt
        self._marker = salt[:4]
        self._seed = int.from_bytes(salt[4:], "little")

    def pack(self, key: bytes, payload: bytes, flags: int) -> bytes:
        """Return the frame for a payload.

        Args:
            key: Trace ID and span ID, 24 bytes in total.
            payload: The encoded span, shorter than 4 GiB.
            flags: `FINAL` or `HELD`.
        """
        body = _BODY.pack(flags, len(payload), key) + payload
        return _LEAD.pack(self._marker, zlib.crc32(body, self._seed)) + body

    def scan(self, data: bytes, *, whole: bool) -> Iterator[Frame]:
        """Yield the frames in bytes of a segment. Bytes between frames are damage.

        Args:
            data: Bytes that start where a frame is expected.
            whole: Whether the segment ends with these bytes. If not, the scan stops at the first
                frame that continues after them, because it may be complete on disk.

        Returns:
            The frames in order. A wrong frame is accepted with probability 2**-64 for random bytes,
            and 2**-32 for a frame damaged after its marker.
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
