"""Tests of recorded runs over time as one SVG path."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_ml_collector.runs.routes import BARS, draw_bars, lay_out_bars
from otel_ml_collector.windows import Window
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
    """The width of a bar is the least round one whose 45 bars cover the window."""
    _, step_ns = lay_out_bars(Window(NOW_NS - length_s * SECOND_NS, NOW_NS))
    assert step_ns == step_s * SECOND_NS


@given(st.integers(0, 2**61), st.integers(1, 400 * DAY_NS))
def test_cover(start_ns: int, length_ns: int) -> None:
    """The bars cover the window and end within one bar behind it, at a round time."""
    window = Window(start_ns, start_ns + length_ns)
    shown, step_ns = lay_out_bars(window)
    assert shown.start_ns <= window.start_ns < window.end_ns <= shown.end_ns
    assert shown.end_ns - window.end_ns < step_ns
    assert shown.end_ns % step_ns == 0
    assert shown.end_ns - shown.start_ns == BARS * step_ns


def test_draw() -> None:
    """Bars are drawn at their places, the highest one over the whole height."""
    buckets = [
        {"bucket": 0, "runs": 44, "errors": 0},
        {"bucket": 2, "runs": 22, "errors": 11},
        {"bucket": 44, "runs": 1, "errors": 1},
    ]
    drawn = draw_bars(buckets, WINDOW, MINUTE_NS)
    assert drawn.runs == "M0 48v-44.0h8v44.0M20 48v-22.0h8v22.0M440 48v-2.0h8v2.0"
    assert drawn.errors == "M20 48v-11.0h8v11.0M440 48v-2.0h8v2.0"
    assert (drawn.most, drawn.total, drawn.failed) == (44, 67, 12)


def test_draw_nothing() -> None:
    """Without runs nothing is drawn."""
    drawn = draw_bars([], WINDOW, MINUTE_NS)
    assert (drawn.runs, drawn.errors, drawn.most, drawn.total, drawn.failed) == ("", "", 0, 0, 0)


@pytest.mark.parametrize(
    ("step_s", "labels", "step"),
    [
        (1, ["06:59:15", "06:59:37", "07:00:00"], "1 s"),
        (60, ["06:15:00", "06:37:30", "07:00:00"], "1 min"),
        (1_800, ["08:30:00", "19:45:00", "07:00:00"], "30 min"),
        (3_600, ["11-18 10:00", "11-19 08:30", "11-20 07:00"], "1 h"),
        (2 * 86_400, ["08-22 07:00", "10-06 07:00", "11-20 07:00"], "2 d"),
    ],
)
def test_labels(step_s: int, labels: list[str], step: str) -> None:
    """The axis is labelled with times of day, or with days where it is longer than one."""
    window = Window(NOW_NS - BARS * step_s * SECOND_NS, NOW_NS)
    drawn = draw_bars([], window, step_s * SECOND_NS)
    assert (drawn.labels, drawn.step) == (labels, step)
