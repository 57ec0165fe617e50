"""Rotel can receive spans that otel-ml's collector forwards, and send them on."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.nightly.interop.test_rotel import find_program, free_address, is_open
from tests.process.end_to_end.test_otlp_forward import forwarding, numbers, send
from tests.support.collector import CollectorProcess, running
from tests.support.load import make_request, run_ids
from tests.support.waiting import wait_until


@contextmanager
def rotel(folder: Path, places: tuple[str, str], onward: CollectorProcess) -> Iterator[None]:
    """Run an agent at the given gRPC and HTTP addresses, and kill it at the end of the block."""
    grpc, http = places
    command = [
        *(str(find_program()), "start", "--exporter", "otlp"),
        *("--pid-file", str(folder / "pid"), "--log-file", str(folder / "log")),
        *("--otlp-grpc-endpoint", grpc, "--otlp-http-endpoint", http),
        *("--otlp-exporter-endpoint", onward.endpoint, "--otlp-exporter-protocol", "http"),
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: is_open(grpc) and is_open(http))
            yield
        finally:
            process.kill()
            process.wait(30)
            (folder / "pid").unlink(missing_ok=True)


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_killed(collector: CollectorProcess, tmp_path: Path, scheme: str) -> None:
    """Forwarded spans pass through rotel, including spans sent while rotel was killed."""
    places = (free_address(), free_address())
    endpoint = f"{scheme}://{places[scheme == 'http']}"
    with running(tmp_path / "first", *forwarding(rotel={"endpoint": endpoint})) as first:
        project = f"behind {scheme}"
        requests = [make_request(project, 3) for _ in range(4)]
        bodies = [request.SerializeToString() for request in requests]
        with rotel(tmp_path, places, collector):
            assert send(first, bodies[0]) == 200
            wait_until(lambda: len(collector.runs(project)) == 3)
        for body in bodies[1:]:
            assert send(first, body) == 200
        wait_until(lambda: bool(numbers(first, "forward_retries_total")))
        with rotel(tmp_path, places, collector):
            wait_until(lambda: len(collector.runs(project)) == 12)
        found = sorted(run["run_id"] for run in collector.runs(project))
        assert found == sorted(run_id for request in requests for run_id in run_ids(request))
        assert numbers(first, "forwarded_total") == {'signal="traces",target="rotel"': 4}
        assert numbers(first, "forward_dropped_total") == {}
