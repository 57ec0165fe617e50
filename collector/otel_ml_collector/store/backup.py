"""Backups of the embedded store: one moment of all tables, taken while the collector serves.

The engine links the parts of each table while the writer waits between two groups; then they are
copied in peace. A folder is a backup once it has its name: until then it is called ``.partial``.
"""

import hashlib
import json
import os
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from otel_ml_collector.errors import BadQuery, Refused, Unavailable
from otel_ml_collector.store.connection import Connections, store_trouble
from otel_ml_collector.store.migrations import SCHEMA_VERSION
from otel_ml_collector.store.schema import TABLE_NAMES
from otel_ml_collector.store.sql import Sql, identifier
from otel_ml_collector.store.tombstones import Tombstones

MANIFEST: Final = "backup.json"
# As ``sha256sum -c`` reads it: a line for each other file.
CHECKSUMS: Final = "SHA256SUMS"
FORMAT: Final = "otel-ml backup 2"
PARTIAL: Final = ".partial"
_BLOCK_BYTES: Final = 1 << 20
_FROZEN: Final = "otel_ml_backup"
_FREEZE: Final = Sql("ALTER TABLE {table} FREEZE WITH NAME '{name}'")
# What names a document is linked before the document, which is there longer.
_LAST: Final = ("artifacts", "artifact_chunks")
_TABLES: Final = Sql("""
    SELECT name, data_paths[1] AS path FROM system.tables
    WHERE database = currentDatabase() AND engine LIKE '%MergeTree' ORDER BY name""")


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup that was written.

    Attributes:
        folder: Where it is.
        bytes: What its files take.
        rested_ns: How long the writer waited for it.
    """

    folder: Path
    bytes: int
    rested_ns: int


class Backups:
    """Writes backups, one at a time; any thread may call it.

    Args:
        connections: The store.
        tombstones: Those of the writer, which waits for them.
        clock: Tells the time, in nanoseconds since the epoch.
    """

    def __init__(
        self,
        connections: Connections,
        tombstones: Tombstones,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._client = connections.open()
        self._store = connections.folder / "store" if connections.folder else None
        self._tombstones = tombstones
        self._clock = clock
        self._lock = threading.Lock()

    def write(self, folder: Path) -> Backup:
        """Write a backup; when this returns, it is on disk.

        Args:
            folder: An absolute path at which nothing is, or an empty folder.

        Raises:
            Refused: The store is on a server, which has backups of its own.
            BadQuery: The folder cannot be used.
            Unavailable: The store has trouble, there is no room, or a backup is being written.
        """
        if self._store is None:
            raise Refused("The store is a ClickHouse server: use its own BACKUP command")
        if not self._lock.acquire(blocking=False):
            raise Unavailable("A backup is being written already")
        try:
            partial = _make_folder(folder)
            try:
                with store_trouble():
                    return self._write(self._store, folder, partial)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
                shutil.rmtree(self._store / "shadow" / _FROZEN, ignore_errors=True)
        finally:
            self._lock.release()

    def _write(self, store: Path, folder: Path, partial: Path) -> Backup:
        shutil.rmtree(store / "shadow" / _FROZEN, ignore_errors=True)  # of one that was killed
        rows = self._client.query(_TABLES).result_rows
        tables = {name: Path(path) for name, path in rows if name in TABLE_NAMES}
        with self._tombstones.hold():
            began = time.perf_counter_ns()
            taken_ns = self._clock()
            for table in sorted(tables, key=lambda name: (name in _LAST, _place(name), name)):
                sql = _FREEZE.fill(table=identifier(table, TABLE_NAMES), name=Sql(_FROZEN))
                self._client.command(sql)
            rested_ns = time.perf_counter_ns() - began
        manifest: dict[str, Any] = {"format": FORMAT, "schema": SCHEMA_VERSION, "time_ns": taken_ns}
        manifest["tables"] = {}
        checksums: dict[str, str] = {}
        for table, path in tables.items():
            frozen = store / "shadow" / _FROZEN / path.relative_to(store)
            manifest["tables"][table] = _copy_parts(frozen, partial / table, checksums)
        (partial / MANIFEST).write_text(json.dumps(manifest, indent=1))
        checksums[MANIFEST] = checksum_of(partial / MANIFEST)
        lines = "".join(f"{checksum}  {name}\n" for name, checksum in checksums.items())
        (partial / CHECKSUMS).write_text(lines)
        os.sync()
        partial.rename(folder)
        os.sync()
        return Backup(folder, _size(manifest), rested_ns)


def _place(table: str) -> int:
    return _LAST.index(table) if table in _LAST else 0


def _make_folder(folder: Path) -> Path:
    """Make the folder that gets another name once it is whole."""
    if not folder.is_absolute():
        raise BadQuery(f"Invalid folder {str(folder)!r}: expected an absolute path", "folder")
    partial = folder.with_name(folder.name + PARTIAL)
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise BadQuery(f"The folder {folder} is not empty: expected a new one", "folder")
        if partial.exists():  # a backup that was killed
            _refuse_strangers(partial)
            shutil.rmtree(partial)
        partial.mkdir(mode=0o700, parents=True)
    except OSError as error:
        message = f"The folder {folder} cannot be used: {error.strerror}"
        raise BadQuery(message, "folder") from error
    return partial


def _refuse_strangers(partial: Path) -> None:
    """Delete nothing that no backup has made: it has folders, of parts, and its list at last."""
    if any(path.is_file() and path.name not in {MANIFEST, CHECKSUMS} for path in partial.iterdir()):
        raise BadQuery(f"The folder {partial} is in the way: it is no backup", "folder")


def _copy_parts(frozen: Path, target: Path, checksums: dict[str, str]) -> dict[str, dict[str, int]]:
    """Copy the parts of a table; returns the sizes of their files by part and name.

    Args:
        frozen: Where the engine has linked them.
        target: The folder of the table, which is made.
        checksums: Takes the SHA-256 of each file, by its path in the backup.
    """
    parts: dict[str, dict[str, int]] = {}
    for part in sorted(frozen.iterdir()) if frozen.is_dir() else []:
        if not part.is_dir():
            continue
        parts[part.name] = sizes_of(part)
        for name in parts[part.name]:
            copy = target / part.name / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            checksums[f"{target.name}/{part.name}/{name}"] = _copy(part / name, copy)
    return parts


def _copy(file: Path, copy: Path) -> str:
    """Copy a file; returns the checksum of what was read, so that a wrong copy is found."""
    checksum = hashlib.sha256()
    with file.open("rb") as source, copy.open("xb") as target:
        while block := source.read(_BLOCK_BYTES):
            checksum.update(block)
            target.write(block)
    return checksum.hexdigest()


def checksum_of(file: Path) -> str:
    """Compute the SHA-256 of a file, in hex."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def sizes_of(part: Path) -> dict[str, int]:
    """Read the sizes of the files of a part, by their paths within it."""
    return {
        str(file.relative_to(part)): file.stat().st_size
        for file in sorted(part.rglob("*"))
        if file.is_file()
    }


def _size(manifest: dict[str, Any]) -> int:
    parts = [part for table in manifest["tables"].values() for part in table.values()]
    return sum(size for part in parts for size in part.values())
