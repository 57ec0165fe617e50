"""Measure the time from the command to the log line that the collector is ready."""

import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.bench.beside import Tree
from tests.bench.spread import spread
from tests.bench.table import print_table
from tests.support.collector import CollectorProcess

ROUNDS: Final = 5


def measure(launcher: Sequence[str] = ()) -> list[float]:
    """Start a collector on the same data several times; return seconds, without the first start."""
    times_s = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(ROUNDS + 1):
            started = time.perf_counter()
            collector = CollectorProcess(Path(folder) / "data", launcher=launcher)
            try:
                collector.wait_ready()
                times_s.append(time.perf_counter() - started)
            finally:
                collector.stop()
    return times_s[1:]


def measure_beside(tree: Tree) -> Mapping[str, float]:
    """Start the collector of a tree several times."""
    return {"ready, ms": statistics.median(measure(tree.launcher)) * 1e3}


def report() -> None:
    """Measure and print."""
    print_table(("otel-ml serve", "after"), [("ready", spread(measure(), " s"))])
