"""Loads stored experiments from a collector, and finds the experiment that a baseline names."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Final

from otel_ml.arguments import check_text, invalid, suggest
from otel_ml.attributes import NUMBERED, RECORDED, RUN_ID
from otel_ml.experiments.compare import ComparisonOptions, cluster_of
from otel_ml.experiments.result import Result
from otel_ml.experiments.rows import Experiment, ItemRun
from otel_ml.judges.answer import Judgement
from otel_ml.notebook import page_address
from otel_ml.reader import NotFound, Reader
from otel_ml.recorder import Recorder
from otel_ml.records import ExperimentRow, ListedExperiment

_LATEST_EXPERIMENTS: Final = 1_000  # searched for a baseline
_NO_BASELINE: Final = "none"
_AUTO: Final = "auto"
_DRAIN_S: Final = 5.0
_ALIKE: Final = "an experiment of the same function, data set, judges, params and repeats"


@dataclass(frozen=True, slots=True)
class Started:
    """An unfinished experiment to resume, possibly started by another process.

    Attributes:
        id: Run id of the experiment.
        start_ns: Start time in nanoseconds since the epoch (UTC).
        runs: The runs that have finished. Resuming does not repeat them.
    """

    id: str
    start_ns: int
    runs: tuple[ItemRun, ...]


def ids_of(run_id: str) -> tuple[int, int]:
    """Split a run id (``<trace id>-<span id>``, in hex) into both ids as integers."""
    trace_id, _, span_id = run_id.partition("-")
    return int(trace_id, 16), int(span_id, 16)


def open_reader(recorder: Recorder) -> Reader:
    """Return a reader for the collector that the recorder sends to.

    First sends queued spans, waiting up to 5 s, so that the reader finds them.

    Raises:
        LookupError: The recorder has no collector to read from.
    """
    if not recorder.page:
        raise LookupError("no collector")
    recorder.drain(_DRAIN_S)
    route = recorder.route
    return Reader(route.project, route.api_key, route.endpoint)


def load_result(
    run_id: str, baseline: Result | str | None = None, *, reader: Reader | None = None
) -> Result:
    """Load the result of a stored experiment from the collector.

    Args:
        run_id: Run id of the experiment. Its web page shows it, and
            `otel_ml.reader.Reader.experiments` returns it.
        baseline: What to compare with: a `Result`, or the run id of another experiment.
            ``recorded`` compares a replay with the original runs. ``none`` compares with nothing.
            Default: the same baseline as when the experiment ran.
        reader: Reader to load it with. Default: one configured by environment variables.

    Raises:
        NotFound: There is no such experiment or baseline.
        ReaderError: The collector does not answer.
        ValueError: An argument is invalid.
    """
    check_text("run_id", run_id)
    kind = type(baseline)
    if issubclass(kind, str):
        check_text("baseline", baseline)
    elif not issubclass(kind, Result | None):
        raise invalid("baseline", baseline, "a result, a run id, 'none', or None")
    if reader is None:
        with Reader() as made:
            return load_result(run_id, baseline, reader=made)
    if not issubclass(type(reader), Reader):
        raise invalid("reader", reader, "a Reader, or None")
    answer = reader.experiment(run_id)
    if RECORDED in {baseline, baseline or answer.baseline}:
        if baseline == RECORDED and not answer.comparison.get("recorded"):
            raise NotFound(f"Experiment {run_id} is not a replay, so it has no recorded runs")
        baseline = _load_recorded(reader, answer)
    elif baseline is None and RUN_ID.fullmatch(answer.baseline):
        with suppress(NotFound):
            baseline = _load(reader, reader.experiment(answer.baseline))
    elif isinstance(baseline, str):
        is_none = baseline == _NO_BASELINE
        baseline = None if is_none else _load(reader, reader.experiment(baseline))
    return _load(reader, answer, baseline)


def _load(
    reader: Reader, listed_experiment: ListedExperiment, baseline: Result | None = None
) -> Result:
    """Load the runs of a stored experiment."""
    payloads = {
        run.run_id: (run.inputs, run.outputs)
        for run in reader.runs(f'experiment == "{listed_experiment.run_id}" and item != ""')
    }
    how = listed_experiment.comparison
    return Result(
        _experiment(reader, listed_experiment),
        [
            run
            for row in reader.experiment_rows(listed_experiment.run_id)
            for run in _item_runs(row, payloads)
        ],
        baseline,
        ComparisonOptions(
            cluster=_cluster(how.get("cluster")),
            margins=how.get("margin", {}),
            lower_is_better=frozenset(how.get("lower_is_better", ())),
            is_partial=bool(how.get("partial")),
            chosen=how,
        ),
        is_interrupted=listed_experiment.outcome == "cancelled",
        open_stored=lambda: reader,
    )


def _load_recorded(reader: Reader, listed_experiment: ListedExperiment) -> Result | None:
    """Load the recorded runs that an experiment replays. None if it is not a replay."""
    if not listed_experiment.comparison.get("recorded"):
        return None
    first_ns, _ = listed_experiment.comparison["recorded"]
    known = listed_experiment.judges
    runs = []
    for row in reader.experiment_rows(listed_experiment.run_id, RECORDED):
        for run in _item_runs(replace(row, runs=row.baseline), {}):
            whole = reader.run(run.run_id)
            judgements = {
                name: judgement
                for name, judgement in run.judgements.items()
                if known.get(name) == judgement.version
            }
            runs.append(
                replace(run, inputs=whole.inputs, outputs=whole.outputs, judgements=judgements)
            )
    return Result(recorded_experiment(_experiment(reader, listed_experiment), first_ns), runs)


def recorded_experiment(replayed: Experiment, first_ns: int) -> Experiment:
    """Describe the recorded runs of a replay as an experiment, to use them as a baseline."""
    return replace(
        replayed,
        id=RECORDED,
        name="recorded runs",
        version="",
        repeats=1,
        judges={},
        source="",
        start_ns=first_ns,
        page="",
    )


def find_baseline(reader: Reader, named: str, dataset: str) -> Result:
    """Load the experiment that the option `baseline` names.

    Args:
        reader: Reader to load it with.
        named: Run id of an experiment, version of a function (``name:vN`` or ``name@alias``), or
            tag of an experiment. For a version or a tag, the newest finished experiment is loaded.
        dataset: Name of the data set. For a version or a tag, only experiments on this data set are
            searched.

    Raises:
        LookupError: There is no such experiment. The message suggests similar names.
        ReaderError: The collector does not answer.
    """
    if RUN_ID.fullmatch(named):
        return _load(reader, reader.experiment(named))
    meant = _find_version(reader, named)
    known: dict[str, None] = {}
    for experiment in islice(reader.experiments(), _LATEST_EXPERIMENTS):
        if experiment.dataset != dataset or experiment.outcome != "ok":
            continue
        versions = (
            [] if experiment.version is None else [f"{experiment.function}:v{experiment.version}"]
        )
        known |= dict.fromkeys((*versions, *experiment.tags))
        if meant:
            is_meant = (experiment.function, experiment.version) == meant
        else:
            is_meant = experiment.tags.get(named, False) is not False  # False: the tag was removed
        if is_meant:
            return _load(reader, experiment)
    raise LookupError(suggest(named, known))


def _find_version(reader: Reader, named: str) -> tuple[str, int] | None:
    """Return function and version number of ``name:vN`` or ``name@alias``. None for other text."""
    if numbered := NUMBERED.fullmatch(named):
        return numbered[1], int(numbered[2])
    with suppress(NotFound, ValueError):
        version = reader.version(named)
        return version.model, version.version
    return None


def find_named(reader: Reader, named: str) -> ListedExperiment:
    """Find an experiment by its run id or by its name.

    With a name, it returns the newest finished experiment of that name. If none of them has
    finished, it returns the newest experiment of that name.

    Raises:
        LookupError: There is no such experiment. The message suggests similar names.
        ReaderError: The collector does not answer.
    """
    if RUN_ID.fullmatch(named):
        return reader.experiment(named)
    listed = [*islice(reader.experiments(), _LATEST_EXPERIMENTS)]
    called = [listing for listing in listed if listing.name == named]
    finished = [item for item in called if item.outcome == "ok"]
    if called:
        return next(iter(finished or called))
    near = suggest(named, [listing.name for listing in listed])
    raise LookupError(f"There is no experiment {named[:80]!r}: {near}")


def find_unfinished(reader: Reader, named: str, wanted: Experiment, params: object) -> Started:
    """Find an unfinished experiment to resume, with the runs that it has finished.

    Args:
        reader: Reader to find it with.
        named: The run id of an experiment, or ``auto`` for the newest one that matches `wanted`.
        wanted: The experiment that you want to run. The unfinished experiment must have the same
            name, data set, judges, repeats, function version and source files.
        params: Params of the experiment. The unfinished experiment must have the same params.

    Raises:
        LookupError: There is no such experiment.
        ValueError: The named experiment differs from `wanted`, for example in its data set.
        ReaderError: The collector does not answer.
    """

    def is_alike(listed_experiment: ListedExperiment) -> bool:
        there = replace(_experiment(reader, listed_experiment), id="", start_ns=0, page="")
        return there == wanted and listed_experiment.params == params

    def start(listed_experiment: ListedExperiment) -> Started:
        return Started(
            listed_experiment.run_id,
            listed_experiment.start_ns,
            _load(reader, listed_experiment).runs,
        )

    if named != _AUTO:
        if not RUN_ID.fullmatch(named):
            raise LookupError(named)
        experiment = reader.experiment(named)
        if not is_alike(experiment):
            raise invalid("resume", named, _ALIKE)
        return start(experiment)
    for experiment in islice(reader.experiments() if wanted.version else (), _LATEST_EXPERIMENTS):
        if experiment.outcome != "ok" and is_alike(experiment):
            return start(experiment)
    raise LookupError(named)


def find_replayed(
    reader: Reader, named: str, name: str, function: str, params: object
) -> tuple[list[str], Mapping[str, int]] | None:
    """Find an unfinished replay that can be resumed.

    Args:
        reader: Reader to find it with.
        named: The run id of a replay. ``auto`` finds the newest one with the same name, function
            and params.
        name: Name of the experiment.
        function: Name of the replayed function.
        params: Params of the experiment. The unfinished replay must have the same params.

    Returns:
        Ids of the recorded runs that it replays, and the number of skipped runs by reason. None if
        there is no such replay.
    """
    for experiment in islice(reader.experiments(), _LATEST_EXPERIMENTS):
        if experiment.outcome == "ok" or experiment.baseline != RECORDED:
            continue
        is_meant = named in {experiment.run_id, _AUTO}
        if is_meant and (experiment.name, experiment.function, experiment.params) == (
            name,
            function,
            params,
        ):
            versions = reader.dataset_versions(experiment.dataset)
            kept = [each for each in versions if each.digest == experiment.dataset_digest]
            if not kept or not kept[0].is_complete:
                return None
            items = reader.dataset_items(experiment.dataset, kept[0].version)
            return [item.id for item in items], experiment.comparison.get("left_out", {})
    return None


def _experiment(reader: Reader, listed_experiment: ListedExperiment) -> Experiment:
    return Experiment(
        id=listed_experiment.run_id,
        name=listed_experiment.name,
        function=listed_experiment.function,
        version=listed_experiment.digest,
        dataset=listed_experiment.dataset,
        dataset_version=listed_experiment.dataset_digest,
        items=listed_experiment.items,
        repeats=listed_experiment.repeats,
        judges=listed_experiment.judges,
        source=listed_experiment.source,
        start_ns=listed_experiment.start_ns,
        page=page_address(
            reader._api.page, reader.project, "experiments", listed_experiment.run_id
        ),
    )


def _cluster(value: Any) -> Any:
    try:
        return cluster_of(value)
    except ValueError:  # a function is stored as text only
        return None


def _item_runs(row: ExperimentRow, payloads: Mapping[str, tuple[Any, Any]]) -> Iterator[ItemRun]:
    for run in row.runs:
        inputs, outputs = payloads.get(run.run_id, (None, None))
        yield ItemRun(
            item=row.item,
            digest=row.digest,
            repeat=run.repeat,
            outputs=outputs,
            outcome="ok" if run.outcome == "ok" else "error",
            error_type=run.error_type,
            error=": ".join(filter(None, (run.error_type, run.error_message))),
            latency_ms=run.latency_ms,
            run_id=run.run_id,
            judgements={
                name: Judgement(
                    name,
                    score.digest,
                    score.score,
                    score.passed,
                    error="the judge failed" if score.failed else None,
                )
                for name, score in run.scores.items()
            },
            tags=row.tags,
            source_run=row.source_run,
            source_session=row.source_session,
            cost=run.cost,
            inputs=inputs,
        )
