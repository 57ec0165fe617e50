"""Cases of tests/unit/otel_ml/test_provider.py that start processes."""

from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider

from tests.support.otel_ml.otlp_sink import Sink, closed_address, open_sink
from tests.support.otel_ml.scripts import ask_script

# Sets a global provider that keeps its spans, and prints where the spans of a client went.
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
    """With a global provider of the SDK's class, runs go only where the service's spans go."""
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
    """With join=False, runs use otel-ml's own provider."""
    assert serve(
        tmp_path, "serve(TracerProvider(), Client('shop', exporter=ours, join=False))"
    ) == {"service": ["request"], "ours": ["model"], "kept": True, "flushed": True}


def test_own_provider_still_links_to_the_service(tmp_path: Path) -> None:
    """With otel-ml's own provider, a run is still a child of the service's span."""
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
    """A global provider of a custom class is not joined."""
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
    """A global provider that exports to one of the known backends is not joined."""
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
    """With a custom exporter, a joined client also sends its runs there, and no other spans."""
    assert serve(tmp_path, "serve(TracerProvider(), Client('shop', exporter=ours))") == {
        "service": ["model", "request"],
        "ours": ["model"],
        "kept": True,
        "flushed": True,
    }


def test_joined_client_sends_to_a_named_endpoint(tmp_path: Path, sink: Sink) -> None:
    """With an endpoint, a joined client also sends its runs there, and no other spans."""
    found = serve(
        tmp_path, "serve(TracerProvider(), Client('shop'))", OTEL_ML_ENDPOINT=sink.address
    )
    assert found["service"] == ["model", "request"]
    assert [span["name"] for span in sink.spans] == ["model"]


def test_provider_that_comes_later_is_joined(tmp_path: Path) -> None:
    """A global provider that is set after the client was created is joined at the first call."""
    assert serve(
        tmp_path,
        """
client = Client("shop")
traced = client.trace(lambda: 1)
serve(TracerProvider(), client)
""",
    )["service"] == ["model", "request"]


def test_global_provider_is_never_set(tmp_path: Path) -> None:
    """otel-ml never sets a global provider, so that the service can set its own."""
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


@pytest.fixture
def provider() -> TracerProvider:
    return TracerProvider(shutdown_on_exit=False)


def test_addresses_differ() -> None:
    """The closed address of these tests is not that of an open server."""
    with open_sink() as sink:
        assert closed_address() != sink.address
