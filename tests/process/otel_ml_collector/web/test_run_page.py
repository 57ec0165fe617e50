"""Tests of the page of a run: its trace, long traces, streams and messages."""

import json
import re
from html import unescape
from typing import Any
from urllib.parse import quote

import pytest

from otel_ml_collector.span import Scope, Span
from tests.store.otel_ml_collector.query.test_judges import say
from tests.support.otel_ml_collector.asgi import ask
from tests.support.otel_ml_collector.spans import MS_NS, NOW_NS, id_of, make_call, make_span
from tests.support.otel_ml_collector.stores import Service

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
    """Spans that are loaded later also show clock differences, and are drawn within the axis."""
    root = make_root(1_000)
    middle = below(root, "middle", 900, 950)
    first = [below(root, f"s{n}", n, n + 1) for n in range(500)]
    early = below(middle, "early", 600, 940, HOST)
    service.store.take(project, root, middle, *first, early)
    page = get(service, f"/projects/{project}/runs/{id_of(root)}")
    [more] = re.findall('hx-get="([^"]*/spans[^"]*)"', page)
    rows = get(service, more)
    [more] = re.findall('hx-get="([^"]*/spans[^"]*)"', rows)
    rows = get(service, more)
    expected = "starts 300.0\u202fms before its parent: the clocks of shop and host differ"
    assert expected in rows
    assert 'data-level="3"' in rows
    x, width = map(float, re.findall('x="([0-9.]+)%" width="([0-9.]+)%"', rows)[0])
    assert (x, x + width) == (60, 94)


def test_outside_of_the_picture(service: Service, project: str) -> None:
    """A bar outside the requested axis is drawn at its edge."""
    root = make_root()
    service.store.take(project, root, below(root, "a", 50, 60))
    address = f"/projects/{project}/runs/{id_of(root)}/spans"
    for start_ms, x in ((1_000, 0), (-1_000, 97.5)):  # the smallest bar still fits
        axis = f"start_ns={NOW_NS + start_ms * MS_NS}&length_ms=10"
        rows = get(service, f"{address}?{axis}")
        [found] = re.findall('x="([0-9.]+)%" width="([0-9.]+)%"', rows)
        assert tuple(map(float, found)) == (x, 100)


def test_outline(service: Service, project: str) -> None:
    """The longest spans and the totals of a long trace are loaded as a separate part."""
    root = make_root(1_000)
    slow = below(root, "slow", 500, 900)
    service.store.take(project, root, slow, *(below(root, "s", n, n + 1) for n in range(100)))
    text = get(service, f"/projects/{project}/runs/{id_of(root)}/outline")
    assert "102 finished spans." in text
    assert re.findall('data-slow="([^"]+)"', text) == ["slow 50\u202f%", "slow 40\u202f%"]
    assert f'href="/projects/{project}/runs/{id_of(slow)}"' in text


def test_outline_counts_once(service: Service, project: str) -> None:
    """A span that was delivered twice counts once in the usage of a trace."""
    call = make_call("call", {"gen_ai.usage.input_tokens": 5, "gen_ai.usage.output_tokens": 2})
    service.store.take(project, call)
    service.store.take(project, call)
    text = get(service, f"/projects/{project}/runs/{id_of(call)}/outline")
    assert "1 finished span." in text
    assert "7 tokens. 5 input tokens, 2 output tokens." in text


def test_tokens_of_an_embedding(service: Service, project: str) -> None:
    """A call with only input tokens shows no output tokens."""
    call = make_call("embed", {"gen_ai.usage.input_tokens": 5})
    service.store.take(project, call)
    text = get(service, f"/projects/{project}/runs/{id_of(call)}/outline")
    assert "5 tokens. 5 input tokens." in text


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
    assert float(found["Tokens per second"]) == pytest.approx(7 / latency_s, rel=1e-3)
    assert "include_usage" not in page


def test_stream_without_tokens(service: Service, project: str) -> None:
    """The page of a stream without token counts shows which option is missing."""
    run = make_call("say", STREAM)
    service.store.take(project, run)
    page = get(service, f"/projects/{project}/runs/{id_of(run)}")
    assert "include_usage" in page
    assert "Tokens per second" not in page


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
    assert f'<a href="/projects/{project}/runs/{id_of(answered)}" title="Lowest score' in listed
