"""When a rule would have fired: its past windows, measured and judged as the evaluator does.

Stored states are not used, so the past is that of the rule as it is now.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from pydantic import BaseModel, Field

from otel_ml_collector.alerts.conditions import OF_MONITOR
from otel_ml_collector.alerts.evaluation import empty_slice
from otel_ml_collector.alerts.find import name_slice
from otel_ml_collector.alerts.measurement import (
    MOST_SLICES,
    MeasuredWindows,
    Measurement,
    find_judge_changes,
    measure,
)
from otel_ml_collector.alerts.rule import AlertRule, SliceKey, WantedAlert
from otel_ml_collector.alerts.states import (
    JudgedWindow,
    SliceState,
    WindowWord,
    advance,
    forget_before,
    judge_window,
)
from otel_ml_collector.store.alerts import AlertStateName
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.times import HOUR_NS, to_rfc3339

# For a longer time, the newest windows are checked.
MOST_WINDOWS: Final = 3_000
_AT_ONCE: Final = 500
# Figures of the monitor are measured one window at a time.
_MOST_MONITORED: Final = 60
_MOST_MONITORED_BY: Final = 15
_MOST_DRAWN: Final = 8
_MOST_FIRINGS: Final = 500


class AlertPoint(BaseModel):
    """A window of a slice."""

    time: str = Field(description="End of the window, RFC 3339")
    value: float | None = Field(description="The first figure of the rule")
    runs: int
    word: WindowWord
    state: AlertStateName = Field(description="State after the window")


class AlertFiring(BaseModel):
    """A time in which a slice would have fired."""

    slice: str = Field(description="Such as client = Remax; empty if the rule has no by")
    start: str
    end: str | None = Field(description="Null while it is firing")
    hours: float
    worst: float | None = Field(description="Worst value in that time")


class AlertHistorySlice(BaseModel):
    """The windows of a slice, the oldest first."""

    name: str
    labels: dict[str, str]
    points: list[AlertPoint]


class AlertHistory(BaseModel):
    """When a rule would have fired."""

    rule: AlertRule
    start: str = Field(description="End of the first window, RFC 3339")
    end: str = Field(description="End of the last window, RFC 3339")
    windows: int = Field(description="Number of windows, at most 3,000")
    judged: int = Field(description="Windows of slices with enough runs")
    bad: int
    fired: int = Field(description="How often it would have started firing")
    brief: int = Field(description="How many of these would have been resolved within an hour")
    firings: list[AlertFiring] = Field(description="The newest first, at most 500")
    slices: list[AlertHistorySlice] = Field(
        description="The 8 slices that fired longest, with each window"
    )


@dataclass(slots=True)
class _Replayed:
    state: SliceState
    points: list[AlertPoint] = field(default_factory=list)
    firings: list[AlertFiring] = field(default_factory=list)
    began_ns: int = 0
    worst: float | None = None


def make_unsaved(wanted: WantedAlert, name: str = "") -> AlertRule:
    """Make a rule that is not saved, to check it."""
    return AlertRule(name=name, version=0, saved_time=to_rfc3339(0), **wanted.model_dump())


def check_rule(
    reader: Reader, project: str, rule: AlertRule, start_ns: int, now_ns: int
) -> AlertHistory:
    """Find when a rule would have fired since a time.

    Raises:
        BadInput: The filter or a figure is invalid.
        Missing: There is no such prediction target.
    """
    plan = rule.plan
    is_monitored = bool(plan.condition.of(OF_MONITOR))
    last_ns = MeasuredWindows.newest(plan, now_ns).first_ns
    most = MOST_WINDOWS
    if is_monitored:
        most = _MOST_MONITORED_BY if plan.by else _MOST_MONITORED
    first_ns = -(-start_ns // plan.every_ns) * plan.every_ns
    first_ns = min(max(first_ns, last_ns - (most - 1) * plan.every_ns, plan.window_ns), last_ns)
    ends_ns = range(first_ns, last_ns + 1, plan.every_ns)
    asked = Measurement.of(project, plan, plan.condition.figures, now_ns)
    changes = [
        change_ns
        for of_judge in find_judge_changes(reader, project, plan.condition.judges).values()
        for change_ns in of_judge
    ]
    replayed: dict[str, _Replayed] = {} if plan.by else {"[]": _fresh(rule)}
    for place in range(0, len(ends_ns), _AT_ONCE):
        some_ns = ends_ns[place : place + _AT_ONCE]
        windows = MeasuredWindows(some_ns[0], plan.every_ns, len(some_ns), plan.window_ns)
        measured = measure(reader, asked, windows)
        for end_ns in some_ns:
            slices = {key.text: own for key, own in measured.get(end_ns, {}).items()}
            for key in slices:
                if key not in replayed and len(replayed) < MOST_SLICES:
                    replayed[key] = _fresh(rule)
            for key, item in replayed.items():
                own = slices.get(key) or empty_slice(rule)
                fresh = forget_before(item.state, end_ns, changes)
                window = judge_window(
                    plan, end_ns, own, fresh, slices=len(replayed), changes=changes
                )
                _note(item, window, advance(fresh, window, plan), rule=rule, key=key)
    for key, item in replayed.items():
        if item.state.state == "firing":
            item.firings.append(_make_firing(item, rule, key, last_ns, is_over=False))
    return _make_history(rule, ends_ns, replayed)


def _fresh(rule: AlertRule) -> _Replayed:
    return _Replayed(SliceState(digest=rule.digest))


def _note(
    item: _Replayed, window: JudgedWindow, after: SliceState, *, rule: AlertRule, key: str
) -> None:
    """Note a window of a slice."""
    end_ns, word, value = window.end_ns, window.word, window.value
    fired, fires = item.state.state == "firing", after.state == "firing"
    if fires and not fired:
        item.began_ns, item.worst = end_ns, value
    elif fires and value is not None:
        is_low = "<" in rule.when and ">" not in rule.when
        choose = min if is_low else max
        item.worst = value if item.worst is None else choose(item.worst, value)
    elif fired and not fires:
        item.firings.append(_make_firing(item, rule, key, end_ns, is_over=True))
    item.points.append(
        AlertPoint(
            time=to_rfc3339(end_ns),
            value=value,
            runs=window.runs,
            word=word,
            state=after.state,
        )
    )
    item.state = after


def _make_firing(
    item: _Replayed, rule: AlertRule, key: str, end_ns: int, *, is_over: bool
) -> AlertFiring:
    return AlertFiring(
        slice=name_slice(SliceKey(key), rule.plan.by),
        start=to_rfc3339(item.began_ns),
        end=to_rfc3339(end_ns) if is_over else None,
        hours=(end_ns - item.began_ns) / HOUR_NS,
        worst=item.worst,
    )


def _make_history(
    rule: AlertRule, ends_ns: Sequence[int], replayed: Mapping[str, _Replayed]
) -> AlertHistory:
    firings = [firing for item in replayed.values() for firing in item.firings]
    firings.sort(key=lambda firing: (firing.start, firing.slice), reverse=True)
    words = [point.word for item in replayed.values() for point in item.points]

    def fired_for(key: str) -> tuple[float, str]:
        return -sum(firing.hours for firing in replayed[key].firings), key

    drawn = sorted(replayed, key=fired_for)[:_MOST_DRAWN]
    return AlertHistory(
        rule=rule,
        start=to_rfc3339(ends_ns[0]),
        end=to_rfc3339(ends_ns[-1]),
        windows=len(ends_ns),
        judged=sum(word != "no data" for word in words),
        bad=words.count("bad"),
        fired=len(firings),
        brief=sum(firing.end is not None and firing.hours <= 1 for firing in firings),
        firings=firings[:_MOST_FIRINGS],
        slices=[
            AlertHistorySlice(
                name=name_slice(SliceKey(key), rule.plan.by),
                labels=dict(SliceKey(key).labels(rule.plan.by)),
                points=replayed[key].points,
            )
            for key in drawn
        ],
    )
