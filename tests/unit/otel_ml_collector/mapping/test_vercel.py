"""Tests of the dialect of Vercel's AI SDK."""

from typing import Any, Final

import pytest

from otel_ml.records import TOKENS, Tokens
from otel_ml_collector.mapping.prices import Prices
from otel_ml_collector.records import Run, Tag
from otel_ml_collector.span import Value
from tests.support.otel_ml_collector.spans import NOW_NS
from tests.unit.otel_ml_collector.mapping.dialect_runs import map_call

INNER: Final[dict[str, Value]] = {
    "ai.operationId": "ai.generateText.doGenerate",
    "ai.model.id": "gpt-5",
    "ai.model.provider": "openai.chat",
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
    run = map_call("it", {**INNER, "ai.response.providerMetadata": told})
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
    told = {"ai.model.id": "claude-sonnet-4-5", "ai.response.model": "claude-sonnet-4-5"}
    provider = {"ai.model.provider": "anthropic.messages", "ai.response.providerMetadata": CACHING}
    answered = {"ai.usage.outputTokens": 4, **usage}
    run = map_call("it", {**INNER, **told, **provider, **answered})
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


@pytest.mark.parametrize(
    ("told", "field", "value"),
    [
        ({"ai.usage.inputTokens": 12, "gen_ai.usage.input_tokens": 99}, "input_tokens", 12),
        ({"ai.usage.outputTokens": 4, "gen_ai.usage.output_tokens": 99}, "output_tokens", 4),
        ({"session.id": "s", "ai.telemetry.metadata.sessionId": "other"}, "session", "s"),
        ({"ai.response.model": "gpt-5-2026-08-01"}, "provider_model", "gpt-5-2026-08-01"),
        ({"ai.telemetry.metadata.client": "acme"}, "tags", [Tag("client", "acme")]),
        ({"ai.response.id": "r-1"}, "response_id", "r-1"),
    ],
)
def test_field(told: dict[str, Value], field: str, value: Any) -> None:
    """Fields that no recorded model call has are read, too."""
    assert getattr(map_call("it", {**INNER, **told}), field) == value


def test_prompt() -> None:
    """The prompt of an outer span is its input, and no longer an attribute."""
    told: dict[str, Value] = {
        "ai.operationId": "ai.generateText",
        "ai.prompt": '{"prompt": "Where?"}',
    }
    run = map_call("ai.generateText", told)
    assert (run.inputs, "ai.prompt" in run.attributes) == ('{"prompt":"Where?"}', False)


def test_tool() -> None:
    """A tool's arguments are read even if they are JSON-encoded twice."""
    told: dict[str, Value] = {
        "ai.operationId": "ai.toolCall",
        "ai.toolCall.args": '"{\\"city\\": \\"Kyoto\\"}"',
        "ai.toolCall.result": '{"degrees": 21}',
    }
    run = map_call("ai.toolCall", told)
    assert (run.inputs, run.outputs) == ('{"city":"Kyoto"}', '{"degrees":21}')
    assert run.attributes == '{"ai.operationId":"ai.toolCall"}'


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
