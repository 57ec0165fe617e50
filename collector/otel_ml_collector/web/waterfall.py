"""The spans of a trace as a tree on one time axis."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from otel_ml_collector.query.answers import RunSummary

MAX_ROWS: Final = 500
_MAX_LEVEL: Final = 8


@dataclass(frozen=True, slots=True)
class Bar:
    """One row: a run, how deep it stands, and where its bar is, in per cent of the whole."""

    run: RunSummary
    level: int
    is_parent: bool
    x: float
    width: float


@dataclass(frozen=True, slots=True)
class Waterfall:
    """The rows that are shown, and what is said of those that are not.

    Attributes:
        total: Spans in the trace.
        errors: Failed ones among them.
        unfinished: Those that have no end.
        orphans: Spans whose parent is not here: late, lost, or not ours to see.
    """

    bars: Sequence[Bar]
    length_ms: float
    total: int
    errors: int
    unfinished: int
    orphans: int


def lay_out(runs: Sequence[RunSummary], now_ns: int) -> Waterfall:
    """Order the spans of a trace as a tree and place their bars; at most 500 rows.

    A running one reaches up to now, a crashed one to when its process was last heard of.
    """
    known = {run.run_id for run in runs}
    children: defaultdict[str | None, list[RunSummary]] = defaultdict(list)
    for run in runs:
        parent = run.parent_run_id
        children[parent if parent in known and parent != run.run_id else None].append(run)
    start_ns = min((run.start_ns for run in runs), default=0)
    end_ns = max((run.start_ns + int(_length_ms(run, now_ns) * 1e6) for run in runs), default=0)
    length_ms = max((end_ns - start_ns) / 1e6, 1e-6)
    return Waterfall(
        bars=_bars(children, start_ns, length_ms, now_ns),
        length_ms=length_ms,
        total=len(runs),
        errors=sum(run.outcome == "error" for run in runs),
        unfinished=sum(run.latency_ms is None for run in runs),
        orphans=sum(run.parent_run_id is not None for run in children[None]),
    )


def _bars(
    children: dict[str | None, list[RunSummary]], start_ns: int, length_ms: float, now_ns: int
) -> list[Bar]:
    """Walk the tree without recursion: a trace may be deeper than Python's stack."""
    bars: list[Bar] = []
    seen: set[str] = set()
    # Spans that are each other's parents have no root above them: they stand at the end.
    rest = [run for parent, below in children.items() if parent is not None for run in below]
    waiting = [(run, 1) for run in reversed([*children[None], *rest])]
    while waiting and len(bars) < MAX_ROWS:
        run, level = waiting.pop()
        if run.run_id in seen:
            continue
        seen.add(run.run_id)
        below = children.get(run.run_id, [])
        bars.append(
            Bar(
                run=run,
                level=min(level, _MAX_LEVEL),
                is_parent=bool(below),
                x=(run.start_ns - start_ns) / 1e4 / length_ms,
                width=100 * _length_ms(run, now_ns) / length_ms,
            )
        )
        waiting += [(child, level + 1) for child in reversed(below)]
    return bars


def _length_ms(run: RunSummary, now_ns: int) -> float:
    if run.latency_ms is not None:
        return run.latency_ms
    until_ns = now_ns if run.outcome == "running" else run.last_heard_ns or 0
    return max(until_ns - run.start_ns, 0) / 1e6  # clocks of two machines
