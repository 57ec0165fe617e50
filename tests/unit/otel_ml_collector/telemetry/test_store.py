"""Tests of the size of the store as Prometheus reads it."""

from collections.abc import Sequence

from otel_ml_collector.errors import Unavailable
from otel_ml_collector.telemetry.service import StoreNumbers, TableSize
from tests.support.otel_ml_collector.telemetry.page import read_collector

SIZES = [TableSize("metrics", 2, 2_048), TableSize("runs", 3, 4_096)]
PAGE = {
    ("otel_ml_store_bytes", ("metrics",)): 2_048,
    ("otel_ml_store_bytes", ("runs",)): 4_096,
    ("otel_ml_store_rows", ("metrics",)): 2,
    ("otel_ml_store_rows", ("runs",)): 3,
}


def test_sizes() -> None:
    """The page has bytes and rows of each table."""
    assert read_collector(StoreNumbers(lambda: SIZES)) == PAGE


def test_seldom_asked() -> None:
    """The store is asked once, however often the page is read within 15 s."""
    asked = []

    def read() -> Sequence[TableSize]:
        asked.append("sizes")
        return SIZES

    numbers = StoreNumbers(read)
    assert [read_collector(numbers) for _ in range(3)] == [PAGE] * 3
    assert asked == ["sizes"]


def test_store_in_trouble() -> None:
    """A store that does not answer leaves the page without its size."""

    def read() -> Sequence[TableSize]:
        raise Unavailable("The store has trouble")

    assert read_collector(StoreNumbers(read)) == {}
