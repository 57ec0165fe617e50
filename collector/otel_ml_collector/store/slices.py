"""Groups cut by month: an insert makes a part of each partition that it touches."""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Final, TypeVar

Row = TypeVar("Row")

_MONTHS: Final = 50
_SHORTEST_NS: Final = 28 * 24 * 3600 * 10**9
_SECOND_NS: Final = 10**9


def slice_by_month(
    rows: Sequence[Row], time_of: Callable[[Row], int], months: int = _MONTHS
) -> Iterator[Sequence[Row]]:
    """Cut rows into slices of at most 50 months.

    Args:
        rows: In any order; none gives no slice.
        time_of: Tells the time of a row, in nanoseconds since the epoch.
        months: How many a slice may touch.
    """
    times = [time_of(row) for row in rows]
    if not times:
        return
    if (max(times) - min(times)) // _SHORTEST_NS + 2 <= months:
        yield rows
        return
    found: dict[tuple[int, int], list[Row]] = {}
    for row, time_ns in zip(rows, times, strict=True):
        day = datetime.fromtimestamp(time_ns // _SECOND_NS, UTC)
        found.setdefault((day.year, day.month), []).append(row)
    keys = sorted(found)
    for first in range(0, len(keys), months):
        yield [row for key in keys[first : first + months] for row in found[key]]
