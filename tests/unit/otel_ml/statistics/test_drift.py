"""Drift in simulated streams: rarely found without a change, reliably found with one."""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import pytest
from numpy.typing import NDArray

from otel_ml.statistics.distances import Comparison, compare
from otel_ml.statistics.field_drift import own_distances
from otel_ml.statistics.fields import presence
from otel_ml.statistics.sketches import Sketch, bin_of, merge_sketches
from tests.support.examples import examples
from tests.support.sampling import harder, sampled

# A reference of four weeks, one window per day.
WINDOWS: Final = 28
STREAMS: Final = examples(300, 60)
# Share of runs by session size. All runs of a session are equal, which is the worst case.
SESSIONS: Final = {1: 0.6, 5: 0.3, 50: 0.1}
ONCE: Final = {1: 1.0}

# Shares of each value in a window.
Shares = NDArray[np.float64]


class Stream:
    """Windows of a field: counts of values, drawn by whole sessions.

    Args:
        values: Its values: numbers, or names of categories.
        shares: The share of each value, by day.
        sessions: The share of runs by session size.
    """

    def __init__(
        self,
        values: Sequence[float] | Sequence[str],
        shares: Callable[[int], Shares],
        sessions: dict[int, float],
    ) -> None:
        self.shares = shares
        self._values = values
        self._sessions = sessions
        self._bins = [bin_of(value) if not isinstance(value, str) else (0, 0) for value in values]

    def draw(self, n: int, shares: Shares, generator: np.random.Generator) -> Sketch:
        """Draw a window of about `n` runs."""
        counts = np.zeros(len(shares), dtype=np.int64)
        clustered = 0.0
        for size, part in self._sessions.items():
            drawn = generator.multinomial(max(round(n * part / size), 1), shares / shares.sum())
            counts += size * drawn
            clustered += float(size * size * drawn.sum())
        total = int(counts.sum())
        present = [(at, int(count)) for at, count in enumerate(counts) if count]
        if isinstance(self._values[0], str):
            values = {str(self._values[at]): count for at, count in present}
            return Sketch("category", total, clustered=clustered, values=values)
        bins: dict[int, tuple[int, int, int]] = {}
        for at, count in present:
            key, place = self._bins[at]
            before = bins.get(key, (0, 0, 0))
            bins[key] = (
                *(before[0] + count, before[1] + count * place),
                before[2] + count * place * place,
            )
        return Sketch("number", total, clustered=clustered, bins=bins)


def judge(windows: Sequence[Sketch], new: Sketch) -> Comparison:
    """Compare a window with the windows before it, as the collector does."""
    reference = merge_sketches(windows)
    return compare(reference, new, own=lambda: own_distances(reference, windows))


LOG_NORMAL: Final = np.exp(np.linspace(-2.5, 3.5, 400))
HEAVY: Final = 1 / np.linspace(0.0005, 0.9995, 1_000) ** (1 / 1.5)
NAMES: Final = [f"v{at}" for at in range(12)]
ZIPF: Final = 1 / np.arange(1.0, 13.0)


def seasonal(day: int) -> Shares:
    """Return shares with a higher middle at the weekend."""
    middle = 0.9 if day % 7 in {5, 6} else 0.5
    shares: Shares = np.exp(-((np.log(LOG_NORMAL) - middle) ** 2) / 2)
    return shares


def flat(_: int) -> Shares:
    """Return the same shares each day."""
    return np.ones(len(HEAVY))


def zipf(day: int) -> Shares:
    """Return shares that differ at the weekend."""
    return ZIPF * np.where((np.arange(12) % 2 == 0) & (day % 7 in {5, 6}), 1.5, 1.0)


STREAM: Final = {
    "weekly season": Stream(list(LOG_NORMAL), seasonal, SESSIONS),
    "heavy tail": Stream(list(HEAVY), flat, SESSIONS),
    "heavy tail, no sessions": Stream(list(HEAVY), flat, ONCE),
    "category": Stream(NAMES, zipf, SESSIONS),
}


@harder
@sampled(4)
@pytest.mark.parametrize("n", [100, 300, 10_000, 1_000_000])
@pytest.mark.parametrize("name", STREAM)
def test_no_change(name: str, n: int) -> None:
    """In streams that do not change, drift is found in at most 2 % of windows, for any n."""
    generator = np.random.default_rng(n)
    stream, drifting = STREAM[name], 0
    for place in range(STREAMS):
        windows = [
            stream.draw(n, stream.shares(day), generator) for day in range(place, place + WINDOWS)
        ]
        day = place + WINDOWS
        drifting += judge(windows, stream.draw(n, stream.shares(day), generator)).word == "drift"
    assert drifting <= max(0.02 * STREAMS, 2)


def with_shift(shares: Shares) -> Shares:
    """Shift the log-normal by 0.3 of its interquartile range."""
    cumulated = np.cumsum(shares) / shares.sum()
    low, high = (LOG_NORMAL[np.searchsorted(cumulated, p)] for p in (0.25, 0.75))
    moved = np.interp(LOG_NORMAL - 0.3 * (high - low), LOG_NORMAL, cumulated, left=0.0)
    shifted: Shares = np.maximum(np.diff(moved, prepend=0.0), 0.0)
    return shifted


def level(_: int) -> Shares:
    """Return the shares of a log-normal, equal each day."""
    shares: Shares = np.exp(-((np.log(LOG_NORMAL) - 0.5) ** 2) / 2)
    return shares


def same(_: int) -> Shares:
    """Return Zipf shares with a share of 0 for the last value."""
    return np.append(ZIPF, 0.0)


CHANGE: Final = {
    "shift of 0.3 interquartile ranges": (Stream(list(LOG_NORMAL), level, ONCE), with_shift),
    "new category of 3 %": (
        Stream([*NAMES, "new"], same, ONCE),
        lambda shares: np.append(shares[:-1], shares.sum() * 0.03 / 0.97),
    ),
}
FOUND_OF: Final = examples(300, 60)


@harder
@pytest.mark.parametrize("name", CHANGE)
def test_change(name: str) -> None:
    """A change is found in its first window of 2,000 runs in at least 95 of 100 streams."""
    generator = np.random.default_rng(5)
    (stream, change), found = CHANGE[name], 0
    for _ in range(FOUND_OF):
        windows = [stream.draw(2_000, stream.shares(day), generator) for day in range(WINDOWS)]
        new = stream.draw(2_000, change(stream.shares(WINDOWS)), generator)
        found += judge(windows, new).word == "drift"
    assert found >= 0.95 * FOUND_OF


@harder
def test_missing() -> None:
    """A field that starts to be missing in 5 % of runs is found."""
    generator = np.random.default_rng(6)
    found = 0
    for _ in range(FOUND_OF):
        windows = [presence(Sketch("category", 2_000, 0, 2_000)) for _ in range(WINDOWS)]
        lacking = int(generator.binomial(2_000, 0.05))
        new = presence(Sketch("category", 2_000 - lacking, lacking, 2_000 - lacking))
        found += judge(windows, new).word == "drift"
    assert found >= 0.95 * FOUND_OF
