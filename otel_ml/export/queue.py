"""Queues of spans that wait for delivery, in memory or on disk, both limited in size."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from typing import TYPE_CHECKING, Final

from opentelemetry.sdk.trace import ReadableSpan

from otel_ml.attributes import SCOPE_NAME
from otel_ml.errors import quiet
from otel_ml.late import late
from otel_ml.spans import RunSpan

if TYPE_CHECKING:
    from otel_ml.export import encoder
    from otel_ml.export.encoder import EncodedRequest, Envelope
    from otel_ml.export.spool import spool
    from otel_ml.export.spool.segment import FrameBatch
else:
    encoder = late("export.encoder")
    spool = late("export.spool.spool")

MAX_SPANS: Final = 50_000
MAX_BYTES: Final = 64 * 1024 * 1024

# below the limit of our collector, 20 MiB
_REQUEST_BYTES: Final = 16 * 1024 * 1024
_FOREIGN_BYTES: Final = 2_048  # estimated size of a span of another library


class SpanQueue:
    """A first-in, first-out queue of spans in memory.

    Any thread may call `put`, but only one thread may call `take` and `remove`. `take` leaves a
    span in the queue. Call `remove` when it was delivered or given up.
    """

    def __init__(self, max_spans: int = MAX_SPANS, max_bytes: int = MAX_BYTES) -> None:
        self._max_spans = self._batch_spans = max_spans
        self._max_bytes = self._batch_bytes = max_bytes
        self._report: Callable[[], object] = bool
        self.clear()

    def clear(self) -> None:
        """Reset the queue, also in a forked child, where a copied lock may be held forever."""
        # reentrant: a finalizer that runs while it is held may put a span
        self._lock = threading.RLock()
        self._spans: deque[ReadableSpan] = deque()
        self._bytes = 0
        self._taken = 0
        self._is_reported = False

    @property
    def check_every_s(self) -> float | None:
        """Always None, because other processes cannot add spans to this queue."""
        return None

    def rescan(self) -> None:
        """Do nothing, because other processes cannot add spans to this queue."""

    @property
    def pending(self) -> int:
        """Number of spans that are neither delivered nor given up."""
        with self._lock:
            return len(self._spans) + self._taken

    def hold(self, span: ReadableSpan) -> None:
        """Do nothing: if the process is killed, spans in memory are lost anyway."""

    def put(self, span: ReadableSpan) -> bool:
        """Append a span. Returns False if there is no space."""
        size = span.weight if type(span) is RunSpan else _FOREIGN_BYTES
        # No lock: a finalizer may run this while its thread holds a lock that other threads wait
        # for. Concurrent threads may exceed the limits slightly. The size is reset when the queue
        # is empty.
        is_batch = len(self._spans) >= self._batch_spans or self._bytes >= self._batch_bytes
        if is_batch:
            if not self._has_room():
                return False
            is_behind = (
                len(self._spans) > self._max_spans // 2 or self._bytes > self._max_bytes // 2
            )
            if is_behind and type(span) is RunSpan:
                span.encode_early()
        self._bytes += size
        if type(span) is RunSpan:
            span.is_queued = True  # no signal handler can run between this line and the next
        self._spans.append(span)
        return True

    def _has_room(self) -> bool:
        """Tell whether a span fits, and report a batch that is full."""
        if not self._is_reported:
            self._is_reported = True
            self._report()
        return len(self._spans) < self._max_spans and self._bytes < self._max_bytes

    def has_batch(self, max_spans: int, max_bytes: int) -> bool:
        """Tell whether a full batch waits: `max_spans` spans or `max_bytes` bytes."""
        return len(self._spans) >= max_spans or self._bytes >= max_bytes

    def report_batch(self, max_spans: int, max_bytes: int, report: Callable[[], object]) -> None:
        """Set a function to call when a span arrives while a full batch of this size waits."""
        self._batch_spans = min(max_spans, self._max_spans)
        self._batch_bytes = min(max_bytes, self._max_bytes)
        self._report = report

    def take(self, max_spans: int, max_bytes: int) -> "SpanBatch | None":
        """Return the oldest spans, or None if there are none."""
        taken: list[ReadableSpan] = []
        size = 0
        spans = self._spans
        with self._lock:
            while spans and len(taken) < max_spans and size < max_bytes:
                span = spans.popleft()
                taken.append(span)
                size += span.weight if type(span) is RunSpan else _FOREIGN_BYTES
            self._bytes = self._bytes - size if spans else 0
            self._is_reported = False
            self._taken += len(taken)
        return SpanBatch(taken) if taken else None

    def remove(self, batch: "SpanBatch") -> None:
        """Remove taken spans that were delivered or given up."""
        with self._lock:
            self._taken -= batch.count

    def leave(self, batch: "SpanBatch") -> int:
        """Give up taken spans, because the process ends. Return their number: all are lost."""
        self.remove(batch)
        return batch.count

    def close(self) -> int:
        """Give up the queued spans. Return their number: all are lost."""
        with self._lock:
            left = len(self._spans) + self._taken  # a request may still be in flight
            self._spans.clear()
            self._bytes = 0
        return left


class SpanBatch:
    """Spans that are sent in one request. They are encoded once, however often they are sent."""

    def __init__(self, spans: Sequence[ReadableSpan]) -> None:
        self.spans = spans
        self.count = len(spans)
        self._encoded: EncodedRequest | None = None

    def encode(self, *, previews: bool = True) -> "EncodedRequest":
        """Encode the spans as one request. A second call returns the same request.

        Spans that cannot be encoded are left out, and counted in `EncodedRequest.failed`.

        Args:
            previews: Whether to add a short preview to each long input and output.
        """
        if self._encoded is None:
            self._encoded = encoder.encode_spans(
                self.spans, previews=previews, most_bytes=_REQUEST_BYTES
            )
        return self._encoded

    def halves(self) -> "list[SpanBatch]":
        """Split the batch in two, for a receiver that finds it too large."""
        middle = self.count // 2
        return [SpanBatch(self.spans[:middle]), SpanBatch(self.spans[middle:])]


# On disk, so that neither kill -9 nor an outage loses spans.

CHECK_EVERY_S: Final = 2.0

_sizes: Final = Struct("<4I")


@dataclass(slots=True)
class _WholeBatch:
    """A batch of the spool, which may be delivered in parts."""

    batch: "FrameBatch"
    left: int
    is_given_up: bool = False


class SpooledBatch:
    """Encoded spans from disk that are sent in one request."""

    def __init__(self, payloads: Sequence[bytes], whole: _WholeBatch) -> None:
        self.count = len(payloads)
        self.whole = whole
        self._payloads = payloads

    def encode(self, *, previews: bool = True) -> "EncodedRequest":
        """Return the encoded request. Its size is limited, unless it contains only one span."""
        envelope = _unpack(self.whole.batch.envelope)
        return encoder.EncodedRequest(
            encoder.encode_request([(envelope, self._payloads)]), self.count, 0
        )

    def halves(self) -> "list[SpooledBatch]":
        """Split the batch in two, for a receiver that finds it too large."""
        middle = self.count // 2
        return [
            SpooledBatch(self._payloads[:middle], self.whole),
            SpooledBatch(self._payloads[middle:], self.whole),
        ]


class SpooledSpans:
    """A queue of spans on disk. Each span is written before `put` returns.

    If writing fails, the span is queued in memory.

    Args:
        directory: Directory of the queue. Several processes and clients can share it if they send
            to the same destination.
        envelope: Returns the encoded OpenTelemetry resource and scope of this process's spans.
            Called at the start, and again after a fork.

    Raises:
        OSError: The directory cannot be used.
    """

    def __init__(self, directory: Path, envelope: "Callable[[], Envelope]") -> None:
        self._envelope = envelope
        self._encode = encoder.encode_span  # avoids an attribute lookup per call
        self._is_new = False
        self._spool = spool.Spool(directory, _pack(envelope()), check_every_s=CHECK_EVERY_S)
        self._refused = SpanQueue()

    @property
    def check_every_s(self) -> float | None:
        """How often to look for spans that other processes left on disk, in seconds."""
        return CHECK_EVERY_S

    def rescan(self) -> None:
        """Let the next `take` look for spans of other processes, even right after a look."""
        self._spool.rescan()

    @property
    def pending(self) -> int:
        """Number of spans that are ready to send, and are neither delivered nor given up."""
        return self._spool.pending() + self._refused.pending

    def put(self, span: ReadableSpan) -> bool:
        """Queue a span on disk. Returns False if there is no space on disk or in memory.

        Two types of spans are always queued in memory, because the files on disk cannot store their
        resource and scope: spans of other instrumentations, and runs with a start or end time that
        the user passed.
        """
        if span.is_history if type(span) is RunSpan else _is_foreign(span):
            return self._refused.put(span)
        return self._append(span, provisional=False) or self._refused.put(span)

    def hold(self, span: ReadableSpan) -> None:
        """Write a span of a call that is not finished. It is sent only if the process is killed."""
        self._append(span, provisional=True)

    def has_batch(self, max_spans: int, max_bytes: int) -> bool:
        """Tell whether a full batch waits: `max_spans` spans, or `max_bytes` bytes in memory.

        The size of spans on disk does not matter, because they take no memory.
        """
        return self.pending >= max_spans or self._refused.has_batch(max_spans, max_bytes)

    def report_batch(self, max_spans: int, max_bytes: int, report: Callable[[], object]) -> None:
        """Set a function to call when a full batch of spans waits in memory.

        It is not called for spans on disk, because the sender looks for them regularly.
        """
        self._refused.report_batch(max_spans, max_bytes, report)

    def take(self, max_spans: int, max_bytes: int) -> SpooledBatch | SpanBatch | None:
        """Return the next spans to send, including those that ended processes left behind."""
        batch = self._spool.take(max_spans, max_bytes)
        if batch is None:
            return self._refused.take(max_spans, max_bytes)
        return SpooledBatch(batch.payloads, _WholeBatch(batch, len(batch.payloads)))

    def remove(self, batch: SpooledBatch | SpanBatch) -> None:
        """Remove taken spans from the disk, because they were delivered or given up."""
        if isinstance(batch, SpanBatch):
            self._refused.remove(batch)
        else:
            self._end(batch, given_up=False)

    def leave(self, batch: SpooledBatch | SpanBatch) -> int:
        """Leave taken spans on disk for a later process.

        Spans in memory are lost. Return their number.
        """
        if isinstance(batch, SpanBatch):
            return self._refused.leave(batch)
        self._end(batch, given_up=True)
        return 0

    def close(self) -> int:
        """Leave queued spans on disk for a later process.

        Spans in memory are lost. Return their number.
        """
        self._spool.close()
        return self._refused.close()

    def clear(self) -> None:
        """Forget the parent's files in a forked child, and start new ones."""
        self._spool.after_fork_in_child()
        self._refused.clear()
        self._is_new = True  # the SDK creates the child's resource after this

    def _append(self, span: ReadableSpan, *, provisional: bool) -> bool:
        with quiet("spool"):
            if self._is_new:
                self._is_new = False
                self._spool.surround(_pack(self._envelope()))
            ids = span if type(span) is RunSpan else span.context
            key = ids.trace_id.to_bytes(16, "big") + ids.span_id.to_bytes(8, "big")
            return self._spool.append(key, self._encode(span), provisional=provisional)
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


def _is_foreign(span: ReadableSpan) -> bool:
    scope = span.instrumentation_scope
    return scope is not None and scope.name != SCOPE_NAME


def _pack(envelope: "Envelope") -> bytes:
    parts = (
        envelope.resource,
        envelope.resource_schema_url.encode(),
        envelope.scope,
        envelope.scope_schema_url.encode(),
    )
    return _sizes.pack(*map(len, parts)) + b"".join(parts)


def _unpack(packed: bytes) -> "Envelope":
    at = _sizes.size
    parts = []
    for size in _sizes.unpack_from(packed):
        parts.append(packed[at : at + size])
        at += size
    return encoder.Envelope(parts[0], parts[1].decode(), parts[2], parts[3].decode())
