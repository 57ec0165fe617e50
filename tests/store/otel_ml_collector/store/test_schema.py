"""Tests of the tables, their settings, and the durability of inserts and merges."""

from typing import Final

import pytest

from otel_ml_collector.span import Value
from otel_ml_collector.store.schema import LIVES
from otel_ml_collector.store.sql import Sql
from tests.support.otel_ml_collector.spans import NOW_NS, make_call, make_record
from tests.support.otel_ml_collector.stores import Store
from tests.support.sampling import at_night, sampled

TABLES: Final = [
    "access_keys",
    "activity",
    "alert_events",
    "alerts",
    "aliases",
    "arrivals",
    "artifact_chunks",
    "artifacts",
    "call_points",
    "daily",
    "daily_runs",
    "daily_scores",
    "deleted_owners",
    "deleted_runs",
    "deletions",
    "documents",
    "forward_cursors",
    "hourly_runs",
    "hourly_scores",
    "items",
    "key_uses",
    "late_logs",
    "late_tags",
    "lineage",
    "metrics",
    "model_versions",
    "notifications",
    "objects",
    "open_runs",
    "payloads",
    "predicted",
    "predictions",
    "processes",
    "refusals",
    "retention",
    "runs",
    "scores",
    "scores_of_metrics",
    "settled",
    "sketches",
    "store_meta",
    "trace_index",
    "trace_keys",
]
# Views have no rows.
VIEWS: Final = {"scores_of_metrics"}
# These settings make inserts and merges durable before they are acknowledged.
DURABLE: Final = [
    "fsync_after_insert = 1",
    "fsync_part_directory = 1",
    "min_rows_to_fsync_after_merge = 1",
    "min_compressed_bytes_to_fsync_after_merge = 1",
    "old_parts_lifetime = 8",
]
SYNCS: Final = Sql("""
    SELECT event, value FROM system.events WHERE event IN ('FileSync', 'DirectorySync')""")


def count_syncs(store: Store) -> dict[str, int]:
    """Return the number of file and directory fsyncs by the engine so far."""
    return {row["event"]: row["value"] for row in store.reader.rows(SYNCS, {})}


def new_syncs(store: Store, before: dict[str, int]) -> dict[str, int]:
    after = count_syncs(store)
    return {
        event: after.get(event, 0) - before.get(event, 0) for event in ("FileSync", "DirectorySync")
    }


def test_tables(store: Store) -> None:
    """The store has exactly the expected tables."""
    rows = store.reader.rows(
        Sql("SELECT name FROM system.tables WHERE database = currentDatabase() ORDER BY name"), {}
    )
    assert [row["name"] for row in rows] == TABLES


def test_lives(store: Store) -> None:
    """Each table with projects defines its rows' lifetime, except tables that outlive records."""
    asked = Sql(
        "SELECT table FROM system.columns WHERE database = currentDatabase() AND name = 'project'"
    )
    tables = {row["table"] for row in store.reader.rows(asked, {})}
    kept = {"daily", "deleted_owners", "deleted_runs", "deletions", "model_versions", "retention"}
    assert tables - {life.table for life in LIVES} - VIEWS == kept


@sampled(8)
@pytest.mark.parametrize("table", sorted({*TABLES} - VIEWS))
def test_durable_settings(store: Store, table: str) -> None:
    """A table acknowledges inserts and merges only once they are on disk."""
    (row,) = store.reader.rows(
        Sql(
            "SELECT create_table_query AS sql FROM system.tables WHERE name = {table:String}"
            " AND database = currentDatabase()"
        ),
        {"table": table},
    )
    assert [setting for setting in DURABLE if setting not in row["sql"]] == []


def test_synced_inserts(store: Store, project: str) -> None:
    """Each table that receives rows of a batch flushes their files and folder to disk."""
    numbered: dict[str, Value] = {"otel_ml.process": "0000000a", "otel_ml.seq": 1}
    call = make_call(attributes={"otel_ml.model.version": "aa", "otel_ml.score.j": 1.0, **numbered})
    update = make_record(
        "update",
        call,
        {
            "otel_ml.tag.late": 1,
            "otel_ml.metric.names": ["loss"],
            "otel_ml.metric.values": [0.5],
        },
    )
    before = count_syncs(store)
    store.take(project, call, update)
    syncs = new_syncs(store, before)
    # Nine tables. A part has at least data, marks, an index and a list of columns.
    assert syncs["FileSync"] >= 9 * 4
    assert syncs["DirectorySync"] >= 9


@at_night
def test_synced_merge(store: Store, project: str) -> None:
    """The result of a merge is flushed to disk."""
    for number in range(3):
        store.take(project, make_call(start_ns=NOW_NS - number))
    client = store.connections.open()
    before = count_syncs(store)
    client.command(Sql("OPTIMIZE TABLE runs FINAL"))
    syncs = new_syncs(store, before)
    assert syncs["FileSync"] >= 4
    assert syncs["DirectorySync"] >= 1


def test_syncs_are_counted(store: Store) -> None:
    """The fsync counters of these tests do not change for a table without durability settings.

    The counters include merges of other tables, so the test inserts until no merge runs meanwhile.
    """
    client = store.connections.open()
    client.command(Sql("CREATE TABLE scratch (n UInt64) ENGINE = MergeTree ORDER BY n"))

    def find_syncs() -> dict[str, int]:
        before = count_syncs(store)
        client.insert("scratch", [[1]], column_names=["n"])
        return new_syncs(store, before)

    try:
        assert any(find_syncs() == {"FileSync": 0, "DirectorySync": 0} for _ in range(50))
    finally:
        client.command(Sql("DROP TABLE scratch SYNC"))
