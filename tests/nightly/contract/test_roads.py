"""Slow cases of tests/process/contract/test_roads.py."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
)

from tests.process.contract.test_roads import send
from tests.support.collector import CollectorProcess
from tests.support.load import make_request, run_ids

THREADS = 8


REQUESTS = 4


SPANS = 25


def in_threads(works: list[Callable[[], None]]) -> None:
    """Run several functions at once, and raise any of their errors."""
    with ThreadPoolExecutor(len(works)) as pool:
        for done in [pool.submit(work) for work in works]:
            done.result(60)


def contents(request: ExportTraceServiceRequest) -> dict[str, str]:
    """Return the input of each run of a request, as lists show it."""
    return {run: f"question {number}" for number, run in enumerate(run_ids(request))}


def test_distinct_ids_under_threads(collector: CollectorProcess) -> None:
    """While 8 threads write, 8 threads never read a run twice; finally all runs are complete.

    Rows of one insert are never mixed with rows of another insert.
    """
    project = "threads"
    requests = [[make_request(project, SPANS) for _ in range(REQUESTS)] for _ in range(THREADS)]
    written = threading.Event()

    def write(own: list[ExportTraceServiceRequest]) -> None:
        for request in own:
            send(collector, request)

    def read() -> None:
        while not written.is_set():
            found = [run["run_id"] for run in collector.runs(project)]
            assert len(found) == len(set(found))

    with ThreadPoolExecutor(THREADS) as readers:
        reading = [readers.submit(read) for _ in range(THREADS)]
        try:
            in_threads([lambda own=own: write(own) for own in requests])  # type: ignore[misc]  # mypy takes no default
        finally:
            written.set()
        for done in reading:
            done.result(60)
    expected: dict[str, str] = {}
    for request in (one for own in requests for one in own):
        expected |= contents(request)
    runs = collector.runs(project)
    assert len(runs) == len(expected)
    assert {run["run_id"]: run["inputs"] for run in runs} == expected


def test_restart(own_collector: CollectorProcess) -> None:
    """Acknowledged runs are unchanged after a restart."""
    request = make_request("kept", 20)
    send(own_collector, request)
    before = own_collector.runs("kept")
    own_collector.restart()
    assert own_collector.runs("kept") == before
    assert {run["run_id"]: run["inputs"] for run in before} == contents(request)
