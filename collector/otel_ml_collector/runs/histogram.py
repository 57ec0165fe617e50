"""Recorded runs over time as one SVG path."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from otel_ml_collector.store.reader import Row
from otel_ml_collector.store.runs import Window
from otel_ml_collector.times import SECOND_NS, to_rfc3339

BARS: Final = 45
_HEIGHT: Final = 44
_STEPS_S: Final = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 43200, 86400)


@dataclass(frozen=True, slots=True)
class Histogram:
    """Bars of one width.

    Attributes:
        runs: SVG path of all runs; errors: of the failed ones; both in a box of 450 by 48.
        labels: Times below the axis.
        step: Width of a bar, in words.
        most: Height of the highest one.
        total: Runs in all bars; failed: failed ones among them.
        start_ms, step_ms: Start of the first bar since the epoch, and width of one.
    """

    runs: str
    errors: str
    labels: Sequence[str]
    step: str
    most: int
    total: int
    failed: int
    start_ms: int
    step_ms: int
    bars: int = BARS


def lay_out(window: Window) -> tuple[Window, int]:
    """Choose a round width for 45 bars that cover a window and end where it ends.

    Returns:
        The time that the bars cover, and the width of one in nanoseconds.
    """
    step_ns = _step_ns(window)
    end_ns = -(-window.end_ns // step_ns) * step_ns
    return Window(end_ns - BARS * step_ns, end_ns), step_ns


def _step_ns(window: Window) -> int:
    length_s = (window.end_ns - window.start_ns) / SECOND_NS
    for step_s in _STEPS_S:
        if length_s <= step_s * (BARS - 1):  # one more when the window begins within a bar
            return step_s * SECOND_NS
    days = int(length_s // (86_400 * (BARS - 1))) + 1
    return days * 86_400 * SECOND_NS


def draw(buckets: Sequence[Row], window: Window, step_ns: int) -> Histogram:
    """Draw the counts of the buckets of a window."""
    most = max((row["runs"] for row in buckets), default=0)
    total = sum(row["runs"] for row in buckets)
    failed = sum(row["errors"] for row in buckets)
    bars = {row["bucket"]: row for row in buckets if 0 <= row["bucket"] < BARS}
    scale = _HEIGHT / most if most else 0
    times = [window.start_ns, (window.start_ns + window.end_ns) // 2, window.end_ns]
    cut = slice(5, 16) if step_ns * BARS > 86_400 * SECOND_NS else slice(11, 19)
    return Histogram(
        runs=_path({place: row["runs"] for place, row in bars.items()}, scale),
        errors=_path({place: row["errors"] for place, row in bars.items()}, scale),
        labels=[to_rfc3339(time_ns)[cut].replace("T", " ") for time_ns in times],
        step=_words(step_ns // SECOND_NS),
        most=most,
        total=total,
        failed=failed,
        start_ms=window.start_ns // 1_000_000,
        step_ms=step_ns // 1_000_000,
    )


def _path(counts: dict[int, int], scale: float) -> str:
    return "".join(
        f"M{place * 10} 48v-{max(number * scale, 2):.1f}h8v{max(number * scale, 2):.1f}"
        for place, number in sorted(counts.items())
        if number
    )


def _words(seconds: int) -> str:
    for unit, name in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= unit and seconds % unit == 0:
            return f"{seconds // unit} {name}"
    return f"{seconds} s"
