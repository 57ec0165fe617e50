"""Tests of the upkeep: one thing that fails keeps nothing else from being done."""

import pytest

from otel_ml_collector.store.backup import Backups
from otel_ml_collector.store.deletion import Deleter
from otel_ml_collector.store.retention import Days, Retention
from otel_ml_collector.store.storage import Purger
from otel_ml_collector.store.tombstones import Tombstones
from otel_ml_collector.upkeep import Upkeep
from tests.otel_ml_collector.deleting import BEGAN_NS, Project
from tests.otel_ml_collector.spans import make_call
from tests.otel_ml_collector.stores import Service


def test_a_failure_stays_due(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    """Retention runs while deletions fail, and what failed is tried again at the next look."""
    project = Project(service, "kept in order")
    project.send(make_call("old", start_ns=BEGAN_NS))
    connections = service.store.connections
    client, tombstones, seconds = connections.open(), Tombstones(connections), [0.0]
    upkeep = Upkeep(
        Deleter(connections, tombstones),
        Retention(connections, Days(records=30), clock=lambda: 10**18 * 4),
        Purger(connections),
        Backups(connections, tombstones),
        clock=lambda: seconds[0],
    )
    client.command("RENAME TABLE deletions TO deletions_away")
    try:
        upkeep.run()
        assert project.names() == []
    finally:
        client.command("RENAME TABLE deletions_away TO deletions")
    assert [record.levelname for record in caplog.records].count("WARNING") == 1
    caplog.clear()
    seconds[0] = 60
    upkeep.run()
    assert "WARNING" not in [record.levelname for record in caplog.records]
