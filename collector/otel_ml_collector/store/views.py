"""Saved views as the store keeps them."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import orjson

from otel_ml_collector.store.connection import Connections
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.store.trouble import store_trouble

_READ: Final = Sql("""
SELECT name, page, parameters, saved_ns FROM views FINAL
WHERE project = {project:String} AND page != '' ORDER BY name LIMIT {limit:UInt32}""")


@dataclass(frozen=True, slots=True)
class StoredView:
    """A page with its parameters, under a name; a page of no name stands for a deleted view."""

    project: str
    name: str
    page: str
    parameters: dict[str, str]
    saved_ns: int


class ViewStore:
    """Writes views, one at a time; any thread may call it.

    Args:
        connections: Where they are kept.
        clock: Now, in nanoseconds since the epoch.
    """

    def __init__(self, connections: Connections, clock: Callable[[], int] = time.time_ns) -> None:
        self._client = connections.open()
        self._lock = threading.Lock()
        self._clock = clock

    def save(self, project: str, name: str, page: str, parameters: dict[str, str]) -> StoredView:
        """Store a view in place of the one of its name; when this returns, it is on disk.

        Raises:
            Unavailable: The store has trouble.
        """
        now_ns = self._clock()
        row = [project, name, page, orjson.dumps(parameters).decode(), now_ns, now_ns]
        columns = ["project", "name", "page", "parameters", "saved_ns", "version"]
        with self._lock, store_trouble():
            self._client.insert("views", [row], column_names=columns)
        return StoredView(project, name, page, parameters, now_ns)

    def delete(self, project: str, name: str) -> None:
        """Store that a view is gone; when this returns, that is on disk.

        Raises:
            Unavailable: The store has trouble.
        """
        self.save(project, name, "", {})


def read_views(reader: Reader, project: str, limit: int) -> list[StoredView]:
    """Read the views of a project, by name."""
    rows = reader.rows(_READ, {"project": project, "limit": limit})
    return [
        StoredView(
            project, row["name"], row["page"], orjson.loads(row["parameters"]), row["saved_ns"]
        )
        for row in rows
    ]
