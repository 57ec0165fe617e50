"""Forwards stored records to a RecordService, each at least once, even after a crash.

Records are read from the store. A cursor moves forward only after the destination has acknowledged
them. So nothing waits in memory, and a destination may be unreachable for any time.
"""

import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from math import inf
from typing import Final

from otel_ml_collector.errors import Unavailable
from otel_ml_collector.forward.record_client import (
    Messages,
    Pauses,
    RecordClient,
    put_until,
    requests_of,
)
from otel_ml_collector.log import OnceAMinute, going_on
from otel_ml_collector.settings.targets import RecordTarget
from otel_ml_collector.store.outbox import KINDS, Outbox, OutboxBatch
from otel_ml_collector.telemetry.service import RecordNumbers

_NEW_RECORDS_S: Final = 0.5
_FIRST_ROWS: Final = 100
_MOST_ROWS: Final = 2_000
# Read more records at once if they are small, fewer if they are large.
_SMALL_BYTES: Final = 2 * 1024 * 1024
_LARGE_BYTES: Final = 8 * 1024 * 1024
_END_S: Final = 10.0

_logger = logging.getLogger(__name__)


class RecordForward:
    """Sends records to one destination, on its own thread.

    It continues where the previous sender to a destination of this name stopped.

    Args:
        target: The destination.
        outbox: Reads the records to send and stores the cursor.
        stamped_ns: Returns when this collector last stored something, in nanoseconds since the
            epoch; None if it has stored nothing yet.
        numbers: Metrics of forwarding.

    Raises:
        ValueError: The certificates of the destination cannot be read.
    """

    def __init__(
        self,
        target: RecordTarget,
        outbox: Outbox,
        stamped_ns: Callable[[], int | None],
        numbers: RecordNumbers,
    ) -> None:
        self._name = target.name
        self._client = RecordClient(target)
        self._outbox = outbox
        self._stamped_ns = stamped_ns
        self._numbers = numbers
        self._cursors: dict[str, int] = {}
        self._rows = _FIRST_ROWS
        self._waits_since_ns = 0
        self._once = OnceAMinute()
        self._stopped = threading.Event()
        self._thread = threading.Thread(
            target=self._work, name=f"otel-ml-forward-{self._name}", daemon=True
        )
        numbers.add_target(self._name, self._lag_s, KINDS)
        self._thread.start()

    def close(self) -> None:
        """Stop. The next collector with this destination name sends unacknowledged records."""
        self._stopped.set()
        self._client.close()
        self._thread.join(_END_S)

    def _lag_s(self) -> float:
        since_ns = self._waits_since_ns
        return max(time.time_ns() - since_ns, 0) / 1e9 if since_ns else 0.0

    def _work(self) -> None:
        done_ns: int | None = -1
        pauses = Pauses()
        while not self._stopped.is_set():
            stamped_ns = self._stamped_ns()
            if stamped_ns == done_ns:
                self._stopped.wait(_NEW_RECORDS_S)
                continue
            with going_on(partial(self._rest, pauses)):
                self._send_until(stamped_ns)
                done_ns = stamped_ns
                pauses.reset()

    def _send_until(self, stamped_ns: int | None) -> None:
        """Send everything stored until a time. A model version is sent before its first run."""
        until_ns = self._outbox.last_arrival() if stamped_ns is None else stamped_ns
        if not self._cursors:
            self._cursors = self._outbox.cursors()
        for kind in KINDS:
            while batch := self._read(kind, self._cursors[kind], until_ns):
                self._waits_since_ns = batch.first_ns
                self._send(kind, batch)
                self._outbox.acknowledge(kind, batch.last_ns)
                self._cursors[kind] = batch.last_ns
        self._waits_since_ns = 0

    def _read(self, kind: str, after_ns: int, until_ns: int) -> OutboxBatch | None:
        try:
            return self._outbox.read(kind, after_ns, until_ns, self._rows)
        except Unavailable:  # perhaps too many rows for one query
            self._rows = max(self._rows // 2, 1)
            raise

    def _send(self, kind: str, batch: OutboxBatch) -> None:
        messages = Messages()
        size = 0
        for request in requests_of(messages.of(batch.records)):
            refused = put_until(
                self._client, request, deadline=inf, stopped=self._stopped, on_failure=self._fail
            )
            if refused:
                self._warn("refused", f"refuses {refused} {kind} permanently: they were skipped")
            self._numbers.count_sent(self._name, kind, len(request) - refused, refused)
            size += sum(item.message.ByteSize() for item in request)
        if messages.unfit:
            self._numbers.count_sent(self._name, kind, 0, messages.unfit)
        if size > _LARGE_BYTES:
            self._rows = max(batch.rows // 2, 1)
        elif size < _SMALL_BYTES and batch.rows >= self._rows:
            self._rows = min(self._rows * 2, _MOST_ROWS)

    def _fail(self, error: Unavailable) -> None:
        self._numbers.count_failure(self._name)
        self._warn("away", f"does not accept records and they will be sent again: {error}")

    def _rest(self, pauses: Pauses, error: Exception) -> None:
        """Log an error and wait before the next attempt. No record is lost."""
        self._warn("trouble", f"waits: {type(error).__name__}: {error}")
        self._stopped.wait(pauses.take())

    def _warn(self, topic: str, message: str) -> None:
        if not self._stopped.is_set() and self._once.is_due(topic):
            _logger.warning("The RecordService %s %s", self._name, message)
