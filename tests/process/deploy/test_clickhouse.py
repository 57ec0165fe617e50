"""Tests of the tables and the profile for a ClickHouse cluster; replication is not run."""

from xml.etree import ElementTree

import chdb
import pytest

from otel_ml_collector.store.schema import TABLES
from tests.support.deploy import cluster
from tests.support.deploy.tools import DEPLOY

FOLDER = DEPLOY / "clickhouse"


def test_file_is_of_the_schema() -> None:
    """The file `cluster.sql` is generated from the current schema."""
    assert (FOLDER / "cluster.sql").read_text() == cluster.text()


def test_every_table_is_replicated() -> None:
    """Each table of the schema is created once, with a replicated engine."""
    made = [text for text in cluster.statements() if "ENGINE = Replicated" in text]
    assert len(made) == len(TABLES)


def test_statements_are_parsed() -> None:
    """ClickHouse can parse each statement, and reports a syntax error in a wrong one."""
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
    """ClickHouse knows each setting of the profile."""
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
