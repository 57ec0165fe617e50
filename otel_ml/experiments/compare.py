"""Compares the runs of an experiment with those of a baseline, judge by judge."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from otel_ml.arguments import invalid
from otel_ml.experiments.rows import ItemRun, by_item
from otel_ml.statistics.scored_runs import (
    DEFAULT_CLUSTER,
    JudgeScore,
    ScoredRun,
    is_flaky,
    read_cluster,
)
from otel_ml.statistics.verdict import JudgeEstimate, Verdict, compare_items, estimate_judges

_CLUSTER: Final = """'tags["name"]', 'source_run', a function of an item, or None"""


def _session_of(run: ItemRun) -> str:
    return run.source_session


@dataclass(frozen=True, slots=True)
class ComparisonOptions:
    """Options for comparing an experiment with its baseline, as passed to `otel_ml.evaluate`.

    Attributes:
        cluster: Function that returns the cluster of a run, such as its session. Runs of one
            cluster are not counted as independent. None if every item is its own cluster.
        margins: Smallest difference that matters, by judge.
        lower_is_better: Judges for which a lower score is better.
        is_partial: Whether to give a verdict even if less than 90 % of the items are in both
            experiments.
        chosen: The options that the user set, without defaults. They are stored with the
            experiment, and are used again when you compare it later.
    """

    cluster: Callable[[ItemRun], object] | None = _session_of
    margins: Mapping[str, float] = field(default_factory=dict)
    lower_is_better: frozenset[str] = frozenset()
    is_partial: bool = False
    chosen: Mapping[str, object] = field(default_factory=dict)

    @property
    def left_out(self) -> Mapping[str, int]:
        """Number of recorded runs that a replay left out, by reason. Empty if this is no replay."""
        left_out = self.chosen.get("left_out")
        return dict(left_out) if isinstance(left_out, Mapping) else {}

    @property
    def duplicates(self) -> Sequence[str]:
        """Ids of items that the data set had more than once."""
        items = self.chosen.get("duplicates")
        return [str(item) for item in items] if isinstance(items, list) else []

    @property
    def clustered_by(self) -> str:
        """The key by which runs are grouped into clusters, such as ``tags["document"]``.

        Runs of one cluster are not counted as independent.
        """
        return str(self.chosen.get("cluster") or DEFAULT_CLUSTER)


ALIKE: Final = ComparisonOptions()


def cluster_of(given: Any) -> Callable[[ItemRun], object]:
    """Convert the option `cluster` of an experiment to a function that returns a run's cluster.

    A cluster is a group of runs that depend on each other, such as the runs of one session.

    Args:
        given: A function that takes a run, a text such as ``tags["client"]``, or None. With None,
            all runs on items from the same recorded session are one cluster.

    Raises:
        ValueError: The value is none of these.
    """
    if given is None:
        return _session_of
    if callable(given):
        return given  # type: ignore[no-any-return]  # just checked
    if issubclass(type(given), str):
        cluster = read_cluster(given)
        if cluster is not None:
            return lambda run: cluster(run.tags, run.source_run, run.source_session)
    raise invalid("cluster", given, _CLUSTER)


def verdict_of(
    now: Sequence[ItemRun], before: Sequence[ItemRun], comparison: ComparisonOptions
) -> Verdict:
    """Compare an experiment's runs with the baseline's, on the items that both have."""
    return compare_items(
        [_scored(run, comparison) for run in before],
        [_scored(run, comparison) for run in now],
        margin=comparison.margins,
        lower_is_better=comparison.lower_is_better,
        partial=comparison.is_partial,
        cluster=comparison.clustered_by,
    )


def _cluster_of(run: ItemRun, comparison: ComparisonOptions) -> str:
    cluster = None if comparison.cluster is None else comparison.cluster(run)
    return "" if cluster is None or str(cluster) == run.item else str(cluster)


def _scored(run: ItemRun, comparison: ComparisonOptions) -> ScoredRun:
    return ScoredRun(
        item=run.item,
        digest=run.digest,
        cluster=_cluster_of(run, comparison),
        tags={name: str(value) for name, value in run.tags.items()},
        is_error=run.outcome != "ok",
        scores={
            name: JudgeScore(
                judgement.passed, judgement.score, judgement.version, judgement.error is not None
            )
            for name, judgement in run.judgements.items()
        },
        latency=run.latency_ms,
        cost=run.cost,
    )


def has_clusters(runs: Sequence[ItemRun], comparison: ComparisonOptions) -> bool:
    """Return whether any item belongs to a cluster, so that intervals must account for it."""
    return any(_cluster_of(run, comparison) for run in runs)


def estimate_alone(
    runs: Sequence[ItemRun], comparison: ComparisonOptions
) -> Mapping[str, JudgeEstimate]:
    """Return each judge's pass rate or mean score with its interval, if there is no baseline."""
    scored = [_scored(run, comparison) for run in runs]
    return estimate_judges(scored, lower_is_better=comparison.lower_is_better)


def find_flaky(runs: Sequence[ItemRun]) -> list[str]:
    """Return the ids of flaky items: some repeats pass and others fail."""
    items = by_item(runs).items()
    return [item for (item, _), of in items if is_flaky([_scored(run, ALIKE) for run in of])]
