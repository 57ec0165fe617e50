"""Tests that sketches of a day reflect the counted runs, however these arrived."""

import json
import random
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import pytest
from clickhouse_connect.driver.exceptions import ClickHouseError

from otel_ml.statistics.projections import Projected, project
from otel_ml_collector.span import Span
from otel_ml_collector.store.deletion import Deleter
from otel_ml_collector.store.field_values import ColumnCells, VersionFields, read_values
from otel_ml_collector.store.retention import Days, Retention
from otel_ml_collector.store.sketches import (
    SketchJob,
    SketchQuestion,
    read_sketched_days,
    read_sketches,
    sketch_day,
)
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.store.tombstones import Tombstones
from otel_ml_collector.times import DAY_NS, HOUR_NS
from tests.store.otel_ml_collector.query.test_judges import say, tell
from tests.support.otel_ml_collector.spans import MS_NS, make_call, trace_id
from tests.support.otel_ml_collector.stores import Store
from tests.support.sampling import at_night, sampled

DAY_START_NS: Final = (time.time_ns() // DAY_NS - 3) * DAY_NS
RUNS: Final = 60


@pytest.fixture(scope="module")
def store(own_store: Store) -> Store:
    """Return a store for this module, because sketches are made for every project of a store."""
    return own_store


def make_runs(seed: int, runs: int = RUNS) -> list[Span]:
    """Make runs over three hours, some in sessions, and a judge's score of every second run."""
    draw = random.Random(seed)  # noqa: S311 - not for secrets
    spans = [tell("a1")]
    for place in range(runs):
        start_ns = DAY_START_NS + place * 3 * HOUR_NS // runs
        run = make_call(
            "ask",
            {
                "otel_ml.model.version": draw.choice(["v1", "v2"]),
                "session.id": draw.choice(["", "s1", "s2"]),
                "otel_ml.inputs": json.dumps(
                    {"amount": draw.randrange(50), "note": f"order {draw.random()}"}
                ),
                "otel_ml.outputs": json.dumps({"label": draw.choice(["good", "bad"])}),
            },
            trace_id=trace_id(seed * 1_000 + place),
            start_ns=start_ns,
            end_ns=start_ns + draw.randrange(20, 90) * MS_NS,
        )
        spans.append(run)
        if place % 2:
            spans.append(say(run, "a1", draw.random()))
    return spans


def sketch(store: Store, project: str) -> None:
    client = store.connections.open()
    now_ns = client.query(Sql("SELECT toUnixTimestamp64Nano(now64(9))")).result_rows[0][0]
    sketch_day(client, store.connections.memory, project, DAY_START_NS, now_ns)


def read(store: Store, project: str, *, hourly: bool = False) -> dict[int, VersionFields]:
    """Return the sketches of the day or of its hours."""
    days = read_sketched_days(store.reader, project)
    end_ns = DAY_START_NS + DAY_NS
    step_ns = HOUR_NS if hourly else DAY_NS
    question = SketchQuestion(project, days, DAY_START_NS, end_ns, step_ns, is_hourly=hourly)
    return read_sketches(store.reader, question).get("ask", {})


def take(store: Store, project: str, *groups: Sequence[Span]) -> None:
    for group in groups:
        store.take(project, *group, now_ns=time.time_ns())


def test_order(store: Store) -> None:
    """Duplicates, reordering and late scores do not change the sketches."""
    spans = make_runs(1)
    take(store, "in order", spans)
    sketch(store, "in order")
    runs = [span for span in spans if span.name == "ask"]
    rest = [span for span in spans if span.name != "ask"]
    random.Random(3).shuffle(runs)  # noqa: S311 - not for secrets
    take(store, "otherwise", runs[:20])
    sketch(store, "otherwise")
    take(store, "otherwise", runs[10:], runs, rest)
    sketch(store, "otherwise")
    assert read(store, "otherwise") == read(store, "in order")
    assert len(read(store, "otherwise", hourly=True)) == 3
    assert read(store, "otherwise", hourly=True) == read(store, "in order", hourly=True)


def test_hours(store: Store) -> None:
    """The sketches of the hours add up to the sketch of the day."""
    take(store, "hours", make_runs(2))
    sketch(store, "hours")
    (day,) = read(store, "hours").values()
    hours = read(store, "hours", hourly=True).values()
    for path, field in day.fields.items():
        assert sum(hour.fields[path].n for hour in hours) == field.n
    assert day.sections["run"] == RUNS
    assert day.fields['scores["grounded"]@a1'].n == RUNS // 2


@at_night
def test_deletion(store: Store) -> None:
    """After runs are deleted, the sketches are those of the remaining runs."""
    kept, gone = make_runs(4), make_runs(5, 20)
    take(store, "kept", kept)
    take(store, "deleted", kept, gone)
    sketch(store, "kept")
    sketch(store, "deleted")
    deleter = Deleter(store.connections, Tombstones(store.connections))
    for span in gone[1:5]:
        if span.name == "ask":
            deleter.delete("deleted", "run", f"{span.trace_id.hex()}-{span.span_id.hex()}")
    assert read(store, "deleted") == {}, "of a day that changed no sketch is read"
    rest = [span for span in gone if span.trace_id not in {one.trace_id for one in gone[1:5]}]
    take(store, "kept", rest)
    sketch(store, "kept")
    sketch(store, "deleted")
    assert read(store, "deleted") == read(store, "kept")


@at_night
def test_retention(store: Store) -> None:
    """After retention deletes payloads, their fields leave the sketches, but figures stay."""
    take(store, "old", make_runs(6))
    sketch(store, "old")
    now_ns = time.time_ns() + 40 * DAY_NS
    retention = Retention(store.connections, Days(0, 30), clock=lambda: now_ns)
    retention.confirm()  # Without confirmation, retention does not trust a clock this far ahead.
    retention.sweep()
    assert read(store, "old") == {}
    sketch(store, "old")
    (day,) = read(store, "old").values()
    paths = {path for path in day.fields if not path.startswith("scores")}
    assert paths == {"latency_ms", "outcome"}


def test_due(store: Store) -> None:
    """A past day is sketched automatically after a minute without changes."""
    take(store, "due", make_runs(7))
    client = store.connections.open()
    job = SketchJob(client, store.connections.memory, time.monotonic)
    assert job.run() == 0
    age = Sql("""INSERT INTO daily (project, day_ns, marked_ns)
      SELECT 'aged', {day:Int64}, toUnixTimestamp64Nano(now64(9)) - 120000000000""")
    client.command(age, {"day": DAY_START_NS})
    assert job.run() == 1
    assert job.run() == 0


@at_night
def test_failing_day(store: Store) -> None:
    """A day whose sketches always fail raises its error, but does not block other days."""
    client = store.connections.open()
    broken_ns = DAY_START_NS + DAY_NS
    runs = [
        replace(run, start_ns=run.start_ns + DAY_NS, end_ns=run.end_ns + DAY_NS)
        for run in make_runs(11, 2 * RUNS)
        if run.name == "ask"
    ]
    take(store, "failing", make_runs(12), runs)
    client.command(Sql("DELETE FROM daily WHERE project = 'failing'"))
    mark = Sql("""INSERT INTO daily (project, day_ns, marked_ns)
      SELECT 'failing', arrayJoin([{day:Int64}, {broken:Int64}]),
        toUnixTimestamp64Nano(now64(9)) - 120000000000""")
    client.command(mark, {"day": DAY_START_NS, "broken": broken_ns})
    trouble = Sql("ALTER TABLE sketches ADD CONSTRAINT trouble CHECK day_ns != {day:Int64}")
    client.command(trouble, {"day": broken_ns})
    clock = iter(range(0, 10_000, 100))  # Each day uses up the whole time budget.
    job = SketchJob(client, store.connections.memory, lambda: float(next(clock)))
    with pytest.raises(ClickHouseError, match="trouble"):
        job.run()
    assert job.run() == 1
    assert [*read_sketched_days(store.reader, "failing")] == [DAY_START_NS]
    client.command(Sql("ALTER TABLE sketches DROP CONSTRAINT trouble"))
    assert job.run() == 1
    assert [*read_sketched_days(store.reader, "failing")] == [DAY_START_NS, broken_ns]


@sampled(2)
@pytest.mark.parametrize(
    ("payload", "values"),
    [
        ({"a": {"b": 1}}, {"inputs.a.b": 1}),
        ({"long name": True}, {'inputs["long name"]': True}),
        ([1, 2], {"len(inputs)": 2}),
        ("hello", {"inputs": "hello"}),
        ({"a": None}, {}),
        ({"a": "the [redacted] key"}, {"inputs.a": None}),
        ({"a": {"$": "repr", "v": "…"}}, {"inputs.a": None}),
        ({"$": "fields", "v": {"x": 2}, "of": "m.C"}, {"inputs.v.x": 2}),
        (
            {"type": "PIL.Image", "mode": "L", "size": [8, 6], "brightness": 7.5},
            {
                "inputs.type": "PIL.Image",
                "inputs.mode": "L",
                "len(inputs.size)": 2,
                "inputs.size[0]": 8,
                "inputs.size[1]": 6,
                "inputs.brightness": 7.5,
            },
        ),
        ([0.5] * 16, {"len(inputs)": 16, "inputs": project([0.5] * 16)}),
        (
            {"type": "numpy.ndarray", "shape": [300], "norm": 2.5, "projections": [0.25] * 32},
            {
                "inputs.type": "numpy.ndarray",
                "len(inputs.shape)": 1,
                "inputs.shape[0]": 300,
                "inputs.norm": 2.5,
                "inputs": Projected(2.5, (0.25,) * 32),
            },
        ),
        (
            {
                "type": "pandas.DataFrame",
                "shape": [9, 3],
                "cells": {"age": [31, None], "a b": ["x", "[redacted]"], "ssn": "[redacted]"},
            },
            {
                "inputs.type": "pandas.DataFrame",
                "len(inputs.shape)": 2,
                "inputs.shape[0]": 9,
                "inputs.shape[1]": 3,
                "inputs.cells.age": ColumnCells((31, None)),
                'inputs.cells["a b"]': ColumnCells(("x", None)),
                "inputs.cells.ssn": None,
            },
        ),
        (
            {"type": "numpy.ndarray", "shape": [2, 2], "values": [[1, 2.5], [3, "Infinity"]]},
            {
                "inputs.type": "numpy.ndarray",
                "len(inputs.shape)": 2,
                "inputs.shape[0]": 2,
                "inputs.shape[1]": 2,
                "len(inputs.values)": 2,
                'inputs.cells["0"]': ColumnCells((1, 3)),
                'inputs.cells["1"]': ColumnCells((2.5, None)),
            },
        ),
        ({"cells": {"age": [1, 2]}}, {"len(inputs.cells.age)": 2}),
        (
            {"messages": [{"role": "user", "content": "hi"}]},
            {
                "len(inputs.messages)": 1,
                "inputs.messages[-1].role": "user",
                "inputs.messages[-1].content": "hi",
            },
        ),
        ({"a": {"b": {"c": {"d": {"e": 1}, "f": 2}}}}, {"inputs.a.b.c.f": 2}),
    ],
)
def test_values(payload: Any, values: dict[str, object]) -> None:
    """Values have the path that filters use. None marks a hidden value."""
    assert dict(read_values("inputs", json.dumps(payload))) == values
