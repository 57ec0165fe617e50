"""Records the runs of a client: starts their spans, numbers them, watches those that are open.

The provider is chosen at the first span, so that making a client costs nothing.
"""

import atexit
import functools
import os
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Protocol

from opentelemetry import context as context_api
from opentelemetry import trace
from opentelemetry.context import Context

from otel_ml import attributes as names
from otel_ml.errors import host_error, quiet, trouble
from otel_ml.export.delivery import Delivery
from otel_ml.late import late
from otel_ml.outlet import NOWHERE, Outlet, Route
from otel_ml.process import PROCESS, deliver_at_end, renew_each_in_child
from otel_ml.redaction import Redaction
from otel_ml.spans import RunSpan, Start, write
from otel_ml.versions.held_runs import HELD
from otel_ml.wire import Attributes, Event, weigh
from otel_ml.worker import Worker

if TYPE_CHECKING:
    from otel_ml import instrumentations, provider
    from otel_ml.export import documents
    from otel_ml.export.pipeline import Pipeline
    from otel_ml.judges import pool
else:
    documents = late("export.documents")
    instrumentations = late("instrumentations")
    pool = late("judges.pool")
    provider = late("provider")

TELL_EVERY_NS: Final = 300 * 1_000_000_000
HEARTBEAT_S: Final = 60.0
_ROOM_S: Final = 30.0
_CLOSE_S: Final = 10.0
_JUDGES_S: Final = 2.0
_ANNOUNCE_AFTER_NS: Final = 2_000_000_000
_TICK_S: Final = 0.2
_REST_AFTER_S: Final = 5.0
_TOLD: Final = 10_000
_COSTS: Final = 1_024
_INSTRUMENTOR: Final = "opentelemetry.instrumentation.instrumentor"
_PAUSED_KEY: Final = context_api.create_key("otel_ml-paused")


@dataclass(frozen=True, slots=True)
class Stats:
    """Counters of a client in this process.

    Attributes:
        configuration: The configuration in force, by name: provider, endpoint, bounds of the queue.
        sequence: The highest number that a run or record of the project got.
        delivered: Spans that the receiver took, and data that was uploaded apart from them.
        lost: Spans that are gone for good, by reason; data under ``artifact: ...``.
        retries: Requests that had to be sent again.
        blocked_ms: How long calls waited for room in the queue, all together.
        queued: Spans that wait for delivery, in memory or on disk.
        held: Calls whose judges have not spoken.
        open_runs: Runs that have not ended.
        trouble: Trouble of ours that the host never saw, by place.
        cost_p50_us: The SDK's own cost per call, median of the last 1,024, in microseconds;
            None before the first call.
        cost_p99_us: The same, exceeded by one call in a hundred.
    """

    configuration: Mapping[str, object] = field(default_factory=dict)
    sequence: int = 0
    delivered: int = 0
    lost: Mapping[str, int] = field(default_factory=dict)
    retries: int = 0
    blocked_ms: float = 0.0
    queued: int = 0
    held: int = 0
    open_runs: int = 0
    trouble: Mapping[str, int] = field(default_factory=dict)
    cost_p50_us: float | None = None
    cost_p99_us: float | None = None


class Cost:
    """The SDK's own cost per call, of the last 1,024 that were measured.

    Any thread may add.
    """

    def __init__(self) -> None:
        self._kept: deque[int] = deque(maxlen=_COSTS)
        self.add = self._kept.append  # keeps a duration in ns, in one step

    def quantile_us(self, share: float) -> float | None:
        """Return a quantile in microseconds; None before the first call."""
        kept = sorted(self._kept.copy())
        return kept[min(int(len(kept) * share), len(kept) - 1)] / 1e3 if kept else None


class OpenRun(Protocol):
    """A run that has perhaps not ended."""

    @property
    def start_ns(self) -> int:
        """When it began."""

    def announce(self) -> None:
        """Say that it is open."""

    def end(self, error: BaseException | None = None) -> None:
        """End it, if it was opened by hand."""

    def send_waiting(self, *, at_once: bool = False) -> None:
        """Send the waiting updates of a run, when it is time, or at once."""


class RunWatch(Protocol):
    """Looks at ended runs, on a thread of its own."""

    def see(self, model: object, run_id: str, facts: Mapping[str, Any]) -> None:
        """Queue an ended run by its model, its id and its attributes."""

    def drain(self, timeout_s: float) -> int:
        """Wait for the runs that wait; returns how many still do."""

    def close(self, timeout_s: float) -> None:
        """Wait a little, then stop."""


class OpenRuns:
    """Watches the open runs of a client on a thread of its own, which sleeps while there are none.

    Spans travel when they end. So records are sent when a run that lasts has started and while its
    process lives; else a run that hangs, or whose process is killed, would never be seen.

    Args:
        beat: Sends that this process lives (``heartbeat``) or ends (``goodbye``).
        heartbeat_s: How often it sends that it lives, while an announced run is open.
    """

    def __init__(self, beat: Callable[[str], None], heartbeat_s: float = HEARTBEAT_S) -> None:
        self._beat = beat
        self._heartbeat_s = heartbeat_s
        self._watch = Worker("otel-ml-open-runs", self._run)
        self.restart_in_child()

    def restart_in_child(self) -> None:
        """Begin without a run: those of the parent are the parent's."""
        self._open: dict[OpenRun, None] = {}
        self._by_hand: dict[int, weakref.ref[OpenRun]] = {}
        self._announced: set[OpenRun] = set()
        self._closed = False
        self._beat_at_s: float | None = None  # None: there was never a start to tell

    def add(self, run: OpenRun) -> None:
        """Watch a call from its start."""
        self._open[run] = None
        if self._watch.is_asleep:
            self._wake()

    def remove(self, run: OpenRun) -> None:
        """Forget a run that ended; an unknown run is no error."""
        if self._open.pop(run, run) is run:
            self._by_hand.pop(id(run), None)

    def announce(self, run: OpenRun) -> None:
        """Watch a run that was opened by hand, and say so at once; it may vanish unended."""
        self._by_hand[id(run)] = weakref.ref(run)
        self._tell(run)
        if self._watch.is_asleep:
            self._wake()

    def _tell(self, run: OpenRun) -> None:
        if self._beat_at_s is None:
            self._beat_at_s = time.monotonic()
        run.announce()

    @property
    def count(self) -> int:
        """How many runs are open."""
        return len(self._open) + len(self._by_hand)

    def opened_by_hand(self) -> list[OpenRun]:
        """List the runs that were opened by hand and are open."""
        items = [made() for made in list(self._by_hand.values())]
        return [run for run in items if run is not None]

    def send_waiting(self) -> None:
        """Send the waiting updates of the open runs."""
        for run in [*self._open, *self.opened_by_hand()]:
            run.send_waiting(at_once=True)

    def close(self) -> None:
        """End the runs that were opened by hand, say goodbye if a start was ever announced.

        Where the process ends by an exception that nobody caught, that is what they failed with.
        Calls that are still open stay so.
        """
        if self._closed:
            return
        error = None if hasattr(sys, "ps1") else getattr(sys, "last_value", None)
        for run in self.opened_by_hand():
            run.end(error)
        self._closed = True
        self._watch.stop()
        if self._beat_at_s is not None:
            self._beat("goodbye")

    def _wake(self) -> None:
        self._watch.wake()

    # On its own thread.

    def _run(self) -> None:
        idle_since = time.monotonic()
        while not self._watch.is_stopping:
            self._watch.pause(_TICK_S)
            with quiet("open runs"):
                self._look()
            if self.count:
                idle_since = time.monotonic()
            elif time.monotonic() - idle_since >= _REST_AFTER_S:
                self._watch.rest(lambda: self.count)
                idle_since = time.monotonic()

    def _look(self) -> None:
        before_ns = time.time_ns() - _ANNOUNCE_AFTER_NS
        runs_told = list(self._announced)
        for run in [*self._open, *self.opened_by_hand()]:
            with quiet("open runs"):  # one run hides no other
                if run in self._open and run not in self._announced and run.start_ns <= before_ns:
                    self._announced.add(run)
                    self._tell(run)
                run.send_waiting()
        self._announced.difference_update([run for run in runs_told if run not in self._open])
        due = (
            self._beat_at_s is not None and time.monotonic() - self._beat_at_s >= self._heartbeat_s
        )
        if due and (self._announced or self._by_hand):
            self._beat_at_s = time.monotonic()
            self._beat("heartbeat")


class Recorder:
    """Opens its provider at the first span, so that making a client costs nothing.

    Attributes:
        enabled: False when nothing is ever recorded.
        pauses: How many blocks there are in which nothing is recorded, see `disabled`.
        diverted: Records runs in its place that begin now, see `otel_ml.testing`; or None.
        start: Starts spans, see `otel_ml.spans.Start`; None before the first span.
        watch: Looks at runs when they have ended; or None.
        lock: Guards data that several threads add to a run.
        identity: The attributes that name project and process; another object in each process,
            so that a forked child knows the definitions it has not sent.
        route: The wanted destination of its spans.

    Args:
        route: Where its spans are wanted.
        redaction: Its redaction.
    """

    def __init__(self, route: Route, redaction: Redaction | None = None) -> None:
        self.project = route.project
        self.redaction = Redaction() if redaction is None else redaction
        self.enabled = os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() != "true"
        self.pauses = 0
        self.diverted: Recorder | None = None
        self.start: Start | None = None
        self.watch: RunWatch | None = None
        self.open_runs = OpenRuns(self._beat)
        self.cost = Cost()
        self.route = route
        self._outlet: Outlet = NOWHERE
        self._judges: pool.JudgePool | None = None
        self._closing = False
        self._closed = threading.Event()
        self._opening = False
        # A finalizer that the garbage collector runs may record while this thread holds it.
        self.lock = threading.RLock()
        self._lent: trace.TracerProvider | None = None
        self._begin()
        _RECORDERS.add(self)
        if self.enabled:
            _tell_lost_at_end()

    def restart_in_child(self) -> None:
        """Begin anew in a forked child: its locks may be held by threads that it does not have."""
        self.lock = threading.RLock()
        self._opening = False
        self._closing = self._closed.is_set()
        self._closed = threading.Event()
        if self._closing:
            self._closed.set()
        self.open_runs.restart_in_child()
        self._begin()

    def _begin(self) -> None:
        """Begin as a process of its own."""
        self.identity = {names.PROJECT: self.project, names.PROCESS: PROCESS.id}
        self._numbers = PROCESS.count_of(self.project)
        self._sequence = 0
        self._told: dict[Hashable, int] = {}

    @property
    def in_force(self) -> "Recorder":
        """The recorder of a run that begins now: this, or another in its place."""
        return self.diverted or self

    @property
    def page(self) -> str:
        """Base address of the collector's pages, or where it will be; empty where there is none."""
        outlet = self._outlet
        if outlet is NOWHERE:
            return provider.expected_page(self.route)
        return "" if outlet.uploads is None else str(outlet.configuration["endpoint"])

    @property
    def tracer_provider(self) -> trace.TracerProvider:
        """The provider for other instrumentations; chosen now when nothing was recorded yet."""
        if not self.enabled:
            return trace.NoOpTracerProvider()
        if self.start is None:
            self.open()
        with self.lock:
            if self._lent is None:
                self._lent = instrumentations.lend(
                    self.project, self._outlet, self.redaction, lambda: self.active() is self
                )
            return self._lent

    @property
    def judges(self) -> "pool.JudgePool":
        """The threads on which judges run; there are none before the first judged call."""
        if self._judges is None:
            with self.lock:
                if self._judges is None:
                    self._judges = pool.JudgePool()
        return self._judges

    @contextmanager
    def disabled(self) -> Iterator[None]:
        """Record nothing that begins in this block, in the calling task or thread."""
        with self.lock:
            self.pauses += 1
        token = context_api.attach(context_api.set_value(_PAUSED_KEY, self))
        try:
            yield
        finally:
            context_api.detach(token)
            with self.lock:
                self.pauses -= 1

    @property
    def wants_previews(self) -> bool:
        """Whether previews are to stand beside whole payloads, see `Outlet.wants_previews`."""
        return self._outlet.wants_previews

    def active(self) -> "Recorder | None":
        """Return the recorder of a run that begins now, see `in_force`; None without any."""
        recorder = self.diverted or self
        if not recorder.enabled or (self.pauses and context_api.get_value(_PAUSED_KEY) is self):
            return None
        return recorder

    def send_record(
        self,
        record: str,
        about: trace.Span | None,
        attributes: Attributes,
        events: Sequence[Event] = (),
        *,
        at_ns: int | None = None,
        link: trace.Span | None = None,
    ) -> None:
        """Send a zero-length span about a run, or about this process.

        Args:
            record: What it says: start, update, evaluation, heartbeat, goodbye.
            about: The run's span; None for a record in a trace of its own.
            attributes: Of the record.
            events: Of the record: name, attributes, time in ns.
            at_ns: When it is, else now.
            link: A span that the record points to without being its child.
        """
        start = self.start or self.open()
        at_ns = time.time_ns() if at_ns is None else at_ns
        context = Context() if about is None else trace.set_span_in_context(about, Context())
        facts: dict[str, Any] = {**attributes, names.RECORD: record, names.SEQ: self.count()}
        span = start(f"otel_ml.{record}", context, at_ns, self.identity, True)
        for name, value, time_ns in events:
            span.add_event(name, value, timestamp=time_ns)
        if link is not None:
            span.add_link(link.get_span_context())
        if type(span) is RunSpan:
            span.weight += weigh(facts, events)
        write(span, facts, self.identity)
        span.end(end_time=at_ns)

    def upload(self, sha256: str, document: bytes) -> str | None:
        """Send a document that is too long for an event.

        Returns:
            Its address; None where there is nobody who would store it, or no room for it.
        """
        if self.start is None:
            self.open()
        uploads = self._outlet.uploads
        return None if uploads is None else uploads.put(documents.HashedText(sha256, document))

    def tell(self, key: Hashable, now_ns: int) -> int | None:
        """Tell whether the definition of a version is to be sent now.

        It is due at the first run of a version in the process and every 5 minutes after, so
        that a collector which missed the first learns it.

        Returns:
            None when it is due, which is noted; else the time at which it will be.
        """
        told_ns = self._told.get(key)
        if told_ns is not None and now_ns - told_ns < TELL_EVERY_NS:
            return told_ns + TELL_EVERY_NS
        if len(self._told) >= _TOLD:
            self._told.clear()
        self._told[key] = now_ns
        return None

    def forget(self, key: Hashable) -> None:
        """Take back a note of `tell`: the definition could not be sent."""
        self._told.pop(key, None)

    def count(self) -> int:
        """Return the next sequence number of the project."""
        self._sequence = number = next(self._numbers)
        return number

    def flush(self, timeout_s: float, *, is_hasty: bool = False) -> "Delivery":
        """Wait for judges, then deliver the queue; returns the outcome.

        Args:
            timeout_s: How long at most.
            is_hasty: Return as soon as nobody listens at the address.
        """
        deadline = time.monotonic() + timeout_s
        waiting = 0
        if self._judges is not None and not self._judges.drain(timeout_s):
            waiting = self._judges.waiting
        waiting += HELD.drain(max(deadline - time.monotonic(), 0))
        if self.watch is not None:
            waiting += self.watch.drain(max(deadline - time.monotonic(), 0))
        if self._outlet is NOWHERE:
            return Delivery(pending=waiting)
        self._send_waiting()
        delivery = self._outlet.flush(max(deadline - time.monotonic(), 0.1), is_hasty=is_hasty)
        return replace(delivery, pending=delivery.pending + waiting) if waiting else delivery

    @quiet("settle")
    def settle(self, timeout_s: float) -> None:
        """Send the waiting updates, before they are read back; `flush` returns their outcome."""
        if self._outlet is not NOWHERE:
            self._send_waiting()
            self._outlet.settle(timeout_s)

    @quiet("flush")
    def _send_waiting(self) -> None:
        self.open_runs.send_waiting()

    def make_room(self) -> None:
        """Wait until the queue is delivered, as long as spans get through."""
        pipeline = self._outlet.pipeline
        if pipeline is not None and not pipeline.is_stalled:
            self.settle(_ROOM_S)

    def close(self, timeout_s: float = _CLOSE_S, judges_s: float = _JUDGES_S) -> None:
        """Let every held run go, deliver, and stop. Never raises.

        A second call waits for the first, which may be at work on another thread.
        """
        with self.lock:
            if self._outlet is NOWHERE:  # nothing was recorded, something may yet be
                return
            first, self._closing = not self._closing, True
        if not first:
            self._closed.wait(timeout_s)
            return
        try:
            with quiet("close"):
                if self._judges is not None:
                    self._judges.close(judges_s)
                HELD.close(judges_s)
                if self.watch is not None:
                    self.watch.close(judges_s)
                self.open_runs.close()
                self._outlet.close(timeout_s)
        finally:
            self._closed.set()

    @property
    def spooled(self) -> "Pipeline[Any] | None":
        """The pipeline, when it keeps spans on disk that a kill would lose."""
        pipeline = self._outlet.pipeline
        return pipeline if pipeline is not None and pipeline.is_durable else None

    def hasten(self) -> None:
        """Deliver without a pause from now on: the process ends."""
        self._outlet.hasten()

    def wait_until_loaded(self, limit_s: float) -> None:
        """Wait until the modules for delivery are loaded, which began with the first call."""
        if self._outlet.pipeline is not None:
            self._outlet.pipeline.wait_until_prepared(limit_s)

    def close_within(self, limit_s: float) -> None:
        """Close as `close` does, in `limit_s` in all."""
        self.close(limit_s * 0.75, limit_s * 0.25)

    def open(self) -> "Start":
        """Choose the provider, once; a run's clock starts after it."""
        with self.lock:
            if self._opening:
                raise RuntimeError("Called while the client's provider is being chosen")
            if self.start is None:
                self._opening = True
                try:
                    self._outlet = provider.choose(self.route)
                except Exception as error:
                    # What cannot be set up is not tried at each call; what was interrupted is.
                    self.enabled = host_error(error) is not None
                    raise
                finally:
                    self._opening = False
                deliver_at_end(self)
                self.start = self._outlet.start
                _tell_lost()
            return self.start

    def stats(self) -> "Stats":
        """Read the counters."""
        return Stats(
            **self._outlet.count(),
            sequence=self._sequence,
            held=0 if self._judges is None else self._judges.waiting,
            open_runs=self.open_runs.count,
            trouble=trouble(),
            cost_p50_us=self.cost.quantile_us(0.5),
            cost_p99_us=self.cost.quantile_us(0.99),
        )

    def _beat(self, record: str) -> None:
        pipeline = self._outlet.pipeline
        lost = 0 if pipeline is None else sum(pipeline.counters.lost.values())
        self.send_record(record, None, {names.DROPPED: lost})


def _tell_lost() -> None:
    """Log which instrumentations write into nothing; where there are none, at no cost."""
    if _INSTRUMENTOR in sys.modules:
        instrumentations.tell_lost()


@functools.cache
def _tell_lost_at_end() -> None:
    """Look at the end, too: beside instrumentations a client may never open its provider."""
    atexit.register(_tell_lost)


def find_recorder(project: str, mark: int) -> Recorder | None:
    """Find the recorder of a living client by its project and `id`, else any of the project."""
    recorders = [recorder for recorder in list(_RECORDERS) if recorder.project == project]
    recorders.sort(key=lambda recorder: id(recorder) != mark)
    return recorders[0] if recorders else None


_RECORDERS: Final = renew_each_in_child(Recorder.restart_in_child)
