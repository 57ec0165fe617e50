"""Slow cases of tests/process/deploy/test_clickhouse.py."""

from http import HTTPStatus
from pathlib import Path
from urllib.request import Request, urlopen

from otel_ml_collector.store.schema import TABLE_NAMES
from tests.support.clickhouse import clickhouse
from tests.support.collector import CollectorProcess, running
from tests.support.deploy import cluster
from tests.support.load import PROTOBUF, make_request, run_ids


def test_tables_work(tmp_path: Path) -> None:
    """A collector stores, finds and deletes in predefined tables without creating any."""
    with clickhouse(tmp_path / "server") as server:
        for statement in cluster.statements():
            server.command(cluster.without_replication(statement))
        made = set(server.command(f"SHOW TABLES FROM {cluster.DATABASE}").split())
        assert made == {*TABLE_NAMES, "scores_of_metrics"}
        url = server.url(cluster.DATABASE)
        with running(tmp_path / "none", "--store", url) as collector:
            kept, deleted = make_request("kept", 3), make_request("deleted", 3)
            for request in (kept, deleted):
                collector.deliver(request.SerializeToString(), PROTOBUF)
            assert len(collector.runs("deleted")) == 3
            assert delete_project(collector, "deleted") == HTTPStatus.OK
            assert collector.runs("deleted") == []
            assert {run["run_id"] for run in collector.runs("kept")} == set(run_ids(kept))


def delete_project(collector: CollectorProcess, project: str) -> int:
    """Delete a project, and return the status of the response."""
    address = f"{collector.endpoint}/api/v1/projects/{project}"
    with urlopen(Request(address, method="DELETE"), timeout=60) as answer:
        status: int = answer.status
    return status
