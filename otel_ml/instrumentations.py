"""OpenTelemetry instrumentations of other libraries: connects them to a client, finds unused ones.

An instrumentation without a tracer provider writes to the global provider, which a client never
replaces. If there is no global provider, its spans are silently lost. Instrumentations are
recognised by their OpenTelemetry entry point and base class, not by a list of names.
"""

import gc
import logging
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import Distribution, EntryPoint, entry_points
from typing import Any, Final

import orjson
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import Event, ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import Status

from otel_ml.arguments import show
from otel_ml.errors import quiet
from otel_ml.export.pipeline import Pipeline
from otel_ml.limits import read_limits
from otel_ml.outlet import Outlet
from otel_ml.redaction import REDACTED, Redaction
from otel_ml.spans import (
    ChosenProcessors,
    MarkedCalls,
    all_processors_of,
    processors_of,
    resource_of,
)

_GROUP: Final = "opentelemetry_instrumentor"
_BASE: Final = "opentelemetry.instrumentation.instrumentor"
_OWN_PACKAGE: Final = "otel-ml"
_GROWS: Final = 8  # hiding secrets may lengthen a text; up to 8 times, it is not cut

_logger = logging.getLogger(__name__)


# Find and activate instrumentations.


def instrument(library: str, provider: trace.TracerProvider) -> Any:
    """Record the calls of a library, with the OpenTelemetry instrumentation installed for it.

    Args:
        library: Name of the library, such as ``openai``.
        provider: Tracer provider that receives the spans.

    Returns:
        The active instrumentor. None if the program has already instrumented the library itself.

    Raises:
        ValueError: No installed package instruments the library or its installed version.
    """
    found = _find(library)
    if not found:
        raise ValueError(_advice(library))
    entry, *others = sorted(
        found, key=lambda entry: (not _is_active(entry), _package(entry).lower())
    )
    if others:
        unused = ", ".join(map(_package, others))
        _logger.info("%s is instrumented by %s, not by %s", library, _package(entry), unused)
    instrumentor = entry.load()()
    if instrumentor.is_instrumented_by_opentelemetry:
        if type(instrumentor) not in _find_lost():
            _logger.warning(
                "%s is already instrumented: its spans go to another tracer provider", library
            )
            return None
        instrumentor.uninstrument()
    instrumentor.instrument(tracer_provider=provider)
    if not instrumentor.is_instrumented_by_opentelemetry:
        wanted = ", ".join(instrumentor.instrumentation_dependencies())
        raise ValueError(
            f"Invalid library {show(library)}: {_package(entry)} instruments {wanted}, which is "
            "not installed"
        )
    return instrumentor


def installed() -> list[tuple[str, str]]:
    """Return each library that an installed package instruments, with the package's name."""
    return sorted((entry.name, _package(entry)) for entry in _entries())


def _find(library: str) -> list[EntryPoint]:
    """Return the instrumentations of a library, by their own names or by the library's."""
    wanted = _plain(library)
    entries = list(_entries())
    named = [entry for entry in entries if wanted in {_plain(entry.name), _plain(_package(entry))}]
    return named or [entry for entry in entries if wanted in _instrumented(entry)]


def _entries() -> Iterator[EntryPoint]:
    for entry in entry_points(group=_GROUP):
        if _package(entry) != _OWN_PACKAGE:
            yield entry


def _package(entry: EntryPoint) -> str:
    distribution: Distribution | None = entry.dist
    return entry.value if distribution is None else str(distribution.metadata["Name"])


def _instrumented(entry: EntryPoint) -> set[str]:
    """Return the packages that an instrumentation targets, from its "instruments" extra."""
    wanted = (entry.dist.requires if entry.dist is not None else None) or []
    return {
        _plain(re.split(r"[\s\[(<>=!~;]", line, maxsplit=1)[0])
        for line in wanted
        if re.search(r"extra\s*==\s*['\"]instruments", line)
    }


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _advice(library: str) -> str:
    name = _plain(library)
    there = ", ".join(dict.fromkeys(name for name, _ in installed()))
    return (
        f"Invalid library {show(library)}: expected one with an installed instrumentation "
        f"({there or 'none installed'}); pip install openinference-instrumentation-{name} "
        f"or opentelemetry-instrumentation-{name}, or pass client.tracer_provider to it"
    )


# Find instrumentations whose spans are lost.


def warn_lost() -> None:
    """Warn once about each instrumentation whose spans are lost.

    Spans are lost if an instrumentation has no tracer provider to send them to.
    """
    with quiet("instrumentations"):
        for kind in _find_lost():
            if kind not in _warned:
                _warned.add(kind)
                _logger.warning("%s: %s", *describe_lost(kind))


def lost() -> list[tuple[str, str]]:
    """List the instrumentations that have no tracer provider, so their spans are lost.

    Returns:
        For each such instrumentation, a text that says what is wrong and how to fix it.
    """
    return [describe_lost(kind) for kind in _find_lost()]


def describe_lost(kind: type) -> tuple[str, str]:
    """Describe how one instrumentation loses its spans, and how to fix it."""
    called = [
        entry.name for entry in _entries() if entry.value == f"{kind.__module__}:{kind.__name__}"
    ]
    library = called[0] if called else kind.__module__.rpartition(".")[2]
    return (
        f"The spans of {kind.__name__} are lost, there is no global tracer provider",
        f'call client.instrument("{library}") in place of {kind.__name__}().instrument()',
    )


def unsampled() -> list[tuple[str, str]]:
    """Describe each source of traces whose sampler drops every span, and how to fix it."""
    with quiet("instrumentations"):
        return [
            (f"{who} samples no trace: no traced call below its spans is recorded", f"set {what}")
            for who, what, is_silent in (
                ("The global tracer provider", "another sampler", _global_is_silent()),
                ("BentoML", 'tracing={"sample_rate": 1.0} of its service', _bentoml_is_silent()),
            )
            if is_silent
        ]
    return []


def synchronous() -> list[tuple[str, str]]:
    """Describe the global tracer provider if it waits for each span's export, and how to fix it."""
    with quiet("instrumentations"):
        processors = processors_of(trace.get_tracer_provider())
        if any(isinstance(processor, SimpleSpanProcessor) for processor in processors):
            text = "The global tracer provider has a SimpleSpanProcessor: each span waits for its "
            text += "export, up to 1 s with an otel-ml collector"
            return [(text, "use BatchSpanProcessor")]
    return []


def _global_is_silent() -> bool:
    sampler = getattr(trace.get_tracer_provider(), "sampler", None)
    if not isinstance(sampler, Sampler):
        return False
    # Any sampling rate above 0 keeps the smallest or the largest trace ID.
    return all(
        sampler.should_sample(Context(), trace_id, "request", trace.SpanKind.SERVER).decision
        is Decision.DROP
        for trace_id in (1, 2**128 - 1)
    )


def _bentoml_is_silent() -> bool:
    """Return whether all imported BentoML services sample nothing, which is BentoML's default."""
    kind = getattr(sys.modules.get("_bentoml_sdk.service.factory"), "Service", None)
    settings = sys.modules.get("bentoml._internal.configuration.containers")
    if kind is None or settings is None or settings.BentoMLContainer.tracing.sample_rate.get():
        return False
    entries = (value for module in [*sys.modules.values()] for value in [*vars(module).values()])
    services = [value for value in entries if isinstance(value, kind)]
    return bool(services) and not any(
        (service.config.get("tracing") or {}).get("sample_rate") for service in services
    )


_warned: Final[set[type]] = set()


def _is_active(entry: EntryPoint) -> bool:
    return any(f"{kind.__module__}:{kind.__name__}" == entry.value for kind in _active())


def _active() -> list[type]:
    """Return the classes of all active instrumentors."""
    base = getattr(sys.modules.get(_BASE), "BaseInstrumentor", None)
    items: list[type] = []
    kinds = [] if base is None else [base]
    for kind in kinds:  # the list grows during the loop
        kinds += kind.__subclasses__()
        made = vars(kind).get("_instance")  # each class has at most one instance
        if made is not None and getattr(made, "_is_instrumented_by_opentelemetry", False):
            items.append(kind)
    return items


def _find_lost() -> list[type]:
    """Return the active instrumentations that lose their spans for lack of a global provider."""
    active = _active()
    if not active or not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        return []
    # an instrumentor has no reference to its tracer, and it may have been given a provider
    waiting = {
        str(getattr(referrer, "_instrumenting_module_name", ""))
        for referrer in gc.get_referrers(trace.ProxyTracer)
        if type(referrer) is trace.ProxyTracer
    }
    return [kind for kind in active if any(_is_of(name, kind.__module__) for name in waiting)]


def _is_of(name: str, module: str) -> bool:
    return bool(name) and (name == module or name.startswith(f"{module}."))


# The tracer provider for instrumentations.


def make_provider(
    project: str, outlet: Outlet, redaction: Redaction, is_recording: Callable[[], bool]
) -> trace.TracerProvider:
    """Return a tracer provider to pass to other instrumentations.

    Their spans are then sent in the same way as the client's own. The result may be the service's
    tracer provider, if the client sends through that one.

    Args:
        project: Project of the client.
        outlet: The connection through which the client sends its runs.
        redaction: Hides secrets in the spans.
        is_recording: Called at the start of each span. If it returns False, the span is dropped.
    """
    joined: Any = outlet.joined
    every = all_processors_of(joined)
    if outlet.pipeline is None or (joined is not None and every is None):
        given: trace.TracerProvider = joined
        return given
    # a new one reads its sampler from the environment
    limits = read_limits()
    inner = joined or TracerProvider(
        resource=resource_of(project), shutdown_on_exit=False, span_limits=limits
    )
    provider = TracerProvider(
        sampler=_Unpaused(inner.sampler, is_recording),
        resource=inner.resource,
        id_generator=inner.id_generator,
        shutdown_on_exit=False,
        span_limits=limits,
    )
    if every is not None:
        provider.add_span_processor(ChosenProcessors(every, lambda _: True))
    provider.add_span_processor(_Redacted(outlet.pipeline, redaction))
    return provider


class _Unpaused(Sampler):
    """Drops spans that start while the client does not record, or records into memory."""

    def __init__(self, inner: Sampler, is_recording: Callable[[], bool]) -> None:
        self._inner = inner
        self._is_recording = is_recording

    def should_sample(
        self, parent_context: Context | None, trace_id: int, name: str, *others: Any, **told: Any
    ) -> SamplingResult:
        """Ask the inner sampler, or drop the span if nothing is recorded now."""
        if not self._is_recording():
            return SamplingResult(Decision.DROP)
        return self._inner.should_sample(parent_context, trace_id, name, *others, **told)

    def get_description(self) -> str:
        """Describe the inner sampler."""
        return self._inner.get_description()


class _Redacted(MarkedCalls):
    """Queues ended spans of other instrumentations, with the client's secrets hidden."""

    def __init__(self, pipeline: Pipeline[Any], redaction: Redaction) -> None:
        self._pipeline = pipeline
        self._redaction = redaction

    def on_end(self, span: ReadableSpan) -> None:
        """Queue the span."""
        if span.context is None or not span.context.trace_flags.sampled:
            return
        with quiet("instrumentations"):  # a span that cannot be redacted is not sent
            self._pipeline.put(_redact(span, self._redaction))

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Deliver the queue."""
        return bool(self._pipeline.flush(timeout_millis / 1e3))


def _redact(span: ReadableSpan, redaction: Redaction) -> ReadableSpan:
    return ReadableSpan(
        name=span.name,
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes=_hide(span.attributes or {}, redaction),
        events=[
            Event(event.name, _hide(event.attributes or {}, redaction), event.timestamp)
            for event in span.events
        ],
        links=span.links,
        kind=span.kind,
        instrumentation_scope=span.instrumentation_scope,
        status=Status(
            span.status.status_code,
            None if not span.status.description else redaction.text(span.status.description),
        ),
        start_time=span.start_time,
        end_time=span.end_time,
    )


def _hide(given: Mapping[str, Any], redaction: Redaction) -> dict[str, Any]:
    return {
        name: REDACTED if redaction.is_secret(name) else _hide_value(value, redaction)
        for name, value in given.items()
    }


def _hide_value(value: Any, redaction: Redaction) -> Any:
    if isinstance(value, str):
        return _hide_text(value, redaction)
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return [_hide_text(item, redaction) if isinstance(item, str) else item for item in value]
    return value


def _hide_text(text: str, redaction: Redaction) -> str:
    """Hide secrets in a text; if it is JSON, key by key."""
    if text.startswith(("{", "[")):
        try:
            value = orjson.loads(text)
        except orjson.JSONDecodeError:
            return redaction.text(text)
        if not redaction.concerns(value, text):
            return text
        return redaction.hide(text, limit_bytes=_GROWS * len(text)).text
    return redaction.text(text)
