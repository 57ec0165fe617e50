"""Uploads of artifacts: ``PUT /api/v1/projects/{project}/artifacts/{sha256}``."""

import logging
import re
from collections.abc import AsyncGenerator
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

from otel_ml_collector.access import INGEST
from otel_ml_collector.api.bodies import check_json
from otel_ml_collector.api.parameters import needs
from otel_ml_collector.artifacts.documents import address_of
from otel_ml_collector.decode.signals import Form
from otel_ml_collector.errors import CollectorError, Refused, Unavailable
from otel_ml_collector.mapping.filing import is_project
from otel_ml_collector.query.answers.artifacts import StoredArtifact
from otel_ml_collector.receive.quotas import Quotas
from otel_ml_collector.receive.refusals import note_http
from otel_ml_collector.receive.uploads import Uploads
from otel_ml_collector.services import service_of
from otel_ml_collector.telemetry import Telemetry

_SHA256: Final = re.compile("[0-9a-f]{64}")

_logger = logging.getLogger(__name__)
_find_access = needs(INGEST)
router = APIRouter(prefix="/api/v1")


class ArtifactEndpoint:
    """Answers uploads, and counts them by their answers.

    Args:
        uploads: Stores them.
        telemetry: Counts them.
        quotas: Bound the bytes of each key.
        limit_bytes: How many bytes one may have.
    """

    def __init__(
        self, uploads: Uploads, telemetry: Telemetry, quotas: Quotas, limit_bytes: int
    ) -> None:
        self._uploads = uploads
        self._telemetry = telemetry
        self._quotas = quotas
        self._limit_bytes = limit_bytes

    async def answer(self, project: str, sha256: str, request: Request) -> Response:
        """Store a document and say so once it is durable."""
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
            raise Unavailable(f"The collector has trouble: {type(error).__name__}") from error

    async def _take(
        self, project: str, sha256: str, request: Request, body: AsyncGenerator[bytes, None]
    ) -> Response:
        access = await _find_access(request)
        self._check(project, sha256, request)
        self._quotas.check(access)
        url = address_of(project, sha256)
        size = await self._uploads.find(project, sha256)
        if size is not None:  # what comes of the body is read by nobody
            self._telemetry.count_upload("known")
            return _answer(200, StoredArtifact(sha256=sha256, bytes=size, url=url))
        size = await self._uploads.accept(project, sha256, body, self._limit_bytes)
        self._quotas.take(access, size=size)
        self._telemetry.count_upload("stored")
        return _answer(201, StoredArtifact(sha256=sha256, bytes=size, url=url))

    def _check(self, project: str, sha256: str, request: Request) -> None:
        """Refuse what can be refused before the body is read."""
        if not _SHA256.fullmatch(sha256):
            raise Refused(f"Invalid sha256 {sha256[:80]!r}: expected 64 digits of lower-case hex")
        if not project or not is_project(project):
            raise Refused("Invalid project: expected 1 to 128 printable characters")
        too_large = f"The artifact has more than {self._limit_bytes} bytes"
        check_json(request, self._limit_bytes, too_large)


@router.put(
    "/projects/{project:path}/artifacts/{sha256}",
    status_code=201,
    responses={200: {"model": StoredArtifact}, 201: {"model": StoredArtifact}},
    openapi_extra={"requestBody": {"required": True, "content": {Form.JSON: {"schema": {}}}}},
)
async def put_artifact(
    project: str,
    sha256: str,
    request: Request,
    endpoint: Annotated[ArtifactEndpoint, Depends(service_of(ArtifactEndpoint))],
) -> Response:
    """Store a JSON document under its hash; 200 when it was there already."""
    return await endpoint.answer(project, sha256, request)


def _answer(status: int, stored: StoredArtifact) -> Response:
    return JSONResponse(stored.model_dump(), status)
