"""A service of somebody's that traces with the SDK, and a client of ours that joins it."""

from collections.abc import Callable
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_ml import Client


class Service:
    """Keeps the spans that end.

    Args:
        provider: The service's provider, else one is made.
        options: Of the provider.
    """

    def __init__(self, provider: TracerProvider | None = None, **options: Any) -> None:
        self.provider = provider or TracerProvider(shutdown_on_exit=False, **options)
        self.exporter = InMemorySpanExporter()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = self.provider.get_tracer("service")
        self.client = Client("shop", tracer_provider=self.provider)

    def run(self, body: Callable[[], object], name: str = "model") -> None:
        """Call a traced function."""
        self.client.trace(name=name)(body)()

    def spans(self) -> tuple[ReadableSpan, ...]:
        """Return the spans that ended, in their order, and forget them."""
        spans = self.exporter.get_finished_spans()
        self.exporter.clear()
        return spans

    def pair(self, body: Callable[[], object]) -> tuple[ReadableSpan, ReadableSpan]:
        """Run `body` in a run of ours and in a span of the SDK's; returns both spans."""
        self.run(body)
        with self.tracer.start_as_current_span("model"):
            body()
        ours, stock = self.spans()
        return ours, stock
