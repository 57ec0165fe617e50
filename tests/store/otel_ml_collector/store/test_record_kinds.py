"""Tests that the remembered record kinds of a project cover everything it has stored."""

from dataclasses import fields, replace

import pytest

from otel_ml.records import LateTag, Metric, Tag
from otel_ml_collector.filter.sql import compile_where
from otel_ml_collector.records import Records, TraceKey
from otel_ml_collector.store.connection import Memory
from otel_ml_collector.store.record_kinds import RecordKinds, find_record_kinds
from otel_ml_collector.store.sql import Sql
from tests.support.otel_ml_collector.spans import NOW_NS, span_id, trace_id
from tests.support.otel_ml_collector.stores import Store
from tests.support.sampling import sampled

RUN_ID = f"{trace_id(1).hex()}-{span_id(1).hex()}"

ANY = "put in by the test"


def make_tag(project: str, owner: str = RUN_ID) -> Records:
    return Records(tags=[LateTag(project, owner, Tag("client", "bigshot"), NOW_NS, "record")])


def make_metric(project: str, owner: str = RUN_ID, source: str = "judge") -> Records:
    metric = Metric(
        project=project,
        owner=owner,
        owner_start_ns=0,
        name="grounded",
        source=source,
        value=1.0,
        step=-1,
        time_ns=NOW_NS,
        mode="single",
    )
    return Records(metrics=[metric])


def make_key(project: str, key: str) -> Records:
    return Records(trace_keys=[TraceKey(key, project, trace_id(1), NOW_NS, NOW_NS)])


def found(store: Store, project: str) -> set[str]:
    """Return the names of the record kinds that a project has."""
    kinds = find_record_kinds(store.reader, project)
    return {one.name for one in fields(RecordKinds) if getattr(kinds, one.name)}


@sampled(3)
@pytest.mark.parametrize("asked", [True, False], ids=["asked before", "not asked before"])
@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (make_tag(ANY), {"tags"}),
        (make_tag(ANY, "tag:client=x"), {"tags", "keyed_tags"}),
        (make_metric(ANY), {"scores"}),
        (make_metric(ANY, source="logged"), {"metrics"}),
        (make_metric(ANY, "key:order-17"), {"keyed_scores"}),
        (make_metric(ANY, "key:order-17", "logged"), {"keyed_metrics"}),
        (make_metric(ANY, "model:d:answer", "logged"), set()),
        (make_metric(ANY, "tag:gen_ai.response.id=1"), {"keyed_scores", "responses"}),
        (make_key(ANY, "order-17"), {"keys"}),
        (make_key(ANY, trace_id(1).hex()), set()),
    ],
)
def test_found(
    store: Store, project: str, stored: Records, expected: set[str], *, asked: bool
) -> None:
    """Stored kinds are found, even if an earlier query found none."""
    assert not asked or found(store, project) == set()
    store.writer.write(
        Records(
            tags=[replace(row, project=project) for row in stored.tags],
            metrics=[replace(row, project=project) for row in stored.metrics],
            trace_keys=[replace(row, project=project) for row in stored.trace_keys],
        )
    )
    assert found(store, project) == expected


def test_names_of_late_tags(store: Store, project: str) -> None:
    """Only filters on a late tag's name read late tags, including tags stored afterwards."""

    def looks(where: str) -> bool:
        return "late_tags" in compile_where(store.reader, project, where)[0].sql

    wheres = ('tags["client"] == "bigshot"', 'tags["reviewed"] == "yes"', '"reviewed" in tags')
    assert [looks(where) for where in wheres] == [False, False, False]
    store.writer.write(make_tag(project))
    assert [looks(where) for where in wheres] == [True, False, False]
    assert looks('tags["reviewed"] == "yes" or not tags["client"] == "bigshot"')
    store.writer.write(
        Records(tags=[LateTag(project, RUN_ID, Tag("reviewed", "yes"), NOW_NS, "later")])
    )
    assert [looks(where) for where in wheres] == [True, True, True]


def count_questions(store: Store) -> int:
    """Return the number of queries that the engine has run so far."""
    (row,) = store.reader.rows(
        Sql("SELECT sum(value) AS number FROM system.events WHERE event = 'Query'"), {}
    )
    return int(row["number"])


def test_absent_names_of_late_tags(store: Store, project: str) -> None:
    """The absence of late tags with a name is queried once, until such a tag arrives."""
    store.writer.write(make_tag(project))
    where = 'tags["reviewed"] == "yes"'

    def look() -> tuple[bool, int]:
        before = count_questions(store)
        looks = "late_tags" in compile_where(store.reader, project, where)[0].sql
        return looks, count_questions(store) - before - 1

    look()
    assert look() == (False, 0)
    store.writer.write(
        Records(tags=[LateTag(project, RUN_ID, Tag("reviewed", "yes"), NOW_NS, "later")])
    )
    assert look() == (True, 0)


def test_many_names_of_late_tags(store: Store, project: str) -> None:
    """If late tags have more names than fit in memory, filters on any of them read late tags."""
    wheres = [f'tags["name {number}"] == 1' for number in (1, 699, 700)]
    assert not any(
        "late_tags" in compile_where(store.reader, project, where)[0].sql for where in wheres
    )
    store.writer.write(
        Records(
            tags=[
                LateTag(project, RUN_ID, Tag(f"name {number}", 1), NOW_NS, f"record {number}")
                for number in range(700)
            ]
        )
    )
    looks = ["late_tags" in compile_where(store.reader, project, where)[0].sql for where in wheres]
    assert looks[:2] == [True, True]
    assert len(store.reader.memory.recall(project)[0]) < 500


def test_memory_is_bounded() -> None:
    """Queries for many projects do not fill the memory, and known kinds are never forgotten."""
    memory = Memory(is_alone=True)
    memory.note("shop", ["tags"], is_complete=True)
    names = [f"none {number}" for number in range(30_000)]
    for name in names:
        assert memory.recall(name) == (frozenset(), False)
        assert memory.note(name, (), is_complete=True) == frozenset()
    assert 0 < sum(memory.recall(name)[1] for name in names) <= 10_000
    assert memory.recall("shop")[0] == {"tags"}
