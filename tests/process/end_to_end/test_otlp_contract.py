"""OTLP's rules for a server, tested with raw requests instead of an exporter.

Spec: https://opentelemetry.io/docs/specs/otlp/
"""

import gzip
import http.client
import secrets
import time
import zlib
from collections.abc import Callable, Mapping
from contextlib import closing
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

import grpc
import pytest
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from tests.support.collector import CollectorProcess
from tests.support.sampling import at_night, sampled

PROTOBUF = "application/x-protobuf"
EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
LIMIT_BYTES = 20 * 1024 * 1024
# A field of 127 bytes, cut off after one byte.
UNDECODABLE = b"\x0a\x7f\x01"
NOT_OTLP = "The body is not an OTLP ExportTraceServiceRequest in protobuf"
INVALID_ARGUMENT = 3
RESOURCE_EXHAUSTED = 8

Send = Callable[[CollectorProcess, bytes, str], bytes]


def send_http(collector: CollectorProcess, body: bytes, project: str) -> bytes:
    """Send a request that must be accepted; return the response body."""
    headers = {"Content-Type": PROTOBUF, "x-otel-ml-project": project}
    status, _, answer = collector.post("/v1/traces", body, headers)
    assert status == 200, answer
    return answer


def send_grpc(collector: CollectorProcess, body: bytes, project: str) -> bytes:
    """Send a request that must be accepted; return the bytes of the response."""
    with grpc.insecure_channel(collector.grpc) as channel:
        export: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(EXPORT)
        return export(body, timeout=120, metadata=(("x-otel-ml-project", project),))


def refused_by_http(
    collector: CollectorProcess, body: bytes, headers: Mapping[str, str] = MappingProxyType({})
) -> tuple[int, str | None, Status]:
    """Send a request that must be refused; return status, content type and error."""
    sent = {"Content-Type": PROTOBUF, **headers}
    status, answered, answer = collector.post("/v1/traces", body, sent)
    return status, answered.get("content-type"), Status.FromString(answer)


def refused_by_grpc(
    collector: CollectorProcess, body: bytes, compression: grpc.Compression | None = None
) -> Any:
    """Send a request that must be refused; return the error."""
    with grpc.insecure_channel(collector.grpc) as channel:
        export: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(EXPORT)
        with pytest.raises(grpc.RpcError) as caught:
            export(body, timeout=120, compression=compression)
    return caught.value


@pytest.fixture
def project(request: pytest.FixtureRequest) -> str:
    """Return a project name unique to the test."""
    name: str = request.node.name
    return name


def make_span(name: str, **fields: Any) -> Span:
    start_ns = time.time_ns()
    ids = {"trace_id": secrets.token_bytes(16), "span_id": secrets.token_bytes(8)}
    times = {"start_time_unix_nano": start_ns, "end_time_unix_nano": start_ns + 1_000_000}
    return Span(name=name, **{**ids, **times, **fields})


def make_request(*spans: Span) -> bytes:
    scope_spans = ScopeSpans(spans=spans)
    request = ExportTraceServiceRequest(resource_spans=[ResourceSpans(scope_spans=[scope_spans])])
    return request.SerializeToString()


def make_bomb(blocks: int) -> bytes:
    """Return an unterminated gzip body that decompresses to `blocks` times 16 MiB."""
    block = bytes(16 * 1024 * 1024)
    deflate = zlib.compressobj(wbits=31)
    start = deflate.compress(block) + deflate.flush(zlib.Z_FULL_FLUSH)
    more = deflate.compress(block) + deflate.flush(zlib.Z_FULL_FLUSH)
    return start + more * (blocks - 1)


def stored_names(collector: CollectorProcess, project: str) -> list[str]:
    runs = collector.runs(project, where='kind == "span"')
    return sorted(run["name"] for run in runs)


on_each_transport = pytest.mark.parametrize("send", [send_http, send_grpc], ids=["http", "grpc"])


@on_each_transport
def test_empty_request(collector: CollectorProcess, project: str, send: Send) -> None:
    """A request without spans is a success, and a success is an empty message."""
    assert send(collector, b"", project) == b""


@on_each_transport
def test_success(collector: CollectorProcess, project: str, send: Send) -> None:
    """Spans can be queried once their request is acknowledged."""
    assert send(collector, make_request(make_span("one"), make_span("two")), project) == b""
    assert stored_names(collector, project) == ["one", "two"]


@on_each_transport
def test_twice(collector: CollectorProcess, project: str, send: Send) -> None:
    """A request that is sent twice is stored once."""
    request = make_request(make_span("one"), make_span("two"))
    send(collector, request, project)
    send(collector, request, project)
    assert stored_names(collector, project) == ["one", "two"]


@on_each_transport
def test_unknown_field(collector: CollectorProcess, project: str, send: Send) -> None:
    """Fields of later OTLP versions are ignored."""
    newer = b"\xfa\x07\x03new"  # field 127, 3 bytes
    assert send(collector, make_request(make_span("one")) + newer, project) == b""
    assert stored_names(collector, project) == ["one"]


@sampled(1)
@on_each_transport
def test_large_message(collector: CollectorProcess, project: str, send: Send) -> None:
    """A message of twice 4 MiB, the usual limit of gRPC servers, is stored completely."""
    text = "0123456789abcdef" * (8 * 1024 * 1024 // 16)
    attribute = KeyValue(key="app.text", value=AnyValue(string_value=text))
    span = make_span("large", attributes=[attribute])
    assert send(collector, make_request(span), project) == b""
    found = collector.get(f"/runs/{span.trace_id.hex()}-{span.span_id.hex()}")
    assert found["attributes"] == {"app.text": text}


@on_each_transport
def test_left_out_span_is_told(collector: CollectorProcess, project: str, send: Send) -> None:
    """A span rejected because another has its id and start is reported, also in a later request."""
    told: dict[str, Any] = {
        "trace_id": secrets.token_bytes(16),
        "span_id": secrets.token_bytes(8),
        "start_time_unix_nano": time.time_ns(),
    }
    for kind, rejected in ((Span.SPAN_KIND_CLIENT, 0), (Span.SPAN_KIND_SERVER, 1)):
        request = make_request(make_span("pay", kind=kind, **told))
        answer = ExportTraceServiceResponse.FromString(send(collector, request, project))
        partial = answer.partial_success
        assert partial.rejected_spans == rejected
    assert partial.error_message == (
        "Spans rejected for good: shared_span_id 1: another span of the trace has their id and "
        "start, and one is kept"
    )


@sampled(1)
@on_each_transport
@pytest.mark.parametrize("requests", [1, 2], ids=["one request", "two requests"])
def test_spans_that_share_an_id(
    collector: CollectorProcess, project: str, send: Send, requests: int
) -> None:
    """A client and a server span that share a span ID, as in Zipkin, are both stored once."""
    ids = {"trace_id": secrets.token_bytes(16), "span_id": secrets.token_bytes(8)}
    start_ns = time.time_ns()
    client, server = (
        make_span(name, kind=kind, **ids, start_time_unix_nano=start_ns + late_ns)
        for name, kind, late_ns in (
            ("ask for the price of a pizza", Span.SPAN_KIND_CLIENT, 0),
            ("price", Span.SPAN_KIND_SERVER, 500_000),
        )
    )
    sent = [make_request(client, server)]
    if requests > 1:  # the server's batch arrives later, and the client's is sent again
        sent = [make_request(client), make_request(server), make_request(client)]
    assert [send(collector, request, project) for request in sent] == [b""] * len(sent)
    trace = collector.get(f"/traces/{client.trace_id.hex()}", project=project)
    assert [run["name"] for run in trace["runs"]] == [client.name, server.name]


@sampled(4)
@on_each_transport
@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"trace_id": b"t" * 15}, "invalid_trace_id 1"),
        ({"trace_id": bytes(16)}, "invalid_trace_id 1"),
        ({"span_id": b"s" * 7}, "invalid_span_id 1"),
        ({"span_id": bytes(8)}, "invalid_span_id 1"),
        ({"trace_id": bytes(16), "span_id": bytes(8)}, "invalid_trace_id 1"),
        (
            {"start_time_unix_nano": 0},
            "outside_time_window 1: their time is missing, more than an hour in the future or more "
            "than 400 days ago; check the clock of the sender",
        ),
    ],
    ids=["short trace", "zero trace", "short span", "zero span", "zero both", "no start"],
)
def test_bad_span_among_good(
    collector: CollectorProcess, project: str, send: Send, fields: dict[str, Any], reason: str
) -> None:
    """A bad span is rejected by a partial success, and the good spans are stored."""
    request = make_request(make_span("one"), make_span("bad", **fields), make_span("two"))
    answer = ExportTraceServiceResponse.FromString(send(collector, request, project))
    partial = answer.partial_success
    assert (partial.rejected_spans, partial.error_message) == (
        1,
        f"Spans rejected for good: {reason}",
    )
    assert stored_names(collector, project) == ["one", "two"]


def test_undecodable_grpc(collector: CollectorProcess) -> None:
    """An undecodable gRPC message is refused with INVALID_ARGUMENT and the reason."""
    error = refused_by_grpc(collector, UNDECODABLE)
    trailers = dict(error.trailing_metadata())
    assert (error.code(), error.details()) == (grpc.StatusCode.INVALID_ARGUMENT, NOT_OTLP)
    assert Status.FromString(trailers["grpc-status-details-bin"]) == Status(
        code=INVALID_ARGUMENT, message=NOT_OTLP
    )


def test_undecodable_http(collector: CollectorProcess) -> None:
    """An undecodable HTTP body is refused with 400 and a Status with the reason."""
    assert refused_by_http(collector, UNDECODABLE) == (
        400,
        PROTOBUF,
        Status(code=INVALID_ARGUMENT, message=NOT_OTLP),
    )


def test_other_media_type(collector: CollectorProcess) -> None:
    """An unknown content type is refused with 415 and a Status that names the supported ones."""
    assert refused_by_http(collector, b"{}", {"Content-Type": "text/plain"}) == (
        415,
        PROTOBUF,
        Status(
            code=INVALID_ARGUMENT,
            message=f"Invalid content type 'text/plain': expected {PROTOBUF} or application/json",
        ),
    )


def test_other_encoding(collector: CollectorProcess) -> None:
    """An unknown compression is refused with 415 and a Status that names the supported ones."""
    assert refused_by_http(collector, b"", {"Content-Encoding": "br"}) == (
        415,
        PROTOBUF,
        Status(
            code=INVALID_ARGUMENT,
            message="Invalid content encoding 'br': expected deflate, gzip, lz4, snappy, "
            "x-snappy-framed, zlib, zstd",
        ),
    )


def test_media_type_of_success(collector: CollectorProcess) -> None:
    """The response to protobuf over HTTP is protobuf."""
    status, headers, body = collector.post("/v1/traces", b"", {"Content-Type": PROTOBUF})
    assert (status, headers["content-type"], body) == (200, PROTOBUF, b"")


def test_media_type_with_parameter(collector: CollectorProcess) -> None:
    """The case and the parameters of a content type are ignored."""
    headers = {"Content-Type": "Application/X-Protobuf; charset=utf-8"}
    status, _, body = collector.post("/v1/traces", b"", headers)
    assert (status, body) == (200, b"")


@pytest.mark.parametrize(
    ("encoding", "compress"), [("identity", bytes), ("gzip", gzip.compress)], ids=["plain", "gzip"]
)
def test_chunked_body(
    collector: CollectorProcess, project: str, encoding: str, compress: Callable[[bytes], bytes]
) -> None:
    """A chunked body without a content length, as JavaScript sends it, is read completely."""
    body = compress(make_request(make_span("one"), make_span("two")))
    chunks = (body[start : start + 7] for start in range(0, len(body), 7))
    headers = {
        "Content-Type": PROTOBUF,
        "Content-Encoding": encoding,
        "x-otel-ml-project": project,
    }
    address = urlsplit(collector.endpoint).netloc
    with closing(http.client.HTTPConnection(address, timeout=120)) as connection:
        connection.request("POST", "/v1/traces", chunks, headers, encode_chunked=True)
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, b"")
    assert stored_names(collector, project) == ["one", "two"]


def test_truncated_gzip(collector: CollectorProcess) -> None:
    """A truncated gzip body is refused with 400."""
    body = gzip.compress(make_request(make_span("one")))[:-1]
    assert refused_by_http(collector, body, {"Content-Encoding": "gzip"}) == (
        400,
        PROTOBUF,
        Status(code=INVALID_ARGUMENT, message="The body is not gzip data: it ends too early"),
    )


def test_damaged_gzip(collector: CollectorProcess) -> None:
    """A gzip body with a wrong checksum is refused with 400."""
    body = gzip.compress(make_request(make_span("one")))[:-8] + bytes(8)
    status, media_type, said = refused_by_http(collector, body, {"Content-Encoding": "gzip"})
    assert (status, media_type, said.code) == (400, PROTOBUF, INVALID_ARGUMENT)


def test_bomb_over_http(collector: CollectorProcess) -> None:
    """A small gzip body that expands to 1 GiB is refused with 413 within 5 s."""
    started = time.monotonic()
    answer = refused_by_http(collector, make_bomb(64), {"Content-Encoding": "gzip"})
    assert time.monotonic() - started < 5
    assert answer == (
        413,
        PROTOBUF,
        Status(
            code=RESOURCE_EXHAUSTED,
            message=f"The body has more than {LIMIT_BYTES} bytes uncompressed: "
            "send smaller batches",
        ),
    )


def test_bomb_over_grpc(collector: CollectorProcess) -> None:
    """A small gzip message that expands to over 20 MiB gets a permanent RESOURCE_EXHAUSTED."""
    error = refused_by_grpc(collector, bytes(LIMIT_BYTES + 1), grpc.Compression.Gzip)
    assert (error.code(), error.trailing_metadata()) == (grpc.StatusCode.RESOURCE_EXHAUSTED, ())


@at_night
def test_collector_after_bombs(own_collector: CollectorProcess, project: str) -> None:
    """Refused requests free their resources: later requests are stored."""
    for _ in range(4):
        refused_by_http(own_collector, make_bomb(8), {"Content-Encoding": "gzip"})
        refused_by_http(own_collector, UNDECODABLE)
        refused_by_grpc(own_collector, UNDECODABLE)
    send_http(own_collector, make_request(make_span("one")), project)
    send_grpc(own_collector, make_request(make_span("two")), project)
    assert stored_names(own_collector, project) == ["one", "two"]
