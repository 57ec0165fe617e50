"""Quality of predictions whose ground truth arrives later, from counts and sums of clusters.

Every figure is a ratio of two sums over runs, such as right predictions and all predictions, or
squared errors and runs. Runs of one session are not independent, so each cluster counts as one. A
store adds up the runs of each cluster, then the clusters with their squares and products. A figure
with its interval needs only these sums. Sums of several days can be added.
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

# Minimum number of clusters with a hit, and with a miss, to estimate correlation within clusters.
_SPOKEN: Final = 10
# Minimum number of old enough buckets to know the usual share at an age.
FEWEST_BUCKETS: Final = 5
# A bucket is too young if usually less than this share of its ground truth has arrived.
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
        clusters: Number of clusters whose second amount is above 0.
        first, second: Sums of the amounts.
        first_squares, products, second_squares: Sums over clusters of their squares and product.
        with_hit: Number of clusters whose first amount is above 0.
        with_miss: Number of clusters whose first amount is below the second.
        n: Number of runs.
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
        """Return the sums of the rest of a whole. Every cluster must be in one part only."""
        return RatioSums(
            *(getattr(whole, field.name) - getattr(self, field.name) for field in fields(self))
        )


@dataclass(frozen=True, slots=True)
class SpreadSums(_Sums):
    """Sums over clusters of errors and ground truth, for the explained share of variance.

    Attributes:
        clusters: Number of clusters.
        n: Number of runs.
        error: Sum of squared errors.
        truth, squares: Sums of the ground truth and of its squares.
        nn, ne, nt, ns, ee, et, es, tt, ts, ss: Sums over clusters of products of two of these:
            runs, squared errors, ground truth, squared ground truth.
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
    """Add up the sums of several days or versions."""
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
    """Return the two-sided p-value of the difference of two independent figures."""
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

    Uses Wilson's interval at the effective sample size, from the linearized variance of a ratio
    over clusters, and Student's t. If fewer than ten clusters, or a tenth of them, hit or miss,
    each cluster counts as one value, because the correlation within clusters cannot be estimated.
    F1 is the ratio of twice the hits to the sum of predicted and actual positives.

    Args:
        sums: Sums of clusters. In each cluster the first amount is at most the second.
        confidence: Between 0 and 1.

    Returns:
        None if all second amounts are 0.

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
    """Return a mean over runs such as the Brier score, absolute error, bias or precision at k.

    Args:
        sums: Sums of clusters. The second amount is the number of runs.
        confidence: Between 0 and 1.

    Returns:
        None if there is no run. The interval is unbounded if there is only one cluster.

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
    """Return the root of a mean, such as the root mean squared error.

    The bounds are the roots of the bounds of the mean. A bound below 0 becomes 0.
    """
    mean = mean_of(sums, confidence=confidence)
    if mean is None:
        return None
    value, low, high = (math.sqrt(max(part, 0.0)) for part in (mean.value, mean.low, mean.high))
    return Estimate(value, low, high, mean.n, mean.clusters)


def explained_of(sums: SpreadSums, *, confidence: float = CONFIDENCE) -> Estimate | None:
    """Return R²: 1 minus the squared errors divided by the squared deviations of the ground truth.

    Args:
        sums: Sums of clusters.
        confidence: Between 0 and 1.

    Returns:
        At most 1, without a lower bound. Below 0 means worse than always predicting the mean. None
        if all ground truth is equal.

    Source: The delta method on the four means, with their variances over clusters: Oehlert, A note
    on the delta method, The American Statistician 46 (1992); Cohen, Cohen, West, Aiken, Applied
    multiple regression (2003), section 3.6.2, for the statistic.
    """
    n = sums.n
    # If all ground truth is equal, the remaining difference is rounding.
    spread = sums.squares - sums.truth**2 / n if n else 0.0
    if spread <= 1e-12 * sums.squares:
        return None
    value = 1 - sums.error / spread
    if sums.clusters == 1:
        return Estimate(value, -math.inf, 1.0, round(n), 1)
    mean = sums.truth / n
    share = sums.error / spread**2
    # Derivatives by runs, squared errors, ground truth and squared ground truth.
    slopes = (share * mean**2, -1 / spread, -2 * share * mean, share)
    products = (
        (sums.nn, sums.ne, sums.nt, sums.ns),
        (sums.ne, sums.ee, sums.et, sums.es),
        (sums.nt, sums.et, sums.tt, sums.ts),
        (sums.ns, sums.es, sums.ts, sums.ss),
    )
    # The linearized parts of the clusters add up to 0, because R² does not depend on the size.
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
    """Runs with similar predicted probabilities.

    Attributes:
        predicted: Mean predicted probability.
        came: Share of the runs for which the prediction came true.
    """

    predicted: float
    came: Estimate


def calibrate(bins: Iterable[tuple[float, RatioSums]]) -> list[CalibrationBin]:
    """Return the calibration curve: actual share compared with predicted probability, by bins.

    Args:
        bins: For each bin the sum of probabilities, and the sums of actual events and runs. Empty
            bins are left out.

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
    """The predictions of a time bucket, and when their ground truth arrived.

    Attributes:
        age: Age of the youngest prediction, in any unit.
        n: Number of predictions.
        came: Number of predictions with ground truth by each of the ages in question.
    """

    age: float
    n: int
    came: Sequence[int]


def usual_course(buckets: Sequence[AgedBucket], ages: Sequence[float]) -> list[float | None]:
    """Return which share of the ground truth has usually arrived at each age.

    It is the median over the buckets that are old enough, so one week with lost ground truth does
    not change it. None where fewer than five buckets are old enough.

    Args:
        buckets: Buckets of equal length.
        ages: The ages, in rising order.
    """
    shares: list[float | None] = []
    for place, age in enumerate(ages):
        old = sorted(
            bucket.came[place] / bucket.n for bucket in buckets if bucket.n and bucket.age >= age
        )
        shares.append(_middle(old) if len(old) >= FEWEST_BUCKETS else None)
    # Fewer buckets reach higher ages, so force the share not to fall.
    known = [share for share in shares if share is not None]
    return [*accumulate(known, max), *shares[len(known) :]]


def usual_at(course: Sequence[float | None], ages: Sequence[float], age: float) -> float | None:
    """Return the usual share at an age, interpolated between known ages. None if there are none."""
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
    """Return why it is too early to judge a bucket. Empty if it can be judged.

    Args:
        here: Number of predictions with ground truth.
        n: Number of predictions.
        usual: Share of ground truth that has usually arrived at this age. None if unknown.
        at_last: Share of ground truth that usually arrives in the end.
        confidence: Confidence of the test for less ground truth than usual.

    Returns:
        ``too young`` if usually less than half of the final ground truth has arrived at this age.
        ``less than usual`` if significantly less has arrived than usual, by more than a tenth.
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
    """Return the effective number of values if all values of a cluster were equal (Kish)."""
    return sums.second**2 / sums.second_squares


def _degrees(sums: RatioSums) -> float:
    return max(min(_count_alike(sums), sums.clusters) - 1, 1.0)


def _ratio_variance(sums: RatioSums) -> float:
    ratio = sums.first / sums.second
    squares = sums.first_squares - 2 * ratio * sums.products + ratio**2 * sums.second_squares
    return max(squares, 0.0) / sums.second**2 * sums.clusters / (sums.clusters - 1)
