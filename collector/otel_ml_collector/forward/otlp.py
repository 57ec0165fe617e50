"""Forwards OTLP to other collectors as it came, once it is stored here.

Each target has threads and a queue of its own, which is bounded by bytes and by number, and rests
while the target is away.
"""

import asyncio
import logging
import re
import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from otel_ml_collector.errors import CollectorError, Rejected, Unavailable
from otel_ml_collector.forward.otlp_request import (
    PASSED_HEADER,
    Later,
    Never,
    OtlpGrpcSender,
    OtlpHttpSender,
    OtlpRequest,
    Unreadable,
)
from otel_ml_collector.log import OnceAMinute, going_on
from otel_ml_collector.settings.targets import OtlpTarget
from otel_ml_collector.telemetry.service import OtlpForwardNumbers, Waiting

_MOST_PASSED: Final = 16
_PASSED: Final = re.compile("([0-9a-z]{1,32}(,[0-9a-z]{1,32})*)?")
_MARGIN_S: Final = 0.2
_THREADS: Final = 4
_KEPT_DIGESTS: Final = 10_000
_FIRST_PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 5.0
_DOUBLINGS: Final = 5
_JITTER: Final = 0.2
_SPREAD: Final = secrets.SystemRandom()

_logger = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class QueuedRequest:
    """A request that waits.

    Attributes:
        request: What is sent.
        until_s: `time.monotonic` after which it is given up.
        answer: Ends with None when the target has acknowledged it, else with what is wrong.
    """

    request: OtlpRequest
    until_s: float
    answer: "Future[CollectorError | None]" = field(default_factory=Future)


class OtlpForward:
    """Forwards requests to targets, each by itself."""

    def __init__(self, targets: Sequence[OtlpTarget], numbers: OtlpForwardNumbers) -> None:
        self._id = secrets.token_hex(8)
        lines = [OtlpLine(target, numbers) for target in targets]
        self._required = [line for line in lines if line.target.required]
        self._others = [line for line in lines if not line.target.required]
        self._lines = lines

    def has_targets(self, signal: str) -> bool:
        """Tell whether anything goes on of a signal."""
        return any(signal in line.target.signals for line in self._lines)

    def add_self(self, passed: str) -> str:
        """Add this collector to those where a request has been.

        Args:
            passed: Their ids as they came in the header, with commas between.

        Raises:
            Rejected: It has been here already, or in too many places.
        """
        if not _PASSED.fullmatch(passed):
            raise Rejected(f"Invalid header {PASSED_HEADER}: expected ids with commas between")
        before = passed.split(",") if passed else []
        if self._id in before:
            raise Rejected(
                "This request was forwarded from here: the forward targets form a loop, "
                "expected one that does not lead back to this collector"
            )
        if len(before) >= _MOST_PASSED:
            raise Rejected(f"This request was forwarded through {_MOST_PASSED} collectors already")
        return ",".join([*before, self._id])

    async def pass_on(self, request: OtlpRequest, deadline: float) -> None:
        """Forward a request that is stored; returns when each required target has it.

        The others get it then, so that a sender who has to come again does not send it to them
        each time.

        Args:
            request: What is forwarded.
            deadline: `time.monotonic` until which the sender waits.

        Raises:
            Rejected: A required target has refused it for good.
            Unavailable: A required target has not acknowledged it in time.
        """
        await self._demand(request, deadline - _MARGIN_S)
        for line in self._others:
            if request.signal in line.target.signals:
                line.offer(request)

    def hold_back(self, request: OtlpRequest) -> None:
        """Count a request that must not go on, because a part of it is not its key's to send."""
        for line in self._lines:
            if request.signal in line.target.signals:
                line.drop_not_allowed(request)

    def close(self, timeout_s: float) -> None:
        """Send the queue, for a bounded time in all."""
        deadline = time.monotonic() + timeout_s
        for line in self._lines:
            line.end(deadline)
        for line in self._lines:
            line.close(deadline)

    async def _demand(self, request: OtlpRequest, deadline: float) -> None:
        lines = [line for line in self._required if request.signal in line.target.signals]
        if not lines:
            return
        answers = [asyncio.wrap_future(line.demand(request)) for line in lines]
        # A future that is late is not cancelled: its request stays queued, for who sends it again.
        _, late = await asyncio.wait(answers, timeout=max(deadline - time.monotonic(), 0.0))
        for line, answer in zip(lines, answers, strict=True):
            if answer in late:
                raise Unavailable(f"Not acknowledged yet by the forward target {line.target.name}")
            if error := answer.result():
                raise error


class OtlpLine:
    """Sends to a single target."""

    def __init__(self, target: OtlpTarget, numbers: OtlpForwardNumbers) -> None:
        self.target = target
        self._numbers = numbers
        self._sender = (
            OtlpGrpcSender(target) if target.is_grpc else OtlpHttpSender(target, _THREADS)
        )
        self._queue = OtlpQueue(target.queue_bytes, target.queue_requests)
        self._lock = threading.RLock()  # a future that has ended calls back at once
        self._pending: dict[bytes, Future[CollectorError | None]] = {}
        self._acknowledged: OrderedDict[bytes, None] = OrderedDict()
        self._is_away = False
        self._unsent = 0
        self._once = OnceAMinute()
        numbers.add_target(target.name, sorted(target.signals), lambda: self._queue.waiting)
        self._threads = [
            threading.Thread(target=self._work, name=f"otel-ml-forward-{target.name}", daemon=True)
            for _ in range(_THREADS)
        ]
        for thread in self._threads:
            thread.start()

    def offer(self, request: OtlpRequest) -> None:
        """Queue a request, or drop it at once when there is no room: it never waits."""
        if not self._queue.put(self._item(request)):
            self._drop(request, "queue_full", "its queue is full")

    def demand(self, request: OtlpRequest) -> "Future[CollectorError | None]":
        """Queue a request whose sender waits; a request that comes again is not sent twice.

        Returns:
            A future that ends with None once the target has acknowledged, else with the error
            for the sender.
        """
        digest = request.digest()
        with self._lock:
            if known := self._pending.get(digest):
                return known
            item = self._item(request)
            if digest in self._acknowledged:
                item.answer.set_result(None)
            elif self._queue.put(item):
                self._pending[digest] = item.answer
                item.answer.add_done_callback(lambda answer: self._note(digest, answer))
            else:
                item.answer.set_result(Unavailable(f"Too much waits for {self._name}"))
            return item.answer

    def end(self, deadline_s: float) -> None:
        """Take no more requests, and send the queue until a time of `time.monotonic`."""
        self._queue.end(deadline_s - time.monotonic())

    def close(self, deadline_s: float) -> None:
        """Wait until all is sent or the time is over, then drop the rest; after `end`."""
        for thread in self._threads:
            thread.join(max(deadline_s - time.monotonic(), 0.0))
        for item in self._queue.drain():
            self._end_without(item, "The collector is shutting down")
        if self._unsent:
            _logger.warning("%s requests for %s are dropped at the end", self._unsent, self._name)
        self._sender.close()

    def drop_not_allowed(self, request: OtlpRequest) -> None:
        """Count a request that must not go on."""
        self._numbers.count_dropped(self.target.name, request.signal, "not_allowed")

    @property
    def _name(self) -> str:
        return f"the forward target {self.target.name}"

    def _item(self, request: OtlpRequest) -> QueuedRequest:
        item = QueuedRequest(request, time.monotonic() + self.target.retry_s)
        item.answer.set_running_or_notify_cancel()  # who waits for it cannot cancel it
        return item

    def _note(self, digest: bytes, answer: "Future[CollectorError | None]") -> None:
        """Remember an acknowledged request, so that its sender may send it again."""
        with self._lock:
            self._pending.pop(digest, None)
            if answer.result() is None:
                self._acknowledged[digest] = None
                if len(self._acknowledged) > _KEPT_DIGESTS:
                    self._acknowledged.popitem(last=False)

    def _work(self) -> None:
        while (item := self._queue.take()) is not None:
            with going_on(partial(self._keep, item)):
                self._send(item)

    def _send(self, item: QueuedRequest) -> None:
        try:
            partial = self._sender.send(item.request)
        except Unreadable as error:
            self._queue.forget(item, is_answered=False)
            self._drop(item.request, "unreadable", str(error))
            item.answer.set_result(Rejected(f"It cannot be written as {self._name} takes it"))
        except Never as error:
            self._queue.forget(item, is_answered=True)
            self._drop(item.request, "refused", str(error))
            kind = Rejected if error.blames_data else Unavailable
            item.answer.set_result(kind(f"Rejected by {self._name}: {error}"))
        else:
            self._queue.forget(item, is_answered=True)
            self._count(item.request, partial)
            item.answer.set_result(None)

    def _count(self, request: OtlpRequest, partial: str) -> None:
        size = len(request.body)
        self._numbers.count_forwarded(self.target.name, request.signal, size, partial=bool(partial))
        if partial:
            self._log("partial", "A part of a request is refused by %s: %s", partial)
        if self._is_away:
            self._is_away = False
            _logger.info("%s is back", self._name)

    def _keep(self, item: QueuedRequest, error: Exception) -> None:
        """Put a request back, unless its time is over."""
        if isinstance(error, Later):
            why, delay_s = str(error), error.delay_s
        else:
            why, delay_s = f"{type(error).__name__}: {error}", None
        if self._queue.is_ending:
            self._queue.give_up(item, delay_s)
            self._end_without(item, why)
            return
        if time.monotonic() >= item.until_s:
            self._queue.give_up(item, delay_s)
            self._drop(item.request, "given_up", why)
            item.answer.set_result(Unavailable(f"Not acknowledged by {self._name}: {why}"))
            return
        self._is_away = True
        self._log("away", "Requests wait for %s: %s", why)
        self._numbers.count_retry(self.target.name)
        self._queue.put_back(item, delay_s)

    def _end_without(self, item: QueuedRequest, why: str) -> None:
        """Count a request that is lost at the end of this collector."""
        with self._lock:
            self._unsent += 1
        self._numbers.count_dropped(self.target.name, item.request.signal, "shutdown")
        item.answer.set_result(Unavailable(f"Not acknowledged by {self._name}: {why}"))

    def _drop(self, request: OtlpRequest, reason: str, why: str) -> None:
        self._numbers.count_dropped(self.target.name, request.signal, reason)
        self._log(reason, "Requests do not reach %s: %s", why)

    def _log(self, about: str, message: str, why: str) -> None:
        if self._once.is_due(about):
            _logger.warning(message, self._name, why)


class OtlpQueue:
    """Hands requests to the threads of a target.

    While the target is away a single thread tries, the pauses between grow, and the others wait.
    What failed goes to the end, so that a request which fails for ever holds up no other.

    Args:
        most_bytes: How many bytes it holds; one request is taken whatever its size.
        most_requests: How many requests it holds.
    """

    def __init__(self, most_bytes: int, most_requests: int) -> None:
        self._most_bytes = most_bytes
        self._most_requests = most_requests
        self._items: deque[QueuedRequest] = deque()
        self._changed = threading.Condition()
        self._requests = 0
        self._bytes = 0
        self._failures = 0
        self._rests_until_s = 0.0
        self._is_trying = False
        self._ends_at_s: float | None = None

    @property
    def waiting(self) -> Waiting:
        """The requests in the queue, with those that its threads have taken and not ended."""
        with self._changed:
            return Waiting(self._requests, self._bytes)

    @property
    def is_ending(self) -> bool:
        """Whether nothing is put back any more."""
        return self._ends_at_s is not None

    def put(self, item: QueuedRequest) -> bool:
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

    def take(self) -> QueuedRequest | None:
        """Wait for a request; None when it has ended."""
        with self._changed:
            while not self._may_take():
                if self._has_ended():
                    return None
                self._changed.wait(self._pause_s())
            self._is_trying = self._failures > 0
            return self._items.popleft()

    def put_back(self, item: QueuedRequest, delay_s: float | None) -> None:
        """Keep a request that failed, and let the target rest.

        Args:
            item: The request.
            delay_s: For how long, when the target says it.
        """
        with self._changed:
            self._items.append(item)
            self._note_failure(delay_s)

    def forget(self, item: QueuedRequest, *, is_answered: bool) -> None:
        """Forget a request that was not sent, or that the target has answered: it is there."""
        with self._changed:
            self._forget(item)
            if is_answered:
                self._failures = 0
                self._rests_until_s = 0.0
            self._changed.notify_all()

    def give_up(self, item: QueuedRequest, delay_s: float | None) -> None:
        """Forget a request that failed, and let the target rest as `put_back` does."""
        with self._changed:
            self._forget(item)
            self._note_failure(delay_s)

    def end(self, timeout_s: float) -> None:
        """Take no more requests; the queue is still handed out once, for a bounded time."""
        with self._changed:
            self._ends_at_s = time.monotonic() + timeout_s
            self._changed.notify_all()

    def drain(self) -> list[QueuedRequest]:
        """Return the requests that will not be sent any more, and empty the queue."""
        with self._changed:
            left = list(self._items)
            self._items.clear()
        return left

    def _forget(self, item: QueuedRequest) -> None:
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
            spread = _SPREAD.uniform(1.0, 1.0 + _JITTER)
            self._rests_until_s = max(self._rests_until_s, now_s + pause_s * spread)
            self._failures += 1
        self._is_trying = False
        self._changed.notify_all()
