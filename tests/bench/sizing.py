"""What a run takes of a ClickHouse server and a collector, and what many runs a day would take.

The server is the front before chDB, so its CPU is the engine's with some of Python's: more than a
server's own. Disk is what the active parts take once they are merged.
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
# Tables that are told apart; the others are small.
_LARGE: Final = ("payloads", "runs", "trace_index")
RATES: Final = (10**6, 10**7, 10**8, 10**9)


@dataclass(frozen=True, slots=True)
class Measured:
    """What a run takes, on average.

    Attributes:
        raw_bytes: On the wire, before compression.
        disk_bytes: On one replica, by table; ``others`` for the small ones.
        collector_us: CPU of the collector.
        server_us: CPU of the server, its merges with it.
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
    """What nothing here measures: put in your own.

    Attributes:
        days: For how long runs and payloads are kept.
        replicas: Of each shard.
        peak: The busiest hour over the mean of the day.
        busy: The share of its cores that a machine is to use in that hour.
        full: The share of its disk that a machine is to use; merges need the rest.
        cores: Of a server.
        disk_gb: Of a server.
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
    """What so many runs a day take.

    Attributes:
        collector_cores: Of all collectors.
        shards: Each a store of its own.
        servers: Shards times replicas.
        disk_gb: On all replicas, with room for merges.
        usd_month: For all of it.
    """

    collector_cores: int
    shards: int
    servers: int
    disk_gb: int
    usd_month: int


def size_of(runs_a_day: int, measured: Measured, assumed: Assumed) -> Size:
    """Compute what so many runs a day take."""
    peak_rate = runs_a_day / _DAY_S * assumed.peak
    collector_cores = math.ceil(peak_rate * measured.collector_us / 1e6 / assumed.busy)
    server_cores = peak_rate * measured.server_us / 1e6 / assumed.busy
    replica_gb = runs_a_day * assumed.days * measured.disk / _GB / assumed.full
    shards = math.ceil(max(server_cores / assumed.cores, replica_gb / assumed.disk_gb))
    servers = shards * assumed.replicas
    disk_gb = math.ceil(replica_gb * assumed.replicas)
    # A machine is not had in parts of cores where one shard is enough.
    cores = collector_cores + (
        servers * assumed.cores
        if shards > 1
        else assumed.replicas * max(math.ceil(server_cores), 2)
    )
    usd = cores * _MONTH_HOURS * assumed.core_hour + disk_gb * assumed.gb_month
    return Size(collector_cores, shards, servers, disk_gb, round(usd))


def measure(runs: int = RUNS) -> Measured:
    """Load runs through a collector into a server, and read what both took, as it is printed."""
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
    """Tell what was measured, a line each."""
    return [
        ("on the wire, not compressed, bytes", f"{measured.raw_bytes:,.0f}"),
        *((f"disk, {name}, bytes", f"{size:,.0f}") for name, size in measured.disk_bytes.items()),
        ("disk of one replica, bytes", f"{measured.disk:,.0f}"),
        ("CPU of the collector, µs", f"{measured.collector_us:,.0f}"),
        ("CPU of the server, µs", f"{measured.server_us:,.0f}"),
    ]


def size_rows(measured: Measured, assumed: Assumed) -> list[Sequence[str]]:
    """Tell what each number of runs a day takes, a line each."""
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
