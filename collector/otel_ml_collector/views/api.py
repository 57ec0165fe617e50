"""The part of the JSON API that keeps views: for the scope annotate, read by whoever may read."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path

from otel_ml_collector.access import ANNOTATE
from otel_ml_collector.api.bodies import JsonRoute
from otel_ml_collector.api.parameters import FromReader, reader_for
from otel_ml_collector.services import service_of
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.views.find import View, Views, ViewStore, WantedView, find_view, find_views

router = APIRouter(prefix="/api/v1", route_class=JsonRoute)

Name = Annotated[str, Path(min_length=1, max_length=64, pattern=r"^[^/\x00-\x1f\x7f]+$")]


FromOwner = Annotated[Reader, Depends(reader_for(ANNOTATE))]
FromStore = Annotated[ViewStore, Depends(service_of(ViewStore))]


@router.get("/projects/{project:path}/views")
def get_views(project: str, reader: FromReader) -> Views:
    """List the saved views of a project, by name, at most 200."""
    return Views(views=find_views(reader, project))


@router.get("/projects/{project:path}/views/{name}")
def get_view(project: str, name: Name, reader: FromReader) -> View:
    """Read one saved view."""
    return find_view(reader, project, name)


@router.put("/projects/{project:path}/views/{name}")
def put_view(
    project: str, name: Name, wanted: WantedView, reader: FromOwner, store: FromStore
) -> View:
    """Save a view under its name, in place of the one that has it; sent twice it is the same."""
    return store.save(reader, project, name, wanted)


@router.delete("/projects/{project:path}/views/{name}")
def delete_saved_view(project: str, name: Name, reader: FromOwner, store: FromStore) -> View:
    """Delete a view, and answer what it was."""
    return store.delete(reader, project, name)
