"""Bets against "nothing is wrong", so that one may look at every window and seldom be misled.

A figure from 0 to 1, such as a pass rate, is watched window by window. Each window bets against
"the figure is still within its limit": the stake grows where the runs say otherwise, and does not
grow on average while nothing is wrong. Sums over all windows in which a change may have begun are
what `surely` goes by; a product from one beginning is what a new version is judged by.

Sessions enter as one, by their mean, since runs of one are not independent. A quantile is watched
as a share: ``p95 > 2000`` is that more than 5 % of the runs are above 2000 (`count_above`).
"""

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Final

# How many sessions, or runs that stand alone, have a mean: by that mean, from 0 to 1.
Means = Mapping[float, int]
# What a session gains or loses of a stake: how far below its limit it is, and how many do so.
Gains = Mapping[float, int]

# A false alarm in so many windows at most, on average, unless told otherwise.
WINDOWS_BETWEEN: Final = 1_000
# The smallest part of a stake that is bet for a session at its limit; each further bet is twice it.
_LEAST_BET: Final = 1 / 16
_MOST_BET: Final = 1_024.0
# No bet can lose more than so much of its stake at once.
_MOST_LOST: Final = 0.5
# Beyond it a sum says nothing more.
_MOST_SUM: Final = 1e300


def session_means(runs: Iterable[tuple[Hashable | None, float]]) -> Counter[float]:
    """Count the means of sessions.

    Args:
        runs: The session and the value of each run, from 0 to 1; one without a session, None,
            stands for itself.
    """
    counts: Counter[float] = Counter()
    sessions: dict[Hashable, list[float]] = {}
    for session, value in runs:
        if session is None:
            counts[value] += 1
        else:
            sessions.setdefault(session, []).append(value)
    counts.update(math.fsum(values) / len(values) for values in sessions.values())
    return counts


def count_above(runs: Iterable[tuple[Hashable | None, float]], threshold: float) -> Counter[float]:
    """Count the means of sessions of whether runs are above a threshold, as 1, or not, as 0.

    So a quantile is watched: ``p95 > threshold`` is that the share of these is above 0.05.
    """
    return session_means((session, float(value > threshold)) for session, value in runs)


def log_stakes(gains: Gains, most_lost: float, bets: Sequence[float]) -> list[float]:
    """Return the logarithm of what each bet has become after some sessions, of a stake of 1.

    On average no bet grows while the gains are 0 or less on average.

    Args:
        gains: How far below its limit each session is; above 0 where it is.
        most_lost: How far above its limit a session can be at most: as a number above 0.
        bets: How much is bet; a bet that could lose more than half of its stake is lowered to that.

    Source: Waudby-Smith and Ramdas, Estimating means of bounded random variables by betting,
    Journal of the Royal Statistical Society B 86 (2024), section 4.
    """
    most = _MOST_LOST / most_lost if most_lost > 0 else _MOST_BET
    capped = [min(bet, most) for bet in bets]
    return [
        math.fsum(count * math.log1p(bet * gain) for gain, count in gains.items()) for bet in capped
    ]


def bets_up_to(most_lost: float) -> list[float]:
    """List the bets that are mixed: from a sixteenth, each twice the one before.

    Args:
        most_lost: As in `log_stakes`: none loses more than half of its stake.
    """
    most = min(_MOST_LOST / most_lost, _MOST_BET) if most_lost > 0 else _MOST_BET
    bets = [_LEAST_BET]
    while bets[-1] < most:
        bets.append(min(2 * bets[-1], most))
    return bets


def mix(logs: Sequence[float]) -> float:
    """Return the logarithm of the mean of stakes, from their logarithms."""
    most = max(logs)
    return most + math.log(math.fsum(math.exp(log - most) for log in logs) / len(logs))


def log_stake(means: Means, limit: float, *, is_above: bool = False) -> float:
    """Return the logarithm of what a stake of 1 becomes in one window.

    Args:
        means: Of the sessions of the window, from 0 to 1.
        limit: A stake does not grow on average while the figure is at it, or on its good side.
        is_above: Whether the good side is that below the limit; else it is that above.

    Raises:
        ValueError: A mean is not from 0 to 1.
    """
    for mean in means:
        if not 0 <= mean <= 1:
            raise ValueError(f"Invalid mean {mean!r}: expected a number from 0 to 1")
    if is_above:
        gains, most_lost = {mean - limit: count for mean, count in means.items()}, limit
    else:
        gains, most_lost = {limit - mean: count for mean, count in means.items()}, 1 - limit
    return mix(log_stakes(gains, most_lost, bets_up_to(most_lost)))


def add_window(total: float, means: Means, limit: float, *, is_above: bool = False) -> float:
    """Return the sum over possible onsets after one more window; 0 before the first.

    It fires when it exceeds N. While the figure is within its limit there are at least N windows
    on average until then, however often one looks; after that the sum begins at 0 again.

    Args:
        total: The sum before.
        means: Of the sessions of the window, from 0 to 1.
        limit: That of ``pass_rate < 0.9`` is 0.9.
        is_above: As in `log_stake`: of ``error_share > 0.05``.

    Source: Shin, Ramdas, Rinaldo, E-detectors: a nonparametric framework for sequential change
    detection, New England Journal of Statistics in Data Science 2 (2024): the Shiryaev-Roberts
    form.
    """
    log = log_stake(means, limit, is_above=is_above) + math.log1p(total)
    return math.exp(log) if log < math.log(_MOST_SUM) else _MOST_SUM


def find_alarms(
    windows: Iterable[Means],
    limit: float,
    *,
    is_above: bool = False,
    windows_between: float = WINDOWS_BETWEEN,
) -> list[int]:
    """Return the places of the windows in which it is sure that the figure is beyond its limit.

    Args:
        windows: In the order of time; a window without a session changes nothing.
        limit: As in `log_stake`.
        is_above: As in `log_stake`.
        windows_between: N: at least so many windows are between two false alarms, on average.
    """
    alarms, total = [], 0.0
    for place, means in enumerate(windows):
        total = add_window(total, means, limit, is_above=is_above) if means else total
        if total > windows_between:
            alarms.append(place)
            total = 0.0
    return alarms
