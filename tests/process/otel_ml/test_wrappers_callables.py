"""Cases of tests/unit/otel_ml/test_wrappers_callables.py that start processes."""

import functools
import math
import pickle
import subprocess
import sys
from pathlib import Path

from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_ml import Client


def test_pickle_needs_no_client(tmp_path: Path) -> None:
    """Unpickled in a process without a client of the project, the result is the bare object."""
    pickled = tmp_path / "part"
    pickled.write_bytes(pickle.dumps(client_of("elsewhere").trace(functools.partial(math.pow, 2))))
    script = "import pickle, sys; f = pickle.load(open(sys.argv[1], 'rb')); print(type(f), f(3))"
    done = subprocess.run(
        [sys.executable, "-c", script, str(pickled)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "<class 'functools.partial'> 8.0\n"


def client_of(project: str) -> Client:
    return Client(project, exporter=InMemorySpanExporter())
