"""Messages of the host, converted to the format of the GenAI conventions."""

from typing import Any
from unittest.mock import MagicMock

import pytest

from otel_ml.genai.messages import (
    find_input,
    find_output,
    find_system,
    join_chunks,
    read_message,
)
from tests.support.otel_ml.genai.responses import (
    ANTHROPIC,
    ANTHROPIC_EVENTS,
    CHAT,
    CHAT_CHUNKS,
    COMPLETION,
    EMBEDDINGS,
    RESPONSE,
    RESPONSE_EVENTS,
    as_object,
)

THOUGHT = {"type": "reasoning", "content": "hm"}
TEXT = {"type": "text", "content": "hi"}
CITY = {"city": "Paris"}


def call(id: str, arguments: Any) -> dict[str, Any]:
    return {"type": "tool_call", "id": id, "name": "weather", "arguments": arguments}


def said(role: str, *parts: Any, **more: Any) -> list[dict[str, Any]]:
    return [{"role": role, "parts": list(parts), **more}]


OF_CHAT = said("assistant", TEXT, call("call_1", CITY), finish_reason="tool_calls")
OF_RESPONSE = said("assistant", {"type": "reasoning", "content": "think"}, TEXT, call("call_1", {}))
OF_ANTHROPIC = said("assistant", THOUGHT, TEXT, call("tu_1", CITY), finish_reason="end_turn")


@pytest.mark.parametrize("shape", [lambda value: value, as_object], ids=["dict", "object"])
@pytest.mark.parametrize(
    ("response", "expected"),
    [
        (CHAT, OF_CHAT),
        (COMPLETION, said("assistant", TEXT, finish_reason="length")),
        (RESPONSE, OF_RESPONSE),
        (ANTHROPIC, OF_ANTHROPIC),
        (EMBEDDINGS, []),
        (CHAT["choices"][0]["message"], said("assistant", TEXT, call("call_1", CITY))),
    ],
    ids=["chat", "completion", "response", "anthropic", "embeddings", "message"],
)
def test_output(shape: Any, response: Any, expected: Any) -> None:
    """A response becomes messages, both as a dict and as an object."""
    assert find_output(shape(response)) == expected


@pytest.mark.parametrize("shape", [lambda value: value, as_object], ids=["dict", "object"])
@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        (CHAT_CHUNKS, OF_CHAT),
        (RESPONSE_EVENTS, OF_RESPONSE),
        (RESPONSE_EVENTS[:2], said("assistant", TEXT)),
        (ANTHROPIC_EVENTS, OF_ANTHROPIC),
        (["h", "i"], said("assistant", TEXT)),
        ([{"choices": [{"index": 0, "text": "hi"}]}], said("assistant", TEXT)),
    ],
    ids=["chat", "response", "response left", "anthropic", "texts", "completion"],
)
def test_stream(shape: Any, chunks: list[Any], expected: Any) -> None:
    """A stream becomes the same messages as the response in one piece."""
    assert find_output(join_chunks(shape(chunks))) == expected


def test_choices_of_a_stream() -> None:
    """Each choice of a stream becomes a message."""
    chunks = [
        {"choices": [{"index": index, "delta": {"content": text}}]}
        for index, text in [(1, "b"), (0, "a"), (1, "c")]
    ]
    assert find_output(join_chunks(chunks)) == [
        *said("assistant", {"type": "text", "content": "a"}),
        *said("assistant", {"type": "text", "content": "bc"}),
    ]


CONVERSATION = [
    {"role": "system", "content": "Be kind"},
    {"role": "user", "content": "Weather?", "name": "ann"},
    CHAT["choices"][0]["message"],
    {"role": "tool", "tool_call_id": "call_1", "content": "rainy"},
]


def test_conversation() -> None:
    """An OpenAI history keeps its order, its tool calls and their results."""
    assert find_input({"messages": CONVERSATION, "model": "gpt-4o"}) == [
        *said("system", {"type": "text", "content": "Be kind"}),
        *said("user", {"type": "text", "content": "Weather?"}, name="ann"),
        *said("assistant", TEXT, call("call_1", CITY)),
        *said("tool", {"type": "tool_call_response", "id": "call_1", "response": "rainy"}),
    ]


def test_conversation_of_anthropic() -> None:
    """A tool result in a user message of Anthropic becomes a response to the tool call."""
    result = {"type": "tool_result", "tool_use_id": "tu_1", "content": "rainy"}
    messages = [{"role": "user", "content": [result, {"type": "text", "text": "hi"}]}]
    response = {"type": "tool_call_response", "id": "tu_1", "response": "rainy"}
    assert find_input({"messages": messages}) == said("user", response, TEXT)


def test_items_of_responses() -> None:
    """Tool calls and their outputs keep their place among messages of OpenAI's Responses API."""
    items = [
        {"role": "user", "content": [{"type": "input_text", "text": "hi"}]},
        *RESPONSE["output"],
        {"type": "function_call_output", "call_id": "call_1", "output": "rainy"},
    ]
    assert find_input({"input": items}) == [
        *said("user", TEXT),
        *said("assistant", {"type": "reasoning", "content": "think"}),
        *said("assistant", TEXT),
        *said("assistant", call("call_1", {})),
        *said("tool", {"type": "tool_call_response", "id": "call_1", "response": "rainy"}),
    ]


@pytest.mark.parametrize(
    "inputs",
    [
        {"prompt": "hi"},
        {"input": "hi", "temperature": 0.5},
        {"question": "hi", "k": 3},
        {"anything": "hi"},
    ],
    ids=str,
)
def test_prompt(inputs: dict[str, Any]) -> None:
    """A single text becomes a user message."""
    assert find_input(inputs) == said("user", TEXT)


@pytest.mark.parametrize(
    ("role", "expected"),
    [("MessageRole.USER", "user"), ("ChatRole.Assistant", "assistant"), ("bot.7", "bot.7")],
)
def test_role(role: str, expected: str) -> None:
    """The name of an enum's member is the role that it means."""
    assert read_message({"role": role, "content": "hi"}) == said(expected, TEXT)[0]


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (
            {"type": "image_url", "image_url": {"url": "https://a/b.png"}},
            {"type": "uri", "modality": "image", "uri": "https://a/b.png"},
        ),
        (
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGVsbG8="}},
            {
                "type": "blob",
                "modality": "image",
                "mime_type": "image/png",
                "byte_size": 5,
                "content": "",
            },
        ),
        (
            {
                "type": "image",
                "source": {"type": "base64", "media_type": "image/png", "data": "aGVsbG8="},
            },
            {
                "type": "blob",
                "modality": "image",
                "mime_type": "image/png",
                "byte_size": 5,
                "content": "",
            },
        ),
        (
            {"type": "input_audio", "input_audio": {"data": "aGVs", "format": "wav"}},
            {
                "type": "blob",
                "modality": "audio",
                "mime_type": "wav",
                "byte_size": 3,
                "content": "",
            },
        ),
        (
            {"type": "file", "file": {"file_id": "file-1"}},
            {"type": "file", "modality": "document", "file_id": "file-1"},
        ),
        (
            {"type": "redacted_thinking", "data": "x"},
            {"type": "redacted_thinking", "data": "x"},
        ),
    ],
    ids=["image url", "data url", "anthropic image", "audio", "file", "unknown"],
)
def test_part(part: Any, expected: Any) -> None:
    """A media part records its type and size; an unknown part stays unchanged."""
    assert find_input({"messages": [{"role": "user", "content": [part]}]}) == said("user", expected)


@pytest.mark.parametrize(
    "system", ["Be kind", [{"type": "text", "text": "Be kind"}]], ids=["text", "blocks"]
)
def test_system(system: Any) -> None:
    """Instructions outside the messages become separate parts."""
    assert find_system({"system": system, "messages": []}) == [
        {"type": "text", "content": "Be kind"}
    ]


def test_broken_arguments() -> None:
    """Arguments that are not JSON, as in a stream that was closed early, stay text."""
    chunks = CHAT_CHUNKS[:4]
    assert find_output(join_chunks(chunks)) == said("assistant", TEXT, call("call_1", '{"city":'))


def test_arguments_without_number() -> None:
    """Arguments with NaN and infinite numbers, as Python writes them, are read."""
    function = {"name": "weather", "arguments": '{"low": NaN, "high": [Infinity, -Infinity]}'}
    message = {"role": "assistant", "tool_calls": [{"id": "call_1", "function": function}]}
    arguments = {"low": None, "high": ["Infinity", "-Infinity"]}
    assert find_output(message) == said("assistant", call("call_1", arguments))


def test_messages_are_messages() -> None:
    """Messages in the format of the conventions stay unchanged."""
    assert find_input({"messages": said("user", TEXT)}) == said("user", TEXT)


class Raising:
    """A value that raises on access to any attribute."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


@pytest.mark.parametrize(
    "value",
    [
        None,
        7,
        b"hi",
        "",
        {},
        [],
        [1],
        ["a", {}],
        {"role": 1},
        MagicMock(),
        [MagicMock()],
        Raising(),
    ],
    ids=range(12),
)
def test_no_message(value: object) -> None:
    """A value that is not a message produces no messages, in requests and in responses."""
    assert (find_input({"messages": value, "other": value}), find_output(value)) == ([], [])


def test_blocks_of_llama_index() -> None:
    """The blocks of a LlamaIndex message become its parts."""
    call = {
        "block_type": "tool_call",
        "tool_call_id": "call_1",
        "tool_name": "fare",
        "tool_kwargs": {"line": "M7"},
    }
    blocks = [{"block_type": "text", "text": "Let me look."}, call]
    assert read_message({"role": "assistant", "blocks": blocks}) == {
        "role": "assistant",
        "parts": [
            {"type": "text", "content": "Let me look."},
            {"type": "tool_call", "id": "call_1", "name": "fare", "arguments": {"line": "M7"}},
        ],
    }


def test_tool_calls_beside_a_message() -> None:
    """Tool calls are read from `additional_kwargs` unless the message lists them itself."""
    call = {"id": "call_1", "function": {"name": "fare", "arguments": '{"line": "M7"}'}}
    message = {"role": "assistant", "content": "", "additional_kwargs": {"tool_calls": [call]}}
    part = {"type": "tool_call", "id": "call_1", "name": "fare", "arguments": {"line": "M7"}}
    assert read_message(message) == {"role": "assistant", "parts": [part]}
    assert read_message({**message, "tool_calls": [call]}) == {"role": "assistant", "parts": [part]}
