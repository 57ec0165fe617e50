"""Tests of spans that lie outside the time of their parents."""

import pytest

from otel_ml_collector.runs.answers import RunSummary
from otel_ml_collector.runs.traces import Sender, outline_of
from otel_ml_collector.traces.clock_skew import describe_skew, find_skews
from tests.support.otel_ml_collector.spans import NOW_NS
from tests.unit.otel_ml_collector.web.test_waterfall import make_run

THIN = "\u202f"
SHOP, CART = Sender("shop", "1"), Sender("cart", "2")
ROOT = make_run("root", start_ms=0, length_ms=100)


def child(start_ms: float, length_ms: float | None = 10, span_kind: str = "server") -> RunSummary:
    return make_run("child", "root", start_ms=start_ms, length_ms=length_ms, span_kind=span_kind)


def said(run: RunSummary, of_child: Sender = CART, of_root: Sender = SHOP) -> list[str | None]:
    senders = {"child": of_child, "root": of_root}
    return [describe_skew(skew, senders) for skew in find_skews(outline_of([ROOT, run], NOW_NS))]


def test_early() -> None:
    """For a child that starts before its parent, the names of both clocks are reported."""
    expected = f"starts 320{THIN}ms before its parent: the clocks of shop and cart differ"
    assert said(child(-320)) == [expected]


def test_late() -> None:
    """For a child that ends after its parent, a longer run is a possible reason too."""
    expected = (
        f"ends 50{THIN}ms after its parent: the clocks of shop and cart differ, "
        "or it ran longer than its parent"
    )
    assert said(child(90, 60)) == [expected]


@pytest.mark.parametrize("run", [child(0, 100), child(-1, 10), child(50, 51), child(50, None)])
def test_within(run: RunSummary) -> None:
    """A child within its parent, up to a millisecond off, or without an end is not reported."""
    assert find_skews(outline_of([ROOT, run], NOW_NS)) == []


@pytest.mark.parametrize("span_kind", ["consumer", "producer"])
def test_left_for_later(span_kind: str) -> None:
    """A messaging span may end after its parent, but not start before it."""
    assert find_skews(outline_of([ROOT, child(500, 10, span_kind)], NOW_NS)) == []
    assert len(find_skews(outline_of([ROOT, child(-500, 10, span_kind)], NOW_NS))) == 1


def test_one_process() -> None:
    """Within one process, a child may end after its parent, but not start before it."""
    assert said(child(90, 60), SHOP) == [None]
    expected = (
        "before its parent: both spans are from one process, so one of the times was set by hand"
    )
    assert said(child(-320), SHOP) == [f"starts 320{THIN}ms {expected}"]


@pytest.mark.parametrize(
    ("of_child", "names"),
    [(Sender("shop", "2"), "two processes of shop"), (Sender("", "2"), "two processes")],
)
def test_names(of_child: Sender, names: str) -> None:
    """Two processes of one service, or without a service name, are named as two processes."""
    [told] = said(child(-320), of_child)
    assert told is not None
    assert told.endswith(f"the clocks of {names} differ")


def test_sender_unknown() -> None:
    """If the senders are unknown, only the time difference is reported."""
    [early] = find_skews(outline_of([ROOT, child(-320)], NOW_NS))
    assert describe_skew(early, {}) == f"starts 320{THIN}ms before its parent"
    [late] = find_skews(outline_of([ROOT, child(90, 60)], NOW_NS))
    assert describe_skew(late, {}) is None
