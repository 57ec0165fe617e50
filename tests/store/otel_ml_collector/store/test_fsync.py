"""What is acknowledged is on disk: the engine's own count of its fsyncs, which strace confirms."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from otel_ml_collector.span import Value
from otel_ml_collector.store.schema import TABLE_NAMES
from otel_ml_collector.store.sql import Sql, identifier, join_sql
from tests.support.otel_ml_collector.spans import make_call, make_record
from tests.support.otel_ml_collector.stores import Store, open_store

EVENTS = Sql("SELECT event, value FROM system.events")
# A view that copies keeps nothing itself.
TABLES = Sql("""
    SELECT name, engine_full FROM system.tables
    WHERE database = currentDatabase() AND engine != 'MaterializedView'""")
PARTS = Sql("SELECT path, active FROM system.parts WHERE table = {table:String}")
DURABLE = (
    "fsync_after_insert = 1",
    "fsync_part_directory = 1",
    "min_rows_to_fsync_after_merge = 1",
    "min_compressed_bytes_to_fsync_after_merge = 1",
    "old_parts_lifetime = 8",
)
# Data, marks, checksums, columns and count: what no part is readable without.
FILES_OF_A_PART = 5


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store for one test: the engine counts from its beginning."""
    with open_store(tmp_path) as opened:
        yield opened


class Counted:
    """What the engine did since this was made."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._before = self._now()

    def __getitem__(self, event: str) -> int:
        return self._now().get(event, 0) - self._before.get(event, 0)

    def _now(self) -> dict[str, int]:
        return {row["event"]: row["value"] for row in self._store.reader.rows(EVENTS, {})}


def take_all(store: Store) -> None:
    """Store records of many tables: run, version, score, metric, tag, text."""
    call = make_call("answer", {"otel_ml.model.version": "aa", "otel_ml.score.grounded": 1.0})
    told: dict[str, Value] = {
        "otel_ml.metric.names": ["loss"],
        "otel_ml.metric.values": [0.5],
        "otel_ml.tag.a": 1,
    }
    store.take("p", call, make_record("update", call, told))


def test_commit(store: Store) -> None:
    """Every part of a commit is on disk, its files and its folder, before the sender is told."""
    take_all(store)
    for _ in range(3):
        counted = Counted(store)
        take_all(store)
        parts = counted["InsertedCompactParts"] + counted["InsertedWideParts"]
        assert parts >= 6  # tables
        assert counted["FileSync"] >= FILES_OF_A_PART * parts
        assert counted["DirectorySync"] >= parts


@pytest.mark.parametrize("table", ["runs", "payloads", "metrics", "trace_index"])
def test_merge(store: Store, table: str) -> None:
    """A merged part is on disk, each file and its folder, before what it replaces is deleted."""
    for _ in range(3):
        take_all(store)
    counted = Counted(store)
    name = identifier(table, TABLE_NAMES)
    store.connections.open().command(Sql("OPTIMIZE TABLE {name} FINAL").fill(name=name))
    parts = store.reader.rows(PARTS, {"table": table})
    [merged] = [Path(part["path"]) for part in parts if part["active"]]
    replaced = [Path(part["path"]) for part in parts if not part["active"]]
    # Files of the text indexes that are written first are flushed too.
    assert counted["FileSync"] >= len([*merged.iterdir()]) - 1  # the engine's UUID is no data
    assert counted["DirectorySync"] >= 1
    assert len(replaced) >= 3
    assert [part.name for part in replaced if not part.is_dir()] == []


def test_count(store: Store) -> None:
    """Without our settings the engine counts none: it is they that put a commit on disk."""
    client = store.connections.open()
    for row in store.reader.rows(TABLES, {}):
        names = [setting.split()[0] for setting in DURABLE]
        off = join_sql(", ", [identifier(name, names) + Sql(" = 0") for name in names])
        client.command(
            Sql("ALTER TABLE {table} MODIFY SETTING {off}").fill(
                table=identifier(row["name"], TABLE_NAMES), off=off
            )
        )
    counted = Counted(store)
    take_all(store)
    assert counted["InsertedCompactParts"] + counted["InsertedWideParts"] >= 6
    assert (counted["FileSync"], counted["DirectorySync"]) == (0, 0)


def test_settings(store: Store) -> None:
    """Every table has the settings."""
    tables = store.reader.rows(TABLES, {})
    assert len(tables) >= 15
    for table in tables:
        assert [part for part in DURABLE if part not in table["engine_full"]] == [], table["name"]
