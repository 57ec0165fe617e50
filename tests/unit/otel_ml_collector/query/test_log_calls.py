"""Tests of log records that report calls, and of those that are lines of a session.

Records of real programs are tested in tests/process/recorded/test_programs.py.
"""

from dataclasses import replace
from typing import Any, Final

import pytest

from otel_ml_collector.span import Log, Value
from tests.support.otel_ml_collector.logs import make_log, map_all
from tests.support.otel_ml_collector.spans import NOW_NS

USED: Final[dict[str, Value]] = {"model": "gpt-4o", "input_tokens": "12", "output_tokens": 4}


def test_unknown_program() -> None:
    """A record of any program with a model and token counts, but no trace, is a call."""
    log = make_log("done", {**USED, "session.id": "s-1", "cost_usd": 0.25}, event="api_request")
    (run,) = map_all(log).runs
    told = (run.kind, run.model, run.input_tokens, run.output_tokens, run.cost, run.session)
    assert told == ("model", "gpt-4o", 12, 4, 0.25, "s-1")
    assert not map_all(log).logs


@pytest.mark.parametrize(
    "changed",
    [{"model": ""}, {"input_tokens": None}, {"output_tokens": ""}],
    ids=repr,
)
def test_no_call(changed: dict[str, Value]) -> None:
    """A record that lacks the model, the input or the output tokens is a line of its session."""
    records = map_all(make_log("done", {**USED, **changed, "session.id": "s-1"}))
    assert (len(records.runs), len(records.logs)) == (0, 1)
    assert records.logs[0].owner.startswith("key:")


def test_record_of_a_trace() -> None:
    """A record with a trace is a line, because the span is the call."""
    records = map_all(make_log("done", USED, trace_id=b"\1" * 16, span_id=b"\2" * 8))
    assert (len(records.runs), len(records.logs)) == (0, 1)


def test_event_that_lost_its_span() -> None:
    """A GenAI details event without IDs is a call, because no span shows the call."""
    event = "gen_ai.client.inference.operation.details"
    (run,) = map_all(make_log("done", USED, event=event)).runs
    assert (run.kind, run.input_tokens, run.output_tokens) == ("model", 12, 4)


def test_same_record() -> None:
    """A record that is sent twice is one run. A different record is another run."""
    log = make_log("done", USED)
    other = replace(log, time_ns=NOW_NS + 1)
    ids = [map_all(one).runs[0].run_id for one in (log, log, other)]
    assert (ids[0] == ids[1], ids[0] == ids[2]) == (True, False)


@pytest.mark.parametrize(
    ("changed", "tokens"),
    [
        ({"input_tokens": "many"}, (None, 4)),
        ({"output_tokens": -4}, (12, None)),
        ({"input_tokens": [12]}, (None, 4)),
        ({"cost_usd": -1.0}, (12, 4)),
    ],
    ids=repr,
)
def test_bad_counts(changed: dict[str, Value], tokens: tuple[int | None, int | None]) -> None:
    """An invalid count is ignored, and stays among the attributes."""
    (run,) = map_all(make_log("done", {**USED, **changed})).runs
    assert (run.input_tokens, run.output_tokens, run.cost) == (*tokens, None)
    assert all(f'"{name}":' in run.attributes for name in changed)


def test_failed_call() -> None:
    """An error record of a call is a failed call with its error."""
    log = make_log(
        None,
        {
            "event.name": "gemini_cli.api_error",
            "model": "gemini-2.5-flash",
            "error": "Resource exhausted",
            "error_type": "ApiError",
            "duration_ms": 1_000,
            "session.id": "s-1",
        },
        scope=replace(make_log().scope, name="gemini-cli"),
    )
    (run,) = map_all(log).runs
    told = (run.kind, run.outcome, run.error_type, run.error_message, run.end_ns - run.start_ns)
    assert told == ("model", "error", "ApiError", "Resource exhausted", 10**9)


def test_event_of_rust() -> None:
    """The event name is read from the attribute if the field holds a place in a source file."""
    log = make_log(
        "line",
        {"event.name": "app.started", "session.id": "s-1"},
        event="event src/session.rs:803",
    )
    assert map_all(log).logs[0].event == "app.started"


def test_delta() -> None:
    """The record of each piece of a streamed answer is counted and not stored."""
    log = make_log(
        None,
        {"event.name": "codex.sse_event", "event.kind": "response.output_text.delta"},
        scope=replace(make_log().scope, name="codex_otel.log_only"),
    )
    records = map_all(log)
    assert (records.logs, dict(records.rejected)) == ([], {"stream_delta": 1})


def make_claude(event: str, **attributes: Value) -> Log:
    """Make a log record of Claude Code without a trace."""
    return make_log(
        f"claude_code.{event}",
        {"event.name": event, "session.id": "s-17", **attributes},
        scope=replace(make_log().scope, name="com.anthropic.claude_code.events"),
    )


def test_claude_code_without_traces() -> None:
    """Claude Code's log records without traces become calls, tools, questions and answers."""
    logs = (
        make_claude("user_prompt", prompt="Where?"),
        make_claude(
            "api_request",
            model="claude-sonnet-4-5",
            input_tokens=2,
            output_tokens=1_200,
            cache_read_tokens=84_562,
            cache_creation_tokens=7_096,
            cost_usd=0.07,
        ),
        make_claude("tool_result", tool_name="Bash", success="false", error="no such file"),
        make_claude("assistant_response", response="In Kyoto."),
    )
    asked, call, tool, answered = map_all(*logs).runs
    assert (asked.kind, asked.inputs_preview) == ("chain", "Where?")
    assert (call.kind, call.model, call.cost) == ("model", "claude-sonnet-4-5", 0.07)
    assert (call.input_tokens, call.cached_tokens) == (91_660, 84_562)
    assert (tool.kind, tool.model, tool.outcome) == ("tool", "Bash", "error")
    assert (answered.kind, answered.outputs_preview) == ("chain", "In Kyoto.")
    assert {run.session for run in (asked, call, tool, answered)} == {"s-17"}


def test_claude_code_with_traces() -> None:
    """With traces, the spans are the calls, and the texts are content of their spans."""
    ids: dict[str, Any] = {"trace_id": bytes(15) + b"\1", "span_id": bytes(7) + b"\2"}
    call = replace(make_claude("api_request", model="m", input_tokens=1, output_tokens=1), **ids)
    answer = replace(make_claude("assistant_response", response="In Kyoto."), **ids)
    records = map_all(call, answer)
    assert records.runs == []
    assert [(line.event, line.line.message) for line in records.logs] == [
        ("api_request", "claude_code.api_request"),
        ("gen_ai.choice", '{"message":{"content":"In Kyoto."}}'),
    ]
