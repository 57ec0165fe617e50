"""Repairs data that the embedded engine failed to write, without noticing that it failed.

A table consists of parts: folders with files of rows. If the files of a merge or mutation could not
be written, an empty or short part replaces the good ones. The good parts stay on disk for at least
8 s, and the engine returns to them when it loads the table again. The statement of a mutation is
stored in a file too: if that file is empty, the table cannot be loaded at all.
"""

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from clickhouse_connect.driver.exceptions import ClickHouseError

from otel_ml_collector.background import BackgroundJob
from otel_ml_collector.errors import Unavailable
from otel_ml_collector.log import OnceAMinute
from otel_ml_collector.store.connection import Connections, store_trouble
from otel_ml_collector.store.schema import META, TABLE_NAMES
from otel_ml_collector.store.sql import Sql, identifier, table_names

# Seconds. Data that was written shortly before the failure was noticed may be damaged too.
_BEFORE_S: Final = 10.0
# Seconds. A table can be loaded again only after running queries on it have ended.
_LOAD_WITHIN_S: Final = 30.0
_LOAD_EVERY_S: Final = 0.02
_EVERY_TABLE: Final = TABLE_NAMES | table_names([META])
_WHOLE_BEGIN: Final = b"format version: 1\n"
_WRITTEN: Final = Sql("""
    SELECT table FROM system.parts
    WHERE database = currentDatabase() AND active AND modification_time >= {since:DateTime}
    UNION DISTINCT SELECT table FROM system.merges WHERE database = currentDatabase()
    UNION DISTINCT
    SELECT table FROM system.mutations WHERE database = currentDatabase() AND NOT is_done""")
_FOLDERS: Final = Sql("""
    SELECT arrayJoin(data_paths) FROM system.tables
    WHERE database = currentDatabase() AND name = {table:String}""")

_logger = logging.getLogger(__name__)


class Repair:
    """Repairs an embedded store after failed writes. Use it on one thread at a time."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._client = connections.open(confirms=False)
        self._memory = connections.memory
        self._whole_s = time.time()
        self._is_sure = True
        self._unloaded: set[str] = set()
        self._once = OnceAMinute()

    def list_jobs(self) -> Sequence[BackgroundJob]:
        """List the job that repairs failed writes.

        It runs every 2 s, long before the store removes the intact files that a repair needs.
        """
        return [
            BackgroundJob(
                self.run_pass,
                2.0,
                "Failed writes could not be repaired",
                first_s=2.0,
                has_work=self._connections.may_be_merging,
            )
        ]

    def run_pass(self) -> None:
        """After a failed write, reload the tables whose files may be damaged.

        When the engine loads a table, it returns to the last intact files. This pass reloads each
        table that was written to since ten seconds before the previous pass, or that has a merge or
        mutation in progress. A merge can write a damaged file after the failure, so the next pass
        does the same.

        Raises:
            Unavailable: The store does not answer. The next pass continues.
        """
        began_s = time.time()
        was_sure, self._is_sure = self._is_sure, True
        try:
            self._client.confirm()
        except Unavailable:
            self._is_sure = False
        with store_trouble():
            if not (was_sure and self._is_sure):
                self._reload(self._whole_s - _BEFORE_S)
            self._load()
        self._whole_s = began_s

    def _reload(self, since_s: float) -> None:
        rows = self._client.query(_WRITTEN, {"since": int(since_s)}).result_rows
        tables = sorted(_EVERY_TABLE.intersection(table for (table,) in rows))
        for table in tables:
            folders = self._client.query(_FOLDERS, {"table": table}).result_rows
            detach = Sql("DETACH TABLE {table}").fill(table=identifier(table, _EVERY_TABLE))
            self._client.command(detach)
            self._unloaded.add(table)
            for (folder,) in folders:
                drop_unread(Path(folder))
            self._load()
        if tables:
            # Versions that were lost with a damaged part may get different numbers when they arrive
            # again.
            self._memory.forget_numbers(lambda *_: True)
            if self._once.is_due("reloaded"):
                _logger.warning(
                    "The store could not write all files of the tables %s. Nothing that was "
                    "acknowledged is lost: the collector reads the intact files again. Free some "
                    "disk space",
                    ", ".join(tables),
                )

    def _load(self) -> None:
        for table in sorted(self._unloaded):
            attach = Sql("ATTACH TABLE {table}").fill(table=identifier(table, _EVERY_TABLE))
            until_s = time.monotonic() + _LOAD_WITHIN_S
            while True:
                try:
                    self._client.command(attach)
                    break
                except ClickHouseError:
                    if time.monotonic() >= until_s:
                        raise
                    time.sleep(_LOAD_EVERY_S)
            self._unloaded.discard(table)


def drop_unread(folder: Path) -> None:
    """Delete incomplete mutation files. The engine cannot load a table with such a file.

    A mutation file contains one statement that changes or deletes rows. Nothing is lost: if the
    file of a statement is incomplete, its caller got an error.

    Args:
        folder: Folder of the table.
    """
    for statement in folder.glob("mutation_*.txt"):
        text = statement.read_bytes()
        if not (text.startswith(_WHOLE_BEGIN) and text.endswith(b"\n")):
            statement.unlink()
            _logger.error("A statement that was only partly written is discarded: %s", statement)
