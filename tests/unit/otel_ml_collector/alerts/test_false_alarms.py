"""Simulations of `surely(...)`: its false alarm rate and its detection delay."""

import random
import statistics
from typing import Final

import numpy as np
import pytest
from numpy.typing import NDArray

from otel_ml.statistics.betting import add_window
from otel_ml_collector.alerts.states import MeasuredSlice, SliceState, advance, judge_window
from otel_ml_collector.times import HOUR_NS
from tests.unit.otel_ml_collector.alerts.test_states import make_rule

Counts = NDArray[np.int64]
KEY: Final = ("pass_rate", "grounded", "", 0)
RUNS: Final = 200
WINDOWS_BETWEEN: Final = 200
LIMIT: Final = 0.9
STREAMS: Final = 2_000
WINDOWS: Final = 1_000
PLAN: Final = make_rule(
    when='surely(pass_rate("grounded") < 0.9)', windows_between=WINDOWS_BETWEEN, keep="0s"
).plan


def make_window(passed: int) -> MeasuredSlice:
    """Make a window of `RUNS` runs in which `passed` runs pass."""
    means = {1.0: passed, 0.0: RUNS - passed}
    return MeasuredSlice(RUNS, {KEY: passed / RUNS}, {KEY: RUNS}, means=means)


def draw_passed(draw: random.Random, rate: float, windows: int) -> list[int]:
    """Draw the number of passing runs per window, from an approximately binomial distribution."""
    spread = (RUNS * rate * (1 - rate)) ** 0.5
    drawn = (round(draw.gauss(RUNS * rate, spread)) for _ in range(windows))
    return [min(max(passed, 0), RUNS) for passed in drawn]


def find_alarms(windows: list[int]) -> list[int]:
    """Return the numbers of the windows at which the rule started to fire."""
    state, alarms = SliceState(), []
    for place, passed in enumerate(windows, 1):
        window = judge_window(PLAN, place * HOUR_NS, make_window(passed), state)
        after = advance(state, window, PLAN)
        if after.state == "firing" and state.state != "firing":
            alarms.append(place)
        state = after
    return alarms


def count_alarms(windows: Counts, between: int) -> int:
    """Count how often the rule started to fire, for all streams at once.

    A window multiplies (previous sum + 1) by a factor that depends only on how many of its runs
    pass. `add_window` with a previous sum of 0 gives this factor.

    Args:
        windows: The number of passing runs: one row per stream, one column per window.
        between: The sum above which a stream fires.
    """
    factors = np.array(
        [add_window(0.0, {1.0: passed, 0.0: RUNS - passed}, LIMIT) for passed in range(RUNS + 1)]
    )
    totals = np.zeros(len(windows))
    fires = np.zeros(len(windows), dtype=bool)
    alarms = 0
    for passed in windows.T:
        grown = np.where(fires, 0.0, factors[passed] * (1 + totals))
        begins = grown > between
        alarms += int(begins.sum())
        totals = np.where(begins, 0.0, grown)
        fires = np.where(fires, passed / RUNS < LIMIT, begins)
    return alarms


def test_all_streams_at_once() -> None:
    """Counting all streams at once gives the same alarms as judging the rule window by window."""
    windows = np.random.default_rng(3).binomial(RUNS, 0.87, (20, 60))
    expected = sum(len(find_alarms(stream)) for stream in windows.tolist())
    assert expected > 20
    assert count_alarms(windows, WINDOWS_BETWEEN) == expected


@pytest.mark.parametrize("between", [WINDOWS_BETWEEN, 1_000])
def test_bound(between: int) -> None:
    """At the threshold, false alarms are at least `between` windows apart on average."""
    windows = np.random.default_rng(7).binomial(RUNS, LIMIT, (STREAMS, WINDOWS))
    mean = windows.size / max(count_alarms(windows, between), 1)
    print(f"{mean:,.0f} windows between two false alarms, at least {between:,}")  # noqa: T201 - with `-s`
    assert mean >= between


def test_soon() -> None:
    """A drop of 10 points is detected within 3 windows of 200 runs, in the median."""
    draw = random.Random(8)  # noqa: S311 - not for secrets
    delays = [min(find_alarms(draw_passed(draw, 0.8, 30)), default=30) for _ in range(100)]
    assert statistics.median(delays) <= 3
