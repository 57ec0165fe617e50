"""Writes answers to OTLP requests in the form of the request, and maps errors to status codes.

Spec: https://opentelemetry.io/docs/specs/otlp/#otlphttp-response and #failures
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsPartialSuccess,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsPartialSuccess,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)

from otel_ml_collector.decode.signals import Form, Signal
from otel_ml_collector.errors import (
    BadField,
    CollectorError,
    NotPermitted,
    OverQuota,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UnknownMediaType,
    WrongMethod,
)

INVALID_ARGUMENT: Final = 3
PERMISSION_DENIED: Final = 7
RESOURCE_EXHAUSTED: Final = 8
UNIMPLEMENTED: Final = 12
UNAVAILABLE: Final = 14
UNAUTHENTICATED: Final = 16
# gRPC clients accept 8 KiB of trailers. The text can occur twice there, at three times its size.
_MESSAGE_BYTES: Final = 1_000
# For each signal: response message, partial-success message, and the latter's field with the number
# of rejected records.
_RESPONSES: Final[Mapping[Signal, tuple[type[Message], type[Message], str]]] = {
    Signal.TRACES: (ExportTraceServiceResponse, ExportTracePartialSuccess, "rejected_spans"),
    Signal.LOGS: (ExportLogsServiceResponse, ExportLogsPartialSuccess, "rejected_log_records"),
    Signal.METRICS: (
        ExportMetricsServiceResponse,
        ExportMetricsPartialSuccess,
        "rejected_data_points",
    ),
}
_EMPTY: Final = {Form.PROTOBUF: b"", Form.JSON: b"{}"}


@dataclass(frozen=True, slots=True)
class ExportAnswer:
    """The answer to an export request. Everything except the rejected records is durable.

    Attributes:
        rejected: Number of spans, log records or data points that can never be stored.
        message: Why they were rejected, or what was changed before it was stored; else empty.
        service: ``service.name`` of the sender if there is a message and the name is known; else
            empty.
    """

    rejected: int
    message: str
    service: str = ""


class OnWire(NamedTuple):
    """How an error is reported to the sender.

    Attributes:
        http: HTTP status.
        code: gRPC status code, also used in ``google.rpc.Status``. It tells clients whether to
            retry.
        outcome: Label under which the request is counted in the collector's metrics.
    """

    http: int
    code: int
    outcome: str


# The first matching row is used, so subclasses come before their base classes.
_TABLE: Final = (
    (TooLarge, OnWire(413, RESOURCE_EXHAUSTED, "refused")),
    (UnknownMediaType, OnWire(415, INVALID_ARGUMENT, "refused")),
    (WrongMethod, OnWire(405, UNIMPLEMENTED, "refused")),
    (Unauthenticated, OnWire(401, UNAUTHENTICATED, "unauthenticated")),
    (NotPermitted, OnWire(403, PERMISSION_DENIED, "forbidden")),
    (OverQuota, OnWire(429, RESOURCE_EXHAUSTED, "over_quota")),
    (Unavailable, OnWire(503, UNAVAILABLE, "unavailable")),
    (CollectorError, OnWire(400, INVALID_ARGUMENT, "refused")),
)


def on_wire(error: CollectorError) -> OnWire:
    """Return the status codes and the outcome label of an error."""
    return next(row for kind, row in _TABLE if isinstance(error, kind))


def retry_info(error: Unavailable) -> RetryInfo:
    """Return the retry delay of an error as a protobuf message."""
    delay = Duration()
    delay.FromMilliseconds(round(error.retry_after_s * 1000))
    return RetryInfo(retry_delay=delay)


def status_of(error: CollectorError) -> Status:
    """Return an error as ``google.rpc.Status``: code, message and details.

    The details hold the retry delay, or the field that is wrong.
    """
    status = Status(code=on_wire(error).code, message=shorten(str(error)))
    if isinstance(error, Unavailable):
        _add_detail(status, retry_info(error))
    elif isinstance(error, BadField):
        violation = BadRequest.FieldViolation(
            field=shorten(error.field), description=shorten(error.description)
        )
        _add_detail(status, BadRequest(field_violations=[violation]))
    return status


def shorten(text: str) -> str:
    """Cut a text to 1,000 bytes of UTF-8, so that it fits into an answer."""
    return text.encode("utf-8", "replace")[:_MESSAGE_BYTES].decode("utf-8", "ignore")


def _add_detail(status: Status, detail: Message) -> None:
    packed = AnyMessage()
    packed.Pack(detail)
    status.details.append(packed)


def write_answer(answer: ExportAnswer, signal: Signal, form: Form) -> bytes:
    """Return the body of an answer. A full success is the empty message."""
    if not answer.message:
        return _EMPTY[form]
    response, partial, rejected = _RESPONSES[signal]
    facts = {rejected: answer.rejected, "error_message": shorten(answer.message)}
    return write(response(partial_success=partial(**facts)), form)


def write(message: Message, form: Form) -> bytes:
    """Serialize a message as protobuf or JSON."""
    if form is Form.JSON:
        return MessageToJson(message, indent=None).encode()
    return message.SerializeToString()
