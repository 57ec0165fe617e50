"""Sequential tests by betting, so that you can check every window with few false alarms.

A figure from 0 to 1, such as a pass rate, is checked window by window. Each window bets against
the hypothesis that the figure is within its limit. The stake grows if the runs contradict the
hypothesis, and does not grow on average while it holds. The condition `surely` of alert rules uses
the sum over all windows in which a change may have started. New versions are judged by the product
from one start.

The runs of a session are not independent, so each session counts as one, with its mean. A quantile
is checked as a share: ``p95 > 2000`` means that more than 5 % of the runs are above 2000
(`count_above`).
"""

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Final

# Number of sessions (or independent runs) by their mean, from 0 to 1.
Means = Mapping[float, int]
# Number of sessions by their gain: how far they are below their limit.
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
    """Count the sessions by the mean of their values.

    Args:
        runs: Session and value (from 0 to 1) of each run. A run with the session None is
            independent.
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
    """Count the sessions by the share of their runs above a threshold.

    This is how a quantile is checked: ``p95 > threshold`` means that the share is above 0.05.
    """
    return session_means((session, float(value > threshold)) for session, value in runs)


def log_stakes(gains: Gains, most_lost: float, bets: Sequence[float]) -> list[float]:
    """Return the logarithm of each bet's stake after some sessions. Each stake starts at 1.

    No stake grows on average if the average gain is 0 or less.

    Args:
        gains: How far each session is below its limit. Above 0 if it is below.
        most_lost: Largest possible distance of a session above its limit, as a positive number.
        bets: Size of each bet. A bet that could lose more than half of its stake is reduced to
            that.

    Source: Waudby-Smith and Ramdas, Estimating means of bounded random variables by betting,
    Journal of the Royal Statistical Society B 86 (2024), section 4.
    """
    most = _MOST_LOST / most_lost if most_lost > 0 else _MOST_BET
    capped = [min(bet, most) for bet in bets]
    return [
        math.fsum(count * math.log1p(bet * gain) for gain, count in gains.items()) for bet in capped
    ]


def bets_up_to(most_lost: float) -> list[float]:
    """Return the bets to mix: from a sixteenth, each twice the one before.

    Args:
        most_lost: Largest possible distance above the limit, see `log_stakes`. No bet loses more
            than half of its stake.
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
    """Return the logarithm of the stake after one window. The stake starts at 1.

    Args:
        means: Number of sessions by mean, from 0 to 1.
        limit: The stake does not grow on average while the figure is at the limit or on its good
            side.
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
    """Return the sum over possible start times after one more window. It starts at 0.

    An alarm is raised if the sum exceeds N. While the figure is within its limit, there are at
    least N windows between two alarms on average, however often you check. After an alarm the sum
    starts at 0.

    Args:
        total: The sum before.
        means: Number of sessions of the window by mean, from 0 to 1.
        limit: Limit of the figure: 0.9 for ``pass_rate < 0.9``.
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
    """Return the indexes of the windows with an alarm: the figure is certainly beyond its limit.

    Args:
        windows: The windows in the order of time. A window without a session changes nothing.
        limit: Limit of the figure.
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
