"""Tests that you can repeat every few minutes with few false alarms (sequential tests by betting).

Alert rules with the condition `surely` and verdicts on new versions use them. A number from 0 to 1,
such as a pass rate, is compared with a limit, one time window after another. A window is one step
of time, such as an hour.

An imaginary gambler starts with a stake of 1 and bets that the number is beyond its limit. While it
is within the limit, the stake does not grow on average. A large stake is therefore evidence that
the limit is exceeded. Alert rules use the sum of the stakes for all possible start times of a
change.

The runs of a session are not independent, so each session counts as one, with the mean of its runs.
A quantile is checked as a share: ``p95 > 2000`` means that more than 5 % of the runs are above 2000
(`count_above`).
"""

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Final

# Maps a session's mean (0 to 1) to the number of sessions with this mean.
Means = Mapping[float, int]
# Maps a gain (how far a session is below its limit) to the number of sessions with this gain.
Gains = Mapping[float, int]

# Default for the average number of windows between two false alarms, at least.
WINDOWS_BETWEEN: Final = 1_000
# Smallest bet for a session at its limit, as a part of the stake. Each further bet doubles it.
_LEAST_BET: Final = 1 / 16
_MOST_BET: Final = 1_024.0
# Largest part of its stake that a bet can lose at once.
_MOST_LOST: Final = 0.5
# Sums are capped at this number, to avoid overflow.
_MOST_SUM: Final = 1e300


def session_means(runs: Iterable[tuple[Hashable | None, float]]) -> Counter[float]:
    """Count sessions by the mean value of their runs.

    Args:
        runs: Session and value (from 0 to 1) of each run. A run with the session None is
            independent and counts as its own session.
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
    """Return how many sessions have each share of runs above a threshold.

    Use it to check a quantile: ``p95 > threshold`` means that the share is above 0.05.

    Args:
        runs: Session and value of each run. A run with the session None counts as its own session.
        threshold: Only values above it count, in the unit of the values.
    """
    return session_means((session, float(value > threshold)) for session, value in runs)


def log_stakes(gains: Gains, most_lost: float, bets: Sequence[float]) -> list[float]:
    """Return the evidence that sessions are below a limit, one number per bet size.

    Each number is the logarithm of a gambler's stake, which starts at 1 (logarithm 0). The stake
    does not grow on average unless the sessions are below the limit on average.

    Args:
        gains: Number of sessions by their distance below the limit. Negative above the limit.
        most_lost: Largest possible distance above the limit, as a positive number.
        bets: How much of the stake each gambler bets per unit of distance. A bet that could lose
            more than half of the stake is reduced.

    Source: Waudby-Smith and Ramdas, Estimating means of bounded random variables by betting,
    Journal of the Royal Statistical Society B 86 (2024), section 4.
    """
    most = _MOST_LOST / most_lost if most_lost > 0 else _MOST_BET
    capped = [min(bet, most) for bet in bets]
    return [
        math.fsum(count * math.log1p(bet * gain) for gain, count in gains.items()) for bet in capped
    ]


def bets_up_to(most_lost: float) -> list[float]:
    """Return the bet sizes to try with `log_stakes`: 1/16, 1/8, 1/4 and so on, up to a maximum.

    Args:
        most_lost: Largest possible distance above the limit. It sets the maximum: no bet can lose
            more than half of its stake.
    """
    most = min(_MOST_LOST / most_lost, _MOST_BET) if most_lost > 0 else _MOST_BET
    bets = [_LEAST_BET]
    while bets[-1] < most:
        bets.append(min(2 * bets[-1], most))
    return bets


def mix(logs: Sequence[float]) -> float:
    """Combine bets of several sizes: return the logarithm of their mean stake."""
    most = max(logs)
    return most + math.log(math.fsum(math.exp(log - most) for log in logs) / len(logs))


def log_stake(means: Means, limit: float, *, is_above: bool = False) -> float:
    """Return the evidence of one time window that a limit is exceeded, as the logarithm of a stake.

    0 means no evidence. While the number is at the limit or on its good side, the stake does not
    grow on average.

    Args:
        means: Number of sessions in the window by their mean value, from 0 to 1.
        limit: The limit to check, from 0 to 1.
        is_above: Whether values above the limit are bad. If False, values below are bad.

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
    """Return the updated evidence of an alert rule after one more time window.

    Raise an alarm if the result exceeds N, and start again at 0 after it. While the number is
    within its limit, at least N windows lie between two alarms on average, however often you check.

    Args:
        total: The evidence before this window. Start with 0.
        means: Number of sessions in the window by their mean value, from 0 to 1.
        limit: The limit to check: 0.9 for ``pass_rate < 0.9``.
        is_above: Whether values above the limit are bad, as for ``error_share > 0.05``.

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
    """Return the indexes of the windows in which a limit is certainly exceeded.

    Args:
        windows: One entry per time window, oldest first: number of sessions by their mean value,
            from 0 to 1. A window without a session changes nothing.
        limit: The limit to check, from 0 to 1.
        is_above: Whether values above the limit are bad. If False, values below are bad.
        windows_between: Minimum average number of windows between two false alarms.
    """
    alarms, total = [], 0.0
    for place, means in enumerate(windows):
        total = add_window(total, means, limit, is_above=is_above) if means else total
        if total > windows_between:
            alarms.append(place)
            total = 0.0
    return alarms
