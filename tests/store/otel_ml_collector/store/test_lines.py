"""Tests of late-arriving log lines, and of finding the calls above their spans."""

from typing import Final

import pytest

from otel_ml_collector.records import LateLog, LineRecord, Records
from otel_ml_collector.runs.logs import SpanNode, find_calls_above, read_nodes
from otel_ml_collector.store.facts import read_lines
from otel_ml_collector.store.tables import LATE_LOGS
from tests.support.otel_ml_collector.spans import (
    DAY_NS,
    MS_NS,
    NOW_NS,
    make_call,
    make_span,
    make_start,
    span_id,
    trace_id,
)
from tests.support.otel_ml_collector.stores import Store

OWNER: Final = f"{'0' * 31}1-{'0' * 15}2"
CALL: Final = SpanNode("", is_call=True)


def below(parent: str) -> SpanNode:
    return SpanNode(parent, is_call=False)


def test_lines_that_come_again_next_month(store: Store, project: str) -> None:
    """A log line delivered again in another month is read once."""
    line = LateLog(project, OWNER, LineRecord(NOW_NS, "info", "text"), "aa", 0, "event", '{"a":1}')
    client = store.connections.open()
    for arrived_ns in (NOW_NS, NOW_NS + 31 * DAY_NS):
        client.insert_arrow("late_logs", LATE_LOGS.to_arrow([line], [arrived_ns]))
    assert read_lines(store.reader, project, [OWNER]) == [
        {
            "owner": OWNER,
            "time_ns": NOW_NS,
            "severity": "info",
            "message": "text",
            "event": "event",
            "attributes": '{"a":1}',
            "record_id": "aa",
            "position": 0,
        }
    ]


def test_lines_of_many_owners(store: Store, project: str) -> None:
    """Lines of more owners than fit in one query are read in order of time."""
    owners = [f"{'0' * 31}1-{number:016x}" for number in range(2_500)]
    lines = [
        LateLog(project, owner, LineRecord(NOW_NS - number, "info", owner), "aa", 0)
        for number, owner in enumerate(owners)
    ]
    store.writer.write(Records(logs=lines))
    found = read_lines(store.reader, project, owners)
    assert [row["message"] for row in found] == owners[::-1]


def test_nodes(store: Store, project: str) -> None:
    """A span's parent is that of its winning delivery, or of its start record if it has no end."""
    trace = trace_id(1)
    call = make_call(trace_id=trace, span_id=span_id(1))
    client = make_span(trace_id=trace, span_id=span_id(2), parent_span_id=span_id(1))
    earlier = make_span("", trace_id=trace, span_id=span_id(2), start_ns=NOW_NS - MS_NS)
    begun = make_call(trace_id=trace, span_id=span_id(3), parent_span_id=span_id(2))
    ended = make_start(call, {"otel_ml.parent_span_id": "0" * 15 + "9"})
    store.take(project, call, client, make_start(begun), ended)
    store.take(project, earlier, make_call(trace_id=trace_id(2)))
    names = [f"{trace.hex()}-{span_id(number).hex()}" for number in range(4)]
    assert read_nodes(store.reader, project, trace.hex()) == {
        names[1]: SpanNode(names[0], is_call=True),
        names[2]: SpanNode(names[1], is_call=False),
        names[3]: SpanNode(names[2], is_call=True),
    }


@pytest.mark.parametrize(
    ("nodes", "above"),
    [
        ({"a": CALL}, {"a": "a"}),
        ({"a": CALL, "b": below("a"), "c": below("b")}, {"a": "a", "b": "a", "c": "a"}),
        (
            {"a": CALL, "b": SpanNode("a", is_call=True), "c": below("b")},
            {"a": "a", "b": "b", "c": "b"},
        ),
        ({"a": below("not here"), "b": below("a")}, {}),
        ({"a": below("b"), "b": below("a"), "c": below("a")}, {}),
        ({"a": below("a")}, {}),
        ({}, {}),
    ],
)
def test_calls_above(nodes: dict[str, SpanNode], above: dict[str, str]) -> None:
    """The nearest call at or above a span is found, whatever the order of the spans."""
    for spans in (["a", "b", "c", "z"], ["z", "c", "b", "a"]):
        assert find_calls_above(nodes, spans) == above


def test_deep_chain() -> None:
    """A chain of 50,000 spans is resolved."""
    nodes = {"0": CALL} | {str(depth): below(str(depth - 1)) for depth in range(1, 50_000)}
    assert set(find_calls_above(nodes, list(nodes)).values()) == {"0"}
