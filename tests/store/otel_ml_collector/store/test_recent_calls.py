"""Tests of calls that are resolved from recent runs in memory, without a query."""

import random
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import count as numbers
from itertools import pairwise
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_ml_collector.fold.traces import ResolvedGroup
from otel_ml_collector.mapping.filing import Filing
from otel_ml_collector.mapping.spans import map_spans
from otel_ml_collector.span import Span
from otel_ml_collector.store.calls import CallResolver
from otel_ml_collector.store.deletion import Deleter
from otel_ml_collector.store.recent_calls import RecentCalls
from otel_ml_collector.store.resolutions import resolve
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.store.tombstones import RUN, Tombstones
from tests.store.otel_ml_collector.store.test_calls import (
    TRACELOOP,
    USED,
    count,
    make_answer,
    make_two_traces,
    names,
)
from tests.support.examples import examples
from tests.support.otel_ml_collector.folded import find_differing, finish
from tests.support.otel_ml_collector.spans import (
    MS_NS,
    NOW_NS,
    SECOND_NS,
    id_of,
    make_span,
    span_id,
    trace_id,
)
from tests.support.otel_ml_collector.stores import Service, Store
from tests.support.sampling import at_night

NUMBERS: Final = numbers(5_000_000)
NOTHING_SETTLED: Final = ResolvedGroup([], is_complete=False)


def take(watch: CallResolver, store: Store, project: str, spans: Sequence[Span]) -> None:
    """Store spans as one batch, and notify the watch as a commit does."""
    records = map_spans(spans, Filing(project, time.time_ns()))
    store.writer.write(records)
    watch.note(records, store.writer.stamped_ns or 0)


def follow(store: Store, project: str) -> CallResolver:
    """Make a watch that keeps a project in memory because its calls have two scopes."""
    watch = CallResolver(store.connections)
    take(watch, store, project, make_answer(next(NUMBERS), time.time_ns() - 10 * 10**9)[1:3])
    watch.run_pass()
    assert store.connections.memory.calls.is_followed(project)
    return watch


@pytest.mark.parametrize("most", [3, 100_000], ids=["little room", "room"])
@settings(max_examples=examples(25, on_commit=1))
@given(seed=st.integers(0, 2**32))
def test_any_order(service: Service, most: int, seed: int) -> None:
    """Records in any order, repetition, batches and passes are resolved as one call."""
    project, draw = f"recent {next(NUMBERS)}", random.Random(seed)  # noqa: S311 - an order, no secret
    store = service.store
    store.connections.memory.calls = RecentCalls(most)
    watch = follow(store, project)
    calls = [make_answer(next(NUMBERS), time.time_ns()) for _ in range(2)]
    spans = [span for call in calls for span in call]
    sent = [*spans, *draw.sample(spans, 3)]
    draw.shuffle(sent)
    cuts = sorted({0, len(sent), *(draw.randrange(len(sent)) for _ in range(4))})
    for first, last in pairwise(cuts):
        take(watch, store, project, sent[first:last])
        if draw.random() < 0.5:
            watch.run_pass()
    finish(store, watch)
    assert count(service, project) == (3, 150, 21, 0.75)
    assert find_differing(store) == []


@at_night
@pytest.mark.parametrize("most", [3, 100_000], ids=["little room", "room"])
@settings(max_examples=examples(25, on_commit=1))
@given(seed=st.integers(0, 2**32))
def test_two_traces_in_any_order(service: Service, most: int, seed: int) -> None:
    """Calls that are recorded in two traces count once, in any order, batches and passes."""
    project, draw = f"two traces {next(NUMBERS)}", random.Random(seed)  # noqa: S311 - an order, no secret
    store = service.store
    store.connections.memory.calls = RecentCalls(most)
    watch = follow(store, project)
    began_ns = time.time_ns()
    sent = [span for _ in range(3) for span in make_two_traces(next(NUMBERS), began_ns)]
    draw.shuffle(sent)
    cuts = sorted({0, len(sent), *(draw.randrange(len(sent)) for _ in range(3))})
    for first, last in pairwise(cuts):
        take(watch, store, project, sent[first:last])
        if draw.random() < 0.5:
            watch.run_pass()
    finish(store, watch)
    assert count(service, project) == (4, 200, 28, 1.0)
    assert find_differing(store) == []


def test_answers_of_a_cache(project: str) -> None:
    """Only traces near in time may record a call once more, because caches repeat an answer."""
    calls = RecentCalls()
    calls.follow(project)
    starts = [NOW_NS, NOW_NS + MS_NS, NOW_NS + 60 * SECOND_NS]
    spans = [
        replace(make_two_traces(7, start_ns)[1], trace_id=trace_id(number))
        for number, start_ns in enumerate(starts, 1)
    ]
    calls.add(map_spans(spans, Filing(project, NOW_NS)).runs, [], NOTHING_SETTLED)
    alike = [calls.find_alike(project, trace_id(number)) for number in (1, 2, 3)]
    assert alike == [{trace_id(1), trace_id(2)}] * 2 + [set()]


def test_two_pairs_of_one_call(service: Service, project: str) -> None:
    """A run that arrives in two batches, each with a different record, is resolved with both."""
    watch = follow(service.store, project)
    _, own, traceloop, anthropic = make_answer(next(NUMBERS), time.time_ns())
    take(watch, service.store, project, [own, traceloop])
    take(watch, service.store, project, [traceloop, anthropic])
    finish(service.store, watch)
    assert count(service, project) == (2, 100, 14, 0.5)


@at_night
@pytest.mark.parametrize("is_followed", [False, True])
def test_link_that_comes_last(service: Service, project: str, *, is_followed: bool) -> None:
    """A plain span that links two records of a call joins them, even if it arrives last."""
    store = service.store
    watch = follow(store, project) if is_followed else CallResolver(store.connections)
    before = (1, 50, 7, 0.25) if is_followed else (0, 0, 0, 0.0)
    _, own, _, anthropic = make_answer(next(NUMBERS), time.time_ns())
    link = make_span(
        "send",
        trace_id=own.trace_id,
        span_id=span_id(next(NUMBERS)),
        parent_span_id=own.span_id,
        start_ns=own.start_ns,
        end_ns=own.end_ns,
    )
    for span in (own, replace(anthropic, parent_span_id=link.span_id)):
        take(watch, store, project, [span])
        finish(store, watch)
    assert count(service, project)[0] == before[0] + 2
    take(watch, store, project, [link])
    finish(store, watch)
    assert count(service, project) == (
        before[0] + 1,
        before[1] + 50,
        before[2] + 7,
        before[3] + 0.25,
    )


NAMES: Final = {"session.id": "morning", "user.id": "ada", "otel_ml.experiment": "e" * 32}


@at_night
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("is_first", [False, True])
def test_name_of_another_group(
    service: Service, project: str, name: str, *, is_first: bool
) -> None:
    """A session, user or experiment named by a separate span applies to the runs of its trace."""
    store = service.store
    watch = CallResolver(store.connections)
    for _ in range(2):  # first read from the store, then from memory
        chain, own, *_ = make_answer(next(NUMBERS), time.time_ns() + 10**9)
        naming = replace(chain, attributes={**chain.attributes, name: NAMES[name]})
        for span in (naming, own) if is_first else (own, naming):
            take(watch, store, project, [span])
            watch.run_pass()
        assert settled_names(store, project, own) == [NAMES[name]]
        assert settled_names(store, project, chain) == []


def settled_names(store: Store, project: str, span: Span) -> list[str]:
    """Return the session, user and experiment that a run inherits from its trace."""
    sql = Sql("""
        SELECT concat(session, user, experiment) AS name FROM settled FINAL
        WHERE project = {project:String} AND lower(hex(span_id)) = {span:String}""")
    asked = {"project": project, "span": span.span_id.hex()}
    return [row["name"] for row in store.reader.rows(sql, asked)]


@at_night
def test_deleted(service: Service, project: str) -> None:
    """After one record of a call is deleted, a late record is resolved with the remaining ones."""
    watch = follow(service.store, project)
    _, own, traceloop, anthropic = make_answer(next(NUMBERS), time.time_ns())
    take(watch, service.store, project, [own])
    take(watch, service.store, project, [traceloop])
    watch.run_pass()
    connections = service.store.connections
    Deleter(connections, Tombstones(connections)).delete(project, RUN, id_of(own))
    take(watch, service.store, project, [anthropic])
    finish(service.store, watch)
    assert names(service, project) == ["answer", "anthropic.chat"]
    assert count(service, project) == (2, 100, 14, 0.5)


def test_group_that_failed(service: Service, project: str) -> None:
    """Runs stored by a batch that failed midway are resolved after the next batch."""
    store = service.store
    watch = follow(store, project)
    _, own, traceloop, _ = make_answer(next(NUMBERS), time.time_ns())
    for span in (own, traceloop):  # no notification, as after a failed batch
        store.take(project, span, now_ns=time.time_ns())
    store.connections.memory.calls.doubt(store.writer.stamped_ns or 0)
    watch.run_pass()
    take(watch, store, project, make_answer(next(NUMBERS), time.time_ns())[1:])
    finish(store, watch)
    assert count(service, project) == (3, 150, 21, 0.75)


def test_held_runs_are_answered_from_memory(service: Service, project: str) -> None:
    """Resolutions of recent runs from memory equal those from the store."""
    watch = follow(service.store, project)
    _, own, traceloop, anthropic = make_answer(next(NUMBERS), time.time_ns())
    for span in (anthropic, traceloop, own):
        take(watch, service.store, project, [span])
    keys = [
        (project, span.start_ns, span.trace_id, span.span_id)
        for span in (own, traceloop, anthropic)
    ]
    shares = watch.resolve(keys)
    assert shares == CallResolver(service.store.connections).resolve(keys)
    assert {run_id: share.record_of for run_id, share in shares.items()} == {
        id_of(own): b"",
        id_of(traceloop): own.span_id,
        id_of(anthropic): own.span_id,
    }
    finish(service.store, watch)
    assert count(service, project) == (2, 100, 14, 0.5)


def make_work(draw: random.Random) -> list[Span]:
    """Make a call with names, an agent's total, and plain spans with and without usage."""
    spans = make_answer(next(NUMBERS), time.time_ns())
    ids = [span.span_id for span in spans]
    for attributes in ({}, USED):
        plain = make_span(
            "step",
            attributes,
            trace_id=spans[0].trace_id,
            span_id=span_id(next(NUMBERS)),
            parent_span_id=draw.choice(ids),
            start_ns=spans[1].start_ns,
            end_ns=spans[1].end_ns,
        )
        spans.append(plain)
    for _ in range(draw.randrange(3)):
        place, name = draw.randrange(len(spans)), draw.choice([*NAMES])
        named = {**spans[place].attributes, name: NAMES[name]}
        spans[place] = replace(spans[place], attributes=named)
    if draw.random() < 0.5:
        spans[0] = replace(spans[0], attributes={**spans[0].attributes, **USED})
    return draw.sample(spans, draw.randrange(1, len(spans) + 1))


@at_night
@settings(max_examples=examples(25, on_commit=2))
@given(seed=st.integers(0, 2**32))
def test_settled_as_read(service: Service, seed: int) -> None:
    """Traces that arrive whole, in parts or repeatedly are resolved as if read from the store."""
    project, draw = f"recent {next(NUMBERS)}", random.Random(seed)  # noqa: S311 - an order, no secret
    store = service.store
    watch = follow(store, project)
    groups: list[list[Span]] = [[] for _ in range(4)]
    traces = set()
    for _ in range(6):
        work = make_work(draw)
        traces.add((project, work[0].trace_id.hex()))
        first = draw.choice(groups)
        is_whole = draw.random() < 0.5
        for span in work:
            (first if is_whole else draw.choice(groups)).append(span)
        draw.choice(groups).extend(draw.sample(work, draw.randrange(len(work))))
    for group in groups:
        draw.shuffle(group)
        if group:
            take(watch, store, project, group)
        if draw.random() < 0.5:
            watch.run_pass()
    finish(store, watch)
    client = store.connections.open()
    assert resolve(client, store.connections.memory, sorted(traces)) == 0


def test_whole_trace_is_settled_once(service: Service, project: str) -> None:
    """A trace that arrives in a single batch is resolved with it, until more runs arrive."""
    store = service.store
    watch = follow(store, project)
    spans = make_answer(next(NUMBERS), time.time_ns())
    take(watch, store, project, spans)
    recent = store.connections.memory.calls
    trace = recent.find(project, spans[0].trace_id)
    assert trace is not None
    assert trace.is_resolved
    watch.run_pass()
    assert ranks_of(store, project, spans[0]) == {0}
    more = replace(spans[3], span_id=span_id(next(NUMBERS)), scope=TRACELOOP)
    take(watch, store, project, [more])
    trace = recent.find(project, spans[0].trace_id)
    assert trace is not None
    assert not trace.is_resolved
    watch.run_pass()
    assert max(ranks_of(store, project, spans[0])) > 0


def ranks_of(store: Store, project: str, span: Span) -> set[int]:
    """Return the ranks of the resolutions in a trace."""
    sql = Sql("""
        SELECT rank FROM settled
        WHERE project = {project:String} AND lower(hex(trace_id)) = {trace:String}""")
    asked = {"project": project, "trace": span.trace_id.hex()}
    return {row["rank"] for row in store.connections.open().query(sql, asked).named_results()}


def test_trace_that_made_room() -> None:
    """A trace that loses runs to make room is no longer complete, but a retained trace is."""
    recent = RecentCalls(most=3)
    recent.follow("recent")
    recent.note_others("recent", time.time_ns() - 10 * 10**9)
    first, second = (make_answer(next(NUMBERS), time.time_ns()) for _ in range(2))
    for span in (second[0], first[0], first[1], first[2]):
        recent.add(map_spans([span], Filing("recent", time.time_ns())).runs, [], NOTHING_SETTLED)
    assert recent.find("recent", first[0].trace_id) is not None
    for span in second[1:3]:
        recent.add(map_spans([span], Filing("recent", time.time_ns())).runs, [], NOTHING_SETTLED)
    assert recent.find("recent", second[0].trace_id) is None
