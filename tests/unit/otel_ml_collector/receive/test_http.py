"""Tests of OTLP over HTTP, with stores that answer, reject and fail."""

import gzip
from collections.abc import Callable, Iterator, Mapping

import pytest
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from starlette.applications import Starlette

from otel_ml_collector.errors import Rejected, Unavailable
from otel_ml_collector.receive.otlp import make_routes
from otel_ml_collector.receive.refusals import REFUSALS
from tests.support.otel_ml_collector.asgi import Answered, ask
from tests.support.otel_ml_collector.receive.senders import Backend, make_body, open_backend
from tests.support.otel_ml_collector.spans import span_id

PROTOBUF = "application/x-protobuf"
MIB = 2**20


def post(backend: Backend, *body: bytes, headers: Mapping[str, str] | None = None) -> Answered:
    app = Starlette(routes=make_routes(backend.pipeline, backend.telemetry))
    sent = {"content-type": PROTOBUF, **(headers or {})}
    return ask(app, "/v1/traces", method="POST", headers=sent, body=body)


def failing(error: Exception) -> Callable[[], None]:
    def behave() -> None:
        raise error

    return behave


@pytest.fixture
def backend() -> Iterator[Backend]:
    with open_backend() as opened:
        yield opened


def test_success(backend: Backend) -> None:
    """A stored request is answered with 200 and an empty protobuf message."""
    answered = post(backend, make_body(span_id(1)), headers={"x-otel-ml-project": "shop"})
    assert (answered.status, answered.body) == (200, b"")
    assert answered.headers["content-type"] == PROTOBUF
    assert [run.project for run in backend.stored.runs] == ["shop"]
    assert backend.requests() == {'answer="success",signal="traces",transport="http"': 1}


def test_partial(backend: Backend) -> None:
    """A request with an invalid span is answered with 200, the number rejected and the reason."""
    answered = post(backend, make_body(span_id(1), b"bad"))
    partial = ExportTraceServiceResponse.FromString(answered.body).partial_success
    assert (answered.status, partial.rejected_spans, partial.error_message) == (
        200,
        1,
        "Spans rejected for good: invalid_span_id 1",
    )
    assert backend.requests() == {'answer="partial",signal="traces",transport="http"': 1}


def test_invalid_utf8(backend: Backend) -> None:
    """A request with an invalid byte is stored, and the response names the span."""
    request = ExportTraceServiceRequest.FromString(make_body(span_id(1), span_id(2)))
    span = request.resource_spans[1].scope_spans[0].spans[0]
    span.name = "caf__"
    answered = post(backend, request.SerializeToString().replace(b"caf__", b"caf\xc3x"))
    partial = ExportTraceServiceResponse.FromString(answered.body).partial_success
    assert [run.name for run in backend.stored.runs][1:] == ["caf\ufffdx"]
    assert (answered.status, partial.rejected_spans, partial.error_message) == (
        200,
        0,
        f"Invalid UTF-8 was replaced by U+FFFD in: span {span.trace_id.hex()}-{span_id(2).hex()}, "
        "resourceSpans[1].scopeSpans[0].spans[0].name",
    )


def test_chunks(backend: Backend) -> None:
    """A body that arrives in chunks is read whole."""
    body = gzip.compress(make_body(span_id(1), span_id(2)))
    pieces = [body[start : start + 10] for start in range(0, len(body), 10)]
    assert post(backend, *pieces, headers={"content-encoding": "GZIP"}).status == 200
    assert len(backend.stored.runs) == 2


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        (
            {"content-type": "text/plain"},
            "Invalid content type 'text/plain': expected application/x-protobuf or "
            "application/json",
        ),
        ({"content-type": ""}, "Invalid content type ''"),
        ({"content-encoding": "br"}, "Invalid content encoding 'br': expected deflate, gzip, lz4"),
    ],
    ids=["text", "none", "brotli"],
)
def test_media_type(backend: Backend, headers: Mapping[str, str], message: str) -> None:
    """A body with an unsupported content type is answered with 415."""
    answered = post(backend, make_body(span_id(1)), headers=headers)
    assert answered.status == 415
    assert Status.FromString(answered.body).message.startswith(message)
    assert backend.requests() == {'answer="refused",signal="traces",transport="http"': 1}


def test_media_type_in_any_case(backend: Backend) -> None:
    """A content type is accepted in any case and with parameters."""
    headers = {"content-type": "Application/X-Protobuf; charset=utf-8"}
    assert post(backend, make_body(span_id(1)), headers=headers).status == 200


def test_service_of_the_refused(backend: Backend, caplog: pytest.LogCaptureFixture) -> None:
    """The log names the service whose spans were rejected."""
    caplog.set_level("WARNING", logger="otel_ml_collector.refusals")
    REFUSALS.close()
    request = ExportTraceServiceRequest.FromString(make_body(span_id(1), b"bad"))
    said = request.resource_spans[0].resource.attributes.add(key="service.name")
    said.value.string_value = "till"
    post(backend, request.SerializeToString())
    assert "service=till" in caplog.text


@pytest.mark.parametrize("media_type", [PROTOBUF, "application/json"])
def test_address_of_the_pages(backend: Backend, media_type: str) -> None:
    """OTLP sent to the address of the web pages is answered with the right paths."""
    app = Starlette(routes=make_routes(backend.pipeline, backend.telemetry))
    answered = ask(app, "/", method="POST", headers={"content-type": media_type}, body=[b"{}"])
    assert (answered.status, answered.headers["content-type"]) == (404, media_type)
    assert b"OTLP is at /v1/traces, /v1/logs, /v1/metrics" in answered.body


def test_anything_else_for_the_pages(backend: Backend) -> None:
    """Any other POST to the web pages is answered with 405."""
    app = Starlette(routes=make_routes(backend.pipeline, backend.telemetry))
    assert ask(app, "/", method="POST", headers={"content-type": "text/plain"}).status == 405


def test_undecodable(backend: Backend) -> None:
    """A body that is not a request is answered with 400 and a status with the reason."""
    answered = post(backend, b"\xff")
    assert answered.status == 400
    assert Status.FromString(answered.body) == Status(
        code=3, message="The body is not an OTLP ExportTraceServiceRequest in protobuf"
    )


def test_too_large(backend: Backend) -> None:
    """A body that is too large is answered with 413, even if it arrives in chunks."""
    answered = post(backend, *[bytes(MIB)] * 21)
    assert answered.status == 413
    assert Status.FromString(answered.body) == Status(
        code=8, message="The body has more than 20971520 bytes: send smaller batches"
    )


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (Unavailable("No space left"), "No space left"),
        (RuntimeError("unforeseen"), "The store has trouble: RuntimeError"),
    ],
    ids=["known", "unforeseen"],
)
def test_trouble(error: Exception, message: str) -> None:
    """If the store fails, the response is 503 with a retry delay in header and status."""
    with open_backend(failing(error)) as backend:
        answered = post(backend, make_body(span_id(1)))
        assert (answered.status, answered.headers["retry-after"]) == (503, "2")
        status = Status.FromString(answered.body)
        assert (status.code, status.message, len(status.details)) == (14, message, 1)
        assert backend.requests() == {'answer="unavailable",signal="traces",transport="http"': 1}


def test_refused() -> None:
    """If the store rejects the records, the response is 400."""
    with open_backend(failing(Rejected("A value does not fit"))) as backend:
        answered = post(backend, make_body(span_id(1)))
    assert answered.status == 400
    assert Status.FromString(answered.body) == Status(code=3, message="A value does not fit")
