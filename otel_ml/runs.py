"""Runs: the calls that add to a run while it is open, and the ways in which it ends."""

import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextvars import Token
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

import orjson
from opentelemetry import baggage, trace
from opentelemetry import context as context_api
from opentelemetry.context import Context
from opentelemetry.trace import Status, StatusCode

from otel_ml import attributes as names
from otel_ml.arguments import (
    InvalidArgumentError,
    check_flag,
    check_mapping,
    check_one_of,
    check_optional_text,
    check_text,
    invalid,
)
from otel_ml.capture.description import text_of
from otel_ml.capture.values import PREVIEW_BYTES, TRUNCATED, clean, preview, preview_of
from otel_ml.errors import InvalidMetricError, hand_on, quiet, report
from otel_ml.late import late
from otel_ml.metrics import (
    NO_NUMBER,
    LoggedPoint,
    Metric,
    listed,
    make_data_points,
    make_points,
    number,
)
from otel_ml.notebook import Card, HasCard, page_address
from otel_ml.process import MARKS
from otel_ml.recorder import Recorder
from otel_ml.redaction import NOTE, Redaction
from otel_ml.spans import SPAN_KEY, RunSpan, attach, detach, is_sampled, run_id_of, write
from otel_ml.tags import Details, Tags, Value, fits, read_tags, tag_attributes
from otel_ml.updates import EVENTS, Updates
from otel_ml.wire import (
    HasSubject,
    Subject,
    actual_attributes,
    error_name,
    evaluation_attributes,
    exception_attributes,
    feedback_attributes,
    line_event,
    lineage_event,
    outcome_of,
    score_attributes,
    start_attributes,
    weigh,
)

if TYPE_CHECKING:
    from otel_ml import artifact, data_quality, records
    from otel_ml.judges import judged_call
    from otel_ml.judges.judge import Judge, Judgement
    from otel_ml.records import Actual
else:
    artifact = late("artifact")
    data_quality = late("data_quality")
    judged_call = late("judges.judged_call")
    records = late("records")

# What of baggage says whose run it is.
_NAMES_OF_BAGGAGE: Final = (names.SESSION_ID, names.USER_ID)
RUN_KEY: Final = context_api.create_key("otel_ml-run")
_LINE_CHARS: Final = 16_384
_REF_CHARS: Final = 256
_SHORT_NS: Final = 1_000_000_000
_IN_TRACE: Final = 64
_SURELY_SHORT: Final = PREVIEW_BYTES // 4  # a character takes up to four bytes
_NO_NOTES: Final[dict[str, list[str]]] = {}
UNSET: Final = object()


class Handle:
    """The methods that add to a run.

    None of them raises into the host but for an argument that is none of what it takes.
    """

    __slots__ = ()

    def tag(self, *tags: Tags, **more: object) -> None:
        """Set tags; the last value of a name stays.

        Args:
            tags: Mappings of names to values, `Tag` objects, or lists of both.
            more: Tags whose names are identifiers. Values are texts, numbers and bools; of
                anything else its text is kept.

        Raises:
            ValueError: Something is given that is none of these; nothing is set.
        """
        checked = check_tags((*tags, more))
        with quiet("run.tag"):
            self._set_tags(*checked)

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

    def log(self, ref: str, value: object) -> None:
        """Log a value, as it is now, under a reference: an array, a table, an image, anything.

        It is written at once, so that what happens to it later does not matter, and read back
        as the same type, see `otel_ml.types`. Of a value that takes more than 64 MiB only type,
        shape and the like are kept.

        Args:
            ref: Its reference, 1 to 256 characters. Logged under again, both values are
                kept, and the newest is read.
            value: The value, or one of the wrappers of `otel_ml.types` around it.

        Raises:
            ValueError: The reference is no such text; nothing is logged.
        """
        name = check_text("ref", ref, _REF_CHARS)
        with quiet("run.log"):
            self._add_data(name, value)

    def log_metric(
        self,
        name: str,
        value: object,
        *,
        step: int | None = None,
        overwrite: bool = False,
        single_value: bool = False,
    ) -> None:
        """Append a point, or a list of points, to the series `name`.

        Args:
            name: The metric.
            value: A number, or a list of numbers; see `log_metrics`.
            step: What the point belongs to, such as an epoch.
            overwrite: Replace the points logged under the name before.
            single_value: A plain number instead of a series; it is kept as it was when the
                name is known and `overwrite` is False.

        Raises:
            InvalidMetricError: The value is no number; nothing is logged.
            ValueError: Another argument is invalid.
        """
        check_text("name", name)
        check_flag("overwrite", overwrite)
        check_flag("single_value", single_value)
        mode = "single" if single_value else "append"
        self._put_points(make_points({name: value}, step, mode, overwrite=overwrite))

    def log_metrics(
        self, values: Mapping[str, object], *, step: int | None = None, overwrite: bool = False
    ) -> None:
        """Log several metrics of the same moment.

        Args:
            values: Numbers by name, or lists of numbers. A number stays a single value while
                it is alone and becomes a series with the second; a list is a series.
                Arrays and tensors of numpy, torch, jax and their like are taken as numbers
                when they have one element, as lists when they have one dimension.
            step: What the points belong to, such as an epoch.
            overwrite: Replace the points logged under these names before.

        Raises:
            InvalidMetricError: A value is no number; then none of `values` is logged. It is a
                ValueError that names key and value.
            ValueError: Another argument is invalid.
        """
        check_flag("overwrite", overwrite)
        check_mapping("values", values, "a mapping of names to numbers or lists of numbers")
        self._put_points(make_points(values, step, "auto", overwrite=overwrite))

    def data_metrics(
        self,
        frame: Any,
        *,
        label: str | None = None,
        sensitive: str | Sequence[str] = (),
        prediction: str | None = None,
        positive: object = None,
        reference: Any = None,
    ) -> dict[str, float]:
        """Compute the data metrics of a table, and log them here with the source ``data``.

        Args:
            frame: The table, see `otel_ml.data_metrics`.
            label: The column that holds what is right.
            sensitive: A column, or several, whose groups are to be treated alike.
            prediction: The column that holds what a model said.
            positive: The value of the label or prediction that is wished for.
            reference: The table or the profile that its columns are held against.

        Returns:
            The numbers by their names.

        Raises:
            ValueError: An argument is none of what it takes; nothing is logged.
        """
        data_metrics = data_quality.measure_data(
            frame,
            label=label,
            sensitive=sensitive,
            prediction=prediction,
            positive=positive,
            reference=reference,
        )
        self.log_data_metrics(data_metrics)
        return data_metrics

    def log_data_metrics(self, metrics: Mapping[str, float]) -> None:
        """Log the metrics that `data_metrics` computed."""
        self._put_points(make_data_points(metrics))

    def feedback(
        self,
        name: str,
        score: float | None = None,
        *,
        passed: bool | None = None,
        label: str | None = None,
        explanation: str | None = None,
        source: str = "human",
    ) -> None:
        """Record a person's evaluation of the run. For a truth with a value see `actual`.

        Args:
            name: The criterion, such as ``helpful`` or ``churned``.
            score: A number.
            passed: Whether it is good enough.
            label: A word for it.
            explanation: Why.
            source: ``human``, ``actual`` for the truth that came later, or ``agent`` for the word
                of a program on nobody's behalf: no score, and no person's word.

        Raises:
            InvalidMetricError: The score is no number.
            ValueError: The source is unknown, nothing is given, or an argument is invalid.
        """
        check_text("name", name)
        check_one_of("source", source, ("human", "actual", "agent"))
        if score is None and passed is None and label is None and explanation is None:
            raise ValueError(
                f"Invalid feedback {name!r}: expected a score, passed, a label or an explanation"
            )
        if passed is not None:
            check_flag("passed", passed)
        check_optional_text("label", label, _LINE_CHARS)
        check_optional_text("explanation", explanation, _LINE_CHARS)
        value = None if score is None else number(name, score, "score {} of {}")
        if value is not None and math.isnan(value):
            raise InvalidMetricError(f"Invalid score {score!r} of {name!r}: expected a number")
        with quiet("run.feedback"):
            recorder = self._records_to()
            if recorder is not None:
                facts = feedback_attributes(
                    name, source, value, passed, label=label, explanation=explanation
                )
                self._send_feedback(recorder.redaction.values(facts))

    def actual(
        self,
        value: "Actual",
        name: str = "output",
        *,
        explanation: str | None = None,
        annotator: str | None = None,
    ) -> None:
        """Record a truth that became known later, so that it stands beside the run's output.

        It may come at any time and from any process, also before the run. Of a name the newest
        value holds; several names are several truths.

        Args:
            value: A text, a finite number, a bool, or a list of these, up to 16 KiB as JSON.
                Scalars and arrays with one dimension of numpy, torch and their like are taken.
            name: The name of the truth, such as ``churned``; by default the output.
            explanation: Why, or how it is known.
            annotator: The annotator; by default the service's name.

        Raises:
            ValueError: An argument is invalid; nothing is recorded.
        """
        truth = check_actual(value)
        label = check_text("name", name)
        check_optional_text("explanation", explanation, _LINE_CHARS)
        check_optional_text("annotator", annotator)
        with quiet("run.actual"):
            recorder = self._records_to()
            if recorder is not None:
                [shown] = recorder.redaction.values({label: truth}).values()
                why, who = (
                    None if text is None else recorder.redaction.text(text)
                    for text in (explanation, annotator)
                )
                self._send_feedback(actual_attributes(label, shown, why, who))

    @quiet("run.log")
    def _log(self, severity: str, text: object) -> None:
        recorder = self._records_to()
        if recorder is None:
            return
        at_ns = time.time_ns()
        line = clean(text_of(text))
        if len(line) > _LINE_CHARS:
            line = line[:_LINE_CHARS] + "…"
        event = line_event(severity, recorder.redaction.text(line), at_ns)
        self._say(Updates.add_event, event)

    def _add_data(self, ref: str, value: object) -> None:
        recorder = self._records_to()
        if recorder is None:
            return
        at_ns = time.time_ns()
        made = artifact.make_artifact(ref, value, recorder.redaction)
        attributes, notes = made.said, made.notes
        if made.document is not None:
            address = recorder.upload(made.sha256, made.document)
            if address is None:
                notes = (*notes, "artifact")
            else:
                attributes[names.ARTIFACT_URI] = address
        self._say(Updates.add_event, (names.ARTIFACT_EVENT, attributes, at_ns))
        self._note("artifacts", *notes)

    @quiet("run.log_metrics")
    def _put_points(self, points: Sequence[LoggedPoint]) -> None:
        self._say(Updates.add_points, points)

    def _records_to(self) -> Recorder | None:
        """Return the recorder of records made now; None where nothing is recorded."""
        raise NotImplementedError

    def _say(self, add: Callable[[Updates, Any], None], value: Any) -> None:
        """Let `add` put text, data or points where they wait, or send them."""
        raise NotImplementedError

    def _set_tags(self, tags: dict[str, Value], details: Details) -> None:
        raise NotImplementedError

    def _send_feedback(self, attributes: dict[str, Value]) -> None:
        raise NotImplementedError

    def _note(self, part: str, *notes: str) -> None:
        """Say that something was left out, and why; the event of a value says so itself."""


def check_actual(value: object) -> Any:
    """Return a truth as a text, number, bool or list of Python's own.

    Raises:
        ValueError: It is none of these, or too long.
    """
    try:
        actual = _unwrapped(value)
        items = actual if issubclass(type(actual), list | tuple) else [actual]
        if len(items) <= records.ACTUAL_BYTES:
            plain = [_unwrapped(item) for item in items]
            plain = [
                clean(str.__str__(item)) if issubclass(type(item), str) else item for item in plain
            ]
            return orjson.loads(records.write_actual(plain if items is actual else plain[0]))
    except NO_NUMBER as error:
        hand_on(error)
    raise invalid("value", value, records.ACTUAL_WANTED)


def _unwrapped(value: object) -> Any:
    """Return the elements of a scalar or array of any library, else the value itself."""
    return value if issubclass(type(value), str | int | float | list | tuple) else listed(value)


def _subject_of(thing: Any, kind: str) -> Subject:
    """Name a used or produced thing: by itself, or from a text."""
    if issubclass(type(thing), HasSubject):
        subject: Subject = thing._subject
        return subject
    text = clean(str.__str__(thing))
    if kind == "artifact":
        return Subject(kind, text)
    if numbered := names.NUMBERED.fullmatch(text):
        return Subject(kind, numbered[1], f"v{numbered[2]}")
    name, _, alias = text.rpartition("@")
    return Subject(kind, name, f"@{alias}") if name and alias else Subject(kind, text)


def check_tags(given: Iterable[Tags]) -> tuple[dict[str, Value], Details]:
    """Read tags; those that the host's own code does not give are left out.

    Raises:
        ValueError: Something is given that is no tag.
    """
    wrong: InvalidArgumentError | None = None
    with quiet("run.tag"):
        try:
            return read_tags(given)
        except InvalidArgumentError as error:
            wrong = error
    if wrong is not None:
        raise wrong
    return {}, {}


class Run(Handle, HasCard):
    """A run while it is recorded.

    Nothing here raises into the host but for values that are wrong themselves. Tags and text
    travel with the run when it is short. While a longer run goes on they are sent ahead of it,
    as metric points always are, about twice a second.
    """

    __slots__ = (
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
        "_unasked",
        "_waiting",
    )

    _by_call = False  # it ends with its call

    def __init__(
        self,
        recorder: Recorder | None,
        span: trace.Span,
        start_ns: int,
        constants: Mapping[str, Value],
    ) -> None:
        self._recorder = recorder  # None for a run that is not recorded
        self._identity = None if recorder is None else recorder.identity
        self._span = span
        self._start_ns = start_ns  # 0 where the span is none of ours
        self._ended = False
        self._unasked = False  # True of a call of which only its span knows its facts
        self._describe(constants, facts_around(None))

    def _describe(self, constants: Mapping[str, Value], facts: dict[str, Value]) -> None:
        """Take what is known, and from now on what is added."""
        self._constants = constants
        self._facts = facts
        self._tags: dict[str, Value] | None = None
        self._waiting: Updates | None = None
        self._notes = _NO_NOTES
        self._output: object = UNSET

    def _ask(self) -> "Run":
        """Return the run to code that may add to it: from now on it is described as it goes."""
        recorder, span = self._recorder, self._span
        if self._unasked and recorder is not None and type(span) is RunSpan:
            with recorder.lock:
                if self._unasked:  # else another thread was first
                    # A mapping of its own: the span's may be on its way.
                    self._describe(span.constants, span.describe(previews=recorder.wants_previews))
                    self._unasked = False
        return self

    @property
    def _card(self) -> Card:
        """Which run it is and how it stands: open, its outcome, or that it is not recorded."""
        recorder = self._recorder
        if recorder is None:
            return Card(type(self).__name__, self.id, ("not recorded",))
        page = page_address(recorder.page, recorder.project, "runs", self.id)
        return Card(
            type(self).__name__, self.id, (str(self._facts.get(names.OUTCOME, "open")),), page
        )

    @property
    def id(self) -> str:
        """The run id, ``<32 hex>-<16 hex>``, as the API names it."""
        span = self._span
        return run_id_of(span if type(span) is RunSpan else span.get_span_context())

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
        """The metrics that this process logged: a number, or a list for a series, by name.

        Of a series the last 10,000 points, and at most 1,000 names; a collector has them all.
        """
        recorder, waiting = self._recorder, self._waiting
        if recorder is None or waiting is None:
            return {}
        with recorder.lock:
            return waiting.metrics.values()

    @quiet("run.set_input")
    def set_input(self, value: object) -> None:
        """Record `value`, as it is now, as the run's input, in place of the call's own input."""
        if self._recorder is not None and not self._ended:
            self._put(names.INPUTS, "inputs", value)

    @quiet("run.set_output")
    def set_output(self, value: object) -> None:
        """Record `value`, as it is now, as the run's output, in place of the call's own result."""
        if self._recorder is None or self._ended:
            return
        self._put(names.OUTPUTS, "outputs", value)
        if self._by_call:
            self._output = value

    def identify(self, *, session: str | None = None, user: str | None = None) -> None:
        """Set session and user of the run; they hold for the runs of its trace that set none.

        Args:
            session: The conversation that it belongs to; anything but a text counts by its text.
            user: The user that it serves, likewise.
        """
        facts = {names.SESSION_ID: session, names.USER_ID: user}
        if self._recorder is not None:
            self._facts.update(
                {key: clean(text_of(item)) for key, item in facts.items() if item is not None}
            )

    def uses(self, *things: object, kind: str = "model") -> None:
        """Record the things that the run used, so that its page and theirs link to each other.

        Args:
            things: Models of `otel_ml.Client.model`, versions and artifacts that
                `otel_ml.reader` gave; or texts: ``churn:v3``, ``churn@champion`` (as it is now),
                ``churn``, or the reference of an artifact.
            kind: The kind of texts: model, artifact or dataset.

        Raises:
            ValueError: A thing is none of these; nothing is recorded.
        """
        self._link("used", things, kind)

    def produced(self, *things: object, kind: str = "model") -> None:
        """Record the things that the run made, so that its page and theirs link to each other.

        Args:
            things: As `uses` takes them.
            kind: The kind of texts: model, artifact or dataset.

        Raises:
            ValueError: A thing is none of these; nothing is recorded.
        """
        self._link("produced", things, kind)

    def _link(self, role: str, things: Sequence[object], kind: str) -> None:
        check_one_of("kind", kind, names.LINEAGE_KINDS)
        for thing in things:
            if not issubclass(type(thing), HasSubject):
                check_text("things", thing)
        with quiet(f"run.{role}"):
            if self._recorder is not None:
                at_ns = time.time_ns()
                for thing in things:
                    subject = _subject_of(thing, kind)
                    self._say(Updates.add_event, lineage_event(role, subject, at_ns))

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
            with quiet("run.end"):
                self._close(end_ns, error)
            self._hand_over(end_ns)

    @property
    def start_ns(self) -> int:
        """When the run began."""
        return self._start_ns

    def _close(self, end_ns: int, error: BaseException | None = None) -> None:
        """Fix outcome and latency: a judge that speaks later does not lengthen the run."""
        self._ended = True
        recorder = self._recorder
        if recorder is None:
            return
        if recorder.identity is not self._identity:
            # A child that was forked within the run leaves it: its parent ends it.
            self._recorder, self._start_ns = None, 0
            return
        recorder.open_runs.remove(self)
        if self._waiting is not None:
            self._settle_events(self._waiting)
        facts = self._facts
        facts[names.LATENCY_MS] = (end_ns - self._start_ns) / 1e6
        if error is None:
            facts[names.OUTCOME] = "ok"
        else:
            facts[names.OUTCOME] = outcome = outcome_of(error)
            if outcome != "abandoned":
                self._set_error(outcome, error, end_ns, recorder.redaction)
        facts[names.SEQ] = recorder.count()

    def _hand_over(self, end_ns: int, evaluations: "Sequence[Judgement]" = ()) -> None:
        """Give the closed run to the span processors, with the scores that are known now."""
        try:
            if self._recorder is not None:
                if self._waiting is not None:
                    self._send(self._waiting, {})
                attributes = self._facts
                if evaluations or self._tags is not None:
                    attributes = self._attributes(evaluations)
                span = self._span
                if type(span) is RunSpan:
                    span.write(attributes, self._constants)
                else:
                    write(span, attributes, self._constants)
            if self._start_ns:
                self._span.end(end_time=end_ns)
            if self._recorder is not None and self._recorder.watch is not None:
                model = self._constants.get(names.MODEL_NAME)
                self._recorder.watch.see(model, self.id, self._facts)
        except BaseException as problem:  # noqa: BLE001 - also of any processor of the host's
            report("run.end", problem)
            if self._start_ns and self._span.is_recording():  # what is missing costs no more
                with quiet("run.end"):
                    self._span.end(end_time=end_ns)

    def _attributes(self, evaluations: "Sequence[Judgement]") -> dict[str, Value]:
        """Join all that is known; tags and scores first, which a full span drops first."""
        attributes: dict[str, Value] = {}
        if self._tags:
            details = None if self._waiting is None else self._waiting.details
            attributes = tag_attributes(self._tags, details)
            if not fits(self._tags):
                self._note("tags", TRUNCATED)
        if evaluations and self._recorder is not None:
            redaction = self._recorder.redaction
            shown = [hide_values(evaluation, redaction) for evaluation in evaluations]
            attributes.update(score_attributes(shown))
        attributes.update(self._facts)
        return attributes

    def _weigh(self, size: int) -> None:
        """Say that the run carries a payload of that many characters."""
        if type(self._span) is RunSpan:
            self._span.weight += size

    def _send_evaluation(self, evaluation: "Judgement") -> None:
        """Send a score that came after the run was handed over."""
        if self._recorder is not None:
            shown = hide_values(evaluation, self._recorder.redaction)
            attributes = evaluation_attributes(shown, self._start_ns)
            self._recorder.send_record("evaluation", self._span, attributes)

    def _hold(self, judges: "Sequence[Judge]", end_ns: int) -> None:
        """Keep the run on disk, when there is a spool, for the case of a kill.

        It says of each judge that it is lost; what it says of itself later takes its place.
        """
        pipeline = None if self._recorder is None else self._recorder.spooled
        if pipeline is None or type(self._span) is not RunSpan:
            return
        unspoken = judged_call.lost(judges, "lost: the process ended before it spoke")
        attributes = {**self._attributes(unspoken), **self._constants}
        pipeline.hold(self._span.copy(attributes, end_ns))

    def send_waiting(self, *, at_once: bool = False) -> None:
        """Send the waiting updates of the open run; those of a short call wait for its end."""
        if self._unasked:
            return
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
        """Send a record that the run is open, unless it was sent."""
        recorder = self._recorder
        if recorder is None or self._ended:
            return
        tags = dict(self._ask()._tags or {})
        waiting = self._grow()
        waiting.said.update(tags)
        known = {**tag_attributes(tags, waiting.details), **self._constants, **self._facts}
        inputs = known.get(names.INPUTS)
        if isinstance(inputs, str) and names.INPUTS_PREVIEW not in known:
            known[names.INPUTS_PREVIEW] = preview_of(inputs) or inputs
        above = getattr(self._span, "parent", None)
        parent = None if above is None else f"{above.span_id:016x}"
        about = start_attributes(known, self.id, parent)
        recorder.send_record("start", self._span, about, at_ns=self._start_ns)

    def _set_tags(self, tags: dict[str, Value], details: Details) -> None:
        recorder = self._recorder
        if recorder is None:
            return
        tags = recorder.redaction.values(tags)
        if details:
            self._grow().details.update(details)
        with recorder.lock:
            self._tags = {**(self._tags or {}), **tags}
        if self._is_now(recorder, self._waiting):
            self._send(self._grow(), tags)

    def _records_to(self) -> Recorder | None:
        return self._recorder

    def _say(self, add: Callable[[Updates, Any], None], value: Any) -> None:
        recorder = self._recorder
        if recorder is None:
            return
        waiting = self._grow()
        with recorder.lock:
            add(waiting, value)
        if self._is_now(recorder, waiting):
            self._send(waiting, {})

    def _send_feedback(self, attributes: dict[str, Value]) -> None:
        if self._recorder is not None:
            attributes = {**attributes, names.TARGET_START_NS: self._start_ns}
            self._recorder.send_record("evaluation", self._span, attributes)

    def _is_now(self, recorder: Recorder, waiting: Updates | None) -> bool:
        """Tell whether an update must not wait for the next round.

        The thread that sends updates of open runs looks at none that ended, nor at one that a
        parent process opened. With a spool an update of a run that lasts shall outlive a kill.
        """
        if self._ended or recorder.identity is not self._identity:
            return True
        if waiting is not None and waiting.is_full:
            return True
        if self._by_call or recorder.spooled is None:
            return False
        return waiting is None or waiting.is_due(time.time_ns(), self._start_ns)

    def _settle_events(self, waiting: Updates) -> None:
        """Turn text and data of a run without sent updates into events of its span."""
        if not waiting.updates and len(waiting.events) < EVENTS:
            events = waiting.take_events()
            self._weigh(weigh({}, events))
            for name, value, at_ns in events:
                self._span.add_event(name, value, timestamp=at_ns)

    def _send(self, waiting: Updates, tags: Mapping[str, Value]) -> None:
        recorder = self._recorder
        if recorder is None:
            return
        with recorder.lock:
            before = waiting.updates
            updates = waiting.take(dict(tags), time.time_ns())
        for count, (attributes, events) in enumerate(updates, before):
            about = {**attributes, names.TARGET_START_NS: self._start_ns}
            if count < _IN_TRACE:
                recorder.send_record("update", self._span, about, events)
            else:  # in a trace of its own, so that this one can still be looked at
                about[names.TARGET_RUN] = self.id
                recorder.send_record("update", None, about, events, link=self._span)

    def _grow(self) -> Updates:
        if self._waiting is None:
            if self._recorder is None:
                self._waiting = Updates()
            else:
                with self._recorder.lock:
                    self._waiting = self._waiting or Updates()
        return self._waiting

    def _put(self, key: str, part: str, value: object) -> None:
        """Write inputs or outputs, their preview, and notes on the parts left out of them."""
        recorder = self._recorder
        if recorder is None:
            return
        text, notes = recorder.redaction.write(value)
        self._put_text(key, part, value, text, notes)

    def _put_text(
        self, key: str, part: str, value: object, text: str, notes: Collection[str]
    ) -> None:
        if notes:
            self._note(part, *notes)
            if NOTE in notes:
                value = orjson.loads(text)  # what is hidden stays out of the preview as well
        facts = self._facts
        facts[key] = text
        if len(text) > _SURELY_SHORT:
            self._weigh(len(text))
            if notes or (self._recorder is not None and self._recorder.wants_previews):
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
        attributes = exception_attributes(error, redaction)
        self._span.add_event("exception", attributes, timestamp=end_ns)
        if outcome == "error":
            text = f"{error_name(error)}: {attributes['exception.message']}"
            self._span.set_status(Status(StatusCode.ERROR, text))


def hide_values(judgement: "Judgement", redaction: Redaction) -> "Judgement":
    """Hide secrets in a judgement's texts."""
    texts = [judgement.label, judgement.explanation, judgement.error]
    if not any(texts):
        return judgement
    label, why, error = [None if text is None else redaction.text(text) for text in texts]
    return replace(judgement, label=label, explanation=why, error=error)


class OpenedRun(Run):
    """A run that lasts until it is ended, or until nobody holds it.

    It ends with its ``with`` block, by `end`, when it is garbage, or with the process, whichever
    comes first. Within the block it is the current run.
    """

    __slots__ = ("__weakref__", "_attached")

    def __init__(
        self,
        recorder: Recorder | None,
        span: trace.Span,
        start_ns: int,
        constants: Mapping[str, Value],
    ) -> None:
        super().__init__(recorder, span, start_ns, constants)
        self._attached: Token[Context] | None = None

    def __enter__(self) -> "OpenedRun":
        """Make this the current run and its span the current span."""
        before = context_api.get_current()
        try:
            self._attached = attach(Context({**before, SPAN_KEY: self._span, RUN_KEY: self}))
        except BaseException as error:  # a handler of a signal raised; no `__exit__` follows
            attach(before)
            self.end(error)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        stack: TracebackType | None,
    ) -> None:
        """End the run; an exception of the block becomes its outcome and goes on."""
        token, self._attached = self._attached, None
        if token is not None:
            detach(token)
        self.end(error)

    @quiet("run.end")  # the interpreter may be half gone
    def __del__(self) -> None:
        """End a run that nobody holds any more."""
        self.end()


def open_run(
    recorder: Recorder,
    name: str,
    kind: str,
    given: Mapping[str, Any],
    tags: Iterable[Tags],
    *,
    inputs: object = None,
    ids: tuple[int, int] | None = None,
    start_ns: int = 0,
) -> OpenedRun:
    """Open a run under the current run and announce it at once, because it may last.

    Args:
        recorder: Records it, unless nothing is recorded now.
        name: The model's name.
        kind: Of the run.
        given: Its params, and attributes that are texts or counts, by the name of the attribute.
        tags: Set on the run.
        inputs: Its input; None for nothing.
        ids: Trace id and span id of a root that several processes know; None for new ids. A
            provider of another make gives its own, which nobody knows: then nothing is recorded.
        start_ns: When it began, where another process began it; 0 for now.

    Raises:
        ValueError: The tags are invalid; there is no run then.
    """
    own_tags = check_tags(tags)
    run = None
    with quiet("run"):
        active = recorder.active()
        if active is not None:
            began = ids, start_ns or time.time_ns()
            run = _start_run(active, name, kind, given, began)
    if run is None:
        return OpenedRun(None, trace.get_current_span(), 0, {})
    with quiet("run"):
        if run._recorder is not None:
            if own_tags[0]:
                run._set_tags(*own_tags)
            if inputs is not None:
                run.set_input(inputs)
            run._recorder.open_runs.announce(run)
    return run


def _start_run(
    recorder: Recorder,
    name: str,
    kind: str,
    given: Mapping[str, Any],
    began: tuple[tuple[int, int] | None, int],
) -> OpenedRun:
    ids, start_ns = began
    facts: dict[str, Value] = {
        key: item if type(item) is int else clean(text_of(item))
        for key, item in given.items()
        if item is not None and key != names.PARAMS
    }
    if given.get(names.PARAMS):
        facts[names.PARAMS] = recorder.redaction.encode(dict(given[names.PARAMS])).text
    start = recorder.start or recorder.open()
    first = {**recorder.identity, names.KIND: kind, names.MODEL_NAME: name}
    current = context_api.get_current()
    span = start(name, current, start_ns, first, True)
    if ids is not None:
        if type(span) is not RunSpan:
            return OpenedRun(None, span, 0, {})
        span.take_ids(*ids)
    run = OpenedRun(recorder if is_sampled(span) else None, span, start_ns, first)
    run._facts.update({**facts_around(current), **facts})
    return run


def facts_around(context: Context | None) -> dict[str, Value]:
    """Return the marks of judges and experiments that hold here, as a dict of its own.

    Args:
        context: Session and user of its baggage join them, as ``session.id`` and ``user.id``;
            runs inside another have them from that.
    """
    facts: dict[str, Value] = dict(MARKS.get() or ())
    if context and RUN_KEY not in context:
        entries = baggage.get_all(context)
        for name in _NAMES_OF_BAGGAGE:
            if name in entries:
                facts[name] = clean(text_of(entries[name]))
    return facts


# Stands where no run is recorded: takes everything, keeps nothing.
NO_RUN: Final = Run(None, trace.INVALID_SPAN, 0, {})


def current_run() -> Run:
    """Return the innermost run of the calling task or thread.

    Outside any run it is a run that is not recorded, so that the call may stand anywhere.
    """
    run = context_api.get_value(RUN_KEY)
    return run._ask() if isinstance(run, Run) else NO_RUN
