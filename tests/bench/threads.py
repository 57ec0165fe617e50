"""Count threads and descriptors of a collector under writes over HTTP and gRPC, and reads.

An engine thread holds three descriptors for its statistics in ``/proc``; a connection holds one.
"""

import itertools
import os
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench.load import Load, send_load
from tests.bench.pace import pace
from tests.bench.table import print_table, verdict
from tests.support.collector import CollectorProcess, running

SECONDS: Final = 180.0
# A query has a thread for each core, and so has a merge.
MOST_THREADS: Final = 96 + 8 * (os.cpu_count() or 1)
GROWTH_THREADS: Final = 16
# Files of the parts that are being read or merged, and connections.
GROWTH_DESCRIPTORS: Final = 128
MOST_DESCRIPTORS: Final = 3 * MOST_THREADS + GROWTH_DESCRIPTORS
_PROJECT: Final = "threads"
_READERS: Final = 4
_IN_FLIGHT: Final = 8
_SPANS: Final = 128
_REST_S: Final = 0.25
_PATHS: Final = (
    *("/", f"/projects/{_PROJECT}/runs", f"/projects/{_PROJECT}/models", "/metrics"),
    *("/api/v1/projects", f"/api/v1/projects/{_PROJECT}/runs?limit=100"),
    f"/api/v1/projects/{_PROJECT}/models",
    # These run several queries at once.
    *(f"/projects/{_PROJECT}", f"/projects/{_PROJECT}/monitor/findings"),
)


@dataclass(frozen=True, slots=True)
class Held:
    """The threads and descriptors of a collector.

    Attributes:
        threads: All threads of its process.
        descriptors: All open descriptors of its process.
    """

    threads: int
    descriptors: int

    @classmethod
    def most(cls, found: "list[Held]") -> "Held":
        """Return the maximum of each."""
        return cls(max(one.threads for one in found), max(one.descriptors for one in found))


@dataclass(frozen=True, slots=True)
class Loaded:
    """The results of a load.

    Attributes:
        ready: Before the first request.
        warm: The maximum in the first third of the time.
        most: The maximum after the first third.
        rested: After the senders have ended.
        accepted: Stored spans.
        answers: Pages and API responses that were read.
        failed: Requests that failed.
    """

    ready: Held
    warm: Held
    most: Held
    rested: Held
    accepted: int
    answers: int
    failed: int

    @property
    def is_bounded(self) -> bool:
        """Whether it stays within the stated bounds and no longer grows once warm."""
        return self.most.threads <= min(
            MOST_THREADS, self.warm.threads + GROWTH_THREADS
        ) and self.most.descriptors <= min(
            MOST_DESCRIPTORS, self.warm.descriptors + GROWTH_DESCRIPTORS
        )


def measure(seconds: float = SECONDS) -> Loaded:
    """Load a fresh collector."""
    with tempfile.TemporaryDirectory() as folder, running(Path(folder) / "data") as collector:
        ready = held_by(collector.pid)
        stop = threading.Event()
        with ThreadPoolExecutor(2 + _READERS) as pool:
            loads = [
                pool.submit(send_load, Load(address, _PROJECT, _IN_FLIGHT, _SPANS, seconds))
                for address in (collector.endpoint, collector.grpc)
            ]
            readers = [pool.submit(_read, collector, stop.is_set) for _ in range(_READERS)]
            try:
                warm = _watch(collector.pid, lambda: False, seconds / 3)
                most = _watch(collector.pid, lambda: all(one.done() for one in loads))
            finally:
                stop.set()
            accepted = sum(load.result().accepted for load in loads)
            statuses = [status for reader in readers for status in reader.result()]
        rested = held_by(collector.pid)
    failed = sum(status != 200 for status in statuses)
    return Loaded(ready, warm, most, rested, accepted, len(statuses), failed)


def held_by(pid: int) -> Held:
    """Count the current threads and descriptors of a process."""
    threads, descriptors = (
        len([*Path(f"/proc/{pid}/{kind}").iterdir()]) for kind in ("task", "fd")
    )
    return Held(threads, descriptors)


def report(seconds: float = SECONDS) -> None:
    """Measure and print."""
    found = measure(seconds)
    said = verdict(found.is_bounded)
    stages = (found.ready, found.warm, found.most, found.rested)
    rows = [
        ("threads", *(str(one.threads) for one in stages), str(MOST_THREADS), said),
        ("descriptors", *(str(one.descriptors) for one in stages), str(MOST_DESCRIPTORS), said),
    ]
    heads = (f"held in {seconds:,.0f} s of load", "ready", "warm", "most", "after", "bound", "")
    print_table(heads, rows)
    print(f"{found.accepted:,} spans stored, {found.answers:,} answers, {found.failed} failed\n")


def _watch(pid: int, is_over: Callable[[], bool], seconds: float = float("inf")) -> Held:
    ends_s = time.monotonic() + seconds
    seen = [held_by(pid)]
    while not is_over() and time.monotonic() < ends_s:
        pace(_REST_S)  # the load continues
        seen = [Held.most([*seen, held_by(pid)])]
    return seen[0]


def _read(collector: CollectorProcess, is_over: Callable[[], bool]) -> list[int]:
    statuses = []
    for path in itertools.cycle(_PATHS):
        if is_over():
            break
        statuses.append(collector.status(path))
    return statuses
