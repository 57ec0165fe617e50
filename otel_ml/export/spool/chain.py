"""The segments of this process, oldest first; the newest, being written, carries its lock."""

import os
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from otel_ml.export.spool.frame import SALT_BYTES, Seal
from otel_ml.export.spool.segment import Segment, create_segment, is_at, remove, segment_path

_LOOK_BYTES: Final = 64 * 1024
_ATTEMPTS: Final = 2


class Chain:
    """Opens, hands out and removes the segments of this process.

    They leave from the old end only: a held frame thus stays for as long as its final one, and
    what is left after a kill ends, for each key, with its last frame.

    Methods are called inside the gate. An inner append may run between any two lines: so whoever
    shortens a segment takes it out of `current` first, iterates over copies, and only `choose`
    with a current segment, which no inner append calls, closes one that is not done.

    Args:
        rotated: Called with the size of a segment that is full.
        vanished: Called with the number of frames to send whose file somebody removed.

    Attributes:
        owner: Names the segments.
        seal: Packs the frames.
        current: Where the next frame goes, or None: `choose` knows.
    """

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
        """Make `current` a segment that is in the directory and has room, and return it.

        Raises:
            OSError: The disk refuses one.
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
        old.check_at = min(old.size + _LOOK_BYTES, self._segment_bytes)
        if old.size < self._segment_bytes:
            return old
        try:
            new = self._add()
        except OSError:  # no descriptor left, for one: the old file grows
            old.check_at = old.size + _LOOK_BYTES
            return old
        old.close()
        self._rotated(old.size)
        return new

    def is_current_here(self) -> bool:
        """Tell whether the file being written, if any, has kept its name and its bytes."""
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
        new.check_at = min(new.start + _LOOK_BYTES, self._segment_bytes)
        self._segments.append(new)
        if self.current is before:  # else an inner append was faster, and this one stays empty
            self.current = new
        return self.current or new

    def _create(self) -> Segment:
        for _ in range(_ATTEMPTS):
            # The directory was removed, or another process took the file for one left behind.
            with suppress(FileNotFoundError, BlockingIOError):
                return self._create_next()
            Path(self._directory).mkdir(mode=0o700, parents=True, exist_ok=True)
        return self._create_next()

    def _create_next(self) -> Segment:
        self._number += 1
        path = segment_path(self._directory, self.owner, self._number)
        return create_segment(path, self.seal, self.envelope)

    def take_back(self, segment: Segment, size: int, written: int, inside: bool) -> None:
        """Cut off a frame of which the disk took a part only.

        It stays, and counts as damage when it is read, where another append is under way: the
        frame of that one may lie before or behind it.

        Args:
            segment: Where it was written.
            size: That of the segment before.
            written: How many bytes the disk took.
            inside: Whether the append is an inner one.
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
        """Find the end of the current file, after an append that was broken off."""
        segment = self.current
        if segment is None:
            return
        if inside:  # the outer append counts its own bytes first
            segment.check_at = 0
        else:
            segment.size = os.lseek(segment.fd, 0, os.SEEK_END)
            segment.ready += 1

    def is_last(self, segment: Segment, end: int) -> bool:
        """Tell whether no frame of this process lies behind a place in a segment."""
        return bool(self._segments) and self._segments[-1] is segment and end >= segment.size

    def ready(self) -> int:
        """Return how many frames are to be sent."""
        return sum(segment.ready for segment in list(self._segments))

    def next_segment(self) -> Segment | None:
        """Return the first segment with frames behind its cursor."""
        return next((one for one in list(self._segments) if one.cursor < one.size), None)

    def sweep(self) -> None:
        """Remove segments that are wholly done; the current one is emptied instead."""
        while self._segments:
            head = self._segments[0]
            if head.cursor < head.size or head.held > 0:
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
                segment.check_at = min(segment.size + _LOOK_BYTES, self._segment_bytes)
        self.current = self.current or segment

    def lose(self, segment: Segment) -> None:
        """Go on without a file that the reader does not find."""
        if segment is self.current:
            with suppress(OSError):
                self.choose()
        elif segment in self._segments and not segment.is_unlinked:
            self._vanished(segment.ready)
            self._segments.remove(segment)
            segment.close()

    def drop(self, path: str) -> int | None:
        """Remove a segment that is not the current one.

        Returns:
            How many frames to send it held, or None: it is not ours, or current.
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
        """Remove what is wholly done, leave the rest to the next process, unlock."""
        self._is_closed = True
        self.current = None
        self.sweep()
        for segment in list(self._segments):
            segment.close()
        self._segments.clear()

    def abandon(self) -> None:
        """Close the descriptors that a forked child inherited; the parent keeps its lock."""
        for segment in list(self._segments):
            segment.close()
