"""Tests of reading responses of destinations: retry delays and partial rejections."""

import time
from email.utils import formatdate

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import BadRequest, RetryInfo
from google.rpc.status_pb2 import Status

from otel_ml_collector.decode.signals import Form
from otel_ml_collector.forward.otlp_request import (
    read_partial,
    read_retry_after,
    read_retry_info,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, None),
        ("", None),
        ("0", 0.0),
        ("7", 7.0),
        ("9" * 30, 300.0),
        ("soon", None),
        ("-1", None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
    ],
)
def test_retry_after(text: str | None, expected: float | None) -> None:
    """A delay in seconds is capped at 300, and a time in the past means now."""
    assert read_retry_after(text) == expected


def test_date() -> None:
    """A date is read as the number of seconds until then."""
    found = read_retry_after(formatdate(time.time() + 60, usegmt=True))
    assert found == pytest.approx(60, abs=3)


def status_with(*details: BadRequest | RetryInfo) -> bytes:
    status = Status(code=14)
    for detail in details:
        packed = AnyMessage()
        packed.Pack(detail)
        status.details.append(packed)
    written: bytes = status.SerializeToString()
    return written


@pytest.mark.parametrize(
    ("details", "expected"),
    [
        (b"", None),
        (b"\xff", None),
        (status_with(BadRequest()), None),
        (
            status_with(
                BadRequest(), RetryInfo(retry_delay=Duration(seconds=2, nanos=500_000_000))
            ),
            2.5,
        ),
        (status_with(RetryInfo(retry_delay=Duration(seconds=10_000))), 300.0),
        (status_with(RetryInfo(retry_delay=Duration(seconds=-1))), 0.0),
    ],
)
def test_retry_info(details: bytes, expected: float | None) -> None:
    """The retry delay is read from any detail of a status, and capped."""
    assert read_retry_info(details) == expected


@pytest.mark.parametrize(
    ("body", "form", "expected"),
    [
        (b"", Form.PROTOBUF, ""),
        (b"", Form.JSON, ""),
        (b"{}", Form.JSON, ""),
        (b"nonsense", Form.JSON, ""),
        (b"[]", Form.JSON, ""),
        (b"\xff\xff", Form.PROTOBUF, ""),
        (b"\x0a\x06\x08\x02\x12\x02no", Form.PROTOBUF, "2 rejected: no"),
        (b"\x0a\x04\x12\x02hm", Form.PROTOBUF, ""),  # a warning; nothing was rejected
        (
            b'{"partialSuccess": {"rejectedSpans": "2", "errorMessage": "a\\n b"}}',
            Form.JSON,
            "2 rejected: a b",
        ),
        (b'{"partialSuccess": {"rejectedLogRecords": 1}}', Form.JSON, "1 rejected: "),
    ],
)
def test_partial(body: bytes, form: Form, expected: str) -> None:
    """A partial rejection is read from protobuf and JSON, and written as one line."""
    assert read_partial(body, form) == expected
