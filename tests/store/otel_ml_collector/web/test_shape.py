"""How a call is marked that was recognized by its shape."""

from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.spans import id_of, make_call
from tests.support.otel_ml_collector.stores import Service
from tests.support.otel_ml_collector.unknown_emitters import ANSWERED, ASKED, CALLS


def test_marked(service: Service, project: str) -> None:
    """The API, the filter and the run's page mark a span that no dialect table knows."""
    span = CALLS[0].span
    service.store.take(project, span, make_call("answer"))
    run = ask(service.app, f"/api/v1/projects/{project}/runs/{id_of(span)}").json
    assert (run["dialect"], run["kind"]) == ("shape", "model")
    where = "where=dialect+%3D%3D+%22shape%22"
    found = ask(service.app, f"/api/v1/projects/{project}/runs?{where}").json
    assert [one["run_id"] for one in found["runs"]] == [id_of(span)]
    page = ask(service.app, f"/projects/{project}/runs/{id_of(span)}").text
    assert "read by its shape" in page
    assert ASKED in page
    assert ANSWERED in page


def test_other_runs(service: Service, project: str) -> None:
    """A run that a dialect table knows is not marked."""
    span = make_call("answer")
    service.store.take(project, span)
    assert "by its shape" not in ask(service.app, f"/projects/{project}/runs/{id_of(span)}").text
