"""Tests of the dialect of Vercel's AI SDK."""

from typing import Final

import pytest

from otel_ml.records import TOKENS, Tokens
from otel_ml_collector.mapping.prices import Prices
from otel_ml_collector.records import Run, Tag
from otel_ml_collector.span import Value
from tests.support.otel_ml_collector.spans import NOW_NS
from tests.unit.otel_ml_collector.mapping.dialect_runs import expect, map_call, without

INNER: Final[dict[str, Value]] = {
    "operation.name": "ai.generateText.doGenerate trip",
    "ai.operationId": "ai.generateText.doGenerate",
    "ai.telemetry.functionId": "trip",
    "ai.telemetry.metadata.client": "acme",
    "ai.telemetry.metadata.sessionId": "s-1",
    "ai.telemetry.metadata.userId": "u-1",
    "ai.model.id": "gpt-5",
    "ai.model.provider": "openai.chat",
    "ai.settings.maxRetries": 2,
    "ai.prompt.messages": '[{"role": "user", "content": [{"type": "text", "text": "Where?"}]}]',
    "ai.response.text": "In Kyoto.",
    "ai.response.model": "gpt-5-2026-08-01",
    "ai.response.id": "r-1",
    "ai.usage.inputTokens": 12,
    "ai.usage.outputTokens": 4,
    "ai.usage.cachedInputTokens": 8,
    "ai.usage.reasoningTokens": 2,
    "gen_ai.system": "openai.chat",
    "gen_ai.request.model": "gpt-5",
    "gen_ai.request.temperature": 0.5,
    "gen_ai.usage.input_tokens": 99,
}


@pytest.mark.parametrize(
    "told",
    [
        '{"openai": {"cachedPromptTokens": 7}}',
        '{"anthropic": {"usage": {"cache_read_input_tokens": 7}, "cacheCreationInputTokens": 0}}',
        '{"bedrock": {"usage": {"cacheReadInputTokens": 7}}}',
        '{"google": {"usageMetadata": {"cachedContentTokenCount": 7}}}',
        '{"deepseek": {"promptCacheHitTokens": 7}}',
    ],
)
def test_cache_in_words_of_the_provider(told: str) -> None:
    """Cached tokens are also read from the provider's metadata."""
    silent = without(INNER, "ai.usage.cachedInputTokens")
    run = map_call("it", {**silent, "ai.response.providerMetadata": told})
    assert run.cached_tokens == 7


CACHING: Final = (
    '{"anthropic": {"usage": {"cache_read_input_tokens": 700, "cache_creation_input_tokens": 40}}}'
)


@pytest.mark.parametrize(
    ("usage", "input_tokens"),
    [
        ({"ai.usage.promptTokens": 12, "ai.usage.completionTokens": 4}, 752),
        ({"ai.usage.inputTokens": 12, "ai.usage.cachedInputTokens": 700}, 752),
        (
            {
                "ai.usage.inputTokens": 752,
                "ai.usage.inputTokenDetails.noCacheTokens": 12,
                "ai.usage.inputTokenDetails.cacheReadTokens": 700,
                "ai.usage.inputTokenDetails.cacheWriteTokens": 40,
            },
            752,
        ),
    ],
    ids=["4", "5", "6"],
)
def test_input_beside_the_cache(usage: dict[str, Value], input_tokens: int) -> None:
    """In every SDK version, Anthropic's input tokens include cached ones, and the cost is right."""
    silent = without(
        INNER, "ai.usage.inputTokens", "ai.usage.outputTokens", "ai.usage.cachedInputTokens"
    )
    told = {"ai.model.id": "claude-sonnet-4-5", "ai.response.model": "claude-sonnet-4-5"}
    provider = {"ai.model.provider": "anthropic.messages", "ai.response.providerMetadata": CACHING}
    answered = {"ai.usage.outputTokens": 4, **usage}
    run = map_call("it", {**silent, **told, **provider, **answered})
    assert (run.input_tokens, run.cached_tokens, run.cache_creation_tokens) == (
        input_tokens,
        700,
        40,
    )
    # $ per million: 3 input, 0.3 read from the cache, 3.75 written to it, 15 output
    cost = (12 * 3 + 700 * 0.3 + 40 * 3.75 + 4 * 15) / 1e6
    assert Prices().cost("anthropic", "claude-sonnet-4-5", tokens_of(run), NOW_NS) == (
        pytest.approx(cost)
    )


def tokens_of(run: Run) -> Tokens:
    return Tokens(*[getattr(run, name) for name in TOKENS])


def test_inner() -> None:
    """The span of the model call has the tokens."""
    assert map_call("ai.generateText.doGenerate", INNER) == expect(
        "ai.generateText.doGenerate",
        without(INNER, "ai.prompt.messages", "ai.response.text"),
        kind="model",
        dialect="vercel",
        model="gpt-5",
        provider="openai",
        provider_model="gpt-5-2026-08-01",
        params='{"maxRetries":2,"temperature":0.5}',
        inputs='[{"role":"user","content":[{"type":"text","text":"Where?"}]}]',
        inputs_preview="Where?",
        outputs='"In Kyoto."',
        outputs_preview="In Kyoto.",
        input_tokens=12,
        output_tokens=4,
        cached_tokens=8,
        reasoning_tokens=2,
        session="s-1",
        user="u-1",
        response_id="r-1",
        tags=[Tag("client", "acme")],
    )


def test_outer() -> None:
    """The span around the model call has no tokens, but keeps their attributes."""
    told: dict[str, Value] = {
        "ai.operationId": "ai.generateText",
        "ai.telemetry.functionId": "trip",
        "ai.model.id": "gpt-5",
        "ai.prompt": '{"prompt": "Where?"}',
        "ai.response.text": "In Kyoto.",
        "ai.usage.inputTokens": 12,
        "gen_ai.usage.input_tokens": 12,
    }
    assert map_call("ai.generateText", told) == expect(
        "ai.generateText",
        without(told, "ai.prompt", "ai.response.text"),
        dialect="vercel",
        model="trip",
        provider_model="gpt-5",
        inputs='{"prompt":"Where?"}',
        inputs_preview="Where?",
        outputs='"In Kyoto."',
        outputs_preview="In Kyoto.",
    )


def test_tool() -> None:
    """A tool's arguments and result are read even if they are JSON-encoded twice."""
    told: dict[str, Value] = {
        "ai.operationId": "ai.toolCall",
        "ai.toolCall.name": "find",
        "ai.toolCall.args": '"{\\"city\\": \\"Kyoto\\"}"',
        "ai.toolCall.result": '{"degrees": 21}',
    }
    assert map_call("ai.toolCall", told) == expect(
        "ai.toolCall",
        without(told, "ai.toolCall.args", "ai.toolCall.result"),
        kind="tool",
        dialect="vercel",
        model="find",
        inputs='{"city":"Kyoto"}',
        inputs_preview="Kyoto",
        outputs='{"degrees":21}',
        outputs_preview="21",
    )


@pytest.mark.parametrize(
    ("text", "calls", "outputs"),
    [
        ("", '[{"toolName": "find"}]', '[{"toolName":"find"}]'),
        ("I look.", '[{"toolName": "find"}]', '"I look."'),
        ("", None, '""'),
    ],
)
def test_empty_text(text: str, calls: Value, outputs: str) -> None:
    """An empty text is the output only if there is no other output."""
    told = {"ai.operationId": "ai.streamText.doStream", "ai.response.text": text}
    assert map_call("it", {**told, "ai.response.toolCalls": calls}).outputs == outputs


@pytest.mark.parametrize(
    ("operation", "kind"),
    [
        ("ai.streamText", "chain"),
        ("ai.streamObject.doStream", "model"),
        ("ai.embedMany", "chain"),
        ("ai.embedMany.doEmbed", "embedding"),
        ("ai.rerank.doRerank", "model"),
        ("ai.of.tomorrow", "chain"),
    ],
)
def test_kind(operation: str, kind: str) -> None:
    """Each operation is mapped to a kind. Inner spans are the model calls."""
    assert map_call("it", {"ai.operationId": operation}).kind == kind
