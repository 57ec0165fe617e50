"""Which tracer provider our spans go through; the global one is joined at most, never taken."""

import logging
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter

from otel_ml import attributes as names
from otel_ml.export.otlp import CountingExporter, is_endpoint_named, make_exporter
from otel_ml.sampling import KeepingSampler

Join = Literal["auto", False]

_QUEUE_SPANS: Final = 50_000
_DELAY_MS: Final = 200
# These take the global provider for their own backend: our spans would end up there.
_TAKERS: Final = frozenset({"langfuse", "logfire", "sentry_sdk"})

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Sender:
    """Our queue and exporter; None in its place means that only a joined provider sends."""

    processor: "_Counted"
    exporter: CountingExporter

    def flush(self, timeout_s: float) -> bool:
        """Deliver what is queued; returns whether nothing was lost since the last flush."""
        handed = self.processor.handed
        flushed: list[bool] = []

        def flush() -> None:
            flushed.append(self.processor.force_flush(int(timeout_s * 1e3)))

        # The batch processor ignores its timeout.
        thread = threading.Thread(target=flush, name="otel-ml-flush", daemon=True)
        try:
            thread.start()
            thread.join(timeout_s)
        except RuntimeError:  # the interpreter ends: no thread can be started any more
            flush()
        if not flushed:
            return False
        missing = handed - self.exporter.delivered
        known, self.processor.missing = self.processor.missing, max(missing, self.processor.missing)
        return flushed[0] and missing <= known


@dataclass(frozen=True, slots=True)
class Chosen:
    """A provider, and whether it is ours to flush and shut down."""

    provider: trace.TracerProvider
    own: bool
    sender: Sender | None


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a client wants its spans to go."""

    project: str
    api_key: str | None = None
    endpoint: str | None = None
    exporter: SpanExporter | None = None
    tracer_provider: trace.TracerProvider | None = None
    join: Join = "auto"


def choose(wanted: Destination) -> Chosen:
    """Choose the provider for a client, at its first call.

    A given provider is used as it is; else a global one that is exactly the SDK's is joined;
    else our own is made. Under a provider that is not ours, our spans also go directly to the
    endpoint when one is named.
    """
    provider = wanted.tracer_provider
    if provider is None and wanted.join == "auto":
        provider = _joinable(trace.get_tracer_provider())
    if provider is None:
        return _own(wanted)
    sender = None
    named = wanted.exporter is not None or is_endpoint_named(wanted.endpoint)
    if named and isinstance(provider, TracerProvider):
        sender = _sender(wanted)
        if sender is not None:
            provider.add_span_processor(_OwnSpansOnly(sender.processor, wanted.project))
    _logger.info("Spans of project %r go through %s", wanted.project, type(provider).__name__)
    return Chosen(provider, own=False, sender=sender)


def _own(wanted: Destination) -> Chosen:
    resource = Resource.create({names.PROJECT: wanted.project})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.sampler = KeepingSampler(provider.sampler)  # before a tracer takes it over
    sender = _sender(wanted)
    if sender is not None:
        provider.add_span_processor(sender.processor)
    _logger.info("Spans of project %r go through a provider of their own", wanted.project)
    return Chosen(provider, own=True, sender=sender)


def _sender(wanted: Destination) -> Sender | None:
    exporter = make_exporter(
        wanted.exporter, wanted.endpoint, project=wanted.project, api_key=wanted.api_key
    )
    if exporter is None:
        return None
    processor = BatchSpanProcessor(
        exporter,
        max_queue_size=_unless_set("OTEL_BSP_MAX_QUEUE_SIZE", _QUEUE_SPANS),
        schedule_delay_millis=_unless_set("OTEL_BSP_SCHEDULE_DELAY", _DELAY_MS),
    )
    return Sender(_Counted(processor), exporter)


def _unless_set(variable: str, value: int) -> int | None:
    return None if os.environ.get(variable) else value


def _joinable(provider: trace.TracerProvider) -> TracerProvider | None:
    if type(provider) is not TracerProvider:
        return None
    active = getattr(provider, "_active_span_processor", None)
    processors: Sequence[object] = getattr(active, "_span_processors", ())
    packages = {type(processor).__module__.partition(".")[0] for processor in processors}
    return None if packages & _TAKERS else provider


class _Counted(SpanProcessor):
    """Counts what is handed to the queue: the difference to what was delivered is lost.

    Attributes:
        handed: Spans handed over in this process.
        missing: How many of them an earlier flush has told to be lost.
    """

    def __init__(self, inner: SpanProcessor) -> None:
        self._inner = inner
        self._lock = threading.Lock()
        self.handed = 0
        self.missing = 0

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Nothing to do."""

    def on_end(self, span: ReadableSpan) -> None:
        """Queue the span."""
        if span.context is not None and span.context.trace_flags.sampled:
            with self._lock:
                self.handed += 1
        self._inner.on_end(span)

    def shutdown(self) -> None:
        """Deliver what is queued, then stop."""
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Deliver what is queued."""
        return self._inner.force_flush(timeout_millis)


class _OwnSpansOnly(SpanProcessor):
    """Passes on a client's own spans, and none of the service or of another project."""

    def __init__(self, inner: SpanProcessor, project: str) -> None:
        self._inner = inner
        self._project = project

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Nothing to do: a batch processor acts on ended spans."""

    def on_end(self, span: ReadableSpan) -> None:
        """Queue the span when it is ours."""
        scope = span.instrumentation_scope
        if scope is None or scope.name != names.SCOPE_NAME:
            return
        if (scope.attributes or {}).get(names.PROJECT) == self._project:
            self._inner.on_end(span)

    def shutdown(self) -> None:
        """Deliver what is queued, then stop."""
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Deliver what is queued."""
        return self._inner.force_flush(timeout_millis)
