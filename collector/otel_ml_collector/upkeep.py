"""Keeps the store in order, again and again: completes deletions, and deletes what is too old."""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from otel_ml_collector.store.backup import Backups
from otel_ml_collector.store.deletion import Deleter
from otel_ml_collector.store.retention import Retention
from otel_ml_collector.store.storage import Purger

_EVERY_S: Final = 60.0
_SWEEP_S: Final = 3_600.0
_PURGE_S: Final = 86_400.0

_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Duty:
    """What is done again and again; `next_s` is when it is due."""

    do: Callable[[], object]
    every_s: float
    next_s: float


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
        now_s = clock()
        self._duties = (
            _Duty(deleter.complete, 0, now_s),
            _Duty(self._sweep, _SWEEP_S, now_s),
            _Duty(purger.purge, _PURGE_S, now_s + _PURGE_S),
        )

    async def run_for_ever(self, every_s: float = _EVERY_S) -> None:
        """Look again and again whether something is due."""
        while True:
            await asyncio.to_thread(self.run)
            await asyncio.sleep(every_s)

    def run(self) -> None:
        """Do what is due; what failed stays due, and keeps nothing else from being done."""
        for duty in self._duties:
            now_s = self._clock()
            if now_s < duty.next_s:
                continue
            try:
                duty.do()
            except Exception as error:  # noqa: BLE001 - a border: it is tried again a minute later
                _logger.warning("The store was not kept in order: %s", error)
            else:
                duty.next_s = now_s + duty.every_s

    def _sweep(self) -> None:
        swept = self.retention.sweep()
        if swept.rows:
            rows = ", ".join(f"{table} {number}" for table, number in swept.rows.items())
            _logger.info("Retention deleted rows: %s", rows)
