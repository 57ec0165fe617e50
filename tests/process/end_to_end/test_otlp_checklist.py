"""OTLP's requirements for a server, point by point; each test is named by its point.

The points follow the order of the OTLP specification 1.11. JSON's special cases are tested in
tests/unit/otel_ml_collector/decode/test_json_traces.py.

Spec: https://opentelemetry.io/docs/specs/otlp/
"""

import gzip
import http.client
import json
import secrets
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from otel_ml_collector.decode.signals import Form, Signal
from otel_ml_collector.errors import OverQuota, Unavailable
from otel_ml_collector.receive.answers import ExportAnswer, write_answer
from otel_ml_collector.settings.sources import load
from tests.process.end_to_end.test_otlp_contract import (
    make_bomb,
    make_request,
    make_span,
    project,
    refused_by_grpc,
    refused_by_http,
    stored_names,
)
from tests.process.end_to_end.test_otlp_cors import SHOP, preflight
from tests.process.end_to_end.test_otlp_cors import send as send_from_page
from tests.support.collector import CollectorProcess
from tests.support.otel_ml_collector.receive.senders import make_body, open_backend
from tests.support.otel_ml_collector.spans import span_id
from tests.unit.otel_ml_collector.receive.test_grpc import failure
from tests.unit.otel_ml_collector.receive.test_http import failing, post

__all__ = ["project"]

PROTOBUF = "application/x-protobuf"
JSON = "application/json"
PACKAGE = "opentelemetry.proto.collector"
METHODS = {
    "traces": f"/{PACKAGE}.trace.v1.TraceService/Export",
    "logs": f"/{PACKAGE}.logs.v1.LogsService/Export",
    "metrics": f"/{PACKAGE}.metrics.v1.MetricsService/Export",
}
NOTHING: Mapping[str, str] = MappingProxyType({})

on_each_signal = pytest.mark.parametrize("signal", METHODS)
on_each_form = pytest.mark.parametrize("form", [PROTOBUF, JSON], ids=["protobuf", "json"])


def call(
    collector: CollectorProcess, signal: str, body: bytes, metadata: Mapping[str, str] = NOTHING
) -> bytes:
    """Send a request over gRPC; return the bytes of the response."""
    with grpc.insecure_channel(collector.grpc) as channel:
        export: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHODS[signal])
        return export(body, timeout=120, metadata=tuple(metadata.items()))


def send(
    collector: CollectorProcess,
    signal: str,
    body: bytes,
    form: str = PROTOBUF,
    headers: Mapping[str, str] = NOTHING,
) -> tuple[int, str, bytes]:
    """Send a request over HTTP; return the status, content type and body of the response."""
    sent = {"Content-Type": form, **headers}
    status, answered, body = collector.post(f"/v1/{signal}", body, sent)
    return status, answered["content-type"], body


def span_json(name: str, **fields: Any) -> dict[str, Any]:
    """Return a new span that starts now."""
    now = str(time.time_ns())
    ids = {"traceId": secrets.token_hex(16), "spanId": secrets.token_hex(8)}
    return {"name": name, **ids, "startTimeUnixNano": now, "endTimeUnixNano": now, **fields}


def request_json(*spans: dict[str, Any], **fields: Any) -> bytes:
    request = {"resourceSpans": [{"scopeSpans": [{"spans": spans}]}], **fields}
    return json.dumps(request).encode()


@on_each_signal
def test_point_1_grpc(collector: CollectorProcess, signal: str) -> None:
    """1. Each signal has a gRPC service with the unary method Export, by default on port 4317."""
    assert (call(collector, signal, b""), load({}, {}, None).grpc.port) == (b"", 4317)


@on_each_form
@on_each_signal
def test_point_2_http(collector: CollectorProcess, signal: str, form: str) -> None:
    """2. Each signal has a path on one port, by default 4318, for protobuf and JSON."""
    status, _, _ = send(collector, signal, b"" if form == PROTOBUF else b"{}", form)
    assert (status, load({}, {}, None).http.port) == (200, 4318)


@pytest.mark.parametrize(
    "sent",
    [PROTOBUF, JSON, "Application/JSON; charset=utf-8", "application/x-protobuf;charset=binary"],
)
@pytest.mark.parametrize(("body", "status"), [("good", 200), ("bad", 400)])
def test_point_3_content_type(
    collector: CollectorProcess, sent: str, body: str, status: int
) -> None:
    """3. A response has the request's content type, without its parameters."""
    form = sent.partition(";")[0].lower()
    content = {"good": {PROTOBUF: b"", JSON: b"{}"}[form], "bad": b"\x0a\x7f\x01"}[body]
    assert send(collector, "traces", content, sent)[:2] == (status, form)


@on_each_form
def test_point_4_gzip(collector: CollectorProcess, project: str, form: str) -> None:
    """4. Requests may be gzipped; responses are not, whatever the client accepts."""
    plain = make_request(make_span("one")) if form == PROTOBUF else request_json(span_json("one"))
    headers = {
        "Content-Encoding": "gzip",
        "Accept-Encoding": "gzip, br;q=0.5, *;q=0",
        "x-otel-ml-project": project,
    }
    answer = send(collector, "traces", gzip.compress(plain), form, headers)
    assert answer == (200, form, b"" if form == PROTOBUF else b"{}")
    assert stored_names(collector, project) == ["one"]


def test_point_5_size_over_http(collector: CollectorProcess) -> None:
    """5. A body of more than 20 MiB, before or after decompression, is refused with 413."""
    answers = [
        refused_by_http(collector, bytes(20 * 2**20 + 1)),
        refused_by_http(collector, make_bomb(8), {"Content-Encoding": "gzip"}),
    ]
    assert [(status, said.code) for status, _, said in answers] == [(413, 8)] * 2


def test_point_5_size_over_grpc(collector: CollectorProcess) -> None:
    """5. A message over 20 MiB is RESOURCE_EXHAUSTED without a delay, compressed or not."""
    errors = [
        refused_by_grpc(collector, bytes(20 * 2**20 + 1)),
        refused_by_grpc(collector, bytes(20 * 2**20 + 1), grpc.Compression.Gzip),
    ]
    expected = (grpc.StatusCode.RESOURCE_EXHAUSTED, ())
    assert [(error.code(), error.trailing_metadata()) for error in errors] == [expected] * 2


@pytest.mark.parametrize("form", Form)
@pytest.mark.parametrize("signal", Signal)
def test_point_6_size_of_answer(signal: Signal, form: Form) -> None:
    """6. The message of a response is truncated, so that no response exceeds 4 MiB."""
    assert len(write_answer(ExportAnswer(1, "é" * 5 * 2**20), signal, form)) < 8_192


@on_each_signal
def test_point_7_full_success(collector: CollectorProcess, signal: str) -> None:
    """7. A success is 200 with an empty message: no bytes, or an empty object."""
    assert send(collector, signal, b"") == (200, PROTOBUF, b"")
    assert send(collector, signal, b"{}", JSON) == (200, JSON, b"{}")


@pytest.mark.parametrize("body", [b"", b"\x0a\x00", b"\x0a\x02\x12\x00"], ids=repr)
@on_each_signal
def test_point_8_empty_request(collector: CollectorProcess, signal: str, body: bytes) -> None:
    """8. A request without data, or with empty envelopes, is a success."""
    assert (call(collector, signal, body), send(collector, signal, body)[0]) == (b"", 200)


@pytest.mark.parametrize(
    "envelopes",
    [
        {},
        {"resourceSpans": []},
        {"resourceSpans": [{}]},
        {"resourceSpans": [{"scopeSpans": [{"spans": []}]}]},
    ],
    ids=str,
)
def test_point_8_empty_json(collector: CollectorProcess, envelopes: dict[str, Any]) -> None:
    """8. A JSON request without data, or with empty envelopes, is a success."""
    assert send(collector, "traces", json.dumps(envelopes).encode(), JSON) == (200, JSON, b"{}")


def bad_traces() -> bytes:
    return make_request(make_span("one"), make_span("bad", trace_id=bytes(16)))


def bad_logs() -> bytes:
    request = ExportLogsServiceRequest()
    record = request.resource_logs.add().scope_logs.add().log_records.add()
    record.time_unix_nano = time.time_ns()
    record.body.string_value = "of no trace"
    return request.SerializeToString()


def some_metrics() -> bytes:
    request = ExportMetricsServiceRequest()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name="m")
    metric.gauge.data_points.add(as_int=1)
    return request.SerializeToString()


@pytest.mark.parametrize(
    ("signal", "body", "response", "field", "message"),
    [
        (
            "traces",
            bad_traces,
            ExportTraceServiceResponse,
            "rejected_spans",
            "Spans rejected for good: invalid_trace_id 1",
        ),
        (
            "logs",
            bad_logs,
            ExportLogsServiceResponse,
            "rejected_log_records",
            "Log records rejected for good: no_trace 1: they name neither a trace nor a session",
        ),
    ],
    ids=["traces", "logs"],
)
def test_point_9_partial_success(
    collector: CollectorProcess,
    signal: str,
    body: Callable[[], bytes],
    *,
    response: type[Message],
    field: str,
    message: str,
) -> None:
    """9. Items that can never be stored are counted in a partial success with the reason."""
    expected = response()
    partial = expected.partial_success  # type: ignore[attr-defined]  # each of them has it
    setattr(partial, field, 1)
    partial.error_message = message
    answers = [call(collector, signal, body()), send(collector, signal, body())[2]]
    assert [response.FromString(answer) for answer in answers] == [expected] * 2


def test_point_9_metrics(collector: CollectorProcess) -> None:
    """9. Metrics, which are not stored, get a success, because their sender cannot change that."""
    answers = [
        call(collector, "metrics", some_metrics()),
        send(collector, "metrics", some_metrics())[2],
    ]
    empty = ExportMetricsServiceResponse()
    assert [ExportMetricsServiceResponse.FromString(answer) for answer in answers] == [empty] * 2


def test_point_9_partial_success_in_json(collector: CollectorProcess) -> None:
    """9. A partial success in JSON has its 64-bit count as a string."""
    body = request_json(span_json("one"), span_json("bad", spanId="00" * 8))
    status, _, answer = send(collector, "traces", body, JSON)
    assert (status, json.loads(answer)) == (
        200,
        {
            "partialSuccess": {
                "rejectedSpans": "1",
                "errorMessage": "Spans rejected for good: invalid_span_id 1",
            }
        },
    )


def test_point_10_errors_in_protobuf(collector: CollectorProcess) -> None:
    """10. Errors of protobuf requests are a `google.rpc.Status` in protobuf."""
    assert refused_by_http(collector, b"\x0a\x7f\x01") == (
        400,
        PROTOBUF,
        Status(code=3, message="The body is not an OTLP ExportTraceServiceRequest in protobuf"),
    )


def test_point_10_errors_in_json(collector: CollectorProcess) -> None:
    """10.

    Errors of JSON requests are a `google.rpc.Status` in JSON that names the invalid field.
    """
    body = request_json(span_json("one"), span_json("two", startTimeUnixNano=[]))
    status, _, answer = send(collector, "traces", body, JSON)
    field = "resourceSpans[0].scopeSpans[0].spans[1].startTimeUnixNano"
    description = "expected an integer from 0 to 18446744073709551615, got a list"
    assert (status, json.loads(answer)) == (
        400,
        {
            "code": 3,
            "message": f"{field}: {description}",
            "details": [
                {
                    "@type": f"type.googleapis.com/{BadRequest.DESCRIPTOR.full_name}",
                    "fieldViolations": [{"field": field, "description": description}],
                }
            ],
        },
    )


@on_each_signal
@on_each_form
def test_point_10_bad_data(collector: CollectorProcess, signal: str, form: str) -> None:
    """10. Undecodable data is refused with 400 for each signal and form."""
    status, media_type, _ = send(collector, signal, b"\x0a\x7f\x01", form)
    assert (status, media_type) == (400, form)


@pytest.mark.parametrize(
    ("path", "method", "media_type", "status"),
    [
        ("/v1/traces", "GET", PROTOBUF, 405),
        ("/v1/logs", "PUT", JSON, 405),
        ("/v1/traces", "OPTIONS", PROTOBUF, 405),
        ("/v1/metrics", "POST", "text/plain", 415),
        ("/v1/traces", "POST", "", 415),
        ("/v1development/profiles", "POST", PROTOBUF, 404),
    ],
)
def test_point_10_other_requests(
    collector: CollectorProcess, path: str, method: str, media_type: str, status: int
) -> None:
    """10. Requests that are not OTLP get HTTP's usual error status."""
    with closing(http.client.HTTPConnection(urlsplit(collector.endpoint).netloc)) as connection:
        connection.request(method, path, b"{}", {"Content-Type": media_type})
        assert connection.getresponse().status == status


def test_point_10_pages(collector: CollectorProcess) -> None:
    """10. Without configured origins, requests from web pages are refused."""
    assert preflight(collector, SHOP)[:2] == (405, {})
    assert send_from_page(collector, SHOP)[:2] == (403, {})


@pytest.mark.parametrize(
    ("error", "status"),
    [(Unavailable("busy"), 503), (OSError("disk"), 503), (OverQuota("too much"), 429)],
    ids=["busy", "unforeseen", "quota"],
)
def test_point_11_retryable(error: Exception, status: int) -> None:
    """11. Temporary errors are 503 or 429, never 500, which makes clients drop their data."""
    with open_backend(failing(error)) as backend:
        assert post(backend, make_body(span_id(1))).status == status


@pytest.mark.parametrize("error", [Unavailable("busy", 7), OverQuota("too much", 7)])
@on_each_form
def test_point_12_throttling_over_http(error: Exception, form: str) -> None:
    """12. A retryable response has its delay in seconds in its header and its details."""
    body = make_body(span_id(1)) if form == PROTOBUF else request_json(span_json("one"))
    with open_backend(failing(error)) as backend:
        answered = post(backend, body, headers={"content-type": form})
    assert answered.headers["retry-after"] == "7"
    if form == JSON:
        assert answered.json["details"] == [
            {"@type": f"type.googleapis.com/{RetryInfo.DESCRIPTOR.full_name}", "retryDelay": "7s"}
        ]
    else:
        delay = RetryInfo()
        assert Status.FromString(answered.body).details[0].Unpack(delay)
        assert delay.retry_delay.seconds == 7


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Unavailable("busy"), grpc.StatusCode.UNAVAILABLE),
        (OSError("disk"), grpc.StatusCode.UNAVAILABLE),
        (OverQuota("too much"), grpc.StatusCode.RESOURCE_EXHAUSTED),
    ],
    ids=["busy", "unforeseen", "quota"],
)
def test_point_13_retryable_over_grpc(error: Exception, code: grpc.StatusCode) -> None:
    """13. Temporary errors have a code that clients retry, never UNKNOWN."""
    with open_backend(failing(error)) as backend:
        assert failure(backend, make_body(span_id(1)))[0] is code


@pytest.mark.parametrize("error", [Unavailable("busy", 7), OverQuota("too much", 7)])
def test_point_14_throttling_over_grpc(error: Exception) -> None:
    """14. Retryable gRPC errors have a delay in the status details and in a trailer."""
    with open_backend(failing(error)) as backend:
        _, status, trailer = failure(backend, make_body(span_id(1)))
    delay = RetryInfo()
    assert status.details[0].Unpack(delay)
    assert (delay.retry_delay.seconds, delay.SerializeToString()) == (7, trailer)


def test_point_15_twice(collector: CollectorProcess, project: str) -> None:
    """15. A request sent again, over either protocol, is stored once."""
    binary = make_request(make_span("one"))
    span = ExportTraceServiceRequest.FromString(binary).resource_spans[0].scope_spans[0].spans[0]
    said = span_json(
        "one",
        traceId=span.trace_id.hex().upper(),
        spanId=span.span_id.hex(),
        startTimeUnixNano=span.start_time_unix_nano,
        endTimeUnixNano=str(span.end_time_unix_nano),
    )
    headers = {"x-otel-ml-project": project}
    call(collector, "traces", binary, headers)
    send(collector, "traces", binary, PROTOBUF, headers)
    send(collector, "traces", request_json(said), JSON, headers)
    assert stored_names(collector, project) == ["one"]


def test_point_16_unknown_fields(collector: CollectorProcess, project: str) -> None:
    """16. Fields of later OTLP versions are ignored, in both forms."""
    headers = {"x-otel-ml-project": project}
    newer = b"\xfa\x07\x03new"  # field 127, 3 bytes
    call(collector, "traces", make_request(make_span("one")) + newer, headers)
    body = request_json(span_json("two", fieldOfTomorrow=[{}], trace_state=7), entityRefs={})
    assert send(collector, "traces", body, JSON, headers) == (200, JSON, b"{}")
    assert stored_names(collector, project) == ["one", "two"]
