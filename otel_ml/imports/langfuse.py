"""Reads exports of Langfuse: of its pages, of its blob storage integration and of its public API.

An observation becomes the span that Langfuse's SDK sends for it, so that the collector maps both
alike. The fields are those of Langfuse 4.16. A field in snake case, as in blob storage, means the
same as the one in camel case.

Spec: https://langfuse.com/docs/api-and-data-platform/overview
"""

import re
import sqlite3
import weakref
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from enum import IntEnum
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

from otel_ml import attributes as names
from otel_ml.imports.export_files import read_export
from otel_ml.imports.history import span_id_of, trace_id_of
from otel_ml.imports.lines import SourcePlace
from otel_ml.imports.otlp_records import (
    HEX_SPAN_ID,
    HEX_TRACE_ID,
    OTLP_SCORES,
    OTLP_SPANS,
    BadRecord,
    ImportedScore,
    RecordMaker,
    SourceRecord,
    as_json,
    otlp_attributes,
)
from otel_ml.imports.tool_import import DatasetRows, ToolExport, key_of_files
from otel_ml.records import ACTUAL_NAME
from otel_ml.times import find_time

_LANGFUSE_SCOPE: Final = "langfuse-sdk"
_CACHE_KIB: Final = 16_384
_UUID: Final = re.compile("[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")
_SNAKE: Final = re.compile("_([a-z])")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)
_NO_ENVIRONMENT: Final = "default"  # for records without an environment
_PROBLEM: Final = "not a record of Langfuse"
_FILE_RECORDS: Final = "records"
# Maximum length of a trace's metadata value that is copied to each of its spans. Langfuse's SDK has
# the same limit.
_SHARED_CHARS: Final = 200
# Field names that differ between exports, and the name used here.
_ALIASES: Final = {
    "providedModelName": "model",
    "traceTags": "tags",
    "authorUserName": "authorUserId",
    "calculatedTotalCost": "totalCost",
}
# Fields that a CSV file contains as JSON text.
_JSON_FIELDS: Final = frozenset(
    {
        *("metadata", "tags", "modelParameters", "usageDetails", "costDetails", "usage"),
        *("comments", "subject", "observations", "scores"),
    }
)
# Fields of a trace or observation that can be lists. On its pages, Langfuse adds a list of values
# for each score.
_LIST_FIELDS: Final = frozenset(
    {
        *("input", "output", "metadata", "tags", "comments", "observations", "scores"),
        *("modelParameters", "toolDefinitions", "toolCalls", "toolCallNames"),
    }
)


class _RecordKind(IntEnum):
    """The kinds of records, in the order in which the records of a trace are read."""

    TRACE = 0
    OBSERVATION = 1
    SCORE = 2
    SCORE_COLUMN = 3
    ITEM = 4
    DATASET = 5


# Kinds of records, by fields that only this kind has. The first match counts.
_KIND_SIGNS: Final[Sequence[tuple[frozenset[str], _RecordKind | str]]] = (
    (frozenset({"datasetItemId"}), "data set runs"),
    (frozenset({"sessionDuration"}), "sessions"),
    (frozenset({"resourceType", "action"}), "audit log entries"),
    (frozenset({"name", "labels"}), "prompts"),
    (frozenset({"startTime", "type"}), _RecordKind.OBSERVATION),
    (frozenset({"datasetId"}), _RecordKind.ITEM),
    (frozenset({"datasetName"}), _RecordKind.ITEM),
    (frozenset({"id", "timestamp"}), _RecordKind.TRACE),
    (frozenset({"id", "name", "createdAt"}), _RecordKind.DATASET),
)


class _KeptRecord(NamedTuple):
    """A record in the temporary database. The times are 0 where a record has none."""

    id: str
    fields: dict[str, Any]
    place: SourcePlace
    start_ns: int = 0
    end_ns: int = 0


class _ExportTables:
    """The records of an export, on disk, so that memory does not grow with the export.

    Records with the same ID replace each other: the last one is kept.
    """

    def __init__(self) -> None:
        # A temporary database, which SQLite deletes when it is closed.
        self._rows = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        for statement in (
            "PRAGMA journal_mode = OFF",
            f"PRAGMA cache_size = -{_CACHE_KIB}",
            "CREATE TABLE records (kind INTEGER, part TEXT, id TEXT, parent TEXT, start INTEGER, "
            "end INTEGER, file TEXT, number INTEGER, fields BLOB, UNIQUE (kind, part, id))",
            "BEGIN",
        ):
            self._rows.execute(statement)
        weakref.finalize(self, self._rows.close)

    def add(self, kind: _RecordKind, part: str, kept: _KeptRecord, parent: str = "") -> None:
        """Keep a record. `part` is its trace, or its data set."""
        content = orjson.dumps(kept.fields, default=str, option=orjson.OPT_NON_STR_KEYS)
        row = (int(kind), part, kept.id, parent, kept.start_ns, kept.end_ns, *kept.place, content)
        self._rows.execute("INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)

    def parts(self, first: _RecordKind, last: _RecordKind) -> Iterator[str]:
        """Yield the traces or data sets that have records of these kinds."""
        found = self._rows.execute(
            "SELECT DISTINCT part FROM records WHERE kind BETWEEN ?1 AND ?2 ORDER BY part",
            (int(first), int(last)),
        )
        for (part,) in found:
            yield part

    def read(self, kind: _RecordKind, part: str | None = None) -> Iterator[_KeptRecord]:
        """Yield the records of a kind by part and ID, or those of one part."""
        # Two statements: with "part = ? OR all", SQLite would read all records for each trace.
        columns = "SELECT id, fields, file, number, start, end FROM records WHERE kind = ?"
        if part is None:
            found = self._rows.execute(f"{columns} ORDER BY part, id", (int(kind),))
        else:
            found = self._rows.execute(f"{columns} AND part = ? ORDER BY id", (int(kind), part))
        for record_id, content, file, number, start_ns, end_ns in found:
            place = SourcePlace(file, number)
            yield _KeptRecord(record_id, orjson.loads(content), place, start_ns, end_ns)

    def has(self, kind: _RecordKind) -> bool:
        """Return whether there are records of a kind."""
        found = self._rows.execute("SELECT 1 FROM records WHERE kind = ? LIMIT 1", (int(kind),))
        return found.fetchone() is not None

    def find_start(self, kind: _RecordKind, part: str, record_id: str) -> int | None:
        """Return the start of a record; None if it is not in the export."""
        found = self._rows.execute(
            "SELECT start FROM records WHERE kind = ? AND part = ? AND id = ?",
            (int(kind), part, record_id),
        ).fetchone()
        return None if found is None else found[0]

    def find_end(self, trace: str) -> int:
        """Return the end of the last observation of a trace; 0 if there is none."""
        found = self._rows.execute(
            "SELECT max(end) FROM records WHERE kind = ? AND part = ?",
            (int(_RecordKind.OBSERVATION), trace),
        )
        return found.fetchone()[0] or 0

    def find_roots(self, trace: str) -> list[str]:
        """Return the first two observations of a trace whose parent is not in the export."""
        found = self._rows.execute(
            "SELECT id FROM records child WHERE kind = 1 AND part = ?1 AND NOT EXISTS ("
            "SELECT 1 FROM records WHERE kind = 1 AND part = ?1 AND id = child.parent) "
            "ORDER BY id LIMIT 2",
            (trace,),
        )
        return [record_id for (record_id,) in found]


class _BadFields(Exception):
    """A record that cannot be imported. The message is the reason."""


class LangfuseFiles(ToolExport):
    """Files that Langfuse exported, as the source of an import.

    The records are first copied to a temporary database. It needs about as much disk space as the
    uncompressed export.

    Args:
        files: Paths of the files.
        project: Project of all records.
    """

    source = "langfuse"
    records = (OTLP_SPANS, OTLP_SCORES)

    def __init__(self, files: Sequence[Path], project: str) -> None:
        super().__init__()
        self._files = files
        self._maker = RecordMaker(self.source, project)
        self._tables = _ExportTables()
        self._has_content = False
        self._has_context = False

    def key(self) -> Any:
        """Return what identifies the files."""
        return key_of_files(self._files)

    def read(self) -> Iterator[SourceRecord | BadRecord]:
        """Yield the spans, then the scores."""
        for file in self._files:
            for value, place, problem in (
                (value.value, value.place, value.problem) for value in read_export(file)
            ):
                if problem:
                    yield BadRecord(_FILE_RECORDS, place, value, problem)
                else:
                    yield from self._keep(value, place)
        for trace in self._tables.parts(_RecordKind.TRACE, _RecordKind.OBSERVATION):
            yield from self._convert_trace(trace)
        has_scores = self._tables.has(_RecordKind.SCORE)
        for kind in (_RecordKind.SCORE, _RecordKind.SCORE_COLUMN):
            if kind is _RecordKind.SCORE_COLUMN and has_scores:
                continue  # score columns only contain averages of these scores
            for kept in self._tables.read(kind):
                yield from self._convert_score(kept)

    def read_datasets(self) -> Iterator[DatasetRows]:
        """Yield the data sets with their active items."""
        descriptions = {
            kept.id: _text(kept.fields.get("description"))
            for kept in self._tables.read(_RecordKind.DATASET)
        }
        for name in self._tables.parts(_RecordKind.ITEM, _RecordKind.ITEM):
            rows = [_convert_item(kept) for kept in self._tables.read(_RecordKind.ITEM, name)]
            yield DatasetRows(name, rows, descriptions.get(name, ""))

    def absent(self) -> Sequence[str]:
        """Return what Langfuse records and these files do not contain."""
        has = self._tables.has
        absent = {
            "observations": not has(_RecordKind.OBSERVATION),
            "sessions, users and tags of traces": not self._has_context,
            "inputs and outputs": not self._has_content,
            "scores": not has(_RecordKind.SCORE) and not has(_RecordKind.SCORE_COLUMN),
            "data sets": not has(_RecordKind.ITEM),
            "texts of prompts": True,
        }
        return [name for name, is_absent in absent.items() if is_absent]

    def _keep(self, value: Any, place: SourcePlace) -> Iterator[BadRecord]:
        """Keep a record of a file, and those inside it."""
        if not isinstance(value, dict):
            yield BadRecord(_FILE_RECORDS, place, value, _PROBLEM)
            return
        if isinstance(value.get("data"), list) and "id" not in value:  # a page of the public API
            for inner in value["data"]:
                yield from self._keep(inner, place)
            return
        fields = _normalize(value)
        try:
            self._keep_fields(fields, place)
        except _BadFields as error:
            reason = str(error)
            yield BadRecord(_FILE_RECORDS, place, value, reason)
            return
        for key in ("observations", "scores"):  # a trace fetched alone contains these
            for inner in fields.get(key) or ():
                if isinstance(inner, dict):
                    yield from self._keep(inner, place)

    def _keep_fields(self, fields: dict[str, Any], place: SourcePlace) -> None:
        kind = _kind_of(fields)
        record_id = _text(fields.get("id"))
        if isinstance(kind, str):
            self.left_out[kind] += 1
            return
        if not record_id:
            raise _BadFields("no id")
        if kind is _RecordKind.DATASET:
            record_id = _text(fields.get("name"))
        if kind is _RecordKind.ITEM:
            part = _text(fields.get("datasetName"))
            if not part:
                raise _BadFields("no datasetName")
            if fields.get("status") == "ARCHIVED":
                self.left_out["archived data set items"] += 1
                return
        else:
            part = record_id if kind is _RecordKind.TRACE else _text(fields.get("traceId"))
        if kind is _RecordKind.OBSERVATION and not part:
            raise _BadFields("no traceId")
        parent = _text(fields.get("parentObservationId"))
        start_ns = end_ns = 0
        if kind in {_RecordKind.TRACE, _RecordKind.OBSERVATION}:
            start_ns = _read_time(fields, "timestamp" if kind is _RecordKind.TRACE else "startTime")
            # Events and unfinished observations have no end time. They end when they start.
            end_ns = max(start_ns, find_time(fields.get("endTime")) or 0)
            self._note(fields)
            comments = fields.pop("comments", None)
            if comments and isinstance(comments, list):
                self.left_out["comments"] += len(comments)
            if comments is not None:
                self._keep_columns(kind, fields, place)
            fields = {
                key: value for key, value in fields.items() if key not in {"observations", "scores"}
            }
        self._tables.add(
            kind, part, _KeptRecord(record_id, fields, place, start_ns, end_ns), parent
        )

    def _note(self, fields: Mapping[str, Any]) -> None:
        """Note what the export contains."""
        present = {key for key, value in fields.items() if value not in (None, "", [], {})}
        self._has_content |= bool(present & {"input", "output"})
        self._has_context |= bool(present & {"sessionId", "userId", "tags"})

    def _keep_columns(
        self, kind: _RecordKind, fields: Mapping[str, Any], place: SourcePlace
    ) -> None:
        """Keep the scores of a trace or observation that are columns of an export."""
        is_trace = kind is _RecordKind.TRACE
        for name, column in fields.items():
            values = None if name in _LIST_FIELDS else _parse(column)
            if not isinstance(values, list) or not values:
                continue
            if not all(isinstance(value, str | int | float) for value in values):
                continue
            trace = _text(fields["id"] if is_trace else fields["traceId"])
            score = {
                "traceId": trace,
                "observationId": None if is_trace else fields["id"],
                "timestamp": fields["timestamp" if is_trace else "startTime"],
                "name": name,
                **_join_values(values),
            }
            record_id = f"{kind.name} {fields['id']} {name}"
            self._tables.add(_RecordKind.SCORE_COLUMN, trace, _KeptRecord(record_id, score, place))

    def _convert_trace(self, trace: str) -> Iterator[SourceRecord]:
        kept = next(self._tables.read(_RecordKind.TRACE, trace), None)
        own_id = ""
        if kept is not None and self._find_root(trace) == "":
            own_id = _hex_span(trace, "")
            yield self._span(_trace_span(kept, own_id, self._tables.find_end(trace)), kept)
        context = {} if kept is None else kept.fields
        for each in self._tables.read(_RecordKind.OBSERVATION, trace):
            parent = _text(each.fields.get("parentObservationId"))
            is_inside = self._tables.find_start(_RecordKind.OBSERVATION, trace, parent) is not None
            parent_id = _hex_span(trace, parent) if is_inside else own_id
            is_root = not is_inside and not own_id
            yield self._span(_observation_span(each, trace, context, parent_id, is_root), each)

    def _find_root(self, trace: str) -> str | None:
        """Return the observation that is the first span of a trace.

        Returns:
            Empty if the trace itself becomes a span, because it has several outermost observations
            or none. None if the export has several and not the trace.
        """
        roots = self._tables.find_roots(trace)
        if len(roots) == 1:
            return roots[0]
        return "" if self._tables.find_start(_RecordKind.TRACE, trace, trace) is not None else None

    def _span(self, span: dict[str, Any], kept: _KeptRecord) -> SourceRecord:
        return self._maker.span(span, kept.place, scope=_LANGFUSE_SCOPE)

    def _convert_score(self, kept: _KeptRecord) -> Iterator[SourceRecord | BadRecord]:
        try:
            score = self._read_score(kept)
        except _BadFields as error:
            yield BadRecord(OTLP_SCORES, kept.place, kept.fields, str(error))
            return
        if score is None:
            self.left_out["experiment scores"] += 1
        else:
            yield self._maker.score(score, kept.place)

    def _read_score(self, kept: _KeptRecord) -> ImportedScore | None:
        """Return a score; None if it is about an experiment.

        Raises:
            _BadFields: It cannot be imported.
        """
        fields = kept.fields
        owner = self._read_owner(fields)
        if owner is None:
            return None
        name = _text(fields.get("name"))
        if not name:
            raise _BadFields("no name")
        is_human = fields.get("source") == "ANNOTATION"
        facts = _read_value(fields, is_human=is_human)
        comment = _text(fields.get("comment"))
        return ImportedScore(
            id=kept.id,
            name=facts.pop("name", name),
            time_ns=_read_time(fields, "timestamp"),
            explanation="\n".join(filter(None, (facts.pop("text", ""), comment))),
            source="human" if is_human else "judge",
            annotator=_text(fields.get("authorUserId")) if is_human else "",
            **owner,
            **facts,
        )

    def _read_owner(self, fields: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return what a score is about, as fields of an `ImportedScore`; None for an experiment."""
        subject = fields.get("subject")
        if isinstance(subject, Mapping):  # public API, version 3
            key = f"{_text(subject.get('kind'))}Id"
            fields = {"traceId": subject.get("traceId"), key: subject.get("id")}
        trace, observation = _text(fields.get("traceId")), _text(fields.get("observationId"))
        session = _text(fields.get("sessionId"))
        if not trace:
            if session:
                return {"session": session}
            if fields.get("datasetRunId") or fields.get("experimentId"):
                return None
            raise _BadFields("no traceId and no sessionId")
        owner = observation or self._find_root(trace)
        if owner is None:
            return {"trace_id": _hex_trace(trace)}
        kind = _RecordKind.OBSERVATION if owner else _RecordKind.TRACE
        return {
            "run_id": f"{_hex_trace(trace)}-{_hex_span(trace, owner)}",
            "run_start_ns": self._tables.find_start(kind, trace, owner or trace) or 0,
        }


def _normalize(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a record in camel case, and by one name each."""
    is_snake = not {"project_id", "trace_id", "session_id", "start_time"}.isdisjoint(record)
    fields: dict[str, Any] = {}
    for key, value in record.items():
        name = _SNAKE.sub(lambda match: match[1].upper(), key) if is_snake else key
        name = _ALIASES.get(name, name)
        if fields.get(name) is None:
            fields[name] = _parse(value) if name in _JSON_FIELDS else value
    return fields


def _kind_of(fields: Mapping[str, Any]) -> _RecordKind | str:
    """Return what a record is. A text names records that are not imported.

    Raises:
        _BadFields: It is none of Langfuse's records.
    """
    keys = fields.keys()
    if keys <= {"id", "createdAt", "projectId", "environment"} and "createdAt" in keys:
        return "sessions"
    if {"name", "source"} <= keys and not {"dataType", "value", "stringValue"}.isdisjoint(keys):
        return _RecordKind.SCORE
    for wanted, kind in _KIND_SIGNS:
        if wanted <= keys:
            return kind
    raise _BadFields(_PROBLEM)


def _trace_span(kept: _KeptRecord, span_id: str, end_ns: int) -> dict[str, Any]:
    """Return a span for a trace that is more than its only outermost observation."""
    trace = kept.fields
    attributes = {
        "langfuse.observation.type": "span",
        **_metadata_attributes("langfuse.trace.metadata", trace.get("metadata")),
        **_shared_attributes(trace, {}, kept.id),
        **_trace_attributes(trace),
    }
    times = kept.start_ns, max(kept.start_ns, end_ns)
    name = _text(trace.get("name")) or "trace"
    return _make_span(_hex_trace(kept.id), span_id, name, times, attributes)


def _observation_span(
    kept: _KeptRecord, trace_id: str, trace: Mapping[str, Any], parent_id: str, is_root: bool
) -> dict[str, Any]:
    fields = kept.fields
    kind = _text(fields.get("type")).lower() or "span"
    version = fields.get("promptVersion")
    first = fields.get("completionStartTime")
    prefix = "langfuse.observation."
    attributes = {
        f"{prefix}type": kind,
        f"{prefix}level": fields.get("level") or None,
        f"{prefix}status_message": fields.get("statusMessage") or None,
        f"{prefix}model.name": fields.get("model") or None,
        f"{prefix}model.parameters": _json_or_none(fields.get("modelParameters")),
        f"{prefix}input": _json_or_none(fields.get("input")),
        f"{prefix}output": _json_or_none(fields.get("output")),
        f"{prefix}usage_details": _json_or_none(_read_usage(fields)),
        f"{prefix}cost_details": _json_or_none(_read_cost(fields)),
        f"{prefix}completion_start_time": _rfc3339(find_time(first)) if first else None,
        f"{prefix}prompt.name": fields.get("promptName") or None,
        f"{prefix}prompt.version": _whole(version),
        f"{names.TAG_PREFIX}prompt": fields.get("promptName") or None,
        f"{names.TAG_PREFIX}prompt_version": _whole(version),
        **_metadata_attributes(f"{prefix}metadata", fields.get("metadata")),
        **_shared_attributes(fields, trace, trace_id),
    }
    metadata = trace.get("metadata")
    if is_root and trace:
        attributes |= _trace_attributes(trace, fields)
    elif isinstance(metadata, Mapping):
        metadata = {
            key: value for key, value in metadata.items() if len(_text(value)) <= _SHARED_CHARS
        }
    attributes |= _metadata_attributes("langfuse.trace.metadata", metadata)
    span_id = _hex_span(trace_id, kept.id)
    name = _text(fields.get("name")) or kind
    times = kept.start_ns, kept.end_ns
    return _make_span(_hex_trace(trace_id), span_id, name, times, attributes, parent_id=parent_id)


def _shared_attributes(
    fields: Mapping[str, Any], trace: Mapping[str, Any], trace_id: str
) -> dict[str, Any]:
    """Return the attributes that every span of a trace has, as with Langfuse's SDK."""

    def find(key: str) -> Any:
        return fields.get(key) or trace.get(key) or None

    tags = [tag for tag in find("tags") or () if isinstance(tag, str)]
    environment = find("environment")
    return {
        names.SESSION_ID: find("sessionId"),
        names.USER_ID: find("userId"),
        names.TRACE_KEY: None if HEX_TRACE_ID.fullmatch(trace_id) else trace_id,
        "langfuse.environment": None if environment == _NO_ENVIRONMENT else environment,
        "langfuse.release": find("release"),
        "langfuse.version": find("version"),
        "langfuse.trace.name": fields.get("traceName") or trace.get("name") or None,
        "langfuse.trace.tags": tags or None,
        f"{names.TAG_PREFIX}release": find("release"),
        f"{names.TAG_PREFIX}version": find("version"),
    }


def _trace_attributes(
    trace: Mapping[str, Any], observation: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the attributes of a trace that only its first span has.

    Inputs and outputs that the observation has too are left out.
    """
    known = observation or {}
    return {
        f"langfuse.trace.{key}": _json_or_none(trace.get(key))
        for key in ("input", "output")
        if trace.get(key) != known.get(key)
    }


def _metadata_attributes(prefix: str, metadata: Any) -> dict[str, Any]:
    if isinstance(metadata, Mapping):
        return {f"{prefix}.{key}": _json_or_none(value) for key, value in metadata.items()}
    return {prefix: _json_or_none(metadata)}


def _make_span(
    trace_id: str,
    span_id: str,
    name: str,
    times: tuple[int, int],
    attributes: Mapping[str, Any],
    *,
    parent_id: str = "",
) -> dict[str, Any]:
    return {
        "traceId": trace_id,
        "spanId": span_id,
        **({"parentSpanId": parent_id} if parent_id else {}),
        "name": name,
        "kind": 1,
        "startTimeUnixNano": str(times[0]),
        "endTimeUnixNano": str(times[1]),
        "attributes": otlp_attributes(attributes),
    }


def _read_usage(fields: Mapping[str, Any]) -> dict[str, int]:
    """Return the counts of tokens; of older records, those in other fields."""
    sources = (
        fields.get("usageDetails"),
        fields.get("usage"),
        {name: fields.get(f"{name}Usage") for name in ("input", "output", "total")},
    )
    for source in sources:
        if isinstance(source, Mapping):
            counts = {
                name: count
                for name, value in source.items()
                if (count := _whole(value)) is not None
            }
            if any(counts.values()):
                return counts
    return {}


def _read_cost(fields: Mapping[str, Any]) -> dict[str, float]:
    """Return the costs with their total; nothing if Langfuse has not computed any."""
    details = fields.get("costDetails")
    costs = {
        name: cost
        for name, value in (details.items() if isinstance(details, Mapping) else ())
        if (cost := _number(value)) is not None
    }
    if "total" not in costs:
        total = _number(fields.get("totalCost"))
        if total is None and costs:
            total = sum(costs.values())
        if total is not None and (costs or total):
            costs["total"] = total
    return costs


def _read_value(fields: Mapping[str, Any], *, is_human: bool) -> dict[str, Any]:
    """Return the value of a score as fields of an `ImportedScore`."""
    kind, value = _text(fields.get("dataType")), fields.get("value")
    text = _text(fields.get("stringValue")) or (value if isinstance(value, str) else "")
    if kind == "CORRECTION":  # the correct output
        return {"name": ACTUAL_NAME, "actual": text}
    if kind == "TEXT":
        return {"text": text}
    if kind == "CATEGORICAL":
        return {"label": text}
    number = float(value) if isinstance(value, bool) else _number(value)
    if number is None:
        if not text:
            raise _BadFields("no value")
        return {"label": text}
    if kind == "BOOLEAN":
        return {"passed": number != 0} | ({} if is_human else {"value": number})
    return {"value": number}


def _join_values(values: Sequence[Any]) -> dict[str, Any]:
    """Combine several values of one score: the mean of numbers, or all labels."""
    numbers = [_number(value) for value in values]
    if all(number is not None for number in numbers):
        return {"dataType": "NUMERIC", "value": sum(filter(None, numbers)) / len(numbers)}
    return {"dataType": "CATEGORICAL", "stringValue": ", ".join(map(_text, values))}


def _convert_item(kept: _KeptRecord) -> dict[str, Any]:
    """Return an item of a data set."""
    fields = kept.fields
    inputs, metadata = _parse(fields.get("input")), fields.get("metadata")
    tags = metadata if isinstance(metadata, Mapping) else {}
    trace, observation = (
        _text(fields.get(key)) for key in ("sourceTraceId", "sourceObservationId")
    )
    source = f"{_hex_trace(trace)}-{_hex_span(trace, observation)}" if observation else ""
    return {
        "id": kept.id,
        "inputs": inputs if isinstance(inputs, Mapping) else {"input": inputs},
        "expected": _parse(fields.get("expectedOutput")),
        "tags": {
            key: value for key, value in tags.items() if isinstance(value, str | bool | int | float)
        },
        "source_run": source,
    }


def _read_time(fields: Mapping[str, Any], key: str) -> int:
    value = fields.get(key)
    at_ns = find_time(value)
    if at_ns is None or at_ns < 1:
        raise _BadFields(f"invalid {key} {value!r}" if value else f"no {key}")
    return at_ns


def _rfc3339(at_ns: int | None) -> str | None:
    if at_ns is None:
        return None
    return as_json((_EPOCH + timedelta(microseconds=at_ns // 1_000)).isoformat())


def _hex_trace(trace: str) -> str:
    """Return the trace ID: Langfuse's own if it is one, or a UUID; else a hash of it."""
    own = trace.lower()
    if HEX_TRACE_ID.fullmatch(own) and own.strip("0"):
        return own
    if _UUID.fullmatch(own):
        return own.replace("-", "")
    return f"{trace_id_of('langfuse trace', trace):032x}"


def _hex_span(trace: str, observation: str) -> str:
    """Return an observation's ID if it is a valid span ID, else a hash of it.

    An empty observation gives the span ID of the trace.
    """
    own = observation.lower()
    if HEX_SPAN_ID.fullmatch(own) and own.strip("0"):
        return own
    return f"{span_id_of('langfuse observation', trace, observation):016x}"


def _parse(value: Any) -> Any:
    """Return the value of a JSON object or list that is text, as in a CSV file."""
    if not isinstance(value, str) or value[:1] not in {"{", "["}:
        return value
    try:
        return orjson.loads(value)
    except ValueError:
        return value


def _json_or_none(value: Any) -> str | None:
    """Return a text as it is, and anything else as JSON; None if there is nothing."""
    if value in (None, "", {}, []):
        return None
    return value if isinstance(value, str) else as_json(value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)


def _number(value: Any) -> float | None:
    try:
        return None if value is None or isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return None


def _whole(value: Any) -> int | None:
    number = _number(value)
    return int(number) if number is not None and number.is_integer() else None
