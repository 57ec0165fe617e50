"""Which provider spans go through; the global one can be set once, so each case is a process."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_ml import Client
from tests.otel_ml.otlp_sink import Sink, closed_address, open_sink
from tests.otel_ml.scripts import ask_script

# Sets a global provider that keeps its spans, and tells where the spans of a client went.
PREAMBLE = """
import json
from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from otel_ml import Client

service = InMemorySpanExporter()
ours = InMemorySpanExporter()

def names(exporter):
    return sorted(span.name for span in exporter.get_finished_spans())

def serve(provider, client):
    provider.add_span_processor(SimpleSpanProcessor(service))
    trace.set_tracer_provider(provider)
    with trace.get_tracer("service").start_as_current_span("request"):
        client.trace(name="model")(lambda: 1)()
    flushed = client.flush()
    print(json.dumps({
        "service": names(service),
        "ours": names(ours),
        "kept": trace.get_tracer_provider() is provider,
        "flushed": bool(flushed),
    }))
"""


def serve(directory: Path, text: str, **variables: str) -> Any:
    return ask_script(directory, PREAMBLE + text, **variables)


def test_sdk_s_own_provider_is_joined(tmp_path: Path) -> None:
    """With a global provider of the SDK's, runs go where the service's spans go, and only there."""
    assert serve(tmp_path, "serve(TracerProvider(), Client('shop'))") == {
        "service": ["model", "request"],
        "ours": [],
        "kept": True,
        "flushed": True,
    }


def test_joined_runs_are_in_the_service_s_trace(tmp_path: Path) -> None:
    """A joined run is a child of the service's span."""
    found = ask_script(
        tmp_path,
        PREAMBLE
        + """
serve(TracerProvider(), Client("shop"))
model, request = service.get_finished_spans()
print(json.dumps(model.parent.span_id == request.context.span_id))
""",
    )
    assert found is True


def test_join_can_be_refused(tmp_path: Path) -> None:
    """With join=False runs go through a provider of our own."""
    assert serve(
        tmp_path, "serve(TracerProvider(), Client('shop', exporter=ours, join=False))"
    ) == {"service": ["request"], "ours": ["model"], "kept": True, "flushed": True}


def test_own_provider_still_links_to_the_service(tmp_path: Path) -> None:
    """Through a provider of our own a run is still a child of the service's span."""
    found = ask_script(
        tmp_path,
        PREAMBLE
        + """
serve(TracerProvider(), Client("shop", exporter=ours, join=False))
[model], [request] = ours.get_finished_spans(), service.get_finished_spans()
print(json.dumps(model.parent.span_id == request.context.span_id))
""",
    )
    assert found is True


def test_subclass_is_not_joined(tmp_path: Path) -> None:
    """A global provider of a class of its own is left alone."""
    assert serve(
        tmp_path,
        """
class Own(TracerProvider):
    pass

serve(Own(), Client("shop", exporter=ours))
""",
    ) == {"service": ["request"], "ours": ["model"], "kept": True, "flushed": True}


@pytest.mark.parametrize("package", ["langfuse", "logfire", "sentry_sdk"])
def test_provider_of_another_backend_is_not_joined(tmp_path: Path, package: str) -> None:
    """A global provider that feeds one of the known backends is left alone."""
    assert serve(
        tmp_path,
        f"""
processor = type("Processor", (SpanProcessor,), {{"__module__": "{package}.x"}})
provider = TracerProvider()
provider.add_span_processor(processor())
serve(provider, Client("shop", exporter=ours))
""",
    ) == {"service": ["request"], "ours": ["model"], "kept": True, "flushed": True}


def test_joined_client_sends_its_own_spans_directly(tmp_path: Path) -> None:
    """With an exporter of its own a joined client sends its runs there too, and no other span."""
    assert serve(tmp_path, "serve(TracerProvider(), Client('shop', exporter=ours))") == {
        "service": ["model", "request"],
        "ours": ["model"],
        "kept": True,
        "flushed": True,
    }


def test_joined_client_sends_to_a_named_endpoint(tmp_path: Path, sink: Sink) -> None:
    """With an endpoint named a joined client sends its runs there too, and no other span."""
    found = serve(
        tmp_path, "serve(TracerProvider(), Client('shop'))", OTEL_ML_ENDPOINT=sink.address
    )
    assert found["service"] == ["model", "request"]
    assert [span["name"] for span in sink.spans] == ["model"]


def test_provider_that_comes_later_is_joined(tmp_path: Path) -> None:
    """A global provider that is set after the client was made is joined at the first call."""
    assert serve(
        tmp_path,
        """
client = Client("shop")
traced = client.trace(lambda: 1)
serve(TracerProvider(), client)
""",
    )["service"] == ["model", "request"]


def test_global_provider_is_never_set(tmp_path: Path) -> None:
    """Without a global provider none is set, and the service may still set its own."""
    found = ask_script(
        tmp_path,
        """
        import json
        from opentelemetry import trace
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
        from otel_ml import Client

        before = trace.get_tracer_provider()
        exporter = InMemorySpanExporter()
        client = Client("shop", exporter=exporter)
        client.trace(lambda: 1)()
        client.flush()
        same = trace.get_tracer_provider() is before
        provider = TracerProvider()
        trace.set_tracer_provider(provider)
        print(json.dumps([same, trace.get_tracer_provider() is provider]))
        """,
    )
    assert found == [True, True]


def names(exporter: InMemorySpanExporter) -> list[str]:
    return [span.name for span in exporter.get_finished_spans()]


def record(client: Client, name: str) -> None:
    client.trace(name=name)(lambda: 1)()
    assert client.flush()


@pytest.fixture
def provider() -> TracerProvider:
    return TracerProvider(shutdown_on_exit=False)


def test_given_provider_is_used(provider: TracerProvider) -> None:
    """A given provider is used as it is."""
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    record(Client("shop", tracer_provider=provider), "model")
    assert names(exporter) == ["model"]


def test_clients_of_one_provider_keep_apart(provider: TracerProvider) -> None:
    """Two clients on one provider send their own runs only, each to its own place."""
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
    """Closing a client does not shut a provider down that is not its own."""
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
    """Our own provider's resource and scope carry the project."""
    span = own_run()
    assert span.resource.attributes["otel_ml.project"] == "shop"
    assert span.instrumentation_scope is not None
    assert span.instrumentation_scope.name == "otel_ml"
    assert span.instrumentation_scope.version == version("otel-ml")
    assert dict(span.instrumentation_scope.attributes or {}) == {"otel_ml.project": "shop"}


def test_project_is_the_service_that_nobody_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our own provider's service is the project where the environment names none."""
    monkeypatch.delenv("OTEL_SERVICE_NAME", raising=False)
    monkeypatch.delenv("OTEL_RESOURCE_ATTRIBUTES", raising=False)
    assert own_run().resource.attributes["service.name"] == "shop"


def test_resource_of_the_environment_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Service name and resource attributes of the environment are on our own provider."""
    monkeypatch.setenv("OTEL_SERVICE_NAME", "checkout")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=staging")
    resource = own_run().resource.attributes
    assert resource["service.name"] == "checkout"
    assert resource["deployment.environment.name"] == "staging"


def test_sampler_of_the_environment_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A decorated call follows the sampler of the environment."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    exporter = InMemorySpanExporter()
    client = Client("shop", exporter=exporter)
    record(client, "model")
    client.close()
    assert names(exporter) == []


def test_opened_run_is_never_sampled_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that was opened by hand is recorded under any sampler of our own provider."""
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
    """A limit on the number of attributes costs tags, never a core attribute."""
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
    """The first call says which provider was chosen, later ones say nothing."""
    caplog.set_level("INFO", logger="otel_ml.provider")
    client = Client("shop", exporter=InMemorySpanExporter())
    for _ in range(3):
        record(client, "model")
    client.close()
    assert [item.getMessage() for item in caplog.records if item.name == "otel_ml.provider"] == [
        "Spans of project 'shop' use a tracer provider of their own"
    ]


def test_spans_under_a_stranger_s_provider_change_nothing() -> None:
    """Under a provider that is not the SDK's calls work and flush answers."""
    client = Client("shop", tracer_provider=trace.NoOpTracerProvider())
    assert client.trace(lambda a: a)(1) == 1
    assert client.flush()


def test_addresses_differ() -> None:
    """The closed address of these tests is none of an open server."""
    with open_sink() as sink:
        assert closed_address() != sink.address
