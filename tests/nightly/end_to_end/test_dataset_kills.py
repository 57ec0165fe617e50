"""Changes to a data set while the collector is killed: nothing is lost, and none is refused."""

import json
import random
import threading
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final

from tests.support.collector import CollectorProcess, running

KILLS: Final = 20
LATEST_S: Final = 0.6
ITEMS: Final = 4
PATH: Final = "/projects/kills/datasets"
JSON: Final = {"content-type": "application/json"}


def ids_of(number: int) -> list[str]:
    """Return the item ids of one request."""
    return [f"i{number:04}-{place}" for place in range(ITEMS)]


def save(collector: CollectorProcess, number: int) -> int:
    """Save the items of one request; return the status, or 0 if there is no response."""
    items = [{"id": item, "inputs": {"text": item * 500}} for item in ids_of(number)]
    body = json.dumps({"items": items}).encode()
    try:
        status, _, _ = collector.post(f"/api/v1{PATH}/qa/items", body, JSON)
    except (OSError, HTTPException):
        return 0
    return status


def newest(collector: CollectorProcess) -> dict[str, Any]:
    [listed] = collector.get(PATH)["datasets"]
    return dict(listed)


def test_kills_during_changes(tmp_path: Path) -> None:
    """After each kill, the newest version is complete and has each item once.

    A request that was not acknowledged is sent again, as clients do.
    """
    draw = random.Random(53)  # noqa: S311 - the same each time
    number = 0
    with running(tmp_path) as collector:
        for _ in range(KILLS):
            death = threading.Timer(draw.uniform(0.05, LATEST_S), collector.kill)
            death.start()
            while (status := save(collector, number)) != 0:
                assert status == 200
                number += 1
            death.join()
            collector.restart()
            assert save(collector, number) == 200
            number += 1
            version = newest(collector)
            assert version["is_complete"], version
            found = collector.get(f"{PATH}/qa/versions/{version['version']}/items", limit=1_000)
            ids = sorted(item["id"] for item in found["items"])
            assert ids == [item for sent in range(number) for item in ids_of(sent)]
            assert version["items"] == number * ITEMS
