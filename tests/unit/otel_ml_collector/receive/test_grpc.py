"""Tests of OTLP over gRPC, with stores that answer, reject and fail."""

import asyncio
import re
from collections.abc import Callable, Iterator, Mapping

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from otel_ml_collector.access import OPEN, Access
from otel_ml_collector.errors import Rejected, Unavailable
from otel_ml_collector.receive.otlp import make_server
from otel_ml_collector.receive.refusals import REFUSALS
from tests.support.otel_ml_collector.receive.senders import Backend, make_body, open_backend
from tests.support.otel_ml_collector.spans import span_id

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


def let_in(metadata: Mapping[str, str]) -> Access:
    return OPEN


def export(backend: Backend, body: bytes, project: str | None = None) -> bytes:
    """Send one request to a server on a free port."""
    return asyncio.run(_export(backend, body, project))


async def _export(backend: Backend, body: bytes, project: str | None) -> bytes:
    server, port = make_server(backend.pipeline, backend.telemetry, "127.0.0.1:0", let_in)
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            call: Callable[..., grpc.aio.UnaryUnaryCall[bytes, bytes]] = channel.unary_unary(EXPORT)
            metadata = [("x-otel-ml-project", project)] if project else []
            return await call(body, metadata=metadata, timeout=10)
    finally:
        await server.stop(None)


def failure(backend: Backend, body: bytes) -> tuple[grpc.StatusCode, Status, bytes | None]:
    """Send a request that fails, and return its code, details and retry delay."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        export(backend, body)
    trailers = dict(caught.value.trailing_metadata())
    status = Status.FromString(trailers["grpc-status-details-bin"])
    assert caught.value.details() == status.message
    delay = trailers.get("google.rpc.retryinfo-bin")
    return caught.value.code(), status, delay


@pytest.fixture
def backend() -> Iterator[Backend]:
    with open_backend() as opened:
        yield opened


def test_success(backend: Backend) -> None:
    """A stored request is answered with an empty response."""
    assert export(backend, make_body(span_id(1)), "shop") == b""
    assert [run.project for run in backend.stored.runs] == ["shop"]
    assert backend.requests() == {'answer="success",signal="traces",transport="grpc"': 1}


def test_partial(backend: Backend) -> None:
    """The response to a request with an invalid span has the number rejected and the reason."""
    answer = ExportTraceServiceResponse.FromString(export(backend, make_body(span_id(1), b"bad")))
    assert (answer.partial_success.rejected_spans, answer.partial_success.error_message) == (
        1,
        "Spans rejected for good: invalid_span_id 1",
    )


def test_invalid_utf8(backend: Backend) -> None:
    """A request with an invalid byte is stored, and the response names the span."""
    request = ExportTraceServiceRequest.FromString(make_body(span_id(1), span_id(2)))
    request.resource_spans[1].scope_spans[0].spans[0].name = "caf__"
    body = request.SerializeToString().replace(b"caf__", b"caf\xc3x")
    answer = ExportTraceServiceResponse.FromString(export(backend, body))
    assert [run.name for run in backend.stored.runs][1:] == ["caf\ufffdx"]
    assert answer.partial_success.rejected_spans == 0
    assert f"-{span_id(2).hex()}, " in answer.partial_success.error_message


def test_undecodable(backend: Backend) -> None:
    """A body that is not a request is answered with INVALID_ARGUMENT and no retry delay."""
    message = "The body is not an OTLP ExportTraceServiceRequest in protobuf"
    assert failure(backend, b"\xff") == (
        grpc.StatusCode.INVALID_ARGUMENT,
        Status(code=3, message=message),
        None,
    )
    assert backend.requests() == {'answer="refused",signal="traces",transport="grpc"': 1}


def test_too_large(backend: Backend, caplog: pytest.LogCaptureFixture) -> None:
    """A message that exceeds gRPC's size limit is logged with its sender and the limit."""
    REFUSALS.close()
    caplog.clear()
    with pytest.raises(grpc.aio.AioRpcError, match="larger than max"):
        export(backend, bytes(21 * 2**20))
    (line,) = caplog.messages
    assert re.match(
        r"A request was refused: transport=grpc peer=ipv4:127\.0\.0\.1:\d+ answer=refused "
        r"reason='The call ended .* more than 20971520 bytes, so send smaller batches, or ",
        line,
    )


@pytest.mark.parametrize(
    ("error", "code", "number"),
    [
        (Rejected("wrong"), grpc.StatusCode.INVALID_ARGUMENT, 3),
        (Unavailable("busy"), grpc.StatusCode.UNAVAILABLE, 14),
        (RuntimeError("unforeseen"), grpc.StatusCode.UNAVAILABLE, 14),
    ],
    ids=["refused", "unavailable", "unforeseen"],
)
def test_failed(error: Exception, code: grpc.StatusCode, number: int) -> None:
    """A failed request has the code of its error. A retry delay is sent if it may be retried."""

    def behave() -> None:
        raise error

    with open_backend(behave) as backend:
        found, status, delay = failure(backend, make_body(span_id(1)))
    assert (found, status.code) == (code, number)
    is_trouble = code is grpc.StatusCode.UNAVAILABLE
    assert (len(status.details), delay is not None) == (int(is_trouble), is_trouble)
    if delay is not None:
        assert RetryInfo.FromString(delay).retry_delay.seconds == 2
