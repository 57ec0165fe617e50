"""Tests of conversations: the messages of a run as a reader sees them, in order."""

from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_ml.records import Tokens
from otel_ml_collector.runs.answers import Run, RunSummary
from otel_ml_collector.traces.conversation import (
    Attachment,
    Conversation,
    Entry,
    find_conversation,
    render_markdown,
)
from otel_ml_collector.web.payload import write_raw
from tests.support.browser.trips import MESSAGES, poster
from tests.unit.otel_ml_collector.web.values import json_values

RUN = "0" * 31 + "1-" + "0" * 15
AWAY = 'rel="noopener noreferrer nofollow" target="_blank"'
ASKED = {"role": "user", "content": "Where?"}
CALL = {"id": "c1", "function": {"name": "find", "arguments": '{"what": "it"}'}}
CALLED = {"role": "assistant", "tool_calls": [CALL]}
FOUND = {"role": "tool", "tool_call_id": "c1", "content": "under the bed"}


def make(record: type[Any], **told: Any) -> Any:
    """Make a run or summary with some fields set, and the others empty."""
    names = [one.name for one in fields(record)]
    empty: dict[str, Any] = dict.fromkeys(names, "")
    empty |= {"project": "p", "run_id": f"{RUN}1", "parent_run_id": None, "outcome": "ok"}
    empty |= {"kind": "model", "version": None, "latency_ms": 7.0, "start_ns": 9, "attributes": {}}
    known = {**empty, "tokens": Tokens(), **told}
    return record(**{name: known[name] for name in names})


def talk(inputs: Any, outputs: Any, *trace: RunSummary, **told: Any) -> Conversation:
    run = make(Run, inputs=inputs, outputs=outputs, **told)
    found = find_conversation(run, trace)
    assert found is not None
    return found


def kinds(found: Conversation) -> list[tuple[str, str]]:
    return [(entry.kind, entry.text) for entry in found.entries]


def test_what_was_said_in_order() -> None:
    """System, user, thought, call and answer are in order, with the result below its call."""
    found = talk({"messages": MESSAGES}, {"choices": [{"message": said("**Yes**")}]})
    assert [entry.kind for entry in found.entries] == [
        *("system", "user", "assistant", "user", "thought", "tool", "tool"),
        "final",
    ]
    refused, call, answer = found.entries[2], found.entries[5], found.entries[7]
    assert refused.is_refused
    assert (call.name, call.text, call.result) == (
        "weather",
        'city="Paris", day="2026-11-28"',
        '{"dry_until": "15:00", "rain": 0.8}',
    )
    assert answer.html == "<p><strong>Yes</strong></p>\n"
    assert (found.total, found.answers) == (7, 1)


def test_an_image_is_drawn_beside_its_text() -> None:
    """An image in a message is drawn, and captioned with its type, size and bytes."""
    asked = talk({"messages": MESSAGES}, "Yes").entries[3]
    assert asked.attachments == [Attachment("image/png, 128 \u00d7 96, 426 bytes", poster())]


@pytest.mark.parametrize(
    ("part", "caption"),
    [
        (
            {"type": "image_url", "image_url": {"url": "https://e.x/a.png"}},
            "image, https://e.x/a.png, not stored",
        ),
        (
            {"type": "blob", "modality": "image", "mime_type": "image/png", "byte_size": 2_000},
            "image/png, 2.0 kB, not stored",
        ),
        (
            {"type": "image", "source": {"media_type": "image/png", "data": "AAAA"}},
            "image/png, 3 bytes, not shown: it is declared as image/png, but is something else",
        ),
    ],
)
def test_an_image_that_is_not_drawn(part: dict[str, Any], caption: str) -> None:
    """For an image that is not stored or not valid, only its type and size are shown."""
    [entry] = talk([{"role": "user", "content": [part]}], None).entries
    assert entry.attachments == [Attachment(caption)]


def test_a_call_links_the_run_of_its_tool() -> None:
    """A call links the run with the same inputs, whose output is shown if no message has it."""
    other = make(RunSummary, run_id=f"{RUN}2", kind="tool", model="find", inputs="that")
    tool = make(
        RunSummary, run_id=f"{RUN}3", kind="tool", model="find", inputs="it", outputs="there"
    )
    found = talk([ASKED], CALLED, other, tool)
    assert [(entry.run, entry.result) for entry in found.entries] == [(None, None), (tool, "there")]


def test_a_call_that_may_be_another_links_nothing() -> None:
    """A call does not link a run that it may not have started."""
    tools = [
        make(RunSummary, run_id=f"{RUN}{n}", kind="tool", model="find", inputs=str(n))
        for n in (2, 3)
    ]
    assert [entry.run for entry in talk([ASKED], CALLED, *tools).entries] == [None, None]


def test_a_graph_that_returns_all_its_messages() -> None:
    """If all messages are returned as output, the inputs are shown only once."""
    found = talk({"messages": [ASKED]}, {"messages": [ASKED, CALLED, FOUND, said("There.")]})
    assert kinds(found) == [("user", "Where?"), ("tool", 'what="it"'), ("final", "There.")]


def test_an_empty_text_beside_a_call() -> None:
    """An empty text next to a call, as streams write it, is not a separate message."""
    parts = [{"type": "text", "content": ""}, {"type": "tool_call", "name": "find"}]
    found = talk([ASKED], [{"role": "assistant", "parts": parts}])
    assert kinds(found) == [("user", "Where?"), ("tool", "")]


def said(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def test_an_error_stands_where_the_answer_would() -> None:
    """A failed run shows the partial answer, then its error."""
    failed = {"outcome": "error", "error_type": "openai.RateLimitError", "error_message": "slow"}
    before = make(
        RunSummary, run_id=f"{RUN}2", parent_run_id="a", start_ns=1, outputs="Yes", **failed
    )
    this = make(RunSummary, parent_run_id="a")
    found = talk([ASKED], "Yes, it", before, this, parent_run_id="a", **failed)
    assert [(one.kind, one.title, one.text, one.error) for one in found.entries[1:]] == [
        ("error", "earlier attempt", "Yes", "slow"),
        ("error", "answer", "Yes, it", "slow"),
    ]


@pytest.mark.parametrize("shown", ["slow", "RateLimitError: slow"])
def test_an_error_is_told_once(shown: str) -> None:
    """The preview of a failed attempt is not shown again, even in the form of older stores."""
    failed = {"outcome": "error", "error_type": "openai.RateLimitError", "error_message": "slow"}
    before = make(
        RunSummary, run_id=f"{RUN}2", parent_run_id="a", start_ns=1, outputs=shown, **failed
    )
    this = make(RunSummary, parent_run_id="a")
    found = talk([ASKED], "Yes", before, this, parent_run_id="a")
    assert [(one.text, one.error) for one in found.entries[1:]] == [("", "slow"), ("Yes", "")]


@pytest.mark.parametrize(
    ("given", "result"),
    [
        ({"output": {"type": "text", "value": "Sunny"}}, "Sunny"),
        (
            {"output": {"type": "json", "value": {"sunny": True, "rain": 0}}},
            '{"sunny":true,"rain":0}',
        ),
        ({"output": {"type": "json", "value": {"sky": "Sunny"}}}, "Sunny"),
        ({"output": {"type": "json", "value": [1, 2]}}, "[1,2]"),
        ({"output": {"type": "error-text", "value": "No station"}}, "No station"),
        (
            {"output": {"type": "content", "value": [{"type": "text", "text": "Sunny"}]}},
            "Sunny",
        ),
        ({"result": {"sky": "Sunny"}}, "Sunny"),
        ({"result": 21}, "21"),
    ],
)
def test_a_tool_result_of_the_ai_sdk(given: dict[str, Any], result: str) -> None:
    """A tool result of Vercel's AI SDK, in any format, is shown as text below its call."""
    calls = [{"type": "tool-call", "toolCallId": "c1", "toolName": "find", "input": {"what": "it"}}]
    gave = [{"type": "tool-result", "toolCallId": "c1", "toolName": "find", **given}]
    found = talk(
        [ASKED, {"role": "assistant", "content": calls}, {"role": "tool", "content": gave}],
        "Sunny.",
    )
    assert [(one.kind, one.name, one.result) for one in found.entries[1:]] == [
        ("tool", "find", result),
        ("final", "", None),
    ]


@pytest.mark.parametrize(
    "answer",
    [
        {"message": {"role": "assistant", "content": "It **is**."}, "usage": {"total_tokens": 3}},
        {"combined_chunk_content": "It **is**.", "chunk_count": 3},
        {"choices": [{"message": {"content": "It **is**."}}]},
    ],
    ids=["Logfire", "Logfire, streamed", "without a role"],
)
def test_an_answer_beside_its_usage(answer: dict[str, Any]) -> None:
    """An answer inside an object with other data is shown as text."""
    (entry,) = talk([ASKED], answer).entries[1:]
    assert (entry.kind, entry.text, entry.raw) == ("final", "It **is**.", None)
    assert entry.html == "<p>It <strong>is</strong>.</p>\n"


def test_an_answer_that_is_an_object() -> None:
    """A structured answer is shown as JSON."""
    answer = talk([ASKED], {"city": "Paris", "temp": 21}).entries[-1]
    assert answer.raw is not None
    assert answer.raw.text == '{\n  "city": "Paris",\n  "temp": 21\n}'


def test_long_conversations_are_read_in_parts() -> None:
    """A long conversation starts with its last fifty messages, and links to the earlier ones."""
    run = make(Run, inputs=[{**ASKED, "content": str(n)} for n in range(120)], outputs="Yes")
    last, first = find_conversation(run, ()), find_conversation(run, (), 20)
    assert last is not None
    assert first is not None
    assert (last.first, last.end, last.earlier, last.later) == (70, 120, 70, 0)
    assert last.entries[-1].kind == "final"
    assert (first.first, first.end, first.earlier, first.later) == (0, 20, 0, 70)
    assert [entry.text for entry in first.entries] == [str(n) for n in range(20)]


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("<b onclick=x>a</b>", "<p>&lt;b onclick=x&gt;a&lt;/b&gt;</p>\n"),
        ("[a](javascript:alert)", "<p>[a](javascript:alert)</p>\n"),
        ("[a](/sign-out)", "<p>[a](/sign-out)</p>\n"),
        ("[a](https://e.x)", f'<p><a href="https://e.x" {AWAY}>a</a></p>\n'),
        ("![a<](https://e.x/seen.png)", "<p>[image: a&lt;]</p>\n"),
        ("# a", "<p><strong>a</strong></p>\n"),
        ("a\nb", "<p>a<br />\nb</p>\n"),
        ("&#x202E;a\u202e", "<p>[U+202E]a[U+202E]</p>\n"),
    ],
)
def test_markdown(text: str, html: str) -> None:
    """Markdown is rendered without the text's own HTML, remote images or unsafe links."""
    assert render_markdown(text) == html


@pytest.mark.parametrize("text", ["[" * 4_000, "*a_ " * 1_000, "![x](" * 800, "|a|b|\n" * 900])
def test_a_text_of_nothing_but_marks_stays_text(text: str) -> None:
    """A text that would take Markdown long to parse is shown as plain text."""
    [entry] = talk([said(text)], None).entries
    assert entry.html is None
    assert entry.text == text[:4_000]


_WORDS = st.sampled_from(
    (
        *("role", "type", "content", "parts", "tool_calls", "function", "arguments", "id", "name"),
        *("finish_reason", "refusal", "tool_call_id", "toolName", "text", "url", "mime_type"),
    )
)
_KINDS = st.sampled_from(
    (
        *("assistant", "tool", "text", "tool_call", "tool-call", "blob", "uri", "reasoning"),
        "image_url",
    )
)
_PART = st.dictionaries(_WORDS, _KINDS | json_values, max_size=6)
_MESSAGE = st.dictionaries(_WORDS, _KINDS | json_values | _PART | st.lists(_PART), max_size=6)


@given(st.lists(_MESSAGE), st.lists(_MESSAGE), json_values)
def test_any_message(asked: Any, answered: Any, operation: Any) -> None:
    """Messages with any value in any field are read without an error."""
    run = make(
        Run,
        inputs={"messages": asked},
        outputs={"choices": [{"message": one, "finish_reason": one} for one in answered]},
        attributes={"gen_ai.operation.name": operation},
    )
    found = find_conversation(run, [])
    assert isinstance(found, Conversation | None)


@given(json_values, json_values)
def test_any_value(inputs: Any, outputs: Any) -> None:
    """Any inputs and outputs are read without an error, as a conversation or as none."""
    run = make(Run, inputs=inputs, outputs=outputs)
    assert isinstance(find_conversation(run, ()), Conversation | None)


def test_no_conversation() -> None:
    """The inputs and output of a plain function are not a conversation."""
    assert find_conversation(make(Run, inputs={"x": 1}, outputs="y"), ()) is None


def test_the_head_of_what_is_folded() -> None:
    """The head of a folded text is its first line."""
    assert Entry("thought", "thought", "\nfirst\nsecond").head == "first"


@pytest.mark.parametrize(
    "inputs",
    [
        {"topic": "cats", "style": 3},
        {"rows": [[1, 2], [3, 4]]},
        {"topic": "cats", "system": "Be kind"},
        {"messages": [], "topic": "cats"},
        ["cats", "dogs"],
        7,
    ],
)
def test_inputs_that_are_no_messages_are_shown(inputs: Any) -> None:
    """A call whose parameters are not messages shows its inputs above the answer."""
    found = talk(inputs, {"choices": [{"message": said("Yes")}]})
    shown = [entry for entry in found.entries if entry.title == "input"]
    assert [entry.raw for entry in shown] == [write_raw(inputs)]
    assert found.entries[-1].kind == "final"
    asked = talk({"prompt": "cats"}, {"choices": [{"message": said("Yes")}]})
    assert [entry.title for entry in asked.entries] == ["user", "answer"]


def test_parameters_are_shown_without_an_input() -> None:
    """If a call recorded parameters but no input, its conversation starts with the parameters."""
    found = talk(None, {"role": "assistant", "content": "Hi"}, params={"top_k": 3})
    first, answer = found.entries
    assert (first.title, first.raw) == ("parameters", write_raw({"top_k": 3}))
    assert answer.text == "Hi"
