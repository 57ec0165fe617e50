"""Admission control: decides which requests are accepted now and when refused senders retry.

The queue is bounded by what the collector can answer in time: this number of bytes is the window.
A request that would wait too long is refused before its body is read, which costs almost nothing.
The window adapts to the machine: each stored request shows how long the queue in front of it took.
When the queue is full, senders that sent little in the last seconds can still get in.

Each key with a quota has two token buckets, one for spans and one for bytes. Both fill at the key's
rate. A request is accepted while neither bucket is empty. Its whole size is then taken out, even if
a bucket becomes negative. So a request larger than the rate slows its sender down, but is never
impossible to send. Answers do not have to wait until the spans are counted.
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
# Requests above this size are large. Most exporters, and the SDK, send smaller bodies.
LARGE_BYTES: Final = 2 * _MIB
_IN_FLIGHT_BYTES: Final = 96 * _MIB
# Large requests leave the other 32 MiB to small ones.
_LARGE_IN_FLIGHT_BYTES: Final = 64 * _MIB
# Seconds for which a queue place is reserved while the body is being sent.
_ARRIVAL_S: Final = 1.0
# Requests should wait at most `_IN_TIME_S`. If one waits longer than `_LATE_S`, the window shrinks.
# Both are shorter than the time after which a sender must be answered.
_IN_TIME_S: Final = 1.75
_LATE_S: Final = 2.5
_FIRST_BYTES: Final = 8 * _MIB
_MOST_BYTES: Final = 48 * _MIB
# Fixed cost of a request in addition to its bytes.
_REQUEST_BYTES: Final = 4 * 1024
# Maximum share of the window that one request counts for. So a body larger than the window is
# accepted even if the queue is not empty. With `_SPARE`, it is accepted into a full queue if its
# sender sent nothing recently.
_MOST_OF_WINDOW: Final = 0.25
# Extra share of the window for a sender that sent nothing recently.
_SPARE: Final = 0.25
_LATELY_S: Final = 10.0
_MOST_SENDERS: Final = 4_096
_LEARN: Final = 0.25
_SHRINK: Final = 0.7
_SHORTEST_S: Final = 1.0
_LONGEST_S: Final = 10.0
_JITTER: Final = 0.25
# Load is averaged over this many seconds. It is high if both averages exceed their limits,
# `_ALL_TIME` and `_ONE_CORE`.
_PRESSURE_S: Final = 0.15
# Seconds for which other threads may reuse the last measurement.
_PRESSURE_KNOWN_S: Final = 1.0
_ALL_TIME: Final = 0.8
_ONE_CORE: Final = 0.8
# An idle key can save up this many seconds' worth of its quota.
_BURST_S: Final = 2.0
_LONGEST_QUOTA_S: Final = 300
_QUOTA_KEYS: Final = 10_000


@dataclass(slots=True)
class _Sender:
    """How many bytes a sender queued recently.

    Attributes:
        had: The bytes; older ones count less.
        at_s: Time of that value, in seconds of a monotonic clock.
    """

    had: float
    at_s: float


@dataclass(slots=True, eq=False)
class PlaceInLine:
    """The place of an admitted request in the queue.

    Attributes:
        size: Size of the request in bytes, plus a fixed number of bytes for each request.
        cost: The bytes that count against the share of its sender. Less than `size` for a large
            request.
        since_s: When the request started to wait, in seconds of a monotonic clock.
        before: Bytes in the queue at that time, including the `size` of this request.
    """

    size: float
    cost: float
    since_s: float
    before: float


class Admission:
    """Decides which requests are accepted. Safe to call from any thread.

    Args:
        clock: Returns a monotonic time in seconds.
        spread: Returns a random number between two numbers; used to spread retry delays.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        spread: Callable[[float, float], float] = random.uniform,  # not used for security
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
        """Give a request a place in the queue.

        Args:
            sender: Identifies the sender. All senders share the queue.
            size: Bytes of the request on the wire, or an estimate.

        Raises:
            Unavailable: The request would wait too long. The error contains the retry delay.
        """
        with self._lock:
            now_s = self._clock()
            known = self._fade(sender, now_s)
            place = self._make_place(size, now_s)
            if self._waiting and self._waiting + place.cost > self._window * self._share(known):
                raise Unavailable("The collector is busy", self._delay(place.cost, now_s))
            known.had += place.size
            self._all.had += place.size
            self._waiting += place.cost
            return place

    def begin(self, place: PlaceInLine, size: int) -> None:
        """Start the waiting time of a request, once its body and size are known."""
        self.resize(place, size)
        with self._lock:
            place.since_s = self._clock()
            place.before = self._waiting - place.cost + place.size

    def resize(self, place: PlaceInLine, size: int) -> None:
        """Replace the size of a queued request with that of its uncompressed body."""
        with self._lock:
            sized = self._make_place(size, place.since_s)
            self._waiting += sized.cost - place.cost
            place.before += sized.size - place.size
            place.size, place.cost = sized.size, sized.cost

    def leave(self, place: PlaceInLine, *, is_measured: bool = False) -> None:
        """Remove a request from the queue.

        Args:
            place: Its place in the queue.
            is_measured: Whether its waiting time shows how fast the collector is. True if the
                request was stored or timed out.
        """
        with self._lock:
            self._waiting = max(self._waiting - place.cost, 0.0)
            if is_measured:
                now_s = self._clock()
                self._learn(place.before, max(now_s - place.since_s, 1e-3), now_s)

    def _make_place(self, size: int, since_s: float) -> PlaceInLine:
        whole = float(size + _REQUEST_BYTES)
        cost = min(whole, self._window * _MOST_OF_WINDOW)
        return PlaceInLine(whole, cost, since_s, self._waiting + whole)

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
        """Return the share of the window that a sender may fill; above 1 if it sent little."""
        mean = self._all.had / len(self._senders)
        return 1 + _SPARE * max(1 - known.had / mean, 0.0) if mean else 1.0

    def _learn(self, before: float, waited_s: float, now_s: float) -> None:
        """Adapt the window to the bytes that can be stored in time at the measured rate."""
        fits = min(before * _IN_TIME_S / waited_s, _MOST_BYTES)
        if fits > self._window and waited_s <= _IN_TIME_S:
            self._window += (fits - self._window) * _LEARN
        elif fits < self._window and waited_s > _LATE_S and now_s - self._shrunk_s > _IN_TIME_S:
            self._window = max(self._window * _SHRINK, fits)
            self._shrunk_s = now_s

    def _delay(self, cost: float, now_s: float) -> float:
        """Return the retry delay of a refused sender.

        Each refused sender gets a later time than the one before it, so that they return no faster
        than requests can be stored.
        """
        rate = max(self._window / _IN_TIME_S, 1.0)
        free_s = max(self._free_s, now_s + _SHORTEST_S) + cost / rate
        self._free_s = min(free_s, now_s + _LONGEST_S)
        jitter = self._spread(1 - _JITTER, 1 + _JITTER)
        return min(max((self._free_s - now_s) * jitter, _SHORTEST_S), _LONGEST_S)


class Pressure:
    """Measures whether requests use all the capacity of this process.

    The load is high while requests are in progress most of the time and the process uses most of
    the one core that Python can use.

    Args:
        clock: Returns a monotonic time in seconds.
        cpu: Returns the CPU seconds used by all threads of the process.
        is_collecting: Returns whether the requests in progress only wait so that they are stored
            together with later ones.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        cpu: Callable[[], float] = time.process_time,
        is_collecting: Callable[[], bool] = lambda: False,
    ) -> None:
        self._is_collecting = is_collecting
        self._clock = clock
        self._cpu = cpu
        self._noted_s, self._noted_cpu_s = clock(), cpu()
        self._under_way = 0
        self._worked = 0.0
        self._cores = 0.0

    @contextmanager
    def work(self) -> Iterator[None]:
        """Count a request as in progress while the block runs."""
        self._note()
        self._under_way += 1
        try:
            yield
        finally:
            self._note()
            self._under_way -= 1

    @property
    def is_high(self) -> bool:
        """Whether the load is high now, so that other work would slow requests down."""
        self._note()
        return self._is_all_taken

    @property
    def was_high(self) -> bool:
        """Whether the load was high when a request last started or ended; False after 1 s.

        Unlike `is_high`, any thread may read this property.
        """
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
        is_working = self._under_way > 0 and not self._is_collecting()
        self._worked = self._worked * kept + is_working * (1 - kept)
        self._noted_s, self._noted_cpu_s = now_s, cpu_s


class Budget:
    """Limits the bytes of all requests in progress."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._lock = threading.Lock()
        self._bytes = 0

    def claim(self, number: int, own: int) -> None:
        """Reserve more bytes for a request, unless all requests together reach the limit.

        Args:
            number: Bytes to add.
            own: All bytes that this request has reserved then. For a large request the limit is
                lower, so that small requests still have room.

        Raises:
            Unavailable: The limit is reached; nothing was reserved.
        """
        most = _LARGE_IN_FLIGHT_BYTES if own > LARGE_BYTES else _IN_FLIGHT_BYTES
        with self._lock:
            if self._bytes + number > most:
                raise Unavailable("Too much data is waiting to be stored")
            self._change(number)

    def change(self, number: int) -> None:
        """Add bytes even above the limit, or remove them if the number is negative."""
        with self._lock:
            self._change(number)

    def _change(self, number: int) -> None:
        self._bytes += number
        self._telemetry.set_queue_bytes(self._bytes)


class Reservation:
    """What one request reserves until its answer: a place in the queue and part of the budget."""

    def __init__(self, admission: Admission, budget: Budget) -> None:
        self._admission = admission
        self._budget = budget
        self._lock = threading.Lock()
        self._bytes = 0
        self._released = False
        self._place: PlaceInLine | None = None
        self._lapse: asyncio.TimerHandle | None = None
        self._since_s = time.monotonic()
        self.sender = ""
        self.service = ""  # of the first record; empty until it is decoded
        self.unstored_metrics: list[str] = []  # names; known once the request is mapped

    @property
    def age_s(self) -> float:
        """Seconds since the request arrived."""
        return time.monotonic() - self._since_s

    def announce(self, sender: str, size: int) -> None:
        """Reserve a place in the queue before the body of the request is read.

        If the sender does not send the body in time, the place is given to others.

        Raises:
            Unavailable: There is no room. The error contains the retry delay.
        """
        self.sender = sender
        self._place = self._admission.admit(sender, size)
        self._lapse = asyncio.get_running_loop().call_later(_ARRIVAL_S, self.leave)

    def begin(self, size: int) -> None:
        """Start waiting for the answer, once the body has been received.

        Raises:
            Unavailable: There is no room and none was reserved.
        """
        if self._lapse is not None:
            self._lapse.cancel()
        if self._place is None:
            self._place = self._admission.admit(self.sender, size)
        else:
            self._admission.begin(self._place, size)

    def resize(self, size: int) -> None:
        """Replace the size in the queue with that of the uncompressed body."""
        place = self._place
        if place is not None:
            self._admission.resize(place, size)

    def grow(self, number: int) -> None:
        """Count more bytes of the body, before they are processed.

        Raises:
            Unavailable: The budget is used up, or the sender has been answered already.
        """
        with self._lock:
            if self._released:  # the sender was answered: nobody waits for this body
                raise Unavailable("The collector is busy")
            self._budget.claim(number, self._bytes + number)
            self._bytes += number

    def count(self, number: int) -> None:
        """Count bytes of decoded data, even above the limit, because decoding is done."""
        with self._lock:
            if not self._released:
                self._budget.change(number)
                self._bytes += number

    def leave(self, *, is_measured: bool = False) -> None:
        """Leave the queue.

        Args:
            is_measured: Whether the waiting time shows how fast the collector is. True if the
                request was stored or timed out.
        """
        place, self._place = self._place, None
        if place is not None:
            self._admission.leave(place, is_measured=is_measured)

    def transfer(self) -> "Reservation":
        """Return a new reservation that takes over this one and stays valid after the answer."""
        other = Reservation(self._admission, self._budget)
        other._place, self._place = self._place, None
        with self._lock:
            other._bytes, self._bytes = self._bytes, 0
        return other

    def release(self) -> None:
        """Release the place in the queue and all bytes."""
        if self._lapse is not None:
            self._lapse.cancel()
        self.leave()
        with self._lock:
            self._released = True
            self._budget.change(-self._bytes)
            self._bytes = 0


@dataclass(slots=True)
class _Bucket:
    level: float
    at_s: float

    def fill(self, rate: int, now_s: float) -> None:
        self.level = min(self.level + (now_s - self.at_s) * rate, rate * _BURST_S)
        self.at_s = now_s


class Quotas:
    """Token buckets of all keys with a quota, for this collector process only. Thread-safe.

    Args:
        clock: Returns a monotonic time in seconds.
        on_refused: Called for each refused request with the exceeded unit, ``spans`` or ``bytes``.
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
        """Check that the key of a request is within its quota.

        Raises:
            OverQuota: One of its buckets is empty. The error contains the retry delay.
        """
        for unit, rate in _rates(access):
            with self._lock:
                level = self._bucket(access.key_id, unit, rate).level
            if level <= 0:
                self._on_refused(unit)
                raise OverQuota(
                    f"The key may send {rate} {unit} per second and has sent more",
                    min(max(math.ceil(-level / rate), 1), _LONGEST_QUOTA_S),
                )

    def take(self, access: Access, *, spans: int = 0, size: int = 0) -> None:
        """Count the spans and bytes of a request against the quota of its key (token buckets).

        Args:
            access: Scopes, projects and quota of the API key.
            spans: Number of spans.
            size: Bytes of the request as sent, so compressed if it was.
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
