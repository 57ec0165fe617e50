"""Tombstones for the writer: records of a deletion that arrive again are not stored.

Their senders learn this by a partial success. In a project without deletions, nothing is checked.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Final

import pyarrow as pa

from otel_ml_collector.owners import is_run, model_of, own_key
from otel_ml_collector.records import (
    AliasMove,
    ArtifactRecord,
    CallPoint,
    ItemContent,
    LateLog,
    LateTag,
    LineageLink,
    Metric,
    Records,
    Run,
    SpanRefusals,
    TraceKey,
    run_id,
)
from otel_ml_collector.store.connection import Connections
from otel_ml_collector.store.sql import Sql, StoreClient
from otel_ml_collector.store.tables import LAST_ARRIVAL, OWNED
from otel_ml_collector.times import AHEAD_NS

RUN: Final = "run"
SESSION: Final = "session"
USER: Final = "user"
MODEL: Final = "model"
PROJECT: Final = "project"
KINDS: Final = (RUN, SESSION, USER, MODEL, PROJECT)
DELETED: Final = "deleted_"
"""The reason for which a span is refused begins like this; the kind of the deletion follows."""
# Deletions of these kinds remove whole traces: spans below a run seldom name its session or user.
OF_TRACES: Final = (SESSION, USER)
ASKED: Final = 1
DONE: Final = 2
# Seconds until this collector knows what other collectors of the same store have deleted.
REFRESH_S: Final = 3.0
_TRACES_AT_ONCE: Final = 2_000

_LAST_DELETIONS: Final = Sql("SELECT project, max(deleted_ns) FROM deletions GROUP BY project")
_UNFINISHED: Final = Sql("""
    SELECT DISTINCT toString(project) FROM deletions FINAL
    WHERE project IN {projects:Array(String)} AND stage = {asked}""").fill(asked=ASKED)
# The deletion of a whole project has an empty target.
_RULES: Final = Sql("""
    SELECT kind, target, deleted_ns FROM deletions
    WHERE project = {project:String} AND (target = '' OR target IN {targets:Array(String)}
      OR deleted_ns IN {times:Array(Int64)})
    ORDER BY deleted_ns""")
_DELETED_RUNS: Final = Sql("""
    SELECT trace, span, deleted_ns FROM (
      SELECT lower(hex(trace_id)) AS trace, lower(hex(span_id)) AS span, deleted_ns
      FROM deleted_runs WHERE project = {project:String} AND trace_id IN (
        SELECT toFixedString(unhex(arrayJoin({traces:Array(String)})), 16)))
    ORDER BY deleted_ns""")

_DELETED_OWNERS: Final = Sql("""
    SELECT owner, max(deleted_ns) FROM deleted_owners
    WHERE project = {project:String} AND owner IN {owners:Array(String)} GROUP BY owner""")


# Trace ID and span ID.
RunKey = tuple[bytes, bytes]
# Why runs were not stored, for deleted runs, by project and run.
Left = dict[tuple[str, RunKey], str]
_Late = Metric | LateTag | LateLog | ArtifactRecord | AliasMove | LineageLink


@dataclass(frozen=True, slots=True)
class Deletion:
    """A request to delete something.

    Attributes:
        kind: The kind of thing, ``run``, ``session``, ``user``, ``model`` or ``project``.
        target: A name, or run IDs separated by commas. Empty for a project.
        deleted_ns: Time of the request, in nanoseconds since 1970; 0 before it is stored. Each
            deletion of a project has a different time.
        arrived_ns: Newest time of arrival that was assigned before the request. It can be later
            than `deleted_ns`: after a clock was ahead, times of arrival do not go back.
    """

    project: str
    kind: str
    target: str
    deleted_ns: int = 0
    arrived_ns: int = 0


class ProjectDeletions:
    """The deletions of a project that affect a batch of records, which is about to be stored.

    Args:
        project: The project.
        known: The deleted runs in the traces of these records, each with the time of its deletion
            in nanoseconds since 1970.
        owners: Deleted trace keys, sessions, versions and other names to which scores, metrics or
            tags were sent, each with the time of its deletion in nanoseconds since 1970.
        rules: Deletions of whole traces, sessions, users, models or the project. They also apply to
            records that arrive later.
    """

    def __init__(
        self,
        project: str,
        known: Mapping[RunKey, int],
        owners: Mapping[str, int],
        rules: Sequence[Deletion],
    ) -> None:
        self._project = project
        self._known = known
        self._owners = owners
        self._rules = {(rule.kind, rule.target): rule for rule in rules}  # the last one counts
        whole_project = self._rules.get((PROJECT, ""))
        self._project_ns = whole_project.deleted_ns if whole_project else None
        whole = {rule.deleted_ns: rule for rule in rules if rule.kind in OF_TRACES}
        self._by_time = {rule.deleted_ns: rule for rule in rules}
        self._traces = {
            trace_id: whole[deleted_ns]
            for (trace_id, _), deleted_ns in known.items()
            if deleted_ns in whole
        }

    def find_new(self, records: Records) -> list[tuple[Run, int]]:
        """Find the runs that arrive for the first time but were deleted, with their deletion."""
        runs = [run for run in _runs(records) if run.project == self._project]
        rules = [(run, self._rule_of(run)) for run in runs if key_of(run) not in self._known]
        return [(run, rule.deleted_ns) for run, rule in rules if rule is not None]

    def reason_of(self, run: Run) -> str:
        """Return why a run is refused; empty if it was not deleted."""
        if not self._means_run(run):
            return ""
        rule = self._rule_of(run) or self._by_time.get(self._known.get(key_of(run), -1))
        return f"{DELETED}{rule.kind if rule else RUN}"

    def leave(self, records: Records) -> Records:
        """Return the records without deleted ones. The given records are not changed."""
        gone = {key_of(run) for run in _runs(records) if self._means_run(run)}
        kept = {run.trace_id for run in _runs(records) if key_of(run) not in gone}
        owners = {run_id(*key) for key in chain(self._known, gone)}
        facts: dict[str, Any] = {
            table.source: [
                row for row in getattr(records, table.source) if not self._means_late(row, owners)
            ]
            for table in OWNED
        }
        return replace(
            records,
            runs=[run for run in records.runs if not self._means_run(run)],
            open_runs=[run for run in records.open_runs if not self._means_run(run)],
            versions=[
                row
                for row in records.versions
                if row.project != self._project or not self._means_model(row.name, row.last_seen_ns)
            ],
            **facts,
            items=[row for row in records.items if not self._means_item(row, owners)],
            trace_keys=[row for row in records.trace_keys if not self._means_key(row, kept)],
            points=[point for point in records.points if not self._means_point(point)],
        )

    def _means_run(self, run: Run) -> bool:
        return run.project == self._project and (
            key_of(run) in self._known or self._rule_of(run) is not None
        )

    def _rule_of(self, run: Run) -> Deletion | None:
        """Find a deletion of a session, user, model, project or trace that includes a run."""
        names = {SESSION: run.session, USER: run.user, MODEL: run.model}
        rules = [self._rules.get((kind, name)) for kind, name in names.items() if name]
        rules.append(self._rules.get((PROJECT, "")))
        trace = self._traces.get(run.trace_id)
        if trace is not None and names[trace.kind] in {"", trace.target}:
            rules.append(trace)
        return next((rule for rule in rules if rule and run.start_ns <= rule.deleted_ns), None)

    def _means_model(self, model: str, time_ns: int) -> bool:
        rules = (self._rules.get((MODEL, model)), self._rules.get((PROJECT, "")))
        return any(rule is not None and time_ns <= rule.deleted_ns for rule in rules)

    def _means_late(self, row: _Late, owners: Collection[str]) -> bool:
        if row.project != self._project:
            return False
        time_ns = row.line.time_ns if isinstance(row, LateLog) else row.time_ns
        return (
            row.owner in owners
            or time_ns <= self._owners.get(row.owner, -1)
            or self._means_model(model_of(row.owner), time_ns)
        )

    def _means_item(self, item: ItemContent, runs: Collection[str]) -> bool:
        """Return whether an item was made from a deleted run, session or project."""
        if item.project != self._project:
            return False
        of_session = (
            self._rules.get((SESSION, item.source_session)) if item.source_session else None
        )
        rules = (of_session, self._rules.get((PROJECT, "")))
        is_gone = any(rule is not None and item.time_ns <= rule.deleted_ns for rule in rules)
        return is_gone or item.source_run in runs

    def _means_key(self, key: TraceKey, kept: Collection[bytes]) -> bool:
        """Return whether a trace key belongs to a deleted trace, and to no stored one."""
        if key.project != self._project or key.trace_id in kept:
            return False
        rules = (self._owners.get(own_key(key.key)), self._project_ns)
        return any(rule is not None and key.start_ns <= rule for rule in rules)

    def _means_point(self, point: CallPoint) -> bool:
        """Return whether a point of a metric ends before the deletion of its project."""
        ended_ns = self._project_ns
        return point.project == self._project and ended_ns is not None and point.time_ns <= ended_ns


def projects_of(records: Records) -> set[str]:
    """Return the projects of the records in a batch."""
    rows = chain(_runs(records), records.versions, records.items, records.points, late_of(records))
    return {row.project for row in rows}


def traces_of(records: Records, project: str, until_ns: int) -> list[str]:
    """Return the IDs (hex) of traces of a project in which something may have been deleted.

    Args:
        records: The batch.
        project: The project.
        until_ns: Runs that started later are ignored.
    """
    runs = {
        run.trace_id.hex()
        for run in _runs(records)
        if run.project == project and run.start_ns <= until_ns
    }
    late = {
        row.owner.partition("-")[0]
        for row in late_of(records)
        if row.project == project and is_run(row.owner)
    }
    made = {
        row.source_run.partition("-")[0]
        for row in records.items
        if row.project == project and row.source_run
    }
    return sorted(runs | late | made)


def names_of(records: Records, project: str, until_ns: int) -> list[str]:
    """Return the sessions, users and models of a project that may have been deleted."""
    runs = [run for run in _runs(records) if run.project == project and run.start_ns <= until_ns]
    named = {name for run in runs for name in (run.session, run.user, run.model)}
    late = {model_of(row.owner) for row in late_of(records) if row.project == project}
    versions = {row.name for row in records.versions if row.last_seen_ns <= until_ns}
    items = {row.source_session for row in records.items if row.project == project}
    return sorted((named | late | versions | items) - {""})


def owners_of(records: Records, project: str, until_ns: int) -> list[str]:
    """List the subjects of late-arriving records that are not runs, and the trace keys."""
    late = {row.owner for row in late_of(records) if row.project == project}
    keys = {
        own_key(row.key)
        for row in records.trace_keys
        if row.project == project and row.start_ns <= until_ns
    }
    return sorted(keys | {owner for owner in late if not is_run(owner)})


def late_of(records: Records) -> Iterator[_Late]:
    """Yield late-arriving records of runs and of other subjects."""
    return chain(*(getattr(records, table.source) for table in OWNED))


def key_of(run: Run) -> RunKey:
    """Return the identity of a run within its project."""
    return run.trace_id, run.span_id


def _runs(records: Records) -> Iterator[Run]:
    return chain(records.runs, records.open_runs)


class Tombstones:
    """Keeps deleted records out of the store. Deletions begin between batches of the writer."""

    def __init__(self, connections: Connections) -> None:
        self._client = connections.open()
        self._is_alone = connections.folder is not None  # only one process writes to a folder
        self._lock = threading.Condition()
        self._holders = self._waiting = 0
        self._last_ns: dict[str, int] = {}
        self._read_s: float | None = None
        self._generation = 0

    @property
    def generation(self) -> int:
        """A number that changes with each deletion.

        After a change, remembered records may be outdated.
        """
        return self._generation

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Within this context, keep deletions from beginning, so that rows can be stored.

        Several threads can be in this context at once.
        """
        with self._lock:
            self._lock.wait_for(lambda: not self._waiting)
            self._holders += 1
        try:
            yield
        finally:
            with self._lock:
                self._holders -= 1
                self._lock.notify_all()

    @contextmanager
    def _begin(self) -> Iterator[None]:
        """Wait until no thread is in the context of `hold`, and keep all others out."""
        with self._lock:
            self._waiting += 1
            try:
                self._lock.wait_for(lambda: not self._holders)
                yield
            finally:
                self._waiting -= 1
                self._lock.notify_all()

    def find_unfinished(self, client: StoreClient, projects: Collection[str]) -> set[str]:
        """Return those of the projects with a deletion that is not carried out yet.

        Their rows may be deleted at this moment, so they must not be read to be stored again. The
        caller must be in the context of `hold`.

        Args:
            client: Client of this thread.
            projects: The projects.

        Raises:
            ClickHouseError: The store does not answer.
        """
        is_known = self._is_alone and self._read_s is not None
        if not projects or (is_known and self._last_ns.keys().isdisjoint(projects)):
            return set()
        rows = client.query(_UNFINISHED, {"projects": sorted(projects)}).result_rows
        return {project for (project,) in rows}

    def add(
        self,
        project: str,
        kind: str,
        target: str,
        now_ns: int,
        announce: Callable[[Deletion], None] = lambda _: None,
    ) -> Deletion:
        """Store a deletion. From now on, none of its records is stored.

        Args:
            project: The project.
            kind: What is deleted.
            target: Its name.
            now_ns: Current time. The time of the deletion may be later.
            announce: Called with the deletion, just before it is stored.

        Raises:
            ClickHouseError: The store does not answer.
        """
        with self._begin():
            self._read()
            time_ns = max(now_ns, self._last_ns.get(project, 0) + 1)
            arrived_ns = int(self._client.query(LAST_ARRIVAL).result_rows[0][0])
            deletion = Deletion(project, kind, target, time_ns, max(time_ns, arrived_ns))
            announce(deletion)
            note(self._client, deletion, ASKED)
            self._last_ns[project] = time_ns
            self._generation += 1
        return deletion

    def leave(self, records: Records, left: Left, now_ns: int) -> Records:
        """Return the records of a batch without those that were deleted.

        The given records are not changed. The caller must hold the lock.

        Args:
            records: The batch.
            left: Receives the runs that are left out, with the reason.
            now_ns: Time of arrival.

        Raises:
            ClickHouseError: The store does not answer.
        """
        if self._read_s is None or (
            not self._is_alone and time.monotonic() - self._read_s > REFRESH_S
        ):
            self._read()
        if not self._last_ns:
            return records
        kept = records
        for project in projects_of(records) & set(self._last_ns):
            kept = self._leave(kept, project, left)
        if not left:
            return kept
        gone = [run for run in _runs(records) if (run.project, key_of(run)) in left]
        return _refuse(kept, gone, left, now_ns)

    def _read(self) -> None:
        facts = {row[0]: int(row[1]) for row in self._client.query(_LAST_DELETIONS).result_rows}
        if facts != self._last_ns:
            self._last_ns = facts
            self._generation += 1
        self._read_s = time.monotonic()

    def _leave(self, records: Records, project: str, left: Left) -> Records:
        until_ns = self._last_ns[project] + AHEAD_NS
        traces = traces_of(records, project, until_ns)
        names = names_of(records, project, until_ns)
        known_owners = owners_of(records, project, until_ns)
        has_items = any(row.project == project for row in records.items)
        has_points = any(point.project == project for point in records.points)
        if not (traces or names or known_owners or has_items or has_points):  # all began later
            return records
        known, owners = self._find_runs(project, traces), self._find_owners(project, known_owners)
        rules = self._find_rules(project, names, set(known.values()))
        if not (known or owners or rules):
            return records
        deletions = ProjectDeletions(project, known, owners, rules)
        if new := deletions.find_new(records):
            # Records of these runs that arrive later find them here.
            self._client.insert_arrow("deleted_runs", _arrow(new))
        for run in _runs(records):
            if run.project == project and (reason := deletions.reason_of(run)):
                left[project, key_of(run)] = reason
        return deletions.leave(records)

    def _find_runs(self, project: str, traces: Sequence[str]) -> dict[RunKey, int]:
        known: dict[RunKey, int] = {}
        for at in range(0, len(traces), _TRACES_AT_ONCE):
            values = {"project": project, "traces": traces[at : at + _TRACES_AT_ONCE]}
            for trace, span, deleted_ns in self._client.query(_DELETED_RUNS, values).result_rows:
                known[bytes.fromhex(trace), bytes.fromhex(span)] = int(deleted_ns)
        return known

    def _find_owners(self, project: str, owners: Sequence[str]) -> dict[str, int]:
        entries: dict[str, int] = {}
        for at in range(0, len(owners), _TRACES_AT_ONCE):
            values = {"project": project, "owners": owners[at : at + _TRACES_AT_ONCE]}
            rows = self._client.query(_DELETED_OWNERS, values).result_rows
            entries.update({owner: int(deleted_ns) for owner, deleted_ns in rows})
        return entries

    def _find_rules(self, project: str, names: Sequence[str], times: set[int]) -> list[Deletion]:
        rules: dict[int, Deletion] = {}
        moments = sorted(times)
        for at in range(0, max(len(names), len(moments), 1), _TRACES_AT_ONCE):
            values: dict[str, Any] = {
                "project": project,
                "targets": names[at : at + _TRACES_AT_ONCE],
                "times": moments[at : at + _TRACES_AT_ONCE],
            }
            for kind, target, deleted_ns in self._client.query(_RULES, values).result_rows:
                rules[deleted_ns] = Deletion(project, kind, target, int(deleted_ns))
        return [rules[deleted_ns] for deleted_ns in sorted(rules)]


def _refuse(records: Records, runs: Iterable[Run], left: Left, now_ns: int) -> Records:
    """Count runs that were left out as refused instead of received."""
    refusals = SpanRefusals(now_ns)
    numbers: defaultdict[tuple[str, str], set[int]] = defaultdict(set)
    for run in runs:
        refusals.add(run.project, left[run.project, key_of(run)], run.process, run.seq)
        numbers[run.project, run.process].add(run.seq)
    arrivals = [
        replace(
            arrival,
            timely=[number for number in arrival.timely if number not in refused],
            late=[number for number in arrival.late if number not in refused],
        )
        for arrival in records.arrivals
        for refused in [numbers.get((arrival.project, arrival.process), ())]
    ]
    arrivals = [
        arrival for arrival in arrivals if arrival.timely or arrival.late or arrival.settled
    ]
    return replace(records, arrivals=arrivals, refusals=[*records.refusals, *refusals.all()])


def note(client: StoreClient, deletion: Deletion, stage: int) -> None:
    """Store a stage of a deletion. You can call it again.

    Raises:
        ClickHouseError: The store does not answer.
    """
    row: dict[str, Any] = {
        "project": deletion.project,
        "kind": deletion.kind,
        "target": deletion.target,
        "deleted_ns": deletion.deleted_ns,
        "stage": stage,
        "arrived_ns": deletion.arrived_ns,
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
