"""Tests of forwarding: records arrive unchanged, once per collector, from the cursor on."""

from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Final

import pytest

from otel_ml_collector.records import Records
from otel_ml_collector.span import Event
from otel_ml_collector.store.outbox import KINDS, Outbox
from otel_ml_collector.store.schema import TABLE_NAMES
from otel_ml_collector.store.sql import Sql, identifier
from otel_ml_collector.store.writer import Writer
from tests.support.otel_ml_collector.spans import (
    NOW_NS,
    make_artifact,
    make_call,
    make_record,
    make_start,
    map_all,
)
from tests.support.otel_ml_collector.stores import Store, open_store
from tests.support.sampling import at_night

END_NS: Final = 2**62
# Attribute names in Records that differ from the name of the kind.
FIELDS: Final = {"model_versions": "versions"}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "store") as opened:
        yield opened


def make_story() -> Records:
    """Make records of every kind."""
    call = make_call(
        "answer",
        {
            "otel_ml.model.version": "0123456789abcdef",
            "otel_ml.model.output_schema": "flat",
            "otel_ml.model.definition": '{"source":"def answer(): ..."}',
            "otel_ml.inputs": '{"question":"why?"}',
            "otel_ml.outputs": '"because"',
            "otel_ml.params": '{"depth":2}',
            "otel_ml.tag.client": "bigshot",
            "otel_ml.tag.share": 0.5,
            "otel_ml.tag.new": True,
            "otel_ml.tags": '{"client":{"type":"label","group":"who"}}',
            "otel_ml.score.brief": 0.5,
            "otel_ml.trace_key": "order-7",
            "gen_ai.response.id": "resp-1",
            "gen_ai.usage.input_tokens": 12,
            "other": [1, 2],
        },
        parent_span_id=bytes(7) + b"\x01",
        events=[
            make_artifact("sample", '{"rows":[1]}'),
            Event("otel_ml.log", NOW_NS, {"otel_ml.log.message": "asked"}),
            Event("elsewhere", NOW_NS, {"any": "thing"}),
        ],
    )
    update = make_record(
        "update",
        call,
        {"otel_ml.tag.late": 7, "otel_ml.metric.names": ["loss"], "otel_ml.metric.values": [0.1]},
        events=[Event("otel_ml.log", NOW_NS, {"otel_ml.log.message": "late"})],
    )
    return map_all(call, update, make_start(make_call("open")), project="p")


def read_all(outbox: Outbox, cursors: dict[str, int] | None = None, limit: int = 100) -> Records:
    """Read all records after the cursors, and advance the cursors."""
    found = Records()
    cursors = cursors if cursors is not None else outbox.cursors()
    for kind in KINDS:
        while batch := outbox.read(kind, cursors[kind], END_NS, limit):
            found.extend(batch.records)
            cursors[kind] = batch.last_ns
    return found


def bare(records: Records, kind: str) -> list[Any]:
    """Return the records of a kind without the fields that only one side fills in."""
    rows = getattr(records, FIELDS.get(kind, kind))
    if kind == "trace_keys":
        return sorted((row.project, row.trace_id, row.key) for row in rows if row.is_own)
    known = {field.name for row in rows for field in fields(row)}
    unknown = {"arrived_ns", "first_arrived_ns", "first_seen_ns"} & known
    return sorted((replace(row, **dict.fromkeys(unknown, 0)) for row in rows), key=repr)


def run_ids(records: Records) -> list[str]:
    return [run.run_id for run in records.runs]


def test_restored(store: Store) -> None:
    """The records read of each kind equal those that were written."""
    story = make_story()
    store.writer.write(story)
    found = read_all(Outbox(store.connections, "t", ""))
    for kind in KINDS:
        written = bare(story, kind)
        if kind == "open_runs":
            written = [replace(run, seq=0) for run in written]
        assert bare(found, kind) == written
        assert written, kind


def test_in_steps(store: Store) -> None:
    """Records read two at a time arrive once each, in order of arrival."""
    records = map_all(*(make_call(f"call {number}") for number in range(7)), project="p")
    store.writer.write(records)
    outbox = Outbox(store.connections, "t", "")
    found = read_all(outbox, dict.fromkeys(KINDS, -1), limit=2)
    assert run_ids(found) == run_ids(records)
    stamps = [run.arrived_ns for run in found.runs]
    assert stamps == sorted(set(stamps))


def test_cursor(tmp_path: Path) -> None:
    """After an acknowledgement, only later records are read, even by the next process."""
    with open_store(tmp_path) as store:
        store.take("p", make_call())
        outbox = Outbox(store.connections, "t", "")
        batch = outbox.read("runs", -1, END_NS, 10)
        assert batch is not None
        outbox.acknowledge("runs", batch.last_ns)
    with open_store(tmp_path) as store:
        outbox = Outbox(store.connections, "t", "")
        assert outbox.cursors() == {**dict.fromkeys(KINDS, -1), "runs": batch.last_ns}
        later = store.take("p", make_call())
        assert run_ids(read_all(outbox)) == run_ids(later)
        other = Outbox(store.connections, "another target", "")
        assert len(read_all(other).runs) == 2


@at_night
def test_clock_that_fell(tmp_path: Path) -> None:
    """Records that arrive after the clock fell are read, even if all earlier ones are deleted."""
    with open_store(tmp_path) as store:
        ahead = Writer(store.connections, clock=lambda: NOW_NS * 2)
        ahead.write(map_all(make_call(), project="p"))
        outbox = Outbox(store.connections, "t", "")
        [run] = read_all(outbox).runs
        outbox.acknowledge("runs", run.arrived_ns)
        client = store.connections.open()
        for table in ("runs", "payloads", "trace_index", "metrics", "model_versions"):
            client.command(Sql("TRUNCATE TABLE {table}").fill(table=identifier(table, TABLE_NAMES)))
    with open_store(tmp_path) as store:
        later = store.take("p", make_call())
        assert run_ids(read_all(Outbox(store.connections, "t", ""))) == run_ids(later)


def test_two_collectors(store: Store) -> None:
    """Each of two collectors with one store forwards its own records. Together they forward all."""
    writers = {name: Writer(store.connections, collector=name) for name in ("a", "b")}
    stories = {"a": make_story(), "b": make_story()}
    for name, story in stories.items():
        writers[name].write(story)
    for name, story in stories.items():
        found = read_all(Outbox(store.connections, "t", name))
        assert [bare(found, kind) for kind in ("runs", "metrics", "artifacts", "trace_keys")] == [
            bare(story, kind) for kind in ("runs", "metrics", "artifacts", "trace_keys")
        ]
        # Both collectors forward the version, because both know it.
        assert bare(found, "model_versions") == bare(story, "model_versions")


@at_night
def test_same_run_at_two_collectors(store: Store) -> None:
    """A run that arrived at two collectors is forwarded by at least one, even after a merge."""
    story = make_story()
    for name in ("a", "b"):
        Writer(store.connections, collector=name).write(story)
    client = store.connections.open()
    for table in ("runs", "metrics", "objects", "late_tags", "late_logs", "trace_keys"):
        client.command(
            Sql("OPTIMIZE TABLE {table} FINAL").fill(table=identifier(table, TABLE_NAMES))
        )
    found = Records()
    for name in ("a", "b"):
        found.extend(read_all(Outbox(store.connections, "t", name)))
    for kind in set(KINDS) - {"open_runs", "model_versions"}:
        assert bare(found, kind) == bare(story, kind)


@at_night
def test_definition_that_comes_later(store: Store) -> None:
    """A version is read again after its definition arrives, merged or not."""
    known = {"otel_ml.model.version": "0123456789abcdef", "otel_ml.model.output_schema": "flat"}
    definition = {"otel_ml.model.definition": '{"source":"x"}'}
    outbox, cursors = Outbox(store.connections, "t", ""), dict.fromkeys(KINDS, -1)
    definitions = []
    for more in ({}, definition):
        store.take("p", make_call("answer", {**known, **more}))
        store.connections.open().command(Sql("OPTIMIZE TABLE model_versions FINAL"))
        versions = read_all(outbox, cursors).versions
        definitions.append([version.definition for version in versions])
    assert definitions == [[""], ['{"source":"x"}']]
