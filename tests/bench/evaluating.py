"""Measure the overhead of `evaluate` over a bare loop: 10,000 calls of 1 ms, in alternating parts.

The CPU time per item is measured, too, because a busy machine changes it less.
"""

import statistics
import time
from collections.abc import Callable
from typing import Final

from otel_ml import Client, Dataset
from otel_ml.judges.ready import exact
from tests.bench.pace import pace
from tests.bench.sink import open_sink
from tests.bench.table import print_table, verdict

CALLS: Final = 10_000
PARTS: Final = 10
CALL_S: Final = 0.001
FLOOR: Final = 0.10


def wait(number: int) -> int:
    """Take 1 ms as a call over a network does."""
    pace(CALL_S)
    return number


def compute(number: int) -> int:
    """Take 1 ms of the processor."""
    until = time.perf_counter() + CALL_S
    while time.perf_counter() < until:
        pass
    return number


def overheads(
    function: Callable[[int], int], calls: int = CALLS, parts: int = PARTS
) -> list[float]:
    """Return the overhead of each part, as a share of the duration of its bare loop."""
    found = []
    with open_sink() as endpoint:
        client = Client("bench", endpoint=endpoint, join=False)
        for part in range(parts + 1):
            numbers = range(part * calls, part * calls + calls // parts)
            rows = [{"inputs": {"number": number}, "expected": number} for number in numbers]
            dataset = Dataset("numbers", rows)
            began = time.perf_counter()
            right = [function(number) == number for number in numbers]
            bare_s = time.perf_counter() - began
            began = time.perf_counter()
            result = client.evaluate(function, dataset, [exact])
            took_s = time.perf_counter() - began
            if sum(run.passed is True for run in result.runs) != sum(right):
                raise AssertionError("Not all calls were judged")
            if part:  # the first one loads modules
                found.append(took_s / bare_s - 1)
        client.close()
    return found


def same(number: int) -> int:
    """Take no time."""
    return number


def costs(calls: int = CALLS, parts: int = PARTS) -> list[tuple[float, float]]:
    """Return the CPU time per item in each part, in µs: of this thread, and of all threads."""
    found = []
    with open_sink() as endpoint:
        client = Client("bench", endpoint=endpoint, join=False)
        count = calls // parts
        for part in range(parts + 1):
            numbers = range(part * count, (part + 1) * count)
            rows = [{"inputs": {"number": number}, "expected": number} for number in numbers]
            dataset = Dataset("numbers", rows)
            thread_s, process_s = time.thread_time(), time.process_time()
            client.evaluate(same, dataset, [exact])
            thread_s = time.thread_time() - thread_s
            if not client.flush():
                raise AssertionError("Not all was delivered")
            process_s = time.process_time() - process_s
            if part:  # the first one loads modules
                found.append((thread_s / count * 1e6, process_s / count * 1e6))
        client.close()
    return found


def report() -> None:
    """Print the overhead of waiting calls and of computing calls, and the CPU time per item."""
    rows = []
    for name, function in (("waits", wait), ("computes", compute)):
        found = overheads(function)
        middle = statistics.median(found)
        spread = f"{min(found):.1%} to {max(found):.1%}"
        rows.append([name, f"{middle:.1%}", spread, f"{FLOOR:.0%}", verdict(middle <= FLOOR)])
    heads = ("evaluate, a call of 1 ms that", "over a bare loop", "parts", "floor", "")
    print_table(heads, rows)
    rows = []
    for name, times in zip(
        ("the calling thread", "all threads"), zip(*costs(), strict=True), strict=True
    ):
        spread = f"{min(times):.0f} to {max(times):.0f} µs"
        rows.append([name, f"{statistics.median(times):.0f} µs", spread])
    print_table(("the processor's time of an item, on", "middle", "parts"), rows)
