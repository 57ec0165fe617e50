"""Evaluates rules: again and again, each window that is over and was not looked at.

States are read from the store before each look and written after it, so that any number of
processes may look: the same windows give the same states and the same events. A process that finds
newer rows of another one leaves the windows to it, and says so.
"""

import logging
import secrets
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

from otel_ml_collector.alerts.conditions import OF_MONITOR, OF_TRUTH
from otel_ml_collector.alerts.find import name_slice
from otel_ml_collector.alerts.measurement import (
    MOST_SLICES,
    MeasuredSlices,
    MeasuredWindows,
    Measurement,
    find_judge_changes,
    measure,
)
from otel_ml_collector.alerts.mutes import MUTE, Mute, make_mute, mute_of
from otel_ml_collector.alerts.notification import (
    MOST_ALERTED_SLICES,
    AlertedSlice,
    Notification,
)
from otel_ml_collector.alerts.rule import (
    ALERT,
    AlertRule,
    FileAlert,
    SliceKey,
    make_rule,
    narrow_filter,
)
from otel_ml_collector.alerts.sentences import describe_slice, describe_value, write_value
from otel_ml_collector.alerts.states import (
    FigureKey,
    MeasuredSlice,
    SliceState,
    advance,
    begin_afresh,
    forget_before,
    is_waiting,
    key_of,
    look_at,
    note_failure,
    read_state,
    set_back,
)
from otel_ml_collector.errors import BadInput, Missing, Unavailable
from otel_ml_collector.filter.figures import Figure
from otel_ml_collector.runs.find import RunsQuery, make_listing
from otel_ml_collector.store.alerts import (
    WHOLE_RULE,
    AlertEvent,
    AlertRow,
    AlertStore,
    read_alert_rows,
)
from otel_ml_collector.store.connection import Connections
from otel_ml_collector.store.documents import Documents, list_all_documents
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.runs import list_keys
from otel_ml_collector.telemetry.service import AlertPass
from otel_ml_collector.times import DAY_NS, HOUR_NS, MINUTE_NS, to_rfc3339
from otel_ml_collector.web.view import path_of
from otel_ml_collector.windows import Window

EVALUATE_S: Final = 60.0
# A look leaves the store to others for half of the time at least.
BUDGET_S: Final = 30.0
# Of windows that were missed, so many of the newest are looked at.
_MOST_MISSED: Final = 100
_MOST_MISSED_MONITORED: Final = 10
# Beside these, windows that wait for their truth; they are looked at again within the hour.
_MOST_WAITING: Final = 3_000
_MOST_WAIT_NS: Final = 90 * DAY_NS
_LOOK_AGAIN_NS: Final = HOUR_NS
# Of what ended, targets are told at each look: also where nobody looked for a while, or where the
# truth of a window came late.
_TOLD_NS: Final = 100 * DAY_NS
# A slice of which nothing was seen for so long is left alone, unless it fires.
_LEFT_NS: Final = 7 * DAY_NS
_SWEEP_NS: Final = DAY_NS
OTHER_JUDGE: Final = "another version of a judge"
NO_RUNS: Final = "no runs"
TOO_FEW: Final = "too few runs or scores"
# Another process that wrote within that time evaluates.
_OTHER_NS: Final = 3 * MINUTE_NS

_logger = logging.getLogger(__name__)


class Announcer(Protocol):
    """Sends changes to targets."""

    def announce(self, notification: Notification) -> None:
        """Store a notification, so that it will be sent; a known one is not stored again."""
        ...

    def withdraw(self, project: str, rule: str) -> None:
        """Tell nothing more of a rule, until it is announced again."""
        ...


@dataclass(slots=True)
class WatchedRule:
    """A rule with the states of its slices.

    Attributes:
        whole: Of the rule as a whole: up to where its windows were looked at.
        reason: Why it could not be asked.
        judge_changes: When other versions of its judges began.
        changed: The slices whose state is to be written.
    """

    project: str
    rule: AlertRule
    whole: SliceState
    states: dict[str, SliceState]
    reason: str = ""
    judge_changes: Sequence[int] = ()
    changed: set[str] = field(default_factory=set)
    events: list[AlertEvent] = field(default_factory=list)

    @property
    def key(self) -> tuple[str, str, str]:
        """The rule as it is judged at present: another one behind a change."""
        return self.project, self.rule.name, self.rule.digest

    @property
    def group(self) -> tuple[object, ...]:
        """The common part of rules that are measured in one question."""
        plan = self.rule.plan
        sure = plan.condition.sure
        return (
            self.project,
            plan.where,
            plan.by,
            plan.window_ns,
            plan.every_ns,
            self.whole.seen_ns,
            self.rule.name if sure else "",
        )

    def put(self, key: str, state: SliceState, reason: str = "") -> None:
        """Take the new state of a slice, and note a change of it."""
        before = self.whole if key == WHOLE_RULE else self.states.get(key, SliceState())
        if state == before:
            return
        if key == WHOLE_RULE:
            self.whole = state
        else:
            self.states[key] = state
        self.changed.add(key)
        if state.state != before.state:
            self.events.append(
                AlertEvent(
                    project=self.project,
                    rule=self.rule.name,
                    time_ns=state.since_ns,
                    slice=key,
                    state=state.state,
                    before=before.state,
                    value=state.value,
                    runs=state.runs,
                    reason=reason,
                )
            )


class AlertEvaluator:
    """Looks at the rules of all projects; one thread at a time may use it.

    Args:
        reader: Reads the store.
        connections: Where states are written.
        announcer: Is told what changed.
        file_alerts: The rules of the configuration file.
        clock: Tells the time, in nanoseconds since the epoch.
        budget_s: So long a look asks the store; windows that it has no time for are looked at by
            the next one.
        trusts_clock: Returns whether old events may be deleted by the clock.
    """

    def __init__(
        self,
        reader: Reader,
        connections: Connections,
        announcer: Announcer,
        file_alerts: Sequence[FileAlert] = (),
        clock: Callable[[], int] = time.time_ns,
        *,
        budget_s: float = BUDGET_S,
        trusts_clock: Callable[[], bool] = lambda: True,
    ) -> None:
        self._reader = reader
        self._trusts_clock = trusts_clock
        self._budget_s = budget_s
        self._left: set[tuple[object, ...]] = set()
        self._store = AlertStore(connections)
        self._documents = Documents(connections)
        self._announcer = announcer
        self._file_alerts = file_alerts
        self._clock = clock
        # What stands there from before may be of this collector, until it was started again.
        self._began_ns = clock()
        self._name = secrets.token_hex(8)
        self._has_filed = False
        self._swept_ns = 0
        self._version = 0
        self._muted: set[tuple[str, str]] = set()
        # When rules are looked at again whose windows wait for truths.
        self._later: dict[tuple[str, str, str], int] = {}
        self.numbers = AlertPass()

    def evaluate(self) -> AlertPass:
        """Look at each window that is over; a second call right behind has nothing to do.

        Raises:
            Unavailable: The store has trouble: what was not written is found again.
        """
        began_s = time.monotonic()
        if not self._has_filed:
            self._file()
            self._has_filed = True
        now_ns = self._clock()
        watched, gone, others = self._read(now_ns)
        windows = self._look(watched, now_ns)
        self._write([*watched, *gone], now_ns)
        self._announce(watched, gone, now_ns)
        if now_ns - self._swept_ns > _SWEEP_NS and self._trusts_clock():
            self._store.sweep(now_ns)
            self._swept_ns = now_ns
        if others and not self.numbers.has_others:
            _logger.warning(
                "Another collector evaluates the rules of alerts of this store: set "
                "alerts.evaluate = false in all but one of them"
            )
        self.numbers = AlertPass(
            rules=len(watched),
            windows=self.numbers.windows + windows,
            failed=sum(bool(item.reason) for item in watched),
            seconds=time.monotonic() - began_s,
            has_others=others,
            ended_ns=self._clock(),
        )
        return self.numbers

    def _file(self) -> None:
        """Save the rules of the configuration file, and delete those that stood there before."""
        wanted = {(alert.project, alert.name): alert for alert in self._file_alerts}
        for project, document in list_all_documents(self._reader, ALERT):
            alert = wanted.get((project, document.name))
            if alert is not None and alert.body == document.body:
                del wanted[project, document.name]
            elif alert is None and document.body.get("origin") == "file":
                self._documents.delete(self._reader, project, ALERT, document.name)
        for (project, name), alert in wanted.items():
            self._documents.save(self._reader, project, ALERT, name, alert.body)

    def _read(self, now_ns: int) -> tuple[list[WatchedRule], list[WatchedRule], bool]:
        """Read rules with their states; those of rules that are gone or were changed begin afresh.

        Returns:
            The rules, rules that are gone while something of them fires, and whether another
            process evaluates.
        """
        documents = list_all_documents(self._reader, ALERT)
        rows: defaultdict[tuple[str, str], list[AlertRow]] = defaultdict(list)
        others = False
        for row in read_alert_rows(self._reader):
            rows[row.project, row.rule].append(row)
            is_other = row.evaluator not in {"", self._name} and row.version > self._began_ns
            others = others or (is_other and now_ns - row.version < _OTHER_NS)
            self._version = max(self._version, row.version)
        watched = []
        for project, document in documents:
            rule = make_rule(document)
            watched.append(_watch(project, rule, rows.pop((project, rule.name), []), now_ns))
        gone = []
        for (project, name), left in rows.items():
            stored = next((row.body.get("rule") for row in left if row.slice == WHOLE_RULE), None)
            if stored and any(read_state(row).is_alert for row in left):
                rule = AlertRule.model_validate(stored)
                item = _watch(project, rule, left, now_ns)
                for key in [WHOLE_RULE, *item.states]:
                    before = item.whole if key == WHOLE_RULE else item.states[key]
                    if before.is_alert:
                        item.put(key, begin_afresh(before, rule.digest, now_ns), "rule deleted")
                gone.append(item)
                self._announcer.withdraw(project, name)
        return watched, gone, others

    def _look(self, watched: Iterable[WatchedRule], now_ns: int) -> int:
        """Judge the windows that are over, of rules with the same runs in one question."""
        groups: defaultdict[tuple[object, ...], list[WatchedRule]] = defaultdict(list)
        judges: defaultdict[str, set[str]] = defaultdict(set)
        self._later = {key: at_ns for key, at_ns in self._later.items() if at_ns > now_ns}
        for item in watched:
            if item.key not in self._later:
                groups[item.group].append(item)
            judges[item.project] |= item.rule.plan.condition.judges
        changes = {
            project: find_judge_changes(self._reader, project, names)
            for project, names in judges.items()
        }
        for item in watched:
            of_project = changes[item.project]
            item.judge_changes = [
                change_ns
                for judge in item.rule.plan.condition.judges
                for change_ns in of_project.get(judge, ())
            ]
        looked = 0
        began_s = time.monotonic()
        # What the last look had no time for comes first.
        ordered = sorted(groups, key=lambda group: group not in self._left)
        self._left = set()
        for group in ordered:
            items = groups[group]
            windows = find_due(items[0].rule, items[0].whole.seen_ns, now_ns)
            if windows is None:
                for item in items:
                    if item.whole.bad_ns:
                        last = MeasuredWindows.newest(item.rule.plan, now_ns)
                        self._try([item], last, now_ns)
                continue
            if looked and time.monotonic() - began_s >= self._budget_s:
                self._left.add(group)
                continue
            looked += len(items) * windows.number
            self._try(items, windows, now_ns)
            for item in items:
                plan = item.rule.plan
                is_behind = item.whole.seen_ns < windows.ends_ns[-1] and not item.reason
                if is_behind and plan.condition.of(OF_TRUTH):
                    self._later[item.key] = now_ns + min(plan.every_ns, _LOOK_AGAIN_NS)
        return looked

    def _try(self, items: Sequence[WatchedRule], windows: MeasuredWindows, now_ns: int) -> None:
        """Measure some rules together, and where that fails each by itself."""
        project, plan = items[0].project, items[0].rule.plan
        figures: dict[FigureKey, Figure] = {}
        for item in items:
            for figure in item.rule.plan.condition.figures:
                figures.setdefault(key_of(figure), figure)
        asked = Measurement.of(project, plan, [*figures.values()], now_ns)
        try:
            measured = measure(self._reader, asked, windows)
        except (BadInput, Missing, Unavailable) as error:
            if len(items) > 1:
                for item in items:
                    self._try([item], windows, now_ns)
                return
            item = items[0]
            item.reason = str(error)
            failed = note_failure(item.whole, now_ns, has_failed=True)
            item.put(WHOLE_RULE, failed, item.reason)
            return
        for item in items:
            item.put(WHOLE_RULE, note_failure(item.whole, now_ns, has_failed=False))
            before = dict(item.states)
            judge_windows(item, measured, windows, now_ns)
            self._date_silence(item, before)

    def _date_silence(self, item: WatchedRule, before: Mapping[str, SliceState]) -> None:
        """Find since when alerts have no runs, of those that have none since this look."""
        for key, state in item.states.items():
            known = before.get(key, SliceState())
            if not state.silent_ns or state.runs or (known.silent_ns and not known.runs):
                continue
            plan = item.rule.plan
            where = narrow_filter(plan.where, SliceKey(key).where(plan.by))
            # The last bad window had runs.
            span = Window(max(state.bad_ns - plan.window_ns, 0), state.seen_ns)
            listing = make_listing(self._reader, RunsQuery(item.project, where))
            newest = list_keys(self._reader, listing, span, 1)
            if newest:
                item.put(key, replace(state, silent_ns=newest[0].start_ns))

    def _write(self, watched: Iterable[WatchedRule], now_ns: int) -> None:
        self._version = max(self._version + 1, now_ns)
        rows, events = [], []
        for item in watched:
            events += item.events
            for key in item.changed:
                state = item.whole if key == WHOLE_RULE else item.states[key]
                body: dict[str, Any] = {
                    "digest": state.digest,
                    "changed_ns": state.changed_ns,
                    "bad_ns": state.bad_ns,
                    "runs": state.runs,
                    "judged": [[end_ns, int(is_bad)] for end_ns, is_bad in state.judged],
                    "silent_ns": state.silent_ns,
                }
                if key == WHOLE_RULE:
                    body |= {"reason": item.reason, "rule": item.rule.model_dump()}
                rows.append(
                    AlertRow(
                        project=item.project,
                        rule=item.rule.name,
                        slice=key,
                        state=state.state,
                        since_ns=state.since_ns,
                        value=state.value,
                        martingale=state.martingale,
                        window_ns=state.seen_ns,
                        body=body,
                        evaluator=self._name,
                        version=self._version,
                    )
                )
        self._store.write(rows, events, self._version)

    def _announce(
        self, watched: Sequence[WatchedRule], gone: Sequence[WatchedRule], now_ns: int
    ) -> None:
        """Tell the targets of rules that fire or ended, without the muted ones."""
        mutes: defaultdict[str, list[Mute]] = defaultdict(list)
        for project, document in list_all_documents(self._reader, MUTE):
            mutes[project].append(make_mute(document))
        for item in [*watched, *gone]:
            name = (item.project, item.rule.name)
            notification, is_muted = make_notification(item, mutes[item.project], now_ns)
            if is_muted and name not in self._muted:
                self._announcer.withdraw(*name)
            self._muted = (self._muted | {name}) if is_muted else (self._muted - {name})
            if notification is not None:
                self._announcer.announce(notification)


def _watch(project: str, rule: AlertRule, rows: Sequence[AlertRow], now_ns: int) -> WatchedRule:
    """Put the stored states beside a rule: those of another rule of its name begin afresh."""
    states = {row.slice: read_state(row) for row in rows}
    whole = states.pop(WHOLE_RULE, SliceState(digest=rule.digest))
    item = WatchedRule(project, rule, whole, states)
    most_ahead_ns = max(rule.plan.window_ns, HOUR_NS)
    for key in [WHOLE_RULE, *states]:
        state = whole if key == WHOLE_RULE else states[key]
        if state.digest != rule.digest:
            fresh = begin_afresh(state, rule.digest, now_ns)
            item.put(key, replace(fresh, seen_ns=0), "rule changed")
        elif state.seen_ns > now_ns + most_ahead_ns:
            item.put(key, set_back(state, now_ns))
    return item


def find_due(rule: AlertRule, seen_ns: int, now_ns: int) -> MeasuredWindows | None:
    """Find the windows that are over and were not looked at; None where there is none.

    A rule begins with the newest one. Of many that were missed the oldest are left out.
    """
    plan = rule.plan
    last_ns = MeasuredWindows.newest(plan, now_ns).first_ns
    most = _MOST_MISSED
    if plan.condition.of(OF_TRUTH):  # they wait long
        delay_ns = _MOST_WAIT_NS if plan.truth_delay_ns is None else plan.truth_delay_ns
        most += min(delay_ns // plan.every_ns, _MOST_WAITING)
    if plan.condition.of(OF_MONITOR):  # each is a question of its own
        most = _MOST_MISSED_MONITORED
    first_ns = last_ns if not seen_ns else (seen_ns // plan.every_ns + 1) * plan.every_ns
    first_ns = max(first_ns, last_ns - (most - 1) * plan.every_ns)
    if first_ns > last_ns:
        return None
    number = (last_ns - first_ns) // plan.every_ns + 1
    return MeasuredWindows(first_ns, plan.every_ns, number, plan.window_ns)


def judge_windows(
    item: WatchedRule, measured: MeasuredSlices, windows: MeasuredWindows, now_ns: int
) -> None:
    """Judge windows in turn, up to the first that waits for its scores or truths."""
    rule, plan = item.rule, item.rule.plan
    for end_ns in windows.ends_ns:
        slices = measured.get(end_ns, {})
        if any(is_waiting(plan, end_ns, own, now_ns) for own in slices.values()):
            if not item.whole.seen_ns:  # so that it begins here, also where newer ones are over
                item.put(WHOLE_RULE, replace(item.whole, seen_ns=end_ns - plan.every_ns))
            return
        every = {key.text for key in slices}
        if not plan.by:
            every.add("[]")
        every |= {
            key
            for key, state in item.states.items()
            if state.is_alert or state.seen_ns > end_ns - _LEFT_NS
        }
        chosen = sorted(every, key=lambda key: (key not in item.states, key))[:MOST_SLICES]
        for key in chosen:
            own = slices.get(SliceKey(key)) or empty_slice(rule)
            before = item.states.get(key, SliceState(since_ns=end_ns, digest=rule.digest))
            fresh = forget_before(before, end_ns, item.judge_changes)
            look = look_at(plan, end_ns, own, fresh, slices=len(chosen), changes=item.judge_changes)
            after = advance(fresh, look, plan)
            reason = "" if fresh == before else OTHER_JUDGE
            if fresh.is_alert and look.word == "no data":
                reason = NO_RUNS if not look.runs else TOO_FEW
            item.put(key, after, reason)
        item.put(WHOLE_RULE, replace(item.whole, seen_ns=end_ns))


def empty_slice(rule: AlertRule) -> MeasuredSlice:
    """Return the figures of a window without runs: sums are 0, all else has no value."""
    numbers = {
        key_of(figure): 0.0
        for figure in rule.plan.condition.figures
        if figure.name in {"runs", "cost", "tokens"} and not figure.before_ns
    }
    return MeasuredSlice(0, numbers)


def make_notification(
    item: WatchedRule, mutes: Sequence[Mute], now_ns: int
) -> tuple[Notification | None, bool]:
    """Make the notification of a rule: None while there is nothing to tell.

    Returns:
        The notification, and whether all that fires is muted.
    """
    project, rule, whole = item.project, item.rule, item.whole
    by = rule.plan.by

    def is_muted(key: str) -> bool:
        text = "[]" if key == WHOLE_RULE else key
        return mute_of(mutes, rule.name, SliceKey(text), by, now_ns) is not None

    every = {**item.states, WHOLE_RULE: whole}
    alarms = {key: state for key, state in every.items() if state.is_alert}
    loud = {key: state for key, state in alarms.items() if not is_muted(key)}
    changed_ns = max(
        (state.changed_ns for key, state in every.items() if not is_muted(key)), default=0
    )
    if not changed_ns or (not loud and (alarms or now_ns - changed_ns > _TOLD_NS)):
        return None, bool(alarms) and not loud
    told = loud or {
        key: state
        for key, state in every.items()
        if state.changed_ns == changed_ns and not is_muted(key)
    }
    worst = _order(rule, {key: state for key, state in told.items() if key != WHOLE_RULE})
    names = [
        SliceKey(key).values[0] if len(by) == 1 else name_slice(SliceKey(key), by)
        for key, _ in worst[:MOST_ALERTED_SLICES]
    ]
    condition = rule.plan.condition
    value = next((state.value for _, state in worst if state.value is not None), None)
    written = "no value" if value is None else write_value(condition.main, value)
    annotations = rule.annotate(", ".join(filter(None, names)) or "all", written)
    if worst and "summary" not in annotations:
        key, state = worst[0]
        annotations["summary"] = describe_slice(
            condition, SliceKey(key).labels(by), state.value, rule.window
        )
    if whole.state == "failed":
        annotations["failed"] = "The rule cannot be evaluated"
    if silent := [state.note for _, state in worst if state.note]:
        annotations["no_data"] = f"{silent[0]} (UTC)"
    start_ns = max((state.seen_ns for _, state in worst), default=now_ns) - rule.plan.window_ns
    return (
        Notification(
            project=project,
            rule=rule.name,
            severity=rule.severity,
            status="firing" if loud else "resolved",
            changed_ns=changed_ns,
            notify=tuple(rule.notify),
            annotations=annotations,
            slices=tuple(
                AlertedSlice(
                    labels=SliceKey(key).labels(by),
                    value=state.value,
                    since_ns=state.since_ns,
                    text=describe_value(condition.main, state.value),
                    path=path_of(
                        "projects",
                        project,
                        "runs",
                        where=narrow_filter(rule.where, SliceKey(key).where(by)),
                        start=to_rfc3339(max(start_ns, 0)),
                    ),
                )
                for key, state in worst[:MOST_ALERTED_SLICES]
            ),
            more_slices=max(len(worst) - MOST_ALERTED_SLICES, 0),
            when=rule.when,
            window=rule.window,
            path=path_of("projects", project, "alert-rule", edit=rule.name),
        ),
        False,
    )


def _order(rule: AlertRule, told: Mapping[str, SliceState]) -> list[tuple[str, SliceState]]:
    """Order slices, the worst first: by the first figure, as the condition's sign says."""
    text = rule.when
    lowest_first = "<" in text and ">" not in text

    def rank(item: tuple[str, SliceState]) -> tuple[bool, float, str]:
        value = item[1].value
        number = 0.0 if value is None else value
        return value is None, number if lowest_first else -number, item[0]

    return sorted(told.items(), key=rank)
