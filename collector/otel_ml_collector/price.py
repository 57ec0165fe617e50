"""Money: providers by name, their prices in the settings, and the writing of costs.

Spec: https://github.com/open-telemetry/semantic-conventions-genai
"""

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final

_MOST_PRICES: Final = 10_000
_FIELDS: Final = ("input", "output", "cached", "reasoning", "cache_creation")
_DIGITS: Final = 2  # significant digits of a cost below ten cents in a sentence
_FROM_CENTS: Final = 0.1  # US dollars; from here on, two decimals are enough
_EXACT_DIGITS: Final = 15  # significant digits; further ones are rounding errors of floats

# Names of providers in the OpenTelemetry conventions, with other spellings in lower case.
SPELLINGS: Final = {
    "anthropic": (),
    "aws.bedrock": ("amazon-bedrock", "aws", "aws_bedrock", "bedrock"),
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
    "openai": (),
    "perplexity": (),
    "x_ai": ("xai",),
}
_PROVIDER_OF_SPELLING: Final = {
    spelling: name for name, others in SPELLINGS.items() for spelling in (name, *others)
}
# Names of provider APIs that frameworks append to the name of a model.
_INTERFACES: Final = frozenset(
    {
        *("chat", "chat-completions", "chat_completions", "completion", "completions"),
        *("embeddings", "messages", "responses"),
    }
)


def provider_of(text: str) -> str:
    """Spell a provider as the conventions do; an unknown provider is kept as it is.

    ``openai.chat`` names the provider and the interface that was called.
    """
    lower = text.strip().lower()
    head = lower
    while head:
        if head in _PROVIDER_OF_SPELLING:
            return _PROVIDER_OF_SPELLING[head]
        head = head.rpartition(".")[0]
    return text


def is_provider(name: str) -> bool:
    """Tell a provider that the conventions know from a framework that poses as a provider."""
    return provider_of(name) in SPELLINGS


@lru_cache(4_096)
def bare_model(provider: str, model: str) -> str:
    """Take its provider's name off a model: ``openai/gpt-5`` of ``openai`` is ``gpt-5``."""
    head, _, bare = model.partition("/")
    return bare if bare and head and provider_of(head) == provider else model


def without_interface(model: str) -> str:
    """Take off a model's name by which of its provider's interfaces it was called.

    ``gpt-5:completions`` is ``gpt-5``; what else stands behind a colon is part of the name.
    """
    name, colon, interface = model.rpartition(":")
    return name if colon and interface.lower() in _INTERFACES else model


@dataclass(frozen=True, slots=True)
class Price:
    """A provider's price of a model, in US dollars for a million tokens.

    Attributes:
        provider: Its name, as runs have it or in another known spelling.
        model: The provider's name of the model, exactly.
        input: For tokens that go in.
        output: For tokens that come out; None for a model that gives none, such as an embedding.
        cached: For those that go in and were kept from before; None when they cost as the others.
        reasoning: For those that come out and are not shown; None when they cost as the others.
        cache_creation: For those that go in and are kept for later; None when they cost as the
            others.
    """

    provider: str
    model: str
    input: float
    output: float | None = None
    cached: float | None = None
    reasoning: float | None = None
    cache_creation: float | None = None


def read_prices(text: str) -> tuple[Price, ...]:
    """Read prices: a JSON object of tables, provider over model over prices; empty for none.

    Raises:
        ValueError: With what would be right.
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
        raise ValueError(f"{place}: expected input, in US dollars per million tokens")
    return Price(provider, model, **{name: float(amount) for name, amount in table.items()})


def _table(place: str, value: object) -> Mapping[str, Any]:
    if isinstance(value, dict):
        return value
    raise ValueError(f"{place}: expected a table")


def round_cost(cost: float | None) -> float | None:
    """Return a cost as stores and answers carry it: 0.0003, not 0.00030000000000000003."""
    return None if cost is None else float(f"{cost:.{_EXACT_DIGITS}g}")


def write_dollars(cost: float | None, column: Iterable[float | None] = ()) -> str:
    """Write a cost in a column of dollars: four decimals, or two if one of them is $ 0.10 or more.

    Args:
        cost: The cost of this row; a dash for none.
        column: All costs of the column, so that each row has the same number of decimals.
    """
    if cost is None:
        return "\u2013"
    largest = max((entry for entry in column if entry is not None), default=0.0)
    digits = 2 if largest >= _FROM_CENTS else 4
    least = 10**-digits
    return (
        f"< {least:.{digits}f}" if 0 < cost < least / 2 else f"{cost:,.{digits}f}" if cost else "0"
    )


def write_cost(cost: float | None) -> str:
    """Write a cost in a sentence: ``$ 0.00032``, ``$ 0.27``, ``$ 1,204.50``; a dash for none."""
    if cost is None:
        return "\u2013"
    if not cost or not 0 < abs(cost) < _FROM_CENTS:
        return f"$ {cost:,.2f}" if cost else "$ 0"
    return f"$ {Decimal(f'{cost:.{_DIGITS}g}').normalize():f}"
