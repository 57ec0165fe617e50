"""Explains the cost of a run, and lists token counts and costs that are not numbers."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from otel_ml.records import TOKENS
from otel_ml_collector.mapping.dialects.shape import SHAPE
from otel_ml_collector.mapping.dialects.tables import DIALECTS
from otel_ml_collector.mapping.prices import ADDED_UP, Prices
from otel_ml_collector.mapping.values import find_member, read_structured, to_float
from otel_ml_collector.price import round_cost
from otel_ml_collector.runs.answers import Run, has_tokens
from otel_ml_collector.same_calls import CALLS
from otel_ml_collector.store.reader import JsonValue

_WANTED: Final = {
    **dict.fromkeys(TOKENS, "a count"),
    "cost": "an amount of dollars, not below zero",
}
# Sources of a run's numbers: field, attribute, and the path in the attribute's JSON, if any.
_NUMBERS: Final = {
    source: (row.field, name, tuple(member.rstrip("}").split(".")) if member else ())
    for dialect in DIALECTS
    for row in dialect.rows
    if row.field in _WANTED
    for source in row.sources
    for name, _, member in (source.partition("{"),)
}


@dataclass(frozen=True, slots=True)
class UnreadAmount:
    """An attribute of a run that should be a token count or a cost, but is not a valid number.

    Attributes:
        name: Name of the attribute. If the value is inside the JSON text of an attribute, also the
            key: ``usage{cost}`` is key ``cost`` of attribute ``usage``.
        value: The value as received.
        wanted: The expected form, such as "a count".
    """

    name: str
    value: JsonValue
    wanted: str


def find_unread(run: Run) -> Sequence[UnreadAmount]:
    """Find the attributes of a run that should be token counts or costs, but are not numbers."""
    return [
        UnreadAmount(source, value, _WANTED[field])
        for source, (field, name, member) in _NUMBERS.items()
        if (value := _member(run.attributes, name, member)) is not None and not _is_amount(value)
    ]


def _member(attributes: Mapping[str, Any], name: str, member: tuple[str, ...]) -> JsonValue:
    attribute = attributes.get(name)
    if attribute is None or not member:
        return attribute
    return cast("JsonValue", find_member(read_structured(attribute), member))


def _is_amount(value: JsonValue) -> bool:
    number = to_float(value) if isinstance(value, str | int | float) else None
    return number is not None and math.isfinite(number) and number >= 0


def explain_price(run: Run, prices: Prices) -> str:
    """Explain the cost of a run, or why a call of an LLM has none.

    This uses today's prices. The cost itself was computed when the run was stored.

    Returns:
        A sentence without a full stop; empty if there is nothing to explain.
    """
    if run.cost is not None:
        return _explain_known(run, prices)
    is_call = run.kind in CALLS and run.last_heard_ns is None
    if not is_call or not (run.provider_model or has_tokens(run.tokens)):
        return ""
    if not has_tokens(run.tokens):
        return "" if run.outcome == "error" else "no cost: the call reported no tokens"
    model, provider = run.provider_model, run.provider
    if not model:
        return "no cost: the call names no LLM"
    if prices.find(provider, model) is None:
        whose = f"{provider} has no price of {model}" if provider else f"{model} has no price"
        return f"no cost: {whose} in the price table or the setting `prices`"
    if run.cost_note:
        return f"no cost: {run.cost_note}"
    if prices.cost(provider, model, run.tokens, run.start_ns) is None:
        return "no cost: the token counts contradict each other"
    return "no cost: there was no price when it was stored"


def _explain_known(run: Run, prices: Prices) -> str:
    if any(
        _is_cost(_member(run.attributes, name, member), run.cost)
        for field, name, member in _NUMBERS.values()
        if field == "cost"
    ):
        return "as reported by the sender"
    if run.cost_note == ADDED_UP:
        return f"as reported by the sender, {ADDED_UP}"
    if run.cost_note:
        return _explain_price(run, prices)
    if run.dialect == SHAPE and run.cost != round_cost(_price_of(run, prices)):
        return "as reported by the sender"
    return _explain_price(run, prices)


def _explain_price(run: Run, prices: Prices) -> str:
    listed = prices.find(run.provider, run.provider_model) if run.provider_model else None
    if listed is None:
        return "from another record of the call" if run.also_recorded else run.cost_note
    price = "your price" if listed.is_own else "the price"
    note = f" ({run.cost_note})" if run.cost_note else ""
    if listed.is_named:
        return f"at {price} of {run.provider_model} from {listed.provider}{note}"
    return f"at {price} of {listed.provider}, the only provider of {run.provider_model}{note}"


def _price_of(run: Run, prices: Prices) -> float | None:
    return prices.cost(run.provider, run.provider_model, run.tokens, run.start_ns)


def _is_cost(json_value: JsonValue, cost: float | None) -> bool:
    number = to_float(json_value) if isinstance(json_value, int | float | str) else None
    return number is not None and round_cost(number) == cost
