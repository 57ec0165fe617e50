"""Projects and their counts: the JSON API, and the list in the top bar.

In the API, the route of one project comes after all routes that continue its path.
"""

from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.responses import Response

from otel_ml.records import ProjectCounts
from otel_ml_collector.answer_body import AnswerBody
from otel_ml_collector.api.parameters import (
    MAX_LIMIT,
    Cursor,
    FromReader,
    Limit,
    read_cursor,
    write_place,
)
from otel_ml_collector.api.route import DeferredRoute
from otel_ml_collector.measures.projects import find_project, find_projects, select_projects
from otel_ml_collector.times import from_rfc3339
from otel_ml_collector.web.render import PARTS, PageRoute, show_page

_SWITCHER: Final = 50

api = APIRouter(prefix="/api/v1", route_class=DeferredRoute)
pages = APIRouter(include_in_schema=False, route_class=PageRoute)


class Projects(AnswerBody):
    """Projects, the latest to run first."""

    projects: list[ProjectCounts]
    next_cursor: str | None = Field(description="Cursor of the next page; null on the last page")


@api.get("/projects")
def get_projects(
    reader: FromReader,
    find: Annotated[
        str, Query(max_length=128, description="Only projects with this text in their names")
    ] = "",
    limit: Limit = MAX_LIMIT,
    cursor: Cursor = None,
) -> Projects:
    """List projects, the latest to run first."""
    projects = select_projects(find_projects(reader), find)
    if cursor is not None:
        place = _place_of(*read_cursor(cursor, str, str))
        projects = [
            project
            for project in projects
            if place < _place_of(project.last_start_time, project.project)
        ]
    page = projects[:limit]
    next_cursor = None
    if len(projects) > limit:
        next_cursor = write_place([page[-1].last_start_time, page[-1].project])
    return Projects(projects=page, next_cursor=next_cursor)


def _place_of(time: str, project: str) -> tuple[int, str]:
    return -from_rfc3339(time, "cursor"), project


@api.get("/projects/{project:path}")
def get_project(project: str, reader: FromReader) -> ProjectCounts:
    """Read the counts of a project."""
    return find_project(reader, project)


@pages.get("/switcher")
def show_switcher(
    request: Request,
    reader: FromReader,
    part: Annotated[str, Query(pattern=f"^({'|'.join(PARTS)}|settings)?$")] = "",
) -> Response:
    """Show the projects with the latest runs, each with a link to the same kind of page."""
    projects = find_projects(reader)
    context = {"projects": projects[:_SWITCHER], "number": len(projects), "part": part}
    return show_page(request, "switcher.html", context)
