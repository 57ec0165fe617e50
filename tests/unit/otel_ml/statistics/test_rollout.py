"""Which runs of two versions are compared: canaries, A/B tests, trials, rollbacks, rollouts."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_ml.statistics.rollout import (
    HOURS_BEFORE,
    Choice,
    Rollout,
    Stretch,
    choose_baseline,
    choose_rollout,
    choose_runs,
    find_rollout,
)

# The number of an hour; earlier hours are written as MONDAY - n.
MONDAY = 500_000


def spell(calls: str) -> list[Stretch]:
    """Read hours such as "o200 n5 | n100": 200 old calls and 5 new ones, then 100 new ones."""
    return [
        Stretch(MONDAY + hour, part[0] == "n", int(part[1:]))
        for hour, of_hour in enumerate(calls.split("|"))
        for part in of_hour.split()
    ]


def count(stretches: Sequence[Stretch], *, is_new: bool) -> dict[int, int]:
    counts: dict[int, int] = {}
    for hour, own, calls in stretches:
        if own == is_new:
            counts[hour] = counts.get(hour, 0) + calls
    return counts


@pytest.mark.parametrize(
    ("calls", "hour", "is_clean"),
    [
        # All at once, at the full hour, and at half past.
        ("o500 | n500", 1, False),
        ("o500 | o250 n250 | n500", 1, True),
        ("o500 | o250 n249 o1 | n500", 2, False),
        # A canary of 5 % is no rollout; one of 100 % is, from its first hour.
        ("o500 | o19 n1 o19 n1 o200", None, False),
        ("o500 | o95 n5 o95 n5 | n300", 2, False),
        # A trial, then the rollout.
        ("o90 n3 o300 | o500 | n500", 2, False),
        # Rolled back: none. Its next attempt counts.
        ("o500 | n500 | o500", None, False),
        ("o500 | n500 | o500 | n500", 3, False),
        ("o500 | n500 | o250 n250", 2, True),
        # An A/B test by halves began with its first hour.
        ("o500 | " + "o1 n1 " * 100, 1, False),
        # Fewer than 100 calls: all of them count together.
        ("o60 | n30", 1, False),
        ("o60 | o18 n18 | n33", 1, True),
        ("o60 | o18 n17 o1 n1 | n33", 1, False),
        ("o300 | o8 n2 o1", None, False),
        ("o300 | o7 n2 o1", 1, False),
        ("o300 | o9 n2", 1, True),
        # canary.py: one call of each, 300 of the old version, 300 of the new one.
        ("o1 n1 o300 n300", None, False),
        ("o500", None, False),
        ("n500", 0, False),
        ("", None, False),
    ],
)
def test_rollout(calls: str, hour: int | None, is_clean: bool) -> None:
    """A rollout lasts from its hour or switch until now, in every 100 successive calls."""
    expected = None if hour is None else Rollout(MONDAY + hour, is_clean)
    assert find_rollout(spell(calls)) == expected


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.booleans(), st.integers(1, 150)), min_size=1, max_size=12
    )
)
def test_rollout_by_its_definition(parts: list[tuple[int, bool, int]]) -> None:
    """The rollout is the first hour that the definition allows, tried hour by hour."""
    stretches = [Stretch(*part) for part in sorted(parts, key=lambda part: part[0])]
    calls = [(hour, is_new) for hour, is_new, n in stretches for _ in range(n)]

    def holds(hour: int, is_clean: bool) -> bool:
        left = [is_new for own, is_new in calls if own > hour or (own == hour and not is_clean)]
        if is_clean:
            inside = [is_new for own, is_new in calls if own == hour]
            if inside != sorted(inside) or len({*inside}) < 2:
                return False
            left = [True] * sum(inside) + left
        windows = [left[at : at + 100] for at in range(max(len(left) - 99, 1))]
        return all(sum(window) >= 0.2 * len(window) for window in windows)

    first = min((hour for hour, is_new in calls if is_new), default=9)
    hours = sorted({hour for hour, _ in calls if hour >= first})
    tried = [Rollout(hour, is_clean) for hour in hours for is_clean in (True, False)]
    assert find_rollout(stretches) == next((each for each in tried if holds(*each)), None)


@pytest.mark.parametrize(
    ("calls", "expected"),
    [
        # canary.py: all within one hour.
        ("o1 n1 o300 n300", Choice("hours", (MONDAY,), MONDAY, None, (301, 301), 0)),
        # A canary: the hours before it do not count.
        (
            "o900 | o950 n50 | o900 n100 | o800 n200",
            Choice("hours", (MONDAY + 1, MONDAY + 2, MONDAY + 3), MONDAY + 1, None, (2650, 350), 0),
        ),
        # A canary that has just begun: neither enough runs nor a rollout.
        ("o900 | o950 n50", Choice("none", (MONDAY + 1,), MONDAY + 1, None, (950, 50), 0)),
        # All at once.
        # A service in its first hours: nearly all runs of the new version are in the next hour.
        (
            "o200 n10 | n300",
            Choice("rollout", (), MONDAY - 168, Rollout(MONDAY, True), (200, 310), 0),
        ),
        # A small service that switches versions in the middle of its second hour.
        (
            "o3 | o33 n36",
            Choice("rollout", (), MONDAY + 1 - 168, Rollout(MONDAY + 1, True), (36, 36), 0),
        ),
        # Three runs before the rollout are fewer than those of the hour of both.
        ("o3 | o32 n36 o1", Choice("none", (MONDAY + 1,), MONDAY + 1, None, (33, 36), 0)),
        (
            "o400 | n300",
            Choice("rollout", (), MONDAY + 1 - 168, Rollout(MONDAY + 1, False), (400, 300), 0),
        ),
        # A trial of three calls is not counted.
        (
            "o90 n3 o300 | o500 | n500",
            Choice("rollout", (), MONDAY + 2 - 168, Rollout(MONDAY + 2, False), (890, 500), 3),
        ),
        # Rolled back and tried again: the first attempt does not count.
        (
            "o500 | n500 | o500 | n400",
            Choice("rollout", (), MONDAY + 3 - 168, Rollout(MONDAY + 3, False), (1_000, 400), 500),
        ),
        ("o500 | n500 | o500", Choice("none", (), MONDAY + 1, None, (0, 0), 500)),
        # At half past: at first the hour of the switch, and everything from the second hour on.
        ("o500 | o250 n250", Choice("hours", (MONDAY + 1,), MONDAY + 1, None, (250, 250), 0)),
        (
            "o500 | o250 n250 | n500",
            Choice("rollout", (), MONDAY + 1 - 168, Rollout(MONDAY + 1, True), (750, 750), 0),
        ),
        # A canary that took three hours stays one, after its rollout, too.
        (
            "o800 | o600 n200 | o400 n400 | o200 n600 | n900",
            Choice(
                "hours", (MONDAY + 1, MONDAY + 2, MONDAY + 3), MONDAY + 1, None, (1200, 1200), 900
            ),
        ),
    ],
)
def test_choice(calls: str, expected: Choice) -> None:
    """Hours with both versions come first, then the rollout."""
    stretches = spell(calls)
    older, newer = (count(stretches, is_new=is_new) for is_new in (False, True))
    assert choose_runs(older, newer, find_rollout(stretches)) == expected


def test_around_a_gradual_rollout() -> None:
    """A gradual rollout has runs before and since it, too."""
    stretches = spell("o800 | o600 n200 | o400 n400 | o200 n600 | n900")
    older, newer = (count(stretches, is_new=is_new) for is_new in (False, True))
    expected = Choice(
        "rollout", (), MONDAY + 1 - HOURS_BEFORE, Rollout(MONDAY + 1, False), (800, 2_100), 0
    )
    assert choose_rollout(older, newer, Rollout(MONDAY + 1, False)) == expected
    assert choose_rollout(older, newer, Rollout(MONDAY, False)) is None


def test_seven_days_before() -> None:
    """Older runs of 7 days before the rollout count, or the last 7 days with runs before it."""
    older = {MONDAY - HOURS_BEFORE - 1: 900, MONDAY - HOURS_BEFORE: 200, MONDAY - 1: 300}
    newer = {MONDAY: 100}
    assert choose_runs(older, newer, Rollout(MONDAY, False)).runs == (500, 100)
    long_ago = {MONDAY - 1_000: 150, MONDAY - 900: 250}
    assert choose_runs(long_ago, newer, Rollout(MONDAY, False)).runs == (400, 100)
    assert choose_runs({MONDAY - 2_000: 150, **long_ago}, newer, Rollout(MONDAY, False)).runs == (
        400,
        100,
    )


def test_baseline() -> None:
    """The baseline has the most runs in the compared hours, not in all time."""
    newer = {MONDAY: 300}
    older = {1: {MONDAY - 400: 9_000}, 2: {MONDAY - 1: 500, MONDAY: 200}, 3: {MONDAY: 120}}
    assert choose_baseline(older, newer, None) == 2
    assert choose_baseline({1: {MONDAY: 20}, 2: {MONDAY: 30}}, newer, None) == 2
