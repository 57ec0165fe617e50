"""Numbers in values: at most four significant digits, and one style in a column."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeGuard

from otel_ml_collector.wording import (
    MINUS,
    THIN,
    TIME_UNITS,
    duration,
    four_digits,
    number,
    with_minus,
)

_SIGNIFICANT: Final = 4
# How much of a number its rounding may hide.
_HIDDEN: Final = 0.05
# Larger and smaller numbers have an exponent.
_LARGEST_PLAIN: Final = 1e15
_SMALLEST_PLAIN: Final = 1e-5
# Years and short IDs have no separators.
_GROUPED_FROM: Final = 10_000


def is_amount(value: object) -> TypeGuard[int | float]:
    """Return whether a value is a finite number; true and false are none."""
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool)


def write_amount(value: float) -> str:
    """Write a number: whole numbers exactly, others with at most four significant digits."""
    if isinstance(value, int) or (value.is_integer() and abs(value) < _LARGEST_PLAIN):
        text = f"{int(value):,}" if abs(value) >= _GROUPED_FROM else str(int(value))
        return with_minus(text)
    if not math.isfinite(value):
        return "–" if math.isnan(value) else "∞" if value > 0 else "−∞"
    if not _SMALLEST_PLAIN <= abs(value) < _LARGEST_PLAIN:
        return with_minus(f"{value:.{_SIGNIFICANT - 1}e}")
    text = _write(value, _digits_of(value))
    is_exact = "." in text and read_amount(text) == value
    return text.rstrip("0").rstrip(".") if is_exact else text


def _digits_of(value: float) -> int:
    """Return the decimals of a number; below 0 to round to tens or hundreds."""
    return _SIGNIFICANT - 1 - math.floor(math.log10(abs(value)))


def _write(value: float, digits: int) -> str:
    value = round(value, digits)
    grouped = "," if abs(value) >= _GROUPED_FROM else ""
    return with_minus(f"{value:{grouped}.{max(digits, 0)}f}")


def read_amount(text: str) -> float:
    """Read the number that a text shows."""
    return float(text.replace(",", "").replace(MINUS, "-"))


def write_column(values: Iterable[float]) -> list[str]:
    """Write the numbers of a column, all with the same number of decimals.

    The largest number has at most four significant digits, unless all are whole numbers.
    """
    numbers = list(values)
    finite = [abs(value) for value in numbers if is_amount(value)]
    largest = max(finite, default=0)
    if all(float(value).is_integer() for value in finite if value < _LARGEST_PLAIN):
        return [write_amount(value) for value in numbers]
    if not _SMALLEST_PLAIN <= largest < _LARGEST_PLAIN:
        return [
            with_minus(f"{value:.{_SIGNIFICANT - 1}e}") if is_amount(value) else "–"
            for value in numbers
        ]
    digits = _digits_of(largest)
    while digits > 0 and all(round(value, digits - 1) == round(value, digits) for value in finite):
        digits -= 1
    return [_write(value, digits) if is_amount(value) else write_amount(value) for value in numbers]


def write_range(values: Sequence[float]) -> str:
    """Write the lowest and the highest number."""
    low, high = write_column([min(values), max(values)])
    return low if low == high else f"{low} to {high}"


def column_writer(values: Iterable[object], digits: int = 3) -> Callable[[float | str | None], str]:
    """Return a function that writes measured numbers of a column with the same decimals.

    The largest number has at most four significant digits. If that hid small numbers of the column,
    each number has its own significant digits instead.

    Args:
        values: The numbers of the column. Anything else is skipped.
        digits: How many significant digits a number below 1,000 has on its own: 3, or 4.
    """
    decimals = _choose_decimals([abs(value) for value in values if is_amount(value)], digits)

    def write(value: float | str | None) -> str:
        if decimals is None or not is_amount(value):
            return number(value, digits)
        return with_minus(f"{four_digits(value):,.{decimals}f}")

    return write


def _choose_decimals(sizes: Sequence[float], digits: int) -> int | None:
    """Choose the decimals of the numbers of a column; None if that hid small ones."""
    texts = [number(size, digits) for size in sizes]
    largest = max(sizes, default=0)
    decimals = max((len(text.partition(".")[2]) for text in texts), default=0)
    decimals = min(decimals, max(_digits_of(largest), 0)) if largest else 0
    if any("e" in text for text in texts) or any(
        abs(round(size, decimals) - size) > _HIDDEN * size for size in sizes
    ):
        return None
    return decimals


def duration_writer(values_ms: Iterable[float | None]) -> Callable[[float | None], str]:
    """Return a function that writes durations of a column with the same unit and decimals.

    The unit is that of the longest duration. If that hid short durations of the column, each
    duration has its own unit instead. Durations are in milliseconds; None is written as a dash.
    """
    sizes_ms = [value_ms for value_ms in values_ms if value_ms is not None]
    largest_ms = max(sizes_ms, default=0)
    units = ((unit_ms, unit) for least_ms, unit_ms, unit in TIME_UNITS if largest_ms >= least_ms)
    unit_ms, unit = next(units, (1, "ms"))
    decimals = _choose_decimals([size_ms / unit_ms for size_ms in sizes_ms], 3)

    def write(value_ms: float | None) -> str:
        if value_ms is None:
            return "–"
        if decimals is None:
            return duration(value_ms)
        return f"{four_digits(value_ms / unit_ms):,.{decimals}f}{THIN}{unit}"

    return write
