"""Group commit: one thread stores all waiting requests at once, then answers their senders.

A group consists of the requests that wait when the writer becomes free, up to what it stores in a
second. If the store rejects a group, the writer splits it in halves until only the bad request
fails. So one bad request cannot harm the others.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from otel_ml_collector.errors import Rejected, Unavailable
from otel_ml_collector.log import OnceAMinute, going_on
from otel_ml_collector.records import Records, Run
from otel_ml_collector.telemetry.service import Telemetry

_IDS: Final = 100_000
_GROUP_ROWS: Final = 10_000
_LEAST_ROWS: Final = 1_000
# A slower group would keep the senders behind it waiting beyond their deadline.
_GROUP_S: Final = 1.0

_logger = logging.getLogger(__name__)


class Recent:
    """Remembers which runs were stored recently: at least the last 100,000. Use it from one thread.

    This class is only an optimization. A run that it has forgotten is stored twice, and queries
    still return it once.
    """

    def __init__(self, ids: int = _IDS) -> None:
        self._limit = ids
        self._ranks: dict[bytes, int] = {}
        self._older: dict[bytes, int] = {}

    def leave_news(self, records: Records, ranks: dict[bytes, int]) -> Records:
        """Return the records without runs that are already stored.

        A run counts as stored if the same version, or one with a higher rank, was stored before. Of
        several versions of a run, the store keeps the one with the highest rank.

        Args:
            records: Records of a request; not changed.
            ranks: Ranks of the runs of this group. The new runs of the request are added.

        Returns:
            The new records; empty if there are none.
        """
        runs = [run for run in records.runs if self._is_news(run, ranks)]
        if len(runs) == len(records.runs):
            return records
        news = replace(records, runs=runs)
        return news if len(news) else Records()

    def remember(self, ranks: dict[bytes, int]) -> None:
        """Remember the runs of a group that was stored.

        Args:
            ranks: Rank of each run.
        """
        if len(self._ranks) + len(ranks) > self._limit:
            self._older, self._ranks = self._ranks, {}
        self._ranks.update(ranks)

    def _is_news(self, run: Run, ranks: dict[bytes, int]) -> bool:
        # Two spans may share an ID, as in Zipkin: docs/design/023-shared-ids.md.
        start = run.start_ns.to_bytes(8, signed=True)
        key = run.trace_id + run.span_id + start + run.project.encode()
        for known in (ranks, self._ranks, self._older):
            if known.get(key, -1) >= run.rank:
                return False
        ranks[key] = run.rank
        return True


@dataclass(slots=True, eq=False)
class _Waiting:
    """The records of a request and the future that its sender waits for."""

    records: Records
    deadline: float
    answer: "Future[None]" = field(default_factory=Future)


class Commit:
    """Stores records in groups on its own thread.

    Args:
        write: Stores a group durably, or raises `Rejected` or `Unavailable`.
        telemetry: Receives the duration and size of each group.
        prepare: Called on the thread before its first group.
        on_stored: Called on the thread with the new records of each stored group, after the senders
            were answered.
    """

    def __init__(
        self,
        write: Callable[[Records], None],
        telemetry: Telemetry,
        prepare: Callable[[], None] = lambda: None,
        on_stored: Callable[[Records], None] = lambda records: None,
    ) -> None:
        self._write = write
        self._prepare = prepare
        self._on_stored = on_stored
        self._recent = Recent()
        self._untold: list[Records] = []
        self._telemetry = telemetry
        self._queue: deque[_Waiting] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._once = OnceAMinute()
        self._group_rows = _GROUP_ROWS
        self._thread = threading.Thread(target=self._work, name="otel-ml-commit", daemon=True)
        self._thread.start()

    def submit(self, records: Records, deadline: float) -> "Future[None]":
        """Queue the records of a request.

        Args:
            records: Records to store.
            deadline: Value of `time.monotonic` after which nobody waits for the answer. Records
                that are still queued then are not stored.

        Returns:
            A future that completes when the records are durable and can be queried. It fails with
            `Rejected` or `Unavailable`.

        Raises:
            Unavailable: The collector is shutting down.
        """
        waiting = _Waiting(records, deadline)
        with self._changed:
            if self._closed:
                raise Unavailable("The collector is shutting down")
            self._queue.append(waiting)
            self._changed.notify()
        return waiting.answer

    def close(self, timeout_s: float) -> None:
        """Store what is queued, then stop the thread. Wait for it at most `timeout_s` seconds."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(timeout_s)

    def _work(self) -> None:
        with going_on(self._report):
            self._prepare()
        while group := self._take():
            live = [waiting for waiting in group if self._is_awaited(waiting)]
            with going_on(partial(self._fail, live)):
                self._store(live)
            self._tell()

    def _fail(self, group: Sequence[_Waiting], error: Exception) -> None:
        """Answer a group after an unexpected error so that its senders retry."""
        self._report(error)
        _fail(group, Unavailable(f"The store has trouble: {type(error).__name__}"))

    def _tell(self) -> None:
        """Pass the stored records to `on_stored`, after all senders were answered."""
        stored, self._untold = self._untold, []
        for records in stored:
            with going_on(partial(self._log, "What is stored could not be told: %s")):
                self._on_stored(records)

    def _report(self, error: Exception) -> None:
        """Count and log a failed group."""
        self._telemetry.count_failed_commit()
        self._log("A group could not be stored: %s", error)

    def _log(self, message: str, error: Exception) -> None:
        if self._once.is_due(message):
            _logger.error(message, error, exc_info=error)

    def _take(self) -> list[_Waiting]:
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closed)
            group: list[_Waiting] = []
            rows = 0
            while self._queue and rows < self._group_rows:
                waiting = self._queue.popleft()
                rows += len(waiting.records)
                group.append(waiting)
            return group

    def _is_awaited(self, waiting: _Waiting) -> bool:
        if not waiting.answer.set_running_or_notify_cancel():
            return False
        if time.monotonic() < waiting.deadline:
            return True
        waiting.answer.set_exception(Unavailable("The store is busy"))
        return False

    def _store(self, group: Sequence[_Waiting]) -> None:
        if not group:
            return
        records = Records()
        ranks: dict[bytes, int] = {}
        for waiting in group:
            records.extend(self._recent.leave_news(waiting.records, ranks))
        started = time.perf_counter()
        try:
            if len(records) or records.trace_keys:
                self._write(records)
        except Rejected as error:
            if len(group) == 1:
                _fail(group, error)
                return
            half = len(group) // 2
            self._store(group[:half])
            self._store(group[half:])
            return
        except Unavailable as error:
            self._report(error)
            _fail(group, error)
            return
        self._note(group, records, time.perf_counter() - started)
        self._recent.remember(ranks)
        for waiting in group:
            waiting.answer.set_result(None)
        self._untold.append(records)

    def _note(self, group: Sequence[_Waiting], records: Records, took_s: float) -> None:
        self._telemetry.observe_commit(took_s, len(records))
        if len(records) >= _LEAST_ROWS:  # most of their time is a fixed cost
            in_time = int(len(records) * _GROUP_S / max(took_s, 1e-6))
            self._group_rows = min(max(in_time, _LEAST_ROWS), _GROUP_ROWS)
        received = sum(len(waiting.records.runs) for waiting in group)
        self._telemetry.count_duplicates(received - len(records.runs))


def _fail(group: Sequence[_Waiting], error: Exception) -> None:
    for waiting in group:
        if not waiting.answer.done():
            waiting.answer.set_exception(error)
