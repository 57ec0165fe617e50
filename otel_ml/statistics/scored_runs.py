"""Scored runs, grouped by the items and clusters that they belong to: the input of verdicts."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import Final

from otel_ml.statistics import floats
from otel_ml.statistics.comparison import (
    Unit,
)

AMOUNT_UNITS: Final = {"latency": Unit.LATENCY, "tokens": Unit.TOKENS, "cost": Unit.COST}
AMOUNTS: Final = tuple(AMOUNT_UNITS)
_AMOUNT_OF: Final = {name: attrgetter(name) for name in AMOUNTS}
# The default cluster key, and the names of cluster keys in sentences.
DEFAULT_CLUSTER: Final = "source_session"
SOURCE_CLUSTERS: Final[Mapping[str, str]] = {DEFAULT_CLUSTER: "session", "source_run": "source run"}
_TAG: Final = re.compile(r"""tags\[(?:"([^"]+)"|'([^']+)')\]""")


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


RunsByItem = Mapping[str, Sequence[ScoredRun]]
CountedRuns = Sequence[tuple[ScoredRun, int]]
ItemPairs = Sequence[ItemGroup]


def group_runs(runs: Iterable[ScoredRun]) -> RunsByItem:
    """Group runs by their item."""
    scored_runs: defaultdict[str, list[ScoredRun]] = defaultdict(list)
    for run in runs:
        scored_runs[run.item].append(run)
    return scored_runs


def group_items(before: RunsByItem, after: RunsByItem) -> list[ItemGroup]:
    """Return one `ItemGroup` per item. Items of the candidate come first."""
    item_groups = []
    for item in dict.fromkeys((*after, *before)):
        sides = before.get(item, ()), after.get(item, ())
        amounts = {}
        for name in AMOUNTS:
            means = [
                find_mean([amount for run in runs if (amount := run.amount(name))])
                for runs in sides
            ]
            if means[0] and means[1]:
                amounts[name] = [(means[0], means[1])]
        item_groups.append(ItemGroup(item, *sides, amounts=amounts))
    return item_groups


def find_shared(groups: Sequence[ItemGroup]) -> SharedItems:
    """Return which items baseline and candidate have in common."""
    entries: defaultdict[str, list[str]] = defaultdict(list)
    for group in groups:
        if group.is_pair:
            what = "common"
        elif not group.before:
            what = "new"
        else:
            what = "changed" if group.after else "gone"
        entries[what] += [group.name] * group.count
    return SharedItems(*(entries[share.name] for share in fields(SharedItems)))


def list_judges(*sides: CountedRuns) -> list[str]:
    """List the judges that scored any of these runs."""
    return list(dict.fromkeys(judge for side in sides for run, _ in side for judge in run.scores))


def find_mean(values: Sequence[float]) -> float | None:
    """Return the mean of values. None for none."""
    return floats.mean(values) if values else None
