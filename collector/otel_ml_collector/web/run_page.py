"""The page of one run: its trace, payload, scores, tags, text and artifacts."""

import time
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from otel_ml_collector.api.parameters import FromReader
from otel_ml_collector.errors import NotFound
from otel_ml_collector.mapping.events import CONTENT_EVENTS
from otel_ml_collector.query import models, runs
from otel_ml_collector.query.answers.metrics import MetricSeries
from otel_ml_collector.query.answers.runs import Run, Trace
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.web import view, waterfall
from otel_ml_collector.web.artifacts import lay_out
from otel_ml_collector.web.render import PageRoute, python_call, show_page
from otel_ml_collector.web.spark import spark

_FORM: Final = 20
_CHILDREN: Final = 100

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
) -> Response:
    """One run with everything that is known of it."""
    now_ns = time.time_ns()
    run = runs.find_run(reader, run_id, project, now_ns=now_ns)
    page = runs.TracePage(limit=waterfall.MAX_ROWS)
    trace = runs.find_trace(reader, run.trace_id, now_ns=now_ns, page=page)
    series = models.find_metrics(reader, project, run_id).series
    forms = {"input": input_form, "output": output_form}
    context = {
        "project": project,
        "run": run,
        "forms": forms,
        "here": lambda key, form: view.address(project, "runs", run_id, **forms | {key: form}),
        # Events of what was asked and answered stand as input and output.
        "lines": [line for line in run.logs if line.event not in CONTENT_EVENTS],
        "trace": _lay_out(reader, trace, now_ns),
        "is_cut": trace.truncated,
        "hidden_parents": len(trace.hidden_parents),
        "series": [(one, _curve(one)) for one in series],
        "artifacts": lay_out(request, run.artifacts),
        "newer": _neighbour(reader, run, newest_first=False),
        "older": _neighbour(reader, run, newest_first=True),
        "projects": models.find_projects(reader),
        "api": view.api_address("projects", project, "runs", run_id),
        "python": python_call("run", run_id),
    }
    return show_page(request, "run.html", context)


@router.get("/projects/{project:path}/runs/{run_id}/spans")
def show_spans(
    *,
    request: Request,
    reader: FromReader,
    project: str,
    run_id: str,
    cursor: Annotated[str | None, Query(max_length=400)] = None,
    level: Annotated[int, Query(ge=1)] = 1,
    start_ns: int,
    length_ms: Annotated[float, Query(gt=0)],
) -> Response:
    """The spans below one, as rows of the trace on the page of a run."""
    now_ns = time.time_ns()
    run = runs.find_run(reader, run_id, project, now_ns=now_ns)
    page = runs.TracePage(_CHILDREN, cursor, run_id)
    try:
        trace = runs.find_trace(reader, run.trace_id, now_ns=now_ns, page=page)
    except NotFound:  # nothing stands below it
        return show_page(request, "spans.html", {"rows": [], "axis": None, "current": None})
    counts = runs.count_children(reader, run.trace_id, [child.run_id for child in trace.runs])
    axis = waterfall.Axis(start_ns, length_ms)
    rows = waterfall.lay_out_below(trace.runs, counts, level, axis, now_ns)
    if trace.next_cursor is not None:
        rows.append(waterfall.Rest(run, level, None, trace.next_cursor))
    context = {"rows": rows, "axis": axis, "current": None}
    return show_page(request, "spans.html", context)


def _lay_out(reader: Reader, trace: Trace, now_ns: int) -> waterfall.Waterfall:
    """Lay out a trace, or its first runs with what stands below them."""
    if trace.next_cursor is None:
        return waterfall.lay_out(trace.runs, now_ns)
    shown = [run.run_id for run in trace.runs]
    trace_id = trace.runs[0].trace_id
    counts = runs.count_children(reader, trace_id, shown)
    extent = runs.find_extent(reader, trace_id)
    return waterfall.lay_out(trace.runs, now_ns, trace.next_cursor, counts, extent)


def _neighbour(reader: Reader, run: Run, *, newest_first: bool) -> str | None:
    """Find the run beside this one in the list."""
    cursor = runs.cursor_of(run)
    query = runs.RunsQuery(run.project, limit=1, cursor=cursor, newest_first=newest_first)
    page = runs.find_runs(reader, query, time.time_ns())
    return page.runs[0].run_id if page.runs else None


def _curve(series: MetricSeries) -> str:
    return spark([point.value for point in series.points])
