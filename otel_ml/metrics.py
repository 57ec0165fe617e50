"""Metrics as numbers and series: what points of one name come to, one after the other."""

from array import array
from collections.abc import Iterable
from typing import Final

from otel_ml.wire import Point

Metric = float | list[float]

# What a process keeps of its own metrics; a store keeps all of them.
MOST_POINTS: Final = 10_000
MOST_NAMES: Final = 1_000

_SERIES: Final = frozenset({"append", "restart"})
_CUTTING: Final = frozenset({"replace", "restart"})


class Metrics:
    """What points come to: of a series the last 10,000, of at most 1,000 names.

    A point costs the same however many came before it.
    """

    __slots__ = ("_found",)

    def __init__(self) -> None:
        self._found: dict[str, float | array[float]] = {}

    def add(self, points: Iterable[Point]) -> None:
        """Take points in the order in which they were logged."""
        found = self._found
        for name, value, _, _, mode in points:
            before = found.get(name)
            if before is None:
                if len(found) < MOST_NAMES:
                    found[name] = array("d", (value,)) if mode in _SERIES else value
            elif mode in _CUTTING:
                found[name] = array("d", (value,)) if mode in _SERIES else value
            elif mode != "single":
                if isinstance(before, float):
                    found[name] = before = array("d", (before,))
                before.append(value)
                if len(before) >= 2 * MOST_POINTS:  # half of it at once: no cost for each point
                    del before[:-MOST_POINTS]

    def values(self) -> dict[str, Metric]:
        """Return each metric: a number while it is single, else the list of its points."""
        return {
            name: value if isinstance(value, float) else value[-MOST_POINTS:].tolist()
            for name, value in self._found.items()
        }


def resolve(points: Iterable[Point]) -> dict[str, Metric]:
    """Resolve points, given in order, as a store does when it is read; see ``docs/wire.md``."""
    metrics = Metrics()
    metrics.add(points)
    return metrics.values()
