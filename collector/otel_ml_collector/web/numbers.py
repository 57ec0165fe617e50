"""Many numbers in a payload: their shape, statistics and histogram."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from otel_ml_collector.query.answers.values import JsonValue

_FEWEST: Final = 8
_MOST: Final = 1_000_000
_DEPTH: Final = 8
_BINS: Final = 24
_HEIGHT: Final = 40


@dataclass(frozen=True, slots=True)
class Numbers:
    """What is told of an array.

    Attributes:
        shape: Length of each dimension.
        dtype: As it was said; empty for plain lists.
        not_numbers: How many are NaN, infinite or missing.
        histogram: SVG path in a box of 240 by 40; empty when there is nothing to draw.
    """

    shape: Sequence[int]
    dtype: str
    count: int
    low: float | None
    high: float | None
    mean: float | None
    deviation: float | None
    not_numbers: int
    histogram: str


def find_numbers(value: JsonValue) -> Numbers | None:
    """Read a value as an array of at least 8 numbers; None when it is none."""
    dtype = ""
    if isinstance(value, Mapping) and isinstance(value.get("values"), list) and "dtype" in value:
        dtype, value = str(value["dtype"])[:40], value["values"]
    if not isinstance(value, list):
        return None
    shape: list[int] = []
    items = _flatten(value, shape)
    if items is None or len(items) < _FEWEST:
        return None
    finite = [float(item) for item in items if item is not None and _is_finite(item)]
    if not finite:
        return Numbers(shape, dtype, len(items), None, None, None, None, len(items), "")
    low, high = min(finite), max(finite)
    mean = math.fsum(item / len(finite) for item in finite)
    unit = max(abs(low), abs(high)) or 1.0  # a square of the numbers themselves may be too large
    squares = math.fsum((item / unit - mean / unit) ** 2 for item in finite)
    deviation = unit * math.sqrt(squares / len(finite))
    return Numbers(
        shape,
        dtype,
        len(items),
        low,
        high,
        mean,
        deviation,
        len(items) - len(finite),
        _histogram(finite, low, high),
    )


def _flatten(value: Sequence[Any], shape: list[int]) -> list[Any] | None:
    """Flatten nested lists of one shape; None when they hold anything but numbers."""
    items: Sequence[Any] = value
    while True:
        shape.append(len(items) // math.prod(shape) if shape else len(items))
        if not items or len(items) > _MOST or len(shape) > _DEPTH:
            return None
        if not any(isinstance(item, list) for item in items):
            break
        if not all(isinstance(item, list) for item in items):
            return None
        if len({len(item) for item in items}) != 1:
            return None
        items = [inner for item in items for inner in item]
    if not all(item is None or _is_number(item) for item in items):
        return None
    return list(items) if any(item is not None for item in items) else None


def _is_number(item: object) -> bool:
    return isinstance(item, int | float) and not isinstance(item, bool)


def _is_finite(item: float) -> bool:
    try:
        return math.isfinite(item)
    except OverflowError:  # an integer that no float holds
        return False


def _histogram(values: Sequence[float], low: float, high: float) -> str:
    spread = high / 2 - low / 2  # of halves: the whole may be beyond what a float holds
    if spread <= 0:
        return ""
    bins = [0] * _BINS
    for value in values:
        bins[min(int((value / 2 - low / 2) / spread * _BINS), _BINS - 1)] += 1
    scale = (_HEIGHT - 2) / max(bins)
    return "".join(
        f"M{place * 10} {_HEIGHT}v-{max(number * scale, 1):.1f}h9v{max(number * scale, 1):.1f}"
        for place, number in enumerate(bins)
        if number
    )
