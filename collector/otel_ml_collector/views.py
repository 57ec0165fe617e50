"""Saved views: a page with its parameters under a name, kept, found and checked."""

import threading
import time
from typing import Annotated, Any, Final, Literal

import orjson
from fastapi import APIRouter, Depends, Path
from pydantic import BaseModel, ConfigDict, Field

from otel_ml_collector.access import ANNOTATE
from otel_ml_collector.api.bodies import JsonRoute
from otel_ml_collector.api.parameters import FromReader, reader_for
from otel_ml_collector.errors import BadInput, Missing
from otel_ml_collector.filter.sql import compile_where
from otel_ml_collector.services import service_of
from otel_ml_collector.store.connection import Connections, store_trouble
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.times import to_rfc3339

MOST: Final = 200
# A page of no name stands for a deleted view.
_READ: Final = Sql("""
SELECT name, page, parameters, saved_ns FROM views FINAL
WHERE project = {project:String} AND page != '' ORDER BY name LIMIT {limit:UInt32}""")
_COLUMNS: Final = ("project", "name", "page", "parameters", "saved_ns", "version")

_Name = Annotated[str, Field(min_length=1, max_length=64)]
_Text = Annotated[str, Field(max_length=4_000)]


class WantedView(BaseModel):
    """A page of the web interface with its parameters."""

    model_config = ConfigDict(extra="forbid")

    page: Literal["runs", "models", "metrics", "stats", "traces"] = "runs"
    parameters: Annotated[dict[_Name, _Text], Field(max_length=40)] = Field(
        default={}, description="As they stand in the page's address, such as `where`"
    )


class View(WantedView):
    """A saved view."""

    name: str
    saved_time: str = Field(description="RFC 3339, UTC")


class Views(BaseModel):
    """The saved views of a project, by name."""

    views: list[View]


class ViewStore:
    """Writes views, one at a time; any thread may call it."""

    def __init__(self, connections: Connections) -> None:
        self._client = connections.open()
        self._lock = threading.Lock()

    def save(self, reader: Reader, project: str, name: str, wanted: WantedView) -> View:
        """Save a view in place of the one of its name; when this returns, it is on disk.

        Raises:
            BadInput: Its filter is wrong, or there are too many views.
            Unavailable: The store has trouble.
        """
        compile_where(reader, project, wanted.parameters.get("where", ""), is_bounded=True)
        names = {view.name for view in find_views(reader, project)}
        if len(names) >= MOST and name not in names:
            raise BadInput(f"The project has {MOST} views already: delete one first", "name")
        saved_ns = self._insert(project, name, wanted.page, wanted.parameters)
        return View(name=name, saved_time=to_rfc3339(saved_ns), **dict(wanted))

    def delete(self, reader: Reader, project: str, name: str) -> View:
        """Delete a view, and return what it was; when this returns, that is on disk.

        Raises:
            Missing: There is none of that name.
            Unavailable: The store has trouble.
        """
        view = find_view(reader, project, name)
        self._insert(project, name, "", {})
        return view

    def _insert(self, project: str, name: str, page: str, parameters: dict[str, str]) -> int:
        now_ns = time.time_ns()
        row: list[Any] = [project, name, page, orjson.dumps(parameters).decode(), now_ns, now_ns]
        with self._lock, store_trouble():
            self._client.insert("views", [row], column_names=_COLUMNS)
        return now_ns


def find_views(reader: Reader, project: str) -> list[View]:
    """Find the saved views of a project, by name."""
    return [
        View(
            name=row["name"],
            page=row["page"],
            parameters=orjson.loads(row["parameters"]),
            saved_time=to_rfc3339(row["saved_ns"]),
        )
        for row in reader.rows(_READ, {"project": project, "limit": MOST})
    ]


def find_view(reader: Reader, project: str, name: str) -> View:
    """Find one saved view.

    Raises:
        Missing: There is none of that name.
    """
    for view in find_views(reader, project):
        if view.name == name:
            return view
    raise Missing(f"There is no view {name[:80]!r}")


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
