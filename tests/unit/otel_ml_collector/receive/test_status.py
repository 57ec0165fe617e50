"""Tests of the error responses to clients."""

import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import BadRequest, RetryInfo
from google.rpc.status_pb2 import Status

from otel_ml_collector.errors import (
    BadField,
    CollectorError,
    NotPermitted,
    OverQuota,
    Rejected,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UnknownMediaType,
    WrongMethod,
)
from otel_ml_collector.receive.answers import on_wire, status_of


@pytest.mark.parametrize(
    ("error", "http", "code", "outcome"),
    [
        (Rejected("no"), 400, 3, "refused"),
        (BadField("spans[0].name", "no"), 400, 3, "refused"),
        (UnknownMediaType("no"), 415, 3, "refused"),
        (TooLarge("no"), 413, 8, "refused"),
        (WrongMethod("no"), 405, 12, "refused"),
        (Unavailable("no"), 503, 14, "unavailable"),
        (Unauthenticated("no"), 401, 16, "unauthenticated"),
        (NotPermitted("no"), 403, 7, "forbidden"),
        (OverQuota("no"), 429, 8, "over_quota"),
    ],
)
def test_on_wire(error: CollectorError, http: int, code: int, outcome: str) -> None:
    """Each error has an HTTP status, a gRPC code and a name for the metrics."""
    assert on_wire(error) == (http, code, outcome)


@pytest.mark.parametrize("error", [Rejected("wrong"), TooLarge("wrong")])
def test_refusal(error: CollectorError) -> None:
    """A rejection has a message and no retry delay, because a retry cannot succeed."""
    assert status_of(error) == Status(code=on_wire(error).code, message="wrong")


def test_field() -> None:
    """An invalid field is reported with its place and what is wrong with it (`BadRequest`)."""
    status = status_of(BadField("spans[0].name", "expected a string, got a list"))
    detail = BadRequest()
    assert (status.code, status.message, len(status.details)) == (
        3,
        "spans[0].name: expected a string, got a list",
        1,
    )
    assert status.details[0].Unpack(detail)
    violation = BadRequest.FieldViolation(
        field="spans[0].name", description="expected a string, got a list"
    )
    assert detail == BadRequest(field_violations=[violation])


@pytest.mark.parametrize("text", ["x" * 10_000, "é" * 10_000])
def test_long_message(text: str) -> None:
    """A message is cut to fit into the trailers of a gRPC client."""
    assert status_of(Rejected(text)).message == text[: 1_000 // len(text[0].encode())]


def test_delay() -> None:
    """An unavailable store is reported with a retry delay."""
    status = status_of(Unavailable("busy", retry_after_s=7))
    delay = RetryInfo()
    assert (status.code, status.message, len(status.details)) == (14, "busy", 1)
    assert status.details[0].Unpack(delay)
    assert delay == RetryInfo(retry_delay=Duration(seconds=7))
