"""Artifacts on the page of a run."""

from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.spans import NOW_NS, id_of, make_artifact, make_call
from tests.support.otel_ml_collector.stores import Service

HOSTILE = '<script>alert("1")</script>\' & {{ 7*7 }} 日本'


def test_hostile(service: Service, project: str) -> None:
    """An artifact's data is escaped on the page."""
    hostile = make_artifact(
        HOSTILE, '{"a":1}', type=HOSTILE, preview=f'{{"{"x" * 9}": "</pre><img src=x>"}}'
    )
    call = make_call(events=[hostile, make_artifact("b", preview=HOSTILE, at_ns=NOW_NS + 1)])
    service.store.take(project, call)
    answered = ask(service.app, f"/projects/{project}/runs/{id_of(call)}")
    assert answered.status == 200
    assert "<script>alert" not in answered.text
    assert "<img" not in answered.text
    assert "Copy code" in answered.text
