"""Simulate hours without a collector: nothing listens, calls go to the spool, nothing is lost."""

import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from otel_ml import Client
from tests.bench.memory import resident_mb
from tests.bench.pace import pace
from tests.bench.process import start_module
from tests.bench.sink import count, open_sink
from tests.bench.table import print_table, verdict
from tests.bench.workloads import answer
from tests.support.ports import free_port

SECONDS: Final = 120
CALLS_PER_S: Final = 1_000
MEMORY_MB: Final = 50
_TICK_S: Final = 0.01
_SETTLE_S: Final = 300.0


@dataclass(frozen=True, slots=True)
class Outage:
    """The cost of an outage.

    Attributes:
        calls: Calls that were made while nothing listened.
        delivered: Distinct spans at the sink that was started then.
        growth_mb: Peak resident memory until all is delivered, minus that after a second.
        spool_mb: Size of the spool at the end of the outage.
        delivery_s: From the sink's start to the last span.
    """

    calls: int
    delivered: int
    growth_mb: float
    spool_mb: float
    delivery_s: float


def measure(seconds: int = SECONDS) -> Outage:
    """Call with nothing at the endpoint, then open a sink there and count."""
    port = free_port()
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as spool,
        start_module("outage", seconds, f"http://127.0.0.1:{port}", spool) as program,
    ):
        assert program.stdout is not None
        assert program.stdout.readline() == "made\n", "the program ended"
        spool_mb = sum(file.stat().st_size for file in Path(spool).rglob("*.spool")) / 1e6
        with open_sink(keep=True, port=port) as endpoint:
            began_s = time.monotonic()
            calls, growth_mb = json.loads(program.stdout.readline())
            delivery_s = time.monotonic() - began_s
            _, different = count(endpoint)
    return Outage(calls, different, growth_mb, spool_mb, delivery_s)


def report(seconds: int = SECONDS) -> None:
    """Measure and print."""
    found = measure(seconds)
    lost = found.calls - found.delivered
    heads = (
        *("no collector, with a spool", "calls", "lost", "", "memory grew by, MB", "floor", ""),
        *("spool, MB", "delivered in, s"),
    )
    row = (
        *(f"{seconds} s", f"{found.calls:,}", f"{lost:,}", verdict(lost == 0)),
        *(f"{found.growth_mb:.1f}", str(MEMORY_MB), verdict(found.growth_mb < MEMORY_MB)),
        *(f"{found.spool_mb:.1f}", f"{found.delivery_s:.1f}"),
    )
    print_table(heads, [row])


def _run(seconds: str, endpoint: str, spool: str) -> None:
    client = Client("bench", endpoint=endpoint, spool=spool)
    model = client.trace(answer)
    began_s, calls, baseline_mb, most_mb = time.monotonic(), 0, 0.0, 0.0
    while (gone_s := time.monotonic() - began_s) < float(seconds):
        for _ in range(int(gone_s * CALLS_PER_S) - calls):
            model(calls, "hello")
            calls += 1
        if gone_s >= 1:
            baseline_mb = baseline_mb or resident_mb()
            most_mb = max(most_mb, resident_mb())
        pace(_TICK_S)
    print("made", flush=True)
    while client.stats().queued and time.monotonic() - began_s < float(seconds) + _SETTLE_S:
        client.flush(1.0)
        most_mb = max(most_mb, resident_mb())
    print(json.dumps([calls, most_mb - baseline_mb]), flush=True)


if __name__ == "__main__":
    _run(*sys.argv[1:])
