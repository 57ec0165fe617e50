"""What a judge without code sees of the runs inside a run."""

import json

from otel_ml_collector.judges.judge_store import DueRun, show_run
from otel_ml_collector.runs.find import find_run
from otel_ml_collector.settings.connections import RedactionRules
from otel_ml_collector.span import Span
from tests.support.otel_ml_collector.spans import NOW_NS, id_of, make_call, make_span
from tests.support.otel_ml_collector.stores import Service


def make_inside(around: Span, model: str, outputs: object, kind: str = "tool") -> Span:
    attributes = {
        "otel_ml.kind": kind,
        "otel_ml.inputs": json.dumps({"q": "cats"}),
        "otel_ml.outputs": json.dumps(outputs),
    }
    ids = {"trace_id": around.trace_id, "parent_span_id": around.span_id}
    return make_call(model, attributes, **ids)


def show(service: Service, project: str, run: Span, *placeholders: str) -> DueRun:
    reader = service.store.reader
    found = find_run(reader, id_of(run), project, now_ns=NOW_NS)
    return show_run(reader, found, placeholders, RedactionRules(), NOW_NS)


def test_steps(service: Service, project: str) -> None:
    """A judge sees the runs of the named function inside the run, at any depth, but no others."""
    run = make_call()
    step = make_span("step", trace_id=run.trace_id, parent_span_id=run.span_id)
    inner = make_inside(step, "plan", "walk")
    beside = make_call("beside", trace_id=run.trace_id)
    service.store.take(project, run, step, inner, beside, make_inside(beside, "plan", "run"))
    shown = show(service, project, run, "steps.plan.outputs")
    assert shown.steps == {"plan": [{"inputs": {"q": "cats"}, "outputs": "walk"}]}
    assert shown.documents is None
    assert show(service, project, inner, "steps.plan.outputs").steps == {"plan": []}


def test_documents(service: Service, project: str) -> None:
    """A judge sees the documents of all retrievers inside the run, with their scores."""
    run = make_call()
    documents = [{"content": "a cat", "score": 0.9}, {"content": "a dog", "score": 0.1}]
    service.store.take(
        project,
        run,
        make_inside(run, "search", documents, "retriever"),
        make_inside(run, "lookup", {"documents": documents[:1]}, "retriever"),
        make_inside(run, "tool", documents),
    )
    shown = show(service, project, run, "documents")
    texts = map(json.dumps, shown.documents or ())
    assert sorted(texts) == [json.dumps(documents[at]) for at in (0, 0, 1)]
    assert show(service, project, run, "inputs").documents is None
