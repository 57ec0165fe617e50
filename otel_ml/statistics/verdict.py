"""Compares two sets of scored runs: better, worse, no difference or not enough data, and why.

`compare_items` compares two experiments: it pairs the runs of the same items. `compare_groups`
takes the same data as counts, as a store returns them. Each figure is compared by
`otel_ml.statistics.paired`, two versions in production by `otel_ml.statistics.release`. The
functions only compute; they do no input or output.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from otel_ml.statistics.comparison import (
    LEAST_CLUSTERS,
    LEAST_ITEMS,
    WORST_FIRST,
    Caveat,
    CaveatKind,
    FigureComparison,
    Word,
)
from otel_ml.statistics.intervals import (
    CONFIDENCE,
    Estimate,
    benjamini_hochberg,
)
from otel_ml.statistics.paired import (
    LEAST_AMOUNTS,
    ItemStep,
    JudgedItems,
    compare_amounts,
    compare_failures,
    compare_judge,
    estimate_mean,
    pair_difference,
    read_values,
    sum_change,
    sum_clusters,
)
from otel_ml.statistics.scored_runs import (
    ItemGroup,
    ItemPairs,
    ScoredRun,
    SharedItems,
    find_shared,
    group_items,
    group_runs,
    is_flaky,
    list_judges,
)

LEAST_IN_COMMON: Final = 0.9
_FALSE_DISCOVERIES: Final = 0.05


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
        is_decided = self.failures is not None and self.failures.word.is_decided
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
        group_items(group_runs(baseline), group_runs(candidate)),
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
    shared = find_shared(groups)
    pairs = [group for group in groups if group.is_pair]
    sides = (
        [(run, partner.count) for partner in pairs for run in partner.before],
        [(run, partner.count) for partner in pairs for run in partner.after],
    )
    names = list_judges(*sides)
    margins, lower = margin or {}, set(lower_is_better)
    confidence = 1 - (1 - CONFIDENCE) / max(len(names), 1)
    setups = [JudgedItems.of(name, *sides, name in lower, margins.get(name)) for name in names]
    judges = {setup.judge: compare_judge(setup, pairs, confidence, cluster) for setup in setups}
    failures = compare_failures(groups, pairs, cluster)
    caveats: list[Caveat] = []
    if shared.share < LEAST_IN_COMMON and not partial:
        caveats.append(Caveat(CaveatKind.FEW_SHARED_ITEMS, numbers=shared.counts))
        judges = {name: _leave_open(judge) for name, judge in judges.items()}
        if failures is not None and failures.word != Word.WORSE:
            failures = _leave_open(failures)
    amounts = compare_amounts(pairs, margins, least, time_share, cluster)
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


def estimate_judges(
    runs: Iterable[ScoredRun], *, lower_is_better: Iterable[str] = ()
) -> dict[str, JudgeEstimate]:
    """Return the pass rate or mean score of each judge in one experiment, without a baseline.

    Args:
        runs: The runs. If an item has several runs, their mean counts.
        lower_is_better: Judges for which lower scores are better.

    Spec: evaluations, section 4.3: one experiment alone.
    """
    return estimate_groups(group_items({}, group_runs(runs)), lower_is_better=lower_is_better)


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
    for name in list_judges(every):
        judged = JudgedItems.of(name, every, every, name in lower)
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


def _slices(
    setups: Sequence[JudgedItems], judges: Mapping[str, FigureComparison], pairs: ItemPairs
) -> list[SliceVerdict]:
    """Compare the items of each tag value, corrected for all slices and judges together."""
    by_tag: defaultdict[tuple[str, str], list[ItemGroup]] = defaultdict(list)
    for pair in pairs:
        for tag in pair.after[0].tags.items():
            by_tag[tag].append(pair)
    items: list[tuple[SliceVerdict, JudgedItems, float]] = []
    for (name, text), tagged in sorted(by_tag.items()):
        for judged in setups:
            if judges[judged.judge].difference is None:
                continue
            values = read_values(judged.mean, tagged)
            clusters = len({cluster for cluster, *_ in values if cluster is not None})
            clusters += sum(count for cluster, _, count, *_ in values if cluster is None)
            if sum(count for _, _, count, *_ in values) < LEAST_ITEMS or clusters < LEAST_CLUSTERS:
                continue
            sums = sum_change(values, is_rate=judged.is_rate)
            change, p = pair_difference(*sums, CONFIDENCE, is_rate=judged.is_rate)
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
            slice_verdict = replace(slice_verdict, word=Word.BETTER if turned > 0 else Word.WORSE)  # noqa: PLW2901
        slices.append(slice_verdict)
    return slices


def _changes(
    setups: Sequence[JudgedItems], pairs: ItemPairs
) -> tuple[list[ItemChange], list[ItemChange]]:
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
        word=Word.NOT_ENOUGH_DATA,
        basis=replace(comparison.basis, caveats=caveats),
    )


def _decide_overall(
    words: Sequence[str], failures: FigureComparison | None, caveats: Sequence[Caveat]
) -> Word:
    """Return the overall verdict from those of the judges and of the failed calls."""
    change = None if failures is None else failures.word
    if change == Word.WORSE:
        return Word.WORSE
    if caveats:
        return Word.NOT_ENOUGH_DATA
    worst = next((word for word in WORST_FIRST if word in words), Word.NOT_ENOUGH_DATA)
    return Word.BETTER if change == Word.BETTER and worst != Word.WORSE else worst
