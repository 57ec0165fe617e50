"""Tests of values of deleted records in rows, if the collector is killed after the deletion."""

import json
import multiprocessing
import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from otel_ml_collector.mapping.filing import Filing
from otel_ml_collector.mapping.spans import map_spans
from otel_ml_collector.span import Span, Value
from otel_ml_collector.store.calls import CallResolver
from otel_ml_collector.store.deletion import Deleter
from otel_ml_collector.store.retention import Days, Retention
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.store.tombstones import RUN, Tombstones
from otel_ml_collector.store.writer import Writer
from tests.support.otel_ml_collector.folded import finish
from tests.support.otel_ml_collector.scored import find_wrong_scores, find_wrong_tags
from tests.support.otel_ml_collector.spans import (
    DAY_NS,
    NOW_NS,
    id_of,
    make_call,
    make_record,
    span_id,
    trace_id,
)
from tests.support.otel_ml_collector.stores import Store, open_store
from tests.support.sampling import sampled

FORKING: Final = multiprocessing.get_context("forkserver")
SCORE: Final[Mapping[str, Value]] = {"otel_ml.judge.name": "grounded", "otel_ml.score.value": 0.5}
TAG: Final = "otel_ml.target.tag"
CALLS: Final = [
    make_call(
        "answer",
        {"otel_ml.tag.client": "big", "gen_ai.response.id": "r1"},
        trace_id=trace_id(number),
        span_id=span_id(number),
    )
    for number in (1, 2)
]
VALUES: Final = Sql("SELECT final_scores AS scores, late_tags AS tags FROM runs FINAL")


def take(store: Store, watch: CallResolver, days_ago: int, *spans: Span) -> None:
    """Store spans with an arrival time some days ago, and write all rows that they change."""
    writer = Writer(store.connections, clock=lambda: NOW_NS - days_ago * DAY_NS)
    records = map_spans(spans, Filing("p", NOW_NS))
    writer.write(records)
    watch.note(records, writer.stamped_ns or 0)
    finish(store, watch)


def expire(store: Store, watch: CallResolver) -> None:
    """Store a score for a tag that retention deletes."""
    take(store, watch, 40, make_record("evaluation", CALLS[0], {TAG: "client=big", **SCORE}))
    take(store, watch, 1, CALLS[0])
    retention = Retention(store.connections, Days(records=30), clock=lambda: NOW_NS)
    retention.confirm()
    leave(store)
    retention.sweep()


def delete(store: Store, watch: CallResolver) -> None:
    """Store a score for a response ID of two runs. The deletion of one of them deletes it."""
    told: dict[str, Value] = {TAG: "gen_ai.response.id=r1", **SCORE}
    take(store, watch, 1, *CALLS, make_record("evaluation", CALLS[0], told))
    leave(store)
    Deleter(store.connections, Tombstones(store.connections)).delete("p", RUN, id_of(CALLS[0]))


def take_back(store: Store, watch: CallResolver) -> None:
    """Store a late tag that is taken back."""
    take(store, watch, 1, CALLS[0])
    take(store, watch, 1, make_record("update", CALLS[0], {"otel_ml.tag.region": "eu"}))
    [row] = store.reader.rows(Sql("SELECT record_id FROM late_tags"), {})
    leave(store)
    deleter = Deleter(store.connections, Tombstones(store.connections))
    deleter.forget_tags("p", [id_of(CALLS[0])], [row["record_id"]])


def leave(store: Store) -> None:
    """Write the values in rows to a file, for the test."""
    folder = store.connections.folder
    assert folder is not None
    folder.with_name("before").write_text(json.dumps(store.reader.rows(VALUES, {})))


def die(folder: Path, work: Callable[[Store, CallResolver], None]) -> None:
    """Do something, and die before the next pass."""
    with open_store(folder) as store:
        work(store, CallResolver(store.connections))
        os.kill(os.getpid(), signal.SIGKILL)


@sampled(1)
@pytest.mark.parametrize("work", [expire, delete, take_back])
def test_killed(tmp_path: Path, work: Callable[[Store, CallResolver], None]) -> None:
    """After a kill, rows lose the values of records that were deleted before it."""
    process = FORKING.Process(target=die, args=(tmp_path / "store", work))
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    before = json.loads((tmp_path / "before").read_text())
    assert any(row["scores"] or row["tags"] for row in before)
    with open_store(tmp_path / "store") as store:
        finish(store, CallResolver(store.connections))
        assert read(store) == [{"scores": {}, "tags": {}}]
        assert find_wrong_scores(store) == []
        assert find_wrong_tags(store) == []


def read(store: Store) -> list[dict[str, Any]]:
    return [dict(row) for row in store.reader.rows(VALUES, {})]
