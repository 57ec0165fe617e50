"""Tests of the bar chart of recorded runs over time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_ml_collector.traces.run_list import BARS, choose_bar_ns, draw_bars
from otel_ml_collector.windows import Window, read_zone
from tests.support.otel_ml_collector.spans import DAY_NS, NOW_NS, SECOND_NS

WINDOW = Window(NOW_NS - 45 * 60 * SECOND_NS, NOW_NS)
MINUTE_NS = 60 * SECOND_NS


@pytest.mark.parametrize(
    ("length_s", "step_s"),
    [
        (1, 1),
        (44, 1),
        (45, 2),
        (88, 2),
        (44 * 60, 60),
        (44 * 60 + 1, 120),
        (44 * 3_600, 3_600),
        (44 * 86_400, 86_400),
        (45 * 86_400, 2 * 86_400),
        (400 * 86_400, 10 * 86_400),
    ],
)
def test_step(length_s: int, step_s: int) -> None:
    """The width of a bar is the smallest round one for which 45 bars cover the window."""
    step_ns = choose_bar_ns(Window(NOW_NS - length_s * SECOND_NS, NOW_NS))
    assert step_ns == step_s * SECOND_NS


@given(st.integers(0, 2**61), st.integers(1, 400 * DAY_NS))
def test_cover(start_ns: int, length_ns: int) -> None:
    """At most 45 bars cover the window. The first starts with it, the others at round times."""
    window = Window(start_ns, start_ns + length_ns)
    step_ns = choose_bar_ns(window)
    edges_ns = window.cut(step_ns).edges_ns
    assert (edges_ns[0], edges_ns[-1]) == (window.start_ns, window.end_ns)
    assert len(edges_ns) - 1 <= BARS
    assert all(edge_ns % min(step_ns, DAY_NS) == 0 for edge_ns in edges_ns[1:-1])


def test_draw() -> None:
    """Bars are drawn at their places, and the highest one has the full height."""
    buckets = [
        {"bucket": WINDOW.start_ns, "runs": 44, "errors": 0},
        {"bucket": WINDOW.start_ns + 2 * MINUTE_NS, "runs": 22, "errors": 11},
        {"bucket": WINDOW.start_ns + 44 * MINUTE_NS, "runs": 1, "errors": 1},
    ]
    drawn = draw_bars(buckets, WINDOW.cut(MINUTE_NS))
    assert drawn.runs == "M0 48v-44.0h8v44.0M20 48v-22.0h8v22.0M440 48v-2.0h8v2.0"
    assert drawn.errors == "M20 48v-11.0h8v11.0M440 48v-2.0h8v2.0"
    assert (drawn.most, drawn.total, drawn.failed) == (44, 67, 12)


def test_draw_nothing() -> None:
    """Without runs, nothing is drawn."""
    drawn = draw_bars([], WINDOW.cut(MINUTE_NS))
    assert (drawn.runs, drawn.errors, drawn.most, drawn.total, drawn.failed) == ("", "", 0, 0, 0)


@pytest.mark.parametrize(
    ("step_s", "labels", "step"),
    [
        (1, ["06:59:15", "06:59:37", "07:00:00"], "1 s"),
        (60, ["06:15:00", "06:37:30", "07:00:00"], "1 min"),
        (1_800, ["Thu 19 Nov 08:30", "Thu 19 Nov 19:45", "Fri 20 Nov 07:00"], "30 min"),
        (3_600, ["Wed 18 Nov 10:00", "Thu 19 Nov 08:30", "Fri 20 Nov 07:00"], "1 h"),
        (2 * 86_400, ["Sat 22 Aug", "Tue 06 Oct", "Fri 20 Nov"], "2 d"),
    ],
)
def test_labels(step_s: int, labels: list[str], step: str) -> None:
    """Axis labels are times for windows below an hour, dates above a week, otherwise both."""
    window = Window(NOW_NS - BARS * step_s * SECOND_NS, NOW_NS)
    drawn = draw_bars([], window.cut(step_s * SECOND_NS))
    assert (drawn.labels, drawn.step, drawn.zone) == (labels, step, "UTC")


def test_first_bar() -> None:
    """A window that starts within a bar cuts that bar, and the axis uses the time of its zone."""
    start_ns = NOW_NS - 90 * MINUTE_NS + 1
    window = Window(start_ns, NOW_NS, read_zone("Europe/Berlin"))
    drawn = draw_bars([{"bucket": start_ns, "runs": 3, "errors": 0}], window.cut(60 * MINUTE_NS))
    assert drawn.edges == [
        "2026-11-20T05:30:00.000000001Z",
        "2026-11-20T06:00:00.000000000Z",
        "2026-11-20T07:00:00.000000000Z",
    ]
    assert drawn.labels == ["Fri 20 Nov 06:30", "Fri 20 Nov 07:15", "Fri 20 Nov 08:00"]
    assert (drawn.bars, drawn.zone, drawn.total) == (2, "Europe/Berlin", 3)
