"""Tests of token counts: usage objects, and input tokens that exclude cached ones."""

import json
from typing import Any

import pytest

from otel_ml.records import TOKENS
from otel_ml_collector.span import Scope, Value
from tests.unit.otel_ml_collector.mapping.dialect_runs import map_call

Counts = tuple[int | None, ...]


def count_langfuse(usage: dict[str, Any]) -> Counts:
    """Return the token counts of an observation, in the order of `TOKENS`."""
    run = map_call(
        "ChatOpenAI",
        {
            "langfuse.observation.type": "generation",
            "langfuse.observation.model.name": "gpt-4o",
            "langfuse.observation.usage_details": json.dumps(usage),
        },
    )
    return tuple(getattr(run, name) for name in TOKENS)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (  # LangChain and OpenAI
            {
                "input": 86,
                "output": 100,
                "total": 18_903,
                "input_audio": 0,
                "input_cache_read": 17_817,
                "output_audio": 0,
                "output_reasoning": 900,
            },
            (17_903, 1_000, 17_817, 900, None),
        ),
        (  # LangChain and Anthropic
            {
                "input": 600,
                "output": 9,
                "cache_read_input_tokens": 1_500,
                "cache_creation_input_tokens": 40,
            },
            (2_140, 9, 1_500, None, 40),
        ),
        (  # LangChain lists the two lifetimes of Anthropic's cache separately
            {
                "input": 10,
                "output": 9,
                "input_cache_creation": 0,
                "input_cache_read": 5,
                "input_ephemeral_5m_input_tokens": 30,
                "input_ephemeral_1h_input_tokens": 7,
            },
            (52, 9, 5, None, 37),
        ),
        (  # the total shows that the input includes cached tokens
            {"input": 131, "output": 14, "total": 145, "input_cached_tokens": 64},
            (131, 14, 64, None, None),
        ),
        (  # OpenAI's responses
            {
                "input_tokens": 17_903,
                "input_tokens_details": {"cached_tokens": 17_817},
                "output_tokens": 1_000,
                "output_tokens_details": {"reasoning_tokens": 900},
                "total_tokens": 18_903,
            },
            (17_903, 1_000, 17_817, 900, None),
        ),
        (  # OpenAI's chat completions
            {
                "prompt_tokens": 131,
                "prompt_tokens_details": {"cached_tokens": 64},
                "completion_tokens": 14,
                "total_tokens": 145,
            },
            (131, 14, 64, None, None),
        ),
        (  # Anthropic's own
            {"input_tokens": 600, "output_tokens": 9, "cache_read_input_tokens": 1_500},
            (2_100, 9, 1_500, None, None),
        ),
        (  # Gemini's own
            {
                "promptTokenCount": 61,
                "candidatesTokenCount": 18,
                "thoughtsTokenCount": 30,
                "cachedContentTokenCount": 24,
                "totalTokenCount": 109,
            },
            (61, 18, 24, 30, None),
        ),
        ({"input": -1, "output": "many", "total": None}, (None,) * 5),
        ({"input": 10**12 + 1, "output": 2**63 - 1}, (None,) * 5),
        ({"input": 10**12, "output": 2.0**60}, (10**12, None, None, None, None)),
        ({}, (None,) * 5),
    ],
)
def test_langfuse(usage: dict[str, Any], expected: Counts) -> None:
    """Langfuse's usage is read in every spelling that its SDKs send."""
    assert count_langfuse(usage) == expected


BEDROCK = "opentelemetry.instrumentation.botocore.bedrock-runtime"


def count(scope: str, attributes: dict[str, Value], provider: str = "") -> Counts:
    """Return the input, cached and cache creation tokens of a call."""
    told: dict[str, Value] = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}
    if provider:
        told["gen_ai.provider.name"] = provider
    counts = {f"gen_ai.usage.{name}": value for name, value in attributes.items()}
    run = map_call("chat", {**told, **counts}, scope=Scope({}, scope, "", {}))
    return run.input_tokens, run.cached_tokens, run.cache_creation_tokens


READ = "cache_read.input_tokens"
WRITTEN = "cache_creation.input_tokens"


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [(-1, None), (10**12, 10**12), (10**12 + 1, None), (2**63 - 1, None), ("1" * 18, None)],
)
def test_impossible_counts(tokens: Value, expected: int | None) -> None:
    """A token count that no call can have is ignored, so sums cannot overflow."""
    assert count("", {"input_tokens": tokens}) == (expected, None, None)


@pytest.mark.parametrize(
    "scope",
    [
        BEDROCK,
        "opentelemetry.instrumentation.bedrock",
        "openlit.instrumentation.anthropic",
        "langtrace_python_sdk.instrumentation.anthropic.instrumentation",
    ],
)
def test_scopes_that_leave_out_cached_tokens(scope: str) -> None:
    """For emitters that exclude cached tokens from input tokens, the cached ones are added."""
    assert count(scope, {"input_tokens": 600, READ: 500, WRITTEN: 40}) == (1_140, 500, 40)


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"input_tokens": 600, "output_tokens": 9, READ: 1_500}, 2_100),
        ({"input_tokens": 60, "output_tokens": 9, READ: 50, WRITTEN: 40}, 150),
        # the total includes cached tokens
        ({"input_tokens": 600, "output_tokens": 9, READ: 500, "total_tokens": 1_109}, 1_100),
        ({"input_tokens": 600, "output_tokens": 9, READ: 500, "total_tokens": 609}, 600),
        ({"input_tokens": 600, "output_tokens": 9, READ: 500}, 600),
        # Gemini's total includes thoughts
        ({"input_tokens": 61, "output_tokens": 18, READ: 24, "total_tokens": 109}, 61),
        ({"output_tokens": 18, READ: 24, "total_tokens": 109}, None),
        ({"input_tokens": 0, "output_tokens": 18, READ: 24}, 24),
    ],
)
def test_signs_of_an_unknown_scope(attributes: dict[str, Value], expected: int | None) -> None:
    """For unknown emitters, cached tokens are added if the counts show that they are excluded."""
    assert count("x", attributes)[0] == expected


@pytest.mark.parametrize(
    ("provider", "cached", "more", "expected"),
    [
        # OpenAI's input tokens include cached ones: either an emitter's error, or subtracted
        ("openai", 11, {}, 10),
        ("openai", 50, {}, 60),
        ("openai", 50, {"total_tokens": 65}, 60),
        ("openai", 50, {"total_tokens": 15}, 10),
        # Anthropic reports no total, so its emitters add up what they have
        ("anthropic", 50, {"total_tokens": 15}, 60),
        ("", 11, {}, 21),
        ("acme", 11, {"total_tokens": 15}, 21),
    ],
)
def test_more_cached_than_input_tokens(
    provider: str, cached: int, more: dict[str, Value], expected: int
) -> None:
    """Counts that contradict the provider's way of counting are not changed."""
    told: dict[str, Value] = {"input_tokens": 10, "output_tokens": 5, READ: cached, **more}
    assert count("x", told, provider)[0] == expected


@pytest.mark.parametrize(
    "name", ["cached_tokens", "input_cached_tokens", "cached_input_tokens", READ]
)
def test_spellings_of_cached_tokens(name: str) -> None:
    """Cached tokens are read in every spelling that emitters use."""
    assert count("x", {"input_tokens": 131, name: 64}) == (131, 64, None)
