"""Confidence sequences of a difference: mirrored exactly, right for small and extreme rates."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import stats

from otel_ml.statistics.sequence import (
    ComparedMeans,
    Moments,
    StratumSums,
    compare_sums,
    find_rate_bounds,
    find_student,
    find_width,
    moments_of,
)

SESSIONS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=20)


def rate(passed: int, n: int) -> Moments:
    return moments_of([(1.0, 1, passed), (0.0, 1, n - passed)])


def compare(*pairs: tuple[Moments, Moments], error: float = 0.001) -> ComparedMeans:
    """Compare rates in the cells of one stratum."""
    sums = StratumSums()
    for pair in pairs:
        sums.add(pair)
    found = compare_sums([sums], is_rate=True, error=error, expected=0.08)
    assert found is not None
    return found


@given(st.lists(st.tuples(SESSIONS, SESSIONS), min_size=1, max_size=4), st.booleans())
@example([([(0, 1)], [(0, 1), (1, 1)])], False)  # intervals without bounds
def test_mirror(cells: list[tuple[list[tuple[int, int]], ...]], is_rate: bool) -> None:
    """If the sides are swapped, the difference and its interval change their sign exactly."""
    pairs = [
        tuple(moments_of((min(a, b), b, 1) for a, b in side) for side in cell) for cell in cells
    ]
    found = []
    for order in (1, -1):
        sums = [StratumSums() for _ in pairs]
        for own, pair in zip(sums, pairs, strict=True):
            own.add((pair[::order][0], pair[::order][1]))
        found.append(compare_sums(sums, is_rate=is_rate, error=0.001, expected=0.08))
    one, other = found
    if one is None or other is None:
        assert one is other
        return
    assert (one.baseline, one.candidate) == (other.candidate, other.baseline)
    assert one.difference.value == -other.difference.value
    assert (one.difference.low, one.difference.high) == (
        -other.difference.high,
        -other.difference.low,
    )


def test_no_failure_yet() -> None:
    """Two sides without any failure may still differ by some points."""
    found = compare((rate(300, 300), rate(200, 200)))
    assert found.difference.value == 0
    assert 0.02 < found.difference.high < 0.08
    assert found.difference.low < -0.02


def test_bounds_of_a_rate() -> None:
    """The bounds have the Kullback-Leibler divergence that was asked for."""
    assert find_rate_bounds(0.0, 0.01) == pytest.approx((0, 1 - math.exp(-0.01)), abs=1e-11)
    assert find_rate_bounds(1.0, 0.01) == pytest.approx((math.exp(-0.01), 1), abs=1e-11)
    low, high = find_rate_bounds(0.3, 0.01)
    for bound in (low, high):
        assert stats.entropy([0.3, 0.7], [bound, 1 - bound]) == pytest.approx(0.01, rel=1e-6)
    assert low < 0.3 < high


def test_width() -> None:
    """The width is that of the normal mixture, and never below that of a single look."""
    known = 1_000 * 0.08**2
    expected = math.sqrt((1 + 1 / known) * (2 * math.log(1_000) + math.log1p(known)))
    assert find_width(1_000, 0.001, 0.08) == pytest.approx(expected)
    assert expected > stats.norm.isf(0.0005)
    assert find_width(0.0, 0.001, 0.08) == math.inf


@pytest.mark.parametrize("degrees", [11, 30, 100, 1e6])
def test_student(degrees: float) -> None:
    """Few sessions make the interval wider, as Student's t does."""
    assert find_student(4.0, degrees) == pytest.approx(
        stats.t.isf(stats.norm.sf(4.0), degrees), rel=0.01
    )


def test_hours_are_compared_on_their_own() -> None:
    """Hard hours with more runs of one side do not make it look worse."""
    easy, hard = (rate(950, 1_000), rate(19, 20)), (rate(50, 100), rate(500, 1_000))
    apart = compare(easy, hard)
    assert apart.difference.value == pytest.approx(0.0, abs=1e-12)
    joined = compare((easy[0].add(hard[0]), easy[1].add(hard[1])))
    assert joined.difference.high < 0


def test_cell_of_one_side() -> None:
    """An hour in which only one side ran changes nothing."""
    pair = rate(90, 100), rate(80, 100)
    assert compare(pair, (rate(0, 500), Moments())) == compare(pair)


def test_sessions_are_independent_runs_are_not() -> None:
    """If all runs of a session are alike, ten of them are worth as much as one."""
    ten = [moments_of([(10.0, 10, passed), (0.0, 10, 100 - passed)]) for passed in (90, 60)]
    one = [rate(passed, 100) for passed in (90, 60)]
    assert compare((ten[0], ten[1])).difference.low == pytest.approx(
        compare((one[0], one[1])).difference.low, rel=1e-9
    )


def test_independent_runs_of_sessions() -> None:
    """If the runs of a session are independent, the interval is about that of single runs."""
    draw = np.random.default_rng(4)
    sides = [
        moments_of((total, 5, count) for total, count in Counter(totals.tolist()).items())
        for totals in (draw.binomial(5, 0.7, 2_000), draw.binomial(5, 0.6, 2_000))
    ]
    single = [rate(round(side.total), 10_000) for side in sides]
    widths = [
        found.difference.high - found.difference.low
        for found in (compare((sides[0], sides[1])), compare((single[0], single[1])))
    ]
    assert widths[0] == pytest.approx(widths[1], rel=0.05)


def test_stratum_with_one_session() -> None:
    """A client with a single session on one side does not get the weight of all its traffic."""
    large, small = StratumSums(), StratumSums()
    large.add((rate(900, 1_000), rate(90, 100)))
    small.add((rate(900, 1_000), rate(0, 1)))
    found = compare_sums([large, small], is_rate=True, error=0.001, expected=0.08)
    assert found is not None
    assert -0.02 < found.difference.value < 0
