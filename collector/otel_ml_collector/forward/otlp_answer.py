"""What a target answers, over HTTP or gRPC: taken, taken in part, come again, or never.

Spec: https://opentelemetry.io/docs/specs/otlp/#failures
"""

import time
from email.utils import parsedate_to_datetime
from typing import Final

import orjson
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from otel_ml_collector.decode.signals import Form

_MESSAGE_CHARS: Final = 300
_MOST_DELAY_S: Final = 300.0


class Later(Exception):
    """The target is away or busy: the request is sent again.

    Args:
        message: What is wrong.
        delay_s: After which time, when the target says it.
    """

    def __init__(self, message: str, delay_s: float | None = None) -> None:
        super().__init__(message)
        self.delay_s = delay_s


class Never(Exception):
    """The target has refused the request: it is not sent there again.

    Args:
        message: What is wrong.
        blames_data: Whether it is the request that is wrong, and not the key or the address.
    """

    def __init__(self, message: str, *, blames_data: bool) -> None:
        super().__init__(message)
        self.blames_data = blames_data


def read_partial(body: bytes, form: Form) -> str:
    """Tell what a target has taken in part says of the rest; empty when it has taken all."""
    try:
        if form is Form.JSON:
            return _json_partial(orjson.loads(body)) if body else ""
        # A response of logs has the same fields under other names.
        partial = ExportTraceServiceResponse.FromString(body).partial_success
    except (DecodeError, orjson.JSONDecodeError):
        return ""
    number, text = partial.rejected_spans, partial.error_message
    return f"{number} rejected: {shorten(text)}" if number else ""


def _json_partial(answer: object) -> str:
    partial = answer.get("partialSuccess") if isinstance(answer, dict) else None
    if not isinstance(partial, dict):
        return ""
    number = partial.get("rejectedSpans") or partial.get("rejectedLogRecords") or 0
    return f"{number} rejected: {shorten(str(partial.get('errorMessage', '')))}" if number else ""


def read_retry_after(text: str | None) -> float | None:
    """Read the header ``Retry-After``: seconds, or a date; None when it says nothing."""
    if not text:
        return None
    if text.strip().isdecimal():
        return min(float(text), _MOST_DELAY_S)
    try:
        there_s = parsedate_to_datetime(text).timestamp()
    except ValueError:
        return None
    return min(max(there_s - time.time(), 0.0), _MOST_DELAY_S)


def read_retry_info(details: bytes) -> float | None:
    """Read the delay in a ``google.rpc.Status``; None when it has none."""
    try:
        status = Status.FromString(details)
        for detail in status.details:
            info = RetryInfo()
            if detail.Unpack(info):
                told_s: float = info.retry_delay.ToNanoseconds() / 1e9
                return min(max(told_s, 0.0), _MOST_DELAY_S)
    except DecodeError:
        pass
    return None


def shorten(text: str) -> str:
    """Cut what a target says to one line of the log."""
    return " ".join(text.split())[:_MESSAGE_CHARS]
