"""Sequential monitoring by bets: rate of false alarms and delay until a change is detected."""

import math
from collections import Counter
from collections.abc import Iterable
from statistics import median
from typing import Any, Final

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from otel_ml.statistics.betting import (
    Means,
    add_amounts,
    add_window,
    log_stake,
)
from tests.support.examples import examples
from tests.support.sampling import at_night, harder, sampled

Draw = np.random.Generator
N: Final = 200
WINDOWS: Final = 1_000
WINDOWS_BETWEEN: Final = 1_000
STREAMS: Final = 2_000
SESSION_STREAMS: Final = examples(at_night=40, on_commit=4)


def passes(draw: Draw, rate: float, runs: int, windows: int) -> list[dict[float, int]]:
    """Draw windows of independent runs with a pass rate."""
    passed = draw.binomial(runs, rate, windows).tolist()
    return [{1.0: count, 0.0: runs - count} for count in passed]


def sessions(draw: Draw, rate: float, count: int, windows: int) -> list[Counter[float]]:
    """Draw windows of sessions of 1 to 50 runs, each session with its own pass rate."""
    sizes = draw.integers(1, 51, (windows, count))
    own = draw.beta(4 * rate, 4 * (1 - rate), (windows, count))
    means = draw.binomial(sizes, own) / sizes
    return [Counter(row) for row in means.tolist()]


def find_alarms(
    windows: Iterable[Means],
    limit: float,
    *,
    is_above: bool = False,
    windows_between: float = WINDOWS_BETWEEN,
) -> list[int]:
    """Return the indexes of the windows after which the evidence suffices, from 0 each time."""
    alarms, total = [], 0.0
    for place, means in enumerate(windows):
        total = add_window(total, means, limit, is_above=is_above) if means else total
        if total > windows_between:
            alarms.append(place)
            total = 0.0
    return alarms


def test_stake_of_two_runs() -> None:
    """The stake is the mean over bets of the product of each run's gain or loss."""
    bets = [1 / 16, 1 / 8, 1 / 4, 1 / 2, 1]
    stakes = [(1 + bet / 2) * (1 - bet / 2) for bet in bets]
    assert log_stake({0.0: 1, 1.0: 1}, 0.5) == pytest.approx(math.log(sum(stakes) / 5))


def test_sum_over_onsets() -> None:
    """Each window multiplies the sum so far, plus 1 for a change starting there, by its stake."""
    window = {0.0: 3, 1.0: 1}
    stake = math.exp(log_stake(window, 0.5))
    first = add_window(0.0, window, 0.5)
    assert first == pytest.approx(stake)
    assert add_window(first, window, 0.5) == pytest.approx(stake + stake * stake)


def test_no_session_changes_nothing() -> None:
    """A window without runs is no evidence either way."""
    bad = {0.0: 4, 1.0: 4}
    assert find_alarms([bad, bad], 0.9, windows_between=100) == [1]
    assert find_alarms([bad, {}, {}, bad], 0.9, windows_between=100) == [3]


def test_beyond_zero_to_one() -> None:
    """A value outside 0 to 1 is refused, because the bound would not hold."""
    with pytest.raises(ValueError, match=r"Invalid mean 1\.5"):
        log_stake({1.5: 1}, 0.5)


@given(
    st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=1, max_size=30),
    st.floats(0, 1),
    st.booleans(),
)
def test_turned_round(values: list[float], limit: float, is_above: bool) -> None:
    """Too few passes and too many failures have the same stake."""
    means = Counter(values)
    turned = Counter(1 - value for value in values)
    first = log_stake(means, limit, is_above=is_above)
    assert first == pytest.approx(log_stake(turned, 1 - limit, is_above=not is_above), abs=1e-6)


@given(st.floats(0.01, 0.99), st.integers(1, 40))
def test_fair(limit: float, runs: int) -> None:
    """At the limit, the expected stake over all outcomes of a window is exactly 1."""
    mean = math.fsum(
        math.comb(runs, passed)
        * limit**passed
        * (1 - limit) ** (runs - passed)
        * math.exp(log_stake({1.0: passed, 0.0: runs - passed}, limit))
        for passed in range(runs + 1)
    )
    assert mean == pytest.approx(1, abs=1e-9)


def count_alarms(passed: NDArray[np.int64], runs: int, rate: float, *, is_above: bool) -> int:
    """Count the alarms of many streams at once.

    Args:
        passed: Passed runs by window, with one row per stream.
        runs: Runs per window.
        rate: The limit.
        is_above: As for `find_alarms`.
    """
    factors = np.array(
        [
            add_window(0.0, {1.0: number, 0.0: runs - number}, rate, is_above=is_above)
            for number in range(runs + 1)
        ]
    )
    totals, alarms = np.zeros(len(passed)), 0
    for window in passed.T:
        totals = factors[window] * (1 + totals)
        alarms += int((totals > N).sum())
        totals[totals > N] = 0.0
    return alarms


def test_streams_at_once() -> None:
    """Counting many streams at once gives the same alarms as counting each stream."""
    passed = np.random.default_rng(5).binomial(50, 0.8, (10, 80))
    each = [
        find_alarms([{1.0: n, 0.0: 50 - n} for n in row], 0.9, windows_between=N)
        for row in passed.tolist()
    ]
    assert sum(map(len, each)) > 10
    assert count_alarms(passed, 50, 0.9, is_above=False) == sum(map(len, each))


@sampled(2)
@pytest.mark.parametrize(
    ("rate", "runs"), [(0.9, 200), (0.9, 10), (0.5, 50), (0.99, 200), (0.05, 30)]
)
def test_windows_between_false_alarms(rate: float, runs: int) -> None:
    """At the threshold there are at least N windows between two false alarms, on average."""
    draw = np.random.default_rng([int(1_000 * rate), runs])
    for is_above in (False, True):
        passed = draw.binomial(runs, rate, (STREAMS, WINDOWS))
        alarms = count_alarms(passed, runs, rate, is_above=is_above)
        windows = passed.size
        print(f"rate {rate}, {runs} a window: {windows / max(alarms, 1):,.0f} windows between")  # noqa: T201 - with `-s`
        # Allow three standard errors of the largest expected count.
        assert alarms <= windows / N + 3 * math.sqrt(windows / N)


@at_night
@harder
def test_windows_between_false_alarms_of_sessions() -> None:
    """Sessions of similar runs also keep the bound, because a session of fifty counts as one."""
    draw = np.random.default_rng(7)
    alarms = sum(
        len(find_alarms(sessions(draw, 0.9, 12, WINDOWS), 0.9, windows_between=N))
        for _ in range(SESSION_STREAMS)
    )
    windows = SESSION_STREAMS * WINDOWS
    print(f"sessions: {windows / max(alarms, 1):,.0f} windows between")  # noqa: T201 - with `-s`
    assert alarms <= windows / N + 3 * math.sqrt(windows / N)


def test_a_fall_is_seen_soon() -> None:
    """A drop by 10 points is detected within 3 windows of 200 runs, however late it occurs."""
    draw = np.random.default_rng(11)
    waits: list[Any] = []
    for _ in range(200):
        before = passes(draw, 0.9, 200, int(draw.integers(1, 100)))
        alarms = find_alarms([*before, *passes(draw, 0.8, 200, 50)], 0.9)
        waits.append(next(place for place in alarms if place >= len(before)) - len(before) + 1)
    print(f"median {median(waits)} windows, 90 % {sorted(waits)[180]}")  # noqa: T201 - with `-s`
    assert median(waits) <= 3


def draw_latencies(draw: Draw, mean: float, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Draw latencies with a long tail: one in a hundred is at least six times the mean."""
    sigma = 1.0
    return draw.lognormal(math.log(mean) - sigma**2 / 2, sigma, shape)


def draw_scores(draw: Draw, mean: float, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Draw scores from 1 to 5."""
    return 1 + 4 * draw.beta(mean - 1, 5 - mean, shape)


def grow(values: NDArray[np.float64], limit: float, reach: float, sign: int) -> NDArray[np.float64]:
    """Compute the stake of each window (a row of values) as products, by definition."""
    gains = np.clip(sign * (values - limit) / reach, -1, 16)
    bets = [1 / 64, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2]
    stakes = np.stack([np.prod(1 + bet * gains, axis=-1) for bet in bets])
    return np.asarray(stakes.mean(axis=0))


@pytest.mark.parametrize("is_above", [True, False])
def test_stake_of_a_mean(is_above: bool) -> None:
    """The evidence about a mean is the mean over bets of products over all sessions."""
    values = draw_latencies(np.random.default_rng(2), 210, (40,))
    total = add_amounts(3.0, Counter(values.tolist()), 200, reach=200, is_above=is_above)
    stake = grow(values, 200, 200, 1 if is_above else -1)
    assert total == pytest.approx(float(stake) * 4, rel=1e-9)


def test_reach_of_a_mean() -> None:
    """A session counts up to the reach on the good side, and up to 16 times it on the bad side."""
    near, far = ({-50.0: 3}, {-50_000.0: 3})
    assert add_amounts(0, near, 200, reach=250, is_above=True) == pytest.approx(
        add_amounts(0, far, 200, reach=250, is_above=True)
    )
    timeout = add_amounts(0, {1e9: 1}, 200, reach=200, is_above=True)
    assert timeout == pytest.approx(np.mean([1 + 16 / 2**place for place in range(1, 7)]))
    with pytest.raises(ValueError, match=r"Invalid reach 0"):
        add_amounts(0, near, 0, reach=0)


@sampled(1)
@pytest.mark.parametrize(("per_window", "is_above"), [(30, True), (200, True), (60, False)])
def test_windows_between_false_alarms_of_means(per_window: int, is_above: bool) -> None:
    """A mean at its limit gives at least N windows between two false alarms, on average."""
    draw = np.random.default_rng([per_window, is_above])
    alarms, totals, streams = 0, np.zeros(1_000), 1_000
    for _ in range(400):
        if is_above:
            stakes = grow(draw_latencies(draw, 200, (streams, per_window)), 200, 200, 1)
        else:
            stakes = grow(draw_scores(draw, 4, (streams, per_window)), 4, 1.25 * 3, -1)
        totals = stakes * (1 + totals)
        alarms += int((totals > N).sum())
        totals[totals > N] = 0.0
    windows = 400 * streams
    print(f"{per_window} a window: {windows / max(alarms, 1):,.0f} windows between")  # noqa: T201 - with `-s`
    assert alarms <= windows / N + 3 * math.sqrt(windows / N)


def find_lower_bound(values: NDArray[np.float64], chance: float) -> float:
    """Return the largest limit that the mean of one window exceeds with certainty."""
    low, high = 0.0, float(values.mean())
    means = Counter(values.tolist())
    for _ in range(30):
        limit = (low + high) / 2
        is_sure = add_amounts(0, means, limit, reach=limit, is_above=True) > 1 / chance
        low, high = (limit, high) if is_sure else (low, limit)
    return low


def test_interval_of_a_mean() -> None:
    """The limits that a mean does not exceed with certainty form a confidence interval.

    It is compared with scipy's Student interval, which is only valid for a single look.
    """
    draw, chance, samples = np.random.default_rng(17), 0.05, 400
    covered = {"bets": 0, "scipy": 0}
    ratios = []
    for _ in range(samples):
        values = draw_latencies(draw, 200, (300,))
        bound = find_lower_bound(values, chance)
        test = scipy.stats.ttest_1samp(values, 0, alternative="greater")
        student = float(test.confidence_interval(1 - chance).low)
        covered["bets"] += bound <= 200
        covered["scipy"] += student <= 200
        ratios.append((values.mean() - bound) / (values.mean() - student))
    print(f"covered {covered} of {samples}, {median(ratios):.2f} times as wide")  # noqa: T201 - with `-s`
    # The bets are valid for any number of looks, so they are wider, but narrow enough to be useful.
    assert covered["bets"] >= (1 - chance) * samples
    assert covered["scipy"] >= (1 - chance) * samples - 3 * math.sqrt(samples * chance)
    assert 1 < median(ratios) < 2


def test_a_slower_mean_is_seen_soon() -> None:
    """Latencies 50 % longer are detected within 3 windows of 200, in the median."""
    draw = np.random.default_rng(12)
    waits = []
    for _ in range(100):
        total, place = 0.0, 0
        while total <= 1_000:
            values = draw_latencies(draw, 300, (200,))
            total = add_amounts(total, Counter(values.tolist()), 200, reach=200, is_above=True)
            place += 1
        waits.append(place)
    print(f"median {median(waits)} windows, 90 % {sorted(waits)[90]}")  # noqa: T201 - with `-s`
    assert median(waits) <= 3
