"""Measures how well a single column predicts a label, on rows that were not used for fitting."""

import math
import random
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from typing import Final, TypeVar

Label = TypeVar("Label", bound=Hashable)

_TESTED_ROWS: Final = 100_000
_FOLDS: Final = 5
_BINS: Final = 64
_CLASSES: Final = 50
_SEED: Final = 7

Cell = Hashable


def cut(values: Sequence[float | None]) -> list[Cell]:
    """Sort numbers into at most 64 bins of equal counts. A missing value stays None."""
    ordered = sorted(value for value in values if value is not None)
    steps = range(1, _BINS)
    edges = sorted({ordered[len(ordered) * step // _BINS] for step in steps}) if ordered else []
    return [None if value is None else bisect_right(edges, value) for value in values]


def explained_classes(cells: Sequence[Cell], labels: Sequence[Hashable]) -> float:
    """Return how well a single column predicts a class label. Close to 1 suggests a leak.

    The result is the share of the label's variance that the column explains (Brier skill score). It
    is measured by five-fold cross-validation.

    Args:
        cells: Value or bin of the column in each row.
        labels: Class of each row. All but the 50 most frequent classes count as one class.

    Returns:
        From 0 (explains nothing) to 1 (explains everything).

    Source: Brier, Verification of forecasts expressed in terms of probability, Monthly Weather
    Review 78 (1950). The skill is the improvement over predicting the shares of the classes.
    """
    cells, labels = _sample(cells, labels)
    known = {label for label, _ in Counter(labels).most_common(_CLASSES)}
    classes = [label if label in known else "\0rest" for label in labels]
    folds = _draw_folds(len(cells))
    total = Counter(classes)
    by_cell: defaultdict[Cell, Counter[Hashable]] = defaultdict(Counter)
    by_fold: list[defaultdict[Cell, Counter[Hashable]]] = [
        defaultdict(Counter) for _ in range(_FOLDS)
    ]
    for cell, label, fold in zip(cells, classes, folds, strict=True):
        by_cell[cell][label] += 1
        by_fold[fold][cell][label] += 1
    missed = missed_by_shares = 0.0
    for own_counts in by_fold:
        here: Counter[Hashable] = Counter()
        for counts in own_counts.values():
            here.update(counts)
        prior = _shares({label: total[label] - here[label] for label in total})
        squares = math.fsum(share * share for share in prior.values())
        for cell, counts in own_counts.items():
            others = by_cell[cell]
            seen = sum(others.values()) - sum(counts.values())
            shares = {
                label: (others[label] - counts[label] + prior[label]) / (seen + 1)
                for label in total
            }
            own_squares = math.fsum(share * share for share in shares.values())
            for label, count in counts.items():
                missed += count * (1 - 2 * shares[label] + own_squares)
                missed_by_shares += count * (1 - 2 * prior[label] + squares)
    return _skill(missed, missed_by_shares)


def explained_numbers(cells: Sequence[Cell], labels: Sequence[float]) -> float:
    """Return how well a single column predicts a numeric label. Close to 1 suggests a leak.

    The result is the share of the label's variance that the column explains, from 0 to 1. It is
    measured by five-fold cross-validation.

    Args:
        cells: Value or bin of the column in each row.
        labels: Number to predict in each row.
    """
    cells, labels = _sample(cells, labels)
    folds = _draw_folds(len(cells))
    middle = math.fsum(labels) / len(labels) if labels else 0.0
    sums: defaultdict[tuple[Cell, int], list[float]] = defaultdict(lambda: [0.0, 0.0])
    wholes: defaultdict[Cell, list[float]] = defaultdict(lambda: [0.0, 0.0])
    by_fold = [[0.0, 0.0] for _ in range(_FOLDS)]
    for cell, label, fold in zip(cells, labels, folds, strict=True):
        for part in (sums[cell, fold], wholes[cell], by_fold[fold]):
            part[0] += 1
            part[1] += label - middle
    missed = missed_by_mean = 0.0
    for cell, label, fold in zip(cells, labels, folds, strict=True):
        own_counts = by_fold[fold]
        others = max(len(labels) - own_counts[0], 1)
        prior = -own_counts[1] / others  # the deviations from the mean sum to 0
        own = sums[cell, fold]
        whole = wholes[cell]
        mean = (whole[1] - own[1] + prior) / (whole[0] - own[0] + 1)
        missed += (label - middle - mean) ** 2
        missed_by_mean += (label - middle - prior) ** 2
    return _skill(missed, missed_by_mean)


def _sample(
    cells: Sequence[Cell], labels: Sequence[Label]
) -> tuple[Sequence[Cell], Sequence[Label]]:
    if len(cells) <= _TESTED_ROWS:
        return cells, labels
    chosen = random.Random(_SEED).sample(range(len(cells)), _TESTED_ROWS)  # noqa: S311 - not secret
    return [cells[place] for place in chosen], [labels[place] for place in chosen]


def _draw_folds(count: int) -> list[int]:
    folds = [place % _FOLDS for place in range(count)]
    random.Random(_SEED).shuffle(folds)  # noqa: S311 - not secret
    return folds


def _shares(counts: Mapping[Hashable, int]) -> dict[Hashable, float]:
    total = sum(counts.values())
    return {label: count / total if total else 1 / len(counts) for label, count in counts.items()}


def _skill(missed: float, missed_before: float) -> float:
    return max(1 - missed / missed_before, 0.0) if missed_before > 0 else 0.0
