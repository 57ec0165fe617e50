"""The spans of a trace as a tree on one time axis."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from otel_ml_collector.query.answers.runs import RunSummary
from otel_ml_collector.store.runs import Window
from otel_ml_collector.traces.outline import length_ms

MAX_ROWS: Final = 500
_NONE: Final[Mapping[str, int]] = {}


@dataclass(frozen=True, slots=True)
class Bar:
    """One row: a run, how deep it stands, and where its bar is, in per cent of the whole.

    Attributes:
        level: Its depth below the root, which has 1.
        is_parent: Whether rows of its children follow, or a row in their place.
    """

    run: RunSummary
    level: int
    is_parent: bool
    x: float
    width: float


@dataclass(frozen=True, slots=True)
class Rest:
    """A row in the place of runs below another one that are not there yet.

    Attributes:
        count: How many; None when that is not known.
        cursor: Behind which run they go on; None for all of them.
    """

    parent: RunSummary
    level: int
    count: int | None
    cursor: str | None


@dataclass(frozen=True, slots=True)
class Axis:
    """The time that all bars of a trace share."""

    start_ns: int
    length_ms: float


@dataclass(frozen=True, slots=True)
class Waterfall:
    """The rows that are shown, and what is said of those that are not.

    Attributes:
        total: Spans in the trace.
        errors: Failed ones among them.
        unfinished: Those that have no end.
        orphans: Spans whose parent is not here: late, lost, or not ours to see.
    """

    bars: Sequence[Bar | Rest]
    axis: Axis
    total: int
    errors: int
    unfinished: int
    orphans: int


def lay_out(
    runs: Sequence[RunSummary],
    now_ns: int,
    cursor: str | None = None,
    counts: Mapping[str, int] = _NONE,
    extent: Window | None = None,
) -> Waterfall:
    """Order the spans of a trace as a tree and place their bars; at most 500 rows.

    A running one reaches up to now, a crashed one to when its process was last heard of.

    Args:
        runs: Of one trace, oldest first.
        now_ns: The time.
        cursor: Where the trace goes on, if these are only its first runs.
        counts: How many runs stand below each run: where more than these, a row says so.
        extent: When the whole trace began and ended; None where these are all.
    """
    known = {run.run_id for run in runs}
    children: defaultdict[str | None, list[RunSummary]] = defaultdict(list)
    for run in runs:
        parent = run.parent_run_id
        children[parent if parent in known and parent != run.run_id else None].append(run)
    axis = _axis(runs, now_ns, extent)
    return Waterfall(
        bars=_Rows(children, axis, now_ns, cursor, counts).all(),
        axis=axis,
        total=len(runs),
        errors=sum(run.outcome == "error" for run in runs),
        unfinished=sum(run.latency_ms is None for run in runs),
        orphans=sum(run.parent_run_id is not None for run in children[None]),
    )


def lay_out_below(
    runs: Sequence[RunSummary], counts: Mapping[str, int], level: int, axis: Axis, now_ns: int
) -> list[Bar | Rest]:
    """Place the runs below one run, each with a row for those below it."""
    rows: list[Bar | Rest] = []
    for run in runs:
        below = counts.get(run.run_id, 0)
        rows.append(_bar(run, level, axis, now_ns, is_parent=below > 0))
        if below:
            rows.append(Rest(run, level + 1, below, None))
    return rows


def _axis(runs: Sequence[RunSummary], now_ns: int, extent: Window | None) -> Axis:
    starts = [run.start_ns for run in runs]
    ends = [run.start_ns + int(length_ms(run, now_ns) * 1e6) for run in runs]
    if extent is not None:
        starts.append(extent.start_ns)
        ends.append(extent.end_ns)
    start_ns, end_ns = min(starts, default=0), max(ends, default=0)
    return Axis(start_ns, max((end_ns - start_ns) / 1e6, 1e-6))


@dataclass(slots=True)
class _Rows:
    """Walks the tree without recursion: a trace may be deeper than Python's stack."""

    children: Mapping[str | None, list[RunSummary]]
    axis: Axis
    now_ns: int
    cursor: str | None
    counts: Mapping[str, int]

    def all(self) -> list[Bar | Rest]:
        rows: list[Bar | Rest] = []
        seen: set[str] = set()
        # Spans that are each other's parents have no root above them: they stand at the end.
        rest = [run for parent, below in self.children.items() if parent for run in below]
        roots = self.children.get(None, [])
        waiting: list[tuple[RunSummary | Rest, int]] = [(run, 1) for run in [*roots, *rest][::-1]]
        while waiting:
            found, level = waiting.pop()
            if isinstance(found, Rest):
                rows.append(found)
                continue
            if found.run_id in seen or len(seen) >= MAX_ROWS:
                continue
            seen.add(found.run_id)
            below = self.children.get(found.run_id, [])
            missing = self.counts.get(found.run_id, 0) - len(below)
            is_parent = bool(below) or missing > 0
            rows.append(_bar(found, level, self.axis, self.now_ns, is_parent=is_parent))
            if missing > 0:
                waiting.append((Rest(found, level + 1, missing, self.cursor), level + 1))
            waiting += [(child, level + 1) for child in reversed(below)]
        return rows


def _bar(run: RunSummary, level: int, axis: Axis, now_ns: int, *, is_parent: bool) -> Bar:
    return Bar(
        run=run,
        level=level,
        is_parent=is_parent,
        x=(run.start_ns - axis.start_ns) / 1e4 / axis.length_ms,
        width=100 * length_ms(run, now_ns) / axis.length_ms,
    )
