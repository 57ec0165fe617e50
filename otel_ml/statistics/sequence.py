"""Compares the mean of two sides, again and again while data arrives: a confidence sequence.

A 95 % interval is only right at one look that was planned in advance. The interval of this module
is right at all looks together, however often you look. So it can decide about a new version after
every run. See design record 028.

Both sides are treated alike. If you swap them, the result is mirrored exactly.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias

from otel_ml.statistics import floats
from otel_ml.statistics.intervals import Estimate, difference

# Minimum number of sessions with a pass, and with a fail, to estimate the correlation within
# sessions: ten, or a tenth of the sessions.
_LEAST_INFORMATIVE: Final = 10
# With fewer sessions on a side, a stratum is joined with others.
LEAST_UNITS: Final = 12
# Typical size of a difference, in standard deviations of the sessions.
_TYPICAL_DEVIATIONS: Final = 0.4
# Bisections of the bounds of a rate: enough for twelve digits.
_STEPS: Final = 40
# Wallace's formula for Student's t grows without limit for few degrees of freedom.
_MOST_EXPONENT: Final = 700.0


class Moments(NamedTuple):
    """The sums of one measure over the sessions of one side, such as a version, in one cell.

    A trace without a session counts as a session.

    Attributes:
        units: Number of sessions.
        runs: Number of runs with a value.
        total: Sum of the values.
        runs_squared: Sum over the sessions of the squared number of runs.
        product: Sum over the sessions of the number of runs, times the sum of the values.
        total_squared: Sum over the sessions of the squared sum of values.
        passing: Number of sessions whose sum is above 0. Only used for rates.
        failing: Number of sessions with at least one run whose value is below 1. Only used for
            rates.
    """

    units: float = 0.0
    runs: float = 0.0
    total: float = 0.0
    runs_squared: float = 0.0
    product: float = 0.0
    total_squared: float = 0.0
    passing: float = 0.0
    failing: float = 0.0

    def add(self, other: "Moments") -> "Moments":
        """Return the sums over the sessions of both."""
        return Moments(*(own + more for own, more in zip(self, other, strict=True)))


def moments_of(units: Iterable[tuple[float, int, int]]) -> Moments:
    """Sum up sessions: the total of their values, the number of their runs, how many are alike."""
    rows = [
        (
            float(count),
            float(runs) * count,
            total * count,
            float(runs) * runs * count,
            total * runs * count,
            total * total * count,
            float(count * (total > 0)),
            float(count * (total < runs)),
        )
        for total, runs, count in units
        if runs
    ]
    return Moments(*map(floats.add, zip(*rows, strict=True))) if rows else Moments()


# Name of a stratum, such as a client, and of the part of it, such as an hour.
CellKey: TypeAlias = tuple[str, int]
# The sums of both sides in a cell: baseline and candidate.
Pair: TypeAlias = tuple[Moments, Moments]


@dataclass(slots=True)
class _Side:
    """Sums over the cells of a stratum, for one side.

    The variance of the side is quadratic in the difference of both sides. `squares` are its three
    coefficients.
    """

    mean: float = 0.0
    runs: float = 0.0
    units: float = 0.0
    alike: float = 0.0
    passing: float = 0.0
    failing: float = 0.0
    squares: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])

    def join(self, other: "_Side") -> "_Side":
        """Return the sums of both."""
        return _Side(
            self.mean + other.mean,
            self.runs + other.runs,
            self.units + other.units,
            self.alike + other.alike,
            self.passing + other.passing,
            self.failing + other.failing,
            [own + more for own, more in zip(self.squares, other.squares, strict=True)],
        )


@dataclass(slots=True)
class StratumSums:
    """Sums over cells in which both sides have runs, such as the hours of one client.

    Sums only grow, so a longer time range costs only its new cells.
    """

    weight: float = 0.0
    sides: tuple[_Side, _Side] = field(default_factory=lambda: (_Side(), _Side()))

    def add(self, pair: Pair) -> None:
        """Add a cell. It is left out if one side has no run in it."""
        every = pair[0].runs + pair[1].runs
        units = pair[0].units + pair[1].units
        if not (pair[0].runs and pair[1].runs):
            return
        # The weight with the smallest variance: half the harmonic mean of the numbers of runs.
        self.weight += pair[0].runs * pair[1].runs / every
        middle = (pair[0].total + pair[1].total) / every
        for place, side in enumerate(self.sides):
            own, other = pair[place], pair[1 - place]
            share = other.runs / every  # the cell's weight for each run of this side
            slope = share if place else -share
            scale = share * share * units / (units - 1)
            side.mean += share * own.total
            side.runs += own.runs
            side.units += own.units
            side.alike += share * share * own.runs_squared
            side.passing += own.passing
            side.failing += own.failing
            # Squared distances of the sessions' sums from the mean of the cell, which is the mean
            # of both sides if one of them is moved by the difference.
            side.squares[0] += scale * (
                own.total_squared - 2 * middle * own.product + middle * middle * own.runs_squared
            )
            side.squares[1] += scale * 2 * slope * (middle * own.runs_squared - own.product)
            side.squares[2] += scale * slope * slope * own.runs_squared

    def join(self, other: "StratumSums") -> "StratumSums":
        """Return the sums of two strata, of which each cell is still compared on its own."""
        return StratumSums(
            self.weight + other.weight,
            (self.sides[0].join(other.sides[0]), self.sides[1].join(other.sides[1])),
        )

    @property
    def least_units(self) -> float:
        """Number of sessions of the side that has fewer of them."""
        return min(side.units for side in self.sides)


def _join_small(strata: list[StratumSums]) -> list[StratumSums]:
    """Join strata in which a side has too few sessions with each other, or with the next larger."""
    joined: list[StratumSums] = []
    small: StratumSums | None = None
    for item in sorted(strata, key=lambda item: (item.least_units, item.weight)):
        small = item if small is None else small.join(item)
        if small.least_units >= LEAST_UNITS:
            joined.append(small)
            small = None
    if small is not None:
        joined = [*joined[:-1], joined[-1].join(small)] if joined else [small]
    return joined


class ComparedMeans(NamedTuple):
    """The means of two sides and their difference, candidate minus baseline.

    Attributes:
        baseline: Mean of the baseline, with its interval.
        candidate: Mean of the candidate, with its interval.
        difference: Candidate minus baseline. Its interval holds at all looks together.
        deviation: Standard deviation of both sides' sessions.
        width: Half the width of the intervals, in standard errors.
    """

    baseline: Estimate
    candidate: Estimate
    difference: Estimate
    deviation: float
    width: float


def find_width(information: float, error: float, expected: float) -> float:
    """Return half the width of the confidence sequence, in standard errors.

    Args:
        information: 1 divided by the variance of the estimate.
        error: Probability that the interval ever misses the true difference, at any look.
        expected: Size of a typical difference. The sequence is narrowest, compared with an interval
            for one look, when such a difference can be seen.

    Source: Robbins, Statistical methods related to the law of the iterated logarithm, Annals of
    Mathematical Statistics 41 (1970); Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas, Time-uniform
    central limit theory and asymptotic confidence sequences, Annals of Statistics 52 (2024).
    """
    known = information * expected * expected
    if not known > 0:
        return math.inf
    return math.sqrt((1 + 1 / known) * (2 * math.log(1 / error) + math.log1p(known)))


def compare_sums(
    strata: Iterable[StratumSums], *, is_rate: bool, error: float, expected: float | None = None
) -> ComparedMeans | None:
    """Return the difference of two sides with a confidence sequence.

    Strata are weighted by the runs of both sides together, so a different mix of clients is not
    mistaken for a difference. Within a stratum, cells such as hours have the weights with the
    smallest variance. So have strata in which a side has fewer than 12 sessions.

    Args:
        strata: The sums of each stratum.
        is_rate: Whether values are 0 or 1.
        error: Probability that the interval ever misses the true difference, at any look.
        expected: Size of a typical difference, see `find_width`. Default: 0.4 standard deviations
            of both sides' sessions.

    Returns:
        None if no cell has runs of both sides.
    """
    used = _join_small([item for item in strata if item.weight > 0])
    if not used:
        return None
    every = math.fsum(side.runs for item in used for side in item.sides)
    means, variances, sizes = [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]
    for item in used:
        share = (item.sides[0].runs + item.sides[1].runs) / every
        change = (item.sides[1].mean - item.sides[0].mean) / item.weight
        scale = (share / item.weight) ** 2
        for place, side in enumerate(item.sides):
            one, two, three = side.squares
            means[place] += share * side.mean / item.weight
            variances[place] += scale * max(one + change * two + change * change * three, 0.0)
            sizes[place] += scale * side.alike
    counts = [
        (
            round(math.fsum(item.sides[place].runs for item in used)),
            round(math.fsum(item.sides[place].units for item in used)),
        )
        for place in range(2)
    ]
    # Squared deviation of a session's mean, by side and for both.
    spreads = [variance / size for variance, size in zip(variances, sizes, strict=True)]
    alike = [1 / size for size in sizes]  # number of sessions, if all had the same weight
    both = (spreads[0] * alike[0] + spreads[1] * alike[1]) / (alike[0] + alike[1])
    effective = [
        _find_size(used, place, means[place], variances[place], alike[place])
        if is_rate
        else alike[place]
        for place in range(2)
    ]
    if is_rate:
        errors = [_smooth(mean, size) / size for mean, size in zip(means, effective, strict=True)]
    else:
        # A side without variance yet, such as a canary whose sessions are all alike, may just not
        # have met the rare ones.
        errors = [max(spread, both) * size for spread, size in zip(spreads, sizes, strict=True)]
    total, deviation = errors[0] + errors[1], math.sqrt(both)
    if expected is None:
        expected = _TYPICAL_DEVIATIONS * deviation
    width = find_width(1 / total, error, expected) if total else 0.0
    sides = []
    for place in range(2):
        t = find_student(width, alike[place] - 1)
        mean, (runs, units) = means[place], counts[place]
        if is_rate:
            mean = min(max(mean, 0.0), 1.0)
            low, high = find_rate_bounds(mean, t * t / (2 * effective[place]))
            sides.append(Estimate(mean, low, high, runs, units))
        else:
            half = t * math.sqrt(errors[place]) if errors[place] else 0.0
            sides.append(Estimate(mean, mean - half, mean + half, runs, units))
    return ComparedMeans(sides[0], sides[1], difference(*sides), deviation, width)


def _find_size(
    strata: Iterable[StratumSums], place: int, mean: float, variance: float, alike: float
) -> float:
    """Return the number of independent runs that give a rate the same variance.

    If too few sessions have a pass or a fail to see how much the runs of a session depend on each
    other, a session counts as one run.
    """
    sides = [item.sides[place] for item in strata]
    units = math.fsum(side.units for side in sides)
    informative = min(
        math.fsum(side.passing for side in sides), math.fsum(side.failing for side in sides)
    )
    if not (variance > 0 and 0 < mean < 1):
        return alike
    simple = mean * (1 - mean) / variance
    least = max(_LEAST_INFORMATIVE, units / 10)
    return simple if informative >= least else min(simple, alike)


def _smooth(mean: float, size: float) -> float:
    """Return the variance of one run, as if two more had passed and two had failed."""
    rate = (min(max(mean, 0.0), 1.0) * size + 2) / (size + 4)
    return rate * (1 - rate)


def find_rate_bounds(rate: float, evidence: float) -> tuple[float, float]:
    """Return the lowest and the highest rate that fit an observed rate.

    The bounds are right for rates near 0 and 1, too: with no failure in n runs, the upper bound is
    about `evidence`.

    Args:
        rate: The observed rate, from 0 to 1.
        evidence: How much evidence against a rate excludes it, per run: half the squared width in
            standard errors, divided by the number of runs.

    Source: Garivier and Cappé, The KL-UCB algorithm for bounded stochastic bandits and beyond, 24th
    Conference on Learning Theory (2011), with the threshold of `find_width`.
    """
    return 1 - _find_upper(1 - rate, evidence), _find_upper(rate, evidence)


def _find_upper(rate: float, evidence: float) -> float:
    """Return the rate above `rate` whose Kullback-Leibler divergence from it is `evidence`."""
    if rate >= 1:
        return 1.0
    low, high = rate, 1.0
    own = rate * math.log(rate) if rate > 0 else 0.0
    own += (1 - rate) * math.log1p(-rate)
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if middle >= 1:
            break
        divergence = own - (1 - rate) * math.log1p(-middle)
        if rate > 0:
            divergence -= rate * math.log(middle)
        low, high = (middle, high) if divergence < evidence else (low, middle)
    return high


def find_student(z: float, degrees: float) -> float:
    """Return the quantile of Student's t that belongs to a quantile of the normal distribution.

    Args:
        z: Quantile of the normal distribution, at least 0.
        degrees: Degrees of freedom. Below 1, they count as 1.

    Source: Wallace, Bounds on normal approximations to Student's and the chi-square distributions,
    Annals of Mathematical Statistics 30 (1959).
    """
    degrees = max(degrees, 1.0)
    exponent = (z * (8 * degrees + 3) / (8 * degrees + 1)) ** 2 / degrees
    if exponent > _MOST_EXPONENT:
        return math.inf
    return math.sqrt(degrees * math.expm1(exponent))
