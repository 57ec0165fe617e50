"""Writes batches of records. When `write` returns, they are on disk and can be queried."""

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from datetime import UTC, datetime
from itertools import chain
from typing import Any, Final, TypeVar

import pyarrow as pa
from clickhouse_connect.driver.exceptions import ClickHouseError

from otel_ml_collector.errors import Rejected, Unavailable
from otel_ml_collector.fold.traces import resolve_together
from otel_ml_collector.records import Arrivals, ModelVersion, ProcessSign, Records, Run
from otel_ml_collector.resolution import NO_LATE_VALUES, NOTHING, ResolvedRun
from otel_ml_collector.store import tables
from otel_ml_collector.store.connection import (
    EVERY_NAME,
    SINGLE_THREAD,
    Connections,
    name_of,
    store_trouble,
)
from otel_ml_collector.store.counted import DELIVERIES
from otel_ml_collector.store.late_values import (
    RecordsOfRun,
    add_late_values,
    find_late_projects,
    find_mains,
    find_newest,
    group_late,
    has_late_values,
    name_records,
    note_keyed,
    note_labels,
)
from otel_ml_collector.store.mutations import Mutator
from otel_ml_collector.store.record_kinds import note_record_kinds
from otel_ml_collector.store.resolutions import mark_delayed, write_held_rows, write_resolutions
from otel_ml_collector.store.rollup import Marks
from otel_ml_collector.store.rows import (
    RunKey,
    RunName,
    divide_by_start,
    find_stored,
    fold_rows,
    key_of_row,
    name_of_row,
    take_near,
)
from otel_ml_collector.store.sql import Sql, StoreClient
from otel_ml_collector.store.tombstones import Left, Tombstones
from otel_ml_collector.times import DAY_NS, MINUTE_NS, SECOND_NS

# ClickHouse error codes for rows that it will never accept.
_DATA_CODES: Final = frozenset(
    {
        6,  # CANNOT_PARSE_TEXT
        33,  # CANNOT_READ_ALL_DATA
        53,  # TYPE_MISMATCH
        70,  # CANNOT_CONVERT_TYPE
        117,  # INCORRECT_DATA
        131,  # TOO_LARGE_STRING_SIZE
        349,  # CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN
        469,  # VIOLATED_CONSTRAINT
        691,  # UNKNOWN_ELEMENT_OF_ENUM
    }
)
# Rows of an insert that are converted to columns at once: a whole batch would take 100 MB.
_PORTION_ROWS: Final = 1_024
_SEEN_EVERY_NS: Final = MINUTE_NS
_KNOWN_VERSIONS: Final = 10_000
_HEARD_EVERY_NS: Final = MINUTE_NS
_KNOWN_PROCESSES: Final = 10_000
_SWEEP_ROWS: Final = 2_000
# Maximum number of runs whose rows are looked up for late values before the batch is acknowledged.
# If there are more, a pass writes all of them.
_LATE_AT_ONCE: Final = 1_000
# Maximum number of months in an insert, which creates a part in each partition that it touches.
_MONTHS: Final = 50
_SHORTEST_MONTH_NS: Final = 28 * DAY_NS
# Seconds without progress until a sweep is given up: senders wait for the batch behind it.
_SWEEP_STUCK_S: Final = 0.5

# Start records of ended runs are not needed. With 1 M runs, 2,000 rows take 30 ms.
_SWEEP: Final = Sql("""
    DELETE FROM open_runs WHERE (project, trace_id, span_id) IN (
      SELECT project, trace_id, span_id FROM {deliveries}
      WHERE (project, start_ns) IN (SELECT project, start_ns FROM open_runs))""").fill(
    deliveries=DELIVERIES
)

_logger = logging.getLogger(__name__)

Row = TypeVar("Row")
_Key = tuple[str, str, str, str, str]
# Rows of one insert, from few partitions, and their times of arrival.
_Slice = tuple[Sequence[Any], Sequence[int]]


class Writer:
    """Writes batches of records to the store. Only one thread may use it.

    Tables are filled one after the other, so that rows are stored in the order of their times of
    arrival. Only payloads (inputs and outputs) are inserted at the same time as the other tables,
    by a separate thread with a separate client.

    Args:
        connections: The store.
        clock: Returns the current time, in nanoseconds since 1970. It is stored with the records as
            their time of arrival.
        tombstones: Keeps deleted records from being stored again. Pass the object that the code
            that deletes records uses, too. If None, the writer makes one of its own.
        collector: Name of this collector, unique among the collectors that write to this store.
    """

    def __init__(
        self,
        connections: Connections,
        clock: Callable[[], int] = time.time_ns,
        tombstones: Tombstones | None = None,
        collector: str = "",
    ) -> None:
        self._tombstones = tombstones or Tombstones(connections)
        self._generation = 0
        self._memory = connections.memory
        self._client = connections.open(confirms=False)
        self._mutator = Mutator(self._client, connections.folder, _SWEEP_STUCK_S)
        self._payload_client = connections.open(confirms=False)
        self._payload_thread = ThreadPoolExecutor(1, thread_name_prefix="otel-ml-payloads")
        self._clock = clock
        self._collector = collector
        self._last_ns: int | None = None
        self._known: dict[_Key, tuple[int, int]] = {}  # last seen, hash of the definition
        self._heard: dict[tuple[str, str], int] = {}
        self._marks = Marks(self._client, self._memory, clock)
        self._unswept = _SWEEP_ROWS  # sweeps the rows of an earlier collector first

    @property
    def stamped_ns(self) -> int | None:
        """The newest time of arrival that was assigned; None before the first."""
        return self._last_ns

    def write(self, records: Records) -> Left:
        """Store a batch of records, in an order in which readers see only complete runs.

        A run is inserted after its payload, scores and other records. A data set version is
        inserted after its items and the list of them. So no reader sees a run or version without
        its records, even if the collector is killed between two inserts. You can write the same
        records again without changing the result of any query. Deleted records stay deleted.

        Returns:
            The runs that were not stored because they were deleted, with the reason.

        Raises:
            Rejected: The engine will never accept these rows. Some of them may be stored.
            Unavailable: The store does not answer. Some of the rows may be stored. To complete the
                batch, send all of them again.
        """
        left: Left = {}
        try:
            with self._tombstones.hold():
                self._insert_all(self._leave(records, left))
        except (pa.ArrowException, UnicodeError, OverflowError) as error:
            self._memory.calls.doubt(self._last_ns or 0)
            raise Rejected(f"A value does not fit its column: {type(error).__name__}") from error
        except (ClickHouseError, OSError) as error:  # inserts use a temporary file
            self._memory.calls.doubt(self._last_ns or 0)
            if getattr(error, "code", None) in _DATA_CODES:
                raise Rejected(f"The store refuses these rows: {name_of(error)}") from error
            raise Unavailable(f"The store has trouble: {name_of(error)}") from error
        if records.open_runs:
            self._sweep(len(records.open_runs))
        return left

    def _insert_all(self, records: Records) -> None:
        late = group_late(records)
        note_labels(self._memory, late.values())
        owners = note_keyed(self._memory, records)
        first = self._memory.updates.note_late(late)
        try:
            self._insert_noted(records, late, first)
        except BaseException:
            self._memory.updates.put_late(late)  # some may be stored
            raise
        finally:
            self._memory.updates.put_owners(owners)

    def _insert_noted(
        self,
        records: Records,
        late: Mapping[RunName, RecordsOfRun],
        first: Collection[RunName],
    ) -> None:
        """Insert records whose scores and late tags are noted.

        Args:
            records: The records.
            late: The scores and late tags among them, by run.
            first: The runs that had no such record before, if those are known.
        """
        note_record_kinds(self._memory, records)
        self._marks.mark(records)
        payloads = self._begin_payloads(records.runs)
        try:
            for table in tables.RECORD_TABLES:
                if table.source:
                    self._insert(table, getattr(records, table.source))
            own = [key for key in records.trace_keys if key.is_own]
            self._insert(tables.TRACE_KEYS, own)
            self._insert_versions(records.versions)
            self._insert_signs(records.signs)
            self._insert_arrivals(records.arrivals)
        finally:
            wait(payloads)
        for payload in payloads:
            payload.result()
        resolved = resolve_together(records.runs, records.open_runs)
        write_resolutions(self._client, self._memory, resolved.runs, mark=False)
        folded = self._memory.calls.find_resolved(records.runs)
        for run in resolved.runs:
            if (known := folded.get(key_of_row(run))) is None or known.rank <= run.rank:
                folded[key_of_row(run)] = run
        lacking = self._add_late(records, folded, late, first)
        more, waiting = self._rewrite_late(lacking, late, first)
        again: list[ResolvedRun] = []
        try:
            groups = self._insert_runs(records.runs, folded, again, more)
            self._client.confirm()
        except BaseException as error:
            self._memory.updates.put(again)
            if isinstance(error, Unavailable):
                self._doubt()
            raise
        # First the rows: a pass that finds these runs by their trace writes their rows again.
        self._memory.updates.add(
            [(rows if self._is_followed(runs) else None, runs) for rows, runs in groups],
            self._tombstones.generation,
            folded,
        )
        self._memory.calls.add(records.runs, records.open_runs, resolved, folded)
        self._memory.updates.put_late(waiting)
        if self._memory.is_alone and 0 < len(waiting) <= _LATE_AT_ONCE:
            write_held_rows(self._client, self._memory, self._tombstones, scored=waiting)

    def _add_late(
        self,
        records: Records,
        folded: dict[RunKey, ResolvedRun],
        late: Mapping[RunName, RecordsOfRun],
        first: Collection[RunName],
    ) -> set[RunName]:
        """Add the late values that are stored already, in this batch or before it.

        Returns:
            The runs with late values in this batch whose rows may lack them.
        """
        updates = self._memory.updates
        projects = find_late_projects(
            self._client, self._memory, {run.project for run in records.runs}
        )
        named: list[ResolvedRun] = []
        asked: list[ResolvedRun] = []
        for run in records.runs:
            key, name = key_of_row(run), name_of_row(run)
            known = folded.get(key)
            is_keyed = known is not None and bool(known.resolution.owners)
            if run.project not in projects and not is_keyed:
                continue
            names = [name] if known is None else name_records(known)
            is_followed = self._memory.is_alone and updates.is_followed(run.start_ns)
            if is_followed and not is_keyed and not any(map(updates.has_late, names)):
                continue
            resolved = known or _resolve_nothing(run)
            if not late.keys().isdisjoint(names):
                named.append(resolved)
            if is_followed and not is_keyed and name in first and len(names) == 1:
                folded[key] = replace(resolved, late=find_newest(name, late[name]))
            else:
                asked.append(resolved)
        for scored in add_late_values(self._client, self._memory, asked):
            if scored.late is not NO_LATE_VALUES:
                folded[key_of_row(scored)] = scored
        # A row that is stored already can have a higher rank than the new one.
        starts = {name_of_row(run): run.start_ns for run in named}
        new = self._find_new(starts)
        others = [run for run in named if name_of_row(run) not in new]
        stored = find_stored(self._client, others) if others else set()
        return (late.keys() | find_mains(named)) - starts.keys() | stored

    def _find_new(self, runs: Mapping[RunName, int]) -> set[RunName]:
        """Return those of some runs, with their starts, that are certainly not stored."""
        if not self._memory.is_alone:
            return set()
        return self._memory.updates.find_new(self._tombstones.generation, runs.items())

    def _rewrite_late(
        self,
        lacking: Collection[RunName],
        late: Mapping[RunName, RecordsOfRun],
        first: Collection[RunName],
    ) -> tuple[list[pa.Table], Collection[RunName]]:
        """Make new rows of stored runs that got late values, if their rows are in memory.

        Returns:
            The rows, and the runs that must be looked up in the store.
        """
        if not lacking or not self._memory.is_alone:
            return [], lacking
        taken, left = self._memory.updates.take_named(
            self._tombstones.generation, time.time_ns(), lacking
        )
        left |= find_mains(taken.stamped) - {*lacking}
        left -= self._find_new({name: late[name].start_ns for name in left & late.keys()})
        known: list[ResolvedRun] = []
        others: list[ResolvedRun] = []
        for run in taken.stamped:
            has_one_name = not (run.resolution.owners or run.share.others)
            is_known = has_one_name and name_of_row(run) in first
            (known if is_known else others).append(run)
        scored = [
            replace(run, late=find_newest(name_of_row(run), late[name_of_row(run)]))
            for run in known
        ]
        return taken.fold(scored + add_late_values(self._client, self._memory, others)), left

    def _is_followed(self, runs: Sequence[Run]) -> bool:
        """Return whether rows of any of their projects may have to be written again."""
        return any(
            self._memory.calls.is_followed(project) or has_late_values(self._memory, project)
            for project in {run.project for run in runs}
        )

    def _insert_runs(
        self,
        runs: Sequence[Run],
        folded: Mapping[RunKey, ResolvedRun],
        again: list[ResolvedRun],
        scored: Sequence[pa.Table],
    ) -> list[tuple[pa.Table, Sequence[Run]]]:
        """Insert runs, together with the rows of other runs that must be written again.

        Args:
            runs: The runs.
            folded: What other runs change about them.
            again: Receives the other runs.
            scored: Rows of other runs that got late values.

        Returns:
            The rows without what other runs change, with their runs.
        """
        kept: list[tuple[pa.Table, Sequence[Run]]] = []
        for rows, stamps in self._slices(tables.RUNS, runs):
            starts = [run.start_ns for run in rows]
            near = min(starts), max(starts)
            more, scored = take_near(scored, near)
            if self._memory.is_alone and self._memory.updates.has_pending:
                others = self._memory.updates.take_recent(
                    self._tombstones.generation, time.time_ns(), near
                )
                again += others.runs
                mark_delayed(self._client, self._memory, others.runs, time.time_ns())
                more += others.fold(add_late_values(self._client, self._memory, others.stamped))
            portions = self._make_rows(rows, stamps, folded if folded or more else None, kept)
            self._client.insert_portions(
                tables.RUNS.name, chain(portions, more), settings=dict(SINGLE_THREAD)
            )
        for rest in divide_by_start(scored):
            self._client.insert_portions(tables.RUNS.name, iter(rest), settings=dict(SINGLE_THREAD))
        return kept

    def _make_rows(
        self,
        runs: Sequence[Run],
        stamps: Sequence[int],
        folded: Mapping[RunKey, ResolvedRun] | None,
        kept: list[tuple[pa.Table, Sequence[Run]]],
    ) -> Iterator[pa.Table]:
        """Make the rows of an insert, in portions; without `folded`, the engine adds defaults."""
        for first in range(0, len(runs), _PORTION_ROWS):
            part = runs[first : first + _PORTION_ROWS]
            rows = tables.RUNS.to_arrow(
                part, stamps[first : first + _PORTION_ROWS], self._collector
            )
            kept.append((rows, part))
            if folded is None:
                yield rows
                continue
            places = {
                place: resolved
                for place, run in enumerate(part)
                if (resolved := folded.get(key_of_row(run))) is not None
            }
            yield fold_rows(rows, places)

    def _doubt(self) -> None:
        """Forget which records are stored. If they arrive again, they are stored again."""
        self._known.clear()
        self._heard.clear()
        self._memory.updates.forget()
        self._memory.calls.doubt(self._last_ns or 0)
        self._marks = Marks(self._client, self._memory, self._clock)

    def _leave(self, records: Records, left: Left) -> Records:
        """Leave deleted records out, and forget the versions stored before the deletion."""
        records = self._tombstones.leave(records, left, self._clock())
        if self._tombstones.generation != self._generation:
            self._generation = self._tombstones.generation
            self._known.clear()
        return records

    def _begin_payloads(self, runs: Sequence[Run]) -> "list[Future[None]]":
        return [
            self._payload_thread.submit(
                _insert, self._payload_client, tables.PAYLOADS, self._collector, *part
            )
            for part in self._slices(tables.PAYLOADS, runs)
        ]

    def _insert(self, table: tables.Table[Any], rows: Sequence[Any]) -> None:
        for part in self._slices(table, rows):
            _insert(self._client, table, self._collector, *part)

    def _slices(self, table: tables.Table[Any], rows: Sequence[Any]) -> list[_Slice]:
        if not rows:
            return []
        slices = slice_by_month(rows, table.month_of) if table.month_of else [rows]
        return [(part, self._stamps(len(part)) if table.stamp else ()) for part in slices]

    def _insert_versions(self, versions: Sequence[ModelVersion]) -> None:
        """Insert versions that are new, newly defined, or were not seen for a while.

        Versions that arrive together get their times in the order of their first run.
        """
        rows = {
            key: version for key, version in _merge(versions).items() if self._is_news(key, version)
        }
        ordered = sorted(rows.items(), key=lambda row: (row[1].first_seen_ns, row[0]))
        self._insert(tables.MODEL_VERSIONS, [version for _, version in ordered])
        self._forget_numbers(rows)
        if len(self._known) > _KNOWN_VERSIONS:
            self._known.clear()
        for key, version in rows.items():
            self._known[key] = (version.last_seen_ns, hash(version.definition))

    def _forget_numbers(self, stored: Iterable[_Key]) -> None:
        """Forget the numbers of a name that gets a version without a known number."""
        named: defaultdict[tuple[str, str, str], set[tuple[str, ...]]] = defaultdict(set)
        for project, kind, name, *version in stored:
            named[project, kind, name].add((*version,))
            named[project, kind, EVERY_NAME].add((name, *version))
        if named:
            self._memory.forget_numbers(
                lambda name, numbers: name in named and not named[name] <= numbers.keys()
            )

    def _is_news(self, key: _Key, version: ModelVersion) -> bool:
        if key not in self._known:
            return True
        seen_ns, definition_hash = self._known[key]
        is_defined_anew = bool(version.definition) and hash(version.definition) != definition_hash
        return is_defined_anew or version.last_seen_ns - seen_ns > _SEEN_EVERY_NS

    def _insert_signs(self, signs: Sequence[ProcessSign]) -> None:
        """Insert the counts of processes, and once a minute their signs of life."""
        merged: dict[tuple[str, str], ProcessSign] = {}
        for sign in signs:
            key = (sign.project, sign.process)
            merged[key] = merged[key].join(sign) if key in merged else sign
        now_ns = self._clock()
        rows = {
            key: sign
            for key, sign in merged.items()
            if sign.heartbeat_ns
            or sign.goodbye_ns
            or now_ns - self._heard.get(key, 0) >= _HEARD_EVERY_NS
        }
        self._insert(tables.PROCESSES, list(rows.values()))
        if len(self._heard) > _KNOWN_PROCESSES:
            self._heard.clear()
        self._heard.update(dict.fromkeys(rows, now_ns))

    def _insert_arrivals(self, arrivals: Sequence[Arrivals]) -> None:
        """Insert the received span numbers, a row for each process and hour."""
        merged: dict[tuple[str, str, int], Arrivals] = {}
        for arrival in arrivals:
            key = (arrival.project, arrival.process, arrival.hour)
            merged[key] = merged[key].join(arrival) if key in merged else arrival
        self._insert(tables.ARRIVALS, list(merged.values()))

    def _sweep(self, started: int) -> None:
        """Delete the start records of ended runs, once in 2,000. Lists do not need this."""
        self._unswept += started
        if self._unswept < _SWEEP_ROWS:
            return
        self._unswept = 0
        try:
            with store_trouble():
                self._mutator.run("open_runs", _SWEEP)
        except Unavailable as error:
            _logger.warning("Start records of ended runs were not deleted: %s", error)

    def _stamps(self, count: int) -> Sequence[int]:
        """Return times of arrival that never repeat or decrease, not even after a restart."""
        if self._last_ns is None:
            rows = self._client.query(tables.LAST_ARRIVAL).result_rows
            self._last_ns = int(rows[0][0])
        first = max(self._last_ns + 1, self._clock())
        self._last_ns = first + count - 1
        return range(first, first + count)


def _resolve_nothing(run: Run) -> ResolvedRun:
    return ResolvedRun(run.project, run.trace_id, run.span_id, run.start_ns, NOTHING)


def _insert(
    client: StoreClient,
    table: tables.Table[Any],
    collector: str,
    rows: Sequence[Any],
    stamps: Sequence[int],
) -> None:
    portions = (
        table.to_arrow(
            rows[first : first + _PORTION_ROWS], stamps[first : first + _PORTION_ROWS], collector
        )
        for first in range(0, len(rows), _PORTION_ROWS)
    )
    client.insert_portions(table.name, portions, settings=dict(SINGLE_THREAD))


def _merge(versions: Sequence[ModelVersion]) -> dict[_Key, ModelVersion]:
    """Combine the runs that name a version into one row: its first run and its definition."""
    merged: dict[_Key, ModelVersion] = {}
    for version in versions:
        key = (version.project, version.kind, version.name, version.digest, version.structure)
        known = merged.get(key)
        if known is None:
            merged[key] = version
        else:
            merged[key] = replace(
                known,
                first_seen_ns=min(known.first_seen_ns, version.first_seen_ns),
                last_seen_ns=max(known.last_seen_ns, version.last_seen_ns),
                definition=max(known.definition, version.definition),
            )
    return merged


def slice_by_month(
    rows: Sequence[Row], time_of: Callable[[Row], int], months: int = _MONTHS
) -> Iterator[Sequence[Row]]:
    """Divide rows into slices. The rows of a slice are from at most 50 different months.

    Args:
        rows: The rows, in any order. Without rows, no slice is yielded.
        time_of: Returns the time of a row, in nanoseconds since 1970.
        months: Maximum number of different months in a slice.
    """
    times = [time_of(row) for row in rows]
    if not times:
        return
    if (max(times) - min(times)) // _SHORTEST_MONTH_NS + 2 <= months:
        yield rows
        return
    entries: dict[tuple[int, int], list[Row]] = {}
    for row, time_ns in zip(rows, times, strict=True):
        day = datetime.fromtimestamp(time_ns // SECOND_NS, UTC)
        entries.setdefault((day.year, day.month), []).append(row)
    keys = sorted(entries)
    for first in range(0, len(keys), months):
        yield [row for key in keys[first : first + months] for row in entries[key]]


class Probe:
    """Writes a single row that replaces earlier ones, as durably as all other records.

    Only one thread may call it at a time.
    """

    def __init__(self, connections: Connections) -> None:
        self._client = connections.open()

    def __call__(self) -> None:
        """Write the row.

        Raises:
            Unavailable: The store cannot write it.
        """
        with store_trouble():
            self._client.insert("store_meta", [["probe", time.time_ns()]])
