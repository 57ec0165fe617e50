"""Group commit: a single thread stores the waiting requests, then every sender gets its answer.

A group is whatever is there when the writer is free, up to what it stores in a second. A group
that fails on its data is split in halves until the culprit is alone, so that one bad request harms
no other.
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
# A group that takes longer keeps the senders behind it waiting beyond their deadline.
_GROUP_S: Final = 1.0

_logger = logging.getLogger(__name__)


class Recent:
    """Keeps the ranks of at least the last 100,000 stored runs; used by one thread.

    An optimisation only: a run that it has forgotten is stored again, and read as a single run.
    """

    def __init__(self, ids: int = _IDS) -> None:
        self._limit = ids
        self._ranks: dict[bytes, int] = {}
        self._older: dict[bytes, int] = {}

    def leave_news(self, records: Records, ranks: dict[bytes, int]) -> Records:
        """Leave out the runs that are stored already, with the same rank or a higher one.

        Args:
            records: The records of a request; they are not changed.
            ranks: The runs of the group so far; those of the request are added.

        Returns:
            What is new, without anything when nothing is.
        """
        runs = [run for run in records.runs if self._is_news(run, ranks)]
        if len(runs) == len(records.runs):
            return records
        news = replace(records, runs=runs)
        return news if len(news) else Records()

    def remember(self, ranks: dict[bytes, int]) -> None:
        """Note the runs of a group that is stored."""
        if len(self._ranks) + len(ranks) > self._limit:
            self._older, self._ranks = self._ranks, {}
        self._ranks.update(ranks)

    def _is_news(self, run: Run, ranks: dict[bytes, int]) -> bool:
        key = run.trace_id + run.span_id + run.project.encode()
        for known in (ranks, self._ranks, self._older):
            if known.get(key, -1) >= run.rank:
                return False
        ranks[key] = run.rank
        return True


@dataclass(slots=True, eq=False)
class _Waiting:
    """The records of a request, and the answer that its sender waits for."""

    records: Records
    deadline: float
    answer: "Future[None]" = field(default_factory=Future)


class Commit:
    """Stores records in groups on a thread of its own.

    Args:
        write: Stores a group durably or raises `Rejected` or `Unavailable`.
        telemetry: Takes duration and size of the groups.
        prepare: Run on the thread before its first group.
        on_stored: Is given the records of each stored group that were not stored before, on the
            thread, after the senders have their answers.
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
            records: What to store.
            deadline: `time.monotonic` after which nobody waits for the answer any more; what
                is still queued then is not stored.

        Returns:
            A future that ends when the records are durable and can be queried, or fails with
            `Rejected` or `Unavailable`.
        """
        waiting = _Waiting(records, deadline)
        with self._changed:
            if self._closed:
                raise Unavailable("The collector is shutting down")
            self._queue.append(waiting)
            self._changed.notify()
        return waiting.answer

    def close(self, timeout_s: float) -> None:
        """Store the queue, then stop."""
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
        """Fail a group after an unexpected error in such a way that its senders send again."""
        self._report(error)
        _fail(group, Unavailable(f"The store has trouble: {type(error).__name__}"))

    def _tell(self) -> None:
        """Report the stored records, once nobody waits for an answer any more."""
        stored, self._untold = self._untold, []
        for records in stored:
            with going_on(partial(self._log, "What is stored could not be told: %s")):
                self._on_stored(records)

    def _report(self, error: Exception) -> None:
        """Count a failed group."""
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
        if len(records) >= _LEAST_ROWS:  # of a small group most of the time is the engine's start
            in_time = int(len(records) * _GROUP_S / max(took_s, 1e-6))
            self._group_rows = min(max(in_time, _LEAST_ROWS), _GROUP_ROWS)
        received = sum(len(waiting.records.runs) for waiting in group)
        self._telemetry.count_duplicates(received - len(records.runs))


def _fail(group: Sequence[_Waiting], error: Exception) -> None:
    for waiting in group:
        if not waiting.answer.done():
            waiting.answer.set_exception(error)
