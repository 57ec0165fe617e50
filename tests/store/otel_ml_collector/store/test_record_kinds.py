"""Tests that the remembered record kinds of a project cover everything it has stored."""

from dataclasses import fields, replace

import pytest

from otel_ml.records import LateTag, Metric, Tag
from otel_ml_collector.records import Records, TraceKey
from otel_ml_collector.store.connection import Memory
from otel_ml_collector.store.record_kinds import RecordKinds, find_record_kinds
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
        (make_metric(ANY, "tag:gen_ai.response.id=1"), {"keyed_scores"}),
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
