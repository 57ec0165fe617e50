"""Reads the files that the file exporter of the OpenTelemetry Collector writes.

Each line of such a file is an export request in OTLP/JSON. Its spans and log records are sent on
unchanged, except that their resource is marked as history.

Spec: https://opentelemetry.io/docs/specs/otel/protocol/file-exporter/
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import orjson

from otel_ml import attributes as names
from otel_ml.imports.lines import SourceLine, SourcePlace, read_lines, read_start
from otel_ml.imports.otlp_records import (
    LOG_SIGNAL,
    OTLP_LOG_RECORDS,
    OTLP_SPANS,
    TRACE_SIGNAL,
    BadRecord,
    OtlpSignal,
    RecordMaker,
    SourceRecord,
)
from otel_ml.imports.tool_import import ToolExport, key_of_files

_BAD_LINES: Final = "lines"
_REJECTED_CHARS: Final = 1_000
_NO_REQUEST: Final = "not an OTLP/JSON request"
# Attributes with the project of a span or scope. They take precedence over the resource.
_PROJECTS: Final = frozenset({names.PROJECT, "openinference.project.name"})
_READ_SIGNALS: Final = ((OTLP_SPANS, TRACE_SIGNAL), (OTLP_LOG_RECORDS, LOG_SIGNAL))
# Requests that are not imported, by their top-level key: the content, and the keys of the levels
# below.
_LEFT_OUT: Final = {
    "resourceMetrics": ("metrics", ("scopeMetrics", "metrics")),
    "resourceProfiles": ("profiles", ("scopeProfiles", "profiles")),
}
_REQUEST_KEYS: Final = frozenset({*_LEFT_OUT, *(signal.resources for _, signal in _READ_SIGNALS)})


class NoRequest(ValueError):
    """A document is not an export request. The message is the reason."""


class OtlpRequests:
    """Splits export requests in OTLP/JSON into records.

    Args:
        maker: Makes the records.
        left_out: Counts what cannot be imported.
    """

    def __init__(self, maker: RecordMaker, left_out: Counter[str]) -> None:
        self._maker = maker
        self._left_out = left_out

    def split(self, request: Any, place: SourcePlace) -> list[SourceRecord]:
        """Return the spans and log records of a request.

        Raises:
            NoRequest: It is not an export request.
        """
        if not isinstance(request, dict) or not request.keys() & _REQUEST_KEYS:
            raise NoRequest(_NO_REQUEST)
        records: list[SourceRecord] = []
        for name, signal in _READ_SIGNALS:
            for group in _objects(request, signal.resources):
                records += self._split_group(name, signal, group, place)
        for key, (name, levels) in _LEFT_OUT.items():
            found = _objects(request, key)
            for level in levels:
                found = [inner for outer in found for inner in _objects(outer, level)]
            if found:
                self._left_out[name] += len(found)
        return records

    def _split_group(
        self, name: str, signal: OtlpSignal, group: dict[str, Any], place: SourcePlace
    ) -> Iterator[SourceRecord]:
        _objects(_object(group, "resource"), "attributes")
        head = self._maker.head({key: group[key] for key in group if key != signal.scopes})
        for within in _objects(group, signal.scopes):
            scope = {key: within[key] for key in within if key != signal.items}
            if "scope" in scope:
                scope["scope"] = self._rename(_object(scope, "scope"))
            for item in _objects(within, signal.items):
                content = orjson.dumps(self._rename(item))
                yield SourceRecord(name, signal, head, scope, content, place)

    def _rename(self, part: dict[str, Any]) -> dict[str, Any]:
        """Return a span or scope without its own project, if another one was asked for."""
        if self._maker.project is None or "attributes" not in part:
            return part
        attributes = _objects(part, "attributes")
        return {**part, "attributes": [a for a in attributes if a.get("key") not in _PROJECTS]}


def _object(outer: dict[str, Any], key: str) -> dict[str, Any]:
    found = outer.get(key) or {}
    if not isinstance(found, dict):
        raise NoRequest(_NO_REQUEST)
    return found


def _objects(outer: dict[str, Any], key: str) -> list[dict[str, Any]]:
    found = outer.get(key) or []
    if not isinstance(found, list) or not all(isinstance(inner, dict) for inner in found):
        raise NoRequest(_NO_REQUEST)
    return found


class OtlpFiles(ToolExport):
    """Files that the OpenTelemetry Collector wrote, as the source of an import.

    Args:
        files: Paths of the files. They may be compressed with gzip.
        project: Project of all records. None uses the project that is named in each record.

    Raises:
        ValueError: A file is not in OTLP/JSON at all.
        OSError: A file cannot be read.
    """

    source = "otlp-json"
    records = (OTLP_SPANS, OTLP_LOG_RECORDS)

    def __init__(self, files: Sequence[Path], project: str | None) -> None:
        super().__init__()
        self._files = files
        self._requests = OtlpRequests(RecordMaker(self.source, project), self.left_out)
        for file in files:
            if read_start(file, 1) == b"\0":  # length-prefixed protobuf messages
                raise ValueError(
                    f"{file} is not in OTLP/JSON: expected a file that the exporter wrote with "
                    "format: json and without compression"
                )

    def key(self) -> Any:
        """Return the sizes and times of the files."""
        return key_of_files(self._files)

    def read(self) -> Iterator[SourceRecord | BadRecord]:
        """Yield the spans and log records of each line."""
        for file in self._files:
            for line in read_lines(file):
                try:
                    yield from self._requests.split(_parse(line), line.place)
                except (NoRequest, orjson.JSONEncodeError) as error:
                    reason = str(error) if isinstance(error, NoRequest) else "nested too deeply"
                    text = line.text[:_REJECTED_CHARS].decode("utf-8", "replace")
                    yield BadRecord(_BAD_LINES, line.place, text, reason)


def _parse(line: SourceLine) -> Any:
    if line.problem:
        raise NoRequest(line.problem)
    try:
        return orjson.loads(line.text)
    except ValueError as error:
        raise NoRequest("not JSON") from error
