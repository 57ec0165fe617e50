"""Measure resident memory over millions of calls: it must not grow with their number.

The queue length varies at random, so the program flushes every 50,000 calls, then measures.
"""

import json
import os
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from otel_ml import Client
from tests.bench.process import run_module
from tests.bench.sink import open_sink
from tests.bench.table import print_table
from tests.bench.workloads import answer

CALLS: Final = 1_000_000
WARM_CALLS: Final = 200_000
_SAMPLE_CALLS: Final = 50_000
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Memory:
    """The course of memory.

    Attributes:
        warm_mb: Resident memory after the first 200,000 calls.
        most_mb: The maximum before any flush, with queued spans.
        slope_mb: Growth per million calls after that, by least squares.
        dropped: Spans that were not delivered.
    """

    warm_mb: float
    most_mb: float
    slope_mb: float
    dropped: int


def resident_mb() -> float:
    """Return the current resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * _PAGE_BYTES / 1e6


def measure(calls: int = CALLS) -> Memory:
    """Make calls in a tight loop that exports to a sink, in a separate process."""
    with open_sink() as endpoint:
        return Memory(**json.loads(run_module("memory", calls, endpoint)))


def report(calls: int = CALLS) -> None:
    """Measure and print."""
    found = measure(calls)
    heads = ("tight loop", f"after {WARM_CALLS:,}, MB", "most, MB", "MB a million", "dropped")
    row = (
        *(f"{calls:,} calls", f"{found.warm_mb:.1f}", f"{found.most_mb:.1f}"),
        *(f"{found.slope_mb:+.2f}", f"{found.dropped:,}"),
    )
    print_table(heads, [row])


def slope(calls: Sequence[int], sizes_mb: Sequence[float]) -> float:
    """Return the growth per million calls."""
    millions = [number / 1e6 for number in calls]
    return statistics.linear_regression(millions, sizes_mb).slope


def _run(calls: str, endpoint: str) -> None:
    client = Client("bench", endpoint=endpoint)
    model = client.trace(answer)
    numbers: list[int] = []
    sizes_mb: list[float] = []
    most_mb = 0.0
    for number in range(1, int(calls) + 1):
        model(number, "hello")
        if number % _SAMPLE_CALLS == 0:
            most_mb = max(most_mb, resident_mb())
            client.flush(60)
            if number >= WARM_CALLS:
                numbers.append(number)
                sizes_mb.append(resident_mb())
    dropped = sum(client.stats().lost.values())
    print(json.dumps(asdict(Memory(sizes_mb[0], most_mb, slope(numbers, sizes_mb), dropped))))


if __name__ == "__main__":
    _run(*sys.argv[1:])
