"""Every operation of the API over a server, under the settings of a cluster's profile.

The front before the engine takes them from `deploy/clickhouse/users.xml`, and refuses as Replicated
tables do.
"""

from pathlib import Path

from tests.support.clickhouse import Server
from tests.support.otel_ml_collector.api.world import ask_all
from tests.support.otel_ml_collector.stores import open_service

# A backup of a server is its own.
REFUSED = frozenset({"POST /backup"})


def test_every_operation(server: Server, tmp_path: Path) -> None:
    """A project that has everything is stored, read by every operation, changed and deleted."""
    url = server.url(server.make_database())
    with open_service(tmp_path / "none", store=url) as service:
        asked = ask_all(service, tmp_path / "backup", REFUSED)
    assert asked.keys() > REFUSED
