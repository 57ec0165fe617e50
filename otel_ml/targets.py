"""What is said of runs and models that are named from outside, in records of their own.

A run may be over, in another process, or yet to come; a model may be no function, such as a file of
weights, and has a version by its params and its content.
"""

import hashlib
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from otel_ml import attributes as names
from otel_ml.arguments import check_mapping, check_text, invalid
from otel_ml.capture.description import text_of
from otel_ml.capture.values import clean, encode
from otel_ml.errors import quiet
from otel_ml.metrics import Metric, MetricValues
from otel_ml.recorder import Recorder
from otel_ml.runs import Handle
from otel_ml.tags import Details, Value
from otel_ml.updates import Updates
from otel_ml.versions.definition import Definition, declared_params, params_text
from otel_ml.versions.parts import digest
from otel_ml.wire import Attributes, Event

Weights = str | os.PathLike[str] | bytes

_RUN_ID: Final = re.compile("([0-9a-f]{32})-([0-9a-f]{16})")
_PARAMS_BYTES: Final = 16 * 1024 * 1024
_CHUNK_BYTES: Final = 1024 * 1024
_PAIR: Final = 2


class Elsewhere(Handle):
    """Whatever a run id, a trace key or a tag names; each call sends a record of its own.

    Args:
        recorder: Sends them.
        target: The attributes that name it.
        span: The run's span, when its id is known: the records join its trace.
    """

    __slots__ = ("_recorder", "_span", "_target")

    def __init__(
        self, recorder: Recorder, target: Mapping[str, Value], span: trace.Span | None
    ) -> None:
        self._recorder = recorder
        self._target = target
        self._span = span

    def _records_to(self) -> Recorder | None:
        return None if self._recorder.active() is None else self._recorder

    def _say(self, add: Callable[[Updates, Any], None], said: Any) -> None:
        updates = Updates()
        add(updates, said)
        self._send_all(updates, {})

    def _set_tags(self, tags: dict[str, Value], details: Details) -> None:
        updates = Updates()
        updates.details.update(details)
        self._send_all(updates, self._recorder.redaction.values(tags))

    def _send_all(self, updates: Updates, tags: Mapping[str, Value]) -> None:
        for attributes, events in updates.take(tags, time.time_ns()):
            self._send("update", attributes, events)

    def _send_feedback(self, said: dict[str, Value]) -> None:
        self._send("evaluation", self._recorder.redaction.values(said))

    def _send(self, record: str, said: Attributes, events: Sequence[Event] = ()) -> None:
        recorder = self._records_to()
        if recorder is not None:
            recorder.send_record(record, self._span, {**said, **self._target}, events)


def about(
    recorder: Recorder,
    run_id: str | None = None,
    trace_key: str | None = None,
    tag: tuple[str, object] | None = None,
) -> Elsewhere:
    """Name a run, or runs, by exactly one of these.

    Raises:
        ValueError: None or several are given, the run id is none, or the tag no pair.
    """
    if sum(item is not None for item in (run_id, trace_key, tag)) != 1:
        raise ValueError("Invalid target: expected exactly one of run_id, trace_key, tag")
    if trace_key is not None:
        return Elsewhere(recorder, {names.TARGET_TRACE_KEY: clean(text_of(trace_key))}, None)
    if tag is not None:
        if not issubclass(type(tag), tuple | list) or len(tag) != _PAIR:
            raise invalid("tag", tag, "a pair of name and value")
        name, value = map(text_of, tag)
        return Elsewhere(recorder, {names.TARGET_TAG: clean(f"{name}={value}")}, None)
    found = _RUN_ID.fullmatch(str(run_id)) if issubclass(type(run_id), str) else None
    if found is None:
        raise invalid("run_id", run_id, "32 and 16 hex digits with a dash between")
    above = SpanContext(int(found[1], 16), int(found[2], 16), True, TraceFlags(TraceFlags.SAMPLED))
    return Elsewhere(recorder, {names.TARGET_RUN: found[0]}, NonRecordingSpan(above))


@dataclass(frozen=True, slots=True)
class WeightsContent:
    """What was read: a hash in hex, and how many bytes."""

    sha256: str
    size: int


def read_content(weights: Any) -> WeightsContent:
    """Hash bytes, a file, or all files below a directory with their paths.

    Names and contents count; times, owners and the order in which files are found do not. Links
    to directories are not followed. A file is read in parts, so that it may be larger than memory.

    Raises:
        ValueError: It is none of these, or cannot be read.
    """
    kind = type(weights)
    if issubclass(kind, bytes):
        return WeightsContent(hashlib.sha256(weights).hexdigest(), len(weights))
    if not issubclass(kind, str | os.PathLike) or not os.fspath(weights):
        raise invalid("artifact", weights, "a path, bytes or None")
    path = Path(weights)
    try:
        if path.is_dir():
            return _read_directory(path)
        return _read_file(path)
    except OSError as error:
        expected = f"a file or directory that can be read ({error.strerror})"
        raise invalid("artifact", os.fspath(weights), expected) from error


def _read_file(path: Path) -> WeightsContent:
    found, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while part := file.read(_CHUNK_BYTES):
            found.update(part)
            size += len(part)
    return WeightsContent(found.hexdigest(), size)


def _read_directory(directory: Path) -> WeightsContent:
    paths = [Path(folder, name) for folder, _, files in os.walk(directory) for name in files]
    found, size = hashlib.sha256(), 0
    for name, path in sorted((path.relative_to(directory).as_posix(), path) for path in paths):
        if path.is_file():  # no socket, no pipe that nobody writes to
            content = _read_file(path)
            found.update(f"{len(os.fsencode(name))}:".encode() + os.fsencode(name))
            found.update(bytes.fromhex(content.sha256))
            size += content.size
    return WeightsContent(found.hexdigest(), size)


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
        self._metrics = MetricValues()
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
        if self._records_to() is not None and self._is_due():
            super()._send("update", {names.MODEL_DEFINITION: self._definition})

    def _say(self, add: Callable[[Updates, Any], None], said: Any) -> None:
        if add is Updates.add_points and self._records_to() is not None:
            with self._recorder.lock:
                self._metrics.add(said)
        super()._say(add, said)

    def _send(self, record: str, said: Attributes, events: Sequence[Event] = ()) -> None:
        if record == "update" and self._records_to() is not None and self._is_due():
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
    recorder: Recorder, version: str, params: dict[str, object], content: WeightsContent | None
) -> str:
    """Write a definition in the form of that of a function, which has no artifact."""
    found = orjson.loads(Definition(version, None, "", params, {}, {}).to_json(recorder.redaction))
    if content is not None:
        found["artifact"] = {"sha256": content.sha256, "bytes": content.size}
    return encode(found).text
