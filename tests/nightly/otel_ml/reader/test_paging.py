"""Slow cases of tests/process/otel_ml/reader/test_paging.py."""

import threading

import pytest

from otel_ml.reader import Reader
from tests.process.otel_ml.reader.test_paging import PROJECT, RUNS, send
from tests.support.collector import CollectorProcess


@pytest.fixture(scope="module")
def stored(collector: CollectorProcess) -> list[str]:
    return send(collector, RUNS)


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
