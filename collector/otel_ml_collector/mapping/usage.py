"""Tokens and costs, counted once in a tree: they are those of the span that called the model.

Spans around a call repeat the sum of what is inside them. Which one is the call is told by the span
alone, so that it does not depend on what else arrived, or when.
"""

from typing import Final

from otel_ml_collector.mapping.dialects.table import CALLS
from otel_ml_collector.mapping.found import Found
from otel_ml_collector.mapping.prices import Prices, Usage

# What our own SDK writes it counted itself.
_COUNTED: Final = "otel_ml"


def keep_own_usage(found: Found) -> None:
    """Take tokens and cost from a run that is no call of a model; its attributes keep them."""
    if found["kind"] in CALLS or found["dialect"] == _COUNTED:
        return
    found.pop("input_tokens", None)
    found.pop("output_tokens", None)
    found.pop("cached_tokens", None)
    found.pop("reasoning_tokens", None)
    found.pop("cost", None)


def add_cost(found: Found, prices: Prices, start_ns: int) -> None:
    """Work out what a call cost, where its span does not say it."""
    if "cost" in found or not ("input_tokens" in found or "output_tokens" in found):
        return
    provider, model = found.get("provider"), found.get("provider_model")
    if not provider or not model:
        return
    usage = Usage(
        found.get("input_tokens"),
        found.get("output_tokens"),
        found.get("cached_tokens"),
        found.get("reasoning_tokens"),
    )
    cost = prices.cost(provider, model, usage, start_ns)
    if cost is not None:
        found["cost"] = cost
