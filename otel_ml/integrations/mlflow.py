"""Reads MLflow runs as plain values, or imports them with their history and artifacts.

Only MLflow's description of a model is read. The model itself is not loaded, because that would run
its code.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, TypeVar
from urllib.parse import urlparse

import orjson
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.models import get_model_info
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan

from otel_ml import attributes as names
from otel_ml import types
from otel_ml.arguments import check_integer
from otel_ml.artifact import make_artifact
from otel_ml.capture.taker import TRUNCATED
from otel_ml.capture.values import clean, preview
from otel_ml.client import Client
from otel_ml.export.delivery import Delivery, join
from otel_ml.imports.history import (
    Identity,
    Record,
    complete_span,
    numbered_span_id,
    span_id_of,
    trace_id_of,
)
from otel_ml.metrics import LoggedPoint, point_attributes
from otel_ml.recorder import Recorder
from otel_ml.redaction import Redaction
from otel_ml.spans import RunSpan
from otel_ml.tags import fits, tag_attributes, tags_of
from otel_ml.versions.definition import Definition
from otel_ml.versions.parts import digest
from otel_ml.wire import Attributes, Subject, lineage_event

__all__ = [
    "Imported",
    "from_mlflow_run",
    "get_mlflow_model_metrics",
    "import_mlflow_experiment",
    "import_mlflow_run",
]


# Batch size, below the queue size of a joined provider (2,048).
_SPANS_AT_ONCE: Final = 256


@dataclass(frozen=True, slots=True)
class Imported:
    """The result of importing one MLflow run. It is truthy if everything was stored.

    Attributes:
        source_id: Id of the run in MLflow.
        run_id: Id of the run in otel-ml.
        records: Number of spans sent.
        delivery: Number of stored, pending and lost spans. It is falsy unless all were stored. To
            store the others, import the run again.
    """

    source_id: str
    run_id: str
    records: int
    delivery: Delivery

    def __bool__(self) -> bool:
        return bool(self.delivery)


def send(client: Client, records: Iterable[Record], timeout_s: float) -> tuple[int, Delivery]:
    """Send the spans of an imported MLflow run in batches. Stop when a batch is not stored.

    Args:
        client: The client to send with.
        records: The spans, in the order in which to store them. The last one marks the import as
            complete.
        timeout_s: Time limit in seconds for each batch.

    Returns:
        Number of spans sent, and whether they were stored.

    Raises:
        ValueError: The client uses your OpenTelemetry tracer provider, which assigns its own ids.
            Create it with ``join=False``.
    """
    recorder = client._recorder.in_force
    if not recorder.enabled:
        return 0, Delivery(reason="nothing is recorded: OTEL_SDK_DISABLED")
    # Without process id and sequence number, so that a repeated import sends identical records.
    facts = {names.PROJECT: recorder.project}
    sent, total = 0, Delivery()
    recorder.flush(timeout_s)  # so that earlier records do not count as imported
    rest = iter(records)
    while part := list(islice(rest, _SPANS_AT_ONCE)):
        for record in part:
            _put(recorder, record, facts)
        sent += len(part)
        total = join(total, recorder.flush(timeout_s))
        if not total:
            break
    return sent, total


def _put(recorder: Recorder, record: Record, attributes: Attributes) -> None:
    start = recorder.start or recorder.open()
    context, identity = Context(), record.identity
    if record.parent_id is not None:
        above = Identity(identity.trace_id, record.parent_id)
        context = trace.set_span_in_context(NonRecordingSpan(above.context), context)
    span = start(record.name, context, record.start_ns, attributes, True)
    if type(span) is not RunSpan or span._made_context is not None:  # the ids are already fixed
        raise ValueError(
            "Invalid client: expected Client(join=False), because the service's provider assigns "
            f"the ids of its {type(span).__name__} spans"
        )
    span.trace_id, span.span_id = identity.trace_id, identity.span_id
    complete_span(span, record, attributes)


T = TypeVar("T")
Upload = Callable[[str, bytes], str | None]

_TIMEOUT_S: Final = 60.0
_PAGE: Final = 1_000
_POINTS_AT_ONCE: Final = 1_000
_MOST_BYTES: Final = 64 * 1024 * 1024
_MOST_ARTIFACTS: Final = 10_000
_MS: Final = 1_000_000
_MOST_ABOVE: Final = 32
_OUTCOMES: Final = {"FINISHED": "ok", "FAILED": "error", "KILLED": "cancelled"}
_PARENT: Final = "mlflow.parentRunId"
_PYFUNC: Final = "python_function"
# Numbers as Python writes them.
_WHOLE_NUMBER: Final = re.compile("-?(?:0|[1-9][0-9]{0,17})")
_DECIMAL_NUMBER: Final = re.compile(r"-?[0-9]+(?:\.[0-9]*)?(?:e[+-]?[0-9]{1,3})?")


def from_mlflow_run(run_id: str) -> dict[str, Any]:
    """Return a description of the model that an MLflow run logged, without loading the model.

    If the run has no signature or no data sets, for example, that part of the description is empty.

    Args:
        run_id: Id of the run in MLflow, at the current tracking URI.

    Returns:
        ``source`` (path of the model's files), ``framework`` and ``flavor``, ``parameters``,
        ``model_config``, ``input_datasets``, and ``signature`` with ``inputs``, ``outputs`` and
        ``params`` as MLflow's own JSON.

    Raises:
        MlflowException: There is no such run.
    """
    client = MlflowClient()
    return _describe_model(client, client.get_run(run_id))


def get_mlflow_model_metrics(run_id: str) -> dict[str, float]:
    """Return the last value of each metric of an MLflow run.

    Raises:
        MlflowException: There is no such run.
    """
    return dict(MlflowClient().get_run(run_id).data.metrics)


def import_mlflow_run(
    run_id: str,
    client: Client | None = None,
    *,
    name: str | None = None,
    content_bytes: int = 0,
    timeout_s: float = _TIMEOUT_S,
) -> Imported:
    """Import an MLflow run: params, tags, data sets, metrics with history, artifacts and model.

    If you repeat an import, each run is still stored only once, and an interrupted import is
    completed. Runs keep the times that they have in MLflow. Artifacts stay in MLflow unless you set
    `content_bytes`. A nested run becomes a child of its parent run. The logged model becomes a
    model version with flavor, signature and last metrics.

    Args:
        run_id: Id of the run in MLflow, at the current tracking URI.
        client: Client to record with, created with ``join=False``. Default: a client configured by
            the environment.
        name: Name of the model. Default: name of the MLflow experiment.
        content_bytes: Largest artifact whose content is imported, in bytes, at most 64 MiB. Larger
            files are only listed by name and size. 0 imports no content.
        timeout_s: Time limit in seconds for each batch of a few hundred records.

    Returns:
        The result of the import.

    Raises:
        MlflowException: There is no such run.
        ValueError: The client uses your OpenTelemetry tracer provider. Create it with
            ``join=False``.
    """
    tracking = MlflowClient()
    run = tracking.get_run(run_id)
    model = name or str(tracking.get_experiment(run.info.experiment_id).name)
    [imported] = _import(tracking, [run], client, model, timeout_s, content_bytes=content_bytes)
    return imported


def import_mlflow_experiment(
    name_or_id: str,
    client: Client | None = None,
    *,
    name: str | None = None,
    content_bytes: int = 0,
    timeout_s: float = _TIMEOUT_S,
) -> list[Imported]:
    """Import all runs of an MLflow experiment except deleted ones. See `import_mlflow_run`.

    Args:
        name_or_id: Name or id of the MLflow experiment.
        client: Client to record with, created with ``join=False``. Default: a client configured by
            the environment.
        name: Name of the model. Default: name of the MLflow experiment.
        content_bytes: Largest artifact whose content is imported, in bytes, at most 64 MiB. 0
            imports no content.
        timeout_s: Time limit in seconds for each batch of a few hundred records.

    Returns:
        The result for each run, the oldest first. The import stops after the first run that is not
        stored.

    Raises:
        MlflowException: There is no such experiment.
        ValueError: The client uses your OpenTelemetry tracer provider. Create it with
            ``join=False``.
    """
    tracking = MlflowClient()
    experiment = tracking.get_experiment_by_name(name_or_id) or tracking.get_experiment(name_or_id)
    runs, model = find_runs(tracking, experiment.experiment_id), name or experiment.name
    return _import(tracking, runs, client, model, timeout_s, content_bytes=content_bytes)


def _import(
    tracking: MlflowClient,
    runs: Iterable[Run],
    client: Client | None,
    model: str,
    timeout_s: float,
    *,
    content_bytes: int,
) -> list[Imported]:
    check_integer("content_bytes", content_bytes, 0, _MOST_BYTES)
    target = client or Client(join=False)
    hides, upload = target._recorder.redaction, target._recorder.upload
    done: list[Imported] = []
    try:
        for run in runs:
            mlflow_run = MlflowRun(
                tracking, run, hides, model, content_bytes=content_bytes, upload=upload
            )
            sent, delivery = send(target, mlflow_run.records(), timeout_s)
            done.append(Imported(run.info.run_id, mlflow_run.identity.run_id, sent, delivery))
            if not delivery:
                break
    finally:
        if client is None:
            target.close()
    return done


def find_runs(tracking: MlflowClient, experiment_id: str) -> Iterator[Run]:
    """Yield the runs of an experiment, the oldest first."""
    token: str | None = None
    while True:
        page = tracking.search_runs(
            [experiment_id],
            order_by=["attributes.start_time ASC"],
            max_results=_PAGE,
            page_token=token,
        )
        yield from page
        token = page.token
        if not token:
            return


class MlflowRun:
    """Converts one MLflow run to the spans that an import sends.

    Args:
        client: The MLflow client.
        run: The run.
        redaction: Hides values that must not be sent.
        model: Name of the model.
        content_bytes: Largest artifact whose content is imported, in bytes.
        upload: Uploads content that is too large to send with a span. Returns its address, or None.
    """

    def __init__(
        self,
        client: MlflowClient,
        run: Run,
        redaction: Redaction,
        model: str,
        *,
        content_bytes: int = 0,
        upload: Upload | None = None,
    ) -> None:
        self._content_bytes = content_bytes
        self._upload = upload
        self._client = client
        self._run = run
        self._redaction = redaction
        self._model = model
        self._run_id: str = run.info.run_id
        self._start_ns: int = (run.info.start_time or 0) * _MS
        above: list[str] = []
        tags = self._run.data.tags
        while (parent := tags.get(_PARENT)) and parent not in above and len(above) < _MOST_ABOVE:
            above.append(parent)
            try:
                tags = self._client.get_run(parent).data.tags
            except MlflowException:  # the parent was deleted
                break
        self._parent_id = span_id_of("mlflow run", above[0]) if above else None
        root = above[-1] if above else self._run_id
        self.identity = Identity(
            trace_id_of("mlflow trace", root), span_id_of("mlflow run", self._run_id)
        )

    def records(self) -> Iterator[Record]:
        """Yield the spans in the order in which to send them.

        The last span marks the import of the run as complete.
        """
        yield from self._points()
        yield from self._artifacts()
        yield from self._model_version()
        yield self._ended() if self._run.info.status in _OUTCOMES else self._open()

    def _points(self) -> Iterator[Record]:
        for name in sorted(self._run.data.metrics):
            history = self._client.get_metric_history(self._run_id, name)
            points = sorted((m.timestamp, m.step, float(m.value)) for m in history)
            for number, start in enumerate(range(0, len(points), _POINTS_AT_ONCE)):
                part = [
                    LoggedPoint(clean(name), value, step, at_ms * _MS, "auto")
                    for at_ms, step, value in points[start : start + _POINTS_AT_ONCE]
                ]
                span_id = numbered_span_id(number, "mlflow metric", self._run_id, name)
                yield self._update(span_id, dict(point_attributes(part)))

    def _model_version(self) -> Iterator[Record]:
        """Yield the record of the logged model, as a version with flavor, signature and metrics.

        Each logged model is its own version. It is the same in every import.
        """
        described = _describe_model(self._client, self._run)
        if described["flavor"] is None:
            return
        logged = self._logged()
        made = {
            "flavor": described["flavor"],
            "signature": described["signature"],
            "model_config": described["model_config"],
            "parameters": {name: _typed(text) for name, text in self._run.data.params.items()},
            "mlflow": logged[0].model_id if logged else f"runs:/{self._run_id}/model",
        }
        document = orjson.loads(self._redaction.encode(made).text)
        version = digest([orjson.dumps(document, option=orjson.OPT_SORT_KEYS).decode()])
        definition = Definition(version, None, "", document, {}, {}).to_json(self._redaction)
        last = sorted(self._run.data.metrics.items())
        points = [
            LoggedPoint(clean(name), float(value), -1, self._start_ns, "single")
            for name, value in last
        ]
        about = {
            **dict(point_attributes(points)),
            names.RECORD: "update",
            names.TARGET_MODEL: clean(self._model),
            names.TARGET_VERSION: version,
            names.MODEL_DEFINITION: definition,
        }
        span_id = span_id_of("mlflow model", self._run_id)
        yield Record(
            name="otel_ml.update",
            identity=Identity(trace_id_of("mlflow records", self._run_id), span_id),
            start_ns=self._start_ns,
            end_ns=self._start_ns,
            attributes=about,
            link=self.identity,
        )
        model = Subject("model", clean(self._model), version)
        produced = lineage_event("produced", model, self._start_ns)
        yield self._update(span_id_of("mlflow produced", self._run_id), {}, produced)

    def _artifacts(self) -> Iterator[Record]:
        """Yield one record per artifact.

        If artifacts are added later, the other records stay the same.
        """
        for number, (path, size, uri) in enumerate(self._files()):
            if number == _MOST_ARTIFACTS:
                return
            facts = {
                names.ARTIFACT_REF: clean(path),
                names.ARTIFACT_TYPE: "mlflow",
                names.ARTIFACT_BYTES: size,
                names.ARTIFACT_URI: clean(self._redaction.text(uri)),
            }
            facts |= self._read_content(path, uri, size)
            span_id = span_id_of("mlflow artifact", self._run_id, path)
            event = (names.ARTIFACT_EVENT, facts, self._start_ns)
            yield self._update(span_id, {}, event)

    def _read_content(self, ref: str, uri: str, size: int) -> dict[str, Any]:
        """Return the content of a file of at most the size limit, as bytes."""
        if not 0 < size <= self._content_bytes:
            return {}
        with TemporaryDirectory() as folder:
            path = _or_none(lambda: download_artifacts(artifact_uri=uri, dst_path=folder))
            if path is None:
                return {}
            content = Path(path).read_bytes()
        if len(content) > self._content_bytes:
            return {}
        made = make_artifact(ref, types.Bytes(content), self._redaction)
        facts = {name: value for name, value in made.facts.items() if name != names.ARTIFACT_REF}
        if made.document is not None:
            address = None if self._upload is None else self._upload(made.sha256, made.document)
            if address is None:
                return {}
            facts[names.ARTIFACT_URI] = address
        return facts

    def _files(self) -> Iterator[tuple[str, int, str]]:
        """Yield path, size and address of the run's artifacts, including those of logged models."""
        base = self._run.info.artifact_uri
        folders: list[str | None] = [None]
        bases = {model.name: model.artifact_location for model in self._logged()}
        seen: set[str] = set()
        folders += list(bases)
        while folders:
            folder = folders.pop()
            for artifact in self._client.list_artifacts(self._run_id, folder):
                if artifact.path in seen:
                    continue
                seen.add(artifact.path)
                if artifact.is_dir:
                    folders.append(artifact.path)
                    continue
                top, _, rest = artifact.path.partition("/")
                uri = f"{bases[top]}/{rest}" if top in bases else f"{base}/{artifact.path}"
                yield artifact.path, artifact.file_size or 0, uri

    def _logged(self) -> list[Any]:
        return _find_logged_models(self._client, self._run)

    def _update(self, span_id: int, facts: dict[str, Any], *events: Any) -> Record:
        """Return a record about the run, in a trace of its own."""
        about = {
            **facts,
            names.RECORD: "update",
            names.TARGET_RUN: self.identity.run_id,
            names.TARGET_START_NS: self._start_ns,
        }
        return Record(
            name="otel_ml.update",
            identity=Identity(trace_id_of("mlflow records", self._run_id), span_id),
            start_ns=self._start_ns,
            end_ns=self._start_ns,
            attributes=about,
            events=events,
            link=self.identity,
        )

    def _ended(self) -> Record:
        info = self._run.info
        end_ns = max((info.end_time or 0) * _MS, self._start_ns)
        outcome = _OUTCOMES[info.status]
        attributes = {
            **self._facts(),
            names.OUTCOME: outcome,
            names.LATENCY_MS: (end_ns - self._start_ns) / _MS,
        }
        return Record(
            name=clean(info.run_name or self._run_id),
            identity=self.identity,
            start_ns=self._start_ns,
            end_ns=end_ns,
            attributes=attributes,
            parent_id=self._parent_id,
            failed=outcome == "error",
        )

    def _open(self) -> Record:
        """Return the record of a run that has not ended.

        A later import replaces it by the ended run.
        """
        facts = {
            **self._facts(),
            names.RECORD: "start",
            names.TARGET_RUN: self.identity.run_id,
        }
        if self._parent_id is not None:
            facts[names.PARENT_SPAN_ID] = f"{self._parent_id:016x}"
        return Record(
            name="otel_ml.start",
            identity=Identity(self.identity.trace_id, span_id_of("mlflow start", self._run_id)),
            start_ns=self._start_ns,
            end_ns=self._start_ns,
            attributes=facts,
            parent_id=self.identity.span_id,
        )

    def _facts(self) -> dict[str, Any]:
        """Return the attributes of the run itself."""
        data, info = self._run.data, self._run.info
        tags = self._redaction.values(tags_of(data.tags))
        facts: dict[str, Any] = {
            names.KIND: "training",
            names.MODEL_NAME: clean(self._model),
            names.TRACE_KEY: self._run_id,
            **tag_attributes(tags),
        }
        if info.user_id:
            facts[names.USER_ID] = clean(info.user_id)
        notes = {} if fits(tags) else {"tags": [TRUNCATED]}
        datasets = _describe_datasets(self._run)
        params = {name: _typed(text) for name, text in data.params.items()}
        notes |= self._put(facts, names.PARAMS, "params", params)
        notes |= self._put(facts, names.INPUTS, "inputs", {"datasets": datasets})
        if notes:
            facts[names.CAPTURE] = orjson.dumps(notes).decode()
        return facts

    def _put(
        self, facts: dict[str, Any], key: str, part: str, value: dict[str, Any]
    ) -> dict[str, list[str]]:
        """Add a payload to the attributes. Returns notes on the parts that were left out."""
        if value in ({}, {"datasets": []}):
            return {}
        text, notes = self._redaction.encode(value)
        facts[key] = text
        short = preview(orjson.loads(text), text) if key == names.INPUTS else None
        if short is not None:
            facts[names.INPUTS_PREVIEW] = short
        return {part: sorted(notes)} if notes else {}


def _describe_model(client: MlflowClient, run: Run) -> dict[str, Any]:
    """Describe the model that a run logged. If there are several, the first one.

    Returns:
        The keys of `from_mlflow_run`. Missing values are None or empty.
    """
    logged = _find_logged_models(client, run)
    uri = f"models:/{logged[0].model_id}" if logged else f"runs:/{run.info.run_id}/model"
    info = _or_none(lambda: get_model_info(uri))
    flavors = {} if info is None else info.flavors
    flavor = next((name for name in flavors if name != _PYFUNC), None)
    signature = None if info is None else info.signature
    location = logged[0].artifact_location if logged else f"{run.info.artifact_uri}/model"
    return {
        "source": urlparse(location).path,
        "framework": flavor,
        "parameters": dict(run.data.params),
        "flavor": flavor,
        "model_config": flavors.get(_PYFUNC, {}).get("config"),
        "input_datasets": _describe_datasets(run),
        "signature": {
            part: schema.to_json() if (schema := getattr(signature, part, None)) else None
            for part in ("inputs", "outputs", "params")
        },
    }


def _describe_datasets(run: Run) -> list[dict[str, Any]]:
    """Describe the input data sets of a run. Texts are MLflow's own JSON."""
    inputs = getattr(run, "inputs", None)
    return [
        {
            "name": used.dataset.name,
            "digest": used.dataset.digest,
            "profile": used.dataset.profile,
            "dataset_schema": used.dataset.schema,
            "source": used.dataset.source,
            "source_type": used.dataset.source_type,
        }
        for used in getattr(inputs, "dataset_inputs", None) or ()
    ]


def _find_logged_models(client: MlflowClient, run: Run) -> list[Any]:
    """Return the models that a run logged with MLflow 3, separate from its artifacts."""
    outputs = getattr(run, "outputs", None)  # since MLflow 3
    logged_models = [
        _or_none(lambda model_id=output.model_id: client.get_logged_model(model_id))  # type: ignore[misc]  # mypy cannot infer a default
        for output in getattr(outputs, "model_outputs", None) or ()
    ]
    return [model for model in logged_models if model is not None]


def _typed(text: str) -> object:
    """Convert a param to the number, bool or None that it was in Python.

    Otherwise return the text.
    """
    if text in _PYTHON_WORDS:
        return _PYTHON_WORDS[text]
    if _WHOLE_NUMBER.fullmatch(text):
        return int(text)
    return float(text) if _DECIMAL_NUMBER.fullmatch(text) else text


_PYTHON_WORDS: Final = {"True": True, "False": False, "None": None}


def _or_none(read: Callable[[], T]) -> T | None:
    """Return a value, or None if it is missing."""
    try:
        return read()
    except (MlflowException, OSError):
        return None
