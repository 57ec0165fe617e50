"""Tests of rows of `runs` that are written again when other records change the run."""

import random
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import count as numbers
from typing import Final

from otel_ml_collector.decode.protobuf import decode_traces
from otel_ml_collector.mapping.filing import Filing
from otel_ml_collector.mapping.spans import map_spans
from otel_ml_collector.resolution import NOTHING, ResolvedRun
from otel_ml_collector.runs.answers import Run
from otel_ml_collector.runs.find import find_run
from otel_ml_collector.span import Span
from otel_ml_collector.store.calls import CallResolver
from otel_ml_collector.store.counted import MAIN_RECORD, OF_PROJECT
from otel_ml_collector.store.deletion import Deleter
from otel_ml_collector.store.reader import Row
from otel_ml_collector.store.rollup import STATES
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.store.tables import RESPONSE_ID
from otel_ml_collector.store.tombstones import SESSION, Tombstones
from otel_ml_collector.store.writer import Writer
from otel_ml_collector.times import MINUTE_NS
from tests.bench.dataset import Plan
from tests.bench.dataset_full import FullDataset
from tests.store.otel_ml_collector.store.test_calls import make_answer
from tests.support.examples import examples
from tests.support.otel_ml_collector.folded import find_differing, finish
from tests.support.otel_ml_collector.spans import DAY_NS, SECOND_NS, make_span, span_id, trace_id
from tests.support.otel_ml_collector.stores import Service, Store
from tests.support.sampling import at_night, harder

NUMBERS: Final = numbers(7_000_000)
COLUMNS: Final = Sql("""SELECT name, final_session AS session, session AS own,
  counted_input_tokens AS tokens, toUInt64(rank) AS folded FROM runs FINAL
  WHERE project = {project:String} ORDER BY start_ns, name""")


# The answer of `show`, read from the columns of some rows. Most of them depend on other runs.
SHOWN_BY_COLUMNS: Final = Sql("""
  SELECT project, concat(lower(hex(trace_id)), '-', lower(hex(span_id))) AS run_id,
    final_session AS session, final_user AS user, final_provider AS provider,
    final_provider_model AS provider_model, {response} AS own_response,
    if(own_response = '', call_response_id, own_response) AS response_id,
    final_first_token_ms AS first_token_ms,
    counted_input_tokens AS tokens, counted_cost AS cost,
    if(record_of = toFixedString('', 8), '', {main}) AS record_of,
    JSONLength(others) AS also_recorded
  FROM runs FINAL WHERE kind != 'span' AND startsWith(project, 'project ')
  ORDER BY cityHash64(span_id) % 3 = 0, folded_ns > 0 DESC, span_id LIMIT {most:UInt32}""").fill(
    response=RESPONSE_ID, main=MAIN_RECORD
)


def make_trace(number: int, *, output: str = '"b"') -> tuple[Span, Span]:
    """Make a call and the root above it, which names the session."""
    start_ns = time.time_ns() - SECOND_NS
    ids = {"trace_id": trace_id(number)}
    root = make_span("root", {"session.id": "s"}, span_id=span_id(number), start_ns=start_ns, **ids)
    call = make_span(
        "call",
        {"otel_ml.model.name": "answer", "gen_ai.usage.input_tokens": 5, "otel_ml.outputs": output},
        span_id=span_id(number + 1),
        parent_span_id=span_id(number),
        start_ns=start_ns + 1,
        **ids,
    )
    return root, call


def take(store: Store, watch: CallResolver, project: str, *spans: Span) -> None:
    """Store spans as one group, and notify the job as a collector does."""
    records = map_spans(spans, Filing(project, time.time_ns()))
    store.writer.write(records)
    watch.note(records, store.writer.stamped_ns or 0)


def read(store: Store, project: str) -> Sequence[Row]:
    return store.reader.rows(COLUMNS, {"project": project})


def sessions(store: Store, project: str) -> list[str]:
    return [row["session"] for row in read(store, project)]


@harder
def test_every_row(service: Service) -> None:
    """Rows equal what is resolved, if records arrive in any order and partly twice."""
    store, draw = service.store, random.Random(8)  # noqa: S311 - an order, no secret
    watch = CallResolver(store.connections)
    plan = Plan(examples(at_night=250, on_commit=60), time.time_ns())
    requests = [body for body, _ in FullDataset(plan).requests(32)]
    requests += draw.sample(requests, 2)
    draw.shuffle(requests)
    for body in requests:
        records = map_spans(decode_traces(body), Filing("default", time.time_ns()))
        store.writer.write(records)
        watch.note(records, store.writer.stamped_ns or 0)
        if draw.random() < 0.3:
            watch.run_pass()
    finish(store, watch)
    [row] = store.reader.rows(
        Sql("""SELECT countIf(final_session != session) > 20 AS named,
          countIf(record_of != toFixedString('', 8)) > {repeats:UInt32} AS repeats,
          countIf(toUInt64(rank) > 1) > 20 AS again FROM runs FINAL"""),
        {"repeats": examples(at_night=10, on_commit=5)},
    )
    assert row == {"named": 1, "repeats": 1, "again": 1}
    assert find_differing(store) == []
    most = examples(at_night=60, on_commit=15)
    rows = store.reader.rows(SHOWN_BY_COLUMNS, {"most": most})
    assert len(rows) == most
    for shown in rows:
        del shown["own_response"]
        run = find_run(
            store.reader, shown.pop("run_id"), shown.pop("project"), now_ns=time.time_ns()
        )
        assert shown == show(run), run.run_id


def show(run: Run) -> dict[str, object]:
    """Return what the page of a run shows of the values that its row has."""
    counted = run.counted
    return {
        "session": run.session,
        "user": run.user,
        "provider": run.provider,
        "provider_model": run.provider_model,
        "response_id": run.response_id,
        "first_token_ms": run.first_token_ms,
        "tokens": (counted.tokens if counted else run.tokens).input,
        "cost": counted.cost if counted else run.cost,
        "record_of": run.record_of or "",
        "also_recorded": len(run.also_recorded),
    }


def test_group_is_final_at_once(service: Service) -> None:
    """A run that arrives with its root has the session of the root without a pass."""
    store, project = service.store, f"group {next(NUMBERS)}"
    root, call = make_trace(next(NUMBERS) * 10)
    take(store, CallResolver(store.connections), project, call, root)
    assert sessions(store, project) == ["s", "s"]
    assert [row["own"] for row in read(store, project)] == ["s", ""]


@at_night
def test_copies_keep_late_values(service: Service) -> None:
    """A repeated delivery, a shorter and a longer one keep the session that came with the root."""
    store, project = service.store, f"copies {next(NUMBERS)}"
    watch = CallResolver(store.connections)
    number = next(NUMBERS) * 10
    root, call = make_trace(number)
    longer = make_trace(number, output='"a longer answer"')[1]
    longer = replace(longer, start_ns=call.start_ns, end_ns=call.end_ns)
    for span in (call, root):
        take(store, watch, project, span)
        watch.run_pass()
    finish(store, watch)
    assert sessions(store, project) == ["s", "s"]
    for span in (call, longer, call):
        take(store, watch, project, span)
        finish(store, watch)
        assert sessions(store, project) == ["s", "s"]
    other = CallResolver(store.connections)  # without the traces in memory
    store.connections.memory.calls.forget(project)
    longest = {**longer.attributes, "otel_ml.outputs": f'"{"x" * 99}"'}
    take(store, other, project, replace(longer, attributes=longest))
    finish(store, other)
    assert sessions(store, project) == ["s", "s"]
    assert find_differing(store) == []


@at_night
def test_lost_update(service: Service) -> None:
    """If a collector is killed before it writes a row again, the next one does."""
    store, project = service.store, f"killed {next(NUMBERS)}"
    watch = CallResolver(store.connections)
    for span in reversed(make_answer(next(NUMBERS), time.time_ns())):
        take(store, watch, project, span)
    watch.run_pass()
    store.connections.memory.updates.take_recent(-2, 0)  # they were only in memory
    store.connections.memory.updates.take_others(set(), 0)
    store.connections.memory.calls.doubt(store.writer.stamped_ns or 0)
    finish(store, CallResolver(store.connections))
    assert find_differing(store) == []


def test_totals_of_a_delayed_row(service: Service) -> None:
    """The totals of a day are no longer used after a delayed row was written."""
    store, project = service.store, f"waited {next(NUMBERS)}"
    watch = CallResolver(store.connections)
    root, _ = make_trace(next(NUMBERS))
    root.start_ns -= 3 * DAY_NS
    root.end_ns -= 3 * DAY_NS
    take(store, watch, project, root)
    finish(store, watch)
    day_ns = root.start_ns // DAY_NS * DAY_NS
    store.compute(project, [day_ns])
    sql = Sql("SELECT day_ns FROM ({states}) WHERE computed_ns > marked_ns").fill(
        states=STATES.fill(ours=OF_PROJECT)
    )
    assert store.reader.rows(sql, {"project": project}) == [{"day_ns": day_ns}]
    ids = root.trace_id, root.span_id
    resolved_ns = time.time_ns() - MINUTE_NS
    run = ResolvedRun(project, *ids, root.start_ns, NOTHING, resolved_ns)
    store.connections.memory.updates.put([run])
    finish(store, watch)
    assert store.reader.rows(sql, {"project": project}) == []


def test_deleted_run_stays_deleted(service: Service) -> None:
    """A row that had to be written again when its run was deleted is not written."""
    store, project = service.store, f"deleted {next(NUMBERS)}"
    watch = CallResolver(store.connections)
    root, call = make_trace(next(NUMBERS) * 10)
    tombstones = Tombstones(store.connections)
    deleter = Deleter(store.connections, tombstones)
    for span in (call, root):
        take(store, watch, project, span)
    watch.run_pass()
    assert len(read(store, project)) == 2
    deleter.delete(project, SESSION, "s")
    finish(store, watch)
    assert read(store, project) == []


@at_night
def test_rebuild(service: Service) -> None:
    """A rebuilt day has the same rows, and loses values that do not follow from the records."""
    store, project = service.store, f"rebuilt {next(NUMBERS)}"
    watch = CallResolver(store.connections)
    traces = [make_trace(next(NUMBERS) * 10), make_answer(next(NUMBERS), time.time_ns())]
    for trace in traces:
        for span in reversed(trace):
            take(store, watch, project, span)
            watch.run_pass()
    finish(store, watch)
    before = [row | {"folded": 0} for row in read(store, project)]
    store.connections.open().command(
        Sql("""INSERT INTO runs SELECT * REPLACE (rank + 1 AS rank, 'wrong' AS trace_session,
          7 AS other_input_tokens, true AS has_amounts) FROM runs FINAL
          WHERE project = {project:String}"""),
        {"project": project},
    )
    assert "wrong" in sessions(store, project)
    days = {traces[0][0].start_ns // DAY_NS * DAY_NS, traces[1][0].start_ns // DAY_NS * DAY_NS}
    for day_ns in days:
        watch.rebuild(day_ns)
    assert [row | {"folded": 0} for row in read(store, project)] == before
    assert find_differing(store) == []


@at_night
def test_behind(service: Service) -> None:
    """The job is behind while a record waits whose effect on other runs is not stored."""
    store, project = service.store, f"behind {next(NUMBERS)}"
    watch = CallResolver(store.connections)
    finish(store, watch)
    assert watch.behind_s == 0
    take(store, watch, project, *make_trace(next(NUMBERS) * 10))
    assert 0 < watch.behind_s < 60
    finish(store, watch)
    assert watch.behind_s == 0


@at_night
def test_two_collectors(service: Service) -> None:
    """Two collectors that each saw one half of the traces write equal rows."""
    store, project = service.store, f"two {next(NUMBERS)}"
    pairs = [
        (
            Store(store.connections, Writer(store.connections), store.reader),
            CallResolver(store.connections),
        )
        for _ in range(2)
    ]
    traces = [make_trace(next(NUMBERS) * 10) for _ in range(3)]
    for trace in traces:
        for (one, watch), span in zip(pairs, trace, strict=True):
            take(one, watch, project, span)
    for one, watch in pairs:
        finish(one, watch)
    assert sessions(store, project) == ["s"] * 6
    assert find_differing(store) == []
