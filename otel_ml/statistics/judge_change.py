"""How a version of a judge differs from another one: runs that both judged, in pairs."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

from otel_ml.statistics.agreement import kappa_of_clusters
from otel_ml.statistics.intervals import Estimate
from otel_ml.statistics.verdict import (
    ItemGroup,
    JudgeScore,
    JudgeVerdict,
    ScoredRun,
    compare_groups,
    estimate_mean,
    sum_clusters,
)

_JUDGE: Final = "judge"
_OF_RATES: Final = ("more lenient", "stricter")
_OF_SCORES: Final = ("higher", "lower")


@dataclass(frozen=True, slots=True)
class TwiceJudged:
    """Runs of which two versions of a judge said the same each, counted together.

    Attributes:
        before: The word of the version to compare with.
        after: The word of the other one.
        cluster: What the runs belong to, such as a session; empty for a run that stands alone.
        count: How many runs there are.
    """

    before: JudgeScore
    after: JudgeScore
    cluster: str = ""
    count: int = 1


@dataclass(frozen=True)
class JudgeVersionChange:
    """How what a version of a judge says differs from what another one said of the same runs.

    Attributes:
        verdict: Both pass rates, or mean scores, and their difference.
        table: Of runs that both passed or failed: how many, by the word before and after.
        agreement: The share of those runs of which both said the same; None without such runs.
        kappa: The same beyond chance; None without such runs, nan where all had one word.
    """

    verdict: JudgeVerdict
    table: Mapping[tuple[bool, bool], int]
    agreement: Estimate | None = None
    kappa: Estimate | None = None

    @property
    def runs(self) -> int:
        """How many runs both versions judged."""
        return 0 if self.verdict.difference is None else self.verdict.difference.n

    @property
    def to_fail(self) -> int:
        """How many runs passed before and fail now."""
        return self.table.get((True, False), 0)

    @property
    def to_pass(self) -> int:
        """How many runs failed before and pass now."""
        return self.table.get((False, True), 0)

    @property
    def word(self) -> str:
        """Stricter, more lenient, no different or inconclusive; of scores lower or higher."""
        up, down = self.verdict.directions
        return {"better": up, "worse": down}.get(self.verdict.word, self.verdict.word)

    @cached_property
    def sentence(self) -> str:
        """How they differ, in words."""
        verdict = self.verdict.sentence
        if self.agreement is None:
            return verdict
        same, n = self.agreement, self.agreement.n
        kappa = self.kappa
        beyond = "" if kappa is None or kappa.value != kappa.value else f", kappa {kappa.value:.2f}"
        return (
            f"{verdict}; both say the same of {round(same.value * n):,} of {n:,} runs "
            f"({100 * same.value:.1f} %{beyond}), {self.to_fail:,} turn to fail and "
            f"{self.to_pass:,} to pass"
        )


def compare_judge_versions(
    pairs: Iterable[TwiceJudged],
    *,
    margin: float | None = None,
) -> JudgeVersionChange:
    """Compare what two versions of a judge said of the same runs.

    Runs on which either failed are left out: an error of the judge is no word about the run.

    Args:
        pairs: The runs, in any order.
        margin: A difference below it does not matter; 0.02 of a rate, a tenth of the standard
            deviation before of a score, unless told.

    Raises:
        ValueError: There is no run that both judged.

    Spec: evaluations, sections 2 and 4.
    """
    heard = [partner for partner in pairs if not (partner.before.failed or partner.after.failed)]
    if not heard:
        raise ValueError("No runs: expected at least one that both versions judged")
    if max(_sizes(heard).values(), default=1) == 1:
        heard = [replace(item, cluster="") for item in heard]
    verdict = _compare(heard, {} if margin is None else {_JUDGE: margin})
    directions = _OF_RATES if verdict.is_rate else _OF_SCORES
    verdict = replace(verdict, directions=directions)
    tables: list[tuple[str | None, tuple[bool, bool], int]] = [
        (item.cluster or None, (item.before.passed, item.after.passed), item.count)
        for item in heard
        if item.before.passed is not None and item.after.passed is not None
    ]
    table = Counter[tuple[bool, bool]]()
    for _, cell, count in tables:
        table[cell] += count
    if not table:
        return JudgeVersionChange(verdict, table)
    same = sum_clusters((cluster, float(word == other), n) for cluster, (word, other), n in tables)
    return JudgeVersionChange(
        verdict, table, estimate_mean(same, is_rate=True), kappa_of_clusters(tables)
    )


def _sizes(pairs: Iterable[TwiceJudged]) -> Mapping[str, int]:
    """Count the runs of each cluster."""
    sizes = Counter[str]()
    for partner in pairs:
        if partner.cluster:
            sizes[partner.cluster] += partner.count
    return sizes


def _compare(pairs: Sequence[TwiceJudged], margin: Mapping[str, float]) -> JudgeVerdict:
    """Pair the words as those of items, whose judge has one version."""

    def run(word: JudgeScore, cluster: str) -> tuple[ScoredRun]:
        return (ScoredRun(cluster=cluster, scores={_JUDGE: replace(word, version="")}),)

    groups = [
        ItemGroup(
            str(place),
            run(partner.before, partner.cluster),
            run(partner.after, partner.cluster),
            partner.count,
        )
        for place, partner in enumerate(pairs)
    ]
    return compare_groups(groups, margin=margin).judges[_JUDGE]
