"""Requests of about the maximum size, and how otel-ml's exporter stays below it."""

import gzip
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import grpc
import orjson
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider

from otel_ml.attributes import PROJECT_HEADER
from otel_ml.export.delivery import Delivery
from otel_ml.export.destination import OtlpDestination
from otel_ml.export.pipeline import Pace, Pipeline
from otel_ml.export.queue import SpanBatch, SpanQueue
from otel_ml.export.settings import ExportSettings
from tests.process.end_to_end.test_otlp_contract import (
    EXPORT,
    PROTOBUF,
    make_span,
    project,
    refused_by_grpc,
    stored_names,
)
from tests.support.collector import CollectorProcess, running
from tests.support.otlp_json import to_otlp_json
from tests.support.sampling import at_night, sampled

__all__ = ["project"]

MIB: Final = 2**20
LIMIT_BYTES: Final = 20 * MIB
JSON: Final = "application/json"
TRACER: Final = TracerProvider(resource=Resource({}), shutdown_on_exit=False).get_tracer("any")


def make_body(size: int, form: str, spans: int = 40) -> bytes:
    """Return a request of exactly `size` bytes."""
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    for number in range(spans):
        attribute = KeyValue(key="text", value=AnyValue(string_value="x" * (size // spans - 400)))
        scope.spans.append(make_span(f"span {number:05}", attributes=[attribute]))
    last = scope.spans[-1].attributes[0].value
    while (left := size - len(write(request, form))) != 0:
        text = last.string_value
        last.string_value = text + "x" * left if left > 0 else text[:left]
    return write(request, form)


def write(request: ExportTraceServiceRequest, form: str) -> bytes:
    """Encode a request as protobuf or JSON."""
    return request.SerializeToString() if form == PROTOBUF else orjson.dumps(to_otlp_json(request))


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CollectorProcess]:
    """Yield a collector that only this module uses."""
    with running(Path(tmp_path_factory.mktemp("large")) / "data") as collector:
        yield collector


@sampled(1)
@pytest.mark.parametrize("encoding", ["identity", "gzip"])
@pytest.mark.parametrize("form", [PROTOBUF, JSON])
def test_over_http(own: CollectorProcess, project: str, form: str, encoding: str) -> None:
    """A body of 20 MiB is stored completely; one more byte gets 413, compressed or not."""
    compress: Any = bytes if encoding == "identity" else gzip.compress
    headers = {"Content-Type": form, "Content-Encoding": encoding, PROJECT_HEADER: project}
    own.deliver(compress(make_body(LIMIT_BYTES, form)), headers)
    assert stored_names(own, project) == [f"span {number:05}" for number in range(40)]
    larger = compress(make_body(LIMIT_BYTES + 1, form))
    status, _, answer = own.post("/v1/traces", larger, {**headers, PROJECT_HEADER: f"{project}2"})
    assert status == 413
    assert b"more than 20971520 bytes" in answer
    assert b": send smaller batches" in answer
    assert stored_names(own, f"{project}2") == []


@at_night
@pytest.mark.parametrize("compression", [None, grpc.Compression.Gzip], ids=["plain", "gzip"])
def test_over_grpc(
    own: CollectorProcess, project: str, compression: grpc.Compression | None
) -> None:
    """A message of 20 MiB is stored completely; one more byte gets RESOURCE_EXHAUSTED."""
    with grpc.insecure_channel(own.grpc) as channel:
        export: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(EXPORT)
        metadata = ((PROJECT_HEADER, project),)
        body = make_body(LIMIT_BYTES, PROTOBUF)
        assert export(body, timeout=120, metadata=metadata, compression=compression) == b""
    assert stored_names(own, project) == [f"span {number:05}" for number in range(40)]
    error = refused_by_grpc(own, make_body(LIMIT_BYTES + 1, PROTOBUF), compression)
    assert (error.code(), error.trailing_metadata()) == (grpc.StatusCode.RESOURCE_EXHAUSTED, ())
    assert "20971520" in error.details()


@at_night
@pytest.mark.parametrize("form", [PROTOBUF, JSON])
def test_many_small_spans(own: CollectorProcess, project: str, form: str) -> None:
    """A body of 20 MiB with the maximum number of spans is stored, each span once."""
    body = make_body(LIMIT_BYTES, form, 25_000)
    for _ in range(2):
        own.deliver(body, {"Content-Type": form, PROJECT_HEADER: project})
    where = quote('kind == "span"')
    name = quote(project)
    stats = own.get(f"/projects/{name}/stats?bucket=1d&where={where}")
    assert stats["total"]["runs"] == 25_000


def text_span(number: int, project: str, size: int) -> ReadableSpan:
    """Return a span of another library with a long text."""
    attributes = {"otel_ml.project": project, "text": "x" * size}
    span = TRACER.start_span(f"span {number:05}", attributes=attributes)
    span.end()
    assert isinstance(span, ReadableSpan)
    return span


@contextmanager
def pipeline_to(collector: CollectorProcess) -> Iterator[Pipeline[SpanBatch]]:
    """Open the pipeline of otel-ml's exporter."""
    url = f"{collector.endpoint}/v1/traces"
    destination = OtlpDestination(ExportSettings(url=url, page=collector.endpoint, timeout_s=30))
    pipeline: Pipeline[SpanBatch] = Pipeline(SpanQueue(), destination, Pace())
    yield pipeline
    pipeline.close(10)


def answers_of(collector: CollectorProcess) -> dict[str, float]:
    """Return how many requests got each kind of response so far."""
    found = re.findall(
        r'otel_ml_requests_total{answer="(\w+)",signal="traces",transport="http"} (\S+)',
        collector.get_text("/metrics"),
    )
    return {answer: float(number) for answer, number in found}


@at_night
def test_own_exporter(own: CollectorProcess, project: str) -> None:
    """Spans that exceed the limit together are sent in several requests; none is refused."""
    before = answers_of(own)
    with pipeline_to(own) as pipeline:
        for number in range(50):
            pipeline.put(text_span(number, project, MIB))
        assert pipeline.flush(60) == Delivery(delivered=50)
    assert stored_names(own, project) == [f"span {number:05}" for number in range(50)]
    after = answers_of(own)
    assert after["success"] - before.get("success", 0) >= 4
    assert after.get("refused", 0) == before.get("refused", 0)


def test_span_above_the_limit(
    own: CollectorProcess, project: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Only spans that exceed the limit alone are lost; they are counted, and logged once."""
    with pipeline_to(own) as pipeline:
        for number, size in enumerate((17 * MIB, 100, 21 * MIB, 22 * MIB, 100)):
            pipeline.put(text_span(number, project, size))
        reason = "413 Request Entity Too Large"
        assert pipeline.flush(60) == Delivery(delivered=3, lost={reason: 2})
    assert stored_names(own, project) == ["span 00000", "span 00001", "span 00004"]
    [line] = [record for record in caplog.messages if "413" in record]
    assert line == f"{own.endpoint} rejects spans: {reason}"
