"""Counts by name that any thread may add to, also one that is adding already.

A finalizer runs in the middle of whatever its thread does. Where two locks are taken so, in one
order by one thread and in the other by another, both wait for ever: so nobody waits here.
"""

import threading
from collections import Counter, deque
from typing import Final

_UNFOLDED: Final = 1_000


class Tally:
    """Counts by name."""

    def __init__(self) -> None:
        self._new: deque[tuple[str, int]] = deque()
        self._sums: Counter[str] = Counter()
        self._folding = threading.Lock()

    def add(self, name: str, count: int = 1) -> None:
        """Count."""
        self._new.append((name, count))
        if len(self._new) > _UNFOLDED and self._folding.acquire(blocking=False):
            self._fold()

    def sums(self) -> dict[str, int]:
        """Return all counts; those that are being added at the moment may be missing."""
        if self._folding.acquire(timeout=1.0):
            self._fold()
        return dict(self._sums)

    def _fold(self) -> None:
        try:
            while self._new:
                name, count = self._new.popleft()
                self._sums[name] += count
        finally:
            self._folding.release()
