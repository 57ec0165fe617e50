"""Chooses which recorded runs of two versions of a model are compared.

A new version starts in many ways: as a canary, in an A/B test, after a trial, all at once, or again
after it was rolled back. See "New versions are compared automatically" in docs/design/028.

An hour is a number that grows by 1 from hour to hour.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypeVar

from otel_ml.statistics.comparison import LEAST_RUNS

# A version, release or LLM.
Name = TypeVar("Name", str, int, str | int)
# Hours before the rollout from which runs of the older version are compared: 7 days.
HOURS_BEFORE: Final = 7 * 24
# Successive calls of which the new version must have a fifth.
CALLS: Final = 100
LEAST_SHARE: Final = 0.2
# If a rollout takes longer, it is a canary or an A/B test.
_MOST_SWITCHING: Final = 2


class Stretch(NamedTuple):
    """Successive calls of a model, all by the new version or all by older ones, within an hour."""

    hour: int
    is_new: bool
    calls: int


class Rollout(NamedTuple):
    """The hour in which the rollout of a new version began.

    Attributes:
        hour: The hour.
        is_clean: Whether all older versions' calls of this hour came before its first call of the
            new version. Then both versions' runs of this hour count, each on its side.
    """

    hour: int
    is_clean: bool

    @property
    def end(self) -> int:
        """The first hour in which runs of older versions do not count."""
        return self.hour + self.is_clean


@dataclass(frozen=True, slots=True)
class Choice:
    """Which runs of two versions are compared.

    Attributes:
        kind: `hours`: the runs of the hours in which both versions ran. `rollout`: runs of the
            older version in the 7 days before the rollout, and runs of the newer version since
            then. `none`: the hours in which both ran have too few runs, and there is no rollout.
        hours: The hours in which both versions ran. Empty for a rollout.
        start: First hour of the compared runs.
        rollout: The rollout, for that kind. Otherwise None.
        runs: Number of compared runs of the older version and of the newer version.
        left_out: Number of runs of the newer version that are not compared.
    """

    kind: Literal["hours", "rollout", "none"]
    hours: tuple[int, ...]
    start: int
    rollout: Rollout | None
    runs: tuple[int, int]
    left_out: int


def find_rollout(stretches: Iterable[Stretch]) -> Rollout | None:
    """Find the hour in which the rollout of a new version began.

    It is the first hour from which, until now, every 100 successive calls of the model (all, if
    there are fewer) contain at least a fifth of the new version. Hours before the first call of the
    new version do not count. If the versions were switched within an hour, its earlier calls do not
    count either.

    Args:
        stretches: All calls of the model, oldest first.

    Returns:
        The rollout. None if the new version was rolled back, or is not rolled out yet.
    """
    calls: list[tuple[int, bool]] = []
    for hour, is_new, count in stretches:
        # Windows within a long stretch are all alike.
        calls += [(hour, is_new)] * min(count, 2 * CALLS)
    first = next((place for place, (_, is_new) in enumerate(calls) if is_new), None)
    if first is None:
        return None
    last_bad = -1
    new = sum(is_new for _, is_new in calls[:CALLS])
    least = LEAST_SHARE * CALLS
    for place in range(len(calls) - CALLS + 1):
        if place:
            new += calls[place + CALLS - 1][1] - calls[place - 1][1]
        if new < least:
            last_bad = place
    cleans = _find_switches(calls)
    # The last hours may have fewer than 100 calls.
    begins, new = None, 0
    for place in range(len(calls) - 1, last_bad, -1):
        hour, is_new = calls[place]
        if hour < calls[first][0]:
            break
        left = len(calls) - place
        new += is_new
        if left < CALLS and new < LEAST_SHARE * left:
            continue
        if cleans.get(hour) == place:
            begins = Rollout(hour, is_clean=True)
        elif (place == 0 or calls[place - 1][0] != hour) and begins != Rollout(hour, is_clean=True):
            begins = Rollout(hour, is_clean=False)
    return begins


def _find_switches(calls: Sequence[tuple[int, bool]]) -> dict[int, int]:
    """Return the place of the first new call of each hour in which all older calls came before."""
    firsts: dict[int, int] = {}
    mixed = set[int]()
    for place, (hour, is_new) in enumerate(calls):
        if is_new:
            firsts.setdefault(hour, place)
        elif hour in firsts:
            mixed.add(hour)
    return {
        hour: place
        for hour, place in firsts.items()
        if hour not in mixed and place and calls[place - 1][0] == hour
    }


def choose_runs(
    older: Mapping[int, int], newer: Mapping[int, int], rollout: Rollout | None
) -> Choice:
    """Choose the runs of two versions to compare.

    * If both versions ran in the same hours, with at least 100 runs each, these runs are compared.
    * Otherwise runs before and after the rollout are compared, if they are more: the version with
      fewer runs decides. They are also compared if the switch took at most two hours, and most runs
      of the newer version came later. Otherwise a deployment at half past ten would be judged by
      one hour only, for ever.

    Args:
        older: Number of runs of the older version, by hour.
        newer: Number of runs of the newer version, by hour.
        rollout: Result of `find_rollout`.
    """
    shared = tuple(hour for hour in sorted(older) if older[hour] and newer.get(hour))
    both = _count(older, shared), _count(newer, shared)
    every = sum(newer.values())
    around = None if rollout is None else choose_rollout(older, newer, rollout)
    if around is not None:
        before, after = around.runs
        is_switch = len(shared) <= _MOST_SWITCHING and before >= LEAST_RUNS
        is_more = min(both) < LEAST_RUNS and min(before, after) > min(both)
        if is_more or (is_switch and after > both[1]):
            return around
    start = shared[0] if shared else min(newer, default=0)
    kind: Literal["hours", "none"] = "hours" if min(both) >= LEAST_RUNS else "none"
    return Choice(kind, shared, start, None, both, every - both[1])


def choose_rollout(
    older: Mapping[int, int], newer: Mapping[int, int], rollout: Rollout
) -> Choice | None:
    """Choose the runs of the older version before a rollout, and of the newer one since then.

    A judge that scored too few runs in the hours of both versions is compared by these runs. If all
    runs of the older version are in the hour of the rollout, those of the newer one count from the
    next hour, unless that hour was a clean switch.

    Args:
        older: Number of runs of the older version, by hour.
        newer: Number of runs of the newer version, by hour.
        rollout: Result of `find_rollout`.

    Returns:
        The choice. None if the older version has no run before the rollout.
    """
    hours = [hour for hour, runs in older.items() if runs]
    if not rollout.is_clean and hours and min(hours) == max(hours) == rollout.hour:
        rollout = Rollout(rollout.hour + 1, is_clean=False)
    start = _find_start(older, rollout)
    before = sum(runs for hour, runs in older.items() if start <= hour < rollout.end)
    after = sum(runs for hour, runs in newer.items() if hour >= rollout.hour)
    if not before:
        return None
    left_out = sum(newer.values()) - after
    return Choice("rollout", (), start, rollout, (before, after), left_out)


def choose_baseline(
    older: Mapping[Name, Mapping[int, int]], newer: Mapping[int, int], rollout: Rollout | None
) -> Name:
    """Choose the version that a new version is compared with, unless one is marked as production.

    It is the one with the most runs in the hours or days that are compared.

    Args:
        older: Number of runs by hour, for each older version. At least one.
        newer: The same for the new version.
        rollout: Result of `find_rollout`.
    """
    choices = {name: choose_runs(hours, newer, rollout) for name, hours in older.items()}

    def order(name: Name) -> tuple[bool, int, int, str]:
        runs = choices[name].runs
        return min(runs) >= LEAST_RUNS, runs[0], sum(older[name].values()), str(name)

    return max(older, key=order)


def _find_start(older: Mapping[int, int], rollout: Rollout) -> int:
    """Return the first hour of the 7 days before the rollout.

    If the older version had no run in these days, its last 7 days with runs count.
    """
    end = rollout.end
    last = max((hour for hour, runs in older.items() if runs and hour < end), default=end)
    start = rollout.hour - HOURS_BEFORE
    return start if last >= start else last - HOURS_BEFORE + 1


def _count(runs: Mapping[int, int], hours: Iterable[int]) -> int:
    return sum(runs[hour] for hour in hours)
