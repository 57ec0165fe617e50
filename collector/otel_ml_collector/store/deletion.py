"""Deletes a run, session, user, model or project, so that it stays deleted.

What is asked is put on disk first; then, table after table, rows are masked, which every answer
sees at once, and the deletion is noted as done. A collector that is killed in between begins it
anew when it starts, before it answers anything. Why so: docs/design/016-deletion.md.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from clickhouse_connect.driver.client import Client

from otel_ml_collector.errors import BadQuery, NotFound, Unavailable
from otel_ml_collector.store.connection import Connections
from otel_ml_collector.store.gone import (
    FILL,
    FILL_KEYS,
    FORGET_VERSIONS,
    MEANT,
    TRACES_OF,
    conditions,
    runs_first,
)
from otel_ml_collector.store.mutations import Mutator
from otel_ml_collector.store.rollup import DAY_NS, mark_days
from otel_ml_collector.store.tombstones import DONE, REFRESH_S, Tombstones, note
from otel_ml_collector.store.trouble import store_trouble
from otel_ml_collector.store.verdict import KINDS, RUN, Deletion

_SETTINGS: Final = {
    "max_execution_time": 0,
    "max_memory_usage": 2_000_000_000,
    "allow_nondeterministic_mutations": 1,
}
_WAIT_S: Final = 60.0
# By then every other collector knows, and what it had in hand is stored.
_SETTLED_NS: Final = int(4 * REFRESH_S * 10**9)
_UNDONE: Final = """
    SELECT project, kind, target, deleted_ns FROM deletions
    GROUP BY project, kind, target, deleted_ns HAVING max(stage) < {done:UInt8}
    ORDER BY deleted_ns"""

_logger = logging.getLogger(__name__)


class Deleter:
    """Carries deletions out, one at a time; any thread may call it.

    Args:
        connections: The store.
        tombstones: Those of the writer.
        clock: Tells the time, in nanoseconds since the epoch.
    """

    def __init__(
        self,
        connections: Connections,
        tombstones: Tombstones,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._client = connections.open()
        self._is_alone = connections.folder is not None
        self._mutator = Mutator(self._client, connections.folder)
        self._tombstones = tombstones
        self._clock = clock
        self._lock = threading.Lock()

    def delete(self, project: str, kind: str, target: str) -> tuple[Deletion, int]:
        """Delete; when this returns, no answer tells of it any more.

        What was deleted already may be deleted again. Of a session, user, model or project, runs
        that start later are not meant.

        Returns:
            The deletion, and how many runs and spans it took away.

        Raises:
            BadQuery: There is nothing of that kind, or the id of a run is none.
            NotFound: There is no such thing.
            Unavailable: The store has trouble or no room, or deletes something else for a minute
                already. What was asked is deleted later nevertheless, once it is noted.
        """
        _check(kind, target)
        if not self._lock.acquire(timeout=_WAIT_S):
            raise Unavailable("The store is busy with another deletion")
        try:
            with store_trouble():
                if not self._is_there(Deletion(project, kind, target, 0)):
                    raise NotFound(f"There is no {kind} {(target or project)[:80]!r}")
                deletion = self._tombstones.add(project, kind, target, self._clock())
                self._carry_out(deletion)
                if self._is_alone:
                    note(self._client, deletion, DONE)
                return deletion, self._count(deletion)
        finally:
            self._lock.release()

    def complete(self) -> int:
        """Carry out what a killed collector left undone, and what others may not have known of.

        Returns:
            How many deletions that were.

        Raises:
            Unavailable: The store has trouble.
        """
        with self._lock, store_trouble():
            undone = [
                Deletion(*row) for row in self._client.query(_UNDONE, {"done": DONE}).result_rows
            ]
            for deletion in undone:
                self._carry_out(deletion)
                if self._is_alone or self._clock() - deletion.deleted_ns > _SETTLED_NS:
                    note(self._client, deletion, DONE)
                _logger.info("The deletion of a %s was completed", deletion.kind)
        return len(undone)

    def _is_there(self, wanted: Deletion) -> bool:
        """Tell whether something is stored, or was deleted before."""
        meant = f"project = {{project:String}} AND ({MEANT[wanted.kind]})"
        places = [("runs", meant), ("open_runs", meant)]
        places += [
            (table, f"project = {{project:String}} AND {condition}")
            for table, condition in TRACES_OF.get(wanted.kind, [])
        ]
        before = "project = {project:String} AND kind = {kind:String} AND target = {target:String}"
        places.append(("deletions", before))
        return any(_has_rows(self._client, table, where, wanted) for table, where in places)

    def _carry_out(self, deletion: Deletion) -> None:
        for fill in FILL:
            self._command(f"{fill} ({MEANT[deletion.kind]})", deletion)
        mark_days(self._client, [(deletion.project, day) for day in self._days(deletion)])
        self._mask(runs_first(deletion.kind), deletion)
        self._command(FILL_KEYS, deletion)
        self._mask(conditions(deletion.kind), deletion)
        if deletion.kind in FORGET_VERSIONS:
            self._mutate(
                "model_versions",
                "ALTER TABLE model_versions UPDATE definition = '', last_seen_ns = 0 "
                f"WHERE project = {{project:String}} AND {FORGET_VERSIONS[deletion.kind]} "
                "AND first_arrived_ns <= {deleted:Int64}",
                deletion,
            )

    def _mask(self, places: Sequence[tuple[str, str]], deletion: Deletion) -> None:
        for table, condition in places:
            where = f"project = {{project:String}} AND ({condition})"
            if _has_rows(self._client, table, where, deletion):
                # Chunks are large and seldom merged: those leave the disk at once.
                verb = "ALTER TABLE {} DELETE" if table == "artifact_chunks" else "DELETE FROM {}"
                self._mutate(table, f"{verb.format(table)} WHERE {where}", deletion)

    def _command(self, sql: str, deletion: Deletion) -> None:
        self._client.command(sql, _parameters(deletion), settings=dict(_SETTINGS))

    def _mutate(self, table: str, sql: str, deletion: Deletion) -> None:
        self._mutator.run(table, sql, _parameters(deletion), _SETTINGS)

    def _count(self, deletion: Deletion) -> int:
        sql = """
            SELECT uniqExact(trace_id, span_id) FROM deleted_runs
            WHERE project = {project:String} AND deleted_ns = {deleted:Int64}"""
        return int(self._client.query(sql, _parameters(deletion)).result_rows[0][0])

    def _days(self, deletion: Deletion) -> list[int]:
        sql = f"""
            SELECT DISTINCT intDiv(start_ns, {DAY_NS}) * {DAY_NS} AS day FROM deleted_runs
            WHERE project = {{project:String}} AND deleted_ns = {{deleted:Int64}} ORDER BY day"""  # noqa: S608 - fixed text; values are parameters
        return [int(row[0]) for row in self._client.query(sql, _parameters(deletion)).result_rows]


def _check(kind: str, target: str) -> None:
    if kind not in KINDS:
        raise BadQuery(f"Invalid kind {kind!r}: expected one of {', '.join(KINDS)}", "kind")
    if kind == RUN:
        trace, dash, span = target.partition("-")
        is_hex = all(char in "0123456789abcdef" for char in trace + span)
        if not (dash and is_hex and (len(trace), len(span)) == (32, 16)):
            raise NotFound(f"There is no run {target[:80]!r}")


def _has_rows(client: Client, table: str, where: str, deletion: Deletion) -> bool:
    sql = f"SELECT 1 FROM {table} WHERE {where} LIMIT 1"  # noqa: S608 - fixed text; values are parameters
    settings = {**_SETTINGS, "max_threads": 2}
    return bool(client.query(sql, _parameters(deletion), settings=settings).result_rows)


def _parameters(deletion: Deletion) -> dict[str, Any]:
    trace, _, span = deletion.target.partition("-") if deletion.kind == RUN else ("", "", "")
    return {
        "project": deletion.project,
        "kind": deletion.kind,
        "target": deletion.target,
        "deleted": deletion.deleted_ns,
        "trace": trace,
        "span": span,
    }
