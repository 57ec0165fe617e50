"""Reads experiments from their runs: function, data set, options, and which one is the baseline."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass, replace
from typing import Any, Final

import orjson

from otel_ml import attributes as names
from otel_ml.records import (
    ListedExperiment,
)
from otel_ml_collector.errors import BadInput, Missing
from otel_ml_collector.price import round_cost
from otel_ml_collector.runs import find as runs
from otel_ml_collector.runs.answers import Run
from otel_ml_collector.store.experiments import (
    RecordedWindow,
    count_item_runs,
)
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.versions import read_version_numbers
from otel_ml_collector.times import to_rfc3339

EXPERIMENT_KIND: Final = "experiment"
_REASONS: Final = 20
_REASON_CHARS: Final = 200
# The tag that `evaluate(baseline="baseline")` looks for, as `otel-ml baseline set` gives it.
BASELINE_TAG: Final = "baseline"


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


@dataclass(frozen=True, slots=True)
class AskedExperiment:
    """An experiment to read, and what it is compared with.

    Attributes:
        project: The project.
        run_id: Run ID of the experiment.
        now_ns: Current time, in nanoseconds since 1970.
        baseline: Run ID of the experiment to compare with. ``recorded`` compares with the recorded
            runs that the experiment replays. ``none`` compares with nothing. If None, the baseline
            that was chosen when the experiment was run.
    """

    project: str
    run_id: str
    now_ns: int
    baseline: str | None = None


def find_pair(
    reader: Reader, asked: AskedExperiment
) -> tuple[ListedExperiment, ListedExperiment | None]:
    """Read an experiment and the baseline that it is compared with.

    Returns:
        The experiment and its baseline. The baseline is None if the experiment has none. It is also
        None if the baseline that was chosen when the experiment was run is not in the store.

    Raises:
        Missing: The experiment or the requested baseline does not exist.
        BadInput: An ID is invalid, or `baseline` is the experiment itself.
    """
    project, run_id, now_ns, baseline = astuple(asked)
    run = _read_run(reader, project, run_id, now_ns)
    baseline_id = read_text(run.attributes.get(names.EXPERIMENT_BASELINE))
    if names.RECORDED in {baseline, baseline or baseline_id}:
        now = make_experiments(reader, project, [run])[0]
        before = make_recorded(now)
        if baseline and before is None:
            raise Missing(f"Experiment {run_id} replays no recorded runs")
        return now, before
    other: Run | None = None
    if baseline == run_id:
        raise BadInput("Invalid baseline: expected another experiment", "baseline")
    if baseline and baseline != "none":
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


def sides_of(
    *sides: ListedExperiment | None,
) -> tuple[list[str], int, RecordedWindow | None]:
    """Return the IDs of the compared experiments, their first start, and the recorded period."""
    both = [side for side in sides if side is not None]
    ran = [experiment for experiment in both if experiment.run_id != names.RECORDED]
    window = _window_of(ran[-1]) if len(ran) < len(both) else None
    return [experiment.run_id for experiment in both], min(item.start_ns for item in ran), window


def _read_run(reader: Reader, project: str, run_id: str, now_ns: int) -> Run:
    run = runs.find_run(reader, run_id, project, now_ns=now_ns)
    if run.kind != EXPERIMENT_KIND:
        raise Missing(f"Run {run_id} is not an experiment")
    return run


def make_experiments(
    reader: Reader, project: str, entries: Sequence[Run]
) -> list[ListedExperiment]:
    """Describe experiments for the API and the pages, given the run of each experiment."""
    if not entries:
        return []
    start_ns = min(run.start_ns for run in entries)
    counts = count_item_runs(reader, project, [run.run_id for run in entries], start_ns)
    first = read_numbers(reader, project, entries)
    made = []
    for run in entries:
        attributes, of_run = run.attributes, params_of(run)
        counted = counts.get(run.run_id, {"done": 0, "errors": 0, "every": 0, "cost": None})
        judges = of_run.get("judges")
        function, digest = version_of(of_run)
        dataset_digest = read_text(attributes.get(names.EXPERIMENT_DATASET_VERSION))
        items = _count(attributes.get(names.EXPERIMENT_ITEMS))
        repeats = _count(attributes.get(names.EXPERIMENT_REPEATS)) or 1
        made.append(
            ListedExperiment(
                run_id=run.run_id,
                name=name_of(run),
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
                    name: read_text(judge)
                    for name, judge in (judges if isinstance(judges, dict) else {}).items()
                },
                params={
                    name: value
                    for name, value in of_run.items()
                    if name not in {"function", "version", "judges"}
                },
                baseline=read_text(attributes.get(names.EXPERIMENT_BASELINE)),
                comparison=_comparison_of(attributes.get(names.EXPERIMENT_COMPARISON)),
                source=read_text(attributes.get(names.EXPERIMENT_SOURCE)),
                tags=run.tags,
            )
        )
    return made


def read_numbers(
    reader: Reader, project: str, items: Sequence[Run]
) -> dict[str, dict[tuple[str, str], int]]:
    """Read the version numbers of experiments' functions and data sets, by name and digest."""
    numbers = read_version_numbers(
        reader,
        project,
        {
            "model": {version_of(params_of(run))[0] for run in items},
            "dataset": {run.dataset for run in items},
        },
    )
    return {
        kind: {(name, digest): number for (name, digest, _), number in sorted(of.items())[::-1]}
        for kind, of in numbers.items()
    }


def params_of(run: Run) -> Mapping[str, Any]:
    """Return the params of an experiment's run; empty if they are not an object."""
    return run.params if isinstance(run.params, dict) else {}


def version_of(params: Mapping[str, Any]) -> tuple[str, str]:
    """Return the name and the digest of the function that was run."""
    return read_text(params.get("function")), read_text(params.get("version"))


def name_of(run: Run) -> str:
    """Return the name of an experiment."""
    return read_text(run.attributes.get(names.EXPERIMENT_NAME)) or run.name


def _outcome(outcome: str, *, is_whole: bool) -> str:
    """Return how an experiment ended. If it was interrupted and completed later, this is ``ok``."""
    return "ok" if is_whole and outcome in {"cancelled", "crashed"} else outcome


def read_text(value: object) -> str:
    """Return a text that was received; empty for other types."""
    return value if isinstance(value, str) else ""


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _comparison_of(text: object) -> dict[str, Any]:
    """Read the options of an experiment's comparison. Values of the wrong type are ignored."""
    try:
        document = orjson.loads(read_text(text) or "{}")
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
        "cluster": read_text(document.get("cluster")),
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
