"""States of the slices of a rule, and how each judged window changes them.

A state depends only on the state before and on the window. So the same windows give the same states
in every process, and evaluating a window twice changes nothing.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from otel_ml.statistics.betting import Means
from otel_ml_collector.alerts.rule import RulePlan
from otel_ml_collector.filter.figures import Figure
from otel_ml_collector.store.alerts import AlertRow, AlertStateName
from otel_ml_collector.times import MINUTE_NS, to_rfc3339

# States, worst first.
STATES: Final[tuple[AlertStateName, ...]] = ("firing", "failed", "pending", "inactive", "no data")
WindowWord = Literal["bad", "good", "no data"]
TruthWord = Literal["in", "due", "overdue"]
# A rule that could not be evaluated for this long becomes an alert itself.
FAILED_AFTER_NS: Final = 15 * MINUTE_NS
# Without `keep`, an alert ends after this many good windows in a row.
GOOD_WINDOWS: Final = 3
# A figure without its position in the condition.
FigureKey = tuple[str, str, str, int]


def key_of(figure: Figure) -> FigureKey:
    """Return all of a figure except its position in the text of the condition."""
    return (figure.name, figure.of, figure.than, figure.before_ns)


@dataclass(frozen=True, slots=True)
class MeasuredSlice:
    """The figures of a slice in a window.

    Attributes:
        runs: Recorded runs in the window.
        numbers: Value of each figure, such as `error_share`; NaN for a figure without a value.
        counts: Number of runs from which each figure was computed. `runs` is used for a figure that
            is not in this dict.
        is_in: Whether the scores of judges are complete. Runs that failed need no scores.
        truth: Whether the ground truth of the runs has arrived. ``in``: it has. ``due``: it has
            not, but the usual time for it to arrive is not over. ``overdue``: this time is over.
        means: Only for a rule with ``surely(...)``: the number of sessions by their mean of the
            compared figure. ``{1.0: 8, 0.5: 2}`` means that the figure is 1.0 in eight sessions
            and 0.5 in two.
        texts: What figures mean, in words, for those of which a number says too little: ``worse``
            says for whom a version is worse.
    """

    runs: int
    numbers: Mapping[FigureKey, float] = field(default_factory=dict)
    counts: Mapping[FigureKey, int] = field(default_factory=dict)
    is_in: bool = True
    truth: TruthWord = "in"
    means: Means = field(default_factory=dict)
    texts: Mapping[FigureKey, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class JudgedWindow:
    """The result of a rule's condition for one slice in one time window.

    A slice is the runs with one value of the rule's `by`, such as client = Remax.

    Attributes:
        end_ns: End of the window.
        word: ``bad`` if the condition holds, ``good`` if not, ``no data`` if there is too little
            data to decide.
        value: Value of the first figure in the rule's condition; None without a value.
        martingale: For a rule with ``surely(...)``: how strong the evidence is that the condition
            holds, with all windows up to this one (see `otel_ml.statistics.betting`).
        distance: For ``surely(...)`` on a mean: the largest distance of a session's mean from the
            limit, in all windows up to this one.
        text: What the value means, in words, if the number says too little; otherwise empty.
    """

    end_ns: int
    word: WindowWord
    value: float | None
    runs: int
    martingale: float = 0.0
    distance: float = 0.0
    text: str = ""


@dataclass(frozen=True, slots=True)
class SliceState:
    """The state of a rule's alert for one slice, after the windows that were evaluated so far.

    A slice is the runs with one value of the rule's `by`, such as client = Remax.

    Attributes:
        since_ns: End of the window in which this state began.
        changed_ns: End of the window in which the alert last started or stopped firing; 0 for
            never.
        value, runs: Value of the first figure and number of runs in the last judged window.
        martingale: For a rule with ``surely(...)``: the evidence so far that the condition holds.
        distance: For ``surely(...)`` on a mean: the largest distance of a session's mean from the
            limit so far.
        seen_ns: End of the last evaluated window; 0 for none.
        bad_ns: End of the last bad window.
        judged: The last judged windows, as many as the rule needs to decide, oldest first: the end
            of each window, and whether it was bad.
        digest: Digest of the rule's fields when these windows were judged. If it differs from the
            rule's current digest, the state is reset.
        silent_ns: Since when an alert has no data: the start of its newest run, or the end of its
            last judged window; 0 if it has data or is not an alert.
        usual: Median of the rule's first figure in the week before the alert; None if there is
            none, or if no window needed it yet.
        usual_ns: `since_ns` of the alert for which `usual` was found; 0 if it was not.
        text: What `value` means, in words, if the number says too little; otherwise empty. For
            ``worse``, for whom the version is worse.
    """

    state: AlertStateName = "inactive"
    since_ns: int = 0
    changed_ns: int = 0
    value: float | None = None
    runs: int = 0
    martingale: float = 0.0
    distance: float = 0.0
    seen_ns: int = 0
    bad_ns: int = 0
    judged: tuple[tuple[int, bool], ...] = ()
    digest: str = ""
    silent_ns: int = 0
    usual: float | None = None
    usual_ns: int = 0
    text: str = ""

    @property
    def is_alert(self) -> bool:
        """Whether this state notifies receivers: firing, failed, or an alert that lost its data."""
        return self.state in {"firing", "failed"} or self.is_silent_alert

    @property
    def is_silent_alert(self) -> bool:
        """Whether the alert was firing and lost its data, in a rule that notifies about that."""
        return self.state == "no data" and self.silent_ns > 0

    @property
    def note(self) -> str:
        """Since when it has no data, such as ``no runs since 11:05``; empty if it has data."""
        if not self.silent_ns:
            return ""
        what = "too few runs or scores" if self.runs else "no runs"
        now, then = (to_rfc3339(time_ns) for time_ns in (self.seen_ns, self.silent_ns))
        day = "" if now[:10] == then[:10] else f"{then[:10]} "
        return f"{what} since {day}{then[11:16]}"


def read_state(row: AlertRow) -> SliceState:
    """Read the state of a slice from its row."""
    body = row.body
    return SliceState(
        state=row.state,
        since_ns=row.since_ns,
        changed_ns=body.get("changed_ns", 0),
        value=row.value,
        runs=body.get("runs", 0),
        martingale=row.martingale,
        distance=body.get("distance", 0.0),
        seen_ns=row.window_ns,
        bad_ns=body.get("bad_ns", 0),
        judged=tuple((end_ns, bool(is_bad)) for end_ns, is_bad in body.get("judged", ())),
        digest=body.get("digest", ""),
        silent_ns=body.get("silent_ns", 0),
        usual=body.get("usual"),
        usual_ns=body.get("usual_ns", 0),
        text=body.get("text", ""),
    )


def write_state(state: SliceState) -> dict[str, Any]:
    """Return the parts of a state that its row has no columns for, as `read_state` reads them."""
    return {
        "digest": state.digest,
        "changed_ns": state.changed_ns,
        "bad_ns": state.bad_ns,
        "runs": state.runs,
        "judged": [[end_ns, int(is_bad)] for end_ns, is_bad in state.judged],
        "silent_ns": state.silent_ns,
        "distance": state.distance,
        "usual": state.usual,
        "usual_ns": state.usual_ns,
        "text": state.text,
    }


def is_waiting(plan: RulePlan, end_ns: int, measured: MeasuredSlice, now_ns: int) -> bool:
    """Return whether a window still waits for scores or ground truth."""
    if not measured.is_in and now_ns < end_ns + plan.delay_ns:
        return True
    if plan.truth_delay_ns is None:
        return measured.truth == "due"
    return measured.truth != "in" and now_ns < end_ns + plan.truth_delay_ns


def forget_before(before: SliceState, end_ns: int, changes: Sequence[int]) -> SliceState:
    """Reset the state of a slice if a judge got a new version; otherwise return it unchanged.

    Scores of two versions of a judge are not comparable. So a firing alert is resolved, and the
    evidence and the bad windows so far are dropped. This happens if the new version began between
    the last evaluated window and the end of the next one.

    Args:
        before: The state of the slice after the last evaluated window.
        end_ns: End of the next window, in nanoseconds since 1970.
        changes: Times at which new versions of the rule's judges began, in nanoseconds since 1970.
    """
    if not any(0 < before.seen_ns <= change_ns < end_ns for change_ns in changes):
        return before
    cleared = replace(before, judged=(), martingale=0.0, distance=0.0, bad_ns=0, seen_ns=end_ns)
    return replace(_enter(cleared, "no data"), seen_ns=before.seen_ns, silent_ns=0)


def is_mixed(plan: RulePlan, end_ns: int, changes: Sequence[int]) -> bool:
    """Return whether a window has scores of several versions of a judge."""
    return any(end_ns - plan.window_ns < change_ns < end_ns for change_ns in changes)


def empty_slice(plan: RulePlan) -> MeasuredSlice:
    """Return the figures of a window without runs: sums are 0, others have no value."""
    numbers = {
        key_of(figure): 0.0
        for figure in plan.condition.figures
        if figure.name in {"runs", "cost", "tokens"} and not figure.before_ns
    }
    return MeasuredSlice(0, numbers)


def judge_window(
    plan: RulePlan,
    end_ns: int,
    measured: MeasuredSlice,
    before: SliceState,
    *,
    slices: int = 1,
    changes: Sequence[int] = (),
) -> JudgedWindow:
    """Decide whether a slice's window is bad, good, or has too little data.

    Args:
        plan: The rule.
        end_ns: End of the window.
        measured: The measured figures of the slice in the window.
        before: The state of the slice before the window.
        slices: Number of slices of the rule. The limit on false alarms (`windows_between`) is for
            all slices together, so with more slices each one needs more evidence.
        changes: When new versions of the rule's judges began. A window in which a judge changed its
            version is not judged, because its scores are not comparable.
    """
    condition = plan.condition
    main = measured.numbers.get(key_of(condition.main), math.nan)
    value = main if math.isfinite(main) else None
    counts = [measured.counts.get(key_of(figure), measured.runs) for figure in condition.figures]
    numbers = [measured.numbers.get(key_of(figure), math.nan) for figure in condition.figures]
    total, distance = before.martingale, before.distance
    is_judged = min([measured.runs, *counts]) >= plan.min_runs and not any(map(math.isnan, numbers))
    if not is_judged or is_mixed(plan, end_ns, changes):
        return JudgedWindow(end_ns, "no data", value, measured.runs, total, distance)

    def number_of(figure: Figure) -> float:
        return measured.numbers[key_of(figure)]

    limit = condition.sure
    if limit is None:
        is_bad = condition.is_bad(number_of, is_sure=False)
    elif before.state == "firing":
        # A firing alert stays while the figure is beyond its limit; the evidence starts again.
        is_bad, total = condition.is_broken(number_of), 0.0
    else:
        if measured.means:
            total = limit.bet(total, measured.means, distance)
        is_sure = total > plan.windows_between * max(slices, 1)
        is_bad = condition.is_bad(number_of, is_sure=is_sure)
        total = 0.0 if is_sure else total
    if limit is not None:
        distance = max(distance, limit.find_distance(measured.means))
    word: WindowWord = "bad" if is_bad else "good"
    text = measured.texts.get(key_of(condition.main), "")
    return JudgedWindow(end_ns, word, value, measured.runs, total, distance, text)


def advance(before: SliceState, window: JudgedWindow, plan: RulePlan) -> SliceState:
    """Return the new state of a slice's alert, after the result of one more window.

    A slice is the runs with one value of the rule's `by`, such as client = Remax. If the window was
    already evaluated, the state does not change. A window with too little data counts as neither
    good nor bad.

    A firing alert keeps firing for the time in the rule's option `keep` after its last bad window.
    Without this option, it ends after three good windows in a row that do not overlap. It also ends
    after one good window whose value is far from the limit, compared with `usual` of the state
    before (see `needs_usual`). Then it fires again only after enough bad windows since its end.

    During windows with too little data, a firing alert keeps firing only for the time in `keep`, or
    for three windows after its last judged window. Then the rule's option `no_data` decides what
    happens: the alert is resolved, or the receivers are notified that the alert has no data.
    """
    if window.end_ns <= before.seen_ns:
        return before
    seen = replace(before, seen_ns=window.end_ns)
    if window.word == "no data":
        return (
            _go_on_without_data(seen, window, plan) if before.is_alert else _enter(seen, "no data")
        )
    judged = _keep(before.judged, window, plan)
    is_bad = window.word == "bad"
    seen = replace(
        seen,
        value=window.value,
        runs=window.runs,
        martingale=window.martingale,
        distance=window.distance,
        text=window.text,
        judged=judged,
        bad_ns=window.end_ns if is_bad else before.bad_ns,
        silent_ns=0,
    )
    if before.state == "firing" and plan.keep_ns is None:
        return _end_alert(seen) if not is_bad and _is_over(seen, plan) else seen
    least, of = plan.hold
    chain = choose_separate(judged, plan.window_ns)[:of]
    bad = sum(bad for _, bad in chain)
    was_alert = before.is_alert
    if bad >= least and (is_bad or before.state == "firing"):
        return _enter(seen, "firing")
    if before.state == "firing" and window.end_ns - seen.bad_ns < (plan.keep_ns or 0):
        return seen
    return _enter(seen, "pending" if bad else "inactive", was_alert=was_alert)


def needs_usual(before: SliceState, window: JudgedWindow, plan: RulePlan) -> bool:
    """Return whether `advance` needs the usual value of the rule's figure, which is not known yet.

    If so, set it with `note_usual` first. It is needed at most once for each alert: at its first
    good window.
    """
    return (
        before.state == "firing"
        and window.word == "good"
        and window.end_ns > before.seen_ns
        and plan.keep_ns is None
        and plan.condition.has_sides
        and before.usual_ns != before.since_ns
    )


def note_usual(before: SliceState, usual: float | None) -> SliceState:
    """Return the state of an alert with the median of the week before it; None without a median."""
    return replace(before, usual=usual, usual_ns=before.since_ns)


def _is_over(seen: SliceState, plan: RulePlan) -> bool:
    """Return whether an alert without `keep` ends with its newest window, which is good."""
    good = [item for item in seen.judged if item[0] > seen.bad_ns]
    if len(choose_separate(good, plan.window_ns)) >= GOOD_WINDOWS:
        return True
    if seen.value is None or seen.usual is None or seen.usual_ns != seen.since_ns:
        return False
    return plan.condition.is_far(seen.value, seen.usual)


def _end_alert(seen: SliceState) -> SliceState:
    """End an alert; the bad windows up to its end do not count for the next one."""
    return replace(_enter(seen, "inactive"), judged=(), usual=None, usual_ns=0)


def _go_on_without_data(seen: SliceState, window: JudgedWindow, plan: RulePlan) -> SliceState:
    last_ns = seen.judged[-1][0] if seen.judged else seen.since_ns
    silent = replace(seen, value=None, runs=window.runs, silent_ns=seen.silent_ns or last_ns)
    keep_ns, from_ns = plan.keep_ns, seen.bad_ns
    if keep_ns is None:
        keep_ns, from_ns = GOOD_WINDOWS * plan.window_ns, last_ns
    if seen.state == "firing" and window.end_ns - from_ns < keep_ns:
        return silent
    if plan.no_data == "notify":
        return _enter(silent, "no data")
    return replace(_enter(silent, "no data", was_alert=True), silent_ns=0)


def choose_separate(judged: Sequence[tuple[int, bool]], window_ns: int) -> list[tuple[int, bool]]:
    """Choose windows that do not overlap, starting with the newest."""
    chain: list[tuple[int, bool]] = []
    for end_ns, is_bad in reversed(judged):
        if not chain or end_ns <= chain[-1][0] - window_ns:
            chain.append((end_ns, is_bad))
    return chain


def begin_afresh(before: SliceState, digest: str, now_ns: int) -> SliceState:
    """Return the state of a slice after its rule changed: all evidence and windows are reset.

    A firing alert is resolved.
    """
    is_alert = before.state == "firing" or before.is_silent_alert
    changed_ns = now_ns if is_alert else before.changed_ns
    return SliceState(since_ns=now_ns, changed_ns=changed_ns, seen_ns=before.seen_ns, digest=digest)


def set_back(before: SliceState, now_ns: int) -> SliceState:
    """Return the state without times in the future, after the clock was set back."""
    return replace(
        before,
        seen_ns=min(before.seen_ns, now_ns),
        bad_ns=min(before.bad_ns, now_ns),
        since_ns=min(before.since_ns, now_ns),
        judged=tuple(item for item in before.judged if item[0] <= now_ns),
    )


def note_failure(before: SliceState, now_ns: int, *, has_failed: bool) -> SliceState:
    """Return the state of a rule as a whole, not of one slice, after an attempt to evaluate it.

    After 15 minutes in which every attempt ended with an error, the state is `failed`. Then the
    receivers of the rule are notified. After a success, it is `inactive`.

    Args:
        before: The state of the rule before this attempt. Its `bad_ns` is the time of the first
            error; 0 without errors.
        now_ns: The time of the attempt.
        has_failed: Whether this attempt ended with an error.
    """
    if not has_failed:
        return _enter(replace(before, bad_ns=0), "inactive", now_ns)
    began = replace(before, bad_ns=before.bad_ns or now_ns)
    if now_ns - began.bad_ns < FAILED_AFTER_NS:
        return began
    return _enter(began, "failed", now_ns)


def _enter(
    seen: SliceState, name: AlertStateName, at_ns: int = 0, *, was_alert: bool = False
) -> SliceState:
    if name == seen.state and not (was_alert and seen.is_silent_alert):
        return seen
    at_ns = at_ns or seen.seen_ns
    changes = name in {"firing", "failed"} or seen.is_alert or was_alert
    return replace(
        seen, state=name, since_ns=at_ns, changed_ns=at_ns if changes else seen.changed_ns
    )


def _keep(
    judged: Sequence[tuple[int, bool]], window: JudgedWindow, plan: RulePlan
) -> tuple[tuple[int, bool], ...]:
    """Add a judged window, and drop those that are not needed any more."""
    steps = -(-plan.window_ns // plan.every_ns)
    windows = plan.hold[1] if plan.keep_ns is not None else max(plan.hold[1], GOOD_WINDOWS)
    most = max(steps * (windows - 1) + 1, 1)
    return (*judged, (window.end_ns, window.word == "bad"))[-most:]
