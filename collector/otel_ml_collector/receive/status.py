"""``google.rpc.Status`` as OTLP wants it in error answers.

Spec: https://opentelemetry.io/docs/specs/otlp/#failures
"""

from typing import Final

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from otel_ml_collector.errors import CollectorError, TooLarge, Unavailable

INVALID_ARGUMENT: Final = 3
RESOURCE_EXHAUSTED: Final = 8
UNAVAILABLE: Final = 14


def code_of(error: CollectorError) -> int:
    """Return the gRPC code that tells a client whether to send again."""
    if isinstance(error, Unavailable):
        return UNAVAILABLE
    return RESOURCE_EXHAUSTED if isinstance(error, TooLarge) else INVALID_ARGUMENT


def outcome_of(error: CollectorError) -> str:
    """Return the word under which an error is counted."""
    return "unavailable" if isinstance(error, Unavailable) else "refused"


def retry_info(error: Unavailable) -> RetryInfo:
    """Return the delay after which to send again."""
    return RetryInfo(retry_delay=Duration(seconds=error.retry_after_s))


def status_of(error: CollectorError) -> Status:
    """Return the answer's body: code, message and, for a busy store, the delay."""
    status = Status(code=code_of(error), message=str(error))
    if isinstance(error, Unavailable):
        detail = AnyMessage()
        detail.Pack(retry_info(error))
        status.details.append(detail)
    return status
