"""Compares two versions of a judge on the runs that both scored."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from otel_ml.statistics.agreement import kappa_of_tables
from otel_ml.statistics.comparison import Direction, FigureComparison
from otel_ml.statistics.intervals import ClusterSum, ClusterSums, Estimate
from otel_ml.statistics.paired import PassCounts, compare_passes, compare_scores, estimate_mean
from otel_ml.statistics.scored_runs import ItemGroup, JudgeScore, ScoredRun
from otel_ml.statistics.verdict import compare_groups

_JUDGE: Final = "judge"
# Whether a run passed before and whether it passed after, in the order of `PassCounts`.
_CELLS: Final = ((True, True), (True, False), (False, True), (False, False))


@dataclass(frozen=True, slots=True)
class TwiceJudged:
    """Results of two versions of a judge for one run, or for several runs with equal results.

    Attributes:
        before: Result of the older version.
        after: Result of the newer version.
        cluster: ID of the session, or of another group of runs that depend on each other. Empty for
            an independent run.
        count: Number of runs. All have this cluster and these two results.
    """

    before: JudgeScore
    after: JudgeScore
    cluster: str = ""
    count: int = 1


@dataclass(frozen=True)
class JudgeVersionChange:
    """How two versions of a judge differ on the same runs, such as which one is stricter.

    Attributes:
        comparison: Both pass rates or mean scores, and their difference.
        table: Number of runs by result of the old and the new version. For example, ``table[True,
            False]`` is the number of runs that pass with the old and fail with the new version.
        agreement: Share of runs with the same result from both versions. None if the judge has no
            pass or fail.
        kappa: Cohen's kappa, that is agreement beyond chance. None if the judge has no pass or
            fail. NaN if all runs have the same result.
    """

    comparison: FigureComparison
    table: Mapping[tuple[bool, bool], int]
    agreement: Estimate | None = None
    kappa: Estimate | None = None

    @property
    def runs(self) -> int:
        """Number of runs that both versions scored."""
        return self.comparison.runs

    @property
    def to_fail(self) -> int:
        """Number of runs that passed before and fail now."""
        return self.table.get((True, False), 0)

    @property
    def to_pass(self) -> int:
        """Number of runs that failed before and pass now."""
        return self.table.get((False, True), 0)

    @property
    def word(self) -> str:
        """``stricter``, ``more lenient``, ``no difference`` or ``not enough data``.

        For scores, ``lower`` or ``higher`` instead of stricter or more lenient.
        """
        return self.comparison.named_word


def compare_judge_versions(
    pairs: Iterable[TwiceJudged],
    *,
    margin: float | None = None,
) -> JudgeVersionChange:
    """Compare two versions of a judge on the runs that both scored.

    A run is left out if one of the versions raised an error.

    Args:
        pairs: Results of both versions for each run, in any order.
        margin: Smallest difference that matters. Default: 0.02 for pass rates. For scores, a tenth
            of the standard deviation of the old version's scores.

    Raises:
        ValueError: No run was scored by both versions.

    Spec: evaluations, sections 2 and 4.
    """
    heard = [partner for partner in pairs if not (partner.before.failed or partner.after.failed)]
    if not heard:
        raise ValueError("No runs: expected at least one that both versions scored")
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
    """Compare two versions of a judge that returns pass or fail, from counts of runs.

    Gives the same result as `compare_judge_versions`, but needs no list of runs.

    Args:
        clusters: Number of clusters, such as sessions, by their results. The results of a cluster
            are four counts of its runs: passed with both versions, only with the old one, only with
            the new one, with neither. ``{(2, 1, 0, 0): 5}`` means: in five clusters, two runs each
            passed with both versions and one run only with the old version.
        margin: Smallest difference that matters. Default: 0.02.
        missing: Share of the runs without a pass or fail, for the old and for the new version.
    """
    comparison = _without_direction(
        compare_passes(_JUDGE, clusters, margin=margin, missing=missing)
    )
    table, same = Counter[tuple[bool, bool]](), Counter[ClusterSum]()
    for content, count in clusters.items():
        for cell, runs in zip(_CELLS, content, strict=True):
            table[cell] += runs * count
        same[float(content[0] + content[3]), sum(content)] += count
    table = +table
    if not table:
        return JudgeVersionChange(comparison, table)
    tables = [
        (dict(zip(_CELLS, content, strict=True)), count) for content, count in clusters.items()
    ]
    return JudgeVersionChange(
        comparison, table, estimate_mean(same, is_rate=True), kappa_of_tables(tables)
    )


def compare_score_sums(
    sums: tuple[ClusterSums, ClusterSums, ClusterSums],
    *,
    deviation: float,
    is_clustered: bool,
    missing: tuple[float, float] = (0.0, 0.0),
) -> JudgeVersionChange:
    """Compare two versions of a judge that returns scores, from sums of scores.

    Gives the same result as `compare_judge_versions`, but needs no list of runs.

    Args:
        sums: Three lists: for the old scores, the new scores, and their differences. Each has one
            entry per cluster, such as a session: the sum over its runs, and the number of runs.
        deviation: Standard deviation of the old version's scores.
        is_clustered: Whether any cluster has several runs.
        missing: Share of the runs without a score, for the old and for the new version.
    """
    comparison = compare_scores(
        _JUDGE, sums, deviation=deviation, is_clustered=is_clustered, missing=missing
    )
    return JudgeVersionChange(_without_direction(comparison), {})


def _without_direction(comparison: FigureComparison) -> FigureComparison:
    """Return the comparison of two judge versions: neither is better than the other."""
    return replace(comparison, direction=Direction.NONE)


def _count_cells(cells: Mapping[tuple[bool, bool], int]) -> PassCounts:
    both, first, second, neither = (cells.get(cell, 0) for cell in _CELLS)
    return both, first, second, neither


def _compare_scores(heard: Sequence[TwiceJudged], margin: float | None) -> JudgeVersionChange:
    if max(_sizes(heard).values(), default=1) == 1:
        heard = [replace(item, cluster="") for item in heard]
    comparison = _compare(heard, {} if margin is None else {_JUDGE: margin})
    return JudgeVersionChange(_without_direction(comparison), {})


def _sizes(pairs: Iterable[TwiceJudged]) -> Mapping[str, int]:
    """Return the number of runs of each cluster."""
    sizes = Counter[str]()
    for partner in pairs:
        if partner.cluster:
            sizes[partner.cluster] += partner.count
    return sizes


def _compare(pairs: Sequence[TwiceJudged], margin: Mapping[str, float]) -> FigureComparison:
    """Compare the results as items of an experiment, as if one judge version had scored both."""

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
