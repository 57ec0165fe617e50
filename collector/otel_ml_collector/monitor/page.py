"""The page Monitor: problems, and slices by figures."""

import time
from collections.abc import Mapping
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from otel_ml.statistics.comparison import Word
from otel_ml_collector import wording
from otel_ml_collector.api.parameters import FromReader
from otel_ml_collector.figures import SPANS
from otel_ml_collector.findings.find import (
    KEPT_ANSWER_NS,
    MonitorState,
    find_checked_days,
    find_monitor,
    find_shown_monitor,
)
from otel_ml_collector.findings.releases import find_changes, find_releases, write_release
from otel_ml_collector.findings.slices import RunSlice, SliceCell, SlicesFigure
from otel_ml_collector.monitor.refresher import MonitorRefresher
from otel_ml_collector.problems.checked import write_checked
from otel_ml_collector.problems.curves import list_curves
from otel_ml_collector.problems.news import FromSources
from otel_ml_collector.problems.problems import FoundProblems, find_problems
from otel_ml_collector.services import service_of
from otel_ml_collector.stats import Past
from otel_ml_collector.times import to_rfc3339
from otel_ml_collector.verdicts.claims import write_factor
from otel_ml_collector.verdicts.verdicts import AMOUNT_FIGURES
from otel_ml_collector.web import view
from otel_ml_collector.web.frame import FramedPage
from otel_ml_collector.web.render import PageRoute, python_call, show_page

pages = APIRouter(include_in_schema=False, route_class=PageRoute)
_ROWS: Final = 30
FromLast = Annotated[Past, Query(description="Whose runs are judged")]


@pages.get("/projects/{project:path}/monitor/findings")
def show_findings(
    request: Request,
    project: str,
    reader: FromReader,
    watch: Annotated[MonitorRefresher, Depends(service_of(MonitorRefresher))],
    sources: FromSources,
    *,
    last: FromLast = "24h",
    fresh: Annotated[bool, Query(description="Whether to ignore stored results")] = False,
) -> Response:
    """Show problems and slices: a part of the page Monitor that loads after the page.

    For a large project, the last result is shown at once if it is at most half an hour old. If it
    is older than five minutes, the browser then loads a new result.
    """
    now_ns = time.time_ns()
    find = find_monitor if fresh else find_shown_monitor
    state = find(reader, project, last, now_ns)
    watch.note(project, last, now_ns, state.made_ns)
    age_ns = now_ns - state.made_ns
    found = find_problems(reader, project, last, now_ns, sources=sources, state=state)
    context = {
        **_describe(state),
        "found": found,
        "checked": write_checked(found),
        "curves": list_curves(found),
        "problem_of": _list_slices(found),
        "last": last,
        "made_time": to_rfc3339(state.made_ns) if age_ns >= KEPT_ANSWER_NS else "",
    }
    return show_page(request, "monitor_findings.html", context)


def _list_slices(found: FoundProblems) -> Mapping[tuple[str, str], str]:
    """Return the key of the problem about each slice, by model and condition."""
    keys: dict[tuple[str, str], str] = {}
    for problem in found.every:
        for sign in (problem.first, *problem.others):
            if sign.finding is not None and sign.finding.condition:
                keys.setdefault((sign.finding.model, sign.finding.condition), problem.key)
    return keys


@pages.get("/projects/{project:path}/monitor/progress")
def show_progress(
    request: Request, project: str, reader: FromReader, last: FromLast = "24h"
) -> Response:
    """Show for how many days fields are checked: a part that reloads until all are."""
    checked = find_checked_days(reader, project, last, time.time_ns())
    return show_page(request, "monitor_progress.html", {"checked_days": checked, "last": last})


@pages.get("/projects/{project:path}/newest-verdict")
def show_releases(
    request: Request,
    project: str,
    reader: FromReader,
    model: Annotated[str, Query(max_length=1_024)],
) -> Response:
    """Show on the page of a model whether a new release of the service, or a new LLM, is worse.

    New versions of the model itself are not shown here, because the verdict on top of the page is
    about them.
    """
    now_ns = time.time_ns()
    changes = find_changes(reader, project, now_ns, model, dimensions=("release", "provider_model"))
    releases = find_releases(reader, project, now_ns, changes=changes)
    verdicts = [(release, write_release(release)) for release in releases if release.is_worse]
    context = {"verdicts": verdicts}
    return show_page(request, "newest_verdict.html", context)


@pages.get("/projects/{project:path}/monitor", response_class=FramedPage)
def show_monitor(
    request: Request, project: str, reader: FromReader, last: FromLast = "24h"
) -> Response:
    """Show the frame of page Monitor. The problems load after it."""
    context = {
        "last": last,
        "span": SPANS[last],
        "api": view.api_address("projects", project, "findings", last=last),
        "python": python_call("findings", last=last),
    }
    return show_page(request, "monitor.html", context)


def _describe(state: MonitorState) -> dict[str, object]:
    """Make the table of slices: each slice once, with the newest version of each judge."""
    answer = state.slices
    slices = [item for item in answer.slices if item.dimension != "outcome"] if answer else []
    by_name: dict[str, RunSlice] = {}
    for item in slices:
        # The values of these dimensions differ between models.
        name = (
            f"{item.model} {item.name}"
            if item.dimension in {"version", "release", "provider_model"}
            else item.name
        )
        if any(cell.n for cell in item.cells):
            by_name.setdefault(name, item)
    rows = [*by_name.values()][:_ROWS]
    # Figures without a value in any slice get no column.
    had = {cell.figure for row in rows for cell in row.cells if cell.n}
    every = answer.figures if answer else []
    figures = [figure for figure in every if figure.name in had and not _is_older(figure)]
    # A judge with a pass rate needs no second column for its scores.
    rated = {figure.judge for figure in figures if figure.kind == "rate" and figure.judge}
    figures = [item for item in figures if item.kind != "score" or item.judge not in rated]
    worse = {
        (item.model, item.dimension, cell.figure)
        for item in slices
        for cell in item.cells
        if cell.word == Word.WORSE
    }

    def shade_cell(item: RunSlice, cell: SliceCell) -> str:
        """Shade a cell; not green if it is only better because another slice is worse."""
        is_mirror = (item.model, item.dimension, cell.figure) in worse
        return "mute" if cell.word == Word.BETTER and is_mirror else shade(cell)

    def find_largest(item: RunSlice) -> SliceCell | None:
        """Return the figure that a phone shows: the worst, or else the one that differs most."""
        cells = {cell.figure: cell for cell in item.cells if cell.n}
        worst = cells.get(item.figure)
        if worst is not None and worst.word == Word.WORSE:
            return worst
        shown = [cells[figure.name] for figure in figures if figure.name in cells]
        # If several figures differ by the same number of margins, the first one is returned.
        return max(
            shown, key=lambda cell: (cell.difference is not None, cell.strength), default=None
        )

    return {
        "largest": find_largest,
        "models": len({row.model for row in rows}),
        "slices": rows,
        "listed": len(slices),
        "figures": figures,
        "titles": {figure.name: write_title(figure) for figure in every},
        "units": {figure.name: _FIGURE_UNITS.get(figure.unit, "") for figure in every},
        "answer": answer,
        "checked_days": state.checked,
        "shade": shade_cell,
        "shown": write_cell,
    }


def write_cell(cell: SliceCell) -> str:
    """Write a cell of the slice table: the difference, or the number of runs if there are too few.

    If latency or cost is at least three times as high in the slice as in all other runs, the
    difference is written as a factor (`4×`).
    """
    if cell.difference is None:
        return f"{wording.count(cell.n)} {'run' if cell.n == 1 else 'runs'}"
    if cell.figure not in AMOUNT_FIGURES or not cell.value or not cell.rest:
        return cell.shown
    return write_factor(cell.value / cell.rest) or cell.shown


def _is_older(figure: SlicesFigure) -> bool:
    """Whether a figure is from an older version of its judge."""
    number = figure.judge_version
    return number is not None and figure.name.endswith(f" v{number}")


def write_title(figure: SlicesFigure) -> str:
    """Write the name of a figure as in a heading: `Errors`."""
    name = figure.title if figure.target else figure.name
    if figure.judge_version is not None:
        name = f"{figure.judge} v{figure.judge_version}"
    return name if figure.judge else f"{name[:1].upper()}{name[1:]}"


_FIGURE_UNITS: Final = {"points": "pts", "%": "%"}


def shade(cell: SliceCell) -> str:
    """Return the CSS class of a cell: red for worse, green for better, by the number of margins."""
    match cell.word:
        case Word.WORSE:
            # Styles by the number of margins that a cell is worse, or better.
            return ("h1", "h2", "h3")[cell.strength - 1]
        case Word.BETTER:
            return ("g1", "g2", "g3")[cell.strength - 1]
        case Word.NOT_ENOUGH_DATA if cell.difference is None:
            return "few"
    return "mute"
