"""The page of a slice: how it compares with all other runs, since when, and in which runs."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from otel_ml_collector import wording
from otel_ml_collector.access import ANNOTATE, access_of
from otel_ml_collector.api.parameters import FromReader
from otel_ml_collector.errors import Missing
from otel_ml_collector.filter.grammar import parse
from otel_ml_collector.filter.writing import narrow, quoted
from otel_ml_collector.findings.find import MonitorState, find_monitor
from otel_ml_collector.findings.findings import Finding
from otel_ml_collector.findings.slices import RunSlice, SliceCell, SlicesFigure
from otel_ml_collector.findings.suggestions import suggest_for_slice
from otel_ml_collector.ground_truth.find import choose_step
from otel_ml_collector.monitor.page import FromLast, write_cell, write_title
from otel_ml_collector.monitor.parts import compare_parts
from otel_ml_collector.monitor.problem_page import (
    FromBy,
    FromFigure,
    ask_examples,
    find_newest,
)
from otel_ml_collector.monitor.since_chart import (
    draw_curves,
    find_truth_curves,
    list_figures,
    name_figure,
)
from otel_ml_collector.problems.curves import (
    READ_FIGURES,
    ProblemCurve,
    choose_curve,
    list_values,
    read_judge,
    read_values,
)
from otel_ml_collector.stats import RunStats, StatsQuery, cut_past, find_stats
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.times import HOUR_NS, to_rfc3339
from otel_ml_collector.web import view
from otel_ml_collector.web.frame import FramedPage
from otel_ml_collector.web.render import PageRoute, python_call, show_page
from otel_ml_collector.windows import Buckets

_LONGEST_STEP_NS: Final = 6 * HOUR_NS

pages = APIRouter(include_in_schema=False, route_class=PageRoute)


@dataclass(frozen=True, slots=True)
class SliceCurve:
    """Two curves of one figure on the same scale: a slice, and all other runs of its model."""

    figure: str
    own: str
    rest: str
    cell: SliceCell | None
    unit: str

    @property
    def is_drawn(self) -> bool:
        """Whether the curves have values at two or more times."""
        points = f"{self.own} {self.rest}".split()
        return len({point.partition(",")[0] for point in points}) > 1


@pages.get("/projects/{project:path}/monitor/slice", response_class=FramedPage)
def show_slice(
    request: Request,
    project: str,
    reader: FromReader,
    *,
    model: Annotated[str, Query(max_length=400)],
    where: Annotated[str, Query(max_length=4_000)],
    last: FromLast = "24h",
    by: FromBy = "",
    figure: FromFigure = "",
) -> Response:
    """Compare one slice with all other runs of its model, now and over time, and show some runs.

    Raises:
        Missing: The filter names no slice.
    """
    if parse(where) is None:
        raise Missing("A slice cannot contain all runs: expected a condition")
    now_ns = time.time_ns()
    of_model = f"model == {quoted(model)}"
    state = find_monitor(reader, project, last, now_ns)
    known = next(
        (
            item
            for item in (state.slices.slices if state.slices else ())
            if (item.model, item.condition) == (model, where)
        ),
        None,
    )
    runs_where = narrow(of_model, where)
    over = cut_past(reader, last, now_ns)
    window = over.window
    over = window.cut(min(over.step_ns, _LONGEST_STEP_NS))
    wheres = runs_where, narrow(of_model, f"not ({where})")
    asked_sides = reader.ahead(_find_sides, project, wheres, over)
    asked = Finding(
        kind="slice",
        sentence="",
        model=model,
        where=runs_where,
        start_ns=window.start_ns,
        end_ns=window.end_ns,
        size=0,
        condition=where,
    )
    finding = _choose_figure(asked, state, known)
    drawn = replace(finding, measured=figure, target="") if figure else finding
    asked_truths = reader.ahead(find_truth_curves, project, drawn, now_ns)
    asked_examples = reader.ahead(
        find_newest,
        ask_examples(project, runs_where, window),
        "the newest runs of this slice",
        now_ns=now_ns,
    )
    table = compare_parts(reader, project, state, finding, by=by)
    over, sides = asked_sides.result()
    own, rest = sides
    query = choose_curve(state, drawn)
    curves = (
        [ProblemCurve(over, read_values(stats, query, over), None) for stats in sides]
        if query
        else asked_truths.result()
    )
    name = wording.slice_name(known.name) if known else where
    suggestion = None
    if known and state.slices:
        suggestion = suggest_for_slice(known, state.slices.figures, last)
    context = {
        "slice": known,
        "suggestion": suggestion or {"where": runs_where},
        "name": name,
        "model": model,
        "last": last,
        "runs": own.total.runs,
        "rest_runs": rest.total.runs,
        "runs_where": runs_where,
        "curves": _draw(state, known, sides, over),
        "shown": write_cell,
        "finding": finding,
        "claim": name,
        "window": window,
        "table": table,
        "measured": name_figure(state, finding),
        "chart": draw_curves(reader, project, state, drawn, curves=curves),
        "figures": list_figures(finding, figure),
        "drawn": name_figure(state, drawn),
        "examples": asked_examples.result(),
        "may_annotate": access_of(request.scope).has(ANNOTATE),
        "may_delete": False,  # the list of runs is the page for that: it shows what else is deleted
        "here": lambda **changes: view.address(
            project,
            "monitor",
            "slice",
            **{"model": model, "where": where, "last": last, "by": by, "figure": figure} | changes,
        ),
        "api": view.api_address(
            "projects", project, "slices", where=of_model, start=to_rfc3339(window.start_ns)
        ),
        "python": python_call("slices", of_model, start=to_rfc3339(window.start_ns)),
    }
    return show_page(request, "slice.html", context)


def _choose_figure(finding: Finding, state: MonitorState, known: RunSlice | None) -> Finding:
    """Choose the figure of the page: the worst one, else the one that differs most, else errors."""
    cells = [cell for cell in known.cells if cell.difference is not None] if known else []
    largest = max(cells, key=lambda cell: cell.strength, default=None)
    name = (known.figure if known else "") or (largest.figure if largest else "errors")
    figures = state.slices.figures if state.slices else ()
    target = next((item.target for item in figures if item.name == name), "")
    return replace(finding, measured=name, target=target or "")


def _write_row(figure: SlicesFigure) -> str:
    """Return the name of a figure with its unit, such as `Latency, ms`."""
    unit = ", mean score" if figure.judge and figure.kind == "score" else ""
    return f"{write_title(figure)}{unit or _ROW_UNITS.get(figure.name, '')}"


_ROW_UNITS: Final = {"latency": ", ms", "cost": ", $"}


def _find_sides(
    reader: Reader, project: str, wheres: Sequence[str], over: Buckets
) -> tuple[Buckets, Sequence[RunStats]]:
    """Read the statistics of a slice and of all other runs over time.

    A single bucket draws no line. So if all runs began in one bucket, it is cut into shorter ones,
    of at least a minute.

    Returns:
        The buckets, and the statistics for each filter.
    """
    window = over.window
    asked = [
        reader.ahead(find_stats, StatsQuery(project, where, "", window, over.step_ns, 1))
        for where in wheres
    ]
    sides = [stats.result() for stats in asked]
    groups = [group for stats in sides for group in stats.groups]
    starts_ns = {bucket.start_ns for group in groups for bucket in group.buckets}
    if len(starts_ns) == 1:
        place = over.place_of(*starts_ns)
        start_ns, end_ns = over.edges_ns[place : place + 2]
        window = replace(window, start_ns=start_ns, end_ns=end_ns)
        if choose_step(window) < over.step_ns:
            return _find_sides(reader, project, wheres, window.cut(choose_step(window)))
    return over, sides


def _draw(
    state: MonitorState,
    known: RunSlice | None,
    sides: Sequence[RunStats],
    over: Buckets,
) -> list[SliceCurve]:
    """Draw the figures of a slice and of all other runs over time."""
    cells = {cell.figure: cell for cell in known.cells} if known else {}
    curves = []
    for figure in state.slices.figures if state.slices else ():
        read = READ_FIGURES.get(figure.name)
        if figure.judge:
            read = read_judge(figure.judge, figure.digest, is_score=figure.kind != "rate")
        if read is None:
            continue
        lines = view.sparks(*(list_values(stats, read, over) for stats in sides))
        if any(lines):
            cell = cells.get(figure.name)
            curves.append(SliceCurve(_write_row(figure), lines[0], lines[1], cell, figure.unit))
    return curves
