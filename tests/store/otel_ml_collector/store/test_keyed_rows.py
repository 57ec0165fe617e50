"""Tests of scores and tags in the rows of `runs` that name a trace key or a tag of the run."""

from itertools import count as numbers
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_ml_collector.owners import own_key, own_tag
from otel_ml_collector.span import Span, Value
from otel_ml_collector.store.calls import CallResolver, MatchedOwners, NamedRuns
from otel_ml_collector.store.deletion import Deleter
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.store.tombstones import RUN, Tombstones
from otel_ml_collector.store.writer import Writer
from tests.store.otel_ml_collector.query.test_judges import say
from tests.store.otel_ml_collector.store.test_scored_lists import compare, list_runs
from tests.store.otel_ml_collector.store.test_scored_rows import scores_of, take
from tests.support.examples import examples
from tests.support.otel_ml_collector.folded import find_differing, finish
from tests.support.otel_ml_collector.scored import find_wrong_scores, find_wrong_tags
from tests.support.otel_ml_collector.spans import (
    DAY_NS,
    NOW_NS,
    SECOND_NS,
    id_of,
    make_call,
    make_record,
    span_id,
    trace_id,
)
from tests.support.otel_ml_collector.stores import Service, Store
from tests.support.sampling import at_night, harder

NUMBERS: Final = numbers(11_000_000)
JUDGE: Final = "otel_ml.judge.name"

pytestmark = harder  # nightly all filters are compared


@pytest.fixture(scope="module")
def service(own_service: Service) -> Service:
    """Return a separate service, because the runs of all projects are compared."""
    return own_service


def make_tagged(project: str, number: int = 0, **at: int) -> Span:
    """Make a call with a trace key and a tag."""
    told: dict[str, Value] = {
        "otel_ml.tag.client": "big",
        "otel_ml.trace_key": f"key {project}",
        "otel_ml.outputs": f'"{"longer " * number}"',
    }
    return make_call("answer", told, **{"trace_id": trace_id(next(NUMBERS)), **at})


def tell(call: Span, number: int, of: str, told: dict[str, Value]) -> Span:
    """Make a late-arriving record for a trace key (`key ...`) or a tag (`client=...`)."""
    target = "otel_ml.target.tag" if "=" in of else "otel_ml.target.trace_key"
    record = "evaluation" if JUDGE in told else "update"
    at = {"span_id": span_id(number), "start_ns": call.end_ns + number * SECOND_NS}
    return make_record(record, call, {target: of, **told}, **at)


def check(store: Store, project: str) -> int:
    """Check that rows have what the tables say, and that filters find what lists show.

    Returns:
        The number of runs that the filters find, added up.
    """
    assert find_wrong_scores(store, project) == []
    assert find_wrong_tags(store, project) == []
    return compare(store, project)


@given(st.data())
@settings(max_examples=examples(on_commit=1, at_night=4))
def test_any_order(service: Service, data: st.DataObject) -> None:
    """Rows do not depend on the order, repetition and grouping of records."""
    store, project = service.store, f"any {next(NUMBERS)}"
    watch = CallResolver(store.connections)
    call, number = make_tagged(project), next(NUMBERS)
    of_call: dict[str, Value] = {"span_id": call.span_id, "trace_id": call.trace_id}
    longer = make_call(
        "answer", {**call.attributes, "otel_ml.outputs": '"a longer one"'}, **of_call
    )
    inner = make_call(
        "inner",
        {"otel_ml.tag.client": "big"},
        trace_id=call.trace_id,
        parent_span_id=call.span_id,
        span_id=span_id(number),
    )
    other = make_call("other", trace_id=trace_id(next(NUMBERS)), start_ns=NOW_NS)
    records = [
        *(call, longer, inner, other),
        make_record("update", other, {"otel_ml.tag.client": "big"}, span_id=span_id(50)),
        say(call, "aa", 0.25),
        tell(call, 1, f"key {project}", {JUDGE: "grounded", "otel_ml.score.value": 0.5}),
        tell(call, 2, "client=big", {JUDGE: "grounded", "otel_ml.score.value": 0.75}),
        tell(call, 3, "client=big", {JUDGE: "polite", "otel_ml.passed": False}),
        tell(call, 4, "client=big", {"otel_ml.tag.region": "a"}),
        tell(call, 5, f"key {project}", {"otel_ml.tag.region": "b"}),
        tell(
            call,
            6,
            "client=big",
            {JUDGE: "liked", "otel_ml.source": "human", "otel_ml.score.label": "good"},
        ),
    ]
    told: dict[str, Value] = {JUDGE: "was", "otel_ml.actual": "good"}
    records += [
        tell(call, 7, "client=big", told),
        make_record("evaluation", call, {**told, "otel_ml.actual": 3}, span_id=span_id(78)),
    ]
    records = data.draw(st.permutations(records))
    records += data.draw(st.lists(st.sampled_from(records), max_size=3))
    while records:
        size = data.draw(st.integers(1, len(records)))
        group, records = records[:size], records[size:]
        take(store, watch, project, *group)
        if data.draw(st.booleans()):
            watch.run_pass()
        if data.draw(st.booleans()):
            store.connections.memory.updates.forget()
    finish(store, watch)
    assert check(store, project) > 0
    assert find_differing(store) == []


def test_newest_counts(service: Service) -> None:
    """The newest score counts, whether it names the run, its trace key or a tag."""
    store, project = service.store, f"newest {next(NUMBERS)}"
    watch = CallResolver(store.connections)
    call = make_tagged(project)
    take(store, watch, project, call, say(call, "aa", 0.25))
    for number, (of, score) in enumerate(
        ((f"key {project}", 0.5), ("client=big", 0.75), (f"key {project}", 1.0)), 1
    ):
        told: dict[str, Value] = {JUDGE: "grounded", "otel_ml.score.value": score}
        take(store, watch, project, tell(call, number, of, told))
        finish(store, watch)
        assert scores_of(store, project) == [{"grounded": score}]
        assert list_runs(store.reader, project, f'scores["grounded"] == {score}') == [id_of(call)]
    take(store, watch, project, say(call, "aa", 0.125, after_s=9_000))
    finish(store, watch)
    assert scores_of(store, project) == [{"grounded": 0.125}]
    check(store, project)


@at_night
def test_many_runs(service: Service) -> None:
    """A tag that names 2,300 runs is written 1,000 runs at a time, and lists stay right."""
    store, project = service.store, f"many {next(NUMBERS)}"
    watch, named = CallResolver(store.connections), NamedRuns(store.connections)
    calls = [make_tagged(project, start_ns=NOW_NS + place) for place in range(2_300)]
    for first in range(0, len(calls), 500):
        take(store, watch, project, *calls[first : first + 500])
    told: dict[str, Value] = {JUDGE: "grounded", "otel_ml.score.value": 0.5}
    take(store, watch, project, tell(calls[0], 1, "client=big", told))
    finish(store, watch)
    assert scores_of(store, project) == [{"grounded": 0.5}] * 2_300
    told = {JUDGE: "grounded", "otel_ml.score.value": 0.75}
    take(store, watch, project, tell(calls[0], 2, "client=big", told))
    updates = store.connections.memory.updates
    where, waiting = 'scores["grounded"] == 0.75', list[int]()
    while updates.has_pending:
        watch.run_pass()
        waiting.append(updates.count_waiting())
        assert len(list_runs(store.reader, project, where)) == 1_000
    assert waiting == [1_300, 300, 0]
    assert scores_of(store, project) == [{"grounded": 0.75}] * 2_300
    assert len(list_runs(store.reader, project, where)) == 1_000
    told = {JUDGE: "grounded", "otel_ml.score.value": 1.0}
    take(store, watch, project, tell(calls[0], 3, "client=big", told))
    assert named.resolve(project, [own_tag("client=big")]).pending == 1_300
    rows = scores_of(store, project)
    assert rows.count({"grounded": 1.0}) == 1_000
    finish(store, watch)
    assert scores_of(store, project) == [{"grounded": 1.0}] * 2_300
    assert find_wrong_scores(store, project) == []


def test_answered(service: Service) -> None:
    """Feedback for a key is in the rows of its runs before its request is answered."""
    store, project = service.store, f"answered {next(NUMBERS)}"
    watch, named = CallResolver(store.connections), NamedRuns(store.connections)
    call = make_tagged(project)
    take(store, watch, project, call)
    for number, score in enumerate((0.5, 0.75), 1):
        told: dict[str, Value] = {JUDGE: "liked", "otel_ml.score.value": score}
        take(store, watch, project, tell(call, number, f"key {project}", told))
        owner = own_key(f"key {project}")
        assert named.resolve(project, [owner]) == MatchedOwners({owner}, 0)
        assert scores_of(store, project) == [{"liked": score}]


@at_night
def test_killed_collector(service: Service) -> None:
    """If a collector is killed between a score for a tag and the rows, the next one writes them."""
    store, project = service.store, f"killed {next(NUMBERS)}"
    watch = CallResolver(store.connections)
    call = make_tagged(project)
    told: dict[str, Value] = {JUDGE: "grounded", "otel_ml.score.value": 0.5}
    take(store, watch, project, call, tell(call, 1, "client=big", told))
    finish(store, watch)
    store.connections.open().command(  # as far as a killed collector came
        Sql("""INSERT INTO metrics SELECT * REPLACE (0.75 AS value, time_ns + 1 AS time_ns,
            'other' AS record_id) FROM metrics WHERE project = {project:String}"""),
        {"project": project},
    )
    assert scores_of(store, project) == [{"grounded": 0.5}]
    store.connections.memory.calls.doubt(store.writer.stamped_ns or 0)
    finish(store, CallResolver(store.connections))
    assert scores_of(store, project) == [{"grounded": 0.75}]
    assert check(store, project) > 0


def test_deleted_run(service: Service) -> None:
    """A run that was deleted while a tag waited for its rows does not come back."""
    store, project = service.store, f"deleted {next(NUMBERS)}"
    watch = CallResolver(store.connections)
    call, other = make_tagged(project), make_tagged(project)
    told: dict[str, Value] = {JUDGE: "grounded", "otel_ml.score.value": 0.5}
    take(store, watch, project, call, other)
    take(store, watch, project, tell(call, 1, "client=big", told))
    Deleter(store.connections, Tombstones(store.connections)).delete(project, RUN, id_of(call))
    finish(store, watch)
    assert scores_of(store, project) == [{"grounded": 0.5}]
    assert check(store, project) > 0


def test_rebuild(service: Service) -> None:
    """A rebuilt day has the scores and tags of keys, and loses those that were never sent."""
    store, project = service.store, f"rebuilt {next(NUMBERS)}"
    watch = CallResolver(store.connections)
    call = make_tagged(project)
    told: dict[str, Value] = {JUDGE: "grounded", "otel_ml.score.value": 0.5}
    take(store, watch, project, call)
    take(store, watch, project, tell(call, 1, "client=big", told))
    finish(store, watch)
    store.connections.open().command(
        Sql("""INSERT INTO runs SELECT * REPLACE (rank + 1 AS rank, map('odd', 7) AS final_scores)
          FROM runs FINAL WHERE project = {project:String}"""),
        {"project": project},
    )
    assert scores_of(store, project) == [{"odd": 7}]
    watch.rebuild(call.start_ns // DAY_NS * DAY_NS)
    assert scores_of(store, project) == [{"grounded": 0.5}]
    assert check(store, project) > 0


@at_night
def test_other_collector(service: Service) -> None:
    """A score for a tag that one collector stores reaches a run that another one stored."""
    store, project = service.store, f"two {next(NUMBERS)}"
    second = Store(store.connections, Writer(store.connections), store.reader)
    first_watch, second_watch = (CallResolver(store.connections) for _ in range(2))
    call = make_tagged(project)
    told: dict[str, Value] = {JUDGE: "grounded", "otel_ml.score.value": 0.5}
    take(store, first_watch, project, call)
    take(second, second_watch, project, tell(call, 1, "client=big", told))
    finish(second, second_watch)
    finish(store, first_watch)
    assert scores_of(store, project) == [{"grounded": 0.5}]
    assert check(store, project) > 0
