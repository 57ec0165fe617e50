"""The page of one run: its trace, payload, scores, tags, text and artifacts."""

import time
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from otel_ml_collector.api.parameters import FromReader
from otel_ml_collector.artifacts.page import lay_out
from otel_ml_collector.errors import NotFound
from otel_ml_collector.mapping.dialects.gen_ai_events import CONTENT_EVENTS
from otel_ml_collector.metrics import find_metrics, make_plots
from otel_ml_collector.runs import find as runs
from otel_ml_collector.runs.answers import Trace
from otel_ml_collector.services import find_service
from otel_ml_collector.settings.table import Settings
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.traces import waterfall
from otel_ml_collector.traces import waterfall as span_marks
from otel_ml_collector.traces.find import (
    add_up,
    count_children,
    find_extent,
    find_outline,
    find_trace,
    outline_of,
)
from otel_ml_collector.traces.waterfall import find_slow
from otel_ml_collector.web import view
from otel_ml_collector.web.render import PageRoute, python_call, show_page

_FORM: Final = 20
_CHILDREN: Final = 100
_PLOTS: Final = 8

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get("/projects/{project:path}/runs/{run_id}")
def show_run(
    *,
    request: Request,
    reader: FromReader,
    project: str,
    run_id: str,
    input_form: Annotated[str, Query(alias="input", max_length=_FORM)] = "",
    output_form: Annotated[str, Query(alias="output", max_length=_FORM)] = "",
    by: Literal["step", "time"] = "step",
) -> Response:
    """One run with everything that is known of it."""
    now_ns = time.time_ns()
    run = runs.find_run(reader, run_id, project, now_ns=now_ns)
    newer = reader.ahead(runs.find_neighbour, run, now_ns, newest_first=False)
    page = runs.TracePage(limit=waterfall.MAX_ROWS)
    trace = find_trace(reader, run.trace_id, now_ns=now_ns, page=page)
    series = find_metrics(reader, project, run_id).series
    state = {"input": input_form, "output": output_form, "by": "" if by == "step" else by}
    context = {
        "project": project,
        "run": run,
        "forms": state,
        "here": lambda key, form: view.address(project, "runs", run_id, **state | {key: form}),
        "by": by,
        # Events of what was asked and answered stand as input and output.
        "lines": [line for line in run.logs if line.event not in CONTENT_EVENTS],
        **_lay_out(reader, trace, now_ns),
        "is_cut": trace.truncated,
        "hidden_parents": len(trace.hidden_parents),
        "link": _link(find_service(request, Settings).trace_url, run.trace_id),
        "series": len(series),
        "plots": make_plots(project, {"run_id": run_id}, series[:_PLOTS]),
        "artifacts": lay_out(request, reader, project, run.artifacts),
        "newer": newer.result(),
        "older": runs.find_neighbour(reader, run, now_ns, newest_first=True),
        "api": view.api_address("projects", project, "runs", run_id),
        "python": python_call("run", run_id),
    }
    return show_page(request, "run.html", context)


class Below(BaseModel):
    """Which rows of a trace are asked for, and what those around them know.

    Attributes:
        cursor: Behind which run they go on; None from the first.
        level: Their depth.
        start_ns: When the axis of all rows begins.
        length_ms: How long it is.
    """

    cursor: str | None = Field(None, max_length=400)
    level: int = Field(1, ge=1)
    start_ns: int
    length_ms: float = Field(gt=0)


@router.get("/projects/{project:path}/runs/{run_id}/spans")
def show_spans(
    request: Request,
    reader: FromReader,
    project: str,
    run_id: str,
    below: Annotated[Below, Query()],
) -> Response:
    """The spans below one, as rows of the trace on the page of a run."""
    now_ns = time.time_ns()
    run = runs.find_run(reader, run_id, project, now_ns=now_ns)
    page = runs.TracePage(_CHILDREN, below.cursor, run_id)
    axis = waterfall.Axis(below.start_ns, below.length_ms)
    context: dict[str, Any] = {"axis": axis, "current": None}
    try:
        trace = find_trace(reader, run.trace_id, now_ns=now_ns, page=page)
    except NotFound:  # nothing stands below it
        return show_page(request, "spans.html", context | {"rows": [], "marks": {}})
    counts = count_children(reader, run.trace_id, [child.run_id for child in trace.runs])
    rows = waterfall.lay_out_below(trace.runs, counts, below.level, axis, now_ns)
    if trace.next_cursor is not None:
        rows.append(waterfall.Rest(run, below.level, None, trace.next_cursor))
    notes = span_marks.find_clock_notes(reader, trace.runs, [run])
    marks = span_marks.mark([], notes)
    return show_page(request, "spans.html", context | {"rows": rows, "marks": marks})


@router.get("/projects/{project:path}/runs/{run_id}/outline")
def show_outline(request: Request, reader: FromReader, project: str, run_id: str) -> Response:
    """What is notable in a long trace as a whole, as a part of the page that comes after it."""
    run = runs.find_run(reader, run_id, project, now_ns=time.time_ns())
    outline = find_outline(reader, run.trace_id)
    context = {
        "is_too_long": outline is None,
        "total": len(outline or []),
        "slow": find_slow(outline or []),
        "totals": add_up(outline or []),
    }
    return show_page(request, "outline.html", context)


@dataclass(frozen=True, slots=True)
class LinkedRun:
    """Where else a trace is shown: its address there, and the name of that host."""

    address: str
    host: str


def _link(pattern: str, trace_id: str) -> LinkedRun | None:
    """Make the link that the settings name, if they do."""
    if not pattern:
        return None
    return LinkedRun(pattern.replace("{trace_id}", trace_id), urlsplit(pattern).netloc)


def _lay_out(reader: Reader, trace: Trace, now_ns: int) -> dict[str, Any]:
    """Lay out a trace, or its first runs with what stands below them, and say what is notable."""
    notes = span_marks.find_clock_notes(reader, trace.runs)
    found: dict[str, Any] = {"clocks": [note for _, note in notes.values()]}
    if trace.next_cursor is None:
        outline = outline_of(trace.runs, now_ns)
        slow = find_slow(outline)
        drawn = waterfall.lay_out(trace.runs, now_ns)
        marks = span_marks.mark(slow, notes)
        return found | {"trace": drawn, "marks": marks, "slow": slow, "totals": add_up(outline)}
    trace_id = trace.runs[0].trace_id
    counts = count_children(reader, trace_id, [run.run_id for run in trace.runs])
    extent = find_extent(reader, trace_id)
    drawn = waterfall.lay_out(trace.runs, now_ns, trace.next_cursor, counts, extent)
    return found | {"trace": drawn, "marks": span_marks.mark([], notes)}
