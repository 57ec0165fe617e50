"""Cuts the distributions of two sketches into the same cells, to draw or list both."""

from dataclasses import dataclass
from typing import Final

from otel_ml.counts import write_number
from otel_ml.statistics.distances import quantile
from otel_ml.statistics.sketches import Sketch, moments_of

_CELLS: Final = 40
_MOST_VALUES: Final = 20
_EDGE: Final = 0.005


@dataclass(frozen=True, slots=True)
class ValueCell:
    """An interval of numbers, or a value, with its share on both sides.

    Attributes:
        label: The value, or the start of the interval, as text.
        low, high: Ends of the interval. None for a value.
        reference: Share of the values of the reference that are in this cell.
        window: Share of the values of the window.
    """

    label: str
    low: float | None
    high: float | None
    reference: float
    window: float


def make_cells(reference: Sketch, window: Sketch) -> list[ValueCell]:
    """Cut both distributions into the same cells: intervals of numbers, or values."""
    if reference.kind != "number" and window.kind != "number":
        return _make_value_cells(reference, window)
    sides = [side for side in (reference, window) if side.n]
    if not sides:
        return []
    low = min(quantile(side, _EDGE) for side in sides)
    high = max(quantile(side, 1 - _EDGE) for side in sides)
    whole = all(_is_whole(side) for side in sides) and high - low < 4 * _CELLS
    width = max(-(-(high - low + 1) // _CELLS), 1.0) if whole else (high - low) / _CELLS
    if width <= 0:
        width = abs(high) or 1.0
    cells = max(min(round((high - low) / width + 0.5), _CELLS), 1)
    shares = []
    for side in (reference, window):
        of_side = [0.0] * cells
        for key, own in side.bins.items():
            count, mean, _ = moments_of(key, own)
            of_side[min(max(int((mean - low) / width), 0), cells - 1)] += count / side.n
        shares.append(of_side)
    return [
        ValueCell(
            label=write_number(low + width * place),
            low=low + width * place,
            high=low + width * (place + 1),
            reference=shares[0][place],
            window=shares[1][place],
        )
        for place in range(cells)
    ]


def _is_whole(sketch: Sketch) -> bool:
    return all(
        abs(mean - round(mean)) < max(abs(mean), 1.0) * 1e-4
        for mean in (moments_of(key, own)[1] for key, own in sketch.bins.items())
    )


def _make_value_cells(reference: Sketch, window: Sketch) -> list[ValueCell]:
    def share(sketch: Sketch, value: str) -> float:
        return sketch.values.get(value, 0) / sketch.n if sketch.n else 0.0

    values = sorted(
        reference.values.keys() | window.values.keys(),
        key=lambda value: (-max(share(reference, value), share(window, value)), value),
    )[:_MOST_VALUES]
    return [
        ValueCell(
            label=value,
            low=None,
            high=None,
            reference=share(reference, value),
            window=share(window, value),
        )
        for value in values
    ]
