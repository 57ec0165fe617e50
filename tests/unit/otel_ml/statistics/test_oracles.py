"""Every figure equals that of scipy, statsmodels, krippendorff or a published table."""

import math
import random
from collections import Counter
from itertools import product
from typing import Literal

import krippendorff
import numpy as np
import pytest
from scipy import optimize, stats
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

from otel_ml.statistics.agreement import cohen_kappa, krippendorff_alpha
from otel_ml.statistics.intervals import (
    Estimate,
    benjamini_hochberg,
    bootstrap,
    cluster_mean,
    cluster_p,
    cluster_rate,
    corrected_rate,
    detectable,
    difference,
    exponential,
    mcnemar_mid_p,
    needed,
    newcombe_paired,
    normal_quantile,
    student_p,
    student_quantile,
    sum_logs,
    wilson,
)
from tests.support.sampling import sampled

COUNTS = [(0, 20), (1, 20), (7, 34), (50, 100), (143, 150), (1_960, 2_000), (30, 30)]
CONFIDENCES = [0.9, 0.95, 0.99, 1 - 0.05 / 7]


def seeded(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311  # not for secrets


def exactly(*numbers: float) -> object:
    return pytest.approx(numbers, rel=1e-9, abs=1e-9)


def bounds(estimate: Estimate) -> tuple[float, float]:
    return estimate.low, estimate.high


@pytest.mark.parametrize("p", [1e-9, 0.01, 0.25, 0.5, 0.8, 0.975, 0.9995, 1 - 1e-9])
def test_normal_quantile(p: float) -> None:
    """Normal quantiles match scipy."""
    assert (normal_quantile(p),) == exactly(stats.norm.ppf(p))


@pytest.mark.parametrize("degrees", [0.7, 1, 2, 3.5, 11, 30, 49.9, 100, 199, 1e4, 1e5, 9e5, 2e6])
def test_student(degrees: float) -> None:
    """Student's quantiles and tails match scipy, for few and many degrees of freedom."""
    for p in (0.001, 0.3, 0.5, 0.9, 0.975, 0.995, 0.99975, 1 - 1e-7):
        found = student_quantile(p, degrees)
        assert found == pytest.approx(stats.t.ppf(p, degrees), rel=1e-9, abs=1e-9)
    for t in (-3.0, 0.0, 0.1, 1.0, 1.96, 5.0, 20.0):
        assert (student_p(t, degrees),) == exactly(2 * stats.t.sf(abs(t), degrees))


@pytest.mark.parametrize("confidence", CONFIDENCES)
@pytest.mark.parametrize(("passed", "n"), COUNTS)
def test_wilson(passed: int, n: int, confidence: float) -> None:
    """Wilson's interval matches statsmodels."""
    expected = proportion_confint(passed, n, 1 - confidence, "wilson")
    assert bounds(wilson(passed, n, confidence=confidence)) == exactly(*expected)


@pytest.mark.parametrize("confidence", CONFIDENCES)
def test_newcombe_unpaired(confidence: float) -> None:
    """Newcombe's unpaired interval matches statsmodels."""
    for first, second in list(product(COUNTS, COUNTS))[::3]:
        expected = confint_proportions_2indep(
            *second, *first, method="newcomb", compare="diff", alpha=1 - confidence
        )
        rates = (wilson(*side, confidence=confidence) for side in (first, second))
        assert bounds(difference(*rates)) == exactly(*expected), (first, second)


def score_roots(passed: int, n: int, z: float) -> tuple[float, float]:
    """Find the shares at which the score test just rejects the observed share."""
    rate = passed / n

    def test(share: float) -> float:
        return n * (rate - share) ** 2 - z * z * share * (1 - share)

    low = 0.0 if not passed else optimize.brentq(test, 0, rate - 1e-7, xtol=1e-15, rtol=1e-14)
    high = 1.0 if passed == n else optimize.brentq(test, rate + 1e-7, 1, xtol=1e-15, rtol=1e-14)
    return low, high


@pytest.mark.parametrize("confidence", CONFIDENCES)
@pytest.mark.parametrize(
    ("a", "b", "c", "d"),
    [(1, 1, 7, 12), (36, 12, 2, 0), (20, 12, 2, 16), (54, 0, 0, 0), (80, 3, 9, 8)],
)
def test_newcombe_paired(a: int, b: int, c: int, d: int, confidence: float) -> None:
    """Newcombe's paired interval matches one made of scipy's roots and numpy's phi."""
    n, z = a + b + c + d, stats.norm.ppf((1 + confidence) / 2)
    first, second = (a + b) / n, (a + c) / n
    (l1, u1), (l2, u2) = score_roots(a + b, n, z), score_roots(a + c, n, z)
    table = np.array([[a, b], [c, d]], dtype=float)
    det = np.linalg.det(table)
    det = max(det - n / 2, 0) if det > 0 else det
    scale = math.sqrt(float(np.prod(table.sum(0)) * np.prod(table.sum(1))))
    phi = det / scale if scale else 0.0
    change = second - first
    down, up = second - l2, u1 - first
    low = change - math.sqrt(down**2 - 2 * phi * down * up + up**2)
    up, down = u2 - second, first - l1
    high = change + math.sqrt(up**2 - 2 * phi * up * down + down**2)
    assert bounds(newcombe_paired(a, b, c, d, confidence=confidence)) == exactly(low, high)


def test_newcombe_paired_is_as_published() -> None:
    """The interval for the airways of 21 children before and after transplantation is as published.

    Source: Fagerland, Lydersen, Laake, Statistics in Medicine 33 (2014), 2850-2875, table VI.
    """
    found = newcombe_paired(1, 1, 7, 12)
    assert (round(found.low, 3), round(found.high, 3)) == (0.026, 0.507)


def test_mean_of_single_items() -> None:
    """Without clusters the jackknife interval equals scipy's Student interval."""
    values = [0.1, 0.5, -0.25, 0.0, 1.0, 0.75, 0.2]
    found = cluster_mean([(value, 1) for value in values])
    expected = stats.t.interval(0.95, 6, np.mean(values), stats.sem(values))
    assert bounds(found) == exactly(*expected)
    assert (cluster_p([(value, 1) for value in values]),) == exactly(
        stats.ttest_1samp(values, 0).pvalue
    )


def test_mean_of_clusters() -> None:
    """The variance over clusters matches numpy's means with each cluster left out in turn."""
    draw = seeded(3)
    clusters = [
        [draw.random() for _ in range(size)] for size in (1, 2, 9, 4, 4, 7, 1, 3, 5, 2, 2, 6)
    ]
    everything = np.concatenate(clusters)
    without = [
        np.concatenate([one for one in clusters if one is not left]).mean() for left in clusters
    ]
    variance = 11 / 12 * ((np.array(without) - everything.mean()) ** 2).sum()
    sizes = np.array([len(one) for one in clusters])
    degrees = sizes.sum() ** 2 / (sizes**2).sum() - 1
    half = stats.t.ppf(0.975, degrees) * math.sqrt(variance)
    found = cluster_mean([(math.fsum(one), len(one)) for one in clusters])
    assert (found.value, *bounds(found)) == exactly(
        everything.mean(), everything.mean() - half, everything.mean() + half
    )
    assert (found.n, found.clusters) == (46, 12)


def test_rate_of_single_items() -> None:
    """Without clusters the interval of a rate is Wilson's, with Student's t instead of z."""
    found = cluster_rate([(1.0, 1)] * 30 + [(0.0, 1)] * 20)
    confidence = 1 - 2 * stats.norm.sf(stats.t.ppf(0.975, 49))
    assert bounds(found) == exactly(*proportion_confint(30, 50, 1 - confidence, "wilson"))


def test_ratio_of_pairs() -> None:
    """The ratio of paired amounts matches scipy's interval of the logarithms."""
    draw = np.random.default_rng(2)
    first, second = draw.lognormal(0, 1, 40), draw.lognormal(0.2, 1, 40)
    logs = np.log(second / first)
    expected = np.exp(stats.t.interval(0.95, 39, logs.mean(), stats.sem(logs)))
    pairs = zip(range(40), first.tolist(), second.tolist(), strict=True)
    found = exponential(cluster_mean(sum_logs(pairs)))
    assert bounds(found) == exactly(*expected)


def test_difference_of_any_two() -> None:
    """The half-width of a difference is the root of the squared half-widths of two estimates."""
    first, second = Estimate(1.0, 0.7, 1.3, 10, 10), Estimate(2.0, 1.6, 2.4, 20, 5)
    found = difference(first, second)
    assert (found.value, *bounds(found)) == exactly(1.0, 0.5, 1.5)
    assert (found.n, found.clusters) == (30, 15)


def test_mcnemar() -> None:
    """The mid-p value is statsmodels' exact value minus half the observed probability."""
    for first, second in product(range(0, 30, 3), range(0, 30, 4)):
        table = [[5, first], [second, 5]]
        n = first + second
        exact = mcnemar(table, exact=True).pvalue
        seen = stats.binom.pmf(min(first, second), n, 0.5)
        expected = 1 - seen / 2 if first == second and n else exact - seen if n else 1.0
        assert (mcnemar_mid_p(first, second),) == exactly(expected), (first, second)


@sampled(2)
@pytest.mark.parametrize("seed", range(5))
def test_corrections(seed: int) -> None:
    """Adjusted p-values match statsmodels, in the given order."""
    draw = seeded(seed)
    p = [draw.random() ** 3 for _ in range(seed * 7 + 1)]
    expected = list(multipletests(p, method="fdr_bh")[1])
    assert benjamini_hochberg(p) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_kappa(seed: int) -> None:
    """Cohen's kappa matches scikit-learn."""
    draw = seeded(seed)
    first = [draw.choice("abcd") for _ in range(60)]
    second = [one if draw.random() < 0.6 else draw.choice("abcd") for one in first]
    found = cohen_kappa(Counter(zip(first, second, strict=True)))
    assert (found,) == exactly(cohen_kappa_score(first, second))


@pytest.mark.parametrize("level", ["nominal", "ordinal", "interval"])
@pytest.mark.parametrize("seed", range(4))
def test_alpha(level: Literal["nominal", "ordinal", "interval"], seed: int) -> None:
    """Krippendorff's alpha matches the krippendorff package, including missing answers."""
    draw = np.random.default_rng(seed)
    truth = draw.integers(1, 6, 40)
    said = np.clip(truth + draw.integers(-1, 2, (4, 40)), 1, 5).astype(float)
    said[draw.random((4, 40)) < 0.3] = np.nan
    units = [[float(one) for one in unit if not math.isnan(one)] for unit in said.T]
    expected = krippendorff.alpha(said, level_of_measurement=level)
    assert (krippendorff_alpha(units, level),) == exactly(expected)


def test_nothing_to_agree_on() -> None:
    """If all answers are equal, agreement beyond chance is not a number."""
    assert math.isnan(cohen_kappa({("a", "a"): 9}))
    assert math.isnan(cohen_kappa(Counter[tuple[str, str]]()))
    assert math.isnan(krippendorff_alpha([["a", "a"], ["a"]]))


def test_bootstrap() -> None:
    """Percentiles of a seeded bootstrap are reproducible and close to scipy's."""
    values = stats.lognorm.ppf(np.linspace(0.005, 0.995, 100), 0.5).tolist()
    found = bootstrap(values, lambda of: math.fsum(of) / len(of), seed=4)
    assert found == bootstrap(values, lambda of: math.fsum(of) / len(of), seed=4)
    expected = stats.bootstrap((values,), np.mean, method="percentile", rng=1).confidence_interval
    assert bounds(found) == pytest.approx(tuple(expected), rel=0.02)


def test_bootstrap_interpolates() -> None:
    """The bounds of a bootstrap are interpolated between the two nearest results."""
    results = iter([7.0, *range(1, 1_001)])  # of all runs, then of each resample
    assert bounds(bootstrap([0.0], lambda _: next(results))) == pytest.approx((25.975, 975.025))


def test_power() -> None:
    """`detectable` and `needed` match the formula for a power of 80 %."""
    wide = wilson(500, 1_000)
    shown = detectable(wide)
    assert shown == pytest.approx((1.959964 + 0.841621) * math.sqrt(0.25 / 1_000), rel=2e-3)
    assert needed(wide, shown / 2) == 4_000
    assert needed(cluster_mean([(1.0, 5)]), 0.1) is None


def test_one_cluster_says_nothing() -> None:
    """One cluster gives a value with an unbounded interval."""
    assert cluster_mean([(2.0, 4)]) == Estimate(0.5, -math.inf, math.inf, 4, 1)
    assert cluster_rate([(2.0, 4)]) == Estimate(0.5, 0.0, 1.0, 4, 1)
    assert cluster_p([(2.0, 4)]) == 1.0


def test_twenty_items_without_a_flip() -> None:
    """Twenty items without a flip give an interval of about ten points to either side."""
    found = cluster_mean([(0.0, 1)] * 20, of_rates=True)
    half = stats.t.ppf(0.975, 19) / 20
    assert (found.value, *bounds(found)) == exactly(0.0, -half, half)


def test_order_does_not_matter() -> None:
    """The order of rows does not change the result."""
    draw = seeded(8)
    sums = [
        (draw.uniform(-1, 1) * 10 ** draw.randrange(-6, 3), draw.randrange(1, 9))
        for _ in range(500)
    ]
    other = draw.sample(sums, k=len(sums))
    assert cluster_mean(sums) == cluster_mean(other)


@pytest.mark.parametrize(
    "call",
    [
        lambda: wilson(0, 0),
        lambda: wilson(3, 2),
        lambda: wilson(1, 2, confidence=1.0),
        lambda: newcombe_paired(0, 0, 0, 0),
        lambda: newcombe_paired(1, -1, 0, 2),
        lambda: cluster_mean([]),
        lambda: sum_logs([("a", 0.0, 1.0)]),
        lambda: student_quantile(0.5, 0),
        lambda: student_p(1.0, 0),
        lambda: normal_quantile(0),
        lambda: mcnemar_mid_p(-1, 0),
        lambda: bootstrap([], len),
    ],
)
def test_nothing_can_be_said(call: object) -> None:
    """A call without a valid result raises, and the error names the expected value."""
    assert callable(call)
    with pytest.raises(ValueError, match=r"^(Invalid|No) .*expected"):
        call()


@pytest.mark.parametrize("confidence", CONFIDENCES)
@pytest.mark.parametrize(("passed", "n"), [(1_802, 2_000), (50, 400), (399, 400)])
def test_corrected_rate(passed: int, n: int, confidence: float) -> None:
    """The corrected rate combines Wilson's interval of statsmodels and Student's of scipy."""
    draw = seeded(n + passed)
    sample = draw.choices([-1.0, -0.5, 0.0, 0.5, 1.0], weights=[1, 1, 6, 1, 2], k=150)
    found = corrected_rate(passed, n, [(one, 1) for one in sample], confidence=confidence)
    rate, shift = passed / n, float(np.mean(sample))
    low, high = proportion_confint(passed, n, 1 - confidence, "wilson")
    spread = stats.sem(sample)
    down, up = stats.t.interval(confidence, len(sample) - 1, loc=shift, scale=spread)
    expected = (
        rate + shift,
        rate + shift - math.hypot(rate - low, shift - down),
        rate + shift + math.hypot(high - rate, up - shift),
    )
    clipped = [min(max(one, 0.0), 1.0) for one in expected]
    assert (found.value, *bounds(found)) == exactly(*clipped)
    assert (found.n, found.clusters) == (150, 150)


def test_corrected_rate_without_a_difference() -> None:
    """A sample in which reviewers agree with the judge still widens the interval."""
    found = corrected_rate(90, 100, [(0.0, 1)] * 20)
    alone = wilson(90, 100)
    assert found.value == alone.value
    assert found.low < alone.low < alone.high < found.high
