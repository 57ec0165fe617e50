"""Answers to OTLP requests in the form of the request, and the status of each error on the wire.

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
# gRPC clients take 8 KiB of trailers, where a text may stand twice and take three times its size.
_MESSAGE_BYTES: Final = 1_000
# By signal: the answer, what it says of a part, and the name of how much was rejected there.
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
    """The outcome of a request: everything but the rejected spans is durable.

    Attributes:
        rejected: Number of spans, log records or data points that can never be stored.
        message: Why, in English; empty when none was rejected.
        service: The ``service.name`` of who sent what was rejected, as far as it is known.
    """

    rejected: int
    message: str
    service: str = ""


class OnWire(NamedTuple):
    """The form of an error on the wire.

    Attributes:
        http: The status of the answer over HTTP.
        code: The code of ``google.rpc.Status``, which is gRPC's: it tells whether to send again.
        outcome: The word under which it is counted.
    """

    http: int
    code: int
    outcome: str


# The first row that fits counts: the narrower errors stand before the wider ones.
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
    """Look an error up in the table."""
    return next(row for kind, row in _TABLE if isinstance(error, kind))


def retry_info(error: Unavailable) -> RetryInfo:
    """Return the delay after which to send again."""
    delay = Duration()
    delay.FromMilliseconds(round(error.retry_after_s * 1000))
    return RetryInfo(retry_delay=delay)


def status_of(error: CollectorError) -> Status:
    """Return the answer's body: code, message, and the delay or the field that is wrong."""
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
    """Cut a text to the size that fits into an answer."""
    return text.encode("utf-8", "replace")[:_MESSAGE_BYTES].decode("utf-8", "ignore")


def _add_detail(status: Status, detail: Message) -> None:
    packed = AnyMessage()
    packed.Pack(detail)
    status.details.append(packed)


def write_answer(answer: ExportAnswer, signal: Signal, form: Form) -> bytes:
    """Write the answer to a request; a full success is the empty message."""
    if not answer.message:
        return _EMPTY[form]
    response, partial, rejected = _RESPONSES[signal]
    facts = {rejected: answer.rejected, "error_message": shorten(answer.message)}
    return write(response(partial_success=partial(**facts)), form)


def write(message: Message, form: Form) -> bytes:
    """Write a message in either form."""
    if form is Form.JSON:
        return MessageToJson(message, indent=None).encode()
    return message.SerializeToString()
