"""Spans of runs and of records about them, read back as plain values."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan

from otel_ml import attributes as names
from otel_ml.metrics import Metric, resolve
from otel_ml.wire import Point


@dataclass(frozen=True, slots=True)
class RecordedEvaluation:
    """What a judge, a person or the truth said of a run.

    Attributes:
        run_id: Of the run; None when it was named by a tag or a trace key.
        judge: Who, or what, was scored.
        source: ``judge``, ``human`` or ``actual``.
    """

    run_id: str | None
    judge: str
    score: float | None
    passed: bool | None
    label: str | None
    explanation: str | None
    error: str | None
    source: str


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """One run that has ended, as it would have been sent.

    Attributes:
        id: ``<32 hex>-<16 hex>``, as `Run.id`.
        parent_id: The same of the span above it; None for a root.
        inputs: By parameter name, as JSON has them; None when they were left out.
        outputs: As JSON has them; None when they were left out.
        scores: By judge, those that are numbers.
        passed: By judge, where it was said.
        metrics: A number, or a list of them for a series.
        logs: Severity and text of each line.
        attributes: All attributes of the span, as they are on the wire.
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


def read_runs(spans: Iterable[ReadableSpan]) -> list[RecordedRun]:
    """Read the runs among spans, in the order in which they began, with all records about them."""
    runs, records = _sorted(spans)
    about: dict[str | None, list[ReadableSpan]] = {}
    for record in records:
        about.setdefault(_target(record), []).append(record)
    return [_run(span, about.get(_id(span), ())) for span in runs]


def read_evaluations(spans: Iterable[ReadableSpan]) -> list[RecordedEvaluation]:
    """Read all evaluations: those that runs carry, then those that came later."""
    runs, records = _sorted(spans)
    found = [evaluation for span in runs for evaluation in _carried(span)]
    return found + [_evaluation(record) for record in records if _is(record, "evaluation")]


def _sorted(spans: Iterable[ReadableSpan]) -> tuple[list[ReadableSpan], list[ReadableSpan]]:
    runs: list[ReadableSpan] = []
    records: list[ReadableSpan] = []
    for span in spans:
        (runs if _is(span, "run") else records).append(span)
    runs.sort(key=lambda span: span.start_time or 0)
    return runs, records


def _run(span: ReadableSpan, records: Sequence[ReadableSpan]) -> RecordedRun:
    said = _attributes(span)
    updates = [record for record in records if _is(record, "update")]
    tags = _tags(said)
    for update in updates:
        tags.update(_tags(_attributes(update)))
    evaluations = _carried(span)
    evaluations += [_evaluation(record) for record in records if _is(record, "evaluation")]
    return RecordedRun(
        id=_id(span),
        parent_id=None if span.parent is None else _id_of(span.parent),
        trace_id=_id(span).partition("-")[0],
        name=str(said.get(names.MODEL_NAME, span.name)),
        kind=str(said.get(names.KIND, "model")),
        inputs=_loads(said.get(names.INPUTS)),
        outputs=_loads(said.get(names.OUTPUTS)),
        tags=tags,
        scores={one.judge: one.score for one in evaluations if one.score is not None},
        passed={one.judge: one.passed for one in evaluations if one.passed is not None},
        metrics=_metrics(map(_attributes, updates)),
        logs=_logs([span, *updates]),
        outcome=str(said.get(names.OUTCOME, "")),
        error_type=said.get(names.ERROR_TYPE),
        error_message=_error_message(span),
        latency_ms=float(said.get(names.LATENCY_MS, 0.0)),
        session=said.get(names.SESSION_ID),
        user=said.get(names.USER_ID),
        params=_loads(said.get(names.PARAMS)),
        attributes=said,
    )


def _carried(span: ReadableSpan) -> list[RecordedEvaluation]:
    """Read the scores that were known when the run was handed over."""
    said = _attributes(span)
    details = _loads(said.get(names.JUDGES)) or {}
    return [
        RecordedEvaluation(
            run_id=_id(span),
            judge=judge,
            score=said.get(names.SCORE_PREFIX + judge, detail.get("score")),
            passed=said.get(names.PASSED_PREFIX + judge, detail.get("passed")),
            label=detail.get("label"),
            explanation=detail.get("explanation"),
            error=detail.get("error"),
            source="judge",
        )
        for judge, detail in details.items()
    ]


def _evaluation(record: ReadableSpan) -> RecordedEvaluation:
    said = _attributes(record)
    return RecordedEvaluation(
        run_id=_target(record),
        judge=str(said.get(names.JUDGE_NAME, "")),
        score=said.get(names.SCORE_VALUE),
        passed=said.get(names.PASSED),
        label=said.get(names.SCORE_LABEL),
        explanation=said.get(names.EXPLANATION),
        error=said.get(names.ERROR_TYPE),
        source=str(said.get(names.SOURCE, "judge")),
    )


def _tags(said: Mapping[str, Any]) -> dict[str, Any]:
    tags = {
        key.removeprefix(names.TAG_PREFIX): value
        for key, value in said.items()
        if key.startswith(names.TAG_PREFIX)
    }
    for name, detail in (_loads(said.get(names.TAGS)) or {}).items():
        if "value" in detail:
            tags.setdefault(name, detail["value"])
    return tags


def _metrics(updates: Iterable[Mapping[str, Any]]) -> dict[str, Metric]:
    points = [
        Point(name, float(value), -1, int(time_ns), mode)
        for said in updates
        for name, value, time_ns, mode in zip(
            said.get(names.METRIC_NAMES, ()),
            said.get(names.METRIC_VALUES, ()),
            said.get(names.METRIC_TIMES, ()),
            said.get(names.METRIC_MODES, ()),
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
    return [(str(said[names.LOG_SEVERITY]), str(said[names.LOG_MESSAGE])) for _, said in lines]


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
    return None if record.parent is None else _id_of(record.parent)


def _attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def _id(span: ReadableSpan) -> str:
    return _id_of(span.get_span_context())


def _id_of(context: Any) -> str:
    return f"{context.trace_id:032x}-{context.span_id:016x}"


def _loads(text: object) -> Any:
    return json.loads(text) if isinstance(text, str) else None
