"""Simulations of `surely(...)`: how often a rule fires for nothing, and how soon for something."""

import random
import statistics
from typing import Final

import pytest

from otel_ml_collector.alerts.states import MeasuredSlice, SliceState, advance, look_at
from otel_ml_collector.times import HOUR_NS
from tests.otel_ml_collector.alerts.test_states import make_rule

KEY: Final = ("pass_rate", "grounded", "", 0)
RUNS: Final = 200
WINDOWS_BETWEEN: Final = 200
PLAN: Final = make_rule(
    when='surely(pass_rate("grounded") < 0.9)', windows_between=WINDOWS_BETWEEN, keep="0s"
).plan


def draw_window(draw: random.Random, rate: float) -> MeasuredSlice:
    """Draw the runs of a window; the number that pass is about binomial."""
    spread = (RUNS * rate * (1 - rate)) ** 0.5
    passed = min(max(round(draw.gauss(RUNS * rate, spread)), 0), RUNS)
    means = {1.0: passed, 0.0: RUNS - passed}
    return MeasuredSlice(RUNS, {KEY: passed / RUNS}, {KEY: RUNS}, means=means)


def count_alarms(draw: random.Random, windows: int, rate: float) -> list[int]:
    """Return the windows in which a stream began to fire."""
    state, alarms = SliceState(), []
    for place in range(1, windows + 1):
        look = look_at(PLAN, place * HOUR_NS, draw_window(draw, rate), state)
        after = advance(state, look, PLAN)
        if after.state == "firing" and state.state != "firing":
            alarms.append(place)
        state = after
    return alarms


@pytest.mark.parametrize(("streams", "windows"), [(20, 400), (2_000, 1_000)])
def test_bound(streams: int, windows: int) -> None:
    """At the threshold there are at least so many windows between two false alarms, on average."""
    draw = random.Random(7)  # noqa: S311 - not for secrets
    alarms = sum(len(count_alarms(draw, windows, 0.9)) for _ in range(streams))
    between = streams * windows / max(alarms, 1)
    assert between >= WINDOWS_BETWEEN


def test_soon() -> None:
    """A fall of 10 points is found within 3 windows of 200 runs, in the median."""
    draw = random.Random(8)  # noqa: S311 - not for secrets
    delays = [min(count_alarms(draw, 30, 0.8), default=30) for _ in range(100)]
    assert statistics.median(delays) <= 3
