"""Tests of the page of a run: its trace, long traces, streams and messages."""

import json
import re
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from otel_ml_collector.span import Scope, Span
from tests.store.otel_ml_collector.query.test_judges import say
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.spans import MS_NS, NOW_NS, id_of, make_call, make_span
from tests.support.otel_ml_collector.stores import Service, open_service
from tests.support.sampling import at_night, sampled

SHOP = Scope({"service.name": "shop"}, "tests", "1", {})
HOST = Scope({"service.name": "host"}, "tests", "1", {})


@pytest.fixture(scope="module")
def service(own_service: Service) -> Service:
    """A service with its own store, because an empty page lists all projects with runs."""
    return own_service


def get(service: Service, address: str) -> str:
    answered = ask(service.app, address)
    assert answered.status == 200
    return unescape(answered.text)


def below(parent: Span, name: str, start_ms: int, end_ms: int, scope: Scope = SHOP) -> Span:
    return make_span(
        name,
        trace_id=parent.trace_id,
        parent_span_id=parent.span_id,
        start_ns=NOW_NS + start_ms * MS_NS,
        end_ns=NOW_NS + end_ms * MS_NS,
        scope=scope,
    )


def make_root(end_ms: int = 100) -> Span:
    return make_call("root", start_ns=NOW_NS, end_ns=NOW_NS + end_ms * MS_NS, scope=SHOP)


def test_no_link(service: Service, project: str) -> None:
    """Without the setting the page has no link to an external trace viewer."""
    root = make_root()
    service.store.take(project, root)
    assert "open at" not in get(service, f"/projects/{project}/runs/{id_of(root)}")


@at_night
def test_link_to_jaeger(tmp_path: Path) -> None:
    """The page links to the trace in the viewer from the settings. The link shows its host."""
    root = make_root()
    viewer = "https://jaeger.example:16686/trace/{trace_id}?from=otel-ml"
    with open_service(tmp_path / "data", trace_url=viewer) as service:
        service.store.take("linked", root)
        page = get(service, f"/projects/linked/runs/{id_of(root)}")
    [link] = re.findall("<a [^>]*>open at jaeger.example:16686</a>", page)
    assert f'href="{viewer.format(trace_id=root.trace_id.hex())}"' in link
    assert 'rel="noopener noreferrer"' in link


def test_experiment_without_an_id(service: Service, project: str) -> None:
    """A run whose experiment is not a valid run id still has a page."""
    call = make_call(attributes={"otel_ml.experiment": "</script>"})
    service.store.take(project, call)
    text = ask(service.app, f"/projects/{project}/runs/{id_of(call)}").text
    assert "an experiment" in text
    assert "experiments/%3C%2Fscript%3E" in text


def test_left_running(service: Service, project: str) -> None:
    """A span that outlives its parent in the same process gives no clock warning."""
    root = make_root()
    service.store.take(project, root, below(root, "later", 50, 200))
    assert "after its parent" not in get(service, f"/projects/{project}/runs/{id_of(root)}")


def test_rows_that_come_later(service: Service, project: str) -> None:
    """Spans that are loaded later also show clock differences, and are drawn on the same axis."""
    root = make_root(1_000)
    middle = below(root, "middle", 900, 950)
    first = [below(root, f"s{n}", n, n + 1) for n in range(500)]
    early = below(middle, "early", 600, 940, HOST)
    service.store.take(project, root, middle, *first, early)
    page = get(service, f"/projects/{project}/runs/{id_of(root)}")
    expected = "starts 300\u202fms before its parent: the clocks of shop and host differ"
    assert expected in page
    key = f"key={middle.span_id.hex()}&level=3"
    rows = get(service, f"/projects/{project}/runs/{id_of(root)}/rows?{key}")
    assert expected in rows
    assert 'data-level="3"' in rows
    x, width = map(float, re.findall('x="([0-9.]+)%" width="([0-9.]+)%"', rows)[0])
    assert (x, x + width) == (60, 94)


def test_search_in_payloads(service: Service, project: str) -> None:
    """A search finds spans by their input or output, and shows the spans above them."""
    root = make_root()
    ids = {"trace_id": root.trace_id, "parent_span_id": root.span_id}
    asked = make_call("ask", {"otel_ml.inputs": '{"city": "Malmö"}'}, start_ns=NOW_NS + 1, **ids)
    other = make_call("tell", {"otel_ml.outputs": '"Ghent"'}, start_ns=NOW_NS + 2, **ids)
    service.store.take(project, root, asked, other)
    address = f"/projects/{project}/runs/{id_of(root)}/tree"
    for text, name in ((quote("MALMÖ"), "ask"), ("ghent", "tell"), ("TELL", "tell")):
        page = get(service, f"{address}?find={text}")
        assert "1 span matches" in page
        assert re.findall('class="of"[^>]*>([^<]*)<', page) == ["root", name]
    assert "No span matches." in get(service, f"{address}?find=Oslo")


def test_totals_count_once(service: Service, project: str) -> None:
    """A span that was delivered twice counts once in the tokens of a trace."""
    root = make_root()
    call = make_call(
        "call",
        {"gen_ai.usage.input_tokens": 5, "gen_ai.usage.output_tokens": 2},
        trace_id=root.trace_id,
        parent_span_id=root.span_id,
    )
    service.store.take(project, root, call)
    service.store.take(project, call)
    text = get(service, f"/projects/{project}/runs/{id_of(call)}/tree")
    assert "7 tokens. 5 input tokens, 2 output tokens." in text


def test_totals_leave_out_agents(service: Service, project: str) -> None:
    """The totals of a trace leave out the tokens that an agent reports."""
    root = make_root()
    agent = make_call(
        "agent",
        {"otel_ml.kind": "agent", "gen_ai.usage.input_tokens": 120},
        trace_id=root.trace_id,
        parent_span_id=root.span_id,
    )
    call = make_span(
        "answer",
        {
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": "gpt-4o",
            "gen_ai.usage.input_tokens": 1_200,
            "gen_ai.usage.cache_read.input_tokens": 200,
            "gen_ai.usage.output_tokens": 30,
        },
        trace_id=root.trace_id,
        parent_span_id=agent.span_id,
    )
    service.store.take(project, root, agent, call)
    parts = "1,200 input tokens (200 cached), 30 output tokens"
    page = get(service, f"/projects/{project}/runs/{id_of(call)}")
    assert parts in page
    tree = get(service, f"/projects/{project}/runs/{id_of(call)}/tree")
    assert f"1,230 tokens. {parts}." in tree


def test_sentence(service: Service, project: str) -> None:
    """The sentence says what took the time and what failed first, or what there is."""
    root = make_span("root", start_ns=NOW_NS, end_ns=NOW_NS + 1_000 * MS_NS)
    ids = {"trace_id": root.trace_id, "parent_span_id": root.span_id}
    call = make_call(
        "gpt",
        {"otel_ml.kind": "model"},
        start_ns=NOW_NS,
        end_ns=NOW_NS + 840 * MS_NS,
        **ids,
    )
    service.store.take(project, root, call)
    page = get(service, f"/projects/{project}/runs/{id_of(root)}")
    assert figures_of(page) == ["1\u202fs", "84\u202f%"]
    failed = make_call(
        "lookup",
        {"otel_ml.kind": "tool"},
        start_ns=NOW_NS + 850 * MS_NS,
        status_code=2,
        **ids,
    )
    service.store.take(project, failed)
    page = get(service, f"/projects/{project}/runs/{id_of(root)}")
    assert figures_of(page) == ["1\u202fs", "84\u202f%", "1 error in lookup"]


def figures_of(page: str) -> list[str]:
    """Return the times, shares and errors of the sentence."""
    inner = page.split('id="trace-sentence">')[1].partition("</p>")[0]
    sentence = re.sub("<[^>]*>", "", inner).strip()
    return re.findall(r"[\d.]+\u202f(?:s|%)|\d+ errors? in \w+", sentence)


def test_chunks_of_a_message(service: Service, project: str) -> None:
    """A stream's page shows the message; its chunks are folded and not among the attributes."""
    chunks = {"otel_ml.outputs.chunks": '["Sunny", " in", " Ghent"]'}
    run = make_call("say", {"otel_ml.outputs": '"Sunny in Ghent"', **chunks})
    service.store.take(project, run)
    page = get(service, f"/projects/{project}/runs/{id_of(run)}")
    assert "Sunny in Ghent" in page
    assert "<summary><h2>Chunks</h2> <small>3</small></summary>" in page
    assert "otel_ml.outputs.chunks" not in page


STREAM: dict[str, Any] = {
    "gen_ai.operation.name": "chat",
    "otel_ml.outcome": "ok",
    "otel_ml.stream.chunks": 12,
    "otel_ml.stream.first_chunk_ms": 0.0,
}


def test_pace_of_a_stream(service: Service, project: str) -> None:
    """A stream's page shows its chunks, the time to the first token, and tokens per second."""
    run = make_call("say", {**STREAM, "gen_ai.usage.output_tokens": 7})
    service.store.take(project, run)
    page = get(service, f"/projects/{project}/runs/{id_of(run)}")
    latency_s = (run.end_ns - run.start_ns) / 1e9
    found = dict(
        re.findall(r"<dt>(Chunks|First token|Tokens per second)</dt><dd>([^<]*)</dd>", page)
    )
    assert (found["Chunks"], set(found)) == ("12", {"Chunks", "First token", "Tokens per second"})
    assert float(found["Tokens per second"].replace(",", "")) == pytest.approx(
        7 / latency_s, rel=1e-3
    )
    assert "include_usage" not in page


def test_stream_without_tokens(service: Service, project: str) -> None:
    """The page of a stream without token counts shows which option is missing."""
    run = make_call("say", STREAM)
    service.store.take(project, run)
    page = get(service, f"/projects/{project}/runs/{id_of(run)}")
    assert "include_usage" in page
    assert "Tokens per second" not in page


@sampled(1)
@pytest.mark.parametrize("odd", ["x", -1.0, 1e300, "NaN"])
def test_odd_pace(service: Service, project: str, odd: Any) -> None:
    """An impossible time to the first chunk is not shown."""
    told = {**STREAM, "otel_ml.stream.chunks": "many", "otel_ml.stream.first_chunk_ms": odd}
    run = make_call("say", {**told, "gen_ai.usage.output_tokens": 7})
    service.store.take(project, run)
    page = get(service, f"/projects/{project}/runs/{id_of(run)}")
    assert not re.search("<dt>(Chunks|First token|Tokens per second)</dt>", page)


def test_stream_that_is_not_followed(service: Service, project: str) -> None:
    """The page of a call that returned an untracked stream shows how to record its output."""
    told = {"otel_ml.outputs": '{"type":"openai.Stream"}'}
    run = make_call("say", {**told, "otel_ml.capture": '{"outputs":["not_followed"]}'})
    service.store.take(project, run)
    assert "yield from stream" in get(service, f"/projects/{project}/runs/{id_of(run)}")
    assert "a stream, not followed" in get(service, f"/projects/{project}/runs")


def test_answer_is_a_chat(service: Service, project: str) -> None:
    """The page of a call shows a provider's response as a message, and the list shows its text."""
    response = {"id": "c1", "choices": [{"message": {"role": "assistant", "content": "Spam."}}]}
    run = make_call("say", {"otel_ml.outputs": json.dumps(response)})
    service.store.take(project, run)
    page = get(service, f"/projects/{project}/runs/{id_of(run)}")
    assert '<h3><b>answer</b></h3>\n<div class="md"><p>Spam.</p>' in page
    assert '<td class="answered opt" dir="auto">Spam.</td>' in get(
        service, f"/projects/{project}/runs"
    )


@sampled(1)
@pytest.mark.parametrize("page", ["runs", "models"])
def test_where_runs_are(service: Service, project: str, page: str) -> None:
    """The empty page of a project lists and links the projects that have runs."""
    service.store.take(project, *(make_call("say", start_ns=NOW_NS + n) for n in (1, 2)))
    text = get(service, f"/projects/{project}-empty/{page}")
    assert f"No runs in project {project}-empty" in text
    assert f'<a href="/projects/{quote(project)}/runs">{project}</a> (2)' in text


def test_words_of_a_silent_root(service: Service, project: str) -> None:
    """A run without own texts shows and links the input, output and worst score of runs inside."""
    root = make_call("turn", {"otel_ml.kind": "chain"})
    asked, answered = (
        make_call(
            name,
            {f"otel_ml.{part}": f'"{words}"'},
            trace_id=root.trace_id,
            parent_span_id=root.span_id,
            start_ns=root.start_ns + at,
        )
        for at, (name, part, words) in enumerate(
            [("plan", "inputs", "Where is it?"), ("write", "outputs", "At home")], 1
        )
    )
    service.store.take(project, root, asked, answered, say(answered, "aa", 0.3))
    page = get(service, f"/projects/{project}/runs/{id_of(root)}")
    for label, words, run, name in (
        ("input", "Where is it?", asked, "plan"),
        ("output", "At home", answered, "write"),
    ):
        shown = page.split(f'<section id="{label}">')[1].split("</section>")[0]
        assert f'<a href="/projects/{project}/runs/{id_of(run)}">{name}</a>' in shown
        assert words in shown
    worst = page.split('<section class="sec" id="worst">')[1].split("</section>")[0]
    assert "0.30" in worst
    assert f'<a href="/projects/{project}/runs/{id_of(answered)}">write</a>' in worst
    own = get(service, f"/projects/{project}/runs/{id_of(answered)}")
    assert 'id="worst"' not in own
    listed = get(service, f"/projects/{project}/runs?roots=1")
    assert f'<a href="/projects/{project}/runs/{id_of(answered)}" title="Worst result' in listed
