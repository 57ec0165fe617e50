"""The page of a project that received only plain spans."""

import re

from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.spans import (
    NOW_NS,
    id_of,
    make_call,
    make_span,
    span_id,
    trace_id,
)
from tests.support.otel_ml_collector.stores import Service

HEADING = "No model calls yet, only plain spans"


def test_only_plain_spans(service: Service) -> None:
    """The page of a project with only plain spans reports that, and lists traces by their roots."""
    roots = [
        make_span(f"GET /{n}", trace_id=trace_id(n), span_id=span_id(n), start_ns=NOW_NS + n)
        for n in (1, 2)
    ]
    inner = make_span("query", trace_id=trace_id(1), parent_span_id=span_id(1))
    service.store.take("only-plain", *roots, inner)
    page = ask(service.app, "/projects/only-plain/runs").text
    assert HEADING in page
    assert "No runs yet" not in page
    assert re.findall('data-run="(.*?)"', page) == [id_of(roots[1]), id_of(roots[0])]
    assert "GET /1" in page


def test_plain_spans_beside_runs(service: Service) -> None:
    """A project with a run lists the run, and does not mention plain spans."""
    service.store.take("mixed", make_span("GET /"), make_call("answer"))
    page = ask(service.app, "/projects/mixed/runs").text
    assert HEADING not in page
    assert "answer" in page


def test_nothing_at_all(service: Service) -> None:
    """A project without spans shows the first steps."""
    page = ask(service.app, "/projects/nobody/runs").text
    assert HEADING not in page
    assert "Send the first run" in page
