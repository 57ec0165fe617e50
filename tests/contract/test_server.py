"""A collector before a server: one that goes and comes, passwords, TLS, a second collector."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from otel_ml_collector.errors import BadSetting
from otel_ml_collector.store.migrations import connect
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.sql import Sql
from tests.contract.test_roads import send
from tests.support.certificates import make_certificate
from tests.support.clickhouse import ClickHouse, clickhouse
from tests.support.clickhouse_front import PASSWORD
from tests.support.collector import CollectorProcess, running
from tests.support.keys import ask, make_key
from tests.support.load import PROTOBUF, make_request, run_ids
from tests.support.waiting import wait_until


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[ClickHouse]:
    """A server for one test that ends it."""
    with clickhouse(tmp_path / "server") as started:
        yield started


def status_of(collector: CollectorProcess, body: bytes) -> int:
    """Send spans; returns the status of the answer."""
    status, _, _ = collector.post("/v1/traces", body, PROTOBUF)
    return status


def test_server_goes_and_comes(own_server: ClickHouse, tmp_path: Path) -> None:
    """While the server is gone nothing is acknowledged; once it is back, all goes on."""
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


@pytest.mark.parametrize("password", ["wrong-geheim", ""])
def test_wrong_password(server: ClickHouse, password: str) -> None:
    """A server that refuses the password is told in one line, without the password."""
    with pytest.raises(BadSetting) as caught:
        connect(server.url(password=password))
    message = str(caught.value)
    assert message.startswith(
        f"The store at clickhouse://otel:***@127.0.0.1:{server.port}/default cannot be opened: "
    )
    assert "AUTHENTICATION_FAILED" in message
    assert "geheim" not in message
    assert "\n" not in message


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
    """An address that cannot be read is shown without what may be secret in it."""
    with pytest.raises(BadSetting) as caught:
        connect(address)
    assert str(caught.value).startswith(f"Invalid store {shown!r}: ")


def test_tables_that_delete_nothing(server: ClickHouse) -> None:
    """A store before the tables of shards, of which no row can be deleted, is refused."""
    database, shard = server.make_database(), server.make_database()
    connect(server.url(shard)).close()
    server.command(f"CREATE TABLE {database}.runs AS remote('127.0.0.1', {shard}, runs)")
    with pytest.raises(BadSetting, match="The table runs of the store has the engine") as caught:
        connect(server.url(database))
    assert "each is a store of its own" in str(caught.value)
    assert server.command(f"SHOW TABLES FROM {database}") == "runs\n"


def test_unknown_database(server: ClickHouse) -> None:
    """A database that is not there is told by its name."""
    with pytest.raises(BadSetting, match="Database nowhere does not exist"):
        connect(server.url("nowhere"))


def test_tls(tmp_path: Path) -> None:
    """A server over TLS is used when its certificate is known, and refused when it is not."""
    certificate = make_certificate(tmp_path)
    with clickhouse(tmp_path / "server", certificate) as server:
        known = connect(server.url(options=f"?ca_cert={certificate.cert}"))
        Reader(known).rows(Sql("SELECT 1 AS one"), {})
        known.close()
        with pytest.raises(BadSetting, match="certificate verify failed"):
            connect(server.url())


def test_two_collectors(server: ClickHouse, tmp_path: Path) -> None:
    """Two collectors before one store answer the same, whoever took what, however often."""
    url = server.url(server.make_database())
    with (
        running(tmp_path / "a", "--store", url) as one,
        running(tmp_path / "b", "--store", url) as other,
    ):
        requests = [make_request("p", 30) for _ in range(4)]
        for number, request in enumerate(requests):
            send((one, other)[number % 2], request)
        for request in requests[:2]:
            send(one, request)
            send(other, request)
        sent = {run for request in requests for run in run_ids(request)}
        for path in ("/runs?limit=1000", "/models", "/models/load/versions"):
            asked = [each.get(f"/projects/p{path}") for each in (one, other)]
            assert asked[0] == asked[1], path
        runs = one.runs("p")
        assert {run["run_id"] for run in runs} == sent
        assert len(runs) == len(sent)
        pages = page_by_turns(one, other)
        assert pages == [run["run_id"] for run in runs]
        check_keys(one, other)


def test_two_collectors_change_one_data_set(server: ClickHouse, tmp_path: Path) -> None:
    """Of changes that are asked of both from one version one is let; of others no item is lost."""
    url = server.url(server.make_database())
    with (
        running(tmp_path / "a", "--store", url) as one,
        running(tmp_path / "b", "--store", url) as other,
        ThreadPoolExecutor(4) as pool,
    ):

        def add(number: int, base: str | None) -> int:
            sent = {"content-type": "application/json"}
            sent |= {} if base is None else {"if-match": base}
            body = {"items": [{"id": f"{base}-{number}", "inputs": number}]}
            address = "/api/v1/projects/p/datasets/raced/items"
            return (one, other)[number % 2].post(address, json.dumps(body).encode(), sent)[0]

        for base in ("0", "1", "2"):
            assert sorted(pool.map(add, range(4), [base] * 4)) == [200, 412, 412, 412]
        assert [*pool.map(add, range(6), [None] * 6)] == [200] * 6
        for each in (one, other):
            versions = each.get("/projects/p/datasets/raced/versions")["versions"]
            assert [version["items"] for version in versions] == [*range(9, 0, -1)]


def page_by_turns(one: CollectorProcess, other: CollectorProcess) -> list[str]:
    """List runs page after page, each at the collector that did not give the cursor."""
    found: list[str] = []
    parameters: dict[str, object] = {"limit": 25}
    asked = [one, other]
    while True:
        page = asked[0].get("/projects/p/runs", **parameters)
        found += [run["run_id"] for run in page["runs"]]
        if page["next_cursor"] is None:
            return found
        parameters["cursor"] = page["next_cursor"]
        asked.reverse()


def check_keys(one: CollectorProcess, other: CollectorProcess) -> None:
    """A key that one collector makes holds at the other one within its refresh, and its end too."""
    admin = make_key(one, "", "*", scopes="admin,read")
    path = "/api/v1/projects/p/runs"
    wait_until(lambda: ask(other, path).status == 401)
    key = make_key(one, admin, "p", scopes="read")
    wait_until(lambda: ask(other, path, key).status == 200)
    [made] = [
        told
        for told in json.loads(ask(one, "/api/v1/keys", admin).body)["keys"]
        if told["projects"] == ["p"]
    ]
    assert ask(one, f"/api/v1/keys/{made['id']}", admin, method="DELETE").status == 200
    wait_until(lambda: ask(other, path, key).status == 401)
