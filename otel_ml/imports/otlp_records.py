"""Records of an import as OTLP/JSON: spans, log records, and scores, which are spans too.

Spec: https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

import orjson

from otel_ml import attributes as names
from otel_ml.export.answer import Answer
from otel_ml.export.http import HttpSender
from otel_ml.imports.history import span_id_of, trace_id_of
from otel_ml.imports.lines import SourcePlace
from otel_ml.records import TagValue
from otel_ml.wire import actual_attributes

OTLP_SPANS: Final = "spans"
OTLP_LOG_RECORDS: Final = "log records"
OTLP_SCORES: Final = "scores"
_KNOWN_RESOURCES: Final = 1_000
_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1
_OWN_SCOPE: Final = {"name": names.SCOPE_NAME}
HEX_TRACE_ID: Final = re.compile("[0-9a-f]{32}")
HEX_SPAN_ID: Final = re.compile("[0-9a-f]{16}")


class OtlpSignal(NamedTuple):
    """How to send the records of a signal (traces or logs): the URL path and the JSON keys."""

    path: str
    resources: str
    scopes: str
    items: str


TRACE_SIGNAL: Final = OtlpSignal("/v1/traces", "resourceSpans", "scopeSpans", "spans")
LOG_SIGNAL: Final = OtlpSignal("/v1/logs", "resourceLogs", "scopeLogs", "logRecords")


class ResourceHead(NamedTuple):
    """A resource without its spans or log records, and its size as JSON."""

    content: dict[str, Any]
    size: int


class SourceRecord(NamedTuple):
    """A span or log record of an export, ready to send.

    Attributes:
        name: Type of the record as a plural noun, such as ``spans``. The report of the import shows
            counts by this name.
        resource: The object that contains the resource. Consecutive records with the same object
            are sent together.
        scope: The object that contains the scope. Its list of records is removed.
        item: The span or log record as JSON.
        place: Position of the record in the export, for error reports.
    """

    name: str
    signal: OtlpSignal
    resource: ResourceHead
    scope: dict[str, Any]
    item: bytes
    place: SourcePlace


class BadRecord(NamedTuple):
    """A part of an export that cannot be imported.

    Attributes:
        name: Type of the part as a plural noun, such as ``lines``.
        place: Position of the part in the export, for error reports.
        content: Content of the part, for the file of rejected records.
        reason: Why it cannot be imported.
    """

    name: str
    place: SourcePlace
    content: Any
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedScore:
    """A score or ground truth of a run, a trace or a session, read from an export.

    Set exactly one of `run_id`, `trace_id` and `session`.

    Attributes:
        id: ID in the export. The same ID gives the same record in every import.
        name: Name of the judge, of the criterion that reviewers scored, or of the ground truth.
        time_ns: Time of the score, in nanoseconds since the epoch (UTC).
        run_id: Run ID, ``<trace id>-<span id>`` in hex.
        trace_id: Trace ID in hex.
        session: Session ID.
        run_start_ns: Start time of the run. 0 if unknown.
        value: The score as a number. None if there is only a label.
        passed: Whether the run passed. None if unknown.
        source: ``human`` for reviewers and users, ``judge`` for everything else.
        annotator: Name of the reviewer.
        version: Version of the judge.
        actual: The ground truth. None if this is a score.
    """

    id: str
    name: str
    time_ns: int
    run_id: str = ""
    trace_id: str = ""
    session: str = ""
    run_start_ns: int = 0
    value: float | None = None
    passed: bool | None = None
    label: str = ""
    explanation: str = ""
    source: Literal["judge", "human"] = "judge"
    annotator: str = ""
    version: str = ""
    actual: TagValue | list[TagValue] | None = None


class RecordMaker:
    """Converts the spans and scores of an export to records that can be sent, marked as imported.

    Args:
        source: What is imported, such as ``phoenix``. It becomes the attribute ``otel_ml.import``.
        project: Project of all records. None uses the project that is named in each record.
    """

    def __init__(self, source: str, project: str | None) -> None:
        self.source = source
        self.project = project
        self._marks = {names.IMPORT: source}
        if project is not None:
            self._marks[names.PROJECT] = project
        self._heads: dict[bytes, ResourceHead] = {}

    def head(self, group: Mapping[str, Any]) -> ResourceHead:
        """Return the OTLP resource of a group of spans or log records, marked as imported.

        The mark is the attribute ``otel_ml.import``.

        Args:
            group: JSON object of the group, with the keys ``resource`` and ``schemaUrl``. Both may
                be missing.
        """
        key = orjson.dumps(group, default=str)
        head = self._heads.get(key)
        if head is None:
            resource = group.get("resource") or {}
            kept = [
                item
                for item in resource.get("attributes") or ()
                if item.get("key") not in self._marks
            ]
            marked = {**resource, "attributes": kept + otlp_attributes(self._marks)}
            content = {**group, "resource": marked}
            head = ResourceHead(content, len(orjson.dumps(content)))
            if len(self._heads) >= _KNOWN_RESOURCES:
                self._heads.clear()
            self._heads[key] = head
        return head

    def span(
        self,
        span: Mapping[str, Any],
        place: SourcePlace,
        *,
        resource: Mapping[str, Any] | None = None,
        scope: str = "",
    ) -> SourceRecord:
        """Convert a span of an export to a record that can be sent.

        Args:
            span: The span in OTLP/JSON, with attributes from `otlp_attributes`.
            place: Position of the span in the export, for error reports.
            resource: Attributes of the resource as plain values.
            scope: Name of the instrumentation scope.
        """
        group = {"resource": {"attributes": otlp_attributes(resource or {})}}
        named = {"scope": {"name": scope}} if scope else {}
        return SourceRecord(
            OTLP_SPANS, TRACE_SIGNAL, self.head(group), named, orjson.dumps(span), place
        )

    def score(self, score: ImportedScore, place: SourcePlace) -> SourceRecord:
        """Return the record of a score."""
        ids = (f"{self.source} score", self.project or "", score.id)
        attributes = {
            names.PROJECT: self.project,
            names.RECORD: "evaluation",
            names.TARGET_RUN: score.run_id or None,
            names.TARGET_TRACE_KEY: score.trace_id or None,
            names.TARGET_SESSION: score.session or None,
            names.TARGET_START_NS: score.run_start_ns or None,
            names.JUDGE_NAME: score.name,
            names.JUDGE_VERSION: score.version or None,
            names.SCORE_VALUE: score.value,
            names.PASSED: score.passed,
            names.SCORE_LABEL: score.label or None,
            names.EXPLANATION: score.explanation or None,
            names.SOURCE: score.source,
            names.ANNOTATOR: score.annotator or None,
        }
        if score.actual is not None:
            attributes |= actual_attributes(
                score.name, score.actual, score.explanation or None, score.annotator or None
            )
        span = {
            "traceId": f"{trace_id_of(*ids):032x}",
            "spanId": f"{span_id_of(*ids):016x}",
            "name": "otel_ml.evaluation",
            "startTimeUnixNano": str(score.time_ns),
            "endTimeUnixNano": str(score.time_ns),
            "attributes": otlp_attributes(attributes),
        }
        return SourceRecord(
            OTLP_SCORES,
            TRACE_SIGNAL,
            self.head({}),
            {"scope": _OWN_SCOPE},
            orjson.dumps(span),
            place,
        )


def otlp_attributes(attributes: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Encode attributes. None is left out; mappings and lists of mappings become JSON text."""
    return [
        {"key": key, "value": _any_value(value)}
        for key, value in attributes.items()
        if value is not None
    ]


def _any_value(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int) and _INT64_MIN <= value <= _INT64_MAX:
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value if math.isfinite(value) else _name_of(value)}
    if isinstance(value, list | tuple) and all(
        isinstance(item, str | bool | int | float) for item in value
    ):
        return {"arrayValue": {"values": [_any_value(item) for item in value]}}
    return {"stringValue": value if isinstance(value, str) else as_json(value)}


def _name_of(value: float) -> str:
    """Return how JSON of protobuf writes a number that is not finite."""
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def as_json(value: Any) -> str:
    """Return a value as JSON text. Values that JSON cannot represent become text."""
    try:
        return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:  # an integer of more than 64 bits
        return json.dumps(value, default=str)


class JsonDestination(HttpSender):
    """Sends records as OTLP/JSON."""

    def send_spans(self, records: list[SourceRecord], timeout_s: float) -> Answer:
        """Send records of one signal, without retries."""
        url = self._settings.page + records[0].signal.path
        answer = self.post_json(url, join_records(records), timeout_s)
        if not answer.invalid:
            return answer
        if len(records) > 1:  # the sender finds the invalid record by sending halves
            return Answer(delivered=False, too_large=True)
        return Answer(delivered=True, rejected=1, message=answer.message)


def join_records(records: Sequence[SourceRecord]) -> bytes:
    """Combine records of one signal (traces or logs) into one export request.

    The resource and scope that adjacent records have in common are written once.
    """
    signal = records[0].signal
    resources: list[dict[str, Any]] = []
    resource = scope = None
    for record in records:
        if record.resource is not resource:
            resource, scope = record.resource, None
            resources.append({**record.resource.content, signal.scopes: []})
        if record.scope != scope:
            scope = record.scope
            resources[-1][signal.scopes].append({**scope, signal.items: []})
        resources[-1][signal.scopes][-1][signal.items].append(orjson.Fragment(record.item))
    return orjson.dumps({signal.resources: resources})
