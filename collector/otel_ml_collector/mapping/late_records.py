"""Records about runs that come as spans of their own: `update` and `evaluation`."""

import re
from collections.abc import Sequence
from typing import Final

from otel_ml import attributes as names
from otel_ml_collector.mapping.artifacts import BAD_ARTIFACT, has_bad_artifact, read_artifacts
from otel_ml_collector.mapping.check import Window, is_span_id
from otel_ml_collector.mapping.dialects.own import read_line, read_tags
from otel_ml_collector.mapping.evaluations import BAD_EVALUATION
from otel_ml_collector.mapping.trace_keys import NO_TRACE_ID
from otel_ml_collector.mapping.values import real_score, to_float, to_int, to_text
from otel_ml_collector.owners import KEY, TRACE_KEY_CHARS, is_run, own_key, own_model, own_tag
from otel_ml_collector.records import (
    LateLog,
    LateTag,
    Metric,
    ModelVersion,
    Records,
    TraceKey,
    run_id,
)
from otel_ml_collector.span import Span, Value

NO_TARGET: Final = "record_without_target"
_BAD_METRICS: Final = "invalid_metric_lists"
_RUN_ID: Final = re.compile("[0-9a-f]{32}-[0-9a-f]{16}")
_TRACE_CHARS: Final = 32
_TARGET_CHARS: Final = 1_024


def owner_of(span: Span) -> str | None:
    """Name the run that a record is about; None when it names none that could be."""
    target = span.attributes.get(names.TARGET_RUN)
    if target is not None:
        return target if isinstance(target, str) and _RUN_ID.fullmatch(target) else None
    if not is_span_id(span.parent_span_id):
        return None
    return run_id(span.trace_id, span.parent_span_id)


def _target_of(span: Span) -> str | None:
    """Name what a record is about: a run, a trace key, a tag or a model's version.

    Returns:
        The owner of what it tells; None when it names nothing that could be.
    """
    told = span.attributes
    if names.TARGET_RUN in told:
        return owner_of(span)
    if names.TARGET_TRACE_KEY in told:
        key = _target_text(told[names.TARGET_TRACE_KEY])
        return own_key(key) if key else None
    if names.TARGET_TAG in told:
        tag = _target_text(told[names.TARGET_TAG])
        return own_tag(tag) if tag.find("=") > 0 else None
    if names.TARGET_MODEL in told:
        model = _target_text(told[names.TARGET_MODEL])
        version = _target_text(told.get(names.TARGET_VERSION))
        return own_model(model, version) if model and version else None
    return owner_of(span)


def read_keys(span: Span, project: str) -> list[TraceKey]:
    """Read by which keys a record about a run, or about a key itself, is found."""
    owner = _target_of(span) or ""
    at_ns = span.start_ns
    if owner.startswith(KEY):
        return [TraceKey(owner.removeprefix(KEY), project, NO_TRACE_ID, at_ns, at_ns)]
    key = to_text(span.attributes.get(names.TRACE_KEY))
    if not key or not is_run(owner):
        return []
    trace_id = bytes.fromhex(owner[:_TRACE_CHARS])
    return [
        TraceKey(text, project, trace_id, at_ns, at_ns)
        for text in (trace_id.hex(), key[:TRACE_KEY_CHARS])
    ]


def map_update(span: Span, project: str, records: Records, known: Window) -> str | None:
    """Add what an `update` tells of its target; return why it is rejected, if it is."""
    owner = _target_of(span)
    if owner is None:
        return NO_TARGET
    if has_bad_artifact(span):
        return BAD_ARTIFACT
    points = _points(span, project, owner, known)
    if points is None:
        return _BAD_METRICS
    record = span.span_id.hex()
    records.metrics += points
    records.tags += [
        LateTag(project, owner, tag, span.start_ns, record)
        for tag in read_tags(span.attributes).values()
    ]
    lines = [line for event in span.events if (line := read_line(event)) is not None]
    records.logs += [
        LateLog(project, owner, line, record, position) for position, line in enumerate(lines)
    ]
    records.artifacts += read_artifacts(span, project, owner)
    records.versions += _told_version(span, project, owner)
    return None


def map_evaluation(span: Span, project: str, records: Records, known: Window) -> str | None:
    """Add the score of an `evaluation`; return why it is rejected, if it is."""
    owner = _target_of(span)
    attributes = span.attributes
    judge = to_text(attributes.get(names.JUDGE_NAME))
    source = to_text(attributes.get(names.SOURCE, "judge"))
    if owner is None:
        return NO_TARGET
    if not judge or source not in names.SOURCES:
        return BAD_EVALUATION
    score, problem = real_score(to_float(attributes.get(names.SCORE_VALUE)))
    passed = attributes.get(names.PASSED)
    version = to_text(attributes.get(names.JUDGE_VERSION))
    records.metrics.append(
        Metric(
            project=project,
            owner=owner,
            owner_start_ns=_target_start(span, known),
            name=judge,
            value=score,
            step=-1,
            time_ns=span.start_ns,
            mode="single",
            source=source,
            passed=passed if isinstance(passed, bool) else None,
            label=to_text(attributes.get(names.SCORE_LABEL)),
            explanation=to_text(attributes.get(names.EXPLANATION)),
            error=to_text(attributes.get(names.ERROR_TYPE)) or problem,
            judge_version=version,
            record_id="" if source == "judge" else span.span_id.hex(),
        )
    )
    if source == "judge" and version:
        definition = to_text(attributes.get(names.MODEL_DEFINITION))
        records.versions.append(
            ModelVersion(
                project, "judge", judge, version, "", definition, span.start_ns, span.start_ns
            )
        )
    return None


def _told_version(span: Span, project: str, owner: str) -> list[ModelVersion]:
    """Read the version that an update is about, so that it exists before its first run."""
    told = span.attributes
    name, digest = to_text(told.get(names.TARGET_MODEL)), to_text(told.get(names.TARGET_VERSION))
    if owner != own_model(name, digest):
        return []
    definition = to_text(told.get(names.MODEL_DEFINITION))
    at_ns = span.start_ns
    return [ModelVersion(project, "model", name, digest, "", definition, at_ns, at_ns)]


def _target_text(value: Value) -> str:
    """Read the text of a target; empty when it is none, or too long to be one."""
    return value if isinstance(value, str) and len(value) <= _TARGET_CHARS else ""


def _target_start(span: Span, known: Window) -> int:
    """Read the start of the run that is meant; 0 when it is unknown or cannot be true."""
    start_ns = to_int(span.attributes.get(names.TARGET_START_NS)) or 0
    return start_ns if start_ns in known else 0


def _points(span: Span, project: str, owner: str, known: Window) -> list[Metric] | None:
    """Read the parallel lists of points; None when they do not fit together."""
    attributes = span.attributes
    keys = _list(attributes.get(names.METRIC_NAMES))
    values = [to_float(value) for value in _list(attributes.get(names.METRIC_VALUES))]
    steps = _list(attributes.get(names.METRIC_STEPS)) or [-1] * len(keys)
    times = _list(attributes.get(names.METRIC_TIMES)) or [span.start_ns] * len(keys)
    modes = _list(attributes.get(names.METRIC_MODES)) or ["append"] * len(keys)
    if {len(values), len(steps), len(times), len(modes)} != {len(keys)} or None in values:
        return None
    if not all(mode in names.METRIC_MODES_KNOWN for mode in modes):
        return None
    start_ns = _target_start(span, known)
    return [
        Metric(
            project=project,
            owner=owner,
            owner_start_ns=start_ns,
            name=to_text(key),
            value=value,
            step=-1 if (step := to_int(steps[position])) is None else step,
            time_ns=max(to_int(times[position]) or 0, 0) or span.start_ns,
            mode=to_text(modes[position]),
            source="logged",
            record_id=span.span_id.hex(),
            position=position,
        )
        for position, (key, value) in enumerate(zip(keys, values, strict=True))
    ]


def _list(value: Value) -> Sequence[Value]:
    return value if isinstance(value, list | tuple) else []
