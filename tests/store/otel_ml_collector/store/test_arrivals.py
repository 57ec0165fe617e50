"""Tests of sequence numbers: received, missing, late and dropped spans per process."""

from collections.abc import Sequence
from typing import Final

import pytest

from otel_ml_collector.loss import Hours, read_loss
from otel_ml_collector.mapping.filing import Filing
from otel_ml_collector.mapping.spans import map_spans
from otel_ml_collector.span import Span, Value
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.store.writer import Writer
from tests.support.otel_ml_collector.spans import (
    NOW_NS,
    SECOND_NS,
    make_call,
    make_record,
    make_sign,
    make_span,
)
from tests.support.otel_ml_collector.stores import Store
from tests.support.sampling import sampled

HOUR_NS: Final = 3600 * SECOND_NS
HOUR: Final = NOW_NS // HOUR_NS
TWO_DAYS: Final = (HOUR - 48, HOUR + 1)
A, B = "0000000a", "0000000b"
# Two minutes after the last arrival, no missing number counts as still on its way.
LATER_NS: Final = NOW_NS + 120 * SECOND_NS


def number(seq: int, process: str = A, ago_s: int = 0) -> Span:
    """Make a call that ended some seconds ago, with its sequence number."""
    end_ns = NOW_NS - ago_s * SECOND_NS
    attributes: dict[str, Value] = {"otel_ml.process": process, "otel_ml.seq": seq}
    return make_call("answer", attributes, start_ns=end_ns - 1_000, end_ns=end_ns)


def numbers(*seqs: int) -> list[Span]:
    return [number(seq) for seq in seqs]


def take(store: Store, project: str, *spans: Span, came_ns: int = NOW_NS) -> None:
    """Store spans that arrive at the given time."""
    store.writer.write(map_spans(spans, Filing(project, came_ns)))


def loss(
    store: Store, project: str, now_ns: int = LATER_NS, hours: tuple[int, int] = TWO_DAYS
) -> list[tuple[str, int, int, int, int, int]]:
    """Return process, hours ago, received, missing, late and dropped, the latest hour first."""
    return [
        (
            row["process"],
            HOUR - row["hour"],
            row["received"],
            row["missing"],
            row["late"],
            row["dropped"],
        )
        for row in read_loss(store.reader, Hours(*hours, now_ns, project), limit=1_000)
    ]


def test_nothing_missing(store: Store, project: str) -> None:
    """A process without gaps in its numbers has no missing spans, in any order of arrival."""
    take(store, project, *numbers(3, 1))
    take(store, project, *numbers(4, 2))
    assert loss(store, project) == [(A, 0, 4, 0, 0, 0)]


def test_gap(store: Store, project: str) -> None:
    """A number below a received one is missing, including the first number."""
    take(store, project, *numbers(2, 5, 6))
    assert loss(store, project) == [(A, 0, 3, 3, 0, 0)]


def test_processes(store: Store, project: str) -> None:
    """Gaps are counted per process."""
    take(store, project, *numbers(1, 3), number(1, B), number(2, B), number(5, B))
    assert loss(store, project) == [(A, 0, 2, 1, 0, 0), (B, 0, 3, 2, 0, 0)]


def test_projects(store: Store, project: str) -> None:
    """Gaps are counted per project, because a process numbers each project from 1."""
    take(store, project, *numbers(1, 2))
    take(store, f"{project} 2", *numbers(1, 4))
    assert loss(store, project) == [(A, 0, 2, 0, 0, 0)]
    assert loss(store, f"{project} 2") == [(A, 0, 2, 2, 0, 0)]


def test_all_records(store: Store, project: str) -> None:
    """All records of a process have numbers: calls, updates and signs of life."""
    call = number(1)
    told: dict[str, Value] = {"otel_ml.process": A, "otel_ml.seq": 2, "otel_ml.tag.late": 1}
    take(store, project, call, make_record("update", call, told))
    take(store, project, make_sign("heartbeat", NOW_NS, A, seq=5))
    assert loss(store, project) == [(A, 0, 3, 2, 0, 0)]


def test_foreign_spans(store: Store, project: str) -> None:
    """Spans from other SDKs have no number and add no row."""
    take(store, project, make_span("GET /"), make_call("answer"))
    sql = Sql("SELECT count() AS rows FROM arrivals WHERE project = {project:String}")
    assert store.reader.rows(sql, {"project": project}) == [{"rows": 0}]


@sampled(2)
@pytest.mark.parametrize("seq", [0, -1, 2**63, "7", 1.0, True])
def test_odd_numbers(store: Store, project: str, seq: Value) -> None:
    """An invalid number is not counted, but its span is stored."""
    odd = make_call("answer", {"otel_ml.process": A, "otel_ml.seq": seq})
    take(store, project, odd, number(1))
    assert loss(store, project) == [(A, 0, 1, 0, 0, 0)]


def test_highest_number(store: Store, project: str) -> None:
    """The highest possible number counts like any other."""
    take(store, project, *numbers(1, 2**63 - 1))
    assert loss(store, project) == [(A, 0, 2, 2**63 - 3, 0, 0)]


def test_on_its_way(store: Store, project: str) -> None:
    """A gap counts as missing one minute after a higher number arrived."""
    take(store, project, *numbers(1, 4))
    take(store, project, number(9), came_ns=NOW_NS + 60 * SECOND_NS)
    missing = [
        loss(store, project, NOW_NS + seconds * SECOND_NS)[0][3] for seconds in (59, 119, 120, 180)
    ]
    assert missing == [0, 0, 2, 6]


def test_goodbye(store: Store, project: str) -> None:
    """Numbers missing at a process' goodbye count as missing immediately."""
    take(store, project, *numbers(1, 3))
    assert loss(store, project, NOW_NS)[0][3] == 0
    take(store, project, make_sign("goodbye", NOW_NS, A, seq=5))
    assert loss(store, project, NOW_NS) == [(A, 0, 3, 2, 0, 0)]


def test_found_again(store: Store, project: str) -> None:
    """A number that arrives a day later no longer counts as missing."""
    take(store, project, *numbers(1, 3))
    assert loss(store, project)[0][3] == 1
    take(store, project, number(2), came_ns=NOW_NS + 24 * HOUR_NS)
    assert loss(store, project) == [(A, 0, 3, 0, 1, 0)]


def test_late(store: Store, project: str) -> None:
    """A span is late if it arrives more than 5 minutes after its end."""
    take(store, project, number(1, ago_s=301), number(2, ago_s=300), number(3))
    assert loss(store, project) == [(A, 0, 1, 0, 0, 0), (A, 1, 2, 0, 1, 0)]


def test_late_redelivery(store: Store, project: str) -> None:
    """A span that arrived in time does not become late when it arrives again."""
    take(store, project, *numbers(1, 2))
    take(store, project, *numbers(1, 2, 3), came_ns=NOW_NS + HOUR_NS)
    assert loss(store, project) == [(A, 0, 3, 0, 1, 0)]


def test_hours(store: Store, project: str) -> None:
    """A missing number counts in the first hour in which a span with a higher number ended."""
    hour = 3_600
    take(store, project, number(1, ago_s=3 * hour), number(4, ago_s=2 * hour))
    take(store, project, number(9), number(8), number(6, ago_s=2 * hour))
    assert loss(store, project) == [
        (A, 0, 2, 1, 0, 0),
        (A, 2, 2, 3, 2, 0),
        (A, 3, 1, 0, 1, 0),
    ]


def test_clock_set_back(store: Store, project: str) -> None:
    """A clock set back by hours does not make spans of its process count as missing."""
    hour = 3_600
    take(store, project, *numbers(1, 2), *(number(seq, ago_s=hour) for seq in (3, 4)))
    take(store, project, *(number(seq, ago_s=5 * hour - seq * hour // 2) for seq in (5, 6, 7)))
    assert [row[3] for row in loss(store, project)] == [0, 0, 0, 0]


def test_window(store: Store, project: str) -> None:
    """Earlier arrivals are taken into account, but only the requested hours are returned."""
    hour = 3_600
    take(store, project, number(5, ago_s=2 * hour), number(7, ago_s=hour), number(10))
    assert loss(store, project, hours=(HOUR - 1, HOUR)) == [(A, 1, 1, 1, 1, 0)]


def test_dropped(store: Store, project: str) -> None:
    """Dropped spans count in the hour in which the process first reported them."""
    before_ns = NOW_NS - HOUR_NS
    take(store, project, make_sign("heartbeat", before_ns, A, seq=5, dropped=3))
    take(store, project, make_sign("heartbeat", before_ns + 1, A, seq=6, dropped=4))
    take(store, project, make_sign("goodbye", NOW_NS, A, seq=9, dropped=6))
    assert loss(store, project) == [(A, 0, 1, 2, 0, 2), (A, 1, 2, 4, 2, 4)]


def scattered() -> list[Span]:
    """Make spans of two processes over three hours, leaving out every third."""
    kept = [
        number(seq, process, ago_s=7_200 - 60 * seq)
        for process in (A, B)
        for seq in range(1, 121)
        if seq % 3
    ]
    return [*kept, make_sign("heartbeat", NOW_NS, A, seq=121, dropped=7)]


def deliver(store: Store, project: str, batches: Sequence[Sequence[Span]]) -> None:
    for batch in batches:
        take(store, project, *batch)


def test_every_way_the_same(store: Store, project: str) -> None:
    """Duplicates, reordering, regrouping, two writers and merges do not change the result."""
    spans = scattered()
    deliver(store, project, [spans])
    expected = loss(store, project)
    assert sum(row[3] for row in expected) == 40 + 39
    shuffled = sorted(spans, key=lambda span: span.span_id)  # random ids
    other = Writer(store.connections)
    name = f"{project} 2"
    for place in range(0, len(shuffled), 17):
        batch = shuffled[place : place + 17]
        take(store, name, *batch)
        other.write(map_spans(batch, Filing(name, NOW_NS)))
    assert loss(store, name) == expected
    deliver(store, name, [spans, shuffled])
    store.connections.open().command(Sql("OPTIMIZE TABLE arrivals FINAL"))
    assert loss(store, name) == expected
