"""Keeps the store in order, again and again: completes deletions, and deletes what is too old."""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

from otel_ml_collector.store.backup import Backups
from otel_ml_collector.store.deletion import Deleter
from otel_ml_collector.store.retention import Retention
from otel_ml_collector.store.storage import Purger

_EVERY_S: Final = 60.0
_SWEEP_S: Final = 3_600.0
_PURGE_S: Final = 86_400.0

_logger = logging.getLogger(__name__)


class Upkeep:
    """Does one thing after the other, on one thread.

    Args:
        deleter: Completes deletions, every minute.
        retention: Deletes what is too old, every hour.
        purger: Takes rows off the disk that were deleted, every day.
        backups: Writes them when somebody asks.
        clock: Tells seconds that never fall.
    """

    def __init__(
        self,
        deleter: Deleter,
        retention: Retention,
        purger: Purger,
        backups: Backups,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.deleter = deleter
        self.retention = retention
        self.purger = purger
        self.backups = backups
        self._clock = clock
        self._next_sweep_s = clock()
        self._next_purge_s = clock() + _PURGE_S

    async def run_for_ever(self, every_s: float = _EVERY_S) -> None:
        """Look again and again whether something is due."""
        while True:
            try:
                await asyncio.to_thread(self.run)
            except Exception as error:  # noqa: BLE001 - the loop of the upkeep: it tries again later
                _logger.warning("The store was not kept in order: %s", error)
            await asyncio.sleep(every_s)

    def run(self) -> None:
        """Do what is due."""
        self.deleter.complete()
        now_s = self._clock()
        if now_s >= self._next_sweep_s:
            self._next_sweep_s = now_s + _SWEEP_S
            swept = self.retention.sweep()
            if swept.rows:
                rows = ", ".join(f"{table} {number}" for table, number in swept.rows.items())
                _logger.info("Retention deleted rows: %s", rows)
        if now_s >= self._next_purge_s:
            self._next_purge_s = now_s + _PURGE_S
            self.purger.purge()
