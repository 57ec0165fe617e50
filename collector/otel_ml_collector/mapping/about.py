"""Records about a run that come as spans of their own: `update` and `evaluation`."""

import re
from collections.abc import Sequence
from typing import Final

from otel_ml import attributes as names
from otel_ml_collector.mapping.check import Window, is_span_id
from otel_ml_collector.mapping.own import read_line, read_tags
from otel_ml_collector.mapping.values import real_score, to_float, to_int, to_text
from otel_ml_collector.records import LateLog, LateTag, Metric, ModelVersion, Records, run_id
from otel_ml_collector.span import Span, Value

NO_TARGET: Final = "record_without_target"
BAD_METRICS: Final = "invalid_metric_lists"
BAD_EVALUATION: Final = "invalid_evaluation"
_RUN_ID: Final = re.compile("[0-9a-f]{32}-[0-9a-f]{16}")


def owner_of(span: Span) -> str | None:
    """Name the run that a record is about; None when it names none that could be."""
    target = span.attributes.get(names.TARGET_RUN)
    if target is not None:
        return target if isinstance(target, str) and _RUN_ID.fullmatch(target) else None
    if not is_span_id(span.parent_span_id):
        return None
    return run_id(span.trace_id, span.parent_span_id)


def map_update(span: Span, project: str, records: Records, known: Window) -> str | None:
    """Add metric points, tags and text of an `update`; return why it is rejected, if it is."""
    owner = owner_of(span)
    if owner is None:
        return NO_TARGET
    points = _points(span, project, owner, known)
    if points is None:
        return BAD_METRICS
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
    return None


def map_evaluation(span: Span, project: str, records: Records, known: Window) -> str | None:
    """Add the score of an `evaluation`; return why it is rejected, if it is."""
    owner = owner_of(span)
    attributes = span.attributes
    judge = to_text(attributes.get(names.JUDGE_NAME))
    source = attributes.get(names.SOURCE, "judge")
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
            source=to_text(source),
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
