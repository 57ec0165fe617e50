"""Tests of queries for metric points with repeated rows and with many points."""

from typing import Any

from otel_ml_collector.records import Metric, Records
from otel_ml_collector.store import facts
from otel_ml_collector.store.tables import METRICS
from tests.support.otel_ml_collector.spans import DAY_NS, NOW_NS
from tests.support.otel_ml_collector.stores import Store

OWNER = f"{'0' * 31}1-{'0' * 15}2"


def make_point(project: str, position: int, source: str = "logged") -> Metric:
    return Metric(
        project=project,
        owner=OWNER,
        owner_start_ns=0,
        name="loss",
        value=float(position),
        step=-1,
        time_ns=NOW_NS,
        mode="append",
        source=source,
        record_id="00000000000000aa",
        position=position,
    )


def read_all(store: Store, project: str) -> list[Any]:
    """Return the position and value of all points."""
    rows = facts.read_points(store.reader, project, [OWNER], "", 1_000)
    return [(place, value) for row in rows for place, value, _, _ in row["kept"]]


def test_points_that_come_again_next_month(store: Store, project: str) -> None:
    """A point delivered again in another month is read once."""
    client = store.connections.open()
    for arrived_ns in (NOW_NS, NOW_NS + 31 * DAY_NS):
        client.insert_arrow("metrics", METRICS.to_arrow([make_point(project, 0)], [arrived_ns]))
    assert read_all(store, project) == [(1, 0.0)]


def test_order_of_points(store: Store, project: str) -> None:
    """Any number of points with the same record and time are read in order of position."""
    logged = [make_point(project, position) for position in range(300)]
    store.writer.write(Records(metrics=logged[::-1]))
    assert read_all(store, project) == [(place + 1, float(place)) for place in range(300)]


def test_evaluations_are_no_points(store: Store, project: str) -> None:
    """Scores and logged points of the same name are read separately."""
    store.writer.write(
        Records(metrics=[make_point(project, 1), make_point(project, 2, source="human")])
    )
    assert read_all(store, project) == [(1, 1.0)]
    found = facts.read_evaluations(store.reader, project, [OWNER])
    assert [(row["source"], row["score"]) for row in found] == [("human", 2.0)]
