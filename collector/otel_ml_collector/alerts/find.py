"""Finds the rules of a project with their states, their changes and the firing ones.

Nothing is measured here: the evaluator stores the states. `alerts.history` measures the past.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal

from pydantic import Field

from otel_ml_collector.alerts.mutes import Mute, find_mutes, mute_of
from otel_ml_collector.alerts.rule import (
    ALERT,
    AlertRule,
    Dimension,
    SliceKey,
    make_rule,
    narrow_filter,
)
from otel_ml_collector.alerts.states import STATES, read_state
from otel_ml_collector.answer_body import AnswerBody
from otel_ml_collector.errors import Missing
from otel_ml_collector.store.alerts import (
    WHOLE_RULE,
    AlertEvent,
    AlertRow,
    AlertStateName,
    read_alert_events,
    read_alert_rows,
)
from otel_ml_collector.store.documents import list_documents, read_document
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.times import DAY_NS, HOUR_NS, to_rfc3339

DAYS: Final = 30
_MOST_SLICES: Final = 200
# The worst state of a day: fired, some bad windows, all good, too few runs.
DayWord = Literal["fired", "pending", "quiet", "no data"]
_DAY_WORDS: Final[Mapping[str, DayWord]] = {
    "firing": "fired",
    "failed": "no data",
    "pending": "pending",
    "inactive": "quiet",
    "no data": "no data",
}
_DAY_ORDER: Final[tuple[DayWord, ...]] = ("no data", "quiet", "pending", "fired")


class AlertSlice(AnswerBody):
    """A slice of a rule with its state after its last window."""

    name: str = Field(
        description="Name of the slice, such as client = Remax; empty if the rule does not set `by`"
    )
    labels: dict[str, str]
    state: AlertStateName
    since: str = Field(description="Start of this state, RFC 3339")
    value: float | None = Field(
        description="Value of the first figure of the rule in the last window that was evaluated"
    )
    text: str = Field(
        description="For a rule with worse(...): for whom the newest version is worse, in the "
        "words of the model's page; otherwise empty"
    )
    runs: int = Field(description="Number of runs in the last window that was evaluated")
    window_end: str = Field(description="End of the last evaluated window")
    martingale: float = Field(
        description="For a rule with surely(...): the evidence so far that its condition holds"
    )
    muted: Mute | None = Field(description="Mute that applies to the slice; null if there is none")
    note: str = Field(
        description="For an alert in the state no data: the reason, such as no runs since "
        "03:33, UTC; otherwise empty"
    )
    where: str = Field(description="Filter that lists the runs of the slice")


class AlertState(AnswerBody):
    """A rule with its state."""

    rule: AlertRule
    state: AlertStateName = Field(
        description="State of the rule's worst slice; failed if the rule cannot be evaluated"
    )
    since: str | None = Field(
        description="Start of this state; null if the rule was never evaluated"
    )
    reason: str = Field(description="Why the rule cannot be evaluated; empty if it can")
    is_muted: bool = Field(description="Whether the rule or all of its firing slices are muted")
    muted: Mute | None = Field(
        description="Mute that applies to the whole rule; null if there is none"
    )
    looked: str | None = Field(description="End of the last evaluated window")
    slices: list[AlertSlice] = Field(description="The slices, worst first, at most 200")
    firing: int = Field(description="Number of firing slices")
    note: str = Field(
        description="The `note` of the first slice that is in the state no data; otherwise empty"
    )
    days: list[DayWord] = Field(
        description="What happened to the rule on each of the last 30 days, oldest first"
    )
    fired: int = Field(description="How often the rule started firing in these 30 days")
    brief: int = Field(
        description="How many of the alerts in these 30 days were resolved within an hour"
    )


class Alerts(AnswerBody):
    """The rules of a project with their states, the worst first, and the mutes."""

    alerts: list[AlertState]
    mutes: list[Mute]


class AlertChange(AnswerBody):
    """A change of the state of a slice."""

    rule: str
    slice: str = Field(
        description="Name of the slice, such as client = Remax; empty if the rule does not set `by`"
    )
    labels: dict[str, str]
    time: str = Field(description="End of the window that caused the change, RFC 3339")
    state: AlertStateName
    before: AlertStateName
    value: float | None
    runs: int
    reason: str = Field(
        description="Cause of the change, if a window did not cause it; otherwise empty"
    )


def find_rules(reader: Reader, project: str) -> list[AlertRule]:
    """Find the rules of a project, by name."""
    return [make_rule(document) for document in list_documents(reader, project, ALERT)]


def find_rule(reader: Reader, project: str, name: str) -> AlertRule:
    """Read a rule.

    Raises:
        Missing: There is no rule of that name.
    """
    return make_rule(read_document(reader, project, ALERT, name))


def find_alerts(reader: Reader, project: str, now_ns: int) -> Alerts:
    """Find the rules of a project with their states, the worst first."""
    rules = find_rules(reader, project)
    if not rules:
        return Alerts(alerts=[], mutes=find_mutes(reader, project, now_ns))
    events = read_alert_events(reader, project, _first_day(now_ns))
    return _make_alerts(reader, project, rules, events, now_ns)


def find_alert(reader: Reader, project: str, name: str, now_ns: int) -> AlertState:
    """Find one rule with its state.

    Raises:
        Missing: There is no rule of that name.
    """
    rule = find_rule(reader, project, name)
    events = read_alert_events(reader, project, _first_day(now_ns), name)
    return _make_alerts(reader, project, [rule], events, now_ns).alerts[0]


def find_firing(reader: Reader, project: str, now_ns: int) -> list[AlertState]:
    """Find the rules that are firing or cannot be evaluated, the worst first, with muted ones."""
    every = find_alerts(reader, project, now_ns).alerts
    return [alert for alert in every if alert.state in {"firing", "failed"} or alert.note]


def find_changes_of(
    reader: Reader, project: str, start_ns: int, name: str = "", limit: int = 500
) -> list[AlertChange]:
    """Find the changes since a time, of one rule or all, the newest first.

    Raises:
        Missing: There is no rule of that name.
    """
    rules = {rule.name: rule for rule in find_rules(reader, project)}
    if name and name not in rules:
        raise Missing(f"There is no alert {name[:80]!r}")
    changes = []
    for event in read_alert_events(reader, project, start_ns, name, limit):
        by = rules[event.rule].plan.by if event.rule in rules else ()
        key = SliceKey(event.slice or "[]")
        changes.append(
            AlertChange(
                rule=event.rule,
                slice=name_slice(key, by),
                labels=dict(key.labels(by)),
                time=to_rfc3339(event.time_ns),
                state=event.state,
                before=event.before,
                value=event.value,
                runs=event.runs,
                reason=event.reason,
            )
        )
    return changes


def name_slice(key: SliceKey, by: Sequence[Dimension]) -> str:
    """Name a slice for readers: ``client = Remax``."""
    return " and ".join(f"{name} = {value}" for name, value in key.labels(by).items())


def _first_day(now_ns: int) -> int:
    return (now_ns // DAY_NS - DAYS + 1) * DAY_NS


def _make_alerts(
    reader: Reader,
    project: str,
    rules: Sequence[AlertRule],
    events: Sequence[AlertEvent],
    now_ns: int,
) -> Alerts:
    mutes = find_mutes(reader, project, now_ns)
    rows: defaultdict[str, list[AlertRow]] = defaultdict(list)
    for row in read_alert_rows(reader, project):
        rows[row.rule].append(row)
    changes: defaultdict[str, list[AlertEvent]] = defaultdict(list)
    for event in reversed(events):
        changes[event.rule].append(event)
    alerts = [
        _make_alert(rule, rows[rule.name], changes[rule.name], mutes, now_ns) for rule in rules
    ]
    alerts.sort(key=_rank)
    return Alerts(alerts=alerts, mutes=mutes)


def _rank(alert: AlertState) -> tuple[float, str]:
    """Order rules: the worst first, muted ones before those that are OK."""
    place = float(_place(alert))
    quiet = STATES.index("inactive")
    return (quiet - 0.5 if alert.is_muted and place < quiet else place), alert.rule.name


def _place(thing: AlertState | AlertSlice) -> int:
    """Return the place of a state, the worst first; an alert without data is like a failed rule."""
    is_silent = thing.state == "no data" and thing.note
    return STATES.index("failed" if is_silent else thing.state)


def _make_alert(
    rule: AlertRule,
    rows: Iterable[AlertRow],
    events: Sequence[AlertEvent],
    mutes: Sequence[Mute],
    now_ns: int,
) -> AlertState:
    rows = [row for row in rows if row.body.get("digest") == rule.digest]
    whole = next((row for row in rows if row.slice == WHOLE_RULE), None)
    slices = [_make_slice(rule, row, mutes, now_ns) for row in rows if row.slice != WHOLE_RULE]
    slices.sort(key=lambda part: (_place(part), part.muted is not None, part.name))
    has_failed = whole is not None and whole.state == "failed"
    state: AlertStateName = slices[0].state if slices else "no data"
    if has_failed and state != "firing":
        state = "failed"
    whole_mute = mute_of(
        [mute for mute in mutes if not mute.where], rule.name, SliceKey("[]"), (), now_ns
    )
    firing = [part for part in slices if part.state == "firing"]
    since = [part.since for part in slices if part.state == state]
    began: dict[str, int] = {}
    fired = brief = 0
    for event in events:
        if event.state == "firing":
            fired += 1
            began[event.slice] = event.time_ns
        elif event.before == "firing" and event.slice in began:
            brief += event.time_ns - began.pop(event.slice) <= HOUR_NS
    return AlertState(
        rule=rule,
        state=state,
        since=to_rfc3339(whole.since_ns)
        if has_failed and whole and state == "failed"
        else min(since, default=None),
        reason=str(whole.body.get("reason", "")) if has_failed and whole else "",
        is_muted=whole_mute is not None or bool(firing and all(part.muted for part in firing)),
        muted=whole_mute,
        looked=max((part.window_end for part in slices), default=None)
        or (to_rfc3339(whole.window_ns) if whole and whole.window_ns else None),
        slices=slices[:_MOST_SLICES],
        firing=len(firing),
        note=next((part.note for part in slices if part.note), ""),
        days=_draw_days(rows, events, now_ns),
        fired=fired,
        brief=brief,
    )


def _make_slice(rule: AlertRule, row: AlertRow, mutes: Sequence[Mute], now_ns: int) -> AlertSlice:
    by, key = rule.plan.by, SliceKey(row.slice)
    state = read_state(row)
    return AlertSlice(
        name=name_slice(key, by),
        labels=dict(key.labels(by)),
        state=row.state,
        since=to_rfc3339(row.since_ns),
        value=row.value,
        text=state.text,
        runs=state.runs,
        window_end=to_rfc3339(row.window_ns),
        martingale=row.martingale,
        muted=mute_of(mutes, rule.name, key, by, now_ns),
        note=state.note,
        where=narrow_filter(rule.where, key.where(by)),
    )


def _draw_days(
    rows: Sequence[AlertRow], events: Sequence[AlertEvent], now_ns: int
) -> list[DayWord]:
    """Return the worst state of each day, over all slices."""
    first_ns = _first_day(now_ns)
    worst = [0] * DAYS
    by_slice: defaultdict[str, list[AlertEvent]] = defaultdict(list)
    for event in events:
        by_slice[event.slice].append(event)
    for row in rows:
        if row.slice == WHOLE_RULE:
            continue
        own = by_slice[row.slice]
        # Before its first change, the slice had the earlier state of that change.
        if own:
            start_ns = first_ns if own[0].before != "inactive" or own[0].reason else own[0].time_ns
            spans = [(start_ns, own[0].time_ns, own[0].before)]
        else:
            spans = [(max(row.since_ns, first_ns), row.window_ns, row.state)]
        for event, later in zip(own, [*own[1:], None][: len(own)], strict=True):
            end_ns = row.window_ns if later is None else later.time_ns
            spans.append((event.time_ns, end_ns, event.state))
        for start_ns, end_ns, state in spans:
            rank = _DAY_ORDER.index(_DAY_WORDS[state])
            for day in range(
                max((start_ns - first_ns) // DAY_NS, 0),
                min((max(end_ns, start_ns + 1) - 1 - first_ns) // DAY_NS + 1, DAYS),
            ):
                worst[day] = max(worst[day], rank)
    return [_DAY_ORDER[rank] for rank in worst]
