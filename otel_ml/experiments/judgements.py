"""Reads judges' scores of stored runs, and stores new ones."""

from typing import TYPE_CHECKING

from otel_ml.calls import send_judge
from otel_ml.judges.answer import Judgement
from otel_ml.recorder import Recorder
from otel_ml.runs import hide_values
from otel_ml.targets import send_judgement

if TYPE_CHECKING:
    from otel_ml.judges.judge import Judge
    from otel_ml.reader.records import Run


def find_judgement(run: "Run", judge: str, version: str) -> Judgement | None:
    """Return the newest score that one version of a judge gave a stored run, or None."""
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
    """Store a judge's score for a run that is already stored. Also sends the judge's code.

    Args:
        recorder: Sends the score.
        judge: The judge that scored the run.
        run_id: ID of the run.
        start_ns: Start time of the run in nanoseconds since the epoch (UTC).
        judgement: The score. It replaces an earlier score of the same judge version.
    """
    shown = hide_values(judgement, recorder.redaction)
    send_judgement(recorder, run_id, shown, start_ns)
    send_judge(recorder, judge, judgement.version)
