"""A list with one row per trace: the same rows on the page, in the API and on the command line."""

from tests.support.collector import CollectorProcess
from tests.support.load import PROTOBUF
from tests.support.otel_ml_collector.cli.program import otel_ml
from tests.support.otel_ml_collector.spans import id_of, make_call, make_span, span_id, trace_id
from tests.support.otel_ml_collector.wire import encode

PROJECT = "handoffs"


def test_handoff(collector: CollectorProcess) -> None:
    """A trace with a handoff between agents is one row, and the page links to this list."""
    request = make_span("handoff", trace_id=trace_id(1), span_id=span_id(1))
    agents = [
        make_call(
            f"agent {number}",
            {"otel_ml.kind": "agent"},
            trace_id=request.trace_id,
            parent_span_id=request.span_id,
            span_id=span_id(number),
        )
        for number in (2, 3)
    ]
    health = make_span("GET /health", trace_id=trace_id(2), span_id=span_id(4))
    headers = {**PROTOBUF, "x-otel-ml-project": PROJECT}
    collector.deliver(encode([request, *agents, health]), headers)
    assert [run["run_id"] for run in collector.runs(PROJECT, traces="true")] == [id_of(request)]
    assert {run["run_id"] for run in collector.runs(PROJECT, roots="true")} == {*map(id_of, agents)}
    link = f'href="/projects/{PROJECT}/runs?traces=1"'
    assert link in collector.get_text(f"/projects/{PROJECT}/runs", roots="1")
    page = collector.get_text(f"/projects/{PROJECT}/runs", traces="1")
    assert page.count(f"/projects/{PROJECT}/runs/{id_of(request)}/calls") == 1
    assert "2 calls inside handoff" in page
    asked = ("runs", "--project", PROJECT, "--traces", "--columns", "run_id", "--format", "csv")
    told = otel_ml(collector.endpoint, *asked)
    assert told.stdout.decode().split() == ["run_id", id_of(request)], told.stderr
