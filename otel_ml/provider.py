"""Chooses the tracer provider of a client. A global provider may be used, but is never replaced."""

import functools
import logging
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import trace
from opentelemetry.sdk.trace import (
    ReadableSpan,
    SpanProcessor,
    TracerProvider,
)
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from otel_ml import attributes as names
from otel_ml.export.documents import DocumentUploads, MakeDestination
from otel_ml.export.pipeline import AnyDestination, LateDestination, Pace, Pipeline
from otel_ml.export.queue import MAX_BYTES, MAX_SPANS, SpanQueue, SpooledSpans
from otel_ml.export.settings import ExportSettings, is_endpoint_named, own_version, resolve
from otel_ml.late import late
from otel_ml.limits import read_limits
from otel_ml.outlet import Outlet, Route
from otel_ml.spans import (
    HasResource,
    MarkedCalls,
    processors_of,
    resource_of,
    start_of,
    start_of_own,
)

if TYPE_CHECKING:
    from otel_ml.export import destination as destinations
    from otel_ml.export import encoder
else:
    destinations = late("export.destination")
    encoder = late("export.encoder")

# batch size of the OpenTelemetry SDK's own processor
_EXPORTER_BATCH: Final = 512
_PACE: Final = Pace()
# These products send all spans of the global provider to their own backend, ours included.
_TAKERS: Final = frozenset({"langfuse", "logfire", "sentry_sdk"})

_logger = logging.getLogger(__name__)


def choose(route: Route) -> Outlet:
    """Decide where a client's spans go, at the client's first call.

    The spans go to the first of these tracer providers that is available:

    1. the one that was passed to the client,
    2. the global one, if it is the OpenTelemetry SDK's own class,
    3. a new one, which the client creates.

    If an existing provider (1 or 2) is used, and an endpoint or exporter is set, the client also
    sends the spans there itself.
    """
    provider = route.tracer_provider
    if provider is None and route.join == "auto":
        provider = _joinable(trace.get_tracer_provider())
    return _own(route) if provider is None else _join(route, provider)


def redirect(outlet: Outlet, route: Route) -> None:
    """Send what an outlet of `choose` sends itself to the endpoint that is set now.

    Its queue goes there, too. Nothing changes if the client was given an endpoint or an exporter.
    """
    if outlet.pipeline is None or route.exporter is not None or route.endpoint:
        return
    settings = resolve(None, route.project, route.api_key)
    outlet.pipeline.redirect(LateDestination(settings.page, partial(_load, route, settings)))
    if outlet.uploads is not None:
        outlet.uploads.redirect(settings, _make_uploads(settings))
    outlet.configuration["endpoint"] = settings.page


def expected_page(route: Route) -> str:
    """Return the base URL of the collector that would receive the spans, without connecting."""
    others = route.tracer_provider
    if others is None and route.join:
        others = trace.get_tracer_provider()
    is_own = others is None or isinstance(others, trace.ProxyTracerProvider)
    if route.exporter is not None or not (is_own or is_endpoint_named(route.endpoint)):
        return ""
    settings = resolve(route.endpoint, route.project, None)
    return "" if settings.protocol == "grpc" else settings.page


def _join(route: Route, provider: trace.TracerProvider) -> Outlet:
    pipeline: Pipeline[Any] | None = None
    uploads: DocumentUploads | None = None
    sending: dict[str, object] = {}
    named = route.exporter is not None or is_endpoint_named(route.endpoint)
    # not only the SDK's class: logfire's provider has it too
    add: Callable[[SpanProcessor], None] | None = getattr(provider, "add_span_processor", None)
    if named and add is not None:
        origin = (
            provider if hasattr(provider, "resource") else TracerProvider(span_limits=read_limits())
        )
        pipeline, uploads, sending = _pipeline(route, origin)
        add(_OwnSpansOnly(pipeline, route.project))
    else:
        if add is not None:
            add(MarkedCalls())
        if route.spool is not None:
            _logger.warning(
                "No spool: your tracer provider sends the spans. To use a spool, pass an endpoint"
            )
    try:
        tracer = provider.get_tracer(
            names.SCOPE_NAME, own_version(), attributes={names.PROJECT: route.project}
        )
    except TypeError:  # scopes have attributes since SDK 1.26
        tracer = provider.get_tracer(names.SCOPE_NAME, own_version())
    # a provider passed explicitly sends to all of its processors
    taken = route.tracer_provider is None
    start = start_of(provider, tracer, _is_no_taker if taken else None)
    name = type(provider).__name__
    _logger.info("Spans of project %r use the tracer provider %s", route.project, name)
    return Outlet(start, pipeline, provider, {"provider": name, **sending}, uploads)


def _own(route: Route) -> Outlet:
    resource = resource_of(route.project)
    # Used only to read sampler, IDs and resource from the environment. No span passes through it.
    provider = TracerProvider(resource=resource, shutdown_on_exit=False, span_limits=read_limits())
    pipeline, uploads, sending = _pipeline(route, provider)
    start = start_of_own(provider, partial(_scope, route.project), pipeline.put)
    text = "Spans of project %r use a tracer provider of their own"
    pipeline.announce = partial(_logger.info, text, route.project)
    configuration = {
        "provider": "own",
        "sampler": provider.sampler.get_description(),
        **sending,
    }
    return Outlet(start, pipeline, None, configuration, uploads)


@functools.cache  # one object, so that it is encoded only once
def _scope(project: str) -> InstrumentationScope:
    """Create the scope of our spans. Takes 20 ms, because it reads the installed version."""
    try:
        return InstrumentationScope(names.SCOPE_NAME, own_version(), None, {names.PROJECT: project})
    except TypeError:  # scopes have attributes since SDK 1.26
        return InstrumentationScope(names.SCOPE_NAME, own_version())


def _pipeline(
    route: Route, origin: HasResource
) -> tuple[Pipeline[Any], DocumentUploads | None, dict[str, object]]:
    max_spans = _whole("OTEL_BSP_MAX_QUEUE_SIZE", MAX_SPANS)
    delay_s = _whole("OTEL_BSP_SCHEDULE_DELAY", int(_PACE.delay_s * 1e3)) / 1e3
    batch = _whole("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 0)
    sending: dict[str, object] = {
        "queue_spans": max_spans,
        "queue_bytes": MAX_BYTES,
        "delay_ms": delay_s * 1e3,
    }
    settings = resolve(route.endpoint, route.project, route.api_key)
    is_http = route.exporter is None and settings.protocol == "http/protobuf"
    if not is_http:
        batch = batch or _EXPORTER_BATCH
    else:
        sending["compression"] = settings.compression
    page = settings.page if route.exporter is None else type(route.exporter).__name__
    destination: LateDestination[Any] = LateDestination(page, partial(_load, route, settings))
    sending["endpoint"] = page
    pace = Pace(batch or _PACE.batch_spans, delay_s)
    sending["batch_spans"] = pace.batch_spans
    source: Any = SpanQueue(max_spans)
    if route.spool is not None and not is_http:
        _logger.warning("No spool, spans are queued in memory: a spool needs OTLP over HTTP")
    elif route.spool is not None:
        source = _spooled(Path(route.spool), origin, route.project) or source
    spool = str(route.spool) if isinstance(source, SpooledSpans) else None
    sending["spool"] = spool
    uploads = None
    if is_http:
        uploads = DocumentUploads(
            settings, route.project, _make_uploads(settings), None if spool is None else Path(spool)
        )
    return Pipeline(source, destination, pace, prepare=destination.load), uploads, sending


def _make_uploads(settings: ExportSettings) -> MakeDestination:
    return lambda below, note: destinations.ArtifactDestination(settings, below, note)


def _load(route: Route, settings: ExportSettings) -> AnyDestination[Any]:
    """Create the destination, in the thread that sends."""
    _scope(route.project)
    if route.exporter is not None:
        return destinations.ExporterDestination(route.exporter, type(route.exporter).__name__)
    if settings.protocol == "grpc":
        return _grpc(settings)
    destination = destinations.OtlpDestination(settings)
    destination.open()
    return destination


def _spooled(directory: Path, origin: HasResource, project: str) -> SpooledSpans | None:
    scope = _scope(project)
    try:
        return SpooledSpans(directory, lambda: encoder.encode_envelope(origin.resource, scope))
    except OSError as error:
        _logger.warning("No spool, spans are queued in memory: %s", error)
        return None


def _grpc(settings: ExportSettings) -> AnyDestination[Any]:
    try:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    except ImportError:  # the extra has 20 MB and few users need it
        return destinations.NoDestination(
            "gRPC needs pip install opentelemetry-exporter-otlp", settings.page
        )
    exporter = OTLPSpanExporter(
        endpoint=settings.url, headers=dict(settings.headers), timeout=settings.timeout_s
    )
    return destinations.ExporterDestination(exporter, settings.page)


def _whole(variable: str, default: int) -> int:
    text = os.environ.get(variable, "").strip()
    if not text:
        return default
    if not text.isdecimal() or int(text) == 0:
        _logger.warning("Invalid %s %r: expected a whole number, 1 or more", variable, text)
        return default
    return int(text)


def _joinable(provider: trace.TracerProvider) -> TracerProvider | None:
    if type(provider) is not TracerProvider:
        return None
    return provider if all(map(_is_no_taker, processors_of(provider))) else None


def _is_no_taker(processor: object) -> bool:
    modules = {base.__module__.partition(".")[0] for base in type(processor).__mro__}
    return modules.isdisjoint(_TAKERS)


class _OwnSpansOnly(MarkedCalls):
    """Passes on the spans of one client, but not those of the service or of other projects."""

    def __init__(self, pipeline: Pipeline[Any], project: str) -> None:
        self._pipeline = pipeline
        self._project = project

    def on_end(self, span: ReadableSpan) -> None:
        """Queue the span if it belongs to this client."""
        scope = span.instrumentation_scope
        if scope is None or scope.name != names.SCOPE_NAME:
            return
        if span.context is None or not span.context.trace_flags.sampled:
            return
        # a length limit may cut the span's attribute, so read the scope's, which exists since SDK
        # 1.26
        attributes = getattr(scope, "attributes", None) or span.attributes or {}
        if attributes.get(names.PROJECT) == self._project:
            self._pipeline.put(span)

    def shutdown(self) -> None:
        """Deliver the queue. The pipeline itself stops with its client."""
        self._pipeline.flush(_SHUTDOWN_S)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Deliver the queue."""
        return bool(self._pipeline.flush(timeout_millis / 1e3))


_SHUTDOWN_S: Final = 10.0
