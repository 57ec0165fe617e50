"""Tests of how the state of a slice changes from window to window."""

from dataclasses import replace
from typing import Any, Final

import pytest

from otel_ml_collector.alerts.rule import AlertRule, RulePlan
from otel_ml_collector.alerts.states import (
    FAILED_AFTER_NS,
    JudgedWindow,
    MeasuredSlice,
    SliceState,
    WindowWord,
    advance,
    begin_afresh,
    judge_window,
    needs_usual,
    note_failure,
    note_usual,
    read_state,
    set_back,
    write_state,
)
from otel_ml_collector.store.alerts import AlertRow
from otel_ml_collector.times import HOUR_NS, MINUTE_NS

SAVED: Final = "2026-11-01T00:00:00.000000000Z"
WORDS: Final[dict[str, WindowWord]] = {"b": "bad", "g": "good", "n": "no data"}
SHORT: Final = {
    "inactive": "i",
    "pending": "p",
    "firing": "F",
    "no data": "n",
    "failed": "X",
}
START_NS: Final = 1_000 * HOUR_NS


def make_rule(**parts: Any) -> AlertRule:
    wanted = {"when": "error_share > 0.1", "window": "1h", "every": "1h", **parts}
    return AlertRule(name="errors", version=1, saved_time=SAVED, **wanted)


def run(plan: RulePlan, course: str, state: SliceState | None = None) -> tuple[str, SliceState]:
    """Run a course: one letter per window, and `.` for a window that was not evaluated."""
    state = state or SliceState()
    end_ns = max(state.seen_ns, START_NS)
    states = ""
    for letter in course:
        end_ns += plan.every_ns
        if letter == ".":
            states += "."
            continue
        state = advance(state, JudgedWindow(end_ns, WORDS[letter], 0.5, 100), plan)
        states += SHORT[state.state]
    return states, state


COURSES: Final = [
    # hold, keep, one letter per window, the state after each window
    ("1 of 1", "0s", "ggg", "iii"),
    ("1 of 1", "0s", "b", "F"),
    ("1 of 1", "0s", "gbg", "iFi"),
    ("1 of 1", "0s", "bbg", "FFi"),
    ("1 of 1", "0s", "bgb", "FiF"),
    ("1 of 1", "1h", "bgg", "Fii"),
    ("1 of 1", "2h", "bgg", "FFi"),
    ("1 of 1", "3h", "bggg", "FFFi"),
    ("1 of 1", "2h", "bgbgg", "FFFFi"),
    ("1 of 1", "0s", "bn", "Fn"),
    ("1 of 1", "0s", "bnng", "Fnni"),
    ("1 of 1", "0s", "n", "n"),
    ("1 of 1", "0s", "nnb", "nnF"),
    ("1 of 1", "0s", "ng", "ni"),
    ("1 of 1", "0s", "gn", "in"),
    ("1 of 1", "0s", "b...b", "F...F"),
    ("1 of 1", "0s", "b...g", "F...i"),
    ("1 of 1", "2h", "b.n.g", "F.n.i"),
    ("2 of 3", "0s", "b", "p"),
    ("2 of 3", "0s", "bb", "pF"),
    ("2 of 3", "0s", "bgb", "ppF"),
    ("2 of 3", "0s", "bggb", "pppp"),
    ("2 of 3", "0s", "bgggb", "pppip"),
    ("2 of 3", "0s", "bbg", "pFF"),
    ("2 of 3", "0s", "bbgg", "pFFp"),
    ("2 of 3", "0s", "bbggg", "pFFpi"),
    ("2 of 3", "0s", "bnb", "pnF"),
    ("2 of 3", "0s", "bnnnb", "pnnnF"),
    ("2 of 3", "0s", "bngnb", "pnpnF"),
    ("2 of 3", "0s", "b..b", "p..F"),
    ("2 of 3", "4h", "bbgggg", "pFFFFi"),
    ("2 of 3", "0s", "bbnnn", "pFnnn"),
    ("3 of 3", "0s", "bbgbbb", "pppppF"),
    ("3 of 5", "0s", "bgbgb", "ppppF"),
    ("2 of 2", "0s", "bgbgbb", "pppppF"),
    ("1 of 3", "0s", "bggg", "FFFi"),
]


@pytest.mark.parametrize(("hold", "keep", "course", "expected"), COURSES)
def test_courses(hold: str, keep: str, course: str, expected: str) -> None:
    """A sequence of windows gives the expected states."""
    assert run(make_rule(hold=hold, keep=keep).plan, course)[0] == expected


@pytest.mark.parametrize(("hold", "keep", "course", "expected"), COURSES)
def test_restart(hold: str, keep: str, course: str, expected: str) -> None:
    """A window that is evaluated twice, for example after a crash, counts once."""
    plan = make_rule(hold=hold, keep=keep).plan
    state, states, end_ns = SliceState(), "", START_NS
    for letter in course:
        end_ns += plan.every_ns
        if letter == ".":
            states += "."
            continue
        window = JudgedWindow(end_ns, WORDS[letter], 0.5, 100)
        once = advance(state, window, plan)
        assert advance(state, window, plan) == once
        state = advance(once, replace(window, word="bad"), plan)
        states += SHORT[state.state]
    assert states == expected


def test_overlap() -> None:
    """Overlapping windows count as one for `hold`: four quarter hours are not two windows."""
    plan = make_rule(every="15m", hold="2 of 3", keep="0s").plan
    assert run(plan, "bbbb")[0] == "pppp"
    assert run(plan, "bbbbb")[0] == "ppppF"


def test_changed_rule() -> None:
    """A changed rule starts over, and its firing alerts end."""
    _, state = run(make_rule(hold="1 of 1").plan, "b")
    after = begin_afresh(state, "other", START_NS + 9 * HOUR_NS)
    assert (after.state, after.changed_ns) == ("inactive", START_NS + 9 * HOUR_NS)
    assert after.judged == ()


@pytest.mark.parametrize(
    ("name", "value"), [("severity", "page"), ("notify", ["oncall"]), ("annotations", {"a": "b"})]
)
def test_same_rule(name: str, value: object) -> None:
    """A change of severity, receivers or annotations does not change the rule's digest."""
    assert make_rule(**{name: value}).digest == make_rule().digest


@pytest.mark.parametrize(
    ("name", "value"),
    [("when", "error_share > 0.2"), ("where", 'model == "a"'), ("hold", "1 of 1"), ("min_runs", 5)],
)
def test_other_rule(name: str, value: object) -> None:
    """A change of how windows are judged changes the rule's digest."""
    assert make_rule(**{name: value}).digest != make_rule().digest


def test_clock_back() -> None:
    """If the clock was set back, windows that are in the future are evaluated when they come."""
    plan = make_rule(hold="1 of 1", keep="0s").plan
    _, state = run(plan, "ggggb")
    now_ns = START_NS + 2 * HOUR_NS
    state = set_back(state, now_ns)
    assert (state.state, state.seen_ns, state.bad_ns) == ("firing", now_ns, now_ns)
    window = JudgedWindow(now_ns + HOUR_NS, "good", 0.0, 100)
    assert advance(state, window, plan).state == "inactive"


def test_failure() -> None:
    """A rule whose query fails for 15 minutes becomes an alert, which ends when the query works."""
    state = note_failure(SliceState(), START_NS, has_failed=True)
    assert state.state == "inactive"
    state = note_failure(state, START_NS + FAILED_AFTER_NS - 1, has_failed=True)
    assert state.state == "inactive"
    failed = note_failure(state, START_NS + FAILED_AFTER_NS, has_failed=True)
    assert (failed.state, failed.since_ns) == ("failed", START_NS + FAILED_AFTER_NS)
    again = note_failure(failed, START_NS + HOUR_NS, has_failed=False)
    assert (again.state, again.changed_ns) == ("inactive", START_NS + HOUR_NS)
    assert note_failure(again, START_NS + 2 * HOUR_NS, has_failed=True).state == "inactive"


KEY: Final = ("error_share", "", "", 0)


def measured(value: float, runs: int = 200) -> MeasuredSlice:
    wrong = round(value * runs)
    return MeasuredSlice(
        runs, {KEY: value}, {KEY: runs}, means={1.0: wrong, 0.0: runs - wrong} if runs else {}
    )


def test_too_few() -> None:
    """A window with fewer runs than `min_runs` is not judged, however bad its value is."""
    plan = make_rule(min_runs=50).plan
    assert judge_window(plan, START_NS, measured(0.9, 49), SliceState()).word == "no data"
    assert judge_window(plan, START_NS, measured(0.9, 50), SliceState()).word == "bad"


def test_unknown() -> None:
    """A window without a value is "no data", even if the condition is negated."""
    plan = make_rule(when="not error_share < 0.1").plan
    window = judge_window(plan, START_NS, MeasuredSlice(100), SliceState())
    assert (window.word, window.value) == ("no data", None)


def test_surely() -> None:
    """A value at the threshold does not fire. A value far beyond it soon does."""
    plan = make_rule(when="surely(error_share > 0.1)", every="").plan
    state = SliceState()
    for place in range(1, 60):
        window = judge_window(plan, START_NS + place * HOUR_NS, measured(0.1), state)
        state = advance(state, window, plan)
    assert state.state == "inactive"
    words = []
    for place in range(60, 63):
        window = judge_window(plan, START_NS + place * HOUR_NS, measured(0.25), state)
        state = advance(state, window, plan)
        words.append(window.word)
    assert words[:3].count("bad") >= 1
    assert state.state == "firing"


def test_surely_ends() -> None:
    """An alert with `surely` fires until the value itself is good. Evidence then restarts at 0."""
    plan = make_rule(when="surely(error_share > 0.1)", keep="1h").plan
    state = SliceState(state="firing", seen_ns=START_NS)
    window = judge_window(plan, START_NS + HOUR_NS, measured(0.11), state)
    assert (window.word, window.martingale) == ("bad", 0.0)
    state = advance(state, window, plan)
    state = advance(state, judge_window(plan, START_NS + 2 * HOUR_NS, measured(0.05), state), plan)
    assert state.state == "inactive"


def test_shared() -> None:
    """The slices of a rule share its limit on false alarms."""
    plan = make_rule(when="surely(error_share > 0.1)").plan
    before = SliceState(martingale=5_000.0)
    one = judge_window(plan, START_NS, measured(0.1), before, slices=1)
    many = judge_window(plan, START_NS, measured(0.1), before, slices=50)
    assert (one.word, many.word) == ("bad", "good")


def test_minutes() -> None:
    """By default, a rule is evaluated four times per window, but at most once a minute."""
    assert make_rule(every="").plan.every_ns == 15 * MINUTE_NS
    assert make_rule(every="", window="2m").plan.every_ns == MINUTE_NS


SILENT_COURSES: Final = [
    # keep, one letter per window, the state after each window, the hour of the last change
    ("0s", "bn", "Fn", 2),
    ("2h", "bnn", "FFn", 3),
    ("2h", "bnnn", "FFnn", 3),
    ("2h", "bnnng", "FFnni", 5),
    ("2h", "bnnnb", "FFnnF", 5),
    ("3h", "bngn", "FFFn", 4),
    ("0s", "nn", "nn", 0),
    ("0s", "gn", "in", 0),
]


@pytest.mark.parametrize(("keep", "course", "expected", "changed"), SILENT_COURSES)
def test_silence_that_notifies(keep: str, course: str, expected: str, changed: int) -> None:
    """An alert that gets no data becomes "no data" after `keep`, and ends with a good window."""
    plan = make_rule(hold="1 of 1", keep=keep, no_data="notify").plan
    states, state = run(plan, course)
    assert states == expected
    assert state.changed_ns == (START_NS + changed * HOUR_NS if changed else 0)
    assert state.is_alert == (course[-1] in "nb" and "b" in course)


@pytest.mark.parametrize("letters", ["bn", "bnn"])
def test_silence_that_ends(letters: str) -> None:
    """By default, an alert that gets no data ends after `keep`."""
    plan = make_rule(hold="1 of 1", keep="1h").plan
    _, state = run(plan, letters)
    assert (state.state, state.is_alert, state.note) == ("no data", False, "")
    assert state.changed_ns == START_NS + 2 * HOUR_NS


def test_no_stale_value() -> None:
    """An alert without data has no value, and its note has the time since when data is missing."""
    plan = make_rule(hold="1 of 1", keep="1d").plan
    _, state = run(plan, "b")
    assert (state.value, state.note) == (0.5, "")
    empty = JudgedWindow(state.seen_ns + HOUR_NS, "no data", None, 0)
    state = advance(state, empty, plan)
    assert (state.state, state.value, state.note) == ("firing", None, "no runs since 17:00")
    few = JudgedWindow(state.seen_ns + HOUR_NS, "no data", 0.2, 3)
    state = advance(state, few, plan)
    assert (state.value, state.note) == (None, "too few runs or scores since 17:00")
    later = JudgedWindow(state.seen_ns + 7 * HOUR_NS, "no data", None, 0)
    assert advance(state, later, plan).note == "no runs since 1970-02-11 17:00"


def test_setting_changed_while_silent() -> None:
    """A "no data" alert ends if its rule no longer notifies about missing data."""
    plan = make_rule(hold="1 of 1", keep="0s", no_data="notify").plan
    _, state = run(plan, "bn")
    assert state.is_alert
    ended = advance(
        state,
        JudgedWindow(state.seen_ns + HOUR_NS, "no data", None, 0),
        make_rule(hold="1 of 1", keep="0s").plan,
    )
    assert (ended.is_alert, ended.changed_ns) == (False, START_NS + 3 * HOUR_NS)


STEADY_COURSES: Final = [
    # hold, one letter per window ("c" for a value far from the limit), the state after each window
    ("1 of 1", "bggg", "FFFi"),
    ("1 of 1", "bggbggbggg", "FFFFFFFFFi"),
    ("1 of 1", "bc", "Fi"),
    ("1 of 1", "bgc", "FFi"),
    ("1 of 1", "bcb", "FiF"),
    ("2 of 3", "bbgbggbgbbggg", "pFFFFFFFFFFFi"),
    ("2 of 3", "bbc", "pFi"),
    # Bad windows up to the end of an alert do not count for the next one.
    ("2 of 3", "bbcbgg", "pFippp"),
    ("2 of 3", "bbcbb", "pFipF"),
    ("2 of 5", "bbgggbg", "pFFFipp"),
    ("5 of 10", "bbbbbggg", "ppppFFFi"),
    # A window that is not evaluated, or has too little data, is neither good nor bad.
    ("1 of 1", "bgnng", "FFFFF"),
    ("1 of 1", "bgngng", "FFFFFi"),
    ("1 of 1", "bg..gg", "FF..Fi"),
    ("1 of 1", "bnngnnggg", "FFFFFFFii"),
    ("1 of 1", "bnnn", "FFFn"),
    ("1 of 1", "bggnnn", "FFFFFn"),
    ("1 of 1", "bnnnb", "FFFnF"),
]
# The limit is 0.1, and the median of the week before is 0.02: 0.092 is far, 0.093 is not.
STEADY_VALUES: Final = {"b": 0.11, "g": 0.093, "c": 0.092, "n": 0.5}


def run_steady(plan: RulePlan, course: str, usual: float | None = 0.02) -> tuple[str, SliceState]:
    """Run a course of a rule without `keep`, as an evaluator does that restarts each time."""
    state, states, end_ns = SliceState(), "", START_NS
    for letter in course:
        end_ns += plan.every_ns
        if letter == ".":
            states += "."
            continue
        word = WORDS["g" if letter == "c" else letter]
        window = JudgedWindow(end_ns, word, STEADY_VALUES[letter], 100)
        if needs_usual(state, window, plan):
            state = note_usual(state, usual)
        once = advance(state, window, plan)
        state = read_state(
            AlertRow(
                project="p",
                rule="errors",
                slice="[]",
                state=once.state,
                since_ns=once.since_ns,
                value=once.value,
                martingale=once.martingale,
                window_ns=once.seen_ns,
                body=write_state(once),
                evaluator="",
                version=1,
            )
        )
        assert state == once
        assert not needs_usual(state, window, plan)
        states += SHORT[state.state]
    return states, state


@pytest.mark.parametrize(("hold", "course", "expected"), STEADY_COURSES)
def test_steady_courses(hold: str, course: str, expected: str) -> None:
    """Without `keep`, an alert ends after three good windows, or one far from the limit."""
    assert run_steady(make_rule(hold=hold).plan, course)[0] == expected


@pytest.mark.parametrize("usual", [None, 0.1, 0.15])
def test_usual_value_that_is_bad(usual: float | None) -> None:
    """If the usual value is unknown or not good, only three good windows end an alert."""
    assert run_steady(make_rule(hold="1 of 1").plan, "bccc", usual)[0] == "FFFi"


def test_usual_value_of_each_alert() -> None:
    """Each alert needs the usual value of the week before it, once."""
    plan = make_rule(hold="1 of 1").plan
    _, state = run_steady(plan, "bg")
    assert (state.usual, state.usual_ns) == (0.02, state.since_ns)
    _, ended = run_steady(plan, "bgc")
    assert (ended.usual, ended.usual_ns) == (None, 0)
    _, again = run_steady(plan, "bgcb")
    window = JudgedWindow(again.seen_ns + HOUR_NS, "good", 0.09, 100)
    assert needs_usual(again, window, plan)
    assert not needs_usual(again, replace(window, word="bad"), plan)
    assert not needs_usual(again, window, make_rule(hold="1 of 1", keep="1h").plan)
    for when in ("error_share > 2 * cost", "error_share == 1", 'worse("grounded")'):
        plan = make_rule(when=when, where='model == "answer"').plan
        assert not needs_usual(again, window, plan)


def test_three_windows_do_not_overlap() -> None:
    """Three good windows that end an alert do not overlap, and no bad one is between them."""
    plan = make_rule(every="15m", hold="1 of 1").plan
    assert run_steady(plan, "b" + 9 * "g")[0] == 9 * "F" + "i"
    assert run_steady(plan, "bggggb" + 9 * "g")[0] == 14 * "F" + "i"


def test_silence_in_a_steady_rule() -> None:
    """Without `keep`, an alert without data ends or notifies three windows after its last data."""
    plan = make_rule(hold="1 of 1", no_data="notify").plan
    states, state = run_steady(plan, "bgnnng")
    assert states == "FFFFni"
    assert state.changed_ns == START_NS + 6 * HOUR_NS


def test_surely_without_keep() -> None:
    """An alert with `surely` ends after one window that is far from its limit."""
    plan = make_rule(when="surely(error_share > 0.1)").plan
    state = SliceState(state="firing", seen_ns=START_NS, bad_ns=START_NS, since_ns=START_NS)
    for place, (value, expected) in enumerate([(0.095, "firing"), (0.05, "inactive")], 1):
        window = judge_window(plan, START_NS + place * HOUR_NS, measured(value), state)
        state = advance(note_usual(state, 0.01), window, plan)
        assert state.state == expected


@pytest.mark.parametrize(
    ("when", "value", "usual", "expected"),
    [
        ("error_share > 0.1", 0.092, 0.02, True),
        ("error_share > 0.1", 0.0921, 0.02, False),
        ("0.1 <= error_share", 0.092, 0.02, True),
        ('pass_rate("a") < 0.9', 0.905, 0.95, True),
        ('pass_rate("a") < 0.9', 0.904, 0.95, False),
        ('pass_rate("a") < 0.9', 0.95, 0.9, False),
        ('pass_rate("a") < 0.9', 0.95, 0.8, False),
        ("error_share > 0.1", 0.05, 0.1, False),
        ("not error_share < 0.1", 0.05, 0.02, False),
        ("not error_share < 0.1", 0.05, 0.2, False),
        ("error_share == 1", 0.5, 0.1, False),
        ("error_share > 2 * cost", 0.0, 0.1, False),
        ("error_share > 0.1 and runs > 5", 0.05, 0.02, True),
        ("surely(p90(latency_ms) > 2000)", 1_800.0, 1_000.0, True),
    ],
)
def test_far(when: str, value: float, usual: float, *, expected: bool) -> None:
    """A value is far from its limit from a tenth of the usual distance on."""
    assert make_rule(when=when).plan.condition.is_far(value, usual) == expected
