"""Compares this machine's clock with those of senders, so that a wrong clock here loses nothing.

A span that starts more than an hour ahead of our clock was sent by a machine whose clock is wrong,
or our own clock is behind. Other senders tell which: a right sender's newest spans end about now.
Only where enough of them do is such a span rejected for good; else its request is not taken now.
"""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from statistics import median
from typing import Final, TypeVar

from otel_ml_collector.errors import Unavailable
from otel_ml_collector.span import Value
from otel_ml_collector.times import AHEAD_NS, DAY_NS, HOUR_NS, SECOND_NS

# How long ago the newest span of a sender ended that tells the time.
_RECENT_NS: Final = 600 * SECOND_NS
# A clock that was never set begins in 1970; what is further ahead is no time at all.
_MOST_AHEAD_NS: Final = 100 * 365 * DAY_NS
_KEPT_NS: Final = HOUR_NS
_MOST_SENDERS: Final = 1_000
# Machines ahead of us for each one that is not: the few can hardly be all of those that are right.
_OUTNUMBERED: Final = 4
# Fewer may be in the wrong themselves.
_SURE: Final = 3
_LOG_EVERY_NS: Final = 300 * SECOND_NS
_RETRY_S: Final = 30
# What names a machine, the most exact first; a clock is a machine's.
_MACHINE_KEYS: Final = (
    "host.id",
    "host.name",
    "k8s.node.name",
    "service.instance.id",
    "service.name",
)

_logger = logging.getLogger(__name__)

# The resource of a span or log record, when it began, when it ended.
Seen = tuple[Mapping[str, Value], int, int]
Item = TypeVar("Item")


class ClockWatch:
    """Knows by how much senders are ahead; safe to use from several threads.

    Args:
        clock: Tells the time, in nanoseconds since the epoch.
        steady: Tells nanoseconds that no setting of the clock changes.
    """

    def __init__(
        self,
        clock: Callable[[], int] = time.time_ns,
        steady: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._clock = clock
        self._steady = steady
        self._lock = threading.Lock()
        # By sender: its time minus steady time, which stays when our clock is set; and when.
        self._senders: OrderedDict[str, tuple[int, int]] = OrderedDict()
        self._logged_ns: int | None = None

    def follow(self, items: Iterable[Item], read: Callable[[Item], Seen]) -> Iterator[Item]:
        """Pass on the spans or log records of a request, and note when they began and ended.

        Args:
            items: Each is passed on as it comes.
            read: Reads the resource of an item, when it began and when it ended.

        Raises:
            Unavailable: After the last one: some begin too far ahead, and this clock may be the
                wrong clock.
        """
        now_ns, steady_ns = self._clock(), self._steady()
        heard: dict[str, int] = {}
        begins_ahead = False
        named: Mapping[str, Value] | None = None
        sender = ""
        for item in items:
            resource, start_ns, end_ns = read(item)
            lead_ns = end_ns - now_ns
            is_ahead = AHEAD_NS < start_ns - now_ns < _MOST_AHEAD_NS
            begins_ahead |= is_ahead
            if is_ahead or -_RECENT_NS <= lead_ns <= AHEAD_NS:
                if resource is not named:  # the spans of a resource come together
                    named, sender = resource, _name(resource)
                # One span that is on time speaks for its sender: the others have odd times.
                heard[sender] = min(heard.get(sender, lead_ns), lead_ns)
            yield item
        self._note(heard, now_ns, steady_ns)
        if begins_ahead and (trouble := self.trouble):
            self._log(trouble, steady_ns)
            raise Unavailable(f"Not stored: {trouble}", _RETRY_S)

    def _note(self, heard: Mapping[str, int], now_ns: int, steady_ns: int) -> None:
        with self._lock:
            for sender, lead_ns in heard.items():
                self._senders[sender] = (now_ns + lead_ns - steady_ns, steady_ns)
                self._senders.move_to_end(sender)
            while len(self._senders) > _MOST_SENDERS:
                self._senders.popitem(last=False)

    @property
    def trouble(self) -> str:
        """The trouble with this clock, as far as senders show; empty when it seems right."""
        ahead = self._leads()
        if not ahead:
            return ""
        senders = f"{len(ahead)} senders are" if len(ahead) > 1 else "the only sender is"
        return (
            f"this machine's clock seems to be behind: it says {_say_time(self._clock())} UTC, "
            f"and {senders} ahead of that by about {_say_lead(median(ahead))}; set it, or theirs"
        )

    @property
    def is_sure(self) -> bool:
        """Whether so many senders say so that it can hardly be theirs."""
        return len(self._leads()) >= _SURE

    @property
    def behind_s(self) -> float:
        """By how much this clock seems to be behind, 0 when it seems right."""
        ahead = self._leads()
        return median(ahead) / SECOND_NS if ahead else 0.0

    def _leads(self) -> list[int]:
        """Return by how much senders are ahead; none of them, when too many others are not."""
        now_ns, steady_ns = self._clock(), self._steady()
        with self._lock:
            leads = [
                skew_ns + steady_ns - now_ns
                for skew_ns, heard_ns in self._senders.values()
                if steady_ns - heard_ns < _KEPT_NS
            ]
        ahead = [lead_ns for lead_ns in leads if lead_ns > AHEAD_NS]
        on_time = sum(-_RECENT_NS <= lead_ns <= AHEAD_NS for lead_ns in leads)
        return ahead if len(ahead) > _OUTNUMBERED * on_time else []

    def _log(self, trouble: str, steady_ns: int) -> None:
        """Say it in the log, every five minutes."""
        with self._lock:
            if self._logged_ns is not None and steady_ns - self._logged_ns < _LOG_EVERY_NS:
                return
            self._logged_ns = steady_ns
        _logger.error("Spans are not taken: %s", trouble)


def _name(resource: Mapping[str, Value]) -> str:
    """Name the machine that a resource is of."""
    return next((f"{name}={resource[name]!r}" for name in _MACHINE_KEYS if resource.get(name)), "")


def _say_time(time_ns: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(time_ns // SECOND_NS))


def _say_lead(lead_ns: float) -> str:
    hours = lead_ns / HOUR_NS
    return f"{hours:.1f} hours" if lead_ns < 2 * DAY_NS else f"{hours / 24:.0f} days"
