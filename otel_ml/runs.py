"""Runs: the methods that add data to a run, and everything that opens and ends one."""

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import Token
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

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
from otel_ml.capture.snapshot import ALL
from otel_ml.capture.taker import TRUNCATED
from otel_ml.capture.values import PREVIEW_BYTES, clean, preview_of
from otel_ml.deferred_attributes import DeferredAttributes
from otel_ml.errors import InvalidMetricError, quiet, report, reraise_host_error
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
from otel_ml.redaction import CapturedPayload, Redaction
from otel_ml.spans import SPAN_KEY, RunSpan, attach, detach, is_sampled, run_id_of, write
from otel_ml.tags import Details, Tags, Value, fits, read_tags, tag_attributes
from otel_ml.times import Time, check_time
from otel_ml.updates import EVENTS, Updates
from otel_ml.wire import (
    Attributes,
    HasSubject,
    Subject,
    actual_attributes,
    encode_payloads,
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
    from otel_ml.reader import api as reader_api
    from otel_ml.reader import display
    from otel_ml.records import Actual
else:
    display = late("reader.display")
    reader_api = late("reader.api")
    artifact = late("artifact")
    data_quality = late("data_quality")
    judged_call = late("judges.judged_call")
    records = late("records")

# entries of W3C baggage that become run attributes
_NAMES_OF_BAGGAGE: Final = (names.SESSION_ID, names.USER_ID)
RUN_KEY: Final = context_api.create_key("otel_ml-run")
CONTEXT_KEY: Final = context_api.create_key("otel_ml-context")
_DELIVERY_S: Final = 5.0
_LINE_CHARS: Final = 16_384
_REF_CHARS: Final = 256
_SHORT_NS: Final = 1_000_000_000
_IN_TRACE: Final = 64
_SURELY_SHORT: Final = PREVIEW_BYTES // 4  # a character takes up to four bytes
_NO_NOTES: Final[dict[str, list[str]]] = {}
UNSET: Final = object()


class Handle:
    """Base class of objects that you can add tags, log lines, metrics and other data to.

    Examples are a run and a model version. The methods raise only for invalid arguments. All other
    errors are logged, so they never break your program.
    """

    __slots__ = ()

    def tag(self, *tags: Tags, **more: object) -> None:
        """Set tags: named values to filter runs by. Setting a tag again replaces its value.

        Args:
            tags: Mappings of names to values, `Tag` objects, or lists of both.
            more: Tags as keyword arguments. Values are strings, numbers or bools. Other values are
                converted to text.

        Raises:
            ValueError: An argument is not a tag. In that case, none of the tags is set.
        """
        checked = check_tags((*tags, more))
        with quiet("run.tag"):
            self._set_tags(*checked)

    def debug(self, text: str) -> None:
        """Add a log line with severity ``debug`` to the run."""
        self._log("debug", text)

    def info(self, text: str) -> None:
        """Add a log line with severity ``info`` to the run."""
        self._log("info", text)

    def warning(self, text: str) -> None:
        """Add a log line with severity ``warning`` to the run."""
        self._log("warning", text)

    def error(self, text: str) -> None:
        """Add a log line with severity ``error`` to the run.

        This does not make the run a failed run.
        """
        self._log("error", text)

    def log(self, ref: str, value: object) -> None:
        """Store a value with the run under a name: an array, a table, an image or any other object.

        The value is copied immediately, so later changes to it have no effect. The reader returns
        it as the same type, see `otel_ml.types`. For values above 64 MiB only a description is
        stored, such as type and shape.

        Args:
            ref: Name of the value, 1 to 256 characters. If you log a name twice, both values are
                stored and the newest one is returned when you read it.
            value: The value, or a wrapper from `otel_ml.types` around it.

        Raises:
            ValueError: `ref` is not a string of 1 to 256 characters. Nothing is logged.
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
        time: Time | None = None,
    ) -> None:
        """Append one point, or a list of points, to a metric.

        Args:
            name: Name of the metric.
            value: A number or a list of numbers. Arrays and tensors are accepted too.
            step: Number that orders the points, such as an epoch.
            overwrite: Whether to replace all earlier points of this metric.
            single_value: Whether to store a single number instead of a series. If the metric has a
                value already, the new number is ignored unless you also set `overwrite`.
            time: When the value was measured, as in `log_metrics`.

        Raises:
            InvalidMetricError: `value` is not a number. Nothing is logged.
            ValueError: Another argument is invalid.
        """
        check_text("name", name)
        check_flag("overwrite", overwrite)
        check_flag("single_value", single_value)
        mode = "single" if single_value else "append"
        at_ns = self._time_of(time)
        self._put_points(make_points({name: value}, step, mode, overwrite=overwrite, at_ns=at_ns))

    def log_metrics(
        self,
        values: Mapping[str, object],
        *,
        step: int | None = None,
        overwrite: bool = False,
        time: Time | None = None,
    ) -> None:
        """Log several metrics at once.

        Args:
            values: Numbers or lists of numbers, by metric name. A list is a series. A number is a
                single value at first, and becomes a series when you log the metric again. Arrays
                and tensors (NumPy, PyTorch, JAX and similar) count as a number if they have one
                element, and as a list if they have one dimension.
            step: Number that orders the points, such as an epoch.
            overwrite: Whether to replace all earlier points of these metrics.
            time: When the values were measured: a datetime or an ISO 8601 text, both with a time
                zone, or nanoseconds since the epoch. Points are sorted by this time. Default: now,
                or the end of the run if the run ended in the past.

        Raises:
            InvalidMetricError: A value is not a number. The error is a `ValueError` that names
                metric and value. None of the metrics is logged.
            ValueError: Another argument is invalid.
        """
        check_flag("overwrite", overwrite)
        check_mapping("values", values, "a mapping of names to numbers or lists of numbers")
        at_ns = self._time_of(time)
        self._put_points(make_points(values, step, "auto", overwrite=overwrite, at_ns=at_ns))

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
        """Measure the quality of a table, and log the results as metrics of this run.

        The results are numbers such as the share of missing values, bias and drift. Each metric has
        a `source`: ``data`` for these results, and ``logged`` for metrics that your program logs
        itself.

        Args:
            frame: The table, such as a pandas table or a list of mappings. See
                `otel_ml.data_metrics` for all accepted forms.
            label: Column with the ground truth.
            sensitive: One or more columns, such as ``sex``, whose groups should be treated equally.
            prediction: Column with the model's predictions.
            positive: The favourable value of the label or prediction, such as ``approved``.
            reference: Table or `ModelProfile` to compare with for drift.

        Returns:
            The metrics by name.

        Raises:
            ValueError: An argument is invalid. Nothing is logged.
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
        """Log metrics that `data_metrics` returned, with the source ``data``."""
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
        """Record a reviewer's or a program's evaluation of the run. For ground truth, use `actual`.

        Pass at least one of `score`, `passed`, `label` and `explanation`.

        Args:
            name: What is evaluated, such as ``helpful`` or ``correct``.
            score: The result as a number, in any range.
            passed: Whether the run is good enough.
            label: The result as a word, such as ``off-topic``.
            explanation: The reason for the result.
            source: Who evaluated the run: ``human`` for a reviewer, or ``agent`` for a program.
                Feedback from an agent is shown, but statistics leave it out. Use ``actual`` for
                ground truth that is a score or pass/fail, because the method `actual` accepts
                neither.

        Raises:
            InvalidMetricError: `score` is not a number.
            ValueError: `source` is unknown, no result is given, or an argument is invalid.
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
        """Record ground truth for the run, that is, the correct result.

        It is shown next to the run's output. You can send it at any time and from any process, even
        before the run. If you send it again under the same name, the newest value is used.

        Args:
            value: A string, a finite number, a bool, or a list of these, at most 16 KiB as JSON.
                NumPy or PyTorch scalars and one-dimensional arrays are accepted too.
            name: Name of the ground truth, such as ``churned``. Default: ``output``, which means
                the correct output of the run.
            explanation: Why the value is right, or where it comes from.
            annotator: Person or system that provided the value. Default: the name of the service.

        Raises:
            ValueError: An argument is invalid. Nothing is recorded.
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
        at_ns = self._now_ns()
        line = clean(text_of(text))
        if len(line) > _LINE_CHARS:
            line = line[:_LINE_CHARS] + "…"
        event = line_event(severity, recorder.redaction.text(line), at_ns)
        self._update(Updates.add_event, event)

    def _add_data(self, ref: str, value: object) -> None:
        recorder = self._records_to()
        if recorder is None:
            return
        at_ns = self._now_ns()
        attributes: Attributes
        notes: Sequence[str] = ()
        copy = artifact.copy_value(ref, value, recorder.redaction) if recorder.defers_logs else None
        if copy is None:
            attributes, notes = _write_artifact(ref, value, recorder)
        else:
            attributes = DeferredAttributes(lambda: _write_copy(ref, copy, recorder), copy.weight)
        self._update(Updates.add_event, (names.ARTIFACT_EVENT, attributes, at_ns))
        self._note("artifacts", *notes)

    @quiet("run.log_metrics")
    def _put_points(self, points: Sequence[LoggedPoint]) -> None:
        self._update(Updates.add_points, points)

    def _time_of(self, given: Time | None) -> int:
        """Return a time that the user passed, in ns; None for the current one."""
        return self._now_ns() if given is None else check_time("time", given)

    def _now_ns(self) -> int:
        """Return the time of what is logged now, in ns since the epoch."""
        return time.time_ns()

    def _records_to(self) -> Recorder | None:
        """Return the recorder that records now, or None if nothing is recorded."""
        raise NotImplementedError

    def _update(self, add: Callable[[Updates, Any], None], value: Any) -> None:
        """Queue text, data or points by calling `add`, or send them immediately."""
        raise NotImplementedError

    def _set_tags(self, tags: dict[str, Value], details: Details) -> None:
        raise NotImplementedError

    def _send_feedback(self, attributes: dict[str, Value]) -> None:
        raise NotImplementedError

    def _note(self, part: str, *notes: str) -> None:
        """Record on the run that a part was left out. Logged values have this note anyway."""


def _write_artifact(
    ref: str, value: object, recorder: Recorder
) -> tuple[dict[str, Value], Sequence[str]]:
    """Return the event attributes of a logged value, and notes on parts that are left out."""
    made = artifact.make_artifact(ref, value, recorder.redaction)
    attributes, notes = made.facts, made.notes
    if made.document is not None:
        address = recorder.upload(made.sha256, made.document)
        if address is None:
            notes = (*notes, "artifact")
        else:
            attributes[names.ARTIFACT_URI] = address
    return attributes, notes


def _write_copy(ref: str, copy: "artifact.CopiedValue", recorder: Recorder) -> Mapping[str, Value]:
    """Return the event attributes of a value that was copied when it was logged."""
    with quiet("run.log"):
        copy.wait()
        return _write_artifact(ref, copy.data, recorder)[0]
    return {names.ARTIFACT_REF: clean(recorder.redaction.shown(ref))}


def check_actual(value: object) -> Any:
    """Convert ground truth to a plain Python string, number, bool or list.

    Raises:
        ValueError: The value has another type or is too long.
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
        reraise_host_error(error)
    raise invalid("value", value, records.ACTUAL_WANTED)


def _unwrapped(value: object) -> Any:
    """Convert a scalar or array of any library to plain Python. Return other values unchanged."""
    return value if issubclass(type(value), str | int | float | list | tuple) else listed(value)


def _subject_of(thing: Any, kind: str) -> Subject:
    """Convert an argument of `uses` or `produced`, an object or a string, to a `Subject`."""
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
    """Check the tags that a user passed, and return their values, types and groups.

    Args:
        given: Mappings of names to values, `Tag` objects, or lists of both.

    Returns:
        Two dicts by tag name. The first has the value of every tag. The second has a dict for each
        tag with a type or group: ``{"type": ..., "group": ...}``, without the one that is not set.
        If a class of the user raises an error while its tags are read, the error is logged and
        both dicts are empty.

    Raises:
        ValueError: An argument is not a tag.
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


class Surroundings(NamedTuple):
    """The settings of an `otel_ml.context` block, which apply to the runs that start inside it.

    Attributes:
        tags: Tags to add to the runs.
        people: Session and user of the runs, as span attributes.
        outer: The run in which the block was opened. None if there was none.
    """

    tags: Mapping[str, Value]
    people: Mapping[str, Value]
    outer: object

    def inside(self, other: "Surroundings") -> "Surroundings":
        """Combine the settings of this block with those of an outer block.

        If both set a value, the value of this block is used.
        """
        return Surroundings(
            {**other.tags, **self.tags}, {**other.people, **self.people}, self.outer
        )

    def facts(self, context: Context) -> Mapping[str, Value]:
        """Return the session and user that an `otel_ml.context` block sets for a new run, if any.

        If the new run is inside another run that also started in the block, the result is empty,
        because the new run inherits them from that run.

        Args:
            context: OpenTelemetry context in which the new run starts.
        """
        run = context.get(RUN_KEY)
        return self.people if run is None or run is self.outer else {}


class Run(Handle, HasCard):
    """A run that is being recorded: one call of a model, or a block such as a training loop.

    Use it to add tags, log lines, metrics and data. Its methods raise only for invalid arguments.

    Tags and log lines are sent while the run is open: about twice a second for the first 10
    minutes, then every 10 seconds. For a traced call that takes less than a second, they are sent
    at the end. Metrics are always sent in separate messages.
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

    _by_call = False  # True if the run ends with its call
    _taking = ALL  # which inputs and outputs may be recorded

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
        self._start_ns = start_ns  # 0 if the span was not created by this SDK
        self._ended = False
        self._unasked = False  # True while only the span knows the call's attributes (fast path)
        self._describe(constants, facts_around(None))

    def _describe(self, constants: Mapping[str, Value], facts: dict[str, Value]) -> None:
        """Set the attributes that are known at the start. Code can add others later."""
        self._constants = constants
        self._facts: dict[str, Any] = facts
        self._tags: dict[str, Value] | None = None
        self._waiting: Updates | None = None
        self._notes = _NO_NOTES
        self._output: object = UNSET

    def _ask(self) -> "Run":
        """Return the run to code that may add data to it.

        This ends the fast path, in which only the span knows the attributes of the call.
        """
        recorder, span = self._recorder, self._span
        if self._unasked and recorder is not None and type(span) is RunSpan:
            with recorder.lock:
                if self._unasked:  # otherwise another thread was first
                    # copy the mapping: the exporter may be reading the span's own
                    facts = span.collect(previews=recorder.wants_previews)
                    self._describe(span.constants, facts)
                    tags = [key for key in facts if key.startswith(names.TAG_PREFIX)]
                    if tags:
                        length = len(names.TAG_PREFIX)
                        self._tags = {key[length:]: facts.pop(key) for key in tags}
                    self._unasked = False
        return self

    @property
    def _card(self) -> Card:
        """The run in one line: ID and state, which is open, its outcome, or not recorded."""
        recorder = self._recorder
        if recorder is None:
            return Card(type(self).__name__, self.id, ("not recorded",))
        page = page_address(recorder.page, recorder.project, "runs", self.id)
        return Card(
            type(self).__name__, self.id, (str(self._facts.get(names.OUTCOME, "open")),), page
        )

    def _repr_html_(self) -> str:
        recorder, card = self._recorder, self._card
        if recorder is None or not self._ended or not recorder.page:
            return card.html
        recorder.drain(_DELIVERY_S)
        route = recorder.route
        api = reader_api.Api(route.endpoint, route.api_key)
        source = display.FileSource(api, (route.project, "runs", self.id))
        return display.show_file(source, card)

    @property
    def id(self) -> str:
        """The run ID, ``<32 hex>-<16 hex>``, as used in the HTTP API."""
        span = self._span
        return run_id_of(span if type(span) is RunSpan else span.get_span_context())

    @property
    def trace_id(self) -> str:
        """The OpenTelemetry trace ID, 32 hex digits."""
        return f"{self._span.get_span_context().trace_id:032x}"

    @property
    def is_recorded(self) -> bool:
        """Whether the run is recorded. False if sampling dropped it, and outside any run."""
        return self._recorder is not None

    @property
    def metrics(self) -> dict[str, Metric]:
        """Metrics that this process logged to the run, by name: a number, or a list for a series.

        Only the last 10,000 points of each series and the first 1,000 names are kept in memory. The
        collector stores all points.
        """
        recorder, waiting = self._recorder, self._waiting
        if recorder is None or waiting is None:
            return {}
        with recorder.lock:
            return waiting.metrics.values()

    @quiet("run.set_input")
    def set_input(self, value: object) -> None:
        """Record `value` as the run's input. For a traced call it replaces the recorded arguments.

        The value is copied immediately, so later changes to it have no effect.
        """
        if self._recorder is not None and not self._ended:
            self._put(names.INPUTS, value)

    @quiet("run.set_output")
    def set_output(self, value: object) -> None:
        """Record `value` as the run's output. For a traced call it replaces the recorded result.

        The value is copied immediately, so later changes to it have no effect.
        """
        if self._recorder is None or self._ended:
            return
        self._put(names.OUTPUTS, value)
        if self._by_call:
            self._output = value

    def identify(self, *, session: str | None = None, user: str | None = None) -> None:
        """Set the session (such as a conversation) and the user of the run.

        Other runs of the same trace inherit them, unless they set their own.

        Args:
            session: ID of the conversation. A value that is not a string is converted to text.
            user: ID of the user that the run serves. A value that is not a string is converted to
                text.
        """
        facts = {names.SESSION_ID: session, names.USER_ID: user}
        if self._recorder is not None:
            self._facts.update(
                {key: clean(text_of(item)) for key, item in facts.items() if item is not None}
            )

    def uses(self, *things: object, kind: str = "model") -> None:
        """Record which models, artifacts or data sets the run used.

        The web page of each of them then lists this run.

        Args:
            things: Objects or names. Objects are models from `otel_ml.Client.model`, and versions
                or artifacts from `otel_ml.reader`. Names are strings such as ``churn`` (any kind),
                ``churn:v3`` (version 3 of a model) or ``churn@champion`` (the version that has this
                alias now).
            kind: What the names refer to: ``model``, ``artifact`` or ``dataset``.

        Raises:
            ValueError: A thing has another type or `kind` is unknown. Nothing is recorded.
        """
        self._link("used", things, kind)

    def produced(self, *things: object, kind: str = "model") -> None:
        """Record which models, artifacts or data sets the run produced, such as a trained model.

        The web page of each of them then lists this run.

        Args:
            things: Models, versions or artifacts as objects, or names such as ``churn:v3``. See
                `uses`.
            kind: What the names refer to: ``model``, ``artifact`` or ``dataset``.

        Raises:
            ValueError: A thing has another type or `kind` is unknown. Nothing is recorded.
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
                    self._update(Updates.add_event, lineage_event(role, subject, at_ns))

    def end(self, error: BaseException | None = None) -> None:
        """End the run now. If you pass an error, the run counts as failed.

        A second call does nothing. For a traced function this method has no effect, because its run
        ends when the call ends.

        Raises:
            ValueError: `error` is not an exception.
        """
        if error is not None and not issubclass(type(error), BaseException):
            raise invalid("error", error, "an exception, or None")
        if not self._ended and not self._by_call:
            end_ns = self._now_ns()
            with quiet("run.end"):
                self._close(end_ns, error)
            self._pass_to_processors(end_ns)

    @property
    def start_ns(self) -> int:
        """Start time of the run, in nanoseconds since the epoch."""
        return self._start_ns

    def _close(self, end_ns: int, error: BaseException | None = None) -> None:
        """Set outcome and latency. Judges that run later do not change the latency."""
        self._ended = True
        recorder = self._recorder
        if recorder is None:
            return
        if recorder.identity is not self._identity:
            # a forked child does not own the run: its parent ends it
            self._recorder, self._start_ns = None, 0
            return
        recorder.open_runs.remove(self)
        if self._waiting is not None:
            self._move_events(self._waiting)
        facts = self._facts
        facts[names.LATENCY_MS] = (end_ns - self._start_ns) / 1e6
        if error is None:
            facts[names.OUTCOME] = "ok"
        else:
            facts[names.OUTCOME] = outcome = outcome_of(error)
            if outcome != "abandoned":
                self._set_error(outcome, error, end_ns, recorder.redaction)
        facts[names.SEQ] = recorder.count()

    def _pass_to_processors(self, end_ns: int, evaluations: "Sequence[Judgement]" = ()) -> None:
        """Pass the closed run to the span processors, with the scores known so far."""
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
        except BaseException as problem:  # noqa: BLE001 - also of the user's processors
            report("run.end", problem)
            # end the span even if some attributes are missing
            if self._start_ns and self._span.is_recording():
                with quiet("run.end"):
                    self._span.end(end_time=end_ns)

    def _attributes(self, evaluations: "Sequence[Judgement]") -> dict[str, Value]:
        """Collect all attributes.

        Tags and scores come first, because a full span drops the first ones.
        """
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
        """Add the number of characters of a payload to the span's estimated size."""
        if type(self._span) is RunSpan:
            self._span.weight += size

    def _send_evaluation(self, evaluation: "Judgement") -> None:
        """Send a score that was computed after the run was handed over."""
        if self._recorder is not None:
            shown = hide_values(evaluation, self._recorder.redaction)
            attributes = evaluation_attributes(shown, self._start_ns)
            self._recorder.send_record("evaluation", self._span, attributes)

    def _hold(self, judges: "Sequence[Judge]", end_ns: int) -> None:
        """Keep the run in the spool while its judges run, so that a kill does not lose it.

        The spooled copy marks each judge as lost. A real score replaces that mark later.
        """
        pipeline = None if self._recorder is None else self._recorder.spooled
        if pipeline is None or type(self._span) is not RunSpan:
            return
        unspoken = judged_call.lost(judges, "lost: the process ended before the judge finished")
        attributes = {**self._attributes(unspoken), **self._constants}
        pipeline.hold(self._span.copy(attributes, end_ns))

    def send_waiting(self, *, at_once: bool = False) -> None:
        """Send the tags, log lines and metrics that were added to the open run since the last call.

        Call it as often as you like: it sends at most every 0.4 s, or every 10 s for runs of over
        10 minutes. During the first second of a traced call, it sends only if there are new
        metrics.

        Args:
            at_once: Send even if the last send was less than 0.4 s (or 10 s) ago.
        """
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
        """Tell the collector that the run has started, unless it already knows."""
        recorder = self._recorder
        if recorder is None or self._ended:
            return
        tags = dict(self._ask()._tags or {})
        waiting = self._grow()
        waiting.facts.update(tags)
        known = {**tag_attributes(tags, waiting.details), **self._constants, **self._facts}
        known = encode_payloads(known, previews=True)
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

    def _update(self, add: Callable[[Updates, Any], None], value: Any) -> None:
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
        """Return whether an update must be sent immediately.

        The background thread handles neither ended runs nor runs that a parent process opened. With
        a spool, an update of a long run must survive a kill.
        """
        if self._ended or recorder.identity is not self._identity:
            return True
        if waiting is not None and waiting.is_full:
            return True
        if self._by_call or recorder.spooled is None:
            return False
        return waiting is None or waiting.is_due(time.time_ns(), self._start_ns)

    def _move_events(self, waiting: Updates) -> None:
        """Move queued text and data to the span, unless the run has already sent updates."""
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
            else:  # in a separate trace, so that the run's own trace stays readable
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

    def _put(self, key: str, value: object) -> None:
        """Record inputs or outputs, and a preview if the text is long."""
        recorder = self._recorder
        if recorder is None:
            return
        self._put_captured(key, recorder.redaction.capture(value, self._taking))

    def _put_captured(self, key: str, captured: str | CapturedPayload) -> None:
        facts = self._facts
        facts[key] = captured
        if not isinstance(captured, str):
            self._weigh(captured.weight)
        elif len(captured) > _SURELY_SHORT:
            self._weigh(len(captured))
            if self._recorder is not None and self._recorder.wants_previews:
                short = preview_of(captured)
                if short is not None:
                    facts[key + ".preview"] = short

    def _note(self, part: str, *notes: str) -> None:
        """Record on the run that a part was left out, and why."""
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
    """Hide secrets in the explanation and other texts of a judge's result."""
    texts = [judgement.label, judgement.explanation, judgement.error]
    if not any(texts):
        return judgement
    label, why, error = [None if text is None else redaction.text(text) for text in texts]
    return replace(judgement, label=label, explanation=why, error=error)


class OpenedRun(Run):
    """A run that you opened with `Client.run`.

    It ends when its ``with`` block ends, when you call `end`, when the object is garbage-collected,
    or when the process exits. Inside the ``with`` block, `current_run` returns it.
    """

    __slots__ = ("__weakref__", "_attached", "_may_train", "_until_ns")

    def __init__(
        self,
        recorder: Recorder | None,
        span: trace.Span,
        start_ns: int,
        constants: Mapping[str, Value],
    ) -> None:
        super().__init__(recorder, span, start_ns, constants)
        self._attached: Token[Context] | None = None
        self._may_train = False  # no `kind` was given: metrics by step make the run a training
        self._until_ns: int | None = None  # end time, if it was given

    def _now_ns(self) -> int:
        return time.time_ns() if self._until_ns is None else self._until_ns

    def __enter__(self) -> "OpenedRun":
        """Make this the current run, and its span the current span."""
        before = context_api.get_current()
        try:
            self._attached = attach(Context({**before, SPAN_KEY: self._span, RUN_KEY: self}))
        except BaseException as error:  # a signal handler raised: __exit__ will not be called
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
        """End the run. An exception in the block sets the outcome and is raised again."""
        token, self._attached = self._attached, None
        if token is not None:
            detach(token)
        self.end(error)

    @quiet("run.log_metrics")
    def _put_points(self, points: Sequence[LoggedPoint]) -> None:
        if self._may_train and self._recorder is not None and any(at.step >= 0 for at in points):
            self._constants = {**self._constants, names.KIND: "training"}
        super()._put_points(points)

    @quiet("run.end")  # the interpreter may be shutting down
    def __del__(self) -> None:
        """End a run that is no longer referenced."""
        self.end()


def open_run(  # noqa: PLR0913 - each is a fact about the run, by keyword
    recorder: Recorder,
    name: str,
    kind: str,
    given: Mapping[str, Any],
    tags: Iterable[Tags],
    *,
    inputs: object = None,
    ids: tuple[int, int] | None = None,
    start_ns: int = 0,
    past: tuple[int, int | None] | None = None,
) -> OpenedRun:
    """Open a run inside the current run, and report its start to the collector immediately.

    This is the implementation of `Client.run`.

    Args:
        recorder: Recorder that sends the run.
        name: Name of the model.
        kind: Kind of the run, such as ``chain`` or ``training``.
        given: Span attributes of the run, by name. None values are left out. Values other than
            integers and the run's params are converted to text.
        tags: Tags to set on the run.
        inputs: Input of the run, or None.
        ids: Trace ID and span ID to use, for a run that several processes share. None creates new
            IDs. A tracer provider that is not of the SDK's own class cannot use given IDs. The run
            is then not recorded.
        start_ns: Start time in ns, if another process started the run; 0 for now.
        past: Start and end in ns, if the user gave them; the end is None if the run ends later.
            Such a run is marked as history, and its start is not reported.

    Returns:
        The run. If recording is off, its methods do nothing.

    Raises:
        ValueError: The tags are invalid. No run is opened.
    """
    own_tags = check_tags(tags)
    run = None
    with quiet("run"):
        active = recorder.active()
        if active is not None:
            began = ids, past[0] if past else start_ns or time.time_ns()
            run = _start_run(active, name, kind, given, began)
            if past is not None:
                run._until_ns = past[1]
                if type(run._span) is RunSpan:
                    run._span.mark_history()
    if run is None:
        recorder.miss()
        return OpenedRun(None, trace.get_current_span(), 0, {})
    with quiet("run"):
        if run._recorder is not None:
            if own_tags[0]:
                run._set_tags(*own_tags)
            if inputs is not None:
                run.set_input(inputs)
            if past is None:
                run._recorder.open_runs.announce(run)
            else:
                run._recorder.open_runs.end_at_exit(run)
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
    surroundings = surroundings_of(current)
    if surroundings is not None and surroundings.tags:
        run._tags = recorder.redaction.values(dict(surroundings.tags))
    return run


def facts_around(context: Context | None) -> dict[str, Value]:
    """Return the span attributes that a new run gets from the code around it.

    For example, a run inside an experiment gets the name of the experiment. A run inside an
    `otel_ml.context` block gets the block's session and user.

    Args:
        context: OpenTelemetry context in which the run starts. For an outermost run, session and
            user are also read from the context's baggage. None returns only the attributes of the
            experiment or judge that the run belongs to.
    """
    facts: dict[str, Value] = dict(MARKS.get() or ())
    if context and RUN_KEY not in context:
        entries = baggage.get_all(context)
        for name in _NAMES_OF_BAGGAGE:
            if name in entries:
                facts[name] = clean(text_of(entries[name]))
    surroundings = surroundings_of(context)
    if surroundings is not None and context is not None:
        facts.update(surroundings.facts(context))
    return facts


def surroundings_of(context: Context | None) -> Surroundings | None:
    """Return what `otel_ml.context` has set around the current code. None outside its blocks."""
    given = context.get(CONTEXT_KEY) if context else None
    return given if isinstance(given, Surroundings) else None


# the run outside any run: it accepts every call and keeps nothing
NO_RUN: Final = Run(None, trace.INVALID_SPAN, 0, {})


def current_run() -> Run:
    """Return the innermost open run of the current task or thread.

    Outside of any run, it returns a run whose methods do nothing, so you can call it anywhere.
    """
    run = context_api.get_value(RUN_KEY)
    return run._ask() if isinstance(run, Run) else NO_RUN
