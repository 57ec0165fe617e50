"""The Node.js record service in docs/how-to/records.md is started, killed and restarted."""

import base64
import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.support.collector import CollectorProcess, running
from tests.support.folders import ROOT
from tests.support.load import PROTOBUF, make_request, run_ids
from tests.support.waiting import wait_until

PAGE: Final = ROOT / "docs/how-to/records.md"
PROTO: Final = ROOT / "proto/otel_ml_collector/v1/records.proto"
PROGRAM: Final = re.compile(r"^```js\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.fixture
def program(node: str, tmp_path: Path) -> list[str]:
    """Return the command that runs the program from the docs."""
    (tmp_path / "node_modules").symlink_to(ROOT / "tests/support/node/node_modules")
    [text] = PROGRAM.findall(PAGE.read_text())
    (tmp_path / "backend.mjs").write_text(text)
    return [node, str(tmp_path / "backend.mjs"), str(PROTO), str(tmp_path / "records.jsonl")]


@contextmanager
def serving(program: list[str], port: int = 0) -> Iterator[int]:
    """Start the program, yield its port, and kill it at the end."""
    process = subprocess.Popen(
        [*program, f"127.0.0.1:{port}"], stdout=subprocess.PIPE, text=True, errors="replace"
    )
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline().removeprefix("ready: "))
    finally:
        process.kill()
        process.wait(30)
        process.stdout.close()


def send(collector: CollectorProcess, number: int) -> set[str]:
    request = make_request("node", number)
    collector.deliver(request.SerializeToString(), PROTOBUF)
    return set(run_ids(request))


def hex_of(text: str) -> str:
    return base64.b64decode(text).hex()


def stored(path: Path) -> set[str]:
    """Return the run ids in its file, ignoring a line cut off by a kill."""
    runs = set()
    for line in path.read_text().splitlines():
        if line.startswith('{"into":"runs"') and line.endswith("}}"):
            run = json.loads(line)["record"]
            runs.add(f"{hex_of(run['trace_id'])}-{hex_of(run['span_id'])}")
    return runs


def test_backend_of_the_docs(program: list[str], tmp_path: Path) -> None:
    """The docs' Node.js service has every run, including those recorded while it was down."""
    file = tmp_path / "records.jsonl"
    with serving(program) as port:
        setting = f"node=grpc://127.0.0.1:{port}"
        with running(tmp_path / "data", "--forward-records", setting) as collector:
            sent = send(collector, 500)
            wait_until(lambda: sent <= stored(file))
    with running(tmp_path / "data", "--forward-records", setting) as collector:
        sent |= send(collector, 500)
        with serving(program, port):
            wait_until(lambda: sent <= stored(file))
    assert stored(file) == sent
