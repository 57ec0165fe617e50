"""Reads everything of a tracking store of MLflow for an import: traces, data sets and runs."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, Final

from mlflow import MlflowClient, set_tracking_uri
from mlflow.entities import Experiment
from mlflow.exceptions import MlflowException

from otel_ml import attributes as names
from otel_ml.imports.history import Record
from otel_ml.imports.lines import SourcePlace
from otel_ml.imports.mlflow_traces import TRACES, convert_trace, find_root, run_id_of_span
from otel_ml.imports.otlp_records import (
    OTLP_SCORES,
    OTLP_SPANS,
    BadRecord,
    RecordMaker,
    SourceRecord,
    otlp_attributes,
)
from otel_ml.imports.sender import ImportStopped
from otel_ml.imports.tool_import import DatasetRows, ToolExport
from otel_ml.integrations.mlflow import MlflowRun, find_runs
from otel_ml.redaction import Redaction

_RUNS: Final = "runs"
_RUN_RECORDS: Final = "run records"
_ERROR: Final = 2
_NOT_SUPPORTED: Final = "FEATURE_DISABLED"
# Page sizes of requests to MLflow.
_TRACES_AT_ONCE: Final = 50
_DATASETS_AT_ONCE: Final = 50


class MlflowExport(ToolExport):
    """The experiments of a tracking store of MLflow 3.

    Args:
        uri: Tracking URI: a server, a database or a folder.
        experiment: Name or ID of an experiment; None for all that are not deleted.
        project: Project of all records.

    Raises:
        ValueError: MLflow cannot read the store, or there is no such experiment.
    """

    source = "mlflow"
    records = (OTLP_SPANS, OTLP_SCORES, _RUNS)

    def __init__(self, uri: str, experiment: str | None, project: str) -> None:
        super().__init__()
        self._uri = uri
        self._maker = RecordMaker(self.source, project)
        self._project = project
        self._redaction = Redaction()
        self._has_datasets = False
        self._read: set[str] = set()
        set_tracking_uri(uri)  # MLflow reads logged models from this URI
        try:
            self._tracking = MlflowClient()
            self._experiments = self._find_experiments(experiment)
        except MlflowException as error:
            raise ValueError(f"MLflow cannot read the tracking store: {error.message}") from error

    def key(self) -> Any:
        """Return what identifies the content of the store."""
        return [self._uri, [self._find_newest(each.experiment_id) for each in self._experiments]]

    def read(self) -> Iterator[SourceRecord | BadRecord]:
        """Yield the traces with their scores, then the runs, the oldest first.

        Raises:
            ImportStopped: MLflow does not answer.
        """
        try:
            yield from self._read_records()
        except MlflowException as error:
            raise ImportStopped(f"MLflow does not answer: {error.message}") from error

    def _read_records(self) -> Iterator[SourceRecord | BadRecord]:
        for experiment in self._experiments:
            for number, trace in enumerate(self._find_traces(experiment.experiment_id), 1):
                place = SourcePlace(f"{TRACES} of {experiment.name}", number)
                for record in convert_trace(trace, self._maker, place, self.left_out):
                    self._read.add(record.name)
                    yield record
            runs = find_runs(self._tracking, experiment.experiment_id)
            for number, run in enumerate(runs, 1):
                place = SourcePlace(f"{_RUNS} of {experiment.name}", number)
                made = MlflowRun(self._tracking, run, self._redaction, experiment.name)
                *parts, last = made.records()
                for part in parts:
                    yield self._convert(part, place)._replace(name=_RUN_RECORDS)
                yield self._convert(last, place)._replace(name=_RUNS)

    def read_datasets(self) -> Iterator[DatasetRows]:
        """Yield the evaluation data sets.

        Raises:
            ImportStopped: MLflow does not answer.
        """
        if not hasattr(self._tracking, "search_datasets"):  # since MLflow 3.4
            return
        ids = [each.experiment_id for each in self._experiments]
        try:
            for dataset in self._pages(
                lambda token: self._tracking.search_datasets(
                    experiment_ids=ids, max_results=_DATASETS_AT_ONCE, page_token=token
                )
            ):
                self._has_datasets = True
                rows = [self._convert_item(item) for item in dataset.records]
                yield DatasetRows(dataset.name, rows)
        except MlflowException as error:
            if error.error_code != _NOT_SUPPORTED:  # a folder cannot contain data sets
                raise ImportStopped(f"MLflow does not answer: {error.message}") from error

    def absent(self) -> Sequence[str]:
        """Return what MLflow records and this store does not contain."""
        absent = {
            "traces": OTLP_SPANS not in self._read,
            "assessments": OTLP_SCORES not in self._read,
            "data sets": not self._has_datasets,
        }
        return [name for name, is_absent in absent.items() if is_absent]

    def _find_experiments(self, name: str | None) -> list[Experiment]:
        if name is None:
            return [*self._pages(lambda token: self._tracking.search_experiments(page_token=token))]
        found = self._tracking.get_experiment_by_name(name)
        if found is None and not name.isdecimal():
            known = ", ".join(each.name for each in self._find_experiments(None))
            raise ValueError(f"No experiment {name!r}: expected one of {known}")
        return [found or self._tracking.get_experiment(name)]

    def _find_newest(self, experiment_id: str) -> list[str]:
        """Return the IDs of the newest trace and run, which show whether something was added."""
        traces = self._tracking.search_traces(
            [experiment_id], max_results=1, order_by=["timestamp_ms DESC"], include_spans=False
        )
        runs = self._tracking.search_runs(
            [experiment_id], order_by=["attributes.start_time DESC"], max_results=1
        )
        newest = [trace.info.trace_id for trace in traces] + [run.info.run_id for run in runs]
        return [experiment_id, *newest]

    def _find_traces(self, experiment_id: str) -> Iterator[dict[str, Any]]:
        """Yield the traces, the oldest first. MLflow leaves out traces whose spans are lost."""
        token: str | None = None
        while True:
            page, whole = (
                self._tracking.search_traces(
                    [experiment_id],
                    max_results=_TRACES_AT_ONCE,
                    order_by=["timestamp_ms ASC"],
                    page_token=token,
                    include_spans=has_spans,
                )
                for has_spans in (False, True)
            )
            found = {trace.info.trace_id: trace for trace in whole}
            for trace in page:
                yield found.get(trace.info.trace_id, trace).to_dict()
            token = page.token
            if not token:
                return

    def _pages(self, search: Callable[[str | None], Any]) -> Iterator[Any]:
        token: str | None = None
        while True:
            page = search(token)
            yield from page
            token = page.token
            if not token:
                return

    def _convert(self, record: Record, place: SourcePlace) -> SourceRecord:
        """Return a record of a run in OTLP/JSON."""
        ids = record.identity
        span: dict[str, Any] = {
            "traceId": f"{ids.trace_id:032x}",
            "spanId": f"{ids.span_id:016x}",
            "name": record.name,
            "kind": 1,
            "startTimeUnixNano": str(record.start_ns),
            "endTimeUnixNano": str(record.end_ns),
            "attributes": otlp_attributes({names.PROJECT: self._project, **record.attributes}),
            "events": [
                {"name": name, "timeUnixNano": str(at_ns), "attributes": otlp_attributes(facts)}
                for name, facts, at_ns in record.events
            ],
            "status": {"code": _ERROR} if record.failed else {},
        }
        if record.parent_id is not None:
            span["parentSpanId"] = f"{record.parent_id:016x}"
        if record.link is not None:
            link = {
                "traceId": f"{record.link.trace_id:032x}",
                "spanId": f"{record.link.span_id:016x}",
            }
            span["links"] = [link]
        return self._maker.span(span, place, scope=names.SCOPE_NAME)

    def _convert_item(self, item: Any) -> dict[str, Any]:
        expectations = dict(item.expectations or {})
        is_output = expectations.keys() == {"expected_response"}
        tags = item.tags or {}
        return {
            "id": item.dataset_record_id,
            "inputs": dict(item.inputs or {}),
            "expected": expectations["expected_response"] if is_output else expectations or None,
            "tags": {key: tags[key] for key in tags if not key.startswith("mlflow.")},
            "source_run": self._find_source_run(item),
        }

    def _find_source_run(self, item: Any) -> str:
        """Return the run ID of the trace that an item was made from; empty if there is none."""
        if item.source_type != "TRACE" or not item.source_id:
            return ""
        with suppress(MlflowException):
            spans = self._tracking.get_trace(item.source_id).to_dict()["data"]["spans"]
            return run_id_of_span(find_root(spans)) if spans else ""
        return ""
