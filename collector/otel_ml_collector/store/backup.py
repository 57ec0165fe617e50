"""Backs up the embedded store at one moment, and restores a data directory from a backup.

The writer pauses between two groups of records while the engine makes hard links to the parts of
each table. Then the collector goes on while the links are copied. A backup is complete once
its folder has its final name. Before that, the name ends with ``.partial``.

A restore is complete or changes nothing. It creates the tables as this program defines them and
adds the parts. A backup keeps its schema, so the next start upgrades an older one.
"""

import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import clickhouse_connect
from clickhouse_connect.driver.exceptions import ClickHouseError

from otel_ml_collector.errors import BadInput, BadSetting, InUse, Rejected, Unavailable
from otel_ml_collector.store.connection import (
    MANIFEST,
    ConfirmingClient,
    Connections,
    name_of,
    store_trouble,
)
from otel_ml_collector.store.lock import LOCK_FILE
from otel_ml_collector.store.migrations import OLDEST_SCHEMA, SCHEMA_VERSION, refuse_schema
from otel_ml_collector.store.owner import SECRET_FILE
from otel_ml_collector.store.same_folder import (
    FolderIdentity,
    explain_other_folder,
    is_inside,
    suggest_folder,
)
from otel_ml_collector.store.schema import COPIES, TABLE_NAMES, TABLES
from otel_ml_collector.store.sql import Sql, StoreClient, identifier
from otel_ml_collector.store.tombstones import Tombstones

# Checksums of all other files, one per line, in the format of ``sha256sum -c``.
CHECKSUMS: Final = "SHA256SUMS"
FORMAT: Final = "otel-ml backup 2"
PARTIAL: Final = ".partial"
_BLOCK_BYTES: Final = 1 << 20
_FROZEN: Final = "otel_ml_backup"
# Name of the row of `store_meta` with the time of each complete backup.
BACKUP_ROW: Final = "backup"
_FREEZE: Final = Sql("ALTER TABLE {table} FREEZE WITH NAME '{name}'")
# Records that refer to a document are linked first, then the document. It exists longer than they
# do, so no record in a backup lacks its document.
_LINK_ORDER: Final = {"artifacts": 1, "artifact_chunks": 2}
_TABLES: Final = Sql("""
    SELECT name, data_paths[1] AS path FROM system.tables
    WHERE database = currentDatabase() AND engine LIKE '%MergeTree' ORDER BY name""")

_RESTORING: Final = "store.restoring"
# Files that an unused data directory may contain.
_LEFT: Final = {LOCK_FILE, _RESTORING, "tmp", SECRET_FILE}
_PART: Final = re.compile(r"[0-9A-Za-z]+(_[0-9]+){3,4}", re.ASCII)
# Backups in this format have file sizes, but no checksums.
_FORMAT_1: Final = "otel-ml backup 1"
_CHECKSUM: Final = re.compile(r"([0-9a-f]{64})  (.+)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Backup:
    """A complete backup.

    Attributes:
        folder: Path of the backup.
        bytes: Size of its files.
        rested_ns: How long the writer paused, in nanoseconds.
    """

    folder: Path
    bytes: int
    rested_ns: int


class Backups:
    """Writes backups, one at a time. Any thread may call it.

    Args:
        connections: The store.
        tombstones: Pauses the writer.
    """

    def __init__(self, connections: Connections, tombstones: Tombstones) -> None:
        self._client = connections.open()
        self._data_dir = connections.folder
        self._store = connections.folder / "store" if connections.folder else None
        self._tombstones = tombstones
        self._lock = threading.Lock()

    def write(self, folder: Path, seen: FolderIdentity | None = None) -> Backup:
        """Write a backup. On return it is on disk.

        Args:
            folder: An absolute path that does not exist, or an empty folder.
            seen: Path, device and inode of the folder, or of a folder above it, as found by the
                command that requests the backup. If the collector finds a different folder at this
                path, for example because it runs in a container, the backup is refused. None skips
                this check.

        Raises:
            Rejected: The store is a ClickHouse server, which has backups of its own.
            BadInput: The folder cannot be used, is in the data directory, or is not the one in
                `seen`.
            Unavailable: The store does not answer, the disk is full, or another backup is being
                written.
        """
        if self._store is None or self._data_dir is None:
            raise Rejected("The store is a ClickHouse server: use its own BACKUP command")
        if not folder.is_absolute():
            raise BadInput(f"Invalid folder {str(folder)!r}: expected an absolute path", "folder")
        if seen and not folder.is_relative_to(seen.path):
            message = f"Invalid path {str(seen.path)!r}: expected {folder}, or a folder above it"
            raise BadInput(message, "seen")
        for own in (self._data_dir, self._store):
            if is_inside(folder, own):
                message = f"The folder {folder} is inside {own}, whose data it would back up"
                raise BadInput(f"{message}: expected a folder outside it", "folder")
        if reason := explain_other_folder(folder, seen):
            message = f"The folder {folder} cannot be used: {reason}{suggest_folder()}"
            raise BadInput(message, "folder")
        if not self._lock.acquire(blocking=False):
            raise Unavailable("A backup is already running")
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
        shutil.rmtree(store / "shadow" / _FROZEN, ignore_errors=True)  # left by a killed backup
        rows = self._client.query(_TABLES).result_rows
        tables = {name: Path(path) for name, path in rows if name in TABLE_NAMES}
        with self._tombstones.hold():
            began = time.perf_counter_ns()
            taken_ns = time.time_ns()
            for table in sorted(tables, key=lambda name: (_LINK_ORDER.get(name, 0), name)):
                sql = _FREEZE.fill(table=identifier(table, TABLE_NAMES), name=Sql(_FROZEN))
                self._client.command(sql)
            rested_ns = time.perf_counter_ns() - began
        manifest: dict[str, Any] = {
            "format": FORMAT,
            "schema": SCHEMA_VERSION,
            "time_ns": taken_ns,
        }
        manifest["tables"] = {}
        checksums: dict[str, str] = {}
        for table, path in tables.items():
            frozen = store / "shadow" / _FROZEN / path.relative_to(store)
            manifest["tables"][table] = _copy_parts(frozen, partial / table, checksums)
        (partial / MANIFEST).write_text(json.dumps(manifest, indent=1))
        checksums[MANIFEST] = _checksum_of(partial / MANIFEST)
        lines = "".join(f"{checksum}  {name}\n" for name, checksum in checksums.items())
        (partial / CHECKSUMS).write_text(lines)
        os.sync()
        partial.rename(folder)
        os.sync()
        self._client.insert("store_meta", [[BACKUP_ROW, taken_ns]])
        return Backup(folder, _size(manifest), rested_ns)


def _make_folder(folder: Path) -> Path:
    """Create the folder that gets its final name once the backup is complete."""
    partial = folder.with_name(folder.name + PARTIAL)
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise BadInput(f"The folder {folder} is not empty: expected a new one", "folder")
        if partial.exists():  # left by a killed backup
            _refuse_strangers(partial)
            shutil.rmtree(partial)
        partial.mkdir(mode=0o700, parents=True)
    except OSError as error:
        is_protected = error.errno in {errno.EROFS, errno.EACCES}
        hint = suggest_folder() if is_protected else ""
        message = f"The folder {folder} cannot be used: {error.strerror}{hint}"
        raise BadInput(message, "folder") from error
    return partial


def _refuse_strangers(partial: Path) -> None:
    """Refuse to delete a folder that is not from an interrupted backup."""
    if any(path.is_file() and path.name not in {MANIFEST, CHECKSUMS} for path in partial.iterdir()):
        raise BadInput(f"The folder {partial} already exists and is not a backup", "folder")


def _copy_parts(frozen: Path, target: Path, checksums: dict[str, str]) -> dict[str, dict[str, int]]:
    """Copy the parts of a table, and return the sizes of their files by part and name.

    Args:
        frozen: Folder of the engine's hard links.
        target: Folder for the table, which is created.
        checksums: Gets the SHA-256 of each file, by its path in the backup.
    """
    parts: dict[str, dict[str, int]] = {}
    for part in sorted(frozen.iterdir()) if frozen.is_dir() else []:
        if not part.is_dir():
            continue
        parts[part.name] = _sizes_of(part)
        for name in parts[part.name]:
            copy = target / part.name / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            checksums[f"{target.name}/{part.name}/{name}"] = _copy(part / name, copy)
    return parts


def _copy(file: Path, copy: Path) -> str:
    """Copy a file, and return the checksum of the bytes that were read. It reveals a wrong copy."""
    checksum = hashlib.sha256()
    with file.open("rb") as source, copy.open("xb") as target:
        while block := source.read(_BLOCK_BYTES):
            checksum.update(block)
            target.write(block)
    return checksum.hexdigest()


def _checksum_of(file: Path) -> str:
    """Compute the SHA-256 of a file, in hex."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _sizes_of(part: Path) -> dict[str, int]:
    """Read the sizes of the files of a part, by their path in the part."""
    return {
        str(file.relative_to(part)): file.stat().st_size
        for file in sorted(part.rglob("*"))
        if file.is_file()
    }


def _size(manifest: dict[str, Any]) -> int:
    parts = [part for table in manifest["tables"].values() for part in table.values()]
    return sum(size for part in parts for size in part.values())


@dataclass(frozen=True, slots=True)
class Restored:
    """The result of a restore.

    Attributes:
        parts: Number of restored data parts. A part is a folder with some rows of a table.
        is_checked: Whether the checksum of each file was compared. Backups of older versions have
            no checksums, so only the file sizes were compared.
    """

    parts: int
    is_checked: bool


def restore(backup: Path, data_dir: Path) -> Restored:
    """Restore a backup. On return the data directory can be served.

    Args:
        backup: Folder of the backup.
        data_dir: An empty data directory, or a path that does not exist. If root restores, the
            owner of the directory becomes the owner of the files.

    Raises:
        BadSetting: The backup is incomplete, damaged or newer than this program; or the data
            directory is not empty, is inside the backup, or is used by another process.
    """
    if is_inside(data_dir, backup):
        raise BadSetting(f"The data directory {data_dir} is inside the backup {backup}")
    is_checked, tables = _read(backup)
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        with _hold(data_dir):
            _check_empty(data_dir)
            work = data_dir / _RESTORING
            shutil.rmtree(work, ignore_errors=True)  # left by a killed restore
            work.mkdir(mode=0o700)
            connect = partial(clickhouse_connect.get_client, interface="chdb", path=str(work))
            with closing(ConfirmingClient(connect)) as client:
                _attach_all(client, backup, tables)
            _give_to_owner(data_dir)
            os.sync()
            work.rename(data_dir / "store")
            os.sync()
    except (OSError, Unavailable) as error:
        raise BadSetting(f"The backup cannot be restored to {data_dir}: {error}") from error
    except ClickHouseError as error:
        raise BadSetting(f"The backup {backup} cannot be read: {name_of(error)}") from error
    return Restored(sum(len(parts) for parts in tables.values()), is_checked)


def _read(backup: Path) -> tuple[bool, Mapping[str, list[str]]]:
    """Read the list of parts of a backup, after checking all of its files.

    Returns:
        Whether the backup has checksums, which are correct then, and its parts by table.
    """
    if checksums := _read_checksums(backup):
        _check_file(backup, MANIFEST, checksums)
    try:
        manifest: dict[str, Any] = json.loads((backup / MANIFEST).read_text())
        is_ours = manifest["format"] == (FORMAT if checksums else _FORMAT_1)
        schema = int(manifest["schema"])
        tables = {str(table): dict(parts) for table, parts in manifest["tables"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadSetting(f"{backup} is not a complete backup of otel-ml: {error}") from error
    if not is_ours and manifest["format"] == FORMAT:
        raise _damaged(backup, CHECKSUMS, "is missing")
    if not is_ours:
        raise BadSetting(
            f"{backup} is not a backup that this program can read: expected {FORMAT!r}"
        )
    if schema > SCHEMA_VERSION:
        raise BadSetting(
            f"The backup has schema {schema}, but this program supports {SCHEMA_VERSION}: "
            "use a newer otel-ml"
        )
    if schema < OLDEST_SCHEMA:
        raise BadSetting(f"The backup has {refuse_schema(schema)}, and take a new backup")
    for table, parts in tables.items():
        for part, sizes in parts.items():
            place = f"{table}/{part}"
            if table not in TABLE_NAMES or not _PART.fullmatch(part):
                raise _damaged(backup, place, "is not part of a table")
            _check_sizes(backup, place, sizes)
            for name in sizes if checksums else ():
                _check_file(backup, f"{place}/{name}", checksums)
    return bool(checksums), {table: sorted(parts, key=_order) for table, parts in tables.items()}


def _read_checksums(backup: Path) -> Mapping[str, str]:
    """Read the checksums of files by their path; empty for a backup of an older version."""
    file = backup / CHECKSUMS
    try:
        lines = file.read_bytes().decode("ascii").split("\n")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise _damaged(backup, CHECKSUMS, f"cannot be read: {error}") from error
    matches = [match for line in lines[:-1] if (match := _CHECKSUM.fullmatch(line))]
    if not matches or len(matches) < len(lines) - 1 or lines[-1]:
        raise _damaged(backup, CHECKSUMS, "is damaged: expected a checksum and a path in each line")
    return {match[2]: match[1] for match in matches}


def _check_sizes(backup: Path, place: str, sizes: Mapping[str, int]) -> None:
    """Refuse a part with a missing file, an extra file or a file of the wrong size."""
    there = _sizes_of(backup / place)
    for name in sorted(sizes.keys() | there.keys()):
        if name not in there:
            raise _damaged(backup, f"{place}/{name}", "is missing")
        if name not in sizes:
            raise _damaged(backup, f"{place}/{name}", "is not one of its files")
        if there[name] != sizes[name]:
            what = f"has {there[name]} bytes: expected {sizes[name]}"
            raise _damaged(backup, f"{place}/{name}", what)


def _check_file(backup: Path, name: str, checksums: Mapping[str, str]) -> None:
    """Refuse a file that was changed."""
    try:
        checksum = _checksum_of(backup / name)
    except OSError as error:
        raise _damaged(backup, name, f"cannot be read: {error.strerror}") from error
    if checksums.get(name) != checksum:
        raise _damaged(backup, name, f"is damaged: {CHECKSUMS} has a different checksum, or none")


def _damaged(backup: Path, name: str, what: str) -> BadSetting:
    return BadSetting(f"{backup} is not a complete backup of otel-ml: {name} {what}")


def _order(part: str) -> tuple[str, list[int]]:
    """Sort key of a part: its age. The same copy of a repeated row then wins after a restore."""
    partition, *numbers = part.split("_")
    return partition, [int(number) for number in numbers]


@contextmanager
def _hold(data_dir: Path) -> Iterator[None]:
    """Lock the data directory against collectors."""
    with (data_dir / LOCK_FILE).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InUse(f"The data directory {data_dir} is in use by a collector") from error
        yield


def _give_to_owner(data_dir: Path) -> None:
    """Give files that root has restored to the owner of the data directory."""
    owner = data_dir.stat()
    if os.geteuid() == 0 and owner.st_uid != 0:
        for path in data_dir.rglob("*"):
            os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def _check_empty(data_dir: Path) -> None:
    store = data_dir / "store"
    if store.is_dir() and not any(store.iterdir()):
        store.rmdir()
    others = sorted(path.name for path in data_dir.iterdir() if path.name not in _LEFT)
    if others:
        raise BadSetting(f"The data directory {data_dir} is not empty: it has {others[0]}")


def _attach_all(client: StoreClient, backup: Path, tables: Mapping[str, list[str]]) -> None:
    for statement in TABLES:
        client.command(statement)
    sql = Sql("SELECT name, data_paths[1] FROM system.tables WHERE database = currentDatabase()")
    places = {row[0]: Path(row[1]) for row in client.query(sql).result_rows}
    for table, parts in tables.items():
        for part in parts:
            shutil.copytree(backup / table / part, places[table] / "detached" / part)
            attach = Sql("ALTER TABLE {table} ATTACH PART '{part}'")
            client.command(
                attach.fill(table=identifier(table, tables), part=identifier(part, parts))
            )
    for statement in COPIES:
        client.command(statement)
