"""Rotel can receive spans from the SDK and send them on to otel-ml's collector."""

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.process.end_to_end.test_otlp_drain import half_sent, is_sent_away
from tests.process.end_to_end.test_python_exporters import (
    Protocol,
    answer_question,
    expected_chat,
    expected_evaluation,
    expected_line,
    log_about,
    make_exporter,
    make_log_exporter,
    run_id,
    tracing,
)
from tests.support.collector import CollectorProcess
from tests.support.folders import ROOT
from tests.support.waiting import wait_until

PROJECT = "behind rotel"
QUICKLY = ("--otlp-exporter-retry-initial-backoff", "100ms")


@dataclass(frozen=True, slots=True)
class Agent:
    """The addresses of a running agent: `endpoint` over HTTP, `grpc` over gRPC."""

    endpoint: str
    grpc: str


def find_program() -> Path:
    found = list((ROOT / ".venv-rotel").glob("lib/python3*/site-packages/rotel/rotel-agent"))
    if not found:
        pytest.skip("There is no .venv-rotel: make .venv-rotel/stamp")
    return found[0]


def free_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


@contextmanager
def running(folder: Path, *sending: str) -> Iterator[Agent]:
    """Run an agent until the block ends."""
    grpc, http = free_address(), free_address()
    command = [
        *(str(find_program()), "start"),
        *("--pid-file", str(folder / "pid"), "--log-file", str(folder / "log")),
        *("--otlp-grpc-endpoint", grpc, "--otlp-http-endpoint", http, "--exporter", "otlp"),
        *("--otlp-exporter-custom-headers", f"x-otel-ml-project={PROJECT}"),
        *sending,
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: is_open(grpc) and is_open(http))
            yield Agent(f"http://{http}", grpc)
        finally:
            process.terminate()
            process.wait(30)


def is_open(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with socket.socket() as client:
        return client.connect_ex((host, int(port))) == 0


def sending_over(protocol: str, collector: CollectorProcess) -> list[str]:
    endpoint = f"http://{collector.grpc}" if protocol == "grpc" else collector.endpoint
    return ["--otlp-exporter-endpoint", endpoint, "--otlp-exporter-protocol", protocol]


def sent_away(collector: CollectorProcess, transport: str) -> float:
    """Return how many requests the collector has refused so far."""
    labels = f'answer="unavailable",signal="traces",transport="{transport}"'
    lines = collector.get_text("/metrics").splitlines()
    [count] = [line for line in lines if line.startswith(f"otel_ml_requests_total{{{labels}}}")]
    return float(count.rpartition(" ")[2])


@pytest.mark.parametrize("compression", ["gzip", "none"])
@pytest.mark.parametrize(("inward", "onward"), [("grpc", "http"), ("http", "grpc")])
def test_rotel(
    collector: CollectorProcess, tmp_path: Path, inward: Protocol, onward: str, compression: str
) -> None:
    """A run, its log record and its evaluation arrive through rotel unchanged."""
    start_ns = time.time_ns()
    sending = [*sending_over(onward, collector), "--otlp-exporter-compression", compression]
    with running(tmp_path, *sending) as agent:
        with tracing(make_exporter(agent, inward)) as tracer:
            ask, chat = answer_question(tracer, start_ns)
        log_about(make_log_exporter(agent, inward), chat, start_ns)

        def found() -> Any:
            return collector.get(f"/runs/{run_id(chat)}")

        wait_until(lambda: bool(found().get("scores")) and bool(found().get("logs")))
    assert found() == {
        **expected_chat(ask, chat, start_ns, PROJECT),
        **expected_evaluation(start_ns),
        "logs": [expected_line(start_ns)],
    }


@pytest.mark.parametrize(("inward", "onward"), [("grpc", "http"), ("http", "grpc")])
def test_sent_away(tmp_path: Path, inward: Protocol, onward: str) -> None:
    """Rotel keeps requests that a stopping collector refuses, and sends them to the next one."""
    places = ("--http", free_address(), "--grpc", free_address())
    collector = CollectorProcess(tmp_path / "data", *places)
    try:
        collector.wait_ready()
        sending = [*sending_over(onward, collector), *QUICKLY]
        with running(tmp_path, *sending) as agent:
            with half_sent(collector, b"\n" * 100):
                collector.ask_to_end()
                wait_until(lambda: is_sent_away(collector))
                before = sent_away(collector, onward)
                start_ns = time.time_ns()
                with tracing(make_exporter(agent, inward)) as tracer:
                    ask, chat = answer_question(tracer, start_ns)
                wait_until(lambda: sent_away(collector, onward) > before)
            assert collector.wait_end() == 0
            collector.restart()
            wait_until(lambda: len(collector.runs(PROJECT)) == 1)
        found = collector.get(f"/runs/{run_id(chat)}")
        assert found == expected_chat(ask, chat, start_ns, PROJECT)
    finally:
        collector.kill()
