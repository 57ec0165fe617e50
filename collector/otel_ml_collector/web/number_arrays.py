"""Arrays of numbers: their statistics; a vector as a line, a matrix as a heat map."""

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from otel_ml_collector.store.reader import JsonValue
from otel_ml_collector.web.amounts import write_column
from otel_ml_collector.web.axis import AxisLabel, round_values
from otel_ml_collector.web.view import bars

_INFINITE: Final = ("Infinity", "-Infinity")
_FEWEST_NUMBERS: Final = 8
_MOST_NUMBERS: Final = 1_000_000
_ARRAY_DEPTH: Final = 8
_LARGEST: Final = sys.float_info.max
_MOST_DRAWN: Final = 1e100
_ARRAY_BINS: Final = 24
_HISTOGRAM_HEIGHT: Final = 40
_LINE_HEIGHT: Final = 60
_LINE_POINTS: Final = 480
_MOST_SIDE: Final = 64
_HEAT_LEVELS: Final = 8


@dataclass(frozen=True, slots=True)
class Numbers:
    """Statistics of an array.

    Attributes:
        shape: Length of each dimension.
        dtype: The type that was sent; empty for plain lists.
        not_numbers: Number of values that are NaN, infinite or missing.
        histogram: SVG path in a box of 240 by 40; empty if there is nothing to draw.
        sampled: Number of the numbers that were sent; 0 if these are all.
        line: SVG points of a vector, in a box of 240 by 60; empty for other arrays.
        ticks: Round values of the line's axis, each with its distance from the top.
        heat: SVG paths of a matrix, one for each level from 1 to 8, 10 units per cell.
        heat_size: Width and height of the drawing of a matrix.
    """

    shape: Sequence[int]
    dtype: str
    count: int
    low: float | None = None
    high: float | None = None
    mean: float | None = None
    deviation: float | None = None
    not_numbers: int = 0
    histogram: str = ""
    sampled: int = 0
    line: str = ""
    ticks: Sequence[AxisLabel] = ()
    heat: Sequence[str] = ()
    heat_size: tuple[int, int] = (0, 0)

    @property
    def about(self) -> str:
        """Its shape in words."""
        size = " × ".join(f"{length:,}" for length in self.shape)
        return f"array, {size}{f' {self.dtype}' if self.dtype else ''}"


def find_numbers(value: JsonValue) -> Numbers | None:
    """Return the statistics of an array of at least 8 numbers; None for any other value.

    Of the description of a long array, the numbers are a sample.
    """
    dtype, whole = "", None
    if isinstance(value, Mapping) and "dtype" in value:
        dtype, whole = str(value["dtype"])[:40], _read_shape(value.get("shape"))
        value = _read_sent(value)
    if not isinstance(value, list):
        return None
    shape: list[int] = []
    items = _flatten(value, shape, is_bool=dtype.endswith("bool"))
    if items is None or len(items) < _FEWEST_NUMBERS:
        return None
    sampled = len(items) if whole is not None and math.prod(whole) > len(items) else 0
    count = math.prod(whole) if whole and sampled else len(items)
    drawn = _draw(items, shape)
    # Leaves out NaN, and integers that are too large for a float.
    finite = [float(item) for item in items if item is not None and abs(item) <= _LARGEST]
    if not finite:
        return Numbers(shape, dtype, len(items), not_numbers=len(items))
    shape = shape if whole is None or not sampled else whole
    low, high = min(finite), max(finite)
    mean = math.fsum(item / len(finite) for item in finite)
    unit = max(abs(low), abs(high)) or 1.0  # scales to 1, because squares could overflow
    squares = math.fsum((item / unit - mean / unit) ** 2 for item in finite)
    deviation = unit * math.sqrt(squares / len(finite))
    histogram = ""
    spread = high / 2 - low / 2  # halves, because high - low could overflow
    if spread > 0:
        bins = [0] * _ARRAY_BINS
        for number in finite:
            bins[min(int((number / 2 - low / 2) / spread * _ARRAY_BINS), _ARRAY_BINS - 1)] += 1
        scale = (_HISTOGRAM_HEIGHT - 2) / max(bins)
        histogram = bars(bins, scale, ground=_HISTOGRAM_HEIGHT, least=1, width=9)
    return Numbers(
        shape,
        dtype,
        count,
        low,
        high,
        mean,
        deviation,
        len(items) - len(finite),
        histogram,
        sampled,
        **drawn,
    )


def _read_shape(shape: object) -> list[int] | None:
    is_shape = isinstance(shape, list) and all(isinstance(length, int) for length in shape)
    return shape if is_shape and isinstance(shape, list) else None


def _read_sent(value: Mapping[str, Any]) -> object:
    """Return the numbers that a description of an array has, as nested lists."""
    for name in ("values", "sample"):
        if isinstance(value.get(name), list):
            return value[name]
    cells = value.get("cells")
    if not isinstance(cells, Mapping) or not all(isinstance(item, list) for item in cells.values()):
        return None
    return [list(row) for row in zip(*cells.values(), strict=False)]


def _draw(items: Sequence[Any], shape: Sequence[int]) -> dict[str, Any]:
    """Draw a vector as a line, and a matrix as a heat map."""
    finite = [float(item) for item in items if item is not None and abs(item) <= _MOST_DRAWN]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    if low == high:
        return {}
    if len(shape) == 1:
        return _draw_line(items, low, high)
    is_matrix = len(shape) == 2 and min(shape) > 1 and max(shape) <= _MOST_SIDE  # noqa: PLR2004
    return _draw_heat(items, shape[1], low, high) if is_matrix else {}


def _draw_line(items: Sequence[Any], low: float, high: float) -> dict[str, Any]:
    every = max(len(items) // _LINE_POINTS, 1)
    ticks = round_values(low, high, 2)
    bottom, top = min(ticks[0], low), max(ticks[-1], high)

    def y(value: float) -> float:
        return 2 + (_LINE_HEIGHT - 4) * (1 - (value - bottom) / (top - bottom))

    width = 240 / max(len(items) - 1, 1)
    points = " ".join(
        f"{place * width:.1f},{y(float(item)):.1f}"
        for place, item in enumerate(items)
        if place % every == 0 and item is not None and abs(item) <= _MOST_DRAWN
    )
    labels = [
        AxisLabel(round(y(tick), 1), text)
        for tick, text in zip(ticks, write_column(ticks), strict=True)
    ]
    return {"line": points, "ticks": labels}


def _draw_heat(items: Sequence[Any], columns: int, low: float, high: float) -> dict[str, Any]:
    paths = [""] * _HEAT_LEVELS
    for place, item in enumerate(items):
        if item is None or abs(item) > _MOST_DRAWN:
            continue
        level = min(int((item - low) / (high - low) * _HEAT_LEVELS), _HEAT_LEVELS - 1)
        paths[level] += f"M{place % columns * 10} {place // columns * 10}h10v10h-10z"
    return {"heat": paths, "heat_size": (columns * 10, len(items) // columns * 10)}


def _flatten(value: Sequence[Any], shape: list[int], *, is_bool: bool) -> list[Any] | None:
    """Flatten nested lists of the same shape; None if they contain anything but numbers.

    Of an array of bools, true is 1 and false is 0.
    """
    items: Sequence[Any] = value
    while True:
        shape.append(len(items) // math.prod(shape) if shape else len(items))
        if not items or len(items) > _MOST_NUMBERS or len(shape) > _ARRAY_DEPTH:
            return None
        if not any(isinstance(item, list) for item in items):
            break
        if not all(isinstance(item, list) for item in items):
            return None
        if len({len(item) for item in items}) != 1:
            return None
        items = [inner for item in items for inner in item]
    items = [None if item in _INFINITE else item for item in items]
    if is_bool:
        items = [int(item) if isinstance(item, bool) else item for item in items]
    if not all(item is None or _is_number(item) for item in items):
        return None
    return items if any(item is not None for item in items) else None


def _is_number(item: object) -> bool:
    return isinstance(item, int | float) and not isinstance(item, bool)
