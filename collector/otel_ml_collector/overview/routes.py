"""The overview of a project: its JSON, its page, and the parts that load after the page."""

import time
from collections import Counter
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request
from starlette.responses import RedirectResponse, Response

from otel_ml_collector.api.parameters import FromReader
from otel_ml_collector.api.route import DeferredRoute
from otel_ml_collector.errors import Missing
from otel_ml_collector.figures import (
    ORDERS,
    SPANS,
    choose_judges,
    list_choices,
    make_table,
    make_tiles,
)
from otel_ml_collector.loss import find_gaps, find_refused
from otel_ml_collector.mapping.prices import Prices
from otel_ml_collector.measures.projects import find_project, find_projects
from otel_ml_collector.overview.find import (
    Overview,
    OverviewQuery,
    find_figures,
    find_overview,
)
from otel_ml_collector.overview.seen import SEEN, SEEN_S, read_seen
from otel_ml_collector.problems.checked import write_checked
from otel_ml_collector.problems.curves import list_curves
from otel_ml_collector.problems.news import FromSources
from otel_ml_collector.problems.problems import FoundProblems, find_problems
from otel_ml_collector.reported.find import Reported, find_reported
from otel_ml_collector.services import find_service
from otel_ml_collector.stats import cut_past
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.record_kinds import find_record_kinds
from otel_ml_collector.times import from_rfc3339
from otel_ml_collector.unread import find_unread
from otel_ml_collector.web import view
from otel_ml_collector.web.frame import FramedPage
from otel_ml_collector.web.render import PageRoute, python_call, show_page

_TAGS: Final = 3  # number of tags that runs can be grouped by
_TILES: Final = 2  # number of judges that have a tile
api = APIRouter(prefix="/api/v1", route_class=DeferredRoute)
pages = APIRouter(include_in_schema=False, route_class=PageRoute)


FromAsked = Annotated[OverviewQuery, Depends()]


@api.get("/projects/{project:path}/overview")
def get_overview(
    project: str, asked: FromAsked, reader: FromReader, sources: FromSources
) -> Overview:
    """Return the problems of a project, then its figures by model and by user.

    Each figure, such as errors or cost, comes with its value of the same time a week before. Runs
    of experiments are not counted; verdicts on experiments are listed with the problems.
    """
    return find_overview(reader, project, asked, time.time_ns(), sources)


@pages.get("/projects/{project:path}/news")
def show_news(
    request: Request, project: str, asked: FromAsked, reader: FromReader, sources: FromSources
) -> Response:
    """Show the problems of a project: a part of its page that loads after the page."""
    now_ns = time.time_ns()
    found = find_problems(reader, project, asked.last, now_ns, sources=sources)
    seen = read_seen(request.cookies.get(SEEN, ""))
    facts = {
        "asked": asked,
        "found": found,
        "checked": write_checked(found),
        "curves": list_curves(found),
        "tags": _list_tags(found),
        "here": lambda **changes: view.address(project, **asked.parameters(**changes)),
        "new": seen.list_new(found, now_ns),
        "since": seen.write_since(found, now_ns, reader.zone),
    }
    response = show_page(request, "news.html", facts)
    if asked.last == "24h":  # other time ranges find other problems
        response.set_cookie(
            SEEN,
            seen.add(found, now_ns),
            max_age=SEEN_S,
            path=view.address(project),
            httponly=True,
            samesite="lax",
        )
    return response


def _list_tags(found: FoundProblems) -> list[tuple[str, str]]:
    """List the tags with few values, as fields and names; those of most runs come first."""
    slices = found.state.slices if found.state else None
    sizes: Counter[tuple[str, str]] = Counter()
    for item in slices.slices if slices else ():
        field, _, _ = item.condition.partition(" == ")
        if field.startswith("tags["):
            sizes[field, item.dimension] += item.runs
    return [tag for tag, _ in sizes.most_common(_TAGS)]


@pages.get("/projects/{project:path}", response_class=FramedPage)
def show_overview(request: Request, project: str, asked: FromAsked, reader: FromReader) -> Response:
    """Show the overview of a project, or Home without a project."""
    if not project:
        return RedirectResponse(view.address())
    figures = find_figures(reader, project, asked, time.time_ns())
    is_empty = not figures.total.runs and not figures.before.runs
    known = _find_known(reader, project) if is_empty else None
    judges = choose_judges(figures.total, _TILES)
    context = {
        "found": figures,
        "asked": asked,
        "known": known,
        "has_experiments": is_empty and find_record_kinds(reader, project).experiments,
        "span": SPANS[asked.last],
        "until_ns": from_rfc3339(figures.end_time, "end_time"),
        "tiles": [] if is_empty else make_tiles(figures, judges, reader.zone),
        "tables": [
            make_table(project, part, figures.total, judge=next(iter(judges), None))
            for part in (figures.models, figures.users)
            if part is not None and part.groups
        ],
        "orders": ORDERS,
        "people": list_choices(asked, figures.people),
        "gaps": find_gaps(request, reader, project),
        "refused": find_refused(reader, project),
        "reported": _find_reported(reader, project, asked),
        "unread": find_unread(reader, project, find_service(request, Prices).own_models)
        if is_empty
        else None,
        "elsewhere": [] if known or not is_empty else [p for p in find_projects(reader) if p.runs],
        "here": lambda **changes: view.address(project, **asked.parameters(**changes)),
        "api": view.api_address("projects", project, "overview", **asked.parameters()),
        "python": python_call("overview", **asked.parameters()),
    }
    return show_page(request, "overview.html", context)


def _find_reported(reader: Reader, project: str, asked: OverviewQuery) -> Reported:
    """Find what services reported in metrics, for the time range of the page."""
    window = cut_past(reader, asked.last, time.time_ns()).window
    return find_reported(reader, project, window.start_ns, window.end_ns)


def _find_known(reader: Reader, project: str) -> Any:
    """Describe the data of a project without recent runs; None if it has no data."""
    try:
        stored_project = find_project(reader, project)
    except Missing:
        return None
    return stored_project if stored_project.runs else None
