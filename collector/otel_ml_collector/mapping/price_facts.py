"""Reads what the price of a call depends on besides its token counts: service tier and audio.

Libraries write these facts under many names, and inside the JSON text of requests and responses. So
attributes are recognized by the words of their names.
"""

import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from otel_ml_collector.mapping.dialects.leaves import Words, words_of
from otel_ml_collector.mapping.values import read_structured, to_float, to_token_count
from otel_ml_collector.span import Span, Value

STANDARD: Final = "standard"

# Words of providers for their standard tier.
_STANDARD: Final = frozenset(
    {"default", "standard", "standard_only", "on_demand", "regular", "unspecified"}
)
# Vertex AI writes ON_DEMAND_FLEX, and enums have the prefix SERVICE_TIER_.
_TIER_PREFIX: Final = re.compile(r"^(?:service_tier_|traffic_type_|on_demand_)")
_TIER: Final = re.compile(r"[a-z][a-z0-9_]{0,31}")
_TIER_ENDS: Final = frozenset(
    {
        *(("service", "tier"), ("traffic", "type"), ("processing", "tier")),
        *(("processing", "mode"), ("usage", "speed"), ("response", "speed"), ("request", "speed")),
    }
)
_TIER_NAMES: Final = frozenset({"servicetier", "processing"})
# A tier with one of these words is not the provider's but one of the product.
_OF_PRODUCT: Final = frozenset(
    {
        *("customer", "user", "account", "tenant", "subscription", "plan", "support", "client"),
        *("billing", "org", "organization"),
    }
)
_OF_ANSWER: Final = frozenset(
    {
        *("response", "resp", "output", "outputs", "usage", "result", "completion", "answer"),
        *("returned", "actual"),
    }
)
_OF_REQUEST: Final = frozenset(
    {
        *("request", "requested", "params", "parameters", "invocation", "input", "inputs"),
        *("settings", "options", "kwargs", "config"),
    }
)
# JSON objects that may hold these facts. Messages and tools hold the product's own words.
_DOCUMENTS: Final = _OF_ANSWER | _OF_REQUEST | {"metadata", "data", "raw", "body", "details"}
_NO_DOCUMENTS: Final = frozenset(
    {
        *("message", "messages", "content", "contents", "text", "tool", "tools", "prompt"),
        *("prompts", "instructions", "arguments", "args", "headers", "schema", "tags"),
    }
)
# In a request's parameters or a provider's metadata, a member needs no such neighbours.
_OF_PROVIDER: Final = frozenset({"params", "parameters", "options", "settings", "kwargs"})
_NEIGHBOURS: Final = frozenset(
    {
        *("model", "model_name", "usage", "token_usage", "usage_metadata", "system_fingerprint"),
        *("prompt_tokens", "input_tokens", "completion_tokens", "output_tokens", "object"),
        *("prompt_token_count", "promptTokenCount", "inputTokens", "modelVersion"),
    }
)
_HINTS: Final = re.compile(
    r'"(?:service_?[tT]ier|traffic_?[tT]ype|processing_mode)"\s*:\s*"'
    r'|"(?:[a-z_]*_)?[aA]udio(?:[a-zA-Z_]*[tT]okens)?"\s*:\s*[1-9]|AUDIO"'
)
_HINT_PARTS: Final = ("ervice_tier", "erviceTier", "raffic", "udio", "AUDIO", "rocessing_mode")
_DEEPEST: Final = 8
_MOST_MEMBERS: Final = 2_000

_TOKEN: Final = frozenset({"token", "tokens", "usage"})
_CACHE: Final = frozenset({"cache", "cached"})
_IN: Final = frozenset({"input", "inputs", "prompt", "in"})
_OUT: Final = frozenset({"output", "outputs", "completion", "completions", "out"})
# Google's words for the answer, in the names of token counts.
_ANSWERED: Final = _OUT | {"candidates", "response"}
_COST: Final = frozenset({"cost", "costs"})
# A name with one of these words is a price, a part of a side's cost, or in another currency.
_NO_COST: Final = frozenset(
    {
        *("per", "rate", "price", "unit", "token", "cached", "cache", "reasoning", "audio"),
        *("cents", "eur", "gbp", "jpy", "cny", "inr", "max", "limit", "budget", "saved"),
        *("details", "creation", "read", "write"),
    }
)


class Audio(NamedTuple):
    """The tokens of a call that are audio. They are also in the call's other counts.

    Attributes:
        input: Input tokens, cached ones included.
        output: Output tokens.
        cached: Input tokens that were read from a cache; None if the sender does not report it.
    """

    input: int = 0
    output: int = 0
    cached: int | None = None


NO_AUDIO: Final = Audio()


class PriceFacts(NamedTuple):
    """What the price of a call depends on, besides model, time and token counts.

    Attributes:
        tier: Service tier, such as ``flex`` or ``batch``; `STANDARD` or empty for the standard one.
        audio: Which tokens are audio.
        cost: Sum of the costs of input and output that the sender reports; None if it reports none.
    """

    tier: str = ""
    audio: Audio = NO_AUDIO
    cost: float | None = None


NO_FACTS: Final = PriceFacts()


class _Names(NamedTuple):
    """The attributes of a span that hold such facts.

    Attributes:
        tiers: Names with a tier: those of the response first, those of the request last.
        batches: Names that are true for a call in a batch.
        audio: Names with a count of audio tokens, by field of `Audio`.
        costs: Names with the cost of one side.
        cost_objects: Names of JSON objects with costs.
        documents: Names of JSON objects of requests and responses, in the order of `tiers`.
    """

    tiers: Sequence[str]
    batches: Sequence[str]
    audio: Sequence[tuple[str, str]]
    costs: Mapping[str, str]
    cost_objects: Sequence[str]
    documents: Sequence[str]


def read_price_facts(span: Span) -> PriceFacts:
    """Read the service tier, the audio tokens, and the costs of input and output of a call."""
    names = _sort_names(tuple(span.attributes))
    if not any(names):
        return NO_FACTS
    attributes = span.attributes
    ranked = [(_rank(words_of(name)), read_tier(attributes[name])) for name in names.tiers]
    audio = {field: to_token_count(attributes[name]) for field, name in reversed(names.audio)}
    for name in names.documents:
        value = attributes[name]
        if not isinstance(value, str) or _has_hint(value):
            _read_document(name, value, ranked, audio)
    if any(attributes[name] in (True, "true") for name in names.batches):
        ranked = [(-1, "batch")]
    tier = next((tier for _, tier in sorted(ranked, key=lambda pair: pair[0]) if tier), "")
    return PriceFacts(tier, _audio(audio), _add_sides(attributes, names))


def _audio(counts: Mapping[str, int | None]) -> Audio:
    return Audio(counts.get("input") or 0, counts.get("output") or 0, counts.get("cached"))


def read_tier(value: object) -> str:
    """Return a service tier in lower case, without prefixes; empty if the value states none.

    ``auto`` lets the provider choose, so it states none.
    """
    if not isinstance(value, str):
        return ""
    text = value.strip().lower().replace("-", "_").replace(" ", "_")
    if text in _STANDARD:
        return STANDARD
    text = _TIER_PREFIX.sub("", text)
    if text in _STANDARD:
        return STANDARD
    known = text if _TIER.fullmatch(text) else ""
    return "" if known in {"auto", "none", "null", "online", "realtime", "sync"} else known


@lru_cache(1_024)
def _sort_names(attributes: Sequence[str]) -> _Names:
    """Find the attributes with facts about the price by their names."""
    words_by_name = {name: words_of(name) for name in attributes}
    ranked = sorted(words_by_name.items(), key=lambda pair: _rank(pair[1]))
    return _Names(
        tiers=[name for name, words in ranked if _is_tier(words)],
        batches=[name for name, words in ranked if words[-1:] == ("batch",)],
        audio=[(field, name) for name, words in ranked if (field := _audio_field(words))],
        costs={side: name for name, words in reversed(ranked) if (side := _side_of_cost(words))},
        cost_objects=[
            name
            for name, words in ranked
            if not _COST.isdisjoint(words) and not _side_of_cost(words)
        ],
        documents=[
            name
            for name, words in ranked
            if not _DOCUMENTS.isdisjoint(words) and _NO_DOCUMENTS.isdisjoint(words)
        ],
    )


def _is_tier(words: Words) -> bool:
    is_named = words[-2:] in _TIER_ENDS or (words[-1:] and words[-1] in _TIER_NAMES)
    return bool(is_named) and _OF_PRODUCT.isdisjoint(words)


def _rank(words: Words) -> int:
    """Return 0 for a name of the response, 2 for one of the request, 1 for any other."""
    if not _OF_ANSWER.isdisjoint(words):
        return 0
    return 1 if _OF_REQUEST.isdisjoint(words) else 2


def _audio_field(words: Words) -> str:
    """Return the field of `Audio` that a name counts; empty if none."""
    if "audio" not in words or _TOKEN.isdisjoint(words) or not _COST.isdisjoint(words):
        return ""
    if not _CACHE.isdisjoint(words):
        return "" if "creation" in words or "write" in words else "cached"
    return _side(words, _ANSWERED)


def _side(words: Words, answered: Collection[str]) -> str:
    for word in reversed(words):
        if word in _IN:
            return "input"
        if word in answered:
            return "output"
    return ""


def _side_of_cost(words: Words) -> str:
    """Return ``input`` or ``output`` for a name with the cost of that side; empty if none."""
    return _side(words, _OUT) if _COST & {*words} and _NO_COST.isdisjoint(words) else ""


def _has_hint(text: str) -> bool:
    """Return whether a JSON text has a tier or audio tokens. Most texts have none."""
    return any(part in text for part in _HINT_PARTS) and _HINTS.search(text) is not None


def _read_document(
    name: str, value: Value, ranked: list[tuple[int, str]], audio: dict[str, int | None]
) -> None:
    """Read the tier and the audio tokens in a JSON object of a request or response."""
    for words, holder, leaf in _members(read_structured(value), words_of(name)):
        if isinstance(leaf, str):
            if _is_tier(words) and _is_of_provider(words, holder):
                ranked.append((_rank(words), read_tier(leaf)))
        elif (field := _audio_field(words)) and audio.get(field) is None:
            audio[field] = to_token_count(leaf)


def _is_of_provider(words: Words, holder: Collection[str]) -> bool:
    """Return whether a member belongs to the provider's own objects, not to the product's data."""
    is_metadata = "metadata" in words and ("provider" in words or "response" in words)
    return is_metadata or not _OF_PROVIDER.isdisjoint(words) or not _NEIGHBOURS.isdisjoint(holder)


def _members(document: object, words: Words) -> Iterator[tuple[Words, Collection[str], Value]]:
    """Yield the members of a JSON value that may be facts: words, keys around them, and value."""
    left: list[tuple[object, Words, int]] = [(document, words, 0)]
    for _ in range(_MOST_MEMBERS):
        if not left:
            return
        value, words, depth = left.pop()
        if depth > _DEEPEST:
            continue
        if isinstance(value, list):
            left += [(item, words, depth + 1) for item in value]
        if not isinstance(value, Mapping):
            continue
        if str(value.get("modality")).upper().endswith("AUDIO"):  # Google's counts by modality
            count = value.get("token_count", value.get("tokenCount"))
            yield (*words, "audio", "tokens"), (), count if isinstance(count, int) else 0
            continue
        for key, member in value.items():
            named = (*words, *words_of(str(key)))
            if isinstance(member, Mapping | list):
                if "tokens" in words_of(str(key)) or _NO_DOCUMENTS.isdisjoint(words_of(str(key))):
                    left.append((member, named, depth + 1))
            elif isinstance(member, str | int):
                yield named, value.keys(), member


def _add_sides(attributes: Mapping[str, Value], names: _Names) -> float | None:
    """Return the sum of the reported costs of input and output; None without both of them."""
    sides = {side: _amount(attributes[name]) for side, name in names.costs.items()}
    for name in names.cost_objects:
        costs = read_structured(attributes[name])
        if not isinstance(costs, Mapping):
            continue
        words = words_of(name)
        if words[-2:] == ("cost", "details"):  # Langfuse: parts that do not overlap
            words = words[:-1]
            parts = [_amount(cost) for key, cost in costs.items() if key != "total"]
            if {"input", "output"} <= costs.keys():
                return math.fsum(part or 0 for part in parts) or None
        for key, cost in costs.items():
            if side := _side_of_cost((*words, *words_of(str(key)))):
                sides.setdefault(side, _amount(cost))
    given, answered = sides.get("input"), sides.get("output")
    return None if given is None or answered is None else (given + answered) or None


def _amount(value: object) -> float | None:
    cost = to_float(value) if isinstance(value, str | int | float) else None
    return cost if cost is not None and math.isfinite(cost) and cost >= 0 else None
