"""Metric points as metrics: how points of one name combine, resolved when read.

The points come in the order (time, span id, position), whatever order they were delivered in.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from otel_ml_collector.store.reader import Row

Metric = float | list[float]


def resolve(points: Iterable[Row]) -> dict[str, Metric]:
    """Combine points by their modes.

    ``append`` makes a series; ``auto`` a single value while it is alone, then a series;
    ``single`` is ignored when the name exists; ``replace`` cuts everything before it.
    """
    metrics: dict[str, Metric] = {}
    for point in points:
        name, value, mode = point["name"], point["value"], point["mode"]
        known = metrics.get(name)
        if known is None or mode == "replace":
            metrics[name] = [value] if mode == "append" else value
        elif mode != "single":
            metrics[name] = [*known, value] if isinstance(known, list) else [known, value]
    return metrics


def group(points: Iterable[Row]) -> dict[str, Sequence[Row]]:
    """Group points by name, in their order; what was replaced is left out."""
    groups: defaultdict[str, list[Row]] = defaultdict(list)
    for point in points:
        kept = groups[point["name"]]
        if point["mode"] == "replace":
            kept.clear()
        if point["mode"] != "single" or not kept:
            kept.append(point)
    return dict(groups)
