"""Generated export requests, to count exactly which runs were acknowledged."""

import secrets
import time
from collections.abc import Iterator

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from otel_ml import attributes as names

PROTOBUF = {"content-type": "application/x-protobuf"}


def make_request(project: str, spans: int, *, model: str = "load") -> ExportTraceServiceRequest:
    """Return a request of model calls, each with a distinct id and a score."""
    request = ExportTraceServiceRequest()
    batch = request.resource_spans.add().scope_spans.add()
    start_ns = time.time_ns()
    for number in range(spans):
        span = batch.spans.add()
        span.trace_id = secrets.token_bytes(16)
        span.span_id = secrets.token_bytes(8)
        span.name = model
        span.start_time_unix_nano = start_ns + number
        span.end_time_unix_nano = start_ns + number + 1_000_000
        for key, value in (
            (names.PROJECT, project),
            (names.KIND, "model"),
            (names.MODEL_NAME, model),
            (names.MODEL_VERSION, "0123456789abcdef"),
            (names.INPUTS, f'{{"question": "question {number}"}}'),
            (names.OUTPUTS, f'"answer {number}"'),
        ):
            span.attributes.append(KeyValue(key=key, value=AnyValue(string_value=value)))
        span.attributes.append(
            KeyValue(key=f"{names.SCORE_PREFIX}length", value=AnyValue(double_value=number % 10))
        )
    return request


def run_ids(request: ExportTraceServiceRequest) -> Iterator[str]:
    """Yield the run ids of a request, as the API formats them."""
    for resource_spans in request.resource_spans:
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                yield f"{span.trace_id.hex()}-{span.span_id.hex()}"
