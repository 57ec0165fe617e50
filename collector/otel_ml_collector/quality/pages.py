"""Pages about prediction quality: the targets of a project, and the quality of one over time."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from otel_ml_collector.api.parameters import DocumentName, FromReader
from otel_ml_collector.ground_truth.find import (
    QualityPoint,
    TargetQuality,
    find_quality,
    list_targets,
)
from otel_ml_collector.quality.routes import WantedQuality, make_question
from otel_ml_collector.times import from_rfc3339
from otel_ml_collector.verdicts.claims import write_ratio
from otel_ml_collector.verdicts.verdicts import Interval
from otel_ml_collector.web import view
from otel_ml_collector.web.axis import AxisLabel, round_values
from otel_ml_collector.web.frame import FramedPage
from otel_ml_collector.web.render import PageRoute, python_call, show_page
from otel_ml_collector.wording import number

_HEIGHT: Final = 150.0
_SHORT: Final = 70.0
_WIDTH: Final = 1_000.0
# Shares are written in per cent; all other figures are numbers.
_RATES: Final = frozenset({"accuracy", "precision", "recall", "f1", "precision_at_k"})
_NAMES: Final[Mapping[str, str]] = {
    "accuracy": "Accuracy",
    "precision": "Precision",
    "recall": "Recall",
    "f1": "F1",
    "brier": "Brier score",
    "log_loss": "Log loss",
    "mae": "Mean absolute error",
    "rmse": "Root mean square error",
    "bias": "Bias",
    "r2": "R²",
    "precision_at_k": "Precision at k",
}
# Figures that are errors of numbers: their ratio says how much worse a version is.
_ERRORS: Final = frozenset({"mae", "rmse"})
_LOWER_IS_BETTER: Final = _ERRORS | {"brier", "log_loss"}
_TIMES: Final = (("halved", 0.45, 0.55), ("doubled", 1.85, 2.2), ("tripled", 2.75, 3.3))
_FROM_TIMES: Final = 3.0
_LEAST_OUTCOMES: Final = 30
_LASTS: Final = ("7d", "30d", "60d")
# Reasons why a bucket is early: the value in the API and the text on the page.
_EARLY: Final[Mapping[str, str]] = {
    "too young": "not enough ground truth yet",
    "less than usual": "fewer outcomes than usual",
}

pages = APIRouter(include_in_schema=False, route_class=PageRoute)


@dataclass(frozen=True, slots=True)
class QualityCurve:
    """A line chart of how good predictions were (accuracy, for example) over time.

    Attributes:
        line: SVG path through the values of all time buckets that are not early. A bucket is early
            if its ground truth is not complete yet.
        band: SVG path of the area between the lower and upper confidence bounds of these values.
        estimate: SVG path of the estimated accuracy in the early buckets. Empty if there is no
            estimate.
        hatched: The early buckets, which are drawn hatched. Each has its distance from the left
            edge of the chart and its width, both in percent of the chart's width, and the reason
            why it is early.
        up, across: Labels of the axes.
    """

    line: str
    band: str
    estimate: str
    hatched: Sequence[tuple[float, float, str]]
    up: Sequence[AxisLabel]
    across: Sequence[AxisLabel]


@dataclass(frozen=True, slots=True)
class CoverageCurve:
    """A chart of how many predictions have ground truth, for each time bucket.

    Attributes:
        area: SVG path: the share of the predictions of each bucket that have ground truth.
        usual: SVG path: the share that a bucket of the same age usually has.
    """

    area: str
    usual: str


class QualityShown(WantedQuality):
    """The parameters of the page of a target.

    Attributes:
        figure: The figure that is drawn over time; empty for the first one.
    """

    figure: Annotated[str, Query(max_length=40)] = ""


def write_figure(name: str, value: float | None) -> str:
    """Write a figure for readers: a share in per cent."""
    if value is None or not math.isfinite(value):
        return "–"
    text = f"{100 * value:.1f}\u202f%" if name in _RATES else number(value)
    return text.replace("-", "\u2212")


def write_difference(name: str, difference: float) -> str:
    """Write how far a slice is from all other runs: a share in pts."""
    sign = "+" if difference > 0 else "\u2212"
    size = abs(difference)
    text = f"{100 * size:.1f}" if name in _RATES else number(size)
    return f"{sign}{text}" if size and text.strip("0.") else text


def write_interval(name: str, interval: Interval | None) -> str:
    """Write the bounds of a figure; empty if there are none."""
    if interval is None or interval.low is None or interval.high is None:
        return ""
    return f"{write_figure(name, interval.low)} to {write_figure(name, interval.high)}"


@dataclass(frozen=True, slots=True)
class QualityChange:
    """How a figure changed with the newest version, in a sentence without a full stop."""

    sentence: str
    is_worse: bool


def find_change(quality: TargetQuality, name: str) -> QualityChange | None:
    """Compare the newest version with the one before: `Error tripled since v2: 45,100, …`.

    Returns:
        None unless the 95 % intervals of both versions are apart, and both have at least 30
        outcomes.
    """
    versions = [
        (point.version, value)
        for point in quality.versions
        for figure in point.figures
        if figure.name == name
        and (value := figure.value) is not None
        and point.here >= _LEAST_OUTCOMES
        and None not in (value.low, value.high)
    ]
    if len(versions) < 2:  # noqa: PLR2004 - the newest and the one before
        return None
    (newest, now), (older, before) = versions[:2]
    is_rise = (now.low or 0.0) > (before.high or 0.0)
    if not is_rise and (now.high or 0.0) >= (before.low or 0.0):
        return None
    label = "Error" if name in _ERRORS else _NAMES[name]
    change = "rose" if is_rise else "fell"
    if name in _ERRORS and before.value > 0:
        change = _write_times(now.value / before.value)
    values = f"{write_figure(name, now.value)}, {write_figure(name, before.value)} with v{older}"
    sentence = f"{label} {change} since v{newest}: {values}"
    return QualityChange(sentence, is_rise == (name in _LOWER_IS_BETTER))


def _write_times(ratio: float) -> str:
    """Write a ratio of errors as a verb: `tripled`, `rose to 12×`, `fell by 20 %`."""
    named = next((word for word, low, high in _TIMES if low <= ratio < high), "")
    if named:
        return named
    if ratio >= _FROM_TIMES:
        return f"rose to {write_ratio(ratio)}"
    size = write_ratio(ratio).lstrip("+\N{MINUS SIGN}")
    return f"rose by {size}" if ratio > 1 else f"fell by {size}"


def draw_quality(quality: TargetQuality, name: str) -> QualityCurve | None:
    """Draw a figure over time, with gaps for early buckets; None if no bucket has it."""
    segments: list[list[tuple[float, float, float, float]]] = [[]]
    expected: list[list[tuple[float, float]]] = [[]]
    for point in quality.points:
        value = next((figure.value for figure in point.figures if figure.name == name), None)
        middle = (_place(quality, point) + _width(quality, point) / 2) * _WIDTH / 100
        if value is None or point.early:
            segments.append([])
            if name == "accuracy" and point.estimate is not None:
                expected[-1].append((middle, point.estimate))
            continue
        expected.append([])
        low = value.value if value.low is None else value.low
        high = value.value if value.high is None else value.high
        segments[-1].append((middle, value.value, low, high))
    drawn = [each for segment in segments for each in segment]
    if not drawn:
        return None
    shares = [share for segment in expected for _, share in segment]
    low = min(*(each[2] for each in drawn), *shares, math.inf)
    high = max(*(each[3] for each in drawn), *shares, -math.inf)
    if high == low:
        low, high = (low - 0.05, high) if name in _RATES and low else (low, low + (abs(low) or 1.0))
    ticks = round_values(low, high, 3)
    low, high = ticks[0], ticks[-1]

    def at(x: float, value: float) -> str:
        return f"{x:.1f} {_HEIGHT * (1 - (value - low) / (high - low)):.1f}"

    lines, bands = [], []
    start_ns, end_ns = _window(quality)
    half = _WIDTH * quality.bucket_s * 1e9 / max(end_ns - start_ns, 1) / 2
    for segment in filter(None, segments):
        if len(segment) == 1:  # as wide as its bucket, so that it is visible
            x, middle, bottom, top = segment[0]
            segment = [(x - half, middle, bottom, top), (x + half, middle, bottom, top)]  # noqa: PLW2901
        lines.append("M" + "L".join(at(x, value) for x, value, _, _ in segment))
        upper = [at(x, top) for x, _, _, top in segment]
        lower = [at(x, foot) for x, _, foot, _ in reversed(segment)]
        bands.append(f"M{'L'.join([*upper, *lower])}z")
    return QualityCurve(
        "".join(lines),
        "".join(bands),
        # Each is as wide as its bucket, so that a single one is visible.
        "".join(
            f"M{at(segment[0][0] - half, segment[0][1])}L"
            + "L".join(at(x, share) for x, share in segment)
            + f"L{at(segment[-1][0] + half, segment[-1][1])}"
            for segment in filter(None, expected)
        ),
        [
            (_place(quality, point), _width(quality, point), point.early)
            for point in quality.points
            if point.early
        ],
        [
            AxisLabel(round(_HEIGHT * (high - tick) / (high - low), 1), write_figure(name, tick))
            for tick in ticks
        ],
        [AxisLabel(0.0, quality.start[:10]), AxisLabel(100.0, quality.end[:10])],
    )


def draw_coverage(quality: TargetQuality) -> CoverageCurve:
    """Draw which share of each bucket has ground truth, and the usual share at that age."""
    area, usual = [], []
    for point in quality.points:
        left, step = (of(quality, point) * _WIDTH / 100 for of in (_place, _width))
        height = _SHORT * (1 - point.coverage)
        area.append(f"M{left:.1f} {_SHORT:.0f}V{height:.1f}H{left + step:.1f}V{_SHORT:.0f}z")
        if point.usual is not None:
            usual.append(f"{left + step / 2:.1f} {_SHORT * (1 - point.usual):.1f}")
    return CoverageCurve("".join(area), f"M{'L'.join(usual)}" if usual else "")


def _window(quality: TargetQuality) -> tuple[int, int]:
    return from_rfc3339(quality.start, "start"), from_rfc3339(quality.end, "end")


def _place(quality: TargetQuality, point: QualityPoint) -> float:
    start_ns, end_ns = _window(quality)
    at_ns = from_rfc3339(point.start_time, "start_time")
    return 100 * (at_ns - start_ns) / max(end_ns - start_ns, 1)


def _width(quality: TargetQuality, point: QualityPoint) -> float:
    """Return how wide a bucket is, in per cent of the window; the last one may be cut."""
    start_ns, end_ns = _window(quality)
    step = 100 * quality.bucket_s * 1e9 / max(end_ns - start_ns, 1)
    return min(step, 100 - _place(quality, point))


@pages.get("/projects/{project:path}/targets", response_class=FramedPage)
def show_targets(request: Request, project: str, reader: FromReader) -> Response:
    """Show the prediction targets of a project, and ground truth that has none."""
    context = {
        "found": list_targets(reader, project),
        "api": view.api_address("projects", project, "targets"),
        "python": python_call("targets"),
    }
    return show_page(request, "targets.html", context)


@pages.get("/projects/{project:path}/targets/{target}", response_class=FramedPage)
def show_target(
    request: Request,
    project: str,
    target: DocumentName,
    reader: FromReader,
    wanted: Annotated[QualityShown, Query()],
) -> Response:
    """Show how good the predictions of a prediction target were, by the time of the prediction."""
    asked_slices = wanted.model_copy(update={"slices": True})
    question = make_question(reader, project, target, asked_slices, time.time_ns())
    quality = find_quality(reader, question)
    drawn = [one for one in quality.figures if one.name != "r2"]
    chosen = wanted.figure if any(one.name == wanted.figure for one in drawn) else ""
    chosen = chosen or (drawn[0].name if drawn else "")
    given = wanted.model_dump(exclude_defaults=True)
    asked = {name: value for name, value in given.items() if name != "figure"}
    cells = {(pair.predicted, pair.actual): pair for pair in quality.confusion}
    classes = [each.name for each in quality.classes]
    context = {
        "quality": quality,
        "target": quality.target,
        "given": given,
        "early": _EARLY,
        "rates": _RATES,
        "wanted": wanted,
        "lasts": _LASTS,
        "names": _NAMES,
        "drawn": drawn,
        "chosen": chosen,
        "curve": draw_quality(quality, chosen),
        "covered": draw_coverage(quality),
        # For each predicted class, how often each actual class occurred.
        "table": [
            {
                "predicted": predicted,
                "cells": [cells.get((predicted, actual)) for actual in classes],
                "runs": sum(
                    cells[predicted, actual].runs
                    for actual in classes
                    if (predicted, actual) in cells
                ),
            }
            for predicted in classes
        ],
        "write_figure": write_figure,
        "write_interval": write_interval,
        "write_difference": write_difference,
        "since": find_change(quality, quality.figures[0].name) if quality.figures else None,
        "api": view.api_address("projects", project, "targets", target, **asked),
        "python": f"reader.target({target!r}).quality(last={wanted.last!r})",
    }
    return show_page(request, "target.html", context)
