"""Records of Langfuse become spans and scores."""

import json
from pathlib import Path
from typing import Any

import pytest

from otel_ml.imports.langfuse import LangfuseFiles
from otel_ml.imports.otlp_records import BadRecord

TRACE = "af" * 16
ROOT = "0a" * 8
NS = 10**9
NOON_NS = 1_714_564_800 * NS


def make_trace(**fields: Any) -> dict[str, Any]:
    """Return a trace."""
    return {"id": TRACE, "timestamp": "2024-05-01T12:00:00Z", "name": "ask", **fields}


def make_observation(**fields: Any) -> dict[str, Any]:
    """Return an observation without a parent."""
    times = {"startTime": "2024-05-01T12:00:00Z", "endTime": "2024-05-01T12:00:01.5Z"}
    return {"id": ROOT, "traceId": TRACE, "type": "SPAN", "name": "root", **times, **fields}


def read(folder: Path, *records: Any) -> tuple[list[dict[str, Any]], LangfuseFiles]:
    """Return the spans of an export with these records, and assert that all are valid."""
    path = folder / "export.json"
    path.write_text(json.dumps(records))
    export = LangfuseFiles([path], "p")
    spans = []
    for record in export.read():
        assert not isinstance(record, BadRecord), record
        span = json.loads(record.item)
        span["attributes"] = {
            item["key"]: next(iter(item["value"].values())) for item in span["attributes"]
        }
        spans.append(span)
    return spans, export


def test_trace_with_one_root(tmp_path: Path) -> None:
    """The outermost observation becomes the root span and has the attributes of the trace."""
    trace = make_trace(input="hi", output="ho", metadata={"long": "a" * 201, "plan": "pro"})
    inner = make_observation(id="1b" * 8, parentObservationId=ROOT, type="GENERATION")
    (root, child), _ = read(tmp_path, inner, make_observation(input="hi"), trace)
    assert (root["traceId"], root["spanId"], root["name"]) == (TRACE, ROOT, "root")
    assert "parentSpanId" not in root
    assert root["startTimeUnixNano"] == str(NOON_NS)
    assert root["endTimeUnixNano"] == str(NOON_NS + 3 * NS // 2)
    assert root["attributes"] == {
        "langfuse.observation.type": "span",
        "langfuse.observation.input": "hi",
        "langfuse.trace.output": "ho",
        "langfuse.trace.name": "ask",
        "langfuse.trace.metadata.long": "a" * 201,
        "langfuse.trace.metadata.plan": "pro",
    }
    assert child["parentSpanId"] == ROOT
    assert child["attributes"] == {
        "langfuse.observation.type": "generation",
        "langfuse.trace.name": "ask",
        "langfuse.trace.metadata.plan": "pro",
    }


def test_trace_with_several_roots(tmp_path: Path) -> None:
    """A trace with several outermost observations becomes a span that contains them."""
    other = make_observation(id="1b" * 8, parentObservationId="absent", endTime=None)
    (trace, *inner), _ = read(tmp_path, make_trace(input="hi"), make_observation(), other)
    assert (trace["name"], trace["attributes"]["langfuse.trace.input"]) == ("ask", "hi")
    assert trace["endTimeUnixNano"] == str(NOON_NS + 3 * NS // 2)
    assert [span["parentSpanId"] for span in inner] == 2 * [trace["spanId"]]
    assert inner[1]["endTimeUnixNano"] == inner[1]["startTimeUnixNano"]


def test_other_ids(tmp_path: Path) -> None:
    """IDs in another format become OpenTelemetry IDs, the same in each import."""
    uuid = "0e37df2a-5b1d-4a43-9d20-1f2f0f5c7a11"
    records = (make_trace(id=uuid), make_observation(id="step 1", traceId=uuid))
    [[first], [second]] = [read(tmp_path, *records)[0] for _ in range(2)]
    assert first == second
    assert first["traceId"] == uuid.replace("-", "")
    assert first["attributes"]["otel_ml.trace_key"] == uuid
    [named], _ = read(tmp_path, make_trace(id="order 7"))
    assert len(bytes.fromhex(named["traceId"])) == 16
    assert named["attributes"]["otel_ml.trace_key"] == "order 7"


def test_blob_storage(tmp_path: Path) -> None:
    """Fields in snake case, times without a zone and counts as text are also read."""
    row = {
        "id": ROOT,
        "trace_id": TRACE,
        "project_id": "p",
        "type": "GENERATION",
        "start_time": "2024-05-01 12:00:00.250",
        "end_time": "2024-05-01 12:00:01.000",
        "completion_start_time": "2024-05-01 12:00:00.500",
        "provided_model_name": "gpt-5",
        "usage_details": {"input": "4", "output": "3", "total": "7"},
        "total_cost": "0.25",
        "session_id": "s-1",
        "trace_name": "ask",
        "tags": ["a"],
    }
    [span], export = read(tmp_path, row)
    assert span["startTimeUnixNano"] == str(NOON_NS + NS // 4)
    assert span["attributes"] == {
        "langfuse.observation.type": "generation",
        "langfuse.observation.model.name": "gpt-5",
        "langfuse.observation.usage_details": '{"input":4,"output":3,"total":7}',
        "langfuse.observation.cost_details": '{"total":0.25}',
        "langfuse.observation.completion_start_time": '"2024-05-01T12:00:00.500000+00:00"',
        "langfuse.trace.name": "ask",
        "langfuse.trace.tags": {"values": [{"stringValue": "a"}]},
        "session.id": "s-1",
    }
    assert export.absent() == ["inputs and outputs", "scores", "data sets", "texts of prompts"]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            {"costDetails": {"input": 1, "output": "0.5"}},
            {"input": 1.0, "output": 0.5, "total": 1.5},
        ),
        ({"costDetails": {"total": 0}}, {"total": 0.0}),
        ({"costDetails": {}, "totalCost": 0}, None),
        ({"calculatedTotalCost": 2}, {"total": 2.0}),
    ],
)
def test_costs(tmp_path: Path, fields: dict[str, Any], expected: dict[str, float] | None) -> None:
    """Costs are those that Langfuse computed. Without costs, no cost of 0 is recorded."""
    [span], _ = read(tmp_path, make_observation(**fields))
    text = span["attributes"].get("langfuse.observation.cost_details")
    assert (None if text is None else json.loads(text)) == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"usage": {"input": 4, "unit": "TOKENS", "output": None}}, {"input": 4}),
        (
            {"inputUsage": 4, "outputUsage": 3, "totalUsage": 7},
            {"input": 4, "output": 3, "total": 7},
        ),
        ({"usageDetails": {}, "inputUsage": 0, "outputUsage": 0, "totalUsage": 0}, None),
    ],
)
def test_tokens(tmp_path: Path, fields: dict[str, Any], expected: dict[str, int] | None) -> None:
    """Tokens are also read from the fields of older records; if all counts are 0, none is kept."""
    [span], _ = read(tmp_path, make_observation(**fields))
    text = span["attributes"].get("langfuse.observation.usage_details")
    assert (None if text is None else json.loads(text)) == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"dataType": "NUMERIC", "value": 0.5}, {"otel_ml.score.value": 0.5}),
        (
            {"dataType": "BOOLEAN", "value": 1, "stringValue": "True"},
            {"otel_ml.score.value": 1.0, "otel_ml.passed": True},
        ),
        (
            {"dataType": "CATEGORICAL", "value": 0, "stringValue": "kind"},
            {"otel_ml.score.label": "kind"},
        ),
        (
            {"dataType": "TEXT", "stringValue": "too long", "comment": "by 3 words"},
            {"otel_ml.explanation": "too long\nby 3 words"},
        ),
    ],
)
def test_values_of_scores(
    tmp_path: Path, fields: dict[str, Any], expected: dict[str, object]
) -> None:
    """Each type of score becomes a number, a verdict, a label or an explanation."""
    score = {
        "id": "s",
        "traceId": TRACE,
        "name": "tone",
        "source": "EVAL",
        "timestamp": "2024-05-01T12:00:05Z",
    }
    (_, span), _ = read(tmp_path, make_observation(), {**score, **fields})
    assert span["startTimeUnixNano"] == str(NOON_NS + 5 * NS)
    assert span["attributes"] == {
        "otel_ml.project": "p",
        "otel_ml.record": "evaluation",
        "otel_ml.target.run": f"{TRACE}-{ROOT}",
        "otel_ml.target.start_ns": str(NOON_NS),
        "otel_ml.judge.name": "tone",
        "otel_ml.source": "judge",
        **expected,
    }


def test_score_of_a_trace_elsewhere(tmp_path: Path) -> None:
    """A score whose trace is not in the export refers to the trace by its trace key."""
    score = {
        "id": "s",
        "traceId": TRACE,
        "name": "tone",
        "source": "API",
        "value": 1,
        "timestamp": "2024-05-01T12:00:05Z",
    }
    [span], export = read(tmp_path, score)
    assert span["attributes"]["otel_ml.target.trace_key"] == TRACE
    assert export.absent()[0] == "observations"


def test_records_that_are_left_out(tmp_path: Path) -> None:
    """Records that cannot be imported are counted by type."""
    _, export = read(
        tmp_path,
        make_observation(comments=[{"content": "a"}, {"content": "b"}]),
        {
            "id": "s",
            "createdAt": "2024-05-01T12:00:00Z",
            "projectId": "p",
            "environment": "default",
        },
        {"id": "s", "sessionDuration": 3, "countTraces": 1},
        {"id": "a", "resourceType": "trace", "action": "delete"},
        {"name": "greet", "labels": [], "versions": [1]},
        {"id": "e", "datasetRunId": "r", "name": "n", "source": "API", "value": 1},
    )
    assert export.left_out == {
        "comments": 2,
        "sessions": 2,
        "audit log entries": 1,
        "prompts": 1,
        "experiment scores": 1,
    }


def test_trace_that_was_read_alone(tmp_path: Path) -> None:
    """Observations and scores inside a trace are imported with the trace."""
    score = {"id": "s", "traceId": TRACE, "name": "tone", "source": "API", "value": 1}
    score["timestamp"] = "2024-05-01T12:00:05Z"
    trace = make_trace(observations=[make_observation()], scores=[score])
    spans, _ = read(tmp_path, trace)
    assert [span["name"] for span in spans] == ["root", "otel_ml.evaluation"]
