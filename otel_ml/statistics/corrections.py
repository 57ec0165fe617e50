"""Corrections for asking many questions at once, and the exact test of flips between two sides."""

import math
from collections.abc import Iterable, Sequence
from itertools import accumulate


def mcnemar_mid_p(first: int, second: int) -> float:
    """Return how likely flips at least as uneven are where nothing changed, the mid-p version.

    Args:
        first: How many items passed the first time only.
        second: How many passed the second time only.

    Raises:
        ValueError: A count is below 0.

    Source: Fagerland, Lydersen, Laake, The McNemar test for binary matched-pairs data: mid-p and
    asymptotic are better than exact conditional, BMC Medical Research Methodology 13 (2013), 91.
    """
    if min(first, second) < 0:
        raise ValueError("Invalid counts below 0: expected how many items flipped")
    n, fewer = first + second, min(first, second)
    if first == second:
        return 1.0 - _binomial(n, fewer) / 2 if n else 1.0
    tail = math.fsum(_binomial(n, k) for k in range(fewer + 1))
    return min(2 * tail - _binomial(n, fewer), 1.0)


def holm(p: Sequence[float]) -> list[float]:
    """Return adjusted p-values, in the order given: those up to 0.05 hold together at 5 %.

    Source: Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of
    Statistics 6 (1979).
    """
    order = sorted(range(len(p)), key=p.__getitem__)
    steps = accumulate(((len(p) - rank) * p[at] for rank, at in enumerate(order)), max)
    return _in_order(order, steps)


def benjamini_hochberg(p: Sequence[float]) -> list[float]:
    """Return adjusted p-values, in the order given: of those up to 0.05 about 5 % are chance.

    Source: Benjamini and Hochberg, Controlling the false discovery rate, Journal of the Royal
    Statistical Society B 57 (1995).
    """
    order = sorted(range(len(p)), key=p.__getitem__, reverse=True)
    steps = accumulate((len(p) / (len(p) - rank) * p[at] for rank, at in enumerate(order)), min)
    return _in_order(order, steps)


def _in_order(order: Sequence[int], steps: Iterable[float]) -> list[float]:
    found = [1.0] * len(order)
    for at, step in zip(order, steps, strict=True):
        found[at] = min(step, 1.0)
    return found


def _binomial(n: int, k: int) -> float:
    """Return how likely `k` heads of `n` fair tosses are."""
    return math.exp(
        math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) - n * math.log(2)
    )
