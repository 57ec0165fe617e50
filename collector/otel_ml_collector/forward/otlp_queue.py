"""What waits for one target: bounded by bytes and by number, resting while the target is away."""

import random
import threading
import time
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Final

from otel_ml_collector.errors import CollectorError
from otel_ml_collector.forward.otlp_request import OtlpRequest
from otel_ml_collector.telemetry import Waiting

_FIRST_PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 5.0
_DOUBLINGS: Final = 5
_JITTER: Final = 0.2


@dataclass(slots=True, eq=False)
class Item:
    """A request that waits.

    Attributes:
        request: What is sent.
        until_s: `time.monotonic` after which it is given up.
        answer: Ends with None when the target has acknowledged it, else with what is wrong.
    """

    request: OtlpRequest
    until_s: float
    answer: "Future[CollectorError | None]" = field(default_factory=Future)


class OtlpQueue:
    """Hands requests to the threads of one target.

    While the target is away one thread tries, the pauses between grow, and the others wait. What
    failed goes to the end, so that one request which fails for ever holds up no other.

    Args:
        most_bytes: How many bytes it holds; one request is taken whatever its size.
        most_requests: How many requests it holds.
    """

    def __init__(self, most_bytes: int, most_requests: int) -> None:
        self._most_bytes = most_bytes
        self._most_requests = most_requests
        self._items: deque[Item] = deque()
        self._changed = threading.Condition()
        self._requests = 0
        self._bytes = 0
        self._failures = 0
        self._rests_until_s = 0.0
        self._is_trying = False
        self._ends_at_s: float | None = None

    @property
    def waiting(self) -> Waiting:
        """What is in it, with what its threads have taken and not ended."""
        with self._changed:
            return Waiting(self._requests, self._bytes)

    @property
    def is_ending(self) -> bool:
        """Whether nothing is put back any more."""
        return self._ends_at_s is not None

    def put(self, item: Item) -> bool:
        """Add a request; tells whether there was room."""
        size = len(item.request.body)
        with self._changed:
            is_full = self._requests >= self._most_requests or (
                self._requests > 0 and self._bytes + size > self._most_bytes
            )
            if is_full or self.is_ending:
                return False
            self._requests += 1
            self._bytes += size
            self._items.append(item)
            self._changed.notify()
        return True

    def take(self) -> Item | None:
        """Wait for a request; None when it has ended."""
        with self._changed:
            while not self._may_take():
                if self._has_ended():
                    return None
                self._changed.wait(self._pause_s())
            self._is_trying = self._failures > 0
            return self._items.popleft()

    def put_back(self, item: Item, delay_s: float | None) -> None:
        """Keep a request that failed, and let the target rest.

        Args:
            item: The request.
            delay_s: For how long, when the target says it.
        """
        with self._changed:
            self._items.append(item)
            self._note_failure(delay_s)

    def done(self, item: Item) -> None:
        """Forget a request that the target has answered: it is there."""
        with self._changed:
            self._forget(item)
            self._failures = 0
            self._rests_until_s = 0.0
            self._changed.notify_all()

    def drop(self, item: Item) -> None:
        """Forget a request that was not sent."""
        with self._changed:
            self._forget(item)
            self._changed.notify_all()

    def give_up(self, item: Item, delay_s: float | None) -> None:
        """Forget a request that failed, and let the target rest as `put_back` does."""
        with self._changed:
            self._forget(item)
            self._note_failure(delay_s)

    def end(self, timeout_s: float) -> None:
        """Take no more; what is there is still handed out, each once, for a bounded time."""
        with self._changed:
            self._ends_at_s = time.monotonic() + timeout_s
            self._changed.notify_all()

    def drain(self) -> list[Item]:
        """Return what nobody will send any more."""
        with self._changed:
            left = list(self._items)
            self._items.clear()
        return left

    def _forget(self, item: Item) -> None:
        self._requests -= 1
        self._bytes -= len(item.request.body)
        self._is_trying = False

    def _may_take(self) -> bool:
        if not self._items or self._has_ended():
            return False
        if self.is_ending:
            return True
        if self._failures and self._is_trying:
            return False
        return time.monotonic() >= self._rests_until_s

    def _has_ended(self) -> bool:
        if self._ends_at_s is None:
            return False
        return not self._items or time.monotonic() >= self._ends_at_s

    def _pause_s(self) -> float | None:
        """How long to wait when nothing changes; for ever when only a change helps."""
        if not self._items or self._is_trying:
            return None
        return max(self._rests_until_s - time.monotonic(), 0.0)

    def _note_failure(self, delay_s: float | None) -> None:
        now_s = time.monotonic()
        if now_s >= self._rests_until_s or delay_s is not None:  # else it is known to be away
            grown_s = _FIRST_PAUSE_S * 2 ** min(self._failures, _DOUBLINGS)
            pause_s = min(grown_s, _LONGEST_PAUSE_S) if delay_s is None else delay_s
            spread = random.uniform(1.0, 1.0 + _JITTER)  # noqa: S311 - guards nothing
            self._rests_until_s = max(self._rests_until_s, now_s + pause_s * spread)
            self._failures += 1
        self._is_trying = False
        self._changed.notify_all()
