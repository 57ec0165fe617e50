"""Computes the cost of model calls from tokens and prices.

Prices set by the user take precedence over the built-in table. That table is the installed version
of ``genai-prices``; nothing is downloaded.

A cost is never guessed. It is None if a model is in no table, or if a token count is missing or
invalid. The provider is the one that the call names. If no table knows that name (a framework, a
gateway or none), the provider is the only one that offers a model of this name.
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
# A lookup takes about 1 ms, and a sender may name a new model in each span.
_LOOKUPS_A_SECOND: Final = 200
_MILLION: Final = 1_000_000
# Providers that have another name in the table.
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
    """Prices per million tokens, by number of input tokens.

    Attributes:
        base: Price below the first step.
        above: Pairs of input tokens and price, in ascending order. Above a step, its price applies
            to all tokens of the call.
    """

    base: float
    above: Sequence[tuple[int, float]] = ()

    def at(self, input_tokens: int) -> float:
        """Return the price per million tokens for a call with this many input tokens."""
        base = self.base
        for start, price in self.above:
            if input_tokens > start:
                base = price
        return base


class Rates(NamedTuple):
    """All prices of a model at a point in time, in US dollars; None where there is no price.

    Attributes:
        input: Per million input tokens.
        output: Per million output tokens.
        cached: Per million input tokens read from a cache.
        reasoning: Per million reasoning tokens.
        cache_creation: Per million input tokens written to a cache.
        call: Per call.
        audio_input: Per million input tokens that are audio.
        audio_output: Per million output tokens that are audio.
        cached_audio: Per million input tokens that are audio and were read from a cache.
    """

    input: Steps | None
    output: Steps | None
    cached: Steps | None
    reasoning: Steps | None
    cache_creation: Steps | None = None
    call: float = 0.0
    audio_input: Steps | None = None
    audio_output: Steps | None = None
    cached_audio: Steps | None = None


class Audio(NamedTuple):
    """The tokens of a call that are audio. They are also in the call's other counts.

    Attributes:
        input: Input tokens, cached ones included.
        output: Output tokens.
    """

    input: int = 0
    output: int = 0


NO_AUDIO: Final = Audio()


class Tariff(NamedTuple):
    """The prices of a model over time.

    Attributes:
        first: Prices if none of `later` applies.
        later: Prices that apply only at some times. Each has a condition on the time of the call.
            The last one whose condition holds is used.
    """

    first: Rates
    later: Sequence[tuple[Callable[[datetime], bool], Rates]] = ()

    def at(self, time_ns: int) -> Rates:
        """Return the prices at a time in nanoseconds since the epoch."""
        if self.later:
            moment = datetime.fromtimestamp(time_ns / 1e9, timezone.utc)
            for holds, rates in reversed(self.later):
                if holds(moment):
                    return rates
        return self.first


class ListedPrice(NamedTuple):
    """The prices of a model and their source.

    Attributes:
        tariff: The prices.
        provider: Provider that charges them.
        is_own: Whether the user set them.
        is_named: Whether the call names the provider. Otherwise it is the only provider of the
            model.
    """

    tariff: Tariff
    provider: str
    is_own: bool
    is_named: bool


class _Busy(Exception):
    """Too many new models were looked up in this second."""


class Prices:
    """Finds the prices of models. Safe to use from several threads.

    Attributes:
        own_models: Names of the models for which the user has set a price.
    """

    def __init__(self, own: Sequence[Price] = ()) -> None:
        self._own = {
            (provider_of(price.provider), price.model): Tariff(_own_rates(price)) for price in own
        }
        self.own_models = frozenset(model for _, model in self._own)
        self._own_providers = {provider for provider, _ in self._own}
        self._find = lru_cache(_CACHED_MODELS)(self._find_listed)
        self._second = 0
        self._lookups = 0

    def cost(
        self, provider: str, model: str, usage: Tokens, time_ns: int, *, audio: Audio = NO_AUDIO
    ) -> float | None:
        """Return the cost of a call in US dollars; None if it is unknown.

        Args:
            provider: Provider of the model as runs name it; empty if the run names none.
            model: The provider's name of the model.
            usage: Token counts.
            time_ns: Start of the call, in nanoseconds since the epoch.
            audio: Which of these tokens are audio.
        """
        listed = self.find(provider, model)
        return None if listed is None else _cost(listed.tariff.at(time_ns), usage, audio)

    def find(self, provider: str, model: str) -> ListedPrice | None:
        """Return the prices of a model, by the provider and model that a call names, or None."""
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

    def _find_listed(self, provider: str, model: str) -> ListedPrice | None:
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._lookups = second, 0
        self._lookups += 1
        if self._lookups > _LOOKUPS_A_SECOND:  # raising keeps it out of the cache
            raise _Busy
        return self._own_by_model(provider, model) or _read_table(provider, model)

    def _own_by_model(self, provider: str, model: str) -> ListedPrice | None:
        """Return the user's price of a model whose provider is in no table."""
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
    """Compute the cost of each call whose span does not state it.

    Many instrumentations state a cost of 0 for a model whose price they do not know. So a stated 0
    is replaced too, if the call has tokens and the price is known here. A cost from otel-ml's own
    SDK is kept, because the user passed it.

    Args:
        run_columns: Fields of the runs; costs are added.
        prices: Prices of models.
        starts_ns: Start of each run, in nanoseconds since the epoch.
    """
    models = run_columns.columns.get("provider_model")
    if not models:
        return
    providers, stated = run_columns.column("provider"), run_columns.column("cost")
    counts = [run_columns.column(name) for name in TOKENS]
    given, answered = counts[0], counts[1]
    places = [
        at
        for at in _unknown_costs(run_columns)
        if (given[at] is not None or answered[at] is not None) and models[at]
        if stated[at] is None or prices.find(providers[at] or "", models[at])
    ]
    audio = _audio(run_columns)
    costs = [
        prices.cost(
            providers[at] or "",
            models[at],
            Tokens(*[count[at] for count in counts]),
            starts_ns[at],
            audio=audio[at] if audio else NO_AUDIO,
        )
        for at in places
    ]
    run_columns.fill("cost", costs, places)


def _unknown_costs(run_columns: RunColumns) -> Sequence[int]:
    """Return the indexes of runs whose spans state no cost, or one of 0."""
    costs = run_columns.columns.get("cost")
    if costs is None:
        return run_columns.every
    dialects = run_columns.columns["dialect"]
    return [
        at
        for at, (cost, dialect) in enumerate(zip(costs, dialects, strict=True))
        if cost is None or (cost == 0 and dialect != "otel_ml")
    ]


def _audio(run_columns: RunColumns) -> Sequence[Audio]:
    """Return the audio tokens of each run; empty if no run has any."""
    columns = run_columns.columns
    if "audio_input_tokens" not in columns and "audio_output_tokens" not in columns:
        return ()
    sides = map(run_columns.column, ("audio_input_tokens", "audio_output_tokens"))
    return [Audio(given or 0, answered or 0) for given, answered in zip(*sides, strict=True)]


def _cost(rates: Rates, usage: Tokens, audio: Audio) -> float | None:
    """Return the cost of a call. Special tokens without a price cost as much as ordinary ones."""
    given, answered = usage.input, usage.output
    # Emitters do not state how many cached tokens are audio. Assume the smallest possible number.
    cached_audio = max(0, audio.input + (usage.cached or 0) - (given or 0)) if audio.input else 0
    of_input = [
        (rates.cached, (usage.cached or 0) - cached_audio),
        (rates.cache_creation, usage.cache_creation or 0),
        (rates.audio_input, audio.input - cached_audio),
        (rates.cached_audio, cached_audio),
    ]
    of_output = [(rates.reasoning, usage.reasoning or 0), (rates.audio_output, audio.output)]
    into = _part(rates.input, of_input, given, given or 0)
    out = _part(rates.output, of_output, answered, given or 0)
    return None if into is None or out is None else into + out + rates.call


def _part(
    whole: Steps | None,
    parts: Sequence[tuple[Steps | None, int]],
    count: int | None,
    input_tokens: int,
) -> float | None:
    """Return the cost of the input or output tokens; None if a count is missing or invalid.

    Args:
        whole: Price of ordinary tokens.
        parts: Price and number of special tokens. None as price means the ordinary price.
        count: Number of all tokens.
        input_tokens: Number of input tokens, which selects the step of the price.
    """
    separate = sum(number for _, number in parts)
    if whole is None:
        return None if count or separate else 0.0
    if count is None or not 0 <= separate <= count or any(number < 0 for _, number in parts):
        return None
    price = whole.at(input_tokens)
    cost = (count - separate) * price
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
    """Return the prices of a model in the built-in table; None if it is not there."""
    # Imported here because it takes 0.2 s and 30 MB, and not every collector needs it.
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
    """Return the only provider to which a model name belongs, and its name of the model.

    That is the provider named at the start of the model name. Otherwise it is the only one whose
    pattern matches the name, or the only one that lists the model.
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
    facts = prices.__dict__  # its attributes are dynamic, so a type checker does not know them
    return Rates(
        _steps(facts.get("input_mtok")),
        _steps(facts.get("output_mtok")),
        _steps(facts.get("cache_read_mtok")),
        _steps(facts.get("output_reasoning_mtok")),
        _steps(facts.get("cache_write_mtok")),
        float(facts.get("requests_kcount") or 0) / 1_000,
        _steps(facts.get("input_audio_mtok")),
        _steps(facts.get("output_audio_mtok")),
        _steps(facts.get("cache_audio_read_mtok")),
    )


def _steps(price: "Decimal | TieredPrices | None") -> Steps | None:
    if price is None:
        return None
    if isinstance(price, Decimal):
        return Steps(float(price))
    return Steps(float(price.base), [(tier.start, float(tier.price)) for tier in price.tiers])
