"""The part of the JSON API that answers with documents: artifacts, images and objects."""

from dataclasses import replace
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response, StreamingResponse

from otel_ml_collector.api.parameters import FromReader, Limit, Time
from otel_ml_collector.artifacts.documents import Document, open_document
from otel_ml_collector.artifacts.find import (
    ObjectsQuery,
    find_objects,
    find_project_of,
    open_object,
    open_object_by_id,
)
from otel_ml_collector.artifacts.images import read_image
from otel_ml_collector.query.answers.artifacts import ObjectData, ObjectsPage
from otel_ml_collector.times import from_rfc3339

_JSON: Final = "application/json"
_ANY_JSON: Final[dict[int | str, dict[str, Any]]] = {200: {"content": {_JSON: {}}}}
_IMAGES: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {"image/png": {}, "image/jpeg": {}}}
}
_OBJECT: Final[dict[int | str, dict[str, Any]]] = {200: {"model": ObjectData}}
_OBJECTS: Final[dict[int | str, dict[str, Any]]] = {200: {"model": ObjectData | ObjectsPage}}
_PLACE_CHARS: Final = 8_000
# Under its hash a document never changes.
_FOR_EVER: Final = "private, max-age=31536000, immutable"

router = APIRouter(prefix="/api/v1")

Ref = Annotated[str, Query(max_length=1_024, description="What it was logged as")]
TraceId = Annotated[str, Query(max_length=256, description="A trace's id in hex, or its key")]
RunId = Annotated[str, Query(max_length=49)]


def parse_objects(
    *,
    trace_id: TraceId = "",
    run_id: RunId = "",
    ref: Ref = "",
    start: Time = None,
    end: Time = None,
    limit: Limit = 50,
    cursor: Annotated[str | None, Query(max_length=_PLACE_CHARS)] = None,
) -> ObjectsQuery:
    """Read the parameters that say which artifacts, but for their project.

    Raises:
        BadQuery: A time cannot be read.
    """
    return ObjectsQuery(
        project="",
        trace_id=trace_id,
        run_id=run_id,
        ref=ref,
        start_ns=from_rfc3339(start, "start") if start else 0,
        end_ns=from_rfc3339(end, "end") if end else None,
        limit=limit,
        cursor=cursor,
    )


WhichObjects = Annotated[ObjectsQuery, Depends(parse_objects)]


@router.get("/projects/{project:path}/objects", response_model=None, responses=_OBJECTS)
def get_objects(project: str, which: WhichObjects, reader: FromReader) -> Response | ObjectsPage:
    """Read the newest artifact of a ref of a trace or run; without one of them, list artifacts."""
    query = replace(which, project=project)
    if query.is_one:
        return _stream(open_object(reader, query))
    return find_objects(reader, query)


@router.get("/objects", response_model=None, responses=_OBJECTS)
def get_objects_anywhere(which: WhichObjects, reader: FromReader) -> Response | ObjectsPage:
    """Do the same by trace or run alone, when exactly one project has it."""
    return get_objects(find_project_of(reader, which.trace_id, which.run_id), which, reader)


@router.get("/projects/{project:path}/objects/{obj_id}", responses=_OBJECT)
def get_object(project: str, obj_id: str, reader: FromReader) -> Response:
    """Read one logged artifact with its document."""
    return _stream(open_object_by_id(reader, project, obj_id))


@router.get("/projects/{project:path}/artifacts/{sha256}", responses=_ANY_JSON)
def get_artifact(project: str, sha256: str, reader: FromReader, request: Request) -> Response:
    """Read a document by its hash."""
    document = open_document(reader, project, sha256)
    headers = {
        "Cache-Control": _FOR_EVER,
        "Content-Disposition": f'attachment; filename="{sha256}.json"',
        "ETag": f'"{sha256}"',
    }
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    if request.method == "HEAD":
        size = {"Content-Length": str(document.size)}
        return Response(headers=headers | size, media_type=_JSON)
    return _stream(document, headers)


router.add_api_route(
    "/projects/{project:path}/artifacts/{sha256}",
    get_artifact,
    methods=["HEAD"],
    include_in_schema=False,
)


@router.get("/projects/{project:path}/artifacts/{sha256}/image", responses=_IMAGES)
def get_image(project: str, sha256: str, reader: FromReader, request: Request) -> Response:
    """Read the PNG or JPEG in an image's document."""
    picture = read_image(reader, project, sha256)
    headers = {"Cache-Control": _FOR_EVER, "ETag": f'"{sha256}-image"'}
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    return Response(picture.content, headers=headers, media_type=picture.media_type)


def _stream(document: Document, headers: dict[str, str] | None = None) -> Response:
    size = {"Content-Length": str(document.size)}
    return StreamingResponse(document.parts, headers={**(headers or {}), **size}, media_type=_JSON)
