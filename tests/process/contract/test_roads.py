"""Tests of one collector over each way to a store: the same requests give the same responses."""

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from otel_ml import Client
from tests.support.collector import CollectorProcess
from tests.support.load import PROTOBUF, make_request, run_ids
from tests.support.sampling import at_night, sampled
from tests.support.waiting import wait_until

pytestmark = sampled(without="embedded*")


def send(collector: CollectorProcess, request: ExportTraceServiceRequest) -> None:
    """Send a request until it is accepted completely; a busy store rejects it."""

    def is_taken() -> bool:
        status, _, answer = collector.post("/v1/traces", body, PROTOBUF)
        assert status in {200, 503}, answer
        return (status, answer) == (200, b"")

    body = request.SerializeToString()
    wait_until(is_taken)


def test_filters(collector: CollectorProcess) -> None:
    """Filters on tags, latency, outcome and model match the same runs."""
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
    """A score that arrives after its run is among the run's scores."""
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
    """A bad span is rejected and the good ones of its request are stored."""
    request = make_request("refused", 2)
    request.resource_spans[0].scope_spans[0].spans[0].trace_id = b"short"
    status, _, answer = collector.post("/v1/traces", request.SerializeToString(), PROTOBUF)
    told = ExportTraceServiceResponse.FromString(answer)
    assert (status, told.partial_success.rejected_spans) == (200, 1)
    assert len(collector.runs("refused")) == 1


@at_night
def test_long_trace(collector: CollectorProcess) -> None:
    """A trace of 6,000 spans is read, although its ids exceed a server's limit for parameters."""
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
