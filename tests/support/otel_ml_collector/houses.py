"""House prices that a model predicts, with ground truth and a week in which they drift."""

import json
import random
from collections.abc import Mapping
from typing import Any, Final

from otel_ml_collector.span import Span, Value
from otel_ml_collector.times import DAY_NS, HOUR_NS
from tests.support.otel_ml_collector.spans import make_call, make_record

MODEL: Final = "value"
TARGET: Final[Mapping[str, Any]] = {
    "model": MODEL,
    "prediction": "outputs.price",
    "kind": "number",
    "truth": "price",
}
_DISTRICTS: Final = ("north", "harbour", "south", "west")
_DAYS: Final = 12
_PER_DAY: Final = 40


def make_houses(now_ns: int, scale: float = 300_000.0) -> list[Span]:
    """Make twelve days of predictions near `scale`, each with ground truth, a score and a cost.

    In the last six days a second version predicts a fifth more, and a third more for `harbour`.
    """
    dice = random.Random(78)  # noqa: S311 - equal in every run
    spans = []
    for number in range(_DAYS * _PER_DAY):
        age_days = number // _PER_DAY
        start_ns = now_ns - age_days * DAY_NS - (1 + number % 20) * HOUR_NS - number
        district = _DISTRICTS[number % len(_DISTRICTS)]
        is_drifted = age_days < _DAYS // 2
        actual = scale * dice.uniform(0.7, 1.3)
        predicted = actual * dice.uniform(0.97, 1.03)
        if is_drifted:
            predicted *= 1.33 if district == "harbour" else 1.2
        attributes: dict[str, Value] = {
            "otel_ml.inputs": json.dumps({"rooms": 2 + number % 5, "area": 40 + number % 160}),
            "otel_ml.outputs": json.dumps({"price": predicted}),
            "otel_ml.tag.district": district,
            "otel_ml.model.version": "b" * 16 if is_drifted else "a" * 16,
            "gen_ai.usage.cost": abs(predicted),
        }
        run = make_call(MODEL, attributes, start_ns=start_ns)
        truth: dict[str, Value] = {
            "otel_ml.judge.name": "price",
            "otel_ml.source": "actual",
            "otel_ml.actual": actual,
        }
        late_ns = start_ns + HOUR_NS // 2
        score: dict[str, Value] = {"otel_ml.judge.name": "offer", "otel_ml.score.value": predicted}
        spans += [run]
        spans += [
            make_record("evaluation", run, record, start_ns=late_ns, end_ns=late_ns)
            for record in (truth, score)
        ]
    return spans
