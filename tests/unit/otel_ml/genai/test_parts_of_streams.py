"""The joined message of a stream has what the same answer in one piece has."""

from types import SimpleNamespace
from typing import Any

import pytest

from otel_ml.genai.generative import find_usage
from otel_ml.genai.messages import find_output, join_chunks


def chunk(index: int = 0, **delta: Any) -> dict[str, Any]:
    return {"id": "c", "model": "m", "choices": [{"index": index, "delta": delta}]}


def start(index: int, **block: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def delta(index: int, **given: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": given}


HEAD = {"type": "message_start", "message": {"id": "m", "model": "claude", "content": []}}


def text(words: str) -> dict[str, str]:
    return {"type": "text", "content": words}


STREAMS: dict[str, tuple[list[Any], list[Any]]] = {
    "reasoning": (
        [chunk(reasoning="because ", content=""), chunk(reasoning="so"), chunk(content="yes")],
        [{"type": "reasoning", "content": "because so"}, text("yes")],
    ),
    "reasoning_details": (
        [
            chunk(reasoning_details=[{"type": "reasoning.text", "index": 0, "text": "because "}]),
            chunk(reasoning_details=[{"type": "reasoning.text", "index": 0, "text": "so"}]),
            chunk(content="yes"),
        ],
        [{"type": "reasoning", "content": "because so"}, text("yes")],
    ),
    "transcript": (
        [chunk(audio={"id": "a", "transcript": "spoken "}), chunk(audio={"transcript": "words"})],
        [text("spoken words")],
    ),
    "function_call": (
        [
            chunk(function_call={"name": "weather", "arguments": ""}),
            chunk(function_call={"arguments": '{"city": '}),
            chunk(function_call={"arguments": '"Rome"}'}),
        ],
        [{"type": "tool_call", "name": "weather", "arguments": {"city": "Rome"}}],
    ),
    "two IDs at one index": (
        [
            chunk(
                tool_calls=[{"index": 0, "id": "a", "function": {"name": "f", "arguments": "1"}}]
            ),
            chunk(tool_calls=[{"index": 0, "id": "b", "function": {"name": "g", "arguments": ""}}]),
            chunk(tool_calls=[{"index": 0, "function": {"arguments": "2"}}]),
        ],
        [
            {"type": "tool_call", "id": "a", "name": "f", "arguments": 1},
            {"type": "tool_call", "id": "b", "name": "g", "arguments": 2},
        ],
    ),
    "start of a text": (
        [HEAD, start(0, type="text", text="Hello "), delta(0, type="text_delta", text="you")],
        [text("Hello you")],
    ),
    "input in the start": (
        [HEAD, start(0, type="tool_use", id="t", name="weather", input={"city": "Rome"})],
        [{"type": "tool_call", "id": "t", "name": "weather", "arguments": {"city": "Rome"}}],
    ),
    "result of a server tool": (
        [
            HEAD,
            start(0, type="web_search_tool_result", tool_use_id="t", content=[{"title": "Paris"}]),
        ],
        [{"type": "tool_call_response", "id": "t", "response": {"content": [{"title": "Paris"}]}}],
    ),
    "refusal of a response": (
        [
            {"type": "response.refusal.delta", "output_index": 0, "delta": "I "},
            {"type": "response.refusal.delta", "output_index": 0, "delta": "cannot"},
        ],
        [text("I cannot")],
    ),
    "transcript of a response": (
        [{"type": "response.audio.transcript.delta", "output_index": 0, "delta": "spoken"}],
        [text("spoken")],
    ),
}


@pytest.mark.parametrize(("chunks", "parts"), STREAMS.values(), ids=STREAMS)
def test_parts(chunks: list[Any], parts: list[Any]) -> None:
    """Each part of a streamed answer is in its message."""
    [message] = find_output(join_chunks(chunks))
    assert [{k: v for k, v in part.items() if k != "server_tool_call_response"}
            for part in message["parts"]] == parts  # fmt: skip


def test_unknown_fields() -> None:
    """A field that is unknown is kept: texts are joined, lists extended, numbers replaced."""
    chunks: list[Any] = [
        chunk(content="a", mood="hap", steps=["x"], score=1, more={"why": "be"}),
        chunk(content="b", mood="py", steps=["y"], score=2, more={"why": "cause"}),
    ]
    chunks[0]["choices"][0]["logprobs"] = {"content": [{"token": "a"}]}
    chunks[1]["choices"][0]["logprobs"] = {"content": [{"token": "b"}]}
    joined: Any = join_chunks(chunks)
    assert joined["choices"] == [
        {
            "logprobs": {"content": [{"token": "a"}, {"token": "b"}]},
            "message": {
                "role": "assistant",
                "content": "ab",
                "mood": "happy",
                "steps": ["x", "y"],
                "score": 2,
                "more": {"why": "because"},
            },
            "finish_reason": None,
        }
    ]


def test_unknown_delta_of_anthropic() -> None:
    """Citations and unknown fields of Anthropic's deltas are kept in their block."""
    joined: Any = join_chunks(
        [
            HEAD,
            start(0, type="text", text="", citations=[]),
            delta(0, type="citations_delta", citation={"url": "u"}),
            delta(0, type="new_delta", aside="by the "),
            delta(0, type="new_delta", aside="way"),
        ]
    )
    assert joined["content"] == [
        {"type": "text", "text": "", "citations": [{"url": "u"}], "aside": "by the way"}
    ]


@pytest.mark.parametrize("is_object", [False, True], ids=["dict", "object"])
@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "stream"])
def test_counts_of_gemini(is_object: bool, is_stream: bool) -> None:
    """Gemini's counts are read; its thoughts are output, and its chunks repeat the counts."""
    counts: dict[str, int] = {
        "prompt_token_count": 100,
        "candidates_token_count": 20,
        "thoughts_token_count": 5,
        "cached_content_token_count": 40,
    }
    camel = {
        "promptTokenCount": 100,
        "candidatesTokenCount": 20,
        "thoughtsTokenCount": 5,
        "cachedContentTokenCount": 40,
    }
    answer: Any = {"usageMetadata": camel}
    if is_object:
        answer = SimpleNamespace(usage_metadata=SimpleNamespace(**counts))
    assert find_usage([answer, answer] if is_stream else answer) == {
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.output_tokens": 25,
        "gen_ai.usage.cache_read.input_tokens": 40,
        "gen_ai.usage.reasoning.output_tokens": 5,
    }
