"""How many predictions will be right, from their probabilities, before their truth is here.

The share that was right rises with the probability that was said, by a curve of which nothing else
is known: it is fitted to runs whose truth is here, and read for those that wait for theirs.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

# Fewer truths do not tell how far probabilities can be believed.
FEWEST_TRUTHS: Final = 100


@dataclass(frozen=True, slots=True)
class ConfidenceBin:
    """Runs that were about as sure of their predictions.

    Attributes:
        n: How many there are.
        total: The sum of the probabilities that they gave to what they predicted.
        here: How many of them have a truth.
        here_total: The sum of the probabilities of these.
        right: How many of these were right.
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
        """Leave the runs of a part of it out."""
        return ConfidenceBin(
            self.n - other.n,
            self.total - other.total,
            self.here - other.here,
            self.here_total - other.here_total,
            self.right - other.right,
        )

    @property
    def waiting(self) -> "ConfidenceBin":
        """The runs of it that wait for their truth."""
        return ConfidenceBin(self.n - self.here, self.total - self.here_total, 0, 0.0, 0)


@dataclass(frozen=True, slots=True)
class RisingCurve:
    """A curve that never falls: straight between its points, level outside of them.

    Attributes:
        at: Where the points stand, rising.
        share: How high each is.
    """

    at: Sequence[float]
    share: Sequence[float]

    def read(self, place: float) -> float:
        """Return how high the curve is at a place."""
        behind = bisect_right(self.at, place)
        if behind == 0:
            return self.share[0]
        if behind == len(self.at):
            return self.share[-1]
        left, right = self.at[behind - 1], self.at[behind]
        low, high = self.share[behind - 1], self.share[behind]
        return low + (high - low) * (place - left) / (right - left)


def fit_rising_curve(points: Iterable[tuple[float, float, float]]) -> RisingCurve:
    """Fit the rising curve with the least squared distance from points.

    Args:
        points: Of each its place, its height and its weight above 0, in any order; at least one.

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
    # Of each level stretch the sum of heights, the weight, and how many places it has.
    stretches: list[tuple[float, float, int]] = []
    for place in places:
        total, weight, number = *merged[place], 1
        while stretches and stretches[-1][0] * weight >= total * stretches[-1][1]:
            before = stretches.pop()
            total, weight, number = total + before[0], weight + before[1], number + before[2]
        stretches.append((total, weight, number))
    shares = [total / weight for total, weight, number in stretches for _ in range(number)]
    return RisingCurve(places, shares)


def expect_right(known: Iterable[ConfidenceBin], asked: Iterable[ConfidenceBin]) -> float | None:
    """Return the share of runs that is to be expected to be right, by their probabilities.

    Args:
        known: Runs, of which those with a truth say how far probabilities can be believed.
        asked: The runs that are asked about.

    Returns:
        None with fewer than 100 truths, or where nothing is asked about.
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
