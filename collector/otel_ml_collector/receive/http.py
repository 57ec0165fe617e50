"""OTLP over HTTP: ``POST /v1/traces``, ``/v1/logs`` and ``/v1/metrics``, in protobuf and JSON.

Spec: https://opentelemetry.io/docs/specs/otlp/#otlphttp
"""

import logging
import math
from collections.abc import Collection
from typing import Final

from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from otel_ml import attributes as names
from otel_ml_collector.access import INGEST, access_of
from otel_ml_collector.decode.compression import ENCODINGS
from otel_ml_collector.decode.signals import Form, Signal, media_type_of
from otel_ml_collector.errors import (
    CollectorError,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UnknownMediaType,
    WrongMethod,
)
from otel_ml_collector.forward.otlp_request import PASSED_HEADER
from otel_ml_collector.receive.admission import Held
from otel_ml_collector.receive.answers import on_wire, status_of, write, write_answer
from otel_ml_collector.receive.pipeline import BODY_LIMIT_BYTES, Export, Intake
from otel_ml_collector.receive.refusals import note_http
from otel_ml_collector.telemetry import Telemetry

# What is read and thrown away of a body that is too large: a connection that is closed on unread
# data is reset, and a client would send the body again instead of reading the answer.
_DRAIN_BYTES: Final = 4 * BODY_LIMIT_BYTES
_COMPRESSIONS: Final = ", ".join(sorted(ENCODINGS - {"identity"}))

# What a body becomes about when it is uncompressed, and how large one is that does not say.
_EXPANSION: Final = 4
_UNKNOWN_BYTES: Final = 64 * 1024

_logger = logging.getLogger(__name__)


class OtlpEndpoint:
    """Answers the requests of one signal, in the form of the request.

    Errors are ``google.rpc.Status``, in protobuf where a request is in no form that is read.

    Args:
        pipeline: Takes the requests.
        telemetry: Counts them.
        signal: What they hold.
    """

    def __init__(self, pipeline: Intake, telemetry: Telemetry, signal: Signal) -> None:
        self._pipeline = pipeline
        self._telemetry = telemetry
        self._signal = signal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request of any method."""
        response = await self.answer(Request(scope, receive))
        await response(scope, receive, send)

    async def answer(self, request: Request) -> Response:
        """Store what a request holds and say so once it is durable."""
        form = _form_of(request) or Form.PROTOBUF
        try:
            with self._pipeline.hold() as held:
                export = await _read_export(request, self._signal, held)
                answer = await self._pipeline.accept(export, held)
        except CollectorError as error:
            note_http(request, on_wire(error).outcome, error)
            return self._error(error, form)
        except ClientDisconnect:
            return Response(status_code=400)
        except Exception as error:
            _logger.exception("A request failed")
            trouble = Unavailable(f"The collector has trouble: {type(error).__name__}")
            return self._error(trouble, form)
        if answer.rejected:
            note_http(request, "partial", answer.message, answer.rejected)
        self._count("partial" if answer.rejected else "success")
        return Response(write_answer(answer, self._signal, form), media_type=form)

    def _error(self, error: CollectorError, form: Form) -> Response:
        row = on_wire(error)
        self._count(row.outcome)
        headers = {}
        if isinstance(error, Unavailable):
            headers["Retry-After"] = str(math.ceil(error.retry_after_s))
        elif isinstance(error, WrongMethod):
            headers["Allow"] = "POST"
        elif isinstance(error, Unauthenticated):
            headers["WWW-Authenticate"] = "Bearer"
        return Response(write(status_of(error), form), row.http, headers, media_type=form)

    def _count(self, outcome: str) -> None:
        self._telemetry.count_request("http", outcome, self._signal)


def make_routes(
    pipeline: Intake, telemetry: Telemetry, cors_origins: Collection[str] = ()
) -> list[Route]:
    """Make the route of each signal; pages of the origins may send to them from a browser."""
    return [
        Route(
            f"/v1/{signal}",
            CORSMiddleware(
                OtlpEndpoint(pipeline, telemetry, signal),
                allow_origins=cors_origins,
                allow_methods=("POST",),
                allow_headers=("*",),
                expose_headers=("Retry-After",),
            )
            if cors_origins
            else OtlpEndpoint(pipeline, telemetry, signal),
        )
        for signal in Signal
    ]


async def _read_export(request: Request, signal: Signal, held: Held) -> Export:
    """Make of a request's headers and body what the pipeline takes: the only place that does."""
    access = access_of(request.scope).demand(INGEST)
    if request.method != "POST":
        raise WrongMethod(f"Invalid method {request.method[:20]!r}: expected POST")
    form = _form_of(request)
    if form is None:
        media_type = _media_type(request)[:80]
        raise UnknownMediaType(
            f"Invalid content type {media_type!r}: expected {Form.PROTOBUF} or {Form.JSON}"
        )
    encoding = request.headers.get("content-encoding", "").strip().lower() or "identity"
    if encoding not in ENCODINGS:
        raise UnknownMediaType(
            f"Invalid content encoding {encoding[:80]!r}: expected {_COMPRESSIONS}"
        )
    length = request.headers.get("content-length", "")
    size = min(int(length), BODY_LIMIT_BYTES) if length.isdecimal() else _UNKNOWN_BYTES
    client = request.client
    sender = f"{access.key_id}@{client.host}:{client.port}" if client else access.key_id
    held.announce(sender, size if encoding == "identity" else size * _EXPANSION)
    body = await _read_body(request, held)
    project = request.headers.get(names.PROJECT_HEADER)
    passed = request.headers.get(PASSED_HEADER, "")
    return Export(body, encoding, project, signal, form, access, passed)


async def _read_body(request: Request, held: Held) -> bytes:
    """Read a body, also a chunked one, and never keep more than the limit."""
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
    return b"".join(parts)


def _form_of(request: Request) -> Form | None:
    media_type = _media_type(request)
    return Form(media_type) if media_type in set(Form) else None


def _media_type(request: Request) -> str:
    return media_type_of(request.headers.get("content-type", ""))
