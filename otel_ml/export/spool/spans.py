"""Spans that wait on disk for their delivery, so that neither kill -9 nor an outage loses them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from typing import Final

from opentelemetry.sdk.trace import ReadableSpan

from otel_ml.errors import quiet
from otel_ml.export.encoder import Encoded, Envelope, encode_request, encode_span
from otel_ml.export.queue import SpanBatch, SpanQueue
from otel_ml.export.spool import FrameBatch, Spool

LOOK_EVERY_S: Final = 2.0

_sizes: Final = Struct("<4I")


@dataclass(slots=True)
class _Whole:
    """A batch of the spool; it may be delivered in parts."""

    batch: FrameBatch
    left: int
    is_given_up: bool = False


class SpooledBatch:
    """Encoded spans on their way."""

    def __init__(self, payloads: Sequence[bytes], whole: _Whole) -> None:
        self.count = len(payloads)
        self.whole = whole
        self._payloads = payloads

    def encode(self) -> Encoded:
        """Return the request's body."""
        envelope = _unpack(self.whole.batch.envelope)
        return Encoded(encode_request([(envelope, self._payloads)]), self.count, 0)

    def halves(self) -> "list[SpooledBatch]":
        """Split the batch in two, for a receiver that finds it too large."""
        middle = self.count // 2
        return [
            SpooledBatch(self._payloads[:middle], self.whole),
            SpooledBatch(self._payloads[middle:], self.whole),
        ]


class SpooledSpans:
    """Writes each span to the spool before `put` returns; in memory only what the disk refuses.

    Args:
        directory: Of the spool, which processes and clients of one destination may share.
        envelope: Writes what stands around all spans of this process; after a fork another.

    Raises:
        OSError: The directory cannot be used.
    """

    def __init__(self, directory: Path, envelope: Callable[[], Envelope]) -> None:
        self._envelope = envelope
        self._is_new = False
        self._spool = Spool(directory, _pack(envelope()), look_every_s=LOOK_EVERY_S)
        self._refused = SpanQueue()

    @property
    def look_every_s(self) -> float | None:
        """How often to take though nothing is pending: other processes leave spans behind."""
        return LOOK_EVERY_S

    @property
    def pending(self) -> int:
        """How many spans are ready and neither delivered nor given up."""
        return self._spool.pending() + self._refused.pending

    def put(self, span: ReadableSpan) -> bool:
        """Write a span; returns False when neither disk nor memory takes it."""
        return self._append(span, held=False) or self._refused.put(span)

    def hold(self, span: ReadableSpan) -> None:
        """Write a span that is sent only if its process ends before it is put."""
        self._append(span, held=True)

    def take(self, max_spans: int, max_bytes: int) -> SpooledBatch | SpanBatch | None:
        """Take the next spans, also those of processes that ended."""
        batch = self._spool.take(max_spans, max_bytes)
        if batch is None:
            return self._refused.take(max_spans, max_bytes)
        return SpooledBatch(batch.payloads, _Whole(batch, len(batch.payloads)))

    def settle(self, batch: SpooledBatch | SpanBatch) -> None:
        """Remove spans that were taken from the disk."""
        if isinstance(batch, SpanBatch):
            self._refused.settle(batch)
        else:
            self._end(batch, given_up=False)

    def leave(self, batch: SpooledBatch | SpanBatch) -> int:
        """Leave spans on disk; returns how many are lost, which were in memory alone."""
        if isinstance(batch, SpanBatch):
            return self._refused.leave(batch)
        self._end(batch, given_up=True)
        return 0

    def close(self) -> int:
        """Leave what waits to the next process; returns how many are lost."""
        self._spool.close()
        return self._refused.close()

    def clear(self) -> None:
        """Begin files of its own in a forked child."""
        self._spool.after_fork_in_child()
        self._refused.clear()
        self._is_new = True  # the SDK makes the child's resource after this

    def _append(self, span: ReadableSpan, *, held: bool) -> bool:
        with quiet("spool"):
            if self._is_new:
                self._is_new = False
                self._spool.surround(_pack(self._envelope()))
            context = span.context
            key = context.trace_id.to_bytes(16, "big") + context.span_id.to_bytes(8, "big")
            return self._spool.append(key, encode_span(span), held=held)
        return False

    def _end(self, batch: SpooledBatch, *, given_up: bool) -> None:
        whole = batch.whole
        whole.left -= batch.count
        whole.is_given_up = whole.is_given_up or given_up
        if whole.left == 0:
            if whole.is_given_up:
                self._spool.give_back(whole.batch)
            else:
                self._spool.done(whole.batch)


def _pack(envelope: Envelope) -> bytes:
    parts = (
        envelope.resource,
        envelope.resource_schema_url.encode(),
        envelope.scope,
        envelope.scope_schema_url.encode(),
    )
    return _sizes.pack(*map(len, parts)) + b"".join(parts)


def _unpack(packed: bytes) -> Envelope:
    at = _sizes.size
    parts = []
    for size in _sizes.unpack_from(packed):
        parts.append(packed[at : at + size])
        at += size
    return Envelope(parts[0], parts[1].decode(), parts[2], parts[3].decode())
