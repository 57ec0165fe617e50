"""Detects a wrong clock of this machine, by comparing it with the clocks of senders.

If a span starts more than an hour in the future, either its sender's clock is wrong or ours is
behind. If it starts more than 400 days ago, either it is old or our clock is ahead. Other senders
show which: the newest spans of a sender with a correct clock end about now. The span is only
rejected for good if enough senders agree with our clock. Otherwise the request is refused for now,
so that its sender retries and no data is lost.

Also reports whether our clock agrees with the newest spans. This is checked before retention
deletes anything.
"""

import logging
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from statistics import median
from typing import Final, TypeVar

from otel_ml import attributes as names
from otel_ml_collector.errors import Unavailable
from otel_ml_collector.span import Value
from otel_ml_collector.times import AHEAD_NS, DAY_NS, HOUR_NS, OLDEST_NS, SECOND_NS, format_time

# Largest age of a sender's newest span for its clock to count as correct.
_RECENT_NS: Final = 600 * SECOND_NS
# A clock that was never set starts in 1970. Spans that are further ahead have no valid time.
_MOST_AHEAD_NS: Final = 100 * 365 * DAY_NS
# 2026-01-01. This program did not exist before, so earlier spans are old and do not point to a
# wrong clock.
_EARLIEST_NS: Final = 1_767_225_600 * SECOND_NS
_KEPT_NS: Final = HOUR_NS
# Number of spans that are needed to judge our clock, and number of newest spans that are kept.
_ENOUGH_SPANS: Final = 100
_MOST_SPANS: Final = 1_000
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


class ClockTracker:
    """Tracks how far the clocks of senders differ from ours. Safe to use from several threads.

    Args:
        clock: Returns the time in nanoseconds since the epoch.
        steady: Returns a monotonic time in nanoseconds. Unlike `clock`, it does not jump when
            someone sets the clock of this machine.
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
        # End times minus steady time, of the newest spans that are not imported.
        self._ends: deque[int] = deque(maxlen=_MOST_SPANS)

    def follow(
        self, items: Iterable[Item], read: Callable[[Item], Seen], *, are_spans: bool = False
    ) -> Iterator[Item]:
        """Yield the spans or log records of a request, and compare their times with our clock.

        Args:
            items: Spans or log records; yielded unchanged.
            read: Function that returns the resource attributes of an item, and its start and end
                in nanoseconds since 1970.
            are_spans: Whether the items are spans. The end times of spans are kept, so that
                `spans_agree` can compare them with our clock. Those of log records are not.

        Raises:
            Unavailable: Some items start more than an hour in the future or more than 400 days ago,
                and the clock of this machine may be wrong. Raised after the last item.
        """
        now_ns, steady_ns = self._clock(), self._steady()
        oldest_ns = now_ns - OLDEST_NS
        heard: dict[str, int] = {}
        old: dict[str, int] = {}
        ends: list[int] = []
        begins_ahead = False
        named: Mapping[str, Value] | None = None
        sender, is_import = "", False
        for item in items:
            resource, start_ns, end_ns = read(item)
            if resource is not named:  # spans of a resource are adjacent
                named, sender = resource, _name(resource)
                is_import = bool(resource.get(names.IMPORT))
            lead_ns = end_ns - now_ns
            is_ahead = AHEAD_NS < start_ns - now_ns < _MOST_AHEAD_NS
            begins_ahead |= is_ahead
            if is_ahead or -_RECENT_NS <= lead_ns <= AHEAD_NS:
                # One span with a plausible time is enough to trust its sender: its other spans have
                # odd times.
                heard[sender] = min(heard.get(sender, lead_ns), lead_ns)
            elif _EARLIEST_NS <= start_ns < oldest_ns and not is_import:
                old[sender] = max(old.get(sender, start_ns - now_ns), start_ns - now_ns)
            if not is_import:
                ends.append(end_ns)
            yield item
        if are_spans:
            with self._lock:
                self._ends.extend(end_ns - steady_ns for end_ns in ends[-_MOST_SPANS:])
        self._note(heard, old, now_ns, steady_ns)
        is_behind = begins_ahead and self.behind_s
        if (is_behind or (old and self.ahead_s)) and (trouble := self.trouble):
            self._log(trouble, steady_ns)
            raise Unavailable(f"Not stored: {trouble}", _RETRY_S)

    def _note(
        self, heard: Mapping[str, int], old: Mapping[str, int], now_ns: int, steady_ns: int
    ) -> None:
        with self._lock:
            for sender, lead_ns in {**old, **heard}.items():
                skew_ns, heard_ns = self._senders.get(sender, (0, steady_ns - _KEPT_NS))
                was_on_time = _is_on_time(skew_ns + steady_ns - now_ns)
                if sender not in heard and was_on_time and steady_ns - heard_ns < _KEPT_NS:
                    continue  # its clock is right: it sends old spans
                self._senders[sender] = (now_ns + lead_ns - steady_ns, steady_ns)
                self._senders.move_to_end(sender)
            while len(self._senders) > _MOST_SENDERS:
                self._senders.popitem(last=False)

    @property
    def trouble(self) -> str:
        """The problem with this machine's clock; empty if it seems right."""
        leads = self._leads()
        if not leads:
            return ""
        senders = f"{len(leads)} senders are" if len(leads) > 1 else "the only sender is"
        lead_ns = median(leads)
        ours, theirs = ("behind", "ahead of") if lead_ns > 0 else ("ahead", "behind")
        history = "" if lead_ns > 0 else ", or import history with otel_ml.import"
        return (
            f"this machine's clock seems to be {ours}: it shows {format_time(self._clock())} UTC, "
            f"and {senders} {theirs} that by about {_format_lead(abs(lead_ns))}; "
            f"correct the wrong clock{history}"
        )

    @property
    def is_sure(self) -> bool:
        """Whether at least 3 senders disagree with our clock. They can hardly all be wrong."""
        return len(self._leads()) >= _SURE

    @property
    def behind_s(self) -> float:
        """Seconds by which our clock seems to be behind; 0 if it does not."""
        return max(median(self._leads() or [0]) / SECOND_NS, 0.0)

    @property
    def ahead_s(self) -> float:
        """Seconds by which our clock seems to be ahead; 0 if it does not."""
        return max(-median(self._leads() or [0]) / SECOND_NS, 0.0)

    @property
    def spans_agree(self) -> bool:
        """Whether at least 100 spans arrived, whose median end is within an hour of our clock."""
        with self._lock:
            ends = list(self._ends)
        difference_ns = self._clock() - self._steady()
        return len(ends) >= _ENOUGH_SPANS and abs(median(ends) - difference_ns) <= HOUR_NS

    def forget_spans(self) -> None:
        """Forget the spans so far. `spans_agree` then considers only later spans."""
        with self._lock:
            self._ends.clear()

    def _leads(self) -> list[int]:
        """Return how far the clocks of senders are ahead of ours or behind it.

        The list is empty if too many other senders agree with our clock. Either all values are
        ahead or all are behind.
        """
        now_ns, steady_ns = self._clock(), self._steady()
        with self._lock:
            leads = [
                skew_ns + steady_ns - now_ns
                for skew_ns, heard_ns in self._senders.values()
                if steady_ns - heard_ns < _KEPT_NS
            ]
        ahead = [lead_ns for lead_ns in leads if lead_ns > AHEAD_NS]
        behind = [lead_ns for lead_ns in leads if lead_ns < -OLDEST_NS]
        wrong = max(ahead, behind, key=len)
        on_time = sum(map(_is_on_time, leads))
        return wrong if len(wrong) > _OUTNUMBERED * on_time else []

    def _log(self, trouble: str, steady_ns: int) -> None:
        """Log the problem at most every five minutes."""
        with self._lock:
            if self._logged_ns is not None and steady_ns - self._logged_ns < _LOG_EVERY_NS:
                return
            self._logged_ns = steady_ns
        _logger.error(
            "Spans are not stored, and their senders are asked to send them again: %s", trouble
        )


def _is_on_time(lead_ns: int) -> bool:
    return -_RECENT_NS <= lead_ns <= AHEAD_NS


def _name(resource: Mapping[str, Value]) -> str:
    """Return a name of the machine of a resource; empty if unknown."""
    return next((f"{name}={resource[name]!r}" for name in _MACHINE_KEYS if resource.get(name)), "")


def _format_lead(lead_ns: float) -> str:
    hours = lead_ns / HOUR_NS
    return f"{hours:.1f} hours" if lead_ns < 2 * DAY_NS else f"{hours / 24:.0f} days"
