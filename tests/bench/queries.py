"""Measure queries over HTTP in a store of a million runs: idle, and while runs are written."""

import argparse
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from http.client import HTTPConnection
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from tests.bench.beside import Tree
from tests.bench.dataset import Dataset, Plan
from tests.bench.dataset_load import Loaded, load, send_all
from tests.bench.process import cpu_s_of, wait_idle
from tests.bench.queries_asked import Asked, make_queries
from tests.bench.queries_store import report_store
from tests.bench.table import print_table, verdict
from tests.support.collector import CollectorProcess

RUNS: Final = 1_000_000
TIMES: Final = 40
_WARM: Final = 5
_WRITTEN_A_SECOND: Final = 2_000
_AT_ONCE: Final = 500
_LONGEST_S: Final = 600
_OK: Final = 200
# Compared with another commit. With so few runs, filters by score do not fill a page.
RUNS_BESIDE: Final = 100_000
_TIMES_BESIDE: Final = 5
_TOO_FEW: Final = ("the same and a score", "tag, outcome, latency: 1 in 1,000")
# How many times longer a response may take while runs are written.
_BUSY: Final = 2

_Figures = dict[str, list[float] | str]


def report(
    runs: int = RUNS,
    folder: Path | None = None,
    only: str = "",
    *,
    written: bool = True,
    times: int = TIMES,
) -> None:
    """Measure and print.

    Args:
        runs: How many runs the store has.
        folder: Where to keep the store for reuse; None for a temporary store.
        only: Run only queries whose title contains this.
        written: Whether to measure while runs are written too, which adds to the store.
        times: How often each query runs.
    """
    with tempfile.TemporaryDirectory() as scratch:
        data_dir = folder or Path(scratch) / "data"
        loaded = load(data_dir, runs)
        collector = CollectorProcess(data_dir)
        try:
            collector.wait_ready()
            wait_idle(collector.pid)
            queries = [one for one in make_queries(collector, loaded) if only in one.title]
            idle: _Figures = {}
            cpu_ms: dict[str, float] = {}
            for one in queries:
                before_s = cpu_s_of(collector.pid)
                idle[one.title] = ask(collector, one, times)
                taken_s = cpu_s_of(collector.pid) - before_s
                cpu_ms[one.title] = taken_s / (_WARM + times) * 1e3
            memory_mb = collector.peak_mb
            busy: _Figures = {}
            if written:
                with writing(collector):
                    busy = {one.title: ask(collector, one, times) for one in queries}
            _print_queries(queries, idle, cpu_ms, busy, loaded.runs)
            if not only:
                report_store(collector, data_dir, loaded, memory_mb)
        finally:
            collector.stop()


_LOAD: Final = """
from pathlib import Path
from {module} import {month}
from tests.bench.dataset_load import load
load(Path({{folder!r}}), {runs}, {month})
"""


@cache
def _store_of(tree: Tree, code: str) -> tempfile.TemporaryDirectory[str]:
    """Load a store with a tree's code, so that no other code has changed it."""
    folder = tempfile.TemporaryDirectory()
    tree.run(code.format(folder=str(Path(folder.name) / "data")))
    return folder


def measure_beside(tree: Tree) -> Mapping[str, float]:
    """Run each query several times in a tree's collector; the store is loaded once."""
    with open_beside(tree) as (collector, loaded):
        return _ask_all(collector, loaded)


def measure_written(tree: Tree) -> Mapping[str, float]:
    """Run the same queries while 2,000 runs per second are written."""
    with open_beside(tree) as (collector, loaded), writing(collector):
        return _ask_all(collector, loaded)


@contextmanager
def open_beside(
    tree: Tree, runs: int = RUNS_BESIDE, month: type[Dataset] = Dataset, also: str = ""
) -> Iterator[tuple[CollectorProcess, Loaded]]:
    """Start a tree's collector over the store that was loaded once by that tree's code.

    Args:
        tree: The code.
        runs: How many runs the store has.
        month: What is loaded.
        also: Code that runs once after loading, with the data directory as `{folder!r}`.
    """
    loading = _LOAD.format(module=month.__module__, month=month.__name__, runs=runs)
    stored = _store_of(tree, loading + also)
    data_dir = Path(stored.name) / "data"
    with tree.serve(data_dir) as collector:
        wait_idle(collector.pid)
        yield collector, load(data_dir, runs, month)


def _ask_all(collector: CollectorProcess, loaded: Loaded) -> Mapping[str, float]:
    found = {}
    for one in make_queries(collector, loaded):
        if one.title not in _TOO_FEW:
            took_ms = ask(collector, one, _TIMES_BESIDE)
            assert not isinstance(took_ms, str), (one.title, took_ms)
            found[f"{one.title}, ms"] = statistics.median(took_ms)
    return found


def ask(
    collector: CollectorProcess, asked: Asked, times: int = TIMES, *, warm: bool = True
) -> list[float] | str:
    """Run a query many times; return milliseconds, or the response if its status is not 200.

    If `warm` is set, the first responses warm up and are not counted.
    """
    took_ms = []
    warming = _WARM if warm else 0
    connection = HTTPConnection(urlsplit(collector.endpoint).netloc, timeout=30)
    for place in range(warming + times):
        path = asked.path(place)
        started = time.perf_counter()
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
        took_ms.append((time.perf_counter() - started) * 1e3)
        if answer.status != _OK:
            return f"{answer.status} {body[:80].decode()}"
        assert asked.fits(body), (asked.title, path, body[:300])
    connection.close()
    return took_ms[warming:]


@contextmanager
def writing(collector: CollectorProcess, month: type[Dataset] = Dataset) -> Iterator[None]:
    """Send 2,000 new runs per second, evenly, during the block."""
    runs = _WRITTEN_A_SECOND * _LONGEST_S
    plan = Plan(runs, time.time_ns(), seed=time.time_ns(), days=_LONGEST_S / 86_400)
    requests = month(plan).requests(_AT_ONCE)
    ended = threading.Event()

    def work() -> None:
        due = time.perf_counter()
        for request in requests:
            send_all(collector.endpoint, iter([request]), in_flight=1)
            due += _AT_ONCE / _WRITTEN_A_SECOND
            if ended.wait(max(due - time.perf_counter(), 0)):
                return

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _print_queries(
    queries: Sequence[Asked],
    idle: _Figures,
    cpu_ms: Mapping[str, float],
    busy: _Figures,
    runs: int,
) -> None:
    rows = []
    for one in queries:
        row = [one.title, *_figures(idle[one.title], one.floor_ms), f"{cpu_ms[one.title]:.0f}"]
        if busy:
            row += _figures(busy[one.title], one.floor_ms * _BUSY)
        rows.append(row)
    heads = [f"{runs:,} runs", "p50, ms", "p95, ms", "floor, ms", "", "CPU, ms"]
    if busy:
        heads += ["while written: p50", "p95", "floor", ""]
    print_table(heads, rows)


def _figures(took_ms: Sequence[float] | str, floor_ms: float) -> list[str]:
    if isinstance(took_ms, str):
        return [took_ms, "", f"{floor_ms:.0f}", verdict(reached=False)]
    p95 = statistics.quantiles(took_ms, n=20)[-1]
    middle = statistics.median(took_ms)
    return [f"{middle:.1f}", f"{p95:.1f}", f"{floor_ms:.0f}", verdict(p95 <= floor_ms)]


def main() -> None:
    """Measure over a store that is kept."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.queries", description=__doc__)
    parser.add_argument("--data-dir", type=Path, help="loaded when it is new, and kept")
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--only", default="", help="only what has this in its title")
    parser.add_argument("--idle", action="store_true", help="do not write meanwhile")
    parser.add_argument("--times", type=int, default=TIMES, help="how often each is asked")
    given = parser.parse_args()
    written = not given.idle
    report(given.runs, given.data_dir, given.only, written=written, times=given.times)


if __name__ == "__main__":
    main()
