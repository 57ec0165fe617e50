"""Admission of requests: the share that is taken now, and when the others are to come again.

What waits for an answer is bounded by what is answered in time, as measured: a request that would
wait too long is refused before its body is read, and costs next to nothing. The bound follows the
machine: each stored request tells how long all that was before it took. Senders that had less than
the others lately get in when the rest is full.

How much a key may send is a bucket of spans and one of bytes, each filled at the key's rate. A
request is let in while they are not empty, and then taken out of them whole, also below zero: so a
request that is larger than the rate is slow, not impossible, and no answer waits for the count of
its spans.
"""

import asyncio
import math
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from otel_ml_collector.access import Access
from otel_ml_collector.errors import OverQuota, Unavailable
from otel_ml_collector.telemetry.service import Telemetry

_MIB: Final = 2**20
# A larger body is worked off in portions; the SDK and most exporters stay below it.
WHOLE_BYTES: Final = 2 * _MIB
_IN_FLIGHT_BYTES: Final = 96 * _MIB
_LARGE_BYTES: Final = 64 * _MIB
# How long a place is kept for a body that is on its way.
_ARRIVAL_S: Final = 1.0
_LARGE_ARRIVAL_S: Final = 10.0
# How long a request should wait at most; above `_LATE_S` less is taken. Both leave room below the
# time in which each sender is answered.
_IN_TIME_S: Final = 1.75
_LATE_S: Final = 2.5
_FIRST_BYTES: Final = 8 * _MIB
_MOST_BYTES: Final = 48 * _MIB
# What a request costs beside its bytes.
_REQUEST_BYTES: Final = 4 * 1024
# How far a sender that had nothing lately gets beyond what is there for all.
_SPARE: Final = 0.25
_LATELY_S: Final = 10.0
_MOST_SENDERS: Final = 4_096
_LEARN: Final = 0.25
_SHRINK: Final = 0.7
_SHORTEST_S: Final = 1.0
_LONGEST_S: Final = 10.0
_JITTER: Final = 0.25
# Requests take all that there is from these shares of the last moments on.
_PRESSURE_S: Final = 0.15
# How long another thread takes that for granted.
_PRESSURE_KNOWN_S: Final = 1.0
_ALL_TIME: Final = 0.8
_ONE_CORE: Final = 0.8
# A silent key saves up this much of its rate.
_BURST_S: Final = 2.0
_LONGEST_QUOTA_S: Final = 300
_QUOTA_KEYS: Final = 10_000


@dataclass(slots=True)
class _Sender:
    """Bytes that a sender recently had in the line, decaying, as of a time in seconds."""

    had: float
    at_s: float


@dataclass(slots=True, eq=False)
class PlaceInLine:
    """The place of an admitted request among those that wait.

    Attributes:
        cost: What it counts, in bytes.
        since_s: When it began to wait.
        before: What waited then, with itself.
    """

    cost: float
    since_s: float
    before: float


class Admission:
    """Decides which requests are taken; any thread may call.

    Args:
        clock: Tells the time in seconds; it never goes back.
        spread: Draws a number between two, for the delays.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        spread: Callable[[float, float], float] = random.uniform,  # guards nothing
    ) -> None:
        self._clock = clock
        self._spread = spread
        self._lock = threading.Lock()
        self._window = float(_FIRST_BYTES)
        self._waiting = 0.0
        self._shrunk_s = -math.inf
        self._free_s = 0.0
        self._senders: dict[str, _Sender] = {}
        self._all = _Sender(0.0, clock())

    def admit(self, sender: str, size: int) -> PlaceInLine:
        """Take a request.

        Args:
            sender: Who sends it: senders share what there is.
            size: Its bytes as they come, or about as many.

        Raises:
            Unavailable: It would wait too long; it says when it would not.
        """
        cost = float(size + _REQUEST_BYTES)
        with self._lock:
            now_s = self._clock()
            known = self._fade(sender, now_s)
            if self._waiting and self._waiting + cost > self._window * self._share(known):
                raise Unavailable("The collector is busy", self._delay(cost, now_s))
            return self._enter(known, cost, now_s)

    def enter(self, sender: str, size: int) -> PlaceInLine:
        """Count a part of a request that was taken long ago."""
        with self._lock:
            now_s = self._clock()
            return self._enter(self._fade(sender, now_s), float(size), now_s)

    def begin(self, place: PlaceInLine, size: int) -> None:
        """Begin to wait, now that the body is there and its size known."""
        self.resize(place, size)
        with self._lock:
            place.since_s, place.before = self._clock(), self._waiting

    def resize(self, place: PlaceInLine, size: int) -> None:
        """Update the size of a place in the line to that of the uncompressed body."""
        with self._lock:
            more = float(size + _REQUEST_BYTES) - place.cost
            self._waiting += more
            place.cost += more
            place.before += more

    def leave(self, place: PlaceInLine, *, is_measured: bool = False) -> None:
        """End waiting.

        Args:
            place: Where it waited.
            is_measured: It was stored, or its time was over: its wait tells how fast we are.
        """
        with self._lock:
            self._waiting = max(self._waiting - place.cost, 0.0)
            if is_measured:
                now_s = self._clock()
                self._learn(place.before, max(now_s - place.since_s, 1e-3), now_s)

    def delay(self, size: int) -> float:
        """Tell in seconds when to come again where so many bytes are to be stored before."""
        with self._lock:
            waits_s = size * _IN_TIME_S / max(self._window, 1.0) * self._spread(1, 1 + 2 * _JITTER)
            return min(max(waits_s, _SHORTEST_S), _LONGEST_S)

    def _enter(self, known: _Sender, cost: float, now_s: float) -> PlaceInLine:
        known.had += cost
        self._all.had += cost
        self._waiting += cost
        return PlaceInLine(cost, now_s, self._waiting)

    def _fade(self, sender: str, now_s: float) -> _Sender:
        if len(self._senders) > _MOST_SENDERS:
            self._senders.clear()
            self._all.had = 0.0
        known = self._senders.setdefault(sender, _Sender(0.0, now_s))
        for part in (known, self._all):
            part.had *= math.exp((part.at_s - now_s) / _LATELY_S)
            part.at_s = now_s
        return known

    def _share(self, known: _Sender) -> float:
        """Tell how much of the window a sender may fill: the more, the less it had."""
        mean = self._all.had / len(self._senders)
        return 1 + _SPARE * max(1 - known.had / mean, 0.0) if mean else 1.0

    def _learn(self, before: float, waited_s: float, now_s: float) -> None:
        """Adapt the window to the bytes that would have been in time at the measured rate."""
        fits = min(before * _IN_TIME_S / waited_s, _MOST_BYTES)
        if fits > self._window and waited_s <= _IN_TIME_S:
            self._window += (fits - self._window) * _LEARN
        elif fits < self._window and waited_s > _LATE_S and now_s - self._shrunk_s > _IN_TIME_S:
            self._window = max(self._window * _SHRINK, fits)
            self._shrunk_s = now_s

    def _delay(self, cost: float, now_s: float) -> float:
        """Return a delay for a refused sender; delays are as far apart as requests are served."""
        rate = max(self._window / _IN_TIME_S, 1.0)
        free_s = max(self._free_s, now_s + _SHORTEST_S) + cost / rate
        self._free_s = min(free_s, now_s + _LONGEST_S)
        jitter = self._spread(1 - _JITTER, 1 + _JITTER)
        return min(max((self._free_s - now_s) * jitter, _SHORTEST_S), _LONGEST_S)


class Pressure:
    """Tells whether requests take all that this process can do, by the last moments.

    That is when they are worked on without a pause and the process uses the core that Python has.

    Args:
        clock: Tells the time in seconds; it never goes back.
        cpu: Tells the seconds of CPU that the process has had, on all its threads.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        cpu: Callable[[], float] = time.process_time,
    ) -> None:
        self._clock = clock
        self._cpu = cpu
        self._noted_s, self._noted_cpu_s = clock(), cpu()
        self._under_way = 0
        self._worked = 0.0
        self._cores = 0.0

    @contextmanager
    def work(self) -> Iterator[None]:
        """Work on a request."""
        self._note()
        self._under_way += 1
        try:
            yield
        finally:
            self._note()
            self._under_way -= 1

    @property
    def is_high(self) -> bool:
        """Whether whatever else is done here is taken from requests."""
        self._note()
        return self._is_all_taken

    @property
    def was_high(self) -> bool:
        """The same when a request began or ended last, if that is not long ago; of any thread."""
        return self._clock() - self._noted_s < _PRESSURE_KNOWN_S and self._is_all_taken

    @property
    def _is_all_taken(self) -> bool:
        return self._worked >= _ALL_TIME and self._cores >= _ONE_CORE

    def _note(self) -> None:
        """Update the decaying averages of load since the last call."""
        now_s = self._clock()
        passed_s = now_s - self._noted_s
        cpu_s = self._cpu()
        kept = math.exp(-passed_s / _PRESSURE_S)
        if passed_s > 0:
            self._cores = self._cores * kept + (cpu_s - self._noted_cpu_s) / passed_s * (1 - kept)
        self._worked = self._worked * kept + bool(self._under_way) * (1 - kept)
        self._noted_s, self._noted_cpu_s = now_s, cpu_s


class Budget:
    """Bounds the bytes of all requests that wait for an answer, and those of the large ones."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._lock = threading.Lock()
        self._bytes = 0
        self._large = 0

    def claim(self, size: int) -> bool:
        """Count the bytes of a large request that is to come, where it may."""
        with self._lock:
            fits = self._bytes + size <= _IN_FLIGHT_BYTES
            if not fits or (self._large and self._large + size > _LARGE_BYTES):
                return False
            self._bytes += size
            self._large += size
        return True

    def is_crowded(self, own: int) -> bool:
        """Tell whether there are too many bytes of large requests beside the caller's own."""
        with self._lock:
            return self._large > max(own, _LARGE_BYTES)

    def move(self, number: int, *, large: int = 0, is_needed: bool = False) -> None:
        """Count bytes that come or, below 0, go, and how many of them are of large requests.

        Raises:
            Unavailable: There are too many, and they are not needed to end what has begun.
        """
        with self._lock:
            if number > 0 and not is_needed and self._bytes + number > _IN_FLIGHT_BYTES:
                raise Unavailable("Too many bytes wait for the store")
            self._bytes += number
            self._large += large
            self._telemetry.set_queue_bytes(self._bytes)


class Held:
    """The hold of one request until its answer: a place in the line, and part of the budget."""

    def __init__(self, admission: Admission, budget: Budget) -> None:
        self._admission = admission
        self._budget = budget
        self._lock = threading.Lock()
        self._bytes = 0
        self._claimed = 0
        self._is_large = False
        self._released = False
        self._place: PlaceInLine | None = None
        self._lapse: asyncio.TimerHandle | None = None
        self._since_s = time.monotonic()
        self.sender = ""
        self.service = ""  # of its first record, once that is read

    @property
    def age_s(self) -> float:
        """Tell for how long its sender has waited."""
        return time.monotonic() - self._since_s

    def announce(self, sender: str, size: int) -> None:
        """Ask for a place before the body is read; a sender that is slow with the body loses it.

        Raises:
            Unavailable: There is no room; it says when there may be.
        """
        self.sender = sender
        loop = asyncio.get_running_loop()
        if size <= WHOLE_BYTES:
            self._place = self._admission.admit(sender, size)
            self._lapse = loop.call_later(_ARRIVAL_S, self.leave)
        elif self._budget.claim(size):
            self._bytes = self._claimed = size
            self._is_large = True
            self._lapse = loop.call_later(_LARGE_ARRIVAL_S, self._unclaim)
        else:
            raise self._no_room(size)

    def begin(self, size: int) -> None:
        """Begin to wait for an answer: the body is there.

        Raises:
            Unavailable: There is no room, and none was kept.
        """
        if self._lapse is not None:
            self._lapse.cancel()
        if size > WHOLE_BYTES:
            self.leave()
            if self._budget.is_crowded(self._bytes):
                raise self._no_room(size)
        elif self._place is None:
            self._place = self._admission.admit(self.sender, size)
        else:
            self._admission.begin(self._place, size)

    def _no_room(self, size: int) -> Unavailable:
        delay_s = self._admission.delay(size)
        return Unavailable("Too many bytes wait for the store", delay_s)

    def _unclaim(self) -> None:
        """Give back a claim whose body did not come; the body is counted when it comes."""
        with self._lock:
            claimed, self._claimed = self._claimed, 0
            self._bytes -= claimed
            self._budget.move(-claimed, large=-claimed)

    def resize(self, size: int) -> None:
        """Update the place in the line to the uncompressed size of the body."""
        place = self._place
        if place is not None:
            self._admission.resize(place, size)

    def grow(self, number: int) -> None:
        """Count more bytes, before anything is made of them.

        Raises:
            Unavailable: Too many bytes wait already, or the sender has its answer.
        """
        with self._lock:
            if self._released:  # the sender has its answer: nobody waits for this body
                raise Unavailable("The collector is busy")
            claimed = min(self._claimed, number)
            self._claimed -= claimed
            number -= claimed
            is_large = self._is_large or self._bytes + number > WHOLE_BYTES
            self._budget.move(number, large=self._large_of(is_large, number))
            self._bytes += number
            self._is_large = is_large

    def count(self, number: int) -> None:
        """Count bytes of decoded data against the budget: it is not thrown away again."""
        with self._lock:
            if not self._released:
                large = self._large_of(self._is_large, number)
                self._budget.move(number, large=large, is_needed=True)
                self._bytes += number

    def leave(self, *, is_measured: bool = False) -> None:
        """Give the place in the line back, as `Admission.leave`."""
        place, self._place = self._place, None
        if place is not None:
            self._admission.leave(place, is_measured=is_measured)

    def hand_over(self) -> "Held":
        """Move the held bytes to another holder, which outlives the answer."""
        other = Held(self._admission, self._budget)
        with self._lock:
            other._bytes, self._bytes = self._bytes, 0
            other._is_large = self._is_large
        other.sender = self.sender
        return other

    def release(self) -> None:
        """Give everything back."""
        if self._lapse is not None:
            self._lapse.cancel()
        self.leave()
        with self._lock:
            self._released = True
            self._budget.move(-self._bytes, large=-self._bytes if self._is_large else 0)
            self._bytes = 0

    def _large_of(self, is_large: bool, number: int) -> int:
        """Tell how many more bytes are of a large request, when so many more come."""
        if not is_large:
            return 0
        return number if self._is_large else self._bytes + number


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
        on_refused: Called for each request that is not let in, with the unit it is over.
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
                    min(max(math.ceil(-level / rate), 1), _LONGEST_QUOTA_S),
                )

    def take(self, access: Access, *, spans: int = 0, size: int = 0) -> None:
        """Take the spans and bytes of a request out of its key's buckets.

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
        if len(self._buckets) > 2 * _QUOTA_KEYS:
            self._buckets.clear()
        bucket = self._buckets.setdefault((key_id, unit), _Bucket(rate * _BURST_S, now_s))
        bucket.fill(rate, now_s)
        return bucket


def _rates(access: Access) -> list[tuple[str, int]]:
    rates = (("spans", access.spans_per_second), ("bytes", access.bytes_per_second))
    return [(unit, rate) for unit, rate in rates if rate]
