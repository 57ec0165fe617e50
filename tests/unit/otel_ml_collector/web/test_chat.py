"""Tests of chat messages in payloads."""

from typing import Any

import pytest
from hypothesis import given

from otel_ml_collector.web.payload import ShownMessage, find_chat
from otel_ml_collector.web.view import Slice
from tests.unit.otel_ml_collector.web.values import json_values

USER = {"role": "user", "content": "Where?"}


def said(role: str, text: str) -> ShownMessage:
    return ShownMessage(role, text, len(text))


@pytest.mark.parametrize(
    ("value", "messages"),
    [
        ([USER], [said("user", "Where?")]),
        ({"messages": [USER]}, [said("user", "Where?")]),
        (
            [{"role": "system", "parts": "Be short."}, USER],
            [said("system", "Be short."), said("user", "Where?")],
        ),
        (
            [{"role": "user", "parts": [{"type": "text", "content": "one"}, {"text": "two"}]}],
            [said("user", "one\ntwo")],
        ),
        (
            [{"role": "assistant", "parts": [{"name": "search", "arguments": {"q": "a"}}]}],
            [said("assistant", 'search(q="a")')],
        ),
        (
            [{"role": "tool", "parts": [{"type": "tool_call_response", "result": "found"}]}],
            [said("tool", "found")],
        ),
        ([{"role": "assistant", "content": None}], [said("assistant", "")]),
        ({"model": "gpt", "messages": [USER]}, [said("user", "Where?")]),
        (
            [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}],
            [said("assistant", "f()")],
        ),
        ({"role": "assistant", "content": "There."}, [said("assistant", "There.")]),
        ([{"role": "user", "content": 7}], [said("user", "7")]),
        ([{"role": "user", "content": "x" * 5_000}], [ShownMessage("user", "x" * 2_000, 5_000)]),
    ],
)
def test_chat(value: Any, messages: list[ShownMessage]) -> None:
    """Messages are read with their roles and texts, and tool calls as calls."""
    chat = find_chat(value)
    assert chat is not None
    assert (chat.items, chat.total) == (messages, len(messages))


@pytest.mark.parametrize(
    "value",
    [
        None,
        "text",
        3,
        [],
        {},
        [1],
        ["user"],
        [{"content": "Where?"}],
        [{"role": 3, "content": "Where?"}],
        {"model": "gpt"},
        {"messages": "text"},
        [{"role": "assistant"}],
    ],
    ids=repr,
)
def test_no_chat(value: Any) -> None:
    """A value that is not a list of messages is not a chat."""
    assert find_chat(value) is None


@given(json_values)
def test_any_value(value: Any) -> None:
    """Any value can be read without an error, as a chat or as none."""
    assert isinstance(find_chat(value), Slice | None)
