"""Which tracer provider our spans go through; the global one is joined at most, never taken."""

import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import (
    ReadableSpan,
    Span,
    SpanProcessor,
    TracerProvider,
)
from opentelemetry.sdk.trace.export import SpanExporter
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from otel_ml import attributes as names
from otel_ml.export.delivery import Delivery, join
from otel_ml.export.destination import ExporterDestination, NoDestination, OtlpDestination
from otel_ml.export.documents import Uploads
from otel_ml.export.encoder import encode_envelope
from otel_ml.export.http import HttpSender
from otel_ml.export.pipeline import Pace, Pipeline
from otel_ml.export.queue import MAX_BYTES, MAX_SPANS, SpanQueue
from otel_ml.export.settings import Settings, is_endpoint_named, resolve
from otel_ml.export.spooled import SpooledSpans
from otel_ml.spans import HasResource, Start, processors_of, start_of, start_of_own

Join = Literal["auto", False]

# An exporter of the user's gets batches of the size that the SDK's processor makes.
_EXPORTER_BATCH: Final = 512
_PACE: Final = Pace()
_STALLED_UPLOADS_S: Final = 1.0
# These take the global provider for their own backend: our spans would end up there.
_TAKERS: Final = frozenset({"langfuse", "logfire", "sentry_sdk"})

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a client wants its spans to go."""

    project: str
    api_key: str | None = None
    endpoint: str | None = None
    exporter: SpanExporter | None = None
    tracer_provider: trace.TracerProvider | None = None
    join: Join = "auto"
    spool: str | None = None


@dataclass(frozen=True, slots=True)
class Chosen:
    """How spans start, and who delivers them.

    Attributes:
        start: Starts a span.
        pipeline: Ours; None when only the joined provider sends.
        uploads: Send what is too long for an event; None where spans go to no OTLP/HTTP address.
        joined: The provider, when it is not ours.
        configuration: What is in force, for who asks.
    """

    start: Start
    pipeline: Pipeline[Any] | None
    joined: trace.TracerProvider | None
    configuration: Mapping[str, object] = field(default_factory=dict)
    uploads: Uploads | None = None

    def flush(self, timeout_s: float) -> Delivery:
        """Deliver what is queued."""
        if self.pipeline is not None:
            deadline = time.monotonic() + timeout_s
            return self._with_uploads(self.pipeline, self.pipeline.flush(timeout_s), deadline)
        flush: Callable[[int], bool] | None = getattr(self.joined, "force_flush", None)
        if flush is None or flush(int(timeout_s * 1e3)):
            return Delivery()
        return Delivery(reason="the joined provider did not flush in time")

    def hasten(self) -> None:
        """Deliver without a pause from now on: the process ends."""
        for one in (self.pipeline, self.uploads):
            if one is not None:
                one.hasten()

    def close(self, timeout_s: float) -> None:
        """Deliver what is queued and stop; a joined provider goes on."""
        if self.pipeline is not None:
            deadline = time.monotonic() + timeout_s
            self.pipeline.close(timeout_s)
            if self.uploads is not None:
                self.uploads.close(_time_left(self.pipeline, deadline))

    def _with_uploads(self, pipeline: Pipeline[Any], spans: Delivery, deadline: float) -> Delivery:
        if self.uploads is None:
            return spans
        return join(spans, self.uploads.flush(_time_left(pipeline, deadline)))


def _time_left(pipeline: Pipeline[Any], deadline: float) -> float:
    """Count the seconds for uploads: few where spans, too, get nowhere."""
    left_s = max(deadline - time.monotonic(), 0.0)
    return min(left_s, _STALLED_UPLOADS_S) if pipeline.is_stalled else left_s


def choose(wanted: Destination) -> Chosen:
    """Choose the provider for a client, at its first call.

    A given provider is used as it is; else a global one that is exactly the SDK's is joined;
    else our own is made. Under a provider that is not ours, our spans also go directly to the
    endpoint when one is named.
    """
    provider = wanted.tracer_provider
    if provider is None and wanted.join == "auto":
        provider = _joinable(trace.get_tracer_provider())
    return _own(wanted) if provider is None else _join(wanted, provider)


def _join(wanted: Destination, provider: trace.TracerProvider) -> Chosen:
    pipeline: Pipeline[Any] | None = None
    uploads: Uploads | None = None
    sending: dict[str, object] = {}
    named = wanted.exporter is not None or is_endpoint_named(wanted.endpoint)
    # Not only the SDK's own class: that of logfire has it, too.
    add: Callable[[SpanProcessor], None] | None = getattr(provider, "add_span_processor", None)
    if named and add is not None:
        origin = provider if hasattr(provider, "resource") else TracerProvider()
        pipeline, uploads, sending = _pipeline(wanted, origin, _scope(wanted.project))
        add(_OwnSpansOnly(pipeline, wanted.project))
    elif wanted.spool is not None:
        _logger.warning("No spool: spans go where the provider sends them, name an endpoint")
    try:
        tracer = provider.get_tracer(
            names.SCOPE_NAME, _own_version(), attributes={names.PROJECT: wanted.project}
        )
    except TypeError:  # scopes have attributes since SDK 1.26
        tracer = provider.get_tracer(names.SCOPE_NAME, _own_version())
    taken = wanted.tracer_provider is None  # who gives a provider wants all of it
    start = start_of(provider, tracer, _is_no_taker if taken else None)
    name = type(provider).__name__
    _logger.info("Spans of project %r go through %s", wanted.project, name)
    return Chosen(start, pipeline, provider, {"provider": name, **sending}, uploads)


def _own(wanted: Destination) -> Chosen:
    resource = Resource.create({names.PROJECT: wanted.project})
    # It settles sampler, ids and resource as the environment says; no span passes through it.
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    scope = _scope(wanted.project)
    pipeline, uploads, sending = _pipeline(wanted, provider, scope)
    start = start_of_own(provider, scope, pipeline.put)
    _logger.info("Spans of project %r go through a provider of their own", wanted.project)
    configuration = {
        "provider": "own",
        "sampler": provider.sampler.get_description(),
        **sending,
    }
    return Chosen(start, pipeline, None, configuration, uploads)


def _scope(project: str) -> InstrumentationScope:
    try:
        return InstrumentationScope(
            names.SCOPE_NAME, _own_version(), None, {names.PROJECT: project}
        )
    except TypeError:  # scopes have attributes since SDK 1.26
        return InstrumentationScope(names.SCOPE_NAME, _own_version())


def _pipeline(
    wanted: Destination, origin: HasResource, scope: InstrumentationScope
) -> tuple[Pipeline[Any], Uploads | None, dict[str, object]]:
    max_spans = _whole("OTEL_BSP_MAX_QUEUE_SIZE", MAX_SPANS)
    delay_s = _whole("OTEL_BSP_SCHEDULE_DELAY", int(_PACE.delay_s * 1e3)) / 1e3
    batch = _whole("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 0)
    sending: dict[str, object] = {
        "queue_spans": max_spans,
        "queue_bytes": MAX_BYTES,
        "delay_ms": delay_s * 1e3,
    }
    settings = resolve(wanted.endpoint, wanted.project, wanted.api_key)
    destination: Any
    if wanted.exporter is not None:
        destination = ExporterDestination(wanted.exporter, type(wanted.exporter).__name__)
        batch = batch or _EXPORTER_BATCH
    elif settings.protocol == "grpc":
        destination = _grpc(settings)
        batch = batch or _EXPORTER_BATCH
    else:
        sender = HttpSender(settings)
        sender.open()
        destination = OtlpDestination(sender, settings.page, settings.timeout_s)
        sending["compression"] = settings.compression
    sending["endpoint"] = destination.page
    pace = Pace(batch or _PACE.batch_spans, delay_s)
    sending["batch_spans"] = pace.batch_spans
    source: Any = SpanQueue(max_spans)
    if wanted.spool is not None and not isinstance(destination, OtlpDestination):
        _logger.warning("No spool, spans wait in memory: it sends OTLP over HTTP alone")
    elif wanted.spool is not None:
        source = _spooled(Path(wanted.spool), origin, scope) or source
    spool = str(wanted.spool) if isinstance(source, SpooledSpans) else None
    sending["spool"] = spool
    uploads = None
    if isinstance(destination, OtlpDestination):
        uploads = Uploads(settings, wanted.project, None if spool is None else Path(spool))
    return Pipeline(source, destination, pace), uploads, sending


def _spooled(
    directory: Path, origin: HasResource, scope: InstrumentationScope
) -> SpooledSpans | None:
    try:
        return SpooledSpans(directory, lambda: encode_envelope(origin.resource, scope))
    except OSError as error:
        _logger.warning("No spool, spans wait in memory: %s", error)
        return None


def _grpc(settings: Settings) -> ExporterDestination | NoDestination:
    try:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    except ImportError:  # the extra brings 20 MB, which few need
        return NoDestination("gRPC needs pip install opentelemetry-exporter-otlp", settings.page)
    exporter = OTLPSpanExporter(
        endpoint=settings.url, headers=dict(settings.headers), timeout=settings.timeout_s
    )
    return ExporterDestination(exporter, settings.page)


def _whole(variable: str, default: int) -> int:
    text = os.environ.get(variable, "").strip()
    if not text:
        return default
    if not text.isdecimal() or int(text) == 0:
        _logger.warning("Invalid %s %r: expected a whole number from 1", variable, text)
        return default
    return int(text)


def _joinable(provider: trace.TracerProvider) -> TracerProvider | None:
    if type(provider) is not TracerProvider:
        return None
    return provider if all(map(_is_no_taker, processors_of(provider))) else None


def _is_no_taker(processor: object) -> bool:
    modules = {base.__module__.partition(".")[0] for base in type(processor).__mro__}
    return modules.isdisjoint(_TAKERS)


def _own_version() -> str:
    from importlib.metadata import PackageNotFoundError, version  # 12 ms, at the first call

    try:
        return version("otel-ml")
    except PackageNotFoundError:  # run from a source tree
        return "0"


class _OwnSpansOnly(SpanProcessor):
    """Passes on a client's own spans, and none of the service or of another project."""

    def __init__(self, pipeline: Pipeline[Any], project: str) -> None:
        self._pipeline = pipeline
        self._project = project

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Nothing to do: only ended spans are sent."""

    def on_end(self, span: ReadableSpan) -> None:
        """Queue the span when it is ours."""
        scope = span.instrumentation_scope
        if scope is None or scope.name != names.SCOPE_NAME:
            return
        if span.context is None or not span.context.trace_flags.sampled:
            return
        # A limit may cut the text of a span's attribute; scopes have none before SDK 1.26.
        told = getattr(scope, "attributes", None) or span.attributes or {}
        if told.get(names.PROJECT) == self._project:
            self._pipeline.put(span)

    def shutdown(self) -> None:
        """Deliver what is queued; the pipeline itself ends with its client."""
        self._pipeline.flush(_SHUTDOWN_S)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Deliver what is queued."""
        return bool(self._pipeline.flush(timeout_millis / 1e3))


_SHUTDOWN_S: Final = 10.0
