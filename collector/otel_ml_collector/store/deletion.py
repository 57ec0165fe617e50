"""Deletes a run, session, user, model or project, so that it stays deleted.

First the request is stored. Then rows are masked, table by table: no query returns a masked row.
Finally the deletion is marked as done. A large deletion continues in the background. If the
collector is killed, the deletion starts again from the beginning. The reasons are in
docs/design/016-deletion.md.
"""

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from otel_ml.counts import write_count
from otel_ml_collector.background import BackgroundJob
from otel_ml_collector.errors import BadInput, Missing, Unavailable
from otel_ml_collector.owners import KEY, RESPONSE, SESSION_OWNER, TAG, split_run_id
from otel_ml_collector.store.activity import (
    HIDE_USER,
    begin_change,
    confirm_change,
    digest_user,
    hide_parameters,
)
from otel_ml_collector.store.connection import Connections, store_trouble
from otel_ml_collector.store.counted import DELIVERIES
from otel_ml_collector.store.lives import Follows, Life
from otel_ml_collector.store.mutations import NOT_REMOVED, Mutator
from otel_ml_collector.store.resolutions import resolve_deleted, write_rows
from otel_ml_collector.store.rollup import mark_days
from otel_ml_collector.store.schema import LIVES
from otel_ml_collector.store.scores import SCORES
from otel_ml_collector.store.sql import Sql, StoreClient, identifier
from otel_ml_collector.store.stale_projects import note_stale
from otel_ml_collector.store.tombstones import (
    DONE,
    KINDS,
    MODEL,
    PROJECT,
    REFRESH_S,
    RUN,
    SESSION,
    USER,
    Deletion,
    Tombstones,
    note,
)
from otel_ml_collector.times import DAY_NS, SECOND_NS

_SETTINGS: Final = {
    "max_execution_time": 0,
    "max_memory_usage": 2_000_000_000,
}
_WAIT_S: Final = 60.0
# Separates the run IDs in the target of a deletion of several runs.
RUN_SEPARATOR: Final = ","
_FORGET_TAGS: Final = Sql("""DELETE FROM late_tags WHERE project = {project:String}
  AND owner IN {owners:Array(String)} AND record_id IN {records:Array(String)}""")
# After this time, every other collector knows the deletion and has stored its pending records.
_SPREAD_NS: Final = int(4 * REFRESH_S * SECOND_NS)
_UNDONE: Final = Sql("""
    SELECT project, kind, target, deleted_ns, max(arrived_ns) FROM deletions
    GROUP BY project, kind, target, deleted_ns HAVING max(stage) < {done:UInt8}
    ORDER BY deleted_ns""")
# Seconds after which a request is answered while its deletion continues.
ANSWER_S: Final = 4.0
# Steps before the other tables: list the runs, mask them, and resolve dependent records.
_FIRST_STEPS: Final = 3
# A table, and a condition on its rows.
_Place = tuple[Sql, Sql]
_IN_PROJECT: Final = Sql("project = {project:String}")
_DELETED: Final = Sql("project = {project:String} AND deleted_ns = {deleted:Int64}")
_DELETED_RUNS: Final = Sql("""(start_ns, trace_id, span_id) IN (
  SELECT start_ns, trace_id, span_id FROM deleted_runs WHERE {deleted})""").fill(deleted=_DELETED)
# A trace is gone when none of its runs is left.
_GONE_TRACES: Final = Sql("""
  trace_id IN {traces}
  AND trace_id NOT IN (SELECT trace_id FROM {deliveries} WHERE {ours} AND trace_id IN {traces})
  AND trace_id NOT IN (SELECT trace_id FROM open_runs WHERE {ours} AND trace_id IN {traces})
""").fill(
    deliveries=DELIVERIES,
    ours=_IN_PROJECT,
    traces=Sql("(SELECT trace_id FROM deleted_runs WHERE {deleted})").fill(deleted=_DELETED),
)
_OF_DELETED_RUNS: Final = Sql("""owner IN (
  SELECT concat(lower(hex(trace_id)), '-', lower(hex(span_id))) FROM deleted_runs WHERE {deleted}
  UNION ALL SELECT owner FROM deleted_owners WHERE {deleted})""").fill(deleted=_DELETED)
_DELETED_OWNERS: Final = Sql("SELECT DISTINCT owner FROM deleted_owners WHERE {deleted}").fill(
    deleted=_DELETED
)
_GONE_KEYS: Final = Sql("""(({gone}) OR concat('{key}', key) IN (
  SELECT owner FROM deleted_owners WHERE {deleted}))""").fill(
    gone=_GONE_TRACES, key=Sql(KEY), deleted=_DELETED
)
_OF_MODEL: Final = Sql("""({owners} OR (startsWith(owner, 'model:')
  AND substring(owner, position(owner, ':', 7) + 1) = {target:String}
  AND time_ns <= {deleted:Int64}))""").fill(owners=_OF_DELETED_RUNS)

# Items contain the input of the run that they were made from, so they are deleted with it.
_MADE_OF_RUNS: Final = Sql("""source_run IN (
  SELECT concat(lower(hex(trace_id)), '-', lower(hex(span_id))) FROM deleted_runs WHERE {deleted})
""").fill(deleted=_DELETED)
# Items made from a deleted session are deleted too, even if their run is already gone.
_MADE_OF_SESSION: Final = Sql("""({runs}
  OR source_session = {target:String} AND time_ns <= {deleted:Int64})""").fill(runs=_MADE_OF_RUNS)
# Runs that name a session or user, and runs of the same traces that name none.
_OF_TRACES: Final = Sql("""trace_id IN (
  SELECT trace_id FROM {deliveries} WHERE {ours} AND {name} = {target:String}
  UNION ALL SELECT trace_id FROM open_runs WHERE {ours} AND {name} = {target:String})
  AND {name} IN ('', {target:String})""")
# Conditions on `runs` and `open_runs` for each kind of deletion.
_MEANT: Final = {
    RUN: Sql("""trace_id IN (SELECT toFixedString(unhex(arrayJoin({traces:Array(String)})), 16))
      AND concat(lower(hex(trace_id)), '-', lower(hex(span_id))) IN {run_ids:Array(String)}"""),
    SESSION: _OF_TRACES.fill(deliveries=DELIVERIES, ours=_IN_PROJECT, name=Sql("session")),
    USER: _OF_TRACES.fill(deliveries=DELIVERIES, ours=_IN_PROJECT, name=Sql("user")),
    MODEL: Sql("model = {target:String}"),
    PROJECT: Sql("1"),
}
# Rows other than runs that show that a target exists or existed.
_TRACES_OF: Final[Mapping[str, Sequence[_Place]]] = {
    RUN: [(Sql("deleted_runs"), _MEANT[RUN])],
    SESSION: [
        (Sql("items"), Sql("source_session = {target:String}")),
        (
            Sql("metrics"),
            Sql("owner = concat('{of}', {target:String})").fill(of=Sql(SESSION_OWNER)),
        ),
    ],
    MODEL: [
        (
            Sql("model_versions"),
            Sql("kind = 'model' AND name = {target:String} AND last_seen_ns > 0"),
        )
    ],
    PROJECT: [
        (Sql("model_versions"), Sql("last_seen_ns > 0")),
        *((life.table, Sql("1")) for life in LIVES if life.follows is Follows.OWNER),
        (Sql("artifacts"), Sql("1")),
        (Sql("call_points"), Sql("1")),
    ],
}
# Lists the runs to delete, while they can still be read.
_FILL_RUNS: Final = Sql("""
    INSERT INTO deleted_runs (project, trace_id, span_id, start_ns, deleted_ns)
    SELECT DISTINCT project, trace_id, span_id, start_ns, {deleted:Int64}
    FROM {table} WHERE {ours} AND ({meant})""")
_FILL_RESPONSES: Final = Sql("""
    INSERT INTO deleted_owners (project, owner, deleted_ns)
    SELECT DISTINCT project, concat('{tag}', arrayJoin(
      arrayFilter(text -> startsWith(text, '{response}'), tag_kv))), {deleted:Int64}
    FROM {deliveries} WHERE {ours} AND ({meant})""")
# Labels of a session are deleted with the session, or with the last of its runs.
_FILL_SESSION: Final = Sql("""
    INSERT INTO deleted_owners (project, owner, deleted_ns)
    SELECT {project:String}, concat('{of}', {target:String}), {deleted:Int64}""").fill(
    of=Sql(SESSION_OWNER)
)
_OF_SESSIONS: Final = Sql("startsWith(owner, '{of}')").fill(of=Sql(SESSION_OWNER))
_HAS_LABELS: Final = Sql("""project = {project:String} AND concat('{of}', session) IN (
  SELECT owner FROM metrics WHERE project = {project:String} AND {of_sessions})""").fill(
    of=Sql(SESSION_OWNER), of_sessions=_OF_SESSIONS
)
_SESSIONS: Final = Sql("""
    SELECT session FROM {deliveries} WHERE {has_labels} AND ({these})
    UNION ALL SELECT session FROM open_runs WHERE {has_labels} AND ({these})""")
_FILL_SESSIONS: Final = Sql("""
    INSERT INTO deleted_owners (project, owner, deleted_ns)
    SELECT DISTINCT {project:String}, concat('{of}', session), {deleted:Int64} FROM ({meant})
    WHERE session NOT IN ({left})""")
# Keys are deleted if all of their traces are gone.
_FILL_KEYS: Final = Sql("""
    INSERT INTO deleted_owners (project, owner, deleted_ns)
    SELECT DISTINCT project, concat('{key}', key), {deleted:Int64} FROM trace_index
    WHERE {ours} AND {gone} AND key NOT IN (
      SELECT key FROM trace_index
      WHERE {ours} AND trace_id != toFixedString('', 16) AND NOT ({gone}))""").fill(
    key=Sql(KEY), ours=_IN_PROJECT, gone=_GONE_TRACES
)
# A deleted model keeps only the numbers of its versions, so old code gets its old number again.
# Versions that were not seen since the deletion are in no list.
_FORGET: Final = Sql("""
    ALTER TABLE model_versions UPDATE definition = '', last_seen_ns = 0
    WHERE project = {project:String} AND {forgotten} AND first_arrived_ns <= {arrived:Int64}""")
_FORGOTTEN: Final = {MODEL: Sql("kind = 'model' AND name = {target:String}"), PROJECT: Sql("1")}
_WORD_OF_RECORD: Final = Sql("""project = {project:String} AND judge = {judge:String}
  AND lower(hex(trace_id)) = {trace:String} AND lower(hex(span_id)) = {span:String}
  AND record_id = {record:String}""")
_STARTS_OF_WORD: Final = Sql("SELECT DISTINCT start_ns FROM {scores} WHERE {word}").fill(
    scores=SCORES, word=_WORD_OF_RECORD
)
_FORGET_WORD: Final = Sql("DELETE FROM {scores} WHERE {word}").fill(
    scores=SCORES, word=_WORD_OF_RECORD
)
# Deletions are repeated after a kill, and if other collectors use the store. Runs that begin after
# the request are kept.
_BEFORE: Final = Sql("(start_ns <= {deleted:Int64} OR arrived_ns <= {arrived:Int64})")
_NAMED_BY: Final = Sql("""sha256 IN (SELECT sha256 FROM objects WHERE {ours} AND ({gone}))
  AND sha256 NOT IN (SELECT sha256 FROM objects WHERE {ours} AND NOT ({gone}))""")
_TRACE_LEFT: Final = Sql("""trace_id NOT IN (SELECT trace_id FROM {deliveries} WHERE {ours}
  UNION ALL SELECT trace_id FROM open_runs WHERE {ours})""").fill(
    deliveries=DELIVERIES, ours=_IN_PROJECT
)
# Rows of hour 0 contain the number up to which spans were deleted, so these do not count as lost.
_PROCESS_LEFT: Final = Sql("""hour > 0
  AND process NOT IN (SELECT process FROM processes WHERE {ours})""").fill(ours=_IN_PROJECT)
_KEEP_NUMBERS: Final = Sql("""
    INSERT INTO arrivals (project, process, hour, base)
    SELECT project, process, 0, greatest(max(base), max(arrayMax(mapValues(highest))))
    FROM arrivals WHERE {ours} AND notEmpty(highest) GROUP BY project, process""").fill(
    ours=_IN_PROJECT
)
_RUN_TABLES: Final = (Sql("runs"), Sql("open_runs"))

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DeletionProgress:
    """The progress of a deletion.

    Attributes:
        steps_done: Number of finished steps. It starts at 0 again after a restart.
        steps: Number of all steps.
        runs: Number of runs and spans to delete; None until they are counted.
        trouble: Why the last attempt failed; empty if it did not. The deletion is tried again
            within a minute.
    """

    deletion: Deletion
    state: Literal["waiting", "running", "done"]
    steps_done: int
    steps: int
    runs: int | None = None
    trouble: str = ""


class Deleter:
    """Carries out deletions, one at a time. Any thread may call it."""

    def __init__(self, connections: Connections, tombstones: Tombstones) -> None:
        self._client = connections.open()
        # Answers queries while `_client` is deleting.
        self._asking = connections.open()
        self._guard = threading.Lock()
        self._worker = ThreadPoolExecutor(1, "deletion")
        self._under_way: dict[Deletion, Future[DeletionProgress]] = {}
        self._progress: dict[Deletion, DeletionProgress] = {}
        self._memory = connections.memory
        self._is_alone = connections.folder is not None
        self._may_be_undone = True
        self._mutator = Mutator(self._client, connections.folder)
        self._tombstones = tombstones
        self._lock = threading.Lock()

    def close(self) -> None:
        """Wait for the running statement. Call it before the store is closed."""
        self._worker.shutdown(cancel_futures=True)

    def begin(
        self, project: str, kind: str, target: str, answer_s: float = ANSWER_S
    ) -> DeletionProgress:
        """Delete records. If this takes longer than `answer_s`, it continues in the background.

        When the returned state is `done`, queries no longer find the records. Runs of a session,
        user, model or project that begin later are kept. You can delete the same session, user,
        model or project again. If the same deletion is still running, no second one begins.

        Args:
            project: The project.
            kind: Whether to delete runs, a session, a user, a model or the whole project. One of
                `KINDS`.
            target: Run IDs, separated by commas, or the name of a session, user or model. Empty for
                a project.
            answer_s: Seconds to wait for the end of the deletion before the method returns.

        Raises:
            BadInput: `kind` is not one of `KINDS`.
            Missing: The target does not exist, or a run ID is invalid.
            Unavailable: The store does not answer, or the disk is full. Nothing is deleted. After
                the request was stored, the returned progress has such an error as `trouble`.
        """
        _check(kind, target)
        with self._guard:
            named = (project, kind, target)
            same = (key for key in self._under_way if (key.project, key.kind, key.target) == named)
            deletion = next(same, None)
            if deletion is None:
                with store_trouble():
                    if not self._is_there(Deletion(project, kind, target)):
                        raise Missing(f"There is no {kind} {(target or project)[:80]!r}")
                    entries: list[Mapping[str, Any]] = []
                    deletion = self._tombstones.add(
                        project,
                        kind,
                        target,
                        time.time_ns(),
                        lambda deletion: entries.append(self._announce(deletion)),
                    )
                    for entry in entries:
                        confirm_change(self._asking, entry)
                self._progress[deletion] = _await_turn(deletion)
                self._under_way[deletion] = self._worker.submit(self._carry_out_alone, deletion)
            task = self._under_way[deletion]
        # The request is stored. A deletion that failed is tried again within a minute.
        with suppress(TimeoutError, Unavailable):
            return task.result(answer_s)
        return self._progress.get(deletion, _await_turn(deletion))

    def _announce(self, deletion: Deletion) -> Mapping[str, Any]:
        """Note who requests a deletion. The entry stays, even if the project is deleted."""
        name = deletion.target or deletion.project
        if deletion.kind == USER:
            name = digest_user(name)
        elif deletion.kind == RUN and RUN_SEPARATOR in name:
            name = write_count(name.count(RUN_SEPARATOR) + 1, "run")
        return begin_change(
            self._asking,
            deletion.project,
            "deletion",
            f"deleted {deletion.kind}",
            name,
            identity=str(deletion.deleted_ns),
            time_ns=deletion.deleted_ns + 1,
        )

    def delete(self, project: str, kind: str, target: str) -> tuple[Deletion, int]:
        """Delete records like `begin`, and wait until it is done.

        Returns:
            The deletion, and the number of deleted runs and spans.

        Raises:
            BadInput: As for `begin`.
            Missing: As for `begin`.
            Unavailable: As for `begin`, or the deletion takes more than a minute. It continues in
                the background.
        """
        progress = self.begin(project, kind, target, _WAIT_S)
        if progress.state != "done":
            reason = progress.trouble or "The store is busy with a deletion"
            raise Unavailable(f"{reason}. The deletion is done later")
        return progress.deletion, progress.runs or 0

    def list_unfinished(self) -> list[DeletionProgress]:
        """List the deletions of all projects that are not done, oldest first.

        Raises:
            Unavailable: The store does not answer.
        """
        with self._guard, store_trouble():
            rows = self._asking.query(_UNDONE, {"done": DONE}).result_rows
        deletions = [Deletion(*row) for row in rows]
        known = [self._progress.get(deletion, _await_turn(deletion)) for deletion in deletions]
        return [progress for progress in known if progress.state != "done"]

    def resume(self) -> None:
        """Finish deletions that a killed collector left. Small ones are done when it returns.

        Raises:
            Unavailable: The store does not answer.
        """
        with suppress(TimeoutError):
            self._worker.submit(self.complete).result(ANSWER_S)

    def forget_score(self, project: str, judge: str, run_id: str, record_id: str) -> None:
        """Remove a reviewer's label from the scores of a run, after the reviewer took it back.

        Taking a label back stores it again without a value, so that the history of the run shows
        it. This empty record must not stay among the scores: as the newest score, it would hide the
        valid scores of judges and other reviewers. If there is no such score, nothing happens.

        Args:
            project: The project.
            judge: Name of the score. Labels are stored under a name in the same way as the scores
                of a judge.
            run_id: ID of the run.
            record_id: ID of the empty record.

        Raises:
            Unavailable: The store does not answer, the disk is full, or another deletion has been
                running for a minute.
        """
        trace, _, span = run_id.partition("-")
        values = {
            "project": project,
            "judge": judge,
            "trace": trace,
            "span": span,
            "record": record_id,
        }
        if not self._lock.acquire(timeout=_WAIT_S):
            raise Unavailable("The store is busy with a deletion")
        try:
            with store_trouble():
                starts = self._client.query(_STARTS_OF_WORD, values).result_rows
                mark_days(
                    self._client,
                    self._memory,
                    [(project, start // DAY_NS * DAY_NS) for (start,) in starts],
                )
                if starts:
                    self._mutator.run("scores", _FORGET_WORD, values)
                    self._memory.updates.put_late([(project, trace, span)])
                    # Only memory knows that the row must be written again.
                    write_rows(self._client, self._memory, self._tombstones)
        finally:
            self._lock.release()

    def forget_tags(self, project: str, run_ids: Sequence[str], record_ids: Sequence[str]) -> None:
        """Delete tags that were added to runs separately, for example by a user on a page.

        Tags that a run sent with its span are kept. Tags that are already deleted are ignored.

        Args:
            project: The project.
            run_ids: IDs of the runs.
            record_ids: IDs of the records that added the tags.

        Raises:
            Unavailable: The store does not answer, the disk is full, or another deletion has been
                running for a minute.
        """
        values = {"project": project, "owners": list(run_ids), "records": list(record_ids)}
        if not self._lock.acquire(timeout=_WAIT_S):
            raise Unavailable("The store is busy with a deletion")
        try:
            with store_trouble():
                self._mutator.run("late_tags", _FORGET_TAGS, values)
                self._memory.updates.put_late((project, *split_run_id(run)) for run in run_ids)
                # A killed collector would leave no trace of them.
                write_rows(self._client, self._memory, self._tombstones)
        finally:
            self._lock.release()

    def may_be_undone(self) -> bool:
        """Return whether `complete` may have work.

        This is so after a failure, and always if other collectors use the same store.
        """
        return self._may_be_undone or not self._is_alone

    def list_jobs(self) -> Sequence[BackgroundJob]:
        """List the job that completes deletions that were interrupted."""
        return [
            BackgroundJob(self.complete, 60.0, NOT_REMOVED, has_work=self.may_be_undone),
        ]

    def complete(self) -> int:
        """Finish the deletions that are not complete yet.

        A deletion is not complete if it failed, or if its collector was killed. If several
        collectors use the store, a new deletion is also repeated: another collector may have stored
        records of the deleted session, for example, before it read about the deletion.

        Returns:
            Number of deletions that were finished or repeated.

        Raises:
            Unavailable: The store does not answer.
        """
        with self._lock, store_trouble():
            undone = [
                Deletion(*row) for row in self._client.query(_UNDONE, {"done": DONE}).result_rows
            ]
            for deletion in undone:
                is_spread = time.time_ns() - deletion.deleted_ns > _SPREAD_NS
                self._finish(deletion, is_last=self._is_alone or is_spread)
                self._forget(deletion)
                _logger.info("The deletion of a %s was completed", deletion.kind)
            self._may_be_undone = False
        return len(undone)

    def _carry_out_alone(self, deletion: Deletion) -> DeletionProgress:
        """Carry a deletion out, unless `complete` has done it."""
        try:
            with self._lock, store_trouble():
                known = self._progress[deletion]
                if known.state == "done":
                    return known
                return self._finish(deletion, is_last=self._is_alone)
        finally:
            with self._guard:
                del self._under_way[deletion]
            self._forget(deletion)

    def _forget(self, deletion: Deletion) -> None:
        """Forget the progress of a finished deletion, unless a request waits for it."""
        with self._guard:
            is_known = deletion in self._progress and deletion not in self._under_way
            if is_known and self._progress[deletion].state == "done":
                del self._progress[deletion]

    def _finish(self, deletion: Deletion, *, is_last: bool) -> DeletionProgress:
        """Carry out a deletion, and mark it as done if no other collector may have missed it."""
        try:
            with store_trouble():
                runs = self._carry_out(deletion)
                if is_last:
                    note(self._client, deletion, DONE)
        except Exception as error:
            known = self._progress.get(deletion, _await_turn(deletion))
            text = str(error) if isinstance(error, Unavailable) else type(error).__name__
            self._progress[deletion] = replace(known, state="waiting", trouble=text)
            self._may_be_undone = True
            raise
        steps = _count_steps(deletion.kind)
        done = self._progress[deletion] = DeletionProgress(deletion, "done", steps, steps, runs)
        return done

    def _note_step(self, deletion: Deletion, steps_done: int, runs: int | None = None) -> None:
        steps = _count_steps(deletion.kind)
        self._progress[deletion] = DeletionProgress(deletion, "running", steps_done, steps, runs)

    def _is_there(self, wanted: Deletion) -> bool:
        """Return whether the target of a deletion is stored, or was deleted before."""
        before = Sql("kind = {kind:String} AND target = {target:String}")
        places = [
            *((table, _MEANT[wanted.kind]) for table in _RUN_TABLES),
            *_TRACES_OF.get(wanted.kind, []),
            (Sql("deletions"), before),
        ]
        return any(
            self._has_rows(table, _in_project(where), wanted, self._asking)
            for table, where in places
        )

    def _has_rows(
        self, table: Sql, where: Sql, deletion: Deletion, client: StoreClient | None = None
    ) -> bool:
        sql = Sql("SELECT 1 FROM {table} WHERE {where} LIMIT 1").fill(table=table, where=where)
        settings = {**_SETTINGS, "max_threads": 2}
        answer = (client or self._client).query(sql, _parameters(deletion), settings=settings)
        return bool(answer.result_rows)

    def _carry_out(self, deletion: Deletion) -> int:
        """Mask the records, table by table, and return the number of runs and spans."""
        self._note_step(deletion, 0)
        meant = Sql("({meant}) AND {before}").fill(meant=_MEANT[deletion.kind], before=_BEFORE)
        for table in _RUN_TABLES:
            self._command(_FILL_RUNS.fill(table=table, ours=_IN_PROJECT, meant=meant), deletion)
        self._command(
            _FILL_RESPONSES.fill(
                deliveries=DELIVERIES,
                tag=Sql(TAG),
                response=Sql(RESPONSE),
                ours=_IN_PROJECT,
                meant=meant,
            ),
            deletion,
        )
        self._fill_sessions(meant, deletion)
        days = [(deletion.project, day) for day in self._days(deletion)]
        mark_days(self._client, self._memory, days)
        self._memory.calls.forget(deletion.project)
        self._memory.updates.forget()
        runs = self._count(deletion)
        self._note_step(deletion, 1, runs)
        condition = _BEFORE if deletion.kind == PROJECT else _DELETED_RUNS
        self._mask([(table, condition) for table in _RUN_TABLES], deletion)
        self._note_step(deletion, 2, runs)
        if deletion.kind != PROJECT:  # other records of the same calls count now
            resolve_deleted(self._client, self._memory, deletion.project, deletion.deleted_ns)
        self._command(_FILL_KEYS, deletion)
        note_stale(self._client, self._memory, [deletion.project])
        if deletion.kind == PROJECT:
            self._command(_KEEP_NUMBERS, deletion)
        for place, rest in enumerate(_places_of_rest(deletion.kind)):
            self._note_step(deletion, _FIRST_STEPS + place, runs)
            self._mask([rest], deletion)
        if deletion.kind == USER:
            values = {**_parameters(deletion), **hide_parameters(deletion.target)}
            self._mutator.run("activity", HIDE_USER, values, _SETTINGS)
        self._memory.updates.put_owners(
            (deletion.project, owner) for (owner,) in self._ask(_DELETED_OWNERS, deletion)
        )
        self._memory.updates.note_deleted([deletion.project])
        if forgotten := _FORGOTTEN.get(deletion.kind):
            self._mutate("model_versions", _FORGET.fill(forgotten=forgotten), deletion)
            self._memory.forget_numbers(lambda key, _: key[0] == deletion.project)
        return runs

    def _fill_sessions(self, meant: Sql, deletion: Deletion) -> None:
        """List the sessions whose labels are deleted, before their runs are masked."""
        if deletion.kind == SESSION:
            self._command(_FILL_SESSION, deletion)
        elif self._has_rows(Sql("metrics"), _in_project(_OF_SESSIONS), deletion):
            of_runs = {"deliveries": DELIVERIES, "has_labels": _HAS_LABELS}
            left = Sql("NOT ({meant})").fill(meant=meant)
            sql = _FILL_SESSIONS.fill(
                of=Sql(SESSION_OWNER),
                meant=_SESSIONS.fill(these=meant, **of_runs),
                left=_SESSIONS.fill(these=left, **of_runs),
            )
            self._command(sql, deletion)

    def _mask(self, places: Sequence[_Place], deletion: Deletion) -> None:
        for table, condition in places:
            where = _in_project(condition)
            if self._has_rows(table, where, deletion):
                sql = Sql("DELETE FROM {table} WHERE {where}")
                if table == "artifact_chunks":
                    # Chunks are large and rarely merged, so they are removed from the disk at once.
                    sql = Sql("ALTER TABLE {table} DELETE WHERE {where}")
                self._mutate(table, sql.fill(table=table, where=where), deletion)

    def _command(self, sql: Sql, deletion: Deletion) -> None:
        self._client.command(sql, _parameters(deletion), settings=dict(_SETTINGS))

    def _mutate(self, table: str, sql: Sql, deletion: Deletion) -> None:
        self._mutator.run(table, sql, _parameters(deletion), _SETTINGS)

    def _ask(
        self, sql: Sql, deletion: Deletion, settings: Mapping[str, Any] | None = None
    ) -> Sequence[Sequence[Any]]:
        answer = self._client.query(sql, _parameters(deletion), settings=dict(settings or {}))
        return answer.result_rows

    def _count(self, deletion: Deletion) -> int:
        sql = Sql("SELECT uniqExact(trace_id, span_id) FROM deleted_runs WHERE ") + _DELETED
        return int(self._ask(sql, deletion)[0][0])

    def _days(self, deletion: Deletion) -> list[int]:
        sql = Sql("""
            SELECT DISTINCT intDiv(start_ns, {day_ns}) * {day_ns} AS day FROM deleted_runs
            WHERE {deleted} ORDER BY day""").fill(day_ns=DAY_NS, deleted=_DELETED)
        return [int(row[0]) for row in self._ask(sql, deletion)]


def _await_turn(deletion: Deletion) -> DeletionProgress:
    return DeletionProgress(deletion, "waiting", 0, _count_steps(deletion.kind))


def _count_steps(kind: str) -> int:
    return _FIRST_STEPS + len(_places_of_rest(kind))


def _places_of_rest(kind: str) -> list[_Place]:
    """List what to delete after the runs: tables, each with the condition on its rows.

    These deletions can be repeated: rows that are already masked do not match.
    """
    rest = [life for life in LIVES if life.table not in _RUN_TABLES]
    if kind == PROJECT:
        return [(life.table, _find_of_project(life)) for life in rest]
    owners = _OF_MODEL if kind == MODEL else _OF_DELETED_RUNS
    conditions = {
        Follows.RUN: _DELETED_RUNS,
        Follows.OWNER: owners,
        Follows.KEY: _GONE_KEYS,
        Follows.SOURCE: _MADE_OF_SESSION if kind == SESSION else _MADE_OF_RUNS,
        Follows.NAMES: _NAMED_BY.fill(ours=_IN_PROJECT, gone=owners),
    }
    return [(life.table, conditions[life.follows]) for life in rest if life.follows in conditions]


def _find_of_project(life: Life) -> Sql:
    """Write the condition on the rows that a project had when it was deleted.

    Rows that were stored later belong to a new project with the same name.
    """
    if life.time and life.follows is not Follows.KEY:
        return Sql("{time} <= {arrived:Int64}").fill(time=identifier(life.time, [life.time]))
    return _PROCESS_LEFT if life.follows is Follows.PROCESS else _TRACE_LEFT


def _in_project(condition: Sql) -> Sql:
    return Sql("project = {project:String} AND ({condition})").fill(condition=condition)


def _check(kind: str, target: str) -> None:
    if kind not in KINDS:
        raise BadInput(f"Invalid kind {kind!r}: expected one of {', '.join(KINDS)}", "kind")
    for run_id in target.split(RUN_SEPARATOR) if kind == RUN else ():
        trace, dash, span = run_id.partition("-")
        is_hex = all(char in "0123456789abcdef" for char in trace + span)
        if not (dash and is_hex and (len(trace), len(span)) == (32, 16)):
            raise Missing(f"There is no run {run_id[:80]!r}")


def _parameters(deletion: Deletion) -> dict[str, Any]:
    run_ids = deletion.target.split(RUN_SEPARATOR) if deletion.kind == RUN else []
    return {
        "project": deletion.project,
        "kind": deletion.kind,
        "target": deletion.target,
        "deleted": deletion.deleted_ns,
        "arrived": deletion.arrived_ns,
        "run_ids": run_ids,
        "traces": sorted({run_id.partition("-")[0] for run_id in run_ids}),
    }
