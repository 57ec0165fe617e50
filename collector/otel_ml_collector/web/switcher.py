"""The list of projects in the top bar, which is asked for when it is opened."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from otel_ml_collector.api.parameters import FromReader
from otel_ml_collector.query import models
from otel_ml_collector.web.render import PageRoute, show_page

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get("/switcher")
def show_switcher(
    request: Request,
    reader: FromReader,
    part: Annotated[Literal["runs", "models", "metrics"], Query()] = "runs",
) -> Response:
    """All projects, each with the same sort of page as the one that asks."""
    context = {"projects": models.find_projects(reader), "part": part}
    return show_page(request, "switcher.html", context)
