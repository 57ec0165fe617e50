"""Quality of predictions whose truth came later, from counts and sums of clusters.

Every figure is a ratio of two sums over runs: what was right by what was predicted, squared errors
by runs. Runs of one session are not independent, so a cluster counts as one: a store adds up the
runs of each cluster, then the clusters with their squares and products, and these sums are all that
a figure with its interval needs. Sums of several days add up to those of all.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from functools import reduce
from itertools import accumulate, pairwise
from operator import add
from typing import Final, TypeVar

from otel_ml.statistics.intervals import (
    CONFIDENCE,
    Estimate,
    normal_quantile,
    score_bounds,
    student_quantile,
)

# Fewer clusters than these that hit, or miss, do not tell how alike the runs of a cluster are.
_SPOKEN: Final = 10
# So many buckets that are old enough tell what is usual at an age.
FEWEST_BUCKETS: Final = 5
# Where less than this of the truths that come at last is usually here, a bucket is too young.
YOUNG: Final = 0.5
_AddedUp = TypeVar("_AddedUp", bound="_Sums")


@dataclass(frozen=True, slots=True)
class _Sums:
    def __add__(self: _AddedUp, other: _AddedUp) -> _AddedUp:
        return type(self)(
            *(getattr(self, field.name) + getattr(other, field.name) for field in fields(self))
        )


@dataclass(frozen=True, slots=True)
class RatioSums(_Sums):
    """Sums over clusters of two amounts whose ratio is a figure.

    Attributes:
        clusters: How many there are with a second amount above 0.
        first, second: The sums of the amounts.
        first_squares, products, second_squares: The sums over clusters of their squares and of
            their product.
        with_hit: In how many clusters the first amount is above 0.
        with_miss: In how many it is below the second.
        n: How many runs these are of.
    """

    clusters: int = 0
    first: float = 0.0
    second: float = 0.0
    first_squares: float = 0.0
    products: float = 0.0
    second_squares: float = 0.0
    with_hit: int = 0
    with_miss: int = 0
    n: int = 0

    def subtracted_from(self, whole: "RatioSums") -> "RatioSums":
        """Return the sums of the rest of a whole whose clusters are each in one part alone."""
        return RatioSums(
            *(getattr(whole, field.name) - getattr(self, field.name) for field in fields(self))
        )


@dataclass(frozen=True, slots=True)
class SpreadSums(_Sums):
    """Sums over clusters of errors and truths, of which the explained share is made.

    Attributes:
        clusters: How many there are.
        n: How many runs.
        error: The sum of squared errors.
        truth, squares: The sums of truths and of their squares.
        nn, ne, nt, ns, ee, et, es, tt, ts, ss: The sums over clusters of the products of two of
            these: runs, squared errors, truths, squared truths.
    """

    clusters: int = 0
    n: float = 0.0
    error: float = 0.0
    truth: float = 0.0
    squares: float = 0.0
    nn: float = 0.0
    ne: float = 0.0
    nt: float = 0.0
    ns: float = 0.0
    ee: float = 0.0
    et: float = 0.0
    es: float = 0.0
    tt: float = 0.0
    ts: float = 0.0
    ss: float = 0.0


def add_up(sums: Iterable[RatioSums]) -> RatioSums:
    """Add the sums of several days or versions up."""
    return reduce(add, sums, RatioSums())


def difference_of(own: Estimate, rest: Estimate) -> tuple[float, float]:
    """Return the interval of the difference of two independent figures, from their own intervals.

    Source: Zou, Donner, Construction of confidence limits about effect measures, Statistics in
    Medicine 27 (2008).
    """
    difference = own.value - rest.value
    return (
        difference - math.hypot(own.value - own.low, rest.high - rest.value),
        difference + math.hypot(own.high - own.value, rest.value - rest.low),
    )


def differ_by_chance(own: Estimate, rest: Estimate) -> float:
    """Return how likely chance makes two independent figures differ as much, on both sides."""
    low, high = difference_of(own, rest)
    difference = own.value - rest.value
    room = difference - low if difference > 0 else high - difference
    if not math.isfinite(room):
        return 1.0
    if room <= 0:
        return 0.0 if difference else 1.0
    return math.erfc(abs(difference) / room * normal_quantile((1 + CONFIDENCE) / 2) / math.sqrt(2))


def rate_of(sums: RatioSums, *, confidence: float = CONFIDENCE) -> Estimate | None:
    """Return a share such as accuracy, precision, recall, F1 or coverage.

    Wilson's interval with the size that as exact a simple sample would have, by the linearised
    variance of a ratio over clusters, and Student's t. Where fewer than ten clusters, or a tenth of
    them, hit or miss, how alike the runs of a cluster are cannot be known: each counts as one. F1
    is the ratio of twice the hits to what was predicted and what came together.

    Args:
        sums: The first amount is at most the second, in every cluster.
        confidence: Between 0 and 1.

    Returns:
        None where the second amount is 0 in all.

    Source: Cochran, Sampling techniques (1977), section 6.3 (the variance of a ratio), which
    Woodruff, A simple method for approximating the variance of a complicated estimate, Journal of
    the American Statistical Association 66 (1971), has for clusters; Franco, Little, Louis, Slud,
    Journal of Survey Statistics and Methodology 7 (2019), for the interval; Takahashi and others,
    Confidence interval for micro-averaged F1 and macro-averaged F1 scores, Applied Intelligence 52
    (2022), for the delta method on F1.
    """
    if sums.second <= 0:
        return None
    rate = min(max(sums.first / sums.second, 0.0), 1.0)
    if sums.clusters == 1:
        return Estimate(rate, 0.0, 1.0, sums.n, 1)
    alike = _count_alike(sums)
    variance = _ratio_variance(sums)
    size = alike
    if variance > 0 and 0 < rate < 1:
        simple = rate * (1 - rate) / variance + 1
        spoken = min(sums.with_hit, sums.with_miss) >= max(_SPOKEN, sums.clusters / 10)
        size = simple if spoken else min(simple, alike)
    t = student_quantile((1 + confidence) / 2, _degrees(sums))
    low, high = score_bounds(rate, size, t)
    return Estimate(rate, low, high, sums.n, sums.clusters)


def mean_of(sums: RatioSums, *, confidence: float = CONFIDENCE) -> Estimate | None:
    """Return a mean of runs such as the Brier score, absolute error, bias or precision at k.

    Args:
        sums: The second amount is the number of runs.
        confidence: Between 0 and 1.

    Returns:
        None without a run; an unbounded interval where there is but one cluster.

    Source: as `rate_of`, by Student's t.
    """
    if sums.second <= 0:
        return None
    mean = sums.first / sums.second
    if sums.clusters == 1:
        return Estimate(mean, -math.inf, math.inf, sums.n, 1)
    half = student_quantile((1 + confidence) / 2, _degrees(sums)) * math.sqrt(_ratio_variance(sums))
    return Estimate(mean, mean - half, mean + half, sums.n, sums.clusters)


def root_of(sums: RatioSums, *, confidence: float = CONFIDENCE) -> Estimate | None:
    """Return the root of a mean, such as the root of the mean squared error.

    Its bounds are the roots of those of the mean, which is the same statement; a bound below 0
    is 0.
    """
    mean = mean_of(sums, confidence=confidence)
    if mean is None:
        return None
    value, low, high = (math.sqrt(max(part, 0.0)) for part in (mean.value, mean.low, mean.high))
    return Estimate(value, low, high, mean.n, mean.clusters)


def explained_of(sums: SpreadSums, *, confidence: float = CONFIDENCE) -> Estimate | None:
    """Return R²: one less the squared errors by the squared distances of truths from their mean.

    Args:
        sums: Sums of clusters.
        confidence: Between 0 and 1.

    Returns:
        At most 1, without a lower bound: below 0 is worse than to say the mean. None where the
        truths do not differ.

    Source: The delta method on the four means, with their variances over clusters: Oehlert, A note
    on the delta method, The American Statistician 46 (1992); Cohen, Cohen, West, Aiken, Applied
    multiple regression (2003), section 3.6.2, for the statistic.
    """
    n = sums.n
    # Where the truths are one number, what is left of the difference is rounding.
    spread = sums.squares - sums.truth**2 / n if n else 0.0
    if spread <= 1e-12 * sums.squares:
        return None
    value = 1 - sums.error / spread
    if sums.clusters == 1:
        return Estimate(value, -math.inf, 1.0, round(n), 1)
    mean = sums.truth / n
    share = sums.error / spread**2
    # The derivatives by runs, squared errors, truths and squared truths.
    slopes = (share * mean**2, -1 / spread, -2 * share * mean, share)
    products = (
        (sums.nn, sums.ne, sums.nt, sums.ns),
        (sums.ne, sums.ee, sums.et, sums.es),
        (sums.nt, sums.et, sums.tt, sums.ts),
        (sums.ns, sums.es, sums.ts, sums.ss),
    )
    # Linearised, the clusters' parts add up to 0: R² is the same for twice the runs.
    squares = math.fsum(
        first * second * products[row][column]
        for row, first in enumerate(slopes)
        for column, second in enumerate(slopes)
    )
    variance = max(squares, 0.0) * sums.clusters / (sums.clusters - 1)
    degrees = max(min(n * n / sums.nn, sums.clusters) - 1, 1.0)
    half = student_quantile((1 + confidence) / 2, degrees) * math.sqrt(variance)
    return Estimate(value, value - half, min(value + half, 1.0), round(n), sums.clusters)


@dataclass(frozen=True, slots=True)
class CalibrationBin:
    """Runs of which about the same probability was predicted.

    Attributes:
        predicted: The mean of what was predicted.
        came: The share of runs where it came.
    """

    predicted: float
    came: Estimate


def calibrate(bins: Iterable[tuple[float, RatioSums]]) -> list[CalibrationBin]:
    """Return the calibration curve: predicted against came, by bins of the predicted.

    Args:
        bins: Of each bin the sum of probabilities, and the sums of what came by runs; empty bins
            are left out.

    Source: Murphy and Winkler, Reliability of subjective probability forecasts, Applied Statistics
    26 (1977); Bröcker and Smith, Increasing the reliability of reliability diagrams, Weather and
    Forecasting 22 (2007), for what was predicted in a bin: its mean, not its middle.
    """
    curve = []
    for total, sums in bins:
        came = rate_of(sums)
        if came is not None:
            curve.append(CalibrationBin(total / sums.second, came))
    return curve


@dataclass(frozen=True, slots=True)
class AgedBucket:
    """The predictions of a bucket of time, and the age at which the truth of each came.

    Attributes:
        age: The age of its youngest prediction, in any unit.
        n: How many predictions there are.
        came: How many truths came by each of the ages that are looked at.
    """

    age: float
    n: int
    came: Sequence[int]


def usual_course(buckets: Sequence[AgedBucket], ages: Sequence[float]) -> list[float | None]:
    """Return the share of truths that is usually here at each of some ages.

    The median over the buckets that are as old: a week in which the truth was lost does not move
    it. None from where fewer than five buckets are as old.

    Args:
        buckets: Buckets of one length.
        ages: Rising.
    """
    shares: list[float | None] = []
    for place, age in enumerate(ages):
        old = sorted(
            bucket.came[place] / bucket.n for bucket in buckets if bucket.n and bucket.age >= age
        )
        shares.append(_middle(old) if len(old) >= FEWEST_BUCKETS else None)
    # Fewer buckets are as old as a greater age, but a share that has come never goes again.
    known = [share for share in shares if share is not None]
    return [*accumulate(known, max), *shares[len(known) :]]


def usual_at(course: Sequence[float | None], ages: Sequence[float], age: float) -> float | None:
    """Return the usual share at an age between two that were looked at; None without any."""
    points = [(0.0, 0.0)]
    points += [(at, share) for at, share in zip(ages, course, strict=True) if share is not None]
    if len(points) == 1:
        return None
    for (before, low), (behind, high) in pairwise(points):
        if age <= behind:
            return low + (high - low) * (max(age, 0.0) - before) / (behind - before)
    return points[-1][1]


def is_early(
    here: int, n: int, usual: float | None, at_last: float | None, *, confidence: float = 0.99
) -> str:
    """Say why a bucket's figures are not to be judged yet; empty where they are.

    Args:
        here: How many of its truths are here.
        n: How many predictions it has.
        usual: The share that is usually here at its age; None where that is not known.
        at_last: The share that usually comes at all.
        confidence: How sure it is to be fewer truths than usual.

    Returns:
        ``too young`` where usually less than half of the truths that come at all are here;
        ``less than usual`` where fewer are here than usual, by more than chance and than a tenth of
        the usual.
    """
    if usual is None or at_last is None or not n:
        return ""
    if usual < YOUNG * at_last:
        return "too young"
    share = here / n
    high = score_bounds(share, n, normal_quantile((1 + confidence) / 2))[1]
    return "less than usual" if high < usual and share < 0.9 * usual else ""


def _middle(ordered: Sequence[float]) -> float:
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2


def _count_alike(sums: RatioSums) -> float:
    """Count the independent amounts there were if those of a cluster were all the same (Kish)."""
    return sums.second**2 / sums.second_squares


def _degrees(sums: RatioSums) -> float:
    return max(min(_count_alike(sums), sums.clusters) - 1, 1.0)


def _ratio_variance(sums: RatioSums) -> float:
    ratio = sums.first / sums.second
    squares = sums.first_squares - 2 * ratio * sums.products + ratio**2 * sums.second_squares
    return max(squares, 0.0) / sums.second**2 * sums.clusters / (sums.clusters - 1)
