"""Tests of the chart of a rule's past."""

import pytest

from otel_ml_collector.alerts.history import (
    AlertHistory,
    AlertHistorySlice,
    AlertPast,
    AlertPoint,
    make_unsaved,
)
from otel_ml_collector.alerts.past import draw_past
from otel_ml_collector.alerts.rule import WantedAlert
from otel_ml_collector.alerts.states import WindowWord
from otel_ml_collector.times import HOUR_NS, to_rfc3339


def make_history(*windows: tuple[float, WindowWord]) -> AlertHistory:
    """Make the history of a rule on the error share from one value and word per window."""
    points = [
        AlertPoint(
            time=to_rfc3339((place + 2) * HOUR_NS),
            value=value,
            runs=1,
            word=word,
            state="inactive",
        )
        for place, (value, word) in enumerate(windows)
    ]
    week = AlertPast(
        start=points[0].time,
        end=points[-1].time,
        is_complete=True,
        windows=len(points),
        judged=0,
        fired=0,
        fired_days=0,
        sentence="The rule would not have fired in the last 7 days.",
        unknown=[],
    )
    return AlertHistory(
        rule=make_unsaved(WantedAlert(when="error_share > 0.25", window="1h", every="1h")),
        start=points[0].time,
        end=points[-1].time,
        windows=len(points),
        judged=sum(word != "no data" for _, word in windows),
        bad=0,
        fired=0,
        sentence=week.sentence,
        week=week,
        brief=0,
        firings=[],
        slices=[AlertHistorySlice(name="", labels={}, points=points)],
    )


def test_unjudged_windows_are_gaps() -> None:
    """A window with too few runs is a gap, not a spike above the limit."""
    [curve] = draw_past(
        make_history((0.0, "good"), (0.1, "good"), (1.0, "no data"), (0.1, "good"), (0.0, "good"))
    ).curves
    assert curve.line.count("M") == 2
    assert "L" in curve.line
    # The axis ends at a round number above the limit of 25 %, because no drawn value is higher.
    assert curve.limit == pytest.approx(25)
    assert [label.text for label in curve.up] == ["0\u202f%", "10\u202f%", "20\u202f%", "30\u202f%"]


def test_nothing_judged() -> None:
    """Without a judged window, no chart is drawn."""
    past = draw_past(make_history((1.0, "no data"), (1.0, "no data")))
    assert past.curves == []


def test_axis_of_verdicts() -> None:
    """For a verdict, the axis has two labels: "worse" and "not worse"."""
    worse = 'worse("grounded", than="previous 7d")'
    history = make_history((0.0, "good"), (1.0, "bad"), (0.0, "good"))
    rule = make_unsaved(WantedAlert(when=worse, window="1h", every="1h"))
    [curve] = draw_past(history.model_copy(update={"rule": rule})).curves
    assert [(label.at, label.text) for label in curve.up] == [(150.0, "not worse"), (0.0, "worse")]
