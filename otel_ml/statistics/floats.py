"""Arithmetic on floats that is infinite, instead of raising an error, where a result is too large.

Outputs, scores and metrics of users can be any float. `x**2`, `math.exp` and `math.fsum` raise an
error if the result exceeds 1.8e308, and one such value would stop a whole page.
"""

import math
from collections.abc import Iterable, Sequence


def square(value: float) -> float:
    """Return the square of a number; infinite if it is too large."""
    return value * value


def exp(value: float) -> float:
    """Return e to the power of a number; infinite if it is too large."""
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf


def add(values: Iterable[float]) -> float:
    """Return the exact sum of some numbers; infinite if it is too large, NaN for ∞ − ∞."""
    listed = [*values]
    try:
        return math.fsum(listed)
    except (OverflowError, ValueError):
        return sum(listed)


def mean(values: Iterable[float]) -> float:
    """Return the mean of at least one number."""
    listed = [*values]
    total = add(listed)
    if math.isfinite(total):
        return total / len(listed)
    return add(value / len(listed) for value in listed)


def variance(values: Sequence[float]) -> float:
    """Return the sample variance of at least two numbers; infinite if it is too large."""
    middle = mean(values)
    return add(square(value - middle) for value in values) / (len(values) - 1)


def deviation(values: Sequence[float]) -> float:
    """Return the standard deviation of at least two numbers; infinite if it is too large."""
    return math.sqrt(variance(values))
