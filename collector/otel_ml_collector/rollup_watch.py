"""Computes the daily rollup again and again, of the days that are over and changed."""

import asyncio
import logging
from typing import Final

from otel_ml_collector.store.connection import Connections
from otel_ml_collector.store.rollup import recompute_due

_EVERY_S: Final = 30.0

_logger = logging.getLogger(__name__)


class RollupWatch:
    """Owns a client, used by one thread at a time.

    Args:
        connections: The store.
    """

    def __init__(self, connections: Connections) -> None:
        self._client = connections.open()

    async def watch_for_ever(self, every_s: float = _EVERY_S) -> None:
        """Look again and again; without it statistics are right, and slower."""
        while True:
            try:
                await asyncio.to_thread(self.look)
            except Exception as error:  # noqa: BLE001 - the loop that watches: it looks again later
                _logger.warning("The daily rollup was not computed: %s", error)
            await asyncio.sleep(every_s)

    def look(self) -> None:
        """Compute what is due."""
        days = recompute_due(self._client)
        if days:
            _logger.debug("The daily rollup was computed for %d days", days)
