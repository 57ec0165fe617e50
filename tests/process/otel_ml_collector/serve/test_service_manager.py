"""Tests of start and shutdown under a service manager, with real collectors."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.process.contract.test_roads import send
from tests.support.clickhouse import clickhouse
from tests.support.collector import CollectorProcess, running
from tests.support.load import PROTOBUF, make_request, run_ids
from tests.support.ports import free_port
from tests.support.sampling import at_night


@contextmanager
def manager(path: Path) -> Iterator[socket.socket]:
    """Listen for notifications as a service manager does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(path))
        listener.settimeout(60)
        yield listener


def test_notifications(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The collector reports when it is ready and when it stops."""
    path = tmp_path / "notify"
    monkeypatch.setenv("NOTIFY_SOCKET", str(path))
    with manager(path) as listener, running(tmp_path / "data") as collector:
        assert listener.recv(1_000) == b"READY=1\nSTATUS=Ready"
        assert collector.status("/readyz") == 200
        collector.ask_to_end()
        assert listener.recv(1_000) == b"STOPPING=1"
        collector.wait_end()


def test_hangup(tmp_path: Path) -> None:
    """A hangup signal does not end the collector."""
    with running(tmp_path / "data") as collector:
        os.kill(collector.pid, signal.SIGHUP)
        request = make_request("p", 3)
        send(collector, request)
        assert {run["run_id"] for run in collector.runs("p")} == {*run_ids(request)}


@at_night
def test_store_comes_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A collector that starts before its server waits for the server, and then accepts spans."""
    path = tmp_path / "notify"
    monkeypatch.setenv("NOTIFY_SOCKET", str(path))
    with clickhouse(tmp_path / "server") as server, manager(path) as listener:
        url = server.url(server.make_database())
        server.kill()
        http = free_port()
        collector = CollectorProcess(
            tmp_path / "none", "--store", url, "--http", f"127.0.0.1:{http}"
        )
        collector.endpoint = f"http://127.0.0.1:{http}"
        try:
            waiting = b"STATUS=The store cannot be reached; the collector waits for it"
            assert listener.recv(1_000) == waiting
            assert collector.status("/healthz") == 200
            assert collector.status("/readyz") == 503
            request = make_request("p", 3)
            status, headers, _ = collector.post("/v1/traces", request.SerializeToString(), PROTOBUF)
            assert (status, headers["retry-after"]) == (503, "5")
            server.restart()
            collector.wait_ready()
            assert listener.recv(1_000) == b"READY=1\nSTATUS=Ready"
            send(collector, request)
            assert {run["run_id"] for run in collector.runs("p")} == {*run_ids(request)}
            assert "geheim" not in collector.output
        finally:
            collector.kill()


@at_night
@pytest.mark.parametrize("wait_s", ["0", "1"])
def test_gives_up(wait_s: str) -> None:
    """After the maximum wait a collector exits with status 1, so that its manager restarts it."""
    store = f"clickhouse://otel@127.0.0.1:{free_port()}/default"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "otel_ml_collector", "serve", "--store", store),
            *("--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--store-wait-s", wait_s),
        ],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("otel-ml: The store at clickhouse://otel@127.0.0.1:")
    assert "Traceback" not in done.stderr
