"""Arithmetic on floats of any size."""

import math

import pytest

from otel_ml.statistics import floats
from otel_ml.statistics.intervals import Estimate, cluster_mean, exponential, sum_logs

HUGE = 1.7e308


def test_large_results_are_infinite() -> None:
    """A result that is too large for a float is infinite, and raises no error."""
    assert floats.square(1e200) == math.inf
    assert floats.exp(1e6) == math.inf
    assert floats.add([HUGE, HUGE]) == math.inf
    assert floats.mean([HUGE, HUGE]) == pytest.approx(HUGE)
    assert floats.variance([1e200, -1e200]) == math.inf
    assert math.isnan(floats.add([math.inf, -math.inf]))


def test_usual_results() -> None:
    """Results that fit are exact."""
    assert floats.add([0.1] * 10) == 1.0
    assert floats.mean([1.0, 2.0, 6.0]) == 3.0
    assert floats.variance([1.0, 2.0, 6.0]) == 7.0
    assert floats.deviation([1.0, 1.0]) == 0.0


def test_ratio_of_extreme_amounts() -> None:
    """A ratio that no float can express is infinite, or 0."""
    largest, smallest = (
        exponential(cluster_mean(sum_logs([(None, *pair)] * 3)))
        for pair in ((1e-300, 1e300), (1e300, 1e-300))
    )
    assert (largest.value, smallest.value) == (math.inf, 0.0)
    assert exponential(Estimate(1e4, -1e4, 1e4, 2, 2)) == Estimate(math.inf, 0.0, math.inf, 2, 2)
