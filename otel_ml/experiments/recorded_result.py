"""Records a result that was read from a file, so that a collector can compare others with it."""

from dataclasses import replace
from functools import partial
from typing import Final

from otel_ml import attributes as names
from otel_ml.experiments.result import Result
from otel_ml.experiments.rows import Experiment, ItemRun
from otel_ml.experiments.stored_results import open_reader
from otel_ml.recorder import Recorder
from otel_ml.runs import open_run
from otel_ml.wire import score_attributes

_MS_NS: Final = 1_000_000


def record_result(recorder: Recorder, result: Result) -> Result:
    """Record an experiment and its runs, at the time at which they were made.

    Args:
        recorder: Sends the runs. The caller flushes it.
        result: The result. Runs that were read from a file have no inputs.

    Returns:
        The result with the run id of the recorded experiment. If recording is off, `result`.
    """
    about = result.experiment
    last_ms = max((run.latency_ms or 0.0 for run in result.runs), default=0.0)
    facts = {
        names.EXPERIMENT_DATASET: about.dataset,
        names.EXPERIMENT_DATASET_VERSION: about.dataset_version,
        names.EXPERIMENT_ITEMS: about.items,
        names.EXPERIMENT_REPEATS: about.repeats,
        names.EXPERIMENT_SOURCE: about.source or None,
        names.PARAMS: {
            "function": about.function,
            "version": about.version,
            "judges": dict(about.judges),
        },
    }
    period = about.start_ns, about.start_ns + round(last_ms * _MS_NS)
    experiment = open_run(recorder, about.name, "experiment", facts, [], past=period)
    if not experiment.is_recorded:
        return result
    for run in result.runs:
        _record_run(recorder, about, experiment.id, run)
    experiment.end()
    return Result(
        replace(about, id=experiment.id),
        result.runs,
        path=result._path,
        open_stored=partial(open_reader, recorder),
    )


def _record_run(recorder: Recorder, about: Experiment, experiment: str, item_run: ItemRun) -> None:
    facts = {
        names.EXPERIMENT: experiment,
        names.EXPERIMENT_DATASET: about.dataset,
        names.ITEM_ID: item_run.item,
        names.ITEM_DIGEST: item_run.digest,
        names.ITEM_REPEAT: item_run.repeat,
        names.ITEM_SOURCE_RUN: item_run.source_run or None,
        names.ITEM_SOURCE_SESSION: item_run.source_session or None,
    }
    period = about.start_ns, about.start_ns + round((item_run.latency_ms or 0.0) * _MS_NS)
    run = open_run(recorder, about.function, "chain", facts, [dict(item_run.tags)], past=period)
    if item_run.outcome == "ok":
        run.set_output(item_run.outputs)
    run._facts.update(score_attributes([*item_run.judgements.values()]))
    run.end(_make_error(item_run) if item_run.outcome != "ok" else None)


def _make_error(item_run: ItemRun) -> Exception:
    """Return an exception with the type and message of a failed run."""
    kind: type[Exception] = type(
        item_run.error_type or "Exception", (Exception,), {"__module__": "builtins"}
    )
    return kind(item_run.error.partition(": ")[2])
