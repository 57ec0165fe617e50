"""Asks the store: a few clients, each used by one thread at a time; trouble becomes ours."""

import queue
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from otel_ml_collector.errors import StoreTimeout, Unavailable
from otel_ml_collector.store.connection import Connections

Row = dict[str, Any]

_CLIENTS: Final = 4
_WAIT_S: Final = 10.0
_TIMEOUT_EXCEEDED: Final = 159


class Reader:
    """Runs queries. What to ask stands in `runs` and `statistics` beside this module."""

    def __init__(self, connections: Connections) -> None:
        self._idle: queue.LifoQueue[Client] = queue.LifoQueue()
        for _ in range(_CLIENTS):
            self._idle.put(connections.open())

    def rows(
        self, sql: str, parameters: Mapping[str, Any], settings: Mapping[str, Any] | None = None
    ) -> list[Row]:
        """Run a query; its values are parameters.

        Returns:
            Rows by column name; ids are hex text, times integers.

        Raises:
            StoreTimeout: It took longer than a question may take.
            Unavailable: The store has trouble, or is asked too much at once.
        """
        with self._client() as client:
            result = client.query(sql, dict(parameters), settings=dict(settings or {}))
            return list(result.named_results())

    def blob(self, sql: str, parameters: Mapping[str, Any]) -> bytes:
        """Run a query for one column of bytes; return those of all rows, one after the other.

        Raises:
            StoreTimeout: It took longer than a question may take.
            Unavailable: The store has trouble, or is asked too much at once.
        """
        with self._client() as client:
            return client.raw_query(sql, dict(parameters), fmt="RawBLOB")

    def ping(self) -> None:
        """Ask the store anything.

        Raises:
            Unavailable: It does not answer.
        """
        self.rows("SELECT 1 AS one", {})

    @contextmanager
    def _client(self) -> Iterator[Client]:
        try:
            client = self._idle.get(timeout=_WAIT_S)
        except queue.Empty as error:
            raise Unavailable("Too many questions wait for the store") from error
        try:
            yield client
        except ClickHouseError as error:
            if getattr(error, "code", None) == _TIMEOUT_EXCEEDED:
                raise StoreTimeout("The store did not answer within 10 s") from error
            name = getattr(error, "name", None) or type(error).__name__
            raise Unavailable(f"The store has trouble: {name}") from error
        finally:
            self._idle.put(client)
