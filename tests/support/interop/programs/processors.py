"""What the span processors of others see of a run, and what they do to it."""

import io
import json
from contextlib import suppress

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import (
    ConcurrentMultiSpanProcessor,
    ReadableSpan,
    Span,
    SpanProcessor,
    TracerProvider,
)
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    ConsoleSpanExporter,
    SimpleSpanProcessor,
)
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_ml import Client
from tests.support.interop.programs.describe import Facts, answer, describe, describe_context
from tests.support.interop.programs.services import Service


class Noting(SpanProcessor):
    """Notes what it is told, and writes on a span that starts and on one that is ending."""

    def __init__(self) -> None:
        self.calls: list[Facts] = []

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        span.set_attribute("processor.start", "seen")
        above = trace.get_current_span(parent_context).get_span_context()
        self._note("start", span, above.span_id if above.is_valid else 0)

    def _on_ending(self, span: Span) -> None:
        self._note("ending", span, 0)

    def on_end(self, span: ReadableSpan) -> None:
        self._note("end", span, 0)

    def _note(self, call: str, span: ReadableSpan, above: int) -> None:
        assert span.context is not None
        self.calls.append(
            {
                "call": call,
                "readable": isinstance(span, ReadableSpan),
                "recording": span.end_time is None,
                "above": f"{above:016x}",
                **describe_context(span.context),
                "name": span.name,
                "kind": span.kind.name,
                "parent": None if span.parent is None else f"{span.parent.span_id:016x}",
                "started": bool(span.start_time),
                "attributes": sorted(span.attributes or ()),
            }
        )


class Failing(SpanProcessor):
    """Raises at every call."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        raise RuntimeError("start")

    def on_end(self, span: ReadableSpan) -> None:
        raise RuntimeError("end")


class FailingAtEnd(Failing):
    """Raises when a span ends."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Let the span start."""


class Subclass(TracerProvider):
    """A provider of somebody's own class."""


def calls() -> Facts:
    """What a processor is told of a run and of a span of the SDK's, each under a request."""
    noting = Noting()
    service = Service()
    service.provider.add_span_processor(noting)
    with service.tracer.start_as_current_span("request") as request:
        service.run(lambda: None)
        service.tracer.start_span("model").end()
    ours, stock, _ = service.spans()
    run_id, stock_id = (describe(span)["span_id"] for span in (ours, stock))
    return {
        "request": f"{request.get_span_context().span_id:016x}",
        "ours": [call for call in noting.calls if call["span_id"] == run_id],
        "stock": [call for call in noting.calls if call["span_id"] == stock_id],
        "run": describe(ours),
    }


def failing() -> list[object]:
    returned: list[object] = []
    for processor in (Failing(), FailingAtEnd()):
        service = Service()
        service.provider.add_span_processor(processor)
        returned.append(service.client.trace(name="model")(lambda: "returned")())
    return returned


def concurrent() -> list[str]:
    service = Service(active_span_processor=ConcurrentMultiSpanProcessor(2))
    noting = Noting()
    service.provider.add_span_processor(noting)
    service.run(lambda: None)
    service.provider.shutdown()
    return [call["call"] for call in noting.calls if call["call"] != "ending"]


def batch() -> list[Facts]:
    exporter = InMemorySpanExporter()
    service = Service()
    service.provider.add_span_processor(BatchSpanProcessor(exporter))
    service.run(lambda: None, "first")
    service.run(lambda: None, "second")
    assert service.provider.force_flush()
    assert [describe(span) for span in exporter.get_finished_spans()] == [
        describe(span) for span in service.spans()
    ]
    names = [describe(span) for span in exporter.get_finished_spans()]
    service.provider.shutdown()
    return names


def lent() -> list[str]:
    exporter = InMemorySpanExporter()
    service = Service()
    service.provider.add_span_processor(BatchSpanProcessor(exporter))
    client = Client("shop", exporter=InMemorySpanExporter(), tracer_provider=service.provider)
    writer = client.tracer_provider
    assert isinstance(writer, TracerProvider)
    writer.get_tracer("other").start_span("chat").end()
    assert writer.force_flush()
    names = [span.name for span in exporter.get_finished_spans()]
    service.provider.shutdown()
    return names


def console() -> Facts:
    text = io.StringIO()
    service = Service()
    service.provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(out=text)))
    service.run(lambda: None)
    return {"printed": json.loads(text.getvalue()), "run": json.loads(service.spans()[0].to_json())}


def added_later() -> list[str]:
    noting = Noting()
    service = Service()
    service.run(lambda: None, "before")
    service.provider.add_span_processor(noting)
    service.run(lambda: None, "after")
    return [call["name"] for call in noting.calls if call["call"] == "end"]


def after_shutdown() -> object:
    service = Service()
    service.run(lambda: None)
    service.provider.shutdown()
    return service.client.trace(name="model")(lambda: "returned")()


def subclass() -> list[Facts]:
    found = []
    for provider in (Subclass(shutdown_on_exit=False), TracerProvider(shutdown_on_exit=False)):
        service = Service(provider)
        with suppress(LookupError):
            service.client.trace(name="model", tags={"tier": "gold"})(_failing_model)()
        found.append(describe(service.spans()[0]))
    return found


def _failing_model() -> None:
    trace.get_current_span().set_attribute("host", 1)
    raise LookupError("no such model")


def not_joined() -> Facts:
    """A global provider of a class of its own, and a client that may join it."""
    service = Service(Subclass())
    trace.set_tracer_provider(service.provider)
    exporter = InMemorySpanExporter()
    client = Client("shop", exporter=exporter)
    with service.tracer.start_as_current_span("request"):
        client.trace(name="model")(lambda: None)()
    assert client.flush()
    [request], [run] = service.spans(), exporter.get_finished_spans()
    return {"request": describe(request), "run": describe(run)}


if __name__ == "__main__":
    answer(
        calls,
        failing,
        concurrent,
        batch,
        lent,
        console,
        added_later,
        after_shutdown,
        subclass,
        not_joined,
    )
