"""Experiments, computed once for the JSON API and the pages.

Verdicts are not stored: `otel_ml.statistics` computes them on request. The store counts the items
whose runs have the same results, so 100,000 items become a few groups. Only items that are shown
are read as rows.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import orjson
from pydantic import ConfigDict, Field

from otel_ml import attributes as names
from otel_ml.counts import write_count
from otel_ml.records import (
    ExperimentRow,
    ItemScore,
    JudgedChange,
    ListedExperiment,
    ListedItemRun,
)
from otel_ml.statistics import floats
from otel_ml.statistics.comparison import Word
from otel_ml.statistics.paired import LEAST_AMOUNTS
from otel_ml.statistics.report import (
    NAMED,
    NAMED_IN_MARKDOWN,
    Report,
    WorseItem,
    advise_judging,
    cut_cell,
    judge_results,
    label_item,
    write_change,
    write_duplicates,
    write_failed,
    write_judge_failed,
    write_label,
    write_left_out,
    write_step,
)
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
from otel_ml.statistics.sentences import list_verdict_reasons
from otel_ml.statistics.verdict import ItemChange, Verdict, compare_groups, estimate_groups
from otel_ml_collector import wording
from otel_ml_collector.answer_body import AnswerBody
from otel_ml_collector.api.parameters import read_cursor, write_place
from otel_ml_collector.errors import BadInput, Missing
from otel_ml_collector.filter.writing import narrow, quoted
from otel_ml_collector.price import round_cost
from otel_ml_collector.runs import find as runs
from otel_ml_collector.runs.answers import Run
from otel_ml_collector.store.experiments import (
    MOST_RUNS,
    ItemsState,
    RecordedWindow,
    count_alike,
    count_item_runs,
    item_parameters,
    list_items,
    read_item_content,
    read_item_runs,
    read_judge_errors,
    read_state,
)
from otel_ml_collector.store.reader import Reader, Row, load_json, run_id_of
from otel_ml_collector.store.record_kinds import find_record_kinds
from otel_ml_collector.store.versions import read_version_numbers, version_numbers
from otel_ml_collector.times import to_rfc3339
from otel_ml_collector.verdicts.verdicts import (
    ComparedFigure,
    Interval,
    JudgeVersionName,
    choose_versions,
    describe_figure,
    describe_judges,
)

_KIND: Final = "experiment"
_OWN_PARAMS: Final = frozenset({"function", "version", "judges"})
SHOWN: Final = 20
ROWS: Final = 100
_MOST_EXAMINED: Final = 100
_NAMED: Final = 1_000
_IDS_A_ROW: Final = 20
_REASONS: Final = 20
_REASON_CHARS: Final = 200
_NO_CONTENT: Final = {
    "tags": "",
    "source_run": "",
    "source_session": "",
    "expected": "",
    "cut": "",
}

NO_BASELINE: Final = "none"
# The tag that `evaluate(baseline="baseline")` looks for, as `otel-ml baseline set` gives it.
BASELINE_TAG: Final = "baseline"
Show = Literal["all", "regression", "fixed", "flaky", "error"]


class ExperimentsPage(AnswerBody):
    """Experiments of a project, newest first."""

    experiments: list[ListedExperiment]
    next_cursor: str | None


class JudgeOfItems(JudgeVersionName):
    """A judge's value of an experiment alone."""

    is_rate: bool = Field(
        description="True if the value is a pass rate, false if it is a mean score"
    )
    value: Interval | None = Field(
        description="Mean over the items; the repeated runs of an item count once, with their mean"
    )
    failed: int = Field(description="Number of runs on which the judge itself raised an error")


class SliceChange(AnswerBody):
    """The change by a judge among the items with a tag's value."""

    model_config = ConfigDict(from_attributes=True)

    tag: str
    value: str
    judge: str
    difference: Interval = Field(
        description="Difference in this slice, with a 95 % interval for this slice alone"
    )
    word: Word | None = Field(
        description="Verdict on this slice; null unless the difference is still significant after "
        "a correction for the number of slices (Benjamini-Hochberg at 5 %)"
    )


class ExperimentVerdict(AnswerBody):
    """The verdict on an experiment compared with its baseline."""

    baseline: ListedExperiment
    word: Word = Field(
        description="The worst verdict of all judges: worse, not enough data, no difference or "
        "better. If the share of failed calls clearly changed, its verdict is used "
        "instead"
    )
    reasons: list[str] = Field(description="Why the whole comparison has not enough data")
    judges: list[ComparedFigure]
    amounts: list[ComparedFigure]
    failures: ComparedFigure | None = Field(
        description="Change of the share of failed calls; null if no call failed"
    )
    slices: list[SliceChange]
    common: int = Field(
        description="Number of items with the same ID and content on both sides; only these are "
        "compared"
    )
    new: int
    gone: int
    changed: int
    regressions: int = Field(
        description="Number of items that a judge scores worse than in the baseline, or whose "
        "calls now fail"
    )
    fixed: int


class ExperimentDetail(AnswerBody):
    """The results of an experiment, and its verdict."""

    experiment: ListedExperiment
    judges: list[JudgeOfItems]
    flaky: int = Field(
        description="Number of items with mixed results: some of their repeated runs pass, others "
        "fail"
    )
    verdict: ExperimentVerdict | None = Field(
        description="Verdict compared with the baseline; null without a baseline"
    )
    clustered_by: str = Field(
        description="Key that groups dependent items, such as source_session; empty if all items "
        "are independent"
    )
    notes: list[str] = Field(description="Remarks that readers need to interpret the numbers")


class ExperimentRows(AnswerBody):
    """Items of an experiment."""

    rows: list[ExperimentRow]
    next_cursor: str | None


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


def find_experiments(
    reader: Reader,
    project: str,
    now_ns: int,
    *,
    where: str = "",
    limit: int = SHOWN,
    cursor: str | None = None,
    verdicts: bool = False,
) -> ExperimentsPage:
    """List the experiments of a project, newest first. Add their verdicts if requested.

    Raises:
        BadInput: The filter or cursor is invalid.
    """
    text = f'kind == "{_KIND}"'
    query = runs.RunsQuery(project, narrow(where, text), limit=limit, cursor=cursor)
    stored_runs = runs.find_runs(reader, query, now_ns)
    whole = [*runs.find_whole_runs(reader, stored_runs.runs, now_ns)]
    listed = make_experiments(reader, project, whole)
    if verdicts:
        listed = [_judge_listed(reader, project, listing, now_ns) for listing in listed]
    return ExperimentsPage(experiments=listed, next_cursor=stored_runs.next_cursor)


def _judge_listed(
    reader: Reader, project: str, experiment: ListedExperiment, now_ns: int
) -> ListedExperiment:
    """Add the results of an experiment. It has none if it is too large or was just deleted."""
    try:
        detail = find_experiment(reader, project, experiment.run_id, now_ns)
    except (BadInput, Missing):
        return experiment
    return replace(
        experiment,
        verdict=detail.verdict.word if detail.verdict else "",
        values={judge.judge: judge.value.value for judge in detail.judges if judge.value},
    )


def find_experiments_of(
    reader: Reader, project: str, model: str, version: int, now_ns: int
) -> list[ListedExperiment]:
    """List the newest 100 experiments of a version of a model, newest first."""
    if not find_record_kinds(reader, project).experiments:
        return []
    digests = sorted(
        digest
        for (_, digest, _), number in version_numbers(reader, project, "model", [model]).items()
        if number == version
    )
    if not digests:
        return []
    named = " or ".join(f'params["version"] == {quoted(digest)}' for digest in digests)
    where = f'params["function"] == {quoted(model)} and ({named})'
    experiments = find_experiments(
        reader, project, now_ns, where=where, limit=_MOST_EXAMINED
    ).experiments
    return [experiment for experiment in experiments if experiment.version == version]


@dataclass(frozen=True, slots=True)
class NamedExperiment:
    """An experiment to choose from a list, without its results."""

    run_id: str
    name: str
    version: int | None
    start_time: str


def find_others(
    reader: Reader, project: str, experiment: ListedExperiment, now_ns: int
) -> list[NamedExperiment]:
    """List up to 20 experiments on the same data set, without the given one, newest first."""
    where = f'kind == "{_KIND}" and dataset == {quoted(experiment.dataset)}'
    query = runs.RunsQuery(project, where, limit=SHOWN)
    listed = runs.find_runs(reader, query, now_ns).runs
    whole_runs = [
        whole_run
        for whole_run in runs.find_whole_runs(reader, listed, now_ns)
        if whole_run.run_id != experiment.run_id
    ]
    numbers = _version_numbers(reader, project, whole_runs)["model"]
    return [
        NamedExperiment(
            whole_run.run_id,
            _name_of(whole_run),
            numbers.get(_version_of(_params_of(whole_run))),
            whole_run.start_time,
        )
        for whole_run in whole_runs
    ]


def choose_pair(
    before: Sequence[ListedExperiment], after: Sequence[ListedExperiment]
) -> tuple[ListedExperiment, ListedExperiment] | None:
    """Choose one experiment from each list, so that the two can be compared.

    Only experiments with the outcome ``ok`` that ran on the same data set can be compared. A pair
    that ran on the same version of the data set is preferred. Among several pairs, the one
    with the newest experiment of `after` is chosen, and then the newest of `before`.

    Args:
        before: The first list, ordered newest first.
        after: The second list, ordered newest first.

    Returns:
        The experiment from `before`, and the one from `after`. None if no two can be compared.
    """
    pairs = [
        (item, other)
        for other in after
        for item in before
        if item.dataset == other.dataset
        and item.outcome == other.outcome == "ok"
        and item.run_id != other.run_id
    ]
    same = [pair for pair in pairs if pair[0].dataset_digest == pair[1].dataset_digest]
    return next(iter(same or pairs), None)


def choose_baseline(experiments: Sequence[ListedExperiment]) -> ListedExperiment:
    """Choose the default baseline from a list of experiments.

    The rules, in this order:

    1. Find the newest experiment that was run with a baseline from this list. Choose its baseline.
    2. Choose the newest experiment with the tag ``baseline``.
    3. Choose the oldest experiment.
    """
    newest_first = sorted(experiments, key=lambda experiment: experiment.start_ns, reverse=True)
    by_id = {experiment.run_id: experiment for experiment in experiments}
    own = [by_id[item.baseline] for item in newest_first if item.baseline in by_id]
    tagged = [item for item in newest_first if item.tags.get(BASELINE_TAG, False) is not False]
    return next(iter([*own, *tagged]), newest_first[-1])


def find_one(reader: Reader, project: str, run_id: str, now_ns: int) -> ListedExperiment:
    """Read an experiment.

    Raises:
        Missing: There is no such experiment.
        BadInput: The id is invalid.
    """
    return make_experiments(reader, project, [_read_run(reader, project, run_id, now_ns)])[0]


def find_pair(
    reader: Reader, project: str, run_id: str, now_ns: int, baseline: str | None
) -> tuple[ListedExperiment, ListedExperiment | None]:
    """Read an experiment and the baseline that it is compared with.

    Args:
        reader: The store.
        project: The project.
        run_id: Run ID of the experiment.
        now_ns: Current time, in nanoseconds since 1970.
        baseline: Run ID of the experiment to compare with. ``recorded`` compares with the recorded
            runs that the experiment replays. ``none`` compares with nothing. If None, the baseline
            that was chosen when the experiment was run.

    Returns:
        The experiment and its baseline. The baseline is None if the experiment has none. It is also
        None if the baseline that was chosen when the experiment was run is not in the store.

    Raises:
        Missing: The experiment or the requested baseline does not exist.
        BadInput: An ID is invalid, or `baseline` is the experiment itself.
    """
    run = _read_run(reader, project, run_id, now_ns)
    baseline_id = _text(run.attributes.get(names.EXPERIMENT_BASELINE))
    if names.RECORDED in {baseline, baseline or baseline_id}:
        now = make_experiments(reader, project, [run])[0]
        before = make_recorded(now)
        if baseline and before is None:
            raise Missing(f"Experiment {run_id} replays no recorded runs")
        return now, before
    other: Run | None = None
    if baseline == run_id:
        raise BadInput("Invalid baseline: expected another experiment", "baseline")
    if baseline and baseline != NO_BASELINE:
        other = _read_run(reader, project, baseline, now_ns)
    if not baseline and names.RUN_ID.fullmatch(baseline_id) and baseline_id != run_id:
        with suppress(Missing):
            other = _read_run(reader, project, baseline_id, now_ns)
    if other is None:
        return make_experiments(reader, project, [run])[0], None
    now, before = make_experiments(reader, project, [run, other])
    return now, before


def make_recorded(experiment: ListedExperiment) -> ListedExperiment | None:
    """Describe the recorded runs that an experiment replays as if they were an experiment."""
    window = _window_of(experiment)
    if window is None:
        return None
    return replace(
        experiment,
        run_id=names.RECORDED,
        name="recorded runs",
        outcome="ok",
        start_ns=window.first_ns,
        start_time=to_rfc3339(window.first_ns),
        latency_ms=None,
        version=None,
        digest="",
        repeats=1,
        done=experiment.items,
        errors=0,
        doubled=0,
        cost=None,
        params={},
        baseline="",
        source="",
        tags={},
    )


def _window_of(*experiments: ListedExperiment) -> RecordedWindow | None:
    """Return the period of the recorded runs that the last experiment replays, if any."""
    value = experiments[-1].comparison.get("recorded")
    return None if value is None else RecordedWindow(*value)


def _sides_of(
    *sides: ListedExperiment | None,
) -> tuple[list[str], int, RecordedWindow | None]:
    """Return the IDs of the compared experiments, their first start, and the recorded period."""
    both = [side for side in sides if side is not None]
    ran = [experiment for experiment in both if experiment.run_id != names.RECORDED]
    window = _window_of(ran[-1]) if len(ran) < len(both) else None
    return [experiment.run_id for experiment in both], min(item.start_ns for item in ran), window


def _read_run(reader: Reader, project: str, run_id: str, now_ns: int) -> Run:
    run = runs.find_run(reader, run_id, project, now_ns=now_ns)
    if run.kind != _KIND:
        raise Missing(f"Run {run_id} is not an experiment")
    return run


def find_experiment(
    reader: Reader, project: str, run_id: str, now_ns: int, baseline: str | None = None
) -> ExperimentDetail:
    """Read the results of an experiment, and whether it is better or worse than its baseline.

    Args:
        reader: The store.
        project: The project.
        run_id: Run ID of the experiment.
        now_ns: Current time, in nanoseconds since 1970.
        baseline: Run ID of the experiment to compare with. ``recorded`` compares with the recorded
            runs that the experiment replays. ``none`` compares with nothing. If None, the baseline
            that was chosen when the experiment was run.

    Raises:
        Missing: The experiment or the baseline does not exist.
        BadInput: An ID is invalid, or both experiments have too many runs to compare.
    """
    return describe(reader, project, compare(reader, project, run_id, now_ns, baseline))


def compare_listed(
    reader: Reader,
    project: str,
    experiment: ListedExperiment,
    baseline: ListedExperiment | None,
) -> ExperimentDetail:
    """Compare two experiments that you have already read, like `find_experiment`."""
    compared = _compare_sides(reader, project, experiment, baseline, most=_NAMED)
    return describe(reader, project, compared)


def compare_experiments(
    reader: Reader, project: str, experiment: ListedExperiment, baseline: ListedExperiment
) -> Compared:
    """Compare two experiments that you have already read, item by item."""
    return _compare_sides(reader, project, experiment, baseline, most=_NAMED)


def find_rows(  # noqa: PLR0913 - all by keyword
    reader: Reader,
    project: str,
    run_id: str,
    now_ns: int,
    *,
    baseline: str | None = None,
    show: Show = "all",
    judge: str = "",
    limit: int = ROWS,
    cursor: str | None = None,
) -> ExperimentRows:
    """List the data set items of an experiment: all of them, or only those of one kind.

    Args:
        reader: The store.
        project: The project.
        run_id: Run ID of the experiment.
        now_ns: Current time, in nanoseconds since 1970.
        baseline: Run ID of the experiment to compare with. ``recorded`` compares with the recorded
            runs that the experiment replays. ``none`` compares with nothing. If None, the baseline
            that was chosen when the experiment was run.
        show: ``all``, ordered by item ID; ``regression`` or ``fixed`` (items that got worse or
            better than in the baseline), the largest change first; ``flaky`` (repeated runs pass
            and fail) or ``error`` (a call failed).
        judge: For ``regression`` and ``fixed``: name of the only judge whose scores are compared.
            If empty, the scores of all judges are compared.
        limit: Maximum number of items.
        cursor: The `next_cursor` of the previous page; None for the first page.

    Raises:
        Missing: The experiment or the baseline does not exist.
        BadInput: An ID or the cursor is invalid.
    """
    experiment, other = find_pair(reader, project, run_id, now_ns, baseline)
    if show != "all" or other is not None:
        most = first_of(cursor) + limit + 1
        compared = _compare_sides(reader, project, experiment, other, most=most)
        return cut_rows(
            reader, project, compared, show=show, judge=judge, limit=limit, cursor=cursor
        )
    (after,) = read_cursor(cursor, str) if cursor else ("",)
    items = list_items(reader, project, run_id, experiment.start_ns, after=after, limit=limit + 1)
    shown = items[:limit]
    outcome = _work_out(reader, project, experiment, None, most=limit, items=shown)
    compared = Compared(experiment, None, *outcome)
    return ExperimentRows(
        rows=make_rows(reader, project, compared, shown),
        next_cursor=write_place([shown[-1]]) if len(items) > limit else None,
    )


def make_experiments(
    reader: Reader, project: str, entries: Sequence[Run]
) -> list[ListedExperiment]:
    """Describe experiments for the API and the pages, given the run of each experiment."""
    if not entries:
        return []
    start_ns = min(run.start_ns for run in entries)
    counts = count_item_runs(reader, project, [run.run_id for run in entries], start_ns)
    first = _version_numbers(reader, project, entries)
    made = []
    for run in entries:
        attributes, of_run = run.attributes, _params_of(run)
        counted = counts.get(run.run_id, {"done": 0, "errors": 0, "every": 0, "cost": None})
        judges = of_run.get("judges")
        function, digest = _version_of(of_run)
        dataset_digest = _text(attributes.get(names.EXPERIMENT_DATASET_VERSION))
        items = _count(attributes.get(names.EXPERIMENT_ITEMS))
        repeats = _count(attributes.get(names.EXPERIMENT_REPEATS)) or 1
        made.append(
            ListedExperiment(
                run_id=run.run_id,
                name=_name_of(run),
                outcome=_outcome(run.outcome, is_whole=0 < items * repeats <= counted["done"]),
                start_ns=run.start_ns,
                start_time=run.start_time,
                latency_ms=run.latency_ms,
                function=function,
                version=first["model"].get((function, digest)),
                digest=digest,
                dataset=run.dataset,
                dataset_version=first["dataset"].get((run.dataset, dataset_digest)),
                dataset_digest=dataset_digest,
                items=items,
                repeats=repeats,
                done=counted["done"],
                errors=counted["errors"],
                doubled=counted["every"] - counted["done"],
                cost=round_cost(counted["cost"]),
                judges={
                    name: _text(judge)
                    for name, judge in (judges if isinstance(judges, dict) else {}).items()
                },
                params={name: value for name, value in of_run.items() if name not in _OWN_PARAMS},
                baseline=_text(attributes.get(names.EXPERIMENT_BASELINE)),
                comparison=_comparison_of(attributes.get(names.EXPERIMENT_COMPARISON)),
                source=_text(attributes.get(names.EXPERIMENT_SOURCE)),
                tags=run.tags,
            )
        )
    return made


def _version_numbers(
    reader: Reader, project: str, items: Sequence[Run]
) -> dict[str, dict[tuple[str, str], int]]:
    """Read the version numbers of experiments' functions and data sets, by name and digest."""
    numbers = read_version_numbers(
        reader,
        project,
        {
            "model": {_version_of(_params_of(run))[0] for run in items},
            "dataset": {run.dataset for run in items},
        },
    )
    return {
        kind: {(name, digest): number for (name, digest, _), number in sorted(of.items())[::-1]}
        for kind, of in numbers.items()
    }


def _params_of(run: Run) -> Mapping[str, Any]:
    return run.params if isinstance(run.params, dict) else {}


def _version_of(params: Mapping[str, Any]) -> tuple[str, str]:
    """Return the name and the digest of the function that was run."""
    return _text(params.get("function")), _text(params.get("version"))


def _name_of(run: Run) -> str:
    return _text(run.attributes.get(names.EXPERIMENT_NAME)) or run.name


def _outcome(outcome: str, *, is_whole: bool) -> str:
    """Return how an experiment ended. If it was interrupted and completed later, this is ``ok``."""
    return "ok" if is_whole and outcome in {"cancelled", "crashed"} else outcome


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _comparison_of(text: object) -> dict[str, Any]:
    """Read the options of an experiment's comparison. Values of the wrong type are ignored."""
    try:
        document = orjson.loads(_text(text) or "{}")
    except ValueError:
        return {}
    document = document if isinstance(document, dict) else {}
    margin, lower = document.get("margin"), document.get("lower_is_better")
    duplicates = document.get("duplicates")
    known = {
        "recorded": _window(document.get("recorded")),
        "left_out": _counts(document.get("left_out")),
        "duplicates": [
            item
            for item in (duplicates if isinstance(duplicates, list) else [])
            if isinstance(item, str)
        ],
        "margin": {
            name: value
            for name, value in (margin if isinstance(margin, dict) else {}).items()
            if isinstance(value, int | float) and value >= 0
        },
        "lower_is_better": [metric_name for metric_name in lower if isinstance(metric_name, str)]
        if isinstance(lower, list)
        else [],
        "cluster": _text(document.get("cluster")),
        "partial": document.get("partial") is True,
    }
    return {name: value for name, value in known.items() if value}


def _window(value: object) -> list[int] | None:
    """Read the starts of the first and the last recorded run; None if they are invalid."""
    if not isinstance(value, list) or [*map(type, value)] != [int, int]:
        return None
    first, last = value
    return value if 0 < first <= last < 2**63 else None


def _counts(value: object) -> dict[str, int]:
    """Read how many recorded runs were left out, by reason."""
    if not isinstance(value, dict):
        return {}
    return {reason[:_REASON_CHARS]: _count(value) for reason, value in [*value.items()][:_REASONS]}


def compare(
    reader: Reader,
    project: str,
    run_id: str,
    now_ns: int,
    baseline: str | None,
    *,
    most: int = _NAMED,
) -> Compared:
    """Read an experiment and its baseline, and compare them.

    Args:
        reader: The store.
        project: The project.
        run_id: Run ID of the experiment.
        now_ns: Current time, in nanoseconds since 1970.
        baseline: Run ID of the experiment to compare with. ``recorded`` compares with the recorded
            runs that the experiment replays. ``none`` compares with nothing. If None, the baseline
            that was chosen when the experiment was run.
        most: Items with identical results form a group. This is the maximum number of item IDs that
            are read for each group. It is at least 1,000: smaller values have no effect.

    Raises:
        Missing: The experiment or the baseline does not exist.
        BadInput: An ID is invalid, or both experiments have too many runs to compare.
    """
    experiment, other = find_pair(reader, project, run_id, now_ns, baseline)
    compared = _compare_sides(reader, project, experiment, other, most=most)
    is_missing = baseline is None and other is None
    return replace(compared, missing=experiment.baseline) if is_missing else compared


def _compare_sides(
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
    ids, start_ns, window = _sides_of(other, experiment)
    state = read_state(reader, project, ids, start_ns, recorded=window)
    most = max(most, _NAMED)
    # The cached result is valid only for the same state and the same options.
    options = [(experiment.run_id, experiment.doubled) for experiment in both]
    key = "compared", project, state, most, repr((options, experiment.comparison))
    groups, items, verdict, chosen = reader.memory.work_out(
        key,
        lambda: _work_out(reader, project, experiment, other, most=most, state=state),
        lambda made: len(made[0]) + sum(map(len, made[1].values())) // _IDS_A_ROW,
    )
    return Compared(experiment, other, groups, items, verdict, chosen)


def _work_out(
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
    cluster = _cluster_of(experiment)
    ids, start_ns, window = _sides_of(other, experiment)
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


def _cluster_of(experiment: ListedExperiment) -> str:
    """Return the key that groups dependent items: the experiment's own option, else the default."""
    return _text(experiment.comparison.get("cluster")) or DEFAULT_CLUSTER


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


def describe(reader: Reader, project: str, compared: Compared) -> ExperimentDetail:
    """Return the results of an experiment that was compared."""
    experiment = compared.now
    groups = [group for group in compared.groups.values() if group.after]
    lower = experiment.comparison.get("lower_is_better", ())
    numbers = version_numbers(reader, project, "judge", compared.chosen)
    judges = []
    for judge, estimate_group in estimate_groups(groups, lower_is_better=lower).items():
        digests = {
            run.scores[judge].version
            for group in groups
            for run in group.after
            if judge in run.scores
        }
        digest = next(iter(digests)) if len(digests) == 1 else ""
        judges.append(
            JudgeOfItems(
                judge=judge,
                version=numbers.get((judge, digest, "")),
                digest=digest,
                is_rate=estimate_group.is_rate,
                value=Interval.model_validate(estimate_group.value)
                if estimate_group.value
                else None,
                failed=estimate_group.failed,
            )
        )
    errors = _find_judge_errors(reader, project, experiment, (judge.failed for judge in judges))
    return ExperimentDetail(
        experiment=experiment,
        judges=judges,
        flaky=count_items(compared, "flaky"),
        verdict=_make_verdict(compared, numbers),
        clustered_by=_cluster_of(experiment)
        if any(group.cluster for group in compared.groups.values())
        else "",
        notes=[
            *_notes(compared, {judge.is_rate for judge in judges if judge.value is not None}),
            *(
                write_judge_failed(judge.judge, judge.failed, errors.get(judge.judge, ""))
                for judge in judges
                if judge.failed
            ),
        ],
    )


def _find_judge_errors(
    reader: Reader, project: str, experiment: ListedExperiment, failed: Iterable[int]
) -> Mapping[str, str]:
    """Read the first error of each judge if at least one of them failed on a run."""
    if not any(failed):
        return {}
    return read_judge_errors(reader, project, experiment.run_id, experiment.start_ns)


def report(reader: Reader, project: str, compared: Compared, page: str, now_ns: int) -> Report:
    """Make the report on a compared experiment. The SDK and the command line show the same report.

    `page` is the URL of the project's pages. The report links to them.
    """
    now, before, verdict = compared.now, compared.before, compared.verdict
    lower = now.comparison.get("lower_is_better", ())
    groups = [group for group in compared.groups.values() if group.after]
    alone = estimate_groups(groups, lower_is_better=lower)
    judges = judge_results(now.judges, alone, verdict, lower)
    rows = make_rows(reader, project, compared, items_of(compared, "flaky")[:NAMED])
    firsts = _read_firsts(reader, project, compared, rows, now_ns)
    return Report(
        name=now.name,
        baseline=write_label(before.name, _stored_id(before), before.start_ns) if before else None,
        runs=now.done,
        wanted=now.items * now.repeats,
        errors=now.errors,
        word=verdict.word_of([judge.word for judge in judges.values()]) if verdict else "",
        judges=judges,
        failures=verdict.failures if verdict else None,
        shared=verdict.shared.counts if verdict and verdict.shared else None,
        flaky=[_label(row, firsts) for row in rows],
        flaky_count=count_items(compared, "flaky"),
        worse=_list_worse(reader, project, compared, page, now_ns),
        worse_count=count_items(compared, "regression"),
        url=f"{page}/experiments/{now.run_id}",
        baseline_id=_stored_id(before) if before else "",
        left_out=now.comparison.get("left_out", {}),
        duplicates=now.comparison.get("duplicates", ()),
        judge_errors=_find_judge_errors(
            reader, project, now, (judge.failed for judge in judges.values())
        ),
    )


def _stored_id(experiment: ListedExperiment) -> str:
    """Return the run ID of an experiment; empty for recorded runs, which are not an experiment."""
    return "" if experiment.run_id == names.RECORDED else experiment.run_id


def _list_worse(
    reader: Reader, project: str, compared: Compared, page: str, now_ns: int
) -> list[WorseItem]:
    """List the first regressions with the outputs of their first runs."""
    items = items_of(compared, "regression")[:NAMED_IN_MARKDOWN]
    if compared.verdict is None or not items:
        return []
    rows = make_rows(reader, project, compared, items)
    firsts = _read_firsts(reader, project, compared, rows, now_ns)
    return [
        WorseItem(
            _label(row, firsts),
            row.change,
            next(
                (
                    message
                    for run in row.runs
                    if (message := wording.write_error(run.error_type, run.error_message))
                ),
                "",
            )
            or _cell(firsts, row.runs[0], "outputs"),
            _cell(firsts, row.baseline[0], "outputs"),
            f"{page}/runs/{row.runs[0].run_id}",
        )
        for row in rows
    ]


def _read_firsts(
    reader: Reader, project: str, compared: Compared, rows: Sequence[ExperimentRow], now_ns: int
) -> dict[str, Run]:
    """Read the first run of some items on both sides, with payloads, by run ID."""
    if not rows:
        return {}
    firsts = {side[0].run_id for row in rows for side in (row.runs, row.baseline) if side}
    both = [part.run_id for part in (compared.now, compared.before) if part is not None]
    where = " and ".join(
        f"({' or '.join(f'{name} == {quoted(item)}' for item in of)})"
        for name, of in (("experiment", both), ("item", [row.item for row in rows]))
    )
    listed = runs.find_runs(
        reader, runs.RunsQuery(project, where, limit=_MOST_EXAMINED), now_ns
    ).runs
    chosen = [listing for listing in listed if listing.run_id in firsts]
    read = {
        whole_run.run_id: whole_run for whole_run in runs.find_whole_runs(reader, chosen, now_ns)
    }
    if compared.before is not None and compared.before.run_id == names.RECORDED:
        for run_id in firsts - read.keys():
            with suppress(Missing):
                read[run_id] = runs.find_run(reader, run_id, project, now_ns=now_ns)
    return read


def _label(row: ExperimentRow, firsts: Mapping[str, Run]) -> str:
    """Name an item by the inputs of its first run."""
    known = row.runs[0].run_id in firsts
    return label_item(row.item, _cell(firsts, row.runs[0], "inputs") if known else "")


def _cell(
    firsts: Mapping[str, Run], listed: ListedItemRun, name: Literal["inputs", "outputs"]
) -> str:
    """Write inputs or outputs of a run in one short line."""
    run = firsts.get(listed.run_id)
    value = None if run is None else getattr(run, name)
    return cut_cell(value if isinstance(value, str) else orjson.dumps(value).decode())


def _make_verdict(
    compared: Compared, numbers: Mapping[tuple[str, str, str], int]
) -> ExperimentVerdict | None:
    verdict, before = compared.verdict, compared.before
    if verdict is None or before is None or verdict.shared is None:
        return None
    return ExperimentVerdict(
        baseline=before,
        word=verdict.word,
        reasons=list_verdict_reasons(verdict),
        judges=describe_judges(verdict, dict(numbers), compared.chosen),
        amounts=[describe_figure(amount) for amount in verdict.amounts.values()],
        failures=None if verdict.failures is None else describe_figure(verdict.failures),
        slices=[SliceChange.model_validate(item) for item in verdict.slices],
        common=len(verdict.shared.common),
        new=len(verdict.shared.new),
        gone=len(verdict.shared.gone),
        changed=len(verdict.shared.changed),
        regressions=count_items(compared, "regression"),
        fixed=count_items(compared, "fixed"),
    )


def _notes(compared: Compared, kinds: set[bool]) -> list[str]:
    """Write the notes that readers need to interpret the numbers.

    `kinds` contains True if a judge has a pass rate, and False if a judge has a mean score.
    """
    experiment, notes = compared.now, []
    if compared.verdict is not None:
        kinds |= {
            judge.is_rate for judge in compared.verdict.judges.values() if judge.candidate.estimate
        }
    wanted = experiment.items * experiment.repeats
    if experiment.done < wanted:
        notes.append(
            f"{experiment.done:,} of {write_count(wanted, 'run')}: missing runs are not counted"
        )
    if experiment.errors:
        notes.append(write_failed(experiment.errors, kinds))
    if experiment.doubled:
        notes.append(
            f"{experiment.doubled:,} repeated runs of an item: the first finished one counts"
        )
    if left_out := experiment.comparison.get("left_out"):
        notes.append(write_left_out(left_out))
    if duplicates := experiment.comparison.get("duplicates"):
        notes.append(write_duplicates(duplicates))
    if compared.missing:
        notes.append(f"The baseline is not stored: {compared.missing[:200]}")
    if read_cluster(_cluster_of(experiment)) is None:
        notes.append(
            "Items were clustered by a function that is not stored: each item counts alone"
        )
    if compared.verdict is not None and compared.before is not None:
        notes += advise_judging(compared.verdict.judges, _stored_id(compared.before))
    return notes


def first_of(cursor: str | None) -> int:
    """Return how many items the pages before the cursor contain.

    Raises:
        BadInput: The cursor is invalid.
    """
    (first,) = read_cursor(cursor, int) if cursor else (0,)
    return max(min(first, MOST_RUNS), 0)


def cut_rows(
    reader: Reader,
    project: str,
    compared: Compared,
    *,
    show: Show,
    judge: str = "",
    limit: int,
    cursor: str | None,
) -> ExperimentRows:
    """List one page of the items of one kind, such as regressions, starting at a cursor."""
    first = first_of(cursor)
    shown = items_of(compared, show, judge)[first : first + limit]
    more = first + limit < count_items(compared, show, judge)
    return ExperimentRows(
        rows=make_rows(reader, project, compared, shown),
        next_cursor=write_place([first + limit]) if more else None,
    )


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


def make_rows(
    reader: Reader, project: str, compared: Compared, items: Sequence[str]
) -> list[ExperimentRow]:
    """Read some items, with the runs on each item in the experiment and in the baseline."""
    if not items:
        return []
    now, before = compared.now, compared.before
    ids, start_ns, window = _sides_of(before, now)
    rows, item_runs = read_item_runs(reader, project, ids, start_ns, items, recorded=window)
    content = read_item_content(reader, project, (row["item_digest"] for row in rows))
    scores: defaultdict[tuple[str, str], dict[str, ItemScore]] = defaultdict(dict)
    for row in item_runs:
        if row["judge_version"] in compared.chosen.get(row["judge"], ()):
            scores[row["trace_id"], row["span_id"]][row["judge"]] = ItemScore(
                digest=row["judge_version"],
                score=row["score"],
                passed=row["passed"],
                failed=bool(row["failed"]),
            )
    sides: defaultdict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        sides[row["experiment"], row["item"]].append(row)
    groups = _find_groups(reader, project, compared, items)
    states = _states(compared.verdict)
    verdict = compared.verdict
    changes = (
        {regression.item: regression for regression in (*verdict.regressions, *verdict.fixed)}
        if verdict
        else {}
    )
    made = []
    for item in items:
        runs = sides[now.run_id, item]
        if not runs or item not in groups:  # deleted meanwhile
            continue
        digest, group = runs[0]["item_digest"], groups[item]
        value = content.get(digest, _NO_CONTENT)
        change = changes.get(group.name)
        baseline_rows = sides[before.run_id, item] if before else []
        made.append(
            ExperimentRow(
                item=item,
                digest=digest,
                tags=load_json(value["tags"], {}),
                source_run=item if names.RUN_ID.fullmatch(item) else value["source_run"],
                source_session=value["source_session"],
                state=states.get(group.name, "same") if before else "",
                is_flaky=is_flaky(group.after),
                runs=[_make_run(row, scores) for row in runs],
                baseline=[_make_run(row, scores) for row in baseline_rows],
                expected=_preview(value),
                change=write_change(change) if change else "",
                changes=_make_changes(change) if change else [],
            )
        )
    return made


def _preview(expected: Mapping[str, Any]) -> str:
    """Write an item's expected value as plain text, or the beginning of its JSON if it is long."""
    if expected["cut"]:
        return f"{expected['cut']}…"
    value = load_json(expected["expected"])
    if isinstance(value, str):
        return value
    return "" if value is None else str(expected["expected"])


def _make_changes(change: ItemChange) -> list[JudgedChange]:
    named = change.judges
    return [
        JudgedChange(
            judge=judge,
            is_rate=step.is_rate,
            before=step.before,
            after=step.after,
            change=step.change,
            score_before=step.scores[0],
            score_after=step.scores[1],
            text=write_step(step),
        )
        for judge in (*named, *sorted(change.steps.keys() - named))
        for step in (change.steps[judge],)
    ]


def _find_groups(
    reader: Reader, project: str, compared: Compared, items: Sequence[str]
) -> dict[str, ItemGroup]:
    """Find the group of each item. Items whose IDs were not read before are counted again."""
    wanted = {*items}
    groups = {
        item: compared.groups[name]
        for name, of in compared.items.items()
        for item in wanted.intersection(of)
    }
    left = [item for item in items if item not in groups]
    if left:
        both = compared.now, compared.before
        again, named, *_ = _work_out(reader, project, *both, most=len(left), items=left)
        known = {_results_of(group): group for group in compared.groups.values()}
        for name, value in again.items():
            for item in named[name]:
                if (group := known.get(_results_of(value))) is not None:
                    groups[item] = group
    return groups


def _results_of(item_group: ItemGroup) -> str:
    """Write the results of a group's runs as text that can be compared."""
    sides = (
        [replace(run, item="", cluster="", tags={}) for run in side]
        for side in (item_group.before, item_group.after)
    )
    return repr([*sides])


def _states(verdict: Verdict | None) -> dict[str, str]:
    """Return the states of groups: new, changed, fixed or regression."""
    if verdict is None or verdict.shared is None:
        return {}
    facts = dict.fromkeys(verdict.shared.new, "new") | dict.fromkeys(
        verdict.shared.changed, "changed"
    )
    facts |= {item.item: "fixed" for item in verdict.fixed}
    return facts | {regression.item: "regression" for regression in verdict.regressions}


def _make_run(row: Row, scores: Mapping[tuple[str, str], Mapping[str, ItemScore]]) -> ListedItemRun:
    return ListedItemRun(
        run_id=run_id_of(row),
        repeat=row["repeat"],
        outcome=row["outcome"],
        error_type=row["error_type"],
        error_message=row["error_message"],
        latency_ms=row["latency_ns"] / 1e6,
        tokens=row["tokens"] or None,
        cost=row["paid"],
        inputs=row["inputs_preview"],
        outputs=row["outputs_preview"],
        scores=dict(scores.get((row["trace_id"], row["span_id"]), {})),
    )
