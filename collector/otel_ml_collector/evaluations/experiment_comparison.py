"""Compares an experiment with its baseline, by groups of items with identical results.

The store counts the items whose runs have the same results, so 100,000 items become a few groups.
Only items that are shown are read as rows, by `experiment_items`.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from otel_ml.records import (
    ListedExperiment,
)
from otel_ml.statistics import floats
from otel_ml.statistics.paired import LEAST_AMOUNTS
from otel_ml.statistics.scored_runs import (
    AMOUNTS,
    DEFAULT_CLUSTER,
    SOURCE_CLUSTERS,
    ItemGroup,
    JudgeScore,
    ScoredRun,
    is_flaky,
    read_cluster,
    tag_of_cluster,
)
from otel_ml.statistics.verdict import Verdict, compare_groups
from otel_ml_collector.errors import BadInput
from otel_ml_collector.evaluations.experiment_runs import (
    AskedExperiment,
    find_pair,
    read_text,
    sides_of,
)
from otel_ml_collector.store.experiments import (
    MOST_RUNS,
    ItemsState,
    count_alike,
    item_parameters,
    read_state,
)
from otel_ml_collector.store.reader import Reader, Row, load_json
from otel_ml_collector.store.versions import version_numbers
from otel_ml_collector.verdicts.verdicts import (
    choose_versions,
)

MOST_NAMED: Final = 1_000
_IDS_A_ROW: Final = 20
Show = Literal["all", "regression", "fixed", "flaky", "error"]


@dataclass(frozen=True, slots=True)
class Compared:
    """An experiment compared with its baseline, if it has one.

    Attributes:
        now: The experiment.
        before: The baseline; None if there is none.
        groups: The items of both experiments, by the name of their group. Items with identical
            results form one group.
        items: IDs of the items of each group, in order; in large groups only the first IDs.
        verdict: Whether the experiment is better or worse; None without a baseline.
        chosen: For each judge, the versions whose scores are compared, as digests. Scores by other
            versions of the judge are ignored.
        missing: ID of the baseline that was chosen when the experiment was run, if this baseline is
            not stored; otherwise empty.
    """

    now: ListedExperiment
    before: ListedExperiment | None
    groups: Mapping[str, ItemGroup]
    items: Mapping[str, Sequence[str]]
    verdict: Verdict | None
    chosen: Mapping[str, set[str]]
    missing: str = ""

    def select(self, show: Show, judge: str = "") -> list[tuple[tuple[float, float], ItemGroup]]:
        """Return the groups of items that `show` selects, such as all items that got worse.

        Items with identical results form one group. If `judge` is given, only the scores of this
        judge decide which items got worse or better.

        Returns:
            Pairs of a sort key and a group, not sorted. If you sort them by the key, the group with
            the largest change comes first.
        """
        if show in {"regression", "fixed"}:
            if self.verdict is None:
                return []
            if judge:
                sign = 1 if show == "regression" else -1
                return [
                    ((sign * step.change, sign * step.fall), self.groups[regression.item])
                    for regression in (*self.verdict.regressions, *self.verdict.fixed)
                    if (step := regression.steps.get(judge)) and sign * step.change < 0
                ]
            changes = self.verdict.regressions if show == "regression" else self.verdict.fixed
            return [(change.order, self.groups[change.item]) for change in changes]
        groups = [group for group in self.groups.values() if group.after]
        if show == "flaky":
            groups = [group for group in groups if is_flaky(group.after)]
        if show == "error":
            groups = [group for group in groups if any(run.is_error for run in group.after)]
        return [((0.0, 0.0), group) for group in groups]


def compare_experiments(
    reader: Reader, project: str, experiment: ListedExperiment, baseline: ListedExperiment
) -> Compared:
    """Compare two experiments that you have already read, item by item."""
    return compare_sides(reader, project, experiment, baseline, most=MOST_NAMED)


def compare(reader: Reader, asked: AskedExperiment, *, most: int = MOST_NAMED) -> Compared:
    """Read an experiment and its baseline, and compare them.

    Args:
        reader: The store.
        asked: The experiment and its baseline.
        most: Items with identical results form a group. This is the maximum number of item IDs that
            are read for each group. It is at least 1,000: smaller values have no effect.

    Raises:
        Missing: The experiment or the baseline does not exist.
        BadInput: An ID is invalid, or both experiments have too many runs to compare.
    """
    experiment, other = find_pair(reader, asked)
    compared = compare_sides(reader, asked.project, experiment, other, most=most)
    is_missing = asked.baseline is None and other is None
    return replace(compared, missing=experiment.baseline) if is_missing else compared


def compare_sides(
    reader: Reader,
    project: str,
    experiment: ListedExperiment,
    other: ListedExperiment | None,
    *,
    most: int,
) -> Compared:
    """Compare an experiment with its baseline, with the options stored in the experiment.

    The result is cached until the store has new data for either of them.
    """
    both = [part for part in (other, experiment) if part is not None]
    if sum(experiment.done for experiment in both) >= MOST_RUNS:
        raise BadInput(f"There are more than {MOST_RUNS:,} runs of items to compare", "run_id")
    ids, start_ns, window = sides_of(other, experiment)
    state = read_state(reader, project, ids, start_ns, recorded=window)
    most = max(most, MOST_NAMED)
    # The cached result is valid only for the same state and the same options.
    options = [(experiment.run_id, experiment.doubled) for experiment in both]
    key = "compared", project, state, most, repr((options, experiment.comparison))
    groups, items, verdict, chosen = reader.memory.work_out(
        key,
        lambda: work_out(reader, project, experiment, other, most=most, state=state),
        lambda made: len(made[0]) + sum(map(len, made[1].values())) // _IDS_A_ROW,
    )
    return Compared(experiment, other, groups, items, verdict, chosen)


def work_out(
    reader: Reader,
    project: str,
    experiment: ListedExperiment,
    other: ListedExperiment | None,
    *,
    most: int,
    items: Sequence[str] | None = None,
    state: ItemsState | None = None,
) -> tuple[
    Mapping[str, ItemGroup], Mapping[str, Sequence[str]], Verdict | None, Mapping[str, set[str]]
]:
    """Compute the contents of `Compared`, for all items or only for the given ones."""
    both = [part for part in (other, experiment) if part is not None]
    cluster = cluster_of(experiment)
    ids, start_ns, window = sides_of(other, experiment)
    rows = count_alike(
        reader,
        item_parameters(project, ids, start_ns, state, window),
        "" if other is None else other.run_id,
        cluster=cluster if cluster in SOURCE_CLUSTERS else tag_of_cluster(cluster),
        is_doubled=any(experiment.doubled for experiment in both),
        most=most,
        items=items,
    )
    if window is not None:  # scores by other judges in production do not count
        known = set(experiment.judges.items())
        for row in rows:
            row["before"] = [
                (digest, failed, [item for item in scores if (item[0], item[1]) in known])
                for digest, failed, scores in row["before"]
            ]
    scoring: list[defaultdict[str, set[str]]] = []
    for side_experiment, side in ((other, "before"), (experiment, "after")):
        if side_experiment is not None:
            scoring.append(defaultdict(set))
            for row in rows:
                for _, _, scores in row[side]:
                    for judge, version, *_ in scores:
                        scoring[-1][judge].add(version)
    numbers = version_numbers(reader, project, "judge", {name for side in scoring for name in side})
    chosen = choose_versions(scoring, numbers)
    groups = {
        f"{place}": _make_group(f"{place}", row, cluster, chosen) for place, row in enumerate(rows)
    }
    verdict = None
    if other is not None:
        verdict = compare_groups(
            [*groups.values()],
            margin=experiment.comparison.get("margin"),
            lower_is_better=experiment.comparison.get("lower_is_better", ()),
            partial=experiment.comparison.get("partial", False),
            cluster=cluster,
            least={name: reader.margins.find_least(name) for name in LEAST_AMOUNTS},
            time_share=reader.margins.time_share,
        )
    named = {f"{place}": row["items"] for place, row in enumerate(rows)}
    # Drop latencies, tokens and costs before the result is cached: they take most of its memory,
    # and the verdict already contains them.
    groups = {name: replace(group, amounts={}) for name, group in groups.items()}
    return groups, named, verdict, chosen


def cluster_of(experiment: ListedExperiment) -> str:
    """Return the key that groups dependent items: the experiment's own option, else the default."""
    return read_text(experiment.comparison.get("cluster")) or DEFAULT_CLUSTER


def _make_group(
    name: str, row: Row, cluster: str, chosen: Mapping[str, Collection[str]]
) -> ItemGroup:
    """Make a group of items from the store's counts."""
    facts = {key: load_json(text) for key, text in row["tags"]}
    belongs = None if row["is_own"] else read_cluster(cluster)
    before, after = (
        [
            ScoredRun(
                item=name,
                digest=f"{digest}",
                cluster="" if belongs is None else belongs(facts, row["source"], row["source"]),
                tags={key: str(value) for key, value in facts.items()},
                is_error=bool(failed),
                scores={
                    judge: JudgeScore(
                        None if passed is None else bool(passed), score, version, bool(broke)
                    )
                    for judge, version, score, passed, broke in scores
                    if version in chosen[judge]
                },
            )
            for digest, failed, scores in row[side]
        ]
        for side in ("before", "after")
    )
    answered = [sum(not run.is_error for run in side) for side in (before, after)]
    amounts = {}
    for amount in AMOUNTS:
        sides = row[f"{amount}_before"], row[f"{amount}_after"]
        if all(sides):
            means = (_means(side, of) for side, of in zip(sides, answered, strict=True))
            amounts[amount] = [pair for pair in zip(*means, strict=True) if all(pair)]
    return ItemGroup(name, before, after, row["count"], amounts)


def _means(values: Sequence[float], repeats: int) -> Sequence[float]:
    """Return the mean of the amounts above 0 for each item; 0 if there are none."""
    if repeats == 1:
        return values
    means = []
    for place in range(0, len(values), repeats):
        known = [value for value in values[place : place + repeats] if value > 0]
        means.append(floats.mean(known) if known else 0.0)
    return means


def count_items(compared: Compared, show: Show, judge: str = "") -> int:
    """Count the items of one kind, such as regressions."""
    return sum(value.count for _, value in compared.select(show, judge))


def items_of(compared: Compared, show: Show, judge: str = "") -> list[str]:
    """Return the IDs of the items that `show` selects, such as all regressions.

    The item with the largest change comes first. If very many items have identical results, only
    the first of their IDs are returned.
    """
    entries = (
        (place, item)
        for place, value in compared.select(show, judge)
        for item in compared.items[value.name]
    )
    return [item for _, item in sorted(entries)]
