"""Measure memory, files and disk of a collector under steady load with reads, alerts, deletions.

Files that merges and deletions replace stay on disk for 8 to 40 s. They must stay within a bound,
however long the load lasts.
"""

import itertools
import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

from tests.bench.load import Load, send_load
from tests.bench.pace import pace
from tests.bench.table import print_table, verdict
from tests.bench.threads import held_by
from tests.support.collector import CollectorProcess, running
from tests.support.load import PROTOBUF, make_request

SECONDS: Final = 900.0
_SPANS_PER_S: Final = 300
_SENDERS: Final = 10
_LOADED: Final = "sustained"
_SHORT_LIVED: Final = "short-lived"
_RULES: Final = 5
_SAMPLE_S: Final = 5.0
_READ_S: Final = 0.5
_DELETE_S: Final = 20.0
# By then the last replaced files are deleted.
_SETTLE_S: Final = 60.0
# deploy/prometheus/rules.yml alerts above this plus the live tables.
_REPLACED_MB: Final = 1_000.0
# The last replaced files may not have been scanned yet.
_SETTLED_MB: Final = 64.0
_MEMORY_MB: Final = 1_200.0
_PATHS: Final = (
    *("/", "/metrics", f"/projects/{_LOADED}", f"/projects/{_LOADED}/runs"),
    f"/projects/{_LOADED}/monitor/findings",
    f"/api/v1/projects/{_LOADED}/stats",
    f"/api/v1/projects/{_LOADED}/runs?limit=100",
    "/api/v1/storage",
)


@dataclass(frozen=True, slots=True)
class Footprint:
    """Resource usage at one moment, or the maximum of each figure over time.

    Attributes:
        files: Files in the data directory; hard links count once.
        disk_mb: Their size.
        live_mb: Size of the tables, without replaced files.
        replaced_mb: Size of replaced files. A file that two parts share counts in both.
    """

    memory_mb: float = 0.0
    threads: float = 0.0
    descriptors: float = 0.0
    files: float = 0.0
    disk_mb: float = 0.0
    live_mb: float = 0.0
    replaced_mb: float = 0.0

    def most(self, other: "Footprint") -> "Footprint":
        """Return the larger of each figure."""
        return Footprint(
            *(max(getattr(self, one.name), getattr(other, one.name)) for one in fields(self))
        )


@dataclass(frozen=True, slots=True)
class Sustained:
    """The results of a load.

    Attributes:
        before: Before the first span.
        most: The maximum of each figure under the load.
        after: At the end of the load.
        settled: A minute later.
        accepted: Stored spans.
        reads: Pages and API responses that were read.
        deletions: Number of deletions.
        failed: Reads and deletions that failed.
        alert_windows: Windows of alert rules that were evaluated.
    """

    before: Footprint
    most: Footprint
    after: Footprint
    settled: Footprint
    accepted: int
    reads: int
    deletions: int
    failed: int
    alert_windows: int

    @property
    def replaced_bound_mb(self) -> float:
        """The maximum size of replaced files."""
        return _REPLACED_MB + self.after.live_mb

    @property
    def is_bounded(self) -> bool:
        """Whether replaced files and memory stay within their bounds."""
        return (
            self.most.replaced_mb <= self.replaced_bound_mb
            and self.settled.replaced_mb <= _SETTLED_MB
            and self.most.memory_mb <= _MEMORY_MB
        )


def measure(seconds: float = SECONDS, settle_s: float = _SETTLE_S) -> Sustained:
    """Load a fresh collector."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "data"
        with running(folder) as collector:
            _add_rules(collector)
            before = _measure_footprint(collector, folder)
            stop = threading.Event()
            with ThreadPoolExecutor(3) as pool:
                load = pool.submit(
                    send_load,
                    Load(
                        collector.endpoint,
                        _LOADED,
                        _SENDERS,
                        _SPANS_PER_S // _SENDERS,
                        seconds,
                        every_s=1.0,
                        is_short=True,
                    ),
                )
                reads = pool.submit(_read, collector, stop.is_set)
                deletions = pool.submit(_delete, collector, stop.is_set)
                most = before
                try:
                    while not load.done():
                        most = most.most(_measure_footprint(collector, folder))
                        pace(_SAMPLE_S)
                finally:
                    stop.set()
                accepted = load.result().accepted
                statuses = [*reads.result(), *deletions.result()]
            after = _measure_footprint(collector, folder)
            pace(settle_s)  # the files that were replaced last are deleted
            settled = _measure_footprint(collector, folder)
            windows = _read_metrics(collector).get("otel_ml_alert_windows_total", 0.0)
        return Sustained(
            before,
            most.most(after),
            after,
            settled,
            accepted,
            len(reads.result()),
            len(deletions.result()),
            sum(status not in {200, 202} for status in statuses),
            int(windows),
        )


def report(seconds: float = SECONDS) -> None:
    """Measure and print."""
    found = measure(seconds)
    stages = (found.before, found.most, found.after, found.settled)
    titles = {
        "memory_mb": ("resident memory, MB", f"{_MEMORY_MB:,.0f}"),
        "threads": ("threads", ""),
        "descriptors": ("open files", ""),
        "files": ("files on disk", ""),
        "disk_mb": ("bytes on disk, MB", ""),
        "live_mb": ("live tables, MB", ""),
        "replaced_mb": ("replaced files, MB", f"{found.replaced_bound_mb:,.0f}"),
    }
    rows = [
        (title, *(f"{getattr(one, name):,.0f}" for one in stages), bound)
        for name, (title, bound) in titles.items()
    ]
    heads = (
        f"{_SPANS_PER_S} spans/s for {seconds:,.0f} s",
        *("before", "most", "at the end", "a minute later", "bound"),
    )
    print_table(heads, rows)
    load = os.getloadavg()[0]
    print(
        f"{found.accepted:,} spans stored, {found.reads:,} reads, {found.deletions} deletions, "
        f"{found.failed} failed, {found.alert_windows:,} windows of alert rules; load average "
        f"{load:.1f}: {verdict(found.is_bounded)}\n"
    )


def _add_rules(collector: CollectorProcess) -> None:
    for number in range(_RULES):
        rule = {"when": f"error_share > 0.{number + 1}", "window": "5m"}
        target = f"{collector.endpoint}/api/v1/projects/{_LOADED}/alerts/rule-{number}"
        headers = {"content-type": "application/json"}
        request = Request(target, json.dumps(rule).encode(), headers, method="PUT")
        with urlopen(request, timeout=60) as answer:
            assert answer.status == 200


def _measure_footprint(collector: CollectorProcess, folder: Path) -> Footprint:
    held, metrics = held_by(collector.pid), _read_metrics(collector)
    sizes = _list_sizes(folder)
    return Footprint(
        collector.resident_mb,
        held.threads,
        held.descriptors,
        len(sizes),
        sum(sizes) / 1e6,
        sum(value for name, value in metrics.items() if name.startswith("otel_ml_store_bytes{"))
        / 1e6,
        metrics.get("otel_ml_store_replaced_bytes", 0.0) / 1e6,
    )


def _read_metrics(collector: CollectorProcess) -> Mapping[str, float]:
    lines = collector.get_text("/metrics").splitlines()
    pairs = (line.rpartition(" ") for line in lines if line and not line.startswith("#"))
    return {name: float(value) for name, _, value in pairs}


def _list_sizes(folder: Path) -> list[int]:
    """List the sizes of all files, each once: parts that a deletion rewrote share files."""
    sizes: dict[int, int] = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                status = (Path(parent) / name).lstat()
            except FileNotFoundError:  # it was replaced in the meantime
                continue
            sizes[status.st_ino] = status.st_size
    return list(sizes.values())


def _read(collector: CollectorProcess, is_over: Callable[[], bool]) -> list[int]:
    statuses = []
    for path in itertools.cycle(_PATHS):
        if is_over():
            break
        statuses.append(collector.status(path))
        pace(_READ_S)  # users read, too
    return statuses


def _delete(collector: CollectorProcess, is_over: Callable[[], bool]) -> list[int]:
    """Delete the newest run and a new project, alternating."""
    statuses, due_s = list[int](), time.monotonic() + _READ_S
    while not is_over():
        pace(_READ_S)
        if time.monotonic() < due_s:
            continue
        due_s = time.monotonic() + _DELETE_S
        runs = collector.get(f"/projects/{_LOADED}/runs", limit=1)["runs"]
        statuses += [
            _ask_to_delete(collector, f"{_LOADED}/runs/{quote(run['run_id'])}") for run in runs
        ]
        body = make_request(_SHORT_LIVED, 200).SerializeToString()
        if collector.post("/v1/traces", body, PROTOBUF)[0] == 200:
            statuses.append(_ask_to_delete(collector, _SHORT_LIVED))
    return statuses


def _ask_to_delete(collector: CollectorProcess, path: str) -> int:
    request = Request(f"{collector.endpoint}/api/v1/projects/{path}", method="DELETE")
    try:
        with urlopen(request, timeout=90) as answer:
            status: int = answer.status
    except HTTPError as error:
        error.close()
        status = error.code
    return status
