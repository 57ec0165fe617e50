"""Slow cases of tests/process/otel_ml_collector/cli/test_export.py."""

import signal
import subprocess
from pathlib import Path

import pytest

from tests.process.otel_ml_collector.cli.test_export import (
    INTERRUPTED,
    PROJECT,
    RUNS,
    _Breaks,
    breaking,
)
from tests.support.collector import CollectorProcess
from tests.support.load import PROTOBUF, make_request
from tests.support.otel_ml_collector.cli.program import PROGRAM, environment
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def endpoint(collector: CollectorProcess) -> str:
    """Return the address of a collector with a project of runs."""
    body = make_request(PROJECT, RUNS).SerializeToString()
    collector.deliver(body, PROTOBUF)
    return collector.endpoint


def test_interrupt_leaves_no_part(tmp_path: Path) -> None:
    """Ctrl-C ends the export with status 130, without output and without a partial file."""
    file = tmp_path / "runs.jsonl"
    with breaking() as endpoint:
        process = subprocess.Popen(
            [*PROGRAM, "export", "--project", PROJECT, "--output", str(file)],
            env=environment(endpoint),
            stderr=subprocess.PIPE,
        )
        wait_until(lambda: _Breaks.asked.is_set() and any(tmp_path.iterdir()))
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert (process.returncode, said, list(tmp_path.iterdir())) == (INTERRUPTED, b"", [])
