"""Cases of tests/unit/otel_ml/test_tracer.py that start processes."""

from pathlib import Path

import pytest

from tests.support.otel_ml.scripts import ask_script


@pytest.fixture(autouse=True)
def _no_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED", raising=False)


FORKING = """
import json, os
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from otel_ml import Client

exporter = InMemorySpanExporter()
provider = TracerProvider(shutdown_on_exit=False)
provider.add_span_processor(SimpleSpanProcessor(exporter))
client = Client("shop", ARGUMENTS)
call = client.trace(name="ours")(lambda: 1)
call()
if os.fork():
    os.wait()
else:
    call()
    assert client.flush()
    provider.get_tracer("host").start_span("theirs").end()
    ours, theirs = exporter.get_finished_spans()[-2:]
    found = [span.resource.attributes.get("service.instance.id") for span in (ours, theirs)]
    print(json.dumps([ours.name, theirs.name, found[0] == found[1]]), flush=True)
    os._exit(0)
"""


@pytest.mark.parametrize(
    "arguments",
    ["tracer_provider=provider", "exporter=exporter, join=False"],
    ids=["joined", "own"],
)
def test_forked_child_names_itself(tmp_path: Path, arguments: str) -> None:
    """In a forked child, runs have the resource that the SDK created for the child."""
    found = ask_script(tmp_path, FORKING.replace("ARGUMENTS", arguments))
    assert found == ["ours", "theirs", True]
