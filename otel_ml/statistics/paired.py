"""Compares figures by the items that two experiments, or two versions of a judge, both have."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Final

from otel_ml.statistics import floats
from otel_ml.statistics.comparison import (
    AMOUNT_MARGIN,
    FAILED_CALLS,
    LEAST_CLUSTERS,
    LEAST_ITEMS,
    RATE_MARGIN,
    Basis,
    Caveat,
    CaveatKind,
    Direction,
    FigureComparison,
    FigureSide,
    Method,
    Unit,
    Word,
    decide,
    has_few_units,
    make_additive,
    make_unbounded,
    score_margin,
)
from otel_ml.statistics.exact import exact_difference, sign_flip_p
from otel_ml.statistics.intervals import (
    CONFIDENCE,
    ClusterSum,
    ClusterSums,
    Estimate,
    cluster_mean,
    cluster_p,
    cluster_rate,
    count_clusters,
    exponential,
    mcnemar_mid_p,
    needed,
    newcombe_paired,
    sum_counted,
    sum_logs,
    wilson,
)
from otel_ml.statistics.scored_runs import (
    AMOUNT_UNITS,
    CountedRuns,
    ItemPairs,
    ScoredRun,
    find_mean,
)

# The share of failed calls is worse from 2 points on. The 1e-9 allows for rounding.
_FAILURE_MARGIN: Final = 0.02 - 1e-9
# Smaller differences per run in latency (ms) or cost ($) do not matter, even if they are a large
# share.
LEAST_AMOUNTS: Final[Mapping[str, float]] = {"latency": 10.0, "cost": 0.0001}
# Number of a cluster's runs that passed both times, only before, only now, and never.
PassCounts = tuple[int, int, int, int]
# Counts for a cluster of one run, by whether it passed before and now.
_ALONE: Final[Mapping[tuple[int, int], PassCounts]] = {
    (1, 1): (1, 0, 0, 0),
    (1, 0): (0, 1, 0, 0),
    (0, 1): (0, 0, 1, 0),
    (0, 0): (0, 0, 0, 1),
}
MOST_MISSING: Final = 0.05


def is_other_version(before: Sequence[str], after: Sequence[str]) -> bool:
    """Return whether more than one version of a judge scored the runs of baseline and candidate.

    Scores of different versions cannot be compared. The result is False if the judge scored only
    one of the two.

    Args:
        before: Versions of the judge that scored the baseline.
        after: Versions of the judge that scored the candidate.
    """
    return bool(before and after) and len({*before, *after}) > 1


@dataclass(frozen=True, slots=True)
class ItemStep:
    """One judge's result for one item in the baseline and in the candidate.

    If an item was run several times, the values are means over these repeats.

    Attributes:
        is_rate: True if the judge passes or fails runs. `before` and `after` are then shares of
            repeats that passed. If False, they are mean scores.
        before: Value in the baseline.
        after: Value in the candidate.
        change: Change of the value. Below 0 is worse. For scores, the unit is the standard
            deviation of the baseline, and changes below the margin are 0.
        scores: Mean scores in the baseline and in the candidate. None if there is no score.
        fall: Change of the mean score, in the judge's own unit. Below 0 is worse. It is also set
            for judges that pass or fail runs. Positive or negative infinity if only one of the two
            experiments has a score.
    """

    is_rate: bool
    before: float
    after: float
    change: float
    scores: tuple[float | None, float | None] = (None, None)
    fall: float = 0.0


def compare_passes(
    judge: str,
    clusters: Mapping[PassCounts, int],
    *,
    margin: float | None = None,
    missing: tuple[float, float] = (0.0, 0.0),
) -> FigureComparison:
    """Compare the pass rates of two versions of a judge on the same runs, from counts of runs.

    Gives the same result as a comparison of single runs, but needs no list of runs.

    Args:
        judge: Name of the judge.
        clusters: Number of clusters, such as sessions, by their results. The results of a cluster
            are four counts of its runs: passed with both versions, only with the old one, only with
            the new one, with neither. ``{(2, 1, 0, 0): 5}`` means: in five clusters, two runs each
            passed with both versions and one run only with the old version. An independent run is
            a cluster of one run.
        margin: Smallest difference that matters. Default: 0.02.
        missing: Share of the runs without a pass or fail, for the old and for the new version.
    """
    sums = [Counter[ClusterSum](), Counter[ClusterSum](), Counter[ClusterSum]()]
    for (both, first, second, neither), count in clusters.items():
        n = both + first + second + neither
        for of, value in zip(sums, (both + first, both + second, second - first), strict=True):
            of[float(value), n] += count
    is_clustered = any(sum(content) > 1 for content in clusters)
    table = {
        cell: clusters.get(content, 0)
        for cell, content in _ALONE.items()
        if not is_clustered and clusters
    }
    judged = JudgedItems(
        judge=judge,
        is_rate=True,
        lower_is_better=False,
        versions=(("",), ("",)),
        of_failed=0.0,
        margin=RATE_MARGIN if margin is None else margin,
        missing=missing,
    )
    before, after, change = sums
    pair_sums = _PairSums(before, after, change, table, is_clustered)
    return _weigh(judged, pair_sums, CONFIDENCE, "")


def compare_scores(
    judge: str,
    sums: tuple[ClusterSums, ClusterSums, ClusterSums],
    *,
    deviation: float,
    is_clustered: bool,
    margin: float | None = None,
    missing: tuple[float, float] = (0.0, 0.0),
) -> FigureComparison:
    """Compare the scores of two versions of a judge on the same runs, from sums of scores.

    Gives the same result as a comparison of single runs, but needs no list of runs.

    Args:
        judge: Name of the judge.
        sums: Three lists: for the old scores, the new scores, and their differences. Each has one
            entry per cluster (such as a session): the sum over its runs, and the number of runs.
        deviation: Standard deviation of the old version's scores.
        is_clustered: Whether any cluster has several runs.
        margin: Smallest difference that matters. Default: a tenth of `deviation`.
        missing: Share of the runs without a score, for the old and for the new version.
    """
    judged = JudgedItems(
        judge=judge,
        is_rate=False,
        lower_is_better=False,
        versions=(("",), ("",)),
        of_failed=None,
        margin=score_margin(deviation, _mean_of_sums(sums[0])) if margin is None else margin,
        missing=missing,
    )
    return _weigh(judged, _PairSums(*sums, {}, is_clustered), CONFIDENCE, "")


@dataclass(frozen=True, slots=True)
class JudgedItems:
    """How to read the values of one judge from runs, and how many of them are missing."""

    judge: str
    is_rate: bool
    lower_is_better: bool
    versions: tuple[Sequence[str], Sequence[str]]
    of_failed: float | None
    margin: float = 0.0
    deviation: float = 1.0
    missing: tuple[float, float] = (0.0, 0.0)
    answered: tuple[bool, bool] = (True, True)

    @classmethod
    def of(
        cls,
        judge: str,
        before: CountedRuns,
        after: CountedRuns,
        lower_is_better: bool,
        margin: float | None = None,
    ) -> "JudgedItems":
        """Find the kind of a judge, its margin, and how many runs of each side it scored."""
        items = [
            [run.scores[judge] for run, _ in runs if judge in run.scores]
            for runs in (before, after)
        ]
        every = [item for side in items for item in side]
        is_rate = any(item.passed is not None for item in every)
        versions = [tuple(sorted({item.version for item in side})) for side in items]
        of_failed = float(lower_is_better) if is_rate else None
        made = cls(judge, is_rate, lower_is_better, (versions[0], versions[1]), of_failed)
        answered = [any(not run.is_error for run, _ in runs) for runs in (before, after)]
        values = [
            [(made.value(run), count) for run, count in runs if is_rate or not run.is_error]
            for runs in (before, after)
        ]
        missing = [
            sum(count for value, count in side if value is None) / sum(count for _, count in side)
            if side
            else 1.0
            for side in values
        ]
        known = [(value, count) for value, count in values[0] if value is not None]
        deviation = _deviation(known)
        if margin is None:
            margin = RATE_MARGIN if is_rate else score_margin(deviation, _counted_mean(known))
        return replace(
            made,
            margin=margin,
            deviation=deviation or 1.0,
            missing=(missing[0], missing[1]),
            answered=(answered[0], answered[1]),
        )

    def value(self, run: ScoredRun) -> float | None:
        """Return the judge's value of a run. A failed call has not passed and has no score."""
        if run.is_error:
            return self.of_failed
        score = run.scores.get(self.judge)
        if score is None or score.failed:
            return None
        if self.is_rate:
            return None if score.passed is None else float(score.passed)
        return score.score

    def mean(self, runs: Sequence[ScoredRun]) -> float | None:
        """Return the mean value over the repeats of an item."""
        values = [value for run in runs if (value := self.value(run)) is not None]
        return floats.mean(values) if values else None

    def step(self, before: Sequence[ScoredRun], after: Sequence[ScoredRun]) -> ItemStep | None:
        """Return how an item changed. None if the baseline or the candidate has no value."""
        first, second = self.mean(before), self.mean(after)
        if first is None or second is None:
            return None
        change = self.turned(second - first)
        if not self.is_rate and abs(second - first) < self.margin:
            change = 0.0
        scores = self._score(before), self._score(after)
        down = -1.0 if self.lower_is_better else 1.0
        if scores[0] is None or scores[1] is None:
            fall = 0.0 if scores[0] is scores[1] else math.copysign(math.inf, change)
        else:
            fall = down * (scores[1] - scores[0])
        return ItemStep(self.is_rate, first, second, change, scores, fall)

    def _score(self, runs: Sequence[ScoredRun]) -> float | None:
        """Return the mean score over the repeats of an item."""
        scores = [run.scores[self.judge] for run in runs if self.judge in run.scores]
        return find_mean(
            [score.score for score in scores if score.score is not None and not score.failed]
        )

    def turned(self, change: float) -> float:
        """Return a change as a number below 0 if it is for the worse.

        For scores it is in standard deviations of the baseline.
        """
        return (-change if self.lower_is_better else change) / (
            1.0 if self.is_rate else self.deviation
        )

    def unlike(self) -> list[Caveat]:
        """Return why the judge's versions cannot be compared. Empty if they can."""
        for side, (versions, answered) in enumerate(zip(self.versions, self.answered, strict=True)):
            if not versions and answered:
                return [Caveat(CaveatKind.NOT_SCORED, side)]
            if not versions and not self.is_rate:
                return [Caveat(CaveatKind.ALL_FAILED, side)]
        if is_other_version(*self.versions):
            return [Caveat(CaveatKind.OTHER_VERSION, versions=self.versions)]
        return []


def compare_judge(
    judged: JudgedItems, pairs: ItemPairs, confidence: float, cluster: str
) -> FigureComparison:
    """Compare the scores of one judge. `cluster` is the key that groups dependent items."""
    sums = _PairSums.of(read_values(judged.mean, pairs), is_rate=judged.is_rate)
    return _weigh(judged, sums, confidence, cluster)


@dataclass(frozen=True, slots=True)
class _PairSums:
    """The values of pairs, summed per cluster.

    Attributes:
        table: Number of pairs by pass before and after, if all are independent passes. Else empty.
        is_clustered: Whether the pairs have clusters.
    """

    before: ClusterSums
    after: ClusterSums
    change: ClusterSums
    table: Mapping[tuple[int, int], int]
    is_clustered: bool

    @classmethod
    def of(cls, values: "_Values", *, is_rate: bool) -> "_PairSums":
        before, after = (
            sum_clusters((cluster, pair[side], count) for cluster, _, count, *pair in values)
            for side in (0, 1)
        )
        change, table = sum_change(values, is_rate=is_rate)
        return cls(before, after, change, table, any(cluster is not None for cluster, *_ in values))


def compare_failures(groups: ItemPairs, pairs: ItemPairs, cluster: str) -> FigureComparison | None:
    """Compare the shares of failed calls on the items that both have. None if no call failed.

    If both have no item in common, failures have risen only if every call of the candidate failed.
    """
    sides = attrgetter("before"), attrgetter("after")
    before, after = (
        _count_failed((run, part.count) for part in pairs or groups for run in side(part))
        for side in sides
    )
    if not before[0] + after[0]:
        return None
    sums = _PairSums.of(read_values(_failed_share, pairs), is_rate=True)
    change: Estimate | None = None
    own: tuple[Estimate | None, Estimate | None] = None, None
    if sums.change:
        change, _ = pair_difference(sums.change, sums.table, CONFIDENCE, is_rate=True)
        own = (estimate_mean(sums.before, is_rate=True), estimate_mean(sums.after, is_rate=True))
    word = Word.NOT_ENOUGH_DATA
    if _has_all_failed(after, before):
        word = Word.WORSE
    elif pairs and _has_all_failed(before, after):
        word = Word.BETTER
    elif change is not None:
        word = _decide_pairs(change, _FAILURE_MARGIN, lower_is_better=True)
    caveats = []
    if change is None:
        caveats.append(Caveat(CaveatKind.NO_SHARED_ITEMS))
    elif word == Word.NOT_ENOUGH_DATA and has_few_units(change):
        caveats.append(Caveat(CaveatKind.FEW_UNITS))
    if word == Word.WORSE and after[0] == after[1]:
        caveats.append(Caveat(CaveatKind.ALL_CALLS_FAIL, numbers=(after[1], *before)))
    failed = [part for part in pairs if any(run.is_error for run in part.before)]
    if word == Word.BETTER and failed:
        repaired = (part.count for part in failed if all(map(_has_passed, part.after)))
        numbers = sum(repaired), sum(part.count for part in failed)
        caveats.append(Caveat(CaveatKind.REPAIRED, numbers=numbers))
    return _make_paired(
        FAILED_CALLS,
        Unit.ERROR_SHARE,
        (*own, change),
        RATE_MARGIN,
        word,
        lower_is_better=True,
        basis=_rest_on_pairs(cluster if sums.is_clustered else None, caveats),
    )


def _make_paired(
    subject: str,
    unit: Unit,
    estimates: tuple[Estimate | None, Estimate | None, Estimate | None],
    margin: float,
    word: Word,
    *,
    lower_is_better: bool,
    basis: Basis,
) -> FigureComparison:
    """Describe the comparison of a figure by the items that both have.

    `estimates` are the values of the baseline and of the candidate, and their difference.
    """
    before, after, difference = estimates
    additive = make_additive(difference, unit.kind)
    least = math.log1p(margin) if unit.kind == "amount" else margin
    return FigureComparison(
        subject=subject,
        unit=unit,
        direction=Direction.of(lower_is_better=lower_is_better),
        baseline=FigureSide("", before),
        candidate=FigureSide("", after),
        difference=difference,
        margin=margin,
        word=word,
        basis=replace(
            basis,
            needed=None
            if additive is None
            else needed(additive, least, confidence=basis.confidence),
        ),
    )


def _rest_on_pairs(
    cluster: str | None, caveats: Sequence[Caveat], confidence: float = CONFIDENCE
) -> Basis:
    return Basis(
        method=Method.PAIRED,
        confidence=confidence,
        counted="items",
        cluster=cluster,
        waits_for=None,
        needed=None,
        smallest=None,
        caveats=caveats,
    )


def _count_failed(runs: Iterable[tuple[ScoredRun, int]]) -> tuple[int, int]:
    """Return the number of failed calls, and of all calls."""
    failed = calls = 0
    for run, count in runs:
        failed += count * run.is_error
        calls += count
    return failed, calls


def _has_all_failed(side: tuple[int, int], other: tuple[int, int]) -> bool:
    """Return whether every call of a side failed, and at least one of the other side did not."""
    return 0 < side[0] == side[1] and other[0] < other[1]


def _failed_share(runs: Sequence[ScoredRun]) -> float:
    return sum(run.is_error for run in runs) / len(runs)


def _has_passed(run: ScoredRun) -> bool:
    """Return whether a call was answered, and no judge with pass/fail failed the answer."""
    return not run.is_error and all(score.passed is not False for score in run.scores.values())


def _weigh(
    judged: JudgedItems, sums: _PairSums, confidence: float, cluster: str
) -> FigureComparison:
    """Decide by the sums of all pairs whether the candidate is better or worse, for one judge."""
    caveats = judged.unlike()
    is_unlike = bool(caveats)
    caveats += [
        Caveat(CaveatKind.MISSING_SCORES, side, (100 * (1 - share),))
        for side, share in enumerate(judged.missing)
        if share > MOST_MISSING and not is_unlike
    ]
    estimates: tuple[Estimate | None, Estimate | None, Estimate | None] = None, None, None
    word = Word.NOT_ENOUGH_DATA
    if sums.change and not is_unlike:
        change, _ = pair_difference(sums.change, sums.table, confidence, is_rate=judged.is_rate)
        before, after = (
            estimate_mean(side, is_rate=judged.is_rate) for side in (sums.before, sums.after)
        )
        estimates = before, after, change
        if not caveats:
            word = _decide_pairs(change, judged.margin, lower_is_better=judged.lower_is_better)
        if word == Word.NOT_ENOUGH_DATA and has_few_units(change):
            caveats.append(Caveat(CaveatKind.FEW_UNITS))
    elif not caveats:
        caveats = [Caveat(CaveatKind.NO_SHARED_ITEMS)]
    return _make_paired(
        judged.judge,
        Unit.PASSES if judged.is_rate else Unit.SCORE,
        estimates,
        judged.margin,
        word,
        lower_is_better=judged.lower_is_better,
        basis=_rest_on_pairs(cluster if sums.is_clustered else None, caveats, confidence),
    )


_Values = Sequence[tuple[str | None, bool, int, float, float]]


def read_values(mean: Callable[[Sequence[ScoredRun]], float | None], pairs: ItemPairs) -> _Values:
    """Return one tuple for each pair that has a value on both sides.

    It has the cluster, whether both sides have only one run, the number of equal items, the value
    before and the value after.
    """
    items = []
    for partner in pairs:
        first, second = mean(partner.before), mean(partner.after)
        if first is not None and second is not None:
            is_single = len(partner.before) == len(partner.after) == 1
            items.append((partner.cluster, is_single, partner.count, first, second))
    return items


def _are_independent(values: _Values) -> bool:
    """Return whether no two items share a cluster."""
    clustered = [(cluster, count) for cluster, _, count, *_ in values if cluster is not None]
    return len({cluster for cluster, _ in clustered}) == sum(count for _, count in clustered)


def sum_change(
    values: _Values, *, is_rate: bool
) -> tuple[ClusterSums, Mapping[tuple[int, int], int]]:
    """Sum the changes per cluster.

    Also count the passes of both sides if all items are independent.
    """
    table: Counter[tuple[int, int]] = Counter()
    if is_rate and all(is_single for _, is_single, *_ in values) and _are_independent(values):
        for _, _, count, first, second in values:
            table[round(first), round(second)] += count
    sums = sum_clusters(
        (cluster, second - first, count) for cluster, _, count, first, second in values
    )
    return sums, table


def pair_difference(
    change: ClusterSums,
    table: Mapping[tuple[int, int], int],
    confidence: float,
    *,
    is_rate: bool,
) -> tuple[Estimate, float]:
    """Return the mean difference of pairs, and its p-value; exact ones for few pairs.

    `table` counts independent pairs of passes, by whether they passed before and now. Else empty.
    """
    counts = count_clusters(change)
    n, clusters = sum(of * count for (_, of), count in counts.items()), sum(counts.values())
    if n < LEAST_ITEMS or clusters < LEAST_CLUSTERS:
        exact = exact_difference(change, confidence=confidence, of_rates=is_rate)
        return exact, sign_flip_p(change)
    if table:
        both, first, second, neither = (table.get(cell, 0) for cell in _ALONE)
        paired = newcombe_paired(both, first, second, neither, confidence=confidence)
        return paired, mcnemar_mid_p(first, second)
    mean = cluster_mean(change, confidence=confidence, of_rates=is_rate)
    return mean, cluster_p(change, of_rates=is_rate)


def estimate_mean(sums: ClusterSums, *, is_rate: bool, confidence: float = CONFIDENCE) -> Estimate:
    """Return the mean of clustered values with its interval.

    For independent passes, this is Wilson's interval. Otherwise it is computed by `cluster_rate` or
    `cluster_mean`.
    """
    if not is_rate:
        return cluster_mean(sums, confidence=confidence)
    counts = count_clusters(sums)
    if all(of == 1 and total in (0.0, 1.0) for total, of in counts):
        passed = sum(count for (name, _), count in counts.items() if name)
        return wilson(passed, sum(counts.values()), confidence=confidence)
    return cluster_rate(counts, confidence=confidence)


def sum_clusters(values: Iterable[tuple[Hashable | None, float, int]]) -> Counter[ClusterSum]:
    """Count how many clusters have the same sum and size.

    A value without a cluster counts as a cluster of its own.
    """
    entries: Counter[ClusterSum] = Counter()
    clusters: defaultdict[Hashable, list[tuple[float, int]]] = defaultdict(list)
    for cluster, value, count in values:
        if cluster is None:
            entries[value, 1] += count
        else:
            clusters[cluster].append((value, count))
    for of in clusters.values():
        if len(of) == 1 and of[0][1] == 1:
            entries[of[0]] += 1
            continue
        counts = [count for _, count in of]
        entries[sum_counted((value for value, _ in of), counts), sum(counts)] += 1
    return entries


def compare_amounts(
    pairs: ItemPairs,
    margins: Mapping[str, float],
    least: Mapping[str, float],
    time_share: float,
    cluster: str,
) -> dict[str, FigureComparison]:
    """Compare latency, tokens and cost by their geometric means.

    Args:
        pairs: The items that both ran.
        margins: Smallest relative difference that matters, by name. It replaces the next two.
        least: Smallest difference that matters in `latency` (ms) and `cost` ($).
        time_share: Smallest relative difference in latency that matters.
        cluster: Key that groups dependent items.
    """
    amounts = {}
    for name, unit in AMOUNT_UNITS.items():
        paired_amounts = [
            (group, *means)
            for partner in pairs
            for group in (partner.cluster,)
            for means in partner.amounts.get(name, ())
        ]
        if not paired_amounts:
            continue
        logs_changed, _ = pair_difference(sum_logs(paired_amounts), {}, CONFIDENCE, is_rate=False)
        ratio = exponential(logs_changed)
        logs = [math.log(first) for _, first, _ in paired_amounts]
        before = floats.exp(floats.mean(logs))
        share = time_share if name == "latency" else 0.0
        usual = max(AMOUNT_MARGIN, share, least.get(name, 0.0) / before)
        margin = margins.get(name, usual)
        change = replace(ratio, value=ratio.value - 1, low=ratio.low - 1, high=ratio.high - 1)
        word = _decide_pairs(change, margin, lower_is_better=True)
        is_few = word == Word.NOT_ENOUGH_DATA and has_few_units(ratio)
        is_clustered = any(group is not None for group, *_ in paired_amounts)
        amounts[name] = _make_paired(
            name,
            unit,
            (make_unbounded(before, ratio), make_unbounded(before * ratio.value, ratio), ratio),
            margin,
            word,
            lower_is_better=True,
            basis=_rest_on_pairs(
                cluster if is_clustered else None,
                [Caveat(CaveatKind.FEW_UNITS)] if is_few else [],
            ),
        )
    return amounts


def _decide_pairs(change: Estimate, margin: float, *, lower_is_better: bool) -> Word:
    """Turn the interval of paired values into a verdict. Few pairs never show "no difference"."""
    word = decide(change, margin, lower_is_better=lower_is_better)
    return Word.NOT_ENOUGH_DATA if word == Word.NO_DIFFERENCE and has_few_units(change) else word


def _counted_mean(values: Sequence[tuple[float, int]]) -> float:
    """Return the mean of counted values. 0 for none."""
    counts = [count for _, count in values]
    n = sum(counts)
    return sum_counted((value for value, _ in values), counts) / n if n else 0.0


def _mean_of_sums(sums: ClusterSums) -> float:
    """Return the mean of clustered values. 0 for none."""
    clusters = count_clusters(sums)
    n = sum(of * count for (_, of), count in clusters.items())
    totals = sum_counted((total for total, _ in clusters), clusters.values())
    return totals / n if n else 0.0


def _deviation(values: Sequence[tuple[float, int]]) -> float:
    """Return the standard deviation of counted values. 0 for fewer than two values."""
    counts = [count for _, count in values]
    n = sum(counts)
    if n <= 1:
        return 0.0
    mean = sum_counted((value for value, _ in values), counts) / n
    return math.sqrt(
        sum_counted((floats.square(value - mean) for value, _ in values), counts) / (n - 1)
    )
