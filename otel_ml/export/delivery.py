"""Counts of delivered, rejected and lost spans, as returned by `flush`."""

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from otel_ml.errors import Tally


@dataclass(frozen=True, slots=True)
class Delivery:
    """What happened to a client's spans since the last `flush`. Truthy if all were delivered.

    A large value that is uploaded separately counts like a span.

    Attributes:
        delivered: Number of spans that the receiver accepted.
        pending: Number of spans that are not sent yet: in the queue, on disk, or waiting for a
            judge.
        lost: Number of spans that were lost for good, by reason, such as ``queue full``.
        reason: Why spans are pending, if the receiver could not be reached. Otherwise empty.
    """

    delivered: int = 0
    pending: int = 0
    lost: Mapping[str, int] = field(default_factory=dict, hash=False)
    reason: str = ""

    def __bool__(self) -> bool:
        return not (self.pending or self.lost or self.reason)


def join(first: Delivery, second: Delivery) -> Delivery:
    """Add up the results of two flushes."""
    return Delivery(
        delivered=first.delivered + second.delivered,
        pending=first.pending + second.pending,
        lost=Counter(first.lost) + Counter(second.lost),
        reason=first.reason or second.reason,
    )


class Counters:
    """Counts the spans that this process delivered and lost.

    Any thread may count losses or read. Only the sender thread counts deliveries.
    """

    def __init__(self) -> None:
        self.delivered = 0
        self.rejected = 0
        self.retries = 0
        self.blocked_s = 0.0
        self._lost = Tally()
        self._lock = threading.RLock()  # reentrant: a finalizer may count a loss meanwhile
        self._reported_delivered = 0
        self._reported_lost: Counter[str] = Counter()

    def lose(self, reason: str, count: int) -> None:
        """Count spans as lost for good."""
        if count:
            self._lost.add(reason, count)

    @property
    def lost(self) -> dict[str, int]:
        """Spans that are lost for good, by reason, including those that the receiver rejected."""
        lost = self._lost.sums()
        if self.rejected:
            lost["rejected"] = self.rejected
        return lost

    def deliver_news(self, pending: int, reason: str) -> Delivery:
        """Return how many spans were delivered or lost since the last call of this method.

        Args:
            pending: Number of spans that are not sent yet, for the result.
            reason: Why they are not sent, for the result. Ignored if no spans are pending.
        """
        with self._lock:
            lost, delivered = Counter(self.lost), self.delivered
            news = Delivery(
                delivered - self._reported_delivered,
                pending,
                dict(lost - self._reported_lost),
                reason if pending else "",
            )
            self._reported_lost, self._reported_delivered = lost, delivered
        return news
