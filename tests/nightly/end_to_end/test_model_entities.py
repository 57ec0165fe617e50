"""Slow cases of tests/process/end_to_end/test_model_entities.py."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest

from otel_ml import Client
from otel_ml.reader import Unreachable
from tests.process.end_to_end.test_model_entities import post, two_versions
from tests.support.collector import running


def test_no_collector() -> None:
    """If the collector is unreachable, reading raises; metrics logged here are still returned."""
    client = Client("nowhere", endpoint="http://127.0.0.1:9")
    model = client.model("churn")
    for ask in (model.versions, lambda: model.latest, lambda: model.metrics):
        with pytest.raises(Unreachable, match=r"No answer from http://127\.0\.0\.1:9"):
            ask()
    named = client.model("churn", {"a": 1})
    named.log_metrics({"auc": 1})
    assert named.metrics == {"auc": 1.0}


def test_any_order_twice(tmp_path: Path) -> None:
    """Alias moves that arrive twice, in different orders, from two writers, give equal results."""
    found = []
    for number, order in enumerate(([0, 1, 2, 3], [3, 1, 2, 0, 3, 0, 1, 2])):
        with running(tmp_path / str(number)) as collector:
            two_versions(collector, "order")
            collector_moves = [
                {"alias": "champion", "version": 1, "by": "ann", "id": "a", "time": MINUTE[0]},
                {"alias": "champion", "version": 2, "by": "bob", "id": "b", "time": MINUTE[1]},
                {"alias": "champion", "version": 1, "by": "eve", "id": "c", "time": MINUTE[1]},
                {"alias": "candidate", "version": 2, "by": "eve", "id": "d", "time": MINUTE[2]},
            ]
            with ThreadPoolExecutor(2) as writers:
                told = [collector_moves[place] for place in order]
                for status, _, body in writers.map(lambda one: post(collector, one), told):
                    assert status == 200, body
            found.append(collector.get("/projects/order/models/churn/aliases"))
    assert found[0] == found[1]
    assert len(found[0]["history"]) == 4
    assert {one["alias"] for one in found[0]["aliases"]} == {"champion", "candidate"}


MINUTE: Final = [
    (datetime.now(UTC) - timedelta(minutes=minutes)).isoformat() for minutes in (3, 2, 1)
]
