"""Estimates how many predictions are right before their ground truth arrives.

Predictions with a higher probability are assumed to be right more often, or equally often. How
often is learned from runs with ground truth, and applied to runs that still wait for it.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

# Fewer runs with ground truth are not enough to calibrate.
FEWEST_TRUTHS: Final = 100


@dataclass(frozen=True, slots=True)
class ConfidenceBin:
    """A histogram bin: runs with similar predicted probabilities. Pass bins to `expect_right`.

    Attributes:
        n: Number of runs in the bin.
        total: Sum of their predicted probabilities.
        here: Number of runs with ground truth.
        here_total: Sum of the predicted probabilities of the runs with ground truth.
        right: Number of runs with ground truth whose prediction was right.
    """

    n: int
    total: float
    here: int
    here_total: float
    right: int

    def __add__(self, other: "ConfidenceBin") -> "ConfidenceBin":
        """Add the runs of another bin."""
        return ConfidenceBin(
            self.n + other.n,
            self.total + other.total,
            self.here + other.here,
            self.here_total + other.here_total,
            self.right + other.right,
        )

    def __sub__(self, other: "ConfidenceBin") -> "ConfidenceBin":
        """Remove the runs of another bin."""
        return ConfidenceBin(
            self.n - other.n,
            self.total - other.total,
            self.here - other.here,
            self.here_total - other.here_total,
            self.right - other.right,
        )

    @property
    def waiting(self) -> "ConfidenceBin":
        """The same bin, but only with runs that have no ground truth yet."""
        return ConfidenceBin(self.n - self.here, self.total - self.here_total, 0, 0.0, 0)


@dataclass(frozen=True, slots=True)
class RisingCurve:
    """A calibration curve: maps a predicted probability to the share of right predictions.

    The curve never falls. It is linear between its points, and constant before the first and after
    the last one.

    Attributes:
        at: Predicted probabilities at the points, in rising order.
        share: Share of right predictions at each point.
    """

    at: Sequence[float]
    share: Sequence[float]

    def read(self, place: float) -> float:
        """Return the share of right predictions at a predicted probability."""
        behind = bisect_right(self.at, place)
        if behind == 0:
            return self.share[0]
        if behind == len(self.at):
            return self.share[-1]
        left, right = self.at[behind - 1], self.at[behind]
        low, high = self.share[behind - 1], self.share[behind]
        return low + (high - low) * (place - left) / (right - left)


def fit_rising_curve(points: Iterable[tuple[float, float, float]]) -> RisingCurve:
    """Fit an isotonic regression: the least-squares curve that never falls as x grows.

    Args:
        points: At least one tuple of x, y and weight, in any order. A point with weight 2 counts
            like two equal points.

    Source: Ayer and others, An empirical distribution function for sampling with incomplete
    information, Annals of Mathematical Statistics 26 (1955), pool adjacent violators; Zadrozny and
    Elkan, Transforming classifier scores into accurate multiclass probability estimates, KDD
    (2002), for probabilities.
    """
    merged: dict[float, tuple[float, float]] = {}
    for place, height, weight in points:
        heights, weights = merged.get(place, (0.0, 0.0))
        merged[place] = (heights + height * weight, weights + weight)
    places = sorted(merged)
    # For each level segment: sum of heights, weight, number of points.
    intervals: list[tuple[float, float, int]] = []
    for place in places:
        total, weight, number = *merged[place], 1
        while intervals and intervals[-1][0] * weight >= total * intervals[-1][1]:
            before = intervals.pop()
            total, weight, number = total + before[0], weight + before[1], number + before[2]
        intervals.append((total, weight, number))
    shares = [total / weight for total, weight, number in intervals for _ in range(number)]
    return RisingCurve(places, shares)


def expect_right(known: Iterable[ConfidenceBin], asked: Iterable[ConfidenceBin]) -> float | None:
    """Estimate the accuracy of predictions before their ground truth arrives.

    For example, if 70 % of the earlier predictions with a probability near 0.8 were right, 70 % of
    such new predictions are expected to be right.

    Args:
        known: Earlier runs, in bins of similar predicted probabilities.
        asked: New runs, in bins of the same kind. The function estimates their accuracy.

    Returns:
        Expected share of right predictions, from 0 to 1. None if fewer than 100 of the earlier runs
        have ground truth, or if there is no run to estimate.
    """
    truths = [
        (part.here_total / part.here, part.right / part.here, part.here)
        for part in known
        if part.here > 0
    ]
    if sum(number for *_, number in truths) < FEWEST_TRUTHS:
        return None
    curve = fit_rising_curve(truths)
    runs = [part for part in asked if part.n > 0]
    number = sum(part.n for part in runs)
    if not number:
        return None
    return sum(part.n * curve.read(part.total / part.n) for part in runs) / number
