"""Tests of the metrics of the store's size."""

import shutil
from pathlib import Path

from otel_ml_collector.errors import Unavailable
from otel_ml_collector.telemetry.service import StoreNumbers, StoreState, TableSize
from tests.support.otel_ml_collector.telemetry.page import read_collector

STATE = StoreState(
    [TableSize("metrics", 2, 2_048), TableSize("runs", 3, 4_096)],
    replaced_bytes=512,
    backup_ns=1_795_158_000_500_000_000,
)
PAGE = {
    ("otel_ml_last_backup_timestamp_seconds", ()): 1_795_158_000.5,
    ("otel_ml_rows_behind_seconds", ()): 0,
    ("otel_ml_rows_waiting", ()): 0,
    ("otel_ml_store_bytes", ("metrics",)): 2_048,
    ("otel_ml_store_bytes", ("runs",)): 4_096,
    ("otel_ml_store_replaced_bytes", ()): 512,
    ("otel_ml_store_rows", ("metrics",)): 2,
    ("otel_ml_store_rows", ("runs",)): 3,
}


def test_sizes() -> None:
    """The metrics show bytes and rows of each table, replaced bytes and the last backup."""
    assert read_collector(StoreNumbers(lambda: STATE)) == PAGE


def test_disk(tmp_path: Path) -> None:
    """For an embedded store, the metrics show the free bytes and inodes of its disk."""
    page = read_collector(StoreNumbers(lambda: STATE, tmp_path))
    disk = {name: value for (name, _), value in page.items() if name.startswith("otel_ml_disk")}
    assert {*disk} == {"otel_ml_disk_free_bytes", "otel_ml_disk_free_inodes"}
    total = shutil.disk_usage(tmp_path).total
    assert 0 < disk["otel_ml_disk_free_bytes"] <= total
    assert read_collector(StoreNumbers(lambda: STATE, tmp_path / "gone")) == PAGE


def test_seldom_asked() -> None:
    """The store is queried once, however often the metrics are read within 15 s."""
    asked = []

    def read() -> StoreState:
        asked.append("sizes")
        return STATE

    numbers = StoreNumbers(read)
    assert [read_collector(numbers) for _ in range(3)] == [PAGE] * 3
    assert asked == ["sizes"]


def test_store_in_trouble() -> None:
    """If the store does not respond, the metrics lack its size."""

    def read() -> StoreState:
        raise Unavailable("The store has trouble")

    numbers = StoreNumbers(read, find_behind_s=lambda: 1.5, count_waiting=lambda: 7)
    assert read_collector(numbers) == {
        ("otel_ml_rows_behind_seconds", ()): 1.5,
        ("otel_ml_rows_waiting", ()): 7,
    }
