"""The past of a rule, drawn: its figure over 30 days, its limit, and when it would have fired."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from otel_ml_collector.alerts.conditions import AlertCondition
from otel_ml_collector.alerts.history import (
    AlertFiring,
    AlertHistory,
    AlertHistorySlice,
)
from otel_ml_collector.filter.figures import Figure, SureComparison, TermComparison, leaves_of
from otel_ml_collector.times import from_rfc3339, to_rfc3339
from otel_ml_collector.web.axis import AxisLabel

_CHART_HEIGHT: Final = 150.0
_WIDTH: Final = 1_000.0
_MOST_CURVES: Final = 3
_MOST_SPELLS: Final = 20
_MOST_POINTS: Final = 1_000
_LEAST_WIDTH: Final = 0.4
_HOUR_MS: Final = 3_600_000


@dataclass(frozen=True, slots=True)
class FiredSpell:
    """A time in which a slice would have fired, with its place in the figure, in per cent.

    Attributes:
        number: Of all of these the oldest is 1.
        worst: The value that was farthest from what is good.
    """

    number: int
    name: str
    start: str
    is_over: bool
    lasted_ms: float
    worst: float | None
    left: float
    width: float


@dataclass(frozen=True, slots=True)
class PastCurve:
    """The figure of a slice over time.

    Attributes:
        line: Its path, a stretch for each time that was judged.
        limit: How many pixels from the top the limit is; None where it is no number.
    """

    name: str
    line: str
    limit: float | None
    up: Sequence[AxisLabel]
    across: Sequence[AxisLabel]
    spells: Sequence[FiredSpell]


@dataclass(frozen=True, slots=True)
class RulePast:
    """The past of a rule as its form shows it.

    Attributes:
        figure: The one that is drawn, as it is written.
        spells: When it would have fired, the newest first.
        days: How many days the past has.
    """

    history: AlertHistory
    figure: str
    curves: Sequence[PastCurve]
    spells: Sequence[FiredSpell]
    days: int


def draw_past(history: AlertHistory) -> RulePast:
    """Draw the past of a rule: the slices that would have fired longest, at most three."""
    condition = history.rule.plan.condition
    start_ns, end_ns = from_rfc3339(history.start, "start"), from_rfc3339(history.end, "end")
    window_ns = history.rule.plan.window_ns
    span = (start_ns - window_ns, end_ns)
    spells = [
        _place(firing, history.fired - place, span)
        for place, firing in enumerate(history.firings[: 10 * _MOST_SPELLS])
    ]
    limit = find_limit(condition)
    curves = [
        _draw(part, [spell for spell in spells if spell.name == part.name], span, limit)
        for part in history.slices[:_MOST_CURVES]
        if any(point.value is not None for point in part.points)
    ]
    return RulePast(
        history,
        write_figure(condition.main),
        curves,
        spells[:_MOST_SPELLS],
        max(round((span[1] - span[0]) / 86_400e9), 1),
    )


def write_figure(figure: Figure) -> str:
    """Write a figure as a condition has it."""
    return f"{figure.name}({figure.of})" if figure.of else figure.name


def find_limit(condition: AlertCondition) -> float | None:
    """Return the number that the first figure is compared with; None where it is none."""
    for leaf in leaves_of(condition.tree):
        comparison = leaf.comparison if isinstance(leaf, SureComparison) else leaf
        if isinstance(comparison, TermComparison):
            sides = (comparison.left, comparison.right)
            for side, other in (sides, sides[::-1]):
                if side == condition.main and isinstance(other, int | float):
                    return float(other)
    return None


def _place(firing: AlertFiring, number: int, span: tuple[int, int]) -> FiredSpell:
    began_ns = from_rfc3339(firing.start, "start")
    ended_ns = from_rfc3339(firing.end, "end") if firing.end else span[1]
    left, right = (round(_share(at_ns, span) * 100, 2) for at_ns in (began_ns, ended_ns))
    return FiredSpell(
        number=number,
        name=firing.slice,
        start=firing.start,
        is_over=firing.end is not None,
        lasted_ms=firing.hours * _HOUR_MS,
        worst=firing.worst,
        left=min(left, 100 - _LEAST_WIDTH),
        width=round(max(right - left, _LEAST_WIDTH), 2),
    )


def _share(at_ns: int, span: tuple[int, int]) -> float:
    return min(max((at_ns - span[0]) / max(span[1] - span[0], 1), 0.0), 1.0)


def _draw(
    part: AlertHistorySlice,
    spells: Sequence[FiredSpell],
    span: tuple[int, int],
    limit: float | None,
) -> PastCurve:
    # Where there are more points than can be seen, those between are left out; none that is bad.
    step = max(len(part.points) // _MOST_POINTS, 1)
    points = [
        point
        for place, point in enumerate(part.points)
        if place % step == 0 or point.word == "bad" or place == len(part.points) - 1
    ]
    values = [point.value for point in points if point.value is not None]
    numbers = [*values, *([] if limit is None else [limit])]
    low, high = min(numbers), max(numbers)
    low = 0.0 if low >= 0 and low < (high - low) else low
    if high == low:
        high += abs(high) or 1.0

    def height(value: float) -> float:
        return _CHART_HEIGHT * (1 - (value - low) / (high - low))

    stretches: list[list[str]] = [[]]
    for point in points:
        if point.value is None:
            stretches.append([])
            continue
        across = _share(from_rfc3339(point.time, "time"), span) * _WIDTH
        stretches[-1].append(f"{across:.1f} {height(point.value):.1f}")
    # A window between two that were not judged is a short dash.
    lines = [
        f"M{'L'.join(stretch)}" if len(stretch) > 1 else f"M{stretch[0]}h2"
        for stretch in stretches
        if stretch
    ]
    return PastCurve(
        name=part.name,
        line="".join(lines),
        limit=None if limit is None else height(limit),
        up=[
            AxisLabel(height(low + share * (high - low)), f"{low + share * (high - low):.3g}")
            for share in (0.0, 0.5, 1.0)
        ],
        across=[
            AxisLabel(at, to_rfc3339(at_ns)[:10])
            for at, at_ns in zip((0.0, 100.0), span, strict=True)
        ],
        spells=spells,
    )
