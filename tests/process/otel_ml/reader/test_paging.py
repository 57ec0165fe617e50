"""Lists of several pages, read while others write."""

import threading
from typing import Final

import pytest

from otel_ml.reader import Reader
from tests.process.otel_ml.reader.servers import answering, passing_on
from tests.support.collector import CollectorProcess
from tests.support.load import PROTOBUF, make_request, run_ids
from tests.support.sampling import at_night

PROJECT: Final = "paged"
RUNS: Final = 1_700  # four pages


def send(collector: CollectorProcess, runs: int, model: str = "load") -> list[str]:
    """Store runs; return their ids, oldest first."""
    request = make_request(PROJECT, runs, model=model)
    collector.deliver(request.SerializeToString(), PROTOBUF)
    return list(run_ids(request))


@pytest.fixture(scope="module")
def stored(collector: CollectorProcess) -> list[str]:
    return send(collector, RUNS)


def test_payloads_of_a_page_come_together(collector: CollectorProcess, stored: list[str]) -> None:
    """Reading every run's payload costs two requests per page, not one per run."""
    with answering(passing_on(collector.endpoint)) as between:
        reader = Reader(PROJECT, endpoint=between.endpoint)
        runs = reader.runs('model == "load"', order="oldest")
        told = [run.outputs for run in runs if run.inputs["question"]]
        assert told == [f"answer {place}" for place in range(RUNS)]
        assert len(between.asked) == 2 * 4


def test_limit_over_pages(collector: CollectorProcess, stored: list[str]) -> None:
    """A limit of more than a page is respected, for objects and for tables."""
    reader = Reader(PROJECT, endpoint=collector.endpoint)
    runs = reader.runs('model == "load"', limit=1_203)
    assert [run.run_id for run in runs] == stored[:-1_204:-1]
    assert runs.to_arrow("run_id")["run_id"].to_pylist() == stored[:-1_204:-1]


@at_night
def test_one_reader_for_several_threads(collector: CollectorProcess, stored: list[str]) -> None:
    """Several threads can share a reader."""
    reader = Reader(PROJECT, endpoint=collector.endpoint)
    found: list[int] = []

    def count() -> None:
        found.append(sum(1 for _ in reader.runs('model == "load"')))

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == [RUNS] * 4


@at_night
def test_pages_while_others_write(collector: CollectorProcess, stored: list[str]) -> None:
    """While runs arrive, reading four pages returns each run once, in order, with its payload."""
    stop, sent = threading.Event(), [0]

    def write() -> None:
        while not stop.is_set():
            sent[0] += len(send(collector, 50, "others"))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        reader = Reader(PROJECT, endpoint=collector.endpoint)
        for runs, expected in (
            (list(reader.runs()), stored[::-1]),
            (list(reader.runs(order="oldest")), stored),
        ):
            assert [run.run_id for run in runs if run.model == "load"] == expected
            assert len({run.run_id for run in runs}) == len(runs)
            [first] = [run for run in runs if run.run_id == stored[0]]
            assert first.inputs == {"question": "question 0"}
    finally:
        stop.set()
        writer.join()
    assert sent[0] > 0
