"""Tests of the cost of a pass over new runs in a growing project."""

import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Final

import pytest

from otel_ml_collector.mapping.filing import Filing
from otel_ml_collector.mapping.spans import map_spans
from otel_ml_collector.span import Span, Value
from otel_ml_collector.store.calls import CallResolver
from otel_ml_collector.store.sql import Sql
from tests.store.otel_ml_collector.store.test_calls import make_answer, resolve
from tests.store.otel_ml_collector.store.test_recent_calls import take
from tests.support.otel_ml_collector.spans import MS_NS, NOW_NS, make_call, make_span, make_start
from tests.support.otel_ml_collector.stores import Store, open_store
from tests.support.sampling import at_night

SETTLED: Final = Sql("""
    SELECT start_ns, hex(trace_id), hex(span_id), hex(record_of), others, input_tokens, cost
    FROM settled FINAL ORDER BY ALL""")


@pytest.fixture(scope="module")
def store(own_store: Store) -> Store:
    """Return a store for this module, because some tests empty tables."""
    return own_store


def read_by_the_engine(store: Store) -> tuple[int, int]:
    """Return the numbers of rows that the engine has read and of queries that it has run so far."""
    events = Sql("""
        SELECT sumIf(value, event = 'SelectedRows') AS rows,
          sumIf(value, event = 'SelectQuery') AS questions FROM system.events""")
    [found] = store.connections.open().query(events).named_results()
    return found["rows"], found["questions"]


@at_night
def test_look_reads_what_is_new(tmp_path: Path) -> None:
    """A pass over new runs of several scopes reads no more as the project grows.

    One trace, like that of an agent, starts with the third batch and continues in all later ones.
    """
    reads: list[tuple[int, int]] = []
    with open_store(tmp_path) as store:
        watch = CallResolver(store.connections)
        late: list[Span] = []
        for group in range(14):
            began_ns = time.time_ns() - (10_000 if group < 2 else 200) * MS_NS
            calls = [
                make_answer(number, began_ns, response_id=f"msg_{number}")
                for number in range(100 * group, 100 * group + 50)
            ]
            if group == 2:
                long = make_answer(9_999, time.time_ns())[0]
            if group > 2:
                calls[0] = [
                    replace(span, trace_id=long.trace_id, parent_span_id=parent)
                    for span in calls[0]
                    for parent in (span.parent_span_id or long.span_id,)
                ]
            spans = [*late, *(span for call in calls for span in call[:2])]
            late = [span for call in calls for span in call[2:]]
            take(watch, store, "look", spans)
            before = read_by_the_engine(store)
            watch.run_pass()
            after = read_by_the_engine(store)
            reads.append((after[0] - before[0], after[1] - before[1]))
        settled = store.connections.open().query(SETTLED).result_rows
        store.connections.open().command(Sql("TRUNCATE TABLE settled"))
        store.connections.open().command(Sql("TRUNCATE TABLE store_meta"))
        resolve(store)
        assert settled == store.connections.open().query(SETTLED).result_rows
    assert len(settled) > 3 * 50 * 12
    # A single pass may also write its mark, or rows that the writer has not taken along.
    (rows, questions), (later_rows, later_questions) = (
        [median(counts) for counts in zip(*part, strict=True)] for part in (reads[4:9], reads[9:])
    )
    assert (later_questions <= questions, later_rows <= rows + 100) == (True, True), reads


@at_night
def test_killed_before_it_looked(tmp_path: Path) -> None:
    """An evaluation of a tag, stored last and without a pass, is resolved by the next collector."""
    tag: dict[str, Value] = {"otel_ml.tag.order": 7}
    told: dict[str, Value] = {
        "otel_ml.record": "evaluation",
        "otel_ml.judge.name": "liked",
        "otel_ml.score.value": 1.0,
        "otel_ml.target.tag": "order=7",
    }
    with open_store(tmp_path) as store:
        store.take("look", make_call("ended", tag))
        for span in (make_start(make_call("open"), tag), make_span("e", told)):
            store.writer.write(map_spans([span], Filing("look", NOW_NS)))
        resolve(store)
        named = Sql("SELECT count() FROM settled FINAL WHERE has(owners, 'tag:order=7')")
        assert store.connections.open().query(named).result_rows == [(2,)]


@at_night
def test_new_project(tmp_path: Path) -> None:
    """The first batch of a new project is complete in memory. A batch of an existing one is not.

    After a failed batch it is not complete either, because part of that batch may be stored.
    """
    _, own, traceloop, anthropic = make_answer(1, time.time_ns())
    with open_store(tmp_path) as store:
        recent = store.connections.memory.calls
        watch = CallResolver(store.connections)
        watch.run_pass()
        store.take("old", own, now_ns=time.time_ns())
        take(watch, store, "new", [own, traceloop])
        assert recent.find("new", own.trace_id) is not None
        watch.run_pass()
        take(watch, store, "new", [anthropic])
        _, before = read_by_the_engine(store)
        watch.run_pass()
        _, after = read_by_the_engine(store)
        # Four queries for an insert, and one that counts: for `settled`, and for the row in `runs`.
        assert after - before <= 10
        assert count_in(store, "new") == (2, 1)
        recent.doubt(store.writer.stamped_ns or 0)
        take(CallResolver(store.connections), store, "newer", [own, traceloop])
        assert recent.find("newer", own.trace_id) is None
    with open_store(tmp_path) as store:
        watch = CallResolver(store.connections)
        watch.run_pass()
        for project in ("old", "newest"):
            take(watch, store, project, [own, traceloop, anthropic])
        recent = store.connections.memory.calls
        assert recent.find("old", own.trace_id) is None
        assert recent.find("newest", own.trace_id) is not None
        watch.run_pass()
        assert {count_in(store, project) for project in ("old", "newest")} == {(2, 1)}
    with open_store(tmp_path) as store:
        recent = store.connections.memory.calls
        recent.doubt(0)  # A batch failed before any record had an arrival time.
        watch = CallResolver(store.connections)
        watch.run_pass()
        take(watch, store, "last", [own, traceloop])
        assert recent.find("last", own.trace_id) is None


def count_in(store: Store, project: str) -> tuple[int, int]:
    """Return the number of runs that are second records, and of runs that have any."""
    sql = Sql("""
        SELECT countIf(record_of != toFixedString('', 8)) AS seconds,
          countIf(notEmpty(others)) AS firsts
        FROM settled FINAL WHERE project = {project:String}""")
    [row] = store.connections.open().query(sql, {"project": project}).named_results()
    return row["seconds"], row["firsts"]
