"""Computes confidence intervals of rates, means and ratios, and corrects for multiple comparisons.

Many functions take values in clusters: groups of values that are not independent, such as the runs
of one session. They need only the sum and the number of values of each cluster. Sums are exact
(`math.fsum`), so the order of the data never changes a result. Rates and shares are numbers from 0
to 1. Intervals are two-sided, with 95 % confidence by default.
"""

import math
import random
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, repeat
from statistics import NormalDist
from typing import Final, TypeVar

from otel_ml.statistics import floats

T = TypeVar("T")

# One cluster: sum and number of its values.
ClusterSum = tuple[float, int]
# A list of clusters, or the number of clusters by sum and size.
ClusterSums = Sequence[ClusterSum] | Mapping[ClusterSum, int]

CONFIDENCE: Final = 0.95
_NORMAL: Final = NormalDist()
# From this many degrees of freedom on, Student's t is computed by the first terms of its expansion
# around the normal.
_MANY_DEGREES: Final = 1e6
_LAST_DIGIT: Final = 1e-16
_LARGE: Final = 50
_POWER: Final = 0.8
# With fewer items, an imaginary pair is added to the variance of a rate.
_FEW: Final = 100
# Minimum number of informative clusters to estimate the correlation within clusters.
_LEAST_CLUSTERS: Final = 10


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its confidence interval.

    Attributes:
        value: The estimate.
        low: Lower bound of the interval. Minus infinity if the data allow no bound.
        high: Upper bound of the interval. Infinity if the data allow no bound.
        n: Number of items or runs.
        clusters: Number of independent groups of items or runs, such as sessions. Equal to `n` if
            all are independent.
    """

    value: float
    low: float
    high: float
    n: int
    clusters: int


class EachCluster(Mapping[ClusterSum, int]):
    """Sums and sizes of many clusters of values, such as sessions, as two arrays.

    Pass it to functions such as `cluster_mean`. They also accept a dict, which maps (sum, size) to
    the number of such clusters. This class is faster if most clusters differ in sum or size. Its
    `items` are like those of the dict, except that equal clusters are not counted together.

    Args:
        sums: Sum of the values of each cluster.
        sizes: Number of values of each cluster.
    """

    def __init__(self, sums: Sequence[float], sizes: Sequence[int]) -> None:
        self._sums = sums
        self._sizes = sizes

    def __getitem__(self, cluster: ClusterSum) -> int:
        """Return 1, because each cluster of the iteration counts once."""
        return 1

    def __iter__(self) -> Iterator[ClusterSum]:
        """Iterate over the clusters in their order."""
        return zip(self._sums, self._sizes, strict=True)

    def __len__(self) -> int:
        """Return the number of clusters."""
        return len(self._sums)


def normal_quantile(p: float) -> float:
    """Return the quantile of the standard normal distribution, such as 1.96 for 0.975.

    Raises:
        ValueError: `p` is not between 0 and 1.

    Source: Wichura, Algorithm AS 241, Applied Statistics 37 (1988), as implemented in Python's
    standard library.
    """
    return _NORMAL.inv_cdf(_share(p))


def student_quantile(p: float, degrees: float) -> float:
    """Return the quantile of Student's t distribution: 2.23 for `p` = 0.975 and 10 degrees.

    Args:
        p: Probability, between 0 and 1.
        degrees: Degrees of freedom, above 0. Need not be an integer.

    Raises:
        ValueError: `p` is not between 0 and 1, or `degrees` is not above 0.

    Source: Newton's method; Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7 (26.7.5
    for many degrees).
    """
    if not degrees > 0:
        raise ValueError(f"Invalid degrees {degrees!r}: expected a number above 0")
    z = abs(normal_quantile(p))
    if z == 0.0:
        return 0.0
    sign = math.copysign(1.0, p - 0.5)
    if degrees > _MANY_DEGREES:
        second = z * (5 * z**4 + 16 * z**2 + 3) / 96
        return sign * (z + (z**3 + z) / 4 / degrees + second / degrees**2)
    tail, t = min(p, 1 - p), z
    for _ in range(200):
        step = (_student_tail(t, degrees) - tail) / _student_density(t, degrees)
        t += step
        if abs(step) <= 1e-14 * t:
            break
    return sign * t


def student_p(t: float, degrees: float) -> float:
    """Return the two-sided p-value of a t value.

    Raises:
        ValueError: `degrees` is not above 0.
    """
    if not degrees > 0:
        raise ValueError(f"Invalid degrees {degrees!r}: expected a number above 0")
    return min(2 * _student_tail(abs(t), degrees), 1.0)


def beta_share(x: float, a: float, b: float) -> float:
    """Return the probability that a variable with a beta distribution is at most `x`.

    This is the regularized incomplete beta function. If `a` and `b` are integers, it is also the
    probability of at least `a` successes in ``a + b - 1`` trials with success probability `x`.

    Args:
        x: From 0 to 1.
        a: First parameter of the distribution, at least 0. For 0 the result is 1.
        b: Second parameter of the distribution, above 0.

    Source: Press and others, Numerical recipes (2007), section 6.4.
    """
    if x <= 0 or x >= 1 or a <= 0:
        return float(x >= 1 or a <= 0)
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    )
    if x < (a + 1) / (a + b + 2):
        return front * _fraction(x, a, b) / a
    return 1 - front * _fraction(1 - x, b, a) / b


def wilson(passed: float, n: float, *, confidence: float = CONFIDENCE) -> Estimate:
    """Return a pass rate with Wilson's score interval.

    Args:
        passed: Number of items that passed, from 0 to `n`.
        n: Number of all items, above 0.
        confidence: Confidence level of the interval, between 0 and 1.

    Raises:
        ValueError: `n` is not above 0, or `passed` is not from 0 to `n`.

    Source: Wilson, Probable inference, Journal of the American Statistical Association 22 (1927);
    Brown, Cai, DasGupta, Statistical Science 16 (2001), section 3.1.1.
    """
    if not (n > 0 and 0 <= passed <= n):
        raise ValueError(
            f"Invalid counts {passed!r} of {n!r}: expected a total above 0 and a part of it"
        )
    rate, z = passed / n, normal_quantile(_upper(confidence))
    low, high = score_bounds(rate, n, z)
    return Estimate(rate, low, high, round(n), round(n))


def cluster_rate(sums: ClusterSums, *, confidence: float = CONFIDENCE) -> Estimate:
    """Return a pass rate with a confidence interval, for runs that are not independent.

    Runs of one cluster, such as a session, often have the same result. This makes the interval
    wider. The method is Wilson's interval with Student's t and the effective sample size, which is
    computed by the jackknife over clusters.

    The effective sample size cannot be measured if very few clusters (fewer than ten, or less than
    a tenth) contain a pass. Then all runs of a cluster are assumed to have the same result. The
    same rule applies if very few clusters contain a fail.

    Args:
        sums: Sum and number of the values of each cluster, such as ``(3, 4)`` if three of four runs
            passed. Values are from 0 to 1.
        confidence: Confidence level of the interval, between 0 and 1.

    Raises:
        ValueError: There is no value.

    Source: Franco, Little, Louis, Slud, Comparative study of confidence intervals for proportions
    in complex sample surveys, Journal of Survey Statistics and Methodology 7 (2019), section 2.2;
    Korn and Graubard, Survey Methodology 24 (1998), for t.
    """
    counts = count_clusters(sums)
    mean = _jackknife(counts)
    if mean.clusters == 1:
        return Estimate(mean.value, 0.0, 1.0, mean.n, 1)
    rate = min(max(mean.value, 0.0), 1.0)
    size = mean.alike
    if mean.variance > 0 and 0 < rate < 1:
        # For independent items the jackknife variance is p (1 - p) / (n - 1). Solve for n.
        simple = rate * (1 - rate) / mean.variance + 1
        informative = min(
            sum(count for (name, _), count in counts.items() if name > 0),
            sum(count for (name, of), count in counts.items() if name < of),
        )
        size = simple if informative >= mean.least_clusters else min(simple, size)
    t = student_quantile(_upper(confidence), mean.degrees)
    low, high = score_bounds(rate, size, t)
    return Estimate(rate, low, high, mean.n, mean.clusters)


def cluster_mean(
    sums: ClusterSums, *, confidence: float = CONFIDENCE, of_rates: bool = False
) -> Estimate:
    """Return a mean with its confidence interval if values are not independent.

    Values of one cluster, such as the runs of a session, may be similar. The method is the
    jackknife over clusters with Student's t. For G clusters, it has at most G − 1 degrees of
    freedom, and fewer if a few clusters contain most values.

    Args:
        sums: Sum and number of values of each cluster. An independent item is a cluster of one.
        confidence: Confidence level of the interval, between 0 and 1.
        of_rates: Whether the values are differences of rates, from -1 to 1. If True, and there are
            fewer than 100 values or fewer than ten clusters with a change, the interval is made
            wider. Otherwise its width would be 0 for a small sample without any change.

    Returns:
        The mean. The interval is unbounded if there is only one cluster.

    Raises:
        ValueError: There is no value.

    Source: Cameron and Miller, A practitioner's guide to cluster-robust inference, Journal of Human
    Resources 50 (2015), section VI; Efron and Tibshirani, An introduction to the bootstrap (1993),
    chapter 11.
    """
    counts = count_clusters(sums)
    mean = _jackknife(counts)
    spread = _spread(mean, counts, of_rates=of_rates)
    if mean.clusters == 1:
        return Estimate(mean.value, -math.inf, math.inf, mean.n, 1)
    half = student_quantile(_upper(confidence), mean.degrees) * spread
    return Estimate(mean.value, mean.value - half, mean.value + half, mean.n, mean.clusters)


def cluster_p(sums: ClusterSums, *, of_rates: bool = False) -> float:
    """Test whether the mean of values that are not independent differs from 0.

    The test always agrees with the interval of `cluster_mean`: the p-value is below 0.05 exactly if
    the 95 % interval excludes 0.

    Args:
        sums: Sum and number of the values of each cluster, such as a session.
        of_rates: Whether the values are differences of rates, from -1 to 1.

    Returns:
        The p-value. 1 if there is only one cluster.

    Raises:
        ValueError: There is no value.
    """
    counts = count_clusters(sums)
    mean = _jackknife(counts)
    spread = _spread(mean, counts, of_rates=of_rates)
    if mean.clusters == 1 or mean.value == 0:
        return 1.0
    return student_p(mean.value / spread, mean.degrees) if spread else 0.0


def sum_logs(pairs: Iterable[tuple[Hashable | None, float, float]]) -> list[ClusterSum]:
    """Return the sum and number of the logarithms of ratios in each cluster.

    `cluster_mean` of it, as an `exponential`, is the geometric mean of the ratios: 1.1 means that
    amounts such as latencies are 10 % larger after a change than before.

    Args:
        pairs: For each item: its cluster (such as a session), the number before, and the number
            after. The cluster is None for an independent item.

    Raises:
        ValueError: A number is not above 0.

    Source: Bland and Altman, Transforming data, British Medical Journal 312 (1996).
    """
    alone: list[ClusterSum] = []
    logs: dict[Hashable, list[float]] = {}
    for cluster, first, second in pairs:
        if not (first > 0 and second > 0):
            raise ValueError(f"Invalid amounts {first!r} and {second!r}: expected numbers above 0")
        log = math.log(second) - math.log(first)
        if cluster is None:
            alone.append((log, 1))
        else:
            logs.setdefault(cluster, []).append(log)
    return alone + [(floats.add(of), len(of)) for of in logs.values()]


def newcombe_paired(
    both: int, first: int, second: int, neither: int, *, confidence: float = CONFIDENCE
) -> Estimate:
    """Return how a pass rate changed on the same items, second minus first, with its interval.

    Args:
        both: Number of items that passed both times.
        first: Number of items that passed only the first time.
        second: Number of items that passed only the second time.
        neither: Number of items that failed both times.
        confidence: Confidence level of the interval, between 0 and 1.

    Raises:
        ValueError: There is no item, or a count is below 0.

    Source: Newcombe, Improved confidence intervals for the difference between binomial proportions
    based on paired data, Statistics in Medicine 17 (1998), 2635-2650, method 10.
    """
    if min(both, first, second, neither) < 0:
        raise ValueError("Invalid counts below 0: expected numbers of items")
    n = both + first + second + neither
    earlier = wilson(both + first, n, confidence=confidence)
    later = wilson(both + second, n, confidence=confidence)
    margins = (both + first) * (second + neither) * (both + second) * (first + neither)
    product = float(both * neither - first * second)
    if product > 0:
        product = max(product - n / 2, 0.0)
    phi = product / math.sqrt(margins) if margins else 0.0
    return _square_and_add(earlier, later, phi, n, n)


def difference(first: Estimate, second: Estimate) -> Estimate:
    """Return the difference of two independent estimates, second minus first, with its interval.

    The interval is computed from the intervals of both estimates. For two rates with Wilson's
    intervals, it is Newcombe's unpaired interval.

    Source: Newcombe, Interval estimation for the difference between independent proportions,
    Statistics in Medicine 17 (1998), 873-890, method 10; Zou and Donner, Construction of confidence
    limits about effect measures, Statistics in Medicine 27 (2008), for any two estimates.
    """
    n, clusters = first.n + second.n, first.clusters + second.clusters
    return _square_and_add(first, second, 0.0, n, clusters)


def corrected_rate(
    passed: float, n: float, differences: ClusterSums, *, confidence: float = CONFIDENCE
) -> Estimate:
    """Return a judge's pass rate, corrected by reviewers who labelled a random sample of its runs.

    The result is the judge's rate on all runs, plus the mean difference between reviewers and judge
    on the sample. The interval combines the intervals of this rate and this difference.

    Args:
        passed: Number of runs that the judge passed, from 0 to `n`.
        n: Number of runs that the judge scored, above 0.
        differences: A pair ``(d, 1)`` for each run of the sample. d is the share of reviewers who
            pass the run, minus the judge's result (1 or 0). For example, d is 0.5 if half of the
            reviewers pass a run that the judge failed. If runs are clustered, such as by session,
            pass one pair for each cluster: the sum of d over its runs, and the number of its runs.
        confidence: Confidence level of the interval, between 0 and 1.

    Returns:
        A rate from 0 to 1. Its attributes `n` and `clusters` are the numbers of runs and clusters
        in the sample.

    Raises:
        ValueError: `n` is not above 0, or the sample is empty.

    Source: Cochran, Sampling techniques (1977), section 7.2 (the difference estimator);
    Angelopoulos, Bates, Fannjiang, Jordan, Zrnic, Prediction-powered inference, Science 382 (2023);
    Zou and Donner (2008) for the sum of two intervals, see `difference`.
    """
    rate = wilson(passed, n, confidence=confidence)
    shift = cluster_mean(differences, confidence=confidence, of_rates=True)
    turned = Estimate(-rate.value, -rate.high, -rate.low, rate.n, rate.clusters)
    both = difference(turned, shift)
    value, low, high = (min(max(part, 0.0), 1.0) for part in (both.value, both.low, both.high))
    return Estimate(value, low, high, shift.n, shift.clusters)


def _ratio(first: Estimate, second: Estimate) -> Estimate:
    """Return the ratio of two independent positive estimates, second divided by first.

    Source: Zou and Donner (2008) on the logarithms, see `difference`.
    """
    if min(first.low, second.low) <= 0:
        raise ValueError("Invalid rate 0: expected one above 0")
    logs = [
        Estimate(
            math.log(part.value), math.log(part.low), math.log(part.high), part.n, part.clusters
        )
        for part in (first, second)
    ]
    return exponential(difference(*logs))


def rate_ratio(first: Estimate, second: Estimate) -> Estimate:
    """Return the ratio of two independent rates, second divided by first, with its interval.

    Args:
        first: Result of `wilson` for the first sample, above 0.
        second: Result of `wilson` for the second sample. If its rate is 0, the interval is wider
            than necessary.

    Raises:
        ValueError: The first rate is 0.

    Source: Zou and Donner (2008) on the logarithms, see `difference`.
    """
    if second.value > 0 or first.value <= 0:
        return _ratio(first, second)
    return Estimate(0.0, 0.0, second.high / first.low, first.n + second.n, first.n + second.n)


def bootstrap(
    runs: Sequence[T],
    statistic: Callable[[Sequence[T]], float],
    *,
    confidence: float = CONFIDENCE,
    resamples: int = 1_000,
    seed: int = 0,
) -> Estimate:
    """Compute any statistic of runs, and its confidence interval by the bootstrap (resampling).

    Args:
        runs: The units to resample. They must be independent, such as single runs or whole
            sessions.
        statistic: Function that computes the number from a list of units. If it returns NaN for a
            resample, that resample is left out.
        confidence: Confidence level of the interval, between 0 and 1.
        resamples: Number of resamples, drawn with replacement.
        seed: Seed of the random numbers. The same seed gives the same interval.

    Raises:
        ValueError: There are no runs.

    Source: Efron and Tibshirani, An introduction to the bootstrap (1993), chapter 13.
    """
    if not runs:
        raise ValueError("No runs: expected at least one")
    value, draw = statistic(runs), random.Random(seed).choices  # noqa: S311 - not for secrets
    drawn = (statistic(draw(runs, k=len(runs))) for _ in range(resamples))
    found = sorted(item for item in drawn if not math.isnan(item))
    if not found:
        return Estimate(value, -math.inf, math.inf, len(runs), len(runs))
    upper = _upper(confidence)
    return Estimate(
        value, _percentile(found, 1 - upper), _percentile(found, upper), len(runs), len(runs)
    )


def detectable(estimate: Estimate, *, confidence: float = CONFIDENCE) -> float:
    """Return the smallest difference that could be detected with 80 % power at this sample size.

    It is computed from the width of the estimate's interval, with the normal distribution. If the
    interval is unbounded, the result is infinite.

    Args:
        estimate: The estimate, such as a difference of pass rates.
        confidence: Confidence of the estimate's interval.

    Source: Cohen, Statistical power analysis for the behavioral sciences (1988), section 2.4.
    """
    z = normal_quantile(_upper(confidence))
    return (estimate.high - estimate.low) / 2 * (1 + normal_quantile(_POWER) / z)


def needed(estimate: Estimate, margin: float, *, confidence: float = CONFIDENCE) -> int | None:
    """Return how many items you need to detect a difference of `margin` with 80 % power.

    Args:
        estimate: An estimate from a first sample, such as a difference of pass rates.
        margin: The difference to detect, in the unit of the estimate.
        confidence: Confidence of the estimate's interval.

    Returns:
        The number of items. None if the margin is 0, or if the interval is unbounded.
    """
    shown = detectable(estimate, confidence=confidence)
    if not (margin > 0 and math.isfinite(shown)):
        return None
    return max(math.ceil(estimate.n * (shown / margin) ** 2), 1)


@dataclass(frozen=True, slots=True)
class _Mean:
    """A mean of clustered values and its variance.

    Attributes:
        alike: Effective sample size if all values of a cluster were equal
            (Kish, Survey sampling (1965), section 11.7).
    """

    value: float
    variance: float
    n: int
    clusters: int
    alike: float

    @property
    def least_clusters(self) -> float:
        """Minimum number of clusters that must be informative: ten, or a tenth of the clusters."""
        return max(_LEAST_CLUSTERS, self.clusters / 10)

    @property
    def degrees(self) -> float:
        """Degrees of freedom: G − 1 for G clusters of equal size, fewer if a few are much larger.

        Source: Carter, Schnepel, Steigerwald, Asymptotic behavior of a t-test robust to cluster
        heterogeneity, Review of Economics and Statistics 99 (2017): the effective number of
        clusters. The formula assumes that values within a cluster are independent.
        """
        # With G − 1 degrees for 12 clusters of unequal sizes, a 95 % interval covered the true
        # value in only 85 to 90 % of samples (tests/unit/otel_ml/statistics/test_coverage.py).
        return max(min(self.alike, self.clusters) - 1, 1.0)


def count_clusters(sums: ClusterSums) -> Mapping[ClusterSum, int]:
    """Count how many clusters have the same sum and size."""
    return sums if isinstance(sums, Mapping) else Counter(sums)


def sum_counted(values: Iterable[float], counts: Iterable[int]) -> float:
    """Add up values that occur several times each.

    For example, the values 0.5 and 2 with the counts 3 and 1 give 3.5.
    """
    return floats.add(chain.from_iterable(map(repeat, values, counts)))


def _jackknife(sums: Mapping[ClusterSum, int]) -> _Mean:
    """Return the mean and its variance, by leaving out each cluster in turn (jackknife)."""
    counts = sums.values()
    n = sum(of * count for (_, of), count in sums.items())
    if not n:
        raise ValueError("No value: expected at least one")
    mean, clusters = sum_counted((one for one, _ in sums), counts) / n, sum(counts)
    alike = n * n / sum(of * of * count for (_, of), count in sums.items())
    if clusters == 1:
        return _Mean(mean, math.inf, n, 1, alike)
    # Leaving out a cluster changes the mean by (sum - size * mean) / (n - size).
    squares = sum_counted((floats.square((one - of * mean) / (n - of)) for one, of in sums), counts)
    return _Mean(mean, squares * (clusters - 1) / clusters, n, clusters, alike)


def _spread(mean: _Mean, sums: Mapping[ClusterSum, int], *, of_rates: bool) -> float:
    imagined = 0.0
    if of_rates and sum(count for (name, _), count in sums.items() if name) < mean.least_clusters:
        imagined = 1 / mean.alike**2
    elif of_rates and mean.n < _FEW:
        imagined = 1 / mean.n**2
    return math.sqrt(mean.variance + imagined)


def _square_and_add(
    first: Estimate, second: Estimate, phi: float, n: int, clusters: int
) -> Estimate:
    value = second.value - first.value
    low = value - _add_halves(second.value - second.low, first.high - first.value, phi)
    high = value + _add_halves(second.high - second.value, first.value - first.low, phi)
    return Estimate(value, low, high, n, clusters)


def _add_halves(one: float, other: float, phi: float) -> float:
    if math.isinf(one) or math.isinf(other):
        return math.inf
    return math.sqrt(max(one * one - 2 * phi * one * other + other * other, 0.0))


def score_bounds(rate: float, n: float, z: float) -> tuple[float, float]:
    """Return the lower and the upper bound of Wilson's score interval for a rate.

    Args:
        rate: From 0 to 1.
        n: Effective sample size, above 0. Need not be an integer.
        z: Half the width of the interval in standard errors: 1.96 for 95 % confidence.
    """
    scale = z * z / n
    middle = (rate + scale / 2) / (1 + scale)
    half = z * math.sqrt(rate * (1 - rate) / n + scale / n / 4) / (1 + scale)
    # Exact at 0 and 1, where rounding would leave a difference in the last digit.
    return 0.0 if rate == 0 else middle - half, 1.0 if rate == 1 else middle + half


def exponential(of: Estimate) -> Estimate:
    """Convert an estimated difference of logarithms, with its bounds, to a ratio."""
    value, low, high = (floats.exp(part) for part in (of.value, of.low, of.high))
    return Estimate(value, low, high, of.n, of.clusters)


def _percentile(ordered: Sequence[float], p: float) -> float:
    """Return a percentile, interpolated between the two nearest values."""
    place = p * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def _share(p: float) -> float:
    if not 0 < p < 1:
        raise ValueError(f"Invalid share {p!r}: expected a number between 0 and 1")
    return p


def _upper(confidence: float) -> float:
    return (1 + _share(confidence)) / 2


def _student_tail(t: float, degrees: float) -> float:
    """Return the probability that Student's t exceeds `t`, for `t` of at least 0."""
    a, rest = degrees / 2, t * t / (degrees + t * t)
    front = math.exp(_gamma_ratio(a) - a * math.log1p(t * t / degrees))
    front *= math.sqrt(rest / math.pi) / 2
    if 1 - rest < (a + 1) / (a + 2.5):
        return front * _fraction(1 - rest, a, 0.5) / a
    return 0.5 - front * _fraction(rest, 0.5, a) * 2


def _fraction(x: float, a: float, b: float) -> float:
    """Evaluate the continued fraction of the incomplete beta function by Lentz's method.

    Source: Press and others, Numerical recipes (2007), section 6.4.
    """
    tiny = 1e-300
    c, d = 1.0, 1 / ((1 - (a + b) * x / (a + 1)) or tiny)
    found = d
    for m in range(1, 100_000):
        for factor in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / ((1 + factor * d) or tiny)
            c = (1 + factor / c) or tiny
            found *= c * d
        if abs(c * d - 1) < _LAST_DIGIT:
            break
    return found


def _student_density(t: float, degrees: float) -> float:
    log = -(degrees + 1) / 2 * math.log1p(t * t / degrees)
    return math.exp(log + _gamma_ratio(degrees / 2)) / math.sqrt(degrees * math.pi)


def _gamma_ratio(a: float) -> float:
    """Return the logarithm of Gamma(a + 1/2) / Gamma(a).

    Uses its expansion for large numbers, because the difference of two large logarithms loses
    digits.
    """
    if a < _LARGE:
        return math.lgamma(a + 0.5) - math.lgamma(a)
    return math.log(a) / 2 - 1 / (8 * a) + 1 / (192 * a**3) - 1 / (640 * a**5)


def mcnemar_mid_p(first: int, second: int) -> float:
    """Return the mid-p value of McNemar's test: did the pass rate of the same items change?

    Args:
        first: Number of items that passed only the first time.
        second: Number of items that passed only the second time.

    Raises:
        ValueError: A count is below 0.

    Source: Fagerland, Lydersen, Laake, The McNemar test for binary matched-pairs data: mid-p and
    asymptotic are better than exact conditional, BMC Medical Research Methodology 13 (2013), 91.
    """
    if min(first, second) < 0:
        raise ValueError("Invalid counts below 0: expected numbers of items that flipped")
    n, fewer = first + second, min(first, second)
    if first == second:
        return 1.0 - _binomial(n, fewer) / 2 if n else 1.0
    tail = math.fsum(_binomial(n, k) for k in range(fewer + 1))
    return min(2 * tail - _binomial(n, fewer), 1.0)


def fisher(events: float, n: float, other_events: float, other_n: float) -> float:
    """Return the two-sided p-value of Fisher's exact test: do two groups have the same rate?

    It is twice the probability of at least as many events (or at most, if there are fewer than
    expected). The numbers need not be whole, so that correlated runs can count as fewer.

    Args:
        events: Number of events of the first group, from 0 to `n`.
        n: Size of the first group, above 0.
        other_events: Number of events of the second group, from 0 to `other_n`.
        other_n: Size of the second group, above 0.

    Source: Fisher, The logic of inductive inference, Journal of the Royal Statistical Society 98
    (1935).
    """
    total = events + other_events
    low, high = max(0.0, total - other_n), min(n, total)

    def add_up(x: float, step: int) -> float:
        """Sum the probabilities of x, x + step, ..., in multiples of the first one."""
        weight = found = 1.0
        while low <= x + step <= high and weight > _LAST_DIGIT * found:
            below = min(x, x + step)
            ratio = (n - below) * (total - below) / ((below + 1) * (other_n - total + below + 1))
            weight *= ratio**step
            found += weight
            x += step
        return found

    def log_weight(x: float) -> float:
        return -math.fsum(
            math.lgamma(count + 1) for count in (x, n - x, total - x, other_n - total + x)
        )

    expected = total * n / (n + other_n)
    middle = events + round(expected - events)
    middle = min(max(middle, events - int(events - low)), events + int(high - events))
    every = add_up(middle, 1) + add_up(middle, -1) - 1
    tail = math.exp(log_weight(events) - log_weight(middle))
    tail *= add_up(events, 1 if events > expected else -1)
    return min(2 * tail / every, 1.0)


def benjamini_hochberg(p: Sequence[float]) -> list[float]:
    """Adjust p-values by Benjamini-Hochberg (false discovery rate). The result keeps their order.

    Use it if a small share of false positives is acceptable among the reported results.

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
    """Return the probability of `k` heads in `n` fair tosses."""
    return math.exp(
        math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) - n * math.log(2)
    )
