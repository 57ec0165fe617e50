"""The tracer provider of a client; the global one can be set only once, so it is not set here."""

from importlib.metadata import version
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_ml import Client


def names(exporter: InMemorySpanExporter) -> list[str]:
    return [span.name for span in exporter.get_finished_spans()]


def record(client: Client, name: str) -> None:
    client.trace(name=name)(lambda: 1)()
    assert client.flush()


@pytest.fixture
def provider() -> TracerProvider:
    return TracerProvider(shutdown_on_exit=False)


def test_given_provider_is_used(provider: TracerProvider) -> None:
    """A given provider is used directly."""
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    record(Client("shop", tracer_provider=provider), "model")
    assert names(exporter) == ["model"]


def test_clients_of_one_provider_keep_apart(provider: TracerProvider) -> None:
    """Two clients on one provider each export only their own runs to their own exporter."""
    first, second = InMemorySpanExporter(), InMemorySpanExporter()
    clients = [
        Client(project, exporter=exporter, tracer_provider=provider)
        for project, exporter in (("a", first), ("b", second))
    ]
    for client in clients:
        client.trace(name="warm up")(lambda: 1)()
    for client in clients:
        record(client, client.project)
    assert [(name in names(first), name in names(second)) for name in "ab"] == [
        (True, False),
        (False, True),
    ]


def test_closed_client_leaves_the_provider_running(provider: TracerProvider) -> None:
    """Closing a client does not shut down a provider that the user gave."""
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    client = Client("shop", tracer_provider=provider)
    record(client, "model")
    client.close()
    provider.get_tracer("service").start_span("request").end()
    assert names(exporter) == ["model", "request"]


def own_run(**options: Any) -> ReadableSpan:
    exporter = InMemorySpanExporter()
    client = Client("shop", exporter=exporter, **options)
    record(client, "model")
    client.close()
    [span] = exporter.get_finished_spans()
    return span


def test_span_names_its_scope_and_resource() -> None:
    """The client's own provider has the project in its resource and scope."""
    span = own_run()
    assert span.resource.attributes["otel_ml.project"] == "shop"
    assert span.instrumentation_scope is not None
    assert span.instrumentation_scope.name == "otel_ml"
    assert span.instrumentation_scope.version == version("otel-ml")
    assert dict(span.instrumentation_scope.attributes or {}) == {"otel_ml.project": "shop"}


def test_project_is_the_service_that_nobody_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The own provider's service name is the project if the environment sets none."""
    monkeypatch.delenv("OTEL_SERVICE_NAME", raising=False)
    monkeypatch.delenv("OTEL_RESOURCE_ATTRIBUTES", raising=False)
    assert own_run().resource.attributes["service.name"] == "shop"


def test_resource_of_the_environment_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The own provider has the service name and resource attributes of the environment."""
    monkeypatch.setenv("OTEL_SERVICE_NAME", "checkout")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=staging")
    resource = own_run().resource.attributes
    assert resource["service.name"] == "checkout"
    assert resource["deployment.environment.name"] == "staging"


def test_sampler_of_the_environment_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A decorated call follows the sampler set in the environment."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    exporter = InMemorySpanExporter()
    client = Client("shop", exporter=exporter)
    record(client, "model")
    client.close()
    assert names(exporter) == []


def test_opened_run_is_never_sampled_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run opened by hand is recorded under any sampler of the client's own provider."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    exporter = InMemorySpanExporter()
    client = Client("shop", exporter=exporter)
    with client.run("training") as run:
        run.log_metrics({"loss": 0.5})
        client.trace(name="sampled out")(lambda: 1)()
    assert client.flush()
    client.close()
    assert names(exporter) == ["otel_ml.start", "otel_ml.update", "training", "otel_ml.goodbye"]


def test_count_limit_keeps_core_attributes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit on the number of attributes may drop tags, but never a core attribute."""
    monkeypatch.setenv("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "32")
    exporter = InMemorySpanExporter()
    client = Client("shop", exporter=exporter)
    client.trace(name="model", tags={f"t{number}": 1 for number in range(60)})(lambda: 1)()
    assert client.flush()
    client.close()
    [span] = exporter.get_finished_spans()
    assert {
        "otel_ml.project",
        "otel_ml.kind",
        "otel_ml.model.name",
        "otel_ml.model.version",
        "otel_ml.inputs",
        "otel_ml.outputs",
        "otel_ml.outcome",
        "otel_ml.seq",
    } <= set(span.attributes or {})


def test_choice_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """The choice of a provider is logged once, at the first call."""
    caplog.set_level("INFO", logger="otel_ml.provider")
    client = Client("shop", exporter=InMemorySpanExporter())
    for _ in range(3):
        record(client, "model")
    client.close()
    assert [item.getMessage() for item in caplog.records if item.name == "otel_ml.provider"] == [
        "Spans of project 'shop' use a tracer provider of their own"
    ]


def test_spans_under_a_stranger_s_provider_change_nothing() -> None:
    """Under a provider of another make, calls work and flush succeeds."""
    client = Client("shop", tracer_provider=trace.NoOpTracerProvider())
    assert client.trace(lambda a: a)(1) == 1
    assert client.flush()
