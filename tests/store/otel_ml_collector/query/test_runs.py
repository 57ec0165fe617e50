"""Tests of listing runs: pages, time bounds and repeated deliveries."""

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_ml.orders import NEWEST, OLDEST
from otel_ml_collector.errors import BadInput
from otel_ml_collector.runs.answers import RunSummary
from otel_ml_collector.runs.find import (
    RunsQuery,
    cursor_of,
    find_neighbour,
    find_runs,
    write_cursor,
)
from otel_ml_collector.span import Span
from otel_ml_collector.store.runs import Key
from otel_ml_collector.store.sql import Sql
from tests.support.examples import examples
from tests.support.otel_ml_collector.spans import (
    NOW_NS,
    SECOND_NS,
    id_of,
    make_call,
    make_span,
    span_id,
    trace_id,
)
from tests.support.otel_ml_collector.stores import Store
from tests.support.sampling import sampled

COUNTER: Final = itertools.count()
FULL: Final = {"otel_ml.outputs": '"the whole answer"'}


@pytest.fixture(scope="module")
def store(own_store: Store) -> Store:
    """Return a store for this module, because some tests stop the merges of a table."""
    return own_store


def make_calls(number: int, **fields: Any) -> list[Span]:
    """Make calls from the newest to the oldest, some with the same start."""
    return [
        make_call(
            f"call {place:03}",
            trace_id=trace_id(1000 - place),
            span_id=span_id(2000 - place),
            start_ns=NOW_NS - place // 3 * 3_000 * SECOND_NS,
            **fields,
        )
        for place in range(number)
    ]


def ask(store: Store, project: str, **parameters: Any) -> list[RunSummary]:
    return find_runs(store.reader, RunsQuery(project, **parameters), NOW_NS).runs


def walk(
    store: Store, project: str, limit: int, cursor: str | None = None, **parameters: Any
) -> list[RunSummary]:
    """Read a list page by page. Assert that every page but the last is full."""
    runs: list[RunSummary] = []
    while True:
        query = RunsQuery(project, limit=limit, cursor=cursor, **parameters)
        page = find_runs(store.reader, query, NOW_NS)
        runs += page.runs
        if page.next_cursor is None:
            return runs
        assert len(page.runs) == limit
        cursor = page.next_cursor


def ids(runs: Sequence[RunSummary]) -> list[str]:
    return [run.run_id for run in runs]


@sampled(1)
@pytest.mark.parametrize("limit", [1, 7, 29, 30, 31, 1_000])
@pytest.mark.parametrize("newest_first", [True, False], ids=["descending", "ascending"])
@pytest.mark.parametrize("where", ["", 'kind == "model"'], ids=["all", "filtered"])
def test_pages(store: Store, limit: int, newest_first: bool, where: str) -> None:
    """All pages of a list together contain every run once, in order."""
    project = "pages"
    calls = make_calls(30)
    if not ask(store, project):
        store.take(project, *calls)
    found = walk(store, project, limit, order=NEWEST if newest_first else OLDEST, where=where)
    expected = [id_of(call) for call in calls]
    assert ids(found) == (expected if newest_first else expected[::-1])


@sampled(1)
@pytest.mark.parametrize("newest_first", [True, False], ids=["descending", "ascending"])
def test_redelivery_while_paging(store: Store, project: str, newest_first: bool) -> None:
    """Runs delivered again while a list is paged appear once, as their best delivery."""
    calls = make_calls(20)
    store.take(project, *calls)
    query = RunsQuery(project, limit=5, order=NEWEST if newest_first else OLDEST)
    first = find_runs(store.reader, query, NOW_NS)
    store.take(project, *[replace(call, attributes={**call.attributes, **FULL}) for call in calls])
    store.take(project, *calls)
    assert first.next_cursor is not None
    rest = walk(
        store, project, 5, order=NEWEST if newest_first else OLDEST, cursor=first.next_cursor
    )
    expected = [id_of(call) for call in calls]
    assert ids([*first.runs, *rest]) == (expected if newest_first else expected[::-1])
    assert {run.outputs for run in rest} == {"the whole answer"}


@sampled(1)
def test_lesser_delivery_while_paging(store: Store, project: str) -> None:
    """A shorter delivery of a run does not change the list."""
    calls = make_calls(9, attributes=FULL)
    store.take(project, *calls)
    before = ask(store, project)
    short = {"otel_ml.model.name": "call"}
    store.take(project, *[replace(call, attributes=short) for call in calls])
    assert ask(store, project) == before


deliveries = st.tuples(st.integers(1, 9), st.integers(0, 3))


@settings(max_examples=examples(25, on_commit=4))
@given(
    first=st.lists(deliveries, max_size=12),
    second=st.lists(deliveries, max_size=12),
    limit=st.integers(1, 4),
    newest_first=st.booleans(),
)
def test_any_deliveries(
    store: Store,
    first: list[tuple[int, int]],
    second: list[tuple[int, int]],
    limit: int,
    newest_first: bool,
) -> None:
    """Any deliveries in any number of groups are listed once per run, as the best delivery."""
    project = f"any {next(COUNTER)}"
    for group in (first, second):
        spans = [
            make_call(
                attributes={"otel_ml.outputs": f'"{"x" * fullness}"'},
                trace_id=trace_id(number),
                span_id=span_id(number),
                start_ns=NOW_NS - number // 2,
            )
            for number, fullness in group
        ]
        store.take(project, *spans)
    best: dict[int, int] = {}
    for number, fullness in [*first, *second]:
        best[number] = max(fullness, best.get(number, 0))
    expected = sorted(best, key=lambda number: (-(number // 2), number), reverse=newest_first)
    found = walk(store, project, limit, order=NEWEST if newest_first else OLDEST)
    assert [(int(run.run_id[:32], 16), len(run.outputs or "")) for run in found] == [
        (number, best[number]) for number in expected
    ]


def make_losers(store: Store, project: str, number: int) -> list[Span]:
    """Store runs first as failures, then in longer deliveries as successes."""
    client = store.connections.open()
    client.command(Sql("SYSTEM STOP MERGES runs"))
    calls = make_calls(number, attributes={"otel_ml.outcome": "error"})
    store.take(project, *calls)
    good = {"otel_ml.outcome": "ok", **FULL}
    store.take(project, *[replace(c, attributes={**c.attributes, **good}) for c in calls])
    return calls


def test_losers(store: Store, project: str) -> None:
    """A run is not found if only its losing delivery matches the filter."""
    calls = make_losers(store, project, 12)
    assert ask(store, project, where='outcome == "error"') == []
    assert ids(ask(store, project, where='outcome == "ok"')) == [id_of(call) for call in calls]


@sampled(1)
@pytest.mark.parametrize("limit", [1, 2, 50])
def test_behind_many_losers(store: Store, project: str, limit: int) -> None:
    """A run behind many losing deliveries is found with any page size."""
    make_losers(store, project, 150)
    oldest = make_call(
        attributes={"otel_ml.outcome": "error"}, start_ns=NOW_NS - 3_000 * 51 * SECOND_NS
    )
    store.take(project, oldest)
    assert ids(ask(store, project, where='outcome == "error"', limit=limit)) == [id_of(oldest)]


@sampled(2)
@pytest.mark.parametrize(
    ("start_ns", "end_ns", "found"),
    [
        (0, None, ["c", "b", "a"]),
        (NOW_NS - 20, None, ["c", "b"]),
        (NOW_NS - 19, None, ["c"]),
        (0, NOW_NS - 10, ["b", "a"]),
        (0, NOW_NS - 9, ["c", "b", "a"]),
        (NOW_NS - 30, NOW_NS - 10, ["b", "a"]),
        (NOW_NS - 20, NOW_NS - 20, []),
        (NOW_NS, NOW_NS - 30, []),
    ],
)
def test_bounds(store: Store, start_ns: int, end_ns: int | None, found: list[str]) -> None:
    """The start of a list is inclusive, and its end is exclusive."""
    project = "bounds"
    if not ask(store, project):
        calls = [
            make_call(name, start_ns=NOW_NS - age)
            for name, age in (("a", 30), ("b", 20), ("c", 10))
        ]
        store.take(project, *calls)
    runs = ask(store, project, start_ns=start_ns, end_ns=end_ns)
    assert [run.name for run in runs] == found


@sampled(1)
@pytest.mark.parametrize("newest_first", [True, False], ids=["descending", "ascending"])
def test_old_runs(store: Store, project: str, newest_first: bool) -> None:
    """The list reaches from runs of this hour to those of a year ago, page by page."""
    ages = [0, 59 * 60, 61 * 60, 23 * 3_600, 25 * 3_600, 29 * 86_400, 31 * 86_400, 390 * 86_400]
    calls = [make_call(start_ns=NOW_NS - age * SECOND_NS) for age in ages]
    store.take(project, *calls)
    expected = [id_of(call) for call in (calls if newest_first else reversed(calls))]
    for limit in (1, 3, 50):
        assert (
            ids(walk(store, project, limit, order=NEWEST if newest_first else OLDEST)) == expected
        )


def test_neighbours(store: Store, project: str) -> None:
    """A run's neighbour is the next run in the list, however old. The last run has none."""
    ages = [0, 59 * 60, 25 * 3_600, 31 * 86_400, 390 * 86_400]
    store.take(project, *[make_call(start_ns=NOW_NS - age * SECOND_NS) for age in ages])
    runs = ask(store, project)
    for newest_first, expected in ((True, runs[1:]), (False, runs[-2::-1])):
        listed = runs if newest_first else runs[::-1]
        found = [
            find_neighbour(store.reader, run, NOW_NS, newest_first=newest_first) for run in listed
        ]
        assert found == [*ids(expected), None]


def test_clock_that_is_ahead(store: Store, project: str) -> None:
    """Runs of a machine whose clock is less than an hour ahead are listed."""
    call = make_call(start_ns=NOW_NS + 3_599 * SECOND_NS)
    store.take(project, call)
    assert ids(ask(store, project)) == [id_of(call)]


@sampled(2)
@pytest.mark.parametrize(
    ("where", "names"),
    [
        ("", ["call"]),
        ('session == ""', ["call"]),
        ('kind == "span"', ["GET"]),
        ('kind in ("span", "model")', ["call", "GET"]),
        ('kind != "model"', ["GET"]),
        ('kind == "span" or name == "call"', ["call", "GET"]),
    ],
)
def test_plain_spans(store: Store, where: str, names: list[str]) -> None:
    """Plain spans are listed only if the filter mentions kinds."""
    project = "plain spans"
    if not ask(store, project):
        store.take(project, make_call("call"), make_span("GET", start_ns=NOW_NS - 1))
    assert [run.name for run in ask(store, project, where=where)] == names


def test_nothing(store: Store, project: str) -> None:
    """A project without runs has an empty list."""
    page = find_runs(store.reader, RunsQuery(project), NOW_NS)
    assert (page.runs, page.next_cursor) == ([], None)


@sampled(1)
@pytest.mark.parametrize("cursor", ["", "nonsense", "bm9uc2Vuc2U", "W10"])
def test_bad_cursor(store: Store, project: str, cursor: str) -> None:
    """An invalid cursor is reported as such."""
    with pytest.raises(BadInput) as caught:
        find_runs(store.reader, RunsQuery(project, cursor=cursor), NOW_NS)
    assert caught.value.field == "cursor"


def test_bad_filter(store: Store, project: str) -> None:
    """An invalid filter is reported with the column of the error."""
    with pytest.raises(BadInput) as caught:
        ask(store, project, where='model == "a" and colour == 1')
    assert (caught.value.field, caught.value.column) == ("where", 17)


def test_cursor_of_a_run(store: Store, project: str) -> None:
    """The cursor of a run lists the runs after it."""
    calls = make_calls(5)
    store.take(project, *calls)
    runs = ask(store, project)
    assert ids(ask(store, project, cursor=cursor_of(runs[2]))) == ids(runs[3:])


def test_cursor_of_a_run_that_is_gone(store: Store, project: str) -> None:
    """A cursor remains valid if its run no longer exists."""
    calls = make_calls(5)
    store.take(project, *calls)
    place = write_cursor(Key(calls[2].start_ns, "f" * 32, "f" * 16))
    assert ids(ask(store, project, cursor=place)) == [
        id_of(call) for call in calls if call.start_ns <= calls[2].start_ns
    ]
