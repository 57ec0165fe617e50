"""Segment files of a spool: names, locks, headers, and reading the frames in them.

A segment is named ``<owner>-<number>.spool``: 16 random hex digits of its process, then a number
that increases by 1. A process keeps its newest segment locked while it lives; that lock protects
all of its segments. The suffix ``.new`` marks a segment that is being created, ``.damaged`` one
that was set aside.

A segment starts with a header, little endian, without padding, followed by frames::

    magic 8 | version 1 | salt 8 | length 4 | envelope (length bytes) | crc 4

The envelope is set by the caller: it surrounds the spans of this process when they are sent. A
segment gets its name only after its header is complete and its lock is held. So a header that
cannot be read was damaged later.

Paths are strings here instead of `pathlib.Path`, because a directory may contain many thousands of
files.
"""

import errno
import os
import re
import struct
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from otel_ml.export.spool.frame import SALT_BYTES, Frame, Seal

try:
    from fcntl import LOCK_EX, LOCK_NB, flock
except ImportError:  # Windows
    HAS_FLOCK = False
else:
    HAS_FLOCK = True

_SEGMENT_NAME: Final = re.compile(r"([0-9a-f]{16})-([0-9]{8,})\.spool(\.new|\.damaged)?")
_BLOCK: Final = 4096
_WINDOW: Final = 64 * 1024
_TEMPORARY: Final = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}

_MAGIC: Final = b"otml\r\n\0s"
_VERSION: Final = 1
_HEADER: Final = struct.Struct(f"<8sB{SALT_BYTES}sI")
_CRC: Final = struct.Struct("<I")


# The directory.


class SegmentFile(NamedTuple):
    """A file in the directory of a disk queue (spool): what its name and metadata say about it.

    Attributes:
        changed_s: Time of the last write, in seconds since the epoch.
        size: Size on disk in bytes, at least one block.
        owner: ID of the process that wrote it, 16 hex digits.
        number: Sequence number among the files of that process. The newest has the highest.
        suffix: Empty for a normal file. ``.new`` for a file that is being created, ``.damaged`` for
            one that cannot be read.
    """

    changed_s: float
    path: str
    size: int
    owner: str
    number: int
    suffix: str


def prepare_directory(directory: Path) -> None:
    """Create the directory of a disk queue (spool) if it is missing, accessible only to this user.

    Raises:
        OSError: The directory cannot be used: it belongs to another user, is not writable, or the
            system has no `flock`.
    """
    if not HAS_FLOCK:
        raise OSError(
            errno.ENOTSUP, "A spool needs flock, which this system lacks: leave out spool"
        )
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(
            errno.ENOTDIR, "Invalid spool directory: expected a directory", str(directory)
        ) from error
    owner, user = directory.stat().st_uid, os.geteuid()
    if owner != user:
        raise PermissionError(
            errno.EPERM,
            f"Invalid spool directory, it belongs to user {owner}: expected a directory "
            f"of user {user}",
            str(directory),
        )
    if not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
        raise PermissionError(
            errno.EACCES, "Invalid spool directory: expected one that is writable", str(directory)
        )


def list_files(directory: str) -> list[SegmentFile]:
    """Return the files of a disk queue, oldest first; empty if its directory does not exist."""
    files: list[SegmentFile] = []
    for entry, (owner, number, suffix) in _entries(directory):
        with suppress(OSError):  # removed in the meantime
            status = entry.stat(follow_symlinks=False)
            size = max(status.st_size, _BLOCK)
            files.append(SegmentFile(status.st_mtime, entry.path, size, owner, int(number), suffix))
    return sorted(files)


def list_segments(directory: str, owner: str) -> list[str]:
    """Return the paths of the segment files of one process, oldest first."""
    numbers = {
        int(number): entry.path
        for entry, (whose, number, suffix) in _entries(directory)
        if whose == owner and not suffix
    }
    return [numbers[number] for number in sorted(numbers)]


def _entries(directory: str) -> Iterator[tuple["os.DirEntry[str]", tuple[str, ...]]]:
    with suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            name = _SEGMENT_NAME.fullmatch(entry.name)
            if name is not None:
                yield entry, name.groups(default="")


def segment_path(directory: str, owner: str, number: int) -> str:
    """Return the path of a segment file, given the ID of its process and its number."""
    return f"{directory}/{owner}-{number:08}.spool"


def lock_file(path: str) -> int | None:
    """Lock a spool file of another process, to send its spans if that process has ended.

    Returns:
        A file descriptor. The lock lasts until all copies of it are closed. None if the process is
        still running, or if the file cannot be locked for another reason.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    except OSError:
        return None
    with suppress(OSError):
        flock(fd, LOCK_EX | LOCK_NB)
        if os.fstat(fd).st_uid == os.geteuid() and is_at(fd, path):
            return fd
    os.close(fd)
    return None


def is_at(fd: int, path: str) -> bool:
    """Tell whether an open file can still be found at its path."""
    try:
        return os.path.samestat(os.fstat(fd), os.lstat(path))
    except OSError:
        return False


def remove(path: str) -> None:
    """Remove a file. If that fails, do nothing: a later process sends its spans again."""
    with suppress(OSError):
        Path(path).unlink()


def set_aside(path: str) -> int:
    """Rename a file that cannot be read, so that it is not tried again. Returns its size."""
    try:
        return Path(path).rename(f"{path}.damaged").stat().st_size
    except OSError:
        return 0


# One file.


class DamagedHeaderError(Exception):
    """A spool file is damaged at its start, or was written by an incompatible version."""


@dataclass(slots=True, eq=False)
class Segment:
    """A segment file: one file of the disk queue, with spans of one process.

    It belongs to this process, or was taken over from one that has ended. A span in it is called a
    frame. A held frame is the preliminary span of a call that was not finished when it was written.
    When the call ends, a final frame is written too.

    Attributes:
        seal: Finds the frames.
        envelope: Encoded resource and scope for its spans, from its header.
        start: Offset of its first frame in bytes.
        size: Offset in bytes where its last complete frame ends.
        cursor: Offset in bytes up to which nothing is left to send.
        fd: File descriptor that holds the lock of the process. -1 if there is none.
        check_at: Size in bytes at which its process checks whether to start a new file.
        ready: Number of frames after the cursor that must be sent.
        provisional: Number of held frames without a final frame so far.
        loose: Offsets of held frames that must be sent, because their process ended before the
            final frame.
        is_unlinked: True if someone removed the file while it was being written. It can still be
            read through `fd`.
        is_dropped: True if this process removed the file to stay within the limits.
    """

    path: str
    seal: Seal
    envelope: bytes
    start: int
    size: int
    cursor: int
    fd: int = -1
    check_at: int = 0
    ready: int = 0
    provisional: int = 0
    loose: set[int] = field(default_factory=set)
    is_unlinked: bool = False
    is_dropped: bool = False

    def close(self) -> None:
        """Close its file descriptor. This unlocks the file unless a forked process has a copy."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    @contextmanager
    def opened(self) -> Iterator[int]:
        """Open the file for reading, with a descriptor that holds no lock.

        So a forked child does not inherit the lock.
        """
        if self.is_unlinked:
            yield self.fd
            return
        fd = os.open(self.path, os.O_RDONLY)
        try:
            yield fd
        finally:
            os.close(fd)

    def scan(self) -> Iterator[Frame]:
        """Return all frames in the segment.

        Raises:
            OSError: The file cannot be opened.
        """
        with self.opened() as fd:
            data = _read(fd, self.start, self.size)
        return self.seal.scan(data, whole=True)


def create_segment(path: str, seal: Seal, envelope: bytes) -> Segment:
    """Create a segment file and lock it for this process.

    Raises:
        OSError: Writing fails. No file is left behind.
    """
    header = _HEADER.pack(_MAGIC, _VERSION, seal.salt, len(envelope)) + envelope
    header += _CRC.pack(zlib.crc32(header))
    new = f"{path}.new"
    fd = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
    with ExitStack() as undo:
        undo.callback(os.close, fd)
        undo.callback(remove, new)
        flock(fd, LOCK_EX | LOCK_NB)
        _write(fd, header)
        Path(new).rename(path)
        undo.pop_all()
    size = len(header)
    return Segment(path, seal, envelope, start=size, size=size, cursor=size, fd=fd)


def _write(fd: int, header: bytes) -> None:
    if os.write(fd, header) != len(header):
        raise OSError(errno.ENOSPC, "The header of a segment was cut: the disk is full")


def open_segment(path: str) -> Segment:
    """Open a spool file that another process wrote, and read its header.

    Raises:
        DamagedHeaderError: The header is damaged, so the spans in the file cannot be read.
        OSError: The file cannot be opened.
    """
    fd = os.open(path, os.O_RDONLY)
    try:
        size = os.fstat(fd).st_size
        head = _read(fd, 0, _HEADER.size)
        if len(head) < _HEADER.size:
            raise DamagedHeaderError
        magic, version, salt, length = _HEADER.unpack(head)
        start = _HEADER.size + length + _CRC.size
        if magic != _MAGIC or version != _VERSION or start > size:
            raise DamagedHeaderError
        rest = _read(fd, _HEADER.size, start)
    finally:
        os.close(fd)
    envelope, crc = rest[:length], rest[length:]
    if crc != _CRC.pack(zlib.crc32(head + envelope)):
        raise DamagedHeaderError
    return Segment(path, Seal(salt), envelope, start=start, size=size, cursor=start)


def open_left(paths: Sequence[str]) -> list[Segment | tuple[str, Exception]]:
    """Open the spool files of a process that has ended, and count the spans to send in each file.

    For a call that did not finish, a file contains a preliminary span. It is only sent if there is
    no final span of the same call.

    Args:
        paths: All files of that process, oldest first.

    Returns:
        The `Segment` of each file, or a tuple of path and error if the file cannot be read.

    Raises:
        OSError: Files cannot be opened at the moment, for example because too many are open.
    """
    segments: list[Segment | tuple[str, Exception]] = []
    provisional: dict[bytes, tuple[Segment, int]] = {}
    for path in paths:
        try:
            segment = open_segment(path)
            frames = segment.scan()
        except (DamagedHeaderError, OSError) as error:
            if isinstance(error, OSError) and error.errno in _TEMPORARY:
                raise
            segments.append((path, error))
            continue
        segments.append(segment)
        for frame in frames:
            provisional.pop(frame.key, None)
            if frame.provisional:
                provisional[frame.key] = segment, segment.start + frame.start
            else:
                segment.ready += 1
    for segment, offset in provisional.values():
        segment.loose.add(offset)
        segment.ready += 1
    return segments


def _read(fd: int, start: int, end: int) -> bytes:
    """Read a range of a file as far as possible. A bad sector loses the bytes after it."""
    pieces: list[bytes] = []
    try:
        while start < end and (piece := os.pread(fd, end - start, start)):
            pieces.append(piece)
            start += len(piece)
    except OSError:
        pass
    return b"".join(pieces)


# Reading the frames to send.


@dataclass(slots=True, eq=False)
class FrameBatch:
    """Encoded spans from one spool file, to be sent in one request.

    Attributes:
        segment: File that they were read from.
        end: Offset in the file, in bytes, where the next batch starts.
        keys: Trace ID and span ID of each span, in the order of writing.
        payloads: The encoded spans, in the order of `keys`.
        gaps: Number of damaged sections that were skipped.
        gap_bytes: Total size of these sections in bytes.
    """

    segment: Segment
    end: int
    keys: list[bytes] = field(default_factory=list)
    payloads: list[bytes] = field(default_factory=list)
    gaps: int = 0
    gap_bytes: int = 0

    @property
    def envelope(self) -> bytes:
        """Encoded resource and scope that all these spans share."""
        return self.segment.envelope

    def skip_to(self, start: int) -> None:
        """Count the bytes between the previous span and `start` as damaged, if there are any."""
        if start > self.end:
            self.gaps += 1
            self.gap_bytes += start - self.end
            self.end = start


def find_frames(segment: Segment, max_frames: int, max_bytes: int) -> FrameBatch:
    """Read the next spans to send from a spool file. Damaged sections are skipped.

    The read position (`segment.cursor`) does not change, so a second call returns the same spans.

    Args:
        segment: The file to read.
        max_frames: Maximum number of spans.
        max_bytes: Maximum total size of the spans in bytes. The first span is returned even if it
            is larger.

    Raises:
        FileNotFoundError: The file was removed.
        OSError: The file cannot be opened at the moment.
    """
    size = segment.size
    window = min(max_bytes, size) + _WINDOW
    with segment.opened() as fd:
        while True:
            end = min(size, segment.cursor + window)
            data = _read(fd, segment.cursor, end)
            # a file that has become shorter has lost its end
            is_whole = end == size or len(data) < end - segment.cursor
            frames = _gather(segment, data, max_frames, max_bytes, size if is_whole else None)
            if is_whole or frames.end > segment.cursor:
                return frames
            window *= 4


def _gather(
    segment: Segment, data: bytes, max_frames: int, max_bytes: int, size: int | None
) -> FrameBatch:
    """Collect frames from the bytes after the cursor.

    `size` is given if these are the last bytes.
    """
    base = segment.cursor
    frame_batch = FrameBatch(segment, base)
    for frame in segment.seal.scan(data, whole=size is not None):
        if not frame.provisional or base + frame.start in segment.loose:
            taken = len(frame.payload)
            if frame_batch.payloads and (
                len(frame_batch.payloads) >= max_frames or taken > max_bytes
            ):
                return frame_batch
            max_bytes -= taken
            frame_batch.keys.append(frame.key)
            frame_batch.payloads.append(frame.payload)
        frame_batch.skip_to(base + frame.start)
        frame_batch.end = base + frame.end
    if size is not None:
        frame_batch.skip_to(size)
    return frame_batch


# The segments of one process.

_SCAN_BYTES: Final = 64 * 1024
_ATTEMPTS: Final = 2


class Chain:
    """The files of a disk queue (spool) that this process writes, oldest first.

    Call all methods while holding the spool's lock.

    Args:
        rotated: Function that is called when a file is full, with the size of the file in bytes.
        vanished: Function that is called when another program has removed a file, with the number
            of unsent spans in it.

    Attributes:
        owner: ID of this process in the names of the files.
        seal: Encodes the spans with a header and a checksum.
        current: File for the next span. None if `choose` must create one.
    """

    # Only the oldest files are removed, so a preliminary span is kept until its final span is
    # removed. A finalizer or signal handler may append a span in the middle of any method (a nested
    # append). So code that shortens a file first sets `current` to None, and loops run over copies.

    def __init__(
        self,
        directory: str,
        envelope: bytes,
        segment_bytes: int,
        rotated: Callable[[int], None],
        vanished: Callable[[int], None],
    ) -> None:
        self._directory = directory
        self.envelope = envelope
        self._segment_bytes = segment_bytes
        self._rotated = rotated
        self._vanished = vanished
        self.owner = os.urandom(8).hex()
        self.seal = Seal(os.urandom(SALT_BYTES))
        self.current: Segment | None = None
        self._segments: deque[Segment] = deque()
        self._number = 0
        self._is_closed = False

    def choose(self) -> Segment:
        """Return the file for the next span, and set `current`. Create a file if necessary.

        Raises:
            OSError: A file cannot be created.
        """
        if self._is_closed:
            raise OSError("the spool is closed")
        old = self.current
        if old is None:
            return self._add()
        if not self.is_current_here():
            old.size = max(old.size, os.fstat(old.fd).st_size)
            self.current = None
            return self._add()
        old.check_at = min(old.size + _SCAN_BYTES, self._segment_bytes)
        if old.size < self._segment_bytes:
            return old
        try:
            new = self._add()
        except OSError:  # no free descriptor, for example: keep using the old file
            old.check_at = old.size + _SCAN_BYTES
            return old
        old.close()
        self._rotated(old.size)
        return new

    def is_current_here(self) -> bool:
        """Tell whether the current file is intact: no other program removed or shortened it.

        True if there is no current file.
        """
        segment = self.current
        if segment is None:
            return True
        if is_at(segment.fd, segment.path):
            return os.fstat(segment.fd).st_size == segment.size
        if not segment.is_unlinked:
            segment.is_unlinked = True
            self._vanished(segment.ready)
        return False

    def _add(self) -> Segment:
        before = self.current
        new = self._create()
        new.check_at = min(new.start + _SCAN_BYTES, self._segment_bytes)
        self._segments.append(new)
        if self.current is before:  # else a nested append has set it; this file stays empty
            self.current = new
        return self.current or new

    def _create(self) -> Segment:
        for _ in range(_ATTEMPTS):
            # someone removed the directory, or another process adopted the file
            with suppress(FileNotFoundError, BlockingIOError):
                return self._create_next()
            Path(self._directory).mkdir(mode=0o700, parents=True, exist_ok=True)
        return self._create_next()

    def _create_next(self) -> Segment:
        self._number += 1
        path = segment_path(self._directory, self.owner, self._number)
        return create_segment(path, self.seal, self.envelope)

    def take_back(self, segment: Segment, size: int, written: int, inside: bool) -> None:
        """Remove a span that was written only in part, for example because the disk is full.

        Args:
            segment: File that it was written to.
            size: Size of the file before the write, in bytes.
            written: Number of bytes that were written.
            inside: Whether this write happened during another write, for example in a signal
                handler. If it did, the partial span cannot be removed. It is skipped when the file
                is read.
        """
        self.current = None
        try:
            if inside or segment.size != size:
                segment.size += written
            else:
                os.ftruncate(segment.fd, size)
        except OSError:
            segment.size += written
        self.current = self.current or segment

    def measure(self, inside: bool) -> None:
        """Correct the recorded size of the current file after an exception interrupted a write.

        Args:
            inside: Whether this write happened during another write, for example in a signal
                handler. The size is corrected later in that case.
        """
        segment = self.current
        if segment is None:
            return
        if inside:  # let the outer append count its own bytes first
            segment.check_at = 0
        else:
            segment.size = os.lseek(segment.fd, 0, os.SEEK_END)
            segment.ready += 1

    def is_last(self, segment: Segment, end: int) -> bool:
        """Tell whether an offset is after the last span that this process wrote."""
        return bool(self._segments) and self._segments[-1] is segment and end >= segment.size

    def ready(self) -> int:
        """Return the number of spans to send."""
        return sum(segment.ready for segment in list(self._segments))

    def next_segment(self) -> Segment | None:
        """Return the first file that may have spans to send, or None."""
        return next(
            (segment for segment in list(self._segments) if segment.cursor < segment.size), None
        )

    def sweep(self) -> None:
        """Remove files whose spans are all sent. The current file is emptied instead."""
        while self._segments:
            head = self._segments[0]
            if head.cursor < head.size or head.provisional > 0:
                return
            if head is self.current:
                self._empty(head)
                return
            self._segments.popleft()
            if not head.is_unlinked:
                remove(head.path)
            head.close()

    def _empty(self, segment: Segment) -> None:
        self.current = None
        if segment.cursor >= segment.size > segment.start:
            with suppress(OSError):
                os.ftruncate(segment.fd, segment.start)
                segment.size = segment.cursor = segment.start
                segment.check_at = min(segment.size + _SCAN_BYTES, self._segment_bytes)
        self.current = self.current or segment

    def lose(self, segment: Segment) -> None:
        """Continue without a file that someone removed."""
        if segment is self.current:
            with suppress(OSError):
                self.choose()
        elif segment in self._segments and not segment.is_unlinked:
            self._vanished(segment.ready)
            self._segments.remove(segment)
            segment.close()

    def drop(self, path: str) -> int | None:
        """Remove a file because the spool has reached its size or age limit.

        Returns:
            Number of unsent spans in the file. None if the file was not removed, because this
            process is still writing it or another process owns it.
        """
        for segment in list(self._segments):
            if segment.path == path and segment is not self.current:
                self._segments.remove(segment)
                segment.is_dropped = True
                remove(path)
                segment.close()
                return segment.ready
        return None

    def close(self) -> None:
        """Remove files whose spans are all sent. Unlock the others for later processes."""
        self._is_closed = True
        self.current = None
        self.sweep()
        for segment in list(self._segments):
            segment.close()
        self._segments.clear()

    def abandon(self) -> None:
        """Close the files that a forked child inherited. The parent keeps its lock."""
        for segment in list(self._segments):
            segment.close()
