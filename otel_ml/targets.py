"""Handles for runs and models outside the current run: by run ID, trace key, tag or model name.

Each call sends a separate record. The run may have ended, may be in another process, or may not
exist yet. A model need not be a function: for a file of weights, the version is computed from
params and content.
"""

import hashlib
import logging
import math
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from otel_ml import attributes as names
from otel_ml.arguments import check_integer, check_mapping, check_text, invalid
from otel_ml.capture.description import text_of
from otel_ml.capture.values import clean, encode
from otel_ml.errors import quiet
from otel_ml.late import late
from otel_ml.metrics import Metric, MetricValues
from otel_ml.recorder import Recorder
from otel_ml.runs import Handle
from otel_ml.tags import Details, Value
from otel_ml.updates import Updates
from otel_ml.versions.definition import Definition, declared_params, params_text
from otel_ml.versions.parts import digest
from otel_ml.wire import Attributes, Event, HasSubject, Subject, evaluation_attributes

if TYPE_CHECKING:
    from otel_ml.judges.answer import Judgement
    from otel_ml.reader import errors as unread
    from otel_ml.reader import reader as reading
    from otel_ml.reader.records import Version
else:
    reading = late("reader.reader")
    unread = late("reader.errors")

_logger = logging.getLogger(__name__)

Weights = str | os.PathLike[str] | bytes

_RUN_ID: Final = re.compile("([0-9a-f]{32})-([0-9a-f]{16})")
_PARAMS_BYTES: Final = 16 * 1024 * 1024
_CHUNK_BYTES: Final = 1024 * 1024
_PAIR: Final = 2
_ALIAS: Final = re.compile(r"(?!v?[0-9]+\Z)\w[\w.-]*")
_ALIAS_CHARS: Final = 128
_BY_CHARS: Final = 256
_MOST_VERSIONS: Final = 2**31 - 1
# Timeouts of a read: for delivery of this process's own records, and for the collector's response.
_DRAIN_S: Final = 5.0
_READ_S: Final = 30.0
_CHOOSE_S: Final = 3.0
_SHORT: Final = 1_000
_MOST_POINTS: Final = 100_000


class Elsewhere(Handle):
    """A handle to add data to runs that have ended or that another process records.

    The data can be tags, text, metrics or feedback.

    You get one from `Client.about`. Each method call sends one record. The collector adds it to all
    runs with the given run ID, trace key or tag.

    Args:
        recorder: Recorder that sends the records.
        target: Attributes that identify the runs: their run ID, trace key or tag.
        span: The run's span, if its ID is known. The records then belong to the same trace.
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

    def _update(self, add: Callable[[Updates, Any], None], value: Any) -> None:
        updates = Updates()
        add(updates, value)
        self._send_all(updates, {})

    def _set_tags(self, tags: dict[str, Value], details: Details) -> None:
        updates = Updates()
        updates.details.update(details)
        self._send_all(updates, self._recorder.redaction.values(tags))

    def _send_all(self, updates: Updates, tags: Mapping[str, Value]) -> None:
        for attributes, events in updates.take(tags, time.time_ns()):
            self._send("update", attributes, events)

    def _send_feedback(self, attributes: dict[str, Value]) -> None:
        self._send("evaluation", attributes)

    def _send(self, record: str, attributes: Attributes, events: Sequence[Event] = ()) -> None:
        recorder = self._records_to()
        if recorder is not None:
            recorder.send_record(record, self._span, {**self._target, **attributes}, events)


def about(
    recorder: Recorder,
    run_id: str | None = None,
    trace_key: str | None = None,
    tag: tuple[str, object] | None = None,
) -> Elsewhere:
    """Implement `Client.about`: return a handle that adds data to runs.

    Raises:
        ValueError: Not exactly one argument is given, the run ID is malformed, or the tag is not a
            pair of name and value.
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
    match = _RUN_ID.fullmatch(str(run_id)) if issubclass(type(run_id), str) else None
    if match is None:
        raise invalid("run_id", run_id, "32 and 16 hex digits with a dash between")
    above = SpanContext(int(match[1], 16), int(match[2], 16), True, TraceFlags(TraceFlags.SAMPLED))
    return Elsewhere(recorder, {names.TARGET_RUN: match[0]}, NonRecordingSpan(above))


def send_judgement(recorder: Recorder, run_id: str, judgement: "Judgement", start_ns: int) -> None:
    """Send a judge's result for a stored run. `start_ns` is the start time of that run."""
    about(recorder, run_id)._send("evaluation", evaluation_attributes(judgement, start_ns))


@dataclass(frozen=True, slots=True)
class WeightsContent:
    """Identifies the content of model files: SHA-256 as hex, and size in bytes."""

    sha256: str
    size: int


def read_content(weights: Any) -> WeightsContent:
    """Return the SHA-256 and size of model weights: bytes, a file, or all files below a directory.

    The hash of a directory covers the paths and contents of its files, but not their times and
    owners. Links to directories are not followed.

    Raises:
        ValueError: The argument is neither bytes nor a path, or the path cannot be read.
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
        if path.is_file():  # skip sockets and pipes, which could block
            content = _read_file(path)
            found.update(f"{len(os.fsencode(name))}:".encode() + os.fsencode(name))
            found.update(bytes.fromhex(content.sha256))
            size += content.size
    return WeightsContent(found.hexdigest(), size)


class TargetModel(Elsewhere, HasSubject):
    """A version of a model that is not a traced function, for example a file of weights.

    You get one from `Client.model`. Use it to log metrics, tags, text, data and feedback to the
    version. Properties such as `metrics` and `latest` are read from the collector, so they include
    what other processes logged.

    Attributes:
        name: Name of the model.
    """

    __slots__ = ("_definition", "_metrics", "_own_version", "_version", "name")

    def __init__(
        self, recorder: Recorder, name: str, version: str, definition: str, *, is_bare: bool
    ) -> None:
        super().__init__(recorder, {}, None)
        self.name = name
        self._definition = definition
        self._metrics = MetricValues()
        self._own_version = version  # the version that is defined here
        self._version: str | None = None
        if not is_bare:
            self._choose(version)

    @property
    def version(self) -> str:
        """Hash of the params and the artifact, 16 hex digits. Equal content gives the same hash.

        If you created the handle without params and artifact, this is the newest version of the
        model in the collector. The first access asks the collector and waits at most 3 s. If the
        collector does not answer or has no version, this is the hash of a model without params and
        artifact.
        """
        if self._version is None:
            chosen = self._own_version
            if self._recorder.page:
                try:
                    with self._open_reader(_CHOOSE_S) as reader:
                        chosen = reader.versions(self.name)[0].digest
                except unread.NotFound:
                    pass
                except unread.ReaderError as error:
                    _logger.warning("Cannot read the newest version of %s: %s", self.name, error)
            self._choose(chosen)
        return self._version or self._own_version

    @property
    def _subject(self) -> Subject:
        return Subject("model", self.name, self.version)

    @property
    def metrics(self) -> dict[str, Metric]:
        """All metrics of this version by name: the value, or a list of values for a series.

        They are read from the collector, so they include what other processes logged. Series of
        more than 100,000 points are thinned out, keeping their shape.

        If the collector does not answer, you get only what you logged through this object: the last
        10,000 points of each series, for at most 1,000 names.

        Raises:
            ReaderError: The collector does not answer, and nothing was logged through this object.
        """
        with self._recorder.lock:
            here = self._metrics.values()
        if not self._recorder.page:
            return here
        try:
            return self._read_metrics()
        except unread.ReaderError as error:
            if not here:
                raise
            _logger.warning(
                "Metrics of model %s include only this process's own: %s", self.name, error
            )
            return here

    def versions(self) -> "list[Version]":
        """Return all versions of the model from the collector, newest first.

        Raises:
            NotFound: The model has no version.
            ReaderError: The collector does not answer, or this client does not send to a collector.
        """
        with self._open_reader() as reader:
            return reader.versions(self.name)

    @property
    def latest(self) -> "Version":
        """The newest version of the model. Each access asks the collector.

        Raises:
            NotFound: The model has no version.
            ReaderError: The collector does not answer, or this client does not send to a collector.
        """
        return self.versions()[0]

    def set_alias(self, alias: str, version: int | None = None, *, by: str = "") -> None:
        """Point an alias, a movable name such as ``champion``, to a version of the model.

        The change is sent in the background. The collector also records its author and time. If
        several changes arrive in the wrong order, the one with the latest time is used.

        Args:
            alias: The alias, at most 128 characters: letters, digits, ``_``, ``.`` and ``-``. It
                starts with a letter, a digit or ``_``, and must not be a version number, such as
                ``3`` or ``v3``.
            version: Version number, such as 3. It must exist in the collector. Default: this
                version.
            by: Name of the author of the change. Default: the name of the API key.

        Raises:
            ValueError: An argument is invalid. The alias does not change.
            NotFound: There is no version with this number.
            ReaderError: `version` is given, and the collector does not answer.
        """
        self._move(alias, version, by, {})

    def remove_alias(self, alias: str, *, by: str = "") -> None:
        """Remove an alias from the model.

        Args:
            alias: The alias to remove.
            by: Name of the author of the change. Default: the name of the API key.

        Raises:
            ValueError: An argument is invalid. The alias does not change.
        """
        self._move(alias, None, by, {names.ALIAS_REMOVED: True})

    @property
    def aliases(self) -> "Mapping[str, int | None]":
        """The current aliases of the model, and the version number that each points to.

        Raises:
            NotFound: The model has no version.
            ReaderError: The collector does not answer, or this client does not send to a collector.
        """
        with self._open_reader() as reader:
            return {alias.alias: alias.version for alias in reader.aliases(self.name).aliases}

    def _move(self, alias: str, version: int | None, by: str, more: Attributes) -> None:
        name = check_text("alias", alias, _ALIAS_CHARS)
        if _ALIAS.fullmatch(name) is None:
            raise invalid(
                "alias", name, "a name such as champion or 2.0, but not a version such as 2 or v2"
            )
        mover = check_text("by", by, _BY_CHARS, may_be_empty=True)
        if version is not None:
            check_integer("version", version, 1, _MOST_VERSIONS)
        facts: dict[str, Any] = {names.ALIAS: name, names.ALIAS_SOURCE: "sdk", **more}
        if mover:
            facts[names.ALIAS_BY] = clean(mover)
        if version is not None:
            with self._open_reader() as reader:
                facts[names.TARGET_VERSION] = reader.version(self.name, version).digest
        with quiet("model.set_alias"):
            self._send("update", facts)

    @quiet("model")
    def send_version(self) -> None:
        """Send the version's params and the hash of its artifact, unless they were sent recently.

        Do nothing if the handle was created without params and artifact. Such a handle refers to
        the newest version, and only the collector knows which one that is.
        """
        if self._records_to() is None:
            return
        if self._version is None and self._recorder.page:
            return
        if self._is_due():
            super()._send("update", {names.MODEL_DEFINITION: self._definition})

    def _read_metrics(self) -> dict[str, Metric]:
        with self._open_reader() as reader:
            versions = reader.versions(self.name)
            digest = self._version or versions[0].digest
            items = [version for version in versions if version.digest == digest]
            if not items:
                raise unread.NotFound(f"Model {self.name!r} has no version {digest}")
            first = items[-1]  # definitions are stored with the version's first output structure
            metrics = dict(first.metrics)
            if any(isinstance(value, list) and len(value) >= _SHORT for value in metrics.values()):
                series = reader.metrics(model=self.name, version=first.version, points=_MOST_POINTS)
                metrics |= {
                    name: series[name].values
                    for name, value in metrics.items()
                    if isinstance(value, list) and name in series
                }
        return {name: _as_logged(value) for name, value in metrics.items()}

    def _open_reader(self, timeout_s: float = _READ_S) -> "reading.Reader":
        """Deliver queued updates and open a reader.

        Raises:
            ReaderError: This client does not send to a collector that can be queried.
        """
        recorder = self._recorder
        if not recorder.page:
            raise unread.Unreachable(
                "This client does not send to a collector: expected a client with an endpoint"
            )
        began = time.monotonic()
        recorder.drain(min(_DRAIN_S, timeout_s / 2))
        timeout_s -= time.monotonic() - began
        route = recorder.route
        return reading.Reader(route.project, route.api_key, route.endpoint, timeout_s=timeout_s)

    def _choose(self, version: str) -> None:
        self._target = {names.TARGET_MODEL: self.name, names.TARGET_VERSION: version}
        self._version = version

    def _update(self, add: Callable[[Updates, Any], None], value: Any) -> None:
        if add is Updates.add_points and self._records_to() is not None:
            with self._recorder.lock:
                self._metrics.add(value)
        super()._update(add, value)

    def _send(self, record: str, attributes: Attributes, events: Sequence[Event] = ()) -> None:
        if self._records_to() is None:
            return
        # another version was announced by the process that made it
        is_defined_here = (
            self.version
            == attributes.get(names.TARGET_VERSION, self._own_version)
            == self._own_version
        )
        if is_defined_here and record == "update" and self._is_due():
            attributes = {**attributes, names.MODEL_DEFINITION: self._definition}
        super()._send(record, attributes, events)

    def _is_due(self) -> bool:
        """Return whether this process must send the version's definition now, and note it."""
        key = ("model", self.name, self.version)
        return self._recorder.check_due(key, time.time_ns()) is None


def _as_logged(value: Any) -> Metric:
    """Convert metric values from the API to floats. The API returns NaN as null."""
    if isinstance(value, list):
        return [math.nan if item is None else float(item) for item in value]
    return math.nan if value is None else float(value)


def name_model(
    recorder: Recorder,
    name: str,
    params: Mapping[str, object] | None = None,
    artifact: Weights | None = None,
) -> TargetModel:
    """Return a handle for the version of a model that has these params and this artifact.

    This function implements `Client.model`.

    Raises:
        ValueError: The name is empty or too long, `params` is not a mapping, or the artifact cannot
            be read.
    """
    check_text("name", name)
    if params is not None:
        check_mapping("params", params, "a mapping of names to values, or None")
    content = None if artifact is None else read_content(artifact)
    declared = declared_params({} if params is None else params)
    lines = [params_text(declared, _PARAMS_BYTES), "" if content is None else content.sha256]
    version = digest(lines)
    definition = _definition(recorder, version, declared, content)
    is_bare = params is None and artifact is None
    model = TargetModel(recorder, clean(name), version, definition, is_bare=is_bare)
    model.send_version()
    return model


def _definition(
    recorder: Recorder, version: str, params: dict[str, object], content: WeightsContent | None
) -> str:
    """Write a definition in the format that traced functions use, plus the artifact."""
    document = orjson.loads(
        Definition(version, None, "", params, {}, {}).to_json(recorder.redaction)
    )
    if content is not None:
        document["artifact"] = {"sha256": content.sha256, "bytes": content.size}
    return encode(document).text
