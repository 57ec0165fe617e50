"""Measure a store of a million runs: disk, memory, a restart, and a full export."""

import subprocess
import time
from pathlib import Path
from typing import Final
from urllib.parse import quote
from urllib.request import urlopen

from tests.bench.dataset import PROJECTS, project_name
from tests.bench.dataset_load import Loaded
from tests.bench.table import print_table, verdict
from tests.support.collector import CollectorProcess

_DISK: Final = 0.45
_MEMORY_MB: Final = 1_200
_RUNS_A_SECOND: Final = 30_000
_RESTART_S: Final = 2.0
_CHUNK: Final = 2**20


def report_store(
    collector: CollectorProcess, data_dir: Path, loaded: Loaded, asked_mb: float
) -> None:
    """Measure and print.

    Args:
        collector: The collector over the data directory; it is restarted.
        data_dir: The directory.
        loaded: The contents of the directory.
        asked_mb: Peak memory of the collector during the queries.
    """
    rate, export_mb = _export(collector, loaded.runs)
    restart_s = _restart(collector)
    share = _size(data_dir / "store") / loaded.raw_bytes
    rows = (
        ("loading, runs/s", f"{loaded.runs / loaded.took_s:,.0f}", "", ""),
        ("raw, bytes a run", f"{loaded.raw_bytes / loaded.runs:,.0f}", "", ""),
        ("disk ÷ raw", f"{share:.2f}", f"{_DISK}", verdict(share <= _DISK)),
        (
            "memory while asked, MB",
            f"{asked_mb:,.0f}",
            f"{_MEMORY_MB:,}",
            verdict(asked_mb <= _MEMORY_MB),
        ),
        (
            "export to Parquet, runs/s",
            f"{rate:,.0f}",
            f"{_RUNS_A_SECOND:,}",
            verdict(rate >= _RUNS_A_SECOND),
        ),
        (
            "memory after the export, MB",
            f"{export_mb:,.0f}",
            f"{_MEMORY_MB:,}",
            verdict(export_mb <= _MEMORY_MB),
        ),
        (
            "restart to ready, s",
            f"{restart_s:.2f}",
            f"{_RESTART_S}",
            verdict(restart_s <= _RESTART_S),
        ),
    )
    print_table(("the store", "measured", "floor", ""), rows)


def _export(collector: CollectorProcess, runs: int) -> tuple[float, float]:
    """Export every project to Parquet; return runs per second, and peak memory until then."""
    started = time.perf_counter()
    for number in range(PROJECTS):
        path = f"/api/v1/projects/{quote(project_name(number))}/export?format=parquet"
        with urlopen(collector.endpoint + path, timeout=600) as answer:
            while answer.read(_CHUNK):
                pass
    return runs / (time.perf_counter() - started), collector.peak_mb


def _restart(collector: CollectorProcess) -> float:
    collector.stop()
    started = time.perf_counter()
    collector.restart()
    return time.perf_counter() - started


def _size(folder: Path) -> int:
    done = subprocess.run(["du", "-sb", str(folder)], check=True, capture_output=True, text=True)
    return int(done.stdout.split()[0])
