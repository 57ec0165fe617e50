"""Compares two sets of scored runs: better, worse, no difference or not enough data, and why.

`compare_items` compares two experiments: it pairs the runs of the same items. `compare_groups`
takes the same data as counts, as a store returns them. Two versions in production are compared by
`otel_ml.statistics.release`. The functions only compute; they do no input or output.
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Final, Literal

from otel_ml.statistics import floats
from otel_ml.statistics.comparison import (
    AMOUNT_MARGIN,
    DECIDED,
    FAILED_CALLS,
    LEAST_CLUSTERS,
    LEAST_ITEMS,
    RATE_MARGIN,
    WORST_FIRST,
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
    benjamini_hochberg,
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
LEAST_IN_COMMON: Final = 0.9
MOST_MISSING: Final = 0.05
AMOUNT_UNITS: Final = {"latency": Unit.LATENCY, "tokens": Unit.TOKENS, "cost": Unit.COST}
AMOUNTS: Final = tuple(AMOUNT_UNITS)
_AMOUNT_OF: Final = {name: attrgetter(name) for name in AMOUNTS}
# The default cluster key, and the names of cluster keys in sentences.
DEFAULT_CLUSTER: Final = "source_session"
SOURCE_CLUSTERS: Final[Mapping[str, str]] = {DEFAULT_CLUSTER: "session", "source_run": "source run"}
_TAG: Final = re.compile(r"""tags\[(?:"([^"]+)"|'([^']+)')\]""")
_FALSE_DISCOVERIES: Final = 0.05


@dataclass(frozen=True, slots=True)
class JudgeScore:
    """One judge's result for one run.

    Attributes:
        passed: Whether the run passed. None if the judge only gives scores.
        score: The score, in the judge's own range.
        version: Version of the judge that scored the run.
        failed: Whether the judge itself raised an error.
    """

    passed: bool | None = None
    score: float | None = None
    version: str = ""
    failed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredRun:
    """One run with its scores: the input of `compare_items`.

    If an item was run several times, each repeat is a separate `ScoredRun`.

    Attributes:
        item: Id of the data set's item. Empty for production runs.
        digest: Hash of the item's content. It shows whether the item was edited between two
            experiments.
        cluster: Name of the run's cluster, such as a session. Runs of the same cluster depend on
            each other. Empty for an independent run.
        tags: Tags of the item.
        is_error: Whether the call raised or timed out.
        scores: Scores by judge name.
        latency: Duration, in the same unit for all runs.
        tokens: Total number of tokens.
        cost: Cost in US dollars.
    """

    item: str = ""
    digest: str = ""
    cluster: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    is_error: bool = False
    scores: Mapping[str, JudgeScore] = field(default_factory=dict)
    latency: float | None = None
    tokens: float | None = None
    cost: float | None = None

    def amount(self, name: str) -> float | None:
        """Return the latency, tokens or cost, chosen by name.

        None if the run failed or the value is not above 0.
        """
        value: float | None = _AMOUNT_OF[name](self)
        return None if self.is_error or value is None or not value > 0 else value


@dataclass(frozen=True, slots=True)
class ItemGroup:
    """One item of an experiment, or several items with equal scores that are stored as one.

    The baseline is the earlier experiment. The candidate is the experiment that is compared with
    the baseline.

    Attributes:
        name: Id of the item, or name of the group.
        before: Runs of one item in the baseline, without latency, tokens and cost, which are in
            `amounts`. Empty if the item is not in the baseline.
        after: Runs of one item in the candidate, in the same form.
        count: Number of items in the group.
        amounts: Latency, tokens and cost of the items, by the keys `latency`, `tokens` and `cost`.
            Each item has one pair: its mean in the baseline and its mean in the candidate. An item
            that lacks one of the means is left out.
    """

    name: str
    before: Sequence[ScoredRun]
    after: Sequence[ScoredRun]
    count: int = 1
    amounts: Mapping[str, Sequence[tuple[float, float]]] = field(default_factory=dict)

    @property
    def cluster(self) -> str | None:
        """Group that the items share, such as a session. None if each item is independent."""
        runs = self.after or self.before
        return runs[0].cluster or (self.before[0].cluster if self.before else "") or None

    @property
    def is_pair(self) -> bool:
        """Whether baseline and candidate ran the item with the same content."""
        return bool(self.before and self.after) and self.before[0].digest == self.after[0].digest


@dataclass(frozen=True, slots=True)
class SharedItems:
    """Which items are in both the baseline and the candidate, and which are not.

    Two items are the same if their ids and their contents are equal.

    Attributes:
        common: Ids of the items that both have.
        new: Ids that only the candidate has.
        gone: Ids that only the baseline has.
        changed: Ids that both have, but with different content.
    """

    common: Sequence[str]
    new: Sequence[str]
    gone: Sequence[str]
    changed: Sequence[str]

    @property
    def counts(self) -> tuple[int, int, int, int]:
        """Number of shared, new, removed and changed items, in this order."""
        return len(self.common), len(self.new), len(self.gone), len(self.changed)

    @property
    def share(self) -> float:
        """Share of all items that are in both baseline and candidate, from 0 to 1."""
        every = sum(self.counts)
        return len(self.common) / every if every else 0.0


@dataclass(frozen=True, slots=True)
class JudgeEstimate:
    """What one judge scored in one experiment, without a baseline.

    Attributes:
        is_rate: Whether the value is a pass rate from 0 to 1. If False, it is a mean score.
        value: Pass rate or mean score over all items. None if no item has a score.
        failed: Number of runs on which the judge itself raised an error.
    """

    is_rate: bool
    value: Estimate | None
    failed: int


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
class SliceVerdict:
    """How one judge's result changed in a slice, such as all items with the tag lang = de.

    Attributes:
        tag: Name of the tag.
        value: Value of the tag.
        judge: Name of the judge.
        difference: Candidate minus baseline, with a 95 % interval. The interval is not corrected
            for the number of slices.
        word: ``better`` or ``worse`` if the change is at least the margin, and is still significant
            after correction for the number of slices. Otherwise None.
    """

    tag: str
    value: str
    judge: str
    difference: Estimate
    word: Word | None


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


@dataclass(frozen=True, slots=True)
class ItemChange:
    """An item with a better or worse result than in the baseline.

    Either a judge's result changed, or the share of failed calls.

    Attributes:
        item: ID of the item, or name of a group of items with identical results.
        steps: Results in the baseline and in the candidate, by judge.
        errors: Share of failed calls in the baseline, and in the candidate.
        change: The largest deterioration, as a number below 0. If nothing got worse, the largest
            improvement.
        count: Number of items in the group.
    """

    item: str
    steps: Mapping[str, ItemStep]
    errors: tuple[float, float]
    change: float
    count: int = 1

    @property
    def judges(self) -> list[str]:
        """Judges whose result changed in the direction of `change`, the largest change first."""
        sign = -1 if self.change < 0 else 1
        changed = [name for name, step in self.steps.items() if step.change * sign > 0]

        def place(name: str) -> tuple[float, float, str]:
            step = self.steps[name]
            return -sign * step.change, -sign * step.fall, name

        return sorted(changed, key=place)

    @property
    def order(self) -> tuple[float, float]:
        """Sort key that puts the largest change first.

        If regressions are equal, the one whose score dropped most comes first.
        """
        named = self.judges
        fall = self.steps[named[0]].fall if named else 0.0
        return (self.change, fall) if self.change < 0 else (-self.change, -fall)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a candidate is better or worse than its baseline, overall and for each judge.

    Attributes:
        word: The overall verdict. ``worse`` if more calls fail than in the baseline. Else
            ``not enough data`` if there are `caveats`. Else ``better`` if fewer calls fail and no
            judge is worse. Else the verdict of the worst judge, in the order worse, not enough
            data, no difference, better.
        caveats: Why the whole comparison has not enough data, such as too few shared items.
        judges: Comparisons by judge.
        amounts: Comparisons under the keys ``latency``, ``tokens`` and ``cost``.
        failures: Change of the share of failed calls. None if no call failed.
        shared: Which items baseline and candidate have in common. None for two independent samples.
        slices: Verdicts for each tag value and judge.
        regressions: Items that are worse for any judge, the worst first.
        fixed: Items that are better, and not worse for any judge, the best first.
        flaky: Ids of items with mixed results in the candidate: some repeats pass, others fail.
    """

    word: Word
    caveats: Sequence[Caveat]
    judges: Mapping[str, FigureComparison]
    amounts: Mapping[str, FigureComparison]
    failures: FigureComparison | None = None
    shared: SharedItems | None = None
    slices: Sequence[SliceVerdict] = ()
    regressions: Sequence[ItemChange] = ()
    fixed: Sequence[ItemChange] = ()
    flaky: Sequence[str] = ()

    def word_of(self, words: Sequence[str]) -> Word | Literal[""]:
        """Return the verdict from failed calls and the words of some judges.

        Empty if there are no judges and the share of failed calls did not change significantly.
        """
        is_decided = self.failures is not None and self.failures.word in DECIDED
        return _decide_overall(words, self.failures, self.caveats) if words or is_decided else ""


def compare_items(
    baseline: Iterable[ScoredRun],
    candidate: Iterable[ScoredRun],
    *,
    margin: Mapping[str, float] | None = None,
    lower_is_better: Iterable[str] = (),
    partial: bool = False,
    cluster: str = "",
) -> Verdict:
    """Decide whether a candidate is better than its baseline, from the items that both ran.

    Args:
        baseline: Runs of the baseline.
        candidate: Runs of the candidate.
        margin: Smallest difference that matters, by judge name or for `latency`, `tokens`, `cost`.
            Default: 0.02 for a pass rate, a tenth of the baseline's standard deviation for a score,
            and 5 % for latency, tokens and cost. Unless you set a margin, differences of less than
            10 ms or $ 0.0001 per run do not matter either.
        lower_is_better: Judges for which lower scores are better.
        partial: Whether to give a verdict even if less than 90 % of the items are shared.
        cluster: Name of the key by which runs are grouped, such as ``source_session``. It is only
            used in sentences such as ``150 in 34 clusters by session``. The cluster of each run is
            `ScoredRun.cluster`.

    Spec: evaluations, section 4: Verdict.
    """
    return compare_groups(
        _group(_by_item(baseline), _by_item(candidate)),
        margin=margin,
        lower_is_better=lower_is_better,
        partial=partial,
        cluster=cluster,
    )


def compare_groups(
    groups: Sequence[ItemGroup],
    *,
    margin: Mapping[str, float] | None = None,
    lower_is_better: Iterable[str] = (),
    partial: bool = False,
    cluster: str = "",
    least: Mapping[str, float] = LEAST_AMOUNTS,
    time_share: float = 0.0,
) -> Verdict:
    """Compare two experiments whose items are already grouped by equal scores.

    Gives the same result as `compare_items`, but is faster if many items have equal scores.

    Args:
        groups: The items of baseline and candidate, grouped by equal scores.
        margin: Smallest difference that matters, see `compare_items`.
        lower_is_better: Judges for which lower scores are better.
        partial: Whether to give a verdict even if less than 90 % of the items are shared.
        cluster: Name of the key by which runs are grouped, such as ``source_session``. It is
            only named in sentences, see `compare_items`.
        least: Smallest difference that matters in `latency` (ms) and `cost` ($). A value in
            `margin` takes precedence.
        time_share: Smallest relative difference in latency that matters: 0.1 means 10 %. Not used
            if `margin` has a value for `latency`.
    """
    shared = _share(groups)
    pairs = [group for group in groups if group.is_pair]
    sides = (
        [(run, partner.count) for partner in pairs for run in partner.before],
        [(run, partner.count) for partner in pairs for run in partner.after],
    )
    names = _judges(*sides)
    margins, lower = margin or {}, set(lower_is_better)
    confidence = 1 - (1 - CONFIDENCE) / max(len(names), 1)
    setups = [_Judged.of(name, *sides, name in lower, margins.get(name)) for name in names]
    judges = {setup.judge: _paired(setup, pairs, confidence, cluster) for setup in setups}
    failures = _paired_failures(groups, pairs, cluster)
    caveats: list[Caveat] = []
    if shared.share < LEAST_IN_COMMON and not partial:
        caveats.append(Caveat(CaveatKind.FEW_SHARED_ITEMS, numbers=shared.counts))
        judges = {name: _leave_open(judge) for name, judge in judges.items()}
        if failures is not None and failures.word != "worse":
            failures = _leave_open(failures)
    amounts = _paired_amounts(pairs, margins, least, time_share, cluster)
    worse, better = _changes(setups, pairs)
    return Verdict(
        _decide_overall([judge.word for judge in judges.values()], failures, caveats),
        caveats,
        judges,
        amounts,
        failures,
        shared,
        _slices(setups, judges, pairs),
        worse,
        better,
        [
            name
            for partner in pairs
            if is_flaky(partner.after)
            for name in [partner.name] * partner.count
        ],
    )


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
    judged = _Judged(
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
    judged = _Judged(
        judge=judge,
        is_rate=False,
        lower_is_better=False,
        versions=(("",), ("",)),
        of_failed=None,
        margin=score_margin(deviation, _mean_of_sums(sums[0])) if margin is None else margin,
        missing=missing,
    )
    return _weigh(judged, _PairSums(*sums, {}, is_clustered), CONFIDENCE, "")


def estimate_judges(
    runs: Iterable[ScoredRun], *, lower_is_better: Iterable[str] = ()
) -> dict[str, JudgeEstimate]:
    """Return the pass rate or mean score of each judge in one experiment, without a baseline.

    Args:
        runs: The runs. If an item has several runs, their mean counts.
        lower_is_better: Judges for which lower scores are better.

    Spec: evaluations, section 4.3: one experiment alone.
    """
    return estimate_groups(_group({}, _by_item(runs)), lower_is_better=lower_is_better)


def estimate_groups(
    groups: Sequence[ItemGroup], *, lower_is_better: Iterable[str] = ()
) -> dict[str, JudgeEstimate]:
    """Return the pass rate or mean score of each judge in one experiment.

    It returns the same as `estimate_judges`, but takes groups of items with equal results instead
    of single runs.
    """
    every, lower = (
        [(run, group.count) for group in groups for run in group.after],
        set(lower_is_better),
    )
    items: list[tuple[Sequence[ScoredRun], int]] = []
    for group in groups:
        if len({run.digest for run in group.after}) <= 1:
            items.append((group.after, group.count))
            continue
        of: defaultdict[str, list[ScoredRun]] = defaultdict(list)
        for run in group.after:
            of[run.digest].append(run)
        items += [(runs, group.count) for runs in of.values()]
    entries = {}
    for name in _judges(every):
        judged = _Judged.of(name, every, every, name in lower)
        values = [
            (runs[0].cluster or None, mean, count)
            for runs, count in items
            if (mean := judged.mean(runs)) is not None
        ]
        value = estimate_mean(sum_clusters(values), is_rate=judged.is_rate) if values else None
        failed = sum(
            count for run, count in every if name in run.scores and run.scores[name].failed
        )
        entries[name] = JudgeEstimate(judged.is_rate, value, failed)
    return entries


def is_flaky(runs: Sequence[ScoredRun]) -> bool:
    """Return whether some repeats of an item pass and others fail, by a judge or by an error."""
    if len({run.is_error for run in runs}) > 1:
        return True
    entries: defaultdict[str, set[bool]] = defaultdict(set)
    for run in runs:
        for judge, score in run.scores.items():
            if score.passed is not None and not score.failed:
                entries[judge].add(score.passed)
    return any(len(words) > 1 for words in entries.values())


def read_cluster(text: str) -> Callable[[Mapping[str, object], str, str], str] | None:
    """Parse the key that groups dependent items into clusters.

    ``tags["name"]`` groups items by the value of this tag. ``source_run`` and ``source_session``
    group items by the recorded run or session that they were made from.

    Returns:
        A function that returns an item's cluster, from its tags, source run and source session. The
        cluster is empty for an independent item. If the key is invalid, None is returned instead of
        a function.
    """
    if text in SOURCE_CLUSTERS:
        return lambda tags, run, session: session if text == DEFAULT_CLUSTER else run
    name = tag_of_cluster(text)
    if not name:
        return None
    return lambda tags, run, session: "" if tags.get(name) is None else str(tags[name])


def tag_of_cluster(text: str) -> str:
    """Return the tag name of a cluster key: ``name`` for ``tags["name"]``. Empty for other keys."""
    match = _TAG.fullmatch(text.strip())
    return "" if match is None else match[1] or match[2]


_Items = Mapping[str, Sequence[ScoredRun]]
_Counted = Sequence[tuple[ScoredRun, int]]
_Pairs = Sequence[ItemGroup]


@dataclass(frozen=True, slots=True)
class _Judged:
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
        before: _Counted,
        after: _Counted,
        lower_is_better: bool,
        margin: float | None = None,
    ) -> "_Judged":
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
        return _mean(
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


def _by_item(runs: Iterable[ScoredRun]) -> _Items:
    scored_runs: defaultdict[str, list[ScoredRun]] = defaultdict(list)
    for run in runs:
        scored_runs[run.item].append(run)
    return scored_runs


def _group(before: _Items, after: _Items) -> list[ItemGroup]:
    """Return one `ItemGroup` per item. Items of the candidate come first."""
    item_groups = []
    for item in dict.fromkeys((*after, *before)):
        sides = before.get(item, ()), after.get(item, ())
        amounts = {}
        for name in AMOUNTS:
            means = [
                _mean([amount for run in runs if (amount := run.amount(name))]) for runs in sides
            ]
            if means[0] and means[1]:
                amounts[name] = [(means[0], means[1])]
        item_groups.append(ItemGroup(item, *sides, amounts=amounts))
    return item_groups


def _share(groups: Sequence[ItemGroup]) -> SharedItems:
    entries: defaultdict[str, list[str]] = defaultdict(list)
    for group in groups:
        if group.is_pair:
            what = "common"
        elif not group.before:
            what = "new"
        else:
            what = "changed" if group.after else "gone"
        entries[what] += [group.name] * group.count
    return SharedItems(*(entries[what] for what in ("common", "new", "gone", "changed")))


def _judges(*sides: _Counted) -> list[str]:
    return list(dict.fromkeys(judge for side in sides for run, _ in side for judge in run.scores))


def _paired(judged: _Judged, pairs: _Pairs, confidence: float, cluster: str) -> FigureComparison:
    sums = _PairSums.of(_values(judged.mean, pairs), is_rate=judged.is_rate)
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
        change, table = _sum_change(values, is_rate=is_rate)
        return cls(before, after, change, table, any(cluster is not None for cluster, *_ in values))


def _paired_failures(groups: _Pairs, pairs: _Pairs, cluster: str) -> FigureComparison | None:
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
    sums = _PairSums.of(_values(_failed_share, pairs), is_rate=True)
    change: Estimate | None = None
    own: tuple[Estimate | None, Estimate | None] = None, None
    if sums.change:
        change, _ = _pair_difference(sums.change, sums.table, CONFIDENCE, is_rate=True)
        own = (estimate_mean(sums.before, is_rate=True), estimate_mean(sums.after, is_rate=True))
    word: Word = "not enough data"
    if _has_all_failed(after, before):
        word = "worse"
    elif pairs and _has_all_failed(before, after):
        word = "better"
    elif change is not None:
        word = _decide_pairs(change, _FAILURE_MARGIN, lower_is_better=True)
    caveats = []
    if change is None:
        caveats.append(Caveat(CaveatKind.NO_SHARED_ITEMS))
    elif word == "not enough data" and has_few_units(change):
        caveats.append(Caveat(CaveatKind.FEW_UNITS))
    if word == "worse" and after[0] == after[1]:
        caveats.append(Caveat(CaveatKind.ALL_CALLS_FAIL, numbers=(after[1], *before)))
    failed = [part for part in pairs if any(run.is_error for run in part.before)]
    if word == "better" and failed:
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


def _weigh(judged: _Judged, sums: _PairSums, confidence: float, cluster: str) -> FigureComparison:
    """Decide by the sums of all pairs whether the candidate is better or worse, for one judge."""
    caveats = judged.unlike()
    is_unlike = bool(caveats)
    caveats += [
        Caveat(CaveatKind.MISSING_SCORES, side, (100 * (1 - share),))
        for side, share in enumerate(judged.missing)
        if share > MOST_MISSING and not is_unlike
    ]
    estimates: tuple[Estimate | None, Estimate | None, Estimate | None] = None, None, None
    word: Word = "not enough data"
    if sums.change and not is_unlike:
        change, _ = _pair_difference(sums.change, sums.table, confidence, is_rate=judged.is_rate)
        before, after = (
            estimate_mean(side, is_rate=judged.is_rate) for side in (sums.before, sums.after)
        )
        estimates = before, after, change
        if not caveats:
            word = _decide_pairs(change, judged.margin, lower_is_better=judged.lower_is_better)
        if word == "not enough data" and has_few_units(change):
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


def _values(mean: Callable[[Sequence[ScoredRun]], float | None], pairs: _Pairs) -> _Values:
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


def _sum_change(
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


def _pair_difference(
    change: ClusterSums,
    table: Mapping[tuple[int, int], int],
    confidence: float,
    *,
    is_rate: bool,
) -> tuple[Estimate, float]:
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


def _paired_amounts(
    pairs: _Pairs,
    margins: Mapping[str, float],
    least: Mapping[str, float],
    time_share: float,
    cluster: str,
) -> dict[str, FigureComparison]:
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
        logs_changed, _ = _pair_difference(sum_logs(paired_amounts), {}, CONFIDENCE, is_rate=False)
        ratio = exponential(logs_changed)
        logs = [math.log(first) for _, first, _ in paired_amounts]
        before = floats.exp(floats.mean(logs))
        share = time_share if name == "latency" else 0.0
        usual = max(AMOUNT_MARGIN, share, least.get(name, 0.0) / before)
        margin = margins.get(name, usual)
        change = replace(ratio, value=ratio.value - 1, low=ratio.low - 1, high=ratio.high - 1)
        word = _decide_pairs(change, margin, lower_is_better=True)
        is_few = word == "not enough data" and has_few_units(ratio)
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
    return "not enough data" if word == "no difference" and has_few_units(change) else word


def _slices(
    setups: Sequence[_Judged], judges: Mapping[str, FigureComparison], pairs: _Pairs
) -> list[SliceVerdict]:
    """Compare the items of each tag value, corrected for all slices and judges together."""
    by_tag: defaultdict[tuple[str, str], list[ItemGroup]] = defaultdict(list)
    for pair in pairs:
        for tag in pair.after[0].tags.items():
            by_tag[tag].append(pair)
    items: list[tuple[SliceVerdict, _Judged, float]] = []
    for (name, text), tagged in sorted(by_tag.items()):
        for judged in setups:
            if judges[judged.judge].difference is None:
                continue
            values = _values(judged.mean, tagged)
            clusters = len({cluster for cluster, *_ in values if cluster is not None})
            clusters += sum(count for cluster, _, count, *_ in values if cluster is None)
            if sum(count for _, _, count, *_ in values) < LEAST_ITEMS or clusters < LEAST_CLUSTERS:
                continue
            sums = _sum_change(values, is_rate=judged.is_rate)
            change, p = _pair_difference(*sums, CONFIDENCE, is_rate=judged.is_rate)
            items.append((SliceVerdict(name, text, judged.judge, change, None), judged, p))
    adjusted = benjamini_hochberg([p for *_, p in items])
    slices = []
    for (slice_verdict, judged, _), p in zip(items, adjusted, strict=True):
        turned = judged.turned(slice_verdict.difference.value)
        if (
            p <= _FALSE_DISCOVERIES
            and abs(slice_verdict.difference.value) >= judged.margin
            and turned
        ):
            slice_verdict = replace(slice_verdict, word="better" if turned > 0 else "worse")  # noqa: PLW2901
        slices.append(slice_verdict)
    return slices


def _changes(setups: Sequence[_Judged], pairs: _Pairs) -> tuple[list[ItemChange], list[ItemChange]]:
    """Return the items that got worse and those that got better.

    Scores must change by their margin.
    """
    worse: list[ItemChange] = []
    better: list[ItemChange] = []
    comparable = [setup for setup in setups if not setup.unlike()]
    for pair in pairs:
        steps = {
            item.judge: step for item in comparable if (step := item.step(pair.before, pair.after))
        }
        errors = tuple(
            sum(run.is_error for run in runs) / len(runs) for runs in (pair.before, pair.after)
        )
        changes = [errors[0] - errors[1], *(step.change for step in steps.values())]
        change = min(changes) if min(changes) < 0 else max(changes)
        if change:
            item_change = ItemChange(pair.name, steps, (errors[0], errors[1]), change, pair.count)
            (worse if change < 0 else better).append(item_change)
    for changed in (worse, better):
        changed.sort(key=lambda entry: (entry.order, entry.item))
    return worse, better


def _leave_open(comparison: FigureComparison) -> FigureComparison:
    """Return a comparison without a decision, because too few items are shared."""
    caveats = [*comparison.reasons, Caveat(CaveatKind.FEW_SHARED_ITEMS)]
    return replace(
        comparison,
        word="not enough data",
        basis=replace(comparison.basis, caveats=caveats),
    )


def _decide_overall(
    words: Sequence[str], failures: FigureComparison | None, caveats: Sequence[Caveat]
) -> Word:
    """Return the overall verdict from those of the judges and of the failed calls."""
    change = None if failures is None else failures.word
    if change == "worse":
        return "worse"
    if caveats:
        return "not enough data"
    worst: Word = next((word for word in WORST_FIRST if word in words), "not enough data")
    return "better" if change == "better" and worst != "worse" else worst


def _mean(values: Sequence[float]) -> float | None:
    return floats.mean(values) if values else None


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
