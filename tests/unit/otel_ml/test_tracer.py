"""The spans started for runs, under each kind of provider."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import (
    ConcurrentMultiSpanProcessor,
    ReadableSpan,
    Span,
    SpanProcessor,
    TracerProvider,
    _disable_tracer_configurator,
)
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, Sampler, SamplingResult
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from otel_ml import Client, current_run
from tests.support.otel_ml.providers import (
    STOCK,
    FixedIds,
    Provider,
    open_provider,
    start_under,
    within,
)
from tests.support.otel_ml.recording import attributes, context

SAMPLED = NonRecordingSpan(SpanContext(2**100 + 1, 2**50 + 1, True, TraceFlags(1)))


@pytest.fixture(autouse=True)
def _no_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED", raising=False)


# The host's span processors.


class Watching(SpanProcessor):
    """A processor that keeps its calls and the data of the span at that moment."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, Any]]] = []

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        self._see("start", span, parent=trace.get_current_span(parent_context))

    def _on_ending(self, span: Span) -> None:
        self._see("ending", span)

    def on_end(self, span: ReadableSpan) -> None:
        self._see("end", span)

    def _see(self, when: str, span: ReadableSpan, **more: Any) -> None:
        found = {key: item for key, item in attributes(span).items() if key not in VOLATILE}
        ended = span.end_time is not None
        self.seen.append((when, {"name": span.name, "ended": ended, **found, **more}))


# Attributes that differ between calls.
VOLATILE = {"otel_ml.seq", "otel_ml.latency_ms", "otel_ml.stream.first_chunk_ms"}

FIRST = {"otel_ml.project": "shop", "otel_ml.kind": "chain", "otel_ml.model.name": "model"}


def watched(kind: type[Provider], **options: Any) -> tuple[Client, Watching]:
    provider, _ = open_provider(kind, **options)
    watching = Watching()
    provider.add_span_processor(watching)  # type: ignore[arg-type]  # any processor will do
    return Client("shop", tracer_provider=provider), watching


def test_processor_sees_what_the_span_is_about() -> None:
    """A processor sees project, kind and model when a decorated call starts."""
    client, watching = watched(TracerProvider)
    client.trace(name="model", kind="chain")(lambda: 1)()
    first = {"name": "model", "ended": False, "parent": trace.INVALID_SPAN, **FIRST}
    assert watching.seen[0] == ("start", first)


def test_processor_sees_what_an_opened_run_is_about() -> None:
    """A processor sees project, kind and model when a run is opened by hand."""
    client, watching = watched(TracerProvider)
    client.run("model", kind="chain").end()
    when, found = watching.seen[0]
    assert when == "start"
    assert FIRST.items() <= found.items()


@pytest.mark.parametrize("kind", STOCK.values(), ids=STOCK)
def test_processor_is_told_as_by_the_sdk(kind: type[Provider]) -> None:
    """A processor gets the same calls, with the same data, for a run as for the SDK's span."""

    def model(a: int) -> int:
        return a

    seen = []
    for each in (TracerProvider, kind):
        client, watching = watched(each)
        with within(SAMPLED):
            client.trace(name="model", tags={"team": "a"})(model)(1)
        seen.append(watching.seen)
    assert [when for when, _ in seen[0]] == ["start", "ending", "end"]
    assert seen[0] == seen[1]


def test_processor_s_attributes_arrive() -> None:
    """Attributes that a processor sets at a span's start are exported with the run."""

    class Stamping(SpanProcessor):
        def on_start(self, span: Span, parent_context: Context | None = None) -> None:
            span.set_attribute("session.id", "s1")

    provider, exporter = open_provider()
    provider.add_span_processor(Stamping())  # type: ignore[arg-type]  # any processor will do
    Client("shop", tracer_provider=provider).trace(name="model")(lambda: 1)()
    [span] = exporter.get_finished_spans()
    assert attributes(span)["session.id"] == "s1"


def test_concurrent_processors_are_told() -> None:
    """Concurrent processors see a run from start to end."""
    processor = ConcurrentMultiSpanProcessor(2)
    client, watching = watched(TracerProvider, active_span_processor=processor)
    client.trace(name="model")(lambda: 1)()
    assert [when for when, _ in watching.seen] == ["start", "ending", "end"]
    processor.shutdown()


class Failing(SpanProcessor):
    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        raise RuntimeError("broken")


def test_processor_that_raises_costs_no_call() -> None:
    """A call under a processor that raises returns as if it were not traced."""
    provider, _ = open_provider()
    provider.add_span_processor(Failing())  # type: ignore[arg-type]  # any processor will do
    assert Client("shop", tracer_provider=provider).trace(lambda: 1)() == 1


# Ids and sampling decisions.


def test_ids_are_the_provider_s() -> None:
    """A run gets its ids from the provider's id generator."""
    provider, exporter = open_provider(id_generator=FixedIds(2**99 + 3, 2**49 + 9))
    Client("shop", tracer_provider=provider).trace(lambda: 1)()
    [span] = exporter.get_finished_spans()
    assert (context(span).trace_id, context(span).span_id) == (2**99 + 3, 2**49 + 9)


class OnlyRecording(Sampler):
    """A sampler that only records spans named quiet, and samples all others."""

    def should_sample(
        self, parent_context: Context | None, trace_id: int, name: str, *args: Any, **kwargs: Any
    ) -> SamplingResult:
        quiet = name == "quiet"
        return SamplingResult(Decision.RECORD_ONLY if quiet else Decision.RECORD_AND_SAMPLE)

    def get_description(self) -> str:
        return "OnlyRecording"


@pytest.mark.parametrize("sampler", [OnlyRecording(), ParentBased(OnlyRecording())])
@pytest.mark.parametrize("kind", [TracerProvider, *STOCK.values()])
def test_only_recorded_run_is_not_exported(kind: type[Provider], sampler: Sampler) -> None:
    """A run that is recorded but not sampled reaches the processors but no exporter."""
    provider, exporter = open_provider(kind, sampler=sampler)
    watching = Watching()
    provider.add_span_processor(watching)  # type: ignore[arg-type]  # any processor will do
    client = Client("shop", tracer_provider=provider)
    client.trace(name="quiet")(lambda: current_run().tag(team="a"))()
    assert exporter.get_finished_spans() == ()
    assert [when for when, _ in watching.seen] == ["start", "ending", "end"]


def test_only_recorded_run_takes_no_number() -> None:
    """A run that is not exported takes no sequence number: a gap means a lost run."""
    provider, exporter = open_provider(sampler=OnlyRecording())
    client = Client("a project without gaps", tracer_provider=provider)
    for name in ("quiet", "loud", "quiet", "quiet", "loud"):
        client.trace(name=name)(lambda: 1)()
    found = [attributes(span)["otel_ml.seq"] for span in exporter.get_finished_spans()]
    assert found == [1, 2]


def test_disabled_tracer_records_nothing() -> None:
    """A tracer that the host disabled records no run, even under a sampled parent."""
    provider, exporter = open_provider(_tracer_configurator=_disable_tracer_configurator)
    client = Client("a disabled project", tracer_provider=provider)
    with within(SAMPLED):
        assert client.trace(lambda: current_run().is_recorded)() is False
    assert client.stats().sequence == 0
    assert exporter.get_finished_spans() == ()


class HostSpan(NonRecordingSpan):
    """A span class of another library."""


@pytest.mark.parametrize("above", [SAMPLED, HostSpan(SAMPLED.get_span_context())])
def test_disabled_sdk_records_nothing(monkeypatch: pytest.MonkeyPatch, above: trace.Span) -> None:
    """A provider made while the SDK was disabled records no run under any parent."""
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    provider, exporter = open_provider()
    monkeypatch.delenv("OTEL_SDK_DISABLED")
    client = Client("a disabled project", tracer_provider=provider)
    with within(above):
        assert client.trace(lambda: current_run().is_recorded)() is False
    assert client.stats().sequence == 0
    assert exporter.get_finished_spans() == ()


def points(reader: InMemoryMetricReader, name: str) -> Iterator[Any]:
    data: Any = reader.get_metrics_data()
    for resource_metrics in data.resource_metrics:
        for scope_metrics in resource_metrics.scope_metrics:
            for metric in scope_metrics.metrics:
                if metric.name == name:
                    yield from metric.data.data_points


def test_sdk_counts_our_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the OpenTelemetry SDK counts its spans, runs are counted too."""
    monkeypatch.setenv("OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED", "true")
    reader = InMemoryMetricReader()
    meters = MeterProvider(metric_readers=[reader], shutdown_on_exit=False)
    provider, exporter = open_provider(meter_provider=meters)
    client = Client("shop", tracer_provider=provider)
    for _ in range(3):
        client.trace(name="model")(lambda: 1)()
    [started] = points(reader, "otel.sdk.span.started")
    [live] = points(reader, "otel.sdk.span.live")
    meters.shutdown()
    assert (started.value, live.value) == (3, 0)
    assert len(exporter.get_finished_spans()) == 3


# Tracers of other libraries.


@pytest.mark.parametrize("kind", STOCK.values(), ids=STOCK)
def test_unknown_tracer_makes_the_spans(kind: type[Provider]) -> None:
    """If a tracer is not exactly the SDK's, its own spans are used."""
    provider, _ = open_provider(kind)
    assert isinstance(start_under(provider)("run", Context(), 1, {}, False), Span)


def test_unknown_span_costs_no_call() -> None:
    """A call works even if the provider's spans raise on every method."""

    class Refusing(NonRecordingSpan):
        def __init__(self) -> None:
            super().__init__(SAMPLED.get_span_context())

        def __getattribute__(self, name: str) -> Any:
            if name in {"set_attributes", "add_event", "end", "is_recording"}:
                raise RuntimeError("broken")
            return super().__getattribute__(name)

    class RefusingTracer(trace.NoOpTracer):
        def start_span(self, *args: Any, **kwargs: Any) -> trace.Span:
            return Refusing()

    class RefusingProvider(trace.TracerProvider):
        def get_tracer(self, *args: Any, **kwargs: Any) -> trace.Tracer:
            return RefusingTracer()

    call: Callable[[], int] = Client("shop", tracer_provider=RefusingProvider()).trace(lambda: 1)
    assert call() == 1
