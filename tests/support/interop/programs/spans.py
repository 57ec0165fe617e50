"""Runs of a client that joined: what they are, whose parents and whose children."""

import json
import time

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.version import __version__

from otel_ml import Client
from tests.support.interop.programs.describe import Facts, answer, describe
from tests.support.interop.programs.services import Service

SHOP = Resource({"service.name": "shop"})


def version() -> str:
    return __version__


def global_provider() -> Facts:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(resource=SHOP)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    client = Client("shop")
    before_ns = time.time_ns()
    returned = client.trace(name="model", tags={"tier": "gold"})(lambda a, b=2: a + b)(1)
    after_ns = time.time_ns()
    [run] = exporter.get_finished_spans()
    return {
        "returned": returned,
        "between": [before_ns, after_ns],
        "run": describe(run),
        "readable": isinstance(run, ReadableSpan) and isinstance(run, trace.Span),
        "kept": trace.get_tracer_provider() is provider,
        "flushed": bool(client.flush()),
    }


def to_json() -> Facts:
    ours, stock = Service(resource=SHOP).pair(lambda: trace.get_current_span().add_event("e"))
    return {
        "run": describe(ours),
        "json": json.loads(ours.to_json()),
        "lines": [len(ours.to_json(indent=None).splitlines()), len(ours.to_json().splitlines())],
        "stock_json": json.loads(stock.to_json()),
    }


def family() -> list[Facts]:
    service = Service()

    def inner() -> None:
        with service.tracer.start_as_current_span("query"):
            pass

    def outer() -> None:
        with service.tracer.start_as_current_span("step"):
            service.run(inner, "inner")

    with service.tracer.start_as_current_span("request"):
        service.run(outer, "outer")
    return [describe(span) for span in service.spans()]


def remote_parent() -> Facts:
    service = Service()
    above = trace.SpanContext(0xA1, 0xB2, True, trace.TraceFlags(1), trace.TraceState([("k", "v")]))
    with trace.use_span(trace.NonRecordingSpan(above)):
        service.run(lambda: None)
    return describe(service.spans()[0])


def failure() -> Facts:
    service = Service()
    raised = ""

    def fail() -> None:
        raise LookupError("no such model")

    try:
        service.run(fail)
    except LookupError as error:
        raised = str(error)
    return {"raised": raised, **describe(service.spans()[0])}


if __name__ == "__main__":
    answer(version, global_provider, to_json, family, remote_parent, failure)
