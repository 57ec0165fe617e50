"""Scores that travel on the span of the run itself, ours and the GenAI conventions'."""

from collections.abc import Mapping, Sequence

from otel_ml_collector.mapping.dialects import own
from otel_ml_collector.mapping.evaluations import (
    EVALUATION,
    judge_of,
    read_evaluation,
    version_of,
)
from otel_ml_collector.mapping.values import real_score, to_text
from otel_ml_collector.records import Metric, ModelVersion, Run
from otel_ml_collector.span import Span, Value


def read_scores(
    span: Span, run: Run, judged: Sequence[str]
) -> tuple[list[Metric], list[ModelVersion]]:
    """Read what judges said of a run, and which versions of them spoke.

    Args:
        span: The run's span.
        run: What was made of it.
        judged: The judges that have an attribute of our own on it.
    """
    ours = span.attributes
    scores: list[Metric] = []
    judges: list[ModelVersion] = []
    for judge, told in own.read_judges(ours, judged).items():
        scores.append(_own_score(run, ours, judge, told))
        version = to_text(told.get("version"))
        if version:
            definition, at_ns = to_text(told.get("definition")), run.start_ns
            judges.append(
                ModelVersion(run.project, "judge", judge, version, "", definition, at_ns, at_ns)
            )
    for event in span.events:
        if event.name == EVALUATION and judge_of(event.attributes):
            said = read_evaluation(
                event.attributes,
                run.project,
                run.run_id,
                event.time_ns,
                owner_start_ns=run.start_ns,
            )
            scores.append(said)
            judges += version_of(said)
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
