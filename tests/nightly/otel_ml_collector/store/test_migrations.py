"""Slow cases of tests/process/otel_ml_collector/store/test_migrations.py."""

from pathlib import Path

import pytest

from otel_ml_collector.store.sql import Sql
from tests.process.otel_ml_collector.store.test_migrations import Olds, answers, make_old, open_raw
from tests.support.otel_ml_collector.spans import (
    DAY_NS,
    NOW_NS,
)
from tests.support.otel_ml_collector.stores import open_service, open_store


@pytest.fixture(scope="module")
def olds(tmp_path_factory: pytest.TempPathFactory) -> Olds:
    return Olds(tmp_path_factory.mktemp("today"))


def test_rollup_of_joined_versions(tmp_path: Path, olds: Olds) -> None:
    """Days whose rollup joined the versions of a judge are told from their runs until computed."""
    make_old(tmp_path, 6, olds[6].rows)
    day_ns = NOW_NS // DAY_NS * DAY_NS - 40 * DAY_NS
    with open_raw(tmp_path) as client:  # as the program of that schema computed the day
        cell = {"kind": "model", "model": "answer", "digest": "bb", "outcome": "ok"}
        said = {"judge": "grounded", "evaluations": 9, "score": 9, "scored": 9}
        day = {"project": "p6", "day_ns": day_ns, "computed_ns": 7}
        for table, row in (("daily_scores", {**day, **cell, **said}), ("daily", day)):
            client.insert(table, [list(row.values())], column_names=list(row))
        client.command("ALTER TABLE daily UPDATE marked_ns = 0 WHERE 1 SETTINGS mutations_sync = 2")
    with open_service(tmp_path) as service:
        assert answers(service, 6, olds[6].spans) == olds[6].expected
        service.store.compute("p6", [day_ns])
        assert answers(service, 6, olds[6].spans) == olds[6].expected
        cells = Sql(
            "SELECT judge, judge_version, evaluations FROM daily_scores WHERE computed_ns > 7"
        )
        assert service.store.connections.open().query(cells).result_rows == [("grounded", "b2", 1)]


def test_repeated_steps(tmp_path: Path, olds: Olds) -> None:
    """Steps that run again, because a kill came before they were noted, change no answer."""
    make_old(tmp_path, 2, olds[2].rows)
    with open_store(tmp_path):
        pass
    with open_raw(tmp_path) as client:
        client.command("TRUNCATE TABLE store_meta")
        client.insert("store_meta", [["schema", 2]], column_names=["name", "value"])
    with open_service(tmp_path) as service:
        assert answers(service, 2, olds[2].spans) == olds[2].expected
