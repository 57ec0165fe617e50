"""Tests of the rows of runs in a collector that is killed."""

import os
import random
import re
import time
from pathlib import Path
from typing import Final

from tests.bench.dataset import Plan
from tests.bench.dataset_full import FullDataset
from tests.support.collector import CollectorProcess
from tests.support.otel_ml_collector.folded import count_rows, find_differing
from tests.support.otel_ml_collector.scored import count_scored, find_wrong_scores
from tests.support.otel_ml_collector.stores import open_store
from tests.support.sampling import at_night
from tests.support.waiting import elapsed, wait_until

RUNS: Final = int(os.environ.get("OTEL_ML_TEST_RUNS", "400"))
KILLS: Final = int(os.environ.get("OTEL_ML_TEST_KILLS", "3"))
HEADERS: Final = {"content-type": "application/x-protobuf"}
_BEHIND: Final = re.compile(r"^otel_ml_rows_behind_seconds (\S+)$", re.MULTILINE)


def is_done(collector: CollectorProcess) -> bool:
    """Return whether the effects of all records are in the rows."""
    match = _BEHIND.search(collector.get_text("/metrics"))
    return match is not None and float(match[1]) == 0


@at_night
def test_killed_at_any_moment(tmp_path: Path) -> None:
    """Rows equal what is resolved after kills, if records arrive in any order and partly twice.

    OTEL_ML_TEST_RUNS=100000 and OTEL_ML_TEST_KILLS=50 try more.
    """
    draw = random.Random(9)  # noqa: S311 - an order, no secret
    requests = [body for body, _ in FullDataset(Plan(RUNS, time.time_ns())).requests(64)]
    requests += draw.sample(requests, max(len(requests) // 10, 2))
    draw.shuffle(requests)
    collector = CollectorProcess(tmp_path)
    try:
        collector.wait_ready()
        for kill in range(KILLS + 1):
            for body in requests[kill :: KILLS + 1]:
                collector.deliver(body, HEADERS)
            if kill < KILLS:
                wait_until(elapsed(draw.uniform(0, 0.4)))
                collector.kill()
                collector.restart()
        wait_until(lambda: is_done(collector))
        assert collector.stop() == 0
    finally:
        collector.kill()
    with open_store(tmp_path) as store:
        rows = count_rows(store)
        assert rows.runs >= RUNS
        assert rows.folded > RUNS // 10
        assert find_differing(store) == []
        assert count_scored(store) > RUNS // 10
        assert find_wrong_scores(store) == []
