"""Tests of lists and statistics by scores, labels and tags, which rows of `runs` have."""

import random
import time
from collections.abc import Callable, Sequence
from itertools import count as numbers
from typing import Final, TypeVar

import pytest

from otel_ml_collector.decode.protobuf import decode_traces
from otel_ml_collector.mapping.filing import Filing
from otel_ml_collector.mapping.spans import map_spans
from otel_ml_collector.runs.answers import RunSummary
from otel_ml_collector.runs.find import RunsQuery, compile_query, find_run, find_runs
from otel_ml_collector.span import Value
from otel_ml_collector.store.calls import CallResolver
from otel_ml_collector.store.deletion import Deleter
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.store.tables import IS_SCORE
from otel_ml_collector.store.tombstones import RUN, Tombstones
from tests.bench.dataset import JUDGE, Plan
from tests.bench.dataset_full import FullDataset
from tests.store.otel_ml_collector.query.test_judges import say
from tests.store.otel_ml_collector.store.test_scored_rows import take
from tests.support.examples import examples
from tests.support.otel_ml_collector.folded import finish
from tests.support.otel_ml_collector.scored import find_wrong_tags
from tests.support.otel_ml_collector.spans import (
    DAY_NS,
    SECOND_NS,
    id_of,
    make_call,
    make_record,
    make_start,
    span_id,
    trace_id,
)
from tests.support.otel_ml_collector.stores import Service, Store
from tests.support.sampling import at_night, harder

Filter = TypeVar("Filter")
pytestmark = harder  # nightly all filters are compared

NUMBERS: Final = numbers(9_000_000)
# Filters by one judge, and the same tests of a run as lists show it.
FILTERS: Final[Sequence[tuple[str, Callable[[RunSummary, str], bool]]]] = (
    ('scores["{j}"] < 0.6', lambda run, j: run.scores.get(j, 1.0) < 0.6),
    ('scores["{j}"] in (0.25, 1)', lambda run, j: run.scores.get(j) in (0.25, 1)),
    ('scores["{j}"] != 0.25', lambda run, j: run.scores.get(j, 0.25) != 0.25),
    ('"{j}" in scores', lambda run, j: j in run.scores),
    ('"{j}" not in scores', lambda run, j: j not in run.scores),
    ('not scores["{j}"] >= 0.5', lambda run, j: not run.scores.get(j, 0) >= 0.5),
    ('passed["{j}"] == True', lambda run, j: run.passed.get(j, False)),
    ('passed["{j}"] != True', lambda run, j: run.passed.get(j) is False),
    ('"{j}" not in passed', lambda run, j: j not in run.passed),
    ('failed["{j}"] == True', lambda run, j: j in run.failed_judges),
    (
        '(failed["{j}"] == True or scores["{j}"] > 0.5) and latency_ms > 0',
        lambda run, j: j in run.failed_judges or run.scores.get(j, 0) > 0.5,
    ),
)


@pytest.fixture(scope="module")
def service(own_service: Service) -> Service:
    """Return a separate service, whose projects are all compared."""
    return own_service


def sample(filters: Sequence[Filter], on_commit: int = 3) -> list[Filter]:
    """Return the filters that this run compares: all nightly, in CI a spread of them."""
    size = examples(at_night=len(filters), on_commit=on_commit)
    return [filters[place * (len(filters) - 1) // max(size - 1, 1)] for place in range(size)]


def list_runs(reader: Reader, project: str, where: str = "", order: str = "newest") -> list[str]:
    query = RunsQuery(project, where=where, limit=1_000, order=order)
    return [run.run_id for run in find_runs(reader, query, time.time_ns()).runs]


def list_judges(store: Store, project: str) -> list[str]:
    rows = store.reader.rows(
        Sql("""SELECT DISTINCT toString(name) AS judge FROM metrics
          WHERE project = {p:String} AND {is_score}""").fill(is_score=IS_SCORE),
        {"p": project},
    )
    return sorted(row["judge"] for row in rows)


def compare(store: Store, project: str) -> int:
    """Compare all filters by the judges of a project with the runs that a list shows.

    Returns:
        How many runs matched.
    """
    runs = find_runs(store.reader, RunsQuery(project, limit=1_000), time.time_ns()).runs
    matched = 0
    for judge in list_judges(store, project):
        for where, is_match in sample(FILTERS):
            listed = list_runs(store.reader, project, where.format(j=judge))
            assert listed == [run.run_id for run in runs if is_match(run, judge)], (where, judge)
            matched += len(listed)
    return matched


@at_night
def test_every_list(service: Service) -> None:
    """Filters by scores find the runs that have these scores in a list."""
    store, draw = service.store, random.Random(5)  # noqa: S311 - an order, no secret
    watch = CallResolver(store.connections)
    requests = [
        body
        for body, _ in FullDataset(
            Plan(examples(at_night=250, on_commit=120), time.time_ns(), seed=80)
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
    rows = store.reader.rows(Sql("SELECT DISTINCT toString(project) AS project FROM runs"), {})
    projects = sorted(row["project"] for row in rows)
    assert sum(compare(store, project) for project in projects[:5]) > 50


def test_labels(service: Service) -> None:
    """A list has the newest labels of reviewers, and none that was taken back."""
    store, project = service.store, f"labels {next(NUMBERS)}"
    watch = CallResolver(store.connections)
    runs = [make_call(trace_id=trace_id(next(NUMBERS))) for _ in range(3)]
    take(store, watch, project, *runs)
    words: Sequence[tuple[int, int, dict[str, Value]]] = (
        (0, 70, {"otel_ml.score.label": "good"}),
        (0, 71, {"otel_ml.score.value": 4.5}),
        (1, 72, {"otel_ml.score.label": "bad"}),
        (1, 73, {"otel_ml.passed": True}),
        (1, 72, {}),  # takes the label back
    )
    for number, (of, reviewer, word) in enumerate(words):
        about: dict[str, Value] = {"otel_ml.judge.name": "liked", "otel_ml.source": "human", **word}
        start_ns = runs[of].start_ns + number
        take(
            store,
            watch,
            project,
            make_record(
                "evaluation", runs[of], about, span_id=span_id(reviewer), start_ns=start_ns
            ),
        )
        finish(store, watch)
    [first, second, _] = map(id_of, runs)
    assert list_runs(store.reader, project, 'label["liked"] > 4') == [first]
    assert list_runs(store.reader, project, 'label["liked"] == True') == [second]
    assert len(list_runs(store.reader, project, '"liked" in label')) == 2
    Deleter(store.connections, Tombstones(store.connections)).forget_score(
        project, "liked", second, span_id(73).hex()
    )
    finish(store, watch)


def test_truths(service: Service) -> None:
    """A list has the newest ground truth, whether it names the run, its trace key or a tag."""
    store, project = service.store, f"truths {next(NUMBERS)}"
    watch = CallResolver(store.connections)
    own: dict[str, Value] = {"otel_ml.tag.client": "big"}
    runs = [make_call("answer", own, trace_id=trace_id(next(NUMBERS))) for _ in range(3)]
    take(store, watch, project, *runs)
    [first, second, third] = map(id_of, runs)
    by_tag: dict[str, Value] = {"otel_ml.target.tag": "client=big"}
    by_key: dict[str, Value] = {"otel_ml.target.trace_key": runs[1].trace_id.hex()}
    changes: Sequence[tuple[int, dict[str, Value], list[str]]] = (
        (0, {"otel_ml.actual": "good"}, [first]),
        (1, {**by_key, "otel_ml.actual": "good"}, [first, second]),
        (2, {**by_tag, "otel_ml.actual": "bad"}, []),
        (2, {"otel_ml.actual": "good"}, [third]),
        (0, {**by_tag, "otel_ml.actual": "good"}, [first, second, third]),
        (1, {"otel_ml.actual.list": "[4]"}, [first, third]),
    )
    for number, (of, word, expected) in enumerate(changes, 1):
        about: dict[str, Value] = {"otel_ml.judge.name": "was", **word}
        at = {"span_id": span_id(80 + number), "start_ns": runs[of].end_ns + number * SECOND_NS}
        take(store, watch, project, make_record("evaluation", runs[of], about, **at))
        finish(store, watch)
        found = list_runs(store.reader, project, 'truth["was"] == "good"')
        assert sorted(found) == sorted(expected), number
    assert list_runs(store.reader, project, 'truth["was"][0] == 4') == [second]
    watch.rebuild(runs[0].start_ns // DAY_NS * DAY_NS)
    assert list_runs(store.reader, project, 'truth["was"][0] == 4') == [second]


def test_tags(service: Service) -> None:
    """A list has the newest value of each tag, whether it is on the span or arrived later."""
    store, project = service.store, f"tags {next(NUMBERS)}"
    watch = CallResolver(store.connections)
    own: Sequence[dict[str, Value]] = ({"otel_ml.tag.client": "a"}, {"otel_ml.tag.client": "b"}, {})
    runs = [make_call("answer", tags, trace_id=trace_id(next(NUMBERS))) for tags in own]
    [first, second, third] = map(id_of, runs)
    take(store, watch, project, *runs)
    length_ns = runs[0].end_ns - runs[0].start_ns
    changes: Sequence[tuple[int, int, Value, list[str]]] = (
        (0, -2, "b", [second]),  # older than the end of the run
        (1, -1, "c", [second]),
        (1, 0, "a", []),
        (2, -1, "b", [third]),
        (0, 1, "b", [first, third]),
        (2, 0, 3, [first]),
    )
    where = 'tags["client"] == "b"'
    for number, (of, after_ns, value, expected) in enumerate(changes, 60):
        at_ns = runs[of].start_ns + length_ns + after_ns
        told: dict[str, Value] = {"otel_ml.tag.client": value}
        ids = {"span_id": span_id(number), "start_ns": at_ns, "end_ns": at_ns}
        take(store, watch, project, make_record("update", runs[of], told, **ids))
        finish(store, watch)
        assert sorted(list_runs(store.reader, project, where)) == sorted(expected)
        assert find_wrong_tags(store, project) == []
    rows = store.reader.rows(
        Sql(
            "SELECT final_tags AS tags FROM runs FINAL WHERE project = {p:String} ORDER BY trace_id"
        ),
        {"p": project},
    )
    assert [row["tags"] for row in rows] == [{"client": text} for text in ('"b"', '"a"', "3")]
    deleter = Deleter(store.connections, Tombstones(store.connections))
    deleter.forget_tags(project, [first], [span_id(64).hex()])
    assert list_runs(store.reader, project, where) == []
    finish(store, watch)
    assert list_runs(store.reader, project, where) == []
    assert find_wrong_tags(store, project) == []


def test_sessions(service: Service) -> None:
    """A list by session has the runs of its traces, also if the session arrives later or leaves."""
    store, project = service.store, f"sessions {next(NUMBERS)}"
    watch = CallResolver(store.connections)
    named: dict[str, Value] = {"session.id": "s1"}
    root = make_call("root", named, trace_id=trace_id(next(NUMBERS)))
    ids = {"trace_id": root.trace_id, "parent_span_id": root.span_id}
    inner = make_call("inner", {}, span_id=span_id(51), **ids)
    own = make_call("own", {"session.id": "s2"}, span_id=span_id(52), **ids)
    where = 'session == "s1"'
    for span, expected in ((inner, []), (own, []), (root, [inner, root])):
        take(store, watch, project, span)
        finish(store, watch)
        assert sorted(list_runs(store.reader, project, where)) == sorted(map(id_of, expected))
    Deleter(store.connections, Tombstones(store.connections)).delete(project, RUN, id_of(root))
    assert id_of(root) not in list_runs(store.reader, project, where)
    finish(store, watch)
    assert list_runs(store.reader, project, where) == []


def test_score_counts_at_once(service: Service) -> None:
    """A list has the scores of all stored requests."""
    store, project = service.store, f"at once {next(NUMBERS)}"
    watch = CallResolver(store.connections)
    call = make_call(trace_id=trace_id(next(NUMBERS)))
    take(store, watch, project, call)
    finish(store, watch)
    for number, score in enumerate((0.25, 0.75, 0.5)):
        take(store, watch, project, say(call, "aa", score, after_s=number))
        assert list_runs(store.reader, project, f'scores["grounded"] == {score}') == [id_of(call)]
        finish(store, watch)
        assert list_runs(store.reader, project, f'scores["grounded"] == {score}') == [id_of(call)]
        assert list_runs(store.reader, project, 'scores["grounded"] == 0.1') == []
    take(store, watch, project, say(call, "aa", "TimeoutError", after_s=9))
    finish(store, watch)
    run = find_run(store.reader, id_of(call), project, now_ns=time.time_ns())
    assert (dict(run.scores), run.failed_judges) == ({}, ["grounded"])
    assert compare(store, project) > 0


def test_open_run(service: Service) -> None:
    """A list finds and shows an unfinished run by all that arrived later, like a finished run."""
    store, project = service.store, f"open {next(NUMBERS)}"
    watch = CallResolver(store.connections)
    own: dict[str, Value] = {"otel_ml.tag.client": "small"}
    ended = make_call("ended", own, trace_id=trace_id(next(NUMBERS)))
    opened = make_call("opened", own, trace_id=trace_id(next(NUMBERS)))
    take(store, watch, project, ended, make_start(opened))
    told: Sequence[tuple[str, dict[str, Value]]] = (
        ("evaluation", {"otel_ml.judge.name": "grounded", "otel_ml.score.value": 0.5}),
        ("evaluation", {"otel_ml.judge.name": "broken", "error.type": "KeyError"}),
        ("evaluation", {**_said("human"), "otel_ml.judge.name": "liked"}),
        ("evaluation", {**_said("agent"), "otel_ml.judge.name": "thumb"}),
        ("evaluation", {"otel_ml.judge.name": "was", "otel_ml.actual": "good"}),
        ("update", {"otel_ml.tag.client": "big"}),
    )
    for number, (kind, facts) in enumerate(told):
        for run in (ended, opened):
            at_ns = run.end_ns + number
            ids = {"span_id": span_id(90 + number), "start_ns": at_ns, "end_ns": at_ns}
            take(store, watch, project, make_record(kind, run, facts, **ids))
    older: dict[str, Value] = {"otel_ml.tag.client": "first"}
    ids = {"span_id": span_id(99), "start_ns": opened.start_ns - 1, "end_ns": opened.start_ns - 1}
    take(store, watch, project, make_record("update", opened, older, **ids))
    finish(store, watch)
    for where in (
        'scores["grounded"] == 0.5 and failed["broken"] == True',
        'label["liked"] == "yes" and agent["thumb"] == "yes" and "thumb" not in label',
        'truth["was"] == "good" and tags["client"] == "big"',
    ):
        found = list_runs(store.reader, project, where)
        assert sorted(found) == sorted([id_of(ended), id_of(opened)]), where
    shown = find_runs(store.reader, RunsQuery(project), time.time_ns()).runs
    for item in shown:
        assert (item.scores, item.failed_judges) == ({"grounded": 0.5}, ["broken"])
        assert (item.label, item.agent, item.truth) == (
            {"liked": "yes"},
            {"thumb": "yes"},
            {"was": "good"},
        )
        assert item.tags == {"client": "big"}


def _said(source: str) -> dict[str, Value]:
    return {"otel_ml.source": source, "otel_ml.score.label": "yes"}


@pytest.mark.parametrize(
    "where",
    [
        f'scores["{JUDGE}"] < 0.6 or passed["{JUDGE}"] == True',
        f'failed["{JUDGE}"] == True and label["liked"] == "good"',
        'tags["reviewed"] != "yes" and truth["was"] == 3',
        'session != "" and "reviewed" in tags',
        'agent["thumb"] == "yes" or record_of != "" or response_id == "r" or cost > 1',
    ],
)
def test_one_table(service: Service, where: str) -> None:
    """A filter by scores, labels and tags reads no table but `runs`."""
    condition, _ = compile_query(service.store.reader, RunsQuery("default", where))
    assert "SELECT" not in condition.sql
