"""One segment file: what a process knows of it, and its header.

The header, little endian, without padding::

    magic 8 | version 1 | salt 8 | length 4 | envelope (length bytes) | crc 4

The envelope is the caller's own: what goes around the spans of this process when they are sent.
A segment gets its name only when its header is complete and its lock is held, so a header that
cannot be read was damaged later.
"""

import errno
import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from otel_ml.export.spool.directory import lock, remove
from otel_ml.export.spool.frame import SALT_BYTES, Seal

_MAGIC: Final = b"otml\r\n\0s"
_VERSION: Final = 1
_HEADER: Final = struct.Struct(f"<8sB{SALT_BYTES}sI")
_CRC: Final = struct.Struct("<I")


class DamagedHeaderError(Exception):
    """A file does not begin as a segment of this version does."""


@dataclass(slots=True, eq=False)
class Segment:
    """What a process knows of one segment file, of its own or of one that it adopted.

    Attributes:
        seal: Knows its frames.
        envelope: From its header.
        start: Where its first frame begins.
        size: Where its last whole frame ends.
        cursor: All before is delivered, dropped or not to be sent.
        fd: Descriptor that holds its writer's lock, or -1.
        origin: Where its offset 0 lies in the stream of all frames of its process.
        check_at: Size at which its writer looks whether to go on with it.
        ready: Frames to send from the cursor on.
        held: Held frames whose final one is not written yet.
        loose: Offsets of held frames that are sent, because no later frame of their key follows.
        is_unlinked: Somebody removed the file while it was written; `fd` still reads it.
        is_dropped: We removed the file to keep the limits.
    """

    path: str
    seal: Seal
    envelope: bytes
    start: int
    size: int
    cursor: int
    fd: int = -1
    origin: int = 0
    check_at: int = 0
    ready: int = 0
    held: int = 0
    loose: frozenset[int] = frozenset()
    is_unlinked: bool = False
    is_dropped: bool = False


def create_segment(path: str, seal: Seal, envelope: bytes) -> Segment:
    """Create a segment under the lock of this process.

    Raises:
        OSError: The disk refuses; nothing is left behind.
    """
    header = _HEADER.pack(_MAGIC, _VERSION, seal.salt, len(envelope)) + envelope
    header += _CRC.pack(zlib.crc32(header))
    new = f"{path}.new"
    fd = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
    try:
        lock(fd)
        _write(fd, header)
        Path(new).rename(path)
    except BaseException:
        remove(new)
        os.close(fd)
        raise
    size = len(header)
    return Segment(path, seal, envelope, start=size, size=size, cursor=size, fd=fd)


def _write(fd: int, header: bytes) -> None:
    if os.write(fd, header) != len(header):
        raise OSError(errno.ENOSPC, "The header of a segment was cut: the disk is full")


def open_segment(path: str) -> Segment:
    """Read the header of a segment that another process wrote.

    Raises:
        DamagedHeaderError: Its frames cannot be read.
        OSError: The file cannot be opened.
    """
    fd = os.open(path, os.O_RDONLY)
    try:
        size = os.fstat(fd).st_size
        head = read(fd, 0, _HEADER.size)
        if len(head) < _HEADER.size:
            raise DamagedHeaderError
        magic, version, salt, length = _HEADER.unpack(head)
        start = _HEADER.size + length + _CRC.size
        if magic != _MAGIC or version != _VERSION or start > size:
            raise DamagedHeaderError
        rest = read(fd, _HEADER.size, start)
    finally:
        os.close(fd)
    envelope, crc = rest[:length], rest[length:]
    if crc != _CRC.pack(zlib.crc32(head + envelope)):
        raise DamagedHeaderError
    return Segment(path, Seal(salt), envelope, start=start, size=size, cursor=start)


def read(fd: int, start: int, end: int) -> bytes:
    """Read what can be read of a stretch of a file: a bad sector loses what follows it."""
    pieces: list[bytes] = []
    try:
        while start < end and (piece := os.pread(fd, end - start, start)):
            pieces.append(piece)
            start += len(piece)
    except OSError:
        pass
    return b"".join(pieces)
