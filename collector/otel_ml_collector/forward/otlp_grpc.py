"""Sends OTLP over gRPC, the message as it is.

Spec: https://opentelemetry.io/docs/specs/otlp/#otlpgrpc
"""

from importlib.metadata import version
from typing import Any, Final

import grpc

from otel_ml_collector.decode.signals import Form, Signal
from otel_ml_collector.forward.otlp_answer import (
    Later,
    Never,
    read_partial,
    read_retry_info,
    shorten,
)
from otel_ml_collector.forward.otlp_request import OtlpRequest
from otel_ml_collector.settings.targets import OtlpTarget

_METHODS: Final = {
    Signal.TRACES: "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    Signal.LOGS: "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
}
_AGAIN: Final = frozenset(
    {
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)
_ABOUT_DATA: Final = frozenset(
    {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED}
)
_DETAILS: Final = "grpc-status-details-bin"
# Sending again is ours, and so is the pause between two attempts to connect.
_OPTIONS: Final = (
    ("grpc.max_send_message_length", -1),
    ("grpc.enable_retries", 0),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
)


class GrpcSender:
    """Sends to one target; from several threads at once.

    Args:
        target: Where to.
    """

    def __init__(self, target: OtlpTarget) -> None:
        self._target = target
        self._channel = _open_channel(target)
        self._calls: dict[Signal, grpc.UnaryUnaryMultiCallable[bytes, bytes]] = {
            signal: self._channel.unary_unary(method) for signal, method in _METHODS.items()
        }

    def send(self, request: OtlpRequest) -> str:
        """Send a request; returns what the target says of the part that it has not taken.

        What came compressed is compressed again: gRPC frames what it compresses itself.

        Raises:
            Later: It is not known to be there.
            Never: The target has refused it.
            Unreadable: It cannot be written as the target takes it.
        """
        packed = grpc.Compression.Gzip if request.encoding != "identity" else None
        message = request.as_protobuf().plain()
        headers = {**request.headers, **dict(self._target.headers)}
        try:
            told = self._calls[request.signal](
                message.body,
                timeout=self._target.timeout_s,
                metadata=tuple(headers.items()),
                compression=packed,
            )
        except grpc.RpcError as error:
            raise _read(error) from error
        return read_partial(told, Form.PROTOBUF)

    def close(self) -> None:
        """End the calls under way."""
        self._channel.close()


def _read(error: grpc.RpcError) -> Later | Never:
    """Tell what an error of a call means."""
    call: Any = error  # what grpc raises is a call that has ended
    code = call.code()
    said = f"{code.name} {shorten(call.details() or '')}"
    delay_s = None
    for key, value in call.trailing_metadata() or ():
        if key == _DETAILS and isinstance(value, bytes):
            delay_s = read_retry_info(value)
    if code in _AGAIN or (code is grpc.StatusCode.RESOURCE_EXHAUSTED and delay_s is not None):
        return Later(said, delay_s)
    return Never(said, blames_data=code in _ABOUT_DATA)


def _open_channel(target: OtlpTarget) -> grpc.Channel:
    options = (*_OPTIONS, ("grpc.primary_user_agent", f"otel-ml/{version('otel-ml')}"))
    address = str(target.address)
    if not target.is_secure:
        return grpc.insecure_channel(address, options)
    files = (target.tls_ca, target.tls_key, target.tls_cert)
    ca, key, cert = (file.read_bytes() if file else None for file in files)
    credentials = grpc.ssl_channel_credentials(ca, key, cert)
    return grpc.secure_channel(address, credentials, options)
