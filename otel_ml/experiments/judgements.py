"""Scores of judges for runs that a collector has: read back, and stored with them."""

from typing import TYPE_CHECKING

from otel_ml.calls import tell_judge
from otel_ml.judges.answer import Judgement
from otel_ml.recorder import Recorder
from otel_ml.runs import hide_values
from otel_ml.targets import send_judgement

if TYPE_CHECKING:
    from otel_ml.judges.judge import Judge
    from otel_ml.reader.records import Run


def find_judgement(run: "Run", judge: str, version: str) -> Judgement | None:
    """Find the last score of a run by a version of a judge; None where there is none."""
    evaluations = [
        evaluation
        for evaluation in run.evaluations
        if (evaluation.judge, evaluation.source, evaluation.digest) == (judge, "judge", version)
    ]
    newest = max(evaluations, key=lambda evaluation: evaluation.time, default=None)
    if newest is None:
        return None
    return Judgement(
        judge,
        version,
        newest.score,
        newest.passed,
        newest.label or None,
        newest.explanation or None,
        newest.error or None,
    )


def store_judgement(
    recorder: Recorder, judge: "Judge", run_id: str, start_ns: int, judgement: Judgement
) -> None:
    """Send the score of a run that began at `start_ns`, and the definition of its judge.

    Said again by the same version it takes the place of what is stored.
    """
    shown = hide_values(judgement, recorder.redaction)
    send_judgement(recorder, run_id, shown, start_ns)
    tell_judge(recorder, judge, judgement.version)
