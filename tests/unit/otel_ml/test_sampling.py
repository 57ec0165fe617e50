"""Sampling decisions about runs, compared with the OpenTelemetry SDK's own tracer."""

import contextlib
from collections.abc import Callable, Mapping
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    DEFAULT_OFF,
    DEFAULT_ON,
    AlwaysRecordSampler,
    Decision,
    ParentBased,
    ParentBasedTraceIdRatio,
    Sampler,
    SamplingResult,
    StaticSampler,
    TraceIdRatioBased,
)
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

from otel_ml import Client
from otel_ml.spans import RunSpan, Start, start_of_own
from tests.support.examples import examples
from tests.support.otel_ml.providers import (
    FixedIds,
    Provider,
    WrappingProvider,
    open_provider,
    start_under,
    within,
)
from tests.support.otel_ml.recording import attributes

Draw = Callable[[st.SearchStrategy[Any]], Any]

GIVEN: Mapping[str, Any] = {"otel_ml.project": "shop", "otel_ml.model.name": "model"}


class Telling(Sampler):
    """A host's sampler with a fixed decision that adds attributes and a trace state."""

    def __init__(self, decision: Decision, state: TraceState | None = None) -> None:
        self.result = SamplingResult(decision, {"sampled.by": "rule 7"}, state)

    def should_sample(self, *args: Any, **kwargs: Any) -> SamplingResult:
        return self.result

    def get_description(self) -> str:
        return "Telling"


class Odd(StaticSampler):
    """A sampler that keeps traces with an odd id, whatever its decision is."""

    def should_sample(
        self, parent_context: Context | None, trace_id: int, *args: Any, **kwargs: Any
    ) -> SamplingResult:
        return SamplingResult(Decision.RECORD_AND_SAMPLE if trace_id & 1 else Decision.DROP)


class HighRatio(TraceIdRatioBased):
    """A ratio sampler that uses the high half of the trace id."""

    def should_sample(
        self, parent_context: Context | None, trace_id: int, *args: Any, **kwargs: Any
    ) -> SamplingResult:
        return super().should_sample(parent_context, trace_id >> 64, *args, **kwargs)


class Contrary(ParentBased):
    """A sampler that keeps a span exactly if its parent is not sampled."""

    def should_sample(self, parent_context: Context | None, *args: Any, **kwargs: Any) -> Any:
        above = trace.get_current_span(parent_context).get_span_context()
        return SamplingResult(
            Decision.DROP if above.trace_flags.sampled else Decision.RECORD_AND_SAMPLE
        )


rates = st.sampled_from([0.0, 1e-19, 0.25, 0.5, 1.0]) | st.floats(0, 1)
_states = st.none() | st.just(TraceState([("vendor", "x"), ("rate", "7")]))
_KINDS: list[st.SearchStrategy[Sampler]] = [
    st.sampled_from([ALWAYS_ON, ALWAYS_OFF, DEFAULT_ON, DEFAULT_OFF]),
    st.builds(StaticSampler, st.sampled_from(Decision)),
    st.builds(TraceIdRatioBased, rates),
    st.builds(ParentBasedTraceIdRatio, rates),
    st.builds(Telling, st.sampled_from(Decision), _states),
    st.builds(Odd, st.sampled_from(Decision)),
    st.builds(HighRatio, rates),
    st.builds(Contrary, st.just(ALWAYS_ON)),
]


@st.composite
def samplers(draw: Draw, depth: int = 0) -> Sampler:
    """Generate a sampler: one of the SDK's, one of a host's, or nested ones."""
    kind = draw(st.integers(0, len(_KINDS) + 2))
    if kind < len(_KINDS) or depth == 2:
        return cast("Sampler", draw(_KINDS[kind % len(_KINDS)]))
    inner = samplers(depth + 1)
    if kind == len(_KINDS):
        return AlwaysRecordSampler(draw(inner))
    return ParentBased(*(draw(inner) for _ in range(5 if draw(st.booleans()) else 1)))


# Random ids, and ids at the bounds where the ratios above change their decision.
_trace_ids = st.integers(1, 2**128 - 1) | st.builds(
    lambda bound, step: 2**100 + bound + step,
    st.sampled_from([0, 2, 2**62, 2**63, 2**64]),
    st.integers(-1, 1),
)
ids = st.builds(FixedIds, _trace_ids, st.integers(1, 2**64 - 1))
_flags = st.sampled_from([0, 1, 2, 3, 4, 255]) | st.integers(0, 255)
_contexts = st.builds(
    SpanContext,
    _trace_ids,
    st.integers(1, 2**64 - 1),
    st.booleans(),
    _flags.map(TraceFlags),
    _states,
)
_invalid = st.builds(
    SpanContext, st.integers(0, 1), st.just(0), st.booleans(), _flags.map(TraceFlags), _states
)


class HostSpan(NonRecordingSpan):
    """A span class of another library."""


def _started(sampler: Sampler, above: SpanContext) -> tuple[trace.Span, trace.Span]:
    """Return a span of otel-ml and one of the OpenTelemetry SDK, both under `above`."""
    provider, _ = open_provider(sampler=sampler, id_generator=FixedIds())
    context = set_span_in_context(NonRecordingSpan(above), Context())
    ours = start_under(provider)("run", context, 1, {}, False)
    return ours, provider.get_tracer("host").start_span("request", context)


_spans = (
    st.just(trace.INVALID_SPAN)
    | _invalid.map(NonRecordingSpan)
    | _contexts.map(NonRecordingSpan)
    | _contexts.map(HostSpan)
    | st.builds(_started, samplers(), _contexts).flatmap(st.sampled_from)
)
parents: st.SearchStrategy[Context] = st.just(Context()) | _spans.map(
    lambda span: set_span_in_context(span, Context())
)


def decided(span: trace.Span) -> dict[str, Any]:
    """Return the sampling decision about a span, and the data that it inherited."""
    context = span.get_span_context()
    return {
        "recorded": span.is_recording(),
        "ids": (context.trace_id, context.span_id),
        "remote": context.is_remote,
        "flags": context.trace_flags,
        "state": context.trace_state,
        "valid": context.is_valid,
        "parent": getattr(span, "parent", None),
    }


def start_ours(
    start: Start, parent: Context, name: str = "run", *, kept: bool = False
) -> trace.Span:
    span = start(name, parent, 1, GIVEN, kept)
    assert type(span) is RunSpan or isinstance(span, NonRecordingSpan)
    return span


@given(sampler=samplers(), parent=parents, ids=ids, random=st.booleans(), kept=st.booleans())
@settings(max_examples=examples(200))
def test_joined_span_is_decided_as_the_sdk_does(
    sampler: Sampler, parent: Context, ids: FixedIds, random: bool, kept: bool
) -> None:
    """Under a joined provider each sampler decides about a run as about the host's spans."""
    ids.random = random
    provider, _ = open_provider(sampler=sampler, id_generator=ids)
    theirs = provider.get_tracer("host").start_span("run", context=parent, attributes=GIVEN)
    assert decided(start_ours(start_under(provider), parent, kept=kept)) == decided(theirs)


@pytest.mark.parametrize("rate", [0.0, 0.25, 0.5, 1.0])
@pytest.mark.parametrize("step", [-1, 0, 1])
def test_ratio_ends_where_the_sdk_s_does(rate: float, step: int) -> None:
    """A ratio samples exactly the trace ids below its bound, as the SDK does."""
    ids = FixedIds(2**100 + round(rate * 2**64) + step)
    provider, _ = open_provider(sampler=TraceIdRatioBased(rate), id_generator=ids)
    theirs = provider.get_tracer("host").start_span("run", context=Context())
    assert decided(start_ours(start_under(provider), Context())) == decided(theirs)


def open_own(sampler: Sampler, ids: FixedIds) -> tuple[TracerProvider, Start]:
    """Return a provider that belongs to the client, with no exporter, and its start function."""
    provider, _ = open_provider(sampler=sampler, id_generator=ids)
    assert isinstance(provider, TracerProvider)
    scope = InstrumentationScope("ours")
    return provider, start_of_own(provider, lambda: scope, lambda _: None)


@given(sampler=samplers(), parent=parents, ids=ids)
@settings(max_examples=examples(100))
def test_own_span_is_decided_as_the_sdk_does(
    sampler: Sampler, parent: Context, ids: FixedIds
) -> None:
    """Under the client's own provider the sampler decides about a call as in the SDK."""
    provider, start = open_own(sampler, ids)
    theirs = provider.get_tracer("host").start_span("run", context=parent, attributes=GIVEN)
    assert decided(start_ours(start, parent)) == decided(theirs)


@given(sampler=samplers(), parent=parents, ids=ids)
@settings(max_examples=examples(100))
def test_kept_span_is_always_sampled(sampler: Sampler, parent: Context, ids: FixedIds) -> None:
    """Under the client's own provider a kept span is sampled by any sampler, with unchanged ids."""
    provider, start = open_own(sampler, ids)
    span = decided(start_ours(start, parent, kept=True))
    unsampled = decided(provider.get_tracer("host").start_span("run", context=parent))
    assert span["recorded"]
    assert span["flags"].sampled
    for part in ("ids", "remote", "valid"):
        assert span[part] == unsampled[part]
    above = trace.get_current_span(parent).get_span_context()
    assert span["parent"] == (above if above.is_valid else None)


def exported_attributes(kind: type[Provider], sampler: Sampler) -> dict[str, Any]:
    provider, exporter = open_provider(kind, sampler=sampler)
    Client("shop", tracer_provider=provider).trace(name="model")(len)("seven")
    [span] = exporter.get_finished_spans()
    return {
        key: item
        for key, item in attributes(span).items()
        if key not in {"otel_ml.seq", "otel_ml.latency_ms"}
    }


@pytest.mark.parametrize("wrap", [lambda sampler: sampler, ParentBased])
def test_sampler_s_attributes_arrive(wrap: Any) -> None:
    """Attributes from a sampler are exported on the run, as on a span of the SDK."""
    sampler = wrap(Telling(Decision.RECORD_AND_SAMPLE))
    found = exported_attributes(TracerProvider, sampler)
    assert found["sampled.by"] == "rule 7"
    assert found == exported_attributes(WrappingProvider, sampler)


class Adaptive(TraceIdRatioBased):
    """A host's sampler whose rate changes while the process runs."""

    current = 0.0

    @property
    def bound(self) -> int:
        return self.get_bound_for_rate(self.current)


def test_rate_that_changes_is_followed() -> None:
    """If a host changes the rate of its ratio sampler, later runs follow the new rate."""
    sampler = Adaptive(0.0)
    provider, exporter = open_provider(sampler=sampler)
    call = Client("shop", tracer_provider=provider).trace(name="model")(lambda: 1)
    call()
    sampler.current = 1.0
    call()
    assert len(exporter.get_finished_spans()) == 1


class Broken(Telling):
    def should_sample(self, *args: Any, **kwargs: Any) -> SamplingResult:
        raise RuntimeError("broken")


def test_sampler_that_raises_costs_no_call() -> None:
    """A call under a sampler that raises returns as if it were not traced."""
    provider, exporter = open_provider(sampler=Broken(Decision.DROP))
    assert Client("shop", tracer_provider=provider).trace(lambda: 1)() == 1
    assert exporter.get_finished_spans() == ()


# Runs opened by hand, and records about them, with a client's own provider.

UNSAMPLED = NonRecordingSpan(SpanContext(2**100 + 1, 2**50 + 1, True, TraceFlags(0)))


@pytest.mark.parametrize("above", [trace.INVALID_SPAN, UNSAMPLED], ids=["root", "child"])
@pytest.mark.parametrize(
    ("sampler", "argument"),
    [
        ("always_off", ""),
        ("traceidratio", "0"),
        ("parentbased_always_off", ""),
        ("parentbased_traceidratio", "0"),
        ("parentbased_always_on", ""),
    ],
)
def test_opened_run_is_always_kept(
    monkeypatch: pytest.MonkeyPatch, sampler: str, argument: str, above: trace.Span
) -> None:
    """A run opened by hand and its records are exported under any sampler of the environment."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", argument)
    exporter = InMemorySpanExporter()
    client = Client("shop", exporter=exporter, join=False)
    with within(above), contextlib.suppress(KeyError), client.run("training") as run:
        run.log_metrics({"loss": 0.5})
        raise KeyError("a")
    run.tag(late=True)
    assert client.flush()
    client.close()
    found = [span.name for span in exporter.get_finished_spans()]
    assert found == [
        "otel_ml.start",
        "otel_ml.update",
        "training",
        "otel_ml.update",
        "otel_ml.goodbye",
    ]
