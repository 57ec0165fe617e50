"""Tests of opening and closing the store; each test has its own stores."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import clickhouse_connect
import pytest

from otel_ml_collector.errors import BadSetting
from otel_ml_collector.store.migrations import SCHEMA_VERSION, connect
from otel_ml_collector.store.schema import META
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.store.tables import RUNS
from tests.support.otel_ml_collector.spans import make_call
from tests.support.otel_ml_collector.stores import open_store
from tests.support.sampling import at_night, sampled

# Another process opens the store and prints the outcome.
OPENER = """
import sys
from otel_ml_collector.errors import BadSetting
from otel_ml_collector.store.migrations import connect
try:
    connect(sys.argv[1]).close()
    print("opened")
except BadSetting as error:
    print(error)
"""
NAMES = Sql("SELECT name FROM runs ORDER BY name")


def open_elsewhere(path: Path) -> str:
    """Open the store of a folder in another process; return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", OPENER, f"chdb://{path}"],
        capture_output=True,
        text=True,
        timeout=180,
        check=True,
    )
    return done.stdout


@at_night
def test_reopen(tmp_path: Path) -> None:
    """Stored runs are still there when the store is reopened."""
    with open_store(tmp_path) as store:
        store.take("p", make_call("one"), make_call("two"))
    with open_store(tmp_path) as store:
        assert store.reader.rows(NAMES, {}) == [{"name": "one"}, {"name": "two"}]


@at_night
def test_two_folders(tmp_path: Path) -> None:
    """Two stores that are opened one after the other share nothing."""
    with open_store(tmp_path / "a") as store:
        store.take("p", make_call("one"))
    with open_store(tmp_path / "b") as store:
        assert store.reader.rows(NAMES, {}) == []


@at_night
def test_made_folder(tmp_path: Path) -> None:
    """A missing folder is created, together with its parents."""
    connect(f"chdb://{tmp_path}/above/data").close()
    assert (tmp_path / "above/data/store").is_dir()


def test_backup_as_folder(tmp_path: Path) -> None:
    """A backup is refused as a data directory: the collector would not find its records."""
    (tmp_path / "backup.json").write_text("{}")
    with pytest.raises(BadSetting) as caught:
        connect(f"chdb://{tmp_path}")
    assert str(caught.value) == (
        f"The data directory {tmp_path} cannot be used: it is a backup. Restore it with otel-ml "
        f"restore {tmp_path} --data-dir NEW, and use NEW as the data directory"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["backup.json"]


@sampled(1)
@pytest.mark.parametrize("name", ["a folder", "100%", "a%41", "#1", "ü", "a&b=c"])
def test_quoted_folder(tmp_path: Path, name: str) -> None:
    """A folder with any name can be given in an address, and nothing is written outside it."""
    connect(f"chdb://{quote(str(tmp_path / name))}").close()
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name / "store").is_dir()


def test_folder_that_the_engine_misreads(tmp_path: Path) -> None:
    """If a folder's name looks like options to the engine, nothing is written outside it."""
    with contextlib.suppress(BadSetting):
        connect(f"chdb://{quote(str(tmp_path / 'what?'))}").close()
    assert {path.name for path in tmp_path.iterdir()} <= {"what?"}


def test_second_process(tmp_path: Path) -> None:
    """For a second process the error names the process that uses the folder."""
    with open_store(tmp_path):
        assert open_elsewhere(tmp_path) == (
            f"The data directory {tmp_path} is in use by another collector "
            f"(process {os.getpid()}); stop it, or choose another --data-dir\n"
        )


@at_night
def test_second_process_leaves_no_trace(tmp_path: Path) -> None:
    """The first process continues after a second one was refused."""
    with open_store(tmp_path) as store:
        open_elsewhere(tmp_path)
        store.take("p", make_call("one"))
        assert store.reader.rows(NAMES, {}) == [{"name": "one"}]


def test_close(tmp_path: Path) -> None:
    """A closed store can be opened by another process."""
    with open_store(tmp_path):
        pass
    assert open_elsewhere(tmp_path) == "opened\n"


@at_night
def test_close_twice(tmp_path: Path) -> None:
    """A second close is harmless."""
    connections = connect(f"chdb://{tmp_path}")
    connections.close()
    connections.close()


def test_private(tmp_path: Path) -> None:
    """Other users of the machine cannot read the folder of the records."""
    with open_store(tmp_path):
        assert (tmp_path / "store").stat().st_mode & 0o777 == 0o700


def test_newer_schema(tmp_path: Path) -> None:
    """A store with a newer schema is refused and left unchanged."""
    with clickhouse_connect.get_client(interface="chdb", path=str(tmp_path / "store")) as client:
        client.command(META)
        client.insert("store_meta", [["schema", 99]], column_names=["name", "value"])
        client.command("CREATE TABLE future (n UInt64) ENGINE = MergeTree ORDER BY n")
    with pytest.raises(
        BadSetting,
        match=rf"^The store has schema 99, but this program supports {SCHEMA_VERSION}: "
        r"use a newer otel-ml, nothing was changed$",
    ):
        connect(f"chdb://{tmp_path}")
    with clickhouse_connect.get_client(interface="chdb", path=str(tmp_path / "store")) as client:
        assert client.query("SHOW TABLES").result_rows == [("future",), ("store_meta",)]
        assert client.query("SELECT * FROM store_meta").result_rows == [("schema", 99)]


def test_same_schema(tmp_path: Path) -> None:
    """Reopening a store does not create it again."""
    for _ in range(2):
        with open_store(tmp_path) as store:
            sql = Sql("SELECT name, value FROM store_meta ORDER BY name")
            rows = store.reader.rows(sql, {})
    assert rows == [
        {"name": "schema", "value": SCHEMA_VERSION},
        {"name": "two_structures", "value": 0},
    ]


@at_night
def test_interrupted_creation(tmp_path: Path) -> None:
    """A store whose creation was interrupted is completed when it is reopened."""
    with clickhouse_connect.get_client(interface="chdb", path=str(tmp_path / "store")) as client:
        client.command(META)
        client.command(RUNS.ddl)
    with open_store(tmp_path) as store:
        store.take("p", make_call("one"))
        assert store.reader.rows(NAMES, {}) == [{"name": "one"}]


@sampled(3)
@pytest.mark.parametrize(
    "address",
    [
        "",
        "nonsense",
        "chdb://",
        "chdb:///",
        "chdb://host/path",
        "postgres://localhost/db",
        "clickhouse://",
        "clickhouse:///db",
        "clickhouse://localhost:port/db",
        "clickhouse://localhost:99999/db",
        "clickhouse://[::1/db",
    ],
)
def test_invalid_address(address: str) -> None:
    """For an invalid address the error contains the expected form."""
    with pytest.raises(BadSetting) as caught:
        connect(address)
    assert str(caught.value) == (
        f"Invalid store {address!r}: expected chdb:///absolute/path or "
        "clickhouse://user:password@host:port/database"
    )


def test_invalid_address_with_password() -> None:
    """An error about an address hides its password."""
    with pytest.raises(BadSetting) as caught:
        connect("mysql://me:geheim@localhost/db")
    assert "geheim" not in str(caught.value)
    assert "mysql://me:***@localhost/db" in str(caught.value)


def test_no_server() -> None:
    """An error about an unreachable server hides its password."""
    with pytest.raises(BadSetting) as caught:
        connect("clickhouse://me:geheim@127.0.0.1:1/db")
    message = str(caught.value)
    assert message.startswith("The store at clickhouse://me:***@127.0.0.1:1/db cannot be opened: ")
    assert "geheim" not in message


def test_unknown_option() -> None:
    """An unknown option in a server's address is named in the error."""
    with pytest.raises(BadSetting, match="colour"):
        connect("clickhouse://127.0.0.1:1/db?colour=blue")


def test_file_in_the_way(tmp_path: Path) -> None:
    """If a file exists in place of the folder, the error is one line."""
    (tmp_path / "data").write_text("")
    with pytest.raises(BadSetting, match=r"^The data directory .* cannot be used: ") as caught:
        connect(f"chdb://{tmp_path}/data")
    assert "\n" not in str(caught.value)
