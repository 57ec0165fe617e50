"""Scores that travel on the span of the run itself, ours and the GenAI conventions'."""

from collections.abc import Mapping
from typing import Final

from otel_ml import attributes as names
from otel_ml_collector.mapping import own
from otel_ml_collector.mapping.values import real_score, to_float, to_text
from otel_ml_collector.records import Metric, ModelVersion, Run
from otel_ml_collector.span import Event, Span, Value

_EVENT: Final = "gen_ai.evaluation.result"
_PREFIX: Final = "gen_ai.evaluation."
_LATEST_NS: Final = 2**63 - 1


def read_scores(
    span: Span, run: Run, ours: Mapping[str, Value]
) -> tuple[list[Metric], list[ModelVersion]]:
    """Read what judges said of a run, and which versions of them spoke.

    Args:
        span: The run's span.
        run: What was made of it.
        ours: Its attributes of our own dialect.
    """
    scores: list[Metric] = []
    judges: list[ModelVersion] = []
    for judge, told in own.read_judges(ours).items():
        scores.append(_own_score(run, ours, judge, told))
        version = to_text(told.get("version"))
        if version:
            definition, at_ns = to_text(told.get("definition")), run.start_ns
            judges.append(
                ModelVersion(run.project, "judge", judge, version, "", definition, at_ns, at_ns)
            )
    scores += [
        _gen_ai_score(run, event)
        for event in span.events
        if event.name == _EVENT and event.attributes.get(f"{_PREFIX}name")
    ]
    return scores, judges


def _own_score(
    run: Run, ours: Mapping[str, Value], judge: str, told: Mapping[str, Value]
) -> Metric:
    value, passed = own.read_score(ours, judge, told)
    score, problem = real_score(value)
    return Metric(
        project=run.project,
        owner=run.run_id,
        owner_start_ns=run.start_ns,
        name=judge,
        value=score,
        step=-1,
        time_ns=run.end_ns,
        mode="single",
        source="judge",
        passed=passed,
        label=to_text(told.get("label")),
        explanation=to_text(told.get("explanation")),
        error=to_text(told.get("error")) or problem,
        judge_version=to_text(told.get("version")),
    )


def _gen_ai_score(run: Run, event: Event) -> Metric:
    told = event.attributes
    score, problem = real_score(to_float(told.get(f"{_PREFIX}score.value")))
    return Metric(
        project=run.project,
        owner=run.run_id,
        owner_start_ns=run.start_ns,
        name=to_text(told[f"{_PREFIX}name"]),
        value=score,
        step=-1,
        time_ns=min(event.time_ns, _LATEST_NS),
        mode="single",
        source="judge",
        label=to_text(told.get(f"{_PREFIX}score.label")),
        explanation=to_text(told.get(f"{_PREFIX}explanation")),
        error=to_text(told.get(names.ERROR_TYPE)) or problem,
    )
