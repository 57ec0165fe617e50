"""Retention: how long records are kept, and how expired ones are removed from the disk.

Records are kept for a number of days after their arrival, set by project; payloads at most as long
as runs. Expired rows leave the disk with the mutation that deletes them. The limit moves once a day
(UTC), so the parts of a table are rewritten at most once a day. Rows that somebody deleted leave
the disk when a purge rewrites their parts. If the clock has moved too far since the last pass,
nothing is deleted until there is evidence that the clock is right.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from otel_ml_collector.background import BackgroundJob
from otel_ml_collector.clock import ClockTracker
from otel_ml_collector.store.activity import (
    DELETE_OLD_ACTIVITY,
    HAS_OLD_ACTIVITY,
    KEPT_ACTIVITY_NS,
    begin_change,
    compare_fields,
    confirm_change,
)
from otel_ml_collector.store.annotations import IS_OF_KEY_OR_TAG
from otel_ml_collector.store.connection import Connections, store_trouble
from otel_ml_collector.store.counted import DELIVERIES
from otel_ml_collector.store.lives import Follows, Life
from otel_ml_collector.store.mutations import NOT_REMOVED, Mutator
from otel_ml_collector.store.passes import ClockMove, Passes
from otel_ml_collector.store.rollup import mark_days
from otel_ml_collector.store.rows import MOST_OWNERS
from otel_ml_collector.store.schema import LIVES, TABLE_NAMES
from otel_ml_collector.store.sql import Sql, StoreClient, identifier, join_sql
from otel_ml_collector.store.stale_projects import note_stale
from otel_ml_collector.times import AHEAD_NS, DAY_NS, HOUR_NS

_logger = logging.getLogger(__name__)

_SETTINGS: Final = {"max_execution_time": 0}

# A table, and the condition on its expired rows.
_Place = tuple[Sql, Sql]
_IN_PROJECTS: Final = Sql("project IN {projects:Array(String)}")
_OLD: Final = Sql("project IN {projects:Array(String)} AND arrived_ns < {before:Int64}")
# Records about versions of models and data sets are kept as long as the version, which is forever.
_OLD_OWNED: Final = _OLD + Sql(
    " AND NOT startsWith(owner, 'model:') AND NOT startsWith(owner, 'set:')"
)
# Rows without a time of arrival are deleted after the run that they belong to.
_RUNS_LEFT: Final = Sql(
    "FROM {deliveries} WHERE {ours} AND start_ns < {before:Int64} + {ahead_ns}"
).fill(deliveries=DELIVERIES, ours=_IN_PROJECTS, ahead_ns=AHEAD_NS)
_OLD_CALLS: Final = Sql("""{ours} AND start_ns < {before:Int64}
  AND (project, start_ns, trace_id, span_id) NOT IN (
    SELECT project, start_ns, trace_id, span_id {left})""").fill(ours=_IN_PROJECTS, left=_RUNS_LEFT)
# The same for rows that have a time of their own.
_OLD_WORDS: Final = _OLD_CALLS + Sql(" AND {time} < {before:Int64}")
_OLD_TRACES: Final = Sql("""{ours} AND end_ns < {before:Int64}
  AND (project, trace_id) NOT IN (SELECT project, trace_id {left})""").fill(
    ours=_IN_PROJECTS, left=_RUNS_LEFT
)
_OLD_KEYS: Final = Sql("""{ours}
  AND (project, trace_id) NOT IN (SELECT project, trace_id FROM trace_index WHERE {ours})""").fill(
    ours=_IN_PROJECTS
)
_OLD_PROCESSES: Final = Sql("""{ours} AND (project, process) NOT IN (
    SELECT project, process FROM processes WHERE {ours} AND NOT ({old}))""").fill(
    ours=_IN_PROJECTS, old=_OLD
)
_OLD_ARRIVALS: Final = Sql("""{ours} AND hour < intDiv({before:Int64}, {hour_ns})
  AND (project, process) NOT IN (SELECT project, process FROM processes WHERE {ours})""").fill(
    ours=_IN_PROJECTS, hour_ns=HOUR_NS
)


def _find_old(life: Life) -> Sql | None:
    """Write the condition on expired rows of a table; None if they follow their project."""
    match life.follows:
        case Follows.RUN if life.stamp:
            return _OLD
        case Follows.NOTHING:
            return _OLD
        case Follows.RUN if life.time:
            return _OLD_WORDS.fill(time=identifier(life.time, [life.time]))
        case Follows.RUN:
            return _OLD_CALLS
        case Follows.OWNER:
            return _OLD_OWNED
        case Follows.KEY:
            return _OLD_KEYS if life.stamp else _OLD_TRACES
        case Follows.PROCESS:
            return _OLD_PROCESSES if life.stamp else _OLD_ARRIVALS
    return None


def _find_places(*, payloads: bool) -> Sequence[_Place]:
    return [
        (life.table, old)
        for life in LIVES
        if life.is_payload is payloads and (old := _find_old(life)) is not None
    ]


_PAYLOAD_PLACES: Final = _find_places(payloads=True)
# Delete runs first: rows that follow a run expire when the run is gone.
_RECORDS: Final = sorted(_find_places(payloads=False), key=lambda place: "runs" not in place[0])
# Tables whose rows expire by their own time of arrival.
COUNTED: Final = [life for life in LIVES if _find_old(life) in (_OLD, _OLD_OWNED)]
# Keys and tags whose records expire.
_OWNERS: Final = Sql("""SELECT DISTINCT toString(project), owner FROM {table}
    WHERE {condition} AND {keyed} LIMIT {most:UInt32} BY project""")
_PROJECT_NAMES: Final = Sql("SELECT DISTINCT project FROM ({all})").fill(
    all=join_sql(
        " UNION ALL ",
        [Sql("SELECT DISTINCT project FROM {table}").fill(table=life.table) for life in COUNTED],
    )
)
_SET: Final = Sql("""
    SELECT project, argMax(tuple(record_days), set_ns).1, argMax(tuple(payload_days), set_ns).1
    FROM retention GROUP BY project""")

PARTS: Final = Sql("""
    SELECT table, toUInt64(sumIf(rows, active)) AS rows,
      toUInt64(sumIf(bytes_on_disk, active)) AS bytes,
      toUInt64(sumIf(bytes_on_disk, active AND has_lightweight_delete)) AS waiting,
      toUInt64(sumIf(bytes_on_disk, NOT active)) AS replaced
    FROM system.parts WHERE database = currentDatabase() GROUP BY table ORDER BY table""")


@dataclass(frozen=True, slots=True)
class Days:
    """How many days something is kept; 0 for forever.

    Attributes:
        records: Runs, scores, metrics, tags.
        payloads: Inputs, outputs, log lines, logged data; never longer than records.
    """

    records: int = 0
    payloads: int = 0

    @property
    def of_payloads(self) -> int:
        """Days after which payloads are deleted, with their records at the latest; 0 for never."""
        return min((days for days in (self.records, self.payloads) if days), default=0)


@dataclass(frozen=True, slots=True)
class Wish:
    """The retention of one project; None where the configured value applies."""

    records: int | None = None
    payloads: int | None = None

    def over(self, configured: Days) -> Days:
        """Return the days that apply, with the configured ones for those that are not set."""
        return Days(
            configured.records if self.records is None else self.records,
            configured.payloads if self.payloads is None else self.payloads,
        )


@dataclass(slots=True)
class Swept:
    """The result of a retention pass.

    Attributes:
        time_ns: When the pass started.
        rows: Number of deleted rows, by table.
        error: Why it did not finish; empty if it did.
    """

    time_ns: int
    rows: dict[str, int] = field(default_factory=dict)
    error: str = ""


def _write_days(wish: Wish) -> dict[str, int | None]:
    return {"record_days": wish.records, "payload_days": wish.payloads}


class Retention:
    """Deletes expired records. Any thread may call it.

    Args:
        connections: The store.
        configured: For how many days to keep the records of projects without their own setting.
        clock: Returns the time in nanoseconds since 1970.
        clocks: Compares this machine's clock with the times of arriving spans. If the clock may be
            wrong, nothing is deleted.
    """

    def __init__(
        self,
        connections: Connections,
        configured: Days | None = None,
        clock: Callable[[], int] = time.time_ns,
        clocks: ClockTracker | None = None,
    ) -> None:
        self._client = connections.open()
        self._memory = connections.memory
        self._mutator = Mutator(self._client, connections.folder)
        self._configured = configured or Days()
        self._clock = clock
        self._lock = threading.Lock()
        self._passes = Passes(self._client, clocks or ClockTracker(), clock)
        self._has_limits = False
        self.last: Swept | None = None

    @property
    def warning(self) -> str:
        """Why nothing is deleted, with both times; empty if retention does not wait.

        It is also empty if no project has a limit.
        """
        return str(self._passes.move or "") if self._has_limits else ""

    @property
    def waits(self) -> bool:
        """Whether the last pass deleted nothing because the clock had moved too far."""
        return self._passes.move is not None

    @property
    def trusts_clock(self) -> bool:
        """Whether the clock can be trusted to delete expired records now."""
        return self._passes.is_close

    def can_go_on(self) -> bool:
        """Return whether retention was waiting and the next pass will delete.

        Raises:
            Unavailable: The store does not answer.
        """
        with self._lock, store_trouble():
            passes = self._passes
            return passes.is_confirmed or (self.waits and passes.is_right(self._clock()))

    def confirm(self) -> ClockMove:
        """Accept the clock as right. The next pass deletes again, in all collectors of the store.

        Raises:
            Unavailable: The store does not answer.
        """
        with self._lock, store_trouble():
            return self._passes.confirm(self._clock())

    def read(self) -> dict[str, Wish]:
        """Read the settings of projects.

        Raises:
            Unavailable: The store does not answer.
        """
        with self._lock, store_trouble():
            return self._read()

    def days_of(self, project: str, wishes: dict[str, Wish] | None = None) -> Days:
        """Return the days that apply to a project."""
        rules = self.read() if wishes is None else wishes
        return rules.get(project, Wish()).over(self._configured)

    def set(self, project: str, wish: Wish) -> None:
        """Set how long a project is kept. The next pass applies it.

        Raises:
            Unavailable: The store does not answer.
        """
        row: dict[str, Any] = {
            "project": project,
            "record_days": wish.records,
            "payload_days": wish.payloads,
            "set_ns": self._clock(),
        }
        with self._lock, store_trouble():
            before = self._read().get(project, Wish())
            changes = compare_fields(_write_days(before), _write_days(wish))
            time_ns = row["set_ns"]
            if not changes:
                self._client.insert("retention", [list(row.values())], column_names=list(row))
                return
            entry = begin_change(
                self._client,
                project,
                "retention",
                "changed",
                project,
                identity=str(time_ns),
                time_ns=time_ns,
                changes=changes,
            )
            self._client.insert("retention", [list(row.values())], column_names=list(row))
            confirm_change(self._client, entry)

    def list_jobs(self) -> Sequence[BackgroundJob]:
        """List the jobs that delete expired records, at once if the clock turns out to be right."""
        return [
            BackgroundJob(self._delete_old, 3_600.0, NOT_REMOVED),
            BackgroundJob(self._go_on, 5.0, NOT_REMOVED, first_s=5.0),
        ]

    def _delete_old(self) -> None:
        swept = self.sweep()
        if swept.error:
            _logger.warning("%s", swept.error)
        if swept.rows:
            rows = ", ".join(f"{table} {number}" for table, number in swept.rows.items())
            _logger.info("Retention deleted rows: %s", rows)

    def _go_on(self) -> None:
        """Delete old records again as soon as there is evidence that the clock is right."""
        if self.can_go_on():
            _logger.info("Retention deletes old data again: the clock is right")
            self._delete_old()

    def sweep(self) -> Swept:
        """Delete expired records. A second call on the same day has nothing to do.

        If the clock has moved too far since the last pass, nothing is deleted.

        Raises:
            Unavailable: The store does not answer. Rows that were deleted so far stay deleted.
        """
        with self._lock:
            self.last = swept = Swept(self._clock())
            swept.error = "it is running"
            with store_trouble():
                wishes = self._read()
                limits = [self._configured, *(w.over(self._configured) for w in wishes.values())]
                self._has_limits = any(days != Days() for days in limits)
                if self._passes.admit(swept.time_ns):
                    self._sweep(swept, wishes)
            swept.error = self.warning
        return swept

    def _read(self) -> dict[str, Wish]:
        return {row[0]: Wish(row[1], row[2]) for row in self._client.query(_SET).result_rows}

    def _sweep(self, swept: Swept, wishes: dict[str, Wish]) -> None:
        before = {"before": swept.time_ns // DAY_NS * DAY_NS - KEPT_ACTIVITY_NS}
        if int(self._ask(HAS_OLD_ACTIVITY, before)[0][0]):
            self._mutator.run("activity", DELETE_OLD_ACTIVITY, before, _SETTINGS)
        groups: dict[Days, list[str]] = {}
        for (project,) in self._client.query(_PROJECT_NAMES, settings=dict(_SETTINGS)).result_rows:
            days = wishes.get(project, Wish()).over(self._configured)
            groups.setdefault(days, []).append(project)
        for days, projects in groups.items():
            if days.of_payloads:
                self._delete(_PAYLOAD_PLACES, projects, days.of_payloads, swept)
            if days.records:
                self._delete(_RECORDS, projects, days.records, swept)

    def _delete(
        self,
        places: Sequence[_Place],
        projects: Sequence[str],
        days: int,
        swept: Swept,
    ) -> None:
        today_ns = swept.time_ns // DAY_NS * DAY_NS
        values = {"projects": projects, "before": max(today_ns - days * DAY_NS, 0)}
        for table, condition in places:
            count = Sql("SELECT count() FROM {table} WHERE {condition}").fill(
                table=table, condition=condition
            )
            number = int(self._ask(count, values)[0][0])
            if not number:
                continue
            if table in ("runs", "payloads"):  # totals and sketches depend on them
                self._mark(table, condition, values)
            sql = Sql("ALTER TABLE {table} DELETE WHERE {condition}").fill(
                table=table, condition=condition
            )
            owners = []
            if table in ("metrics", "late_tags"):
                keyed = _OWNERS.fill(table=table, condition=condition, keyed=IS_OF_KEY_OR_TAG)
                most = {"most": MOST_OWNERS + 1}
                owners = [(project, owner) for project, owner in self._ask(keyed, values | most)]
            stale = {project for project, _ in owners}
            note_stale(self._client, self._memory, stale)
            self._mutator.run(table, sql, values, _SETTINGS)
            self._memory.updates.put_owners(owners)
            self._memory.updates.note_deleted(stale)
            swept.rows[table] = swept.rows.get(table, 0) + number

    def _mark(self, table: Sql, condition: Sql, values: dict[str, Any]) -> None:
        """Mark the days whose totals a deletion changes. Call it before the deletion."""
        sql = Sql("""
            SELECT DISTINCT project, intDiv(start_ns, {day_ns}) * {day_ns} AS day_ns
            FROM {table} WHERE {condition}""").fill(table=table, day_ns=DAY_NS, condition=condition)
        days = [(row[0], int(row[1])) for row in self._ask(sql, values)]
        mark_days(self._client, self._memory, days)

    def _ask(self, sql: Sql, values: dict[str, Any]) -> Sequence[Sequence[Any]]:
        return self._client.query(sql, values, settings=dict(_SETTINGS)).result_rows


_REPLACED: Final = Sql("""
    SELECT name, toUInt64(bytes_on_disk) FROM system.parts
    WHERE database = currentDatabase() AND NOT active AND table IN {tables:Array(String)}""")
_LOOK_EVERY_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Purge:
    """The result of a purge, which removes deleted rows from the disk.

    A purge writes new files without the deleted rows. The old files are removed some seconds later.

    Attributes:
        tables: The tables with new files.
        bytes_before: Size of the files in use before the purge, of all tables.
        bytes_after: Size of the files in use afterwards.
        replaced_bytes: Size of the old files that are still on disk.
        freed_ns: When the last old file was removed, in nanoseconds since 1970; None if some are
            still on disk.
    """

    tables: list[str]
    bytes_before: int
    bytes_after: int
    replaced_bytes: int
    freed_ns: int | None


class Purger:
    """Rewrites parts that contain deleted rows. Any thread may call it.

    Attributes:
        folder: The data directory; None for a ClickHouse server.
    """

    def __init__(self, connections: Connections) -> None:
        self.folder = connections.folder
        self._client = connections.open()
        self._mutator = Mutator(self._client, connections.folder)
        self._lock = threading.Lock()

    def list_jobs(self) -> Sequence[BackgroundJob]:
        """List the job that removes what is replaced, once a day."""
        return [BackgroundJob(self.purge, 86_400.0, NOT_REMOVED, first_s=86_400.0)]

    def purge(self, wait_s: float = 0) -> Purge:
        """Remove deleted rows from the disk. A second call finds nothing to do.

        The store writes new files without these rows. It removes the old files 8 to 40 s later, so
        both use disk space until then.

        Args:
            wait_s: How long to wait until the old files are removed, in seconds.

        Raises:
            Unavailable: The store does not answer. Tables that are already purged stay purged.
        """
        with self._lock, store_trouble():
            before = _parts(self._client)
            tables = [
                row["table"] for row in before if row["waiting"] and row["table"] in TABLE_NAMES
            ]
            for table in tables:
                sql = Sql("ALTER TABLE {table} APPLY DELETED MASK")
                self._mutator.run(table, sql.fill(table=identifier(table, TABLE_NAMES)))
            after = _parts(self._client)
            replaced = self._wait_until_free(tables, wait_s)
            freed_ns = None if replaced else time.time_ns()
        return Purge(tables, _bytes(before), _bytes(after), replaced, freed_ns)

    def _wait_until_free(self, tables: Sequence[str], wait_s: float) -> int:
        """Wait until files that were just replaced are removed; return the bytes that remain.

        Files that merges replace meanwhile do not count.
        """
        ends_s = time.monotonic() + wait_s
        left = self._replaced(tables)
        while left and time.monotonic() < ends_s:
            time.sleep(_LOOK_EVERY_S)
            left = {name: size for name, size in self._replaced(tables).items() if name in left}
        return sum(left.values())

    def _replaced(self, tables: Sequence[str]) -> dict[str, int]:
        rows = self._client.query(_REPLACED, {"tables": list(tables)}).result_rows
        return {str(name): int(size) for name, size in rows}


def _parts(client: StoreClient) -> list[dict[str, Any]]:
    return list(client.query(PARTS).named_results())


def _bytes(rows: Sequence[dict[str, Any]]) -> int:
    return sum(row["bytes"] for row in rows)
