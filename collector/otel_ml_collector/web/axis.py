"""Labels of the axes of figures."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_STEPS: Final = (1.0, 2.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True, slots=True)
class AxisLabel:
    """A label at a position of an axis: per cent from the left, or pixels from the top."""

    at: float
    text: str


def round_values(low: float, high: float, most: int = 4) -> Sequence[float]:
    """Return round numbers for an axis, such as 80, 85, 90 and 95, that cover a range.

    Args:
        low: The lowest value that is drawn.
        high: The highest value that is drawn. It is larger than `low`.
        most: Approximate number of intervals.
    """
    least = (high - low) / most
    power = 10.0 ** math.floor(math.log10(least))
    step = next(power * part for part in _STEPS if power * part >= least * (1 - 1e-9))
    first = math.floor(low / step + 1e-9)
    last = math.ceil(high / step - 1e-9)
    digits = max(2 - math.floor(math.log10(step)), 0)
    return [round(place * step, digits) for place in range(first, last + 1)]
