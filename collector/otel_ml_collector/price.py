"""Money: names of providers, prices in the settings, and costs as text.

Spec: https://github.com/open-telemetry/semantic-conventions-genai
"""

import json
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final

from otel_ml_collector.wording import FOUR_DIGITS, four_digits

_MOST_PRICES: Final = 10_000
_FIELDS: Final = (
    *("input", "output", "cached", "reasoning", "cache_creation"),
    *("audio_input", "audio_output", "cached_audio"),
)
_DIGITS: Final = 2  # significant digits of a cost below ten cents in a sentence
_FROM_CENTS: Final = 0.1  # US dollars; from here on, two decimals are enough
_EXACT_DIGITS: Final = 15  # significant digits; further ones are rounding errors of floats

# Names of providers in the OpenTelemetry conventions, with other spellings in lower case.
SPELLINGS: Final = {
    "anthropic": (),
    "aws.bedrock": ("amazon-bedrock", "aws", "aws_bedrock", "bedrock"),
    "azure.ai.content_safety": ("azure_ai_content_safety", "azure_content_safety"),
    "azure.ai.inference": ("az.ai.inference", "azure_ai"),
    "azure.ai.openai": ("az.ai.openai", "azure", "azure-openai", "azure_openai"),
    "cohere": (),
    "deepseek": (),
    "gcp.gemini": ("gemini", "google.generative-ai", "google_genai", "googleai"),
    "gcp.gen_ai": ("google",),
    "gcp.vertex_ai": ("google.vertex", "vertex_ai", "vertexai"),
    "groq": (),
    "ibm.watsonx.ai": ("watsonx",),
    "mistral_ai": ("mistral", "mistralai"),
    "moonshot_ai": ("moonshot", "moonshotai"),
    "openai": (),
    "perplexity": (),
    "x_ai": ("xai",),
}
_PROVIDER_OF_SPELLING: Final = {
    spelling: name for name, others in SPELLINGS.items() for spelling in (name, *others)
}
_PROVIDER_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_PROVIDER_CHARS: Final = 64
# Names of providers without separators, and other ones of the same providers.
_PROVIDER_OF_WORDS: Final = {
    **{
        "".join(_PROVIDER_WORD.findall(spelling)): name
        for spelling, name in _PROVIDER_OF_SPELLING.items()
    },
    **dict.fromkeys(("amazon", "awsbedrock", "amazonaws", "bedrockruntime"), "aws.bedrock"),
    **dict.fromkeys(("microsoft", "azureaiopenai", "openaiazure"), "azure.ai.openai"),
    **dict.fromkeys(("azureaifoundry", "azurefoundry"), "azure.ai.inference"),
    **dict.fromkeys(("googlegemini", "geminigoogle", "googleaigemini"), "gcp.gemini"),
    **dict.fromkeys(("googlevertex", "vertexgoogle", "vertexgemini", "vertex"), "gcp.vertex_ai"),
    **dict.fromkeys(("googlevertexai", "vertexaigemini"), "gcp.vertex_ai"),
    **dict.fromkeys(("googlegen", "genaigoogle"), "gcp.gen_ai"),
    **dict.fromkeys(("ibm", "ibmwatsonx", "watsonxai"), "ibm.watsonx.ai"),
    **dict.fromkeys(("xaigrok", "grok"), "x_ai"),
    **{f"{name}ai": name for name in ("anthropic", "cohere", "deepseek", "perplexity")},
    "groqcloud": "groq",
}
# Words that clients and frameworks add to the name of a provider.
_OF_CLIENTS: Final = frozenset(
    {
        *("chat", "completion", "completions", "responses", "response", "messages", "message"),
        *("embedding", "embeddings", "api", "client", "sdk", "llm", "llms", "model", "models"),
        *("converse", "provider", "service", "com", "inc", "async", "generative"),
        *("langchain", "python", "js", "node", "java"),
    }
)
_MODEL_PATH: Final = re.compile(
    r"^(?:(?:projects/[^/]+/locations/[^/]+/)?publishers/[^/]+/)?models/(?=[^/]+$)"
)
# Names of provider APIs that frameworks append to the name of a model.
_INTERFACES: Final = frozenset(
    {
        *("chat", "chat-completions", "chat_completions", "completion", "completions"),
        *("embeddings", "messages", "responses"),
    }
)


@lru_cache(1_024)
def provider_of(text: str) -> str:
    """Return the name that the OpenTelemetry conventions use for a provider.

    Other spellings are recognized: `Bedrock` becomes `aws.bedrock`, and `AzureOpenAI` becomes
    `azure.ai.openai`. The name of an API or client after the provider is removed: `openai-chat`
    becomes `openai`. An unknown name is returned unchanged.
    """
    lower = text.strip().lower()
    head = lower
    while head:
        if head in _PROVIDER_OF_SPELLING:
            return _PROVIDER_OF_SPELLING[head]
        head = head.rpartition(".")[0]
    words = [word.lower() for word in _PROVIDER_WORD.findall(text[:_PROVIDER_CHARS])]
    names = [word for word in words if word not in _OF_CLIENTS]
    return _PROVIDER_OF_WORDS.get("".join(names), text)


def is_provider(name: str) -> bool:
    """Return whether a name is a provider in the conventions, and not, for example, a framework."""
    return provider_of(name) in SPELLINGS


@lru_cache(4_096)
def bare_model(provider: str, model: str) -> str:
    """Remove a provider's prefix from a model's name: ``openai/gpt-5`` becomes ``gpt-5``."""
    head, _, bare = model.partition("/")
    return bare if bare and head and provider_of(head) == provider else model


def without_path(model: str) -> str:
    """Remove the path before a model's name: ``models/gemini-2.5-pro`` becomes ``gemini-2.5-pro``.

    Google's APIs name models by such a path, also with project, location and publisher.
    """
    return _MODEL_PATH.sub("", model)


def without_interface(model: str) -> str:
    """Remove the provider's API from the end of a model's name.

    ``gpt-5:completions`` becomes ``gpt-5``. Any other text after a colon is part of the name.
    """
    name, colon, interface = model.rpartition(":")
    return name if colon and interface.lower() in _INTERFACES else model


@dataclass(frozen=True, slots=True)
class Price:
    """The price of a provider's model, in US dollars per million tokens.

    Attributes:
        provider: Name of the provider, as in runs or in another known spelling.
        model: The provider's name of the model, exactly.
        input: For input tokens.
        output: For output tokens; None for a model without any, such as an embedding model.
        cached: For input tokens from the cache; None if they cost as much as other input tokens.
        reasoning: For reasoning tokens; None if they cost as much as other output tokens.
        cache_creation: For input tokens that are written to the cache; None if they cost as much as
            other input tokens.
        audio_input: For input tokens that are audio; None if the model has no price for them.
        audio_output: For output tokens that are audio; None if the model has no price for them.
        cached_audio: For audio from the cache; None if it costs as much as other audio input.
    """

    provider: str
    model: str
    input: float
    output: float | None = None
    cached: float | None = None
    reasoning: float | None = None
    cache_creation: float | None = None
    audio_input: float | None = None
    audio_output: float | None = None
    cached_audio: float | None = None


def read_prices(text: str) -> tuple[Price, ...]:
    """Read the prices of models from a JSON object.

    An example is ``{"openai": {"gpt-5": {"input": 1.25, "output": 10}}}``, in US dollars per
    million tokens. If the text is empty, the result is empty.

    Raises:
        ValueError: The text is invalid. The message explains what is expected.
    """
    if not text.strip():
        return ()
    try:
        providers = json.loads(text)
    except ValueError as error:
        raise ValueError("expected a JSON object of tables") from error
    prices = tuple(
        _read_price(provider, model, value)
        for provider, models in _table("prices", providers).items()
        for model, value in _table(provider, models).items()
    )
    if len(prices) > _MOST_PRICES:
        raise ValueError(f"expected at most {_MOST_PRICES} prices")
    return prices


def _read_price(provider: str, model: str, value: object) -> Price:
    place = f"{provider}.{model!r}"
    table = _table(place, value)
    for name, amount in table.items():
        if name not in _FIELDS:
            raise ValueError(f"{place}: unknown key {name!r}: expected {', '.join(_FIELDS)}")
        is_number = isinstance(amount, int | float) and not isinstance(amount, bool)
        if not is_number:
            raise ValueError(f"{place}.{name}: expected US dollars per million tokens")
        if not 0 <= amount <= sys.float_info.max:
            raise ValueError(f"{place}.{name}: expected a finite number, 0 or more")
    if "input" not in table:
        raise ValueError(f"{place}: expected the key input, in US dollars per million tokens")
    return Price(provider, model, **{name: float(amount) for name, amount in table.items()})


def _table(place: str, value: object) -> Mapping[str, Any]:
    if isinstance(value, dict):
        return value
    raise ValueError(f"{place}: expected a table")


def round_cost(cost: float | None) -> float | None:
    """Round a cost as it is stored and returned: 0.0003, not 0.00030000000000000003."""
    return None if cost is None else float(f"{cost:.{_EXACT_DIGITS}g}")


def write_dollars(cost: float | None, column: Iterable[float | None] = ()) -> str:
    """Write a cost for a column of dollars, with the same number of decimals in each row.

    Costs have two decimals if the largest cost of the column is $ 0.10 or more, else four. From
    $ 1,000 on, they have none.

    Args:
        cost: The cost of this row; None is written as a dash.
        column: All costs of the column.
    """
    if cost is None:
        return "\u2013"
    largest = max((entry for entry in column if entry is not None), default=0.0)
    if largest >= FOUR_DIGITS:
        return f"{four_digits(cost):,.0f}" if not 0 < cost < 1 else "< 1"
    digits = 2 if largest >= _FROM_CENTS else 4
    least = 10**-digits
    return (
        f"< {least:.{digits}f}" if 0 < cost < least / 2 else f"{cost:,.{digits}f}" if cost else "0"
    )


def write_cost(cost: float | None) -> str:
    """Write a cost for a sentence: ``$ 0.00032``, ``$ 0.27``, ``$ 1,204``; a dash for None."""
    if cost is None:
        return "\u2013"
    if abs(cost) >= FOUR_DIGITS:
        return f"$ {four_digits(cost):,.0f}"
    if not cost or not 0 < abs(cost) < _FROM_CENTS:
        return f"$ {cost:,.2f}" if cost else "$ 0"
    return f"$ {Decimal(f'{cost:.{_DIGITS}g}').normalize():f}"
