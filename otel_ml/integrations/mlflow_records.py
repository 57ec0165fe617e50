"""An MLflow run as records of ours: its points and artifacts first, the run itself last."""

from collections.abc import Iterator
from typing import Any, Final

import orjson
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from otel_ml import attributes as names
from otel_ml.capture.values import TRUNCATED, clean, preview
from otel_ml.integrations.importing import (
    Identity,
    Record,
    numbered_span_id,
    span_id_of,
    trace_id_of,
)
from otel_ml.integrations.mlflow_model import describe_datasets, find_logged_models
from otel_ml.metrics import Point, point_attributes
from otel_ml.redaction import Redaction
from otel_ml.tags import fits, tag_attributes, tags_of

_POINTS: Final = 1_000
_MOST_ARTIFACTS: Final = 10_000
_MS: Final = 1_000_000
_MOST_ABOVE: Final = 32
_OUTCOMES: Final = {"FINISHED": "ok", "FAILED": "error", "KILLED": "cancelled"}
_PARENT: Final = "mlflow.parentRunId"


class MlflowRun:
    """One run of MLflow.

    Args:
        client: Where it is.
        run: The run.
        redaction: Hides what must not leave.
        model: The name that it is filed under.
    """

    def __init__(self, client: MlflowClient, run: Run, redaction: Redaction, model: str) -> None:
        self._client = client
        self._run = run
        self._redaction = redaction
        self._model = model
        self._run_id: str = run.info.run_id
        self._start_ns: int = (run.info.start_time or 0) * _MS
        above = self._runs_above()
        self._parent_id = span_id_of("mlflow run", above[0]) if above else None
        root = above[-1] if above else self._run_id
        self.identity = Identity(
            trace_id_of("mlflow trace", root), span_id_of("mlflow run", self._run_id)
        )

    def records(self) -> Iterator[Record]:
        """Read the run's records one after the other."""
        yield from self._points()
        yield from self._artifacts()
        yield self._ended() if self._run.info.status in _OUTCOMES else self._open()

    def _points(self) -> Iterator[Record]:
        for name in sorted(self._run.data.metrics):
            history = self._client.get_metric_history(self._run_id, name)
            points = sorted((m.timestamp, m.step, float(m.value)) for m in history)
            for number, start in enumerate(range(0, len(points), _POINTS)):
                part = [
                    Point(clean(name), value, step, at_ms * _MS, "auto")
                    for at_ms, step, value in points[start : start + _POINTS]
                ]
                span_id = numbered_span_id(number, "mlflow metric", self._run_id, name)
                yield self._update(span_id, dict(point_attributes(part)))

    def _artifacts(self) -> Iterator[Record]:
        """One record each: when there are more of them later, the others are the same."""
        for number, (path, size, uri) in enumerate(self._files()):
            if number == _MOST_ARTIFACTS:
                return
            told = {
                names.ARTIFACT_REF: clean(path),
                names.ARTIFACT_TYPE: "mlflow",
                names.ARTIFACT_BYTES: size,
                names.ARTIFACT_URI: clean(self._redaction.text(uri)),
            }
            span_id = span_id_of("mlflow artifact", self._run_id, path)
            event = (names.ARTIFACT_EVENT, told, self._start_ns)
            yield self._update(span_id, {}, event)

    def _files(self) -> Iterator[tuple[str, int, str]]:
        """Walk the run's artifacts, those of logged models among them; paths, sizes, addresses."""
        base = self._run.info.artifact_uri
        folders: list[str | None] = [None]
        bases = {model.name: model.artifact_location for model in self._logged()}
        seen: set[str] = set()
        folders += list(bases)
        while folders:
            folder = folders.pop()
            for found in self._client.list_artifacts(self._run_id, folder):
                if found.path in seen:
                    continue
                seen.add(found.path)
                if found.is_dir:
                    folders.append(found.path)
                    continue
                top, _, rest = found.path.partition("/")
                uri = f"{bases[top]}/{rest}" if top in bases else f"{base}/{found.path}"
                yield found.path, found.file_size or 0, uri

    def _logged(self) -> list[Any]:
        return find_logged_models(self._client, self._run)

    def _update(self, span_id: int, said: dict[str, Any], *events: Any) -> Record:
        """Make a record about the run, in a trace beside it, which can still be looked at."""
        about = {
            **said,
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
        """Say that the run goes on; its end, when it is imported then, takes the place of this."""
        told = {
            **self._facts(),
            names.RECORD: "start",
            names.TARGET_RUN: self.identity.run_id,
        }
        if self._parent_id is not None:
            told[names.PARENT_SPAN_ID] = f"{self._parent_id:016x}"
        return Record(
            name="otel_ml.start",
            identity=Identity(self.identity.trace_id, span_id_of("mlflow start", self._run_id)),
            start_ns=self._start_ns,
            end_ns=self._start_ns,
            attributes=told,
            parent_id=self.identity.span_id,
        )

    def _facts(self) -> dict[str, Any]:
        """Write what is known of the run itself."""
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
        datasets = describe_datasets(self._run)
        notes |= self._put(facts, names.PARAMS, "params", dict(data.params))
        notes |= self._put(facts, names.INPUTS, "inputs", {"datasets": datasets})
        if notes:
            facts[names.CAPTURE] = orjson.dumps(notes).decode()
        return facts

    def _put(
        self, facts: dict[str, Any], key: str, part: str, value: dict[str, Any]
    ) -> dict[str, list[str]]:
        """Write a payload; returns what was left out of it."""
        if not any(value.values()):
            return {}
        text, notes = self._redaction.encode(value)
        facts[key] = text
        short = preview(orjson.loads(text), text) if key == names.INPUTS else None
        if short is not None:
            facts[names.INPUTS_PREVIEW] = short
        return {part: sorted(notes)} if notes else {}

    def _runs_above(self) -> list[str]:
        """List the runs that this one is nested in, the nearest first."""
        above: list[str] = []
        tags = self._run.data.tags
        while (parent := tags.get(_PARENT)) and parent not in above and len(above) < _MOST_ABOVE:
            above.append(parent)
            try:
                tags = self._client.get_run(parent).data.tags
            except MlflowException:  # it is gone for good
                break
        return above
