"""The list of projects in the top bar, which is asked for when it is opened."""

from typing import Annotated, Final, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from otel_ml_collector.api.parameters import FromReader
from otel_ml_collector.projects.find import find_projects
from otel_ml_collector.web.render import PageRoute, show_page

_PROJECTS: Final = 50

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get("/switcher")
def show_switcher(
    request: Request,
    reader: FromReader,
    part: Annotated[Literal["runs", "models", "metrics"], Query()] = "runs",
) -> Response:
    """The projects that ran last, each with the same sort of page as the one that asks."""
    found = find_projects(reader)
    context = {"projects": found[:_PROJECTS], "number": len(found), "part": part}
    return show_page(request, "switcher.html", context)
