"""The segments of processes that ended, taken over one process at a time under its lock."""

import errno
import os
from collections import deque
from collections.abc import Iterable
from typing import Final

from otel_ml.export.spool.counters import Counters
from otel_ml.export.spool.directory import list_segments, lock_file, remove, set_aside
from otel_ml.export.spool.gate import Gate
from otel_ml.export.spool.reader import count_frames, find_loose, forget_followed
from otel_ml.export.spool.segment import DamagedHeaderError, Segment, open_segment

_TEMPORARY: Final = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}
_AHEAD: Final = 2


class Adopter:
    """Finds what ended processes left and hands out their segments, oldest first.

    The one reader calls its methods; `offer` and `drop` are called inside the gate.
    """

    def __init__(self, directory: str, gate: Gate, counters: Counters) -> None:
        self._directory = directory
        self._gate = gate
        self._counters = counters
        self._owners: deque[str] = deque()
        self._paths: deque[str] = deque()
        self._head: Segment | None = None
        self._loose: dict[str, frozenset[int]] | None = None
        self._fd = -1

    def offer(self, owners: Iterable[str]) -> None:
        """Name the processes to try next; those that live are passed over."""
        self._owners = deque(owners)

    def is_idle(self) -> bool:
        """Tell whether nothing is left to try, as far as is known."""
        return not self._owners and self._fd < 0

    def ready(self) -> int:
        """Return how many frames of the segment in work are to be sent."""
        head = self._head
        return 0 if head is None else head.ready

    def next_segment(self) -> Segment | None:
        """Return a segment with frames behind its cursor.

        Raises:
            OSError: Files cannot be opened now.
        """
        while self._fd >= 0 or self._adopt():
            head = self._head or self._open_next()
            if head is not None and head.cursor < head.size:
                return head
            self.sweep()
        return None

    def _adopt(self) -> bool:
        """Lock what one process left."""
        while (owner := self._next_owner()) is not None:
            paths = list_segments(self._directory, owner)
            fd = lock_file(paths[-1]) if paths else None
            if fd is None:
                continue
            # A process that lives locks a newer segment before it leaves an older one.
            newest = paths[-1]
            paths = list_segments(self._directory, owner)
            if paths and paths[-1] == newest:
                with self._gate.entered():
                    self._fd, self._paths = fd, deque(paths)
                return True
            os.close(fd)
        return False

    def _next_owner(self) -> str | None:
        with self._gate.entered():
            return self._owners.popleft() if self._owners else None

    def _open_next(self) -> Segment | None:
        """Open the oldest segment that is left, or put it away."""
        paths = list(self._paths)
        if not paths:
            return None
        try:
            segment = open_segment(paths[0])
            finals, held = count_frames(segment)
        except (DamagedHeaderError, OSError) as error:
            if isinstance(error, OSError) and error.errno in _TEMPORARY:
                raise
            self._put_away(paths[0], error)
            return None
        segment.loose = self._choose_loose(paths, held)
        segment.ready = finals + len(segment.loose)
        with self._gate.entered():
            if not self._paths or self._paths[0] != paths[0]:  # dropped meanwhile
                return None
            self._head = segment
            self._counters.adopted += segment.ready
        return segment

    def _choose_loose(self, paths: list[str], held: dict[bytes, int]) -> frozenset[int]:
        """Choose the held frames of the oldest segment that are to be sent.

        Final frames mostly follow soon, so the next segments are read first. Only when these do
        not answer, all are read, once.
        """
        if self._loose is None:
            for later in paths[1 : 1 + _AHEAD]:
                if held:
                    forget_followed(held, later)
            if not held or len(paths) <= 1 + _AHEAD:
                return frozenset(held.values())
            self._loose = find_loose(paths)
        return self._loose.pop(paths[0], frozenset())

    def _put_away(self, path: str, error: Exception) -> None:
        with self._gate.entered():
            if path not in self._paths:
                return
            self._paths.remove(path)
            if not isinstance(error, FileNotFoundError):
                self._counters.damaged += 1
                self._counters.damaged_bytes += set_aside(path)

    def sweep(self) -> None:
        """Remove the segment in work when it is done, unlock when it was the last."""
        with self._gate.entered():
            head = self._head
            if head is not None and head.cursor >= head.size:
                self._forget(head.path)
                remove(head.path)
            if not self._paths:
                self.close()

    def lose(self, segment: Segment) -> None:
        """Go on without a file that the reader does not find."""
        if segment.path in self._paths:
            self._counters.vanished += segment.ready
            self._forget(segment.path)

    def drop(self, path: str) -> int | None:
        """Remove a segment.

        Returns:
            How many frames to send it held, or None: it was not adopted.
        """
        if path not in self._paths:
            return None
        head = self._head
        if head is not None and head.path == path:
            head.is_dropped = True
            unsent = head.ready
        else:
            unsent = count_unsent(path)
        self._forget(path)
        remove(path)
        return unsent

    def _forget(self, path: str) -> None:
        self._paths.remove(path)
        if self._head is not None and self._head.path == path:
            self._head = None

    def close(self) -> None:
        """Leave the rest to another process. In a forked child the parent keeps its lock."""
        self._paths.clear()
        self._head = None
        self._loose = None
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def count_unsent(path: str) -> int:
    """Count the frames to send of a segment that nobody has opened, as well as it can be read."""
    try:
        finals, held = count_frames(open_segment(path))
    except (DamagedHeaderError, OSError):
        return 0
    return finals + len(held)
