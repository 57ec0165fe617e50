"""Slow cases of tests/store/otel_ml_collector/store/test_writer.py."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from otel_ml_collector.store.schema import TABLE_NAMES
from otel_ml_collector.store.sql import Sql, identifier
from tests.store.otel_ml_collector.store.test_writer import answers, make_story
from tests.support.otel_ml_collector.stores import Store, open_store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Open a store for one test, so that the next test can open another."""
    with open_store(tmp_path) as opened:
        yield opened


def test_merged_repetition(store: Store) -> None:
    """Records that arrived twice read the same before and after the engine merges them."""
    story = make_story()
    for _ in range(2):
        store.take("merged", *story)
    before = answers(store, "merged", story)
    client = store.connections.open()
    for table in (
        "runs",
        "open_runs",
        "processes",
        "payloads",
        "metrics",
        "objects",
        "scores",
        "model_versions",
    ):
        client.command(
            Sql("OPTIMIZE TABLE {table} FINAL").fill(table=identifier(table, TABLE_NAMES))
        )
    assert answers(store, "merged", story) == before
