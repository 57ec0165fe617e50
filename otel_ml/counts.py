"""Writes counts, such as ``1 run`` and ``2,000 runs``, and numbers with few digits."""

import math
from typing import Final

_MOST_DECIMALS: Final = 9
# Larger numbers have an exponent.
_LARGEST_WRITTEN: Final = 1e15


def write_count(count: int, noun: str, plural: str = "") -> str:
    """Return a count with its noun in the right number.

    Args:
        count: The count.
        noun: What follows a count of 1, such as ``run`` or ``run was``.
        plural: What follows any other count. Default: `noun` with an s.
    """
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"


def write_number(value: float, digits: int = 3) -> str:
    """Write a number with few significant digits. The integer part is complete: 12,345.

    Args:
        value: The number. If it is not finite, the result is a dash.
        digits: How many significant digits.
    """
    if not math.isfinite(value):
        return "–"
    decimals = max(digits - 1 - math.floor(math.log10(abs(value))), 0) if value else 0
    if decimals > _MOST_DECIMALS or abs(value) >= _LARGEST_WRITTEN:
        return f"{value:.{digits}g}"
    written = f"{value:,.{decimals}f}"
    return written.rstrip("0").rstrip(".") if "." in written else written
