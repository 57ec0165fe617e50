"""Measure the memory of an idle collector: just ready, and a while after its first request."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench.pace import pace
from tests.bench.spread import spread
from tests.bench.table import print_table, verdict
from tests.support.collector import CollectorProcess
from tests.support.load import PROTOBUF, make_request

ROUNDS: Final = 3
MEMORY_MB: Final = 450
_REST_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Idle:
    """Resident memory when ready, and some seconds after the first request and page."""

    ready_mb: float
    rested_mb: float


def measure() -> Idle:
    """Start a collector, use it once, then leave it idle."""
    with tempfile.TemporaryDirectory() as folder:
        collector = CollectorProcess(Path(folder) / "data")
        try:
            collector.wait_ready()
            ready_mb = collector.resident_mb
            body = make_request("idle", 1).SerializeToString()
            status, _, _ = collector.post("/v1/traces", body, PROTOBUF)
            assert (status, collector.status("/")) == (200, 200)
            pace(_REST_S)  # the collector must be idle
            return Idle(ready_mb, collector.resident_mb)
        finally:
            collector.kill()


def report(rounds: int = ROUNDS) -> None:
    """Measure and print."""
    found = [measure() for _ in range(rounds)]
    worst_mb = max(one.rested_mb for one in found)
    heads = ("otel-ml serve, idle", "ready", f"{_REST_S:.0f} s after a request", "floor, MB", "")
    row = (
        *("resident", spread([one.ready_mb for one in found], " MB", 0)),
        *(spread([one.rested_mb for one in found], " MB", 0), str(MEMORY_MB)),
        verdict(worst_mb < MEMORY_MB),
    )
    print_table(heads, [row])
