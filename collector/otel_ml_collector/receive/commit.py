"""Group commit: one thread stores all waiting requests at once, then answers their senders.

A group consists of the requests that wait when the writer begins, up to what it stores in a second.
If the store rejects a group, the writer splits it in halves until only the bad request fails. So
one bad request cannot harm the others.

A group has a high fixed cost. So a group begins at most once a second, unless many spans wait:
docs/design/009-ingest.md. The first request after a pause is stored at once.
"""

import logging
import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from typing import Final

from otel_ml_collector.errors import Rejected, Unavailable
from otel_ml_collector.log import OnceAMinute, going_on
from otel_ml_collector.records import Records, Run
from otel_ml_collector.store.tombstones import Left, RunKey
from otel_ml_collector.telemetry.service import Telemetry

_IDS: Final = 100_000
_GROUP_ROWS: Final = 10_000
_LEAST_ROWS: Final = 1_000
# A slower group would keep the senders behind it waiting beyond their deadline.
_GROUP_S: Final = 1.0

COLLECT_S: Final = 1.0
# Limits from which the waiting requests are stored at once, because a group of this size is cheap
# per span. By default, OpenTelemetry's batch processor sends 512 spans and waits for the answer.
_FULL_ROWS: Final = 1_024
_FULL_SPANS: Final = 512
_FULL_BYTES: Final = 1024 * 1024
# Seconds before its deadline at which a request is stored at the latest.
_RESERVE_S: Final = 1.0

_NOT_STORED: Final = (
    "A batch could not be stored: %s. Senders are asked to send it again, and everything that was "
    "acknowledged is kept"
)
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
        """Return the records, but leave out runs that are already stored.

        A run can be sent several times with different content, for example without and with its
        end. Each has a rank, and the store keeps the one with the highest rank. A run counts as
        stored if one with the same or a higher rank was stored before.

        Args:
            records: Records of a request; not changed.
            ranks: Maps the key of each run in the group of requests to its rank. The new runs of
                this request are added to the mapping.

        Returns:
            The new records; empty if there are none.
        """
        runs = [run for run in records.runs if self._is_news(run, ranks)]
        if len(runs) == len(records.runs):
            return records
        news = replace(records, runs=runs)
        return news if len(news) else Records()

    def remember(self, ranks: dict[bytes, int], left: Iterable[Run] = ()) -> None:
        """Remember which runs were stored, so that they are not stored again.

        Args:
            ranks: The rank that each run of the group was stored with (see `leave_news`), by key.
                Runs of `left` are removed from this mapping.
            left: Runs of the group that were not stored, because they were deleted.
        """
        for run in left:
            ranks.pop(_key_of(run), None)
        if len(self._ranks) + len(ranks) > self._limit:
            self._older, self._ranks = self._ranks, {}
        self._ranks.update(ranks)

    def _is_news(self, run: Run, ranks: dict[bytes, int]) -> bool:
        key = _key_of(run)
        for known in (ranks, self._ranks, self._older):
            if known.get(key, -1) >= run.rank:
                return False
        ranks[key] = run.rank
        return True


def _key_of(run: Run) -> bytes:
    """Return the key that identifies a run. It is more than the span ID, which two spans may share.

    Why: docs/design/023-shared-ids.md.
    """
    start = run.start_ns.to_bytes(8, signed=True)
    return run.trace_id + run.span_id + start + run.project.encode()


@dataclass(slots=True, eq=False)
class _Waiting:
    """The records of a request and the future that its sender waits for."""

    records: Records
    deadline: float
    is_urgent: bool = False
    answer: "Future[Counter[str]]" = field(default_factory=Future)


class _Backlog:
    """The requests that wait for the next group, and when they must be stored at the latest."""

    def __init__(self) -> None:
        self._queue: deque[_Waiting] = deque()
        self._empty()

    def __bool__(self) -> bool:
        return bool(self._queue)

    @property
    def is_full(self) -> bool:
        """Whether enough requests wait: collecting more would not make each one cheaper."""
        return self._rows >= _FULL_ROWS or self._spans >= _FULL_SPANS or self._bytes >= _FULL_BYTES

    def add(self, waiting: _Waiting) -> None:
        """Append a request."""
        self._queue.append(waiting)
        self._count(waiting)

    def take(self, most_rows: int) -> list[_Waiting]:
        """Remove the oldest requests, until they have `most_rows` rows together."""
        group: list[_Waiting] = []
        rows = 0
        while self._queue and rows < most_rows:
            waiting = self._queue.popleft()
            rows += len(waiting.records)
            group.append(waiting)
        self._empty()
        for waiting in self._queue:
            self._count(waiting)
        return group

    def _empty(self) -> None:
        self._rows = self._spans = self._bytes = 0
        self.store_by_s = math.inf  # in seconds of `time.monotonic`

    def _count(self, waiting: _Waiting) -> None:
        self._rows += len(waiting.records)
        self._spans += waiting.records.received
        self._bytes += waiting.records.size
        at_s = -math.inf if waiting.is_urgent else waiting.deadline - _RESERVE_S
        self.store_by_s = min(self.store_by_s, at_s)


class Commit:
    """Stores records in groups on its own thread.

    Args:
        write: Stores a group durably, or raises `Rejected` or `Unavailable`. Returns the runs that
            it left out because they were deleted.
        telemetry: Receives the duration and size of each group.
        prepare: Called on the thread before its first group.
        on_stored: Called on the thread with the new records of each stored group, after the senders
            were answered.
        count_deletions: Returns a number that changes after each deletion. When it has changed, the
            cache of stored runs is cleared. Otherwise a deleted run that is sent again would be
            acknowledged as already stored, and not refused.
        collect_s: Minimum time in seconds between the starts of two groups, so that requests that
            arrive meanwhile are stored together. A full group does not wait. 0 turns this off.

    Attributes:
        is_collecting: Whether `collect_s` is the only reason why requests are waiting now.
    """

    def __init__(
        self,
        write: Callable[[Records], Left | None],
        telemetry: Telemetry,
        prepare: Callable[[], None] = lambda: None,
        on_stored: Callable[[Records], None] = lambda records: None,
        count_deletions: Callable[[], int] = lambda: 0,
        *,
        collect_s: float = COLLECT_S,
    ) -> None:
        self._write = write
        self._prepare = prepare
        self._on_stored = on_stored
        self._recent = Recent()
        self._count_deletions = count_deletions
        self._deletions = 0
        self._unpassed: list[Records] = []
        self._telemetry = telemetry
        self._collect_s = collect_s
        self.is_collecting = False
        self._next_s = -math.inf
        self._backlog = _Backlog()
        self._changed = threading.Condition()
        self._closed = False
        self._once = OnceAMinute()
        self._is_failing = False
        self._group_rows = _GROUP_ROWS
        self._thread = threading.Thread(target=self._work, name="otel-ml-commit", daemon=True)
        self._thread.start()

    def submit(
        self, records: Records, deadline: float, *, is_urgent: bool = False
    ) -> "Future[Counter[str]]":
        """Queue the records of a request.

        Args:
            records: Records to store.
            deadline: Value of `time.monotonic` after which nobody waits for the answer. Records
                that are still queued then are not stored.
            is_urgent: Whether to store these records at once, together with all that are queued.
                Set it if a person waits for the answer.

        Returns:
            A future that completes when the records are durable and can be queried. Its result is
            the number of runs that were not stored because they had been deleted, by the kind of
            deletion, such as ``session``. It fails
            with `Rejected` or `Unavailable`.

        Raises:
            Unavailable: The collector is shutting down.
        """
        waiting = _Waiting(records, deadline, is_urgent)
        with self._changed:
            if self._closed:
                raise Unavailable("The collector is shutting down")
            self._backlog.add(waiting)
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
            self._next_s = time.monotonic() + self._collect_s
            with going_on(partial(self._fail, live)):
                self._store(live)
            self._pass_on()

    def _fail(self, group: Sequence[_Waiting], error: Exception) -> None:
        """Answer a group after an unexpected error so that its senders retry."""
        self._report(error)
        _fail(group, Unavailable(f"The store has trouble: {type(error).__name__}"))

    def _pass_on(self) -> None:
        """Pass the stored records to `on_stored`, after all senders were answered."""
        stored, self._unpassed = self._unpassed, []
        for records in stored:
            with going_on(partial(self._log, "Listeners were not notified of stored records: %s")):
                self._on_stored(records)

    def _report(self, error: Exception) -> None:
        """Count and log a failed group."""
        self._telemetry.count_failed_commit()
        self._is_failing = True
        if isinstance(error, Unavailable):  # its message says what is wrong
            if self._once.is_due(_NOT_STORED):
                _logger.error(_NOT_STORED, error)
        else:
            self._log("A batch could not be stored: %s", error)

    def _log(self, message: str, error: Exception) -> None:
        if self._once.is_due(message):
            _logger.error(message, error, exc_info=error)

    def _take(self) -> list[_Waiting]:
        with self._changed:
            self._changed.wait_for(lambda: self._backlog or self._closed)
            while (wait_s := self._left_to_collect_s()) > 0:
                self.is_collecting = True
                self._changed.wait(wait_s)
            self.is_collecting = False
            return self._backlog.take(self._group_rows)

    def _left_to_collect_s(self) -> float:
        if self._closed or self._backlog.is_full:
            return 0.0
        return min(self._next_s, self._backlog.store_by_s) - time.monotonic()

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
        deletions = self._count_deletions()
        if deletions != self._deletions:
            self._recent, self._deletions = Recent(), deletions
        records = Records()
        ranks: dict[bytes, int] = {}
        for waiting in group:
            records.extend(self._recent.leave_news(waiting.records, ranks))
        started = time.perf_counter()
        try:
            left = (self._write(records) if len(records) or records.trace_keys else None) or {}
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
        if self._is_failing:
            self._is_failing = False
            _logger.warning("The store works again: batches are stored")
        self._note(group, records, time.perf_counter() - started)
        self._recent.remember(ranks, [run for run in records.runs if _place_of(run) in left])
        for waiting in group:
            waiting.answer.set_result(_count_left(waiting.records, left))
        self._unpassed.append(records)

    def _note(self, group: Sequence[_Waiting], records: Records, took_s: float) -> None:
        self._telemetry.observe_commit(took_s, len(records))
        if len(records) >= _LEAST_ROWS:  # most of their time is a fixed cost
            in_time = int(len(records) * _GROUP_S / max(took_s, 1e-6))
            self._group_rows = min(max(in_time, _LEAST_ROWS), _GROUP_ROWS)
        received = sum(len(waiting.records.runs) for waiting in group)
        self._telemetry.count_duplicates(received - len(records.runs))


def _place_of(run: Run) -> tuple[str, RunKey]:
    return run.project, (run.trace_id, run.span_id)


def _count_left(records: Records, left: Left) -> Counter[str]:
    """Count the runs of a request that were not stored, by reason."""
    if not left:
        return Counter()
    places = map(_place_of, chain(records.runs, records.open_runs))
    return Counter(left[place] for place in places if place in left)


def _fail(group: Sequence[_Waiting], error: Exception) -> None:
    for waiting in group:
        if not waiting.answer.done():
            waiting.answer.set_exception(error)
