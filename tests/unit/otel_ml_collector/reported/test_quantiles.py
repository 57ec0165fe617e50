"""Tests of quantiles of merged histograms."""

from collections import defaultdict
from collections.abc import Sequence

import pytest

from otel_ml_collector.reported.quantiles import Intervals, add_buckets, find_quantile


def merge(*histograms: tuple[Sequence[float], Sequence[int], int]) -> Intervals:
    intervals: Intervals = defaultdict(float)
    for bounds, buckets, weight in histograms:
        add_buckets(intervals, bounds, buckets, weight)
    return intervals


@pytest.mark.parametrize(
    ("share", "value"), [(0.0, 0.0), (0.25, 0.5), (0.5, 1.0), (0.75, 2.0), (1.0, 3.0)]
)
def test_within_a_bucket(share: float, value: float) -> None:
    """A quantile is interpolated within its bucket."""
    assert find_quantile(merge(([1, 3], [2, 2, 0], 1)), share) == value


def test_beyond_the_last_bound() -> None:
    """Values above the last bound count as this bound."""
    intervals = merge(([1, 3], [1, 0, 9], 1))
    assert find_quantile(intervals, 0.5) == 3
    assert find_quantile(intervals, 0.05) == 0.5


def test_different_bounds() -> None:
    """Histograms with different bounds are merged."""
    intervals = merge(([2], [10, 0], 1), ([1, 2], [0, 10, 0], 1))
    assert find_quantile(intervals, 0.25) == 1.0
    assert find_quantile(intervals, 1.0) == 2.0


def test_subtracted() -> None:
    """Earlier counts are subtracted."""
    assert find_quantile(merge(([1, 2], [5, 5, 0], 1), ([1, 2], [5, 0, 0], -1)), 0.5) == 1.5


@pytest.mark.parametrize("histogram", [([], [], 1), ([1.0], [1], 1), ([1.0], [0, 0], 1)])
def test_nothing(histogram: tuple[list[float], list[int], int]) -> None:
    """Without values, or with buckets that do not fit, there is no quantile."""
    assert find_quantile(merge(histogram), 0.5) is None
