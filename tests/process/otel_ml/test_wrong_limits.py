"""A limit variable with a value that makes the OpenTelemetry SDK raise on import."""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize("value", ["-1", "unlimited"])
def test_sdk_that_raises_on_import_is_loaded(value: str) -> None:
    """A limit that makes the SDK raise on import loses no runs."""
    program = """
import os, otel_ml
from otel_ml.testing import record
client = otel_ml.Client("limits")
with record(client) as runs:
    client.trace(lambda x: x)(1)
print(len(runs.runs), os.environ["OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT"])
"""
    environment = {**os.environ, "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": value}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == f"1 {value}\n"
    assert f"Invalid OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT '{value}'" in done.stderr
