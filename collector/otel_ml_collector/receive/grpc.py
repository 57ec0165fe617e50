"""OTLP over gRPC: ``TraceService/Export``, bytes in and bytes out.

Spec: https://opentelemetry.io/docs/specs/otlp/#otlpgrpc
"""

import logging
from typing import Final, NoReturn

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from otel_ml import attributes as names
from otel_ml_collector.errors import BadSetting, CollectorError, Unavailable
from otel_ml_collector.pipeline import BODY_LIMIT_BYTES, Export, Pipeline
from otel_ml_collector.receive.status import code_of, outcome_of, retry_info, status_of
from otel_ml_collector.telemetry import Telemetry

_SERVICE: Final = "opentelemetry.proto.collector.trace.v1.TraceService"
_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}

_logger = logging.getLogger(__name__)


class TraceService:
    """Answers ``Export``; the body stays bytes, so that it is decoded once, on a thread."""

    def __init__(self, pipeline: Pipeline, telemetry: Telemetry) -> None:
        self._pipeline = pipeline
        self._telemetry = telemetry

    async def export(self, body: bytes, context: "grpc.aio.ServicerContext[bytes, bytes]") -> bytes:
        """Store the spans of a request and say so once they are durable."""
        try:
            with self._pipeline.hold() as held:
                held.grow(len(body))
                export = Export(body, "identity", _header_project(context))
                answer = await self._pipeline.accept(export, held)
        except CollectorError as error:
            await self._abort(error, context)
        except Exception as error:
            _logger.exception("A request failed")
            trouble = Unavailable(f"The collector has trouble: {type(error).__name__}")
            await self._abort(trouble, context)
        self._telemetry.count_request("grpc", "partial" if answer.rejected else "success")
        response = ExportTraceServiceResponse()
        if answer.rejected:
            response.partial_success.rejected_spans = answer.rejected
            response.partial_success.error_message = answer.message
        return response.SerializeToString()

    async def _abort(
        self, error: CollectorError, context: "grpc.aio.ServicerContext[bytes, bytes]"
    ) -> NoReturn:
        """End a call; the delay travels in both places where clients look for it."""
        self._telemetry.count_request("grpc", outcome_of(error))
        trailers = [("grpc-status-details-bin", status_of(error).SerializeToString())]
        if isinstance(error, Unavailable):
            trailers.append(("google.rpc.retryinfo-bin", retry_info(error).SerializeToString()))
        await context.abort(_CODES[code_of(error)], str(error), tuple(trailers))


def make_server(service: TraceService, address: str) -> tuple[grpc.aio.Server, int]:
    """Make a server that listens at ``host:port``; it is not started.

    Returns:
        The server and the port, chosen by the system when the address says 0.

    Raises:
        BadSetting: The address cannot be listened at.
    """
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", BODY_LIMIT_BYTES),
            ("grpc.so_reuseport", 0),  # else two collectors share a port without a word
        ]
    )
    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(
        service.export
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(_SERVICE, {"Export": handler}),)
    )
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise BadSetting(
            f"The gRPC address {address} cannot be listened at: most often another OpenTelemetry "
            "collector or Jaeger is there; choose another with --grpc HOST:PORT"
        ) from error
    return server, port


def _header_project(context: "grpc.aio.ServicerContext[bytes, bytes]") -> str | None:
    for key, value in context.invocation_metadata() or ():
        if key == names.PROJECT_HEADER:
            return value if isinstance(value, str) else value.decode("utf-8", "replace")
    return None
