"""How often a function whose failures did not rise is reported."""

import random

import pytest

from otel_ml_collector.findings.levels import FunctionPeriods, find_failing
from otel_ml_collector.stats import NO_RUNS, StatsBucket
from otel_ml_collector.times import HOUR_NS
from otel_ml_collector.windows import Window
from tests.support.examples import examples

HOURS = 192
BEFORE = 168
STORIES = examples(1_000, on_commit=200)


def make_periods(dice: random.Random, share: float, spread: float) -> FunctionPeriods:
    """Make eight days of a function with one share of failures, which varies by the hour."""
    hours = []
    for hour in range(HOURS):
        runs = dice.choice((5, 20, 40))
        factor = dice.gammavariate(1 / spread, spread) if spread else 1.0
        errors = sum(dice.random() < min(share * factor, 1.0) for _ in range(runs))
        facts = {**dict(NO_RUNS), "runs": runs, "errors": errors}
        hours.append(StatsBucket(**facts, start_time="", start_ns=hour * HOUR_NS))
    window = Window(BEFORE * HOUR_NS, HOURS * HOUR_NS)
    over = Window(0, HOURS * HOUR_NS).cut(HOUR_NS)
    return FunctionPeriods(
        "answer", hours[BEFORE:], hours[:BEFORE], window, over, "the 7 days before"
    )


@pytest.mark.parametrize("spread", [0.0, 3.0])
@pytest.mark.parametrize("share", [0.02, 0.05])
def test_false_alarms(share: float, spread: float) -> None:
    """At most 4 % of functions with a constant share are reported, also if hours vary a lot."""
    dice = random.Random(72)  # noqa: S311 - the same stories each time
    reported = sum(bool(find_failing([make_periods(dice, share, spread)])) for _ in range(STORIES))
    assert reported <= 0.04 * STORIES
