"""Concurrent writers and readers: no list contains a run twice, and finally each is listed."""

import threading
import time
from typing import Final

from tests.bench.dataset import PROJECTS, Dataset, Plan, project_name
from tests.bench.dataset_load import send_all
from tests.support.collector import CollectorProcess
from tests.support.examples import examples
from tests.support.sampling import at_night, harder

WRITERS: Final = 8
READERS: Final = 8
RUNS: Final = examples(2_000, on_commit=500)


@at_night
@harder
def test_every_id_once(collector: CollectorProcess) -> None:
    """Lists read while eight writers send and repeat requests contain each run once."""
    dataset = Dataset(Plan(RUNS, time.time_ns()))
    ended, twice, pages = threading.Event(), list[str](), list[int]()

    def read(project: str) -> None:
        while not ended.is_set():
            ids = [run["run_id"] for run in collector.runs(project)]
            twice.extend({run_id for run_id in ids if ids.count(run_id) > 1})
            pages.append(len(ids))

    readers = [threading.Thread(target=read, args=(project_name(n),)) for n in range(READERS)]
    for reader in readers:
        reader.start()
    try:
        send_all(collector.endpoint, dataset.requests(spans=100), in_flight=WRITERS)
    finally:
        ended.set()
        for reader in readers:
            reader.join()
    there = [run["run_id"] for n in range(PROJECTS) for run in collector.runs(project_name(n))]
    assert (twice, len(there), len(set(there))) == ([], dataset.made, dataset.made)
    assert pages
