"""Saved views: pages with their parameters, each under a name."""

from typing import Annotated, Final, Literal

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field

from otel_ml_collector.access import ANNOTATE
from otel_ml_collector.answer_body import AnswerBody
from otel_ml_collector.api.bodies import JsonRoute
from otel_ml_collector.api.parameters import DocumentName, FromReader, reader_for
from otel_ml_collector.filter.sql import compile_where
from otel_ml_collector.services import service_of
from otel_ml_collector.store.documents import (
    Document,
    DocumentKind,
    Documents,
    list_documents,
    read_document,
)
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.times import to_rfc3339

VIEW: Final = DocumentKind("view", most=200, noted_as="view")

_Name = Annotated[str, Field(min_length=1, max_length=64)]
_Text = Annotated[str, Field(max_length=4_000)]


class WantedView(BaseModel):
    """A page of the web interface with its parameters."""

    model_config = ConfigDict(extra="forbid")

    page: Literal["runs", "models", "metrics", "stats", "traces"] = "runs"
    parameters: Annotated[dict[_Name, _Text], Field(max_length=40)] = Field(
        default={}, description="Parameters of the page's address, such as `where`"
    )


class View(WantedView):
    """A saved view."""

    name: str
    version: int = Field(description="Number of times the view was saved")
    saved_time: str = Field(description="When this version was saved, RFC 3339 in UTC")


class Views(AnswerBody):
    """The saved views of a project, by name."""

    views: list[View]


def find_views(reader: Reader, project: str) -> list[View]:
    """Find the saved views of a project, by name."""
    return [_view(document) for document in list_documents(reader, project, VIEW)]


def _view(document: Document) -> View:
    return View(
        name=document.name,
        version=document.version,
        saved_time=to_rfc3339(document.saved_ns),
        **document.body,
    )


router = APIRouter(prefix="/api/v1", route_class=JsonRoute)

Base = Annotated[
    int | None,
    Query(
        ge=0,
        description="Save only if this version is the newest, or, with 0, if the view does "
        "not exist. Omit it to save in any case",
    ),
]
FromOwner = Annotated[Reader, Depends(reader_for(ANNOTATE))]
FromStore = Annotated[Documents, Depends(service_of(Documents))]


@router.get("/projects/{project:path}/views")
def get_views(project: str, reader: FromReader) -> Views:
    """List the saved views of a project, by name, at most 200."""
    return Views(views=find_views(reader, project))


@router.get("/projects/{project:path}/views/{name}")
def get_view(project: str, name: DocumentName, reader: FromReader) -> View:
    """Read a saved view."""
    return _view(read_document(reader, project, VIEW, name))


@router.put("/projects/{project:path}/views/{name}")
def put_view(
    project: str,
    name: DocumentName,
    wanted: WantedView,
    reader: FromOwner,
    store: FromStore,
    *,
    base: Base = None,
) -> View:
    """Save a view, and replace a view of the same name."""
    compile_where(reader, project, wanted.parameters.get("where", ""), is_bounded=True)
    return _view(store.save(reader, project, VIEW, name, wanted.model_dump(), base=base))


@router.delete("/projects/{project:path}/views/{name}")
def delete_saved_view(
    project: str, name: DocumentName, reader: FromOwner, store: FromStore, base: Base = None
) -> View:
    """Delete a view, and return its last state."""
    return _view(store.delete(reader, project, VIEW, name, base=base))
