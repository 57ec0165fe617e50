"""Measure how soon a run can be read after its span was posted, and after a call returned."""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from http.client import HTTPConnection
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.bench.beside import Tree
from tests.bench.dataset_load import send
from tests.bench.pace import pace
from tests.bench.payload import Template
from tests.bench.spread import spread
from tests.bench.table import print_table
from tests.support.folders import ROOT

TIMES: Final = 15
_WARM: Final = 3
_OK: Final = 200
# Long enough to count as a pause: runs in quick succession are batched for a second.
_APART_S: Final = 1.2
_AGAIN_S: Final = 0.002
# A program with the client of a tree. It calls once for each line of its input, and prints when
# each call returned.
_CALLS: Final = """
import sys, time
from otel_ml import Client, current_run
client = Client("seen", endpoint=sys.argv[1])

@client.trace
def answer(text):
    return current_run().id

for _ in sys.stdin:
    run = answer("question")
    print(time.time_ns(), run, flush=True)
"""


def measure(tree: Tree) -> dict[str, list[float]]:
    """Time both with a tree's collector on a new store; return milliseconds by action."""
    with (
        tempfile.TemporaryDirectory() as folder,
        tree.serve(Path(folder) / "data") as collector,
    ):
        connection = HTTPConnection(urlsplit(collector.endpoint).netloc, timeout=30)
        posted = [_post(connection) for _ in range(_WARM + TIMES)]
        called = list(_call(connection, collector.endpoint, tree))
    return {"posted, then read": posted[_WARM:], "returned, then read": called[_WARM:]}


def measure_beside(tree: Tree) -> Mapping[str, float]:
    """Return the medians."""
    return {f"{what}, ms": statistics.median(took) for what, took in measure(tree).items()}


def report() -> None:
    """Measure and print."""
    found = measure(Tree("now", ROOT))
    print_table(
        ("a run is", "after"), [(what, spread(took, " ms", 0)) for what, took in found.items()]
    )


def _post(connection: HTTPConnection) -> float:
    pace(_APART_S)
    body = Template("seen", 1).fresh()
    [span] = ExportTraceServiceRequest.FromString(body).resource_spans[0].scope_spans[0].spans
    started = time.perf_counter()
    send(connection, body)
    _wait(connection, f"/api/v1/runs/{span.trace_id.hex()}-{span.span_id.hex()}")
    return (time.perf_counter() - started) * 1e3


def _call(connection: HTTPConnection, endpoint: str, tree: Tree) -> Iterator[float]:
    command = [*tree.launcher, sys.executable, "-c", _CALLS, endpoint]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, text=True, bufsize=1, cwd=tree.folder
    ) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        for _ in range(_WARM + TIMES):
            pace(_APART_S)
            program.stdin.write("call\n")
            returned_ns, run = program.stdout.readline().split()
            _wait(connection, f"/api/v1/runs/{run}")
            yield (time.time_ns() - int(returned_ns)) / 1e6


def _wait(connection: HTTPConnection, path: str) -> None:
    """Poll until a run that has ended is returned."""
    for _ in range(int(10 / _AGAIN_S)):
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
        if answer.status == _OK and b'"running"' not in body:
            return
        pace(_AGAIN_S)
    raise AssertionError(path)
