"""Tests of a collector that starts once with a clock far ahead of the real time."""

import json
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from google.rpc.status_pb2 import Status

from tests.support.collector import CollectorProcess, running
from tests.support.otel_ml_collector.spans import make_call
from tests.support.otel_ml_collector.wire import encode
from tests.support.program import otel_ml
from tests.support.sampling import at_night
from tests.support.waiting import wait_until

AHEAD_DAYS: Final = 500
HEADERS: Final = {"content-type": "application/x-protobuf", "x-otel-ml-project": "p"}
# Runs the program given on its command line with a shifted clock.
_LAUNCHER: Final = f"""
import runpy, sys, time
ahead_s, now_s, now_ns = {AHEAD_DAYS * 86_400}, time.time, time.time_ns
time.time, time.time_ns = lambda: now_s() + ahead_s, lambda: now_ns() + ahead_s * 10**9
sys.argv = sys.argv[3:]
runpy.run_module("otel_ml_collector", run_name="__main__", alter_sys=True)
"""


@contextmanager
def running_ahead(data_dir: Path, *arguments: str) -> Iterator[CollectorProcess]:
    launcher = [sys.executable, "-c", _LAUNCHER]
    process = CollectorProcess(data_dir, *arguments, launcher=launcher)
    try:
        process.wait_ready()
        yield process
    finally:
        process.kill()


def send(collector: CollectorProcess, number: int, ahead_s: int = 0) -> tuple[int, bytes]:
    end_ns = time.time_ns() + ahead_s * 10**9
    spans = [make_call("m", start_ns=end_ns - 1 - place, end_ns=end_ns) for place in range(number)]
    status, _, body = collector.post("/v1/traces", encode(spans), HEADERS)
    return status, body


@at_night
def test_clock_ahead(tmp_path: Path) -> None:
    """Such a collector deletes and stores nothing and warns, until somebody confirms the clock."""
    keep = ("--keep-records-days", "30")
    with running(tmp_path / "data", *keep) as collector:
        assert send(collector, 1)[0] == 200
        collector.stop()
    with running_ahead(tmp_path / "data", *keep) as collector:
        wait_until(lambda: "warning" in json.loads(collector.get_text("/readyz")))
        ready = json.loads(collector.get_text("/readyz"))
        times = re.findall(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", ready["warning"])
        assert (ready["status"], len(times)) == ("ready", 2)
        assert f"its last pass was at {times[0]}" in collector.get_text("/")
        assert ready["warning"] in collector.output
        assert len(collector.runs("p")) == 1
        for _ in range(2):
            status, body = send(collector, 1)
            message = Status.FromString(body).message
            assert (status, message[:52]) == (
                503,
                "Not stored: this machine's clock seems to be ahead: ",
            )
            assert f"behind that by about {AHEAD_DAYS} days" in message
        said = otel_ml("retention", "--confirm", "--endpoint", collector.endpoint)
        assert said.stdout.startswith("The clock of the collector at http")
        wait_until(lambda: not collector.runs("p"))
        wait_until(lambda: "deletes nothing" not in collector.get_text("/readyz"))
