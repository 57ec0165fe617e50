"""The page Monitor: findings, the worst first, slices by figures, and a slice over time."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from otel_ml_collector.api.parameters import FromReader
from otel_ml_collector.errors import Missing
from otel_ml_collector.figures import SPANS
from otel_ml_collector.filter.grammar import parse
from otel_ml_collector.monitor.drift import FieldsPast
from otel_ml_collector.monitor.find import (
    KEPT_ANSWER_NS,
    MonitorState,
    find_checked_days,
    find_monitor,
    find_shown_monitor,
)
from otel_ml_collector.monitor.findings import Finding, FindingKind
from otel_ml_collector.monitor.releases import find_releases, write_release
from otel_ml_collector.monitor.slices import RunSlice, SliceCell, SlicesFigure
from otel_ml_collector.monitor.suggestions import (
    Suggestion,
    suggest_for_release,
    suggest_for_slice,
)
from otel_ml_collector.monitor.watch import MonitorWatch
from otel_ml_collector.services import service_of
from otel_ml_collector.stats import Past, RunFigures, RunStats, StatsQuery, cut_past, find_stats
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.times import to_rfc3339
from otel_ml_collector.web import view
from otel_ml_collector.web.render import PageRoute, python_call, show_page
from otel_ml_collector.windows import Buckets

pages = APIRouter(include_in_schema=False, route_class=PageRoute)
_KINDS: Final[dict[FindingKind, str]] = {
    "broken": "data broken",
    "release": "model changed",
    "model": "model changed",
    "slice": "slice",
    "traffic": "traffic changed",
}
_WRONG: Final = frozenset({"broken", "release", "slice"})
_ROWS: Final = 30
FromLast = Annotated[Past, Query(description="Whose runs are judged")]


@dataclass(frozen=True, slots=True)
class SliceCurve:
    """A figure of a slice beside the rest: both curves in one scale."""

    figure: str
    own: str
    rest: str
    cell: SliceCell | None
    unit: str


@dataclass(frozen=True, slots=True)
class FindingLine:
    """A finding as pages list it.

    Attributes:
        suggestion: The form of a rule that would have fired; None where there is none.
        field: Path of the field whose page it opens; empty if it opens runs.
        last: Which runs the field's page judges.
    """

    word: str
    is_wrong: bool
    sentence: str
    where: str
    start_time: str
    end_time: str
    size: str
    suggestion: Suggestion | None
    model: str
    field: str
    last: FieldsPast
    command: str


def list_findings(findings: Sequence[Finding], last: Past = "24h") -> list[FindingLine]:
    """Make the lines of a list of findings, in their order.

    Args:
        findings: The findings.
        last: Which runs they judge.
    """
    return [
        FindingLine(
            word=_KINDS[finding.kind],
            is_wrong=finding.kind in _WRONG,
            sentence=finding.sentence,
            where=finding.where,
            start_time=to_rfc3339(finding.start_ns),
            end_time=to_rfc3339(finding.end_ns),
            size=_write_size(round(finding.size)),
            suggestion=suggest_for_release(finding.model, finding.figure)
            if finding.figure
            else None,
            model=finding.model,
            field=finding.field,
            last="7d" if last == "30d" else last,
            command=finding.command,
        )
        for finding in findings
    ]


def _write_size(runs: int) -> str:
    return f"{runs:,} {'run' if runs == 1 else 'runs'}" if runs > 1 else ""


@pages.get("/projects/{project:path}/monitor/findings")
def show_findings(
    request: Request,
    project: str,
    reader: FromReader,
    watch: Annotated[MonitorWatch, Depends(service_of(MonitorWatch))],
    *,
    last: FromLast = "24h",
    fresh: Annotated[bool, Query(description="Not what was worked out before")] = False,
) -> Response:
    """Findings and slices, as a part of the page Monitor that comes after the rest.

    What was worked out of many runs in the last half hour is shown at once, and asks for its
    successor where five minutes went by. Of a page that was opened in the last days there is such.
    """
    now_ns = time.time_ns()
    find = find_monitor if fresh else find_shown_monitor
    state = find(reader, project, last, now_ns)
    watch.note(project, last, now_ns, state.made_ns)
    age_ns = now_ns - state.made_ns
    context = {
        **_describe(state, last),
        "made_time": to_rfc3339(state.made_ns) if age_ns >= KEPT_ANSWER_NS else "",
    }
    return show_page(request, "monitor_findings.html", context)


@pages.get("/projects/{project:path}/monitor/progress")
def show_progress(
    request: Request, project: str, reader: FromReader, last: FromLast = "24h"
) -> Response:
    """How many days are checked, as a part of the page that asks again until all are."""
    checked = find_checked_days(reader, project, last, time.time_ns())
    return show_page(request, "monitor_progress.html", {"checked": checked, "last": last})


@pages.get("/projects/{project:path}/monitor/slice")
def show_slice(
    request: Request,
    project: str,
    reader: FromReader,
    *,
    model: Annotated[str, Query(max_length=400)],
    where: Annotated[str, Query(max_length=4_000)],
    last: FromLast = "24h",
) -> Response:
    """One slice against the rest of its model over time.

    Raises:
        Missing: No slice is named.
    """
    if parse(where) is None:
        raise Missing("There is no slice of all runs: expected a condition")
    now_ns = time.time_ns()
    of_model = f"model == {view.quoted(model)}"
    state = find_monitor(reader, project, last, now_ns)
    known = next(
        (
            item
            for item in (state.slices.slices if state.slices else ())
            if (item.model, item.condition) == (model, where)
        ),
        None,
    )
    asked_rest = reader.ahead(
        _find_stats, project, view.narrow(of_model, f"not ({where})"), last, now_ns
    )
    own = _find_stats(reader, project, view.narrow(of_model, where), last, now_ns)
    rest = asked_rest.result()
    runs_where = view.narrow(of_model, where)
    over = cut_past(reader, last, now_ns)
    window = over.window
    context = {
        "slice": known,
        "suggestion": suggest_for_slice(known, state.slices.figures, last)
        if known and state.slices
        else None,
        "name": known.name if known else where,
        "model": model,
        "last": last,
        "runs": own.total.runs,
        "rest_runs": rest.total.runs,
        "runs_where": runs_where,
        "curves": _draw(state, known, (own, rest), over),
        "here": lambda past: view.address(
            project, "monitor", "slice", model=model, where=where, last=past
        ),
        "api": view.api_address(
            "projects", project, "slices", where=of_model, start=to_rfc3339(window.start_ns)
        ),
        "python": python_call("slices", of_model, start=to_rfc3339(window.start_ns)),
    }
    return show_page(request, "slice.html", context)


@pages.get("/projects/{project:path}/newest-verdict")
def show_releases(
    request: Request,
    project: str,
    reader: FromReader,
    model: Annotated[str, Query(max_length=1_024)],
) -> Response:
    """How the newest of a model does beside what was before, as a part of the model's page."""
    releases = find_releases(reader, project, time.time_ns(), model)
    context = {"verdicts": [(release, write_release(release)) for release in releases]}
    return show_page(request, "newest_verdict.html", context)


@pages.get("/projects/{project:path}/monitor")
def show_monitor(
    request: Request, project: str, reader: FromReader, last: FromLast = "24h"
) -> Response:
    """Is anything wrong, since when, for whom: the frame of the page, before that is found."""
    context = {
        "last": last,
        "span": SPANS[last],
        "api": view.api_address("projects", project, "findings", last=last),
        "python": python_call("findings", last=last),
    }
    return show_page(request, "monitor.html", context)


def _describe(state: MonitorState, last: Past) -> dict[str, object]:
    """Make the content of the part with findings and slices."""
    answer = state.slices
    slices = [item for item in answer.slices if item.dimension != "outcome"] if answer else []
    rows = [item for item in slices if any(cell.n for cell in item.cells)][:_ROWS]
    # A figure that no slice has is no column.
    had = {cell.figure for row in rows for cell in row.cells if cell.n}
    findings = list_findings(state.findings, last)
    wrong = [finding for finding in findings if finding.is_wrong]
    figures = [figure for figure in (answer.figures if answer else ()) if figure.name in had]
    # The column that stays on a phone: what the worst slice lost most by.
    worst = max(
        (cell for cell in rows[0].cells if cell.n) if rows else (),
        key=lambda cell: (cell.excess or 0.0, cell.strength),
        default=None,
    )
    return {
        "last": last,
        "span": SPANS[last],
        "findings": findings,
        "worst": wrong[0] if wrong else None,
        "wrong": len(wrong),
        "main": worst.figure if worst else "",
        "models": len({row.model for row in rows}),
        "slices": rows,
        "found": len(slices),
        "figures": figures,
        "answer": answer,
        "missing": state.missing,
        "checked": state.checked,
        "shade": shade,
    }


# By how many margins a cell is worse, or better.
_WORSE: Final = ("h1", "h2", "h3")
_BETTER: Final = ("g1", "g2", "g3")


def shade(cell: SliceCell) -> str:
    """Name the class of a cell of the heat map: red for worse, green for better, by margins."""
    match cell.word:
        case "worse":
            return _WORSE[cell.strength - 1]
        case "better":
            return _BETTER[cell.strength - 1]
        case "too few":
            return "few"
    return "mute"


def _find_stats(reader: Reader, project: str, where: str, last: Past, now_ns: int) -> RunStats:
    over = cut_past(reader, last, now_ns)
    return find_stats(reader, StatsQuery(project, where, "", over.window, over.step_ns, 1))


def _draw(
    state: MonitorState,
    known: RunSlice | None,
    sides: tuple[RunStats, RunStats],
    over: Buckets,
) -> list[SliceCurve]:
    """Draw the figures of a slice and of the rest over time."""
    cells = {cell.figure: cell for cell in known.cells} if known else {}
    curves = []
    for figure in state.slices.figures if state.slices else ():
        read = _READ.get(figure.name) or _read_judge(figure)
        if read is None:
            continue
        lines = view.sparks(*(_values(stats, read, over) for stats in sides))
        if any(lines):
            cell = cells.get(figure.name)
            curves.append(SliceCurve(figure.title, lines[0], lines[1], cell, figure.unit))
    return curves


def _values(
    stats: RunStats, read: Callable[[RunFigures], float | None], over: Buckets
) -> list[float | None]:
    """Read a figure of each bucket of a window; those without runs have none."""
    values: list[float | None] = [None] * len(over.starts_ns)
    for group in stats.groups:
        for bucket in group.buckets:
            values[over.place_of(bucket.start_ns)] = read(bucket)
    return values


# The same figures as statistics have over time; of missing inputs they have none.
_READ: Final[dict[str, Callable[[RunFigures], float | None]]] = {
    "errors": lambda figures: figures.error_share,
    "latency": lambda figures: figures.p50_ms,
    "cost": lambda figures: figures.cost / figures.runs if figures.cost is not None else None,
}


def _read_judge(figure: SlicesFigure) -> Callable[[RunFigures], float | None] | None:
    if not figure.judge:
        return None

    def read(figures: RunFigures) -> float | None:
        for judge in figures.judges:
            if (judge.judge, judge.digest) == (figure.judge, figure.digest):
                value: float | None = judge.pass_rate
                return value if figure.kind == "rate" else judge.mean_score
        return None

    return read
