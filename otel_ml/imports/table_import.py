"""Imports a table of predictions: each row becomes a run with its time, tags and ground truth."""

import hashlib
import math
import re
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timezone, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypedDict
from zoneinfo import ZoneInfo

import orjson

from otel_ml import attributes as names
from otel_ml.arguments import (
    InvalidArgumentError,
    check_flag,
    check_mapping,
    check_optional_text,
    check_path,
    check_text,
    find_similar,
    invalid,
)
from otel_ml.capture.values import clean
from otel_ml.columns import CODES, count_values, is_measure
from otel_ml.imports.history import HistorySpans, Identity, Record, span_id_of, trace_id_of
from otel_ml.imports.progress import ImportProgress
from otel_ml.imports.sender import HistorySender, ImportBatch, ImportStopped
from otel_ml.imports.tables import RowSource, open_table, read_text
from otel_ml.items import digest_of
from otel_ml.notebook import page_address
from otel_ml.profiles.components import Component, InputComponent, OutputComponent
from otel_ml.profiles.profile import DOCUMENT, DOCUMENT_BYTES, ModelProfile
from otel_ml.reader import Reader
from otel_ml.reader.errors import ReaderError
from otel_ml.records import write_actual
from otel_ml.statistics.fields import sketch_field
from otel_ml.tags import tag_attributes, tags_of
from otel_ml.times import AHEAD_NS, find_time
from otel_ml.versions.definition import Definition, params_text
from otel_ml.versions.parts import digest
from otel_ml.wire import actual_attributes

if TYPE_CHECKING:
    from otel_ml.recorder import Recorder

# Maximum number of spans and bytes in a request. The collector accepts 20 MiB.
_BATCH_SPANS: Final = 2_000
_BATCH_BYTES: Final = 4 * 1024 * 1024
# Column in which pandas stores the index of a data frame in a file.
_PANDAS_INDEX: Final = re.compile(r"__index_level_[0-9]+__")
_NO_INPUTS: Final = "{}"
_MS: Final = 1_000_000
_DIGEST_CHARS: Final = 16
_LONGEST_MS: Final = 366 * 86_400_000
_SEEN_CACHE_KIB: Final = 16_384
# Number of rows of a reference from which its sketches are built.
_REFERENCE_ROWS: Final = 50_000
_MOST_FIELDS: Final = 100
_CATEGORIES: Final = 200
_TABLE_VERSION: Final = "table"  # version label of a profile built from a table
# The two values of a binary ground truth as lower-case JSON, and the positive one.
_BINARY: Final = (
    ({"0", "1"}, "1"),
    ({"false", "true"}, "true"),
    ({'"0"', '"1"'}, "1"),
    ({'"no"', '"yes"'}, "yes"),
    ({'"false"', '"true"'}, "true"),
)

Columns = str | Sequence[str]
OnProgress = Callable[[int, "int | None"], None]


class TableOptions(TypedDict, total=False):
    """What each column of an imported table contains, and how to import the table.

    Columns are given by name.

    Attributes:
        time: Column with the time of each prediction. A time without a time zone is UTC unless
            `timezone` says otherwise. A number is the time since the epoch. Its size decides
            whether it is in seconds, milliseconds, microseconds or nanoseconds. Required, except
            for a reference.
        outputs: Columns with what the model predicted.
        inputs: Columns with what the model received. Default: all columns that have no other role.
        truth: Column with the ground truth of the first output. For several outputs, a mapping from
            each output column to the column with its ground truth.
        tags: Columns that become tags, to filter and compare runs by.
        session: Column with the session, such as a customer.
        user: Column with the user.
        version: Column with the model version.
        id: Column with an ID that is unique in the table. Without it, a row is identified by its
            content.
        latency_ms: Column with the duration of the prediction in milliseconds.
        scores: Columns with scores, by the name of the score.
        timezone: Time zone of times that have none, such as ``Europe/Berlin``.
        as_reference: Whether to store the table as a reference instead of as runs. Later runs of
            the model are compared with the reference, to detect drift.
        rejected: File that receives the rows that cannot be imported.
        progress_file: File for the progress of the import, so that an interrupted import can be
            resumed.
        on_progress: Function that is called with two numbers: of finished rows, and of all rows.
            The second one is None if it is not known.
    """

    time: str | None
    outputs: Columns
    inputs: Columns | None
    truth: str | Mapping[str, str] | None
    tags: Columns
    session: str | None
    user: str | None
    version: str | None
    id: str | None
    latency_ms: str | None
    scores: Mapping[str, str] | None
    timezone: str | None
    as_reference: bool
    rejected: str | Path | None
    progress_file: str | Path | None
    on_progress: OnProgress | None


@dataclass(frozen=True, slots=True)
class TableImport:
    """The result of importing a table. It is truthy if every row was stored.

    A table is imported as runs or as a reference. A reference is data that later runs of the model
    are compared with, to detect drift.

    Attributes:
        rows: Number of rows in the table.
        stored: Number of rows that are stored as runs, or as part of the reference.
        resumed: Number of rows that an earlier, interrupted import had stored or rejected.
        rejected: Number of rejected rows, by reason.
        rejected_file: File with the rejected rows. None if there are none.
        truths: Number of rows with ground truth.
        targets: Prediction targets that use the ground truth.
        reference: Name of the reference. Empty if the table was imported as runs.
        notes: Warnings, such as a prediction target that could not be saved.
        seconds: Duration of the import in seconds.
        page: Address of the model's page; for a reference, of the page of fields.
    """

    rows: int
    stored: int
    resumed: int = 0
    rejected: Mapping[str, int] = field(default_factory=dict)
    rejected_file: Path | None = None
    truths: int = 0
    targets: tuple[str, ...] = ()
    reference: str = ""
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    page: str = ""

    def __bool__(self) -> bool:
        return not self.rejected


@dataclass(frozen=True, slots=True)
class Roles:
    """The columns of a table by role, checked. See `TableOptions`."""

    time: str | None
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    truth: Mapping[str, str]
    tags: tuple[str, ...]
    session: str | None
    user: str | None
    version: str | None
    id: str | None
    latency_ms: str | None
    scores: Mapping[str, str]
    zone: tzinfo

    @property
    def columns(self) -> list[str]:
        """The columns that are read, each once."""
        single = (self.time, self.session, self.user, self.version, self.id, self.latency_ms)
        several = (*self.inputs, *self.outputs, *self.tags)
        mapped = (*self.truth.values(), *self.scores.values())
        return [*dict.fromkeys(name for name in (*single, *several, *mapped) if name is not None)]

    def describe(self) -> list[Any]:
        """Return the roles as plain values."""
        return [
            *(self.time, self.inputs, self.outputs, dict(self.truth), self.tags, self.session),
            *(self.user, self.version, self.id, self.latency_ms, dict(self.scores)),
            str(self.zone),
        ]


def read_roles(options: TableOptions, columns: Sequence[str]) -> Roles:
    """Check the options of a table import, and return which column has which role.

    For example, one column contains the time of each run, and another one the output.

    Args:
        options: The options that the user passed to `Client.import_table`.
        columns: Names of the table's columns. Those without another role become inputs, unless the
            user lists the inputs.

    Raises:
        ValueError: A column does not exist, a required column is not named, or an option has the
            wrong type. The message lists the columns of the table.
    """
    unknown = [name for name in options if name not in TableOptions.__annotations__]
    if unknown:
        raise InvalidArgumentError(
            f"Unknown option {unknown[0]!r}: expected one of "
            + ", ".join(TableOptions.__annotations__)
        )
    is_reference = check_flag("as_reference", options.get("as_reference", False))
    outputs = _check_columns("outputs", options.get("outputs", ()))
    truth = options.get("truth") or {}
    if issubclass(type(truth), str):
        if not outputs:
            raise invalid(
                "outputs", outputs, "at least one column, to which the ground truth belongs"
            )
        truth = {outputs[0]: str(truth)}
    truth = dict(check_mapping("truth", truth, "a column, or a mapping of outputs to columns"))
    if unpaired := [name for name in truth if name not in outputs]:
        raise invalid("truth", unpaired[0], f"one of the outputs, {', '.join(outputs)}")
    scores = options.get("scores") or {}
    scores = dict(check_mapping("scores", scores, "a mapping of score names to columns"))
    single = {
        role: check_optional_text(role, options.get(role))
        for role in ("time", "session", "user", "version", "id", "latency_ms")
    }
    tags = _check_columns("tags", options.get("tags", ()))
    inputs = options.get("inputs")
    named = {*single.values(), *outputs, *truth.values(), *scores.values(), *tags}
    if inputs is None:
        chosen = tuple(
            name for name in columns if name not in named and not _PANDAS_INDEX.fullmatch(name)
        )
    else:
        chosen = _check_columns("inputs", inputs)
    if single["time"] is None and not is_reference:
        raise invalid("time", None, f"one of the table's columns, {_list(columns)}")
    if not outputs and not is_reference:
        raise invalid("outputs", None, f"some of the table's columns, {_list(columns)}")
    roles = Roles(
        inputs=chosen,
        outputs=outputs,
        truth=truth,
        tags=tags,
        scores=scores,
        zone=_read_zone(options.get("timezone")),
        **single,
    )
    for name in roles.columns:
        if name not in columns:
            near = find_similar(name, columns)
            hint = f"did you mean {near!r}? The table has" if near else "the table has"
            raise InvalidArgumentError(f"Unknown column {name!r}: {hint} {_list(columns)}")
    return roles


def _check_columns(argument: str, given: object) -> tuple[str, ...]:
    if issubclass(type(given), str):
        return (check_text(argument, given),)
    if not issubclass(type(given), list | tuple):
        raise invalid(argument, given, "a column, or a list of columns")
    return tuple(check_text(argument, name) for name in given)  # type: ignore[attr-defined]


def _read_zone(name: object) -> tzinfo:
    if name is None:
        return timezone.utc
    text = check_text("timezone", name)
    try:
        return ZoneInfo(text)
    except (OSError, ValueError) as error:
        raise invalid("timezone", text, "a name such as Europe/Berlin") from error


def _list(columns: Sequence[str]) -> str:
    shown = ", ".join(columns[:50])
    return f"{shown}, …" if len(columns) > 50 else shown  # noqa: PLR2004 - as many as it shows


class _Occurrences:
    """Counts how often a content occurred before, on disk, so that memory does not grow."""

    def __init__(self) -> None:
        # A temporary database, which SQLite deletes when it is closed.
        self._rows = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._rows.execute("PRAGMA journal_mode = OFF")
        self._rows.execute(f"PRAGMA cache_size = -{_SEEN_CACHE_KIB}")
        self._rows.execute("CREATE TABLE seen (content INTEGER PRIMARY KEY, times INTEGER)")
        self._rows.execute("BEGIN")

    def count(self, content: bytes) -> int:
        """Return how often this was called with the same content before."""
        key = int.from_bytes(content[:8], "big", signed=True)
        found = self._rows.execute(
            "INSERT INTO seen VALUES (?, 0) "
            "ON CONFLICT (content) DO UPDATE SET times = times + 1 RETURNING times",
            (key,),
        ).fetchone()
        return int(found[0])

    def close(self) -> None:
        """Delete the counts."""
        self._rows.close()


class _RejectedRow(Exception):
    """A row cannot be imported."""


class TableRows:
    """Converts the rows of a table to spans.

    Args:
        recorder: Recorder of the client, which knows the project and hides secrets.
        model: Name of the model.
        roles: The columns of the table by role, such as inputs or time.

    Attributes:
        truths: Number of rows with ground truth.
        truth_values: For each output, some values of its ground truth. They show whether the output
            is, for example, a class or a number.
    """

    def __init__(self, recorder: "Recorder", model: str, roles: Roles) -> None:
        self._redaction = recorder.redaction
        self._project = recorder.project
        self._model = clean(model)
        self._roles = roles
        self._spans = HistorySpans(self._project, "table")
        self._latest_ns = time.time_ns() + AHEAD_NS
        self._seed = hashlib.blake2b(
            "\0".join(("otel_ml table", self._project, self._model)).encode(), digest_size=32
        )
        self._occurrences = _Occurrences()
        self._constants: dict[Any, dict[str, Any]] = {}
        self._about = {names.PROJECT: self._project, names.RECORD: "evaluation"}
        self.truths = 0
        self.truth_values: dict[str, set[Any]] = {name: set() for name in roles.truth}

    def close(self) -> None:
        """Free what is on disk."""
        self._occurrences.close()

    def add(self, batch: ImportBatch, row: Mapping[str, Any], number: int, *, sends: bool) -> str:
        """Convert a row of the table to spans, and add them to a batch.

        Args:
            batch: The batch to add to.
            row: The values of the row, by column.
            number: Number of the row.
            sends: Whether to send the row. False if an earlier, interrupted import has stored it.
                It is then only counted, because the IDs of later rows depend on the count.

        Returns:
            Why the row cannot be imported. Empty if it can.
        """
        try:
            self._add(batch, row, number, sends=sends)
        except _RejectedRow as error:
            return str(error)
        return ""

    def _add(self, batch: ImportBatch, row: Mapping[str, Any], number: int, *, sends: bool) -> None:
        roles = self._roles
        start_ns = self._read_time(row)
        took_ns = self._read_latency(row)
        inputs = self._encode({name: row[name] for name in roles.inputs})
        outputs = self._encode({name: row[name] for name in roles.outputs})
        if outputs is None:
            raise _RejectedRow("no prediction")
        tags = {name: row[name] for name in roles.tags if row[name] is not None}
        facts: dict[str, Any] = tag_attributes(self._redaction.values(tags_of(tags)))
        for role, name in ((roles.session, names.SESSION_ID), (roles.user, names.USER_ID)):
            if role is not None and row[role] is not None:
                facts[name] = clean(_as_text(row[role]))
        version = None if roles.version is None else row[roles.version]
        content = self._identify(row, start_ns, [inputs, outputs, facts, version])
        truths = self._read_truths(row)
        constants = self._constants.get(version) or self._add_version(
            batch, version, start_ns, number
        )
        if not sends:
            return
        run = Identity(
            int.from_bytes(content[:16], "big") or 1, int.from_bytes(content[16:24], "big") or 1
        )
        if roles.inputs:  # without any of them, the row's inputs are missing
            facts[names.INPUTS] = _NO_INPUTS if inputs is None else inputs
        facts[names.OUTPUTS] = outputs
        facts[names.OUTCOME] = "ok"
        if took_ns is not None:
            facts[names.LATENCY_MS] = took_ns / _MS
        for score, name in roles.scores.items():
            if (value := _as_number(row[name])) is not None:
                facts[names.SCORE_PREFIX + score] = value
        end_ns = start_ns + (took_ns or 0)
        made = Record(self._model, run, start_ns, end_ns, facts)
        self._put(batch, made, constants, number)
        for place, (name, actual) in enumerate(truths.items()):
            span_id = (int.from_bytes(content[24:32], "big") + place) % (1 << 64) or 1
            about = {
                **actual_attributes(name, actual, None, None),
                names.TARGET_START_NS: start_ns,
            }
            truth = Record(
                "otel_ml.evaluation",
                Identity(run.trace_id, span_id),
                end_ns,
                end_ns,
                about,
                parent_id=run.span_id,
            )
            self._put(batch, truth, self._about, number)

    def _put(
        self, batch: ImportBatch, record: Record, constants: Mapping[str, Any], number: int
    ) -> None:
        batch.spans.append(self._spans.make(record, constants))
        batch.owners.append(number)

    def _read_time(self, row: Mapping[str, Any]) -> int:
        value = row[self._roles.time or ""]
        if value is None:
            raise _RejectedRow("no time")
        start_ns = find_time(_retype(value), self._roles.zone)
        if start_ns is None:
            raise _RejectedRow("invalid time")
        if start_ns < 1:
            raise _RejectedRow("time before 1970")
        if start_ns > self._latest_ns:
            raise _RejectedRow("time in the future")
        return start_ns

    def _read_latency(self, row: Mapping[str, Any]) -> int | None:
        name = self._roles.latency_ms
        if name is None or row[name] is None:
            return None
        took_ms = _as_number(row[name])
        if took_ms is None or not 0 <= took_ms <= _LONGEST_MS:
            raise _RejectedRow("invalid latency")
        return round(took_ms * _MS)

    def _encode(self, values: dict[str, Any]) -> str | None:
        """Return the present values as JSON, with secrets hidden; None if there are none."""
        present = {name: value for name, value in values.items() if value is not None}
        return self._redaction.encode(present).text if present else None

    def _identify(self, row: Mapping[str, Any], start_ns: int, content: list[Any]) -> bytes:
        """Return 32 bytes that identify the row.

        Ground truth and scores are not part of it, so that a later import can add them.
        """
        hashed = self._seed.copy()
        if self._roles.id is not None:
            value = row[self._roles.id]
            if value is None:
                raise _RejectedRow("no ID")
            hashed.update(b"id" + _as_text(value).encode("utf-8", "replace"))
            found = hashed.digest()
            if self._occurrences.count(found):
                raise _RejectedRow("the ID is already in an earlier row of the table")
            return found
        hashed.update(orjson.dumps([start_ns, *content], default=str))
        found = hashed.digest()
        if times := self._occurrences.count(found):
            hashed.update(b"again%d" % times)
            found = hashed.digest()
        return found

    def _read_truths(self, row: Mapping[str, Any]) -> dict[str, Any]:
        truths = {}
        for output, column in self._roles.truth.items():
            value = row[column]
            if value is None:
                continue
            try:
                actual = orjson.loads(write_actual(value))
            except ValueError:
                raise _RejectedRow("invalid ground truth") from None
            if self._redaction.is_secret(output):
                continue
            truths[output] = actual
            values = self.truth_values[output]
            if len(values) <= CODES and not isinstance(actual, list):
                values.add(actual)
        self.truths += bool(truths)
        return truths

    def _add_version(
        self, batch: ImportBatch, version: Any, start_ns: int, number: int
    ) -> dict[str, Any]:
        """Return what runs of a version share, and send its definition with its first row."""
        constants: dict[str, Any] = {
            names.PROJECT: self._project,
            names.KIND: "model",
            names.MODEL_NAME: self._model,
        }
        if version is not None:
            params = {"version": version}
            known = digest([params_text(params), ""])  # the same digest as in `Client.model`
            constants[names.MODEL_VERSION] = known
            definition = Definition(known, None, "", params, {}, {}).to_json(self._redaction)
            ids = ("table version", self._project, self._model, known)
            about = {
                names.RECORD: "update",
                names.TARGET_MODEL: self._model,
                names.TARGET_VERSION: known,
                names.MODEL_DEFINITION: definition,
            }
            update = Record(
                "otel_ml.update",
                Identity(trace_id_of(*ids), span_id_of(*ids)),
                start_ns,
                start_ns,
                about,
            )
            self._put(batch, update, {names.PROJECT: self._project}, number)
        self._constants[version] = constants
        return constants


def _as_text(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))  # pandas stores an integer column with gaps as floats
    return value if isinstance(value, str) else str(value)


def _retype(value: Any) -> Any:
    """Convert a number that is text only because its column has other cells that are text."""
    return read_text(value) if isinstance(value, str) else value


def _as_number(value: Any) -> float | None:
    value = _retype(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return float(value) if isinstance(value, bool) else None
    return float(value)


def import_table(
    recorder: "Recorder", table: Any, model: str, options: TableOptions
) -> TableImport:
    """Import a table. This is the implementation of `Client.import_table`.

    Raises:
        ValueError: An argument is invalid.
        ImportStopped: The collector does not answer or refuses the import.
        OSError: A file cannot be read or written.
    """
    name = check_text("model", model)
    opened = open_table(table)
    roles = read_roles(options, opened.columns)
    if not recorder.enabled:
        raise ImportStopped("Nothing is recorded: OTEL_SDK_DISABLED is set")
    if options.get("as_reference"):
        return _import_reference(recorder, opened, name, roles)
    return _TableImporter(recorder, opened, name, roles, options, _source_of(table)).run()


def _source_of(table: Any) -> list[Any]:
    """Return what identifies a file, to recognize it when an import is resumed; else nothing."""
    if not issubclass(type(table), str | Path):
        return []
    path = Path(table).resolve()
    found = path.stat()
    return [str(path), found.st_size, found.st_mtime_ns]


class _TableImporter:
    """One import of a table as runs."""

    def __init__(  # noqa: PLR0917 - called once
        self,
        recorder: "Recorder",
        table: RowSource,
        model: str,
        roles: Roles,
        options: TableOptions,
        source: list[Any],
    ) -> None:
        self._recorder = recorder
        self._table = table
        self._model = model
        self._roles = roles
        self._sender = HistorySender(recorder.route)
        self._rows = TableRows(recorder, model, roles)
        self._report = options.get("on_progress")
        progress_file = options.get("progress_file")
        if progress_file is not None and not source:
            raise invalid("progress_file", str(progress_file), "None, because only files resume")
        key = orjson.dumps(
            [source, recorder.project, model, self._sender.page, roles.describe()], default=str
        )
        rejected = options.get("rejected")
        self._progress = ImportProgress(
            None if progress_file is None else check_path("progress_file", progress_file),
            hashlib.sha256(key).hexdigest(),
            None if rejected is None else check_path("rejected", rejected),
        )
        self._total = 0

    def run(self) -> TableImport:
        began_s = time.monotonic()
        try:
            with self._sender.open() as send:
                for batch in send(self._batches()):
                    self._conclude(batch)
        finally:
            self._rows.close()
        self._progress.finish()
        targets, notes = self._save_targets()
        rejected = dict(self._progress.rejected)
        return TableImport(
            rows=self._total,
            stored=self._total - sum(rejected.values()),
            resumed=self._progress.resumed,
            rejected=rejected,
            rejected_file=self._progress.rejected_path if rejected else None,
            truths=self._rows.truths,
            targets=targets,
            notes=notes,
            seconds=time.monotonic() - began_s,
            page=page_address(
                self._sender.page, self._recorder.project, "models", clean(self._model)
            ),
        )

    def _batches(self) -> Iterator[ImportBatch]:
        done, columns = self._progress.done, self._roles.columns
        batch, size = ImportBatch(context=[]), 0
        for chunk in self._table.read(columns):
            batch.context.append(chunk)
            cells = zip(*(chunk.columns[name] for name in columns), strict=True)
            for place, values in enumerate(cells):
                number = chunk.first + place
                before = len(batch.spans)
                reason = chunk.broken.get(place)
                if reason is None:
                    row = dict(zip(columns, values, strict=True))
                    reason = self._rows.add(batch, row, number, sends=number >= done)
                if reason and number >= done:
                    batch.rejected[number] = reason
                size += sum([span.weight for span in batch.spans[before:]])
                self._total = batch.upto = number + 1
                if len(batch.spans) >= _BATCH_SPANS or size >= _BATCH_BYTES:
                    yield batch
                    batch, size = ImportBatch(upto=number + 1, context=[chunk]), 0
            if not batch.spans and not batch.rejected:
                batch.context.clear()  # all rows so far are already stored
        yield batch

    def _conclude(self, batch: ImportBatch) -> None:
        for number, reason in sorted(batch.rejected.items()):
            chunk = next(c for c in batch.context if c.first <= number < c.first + c.size)
            self._progress.reject(number + 1, chunk.row(number - chunk.first), reason)
        if batch.upto > self._progress.done:
            self._progress.advance(batch.upto)
            if self._report is not None:
                self._report(batch.upto, self._table.rows)

    def _save_targets(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Save a prediction target for each output with ground truth, unless it exists.

        Returns:
            The prediction targets that use the ground truth, and notes on those that failed.
        """
        found = {name: kept for name, kept in self._rows.truth_values.items() if kept}
        if not found:
            return (), ()
        targets, notes = [], []
        route = self._recorder.route
        with Reader(route.project, route.api_key, route.endpoint) as reader:
            try:
                saved = reader.targets()["targets"]
                known = {each["name"]: each["model"] for each in saved}
                own = {
                    each["truth"] or each["name"]: each["name"]
                    for each in saved
                    if each["model"] == self._model
                }
                for name, values in found.items():
                    if name in own:
                        targets.append(own[name])
                        continue
                    # Another model may have a target of this name.
                    target = f"{self._model} {name}" if name in known else name
                    if target in known:
                        notes.append(
                            f"The prediction target {target!r} belongs to the model "
                            f"{known[target]!r}, so quality does not use this ground truth yet"
                        )
                        continue
                    described = _describe_truth(name, values)
                    reader.save_target(target, model=self._model, truth=name, **described)
                    targets.append(target)
            except ReaderError as error:
                notes.append(f"No prediction target was saved: {error}")
        return tuple(targets), tuple(notes)


def _describe_truth(output: str, values: set[Any]) -> dict[str, Any]:
    """Return kind and positive class of a prediction target, from values of its ground truth."""
    prediction = {"prediction": f"outputs.{output}"}
    are_numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    has_fractions = any(isinstance(v, float) and not v.is_integer() for v in values)
    if are_numbers and (has_fractions or len(values) > CODES):
        return {**prediction, "kind": "number"}
    seen = {orjson.dumps(value).decode().lower() for value in values}
    positive = next((word for known, word in _BINARY if seen <= known), "")
    return {**prediction, "kind": "class", "positive": positive}


def _import_reference(
    recorder: "Recorder", table: RowSource, model: str, roles: Roles
) -> TableImport:
    """Store the distributions of inputs and outputs as the model's reference for drift."""
    began_s = time.monotonic()
    rows, total = _sample(table, [*roles.inputs, *roles.outputs])
    redaction = recorder.redaction
    sides = ((InputComponent, "inputs", roles.inputs), (OutputComponent, "outputs", roles.outputs))
    components: list[Component] = []
    steps: dict[str, list[str]] = {}
    for make, section, columns in sides:
        for column in columns[:_MOST_FIELDS]:
            values = [_as_scalar(row[column]) for row in rows]
            if redaction.is_secret(column) or all(value is None for value in values):
                continue
            values = list(redaction.values({"values": values})["values"])
            component = make(
                f"{section}.{column}", path=f"{section}.{column}", dtype=_dtype_of(values)
            )
            component.build(values)
            components.append(component)
            present = [value for value in values if value is not None]
            # The values decide the kind of a field, as for recorded runs.
            component.sketch = sketch_field(present, range(len(present)), runs=len(values))
            steps[component.name] = [section, column]
    if not components:
        raise InvalidArgumentError("The table has no values: expected rows with inputs or outputs")
    name = names.REFERENCE_OF + clean(model).replace("@", "-")
    document = ModelProfile(name, _TABLE_VERSION, components).to_dict()
    for facts in document["components"]:
        facts["steps"] = steps[facts["name"]]
    text = orjson.dumps(document).decode()
    if len(text) > DOCUMENT_BYTES:
        raise InvalidArgumentError(
            f"Too many columns for a reference, {len(components)}: expected fewer inputs"
        )
    about = {
        names.PROJECT: recorder.project,
        names.RECORD: "update",
        names.TARGET_MODEL: name,
        names.TARGET_VERSION: digest_of(document)[:_DIGEST_CHARS],
        names.TARGET_KIND: DOCUMENT,
        names.MODEL_DEFINITION: text,
    }
    now_ns = time.time_ns()
    ids = ("table reference", recorder.project, text)
    record = Record(
        "otel_ml.update", Identity(trace_id_of(*ids), span_id_of(*ids)), now_ns, now_ns, about
    )
    spans = HistorySpans(recorder.project, "table")
    sender = HistorySender(recorder.route)
    batch = ImportBatch([spans.make(record, {})], [0])
    with sender.open() as send:
        for sent in send([batch]):
            if sent.rejected:
                raise ImportStopped(f"The reference was rejected: {sent.rejected[0]}")
    return TableImport(
        rows=total,
        stored=total,
        reference=name,
        seconds=time.monotonic() - began_s,
        page=page_address(sender.page, recorder.project, "fields"),
    )


def _sample(table: RowSource, columns: Sequence[str]) -> tuple[list[dict[str, Any]], int]:
    """Return at most 50,000 rows at equal distances, and the number of all rows."""
    rows: list[dict[str, Any]] = []
    step, total = 1, 0
    for chunk in table.read(list(dict.fromkeys(columns))):
        for place in range(chunk.size):
            if total % step == 0 and place not in chunk.broken:
                rows.append(chunk.row(place))
            total += 1
        if len(rows) >= 2 * _REFERENCE_ROWS:
            rows, step = rows[::2], step * 2
    return rows, total


def _as_scalar(value: Any) -> Any:
    """Return a cell as a run would have it in JSON; None for lists and mappings."""
    if isinstance(value, str | int | float | bool):
        return value
    return value.isoformat() if isinstance(value, date) else None


def _dtype_of(values: Sequence[Any]) -> str:
    """Return the type of a profile's component for these values."""
    present = [value for value in values if value is not None]
    if is_measure(present):
        return "FLOAT"
    return "CAT" if len(count_values(present)) <= _CATEGORIES else "TEXT"
