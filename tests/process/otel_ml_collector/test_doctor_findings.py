"""Cases of tests/unit/otel_ml_collector/test_doctor_findings.py that start processes."""

import os
import socket
import sys
from pathlib import Path

import pytest

from otel_ml_collector.cli.doctor import (
    DoctorLine,
    find_listener,
    find_targets,
)
from tests.unit.otel_ml_collector.test_doctor_findings import PAGE


@pytest.mark.skipif(sys.platform != "linux", reason="read from /proc")
def test_listener() -> None:
    """The process that listens on a port is named, over IPv4 and IPv6; a free port has none."""
    name = Path("/proc/self/comm").read_text().strip()
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with socket.create_server((host, 0), family=family) as server:
            port = server.getsockname()[1]
            assert find_listener(port) == f"{name} (process {os.getpid()})"
        assert find_listener(port) == ""


def test_targets() -> None:
    """The doctor names each OTLP destination, and reports one that does not answer."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        there = f"127.0.0.1:{server.getsockname()[1]}"
        with socket.create_server(("127.0.0.1", 0)) as other:
            away = f"127.0.0.1:{other.getsockname()[1]}"
        environment = {"OTEL_ML_FORWARD_OTLP": f"a=http://{there},b=grpc://{away}"}
        assert list(find_targets(PAGE, environment)) == [
            DoctorLine("ok", "forward", f"OTLP is forwarded to a at {there}"),
            DoctorLine(
                "warn",
                "forward",
                f"OTLP is forwarded to b at {away}, which does not answer: "
                "[Errno 111] Connection refused",
                "start it, or correct forward_otlp; until then requests wait or are dropped",
            ),
        ]
    assert list(find_targets("http://far.example:4318", environment)) == []
    assert list(find_targets(PAGE, {"OTEL_ML_FORWARD_OTLP": "nonsense"})) == []
