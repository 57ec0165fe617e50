"""The recorder of a client: starts spans, numbers them and watches open runs.

The tracer provider is chosen when the first span starts, so that creating a client costs nothing.
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
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from opentelemetry import context as context_api
from opentelemetry import trace
from opentelemetry.context import Context

from otel_ml import attributes as names
from otel_ml.errors import host_error, quiet, trouble, warn_once
from otel_ml.export.delivery import Counters, Delivery, join
from otel_ml.late import late
from otel_ml.outlet import NOWHERE, Outlet, Route
from otel_ml.process import PROCESS, deliver_at_end, renew_each_in_child
from otel_ml.redaction import Redaction
from otel_ml.spans import RunSpan, Start, write
from otel_ml.versions.pending_runs import PENDING_RUNS
from otel_ml.wire import Attributes, Event, weigh
from otel_ml.worker import Worker

if TYPE_CHECKING:
    from otel_ml import instrumentations, pickling, provider
    from otel_ml.export import documents
    from otel_ml.export.pipeline import Pipeline
    from otel_ml.judges import pool
else:
    documents = late("export.documents")
    instrumentations = late("instrumentations")
    pickling = late("pickling")
    pool = late("judges.pool")
    provider = late("provider")

SEND_EVERY_NS: Final = 300 * 1_000_000_000
HEARTBEAT_S: Final = 60.0
_ROOM_S: Final = 30.0
_WEIGHTS_S: Final = 2.0  # seconds that a flush waits for digests of model weights
_CLOSE_S: Final = 10.0
_JUDGES_S: Final = 2.0
_ANNOUNCE_AFTER_NS: Final = 2_000_000_000
_TICK_S: Final = 0.2
_IDLE_TICK_S: Final = 1.0  # shorter than `_ANNOUNCE_AFTER_NS`, so that no run is announced later
_REST_AFTER_S: Final = 5.0
_MOST_DEFINITIONS: Final = 10_000
_COSTS: Final = 1_024
_INSTRUMENTOR: Final = "opentelemetry.instrumentation.instrumentor"
_PAUSED_KEY: Final = context_api.create_key("otel_ml-paused")


@dataclass(frozen=True, slots=True)
class Stats:
    """Counters of a client since the process started, as returned by `Client.stats`.

    Attributes:
        configuration: Settings in effect, by name: tracer provider, endpoint, queue limits.
        sequence: Number of the newest run or record. Each process numbers the project's runs and
            records from 1.
        delivered: Number of spans and separately uploaded values that the collector or exporter
            accepted.
        lost: Number of spans that are lost for good, by reason. Lost uploads have reasons that
            start with ``artifact:``.
        retries: Number of requests that were sent again.
        blocked_ms: Total time in ms that calls waited for space in the queue.
        queued: Number of spans waiting for delivery, in memory or on disk.
        pending: Number of calls whose judges have not finished.
        open_runs: Number of runs that have not ended.
        trouble: Number of errors inside otel-ml that your program did not see, by place.
        cost_p50_us: Median time that otel-ml adds to a call, in microseconds, over the last 1,024
            calls; None before the first call.
        cost_p99_us: 99th percentile of that time, over the same calls.
    """

    configuration: Mapping[str, object] = field(default_factory=dict)
    sequence: int = 0
    delivered: int = 0
    lost: Mapping[str, int] = field(default_factory=dict)
    retries: int = 0
    blocked_ms: float = 0.0
    queued: int = 0
    pending: int = 0
    open_runs: int = 0
    trouble: Mapping[str, int] = field(default_factory=dict)
    cost_p50_us: float | None = None
    cost_p99_us: float | None = None


class Cost:
    """Measures how much time otel-ml adds to each call. It keeps the last 1,024 calls."""

    def __init__(self) -> None:
        self._kept: deque[int] = deque(maxlen=_COSTS)
        self.add = self._kept.append  # adds a duration in ns; atomic

    def quantile_us(self, share: float) -> float | None:
        """Return a quantile of the cost in microseconds, or None before the first call."""
        kept = sorted(self._kept.copy())
        return kept[min(int(len(kept) * share), len(kept) - 1)] / 1e3 if kept else None


class OpenRun(Protocol):
    """A run that has started and may not have ended yet."""

    @property
    def start_ns(self) -> int:
        """Start time in ns since the epoch."""

    def announce(self) -> None:
        """Send a record that the run has started."""

    def end(self, error: BaseException | None = None) -> None:
        """End the run, if `Client.run` opened it."""

    def send_waiting(self, *, at_once: bool = False) -> None:
        """Send the tags, text and metrics added since the last update, if an update is due.

        With `at_once`, send them immediately.
        """


class RunChecker(Protocol):
    """Checks ended runs in a background thread, for example against a profile."""

    def see(self, model: object, run_id: str, facts: Mapping[str, Any]) -> None:
        """Queue an ended run, given its model, ID and attributes."""

    def drain(self, timeout_s: float) -> int:
        """Wait until the queued runs are checked, and return how many are left."""

    def close(self, timeout_s: float) -> None:
        """Wait up to `timeout_s` seconds for the queued runs, then stop."""


class OpenRuns:
    """Reports long runs to the collector before they end, from a background thread.

    A span is sent only when it ends. Without this report, a run that hangs or is killed would never
    appear. A traced call is reported after 2 s, a run of `Client.run` immediately. While such runs
    are open, the thread sends heartbeats, which show that the process is still alive.

    Args:
        beat: Function that sends a ``heartbeat`` (the process is alive) or a ``goodbye`` (it ends).
        heartbeat_s: Seconds between heartbeats.
    """

    def __init__(self, beat: Callable[[str], None], heartbeat_s: float = HEARTBEAT_S) -> None:
        self._beat = beat
        self._heartbeat_s = heartbeat_s
        self._watch = Worker("otel-ml-open-runs", self._run)
        self.restart_in_child()

    def restart_in_child(self) -> None:
        """Forget all runs in a forked child. They belong to the parent."""
        self._open: dict[OpenRun, None] = {}
        self._by_hand: dict[int, weakref.ref[OpenRun]] = {}
        self._announced: set[OpenRun] = set()
        self._closed = False
        self._beat_at_s: float | None = None  # None until the first start record is sent

    def add(self, run: OpenRun) -> None:
        """Watch a traced call from its start."""
        self._open[run] = None
        if self._watch.is_asleep:
            self._wake()

    def remove(self, run: OpenRun) -> None:
        """Forget a run that ended. Unknown runs are ignored."""
        if self._open.pop(run, run) is run:
            self._by_hand.pop(id(run), None)

    def announce(self, run: OpenRun) -> None:
        """Add a run that `Client.run` opened, and report its start immediately."""
        self._by_hand[id(run)] = weakref.ref(run)
        self._announce(run)
        self._wake()

    def end_at_exit(self, run: OpenRun) -> None:
        """Remember a run whose start time the user passed, to end it when the process exits.

        The start of such a run is not reported to the collector, because it is in the past.
        """
        self._by_hand[id(run)] = weakref.ref(run)

    def _announce(self, run: OpenRun) -> None:
        if self._beat_at_s is None:
            self._beat_at_s = time.monotonic()
        run.announce()

    @property
    def count(self) -> int:
        """Number of open runs."""
        return len(self._open) + len(self._by_hand)

    def opened_by_hand(self) -> list[OpenRun]:
        """Return the open runs that `Client.run` opened."""
        items = [made() for made in list(self._by_hand.values())]
        return [run for run in items if run is not None]

    def send_waiting(self) -> None:
        """Send the tags, text and metrics that open runs have added since their last update."""
        for run in [*self._open, *self.opened_by_hand()]:
            run.send_waiting(at_once=True)

    def close(self) -> None:
        """End the runs that `Client.run` opened, and report to the collector that the process ends.

        If the process ends because of an uncaught exception, these runs fail with that exception.
        Calls of traced functions are not ended here.
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

    # Methods of the background thread.

    def _run(self) -> None:
        idle_since = time.monotonic()
        while not self._watch.is_stopping:
            if not self.count:
                self._watch.pause(_IDLE_TICK_S)
            # A new run ends the idle pause early. A short run ends during the next pause and then
            # sends all it logged at once.
            self._watch.pause(_TICK_S)
            with quiet("open runs"):
                self._check()
            if self.count:
                idle_since = time.monotonic()
            elif time.monotonic() - idle_since >= _REST_AFTER_S:
                self._watch.rest(lambda: self.count)
                idle_since = time.monotonic()

    def _check(self) -> None:
        before_ns = time.time_ns() - _ANNOUNCE_AFTER_NS
        announced = list(self._announced)
        for run in [*self._open, *self.opened_by_hand()]:
            with quiet("open runs"):  # an error in one run must not affect the others
                if run in self._open and run not in self._announced and run.start_ns <= before_ns:
                    self._announced.add(run)
                    self._announce(run)
                run.send_waiting()
        self._announced.difference_update([run for run in announced if run not in self._open])
        due = (
            self._beat_at_s is not None and time.monotonic() - self._beat_at_s >= self._heartbeat_s
        )
        if due and (self._announced or self._by_hand):
            self._beat_at_s = time.monotonic()
            self._beat("heartbeat")


class Recorder:
    """Creates and sends the runs of a client. Each client has one recorder.

    It decides at its first span where to send spans: to a collector or another tracer provider.

    Attributes:
        enabled: False if nothing is ever recorded. Reasons are ``OTEL_SDK_DISABLED``, a failed
            setup, or a recorder that was unpickled in a process in which it cannot send.
        pauses: Number of ``with`` blocks of `disabled` that are active now.
        diverted: Recorder that receives new runs instead of this one during a test, see
            `otel_ml.testing`; otherwise None.
        start: Function that starts a span; None before the first one.
        watch: Checks each ended run in the background, for example against a profile; None if no
            check is set.
        lock: Lock to hold while adding data to a run.
        identity: Attributes that identify project and process. In a forked child it is a new
            object, so a run can tell that it was opened in the parent process.

    Args:
        route: The user's settings for where to send spans.
        redaction: Hides secrets. Default: hides values under keys such as ``password``.
    """

    def __init__(self, route: Route, redaction: Redaction | None = None) -> None:
        self.project = route.project
        self.redaction = Redaction() if redaction is None else redaction
        self.enabled = os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() != "true"
        self.pauses = 0
        self.diverted: Recorder | None = None
        self.start: Start | None = None
        self.watch: RunChecker | None = None
        self.open_runs = OpenRuns(self._beat)
        self.cost = Cost()
        self.route = route
        self._outlet: Outlet = NOWHERE
        self._failure = ""
        self._missed = Counters()
        self._judges: pool.JudgePool | None = None
        self._closing = False
        self._closed = threading.Event()
        self._opening = False
        # reentrant: the garbage collector may run a finalizer that records while this thread holds
        # it
        self.lock = threading.RLock()
        self._shared_provider: trace.TracerProvider | None = None
        self._begin()
        _RECORDERS.add(self)
        if self.enabled:
            _warn_lost_at_end()

    def restart_in_child(self) -> None:
        """Reset the recorder in a forked child, where a copied lock may be locked forever."""
        self.lock = threading.RLock()
        self._opening = False
        self._closing = self._closed.is_set()
        self._closed = threading.Event()
        if self._closing:
            self._closed.set()
        self.open_runs.restart_in_child()
        self._begin()

    def __reduce__(self) -> Any:
        """Pickle the recorder as a `PickledRecorder`. Keys and exporters stay in this process."""
        route, redaction = self.route, self.redaction
        sends_elsewhere = (
            route.exporter is not None
            or route.tracer_provider is not None
            or (self._outlet.joined is not None and self._outlet.pipeline is None)
        )
        can_be_made = self.enabled and not sends_elsewhere and pickling.can_pickle(redaction)
        pickled = PickledRecorder(
            id(self),
            replace(route, api_key=None, exporter=None, tracer_provider=None),
            redaction if can_be_made else None,
            needs_key=route.api_key is not None,
        )
        return _unpickle_recorder, (pickled,)

    def _begin(self) -> None:
        """Set up the state that each process has of its own."""
        self.identity = {names.PROJECT: self.project, names.PROCESS: PROCESS.id}
        self._numbers = PROCESS.count_of(self.project)
        self._sequence = 0
        self._definitions_sent: dict[Hashable, int] = {}

    @property
    def in_force(self) -> "Recorder":
        """The recorder for runs that start now: this one, or `diverted` during a test."""
        return self.diverted or self

    @property
    def page(self) -> str:
        """Base URL of the collector's pages; empty if there is no collector.

        It is known before the first span.
        """
        outlet = self._outlet
        if outlet is NOWHERE:
            return provider.expected_page(self.route)
        return "" if outlet.uploads is None else str(outlet.configuration["endpoint"])

    @property
    def tracer_provider(self) -> trace.TracerProvider:
        """A tracer provider for other instrumentations, see `Client.tracer_provider`."""
        if not self.enabled:
            return trace.NoOpTracerProvider()
        if self.start is None:
            self.open()
        with self.lock:
            if self._shared_provider is None:
                self._shared_provider = instrumentations.make_provider(
                    self.project, self._outlet, self.redaction, lambda: self.active() is self
                )
            return self._shared_provider

    @property
    def judges(self) -> "pool.JudgePool":
        """The thread pool that runs judges, created on first use."""
        if self._judges is None:
            with self.lock:
                if self._judges is None:
                    self._judges = pool.JudgePool()
        return self._judges

    @contextmanager
    def disabled(self) -> Iterator[None]:
        """Record no runs that start inside the block, in the current task or thread."""
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
        """Whether to add short previews to long payloads, see `Outlet.wants_previews`."""
        return self._outlet.wants_previews

    def active(self) -> "Recorder | None":
        """Return the recorder for a run that starts now, or None if nothing is recorded."""
        recorder = self.diverted or self
        return None if not recorder.enabled or (self.pauses and self._is_paused()) else recorder

    def _is_paused(self) -> bool:
        """Return whether the current context is inside a `disabled` block."""
        return context_api.get_value(_PAUSED_KEY) is self

    def miss(self, error: BaseException | None = None) -> None:
        """Count a run as lost because an error prevented its recording.

        Runs inside a `disabled` block are not counted.

        Args:
            error: The error. With None, the error with which the client's setup failed is used.
        """
        recorder = self.in_force
        reason = recorder._failure if error is None else type(error).__name__
        if reason and not self._is_paused():
            recorder._missed.lose(f"not recorded: {reason}", 1)

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
        """Send a record: a short span with data that the run's own span does not contain.

        For example, a score that was computed after the run was sent.

        Args:
            record: Type of record: start, update, evaluation, heartbeat or goodbye.
            about: Span of the run that the record belongs to. None if it belongs to no run. The
                record then gets a new trace.
            attributes: Attributes of the record.
            events: Events of the record: name, attributes, time in ns.
            at_ns: Time of the record in ns. Default: now.
            link: A related span, recorded as a link.
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
        """Upload a value that is too large for a span event.

        Args:
            sha256: SHA-256 of the value's JSON, in hex.
            document: The value as JSON.

        Returns:
            Address of the value. None if the upload queue is full or spans do not go to a
            collector.
        """
        if self.start is None:
            self.open()
        uploads = self._outlet.uploads
        return None if uploads is None else uploads.put(documents.HashedText(sha256, document))

    def check_due(self, key: Hashable, now_ns: int) -> int | None:
        """Decide whether to send a definition now, such as the source of a model version.

        A definition is sent when the process first uses it. It is sent again every 5 minutes, in
        case the collector missed it.

        Args:
            key: Identifies the definition.
            now_ns: Current time in ns.

        Returns:
            None if you must send it now. Otherwise the time in ns at which you must send it again.
        """
        sent_ns = self._definitions_sent.get(key)
        if sent_ns is not None and now_ns - sent_ns < SEND_EVERY_NS:
            return sent_ns + SEND_EVERY_NS
        if len(self._definitions_sent) >= _MOST_DEFINITIONS:
            self._definitions_sent.clear()
        self._definitions_sent[key] = now_ns
        return None

    def forget(self, key: Hashable) -> None:
        """Mark a definition as not sent, because sending failed after `check_due`."""
        self._definitions_sent.pop(key, None)

    def count(self) -> int:
        """Return the next sequence number of the project."""
        self._sequence = number = next(self._numbers)
        return number

    def flush(self, timeout_s: float, *, is_hasty: bool = False) -> "Delivery":
        """Wait for running judges, then send everything that is queued.

        Args:
            timeout_s: Longest time to wait, in seconds.
            is_hasty: Return as soon as the connection to the collector is refused.

        Returns:
            How many spans were delivered, are pending or were lost.
        """
        deadline = time.monotonic() + timeout_s
        waiting = 0
        if self._judges is not None and not self._judges.drain(timeout_s):
            waiting = self._judges.waiting
        PENDING_RUNS.close(min(max(deadline - time.monotonic(), 0), _WEIGHTS_S))
        if self.watch is not None:
            waiting += self.watch.drain(max(deadline - time.monotonic(), 0))
        missed = replace(self._missed.deliver_news(0, ""), pending=waiting)
        if self._outlet is NOWHERE:
            return missed
        self._send_waiting()
        delivery = self._outlet.flush(max(deadline - time.monotonic(), 0.1), is_hasty=is_hasty)
        return join(delivery, missed) if missed.lost or waiting else delivery

    @quiet("drain")
    def drain(self, timeout_s: float) -> None:
        """Send everything queued, so that it can be read back from the collector.

        The outcome is not returned here. The next `flush` includes it.
        """
        if self._outlet is not NOWHERE:
            self._send_waiting()
            self._outlet.drain(timeout_s)

    @quiet("flush")
    def _send_waiting(self) -> None:
        self.open_runs.send_waiting()

    def make_room(self) -> None:
        """Wait for a limited time until the queue is empty.

        Do not wait if the collector accepts no spans at the moment.
        """
        pipeline = self._outlet.pipeline
        if pipeline is not None and not pipeline.is_stalled:
            self.drain(_ROOM_S)

    def close(
        self,
        timeout_s: float = _CLOSE_S,
        judges_s: float = _JUDGES_S,
        *,
        is_patient: bool = True,
    ) -> None:
        """Send everything that is queued, and stop. Never raises.

        If another thread is already closing the recorder, the call waits until it is done.

        Args:
            timeout_s: Longest time to wait for the delivery, in seconds.
            judges_s: Longest time to wait for judges. After that, runs are sent without the missing
                scores.
            is_patient: Whether to wait longer than `timeout_s` if the collector asks to retry
                later.
        """
        with self.lock:
            if self._outlet is NOWHERE:  # nothing was recorded yet, so there is nothing to stop
                return
            first, self._closing = not self._closing, True
        if not first:
            self._closed.wait(timeout_s)
            return
        try:
            with quiet("close"):
                if self._judges is not None:
                    self._judges.close(judges_s)
                PENDING_RUNS.close(judges_s)
                if self.watch is not None:
                    self.watch.close(judges_s)
                self.open_runs.close()
                self._outlet.close(timeout_s, is_patient=is_patient)
        finally:
            self._closed.set()

    @property
    def spooled(self) -> "Pipeline[Any] | None":
        """The pipeline if spans are kept on disk (`Client` has a `spool`), else None."""
        pipeline = self._outlet.pipeline
        return pipeline if pipeline is not None and pipeline.is_durable else None

    @property
    def defers_logs(self) -> bool:
        """Whether logged values may be converted to files later, by the thread that sends.

        False if spans go to your service's own tracer provider. Also False with a `spool` (a queue
        on disk), because values must be on disk when `Run.log` returns.
        """
        outlet = self._outlet
        is_own = outlet.pipeline is not None and outlet.joined is None
        return is_own and outlet.uploads is not None and self.spooled is None

    def hasten(self) -> None:
        """Send queued spans immediately instead of in batches.

        Called when the process is ending.
        """
        self._outlet.hasten()

    def wait_until_loaded(self, limit_s: float) -> None:
        """Wait up to `limit_s` seconds for the imports that sending needs.

        The imports start in the background at the first recorded call.
        """
        if self._outlet.pipeline is not None:
            self._outlet.pipeline.wait_until_prepared(limit_s)

    def close_within(self, limit_s: float) -> None:
        """Close like `close`, in at most `limit_s` seconds in total."""
        self.close(limit_s * 0.75, limit_s * 0.25, is_patient=False)

    def open(self) -> "Start":
        """Connect the client if it is not connected yet, and return the function that starts spans.

        Call this before you take the start time of a run. Otherwise the time for connecting would
        count as part of the run.
        """
        with self.lock:
            if self._opening:
                raise RuntimeError("A run was started while its client chooses a tracer provider")
            if self.start is None:
                self._opening = True
                try:
                    self._outlet = provider.choose(self.route)
                except Exception as error:
                    # do not retry a failed setup at each call, but do retry an interrupted one
                    self.enabled = host_error(error) is not None
                    self._failure = "" if self.enabled else type(error).__name__
                    raise
                finally:
                    self._opening = False
                deliver_at_end(self)
                self.start = self._outlet.start
                _warn_lost()
            return self.start

    def redirect(self) -> None:
        """Send to the endpoint that the environment names now, unless the client was given one.

        If the service's own tracer provider sends the spans, the client sends them, too.
        """
        with self.lock:
            if self._outlet is NOWHERE or self._closing:
                return
            if self._outlet.pipeline is None:
                self.start = None
                self.open()
            else:
                provider.redirect(self._outlet, self.route)

    def stats(self) -> "Stats":
        """Return the counters for `Client.stats`."""
        counted = self._outlet.count()
        return Stats(
            **{**counted, "lost": {**counted["lost"], **self._missed.lost}},
            sequence=self._sequence,
            pending=0 if self._judges is None else self._judges.waiting,
            open_runs=self.open_runs.count,
            trouble=trouble(),
            cost_p50_us=self.cost.quantile_us(0.5),
            cost_p99_us=self.cost.quantile_us(0.99),
        )

    def _beat(self, record: str) -> None:
        pipeline = self._outlet.pipeline
        lost = 0 if pipeline is None else sum(pipeline.counters.lost.values())
        self.send_record(record, None, {names.DROPPED: lost})


def _warn_lost() -> None:
    """Warn about instrumentations that lose their spans. Free if none is loaded."""
    if _INSTRUMENTOR in sys.modules:
        instrumentations.warn_lost()


@functools.cache
def _warn_lost_at_end() -> None:
    """Run the same check at exit, because the client may never start a span."""
    atexit.register(_warn_lost)


class PickledRecorder(NamedTuple):
    """The pickled form of a recorder, without secrets.

    Unpickling it in the same process returns the original recorder. In another process, it returns
    a recorder with the same settings.

    Attributes:
        mark: `id()` of the recorder, to find it in the same process.
        route: Where to send spans, without API key, exporter and tracer provider.
        redaction: Hides secrets. None if another process must not record. There are three reasons:
            the recorder is disabled, it sends spans through your own exporter or tracer provider,
            or its `redact` function cannot be pickled.
        needs_key: Whether the recorder has an API key. The key is not pickled, so the other process
            needs its own.
    """

    mark: int
    route: Route
    redaction: Redaction | None
    needs_key: bool


def drain_all(timeout_s: float) -> None:
    """Send what each recorder has queued, see `Recorder.drain`.

    Args:
        timeout_s: Longest time for all of them together, in seconds.
    """
    until = time.monotonic() + timeout_s
    for recorder in list(_RECORDERS):
        recorder.drain(max(until - time.monotonic(), 0.0))


def redirect_all() -> None:
    """Let each recorder send to the endpoint that the environment names now, see `redirect`."""
    for recorder in list(_RECORDERS):
        with quiet("redirect"):
            recorder.redirect()


def _unpickle_recorder(pickled: PickledRecorder) -> Recorder:
    """Return this process's recorder for the project. Create one if there is none.

    If this process cannot record the calls, it logs the reason once. The returned recorder is then
    disabled.
    """
    route = pickled.route
    recorders = [item for item in list(_RECORDERS) if item.project == route.project]
    if recorders:
        return min(recorders, key=lambda item: (id(item) != pickled.mark, not item.enabled))
    api_key = os.environ.get("OTEL_ML_API_KEY")
    made = _UNPICKLED[route.project] = Recorder(replace(route, api_key=api_key), pickled.redaction)
    if pickled.redaction is None or (pickled.needs_key and not api_key):
        made.enabled = False
        missing = "a Client of this project" if pickled.redaction is None else "OTEL_ML_API_KEY"
        warn_once(
            "Calls of unpickled functions of project %s are not recorded here: expected %s in this "
            "process",
            route.project,
            missing,
        )
    return made


_RECORDERS: Final = renew_each_in_child(Recorder.restart_in_child)
# kept, so that each function that is unpickled later uses the same one
_UNPICKLED: Final[dict[str, Recorder]] = {}
