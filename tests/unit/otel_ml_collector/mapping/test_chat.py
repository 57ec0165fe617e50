"""Tests of finding the messages in a payload, and of its one-line preview."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_ml.genai.messages import join_chunks, read_message
from otel_ml_collector.mapping.chat import (
    find_messages,
    line_in,
    line_of_error,
    line_out,
    text_of_part,
)
from tests.support.otel_ml.genai.responses import (
    ANTHROPIC,
    ANTHROPIC_EVENTS,
    CHAT,
    CHAT_CHUNKS,
    COMPLETION,
    EMBEDDINGS,
    RESPONSE,
)
from tests.unit.otel_ml_collector.web.values import json_values

LONG = "word " * 100
USER = {"role": "user", "content": "Where?"}
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}


@pytest.mark.parametrize("line", [line_in, line_out])
@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        ("", ""),
        ("one line", "one line"),
        ("two\n  lines\t of text ", "two lines of text"),
        (3, "3"),
        (0.5, "0.5"),
        (True, "true"),
        ([], "[]"),
        ({}, ""),
        ([1, 2], "[1,2]"),
        ({"question": "Where?"}, "Where?"),
        ({"question": None}, ""),
        ({"a": {"b": {"c": "deep"}}}, "deep"),
        ([{"role": "user", "content": "first"}, {"role": "user", "content": "last"}], "last"),
        ([{"role": "user", "parts": [{"content": "one"}, {"text": "two"}]}], "one two"),
        ({"messages": [{"role": "user", "content": "only"}]}, "only"),
        ([{"role": "assistant", "content": None}], ""),
        ([{"role": "assistant", "parts": [{"type": "tool_call", "name": "f"}]}], "f()"),
        (
            [
                {
                    "role": "assistant",
                    "parts": [
                        {"type": "text", "content": ""},
                        {"type": "tool_call", "name": "f"},
                    ],
                }
            ],
            "f()",
        ),
        ([{"role": "user"}], ""),
        ([{"question": "Where?", "n": 1}, {"question": "When?", "n": 2}], "Where?"),
        ({"type": "human", "content": "Where?"}, "Where?"),
        (b"\x00\xff", '"AP8="'),
    ],
    ids=repr,
)
def test_line(line: Any, value: object, text: str) -> None:
    """The preview is the text a reader would look for, in inputs and outputs alike."""
    assert line(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": 1, "b": "two", "c": None, "d": [1]}, '{"a": 1, "b": "two", "c": null, "d": [1]}'),
        ({"question": "Where?", "context": "Kyoto"}, "Where?"),
        ({"model": "gpt-4o", "question": "Where?"}, "Where?"),
        ({"model": "gpt-4o", "messages": [USER], "temperature": 0.5}, "Where?"),
        ({"chat": [USER, {"role": "assistant", "content": "In Kyoto."}], "n": 1}, "Where?"),
        (
            [
                USER,
                {"role": "assistant", "content": [{"type": "tool_use", "name": "f", "input": {}}]},
                {"role": "user", "content": [{"type": "tool_result", "content": "found"}]},
            ],
            "Where?",
        ),
        ({"input": ["a", "b"], "model": "e"}, '{"input": ["a","b"], "model": "e"}'),
        (
            [{"role": "MessageRole.USER", "content": "Where?"}, {"role": "tool", "content": "a"}],
            "Where?",
        ),
    ],
    ids=repr,
)
def test_question(value: object, text: str) -> None:
    """The preview of inputs is the last question, wherever it is."""
    assert line_in(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (CHAT, "hi"),
        (COMPLETION, "hi"),
        (RESPONSE, "hi"),
        (ANTHROPIC, "hi"),
        (join_chunks(CHAT_CHUNKS), "hi"),
        (join_chunks(ANTHROPIC_EVENTS), line_out(ANTHROPIC)),
        (EMBEDDINGS, "1 \u00d7 2"),
        ({"choices": [{"message": {"role": "assistant", "tool_calls": [CALL]}}]}, "weather()"),
        (
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm"}]},
            "",
        ),
        (
            [
                {
                    "role": "assistant",
                    "parts": [
                        {"type": "tool_call", "name": "weather", "arguments": {"city": "Paris"}},
                        {"type": "tool_call", "name": "time", "arguments": {"zone": 1, "x": None}},
                    ],
                }
            ],
            'weather(city="Paris"), time(zone=1, x=null)',
        ),
        ({"city": "Paris", "temp": 21}, "Paris, 21"),
        ({"city": "Paris", "warm": True}, '{"city": "Paris", "warm": true}'),
        ({"city": "Paris", "sky": "grey"}, '{"city": "Paris", "sky": "grey"}'),
        ({"answer": "Paris", "topic": "cities", "score": 1}, "Paris"),
        ({"answer": "Paris", "sources": ["a"]}, "Paris"),
        ({"type": "ai", "content": "hi", "additional_kwargs": {}, "id": "run-1"}, "hi"),
        (
            {
                "type": "ai",
                "content": "",
                "tool_calls": [{"name": "f", "args": {"a": 1}, "id": "c1", "type": "tool_call"}],
            },
            "f(a=1)",
        ),
        ({"choices": ["a", "b"], "right": 1}, '{"choices": ["a","b"], "right": 1}'),
        ({"role": "admin", "name": "Ann"}, '{"role": "admin", "name": "Ann"}'),
    ],
    ids=repr,
)
def test_answer(value: object, text: str) -> None:
    """The preview of an output is the answer's text, else its tool calls, but never a key or ID."""
    assert line_out(value) == text


HUMAN = {"content": "Where?", "type": "human", "id": "1"}
AI = {"content": "In Kyoto.", "type": "ai", "id": "2", "tool_calls": []}
MADE = [
    {"lc": 1, "type": "constructor", "id": ["langchain", "HumanMessage"], "kwargs": HUMAN},
    {"lc": 1, "type": "constructor", "id": ["langchain", "AIMessage"], "kwargs": AI},
]
TOLD = [{"type": "human", "data": HUMAN}, {"type": "ai", "data": AI}]
STEP: dict[str, Any] = {"graph": None, "update": {"messages": TOLD[1:]}, "resume": None, "goto": []}


@pytest.mark.parametrize(
    ("value", "question", "answer"),
    [
        ({"messages": [HUMAN, AI]}, "Where?", "In Kyoto."),
        ({"messages": MADE}, "Where?", "In Kyoto."),
        ({"messages": TOLD}, "Where?", "In Kyoto."),
        ({"messages": [MADE]}, "Where?", "In Kyoto."),
        ([STEP], "In Kyoto.", "In Kyoto."),
        ({"inputs": {"messages": TOLD}, "tags": [], "kwargs": {}}, "Where?", "In Kyoto."),
        ({"outputs": [STEP], "kwargs": {"tags": []}}, "In Kyoto.", "In Kyoto."),
        ({"args": ["Where?"], "kwargs": {}}, "Where?", "Where?"),
        (
            {"args": [], "kwargs": {"city": "Kyoto", "days": 2}},
            *('{"city": "Kyoto", "days": 2}', "Kyoto, 2"),
        ),
        ({"args": ["Kyoto"], "kwargs": {"days": 2}}, *(['["Kyoto","days=2"]'] * 2)),
        (
            [{"name": "weather", "args": {"city": "Paris"}, "id": "1", "type": "tool_call"}],
            *(['weather(city="Paris")'] * 2),
        ),
        (
            [{"toolCallId": "1", "toolName": "weather", "input": '{"city":"Paris"}'}],
            *(['weather(city="Paris")'] * 2),
        ),
        ([{"role": "assistant", "index": 0}], "", ""),
        (
            {"reasoning": "He asks.", "answer": "In Kyoto."},
            *(['{"reasoning": "He asks.", "answer": "In Kyoto."}', "In Kyoto."]),
        ),
    ],
    ids=repr,
)
def test_frameworks(value: object, question: str, answer: str) -> None:
    """Messages inside a framework's own objects are found and previewed."""
    assert (line_in(value), line_out(value)) == (question, answer)


GIVEN = {"line": "M7", "zones": 3}
TEXT = '{"line":"M7","zones":3}'


@pytest.mark.parametrize(
    "message",
    [
        {"role": "assistant", "parts": [{"type": "tool_call", "name": "fare", "arguments": GIVEN}]},
        {
            "role": "assistant",
            "parts": [],
            "tool_calls": [{"type": "function", "function": {"name": "fare", "arguments": TEXT}}],
        },
        {"role": "assistant", "content": "", "tool_calls": [{"name": "fare", "args": GIVEN}]},
        {"role": "assistant", "tool_calls": [{"function": {"name": "fare", "arguments": TEXT}}]},
        {"tool_calls": [{"id": "c1", "name": "fare", "arguments": TEXT}]},
        {"function_call": {"name": "fare", "arguments": TEXT}},
        {"role": "assistant", "content": None, "function_call": {"name": "fare", "args": GIVEN}},
        {"role": "model", "parts": [{"functionCall": {"name": "fare", "args": GIVEN}}]},
        {"role": "model", "parts": [{"function_call": {"name": "fare", "args": GIVEN}}]},
        {"role": "assistant", "content": [{"toolUse": {"name": "fare", "input": GIVEN}}]},
        {"role": "assistant", "content": [{"type": "toolUse", "name": "fare", "input": GIVEN}]},
        {"role": "model", "parts": [{"type": "functionCall", "name": "fare", "args": GIVEN}]},
        {
            "role": "assistant",
            "content": [{"tool_call": {"tool_name": "fare", "arguments": GIVEN}}],
        },
        {
            "role": "model",
            "content": [{"toolRequest": {"name": "fare", "ref": "c1", "input": GIVEN}}],
        },
        {
            "role": "assistant",
            "parts": [
                {
                    "type": "server_tool_call",
                    "id": "c1",
                    "name": "fare",
                    "server_tool_call": {"type": "fare", "arguments": GIVEN},
                }
            ],
        },
        {
            "role": "assistant",
            "parts": [
                {
                    "type": "server_tool_call",
                    "name": "fare",
                    "server_tool_call": {"type": "fare", **GIVEN},
                }
            ],
        },
        {
            "role": "assistant",
            "parts": [
                {
                    "type": "text",
                    "content": [
                        {"type": "server_tool_use", "id": "c1", "name": "fare"} | {"input": GIVEN}
                    ],
                }
            ],
        },
        {"type": "function_call", "call_id": "c1", "name": "fare", "arguments": TEXT},
        {"type": "ai", "content": "", "tool_calls": [{"name": "fare", "args": GIVEN, "id": "c1"}]},
    ],
)
def test_tool_call(message: object) -> None:
    """A tool call is shown as a call, for every format of tool calls."""
    assert line_out([message]) == line_out(message) == 'fare(line="M7", zones=3)'
    assert find_messages([message]) == [message]


@pytest.mark.parametrize(
    "message",
    [
        {"role": "tool", "parts": [{"type": "tool_call_response", "response": "2.80"}]},
        {"role": "tool", "parts": [{"type": "tool_call_response", "result": {"euro": "2.80"}}]},
        {"role": "tool", "tool_call_id": "c1", "content": "2.80"},
        {
            "role": "user",
            "parts": [{"functionResponse": {"name": "fare", "response": {"output": "2.80"}}}],
        },
        {
            "role": "user",
            "content": [{"toolResult": {"toolUseId": "c1", "content": [{"text": "2.80"}]}}],
        },
        {
            "role": "tool",
            "content": [{"tool_call_result": {"result": "2.80", "origin": {"id": "c1"}}}],
        },
        {
            "role": "tool",
            "content": [{"toolResponse": {"name": "fare", "ref": "c1", "output": "2.80"}}],
        },
        {
            "role": "tool",
            "parts": [
                {
                    "type": "server_tool_call_response",
                    "id": "c1",
                    "server_tool_call_response": {"output": "2.80"},
                }
            ],
        },
        {"type": "function_call_output", "call_id": "c1", "output": "2.80"},
        {"type": "tool", "content": "2.80", "tool_call_id": "c1"},
    ],
)
def test_tool_result(message: object) -> None:
    """A tool result is shown as its content, for every format of tool results."""
    assert line_out([message]) == "2.80"
    assert line_in([USER, message]) == "Where?"


def test_blocks_as_one_text() -> None:
    """A text part that contains a provider's list of blocks is read as those blocks."""
    found = [
        {"type": "thinking", "thinking": "Which line?", "signature": "none"},
        {"type": "text", "text": "By boat."},
        {"type": "web_search_tool_result", "tool_use_id": "c1", "content": [{"url": "u"}]},
    ]
    message = {"role": "assistant", "parts": [{"type": "text", "content": found}]}
    assert line_out([message]) == "By boat."
    told = read_message(message)
    assert told is not None
    assert [part["type"] for part in told["parts"]] == ["reasoning", "text", "tool_call_response"]
    assert text_of_part(told["parts"][2]) == '[{"url":"u"}]'


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"raw": "By boat.", "pydantic": None, "json_dict": None, "agent": "Guide"}, "By boat."),
        ({"final_output": "By boat.", "new_items": []}, "By boat."),
        ({"messages": [USER], "answer": "By boat."}, "By boat."),
        ({"raw": "a", "score": 1}, "a, 1"),
        ({"answer": "yes", "score": 1}, "yes"),
    ],
)
def test_framework_answer(value: object, text: str) -> None:
    """For a framework's result, the preview is the answer. For other objects, it is all values."""
    assert line_out(value) == text


def test_call_that_is_said_twice() -> None:
    """A call that a message contains both as content and as a tool call is shown once."""
    call = {"id": "c1", "function": {"name": "weather", "arguments": '{"city": "Paris"}'}}
    message = {"role": "assistant", "content": [{"type": "tool_use", **call}], "tool_calls": [call]}
    assert line_out([message]) == 'weather(city="Paris")'


@pytest.mark.parametrize(
    ("given", "gave", "lines"),
    [
        (["a", "b"], [[0.5] * 1536] * 2, ("2 texts", "2 \u00d7 1,536")),
        ("a", [0.5, 0.25], ("a", "1 \u00d7 2")),
        ({"input": ["a"], "model": "e"}, EMBEDDINGS, ("a", "1 \u00d7 2")),
        (
            {"texts": ["a", "b"]},
            {"embeddings": {"float": [[0.5], [0.5]]}},
            ("2 texts", "2 \u00d7 1"),
        ),
        ([1, 2, 3], {"dimensions": 3, "count": 1}, ("3 tokens", "1 \u00d7 3")),
        ([USER], None, ("Where?", "")),
        ({"model": "e"}, [], ("", "[]")),
    ],
    ids=repr,
)
def test_embeddings(given: object, gave: object, lines: tuple[str, str]) -> None:
    """Embeddings are shown as the number of texts, and the number and length of the vectors."""
    assert (line_in(given, "embedding"), line_out(gave, "embedding")) == lines


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"choices": [{"message": {"content": "by whom?"}}], "usage": {}}, "by whom?"),
        ({"type": "app.Reply", "choices": [{"message": {"content": "ours"}}]}, "ours"),
        ({"message": {"role": "assistant", "content": "by Logfire"}, "usage": {}}, "by Logfire"),
        ({"combined_chunk_content": "in pieces", "chunk_count": 2}, "in pieces"),
        (
            {
                "response": {
                    "role": "assistant",
                    "blocks": [{"block_type": "text", "text": "42.50 kr"}],
                },
                "structured_response": None,
                "tool_calls": [{"tool_name": "fare", "tool_kwargs": {"line": "M7"}}],
            },
            "42.50 kr",
        ),
        ({"text": "from Mastra", "files": [], "toolCalls": []}, "from Mastra"),
    ],
)
def test_answer_beside_other_things(value: object, text: str) -> None:
    """The preview of a response is its answer, whatever else it contains, even without a role."""
    assert line_out(value) == text


@pytest.mark.parametrize(
    ("error_type", "message", "text"),
    [
        ("openai.RateLimitError", "Rate limit reached", "Rate limit reached"),
        ("<class 'openai.NotFoundError'>", "No such model", "No such model"),
        ("ValueError", "ValueError: bad", "bad"),
        ("a.b.SlowError", "a.b.SlowError: too slow", "too slow"),
        ("ValueError", "ValueError:", "ValueError"),
        ("KeyError", "", "KeyError"),
        ("", "It broke.\nTwice.", "It broke. Twice."),
        ("", "", ""),
    ],
)
def test_error(error_type: str, message: str, text: str) -> None:
    """The preview of an error is its message without the type, else the name of the type."""
    assert line_of_error(error_type, message) == text


@pytest.mark.parametrize("line", [line_in, line_out])
@pytest.mark.parametrize(
    "value",
    [LONG, {"question": LONG}, {"a": LONG, "b": 1}, [LONG], [{"role": "user", "content": LONG}]],
    ids=["text", "one key", "two keys", "list", "message"],
)
def test_long_line(line: Any, value: object) -> None:
    """A long preview is cut at 200 characters and ends with an ellipsis."""
    text = line(value)
    assert (len(text), text[-1], LONG[:100] in text) == (200, "\u2026", True)


def test_longest_whole_line() -> None:
    """A text of 200 characters is not cut."""
    assert line_out("x" * 200) == "x" * 200


@given(
    st.text("ab \t\n\u00a0\u2028\u00e9", max_size=8), st.integers(0, 120), st.text("a ", max_size=3)
)
def test_line_of_spaces(word: str, number: int, end: str) -> None:
    """A preview has single spaces between words, whatever whitespace the text has."""
    text = word * number + end
    line = " ".join(text.lstrip()[:400].split())
    assert line_in(text) == (line if len(line) <= 200 else f"{line[:199]}\u2026")


@given(json_values)
def test_line_of_anything(value: object) -> None:
    """The preview of any JSON value is one line of at most 200 characters."""
    for text in (line_in(value), line_out(value)):
        assert len(text) <= 200
        assert text.split() == text.split(" ") or not text


@pytest.mark.parametrize(
    ("value", "count"),
    [
        (CHAT, 1),
        (RESPONSE, 1),
        ([USER, USER], 2),
        ({"model": "gpt-4o", "messages": [USER]}, 1),
        ({"choices": ["a", "b"]}, 0),
        ({"output": [1, 2]}, 0),
        ([{"role": "admin", "name": "Ann"}], 0),
        ({"messages": MADE}, 2),
        ({"inputs": {"messages": TOLD}, "kwargs": {}}, 2),
        # entries that are not messages
        ([USER, {"id": "", "type": ""}, USER], 2),
        ([USER, [{"id": "", "type": ""}], USER], 2),
        ({"messages": [USER, None, "odd", USER]}, 2),
        ([USER, 1, 2, 3], 0),
        ([{"a": 1}, {"b": 2}], 0),
        # batches
        ({"messages": [MADE]}, 2),
        ({"generations": [[{"text": "", "message": MADE[1]}]]}, 1),
        ({"generations": [[{"text": "In Kyoto."}]]}, 1),
        ({"candidates": [{"content": {"role": "model", "parts": [{"text": "Yes"}]}}]}, 1),
        ({"candidates": ["Ann", "Bob"]}, 0),
        # a string as the input of a request
        ({"model": "gpt-4o", "input": "Where?"}, 1),
        ({"model": "gpt-4o", "instructions": "Be brief.", "input": "Where?"}, 2),
        ({"instructions": "Be brief.", "input": [USER]}, 2),
        ({"model": "gpt-4o", "prompt": "Where?"}, 1),
        ({"input": "Where?", "limit": 3}, 0),
    ],
    ids=repr,
)
def test_messages(value: object, count: int) -> None:
    """Messages are found in requests, responses and lists, and nowhere else."""
    assert len(find_messages(value)) == count


def in_parts(text: str) -> dict[str, Any]:
    return {"role": "user", "parts": [{"type": "text", "content": text}]}


@given(st.lists(st.tuples(st.sampled_from(["user", "assistant", ""]), st.text(max_size=9))))
@pytest.mark.parametrize("line", [line_in, line_out])
def test_line_of_plain_messages(line: Any, said: list[tuple[str, str]]) -> None:
    """Messages with one text have the same preview as parts, as content, and with an extra id."""
    plain = [{**in_parts(text), "role": role} for role, text in said]
    brief = [{"role": role, "content": text} for role, text in said]
    named = [{**message, "id": 1} for message in brief]
    assert line(plain) == line(brief) == line(named)


def test_line_beside_an_odd_entry() -> None:
    """An entry that is not a message does not hide the question and answer around it."""
    talk = [{"role": "user", "content": "Where?"}, {"role": "assistant", "content": "Here."}, None]
    assert (line_in(talk), line_out(talk)) == ("Where?", "Here.")
    assert line_in({"model": "gemini", "contents": "Where?"}) == "Where?"


ROW = {
    "type": "pandas.DataFrame",
    "shape": [1, 2],
    "columns": ["age", "plan"],
    "head": "   age plan\n0    1    a",
    "cells": {"age": [1], "plan": ["a"]},
}
ROWS = {**ROW, "shape": [1_200, 2], "cells": {"age": [1, 2], "plan": ["a", "b"]}}
VECTOR = {"type": "numpy.ndarray", "dtype": "float64", "shape": [2], "values": [0.5, 2.0]}


@pytest.mark.parametrize("line", [line_in, line_out])
@pytest.mark.parametrize(
    ("value", "text"),
    [
        (ROW, '{"age": 1, "plan": "a"}'),
        ({"features": ROW}, '{"age": 1, "plan": "a"}'),
        ({"features": ROW, "k": 3}, '{"features": {"age": 1, "plan": "a"}, "k": 3}'),
        (ROWS, "1,200 × 2 table: age, plan"),
        (VECTOR, "[0.5,2.0]"),
        ({**VECTOR, "shape": [1, 2], "values": [[0.5, 2.0]]}, "[0.5,2.0]"),
        ({**VECTOR, "shape": [2, 1], "values": [[0.5], [2.0]]}, "2 × 1 array"),
        ({**VECTOR, "shape": [1, 0], "values": [[]]}, "[]"),
        ({"shape": [1, 2], "colour": 7}, '{"shape": [1,2], "colour": 7}'),
        ({"type": "square", "shape": "round"}, '{"type": "square", "shape": "round"}'),
    ],
)
def test_tables_and_arrays(line: Callable[[object], str], value: object, text: str) -> None:
    """A row of a table is shown with its values, a larger table with its shape and columns."""
    assert line(value) == text
