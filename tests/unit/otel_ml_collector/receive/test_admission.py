"""Tests of admitting requests, with a simulated clock."""

from dataclasses import dataclass, field
from typing import Final

import pytest

from otel_ml_collector.errors import Unavailable
from otel_ml_collector.receive.admission import Admission, PlaceInLine, Pressure

MIB: Final = 2**20
ANSWER_S: Final = 3.5


@dataclass
class Line:
    """A queue before a store of known speed, which serves requests in order of arrival.

    A request that would wait longer than `ANSWER_S` leaves after `ANSWER_S` without being served.
    """

    bytes_per_s: float
    now_s: float = 100.0
    ends: list[tuple[float, PlaceInLine, bool]] = field(default_factory=list)
    free_s: float = 0.0

    def __post_init__(self) -> None:
        self.admission = Admission(lambda: self.now_s, lambda low, high: (low + high) / 2)

    def send(self, sender: str, size: int) -> bool:
        """Send a request and return whether it is admitted."""
        return self.delay(sender, size) == 0

    def delay(self, sender: str, size: int) -> float:
        """Send a request and return its retry delay in seconds, or 0 if it is admitted."""
        try:
            place = self.admission.admit(sender, size)
        except Unavailable as error:
            return error.retry_after_s
        end_s = max(self.now_s, self.free_s) + size / self.bytes_per_s
        if end_s > self.now_s + ANSWER_S and self.ends:
            self.ends.append((self.now_s + ANSWER_S, place, False))
        else:
            self.free_s = end_s
            self.ends.append((end_s, place, True))
        self.ends.sort(key=lambda one: one[0])
        return 0.0

    def serve(self, seconds: float) -> int:
        """Let time pass and return how many requests were answered."""
        until_s, answered = self.now_s + seconds, 0
        while self.ends and self.ends[0][0] <= until_s:
            self.now_s, place, is_served = self.ends.pop(0)
            self.admission.leave(place, is_measured=True)
            answered += is_served
        self.now_s = until_s
        return answered


@pytest.mark.parametrize("rate", [MIB / 4, 2 * MIB, 20 * MIB])
@pytest.mark.parametrize("senders", [16, 64])
def test_window(rate: float, senders: int) -> None:
    """For any speed of the store, admitted requests keep it busy and are answered in time."""
    line, size = Line(rate), int(rate / 8)
    for _ in range(200):  # twenty seconds to learn the speed
        for number in range(senders):
            line.send(str(number), size)
        line.serve(0.1)
    taken, answered = 0, 0
    for _ in range(200):
        taken += sum(line.send(str(number), size) for number in range(senders))
        answered += line.serve(0.1)
    assert answered >= 0.95 * 20 * 8
    assert taken <= 1.1 * answered


def test_alone() -> None:
    """A request is admitted if no other waits, however slow the store was before."""
    line = Line(1_000)
    for _ in range(20):
        assert line.send("one", 100_000)
        line.serve(200)


def test_idle_teaches_nothing() -> None:
    """Single small requests that take long do not keep larger ones out."""
    line = Line(10_000)
    for _ in range(100):
        assert line.send("one", 1_000)
        line.serve(1)
    assert all(line.send("one", MIB) for _ in range(4))


def test_larger_than_the_window() -> None:
    """A body larger than the window is admitted while others wait, and excludes few of them."""
    line = Line(20 * MIB)
    for _ in range(3):
        assert line.send("small", MIB)
    assert line.send("large", 20 * MIB)  # the window is initially 8 MiB
    assert all(line.send("small", MIB) for _ in range(3))
    assert not line.send("large", 20 * MIB)


def test_large_is_measured_whole() -> None:
    """Large bodies that are stored quickly widen the window by their whole size."""
    line = Line(20 * MIB)
    for _ in range(20):
        assert line.send("large", 20 * MIB)
        line.serve(1)
    assert all(line.send("small", MIB) for _ in range(24))


def test_small_sender() -> None:
    """A small sender is admitted almost every time, although many others want all capacity."""
    line = Line(2 * MIB)
    taken = 0
    for turn in range(350):
        for number in range(64):
            line.send(str(number), MIB // 4)
        if turn >= 50 and turn % 10 == 0:  # it has learned the speed by then
            taken += line.send("small", 2_000)
        line.serve(0.1)
    assert taken >= 27


def test_every_sender() -> None:
    """Senders that retry when asked get similar shares, and the store's capacity is used."""
    line, size = Line(2 * MIB), MIB // 4
    due = dict.fromkeys(map(str, range(64)), 0.0)
    had = dict.fromkeys(due, 0)
    for _ in range(1_200):
        for sender in due:
            if due[sender] <= line.now_s:
                delay_s = line.delay(sender, size)
                had[sender] += delay_s == 0
                due[sender] = line.now_s + (delay_s or 1.5)
        line.serve(0.1)
    assert min(had.values()) >= 5
    assert sum(had.values()) >= 0.9 * 120 * 8


def test_delays() -> None:
    """Rejected senders get increasing retry delays of 1 to 10 seconds."""
    line = Line(2 * MIB)
    delays = [line.delay(str(number), MIB) for number in range(40)]
    told = [delay for delay in delays if delay]
    assert told == sorted(told)
    assert len(set(told)) > 5
    assert (min(told), max(told)) >= (1.0, 5.0)
    assert max(told) <= 10


def test_no_pressure_while_collecting() -> None:
    """Requests that only wait for a batch are not load, even if other work is busy."""
    now_s = 0.0
    pressure = Pressure(lambda: now_s, lambda: 1.5 * now_s, lambda: True)
    for _ in range(20):
        with pressure.work():
            now_s += 0.1
    assert not pressure.is_high


@pytest.mark.parametrize(
    ("under_way", "cores", "is_high"), [(True, 1.5, True), (True, 0.5, False), (False, 1.5, False)]
)
def test_pressure(*, under_way: bool, cores: float, is_high: bool) -> None:
    """Pressure is high while requests run continuously and use a core. A pause ends it."""
    now_s, cpu_s = 0.0, 0.0
    pressure = Pressure(lambda: now_s, lambda: cpu_s)

    def pass_time() -> None:
        nonlocal now_s, cpu_s
        now_s += 0.1
        cpu_s += 0.1 * cores

    assert not pressure.is_high
    for _ in range(20):
        if under_way:
            with pressure.work():
                pass_time()
        else:
            pass_time()
    assert pressure.was_high is is_high
    assert pressure.is_high is is_high
    for _ in range(3):
        pass_time()
    assert not pressure.is_high
    assert not pressure.was_high


def test_pressure_of_another_thread() -> None:
    """`was_high` keeps the last state for a second, and reading it changes nothing."""
    now_s, cpu_s = 0.0, 0.0
    pressure = Pressure(lambda: now_s, lambda: cpu_s)
    for _ in range(20):
        with pressure.work():
            now_s, cpu_s = now_s + 0.1, cpu_s + 0.15
    assert pressure.was_high
    now_s += 0.9
    assert pressure.was_high
    now_s += 0.2
    assert not pressure.was_high
