"""How much a key may send: a bucket of spans and one of bytes, each filled at the key's rate.

A request is let in while its key's buckets are not empty, and then taken out of them whole, also
below zero: so a request that is larger than the rate is slow, not impossible, and no answer waits
for the count of its spans.
"""

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from otel_ml_collector.access import Access
from otel_ml_collector.errors import OverQuota

# A silent key saves up this much of its rate.
_BURST_S: Final = 2.0
_LONGEST_S: Final = 300
_KEYS: Final = 10_000


@dataclass(slots=True)
class _Bucket:
    level: float
    at_s: float

    def fill(self, rate: int, now_s: float) -> None:
        self.level = min(self.level + (now_s - self.at_s) * rate, rate * _BURST_S)
        self.at_s = now_s


class Quotas:
    """The buckets of all keys that have a quota, of this collector alone; any thread may call.

    Args:
        clock: Tells the time in seconds; it never goes back.
        on_refused: Is told of each request that is not let in, by the unit it is over.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        on_refused: Callable[[str], None] = lambda unit: None,
    ) -> None:
        self._clock = clock
        self._on_refused = on_refused
        self._lock = threading.Lock()
        self._buckets: dict[tuple[str, str], _Bucket] = {}

    def check(self, access: Access) -> None:
        """Let a request in.

        Raises:
            OverQuota: A bucket of its key is empty; it says when it will not be.
        """
        for unit, rate in _rates(access):
            with self._lock:
                level = self._bucket(access.key_id, unit, rate).level
            if level <= 0:
                self._on_refused(unit)
                raise OverQuota(
                    f"The key may send {rate} {unit} a second and has sent more",
                    min(max(math.ceil(-level / rate), 1), _LONGEST_S),
                )

    def take(self, access: Access, *, spans: int = 0, size: int = 0) -> None:
        """Take what a request holds out of its key's buckets.

        Args:
            access: Whose request.
            spans: How many spans it has.
            size: How many bytes it has, as they came.
        """
        taken = {"spans": spans, "bytes": size}
        for unit, rate in _rates(access):
            with self._lock:
                self._bucket(access.key_id, unit, rate).level -= taken[unit]

    def _bucket(self, key_id: str, unit: str, rate: int) -> _Bucket:
        now_s = self._clock()
        if len(self._buckets) > 2 * _KEYS:
            self._buckets.clear()
        bucket = self._buckets.setdefault((key_id, unit), _Bucket(rate * _BURST_S, now_s))
        bucket.fill(rate, now_s)
        return bucket


def _rates(access: Access) -> list[tuple[str, int]]:
    rates = (("spans", access.spans_per_second), ("bytes", access.bytes_per_second))
    return [(unit, rate) for unit, rate in rates if rate]
