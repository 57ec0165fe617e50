"""``gen_ai.evaluation.result``: one score, the same as a span event and as a log record.

Spec: https://github.com/open-telemetry/semantic-conventions-genai
"""

from collections.abc import Mapping
from typing import Final

from otel_ml import attributes as names
from otel_ml_collector.mapping.check import LATEST_NS
from otel_ml_collector.mapping.values import real_score, to_float, to_text
from otel_ml_collector.records import Metric, ModelVersion
from otel_ml_collector.span import Value

EVALUATION: Final = "gen_ai.evaluation.result"
# Why an evaluation is rejected that names no judge, ours too.
BAD_EVALUATION: Final = "invalid_evaluation"
_PREFIX: Final = "gen_ai.evaluation."
_VERDICTS: Final = {"pass": True, "passed": True, "fail": False, "failed": False}


def judge_of(told: Mapping[str, Value]) -> str:
    """Name the judge; empty when the event names none, and so is no score."""
    return to_text(told.get(f"{_PREFIX}name"))


def read_evaluation(
    told: Mapping[str, Value], project: str, owner: str, time_ns: int, *, owner_start_ns: int = 0
) -> Metric:
    """Read the score of an event that names a judge.

    Args:
        told: The event's attributes.
        project: Where it is filed.
        owner: What was judged.
        time_ns: When.
        owner_start_ns: The start of the run that was judged, 0 when it is not known.
    """
    label = to_text(told.get(f"{_PREFIX}score.label"))
    passed = told.get(names.PASSED, _VERDICTS.get(label.strip().lower()))
    score, problem = real_score(to_float(told.get(f"{_PREFIX}score.value")))
    if score is None and not label:  # a verdict in words is one without a number
        problem = problem or "the evaluation has no score"
    return Metric(
        project=project,
        owner=owner,
        owner_start_ns=owner_start_ns,
        name=judge_of(told),
        value=score,
        step=-1,
        time_ns=min(time_ns, LATEST_NS),
        mode="single",
        source="judge",
        passed=passed if isinstance(passed, bool) else None,
        label=label,
        explanation=to_text(told.get(f"{_PREFIX}explanation")),
        error=to_text(told.get(names.ERROR_TYPE)) or problem,
        judge_version=to_text(told.get(names.JUDGE_VERSION)),
    )


def version_of(score: Metric) -> list[ModelVersion]:
    """Tell the version of the judge that spoke, when it told one."""
    if not score.judge_version:
        return []
    at_ns = score.owner_start_ns or score.time_ns
    return [
        ModelVersion(score.project, "judge", score.name, score.judge_version, "", "", at_ns, at_ns)
    ]
