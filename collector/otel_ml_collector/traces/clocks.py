"""Spans that are not within the times of their parents: what the clocks of two processes say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from otel_ml_collector.query.answers.runs import RunSummary
from otel_ml_collector.traces.outline import Sender
from otel_ml_collector.web.view import duration

# Some languages cut times to milliseconds.
TOLERANCE_MS: Final = 1.0
# What was left for somebody else to do may end at any time.
_APART: Final = frozenset({"producer", "consumer"})


@dataclass(frozen=True, slots=True)
class Skew:
    """How far a span is outside of its parent.

    Attributes:
        early_ms: How much it starts before its parent; 0 where it does not.
        late_ms: How much it ends after its parent; 0 where it does not.
    """

    run: RunSummary
    parent: RunSummary
    early_ms: float
    late_ms: float


def find_skews(runs: Sequence[RunSummary], above: Sequence[RunSummary] = ()) -> list[Skew]:
    """Find the spans that are outside of their parents by more than a millisecond.

    Args:
        runs: Of one trace.
        above: Other runs that may be parents of them.
    """
    parents = {run.run_id: run for run in (*above, *runs)}
    skews = []
    for run in runs:
        parent = parents.get(run.parent_run_id or "")
        if parent is not None and parent is not run:
            early_ms = (parent.start_ns - run.start_ns) / 1e6
            late_ms = _late_ms(run, parent)
            if max(early_ms, late_ms) > TOLERANCE_MS:
                skews.append(Skew(run, parent, max(early_ms, 0.0), max(late_ms, 0.0)))
    return skews


def _late_ms(run: RunSummary, parent: RunSummary) -> float:
    if run.latency_ms is None or parent.latency_ms is None:
        return 0.0
    if _APART & {run.span_kind, parent.span_kind}:
        return 0.0
    return (run.start_ns - parent.start_ns) / 1e6 + run.latency_ms - parent.latency_ms


def tell(skew: Skew, senders: Mapping[str, Sender]) -> str | None:
    """Say in words how far a span is outside of its parent, and why.

    None where one process sent both and the span only ends later: it was left running.
    """
    child, parent = senders.get(skew.run.run_id), senders.get(skew.parent.run_id)
    is_apart = child is not None and parent is not None and child != parent
    if skew.early_ms > TOLERANCE_MS:
        what = f"starts {duration(skew.early_ms)} before its parent"
        if child is None or parent is None:
            return what
        if not is_apart:
            return f"{what}: both are of one process, so one of the times was set by hand"
        return f"{what}: the clocks of {_names(child, parent)} differ"
    if child is None or parent is None or not is_apart:
        return None
    what = f"ends {duration(skew.late_ms)} after its parent"
    return f"{what}: the clocks of {_names(child, parent)} differ, or it went on"


def _names(child: Sender, parent: Sender) -> str:
    if not (child.service and parent.service):
        return "two processes"
    if child.service == parent.service:
        return f"two processes of {child.service}"
    return f"{parent.service} and {child.service}"
