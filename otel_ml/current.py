"""The handle of a run: what is said of it while it goes on, and how it ends."""

import threading
import time
from collections.abc import Mapping, Sequence
from contextvars import Token
from types import TracebackType
from typing import TYPE_CHECKING, Final

from opentelemetry import context as context_api
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Status, StatusCode

from otel_ml import attributes as names
from otel_ml.errors import report
from otel_ml.recorder import Recorder
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
    primitive,
    score_attributes,
    tag_attributes,
)

if TYPE_CHECKING:
    from otel_ml.judge import Evaluation

_RUN_KEY: Final = context_api.create_key("otel_ml-run")
_EVENTS: Final = 64
_UPDATE_EVERY_NS: Final = 1_000_000_000
_UPDATE_POINTS: Final = 1_000


class Run:
    """One run while it is recorded.

    Nothing here raises into the host but `InvalidMetricError`. Tags and text travel with the
    run. Metric points are sent ahead of it, at most once a second and at its end.
    """

    __slots__ = (
        "_attached",
        "_by_call",
        "_context",
        "_ended",
        "_events",
        "_facts",
        "_last_update_ns",
        "_lock",
        "_points",
        "_recorder",
        "_span",
        "_start_ns",
        "_tags",
    )

    def __init__(
        self, recorder: Recorder | None, span: trace.Span, start_ns: int, by_call: bool = False
    ) -> None:
        self._by_call = by_call
        sampled = span.get_span_context().trace_flags.sampled
        self._recorder = recorder if sampled else None
        self._span = span
        self._start_ns = start_ns
        self._context = trace.set_span_in_context(span, context_api.set_value(_RUN_KEY, self))
        self._attached: Token[Context] | None = None
        self._lock = threading.Lock()
        self._tags: dict[str, Value] = {}
        self._facts: dict[str, Value] = {}
        self._events = 0
        self._points: list[Point] = []
        self._last_update_ns = 0
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
            given = {str(key): primitive(item) for key, item in {**(tags or {}), **more}.items()}
            if self._ended:
                self._update(tag_attributes(given))
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
        self._attached = context_api.attach(self._context)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        stack: TracebackType | None,
    ) -> None:
        """End the run; an exception of the block becomes its outcome and goes on."""
        if self._attached is not None:
            context_api.detach(self._attached)
        self.end(error)

    # What follows is for the code that opens and ends runs, not for the code that is traced.

    @property
    def context(self) -> Context:
        """The OpenTelemetry context in which the run's own code runs."""
        return self._context

    def describe(self, facts: Mapping[str, Value]) -> None:
        """Keep attributes of the run; they are written when it ends."""
        self._facts.update(facts)

    def close(self, end_ns: int, error: BaseException | None = None) -> None:
        """Fix outcome and latency: a judge that speaks later does not lengthen the run."""
        self._ended = True
        if self._recorder is None:
            return
        try:
            outcome = "ok" if error is None else outcome_of(error)
            self._facts[names.OUTCOME] = outcome
            self._facts[names.LATENCY_MS] = (end_ns - self._start_ns) / 1e6
            if error is not None and outcome != "abandoned":
                self._set_error(outcome, error, end_ns)
            self._facts.update(self._recorder.stamp())
        except Exception as problem:  # noqa: BLE001 - telemetry never raises
            report("run.end", problem)

    def hand_over(
        self,
        end_ns: int,
        evaluations: "Sequence[Evaluation]" = (),
        definitions: Mapping[str, str] | None = None,
    ) -> None:
        """Give the closed run to the span processors, with the scores that are known now."""
        if self._recorder is None:
            return
        try:
            self._send_points()
            self._facts.update(score_attributes(evaluations, definitions or {}))
            # Core attributes last: beyond its limit the SDK drops the oldest ones.
            self._span.set_attributes({**tag_attributes(self._tags), **self._facts})
            self._span.end(end_time=end_ns)
        except Exception as problem:  # noqa: BLE001 - telemetry never raises
            report("run.end", problem)

    def send_evaluation(self, evaluation: "Evaluation", definition: str | None) -> None:
        """Send a score that came after the run was handed over."""
        if self._recorder is not None:
            attributes = evaluation_attributes(evaluation, self._start_ns, definition)
            self._recorder.send_record("evaluation", self._context, attributes)

    def _log(self, severity: str, text: str) -> None:
        if self._recorder is None:
            return
        try:
            self._events += 1
            line: Attributes = {names.LOG_SEVERITY: severity, names.LOG_MESSAGE: clean(str(text))}
            if self._ended or self._events > _EVENTS:
                self._update({}, (names.LOG_EVENT, line))
            else:
                self._span.add_event(names.LOG_EVENT, line)
        except Exception as error:  # noqa: BLE001 - telemetry never raises
            report("run.log", error)

    def _add_points(self, points: Sequence[Point]) -> None:
        if self._recorder is None:
            return
        try:
            with self._lock:
                self._points.extend(points)
                waited_ns = time.time_ns() - self._last_update_ns
                due = waited_ns >= _UPDATE_EVERY_NS or len(self._points) >= _UPDATE_POINTS
            if due or self._ended:
                self._send_points()
        except Exception as error:  # noqa: BLE001 - telemetry never raises
            report("run.log_metrics", error)

    def _send_points(self) -> None:
        with self._lock:
            points, self._points = self._points, []
            self._last_update_ns = time.time_ns()
        for start in range(0, len(points), _UPDATE_POINTS):
            self._update(point_attributes(points[start : start + _UPDATE_POINTS]))

    def _update(self, attributes: Attributes, event: tuple[str, Attributes] | None = None) -> None:
        if self._recorder is not None:
            about = {**attributes, names.TARGET_START_NS: self._start_ns}
            self._recorder.send_record("update", self._context, about, event)

    def _set_error(self, outcome: str, error: BaseException, end_ns: int) -> None:
        self._facts[names.ERROR_TYPE] = error_name(error)
        self._span.add_event("exception", exception_attributes(error), timestamp=end_ns)
        if outcome == "error":
            text = f"{error_name(error)}: {error_message(error)}"
            self._span.set_status(Status(StatusCode.ERROR, text))


# Stands where no run is recorded: takes everything, keeps nothing.
NO_RUN: Final = Run(None, trace.INVALID_SPAN, 0)


def current_run() -> Run:
    """Return the innermost run of the calling task or thread.

    Outside any run it is a run that is not recorded, so that the call may stand anywhere.
    """
    run = context_api.get_value(_RUN_KEY)
    return run if isinstance(run, Run) else NO_RUN
