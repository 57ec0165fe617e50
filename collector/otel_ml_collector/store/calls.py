"""Keeps the resolutions of runs up to date, whatever is stored.

A resolution says which tokens and cost totals count for a run, which session, user and experiment
it inherits, and which feedback for trace keys and tags it has.

Runs that arrive in one batch are resolved before they are stored. All other changed traces are
resolved in background passes: from memory if all runs of the trace are there, otherwise by reading
the trace. A mark in the store shows where a killed collector stopped. Only changed resolutions are
written. Design record: docs/design/021-counted-once.md.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

from otel_ml_collector.errors import Unavailable
from otel_ml_collector.owners import FIRST, is_run, split_run_id
from otel_ml_collector.records import Records
from otel_ml_collector.resolution import NOTHING
from otel_ml_collector.same_calls import CallShare
from otel_ml_collector.store.annotations import (
    ANNOTATED,
    IS_OF_KEY_OR_TAG,
    LATE_TABLES,
    find_annotated,
    find_named_traces,
    find_naming_owners,
    late_records,
    may_be_annotated,
)
from otel_ml_collector.store.call_runs import (
    IN_PROJECTS,
    Key,
    TaggedRuns,
    Trace,
    divide,
    read_rows,
    read_shares,
)
from otel_ml_collector.store.connection import Connections, store_trouble
from otel_ml_collector.store.counted import DELIVERIES
from otel_ml_collector.store.late_values import find_arrived_values, find_late_on
from otel_ml_collector.store.plain_projects import PlainProjects
from otel_ml_collector.store.reader import Row
from otel_ml_collector.store.recent_calls import MOST_PROJECTS, RecentTrace
from otel_ml_collector.store.resolutions import (
    SHARED,
    resolve,
    resolve_recent,
    write_resolutions,
    write_rows,
)
from otel_ml_collector.store.sql import Sql, join_sql
from otel_ml_collector.store.stale_projects import find_stale, note_written
from otel_ml_collector.store.tombstones import Tombstones
from otel_ml_collector.times import DAY_NS, HOUR_NS, MINUTE_NS, SECOND_NS

# Maximum number of changed traces, keys and tags per query.
_NEW_RUNS: Final = 20_000
# Maximum number of records of other collectors that a pass checks again.
_REPEATED: Final = 1_000
# Maximum number of traces that are resolved before feedback is answered.
_NAMED_AT_ONCE: Final = 1_000
_MARK_EVERY_S: Final = 10.0
_LEAST_WINDOW_NS: Final = SECOND_NS
_WIDEST_NS: Final = 1_000 * DAY_NS
# If the clock is set back, new arrival times can lie in intervals that were already processed.
_OVERLAP_NS: Final = MINUTE_NS
# Maximum number of traces of a day that are rebuilt at once.
_REBUILT_AT_ONCE: Final = 2_000
# Pause after an error of the store, in seconds.
_REST_S: Final = 5.0

# Of one collector, or of all if there is no name.
_IS_NEW: Final = Sql("""arrived_ns > {after:Int64} AND arrived_ns <= {until:Int64}
  AND (empty({only:Array(String)}) OR has({only:Array(String)}, collector))""")
# New arrivals: traces with new runs, keys or late tags, and keys and tags with new records.
_NEW: Final = Sql("""
    SELECT DISTINCT toString(project) AS project, lower(hex(trace_id)) AS trace_id, owner FROM (
      SELECT project, trace_id, '' AS owner FROM {deliveries} WHERE {new}
      UNION ALL SELECT project, trace_id, '' FROM open_runs WHERE {new}
      UNION ALL SELECT project, trace_id, '' FROM trace_keys WHERE {new}
      UNION ALL SELECT project, toFixedString(unhex(substring(owner, 1, 32)), 16), ''
      FROM late_tags WHERE {new} AND owner < '{first}'
      UNION ALL {annotated})
    LIMIT {most}""").fill(
    deliveries=DELIVERIES,
    annotated=late_records(
        Sql("project, toFixedString('', 16), owner"), _IS_NEW + Sql(" AND ") + IS_OF_KEY_OR_TAG
    ),
    new=_IS_NEW,
    first=Sql(FIRST),
    most=_NEW_RUNS,
)
_MARK: Final = "settled "
_MARKS: Final = Sql("""
    SELECT name, max(value) AS value FROM store_meta WHERE startsWith(name, '{mark}')
    GROUP BY name""").fill(mark=Sql(_MARK))

_ARRIVAL_TABLES: Final = (
    DELIVERIES,
    Sql("open_runs"),
    Sql("trace_keys"),
    *(table.sql for table in LATE_TABLES),
)


def _arrivals(end: Sql) -> Sql:
    """Return the SQL for the first or last arrival of everything that a pass resolves.

    Runs alone are not enough: a killed collector may have stored feedback by key after the last
    run.
    """
    rows = Sql("SELECT {end}(arrived_ns) AS arrived_ns FROM {table}")
    return join_sql(" UNION ALL ", [rows.fill(end=end, table=table) for table in _ARRIVAL_TABLES])


_LAST_ARRIVAL: Final = Sql("SELECT max(arrived_ns) AS last FROM ({arrivals})").fill(
    arrivals=_arrivals(Sql("max"))
)
_FIRST: Final = Sql("SELECT min(arrived_ns) AS first FROM ({arrivals}) WHERE arrived_ns > 0").fill(
    arrivals=_arrivals(Sql("min"))
)
# The last arrivals of other collectors; of all if they have no names.
_OTHER_ARRIVALS: Final = Sql("""
    SELECT toString(collector) AS name, max(arrived_ns) AS last FROM ({arrivals}) GROUP BY name
    """).fill(
    arrivals=join_sql(
        " UNION ALL ",
        [
            Sql("""SELECT collector, arrived_ns FROM {table}
              WHERE arrived_ns > {after:Int64}
                AND ({own:String} = '' OR collector != {own:String})""").fill(table=table)
            for table in _ARRIVAL_TABLES
        ],
    )
)
_LAST_ENDS: Final = Sql("""
    SELECT toString(project) AS project, max(end_ns) AS end_ns FROM (
      SELECT project, max(start_ns + latency_ns) AS end_ns FROM {deliveries} WHERE {wanted}
      GROUP BY project
      UNION ALL SELECT project, max(start_ns) FROM settled WHERE {wanted} GROUP BY project)
    GROUP BY project""").fill(deliveries=DELIVERIES, wanted=IN_PROJECTS)
_OF_DAY: Final = Sql("""
    SELECT DISTINCT toString(project) AS project, lower(hex(trace_id)) AS trace_id
    FROM {deliveries}
    WHERE start_ns >= {start:Int64} AND start_ns < {end:Int64}
      AND (toString(project), lower(hex(trace_id))) > ({project:String}, {trace:String})
    ORDER BY project, trace_id LIMIT {most}""").fill(deliveries=DELIVERIES, most=_REBUILT_AT_ONCE)
_STORED_PROJECTS: Final = Sql("""
    SELECT DISTINCT toString(project) AS project FROM (
      SELECT DISTINCT project FROM {deliveries}
      UNION ALL SELECT DISTINCT project FROM open_runs
      UNION ALL SELECT DISTINCT project FROM settled)
    LIMIT {most}""").fill(deliveries=DELIVERIES, most=MOST_PROJECTS + 1)
_OPEN_TRACES: Final = Sql("""
    SELECT DISTINCT toString(project) AS project, lower(hex(trace_id)) AS trace_id FROM open_runs
    WHERE {wanted}""").fill(wanted=IN_PROJECTS)


def _find_touched(records: Records) -> dict[str, set[bytes]]:
    """Find the traces that some records affect, by project."""
    traces: defaultdict[str, set[bytes]] = defaultdict(set)
    for run in chain(records.runs, records.open_runs):
        traces[run.project].add(run.trace_id)
    for key in records.trace_keys:
        if key.is_own and any(key.trace_id):
            traces[key.project].add(key.trace_id)
    for tag in records.tags:
        if is_run(tag.owner):
            traces[tag.project].add(bytes.fromhex(tag.owner.partition("-")[0]))
    return traces


@dataclass(frozen=True, slots=True)
class MatchedOwners:
    """The trace keys and tags of some feedback that runs have.

    Attributes:
        owners: The keys and tags.
        pending: Number of their runs, or traces, that get the feedback in the background.
    """

    owners: Collection[str]
    pending: int


class NamedRuns:
    """Assigns feedback to runs if the sender named a trace key or a tag instead of a run.

    A trace key is a text that the user gave to a trace, such as an order number. The feedback is
    assigned before the request that sent it is answered. If more than 1,000 traces or runs have the
    key or tag, the background pass of `CallResolver` assigns it to the others later.

    Args:
        connections: The store.
        tombstones: Keeps deleted runs from being stored again; that of the writer.
    """

    def __init__(self, connections: Connections, tombstones: Tombstones | None = None) -> None:
        self._client = connections.open()
        self._memory = connections.memory
        self._tombstones = tombstones or Tombstones(connections)
        self._guard = threading.Lock()

    def resolve(self, project: str, owners: Collection[str]) -> MatchedOwners:
        """Resolve the runs of a project that have these trace keys or tags.

        If other collectors write to the store, this also writes the rows of runs that feedback
        named by their IDs.

        Raises:
            Unavailable: The store does not answer.
        """
        if not owners and (self._memory.is_alone or not self._memory.updates.has_pending):
            return MatchedOwners((), 0)
        with self._guard, store_trouble():
            if owners:
                self._memory.note(project, [ANNOTATED])
            traces = find_named_traces(self._client, {project: owners})
            resolve(self._client, self._memory, sorted(traces)[:_NAMED_AT_ONCE])
            write_rows(self._client, self._memory, self._tombstones)
            unresolved = max(len(traces) - _NAMED_AT_ONCE, 0)
            pending = max(unresolved, self._memory.updates.count_keyed(project))
            return MatchedOwners(set().union(*traces.values()), pending)


@dataclass(frozen=True, slots=True)
class RebuiltDay:
    """What `CallResolver.rebuild` did.

    Attributes:
        traces: Number of traces with runs on the day.
        runs: Number of runs whose values were stored again.
    """

    traces: int
    runs: int


class CallResolver:
    """Checks new traces in the background, and stores how their runs affect each other.

    A pass does three things:

    * It finds runs that record the same call of a model, so that totals count the call once.
    * It finds the session, user and experiment that a run inherits from other runs of its trace.
    * It assigns feedback to runs if the sender named a trace key or a tag instead of a run. A trace
      key is a text that the user gave to a trace, such as an order number.

    The first two are skipped for a project if one instrumentation records all of its calls and no
    run lacks a session, user or experiment that another run has. A pass takes longer with more new
    records, but not with a larger store. If no other collector writes to the store, the new traces
    are still in memory and need not be read.

    Args:
        connections: The store.
        collector: Name of this collector, unique among the collectors that write to this store.
        tombstones: Keeps deleted runs from being stored again; that of the writer.
        repeat_s: If other collectors write to the store, the traces that they stored are checked
            again after this time, and before twice this time.
    """

    def __init__(
        self,
        connections: Connections,
        collector: str = "",
        tombstones: Tombstones | None = None,
        *,
        repeat_s: float = 25.0,
    ) -> None:
        self._client = connections.open()
        self._tombstones = tombstones or Tombstones(connections)
        self._memory = connections.memory
        self._plain = PlainProjects(self._client, self._memory)
        self._collector = collector
        self._mark_name = _MARK + collector
        self._guard = threading.Lock()
        self._pass_guard = threading.Lock()
        # Changed projects, with the traces in which new runs were stored.
        self._dirty: dict[str, set[bytes]] = {}
        # Keys and tags with new records, by project.
        self._annotated: dict[str, set[str]] = {}
        self._noted_ns = 0
        # Arrival times up to which records are resolved: `_done_ns` for new records, `_past_ns` for
        # those before the first pass. The latter are complete at `_began_ns`.
        self._began_ns: int | None = None
        self._done_ns = self._past_ns = 0
        # Up to which new records the rows of runs are written again as well.
        self._written_ns = 0
        # When the oldest record arrived that no pass has begun to resolve, and the oldest one whose
        # effect is not stored in the rows of other runs yet.
        self._new_s: float | None = None
        self._taken_s: float | None = None
        self._window_ns = HOUR_NS
        self._rest_until_s = 0.0
        # Whether rows may have values of records that an earlier collector deleted.
        self._has_stale = True
        # Arrivals of other collectors to check next: after the first time, up to the second.
        self._others: dict[str, tuple[int, int]] = {}
        self._repeat_s = repeat_s
        self._repeat_due_s = 0.0
        self._marked: tuple[float, int] = (0.0, 0)

    def note(self, records: Records, stamped_ns: int) -> Collection[str]:
        """Remember stored records, and their newest arrival time.

        Returns:
            The projects in which runs must be resolved.
        """
        traces = _find_touched(records)
        counting = self._plain.note(records, traces)
        annotated = find_annotated(records)
        for project in annotated:
            self._memory.note(project, [ANNOTATED])
        with self._guard:
            self._noted_ns = max(self._noted_ns, stamped_ns)
            if self._new_s is None:
                self._new_s = time.monotonic()
            for project, of_project in traces.items():
                if not self._plain.is_plain(project):
                    self._dirty.setdefault(project, set()).update(of_project)
            for project, owners in annotated.items():
                self._annotated.setdefault(project, set()).update(owners)
        return counting

    def has_work(self) -> bool:
        """Return whether `run_pass` has anything to do."""
        with self._guard:
            has_news = bool(self._dirty or self._annotated) or self._noted_ns > self._done_ns
        is_behind = self._began_ns is None or self._past_ns < self._began_ns
        has_news = has_news or self._memory.updates.has_pending or self._must_repeat()
        is_behind = is_behind or self._has_stale
        return has_news or is_behind or self._done_ns > self._marked[1]

    def run_pass(self) -> bool:
        """Resolve everything stored since the last pass, and some older records.

        Returns:
            Whether more is waiting.

        Raises:
            Unavailable: The store does not answer.
        """
        if time.monotonic() < self._rest_until_s:
            return True
        with self._resting(), self._pass_guard, store_trouble():
            if self._began_ns is None:
                self._begin()
            with self._guard:
                if not self._memory.updates.has_pending:
                    self._written_ns, self._taken_s = self._done_ns, None
                # If the pass fails, its records stay the oldest.
                self._taken_s = self._taken_s if self._taken_s is not None else self._new_s
                self._new_s = None
            if self._has_stale:
                self._has_stale = find_stale(self._client, self._memory)
            self._resolve_new()
            past_ns = self._past_ns
            if is_behind := past_ns < (self._began_ns or 0):
                until_ns = min(past_ns + self._window_ns, self._began_ns or 0)
                past_ns = self._resolve_arrivals(past_ns, until_ns)
            if self._must_repeat():
                self._resolve_others()
            write_rows(self._client, self._memory, self._tombstones, waits=True)
            note_written(self._client, self._memory)
            self._past_ns = past_ns
            if not self._memory.updates.has_pending:
                self._taken_s = None
            if is_behind or time.monotonic() - self._marked[0] > _MARK_EVERY_S:
                self._note_mark()
            return is_behind

    def _resolve_new(self) -> None:
        """Resolve the traces in which runs were stored since the last pass."""
        with self._guard:
            dirty, self._dirty = self._dirty, {}
            annotated, self._annotated = self._annotated, {}
            noted_ns = self._noted_ns
        try:
            self._plain.learn(dirty)
            traces = {
                (project, trace_id.hex())
                for project, of_project in dirty.items()
                if not self._plain.is_plain(project)
                for trace_id in of_project
            }
            self._resolve_traces(sorted(traces.union(find_named_traces(self._client, annotated))))
            while self._done_ns < min(noted_ns, self._memory.calls.doubtful_ns):
                self._done_ns = self._resolve_arrivals(self._done_ns, noted_ns)
        except BaseException:
            with self._guard:
                for project, of_project in dirty.items():
                    self._dirty.setdefault(project, set()).update(of_project)
                for project, owners in annotated.items():
                    self._annotated.setdefault(project, set()).update(owners)
            raise
        self._done_ns = max(self._done_ns, noted_ns)

    def _must_repeat(self) -> bool:
        return not self._memory.is_alone and time.monotonic() >= self._repeat_due_s

    def _resolve_others(self) -> None:
        """Resolve some of what other collectors had stored a while ago.

        They do so themselves. But one of them may have been killed, or two may not have seen the
        newest records of each other.
        """
        marks = {row["name"]: row["value"] for row in self._ask(_MARKS, {})}
        for name, (after_ns, until_ns) in self._others.items():
            if after_ns == until_ns:
                continue
            # After a kill, rows may lack what was computed just before they were written.
            slack_ns = 0 if marks.get(_MARK + name, 0) >= until_ns else MINUTE_NS
            done_ns = self._resolve_arrivals(
                after_ns, until_ns, [name], slack_ns=slack_ns, most=_REPEATED
            )
            self._others[name] = done_ns, until_ns
            return  # new records of this collector come first
        # Clocks may differ by a minute.
        self._has_stale = True
        newest_ns = max((until_ns for _, until_ns in self._others.values()), default=0)
        after_ns = max(newest_ns, self._began_ns or 0) - _OVERLAP_NS
        rows = self._ask(_OTHER_ARRIVALS, {"after": after_ns, "own": self._collector})
        self._others = {
            row["name"]: (self._others.get(row["name"], (0, after_ns))[1], row["last"])
            for row in rows
        }
        self._repeat_due_s = time.monotonic() + self._repeat_s

    def _resolve_traces(self, traces: Sequence[Trace]) -> None:
        """Resolve changed traces, from memory if they are complete there.

        Traces whose runs all arrived in one batch are resolved already.
        """
        recent = self._memory.calls
        others: list[Trace] = []
        for part in divide(traces):
            now_ns = time.time_ns()
            whole = {
                (project, trace_id): trace
                for project, trace_id in part
                if (trace := recent.find(project, bytes.fromhex(trace_id))) is not None
            }
            alike = self._add_alike(whole)
            tagged = {
                key: TaggedRuns((trace.open_runs | trace.runs).values(), trace.tags)
                for key, trace in whole.items()
                if may_be_annotated(self._memory, key[0])
            }
            to_resolve = {
                key: trace
                for key, trace in whole.items()
                if key in tagged or key in alike or not trace.is_resolved or trace.find_outdated()
            }
            owners = find_naming_owners(self._client, tagged)
            changed = list(resolve_recent(to_resolve, owners, now_ns))
            write_resolutions(self._client, self._memory, changed, mark=True)
            recent.keep(changed, to_resolve)
            others += [trace for trace in part if trace not in whole]
        resolve(self._client, self._memory, others)
        if self._memory.is_alone:
            self._follow({project for project, _ in traces if not recent.is_followed(project)})

    def _add_alike(self, whole: dict[Trace, RecentTrace]) -> set[Trace]:
        """Add the traces that may contain further records of calls in some complete traces.

        If one of them is not complete in memory, all of them are removed, so that they are read.

        Returns:
            The traces that must be resolved together with others.
        """
        recent = self._memory.calls
        together: set[Trace] = set()
        for project, trace_id in [*whole]:
            ids = recent.find_alike(project, bytes.fromhex(trace_id))
            if ids is None:
                whole.pop((project, trace_id), None)
                continue
            group = {(project, other.hex()): recent.find(project, other) for other in ids}
            complete = {key: trace for key, trace in group.items() if trace is not None}
            if len(complete) == len(group):
                whole |= complete
                together |= complete.keys()
            else:
                for key in group:
                    whole.pop(key, None)
        return together & whole.keys()

    def _follow(self, projects: Collection[str]) -> None:
        """Keep the runs of some projects in memory from now on."""
        recent = self._memory.calls
        for project in projects:
            recent.follow(project)
        for part in divide(sorted(projects)):
            values = {"projects": part}
            ends = {row["project"]: row["end_ns"] for row in self._ask(_LAST_ENDS, values)}
            open_traces: defaultdict[str, list[bytes]] = defaultdict(list)
            for row in self._ask(_OPEN_TRACES, values):
                open_traces[row["project"]].append(bytes.fromhex(row["trace_id"]))
            for project in part:
                recent.note_others(project, ends.get(project, 0), open_traces[project])

    def rebuild(self, day_ns: int) -> RebuiltDay:
        """Compute again what other runs change about the runs of traces with runs on a day.

        The values are computed from the runs and records that arrived, and not from stored values.
        Passes continue in between. A second call changes nothing.

        Args:
            day_ns: Start of the day (UTC), in nanoseconds since 1970.

        Raises:
            Unavailable: The store does not answer.
        """
        values = {"start": day_ns, "end": day_ns + DAY_NS, "project": "", "trace": ""}
        traces = runs = 0
        while True:
            with self._pass_guard, store_trouble():
                rows = self._ask(_OF_DAY, values)
                part = [(row["project"], row["trace_id"]) for row in rows]
                runs += resolve(self._client, self._memory, part, again=True)
                write_rows(self._client, self._memory, self._tombstones)
                if len(part) < _REBUILT_AT_ONCE:
                    self._rebuild_late(day_ns)
            traces += len(part)
            if len(part) < _REBUILT_AT_ONCE:
                return RebuiltDay(traces, runs)
            values |= {"project": part[-1][0], "trace": part[-1][1]}

    def _rebuild_late(self, day_ns: int) -> None:
        """Write the rows of all runs of a day again that have scores.

        Rows of a project with a deletion that is not finished are left to a later pass.
        """
        scored = find_late_on(self._client, day_ns)
        self._memory.updates.put_late((project, *split_run_id(owner)) for project, owner in scored)
        unfinished: set[str] = set()
        while self._memory.updates.has_pending_besides(unfinished):
            unfinished = write_rows(self._client, self._memory, self._tombstones)

    @property
    def behind_s(self) -> float:
        """Age of the oldest stored record whose effect on other runs is not in their rows yet."""
        if self._past_ns < (self._began_ns or 0):  # records from before the start of the collector
            return (time.time_ns() - self._past_ns) / SECOND_NS
        with self._guard:
            since_s = [since_s for since_s in (self._new_s, self._taken_s) if since_s is not None]
        return time.monotonic() - min(since_s) if since_s else 0.0

    @contextmanager
    def _resting(self) -> Iterator[None]:
        try:
            yield
        except Unavailable:
            self._rest_until_s = time.monotonic() + _REST_S
            raise

    def resolve(self, runs: Sequence[Key]) -> dict[str, CallShare]:
        """Return the tokens and cost with which totals count some runs.

        They can differ from the tokens and cost that a run reports. For example, if two
        instrumentations record the same call, totals count only one of the two runs. All new traces
        are processed first, so the result is up to date.

        Args:
            runs: Project, start time, trace ID and span ID of each run.

        Returns:
            The tokens and cost by run ID. A run is missing if totals use the values that it
            reports.

        Raises:
            Unavailable: The store does not answer.
        """
        self.run_pass()
        call_shares: dict[str, CallShare] = {}
        with self._pass_guard, store_trouble():
            counting = {
                project
                for project in {project for project, *_ in runs}
                if not self._plain.counts_plainly(project)
                or SHARED in self._memory.recall(project)[0]
            }
            asked = [run for run in runs if run[0] in counting]
            for part in divide([*self._find_kept(asked, call_shares)]):
                call_shares |= read_shares(self._client, part)
        return call_shares

    def _find_kept(self, runs: Sequence[Key], call_shares: dict[str, CallShare]) -> Iterator[Key]:
        """Add the results for runs whose trace is complete in memory. Yield all other runs."""
        traces: dict[tuple[str, bytes], RecentTrace | None] = {}
        for run in runs:
            project, _, trace_id, span_id = run
            if (project, trace_id) not in traces:
                traces[project, trace_id] = self._memory.calls.find(project, trace_id)
            trace = traces[project, trace_id]
            if trace is None:
                yield run
            elif share := trace.resolved.get(span_id, NOTHING).share:
                call_shares[f"{trace_id.hex()}-{span_id.hex()}"] = share

    def _begin(self) -> None:
        """Find the arrival time up to which this collector, or another one, resolved records."""
        marks = {row["name"]: row["value"] for row in read_rows(self._client, _MARKS, {})}
        own_ns = marks.get(self._mark_name)
        seen_ns = own_ns - _OVERLAP_NS if own_ns else max(marks.values(), default=0) - HOUR_NS
        last_ns = read_rows(self._client, _LAST_ARRIVAL, {})[0]["last"]
        self._past_ns = max(seen_ns, 0)
        if not self._past_ns and last_ns:
            self._past_ns = read_rows(self._client, _FIRST, {})[0]["first"] - 1
        if self._memory.is_alone:
            stored = read_rows(self._client, _STORED_PROJECTS, {})
            self._memory.calls.note_stored([row["project"] for row in stored])
            self._memory.updates.begin(last_ns)
        self._began_ns = self._done_ns = last_ns
        self._marked = (time.monotonic(), self._past_ns)

    def _resolve_arrivals(
        self,
        after_ns: int,
        until_ns: int,
        only: Sequence[str] = (),
        *,
        slack_ns: int = MINUTE_NS,
        most: int = _NEW_RUNS,
    ) -> int:
        """Resolve the records that arrived in an interval, or the first ones if there are too many.

        Args:
            after_ns: Start of the interval, which is not part of it.
            until_ns: End of the interval.
            only: The collector that stored the records; none for any.
            slack_ns: See `resolve`.
            most: How many records are too many.

        Returns:
            The end of the resolved interval.
        """
        while True:
            values = {"after": after_ns, "until": until_ns, "only": [*only]}
            rows = read_rows(self._client, _NEW, values)
            scored = find_arrived_values(self._client, _IS_NEW, values, _NEW_RUNS)
            number = max(len(rows), len(scored))
            if number < most or until_ns - after_ns <= _LEAST_WINDOW_NS:
                break
            until_ns = after_ns + (until_ns - after_ns) // 4
            self._window_ns = max(until_ns - after_ns, _LEAST_WINDOW_NS)
        traces = {(row["project"], row["trace_id"]) for row in rows if not row["owner"]}
        annotated: defaultdict[str, set[str]] = defaultdict(set)
        for row in rows:
            if row["owner"]:
                annotated[row["project"]].add(row["owner"])
                self._memory.note(row["project"], [ANNOTATED])
        traces.update(find_named_traces(self._client, annotated))
        resolve(self._client, self._memory, sorted(traces), slack_ns=slack_ns)
        self._memory.updates.put_late((project, *split_run_id(owner)) for project, owner in scored)
        self._memory.updates.put_owners(
            (project, owner) for project, owners in annotated.items() for owner in owners
        )
        if number < _NEW_RUNS // 4:
            self._window_ns = min(2 * self._window_ns, _WIDEST_NS)
        return until_ns

    def _ask(self, sql: Sql, values: Mapping[str, Any]) -> list[Row]:
        return read_rows(self._client, sql, values)

    def _note_mark(self) -> None:
        """Store the time up to which arrivals are resolved, for the next start."""
        new_ns = self._written_ns if self._memory.updates.has_pending else self._done_ns
        done_ns = self._past_ns if self._past_ns < (self._began_ns or 0) else new_ns
        if done_ns > self._marked[1]:
            self._client.insert("store_meta", [[self._mark_name, done_ns]])
        self._marked = (time.monotonic(), done_ns)
