"""Simulated coverage of each interval, and the rate of false "worse" verdicts.

The nightly tests try each cell 100 times with wide bounds, and each commit tries every seventh
cell. `make soak` tries all of them 1,000 times and requires at least 93 %. `-s` prints the figures.
"""

import math
import os
from collections.abc import Callable
from itertools import product
from typing import Any, Final

import numpy as np
import pytest
from scipy.stats import beta, norm

from otel_ml.experiments.compare import ALIKE, ComparisonOptions, verdict_of
from otel_ml.experiments.rows import ItemRun
from otel_ml.judges.answer import Judgement
from otel_ml.statistics.intervals import (
    Estimate,
    cluster_mean,
    cluster_rate,
    corrected_rate,
    difference,
    exponential,
    newcombe_paired,
    sum_logs,
    wilson,
)
from otel_ml.statistics.scored_runs import JudgeScore, ScoredRun
from otel_ml.statistics.verdict import compare_items
from tests.support.examples import AT_NIGHT
from tests.support.sampling import at_night, harder, sampled

Numbers = np.ndarray[Any, np.dtype[Any]]
Draw = np.random.Generator
# Similarity of values in a cluster, and of an item's values on both sides: from 0 to 0.9.
Like = tuple[float, float]

TRIES: Final = int(os.environ.get("OTEL_ML_TEST_SIMULATIONS", "100"))
# Seven divides no parameter's number of values, so each value is in some cell that is tried.
EVERY: Final = 1 if AT_NIGHT or "OTEL_ML_TEST_SIMULATIONS" in os.environ else 7
FLOOR: Final = 0.93
# Three standard errors of a share of 93 %.
NOISE: Final = 3 * math.sqrt(FLOOR * (1 - FLOOR) / TRIES)
RATES: Final = [(0.02, 0.02), (0.02, 0.1), (0.1, 0.3), (0.5, 0.7), (0.9, 0.98), (0.98, 0.5)]


def place_in_clusters(draw: Draw, n: int, clusters: int) -> Numbers:
    """Place items in clusters of unequal size, or each item in its own cluster."""
    if clusters >= n:
        return np.arange(n)
    weight = draw.lognormal(0, 0.8, clusters)
    rest = draw.choice(clusters, n - clusters, p=weight / weight.sum())
    return np.concatenate([np.arange(clusters), rest])


def draw_values(draw: Draw, places: Numbers, like: Like, repeats: int) -> list[Numbers]:
    """Draw normal values of two sides: alike within clusters, paired between the sides."""
    alike, paired = like
    n, clusters = len(places), int(places.max()) + 1
    of_cluster, of_item = alike * paired, paired * (1 - alike)
    shared = math.sqrt(of_cluster) * draw.normal(size=clusters)[places]
    shared = shared + math.sqrt(alike - of_cluster) * draw.normal(size=(2, clusters))[:, places]
    shared = shared + math.sqrt(of_item) * draw.normal(size=n)
    rest = math.sqrt(max(1 - alike - of_item, 0))
    return [shared + rest * draw.normal(size=(2, n)) for _ in range(repeats)]


def draw_rates(
    draw: Draw,
    places: Numbers,
    like: Like,
    repeats: int,
    rates: tuple[float, float],
) -> Numbers:
    limits = norm.ppf(np.array(rates))[:, None]
    values = draw_values(draw, places, like, repeats)
    mean: Numbers = np.mean([one < limits for one in values], axis=0)
    return mean


def sums_of(places: Numbers, values: Numbers) -> list[tuple[float, int]]:
    totals, counts = np.bincount(places, values).tolist(), np.bincount(places).tolist()
    return list(zip(totals, counts, strict=True))


def pair(draw: Draw, n: int, paired: float, rates: tuple[float, float]) -> tuple[Estimate, float]:
    first, second = draw_rates(draw, np.arange(n), (0, paired), 1, rates) > 0
    counts = [int((one & other).sum()) for one in (first, ~first) for other in (second, ~second)]
    return newcombe_paired(*counts), rates[1] - rates[0]


def samples(
    draw: Draw, first: int, second: int, rates: tuple[float, float]
) -> tuple[Estimate, float]:
    passed = int(draw.binomial(first, rates[0])), int(draw.binomial(second, rates[1]))
    change = difference(wilson(passed[0], first), wilson(passed[1], second))
    return change, rates[1] - rates[0]


def clustered_rate(
    draw: Draw, size: tuple[int, int], alike: float, repeats: int, rate: float
) -> tuple[Estimate, float]:
    places = place_in_clusters(draw, *size)
    return cluster_rate(
        sums_of(places, draw_rates(draw, places, (alike, 0), repeats, (rate, rate))[0])
    ), rate


def clustered_pairs(
    draw: Draw,
    size: tuple[int, int],
    like: Like,
    repeats: int,
    rates: tuple[float, float],
) -> tuple[Estimate, float]:
    places = place_in_clusters(draw, *size)
    first, second = draw_rates(draw, places, like, repeats, rates)
    return cluster_mean(sums_of(places, second - first), of_rates=True), rates[1] - rates[0]


def items_of_sessions(
    draw: Draw,
    size: tuple[int, int],
    like: Like,
    repeats: int,
    rates: tuple[float, float],
) -> tuple[Estimate, float]:
    """Return the difference in a verdict about items made from runs of sessions."""
    places = place_in_clusters(draw, *size)
    limits = norm.ppf(np.array(rates))[:, None]
    values = [one < limits for one in draw_values(draw, places, like, repeats)]
    before, after = (
        [
            ItemRun(
                item=str(item),
                digest="",
                repeat=repeat,
                source_session=f"chat {session}",
                judgements={"exact": Judgement("exact", "a", passed=bool(one[side, item]))},
            )
            for repeat, one in enumerate(values)
            for item, session in enumerate(places)
        ]
        for side in (0, 1)
    )
    found = verdict_of(after, before, ALIKE).judges["exact"].difference
    assert found is not None
    return found, rates[1] - rates[0]


def clustered_samples(
    draw: Draw, size: tuple[int, int], alike: float, rates: tuple[float, float]
) -> tuple[Estimate, float]:
    sides = []
    for rate in rates:
        places = place_in_clusters(draw, *size)
        sides.append(
            cluster_rate(sums_of(places, draw_rates(draw, places, (alike, 0), 1, (rate, rate))[0]))
        )
    return difference(*sides), rates[1] - rates[0]


def u_shaped(
    draw: Draw, size: tuple[int, int], like: Like, repeats: int, b: float
) -> tuple[Estimate, float]:
    """Draw scores near 0 or 1 from beta distributions."""
    places = place_in_clusters(draw, *size)
    shares = [norm.cdf(one) for one in draw_values(draw, places, like, repeats)]
    first = np.mean([beta.ppf(one[0], 0.3, 0.3) for one in shares], axis=0)
    second = np.mean([beta.ppf(one[1], 0.3, b) for one in shares], axis=0)
    return cluster_mean(sums_of(places, second - first)), 0.3 / (0.3 + b) - 0.5


def u_shaped_samples(
    draw: Draw, size: tuple[int, int], alike: float, b: float
) -> tuple[Estimate, float]:
    sides = []
    for shape in (0.3, b):
        places = place_in_clusters(draw, *size)
        [values] = draw_values(draw, places, (alike, 0), 1)
        sides.append(sums_of(places, beta.ppf(norm.cdf(values[0]), 0.3, shape)))
    return difference(*map(cluster_mean, sides)), 0.3 / (0.3 + b) - 0.5


def latencies(
    draw: Draw, size: tuple[int, int], like: Like, spread: float
) -> tuple[Estimate, float]:
    places = place_in_clusters(draw, *size)
    [values] = draw_values(draw, places, like, 1)
    first, second = np.exp(spread * values).tolist()
    pairs = (
        (place, one, 1.1 * other)
        for place, one, other in zip(places.tolist(), first, second, strict=True)
    )
    return exponential(cluster_mean(sum_logs(pairs))), 1.1


def latencies_apart(
    draw: Draw, size: tuple[int, int], alike: float, spread: float
) -> tuple[Estimate, float]:
    sides = []
    for factor in (1.0, 1.2):
        places = place_in_clusters(draw, *size)
        [values] = draw_values(draw, places, (alike, 0), 1)
        sides.append(cluster_mean(sums_of(places, math.log(factor) + spread * values[0])))
    return exponential(difference(*sides)), 1.2


def corrected_rates(
    draw: Draw, size: tuple[int, int], people: int, rate: float, wrong: tuple[float, float]
) -> tuple[Estimate, float]:
    """Simulate a judge that errs on good and bad runs, and reviewers who err half as often."""
    n, judged = size
    good = draw.random(judged) < rate
    misses = np.where(good, *wrong)
    judge = good ^ (draw.random(judged) < misses)
    chosen = draw.choice(judged, n, replace=False)
    said = good[chosen] ^ (draw.random((people, n)) < misses[chosen] / 2)
    shifts = said.mean(axis=0) - judge[chosen]
    truth = rate * (1 - wrong[0] / 2) + (1 - rate) * wrong[1] / 2
    return corrected_rate(int(judge.sum()), judged, [(one, 1) for one in shifts.tolist()]), truth


LIKES: Final[list[Like]] = [(0, 0), (0, 0.9), (0.9, 0), (0.9, 0.9)]
SINGLE: Final = [(20, 20), (200, 200), (2_000, 2_000)]
FEW: Final = [(20, 12), (60, 12), (2_000, 12), (200, 40)]
MANY: Final = [(2_000, 200)]
METHODS: Final[dict[str, tuple[Callable[..., tuple[Estimate, float]], list[tuple[Any, ...]]]]] = {
    "pairs of passes": (pair, list(product([20, 50, 200, 2_000], [0, 0.5, 0.9], RATES))),
    "two samples of passes": (samples, list(product([100, 500], [100, 2_000], RATES))),
    "rates of single items": (
        clustered_rate,
        list(product(SINGLE[:2], [0], [1, 5], [0.02, 0.1, 0.5, 0.98])),
    ),
    "rates of many clusters": (
        clustered_rate,
        list(product([(200, 40), (2_000, 200)], [0, 0.3, 0.9], [1, 5], [0.02, 0.1, 0.5, 0.98])),
    ),
    "rates of 12 clusters": (
        clustered_rate,
        list(product(FEW[:3], [0, 0.3, 0.9], [1, 5], [0.02, 0.1, 0.5, 0.98])),
    ),
    "rates corrected by people": (
        corrected_rates,
        list(
            product(
                [(50, 1_000), (200, 400), (200, 20_000)],
                [1, 3],
                [0.5, 0.9, 0.98],
                [(0.05, 0.05), (0.02, 0.4), (0.2, 0.2)],
            )
        ),
    ),
    "pairs of repeats": (
        clustered_pairs,
        list(product(SINGLE[:2], [(0, 0), (0, 0.9)], [2, 5], RATES)),
    ),
    "pairs of many clusters": (
        clustered_pairs,
        list(product([(200, 40), (2_000, 200)], LIKES, [1, 5], RATES)),
    ),
    "pairs of 12 clusters": (
        clustered_pairs,
        list(product(FEW[:3], LIKES, [1, 5], RATES)),
    ),
    "items of sessions": (
        items_of_sessions,
        list(product([(60, 15), (300, 60)], LIKES, [1, 3], RATES[2:4])),
    ),
    "two samples in clusters": (
        clustered_samples,
        list(product([(100, 12), (200, 40), (2_000, 200)], [0, 0.9], RATES)),
    ),
    "scores": (
        u_shaped,
        list(product([(20, 20), (200, 200), (60, 12), (200, 40)], LIKES, [1, 3], [0.3, 1])),
    ),
    "two samples of scores": (
        u_shaped_samples,
        list(product([(100, 100), (100, 12), (2_000, 200)], [0, 0.9], [0.3, 1])),
    ),
    "latency": (
        latencies,
        list(product([*SINGLE[:2], *FEW, *MANY], LIKES, [0.5, 1.5])),
    ),
    "two samples of latency": (
        latencies_apart,
        list(product([(100, 100), (100, 12), (200, 40), (2_000, 200)], [0, 0.9], [0.5, 1.5])),
    ),
}


@harder
@sampled(5)
@pytest.mark.parametrize("method", METHODS)
def test_coverage(method: str) -> None:
    """A 95 % interval contains the true value in at least 93 % of all samples, in every cell."""
    sample, cells = METHODS[method]
    shares = {}
    for cell in cells[::EVERY]:
        draw = np.random.default_rng(7)
        held = 0
        for _ in range(TRIES):
            found, truth = sample(draw, *cell)
            held += found.low - 1e-12 <= truth <= found.high + 1e-12
        shares[cell] = held / TRIES
    mean, (worst, least) = (
        np.mean(list(shares.values())),
        min(shares.items(), key=lambda one: one[1]),
    )
    short = {cell: share for cell, share in shares.items() if share < FLOOR}
    print(f"{method}: {mean:.1%} on average of {len(shares)} cells, {least:.1%} at least {worst}")  # noqa: T201
    for cell, share in sorted(short.items(), key=lambda one: one[1])[:8]:
        print(f"  {share:.1%} {cell}")  # noqa: T201
    assert mean >= FLOOR
    assert least >= FLOOR - NOISE


@at_night
def test_nothing_changed_in_sessions() -> None:
    """If sessions have similar runs, clusters by session keep a false "worse" rare; by item not."""
    draw, worse = np.random.default_rng(13), [0, 0]
    by_item = ComparisonOptions(cluster=lambda run: run.item)
    for at in range(2 * TRIES):
        places = place_in_clusters(draw, 240, (24, 40, 60)[at % 3])
        passed = draw_rates(draw, places, (0.7, 0.2), 1, (0.6, 0.6)) > 0
        before, after = (
            [
                ItemRun(
                    item=str(item),
                    digest="",
                    source_session=f"chat {session}",
                    judgements={"exact": Judgement("exact", "a", passed=bool(one))},
                )
                for item, (session, one) in enumerate(zip(places, side, strict=True))
            ]
            for side in passed
        )
        for place, how in enumerate((ALIKE, by_item)):
            found = verdict_of(after, before, how).judges["exact"]
            worse[place] += found.word == "worse"
    by_session, alone = (one / (2 * TRIES) for one in worse)
    print(f"nothing changed: worse in {by_session:.2%} by session, {alone:.2%} by item")  # noqa: T201
    assert by_session <= 0.025 + 3 * math.sqrt(0.025 * 0.975 / (2 * TRIES))
    assert alone > 3 * max(by_session, 0.025)


@sampled(1)
@pytest.mark.parametrize("judges", [1, 5])
def test_nothing_changed(judges: int) -> None:
    """If nothing changed, at most 2.5 % of verdicts are "worse", even with five judges."""
    names = [f"judge {number}" for number in range(judges)]
    draw, worse = np.random.default_rng(11), 0
    for at in range(2 * TRIES):
        n, rate = (30, 100, 300)[at % 3], (0.1, 0.5, 0.9)[at // 3 % 3]
        places = place_in_clusters(draw, n, n if at % 2 else max(n // 4, 12))
        sides: list[list[ScoredRun]] = [[], []]
        said = [draw_rates(draw, places, (0.3, 0.6), 1, (rate, rate)) > 0 for _ in names]
        for side, item in product((0, 1), range(n)):
            sides[side].append(
                ScoredRun(
                    item=str(item),
                    cluster="" if at % 2 else str(places[item]),
                    scores={
                        name: JudgeScore(bool(one[side, item]))
                        for name, one in zip(names, said, strict=True)
                    },
                )
            )
        worse += compare_items(*sides).word == "worse"
    share = worse / (2 * TRIES)
    print(f"{judges} judges, nothing changed: worse in {share:.2%} of {2 * TRIES}")  # noqa: T201
    assert share <= 0.025 + 3 * math.sqrt(0.025 * 0.975 / (2 * TRIES))
