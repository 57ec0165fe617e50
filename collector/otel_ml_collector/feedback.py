"""Makes records about runs, such as labels, ground truth and tags, and stores them."""

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final, Literal

import orjson
from pydantic import (
    ConfigDict,
    Field,
    PlainValidator,
    WithJsonSchema,
    model_validator,
)

from otel_ml import attributes as names
from otel_ml.records import ACTUAL_NAME, write_actual
from otel_ml_collector.access import INGEST, Access
from otel_ml_collector.answer_body import AnswerBody
from otel_ml_collector.decode.signals import Form, Signal
from otel_ml_collector.errors import BadInput, Rejected
from otel_ml_collector.ground_truth.matches import KeyOfTruth
from otel_ml_collector.mapping.filing import StartWindow
from otel_ml_collector.owners import TRACE_KEY_CHARS, own_key, own_tag
from otel_ml_collector.receive.admission import Reservation
from otel_ml_collector.receive.pipeline import Export, Intake
from otel_ml_collector.store.counted import DELIVERIES
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.times import from_rfc3339

MOST: Final = 1_000
_LONG: Final = 10_000
_Name = Annotated[str, Field(min_length=1, max_length=256)]
_TRACE_BYTES: Final = 16
_SPAN_BYTES: Final = 8
_WITHIN: Final = Sql(
    "FROM trace_index WHERE project = {project:String} AND key IN {traces:Array(String)}"
)
_RUN_ID: Final = Sql("concat(lower(hex(trace_id)), '-', lower(hex(span_id)))")
_OF_PROJECT: Final = Sql("""project = {project:String}
  AND trace_id IN (SELECT toFixedString(unhex(arrayJoin({traces:Array(String)})), 16))
  AND {run_id} IN {run_ids:Array(String)}""").fill(run_id=_RUN_ID)


_ACTUAL: Final[dict[str, Any]] = {
    "anyOf": [
        *({"type": name} for name in ("string", "number", "boolean", "null")),
        {"type": "array", "items": {"type": ["string", "number", "boolean"]}},
    ]
}


def _read_actual(value: object) -> object:
    """Read the value of a ground truth.

    Raises:
        ValueError: The value has an invalid type.
    """
    return None if value is None else orjson.loads(write_actual(value))


class WantedEvaluation(AnswerBody):
    """Feedback in a request, such as a thumbs-up for a run, or ground truth.

    Set exactly one of `run_id`, `trace_id`, `trace_key`, `session` and `tag` to choose what the
    feedback is about. To send ground truth, set `actual`. Otherwise set `judge`, and at
    least one of `score`, `passed`, `label` and `explanation`.
    """

    model_config = ConfigDict(extra="forbid")

    id: Annotated[str, Field(max_length=256)] = Field(
        default="",
        description="Your own ID of the evaluation. If you send the evaluation again with the "
        "same ID, it is stored once. Without an ID, each request stores a new evaluation",
    )
    run_id: Annotated[str, Field(pattern=r"^[0-9a-f]{32}-[0-9a-f]{16}$")] | None = None
    trace_id: Annotated[str, Field(pattern="^[0-9a-f]{32}$")] | None = None
    trace_key: _Name | None = Field(default=None, description="Your own ID of a trace")
    tag: Annotated[str, Field(max_length=1_024, pattern="^[^=]+=")] | None = Field(
        default=None,
        description="A tag as `name=value`. The feedback applies to all runs with this tag, "
        "also to later ones",
    )
    session: Annotated[str, Field(min_length=1, max_length=1_024)] | None = Field(
        default=None,
        description="ID of a session. The feedback is about the whole session, not about single "
        "runs",
    )
    judge: _Name = Field(
        default=ACTUAL_NAME,
        description="Name of the judge, such as `thumbs`. For ground truth: name of the true "
        "value, such as `churned`; by default, it is the true value of the output",
    )
    source: Literal["human", "actual", "agent"] = Field(
        default="human",
        description="Where the evaluation comes from: from a person, from ground truth (always "
        "if `actual` is given), or from an agent. Evaluations of agents do not "
        "count as scores",
    )
    actual: Annotated[Any, PlainValidator(_read_actual), WithJsonSchema(_ACTUAL)] = Field(
        default=None,
        description="What turned out to be true: text, number, bool or list, up to 16 KiB",
    )
    annotator: Annotated[str, Field(max_length=256)] = Field(
        default="", description="Who gives the feedback. Default: the name of the key"
    )
    score: Annotated[float, Field(allow_inf_nan=False)] | None = None
    passed: bool | None = None
    label: Annotated[str, Field(max_length=256)] = ""
    explanation: Annotated[str, Field(max_length=_LONG)] = ""
    time: Annotated[str, Field(max_length=64)] | None = Field(
        default=None,
        description="Time of the evaluation, RFC 3339. Default: now. The later of two records is "
        "used",
    )

    @model_validator(mode="after")
    def _has_one_target(self) -> "WantedEvaluation":
        targets = (self.run_id, self.trace_id, self.trace_key, self.tag, self.session)
        if sum(target is not None for target in targets) != 1:
            raise ValueError("expected exactly one of run_id, trace_id, trace_key, tag and session")
        if self.actual is not None:
            if {self.score, self.passed} != {None} or self.label:
                raise ValueError("expected either actual, or score, passed and label, not both")
            if "source" in self.model_fields_set and self.source != "actual":
                raise ValueError("expected no source, or the source actual, if actual is given")
            self.source = "actual"
            return self
        if "judge" not in self.model_fields_set:
            raise ValueError("expected the field judge, or ground truth in the field actual")
        words: tuple[Any, ...] = (self.score, self.passed, self.label or None)
        if all(value is None for value in words) and not self.explanation:
            raise ValueError(
                "expected at least one of score, passed, label, explanation and actual"
            )
        return self


class StoredEvaluation(AnswerBody):
    """A stored evaluation."""

    id: str = Field(description="The ID that you sent; empty without one")
    record_id: str = Field(description="ID of the stored record")
    known: bool | None = Field(
        description="Whether the run, trace or session is already stored; null for a tag. If it "
        "is not, the evaluation applies when it arrives"
    )


@dataclass(frozen=True, slots=True)
class Feedback:
    """Evaluations, ready to be sent.

    Attributes:
        body: An OTLP request in JSON with the evaluations as spans.
        stored: The answer to the client, once the request is stored.
        truths: The key of each ground truth, except for that of sessions.
        known_runs: IDs of the runs among these keys that are stored or open.
    """

    body: bytes
    stored: Sequence[StoredEvaluation]
    truths: Sequence[KeyOfTruth]
    known_runs: frozenset[str]


def make_feedback(
    reader: Reader, project: str, wanted: Sequence[WantedEvaluation], now_ns: int
) -> Feedback:
    """Turn evaluations into spans that are ready to be stored.

    Also looks up for each evaluation whether the run, trace or session that it is about is stored
    already.

    Raises:
        BadInput: A time cannot be read, or is too far away to be stored.
    """
    starts = find_starts(
        reader, project, [evaluation.run_id for evaluation in wanted if evaluation.run_id]
    )
    keys = find_keys(
        reader, project, [key for evaluation in wanted if (key := _key_of(evaluation))]
    )
    sessions = find_named_sessions(
        reader, project, [evaluation.session for evaluation in wanted if evaluation.session]
    )
    spans: list[dict[str, Any]] = []
    stored: list[StoredEvaluation] = []
    truths: list[KeyOfTruth] = []
    for place, evaluation in enumerate(wanted):
        identity = identify(project, evaluation.id)
        time_ns = _time_of(evaluation, place, now_ns)
        spans.append(
            _span(project, evaluation, identity, time_ns, starts.get(evaluation.run_id or ""))
        )
        known = (
            evaluation.run_id in starts
            or _key_of(evaluation) in keys
            or evaluation.session in sessions
        )
        if evaluation.actual is not None and evaluation.session is None:
            truths.append(KeyOfTruth(evaluation.run_id or name_owner(evaluation), time_ns))
        record_id = record_id_of(identity)
        stored.append(
            StoredEvaluation(
                id=evaluation.id, record_id=record_id, known=None if evaluation.tag else known
            )
        )
    return Feedback(orjson.dumps(make_request(spans)), stored, truths, frozenset(starts))


def _key_of(wanted_evaluation: WantedEvaluation) -> str:
    return wanted_evaluation.trace_id or (wanted_evaluation.trace_key or "")[:TRACE_KEY_CHARS]


def name_owner(wanted_evaluation: WantedEvaluation) -> str:
    """Return the trace key or tag that an evaluation is about; empty for a run or a session."""
    if wanted_evaluation.tag is not None:
        return own_tag(wanted_evaluation.tag)
    key = _key_of(wanted_evaluation)
    return own_key(key) if key else ""


def identify(project: str, given: str) -> bytes:
    """Make the trace ID and span ID of an evaluation: random, or derived from the ID you give."""
    if not given:
        return secrets.token_bytes(_TRACE_BYTES + _SPAN_BYTES)
    text = orjson.dumps([project, given])
    return hashlib.sha256(text).digest()[: _TRACE_BYTES + _SPAN_BYTES]


def record_id_of(identity: bytes) -> str:
    """Return the ID of the record that a span with these IDs is stored as."""
    return identity[_TRACE_BYTES:].hex()


def _time_of(wanted_evaluation: WantedEvaluation, place: int, now_ns: int) -> int:
    """Read the time of an evaluation. By default: now, in the order of the request."""
    if wanted_evaluation.time is None:
        return now_ns + place
    field = f"evaluations.{place}.time"
    time_ns = from_rfc3339(wanted_evaluation.time, field)
    if time_ns not in StartWindow(now_ns):
        raise BadInput(
            f"Invalid time {wanted_evaluation.time!r}: expected one from 400 days ago to an hour "
            "from now",
            field,
        )
    return time_ns


def _span(
    project: str,
    wanted_evaluation: WantedEvaluation,
    identity: bytes,
    time_ns: int,
    start_ns: int | None,
) -> dict[str, Any]:
    facts: dict[str, object] = {
        names.RECORD: "evaluation",
        names.PROJECT: project,
        names.TARGET_RUN: wanted_evaluation.run_id,
        names.TARGET_TRACE_KEY: wanted_evaluation.trace_id or wanted_evaluation.trace_key,
        names.TARGET_TAG: wanted_evaluation.tag,
        names.TARGET_SESSION: wanted_evaluation.session,
        names.TARGET_START_NS: start_ns,
        names.JUDGE_NAME: wanted_evaluation.judge,
        names.SOURCE: wanted_evaluation.source,
        names.SCORE_VALUE: wanted_evaluation.score,
        names.PASSED: wanted_evaluation.passed,
        names.SCORE_LABEL: wanted_evaluation.label or None,
        names.EXPLANATION: wanted_evaluation.explanation or None,
        names.ANNOTATOR: wanted_evaluation.annotator or None,
        names.ACTUAL_LIST
        if isinstance(wanted_evaluation.actual, list)
        else names.ACTUAL: wanted_evaluation.actual,
    }
    return make_span("evaluation", identity, time_ns, facts)


def make_span(
    name: str, identity: bytes, time_ns: int, facts: Mapping[str, object]
) -> dict[str, Any]:
    """Make a record as a span of length 0, in OTLP's JSON; None values are left out."""
    return {
        "traceId": identity[:_TRACE_BYTES].hex(),
        "spanId": record_id_of(identity),
        "name": name,
        "startTimeUnixNano": str(time_ns),
        "endTimeUnixNano": str(time_ns),
        "attributes": _attributes(facts),
    }


def make_event(name: str, time_ns: int, facts: Mapping[str, object]) -> dict[str, Any]:
    """Make an event of an evaluation span, in OTLP's JSON."""
    return {"name": name, "timeUnixNano": str(time_ns), "attributes": _attributes(facts)}


def _attributes(facts: Mapping[str, object]) -> list[dict[str, Any]]:
    return [
        {"key": name, "value": _value(value)} for name, value in facts.items() if value is not None
    ]


def _value(value: object) -> dict[str, object]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, list):
        return {"stringValue": orjson.dumps(value).decode()}
    return {"doubleValue": value} if isinstance(value, float) else {"stringValue": value}


def make_request(spans: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Make an OTLP request of spans, in JSON."""
    scope = {"name": "otel_ml_collector.feedback"}
    return {"resourceSpans": [{"scopeSpans": [{"scope": scope, "spans": spans}]}]}


def find_starts(reader: Reader, project: str, run_ids: Sequence[str]) -> dict[str, int]:
    """Return the start times of the runs that are stored or still open, by run ID."""
    if not run_ids:
        return {}
    sql = Sql("""
        SELECT {run_id} AS run_id, start_ns FROM {deliveries}
        WHERE {ours} AND start_ns >= (SELECT minOrNull(start_ns) {within})
          AND start_ns <= (SELECT maxOrNull(end_ns) {within})
        UNION ALL
        SELECT {run_id} AS run_id, start_ns FROM open_runs WHERE {ours}
        """).fill(deliveries=DELIVERIES, run_id=_RUN_ID, ours=_OF_PROJECT, within=_WITHIN)
    parameters = {
        "project": project,
        "run_ids": list(run_ids),
        "traces": sorted({run_id.partition("-")[0] for run_id in run_ids}),
    }
    return {row["run_id"]: row["start_ns"] for row in reader.rows(sql, parameters)}


def find_keys(reader: Reader, project: str, keys: Sequence[str]) -> set[str]:
    """Return which of these trace IDs and trace keys belong to a stored trace."""
    if not keys:
        return set()
    sql = Sql("""
        SELECT DISTINCT key FROM trace_index
        WHERE project = {project:String} AND key IN {keys:Array(String)}
          AND trace_id != toFixedString('', 16)""")
    return {row["key"] for row in reader.rows(sql, {"project": project, "keys": list(keys)})}


def find_named_sessions(reader: Reader, project: str, sessions: Sequence[str]) -> set[str]:
    """Return which of these sessions have a run that is stored or still open."""
    if not sessions:
        return set()
    sql = Sql("""
        SELECT DISTINCT session FROM (
          SELECT session FROM {deliveries} WHERE {these}
          UNION ALL SELECT session FROM open_runs WHERE {these})""").fill(
        deliveries=DELIVERIES,
        these=Sql("project = {project:String} AND session IN {sessions:Array(String)}"),
    )
    rows = reader.rows(sql, {"project": project, "sessions": sorted({*sessions})})
    return {row["session"] for row in rows}


async def store_request(
    pipeline: Intake, reservation: Reservation, body: bytes, access: Access, project: str
) -> None:
    """Store an OTLP request that the collector made itself, in the same way as received ones.

    Raises:
        Rejected: The request cannot be stored.
    """
    reservation.grow(len(body))
    may = replace(access, scopes=access.scopes | {INGEST}, projects=(project,))
    export = Export(body, "identity", None, Signal.TRACES, Form.JSON, may, is_urgent=True)
    answer = await pipeline.accept(export, reservation)
    if answer.rejected:
        raise Rejected(answer.message)
