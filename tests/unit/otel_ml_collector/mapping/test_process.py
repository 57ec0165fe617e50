"""Tests of the sequence numbers of a process's spans."""

from otel_ml_collector.mapping.filing import Filing
from otel_ml_collector.mapping.spans import map_spans
from otel_ml_collector.records import Arrivals
from otel_ml_collector.span import Span, Value
from tests.support.otel_ml_collector.spans import (
    NOW_NS,
    SECOND_NS,
    make_call,
    make_sign,
    make_span,
    map_all,
)

HOUR = NOW_NS // (3600 * SECOND_NS)
MINUTE = NOW_NS // (60 * SECOND_NS)


def number(seq: int, process: str = "0000000a", ago_s: int = 0) -> Span:
    attributes: dict[str, Value] = {"otel_ml.process": process, "otel_ml.seq": seq}
    end_ns = NOW_NS - ago_s * SECOND_NS
    return make_call("answer", attributes, start_ns=end_ns - 1, end_ns=end_ns)


def test_numbers() -> None:
    """Sequence numbers are grouped by process and hour. Late ones are listed separately."""
    records = map_all(
        number(1, ago_s=301), number(2), number(3), number(9, "0000000b"), make_span(), project="p"
    )
    assert records.arrivals == [
        Arrivals("p", "0000000a", HOUR - 1, MINUTE, late=[1]),
        Arrivals("p", "0000000a", HOUR, MINUTE, timely=[2, 3]),
        Arrivals("p", "0000000b", HOUR, MINUTE, timely=[9]),
    ]


def test_goodbye() -> None:
    """A goodbye has a sequence number, up to which no more spans can arrive."""
    beat = make_sign("heartbeat", NOW_NS, "0000000a", seq=6, dropped=2)
    goodbye = make_sign("goodbye", NOW_NS, "0000000a", seq=7, dropped=1)
    for spans in ((beat, goodbye), (goodbye, beat)):
        (arrivals,) = map_all(*spans, project="p").arrivals
        assert (sorted(arrivals.timely), arrivals.dropped, arrivals.settled) == ([6, 7], 2, 7)


def test_rejected() -> None:
    """The sequence number of a rejected span is not recorded."""
    odd = make_span(attributes={"otel_ml.process": "0000000a", "otel_ml.seq": 1}, span_id=b"")
    records = map_spans([odd], Filing("p", NOW_NS))
    assert (records.arrivals, records.rejected.total()) == ([], 1)


def test_join() -> None:
    """Arrivals of the same process and hour from two requests are merged, in any order."""
    one = Arrivals("p", "a", HOUR, MINUTE, [1], [2], dropped=3, settled=0)
    two = Arrivals("p", "a", HOUR, MINUTE + 1, [4], [], dropped=1, settled=4)
    assert one.join(two) == Arrivals("p", "a", HOUR, MINUTE + 1, [1, 4], [2], 3, 4)
    assert two.join(one) == Arrivals("p", "a", HOUR, MINUTE + 1, [4, 1], [2], 3, 4)
