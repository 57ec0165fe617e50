"""Reads exports of Arize Phoenix: spans, annotations and data sets.

It reads what Phoenix 20 writes: the tables of ``get_spans_dataframe`` and
``get_span_annotations_dataframe`` as Parquet or JSON Lines, the JSON of ``get_spans`` and of the
REST API, and data sets downloaded as JSON Lines or CSV.

Spec: https://arize.com/docs/phoenix/sdk-api-reference
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from pathlib import Path
from typing import Any, Final

import orjson

from otel_ml import attributes as names
from otel_ml.imports.lines import SourcePlace, open_file, read_lines, read_start
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
from otel_ml.imports.tables import open_table
from otel_ml.imports.tool_import import DatasetRows, ToolExport, key_of_files
from otel_ml.times import find_time

_LARGEST_JSON: Final = 512 * 1024 * 1024
_SNIFFED_ROWS: Final = 1_000
_HEADER_BYTES: Final = 100_000
_REJECTED_CHARS: Final = 1_000
_TABLE_SUFFIXES: Final = frozenset({".parquet", ".csv"})
_STATUS: Final = {"UNSET": 0, "OK": 1, "ERROR": 2}
_SPAN_KIND: Final = "openinference.span.kind"
_IN_FRAME: Final = "attributes."
_MICROSECOND_NS: Final = 1_000
_COUNT_PREFIX: Final = "llm.token_count."
# Attributes that contain JSON text. Phoenix exports them as mappings.
_JSON_TEXTS: Final = (
    "document.metadata",
    "llm.prompt_template.variables",
    "metadata",
    "tool.parameters",
)
_JSON_KEY: Final = re.compile(
    rf"((?:.*\.)?(?:{'|'.join(map(re.escape, _JSON_TEXTS))}))\.(.+)", re.S
)
_TAGS: Final = {"prompt.id": "prompt", "llm.prompt_template.version": "prompt_version"}
# Optional content of spans, by the attribute that shows whether an export has it.
_SEEN_BY: Final = {
    "session.id": "sessions",
    "user.id": "users",
    "llm.token_count.prompt": "token counts",
    "llm.cost.total": "costs",
}
_NOTE: Final = "note"
_OWN_IDENTIFIER: Final = "px-"  # prefix of identifiers made by Phoenix


class _Content(Enum):
    """The kind of content in a Phoenix file."""

    SPANS = "spans"
    ANNOTATIONS = "annotations"
    EXAMPLES = "data sets"
    NOTHING = ""


class _BadRow(ValueError):
    """A row that cannot be imported. The message is the reason."""


# Errors raised while reading a row whose parts do not have the types that Phoenix writes.
_MALFORMED: Final = (ValueError, TypeError, KeyError, AttributeError, RecursionError)
_NOT_AS_EXPECTED: Final = "not in the format of Phoenix"


class PhoenixExport(ToolExport):
    """Files that were exported from Phoenix, as the source of an import.

    Args:
        files: Paths of the files. JSON files may be compressed with gzip.
        project: Project of all records.

    Raises:
        ValueError: A file is not an export of Phoenix.
        OSError: A file cannot be read.
        ImportError: A file is Parquet, and pyarrow is not installed.
    """

    source = "phoenix"
    records = (OTLP_SPANS, OTLP_SCORES)

    def __init__(self, files: Sequence[Path], project: str) -> None:
        super().__init__()
        self._files = [(file, _find_content(file)) for file in files]
        self._has_annotations = any(found is _Content.ANNOTATIONS for _, found in self._files)
        self._maker = RecordMaker(self.source, project)
        self._traces: dict[int, int] = {}  # trace IDs by span ID, for annotations
        self._seen: Counter[str] = Counter()

    def key(self) -> Any:
        """Return the sizes and times of the files."""
        return key_of_files([file for file, _ in self._files])

    def read(self) -> Iterator[SourceRecord | BadRecord]:
        """Yield all spans, then all annotations.

        Annotations come last, because the trace ID of an annotated span is looked up in the spans.
        """
        for content, make in (
            (_Content.SPANS, self._make_span),
            (_Content.ANNOTATIONS, self._make_score),
        ):
            for file in self._files_with(content):
                for place, row in _read_rows(file):
                    try:
                        record = make(_check_row(row), place)
                    except _MALFORMED as error:
                        shown = row[:_REJECTED_CHARS] if isinstance(row, str) else row
                        reason = str(error) if isinstance(error, _BadRow) else _NOT_AS_EXPECTED
                        yield BadRecord("rows", place, shown, reason)
                    else:
                        if record is not None:
                            yield record

    def read_datasets(self) -> Iterator[DatasetRows]:
        """Yield each data set. Its name is the one given inside its file, or else the file name."""
        for file in self._files_with(_Content.EXAMPLES):
            rows: list[dict[str, Any]] = []
            name, description = file.name.partition(".")[0], ""
            for document in _read_documents(file):
                if isinstance(document, dict) and "examples" in document:
                    name = document.get("name") or name
                    description = document.get("description") or ""
                for row in _expand(document):
                    try:
                        rows.append(_read_example(_check_row(row)))
                    except _BadRow as error:
                        where = f"{file}, example {len(rows) + 1}"
                        raise ValueError(f"{where}: {error}") from error
            yield DatasetRows(name, rows, description)

    def absent(self) -> Sequence[str]:
        """Return what Phoenix records and the files do not contain."""
        found = {content for _, content in self._files}
        absent = [content.value for content in _Content if content.value and content not in found]
        if _Content.SPANS in found:
            absent += [sign for sign in _SEEN_BY.values() if not self._seen[sign]]
            absent += ["links and resources of spans"]  # Phoenix does not store them
            if not self._seen["microseconds"]:
                absent.append("times finer than a millisecond")
        if _Content.ANNOTATIONS in found and not self._seen[_NOTE]:
            absent.append("notes")
        return absent

    def _files_with(self, content: _Content) -> list[Path]:
        return [file for file, found in self._files if found is content]

    def _make_span(self, row: Mapping[str, Any], place: SourcePlace) -> SourceRecord:
        span = _read_span(row)
        for sign, name in _SEEN_BY.items():
            self._seen[name] += sign in span.attributes
        self._seen["microseconds"] += span.start_ns % 1_000_000 > 0
        if self._has_annotations:
            self._traces[int(span.span_id, 16)] = int(span.trace_id, 16)
        return self._maker.span(span.to_otlp(), place)

    def _make_score(self, row: Mapping[str, Any], place: SourcePlace) -> SourceRecord | None:
        if row.get("document_position") is not None:
            self.left_out["document annotations"] += 1
            return None
        owner = self._find_owner(row)
        name = row.get("name") or row.get("annotation_name")
        if not name:
            raise _BadRow("annotation without name")
        time_ns = find_time(row.get("updated_at") or row.get("created_at"))
        if time_ns is None:
            raise _BadRow("annotation without time")
        given = row.get("result")
        result = given if isinstance(given, dict) else {}
        value, label, explanation = (
            result.get(part) if result else row.get(f"result.{part}")
            for part in ("score", "label", "explanation")
        )
        identifier = str(row.get("identifier") or "")
        is_human = row.get("annotator_kind") == "HUMAN"
        self._seen[_NOTE] += name == _NOTE
        score = ImportedScore(
            # Phoenix stores one annotation per subject, name and identifier.
            id=as_json([*owner.values(), name, identifier]),
            name=str(name),
            time_ns=time_ns,
            value=value if _is_number(value) else None,
            label=str(label or ""),
            explanation=str(explanation or ""),
            source="human" if is_human else "judge",
            annotator=_annotator(identifier, row.get("user_id")) if is_human else "",
            run_id=owner.get("run_id", ""),
            trace_id=owner.get("trace_id", ""),
            session=owner.get("session", ""),
        )
        return self._maker.score(score, place)

    def _find_owner(self, row: Mapping[str, Any]) -> dict[str, str]:
        """Return what an annotation is about, as an argument of `ImportedScore`."""
        if row.get("session_id"):
            return {"session": str(row["session_id"])}
        if row.get("trace_id") and not row.get("span_id"):
            return {"trace_id": _check_id(row["trace_id"], HEX_TRACE_ID, "trace ID")}
        if not row.get("span_id"):
            raise _BadRow("annotation without span_id")
        span_id = _check_id(row["span_id"], HEX_SPAN_ID, "span ID")
        trace_id = self._traces.get(int(span_id, 16))
        if trace_id is None:
            raise _BadRow("its span is not in the files")
        return {"run_id": f"{trace_id:032x}-{span_id}"}


@dataclass(frozen=True, slots=True)
class _PhoenixSpan:
    """A span with flat attributes, as OpenInference writes them."""

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    start_ns: int
    end_ns: int
    status: int
    message: str
    attributes: dict[str, Any]
    events: list[dict[str, Any]]

    def to_otlp(self) -> dict[str, Any]:
        """Return the span in OTLP/JSON."""
        tags = {
            names.TAG_PREFIX + tag: self.attributes[key]
            for key, tag in _TAGS.items()
            if key in self.attributes
        }
        return {
            "traceId": self.trace_id,
            "spanId": self.span_id,
            "parentSpanId": self.parent_id,
            "name": self.name,
            "startTimeUnixNano": str(self.start_ns),
            "endTimeUnixNano": str(self.end_ns),
            "status": {"code": self.status, "message": self.message},
            "attributes": otlp_attributes({**self.attributes, **tags}),
            "events": self.events,
        }


def _read_span(row: Mapping[str, Any]) -> _PhoenixSpan:
    """Read a span of a table, or of one of the two forms of the REST API."""
    if "start_time_unix_nano" in row:
        ids, parent_id = row, row.get("parent_span_id")
        start_ns = _read_time(row.get("start_time_unix_nano"))
        end_ns = _read_time(row.get("end_time_unix_nano"))
        attributes = _flatten(_read_pairs(row.get("attributes")))
        status = row.get("status") or {}
        code, message = status.get("code") or 0, status.get("message")
    else:
        context = row.get("context")
        ids = (
            context
            if isinstance(context, dict)
            else {
                "trace_id": row.get("context.trace_id"),
                "span_id": row.get("context.span_id"),
            }
        )
        parent_id = row.get("parent_id")
        start_ns, end_ns = find_time(row.get("start_time")), find_time(row.get("end_time"))
        given = row.get("attributes")
        if not isinstance(given, dict):
            given = {
                key.removeprefix(_IN_FRAME): value
                for key, value in row.items()
                if key.startswith(_IN_FRAME)
            }
        attributes = _flatten(given)
        attributes.setdefault(_SPAN_KIND, row.get("span_kind") or "UNKNOWN")
        code, message = _STATUS.get(str(row.get("status_code")), 0), row.get("status_message")
    if start_ns is None:
        raise _BadRow("span without start time")
    return _PhoenixSpan(
        _check_id(ids.get("trace_id"), HEX_TRACE_ID, "trace ID"),
        _check_id(ids.get("span_id"), HEX_SPAN_ID, "span ID"),
        _check_id(parent_id, HEX_SPAN_ID, "parent ID") if parent_id else "",
        str(row.get("name") or ""),
        start_ns,
        start_ns if end_ns is None else end_ns,
        code,
        str(message or ""),
        attributes,
        [_read_event(event) for event in row.get("events") or ()],
    )


def _read_event(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return an event in OTLP/JSON."""
    if "time_unix_nano" in event:
        time_ns = _read_time(event["time_unix_nano"])
        attributes = _read_pairs(event.get("attributes"))
    else:
        time_ns, attributes = find_time(event.get("timestamp")), event.get("attributes") or {}
    return {
        "name": str(event.get("name") or ""),
        "timeUnixNano": str(time_ns or 0),
        "attributes": otlp_attributes(_flatten(attributes)),
    }


def _read_time(time_ns: Any) -> int | None:
    """Return a time in microseconds, which Phoenix stores, as nanoseconds.

    Phoenix computes the nanoseconds as a float, which is wrong in the last three digits.
    """
    return None if time_ns is None else round(int(time_ns) / _MICROSECOND_NS) * _MICROSECOND_NS


def _read_pairs(pairs: Iterable[Mapping[str, Any]] | None) -> dict[str, Any]:
    """Return attributes that are written as in OTLP, but with ``snake_case`` names."""
    return {pair["key"]: _read_value(pair.get("value") or {}) for pair in pairs or ()}


def _read_value(value: Mapping[str, Any]) -> Any:
    for kind, content in value.items():
        if kind == "array_value" and content is not None:
            return [_read_value(item) for item in content.get("values") or ()]
        if content is not None:
            return int(content) if kind == "int_value" else content
    return None


def _flatten(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes that the program recorded, which Phoenix stores as nested values.

    Mappings and lists of mappings become several attributes, except for those that were recorded as
    JSON text.
    """
    flat: dict[str, Any] = {}
    texts: dict[str, dict[str, Any]] = {}
    for key, value in _walk("", attributes):
        if (inner := _JSON_KEY.fullmatch(key)) is None:
            flat[key] = value
        else:  # REST responses also have these as flat keys
            _put(texts.setdefault(inner[1], {}), inner[2], value)
    return flat | {key: as_json(_lists_in(text)) for key, text in texts.items()}


def _walk(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the leaves of a value with their keys."""
    if isinstance(value, dict):
        if key.endswith(_JSON_TEXTS):
            yield key, as_json(_without_missing(value))
            return
        for name, inner in value.items():
            yield from _walk(f"{key}.{name}" if key else name, inner)
    elif isinstance(value, list) and any(isinstance(inner, dict) for inner in value):
        for place, inner in enumerate(value):
            yield from _walk(f"{key}.{place}", inner)
    elif not _is_missing(value):
        # Pandas reads a column of integers with gaps as floats.
        is_count = key.startswith(_COUNT_PREFIX) and isinstance(value, float) and value.is_integer()
        yield key, int(value) if is_count else value


def _put(outer: dict[str, Any], path: str, value: Any) -> None:
    """Put a value into nested mappings."""
    *steps, last = path.split(".")
    for step in steps:
        inner = outer.setdefault(step, {})
        if not isinstance(inner, dict):  # a prefix of this path already has a value
            return
        outer = inner
    outer.setdefault(last, value)


def _lists_in(value: Any) -> Any:
    """Return a value whose mappings with the keys 0, 1, 2 … are lists."""
    if not isinstance(value, dict):
        return value
    inner = {key: _lists_in(item) for key, item in value.items()}
    is_list = inner and list(inner) == [str(place) for place in range(len(inner))]
    return list(inner.values()) if is_list else inner


def _without_missing(value: Any) -> Any:
    """Return a value without the keys that only other rows of its column have."""
    if isinstance(value, dict):
        return {key: _without_missing(item) for key, item in value.items() if not _is_missing(item)}
    return [_without_missing(item) for item in value] if isinstance(value, list) else value


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _check_id(value: Any, pattern: re.Pattern[str], what: str) -> str:
    text = str(value or "").lower()
    if not pattern.fullmatch(text) or not text.strip("0"):
        raise _BadRow(f"invalid {what}")
    return text


def _annotator(identifier: str, user_id: Any) -> str:
    """Return who gave an annotation: a name, or Phoenix's ID of a user."""
    if identifier and not identifier.startswith(_OWN_IDENTIFIER):
        return identifier
    return str(user_id or "")


def _read_example(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return an example as an item of a data set."""
    parts = {part: _example_part(row, part) for part in ("input", "output", "metadata")}
    metadata = parts["metadata"] if isinstance(parts["metadata"], dict) else {}
    tags = {
        key: value if isinstance(value, str | int | float) else as_json(value)
        for key, value in metadata.items()
        if not _is_missing(value)
    }
    splits = row.get("splits")
    if splits:
        tags["split"] = ", ".join(map(str, splits)) if isinstance(splits, list) else str(splits)
    item = {"inputs": parts["input"], "expected": parts["output"] or None, "tags": tags}
    found = next((row[key] for key in ("id", "example_id", "node_id") if row.get(key)), None)
    return item if found is None else {**item, "id": str(found)}


def _example_part(row: Mapping[str, Any], part: str) -> Any:
    """Return a part of an example. A CSV file has a column for each of its keys."""
    if part in row:
        return row[part]
    prefix = f"{part}."
    nested: dict[str, Any] = {}
    for key, value in row.items():
        if key.startswith(prefix) and not _is_missing(value):
            _put(nested, key.removeprefix(prefix), value)
    return _lists_in(nested)


def _find_content(file: Path) -> _Content:
    """Return what a file contains.

    Raises:
        ValueError: It is not an export of Phoenix.
    """
    if file.suffix.lower() == ".csv" and b"context.span_id" in read_start(file, _HEADER_BYTES):
        raise ValueError(
            f"{file} has spans as CSV, which keeps no messages and no documents: expected Parquet "
            "or JSON Lines"
        )
    has_rows = False
    for _, row in islice(_read_rows(file), _SNIFFED_ROWS):
        has_rows = True
        content = _content_of(row)
        if content is not None:
            return content
    if has_rows or file.suffix.lower() not in {".json", ".jsonl", *_TABLE_SUFFIXES}:
        raise ValueError(
            f"{file} is not an export of Phoenix: expected spans, annotations or examples of a "
            "data set, as Parquet, JSON or JSON Lines"
        )
    return _Content.NOTHING


def _content_of(row: Any) -> _Content | None:
    """Return what kind of record a row is; None if it is none of Phoenix."""
    if not isinstance(row, dict):
        return None
    if "annotator_kind" in row:
        return _Content.ANNOTATIONS
    context = row.get("context")
    is_span = isinstance(context, dict) and "span_id" in context
    if is_span or row.keys() & {"context.span_id", "start_time_unix_nano"}:
        return _Content.SPANS
    has_input = "input" in row or any(key.startswith("input.") for key in row)
    if has_input and row.keys() & {"id", "example_id", "node_id"}:
        return _Content.EXAMPLES
    return None


def _check_row(row: Any) -> Mapping[str, Any]:
    if not isinstance(row, dict):
        raise _BadRow("not JSON" if isinstance(row, str) else "not a JSON object")
    return row


def _read_rows(file: Path) -> Iterator[tuple[SourcePlace, Any]]:
    """Yield the records of a file, numbered from 1. A text is a line that cannot be read."""
    rows = (row for document in _read_documents(file) for row in _expand(document))
    for number, row in enumerate(rows, 1):
        yield SourcePlace(str(file), number), row


def _expand(document: Any) -> list[Any]:
    """Return the records of a JSON document: a list, a page of the REST API, or a record."""
    if isinstance(document, list):
        return document
    if isinstance(document, dict):
        for key in ("data", "examples"):
            if isinstance(document.get(key), list | dict):
                return _expand(document[key])
    return [document]


def _read_documents(file: Path) -> Iterator[Any]:
    """Yield the rows of a table, the JSON documents of lines, or the only JSON document."""
    if file.suffix.lower() in _TABLE_SUFFIXES:
        table = open_table(file)
        for chunk in table.read(table.columns):
            for place in range(chunk.size):
                yield chunk.row(place)
        return
    for line in read_lines(file, _LARGEST_JSON):
        try:
            document = orjson.loads(line.text)
        except ValueError:
            if line.place.number == 1 and (whole := _read_whole(file)) is not None:
                yield whole
                return
            document = line.text.decode("utf-8", "replace")
        yield document


def _read_whole(file: Path) -> Any:
    """Return the only JSON document of a file with several lines; None if it has no such."""
    with open_file(file) as opened:
        text = opened.read(_LARGEST_JSON)
    try:
        return orjson.loads(text)
    except ValueError:
        return None
