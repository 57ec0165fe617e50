"""The collector as a process: when it refuses to start, and how it stops."""

import re
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
import urllib3

from otel_ml import Client
from tests.support.collector import CollectorProcess, running
from tests.support.sampling import at_night, sampled
from tests.support.waiting import wait_until


def serve(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a collector that is expected to exit on its own."""
    return subprocess.run(
        [sys.executable, "-m", "otel_ml_collector", "serve", *arguments],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


@at_night
def test_second_collector_on_the_same_data(collector: CollectorProcess, tmp_path: Path) -> None:
    """A second collector on the same data directory exits with one line that names the first."""
    held = tmp_path / "held"
    first = CollectorProcess(held)
    try:
        first.wait_ready()
        done = serve("--data-dir", str(held), "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0")
        assert done.returncode == 2
        assert done.stderr.splitlines() == [
            f"otel-ml: The data directory {held} is in use by another collector "
            f"(process {first.pid}); stop it, or choose another --data-dir"
        ]
    finally:
        first.kill()


def test_lean(collector: CollectorProcess) -> None:
    """A collector that has stored and exported runs has loaded neither numpy nor pandas."""
    client = Client("lean", endpoint=collector.endpoint)
    client.trace(lambda: "said")()
    client.close()
    path = f"{collector.endpoint}/api/v1/projects/lean/export?format=parquet"
    assert urllib3.request("GET", path).data.startswith(b"PAR1")
    mapped = Path(f"/proc/{collector.pid}/maps").read_text()
    assert "pyarrow" in mapped
    assert "numpy" not in mapped
    assert "pandas" not in mapped
    assert "ERROR" not in collector.output


@at_night
@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_taken_port(tmp_path: Path, protocol: str) -> None:
    """If a port is taken, the collector exits with one line that names it and how to change it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        free = {"http": "127.0.0.1:0", "grpc": "127.0.0.1:0", protocol: address}
        done = serve(
            *("--data-dir", str(tmp_path / "data")),
            *("--http", free["http"], "--grpc", free["grpc"], "--log-level", "error"),
        )
    assert done.returncode == 2
    [line] = [line for line in done.stderr.splitlines() if line.startswith("otel-ml:")]
    assert address in line
    assert f"--{protocol} HOST:PORT" in line
    assert "Traceback" not in done.stderr


@sampled(1)
@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["--http", "127.0.0.1"],
            "otel-ml: Invalid --http '127.0.0.1': expected HOST:PORT with a port from 0 to 65535",
        ),
        (
            ["--http", "127.0.0.1:0", "--store", "mysql://somewhere"],
            "otel-ml: Invalid --store 'mysql://somewhere': expected chdb:///absolute/path or "
            "clickhouse://user:password@host:port/database",
        ),
    ],
)
def test_bad_setting(arguments: list[str], line: str) -> None:
    """An invalid setting ends the start with one line that describes valid values."""
    done = serve("--grpc", "127.0.0.1:0", *arguments)
    assert (done.returncode, done.stderr.splitlines()) == (2, [line])


def test_sigterm_drains(started_collector: CollectorProcess) -> None:
    """A collector that gets SIGTERM exits with status 0 and logs a clean stop."""
    assert started_collector.stop() == 0
    wait_until(
        lambda: "Stopped. Everything that was acknowledged" in started_collector.output,
        about=lambda: started_collector.output,
    )
    assert "Stopping: requests in progress are finished" in started_collector.output


@at_night
def test_slow_clients_do_not_delay_the_end(started_collector: CollectorProcess) -> None:
    """A collector stops within 10 s, whatever its clients do."""
    place = urllib3.util.parse_url(started_collector.endpoint)
    page = b"GET /static/vendor/htmx.min.js HTTP/1.1\r\nHost: localhost\r\n\r\n"
    requests = (
        b"POST /v1/traces HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nhalf of it",
        b"GET /api/v1/projects/p/live HTTP/1.1\r\nHost: localhost\r\n\r\n",
        page * 200,  # more than the socket buffers hold, and nobody reads it
    )
    with ExitStack() as stack:
        for request in requests:
            connection = stack.enter_context(socket.socket())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            connection.connect((place.host, place.port))
            connection.sendall(request)
        assert started_collector.status("/healthz") == 200
        asked_s = time.monotonic()
        assert started_collector.stop() == 0
        assert time.monotonic() - asked_s < 10


@at_night
def test_start_on_a_full_disk(tmp_path: Path) -> None:
    """A collector that starts on a nearly full disk warns, with sizes in MB and a remedy."""
    with running(tmp_path, "--min-free-disk-bytes", str(2**62)) as process:
        assert re.search(
            r"No data is accepted: The disk has [\d,]+\.\d MB free: expected at least "
            r"4,611,686,018,427\.4 MB\. Free some disk space, or lower min_free_disk_bytes\. Until "
            r"then senders get 503 and should retry\n",
            process.output,
        )
        assert process.status("/readyz") == 503


def test_health(collector: CollectorProcess) -> None:
    """A collector that can store data reports that it is ready."""
    assert collector.get_text("/readyz") == '{"status":"ready"}'
