"""Time from the command to the line that says that the collector is ready."""

import tempfile
import time
from pathlib import Path
from typing import Final

from tests.bench.spread import spread
from tests.bench.table import print_table
from tests.support.collector import CollectorProcess

ROUNDS: Final = 5


def measure() -> list[float]:
    """Start a collector on the same data several times; seconds each, the first one left out."""
    times_s = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(ROUNDS + 1):
            started = time.perf_counter()
            collector = CollectorProcess(Path(folder) / "data")
            try:
                collector.wait_ready()
                times_s.append(time.perf_counter() - started)
            finally:
                collector.stop()
    return times_s[1:]


def report() -> None:
    """Measure and print."""
    print_table(("otel-ml serve", "after"), [("ready", spread(measure(), " s"))])
