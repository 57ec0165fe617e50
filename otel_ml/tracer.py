"""Starts the spans of runs as the provider's tracer would: sampler, ids, resource, processors."""

import os
from collections.abc import Callable
from typing import Any, Final, Protocol, TypeGuard

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace import Tracer as SdkTracer
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Decision, Sampler
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from otel_ml.ids import own_ids
from otel_ml.sampling import ask, is_usual, known_rules, rule_for
from otel_ml.spans import Attributes, Home, RunSpan

# The key under which OpenTelemetry keeps the current span, found by setting one.
[SPAN_KEY] = trace.set_span_in_context(trace.INVALID_SPAN, Context())

_SAMPLED: Final = int(TraceFlags.SAMPLED)
_RANDOM: Final = int(getattr(TraceFlags, "RANDOM_TRACE_ID", 0))  # since SDK 1.42
_KNOWN_FLAGS: Final = _SAMPLED | _RANDOM
_NEEDED: Final = (
    "sampler",
    "resource",
    "span_processor",
    "id_generator",
    "_span_limits",
    "_instrumentation_scope",
)


class Start(Protocol):
    """Starts a span under the current one of `context`; `kept` ones the sampler may not drop."""

    def __call__(
        self, name: str, context: Context, start_ns: int, attributes: Attributes, kept: bool
    ) -> trace.Span:
        """Start a span."""


def start_of_own(
    provider: TracerProvider, scope: InstrumentationScope, take: Callable[[RunSpan], None]
) -> Start:
    """Start spans under a provider that is ours alone: they go to `take` and nowhere else."""
    home = Home(provider, scope, SpanLimits(), None, take)
    return _RunTracer(home, provider.sampler, provider.id_generator, keeps=True).start


def start_of(
    provider: trace.TracerProvider,
    tracer: trace.Tracer,
    choose: Callable[[SpanProcessor], SpanProcessor],
) -> Start:
    """Start spans with a provider's own tracer.

    They are `RunSpan` where provider and tracer are exactly the SDK's and hold what that needs,
    else what the tracer makes.

    Args:
        provider: The provider.
        tracer: One of its tracers, ours.
        choose: Returns which of the provider's processors get our spans.

    """
    if type(provider) is not TracerProvider or not _is_known(tracer):
        return _start_stock(tracer)
    # The SDK counts its own live spans when it is told to: only its own spans can be counted.
    counted = os.environ.get("OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED", "").lower() == "true"
    if counted or not _is_enabled(tracer):
        return _start_stock(tracer)
    processor = choose(tracer.span_processor)
    home = Home(tracer, tracer._instrumentation_scope, tracer._span_limits, processor, None)
    return _RunTracer(home, tracer.sampler, tracer.id_generator, keeps=False).start


def _is_known(tracer: trace.Tracer) -> TypeGuard[SdkTracer]:
    return type(tracer) is SdkTracer and all(hasattr(tracer, name) for name in _NEEDED)


def _is_enabled(tracer: SdkTracer) -> bool:
    is_enabled: Callable[[], bool] | None = getattr(tracer, "_is_enabled", None)  # since SDK 1.40
    return is_enabled is None or is_enabled()


def _start_stock(tracer: trace.Tracer) -> Start:
    def start(
        name: str, context: Context, start_ns: int, attributes: Attributes, kept: bool
    ) -> trace.Span:
        return tracer.start_span(
            name,
            context=context,
            attributes=attributes,
            start_time=start_ns,
            record_exception=False,
            set_status_on_exception=False,
        )

    return start


class _RunTracer:
    """Starts `RunSpan`s.

    Args:
        keeps: Whether kept spans pass the sampler, which a joined provider's do not.
    """

    def __init__(self, home: Home, sampler: Sampler, ids: IdGenerator, *, keeps: bool) -> None:
        self._home = home
        self._sampler = sampler
        self._rules = known_rules(sampler)
        self._keeps = keeps
        ids = own_ids(ids)
        self._trace_id = ids.generate_trace_id
        self._span_id = ids.generate_span_id
        is_random: Callable[[], bool] | None = getattr(ids, "is_trace_id_random", None)
        random = _RANDOM if is_random is not None and is_random() else 0
        # The usual rules: a root and a child of a sampled parent are sampled.
        self._follows = self._rules is not None and is_usual(self._rules)
        self._root_flags = TraceFlags(random | (_SAMPLED if self._follows else 0))

    def start(
        self, name: str, context: Context, start_ns: int, attributes: Attributes, kept: bool
    ) -> trace.Span:
        """Start a span; one that is not recorded costs no more than its ids."""
        above: Any = context.get(SPAN_KEY)
        parent: SpanContext | None = None if above is None else above.get_span_context()
        if parent is None or not parent.is_valid:
            parent = state = None
            trace_id = self._trace_id()
            flags = self._root_flags
        else:
            trace_id = parent.trace_id
            state = parent.trace_state
            flags = parent.trace_flags
            if flags > _KNOWN_FLAGS:
                flags = TraceFlags(flags & _KNOWN_FLAGS)
        span_id = self._span_id()
        recorded, told = True, None
        if not (kept and self._keeps) and not (self._follows and flags & _SAMPLED):
            if self._rules is not None:
                recorded = sampled = rule_for(self._rules, parent)(trace_id)
            else:
                found = ask(self._sampler, context, trace_id, name, attributes)
                sampled = found.decision is Decision.RECORD_AND_SAMPLE
                recorded = found.decision is not Decision.DROP
                told = {
                    key: value
                    for key, value in (found.attributes or {}).items()
                    if key not in attributes
                }
                state = found.trace_state
            flags = TraceFlags(flags | _SAMPLED if sampled else flags & ~_SAMPLED)
        elif not flags & _SAMPLED:
            flags = TraceFlags(flags | _SAMPLED)
        if not recorded:
            return NonRecordingSpan(SpanContext(trace_id, span_id, False, flags, state))
        span = RunSpan(
            self._home, name, trace_id, span_id, flags, parent, state, start_ns, attributes
        )
        if told:
            span.set_attributes(told)
        if self._home.processor is not None:
            span.announce(context)
        return span
