"""OTLP over HTTP (protobuf and JSON) and over gRPC, for traces, logs and metrics.

Spec: https://opentelemetry.io/docs/specs/otlp/#otlphttp and #otlpgrpc
"""

import logging
import math
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Final, NoReturn

import grpc
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from otel_ml import attributes as names
from otel_ml_collector.access import INGEST, FindAccess, access_of, known
from otel_ml_collector.decode.compression import ENCODINGS
from otel_ml_collector.decode.signals import SERVICES, Form, Signal, media_type_of
from otel_ml_collector.errors import (
    BadSetting,
    CollectorError,
    Rejected,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UnknownMediaType,
    WrongMethod,
)
from otel_ml_collector.forward.otlp_request import PASSED_HEADER
from otel_ml_collector.receive.admission import Reservation
from otel_ml_collector.receive.answers import (
    ExportAnswer,
    on_wire,
    retry_info,
    status_of,
    write,
    write_answer,
)
from otel_ml_collector.receive.pipeline import BODY_LIMIT_BYTES, Export, Intake
from otel_ml_collector.receive.refusals import note_http, note_request
from otel_ml_collector.telemetry.service import Telemetry

# Bytes of an oversized body that are read and discarded. Closing a connection with unread data
# resets it, and the client would resend the body instead of reading the answer.
_DRAIN_BYTES: Final = 12 * BODY_LIMIT_BYTES
_COMPRESSIONS: Final = ", ".join(sorted(ENCODINGS - {"identity"}))

# Estimates: how much larger an uncompressed body is, and the size of a body without a length.
_EXPANSION: Final = 4
_UNKNOWN_BYTES: Final = 64 * 1024
_MOST_SIZES: Final = 4_096
_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}

_logger = logging.getLogger(__name__)


class _Exports:
    """Receives the requests of one signal over one transport and counts their outcomes."""

    def __init__(
        self, transport: str, pipeline: Intake, telemetry: Telemetry, signal: Signal
    ) -> None:
        self._transport = transport
        self._pipeline = pipeline
        self._telemetry = telemetry
        self._signal = signal

    async def _take(
        self, read: Callable[[Reservation], Awaitable[Export]]
    ) -> ExportAnswer | CollectorError:
        """Store the content of a request. Return its answer once it is durable, or the error."""
        try:
            with self._pipeline.hold() as reservation:
                return await self._pipeline.accept(await read(reservation), reservation)
        except CollectorError as error:
            return error
        except ClientDisconnect:
            raise
        except Exception as error:
            _logger.exception("A request failed")
            return Unavailable(f"The collector had an internal error: {type(error).__name__}")

    def _count(self, outcome: str) -> None:
        self._telemetry.count_request(self._transport, outcome, self._signal)


class OtlpEndpoint(_Exports):
    """Answers the requests of one signal over HTTP, in protobuf or JSON as in the request.

    Errors are ``google.rpc.Status`` messages. They are in protobuf if the request is in neither.
    """

    def __init__(self, pipeline: Intake, telemetry: Telemetry, signal: Signal) -> None:
        super().__init__("http", pipeline, telemetry, signal)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request with any HTTP method."""
        response = await self.answer(Request(scope, receive))
        await response(scope, receive, send)

    async def answer(self, request: Request) -> Response:
        """Store the content of a request and return the answer once it is durable."""
        form = _form_of(request) or Form.PROTOBUF
        try:
            answer = await self._take(self._read_of(request))
        except ClientDisconnect:
            return Response(status_code=400)
        if isinstance(answer, CollectorError):
            note_http(request, on_wire(answer).outcome, answer)
            return self._error(answer, form)
        if answer.message:
            note_http(request, "partial", answer.message, answer.rejected, answer.service)
        self._count("partial" if answer.rejected else "success")
        headers = {}
        if self._signal is Signal.TRACES and not self._pipeline.passes_on(self._signal):
            headers[names.PREVIEWS_HEADER] = "own"
        return Response(write_answer(answer, self._signal, form), headers=headers, media_type=form)

    def _read_of(self, request: Request) -> Callable[[Reservation], Awaitable[Export]]:
        return lambda reservation: _read_export(request, self._signal, reservation)

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


def make_routes(
    pipeline: Intake, telemetry: Telemetry, cors_origins: Collection[str] = ()
) -> list[Route]:
    """Return the routes of all signals. Browser pages from `cors_origins` may send to them."""
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
    ] + [Route("/", RootEndpoint(telemetry), methods=["POST"])]


class RootEndpoint:
    """Answers OTLP requests that were wrongly sent to ``/``, and names the correct paths."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a POST to ``/``: 404 with the correct paths if it is OTLP, else 405."""
        request = Request(scope, receive)
        form = _form_of(request)
        if form is None:
            response = Response(status_code=405, headers={"Allow": "GET, HEAD"})
        else:
            error = Rejected(f"OTLP is at {', '.join(f'/v1/{signal}' for signal in Signal)}")
            note_http(request, on_wire(error).outcome, error)
            response = Response(write(status_of(error), form), 404, media_type=form)
        await response(scope, receive, send)


async def _read_export(request: Request, signal: Signal, reservation: Reservation) -> Export:
    """Build an `Export` from the headers and the body of an HTTP request."""
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
    project = request.headers.get(names.PROJECT_HEADER)
    passed = request.headers.get(PASSED_HEADER, "")
    expansion = 1 if encoding == "identity" else _EXPANSION
    reservation.announce(sender, min(size * expansion, BODY_LIMIT_BYTES))
    body = await _read_body(request, reservation)
    return Export(body, encoding, project, signal, form, access, passed)


async def _read_body(request: Request, reservation: Reservation) -> bytes:
    """Read a body, chunked or not, without keeping more than the limit in memory."""
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > _DRAIN_BYTES:
            break
        if size <= BODY_LIMIT_BYTES:
            reservation.grow(len(part))
            parts.append(part)
    if size > BODY_LIMIT_BYTES:
        raise TooLarge(f"The body has more than {BODY_LIMIT_BYTES} bytes: send smaller batches")
    return b"".join(parts)


def _form_of(request: Request) -> Form | None:
    media_type = _media_type(request)
    return Form(media_type) if media_type in set(Form) else None


def _media_type(request: Request) -> str:
    return media_type_of(request.headers.get("content-type", ""))


class OtlpService(_Exports):
    """Answers ``Export`` calls of one signal over gRPC. Messages are decoded on another thread."""

    def __init__(
        self, pipeline: Intake, telemetry: Telemetry, signal: Signal, find_access: FindAccess
    ) -> None:
        super().__init__("grpc", pipeline, telemetry, signal)
        self._find_access = find_access
        # A gRPC call does not announce the size of its message: assume that of the previous one.
        self._sizes: dict[str, int] = {}

    async def export(
        self, _messages: object, context: "grpc.aio.ServicerContext[bytes, bytes]"
    ) -> bytes:
        """Store the content of a request and return the answer once it is durable."""
        peer = context.peer() or ""  # empty once the call has ended
        answer = await self._take(lambda reservation: self._read_export(context, reservation))
        if isinstance(answer, CollectorError):
            await self._abort(answer, context, peer)
        if answer.message:
            rejected, service = answer.rejected, answer.service
            self._note(context, peer, "partial", answer.message, rejected=rejected, service=service)
        self._count("partial" if answer.rejected else "success")
        return write_answer(answer, self._signal, Form.PROTOBUF)

    def handler(self) -> grpc.GenericRpcHandler:
        """Return the handler to register at a gRPC server."""
        # Registered as a stream of one message (the same on the wire), so that the message is only
        # read after the request is admitted.
        method: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_unary_rpc_method_handler(
            self.export
        )
        return grpc.method_handlers_generic_handler(SERVICES[self._signal], {"Export": method})

    async def _read_export(
        self, context: "grpc.aio.ServicerContext[bytes, bytes]", reservation: Reservation
    ) -> Export:
        """Build an `Export` from the metadata and the message of a gRPC call."""
        metadata = _metadata(context)
        access = known(self._find_access(metadata)).demand(INGEST)
        sender = f"{access.key_id}@{context.peer()}"
        reservation.announce(sender, self._sizes.get(sender, _UNKNOWN_BYTES))
        body = await context.read()
        if not isinstance(body, bytes):
            raise _without_message(context)
        if len(self._sizes) > _MOST_SIZES:
            self._sizes.clear()
        self._sizes[sender] = len(body)
        reservation.grow(len(body))
        project = metadata.get(names.PROJECT_HEADER)
        passed = metadata.get(PASSED_HEADER, "")
        return Export(body, "identity", project, self._signal, access=access, passed=passed)

    async def _abort(
        self, error: CollectorError, context: "grpc.aio.ServicerContext[bytes, bytes]", peer: str
    ) -> NoReturn:
        """End a call with an error. The retry delay is sent in both forms that clients read."""
        row = on_wire(error)
        self._note(context, peer, row.outcome, error)
        self._count(row.outcome)
        status = status_of(error)
        trailers = [("grpc-status-details-bin", status.SerializeToString())]
        if isinstance(error, Unavailable):
            trailers.append(("google.rpc.retryinfo-bin", retry_info(error).SerializeToString()))
        await context.abort(_CODES[row.code], status.message, tuple(trailers))

    def _note(
        self,
        context: "grpc.aio.ServicerContext[bytes, bytes]",
        peer: str,
        answer: str,
        reason: object,
        *,
        rejected: int = 0,
        service: str = "",
    ) -> None:
        metadata = _metadata(context)
        note_request(
            "grpc",
            peer,
            (self._find_access(metadata), metadata),
            answer=answer,
            reason=reason,
            rejected=rejected,
            service=service,
        )


def make_server(
    pipeline: Intake,
    telemetry: Telemetry,
    address: str,
    find_access: FindAccess,
    credentials: grpc.ServerCredentials | None = None,
    *,
    limits: Sequence[tuple[str, int]] = (),
) -> tuple[grpc.aio.Server, int]:
    """Return a gRPC server for all signals, bound to ``host:port`` but not started.

    Args:
        pipeline: Stores the requests.
        telemetry: Counts the requests.
        address: Address to listen on, as ``host:port``.
        find_access: Returns the access that belongs to the metadata of a call.
        credentials: Certificate and key for TLS; None for no TLS.
        limits: gRPC options that limit what each client can use.

    Returns:
        The server and its port. The system chooses the port if `address` contains port 0.

    Raises:
        BadSetting: The collector cannot listen on the address.
    """
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", BODY_LIMIT_BYTES),
            ("grpc.so_reuseport", 0),  # otherwise two collectors could silently share a port
            *limits,
        ]
    )
    services = [OtlpService(pipeline, telemetry, signal, find_access) for signal in Signal]
    server.add_generic_rpc_handlers(tuple(service.handler() for service in services))
    try:
        if credentials is None:
            port = server.add_insecure_port(address)
        else:
            port = server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise BadSetting(
            f"The gRPC address {address} cannot be used: probably another OpenTelemetry collector "
            "or Jaeger listens there; choose a different one with --grpc HOST:PORT"
        ) from error
    return server, port


def _without_message(context: "grpc.aio.ServicerContext[bytes, bytes]") -> Rejected:
    """Return the error for a call without a message. gRPC itself ends one that is too large."""
    if context.peer():
        return Rejected("The call has no message: send one")
    return TooLarge(
        f"The call ended before its message was read: either the message has more than "
        f"{BODY_LIMIT_BYTES} bytes, so send smaller batches, or the sender gave up"
    )


def _metadata(context: "grpc.aio.ServicerContext[bytes, bytes]") -> dict[str, str]:
    """Return the metadata of a call. If a key occurs twice, the first value is used."""
    entries: dict[str, str] = {}
    for key, value in context.invocation_metadata() or ():
        text = value if isinstance(value, str) else value.decode("utf-8", "replace")
        entries.setdefault(key, text)
    return entries
