"""The reference: spans that a careful user writes by hand with the stock SDK.

A current span with four attributes, ``json.dumps`` of input and output, the batch processor and the
official OTLP exporter over HTTP.
"""

import inspect
import json
import logging
from collections.abc import Callable, Generator
from typing import Any, Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import Sampler

_JSON: Final = "application/json"
_FLUSH_MS: Final = 60_000

# The batch processor logs each full queue; the table has the share that arrived.
logging.getLogger("opentelemetry.sdk").setLevel(logging.ERROR)


def stock_provider(endpoint: str, sampler: Sampler | None = None) -> TracerProvider:
    """Return an SDK provider with its batch processor and the official exporter."""
    provider = TracerProvider(sampler=sampler)
    add_stock_exporter(provider, endpoint)
    return provider


def add_stock_exporter(provider: TracerProvider, endpoint: str) -> None:
    """Make a provider export through the SDK's batch processor and the official exporter."""
    exporter = OTLPSpanExporter(endpoint=f"{endpoint}/v1/traces")
    provider.add_span_processor(BatchSpanProcessor(exporter))


class ByHand:
    """Traces functions of every kind with spans written by hand."""

    def __init__(self, endpoint: str, sampler: Sampler | None = None) -> None:
        self._provider = stock_provider(endpoint, sampler)
        self._tracer = self._provider.get_tracer("bench")

    def flush(self) -> None:
        self._provider.force_flush(_FLUSH_MS)

    def trace(self, function: Callable[..., Any]) -> Callable[..., Any]:
        if inspect.isgeneratorfunction(function):
            return self._stream(function)
        if inspect.iscoroutinefunction(function):
            return self._later(function)
        return self._plain(function)

    def _plain(self, function: Callable[..., Any]) -> Callable[..., Any]:
        tracer = self._tracer

        def wrapper(*args: Any) -> Any:
            attributes = {"input.value": json.dumps(args), "input.mime_type": _JSON}
            with tracer.start_as_current_span("bench", attributes=attributes) as span:
                output = function(*args)
                span.set_attributes({"output.value": json.dumps(output), "output.mime_type": _JSON})
                return output

        return wrapper

    def _later(self, function: Callable[..., Any]) -> Callable[..., Any]:
        tracer = self._tracer

        async def wrapper(*args: Any) -> Any:
            attributes = {"input.value": json.dumps(args), "input.mime_type": _JSON}
            with tracer.start_as_current_span("bench", attributes=attributes) as span:
                output = await function(*args)
                span.set_attributes({"output.value": json.dumps(output), "output.mime_type": _JSON})
                return output

        return wrapper

    def _stream(self, function: Callable[..., Any]) -> Callable[..., Any]:
        tracer = self._tracer

        def wrapper(*args: Any) -> Generator[Any, None, None]:
            attributes = {"input.value": json.dumps(args), "input.mime_type": _JSON}
            with tracer.start_as_current_span("bench", attributes=attributes) as span:
                chunks = []
                for chunk in function(*args):
                    chunks.append(chunk)
                    yield chunk
                span.set_attributes({"output.value": json.dumps(chunks), "output.mime_type": _JSON})

        return wrapper
