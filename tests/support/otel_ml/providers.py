"""Tracer providers that a host may have, each with an exporter that keeps spans in memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.util._decorator import _agnosticcontextmanager

from otel_ml.outlet import Route
from otel_ml.provider import choose
from otel_ml.spans import Start


class WrappedTracer(trace.Tracer):
    """A tracer that delegates to another one, as in packages that monitor the SDK."""

    def __init__(self, inner: trace.Tracer) -> None:
        self._inner = inner

    def start_span(self, *args: Any, **kwargs: Any) -> trace.Span:
        return self._inner.start_span(*args, **kwargs)

    @_agnosticcontextmanager
    def start_as_current_span(self, *args: Any, **kwargs: Any) -> Iterator[trace.Span]:
        with self._inner.start_as_current_span(*args, **kwargs) as span:
            yield span


class WrappingProvider(TracerProvider):
    """A subclass of the SDK's provider with its own tracers."""

    def get_tracer(self, *args: Any, **kwargs: Any) -> trace.Tracer:
        return WrappedTracer(super().get_tracer(*args, **kwargs))


class PlainSubclass(TracerProvider):
    """A subclass of the SDK's provider with the SDK's tracers."""


class ApiProvider(trace.TracerProvider):
    """A provider that implements only the API, so nothing can be read from it."""

    def __init__(self, **options: Any) -> None:
        self._inner = TracerProvider(**options)

    def get_tracer(self, *args: Any, **kwargs: Any) -> trace.Tracer:
        return WrappedTracer(self._inner.get_tracer(*args, **kwargs))

    def add_span_processor(self, processor: SimpleSpanProcessor) -> None:
        self._inner.add_span_processor(processor)


Provider = TracerProvider | ApiProvider

# With these providers a run is an SDK span.
STOCK: Final[dict[str, type[WrappingProvider | ApiProvider]]] = {
    "wrapping": WrappingProvider,
    "api": ApiProvider,
}


class FixedIds(IdGenerator):
    """An id generator that returns the same ids each time."""

    def __init__(self, trace_id: int = 2**100 + 7, span_id: int = 2**50 + 5) -> None:
        self.trace_id = trace_id
        self.span_id = span_id
        self.random = False

    def generate_trace_id(self) -> int:
        return self.trace_id

    def generate_span_id(self) -> int:
        return self.span_id

    def is_trace_id_random(self) -> bool:
        return self.random


def open_provider(
    kind: type[Provider] = TracerProvider, **options: Any
) -> tuple[Provider, InMemorySpanExporter]:
    """Open a provider for the test, without resource detection, which takes 1 ms."""
    exporter = InMemorySpanExporter()
    given: dict[str, Any] = {"shutdown_on_exit": False, "resource": Resource({}), **options}
    provider = kind(**given)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider, exporter


def start_under(provider: trace.TracerProvider) -> Start:
    """Return how a client's spans start with a provider."""
    return choose(Route(project="shop", tracer_provider=provider)).start


@contextmanager
def within(span: trace.Span) -> Iterator[None]:
    """Make a span current during the block, without changing it."""
    with trace.use_span(
        span, end_on_exit=False, record_exception=False, set_status_on_exception=False
    ):
        yield
