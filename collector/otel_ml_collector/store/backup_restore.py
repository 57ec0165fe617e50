"""Restores a backup into an empty data directory: whole, or not at all.

The tables are made as they are today and take the parts of the backup. It keeps the schema that it
was written with, so the next start brings what is older up to date.
"""

import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import clickhouse_connect
from clickhouse_connect.driver.exceptions import ClickHouseError

from otel_ml_collector.errors import BadSetting, InUse
from otel_ml_collector.store.backup import CHECKSUMS, FORMAT, MANIFEST, checksum_of, sizes_of
from otel_ml_collector.store.connection import name_of
from otel_ml_collector.store.migrations import SCHEMA_VERSION
from otel_ml_collector.store.schema import TABLE_NAMES, TABLES
from otel_ml_collector.store.sql import Sql, StoreClient, identifier

_RESTORING: Final = "store.restoring"
# What a data directory may have when it is as good as empty.
_LEFT: Final = {"collector.lock", _RESTORING, "tmp"}
_PART: Final = re.compile(r"[0-9A-Za-z]+(_[0-9]+){3,4}", re.ASCII)
# Its backups have sizes of files, and no checksums.
_FORMAT_1: Final = "otel-ml backup 1"
_CHECKSUM: Final = re.compile(r"([0-9a-f]{64})  (.+)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Restored:
    """What was restored.

    Attributes:
        parts: How many parts it has.
        is_checked: Whether every byte is as it was written; a backup of an older otel-ml has no
            checksums, of its files the sizes alone are known.
    """

    parts: int
    is_checked: bool


def restore(backup: Path, data_dir: Path) -> Restored:
    """Restore a backup; when this returns, the data directory can be served.

    Args:
        backup: The folder that was written.
        data_dir: A data directory with nothing in it, or none yet.

    Raises:
        BadSetting: It is no whole backup, a file of it is damaged, it is newer than this program,
            the data directory is not empty, or another process holds it.
    """
    is_checked, tables = _read(backup)
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        with _hold(data_dir):
            _check_empty(data_dir)
            work = data_dir / _RESTORING
            shutil.rmtree(work, ignore_errors=True)  # of a restore that was killed
            work.mkdir(mode=0o700)
            with clickhouse_connect.get_client(interface="chdb", path=str(work)) as client:
                _attach_all(client, backup, tables)
            os.sync()
            work.rename(data_dir / "store")
            os.sync()
    except OSError as error:
        raise BadSetting(f"The backup cannot be restored to {data_dir}: {error}") from error
    except ClickHouseError as error:
        raise BadSetting(f"The backup {backup} cannot be read: {name_of(error)}") from error
    return Restored(sum(len(parts) for parts in tables.values()), is_checked)


def _read(backup: Path) -> tuple[bool, Mapping[str, list[str]]]:
    """Read which parts a backup has, once all of their files are known to be as they were.

    Returns:
        Whether it has checksums, which are right then, and its parts by table.
    """
    if checksums := _read_checksums(backup):
        _check_file(backup, MANIFEST, checksums)
    try:
        manifest: dict[str, Any] = json.loads((backup / MANIFEST).read_text())
        is_ours = manifest["format"] == (FORMAT if checksums else _FORMAT_1)
        schema = int(manifest["schema"])
        tables = {str(table): dict(parts) for table, parts in manifest["tables"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadSetting(f"{backup} is no whole backup of otel-ml: {error}") from error
    if not is_ours and manifest["format"] == FORMAT:
        raise _damaged(backup, CHECKSUMS, "is missing")
    if not is_ours:
        raise BadSetting(f"{backup} is no backup that this program reads: expected {FORMAT!r}")
    if schema > SCHEMA_VERSION:
        raise BadSetting(
            f"The backup has schema {schema}, this program knows {SCHEMA_VERSION}: "
            "use a newer otel-ml"
        )
    for table, parts in tables.items():
        for part, sizes in parts.items():
            place = f"{table}/{part}"
            if table not in TABLE_NAMES or not _PART.fullmatch(part):
                raise _damaged(backup, place, "is no part of a table")
            _check_sizes(backup, place, sizes)
            for name in sizes if checksums else ():
                _check_file(backup, f"{place}/{name}", checksums)
    return bool(checksums), {table: sorted(parts, key=_order) for table, parts in tables.items()}


def _read_checksums(backup: Path) -> Mapping[str, str]:
    """Read the checksums of files by their paths; an older otel-ml has written none."""
    file = backup / CHECKSUMS
    try:
        lines = file.read_bytes().decode("ascii").split("\n")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise _damaged(backup, CHECKSUMS, f"cannot be read: {error}") from error
    found = [match for line in lines[:-1] if (match := _CHECKSUM.fullmatch(line))]
    if not found or len(found) < len(lines) - 1 or lines[-1]:
        raise _damaged(backup, CHECKSUMS, "is damaged: expected a checksum and a path in each line")
    return {match[2]: match[1] for match in found}


def _check_sizes(backup: Path, place: str, sizes: Mapping[str, int]) -> None:
    """Refuse a part of which a file is missing, is too much, or has another size."""
    there = sizes_of(backup / place)
    for name in sorted(sizes.keys() | there.keys()):
        if name not in there:
            raise _damaged(backup, f"{place}/{name}", "is missing")
        if name not in sizes:
            raise _damaged(backup, f"{place}/{name}", "is none of its files")
        if there[name] != sizes[name]:
            what = f"has {there[name]} bytes: expected {sizes[name]}"
            raise _damaged(backup, f"{place}/{name}", what)


def _check_file(backup: Path, name: str, checksums: Mapping[str, str]) -> None:
    """Refuse a file that is not as it was written."""
    try:
        checksum = checksum_of(backup / name)
    except OSError as error:
        raise _damaged(backup, name, f"cannot be read: {error.strerror}") from error
    if checksums.get(name) != checksum:
        raise _damaged(backup, name, f"is damaged: {CHECKSUMS} has another checksum, or none")


def _damaged(backup: Path, name: str, what: str) -> BadSetting:
    return BadSetting(f"{backup} is no whole backup of otel-ml: {name} {what}")


def _order(part: str) -> tuple[str, list[int]]:
    """Order parts as they came, so that of equal rows the same one holds."""
    partition, *numbers = part.split("_")
    return partition, [int(number) for number in numbers]


@contextmanager
def _hold(data_dir: Path) -> Iterator[None]:
    """Keep collectors away from the data directory."""
    with (data_dir / "collector.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InUse(f"The data directory {data_dir} is in use by a collector") from error
        yield


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
                attach.fill(table=identifier(table, TABLE_NAMES), part=identifier(part, parts))
            )
