"""Draws the past of a rule: its figure over 30 days, its limit, and when it would have fired."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from otel_ml_collector.alerts.conditions import AlertCondition
from otel_ml_collector.alerts.history import (
    AlertFiring,
    AlertHistory,
    AlertHistorySlice,
    AlertPoint,
)
from otel_ml_collector.alerts.sentences import (
    explain_condition,
    name_figure,
    write_value,
)
from otel_ml_collector.times import DAY_NS, from_rfc3339, to_rfc3339
from otel_ml_collector.web.axis import AxisLabel, round_values

_CHART_HEIGHT: Final = 150.0
_WIDTH: Final = 1_000.0
_MOST_CURVES: Final = 3
_MOST_SPELLS: Final = 20
_MOST_POINTS: Final = 1_000
_LEAST_WIDTH: Final = 0.4
_HOUR_MS: Final = 3_600_000


@dataclass(frozen=True, slots=True)
class FiredSpell:
    """A period in which the alert for one slice would have fired, and its position in the chart.

    A slice is the runs with one value of the rule's `by`, such as client = Remax.

    Attributes:
        number: Number of the period in the table; the oldest is 1.
        name: Name of the slice; empty if the rule does not set `by`.
        start: When the alert would have started, RFC 3339.
        is_over: Whether it has ended. False if it would still fire.
        lasted_ms: How long it would have fired so far, in milliseconds.
        worst: Worst value of the figure in the period; None if there is no value.
        left: Left edge in the chart, in per cent of the chart's width.
        width: Width in the chart, in per cent of the chart's width.
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
    """The curve of a rule's figure over time, for one slice.

    Attributes:
        name: Name of the slice; empty if the rule does not set `by`.
        line: The curve as an SVG path. It has a gap at windows with too few runs.
        limit: Pixels from the top of the chart to the limit in the rule's condition; None if the
            figure is not compared with a number.
        up: Labels of the vertical axis.
        across: Labels of the horizontal axis.
        spells: Periods in which the alert for this slice would have fired.
    """

    name: str
    line: str
    limit: float | None
    up: Sequence[AxisLabel]
    across: Sequence[AxisLabel]
    spells: Sequence[FiredSpell]


@dataclass(frozen=True, slots=True)
class RulePast:
    """When a rule would have fired in the last 30 days, for the pages of the rule.

    Attributes:
        history: The checked windows and their results.
        figure: Name of the figure that is drawn, such as ``p95 latency``.
        explained: The condition in words, such as ``p95 latency above 2.00 s``; empty if
            `explain_condition` returns no text for it.
        curves: The figure over time, for at most three slices.
        spells: Periods in which the alert would have fired, newest first, at most 20.
        days: Number of days that were checked.
    """

    history: AlertHistory
    figure: str
    explained: str
    curves: Sequence[PastCurve]
    spells: Sequence[FiredSpell]
    days: int


def draw_past(history: AlertHistory) -> RulePast:
    """Draw when a rule would have fired, for up to three slices: those with the longest alerts."""
    condition = history.rule.plan.condition
    start_ns, end_ns = from_rfc3339(history.start, "start"), from_rfc3339(history.end, "end")
    window_ns = history.rule.plan.window_ns
    span = (start_ns - window_ns, end_ns)
    spells = [
        _place(firing, history.fired - place, span)
        for place, firing in enumerate(history.firings[: 10 * _MOST_SPELLS])
    ]
    curves = [
        _draw(part, [spell for spell in spells if spell.name == part.name], span, condition)
        for part in history.slices[:_MOST_CURVES]
        if any(_is_drawn(point) for point in part.points)
    ]
    return RulePast(
        history,
        figure=name_figure(condition.main),
        explained=explain_condition(condition),
        curves=curves,
        spells=spells[:_MOST_SPELLS],
        days=max(round((end_ns - start_ns) / DAY_NS), 1),
    )


def _is_drawn(point: AlertPoint) -> bool:
    """Return whether to draw a window: it has a value, and enough runs for the rule to judge it."""
    return point.value is not None and point.word != "no data"


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
    condition: AlertCondition,
) -> PastCurve:
    limit = condition.limit
    # If there are more points than can be seen, some are left out, but never a bad one.
    step = max(len(part.points) // _MOST_POINTS, 1)
    points = [
        point
        for place, point in enumerate(part.points)
        if place % step == 0 or point.word == "bad" or place == len(part.points) - 1
    ]
    values = [point.value for point in points if point.value is not None and _is_drawn(point)]
    numbers = [*values, *([] if limit is None else [limit])]
    low, high = min(numbers), max(numbers)
    low = 0.0 if low >= 0 and low < (high - low) else low
    if high == low:
        high += abs(high) or 1.0
    is_verdict = condition.main.name == "worse"
    ticks = (0.0, 1.0) if is_verdict else round_values(low, high, 3)
    low, high = ticks[0], ticks[-1]

    def height(value: float) -> float:
        return _CHART_HEIGHT * (1 - (value - low) / (high - low))

    segments: list[list[str]] = [[]]
    for point in points:
        if point.value is None or not _is_drawn(point):
            segments.append([])
            continue
        across = _share(from_rfc3339(point.time, "time"), span) * _WIDTH
        segments[-1].append(f"{across:.1f} {height(point.value):.1f}")
    # A single window between two gaps is a short dash.
    lines = [
        f"M{'L'.join(segment)}" if len(segment) > 1 else f"M{segment[0]}h2"
        for segment in segments
        if segment
    ]
    return PastCurve(
        name=part.name,
        line="".join(lines),
        limit=None if limit is None else height(limit),
        up=[AxisLabel(height(tick), write_value(condition.main, tick)) for tick in ticks],
        across=[
            AxisLabel(at, to_rfc3339(at_ns)[:10])
            for at, at_ns in zip((0.0, 100.0), span, strict=True)
        ],
        spells=spells,
    )
