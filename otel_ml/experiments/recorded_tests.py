"""Records pytest tests that run once per item of a data set, and the experiment they form."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from opentelemetry import context as context_api
from opentelemetry.context import Context
from opentelemetry.trace import SpanContext, TraceFlags

from otel_ml import attributes as names
from otel_ml.errors import quiet
from otel_ml.experiments.dataset import Dataset, send_dataset
from otel_ml.experiments.execution import Job
from otel_ml.judges.answer import Judgement, describe_problem
from otel_ml.process import marking
from otel_ml.recorder import Recorder
from otel_ml.runs import OpenedRun, hide_values, open_run
from otel_ml.spans import SPAN_KEY, attach, detach, run_id_of
from otel_ml.wire import score_attributes

# Name of the judge of a test. Without a rubric it has no version.
_JUDGE = "test"


class TestedRun:
    """The recorded run of one pytest test on one item. Passing or failing is its score."""

    __test__ = False  # pytest must not collect this class

    def __init__(self, run: OpenedRun) -> None:
        self._run = run

    def end(self, error: BaseException | None, *, is_skipped: bool = False) -> None:
        """Record how the test ended.

        A failed assert counts as a failed test, not as an error of the tested code.
        """
        run = self._run
        is_said = error is None or isinstance(error, AssertionError)
        recorder = run._recorder
        if recorder is not None and not is_skipped:
            with quiet("evaluate"):
                run._facts[names.TEST_CASE_STATUS] = "fail" if error else "pass"
                if is_said:
                    passed = error is None
                    why = None if error is None else describe_problem(error)
                    judgement = Judgement(_JUDGE, "", float(passed), passed, explanation=why)
                    shown = hide_values(judgement, recorder.redaction)
                    run._facts.update(score_attributes([shown]))
        run.end(None if is_said or is_skipped else error)


@contextmanager
def record_test(
    recorder: Recorder, experiment: tuple[int, int], name: str, dataset: Dataset, job: Job
) -> Iterator[TestedRun]:
    """Record a pytest test on one item of a data set, as a run in a new trace.

    Use it in a ``with`` statement. Inside the block, the run is the current run.

    Args:
        recorder: Recorder that sends the run.
        experiment: Trace ID and span ID of the experiment that contains the run.
        name: Name of the test.
        dataset: The data set. It is sent before the run, once per process.
        job: The item, and the number of the repeat, counted from 0.
    """
    item, repeat = job
    send_dataset(recorder, dataset)
    above = SpanContext(*experiment, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    token = attach(Context({**context_api.get_current(), SPAN_KEY: None}))
    try:
        mark = {names.EXPERIMENT: run_id_of(above), names.EXPERIMENT_DATASET: dataset.name}
        with marking(mark):
            given = {
                names.ITEM_ID: item.id,
                names.ITEM_DIGEST: item.digest,
                names.ITEM_REPEAT: repeat,
                names.TEST_SUITE_NAME: name,
                names.TEST_CASE_NAME: item.id,
            }
            run = open_run(recorder, name, "model", given, [item.tags])
            with quiet("evaluate"):
                if run.is_recorded:
                    run._put(names.INPUTS, item.inputs)
                    run._span.add_link(above)
            with run:
                yield TestedRun(run)
    finally:
        detach(token)


def open_tests(recorder: Recorder, ids: tuple[int, int], about: Mapping[str, Any]) -> OpenedRun:
    """Open the experiment for a pytest function that runs once per item of a data set.

    Args:
        recorder: Recorder that sends the experiment.
        ids: Trace ID and span ID of the experiment. All processes of a parallel test run use the
            same IDs.
        about: Attributes of the experiment: name, data set, digest of the data set, items and
            repeats.
    """
    name = f"{about['name']} on {about['dataset']}"
    given = {
        names.EXPERIMENT_DATASET: about["dataset"],
        names.EXPERIMENT_DATASET_VERSION: about["digest"],
        names.EXPERIMENT_ITEMS: about["items"],
        names.EXPERIMENT_REPEATS: about["repeats"],
    }
    with marking({names.EXPERIMENT_NAME: name}):
        return open_run(recorder, name, "experiment", given, [], ids=ids)
