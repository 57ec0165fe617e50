"""A write of one row, to find out whether the store can be written to."""

import time

from otel_ml_collector.store.connection import Connections, store_trouble


class Probe:
    """Writes one row, durably as all others; the rows before it are merged away.

    Only one thread may call it at a time.

    Args:
        connections: Opens its client.
    """

    def __init__(self, connections: Connections) -> None:
        self._client = connections.open()

    def __call__(self) -> None:
        """Write.

        Raises:
            Unavailable: The store has trouble.
        """
        with store_trouble():
            self._client.insert("store_meta", [["probe", time.time_ns()]])
