"""Tests of the steps of an agent on the page of a run."""

import json
import re
from html import unescape

from otel_ml_collector.span import Span
from tests.support.browser.agents import MESSAGE, QUESTION, make_research
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.spans import NOW_NS, id_of
from tests.support.otel_ml_collector.stores import Service


def steps_of(service: Service, project: str, run: Span, query: str = "") -> str:
    """Return the steps on the page of a run as HTML."""
    answered = ask(service.app, f"/projects/{project}/runs/{id_of(run)}{query}")
    assert answered.status == 200, answered.text
    return unescape(answered.text).split('<section id="steps">')[1].split("</section>")[0]


def words(html: str) -> str:
    return " ".join(re.sub("<[^>]*>", " ", html).split())


def test_steps_of_an_agent(service: Service, project: str) -> None:
    """Steps are the question, thoughts, tools with results, agents inside, and the answer."""
    spans = make_research(3, now_ns=NOW_NS).finish()
    service.store.take(project, *spans)
    html = steps_of(service, project, spans[0])
    text = words(html)
    order = [
        QUESTION,
        "The yearly counts should come from a primary source.",
        'web_search (query="negative hours DE-LU by year")',
        "1 Hours with negative prices: 69 in 2022, 301 in 2023 0.91",
        "2 Day-ahead auction results by bidding zone 0.84",
        "The exchange publishes the hours. Fetch its table.",
        'fetch_page (url="https://exchange.example/market-data", timeout=5)',
        'fetch_page (url="https://grid.example/prices", timeout=5)',
        MESSAGE,
        'ask_coder (task="count hours below 0 by year")',
        'coder (task="count hours")',
        'run_python (code="neg.t.dayofweek")',
        "2022 69 · 2023 301",
        "Negative prices rose from 69 hours in 2022",
    ]
    places = [text.index(part) for part in order]
    assert places == sorted(places)
    assert "<strong>69 hours</strong>" in html
    assert re.findall('aria-label="Step ([0-9]+), model call"', html) == list("1234567")


def test_steps_of_a_long_agent(service: Service, project: str) -> None:
    """A long agent shows 12 steps and the last one; a link shows the next, a span its own."""
    spans = make_research(20, now_ns=NOW_NS).finish()
    service.store.take(project, *spans)
    number = 'aria-label="Step ([0-9]+), model call"'
    html = steps_of(service, project, spans[0])
    assert re.findall(number, html) == [*map(str, range(1, 13)), "41"]
    assert "28 steps are folded." in words(html)
    next_part = steps_of(service, project, spans[0], "?steps_from=13")
    assert re.findall(number, next_part) == [*map(str, range(13, 25)), "41"]
    fetched = [span for span in spans if span.name == "fetch_page"][10]
    own = steps_of(service, project, fetched)
    assert re.findall(number, own)[:2] == ["21", "22"]
    selected = own.split('aria-current="step"')
    assert len(selected) == 2
    assert selected[1].index(f'/runs/{id_of(fetched)}"') < selected[1].index("</b>")


def test_failed_agent(service: Service, project: str) -> None:
    """The page of a failed agent shows the failing tool, its whole message and a link."""
    research = make_research(2, now_ns=NOW_NS)
    spans = research.finish()
    fields = {name: getattr(spans[0], name) for name in Span.__slots__}
    failed = Span(**{**fields, "status_code": 2, "status_message": "The agent gave up"})
    service.store.take(project, failed, *spans[1:])
    page = unescape(ask(service.app, f"/projects/{project}/runs/{id_of(failed)}").text)
    note = page.split('<div class="note error">')[1].split("</div>")[0]
    tool = next(span for span in spans if span.name == "run_python")
    assert f'href="/projects/{project}/runs/{id_of(tool)}">run_python</a>' in note
    assert MESSAGE in note
    assert "The agent gave up" in note


def test_long_arguments(service: Service, project: str) -> None:
    """Long arguments of a call are shortened; of messages, the question is shown."""
    research = make_research(1, now_ns=NOW_NS)
    given: dict[str, object] = {
        "agent": {f"setting {place}": "x" * 20 for place in range(40)},
        "task": "y" * 900,
    }
    messages = [{"role": "user", "content": [{"text": QUESTION}]}]
    given |= {"messages": messages, "callback": None}
    research.add("Coordinator", "agent", 100, {"otel_ml.inputs": json.dumps(given)})
    spans = research.finish()
    service.store.take(project, *spans)
    shown = words(steps_of(service, project, spans[0]))
    assert "agent=(40 values)" in shown
    assert f'messages="{QUESTION}"' in shown
    assert "callback" not in shown
    assert "setting 7" not in shown
    assert "y" * 200 in shown
    assert "y" * 300 not in shown


def test_documents_of_a_tool(service: Service, project: str) -> None:
    """Documents without scores that a tool returns, and a model's output of several values."""
    research = make_research(1, now_ns=NOW_NS)
    passages = [{"topic": "in", "text": "The operator in"}, {"topic": "is", "text": "Identity"}]
    research.add("rank", "tool", 100, {"otel_ml.outputs": json.dumps(passages)})
    answer = {"answer": "It tests membership", "topic": "in"}
    research.add("answer", "model", 100, {"otel_ml.outputs": json.dumps(answer)})
    spans = research.finish()
    service.store.take(project, *spans)
    shown = words(steps_of(service, project, spans[0]))
    assert "1 The operator in 2 Identity" in shown
    assert "It tests membership · in" in shown
