"""Models and their versions in the JSON API."""

from fastapi import APIRouter

from otel_ml_collector.api.parameters import FromReader
from otel_ml_collector.models import find as models
from otel_ml_collector.models.find import Models, Version, Versions

router = APIRouter(prefix="/api/v1")


@router.get("/projects/{project:path}/models")
def get_models(project: str, reader: FromReader) -> Models:
    """List the models of a project, the one that ran last first."""
    return Models(models=models.find_models(reader, project))


@router.get("/projects/{project:path}/models/{model:path}/versions")
def get_versions(project: str, model: str, reader: FromReader) -> Versions:
    """Read the versions of a model with source and statistics, newest first."""
    return Versions(versions=models.find_versions(reader, project, model))


@router.get("/projects/{project:path}/models/{model:path}/versions/{number}")
def get_version(project: str, model: str, number: int, reader: FromReader) -> Version:
    """Read one version of a model."""
    return models.find_version(reader, project, model, number)
