"""Finds spans that lie outside of their parents, because the clocks of two processes differ."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from otel_ml_collector.runs.answers import SpanOutline
from otel_ml_collector.runs.traces import Sender, find_senders
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.wording import duration

# Some languages cut times off at milliseconds.
TOLERANCE_MS: Final = 1.0
# Maximum number of spans outside of their parents whose senders are looked up.
_SKEWS: Final = 400


@dataclass(frozen=True, slots=True)
class Skew:
    """How far a span is outside of its parent.

    Attributes:
        early_ms: By how much it starts before its parent; 0 if it does not.
        late_ms: By how much it ends after its parent; 0 if it does not.
    """

    run: SpanOutline
    parent: SpanOutline
    early_ms: float
    late_ms: float


def find_skews(spans: Sequence[SpanOutline]) -> list[Skew]:
    """Find the spans of a trace that are outside of their parents by more than a millisecond."""
    parents = {span.run_id: span for span in spans}
    skews = []
    for span in spans:
        parent = parents.get(span.parent_run_id or "")
        if parent is not None and parent is not span:
            early_ms = (parent.start_ns - span.start_ns) / 1e6
            late_ms = _late_ms(span, parent)
            if max(early_ms, late_ms) > TOLERANCE_MS:
                skews.append(Skew(span, parent, max(early_ms, 0.0), max(late_ms, 0.0)))
    return skews


def _late_ms(run: SpanOutline, parent: SpanOutline) -> float:
    if not (run.has_end and parent.has_end):
        return 0.0
    # Work that was left to another process can end at any time.
    if {"producer", "consumer"} & {run.span_kind, parent.span_kind}:
        return 0.0
    return (run.end_ns - parent.end_ns) / 1e6


def describe_skew(skew: Skew, senders: Mapping[str, Sender]) -> str | None:
    """Describe how far a span is outside of its parent, and why.

    If the span starts in time and only ends too late, the result is None, unless the two spans are
    known to come from different processes. Within one process, a late end is no clock error: the
    code left the span running.

    Args:
        skew: The span, its parent and the time by which the span is outside.
        senders: The process that sent each run, by run ID. Runs of unknown processes are missing.
    """
    child, parent = senders.get(skew.run.run_id), senders.get(skew.parent.run_id)
    has_two_processes = child is not None and parent is not None and child != parent
    if skew.early_ms > TOLERANCE_MS:
        what = f"starts {duration(skew.early_ms)} before its parent"
        if child is None or parent is None:
            return what
        if not has_two_processes:
            return f"{what}: both spans are from one process, so one of the times was set by hand"
        return f"{what}: the clocks of {_names(child, parent)} differ"
    if child is None or parent is None or not has_two_processes:
        return None
    what = f"ends {duration(skew.late_ms)} after its parent"
    return f"{what}: the clocks of {_names(child, parent)} differ, or it ran longer than its parent"


def _names(child: Sender, parent: Sender) -> str:
    if not (child.service and parent.service):
        return "two processes"
    if child.service == parent.service:
        return f"two processes of {child.service}"
    return f"{parent.service} and {child.service}"


@dataclass(frozen=True, slots=True)
class ClockNote:
    """A sentence about the times of a span, and the same in two words."""

    run: SpanOutline
    what: str
    short: str


def find_clock_notes(reader: Reader, spans: Sequence[SpanOutline]) -> dict[str, ClockNote]:
    """Find the notes on the times of spans, by run ID; for at most 400 spans."""
    skews = find_skews(spans)[:_SKEWS]
    if not skews:
        return {}
    skewed = {run.run_id: run for skew in skews for run in (skew.run, skew.parent)}
    senders = find_senders(reader, [*skewed.values()])
    notes = {}
    for skew in skews:
        what = describe_skew(skew, senders)
        if what:
            is_early = skew.early_ms > TOLERANCE_MS
            early, late = f"{duration(skew.early_ms)} early", f"{duration(skew.late_ms)} late"
            notes[skew.run.run_id] = ClockNote(skew.run, what, early if is_early else late)
    return notes
