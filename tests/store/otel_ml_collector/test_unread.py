"""Projects with spans of unknown instrumentations only: their description by API and pages."""

import html
from collections.abc import Mapping
from typing import Final

import pytest

from otel_ml_collector.assistants.protocol import answer
from otel_ml_collector.span import Scope, Span, Value
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.spans import (
    NOW_NS,
    SECOND_NS,
    make_call,
    make_span,
    span_id,
    trace_id,
)
from tests.support.otel_ml_collector.stores import Service
from tests.support.sampling import sampled

SENTENCE: Final = "10 spans by acme-tracer, other-tracer, none recognized as a model call"


@pytest.fixture(scope="module")
def service(own_service: Service) -> Service:
    """Return a separate service, because the home page shows a store's newest projects."""
    return own_service


def make_spans() -> list[Span]:
    """Make ten spans of two instrumentations that no dialect knows, most from the first one."""
    return [
        make_span(
            f"step {number}",
            {"acme.input": "Where?", "acme.output": "In Kyoto."},
            trace_id=trace_id(7),
            span_id=span_id(number + 1),
            start_ns=NOW_NS + number,
            scope=Scope({}, "other-tracer" if number == 0 else "acme-tracer", "1", {}),
        )
        for number in range(10)
    ]


def test_api(service: Service, project: str) -> None:
    """The API returns the number of spans and their instrumentations, the most frequent first."""
    service.store.take(project, *make_spans(), *make_spans())
    told = ask(service.app, f"/api/v1/projects/{project}/unread").json
    signs = told.pop("signs")
    scopes = ["acme-tracer", "other-tracer"]
    assert told == {"spans": 10, "scopes": scopes, "sentence": SENTENCE}
    assert [one["scope"] for one in signs] == scopes


def test_missing_signs(service: Service, project: str) -> None:
    """For each instrumentation, the API lists the signs of a call that its spans have or lack."""
    http: dict[str, Value] = {"http.request.method": "GET", "url.path": "/"}
    service.store.take(project, *make_spans(), make_scope_span("http", http))
    told = ask(service.app, f"/api/v1/projects/{project}/unread").json
    pair = "a question and an answer (acme.input, acme.output)"
    texts = "messages, or a question and an answer"
    assert told["signs"] == [
        {
            "scope": "acme-tracer",
            "span": "step 1",
            "found": [pair],
            "missing": ["a known model", "token counts"],
        },
        {
            "scope": "other-tracer",
            "span": "step 0",
            "found": [pair],
            "missing": ["a known model", "token counts"],
        },
        {
            "scope": "http",
            "span": "step",
            "found": [],
            "missing": ["a known model", "token counts", texts],
        },
    ]


def test_nearest_span(service: Service, project: str) -> None:
    """The span closest to a model call is described, with its model if that has no price."""
    asked = {"acme.input": "Where?", "acme.output": "In Kyoto."}
    counted: dict[str, Value] = {"acme.usage": '{"prompt_tokens": 7, "completion_tokens": 2}'}
    service.store.take(
        project,
        make_scope_span("acme", counted),
        make_scope_span("acme", {**asked, **counted, "acme.model": "house-7"}, name="nearest"),
    )
    (signs,) = ask(service.app, f"/api/v1/projects/{project}/unread").json["signs"]
    assert signs["span"] == "nearest"
    assert signs["missing"] == ["a known model (house-7 has no price)"]


@sampled(1)
@pytest.mark.parametrize("path", ["", "/runs"])
def test_missing_on_pages(service: Service, project: str, path: str) -> None:
    """The pages of a project without a model call list the signs that its spans lack."""
    service.store.take(project, make_scope_span("acme", {"acme.model": "gpt-4o"}))
    page = html.unescape(ask(service.app, f"/projects/{project}{path}").text)
    assert "a known model (gpt-4o in acme.model)" in page
    assert "token counts; messages, or a question and an answer" in page


def make_scope_span(scope: str, attributes: Mapping[str, Value], name: str = "step") -> Span:
    """Make a span of the given instrumentation."""
    return make_span(name, attributes, scope=Scope({}, scope, "1", {}))


def test_pages(service: Service, project: str) -> None:
    """The home page and the list of runs describe the spans in place of runs."""
    service.store.take(project, *make_spans())
    for path in ("/", f"/projects/{project}/runs"):
        assert SENTENCE in html.unescape(ask(service.app, path).text)


@pytest.mark.parametrize("where", ["", 'outcome == "error"'])
def test_assistants(service: Service, project: str, where: str) -> None:
    """For an assistant that finds no run, the hint describes the spans."""
    service.store.take(project, *make_spans())
    given = {"project": project, "where": where, "since": "24h"}
    asked_ns = NOW_NS + 60 * SECOND_NS
    told = answer("find_runs", given, service.store.reader, "http://here", asked_ns)
    assert told["hint"] == f"the project has no runs: {SENTENCE}"


def test_many_scopes(service: Service, project: str) -> None:
    """At most three instrumentations are named."""
    spans = [
        make_span("it", trace_id=trace_id(8), span_id=span_id(n), scope=Scope({}, f"s{n}", "1", {}))
        for n in range(1, 6)
    ]
    service.store.take(project, *spans)
    told = ask(service.app, f"/api/v1/projects/{project}/unread").json["sentence"]
    assert told == "5 spans by s1, s2, s3 and 2 more, none recognized as a model call"


def test_one_run(service: Service, project: str) -> None:
    """A project with a run does not mention its other spans."""
    service.store.take(project, *make_spans(), make_call("answer"))
    told = ask(service.app, f"/api/v1/projects/{project}/unread").json
    assert told == {"spans": 0, "scopes": [], "sentence": "", "signs": []}
    page = ask(service.app, f"/projects/{project}/runs").text
    assert "none recognized as a model call" not in page


def test_nothing(service: Service) -> None:
    """A project without spans reports none."""
    assert ask(service.app, "/api/v1/projects/nobody/unread").json["spans"] == 0
