"""Computes the cost of model calls from tokens and prices.

Prices set by the user take precedence over the built-in table. That table is the installed version
of ``genai-prices``; nothing is downloaded.

A cost is never guessed. It is None if a model is in no table, if a token count is missing or
invalid, or if tokens are audio and the model has no price for audio. The provider is the one that
the call names. If no table knows that name (a framework, a gateway or none), the provider is the
only one that offers a model of this name.

A call in a service tier, such as ``flex`` or ``batch``, costs what the table says for that tier. If
it says nothing, the call costs the standard price and its run has a note.
"""

import re
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from otel_ml.attributes import JUDGE_KIND
from otel_ml.records import TOKENS, Tokens
from otel_ml_collector.mapping.price_facts import (
    NO_FACTS,
    STANDARD,
    Audio,
    PriceFacts,
    read_price_facts,
)
from otel_ml_collector.mapping.run_columns import RunColumns
from otel_ml_collector.price import (
    Price,
    bare_model,
    is_provider,
    provider_of,
    without_interface,
    without_path,
)
from otel_ml_collector.span import Span

if TYPE_CHECKING:
    from genai_prices.types import MatchLogic, ModelInfo, ModelPrice, Provider, TieredPrices

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
    "moonshot_ai": "moonshotai",
    "x_ai": "x-ai",
}
# Servers that people run themselves. Their models have no price, whatever their names are.
_SELF_HOSTED: Final = frozenset(
    {"llama.cpp", "llamacpp", "lm_studio", "lmstudio", "localai", "ollama", "sglang", "vllm"}
)
# Kinds of runs that do not repeat the costs of others.
_PRICED: Final = frozenset({"model", "embedding", "agent", JUDGE_KIND})
# Conditions of the table's special prices that are service tiers.
_TIER_KINDS: Final = frozenset({"service_tier", "processing", "speed"})
# What may follow the name of a model in the table: a version, a date, or a word for its state. A
# size may only complete a name such as ``gemma-3-``. With a size of its own, it is another model.
_NAME_ENDING: Final = re.compile(
    r"(?:\d+b|\d*)(?:[-@:._/ ]?(?:v?\d+(?:\.\d+)*k?|latest|preview|exp|experimental|beta|stable|it"
    r"|instruct|thinking|default|\[1m\])(?![a-z]))*"
)
_COMPACT_DATE: Final = re.compile(r"-(20\d\d)(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(?=-|:|$)")
_SNAPSHOT: Final = re.compile(r"[-@](?:latest|20\d\d-?[01]\d-?[0-3]\d)$")


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


class TierRates(NamedTuple):
    """Prices of a service tier.

    Attributes:
        tier: Name of the tier.
        holds: Condition on the time of the call.
        rates: The prices that differ from the standard ones; the others are None.
    """

    tier: str
    holds: Callable[[datetime], bool]
    rates: Rates


class Tariff(NamedTuple):
    """The prices of a model over time.

    Attributes:
        first: Prices if none of `later` applies.
        later: Prices that apply only at some times. Each has a condition on the time of the call.
            The last one whose condition holds is used.
        tiers: Prices of service tiers.
    """

    first: Rates
    later: Sequence[tuple[Callable[[datetime], bool], Rates]] = ()
    tiers: Sequence[TierRates] = ()

    def at(self, time_ns: int) -> Rates:
        """Return the standard prices at a time in nanoseconds since the epoch."""
        moment = _moment(time_ns)
        return next((rates for holds, rates in reversed(self.later) if holds(moment)), self.first)

    def of_tier(self, tier: str, time_ns: int) -> Rates | None:
        """Return the prices of a service tier at a time; None if it has none."""
        moment = _moment(time_ns)
        special = [x.rates for x in self.tiers if x.tier == tier and x.holds(moment)]
        if not special:
            return None
        differing = {name: price for name, price in special[0]._asdict().items() if price}
        return self.at(time_ns)._replace(**differing)


class Charge(NamedTuple):
    """The cost of a call.

    Attributes:
        cost: In US dollars; None if it is unknown.
        note: How it differs from the standard price; empty if it does not.
    """

    cost: float | None
    note: str = ""


NO_CHARGE: Final = Charge(None)
NO_AUDIO_PRICE: Final = "no price for audio"
ADDED_UP: Final = "input and output cost added up"


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

    def cost(self, provider: str, model: str, usage: Tokens, time_ns: int) -> float | None:
        """Return the standard cost of a call in US dollars; None if it is unknown."""
        return self.charge(provider, model, usage, time_ns).cost

    def charge(
        self,
        provider: str,
        model: str,
        usage: Tokens,
        time_ns: int,
        *,
        facts: PriceFacts = NO_FACTS,
    ) -> Charge:
        """Return the cost of a call, and how it differs from the standard price.

        Args:
            provider: Provider of the model as runs name it; empty if the run names none.
            model: The provider's name of the model.
            usage: Token counts.
            time_ns: Start of the call, in nanoseconds since the epoch.
            facts: Its service tier, and which of these tokens are audio.
        """
        listed = self.find(provider, model)
        if listed is None:
            return NO_CHARGE
        tariff, tier = listed.tariff, facts.tier
        is_special = tier not in {"", STANDARD}
        special = tariff.of_tier(tier, time_ns) if is_special else None
        rates = special or tariff.at(time_ns)
        if _lacks_audio(rates, facts.audio):
            return Charge(None, NO_AUDIO_PRICE)
        cost = _cost(rates, usage, facts.audio)
        if cost is None or not is_special:
            return Charge(cost)
        name = tier.replace("_", " ")
        return Charge(cost, f"{name} price" if special else f"standard price, {name} tier")

    def find(self, provider: str, model: str) -> ListedPrice | None:
        """Return the prices of a model, by the provider and model that a call names, or None."""
        bare = without_path(without_interface(model))
        own = self._own.get((provider, model)) or self._own.get((provider, bare))
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
        bare = without_path(model)
        own = self._own_by_model(provider, model) or self._own_by_model(provider, bare)
        return own or _read_table(provider, bare)

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


def add_costs(run_columns: RunColumns, prices: Prices, spans: Sequence[Span]) -> None:
    """Compute the cost of each call whose span does not state it.

    If a span states the costs of its input and output, the cost is their sum. Many instrumentations
    state a cost of 0 for a model whose price they do not know. So a stated 0 is replaced too, if
    the call has tokens and the price is known here. A cost from otel-ml's own SDK is kept, because
    the user passed it.

    Args:
        run_columns: Fields of the runs; costs and their notes are added.
        prices: Prices of models.
        spans: The spans of the runs.
    """
    kinds, models = run_columns.columns["kind"], run_columns.column("provider_model")
    providers, stated = run_columns.column("provider"), run_columns.column("cost")
    counts = [run_columns.column(name) for name in TOKENS]
    audio = [run_columns.column(f"audio_{side}_tokens") for side in ("input", "output")]
    given, answered = counts[0], counts[1]
    places, charges = list[int](), list[Charge]()
    for at in _unknown_costs(run_columns):
        has_tokens = given[at] is not None or answered[at] is not None
        if not has_tokens and kinds[at] not in _PRICED:
            continue
        facts = _with_audio(read_price_facts(spans[at]), audio[0][at], audio[1][at])
        if facts.cost is not None and kinds[at] in _PRICED:
            charge = Charge(facts.cost, ADDED_UP)
        elif not (has_tokens and models[at]):
            continue
        else:
            usage = Tokens(*[count[at] for count in counts])
            provider, start_ns = providers[at] or "", spans[at].start_ns
            charge = prices.charge(provider, models[at], usage, start_ns, facts=facts)
            if charge == NO_CHARGE and stated[at] is not None:
                continue
        places.append(at)
        charges.append(charge)
    run_columns.fill("cost", [charge.cost for charge in charges], places)
    if any(charge.note for charge in charges):
        run_columns.fill("cost_note", [charge.note or None for charge in charges], places)


def _with_audio(facts: PriceFacts, given: int | None, answered: int | None) -> PriceFacts:
    """Return facts with the audio tokens that the run's dialect reads, if it reads any."""
    audio = facts.audio
    if given is None and answered is None:
        return facts
    return facts._replace(
        audio=audio._replace(
            input=audio.input if given is None else given,
            output=audio.output if answered is None else answered,
        )
    )


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


def _lacks_audio(rates: Rates, audio: Audio) -> bool:
    """Return whether tokens of a call are audio and the model has no price for audio."""
    is_unknown = bool(audio.input) and rates.audio_input is None
    return is_unknown or (bool(audio.output) and rates.audio_output is None)


def _cost(rates: Rates, usage: Tokens, audio: Audio) -> float | None:
    """Return the cost of a call. Special tokens without a price cost as much as ordinary ones."""
    given, answered = usage.input, usage.output
    cached_audio = audio.cached or 0
    if audio.cached is None and audio.input:  # not reported: assume the smallest possible number
        cached_audio = max(0, audio.input + (usage.cached or 0) - (given or 0))
    of_input = [
        (rates.cached, (usage.cached or 0) - cached_audio),
        (rates.cache_creation, usage.cache_creation or 0),
        (rates.audio_input, audio.input - cached_audio),
        (rates.cached_audio or rates.audio_input, cached_audio),
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
        audio_input=None if price.audio_input is None else Steps(price.audio_input),
        audio_output=None if price.audio_output is None else Steps(price.audio_output),
        cached_audio=None if price.cached_audio is None else Steps(price.cached_audio),
    )


def _read_table(provider: str, model: str) -> ListedPrice | None:
    """Return the prices of a model in the built-in table; None if it is not there."""
    # Imported here because it takes 0.2 s and 30 MB, and not every collector needs it.
    from genai_prices.data_snapshot import get_snapshot

    providers = get_snapshot().providers
    name = _IN_TABLE.get(provider, provider)
    match = next((provider for provider in providers if provider.id == name), None)
    is_named = match is not None
    if match is None and not is_provider(provider) and provider.lower() not in _SELF_HOSTED:
        match, model = _only_provider(providers, model)
    if match is None:
        return None
    known, is_its_own = _find_model(match, bare_model(provider, model), providers)
    tariff = _tariff(known, with_tiers=is_its_own) if known else None
    return tariff and ListedPrice(tariff, match.name, is_own=False, is_named=is_named)


def _find_model(
    provider: "Provider", name: str, providers: "list[Provider]"
) -> "tuple[ModelInfo | None, bool]":
    """Return a model of a provider, and whether its prices are the provider's own.

    If the table lists snapshots of a model by date, a name with another date or ``-latest`` also
    belongs to it. A name that only begins like that of a model belongs to none.
    """
    others = [other for other in providers if other.id in (provider.fallback_model_providers or ())]
    spelled = name.lower()
    dashed = _COMPACT_DATE.sub(r"-\1-\2-\3", spelled)
    undated = _SNAPSHOT.sub("", spelled)
    for text in dict.fromkeys((spelled, dashed, undated)):
        for owner in (provider, *others):
            for model in owner.models:
                if model.match.is_match(text) and _is_named(model.match, text):
                    is_known = text in (spelled, dashed) or _has_snapshots(model.match)
                    return (model if is_known else None), owner is provider
    return None, False


def _is_named(match: "MatchLogic", name: str) -> bool:
    """Return whether a rule of the table matches a whole name, apart from its version."""
    if hasattr(match, "or_"):
        return any(_is_named(rule, name) for rule in match.or_)
    if hasattr(match, "and_"):
        return all(_is_named(rule, name) for rule in match.and_)
    if not match.is_match(name):
        return False
    begin = getattr(match, "starts_with", None) or getattr(match, "contains", None)
    if begin is None or name.startswith("ft:") or begin.endswith("ft-"):  # a fine-tuned model
        return True
    return _NAME_ENDING.fullmatch(name[name.index(begin.lower()) + len(begin) :]) is not None


def _has_snapshots(match: "MatchLogic") -> bool:
    """Return whether a rule of the table names a snapshot by its date."""
    rules = getattr(match, "or_", None) or getattr(match, "and_", None)
    if rules:
        return any(map(_has_snapshots, rules))
    [text] = vars(match).values()
    return _SNAPSHOT.search(text) is not None or r"\d{" in text


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
    having = [provider for provider in providers if _find_model(provider, model, providers)[0]]
    matches = claiming if len(claiming) == 1 else having
    return (matches[0] if len(matches) == 1 else None), model


def _tariff(known: "ModelInfo", *, with_tiers: bool) -> Tariff | None:
    tiers = [
        TierRates(
            tier,
            variant.constraint.active if variant.constraint else _always,
            _rates(variant.prices),
        )
        for variant in (known.price_variants or () if with_tiers else ())
        for kind, tier in variant.when.items()
        if kind in _TIER_KINDS and len(variant.when) == 1
    ]
    if not isinstance(known.prices, list):
        return Tariff(_rates(known.prices), tiers=tiers)
    if not known.prices:
        return None
    later = [
        (price.constraint.active if price.constraint else _always, _rates(price.prices))
        for price in known.prices
    ]
    return Tariff(_rates(known.prices[0].prices), later, tiers)


def _moment(time_ns: int) -> datetime:
    return datetime.fromtimestamp(time_ns / 1e9, timezone.utc)


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
