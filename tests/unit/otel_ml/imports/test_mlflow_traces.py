"""Traces of MLflow become spans and scores."""

import base64
import json
from collections import Counter
from typing import Any, Final

import pytest

from otel_ml.imports.lines import SourcePlace
from otel_ml.imports.mlflow_traces import convert_trace
from otel_ml.imports.otlp_records import BadRecord, RecordMaker

TRACE_HEX: Final = "53431e592e6799d5319f3ce29adf1de1"
ROOT_HEX: Final = "38af6f61360d5672"
CHILD_HEX: Final = "51745bf5c52c4518"
START_NS: Final = 1_714_564_800_000_000_000
PLACE: Final = SourcePlace("traces of support", 1)


def as_base64(text: str) -> str:
    """Return an ID in MLflow's encoding."""
    return base64.b64encode(bytes.fromhex(text)).decode()


def make_span(span_id: str, parent_id: str = "", **fields: Any) -> dict[str, Any]:
    """Return a span that lasts one second."""
    return {
        "trace_id": as_base64(TRACE_HEX),
        "span_id": as_base64(span_id),
        "parent_span_id": as_base64(parent_id) if parent_id else None,
        "name": "ask",
        "start_time_unix_nano": START_NS,
        "end_time_unix_nano": START_NS + 10**9,
        "events": [],
        "status": {"code": "STATUS_CODE_OK", "message": ""},
        "attributes": {"mlflow.spanType": '"AGENT"'},
        "links": [],
        **fields,
    }


def make_assessment(**fields: Any) -> dict[str, Any]:
    """Return an assessment without a value."""
    return {
        "assessment_id": "a-1",
        "assessment_name": "grounded",
        "source": {"source_type": "LLM_JUDGE", "source_id": "gpt"},
        "create_time": "2024-05-01T12:00:00Z",
        "last_update_time": "2024-05-01T12:00:05Z",
        "valid": True,
        **fields,
    }


def convert(
    spans: list[dict[str, Any]], **info: Any
) -> tuple[list[dict[str, Any]], dict[str, int], list[BadRecord]]:
    """Return the spans and scores of a trace, the counts of left out records, and bad records."""
    left_out: Counter[str] = Counter()
    trace = {"info": {"trace_id": f"tr-{TRACE_HEX}", **info}, "data": {"spans": spans}}
    made, bad = [], []
    for record in convert_trace(trace, RecordMaker("mlflow", "p"), PLACE, left_out):
        if isinstance(record, BadRecord):
            bad.append(record)
            continue
        span = json.loads(record.item)
        span["attributes"] = {
            item["key"]: next(iter(item["value"].values())) for item in span["attributes"]
        }
        made.append(span)
    return made, dict(left_out), bad


def test_spans() -> None:
    """Spans keep MLflow's IDs, times and attributes; the root also has those of the trace."""
    metadata = {
        "mlflow.trace.session": "s-1",
        "mlflow.trace.user": "u-1",
        "mlflow.source.git.commit": "0a1b",
        "tenant": "acme",
    }
    prompts = {"mlflow.linkedPrompts": '[{"name": "greet", "version": "2"}]'}
    child = make_span(CHILD_HEX, ROOT_HEX, attributes=prompts, end_time_unix_nano=None)
    tags = {"mlflow.traceName": "ask", "plan": "pro"}
    (root, inner), _, _ = convert([make_span(ROOT_HEX), child], trace_metadata=metadata, tags=tags)
    assert root == {
        "traceId": TRACE_HEX,
        "spanId": ROOT_HEX,
        "name": "ask",
        "kind": 1,
        "startTimeUnixNano": str(START_NS),
        "endTimeUnixNano": str(START_NS + 10**9),
        "attributes": {
            "mlflow.spanType": '"AGENT"',
            "session.id": "s-1",
            "user.id": "u-1",
            "otel_ml.trace_key": f"tr-{TRACE_HEX}",
            "otel_ml.tag.plan": "pro",
            "otel_ml.tag.tenant": "acme",
            "otel_ml.tag.version": "0a1b",
        },
        "events": [],
        "status": {"code": 1, "message": ""},
    }
    assert (inner["parentSpanId"], inner["endTimeUnixNano"]) == (ROOT_HEX, str(START_NS))
    assert inner["attributes"] == {
        **prompts,
        "session.id": "s-1",
        "user.id": "u-1",
        "otel_ml.tag.prompt": "greet",
        "otel_ml.tag.prompt_version": "2",
    }


def test_errors() -> None:
    """The status and the exception of a span are kept."""
    event = {
        "name": "exception",
        "time_unix_nano": START_NS,
        "attributes": {"exception.type": "ValueError"},
    }
    status = {"code": "STATUS_CODE_ERROR", "message": "ValueError: no"}
    [span], _, _ = convert([make_span(ROOT_HEX, events=[event], status=status)])
    assert span["status"] == {"code": 2, "message": "ValueError: no"}
    assert span["events"] == [
        {
            "name": "exception",
            "timeUnixNano": str(START_NS),
            "attributes": [{"key": "exception.type", "value": {"stringValue": "ValueError"}}],
        }
    ]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"feedback": {"value": 0.75}}, {"otel_ml.score.value": 0.75}),
        (
            {"feedback": {"value": True}, "rationale": "cited"},
            {
                "otel_ml.score.value": 1.0,
                "otel_ml.passed": True,
                "otel_ml.explanation": "cited",
            },
        ),
        (
            {"feedback": {"value": "No"}},
            {"otel_ml.score.label": "No", "otel_ml.passed": False},
        ),
        (
            {"feedback": {"value": "kind"}, "source": {"source_type": "HUMAN", "source_id": "ann"}},
            {
                "otel_ml.score.label": "kind",
                "otel_ml.source": "human",
                "otel_ml.annotator": "ann",
            },
        ),
        (
            {"feedback": {"serialized_value": {"value": '{"a": 1}'}}},
            {"otel_ml.explanation": '{"a":1}'},
        ),
        (
            {"expectation": {"value": "hello"}, "assessment_name": "expected_response"},
            {
                "otel_ml.judge.name": "output",
                "otel_ml.source": "actual",
                "otel_ml.actual": "hello",
            },
        ),
        (
            {"expectation": {"serialized_value": {"value": '["a"]'}}, "assessment_name": "facts"},
            {
                "otel_ml.judge.name": "facts",
                "otel_ml.source": "actual",
                "otel_ml.actual.list": '["a"]',
            },
        ),
        (
            {"feedback": {"value": 1}, "span_id": CHILD_HEX},
            {
                "otel_ml.score.value": 1.0,
                "otel_ml.target.run": f"{TRACE_HEX}-{CHILD_HEX}",
                "otel_ml.target.start_ns": None,
            },
        ),
    ],
)
def test_assessments(fields: dict[str, Any], expected: dict[str, object]) -> None:
    """Feedback becomes a score or a label, and an expectation becomes ground truth."""
    (_, score), _, _ = convert([make_span(ROOT_HEX)], assessments=[make_assessment(**fields)])
    usual = {
        "otel_ml.project": "p",
        "otel_ml.record": "evaluation",
        "otel_ml.target.run": f"{TRACE_HEX}-{ROOT_HEX}",
        "otel_ml.target.start_ns": str(START_NS),
        "otel_ml.judge.name": "grounded",
        "otel_ml.source": "judge",
    }
    wanted = {key: value for key, value in {**usual, **expected}.items() if value is not None}
    assert score["attributes"] == wanted
    assert score["startTimeUnixNano"] == str(START_NS + 5 * 10**9)


def test_assessments_that_are_left_out() -> None:
    """Assessments without a value and replaced assessments are counted, not imported."""
    error = {"error": {"error_code": "ValueError"}}
    spans, left_out, _ = convert(
        [make_span(ROOT_HEX)],
        assessments=[
            make_assessment(feedback={"value": 1}, valid=False),
            make_assessment(feedback=error),
            make_assessment(feedback={}),
        ],
    )
    assert len(spans) == 1
    assert left_out == {
        "assessments that were replaced": 1,
        "assessments with an error": 1,
        "assessments without value": 1,
    }


def test_bad_records() -> None:
    """A trace without spans and an assessment without a time are rejected."""
    _, _, [trace] = convert([])
    assert (trace.name, trace.reason, trace.place) == ("traces", "no spans", PLACE)
    timeless = make_assessment(feedback={"value": 1}, create_time=None, last_update_time=None)
    spans, _, [score] = convert([make_span(ROOT_HEX)], assessments=[timeless])
    assert (len(spans), score.name, score.reason) == (1, "scores", "no time")
