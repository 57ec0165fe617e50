"""Tests of queries for runs with repeated rows and with many rows."""

from otel_ml_collector.records import LateTag, Records, Tag
from otel_ml_collector.store import facts, runs
from tests.support.otel_ml_collector.spans import MS_NS, NOW_NS, make_call, trace_id
from tests.support.otel_ml_collector.stores import Store

OWNER = f"{'0' * 31}1-{'0' * 15}2"


def test_places(store: Store, project: str) -> None:
    """A key is found in every project and trace that has it, with the time bounds of their runs."""
    key = {"otel_ml.trace_key": project}
    for name, number, start_ns in (("b", 1, NOW_NS), ("a", 1, NOW_NS - 5), ("b", 2, NOW_NS + 5)):
        store.take(
            f"{project} {name}", make_call("x", key, trace_id=trace_id(number), start_ns=start_ns)
        )
    store.take(f"{project} b", make_call("x", key, trace_id=trace_id(1), start_ns=NOW_NS + 3))
    assert runs.find_places(store.reader, project) == [
        runs.Place(f"{project} a", f"{'0' * 31}1", NOW_NS - 5, NOW_NS - 5 + MS_NS),
        runs.Place(f"{project} b", f"{'0' * 31}1", NOW_NS, NOW_NS + 3 + MS_NS),
        runs.Place(f"{project} b", f"{'0' * 31}2", NOW_NS + 5, NOW_NS + 5 + MS_NS),
    ]


def test_newest_tag(store: Store, project: str) -> None:
    """Late-arriving tags are read oldest first, so that the newest value wins."""
    tags = [
        LateTag(project, OWNER, Tag("colour", value), NOW_NS + place, f"{place:016x}")
        for place, value in enumerate(["red", "green", "blue"])
    ]
    for tag in (tags[2], tags[0], tags[1]):
        store.writer.write(Records(tags=[tag]))
    found = facts.read_late_tags(store.reader, project, [OWNER])
    assert [row["value"] for row in found] == ['"red"', '"green"', '"blue"']
