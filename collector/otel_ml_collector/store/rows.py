"""Rows of `runs` that are written again, because other records have changed the values of the run.

A run is stored with the values that follow from the runs that arrived with it. If a later record
changes them, its whole row is written again with a higher rank. The new row has the run's own
columns and the newest resolution: it is never computed from the values of an older row. Design
record: docs/design/068-rank-of-a-row.md.
"""

import threading
import time
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import groupby, islice
from types import MappingProxyType
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from otel_ml.records import Run
from otel_ml_collector.fold.late import leave_older_tags
from otel_ml_collector.resolution import NO_LATE_VALUES, NOTHING, ResolvedRun
from otel_ml_collector.store.counted import DELIVERIES
from otel_ml_collector.store.sql import Sql, StoreClient, identifier, join_sql, split_long_values
from otel_ml_collector.store.tables import CALL_VALUES, FOLDED, LATE, RUNS, rank_of_row
from otel_ml_collector.times import DAY_NS, HOUR_NS, MINUTE_NS, SECOND_NS

# Key of a run: project, start, trace ID and span ID.
RunKey = tuple[str, int, bytes, bytes]
# Project, trace ID and span ID of a run, as a score or a late tag names it. Several runs can have
# the same.
RunName = tuple[str, str, str]
# Stored runs, with their rows without the columns of `FOLDED` if these are to be kept in memory.
StoredRows = tuple[pa.Table | None, Sequence[Run]]
# Start, trace ID and span ID of a run in its project.
RunPlace = tuple[int, str, str]

# Maximum number and bytes of rows in memory.
_RECENT_ROWS: Final = 30_000
_RECENT_BYTES: Final = 48 * 1024 * 1024
# Rows that are read or written at once.
ROWS_AT_ONCE: Final = 1_000
# Runs with new late values that are looked at together.
_LATE_AT_ONCE: Final = 20_000
# Maximum number of runs with late values in each half of the memory, about 250 bytes each.
_WITH_LATE: Final = 30_000
# Maximum number of keys and tags with new values, by project.
MOST_OWNERS: Final = 5_000
# If a project has more, this means all of its keys and tags.
EVERY_OWNER: Final = ""
FIRST_PLACE: Final[RunPlace] = (-(2**63), "", "")
# How far the clocks of senders may be ahead of that of the collector.
_AHEAD_NS: Final = MINUTE_NS
# Longest time between two inserts of a writer under load, in seconds.
_WRITING_S: Final = 0.25
# How far the start of a row may be from the runs of an insert: another month is another part.
_NEAR_START_NS: Final = 31 * DAY_NS
# Maximum time span of an insert, because an insert creates a part for each month that it touches.
_INSERT_SPAN_NS: Final = 1_000 * DAY_NS

_OWN_COLUMNS: Final = tuple(
    column for column in RUNS.columns if column.name not in {folded.name for folded in FOLDED}
)
_LATE_COLUMNS: Final = frozenset(column.name for column in LATE)
_OWN_SCHEMA: Final = pa.schema([(column.name, column.arrow) for column in _OWN_COLUMNS])
_KEY_COLUMNS: Final = ("project", "start_ns", "trace_id", "span_id")
_OWN_ROWS: Final = Sql("""
    SELECT {columns} FROM {deliveries}
    WHERE project IN {projects:Array(String)} AND start_ns IN {starts:Array(Int64)}
      AND lower(hex(span_id)) IN {spans:Array(String)}
    ORDER BY rank DESC LIMIT 1 BY project, start_ns, trace_id, span_id""").fill(
    deliveries=DELIVERIES,
    columns=join_sql(
        ", ",
        [Sql("`{n}`").fill(n=identifier(name, _OWN_SCHEMA.names)) for name in _OWN_SCHEMA.names],
    ),
)
# Runs with a row. Two spans of a trace that share an ID start at most an hour apart.
_WITH_A_ROW: Final = Sql("""
    SELECT DISTINCT toString(project) AS project, lower(hex(trace_id)) AS trace_id,
      lower(hex(span_id)) AS span_id
    FROM {deliveries} WHERE project IN {projects:Array(String)}
      AND start_ns >= {first:Int64} - {hour} AND start_ns <= {last:Int64} + {hour}
      AND lower(hex(span_id)) IN {spans:Array(String)}""").fill(deliveries=DELIVERIES, hour=HOUR_NS)
_CLOCK: Final = Sql("SELECT toUnixTimestamp64Nano(now64(9)) AS now_ns")
_READ_SETTINGS: Final = {"max_execution_time": 60}


def key_of_row(run: Run | ResolvedRun) -> RunKey:
    """Return the key under which a run is stored."""
    return run.project, run.start_ns, run.trace_id, run.span_id


def name_of_row(run: Run | ResolvedRun) -> RunName:
    """Return the project and the IDs of a run, as its late-arriving records name it."""
    return run.project, run.trace_id.hex(), run.span_id.hex()


def _name_bytes(name: RunName) -> tuple[str, bytes, bytes]:
    project, trace_id, span_id = name
    try:
        return project, bytes.fromhex(trace_id), bytes.fromhex(span_id)
    except ValueError:  # a sender named something that is not a run
        return project, b"", b""


def fold_rows(rows: pa.Table, resolved: Mapping[int, ResolvedRun]) -> pa.Table:
    """Add the columns with the values that runs get from other runs.

    Args:
        rows: Rows of `runs` without these columns.
        resolved: Resolutions by the place of the run among the rows. All other runs depend on no
            other run.

    Returns:
        The rows with these columns. The rank of a row with a resolution has its time.
    """
    runs, places = _leave_older_tags(rows, resolved), [*resolved]
    picked = [0] * rows.num_rows
    for at, place in enumerate(places, 1):
        picked[place] = at
    columns: dict[str, pa.Array] = {name: _whole(rows, name) for name in rows.column_names}
    is_resolved = any(run.resolution is not NOTHING for run in runs)
    for column in FOLDED:
        if column.read is None:
            continue
        if not runs or not (is_resolved or column.name in _LATE_COLUMNS):
            columns[column.name] = _repeat_empty(column.arrow, rows.num_rows)
            continue
        empty = _empty_of(column.arrow)
        values = list(map(column.read, runs))
        if (own := CALL_VALUES.get(column.name)) is not None:
            kept = columns[own].take(pa.array(places, pa.int64())).to_pylist()
            values = [
                empty if has not in {"", None} else value
                for value, has in zip(values, kept, strict=True)
            ]
        new = pa.array([empty, *values], column.arrow)
        columns[column.name] = new.take(pa.array(picked, pa.int64()))
    ranks = columns["rank"].take(pa.array(places, pa.int64())).to_pylist()
    columns["rank"] = _put(
        columns["rank"],
        places,
        [
            rank_of_row(int.from_bytes(rank[8:], "little"), max(run.rank, 1))
            for rank, run in zip(ranks, runs, strict=True)
        ],
    )
    return pa.table(columns)


def _empty_of(kind: pa.DataType) -> object:
    """Return the value that the engine fills in for a run that depends on no other."""
    if pa.types.is_fixed_size_binary(kind):
        return bytes(kind.byte_width)
    if pa.types.is_map(kind):
        return []
    return {pa.string(): "", pa.bool_(): False, pa.list_(pa.string()): []}.get(kind)


def _leave_older_tags(rows: pa.Table, resolved: Mapping[int, ResolvedRun]) -> list[ResolvedRun]:
    """Leave out each late tag that is older than the same tag on the run's own span."""
    runs = dict(resolved)
    tagged = [place for place, run in resolved.items() if run.late.tags]
    if tagged:
        spans = rows.select(["tags", "start_ns", "latency_ns"]).take(pa.array(tagged, pa.int64()))
        for place, span in zip(tagged, spans.to_pylist(), strict=True):
            own, end_ns = {name for name, _ in span["tags"]}, span["start_ns"] + span["latency_ns"]
            late = leave_older_tags(runs[place].late, own, end_ns)
            runs[place] = replace(runs[place], late=late)
    return [*runs.values()]


@cache
def _make_empty(kind: pa.DataType) -> pa.Array:
    return pa.array([_empty_of(kind)] * ROWS_AT_ONCE, kind)


def _repeat_empty(kind: pa.DataType, number: int) -> pa.Array:
    """Make a column for runs that depend on no other."""
    if number > ROWS_AT_ONCE:
        return pa.array([_empty_of(kind)] * number, kind)
    return _make_empty(kind).slice(0, number)


def _whole(rows: pa.Table, name: str) -> pa.Array:
    column = rows.column(name).combine_chunks()
    return column.chunk(0) if isinstance(column, pa.ChunkedArray) else column


def _put(column: pa.Array, places: Sequence[int], values: Sequence[object]) -> pa.Array:
    """Return a column with other values at some places."""
    if not places:
        return column
    picked = list(range(len(column)))
    for at, place in enumerate(places, len(column)):
        picked[place] = at
    new = pa.concat_arrays([column, pa.array(values, column.type)])
    return new.take(pa.array(picked, pa.int64()))


class RecentRows:
    """Keeps the newest rows of `runs` in memory, without the columns of `FOLDED`.

    Not thread-safe.
    """

    def __init__(self) -> None:
        self._groups: OrderedDict[int, tuple[pa.Table, Sequence[RunKey]]] = OrderedDict()
        # Group, place in it and rank of the record, by run.
        self._places: dict[RunKey, tuple[int, int, int]] = {}
        # The runs by project, trace ID and span ID. None: several runs have these.
        self._named: dict[tuple[str, bytes, bytes], RunKey | None] = {}
        # The newest resolution of each run that has one.
        self._resolved: dict[RunKey, ResolvedRun] = {}
        # The latest start of the stored runs that are not in memory: by project, and of all.
        self._gone: defaultdict[str, int] = defaultdict(int)
        self._gone_ns = 0
        self._number = self._rows = self._bytes = 0

    def add(
        self,
        rows: pa.Table | None,
        runs: Sequence[Run],
        resolved: Mapping[RunKey, ResolvedRun] = MappingProxyType({}),
    ) -> None:
        """Keep stored rows. A row with a better record of the same run stays.

        Without rows, older rows of these runs are forgotten: there may be better ones now.

        Args:
            rows: The rows, without the columns of `FOLDED`.
            runs: The run of each row.
            resolved: What other runs change about some of the runs.
        """
        if rows is None:
            for run in runs:
                self._gone[run.project] = max(self._gone[run.project], run.start_ns)
            for run in runs if self._places else ():
                self._forget(key_of_row(run))
                name = run.project, run.trace_id, run.span_id
                if name in self._named:
                    self._named[name] = None
            return
        self._number += 1
        keys = [key_of_row(run) for run in runs]
        self._groups[self._number] = rows, keys
        self._rows += len(keys)
        self._bytes += rows.nbytes
        for place, (key, run) in enumerate(zip(keys, runs, strict=True)):
            known = self._places.get(key)
            if known is None or known[2] <= run.rank:
                self._places[key] = self._number, place, run.rank
            name = key[0], key[2], key[3]
            self._named[name] = key if self._named.get(name, key) == key else None
            if (run_now := resolved.get(key)) is not None:
                self.resolve(run_now)
        while self._groups and (self._rows > _RECENT_ROWS or self._bytes > _RECENT_BYTES):
            number, (old, gone) = self._groups.popitem(last=False)
            self._rows -= len(gone)
            self._bytes -= old.nbytes
            for key in gone:
                if (known := self._places.get(key)) is not None and known[0] == number:
                    self._forget(key)

    def _forget(self, key: RunKey) -> None:
        if self._places.pop(key, None) is not None:
            self._named.pop((key[0], key[2], key[3]), None)
            self._resolved.pop(key, None)
            self._gone[key[0]] = max(self._gone[key[0]], key[1])

    def has_all_from(self, project: str, start_ns: int) -> bool:
        """Return whether a run with this start is in memory if it was stored since the start."""
        return start_ns > max(self._gone.get(project, 0), self._gone_ns) + SECOND_NS

    def resolve(self, run: ResolvedRun) -> None:
        """Keep the newest resolution of a run that is in memory."""
        key = key_of_row(run)
        known = self._resolved.get(key)
        if key in self._places and (known is None or known.rank <= run.rank):
            self._resolved[key] = run

    def find_named(self, name: RunName) -> ResolvedRun | None:
        """Find the run of a late-arriving record, with its newest resolution.

        Returns:
            None if the run is not in memory, or if several runs have these IDs.
        """
        key = self._named.get(_name_bytes(name))
        if key is None:
            return None
        plain = ResolvedRun(key[0], key[2], key[3], key[1], NOTHING)
        return self._resolved.get(key, plain)

    def has_named(self, name: RunName) -> bool:
        """Return whether any run that a late-arriving record names is in memory."""
        return _name_bytes(name) in self._named

    def __contains__(self, key: RunKey) -> bool:
        return key in self._places

    def rank_of(self, key: RunKey) -> int:
        """Return the rank of the record of a row in memory; -1 if there is none."""
        known = self._places.get(key)
        return -1 if known is None else known[2]

    def find(self, keys: Sequence[RunKey]) -> Iterator[tuple[pa.Table, list[RunKey]]]:
        """Yield the rows of the runs that are in memory, with their keys in the same order."""
        by_group: defaultdict[int, list[tuple[int, RunKey]]] = defaultdict(list)
        for key in keys:
            if (known := self._places.get(key)) is not None:
                by_group[known[0]].append((known[1], key))
        for number, entries in by_group.items():
            places = pa.array([place for place, _ in entries], pa.int64())
            yield self._groups[number][0].take(places), [key for _, key in entries]

    def clear(self) -> None:
        """Forget all rows."""
        self._gone_ns = max(self._gone_ns, *(key[1] for key in self._places), 0)
        self._groups.clear()
        self._places.clear()
        self._named.clear()
        self._resolved.clear()
        self._rows = self._bytes = 0


@dataclass(frozen=True, slots=True)
class TakenRuns:
    """Runs that are about to be written again.

    Attributes:
        runs: The runs as they were pending. If they cannot be stored, give them back with `put`.
        stamped: The same runs, each with the rank of its new row.
        rows: Rows of `runs` without the columns of `FOLDED`, with the keys of the runs.
    """

    runs: Sequence[ResolvedRun]
    stamped: Sequence[ResolvedRun]
    rows: Sequence[tuple[pa.Table, Sequence[RunKey]]] = ()

    def fold(self, folded: Sequence[ResolvedRun]) -> list[pa.Table]:
        """Make the new rows, from the values of `stamped` with those that were read since then."""
        by_key = {key_of_row(run): run for run in folded}
        return [
            fold_rows(rows, {place: by_key[key] for place, key in enumerate(keys)})
            for rows, keys in self.rows
        ]


@dataclass(frozen=True, slots=True)
class KeyedRuns:
    """The runs of a project that have some keys or tags, as far as they must be written again.

    Attributes:
        owners: The keys and tags; `EVERY_OWNER` for all of them.
        after: The last run that was looked at; later ones follow.
        left: How many follow, as far as they were counted.
    """

    project: str
    owners: frozenset[str]
    after: RunPlace = FIRST_PLACE
    left: int = 0


class RowUpdates:
    """The runs whose rows must be written again, with their newest resolutions.

    Under load, the writer stores them together with its next runs. Otherwise `write_rows` does.
    All methods are thread-safe. The caller of `add` and `take_recent` must hold the tombstones: a
    deletion begins between two of these calls, and `generation` then differs.

    A taken run gets the rank of its new row. Of two rows of a run, the one that was taken later has
    the higher rank, and its facts are read later. So the row with the newest facts counts.

    Attributes:
        writing: Held by the thread that writes rows, except by the writer with its own runs.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self.writing = threading.Lock()
        self._pending: dict[RunKey, ResolvedRun] = {}
        # Runs with new scores or late tags, and when to look at them: 0 for at once.
        self._late: dict[RunName, float] = {}
        # Keys and tags with new values, by project.
        self._owners: dict[str, set[str]] = {}
        # Keys and tags whose runs have rows that are still to be written, by project.
        self._keyed: dict[str, KeyedRuns] = {}
        # Projects with rows that have values of deleted records: the value that the store has for
        # it, and whether the deletion is over.
        self._stale: dict[str, tuple[int, bool]] = {}
        # Number of runs, and of groups of keys, whose values may not be in rows yet, by project.
        self._unwritten: Counter[str] = Counter()
        self._recent = RecentRows()
        self._generation = -1
        self._inserted_s = 0.0
        self._stamp_ns = 0
        # The runs that got late values, in two halves: those since `_half_ns`, and those before.
        # All runs that started after `_floor_ns` and have late values are among them.
        self._with_late: set[RunName] = set()
        self._late_before: set[RunName] = set()
        self._half_ns = self._floor_ns = 0
        self._has_begun = False

    @property
    def has_pending(self) -> bool:
        """Whether any row must be written again."""
        if self._pending or self._owners or self._keyed:
            return True
        now_s = time.monotonic()
        with self._guard:
            return any(due_s <= now_s for due_s in self._late.values())

    def has_pending_besides(self, projects: Collection[str]) -> bool:
        """Return whether any row must be written again, except those of some projects."""
        now_s = time.monotonic()
        with self._guard:
            due = {run[0] for run, due_s in self._late.items() if due_s <= now_s}
            pending = {key[0] for key in self._pending} | due
            return not (pending | self._owners.keys() | self._keyed.keys()) <= {*projects}

    @property
    def is_busy(self) -> bool:
        """Whether the writer stored runs a moment ago, and probably will again."""
        return time.monotonic() - self._inserted_s < _WRITING_S

    def put(self, resolved: Sequence[ResolvedRun]) -> None:
        """Add runs whose rows must be written again, after their resolutions are stored."""
        with self._guard:
            for run in resolved:
                key = key_of_row(run)
                known = self._pending.get(key)
                if known is None or known.rank <= run.rank:
                    self._pending[key] = run
                self._recent.resolve(run)

    def put_late(self, runs: Iterable[RunName], due_s: float = 0.0) -> None:
        """Add runs with new or deleted scores or late tags, after the change is stored.

        Args:
            runs: The runs. They need not be stored yet.
            due_s: When to look at them, by the monotonic clock; 0 for at once.
        """
        with self._guard:
            for run in runs:
                if run not in self._late:
                    self._unwritten[run[0]] += 1
                self._late[run] = min(due_s, self._late.get(run, due_s))

    def put_unless_pending(self, runs: Iterable[RunKey]) -> None:
        """Add runs with new late values, except those that wait for their row anyway."""
        with self._guard:
            keys = [key for key in runs if key not in self._pending]
        self.put_late((project, trace.hex(), span.hex()) for project, _, trace, span in keys)

    def put_owners(self, owners: Iterable[tuple[str, str]]) -> None:
        """Add keys and tags with new or deleted values, after the change is stored.

        All runs that have them are written again, at most 1,000 at a time.

        Args:
            owners: Projects with a key or tag, or with `EVERY_OWNER`.
        """
        with self._guard:
            for project, owner in owners:
                if project not in self._owners:
                    self._unwritten[project] += 1
                of_project = self._owners.setdefault(project, set())
                of_project.add(owner)
                if len(of_project) > MOST_OWNERS:
                    self._owners[project] = {EVERY_OWNER}

    def note_stale(self, projects: Mapping[str, int]) -> None:
        """Note the projects that are losing records for keys and tags, with the stored value."""
        with self._guard:
            for project, value in projects.items():
                self._stale[project] = value, False

    def note_deleted(self, projects: Iterable[str]) -> None:
        """Note that these records are deleted, and that `put_owners` got their keys and tags."""
        with self._guard:
            for project in projects:
                if project in self._stale:
                    self._stale[project] = self._stale[project][0], True

    def list_stale(self) -> set[str]:
        """List the projects from `note_stale` whose rows may not be written again yet."""
        with self._guard:
            return {*self._stale}

    def find_written(self) -> dict[str, int]:
        """Find the projects from `note_stale` whose rows are written again, with their values."""
        with self._guard:
            return {
                project: value
                for project, (value, is_deleted) in self._stale.items()
                if is_deleted and not self._unwritten[project]
            }

    def forget_stale(self, projects: Mapping[str, int]) -> None:
        """Forget projects, unless they were noted again with another value."""
        with self._guard:
            for project, value in projects.items():
                if self._stale[project][0] == value:
                    del self._stale[project]

    def take_keyed(self, projects: Collection[str]) -> list[KeyedRuns]:
        """Take the new keys and tags of a project, and others whose runs are written in part.

        Call `finish_keyed` for each of them. Those of some projects are not taken.
        """
        taken: list[KeyedRuns] = []
        with self._guard:
            if project := next((name for name in self._owners if name not in projects), None):
                taken.append(KeyedRuns(project, frozenset(self._owners.pop(project))))
            if project := next((name for name in self._keyed if name not in projects), None):
                taken.append(self._keyed.pop(project))
        return taken

    def finish_keyed(self, taken: KeyedRuns, rest: KeyedRuns | None) -> None:
        """Note which of the taken runs were not put with `put_late` yet; None if all were."""
        project = taken.project
        with self._guard:
            if rest is not None:
                if (known := self._keyed.get(project)) is None:
                    self._unwritten[project] += 1
                else:
                    number = max(known.left, rest.left)
                    rest = KeyedRuns(project, known.owners | rest.owners, left=number)
                self._keyed[project] = rest
            self._lower(project)

    def count_waiting(self) -> int:
        """Count the runs that must be written again, as far as they are known."""
        with self._guard:
            keyed = sum(runs.left for runs in self._keyed.values())
            return len(self._pending) + len(self._late) + keyed

    def count_keyed(self, project: str) -> int:
        """Count the runs of a project whose keys or tags have values that are not in their rows."""
        with self._guard:
            return self._keyed[project].left if project in self._keyed else 0

    def take_late(
        self,
        projects: Collection[str],
        now_ns: int,
        wanted: Collection[RunName] | None = None,
    ) -> tuple[dict[RunName, float], int]:
        """Take runs with new late values, at most 20,000, except those of some projects.

        With `wanted`, only these runs are taken.

        Call `finish_late` when their rows are stored, or `put_late` got them again.

        Returns:
            The runs with the times that `put_late` got, and the rank of their new rows.
        """
        now_s = time.monotonic()
        with self._guard:
            due = (
                run
                for run in (self._late if wanted is None else wanted)
                if (due_s := self._late.get(run)) is not None
                and due_s <= now_s
                and run[0] not in projects
            )
            taken = [*islice(due, _LATE_AT_ONCE)]
            return {run: self._late.pop(run) for run in taken}, self._stamp(now_ns)

    def begin(self, stored_ns: int) -> None:
        """Note when the last record before the start of this collector was stored.

        If no other collector writes to the store, all late values of runs that start later pass
        through `note_late`. So they are known without a query.
        """
        with self._guard:
            self._floor_ns = max(self._floor_ns, stored_ns)
            self._has_begun = True

    def note_late(self, runs: Iterable[RunName]) -> set[RunName]:
        """Note runs with late values that are about to be stored.

        Returns:
            Those that had no late value before, if they are followed.
        """
        named = {*runs}
        with self._guard:
            first = named - self._with_late - self._late_before
            self._with_late |= named
            if len(self._with_late) > _WITH_LATE:
                self._floor_ns = max(self._floor_ns, self._half_ns)
                self._late_before, self._with_late = self._with_late, set()
                self._half_ns = time.time_ns()
        return first

    def is_followed(self, start_ns: int) -> bool:
        """Return whether all late values of a run with this start passed through `note_late`."""
        return self._has_begun and (not self._floor_ns or start_ns > self._floor_ns + _AHEAD_NS)

    def has_late(self, run: RunName) -> bool:
        """Return whether a run that is followed has late values."""
        return run in self._with_late or run in self._late_before

    def find_new(self, generation: int, runs: Iterable[tuple[RunName, int]]) -> set[RunName]:
        """Find runs that are certainly not stored, with at most one second between their starts.

        Args:
            generation: That of the tombstones.
            runs: Runs with their starts.
        """
        with self._guard:
            self._check(generation)
            return {
                name
                for name, start_ns in runs
                if self.is_followed(start_ns)
                and self._recent.has_all_from(name[0], start_ns)
                and not self._recent.has_named(name)
            }

    def find_started(self, runs: Iterable[RunName], since_ns: int) -> set[RunName]:
        """Find runs that started since a time, as far as their rows are in memory."""
        with self._guard:
            return {
                name
                for name in runs
                if (run := self._recent.find_named(name)) is not None and run.start_ns >= since_ns
            }

    def take_named(
        self, generation: int, now_ns: int, names: Iterable[RunName]
    ) -> tuple[TakenRuns, set[RunName]]:
        """Take runs whose row is in memory and that late-arriving records name.

        The records must be stored already. A run is left out if its resolution, or a better record
        of it, may only be in the store.

        Returns:
            The runs, and the names of those that were left out.
        """
        left: set[RunName] = set()
        with self._guard:
            self._check(generation)
            runs: list[ResolvedRun] = []
            rank = self._stamp(now_ns)
            for name in names:
                run = self._recent.find_named(name)
                if (
                    run is None
                    or not self.is_followed(run.start_ns)
                    or not self._recent.has_all_from(run.project, run.start_ns)
                ):
                    left.add(name)
                else:
                    runs.append(replace(run, rank=max(rank, run.rank), late=NO_LATE_VALUES))
            rows = [*self._recent.find([key_of_row(run) for run in runs])]
            return TakenRuns((), runs, rows), left

    def finish_late(self, runs: Iterable[RunName]) -> None:
        """Note that runs from `take_late` need not be written any more."""
        with self._guard:
            for project, _, _ in runs:
                self._lower(project)

    def _lower(self, project: str) -> None:
        self._unwritten[project] -= 1
        if not self._unwritten[project]:
            del self._unwritten[project]

    def add(
        self,
        groups: Sequence[StoredRows],
        generation: int,
        resolved: Mapping[RunKey, ResolvedRun],
    ) -> None:
        """Keep rows that the writer has stored, and remember when it was.

        Args:
            groups: The rows.
            generation: That of the tombstones.
            resolved: What other runs change about some of the runs.
        """
        with self._guard:
            self._inserted_s = time.monotonic()
            self._check(generation)
            for rows, runs in groups:
                self._recent.add(rows, runs, resolved)

    def take_recent(
        self, generation: int, now_ns: int, near: tuple[int, int] | None = None
    ) -> TakenRuns:
        """Take the pending runs whose rows are in memory.

        Args:
            generation: That of the tombstones.
            now_ns: The time, by the store's clock.
            near: First and last start of the runs of an insert; None for runs of any time.
        """
        with self._guard:
            self._check(generation)
            keys = [
                key
                for key in self._pending
                if key in self._recent
                and (near is None or near[0] - _NEAR_START_NS < key[1] < near[1] + _NEAR_START_NS)
            ]
            runs, stamped = self._take(keys, now_ns)
            return TakenRuns(runs, stamped, [*self._recent.find(keys)])

    def take_others(self, projects: Collection[str], now_ns: int) -> TakenRuns:
        """Take the pending runs whose rows are not in memory, except those of some projects."""
        with self._guard:
            keys = [
                key for key in self._pending if key[0] not in projects and key not in self._recent
            ]
            return TakenRuns(*self._take(keys, now_ns))

    def take_pending(self, projects: Collection[str]) -> list[ResolvedRun]:
        """Take all pending runs without their rows, except those of some projects."""
        with self._guard:
            keys = [key for key in self._pending if key[0] not in projects]
            return [self._pending.pop(key) for key in keys]

    def find_recent(
        self, generation: int, runs: Mapping[RunKey, int]
    ) -> list[tuple[pa.Table, list[RunKey]]]:
        """Find the rows in memory that were made from the best records of runs.

        Args:
            generation: That of the tombstones.
            runs: The rank of the best stored record, by run.

        Returns:
            Rows without the columns of `FOLDED`, with the keys of the runs.
        """
        with self._guard:
            self._check(generation)
            return [
                *self._recent.find(
                    [key for key, rank in runs.items() if self._recent.rank_of(key) == rank]
                )
            ]

    def _take(
        self, keys: Sequence[RunKey], now_ns: int
    ) -> tuple[list[ResolvedRun], list[ResolvedRun]]:
        rank = self._stamp(now_ns)
        runs = [self._pending.pop(key) for key in keys]
        return runs, [replace(run, rank=max(rank, run.rank)) for run in runs]

    def _stamp(self, now_ns: int) -> int:
        self._stamp_ns = max(now_ns, self._stamp_ns + 1)
        return self._stamp_ns

    def list_projects(self) -> set[str]:
        """List the projects with pending runs."""
        with self._guard:
            projects = {key[0] for key in self._pending} | {run[0] for run in self._late}
            return projects | self._owners.keys() | self._keyed.keys()

    def forget(self) -> None:
        """Forget all rows in memory, because an insert failed or runs are being deleted."""
        with self._guard:
            self._recent.clear()

    def _check(self, generation: int) -> None:
        if generation != self._generation:
            self._recent.clear()
            self._generation = generation


def find_stored(client: StoreClient, runs: Sequence[ResolvedRun]) -> set[RunName]:
    """Return those of the runs that have a row already, also one with a different start."""
    values = {
        "projects": sorted({run.project for run in runs}),
        "first": min(run.start_ns for run in runs),
        "last": max(run.start_ns for run in runs),
        "spans": sorted({run.span_id.hex() for run in runs}),
    }
    sql, split = split_long_values(_WITH_A_ROW, values)
    rows = client.query(sql, split, settings=dict(_READ_SETTINGS)).result_rows
    known: set[RunName] = {(str(project), str(trace), str(span)) for project, trace, span in rows}
    return known.intersection(map(name_of_row, runs))


def read_clock(client: StoreClient) -> int:
    """Read the time of the store's clock, in nanoseconds since 1970."""
    return int(client.query(_CLOCK).result_rows[0][0])


def read_own_rows(
    client: StoreClient, runs: Sequence[ResolvedRun]
) -> tuple[pa.Table, list[RunKey]]:
    """Read the stored rows of ended runs, without the columns of `FOLDED`, with their keys."""
    values = {
        "projects": sorted({run.project for run in runs}),
        "starts": sorted({run.start_ns for run in runs}),
        "spans": sorted({run.span_id.hex() for run in runs}),
    }
    sql, split = split_long_values(_OWN_ROWS, values)
    rows = client.query_arrow(sql, split, settings=dict(_READ_SETTINGS), use_strings=True)
    rows = rows.select(_OWN_SCHEMA.names).cast(_OWN_SCHEMA)
    return rows, [*zip(*(rows.column(name).to_pylist() for name in _KEY_COLUMNS), strict=True)]


def take_near(
    rows: Iterable[pa.Table], near: tuple[int, int]
) -> tuple[list[pa.Table], list[pa.Table]]:
    """Divide rows into those of the same time as the runs of an insert, and all others."""
    taken: list[pa.Table] = []
    left: list[pa.Table] = []
    for table in rows:
        starts = pc.min_max(table.column("start_ns")).as_py()
        is_near = near[0] - _NEAR_START_NS < starts["min"] and (
            starts["max"] < near[1] + _NEAR_START_NS
        )
        (taken if is_near else left).append(table)
    return taken, left


def divide_by_start(rows: Sequence[pa.Table]) -> Iterator[list[pa.Table]]:
    """Sort rows by start, and divide them into inserts that touch few months each."""
    whole = [table for table in rows if table.num_rows]
    if not whole:
        return
    table = pa.concat_tables(whole).sort_by("start_ns")
    starts = table.column("start_ns").to_pylist()
    first = 0
    for _, group in groupby(starts, key=lambda start_ns: start_ns // _INSERT_SPAN_NS):
        size = sum(1 for _ in group)
        yield [
            table.slice(at, min(ROWS_AT_ONCE, first + size - at))
            for at in range(first, first + size, ROWS_AT_ONCE)
        ]
        first += size
