"""Slow spans: for which of its spans a trace waited, each counted without those below it."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from otel_ml_collector.traces.outline import Stretch
from otel_ml_collector.web.view import THIN

SLOW_SHARE: Final = 1 / 3


@dataclass(frozen=True, slots=True)
class SlowSpan:
    """A span for which a trace waited a third of its time or more, so there are three at most."""

    run_id: str
    project: str
    name: str
    wait_ms: float
    share: float

    @property
    def percent(self) -> str:
        """The share in words."""
        return f"{100 * self.share:.0f}{THIN}%"


def find_slow(spans: Sequence[Stretch]) -> list[SlowSpan]:
    """Find the slow spans of a trace, the slowest first; a span alone is not slow."""
    length_ns = max((s.end_ns for s in spans), default=0) - min(
        (s.start_ns for s in spans), default=0
    )
    if len(spans) <= 1 or length_ns <= 0:
        return []
    waits = find_waits(spans)
    slow = [
        SlowSpan(
            span.run_id,
            span.project,
            span.name,
            waits[span.run_id] / 1e6,
            waits[span.run_id] / length_ns,
        )
        for span in spans
        if waits.get(span.run_id, 0) >= SLOW_SHARE * length_ns
    ]
    return sorted(slow, key=lambda one: -one.wait_ms)


def find_waits(spans: Sequence[Stretch]) -> Mapping[str, int]:
    """Find how long a trace waited for each of its spans itself, in nanoseconds, by run id.

    From the end of a span backwards it waited for the child that ended last, before that one's
    start for the child that had ended last of the others, and so on; while none below it ran, for
    the span itself. So what ran beside something longer held nobody up, each moment counts once,
    and a child counts within its parent's times.
    """
    known = {span.run_id: span for span in spans}
    children: defaultdict[str | None, list[Stretch]] = defaultdict(list)
    for span in known.values():
        above = span.parent_run_id
        children[above if above in known and above != span.run_id else None].append(span)
    for below in children.values():
        below.sort(key=lambda span: -span.end_ns)
    waits: defaultdict[str, int] = defaultdict(int)
    start_ns = min((span.start_ns for span in spans), default=0)
    end_ns = max((span.end_ns for span in spans), default=0)
    waiting: list[tuple[str | None, int, int]] = [(None, start_ns, end_ns)]
    while waiting:  # not recursive: a trace may be deeper than Python's stack
        run_id, from_ns, until_ns = waiting.pop()
        itself_ns = 0
        for child in children.get(run_id, ()):
            begun_ns, done_ns = max(child.start_ns, from_ns), min(child.end_ns, until_ns)
            if begun_ns < done_ns:
                itself_ns += until_ns - done_ns
                waiting.append((child.run_id, begun_ns, done_ns))
                until_ns = begun_ns
        if run_id is not None:
            waits[run_id] = itself_ns + until_ns - from_ns
    return waits
