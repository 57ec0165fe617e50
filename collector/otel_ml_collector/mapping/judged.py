"""A score that another dialect has on the span of the run that was judged."""

from otel_ml_collector.mapping.values import real_score, to_float
from otel_ml_collector.records import Metric, Run
from otel_ml_collector.span import Value


def judged(
    run: Run,
    judge: str,
    value: Value,
    *,
    label: str = "",
    explanation: str = "",
    human: int | None = None,
) -> Metric | None:
    """Make a score of a run.

    Args:
        run: What was judged.
        judge: Who judged it; a score of nobody is none.
        value: The score: a number, or a bool, which is a pass.
        label: A verdict in words.
        explanation: Why.
        human: The place of a person's word among those on the span; None for a judge's.

    Returns:
        The score; None when nothing was said.
    """
    score, problem = real_score(to_float(value))
    passed = value if isinstance(value, bool) else None
    if not judge or (score is None and passed is None and not label and not problem):
        return None
    return Metric(
        project=run.project,
        owner=run.run_id,
        owner_start_ns=run.start_ns,
        name=judge,
        value=score,
        step=-1,
        time_ns=run.end_ns,
        mode="single",
        source="judge" if human is None else "human",
        passed=passed,
        label=label,
        explanation=explanation,
        error=problem,
        record_id="" if human is None else run.span_id.hex(),
        position=human or 0,
    )
