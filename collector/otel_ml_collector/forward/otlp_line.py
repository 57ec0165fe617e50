"""The threads that send to one target, and what becomes of each request there."""

import logging
import threading
import time
from collections import OrderedDict
from concurrent.futures import Future
from typing import Final

from otel_ml_collector.errors import CollectorError, Refused, Unavailable
from otel_ml_collector.forward.otlp_answer import Later, Never
from otel_ml_collector.forward.otlp_grpc import GrpcSender
from otel_ml_collector.forward.otlp_http import HttpSender
from otel_ml_collector.forward.otlp_queue import Item, OtlpQueue
from otel_ml_collector.forward.otlp_request import OtlpRequest, Unreadable
from otel_ml_collector.log_rate import OnceAMinute
from otel_ml_collector.settings.targets import OtlpTarget
from otel_ml_collector.telemetry import OtlpForwardNumbers

_THREADS: Final = 4
_KEPT_DIGESTS: Final = 10_000

_logger = logging.getLogger(__name__)


class OtlpLine:
    """Sends to one target.

    Args:
        target: Where to.
        numbers: Counts what becomes of the requests.
    """

    def __init__(self, target: OtlpTarget, numbers: OtlpForwardNumbers) -> None:
        self.target = target
        self._numbers = numbers
        self._sender = GrpcSender(target) if target.is_grpc else HttpSender(target, _THREADS)
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
        """Queue a request whose sender waits; one that was sent again is not sent twice.

        Returns:
            A future that ends with None once the target has acknowledged, else with what the
            sender is to be told.
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
        """Take no more, and send what is queued until a time of `time.monotonic`."""
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

    def _item(self, request: OtlpRequest) -> Item:
        item = Item(request, time.monotonic() + self.target.retry_s)
        item.answer.set_running_or_notify_cancel()  # who waits for it cannot cancel it
        return item

    def _note(self, digest: bytes, answer: "Future[CollectorError | None]") -> None:
        """Remember what was acknowledged, so that its sender may send it again."""
        with self._lock:
            self._pending.pop(digest, None)
            if answer.result() is None:
                self._acknowledged[digest] = None
                if len(self._acknowledged) > _KEPT_DIGESTS:
                    self._acknowledged.popitem(last=False)

    def _work(self) -> None:
        while (item := self._queue.take()) is not None:
            try:
                self._send(item)
            except Exception as error:  # noqa: BLE001 - the worker loop: the request is kept
                self._keep(item, Later(f"{type(error).__name__}: {error}"))

    def _send(self, item: Item) -> None:
        try:
            partial = self._sender.send(item.request)
        except Later as error:
            self._keep(item, error)
        except Unreadable as error:
            self._queue.drop(item)
            self._drop(item.request, "unreadable", str(error))
            item.answer.set_result(Refused(f"It cannot be written as {self._name} takes it"))
        except Never as error:
            self._queue.done(item)
            self._drop(item.request, "refused", str(error))
            kind = Refused if error.blames_data else Unavailable
            item.answer.set_result(kind(f"Refused by {self._name}: {error}"))
        else:
            self._queue.done(item)
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

    def _keep(self, item: Item, error: Later) -> None:
        """Put a request back, unless its time is over."""
        if self._queue.is_ending:
            self._queue.give_up(item, error.delay_s)
            self._end_without(item, str(error))
            return
        if time.monotonic() >= item.until_s:
            self._queue.give_up(item, error.delay_s)
            self._drop(item.request, "given_up", str(error))
            item.answer.set_result(Unavailable(f"Not acknowledged by {self._name}: {error}"))
            return
        self._is_away = True
        self._log("away", "Requests wait for %s: %s", str(error))
        self._numbers.count_retry(self.target.name)
        self._queue.put_back(item, error.delay_s)

    def _end_without(self, item: Item, why: str) -> None:
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
