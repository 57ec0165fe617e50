"""Reading the frames of a segment, past damaged places."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

from otel_ml.export.spool.frame import Frame
from otel_ml.export.spool.segment import DamagedHeaderError, Segment, open_segment, read

_WINDOW: Final = 64 * 1024


@dataclass(slots=True)
class Found:
    """The frames to send from one stretch of a segment.

    Attributes:
        end: Where the next stretch begins.
        gaps: Damaged places in this one.
        gap_bytes: Bytes in these places.
    """

    end: int
    keys: list[bytes] = field(default_factory=list)
    payloads: list[bytes] = field(default_factory=list)
    gaps: int = 0
    gap_bytes: int = 0

    def skip_to(self, start: int) -> None:
        """Count what lies before `start` as damage, if anything does."""
        if start > self.end:
            self.gaps += 1
            self.gap_bytes += start - self.end
            self.end = start


def find_frames(segment: Segment, max_frames: int, max_bytes: int) -> Found:
    """Read the next frames to send, from the cursor on; the cursor stays.

    Args:
        segment: Its bytes up to `size` were written.
        max_frames: At most as many.
        max_bytes: At most as many bytes of payload, but for a first one that is longer.

    Raises:
        FileNotFoundError: Somebody removed the file.
        OSError: The file cannot be opened now.
    """
    size = segment.size
    window = min(max_bytes, size) + _WINDOW
    with _opened(segment) as fd:
        while True:
            end = min(size, segment.cursor + window)
            data = read(fd, segment.cursor, end)
            # A file that is shorter than it was has lost its end.
            is_whole = end == size or len(data) < end - segment.cursor
            found = _gather(segment, data, max_frames, max_bytes, size if is_whole else None)
            if is_whole or found.end > segment.cursor:
                return found
            window *= 4


def _gather(
    segment: Segment, data: bytes, max_frames: int, max_bytes: int, size: int | None
) -> Found:
    """Collect from the bytes behind the cursor; `size` is given when none follow them."""
    base = segment.cursor
    found = Found(base)
    for frame in segment.seal.scan(data, whole=size is not None):
        if not frame.held or base + frame.start in segment.loose:
            taken = len(frame.payload)
            if found.payloads and (len(found.payloads) >= max_frames or taken > max_bytes):
                return found
            max_bytes -= taken
            found.keys.append(frame.key)
            found.payloads.append(frame.payload)
        found.skip_to(base + frame.start)
        found.end = base + frame.end
    if size is not None:
        found.skip_to(size)
    return found


def count_frames(segment: Segment) -> tuple[int, dict[bytes, int]]:
    """Read all of a segment of a process that ended.

    Returns:
        How many final frames it holds, and the offsets, by key, of the held ones that no later
        frame of their key follows in it.

    Raises:
        OSError: The file cannot be opened.
    """
    finals = 0
    held: dict[bytes, int] = {}
    for frame in _all_frames(segment):
        if frame.held:
            held[frame.key] = segment.start + frame.start
        else:
            finals += 1
            held.pop(frame.key, None)
    return finals, held


def forget_followed(held: dict[bytes, int], path: str) -> None:
    """Take out the held frames of which a later segment has another frame, if it can be read."""
    with suppress(DamagedHeaderError, OSError):
        for frame in _all_frames(open_segment(path)):
            held.pop(frame.key, None)


def find_loose(paths: Sequence[str]) -> dict[str, frozenset[int]]:
    """Find the held frames that no later frame of their key follows, in segments in order.

    It takes memory for those that are open at one time, as the process that wrote them did.

    Returns:
        Their offsets, by path.
    """
    held: dict[bytes, tuple[str, int]] = {}
    for path in paths:
        with suppress(DamagedHeaderError, OSError):
            segment = open_segment(path)
            for frame in _all_frames(segment):
                held.pop(frame.key, None)
                if frame.held:
                    held[frame.key] = path, segment.start + frame.start
    offsets: dict[str, set[int]] = {}
    for path, offset in held.values():
        offsets.setdefault(path, set()).add(offset)
    return {path: frozenset(ones) for path, ones in offsets.items()}


def _all_frames(segment: Segment) -> Iterator[Frame]:
    with _opened(segment) as fd:
        data = read(fd, segment.start, segment.size)
    return segment.seal.scan(data, whole=True)


@contextmanager
def _opened(segment: Segment) -> Iterator[int]:
    """Open for reading alone: a forked child that inherits it inherits no lock."""
    if segment.is_unlinked:
        yield segment.fd
        return
    fd = os.open(segment.path, os.O_RDONLY)
    try:
        yield fd
    finally:
        os.close(fd)
