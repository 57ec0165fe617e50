"""Tests of the dialect of Logfire and Pydantic AI."""

from dataclasses import replace
from typing import Any

import pytest

from otel_ml_collector.span import Event, Value
from tests.support.otel_ml_collector.spans import NOW_NS, make_span, map_all, span_id
from tests.unit.otel_ml_collector.mapping.dialect_runs import (
    SPAN,
    TRACE,
    expect,
    expect_score,
    map_call,
    without,
)


def test_request() -> None:
    """The raw request and response are input and output, and no longer attributes."""
    told: dict[str, Value] = {
        "logfire.msg": "Chat with gpt-5",
        "gen_ai.request.model": "gpt-5",
        "request_data": '{"messages": [{"role": "user", "content": "Where?"}]}',
        "response_data": '{"message": {"role": "assistant", "content": "In Kyoto."}}',
    }
    run = map_call("Chat", told)
    assert run.inputs == '{"messages":[{"role":"user","content":"Where?"}]}'
    assert run.outputs == '{"message":{"role":"assistant","content":"In Kyoto."}}'
    assert "request_data" not in run.attributes
    assert "response_data" not in run.attributes


def test_agent() -> None:
    """An agent's span has the agent's name, and its own tokens and cost."""
    told: dict[str, Value] = {
        "logfire.msg": "trip run",
        "agent_name": "trip",
        "all_messages_events": '[{"role": "user", "content": "Where?"}]',
        "final_result": "In Kyoto.",
        "gen_ai.usage.input_tokens": 12,
        "operation.cost": 0.25,
    }
    assert map_call("agent run", told) == expect(
        "agent run",
        without(told, "all_messages_events", "final_result"),
        kind="agent",
        dialect="logfire",
        model="trip",
        input_tokens=12,
        cost=0.25,
        inputs='[{"role":"user","content":"Where?"}]',
        inputs_preview="Where?",
        outputs='"In Kyoto."',
        outputs_preview="In Kyoto.",
    )


def test_tool() -> None:
    """A span with tool arguments is a tool."""
    told: dict[str, Value] = {
        "logfire.msg": "running tool: find",
        "gen_ai.tool.name": "find",
        "tool_arguments": '{"city": "Kyoto"}',
        "tool_response": "21",
    }
    run = map_call("running tool", told)
    assert (run.kind, run.model, run.inputs, run.outputs) == (
        "tool",
        "find",
        '{"city":"Kyoto"}',
        '"21"',
    )


@pytest.mark.parametrize(
    ("level", "fields", "outcome", "message"),
    [
        (9, {}, "ok", ""),
        (17, {}, "error", "It broke"),
        ("21", {}, "error", "It broke"),
        (17, {"status_message": "why"}, "error", "why"),
        (
            17,
            {"events": [Event("exception", NOW_NS, {"exception.message": "because"})]},
            "error",
            "because",
        ),
    ],
)
def test_level(level: Value, fields: dict[str, Any], outcome: str, message: str) -> None:
    """A span of level error failed, and has the most specific error message."""
    run = map_call("it", {"logfire.level_num": level, "logfire.msg": "It broke"}, **fields)
    assert (run.outcome, run.error_message) == (outcome, message)


@pytest.mark.parametrize(
    ("said", "value", "told"),
    [
        (0.5, 0.5, {}),
        (True, None, {"passed": True}),
        ("good", None, {"label": "good"}),
        ("5", None, {"label": "5"}),
    ],
)
def test_annotation(said: Value, value: float | None, told: dict[str, Any]) -> None:
    """A human annotation is a score of the parent span."""
    attributes: dict[str, Value] = {
        "logfire.span_type": "annotation",
        "logfire.feedback.name": "helpful",
        "logfire.feedback.comment": "Yes",
        "helpful": said,
    }
    span = make_span(
        "feedback", attributes, trace_id=TRACE, span_id=span_id(9), parent_span_id=SPAN
    )
    records = map_all(span)
    assert records.metrics == [
        expect_score(
            "helpful",
            value,
            owner_start_ns=0,
            source="human",
            explanation="Yes",
            record_id=span_id(9).hex(),
            **told,
        )
    ]
    assert [run.kind for run in records.runs] == ["span"]


@pytest.mark.parametrize("missing", ["logfire.feedback.name", "helpful", "parent"])
def test_no_annotation(missing: str) -> None:
    """An annotation without a name, a value or a parent is not a score."""
    attributes: dict[str, Value] = {
        "logfire.span_type": "annotation",
        "logfire.feedback.name": "helpful",
        "helpful": 1,
    }
    attributes.pop(missing, None)
    parent = b"" if missing == "parent" else SPAN
    assert map_all(make_span("feedback", attributes, parent_span_id=parent)).metrics == []


@pytest.mark.parametrize(
    ("parent", "parent_span_id"),
    [("0000000000000003", span_id(3)), ("0" * 16, b""), ("x" * 16, b""), (7, b"")],
)
def test_pending(parent: Value, parent_span_id: bytes) -> None:
    """A pending span opens the run that it announces."""
    told: dict[str, Value] = {
        "logfire.span_type": "pending_span",
        "logfire.pending_parent_id": parent,
        "logfire.msg": "fit",
    }
    pending = make_span("fit", told, trace_id=TRACE, span_id=span_id(9), parent_span_id=SPAN)
    records = map_all(pending)
    assert (records.runs, [replace(run, rank=0) for run in records.open_runs]) == (
        [],
        [
            expect(
                "fit",
                {"logfire.msg": "fit"},
                kind="span",
                dialect="logfire",
                model="",
                outcome="running",
                parent_span_id=parent_span_id,
                end_ns=NOW_NS,
            )
        ],
    )


def test_pending_nothing() -> None:
    """A pending span that has no parent to announce is rejected."""
    told: dict[str, Value] = {
        "logfire.span_type": "pending_span",
        "logfire.pending_parent_id": "0" * 16,
    }
    assert map_all(make_span("fit", told)).rejected == {"record_without_target": 1}
