"""Tests of the messages in a payload, and of the one line that stands for it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_ml.genai.messages import join_chunks
from otel_ml_collector.mapping.chat import find_messages, line_in, line_out
from tests.otel_ml.genai.responses import (
    ANTHROPIC,
    ANTHROPIC_EVENTS,
    CHAT,
    CHAT_CHUNKS,
    COMPLETION,
    EMBEDDINGS,
    RESPONSE,
)
from tests.otel_ml_collector.web.values import json_values

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
        ([{"role": "user"}], "user"),
        ([{"question": "Where?", "n": 1}, {"question": "When?", "n": 2}], "Where?"),
        ({"type": "human", "content": "Where?"}, "Where?"),
        (b"\x00\xff", '"AP8="'),
    ],
    ids=repr,
)
def test_line(line: Any, value: object, text: str) -> None:
    """A line is what a person would look for, of what went in and of what came out alike."""
    assert line(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": 1, "b": "two", "c": None, "d": [1]}, "a: 1, b: two, c: null, d: [1]"),
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
        ({"input": ["a", "b"], "model": "e"}, 'input: ["a","b"], model: e'),
    ],
    ids=repr,
)
def test_question(value: object, text: str) -> None:
    """The line of inputs is the last question, wherever it stands among them."""
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
        ({"city": "Paris", "temp": 21}, '{"city": "Paris", "temp": 21}'),
        ({"answer": "Paris", "sources": ["a"]}, '{"answer": "Paris", "sources": ["a"]}'),
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
    """The line of an output is the answer's text, else the calls of tools; never a key or an id."""
    assert line_out(value) == text


@pytest.mark.parametrize("line", [line_in, line_out])
@pytest.mark.parametrize(
    "value",
    [LONG, {"question": LONG}, {"a": LONG, "b": 1}, [LONG], [{"role": "user", "content": LONG}]],
    ids=["text", "one key", "two keys", "list", "message"],
)
def test_long_line(line: Any, value: object) -> None:
    """A long line is cut at 200 characters, the last of which says so."""
    text = line(value)
    assert (len(text), text[-1], LONG[:100] in text) == (200, "\u2026", True)


def test_longest_whole_line() -> None:
    """A text of 200 characters is shown whole."""
    assert line_out("x" * 200) == "x" * 200


@given(
    st.text("ab \t\n\u00a0\u2028\u00e9", max_size=8), st.integers(0, 120), st.text("a ", max_size=3)
)
def test_line_of_spaces(word: str, number: int, end: str) -> None:
    """A line has single spaces between words, whatever was between them."""
    text = word * number + end
    line = " ".join(text.lstrip()[:400].split())
    assert line_in(text) == (line if len(line) <= 200 else f"{line[:199]}\u2026")


@given(json_values)
def test_line_of_anything(value: object) -> None:
    """The lines of any JSON value are one line of at most 200 characters."""
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
    ],
    ids=repr,
)
def test_messages(value: object, count: int) -> None:
    """Messages are found in a request, in a response and in a list, and nowhere else."""
    assert len(find_messages(value)) == count


def in_parts(text: str) -> dict[str, Any]:
    return {"role": "user", "parts": [{"type": "text", "content": text}]}


@given(st.lists(st.tuples(st.sampled_from(["user", "assistant", ""]), st.text(max_size=9))))
@pytest.mark.parametrize("line", [line_in, line_out])
def test_line_of_plain_messages(line: Any, said: list[tuple[str, str]]) -> None:
    """A message that is one text reads alike with nothing else in it, and with an id beside it."""
    plain = [{**in_parts(text), "role": role} for role, text in said]
    brief = [{"role": role, "content": text} for role, text in said]
    named = [{**message, "id": 1} for message in brief]
    assert line(plain) == line(brief) == line(named)
