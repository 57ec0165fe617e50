"""What makes a span one that can be stored: its ids, its times, the name of its project."""

from dataclasses import dataclass
from typing import Final

from otel_ml_collector.span import Span

_DAY_NS: Final = 24 * 3600 * 10**9
_OLDEST_NS: Final = 400 * _DAY_NS
_AHEAD_NS: Final = 3600 * 10**9
_MAX_PROJECT_CHARS: Final = 128
_TRACE_ID_BYTES: Final = 16
_SPAN_ID_BYTES: Final = 8
# What the store's signed nanoseconds hold.
LATEST_NS: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Window:
    """The starts that are taken: 400 days back, one hour ahead of the collector's clock.

    Attributes:
        now_ns: That clock.
        reaches_back: Whether history is taken: all since 1970.
    """

    now_ns: int
    reaches_back: bool = False

    def __contains__(self, start_ns: int) -> bool:
        """Whether a span may start then."""
        oldest_ns = 1 if self.reaches_back else self.now_ns - _OLDEST_NS
        return oldest_ns <= start_ns <= self.now_ns + _AHEAD_NS


def is_trace_id(trace_id: bytes) -> bool:
    """Tell a valid trace id: 16 bytes, not all of them zero."""
    return len(trace_id) == _TRACE_ID_BYTES and any(trace_id)


def is_span_id(span_id: bytes) -> bool:
    """Tell a valid span id: eight bytes, not all of them zero."""
    return len(span_id) == _SPAN_ID_BYTES and any(span_id)


def is_project(name: str) -> bool:
    """Tell a name that a project may have: at most 128 characters, all of them visible."""
    return len(name) <= _MAX_PROJECT_CHARS and name.isprintable()


def reason_to_reject(span: Span, project: str, window: Window) -> str | None:
    """Say why a span can never be stored; None when it can."""
    if not is_trace_id(span.trace_id):
        return "invalid_trace_id"
    if not is_span_id(span.span_id):
        return "invalid_span_id"
    if span.start_ns not in window:
        return "outside_time_window"
    if span.end_ns > LATEST_NS:
        return "invalid_end_time"
    return None if is_project(project) else "invalid_project"
