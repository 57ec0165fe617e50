"""The tables and the profile for a ClickHouse cluster: its replication is not run here."""

from http import HTTPStatus
from pathlib import Path
from urllib.request import Request, urlopen
from xml.etree import ElementTree

import chdb
import pytest

from otel_ml_collector.store.schema import TABLE_NAMES, TABLES
from tests.deploy import cluster
from tests.deploy.tools import DEPLOY
from tests.support.clickhouse import clickhouse
from tests.support.collector import CollectorProcess, running
from tests.support.load import PROTOBUF, make_request, run_ids

FOLDER = DEPLOY / "clickhouse"


def test_file_is_of_the_schema() -> None:
    """The file is what is made of today's schema."""
    assert (FOLDER / "cluster.sql").read_text() == cluster.text()


def test_every_table_is_replicated() -> None:
    """Each table of the schema is made once, on replicas."""
    made = [text for text in cluster.statements() if "ENGINE = Replicated" in text]
    assert len(made) == len(TABLES)


def test_tables_work(tmp_path: Path) -> None:
    """A collector stores, finds, and deletes in these tables, of which it made none itself."""
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
    """Delete a project; returns the status of the answer."""
    address = f"{collector.endpoint}/api/v1/projects/{project}"
    with urlopen(Request(address, method="DELETE"), timeout=60) as answer:
        status: int = answer.status
    return status


def test_statements_are_parsed() -> None:
    """ClickHouse's parser takes each statement, and nothing else."""
    connection = chdb.connect(":memory:")  # type: ignore[no-untyped-call]  # it carries no types
    try:
        for statement in cluster.statements():
            asked = "SELECT formatQuery({text:String})"
            parsed = connection.query(
                asked, "TabSeparatedRaw", params={"text": _escaped(statement)}
            )
            assert parsed.bytes().startswith((b"CREATE ", b"INSERT "))
        with pytest.raises(RuntimeError, match="SYNTAX_ERROR"):
            connection.query("SELECT formatQuery('CREATE TABLE nothing ENGINE')")
    finally:
        connection.close()


def test_settings_are_known() -> None:
    """Each setting of the profile is one that ClickHouse has."""
    tree = ElementTree.parse(FOLDER / "users.xml")  # noqa: S314 - a file of ours
    [profile] = tree.iter("otel_ml")
    connection = chdb.connect(":memory:")  # type: ignore[no-untyped-call]  # it carries no types
    try:
        for setting in profile:
            connection.query(f"SET {setting.tag} = '{setting.text}'")
        with pytest.raises(RuntimeError, match="UNKNOWN_SETTING"):
            connection.query("SET no_such_setting = 1")
    finally:
        connection.close()


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t")
