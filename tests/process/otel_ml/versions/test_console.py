"""Cases of tests/unit/otel_ml/versions/test_console.py that start processes."""

import ast
import json
import linecache
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Final

import pytest

from tests.unit.otel_ml.versions.test_console import EXPECTED, SESSION, numbered


@pytest.fixture(autouse=True)
def _no_lines_are_left() -> Iterator[None]:
    yield
    for name in [name for name in linecache.cache if name.startswith("<ipython-input-")]:
        del linecache.cache[name]


SETUP: Final = """
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from otel_ml import Client
exporter = InMemorySpanExporter()
client = Client("shop", exporter=exporter)
"""


REPORT: Final = """
flushed = client.flush()
import json
key = "otel_ml.model.version"
print(json.dumps([span.attributes[key] for span in exporter.get_finished_spans()]))
"""


@pytest.mark.parametrize("script", [False, True], ids=["console", "after a script"])
def test_real_console_has_its_versions(tmp_path: Path, script: bool) -> None:
    """Functions typed into ``python -i`` get the expected versions, with and without a script."""
    (tmp_path / "script.py").write_text("")
    typed = [f"{text}\ncalled = model('x')\n" for text in SESSION]
    statements = [
        ast.unparse(statement)
        for text in [SETUP, *typed, REPORT]
        for statement in ast.parse(dedent(text)).body
    ]
    result = subprocess.run(
        [sys.executable, "-i", "-q", *(["script.py"] if script else [])],
        input="\n\n".join([*statements, ""]),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=180,
        check=True,
    )
    assert "Traceback" not in result.stderr
    assert numbered(json.loads(result.stdout)) == EXPECTED
