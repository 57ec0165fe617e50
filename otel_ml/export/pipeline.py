"""From the end of a span to its delivery; a call never waits for the network.

It waits for room in a full queue, and only while the sender makes progress: see `Pipeline.put`.
"""

import logging
import sys
import time
import weakref
from typing import Any, Final, Generic

from opentelemetry.sdk.trace import ReadableSpan

from otel_ml.export.contract import B, Destination, Pace, Source
from otel_ml.export.delivery import Counters, Delivery
from otel_ml.export.sender import Sender
from otel_ml.process import renew_in_child

_WAIT_A_CALL_S: Final = 0.1
_WAIT_A_MINUTE_S: Final = 5.0
_POLL_S: Final = 0.001

_logger = logging.getLogger(__name__)


class Pipeline(Generic[B]):
    """Takes ended spans from any thread and delivers them on a thread of its own.

    A forked child begins empty: what waits belongs to the parent.

    Attributes:
        is_durable: Whether what waits outlives this process.

    Args:
        what: What it delivers, in words: spans, or what else its source holds.
    """

    def __init__(
        self,
        source: Source[B],
        destination: Destination[B],
        pace: Pace,
        *,
        what: str = "spans",
    ) -> None:
        self.is_durable = source.look_every_s is not None
        self._source = source
        self._destination = destination
        self._what = what
        self._sender = Sender(source, destination, pace, what)
        self._closed = False
        _PIPELINES.add(self)

    @property
    def counters(self) -> Counters:
        """What became of the spans of this process."""
        return self._sender.counters

    @property
    def pending(self) -> int:
        """How many spans are neither delivered nor lost."""
        return 0 if self._closed else self._source.pending

    @property
    def is_stalled(self) -> bool:
        """Whether nothing gets through at the moment."""
        return bool(self._sender.stalled)

    def wake(self) -> None:
        """Deliver what its source holds from before."""
        self._sender.wake()

    def put(self, span: Any) -> None:
        """Hand over an ended span.

        When the source is full the call waits for room, at most 100 ms and all calls of the
        process together 5 s a minute, while the sender makes progress, and never on a thread
        with a running event loop. After that the span is dropped and counted.
        """
        sender = self._sender
        if self._closed:
            sender.counters.lose("closed", 1)
        elif not self._source.put(span) and not self._wait_for_room(span):
            sender.counters.lose("queue full", 1)
            text = f"The queue is full: {self._what} are dropped, counted from now on"
            sender.tell_once("full", text)
        elif sender.is_asleep:
            sender.wake()

    def hold(self, span: ReadableSpan) -> None:
        """Keep a span that is to come for the case that the process is killed before."""
        if not self._closed:
            self._source.hold(span)

    def flush(self, timeout_s: float) -> Delivery:
        """Wait until what was put before is settled.

        Returns early when nothing got through for 5 s.

        Returns:
            What became of the spans since the last flush.
        """
        settled = not self._closed and self._sender.wait_settled(timeout_s)
        return self._news(0 if settled else self.pending)

    def hasten(self) -> None:
        """Deliver without a pause from now on: the process ends."""
        if not self._closed:
            self._sender.hasten()

    def close(self, timeout_s: float) -> Delivery:
        """Deliver what is there, then stop. A second call does nothing."""
        sender = self._sender
        if not self._closed:
            sender.stop(timeout_s)
            self._closed = True
            lost = self._source.close()
            away = "no connection" if self._destination.is_out_of_reach else ""
            reason = sender.stalled or away or "not delivered in time"
            sender.counters.lose(reason, lost)
            if lost + sender.left:
                left, page = lost + sender.left, self._destination.page
                keep = "" if self.is_durable else "; Client(spool=DIR) keeps them"
                text = "%d %s could not be delivered to %s: %s%s"
                _logger.warning(text, left, self._what, page, reason, keep)
            self._destination.close()
        return self._news(self.pending)

    def restart_in_child(self) -> None:
        """Begin empty in a forked child, with a thread and connections of its own."""
        self._source.clear()
        self._destination.after_fork()
        self._sender.begin()

    def _news(self, pending: int) -> Delivery:
        reason = self._sender.stalled or "no answer yet"
        return self._sender.counters.deliver_news(pending, reason)

    def _wait_for_room(self, span: Any) -> bool:
        sender = self._sender
        if _has_running_loop() or sender.is_this_thread():
            return False
        began = now = time.monotonic()
        while sender.makes_progress() and now - began < _WAIT_A_CALL_S and _BUDGET.is_left(now):
            sender.press()
            time.sleep(_POLL_S)
            before, now = now, time.monotonic()
            _BUDGET.spend(now - before)
            sender.counters.blocked_s += now - before
            if self._source.put(span):
                return True
        return False


class _Budget:
    """How long calls of this process may wait for room, in all, in a minute."""

    def __init__(self) -> None:
        self._minute = 0
        self._spent_s = 0.0

    def is_left(self, now_s: float) -> bool:
        """Tell whether there is any left in this minute."""
        minute = int(now_s // 60)
        if minute != self._minute:
            self._minute, self._spent_s = minute, 0.0
        return self._spent_s < _WAIT_A_MINUTE_S

    def spend(self, wait_s: float) -> None:
        """Take `wait_s` of it; threads that wait at once overdraw it by little."""
        self._spent_s += wait_s


def _has_running_loop() -> bool:
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and asyncio._get_running_loop() is not None


def _restart_in_child() -> None:
    for pipeline in list(_PIPELINES):
        pipeline.restart_in_child()


_BUDGET: Final = _Budget()
_PIPELINES: Final[weakref.WeakSet[Pipeline[Any]]] = weakref.WeakSet()
renew_in_child(_restart_in_child)
