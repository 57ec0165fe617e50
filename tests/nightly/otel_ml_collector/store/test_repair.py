"""Slow cases of tests/store/otel_ml_collector/store/test_repair.py."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from otel_ml_collector.store.repair import Repair
from otel_ml_collector.store.sql import Sql
from tests.store.otel_ml_collector.store.test_repair import GROUPS, RUNNING, names, refusing
from tests.support.otel_ml_collector.spans import make_call
from tests.support.otel_ml_collector.stores import Store, open_store
from tests.support.waiting import wait_until


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Open a store with one part per run, and without background merges."""
    with open_store(tmp_path) as opened:
        opened.connections.open().command(Sql("SYSTEM STOP MERGES runs"))
        for number in range(GROUPS):
            opened.take("p", make_call(f"m{number}"))
        yield opened


def test_reader_meanwhile(store: Store) -> None:
    """A table that is being read is reloaded after the read has ended."""
    repair, client = Repair(store.connections), store.connections.open(confirms=False)
    slow = Sql("SELECT count() FROM runs WHERE sleepEachRow(0.3) = 0")
    reading = threading.Thread(target=store.connections.open().query, args=(slow,))
    with refusing():
        client.command(Sql("INSERT INTO runs SELECT * FROM runs"))
    client.command(Sql("SYSTEM STOP MERGES runs"))
    reading.start()
    wait_until(lambda: store.reader.rows(RUNNING, {}), about="the reader at work")
    repair.run_pass()
    assert len(names(store)) == GROUPS
    reading.join()
