"""Check that a temporarily full or read-only disk loses nothing acknowledged."""

import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from tests.bench.pace import pace
from tests.bench.table import print_table, verdict
from tests.support.collector import CollectorProcess
from tests.support.disk import Disk, open_disk
from tests.support.senders import LATER, OK, Senders, all_run_ids

Kind = Literal["full", "read-only"]
SECONDS: Final = 10
MEMORY_MB: Final = 1_200
_DISK_MEBIBYTES: Final = 512
_PROJECT: Final = "trouble"
_TICK_S: Final = 0.25
_RUNS: Final = 500
_REPAIRED_S: Final = 20.0


@dataclass(frozen=True, slots=True)
class Trouble:
    """The outcome of disk trouble.

    Attributes:
        answers: Responses to requests during the trouble, with their counts.
        odd: Responses, then or later, after which an OTLP client would not retry.
        acknowledged: Runs of requests that finally got a success response.
        lost: Acknowledged runs that the list does not have.
        twice: Rows in the list beyond the first of each run.
        peak_mb: Peak resident memory of the collector.
        slowest_s: The longest wait for a response.
        recovered_s: From the end of the trouble to the next acknowledged request.
        ready: Status of ``/readyz`` before, during and after.
    """

    answers: Mapping[str, int]
    odd: Sequence[str]
    acknowledged: int
    lost: int
    twice: int
    peak_mb: float
    slowest_s: float
    recovered_s: float
    ready: tuple[int, ...]

    @property
    def later(self) -> int:
        """How many requests were asked to retry later while the store had trouble."""
        return sum(self.answers[answer] for answer in LATER)

    @property
    def is_right(self) -> bool:
        """Whether requests were asked to retry, and nothing was lost, duplicated or unbounded."""
        wrong = self.odd or self.lost or self.twice or self.ready != (200, 503, 200)
        return not wrong and self.later > 0 and self.peak_mb < MEMORY_MB


def measure(kind: Kind, seconds: float = SECONDS) -> Trouble:
    """Load a collector, make its disk full or read-only for a while, then list its runs."""
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        open_disk(Path(folder), _DISK_MEBIBYTES) as disk,
    ):
        # No margin, so that the engine itself runs out of space.
        bound = ("--min-free-disk-bytes", "0")
        collector = CollectorProcess(disk.data_dir, *bound, launcher=disk.launcher)
        try:
            collector.wait_ready()
            return _try(kind, seconds, collector, disk)
        finally:
            collector.kill()


def report(seconds: float = SECONDS) -> None:
    """Measure and print, with a line for each trouble."""
    heads = (
        *("a disk that is", "told to come again", "acknowledged runs", "lost", "twice"),
        *("slowest answer, s", "back after, s", "memory, most, MB", "floor", ""),
    )
    rows = []
    for kind in ("full", "read-only"):
        found = measure(kind, seconds)
        counts = (f"{found.later:,}", f"{found.acknowledged:,}", f"{found.lost}", f"{found.twice}")
        times = (f"{found.slowest_s:.1f}", f"{found.recovered_s:.1f}")
        memory = (f"{found.peak_mb:.0f}", f"{MEMORY_MB:,}", verdict(found.is_right))
        rows.append((f"{kind} for {seconds:.0f} s", *counts, *times, *memory))
    print_table(heads, rows)


def _try(kind: Kind, seconds: float, collector: CollectorProcess, disk: Disk) -> Trouble:
    ready = [collector.status("/readyz")]
    senders = Senders(collector, _PROJECT)
    senders.wait_for(_RUNS)
    before = senders.begin_counting()
    _begin(kind, disk, collector.pid)
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s:
        _begin(kind, disk, collector.pid)
        pace(_TICK_S)
    ready.append(collector.status("/readyz"))
    answers = senders.begin_counting()
    ended_s = time.monotonic()
    disk.free(collector.pid) if kind == "full" else disk.unprotect()
    senders.wait_for(1)
    recovered_s = time.monotonic() - ended_s
    senders.wait_for(_RUNS)
    senders.drain()
    ready.append(collector.status("/readyz"))
    told = before + answers + senders.answers
    expected = set(all_run_ids(senders.acknowledged))
    listed = Counter(str(run["run_id"]) for run in _list(collector))
    return Trouble(
        answers=answers,
        odd=sorted(told.keys() - OK - LATER),
        acknowledged=len(expected),
        lost=len(expected - listed.keys()),
        twice=listed.total() - len(listed),
        peak_mb=collector.peak_mb,
        slowest_s=senders.slowest_s,
        recovered_s=recovered_s,
        ready=tuple(ready),
    )


def _list(collector: CollectorProcess) -> list[dict[str, Any]]:
    """List all runs, once the engine has repaired failed writes."""
    until_s = time.monotonic() + _REPAIRED_S
    while True:
        try:
            return collector.runs(_PROJECT)
        except AssertionError:
            if time.monotonic() > until_s:
                raise
            pace(_TICK_S)


def _begin(kind: Kind, disk: Disk, pid: int) -> None:
    if kind == "full":
        disk.fill(pid)
    else:
        disk.protect()
