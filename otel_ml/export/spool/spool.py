"""A bounded on-disk queue of encoded spans, shared by the processes of one user."""

import logging
import os
from dataclasses import replace
from pathlib import Path
from typing import Final

from otel_ml.export.spool.adopter import Adopter
from otel_ml.export.spool.chain import Chain
from otel_ml.export.spool.counters import Counters
from otel_ml.export.spool.delivery import Batch, Delivery
from otel_ml.export.spool.directory import prepare_directory
from otel_ml.export.spool.frame import FINAL, HELD, KEY_BYTES
from otel_ml.export.spool.gate import Gate
from otel_ml.export.spool.keeper import Keeper
from otel_ml.export.spool.segment import Segment

LIMIT_BYTES: Final = 1 << 30
MAX_AGE_S: Final = 7 * 86_400.0
SEGMENT_BYTES: Final = 4 << 20
LOOK_EVERY_S: Final = 2.0

_logger = logging.getLogger(__name__)


class Spool:
    """Keeps encoded spans on disk until they are delivered.

    A frame is in its file when `append` returns, so kill -9 of the process loses none that was
    acknowledged; a power cut may, because nothing is fsynced. Delivery is at least once: frames
    in the file of a killed process are sent again by whoever adopts it, also those that were
    delivered just before. A frame is delivered byte for byte or not at all: damaged ones are
    counted and passed over.

    A held frame is written before a call's judges spoke, the final one of the same key after.
    The process that wrote it sends the final one only; who adopts sends the last of the key.

    Processes and clients share a directory freely: each writes files of its own, and a lock
    gives those of a process that ended to one other.

    `append` may be called from any thread, finaliser and signal handler; `take`, `done` and
    `give_back` from one thread. After a fork the child must call `after_fork_in_child` first.

    Args:
        directory: Made for this user alone when it is missing.
        envelope: What goes around the spans of this process; given back with each batch.
        limit_bytes: What all files of the directory may take, about: the oldest make room.
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
        self._counters = Counters()
        self._gate = Gate()
        self._keeper = Keeper(
            self._directory,
            self._gate,
            self._counters,
            limit_bytes=self._limit_bytes,
            max_age_s=self._max_age_s,
            look_every_s=self._look_every_s,
        )
        self._chain = Chain(
            self._directory, self._envelope, self._segment_bytes, self._counters, self._rotated
        )
        self._adopter = Adopter(self._directory, self._gate, self._counters)
        self._delivery = Delivery(
            self._gate, self._counters, self._chain, self._adopter, self._keeper
        )
        self._held: dict[bytes, Segment] = {}
        self._is_refusal_told = False

    def append(self, key: bytes, payload: bytes, *, held: bool = False) -> bool:
        """Write one frame; it is on disk when this returns.

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
        gate, chain = self._gate, self._chain
        frame = chain.seal.pack(key, payload, HELD if held else FINAL)
        reason: object = "the disk is full"
        with gate.lock:
            inside = gate.is_inside
            gate.is_inside = True
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
                    self._counters.written += 1
                    return True
                chain.take_back(segment, size, written, inside)
            except OSError as error:
                reason = error
            except BaseException:  # a signal handler raised: the frame may be written
                chain.measure(inside)
                raise
            finally:
                gate.is_inside = inside
            self._counters.write_failed += 1
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

    def take(self, max_frames: int, max_bytes: int) -> Batch | None:
        """Read the next frames to send: our own, then those of processes that ended.

        Args:
            max_frames: At most as many, at least 1.
            max_bytes: At most as many bytes of payload, but for a single longer one.

        Returns:
            The batch, which `done` or `give_back` must end before the next is taken, or None.

        Raises:
            RuntimeError: The batch before was neither done nor given back.
        """
        return None if self._is_closed else self._delivery.take(max_frames, max_bytes)

    def done(self, batch: Batch) -> None:
        """End a batch that was delivered, or refused for good; a second call does nothing."""
        self._delivery.done(batch)

    def give_back(self, batch: Batch) -> None:
        """End a batch that was not delivered: it is taken again. A second call does nothing."""
        self._delivery.give_back(batch)

    def pending(self) -> int:
        """Count the frames to send: our own, and of adopted segments the one in work."""
        return self._delivery.pending()

    def mark(self) -> int:
        """Return a mark behind all frames of this process, for `is_drained`."""
        with self._gate.entered():
            return self._chain.end()

    def is_drained(self, mark: int | None = None) -> bool:
        """Tell whether nothing is left to send.

        Args:
            mark: Ask only for the frames that this process wrote before the mark was made.
                Without it, those of ended processes count too, as far as `take` has seen them.
        """
        if self.pending() == 0:
            return mark is not None or self._adopter.is_idle()
        with self._gate.entered():
            return mark is not None and self._chain.done() >= mark

    @property
    def counters(self) -> Counters:
        """What happened so far, as a copy."""
        return replace(self._counters)

    def close(self) -> None:
        """Remove our files if all is delivered, else leave them to the next process, and unlock.

        Call it when nobody takes any more. From then on every append is refused. A second call
        does nothing.
        """
        with self._gate.entered():
            self._is_closed = True
            self._chain.close()
            self._adopter.close()

    def surround(self, envelope: bytes) -> None:
        """Take another envelope for the files that are begun from now on."""
        self._envelope = self._chain.envelope = envelope

    def after_fork_in_child(self) -> None:
        """Begin anew in a forked child: the files and the lock of the parent stay its own.

        The counts begin at zero, and the first append makes a file.
        """
        self._chain.abandon()
        self._adopter.close()
        self._begin()
        if self._is_closed:
            self._chain.close()

    def _rotated(self, size: int) -> None:
        self._keeper.rotated(size, self._chain, self._adopter)
