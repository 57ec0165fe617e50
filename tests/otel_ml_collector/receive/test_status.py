"""Tests of what an error tells a client."""

import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from otel_ml_collector.errors import (
    CollectorError,
    Refused,
    TooLarge,
    Unavailable,
    UnknownMediaType,
)
from otel_ml_collector.receive.status import code_of, outcome_of, status_of


@pytest.mark.parametrize(
    ("error", "code", "outcome"),
    [
        (Refused("no"), 3, "refused"),
        (UnknownMediaType("no"), 3, "refused"),
        (TooLarge("no"), 8, "refused"),
        (Unavailable("no"), 14, "unavailable"),
    ],
)
def test_code(error: CollectorError, code: int, outcome: str) -> None:
    """An error has gRPC's code that tells whether to send again, and a word to be counted by."""
    assert (code_of(error), outcome_of(error)) == (code, outcome)


@pytest.mark.parametrize("error", [Refused("wrong"), TooLarge("wrong")])
def test_refusal(error: CollectorError) -> None:
    """A refusal tells what is wrong and no delay: sending it again cannot help."""
    assert status_of(error) == Status(code=code_of(error), message="wrong")


def test_delay() -> None:
    """Trouble tells after how long to send again."""
    status = status_of(Unavailable("busy", retry_after_s=7))
    delay = RetryInfo()
    assert (status.code, status.message, len(status.details)) == (14, "busy", 1)
    assert status.details[0].Unpack(delay)
    assert delay == RetryInfo(retry_delay=Duration(seconds=7))
