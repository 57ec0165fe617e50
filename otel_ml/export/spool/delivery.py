"""Handing frames out for sending, and moving the cursors when they were sent."""

from dataclasses import dataclass

from otel_ml.errors import report
from otel_ml.export.spool.adopter import Adopter
from otel_ml.export.spool.chain import Chain
from otel_ml.export.spool.counters import Counters
from otel_ml.export.spool.gate import Gate
from otel_ml.export.spool.keeper import Keeper
from otel_ml.export.spool.reader import Found, find_frames
from otel_ml.export.spool.segment import Segment


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Frames to send together, read from one segment.

    Attributes:
        envelope: What their process gave for all of them.
        keys: Trace id and span id of each frame, in the order they were written.
        payloads: The encoded spans, beside their keys.
        segment: For the spool alone.
        found: For the spool alone.
    """

    envelope: bytes
    keys: list[bytes]
    payloads: list[bytes]
    segment: Segment
    found: Found


class Delivery:
    """Takes from our own segments first, then from those of ended processes.

    Reading goes on outside the gate, so that appends do not wait for it.
    """

    def __init__(
        self, gate: Gate, counters: Counters, chain: Chain, adopter: Adopter, keeper: Keeper
    ) -> None:
        self._gate = gate
        self._counters = counters
        self._chain = chain
        self._adopter = adopter
        self._keeper = keeper
        self._taken: Batch | None = None
        self._is_adopted_turn = False

    def take(self, max_frames: int, max_bytes: int) -> Batch | None:
        """Read the next frames to send; see `Spool.take`."""
        if self._taken is not None:
            raise RuntimeError("Invalid take: expected done or give_back of the batch before")
        self._keeper.look(self._chain, self._adopter)
        sources: list[Chain | Adopter] = [self._chain, self._adopter]
        if self._is_adopted_turn:
            sources.reverse()
        for source in sources:
            batch = self._take_from(source, max_frames, max_bytes)
            if batch is not None:
                # A steady trickle of our own must not keep the others waiting for ever.
                end = batch.segment.origin + batch.found.end
                self._is_adopted_turn = source is self._chain and end >= self._chain.end()
                self._taken = batch
                return batch
        return None

    def _take_from(self, source: Chain | Adopter, max_frames: int, max_bytes: int) -> Batch | None:
        try:
            while (segment := source.next_segment()) is not None:
                try:
                    found = find_frames(segment, max_frames, max_bytes)
                except FileNotFoundError:
                    with self._gate.entered():
                        source.lose(segment)
                    continue
                with self._gate.entered():
                    if segment.is_dropped:
                        continue
                    if found.payloads:
                        segment.ready -= len(found.payloads)
                        return Batch(segment.envelope, found.keys, found.payloads, segment, found)
                    self._advance(segment, found)
                    source.sweep()
        except OSError as error:  # no descriptor left, for one: later
            report("spool read", error)
        return None

    def done(self, batch: Batch) -> None:
        """End a batch; see `Spool.done`."""
        with self._gate.entered():
            if batch is not self._taken:
                return
            self._taken = None
            self._advance(batch.segment, batch.found)
            self._chain.sweep()
            self._adopter.sweep()

    def _advance(self, segment: Segment, found: Found) -> None:
        segment.cursor = found.end
        if segment.ready and segment.cursor >= segment.size:  # frames that damage took
            segment.ready = 0
        self._counters.damaged += found.gaps
        self._counters.damaged_bytes += found.gap_bytes

    def give_back(self, batch: Batch) -> None:
        """End a batch; see `Spool.give_back`."""
        with self._gate.entered():
            if batch is not self._taken:
                return
            self._taken = None
            if batch.segment.is_dropped:
                self._counters.dropped_by_limit += len(batch.payloads)
            else:
                batch.segment.ready += len(batch.payloads)

    def pending(self) -> int:
        """Count the frames to send; see `Spool.pending`."""
        with self._gate.entered():
            taken = 0 if self._taken is None else len(self._taken.payloads)
            return self._chain.ready() + self._adopter.ready() + taken
