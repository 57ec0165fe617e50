"""Costs of model calls: tokens by a table of prices.

The user's own prices stand before those of the kept table.

Never a guess: a model that is in no table has no price, a count that is missing or makes no sense
has no cost. Who serves a model is what its call names; where that is nobody whom a table knows (a
framework, a gateway, nothing), it is the only provider that the model's name belongs to. The kept
table is that of ``genai-prices``, as it was installed: nothing is fetched.
"""

import time
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from otel_ml.records import TOKENS, Tokens
from otel_ml_collector.mapping.run_columns import RunColumns
from otel_ml_collector.price import (
    Price,
    bare_model,
    is_provider,
    provider_of,
    without_interface,
)

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice, Provider, TieredPrices

_CACHED_MODELS: Final = 4_096
_NAME_CHARS: Final = 256
# One takes about a millisecond, and a sender may name a new model in each span.
_LOOK_UPS_A_SECOND: Final = 200
_MILLION: Final = 1_000_000
# Our names of providers whose own names the table has not.
_IN_TABLE: Final = {
    "aws.bedrock": "aws",
    "azure.ai.inference": "azure",
    "azure.ai.openai": "azure",
    "gcp.gemini": "google",
    "gcp.gen_ai": "google",
    "gcp.vertex_ai": "google",
    "mistral_ai": "mistral",
    "x_ai": "x-ai",
}


class Steps(NamedTuple):
    """Prices of a million tokens by input size: above a step its price holds for all tokens."""

    base: float
    above: Sequence[tuple[int, float]] = ()

    def at(self, input_tokens: int) -> float:
        """Return the price of a call with so many tokens of input."""
        base = self.base
        for start, price in self.above:
            if input_tokens > start:
                base = price
        return base


class Rates(NamedTuple):
    """All prices of a model at a point in time; None where it has no price."""

    input: Steps | None
    output: Steps | None
    cached: Steps | None
    reasoning: Steps | None
    cache_creation: Steps | None = None
    call: float = 0.0


class Tariff(NamedTuple):
    """The prices of a model: the last price that holds at the time of a call, else the first."""

    first: Rates
    later: Sequence[tuple[Callable[[datetime], bool], Rates]] = ()

    def at(self, time_ns: int) -> Rates:
        """Return the prices at a time."""
        if self.later:
            moment = datetime.fromtimestamp(time_ns / 1e9, timezone.utc)
            for holds, rates in reversed(self.later):
                if holds(moment):
                    return rates
        return self.first


class ListedPrice(NamedTuple):
    """The prices of a model, and where they stand.

    Attributes:
        provider: Whose prices they are.
        is_own: Whether the user set them.
        is_named: Whether the call names the provider; else the model belongs to it alone.
    """

    tariff: Tariff
    provider: str
    is_own: bool
    is_named: bool


class _Busy(Exception):
    """More new models are named than are looked up."""


class Prices:
    """Knows the prices of models; from several threads at once."""

    def __init__(self, own: Sequence[Price] = ()) -> None:
        self._own = {
            (provider_of(price.provider), price.model): Tariff(_own_rates(price)) for price in own
        }
        self._own_providers = {provider for provider, _ in self._own}
        self._find = lru_cache(_CACHED_MODELS)(self._look_up)
        self._second = 0
        self._look_ups = 0

    def cost(self, provider: str, model: str, usage: Tokens, time_ns: int) -> float | None:
        """Return the cost of a call in US dollars; None when that is not known.

        Args:
            provider: Who serves the model, as runs name it; empty where nobody is named.
            model: The provider's name of it.
            usage: The tokens.
            time_ns: When the call began.
        """
        listed = self.find(provider, model)
        return None if listed is None else _cost(listed.tariff.at(time_ns), usage)

    def find(self, provider: str, model: str) -> ListedPrice | None:
        """Find the prices of a model by the names that its call has; None where there are none."""
        own = self._own.get((provider, model))
        if own is not None:
            return ListedPrice(own, provider, is_own=True, is_named=True)
        model = without_interface(model)
        if max(len(provider), len(model)) > _NAME_CHARS:
            return None
        try:
            return self._find(provider, model)
        except _Busy:
            return None

    def _look_up(self, provider: str, model: str) -> ListedPrice | None:
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._look_ups = second, 0
        self._look_ups += 1
        if self._look_ups > _LOOK_UPS_A_SECOND:  # raised, so that it is not kept
            raise _Busy
        return self._own_by_model(provider, model) or _read_table(provider, model)

    def _own_by_model(self, provider: str, model: str) -> ListedPrice | None:
        """Find the user's price of a model whose provider is in no table."""
        if is_provider(provider) or provider in self._own_providers:
            named = self._own.get((provider, bare_model(provider, model)))
            return ListedPrice(named, provider, is_own=True, is_named=True) if named else None
        head, _, bare = model.rpartition("/")
        own = [
            ListedPrice(tariff, owner, is_own=True, is_named=False)
            for (owner, name), tariff in self._own.items()
            if name == model or (name == bare and provider_of(head) == owner)
        ]
        return own[0] if len(own) == 1 else None


def add_costs(run_columns: RunColumns, prices: Prices, starts_ns: Sequence[int]) -> None:
    """Work out the costs of calls whose spans do not state them.

    Args:
        run_columns: The fields of their runs.
        prices: What a token costs.
        starts_ns: When each of them began.
    """
    models = run_columns.columns.get("provider_model")
    if not models:
        return
    providers = run_columns.column("provider")
    counts = [run_columns.column(name) for name in TOKENS]
    given, answered = counts[0], counts[1]
    places = [
        at
        for at in run_columns.missing("cost")
        if (given[at] is not None or answered[at] is not None) and models[at]
    ]
    costs = [
        prices.cost(
            providers[at] or "", models[at], Tokens(*[count[at] for count in counts]), starts_ns[at]
        )
        for at in places
    ]
    run_columns.fill("cost", costs, places)


def _cost(rates: Rates, usage: Tokens) -> float | None:
    """Add up; a part that has no price of its own has that of the whole."""
    given, answered = usage.input, usage.output
    of_cache = [
        (rates.cached, usage.cached or 0),
        (rates.cache_creation, usage.cache_creation or 0),
    ]
    into = _part(rates.input, of_cache, given, given or 0)
    out = _part(rates.output, [(rates.reasoning, usage.reasoning or 0)], answered, given or 0)
    return None if into is None or out is None else into + out + rates.call


def _part(
    whole: Steps | None,
    parts: Sequence[tuple[Steps | None, int]],
    count: int | None,
    input_tokens: int,
) -> float | None:
    """Price a direction (input or output); None when a count is missing or out of range.

    Args:
        whole: What its tokens cost.
        parts: How many of them have another price, and that; None for that of the whole.
        count: How many there are.
        input_tokens: The count that chooses the step of a price.
    """
    apart = sum(number for _, number in parts)
    if whole is None:
        return None if count or apart else 0.0
    if count is None or not 0 <= apart <= count or any(number < 0 for _, number in parts):
        return None
    price = whole.at(input_tokens)
    cost = (count - apart) * price
    for special, number in parts:
        cost += number * (special.at(input_tokens) if special else price)
    return cost / _MILLION


def _own_rates(price: Price) -> Rates:
    return Rates(
        Steps(price.input),
        None if price.output is None else Steps(price.output),
        None if price.cached is None else Steps(price.cached),
        None if price.reasoning is None else Steps(price.reasoning),
        None if price.cache_creation is None else Steps(price.cache_creation),
    )


def _read_table(provider: str, model: str) -> ListedPrice | None:
    """Find the prices of a model in the kept table; None when they are not there."""
    # Inside: it takes 0.2 s and 30 MB, and not every collector sees a model that has a price.
    from genai_prices.data_snapshot import get_snapshot

    providers = get_snapshot().providers
    name = _IN_TABLE.get(provider, provider)
    match = next((provider for provider in providers if provider.id == name), None)
    is_named = match is not None
    if match is None and not is_provider(provider):
        match, model = _only_provider(providers, model)
    if match is None:
        return None
    known = match.find_model(bare_model(provider, model), all_providers=providers)
    tariff = _tariff(known) if known else None
    return tariff and ListedPrice(tariff, match.name, is_own=False, is_named=is_named)


def _only_provider(providers: "list[Provider]", model: str) -> "tuple[Provider | None, str]":
    """Find the only provider that a model's name belongs to, and its name of the model.

    That is the provider that the name begins with, that claims such names, or else the only
    provider that has a model of it.
    """
    head, _, bare = model.partition("/")
    owner = _IN_TABLE.get(provider_of(head), provider_of(head))
    begun = [provider for provider in providers if bare and provider.id == owner]
    if begun:
        return begun[0], bare
    claiming = [
        provider
        for provider in providers
        if provider.model_match and provider.model_match.is_match(model)
    ]
    having = [
        provider for provider in providers if provider.find_model(model, all_providers=providers)
    ]
    matches = claiming if len(claiming) == 1 else having
    return (matches[0] if len(matches) == 1 else None), model


def _tariff(known: "ModelInfo") -> Tariff | None:
    if not isinstance(known.prices, list):
        return Tariff(_rates(known.prices))
    if not known.prices:
        return None
    later = [
        (price.constraint.active if price.constraint else _always, _rates(price.prices))
        for price in known.prices
    ]
    return Tariff(_rates(known.prices[0].prices), later)


def _always(_time: datetime) -> bool:
    return True


def _rates(prices: "ModelPrice") -> Rates:
    facts = prices.__dict__  # its attributes are made of what it has, and are anything to a checker
    return Rates(
        _steps(facts.get("input_mtok")),
        _steps(facts.get("output_mtok")),
        _steps(facts.get("cache_read_mtok")),
        _steps(facts.get("output_reasoning_mtok")),
        _steps(facts.get("cache_write_mtok")),
        float(facts.get("requests_kcount") or 0) / 1_000,
    )


def _steps(price: "Decimal | TieredPrices | None") -> Steps | None:
    if price is None:
        return None
    if isinstance(price, Decimal):
        return Steps(float(price))
    return Steps(float(price.base), [(tier.start, float(tier.price)) for tier in price.tiers])
