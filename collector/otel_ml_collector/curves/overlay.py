"""One metric of several runs or versions, drawn over one another on one axis."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import orjson

from otel_ml_collector.curves.values import write_number
from otel_ml_collector.store.facts import LoggedMetric


@dataclass(frozen=True, slots=True)
class Curve:
    """One of several curves in a drawing.

    Attributes:
        letter: Label at the end of the curve, such as ``A``.
        source: Address of the API call that returns the points.
        start_ns: Start of the run, in nanoseconds since 1970; None if the curve is not of a run.
        style: ``base`` for the baseline, ``a`` for the best, ``d`` for all others.
        series: A few of the points, enough for the shape of the curve, and the last point.
    """

    letter: str
    source: str
    start_ns: int | None
    style: Literal["base", "a", "d"]
    series: LoggedMetric


@dataclass(frozen=True, slots=True)
class Overlay:
    """The curves of one metric in one drawing.

    Attributes:
        name: Name of the metric.
        curves: JSON from which the page's script draws the curves: `letter`, `source`, `start_ns`
            and `style` of each `Curve`.
        lines: The curves for browsers without JavaScript: the SVG points of each curve, in a box of
            100 by 20, and its style.
        words: The last value of each curve, such as ``A 0.12, B 0.09``.
    """

    name: str
    curves: str
    lines: Sequence[tuple[str, str]]
    words: str


def lay_over(name: str, curves: Sequence[Curve]) -> Overlay:
    """Draw the curves of one metric on one axis."""
    items = [
        {
            "letter": curve.letter,
            "source": curve.source,
            "start_ns": curve.start_ns,
            "style": curve.style,
        }
        for curve in curves
    ]
    return Overlay(
        name=name,
        curves=orjson.dumps(items).decode(),
        lines=_draw(curves),
        words=", ".join(
            f"{curve.letter} {write_number(curve.series.points[-1].value)}" for curve in curves
        ),
    )


def _draw(curves: Sequence[Curve]) -> list[tuple[str, str]]:
    """Return the curves on one scale, each with its style.

    The x axis is the step, or the index for a point without a step.
    """
    places = [
        [
            (at if point.step is None else point.step, point.value)
            for at, point in enumerate(curve.series.points)
            if isinstance(point.value, float)
        ]
        for curve in curves
    ]
    every = [place for of_curve in places for place in of_curve]
    if not every:
        return []
    left, right = (of(at for at, _ in every) for of in (min, max))
    low, high = (of(value for _, value in every) for of in (min, max))
    wide, tall = (right - left) or 1, (high - low) or 1.0
    return [
        (
            " ".join(
                f"{100 * (at - left) / wide:.1f},{19 - 18 * (value - low) / tall:.1f}"
                for at, value in of_curve
            ),
            curve.style,
        )
        for curve, of_curve in zip(curves, places, strict=True)
        if of_curve
    ]
