"""Tests of the cost of model calls: built-in prices, the user's prices, and unknown prices."""

import time
import tracemalloc
from datetime import datetime, timezone
from typing import Any, Final

import pytest

from otel_ml import attributes as names
from otel_ml.records import Tokens
from otel_ml_collector.mapping.filing import Filing
from otel_ml_collector.mapping.prices import Prices
from otel_ml_collector.mapping.spans import map_spans
from otel_ml_collector.price import Price, read_prices, round_cost, write_cost
from otel_ml_collector.span import Value
from tests.support.otel_ml_collector.spans import NOW_NS, SCOPE, make_span

HUGE: Final = 10**12


def ns(year: int, month: int, day: int, hour: int = 12) -> int:
    return int(datetime(year, month, day, hour, tzinfo=timezone.utc).timestamp()) * 10**9


def cost(
    provider: str,
    model: str,
    tokens: tuple[Any, Any],
    attributes: dict[str, Value] | None = None,
    *,
    own: tuple[Price, ...] = (),
    start_ns: int = NOW_NS,
) -> float | None:
    """Map a call with input and output tokens, and return the cost of its run."""
    return charge(provider, model, tokens, attributes, own=own, start_ns=start_ns)[0]


def charge(
    provider: str,
    model: str,
    tokens: tuple[Any, Any],
    attributes: dict[str, Value] | None = None,
    *,
    own: tuple[Price, ...] = (),
    start_ns: int = NOW_NS,
) -> tuple[float | None, str]:
    """Map a call with input and output tokens, and return the cost of its run with its note."""
    told: dict[str, Value] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": provider,
        "gen_ai.request.model": model,
        "gen_ai.usage.input_tokens": tokens[0],
        "gen_ai.usage.output_tokens": tokens[1],
    }
    left = {key: value for key, value in {**told, **(attributes or {})}.items() if value != ""}
    span = make_span("chat", attributes=left, start_ns=start_ns, end_ns=start_ns + 1, scope=SCOPE)
    records = map_spans([span], Filing(None, start_ns, prices=Prices(own)))
    [run] = records.runs
    return run.cost, run.cost_note


def written(number: int, more: int = 0) -> dict[str, Value]:
    return {"gen_ai.usage.cache_creation.input_tokens": number, **cached(more)}


def cached(number: int) -> dict[str, Value]:
    return {"gen_ai.usage.cache_read.input_tokens": number}


# The comments give the prices in US dollars per million tokens, as in the built-in table.
@pytest.mark.parametrize(
    ("provider", "model", "tokens", "attributes", "expected"),
    [
        ("openai", "gpt-4o", (1_000, 200), {}, 0.0025 + 0.002),  # 2.5 in, 10 out
        ("openai", "gpt-4o-2024-08-06", (1_000, 200), {}, 0.0045),
        ("openai", "gpt-4o", (1_000, 200), cached(400), 0.0015 + 0.0005 + 0.002),  # 1.25 cached
        ("openai", "gpt-4o-mini", (1_000_000, 0), {}, 0.15),
        ("openai", "text-embedding-3-small", (1_000_000, ""), {}, 0.02),  # reports no output tokens
        ("anthropic", "claude-3-5-sonnet-20241022", (1_000, 1_000), {}, 0.018),  # 3 in, 15 out
        # 3.75 for tokens written to the cache, 0.3 for tokens read from it
        ("anthropic", "claude-sonnet-4-5", (100_000, 0), written(90_000), 0.03 + 0.3375),
        ("anthropic", "claude-sonnet-4-5", (100_000, 0), written(40_000, 50_000), 0.195),
        ("azure", "gpt-4o", (1_000, 200), {}, 0.0045),
        ("gcp.vertex_ai", "gemini-1.5-pro", (100_000, 1_000), {}, 0.125 + 0.005),  # 1.25, 5
        ("gcp.vertex_ai", "gemini-1.5-pro", (200_000, 1_000), {}, 0.5 + 0.01),  # 2.5, 10 > 128,000
        ("perplexity", "sonar", (1_000, 1_000), {}, 0.001 + 0.001 + 0.012),  # 12 for 1,000 calls
        ("openai", "gpt-4o", (0, 0), {}, 0.0),
        ("openai", "openai/gpt-4o", (1_000, 200), {}, 0.0045),
        ("openai", "gpt-4o:completions", (1_000, 200), {}, 0.0045),
        ("", "gpt-4o:responses", (1_000, 200), {}, 0.0045),
        ("strands-agents", "gpt-4o", (1_000, 200), {}, 0.0045),
        ("microsoft.agent_framework", "gpt-4o-2024-08-06", (1_000, 200), {}, 0.0045),
        ("my-openai-proxy", "openai/gpt-4o", (1_000, 200), {}, 0.0045),
        ("", "gpt-4o", (1_000, 200), {}, 0.0045),
        ("", "claude-3-5-sonnet-20241022", (1_000, 1_000), {}, 0.018),
        ("gcp.gemini", "models/gemini-2.5-pro", (1_000, 1_000), {}, 0.01125),  # 1.25 in, 10 out
        ("", "publishers/google/models/gemini-2.5-pro", (1_000, 1_000), {}, 0.01125),
        ("moonshot_ai", "kimi-k2-0905-preview", (1_000, 1_000), {}, 0.0031),  # 0.6 in, 2.5 out
        ("openai", "gpt-4o", (HUGE, HUGE), {}, HUGE * 12.5 / 1e6),
    ],
)
def test_known(
    provider: str,
    model: str,
    tokens: tuple[Any, Any],
    attributes: dict[str, Value],
    expected: float,
) -> None:
    """The cost of a call to a known model is its tokens times their prices."""
    assert cost(provider, model, tokens, attributes) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("provider", "model", "tokens", "attributes"),
    [
        ("openai", "no-such-model", (1, 1), {}),
        ("no-such-provider", "no-such-model", (1, 1), {}),
        ("anthropic", "gpt-4o", (1, 1), {}),  # the provider is known and has no such model
        ("", "text-embedding-3-small", (1, 1), {}),  # two providers have this model
        ("openai", "", (1, 1), {}),
        ("openai", "gpt-4o" + "o" * 300, (1, 1), {}),
        ("openai", "gpt-4o", ("", ""), {}),
        ("openai", "gpt-4o", (1, ""), {}),
        ("openai", "gpt-4o", ("", 1), {}),
        ("openai", "gpt-4o", (-1, 1), {}),
        ("openai", "gpt-4o", (1, -1), {}),
        ("openai", "gpt-4o", (10, 1), cached(11)),
        ("openai", "gpt-4o", (10, 1), {**cached(50), "gen_ai.usage.total_tokens": 11}),
        ("openai", "text-embedding-3-small", (10, 1), {}),
    ],
)
def test_unknown(
    provider: str, model: str, tokens: tuple[Any, Any], attributes: dict[str, Value]
) -> None:
    """A call with an unknown model or impossible token counts has no cost."""
    assert cost(provider, model, tokens, attributes) is None


def test_told() -> None:
    """A cost that the span reports is kept."""
    assert cost("openai", "gpt-4o", (1_000, 200), {"gen_ai.usage.cost": 0.5}) == 0.5


def test_cost_of_nothing() -> None:
    """A reported cost of 0 is treated as unknown if the call has tokens and a priced model."""
    assert cost("openai", "gpt-4o", (1_000, 200), {"gen_ai.usage.cost": 0.0}) == 0.0045
    assert cost("", "my-own-model", (1_000, 200), {"gen_ai.usage.cost": 0}) == 0.0
    assert cost("openai", "gpt-4o", ("", ""), {"gen_ai.usage.cost": 0}) == 0.0


@pytest.mark.parametrize(
    ("tokens", "attributes", "expected"),
    [
        # US dollars per million tokens: text 2.5 and 10, audio 32 and 64
        ((100, 50), {"audio.input_tokens": 90, "audio.output_tokens": 40}, 5_565),
        ((100, 50), {"audio.input_tokens": 90}, 10 * 2.5 + 90 * 32 + 50 * 10),
        ((100, 50), {"audio.output_tokens": 50}, 100 * 2.5 + 50 * 64),
    ],
)
def test_audio(tokens: tuple[Any, Any], attributes: dict[str, Value], expected: float) -> None:
    """Audio tokens have their own price."""
    named = {f"gen_ai.usage.{name}": count for name, count in attributes.items()}
    assert cost("openai", "gpt-audio", tokens, named) == pytest.approx(expected / 1e6, rel=1e-9)


@pytest.mark.parametrize(
    "attributes",
    [
        # gpt-realtime, in US dollars per million tokens: text 4 and 16, audio 32 and 64, cached 0.4
        {
            "gen_ai.usage.audio.input_tokens": 400,
            "gen_ai.usage.audio.output_tokens": 100,
            "gen_ai.usage.audio.cache_read.input_tokens": 300,
        },
        {
            "gen_ai.usage.details.input_audio_tokens": 400,
            "gen_ai.usage.details.output_audio_tokens": 100,
            "gen_ai.usage.details.cache_audio_read_tokens": 300,
        },
        {
            "mlflow.spanOutputs": """{"usage": {
                "input_token_details": {"cached_tokens": 300, "audio_tokens": 400,
                    "cached_tokens_details": {"text_tokens": 0, "audio_tokens": 300}},
                "output_token_details": {"text_tokens": 20, "audio_tokens": 100}}}"""
        },
        {
            "response_data": """{"usage": {
                "prompt_tokens_details": {"audio_tokens": 400,
                    "cached_tokens_details": {"audio_tokens": 300}},
                "completion_tokens_details": {"audio_tokens": 100}}}"""
        },
    ],
)
def test_cached_audio(attributes: dict[str, Value]) -> None:
    """Cached audio has its own price, also if the counts are in the response of the provider."""
    expected = (100 * 4 + 100 * 32 + 300 * 0.4 + 20 * 16 + 100 * 64) / 1e6
    read = {**cached(300), **attributes}
    assert cost("openai", "gpt-realtime", (500, 120), read) == pytest.approx(expected, rel=1e-9)


def test_google_audio() -> None:
    """Google lists token counts by modality: gemini-2.5-flash has 0.3 for text, 1 for audio."""
    usage = """{"usage_metadata": {"prompt_tokens_details": [
        {"modality": "TEXT", "token_count": 100}, {"modality": "AUDIO", "token_count": 900}]}}"""
    found = cost("gcp.gemini", "gemini-2.5-flash", (1_000, 0), {"mlflow.spanOutputs": usage})
    assert found == pytest.approx((100 * 0.3 + 900 * 1) / 1e6, rel=1e-9)


@pytest.mark.parametrize("side", ["input", "output"])
def test_audio_without_a_price(side: str) -> None:
    """A call with audio tokens has no cost if the model has no price for audio."""
    audio: dict[str, Value] = {f"gen_ai.usage.audio.{side}_tokens": 5}
    assert charge("openai", "gpt-4o", (10, 10), audio) == (None, "no price for audio")
    own = read_prices(
        """{"openai": {"gpt-4o": {"input": 1, "output": 2, "audio_input": 10, "audio_output": 20,
        "cached_audio": 5}}}"""
    )
    expected = {"input": 5 + 50 + 20, "output": 10 + 10 + 100}[side] / 1e6
    assert cost("openai", "gpt-4o", (10, 10), audio, own=own) == pytest.approx(expected, rel=1e-9)


# Prices of gpt-5-mini in US dollars per million tokens: 0.25 in, 0.025 cached and 2 out; in the
# tiers flex and batch half as much, in the tier priority 0.45, 0.045 and 3.6.
STANDARD: Final = (0.001275, "")
FLEX: Final = (0.0006375, "flex price")


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({}, STANDARD),
        ({"openai.response.service_tier": "default"}, STANDARD),
        ({"openai.request.service_tier": "auto"}, STANDARD),
        ({"openai.response.service_tier": "flex"}, FLEX),
        ({"gen_ai.openai.response.service_tier": "flex"}, FLEX),
        ({"openai.service_tier": "flex"}, FLEX),
        ({"llm.openai.serviceTier": "Flex"}, FLEX),
        ({"usage.service_tier": "flex"}, FLEX),
        ({"gen_ai.request.service_tier": "flex"}, FLEX),
        ({"llm.invocation_parameters": '{"service_tier": "flex"}'}, FLEX),
        ({"request_data": '{"model": "gpt-5-mini", "service_tier": "flex"}'}, FLEX),
        ({"mlflow.spanOutputs": '{"model": "m", "service_tier": "flex"}'}, FLEX),
        ({"ai.response.providerMetadata": '{"openai": {"serviceTier": "flex"}}'}, FLEX),
        ({"openai.response.service_tier": "priority"}, (0.002295, "priority price")),
        ({"openai.response.service_tier": "batch"}, (0.0006375, "batch price")),
        ({"gen_ai.request.is_batch": True}, (0.0006375, "batch price")),
        ({"openai.response.service_tier": "scale"}, (0.001275, "standard price, scale tier")),
        # The response states the tier that was used.
        (
            {"openai.request.service_tier": "flex", "openai.response.service_tier": "default"},
            STANDARD,
        ),
        (
            {
                "llm.invocation_parameters": '{"service_tier": "priority"}',
                "output.value": '{"object": "chat.completion", "service_tier": "flex"}',
            },
            FLEX,
        ),
        # The product's own words
        ({"customer.service_tier": "priority"}, STANDARD),
        ({"output.value": '{"id": 7, "service_tier": "priority"}'}, STANDARD),
        ({"llm.invocation_parameters": '{"messages": [{"service_tier": "flex"}]}'}, STANDARD),
        ({"openai.response.service_tier": "x" * 100}, STANDARD),
        ({"openai.response.service_tier": 7}, STANDARD),
    ],
)
def test_tier(attributes: dict[str, Value], expected: tuple[float, str]) -> None:
    """A call costs the price of the tier that the response, else the request, states."""
    found, note = charge("openai", "gpt-5-mini", (2_000, 500), {**cached(1_000), **attributes})
    assert found == pytest.approx(expected[0], rel=1e-9)
    assert note == expected[1]


@pytest.mark.parametrize(
    ("provider", "model", "key", "tier", "expected"),
    [
        # 3 in and 15 out; batch half as much
        ("anthropic", "claude-sonnet-4-5", "usage.service_tier", "batch", (0.009, "batch price")),
        ("anthropic", "claude-sonnet-4-5", "usage.service_tier", "standard", (0.018, "")),
        ("anthropic", "claude-sonnet-4-5", "request.service_tier", "standard_only", (0.018, "")),
        (
            *("anthropic", "claude-sonnet-4-5", "usage.service_tier", "priority"),
            (0.018, "standard price, priority tier"),
        ),
        (
            *("aws.bedrock", "amazon.nova-pro-v1:0", "aws.bedrock.service_tier", "flex"),
            (0.004, "standard price, flex tier"),  # 0.8 in, 3.2 out
        ),
        # Azure has its own prices for tiers, and the table does not have them.
        (
            *("azure.ai.openai", "gpt-5-mini", "openai.response.service_tier", "priority"),
            (0.00225, "standard price, priority tier"),
        ),
        (
            *("gcp.vertex_ai", "gemini-2.5-flash", "usage_metadata.traffic_type"),
            *("PROVISIONED_THROUGHPUT", (0.0028, "standard price, provisioned throughput tier")),
        ),
        (
            *("gcp.vertex_ai", "gemini-2.5-flash", "usage_metadata.traffic_type", "ON_DEMAND"),
            (0.0028, ""),
        ),
    ],
)
def test_tiers_of_providers(
    provider: str, model: str, key: str, tier: str, expected: tuple[float, str]
) -> None:
    """Without a price for its tier, a call has the standard price and a note."""
    found, note = charge(provider, model, (1_000, 1_000), {key: tier})
    assert found == pytest.approx(expected[0], rel=1e-9)
    assert note == expected[1]


def test_tier_before_its_price() -> None:
    """Before a tier has a price in the table, its calls have the standard price and a note."""
    flex: dict[str, Value] = {"openai.response.service_tier": "flex"}
    found = charge("openai", "gpt-5-mini", (1_000, 0), flex, start_ns=ns(2026, 10, 11))
    assert found == (0.00025, "standard price, flex tier")


@pytest.mark.parametrize(
    "attributes",
    [
        {"gen_ai.usage.input_cost": 0.1, "gen_ai.usage.output_cost": 0.2},
        {"llm.cost.prompt": 0.1, "llm.cost.completion": "0.2"},
        {"gen_ai.cost.output_cost": 0.2, "gen_ai.cost.input_cost": 0.1},
        {"mlflow.llm.cost": '{"input_cost": 0.1, "output_cost": 0.2}'},
        {"langfuse.observation.cost_details": '{"input": 0.1, "output": 0.15, "cached": 0.05}'},
    ],
)
@pytest.mark.parametrize("model", ["gpt-4o", "unknown"])
def test_sides_of_a_cost(attributes: dict[str, Value], model: str) -> None:
    """The reported costs of input and output are added up."""
    found, note = charge("openai", model, (1_000, 200), attributes)
    assert found == pytest.approx(0.3, rel=1e-9)
    assert note == "input and output cost added up"


@pytest.mark.parametrize(
    "attributes",
    [
        {"gen_ai.usage.input_cost": 0.1},
        {"gen_ai.usage.input_cost": 0.1, "gen_ai.usage.output_cost": -0.2},
        {"gen_ai.usage.input_cost": 0, "gen_ai.usage.output_cost": 0},
        {"input_cost_per_token": 0.1, "output_cost_per_token": 0.2},
        {"input_cost_eur": 0.1, "output_cost_eur": 0.2},
    ],
)
def test_no_sides(attributes: dict[str, Value]) -> None:
    """Half a cost, an invalid one, a price and another currency do not count as a cost."""
    assert charge("openai", "gpt-4o", (1_000, 200), attributes) == (0.0045, "")


def test_reported_sum() -> None:
    """A reported total takes precedence over the costs of input and output."""
    sides: dict[str, Value] = {"llm.cost.prompt": 0.1, "llm.cost.completion": 0.2}
    assert charge("openai", "gpt-4o", (1_000, 200), {**sides, "gen_ai.usage.cost": 0.5}) == (
        0.5,
        "",
    )


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "gpt-4o-mini-foo"),
        ("", "gpt-4o-mini-foo"),
        ("openai", "gpt-5-nano-turbo"),
        ("anthropic", "claude-sonnet-4-5-ours"),
        ("", "claude-sonnet-4-5x"),
        ("aws.bedrock", "us.anthropic.claude-sonnet-4-5-ours"),
        ("gcp.vertex_ai", "gemini-2.5-pro-ours"),
        ("gcp.gemini", "models/gemini-2.5-pro-ours"),
        ("gcp.gemini", "tunedModels/gemini-2.5-pro"),
        ("deepseek", "deepseek-r1-distill-qwen-7b"),
        ("ollama", "deepseek-r1"),
    ],
)
def test_longer_names(provider: str, model: str) -> None:
    """A model whose name only begins like a known one has no price, nor has a self-hosted model."""
    assert cost(provider, model, (1_000, 1_000)) is None


@pytest.mark.parametrize(
    ("provider", "model", "expected"),
    [
        ("openai", "gpt-5-mini-2031-02-01", 0.00225),
        ("openai", "gpt-4o-latest", 0.0125),
        ("openai", "gpt-4o-2024-05-13", 0.02),  # a snapshot with its own price
        ("", "gpt-5-mini-20310201", 0.00225),
        ("anthropic", "claude-sonnet-4-5-20310929", 0.018),
        ("anthropic", "claude-sonnet-4-5-latest", 0.018),
        ("aws.bedrock", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", 0.0198),
        ("gcp.vertex_ai", "claude-3-5-sonnet-v2@20241022", 0.018),
        ("gcp.gemini", "gemini-2.5-pro-preview-06-05", 0.01125),
    ],
)
def test_snapshots(provider: str, model: str, expected: float) -> None:
    """A dated snapshot or an alias of a known model has its price."""
    assert cost(provider, model, (1_000, 1_000)) == pytest.approx(expected, rel=1e-9)


def test_more_audio_than_tokens() -> None:
    """A call with more audio tokens than input tokens has no cost."""
    assert cost("openai", "gpt-audio", (10, 5), {"gen_ai.usage.audio.input_tokens": 90}) is None


@pytest.mark.parametrize("name", ["gen_ai.cost.total_cost", "litellm.cost.total"])
def test_told_by_a_gateway(name: str) -> None:
    """A cost that a gateway reports is kept, unless it is negative."""
    assert cost("openai", "gpt-4o", (1_000, 200), {name: 0.25}) == 0.25
    assert cost("openai", "gpt-4o", (1_000, 200), {name: -0.25}) == pytest.approx(0.0045)


@pytest.mark.parametrize("provider", ["", "strands-agents"])
def test_own_price_without_a_provider(provider: str) -> None:
    """The user's price applies without a named provider if only one provider has the model."""
    prices = Prices([Price("openai", "ours", 1.0, 1.0)])
    assert prices.cost(provider, "ours", Tokens(1_000_000, 0), NOW_NS) == 1.0
    both = Prices([Price("openai", "ours", 1.0), Price("groq", "ours", 2.0)])
    assert both.cost(provider, "ours", Tokens(1_000_000, 0), NOW_NS) is None


def test_no_call() -> None:
    """A chain that repeats the tokens of its call has no cost."""
    chain: dict[str, Value] = {"gen_ai.operation.name": "invoke_workflow"}
    assert cost("openai", "gpt-4o", (1_000, 200), chain) is None


def test_agent() -> None:
    """An agent that reports a model and tokens has a cost."""
    agent: dict[str, Value] = {"gen_ai.operation.name": "invoke_agent"}
    assert cost("openai", "gpt-4o", (1_000, 200), agent) == pytest.approx(0.0045)


def test_time() -> None:
    """A price applies from its start date: o3 cost 10 and 40 until 10 June 2025, then 2 and 8."""
    before, after = ns(2025, 6, 9), ns(2025, 6, 10)
    assert cost("openai", "o3", (1_000, 1_000), start_ns=before) == pytest.approx(0.05)
    assert cost("openai", "o3", (1_000, 1_000), start_ns=after) == pytest.approx(0.01)


OWN: Final = read_prices(
    """{
        "openai": {"gpt-4o": {"input": 1, "output": 2}},
        "vertexai": {"mine": {"input": 1, "output": 2, "cached": 0.5, "reasoning": 4}},
        "here": {"llama": {"input": 0, "output": 0}, "embed": {"input": 3}}
    }"""
)


@pytest.mark.parametrize(
    ("provider", "model", "tokens", "attributes", "expected"),
    [
        ("openai", "gpt-4o", (1_000_000, 1_000_000), {}, 3.0),
        ("openai", "gpt-4o", (1_000_000, 1_000_000), cached(500_000), 3.0),
        ("openai", "gpt-4o-mini", (1_000_000, 0), {}, 0.15),
        ("gcp.vertex_ai", "mine", (1_000_000, 1_000_000), cached(500_000), 0.5 + 0.25 + 2.0),
        ("vertexai", "mine", (0, 10), {"gen_ai.usage.reasoning.output_tokens": 5}, 30e-6),
        ("here", "llama", (5, 5), {}, 0.0),
        ("here", "embed", (1_000_000, ""), {}, 3.0),
        ("here", "embed", (1_000_000, 1), {}, None),
        ("here", "LLAMA", (5, 5), {}, None),
    ],
)
def test_own(
    provider: str,
    model: str,
    tokens: tuple[Any, Any],
    attributes: dict[str, Value],
    expected: float | None,
) -> None:
    """The user's price replaces the built-in one, and applies to unknown models too."""
    assert cost(provider, model, tokens, attributes, own=OWN) == (
        None if expected is None else pytest.approx(expected, rel=1e-12)
    )


def test_without_prices() -> None:
    """If costs are not computed, a run has only the cost that its span reports."""
    attributes: dict[str, Value] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.usage.input_tokens": 1,
        "gen_ai.usage.output_tokens": 1,
        names.PROJECT: "shop",
    }
    span = make_span("chat", attributes=attributes)
    [run] = map_spans([span], Filing(None, NOW_NS)).runs
    assert run.cost is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("openai", "expected a JSON object of tables"),
        ("[]", "prices: expected a table"),
        ('{"openai": 1}', "openai: expected a table"),
        ('{"openai": {"m": 1}}', "openai.'m': expected a table"),
        (
            '{"openai": {"m": {"output": 1}}}',
            "openai.'m': expected the key input, in US dollars per ",
        ),
        ('{"openai": {"m": {"in": 1}}}', "openai.'m': unknown key 'in': expected input, output"),
        ('{"openai": {"m": {"input": "1"}}}', "openai.'m'.input: expected US dollars per "),
        ('{"openai": {"m": {"input": true}}}', "openai.'m'.input: expected US dollars per "),
        ('{"openai": {"m": {"input": -1}}}', "openai.'m'.input: expected a finite number, 0 "),
        ('{"openai": {"m": {"input": NaN}}}', "openai.'m'.input: expected a finite number, 0 "),
        (
            f'{{"openai": {{"m": {{"input": {10**400}}}}}}}',
            "openai.'m'.input: expected a finite number",
        ),
    ],
)
def test_bad_prices(text: str, message: str) -> None:
    """The error about an invalid price names its place and the expected form."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - its text is compared
        read_prices(text)
    assert str(caught.value).startswith(message)


def test_many_names() -> None:
    """A sender with a new model name in each call does not slow the collector with look-ups."""
    prices, started = Prices(), time.thread_time()
    usage = Tokens(1, 1, None, None)
    found = {prices.cost("openrouter", f"made-up-{number}", usage, 0) for number in range(20_000)}
    assert found == {None}
    assert time.thread_time() - started < 5  # each look-up would take a millisecond


def test_long_names() -> None:
    """A sender with a new, long provider name in each call does not fill the memory."""
    prices, usage = Prices(), Tokens(1, 1, None, None)
    prices.cost("openai", "gpt-4o", usage, NOW_NS)  # loads the price table
    tracemalloc.start()
    try:
        found = {prices.cost(f"{one}{'x' * 100_000}", "m", usage, NOW_NS) for one in range(100)}
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found == {None}
    assert kept < 1_000_000


@pytest.mark.parametrize(
    ("cost", "text", "stored"),
    [
        (None, "\u2013", None),
        (0.0, "$ 0", 0.0),
        (3e-06, "$ 0.000003", 3e-06),
        (0.00030000000000000003, "$ 0.0003", 0.0003),
        (0.00032149, "$ 0.00032", 0.00032149),
        (0.5, "$ 0.50", 0.5),
        (0.2734, "$ 0.27", 0.2734),
        (1.0, "$ 1.00", 1.0),
        (1204.56, "$ 1,205", 1204.56),
    ],
)
def test_money(cost: float | None, text: str, stored: float | None) -> None:
    """A cost is written without an exponent, and stored without floating-point noise."""
    assert (write_cost(cost), round_cost(cost)) == (text, stored)
