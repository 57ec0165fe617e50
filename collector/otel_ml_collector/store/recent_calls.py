"""Runs of late, by trace: what a look at new runs need not ask the store for.

A trace is whole here when nothing of it can be in the store that is not here too. That is known
without asking: whatever was stored before a project was followed, or had made room when the first
run of the trace came, ended by a time that is kept. A trace that began a second after that time has
no part there: so long behind a call may come what another run says of it.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from otel_ml.records import Run
from otel_ml_collector.same_calls import (
    ACCOUNTED_NS,
    CallRun,
    CallShare,
    StoredShare,
    call_run_of,
    is_telling,
)

# About 1 kB each, with their previews.
_RUNS: Final = 50_000


@dataclass(slots=True)
class RecentTrace:
    """The runs of a trace that were stored of late.

    Attributes:
        runs: By span id; those that say nothing of a call are links of a chain.
        shares: What is settled of them, by span id.
        ranks: The rank of each run's delivery, by span id.
        others_end_ns: By when all runs that were in the store and not here had ended when the first
            run of the trace came.
    """

    runs: dict[bytes, CallRun] = field(default_factory=dict)
    shares: dict[bytes, CallShare] = field(default_factory=dict)
    ranks: dict[bytes, int] = field(default_factory=dict)
    others_end_ns: int = 0
    start_ns: int = 0
    end_ns: int = 0

    def add(self, run: Run) -> bool:
        """Add a run, or a delivery of it that outranks the one that is known."""
        if self.ranks.get(run.span_id, -1) >= run.rank:
            return False
        self.ranks[run.span_id] = run.rank
        link = CallRun(run.span_id, run.parent_span_id, run.kind, run.start_ns)
        self.runs[run.span_id] = call_run_of(run) if is_telling(run) else link
        self.start_ns = min(self.start_ns or run.start_ns, run.start_ns)
        self.end_ns = max(self.end_ns, run.end_ns)
        return True


class RecentCalls:
    """The traces of late of the projects that are followed; the writer fills it.

    Args:
        most: How many runs are kept; traces that grew least lately make room.
    """

    def __init__(self, most: int = _RUNS) -> None:
        self._most = most
        self._guard = threading.Lock()
        self._traces: OrderedDict[tuple[str, bytes], RecentTrace] = OrderedDict()
        self._runs = 0
        # Of projects that are followed: by when all that is not here had ended.
        self._others_end_ns: dict[str, int] = {}
        self._known: set[str] = set()
        self._doubtful_ns = 0

    @property
    def doubtful_ns(self) -> int:
        """The last time of arrival of a group of which nobody knows how much is stored."""
        return self._doubtful_ns

    def is_followed(self, project: str) -> bool:
        """Tell whether the runs of a project are kept."""
        return project in self._others_end_ns

    def follow(self, project: str) -> None:
        """Keep the runs of a project from now on, until it is forgotten."""
        with self._guard:
            self._others_end_ns.setdefault(project, 0)

    def note_others(self, project: str, end_ns: int) -> None:
        """Note by when all runs had ended that were stored before the project was followed."""
        with self._guard:
            if project in self._others_end_ns:
                self._others_end_ns[project] = max(end_ns, self._others_end_ns[project])
                self._known.add(project)
                for (of_project, _), trace in self._traces.items():
                    if of_project == project:
                        trace.others_end_ns = max(end_ns, trace.others_end_ns)

    def add(self, runs: Iterable[Run], shares: Sequence[StoredShare]) -> None:
        """Add runs that were stored, and what was stored of them as found when they came."""
        if not self._others_end_ns:
            return
        with self._guard:
            for run in runs:
                if (others_end_ns := self._others_end_ns.get(run.project)) is not None:
                    key = (run.project, run.trace_id)
                    if (trace := self._traces.get(key)) is None:
                        trace = self._traces[key] = RecentTrace(others_end_ns=others_end_ns)
                    before = len(trace.runs)
                    if trace.add(run):
                        self._traces.move_to_end(key)
                    self._runs += len(trace.runs) - before
            self._keep(shares)
            while self._runs > self._most:
                self._make_room()

    def keep_shares(self, shares: Sequence[StoredShare]) -> None:
        """Keep what was stored of runs that are here."""
        with self._guard:
            self._keep(shares)

    def find(self, project: str, trace_id: bytes) -> RecentTrace | None:
        """Return a copy of a trace that is whole here, None for any other one."""
        with self._guard:
            trace = self._traces.get((project, trace_id))
            if trace is None or project not in self._known:
                return None
            if trace.start_ns <= trace.others_end_ns + ACCOUNTED_NS:
                return None
            return replace(trace, runs=trace.runs.copy(), shares=trace.shares.copy())

    def forget(self, project: str) -> None:
        """Forget a project of which something is deleted: it is no longer followed."""
        with self._guard:
            self._others_end_ns.pop(project, None)
            self._known.discard(project)
            for key in [key for key in self._traces if key[0] == project]:
                self._runs -= len(self._traces.pop(key).runs)

    def doubt(self, stamped_ns: int) -> None:
        """Forget everything, as nobody knows what is stored of a group that failed.

        Args:
            stamped_ns: The last time of arrival that was given by then.
        """
        with self._guard:
            self._doubtful_ns = max(self._doubtful_ns, stamped_ns)
            self._traces.clear()
            self._others_end_ns.clear()
            self._known.clear()
            self._runs = 0

    def _keep(self, shares: Sequence[StoredShare]) -> None:
        for share in shares:
            trace = self._traces.get((share.project, share.trace_id))
            # What was found before its runs were stored outranks nothing.
            if trace is not None and (share.rank or share.span_id not in trace.shares):
                trace.shares[share.span_id] = share.share

    def _make_room(self) -> None:
        (project, _), trace = self._traces.popitem(last=False)
        self._runs -= len(trace.runs)
        self._others_end_ns[project] = max(self._others_end_ns[project], trace.end_ns)
