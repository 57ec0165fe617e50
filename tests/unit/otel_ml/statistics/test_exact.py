"""Tests of the exact tests for few items, against values by hand and against enumeration."""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise, product

import pytest

from otel_ml.statistics.exact import (
    exact_difference,
    least_units,
    show_least,
    sign_flip_mean,
    sign_flip_p,
    sign_test_difference,
)

Unit = tuple[float, int]


def flips(worse: int, better: int, same: int) -> list[Unit]:
    return [(-1.0, 1)] * worse + [(1.0, 1)] * better + [(0.0, 1)] * same


@pytest.mark.parametrize(
    ("units", "p"),
    [
        (flips(8, 0, 1), 2 / 2**8),  # 0.008
        (flips(3, 0, 6), 2 / 2**3),  # 0.25
        (flips(5, 0, 0), 2 / 2**5),  # 0.0625
        (flips(6, 0, 0), 2 / 2**6),  # 0.031
        (flips(7, 1, 0), 2 * (1 + 8) / 2**8),  # 0.070
        (flips(0, 0, 9), 1.0),
        # Of the 16 sets of signs, only none and {0.2} give a sum of at least 1 + 2 + 3 − 0.2.
        ([(1.0, 1), (2.0, 1), (3.0, 1), (-0.2, 1)], 2 * 2 / 16),
        ([(-4.0, 4)] * 6, 2 / 2**6),  # clusters are the units
    ],
)
def test_p_by_hand(units: Sequence[Unit], p: float) -> None:
    """The p-value is the share of all signs that give at least as large a sum, twice."""
    assert sign_flip_p(units) == pytest.approx(p, abs=1e-12)


def test_p_by_enumeration() -> None:
    """The p-value of scores with ties is that of all 2¹⁰ sets of signs."""
    scores = [0.3, -0.1, 0.1, 0.1, 0.0, 0.7, -0.2, 0.4, 0.1, 0.25]
    total = math.fsum(scores)
    sums = [
        math.fsum(a * b for a, b in zip(scores, signs, strict=True))
        for signs in product((1, -1), repeat=10)
    ]
    more = sum(one >= total - 1e-9 for one in sums)
    assert sign_flip_p([(score, 1) for score in scores]) == pytest.approx(2 * more / 2**10)


def test_interval_of_scores_by_hand() -> None:
    """The bounds are means of subsets: of 64 sets, one may be left out on each side at 95 %."""
    scores = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    found = sign_flip_mean([(score, 1) for score in scores])
    # Without the empty set, the smallest mean is 1. With it, two sets are more than 2.5 %.
    assert [found.value, found.low, found.high] == pytest.approx([3.5, 1.0, 6.0])
    assert sign_flip_p([(score - found.low - 1e-9, 1) for score in scores]) > 0.05
    assert sign_flip_p([(score - found.low + 1e-9, 1) for score in scores]) <= 0.05


def test_interval_of_passes_by_hand() -> None:
    """The upper bound of six items that all broke is 1 − 2 · 0.025^(1/6)."""
    found = sign_test_difference({(1, 0): 6})
    # All six break in 2.5 % of samples if p⁶ = 0.025. At most 1 − p get better.
    bound = 1 - 2 * 0.025 ** (1 / 6)
    assert [found.value, found.low, found.high] == pytest.approx([-1.0, -1.0, bound], abs=1e-9)


def test_nothing_changed() -> None:
    """Nine items without a change leave room for 1 − 0.025^(1/9), a third, on both sides."""
    found = sign_test_difference({(1, 1): 9})
    bound = 1 - 0.025 ** (1 / 9)
    assert [found.low, found.high] == pytest.approx([-bound, bound], abs=0.001)


def tables(n: int) -> Iterator[tuple[int, int]]:
    for worse in range(n + 1):
        for better in range(n - worse + 1):
            yield worse, better


@pytest.mark.parametrize(("n", "alpha"), [(5, 0.05), (6, 0.05), (9, 0.05), (9, 0.025)])
def test_coverage_of_passes(n: int, alpha: float) -> None:
    """Whatever the true shares are, the interval contains their difference often enough."""
    bounds = {}
    for worse, better in tables(n):
        same = n - worse - better
        table = {(1, 0): worse, (0, 1): better, (0, 0): same}
        bounds[worse, better] = sign_test_difference(table, confidence=1 - alpha)
    steps = 20
    for down, up in tables(steps):
        p, q = down / steps, up / steps
        coverage = sum(
            math.comb(n, worse)
            * math.comb(n - worse, better)
            * p**worse
            * q**better
            * (1 - p - q) ** (n - worse - better)
            for (worse, better), found in bounds.items()
            if found.low - 1e-9 <= q - p <= found.high + 1e-9
        )
        assert coverage >= 1 - alpha


@pytest.mark.parametrize("n", [3, 7, 10])
def test_interval_agrees_with_the_sign_test(n: int) -> None:
    """The interval excludes 0 exactly if the sign test rejects, in the same direction."""
    for worse, better in tables(n):
        same = n - worse - better
        found = sign_test_difference({(1, 0): worse, (0, 1): better, (1, 1): same})
        is_certain = sign_flip_p(flips(worse, better, same)) <= 0.05
        assert (found.high < 0, found.low > 0) == (
            is_certain and worse > better,
            is_certain and better > worse,
        )
        mirrored = sign_test_difference({(1, 0): better, (0, 1): worse, (1, 1): same})
        assert (mirrored.low, mirrored.high) == (-found.high, -found.low)


def test_more_broken_items_lower_the_interval() -> None:
    """Each item that breaks instead of staying equal lowers both bounds, or keeps them."""
    found = [sign_test_difference({(1, 0): worse, (1, 1): 9 - worse}) for worse in range(10)]
    for one, more in pairwise(found):
        assert more.low <= one.low
        assert more.high <= one.high


def test_coverage_of_repeats() -> None:
    """With means of two repeats, six items cover the true mean in 95 % of all samples."""
    values = (-1.0, -0.5, 0.0, 0.5, 1.0)
    shares = [(0.05, 0.2, 0.5, 0.2, 0.05), (0.5, 0.25, 0.25, 0, 0), (0.2, 0, 0.8, 0, 0)]
    covered = [0.0] * len(shares)
    for counts in product(range(7), repeat=5):
        if sum(counts) != 6:
            continue
        units = [(v, 1) for v, count in zip(values, counts, strict=True) for _ in range(count)]
        found = exact_difference(units, of_rates=True)
        assert (found.low > 0 or found.high < 0) == (sign_flip_p(units) <= 0.05)
        ways = math.factorial(6) / math.prod(map(math.factorial, counts))
        for at, chances in enumerate(shares):
            mean = sum(v * chance for v, chance in zip(values, chances, strict=True))
            if found.low - 1e-9 <= mean <= found.high + 1e-9:
                covered[at] += ways * math.prod(
                    chance**count for chance, count in zip(chances, counts, strict=True)
                )
    assert min(covered) >= 0.95


def test_what_few_items_can_show() -> None:
    """9 items show a change of 73 points: six or more of 9 break in 80 % of samples."""
    shown = show_least(9)
    assert shown is not None
    power = sum(math.comb(9, k) * shown**k * (1 - shown) ** (9 - k) for k in range(6, 10))
    assert power == pytest.approx(0.8)
    assert round(100 * shown) == 73
    assert show_least(6) == pytest.approx(0.8 ** (1 / 6))  # all six must break
    assert show_least(5) is None
    assert [least_units(), least_units(0.975), least_units(0.99)] == [6, 7, 8]


def test_nineteen_clusters() -> None:
    """Nineteen clusters of different sizes have an interval around their mean."""
    units = [(0.1 * place - 0.7, place % 4 + 1) for place in range(19)]
    found = sign_flip_mean(units)
    assert found.clusters == 19
    assert found.low < found.value < found.high
