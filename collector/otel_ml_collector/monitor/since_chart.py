"""The chart of a figure over time: since when a problem exists, or how a slice changed."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

from otel_ml_collector import wording
from otel_ml_collector.filter.writing import narrow, quoted
from otel_ml_collector.findings.drift import name_field
from otel_ml_collector.findings.find import MonitorState
from otel_ml_collector.findings.findings import Finding
from otel_ml_collector.findings.releases import name_condition
from otel_ml_collector.findings.slice_truths import name_target
from otel_ml_collector.ground_truth.find import QualityQuestion, find_course, find_target
from otel_ml_collector.monitor.field_pages import draw_distances
from otel_ml_collector.monitor.fields import FieldReport
from otel_ml_collector.problems.curves import (
    ProblemCurve,
    choose_curve,
    cut_curve,
    find_curve,
    find_figure,
)
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.times import DAY_NS, HOUR_NS, MINUTE_NS
from otel_ml_collector.verdicts.claims import write_moment
from otel_ml_collector.web.axis import AxisLabel, round_values
from otel_ml_collector.windows import Window

_CHART_HEIGHT: Final = 180.0
_MOST_MARKS: Final = 4
_SECOND_MS: Final = 1_000
# Times between the labels of the horizontal axis. It has about five.
_LABELS_NS: Final = (MINUTE_NS, 5 * MINUTE_NS, 15 * MINUTE_NS, HOUR_NS, 6 * HOUR_NS)
_STEP_UNITS: Final = (
    (7 * DAY_NS, "week"),
    (DAY_NS, "day"),
    (HOUR_NS, "hour"),
    (MINUTE_NS, "minute"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SinceChart:
    """A line chart that shows since when a problem exists, such as a high share of failed runs.

    One line is for the runs with the problem, such as those of one client. If there are other runs,
    a second line shows them.

    Attributes:
        own: SVG path of the line for the runs with the problem.
        others: SVG path of the line for all other runs. Empty if there is no such line.
        marks: The times when new versions of the model began, such as `v2, 20 Nov 11:00`, and when
            the new release or LLM of the problem began. Positions in percent of the chart's width.
        is_mark_low: Whether their texts are at the bottom of the chart, because the line begins in
            the upper half.
        across: Labels of the horizontal axis (time).
        up: Labels of the vertical axis.
        part: Which runs have the problem, such as `client Kessler`. Empty if all runs have it.
        step_ns: Time between two points of a line, in nanoseconds.
        limit: For the drift score of a field: where the limit is, above which it has drifted.
    """

    own: str
    others: str
    marks: Sequence[AxisLabel]
    is_mark_low: bool
    across: Sequence[AxisLabel]
    up: Sequence[AxisLabel]
    part: str
    step_ns: int
    limit: float | None = None

    @property
    def step(self) -> str:
        """The time between two points of a line, in words: `one point every 6 hours`."""
        unit_ns, unit = next(item for item in _STEP_UNITS if self.step_ns % item[0] == 0)
        count = self.step_ns // unit_ns
        return f"one point per {unit}" if count == 1 else f"one point every {count} {unit}s"


def draw_drift(report: FieldReport) -> SinceChart | None:
    """Draw the drift score of a field over time."""
    figure = draw_distances(report)
    if figure is None or not figure.path:
        return None
    steps = {after.start_ns - before.start_ns for before, after in pairwise(report.curve)}
    return SinceChart(
        own=figure.path,
        others="",
        marks=figure.marks[-_MOST_MARKS:],
        is_mark_low=False,
        across=figure.across,
        up=figure.up,
        part="",
        step_ns=min(steps, default=DAY_NS),
        limit=figure.threshold,
    )


def list_figures(finding: Finding, chosen: str) -> Sequence[tuple[str, str, bool]]:
    """List the figures that the chart can show: parameter, label, and whether it is shown."""
    own = "" if finding.measured in _CHART_FIGURES else "Quality" if finding.measured else "Drift"
    others = [
        ("" if name == finding.measured else name, label) for name, label in _CHART_FIGURES.items()
    ]
    return [
        (name, label, name == chosen) for name, label in [*([("", own)] if own else []), *others]
    ]


_CHART_FIGURES: Final = {"errors": "Errors", "latency": "Latency", "cost": "Cost", "runs": "Runs"}


def name_figure(state: MonitorState | None, finding: Finding) -> str:
    """Name the figure of a chart: `pass rate by judge "confident"`. Empty for a field."""
    name = finding.measured
    if not name and finding.field:
        return f"drift score of {name_field(finding.field)}"
    if not name or name in _FIGURE_NAMES:
        return _FIGURE_NAMES.get(name, "")
    figure = find_figure(state, finding)
    if finding.target:
        return name_target(
            finding.target,
            is_rate=figure is None or figure.kind == "rate",
            lower_is_better=figure is not None and figure.lower_is_better,
        ).removeprefix("the ")
    kind = "mean score" if figure is not None and figure.kind == "score" else "pass rate"
    judge = figure.judge if figure is not None else ""
    return f'{kind} by judge "{judge or name}"'


_FIGURE_NAMES: Final = {
    "errors": "share of failed runs",
    "missing inputs": "share of runs without input",
    "missing outputs": "share of runs without output",
    "latency": "typical latency",
    "cost": "cost per run",
    "spending": "cost",
    "tokens": "tokens per run",
    "runs": "number of runs",
}


def draw_chart(
    reader: Reader, project: str, state: MonitorState | None, finding: Finding, *, now_ns: int
) -> SinceChart | None:
    """Draw the figure of a problem over time; None if its figure has no curve."""
    query = choose_curve(state, finding)
    if query is None:
        curves = find_truth_curves(reader, project, finding, now_ns)
    else:
        asked = [
            reader.ahead(find_curve, project, replace(query, where=where), now_ns)
            for where in _list_sides(finding)
        ]
        curves = [curve.result() for curve in asked]
    return draw_curves(reader, project, state, finding, curves=curves)


def find_truth_curves(
    reader: Reader, project: str, finding: Finding, now_ns: int
) -> Sequence[ProblemCurve]:
    """Read how accurate predictions were over time: in the problem, then in all other runs.

    Returns:
        One curve if all runs have the problem. Empty if it is not about a prediction target.
    """
    if not finding.target:
        return []
    asked = [
        reader.ahead(_find_truth_curve, project, finding, where, now_ns)
        for where in _list_sides(finding)
    ]
    return [curve.result() for curve in asked]


def _list_sides(finding: Finding) -> list[str]:
    """List the filters of the runs with a problem and, if there are any, of all other runs."""
    of_model = f"model == {quoted(finding.model)}"
    if not finding.condition:
        return [of_model]
    return [narrow(of_model, part) for part in (finding.condition, f"not ({finding.condition})")]


def draw_curves(
    reader: Reader,
    project: str,
    state: MonitorState | None,
    finding: Finding,
    *,
    curves: Sequence[ProblemCurve],
) -> SinceChart | None:
    """Draw curves of a problem in one chart: of its runs and, if there are any, of all others.

    Returns:
        None if the first curve has no value, or if all values are of the same time.
    """
    times = {place for line in curves for place, value in enumerate(line.own) if value is not None}
    if len(times) < 2:  # noqa: PLR2004 - a line has two ends
        return None
    curve, *others = curves
    if all(value is None for value in curve.own):
        return None
    there = [value for line in (curve, *others) for value in line.own if value is not None]
    name, figure = finding.measured, find_figure(state, finding)
    over, window = curve.over, curve.over.window
    low, high = min(there), max(there)
    if low == high:
        low, high = low * 0.9, high * 1.1 or 1.0
    ticks = round_values(low, high)
    low, high = ticks[0], ticks[-1]
    length_ns = window.end_ns - window.start_ns

    def place(time_ns: int) -> float:
        return 100 * (time_ns - window.start_ns) / length_ns

    def draw(line: Sequence[float | None]) -> str:
        points = [
            f"{10 * place(start_ns):.1f} {_CHART_HEIGHT * (1 - (value - low) / (high - low)):.1f}"
            for start_ns, value in zip(over.starts_ns, line, strict=True)
            if value is not None
        ]
        # A single value is a short dash.
        return f"M{' '.join(points)}{'h8' if len(points) == 1 else ''}" if points else ""

    step_ns = next((step_ns for step_ns in _LABELS_NS if length_ns <= 6 * step_ns), DAY_NS)
    labels_ns = range(-(-window.start_ns // step_ns) * step_ns, window.end_ns, step_ns)
    every = max(len(labels_ns) // 5, 1)
    earlier = next(value for value in there if value is not None)
    began = {
        f"v{release.candidate.version}": release.began_ns
        for release in (state.releases if state else ())
        if release.model == finding.model and release.dimension == "version"
    }
    if curve.began is not None and finding.kind == "release":
        began |= {f"v{finding.version}" if finding.version else "new": finding.start_ns}
    newest = sorted(began.items(), key=lambda item: item[1])[-_MOST_MARKS:]
    is_share = name == "errors" or (figure is not None and figure.kind == "rate")
    if finding.target:
        is_share = find_target(reader, project, finding.target).kind == "class"
    return SinceChart(
        own=draw(curve.own),
        others=draw(others[0].own) if others else "",
        marks=[
            AxisLabel(place(began_ns), f"{name}, {write_moment(began_ns)}")
            for name, began_ns in newest
            if window.start_ns <= began_ns < window.end_ns
        ],
        is_mark_low=earlier > (low + high) / 2,
        across=[AxisLabel(place(at_ns), write_moment(at_ns)) for at_ns in labels_ns[::every]],
        up=[
            AxisLabel(
                _CHART_HEIGHT * (1 - (tick - low) / (high - low)),
                _write_tick(name, tick, is_share=is_share),
            )
            for tick in ticks
        ],
        part=name_condition(finding.condition),
        step_ns=over.step_ns,
    )


def _find_truth_curve(
    reader: Reader, project: str, finding: Finding, where: str, now_ns: int
) -> ProblemCurve:
    """Read how often predictions were right over time, or their mean error."""
    is_new = finding.kind == "release"
    over = cut_curve(reader, finding.start_ns, now_ns, is_new=is_new)
    # The first bucket is shorter than the others, which begin at round clock times.
    starts_ns = [over.starts_ns[0], *over.starts_ns[1:]]
    if len(starts_ns) > 1:
        starts_ns[0] = starts_ns[1] - over.step_ns
    question = QualityQuestion(
        project=project,
        target=find_target(reader, project, finding.target),
        window=Window(starts_ns[0], over.window.end_ns),
        where=where,
        step_ns=over.step_ns,
        now_ns=now_ns,
    )
    course = find_course(reader, question)
    began = bisect_right(over.starts_ns, finding.start_ns) - 1 if is_new else None
    return ProblemCurve(over, [course.get(start_ns) for start_ns in starts_ns], began)


def _write_tick(name: str, value: float, *, is_share: bool) -> str:
    """Write a round number of an axis: `85 %`, `1.5 s`, `$ 0.002`."""
    if is_share:
        return f"{100 * value:g}{wording.THIN}%"
    if name == "latency":
        return wording.duration(value) if value >= _SECOND_MS else f"{value:g}{wording.THIN}ms"
    return f"$ {value:g}" if name in ("cost", "spending") else f"{value:,g}"
