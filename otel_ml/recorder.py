"""Records the runs of one client: its provider, its pipeline, its judges."""

import os
import threading
import time
import weakref
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import context as context_api
from opentelemetry import trace
from opentelemetry.context import Context

from otel_ml import attributes as names
from otel_ml.cost import Cost
from otel_ml.errors import is_of_host, quiet, trouble
from otel_ml.process import PROCESS, deliver_at_end, renew_in_child
from otel_ml.redaction import Redaction
from otel_ml.spans import RunSpan, write
from otel_ml.unfinished import OpenRuns
from otel_ml.wire import Attributes, Event, weigh

if TYPE_CHECKING:
    from otel_ml.export.delivery import Delivery
    from otel_ml.export.pipeline import Pipeline
    from otel_ml.judges.pool import JudgePool
    from otel_ml.provider import Chosen
    from otel_ml.spans import Start
    from otel_ml.stats import Stats

_CLOSE_S: Final = 10.0
_JUDGES_S: Final = 2.0
TELL_EVERY_NS: Final = 300 * 1_000_000_000
_TOLD: Final = 10_000
_SEQ: Final = names.SEQ
_PAUSED_KEY: Final = context_api.create_key("otel_ml-paused")


class Recorder:
    """Opens its provider at the first span, so that making a client costs nothing.

    Attributes:
        enabled: False when nothing is ever recorded.
        pauses: How many blocks there are in which nothing is recorded, see `disabled`.
        diverted: Records in this one's place what begins now, see `otel_ml.testing`; or None.
        start: Starts spans, see `otel_ml.tracer.Start`; None before the first one.
        lock: Guards what several threads add to one run.
        identity: The attributes that name project and process; another object in each process,
            so that a forked child knows what it has not told.

    Args:
        project: The project of every span.
        choose: Chooses the provider; called once, at the first span.
        redaction: What it hides.
    """

    def __init__(
        self,
        project: str,
        choose: "Callable[[], Chosen]",
        redaction: Redaction | None = None,
    ) -> None:
        self.project = project
        self.redaction = Redaction() if redaction is None else redaction
        self.enabled = os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() != "true"
        self.pauses = 0
        self.diverted: Recorder | None = None
        self.start: Start | None = None
        self.open_runs = OpenRuns(self._beat)
        self.cost = Cost()
        self._choose = choose
        self._chosen: Chosen | None = None
        self._judges: JudgePool | None = None
        self._closing = False
        self._closed = threading.Event()
        self._opening = False
        # A finalizer that the garbage collector runs may record while this thread holds it.
        self.lock = threading.RLock()
        self._begin()
        _RECORDERS.add(self)

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
        """What records a run that begins now: this one, or another in its place."""
        return self.diverted or self

    @property
    def page(self) -> str | None:
        """Base address of the collector's pages; empty where spans go to none, None until known."""
        chosen = self._chosen
        if chosen is None:
            return None
        return "" if chosen.uploads is None else str(chosen.configuration["endpoint"])

    @property
    def judges(self) -> "JudgePool":
        """The threads on which judges run; there are none before the first judged call."""
        if self._judges is None:
            from otel_ml.judges.pool import JudgePool  # a client without judges loads none of it

            with self.lock:
                if self._judges is None:
                    self._judges = JudgePool()
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

    def active(self) -> "Recorder | None":
        """Return what records a run that begins now, see `in_force`; None where nothing does."""
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
        said: dict[str, Any] = {**attributes, names.RECORD: record}
        self.stamp(said)
        span = start(f"otel_ml.{record}", context, at_ns, self.identity, True)
        for name, told, time_ns in events:
            span.add_event(name, told, timestamp=time_ns)
        if link is not None:
            span.add_link(link.get_span_context())
        if type(span) is RunSpan:
            span.weight += weigh(said, events)
        write(span, said, self.identity)
        span.end(end_time=at_ns)

    def upload(self, sha256: str, document: bytes) -> str | None:
        """Send a document that is too long for an event.

        Returns:
            Its address; None where there is nobody who would store it, or no room for it.
        """
        if self.start is None:
            self.open()
        uploads = None if self._chosen is None else self._chosen.uploads
        if uploads is None:
            return None
        from otel_ml.export.documents import Document  # who uploads has loaded it

        return uploads.put(Document(sha256, document))

    def tell(self, key: Hashable, now_ns: int) -> int | None:
        """Tell whether the definition of a version is to be sent now.

        It is due at the first run of a version in the process and every 5 minutes after, so
        that a collector which missed the first one learns it.

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
        """Take back what `tell` noted: it could not be sent."""
        self._told.pop(key, None)

    def stamp(self, attributes: dict[str, Any]) -> None:
        """Write the next sequence number of the project."""
        attributes[_SEQ] = self._sequence = next(self._numbers)

    def flush(self, timeout_s: float) -> "Delivery":
        """Wait for judges, then deliver what is queued; tells what was delivered and what not."""
        from otel_ml.export.delivery import Delivery  # loaded with the first span otherwise

        deadline = time.monotonic() + timeout_s
        waiting = 0
        if self._judges is not None and not self._judges.drain(timeout_s):
            waiting = self._judges.waiting
        if self._chosen is None:
            return Delivery(pending=waiting)
        self._send_waiting()
        delivery = self._chosen.flush(max(deadline - time.monotonic(), 0.1))
        return replace(delivery, pending=delivery.pending + waiting) if waiting else delivery

    @quiet("flush")
    def _send_waiting(self) -> None:
        self.open_runs.send_waiting()

    def close(self, timeout_s: float = _CLOSE_S, judges_s: float = _JUDGES_S) -> None:
        """Let every held run go, deliver, and stop. Never raises.

        A second call waits for the first one, which may be at work on another thread.

        Args:
            timeout_s: For the delivery.
            judges_s: For judges that are at work or queued.
        """
        with self.lock:
            if self._chosen is None:  # nothing was recorded, something may yet be
                return
            first, self._closing = not self._closing, True
        if not first:
            self._closed.wait(timeout_s)
            return
        try:
            with quiet("close"):
                if self._judges is not None:
                    self._judges.close(judges_s)
                self.open_runs.close()
                self._chosen.close(timeout_s)
        finally:
            self._closed.set()

    @property
    def spooled(self) -> "Pipeline[Any] | None":
        """The pipeline, when it keeps on disk what a kill would lose."""
        pipeline = None if self._chosen is None else self._chosen.pipeline
        return pipeline if pipeline is not None and pipeline.is_durable else None

    def hasten(self) -> None:
        """Deliver without a pause from now on: the process ends."""
        if self._chosen is not None:
            self._chosen.hasten()

    def close_within(self, limit_s: float) -> None:
        """Do what `close` does in `limit_s` in all."""
        self.close(limit_s * 0.75, limit_s * 0.25)

    def open(self) -> "Start":
        """Choose the provider, once; a run's clock starts after it."""
        if self.start is not None:
            return self.start
        with self.lock:
            if self._opening:
                raise RuntimeError("Called while the client's provider is being chosen")
            if self.start is None:
                self._opening = True
                try:
                    self._chosen = self._choose()
                except Exception as error:
                    # What cannot be set up is not tried at each call; what was interrupted is.
                    self.enabled = is_of_host(error)
                    raise
                finally:
                    self._opening = False
                deliver_at_end(self)
                self.start = self._chosen.start
            return self.start

    def stats(self) -> "Stats":
        """Read the counters."""
        from otel_ml.stats import Stats  # a class that few ask for

        pipeline = None if self._chosen is None else self._chosen.pipeline
        counters = None if pipeline is None else pipeline.counters
        uploads = None if self._chosen is None else self._chosen.uploads
        sent = None if uploads is None else uploads.counters
        return Stats(
            configuration={} if self._chosen is None else self._chosen.configuration,
            sequence=self._sequence,
            delivered=sum(one.delivered for one in (counters, sent) if one is not None),
            lost={
                **({} if counters is None else counters.lost),
                **({} if uploads is None else uploads.lost),
            },
            retries=sum(one.retries for one in (counters, sent) if one is not None),
            blocked_ms=sum(one.blocked_s for one in (counters, sent) if one is not None) * 1e3,
            queued=sum(one.pending for one in (pipeline, uploads) if one is not None),
            held=0 if self._judges is None else self._judges.waiting,
            open_runs=self.open_runs.count,
            trouble=trouble(),
            cost_p50_us=self.cost.quantile_us(0.5),
            cost_p99_us=self.cost.quantile_us(0.99),
        )

    def _beat(self, record: str) -> None:
        pipeline = None if self._chosen is None else self._chosen.pipeline
        lost = 0 if pipeline is None else sum(pipeline.counters.lost.values())
        self.send_record(record, None, {names.DROPPED: lost})


def find_recorder(project: str, mark: int) -> Recorder | None:
    """Find the recorder of a living client by its project and `id`, else any of the project."""
    found = [recorder for recorder in list(_RECORDERS) if recorder.project == project]
    found.sort(key=lambda recorder: id(recorder) != mark)
    return found[0] if found else None


def _restart_in_child() -> None:
    for recorder in list(_RECORDERS):
        recorder.restart_in_child()


_RECORDERS: Final[weakref.WeakSet[Recorder]] = weakref.WeakSet()
renew_in_child(_restart_in_child)
