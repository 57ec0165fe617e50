"""Makes the spans of one client: provider, sequence numbers, judges, and the end of the process."""

import atexit
import itertools
import os
import secrets
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider

from otel_ml import attributes as names
from otel_ml.errors import report
from otel_ml.sampling import keep
from otel_ml.wire import Attributes

if TYPE_CHECKING:
    from otel_ml.judge_pool import JudgePool
    from otel_ml.provider import Chosen


_CLOSE_S: Final = 10.0
_TELL_EVERY_S: Final = 300.0
_TOLD: Final = 10_000


class _Process:
    """This process as the wire names it; a forked child gets a new name and starts at 1."""

    def __init__(self) -> None:
        self.renew()
        if hasattr(os, "register_at_fork"):  # not on Windows
            os.register_at_fork(after_in_child=self.renew)

    def renew(self) -> None:
        self.id = secrets.token_hex(4)
        self._seq: defaultdict[str, itertools.count[int]] = defaultdict(lambda: itertools.count(1))

    def next_seq(self, project: str) -> int:
        return next(self._seq[project])


_PROCESS: Final = _Process()


class Recorder:
    """Opens its provider at the first span, so that making a client costs nothing.

    Args:
        project: The project of every span.
        choose: Chooses the provider; called once, at the first span.
    """

    def __init__(self, project: str, choose: "Callable[[], Chosen]") -> None:
        self.project = project
        self.enabled = os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() != "true"
        self._choose = choose
        self._chosen: Chosen | None = None
        self._tracer: trace.Tracer | None = None
        self._told: dict[tuple[str, str], float] = {}
        self._lock = threading.Lock()
        self._judges: JudgePool | None = None
        self._closed = False

    @property
    def judges(self) -> "JudgePool":
        """The threads on which judges run; there are none before the first judged call."""
        if self._judges is None:
            from otel_ml.judge_pool import JudgePool  # a client without judges loads none of it

            with self._lock:
                if self._judges is None:
                    self._judges = JudgePool()
        return self._judges

    def start_span(
        self,
        name: str,
        *,
        context: Context | None = None,
        start_ns: int | None = None,
        attributes: Attributes | None = None,
        kept: bool = False,
    ) -> trace.Span:
        """Start a span of ours; the sampler sees its project and `attributes`, unless `kept`."""
        tracer = self._tracer or self.open()
        return tracer.start_span(
            name,
            context=keep(context) if kept else context,
            attributes={names.PROJECT: self.project, **(attributes or {})},
            start_time=start_ns,
            record_exception=False,
            set_status_on_exception=False,
        )

    def send_record(
        self,
        record: str,
        context: Context,
        attributes: Attributes,
        event: tuple[str, Attributes] | None = None,
    ) -> None:
        """Send a zero-length span about the run in `context`, with at most one event."""
        now_ns = time.time_ns()
        span = self.start_span(f"otel_ml.{record}", context=context, start_ns=now_ns, kept=True)
        if event is not None:
            span.add_event(event[0], event[1], timestamp=now_ns)
        span.set_attributes({**attributes, names.RECORD: record, **self.stamp()})
        span.end(end_time=now_ns)

    def is_due(self, name: str, digest: str) -> bool:
        """Tell whether the definition of this version is to be sent now.

        It is due at the first run of a version in the process and every 5 minutes after, so
        that a collector which missed the first one learns it.
        """
        now_s = time.monotonic()
        key = (name, digest)
        if now_s - self._told.get(key, -_TELL_EVERY_S) < _TELL_EVERY_S:
            return False
        if len(self._told) >= _TOLD:
            self._told.clear()
        self._told[key] = now_s
        return True

    def stamp(self) -> dict[str, str | int]:
        """Name this process and take the next sequence number of the project."""
        return {
            names.PROJECT: self.project,
            names.PROCESS: _PROCESS.id,
            names.SEQ: _PROCESS.next_seq(self.project),
        }

    def flush(self, timeout_s: float) -> bool:
        """Wait for judges, then deliver what is queued; returns whether all of it went out."""
        judged = self._judges is None or self._judges.drain(timeout_s)
        chosen = self._chosen
        if chosen is None:
            return judged
        if chosen.sender is not None:
            return chosen.sender.flush(timeout_s) and judged
        if isinstance(chosen.provider, TracerProvider):  # a joined one sends, or nobody does
            return chosen.provider.force_flush(int(timeout_s * 1e3)) and judged and not chosen.own
        return judged

    def close(self) -> None:
        """Let every held run go, deliver, and stop. A second call does nothing. Never raises."""
        if self._judges is not None:
            self._judges.close()
        chosen = self._chosen
        if chosen is None or self._closed:
            return
        self._closed = True
        try:
            if chosen.sender is not None and chosen.own:
                chosen.sender.exporter.give_up_after(_CLOSE_S)
            if chosen.own and isinstance(chosen.provider, TracerProvider):
                chosen.provider.shutdown()
            elif chosen.sender is not None:
                chosen.sender.flush(_CLOSE_S)
        except Exception as error:  # noqa: BLE001 - any exporter of the user's
            report("close", error)

    def open(self) -> trace.Tracer:
        """Choose the provider, once; a run's clock starts after it."""
        if self._tracer is not None:
            return self._tracer
        with self._lock:
            if self._tracer is None:
                self._chosen = self._choose()
                self._tracer = self._chosen.provider.get_tracer(
                    names.SCOPE_NAME, _own_version(), attributes={names.PROJECT: self.project}
                )
                # Now, not earlier: what is registered last ends first, and a joined provider
                # must not end before us.
                atexit.register(self.close)
                _close_with_child(self)
            return self._tracer


def _close_with_child(recorder: "Recorder") -> None:
    """Children of `multiprocessing` end without `atexit`, by finalizers of its own."""
    util = sys.modules.get("multiprocessing.util")
    if util is None:
        return

    def arrange(recorder: "Recorder") -> None:
        util.Finalize(None, recorder.close, exitpriority=0)

    util.register_after_fork(recorder, arrange)
    if util.process.parent_process() is not None:
        arrange(recorder)


def _own_version() -> str:
    from importlib.metadata import PackageNotFoundError, version  # 12 ms, at the first call

    try:
        return version("otel-ml")
    except PackageNotFoundError:  # run from a source tree
        return "0"
