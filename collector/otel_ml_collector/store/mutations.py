"""Runs statements that rewrite stored rows, such as DELETE, and waits until they are applied.

If the disk has no room for the rewritten rows, ClickHouse waits forever. This module stops waiting
when there is no progress, and raises an error.
"""

import shutil
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

from otel_ml_collector.errors import Unavailable
from otel_ml_collector.store.sql import Sql, StoreClient

# Free bytes needed to start a statement. The engine keeps it in a file, and cannot read the file
# later if the disk was full.
_ROOM_BYTES: Final = 1_000_000
# Seconds without progress until a statement is given up. A busy engine may pause for a moment.
_STUCK_S: Final = 5.0
# Start of the log line of a background job that deletes rows, if it fails.
NOT_REMOVED: Final = "Replaced files of the store could not be removed"
_FIRST_POLL_S: Final = 0.005
_LAST_POLL_S: Final = 0.2
_WAIT: Final = {"mutations_sync": 2, "lightweight_deletes_sync": 2, "max_execution_time": 0}
_BEGIN: Final = {**_WAIT, "mutations_sync": 0, "lightweight_deletes_sync": 0}
_OF_TABLE: Final = Sql("database = currentDatabase() AND table = {table:String}")
_UNDONE: Final = Sql("""
    SELECT mutation_id, parts_in_progress_names != [] AS is_moving, latest_fail_error_code_name
    FROM system.mutations WHERE {ours} AND NOT is_done""").fill(ours=_OF_TABLE)


class Mutator:
    """Runs statements that rewrite rows of a table, such as DELETE and ALTER TABLE UPDATE.

    Only one thread may use it at a time.

    Args:
        client: A client of the store. Do not use it for anything else during a statement.
        folder: Folder of the embedded store, whose free disk space is checked. None for a
            ClickHouse server: then only the timeout of the client limits the wait.
        stuck_s: Seconds without progress after which a statement is cancelled. Not used for a
            server.
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
        """Run a statement, and wait until it is applied to all rows that it selects.

        Args:
            table: Name of the table.
            sql: The statement.
            values: Parameters of the statement.
            settings: Settings of the engine for this statement.

        Raises:
            Unavailable: The embedded engine fails, or its disk is too full. The statement is
                cancelled. Some rows may be rewritten already; you can run the statement again.
            ClickHouseError: The store does not answer.
        """
        parameters, wanted = dict(values or {}), dict(settings or {})
        if self._folder is None:
            self._client.command(sql, parameters, settings={**_WAIT, **wanted})
            return
        before = self._undone(table).keys()
        if shutil.disk_usage(self._folder).free < _ROOM_BYTES:
            trouble = _no_room(self._folder)
        else:
            trouble = ""
            try:
                self._client.command(sql, parameters, settings={**_BEGIN, **wanted})
                self._client.confirm()
            except Unavailable as error:
                trouble = str(error)
        mutations = self._undone(table).keys() - before
        if trouble := trouble or self._wait(table, mutations, self._folder):
            values = {"table": table, "ids": sorted(mutations)}
            kill = Sql("KILL MUTATION WHERE {ours} AND mutation_id IN {ids:Array(String)}").fill(
                ours=_OF_TABLE
            )
            self._client.command(kill, values)
            raise Unavailable(f"The store cannot change {table} now: {trouble}")
        self._client.confirm()

    def _wait(self, table: str, mutations: Collection[str], folder: Path) -> str:
        """Wait for statements; return empty text if all are done, else why they cannot finish."""
        poll_s, moved_s = _FIRST_POLL_S, time.monotonic()
        while True:
            undone = self._undone(table)
            left = [undone[mutation] for mutation in mutations if mutation in undone]
            if not left:
                return ""
            if failed := next((name for _, name in left if name), ""):
                return failed
            if any(is_moving for is_moving, _ in undone.values()):
                moved_s = time.monotonic()
            elif time.monotonic() - moved_s >= self._stuck_s:
                return _no_room(folder)
            time.sleep(poll_s)
            poll_s = min(2 * poll_s, _LAST_POLL_S)

    def _undone(self, table: str) -> dict[str, tuple[bool, str]]:
        """Read unfinished statements by ID: whether the engine works on them, and their error."""
        rows = self._client.query(_UNDONE, {"table": table}).result_rows
        return {row[0]: (bool(row[1]), row[2]) for row in rows}


def _no_room(folder: Path) -> str:
    free = shutil.disk_usage(folder).free
    return f"too little disk space to rewrite it: the disk has {free} bytes free"
