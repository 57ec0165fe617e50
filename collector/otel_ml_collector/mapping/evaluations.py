"""Reads scores from spans of judged runs, events, log records and our own `evaluation` records.

Spec: https://github.com/open-telemetry/semantic-conventions-genai
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from otel_ml import attributes as names
from otel_ml.records import write_actual
from otel_ml_collector.mapping.dialects import own
from otel_ml_collector.mapping.dialects.evaluator import is_sent_by
from otel_ml_collector.mapping.dialects.table import AttributeColumns, Present
from otel_ml_collector.mapping.run_columns import RunColumns
from otel_ml_collector.mapping.values import parse, real_score, service_name, to_float, to_text
from otel_ml_collector.owners import own_key, own_session
from otel_ml_collector.records import Metric, ModelVersion, Records, Run, run_id
from otel_ml_collector.span import Span, Value, is_span_id
from otel_ml_collector.times import LATEST_NS

EVALUATION: Final = "gen_ai.evaluation.result"
# Reason to reject an evaluation that names no judge.
BAD_EVALUATION: Final = "invalid_evaluation"
# Reason to reject ground truth whose value is missing or too long, or whose source is not
# ``actual``.
BAD_ACTUAL: Final = "invalid_actual"
_PREFIX: Final = "gen_ai.evaluation."
_VERDICTS: Final = {"pass": True, "passed": True, "fail": False, "failed": False}


def add_scores(
    span: Span,
    run: Run,
    own_names: own.OwnNames | None,
    dialects: Iterable[Present],
    records: Records,
) -> None:
    """Add to `records` the scores on a run's own span, and the versions of their judges."""
    if own_names is not None and own_names.is_judged:
        _add_own(span.attributes, run, own_names.judges, records)
    for event in span.events:
        if event.name == EVALUATION and judge_of(event.attributes):
            add_evaluation(
                event.attributes,
                run.project,
                run.run_id,
                event.time_ns,
                records,
                owner_start_ns=run.start_ns,
            )
    for present in dialects:
        if present.scores and is_sent_by(present.dialect, span.scope):
            records.metrics += _dialect_scores(span, present, run)


def judge_of(attributes: Mapping[str, Value]) -> str:
    """Return the judge that an evaluation event names; empty if none (then it is not a score)."""
    return to_text(attributes.get(f"{_PREFIX}name"))


def add_evaluation(
    attributes: Mapping[str, Value],
    project: str,
    owner: str,
    time_ns: int,
    records: Records,
    *,
    owner_start_ns: int = 0,
) -> None:
    """Add the score of a ``gen_ai.evaluation.result`` event and the version of its judge.

    Args:
        attributes: Attributes of the event. They must name a judge.
        project: Project to file the score under.
        owner: The judged run, trace or response.
        time_ns: Time of the score, in nanoseconds since the epoch.
        records: Records to add to.
        owner_start_ns: Start of the judged run; 0 if unknown.
    """
    label = to_text(attributes.get(f"{_PREFIX}score.label"))
    passed = attributes.get(names.PASSED, _VERDICTS.get(label.strip().lower()))
    score = _score(
        Metric(
            project=project,
            owner=owner,
            owner_start_ns=owner_start_ns,
            name=judge_of(attributes),
            value=to_float(attributes.get(f"{_PREFIX}score.value")),
            step=-1,
            time_ns=min(time_ns, LATEST_NS),
            mode="single",
            source="judge",
            passed=passed if isinstance(passed, bool) else None,
            label=label,
            explanation=to_text(attributes.get(f"{_PREFIX}explanation")),
            error=to_text(attributes.get(names.ERROR_TYPE)),
            judge_version=to_text(attributes.get(names.JUDGE_VERSION)),
        )
    )
    if score.value is None and not label and not score.error:  # a label alone is a verdict too
        score = replace(score, error="the evaluation has no score")
    records.metrics.append(score)
    _add_version(score, owner_start_ns or score.time_ns, "", records)


def map_evaluation(
    span: Span, project: str, owner: str, owner_start_ns: int, records: Records
) -> str | None:
    """Add the score of an `evaluation` record. Return why it is rejected; None if it is valid."""
    attributes = span.attributes
    judge = to_text(attributes.get(names.JUDGE_NAME))
    has_actual = names.ACTUAL in attributes or names.ACTUAL_LIST in attributes
    source = to_text(attributes.get(names.SOURCE, "actual" if has_actual else "judge"))
    if not judge or source not in names.SOURCES:
        return BAD_EVALUATION
    actual = _read_actual(attributes) if has_actual else ""
    if actual is None or (has_actual and source != "actual"):
        return BAD_ACTUAL
    passed = attributes.get(names.PASSED)
    score = _score(
        Metric(
            project=project,
            owner=owner,
            owner_start_ns=owner_start_ns,
            name=judge,
            value=to_float(attributes.get(names.SCORE_VALUE)),
            step=-1,
            time_ns=span.start_ns,
            mode="single",
            source=source,
            passed=passed if isinstance(passed, bool) else None,
            label=to_text(attributes.get(names.SCORE_LABEL)),
            explanation=to_text(attributes.get(names.EXPLANATION)),
            error=to_text(attributes.get(names.ERROR_TYPE)),
            judge_version=to_text(attributes.get(names.JUDGE_VERSION)),
            record_id="" if source == "judge" else span.span_id.hex(),
            actual=actual,
            annotator=to_text(attributes.get(names.ANNOTATOR))
            or (service_name(span.scope.resource) if source == "actual" else ""),
            latency_ms=_finite(attributes.get(names.LATENCY_MS)),
            cost=_finite(attributes.get(names.JUDGE_COST)),
        )
    )
    records.metrics.append(score)
    if source == "judge":
        definition = to_text(attributes.get(names.MODEL_DEFINITION))
        _add_version(score, span.start_ns, definition, records)
    return None


def _read_actual(attributes: Mapping[str, Value]) -> str | None:
    """Return a ground truth value as JSON text; None if it is invalid."""
    value = attributes.get(names.ACTUAL)
    if names.ACTUAL_LIST in attributes:
        value = parse(attributes[names.ACTUAL_LIST])  # type: ignore[assignment]  # looked at below
        if not isinstance(value, list):
            return None
    try:
        return write_actual(value)
    except ValueError:
        return None


def _score(metric: Metric) -> Metric:
    """Return a score unchanged; if it is NaN or infinite, without value and with an error."""
    score, problem = real_score(metric.value)
    return replace(metric, value=score, error=metric.error or problem) if problem else metric


def _finite(value: Value) -> float | None:
    """Return a value as a finite number; None for anything else."""
    number = to_float(value)
    return number if number is not None and math.isfinite(number) else None


def _add_version(score: Metric, at_ns: int, definition: str, records: Records) -> None:
    """Add the version of the judge that gave a score, if the score names one."""
    if score.judge_version:
        records.versions.append(
            ModelVersion(
                score.project,
                "judge",
                score.name,
                score.judge_version,
                "",
                definition,
                at_ns,
                at_ns,
            )
        )


def _of_run(run: Run, judge: str, value: float | None) -> Metric:
    """Return a judge's score of a run, timed at the end of the run."""
    return _score(
        Metric(
            project=run.project,
            owner=run.run_id,
            owner_start_ns=run.start_ns,
            name=judge,
            value=value,
            step=-1,
            time_ns=run.end_ns,
            mode="single",
            source="judge",
        )
    )


def _add_own(
    attributes: Mapping[str, Value], run: Run, judged: Sequence[str], records: Records
) -> None:
    for judge, entry in own.read_judges(attributes, judged).items():
        value, passed = own.read_score(attributes, judge, entry)
        bare = _of_run(run, judge, value)
        score = replace(
            bare,
            passed=passed,
            label=to_text(entry.get("label")),
            explanation=to_text(entry.get("explanation")),
            error=to_text(entry.get("error")) or bare.error,
            judge_version=to_text(entry.get("version")),
            latency_ms=_finite(entry.get("latency_ms")),
            cost=_finite(entry.get("cost")),
        )
        records.metrics.append(score)
        _add_version(score, run.start_ns, to_text(entry.get("definition")), records)


def _dialect_scores(span: Span, present: Present, run: Run) -> Iterator[Metric]:
    """Yield scores written by other instrumentations: a list, numbers by judge, or annotations."""
    values = AttributeColumns([span.attributes], RunColumns(1))
    place = 0
    for source in present.scores:
        (found,) = values.read(source, [0])
        if source.shape is not None and isinstance(found, list):
            owner = _judged_owner(span, source.names, run)
            for item in found:
                if owner is not None and isinstance(item, Mapping):
                    for score in _item_score(run, item, place):
                        yield replace(score, owner=owner, owner_start_ns=0) if owner else score
                place += 1
        elif source.prefix and isinstance(found, Mapping):
            for judge, score_value in found.items():
                yield from _read_score(run, judge, score_value)
        else:
            yield from _annotation(span, to_text(found), run)


def _judged_owner(span: Span, sources: Sequence[str], run: Run) -> str | None:
    """Return the run, trace or session that feedback on a span is about.

    Feedback that arrives after a span ended is sent on the span of an evaluator. That span has a
    single link to what the feedback is about. All other feedback is about the span that carries it,
    or about the trace of that span.

    Returns:
        The owner of the score; empty for the span's own run. None if the feedback is about a
        session, but the span has no session.

    Spec: https://github.com/Arize-ai/openinference/blob/main/spec/annotations.md
    """
    if any(name.startswith("session.") for name in sources):
        return own_session(run.session) if run.session else None
    is_evaluator = span.attributes.get("openinference.span.kind") == "EVALUATOR"
    link = span.links[0] if is_evaluator and len(span.links) == 1 else None
    if any(name.startswith("trace.") for name in sources):
        return own_key((span.trace_id if link is None else link.trace_id).hex())
    return "" if link is None else run_id(link.trace_id, link.span_id)


def _item_score(run: Run, item: Mapping[str, Value], place: int) -> Iterator[Metric]:
    for score in _read_score(
        run,
        to_text(item.get("name")),
        item.get("score"),
        label=to_text(item.get("label")),
        explanation=to_text(item.get("explanation")),
    ):
        is_human = to_text(item.get("annotator_kind")).upper() == "HUMAN"
        who = to_text(item.get("identifier"))
        yield replace(_by_person(score, run, place), annotator=who) if is_human else score


def _annotation(span: Span, judge: str, run: Run) -> Iterator[Metric]:
    """Yield a reviewer's score from a Logfire annotation. The score belongs to the parent span."""
    attributes = span.attributes
    if attributes.get("logfire.span_type") != "annotation" or not is_span_id(span.parent_span_id):
        return
    value = attributes.get(judge)
    label = value if isinstance(value, str) else ""
    comment = to_text(attributes.get("logfire.feedback.comment"))
    for score in _read_score(
        run, judge, None if isinstance(value, str) else value, label=label, explanation=comment
    ):
        owner = run_id(span.trace_id, span.parent_span_id)
        yield replace(_by_person(score, run, 0), owner=owner, owner_start_ns=0)


def _read_score(
    run: Run, judge: str, value: Value, *, label: str = "", explanation: str = ""
) -> Iterator[Metric]:
    """Yield a score from a number, bool (passed or failed) or label; nothing without a judge."""
    passed = value if isinstance(value, bool) else None
    score = _of_run(run, judge, to_float(value))
    if judge and not (score.value is passed is None and not label and not score.error):
        yield replace(score, passed=passed, label=label, explanation=explanation)


def _by_person(score: Metric, run: Run, place: int) -> Metric:
    """Return a score as one by a reviewer, with its own record id on the span."""
    record_id = f"{run.span_id.hex()}-{place}" if place else run.span_id.hex()
    return replace(score, source="human", record_id=record_id, position=place)
