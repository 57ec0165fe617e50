"""Tests of the newest scores of judges and reviewers in the rows of `runs`."""

import random
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count as numbers
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_ml_collector.decode.protobuf import decode_traces
from otel_ml_collector.mapping.filing import Filing
from otel_ml_collector.mapping.spans import map_spans
from otel_ml_collector.runs.find import RunsQuery, find_runs
from otel_ml_collector.span import Span, Value
from otel_ml_collector.store.calls import CallResolver
from otel_ml_collector.store.deletion import Deleter
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.store.tombstones import RUN, Tombstones
from otel_ml_collector.store.writer import Writer
from tests.bench.dataset import Plan
from tests.bench.dataset_full import FullDataset
from tests.store.otel_ml_collector.query.test_judges import say
from tests.store.otel_ml_collector.store.test_calls import make_answer
from tests.support.examples import examples
from tests.support.otel_ml_collector.folded import find_differing, finish
from tests.support.otel_ml_collector.scored import (
    count_scored,
    find_wrong_scores,
    find_wrong_tags,
)
from tests.support.otel_ml_collector.spans import (
    DAY_NS,
    NOW_NS,
    id_of,
    make_call,
    make_record,
    span_id,
    trace_id,
)
from tests.support.otel_ml_collector.stores import Service, Store
from tests.support.sampling import at_night, harder

NUMBERS: Final = numbers(8_000_000)


@pytest.fixture(scope="module")
def service(own_service: Service) -> Service:
    """Return a separate service, because the runs of all projects are compared."""
    return own_service


COLUMNS: Final = Sql("""SELECT name, final_scores AS scores, final_passed AS passed FROM runs FINAL
  WHERE project = {project:String} ORDER BY start_ns, name""")
_COUNTED: Final = Sql("""SELECT name, mapSort(final_scores) AS scores FROM runs FINAL
  WHERE project = {project:String} AND is_counted""")


def take(store: Store, watch: CallResolver, project: str, *spans: Span) -> None:
    """Store spans as one group, and notify the job as a collector does."""
    records = map_spans(spans, Filing(project, time.time_ns()))
    store.writer.write(records)
    watch.note(records, store.writer.stamped_ns or 0)


def scores_of(store: Store, project: str) -> list[dict[str, float]]:
    return [row["scores"] for row in store.reader.rows(COLUMNS, {"project": project})]


def make_copy(number: int, output: str) -> Span:
    """Make a delivery of a run; a longer output outranks a shorter one."""
    ids = {"trace_id": trace_id(number), "span_id": span_id(number)}
    return make_call("answer", {"otel_ml.outputs": output}, start_ns=NOW_NS, **ids)


@at_night
@harder
def test_every_row(service: Service) -> None:
    """Rows have the newest scores, if records arrive in any order and partly twice."""
    store, draw = service.store, random.Random(9)  # noqa: S311 - an order, no secret
    watch = CallResolver(store.connections)
    requests = [
        body
        for body, _ in FullDataset(
            Plan(examples(at_night=250, on_commit=120), time.time_ns(), seed=79)
        ).requests(16)
    ]
    requests += draw.sample(requests, 4)
    draw.shuffle(requests)
    for body in requests:
        records = map_spans(decode_traces(body), Filing("default", time.time_ns()))
        store.writer.write(records)
        watch.note(records, store.writer.stamped_ns or 0)
        if draw.random() < 0.3:
            watch.run_pass()
    finish(store, watch)
    assert count_scored(store) > 50
    assert find_wrong_scores(store) == []
    assert find_wrong_tags(store) == []
    assert find_differing(store) == []


@given(st.data())
@settings(max_examples=examples(on_commit=2, at_night=20))
def test_any_order(service: Service, data: st.DataObject) -> None:
    """Rows do not depend on the order, repetition and grouping of records, or on the collector."""
    store, project = service.store, f"any {next(NUMBERS)}"
    pairs = [
        (
            Store(store.connections, Writer(store.connections), store.reader),
            CallResolver(store.connections),
        )
        for _ in range(2)
    ]
    number = next(NUMBERS) * 10
    runs = [
        make_copy(number + place, output)
        for place, output in ((0, '"b"'), (0, '"a longer answer"'), (1, '"c"'))
    ]
    scores = [
        say(run, version, score, after_s=after_s)
        for run in runs[1:]
        for version, score, after_s in (("aa", 0.25, 0), ("bb", 0.75, 0), ("aa", 0.5, 1))
    ]
    records = data.draw(st.permutations([*runs, *scores]))
    records += data.draw(st.lists(st.sampled_from(records), max_size=3))
    while records:
        size = data.draw(st.integers(1, len(records)))
        group, records = records[:size], records[size:]
        one, watch = data.draw(st.sampled_from(pairs))
        take(one, watch, project, *group)
        if data.draw(st.booleans()):
            watch.run_pass()
    for one, watch in pairs:
        finish(one, watch)
    assert scores_of(store, project) == [{"grounded": 0.5}, {"grounded": 0.5}]
    assert find_wrong_scores(store, project) == []


@pytest.mark.parametrize("of_run", [span_id(1), span_id(3)])
def test_labels_of_one_moment(service: Service, of_run: bytes) -> None:
    """If a run and its trace key are labelled at the same time, lists and filters agree."""
    store, project = service.store, f"moment {next(NUMBERS)}"
    call = make_call("answer", {"otel_ml.trace_key": project}, trace_id=trace_id(next(NUMBERS)))
    liked: dict[str, Value] = {"otel_ml.judge.name": "liked", "otel_ml.source": "human"}
    of_key: dict[str, Value] = {"otel_ml.score.value": 2.0, "otel_ml.target.trace_key": project}
    labels = [
        make_record("evaluation", call, liked | told, span_id=of, start_ns=call.end_ns)
        for of, told in ((of_run, {"otel_ml.score.value": 1.0}), (span_id(2), of_key))
    ]
    watch = CallResolver(store.connections)
    take(store, watch, project, call, *labels)
    finish(store, watch)
    [row] = store.reader.rows(COLUMNS, {"project": project})
    [run] = find_runs(store.reader, RunsQuery(project), NOW_NS).runs
    assert run.scores == row["scores"] == {"liked": 2.0 if of_run < span_id(2) else 1.0}


@given(st.data())
@settings(max_examples=examples(on_commit=4, at_night=40))
def test_scores_of_every_record(service: Service, data: st.DataObject) -> None:
    """The run that counts has the scores of all records of its call, whatever arrives first.

    A score names a record by its run ID or by the response ID.
    """
    store, project = service.store, f"records {next(NUMBERS)}"
    pairs = [
        (
            Store(store.connections, Writer(store.connections), store.reader),
            CallResolver(store.connections),
        )
        for _ in range(2)
    ]
    number = next(NUMBERS)
    answer = f"msg_{number}"
    _, own, first, second = make_answer(number, response_id=answer)
    liked: dict[str, Value] = {
        "otel_ml.judge.name": "liked",
        "otel_ml.score.value": 4.0,
        "otel_ml.target.tag": f"gen_ai.response.id={answer}",
    }
    scores = [
        say(own, "aa", 0.25),
        say(first, "aa", 0.75, after_s=2),
        say(second, "aa", 0.5),
        say(first, "bb", 1.0, more={"otel_ml.judge.name": "short"}),
        make_record("evaluation", own, liked, span_id=span_id(number * 10 + 9)),
    ]
    records = data.draw(st.permutations([own, first, second, *scores]))
    records += data.draw(st.lists(st.sampled_from(records), max_size=3))
    while records:
        size = data.draw(st.integers(1, len(records)))
        group, records = records[:size], records[size:]
        one, watch = data.draw(st.sampled_from(pairs))
        take(one, watch, project, *group)
        if data.draw(st.booleans()):
            watch.run_pass()
    for one, watch in pairs:
        finish(one, watch)
    [row] = store.reader.rows(_COUNTED, {"project": project})
    assert row == {"name": "answer", "scores": {"grounded": 0.75, "liked": 4.0, "short": 1.0}}
    found = find_runs(store.reader, RunsQuery(project, 'scores["short"] == 1'), NOW_NS).runs
    assert {run.name: run.scores for run in found}["answer"] == row["scores"]


def test_late_score(service: Service) -> None:
    """A late score is in the row after the next pass, also one that arrived before its run."""
    store, project = service.store, f"late {next(NUMBERS)}"
    watch = CallResolver(store.connections)
    call = make_call(trace_id=trace_id(next(NUMBERS)))
    take(store, watch, project, say(call, "aa", 0.25))
    finish(store, watch)
    take(store, watch, project, call)
    assert scores_of(store, project) == [{"grounded": 0.25}]
    take(store, watch, project, say(call, "aa", 0.75, after_s=2))
    finish(store, watch)
    assert scores_of(store, project) == [{"grounded": 0.75}]
    assert find_wrong_scores(store) == []


@pytest.mark.parametrize("is_in_memory", [True, False])
def test_answered(service: Service, is_in_memory: bool) -> None:
    """A score or tag that names a run is in its row before its request is answered."""
    store, project = service.store, f"answered {next(NUMBERS)}"
    watch = CallResolver(store.connections)
    call = make_call(trace_id=trace_id(next(NUMBERS)), start_ns=NOW_NS)
    take(store, watch, project, call)
    finish(store, watch)
    if not is_in_memory:
        store.connections.memory.updates.forget()
    told: dict[str, Value] = {"otel_ml.tag.reviewed": "yes"}
    tag = make_record("update", call, told, span_id=span_id(78), start_ns=call.end_ns + 1)
    take(store, watch, project, say(call, "aa", 0.5), tag)
    assert scores_of(store, project) == [{"grounded": 0.5}]
    [row] = store.reader.rows(
        Sql("SELECT late_tags FROM runs FINAL WHERE project = {project:String}"),
        {"project": project},
    )
    assert row["late_tags"] == {"reviewed": '"yes"'}


def test_alike_ids(service: Service) -> None:
    """A score reaches all runs that it names, and none of another trace or project with this ID."""
    store, project = service.store, f"alike {next(NUMBERS)}"
    watch = CallResolver(store.connections)
    traces = [trace_id(next(NUMBERS)) for _ in range(2)]
    old = make_call("old", trace_id=traces[0], span_id=span_id(7), start_ns=NOW_NS - 30 * DAY_NS)
    new = make_call("new", trace_id=traces[1], span_id=span_id(7))
    twin = make_call("twin", trace_id=traces[1], span_id=span_id(7), start_ns=new.start_ns + 9)
    take(store, watch, project, old)
    take(store, watch, f"{project}, other", new)
    store.connections.memory.updates.forget()
    take(store, watch, project, new)
    take(store, watch, project, twin)
    finish(store, watch)
    take(store, watch, project, say(old, "aa", 0.5), say(new, "aa", 0.75))
    finish(store, watch)
    assert scores_of(store, project) == [{"grounded": 0.5}, {"grounded": 0.75}, {"grounded": 0.75}]
    assert scores_of(store, f"{project}, other") == [{}]
    assert find_wrong_scores(store) == []


def test_copies_keep_scores(service: Service) -> None:
    """Repeated, shorter and longer deliveries keep late scores, and bring those they carry."""
    store, project = service.store, f"copies {next(NUMBERS)}"
    watch = CallResolver(store.connections)
    number = next(NUMBERS)
    call = make_copy(number, '"b"')
    for copy in (call, call):
        take(store, watch, project, copy)
        finish(store, watch)
    take(store, watch, project, say(call, "aa", 0.5))
    finish(store, watch)
    take(store, watch, project, make_copy(number, '"a longer answer"'))
    assert scores_of(store, project) == [{"grounded": 0.5}]
    take(store, watch, project, call, say(call, "aa", 0.25, after_s=2))
    finish(store, watch)
    assert scores_of(store, project) == [{"grounded": 0.25}]
    assert find_wrong_scores(store) == []


def test_deleted_run(service: Service) -> None:
    """A run that was deleted while a score waited for its row does not come back."""
    store, project = service.store, f"deleted {next(NUMBERS)}"
    watch = CallResolver(store.connections)
    call = make_call(trace_id=trace_id(next(NUMBERS)))
    tombstones = Tombstones(store.connections)
    take(store, watch, project, call)
    finish(store, watch)
    take(store, watch, project, say(call, "aa", 0.5))
    Deleter(store.connections, tombstones).delete(project, RUN, id_of(call))
    finish(store, watch)
    assert scores_of(store, project) == []


def test_day_of_score(service: Service) -> None:
    """A score without a start time marks the day of its run, even if the run is not in memory."""
    store, project = service.store, f"day {next(NUMBERS)}"
    watch = CallResolver(store.connections)
    now_ns = time.time_ns()
    calls = [
        make_call(trace_id=trace_id(next(NUMBERS)), start_ns=now_ns - days * DAY_NS)
        for days in (0, 1)
    ]
    take(store, watch, project, *calls)
    take(store, watch, project, *(say(call, "aa", 0.5) for call in calls))
    store.connections.open().command(
        Sql("DELETE FROM daily WHERE project = {project:String}"), {"project": project}
    )
    other = Store(store.connections, Writer(store.connections), store.reader)
    take(other, watch, project, *(say(call, "bb", 0.25, after_s=1) for call in calls))
    rows = store.reader.rows(
        Sql("SELECT DISTINCT day_ns FROM daily WHERE project = {project:String} ORDER BY day_ns"),
        {"project": project},
    )
    today = now_ns // DAY_NS * DAY_NS
    assert [row["day_ns"] for row in rows] == [today - DAY_NS, today]


@at_night
def test_label_taken_back(service: Service) -> None:
    """A label that its reviewer takes back leaves the row."""
    store, project = service.store, f"taken back {next(NUMBERS)}"
    watch = CallResolver(store.connections)
    call = make_call(trace_id=trace_id(next(NUMBERS)))
    take(store, watch, project, call, say(call, "aa", 0.5))
    label: dict[str, Value] = {"otel_ml.judge.name": "liked", "otel_ml.source": "human"}
    of = span_id(77)
    given = make_record("evaluation", call, {**label, "otel_ml.score.value": 4.0}, span_id=of)
    take(store, watch, project, given)
    finish(store, watch)
    assert scores_of(store, project) == [{"grounded": 0.5, "liked": 4.0}]
    [row] = store.reader.rows(
        Sql("SELECT record_id FROM metrics WHERE project = {project:String} AND name = 'liked'"),
        {"project": project},
    )
    Deleter(store.connections, Tombstones(store.connections)).forget_score(
        project, "liked", id_of(call), row["record_id"]
    )
    finish(store, watch)
    assert scores_of(store, project) == [{"grounded": 0.5}]
    assert find_wrong_scores(store) == []


def test_score_of_killed_collector(service: Service) -> None:
    """If a collector is killed between a score and its row, the next one writes the row."""
    store, project = service.store, f"killed {next(NUMBERS)}"
    watch = CallResolver(store.connections)
    call, other = (make_call(trace_id=trace_id(next(NUMBERS))) for _ in range(2))
    take(store, watch, project, call, say(other, "aa", 0.5))
    finish(store, watch)
    store.connections.open().command(  # as far as a killed collector came
        Sql("""INSERT INTO metrics SELECT * REPLACE ({owner:String} AS owner) FROM metrics
          WHERE project = {project:String}"""),
        {"project": project, "owner": id_of(call)},
    )
    assert scores_of(store, project) == [{}]
    store.connections.memory.calls.doubt(store.writer.stamped_ns or 0)
    finish(store, CallResolver(store.connections))
    assert scores_of(store, project) == [{"grounded": 0.5}]


def test_rebuild(service: Service) -> None:
    """A rebuilt day has the same scores, and loses those that were never sent."""
    store, project = service.store, f"rebuilt {next(NUMBERS)}"
    watch = CallResolver(store.connections)
    call = make_call(trace_id=trace_id(next(NUMBERS)))
    take(store, watch, project, call)
    take(store, watch, project, say(call, "aa", 0.5))
    finish(store, watch)
    store.connections.open().command(
        Sql("""INSERT INTO runs SELECT * REPLACE (rank + 1 AS rank, map('odd', 7) AS final_scores)
          FROM runs FINAL WHERE project = {project:String}"""),
        {"project": project},
    )
    assert scores_of(store, project) == [{"odd": 7}]
    watch.rebuild(call.start_ns // DAY_NS * DAY_NS)
    assert scores_of(store, project) == [{"grounded": 0.5}]


def test_rebuild_during_a_deletion(service: Service) -> None:
    """A day is rebuilt without waiting for the end of a deletion."""
    store, project = service.store, f"rebuilt beside {next(NUMBERS)}"
    tombstones = Tombstones(store.connections)
    watch = CallResolver(store.connections, tombstones=tombstones)
    call, deleted = (make_call(trace_id=trace_id(next(NUMBERS))) for _ in range(2))
    take(store, watch, project, call, deleted)
    take(store, watch, project, say(call, "aa", 0.5))
    finish(store, watch)
    tombstones.add(project, RUN, id_of(deleted), time.time_ns())
    with ThreadPoolExecutor(1) as worker:
        rebuilding = worker.submit(watch.rebuild, call.start_ns // DAY_NS * DAY_NS)
        try:
            rebuilding.result(60)
        finally:
            Deleter(store.connections, tombstones).complete()
    finish(store, watch)
    assert scores_of(store, project) == [{"grounded": 0.5}]


@at_night
def test_two_collectors(service: Service) -> None:
    """A score that one collector stores reaches a run that another one stored."""
    store, project = service.store, f"two {next(NUMBERS)}"
    pairs = [
        (
            Store(store.connections, Writer(store.connections), store.reader),
            CallResolver(store.connections),
        )
        for _ in range(2)
    ]
    call = make_call(trace_id=trace_id(next(NUMBERS)))
    (first, first_watch), (second, second_watch) = pairs
    take(first, first_watch, project, call, say(call, "aa", 0.5))
    take(second, second_watch, project, say(call, "bb", 0.75, after_s=1))
    finish(second, second_watch)
    finish(first, first_watch)
    assert scores_of(store, project) == [{"grounded": 0.75}]
    assert find_wrong_scores(store) == []
