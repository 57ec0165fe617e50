"""Slow cases of tests/process/contract/test_server.py."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.process.contract.test_roads import send
from tests.support.clickhouse import Server
from tests.support.collector import CollectorProcess, running
from tests.support.keys import ask, make_key
from tests.support.load import make_request, run_ids
from tests.support.waiting import wait_until


def test_two_collectors(server: Server, tmp_path: Path) -> None:
    """Two collectors on one store give equal answers, whichever of them received the data."""
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


def test_two_collectors_change_one_data_set(server: Server, tmp_path: Path) -> None:
    """Of concurrent changes to one version, one succeeds; unconditional changes are all kept."""
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
    """List runs in pages, each from the collector that did not issue the cursor."""
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
    """Check that keys made or revoked at one collector soon take effect at the other."""
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
