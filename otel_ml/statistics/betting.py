"""Tests that you can repeat every few minutes with few false alarms (sequential tests by betting).

Alert rules with the condition `surely` and verdicts on new versions use them. A number from 0 to 1,
such as a pass rate, is compared with a limit, one time window after another. A window is one step
of time, such as an hour.

An imaginary gambler starts with a stake of 1 and bets that the number is beyond its limit. While it
is within the limit, the stake does not grow on average. A large stake is therefore evidence that
the limit is exceeded. Alert rules use the sum of the stakes for all possible start times of a
change.

The runs of a session are not independent, so each session counts as one, with the mean of its runs.
A quantile is checked as a share: ``p95 > 2000`` means that more than 5 % of the runs are above
2000. The mean of numbers without an upper limit, such as latencies, is checked by `add_amounts`.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

# Maps a session's mean (0 to 1) to the number of sessions with this mean.
Means = Mapping[float, int]
# Maps a gain (how far a session is below its limit) to the number of sessions with this gain.
Gains = Mapping[float, int]

# Smallest bet for a session at its limit, as a part of the stake. Each further bet doubles it.
_LEAST_BET: Final = 1 / 16
_MOST_BET: Final = 1_024.0
# Largest part of its stake that a bet can lose at once.
_MOST_LOST: Final = 0.5
# Bets on a mean of numbers: the share of the stake that a session can lose. Small bets suit long
# tails. With latencies, the variance can be many times the square of the limit.
_AMOUNT_BETS: Final = tuple(_MOST_LOST / 2**place for place in range(6))
# Maximum distance of a session beyond the limit, in multiples of `reach`. So a single session, such
# as a timeout, multiplies the evidence by at most 9.
_MOST_GAIN: Final = 16.0
# Sums are capped at this number, to avoid overflow.
_MOST_SUM: Final = 1e300


def log_stakes(gains: Gains, most_lost: float, bets: Sequence[float]) -> list[float]:
    """Return the evidence that the mean of the sessions is below a limit, one number per bet size.

    Use it to test again after every new time window, without more false alarms than planned. The
    method is a bet: a gambler starts with a stake of 1, and bets that sessions are below the limit.
    In the long run, the stake grows only if the mean of the sessions really is below the limit. The
    evidence is the logarithm of the stake. 0 or less means no evidence.

    Args:
        gains: Maps a distance from the limit to the number of sessions with this distance.
            Distances are positive below the limit, and negative above it.
        most_lost: How far a session can be above the limit, as a positive number: 0.1 if the limit
            is 0.9 and no session can be above 1.
        bets: The bet sizes. A size is the share of the stake that is won or lost per unit of
            distance. A size that could lose more than half of the stake at once is reduced.

    Source: Waudby-Smith and Ramdas, Estimating means of bounded random variables by betting,
    Journal of the Royal Statistical Society B 86 (2024), section 4.
    """
    most = _MOST_LOST / most_lost if most_lost > 0 else _MOST_BET
    capped = [min(bet, most) for bet in bets]
    return [
        math.fsum(count * math.log1p(bet * gain) for gain, count in gains.items()) for bet in capped
    ]


def bets_up_to(most_lost: float) -> list[float]:
    """Return the bet sizes to pass to `log_stakes`: 1/16, 1/8, 1/4 and so on.

    The docstring of `log_stakes` explains bets. The last size is the largest one with which a
    single session cannot lose more than half of the stake, or 1,024 if that is smaller.

    Args:
        most_lost: Largest possible distance of a session's mean above the limit, as in
            `log_stakes`.
    """
    most = min(_MOST_LOST / most_lost, _MOST_BET) if most_lost > 0 else _MOST_BET
    bets = [_LEAST_BET]
    while bets[-1] < most:
        bets.append(min(2 * bets[-1], most))
    return bets


def mix(logs: Sequence[float]) -> float:
    """Combine the evidence from several bet sizes: return the logarithm of the mean stake."""
    most = max(logs)
    return most + math.log(math.fsum(math.exp(log - most) for log in logs) / len(logs))


def log_stake(means: Means, limit: float, *, is_above: bool = False) -> float:
    """Return the evidence in one time window that a limit is violated. 0 means no evidence.

    For how the evidence is computed, see `log_stakes`.

    Args:
        means: The sessions in the window: each mean value of their runs, from 0
            to 1, with its number of sessions.
        limit: The limit to check, from 0 to 1.
        is_above: True if values above the limit are bad. False if values below it are bad.

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
    """Return the evidence that a limit is violated, after one more time window.

    Call it after every window, with the previous result as `total`. When the result exceeds a
    number N of your choice, raise an alarm and start again with 0. False alarms are then at least N
    windows apart on average. A larger N gives fewer false alarms.

    Args:
        total: The evidence before this window. Start with 0.
        means: The sessions in the window: each mean value of their runs, from 0
            to 1, with its number of sessions.
        limit: The limit to check: 0.9 for ``pass_rate < 0.9``.
        is_above: True if values above the limit are bad, as for ``error_share > 0.05``. False if
            values below it are bad.

    Source: Shin, Ramdas, Rinaldo, E-detectors: a nonparametric framework for sequential change
    detection, New England Journal of Statistics in Data Science 2 (2024): the Shiryaev-Roberts
    form.
    """
    return _grow(total, log_stake(means, limit, is_above=is_above))


def add_amounts(
    total: float, means: Means, limit: float, *, reach: float, is_above: bool = False
) -> float:
    """Return the evidence that a mean violates a limit, after one more time window.

    `add_window` does the same for values from 0 to 1. This function is for all other numbers, such
    as latencies and costs. You need to know the best possible value. For example, the best latency
    is 0 ms, which is 200 away from the limit of ``mean(latency_ms) > 200``. So `reach` is 200.

    Args:
        total: The evidence before this window. Start with 0.
        means: The sessions in the window: each mean value of their runs with its
            number of sessions.
        limit: The limit to check: 200 for ``mean(latency_ms) > 200``.
        reach: Distance from the limit to the best possible value, above 0. Better values count as
            the best possible value. Choose `reach` before you see the window.
        is_above: True if values above the limit are bad. False if values below it are bad.

    Raises:
        ValueError: `reach` is not above 0.
    """
    if not reach > 0:
        raise ValueError(f"Invalid reach {reach!r}: expected a number above 0")
    gains: Counter[float] = Counter()
    for mean, count in means.items():
        gain = (mean - limit if is_above else limit - mean) / reach
        gains[min(max(gain, -1.0), _MOST_GAIN)] += count
    return _grow(total, mix(log_stakes(gains, 1.0, _AMOUNT_BETS)))


def _grow(total: float, log: float) -> float:
    """Return the sum of the stakes of all start times after a window, from its own stake."""
    grown = log + math.log1p(total)
    return math.exp(grown) if grown < math.log(_MOST_SUM) else _MOST_SUM
