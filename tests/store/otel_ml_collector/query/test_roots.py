"""Tests of lists of root runs and traces, and of the totals of their inner calls."""

from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_ml.records import Inside, Tokens, WorstScore
from otel_ml_collector.errors import BadInput
from otel_ml_collector.measures.statistics import count_roots, count_traces
from otel_ml_collector.runs.find import RunsQuery, compile_query
from otel_ml_collector.runs.roots import find_calls_inside, find_roots
from otel_ml_collector.span import Span, Value
from otel_ml_collector.windows import Window
from tests.store.otel_ml_collector.query.test_judges import say
from tests.store.otel_ml_collector.test_experiments import make_experiment, make_runs
from tests.support.examples import examples
from tests.support.otel_ml_collector.spans import (
    NOW_NS,
    SECOND_NS,
    id_of,
    make_call,
    make_span,
    make_start,
    span_id,
    trace_id,
)
from tests.support.otel_ml_collector.stores import Store
from tests.support.sampling import at_night, sampled

LATER = NOW_NS + 60 * SECOND_NS
USED: dict[str, Value] = {"gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 2}


def below(parent: Span, number: int, **fields: Value) -> Span:
    """Make a call or plain span inside another run."""
    attributes = {name.replace("__", "."): value for name, value in fields.items()}
    make = make_span if fields.get("plain") else make_call
    return make(
        f"call {number}",
        attributes,
        trace_id=parent.trace_id,
        parent_span_id=parent.span_id,
        span_id=span_id(number),
        start_ns=NOW_NS + number,
    )


def listed(store: Store, project: str, limit: int = 50) -> list[str]:
    page = find_roots(store.reader, RunsQuery(project, limit=limit, roots=True), LATER)
    return [run.run_id for run in page.runs]


def test_roots(store: Store, project: str) -> None:
    """A run inside another run is not a root, even if plain spans lie between them."""
    request = make_span("POST /ask", trace_id=trace_id(1), span_id=span_id(1))
    agent = below(request, 2)
    http = below(agent, 3, plain="yes")
    model = below(http, 4)
    alone = make_call("alone", trace_id=trace_id(2), span_id=span_id(9), start_ns=NOW_NS + 9)
    orphan = below(make_call("lost", trace_id=trace_id(3), span_id=span_id(7)), 8)
    store.take(project, request, agent, http, model, alone, orphan)
    assert listed(store, project) == [id_of(alone), id_of(orphan), id_of(agent)]


@at_night
def test_roots_behind_many_spans(store: Store, project: str) -> None:
    """A run inside another run is not a root, however many plain spans lie between them."""
    agent = make_call("agent", trace_id=trace_id(1), span_id=span_id(1))
    spans = [agent]
    for number in range(2, 42):
        spans.append(below(spans[-1], number, plain="yes"))
    model = below(spans[-1], 42)
    store.take(project, *spans, model)
    assert listed(store, project) == [id_of(agent)]


@at_night
def test_lost_above_many_spans(store: Store, project: str) -> None:
    """A run under many plain spans whose topmost parent has not arrived is a root."""
    spans = [below(make_call("lost", trace_id=trace_id(1), span_id=span_id(1)), 2, plain="yes")]
    for number in range(3, 43):
        spans.append(below(spans[-1], number, plain="yes"))
    model = below(spans[-1], 43)
    store.take(project, *spans, model)
    assert listed(store, project) == [id_of(model)]


def test_handoff_as_one_row(store: Store, project: str) -> None:
    """Agents under one plain span appear as one row if the filter selects the trace's root span."""
    request = make_span("handoff", trace_id=trace_id(1), span_id=span_id(1))
    agents = [below(request, number, otel_ml__kind="agent") for number in (2, 3)]
    calls = [below(agent, 10 + at, **USED) for at, agent in enumerate(agents)]
    store.take(project, request, *agents, *calls)
    where = 'kind == "span" and parent_run_id == ""'
    page = find_roots(store.reader, RunsQuery(project, where, roots=True), LATER)
    assert [run.run_id for run in page.runs] == [id_of(request)]
    inside = page.inside[id_of(request)]
    assert (inside.calls, inside.tokens.input, inside.tokens.output) == (4, 20, 4)
    kids = find_calls_inside(store.reader, page.runs[0], LATER)
    assert [(run.run_id, level) for run, level in kids] == [
        (id_of(agents[0]), 1),
        (id_of(calls[0]), 2),
        (id_of(agents[1]), 1),
        (id_of(calls[1]), 2),
    ]


def listed_traces(store: Store, project: str, where: str = "", limit: int = 50) -> list[str]:
    """Return the run IDs of all pages of a list of traces."""
    found: list[str] = []
    cursor: str | None = None
    while True:
        query = RunsQuery(project, where, limit, cursor, traces=True)
        page = find_roots(store.reader, query, LATER)
        found += [run.run_id for run in page.runs]
        assert set(page.inside) <= {run.run_id for run in page.runs}
        cursor = page.next_cursor
        if cursor is None:
            return found


def test_traces(store: Store, project: str) -> None:
    """Each trace with a call is one row, whatever its root. Traces without calls are not listed."""
    request = make_span("handoff", trace_id=trace_id(1), span_id=span_id(1))
    agents = [below(request, number, otel_ml__kind="agent") for number in (2, 3)]
    health = make_span("GET /health", trace_id=trace_id(2), span_id=span_id(4))
    query = below(health, 5, plain="yes")
    alone = make_call("alone", trace_id=trace_id(3), span_id=span_id(6), start_ns=NOW_NS + 6)
    inner = below(alone, 7)
    store.take(project, request, *agents, health, query, alone, inner)
    tops = [id_of(alone), id_of(request)]
    assert listed_traces(store, project) == tops
    assert listed_traces(store, project, limit=1) == tops
    assert listed_traces(store, project, 'name == "handoff" or name == "GET /health"') == tops[1:]
    page = find_roots(store.reader, RunsQuery(project, traces=True), LATER)
    assert {run_id: inside.calls for run_id, inside in page.inside.items()} == dict(
        zip(tops, (1, 2), strict=True)
    )


@at_night
def test_traces_of_experiments(store: Store, project: str) -> None:
    """Experiment runs are listed and counted as traces only if the filter asks for them."""
    experiment = make_experiment(1)
    alone = make_call("alone", start_ns=NOW_NS)
    store.take(project, alone, experiment, *make_runs(experiment, "pf"))
    assert listed_traces(store, project) == [id_of(alone)]
    assert count_of(store, project, traces=True) == 1
    assert len(listed_traces(store, project, 'item != ""')) == 2
    assert count_of(store, project, 'item != ""', traces=True) == 2


def test_trace_without_its_first_span(store: Store, project: str) -> None:
    """If a trace's first span has not arrived, its first call is listed as the trace."""
    lost = make_span("POST elsewhere", trace_id=trace_id(1), span_id=span_id(1))
    served = below(lost, 2, plain="yes")
    agent = below(served, 3, otel_ml__kind="agent")
    model = below(agent, 4, **USED)
    other = below(lost, 5, otel_ml__kind="agent")
    health = below(make_span("GET elsewhere", trace_id=trace_id(2), span_id=span_id(6)), 7, plain=1)
    store.take(project, served, agent, model, other, health)
    assert listed_traces(store, project) == [id_of(agent)]
    assert count_of(store, project, traces=True) == 1
    assert listed_traces(store, project, 'name == "call 5"') == []
    store.take(project, lost)
    assert listed_traces(store, project) == [id_of(lost)]


@sampled(1)
@pytest.mark.parametrize("has_root", [False, True])
def test_sums_of_a_trace_with_gaps(store: Store, project: str, *, has_root: bool) -> None:
    """The row of a trace sums up all of its spans, even if some around them have not arrived."""
    root = make_call("root", {"otel_ml.kind": "chain"}, trace_id=trace_id(1), span_id=span_id(1))
    agent = below(root, 2, otel_ml__kind="agent")
    lost = make_span("lost", trace_id=trace_id(1), span_id=span_id(90))
    calls = [below(agent, 3, **USED), below(lost, 4, **USED), below(root, 5, **USED)]
    scores = [say(calls[1], "1", 0.5), say(calls[2], "1", 0.25)]
    store.take(project, *[root] * has_root, agent, *calls, *scores)
    page = find_roots(store.reader, RunsQuery(project, traces=True), LATER)
    row = root if has_root else agent
    assert [run.run_id for run in page.runs] == [id_of(row)]
    inside = page.inside[id_of(row)]
    assert (inside.tokens.input, inside.tokens.output) == (30, 6)
    assert inside.calls == 3 + has_root
    assert inside.scores["grounded"] == WorstScore(id_of(calls[2]), 0.25, passed=False)


def test_call_in_a_wrapper(store: Store, project: str) -> None:
    """A call inside another record of the same call is a root and one row of the trace list."""
    bare: dict[str, Value] = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}
    wrapper = make_span("predict", bare, trace_id=trace_id(1), span_id=span_id(1))
    call = make_span(
        "chat",
        {**bare, **USED},
        trace_id=trace_id(1),
        parent_span_id=span_id(1),
        span_id=span_id(2),
    )
    store.take(project, wrapper, call)
    assert listed(store, project) == [id_of(call)]
    assert listed_traces(store, project) == [id_of(call)]
    assert count_of(store, project) == 1
    assert count_of(store, project, traces=True) == 1


def test_slices(store: Store, project: str) -> None:
    """Slices filter traces just as they filter runs."""
    tagged = [
        make_call(
            client,
            {"otel_ml.tag.client": client},
            trace_id=trace_id(number),
            span_id=span_id(number),
        )
        for number, client in enumerate(["Remax", "Acme"], 1)
    ]
    store.take(project, *tagged)
    assert listed_traces(store, project, "client==Remax") == [id_of(tagged[0])]


def count_of(store: Store, project: str, where: str = "", *, traces: bool = False) -> int:
    """Return the number of roots or traces that the chart counts."""
    query = RunsQuery(project, where, roots=not traces, traces=traces)
    condition, _ = compile_query(store.reader, query)
    count = count_traces if query.traces else count_roots
    rows = count(
        store.reader,
        project,
        condition,
        Window(0, LATER).cut(None),
    )
    assert rows is not None
    return sum(row["runs"] for row in rows)


@at_night
@settings(max_examples=examples(40, on_commit=8))
@given(data=st.data())
def test_chart_counts_the_rows(store: Store, data: st.DataObject) -> None:
    """The chart counts as many roots or traces as there are rows, for any tree of spans."""
    project = f"rows {uuid4().hex}"
    spans = []
    for trace in range(1, data.draw(st.integers(1, 4)) + 1):
        size = data.draw(st.integers(1, 6))
        for number in range(1, size + 1):
            # Parent 99 is never stored, and some other parents are skipped below.
            parent = data.draw(st.sampled_from([0, 99, *range(1, number)]))
            kind = data.draw(st.sampled_from(["", "agent", "model", "judge"]))
            if not data.draw(st.booleans()) and number > 1:
                continue
            above = {"parent_span_id": span_id(100 * trace + parent)} if parent else {}
            spans.append(
                make_span(
                    f"span {number}",
                    {"otel_ml.kind": kind} if kind else {},
                    trace_id=trace_id(trace),
                    span_id=span_id(100 * trace + number),
                    start_ns=NOW_NS + 10 * trace + number,
                    **above,
                )
            )
    store.take(project, *spans)
    where = data.draw(st.sampled_from(["", 'name == "span 1"', 'kind == "agent"']))
    rows = listed_traces(store, project, where, limit=2)
    assert len(rows) == len(set(rows)) == count_of(store, project, where, traces=True)
    roots = find_roots(store.reader, RunsQuery(project, where, roots=True), LATER).runs
    assert len(roots) == count_of(store, project, where)


def test_wrong_filter_of_traces(store: Store, project: str) -> None:
    """The error for a bad filter of traces has the column that the user typed."""
    told = []
    for traces in (False, True):
        with pytest.raises(BadInput) as caught:
            find_roots(store.reader, RunsQuery(project, "nosuch == 1", traces=traces), LATER)
        told.append(str(caught.value))
    assert told[0] == told[1]


def test_roots_of_which_something_goes_on(store: Store, project: str) -> None:
    """A run that has ended inside a run still in progress is not a root."""
    agent = make_call("agent", trace_id=trace_id(1), span_id=span_id(1))
    ended, running = below(agent, 2), below(agent, 3)
    store.take(project, make_start(agent), make_start(running), ended)
    assert listed(store, project) == [id_of(agent)]


@at_night
def test_roots_among_many_calls(store: Store, project: str) -> None:
    """A page of roots is full even if each root has many inner calls."""
    roots = [
        make_call(
            "root", trace_id=trace_id(n), span_id=span_id(1_000 * n), start_ns=NOW_NS - n * 1_000
        )
        for n in range(1, 8)
    ]
    kids = [below(root, 1_000 * n + k) for n, root in enumerate(roots, 1) for k in range(1, 40)]
    store.take(project, *roots, *kids)
    assert listed(store, project, limit=5) == [id_of(root) for root in roots[:5]]


def test_what_is_inside(store: Store, project: str) -> None:
    """A root has the token totals and number of its inner calls, and a flag for missing usage."""
    agent = make_call("agent", {"otel_ml.kind": "agent"}, trace_id=trace_id(1), span_id=span_id(1))
    chain = below(agent, 2, otel_ml__kind="chain")
    first, second = below(chain, 3, **USED), below(agent, 4, **USED)
    tool = below(agent, 5, otel_ml__kind="tool")
    store.take(project, agent, chain, first, second, tool)
    query = RunsQuery(project, roots=True)
    page = find_roots(store.reader, query, LATER)
    assert page.inside == {
        id_of(agent): Inside(4, Tokens(input=20, output=4), None, is_least=False)
    }
    told_nothing = below(agent, 6, gen_ai__provider__name="anthropic")
    store.take(project, told_nothing)
    page = find_roots(store.reader, query, LATER)
    assert page.inside[id_of(agent)] == Inside(5, Tokens(input=20, output=4), None, is_least=True)


def test_plain_function_lacks_no_tokens(store: Store, project: str) -> None:
    """A traced function without a provider or provider model is not expected to report tokens."""
    agent = make_call("agent", {"otel_ml.kind": "agent"}, trace_id=trace_id(1), span_id=span_id(1))
    store.take(project, agent, below(agent, 2, **USED), below(agent, 3))
    page = find_roots(store.reader, RunsQuery(project, roots=True), LATER)
    assert page.inside == {
        id_of(agent): Inside(2, Tokens(input=10, output=2), None, is_least=False)
    }


def test_calls_inside(store: Store, project: str) -> None:
    """The calls inside a root are listed in tree order, each with its depth."""
    agent = make_call("agent", trace_id=trace_id(1), span_id=span_id(1))
    chain = below(agent, 2)
    http = below(chain, 3, plain="yes")
    model, tool = below(http, 4), below(agent, 5)
    store.take(project, agent, chain, http, model, tool)
    [root] = find_roots(store.reader, RunsQuery(project, roots=True), LATER).runs
    found = find_calls_inside(store.reader, root, LATER)
    assert [(run.run_id, level) for run, level in found] == [
        (id_of(chain), 1),
        (id_of(model), 2),
        (id_of(tool), 1),
    ]


def test_a_list_of_all_runs_tells_nothing_of_roots(store: Store, project: str) -> None:
    """A list of all runs includes inner runs and has no totals."""
    agent = make_call("agent", trace_id=trace_id(1), span_id=span_id(1))
    store.take(project, agent, below(agent, 2))
    page = find_roots(store.reader, RunsQuery(project), LATER)
    assert (len(page.runs), page.inside) == (2, {})


def test_tool_that_ends_last(store: Store, project: str) -> None:
    """A root without outputs shows the model's answer, even if a tool ends after it."""
    root = make_call("turn", {"otel_ml.kind": "chain"}, trace_id=trace_id(1), span_id=span_id(1))
    model = below(root, 2, otel_ml__outputs='"It is 42.50 kr."')
    tool = below(root, 3, otel_ml__kind="tool", otel_ml__outputs='"42.50 kr"')
    store.take(project, root, model, tool)
    page = find_roots(store.reader, RunsQuery(project, roots=True), LATER)
    assert page.inside[id_of(root)].answered == "It is 42.50 kr."


def test_words_of_what_is_inside(store: Store, project: str) -> None:
    """A root without payloads shows the first question and last answer below it, with their runs.

    A root's own inputs and outputs take precedence. Without any, the texts are empty.
    """
    root = make_call("turn", {"otel_ml.kind": "chain"}, trace_id=trace_id(1), span_id=span_id(1))
    first = below(root, 2, otel_ml__inputs='"Where is my parcel?"')
    second = below(root, 3, otel_ml__inputs='"At the post office?"', otel_ml__outputs='"Yes"')
    told = make_call(
        "turn",
        {"otel_ml.inputs": '"own"', "otel_ml.outputs": '"said"'},
        trace_id=trace_id(2),
        span_id=span_id(11),
    )
    inner = below(told, 12, otel_ml__inputs='"inner"', otel_ml__outputs='"answer"')
    mute = make_call("turn", trace_id=trace_id(3), span_id=span_id(21))
    store.take(project, root, first, second, told, inner, mute, below(mute, 22))
    page = find_roots(store.reader, RunsQuery(project, roots=True), LATER)
    words = {
        run_id: (one.asked, one.answered, one.asked_run_id, one.answered_run_id)
        for run_id, one in page.inside.items()
    }
    assert words == {
        id_of(root): ("Where is my parcel?", "Yes", id_of(first), id_of(second)),
        id_of(told): ("", "", "", ""),
        id_of(mute): ("", "", "", ""),
    }


def test_worst_scores_of_what_is_inside(store: Store, project: str) -> None:
    """A root has the lowest current score of each judge, over itself and its inner runs.

    A judge's earlier score of a run and scores in other roots do not count.
    """
    root = make_call("turn", {"otel_ml.kind": "chain"}, trace_id=trace_id(1), span_id=span_id(1))
    first, second = below(root, 2), below(root, 3)
    other = make_call("turn", trace_id=trace_id(2), span_id=span_id(11))
    spans = [
        *(root, first, second, other),
        say(first, "aa", 0.1, after_s=1),
        say(first, "aa", 0.4, after_s=2),
        say(second, "aa", 0.9),
        say(root, "aa", 0.8),
        say(other, "aa", 0.2),
    ]
    store.take(project, *spans)
    page = find_roots(store.reader, RunsQuery(project, roots=True), LATER)
    assert {run_id: one.scores for run_id, one in page.inside.items()} == {
        id_of(root): {"grounded": WorstScore(id_of(first), 0.4, passed=False)},
        id_of(other): {"grounded": WorstScore(id_of(other), 0.2, passed=False)},
    }
