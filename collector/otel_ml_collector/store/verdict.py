"""Which records of a group are meant by what was deleted."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Final

from otel_ml_collector.owners import is_run, model_of, own_key
from otel_ml_collector.records import (
    Artifact,
    LateLog,
    LateTag,
    Metric,
    Records,
    Run,
    TraceKey,
    run_id,
)
from otel_ml_collector.store.tables import OWNED

RUN: Final = "run"
SESSION: Final = "session"
USER: Final = "user"
MODEL: Final = "model"
PROJECT: Final = "project"
KINDS: Final = (RUN, SESSION, USER, MODEL, PROJECT)
# Of these whole traces go: a span below a run seldom says whose it is.
OF_TRACES: Final = (SESSION, USER)

# Trace id and span id.
RunKey = tuple[bytes, bytes]
_Late = Metric | LateTag | LateLog | Artifact


@dataclass(frozen=True, slots=True)
class Deletion:
    """One thing that was asked to be deleted.

    Attributes:
        kind: One of `KINDS`.
        target: A run id or a name; empty for a project.
        deleted_ns: When that was asked. No two deletions of a project have the same.
    """

    project: str
    kind: str
    target: str
    deleted_ns: int


class Verdict:
    """What was deleted in one project.

    Args:
        project: Which.
        known: The deleted runs of the traces that are asked about, each with its deletion.
        owners: What else is asked about and is gone, each with its deletion.
        rules: The deletions that may mean anything that is asked about.
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
        self._rules = {(rule.kind, rule.target): rule for rule in rules}  # the last one holds
        whole_project = self._rules.get((PROJECT, ""))
        self._project_ns = whole_project.deleted_ns if whole_project else None
        whole = {rule.deleted_ns: rule for rule in rules if rule.kind in OF_TRACES}
        self._traces = {
            trace_id: whole[deleted_ns]
            for (trace_id, _), deleted_ns in known.items()
            if deleted_ns in whole
        }

    def find_new(self, records: Records) -> list[tuple[Run, int]]:
        """Find the runs that come for the first time and were deleted, each with its deletion."""
        runs = [run for run in _runs(records) if run.project == self._project]
        rules = [(run, self._rule_of(run)) for run in runs if key_of(run) not in self._known]
        return [(run, rule.deleted_ns) for run, rule in rules if rule is not None]

    def leave(self, records: Records) -> Records:
        """Leave out what was deleted; the records themselves are not changed."""
        gone = {key_of(run) for run in _runs(records) if self._means_run(run)}
        kept = {run.trace_id for run in _runs(records) if key_of(run) not in gone}
        owners = {run_id(*key) for key in chain(self._known, gone)}
        told: dict[str, Any] = {
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
            **told,
            trace_keys=[row for row in records.trace_keys if not self._means_key(row, kept)],
        )

    def _means_run(self, run: Run) -> bool:
        return run.project == self._project and (
            key_of(run) in self._known or self._rule_of(run) is not None
        )

    def _rule_of(self, run: Run) -> Deletion | None:
        """Find a rule over what a run belongs to, when the run started before it."""
        names = {SESSION: run.session, USER: run.user, MODEL: run.model}
        found = [self._rules.get((kind, name)) for kind, name in names.items() if name]
        found.append(self._rules.get((PROJECT, "")))
        trace = self._traces.get(run.trace_id)
        if trace is not None and names[trace.kind] in {"", trace.target}:
            found.append(trace)
        return next((rule for rule in found if rule and run.start_ns <= rule.deleted_ns), None)

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

    def _means_key(self, key: TraceKey, kept: Collection[bytes]) -> bool:
        """Tell whether a key is one of a trace that is gone, and of none that is stored now."""
        if key.project != self._project or key.trace_id in kept:
            return False
        rules = (self._owners.get(own_key(key.key)), self._project_ns)
        return any(rule is not None and key.start_ns <= rule for rule in rules)


def projects_of(records: Records) -> set[str]:
    """Name the projects that a group has records of."""
    rows = chain(_runs(records), records.versions, late_of(records))
    return {row.project for row in rows}


def traces_of(records: Records, project: str, until_ns: int) -> list[str]:
    """Name in hex the traces of a project in which something may have been deleted.

    Args:
        records: The group.
        project: Which.
        until_ns: Runs that started later are of no interest.
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
    return sorted(runs | late)


def names_of(records: Records, project: str, until_ns: int) -> list[str]:
    """Name the sessions, users and models of a project that may have been deleted."""
    runs = [run for run in _runs(records) if run.project == project and run.start_ns <= until_ns]
    named = {name for run in runs for name in (run.session, run.user, run.model)}
    late = {model_of(row.owner) for row in late_of(records) if row.project == project}
    versions = {row.name for row in records.versions if row.last_seen_ns <= until_ns}
    return sorted((named | late | versions) - {""})


def owners_of(records: Records, project: str, until_ns: int) -> list[str]:
    """Name what is told about beside runs, and the keys of traces."""
    late = {row.owner for row in late_of(records) if row.project == project}
    keys = {
        own_key(row.key)
        for row in records.trace_keys
        if row.project == project and row.start_ns <= until_ns
    }
    return sorted(keys | {owner for owner in late if not is_run(owner)})


def late_of(records: Records) -> Iterator[_Late]:
    """Pass over what is told about runs and other owners."""
    return chain(*(getattr(records, table.source) for table in OWNED))


def key_of(run: Run) -> RunKey:
    """Return what identifies a run within its project."""
    return run.trace_id, run.span_id


def _runs(records: Records) -> Iterator[Run]:
    return chain(records.runs, records.open_runs)
