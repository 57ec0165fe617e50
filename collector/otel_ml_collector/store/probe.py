"""A write of one row, to find out whether the store can be written to."""

import time

from clickhouse_connect.driver.exceptions import ClickHouseError

from otel_ml_collector.errors import Unavailable
from otel_ml_collector.store.connection import Connections


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
        try:
            self._client.insert("store_meta", [["probe", time.time_ns()]])
        except ClickHouseError as error:
            name = getattr(error, "name", None) or type(error).__name__
            raise Unavailable(f"The store has trouble: {name}") from error
        except OSError as error:  # an insert passes through a temporary file
            raise Unavailable(f"The store has trouble: {error.strerror}") from error
