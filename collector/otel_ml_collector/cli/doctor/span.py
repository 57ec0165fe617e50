"""The span that the doctor sends."""

import secrets
import time
from dataclasses import dataclass

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, TraceFlags

from otel_ml import attributes as names
from otel_ml.export.encoder import encode_spans


@dataclass(frozen=True, slots=True)
class TestSpan:
    """A span as an export request, and the id of the run that it becomes."""

    run_id: str
    body: bytes


def make_span(project: str, transport: str) -> TestSpan:
    """Make a span of a project that took no time and ended now."""
    trace_id, span_id = secrets.randbits(128) | 1, secrets.randbits(64) | 1
    now_ns = time.time_ns()
    span = ReadableSpan(
        name="otel-ml doctor",
        context=SpanContext(trace_id, span_id, is_remote=False, trace_flags=TraceFlags(1)),
        resource=Resource({"service.name": "otel-ml-doctor", names.PROJECT: project}),
        attributes={names.PROJECT: project, "otel_ml.doctor.transport": transport},
        instrumentation_scope=InstrumentationScope("otel_ml.doctor"),
        start_time=now_ns,
        end_time=now_ns,
    )
    return TestSpan(f"{trace_id:032x}-{span_id:016x}", encode_spans([span]).body)
