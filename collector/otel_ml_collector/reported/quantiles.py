"""Quantiles of histograms with different buckets, merged as weighted intervals."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise

# Number of values by the bounds of their bucket. A value can be anywhere between the bounds.
Intervals = defaultdict[tuple[float, float], float]


def add_buckets(
    intervals: Intervals, bounds: Sequence[float], buckets: Sequence[int], weight: int = 1
) -> None:
    """Add the buckets of a histogram of values that are not negative.

    Args:
        intervals: Number of values by (lower, upper) bound. This function changes it.
        bounds: Upper bounds of the buckets, except the last one, which has no upper bound.
        buckets: Number of values in each bucket.
        weight: 1 to add the buckets, -1 to subtract them.
    """
    if len(buckets) != len(bounds) + 1 or not bounds:
        return
    edges = [0.0, *(max(bound, 0.0) for bound in bounds), max(bounds[-1], 0.0)]
    for edge, count in zip(pairwise(edges), buckets, strict=True):
        if count:
            intervals[edge] += weight * count


def find_quantile(intervals: Intervals, share: float) -> float | None:
    """Return a quantile, interpolated within its bucket; None without values.

    Values above the last bound of a histogram count as that bound.
    """
    known = {edge: count for edge, count in intervals.items() if count > 0}
    wanted = share * sum(known.values())
    if not known:
        return None
    points = sorted({point for edge in known for point in edge})
    below = 0.0
    for low, high in pairwise([points[0], *points]):
        spread = sum(
            count * (high - low) / (end - start)
            for (start, end), count in known.items()
            if start <= low < high <= end
        )
        if spread and below + spread >= wanted:
            return low + (high - low) * (wanted - below) / spread
        below += spread
        at_bound = known.get((high, high), 0.0)
        if at_bound and below + at_bound >= wanted:
            return high
        below += at_bound
    return points[-1]
