"""Every operation of the API works on a server with the settings of a cluster's profile.

The proxy in front of the engine takes the settings from `deploy/clickhouse/users.xml`, and refuses
the same statements as Replicated tables.
"""

from pathlib import Path

from tests.support.clickhouse import Server
from tests.support.otel_ml_collector.api.world import ask_all
from tests.support.otel_ml_collector.stores import open_service

# A server has its own backups.
REFUSED = frozenset({"POST /backup"})


def test_every_operation(server: Server, tmp_path: Path) -> None:
    """A project with all kinds of records is stored, read, changed and deleted."""
    url = server.url(server.make_database())
    with open_service(tmp_path / "none", store=url) as service:
        asked = ask_all(service, tmp_path / "backup", REFUSED)
    assert asked.keys() > REFUSED
