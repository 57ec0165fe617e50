"""What runs should have returned: ground truth, an expected value, a label, or a judge's reason."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import orjson

from otel_ml_collector.runs.answers import Run, RunSummary
from otel_ml_collector.runs.find import find_whole_runs
from otel_ml_collector.store.experiments import read_item_content
from otel_ml_collector.store.reader import JsonValue, Reader

GROUND_TRUTH: Final = "Ground truth"
EXPECTED_VALUE: Final = "Expected value"


@dataclass(frozen=True, slots=True)
class RightAnswer:
    """What a run should have returned, or why a judge did not pass it.

    Attributes:
        kind: Where the text comes from: ground truth, the expected value of a data set item, a
            reviewer's label, or the explanation of a judge.
        text: The text.
    """

    kind: str
    text: str


def find_right_answers(
    reader: Reader, runs: Sequence[RunSummary], judge: str, now_ns: int
) -> dict[str, RightAnswer]:
    """Find what runs should have returned.

    Ground truth is preferred. Without it, the expected value of the run's data set item is used,
    then a reviewer's label. If a run has none of them, the reason of the judge is used.

    Args:
        reader: The store.
        runs: The runs.
        judge: Name of the judge that did not pass them. Any other name has no reasons.
        now_ns: The current time, in nanoseconds since 1970.

    Returns:
        The answers by run ID. Runs for which nothing is known are left out.
    """
    answers = {run.run_id: RightAnswer(GROUND_TRUTH, _join(run.truth)) for run in runs if run.truth}
    left = [run for run in runs if run.run_id not in answers]
    digests = {run.item_digest for run in left if run.item_digest}
    items = read_item_content(reader, left[0].project, digests) if digests else {}
    for run in left:
        item = items.get(run.item_digest, {"expected": "", "cut": ""})
        if expected := item["expected"] or item["cut"]:
            text = _write(orjson.loads(expected)) if item["expected"] else expected
            answers[run.run_id] = RightAnswer(EXPECTED_VALUE, text)
        elif run.label:
            answers[run.run_id] = RightAnswer("Label", _join(run.label))
    left = [run for run in left if run.run_id not in answers and judge in run.passed]
    for whole in find_whole_runs(reader, left, now_ns):
        if reason := _find_reason(whole, judge):
            answers[whole.run_id] = RightAnswer("Judge's reason", reason)
    return answers


def name_kinds(answers: Mapping[str, RightAnswer]) -> str:
    """Name the column with some answers, such as `Ground truth`. Empty without answers."""
    kinds = list(dict.fromkeys(answer.kind for answer in answers.values()))
    return " or ".join([*kinds[:1], *(kind[0].lower() + kind[1:] for kind in kinds[1:])])


def _find_reason(run: Run, judge: str) -> str:
    """Return the newest explanation of a judge. Empty without one."""
    reasons = (one.explanation for one in reversed(run.evaluations) if one.judge == judge)
    return next(filter(None, reasons), "")


def _join(values: Mapping[str, JsonValue]) -> str:
    """Write named values. The name of a single value is left out."""
    if len(values) == 1:
        return _write(next(iter(values.values())))
    return ", ".join(f"{name}: {_write(value)}" for name, value in values.items())


def _write(value: object) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()
