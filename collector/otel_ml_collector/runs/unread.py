"""Finds what a span says of tokens and cost that is no number for them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from otel_ml.records import TOKENS
from otel_ml_collector.mapping.dialects.tables import DIALECTS
from otel_ml_collector.mapping.values import to_float
from otel_ml_collector.runs.answers import Run
from otel_ml_collector.store.reader import JsonValue

_WANTED: Final = {
    **dict.fromkeys(TOKENS, "a count"),
    "cost": "an amount of dollars, not below zero",
}
# The attributes of each field, and what is expected of them.
_NUMBERS: Final = {
    source: _WANTED[row.field]
    for dialect in DIALECTS
    for row in dialect.rows
    if row.field in _WANTED
    for source in row.sources
    if "{" not in source
}


@dataclass(frozen=True, slots=True)
class Unread:
    """An attribute that would be a number of a run, if it was one.

    Attributes:
        name: The attribute.
        value: As it came.
        wanted: What it would have to be.
    """

    name: str
    value: JsonValue
    wanted: str


def find_unread(run: Run) -> Sequence[Unread]:
    """Find the attributes of a run that are to be counts or costs and are none, by name."""
    return [
        Unread(name, value, wanted)
        for name, wanted in _NUMBERS.items()
        if (value := run.attributes.get(name)) is not None and not _is_amount(value)
    ]


def _is_amount(value: JsonValue) -> bool:
    number = to_float(value) if isinstance(value, str | int | float) else None
    return number is not None and math.isfinite(number) and number >= 0
