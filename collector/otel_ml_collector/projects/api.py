"""Projects in the JSON API: one of them stands behind all paths that go on from it."""

from typing import Annotated

from fastapi import APIRouter, Query

from otel_ml_collector.api.parameters import MAX_LIMIT, Cursor, FromReader, Limit
from otel_ml_collector.projects.find import Project, Projects, find_project, page_projects

router = APIRouter(prefix="/api/v1")


@router.get("/projects")
def get_projects(
    reader: FromReader,
    find: Annotated[str, Query(max_length=128, description="What their names have in them")] = "",
    limit: Limit = MAX_LIMIT,
    cursor: Cursor = None,
) -> Projects:
    """List projects, the one that ran last first."""
    return page_projects(reader, find, limit, cursor)


@router.get("/projects/{project:path}")
def get_project(project: str, reader: FromReader) -> Project:
    """Read how much there is of one project."""
    return find_project(reader, project)
