"""Statements that write parts of a table anew, waited for as long as the engine works at them.

The engine waits for ever with a part that has no room on the disk. Here that is told to who asked.
"""

import shutil
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from otel_ml_collector.errors import Unavailable
from otel_ml_collector.store.connection import Connections, store_trouble
from otel_ml_collector.store.schema import TABLE_NAMES
from otel_ml_collector.store.sql import Sql, StoreClient, identifier

# A busy engine may leave a statement alone for a moment.
_STUCK_S: Final = 5.0
_FIRST_LOOK_S: Final = 0.005
_LAST_LOOK_S: Final = 0.2
_WAIT: Final = {"mutations_sync": 2, "lightweight_deletes_sync": 2, "max_execution_time": 0}
_BEGIN: Final = {**_WAIT, "mutations_sync": 0, "lightweight_deletes_sync": 0}
_OURS: Final = Sql("database = currentDatabase() AND table = {table:String}")
_UNDONE: Final = Sql("""
    SELECT mutation_id, parts_in_progress_names != [] AS is_moving, latest_fail_error_code_name
    FROM system.mutations WHERE {ours} AND NOT is_done""").fill(ours=_OURS)
PARTS: Final = Sql("""
    SELECT table, toUInt64(sumIf(rows, active)) AS rows,
      toUInt64(sumIf(bytes_on_disk, active)) AS bytes,
      toUInt64(sumIf(bytes_on_disk, active AND has_lightweight_delete)) AS waiting,
      toUInt64(sumIf(bytes_on_disk, NOT active)) AS replaced
    FROM system.parts WHERE database = currentDatabase() GROUP BY table ORDER BY table""")


class Mutator:
    """Carries out such statements, for one thread at a time.

    Args:
        client: Of the store; the caller may use it meanwhile for nothing else.
        folder: Where the store is; None for a server, whose client bounds the wait.
        stuck_s: For how long the engine may do nothing about a statement.
    """

    def __init__(self, client: StoreClient, folder: Path | None, stuck_s: float = _STUCK_S) -> None:
        self._client = client
        self._folder = folder
        self._stuck_s = stuck_s

    def run(
        self,
        table: str,
        sql: Sql,
        values: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        """Carry a statement out; when this returns, every part of the table heeds it.

        Raises:
            Unavailable: The engine does not carry it out: it fails, or has no room. It is given
                up, and some parts may heed it; asking again is harmless.
            ClickHouseError: The store has trouble.
        """
        parameters, wanted = dict(values or {}), dict(settings or {})
        if self._folder is None:
            self._client.command(sql, parameters, settings={**_WAIT, **wanted})
            return
        before = self._undone(table).keys()
        self._client.command(sql, parameters, settings={**_BEGIN, **wanted})
        ours = self._undone(table).keys() - before
        if trouble := self._wait(table, ours, self._folder):
            values = {"table": table, "ids": sorted(ours)}
            kill = Sql("KILL MUTATION WHERE {ours} AND mutation_id IN {ids:Array(String)}").fill(
                ours=_OURS
            )
            self._client.command(kill, values)
            raise Unavailable(f"The store cannot change {table} now: {trouble}")

    def _wait(self, table: str, ours: Collection[str], folder: Path) -> str:
        """Wait until all is done, or for the reason why it is not; returns that."""
        look_s, moved_s = _FIRST_LOOK_S, time.monotonic()
        while True:
            undone = self._undone(table)
            left = [undone[mutation] for mutation in ours if mutation in undone]
            if not left:
                return ""
            if failed := next((name for _, name in left if name), ""):
                return failed
            if any(is_moving for is_moving, _ in undone.values()):
                moved_s = time.monotonic()
            elif time.monotonic() - moved_s >= self._stuck_s:
                free = shutil.disk_usage(folder).free
                return f"no room to write it anew, the disk has {free} bytes free"
            time.sleep(look_s)
            look_s = min(2 * look_s, _LAST_LOOK_S)

    def _undone(self, table: str) -> dict[str, tuple[bool, str]]:
        """Read which statements wait: whether the engine is at them, and how they failed."""
        rows = self._client.query(_UNDONE, {"table": table}).result_rows
        return {row[0]: (bool(row[1]), row[2]) for row in rows}


@dataclass(frozen=True, slots=True)
class Purge:
    """What a purge did: which tables it wrote anew, and what the store took before and after."""

    tables: list[str]
    bytes_before: int
    bytes_after: int


class Purger:
    """Writes parts anew that hold deleted rows; any thread may call it.

    Args:
        connections: The store.
    """

    def __init__(self, connections: Connections) -> None:
        self._client = connections.open()
        self._mutator = Mutator(self._client, connections.folder)
        self._lock = threading.Lock()

    def purge(self) -> Purge:
        """Take deleted rows off the disk; a second call finds nothing to do.

        The files that are replaced go 8 minutes later, when the new ones are surely on disk.

        Raises:
            Unavailable: The store has trouble; what was purged until then stays purged.
        """
        with self._lock, store_trouble():
            before = _parts(self._client)
            tables = [
                row["table"] for row in before if row["waiting"] and row["table"] in TABLE_NAMES
            ]
            for table in tables:
                sql = Sql("ALTER TABLE {table} APPLY DELETED MASK")
                self._mutator.run(table, sql.fill(table=identifier(table, TABLE_NAMES)))
            after = _parts(self._client)
        return Purge(tables, _bytes(before), _bytes(after))


def _parts(client: StoreClient) -> list[dict[str, Any]]:
    return list(client.query(PARTS).named_results())


def _bytes(rows: Sequence[dict[str, Any]]) -> int:
    return sum(row["bytes"] for row in rows)
