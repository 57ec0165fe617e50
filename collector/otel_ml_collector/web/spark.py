"""A small curve of numbers as the points of an SVG polyline."""

from collections.abc import Sequence
from typing import Final

_POINTS: Final = 100
_HEIGHT: Final = 20


def spark(values: Sequence[float | None]) -> str:
    """Draw numbers in a box of 100 by 20; what is missing is passed over."""
    there = [(place, value) for place, value in enumerate(values) if value is not None]
    there = there[:: max(len(there) // _POINTS, 1)]
    low = min((value for _, value in there), default=0.0)
    high = max((value for _, value in there), default=1.0)
    spread = high - low
    width = 100 / max(len(values) - 1, 1)
    return " ".join(f"{place * width:.1f},{_at(value - low, spread):.1f}" for place, value in there)


def _at(above: float, spread: float) -> float:
    """Place a value: in the middle when all are the same."""
    return _HEIGHT - 1 - (_HEIGHT - 2) * above / spread if spread else _HEIGHT / 2
