"""Evaluates alert rules: each pass judges the windows that have ended since the last one.

States are read from the store before a pass and written after it. So several processes can
evaluate: the same windows give the same states and events. A process that finds newer rows of
another process leaves the windows to it and logs a warning.
"""

import logging
import secrets
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from otel_ml_collector.access import SETTINGS_FILE, acting_as
from otel_ml_collector.alerts.conditions import OF_MONITOR, OF_TRUTH
from otel_ml_collector.alerts.find import name_slice
from otel_ml_collector.alerts.history import SAVE_S, check_saved
from otel_ml_collector.alerts.measurement import (
    MOST_SLICES,
    MeasuredSlices,
    MeasuredWindows,
    Measurement,
    find_judge_changes,
    measure,
)
from otel_ml_collector.alerts.medians import WeekMedians
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
    SliceState,
    advance,
    begin_afresh,
    empty_slice,
    forget_before,
    is_waiting,
    judge_window,
    key_of,
    needs_usual,
    note_failure,
    note_usual,
    read_state,
    set_back,
    write_state,
)
from otel_ml_collector.background import BackgroundJob, StoreChanges
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
from otel_ml_collector.store.open_runs import CRASHED_RUNS
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.runs import list_keys
from otel_ml_collector.telemetry.service import AlertPass
from otel_ml_collector.times import DAY_NS, HOUR_NS, MINUTE_NS, to_rfc3339
from otel_ml_collector.web.view import path_of
from otel_ml_collector.windows import Window

EVALUATE_S: Final = 60.0
# A pass leaves the store to other work for at least half of the time.
BUDGET_S: Final = 30.0
# Maximum number of missed windows that are evaluated, the newest.
_MOST_MISSED: Final = 100
_MOST_MISSED_MONITORED: Final = 10
# Maximum number of additional windows that wait for ground truth. Each is evaluated again within an
# hour.
_MOST_WAITING: Final = 3_000
_MOST_WAIT_NS: Final = 90 * DAY_NS
_RETRY_NS: Final = HOUR_NS
# Resolved alerts are announced in each pass for this long, in case no collector ran for a while, or
# the ground truth of a window arrived late.
_ANNOUNCED_NS: Final = 100 * DAY_NS
# A slice without runs for this long is not evaluated, unless it is firing.
_LEFT_NS: Final = 7 * DAY_NS
_SWEEP_NS: Final = DAY_NS
OTHER_JUDGE: Final = "new version of a judge"
NO_RUNS: Final = "no runs"
TOO_FEW: Final = "too few runs or scores"
# A process that wrote within this time counts as evaluating.
_OTHER_NS: Final = 3 * MINUTE_NS

_logger = logging.getLogger(__name__)


class Announcer(Protocol):
    """Sends changes to receivers."""

    def announce(self, notification: Notification) -> None:
        """Store a notification to send; a known one is not stored again."""
        ...

    def withdraw(self, project: str, rule: str) -> None:
        """Send nothing more about a rule until it is announced again."""
        ...


@dataclass(slots=True)
class WatchedRule:
    """An alert rule with the states of its slices, while it is evaluated.

    A slice is the runs with one value of the rule's `by`, such as client = Remax.

    Attributes:
        whole: State of the rule as a whole: the end of the last window that was evaluated
            (`seen_ns`), and whether evaluating the rule fails.
        states: State of each slice, by the text of its `SliceKey`.
        reason: Why the rule could not be evaluated; empty if it could.
        judge_changes: Times at which new versions of the rule's judges began.
        changed: Keys of the slices whose state has changed and is not stored yet.
        events: Changes of state that are not stored yet.
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
        """The key of the rule and its current digest, which changes with the rule."""
        return self.project, self.rule.name, self.rule.digest

    @property
    def group(self) -> tuple[object, ...]:
        """The key by which rules are grouped. Rules of one group are measured in one query."""
        plan = self.rule.plan
        sure = plan.condition.sure
        return (
            self.project,
            plan.where,
            plan.by,
            plan.window_ns,
            plan.every_ns,
            self.whole.seen_ns,
            *(plan.condition.is_of_budgets, plan.condition.needs_no_runs),
            self.rule.name if sure else "",
        )

    def put(self, key: str, state: SliceState, reason: str = "") -> None:
        """Set the state of a slice, and record an event if it changed."""
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
    """Evaluates the alert rules of all projects; only one thread at a time can use it.

    Args:
        reader: Reads the store.
        connections: Connections to the store, to write the states of the rules.
        announcer: Gets a notification when a rule fires or is resolved, and sends it to receivers.
        file_alerts: The rules of the configuration file.
        clock: Returns the time, in nanoseconds since the epoch.
        budget_s: Number of seconds after which a call of `evaluate` starts to evaluate no more
            rules. The next call begins with the rules that were left out.
        trusts_clock: Returns whether the clock of this machine seems right. If not, old events are
            not deleted.
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
        # Earlier rows can be from this collector, before it was restarted.
        self._began_ns = clock()
        self._name = secrets.token_hex(8)
        self._has_filed = False
        # Rules of the configuration file that were saved and not yet checked on past runs.
        self._unchecked: list[tuple[str, AlertRule]] = []
        self._swept_ns = 0
        self._version = 0
        self._muted: set[tuple[str, str]] = set()
        # When to evaluate rules again whose windows wait for ground truth.
        self._later: dict[tuple[str, str, str], int] = {}
        self.numbers = AlertPass()

    def list_jobs(self, changes: StoreChanges) -> Sequence[BackgroundJob]:
        """List the job that evaluates all rules."""
        return [
            BackgroundJob(
                self.evaluate,
                EVALUATE_S,
                "Alert rules could not be evaluated",
                first_s=5.0,
                has_work=lambda: self.numbers.rules > 0 or changes.are_likely(),
            )
        ]

    def evaluate(self) -> AlertPass:
        """Evaluate all rules for each time window that has ended since the last call.

        Raises:
            Unavailable: The store failed. The next call evaluates the unsaved windows again.
        """
        began_s = time.monotonic()
        if not self._has_filed:
            self._file()
            self._has_filed = True
        now_ns = self._clock()
        watched, gone, others = self._read(now_ns)
        windows = self._judge(watched, now_ns)
        self._write([*watched, *gone], now_ns)
        self._announce(watched, gone, now_ns)
        if now_ns - self._swept_ns > _SWEEP_NS and self._trusts_clock():
            self._store.sweep(now_ns)
            self._swept_ns = now_ns
        self._report_saved(now_ns)
        if others and not self.numbers.has_others:
            _logger.warning(
                "Another collector evaluates the alert rules of this store: set "
                "alerts.evaluate = false in all collectors except one"
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

    @acting_as(SETTINGS_FILE)
    def _file(self) -> None:
        """Save the rules of the configuration file, and delete those that it no longer has."""
        wanted = {(alert.project, alert.name): alert for alert in self._file_alerts}
        for project, document in list_all_documents(self._reader, ALERT):
            alert = wanted.get((project, document.name))
            if alert is not None and alert.body == document.body:
                del wanted[project, document.name]
            elif alert is None and document.body.get("origin") == "file":
                self._documents.delete(self._reader, project, ALERT, document.name)
        for (project, name), alert in wanted.items():
            saved = self._documents.save(self._reader, project, ALERT, name, alert.body)
            self._unchecked.append((project, make_rule(saved)))

    def _report_saved(self, now_ns: int) -> None:
        """Log how often saved rules of the file would have fired, a few in each pass."""
        began_s = time.monotonic()
        while self._unchecked and time.monotonic() - began_s < SAVE_S:
            project, rule = self._unchecked.pop(0)
            past = check_saved(self._reader, project, rule, now_ns)
            _logger.info("Alert rule %r of project %s: %s", rule.name, project, past.sentence)

    def _read(self, now_ns: int) -> tuple[list[WatchedRule], list[WatchedRule], bool]:
        """Read rules with their states; the states of changed rules are reset.

        Returns:
            The rules, the deleted rules with firing slices, and whether another process evaluates.
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

    def _judge(self, watched: Iterable[WatchedRule], now_ns: int) -> int:
        """Judge the windows that have ended; rules with the same runs share a query."""
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
        judged = 0
        began_s = time.monotonic()
        # Rules for which the last pass had no time come first.
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
            if judged and time.monotonic() - began_s >= self._budget_s:
                self._left.add(group)
                continue
            judged += len(items) * windows.number
            self._try(items, windows, now_ns)
            for item in items:
                plan = item.rule.plan
                is_behind = item.whole.seen_ns < windows.ends_ns[-1] and not item.reason
                if is_behind and plan.condition.of(OF_TRUTH):
                    self._later[item.key] = now_ns + min(plan.every_ns, _RETRY_NS)
        return judged

    def _try(self, items: Sequence[WatchedRule], windows: MeasuredWindows, now_ns: int) -> None:
        """Measure several rules together; if that fails, measure each separately."""
        project, plan = items[0].project, items[0].rule.plan
        figures: dict[FigureKey, Figure] = {}
        for item in items:
            for figure in item.rule.plan.condition.figures:
                figures.setdefault(key_of(figure), figure)
        asked = replace(
            Measurement.of(project, plan, [*figures.values()], now_ns), leaves_out_imports=True
        )
        try:
            measured = measure(self._reader, asked, windows)
        except (BadInput, Missing, Unavailable) as error:
            if len(items) > 1:
                for item in items:
                    self._try([item], windows, now_ns)
                return
            note_trouble(items[0], error, now_ns)
            return
        for item in items:
            before = dict(item.states)
            medians = WeekMedians(
                self._reader,
                replace(
                    Measurement.of(
                        project, item.rule.plan, [item.rule.plan.condition.main], now_ns
                    ),
                    sure=None,
                    leaves_out_imports=True,
                ),
                item.rule.plan,
                item.judge_changes,
            )
            try:
                judge_windows(item, measured, windows, now_ns, medians)
            except (BadInput, Missing, Unavailable) as error:
                note_trouble(item, error, now_ns)
                continue
            item.put(WHOLE_RULE, note_failure(item.whole, now_ns, has_failed=False))
            self._date_silence(item, before)

    def _date_silence(self, item: WatchedRule, before: Mapping[str, SliceState]) -> None:
        """Set `silent_ns` of the alerts without runs, if their runs stopped in this pass."""
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
                body = write_state(state)
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
        """Announce firing and resolved rules to their receivers, without muted ones."""
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
    """Combine a rule with its stored states; states from before a change of the rule are reset."""
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
    """Find the windows of a rule that have ended and are not evaluated yet; None if there are none.

    A rule that was never evaluated begins with the newest window. If more than 100 windows were
    missed, only the newest are evaluated. The limit is higher for a rule with ground truth, which
    can arrive late, and 10 for a rule with `drift`, `excess` or `worse`, which takes many queries.

    Args:
        rule: The rule.
        seen_ns: End of the last evaluated window, in nanoseconds since 1970; 0 for a new rule.
        now_ns: The current time, in nanoseconds since 1970.
    """
    plan = rule.plan
    last_ns = MeasuredWindows.newest(plan, now_ns).first_ns
    most = _MOST_MISSED
    if plan.condition.of(OF_TRUTH):  # ground truth can arrive late
        delay_ns = _MOST_WAIT_NS if plan.truth_delay_ns is None else plan.truth_delay_ns
        most += min(delay_ns // plan.every_ns, _MOST_WAITING)
    if plan.condition.of(OF_MONITOR):  # each window takes several queries
        most = _MOST_MISSED_MONITORED
    first_ns = last_ns if not seen_ns else (seen_ns // plan.every_ns + 1) * plan.every_ns
    first_ns = max(first_ns, last_ns - (most - 1) * plan.every_ns)
    if first_ns > last_ns:
        return None
    number = (last_ns - first_ns) // plan.every_ns + 1
    return MeasuredWindows(first_ns, plan.every_ns, number, plan.window_ns)


def note_trouble(item: WatchedRule, error: Exception, now_ns: int) -> None:
    """Note that a rule could not be evaluated; its unevaluated windows are tried again later."""
    item.reason = str(error)
    item.put(WHOLE_RULE, note_failure(item.whole, now_ns, has_failed=True), item.reason)


def judge_windows(
    item: WatchedRule,
    measured: MeasuredSlices,
    windows: MeasuredWindows,
    now_ns: int,
    medians: WeekMedians,
) -> None:
    """Judge windows in order, up to the first that waits for scores or ground truth.

    Raises:
        BadInput, Missing, Unavailable: The median of an alert could not be measured. The windows
            before are judged; judging the others again is harmless.
    """
    rule, plan = item.rule, item.rule.plan
    for end_ns in windows.ends_ns:
        slices = measured.get(end_ns, {})
        if any(is_waiting(plan, end_ns, own, now_ns) for own in slices.values()):
            if not item.whole.seen_ns:  # so that it resumes here, even if newer windows have ended
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
            own = slices.get(SliceKey(key)) or empty_slice(plan)
            before = item.states.get(key, SliceState(since_ns=end_ns, digest=rule.digest))
            fresh = forget_before(before, end_ns, item.judge_changes)
            window = judge_window(
                plan, end_ns, own, fresh, slices=len(chosen), changes=item.judge_changes
            )
            known = fresh
            if needs_usual(fresh, window, plan):
                known = note_usual(fresh, medians.find(SliceKey(key), fresh.since_ns))
            after = advance(known, window, plan)
            reason = "" if fresh == before else OTHER_JUDGE
            if fresh.is_alert and window.word == "no data":
                reason = NO_RUNS if not window.runs else TOO_FEW
            item.put(key, after, reason)
        item.put(WHOLE_RULE, replace(item.whole, seen_ns=end_ns))


def make_notification(
    item: WatchedRule, mutes: Sequence[Mute], now_ns: int
) -> tuple[Notification | None, bool]:
    """Make the notification of a rule; None if there is nothing to send.

    Returns:
        The notification, and whether all firing slices are muted.
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
    if not changed_ns or (not loud and (alarms or now_ns - changed_ns > _ANNOUNCED_NS)):
        return None, bool(alarms) and not loud
    announced = loud or {
        key: state
        for key, state in every.items()
        if state.changed_ns == changed_ns and not is_muted(key)
    }
    worst = _order(rule, {key: state for key, state in announced.items() if key != WHOLE_RULE})
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
            condition, SliceKey(key).labels(by), state.value, rule.window, text=state.text
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
                    text=describe_value(condition.main, state.value, state.text),
                    path=path_of("projects", project, "judge-rubric", edit=condition.main.of)
                    if condition.is_of_budgets
                    else path_of("projects", project, "runs", where=CRASHED_RUNS)
                    if condition.needs_no_runs
                    else path_of(
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


def _order(rule: AlertRule, states: Mapping[str, SliceState]) -> list[tuple[str, SliceState]]:
    """Order slices, the worst first: by the first figure and the sign of the condition."""
    text = rule.when
    lowest_first = "<" in text and ">" not in text

    def rank(item: tuple[str, SliceState]) -> tuple[bool, float, str]:
        value = item[1].value
        number = 0.0 if value is None else value
        return value is None, number if lowest_first else -number, item[0]

    return sorted(states.items(), key=rank)
