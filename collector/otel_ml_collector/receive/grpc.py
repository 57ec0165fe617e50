"""OTLP over gRPC: ``Export`` of traces, logs and metrics, bytes in and bytes out.

Spec: https://opentelemetry.io/docs/specs/otlp/#otlpgrpc
"""

import logging
from collections.abc import Sequence
from typing import Final, NoReturn

import grpc

from otel_ml import attributes as names
from otel_ml_collector.access import INGEST, Access, FindAccess, known
from otel_ml_collector.decode.signals import Form, Signal
from otel_ml_collector.errors import BadSetting, CollectorError, Refused, Unavailable
from otel_ml_collector.forward.otlp_request import PASSED_HEADER
from otel_ml_collector.receive.admission import Held
from otel_ml_collector.receive.answers import on_wire, retry_info, status_of, write_answer
from otel_ml_collector.receive.pipeline import BODY_LIMIT_BYTES, Export, Intake
from otel_ml_collector.receive.refusals import note_grpc
from otel_ml_collector.telemetry import Telemetry

_SERVICES: Final = {
    Signal.TRACES: "opentelemetry.proto.collector.trace.v1.TraceService",
    Signal.LOGS: "opentelemetry.proto.collector.logs.v1.LogsService",
    Signal.METRICS: "opentelemetry.proto.collector.metrics.v1.MetricsService",
}
_UNKNOWN_BYTES: Final = 64 * 1024
_SENDERS: Final = 4_096
_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}

_logger = logging.getLogger(__name__)


class OtlpService:
    """Answers ``Export`` of one signal; the body stays bytes, so that a thread decodes it, once.

    Args:
        pipeline: Takes the requests.
        telemetry: Counts them.
        signal: What they hold.
        find_access: Finds what the sender of some metadata may do.
    """

    def __init__(
        self, pipeline: Intake, telemetry: Telemetry, signal: Signal, find_access: FindAccess
    ) -> None:
        self._pipeline = pipeline
        self._telemetry = telemetry
        self._signal = signal
        self._find_access = find_access
        # A call does not say how long its message is: as long as the one before.
        self._sizes: dict[str, int] = {}

    async def export(
        self, _messages: object, context: "grpc.aio.ServicerContext[bytes, bytes]"
    ) -> bytes:
        """Store what a request holds and say so once it is durable."""
        try:
            with self._pipeline.hold() as held:
                export = await self._read_export(context, held)
                answer = await self._pipeline.accept(export, held)
        except CollectorError as error:
            await self._abort(error, context)
        except Exception as error:
            _logger.exception("A request failed")
            trouble = Unavailable(f"The collector has trouble: {type(error).__name__}")
            await self._abort(trouble, context)
        if answer.rejected:
            note_grpc(context, self._sender(context), "partial", answer.message, answer.rejected)
        self._count("partial" if answer.rejected else "success")
        return write_answer(answer, self._signal, Form.PROTOBUF)

    def handler(self) -> grpc.GenericRpcHandler:
        """Make what a server finds the service by."""
        # As a stream of one message, which is the same on the wire: it is read when it is taken.
        method: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_unary_rpc_method_handler(
            self.export
        )
        return grpc.method_handlers_generic_handler(_SERVICES[self._signal], {"Export": method})

    async def _read_export(
        self, context: "grpc.aio.ServicerContext[bytes, bytes]", held: Held
    ) -> Export:
        """Make of metadata and body what the pipeline takes: the only place that does."""
        metadata = _metadata(context)
        access = known(self._find_access(metadata)).demand(INGEST)
        sender = f"{access.key_id}@{context.peer()}"
        held.announce(sender, self._sizes.get(sender, _UNKNOWN_BYTES))
        body = await context.read()
        if not isinstance(body, bytes):
            raise Refused("The call has no message: expected one")
        if len(self._sizes) > _SENDERS:
            self._sizes.clear()
        self._sizes[sender] = len(body)
        held.grow(len(body))
        project = metadata.get(names.PROJECT_HEADER)
        passed = metadata.get(PASSED_HEADER, "")
        return Export(body, "identity", project, self._signal, access=access, passed=passed)

    async def _abort(
        self, error: CollectorError, context: "grpc.aio.ServicerContext[bytes, bytes]"
    ) -> NoReturn:
        """End a call; the delay travels in both places where clients look for it."""
        row = on_wire(error)
        note_grpc(context, self._sender(context), row.outcome, error)
        self._count(row.outcome)
        status = status_of(error)
        trailers = [("grpc-status-details-bin", status.SerializeToString())]
        if isinstance(error, Unavailable):
            trailers.append(("google.rpc.retryinfo-bin", retry_info(error).SerializeToString()))
        await context.abort(_CODES[row.code], status.message, tuple(trailers))

    def _sender(
        self, context: "grpc.aio.ServicerContext[bytes, bytes]"
    ) -> tuple[Access | None, dict[str, str]]:
        metadata = _metadata(context)
        return self._find_access(metadata), metadata

    def _count(self, outcome: str) -> None:
        self._telemetry.count_request("grpc", outcome, self._signal)


def make_server(
    pipeline: Intake,
    telemetry: Telemetry,
    address: str,
    find_access: FindAccess,
    credentials: grpc.ServerCredentials | None = None,
    *,
    limits: Sequence[tuple[str, int]] = (),
) -> tuple[grpc.aio.Server, int]:
    """Make a server of every signal that listens at ``host:port``; it is not started.

    Args:
        pipeline: Takes the requests.
        telemetry: Counts them.
        address: Where to listen.
        find_access: Finds what the sender of some metadata may do.
        credentials: Certificate and key, for TLS.
        limits: Options that bound what one client may take.

    Returns:
        The server and the port, chosen by the system when the address says 0.

    Raises:
        BadSetting: The address cannot be listened at.
    """
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", BODY_LIMIT_BYTES),
            ("grpc.so_reuseport", 0),  # else two collectors share a port without a word
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
            f"The gRPC address {address} cannot be listened at: most often another OpenTelemetry "
            "collector or Jaeger is there; choose another with --grpc HOST:PORT"
        ) from error
    return server, port


def _metadata(context: "grpc.aio.ServicerContext[bytes, bytes]") -> dict[str, str]:
    """Read the metadata; of a key that stands twice the first value stays."""
    found: dict[str, str] = {}
    for key, value in context.invocation_metadata() or ():
        text = value if isinstance(value, str) else value.decode("utf-8", "replace")
        found.setdefault(key, text)
    return found
