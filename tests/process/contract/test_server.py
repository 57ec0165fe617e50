"""Tests of a collector with a server: outages, passwords, TLS, a second collector."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from otel_ml_collector.errors import BadSetting
from otel_ml_collector.store.migrations import connect
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.sql import Sql
from tests.process.contract.test_roads import send
from tests.support.certificates import make_certificate
from tests.support.clickhouse import ClickHouse, Server, clickhouse
from tests.support.clickhouse_front import PASSWORD
from tests.support.collector import CollectorProcess, running
from tests.support.keys import ask, make_key, opened, run_keys, sign_in
from tests.support.load import PROTOBUF, make_request, run_ids
from tests.support.sampling import at_night, sampled
from tests.support.waiting import wait_until

pytestmark = sampled(without="embedded*")


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[ClickHouse]:
    """A server that its test may stop."""
    with clickhouse(tmp_path / "server") as started:
        yield started


def status_of(collector: CollectorProcess, body: bytes) -> int:
    """Send spans; return the response's status."""
    status, _, _ = collector.post("/v1/traces", body, PROTOBUF)
    return status


def test_server_goes_and_comes(own_server: ClickHouse, tmp_path: Path) -> None:
    """While the server is down nothing is acknowledged; once it is back, everything works again."""
    url = own_server.url(own_server.make_database())
    with running(tmp_path / "none", "--store", url) as collector:
        first, second = make_request("p", 3), make_request("p", 3)
        send(collector, first)
        own_server.kill()
        assert status_of(collector, second.SerializeToString()) == 503
        assert collector.status("/api/v1/projects/p/runs") == 503
        assert collector.status("/readyz") == 503
        own_server.restart()
        wait_until(lambda: status_of(collector, second.SerializeToString()) == 200)
        wait_until(lambda: collector.status("/readyz") == 200)
        found = {run["run_id"] for run in collector.runs("p")}
        assert found == {*run_ids(first), *run_ids(second)}
        assert PASSWORD not in collector.output
        assert "geheim" not in collector.output


@sampled(1)
@pytest.mark.parametrize("password", ["wrong-geheim", ""])
def test_wrong_password(server: Server, password: str) -> None:
    """If the server refuses the password, the error is one line without the password."""
    with pytest.raises(BadSetting) as caught:
        connect(server.url(password=password))
    message = str(caught.value)
    assert message.startswith(
        f"The store at clickhouse://otel:***@127.0.0.1:{server.port}/default cannot be opened: "
    )
    assert "AUTHENTICATION_FAILED" in message
    assert "geheim" not in message
    assert "\n" not in message


@sampled(1)
@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("mysql://me:ge/heim@host/db", "mysql://me:***@host/db"),
        ("clickhouse://me:ge@heim@[::1/db", "clickhouse://me:***@[::1/db"),
        ("mysql://me:ge?heim#@host/db?password=geheim", "mysql://me:***@host/db"),
        ("mysql://host/db?access_token=geheim", "mysql://host/db"),
    ],
)
def test_unreadable_address(address: str, shown: str) -> None:
    """The error for an invalid address hides all parts that may be secret."""
    with pytest.raises(BadSetting) as caught:
        connect(address)
    assert str(caught.value).startswith(f"Invalid store {shown!r}: ")


@at_night
def test_tables_that_delete_nothing(server: Server) -> None:
    """A store whose tables cannot delete rows, such as tables over shards, is refused."""
    database, shard = server.make_database(), server.make_database()
    connect(server.url(shard)).close()
    server.command(f"CREATE TABLE {database}.runs AS remote('127.0.0.1', {shard}, runs)")
    with pytest.raises(BadSetting, match="The table runs of the store has the engine") as caught:
        connect(server.url(database))
    assert "run separate collectors for each shard" in str(caught.value)
    assert server.command(f"SHOW TABLES FROM {database}") == "runs\n"


def test_unknown_database(server: Server) -> None:
    """The error for a missing database names it."""
    with pytest.raises(BadSetting, match="Database nowhere does not exist"):
        connect(server.url("nowhere"))


@at_night
def test_tls(tmp_path: Path) -> None:
    """A server over TLS is used if its certificate is trusted, and refused otherwise."""
    certificate = make_certificate(tmp_path)
    with clickhouse(tmp_path / "server", certificate) as server:
        known = connect(server.url(options=f"?ca_cert={certificate.cert}"))
        Reader(known).rows(Sql("SELECT 1 AS one"), {})
        known.close()
        with pytest.raises(BadSetting, match="certificate verify failed"):
            connect(server.url())


@at_night
def test_revoked_at_another_collector(server: Server, tmp_path: Path) -> None:
    """A key that one collector revokes ends its sessions and streams at another within 3 s."""
    asked = ("--store", server.url(server.make_database()), "--session-secret", "s" * 32)
    with running(tmp_path / "none", *asked) as one, running(tmp_path / "none", *asked) as other:
        admin = run_keys("add", "--endpoint", one.endpoint, "--project", "*", "--scope", "admin")
        key_text = make_key(one, admin.stdout.strip(), scopes="read")
        cookie = sign_in(one, key_text)
        live = "/api/v1/projects/p/live"
        wait_until(lambda: ask(other, "/api/v1/projects", cookie=cookie).status == 200)
        with (
            opened(other, live, cookie=cookie) as session,
            opened(other, live, authorization=f"Bearer {key_text}") as keyed,
        ):
            revoked_s = time.monotonic()
            path = f"/api/v1/keys/{key_text.split('_')[1]}"
            assert ask(one, path, admin.stdout.strip(), method="DELETE").status == 200
            session.read()
            keyed.read()
            wait_until(lambda: ask(other, "/api/v1/projects", cookie=cookie).status == 401)
            assert time.monotonic() - revoked_s < 10
