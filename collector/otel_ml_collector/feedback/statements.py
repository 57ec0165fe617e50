"""Feedback and late truth as the spans that tell the same: one way in for all that is recorded.

A statement's id names its span, so that it is one record however often it is sent.
"""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from otel_ml import attributes as names
from otel_ml_collector.errors import BadQuery
from otel_ml_collector.mapping.check import Window
from otel_ml_collector.owners import TRACE_KEY_CHARS
from otel_ml_collector.query.answers.feedback import StoredEvaluation, WantedEvaluation
from otel_ml_collector.query.times import from_rfc3339
from otel_ml_collector.store.known import find_keys, find_starts
from otel_ml_collector.store.reader import Reader

_TRACE_BYTES: Final = 16
_SPAN_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class Feedback:
    """Statements, ready to be sent on.

    Attributes:
        body: An OTLP request in JSON that tells them.
        stored: What is answered once it is stored.
    """

    body: bytes
    stored: Sequence[StoredEvaluation]


def make_feedback(
    reader: Reader, project: str, wanted: Sequence[WantedEvaluation], now_ns: int
) -> Feedback:
    """Make the spans of some statements, and look up what is known of their targets.

    Raises:
        BadQuery: A time cannot be read, or is too far away to be stored.
    """
    starts = find_starts(reader, project, [one.run_id for one in wanted if one.run_id])
    keys = find_keys(reader, project, [key for one in wanted if (key := _key_of(one))])
    spans: list[dict[str, Any]] = []
    stored: list[StoredEvaluation] = []
    for place, one in enumerate(wanted):
        identity = _identify(project, one.id)
        time_ns = _time_of(one, place, now_ns)
        spans.append(_span(project, one, identity, time_ns, starts.get(one.run_id or "")))
        known = one.run_id in starts if one.run_id else _key_of(one) in keys
        record_id = identity[_TRACE_BYTES:].hex()
        stored.append(
            StoredEvaluation(id=one.id, record_id=record_id, known=None if one.tag else known)
        )
    return Feedback(orjson.dumps(_request(spans)), stored)


def _key_of(one: WantedEvaluation) -> str:
    return one.trace_id or (one.trace_key or "")[:TRACE_KEY_CHARS]


def _identify(project: str, given: str) -> bytes:
    """Make the ids of a span, trace first: of a given id always the same ones."""
    if not given:
        return secrets.token_bytes(_TRACE_BYTES + _SPAN_BYTES)
    told = orjson.dumps([project, given])
    return hashlib.sha256(told).digest()[: _TRACE_BYTES + _SPAN_BYTES]


def _time_of(one: WantedEvaluation, place: int, now_ns: int) -> int:
    if one.time is None:
        return now_ns
    field = f"evaluations.{place}.time"
    time_ns = from_rfc3339(one.time, field)
    if time_ns not in Window(now_ns):
        raise BadQuery(
            f"Invalid time {one.time!r}: expected one from 400 days ago to an hour from now", field
        )
    return time_ns


def _span(
    project: str, one: WantedEvaluation, identity: bytes, time_ns: int, start_ns: int | None
) -> dict[str, Any]:
    told: dict[str, object] = {
        names.RECORD: "evaluation",
        names.PROJECT: project,
        names.TARGET_RUN: one.run_id,
        names.TARGET_TRACE_KEY: one.trace_id or one.trace_key,
        names.TARGET_TAG: one.tag,
        names.TARGET_START_NS: start_ns,
        names.JUDGE_NAME: one.judge,
        names.SOURCE: one.source,
        names.SCORE_VALUE: one.score,
        names.PASSED: one.passed,
        names.SCORE_LABEL: one.label or None,
        names.EXPLANATION: one.explanation or None,
    }
    return {
        "traceId": identity[:_TRACE_BYTES].hex(),
        "spanId": identity[_TRACE_BYTES:].hex(),
        "name": "evaluation",
        "startTimeUnixNano": str(time_ns),
        "endTimeUnixNano": str(time_ns),
        "attributes": [
            {"key": name, "value": _value(value)}
            for name, value in told.items()
            if value is not None
        ],
    }


def _value(value: object) -> dict[str, object]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    return {"doubleValue": value} if isinstance(value, float) else {"stringValue": value}


def _request(spans: Sequence[dict[str, Any]]) -> dict[str, Any]:
    scope = {"name": "otel_ml_collector.feedback"}
    return {"resourceSpans": [{"scopeSpans": [{"scope": scope, "spans": spans}]}]}
