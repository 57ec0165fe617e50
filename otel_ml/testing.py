"""Test helper: record a client's runs in memory and check them as plain values."""

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from otel_ml import attributes as names
from otel_ml.arguments import check_text, invalid
from otel_ml.client import Client
from otel_ml.judges.pool import JudgePool
from otel_ml.late import late
from otel_ml.limits import read_limits
from otel_ml.metrics import LoggedPoint, Metric, resolve
from otel_ml.outlet import Route
from otel_ml.recorder import OpenRuns, Recorder
from otel_ml.spans import RunSpan, run_id_of, start_of_own
from otel_ml.versions.pending_runs import PENDING_RUNS

if TYPE_CHECKING:
    from otel_ml import default
else:
    default = late("default")

__all__ = ["RecordedCalls", "RecordedEvaluation", "RecordedRun", "record"]

_JUDGES_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class RecordedEvaluation:
    """An evaluation that was recorded in a test: by a judge, by a reviewer, or ground truth.

    Attributes:
        run_id: ID of the run. None if the evaluation was sent for all runs with a tag or a trace
            key.
        judge: Name of the judge, or the name passed to `Run.feedback` or `Run.actual`.
        source: Who evaluated: ``judge``, ``human``, ``agent``, or ``actual`` for ground truth.
        actual: The ground truth; None if the evaluation is not ground truth.
    """

    run_id: str | None
    judge: str
    score: float | None
    passed: bool | None
    label: str | None
    explanation: str | None
    error: str | None
    source: str
    actual: Any = None


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """A run that was recorded in a test, with the values that would have been sent.

    Attributes:
        id: Run ID, ``<32 hex>-<16 hex>``, as in `Run.id`.
        parent_id: ID of the parent span in the same format. None if there is no parent.
        inputs: Inputs by parameter name, as JSON values. None if they were not recorded.
        outputs: Output as JSON values. None if it was not recorded.
        scores: Score by judge name, for judges that returned a number.
        passed: Whether the run passed, by judge name, for judges that returned passed or failed.
        metrics: Metrics by name: a number, or a list for a series.
        logs: Severity and text of each log line.
        attributes: All attributes of the span, as they would be sent.
    """

    id: str
    parent_id: str | None
    trace_id: str
    name: str
    kind: str
    inputs: Any
    outputs: Any
    tags: dict[str, Any]
    scores: dict[str, float]
    passed: dict[str, bool]
    metrics: dict[str, Metric]
    logs: list[tuple[str, str]]
    outcome: str
    error_type: str | None
    error_message: str | None
    latency_ms: float
    session: str | None
    user: str | None
    params: Any
    attributes: dict[str, Any]


class RecordedCalls:
    """The runs that a `record` block has recorded so far, for assertions in a test.

    Each property first waits until the results are complete. It waits up to 60 s for judges. It
    also waits up to 60 s for the hash of model weights, which is part of the model version.
    """

    def __init__(self, recorder: Recorder, spans: list[RunSpan]) -> None:
        self._recorder = recorder
        self._spans = spans

    @property
    def runs(self) -> list[RecordedRun]:
        """All runs that have ended, in the order in which they started."""
        return read_runs(self._finished())

    @property
    def run(self) -> RecordedRun:
        """The only run in the block.

        Raises:
            AssertionError: There is no run, or more than one.
        """
        runs = self.runs
        if len(runs) == 1:
            return runs[0]
        there = ", ".join(f"{run.name} ({run.outcome})" for run in runs)
        raise AssertionError(
            f"Expected one run, there are {len(runs)}: {there or 'none has ended'}"
        )

    def named(self, name: str) -> list[RecordedRun]:
        """Return the runs of one model.

        You can leave out the start of a dotted name: ``rank`` finds runs of ``shop.cart.rank``.

        Raises:
            ValueError: `name` is not a string of 1 to 1,024 characters.
        """
        check_text("name", name)
        return [run for run in self.runs if run.name == name or run.name.endswith(f".{name}")]

    @property
    def evaluations(self) -> list[RecordedEvaluation]:
        """All evaluations by judges and reviewers, first those sent with runs, then later ones."""
        return read_evaluations(self._finished())

    def _finished(self) -> list[RunSpan]:
        if not self._recorder.judges.drain(_JUDGES_S):
            raise TimeoutError(f"Judges did not finish within {_JUDGES_S:g} s")
        if PENDING_RUNS.drain(_JUDGES_S):
            raise TimeoutError(f"Weights of models were not read within {_JUDGES_S:g} s")
        return list(self._spans)


@contextmanager
def record(client: Client | None = None) -> Iterator[RecordedCalls]:
    """Record runs in memory instead of sending them, so that a test can check them.

    It records all runs that start inside the block, in any thread, even if sampling or
    ``OTEL_SDK_DISABLED`` would drop them. Runs that started earlier are sent as usual. The client
    starts no background threads except for judges, and your tracer provider gets no spans from it.

    Args:
        client: The client whose runs to record. Default: the client behind ``otel_ml.trace``.

    Raises:
        ValueError: `client` is not a `Client`.
        RuntimeError: The client is already being recorded.
    """
    if client is None:
        client = default._CLIENT
    if not issubclass(type(client), Client):
        raise invalid("client", client, "a Client, or None")
    own = client._recorder
    spans: list[RunSpan] = []
    kept = _InMemory(own, spans)
    with own.lock:
        if own.diverted is not None:
            raise RuntimeError(
                f"Already recording project {own.project!r}: end that block before you start "
                "another one"
            )
        own.diverted = kept
    try:
        yield RecordedCalls(kept, spans)
    finally:
        own.diverted = None
        kept.judges.close(_JUDGES_S)


class _InMemory(Recorder):
    """Records into memory in place of a client's recorder.

    It has its own sequence numbers and definitions, because a definition that is noted here is not
    sent to the collector.
    """

    def __init__(self, own: Recorder, spans: list[RunSpan]) -> None:
        super().__init__(Route(own.project), own.redaction)
        self.enabled = True
        # no resource detectors and no environment: both may contact other machines
        resource = Resource({names.PROJECT: own.project})
        provider = TracerProvider(
            sampler=ALWAYS_ON,
            resource=resource,
            shutdown_on_exit=False,
            span_limits=read_limits(),
        )
        scope = InstrumentationScope(names.SCOPE_NAME)
        self.start = start_of_own(provider, lambda: scope, spans.append)
        self.open_runs = _Unwatched(self._beat)
        self._judges = JudgePool(hold_s=_JUDGES_S)

    @property
    def page(self) -> str:
        """Always empty: there is no collector."""
        return ""

    def _begin(self) -> None:
        super()._begin()
        self._numbers = itertools.count(1)


class _Unwatched(OpenRuns):
    """Keeps the open runs, but sends no start records, so it needs no background thread."""

    def _wake(self) -> None:
        """Do not start a thread."""


def read_runs(spans: Iterable[ReadableSpan]) -> list[RecordedRun]:
    """Convert spans to runs, in start order, with tags, metrics and scores sent separately."""
    runs, records = _sorted(spans)
    about: dict[str | None, list[ReadableSpan]] = {}
    for record in records:
        about.setdefault(_target(record), []).append(record)
    return [_run(span, about.get(_id(span), ())) for span in runs]


def read_evaluations(spans: Iterable[ReadableSpan]) -> list[RecordedEvaluation]:
    """Return all evaluations in spans: first those sent with runs, then those sent later."""
    runs, records = _sorted(spans)
    evaluations = [evaluation for span in runs for evaluation in _carried(span)]
    return evaluations + [_evaluation(record) for record in records if _is(record, "evaluation")]


def _sorted(spans: Iterable[ReadableSpan]) -> tuple[list[ReadableSpan], list[ReadableSpan]]:
    runs: list[ReadableSpan] = []
    records: list[ReadableSpan] = []
    for span in spans:
        (runs if _is(span, "run") else records).append(span)
    runs.sort(key=lambda span: span.start_time or 0)
    return runs, records


def _run(span: ReadableSpan, records: Sequence[ReadableSpan]) -> RecordedRun:
    attributes = _attributes(span)
    updates = [record for record in records if _is(record, "update")]
    tags = _tags(attributes)
    for update in updates:
        tags.update(_tags(_attributes(update)))
    evaluations = _carried(span)
    evaluations += [_evaluation(record) for record in records if _is(record, "evaluation")]
    return RecordedRun(
        id=_id(span),
        parent_id=None if span.parent is None else run_id_of(span.parent),
        trace_id=_id(span).partition("-")[0],
        name=str(attributes.get(names.MODEL_NAME, span.name)),
        kind=str(attributes.get(names.KIND, "model")),
        inputs=_loads(attributes.get(names.INPUTS)),
        outputs=_loads(attributes.get(names.OUTPUTS)),
        tags=tags,
        scores={
            evaluation.judge: evaluation.score
            for evaluation in evaluations
            if evaluation.score is not None
        },
        passed={
            evaluation.judge: evaluation.passed
            for evaluation in evaluations
            if evaluation.passed is not None
        },
        metrics=_metrics(map(_attributes, updates)),
        logs=_logs([span, *updates]),
        outcome=str(attributes.get(names.OUTCOME, "")),
        error_type=attributes.get(names.ERROR_TYPE),
        error_message=_error_message(span),
        latency_ms=float(attributes.get(names.LATENCY_MS, 0.0)),
        session=attributes.get(names.SESSION_ID),
        user=attributes.get(names.USER_ID),
        params=_loads(attributes.get(names.PARAMS)),
        attributes=attributes,
    )


def _carried(span: ReadableSpan) -> list[RecordedEvaluation]:
    """Read the scores that were sent together with the run."""
    attributes = _attributes(span)
    details = _loads(attributes.get(names.JUDGES)) or {}
    return [
        RecordedEvaluation(
            run_id=_id(span),
            judge=judge,
            score=attributes.get(names.SCORE_PREFIX + judge, detail.get("score")),
            passed=attributes.get(names.PASSED_PREFIX + judge, detail.get("passed")),
            label=detail.get("label"),
            explanation=detail.get("explanation"),
            error=detail.get("error"),
            source="judge",
        )
        for judge, detail in details.items()
    ]


def _evaluation(record: ReadableSpan) -> RecordedEvaluation:
    attributes = _attributes(record)
    return RecordedEvaluation(
        run_id=_target(record),
        judge=str(attributes.get(names.JUDGE_NAME, "")),
        score=attributes.get(names.SCORE_VALUE),
        passed=attributes.get(names.PASSED),
        label=attributes.get(names.SCORE_LABEL),
        explanation=attributes.get(names.EXPLANATION),
        error=attributes.get(names.ERROR_TYPE),
        source=str(attributes.get(names.SOURCE, "judge")),
        actual=attributes.get(names.ACTUAL, _loads(attributes.get(names.ACTUAL_LIST))),
    )


def _tags(facts: Mapping[str, Any]) -> dict[str, Any]:
    tags = {
        key.removeprefix(names.TAG_PREFIX): value
        for key, value in facts.items()
        if key.startswith(names.TAG_PREFIX)
    }
    for name, detail in (_loads(facts.get(names.TAGS)) or {}).items():
        if "value" in detail:
            tags.setdefault(name, detail["value"])
    return tags


def _metrics(updates: Iterable[Mapping[str, Any]]) -> dict[str, Metric]:
    points = [
        LoggedPoint(name, float(value), -1, int(time_ns), mode)
        for update in updates
        for name, value, time_ns, mode in zip(
            update.get(names.METRIC_NAMES, ()),
            update.get(names.METRIC_VALUES, ()),
            update.get(names.METRIC_TIMES, ()),
            update.get(names.METRIC_MODES, ()),
            strict=True,
        )
    ]
    points.sort(key=lambda point: point.time_ns)
    return resolve(points)


def _logs(spans: Iterable[ReadableSpan]) -> list[tuple[str, str]]:
    lines = [
        (event.timestamp, event.attributes or {})
        for span in spans
        for event in span.events
        if event.name == names.LOG_EVENT
    ]
    lines.sort(key=lambda line: line[0])
    return [(str(value[names.LOG_SEVERITY]), str(value[names.LOG_MESSAGE])) for _, value in lines]


def _error_message(span: ReadableSpan) -> str | None:
    for event in span.events:
        if event.name == "exception":
            return str((event.attributes or {}).get("exception.message", ""))
    return None


def _is(span: ReadableSpan, record: str) -> bool:
    return bool(_attributes(span).get(names.RECORD, "run") == record)


def _target(record: ReadableSpan) -> str | None:
    named = _attributes(record).get(names.TARGET_RUN)
    if named is not None:
        return str(named)
    return None if record.parent is None else run_id_of(record.parent)


def _attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def _id(span: ReadableSpan) -> str:
    return run_id_of(span.get_span_context())  # type: ignore[arg-type]  # ours has one


def _loads(text: object) -> Any:
    return json.loads(text) if isinstance(text, str) else None
