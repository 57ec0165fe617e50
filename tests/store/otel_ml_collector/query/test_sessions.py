"""Tests that a run has its own session and user, or else those of its trace."""

import random
from collections import Counter
from collections.abc import Sequence
from typing import Final

import pytest

from otel_ml_collector.runs.answers import RunSummary
from otel_ml_collector.runs.find import RunsQuery, find_run, find_runs
from otel_ml_collector.runs.traces import find_trace
from otel_ml_collector.span import Span
from otel_ml_collector.stats import StatsQuery, find_stats
from otel_ml_collector.traces.sessions import SessionsQuery, find_session, find_sessions
from otel_ml_collector.windows import Window
from tests.support.otel_ml_collector.spans import (
    MS_NS,
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
from tests.support.sampling import sampled

HOUR: Final = Window(NOW_NS - 1_800 * SECOND_NS, NOW_NS + 1_800 * SECOND_NS)
TRACES: Final = 12
NAMES: Final = ("", "", "s-1", "s-2", "it's")


def find(store: Store, project: str, where: str = "") -> list[RunSummary]:
    return find_runs(store.reader, RunsQuery(project, where, limit=1_000), NOW_NS).runs


def make_traces() -> list[list[Span]]:
    """Make traces in random tree shapes, in which some runs name sessions and users."""
    draw = random.Random(20)  # noqa: S311 - the same traces each time
    return [
        [
            make_call(
                attributes={
                    "session.id": draw.choice(NAMES),
                    "user.id": draw.choice(("", "", "ada")),
                    "gen_ai.usage.input_tokens": 1,
                },
                trace_id=trace_id(trace + 1),
                span_id=span_id(span + 1),
                parent_span_id=span_id(draw.randrange(span) + 1) if span else b"",
                start_ns=NOW_NS + draw.randrange(9) * MS_NS,
            )
            for span in range(draw.randrange(1, 6))
        ]
        for trace in range(TRACES)
    ]


def named(trace: Sequence[Span], attribute: str) -> str:
    """Return the value that a trace names: by a root if one does, else by its earliest run."""
    naming = [span for span in trace if span.attributes[attribute]]
    naming.sort(key=lambda span: (bool(span.parent_span_id), span.start_ns, span.span_id))
    return str(naming[0].attributes[attribute]) if naming else ""


def expected(attribute: str) -> dict[str, str]:
    """Return the expected value of each run, by run ID."""
    return {
        id_of(span): str(span.attributes[attribute] or named(trace, attribute))
        for trace in make_traces()
        for span in trace
    }


@pytest.fixture(scope="module")
def told(store: Store) -> str:
    """Store the traces in random order, some of them twice, and return the project."""
    spans = [span for trace in make_traces() for span in trace]
    random.Random(7).shuffle(spans)  # noqa: S311 - the same order each time
    for place in range(0, len(spans), 5):
        store.take("told", *spans[place : place + 7])
    return "told"


@sampled(1)
@pytest.mark.parametrize(("field", "attribute"), [("session", "session.id"), ("user", "user.id")])
def test_list_filter_page_and_statistics(
    store: Store, told: str, field: str, attribute: str
) -> None:
    """A run's own or inherited value appears in lists, on its page, in filters and in groups."""
    wanted = expected(attribute)
    assert {run.run_id: getattr(run, field) for run in find(store, told)} == wanted
    for run_id, value in wanted.items():
        assert getattr(find_run(store.reader, run_id, told, now_ns=NOW_NS), field) == value
    for trace in make_traces():
        key = trace[0].trace_id.hex()
        runs = find_trace(store.reader, key, told, now_ns=NOW_NS).runs
        assert {run.run_id: getattr(run, field) for run in runs} == {
            id_of(span): wanted[id_of(span)] for span in trace
        }
    for test, holds in (
        ("== 's-1'", lambda value: value == "s-1"),
        ("!= 's-1'", lambda value: value != "s-1"),
        ("== ''", lambda value: value == ""),
        ("in ('ada', '')", lambda value: value in {"ada", ""}),
        ("not in ('ada', 's-2')", lambda value: value not in {"ada", "s-2"}),
    ):
        found = {run.run_id for run in find(store, told, f"{field} {test}")}
        assert found == {run_id for run_id, value in wanted.items() if holds(value)}, test
    found = {run.run_id for run in find(store, told, f"'s-' in {field}")}
    assert found == {run_id for run_id, value in wanted.items() if "s-" in value}
    stats = find_stats(store.reader, StatsQuery(told, "", field, HOUR, 3_600 * SECOND_NS, 50))
    assert {group.group: group.total.tokens.input for group in stats.groups} == Counter(
        wanted.values()
    )
    stats = find_stats(
        store.reader, StatsQuery(told, f"{field} == 's-1'", "", HOUR, 3_600 * SECOND_NS, 50)
    )
    assert stats.total.runs == Counter(wanted.values())["s-1"]


def test_an_expression(store: Store, told: str) -> None:
    """A regular expression is matched against a run's own or inherited session, if any."""
    wanted = expected("session.id")
    query = RunsQuery(told, 'matches(session, "^s-2?$")', limit=1_000, start_ns=1)
    found = {run.run_id for run in find_runs(store.reader, query, NOW_NS).runs}
    assert found == {run_id for run_id, value in wanted.items() if value == "s-2"}


def test_root_that_is_no_call(store: Store, project: str) -> None:
    """A plain request span's session applies to the calls below it."""
    request = make_span("GET /", {"session.id": "s-9"})
    call = make_call(trace_id=request.trace_id, parent_span_id=request.span_id)
    store.take(project, call)
    assert [run.session for run in find(store, project)] == [""]
    store.take(project, request)
    assert [run.session for run in find(store, project)] == ["s-9"]
    assert len(find(store, project, 'session == "s-9"')) == 1


@pytest.mark.parametrize("name", ["user.id", "enduser.id"])
def test_user_of_a_request(store: Store, project: str, name: str) -> None:
    """The user of an HTTP request is the user of the calls below it and of the session."""
    request = make_span("GET /", {name: "ada"})
    call = make_call(
        attributes={"session.id": "s-5"},
        trace_id=request.trace_id,
        parent_span_id=request.span_id,
    )
    store.take(project, request, call)
    assert [run.run_id for run in find(store, project, 'user == "ada"')] == [id_of(call)]
    stats = find_stats(store.reader, StatsQuery(project, "", "user", HOUR, 3_600 * SECOND_NS, 50))
    assert [(group.group, group.total.runs) for group in stats.groups] == [("ada", 1)]
    page = find_sessions(store.reader, SessionsQuery(project, 'user == "ada"'), NOW_NS)
    assert [(one.session, one.user, one.turns, one.start_ns) for one in page.sessions] == [
        ("s-5", "ada", 1, call.start_ns)
    ]


def test_session_of_spans_alone(store: Store, project: str) -> None:
    """A session without calls does not exist."""
    store.take(project, make_span("GET /", {"session.id": "s-6"}))
    assert find_sessions(store.reader, SessionsQuery(project), NOW_NS).sessions == []


def test_open_run(store: Store, project: str) -> None:
    """The session of an open run applies to ended runs below it."""
    root = make_call("chat")
    call = make_call(trace_id=root.trace_id, parent_span_id=root.span_id)
    store.take(project, make_start(root, {"session.id": "s-3"}), call)
    assert {run.session for run in find(store, project)} == {"s-3"}
    assert len(find(store, project, 'session == "s-3"')) == 2


def test_words_of_a_turn(store: Store, project: str) -> None:
    """A turn without payloads shows the first question and the last answer below it."""
    turn = make_call("turn", {"session.id": "s-7", "otel_ml.kind": "chain"}, trace_id=trace_id(77))
    calls = [
        make_call(
            "ask",
            {"otel_ml.inputs": f'"question {at}"', "otel_ml.outputs": f'"answer {at}"'},
            trace_id=turn.trace_id,
            parent_span_id=turn.span_id,
            span_id=span_id(700 + at),
            start_ns=turn.start_ns + at,
        )
        for at in (1, 2)
    ]
    store.take(project, turn, *calls)
    [told] = find_session(store.reader, project, "s-7", NOW_NS).conversation
    assert (told.asked, told.answered) == ("question 1", "answer 2")
    [listed] = find_sessions(store.reader, SessionsQuery(project), NOW_NS).sessions
    assert listed.asked == "question 1"
