"""The handle of a run: what is said of it while it goes on, and how it ends."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final, TypeVar

import orjson
from opentelemetry import context as context_api
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Status, StatusCode

from otel_ml import attributes as names
from otel_ml.arguments import invalid
from otel_ml.described import text_of
from otel_ml.errors import quiet, report
from otel_ml.handle import Handle
from otel_ml.metrics import Metric
from otel_ml.notebook import Card, HasCard, page_address
from otel_ml.recorder import Recorder
from otel_ml.redaction import NOTE, Redaction
from otel_ml.spans import SPAN_KEY, RunSpan, write
from otel_ml.tags import Details, Value, fits, tag_attributes
from otel_ml.updates import EVENTS, Waiting
from otel_ml.values import PREVIEW_BYTES, TRUNCATED, clean, encode_whole, glance, preview
from otel_ml.wire import (
    Event,
    Point,
    error_name,
    evaluation_attributes,
    exception_attributes,
    outcome_of,
    score_attributes,
    start_attributes,
    weigh,
)

if TYPE_CHECKING:
    from otel_ml.judges.judge import Evaluation, Judge

T = TypeVar("T")

_RUN_KEY: Final = context_api.create_key("otel_ml-run")
_SHORT_NS: Final = 1_000_000_000
_IN_TRACE: Final = 64
_SURELY_SHORT: Final = PREVIEW_BYTES // 4  # a character takes up to four bytes
_WHOLE: Final[frozenset[str]] = frozenset()
_NO_NOTES: Final[dict[str, list[str]]] = {}
UNSET: Final = object()
_LATENCY_MS: Final = names.LATENCY_MS
_OUTCOME: Final = names.OUTCOME


class Run(Handle, HasCard):
    """One run while it is recorded.

    Nothing here raises into the host but for values that are wrong themselves. Tags and text
    travel with the run when it is short. While a longer one goes on they are sent ahead of it,
    as metric points always are, about twice a second.
    """

    __slots__ = (
        "_by_call",
        "_constants",
        "_ended",
        "_facts",
        "_identity",
        "_notes",
        "_output",
        "_recorder",
        "_span",
        "_start_ns",
        "_tags",
        "_waiting",
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
        self._waiting: Waiting | None = None
        self._notes = _NO_NOTES
        self._output: object = UNSET
        self._ended = False

    @property
    def _card(self) -> Card:
        """Which run it is and how it stands: open, its outcome, or that it is not recorded."""
        recorder = self._recorder
        if recorder is None:
            return Card(type(self).__name__, self.id, ("not recorded",))
        page = page_address(recorder.page, recorder.project, "runs", self.id)
        return Card(type(self).__name__, self.id, (str(self._facts.get(_OUTCOME, "open")),), page)

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

    @property
    def metrics(self) -> dict[str, Metric]:
        """What this process logged of the run, by name: a number, or a list of them for a series.

        Of a series the last 10,000 points, and at most 1,000 names; a collector has them all.
        """
        recorder, waiting = self._recorder, self._waiting
        if recorder is None or waiting is None:
            return {}
        with recorder.lock:
            return waiting.metrics.values()

    @quiet("run.set_output")
    def set_output(self, value: object) -> None:
        """Record `value`, as it is now, as the run's output, instead of what the call returns."""
        if self._recorder is None or self._ended:
            return
        self._put(names.OUTPUTS, "outputs", value)
        if self._by_call:
            self._output = value

    def identify(self, *, session: str | None = None, user: str | None = None) -> None:
        """Say whose run it is. Runs below it say their own.

        Args:
            session: The conversation that it belongs to; anything but a text counts by its text.
            user: Whom it serves, likewise.
        """
        found = {names.SESSION_ID: session, names.USER_ID: user}
        if self._recorder is not None:
            self._facts.update(
                {key: clean(text_of(item)) for key, item in found.items() if item is not None}
            )

    def end(self, error: BaseException | None = None) -> None:
        """End the run now, failed when an error is given. A second call does nothing.

        The run of a traced call ends with that call.

        Raises:
            ValueError: The error is no exception.
        """
        if error is not None and not issubclass(type(error), BaseException):
            raise invalid("error", error, "an exception, or None")
        if not self._ended and not self._by_call:
            end_ns = time.time_ns()
            self.close(end_ns, error)
            self.hand_over(end_ns)

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
            if self._waiting is not None:
                self._settle_events(self._waiting)
            facts = self._facts
            facts[_LATENCY_MS] = (end_ns - self._start_ns) / 1e6
            if error is None:
                facts[_OUTCOME] = "ok"
            else:
                facts[_OUTCOME] = outcome = outcome_of(error)
                if outcome != "abandoned":
                    self._set_error(outcome, error, end_ns, recorder.redaction)
            recorder.stamp(facts)
        except BaseException as problem:  # noqa: BLE001 - telemetry never raises, see errors.py
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
                if self._waiting is not None:
                    self._send(self._waiting, {})
                attributes = self._attributes(evaluations, definitions)
                write(self._span, attributes, self._constants)
        except BaseException as problem:  # noqa: BLE001 - telemetry never raises, see errors.py
            report("run.write", problem)
        try:
            if self._start_ns:
                self._span.end(end_time=end_ns)
        except BaseException as problem:  # noqa: BLE001 - any processor of the host's
            report("run.end", problem)

    def _attributes(
        self,
        evaluations: "Sequence[Evaluation]" = (),
        definitions: Mapping[str, str] | None = None,
    ) -> dict[str, Value]:
        """Join all that is known; tags and scores first, which a full span drops first."""
        if self._tags is None and not evaluations:
            return self._facts
        tags = self._tags or {}
        details = None if self._waiting is None else self._waiting.details
        attributes = tag_attributes(tags, details)
        if not fits(tags):
            self._note("tags", TRUNCATED)
        if evaluations:
            shown = [self._shown(evaluation) for evaluation in evaluations]
            attributes.update(score_attributes(shown, definitions or {}))
        attributes.update(self._facts)
        return attributes

    def _shown(self, evaluation: "Evaluation") -> "Evaluation":
        """Hide what a judge must not tell of the values that it saw."""
        if self._recorder is None:
            return evaluation
        hide = self._recorder.redaction.text
        label, explanation, error = evaluation.label, evaluation.explanation, evaluation.error
        return replace(
            evaluation,
            label=None if label is None else hide(label),
            explanation=None if explanation is None else hide(explanation),
            error=None if error is None else hide(error),
        )

    def weigh(self, size: int) -> None:
        """Say that the run carries a payload of that many characters."""
        if type(self._span) is RunSpan:
            self._span.weight += size

    def send_evaluation(self, evaluation: "Evaluation", definition: str | None) -> None:
        """Send a score that came after the run was handed over."""
        if self._recorder is not None:
            attributes = evaluation_attributes(self._shown(evaluation), self._start_ns, definition)
            self._recorder.send_record("evaluation", self._span, attributes)

    def hold(self, judges: "Sequence[Judge]", end_ns: int) -> None:
        """Keep the run on disk, when there is a spool, for the case of a kill.

        It says of each judge that it is lost; what it says of itself later takes its place.
        """
        pipeline = None if self._recorder is None else self._recorder.spooled
        if pipeline is None or type(self._span) is not RunSpan:
            return
        from otel_ml.judges.judged import lost  # who has judges has loaded it

        unspoken = lost(judges, "lost: the process ended before it spoke")
        attributes = {**self._attributes(unspoken), **self._constants}
        pipeline.hold(self._span.copy(attributes, end_ns))

    def send_waiting(self, *, at_once: bool = False) -> None:
        """Send what was said of the open run; that of a short call waits for its end."""
        now_ns = time.time_ns()
        is_short = self._by_call and now_ns - self._start_ns < _SHORT_NS
        waiting = self._waiting
        if waiting is None:
            if is_short or not self._tags:
                return
            waiting = self._grow()
        is_due = at_once or waiting.is_due(now_ns, self._start_ns)
        if is_due and (waiting.points or not is_short):
            self._send(waiting, {} if is_short else self._tags or {})

    def announce(self) -> None:
        """Say that the run is open, to whom it is not yet told."""
        recorder = self._recorder
        if recorder is None or self._ended:
            return
        tags = dict(self._tags or {})
        waiting = self._grow()
        waiting.said.update(tags)
        known = {**tag_attributes(tags, waiting.details), **self._constants, **self._facts}
        above = getattr(self._span, "parent", None)
        parent = None if above is None else f"{above.span_id:016x}"
        about = start_attributes(known, self.id, parent)
        recorder.send_record("start", self._span, about, at_ns=self._start_ns)

    def _add_tags(self, tags: dict[str, Value], details: Details) -> None:
        recorder = self._recorder
        if recorder is None:
            return
        tags = recorder.redaction.values(tags)
        if details:
            self._grow().details.update(details)
        if self._tags is None:
            self._tags = {}
        self._tags.update(tags)
        if self._is_now(recorder, self._waiting):
            self._send(self._grow(), tags)

    @property
    def _redaction(self) -> Redaction | None:
        return None if self._recorder is None else self._recorder.redaction

    def _upload(self, sha256: str, document: bytes) -> str | None:
        return None if self._recorder is None else self._recorder.upload(sha256, document)

    def _add_event(self, event: Event) -> None:
        self._let_wait(Waiting.add_event, event)

    def _add_points(self, points: Sequence[Point]) -> None:
        self._let_wait(Waiting.add_points, points)

    def _let_wait(self, add: Callable[[Waiting, T], None], said: T) -> None:
        recorder = self._recorder
        if recorder is None:
            return
        waiting = self._grow()
        with recorder.lock:
            add(waiting, said)
        if self._is_now(recorder, waiting):
            self._send(waiting, {})

    def _send_feedback(self, said: dict[str, Value]) -> None:
        recorder = self._recorder
        if recorder is None:
            return
        said = {**recorder.redaction.values(said), names.TARGET_START_NS: self._start_ns}
        recorder.send_record("evaluation", self._span, said)

    def _is_now(self, recorder: Recorder, waiting: Waiting | None) -> bool:
        """Tell whether what was said must not wait for the next round.

        Nobody comes for what is said of a run that ended, or that is the parent process's. With
        a spool the word of a run that lasts shall outlive a kill.
        """
        if self._ended or recorder.identity is not self._identity:
            return True
        if waiting is not None and waiting.is_full:
            return True
        if self._by_call or recorder.spooled is None:
            return False
        return waiting is None or waiting.is_due(time.time_ns(), self._start_ns)

    def _settle_events(self, waiting: Waiting) -> None:
        """Make text and data of a run that has told none yet events of its span."""
        if not waiting.updates and len(waiting.events) < EVENTS:
            events = waiting.take_events()
            self.weigh(weigh({}, events))
            for name, said, at_ns in events:
                self._span.add_event(name, said, timestamp=at_ns)

    def _send(self, waiting: Waiting, tags: Mapping[str, Value]) -> None:
        recorder = self._recorder
        if recorder is None:
            return
        with recorder.lock:
            before = waiting.updates
            updates = waiting.take(dict(tags), time.time_ns())
        for number, (attributes, events) in enumerate(updates, before):
            about = {**attributes, names.TARGET_START_NS: self._start_ns}
            if number < _IN_TRACE:
                recorder.send_record("update", self._span, about, events)
            else:  # in a trace of its own, so that this one can still be looked at
                about[names.TARGET_RUN] = self.id
                recorder.send_record("update", None, about, events, link=self._span)

    def _grow(self) -> Waiting:
        if self._waiting is None:
            if self._recorder is None:
                self._waiting = Waiting()
            else:
                with self._recorder.lock:
                    self._waiting = self._waiting or Waiting()
        return self._waiting

    def _put(self, key: str, part: str, value: object) -> None:
        """Write inputs or outputs, their preview, and what was left out of them."""
        recorder = self._recorder
        if recorder is None:
            return
        redaction = recorder.redaction
        seen = glance(value)
        text = encode_whole(value, is_small=seen is not None)
        if not text:
            text, notes = redaction.encode(value, is_too_long=text is not None)
        elif redaction.concerns(value, text, is_flat=seen is True):
            text, notes = redaction.hide(text)
        else:
            notes = _WHOLE
        if notes:
            self._note(part, *notes)
            if NOTE in notes:
                value = orjson.loads(text)  # what is hidden stays out of the preview as well
        facts = self._facts
        facts[key] = text
        if len(text) > _SURELY_SHORT:
            self.weigh(len(text))
            short = preview(value, text)
            if short is not None:
                facts[key + ".preview"] = short

    def _note(self, part: str, *notes: str) -> None:
        """Say that something was left out, and why."""
        if notes:
            self._notes = {**self._notes, part: sorted({*self._notes.get(part, ()), *notes})}
            self._facts[names.CAPTURE] = orjson.dumps(self._notes).decode()

    def _set_error(
        self, outcome: str, error: BaseException, end_ns: int, redaction: Redaction
    ) -> None:
        self._facts[names.ERROR_TYPE] = error_name(error)
        said = exception_attributes(error, redaction)
        self._span.add_event("exception", said, timestamp=end_ns)
        if outcome == "error":
            text = f"{error_name(error)}: {said['exception.message']}"
            self._span.set_status(Status(StatusCode.ERROR, text))


# Stands where no run is recorded: takes everything, keeps nothing.
NO_RUN: Final = Run(None, trace.INVALID_SPAN, 0, {})


def current_run() -> Run:
    """Return the innermost run of the calling task or thread.

    Outside any run it is a run that is not recorded, so that the call may stand anywhere.
    """
    run = context_api.get_value(_RUN_KEY)
    return run if isinstance(run, Run) else NO_RUN
