"""Tests of collectors with replicas: quorum, slow fetches, a lagging replica, lost responses.

The replicas are simulated; see `tests.support.clickhouse_front`.
"""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from otel_ml_collector.errors import BadSetting
from otel_ml_collector.store.connection import refuse_version
from otel_ml_collector.store.migrations import connect
from otel_ml_collector.store.sketches import sketch_day
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.times import DAY_NS
from tests.process.contract.test_roads import send
from tests.support.clickhouse import ClickHouse, clickhouse, replicas
from tests.support.collector import CollectorProcess, running
from tests.support.keys import ask, make_key
from tests.support.load import PROTOBUF, make_request, run_ids
from tests.support.otel_ml_collector.spans import NOW_NS, make_call, span_id, trace_id
from tests.support.otel_ml_collector.stores import open_service
from tests.support.sampling import at_night, sampled
from tests.support.waiting import wait_until

pytestmark = sampled()


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[ClickHouse]:
    """A server whose simulation a test may change."""
    with clickhouse(tmp_path / "server") as started:
        yield started


def save_view(collector: CollectorProcess, name: str) -> int:
    """Save a view; return the response's status."""
    body = json.dumps({"page": "runs", "parameters": {"where": "latency_ms > 200"}}).encode()
    path = f"/api/v1/projects/p/views/{name}"
    return ask(collector, path, method="PUT", body=body, content_type="application/json").status


@at_night
def test_two_collectors_before_two_replicas(tmp_path: Path) -> None:
    """Two collectors with two replicas lose no runs and no views, even if one replica lags."""
    with replicas(tmp_path) as (first, second):
        database = first.make_database()
        wait_until(lambda: database in second.command("SHOW DATABASES"))
        connect(first.url(database)).close()
        first.simulate(fetch_s=0.1)
        with (
            running(tmp_path / "a", "--store", first.url(database)) as one,
            running(tmp_path / "b", "--store", second.url(database)) as other,
            ThreadPoolExecutor(4) as pool,
        ):
            requests = [make_request("p", 20) for _ in range(4)]
            both = [one, other, one, other]
            list(pool.map(send, both, requests))
            names = [f"view-{number}" for number in range(4)]
            assert set(pool.map(save_view, both, names)) <= {200, 201}
            for each in (one, other):
                wait_until(lambda each=each: len(each.runs("p")) == 80)  # type: ignore[misc]  # mypy takes no default
                found = each.get("/projects/p/views")["views"]
                assert sorted(view["name"] for view in found) == names
                sent = {run for request in requests for run in run_ids(request)}
                assert {run["run_id"] for run in each.runs("p")} == sent


@at_night
def test_revoke_key_while_a_shard_is_down(tmp_path: Path) -> None:
    """Keys can be created and revoked while a shard is down; the shard catches up later.

    The two servers represent shards, because all shards store the same keys.
    """
    with replicas(tmp_path) as (first, second):
        database = first.make_database()
        wait_until(lambda: database in second.command("SHOW DATABASES"))
        connect(first.url(database)).close()
        with (
            running(tmp_path / "a", "--store", first.url(database)) as one,
            running(tmp_path / "b", "--store", second.url(database)) as other,
        ):
            admin = make_key(one, "", scopes="admin")
            leaked = make_key(one, admin)
            for each in (one, other):
                wait_until(lambda each=each: may_read(each, leaked))  # type: ignore[misc]  # mypy takes no default
            second.kill()
            [listed] = [
                key["id"]
                for key in ask(one, "/api/v1/keys", admin).json["keys"]
                if leaked.startswith(f"omk_{key['id']}_")
            ]
            assert ask(one, f"/api/v1/keys/{listed}", admin, method="DELETE").status == 200
            assert not may_read(one, leaked)
            made = make_key(one, admin)
            assert may_read(one, made)
            second.restart()
            second.simulate(leader=first.port)
            wait_until(lambda: may_read(other, made))
            wait_until(lambda: not may_read(other, leaked))


def may_read(collector: CollectorProcess, key: str) -> bool:
    return ask(collector, "/api/v1/projects", key).status == 200


@at_night
def test_too_few_replicas(alone: ClickHouse, tmp_path: Path) -> None:
    """Without a quorum nothing is acknowledged; once it is back, the collector continues."""
    url = alone.url(alone.make_database())
    with running(tmp_path / "none", "--store", url) as collector:
        request = make_request("p", 3)
        alone.simulate(live=1)
        status, _, answer = collector.post("/v1/traces", request.SerializeToString(), PROTOBUF)
        assert status == 503, answer
        alone.simulate(live=2)
        send(collector, request)
        assert {run["run_id"] for run in collector.runs("p")} == set(run_ids(request))


@at_night
def test_short_lack_of_replicas(alone: ClickHouse, tmp_path: Path) -> None:
    """A quorum that is missing for less than 3 s delays an insert but causes no error."""
    with closing(connect(alone.url(alone.make_database()))) as connections:
        client = connections.open()
        alone.simulate(live=1)
        with ThreadPoolExecutor(1) as pool:
            stored = pool.submit(client.insert, "store_meta", [["waited", 1]])
            alone.simulate(live=2)
            stored.result(30)
        count = Sql("SELECT count() FROM store_meta WHERE name = 'waited'")
        assert client.query(count).result_rows == [(1,)]


@at_night
def test_sketches_of_a_resent_insert(alone: ClickHouse, tmp_path: Path) -> None:
    """A day's runs are counted once even if the response to the insert of its sketches is lost."""
    url = alone.url(alone.make_database())
    with open_service(tmp_path / "none", store=url) as service:
        day_ns = NOW_NS // DAY_NS * DAY_NS
        calls = [
            make_call(
                "model",
                {"otel_ml.inputs": '{"a": 1}'},
                trace_id=trace_id(number),
                span_id=span_id(number),
            )
            for number in range(1, 5)
        ]
        service.store.take("p", *calls)
        connections = service.store.connections
        client = connections.open()
        alone.simulate(cut_inserts={"sketches": 1})
        sketch_day(client, connections.memory, "p", day_ns, NOW_NS + 2 * DAY_NS)
        assert alone.simulate()["cut_inserts"] == {"sketches": 0}
        counted = client.query(
            Sql("""SELECT sum(n) FROM sketches
            WHERE hour_ns = -1 AND part = 'number' AND field = 'latency_ms'""")
        ).result_rows
        assert counted == [(4,)]


@pytest.mark.parametrize("version", ["18.16.1", "25.8.2.29"])
def test_old_server(version: str) -> None:
    """A server that is too old is refused, and the error has the required version."""
    with pytest.raises(BadSetting, match=f"has version {version}: needs 26.x$"):
        refuse_version(version)
    refuse_version("26.1.3.52")
    refuse_version("27.1")


@at_night
def test_no_window(alone: ClickHouse) -> None:
    """A table without the deduplication setting is fixed; a table that turns it off is refused."""
    database = alone.make_database()
    connect(alone.url(database)).close()
    window = "non_replicated_deduplication_window"
    alone.command(f"ALTER TABLE {database}.sketches RESET SETTING {window}")
    connect(alone.url(database)).close()
    assert f"{window} = 1000" in alone.command(f"SHOW CREATE TABLE {database}.sketches")
    alone.command(f"ALTER TABLE {database}.documents MODIFY SETTING {window} = 0")
    with pytest.raises(BadSetting, match=f"The table documents of the store has {window} = 0"):
        connect(alone.url(database))
