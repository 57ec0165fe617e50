"""Tests and intervals that are exact for few items: the sign test and the sign-flip test.

If a change has no effect, each difference is as likely positive as negative. So all ways to flip
the signs of the differences are equally likely, and the p-value is a count. An interval contains
the values that the same test does not reject, so test and interval always agree. Design record 064
says what was refused.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import chain, repeat
from typing import Final

from otel_ml.statistics.intervals import (
    CONFIDENCE,
    ClusterSum,
    ClusterSums,
    Estimate,
    normal_quantile,
)

_POWER: Final = 0.8
_STEPS: Final = 50  # halvings: the bounds have 15 digits
_GRID: Final = 40  # values of the unknown share of pairs that changed
_ROUNDING: Final = 1e-12


def sign_flip_p(sums: ClusterSums) -> float:
    """Test whether the mean of at most 19 independent differences is 0. Return the p-value.

    For differences of passes of single runs, this is the sign test (the exact McNemar test): pairs
    without a change have no influence. 8 worse and none better give 2 / 2⁸ = 0.008.

    Args:
        sums: Sum and number of the differences of each cluster. An independent item is a cluster of
            one.

    Source: Pitman, Significance tests which may be applied to samples from any populations,
    Supplement to the Journal of the Royal Statistical Society 4 (1937).
    """
    units = _list_units(sums)
    tails = (_tail(units, 0.0), _tail([(-total, n) for total, n in units], 0.0))
    return min(2 * min(tails), 1.0)


def sign_flip_mean(
    sums: ClusterSums, *, confidence: float = CONFIDENCE, of_rates: bool = False
) -> Estimate:
    """Return the mean of at most 19 independent differences, with its exact interval.

    The interval contains all means that the sign-flip test does not reject. It excludes 0 exactly
    if the p-value of `sign_flip_p` is at most 1 minus the confidence. Its bounds are means of
    subsets of the differences, so it is exact if the differences are symmetric around their mean.

    Args:
        sums: Sum and number of the differences of each cluster.
        confidence: Confidence level of the interval, between 0 and 1.
        of_rates: Whether the values are differences of rates, from -1 to 1. Those are not
            symmetric, so each bound is then computed with one more, imagined cluster, which changed
            as far as possible. Without it, items that all stayed equal would have an interval of
            width 0.

    Returns:
        The mean. With fewer than six clusters, the interval has no bounds, or those of a rate.

    Source: Hartigan, Using subsample values as typical values, Journal of the American Statistical
    Association 64 (1969).
    """
    units = _list_units(sums)
    n = sum(size for _, size in units)
    mean = math.fsum(total for total, _ in units) / n
    tail = (1 - confidence) / 2
    mirrored = [(-total, size) for total, size in units]
    low = _lower_bound(units, tail, of_rates=of_rates)
    high = -_lower_bound(mirrored, tail, of_rates=of_rates)
    return Estimate(mean, min(low, mean), max(high, mean), n, len(units))


def sign_test_difference(
    table: Mapping[tuple[int, int], int], *, confidence: float = CONFIDENCE
) -> Estimate:
    """Return how the pass rate of the same few items changed, with its exact interval.

    The interval excludes 0 exactly if the p-value of the sign test is at most 1 minus the
    confidence. Whatever the shares of items that got worse or better are, it
    contains the true difference with at least this confidence.

    Args:
        table: Number of items by pass before and after: ``table[1, 0]`` is the number of items that
            passed before and fail now.
        confidence: Confidence level of the interval, between 0 and 1.

    Source: Buehler, Confidence intervals for the product of two binomial parameters, Journal of the
    American Statistical Association 52 (1957), for the bound from an order of the outcomes.
    """
    worse, better = table.get((1, 0), 0), table.get((0, 1), 0)
    n = sum(table.values())
    tail = (1 - confidence) / 2
    low, high = -_upper_bound(n, better, worse, tail), _upper_bound(n, worse, better, tail)
    return Estimate((better - worse) / n, low, high, n, n)


def exact_difference(
    sums: ClusterSums, *, confidence: float = CONFIDENCE, of_rates: bool = False
) -> Estimate:
    """Return the mean of few differences with the interval of the sign test or sign-flip test.

    The sign test is used if each cluster got worse, got better or stayed equal as a whole, as
    passes of single runs do.
    """
    units = _list_units(sums)
    sizes = {n for _, n in units}
    if not of_rates or len(sizes) > 1 or any(abs(total) not in (0.0, n) for total, n in units):
        return sign_flip_mean(sums, confidence=confidence, of_rates=of_rates)
    worse, better = (sum(total * sign > 0 for total, _ in units) for sign in (-1, 1))
    table = {(1, 0): worse, (0, 1): better, (0, 0): len(units) - worse - better}
    own = sign_test_difference(table, confidence=confidence)
    return replace(own, n=own.n * sizes.pop())


def show_least(units: int, *, confidence: float = CONFIDENCE) -> float | None:
    """Return the smallest change of a pass rate that so few units show with 80 % power.

    It is the share of units that must get worse, if none gets better, so that the sign test shows
    it in 80 % of samples: 0.73 for 9 units. None if the units are too few for any change.
    """
    flips = least_units(confidence)
    if units < flips:
        return None
    return _bisect(lambda share: _binomial_tail(units, flips, share) >= _POWER, 0.0, 1.0)


def least_units(confidence: float = CONFIDENCE) -> int:
    """Return the smallest number of units that can show any change, if all of them change."""
    return math.ceil(1 - math.log2(1 - confidence) - _ROUNDING)


def _list_units(sums: ClusterSums) -> list[ClusterSum]:
    if not isinstance(sums, Mapping):
        return list(sums)
    return list(chain.from_iterable(repeat(unit, count) for unit, count in sums.items()))


def _lower_bound(units: Sequence[ClusterSum], tail: float, *, of_rates: bool) -> float:
    """Return the smallest mean that the one-sided sign-flip test does not reject."""
    least = -1.0 if of_rates else -math.inf
    bound = _invert(units, tail, least)
    if of_rates and bound > least:
        size = sum(n for _, n in units) / len(units)
        wider = _invert([*units, (-size, size)], tail, least)
        if bound > 0 >= wider:  # an imagined cluster must not change what the test decides
            signs = [total > 0 for total, _ in units if total]
            least_share = -_upper_bound(len(units), sum(signs), len(signs) - sum(signs), tail)
            wider = bound * least_share if least_share > 0 else bound
        bound = wider
    return bound


def _invert(units: Sequence[tuple[float, float]], tail: float, least: float) -> float:
    if 2.0 ** -len(units) > tail:  # no sample of this size is extreme enough
        return least
    means = [total / n for total, n in units]
    low, high = min(means), max(means)
    # Start at 0, so that rounding cannot separate the bound from the test.
    if _tail(units, 0.0) <= tail:
        low = max(low, 0.0)
    else:
        high = min(high, 0.0)
    if low >= high:
        return high if low > high else low
    return _bisect(lambda mean: _tail(units, mean) > tail, low, high)


def _tail(units: Sequence[tuple[float, float]], mean: float) -> float:
    """Return the probability that random signs give at least as large a sum of `units` − `mean`.

    A set of flipped signs does so exactly if its own sum is at most 0. The sets are counted from
    the sums of two halves, so 19 units need 2 · 2¹⁰ sums instead of 2¹⁹.
    """
    steps = [total - mean * n for total, n in units]
    half = len(steps) // 2
    first, second = sorted(_list_sums(steps[:half])), _list_sums(steps[half:])
    rounding = _ROUNDING * max(math.fsum(map(abs, steps)), abs(mean))
    return sum(bisect_right(first, rounding - other) for other in second) / 2.0 ** len(steps)


def _list_sums(steps: Sequence[float]) -> list[float]:
    sums = [0.0]
    for step in steps:
        sums += [of + step for of in sums]
    return sums


@lru_cache(1024)
def _upper_bound(n: int, worse: int, better: int, tail: float) -> float:
    """Return the largest difference of the pass rates that the one-sided sign test leaves open."""
    order = _order_outcome(n, worse, better, tail)
    outcomes = [
        (down, up, math.comb(n, down) * math.comb(n - down, up))
        for down in range(n + 1)
        for up in range(n - down + 1)
        if _order_outcome(n, down, up, tail) <= order
    ]

    def is_rejected(difference: float) -> bool:
        """Return whether such an outcome is too rare, whatever the share that gets worse is."""
        least, most = max(-difference, 0.0), (1 - difference) / 2
        for place in range(_GRID + 1):
            down = least + (most - least) * place / _GRID
            up = down + difference
            powers = [
                [max(share, 0.0) ** k for k in range(n + 1)] for share in (down, up, 1 - down - up)
            ]
            chance = sum(
                ways * powers[0][b] * powers[1][c] * powers[2][n - b - c] for b, c, ways in outcomes
            )
            if chance > tail:
                return False
        return True

    if not order[0]:
        return _bisect(is_rejected, -1.0, 0.0)
    return _bisect(is_rejected, 0.0, 1.0)


@lru_cache(4096)
def _order_outcome(n: int, worse: int, better: int, tail: float) -> tuple[bool, float]:
    """Return a sort key of outcomes: those with the strongest evidence for "worse" come first.

    Outcomes that the sign test rejects come before all others. Within both groups, the upper bound
    of an approximate interval decides.

    Source: Agresti and Min, Effects and non-effects of paired identical observations in comparing
    proportions with binary matched-pairs data, Statistics in Medicine 23 (2004).
    """
    size, change = n + 2, better - worse
    spread = max(worse + better + 1 - change**2 / size, 0.0)
    upper = change + normal_quantile(1 - tail) * math.sqrt(spread)
    return _binomial_tail(worse + better, worse, 0.5) > tail, round(upper, 9)


def _bisect(holds: Callable[[float], bool], low: float, high: float) -> float:
    """Return the smallest value from which on a condition holds; `high` if it never does."""
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if holds(middle):
            high = middle
        else:
            low = middle
    return high


@lru_cache(4096)
def _binomial_tail(n: int, least: int, share: float) -> float:
    """Return the probability of at least this many successes out of `n`."""
    return math.fsum(
        math.comb(n, k) * share**k * (1 - share) ** (n - k) for k in range(least, n + 1)
    )
