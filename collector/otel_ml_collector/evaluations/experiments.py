"""Experiments, computed once for the JSON API and the pages.

Verdicts are not stored: `experiment_comparison` computes them on request.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final, Literal

import orjson
from pydantic import ConfigDict, Field

from otel_ml import attributes as names
from otel_ml.counts import write_count
from otel_ml.records import (
    ExperimentRow,
    ListedExperiment,
    ListedItemRun,
)
from otel_ml.statistics.comparison import Word
from otel_ml.statistics.report import (
    NAMED,
    NAMED_IN_MARKDOWN,
    Report,
    WorseItem,
    advise_judging,
    cut_cell,
    judge_results,
    label_item,
    write_duplicates,
    write_failed,
    write_judge_failed,
    write_label,
    write_left_out,
)
from otel_ml.statistics.scored_runs import (
    read_cluster,
)
from otel_ml.statistics.sentences import list_verdict_reasons
from otel_ml.statistics.verdict import estimate_groups
from otel_ml_collector import wording
from otel_ml_collector.answer_body import AnswerBody
from otel_ml_collector.errors import BadInput, Missing
from otel_ml_collector.evaluations.experiment_comparison import (
    MOST_NAMED,
    Compared,
    cluster_of,
    compare,
    compare_sides,
    count_items,
    items_of,
)
from otel_ml_collector.evaluations.experiment_items import make_rows
from otel_ml_collector.evaluations.experiment_runs import (
    EXPERIMENT_KIND,
    AskedExperiment,
    make_experiments,
    name_of,
    params_of,
    read_numbers,
    version_of,
)
from otel_ml_collector.filter.writing import narrow, quoted
from otel_ml_collector.runs import find as runs
from otel_ml_collector.runs.answers import Run
from otel_ml_collector.store.experiments import (
    read_judge_errors,
)
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.record_kinds import find_record_kinds
from otel_ml_collector.store.versions import version_numbers
from otel_ml_collector.verdicts.verdicts import (
    ComparedFigure,
    Interval,
    JudgeVersionName,
    describe_figure,
    describe_judges,
)

SHOWN: Final = 20
_MOST_EXAMINED: Final = 100


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
    text = f'kind == "{EXPERIMENT_KIND}"'
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
        detail = find_experiment(reader, AskedExperiment(project, experiment.run_id, now_ns))
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
    where = f'kind == "{EXPERIMENT_KIND}" and dataset == {quoted(experiment.dataset)}'
    query = runs.RunsQuery(project, where, limit=SHOWN)
    listed = runs.find_runs(reader, query, now_ns).runs
    whole_runs = [
        whole_run
        for whole_run in runs.find_whole_runs(reader, listed, now_ns)
        if whole_run.run_id != experiment.run_id
    ]
    numbers = read_numbers(reader, project, whole_runs)["model"]
    return [
        NamedExperiment(
            whole_run.run_id,
            name_of(whole_run),
            numbers.get(version_of(params_of(whole_run))),
            whole_run.start_time,
        )
        for whole_run in whole_runs
    ]


def find_experiment(reader: Reader, asked: AskedExperiment) -> ExperimentDetail:
    """Read the results of an experiment, and whether it is better or worse than its baseline.

    Raises:
        Missing: The experiment or the baseline does not exist.
        BadInput: An ID is invalid, or both experiments have too many runs to compare.
    """
    return describe(reader, asked.project, compare(reader, asked))


def compare_listed(
    reader: Reader,
    project: str,
    experiment: ListedExperiment,
    baseline: ListedExperiment | None,
) -> ExperimentDetail:
    """Compare two experiments that you have already read, like `find_experiment`."""
    compared = compare_sides(reader, project, experiment, baseline, most=MOST_NAMED)
    return describe(reader, project, compared)


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
        clustered_by=cluster_of(experiment)
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
    if read_cluster(cluster_of(experiment)) is None:
        notes.append(
            "Items were clustered by a function that is not stored: each item counts alone"
        )
    if compared.verdict is not None and compared.before is not None:
        notes += advise_judging(compared.verdict.judges, _stored_id(compared.before))
    return notes
