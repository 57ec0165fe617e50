"""Measures how far raters agree beyond chance: Cohen's kappa, Krippendorff's alpha."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from itertools import product
from typing import Any, Final, Literal, TypeVar

from otel_ml.statistics import floats
from otel_ml.statistics.intervals import CONFIDENCE, Estimate, student_quantile, sum_counted

Label = TypeVar("Label", bound=Hashable)
Level = Literal["nominal", "ordinal", "interval"]
_MEASUREMENT_LEVELS: Final = ("nominal", "ordinal", "interval")


def cohen_kappa(counts: Mapping[tuple[Label, Label], int]) -> float:
    """Return Cohen's kappa: how far two raters agree beyond chance.

    Args:
        counts: Maps a pair of labels to the number of runs with these labels. The pair is the first
            rater's label, then the second rater's. For example, ``{("good", "bad"): 3}``.

    Returns:
        1 for full agreement. 0 if the raters agree as often as by chance, and negative if less
        often. NaN if there is no run, or if both raters gave all runs the same label.

    Source: Cohen, A coefficient of agreement for nominal scales, Educational and Psychological
    Measurement 20 (1960).
    """
    n = sum(counts.values())
    if not n:
        return math.nan
    first, second = Counter[Label](), Counter[Label]()
    for (name, other), count in counts.items():
        first[name] += count
        second[other] += count
    by_chance = sum(first[label] * second[label] for label in first)
    same = sum(count for (name, other), count in counts.items() if name == other)
    return math.nan if by_chance == n * n else (same * n - by_chance) / (n * n - by_chance)


def kappa_of_clusters(
    counts: Iterable[tuple[Hashable | None, tuple[Label, Label], int]],
    *,
    confidence: float = CONFIDENCE,
) -> Estimate:
    """Return Cohen's kappa (agreement of two raters beyond chance) with its confidence interval.

    Use it if some runs depend on each other, such as the runs of one session. Such runs form a
    cluster. The interval is computed with the jackknife over clusters and Student's t.

    Args:
        counts: Triples: the cluster (such as a session ID), the labels of both raters as a pair,
            and the number of runs. The cluster is None for runs that are independent.
        confidence: Confidence level of the interval, between 0 and 1.

    Returns:
        Kappa, from -1 to 1, and its interval. NaN if both raters gave all runs the same label.

    Raises:
        ValueError: There is no run.

    Source: Efron and Tibshirani, An introduction to the bootstrap (1993), chapter 11.
    """
    alone, clusters = Counter[tuple[Label, Label]](), defaultdict[Hashable, Counter[Any]](Counter)
    for cluster, labels, count in counts:
        (alone if cluster is None else clusters[cluster])[labels] += count
    tables: list[tuple[Mapping[tuple[Label, Label], int], int]]
    tables = [({labels: 1}, count) for labels, count in alone.items()]
    return kappa_of_tables([*tables, *((of, 1) for of in clusters.values())], confidence=confidence)


def kappa_of_tables(
    tables: Iterable[tuple[Mapping[tuple[Label, Label], int], int]],
    *,
    confidence: float = CONFIDENCE,
) -> Estimate:
    """Return Cohen's kappa with its confidence interval, from the confusion tables of clusters.

    A cluster is a group of runs that depend on each other, such as a session. The result is the
    same as that of `kappa_of_clusters`, but is found faster if many clusters have the same table.

    Args:
        tables: Pairs: a confusion table (number of runs by pair of labels), and the number of
            clusters that have it.
        confidence: Confidence level of the interval, between 0 and 1.

    Returns:
        Kappa, from -1 to 1, and its interval. NaN if both raters gave all runs the same label.

    Raises:
        ValueError: There is no run.
    """
    parts = [(Counter(table), count) for table, count in tables]
    every = Counter[tuple[Label, Label]]()
    for part, count in parts:
        for labels, runs in part.items():
            every[labels] += runs * count
    n, groups = every.total(), sum(count for _, count in parts)
    if not n:
        raise ValueError("No runs: expected at least one")
    value = cohen_kappa(every)
    without = [(cohen_kappa(every - part), count) for part, count in parts]
    if groups == 1 or any(math.isnan(value) for value, _ in without):
        return Estimate(value, -1.0, 1.0, n, groups)
    counts = [count for _, count in without]
    mean = sum_counted((value for value, _ in without), counts) / groups
    squares = sum_counted((floats.square(value - mean) for value, _ in without), counts)
    half = student_quantile((1 + confidence) / 2, groups - 1) * math.sqrt(
        squares * (groups - 1) / groups
    )
    return Estimate(value, max(value - half, -1.0), min(value + half, 1.0), n, groups)


def krippendorff_alpha(units: Sequence[Sequence[Hashable]], level: Level = "nominal") -> float:
    """Return Krippendorff's alpha: how far several raters agree beyond chance.

    Not every rater needs to answer for every run.

    Args:
        units: For each run, the answers of its raters, in any order. Runs with fewer than two
            answers are ignored.
        level: Type of the answers: `nominal` for labels, `ordinal` for ranks, `interval` for
            numbers.

    Returns:
        1 for full agreement. 0 if the raters agree as often as by chance, and negative if less
        often. NaN if no run has two answers, or if all answers are equal.

    Raises:
        ValueError: The level is unknown.

    Source: Krippendorff, Computing Krippendorff's alpha-reliability (2011); Content analysis
    (2004), chapter 11.
    """
    if level not in _MEASUREMENT_LEVELS:
        raise ValueError(
            f"Invalid level {level!r}: expected one of {', '.join(_MEASUREMENT_LEVELS)}"
        )
    weights: dict[tuple[Hashable, Hashable], list[float]] = {}
    for unit in units:
        entries, m = Counter(unit), len(unit)
        if m <= 1:
            continue
        for (name, count), (other, counted) in product(entries.items(), repeat=2):
            share = count * (counted - (name == other)) / (m - 1)
            weights.setdefault((name, other), []).append(share)
    together = {pair: math.fsum(of) for pair, of in weights.items()}
    totals: dict[Hashable, float] = {}
    for (name, _), weight in together.items():
        totals[name] = totals.get(name, 0.0) + weight
    n = math.fsum(totals.values())
    distance = _distance(level, totals)
    seen = math.fsum(weight * distance(*pair) for pair, weight in together.items())
    chance = math.fsum(
        totals[label] * totals[other] * distance(label, other)
        for label, other in product(totals, repeat=2)
    )
    return math.nan if not chance else 1 - (n - 1) * seen / chance


def _distance(
    level: Level, totals: Mapping[Hashable, float]
) -> Callable[[Hashable, Hashable], float]:
    """Return the squared distance of two answers."""
    if level == "nominal":
        return lambda entry, other: float(entry != other)
    places: dict[Hashable, float] = {value: float(value) for value in totals}  # type: ignore[arg-type]  # numbers
    if level == "ordinal":
        # The rank of a value is the number of smaller answers plus half of the equal ones.
        below = 0.0
        for value in sorted(places, key=places.__getitem__):
            places[value] = below + totals[value] / 2
            below += totals[value]
    return lambda entry, other: floats.square(places[entry] - places[other])
