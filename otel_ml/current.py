"""The handle of a run: what is said of it while it goes on, and how it ends."""

import time
from collections.abc import Mapping, Sequence
from contextvars import Token
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Final

from opentelemetry import context as context_api
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Status, StatusCode

from otel_ml import attributes as names
from otel_ml.errors import report
from otel_ml.recorder import Recorder
from otel_ml.span import RunSpan, write
from otel_ml.tracer import SPAN_KEY
from otel_ml.values import clean
from otel_ml.wire import (
    Attributes,
    Point,
    Value,
    error_message,
    error_name,
    evaluation_attributes,
    exception_attributes,
    make_points,
    outcome_of,
    point_attributes,
    score_attributes,
    start_attributes,
    tag_attributes,
    tags_of,
)

if TYPE_CHECKING:
    from otel_ml.judge import Evaluation, Judge

_RUN_KEY: Final = context_api.create_key("otel_ml-run")
_EVENTS: Final = 64
_UPDATE_EVERY_NS: Final = 1_000_000_000
_UPDATE_POINTS: Final = 1_000
_LATENCY_MS: Final = names.LATENCY_MS
_OUTCOME: Final = names.OUTCOME


@dataclass(slots=True)
class _Growing:
    """What most runs never have: lines, metric points, a block that they are open for."""

    events: int = 0
    points: list[Point] = field(default_factory=list)
    last_update_ns: int = 0
    attached: Token[Context] | None = None


class Run:
    """One run while it is recorded.

    Nothing here raises into the host but `InvalidMetricError`. Tags and text travel with the
    run. Metric points are sent ahead of it, at most once a second and at its end.
    """

    __slots__ = (
        "_by_call",
        "_constants",
        "_ended",
        "_facts",
        "_growing",
        "_identity",
        "_recorder",
        "_span",
        "_start_ns",
        "_tags",
    )

    def __init__(
        self,
        recorder: Recorder | None,
        span: trace.Span,
        start_ns: int,
        constants: Mapping[str, Value],
        by_call: bool = False,
    ) -> None:
        self._recorder = recorder  # None for a run that is not recorded
        self._identity = None if recorder is None else recorder.identity
        self._span = span
        self._start_ns = start_ns  # 0 where the span is none of ours
        self._by_call = by_call
        self._constants = constants
        self._facts: dict[str, Value] = {}
        self._tags: dict[str, Value] | None = None
        self._growing: _Growing | None = None
        self._ended = False

    @property
    def id(self) -> str:
        """The run id, ``<32 hex>-<16 hex>``, as the API names it."""
        span = self._span.get_span_context()
        return f"{span.trace_id:032x}-{span.span_id:016x}"

    @property
    def trace_id(self) -> str:
        """The OpenTelemetry trace id, 32 hex digits."""
        return f"{self._span.get_span_context().trace_id:032x}"

    @property
    def is_recorded(self) -> bool:
        """False for a run that the sampler left out, and outside any run."""
        return self._recorder is not None

    def tag(self, tags: Mapping[str, object] | None = None, /, **more: object) -> None:
        """Set tags; the last value of a name stays. Values: str, number, bool; else their text."""
        if self._recorder is None:
            return
        try:
            given = tags_of({**(tags or {}), **more})
            if self._ended:
                self._update(tag_attributes(given))
            elif self._tags is None:
                self._tags = given
            else:
                self._tags.update(given)
        except Exception as error:  # noqa: BLE001 - telemetry never raises
            report("run.tag", error)

    def debug(self, text: str) -> None:
        """Add a line of text to the run."""
        self._log("debug", text)

    def info(self, text: str) -> None:
        """Add a line of text to the run."""
        self._log("info", text)

    def warning(self, text: str) -> None:
        """Add a line of text to the run."""
        self._log("warning", text)

    def error(self, text: str) -> None:
        """Add a line of text to the run. It does not change the run's outcome."""
        self._log("error", text)

    def log_metric(self, name: str, value: object, *, step: int | None = None) -> None:
        """Append one point, or a list of points, to the series `name`.

        Args:
            name: The metric.
            value: A number, or a list of numbers.
            step: What the point belongs to, such as an epoch.

        Raises:
            InvalidMetricError: The value is no number; nothing is logged.
        """
        self._add_points(make_points({name: value}, step, "append"))

    def log_metrics(self, values: Mapping[str, object], *, step: int | None = None) -> None:
        """Log several metrics of one moment.

        Args:
            values: Numbers by name, or lists of numbers. A number stays a single value while
                it is alone and becomes a series with the second one; a list is a series.
            step: What the points belong to, such as an epoch.

        Raises:
            InvalidMetricError: A value is no number; then none of `values` is logged.
        """
        self._add_points(make_points(values, step, "auto"))

    def end(self, error: BaseException | None = None) -> None:
        """End the run now, failed when an error is given. A second call does nothing.

        The run of a traced call ends with that call.
        """
        if not self._ended and not self._by_call:
            end_ns = time.time_ns()
            self.close(end_ns, error)
            self.hand_over(end_ns)

    def __enter__(self) -> "Run":
        """Make this the current run and its span the current span."""
        context = self.context_in(context_api.get_current())
        self._grow().attached = context_api.attach(context)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        stack: TracebackType | None,
    ) -> None:
        """End the run; an exception of the block becomes its outcome and goes on."""
        attached = self._grow().attached
        if attached is not None:
            context_api.detach(attached)
        self.end(error)

    # What follows is for the code that opens and ends runs, not for the code that is traced.

    @property
    def start_ns(self) -> int:
        """When the run began."""
        return self._start_ns

    def context_in(self, current: Context) -> Context:
        """Return `current` with this run and its span as the innermost ones.

        The run keeps no context: it would be a cycle, which only the garbage collector ends.
        """
        return Context({**current, SPAN_KEY: self._span, _RUN_KEY: self})

    def describe(self, facts: Mapping[str, Value]) -> None:
        """Keep attributes of the run; they are written when it ends."""
        self._facts.update(facts)

    def close(self, end_ns: int, error: BaseException | None = None) -> None:
        """Fix outcome and latency: a judge that speaks later does not lengthen the run."""
        self._ended = True
        recorder = self._recorder
        if recorder is None:
            return
        if recorder.identity is not self._identity:
            # A child that was forked within the run leaves it: its parent ends it.
            self._recorder, self._start_ns = None, 0
            return
        try:
            recorder.open_runs.remove(self)
            facts = self._facts
            facts[_LATENCY_MS] = (end_ns - self._start_ns) / 1e6
            if error is None:
                facts[_OUTCOME] = "ok"
            else:
                facts[_OUTCOME] = outcome = outcome_of(error)
                if outcome != "abandoned":
                    self._set_error(outcome, error, end_ns)
            recorder.stamp(facts)
        except Exception as problem:  # noqa: BLE001 - telemetry never raises
            report("run.end", problem)

    def hand_over(
        self,
        end_ns: int,
        evaluations: "Sequence[Evaluation]" = (),
        definitions: Mapping[str, str] | None = None,
    ) -> None:
        """Give the closed run to the span processors, with the scores that are known now."""
        try:
            if self._recorder is not None:
                if self._growing is not None:
                    self._send_points(self._growing)
                attributes = self._attributes(evaluations, definitions)
                write(self._span, attributes, self._constants)
        except Exception as problem:  # noqa: BLE001 - telemetry never raises
            report("run.write", problem)
        try:
            if self._start_ns:
                self._span.end(end_time=end_ns)
        except Exception as problem:  # noqa: BLE001 - any processor of the host's
            report("run.end", problem)

    def _attributes(
        self,
        evaluations: "Sequence[Evaluation]" = (),
        definitions: Mapping[str, str] | None = None,
    ) -> dict[str, Value]:
        """Join all that is known; tags and scores first, which a full span drops first."""
        if self._tags is None and not evaluations:
            return self._facts
        attributes = tag_attributes(self._tags or {})
        if evaluations:
            attributes.update(score_attributes(evaluations, definitions or {}))
        attributes.update(self._facts)
        return attributes

    def weigh(self, size: int) -> None:
        """Say that the run carries a payload of that many characters."""
        if type(self._span) is RunSpan:
            self._span.weight += size

    def send_evaluation(self, evaluation: "Evaluation", definition: str | None) -> None:
        """Send a score that came after the run was handed over."""
        if self._recorder is not None:
            attributes = evaluation_attributes(evaluation, self._start_ns, definition)
            self._recorder.send_record("evaluation", self._span, attributes)

    def tell_open(self) -> None:
        """Say at once that the run is open: it was opened by hand, it may last."""
        try:
            if self._recorder is not None:
                self._recorder.open_runs.announce(self)
        except Exception as error:  # noqa: BLE001 - telemetry never raises
            report("run", error)

    def hold(self, judges: "Sequence[Judge]", end_ns: int) -> None:
        """Keep the run on disk, when there is a spool, for the case of a kill.

        It says of each judge that it is lost; what it says of itself later takes its place.
        """
        pipeline = None if self._recorder is None else self._recorder.spooled
        if pipeline is None or type(self._span) is not RunSpan:
            return
        from otel_ml.judge import Evaluation  # who has judges has loaded it

        lost = [
            Evaluation(judge.name, judge.version, error="lost: the process ended before it spoke")
            for judge in judges
        ]
        attributes = {**self._attributes(lost), **self._constants}
        pipeline.hold(self._span.copy(attributes, end_ns))

    def send_waiting(self) -> None:
        """Send metric points that have waited for a second."""
        growing = self._growing
        if growing is not None and growing.points:
            waited_ns = time.time_ns() - growing.last_update_ns
            if waited_ns >= _UPDATE_EVERY_NS:
                self._send_points(growing)

    def announce(self) -> None:
        """Say that the run is open, to whom it is not yet told."""
        recorder = self._recorder
        if recorder is None or self._ended:
            return
        known = {**tag_attributes(dict(self._tags or {})), **self._constants, **self._facts}
        above = getattr(self._span, "parent", None)
        parent = None if above is None else f"{above.span_id:016x}"
        about = start_attributes(known, self.id, parent)
        recorder.send_record("start", self._span, about, at_ns=self._start_ns)

    def _log(self, severity: str, text: str) -> None:
        if self._recorder is None:
            return
        try:
            growing = self._grow()
            growing.events += 1
            line: Attributes = {names.LOG_SEVERITY: severity, names.LOG_MESSAGE: clean(str(text))}
            if self._ended or growing.events > _EVENTS:
                self._update({}, (names.LOG_EVENT, line))
            else:
                self._span.add_event(names.LOG_EVENT, line)
        except Exception as error:  # noqa: BLE001 - telemetry never raises
            report("run.log", error)

    def _add_points(self, points: Sequence[Point]) -> None:
        if self._recorder is None:
            return
        try:
            growing = self._grow()
            with self._recorder.lock:
                growing.points.extend(points)
                waited_ns = time.time_ns() - growing.last_update_ns
                due = waited_ns >= _UPDATE_EVERY_NS or len(growing.points) >= _UPDATE_POINTS
            if due or self._ended:
                self._send_points(growing)
        except Exception as error:  # noqa: BLE001 - telemetry never raises
            report("run.log_metrics", error)

    def _send_points(self, growing: _Growing) -> None:
        if self._recorder is None:
            return
        with self._recorder.lock:
            points, growing.points = growing.points, []
            growing.last_update_ns = time.time_ns()
        for start in range(0, len(points), _UPDATE_POINTS):
            self._update(point_attributes(points[start : start + _UPDATE_POINTS]))

    def _grow(self) -> _Growing:
        if self._growing is None:
            if self._recorder is None:
                self._growing = _Growing()
            else:
                with self._recorder.lock:
                    self._growing = self._growing or _Growing()
        return self._growing

    def _update(self, attributes: Attributes, event: tuple[str, Attributes] | None = None) -> None:
        if self._recorder is not None:
            about = {**attributes, names.TARGET_START_NS: self._start_ns}
            self._recorder.send_record("update", self._span, about, event)

    def _set_error(self, outcome: str, error: BaseException, end_ns: int) -> None:
        self._facts[names.ERROR_TYPE] = error_name(error)
        self._span.add_event("exception", exception_attributes(error), timestamp=end_ns)
        if outcome == "error":
            text = f"{error_name(error)}: {error_message(error)}"
            self._span.set_status(Status(StatusCode.ERROR, text))


# Stands where no run is recorded: takes everything, keeps nothing.
NO_RUN: Final = Run(None, trace.INVALID_SPAN, 0, {})


def current_run() -> Run:
    """Return the innermost run of the calling task or thread.

    Outside any run it is a run that is not recorded, so that the call may stand anywhere.
    """
    run = context_api.get_value(_RUN_KEY)
    return run if isinstance(run, Run) else NO_RUN
