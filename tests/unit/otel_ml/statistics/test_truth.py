"""Figures of predictions against ground truth, compared with scikit-learn and resampling."""

import math
import random
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from sklearn import metrics
from sklearn.calibration import calibration_curve

from otel_ml.statistics.intervals import Estimate, cluster_mean, cluster_rate
from otel_ml.statistics.truth import (
    AgedBucket,
    RatioSums,
    SpreadSums,
    calibrate,
    explained_of,
    is_early,
    mean_of,
    rate_of,
    root_of,
    usual_at,
    usual_course,
)

Pair = tuple[float, float]


def sums_of(clusters: Sequence[Sequence[Pair]]) -> RatioSums:
    """Add up runs, each with its two amounts, as the collector's store does."""
    totals = [
        (math.fsum(a for a, _ in runs), math.fsum(b for _, b in runs), len(runs))
        for runs in clusters
    ]
    totals = [one for one in totals if one[1] > 0]
    return RatioSums(
        len(totals),
        sum(a for a, _, _ in totals),
        sum(b for _, b, _ in totals),
        sum(a * a for a, _, _ in totals),
        sum(a * b for a, b, _ in totals),
        sum(b * b for _, b, _ in totals),
        sum(a > 0 for a, _, _ in totals),
        sum(a < b for a, b, _ in totals),
        sum(n for _, _, n in totals),
    )


def spread_of(clusters: Sequence[Sequence[Pair]]) -> SpreadSums:
    """Add up runs, each with its prediction and ground truth."""
    rows = [
        (
            len(runs),
            sum((said - came) ** 2 for said, came in runs),
            sum(came for _, came in runs),
            sum(came**2 for _, came in runs),
        )
        for runs in clusters
    ]
    products = [
        sum(row[first] * row[second] for row in rows)
        for first in range(4)
        for second in range(first, 4)
    ]
    return SpreadSums(len(rows), *(sum(column) for column in zip(*rows, strict=True)), *products)


def draw_labels(n: int = 400, seed: int = 3) -> tuple[list[str], list[str], list[float]]:
    """Draw ground truth, predictions, and probabilities of yes."""
    chance = random.Random(seed)  # noqa: S311
    came, said, probability = [], [], []
    for _ in range(n):
        p = chance.betavariate(1, 3)
        came.append("yes" if chance.random() < p else "no")
        said.append("yes" if p > 0.4 else "no")
        probability.append(p)
    return came, said, probability


def test_class_figures() -> None:
    """Accuracy, precision, recall and F1 match scikit-learn."""
    came, said, _ = draw_labels()
    pairs = list(zip(came, said, strict=True))

    def value(amounts: Callable[[str, str], Pair]) -> float:
        estimate = rate_of(sums_of([[amounts(*pair)] for pair in pairs]))
        assert estimate is not None
        assert estimate.low < estimate.value < estimate.high
        return estimate.value

    def hit(c: str, s: str) -> bool:
        return c == s == "yes"

    figures = {
        metrics.accuracy_score(came, said): value(lambda c, s: (c == s, 1)),
        metrics.precision_score(came, said, pos_label="yes"): value(
            lambda c, s: (hit(c, s), s == "yes")
        ),
        metrics.recall_score(came, said, pos_label="yes"): value(
            lambda c, s: (hit(c, s), c == "yes")
        ),
        metrics.f1_score(came, said, pos_label="yes"): value(
            lambda c, s: (2 * hit(c, s), (s == "yes") + (c == "yes"))
        ),
    }
    assert [*figures.values()] == pytest.approx([*figures], rel=1e-12)


def test_probability_figures() -> None:
    """Brier score and log loss match scikit-learn."""
    came, _, chances = draw_labels()
    hits = [float(one == "yes") for one in came]
    brier = mean_of(sums_of([[((p - y) ** 2, 1)] for p, y in zip(chances, hits, strict=True)]))
    loss = mean_of(
        sums_of([[(-math.log(p if y else 1 - p), 1)] for p, y in zip(chances, hits, strict=True)])
    )
    assert brier is not None
    assert loss is not None
    assert brier.value == pytest.approx(metrics.brier_score_loss(hits, chances), rel=1e-12)
    assert loss.value == pytest.approx(metrics.log_loss(hits, chances), rel=1e-9)


def test_calibration() -> None:
    """The calibration curve matches scikit-learn."""
    came, _, chances = draw_labels()
    hits = [float(one == "yes") for one in came]
    places = [min(int(p * 10), 9) for p in chances]
    bins = [
        (
            sum(p for p, at in zip(chances, places, strict=True) if at == place),
            sums_of([[(y, 1)] for y, at in zip(hits, places, strict=True) if at == place]),
        )
        for place in range(10)
    ]
    curve = calibrate(bins)
    true, said = calibration_curve(hits, chances, n_bins=10)
    assert [one.predicted for one in curve] == pytest.approx(list(said), rel=1e-12)
    assert [one.actual.value for one in curve] == pytest.approx(list(true), rel=1e-12)


def draw_numbers(clusters: int, seed: int, size: int = 4) -> list[list[Pair]]:
    """Draw sessions of predictions and ground truths, with similar errors in a session."""
    chance = random.Random(seed)  # noqa: S311
    drawn = []
    for _ in range(clusters):
        shift = chance.gauss(0, 1)
        truths = [chance.gauss(10, 3) for _ in range(chance.randint(1, 2 * size - 1))]
        drawn.append([(truth + shift + chance.gauss(0, 1), truth) for truth in truths])
    return drawn


def test_number_figures() -> None:
    """MAE, RMSE, R² and bias match scikit-learn and numpy."""
    clusters = draw_numbers(50, 1)
    said, came = np.array([pair for runs in clusters for pair in runs]).T
    of = {
        "absolute": mean_of(sums_of([[(abs(s - c), 1) for s, c in runs] for runs in clusters])),
        "root": root_of(sums_of([[((s - c) ** 2, 1) for s, c in runs] for runs in clusters])),
        "bias": mean_of(sums_of([[(s - c, 1) for s, c in runs] for runs in clusters])),
        "explained": explained_of(spread_of(clusters)),
    }
    values = [one.value for one in of.values() if one is not None]
    assert values == pytest.approx(
        [
            metrics.mean_absolute_error(came, said),
            metrics.root_mean_squared_error(came, said),
            float(np.mean(said - came)),
            metrics.r2_score(came, said),
        ],
        rel=1e-9,
    )


def test_explained_of_constant() -> None:
    """R² of a constant ground truth is None."""
    assert explained_of(spread_of([[(1.0, 0.1)], [(2.0, 0.1)], [(3.0, 0.1)]])) is None


def test_sums_of_parts() -> None:
    """Added sums of two days equal the sums of both days together."""
    first, second = [[(1, 1), (0, 1)], [(1, 2)]], [[(0, 1)], [(3, 4)], [(0, 0)]]
    assert sums_of(first) + sums_of(second) == sums_of([*first, *second])


def test_clusters_as_intervals_have_them() -> None:
    """For many equal clusters the intervals nearly match the jackknife over clusters."""
    chance = random.Random(5)  # noqa: S311
    clusters = []
    for _ in range(300):
        p = chance.betavariate(4, 2)
        clusters.append([(float(chance.random() < p), 1.0) for _ in range(5)])
    of_each = [(sum(one for one, _ in runs), len(runs)) for runs in clusters]
    rate, mean = rate_of(sums_of(clusters)), mean_of(sums_of(clusters))
    assert rate is not None
    assert mean is not None
    for own, oracle in ((rate, cluster_rate(of_each)), (mean, cluster_mean(of_each))):
        assert (own.n, own.clusters) == (oracle.n, oracle.clusters) == (1_500, 300)
        assert [own.value, own.low, own.high] == pytest.approx(
            [oracle.value, oracle.low, oracle.high], rel=1e-4
        )


def test_bounds_without_a_miss() -> None:
    """A rate of 100 right runs still has a lower bound below 1."""
    rate = rate_of(sums_of([[(1, 1)]] * 100))
    assert rate is not None
    assert (rate.value, rate.high) == (1, 1)
    assert rate.low == pytest.approx(cluster_rate([(1, 1)] * 100).low)


def test_single_cluster() -> None:
    """One session gives a value with an unbounded interval."""
    rate, mean = rate_of(sums_of([[(1, 1)] * 50])), mean_of(sums_of([[(3, 1)] * 50]))
    assert rate == Estimate(1.0, 0.0, 1.0, 50, 1)
    assert mean == Estimate(3.0, -math.inf, math.inf, 50, 1)


def test_nothing() -> None:
    """Without runs there is no figure."""
    assert [rate_of(RatioSums()), mean_of(RatioSums()), root_of(RatioSums())] == [None] * 3
    assert explained_of(SpreadSums()) is None


@pytest.mark.parametrize("figure", ["precision", "f1", "explained"])
def test_share_of_intervals_that_hold(figure: str) -> None:
    """A 95 % interval over 60 sessions contains the true value in 92 to 98 % of samples."""
    held, samples = 0, 300
    for seed in range(samples):
        estimate, truth = _sample(figure, seed)
        held += estimate.low <= truth <= estimate.high
    assert 0.92 <= held / samples <= 0.98


def _sample(figure: str, seed: int) -> tuple[Estimate, float]:
    chance = random.Random(seed)  # noqa: S311
    if figure == "explained":
        estimate = explained_of(spread_of(draw_numbers(60, seed)))
        truth = 1 - 2 / 9
    else:
        # Each run of a session is predicted correctly with probability p, and half of all are yes.
        clusters: list[list[Pair]] = []
        for _ in range(60):
            p = chance.betavariate(8, 2)
            runs: list[Pair] = []
            for _ in range(chance.randint(1, 7)):
                came, right = chance.random() < 0.5, chance.random() < p
                said = came if right else not came
                hit = came and said
                runs.append((2 * hit, said + came) if figure == "f1" else (hit, said))
            clusters.append(runs)
        estimate, truth = rate_of(sums_of(clusters)), 0.8
    assert estimate is not None
    return estimate, truth


AGES = (1.0, 3.0, 7.0, 14.0)


def test_usual_course() -> None:
    """The usual course is the median of old enough buckets, and it never falls."""
    old = [AgedBucket(20 + at, 100, (10, 30, 60, 75 + at)) for at in range(5)]
    lost = AgedBucket(30, 100, (0, 0, 0, 0))
    assert usual_course([*old, lost], AGES) == [0.1, 0.3, 0.6, pytest.approx(0.765)]
    assert usual_course([*old[:4], lost], AGES) == [0.1, 0.3, 0.6, 0.76]
    young = [AgedBucket(5, 100, (10, 20, 0, 0)) for _ in range(9)]
    assert usual_course(young, AGES) == [0.1, 0.2, None, None]


def test_usual_at_an_age() -> None:
    """Between two ages the usual share is interpolated; after the last known age it is constant."""
    course = [0.1, 0.3, 0.6, None]
    assert [usual_at(course, AGES, age) for age in (0, 0.5, 2, 7, 100)] == [
        *(0, 0.05, pytest.approx(0.2), 0.6, 0.6),
    ]
    assert usual_at([None] * 4, AGES, 2) is None


def test_early() -> None:
    """A bucket is early if it is too young or has fewer ground truths than usual, beyond chance."""
    assert is_early(40, 1_000, 0.3, 0.7) == "too young"
    assert is_early(400, 1_000, 0.7, 0.7) == "less than usual"
    assert is_early(690, 1_000, 0.7, 0.7) == ""
    assert is_early(4, 8, 0.7, 0.7) == ""
    assert is_early(0, 1_000, None, None) == ""
