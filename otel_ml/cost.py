"""What the SDK itself costs a call, of the last thousand calls that were measured."""

from typing import Final

_KEPT: Final = 1_024


class Cost:
    """Keeps the last durations; any thread may add, a race loses one at most."""

    def __init__(self) -> None:
        self._kept = [0] * _KEPT
        self._count = 0

    def add(self, cost_ns: int) -> None:
        """Keep one duration."""
        count = self._count
        self._kept[count % _KEPT] = cost_ns
        self._count = count + 1

    def quantile_us(self, share: float) -> float | None:
        """Return a quantile in microseconds; None before the first call."""
        kept = sorted(self._kept[: min(self._count, _KEPT)])
        return kept[min(int(len(kept) * share), len(kept) - 1)] / 1e3 if kept else None
