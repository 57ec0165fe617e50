"""The part of the JSON API that tells of one project: behind all paths that go on from it."""

from fastapi import APIRouter

from otel_ml_collector.api.parameters import FromReader
from otel_ml_collector.models.find import find_project
from otel_ml_collector.query.answers.projects import Project

router = APIRouter(prefix="/api/v1")


@router.get("/projects/{project:path}")
def get_project(project: str, reader: FromReader) -> Project:
    """Read how much there is of one project."""
    return find_project(reader, project)
