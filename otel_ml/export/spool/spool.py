"""A bounded on-disk queue of encoded spans, shared by the processes of a user."""

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from otel_ml.errors import report
from otel_ml.export.spool.frame import FINAL, HELD, KEY_BYTES
from otel_ml.export.spool.segment import (
    Chain,
    FrameBatch,
    Segment,
    SegmentFile,
    find_frames,
    list_files,
    list_segments,
    lock_file,
    open_left,
    prepare_directory,
    remove,
    set_aside,
)

LIMIT_BYTES: Final = 1 << 30
MAX_AGE_S: Final = 7 * 86_400.0
SEGMENT_BYTES: Final = 4 << 20
LOOK_EVERY_S: Final = 2.0

# With very many files a look takes long: it may cost a fiftieth of the time.
_SHARE: Final = 50

_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class SpoolCounts:
    """Counts of frames since the spool was made, or since the fork in a child.

    Attributes:
        written: Frames on disk, held ones included.
        write_failed: Frames that the disk refused.
        damaged: Places where bytes were no frames: torn tails, flipped bits, headers.
        damaged_bytes: Bytes in these places.
        dropped_by_limit: Frames to send that were removed, oldest first, to keep the limits.
        vanished: Frames to send whose file somebody removed; those of the file that was being
            written are still delivered while the process lives.
        adopted: Frames to send that were taken over from processes that ended.
    """

    written: int = 0
    write_failed: int = 0
    damaged: int = 0
    damaged_bytes: int = 0
    dropped_by_limit: int = 0
    vanished: int = 0
    adopted: int = 0


class Spool:
    """Keeps encoded spans on disk until they are delivered.

    A frame is in its file when `append` returns, so kill -9 of the process loses none that was
    acknowledged; a power cut may, because nothing is fsynced. Delivery is at least once: frames
    in the file of a killed process are sent again by whoever adopts it, also those that were
    delivered just before. A frame is delivered byte for byte or not at all: damaged frames are
    counted and passed over.

    A held frame is written before a call's judges spoke, the final frame of the same key after.
    The process that wrote it sends only the final frame; who adopts sends the last of the key.

    Processes and clients share a directory freely: each writes files of its own, and a lock
    gives those of a process that ended to a single other.

    `append` may be called from any thread, finaliser and signal handler; `take`, `done` and
    `give_back` from a single thread. After a fork the child must call `after_fork_in_child` first.

    Args:
        directory: Made for this user alone when it is missing.
        envelope: The envelope of the spans of this process; given back with each batch.
        limit_bytes: The size that all files of the directory may take, about: the oldest make room.
        max_age_s: Files that were written last longer ago are dropped.
        segment_bytes: Size at which a new file is begun, at most a quarter of `limit_bytes`.
        look_every_s: `take` looks for limits and for ended processes at most as often; 0 means
            each time.

    Raises:
        OSError: The directory is not ours, cannot be written, or the system has no flock.
    """

    def __init__(
        self,
        directory: Path,
        envelope: bytes,
        *,
        limit_bytes: int = LIMIT_BYTES,
        max_age_s: float = MAX_AGE_S,
        segment_bytes: int = SEGMENT_BYTES,
        look_every_s: float = LOOK_EVERY_S,
    ) -> None:
        prepare_directory(directory)
        self._directory = str(directory.absolute())
        self._envelope = envelope
        self._limit_bytes = limit_bytes
        self._max_age_s = max_age_s
        self._segment_bytes = min(segment_bytes, limit_bytes // 4)
        self._look_every_s = look_every_s
        self._is_closed = False
        self._begin()

    def _begin(self) -> None:
        self._counts = SpoolCounts()
        # A finaliser or a signal handler may append a frame while its own thread is anywhere in
        # the spool. It finds `_is_inside` set: then it may write, but not close what its thread
        # works on.
        self._lock = threading.RLock()
        self._is_inside = False
        self._chain = Chain(
            self._directory, self._envelope, self._segment_bytes, self._rotated, self._vanished
        )
        self._held: dict[bytes, Segment] = {}
        self._taken: FrameBatch | None = None
        # Of processes that ended: whom to try, and the segments of the one that we adopted, whose
        # lock we hold. Changed inside alone, read by the one reader.
        self._owners: deque[str] = deque()
        self._adopted: deque[Segment] = deque()
        self._adopted_fd = -1
        self._is_adopted_turn = False
        self._due_at = 0.0
        self._bytes = 0
        self._is_refusal_told = False
        self._is_drop_told = False

    @contextmanager
    def _entered(self) -> Iterator[None]:
        """Let a single thread in, and that thread as often as it likes."""
        with self._lock:
            inside, self._is_inside = self._is_inside, True
            try:
                yield
            finally:
                self._is_inside = inside

    def append(self, key: bytes, payload: bytes, *, held: bool = False) -> bool:
        """Write a frame; it is on disk when this returns.

        Args:
            key: Trace id (16 bytes) and span id (8 bytes).
            payload: The encoded span.
            held: Whether a final frame of the same key will follow. Until then this file and
                those after it stay on disk.

        Returns:
            False when the disk refused: counted, and nothing is left of the frame. Refusal of a
            final frame ends the wait for it.

        Raises:
            ValueError: The key has another length.
        """
        if len(key) != KEY_BYTES:
            raise ValueError(f"Invalid key {key!r}: expected {KEY_BYTES} bytes")
        chain = self._chain
        frame = chain.seal.pack(key, payload, HELD if held else FINAL)
        reason: object = "the disk is full"
        with self._lock:
            inside = self._is_inside
            self._is_inside = True
            try:
                segment = chain.current
                if segment is None or (segment.size >= segment.check_at and not inside):
                    segment = chain.choose()
                size = segment.size
                written = os.write(segment.fd, frame)
                if written == len(frame):
                    segment.size += written
                    if not held:
                        segment.ready += 1
                    if held or self._held:
                        self._pin(key, segment if held else None)
                    self._counts.written += 1
                    return True
                chain.take_back(segment, size, written, inside)
            except OSError as error:
                reason = error
            except BaseException:  # a signal handler raised: the frame may be written
                chain.measure(inside)
                raise
            finally:
                self._is_inside = inside
            self._counts.write_failed += 1
            if not held:  # the caller keeps the final frame, so the held one waits for nothing
                self._pin(key, None)
        # Outside the lock: a log handler may take locks of its own and call traced functions.
        if not inside and not self._is_refusal_told:
            self._is_refusal_told = True
            _logger.warning("Spans are not on disk (%s), counted from now on", reason)
        return False

    def _pin(self, key: bytes, segment: Segment | None) -> None:
        """Keep the segment of a held frame until the next frame of its key."""
        before = self._held.pop(key, None)
        if before is not None:
            before.held -= 1
        if segment is not None:
            segment.held += 1
            self._held[key] = segment

    def take(self, max_frames: int, max_bytes: int) -> FrameBatch | None:
        """Read the next frames to send: our own, then those of processes that ended.

        Reading goes on outside the lock, so that appends do not wait for it.

        Args:
            max_frames: At most as many, at least 1.
            max_bytes: At most as many bytes of payload, except for a single longer payload.

        Returns:
            The batch, which `done` or `give_back` must end before the next is taken, or None.

        Raises:
            RuntimeError: The batch before was neither done nor given back.
        """
        if self._is_closed:
            return None
        if self._taken is not None:
            raise RuntimeError("Invalid take: expected done or give_back of the batch before")
        self._look()
        # A steady trickle of our own must not keep the others waiting for ever.
        turns = (True, False) if self._is_adopted_turn else (False, True)
        for adopted in turns:
            try:
                batch = self._take_from(adopted, max_frames, max_bytes)
            except OSError as error:  # no descriptor left, for one: later
                report("spool read", error)
                continue
            if batch is not None:
                self._is_adopted_turn = self._chain.is_last(batch.segment, batch.end)
                self._taken = batch
                return batch
        return None

    def _take_from(self, adopted: bool, max_frames: int, max_bytes: int) -> FrameBatch | None:
        while (segment := self._next(adopted)) is not None:
            try:
                frames = find_frames(segment, max_frames, max_bytes)
            except FileNotFoundError:
                with self._entered():
                    self._lose(segment)
                continue
            with self._entered():
                if segment.is_dropped:
                    continue
                if frames.payloads:
                    segment.ready -= len(frames.payloads)
                    return frames
                self._advance(frames)
        return None

    def _next(self, adopted: bool) -> Segment | None:
        """Return the next segment with frames behind its cursor."""
        if not adopted:
            return self._chain.next_segment()
        while self._adopted_fd >= 0 or self._adopt():
            for segment in list(self._adopted):
                if segment.cursor < segment.size:
                    return segment
            with self._entered():
                self._sweep_adopted()
        return None

    def done(self, batch: FrameBatch) -> None:
        """End a batch that was delivered, or refused for good; a second call does nothing."""
        with self._entered():
            if batch is self._taken:
                self._taken = None
                self._advance(batch)

    def give_back(self, batch: FrameBatch) -> None:
        """End a batch that was not delivered: it is taken again. A second call does nothing."""
        with self._entered():
            if batch is not self._taken:
                return
            self._taken = None
            if batch.segment.is_dropped:
                self._counts.dropped_by_limit += len(batch.payloads)
            else:
                batch.segment.ready += len(batch.payloads)

    def _advance(self, batch: FrameBatch) -> None:
        """Go on behind a batch, and remove segments that are wholly done."""
        segment = batch.segment
        segment.cursor = batch.end
        if segment.cursor >= segment.size:
            segment.ready = 0  # also frames that damage took
        self._counts.damaged += batch.gaps
        self._counts.damaged_bytes += batch.gap_bytes
        self._chain.sweep()
        self._sweep_adopted()

    def pending(self) -> int:
        """Count the frames to send: our own, and those of the process that was adopted."""
        with self._entered():
            taken = 0 if self._taken is None else len(self._taken.payloads)
            adopted = sum(segment.ready for segment in list(self._adopted))
            return self._chain.ready() + adopted + taken

    @property
    def counts(self) -> SpoolCounts:
        """The counts so far, as a copy."""
        return replace(self._counts)

    def close(self) -> None:
        """Remove our files if all is delivered, else leave them to the next process, and unlock.

        Call it when nobody takes any more. From then on every append is refused. A second call
        does nothing.
        """
        with self._entered():
            self._is_closed = True
            self._chain.close()
            self._release()

    def surround(self, envelope: bytes) -> None:
        """Take another envelope for the files that are begun from now on."""
        self._envelope = self._chain.envelope = envelope

    def after_fork_in_child(self) -> None:
        """Begin anew in a forked child: the files and the locks of the parent stay its own.

        The counts begin at zero, and the first append makes a file.
        """
        self._chain.abandon()
        self._release()
        self._begin()
        if self._is_closed:
            self._chain.close()

    # What processes that ended left, taken over one process at a time under its lock.

    def _adopt(self) -> bool:
        """Adopt the files of a process that ended; those of live processes are passed over.

        Raises:
            OSError: Files cannot be opened now.
        """
        while self._owners:
            with self._entered():
                owner = self._owners.popleft()
            paths = list_segments(self._directory, owner)
            fd = lock_file(paths[-1]) if paths else None
            if fd is None:
                continue
            with ExitStack() as undo:
                undo.callback(os.close, fd)
                # A process that lives locks a newer segment before it leaves an older one.
                newest = paths[-1]
                paths = list_segments(self._directory, owner)
                left = open_left(paths) if paths and paths[-1] == newest else []
                if not left:
                    continue
                undo.pop_all()
            with self._entered():
                self._adopted_fd = fd
                for segment in left:
                    if isinstance(segment, Segment):
                        self._adopted.append(segment)
                        self._counts.adopted += segment.ready
                    elif not isinstance(segment[1], FileNotFoundError):
                        self._counts.damaged += 1
                        self._counts.damaged_bytes += set_aside(segment[0])
            return True
        return False

    def _sweep_adopted(self) -> None:
        """Remove adopted segments that are done, and unlock when there are none left."""
        while self._adopted and self._adopted[0].cursor >= self._adopted[0].size:
            remove(self._adopted.popleft().path)
        if not self._adopted:
            self._release()

    def _release(self) -> None:
        """Leave the rest to another process. In a forked child the parent keeps its lock."""
        self._adopted.clear()
        fd, self._adopted_fd = self._adopted_fd, -1
        if fd >= 0:
            os.close(fd)

    def _lose(self, segment: Segment) -> None:
        """Go on without a file that the reader does not find."""
        if segment in self._adopted:
            self._adopted.remove(segment)
            self._vanished(segment.ready)
        else:
            self._chain.lose(segment)

    def _vanished(self, count: int) -> None:
        self._counts.vanished += count

    # The limits of the directory: the oldest segments leave, whoever wrote them. Only the newest
    # segment of a process that lives is spared. A removed one of another process that lives is
    # counted there, as vanished.

    def _look(self) -> None:
        """Look at the directory when it is time. Called by the reader, outside the lock."""
        self._tell_drop()
        began = time.monotonic()
        if began < self._due_at:
            return
        files = list_files(self._directory)
        others = [file for file in files if file.owner != self._chain.owner]
        with self._entered():
            if not self._chain.is_current_here():
                with suppress(OSError):
                    self._chain.choose()
            self._keep_limits(files)
            self._owners = deque(dict.fromkeys(file.owner for file in others if not file.suffix))
        self._tell_drop()
        for file in others:
            fd = lock_file(file.path) if file.suffix == ".new" else None
            if fd is not None:  # its process was killed while it created the file
                remove(file.path)
                os.close(fd)
        if self._look_every_s:
            now = time.monotonic()
            self._due_at = now + max(self._look_every_s, (now - began) * _SHARE)

    def _rotated(self, size: int) -> None:
        """Keep the limits after a segment of so many bytes was filled. Called inside."""
        self._bytes += size
        if self._bytes > self._limit_bytes or time.monotonic() >= self._due_at:
            self._keep_limits(list_files(self._directory))

    def _keep_limits(self, files: list[SegmentFile]) -> None:
        total = sum(file.size for file in files)
        oldest_s = time.time() - self._max_age_s
        by_number = sorted(files, key=lambda file: file.number)
        newest = {file.owner: file.path for file in by_number if not file.suffix}
        for file in files:
            if total <= self._limit_bytes and file.changed_s >= oldest_s:
                break
            unsent = self._drop(file, newest.get(file.owner))
            if unsent is not None:
                total -= file.size
                self._counts.dropped_by_limit += unsent
        self._bytes = total

    def _drop(self, file: SegmentFile, newest: str | None) -> int | None:
        """Remove a file; returns how many frames to send it held, None when it must stay."""
        if file.owner == self._chain.owner:
            return self._chain.drop(file.path)
        for segment in list(self._adopted):
            if segment.path == file.path:
                segment.is_dropped = True
                self._adopted.remove(segment)
                remove(file.path)
                return segment.ready
        return _drop_foreign(file, newest)

    def _tell_drop(self) -> None:
        """Say once that spans were dropped, outside the lock: a log handler may hold locks."""
        if self._counts.dropped_by_limit and not self._is_drop_told:
            self._is_drop_told = True
            _logger.warning(
                "Spool %s is over its limits: %d spans were dropped, counted from now on",
                self._directory,
                self._counts.dropped_by_limit,
            )


def _drop_foreign(file: SegmentFile, newest: str | None) -> int | None:
    """Remove a file of another process; returns as `Spool._drop` does."""
    is_leftover = file.suffix or newest is None
    fd = None if is_leftover or newest is None else lock_file(newest)
    if fd is not None:
        try:
            left = open_left([file.path])
            remove(file.path)
        except OSError:
            return None
        finally:
            os.close(fd)
        return sum(segment.ready for segment in left if isinstance(segment, Segment))
    if not is_leftover and file.path == newest:
        return None  # its process lives, or another one has adopted it
    remove(file.path)
    return 0
