"""Measure a run's cost on a ClickHouse server and a collector; extrapolate to many runs per day.

The server is the HTTP front of chDB, so its CPU is the engine's plus some Python: more than a real
server's. Disk is the size of the active parts once they are merged.
"""

import math
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from otel_ml_collector.store.schema import TABLE_NAMES
from tests.bench.dataset import Dataset, Plan
from tests.bench.dataset_load import send_all
from tests.bench.process import cpu_s_of
from tests.bench.table import print_table
from tests.support.clickhouse import clickhouse
from tests.support.collector import running

RUNS: Final = 50_000
# A day of runs in each partition: a month would spread few runs over many parts.
_DAYS: Final = 1
_DAY_S: Final = 86_400
_MONTH_HOURS: Final = 730
_GB: Final = 10**9
# Tables with a line of their own; the others are small.
_LARGE: Final = ("payloads", "runs", "trace_index")
RATES: Final = (10**6, 10**7, 10**8, 10**9)


@dataclass(frozen=True, slots=True)
class Measured:
    """The average cost of a run.

    Attributes:
        raw_bytes: Size on the wire, before compression.
        disk_bytes: Size on one replica, by table; ``others`` for the small ones.
        collector_us: CPU of the collector.
        server_us: CPU of the server, including merges.
    """

    raw_bytes: float
    disk_bytes: Mapping[str, float]
    collector_us: float
    server_us: float

    @property
    def disk(self) -> float:
        """Bytes on one replica."""
        return sum(self.disk_bytes.values())


@dataclass(frozen=True, slots=True)
class Assumed:
    """Assumptions that are not measured: replace them with your own.

    Attributes:
        days: Retention of runs and payloads.
        replicas: Replicas of each shard.
        peak: The busiest hour over the mean of the day.
        busy: Target CPU utilisation of a machine in that hour.
        full: Target disk utilisation of a machine; merges need the rest.
        cores: Cores of a server.
        disk_gb: Disk of a server.
        core_hour: USD for a core with its memory.
        gb_month: USD for a gigabyte of disk.
    """

    days: int = 30
    replicas: int = 2
    peak: float = 3
    busy: float = 0.5
    full: float = 0.7
    cores: int = 32
    disk_gb: int = 8_000
    core_hour: float = 0.05
    gb_month: float = 0.08


@dataclass(frozen=True, slots=True)
class Size:
    """The resources that a number of runs per day needs.

    Attributes:
        collector_cores: Cores of all collectors.
        shards: How many shards, each with a separate store.
        servers: Shards times replicas.
        disk_gb: Disk of all replicas, with room for merges.
        usd_month: Total cost.
    """

    collector_cores: int
    shards: int
    servers: int
    disk_gb: int
    usd_month: int


def size_of(runs_a_day: int, measured: Measured, assumed: Assumed) -> Size:
    """Compute the resources that a number of runs per day needs."""
    peak_rate = runs_a_day / _DAY_S * assumed.peak
    collector_cores = math.ceil(peak_rate * measured.collector_us / 1e6 / assumed.busy)
    server_cores = peak_rate * measured.server_us / 1e6 / assumed.busy
    replica_gb = runs_a_day * assumed.days * measured.disk / _GB / assumed.full
    shards = math.ceil(max(server_cores / assumed.cores, replica_gb / assumed.disk_gb))
    servers = shards * assumed.replicas
    disk_gb = math.ceil(replica_gb * assumed.replicas)
    # A single shard needs whole cores, but not a whole server.
    cores = collector_cores + (
        servers * assumed.cores
        if shards > 1
        else assumed.replicas * max(math.ceil(server_cores), 2)
    )
    usd = cores * _MONTH_HOURS * assumed.core_hour + disk_gb * assumed.gb_month
    return Size(collector_cores, shards, servers, disk_gb, round(usd))


def measure(runs: int = RUNS) -> Measured:
    """Load runs through a collector into a server and return the cost of both."""
    with (
        tempfile.TemporaryDirectory() as folder,
        clickhouse(Path(folder) / "server") as server,
        running(Path(folder) / "none", "--store", server.url()) as collector,
    ):
        dataset = Dataset(Plan(runs, time.time_ns(), days=_DAYS))
        before = cpu_s_of(collector.pid), cpu_s_of(server.pid)
        send_all(collector.endpoint, dataset.requests())
        for table in sorted(TABLE_NAMES):
            server.command(f"OPTIMIZE TABLE {table} FINAL")
        took = cpu_s_of(collector.pid) - before[0], cpu_s_of(server.pid) - before[1]
        told = server.command(
            "SELECT table, sum(bytes_on_disk) FROM system.parts "
            "WHERE active AND database = 'default' GROUP BY table"
        )
    pairs = (line.split("\t") for line in told.splitlines())
    sizes = {table: int(size) / dataset.made for table, size in pairs}
    disk: dict[str, float] = {table: round(sizes[table]) for table in _LARGE}
    disk["others"] = round(sum(sizes.values()) - sum(sizes[table] for table in _LARGE))
    cpu_us = [round(seconds / dataset.made * 1e6) for seconds in took]
    return Measured(round(dataset.raw_bytes / dataset.made), disk, *cpu_us)


def measured_rows(measured: Measured) -> list[tuple[str, str]]:
    """Return the measured figures, one per line."""
    return [
        ("on the wire, not compressed, bytes", f"{measured.raw_bytes:,.0f}"),
        *((f"disk, {name}, bytes", f"{size:,.0f}") for name, size in measured.disk_bytes.items()),
        ("disk of one replica, bytes", f"{measured.disk:,.0f}"),
        ("CPU of the collector, µs", f"{measured.collector_us:,.0f}"),
        ("CPU of the server, µs", f"{measured.server_us:,.0f}"),
    ]


def size_rows(measured: Measured, assumed: Assumed) -> list[Sequence[str]]:
    """Return the resources for each number of runs per day, one per line."""
    rows: list[Sequence[str]] = []
    for rate in RATES:
        size = size_of(rate, measured, assumed)
        rows.append(
            (
                f"{rate:,}",
                f"{rate / _DAY_S * assumed.peak:,.0f}",
                f"{size.collector_cores:,}",
                f"{size.shards:,}",
                f"{size.servers:,}",
                f"{size.disk_gb:,}",
                f"{size.usd_month:,}",
            )
        )
    return rows


MEASURED_HEADS: Final = ("per run", "measured")
SIZE_HEADS: Final = (
    *("runs a day", "runs/s in the busiest hour", "collector cores"),
    *("shards", "servers", "disk, GB", "USD a month"),
)


def report() -> None:
    """Measure and print."""
    measured = measure()
    print_table(MEASURED_HEADS, measured_rows(measured))
    print_table(SIZE_HEADS, size_rows(measured, Assumed()))
