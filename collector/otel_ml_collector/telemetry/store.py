"""How large the store is, read when Prometheus asks, at most every 15 s."""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from otel_ml_collector.errors import Unavailable

_FRESH_S: Final = 15.0


@dataclass(frozen=True, slots=True)
class TableSize:
    """What a table takes on disk, deleted rows included until they are merged away."""

    table: str
    rows: int
    bytes: int


class StoreNumbers(Collector):
    """Bytes and rows by table; while the store has trouble, those that it said last.

    Args:
        read: Asks the store.
    """

    def __init__(self, read: Callable[[], Sequence[TableSize]]) -> None:
        self._read = read
        self._lock = threading.Lock()
        self._sizes: Sequence[TableSize] = ()
        self._fresh_until_s = 0.0

    def describe(self) -> Iterable[Metric]:
        """Name no metric ahead, so that the store is not asked at the start."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Make the metrics."""
        size = GaugeMetricFamily(
            "otel_ml_store_bytes", "Bytes of a table on disk", labels=["table"]
        )
        rows = GaugeMetricFamily(
            "otel_ml_store_rows",
            "Rows of a table on disk, those that wait to be merged away included",
            labels=["table"],
        )
        for one in self._ask():
            size.add_metric([one.table], one.bytes)
            rows.add_metric([one.table], one.rows)
        return size, rows

    def _ask(self) -> Sequence[TableSize]:
        with self._lock:
            now_s = time.monotonic()
            if now_s >= self._fresh_until_s:
                self._fresh_until_s = now_s + _FRESH_S
                with suppress(Unavailable):
                    self._sizes = self._read()
            return self._sizes
