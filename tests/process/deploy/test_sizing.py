"""Tests that the size tables in docs/how-to/clickhouse.md follow from the measured values."""

import re
from typing import Final

import pytest

from tests.bench.sizing import (
    MEASURED_HEADS,
    SIZE_HEADS,
    Assumed,
    Measured,
    measured_rows,
    size_of,
    size_rows,
)
from tests.bench.table import print_table
from tests.support.folders import ROOT

PAGE: Final = (ROOT / "docs/how-to/clickhouse.md").read_text()
_DISK: Final = re.compile(r"^\| disk, (\w+), bytes +\| ([\d,]+) +\|$", re.MULTILINE)


def told(title: str) -> float:
    """Return a figure from the page's table."""
    found = re.search(rf"^\| {re.escape(title)} +\| ([\d,]+) +\|$", PAGE, re.MULTILINE)
    assert found, title
    return float(found[1].replace(",", ""))


def told_measured() -> Measured:
    """Return the measured values from the page."""
    return Measured(
        raw_bytes=told("on the wire, not compressed, bytes"),
        disk_bytes={name: float(size.replace(",", "")) for name, size in _DISK.findall(PAGE)},
        collector_us=told("CPU of the collector, µs"),
        server_us=told("CPU of the server, µs"),
    )


def test_tables_are_those_of_the_model(capsys: pytest.CaptureFixture[str]) -> None:
    """The page has both tables as the program prints them, one computed from the other."""
    measured = told_measured()
    print_table(MEASURED_HEADS, measured_rows(measured))
    print_table(SIZE_HEADS, size_rows(measured, Assumed()))
    for table in capsys.readouterr().out.strip().split("\n\n"):
        assert table in PAGE


def test_model_by_hand() -> None:
    """The model's numbers for 100 million runs a day equal numbers computed by hand."""
    measured = Measured(1000, {"payloads": 600, "others": 400}, collector_us=300, server_us=600)
    assumed = Assumed(days=10, replicas=2, peak=2, busy=0.5, full=0.5, cores=2, disk_gb=1000)
    size = size_of(86_400_000, measured, assumed)
    # 2,000 runs/s in the busiest hour: 0.6 s of CPU per second in collectors, 1.2 s in servers.
    assert size.collector_cores == 2
    # 864 GB of rows, 1,728 GB of disk for each replica: two shards; 2.4 cores also need two.
    assert (size.shards, size.servers, size.disk_gb) == (2, 4, 3456)
    # 2 + 4 * 2 cores for 730 hours, plus the disks.
    assert size.usd_month == round(10 * 730 * 0.05 + 3456 * 0.08)
