"""Two collectors on one server score history and live traffic, each run once."""

import json
from pathlib import Path
from typing import Final

from tests.support.clickhouse import clickhouse
from tests.support.collector import running
from tests.support.judged_shop import AT_ONCE, PRICES, JudgedShop
from tests.support.language_model import language_model

PAST: Final = 100
LIVE: Final = 20


def test_history_is_scored_once(tmp_path: Path) -> None:
    """During live traffic, a backfill by two collectors calls the judge once per run."""
    with language_model() as model, clickhouse(tmp_path / "server") as server:
        settings = [
            *("--store", server.url(server.make_database())),
            *("--judges", AT_ONCE, "--prices", PRICES),
            *("--judge-connections", json.dumps({"here": model.connection})),
        ]
        with running(tmp_path / "a", *settings) as one, running(tmp_path / "b", *settings) as other:
            first, second = JudgedShop(one, model), JudgedShop(other, model)
            first.send(PAST, days_ago=3)
            first.save()
            first.backfill(dollars=1)
            second.send(LIVE)
            ended = second.backfilled()
            first.judged(PAST + LIVE)
            assert (ended["scored"], ended["calls"]) == (PAST, PAST)
            assert second.call("GET", "/fits")[1]["calls_today"] == LIVE
            assert len(model.requests) == PAST + LIVE
