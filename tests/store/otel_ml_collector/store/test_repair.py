"""Tests of failing file writes, which the embedded engine does not report.

A limit on the size of this process' files simulates a full disk.
"""

import re
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from otel_ml_collector.errors import Unavailable
from otel_ml_collector.store.mutations import Mutator
from otel_ml_collector.store.repair import Repair
from otel_ml_collector.store.sql import Sql
from tests.support.otel_ml_collector.spans import make_call
from tests.support.otel_ml_collector.stores import Store, open_store
from tests.support.sampling import at_night, sampled

GROUPS: Final = 5
MERGE: Final = Sql("OPTIMIZE TABLE runs FINAL")
RUNNING: Final = Sql(
    "SELECT 1 FROM system.processes WHERE query LIKE '%WHERE sleepEachRow%' AND read_rows > 0"
)
DELETE: Final = Sql("DELETE FROM runs WHERE name = 'm0'")


@contextmanager
def refusing(most_bytes: int = 0) -> Iterator[None]:
    """Prevent files of this process from growing beyond a size."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Return a store with one part for each of a few runs, without background merges."""
    with open_store(tmp_path) as opened:
        opened.connections.open().command(Sql("SYSTEM STOP MERGES runs"))
        for number in range(GROUPS):
            opened.take("p", make_call(f"m{number}"))
        yield opened


@at_night
def test_one_line_a_minute(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """While writes keep failing, each pass repairs the store and the log has one line."""
    repair, client = Repair(store.connections), store.connections.open(confirms=False)
    client.command(Sql("SYSTEM START MERGES runs"))
    for _ in range(2):
        with refusing(1_000):
            client.command(MERGE)
        repair.run_pass()
        assert len(names(store)) == GROUPS
    assert len(caplog.messages) == 1


def names(store: Store) -> list[str]:
    found = store.reader.rows(Sql("SELECT * FROM runs FINAL ORDER BY name"), {})
    return [row["name"] for row in found]


def test_merge(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """A merge whose files cannot be written loses no data: its source parts are restored."""
    repair, client = Repair(store.connections), store.connections.open(confirms=False)
    all_names = names(store)
    client.command(Sql("SYSTEM START MERGES runs"))
    with refusing(1_000):
        client.command(MERGE)
    with pytest.raises(Unavailable):
        names(store)
    repair.run_pass()
    assert names(store) == all_names == [f"m{number}" for number in range(GROUPS)]
    (said,) = caplog.messages
    assert re.match(r".* files of the tables .*\bruns\b.*\. Nothing .* is lost: ", said)
    client.command(MERGE)
    repair.run_pass()
    assert names(store) == all_names
    caplog.clear()
    repair.run_pass()
    assert not caplog.messages


@sampled(1)
@pytest.mark.parametrize("most_bytes", [0, 500])
def test_insert(store: Store, most_bytes: int) -> None:
    """Rows that could not be written raise an error and do not prevent reading other rows."""
    repair = Repair(store.connections)
    client = store.connections.open()
    copy = Sql("INSERT INTO runs SELECT * REPLACE (name || '!' AS name) FROM runs")
    with refusing(most_bytes), pytest.raises(Unavailable, match="could not write its files"):
        client.command(copy)
    repair.run_pass()
    assert names(store) == [f"m{number}" for number in range(GROUPS)]
    client.command(copy)
    assert len(names(store)) == GROUPS


def test_group(tmp_path: Path) -> None:
    """If a file could not be written during a batch, the batch is rejected so it is sent again."""
    with open_store(tmp_path) as store:
        with refusing():
            probe = Sql("INSERT INTO store_meta VALUES ('probe', 1)")
            store.connections.open(confirms=False).command(probe)
        call = make_call("m")
        with pytest.raises(Unavailable, match="could not write its files"):
            store.take("p", call)
        store.take("p", call)
        assert names(store) == ["m"]


@at_night
def test_version_of_a_group(tmp_path: Path) -> None:
    """After a failed write, a batch sent again is stored completely, including its version."""
    with open_store(tmp_path) as store:
        client = store.connections.open(confirms=False)
        client.command(Sql("SYSTEM STOP MERGES model_versions"))
        with refusing():
            client.command(Sql("INSERT INTO store_meta VALUES ('probe', 1)"))
        call = make_call("m", {"otel_ml.model.version": "d1"})
        with pytest.raises(Unavailable):
            store.take("p", call)
        for _ in range(2):
            store.take("p", call)
            rows = store.reader.rows(Sql("SELECT count() AS rows FROM model_versions"), {})
            assert rows[0]["rows"] == 2


def test_statement(store: Store, tmp_path: Path) -> None:
    """A mutation that cannot be recorded is aborted, and works after the disk has room again."""
    client = store.connections.open()
    with refusing(), pytest.raises(Unavailable, match="The store cannot change runs now"):
        Mutator(client, store.connections.folder).run("runs", DELETE)
    assert len(names(store)) == GROUPS
    assert not list(tmp_path.glob("store/store/*/*/mutation_*.txt"))
    client.command(Sql("SYSTEM START MERGES runs"))
    Mutator(client, store.connections.folder).run("runs", DELETE)
    assert len(names(store)) == GROUPS - 1


@at_night
def test_statement_of_a_killed_collector(tmp_path: Path) -> None:
    """A mutation file half-written by a killed collector does not prevent opening the store."""
    with open_store(tmp_path) as store:
        store.take("p", make_call("m"))
        rows = store.reader.rows(
            Sql("SELECT data_paths[1] AS folder FROM system.tables WHERE name = 'runs'"), {}
        )
        folder = Path(rows[0]["folder"])
    (folder / "mutation_7.txt").write_bytes(b"")
    with open_store(tmp_path) as store:
        assert names(store) == ["m"]
