"""How a version of a judge differs from another one: runs that both judged, in pairs."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

from otel_ml.statistics.agreement import kappa_of_tables
from otel_ml.statistics.intervals import ClusterSum, ClusterSums, Estimate
from otel_ml.statistics.verdict import (
    ItemGroup,
    JudgeScore,
    JudgeVerdict,
    PassCounts,
    ScoredRun,
    compare_groups,
    compare_passes,
    compare_scores,
    estimate_mean,
)

_JUDGE: Final = "judge"
_OF_RATES: Final = ("more lenient", "stricter")
_OF_SCORES: Final = ("higher", "lower")
# Whether a run passed before, and now, in the order of `PassCounts`.
_CELLS: Final = ((True, True), (True, False), (False, True), (False, False))


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
    words = [(item.before.passed, item.after.passed) for item in heard]
    if all(word is None for pair in words for word in pair):
        return _compare_scores(heard, margin)
    clusters = defaultdict[str, Counter[Any]](Counter)
    tables = Counter[PassCounts]()
    for item, (first, second) in zip(heard, words, strict=True):
        if first is None or second is None:
            continue
        if item.cluster:
            clusters[item.cluster][first, second] += item.count
        else:
            tables[_count_cells({(first, second): 1})] += item.count
    tables.update(_count_cells(cells) for cells in clusters.values())
    n = sum(item.count for item in heard)
    before, after = (
        sum(item.count for item, pair in zip(heard, words, strict=True) if pair[side] is None) / n
        for side in (0, 1)
    )
    return compare_pass_counts(tables, margin=margin, missing=(before, after))


def compare_pass_counts(
    clusters: Mapping[PassCounts, int],
    *,
    margin: float | None = None,
    missing: tuple[float, float] = (0.0, 0.0),
) -> JudgeVersionChange:
    """Compare as `compare_judge_versions` does passes that are counted: the digits are the same.

    Args:
        clusters: How many clusters of runs there are of each content, see
            `otel_ml.statistics.verdict.compare_passes`.
        margin: A difference below it does not matter; 0.02 by default.
        missing: Which share of the runs has no pass by the version before, and by the other one.
    """
    verdict = replace(
        compare_passes(_JUDGE, clusters, margin=margin, missing=missing), directions=_OF_RATES
    )
    table, same = Counter[tuple[bool, bool]](), Counter[ClusterSum]()
    for content, count in clusters.items():
        for cell, runs in zip(_CELLS, content, strict=True):
            table[cell] += runs * count
        same[float(content[0] + content[3]), sum(content)] += count
    table = +table
    if not table:
        return JudgeVersionChange(verdict, table)
    tables = [
        (dict(zip(_CELLS, content, strict=True)), count) for content, count in clusters.items()
    ]
    return JudgeVersionChange(
        verdict, table, estimate_mean(same, is_rate=True), kappa_of_tables(tables)
    )


def compare_score_sums(
    sums: tuple[ClusterSums, ClusterSums, ClusterSums],
    *,
    deviation: float,
    is_clustered: bool,
    missing: tuple[float, float] = (0.0, 0.0),
) -> JudgeVersionChange:
    """Compare as `compare_judge_versions` does scores that are summed: the digits are the same.

    Args:
        sums: See `otel_ml.statistics.verdict.compare_scores`, as the others.
        deviation: Of the scores before.
        is_clustered: Whether any cluster has several runs.
        missing: Which share of the runs has no score before, and now.
    """
    verdict = compare_scores(
        _JUDGE, sums, deviation=deviation, is_clustered=is_clustered, missing=missing
    )
    return JudgeVersionChange(replace(verdict, directions=_OF_SCORES), {})


def _count_cells(cells: Mapping[tuple[bool, bool], int]) -> PassCounts:
    both, first, second, neither = (cells.get(cell, 0) for cell in _CELLS)
    return both, first, second, neither


def _compare_scores(heard: Sequence[TwiceJudged], margin: float | None) -> JudgeVersionChange:
    if max(_sizes(heard).values(), default=1) == 1:
        heard = [replace(item, cluster="") for item in heard]
    verdict = _compare(heard, {} if margin is None else {_JUDGE: margin})
    return JudgeVersionChange(replace(verdict, directions=_OF_SCORES), {})


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
