"""Labels of the axes of figures."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AxisLabel:
    """A label at a place of an axis: per cent from the left, or pixels from the top."""

    at: float
    text: str
