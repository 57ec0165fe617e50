"""Queued updates of an open run: tags, points and log lines, to be sent in `update` records."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from otel_ml.deferred_attributes import DeferredAttributes
from otel_ml.metrics import LoggedPoint, MetricValues, point_attributes
from otel_ml.tags import Details, Value, tag_attributes
from otel_ml.wire import Attributes, Event, weigh

_EVERY_NS: Final = 400_000_000
_LONG_NS: Final = 600 * 1_000_000_000
_EVERY_OF_LONG_NS: Final = 10 * 1_000_000_000
# Limits of one record. The updates are sent when one of them is reached.
POINTS: Final = 1_000
EVENTS: Final = 64
EVENT_BYTES: Final = 1024 * 1024
_UPLOADED_BYTES: Final = 2_048  # size of the event of a value that is uploaded separately
_MOST_INLINE: Final = 64 * 1024  # longer values are uploaded separately

Update = tuple[Attributes, list[Event]]


class Updates:
    """What to send for a run that is still running, and what was already sent.

    Attributes:
        details: Type and group of tags, by tag name. Only for tags with a type or a group.
        events: Log lines and logged values to send, oldest first.
        points: Metric points to send, oldest first.
        metrics: All metric values of the run, including those that were sent.
        facts: Tags that were already sent, by name. A tag is only sent again if its value changes.
        updates: Number of `update` records that the run has sent.
    """

    __slots__ = (
        "_event_bytes",
        "_sent_ns",
        "details",
        "events",
        "facts",
        "metrics",
        "points",
        "updates",
    )

    def __init__(self) -> None:
        self.details: Details = {}
        self.events: list[Event] = []
        self.points: list[LoggedPoint] = []
        self.metrics = MetricValues()
        self.facts: dict[str, Value] = {}
        self.updates = 0
        self._sent_ns = 0
        self._event_bytes = 0

    def add_event(self, event: Event) -> None:
        """Queue a log line or logged value."""
        self.events.append(event)
        self._event_bytes += _weigh(event)

    def add_points(self, points: Sequence[LoggedPoint]) -> None:
        """Queue metric points."""
        self.points.extend(points)
        self.metrics.add(points)

    def take_events(self) -> list[Event]:
        """Remove and return the queued log lines and logged values."""
        events, self.events, self._event_bytes = self.events, [], 0
        return events

    @property
    def is_full(self) -> bool:
        """Whether so much is queued that it should be sent now."""
        return (
            len(self.points) >= POINTS
            or len(self.events) >= EVENTS
            or self._event_bytes >= EVENT_BYTES
        )

    def is_due(self, now_ns: int, start_ns: int) -> bool:
        """Return whether enough time has passed since the last record to send the next one."""
        is_long = now_ns - start_ns >= _LONG_NS
        return now_ns - self._sent_ns >= (_EVERY_OF_LONG_NS if is_long else _EVERY_NS)

    def take(self, tags: Mapping[str, Value], now_ns: int) -> list[Update]:
        """Remove everything that is queued, and return it as records to send.

        Args:
            tags: Tags of the run. Those that were already sent are left out.
            now_ns: Current time in ns.

        Returns:
            Records, each of limited size. Empty if there is nothing new.
        """
        points, self.points = self.points, []
        events = self.take_events()
        fresh = {
            name: value
            for name, value in tags.items()
            if name not in self.facts or self.facts[name] != value
        }
        self.facts.update(fresh)
        updates: list[Update] = []
        if fresh:
            updates.append((tag_attributes(fresh, self.details), []))
        updates += [
            (point_attributes(points[start : start + POINTS]), [])
            for start in range(0, len(points), POINTS)
        ]
        updates += [({}, part) for part in _parts(events)]
        records = _joined(updates)
        if records:
            self._sent_ns = now_ns
            self.updates += len(records)
        return records


def _weigh(event: Event) -> int:
    """Estimate the size of an event as it is sent."""
    attributes = event[1]
    if type(attributes) is not DeferredAttributes:
        return weigh(attributes)
    # base64 makes it a third longer
    is_inline = attributes.weight <= _MOST_INLINE
    return _UPLOADED_BYTES + (attributes.weight * 4 // 3 if is_inline else 0)


def _parts(events: Sequence[Event]) -> Iterator[list[Event]]:
    """Split events into parts that fit into one record each, by number and size."""
    part: list[Event] = []
    size = 0
    for event in events:
        weight = _weigh(event)
        if part and (len(part) >= EVENTS or size + weight > EVENT_BYTES):
            yield part
            part, size = [], 0
        part.append(event)
        size += weight
    if part:
        yield part


def _joined(updates: list[Update]) -> list[Update]:
    """Combine tags, the first points and the first events into one record."""
    joined: list[Update] = []
    for attributes, events in updates:
        if joined and not (joined[-1][1] and events) and not joined[-1][0].keys() & attributes:
            joined[-1] = ({**joined[-1][0], **attributes}, joined[-1][1] + events)
        else:
            joined.append((attributes, events))
    return joined
