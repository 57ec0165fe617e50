"""Tests of GenAI events on spans: inputs, outputs and evaluations of a call."""

import json
import random
from dataclasses import replace
from typing import Any, Final

import pytest

from otel_ml_collector.mapping.dialects.gen_ai_events import CallEvent, read_events
from otel_ml_collector.mapping.run_columns import RunColumns
from otel_ml_collector.records import Run
from otel_ml_collector.span import Event, Value
from tests.support.otel_ml_collector.logs import make_log
from tests.support.otel_ml_collector.logs import map_all as map_logs
from tests.support.otel_ml_collector.spans import NOW_NS, make_span, map_all, map_one

CHAT: Final[dict[str, Value]] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.request.model": "gpt-4o",
    "gen_ai.system": "openai",
}
DETAILS: Final = "gen_ai.client.inference.operation.details"
ASKED: Final[list[Value]] = [{"role": "user", "parts": [{"type": "text", "content": "Where?"}]}]
GAVE: Final[list[Value]] = [{"role": "assistant", "parts": [{"type": "text", "content": "Here."}]}]


def event(name: str, offset: int, **told: Value) -> Event:
    return Event(name, NOW_NS + offset, told)


def call(*events: Event, **told: Value) -> Run:
    return map_one(make_span("chat gpt-4o", {**CHAT, **told}, events=list(events)))


def content(run: Run) -> tuple[Any, Any]:
    """Return the inputs and outputs of a run, or None if missing."""
    inputs, outputs = (json.loads(text) if text else None for text in (run.inputs, run.outputs))
    return inputs, outputs


def test_whole_content() -> None:
    """The former prompt and completion events hold the inputs and outputs."""
    run = call(
        event("gen_ai.content.completion", 9, **{"gen_ai.completion": json.dumps(GAVE)}),
        event("gen_ai.content.prompt", 1, **{"gen_ai.prompt": json.dumps(ASKED)}),
    )
    assert content(run) == (ASKED, GAVE)
    assert (run.inputs_preview, run.outputs_preview) == ("Where?", "Here.")


def test_whole_content_encoded_twice() -> None:
    """Messages of an event that are JSON-encoded twice are decoded."""
    twice = json.dumps(json.dumps(ASKED))
    run = call(event("gen_ai.content.prompt", 1, **{"gen_ai.prompt": twice}))
    assert json.loads(run.inputs) == ASKED


def test_whole_content_in_parts() -> None:
    """Several prompt events are joined by time. A completion that is plain text stays text."""
    run = call(
        event("gen_ai.content.prompt", 2, **{"gen_ai.prompt": json.dumps(GAVE)}),
        event("gen_ai.content.prompt", 1, **{"gen_ai.prompt": json.dumps(ASKED)}),
        event("gen_ai.content.completion", 3, **{"gen_ai.completion": "Here."}),
    )
    assert content(run) == ([*ASKED, *GAVE], "Here.")


def test_messages() -> None:
    """Message events are the inputs, sorted by time. Choices are the outputs, sorted by index."""
    run = call(
        event("gen_ai.choice", 9, index=1, finish_reason="stop", message="There."),
        event("gen_ai.choice", 9, index=0, finish_reason="length", message="Here."),
        event("gen_ai.tool.message", 3, content="12", id="c-1"),
        event("gen_ai.user.message", 1, content="Where?"),
        event("gen_ai.system.message", 0, content="Be brief."),
        event("gen_ai.assistant.message", 2, tool_calls='[{"id": "c-1", "type": "function"}]'),
    )
    assert content(run) == (
        [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Where?"},
            {"role": "assistant", "tool_calls": [{"id": "c-1", "type": "function"}]},
            {"role": "tool", "content": "12", "id": "c-1"},
        ],
        [
            {"role": "assistant", "content": "Here.", "finish_reason": "length"},
            {"role": "assistant", "content": "There.", "finish_reason": "stop"},
        ],
    )


def test_same_moment() -> None:
    """Messages with the same time are sorted by role: system, user, assistant, tool."""
    run = call(
        event("gen_ai.tool.message", 0, content="t"),
        event("gen_ai.assistant.message", 0, content="a"),
        event("gen_ai.user.message", 0, content="u"),
        event("gen_ai.system.message", 0, content="s"),
    )
    assert [message["role"] for message in content(run)[0]] == [
        "system",
        "user",
        "assistant",
        "tool",
    ]


def test_content_as_json() -> None:
    """The body of an event may be a single attribute in JSON."""
    body = {"role": "developer", "content": "Be brief."}
    answer = {"index": 0, "message": {"role": "assistant", "content": "Yes."}}
    run = call(
        Event("gen_ai.system.message", NOW_NS, {"gen_ai.event.content": json.dumps(body)}),
        Event("gen_ai.choice", NOW_NS, {"gen_ai.event.content": json.dumps(answer)}),
    )
    assert content(run) == ([body], [{"role": "assistant", "content": "Yes."}])


def test_details() -> None:
    """The details event of a call holds its payload and its tokens."""
    told: dict[str, Value] = {
        "gen_ai.system_instructions": [{"type": "text", "content": "Be brief."}],
        "gen_ai.input.messages": ASKED,
        "gen_ai.output.messages": GAVE,
        "gen_ai.usage.input_tokens": 0,
        "gen_ai.usage.output_tokens": 7,
    }
    run = call(Event(DETAILS, NOW_NS, told))
    instructions = {"role": "system", "parts": told["gen_ai.system_instructions"]}
    assert content(run) == ([instructions, *ASKED], GAVE)
    assert (run.input_tokens, run.output_tokens) == (0, 7)


def test_details_before_messages() -> None:
    """The details event takes precedence over individual message events."""
    run = call(
        event("gen_ai.user.message", 0, content="no"),
        event("gen_ai.choice", 0, message={"content": "kept"}),
        Event(DETAILS, NOW_NS, {"gen_ai.input.messages": ASKED}),
    )
    assert content(run) == (ASKED, [{"role": "assistant", "content": "kept"}])


def test_attributes_before_events() -> None:
    """Attributes of the span take precedence over its events, field by field."""
    named: dict[str, Value] = {
        "gen_ai.input.messages": json.dumps(ASKED),
        "gen_ai.usage.input_tokens": 3,
    }
    run = call(
        event("gen_ai.user.message", 0, content="no"),
        event("gen_ai.choice", 0, message="Here."),
        Event(DETAILS, NOW_NS, {"gen_ai.usage.input_tokens": 9, "gen_ai.usage.output_tokens": 9}),
        **named,
    )
    assert content(run) == (ASKED, [{"role": "assistant", "content": "Here."}])
    assert (run.input_tokens, run.output_tokens) == (3, 9)


def test_no_events() -> None:
    """Other events of a call are not content."""
    run = call(event("token", 0, content="x"), event("exception", 0))
    assert content(run) == (None, None)


@pytest.mark.parametrize(
    ("body", "attributes", "message"),
    [
        ({"content": "x", "role": "user"}, {"gen_ai.system": "openai"}, {"content": "x"}),
        ("x", {}, {"content": "x"}),
        (["x"], {}, {"content": ["x"]}),
        (None, {"content": "42", "gen_ai.system": "a"}, {"content": "42"}),
        (None, {"content": "[broken"}, {"content": "[broken"}),
        (None, {}, {}),
    ],
)
def test_body(body: Value, attributes: dict[str, Value], message: dict[str, Any]) -> None:
    """A message's fields are read from its body, else from the attributes without a dot."""
    found = RunColumns(1)
    read_events([CallEvent("gen_ai.user.message", NOW_NS, body, attributes)], found)
    assert found.row(0)["inputs"][0] == [{"role": "user", **message}]


def test_order() -> None:
    """The order of the events makes no difference."""
    events = [
        CallEvent("gen_ai.user.message", NOW_NS + time, {"content": text}, {})
        for time in (0, 1)
        for text in ("a", "b")
    ]
    events += [
        CallEvent("gen_ai.choice", NOW_NS, {"index": 0, "message": {"n": n}}, {}) for n in (1, 2)
    ]
    events += [
        CallEvent(DETAILS, NOW_NS + time, None, {"gen_ai.usage.input_tokens": 10 * time + count})
        for time in (0, 1)
        for count in (1, 2)
    ]
    found = []
    for seed in range(20):
        told = RunColumns(1)
        read_events(random.Random(seed).sample(events, len(events)), told)  # noqa: S311 - guards nothing
        found.append(told.row(0))
    assert all(one == found[0] for one in found)
    assert found[0]["input_tokens"] == 12


@pytest.mark.parametrize("name", ["exception", "gen_ai.client.operation.exception"])
def test_exception(name: str) -> None:
    """The exception of a call is read from either event."""
    told: dict[str, Value] = {"exception.type": "Timeout", "exception.message": "60 s"}
    span = make_span("chat", CHAT, events=[Event(name, NOW_NS, told)], status_code=2)
    run = map_one(span)
    assert (run.outcome, run.error_type, run.error_message) == ("error", "Timeout", "60 s")


@pytest.mark.parametrize("attributes", [{}, CHAT, {"otel_ml.model.name": "answer"}])
def test_evaluation(attributes: dict[str, Value]) -> None:
    """An evaluation gives the same score as a span event and as a log record."""
    told: dict[str, Value] = {
        "gen_ai.evaluation.name": "relevance",
        "gen_ai.evaluation.score.value": 0.5,
        "gen_ai.evaluation.score.label": "fail",
        "gen_ai.evaluation.explanation": "Off.",
        "otel_ml.judge.version": "aa",
    }
    name = "gen_ai.evaluation.result"
    span = make_span("call", attributes, events=[Event(name, NOW_NS, told)])
    (as_event,) = map_all(span).metrics
    (as_log,) = map_logs(make_log(None, told, of=span, event=name)).metrics
    assert as_event.owner_start_ns == NOW_NS
    assert replace(as_event, owner_start_ns=0) == as_log
    assert (as_log.value, as_log.passed, as_log.error) == (0.5, False, "")


def test_evaluation_without_a_judge() -> None:
    """An evaluation event that names no judge is not a score."""
    told: dict[str, Value] = {"gen_ai.evaluation.score.value": 0.5}
    assert map_all(make_span(events=[Event("gen_ai.evaluation.result", 1, told)])).metrics == []
