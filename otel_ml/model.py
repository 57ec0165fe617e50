"""A model without a function, such as a file of weights: its version, and what is said of it."""

import time
from collections.abc import Mapping, Sequence
from typing import Final

import orjson

from otel_ml import attributes as names
from otel_ml.arguments import check_mapping, check_text
from otel_ml.errors import quiet
from otel_ml.metrics import Metric, Metrics
from otel_ml.recorder import Recorder
from otel_ml.targets import Elsewhere
from otel_ml.values import clean, encode
from otel_ml.versions.definition import Definition, declared_params, params_text
from otel_ml.versions.parts import digest
from otel_ml.weights import Content, Weights, read_content
from otel_ml.wire import Attributes, Event, Point

_PARAMS_BYTES: Final = 16 * 1024 * 1024


class Model(Elsewhere):
    """One version of a model: metrics, tags, text, data and feedback belong to it.

    Each call sends a record of its own, or of a list of points a few.

    Attributes:
        name: Under which versions gather.
        version: 16 hex digits: the same for the same params and the same content.
    """

    __slots__ = ("_definition", "_metrics", "name", "version")

    def __init__(self, recorder: Recorder, name: str, version: str, definition: str) -> None:
        self.name = name
        self.version = version
        self._definition = definition
        self._metrics = Metrics()
        super().__init__(recorder, {names.TARGET_MODEL: name, names.TARGET_VERSION: version}, None)

    @property
    def metrics(self) -> dict[str, Metric]:
        """What was logged here, by name: a number, or a list of them for a series.

        It is not read back: what other processes, or another `Model` of this version, logged is
        not in it. Of a series it has the last 10,000 points, and at most 1,000 names.
        """
        with self._recorder.lock:
            return self._metrics.values()

    @quiet("model")
    def tell(self) -> None:
        """Say that the version exists, unless that is known."""
        if self._is_open and self._is_due():
            super()._send("update", {names.MODEL_DEFINITION: self._definition})

    def _add_points(self, points: Sequence[Point]) -> None:
        if self._is_open:
            with self._recorder.lock:
                self._metrics.add(points)
            super()._add_points(points)

    def _send(self, record: str, said: Attributes, events: Sequence[Event] = ()) -> None:
        if record == "update" and self._is_open and self._is_due():
            said = {**said, names.MODEL_DEFINITION: self._definition}
        super()._send(record, said, events)

    def _is_due(self) -> bool:
        """Tell whether this process has to say what the version is, which is noted."""
        key = ("model", self.name, self.version)
        return self._recorder.tell(key, time.time_ns()) is None


def name_model(
    recorder: Recorder,
    name: str,
    params: Mapping[str, object] | None = None,
    artifact: Weights | None = None,
) -> Model:
    """Name a version of a model by its params and the content of its artifact.

    Raises:
        ValueError: The name is empty or too long, the params are no mapping, or the artifact
            cannot be read.
    """
    check_text("name", name)
    if params is not None:
        check_mapping("params", params, "a mapping of names to values, or None")
    content = None if artifact is None else read_content(artifact)
    declared = declared_params({} if params is None else params)
    lines = [params_text(declared, _PARAMS_BYTES), "" if content is None else content.sha256]
    version = digest(lines)
    definition = _definition(recorder, version, declared, content)
    model = Model(recorder, clean(name), version, definition)
    model.tell()
    return model


def _definition(
    recorder: Recorder, version: str, params: dict[str, object], content: Content | None
) -> str:
    """Write a definition in the form of that of a function, which has no artifact."""
    found = orjson.loads(Definition(version, None, "", params, {}, {}).to_json(recorder.redaction))
    if content is not None:
        found["artifact"] = {"sha256": content.sha256, "bytes": content.size}
    return encode(found).text
