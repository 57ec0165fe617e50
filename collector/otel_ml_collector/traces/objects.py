"""The JSON API for artifacts, images and objects, including uploads."""

import logging
import re
from collections.abc import AsyncGenerator
from typing import Annotated, Any, Final
from urllib.parse import quote

from fastapi import APIRouter, Depends, Request
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response, StreamingResponse

from otel_ml.file_formats import FILE_FORMATS, PLAIN_BYTES
from otel_ml_collector.access import INGEST
from otel_ml_collector.api.bodies import check_body
from otel_ml_collector.api.parameters import FromReader, needs
from otel_ml_collector.api.route import DeferredRoute
from otel_ml_collector.artifacts.find import (
    ObjectData,
    ObjectsPage,
    ObjectsQuery,
    StoredArtifact,
    StoredDocument,
    address_of,
    find_file_facts,
    find_objects,
    find_project_of,
    open_document,
    open_object,
    open_object_by_id,
    read_image,
)
from otel_ml_collector.decode.signals import Form
from otel_ml_collector.errors import CollectorError, Rejected, Unavailable
from otel_ml_collector.mapping.filing import is_project
from otel_ml_collector.receive.admission import Quotas
from otel_ml_collector.receive.refusals import note_http
from otel_ml_collector.receive.uploads import UploadIntake
from otel_ml_collector.services import service_of
from otel_ml_collector.telemetry.service import Telemetry

_ANY_FILE: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {media_type: {} for media_type in FILE_FORMATS}}
}
_IMAGES: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {"image/png": {}, "image/jpeg": {}}}
}
_OBJECT: Final[dict[int | str, dict[str, Any]]] = {200: {"model": ObjectData}}
_OBJECTS: Final[dict[int | str, dict[str, Any]]] = {200: {"model": ObjectData | ObjectsPage}}
_UPLOADED: Final[dict[str, Any]] = {
    Form.JSON: {"schema": {}},
    PLAIN_BYTES: {"schema": {"type": "string", "format": "binary"}},
}
# A document under its hash never changes.
_FOR_EVER: Final = "private, max-age=31536000, immutable"
_SHA256: Final = re.compile("[0-9a-f]{64}")

_logger = logging.getLogger(__name__)
_find_access = needs(INGEST)

router = APIRouter(prefix="/api/v1", route_class=DeferredRoute)


WhichObjects = Annotated[ObjectsQuery, Depends()]


@router.get("/projects/{project:path}/objects", response_model=None, responses=_OBJECTS)
def get_objects(project: str, which: WhichObjects, reader: FromReader) -> Response | ObjectsPage:
    """Read a logged artifact, or list artifacts.

    To read one artifact, pass the name under which it was logged as `ref`, and also `trace_id` or
    `run_id`. You get the newest artifact with this name in the trace or run. Otherwise,
    you get a list of artifacts.
    """
    if which.is_one:
        return _stream(open_object(reader, project, which))
    return find_objects(reader, project, which)


@router.get("/objects", response_model=None, responses=_OBJECTS)
def get_objects_anywhere(which: WhichObjects, reader: FromReader) -> Response | ObjectsPage:
    """Read or list artifacts by trace or run, without naming the project.

    Exactly one project must have the trace or run.
    """
    return get_objects(find_project_of(reader, which.trace_id, which.run_id), which, reader)


@router.get("/projects/{project:path}/objects/{obj_id}", responses=_OBJECT)
def get_object(project: str, obj_id: str, reader: FromReader) -> Response:
    """Read a logged artifact with its document."""
    return _stream(open_object_by_id(reader, project, obj_id))


@router.get("/projects/{project:path}/artifacts/{sha256}", responses=_ANY_FILE)
def get_artifact(project: str, sha256: str, reader: FromReader, request: Request) -> Response:
    """Read a logged value as a file, such as Parquet or PNG, by its hash."""
    document = open_document(reader, project, sha256)
    file = find_file_facts(reader, project, sha256)
    headers = {
        "Cache-Control": _FOR_EVER,
        # RFC 6266, section 4.3: names may have letters outside ASCII
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(file.file_name)}",
        "ETag": f'"{sha256}"',
    }
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    if request.method == "HEAD":
        size = {"Content-Length": str(document.size)}
        return Response(headers=headers | size, media_type=file.media_type)
    return _stream(document, headers, file.media_type)


router.add_api_route(
    "/projects/{project:path}/artifacts/{sha256}",
    get_artifact,
    methods=["HEAD"],
    include_in_schema=False,
)


@router.get("/projects/{project:path}/artifacts/{sha256}/image", responses=_IMAGES)
def get_image(project: str, sha256: str, reader: FromReader, request: Request) -> Response:
    """Read the PNG or JPEG image in a document."""
    media_type, content = read_image(reader, project, sha256)
    headers = {"Cache-Control": _FOR_EVER, "ETag": f'"{sha256}-image"'}
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type=media_type)


def _stream(
    document: StoredDocument,
    headers: dict[str, str] | None = None,
    media_type: str = "application/json",
) -> Response:
    size = {"Content-Length": str(document.size)}
    return StreamingResponse(
        document.parts, headers={**(headers or {}), **size}, media_type=media_type
    )


class ArtifactEndpoint:
    """Answers uploads of up to `limit_bytes`, and counts them by outcome."""

    def __init__(
        self, uploads: UploadIntake, telemetry: Telemetry, quotas: Quotas, limit_bytes: int
    ) -> None:
        self._uploads = uploads
        self._telemetry = telemetry
        self._quotas = quotas
        self._limit_bytes = limit_bytes

    async def answer(self, project: str, sha256: str, request: Request) -> Response:
        """Store a document. The response is sent once it is durable."""
        body = request.stream()
        try:
            return await self._take(project, sha256, request, body)
        except ClientDisconnect:
            self._telemetry.count_upload("broken")
            return Response(status_code=400)
        except CollectorError as error:
            is_busy = isinstance(error, Unavailable)
            note_http(request, "unavailable" if is_busy else "refused", error)
            self._telemetry.count_upload("unavailable" if is_busy else "refused")
            raise
        except Exception as error:
            _logger.exception("An upload failed")
            self._telemetry.count_upload("unavailable")
            raise Unavailable(
                f"The collector had an internal error: {type(error).__name__}"
            ) from error

    async def _take(
        self, project: str, sha256: str, request: Request, body: AsyncGenerator[bytes, None]
    ) -> Response:
        access = await _find_access(request)
        self._check(project, sha256, request)
        self._quotas.check(access)
        url = address_of(project, sha256)
        size = await self._uploads.find(project, sha256)
        if size is not None:  # the body is not read
            self._telemetry.count_upload("known")
            return _answer(200, StoredArtifact(sha256=sha256, bytes=size, url=url))
        size = await self._uploads.accept(project, sha256, body, self._limit_bytes)
        self._quotas.take(access, size=size)
        self._telemetry.count_upload("stored")
        return _answer(201, StoredArtifact(sha256=sha256, bytes=size, url=url))

    def _check(self, project: str, sha256: str, request: Request) -> None:
        """Refuse an invalid request before its body is read."""
        if not _SHA256.fullmatch(sha256):
            raise Rejected(f"Invalid sha256 {sha256[:80]!r}: expected 64 digits of lower-case hex")
        if not project or not is_project(project):
            raise Rejected("Invalid project: expected 1 to 128 printable characters")
        too_large = f"The artifact has more than {self._limit_bytes} bytes"
        check_body(request, self._limit_bytes, too_large, frozenset({Form.JSON, PLAIN_BYTES}))


@router.put(
    "/projects/{project:path}/artifacts/{sha256}",
    status_code=201,
    responses={200: {"model": StoredArtifact}, 201: {"model": StoredArtifact}},
    openapi_extra={"requestBody": {"required": True, "content": _UPLOADED}},
)
async def put_artifact(
    project: str,
    sha256: str,
    request: Request,
    endpoint: Annotated[ArtifactEndpoint, Depends(service_of(ArtifactEndpoint))],
) -> Response:
    """Store a file or a JSON document under its hash.

    Returns 200 if it was stored already, else 201.
    """
    return await endpoint.answer(project, sha256, request)


def _answer(status: int, stored: StoredArtifact) -> Response:
    return JSONResponse(stored.model_dump(), status)
