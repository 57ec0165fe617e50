"""Delivers spans: a source that holds them, a thread that sends them, and a destination.

A call never waits for the network. It may wait for space in a full queue, but only while the sender
makes progress; see `Pipeline.put`.
"""

import logging
import math
import random
import sys
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, Protocol, TypeVar

from otel_ml.errors import quiet, report
from otel_ml.export.answer import REFUSED, Answer
from otel_ml.export.delivery import Counters, Delivery
from otel_ml.loading import LOADING
from otel_ml.process import END, renew_each_in_child
from otel_ml.worker import Worker

# a busy receiver can store this in time, even metric points, which cost most per byte
_BATCH_BYTES: Final = 2 * 1024 * 1024
_POLL_S: Final = 0.5
_FIRST_DELAY_S: Final = 0.02
_BUSY: Final = frozenset({"429", "503"})  # statuses of an overloaded receiver
FIRST_PAUSE_S: Final = 0.5
_MAX_PAUSE_S: Final = 30.0
_HURRIED_PAUSE_S: Final = 1.0
_RETRY_FOR_S: Final = 300.0
_REQUEST_S: Final = 60.0
_NO_PROGRESS_S: Final = 5.0
# If a receiver asks for pauses (Retry-After), a flush waits for two of them and 1 s for the request
# after them, but at most 30 s.
_TIMES_ASKED: Final = 2
_LAST_REQUEST_S: Final = 1.0
_MOST_ASKED_S: Final = 30.0
_SILENT_S: Final = 2.0  # longer waits are logged
_OUTAGE_EVERY_S: Final = 60.0
_OUT_OF_REACH_S: Final = 1.5
_OWED_S: Final = 7.5
_PROGRESS_S: Final = 1.0
_JOIN_S: Final = 1.0
_JOIN_IN_VAIN_S: Final = 0.2

_LATE_S: Final = 2.0  # for all spans that end after the delivery at exit

_WAIT_A_CALL_S: Final = 0.1
_WAIT_A_MINUTE_S: Final = 5.0
_ROOM_POLL_S: Final = 0.001

# A generator without state: forked processes must not use the same delays, and the user's random
# numbers must not change.
_RANDOM: Final = random.SystemRandom()

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pace:
    """How often spans are sent, and how many at a time.

    `batch_spans` is the largest number of spans per request. `delay_s` is how long spans are
    collected before a request, in seconds. The first span after an idle time waits only 20 ms.
    """

    batch_spans: int = 2_048
    delay_s: float = 1.0


class Batch(Protocol):
    """Spans that are sent in one request."""

    @property
    def count(self) -> int:
        """Number of spans."""

    def halves(self) -> "Sequence[Any]":
        """Split the batch in two. Called if the receiver finds it too large."""


B = TypeVar("B", bound=Batch)
B_contra = TypeVar("B_contra", bound=Batch, contravariant=True)


class SpanSource(Protocol[B]):
    """Interface of a queue of spans that are still to be sent, in memory or on disk.

    `take` returns spans but leaves them in the queue. `remove` removes them after they were
    delivered or given up. Only one thread may call these two.
    """

    @property
    def pending(self) -> int:
        """Number of spans that still have to be delivered."""

    @property
    def check_every_s(self) -> float | None:
        """How often to look for spans that other processes left on disk, in seconds.

        None if the queue is in memory.
        """

    def rescan(self) -> None:
        """Let the next `take` look for spans of other processes, even right after a look."""

    def put(self, item: Any, /) -> bool:
        """Add a span or another item. Returns False if there is no space."""

    def hold(self, item: Any, /) -> None:
        """Store the span of a call that is still running, in case the process is killed.

        When the call ends, `put` replaces it with the complete span.
        """

    def has_batch(self, max_spans: int, max_bytes: int) -> bool:
        """Tell whether a full batch waits: `max_spans` spans or `max_bytes` bytes."""

    def report_batch(self, max_spans: int, max_bytes: int, report: Callable[[], object]) -> None:
        """Set a function to call when a full batch of spans waits.

        The function is called at most once between two calls of `take`. A queue that is
        too large to overflow before the sender's next check does not have to call it.
        """

    def take(self, max_spans: int, max_bytes: int) -> B | None:
        """Return the next spans to send, or None if there are none."""

    def remove(self, batch: B) -> None:
        """Remove taken spans that were delivered or rejected for good."""

    def leave(self, batch: B) -> int:
        """Stop trying to deliver taken spans, because the process ends.

        Return how many are lost.
        """

    def close(self) -> int:
        """Close the source, and return how many spans are lost."""

    def clear(self) -> None:
        """Forget the parent's spans in a forked child."""


class AnyDestination(Protocol[B_contra]):
    """Where a pipeline sends spans, such as a collector or an OpenTelemetry exporter."""

    @property
    def page(self) -> str:
        """Name for display."""

    @property
    def is_out_of_reach(self) -> bool:
        """Whether the destination cannot be reached at the moment.

        True while connecting, and if the last request got no response. False if unknown.
        """

    def send(self, batch: B_contra, timeout_s: float) -> Answer:
        """Send a batch, without retries."""

    def close(self) -> None:
        """Close the connections."""

    def after_fork(self) -> None:
        """Drop the parent's connections in a forked child."""


class LateDestination(Generic[B_contra]):
    """A destination that is created with the first request, by the background thread that sends.

    So no traced call has to wait for the slow imports that sending needs.

    Args:
        page: Name of the destination in log lines.
        make: Imports the modules and returns the destination.
    """

    def __init__(self, page: str, make: Callable[[], AnyDestination[B_contra]]) -> None:
        self.page = page
        self._make = make
        self._made: AnyDestination[B_contra] | None = None

    @property
    def is_out_of_reach(self) -> bool:
        """Whether the destination cannot be reached at the moment; False before it is created."""
        return self._made is not None and self._made.is_out_of_reach

    def load(self) -> AnyDestination[B_contra]:
        """Create the destination if it does not exist.

        If another thread forks the process meanwhile, the fork waits until this is done.
        """
        return self._made or LOADING.load(self._make_once)

    def send(self, batch: B_contra, timeout_s: float) -> Answer:
        """Send a batch, without retries."""
        return self.load().send(batch, timeout_s)

    def close(self) -> None:
        """Close the connections."""
        if self._made is not None:
            self._made.close()

    def after_fork(self) -> None:
        """Drop the parent's connections in a forked child."""
        if self._made is not None:
            self._made.after_fork()

    def _make_once(self) -> AnyDestination[B_contra]:
        with LOADING.once:
            if self._made is None:
                self._made = self._make()
            return self._made


class Pipeline(Generic[B]):
    """Queues ended spans of all threads and sends them in a background thread.

    The thread starts with the first span. A forked child starts with an empty queue, because the
    parent sends the queued spans.

    Attributes:
        counters: How many spans this process delivered and lost.
        is_durable: True if the queue is on disk, so its spans are kept when the process ends.
        wants_previews: Whether to add a short preview to each long input and output. The receiver
            decides, see `Answer`.
        announce: Called when the thread starts, to log where spans are sent. May be None.

    Args:
        source: The queue.
        destination: Where the spans are sent.
        pace: How many spans per request, and how often.
        what: What is sent, for log messages: ``spans`` or ``artifacts``.
        prepare: Called when the thread starts, for example to import modules.
    """

    def __init__(
        self,
        source: SpanSource[B],
        destination: AnyDestination[B],
        pace: Pace,
        *,
        what: str = "spans",
        prepare: Callable[[], object] | None = None,
    ) -> None:
        self.is_durable = source.check_every_s is not None
        self._source = source
        self._destination = destination
        self._pace = pace
        self._what = what
        self._prepare = prepare
        self.announce: Callable[[], object] | None = None
        self._closed = False
        self._sender = Worker("otel-ml-sender", self._run)
        source.report_batch(pace.batch_spans, _BATCH_BYTES, self.wake)
        self._begin()
        _PIPELINES.add(self)

    def _begin(self) -> None:
        """Set the initial state, also in a forked child, where copied locks may be held forever."""
        self.counters = Counters()
        self.wants_previews = True
        self._stalled = ""  # why delivery fails at the moment; empty if it works
        self._stalled_at = 0.0
        self._lost_before = 0  # number of lost spans when the outage began
        self._outage_logged_at = -math.inf
        self._is_outage_logged = False
        self._asked_s = 0.0  # longest wait for a receiver's pauses, see `_TIMES_ASKED`
        self._asked_until = -math.inf
        self._left = 0  # number of spans given up at the end of the process
        self._is_late = False  # True: closed at exit, so calls send their spans themselves
        self._is_last_line_due = False
        self._late = threading.Lock()
        self._late_s = 0.0
        self._logged: set[str] = set()
        self._lock = threading.RLock()
        self._some_done = threading.Condition(self._lock)
        self._done = 0
        self._checks = 0
        self._found_nothing = 0
        self._is_prepared = threading.Event()
        self._hurry = 0
        self._refusals = 0  # number of refused connections
        self._is_asked = False  # True: retry now, without waiting for the pause to end
        self._pressed = False
        self._ends_since: float | None = None
        self._give_up_at: float | None = None
        self._is_patient = False
        self._progress_at = 0.0
        self._sent_at = -math.inf

    def restart_in_child(self) -> None:
        """Reset in a forked child, with its own thread and connections."""
        self._source.clear()
        self._destination.after_fork()
        self._begin()

    @property
    def pending(self) -> int:
        """Number of spans that are neither delivered nor lost."""
        return 0 if self._closed else self._source.pending

    @property
    def is_stalled(self) -> bool:
        """Whether delivery fails at the moment, for example because no collector answers."""
        return bool(self._stalled)

    # The methods below are called from other threads.

    def redirect(self, destination: AnyDestination[B]) -> None:
        """Send to another destination from now on, also what is queued."""
        former, self._destination = self._destination, destination
        former.close()
        self.wake()

    def put(self, span: Any) -> None:
        """Queue an ended span for sending.

        If the queue is full, the call waits up to 100 ms for space. All calls of the process
        together wait at most 5 s per minute. If there is no space then, the span is dropped and
        counted as lost.

        It never waits while delivery fails, or in a thread with a running event loop.
        """
        if self._closed:
            self._put_late(span)
        elif not self._source.put(span) and not self._wait_for_room(span):
            self.counters.lose("queue full", 1)
            text = f"The queue is full: {self._what} are dropped, further drops are only counted"
            self._log_once("full", text)
        elif self._sender.is_asleep:
            self.wake()

    def hold(self, span: Any) -> None:
        """Store a span of a call that is not finished, in case the process is killed. See `put`."""
        if not self._closed:
            self._source.hold(span)

    def wake(self) -> None:
        """Start the background thread if necessary, and let it look for spans."""
        if self._sender.is_asleep:
            self._progress_at = time.monotonic()  # a thread that was asleep is not stuck
        if not self._sender.wake() and END.is_over:
            self._send_late()

    def flush(self, timeout_s: float, *, is_hasty: bool = False) -> Delivery:
        """Wait until all queued spans are delivered or lost.

        `flush` returns early if nothing was delivered for 5 s. If the receiver asked for a pause
        (Retry-After), `flush` waits for up to 30 s instead, and logs that it is waiting.

        Args:
            timeout_s: Longest time to wait, in seconds.
            is_hasty: Send immediately, without waiting for a retry pause to end, and return if the
                connection is refused.

        Returns:
            How many spans were delivered or lost since the last flush, and how many are pending.
        """
        drained = not self._closed and self.drain(timeout_s, is_hasty=is_hasty)
        return self._news(0 if drained else self.pending)

    def hasten(self) -> None:
        """Send immediately instead of in batches. Called when the process is ending."""
        if self._closed or self._ends_since is not None:
            return
        self._ends_since = time.monotonic()
        with self._lock:
            self._hurry += 1
        if self._source.pending:
            self.wake()

    def wait_until_prepared(self, limit_s: float) -> None:
        """Wait up to `limit_s` seconds until the thread, if any, has imported its modules."""
        if self._sender.is_alive:
            self._is_prepared.wait(limit_s)

    def close(self, timeout_s: float, *, is_patient: bool = True) -> Delivery:
        """Send the queued spans, then stop the background thread. A second call does nothing.

        Args:
            timeout_s: Longest time to wait, in seconds.
            is_patient: Whether to wait longer if the receiver asks for a pause (Retry-After).

        Returns:
            How many spans were delivered or lost since the last flush, and how many are pending.
        """
        if not self._closed:
            self._stop(timeout_s, is_patient=is_patient)
            self._closed = True
            lost = self._source.close()
            self.counters.lose(self._reason, lost)
            self._left += lost
            self._is_late = END.has_begun
            self._is_last_line_due = self._is_late and END.call_last(self._finish)
            if not self._is_last_line_due:
                self._finish()
        return self._news(self.pending)

    def _name(self, count: int) -> str:
        """Return a number of spans in words, such as ``1 span``."""
        return f"{count:,} {self._what.removesuffix('s') if count == 1 else self._what}"

    @property
    def _reason(self) -> str:
        """Why spans that are left could not be delivered."""
        away = "no connection" if self._destination.is_out_of_reach else ""
        return self._stalled or away or "not delivered in time"

    def _finish(self) -> None:
        """Log how many spans were not delivered, and close the connections."""
        self._is_last_line_due = False
        if self._left:
            keep = "" if self.is_durable else "; Client(spool=DIR) keeps them"
            text = "%s could not be delivered to %s: %s%s"
            page = self._destination.page
            _logger.warning(text, self._name(self._left), page, self._reason, keep)
        self._destination.close()

    def _put_late(self, span: Any) -> None:
        """Take a span that ended after `close`. At the end of the process it is sent at once.

        Exit handlers run in the reverse order of their registration. So handlers that were
        registered before the first recorded call run after the delivery.
        """
        if sys.is_finalizing():  # in a `__del__` after the exit handlers, when nothing can be sent
            self.counters.lose("closed", 1)
        elif self._is_late and self._source.put(span):
            self._send_late()
        else:
            self.counters.lose("closed", 1)

    def _send_late(self) -> None:
        """Send the queued spans from this thread, because there is no background thread any more.

        All calls together wait for at most 2 s.
        """
        # If another thread sends, it sends this span too. A finalizer may also interrupt a request.
        while self._source.pending and self._late.acquire(blocking=False):
            began_s, left = time.monotonic(), self._left
            self._give_up_at = began_s + max(_LATE_S - self._late_s, 0.0)
            try:
                batch = self._source.take(self._pace.batch_spans, _BATCH_BYTES)
                if batch is None:
                    return
                if self._late_s < _LATE_S:
                    self._deliver(batch)
                else:
                    self._leave(batch, Answer(delivered=False, message="not delivered in time"))
            finally:
                self._late_s += time.monotonic() - began_s
                self._late.release()
            if self._left > left and not self._is_last_line_due:
                text = (
                    f"{self._name(self._left - left)} that ended after the delivery at exit could "
                    f"not be delivered to {self._destination.page}: {self._reason}; later ones are "
                    "only counted"
                )
                self._log_once("late", text)

    def _stop(self, timeout_s: float, *, is_patient: bool) -> None:
        """Deliver the queued spans, then stop the thread."""
        self.hasten()
        self._is_patient = is_patient
        self._give_up_at = time.monotonic() + timeout_s
        self._extend()
        drained = self.drain(timeout_s)
        in_vain = not drained and self._destination.is_out_of_reach
        self._sender.close(min(_JOIN_IN_VAIN_S if in_vain else _JOIN_S, timeout_s))

    def _extend(self) -> None:
        """Wait longer at the end of the process if the receiver asks for pauses."""
        if self._is_patient and self._give_up_at is not None and self._ends_since is not None:
            self._give_up_at = max(self._give_up_at, self._ends_since + self._asked_s)

    def _news(self, pending: int) -> Delivery:
        return self.counters.deliver_news(pending, self._stalled or "no answer yet")

    def _wait_for_room(self, span: Any) -> bool:
        if _has_running_loop() or self._sender.is_this_thread:
            return False
        began = now = time.monotonic()
        while self._makes_progress() and now - began < _WAIT_A_CALL_S and _BUDGET.is_left(now):
            self._pressed = True
            self.wake()
            time.sleep(_ROOM_POLL_S)
            before, now = now, time.monotonic()
            _BUDGET.spend(now - before)
            self.counters.blocked_s += now - before
            if self._source.put(span):
                return True
        return False

    def _makes_progress(self) -> bool:
        return not self._stalled and time.monotonic() - self._progress_at < _PROGRESS_S

    def drain(self, timeout_s: float, *, is_hasty: bool = False) -> bool:
        """Wait until all queued spans are delivered or lost. Returns whether they are.

        It gives up early if nothing was delivered for 5 s. While the process is ending, it gives
        up after 1.5 s if the receiver cannot be reached.

        Args:
            timeout_s: Longest time to wait, in seconds.
            is_hasty: Send immediately, without waiting for a retry pause to end, and return if the
                connection is refused.
        """
        if not self._source.pending and not self.is_durable:
            return True
        deadline = time.monotonic() + timeout_s
        with self._lock:
            self._hurry += 1
            # the number is unknown if other processes add spans to the source
            target = None if self.is_durable else self._done + self._source.pending
            refusals = self._refusals if is_hasty else math.inf
            self._is_asked = self._is_asked or is_hasty
        self._source.rescan()
        try:
            self.wake()
            if self._sender.is_alive:
                return self._wait_for(target, deadline, refusals) and not self._stalled
            self._send_all(deadline)  # the interpreter is shutting down and cannot start a thread
            return not self._source.pending
        finally:
            with self._lock:
                self._hurry -= 1

    def _wait_for(self, target: int | None, deadline: float, refusals: float) -> bool:
        began = self._ends_since or time.monotonic()
        is_logged = False
        with self._lock:
            # if a later check finds nothing, all spans queued so far are done
            checks = self._checks
            while (left_s := max(deadline, self._give_up_at or 0.0) - time.monotonic()) > 0:
                if self._found_nothing > checks or (target is not None and self._done >= target):
                    return True
                self._some_done.wait(min(0.1, left_s))
                is_logged = is_logged or self._log_waiting(began, left_s)
                if (
                    self._is_in_vain(began)
                    or not self._sender.is_alive
                    or self._refusals > refusals
                ):
                    break
                if self._stalled and self._give_up_at and self.is_durable:
                    break  # the process ends; the spans stay on disk
        return False

    def _is_in_vain(self, began: float) -> bool:
        """Tell whether waiting is pointless. At the end of a process this is decided sooner.

        A receiver that has our first request may be slow or paused, so it gets more time. A slow
        disk from which modules are imported gets more time too.
        """
        if self._sender.is_alive and not self._is_prepared.is_set():
            return False
        now = time.monotonic()
        limit_s = max(_NO_PROGRESS_S, self._asked_s)
        if self._ends_since is not None and self._destination.is_out_of_reach:
            limit_s = _OUT_OF_REACH_S
        elif self._ends_since is not None and not self._stalled:
            limit_s = max(_OWED_S, self._asked_s)
        return now - max(self._progress_at, began) >= limit_s and now >= self._asked_until

    def _log_waiting(self, began: float, left_s: float) -> bool:
        """Log that a flush or the end of the process waits, once it has taken a while."""
        if not self._stalled or time.monotonic() - began < _SILENT_S:
            return False
        most_s = min(left_s, max(_NO_PROGRESS_S, self._asked_s))
        text = "Waiting for %s, which accepts nothing now: up to %.0f s more for %s"
        page, pending = self._destination.page, self._name(self._source.pending)
        _logger.warning(text, page, most_s, pending)
        return True

    def _log_once(self, what: str, text: str, level: int = logging.WARNING) -> None:
        """Log the first message of a kind. Later ones are only counted."""
        if what not in self._logged:
            self._logged.add(what)
            _logger.log(level, text)

    # The methods below run in the sender thread, or in the thread that stops the pipeline if there
    # is no sender thread.

    def _run(self) -> None:
        announce, self.announce = self.announce, None
        for step in (self._prepare, announce):
            if step is not None:
                with quiet("sender"):
                    step()
        self._progress_at = time.monotonic()
        self._is_prepared.set()
        while not self._sender.is_stopping:
            is_well = False
            with quiet("sender"):
                self._rest()
                self._progress_at = time.monotonic()
                self._send_waiting()
                self._sent_at = time.monotonic()
                is_well = True
            if not is_well:
                self._sender.pause(FIRST_PAUSE_S)

    def _rest(self) -> None:
        """Wait for spans, then for the batch delay or a full batch."""
        delay_s = self._pace.delay_s
        due = self._sent_at + delay_s
        is_first = time.monotonic() >= due
        # no call needs to wake this thread before `due`, because nothing is sent earlier
        if self._collect(due) and not self._source.pending:
            self._sender.wake()  # a flush: look for spans of other processes now
        while not self._source.pending and not self._sender.is_stopping:
            is_first = True
            self._sender.rest(lambda: self._source.pending, self._source.check_every_s)
            if self._source.check_every_s is not None:
                break
        if is_first:
            self._collect(max(time.monotonic() + min(_FIRST_DELAY_S, delay_s), due))
        self._pressed = False

    def _collect(self, until: float) -> bool:
        """Wait until a time. A flush, a full batch or the end of the process ends it earlier.

        Returns:
            Whether a flush woke this thread.
        """
        is_woken = False
        while (left_s := until - time.monotonic()) > 0:
            if self._hurry:
                return is_woken
            if self._pressed or self._has_batch() or self._sender.is_stopping:
                return False
            self._sender.pause(min(_POLL_S, left_s))
            is_woken = True
        return False

    def _has_batch(self) -> bool:
        return self._source.has_batch(self._pace.batch_spans, _BATCH_BYTES)

    def _send_waiting(self) -> None:
        """Send the spans that wait now, and full batches. Later spans wait for the next request."""
        left = self._source.pending
        while (batch := self._take()) is not None:
            self._deliver(batch)
            left -= batch.count
            # spans that an ended process left on disk may not be counted yet
            is_done = left <= 0 and (not self.is_durable or self._source.pending > 0)
            if is_done and not (self._hurry or self._has_batch()):
                return

    def _send_all(self, deadline: float) -> None:
        while time.monotonic() < deadline and (batch := self._take()) is not None:
            self._deliver(batch)

    def _take(self) -> B | None:
        if self._sender.is_stopping:
            return None
        self._checks += 1
        batch = self._source.take(self._pace.batch_spans, _BATCH_BYTES)
        if batch is None:
            with self._lock:
                self._found_nothing = self._checks
                self._some_done.notify_all()
        return batch

    def _deliver(self, batch: B) -> None:
        """Send a batch until it is delivered or given up. An error affects only this batch."""
        try:
            self._send(batch)
        except BaseException as error:  # noqa: BLE001 - of any exporter, even SystemExit
            self._conclude(batch, Answer(delivered=False, message=type(error).__name__))
            # if an error ends this thread from outside, another thread starts later
            report("sender", error)

    def _send(self, batch: B) -> None:
        """Send a batch until it is delivered, rejected, or not worth another attempt."""
        began, pause_s = time.monotonic(), FIRST_PAUSE_S
        while True:
            self._is_asked = False
            answer = self._destination.send(batch, self._time_left(_REQUEST_S))
            if answer.too_large and batch.count > 1:
                for half in batch.halves():
                    self._deliver(half)
                return
            if not answer.retry:
                self._conclude(batch, answer)
                return
            self._note_outage(answer)
            self._note_refusal(answer)
            if self._is_worth_waiting(began):
                self._wait_to_retry(answer.retry_after_s, pause_s)
            if self._sender.is_stopping or not self._is_worth_waiting(began):
                self._leave(batch, answer)
                return
            self.counters.retries += 1
            pause_s = min(pause_s * 2, _MAX_PAUSE_S)

    def _note_outage(self, answer: Answer) -> None:
        """Record that delivery fails now. Log it, at most once a minute."""
        now = time.monotonic()
        if answer.retry_after_s is not None:
            asked_s = min(_TIMES_ASKED * answer.retry_after_s + _LAST_REQUEST_S, _MOST_ASKED_S)
            self._asked_s = max(self._asked_s, asked_s)
            self._asked_until = now + asked_s
            self._extend()
        if not self._stalled:
            self._stalled_at = now
            self._lost_before = sum(self.counters.lost.values())
        self._stalled = answer.message
        is_logged_at_end = self._ends_since is not None and not self.is_durable  # by `close`
        if not is_logged_at_end and now - self._outage_logged_at >= _OUTAGE_EVERY_S:
            self._outage_logged_at, self._is_outage_logged = now, True
            text = f"{self._name(self._source.pending)} waiting, retrying"
            _logger.warning("%s %s; %s", self._destination.page, _why(answer.message), text)

    def _note_recovery(self) -> None:
        """Record that delivery works again. Log it if the failure was logged."""
        if self._stalled and self._is_outage_logged:
            self._is_outage_logged = False
            lost = sum(self.counters.lost.values()) - self._lost_before
            pending = self._source.pending
            _logger.warning(
                "Delivery to %s works again: %s %s late, by up to %.1f s%s",
                self._destination.page,
                self._name(pending),
                "was" if pending == 1 else "were",
                time.monotonic() - self._stalled_at,
                f"; {lost:,} {'was' if lost == 1 else 'were'} lost" if lost else "",
            )
        self._stalled = ""

    def _note_refusal(self, answer: Answer) -> None:
        if answer.message == REFUSED:
            with self._lock:
                self._refusals += 1
                self._some_done.notify_all()

    def _wait_to_retry(self, asked_s: float | None, pause_s: float) -> None:
        """Wait before a retry: as long as the receiver asked for, or less if there is a hurry."""
        began = time.monotonic()
        # random, so that clients do not retry at the same time
        spread_s = pause_s * _RANDOM.uniform(0.5, 1.0)
        while not self._sender.is_stopping:
            wait_s = min(spread_s, _HURRIED_PAUSE_S) if self._hurry else spread_s
            left_s = began + (wait_s if asked_s is None else asked_s) - time.monotonic()
            if left_s <= 0 or (self._is_asked and asked_s is None):
                return
            self._sender.pause(left_s)

    def _is_worth_waiting(self, began: float) -> bool:
        if self._sender.is_stopping or (self._ends_since and self._is_in_vain(self._ends_since)):
            return False
        spent_s = time.monotonic() - began
        return self._time_left(1) > 0 and spent_s <= _RETRY_FOR_S

    def _time_left(self, most_s: float) -> float:
        if self._give_up_at is None:
            return most_s
        return min(most_s, max(self._give_up_at - time.monotonic(), 0.0))

    def _conclude(self, batch: B, answer: Answer) -> None:
        page = self._destination.page
        if answer.delivered:
            rejected = min(answer.rejected, batch.count)  # a receiver may report too many
            self.counters.delivered += batch.count - rejected
            self.counters.rejected += rejected
            self._note_recovery()
            self.wants_previews = answer.wants_previews
            self._progress_at = time.monotonic()
            self._log_once("delivered", f"First {self._what} delivered to {page}", logging.INFO)
            if answer.rejected:
                text = f"{page} rejected {self._name(answer.rejected)}: {answer.message}"
                self._log_once("rejected", text)
        else:
            self.counters.lose(answer.message, batch.count)
            self._log_once("refused", f"{page} rejects {self._what}: {answer.message}")
        # Keep this order. A waiting thread adds up done and pending spans, and would otherwise miss
        # this batch.
        self._note_done(batch)
        self._source.remove(batch)  # last: a thread that sees nothing pending reads the counters

    def _leave(self, batch: B, answer: Answer) -> None:
        lost = self._source.leave(batch)
        self.counters.lose(answer.message, lost)
        self._left += lost
        self._note_done(batch)

    def _note_done(self, batch: B) -> None:
        with self._lock:
            self._done += batch.count
            self._some_done.notify_all()


def _why(message: str) -> str:
    """Return why a request failed, as the second half of a sentence."""
    status, _, _ = message.partition(" ")
    return f"is busy ({status})" if status in _BUSY else f"cannot be reached ({message})"


class _Budget:
    """The total time per minute that calls of this process may wait for space."""

    def __init__(self) -> None:
        self._minute = 0
        self._spent_s = 0.0

    def is_left(self, now_s: float) -> bool:
        """Tell whether time is left in this minute."""
        minute = int(now_s // 60)
        if minute != self._minute:
            self._minute, self._spent_s = minute, 0.0
        return self._spent_s < _WAIT_A_MINUTE_S

    def spend(self, wait_s: float) -> None:
        """Subtract `wait_s`. Threads that wait at the same time may overdraw slightly."""
        self._spent_s += wait_s


def _has_running_loop() -> bool:
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and asyncio._get_running_loop() is not None


_BUDGET: Final = _Budget()
_PIPELINES: Final["weakref.WeakSet[Pipeline[Any]]"] = renew_each_in_child(Pipeline.restart_in_child)
