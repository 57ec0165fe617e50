"""Checks when a rule would have fired. It judges past windows in the same way as the evaluator.

Stored states are not used, so the result is for the rule as it is now.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from pydantic import Field

from otel_ml_collector.alerts.conditions import OF_MONITOR
from otel_ml_collector.alerts.find import name_slice
from otel_ml_collector.alerts.measurement import (
    MOST_SLICES,
    MeasuredSlices,
    MeasuredWindows,
    Measurement,
    find_judge_changes,
    measure,
)
from otel_ml_collector.alerts.medians import WeekMedians
from otel_ml_collector.alerts.names import find_unknown
from otel_ml_collector.alerts.rule import AlertRule, SliceKey, WantedAlert
from otel_ml_collector.alerts.sentences import explain_unjudged, write_past
from otel_ml_collector.alerts.states import (
    JudgedWindow,
    MeasuredSlice,
    SliceState,
    WindowWord,
    advance,
    empty_slice,
    forget_before,
    judge_window,
    needs_usual,
    note_usual,
)
from otel_ml_collector.answer_body import AnswerBody
from otel_ml_collector.errors import BadInput, Missing, StoreTimeout, Unavailable
from otel_ml_collector.store.alerts import AlertStateName
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.times import DAY_NS, HOUR_NS, from_rfc3339, to_rfc3339

# Maximum number of windows that are checked: the newest.
MOST_WINDOWS: Final = 3_000
# Seconds that a check may take; then the newest windows are reported, which are measured first.
CHECK_S: Final = 5.0
SAVE_S: Final = 3.0
SAVED_NS: Final = 7 * DAY_NS
# Maximum number of windows that are measured in one query. A check begins with a day, or with a few
# windows if each takes several queries, and doubles the number while there is time.
_AT_ONCE: Final = 500
_FIRST_MONITORED: Final = 8
# Maximum number of measured slices, summed over windows, that are kept in memory.
_MOST_CELLS: Final = 100_000
_MOST_DRAWN: Final = 8
_MOST_FIRINGS: Final = 500


class AlertPoint(AnswerBody):
    """A window of a slice."""

    time: str = Field(description="End of the window, RFC 3339")
    value: float | None = Field(description="Value of the first figure of the rule in the window")
    runs: int
    word: WindowWord
    state: AlertStateName = Field(description="State after the window")


class AlertFiring(AnswerBody):
    """A time in which a slice would have fired."""

    slice: str = Field(
        description="Name of the slice, such as client = Remax; empty if the rule does not set `by`"
    )
    start: str
    end: str | None = Field(description="When the alert ended; null if it still fires")
    hours: float
    worst: float | None = Field(description="Worst value while the alert fired")


class AlertHistorySlice(AnswerBody):
    """The windows of a slice, the oldest first."""

    name: str
    labels: dict[str, str]
    points: list[AlertPoint]


class AlertPast(AnswerBody):
    """How often a rule would have fired in a period."""

    start: str = Field(description="End of the first window that was checked, RFC 3339")
    end: str = Field(description="End of the last window, RFC 3339")
    is_complete: bool = Field(
        description="Whether the whole period was checked; false if that would take too long"
    )
    windows: int = Field(description="Number of windows that were checked")
    judged: int = Field(description="Number of windows with enough runs, added up over all slices")
    fired: int = Field(description="How often the rule would have fired")
    fired_days: int = Field(description="Number of days (UTC) on which the rule would have fired")
    sentence: str = Field(
        description="A sentence that says how often the rule would have fired, and the "
        "sentences of `unknown`"
    )
    unknown: list[str] = Field(
        description="Judges, scores and tags in the condition that the project does not have yet, "
        "a sentence for each. Usually empty"
    )


class AlertHistory(AnswerBody):
    """When a rule would have fired."""

    rule: AlertRule
    sentence: str = Field(description="How often the rule would have fired, in one sentence")
    week: AlertPast = Field(description="How often the rule would have fired in the last 7 days")
    start: str = Field(description="End of the first window, RFC 3339")
    end: str = Field(description="End of the last window, RFC 3339")
    windows: int = Field(description="Number of windows, at most 3,000")
    judged: int = Field(description="Number of windows with enough runs, added up over all slices")
    bad: int
    fired: int = Field(description="How often the rule would have started firing")
    brief: int = Field(description="How many of the alerts would have been resolved within an hour")
    firings: list[AlertFiring] = Field(
        description="The alerts that would have fired, newest first, at most 500"
    )
    slices: list[AlertHistorySlice] = Field(
        description="The 8 slices that would have fired longest, with all their windows"
    )


@dataclass(slots=True)
class _Replayed:
    state: SliceState
    points: list[AlertPoint] = field(default_factory=list)
    firings: list[AlertFiring] = field(default_factory=list)
    began_ns: int = 0
    worst: float | None = None


def make_unsaved(wanted: WantedAlert, name: str = "") -> AlertRule:
    """Make a rule without saving it, to check it on past runs."""
    return AlertRule(name=name, version=0, saved_time=to_rfc3339(0), **wanted.model_dump())


def check_saved(reader: Reader, project: str, rule: AlertRule, now_ns: int) -> AlertPast:
    """Find how often a rule would have fired in the last 7 days, in about three seconds at most.

    Errors are not raised, because the rule is already saved. If past runs cannot be checked,
    `sentence` of the result gives the reason.
    """
    try:
        return check_rule(reader, project, rule, now_ns - SAVED_NS, now_ns, budget_s=SAVE_S).week
    except (BadInput, Missing, StoreTimeout, Unavailable) as error:
        now = to_rfc3339(now_ns)
        return AlertPast(
            start=now,
            end=now,
            is_complete=False,
            windows=0,
            judged=0,
            fired=0,
            fired_days=0,
            sentence=f"Past runs could not be checked: {error}",
            unknown=[],
        )


def check_rule(
    reader: Reader,
    project: str,
    rule: AlertRule,
    start_ns: int,
    now_ns: int,
    *,
    budget_s: float = CHECK_S,
) -> AlertHistory:
    """Find when a rule would have fired on past runs, from a start time until now.

    Args:
        reader: Reads the store.
        project: The project.
        rule: The rule, saved or not.
        start_ns: Start of the checked period, in nanoseconds since 1970.
        now_ns: The current time, in nanoseconds since 1970.
        budget_s: Number of seconds after which no more time windows are measured. The newest
            windows are measured first, so older ones can be missing from the result.

    Raises:
        BadInput: The filter or a figure of the rule is invalid.
        Missing: The rule uses ground truth, as in ``accuracy("churned") < 0.9``, and the project
            has no prediction target with this name.
        StoreTimeout: Not even the newest windows could be measured in time.
    """
    plan = rule.plan
    last_ns = MeasuredWindows.newest(plan, now_ns).first_ns
    first_ns = -(-start_ns // plan.every_ns) * plan.every_ns
    wanted_ns = min(max(first_ns, plan.window_ns), last_ns)
    first_ns = max(wanted_ns, last_ns - (MOST_WINDOWS - 1) * plan.every_ns)
    asked = Measurement.of(project, plan, plan.condition.figures, now_ns)
    changes = [
        change_ns
        for of_judge in find_judge_changes(reader, project, plan.condition.judges).values()
        for change_ns in of_judge
    ]
    ends_ns = range(first_ns, last_ns + 1, plan.every_ns)
    measured, ends_ns = _measure_newest(reader, asked, rule, ends_ns, budget_s)
    main = replace(asked, figures=(plan.condition.main,), sure=None)
    medians = WeekMedians(reader, main, plan, changes, known=measured)
    replayed: dict[str, _Replayed] = {} if plan.by else {"[]": _fresh(rule)}
    for end_ns in ends_ns:
        slices = {key.text: own for key, own in measured.get(end_ns, {}).items()}
        for key in slices:
            if key not in replayed and len(replayed) < MOST_SLICES:
                replayed[key] = _fresh(rule)
        for key, item in replayed.items():
            own = slices.get(key) or empty_slice(plan)
            fresh = forget_before(item.state, end_ns, changes)
            window = judge_window(plan, end_ns, own, fresh, slices=len(replayed), changes=changes)
            if needs_usual(fresh, window, plan):
                fresh = note_usual(fresh, medians.find(SliceKey(key), fresh.since_ns))
            _note(item, window, advance(fresh, window, plan), rule=rule, key=key)
    for key, item in replayed.items():
        if item.state.state == "firing":
            item.firings.append(_make_firing(item, rule, key, last_ns, is_over=False))
    unknown = find_unknown(reader, project, plan.condition, now_ns, where=plan.where, by=plan.by)
    return _make_history(rule, ends_ns, replayed, since_ns=(start_ns, now_ns), unknown=unknown)


def _measure_newest(
    reader: Reader, asked: Measurement, rule: AlertRule, ends_ns: range, budget_s: float
) -> tuple[MeasuredSlices, range]:
    """Measure windows, the newest first, while there is time.

    Returns:
        The measured figures, and the ends of the measured windows in ascending order.
    """
    plan = rule.plan
    measured: dict[int, Mapping[SliceKey, MeasuredSlice]] = {}
    is_monitored = bool(plan.condition.of(OF_MONITOR))
    at_once = _FIRST_MONITORED if is_monitored else max(DAY_NS // plan.every_ns, 1)
    began_s = time.monotonic()
    left, window_s = len(ends_ns), 0.0
    while left:
        part = ends_ns[max(left - min(at_once, _AT_ONCE), 0) : left]
        part_began_s = time.monotonic()
        if measured and part_began_s - began_s + window_s * len(part) > budget_s:
            break
        windows = MeasuredWindows(part[0], plan.every_ns, len(part), plan.window_ns)
        try:
            found = measure(reader, asked, windows)
        except StoreTimeout:
            if not measured:
                raise
            break
        measured |= {end_ns: found.get(end_ns, {}) for end_ns in part}
        left -= len(part)
        at_once *= 2
        window_s = (time.monotonic() - part_began_s) / len(part)
        if sum(map(len, measured.values())) > _MOST_CELLS:
            break
    return measured, ends_ns[left:]


def _fresh(rule: AlertRule) -> _Replayed:
    return _Replayed(SliceState(digest=rule.digest))


def _note(
    item: _Replayed, window: JudgedWindow, after: SliceState, *, rule: AlertRule, key: str
) -> None:
    """Add a judged window to the history of a slice, and the alert if it ended there."""
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
    rule: AlertRule,
    ends_ns: Sequence[int],
    replayed: Mapping[str, _Replayed],
    *,
    since_ns: tuple[int, int],
    unknown: Sequence[str],
) -> AlertHistory:
    """Make the history of a rule from its replayed windows; `since_ns` is the wanted period."""
    firings = [firing for item in replayed.values() for firing in item.firings]
    firings.sort(key=lambda firing: (firing.start, firing.slice), reverse=True)
    points = [point for item in replayed.values() for point in item.points]
    start_ns, now_ns = since_ns

    def fired_for(key: str) -> tuple[float, str]:
        return -sum(firing.hours for firing in replayed[key].firings), key

    def summarize(start_ns: int) -> AlertPast:
        return _summarize(
            rule, ends_ns, firings, points, period_ns=(start_ns, now_ns), unknown=unknown
        )

    whole = summarize(start_ns)
    drawn = sorted(replayed, key=fired_for)[:_MOST_DRAWN]
    return AlertHistory(
        rule=rule,
        sentence=whole.sentence,
        week=summarize(max(start_ns, now_ns - SAVED_NS)),
        start=whole.start,
        end=whole.end,
        windows=len(ends_ns),
        judged=whole.judged,
        bad=sum(point.word == "bad" for point in points),
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


def _summarize(
    rule: AlertRule,
    ends_ns: Sequence[int],
    firings: Iterable[AlertFiring],
    points: Sequence[AlertPoint],
    *,
    period_ns: tuple[int, int],
    unknown: Sequence[str],
) -> AlertPast:
    """Count how often a rule fired in a period, from the windows of it that were checked."""
    start_ns, now_ns = period_ns
    own_ns = [end_ns for end_ns in ends_ns if end_ns >= start_ns] or [ends_ns[-1]]
    first, last = to_rfc3339(own_ns[0]), to_rfc3339(own_ns[-1])
    own = [point for point in points if point.time >= first]
    judged = sum(point.word != "no data" for point in own)
    fired = [firing for firing in firings if firing.end is None or firing.end > first]
    days = {
        day
        for firing in fired
        for day in range(
            from_rfc3339(max(firing.start, first), "start") // DAY_NS,
            from_rfc3339(firing.end or last, "end") // DAY_NS + 1,
        )
    }
    is_complete = own_ns[0] < max(start_ns, rule.plan.window_ns) + rule.plan.every_ns
    length_ns = now_ns - (start_ns if is_complete else own_ns[0] - rule.plan.window_ns)
    if judged:
        past = write_past(len(fired), len(days), length_ns, is_complete=is_complete)
        sentence = " ".join([past, *unknown])
    else:
        most_runs = max((point.runs for point in own), default=0)
        main = rule.plan.condition.main
        sentence = explain_unjudged(
            len(own_ns), rule.min_runs, most_runs=most_runs, main=main, unknown=unknown
        )
    return AlertPast(
        start=first,
        end=last,
        is_complete=is_complete,
        windows=len(own_ns),
        judged=judged,
        fired=len(fired),
        fired_days=len(days),
        sentence=sentence,
        unknown=[*unknown],
    )
