"""Tests of lists in orders other than time."""

from dataclasses import replace
from typing import Any, Final

import pytest

from otel_ml.orders import BY_TIME, JUDGE, ORDERS
from otel_ml_collector.errors import BadInput
from otel_ml_collector.runs.find import RunsQuery, find_runs
from otel_ml_collector.runs.roots import find_roots
from otel_ml_collector.span import Span, Value
from tests.store.otel_ml_collector.query.test_judges import say, tell
from tests.store.otel_ml_collector.query.test_runs import ids, walk
from tests.support.otel_ml_collector.spans import (
    DAY_NS,
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

NAMES: Final = [one.name.replace(JUDGE, "grounded") for one in ORDERS if one.name not in BY_TIME]
# The ordering value of a call, by its number. Many values are equal, and some are missing.
WORTH: Final[dict[str, Any]] = {
    "slowest": lambda at: at % 5 + 1,
    "costliest": lambda at: None if at % 7 == 0 else at % 4 * 0.1 + 1e-7,
    "most_tokens": lambda at: None if at % 6 == 0 else at % 3 * 10 + 1,
    "lowest:grounded": lambda at: None if at % 3 == 0 else -(at % 4) / 3,
    "highest:grounded": lambda at: None if at % 3 == 0 else at % 4 / 3,
    # Runs with a higher score pass.
    "worst:grounded": lambda at: None if at % 3 == 0 else -(at % 4) / 3,
    "best:grounded": lambda at: None if at % 3 == 0 else at % 4 / 3,
}


def make_calls(count: int) -> list[Span]:
    """Make calls with different ordering values. Several start at the same time."""
    calls = []
    for at in range(count):
        told: dict[str, Value] = {}
        if (cost := WORTH["costliest"](at)) is not None:
            told["gen_ai.usage.cost"] = cost
        if (tokens := WORTH["most_tokens"](at)) is not None:
            told |= {"gen_ai.usage.input_tokens": tokens - 1, "gen_ai.usage.output_tokens": 1}
        start_ns = NOW_NS - at // 3 * SECOND_NS
        end_ns = start_ns + WORTH["slowest"](at) * SECOND_NS
        calls.append(
            make_call(
                "answer",
                told,
                trace_id=trace_id(5_000 - at),
                span_id=span_id(7_000 + at),
                start_ns=start_ns,
                end_ns=end_ns,
            )
        )
    return calls


def expected(calls: list[Span], order: str) -> list[str]:
    """Return the IDs of calls in an order: the highest value first, then the newest, then by ID."""
    worth = [(WORTH[order](at), call) for at, call in enumerate(calls)]
    known = [(value, call) for value, call in worth if value is not None]
    known.sort(key=lambda one: (one[0], one[1].start_ns, one[1].trace_id), reverse=True)
    return [id_of(call) for _, call in known]


@pytest.fixture(scope="module")
def stored_calls(store: Store) -> list[Span]:
    """Store the calls of project *ordered* in two writes, plus an open run. Return the calls."""
    project, calls = "ordered", make_calls(28)
    said = [
        say(call, "aa", at % 4 / 3)
        for at, call in enumerate(calls)
        if WORTH["highest:grounded"](at) is not None
    ]
    store.take(project, *said, *calls[::2])
    store.take(project, *calls[1::2])
    store.take(project, make_start(make_call("begun")))
    return calls


@sampled(1)
@pytest.mark.parametrize("limit", [1, 7, 60])
@pytest.mark.parametrize("order", NAMES)
def test_pages(store: Store, stored_calls: list[Span], order: str, limit: int) -> None:
    """Pages contain every run that has a value once: the highest value first, then the newest."""
    assert ids(walk(store, "ordered", limit, order=order)) == expected(stored_calls, order)


@at_night
@pytest.mark.parametrize("order", ["slowest", "costliest"])
def test_delivered_twice(store: Store, project: str, order: str) -> None:
    """A run delivered twice is listed once, at the place of its winning delivery."""
    calls = make_calls(12)
    store.take(project, *calls)
    longer: dict[str, Value] = {
        "otel_ml.outputs": f'"{"the whole answer " * 20}"',
        "gen_ai.usage.cost": 9.0,
    }
    again = make_call(
        "answer",
        longer,
        trace_id=calls[2].trace_id,
        span_id=calls[2].span_id,
        start_ns=calls[2].start_ns,
        end_ns=calls[2].start_ns + 90 * SECOND_NS,
    )
    store.take(project, again)
    listed = ids(walk(store, project, 3, order=order))
    before = expected(calls, order)
    assert listed == [id_of(again), *(run_id for run_id in before if run_id != id_of(again))]


def test_filter_and_time(store: Store, project: str) -> None:
    """Filters, including payload filters, and time bounds apply in every order."""
    calls = make_calls(20)
    store.take(project, *calls)
    known = expected(calls, "slowest")
    slow = ids(walk(store, project, 4, order="slowest", where="latency_ms > 3000"))
    assert slow == known[: len(slow)]
    assert len(slow) == 8
    since = ids(walk(store, project, 4, order="slowest", start_ns=NOW_NS - 2 * SECOND_NS))
    newest = {id_of(call) for call in calls[:9]}
    assert since == [run_id for run_id in known if run_id in newest]
    assert walk(store, project, 4, order="slowest", where='"nothing" in input') == []


@at_night
def test_roots_by_what_is_inside(store: Store, project: str) -> None:
    """Roots are ordered by the tokens and cost of their inner calls, and by their worst score."""
    spans: list[Span] = []
    roots = []
    for number, (cost, score) in enumerate([(0.1, 0.9), (0.4, 0.2), (0.2, 0.6)], 1):
        root = make_span(
            "turn",
            {"otel_ml.kind": "chain"},
            trace_id=trace_id(number),
            span_id=span_id(number * 10),
        )
        inner = [
            make_call(
                "ask",
                {"gen_ai.usage.cost": cost, "gen_ai.usage.input_tokens": round(cost * 100)},
                trace_id=root.trace_id,
                parent_span_id=root.span_id,
                span_id=span_id(number * 10 + at),
            )
            for at in (1, 2)
        ]
        roots.append(id_of(root))
        spans += [root, *inner, say(inner[0], "aa", score), say(inner[1], "aa", 0.95)]
    store.take(project, *spans)
    first, second, third = roots
    for order, wanted in {
        "costliest": [second, third, first],
        "most_tokens": [second, third, first],
        "lowest:grounded": [second, third, first],
        "highest:grounded": [first, third, second],
    }.items():
        for top in ("roots", "traces"):
            query = RunsQuery(
                project, order=order, limit=2, roots=top == "roots", traces=top == "traces"
            )
            page = find_roots(store.reader, query, NOW_NS)
            assert ids(page.runs) == wanted[:2], (order, top)
            query = RunsQuery(
                project,
                order=order,
                limit=2,
                cursor=page.next_cursor,
                roots=top == "roots",
                traces=top == "traces",
            )
            assert ids(find_roots(store.reader, query, NOW_NS).runs) == wanted[2:], (order, top)


def test_without_a_time(store: Store, project: str) -> None:
    """Without a start, a list covers the last 30 days and returns the start of that range.

    If the project has no older runs, no start is returned.
    """
    recent, old = make_calls(3), make_call("old", start_ns=NOW_NS - 40 * DAY_NS)
    store.take(project, *recent)
    page = find_runs(store.reader, RunsQuery(project, order="slowest"), NOW_NS)
    assert (len(page.runs), page.ordered_since) == (3, None)
    store.take(project, old)
    page = find_runs(store.reader, RunsQuery(project, order="slowest"), NOW_NS)
    assert (len(page.runs), page.ordered_since) == (3, "2026-10-21T07:00:00.000000001Z")
    asked = RunsQuery(project, order="slowest", start_ns=NOW_NS - 50 * DAY_NS)
    page = find_runs(store.reader, asked, NOW_NS)
    assert (len(page.runs), page.ordered_since) == (4, None)


def test_cursor_of_another_order(store: Store, project: str) -> None:
    """A cursor is valid only in its own order."""
    store.take(project, *make_calls(5))
    page = find_runs(store.reader, RunsQuery(project, order="slowest", limit=1), NOW_NS)
    for order in ("costliest", "newest", "lowest:grounded"):
        query = RunsQuery(project, order=order, cursor=page.next_cursor)
        with pytest.raises(BadInput, match=r"^Invalid cursor"):
            find_runs(store.reader, query, NOW_NS)


def score_turns(scores: list[float], passes: bool | None) -> tuple[list[str], list[Span]]:
    """Make turns with two scored calls each. ``passes`` says whether the lower scores pass."""
    roots, spans = [], list[Span]()
    for number, score in enumerate(scores, 1):
        ids = {"trace_id": trace_id(number), "span_id": span_id(number * 10)}
        root = make_span("turn", {"otel_ml.kind": "chain"}, **ids)
        for at, own in enumerate((score, 0.5), 1):
            call = make_call(
                "ask",
                trace_id=root.trace_id,
                parent_span_id=root.span_id,
                span_id=span_id(number * 10 + at),
            )
            said = say(call, "aa", own)
            kept = {key: one for key, one in said.attributes.items() if key != "otel_ml.passed"}
            if passes is not None:
                kept["otel_ml.passed"] = (own < 0.6) == passes
            spans += [call, replace(said, attributes=kept)]
        roots.append(id_of(root))
        spans.append(root)
    return roots, spans


@sampled(1)
@pytest.mark.parametrize(
    ("passes", "says", "worst"),
    [
        (True, None, "highest"),
        (False, None, "lowest"),
        (None, None, "lowest"),
        (None, True, "highest"),
        (True, False, "lowest"),
    ],
)
def test_worst(
    store: Store, project: str, passes: bool | None, says: bool | None, worst: str
) -> None:
    """The worst score is the highest if lower is better, by the judge's setting or verdicts."""
    roots, spans = score_turns([0.9, 0.1, 0.7], passes)
    told = [] if says is None else [tell("aa", lower_is_better=says)]
    store.take(project, *spans, *told)
    for way in ("worst", "best"):
        same = worst if way == "worst" else {"lowest": "highest", "highest": "lowest"}[worst]
        for query in (RunsQuery(project), RunsQuery(project, roots=True)):
            asked, plain = (
                find_roots(store.reader, replace(query, order=f"{one}:grounded"), NOW_NS)
                for one in (way, same)
            )
            assert ids(asked.runs) == ids(plain.runs)
            assert len(asked.runs) == (3 if query.roots else 6)
            assert (asked.ordered_by, plain.ordered_by) == (f"{same}:grounded", None)
    page = find_roots(store.reader, RunsQuery(project, roots=True, order="worst:grounded"), NOW_NS)
    shown = [page.inside[run.run_id].scores["grounded"].score for run in page.runs]
    assert shown == ([0.9, 0.7, 0.5] if worst == "highest" else [0.1, 0.5, 0.5])
    assert ids(page.runs)[0] == roots[0 if worst == "highest" else 1]


@at_night
def test_pages_of_the_worst(store: Store, project: str) -> None:
    """The next page of the worst runs continues in the order that was chosen."""
    _, spans = score_turns([0.9, 0.1, 0.7], True)
    store.take(project, *spans)
    whole = ids(walk(store, project, 50, order="worst:grounded"))
    assert ids(walk(store, project, 2, order="worst:grounded")) == whole
