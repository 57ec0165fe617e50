"""Token counts are read from the responses of the providers."""

from typing import Any
from unittest.mock import MagicMock

import pydantic
import pytest

from otel_ml.genai.generative import find_usage
from otel_ml.genai.messages import MAX_COUNT
from tests.support.otel_ml.genai.responses import (
    ANTHROPIC,
    ANTHROPIC_EVENTS,
    CHAT,
    CHAT_CHUNKS,
    COMPLETION,
    EMBEDDINGS,
    LITELLM_USAGE,
    RESPONSE,
    RESPONSE_EVENTS,
    as_object,
)

IN = "gen_ai.usage.input_tokens"
OUT = "gen_ai.usage.output_tokens"
CACHE_READ = "gen_ai.usage.cache_read.input_tokens"
CACHE_WRITE = "gen_ai.usage.cache_write.input_tokens"
REASONING = "gen_ai.usage.reasoning.output_tokens"

OF_CHAT = {IN: 20, OUT: 7, CACHE_READ: 16, REASONING: 3}
OF_RESPONSE = {IN: 30, OUT: 9, CACHE_READ: 5, CACHE_WRITE: 0, REASONING: 4}
# 10 uncached, 100 read from the cache, 50 written to it: the conventions count all as input.
OF_ANTHROPIC = {IN: 160, OUT: 6, CACHE_READ: 100, CACHE_WRITE: 50}

CASES = [
    ("chat", CHAT, OF_CHAT),
    ("chat chunks", CHAT_CHUNKS, OF_CHAT),
    ("completion", COMPLETION, {IN: 5, OUT: 7}),
    ("response", RESPONSE, OF_RESPONSE),
    ("response events", RESPONSE_EVENTS, OF_RESPONSE),
    ("embeddings", EMBEDDINGS, {IN: 5}),
    ("anthropic", ANTHROPIC, OF_ANTHROPIC),
    ("anthropic events", ANTHROPIC_EVENTS, OF_ANTHROPIC),
    (
        "litellm",
        {"usage": LITELLM_USAGE},
        {IN: 5, OUT: 3, CACHE_READ: 2, CACHE_WRITE: 1, REASONING: 2},
    ),
]


@pytest.mark.parametrize(("response", "expected"), [case[1:] for case in CASES])
@pytest.mark.parametrize("shape", [lambda value: value, as_object], ids=["dict", "object"])
def test_counts(shape: Any, response: Any, expected: dict[str, int]) -> None:
    """A response has the same counts whole and streamed, as a dict and as an object."""
    assert find_usage(shape(response)) == expected


def test_pydantic_model() -> None:
    """The usage of a pydantic model is read."""

    class Usage(pydantic.BaseModel):
        prompt_tokens: int
        completion_tokens: int

    class Response(pydantic.BaseModel):
        usage: Usage

    response = Response(usage=Usage(prompt_tokens=1, completion_tokens=2))
    assert find_usage(response) == {IN: 1, OUT: 2}


def test_several_responses() -> None:
    """The counts of responses with different ids are added up."""
    assert find_usage([CHAT, {**CHAT, "id": "chatcmpl-2"}]) == {
        IN: 40,
        OUT: 14,
        CACHE_READ: 32,
        REASONING: 6,
    }


def test_sums_of_one_stream() -> None:
    """If every chunk of a response repeats the sum, the last sum is used."""
    chunks = [{"id": "a", "usage": {"completion_tokens": count}} for count in (1, 2, 3)]
    assert find_usage(chunks) == {OUT: 3}


class Raising:
    """A response that raises on access to any attribute."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


@pytest.mark.parametrize(
    "output",
    [
        None,
        "text",
        b"bytes",
        7,
        {},
        [],
        {"usage": None},
        {"usage": "20 tokens"},
        {"usage": {"prompt_tokens": True}},
        {"usage": {"prompt_tokens": -1}},
        {"usage": {"prompt_tokens": 1.5}},
        {"usage": {"prompt_tokens": "20"}},
        {"usage": {"prompt_tokens": MAX_COUNT + 1}},
        [{"usage": {"prompt_tokens": MAX_COUNT}, "id": str(number)} for number in range(2)],
        MagicMock(),
        [MagicMock()],
        Raising(),
        [Raising()],
    ],
    ids=range(18),
)
def test_nothing_silly(output: object) -> None:
    """Missing and invalid token counts are ignored."""
    assert find_usage(output) == {}
