"""Time windows: what `start`, `end`, `last` and `tz` of a request mean, to the nanosecond.

A window has a time zone. Its days begin at midnight there, so a day on which the clocks change has
23 or 25 hours. Dates and times without an offset are in that zone, too.
"""

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Final
from zoneinfo import ZoneInfo

from otel_ml_collector.errors import BadInput
from otel_ml_collector.times import DAY_NS, HOUR_NS, SECOND_NS, UNITS_NS

UTC_ZONE: Final = ZoneInfo("UTC")
# Names of days, and how many days ago each was.
DAY_NAMES: Final = {"today": 0, "yesterday": 1}
LAST_EXPECTED: Final = "a number of s, m, h, d or w such as 24h, today or yesterday"
_LENGTH: Final = re.compile(r"(\d{1,6})([smhdw])", re.ASCII)
MOST_LAST_NS: Final = 100 * 366 * DAY_NS
_ZONE_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,2}", re.ASCII)
_EPOCH: Final = date(1970, 1, 1)
_ONE_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Window:
    """A time range: from `start_ns` up to, but not including, `end_ns`.

    Attributes:
        zone: The time zone of its days.
    """

    start_ns: int
    end_ns: int
    zone: ZoneInfo = UTC_ZONE

    def cut(self, step_ns: int | None) -> "Buckets":
        """Cut the window into buckets at round clock times in its zone, such as full hours.

        The first bucket begins at the start of the window, and the last one ends at its end, so
        both may be shorter than `step_ns`. Buckets of one or more days begin at midnight in the
        zone. If `step_ns` is None, the window is one bucket.
        """
        if step_ns is None:
            return Buckets(self, self.end_ns - self.start_ns, (self.start_ns,))
        starts_ns = [self.start_ns]
        for edge_ns in _list_edges(self, step_ns):
            if edge_ns >= self.end_ns:
                break
            if edge_ns > starts_ns[-1]:  # a zone may skip a whole day
                starts_ns.append(edge_ns)
        return Buckets(self, step_ns, tuple(starts_ns))


@dataclass(frozen=True, slots=True)
class Buckets:
    """The time buckets of the runs in a window.

    Attributes:
        window: The window of the runs.
        step_ns: Length of a bucket, in nanoseconds. The first and last bucket can be shorter. A
            bucket in which the clocks change can be shorter or longer.
        starts_ns: Start of each bucket, in nanoseconds since 1970. The first bucket starts with the
            window.
    """

    window: Window
    step_ns: int
    starts_ns: Sequence[int]

    @property
    def edges_ns(self) -> Sequence[int]:
        """The starts of all buckets, and the end of the last."""
        return (*self.starts_ns, self.window.end_ns)

    @property
    def is_even(self) -> bool:
        """Whether all buckets, except the first and the last, are exactly one step long."""
        first_ns, *lengths_ns = (end_ns - start_ns for start_ns, end_ns in pairwise(self.edges_ns))
        last_ns = lengths_ns.pop() if lengths_ns else first_ns
        ends_fit = first_ns <= self.step_ns and last_ns <= self.step_ns
        return ends_fit and all(length_ns == self.step_ns for length_ns in lengths_ns)

    def place_of(self, start_ns: int) -> int:
        """Return the index of the bucket that begins at a time."""
        return bisect_left(self.starts_ns, start_ns)


def read_zone(name: str, field: str = "tz") -> ZoneInfo:
    """Return a time zone by its IANA name.

    Raises:
        BadInput: There is no such zone. The error names the parameter `field`.
    """
    if _ZONE_NAME.fullmatch(name):
        with suppress(ValueError, OSError, LookupError):  # a folder of zones, or no zone
            return ZoneInfo(name)
    raise BadInput(
        f"Invalid time zone {name[:80]!r}: expected an IANA name such as Europe/Berlin or UTC",
        field,
    )


def read_last_ns(text: str) -> int | None:
    """Return the length of the time in ``last("24h")``; None if the text is no such length."""
    match = _LENGTH.fullmatch(text)
    length_ns = int(match[1]) * UNITS_NS[match[2]] if match else 0
    return length_ns if 0 < length_ns <= MOST_LAST_NS else None


def find_day(name: str, now_ns: int, zone: ZoneInfo) -> Window:
    """Return the window of *today* or *yesterday* in a time zone."""
    day = _date_of(now_ns, zone) - DAY_NAMES[name] * _ONE_DAY
    return Window(_midnight(day, zone), _midnight(day + _ONE_DAY, zone), zone)


def find_last(text: str, now_ns: int, zone: ZoneInfo) -> Window:
    """Return the window of ``last``: a duration until now, or a day in a time zone.

    Raises:
        BadInput: The text is neither.
    """
    if text in DAY_NAMES:
        return find_day(text, now_ns, zone)
    length_ns = read_last_ns(text)
    if length_ns is None:
        raise BadInput(f"Invalid last {text[:80]!r}: expected {LAST_EXPECTED}", "last")
    return Window(max(now_ns - length_ns, 0), now_ns, zone)


def write_local(time_ns: int, zone: ZoneInfo) -> str:
    """Write a time to the second, as clocks in a time zone show it: ``2026-11-20 08:00:00``."""
    return f"{datetime.fromtimestamp(time_ns // SECOND_NS, zone):%Y-%m-%d %H:%M:%S}"


def _list_edges(window: Window, step_ns: int) -> Iterator[int]:
    """List the full steps of the clock, beginning before a window, without end."""
    zone = window.zone
    day = _date_of(window.start_ns, zone)
    if step_ns % DAY_NS == 0:
        length = step_ns // DAY_NS
        day -= (day - _EPOCH).days % length * _ONE_DAY
        while True:
            yield _midnight(day, zone)
            day += length * _ONE_DAY
    if DAY_NS % step_ns == 0:
        while True:
            yield from _cut_day(day, step_ns, zone)
            day += _ONE_DAY
    offset_ns = _offset_ns(window.start_ns, zone)
    edge_ns = (window.start_ns + offset_ns) // step_ns * step_ns - offset_ns
    while True:
        yield edge_ns
        edge_ns += step_ns


def _cut_day(day: date, step_ns: int, zone: ZoneInfo) -> Iterator[int]:
    """Cut a day into steps. Steps of up to an hour follow elapsed time, longer ones the clock."""
    start_ns, end_ns = _midnight(day, zone), _midnight(day + _ONE_DAY, zone)
    if step_ns <= HOUR_NS or end_ns - start_ns == DAY_NS:
        yield from range(start_ns, end_ns, step_ns)
        return
    for passed_ns in range(0, DAY_NS, step_ns):
        passed = timedelta(seconds=passed_ns // SECOND_NS)
        clock = datetime(day.year, day.month, day.day, tzinfo=zone) + passed
        yield int(clock.timestamp()) * SECOND_NS


def _date_of(time_ns: int, zone: ZoneInfo) -> date:
    return datetime.fromtimestamp(time_ns // SECOND_NS, zone).date()


def _midnight(day: date, zone: ZoneInfo) -> int:
    """Return when a day begins. If the clocks skip midnight, it begins when they do."""
    return int(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()) * SECOND_NS


def _offset_ns(time_ns: int, zone: ZoneInfo) -> int:
    offset = datetime.fromtimestamp(time_ns // SECOND_NS, zone).utcoffset() or timedelta()
    return int(offset.total_seconds()) * SECOND_NS
