"""OTLP over HTTP: ``POST /v1/traces`` with protobuf.

Spec: https://opentelemetry.io/docs/specs/otlp/#otlphttp
"""

import logging
from typing import Final

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from otel_ml import attributes as names
from otel_ml_collector.decode.compression import ENCODINGS
from otel_ml_collector.errors import (
    CollectorError,
    TooLarge,
    Unavailable,
    UnknownMediaType,
)
from otel_ml_collector.pipeline import BODY_LIMIT_BYTES, Export, Held, Pipeline
from otel_ml_collector.receive.status import outcome_of, status_of
from otel_ml_collector.telemetry import Telemetry

PROTOBUF: Final = "application/x-protobuf"
# What is read and thrown away of a body that is too large: a connection that is closed on unread
# data is reset, and a client would send the body again instead of reading the answer.
_DRAIN_BYTES: Final = 4 * BODY_LIMIT_BYTES

_logger = logging.getLogger(__name__)


class TraceEndpoint:
    """Answers ``POST /v1/traces``; every answer is protobuf, errors are ``google.rpc.Status``."""

    def __init__(self, pipeline: Pipeline, telemetry: Telemetry) -> None:
        self._pipeline = pipeline
        self._telemetry = telemetry

    async def answer(self, request: Request) -> Response:
        """Store the spans of a request and say so once they are durable."""
        try:
            with self._pipeline.hold() as held:
                answer = await self._pipeline.accept(await _read_export(request, held), held)
        except CollectorError as error:
            return self._error(error)
        except ClientDisconnect:
            return Response(status_code=400)
        except Exception as error:
            _logger.exception("A request failed")
            return self._error(Unavailable(f"The collector has trouble: {type(error).__name__}"))
        self._telemetry.count_request("http", "partial" if answer.rejected else "success")
        response = ExportTraceServiceResponse()
        if answer.rejected:
            response.partial_success.rejected_spans = answer.rejected
            response.partial_success.error_message = answer.message
        return Response(response.SerializeToString(), media_type=PROTOBUF)

    def _error(self, error: CollectorError) -> Response:
        self._telemetry.count_request("http", outcome_of(error))
        headers = {}
        status = 400
        if isinstance(error, Unavailable):
            status, headers = 503, {"Retry-After": str(error.retry_after_s)}
        elif isinstance(error, TooLarge):
            status = 413
        elif isinstance(error, UnknownMediaType):
            status = 415
        body = status_of(error).SerializeToString()
        return Response(body, status, headers, media_type=PROTOBUF)


async def _read_export(request: Request, held: Held) -> Export:
    """Read headers and body, also a chunked one, and never more than the limit."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != PROTOBUF:
        raise UnknownMediaType(f"Invalid content type {media_type!r}: expected {PROTOBUF}")
    encoding = request.headers.get("content-encoding", "").strip().lower() or "identity"
    if encoding not in ENCODINGS:
        raise UnknownMediaType(f"Invalid content encoding {encoding!r}: expected gzip or deflate")
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > _DRAIN_BYTES:
            break
        if size <= BODY_LIMIT_BYTES:
            held.grow(len(part))
            parts.append(part)
    if size > BODY_LIMIT_BYTES:
        raise TooLarge(f"The body has more than {BODY_LIMIT_BYTES} bytes")
    project = request.headers.get(names.PROJECT_HEADER)
    return Export(b"".join(parts), encoding, project)
