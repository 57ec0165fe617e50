"""Forwards stored OTLP requests unchanged to other collectors.

Each destination has its own threads and its own queue. The queue is limited in bytes and requests.
Sending pauses while the destination is unreachable.
"""

import asyncio
import logging
import re
import secrets
import threading
import time
from collections import Counter, OrderedDict, deque
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
    """A request that waits to be sent.

    Attributes:
        request: The request.
        until_s: Value of `time.monotonic` after which to give up.
        answer: Future of the result: None if the destination acknowledged the request, else the
            error.
    """

    request: OtlpRequest
    until_s: float
    answer: "Future[CollectorError | None]" = field(default_factory=Future)


class OtlpForward:
    """Forwards requests to several destinations independently."""

    def __init__(self, targets: Sequence[OtlpTarget], numbers: OtlpForwardNumbers) -> None:
        self._id = secrets.token_hex(8)
        lines = [OtlpLine(target, numbers) for target in targets]
        self._required = [line for line in lines if line.target.required]
        self._others = [line for line in lines if not line.target.required]
        self._lines = lines

    def has_targets(self, signal: str) -> bool:
        """Return whether any destination receives a signal."""
        return any(signal in line.target.signals for line in self._lines)

    def add_self(self, passed: str) -> str:
        """Add this collector to the list of collectors that have forwarded a request.

        Args:
            passed: Ids from the header, separated by commas.

        Returns:
            The new value of the header.

        Raises:
            Rejected: The request was forwarded by this collector before, or by 16 collectors, or
                the header is invalid.
        """
        if not _PASSED.fullmatch(passed):
            raise Rejected(f"Invalid header {PASSED_HEADER}: expected IDs separated by commas")
        before = passed.split(",") if passed else []
        if self._id in before:
            raise Rejected(
                "The destinations form a loop: this collector forwarded this request before; "
                "remove the destination that leads back to it"
            )
        if len(before) >= _MOST_PASSED:
            raise Rejected(
                f"This request was already forwarded through {_MOST_PASSED} collectors, the maximum"
            )
        return ",".join([*before, self._id])

    async def pass_on(self, request: OtlpRequest, deadline: float) -> None:
        """Forward a stored request, and wait until each required destination has acknowledged it.

        Optional destinations get the request only after that. So they do not receive it again each
        time the sender retries.

        Args:
            request: The request.
            deadline: Value of `time.monotonic` until which the sender waits.

        Raises:
            Rejected: A required destination refused the request for good.
            Unavailable: A required destination did not acknowledge the request in time.
        """
        await self._demand(request, deadline - _MARGIN_S)
        for line in self._others:
            if request.signal in line.target.signals:
                line.offer(request)

    def hold_back(self, request: OtlpRequest) -> None:
        """Count a request as not forwarded, because its key may not send parts of it."""
        for line in self._lines:
            if request.signal in line.target.signals:
                line.drop_not_allowed(request)

    def close(self, timeout_s: float) -> None:
        """Send what is queued, for at most `timeout_s` seconds in total, then stop."""
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
        # Do not cancel late futures: the request stays queued, and its sender retries it.
        _, late = await asyncio.wait(answers, timeout=max(deadline - time.monotonic(), 0.0))
        for line, answer in zip(lines, answers, strict=True):
            if answer in late:
                raise Unavailable(f"Not acknowledged yet by the destination {line.target.name}")
            if error := answer.result():
                raise error


class OtlpLine:
    """Sends requests to one destination."""

    def __init__(self, target: OtlpTarget, numbers: OtlpForwardNumbers) -> None:
        self.target = target
        self._numbers = numbers
        self._sender = (
            OtlpGrpcSender(target) if target.is_grpc else OtlpHttpSender(target, _THREADS)
        )
        self._queue = OtlpQueue(target.queue_bytes, target.queue_requests)
        self._lock = threading.RLock()  # reentrant: a future that is done calls back at once
        self._pending: dict[bytes, Future[CollectorError | None]] = {}
        self._acknowledged: OrderedDict[bytes, None] = OrderedDict()
        self._is_away = False
        self._unsent = 0
        self._dropped: Counter[str] = Counter()  # requests since the last log line, by reason
        self._once = OnceAMinute()
        numbers.add_target(target.name, sorted(target.signals), lambda: self._queue.waiting)
        self._threads = [
            threading.Thread(target=self._work, name=f"otel-ml-forward-{target.name}", daemon=True)
            for _ in range(_THREADS)
        ]
        for thread in self._threads:
            thread.start()

    def offer(self, request: OtlpRequest) -> None:
        """Queue a request without waiting; drop it if the queue is full."""
        if not self._queue.put(self._item(request)):
            self._drop(request, "queue_full", "its queue is full")

    def demand(self, request: OtlpRequest) -> "Future[CollectorError | None]":
        """Queue a request whose sender waits. A request that is sent again is not queued twice.

        Returns:
            A future: None once the destination has acknowledged the request, else the error for the
            sender.
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
                item.answer.set_result(Unavailable(f"Too many requests wait for {self._name}"))
            return item.answer

    def end(self, deadline_s: float) -> None:
        """Accept no more requests, and send queued ones until `deadline_s` (`time.monotonic`)."""
        self._queue.end(deadline_s - time.monotonic())

    def close(self, deadline_s: float) -> None:
        """Wait until the queue is sent or the time is over, then drop the rest.

        Call `end` first. `deadline_s` is a value of `time.monotonic`.
        """
        for thread in self._threads:
            thread.join(max(deadline_s - time.monotonic(), 0.0))
        for item in self._queue.drain():
            self._end_without(item, "The collector is shutting down")
        for reason, number in sorted(self._dropped.items()):
            self._log_dropped(number, reason)
        if self._unsent:
            _logger.warning("%s requests for %s were dropped at shutdown", self._unsent, self._name)
        self._sender.close()

    def drop_not_allowed(self, request: OtlpRequest) -> None:
        """Count a request that must not be forwarded."""
        self._numbers.count_dropped(self.target.name, request.signal, "not_allowed")

    @property
    def _name(self) -> str:
        return f"the destination {self.target.name}"

    def _item(self, request: OtlpRequest) -> QueuedRequest:
        item = QueuedRequest(request, time.monotonic() + self.target.retry_s)
        item.answer.set_running_or_notify_cancel()  # so that the sender cannot cancel it
        return item

    def _note(self, digest: bytes, answer: "Future[CollectorError | None]") -> None:
        """Remember an acknowledged request, so that it is not forwarded again on a retry."""
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
            item.answer.set_result(Rejected(f"{self._name} does not support its encoding"))
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
            self._log("partial", "Part of a request was rejected by %s: %s", partial)
        if self._is_away:
            self._is_away = False
            _logger.info("The destination %s is reachable again", self.target.name)

    def _keep(self, item: QueuedRequest, error: Exception) -> None:
        """Put a request back into the queue, unless its time is over."""
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
            after = f"not acknowledged within {self.target.retry_s:g} s"
            self._drop(item.request, "given_up", f"{after}: {why}")
            item.answer.set_result(Unavailable(f"Not acknowledged by {self._name}: {why}"))
            return
        self._is_away = True
        self._log("away", "Requests wait for %s: %s", why)
        self._numbers.count_retry(self.target.name)
        self._queue.put_back(item, delay_s)

    def _end_without(self, item: QueuedRequest, why: str) -> None:
        """Count a request that is lost because this collector shuts down."""
        with self._lock:
            self._unsent += 1
        self._numbers.count_dropped(self.target.name, item.request.signal, "shutdown")
        item.answer.set_result(Unavailable(f"Not acknowledged by {self._name}: {why}"))

    def _drop(self, request: OtlpRequest, reason: str, why: str) -> None:
        self._numbers.count_dropped(self.target.name, request.signal, reason)
        with self._lock:
            self._dropped[reason] += 1
            if not self._once.is_due(reason):
                return
            number = self._dropped.pop(reason)
        self._log_dropped(number, why)

    def _log_dropped(self, number: int, why: str) -> None:
        requests = "1 request" if number == 1 else f"{number} requests"
        _logger.warning("Dropped %s for %s: %s", requests, self._name, why)

    def _log(self, about: str, message: str, why: str) -> None:
        if self._once.is_due(about):
            _logger.warning(message, self._name, why)


class OtlpQueue:
    """Distributes queued requests to the threads of a destination.

    While the destination is unreachable, only one thread tries, with growing pauses, and the others
    wait. A failed request moves to the end of the queue. So a request that always fails does not
    block the others.

    Args:
        most_bytes: Limit in bytes. One request is always accepted, whatever its size.
        most_requests: Limit in requests.
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
        """Number and bytes of requests that are queued or being sent."""
        with self._changed:
            return Waiting(self._requests, self._bytes)

    @property
    def is_ending(self) -> bool:
        """Whether requests are no longer put back."""
        return self._ends_at_s is not None

    def put(self, item: QueuedRequest) -> bool:
        """Add a request. Return False if the queue is full or ending."""
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
        """Wait for a request. Return None when the queue has ended."""
        with self._changed:
            while not self._may_take():
                if self._has_ended():
                    return None
                self._changed.wait(self._pause_s())
            self._is_trying = self._failures > 0
            return self._items.popleft()

    def put_back(self, item: QueuedRequest, delay_s: float | None) -> None:
        """Put a failed request back and pause sending.

        Args:
            item: The request.
            delay_s: Pause in seconds, if the destination asks for one; else None.
        """
        with self._changed:
            self._items.append(item)
            self._note_failure(delay_s)

    def forget(self, item: QueuedRequest, *, is_answered: bool) -> None:
        """Remove a request that was answered, or that cannot be sent.

        If `is_answered`, the destination is reachable again and pauses end.
        """
        with self._changed:
            self._forget(item)
            if is_answered:
                self._failures = 0
                self._rests_until_s = 0.0
            self._changed.notify_all()

    def give_up(self, item: QueuedRequest, delay_s: float | None) -> None:
        """Remove a failed request and pause sending.

        Args:
            item: The request.
            delay_s: Pause in seconds, if the destination asks for one; else None.
        """
        with self._changed:
            self._forget(item)
            self._note_failure(delay_s)

    def end(self, timeout_s: float) -> None:
        """Accept no more requests. Queued ones can be taken once more, for `timeout_s` seconds."""
        with self._changed:
            self._ends_at_s = time.monotonic() + timeout_s
            self._changed.notify_all()

    def drain(self) -> list[QueuedRequest]:
        """Empty the queue and return the requests that were not sent."""
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
        """Return how many seconds to wait at most; None to wait until something changes."""
        if not self._items or self._is_trying:
            return None
        return max(self._rests_until_s - time.monotonic(), 0.0)

    def _note_failure(self, delay_s: float | None) -> None:
        now_s = time.monotonic()
        if now_s >= self._rests_until_s or delay_s is not None:  # otherwise it is already pausing
            grown_s = _FIRST_PAUSE_S * 2 ** min(self._failures, _DOUBLINGS)
            pause_s = min(grown_s, _LONGEST_PAUSE_S) if delay_s is None else delay_s
            spread = _SPREAD.uniform(1.0, 1.0 + _JITTER)
            self._rests_until_s = max(self._rests_until_s, now_s + pause_s * spread)
            self._failures += 1
        self._is_trying = False
        self._changed.notify_all()
