"""The runs of a project: one filter box, a histogram over time, and a table of chosen columns."""

import time
from dataclasses import replace
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from otel_ml_collector.api.parameters import FromReader
from otel_ml_collector.api.problems import problem_of
from otel_ml_collector.errors import BadQuery
from otel_ml_collector.filter.grammar import conjuncts
from otel_ml_collector.filter.sql import compile_where
from otel_ml_collector.loss.api import missing_spans
from otel_ml_collector.projects.find import find_projects
from otel_ml_collector.query.answers.runs import RunsPage
from otel_ml_collector.runs import columns, histogram
from otel_ml_collector.runs import find as runs
from otel_ml_collector.runs.api import parse_query
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.runs import Window
from otel_ml_collector.store.statistics import bound_runs, count_runs
from otel_ml_collector.times import DAY_NS, HOUR_NS, to_rfc3339
from otel_ml_collector.views.find import View, find_views
from otel_ml_collector.web import view
from otel_ml_collector.web.render import PageRoute, python_call, show_page

_LAST_NS: Final = {
    "15m": HOUR_NS // 4,
    "1h": HOUR_NS,
    "24h": DAY_NS,
    "7d": 7 * DAY_NS,
    "30d": 30 * DAY_NS,
}
_KEPT: Final = ("last", "start", "end", "order", "live")
_MOST_COLUMNS: Final = 50

router = APIRouter(include_in_schema=False, route_class=PageRoute)

Last = Annotated[Literal["", "15m", "1h", "24h", "7d", "30d"], Query()]
Keys = Annotated[list[str], Query(alias="columns", max_length=_MOST_COLUMNS, default_factory=list)]


def parse_page_query(
    query: Annotated[runs.RunsQuery, Depends(parse_query)], last: Last = ""
) -> runs.RunsQuery:
    """Read the API's parameters, and `last`, which moves along with the clock."""
    if not last:
        return query
    return replace(query, start_ns=max(query.start_ns, time.time_ns() - _LAST_NS[last]))


PageQuery = Annotated[runs.RunsQuery, Depends(parse_page_query)]


@router.get("/projects/{project:path}/runs")
def list_runs(request: Request, reader: FromReader, query: PageQuery, keys: Keys) -> Response:
    """The runs of a project, filtered."""
    now_ns = time.time_ns()
    problem = None
    page = RunsPage(runs=[], next_cursor=None)
    try:
        page = runs.find_runs(reader, query, now_ns)
    except BadQuery as error:
        if error.field != "where":
            raise
        problem = problem_of(error)[1]
    context = _list_context(request, query, page, keys)
    has_runs = bool(page.runs) or _has_runs(reader, query.project, now_ns)
    context |= {
        "problem": problem,
        "chips": [] if problem else conjuncts(query.where),
        "views": [
            (saved.name, _address_of(saved, query.project))
            for saved in find_views(reader, query.project)
            if saved.page == "runs"
        ],
        "offered": columns.offer(context["columns"], page.runs),
        "has_runs": has_runs,
        "elsewhere": [] if has_runs else [one for one in find_projects(reader) if one.runs],
        "missing_spans": missing_spans(request, reader, query.project),
    }
    return show_page(request, "runs.html", context, 400 if problem else 200)


@router.get("/projects/{project:path}/more-runs")
def list_more_runs(request: Request, reader: FromReader, query: PageQuery, keys: Keys) -> Response:
    """The rows of the next page of a list."""
    page = runs.find_runs(reader, query, time.time_ns())
    return show_page(request, "rows.html", _list_context(request, query, page, keys))


@router.get("/projects/{project:path}/chart")
def show_chart(request: Request, reader: FromReader, query: PageQuery) -> Response:
    """The count of a list and its course over time, as a part that comes after the rows."""
    chart = _chart(reader, query, time.time_ns())
    return show_page(request, "chart.html", {"chart": chart})


def _list_context(
    request: Request, query: runs.RunsQuery, page: RunsPage, keys: list[str]
) -> dict[str, Any]:
    """What table and rows share; the columns stay when more rows are fetched."""
    given = request.query_params
    kept: dict[str, Any] = {key: given[key] for key in _KEPT if given.get(key)}
    if keys:
        kept["columns"] = list(keys)
    asked = {
        "start": to_rfc3339(query.start_ns) if query.start_ns else None,
        "end": given.get("end"),
        "order": given.get("order"),
    }
    return {
        "project": query.project,
        "where": query.where,
        "kept": kept,
        "runs": page.runs,
        "next_cursor": page.next_cursor,
        "columns": columns.choose(keys, page.runs),
        "asked": asked,
        "api": view.api_address(
            "projects", query.project, "runs", where=query.where, limit=query.limit, **asked
        ),
        "python": python_call("runs", query.where, **asked),
    }


def _address_of(saved: View, project: str) -> str:
    """Write the address that a view stands for; its columns are kept a line each."""
    parameters: dict[str, Any] = dict(saved.parameters)
    if "columns" in parameters:
        parameters["columns"] = parameters["columns"].split("\n")
    return view.address(project, "runs", **parameters)


def _chart(reader: Reader, query: runs.RunsQuery, now_ns: int) -> histogram.Histogram | None:
    """Count over the asked time, or over all that is there when none is asked."""
    whole = bound_runs(reader, query.project)
    if whole is None:
        return None
    window = Window(
        max(query.start_ns, whole.start_ns), min(query.end_ns or now_ns + HOUR_NS, whole.end_ns)
    )
    if window.start_ns >= window.end_ns:
        return None
    condition, _ = compile_where(reader, query.project, query.where, is_bounded=query.start_ns > 0)
    shown, step_ns = histogram.lay_out(window)
    asked = Window(max(shown.start_ns, window.start_ns), window.end_ns)
    buckets = count_runs(
        reader, query.project, condition, asked, origin_ns=shown.start_ns, step_ns=step_ns
    )
    return histogram.draw(buckets, shown, step_ns)


def _has_runs(reader: Reader, project: str, now_ns: int) -> bool:
    return bool(runs.find_runs(reader, runs.RunsQuery(project, limit=1), now_ns).runs)
