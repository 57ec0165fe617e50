"""Detects a wrong clock of this machine, by comparing it with the clocks of senders.

If a span starts more than an hour in the future, either its sender's clock is wrong or ours is
behind. Other senders show which: the newest spans of a sender with a correct clock end about now.
The span is only rejected for good if enough senders agree with our clock. Otherwise the request is
refused for now, so that its sender retries and no data is lost.
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

# Largest age of a sender's newest span for its clock to count as correct.
_RECENT_NS: Final = 600 * SECOND_NS
# A clock that was never set starts in 1970. Spans that are further ahead have no valid time.
_MOST_AHEAD_NS: Final = 100 * 365 * DAY_NS
_KEPT_NS: Final = HOUR_NS
_MOST_SENDERS: Final = 1_000
# Our clock is suspected if more than this many machines are ahead per machine that agrees. A small
# minority can hardly be the only ones with correct clocks.
_OUTNUMBERED: Final = 4
# Fewer senders may themselves have wrong clocks.
_SURE: Final = 3
_LOG_EVERY_NS: Final = 300 * SECOND_NS
_RETRY_S: Final = 30
# Attributes that identify a machine, most exact first. Each machine has one clock.
_MACHINE_KEYS: Final = (
    "host.id",
    "host.name",
    "k8s.node.name",
    "service.instance.id",
    "service.name",
)

_logger = logging.getLogger(__name__)

# Resource, start and end of a span or log record.
Seen = tuple[Mapping[str, Value], int, int]
Item = TypeVar("Item")


class ClockWatch:
    """Tracks how far the clocks of senders are ahead. Safe to use from several threads.

    Args:
        clock: Returns the time in nanoseconds since the epoch.
        steady: Returns a time in nanoseconds that does not change when the clock is set.
    """

    def __init__(
        self,
        clock: Callable[[], int] = time.time_ns,
        steady: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._clock = clock
        self._steady = steady
        self._lock = threading.Lock()
        # By sender: its time minus steady time, which does not change when our clock is set; and
        # when we measured it.
        self._senders: OrderedDict[str, tuple[int, int]] = OrderedDict()
        self._logged_ns: int | None = None

    def follow(self, items: Iterable[Item], read: Callable[[Item], Seen]) -> Iterator[Item]:
        """Yield the spans or log records of a request, and note their start and end times.

        Args:
            items: Spans or log records; yielded unchanged.
            read: Returns resource, start and end of an item.

        Raises:
            Unavailable: Raised after the last item if some start too far ahead and our clock may be
                wrong.
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
                if resource is not named:  # spans of a resource are adjacent
                    named, sender = resource, _name(resource)
                # One span with a plausible time is enough to trust its sender: its other spans have
                # odd times.
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
        """What seems to be wrong with our clock; empty if it seems right."""
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
        """Whether at least 3 senders are ahead, so that it can hardly be their fault."""
        return len(self._leads()) >= _SURE

    @property
    def behind_s(self) -> float:
        """Seconds by which our clock seems to be behind; 0 if it seems right."""
        ahead = self._leads()
        return median(ahead) / SECOND_NS if ahead else 0.0

    def _leads(self) -> list[int]:
        """Return how far senders are ahead; empty if too many others agree with our clock."""
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
        """Log the problem at most every five minutes."""
        with self._lock:
            if self._logged_ns is not None and steady_ns - self._logged_ns < _LOG_EVERY_NS:
                return
            self._logged_ns = steady_ns
        _logger.error("Spans are not taken: %s", trouble)


def _name(resource: Mapping[str, Value]) -> str:
    """Return a name of the machine of a resource; empty if unknown."""
    return next((f"{name}={resource[name]!r}" for name in _MACHINE_KEYS if resource.get(name)), "")


def _say_time(time_ns: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(time_ns // SECOND_NS))


def _say_lead(lead_ns: float) -> str:
    hours = lead_ns / HOUR_NS
    return f"{hours:.1f} hours" if lead_ns < 2 * DAY_NS else f"{hours / 24:.0f} days"
