"""Computes accuracy and other quality numbers for predictions whose ground truth arrives later.

Every number is a ratio of two sums over runs, such as right predictions and all predictions, or
squared errors and runs. Runs of one session are not independent, so each session is one cluster. A
store adds up the runs of each cluster, and then the clusters with their squares and products. These
sums suffice for the number and its interval, and can be added over days.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from itertools import accumulate, pairwise
from typing import Final, TypeVar

from otel_ml.statistics import floats
from otel_ml.statistics.intervals import (
    CONFIDENCE,
    Estimate,
    normal_quantile,
    score_bounds,
    student_quantile,
)

# Minimum number of clusters with a hit, and of clusters with a miss, to estimate the correlation
# within clusters.
_LEAST_CLUSTERS: Final = 10
# Minimum number of sufficiently old buckets to estimate the usual share at an age.
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
    """Sums from which a ratio, such as accuracy, and its confidence interval are computed.

    The runs of a session are one cluster, because they are not independent. For each cluster, two
    sums over its runs are used: `first` for the numerator (such as the number of right predictions)
    and `second` for the denominator (such as the number of all predictions).

    Attributes:
        clusters: Number of clusters whose second sum is above 0.
        first, second: The two sums, added up over all clusters.
        first_squares, products, second_squares: Sums over clusters of first², first·second and
            second².
        with_hit: Number of clusters whose first sum is above 0. Each contains a right prediction.
        with_miss: Number of clusters whose first sum is smaller than their second sum. Each
            contains a wrong prediction.
        n: Number of runs that add more than 0 to the second sum.
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
        """Return the sums of all other runs: `whole` minus these sums.

        Use it to compare a part of the runs with all others. The result is only correct if no
        cluster (a session) has runs both in the part and outside of it.

        Args:
            whole: Sums of all runs.
        """
        return RatioSums(
            *(getattr(whole, field.name) - getattr(self, field.name) for field in fields(self))
        )


@dataclass(frozen=True, slots=True)
class SpreadSums(_Sums):
    """Sums over sessions from which `explained_of` computes R² and its confidence interval.

    The runs of a session are one cluster, because they are not independent.

    Attributes:
        clusters: Number of clusters.
        n: Number of runs.
        error: Sum of squared errors over all runs.
        truth, squares: Sums of the ground truth and of its squares over all runs.
        nn, ne, nt, ns, ee, et, es, tt, ts, ss: Sums of products. Each cluster has four totals: its
            number of runs (``n``), and the sums of its squared errors (``e``), of its ground truth
            (``t``) and of its squared ground truth (``s``). For example, ``ne`` is the sum of n·e
            over all clusters.
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


def difference_of(own: Estimate, rest: Estimate) -> tuple[float, float]:
    """Return the interval of `own` minus `rest`, for two independent estimates.

    Source: Zou, Donner, Construction of confidence limits about effect measures, Statistics in
    Medicine 27 (2008).
    """
    difference = own.value - rest.value
    return (
        difference - math.hypot(own.value - own.low, rest.high - rest.value),
        difference + math.hypot(own.high - own.value, rest.value - rest.low),
    )


def differ_by_chance(own: Estimate, rest: Estimate) -> float:
    """Return the two-sided p-value of the difference of two independent estimates."""
    low, high = difference_of(own, rest)
    difference = own.value - rest.value
    room = difference - low if difference > 0 else high - difference
    if not math.isfinite(room):
        return 1.0
    if room <= 0:
        return 0.0 if difference else 1.0
    return math.erfc(abs(difference) / room * normal_quantile((1 + CONFIDENCE) / 2) / math.sqrt(2))


def rate_of(sums: RatioSums, *, confidence: float = CONFIDENCE) -> Estimate | None:
    """Return a share such as accuracy, precision, recall, F1 or coverage, with its interval.

    The method is Wilson's interval with the effective sample size and Student's t. If very few
    clusters (such as sessions) contain a right prediction, or very few contain a wrong one, all
    runs of a cluster are assumed to be equal.

    For F1, the first sum is twice the number of true positives. The second sum is the number of
    predicted positives plus the number of actual positives.

    Args:
        sums: Sums over clusters. In each cluster the first sum is at most the second.
        confidence: Confidence level of the interval, between 0 and 1.

    Returns:
        None if there is nothing to divide by, such as no predicted positive for precision.

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
        is_informative = min(sums.with_hit, sums.with_miss) >= max(
            _LEAST_CLUSTERS, sums.clusters / 10
        )
        size = simple if is_informative else min(simple, alike)
    t = student_quantile((1 + confidence) / 2, _degrees(sums))
    low, high = score_bounds(rate, size, t)
    return Estimate(rate, low, high, sums.n, sums.clusters)


def mean_of(sums: RatioSums, *, confidence: float = CONFIDENCE) -> Estimate | None:
    """Return a mean over runs, such as Brier score, absolute error or bias, with its interval.

    Args:
        sums: Sums over clusters (such as sessions). `first` is the sum of the values, `second` the
            number of runs.
        confidence: Confidence level of the interval, between 0 and 1.

    Returns:
        The mean and its confidence interval. With a single cluster, the interval is unbounded. None
        if there is no run.

    Source: see `rate_of`; the interval uses Student's t.
    """
    if sums.second <= 0:
        return None
    mean = sums.first / sums.second
    if sums.clusters == 1:
        return Estimate(mean, -math.inf, math.inf, sums.n, 1)
    half = student_quantile((1 + confidence) / 2, _degrees(sums)) * math.sqrt(_ratio_variance(sums))
    return Estimate(mean, mean - half, mean + half, sums.n, sums.clusters)


def root_of(sums: RatioSums, *, confidence: float = CONFIDENCE) -> Estimate | None:
    """Return the square root of a mean, such as the root mean squared error, with its interval.

    Args:
        sums: Sums over clusters (such as sessions). `first` is the sum of the values, such as
            squared errors, `second` the number of runs.
        confidence: Confidence level of the interval, between 0 and 1.

    Returns:
        The root and its confidence interval. The lower bound is at least 0. None if there is no
        run.
    """
    mean = mean_of(sums, confidence=confidence)
    if mean is None:
        return None
    value, low, high = (math.sqrt(max(part, 0.0)) for part in (mean.value, mean.low, mean.high))
    return Estimate(value, low, high, mean.n, mean.clusters)


def explained_of(sums: SpreadSums, *, confidence: float = CONFIDENCE) -> Estimate | None:
    """Return R²: the share of the ground truth's variance that the predictions explain.

    R² is 1 − (sum of squared errors) / (sum of squared deviations of the ground truth from its
    mean).

    Args:
        sums: Sums over clusters, such as sessions.
        confidence: Confidence level of the interval, between 0 and 1.

    Returns:
        R² and its confidence interval. R² is 1 for perfect predictions. It is 0 if they are only as
        good as the mean, predicted for every run, and negative if they are worse. None if all
        ground truth is equal, or so large that its squares are infinite.

    Source: For R², Cohen, Cohen, West, Aiken, Applied multiple regression (2003), section 3.6.2.
    For the interval, the delta method with variances over clusters: Oehlert, A note on the delta
    method, The American Statistician 46 (1992).
    """
    n = sums.n
    # If all ground truth is equal, the remaining difference is rounding.
    spread = sums.squares - floats.square(sums.truth) / n if n else 0.0
    if not math.isfinite(spread) or spread <= 1e-12 * sums.squares:
        return None
    value = 1 - sums.error / spread
    if sums.clusters == 1:
        return Estimate(value, -math.inf, 1.0, round(n), 1)
    mean = sums.truth / n
    share = sums.error / floats.square(spread)
    # Derivatives by runs, squared errors, ground truth and squared ground truth.
    slopes = (share * floats.square(mean), -1 / spread, -2 * share * mean, share)
    products = (
        (sums.nn, sums.ne, sums.nt, sums.ns),
        (sums.ne, sums.ee, sums.et, sums.es),
        (sums.nt, sums.et, sums.tt, sums.ts),
        (sums.ns, sums.es, sums.ts, sums.ss),
    )
    # The linearized parts of the clusters add up to 0, because R² does not depend on the size.
    squares = floats.add(
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
    """One point of a calibration curve: runs with similar predicted probabilities.

    Attributes:
        predicted: Mean predicted probability.
        actual: Share of these runs in which the predicted event happened, with its interval.
    """

    predicted: float
    actual: Estimate


def calibrate(bins: Iterable[tuple[float, RatioSums]]) -> list[CalibrationBin]:
    """Return a calibration curve: for each predicted probability, how often the event happened.

    Args:
        bins: One pair for each range of predicted probabilities, such as 0.1 to 0.2. The first
            element is the sum of the predicted probabilities in this range. The second element
            counts the runs in this range: `RatioSums.second` is the number of runs, and
            `RatioSums.first` is the number of runs in which the event happened.

    Returns:
        The points of the curve, in the order of the bins. Bins without runs are left out.

    Source: Murphy and Winkler, Reliability of subjective probability forecasts, Applied Statistics
    26 (1977); Bröcker and Smith, Increasing the reliability of reliability diagrams, Weather and
    Forecasting 22 (2007), for the mean of a bin instead of its middle.
    """
    curve = []
    for total, sums in bins:
        actual = rate_of(sums)
        if actual is not None:
            curve.append(CalibrationBin(total / sums.second, actual))
    return curve


@dataclass(frozen=True, slots=True)
class AgedBucket:
    """The predictions of one period, such as a day, and how fast their ground truth arrived.

    Attributes:
        age: Age of the youngest prediction. Its unit, such as hours, is that of `ages`.
        n: Number of predictions.
        received: For each age in `ages`, the number of predictions that had ground truth at this
            age.
    """

    age: float
    n: int
    received: Sequence[int]


def usual_course(buckets: Sequence[AgedBucket], ages: Sequence[float]) -> list[float | None]:
    """Return how much of the ground truth has usually arrived at each age of the predictions.

    For example, 0.4 after one day and 0.9 after a week. Each share is the median over periods that
    are old enough, so one week with lost ground truth does not change it.

    Args:
        buckets: The predictions by period. The periods have equal length, such as a day.
        ages: The ages, in rising order and any unit.

    Returns:
        One share per age, from 0 to 1. A share is None if fewer than five periods have reached that
        age.
    """
    shares: list[float | None] = []
    for place, age in enumerate(ages):
        old = sorted(
            bucket.received[place] / bucket.n
            for bucket in buckets
            if bucket.n and bucket.age >= age
        )
        shares.append(_middle(old) if len(old) >= FEWEST_BUCKETS else None)
    # Fewer buckets reach higher ages, so force the share not to fall.
    known = [share for share in shares if share is not None]
    return [*accumulate(known, max), *shares[len(known) :]]


def usual_at(course: Sequence[float | None], ages: Sequence[float], age: float) -> float | None:
    """Return how much ground truth predictions of a given age usually have, as a share.

    Args:
        course: The shares from `usual_course`.
        ages: The ages of these shares. Between two ages, the share is interpolated.
        age: The age to look up, in the same unit.

    Returns:
        The share, from 0 to 1. None if no share is known.
    """
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
    """Return why predictions cannot be compared with ground truth yet. Empty if they can.

    Args:
        here: Number of predictions whose ground truth has arrived.
        n: Number of all predictions.
        usual: Share of predictions of this age that usually have ground truth. None if unknown.
        at_last: Share of predictions that usually have ground truth in the end. None if unknown.
        confidence: Confidence level of the test for ``less than usual``.

    Returns:
        ``too young`` if `usual` is less than half of `at_last`: most ground truth is still to come.
        ``less than usual`` if the share that has arrived is significantly below `usual`, and less
        than 0.9 × `usual`. Empty otherwise, and if `usual` or `at_last` is unknown.
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
    squares = (
        sums.first_squares - 2 * ratio * sums.products + floats.square(ratio) * sums.second_squares
    )
    return max(squares, 0.0) / sums.second**2 * sums.clusters / (sums.clusters - 1)
