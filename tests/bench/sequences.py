"""Measure how many runs several sequences of looks need until a fall of the pass rate is found.

The runs are independent, with a look every 25 runs of the new version. A fall is found if the
interval of the difference excludes 0, and the difference is at least the margin. For each method,
figures share half a per cent, except for the 95 % interval. See design record 028.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from otel_ml.statistics.intervals import normal_quantile
from otel_ml.statistics.release import SPENT
from otel_ml.statistics.sequence import Moments, StratumSums, compare_sums, find_width
from otel_ml.statistics.verdict import LEAST_RUNS, RATE_MARGIN
from tests.bench.table import print_table

Numbers = np.ndarray[Any, np.dtype[np.float64]]
DRAWS: Final = 200
FIGURES: Final = 5
EVERY: Final = 25
BEFORE: Final = 0.9
MOST_RUNS: Final = 4_000
PLANNED: Final = 2_000
# Size of a typical difference, for mixtures.
EXPECTED: Final = 0.08
ERROR: Final = SPENT / FIGURES
# Sizes of bets, as shares of the largest one.
BETS: Final = np.geomspace(0.01, 0.9, 14)


@dataclass(frozen=True, slots=True)
class Fall:
    """A fall of the pass rate from 0.9.

    Attributes:
        size: Its size, from 0 to 1.
        baseline: Number of runs of the older version before the first look. 0 if both versions run
            at the same time.
        share: Share of the new version, if both versions run at the same time.
    """

    name: str
    size: float
    baseline: int = 0
    share: float = 1.0


FALLS: Final = (
    Fall("10 pts, baseline of 2,000", 0.10, 2_000),
    Fall("5 pts, baseline of 20,000", 0.05, 20_000),
    Fall("10 pts, canary of 5 %", 0.10, share=0.05),
)


@dataclass(frozen=True, slots=True)
class Traffic:
    """The passes of both versions in one draw.

    Attributes:
        before: Each run of the older version: 1 if it passed, else 0.
        now: The same for the new version.
        sizes: Number of runs of both versions at each look.
        passed: How many of these runs passed.
    """

    before: Numbers
    now: Numbers
    sizes: tuple[Numbers, Numbers]
    passed: tuple[Numbers, Numbers]

    @property
    def rates(self) -> tuple[Numbers, Numbers]:
        """Pass rates at each look."""
        return self.passed[0] / self.sizes[0], self.passed[1] / self.sizes[1]


def draw_traffic(fall: Fall, seed: int) -> Traffic:
    """Draw the runs of both versions."""
    draw = np.random.default_rng(seed)
    looks = np.arange(EVERY, MOST_RUNS + 1, EVERY, dtype=float)
    every = round(1 / fall.share) - 1  # runs of the older version, for each of the new one
    older = np.full(len(looks), float(fall.baseline)) if fall.baseline else looks * every
    before = (draw.random(int(older[-1])) < BEFORE).astype(float)
    now = (draw.random(MOST_RUNS) < BEFORE - fall.size).astype(float)
    passed = [
        np.cumsum(runs)[sizes.astype(int) - 1] for runs, sizes in ((before, older), (now, looks))
    ]
    return Traffic(before, now, (older, looks), (passed[0], passed[1]))


# A method returns the upper bound of the difference, new minus old, at each look.
Method = Callable[[Traffic], Numbers]


def bound_normal(half_widths: Callable[[Numbers], Numbers | float]) -> Method:
    """Make a method with symmetric bounds.

    Args:
        half_widths: Returns half the width in standard errors, for the information at each look: 1
            divided by the variance of the difference.
    """

    def bound(traffic: Traffic) -> Numbers:
        variance = np.zeros(len(traffic.sizes[1]))
        for passed, size in zip(traffic.passed, traffic.sizes, strict=True):
            rate = (passed + 2) / (size + 4)
            variance = variance + rate * (1 - rate) / size
        rates = traffic.rates
        return rates[1] - rates[0] + half_widths(1 / variance) * np.sqrt(variance)

    return bound


def stitch(information: Numbers) -> Numbers:
    """Return the width of the stitched law of the iterated logarithm, in standard errors.

    Source: Howard, Ramdas, McAuliffe, Sekhon, Time-uniform, nonparametric, nonasymptotic confidence
    sequences, Annals of Statistics 49 (2021), equation (2), on both sides.
    """
    # The intrinsic time counts runs with the variance of the baseline.
    times = np.maximum(information * BEFORE * (1 - BEFORE), 2.0)
    width = 1.7 * np.sqrt(np.log(np.log(2 * times)) + 0.72 * math.log(5.2 / (ERROR / 2)))
    return np.asarray(width)


def bound_chosen(traffic: Traffic) -> Numbers:
    """Bound the difference as the product does."""
    bounds = []
    for *sizes, passed_before, passed in zip(*traffic.sizes, *traffic.passed, strict=True):
        sides = [
            Moments(size, size, total, size, total, total, total, size - total)
            for size, total in zip(sizes, (passed_before, passed), strict=True)
        ]
        sums = StratumSums()
        sums.add((sides[0], sides[1]))
        compared = compare_sums([sums], is_rate=True, error=ERROR, expected=EXPECTED)
        bounds.append(1.0 if compared is None else compared.difference.high)
    return np.array(bounds)


def bound_hoeffding(traffic: Traffic) -> Numbers:
    """Bound the difference with a normal mixture, and the largest variance that a rate can have."""
    variance = 1 / (4 * traffic.sizes[0]) + 1 / (4 * traffic.sizes[1])
    widths = np.array([find_width(1 / one, ERROR, EXPECTED) for one in variance])
    rates = traffic.rates
    return np.asarray(rates[1] - rates[0] + widths * np.sqrt(variance))


def find_bernstein(runs: Numbers, sizes: Numbers, error: float) -> tuple[Numbers, Numbers]:
    """Return the mean and half the width of an empirical Bernstein sequence at some sizes.

    Source: Waudby-Smith and Ramdas, Estimating means of bounded random variables by betting,
    Journal of the Royal Statistical Society B 86 (2024), theorem 2.
    """
    times = np.arange(1, len(runs) + 1)
    means = (0.5 + np.cumsum(runs)) / (times + 1)
    variances = (0.25 + np.cumsum((runs - means) ** 2)) / (times + 1)
    earlier_means = np.concatenate([[0.5], means[:-1]])
    earlier = np.concatenate([[0.25], variances[:-1]])
    bets = np.minimum(np.sqrt(2 * math.log(2 / error) / (earlier * times * np.log(1 + times))), 0.5)
    psi = (-np.log1p(-bets) - bets) / 4
    spent = np.cumsum(4 * (runs - earlier_means) ** 2 * psi)
    total = np.cumsum(bets)
    places = sizes.astype(int) - 1
    centre = (np.cumsum(bets * runs) / total)[places]
    return centre, ((math.log(2 / error) + spent) / total)[places]


def bound_bernstein(traffic: Traffic) -> Numbers:
    """Bound the difference by the bounds of both rates, each with half the error."""
    before, half_before = find_bernstein(traffic.before, traffic.sizes[0], ERROR / 2)
    now, half = find_bernstein(traffic.now, traffic.sizes[1], ERROR / 2)
    return (now + half) - (before - half_before)


def bet(traffic: Traffic) -> Numbers:
    """Bet against the new version being as good as the lower bound of a fixed baseline.

    Returns:
        -1 where the bet has won, else 1.
    """
    size = traffic.sizes[0][0]
    rate = traffic.passed[0][0] / size
    z = normal_quantile(1 - ERROR / 2)
    lower = rate - z * math.sqrt(rate * (1 - rate) / size)
    # A run that fails wins `lower`, a run that passes loses `1 - lower`.
    gains = np.log1p(BETS[:, None] / (1 - lower) * (lower - traffic.now)[None, :])
    capital = np.cumsum(gains, axis=1)[:, traffic.sizes[1].astype(int) - 1]
    highest = capital.max(axis=0)
    wealth = highest + np.log(np.exp(capital - highest).mean(axis=0))
    return np.where(np.maximum.accumulate(wealth) >= math.log(2 / ERROR), -1.0, 1.0)


def find_normal(error: float) -> float:
    """Return half the width of an interval for one look, in standard errors."""
    return normal_quantile(1 - error / 2)


METHODS: Final[Mapping[str, Method]] = {
    "95 % interval at each look (wrong)": bound_normal(lambda _: find_normal(0.05)),
    "corrected for the figures, not for the looks (wrong)": bound_normal(
        lambda _: find_normal(ERROR)
    ),
    "normal mixture, Kullback-Leibler bounds (chosen)": bound_chosen,
    "betting against the lower bound of the baseline": bet,
    "stitched law of the iterated logarithm": bound_normal(stitch),
    f"corrected for {PLANNED:,} planned looks": bound_normal(
        lambda _: find_normal(ERROR / PLANNED)
    ),
    "normal mixture with Hoeffding's variance of ¼": bound_hoeffding,
    "empirical Bernstein": bound_bernstein,
}


def find_median(method: str, fall: Fall, draws: int = DRAWS) -> float | None:
    """Return the median number of runs of the new version until a fall is found.

    Returns:
        The median; infinity if most falls are not found within 4,000 runs. None if the method
        cannot be used.
    """
    if method.startswith("betting") and not fall.baseline:
        return None
    found = []
    for seed in range(draws):
        traffic = draw_traffic(fall, seed)
        rates, sizes = traffic.rates, traffic.sizes
        is_found = (
            (METHODS[method](traffic) < 0)
            & (rates[0] - rates[1] >= RATE_MARGIN)
            & (np.minimum(*sizes) >= LEAST_RUNS)
        )
        found.append(sizes[1][is_found.argmax()] if is_found.any() else math.inf)
    return float(np.median(found))


def write_runs(runs: float | None) -> str:
    """Write a number of runs."""
    if runs is None:
        return "not possible"
    return f"{runs:,.0f}" if math.isfinite(runs) else f"more than {MOST_RUNS:,}"


def report() -> None:
    """Print the table of design record 028."""
    rows = [(name, *(write_runs(find_median(name, fall)) for fall in FALLS)) for name in METHODS]
    print_table(("method", *(fall.name for fall in FALLS)), rows)
