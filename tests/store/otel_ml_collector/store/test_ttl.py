"""Tests that no engine deletes rows by its own clock, which may be wrong."""

from pathlib import Path

import pytest

from otel_ml_collector.store.alerts import AlertStore
from otel_ml_collector.store.migrations import SCHEMA_VERSION, migrate
from otel_ml_collector.store.notifications import (
    NotificationBox,
    StoredNotification,
    read_deliveries,
)
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.times import DAY_NS
from tests.support.otel_ml_collector.alerts.world import NOW_NS
from tests.support.otel_ml_collector.stores import open_store

WITH_TTL = Sql("SELECT name FROM system.tables WHERE engine_full LIKE '% TTL %'")
# This TTL is in stores made by an older otel-ml.
OLD_TTL = Sql("""
    ALTER TABLE notifications
    MODIFY TTL toDateTime(intDiv(announced_ns, 1000000000)) + INTERVAL 1 YEAR""")


def test_no_ttl(tmp_path: Path) -> None:
    """No table of a store has a TTL, even if an older otel-ml made the store."""
    with open_store(tmp_path) as store:
        client = store.connections.open()
        assert client.query(WITH_TTL).result_rows == []
        client.command(OLD_TTL)
        assert client.query(WITH_TTL).result_rows == [("notifications",)]
        migrate(client)
        migrate(client)
        assert client.query(WITH_TTL).result_rows == []


def test_log_of_a_new_store(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The log of a new store says that it was created, not upgraded."""
    caplog.set_level("INFO")
    with open_store(tmp_path) as store:
        client = store.connections.open()
        client.command(Sql("TRUNCATE TABLE store_meta"))
        caplog.clear()
        migrate(client)
    assert f"The store was created with schema {SCHEMA_VERSION}" in caplog.messages
    assert "upgraded" not in caplog.text


@pytest.mark.parametrize(("days", "left"), [(399, 1), (402, 0)])
def test_old_notifications(tmp_path: Path, days: int, left: int) -> None:
    """Notifications are kept for 400 days."""
    with open_store(tmp_path) as store:
        stored = StoredNotification(
            project="shop",
            target="oncall",
            id="1",
            rule="falls",
            status="firing",
            changed_ns=NOW_NS,
            announced_ns=NOW_NS,
            state="sent",
            tries=1,
            tried_ns=NOW_NS,
            trouble="",
            body="{}",
            version=1,
        )
        NotificationBox(store.connections).put([stored])
        AlertStore(store.connections).sweep(NOW_NS + days * DAY_NS)
        assert len(read_deliveries(store.reader, "shop", 9)) == left
