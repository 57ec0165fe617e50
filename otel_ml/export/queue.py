"""Spans that wait in memory for their delivery, bounded by number and bytes."""

import threading
from collections import deque
from collections.abc import Sequence
from typing import Final

from opentelemetry.sdk.trace import ReadableSpan

from otel_ml.export.encoder import Encoded, encode_spans
from otel_ml.spans import RunSpan

MAX_SPANS: Final = 50_000
MAX_BYTES: Final = 64 * 1024 * 1024

_FOREIGN_BYTES: Final = 2_048  # a guess for a span that does not say what it weighs


class SpanQueue:
    """First in, first out. What is taken counts as waiting until it is settled.

    Any thread may `put`; one thread takes.
    """

    def __init__(self, max_spans: int = MAX_SPANS, max_bytes: int = MAX_BYTES) -> None:
        self._max_spans = max_spans
        self._max_bytes = max_bytes
        self.clear()

    def clear(self) -> None:
        """Begin empty, also in a forked child, where a lock of the parent's may be held."""
        # A finalizer that the garbage collector runs here may put a span of its own.
        self._lock = threading.RLock()
        self._spans: deque[ReadableSpan] = deque()
        self._bytes = 0
        self._taken = 0

    @property
    def look_every_s(self) -> float | None:
        """Never: nobody else puts spans here."""
        return None

    @property
    def pending(self) -> int:
        """How many spans are neither delivered nor given up."""
        with self._lock:
            return len(self._spans) + self._taken

    def hold(self, span: ReadableSpan) -> None:
        """Nothing to do: memory ends with its process."""

    def put(self, span: ReadableSpan) -> bool:
        """Append a span; returns False when there is no room."""
        size = span.weight if type(span) is RunSpan else _FOREIGN_BYTES
        # No lock: a finalizer may put while its thread holds one that another thread waits for.
        # Threads that race pass the bounds by little; an emptied queue counts its bytes anew.
        if len(self._spans) >= self._max_spans or self._bytes >= self._max_bytes:
            return False
        self._bytes += size
        if type(span) is RunSpan:
            span.is_queued = True  # Python calls no handler of a signal from here to the next call
        self._spans.append(span)
        return True

    def take(self, max_spans: int, max_bytes: int) -> "SpanBatch | None":
        """Take the oldest spans, or None when there are none."""
        taken: list[ReadableSpan] = []
        size = 0
        spans = self._spans
        with self._lock:
            while spans and len(taken) < max_spans and size < max_bytes:
                span = spans.popleft()
                taken.append(span)
                size += span.weight if type(span) is RunSpan else _FOREIGN_BYTES
            self._bytes = self._bytes - size if spans else 0
            self._taken += len(taken)
        return SpanBatch(taken) if taken else None

    def settle(self, batch: "SpanBatch") -> None:
        """Forget spans that were taken: they are delivered or given up."""
        with self._lock:
            self._taken -= batch.count

    def leave(self, batch: "SpanBatch") -> int:
        """Give up spans that were taken; returns how many are lost with them: all."""
        self.settle(batch)
        return batch.count

    def close(self) -> int:
        """Give up what waits; returns how many spans are lost: all."""
        with self._lock:
            left = len(self._spans) + self._taken  # a request may still be on its way
            self._spans.clear()
            self._bytes = 0
        return left


class SpanBatch:
    """Spans on their way; they are encoded once, however often they are sent."""

    def __init__(self, spans: Sequence[ReadableSpan]) -> None:
        self.spans = spans
        self.count = len(spans)
        self._encoded: Encoded | None = None

    def encode(self) -> Encoded:
        """Return the request's body, and how many spans could not be written into it."""
        if self._encoded is None:
            self._encoded = encode_spans(self.spans)
        return self._encoded

    def halves(self) -> "list[SpanBatch]":
        """Split the batch in two, for a receiver that finds it too large."""
        middle = self.count // 2
        return [SpanBatch(self.spans[:middle]), SpanBatch(self.spans[middle:])]
