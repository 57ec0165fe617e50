"""Tests of the page that shows two traces side by side."""

import re
from html import unescape

from otel_ml_collector.span import Span
from tests.support.browser.agents import make_research
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.spans import NOW_NS, SECOND_NS, id_of
from tests.support.otel_ml_collector.stores import Service
from tests.support.sampling import at_night


def rows_of(service: Service, project: str, *spans: Span, suffix: str = "") -> list[str]:
    """Return the rows of the comparison as text."""
    of = "&".join(f"of={id_of(span)}" for span in spans)
    answered = ask(service.app, f"/projects/{project}/trace-pair?{of}{suffix}")
    assert answered.status == 200, answered.text
    table = unescape(answered.text).partition('id="pairs"')[2]
    rows = re.findall("<tr class=.*?</tr>", table, re.DOTALL)
    return [" ".join(re.sub("<[^>]*>", " ", row).split()) for row in rows]


def send(service: Service, project: str, rounds: int, at_s: int) -> list[Span]:
    spans = make_research(rounds, now_ns=NOW_NS - at_s * SECOND_NS).finish()
    service.store.take(project, *spans)
    return spans


def test_equal_traces(service: Service, project: str) -> None:
    """Traces with the same steps, inputs, outputs, times and costs differ in nothing."""
    first, second = send(service, project, 2, 100), send(service, project, 2, 50)
    assert rows_of(service, project, first[0], second[0]) == []
    same = rows_of(service, project, first[0], second[0], suffix="&all=1")
    assert len(same) == len(first)
    assert {row.rpartition(" ")[2] for row in same} == {"–"}


def test_steps_of_one_trace(service: Service, project: str) -> None:
    """Steps that only one trace has are listed, and so is what differs in the others."""
    first, second = send(service, project, 1, 100), send(service, project, 2, 50)
    rows = rows_of(service, project, first[0], second[0])
    assert rows[0].startswith("researcher ")
    assert rows[0].endswith("time")
    only = [row for row in rows if row.endswith("only B")]
    assert len(only) == len(second) - len(first)
    assert any(row.startswith("ask_coder ") for row in only)
    swapped = rows_of(service, project, second[0], first[0])
    assert len([row for row in swapped if row.endswith("only A")]) == len(only)


def test_what_differs(service: Service, project: str) -> None:
    """A step with another input and outcome says so, and shows both inputs."""
    first = send(service, project, 1, 100)
    spans = make_research(1, now_ns=NOW_NS - 50 * SECOND_NS).finish()
    fetched = next(span for span in spans if span.name == "fetch_page")
    fields = {name: getattr(fetched, name) for name in Span.__slots__}
    given = {"otel_ml.inputs": '{"url": "https://other.example"}'}
    changed = {"attributes": {**fetched.attributes, **given}, "status_code": 2}
    spans[spans.index(fetched)] = Span(**{**fields, **changed})
    service.store.take(project, *spans)
    [row] = rows_of(service, project, first[0], spans[0])
    assert row.startswith("fetch_page ")
    assert "input, output, outcome" in row or "input, outcome" in row
    for url in ("https://exchange.example/market-data", "https://other.example"):
        assert url in row


def test_not_two_traces(service: Service, project: str) -> None:
    """Fewer or more than two runs, or the same run twice, are refused with a reason."""
    [call, *_] = send(service, project, 1, 10)
    for query in (f"of={id_of(call)}", f"of={id_of(call)}&of={id_of(call)}"):
        answered = ask(service.app, f"/projects/{project}/trace-pair?{query}")
        assert answered.status == 400
        assert "expected two different runs" in answered.text


@at_night
def test_others_of_a_name(service: Service, project: str) -> None:
    """The choice of a trace to compare with has other runs of the same name."""
    first, second = send(service, project, 1, 100), send(service, project, 1, 50)
    text = ask(service.app, f"/projects/{project}/runs/{id_of(first[0])}/others").text
    links = re.findall('href="([^"]*)"', unescape(text))
    assert links == [f"/projects/{project}/trace-pair?of={id_of(first[0])}&of={id_of(second[0])}"]
