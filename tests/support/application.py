"""An application whose spans use every attribute of the wire contract."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, set_span_in_context

START_NS: Final = time.time_ns()
MS_NS: Final = 10**6
DEFINITION: Final = '{"output":"text","source":"def answer(question): ..."}'
TABLE: Final = '{"params":{"rows":[1,2]},"type":"table"}'
CALL: Final = {
    "otel_ml.kind": "model",
    "otel_ml.model.name": "answer",
    "otel_ml.model.version": "0123456789abcdef",
    "otel_ml.model.output_schema": "aabbccddeeff0011",
    "otel_ml.model.definition": DEFINITION,
    "otel_ml.inputs": '{"question":"why?"}',
    "otel_ml.outputs": '"because"',
    "otel_ml.outcome": "ok",
    "otel_ml.tag.client": "bigshot",
    "otel_ml.tag.tries": 2,
    "otel_ml.tags": '{"client":{"type":"label","group":"who"}}',
    "otel_ml.score.brief": 0.5,
    "otel_ml.passed.brief": True,
    "otel_ml.judges": '{"brief":{"version":"fedcba9876543210","explanation":"two words"}}',
    "otel_ml.trace_key": "order-7",
    "otel_ml.process": "0a0b0c0d",
    "otel_ml.seq": 7,
    "session.id": "s1",
    "user.id": "u1",
    "gen_ai.provider.name": "openai",
    "gen_ai.response.model": "in-house-7",
    "gen_ai.response.id": "resp-1",
    "gen_ai.usage.input_tokens": 12,
    "gen_ai.usage.output_tokens": 3,
    "shop.order": 7,
}


class Application:
    """Makes spans like any instrumentation and keeps them in memory."""

    def __init__(self) -> None:
        self._kept = InMemorySpanExporter()
        resource = Resource({"service.version": "4.5", "deployment.environment.name": "test"})
        provider = TracerProvider(resource=resource)
        provider.add_span_processor(SimpleSpanProcessor(self._kept))
        self._tracer = provider.get_tracer("shop", "1.2")

    def span(
        self, project: str, attributes: Mapping[str, Any], about: SpanContext | None = None
    ) -> Span:
        parent = set_span_in_context(NonRecordingSpan(about)) if about else None
        said = {"otel_ml.project": project, **attributes}
        return self._tracer.start_span("answer", parent, attributes=said, start_time=START_NS)

    def call(self, project: str, **more: Any) -> Span:
        span = self.span(project, {**CALL, **more})
        log = {"otel_ml.log.severity": "info", "otel_ml.log.message": "asked"}
        span.add_event("otel_ml.log", log, START_NS + 1)
        artifact = {
            "otel_ml.artifact.ref": "sample",
            "otel_ml.artifact.type": "table",
            "otel_ml.artifact.json": TABLE,
        }
        span.add_event("otel_ml.artifact", artifact, START_NS + 2)
        span.end(START_NS + 250 * MS_NS)
        return span

    def records_about(self, project: str, run: SpanContext) -> None:
        start = {**CALL, "otel_ml.record": "start"}
        run_id = f"{run.trace_id:032x}-{run.span_id:016x}"
        self.span(project, {**start, "otel_ml.target.run": run_id}, run).end(START_NS)
        update = self.span(
            project,
            {
                "otel_ml.record": "update",
                "otel_ml.tag.late": "yes",
                "otel_ml.metric.names": ["loss"],
                "otel_ml.metric.values": [0.25],
                "otel_ml.metric.steps": [1],
                "otel_ml.metric.times": [START_NS + 3],
                "otel_ml.metric.modes": ["append"],
            },
            run,
        )
        line = {"otel_ml.log.severity": "warning", "otel_ml.log.message": "late"}
        update.add_event("otel_ml.log", line, START_NS + 4)
        update.end(START_NS)

    def spans(self) -> Sequence[ReadableSpan]:
        spans = self._kept.get_finished_spans()
        self._kept.clear()
        return spans
