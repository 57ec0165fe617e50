"""What was deleted, as the writer asks: what comes again of it is acknowledged and not stored.

While nothing was ever deleted in a project, its records are not looked at.
"""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import pyarrow as pa

from otel_ml_collector.records import Records, Run
from otel_ml_collector.store.connection import Connections
from otel_ml_collector.store.sql import Sql, StoreClient
from otel_ml_collector.store.verdict import (
    Deletion,
    RunKey,
    Verdict,
    names_of,
    owners_of,
    projects_of,
    traces_of,
)
from otel_ml_collector.times import AHEAD_NS

ASKED: Final = 1
DONE: Final = 2
# What another collector before the same store deletes is known here by then.
REFRESH_S: Final = 3.0
_AT_ONCE: Final = 2_000

_LAST: Final = Sql("SELECT project, max(deleted_ns) FROM deletions GROUP BY project")
# The whole project has an empty target.
_RULES: Final = Sql("""
    SELECT kind, target, deleted_ns FROM deletions
    WHERE project = {project:String} AND (target = '' OR target IN {targets:Array(String)}
      OR deleted_ns IN {times:Array(Int64)})
    ORDER BY deleted_ns""")
_RUNS: Final = Sql("""
    SELECT trace, span, deleted_ns FROM (
      SELECT lower(hex(trace_id)) AS trace, lower(hex(span_id)) AS span, deleted_ns
      FROM deleted_runs WHERE project = {project:String} AND trace_id IN (
        SELECT toFixedString(unhex(arrayJoin({traces:Array(String)})), 16)))
    ORDER BY deleted_ns""")

_OWNERS: Final = Sql("""
    SELECT owner, max(deleted_ns) FROM deleted_owners
    WHERE project = {project:String} AND owner IN {owners:Array(String)} GROUP BY owner""")


class Tombstones:
    """Tells the writer what not to store. A deletion begins between two of its groups."""

    def __init__(self, connections: Connections) -> None:
        self._client = connections.open()
        self._is_alone = connections.folder is not None  # nobody else writes to a folder
        self._lock = threading.Lock()
        self._last_ns: dict[str, int] = {}
        self._read_s: float | None = None
        self._generation = 0

    @property
    def generation(self) -> int:
        """Another number after each deletion: what was remembered may be gone since."""
        return self._generation

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Keep deletions from beginning, until a group is stored."""
        with self._lock:
            yield

    def add(self, project: str, kind: str, target: str, now_ns: int) -> Deletion:
        """Note on disk what is to be deleted; from now on nothing of it is stored.

        Raises:
            ClickHouseError: The store has trouble.
        """
        with self._lock:
            self._read()
            time_ns = max(now_ns, self._last_ns.get(project, 0) + 1)
            deletion = Deletion(project, kind, target, time_ns)
            note(self._client, deletion, ASKED)
            self._last_ns[project] = time_ns
            self._generation += 1
        return deletion

    def leave(self, records: Records) -> Records:
        """Leave out what was deleted, for who holds; the records themselves are not changed.

        Raises:
            ClickHouseError: The store has trouble.
        """
        if self._read_s is None or (
            not self._is_alone and time.monotonic() - self._read_s > REFRESH_S
        ):
            self._read()
        if not self._last_ns:
            return records
        for project in projects_of(records) & set(self._last_ns):
            records = self._leave(records, project)
        return records

    def _read(self) -> None:
        found = {row[0]: int(row[1]) for row in self._client.query(_LAST).result_rows}
        if found != self._last_ns:
            self._last_ns = found
            self._generation += 1
        self._read_s = time.monotonic()

    def _leave(self, records: Records, project: str) -> Records:
        until_ns = self._last_ns[project] + AHEAD_NS
        traces = traces_of(records, project, until_ns)
        names = names_of(records, project, until_ns)
        told = owners_of(records, project, until_ns)
        if not (traces or names or told):  # all of it began later
            return records
        known, owners = self._find_runs(project, traces), self._find_owners(project, told)
        rules = self._find_rules(project, names, set(known.values()))
        if not (known or owners or rules):
            return records
        verdict = Verdict(project, known, owners, rules)
        if new := verdict.find_new(records):
            # What comes late about them finds them here.
            self._client.insert_arrow("deleted_runs", _arrow(new))
        return verdict.leave(records)

    def _find_runs(self, project: str, traces: Sequence[str]) -> dict[RunKey, int]:
        known: dict[RunKey, int] = {}
        for at in range(0, len(traces), _AT_ONCE):
            values = {"project": project, "traces": traces[at : at + _AT_ONCE]}
            for trace, span, deleted_ns in self._client.query(_RUNS, values).result_rows:
                known[bytes.fromhex(trace), bytes.fromhex(span)] = int(deleted_ns)
        return known

    def _find_owners(self, project: str, owners: Sequence[str]) -> dict[str, int]:
        found: dict[str, int] = {}
        for at in range(0, len(owners), _AT_ONCE):
            values = {"project": project, "owners": owners[at : at + _AT_ONCE]}
            rows = self._client.query(_OWNERS, values).result_rows
            found.update({owner: int(deleted_ns) for owner, deleted_ns in rows})
        return found

    def _find_rules(self, project: str, names: Sequence[str], times: set[int]) -> list[Deletion]:
        rules: dict[int, Deletion] = {}
        moments = sorted(times)
        for at in range(0, max(len(names), len(moments), 1), _AT_ONCE):
            values: dict[str, Any] = {
                "project": project,
                "targets": names[at : at + _AT_ONCE],
                "times": moments[at : at + _AT_ONCE],
            }
            for kind, target, deleted_ns in self._client.query(_RULES, values).result_rows:
                rules[deleted_ns] = Deletion(project, kind, target, int(deleted_ns))
        return [rules[deleted_ns] for deleted_ns in sorted(rules)]


def note(client: StoreClient, deletion: Deletion, stage: int) -> None:
    """Put a stage of a deletion on disk; a second time is harmless.

    Raises:
        ClickHouseError: The store has trouble.
    """
    row: dict[str, Any] = {
        "project": deletion.project,
        "kind": deletion.kind,
        "target": deletion.target,
        "deleted_ns": deletion.deleted_ns,
        "stage": stage,
    }
    client.insert("deletions", [list(row.values())], column_names=list(row))


def _arrow(runs: Sequence[tuple[Run, int]]) -> pa.Table:
    return pa.table(
        {
            "project": pa.array([run.project for run, _ in runs], pa.string()),
            "trace_id": pa.array([run.trace_id for run, _ in runs], pa.binary(16)),
            "span_id": pa.array([run.span_id for run, _ in runs], pa.binary(8)),
            "start_ns": pa.array([run.start_ns for run, _ in runs], pa.int64()),
            "deleted_ns": pa.array([deleted_ns for _, deleted_ns in runs], pa.int64()),
        }
    )
