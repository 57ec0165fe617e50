"""Tests that acknowledged data is on disk, by the engine's fsync count, which strace confirms."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from otel_ml_collector.span import Value
from otel_ml_collector.store.schema import TABLE_NAMES
from otel_ml_collector.store.sql import Sql, identifier, join_sql
from tests.support.otel_ml_collector.spans import make_call, make_record
from tests.support.otel_ml_collector.stores import Store, open_store
from tests.support.sampling import at_night, sampled

EVENTS = Sql("SELECT event, value FROM system.events")
# A materialized view stores no data itself.
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
# Data, marks, checksums, columns and count: no part is readable without these files.
FILES_OF_A_PART = 5


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Return a store for one test, because the engine counts from its start."""
    with open_store(tmp_path) as opened:
        yield opened


class Counted:
    """The increase of the engine's event counters since this object was created."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._before = self._now()

    def __getitem__(self, event: str) -> int:
        return self._now().get(event, 0) - self._before.get(event, 0)

    def _now(self) -> dict[str, int]:
        return {row["event"]: row["value"] for row in self._store.reader.rows(EVENTS, {})}


def take_all(store: Store) -> None:
    """Store a run, version, score, metric, tag and payload, which go to many tables."""
    call = make_call("answer", {"otel_ml.model.version": "aa", "otel_ml.score.grounded": 1.0})
    told: dict[str, Value] = {
        "otel_ml.metric.names": ["loss"],
        "otel_ml.metric.values": [0.5],
        "otel_ml.tag.a": 1,
    }
    store.take("p", call, make_record("update", call, told))


def test_commit(store: Store) -> None:
    """The files and folders of every part are on disk before a commit is acknowledged."""
    take_all(store)
    for _ in range(3):
        counted = Counted(store)
        take_all(store)
        parts = counted["InsertedCompactParts"] + counted["InsertedWideParts"]
        assert parts >= 6  # tables
        assert counted["FileSync"] >= FILES_OF_A_PART * parts
        assert counted["DirectorySync"] >= parts


@sampled(1)
@pytest.mark.parametrize("table", ["runs", "payloads", "metrics", "trace_index"])
def test_merge(store: Store, table: str) -> None:
    """The files and folder of a merged part are on disk before its source parts are deleted."""
    for _ in range(3):
        take_all(store)
    counted = Counted(store)
    name = identifier(table, TABLE_NAMES)
    store.connections.open().command(Sql("OPTIMIZE TABLE {name} FINAL").fill(name=name))
    parts = store.reader.rows(PARTS, {"table": table})
    [merged] = [Path(part["path"]) for part in parts if part["active"]]
    replaced = [Path(part["path"]) for part in parts if not part["active"]]
    # Temporary files of the text indexes, which are written first, are flushed too.
    assert counted["FileSync"] >= len([*merged.iterdir()]) - 1  # the engine's UUID file is not data
    assert counted["DirectorySync"] >= 1
    assert len(replaced) >= 3
    assert [part.name for part in replaced if not part.is_dir()] == []


@at_night
def test_count(store: Store) -> None:
    """Without our settings the engine makes no fsync, so the settings make commits durable."""
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
    """Every table has the durability settings."""
    tables = store.reader.rows(TABLES, {})
    assert len(tables) >= 15
    for table in tables:
        assert [part for part in DURABLE if part not in table["engine_full"]] == [], table["name"]
