"""The tools compare and find_experiments."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Final

from otel_ml.counts import write_count
from otel_ml.records import ListedExperiment, ListedItemRun
from otel_ml.statistics.comparison import FAILED_CALLS, LEAST_RUNS, WORST_FIRST, Word
from otel_ml_collector import wording
from otel_ml_collector.assistants.answers import LEAF_CHARS, Digest, DigestTable, Own, brief, moment
from otel_ml_collector.assistants.call import (
    ToolCall,
    read_time,
    short_id,
    write_time,
)
from otel_ml_collector.assistants.find import count_behind
from otel_ml_collector.assistants.references import Reference, find_reference
from otel_ml_collector.curves.values import flatten
from otel_ml_collector.errors import BadInput, Missing
from otel_ml_collector.evaluations import (
    experiment_comparison,
    experiment_items,
    experiment_runs,
    experiments,
)
from otel_ml_collector.evaluations.datasets import find_datasets
from otel_ml_collector.evaluations.experiment_comparison import Compared
from otel_ml_collector.evaluations.experiment_runs import AskedExperiment
from otel_ml_collector.evaluations.experiments import ExperimentVerdict
from otel_ml_collector.evaluations.output_pairs import find_version_pairs
from otel_ml_collector.filter.sql import compile_filter
from otel_ml_collector.filter.writing import narrow, quoted
from otel_ml_collector.findings.releases import Release, TwoVersions, compare_pair
from otel_ml_collector.findings.versions import (
    PairedVerdict,
    find_paired,
)
from otel_ml_collector.runs.find import RunsQuery, write_cursor
from otel_ml_collector.stats import RunFigures
from otel_ml_collector.store.runs import Key
from otel_ml_collector.times import AHEAD_NS, DAY_NS, to_rfc3339
from otel_ml_collector.verdicts.sides import compare_filters
from otel_ml_collector.verdicts.verdicts import (
    ComparedFigure,
    FiguresVerdict,
    Interval,
)
from otel_ml_collector.versions import diff
from otel_ml_collector.versions.definition import VersionDefinition
from otel_ml_collector.versions.find import (
    Sample,
    find_definitions,
    find_sample_figures,
)
from otel_ml_collector.windows import Window

_MOST_SHOWN: Final = 20
_DIFF_LINES: Final = 40
_DIFF_CHARS: Final = 1_500
_IS_EXPERIMENT: Final = 'kind == "experiment"'
_IS_FILTER: Final = re.compile(r"[=<>]|\bin\b|\blast\(|\bmatches\(")
_EXPERIMENT_COLUMNS: Final = (
    *("experiment", "name", "start", "version", "dataset"),
    *("baseline", "verdict", "done", "outcome"),
)
_JUDGE_COLUMNS: Final = ("judge", "verdict", "a", "b", "difference", "low", "high", "n", "says")
_SHARE_COLUMNS: Final = ("name", "verdict", "difference", "low", "high", "n", "says")
_PAIR_COLUMNS: Final = ("inputs", "changed", "a_run", "a_output", "b_run", "b_output", "right")
_AMOUNT_COLUMNS: Final = ("name", "verdict", "ratio", "low", "high", "n", "says")


def list_experiments(call: ToolCall) -> Digest:
    """Answer a call of the tool find_experiments."""
    dataset, cursor = call.given["dataset"], call.given["cursor"]
    where = f"dataset == {quoted(dataset)}" if dataset else ""
    stored_experiments = experiments.find_experiments(
        call.reader, call.project, call.now_ns, where=where, limit=call.limit, cursor=cursor
    )
    condition = narrow(where, _IS_EXPERIMENT)
    total = count_behind(
        call.reader, RunsQuery(call.project, condition, cursor=cursor), call.now_ns
    )

    def go_on(shown: int) -> Mapping[str, Any] | None:
        last = stored_experiments.experiments[shown - 1]
        return call.go_on(cursor=write_cursor(Key.of(last.start_ns, last.run_id)))

    table = experiment_table(call, _EXPERIMENT_COLUMNS, stored_experiments.experiments)
    table.total, table.go_on = total, go_on
    datasets = [] if cursor else find_datasets(call.reader, call.project)
    named = [
        [dataset.name, dataset.version, dataset.items, moment(dataset.time)] for dataset in datasets
    ]
    return Digest(
        {
            "datasets": DigestTable(("dataset", "versions", "items", "updated"), named)
            if named
            else None
        },
        table,
        url=call.page("experiments", where=where),
        hint=""
        if stored_experiments.experiments or cursor
        else "there is no matching experiment yet",
        chars=call.chars,
    )


def experiment_table(
    call: ToolCall, columns: Sequence[str], listed: Sequence[ListedExperiment]
) -> DigestTable:
    """Return a table of experiments with the given columns."""
    rows = []
    for listing in listed:
        verdict = None
        if listing.baseline:
            verdict = experiments.find_experiment(
                call.reader, AskedExperiment(call.project, listing.run_id, call.now_ns)
            ).verdict
        cells = {
            "experiment": short_id(listing.run_id),
            "name": listing.name,
            "start": moment(listing.start_time),
            "version": wording.numbered(listing.function, listing.version),
            "dataset": wording.numbered(listing.dataset, listing.dataset_version),
            "baseline": short_id(verdict.baseline.run_id) if verdict else None,
            "verdict": Own(verdict.word) if verdict else None,
            "done": Own(f"{listing.done}/{listing.items * listing.repeats}"),
            "outcome": Own(listing.outcome),
        }
        rows.append([cells[name] for name in columns])
    return DigestTable(columns, rows)


@dataclass(frozen=True, slots=True)
class _Side:
    """One of the two sides of a comparison: an experiment, a version or a filter.

    Attributes:
        name: The text of the call, or the record's name.
        experiment: The experiment; None if the side is not an experiment.
        version: The model's name and the version's number; None if the side is not a version.
        where: Filter for the side's recorded runs; empty if there is none.
    """

    name: str
    experiment: ListedExperiment | None = None
    version: tuple[str, int] | None = None
    where: str = ""

    @property
    def sample(self) -> Sample:
        """The side's recorded runs."""
        return Sample(self.where) if self.version is None else Sample.of_version(*self.version)


def compare(call: ToolCall) -> Digest:
    """Answer a call of the tool compare.

    If the two sides are a new version and the one before it, the answer is the verdict on that
    release. For any other two versions with experiments on the same data set, the results for equal
    items are compared. Otherwise the recorded runs are compared.
    """
    a, b = (_find_side(call, call.given[name], name) for name in ("a", "b"))
    if a == b:
        raise BadInput("b: the same as a: expected a different version, experiment or filter", "b")
    if a.experiment is not None and b.experiment is not None:
        compared = experiment_comparison.compare(
            call.reader,
            AskedExperiment(call.project, b.experiment.run_id, call.now_ns, a.experiment.run_id),
        )
        detail = experiments.describe(call.reader, call.project, compared)
        if detail.verdict is None:
            raise BadInput("b: expected an experiment with items", "b")
        return _answer_paired(call, a, b, PairedVerdict(compared, detail, detail.verdict))
    paired = find_paired(
        call.reader,
        call.project,
        _experiments_of(call, a),
        _experiments_of(call, b),
        now_ns=call.now_ns,
    )
    if a.version is not None and b.version is not None and a.version[0] == b.version[0]:
        model, pair = a.version[0], (a.version[1], b.version[1])
        asked = TwoVersions(call.project, model, pair, call.now_ns)
        release, is_release = compare_pair(call.reader, asked)
        if release is not None and (is_release or paired is None):
            return _answer_release(call, (a, b), release, paired)
    if paired is not None:
        return _answer_paired(call, a, b, paired)
    return _compare_production(call, a, b)


def _answer_release(
    call: ToolCall, sides: tuple[_Side, _Side], release: Release, paired: PairedVerdict | None
) -> Digest:
    """Answer with the verdict on a release, and with that on experiments of both versions."""
    a, b = sides
    figures = _find_figures(call, a, b, _every(call))
    recorded = release.recorded
    before = after = tried = worse = None
    if paired is not None:
        before, after = paired.verdict.baseline, paired.detail.experiment
        worse = _worse(call, paired.compared, paired.verdict)
        tried = {
            "verdict": Own(paired.verdict.word),
            "because": _because(
                paired.verdict.judges, paired.verdict.failures, paired.verdict.reasons
            ),
            "how": _write_paired(paired),
        }
    return Digest(
        {
            "a": {"name": a.name, **_figures(figures[0])},
            "b": {"name": b.name, **_figures(figures[1])},
            "verdict": Own(recorded.word),
            "because": recorded.sentence,
            "how": Own(release.heading),
            "for_whom": [item.sentence for item in release.for_whom] or None,
            **_summarize_recorded(recorded),
            "changed": _changed(call, a.version, b.version, before, after),
            "needed": _needed(recorded.judges, f"runs with v{_find_growing(release)}"),
            "experiments": tried,
            "worse": worse,
            **_pair_outputs(call, a, b),
        },
        url=call.page(
            "models",
            release.model,
            **{"from": release.baseline.version, "to": release.candidate.version},
        ),
        chars=call.chars,
    )


def _write_paired(paired: PairedVerdict) -> str:
    experiment = paired.detail.experiment
    dataset = wording.numbered(experiment.dataset, experiment.dataset_version)
    return f"paired on {dataset}: {paired.verdict.common} common items"


def _summarize_recorded(verdict: FiguresVerdict) -> dict[str, object]:
    """Return the verdict of recorded runs for each figure."""
    shares = [("failed calls", verdict.failures), ("missing outputs", verdict.missing)]
    return {
        "shares": DigestTable(
            _SHARE_COLUMNS,
            [
                [Own(name), Own(share.word), *interval_cells(share.difference), Own(share.sentence)]
                for name, share in shares
                if share is not None
            ],
        ),
        "judges": _judges(verdict.judges),
        "amounts": _amounts(verdict.amounts),
    }


def _find_side(call: ToolCall, text: str, field: str) -> _Side:
    """Find the experiment, version or filter that a text of the call means.

    Raises:
        BadInput: The text is an invalid filter.
        Missing: The project has no such record.
    """
    try:
        reference = find_reference(call.reader, call.project, text, field)
    except Missing:
        if not _IS_FILTER.search(text):
            raise
        try:
            compile_filter(text)
        except BadInput as error:
            raise BadInput(f"{field}: {error}", field, error.column) from error
        return _Side(Own(text), where=text)
    return _side_of(call, reference, text, field)


def _side_of(call: ToolCall, reference: Reference, text: str, field: str) -> _Side:
    if reference.kind == "model":
        name, number = reference.name, reference.number
        where = f"model == {quoted(name)} and version == {number}"
        return _Side(f"{name}:v{number}", version=(name, number), where=where)
    if reference.kind == "run":
        experiment = experiment_runs.find_one(
            call.reader, call.project, reference.name, call.now_ns
        )
        return _Side(experiment.name, experiment=experiment)
    raise BadInput(
        f"{field}: {text[:80]!r} is a {reference.kind}: expected a version such as answer:v4, an "
        "experiment or a filter",
        field,
    )


def _experiments_of(call: ToolCall, side: _Side) -> Sequence[ListedExperiment]:
    """Return the experiments of a side, newest first; empty for a filter."""
    if side.experiment is not None:
        return [side.experiment]
    if side.version is None:
        return []
    return experiments.find_experiments_of(
        call.reader, call.project, *side.version, now_ns=call.now_ns
    )


def _answer_paired(call: ToolCall, a: _Side, b: _Side, paired: PairedVerdict) -> Digest:
    """Answer with the verdict on a pair of experiments, and with the verdict on recorded runs."""
    compared, detail, verdict = paired.compared, paired.detail, paired.verdict
    before, after = verdict.baseline, detail.experiment
    worse = [item for item in verdict.slices if item.word == Word.WORSE]
    worst = min(worse, key=lambda item: item.difference.value, default=None)
    production = None
    if a.where and b.where:
        recorded = _judge_production(call, a, b)
        production = {
            "verdict": recorded.word,
            "because": recorded.because,
            "how": Own(recorded.how),
        }
    return Digest(
        {
            "a": _side(a, before),
            "b": _side(b, after),
            "verdict": Own(verdict.word),
            "because": _because(verdict.judges, verdict.failures, verdict.reasons),
            "how": _write_paired(paired),
            "judges": _judges(verdict.judges),
            "amounts": _amounts(verdict.amounts),
            "slice": None
            if worst is None
            else {
                "tag": f"{worst.tag}={worst.value}",
                "judge": worst.judge,
                "difference": worst.difference.value,
                "low": worst.difference.low,
                "high": worst.difference.high,
                "n": worst.difference.n,
            },
            "changed": _changed(call, _version_of(before), _version_of(after), before, after),
            "needed": _needed(verdict.judges, "items"),
            "worse": _worse(call, compared, verdict),
            **_pair_outputs(call, a, b),
            "production": production,
            "notes": list(detail.notes) or None,
        },
        url=call.page("experiments", after.run_id, baseline=before.run_id),
        chars=call.chars,
    )


def _side(side: _Side, experiment: ListedExperiment) -> dict[str, object]:
    return {
        "name": side.name,
        "experiment": short_id(experiment.run_id),
        "version": wording.numbered(experiment.function, experiment.version),
    }


def _version_of(listed_experiment: ListedExperiment) -> tuple[str, int] | None:
    return (
        None
        if listed_experiment.version is None
        else (listed_experiment.function, listed_experiment.version)
    )


@dataclass(frozen=True, slots=True)
class _Production:
    """The comparison of two sides by their recorded runs.

    Attributes:
        word: The verdict; None if there is none.
        because: The reason for the verdict, in one sentence.
        how: Which runs were compared.
        figures: Runs, errors, latency and cost of each side.
        found: The verdict by each figure; None if a side has no runs.
        window: The time range of the compared runs.
    """

    word: Own | None
    because: str
    how: str
    figures: Sequence[RunFigures]
    found: FiguresVerdict | None
    window: Window


def _judge_production(call: ToolCall, a: _Side, b: _Side) -> _Production:
    """Compare the recorded runs of two sides.

    Only runs since the argument ``since`` are compared. If a side has too few of them, the runs of
    all time are compared.
    """
    since_ns = read_time(call.given["since"], "since", call.now_ns) or 0
    since = f"{to_rfc3339(since_ns)[:16]}Z"
    window = Window(since_ns, call.now_ns + AHEAD_NS)
    every = _every(call)
    if a.version is not None and b.version is not None:
        since_ns, window = 0, every
    figures = _find_figures(call, a, b, window)
    how = f"unpaired production{f' since {since}' if since_ns else ''}: {_counts(figures)} runs"
    if min(figure.runs for figure in figures) < LEAST_RUNS and since_ns:
        wider = _find_figures(call, a, b, every)
        if [item.runs for item in wider] != [figure.runs for figure in figures]:
            how = (
                f"unpaired production, widened to all time, as since {since} there are "
                f"{_counts(figures)} runs, and {LEAST_RUNS} of each are needed: "
                f"{_counts(wider)} runs"
            )
            figures, window = wider, every
    if not all(figure.runs for figure in figures):
        because = Own(f"no verdict: {'b' if figures[0].runs else 'a'} matches no run")
        return _Production(None, because, how, figures, None, window)
    compared = compare_filters(call.reader, call.project, a.where, b.where, window)
    if compared.shared:
        matches = write_count(compared.shared, "run matches", "runs match")
        text = f"{matches} both sides: choose filters that exclude each other"
        return _Production(None, Own(f"no verdict: {text}"), how, figures, None, window)
    change = compared.change
    return _Production(Own(change.word), change.sentence, how, figures, change, window)


def _every(call: ToolCall) -> Window:
    """Return all time, in whole days, because the rollup has the figures of finished days."""
    return Window(0, -(-(call.now_ns + AHEAD_NS) // DAY_NS) * DAY_NS)


def _find_figures(call: ToolCall, a: _Side, b: _Side, window: Window) -> Sequence[RunFigures]:
    ahead = call.reader.ahead(find_sample_figures, call.project, b.sample, window)
    return find_sample_figures(call.reader, call.project, a.sample, window), ahead.result()


def _counts(figures: Sequence[RunFigures]) -> str:
    return " and ".join(f"{figure.runs:,}" for figure in figures)


def _compare_production(call: ToolCall, a: _Side, b: _Side) -> Digest:
    """Answer with the verdict on the recorded runs of two sides, which are not paired."""
    for name, side in (("a", a), ("b", b)):
        if side.experiment is not None:
            raise BadInput(
                f"{name}: an experiment, but the other side has none on its data set: compare two "
                "experiments, or run one with otel-ml evaluate",
                name,
            )
    judgement = _judge_production(call, a, b)
    parts: dict[str, object] = {
        "a": {"name": a.name, **_figures(judgement.figures[0])},
        "b": {"name": b.name, **_figures(judgement.figures[1])},
        "verdict": judgement.word,
        "because": judgement.because,
        "how": Own(judgement.how),
    }
    url = call.page("runs", where=b.where, start=write_time(judgement.window.start_ns))
    if judgement.found is None:
        return Digest(parts, url=url, chars=call.chars)
    changed = None
    if a.version is not None and b.version is not None and a.version[0] == b.version[0]:
        (model, old), (_, new) = a.version, b.version
        url = call.page("models", model, **{"from": old, "to": new})
        changed = _changed(call, a.version, b.version)
    return Digest(
        {
            **parts,
            **_summarize_recorded(judgement.found),
            "changed": changed,
            **_pair_outputs(call, a, b),
            "needed": _needed(judgement.found.judges, "runs of the smaller side")
            or Own("for a more precise verdict, run both on one data set with otel-ml evaluate"),
        },
        url=url,
        chars=call.chars,
    )


def _figures(total: RunFigures) -> dict[str, object]:
    return {
        "runs": total.runs,
        "errors": total.errors,
        "p50_ms": total.p50_ms,
        "p99_ms": total.p99_ms,
        "cost": total.cost,
    }


def _because(
    judges: Sequence[ComparedFigure], failures: ComparedFigure | None, reasons: Sequence[str] = ()
) -> str:
    """Return the verdict's reasons; without any, a sentence on failed calls or the worst judge."""
    has_worse = any(judge.word == Word.WORSE for judge in judges)
    if failures is not None and (
        failures.word == Word.WORSE or (failures.word == Word.BETTER and not has_worse)
    ):
        return f"{FAILED_CALLS}: {failures.sentence}"
    if reasons:
        return "; ".join(reasons)
    worst = min(judges, key=lambda judge: WORST_FIRST.index(judge.word), default=None)
    if worst is None:
        return "no judge scored both sides"
    return f"{worst.name} {worst.sentence}"


def _judges(judges: Sequence[ComparedFigure]) -> DigestTable:
    rows = [
        [
            judge.numbered,
            Own(judge.word),
            judge.baseline.value if judge.baseline else None,
            judge.candidate.value if judge.candidate else None,
            *interval_cells(judge.difference),
            Own(judge.sentence),
        ]
        for judge in judges
    ]
    return DigestTable(_JUDGE_COLUMNS, rows, chars=LEAF_CHARS)


def _amounts(amounts: Sequence[ComparedFigure]) -> DigestTable:
    rows = [
        [
            Own(amount.name),
            Own(amount.word),
            *interval_cells(amount.difference),
            Own(amount.sentence),
        ]
        for amount in amounts
    ]
    return DigestTable(_AMOUNT_COLUMNS, rows)


def interval_cells(of: Interval | None) -> list[object]:
    """Return four table cells: value, low, high and n; None for each if there is no value."""
    return [None] * 4 if of is None else [of.value, of.low, of.high, of.n]


def _find_growing(release: Release) -> int | None:
    """Return the version whose runs are counted by `ComparedFigure.needed`."""
    sides = release.baseline, release.candidate
    if release.kind == "rollout":
        return max(side.version or 0 for side in sides)
    return min(sides, key=lambda side: side.runs).version


def _needed(judges: Sequence[ComparedFigure], what: str) -> list[str] | None:
    """Return how many runs or items each open judge needs; None if no number is known."""
    items = [
        f"{judge.numbered}: {judge.needed:,} {what} show a difference of {judge.margin:g}"
        for judge in judges
        if judge.word == Word.NOT_ENOUGH_DATA and judge.needed
    ]
    return items or None


def _worse(call: ToolCall, compared: Compared, verdict: ExperimentVerdict) -> DigestTable | None:
    """Return a table of the items that got worse, largest change first, with both outputs."""
    wanted = int(call.given["show"])
    items = experiment_comparison.items_of(compared, "regression")[:wanted]
    if not verdict.regressions or not wanted:
        return None
    made = experiment_items.make_rows(call.reader, call.project, compared, items)
    rows = [[item.item, item.change, *_ran(item.baseline), *_ran(item.runs)] for item in made]

    def more(shown: int) -> Mapping[str, Any] | None:
        return call.go_on(show=_MOST_SHOWN) if wanted < _MOST_SHOWN else None

    columns = ("item", "by", "a_run", "a_scores", "a_output", "b_run", "b_scores", "b_output")
    return DigestTable(columns, rows, verdict.regressions, more)


def _pair_outputs(call: ToolCall, a: _Side, b: _Side) -> dict[str, object]:
    """Return what two versions of one model returned for equal inputs, largest change first."""
    wanted = int(call.given["show"])
    if a.version is None or b.version is None or a.version[0] != b.version[0] or not wanted:
        return {}
    (model, before), (_, after) = a.version, b.version
    answer = find_version_pairs(
        call.reader, call.project, model, (before, after), call.now_ns, limit=wanted
    )
    if not answer.pairs:
        return {}
    rows = [
        [
            pair.inputs,
            pair.is_changed,
            *(
                cell
                for run in (pair.before, pair.after)
                for cell in (short_id(run.run_id), run.error or run.outputs)
            ),
            pair.right.text if pair.right else None,
        ]
        for pair in answer.pairs
    ]

    def more(shown: int) -> Mapping[str, Any] | None:
        return call.go_on(show=_MOST_SHOWN) if wanted < _MOST_SHOWN else None

    table = DigestTable(_PAIR_COLUMNS, rows, answer.inputs, more) if answer.changed else None
    return {"equal_inputs": Own(answer.sentence), "pairs": table}


def _ran(runs: Sequence[ListedItemRun]) -> list[object]:
    if not runs:
        return [None, None, None]
    first = runs[0]
    error = wording.write_error(first.error_type, first.error_message)
    scores = [
        f"{judge} {wording.number(score.score)}" if score.score is not None else f"{judge} broke"
        for judge, score in first.scores.items()
    ]
    return [short_id(first.run_id), scores, error or first.outputs]


def _changed(
    call: ToolCall,
    old: tuple[str, int] | None,
    new: tuple[str, int] | None,
    before: ListedExperiment | None = None,
    after: ListedExperiment | None = None,
) -> dict[str, object] | None:
    """Return the changes of parameters and code between two versions or experiments.

    Args:
        call: The tool call.
        old: Model and number of the older version; None if unknown.
        new: Model and number of the newer version; None if unknown.
        before: The older experiment; None for versions.
        after: The newer experiment; None for versions.

    Returns:
        ``params``, the changed ``parts`` of the version, and ``diff``: at most 40 changed lines,
        then the number of other lines. None if nothing changed.
    """
    entries: dict[str, object] = {}
    if before is not None and after is not None and before.params != after.params:
        entries["params"] = _changed_params(before.params, after.params)
    if old is not None and new is not None and old != new:
        models = find_definitions(call.reader, call.project, [old[0], new[0]])
        was = models.get(old[0], {}).get(old[1], VersionDefinition())
        now = models.get(new[0], {}).get(new[1], VersionDefinition())
        entries["parts"] = diff.changes(was, now)
        if isinstance(was.params, dict) and isinstance(now.params, dict):
            entries["params"] = _changed_params(was.params, now.params)
        lines = [
            sign + "".join(piece.text for piece in side.pieces)
            for block in diff.blocks(was, now, new[0])
            for line in block.lines
            for sign, side in (("-", line.left), ("+", line.right))
            if line.changed and side is not None
        ]
        sizes = accumulate(min(len(text), LEAF_CHARS) for text in lines[:_DIFF_LINES])
        shown = lines[: max(sum(size <= _DIFF_CHARS for size in sizes), 1)]
        left = len(lines) - len(shown)
        entries["diff"] = [*shown, *([Own(f"…(+{left} lines)")] if left else [])]
    return {name: value for name, value in entries.items() if value} or None


def _changed_params(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    was, now = flatten(old), flatten(new)
    names = sorted(name for name in was.keys() | now.keys() if was.get(name) != now.get(name))
    return [
        f"{name}: {brief(was.get(name))} → {brief(now.get(name))}" for name in names[:_DIFF_LINES]
    ]
