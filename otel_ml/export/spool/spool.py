"""A disk queue of encoded spans, limited in size and shared by the processes of a user."""

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
from otel_ml.export.spool.frame import FINAL, KEY_BYTES, PROVISIONAL
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
CHECK_EVERY_S: Final = 2.0

# checks may take at most 1/50 of the time, because they are slow with very many files
_SHARE: Final = 50

_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class SpoolCounts:
    """Counters of a disk queue since it was created. A forked child process starts at 0.

    A frame is one encoded span on disk.

    Attributes:
        written: Frames written, including those of unfinished calls.
        write_failed: Frames that could not be written.
        damaged: Damaged places in files, such as an incomplete last frame or changed bits.
        damaged_bytes: Total size of these places in bytes.
        dropped_by_limit: Unsent frames that were deleted, oldest first, because the queue was too
            large or the frames were too old.
        vanished: Unsent frames in files that another program or process deleted.
        adopted: Unsent frames that this process took over from processes that had ended.
    """

    written: int = 0
    write_failed: int = 0
    damaged: int = 0
    damaged_bytes: int = 0
    dropped_by_limit: int = 0
    vanished: int = 0
    adopted: int = 0


class Spool:
    """A queue of encoded spans on disk, so that a killed process loses none.

    A frame is one encoded span. When `append` returns, the frame is in its file. So ``kill -9``
    loses none, but a power failure may, because nothing is fsynced. Delivery is at least once: if a
    process is killed, another one takes over its files and sends them, including frames that were
    delivered just before. Damaged frames are counted and skipped.

    A call with judges is written twice: a held frame before the judges run, and a final frame with
    the same key afterwards. Only the final frame is sent. If the process is killed in between,
    another one sends the held frame.

    Processes and clients can share a directory. Each writes its own files.

    `append` may be called from any thread, finalizer or signal handler. Only one thread may call
    `take`, `done` and `give_back`. After a fork, the child must call `after_fork_in_child` first.

    Args:
        directory: Directory; created for this user only if it does not exist.
        envelope: Encoded resource and scope of this process's spans; returned with each batch.
        limit_bytes: Approximate limit for the total size of the directory. The oldest files are
            removed first.
        max_age_s: Files that were not written to for longer than this many seconds are dropped.
        segment_bytes: Size at which a new file is started, at most a quarter of `limit_bytes`.
        check_every_s: Shortest time in seconds between checks of limits and ended processes; 0
            checks at each `take`.

    Raises:
        OSError: The directory belongs to another user or is not writable, or the system has no
            flock.
    """

    def __init__(
        self,
        directory: Path,
        envelope: bytes,
        *,
        limit_bytes: int = LIMIT_BYTES,
        max_age_s: float = MAX_AGE_S,
        segment_bytes: int = SEGMENT_BYTES,
        check_every_s: float = CHECK_EVERY_S,
    ) -> None:
        prepare_directory(directory)
        self._directory = str(directory.absolute())
        self._envelope = envelope
        self._limit_bytes = limit_bytes
        self._max_age_s = max_age_s
        self._segment_bytes = min(segment_bytes, limit_bytes // 4)
        self._check_every_s = check_every_s
        self._is_closed = False
        self._begin()

    def _begin(self) -> None:
        self._counts = SpoolCounts()
        # A finalizer or signal handler may append a frame while its own thread is anywhere in the
        # spool. Then `_is_inside` is set: the append may write, but must not close files that its
        # thread is using.
        self._lock = threading.RLock()
        self._is_inside = False
        self._chain = Chain(
            self._directory, self._envelope, self._segment_bytes, self._rotated, self._vanished
        )
        self._provisional: dict[bytes, Segment] = {}
        self._taken: FrameBatch | None = None
        # Files of ended processes: the owners still to try, and the segments of the adopted owner,
        # whose lock we hold. They change only under the lock, and only the reader thread reads
        # them.
        self._owners: deque[str] = deque()
        self._adopted: deque[Segment] = deque()
        self._adopted_fd = -1
        self._is_adopted_turn = False
        self._due_at = 0.0
        self._is_check_asked = False
        self._bytes = 0
        self._is_refusal_logged = False
        self._is_drop_logged = False

    @contextmanager
    def _entered(self) -> Iterator[None]:
        """Let one thread in at a time. That thread may enter again."""
        with self._lock:
            inside, self._is_inside = self._is_inside, True
            try:
                yield
            finally:
                self._is_inside = inside

    def append(self, key: bytes, payload: bytes, *, provisional: bool = False) -> bool:
        """Write an encoded span to disk. If the process is killed afterwards, the span is kept.

        Args:
            key: Trace ID (16 bytes) and span ID (8 bytes).
            payload: The encoded span.
            provisional: True for the preliminary span of an unfinished call. It is kept until the
                final span with the same key is written.

        Returns:
            False if the span could not be written.

        Raises:
            ValueError: The key has the wrong length.
        """
        if len(key) != KEY_BYTES:
            raise ValueError(f"Invalid key {key!r}: expected {KEY_BYTES} bytes")
        chain = self._chain
        frame = chain.seal.pack(key, payload, PROVISIONAL if provisional else FINAL)
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
                    if not provisional:
                        segment.ready += 1
                    if provisional or self._provisional:
                        self._pin(key, segment if provisional else None)
                    self._counts.written += 1
                    return True
                chain.take_back(segment, size, written, inside)
            except OSError as error:
                reason = error
            except BaseException:  # a signal handler raised; the frame may be complete
                chain.measure(inside)
                raise
            finally:
                self._is_inside = inside
            self._counts.write_failed += 1
            if not provisional:  # the caller keeps the final frame in memory: release the held one
                self._pin(key, None)
        # outside the lock, because a log handler may take locks and call traced functions
        if not inside and not self._is_refusal_logged:
            self._is_refusal_logged = True
            _logger.warning(
                "Spans could not be written to disk (%s), further errors are only counted", reason
            )
        return False

    def _pin(self, key: bytes, segment: Segment | None) -> None:
        """Keep the segment of a held frame until the next frame with its key."""
        before = self._provisional.pop(key, None)
        if before is not None:
            before.provisional -= 1
        if segment is not None:
            segment.provisional += 1
            self._provisional[key] = segment

    def rescan(self) -> None:
        """Let the next `take` look for files of ended processes, even right after a look."""
        self._is_check_asked = True

    def take(self, max_frames: int, max_bytes: int) -> FrameBatch | None:
        """Read the next spans to send, of this process and of processes that have ended.

        Other threads can append while this method reads.

        Args:
            max_frames: Maximum number of frames (encoded spans), at least 1.
            max_bytes: Maximum total size in bytes. The first frame is returned even if it is
                larger.

        Returns:
            A batch of frames, or None if there is nothing to send. Call `done` or `give_back`
            before you take the next one.

        Raises:
            RuntimeError: `done` or `give_back` was not called for the previous batch.
        """
        if self._is_closed:
            return None
        if self._taken is not None:
            raise RuntimeError("Invalid take: call done or give_back for the previous batch first")
        self._check_directory()
        # alternate, so that our own spans cannot block the adopted ones forever
        turns = (True, False) if self._is_adopted_turn else (False, True)
        for adopted in turns:
            try:
                batch = self._take_from(adopted, max_frames, max_bytes)
            except OSError as error:  # no free descriptor, for example: try later
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
        """Return the next segment with frames after its cursor."""
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
        """Finish a batch that was delivered or rejected for good. A second call does nothing."""
        with self._entered():
            if batch is self._taken:
                self._taken = None
                self._advance(batch)

    def give_back(self, batch: FrameBatch) -> None:
        """Return a batch that was not delivered, so that it is taken again.

        A second call does nothing.
        """
        with self._entered():
            if batch is not self._taken:
                return
            self._taken = None
            if batch.segment.is_dropped:
                self._counts.dropped_by_limit += len(batch.payloads)
            else:
                batch.segment.ready += len(batch.payloads)

    def _advance(self, batch: FrameBatch) -> None:
        """Move the cursor behind a batch, and remove finished segments."""
        segment = batch.segment
        segment.cursor = batch.end
        if segment.cursor >= segment.size:
            segment.ready = 0  # not subtracted, because damaged frames are counted in it
        self._counts.damaged += batch.gaps
        self._counts.damaged_bytes += batch.gap_bytes
        self._chain.sweep()
        self._sweep_adopted()

    def pending(self) -> int:
        """Return the number of unsent frames (encoded spans).

        Frames of an ended process whose files this process has taken over are included.
        """
        with self._entered():
            taken = 0 if self._taken is None else len(self._taken.payloads)
            adopted = sum(segment.ready for segment in list(self._adopted))
            return self._chain.ready() + adopted + taken

    @property
    def counts(self) -> SpoolCounts:
        """A copy of the counters."""
        return replace(self._counts)

    def close(self) -> None:
        """Close the queue, and delete the files whose spans are all sent.

        A later process sends the spans that are left. Call `done` or `give_back` for the last batch
        first. After closing, every append fails.
        """
        with self._entered():
            self._is_closed = True
            self._chain.close()
            self._release()

    def surround(self, envelope: bytes) -> None:
        """Use another encoded resource and scope for files that are started from now on."""
        self._envelope = self._chain.envelope = envelope

    def after_fork_in_child(self) -> None:
        """Start an empty queue in a forked child process. The parent keeps its files and locks.

        The counters start at 0, and the first append creates a file.
        """
        self._chain.abandon()
        self._release()
        self._begin()
        if self._is_closed:
            self._chain.close()

    # Files of ended processes, adopted one process at a time under its lock.

    def _adopt(self) -> bool:
        """Adopt the files of an ended process. Live processes are skipped.

        Raises:
            OSError: Files cannot be opened at the moment.
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
                # list again: a live process locks a newer segment before it releases an older one
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
        """Remove finished adopted segments, and release the lock after the last one."""
        while self._adopted and self._adopted[0].cursor >= self._adopted[0].size:
            remove(self._adopted.popleft().path)
        if not self._adopted:
            self._release()

    def _release(self) -> None:
        """Leave the remaining files to another process.

        In a forked child, the parent keeps its lock.
        """
        self._adopted.clear()
        fd, self._adopted_fd = self._adopted_fd, -1
        if fd >= 0:
            os.close(fd)

    def _lose(self, segment: Segment) -> None:
        """Continue without a file that no longer exists."""
        if segment in self._adopted:
            self._adopted.remove(segment)
            self._vanished(segment.ready)
        else:
            self._chain.lose(segment)

    def _vanished(self, count: int) -> None:
        self._counts.vanished += count

    # Limits of the directory. The oldest segments are removed first, whoever wrote them, except the
    # newest segment of each live process. If another live process wrote a removed segment, that
    # process counts it as vanished.

    def _check_directory(self) -> None:
        """Check the directory if it is time. Called by the reader, outside the lock."""
        self._warn_drop()
        began = time.monotonic()
        if began < self._due_at and not self._is_check_asked:
            return
        self._is_check_asked = False
        files = list_files(self._directory)
        others = [file for file in files if file.owner != self._chain.owner]
        with self._entered():
            if not self._chain.is_current_here():
                with suppress(OSError):
                    self._chain.choose()
            self._keep_limits(files)
            self._owners = deque(dict.fromkeys(file.owner for file in others if not file.suffix))
        self._warn_drop()
        for file in others:
            fd = lock_file(file.path) if file.suffix == ".new" else None
            if fd is not None:  # its process was killed while creating the file
                remove(file.path)
                os.close(fd)
        if self._check_every_s:
            now = time.monotonic()
            self._due_at = now + max(self._check_every_s, (now - began) * _SHARE)

    def _rotated(self, size: int) -> None:
        """Check the limits after a segment was filled. Called under the lock."""
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
        """Remove a file, and return its number of unsent frames; None if it must stay."""
        if file.owner == self._chain.owner:
            return self._chain.drop(file.path)
        for segment in list(self._adopted):
            if segment.path == file.path:
                segment.is_dropped = True
                self._adopted.remove(segment)
                remove(file.path)
                return segment.ready
        return _drop_foreign(file, newest)

    def _warn_drop(self) -> None:
        """Log once that spans were dropped.

        Outside the lock, because a log handler may hold locks.
        """
        if self._counts.dropped_by_limit and not self._is_drop_logged:
            self._is_drop_logged = True
            _logger.warning(
                "Spool %s is over its limits: %d spans were dropped, further drops are only "
                "counted",
                self._directory,
                self._counts.dropped_by_limit,
            )


def _drop_foreign(file: SegmentFile, newest: str | None) -> int | None:
    """Remove a file of another process. Returns the same as `Spool._drop`."""
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
        return None  # its process is running, or another process adopted it
    remove(file.path)
    return 0
