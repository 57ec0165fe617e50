"""Compares the runs of an experiment with those of a baseline, judge by judge."""

import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, get_args

from otel_ml.experiments.rows import ItemRun, by_item
from otel_ml.statistics.intervals import Estimate
from otel_ml.statistics.verdict import (
    JudgeScore,
    JudgeVerdict,
    ScoredRun,
    Verdict,
    Word,
    compare_items,
    estimate,
)

WORDS: Final = get_args(Word)

# An item by its id and digest, and its value by one judge.
Key = tuple[str, str]
Values = Mapping[Key, float]


@dataclass(frozen=True, slots=True)
class Comparison:
    """How a result is compared with its baseline, see the options of `otel_ml.evaluate`."""

    cluster: Callable[[ItemRun], object] | None = None
    margins: Mapping[str, float] = field(default_factory=dict)
    lower_is_better: frozenset[str] = frozenset()
    is_partial: bool = False


ALIKE: Final = Comparison()


@dataclass(frozen=True, slots=True)
class JudgeOutcome:
    """What came of one judge.

    Attributes:
        version: Of the judge.
        is_rate: Whether the values are passes, from 0 to 1; else scores.
        value: The mean over items, with its interval; None where there is none.
        baseline: That of the baseline.
        difference: Of the items in common, now less before, shared over all judges.
        margin: How much is a difference at all.
        word: better, worse, no different or inconclusive; empty without a baseline.
        why: Why it is inconclusive, and what would show more.
        lower_is_better: Whether lower scores are the better ones.
        sentence: All of it in words; empty without a baseline.
    """

    version: str
    is_rate: bool
    value: Estimate | None
    baseline: Estimate | None = None
    difference: Estimate | None = None
    margin: float = 0.0
    word: str = ""
    why: str = ""
    lower_is_better: bool = False
    sentence: str = ""

    @property
    def rate(self) -> float | None:
        """The share that passed; None of scores."""
        return self.value.value if self.is_rate and self.value is not None else None

    @property
    def score(self) -> float | None:
        """The mean over items."""
        return None if self.value is None else self.value.value

    @property
    def is_no_worse(self) -> bool:
        """Whether it is shown to be no worse than the margin."""
        if self.difference is None:
            return False
        if self.lower_is_better:
            return self.difference.high <= self.margin
        return self.difference.low >= -self.margin


def values_of(judge: str, runs: Sequence[ItemRun], *, is_rate: bool, worst: float) -> Values:
    """Return the value of each item by a judge: the mean of its repeats.

    A run that failed has not passed, and has the worst score that was seen; one whose judge failed
    has no value.
    """
    found: dict[Key, float] = {}
    for key, repeats in by_item(runs).items():
        values = [_value(judge, run, is_rate=is_rate, worst=worst) for run in repeats]
        known = [value for value in values if value is not None]
        if known:
            found[key] = math.fsum(known) / len(known)
    return found


def _value(judge: str, run: ItemRun, *, is_rate: bool, worst: float) -> float | None:
    if run.outcome != "ok":
        return 0.0 if is_rate else worst
    said = run.judgements.get(judge)
    if said is None or said.error is not None:
        return None
    if is_rate:
        return None if said.passed is None else float(said.passed)
    return said.score


def verdict_of(
    now: Sequence[ItemRun], before: Sequence[ItemRun], comparison: Comparison
) -> Verdict:
    """Compare the runs over the items that both have."""
    return compare_items(
        [_scored(run, comparison) for run in before],
        [_scored(run, comparison) for run in now],
        margin=comparison.margins,
        lower_is_better=comparison.lower_is_better,
        partial=comparison.is_partial,
    )


def _scored(run: ItemRun, comparison: Comparison) -> ScoredRun:
    cluster = "" if comparison.cluster is None else str(comparison.cluster(run))
    return ScoredRun(
        item=run.item,
        digest=run.digest,
        cluster="" if cluster == run.item else cluster,
        tags={name: str(value) for name, value in run.tags.items()},
        is_error=run.outcome != "ok",
        scores={
            name: JudgeScore(one.passed, one.score, one.version, one.error is not None)
            for name, one in run.judgements.items()
        },
        latency=run.latency_ms,
        cost=run.cost,
    )


def outcome_of(
    judge: str,
    version: str,
    runs: Sequence[ItemRun],
    comparison: Comparison,
    compared: JudgeVerdict | None,
    *,
    has_baseline: bool,
) -> JudgeOutcome:
    """Say what came of one judge.

    Args:
        judge: Its name.
        version: Its version now.
        runs: All runs.
        comparison: How they are compared.
        compared: What is said of it beside the baseline; None where nothing is.
        has_baseline: Whether there is one.
    """
    said = [run.judgements[judge] for run in runs if judge in run.judgements]
    is_rate = any(one.passed is not None for one in said)
    is_lower = judge in comparison.lower_is_better
    scores = [one.score for one in said if one.score is not None]
    worst = (max(scores) if is_lower else min(scores)) if scores else 0.0
    values = values_of(judge, runs, is_rate=is_rate, worst=worst)
    clusters = _clusters(runs, comparison)
    clustered = [(clusters[key], value) for key, value in values.items()]
    value = estimate(clustered, is_rate=is_rate) if clustered else None
    if compared is None:
        word, why = ("inconclusive", "it has no value in both") if has_baseline else ("", "")
        return JudgeOutcome(version, is_rate, value, word=word, why=why, lower_is_better=is_lower)
    return JudgeOutcome(
        version,
        compared.is_rate,
        value,
        compared.baseline,
        compared.difference,
        compared.margin,
        compared.word,
        "; ".join(compared.reasons),
        is_lower,
        compared.sentence,
    )


def _clusters(runs: Iterable[ItemRun], comparison: Comparison) -> dict[Key, Hashable]:
    """Return what each item belongs to; an item that stands alone is its own cluster."""
    found: dict[Key, Hashable] = {}
    for run in runs:
        key = (run.item, run.digest)
        if key not in found:
            cluster = key if comparison.cluster is None else comparison.cluster(run)
            found[key] = cluster if isinstance(cluster, Hashable) else repr(cluster)
    return found
