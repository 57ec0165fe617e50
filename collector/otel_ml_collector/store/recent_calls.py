"""Keeps recent runs by trace in memory, so that new runs can be resolved without queries.

Resolving decides which of several records of one call counts, and which session, user and
experiment a run inherits from its trace. This needs all runs of the trace. A trace is complete in
memory if the store has no run of it that is not in memory. To know this without a query, the memory
keeps for each trace the time by which all runs that are only in the store had ended. If the trace
started more than a second later, all of its runs are in memory. A second is the longest gap between
two records of one call.
"""

import threading
from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from operator import attrgetter
from types import MappingProxyType
from typing import Final

from otel_ml.records import Run
from otel_ml_collector.fold.traces import ResolvedGroup
from otel_ml_collector.owners import tag_texts
from otel_ml_collector.resolution import Resolution, ResolvedRun, naming_run_of
from otel_ml_collector.same_calls import ACCOUNTED_NS, MOST_TRACES, CallRun, call_run_of, has_facts
from otel_ml_collector.store.rows import RunKey, key_of_row

# Maximum number of runs in memory: about 1 kB each, with previews.
_MOST_CALLS: Final = 50_000
# Maximum per project: traces with open runs that are not in memory and may continue at any time.
_OPEN_TRACES: Final = 20_000
# Maximum number of projects remembered by name. Above it, new projects are not recognized.
MOST_PROJECTS: Final = 20_000


@dataclass(slots=True)
class RecentTrace:
    """The recently stored runs of one trace, kept in memory.

    All mappings are by span ID.

    Attributes:
        runs: The ended runs. For a run without tokens, cost or other facts of a call, only its
            names, previews and place in the trace are kept.
        open_runs: The runs for which a start record arrived, even if they have ended since.
        tags: The tags of each run, as texts ``name=value``.
        resolved: The values of each run that depend on other runs of the trace: the tokens and cost
            that count, and the inherited session, user and experiment.
        ranks, open_ranks: The rank of the delivery that is kept in `runs` or `open_runs`. A run may
            be delivered several times; the delivery with the highest rank is kept.
        resolved_ranks: The rank of the entry in `resolved`. A later entry has a higher rank.
        folded: The rank of the resolution that the row of an ended run in the store contains, at
            least 1; missing if it contains none.
        group: Number of the stored batch that contained the first run of the trace.
        is_resolved: Whether that batch contained all of the runs and was resolved before it was
            stored. Then the trace need not be resolved again.
        others_end_ns: The time by which all runs of the project that are stored but not in memory
            had ended. If the trace started later, all of its runs are in memory.
    """

    runs: dict[bytes, CallRun] = field(default_factory=dict)
    open_runs: dict[bytes, CallRun] = field(default_factory=dict)
    tags: dict[bytes, Sequence[str]] = field(default_factory=dict)
    resolved: dict[bytes, Resolution] = field(default_factory=dict)
    ranks: dict[bytes, int] = field(default_factory=dict)
    open_ranks: dict[bytes, int] = field(default_factory=dict)
    resolved_ranks: dict[bytes, int] = field(default_factory=dict)
    folded: dict[bytes, int] = field(default_factory=dict)
    group: int = 0
    is_resolved: bool = False
    others_end_ns: int = 0
    start_ns: int = 0
    end_ns: int = 0

    def add(self, run: Run, folded: int = 0) -> bool:
        """Add a run, or a delivery of it that outranks the known delivery.

        Args:
            run: The run.
            folded: The rank of the resolution in its stored row, at least 1; 0 if it has none.
        """
        if self.ranks.get(run.span_id, -1) >= run.rank:
            return False
        self.ranks[run.span_id] = run.rank
        self.folded[run.span_id] = folded
        self.runs[run.span_id] = call_run_of(run) if has_facts(run) else naming_run_of(run)
        self.tags[run.span_id] = tag_texts(run)
        self.start_ns = min(self.start_ns or run.start_ns, run.start_ns)
        self.end_ns = max(self.end_ns, run.end_ns)
        return True

    def add_open(self, run: Run) -> bool:
        """Add a start record, or a delivery of it that outranks the known delivery."""
        if self.open_ranks.get(run.span_id, -1) >= run.rank:
            return False
        self.open_ranks[run.span_id] = run.rank
        self.open_runs[run.span_id] = naming_run_of(run)
        if run.span_id not in self.runs:
            self.tags[run.span_id] = tag_texts(run)
        self.start_ns = min(self.start_ns or run.start_ns, run.start_ns)
        return True

    def find_outdated(self) -> set[bytes]:
        """Return the ended runs whose stored row lacks their newest resolution."""
        return {
            span_id
            for span_id in self.resolved.keys() & self.runs.keys()
            if self.folded.get(span_id, 0) < max(self.resolved_ranks.get(span_id, 0), 1)
        }

    @property
    def size(self) -> int:
        """Number of runs and start records in memory."""
        return len(self.runs) + len(self.open_runs)

    @property
    def is_open(self) -> bool:
        """Whether any of its runs has not ended."""
        return not self.open_runs.keys() <= self.runs.keys()


class RecentCalls:
    """Keeps recent runs in memory, grouped by trace, for the projects that need it.

    So values that a run takes from other runs of its trace, such as the session, are found without
    a query. The writer adds each batch that it has stored.

    Args:
        most: Maximum number of runs in memory. Above it, the traces that got no new run for the
            longest time are removed.
    """

    def __init__(self, most: int = _MOST_CALLS) -> None:
        self._most = most
        self._guard = threading.Lock()
        self._traces: OrderedDict[tuple[str, bytes], RecentTrace] = OrderedDict()
        # The newest traces in which a response ID of an LLM occurs, by project and response ID.
        self._answers: dict[tuple[str, str], dict[bytes, None]] = {}
        self._runs = 0
        self._groups = 0
        # Per tracked project: the time by which all runs that are stored, but not in memory, had
        # ended.
        self._others_end_ns: dict[str, int] = {}
        # Traces that had open runs at that time. They may have started earlier, and may continue at
        # any time.
        self._open_traces: dict[str, set[bytes]] = {}
        self._known: set[str] = set()
        # The projects with any records in the store, or None if unknown, and whether older projects
        # have been read.
        self._stored: set[str] | None = set()
        self._knows_stored = False
        self._doubtful_ns = 0

    @property
    def doubtful_ns(self) -> int:
        """The newest arrival time of a batch that may be stored only in part."""
        return self._doubtful_ns

    def is_followed(self, project: str) -> bool:
        """Return whether the runs of a project are kept in memory."""
        return project in self._others_end_ns

    def follow(self, project: str) -> None:
        """Start to keep the runs of a project in memory, until `forget` is called."""
        with self._guard:
            self._others_end_ns.setdefault(project, 0)

    def note_stored(self, projects: Collection[str]) -> None:
        """Remember which projects already have records in the store. All other projects are new.

        For a new project, the memory contains all runs of each trace, because the store has none.
        So if its first runs depend on each other, the memory starts to keep its runs at once.

        Args:
            projects: Projects with records in the store.
        """
        with self._guard:
            self._note_stored(projects)
            self._knows_stored = True

    def note_others(self, project: str, end_ns: int, open_traces: Iterable[bytes] = ()) -> None:
        """Set the time before which some runs of a project may be missing in memory.

        Runs that were stored before `follow` was called are not in memory. All of them had ended by
        this time. So each trace that started more than a second later is complete in memory, and
        `find` returns it.

        Args:
            project: A project for which `follow` was called.
            end_ns: The time, in nanoseconds since 1970.
            open_traces: IDs of traces in which a run had not ended at this time. `find` does not
                return them. With more than 20,000 IDs, the call has no effect.
        """
        traces = {*open_traces}
        with self._guard:
            if project in self._others_end_ns and len(traces) <= _OPEN_TRACES:
                self._others_end_ns[project] = max(end_ns, self._others_end_ns[project])
                self._open_traces[project] = traces
                self._known.add(project)
                for (of_project, _), trace in self._traces.items():
                    if of_project == project:
                        trace.others_end_ns = max(end_ns, trace.others_end_ns)

    def add(
        self,
        runs: Sequence[Run],
        open_runs: Sequence[Run],
        resolved: ResolvedGroup,
        folded: Mapping[RunKey, ResolvedRun] = MappingProxyType({}),
    ) -> None:
        """Add the runs and resolutions of a stored batch.

        Args:
            runs: Its ended runs.
            open_runs: Its start records.
            resolved: The resolutions that follow from these runs alone.
            folded: The resolutions that the stored rows contain.
        """
        with self._guard:
            if self._stored is not None:
                new = {run.project for run in chain(runs, open_runs)} - self._stored
                if new and self._knows_stored:
                    self._follow_new(new.intersection(run.project for run in resolved.runs))
                self._note_stored(new)
            if not self._others_end_ns:
                return
            self._groups += 1
            for is_open, of_kind in ((True, open_runs), (False, runs)):
                for run in of_kind:
                    if run.project in self._others_end_ns:
                        self._add(run, folded, is_open=is_open, is_resolved=resolved.is_complete)
            self._keep(resolved.runs)
            while self._runs > self._most:
                self._make_room()

    def _note_stored(self, projects: Collection[str]) -> None:
        if self._stored is not None:
            self._stored.update(projects)
            if len(self._stored) > MOST_PROJECTS:
                self._stored = None

    def _follow_new(self, projects: Iterable[str]) -> None:
        """Start to track projects that are new to the store."""
        for project in projects:
            self._others_end_ns[project] = 0
            self._open_traces[project] = set()
            self._known.add(project)

    def _add(
        self,
        run: Run,
        folded: Mapping[RunKey, ResolvedRun],
        *,
        is_open: bool,
        is_resolved: bool,
    ) -> None:
        key = (run.project, run.trace_id)
        if (trace := self._traces.get(key)) is None:
            trace = RecentTrace(
                group=self._groups,
                is_resolved=is_resolved,
                others_end_ns=self._others_end_ns[run.project],
            )
            self._traces[key] = trace
        elif trace.group != self._groups:
            trace.is_resolved = False
        before = trace.size
        in_row = None if is_open or not folded else folded.get(key_of_row(run))
        in_rank = max(in_row.rank, 1) if in_row else 0
        if trace.add_open(run) if is_open else trace.add(run, in_rank):
            self._traces.move_to_end(key)
        else:
            trace.is_resolved = False
        self._runs += trace.size - before
        if run.response_id and not is_open:
            answers = self._answers.setdefault((run.project, run.response_id), {})
            answers[run.trace_id] = None
            if len(answers) > MOST_TRACES:
                del answers[next(iter(answers))]

    def keep(
        self, resolved: Sequence[ResolvedRun], seen: Mapping[tuple[str, str], RecentTrace]
    ) -> None:
        """Keep the resolutions of runs that are in memory, after their rows will have them.

        Args:
            resolved: The resolutions.
            seen: The traces from which they were made, by project and trace ID in hex. A run that
                was stored again since then keeps its mark that its row lacks the resolution.
        """
        with self._guard:
            self._keep(resolved)
            for run in resolved:
                trace = self._traces.get((run.project, run.trace_id))
                known = seen.get((run.project, run.trace_id.hex()))
                if trace is None or known is None:
                    continue
                if trace.ranks.get(run.span_id) == known.ranks.get(run.span_id):
                    trace.folded[run.span_id] = max(run.rank, 1)

    def find_resolved(self, runs: Sequence[Run]) -> dict[RunKey, ResolvedRun]:
        """Return what is known about runs that are about to be stored, from their traces."""
        known: dict[RunKey, ResolvedRun] = {}
        with self._guard:
            if not self._traces:
                return known
            for run in runs:
                trace = self._traces.get((run.project, run.trace_id))
                if trace is None or (resolution := trace.resolved.get(run.span_id)) is None:
                    continue
                stored = trace.runs.get(run.span_id) or trace.open_runs.get(run.span_id)
                if stored is None or stored.start_ns != run.start_ns:
                    continue
                ids = run.project, run.trace_id, run.span_id, run.start_ns
                rank = trace.resolved_ranks.get(run.span_id, 0)
                known[key_of_row(run)] = ResolvedRun(*ids, resolution, rank)
        return known

    def find(self, project: str, trace_id: bytes) -> RecentTrace | None:
        """Return a copy of a trace that is complete in memory, otherwise None."""
        with self._guard:
            trace = self._traces.get((project, trace_id))
            if trace is None or project not in self._known:
                return None
            if trace.start_ns <= trace.others_end_ns + ACCOUNTED_NS:
                return None
            if trace_id in self._open_traces[project]:
                return None
            return replace(
                trace,
                runs=trace.runs.copy(),
                open_runs=trace.open_runs.copy(),
                tags=trace.tags.copy(),
                resolved=trace.resolved.copy(),
                ranks=trace.ranks.copy(),
                resolved_ranks=trace.resolved_ranks.copy(),
                folded=trace.folded.copy(),
            )

    def find_alike(self, project: str, trace_id: bytes) -> set[bytes] | None:
        """Find the traces that may record calls of a trace once more.

        They have a response ID of it, or of another one of these traces, and are near in time.

        Returns:
            The IDs of these traces and of the trace itself. Empty if there is no other. None if
            some of them may only be in the store.
        """
        with self._guard:
            others_end_ns = self._others_end_ns.get(project, 0)
            found, waiting = {trace_id}, [trace_id]
            while waiting:
                trace = self._traces.get((project, waiting.pop()))
                if trace is None or not any(run.response_id for run in trace.runs.values()):
                    continue
                if trace.start_ns <= others_end_ns + ACCOUNTED_NS:
                    return None
                alike = {*self._find_answered(project, trace)} - found
                found |= alike
                waiting += alike
            return found if len(found) > 1 else set()

    def _find_answered(self, project: str, trace: RecentTrace) -> Iterator[bytes]:
        """Yield the traces near in time that have a response ID of a trace."""
        for response_id in {run.response_id for run in trace.runs.values()} - {""}:
            for trace_id in self._answers.get((project, response_id), ()):
                other = self._traces.get((project, trace_id), trace)
                first, last = sorted((trace, other), key=attrgetter("start_ns"))
                if last.start_ns <= first.end_ns + ACCOUNTED_NS:
                    yield trace_id

    def forget(self, project: str) -> None:
        """Stop tracking a project because something of it was deleted."""
        with self._guard:
            self._forget(project)

    def _forget(self, project: str) -> None:
        self._others_end_ns.pop(project, None)
        self._open_traces.pop(project, None)
        self._known.discard(project)
        for key in [key for key in self._traces if key[0] == project]:
            self._runs -= self._traces.pop(key).size
        for answer in [answer for answer in self._answers if answer[0] == project]:
            del self._answers[answer]

    def doubt(self, stamped_ns: int) -> None:
        """Drop all traces from memory, because storing a batch failed.

        Some runs of the batch may be stored and others not, so memory may differ from the store.
        After the next call of `follow` for a project, its new runs are kept in memory again.

        Args:
            stamped_ns: The newest time of arrival that the writer has assigned to a record,
                including the records of the failed batch.
        """
        with self._guard:
            self._doubtful_ns = max(self._doubtful_ns, stamped_ns)
            self._traces.clear()
            self._answers.clear()
            self._others_end_ns.clear()
            self._open_traces.clear()
            self._known.clear()
            self._stored = None
            self._runs = 0

    def _keep(self, resolved: Sequence[ResolvedRun]) -> None:
        for run in resolved:
            trace = self._traces.get((run.project, run.trace_id))
            # As in the store, the later of two resolutions with equal rank wins. Batches that are
            # resolved before they are stored can have equal ranks.
            if trace is not None and run.rank >= trace.resolved_ranks.get(run.span_id, 0):
                trace.resolved[run.span_id] = run.resolution
                trace.resolved_ranks[run.span_id] = run.rank

    def _make_room(self) -> None:
        (project, trace_id), trace = self._traces.popitem(last=False)
        self._runs -= trace.size
        for response_id in {run.response_id for run in trace.runs.values()} - {""}:
            answers = self._answers.get((project, response_id), {})
            answers.pop(trace_id, None)
            if not answers:
                self._answers.pop((project, response_id), None)
        self._others_end_ns[project] = max(self._others_end_ns[project], trace.end_ns)
        open_traces = self._open_traces.setdefault(project, set())
        if trace.is_open or trace_id in open_traces:
            open_traces.add(trace_id)
        if len(open_traces) > _OPEN_TRACES:
            self._forget(project)
