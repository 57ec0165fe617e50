"""A collector that is killed while data sets change: nothing is lost, and no change is refused."""

import json
import random
import threading
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final

from tests.support.collector import CollectorProcess, running
from tests.support.examples import examples
from tests.support.sampling import harder

KILLS: Final = examples(20, on_commit=2)
LATEST_S: Final = 0.6
PATH: Final = "/projects/kills/datasets"
JSON: Final = {"content-type": "application/json"}


def save(collector: CollectorProcess, item: str) -> int:
    """Save an item; return the status, or 0 if nobody answers."""
    body = json.dumps({"items": [{"id": item, "inputs": {"text": item * 2_000}}]}).encode()
    try:
        status, _, _ = collector.post(f"/api/v1{PATH}/qa/items", body, JSON)
    except (OSError, HTTPException):
        return 0
    return status


def newest(collector: CollectorProcess) -> dict[str, Any]:
    [listed] = collector.get(PATH)["datasets"]
    return dict(listed)


@harder
def test_kills_during_changes(tmp_path: Path) -> None:
    """After each kill the newest version is complete, and has every item that was acknowledged."""
    draw = random.Random(53)  # noqa: S311 - the same each time
    acknowledged: set[str] = set()
    number = 0
    with running(tmp_path) as collector:
        for _ in range(KILLS):
            death = threading.Timer(draw.uniform(0.05, LATEST_S), collector.kill)
            death.start()
            while (status := save(collector, f"i{number:04}")) != 0:
                assert status == 200
                acknowledged.add(f"i{number:04}")
                number += 1
            death.join()
            number += 1
            collector.restart()
            assert save(collector, f"i{number:04}") == 200
            acknowledged.add(f"i{number:04}")
            number += 1
            version = newest(collector)
            assert version["is_complete"], version
            items = collector.get(f"{PATH}/qa/versions/{version['version']}/items", limit=1_000)
            assert {item["id"] for item in items["items"]} >= acknowledged
