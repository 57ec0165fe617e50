"""Converts traces of MLflow 3 and their assessments.

A span becomes the span that MLflow exports over OTLP, so that the collector maps both alike.

Spec: https://mlflow.org/docs/latest/genai/tracing/
"""

import base64
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import orjson

from otel_ml import attributes as names
from otel_ml.imports.lines import SourcePlace
from otel_ml.imports.otlp_records import (
    OTLP_SCORES,
    BadRecord,
    ImportedScore,
    RecordMaker,
    SourceRecord,
    as_json,
    otlp_attributes,
)
from otel_ml.records import ACTUAL_NAME
from otel_ml.tags import tag_attributes, tags_of
from otel_ml.times import find_time

TRACES: Final = "traces"
_MLFLOW_SCOPE: Final = "mlflow.tracing.provider"
_OWN: Final = "mlflow."
_PROMPTS: Final = "mlflow.linkedPrompts"
_COMMIT: Final = "mlflow.source.git.commit"
_HEX: Final = re.compile("(?:[0-9a-f]{32}|[0-9a-f]{16})")
_STATUS: Final = {"STATUS_CODE_OK": 1, "STATUS_CODE_ERROR": 2}
# Name of the expectation with the correct output, and the answers of MLflow's judges.
_EXPECTED_RESPONSE: Final = "expected_response"
_VERDICT_WORDS: Final = {"yes": True, "no": False}


def convert_trace(
    trace: Mapping[str, Any], maker: RecordMaker, place: SourcePlace, left_out: Counter[str]
) -> Iterator[SourceRecord | BadRecord]:
    """Convert an MLflow trace to records to send: its spans, then its feedback and expectations.

    Args:
        trace: The trace, as MLflow's ``Trace.to_dict`` returns it.
        maker: Creates the records.
        place: Position of the trace in the export, for error reports.
        left_out: Counter of assessments that are not imported, by reason. It is increased here.
    """
    info, spans = trace["info"], (trace.get("data") or {}).get("spans") or ()
    if not spans:
        yield BadRecord(TRACES, place, info, "no spans")
        return
    root = find_root(spans)
    for span in spans:
        is_root = span is root
        yield maker.span(_convert_span(span, info, is_root=is_root), place, scope=_MLFLOW_SCOPE)
    for assessment in info.get("assessments") or ():
        try:
            score = _convert_assessment(assessment, root)
        except ValueError as error:
            yield BadRecord(OTLP_SCORES, place, assessment, str(error))
            continue
        if isinstance(score, str):
            left_out[score] += 1
        else:
            yield maker.score(score, place)


def find_root(spans: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the first span without a parent; the first one if each has a parent."""
    return next((span for span in spans if not span.get("parent_span_id")), spans[0])


def run_id_of_span(span: Mapping[str, Any]) -> str:
    """Return the run ID of a span."""
    return f"{_hex(span['trace_id'])}-{_hex(span['span_id'])}"


def _convert_span(
    span: Mapping[str, Any], info: Mapping[str, Any], *, is_root: bool
) -> dict[str, Any]:
    """Return a span in OTLP/JSON. The first one also has what MLflow knows of the trace."""
    metadata, tags = info.get("trace_metadata") or {}, info.get("tags") or {}
    own = span.get("attributes") or {}
    attributes: dict[str, Any] = {
        **own,
        names.SESSION_ID: metadata.get("mlflow.trace.session"),
        names.USER_ID: metadata.get("mlflow.trace.user"),
        **_prompt_tags(own.get(_PROMPTS) or (tags.get(_PROMPTS) if is_root else None)),
    }
    if is_root:
        users = {key: tags[key] for key in tags if not key.startswith(_OWN)}
        users |= {key: metadata[key] for key in metadata if not key.startswith(_OWN)}
        if metadata.get(_COMMIT):
            users.setdefault("version", metadata[_COMMIT])
        attributes |= {names.TRACE_KEY: info["trace_id"], **tag_attributes(tags_of(users))}
    start_ns = int(span["start_time_unix_nano"])
    status = span.get("status") or {}
    parent = span.get("parent_span_id")
    return {
        "traceId": _hex(span["trace_id"]),
        "spanId": _hex(span["span_id"]),
        **({"parentSpanId": _hex(parent)} if parent else {}),
        "name": span["name"],
        "kind": 1,
        "startTimeUnixNano": str(start_ns),
        "endTimeUnixNano": str(span.get("end_time_unix_nano") or start_ns),
        "attributes": otlp_attributes(attributes),
        "events": [
            {
                "name": event["name"],
                "timeUnixNano": str(event["time_unix_nano"]),
                "attributes": otlp_attributes(event.get("attributes") or {}),
            }
            for event in span.get("events") or ()
        ],
        "status": {
            "code": _STATUS.get(status.get("code", ""), 0),
            "message": status.get("message", ""),
        },
    }


def _prompt_tags(linked: Any) -> dict[str, Any]:
    """Return the tags that name the prompts of a span."""
    prompts = _loads(linked)
    if not isinstance(prompts, list) or not prompts:
        return {}
    return {
        f"{names.TAG_PREFIX}{tag}": ", ".join(str(prompt.get(key, "")) for prompt in prompts)
        for tag, key in (("prompt", "name"), ("prompt_version", "version"))
    }


def _convert_assessment(
    assessment: Mapping[str, Any], root: Mapping[str, Any]
) -> ImportedScore | str:
    """Return a score or ground truth. A text says why an assessment is not imported.

    Raises:
        ValueError: The assessment is invalid.
    """
    if assessment.get("valid") is False:
        return "assessments that were replaced"
    time_ns = find_time(assessment.get("last_update_time") or assessment.get("create_time"))
    if time_ns is None:
        raise ValueError("no time")
    span_id = assessment.get("span_id")
    run_id = run_id_of_span({**root, "span_id": span_id} if span_id else root)
    source = assessment.get("source") or {}
    name, rationale = assessment["assessment_name"], assessment.get("rationale") or ""
    common: dict[str, Any] = {
        "id": assessment["assessment_id"],
        "time_ns": time_ns,
        "run_id": run_id,
        "run_start_ns": 0 if span_id else int(root["start_time_unix_nano"]),
    }
    is_human = source.get("source_type") == "HUMAN"
    annotator = source.get("source_id", "")
    expectation = assessment.get("expectation")
    if expectation is not None:
        actual = _value_of(expectation)
        return ImportedScore(
            name=ACTUAL_NAME if name == _EXPECTED_RESPONSE else name,
            actual=as_json(actual) if isinstance(actual, Mapping) else actual,
            explanation=rationale,
            annotator=annotator if is_human else "",
            **common,
        )
    feedback = assessment.get("feedback") or {}
    value = _value_of(feedback)
    if value is None:
        return "assessments with an error" if feedback.get("error") else "assessments without value"
    return ImportedScore(
        name=name,
        source="human" if is_human else "judge",
        annotator=annotator if is_human else "",
        **common,
        **_read_feedback(value, rationale, is_human=is_human),
    )


def _read_feedback(value: Any, rationale: str, *, is_human: bool) -> dict[str, Any]:
    """Return the value of feedback as fields of an `ImportedScore`."""
    if isinstance(value, bool):
        passed: dict[str, Any] = {"passed": value, "explanation": rationale}
        return passed if is_human else {**passed, "value": float(value)}
    if isinstance(value, int | float):
        return {"value": float(value), "explanation": rationale}
    if isinstance(value, str):
        passed = {"passed": _VERDICT_WORDS.get(value.lower()), "explanation": rationale}
        return {"label": value, **passed}
    return {"explanation": "\n".join(filter(None, (as_json(value), rationale)))}


def _value_of(part: Mapping[str, Any]) -> Any:
    """Return the value of feedback or of an expectation."""
    serialized = part.get("serialized_value")
    return _loads(serialized["value"]) if serialized else part.get("value")


def _loads(text: Any) -> Any:
    """Return the value of JSON text; the text itself if it is not JSON."""
    if not isinstance(text, str):
        return text
    try:
        return orjson.loads(text)
    except ValueError:
        return text


def _hex(span_or_trace_id: str) -> str:
    """Return an ID in hex. MLflow writes it in base64."""
    if _HEX.fullmatch(span_or_trace_id):
        return span_or_trace_id
    return base64.b64decode(span_or_trace_id).hex()
