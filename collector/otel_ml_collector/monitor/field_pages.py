"""Two pages: all fields of a model, and one field with its distributions, history and examples."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import RedirectResponse, Response
from pydantic import Field

from otel_ml.counts import write_number
from otel_ml.statistics.comparison import Word
from otel_ml.statistics.distances import FEWEST_VALUES
from otel_ml_collector import wording
from otel_ml_collector.access import ANNOTATE, access_of
from otel_ml_collector.api.parameters import FromReader
from otel_ml_collector.errors import Missing, suggest
from otel_ml_collector.filter.writing import narrow, quoted
from otel_ml_collector.findings.drift import (
    DAYS_BEFORE,
    THAN,
    FieldsQuestion,
    reference_name,
    write_time,
)
from otel_ml_collector.findings.slice_sums import SlicesQuery
from otel_ml_collector.findings.suggestions import suggest_for_field
from otel_ml_collector.monitor.fields import (
    FieldHistogram,
    FieldReport,
    FieldsAsked,
    ask_fields,
    find_field,
    find_fields,
)
from otel_ml_collector.monitor.profiles import StoredProfile, find_profiles, list_profile_names
from otel_ml_collector.monitor.slice_fields import DRIFT, find_field_slices, has_drift
from otel_ml_collector.runs.find import RunsQuery, find_runs
from otel_ml_collector.store.field_values import MOST_FIELDS
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.times import DAY_NS, from_rfc3339
from otel_ml_collector.versions.find import find_models
from otel_ml_collector.web import view
from otel_ml_collector.web.axis import AxisLabel, round_values
from otel_ml_collector.web.frame import FramedPage
from otel_ml_collector.web.render import PageRoute, python_call, show_page

_HEIGHT: Final = 180.0
_WIDTH: Final = 1_000.0
_LABELS: Final = 4
_LASTS: Final = {"1h": "1 h", "24h": "24 h", "7d": "7 d"}

pages = APIRouter(include_in_schema=False, route_class=PageRoute)


@dataclass(frozen=True, slots=True)
class HistogramFigure:
    """A drawing of two distributions of numbers.

    Attributes:
        part: Which property of the field is drawn, such as its value or, for a text, its length.
        before: SVG path of the earlier runs that are the reference, drawn as an area.
        after: SVG path of the runs in the compared time window, drawn as a line.
        across, up: Labels of the axes.
    """

    part: str
    before: str
    after: str
    across: Sequence[AxisLabel]
    up: Sequence[AxisLabel]


@dataclass(frozen=True, slots=True)
class CurveDot:
    """A window in the curve of distances."""

    at: float
    height: float
    name: str
    is_drift: bool
    is_judged: bool


@dataclass(frozen=True, slots=True)
class DistanceFigure:
    """A drawing of the drift score over time.

    Attributes:
        path: SVG path of the line through all complete time windows, without the current window.
        threshold: Distance of the limit from the top of the drawing, in pixels. Scores above the
            limit may be drift.
        marks: Moments at which a version, release or LLM began.
    """

    path: str
    threshold: float
    dots: Sequence[CurveDot]
    marks: Sequence[AxisLabel]
    across: Sequence[AxisLabel]
    up: Sequence[AxisLabel]


def draw_histogram(histogram: FieldHistogram) -> HistogramFigure | None:
    """Draw both distributions of numbers in the same cells; None of values."""
    cells = histogram.cells
    if not cells or cells[0].low is None:
        return None
    largest = max(max(cell.reference, cell.window) for cell in cells) or 1.0
    ticks = round_values(0.0, largest)
    highest = ticks[-1]
    width = _WIDTH / len(cells)

    def steps(shares: Sequence[float]) -> str:
        points = []
        for place, share in enumerate(shares):
            height = _HEIGHT * (1 - share / highest)
            points.append(f"{place * width:.1f} {height:.1f}H{(place + 1) * width:.1f}")
        return "V".join(point.partition(" ")[2] for point in points)

    before, after = (
        steps([getattr(cell, side) for cell in cells]) for side in ("reference", "window")
    )
    step = max(len(cells) // _LABELS, 1)
    return HistogramFigure(
        histogram.part,
        f"M0 {_HEIGHT:.0f}V{before}V{_HEIGHT:.0f}z",
        f"M0 {_HEIGHT:.0f}V{after}V{_HEIGHT:.0f}",
        [
            AxisLabel(100 * place / len(cells), cells[place].label)
            for place in range(0, len(cells), step)
        ],
        [
            AxisLabel(_HEIGHT * (1 - tick / highest), f"{100 * tick:g}{wording.THIN}%")
            for tick in ticks
        ],
    )


def draw_distances(report: FieldReport) -> DistanceFigure | None:
    """Draw the distance of each window over time; None without distances."""
    points = [point for point in report.curve if point.distance is not None]
    if not points:
        return None
    first_ns, last_ns = report.curve[0].start_ns, report.curve[-1].start_ns
    length_ns = max(last_ns - first_ns, 1)
    largest = max([report.threshold, *(point.distance or 0.0 for point in points)])
    ticks = round_values(0.0, 1.1 * largest or 1.0)
    highest = ticks[-1]

    def place(time_ns: int) -> float:
        return min(max(100 * (time_ns - first_ns) / length_ns, 0.0), 100.0)

    dots = [
        CurveDot(
            place(point.start_ns),
            _HEIGHT * (1 - (point.distance or 0.0) / highest),
            f"{write_time(point.start_ns)}: {write_number(point.distance or 0.0)}, "
            f"{wording.count(point.n)} values",
            point.is_drift,
            point.is_judged,
        )
        for point in points
    ]
    over = [f"{dot.at * _WIDTH / 100:.1f} {dot.height:.1f}" for dot in dots if dot.is_judged]
    is_daily = length_ns >= DAY_NS
    ends = [first_ns, first_ns + length_ns // 2 // DAY_NS * DAY_NS, last_ns]
    return DistanceFigure(
        f"M{'L'.join(over)}" if over else "",
        _HEIGHT * (1 - report.threshold / highest),
        dots,
        [AxisLabel(place(mark.time_ns), mark.name) for mark in report.marks],
        [
            AxisLabel(place(at), write_time(at)[5:10] if is_daily else write_time(at)[11:16])
            for at in dict.fromkeys(ends)
        ],
        [AxisLabel(_HEIGHT * (1 - tick / highest), f"{tick:g}") for tick in ticks],
    )


class FieldsShown(FieldsAsked):
    """Parameters of the page of all fields. The default model is the one with the most runs."""

    model: str = ""


@pages.get("/projects/{project:path}/fields", response_class=FramedPage)
def list_fields(
    request: Request, project: str, reader: FromReader, asked: Annotated[FieldsShown, Query()]
) -> Response:
    """Show all fields of a model, drift first."""
    models = sorted(find_models(reader, project), key=lambda one: (-one.runs, one.model))
    names = [one.model for one in models]
    if not asked.model and names:
        asked = asked.model_copy(update={"model": names[0]})
    if names and asked.model not in names:
        raise Missing(
            f"Project {project!r} has no model {asked.model!r}: {suggest(asked.model, names)}"
        )
    chosen = asked.model_dump(exclude_defaults=True)
    question = ask_fields(reader, project, asked, time.time_ns())
    fields = find_fields(question) if names else None
    profiles = list_profile_names(reader, project)
    profile = _find_reference(reader, project, asked, profiles)
    context = {
        "profiles": profiles,
        "references": _name_references(asked.model, profiles),
        "profile": profile,
        "bounds": _write_bounds(profile) if profile else {},
        "start": write_time(question.window.start_ns),
        "end": write_time(question.window.end_ns),
        "models": names,
        "asked": asked,
        "chosen": chosen,
        "fields": fields,
        "most_fields": MOST_FIELDS,
        "lasts": _LASTS,
        "api": view.api_address("projects", project, "fields", **chosen) if fields else None,
        "python": python_call("fields", asked.model, last=asked.last, than=asked.than),
    }
    return show_page(request, "fields.html", context)


def _find_reference(
    reader: Reader, project: str, asked: FieldsAsked, profiles: Sequence[str]
) -> StoredProfile | None:
    """Find the profile that is the reference; None if the reference is something else."""
    name = asked.than.removeprefix("profile:")
    if asked.than == THAN:
        name = reference_name(asked.model)
    if name not in profiles:
        return None
    return next(iter(find_profiles(reader, project, [name])), None)


def _name_references(model: str, profiles: Sequence[str]) -> dict[str, str]:
    """Name what the fields of a model can be compared with, by value of `than`."""
    own = reference_name(model)
    days = "28 days before"
    named = {THAN: own, DAYS_BEFORE: days} if own in profiles else {THAN: days}
    return named | {f"profile:{name}": name for name in profiles if name != own}


def _write_bounds(profile: StoredProfile) -> dict[str, str]:
    """Write the valid numbers of each field, such as ``0 to 120``."""
    bounds = {}
    for part in profile.components:
        low, high = (None if end is None else write_number(end) for end in (part.low, part.high))
        if low is not None or high is not None:
            one_sided = f"up to {high}" if low is None else f"from {low}"
            bounds[part.field] = one_sided if None in {low, high} else f"{low} to {high}"
    return bounds


@pages.get("/projects/{project:path}/profiles")
def open_profiles(project: str, _reader: FromReader) -> RedirectResponse:
    """Lead to the fields, which can be compared with each profile of the project."""
    return RedirectResponse(view.address(project, "fields"))


class FieldSlicesAsked(FieldsAsked):
    """Parameters of the slices whose values of a field differ most from all other runs."""

    field: Annotated[str, Field(max_length=400, description="Its path")]


@pages.get("/projects/{project:path}/field-slices")
def show_field_slices(
    request: Request,
    project: str,
    reader: FromReader,
    asked: Annotated[FieldSlicesAsked, Query()],
) -> Response:
    """Show the slices whose values of a field differ most from those of all other runs.

    This part of a page loads after the page. It covers the time window that the page compares.
    """
    window = FieldsQuestion(reader, project, asked.model, time.time_ns(), asked.last).window
    query = SlicesQuery(
        project,
        narrow(f"model == {quoted(asked.model)}", asked.where),
        f"{DRIFT}{asked.field}",
        start_ns=window.start_ns,
        end_ns=window.end_ns,
    )
    answer = find_field_slices(reader, query, window.end_ns)
    context = {
        "answer": answer,
        "slices": [item for item in answer.slices if item.word == "other"][:10],
        "judged": sum(item.word != Word.NOT_ENOUGH_DATA for item in answer.slices),
    }
    return show_page(request, "field_slices.html", context)


def _find_inputs(question: FieldsQuestion, report: FieldReport) -> Mapping[str, str]:
    """Find the inputs of the example runs, by run; none for a field that is the whole input."""
    if not report.runs or report.field == "inputs":
        return {}
    ids = ", ".join(quoted(run.run_id) for run in report.runs)
    query = RunsQuery(
        project=question.project,
        where=f"run_id in ({ids},)",
        start_ns=question.window.start_ns,
        end_ns=question.window.end_ns,
    )
    return {
        run.run_id: run.inputs for run in find_runs(question.reader, query, time.time_ns()).runs
    }


@pages.get("/projects/{project:path}/fields/{field:path}", response_class=FramedPage)
def show_field(
    request: Request,
    project: str,
    field: str,
    reader: FromReader,
    asked: Annotated[FieldsAsked, Query()],
) -> Response:
    """Show a field: its distributions, its drift score over time and typical runs."""
    question = ask_fields(reader, project, asked, time.time_ns())
    report = find_field(question, field)
    chosen = asked.model_dump(exclude_defaults=True)
    shown = request.query_params.get("part", report.curve_part)
    histogram = next((one for one in report.histograms if one.part == shown), None)
    if histogram is None and report.histograms:
        histogram = report.histograms[0]
    context = {
        "report": report,
        "suggestion": suggest_for_field(report.model, report.field, asked.last)
        if report.word == "drift"
        else None,
        "start": write_time(question.window.start_ns),
        "end": write_time(question.window.end_ns),
        "since": write_time(from_rfc3339(report.since, "since")) if report.since else "",
        "asked": asked,
        "chosen": chosen,
        "lasts": _LASTS,
        "has_slices": has_drift(field) and report.n >= 2 * FEWEST_VALUES,
        "histogram": histogram,
        "figure": draw_histogram(histogram) if histogram else None,
        "distances": draw_distances(report),
        "inputs": _find_inputs(question, report),
        "may_annotate": access_of(request.scope).has(ANNOTATE),
        "may_delete": False,  # in the list of runs, which shows what is deleted with them
        "api": view.api_address("projects", project, "fields", field, **chosen),
        "python": python_call("field", field, model=asked.model, last=asked.last, than=asked.than),
    }
    return show_page(request, "field.html", context)
