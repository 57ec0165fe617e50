"""Measure ordinary traffic: CPU of the collector, bytes written, files in the data folder."""

import math
import os
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench.beside import Tree
from tests.bench.load import Load, send_load
from tests.bench.process import cpu_s_of, wait_idle
from tests.bench.table import print_table, verdict
from tests.support.collector import CollectorProcess

SECONDS: Final = 60
_SENDERS_WAIT_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Traffic:
    """The traffic of several services.

    Attributes:
        requests_per_s: Requests per second of all senders.
        spans: Spans per request.
        cpu: Maximum CPU of the collector, in per cent of one core; infinite without a floor.
        mb_per_s: Maximum megabytes written per second; infinite without a floor.
        is_full: Whether the spans are of several scopes, and traces come in parts. Otherwise they
            are short model calls with a score.
    """

    requests_per_s: int
    spans: int
    cpu: float = math.inf
    mb_per_s: float = math.inf
    is_full: bool = False

    @property
    def title(self) -> str:
        several = " of several scopes" if self.is_full else ""
        spans_per_s = self.requests_per_s * self.spans
        return f"{self.requests_per_s} requests/s, {spans_per_s} spans/s{several}"


TRAFFIC: Final = (Traffic(3, 1, 35, 0.5), Traffic(10, 30, 60, 1.5))
SEVERAL: Final = Traffic(10, 30, is_full=True)


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of traffic.

    Attributes:
        cpu: CPU of the collector, user and system, in per cent of one core.
        mb_per_s: Megabytes that the collector wrote to disk, per second.
        files: Files in the data folder at the end.
        mb: Their size.
        answer_ms: Median response time of a sender.
    """

    cpu: float
    mb_per_s: float
    files: int
    mb: float
    answer_ms: float


def measure(traffic: Traffic, seconds: float, launcher: tuple[str, ...] = ()) -> Cost:
    """Send to a fresh collector that is otherwise idle."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        collector = CollectorProcess(data, launcher=launcher)
        try:
            collector.wait_ready()
            wait_idle(collector.pid)
            senders = round(traffic.requests_per_s * _SENDERS_WAIT_S)
            load = Load(
                collector.endpoint,
                "traffic",
                senders,
                traffic.spans,
                seconds,
                every_s=_SENDERS_WAIT_S,
                is_full=traffic.is_full,
                is_short=not traffic.is_full,
            )
            cpu_s, written = cpu_s_of(collector.pid), _written(collector.pid)
            sent = send_load(load)
            cpu_s, written = cpu_s_of(collector.pid) - cpu_s, _written(collector.pid) - written
            sizes = _sizes(data)
        finally:
            collector.kill()
    return Cost(
        cpu_s / sent.took_s * 100,
        written / sent.took_s / 1e6,
        len(sizes),
        sum(sizes) / 1e6,
        statistics.median(sent.waits_s) * 1e3,
    )


def _sizes(folder: Path) -> list[int]:
    """Return the size of each file, except files that the engine deletes meanwhile."""
    sizes = []
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                sizes.append((Path(parent) / name).stat().st_size)
    return sizes


def _written(pid: int) -> int:
    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("write_bytes"))


def measure_beside(tree: Tree, among: Sequence[Traffic] = TRAFFIC) -> Mapping[str, float]:
    """Measure a tree for a minute with each traffic."""
    found = {}
    for traffic in among:
        cost = measure(traffic, SECONDS, tuple(tree.launcher))
        found[f"{traffic.title}: CPU, % of a core"] = cost.cpu
        found[f"{traffic.title}: written, MB/s"] = cost.mb_per_s
        found[f"{traffic.title}: files"] = cost.files
        found[f"{traffic.title}: size of the files, MB"] = cost.mb
        found[f"{traffic.title}: answer, p50 ms"] = cost.answer_ms
    return found


def report(seconds: float = SECONDS) -> None:
    """Measure and print."""
    heads = (
        *("traffic", "CPU, % of a core", "floor", "", "written, MB/s", "floor", ""),
        *("files", "MB", "answer, p50"),
    )
    rows = []
    for traffic in TRAFFIC:
        cost = measure(traffic, seconds)
        rows.append(
            (
                *(traffic.title, f"{cost.cpu:.0f}", f"≤ {traffic.cpu:.0f}"),
                *(verdict(cost.cpu <= traffic.cpu), f"{cost.mb_per_s:.2f}"),
                *(f"≤ {traffic.mb_per_s}", verdict(cost.mb_per_s <= traffic.mb_per_s)),
                *(f"{cost.files:,}", f"{cost.mb:.0f}", f"{cost.answer_ms:.0f} ms"),
            )
        )
    print_table(heads, rows)
