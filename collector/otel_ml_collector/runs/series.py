"""Metric points as metrics: how points of one name combine, resolved when read.

The points come in the order (time, span id, position), whatever order they were delivered in.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Final

from otel_ml_collector.query.answers.metrics import MetricPoint
from otel_ml_collector.query.answers.values import MetricValue
from otel_ml_collector.store.points import NAMES, count_names, read_points
from otel_ml_collector.store.reader import Reader, Row

# How many points of a metric an answer holds unless more are asked for, and of all metrics.
MOST: Final = 1_000
MOST_OF_ALL: Final = 100_000
_FEWEST: Final = MOST_OF_ALL // NAMES
_SERIES: Final = frozenset({"append", "restart"})


@dataclass(frozen=True, slots=True)
class Series:
    """One metric.

    Attributes:
        count: How many points it has; `points` may be fewer, among them the first and the last,
            the lowest and the highest.
        is_single: Whether it is a plain number.
    """

    name: str
    count: int
    is_single: bool
    points: Sequence[MetricPoint]

    @property
    def value(self) -> MetricValue:
        """The metric as a number, or the numbers of its points."""
        values = [point.value for point in self.points]
        return values[0] if self.is_single else values


def find_series(
    reader: Reader, project: str, owners: Sequence[str], *, name: str = "", most: int = MOST
) -> list[Series]:
    """Find the metrics that were logged for some owners, the first 1,000 by name.

    A metric alone is a series after ``append`` and ``restart``, else a number; two points are a
    series. Of more points than `most`, or than 100,000 in all, the shape of the curve is kept.
    """
    names, is_plain = count_names(reader, project, owners, name)
    if not names:
        return []
    most = min(most, max(MOST_OF_ALL // names, _FEWEST))
    rows = read_points(reader, project, owners, name, most, is_plain=is_plain)
    return [_series(key, list(parts)) for key, parts in groupby(rows, itemgetter("name"))]


def values_of(found: Iterable[Series]) -> dict[str, MetricValue]:
    """Return metrics as numbers and lists of numbers, by name."""
    return {series.name: series.value for series in found}


def counts_of(found: Iterable[Series]) -> dict[str, int]:
    """Return how many points metrics have, by name."""
    return {series.name: series.count for series in found}


def _series(name: str, rows: Sequence[Row]) -> Series:
    first = rows[0]
    points = [_point(*kept) for row in rows for kept in row["kept"]]
    is_single = first["points"] == 1 and first["mode"] not in _SERIES
    return Series(name, first["points"], is_single, points)


def _point(_: int, value: float, step: int, time_ns: int) -> MetricPoint:
    return MetricPoint(
        value=value if math.isfinite(value) else None,
        step=None if step < 0 else step,
        time_ns=time_ns,
    )
