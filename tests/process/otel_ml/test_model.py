"""Cases of tests/unit/otel_ml/test_model.py that start processes."""

import subprocess
import sys

from tests.support.otel_ml.recording import Recording


def test_version_is_the_same_in_every_process(recording: Recording) -> None:
    """Another process computes the same version."""
    program = """
from otel_ml import Client
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
client = Client("shop", exporter=InMemorySpanExporter())
print(client.model("churn", {"a": {"b": 1.5}}, b"abc").version)
"""
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert found == recording.client.model("churn", {"a": {"b": 1.5}}, b"abc").version
