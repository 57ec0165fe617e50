"""Sends the spans of an import to a collector: a few requests at a time, acknowledged in order."""

import random
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from otel_ml.arguments import InvalidArgumentError
from otel_ml.export.answer import Answer
from otel_ml.export.destination import OtlpDestination
from otel_ml.export.pipeline import FIRST_PAUSE_S
from otel_ml.export.queue import SpanBatch
from otel_ml.export.settings import ExportSettings, resolve
from otel_ml.outlet import Route
from otel_ml.spans import RunSpan

# The collector stores requests that arrive at the same time as one group, so a few concurrent
# requests are faster than one. To measure rows per second, run python -m tests.bench import.
IN_FLIGHT: Final = 4
_REQUEST_S: Final = 60.0
_MOST_PAUSE_S: Final = 10.0
_PATIENCE_S: Final = 300.0


class ImportStopped(RuntimeError):
    """The collector does not answer, or refuses the import. To continue, run the import again."""


@dataclass(slots=True)
class ImportBatch:
    """Spans that an import sends in one request, and the rows that they come from.

    Attributes:
        spans: The spans, in the form that the destination expects.
        owners: For each span, the number of its row or record in the source.
        upto: Number of the last row of the source in this batch, counted from 1. When this batch
            and all earlier batches are stored, the import can continue after this row.
        context: Any object of the caller. It is returned with the batch.
        rejected: The collector's reasons for rejecting spans, by row number. Set after sending.
    """

    spans: list[Any] = field(default_factory=list)
    owners: list[int] = field(default_factory=list)
    upto: int = 0
    context: Any = None
    rejected: dict[int, str] = field(default_factory=dict)


class SpanDestination(OtlpDestination):
    """Sends spans of ours."""

    def send_spans(self, spans: list[RunSpan], timeout_s: float) -> Answer:
        """Send spans, without retries."""
        return self.send(SpanBatch(spans), timeout_s)


class Destination(Protocol):
    """Where a sender sends the spans of a batch."""

    def send_spans(self, spans: list[Any], timeout_s: float) -> Answer:
        """Send spans, without retries."""

    def close(self) -> None:
        """Close the connections."""


class HistorySender:
    """Sends batches of imported spans with retries. At most four batches are in memory at a time.

    Args:
        route: Where to send, and with which key.
        patience_s: How long to retry a request that the collector does not accept, in seconds.
        pause: Function that waits for a number of seconds.
        connect: Function that opens the connection to the collector.

    Raises:
        ValueError: The client does not send to a collector over HTTP.
    """

    def __init__(
        self,
        route: Route,
        patience_s: float = _PATIENCE_S,
        pause: Callable[[float], None] = time.sleep,
        connect: Callable[[ExportSettings], Destination] = SpanDestination,
    ) -> None:
        if route.exporter is not None or route.tracer_provider is not None:
            raise InvalidArgumentError(
                "Invalid client: expected one that sends to a collector, without exporter and "
                "tracer_provider"
            )
        settings = resolve(route.endpoint, route.project, route.api_key, "http/protobuf")
        self.page = settings.page
        self._destination = connect(settings)
        self._patience_s = patience_s
        self._pause = pause

    @contextmanager
    def open(self) -> Iterator[Callable[[Iterable[ImportBatch]], Iterator[ImportBatch]]]:
        """Start the threads that send. Use it in a ``with`` statement.

        The ``as`` variable is a function. Call it with an iterable of batches to send them. It
        yields the batches in the same order, each after it was stored. `ImportBatch.rejected` is
        set then.

        Raises:
            ImportStopped: A batch cannot be stored. It is raised inside the block.
        """
        pool = ThreadPoolExecutor(IN_FLIGHT, "otel-ml-import")
        try:
            yield lambda batches: self._send_all(pool, batches)
        finally:
            pool.shutdown(cancel_futures=True)
            self._destination.close()

    def _send_all(
        self, pool: ThreadPoolExecutor, batches: Iterable[ImportBatch]
    ) -> Iterator[ImportBatch]:
        waiting: deque[tuple[ImportBatch, Future[None]]] = deque()
        for batch in batches:
            waiting.append((batch, pool.submit(self._send, batch)))
            if len(waiting) >= IN_FLIGHT:
                yield _wait_for(waiting)
        while waiting:
            yield _wait_for(waiting)

    def _send(self, batch: ImportBatch) -> None:
        """Send a batch, and find the spans that the collector rejects by sending halves."""
        parts = deque([(batch.spans, batch.owners)])
        while parts:
            spans, owners = parts.popleft()
            if not spans:
                continue
            answer = self._send_part(spans)
            if not (answer.too_large or answer.rejected):
                continue
            if answer.rejected >= len(spans) or len(spans) == 1:
                reason = answer.message or "too large"
                batch.rejected |= dict.fromkeys(owners, reason)
                continue
            middle = len(spans) // 2
            parts.append((spans[:middle], owners[:middle]))
            parts.append((spans[middle:], owners[middle:]))

    def _send_part(self, spans: list[Any]) -> Answer:
        give_up = time.monotonic() + self._patience_s
        pause_s = FIRST_PAUSE_S
        while True:
            answer = self._destination.send_spans(spans, _REQUEST_S)
            if answer.delivered or answer.too_large:
                return answer
            if not answer.retry or time.monotonic() >= give_up:
                raise ImportStopped(f"{self.page} does not store the records: {answer.message}")
            asked_s = answer.retry_after_s or 0.0
            self._pause(max(asked_s, pause_s * random.uniform(0.5, 1)))  # noqa: S311 - no secret
            pause_s = min(pause_s * 2, _MOST_PAUSE_S)


def _wait_for(waiting: deque[tuple[ImportBatch, Future[None]]]) -> ImportBatch:
    batch, sent = waiting.popleft()
    sent.result()
    return batch
