"""One collector over each road to a store: the same answers to the same questions."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from otel_ml import Client
from tests.support.collector import CollectorProcess
from tests.support.load import PROTOBUF, make_request, run_ids
from tests.support.waiting import wait_until

THREADS = 8
REQUESTS = 4
SPANS = 25


def send(collector: CollectorProcess, request: ExportTraceServiceRequest) -> None:
    """Send a request until it is taken whole: while the store is busy it is not."""

    def is_taken() -> bool:
        status, _, answer = collector.post("/v1/traces", body, PROTOBUF)
        assert status in {200, 503}, answer
        return (status, answer) == (200, b"")

    body = request.SerializeToString()
    wait_until(is_taken)


def in_threads(works: list[Callable[[], None]]) -> None:
    """Do several things at once; what goes wrong in one is raised."""
    with ThreadPoolExecutor(len(works)) as pool:
        for done in [pool.submit(work) for work in works]:
            done.result(60)


def contents(request: ExportTraceServiceRequest) -> dict[str, str]:
    """The input of each run of a request, as lists show it."""
    return {run: f"question {number}" for number, run in enumerate(run_ids(request))}


def test_distinct_ids_under_threads(collector: CollectorProcess) -> None:
    """While 8 threads write, 8 threads read no run twice; then all are there with their own input.

    Rows of one insert are never mixed up with those of another.
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


def test_filters(collector: CollectorProcess) -> None:
    """A filter on tags, scores, latency or text leaves out the same runs."""
    client = Client("filters", endpoint=collector.endpoint)
    for client_name in ("big'shot\\", "bad\tshot"):
        with client.run("fit", tags={"client": client_name}) as run:
            run.info(f"for {client_name}")
    assert client.flush()
    client.close()
    wheres = {
        """tags["client"] == "big'shot\\\\" """: 1,
        'tags["client"] == "bad\\tshot"': 1,
        'tags["client"] in ["bad\\tshot", "none"]': 1,
        "latency_ms >= 0": 2,
        'outcome == "error"': 0,
        'model == "fit"': 2,
    }
    assert {where: len(collector.runs("filters", where=where)) for where in wheres} == wheres


def test_late_truth(collector: CollectorProcess) -> None:
    """What is told of a run later is among its scores."""
    request = make_request("late", 1)
    send(collector, request)
    [run_id] = run_ids(request)
    body = b'{"evaluations": [{"judge": "human", "score": 0.25, "run_id": "%s"}]}' % run_id.encode()
    status, _, answer = collector.post(
        "/api/v1/projects/late/evaluations", body, {"content-type": "application/json"}
    )
    assert status in {200, 201}, answer
    assert collector.get(f"/runs/{run_id}")["scores"] == {"length": 0.0, "human": 0.25}


def test_refusal(collector: CollectorProcess) -> None:
    """A bad span among good ones is refused alone."""
    request = make_request("refused", 2)
    request.resource_spans[0].scope_spans[0].spans[0].trace_id = b"short"
    status, _, answer = collector.post("/v1/traces", request.SerializeToString(), PROTOBUF)
    told = ExportTraceServiceResponse.FromString(answer)
    assert (status, told.partial_success.rejected_spans) == (200, 1)
    assert len(collector.runs("refused")) == 1


def test_long_trace(collector: CollectorProcess) -> None:
    """A trace of 6,000 spans is read, although their ids are longer than a server's parameters."""
    request = make_request("long", 6_000)
    spans = request.resource_spans[0].scope_spans[0].spans
    for span in spans:
        span.trace_id = spans[0].trace_id
    send(collector, request)
    trace = collector.get(f"/traces/{spans[0].trace_id.hex()}")
    assert "runs" in trace, trace
    page = {run["run_id"] for run in trace["runs"]}
    assert page <= set(run_ids(request))
    assert len(page) == len(trace["runs"]) > 0


def test_jaeger(collector: CollectorProcess) -> None:
    """Grafana's data source finds a trace by its service."""
    request = make_request("jaeger", 1)
    named = request.resource_spans[0].resource.attributes.add(key="service.name")
    named.value.string_value = "shop"
    send(collector, request)
    found = collector.get_text("/jaeger/api/traces", service="shop", operation="load")
    [run_id] = run_ids(request)
    assert run_id.partition("-")[0] in found


def test_restart(own_collector: CollectorProcess) -> None:
    """What was acknowledged is there after a restart, as it was."""
    request = make_request("kept", 20)
    send(own_collector, request)
    before = own_collector.runs("kept")
    own_collector.restart()
    assert own_collector.runs("kept") == before
    assert {run["run_id"]: run["inputs"] for run in before} == contents(request)
