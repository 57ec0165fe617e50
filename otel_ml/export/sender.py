"""The thread that sends: takes what a source holds, and sends it again until it is settled."""

import logging
import random
import threading
import time
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Final, Generic

from otel_ml.attachment import start_apart
from otel_ml.errors import is_of_host, report
from otel_ml.export.answer import Answer
from otel_ml.export.contract import B, Destination, Pace, Source
from otel_ml.export.delivery import Counters

# What a busy receiver stores in the seconds it has: of metric points, a byte is much work.
_BATCH_BYTES: Final = 2 * 1024 * 1024
_POLL_S: Final = 0.02
_FIRST_PAUSE_S: Final = 0.5
_MAX_PAUSE_S: Final = 30.0
_HURRIED_PAUSE_S: Final = 1.0
_RETRY_FOR_S: Final = 300.0
_REQUEST_S: Final = 60.0
_NO_PROGRESS_S: Final = 5.0
_OUT_OF_REACH_S: Final = 1.5
_PROGRESS_S: Final = 1.0
_JOIN_S: Final = 1.0
_JOIN_IN_VAIN_S: Final = 0.2

# Without a state: forked processes must not spread alike, nor the host's own draws be moved.
_RANDOM: Final = random.SystemRandom()

_logger = logging.getLogger(__name__)


class Sender(Generic[B]):
    """Delivers what a source holds, on a thread that sleeps while it holds nothing.

    Attributes:
        counters: What became of the spans.
        is_asleep: Whether `wake` must be called for what is held now.
        stalled: Why nothing gets through at the moment; empty while it does.
        left: How many spans were given up because the process ended.
    """

    def __init__(
        self, source: Source[B], destination: Destination[B], pace: Pace, what: str = "spans"
    ) -> None:
        self._source = source
        self._destination = destination
        self._pace = pace
        self._what = what
        self.begin()

    def begin(self) -> None:
        """Begin anew, also in a forked child, which has no thread and may inherit a held lock."""
        self.counters = Counters()
        self.is_asleep = True
        self.stalled = ""
        self.left = 0
        self._told: set[str] = set()
        self._lock = threading.RLock()
        self._settled_some = threading.Condition(self._lock)
        self._settled = 0
        self._looks = 0
        self._found_nothing = 0
        # A queue, no event: a finalizer may wake us while this very thread does.
        self._tokens: SimpleQueue[None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._hurry = 0
        self._pressed = False
        self._stopping = False
        self._fatal: BaseException | None = None
        self._ends_since: float | None = None
        self._give_up_at: float | None = None
        self._progress_at = 0.0

    # On the thread of a caller.

    def wake(self) -> None:
        """See that the thread runs and looks; it starts with the first span, or when it died."""
        if self.is_asleep:
            self._progress_at = time.monotonic()  # whoever sleeps has nothing that hangs
        self.is_asleep = False
        if not self._is_alive():
            with self._lock:
                if not self._is_alive():
                    self._start()
        self._tokens.put(None)

    def makes_progress(self) -> bool:
        """Tell whether it is worth waiting for room: something got through just now."""
        return not self.stalled and time.monotonic() - self._progress_at < _PROGRESS_S

    def press(self) -> None:
        """Send what is held now, without waiting for more: somebody waits for room."""
        self._pressed = True
        self.wake()

    def is_this_thread(self) -> bool:
        """Tell whether the caller is the thread that sends: it must never wait for itself."""
        return threading.current_thread() is self._thread

    def wait_settled(self, timeout_s: float) -> bool:
        """Wait until all that is held now is settled, or nothing gets through for 5 s.

        When the process ends, 1.5 s are enough for a receiver that cannot be reached at all.

        Returns:
            Whether it is; what came meanwhile does not count.
        """
        is_durable = self._source.look_every_s is not None
        if not self._source.pending and not is_durable:
            return True
        deadline = time.monotonic() + timeout_s
        with self._lock:
            self._hurry += 1
            # Of a source that others fill, too, it is not known how much it holds.
            target = None if is_durable else self._settled + self._source.pending
        try:
            self.wake()
            if self._is_alive():
                return self._wait_for(target, deadline) and not self.stalled
            self._send_all(deadline)  # the interpreter ends and starts no thread any more
            return not self._source.pending
        finally:
            with self._lock:
                self._hurry -= 1

    def hasten(self) -> None:
        """Deliver without a pause from now on: the process ends."""
        if self._ends_since is None:
            self._ends_since = time.monotonic()
            with self._lock:
                self._hurry += 1
            if self._source.pending:
                self.wake()

    def stop(self, timeout_s: float) -> None:
        """Deliver what is held, then end the thread."""
        self.hasten()
        self._give_up_at = time.monotonic() + timeout_s
        settled = self.wait_settled(timeout_s)
        self._stopping = True
        self._tokens.put(None)
        if self._thread is not None and not self.is_this_thread():
            in_vain = not settled and self._destination.is_out_of_reach
            self._thread.join(min(_JOIN_IN_VAIN_S if in_vain else _JOIN_S, timeout_s))

    def tell_once(self, what: str, text: str, level: int = logging.WARNING) -> None:
        """Log the first of its kind; what follows is counted."""
        if what not in self._told:
            self._told.add(what)
            _logger.log(level, text)

    def _is_alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name="otel-ml-sender", daemon=True)
        try:
            start_apart(thread)
        except BaseException as error:
            self.is_asleep = True  # the next span tries again
            if isinstance(error, RuntimeError) and not is_of_host(error):
                return  # as above
            raise
        self._thread = thread

    def _wait_for(self, target: int | None, deadline: float) -> bool:
        began = self._ends_since or time.monotonic()
        with self._lock:
            look = self._looks  # a later one that finds nothing has seen all that is held now
            while (left_s := deadline - time.monotonic()) > 0:
                if self._found_nothing > look or (target is not None and self._settled >= target):
                    return True
                self._settled_some.wait(min(0.1, left_s))
                if self._is_in_vain(began) or not self._is_alive():
                    break
                if self.stalled and self._give_up_at and self._source.look_every_s is not None:
                    break  # the process ends, the spans stay on disk
        return False

    def _is_in_vain(self, began: float) -> bool:
        """Tell whether nothing gets through, sooner when the process ends and nobody is there.

        One that has our request and owes the answer may be slow.
        """
        quiet_s = time.monotonic() - max(self._progress_at, began)
        is_away = self._ends_since is not None and self._destination.is_out_of_reach
        return quiet_s >= (_OUT_OF_REACH_S if is_away else _NO_PROGRESS_S)

    # On the thread that sends, or on that which stops it when there is none.

    def _run(self) -> None:
        try:
            while not self._stopping:
                try:
                    self._rest()
                    self._progress_at = time.monotonic()
                    self._send_all(None)
                except Exception as error:  # noqa: BLE001 - the worker loop
                    report("sender", error)
                    self._pause(_FIRST_PAUSE_S)
        finally:
            self.is_asleep = True

    def _rest(self) -> None:
        """Sleep until there are spans, then a moment, or until they are many."""
        while not self._source.pending and not self._stopping:
            self.is_asleep = True
            if not self._source.pending:  # a span that came before we slept woke nobody
                self._pause(self._source.look_every_s)
            self.is_asleep = False
            if self._source.look_every_s is not None:
                break
        until = time.monotonic() + self._pace.delay_s
        while not (self._hurry or self._pressed or self._stopping or time.monotonic() >= until):
            if self._source.pending >= self._pace.batch_spans:
                return
            self._pause(min(_POLL_S, self._pace.delay_s))
        self._pressed = False

    def _pause(self, timeout_s: float | None) -> None:
        with suppress(Empty):
            self._tokens.get(timeout=timeout_s)

    def _send_all(self, deadline: float | None) -> None:
        while not self._stopping and (deadline is None or time.monotonic() < deadline):
            self._looks += 1
            batch = self._source.take(self._pace.batch_spans, _BATCH_BYTES)
            if batch is None:
                self._note_nothing()
                return
            self._deliver(batch)
            if self._fatal is not None:  # an exporter that ends this thread: another one starts
                error, self._fatal = self._fatal, None
                raise error

    def _deliver(self, batch: B) -> None:
        """Send one batch until it is settled; what breaks costs this batch alone."""
        try:
            self._send(batch)
        except BaseException as error:  # noqa: BLE001 - the worker loop
            report("sender", error)
            self._settle(batch, Answer(delivered=False, message=type(error).__name__))
            if not isinstance(error, Exception):
                self._fatal = error

    def _send(self, batch: B) -> None:
        """Send one batch until it is delivered, refused, or no longer worth a try."""
        began, pause_s = time.monotonic(), _FIRST_PAUSE_S
        while True:
            answer = self._destination.send(batch, self._time_left(_REQUEST_S))
            if answer.too_large and batch.count > 1:
                for half in batch.halves():
                    self._deliver(half)
                return
            if not answer.retry:
                self._settle(batch, answer)
                return
            self.stalled = answer.message
            page = self._destination.page
            if self._ends_since is None or self._source.look_every_s is not None:
                text = f"No {self._what} get through to {page}: {answer.message}"
                self.tell_once("stalled", text)  # else its end says what is lost
            if self._is_worth_waiting(began):
                self._wait_to_retry(answer.retry_after_s, pause_s)
            if self._stopping or not self._is_worth_waiting(began):
                self._leave(batch, answer)
                return
            self.counters.retries += 1
            pause_s = min(pause_s * 2, _MAX_PAUSE_S)

    def _wait_to_retry(self, asked_s: float | None, pause_s: float) -> None:
        """Leave the receiver alone: as long as it asked for, else less when there is a hurry."""
        began = time.monotonic()
        spread_s = pause_s * _RANDOM.uniform(0.5, 1.0)  # so that not all clients come at once
        while not self._stopping:
            wait_s = min(spread_s, _HURRIED_PAUSE_S) if self._hurry else spread_s
            left_s = began + (wait_s if asked_s is None else asked_s) - time.monotonic()
            if left_s <= 0:
                return
            self._pause(left_s)

    def _is_worth_waiting(self, began: float) -> bool:
        if self._stopping or (self._ends_since and self._is_in_vain(self._ends_since)):
            return False
        spent_s = time.monotonic() - began
        return self._time_left(1) > 0 and spent_s <= _RETRY_FOR_S

    def _time_left(self, most_s: float) -> float:
        if self._give_up_at is None:
            return most_s
        return min(most_s, max(self._give_up_at - time.monotonic(), 0.0))

    def _settle(self, batch: B, answer: Answer) -> None:
        page = self._destination.page
        if answer.delivered:
            rejected = min(answer.rejected, batch.count)  # whatever the receiver says
            self.counters.delivered += batch.count - rejected
            self.counters.rejected += rejected
            self.stalled = ""
            self._progress_at = time.monotonic()
            self.tell_once("delivered", f"First {self._what} delivered to {page}", logging.INFO)
            if answer.rejected:
                text = f"{page} rejected {answer.rejected} spans: {answer.message}"
                self.tell_once("rejected", text)
        else:
            self.counters.lose(answer.message, batch.count)
            self.tell_once("refused", f"{page} refuses {self._what}: {answer.message}")
        # In this order: who waits counts what is settled and what is pending, and must not take a
        # batch that is neither any more for spans that are still to come.
        self._note_settled(batch)
        self._source.settle(batch)  # who sees nothing pending reads the counts

    def _leave(self, batch: B, answer: Answer) -> None:
        lost = self._source.leave(batch)
        self.counters.lose(answer.message, lost)
        self.left += lost
        self._note_settled(batch)

    def _note_nothing(self) -> None:
        with self._lock:
            self._found_nothing = self._looks
            self._settled_some.notify_all()

    def _note_settled(self, batch: B) -> None:
        with self._lock:
            self._settled += batch.count
            self._settled_some.notify_all()
