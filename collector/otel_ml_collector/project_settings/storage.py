"""Storage in the JSON API: sizes on disk, retention, deletion and backups, for the scope admin.

The routes that delete come last, because the name of a project can contain any path.
"""

import shutil
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from otel_ml_collector.access import ADMIN, OPEN, READ, Access, is_local
from otel_ml_collector.answer_body import AnswerBody
from otel_ml_collector.api.parameters import (
    TIMES,
    Admin,
    Cursor,
    Limit,
    demand_all,
    needs,
    read_cursor,
    write_place,
)
from otel_ml_collector.api.route import DeferredRoute
from otel_ml_collector.errors import NotPermitted
from otel_ml_collector.services import find_service, service_of
from otel_ml_collector.settings.values import MOST_DAYS
from otel_ml_collector.store.backup import BACKUP_ROW, Backups
from otel_ml_collector.store.calls import CallResolver
from otel_ml_collector.store.counted import DELIVERIES
from otel_ml_collector.store.deletion import Deleter, DeletionProgress
from otel_ml_collector.store.reader import READABLE, Reader, Row
from otel_ml_collector.store.retention import COUNTED, PARTS, Purger, Retention, Swept, Wish
from otel_ml_collector.store.same_folder import FolderIdentity
from otel_ml_collector.store.schema import LIVES, TABLE_NAMES
from otel_ml_collector.store.sql import Sql, identifier
from otel_ml_collector.store.tombstones import MODEL, PROJECT, RUN, SESSION, USER, Deletion
from otel_ml_collector.telemetry.service import StoreState, TableSize
from otel_ml_collector.times import DAY_NS, from_rfc3339, to_rfc3339

# The kind of each table; all other tables are `other`.
KINDS: Final[Mapping[str, str]] = {life.table: life.topic for life in LIVES}
_TOPICS: Final = ("runs", "payloads", "logs", "metrics", "artifacts")
OTHER: Final = "other"
_MODELS: Final = 100
_TABLES: Final = Sql("""
    SELECT table FROM system.columns WHERE database = currentDatabase() AND name = 'project'
    ORDER BY table""")
# Retention counts days from the arrival of these. Other rows are deleted with them.
_RECORDS: Final = [str(life.table) for life in COUNTED if not life.is_payload]
_PAYLOAD_TABLES: Final = [str(life.table) for life in COUNTED if life.is_payload]
_PROJECTS: Final = 100


router = APIRouter(prefix="/api/v1", tags=["storage"], route_class=DeferredRoute)

Days = Annotated[
    int | None,
    Query(
        ge=0,
        le=MOST_DAYS,
        description="Also compute how much space would be freed if data were kept for this many"
        " days only",
    ),
]
WaitFree = Annotated[
    int,
    Query(ge=0, le=600, description="How long to wait until the space is free, in seconds"),
]
FromRetention = Annotated[Retention, Depends(service_of(Retention))]
FromDeleter = Annotated[Deleter, Depends(service_of(Deleter))]
ToRead = Annotated[Access, Depends(needs(READ))]
_ADMIN: Final = [Depends(needs(ADMIN))]


@dataclass(frozen=True, slots=True)
class StorageQuery:
    """The page of projects to list, and a shorter retention to try, in days."""

    days: Days = None
    limit: Limit = _PROJECTS
    cursor: Cursor = None


@dataclass(frozen=True, slots=True)
class StoredPart:
    """The size of a table on disk.

    Attributes:
        waiting: Bytes of files that still contain deleted rows, along with other rows.
        replaced: Bytes of old files for which the store has already written new files. The store
            removes the old files soon.
    """

    table: str
    rows: int
    bytes: int
    waiting: int
    replaced: int


def _count_rows(
    reader: Reader, tables: Collection[str], before_ns: int | None = None
) -> dict[str, dict[str, int]]:
    """Count the rows of tables by project, optionally only those that arrived before a time.

    Rows that were delivered twice count twice.
    """
    count_rows: dict[str, dict[str, int]] = {}
    older = Sql("1") if before_ns is None else Sql("arrived_ns < {before:Int64}")
    for table in TABLE_NAMES.intersection(tables):
        sql = Sql("""
            SELECT project, count() AS rows FROM {table} WHERE {readable} AND {older}
            GROUP BY project
            """).fill(table=identifier(table, TABLE_NAMES), readable=READABLE, older=older)
        rows = reader.rows(sql, {"before": before_ns or 0})
        count_rows[table] = {row["project"]: row["rows"] for row in rows}
    return count_rows


class Share(AnswerBody):
    """The size on disk of a part of the store."""

    rows: int
    bytes: int = Field(description="Compressed bytes, estimated from the share of the table's rows")


class ModelShare(Share):
    """The size on disk of a model's runs."""

    model: str = Field(description="Empty for runs without a model")


class ProjectShare(Share):
    """The size on disk of a project."""

    project: str
    kinds: dict[str, Share] = Field(
        description="Bytes of each kind: runs, payloads, logs, metrics, artifacts, other"
    )
    models: list[ModelShare] = Field(
        description="Bytes of the runs and payloads of the 100 largest models, the largest first"
    )
    record_days: int = Field(description="Days that records are kept; 0: forever")
    payload_days: int = Field(description="Days that payloads are kept; 0: forever")
    freed_records: int | None = Field(description="Bytes of records older than `days`, or null")
    freed_payloads: int | None = Field(description="Bytes of payloads older than `days`, or null")


class RetentionRun(AnswerBody):
    """The outcome of the last run of retention."""

    time: str = Field(description="RFC 3339, UTC")
    deleted_rows: dict[str, int] = Field(description="By table")
    error: str | None = Field(description="Why retention stopped early")


class Deleted(AnswerBody):
    """A deletion. Once its state is `done`, no answer shows the deleted records."""

    project: str
    kind: str = Field(description="run, session, user, model or project")
    target: str = Field(
        description="ID of the run, or name of the session, user or model; empty for a project"
    )
    deleted_time: str = Field(description="RFC 3339, UTC")
    deleted_runs: int | None = Field(
        description="Runs and spans, open ones included; null until they are counted"
    )
    state: Literal["waiting", "running", "done"] = Field(
        description="`waiting`: the deletion waits for another one, or failed and is tried again"
    )
    steps_done: int = Field(
        description="Number of finished steps. After a restart of the collector, the deletion "
        "begins with the first step again"
    )
    steps: int = Field(description="Number of steps")
    trouble: str = Field(description="Why the last attempt failed; it is repeated within a minute")


class Storage(AnswerBody):
    """The size of the store on disk, by project, kind and model."""

    bytes: int = Field(
        description="Compressed bytes. With a key for some projects, only the bytes of these "
        "projects"
    )
    waiting_bytes: int = Field(
        description="Bytes of files that still hold rows that are deleted, until the next merge or "
        "a purge"
    )
    replaced_bytes: int = Field(
        description="Bytes of replaced files, which are removed after 8 to 40 s"
    )
    tables: dict[str, Share]
    projects: list[ProjectShare] = Field(description="The largest first")
    projects_found: int = Field(description="Number of projects on all pages")
    next_cursor: str | None
    days: int | None = Field(
        description="The number of days that `freed_records` and `freed_payloads` are computed for"
    )
    retention: RetentionRun | None = Field(
        description="The last run of retention; null before the first one"
    )
    deletions: list[Deleted] = Field(default=[], description="Deletions that are not finished")


class Disk(AnswerBody):
    """The disk of the collector's data directory. All values are null for a ClickHouse server."""

    folder: str | None = Field(description="The data directory")
    free_bytes: int | None
    total_bytes: int | None


class Purged(AnswerBody):
    """The result of a purge: the tables that were rewritten without their deleted rows."""

    tables: list[str] = Field(description="Tables that contained deleted rows")
    bytes_before: int
    bytes_after: int
    replaced_bytes: int = Field(description="Bytes of replaced files that are still on disk")
    freed_time: str | None = Field(
        description="When the space was free: after the last replaced file was removed. RFC 3339, "
        "UTC; null if some are still on disk"
    )


class Rebuilt(AnswerBody):
    """The result of a rebuild."""

    day: str = Field(description="The day, `YYYY-MM-DD`, UTC")
    traces: int = Field(description="Traces with runs on this day")
    runs: int = Field(description="Runs with values from other runs, which were computed again")


class WantedRetention(BaseModel):
    """How long a project's records and payloads are kept, counted from their arrival."""

    model_config = ConfigDict(extra="forbid")

    record_days: int | None = Field(
        default=None,
        ge=0,
        le=MOST_DAYS,
        description="Days to keep records. 0: forever; null: the collector's setting",
    )
    payload_days: int | None = Field(
        default=None,
        ge=0,
        le=MOST_DAYS,
        description="Days to keep payloads. 0: as long as the records; null: the collector's "
        "setting",
    )


class ConfirmedClock(AnswerBody):
    """The clock that was confirmed, and when retention ran before."""

    time: str = Field(description="Time of the collector's clock, RFC 3339, UTC")
    last_pass_time: str | None = Field(description="When retention last ran; null if it never did")


class KeptFor(WantedRetention):
    """The retention that applies to a project, and the project's own setting."""

    project: str
    holds_record_days: int = Field(description="Days that records are kept; 0: forever")
    holds_payload_days: int = Field(
        description="Days that payloads are kept; 0: as long as the records"
    )


class Deletions(AnswerBody):
    """The unfinished deletions of a project."""

    deletions: list[Deleted] = Field(description="The oldest first")


# Example of a deletion that continues in the background.
_IN_PROGRESS: Final = Deleted(
    project="shop",
    kind="model",
    target="answer",
    deleted_time="2026-07-01T12:00:00Z",
    deleted_runs=500_000,
    state="running",
    steps_done=2,
    steps=18,
    trouble="",
)
_ACCEPTED: Final[dict[int | str, dict[str, Any]]] = {
    202: {
        "model": Deleted,
        "description": "The deletion continues in the background",
        "content": {"application/json": {"example": _IN_PROGRESS.model_dump()}},
    }
}


def find_storage(
    reader: Reader, access: Access, retention: Retention, query: StorageQuery, now_ns: int
) -> Storage:
    """Find the sizes on disk, and the bytes that a shorter retention would free.

    Args:
        reader: A reader of all projects. The size of a project is estimated from its share of the
            rows of all projects.
        access: The access of the caller. Projects that the caller may not access are left out. So
            is the total of the store, unless the caller may access all projects.
        retention: Reads how long each project is kept.
        query: The page of the list of projects, and the shorter retention to try.
        now_ns: The current time, in nanoseconds since 1970.

    Raises:
        BadInput: The cursor is wrong.
    """
    tables = {part.table: part for part in (StoredPart(**row) for row in reader.rows(PARTS, {}))}
    rows = _count_rows(reader, [row["table"] for row in reader.rows(_TABLES, {})])
    known = {table: sum(counts.values()) for table, counts in rows.items()}
    wishes = retention.read()
    older: dict[str, dict[str, int]] = {}
    if query.days is not None:
        before_ns = now_ns - query.days * DAY_NS
        older = _count_rows(reader, (*_RECORDS, *_PAYLOAD_TABLES), before_ns)

    def share(table: str, number: int) -> int:
        """Return the estimated bytes of some rows of a table."""
        is_stored = known.get(table) and table in tables
        return tables[table].bytes * number // known[table] if is_stored else 0

    sizes: Counter[str] = Counter()
    for table, counts in rows.items():
        for name, number in counts.items():
            if access.reaches(name):
                sizes[name] += share(table, number)
    page, next_cursor = _take_page(sizes, query)

    projects = []
    for name in page:
        kept = retention.days_of(name, wishes)
        kinds = {kind: Share(rows=0, bytes=0) for kind in (*_TOPICS, OTHER)}
        for table, counts in rows.items():
            kind = kinds[KINDS.get(table, OTHER)]
            kind.rows += counts.get(name, 0)
            kind.bytes += share(table, counts.get(name, 0))
        freed = {table: share(table, counts.get(name, 0)) for table, counts in older.items()}
        of_project = ProjectShare(
            project=name,
            rows=sum(kind.rows for kind in kinds.values()),
            bytes=sizes[name],
            kinds=kinds,
            models=[],
            record_days=kept.records,
            payload_days=kept.of_payloads,
            freed_records=sum(freed.get(table, 0) for table in _RECORDS) if older else None,
            freed_payloads=sum(freed.get(table, 0) for table in _PAYLOAD_TABLES) if older else None,
        )
        projects.append(of_project)
    _add_models(reader, projects)
    whole = tables.values() if access.projects is None else ()
    return Storage(
        bytes=sum(part.bytes for part in whole) or sum(sizes.values()),
        waiting_bytes=sum(part.waiting for part in whole),
        replaced_bytes=sum(part.replaced for part in whole),
        tables={part.table: Share(rows=part.rows, bytes=part.bytes) for part in whole},
        projects=projects,
        projects_found=len(sizes),
        next_cursor=next_cursor,
        days=query.days,
        retention=_make_retention_run(retention.last) if access.projects is None else None,
    )


def _take_page(sizes: Mapping[str, int], query: StorageQuery) -> tuple[list[str], str | None]:
    """Return the projects of a page, the largest first, and the cursor of the next page."""
    ordered = sorted((-size, name) for name, size in sizes.items())
    if query.cursor:
        size, name = read_cursor(query.cursor, int, str, numbers=TIMES)
        ordered = [place for place in ordered if place > (-size, name)]
    page = ordered[: query.limit]
    has_more = len(ordered) > len(page)
    return [name for _, name in page], write_place(
        [-page[-1][0], page[-1][1]]
    ) if has_more else None


def _add_models(reader: Reader, shares: Sequence[ProjectShare]) -> None:
    """Add the estimated bytes of runs and payloads of the 100 models with most runs."""
    sql = Sql("""
        SELECT project, model, count() AS rows FROM {deliveries}
        WHERE project IN {projects:Array(String)}
        GROUP BY project, model ORDER BY rows DESC, model LIMIT {models} BY project""").fill(
        deliveries=DELIVERIES, models=_MODELS
    )
    by_project = defaultdict[str, list[Row]](list)
    for row in reader.rows(sql, {"projects": [share.project for share in shares]}):
        by_project[row["project"]].append(row)
    for share in shares:
        both = share.kinds["runs"].bytes + share.kinds["payloads"].bytes
        runs = max(share.kinds["runs"].rows, 1)
        share.models = [
            ModelShare(
                model=row["model"], rows=row["rows"], bytes=min(both * row["rows"] // runs, both)
            )
            for row in by_project[share.project]
        ]


def _make_retention_run(swept: Swept | None) -> RetentionRun | None:
    if swept is None:
        return None
    time = to_rfc3339(swept.time_ns)
    return RetentionRun(time=time, deleted_rows=swept.rows, error=swept.error or None)


def read_store_state(reader: Reader) -> StoreState:
    """Read the size of each table on disk, and the time of the last backup. Takes 1 to 2 ms."""
    sizes = Sql("""
        SELECT table, sumIf(rows, active) AS rows, sumIf(bytes_on_disk, active) AS bytes,
          sumIf(bytes_on_disk, NOT active) AS replaced_bytes
        FROM system.parts WHERE database = currentDatabase() GROUP BY table ORDER BY table""")
    rows = list(reader.rows(sizes, {}))
    tables = [TableSize(row["table"], row["rows"], row["bytes"]) for row in rows if row["rows"]]
    backup = Sql("SELECT max(value) AS time_ns FROM store_meta WHERE name = {name:String}")
    (last,) = reader.rows(backup, {"name": BACKUP_ROW})
    return StoreState(tables, sum(row["replaced_bytes"] for row in rows), last["time_ns"])


@router.get("/storage")
def get_storage(
    request: Request,
    admin: Admin,
    retention: FromRetention,
    deleter: FromDeleter,
    query: Annotated[StorageQuery, Depends()],
) -> Storage:
    """Read how much disk space each project uses, by model and by kind of data, such as payloads.

    With `days`, also read how much space would be freed if data were kept for this many days only.

    The largest projects come first. Sizes can change while you read page after page, so that a
    project is listed twice or left out.

    A key for certain projects gets only these projects, without the total of the store.
    """
    reader = find_service(request, Reader)
    storage = find_storage(reader, admin, retention, query, time.time_ns())
    storage.deletions = find_deletions(deleter, admin)
    return storage


@router.get("/disk")
def get_disk(request: Request, access: ToRead) -> Disk:
    """Read how much space is free for the collector's data."""
    folder = find_service(request, Purger).folder
    if folder is None:
        return Disk(folder=None, free_bytes=None, total_bytes=None)
    usage = shutil.disk_usage(folder)
    return Disk(folder=str(folder), free_bytes=usage.free, total_bytes=usage.total)


@router.post("/storage/purge")
def post_purge(request: Request, admin: Admin, wait_s: WaitFree = 0) -> Purged:
    """Free the disk space of deleted rows.

    The files with deleted rows are replaced with files without these rows. The store removes the
    old files 8 to 40 s later. With `wait_s`, the response is sent when the old files are gone, or
    after this many seconds.
    """
    demand_all(admin)
    done = find_service(request, Purger).purge(wait_s)
    return Purged(
        tables=done.tables,
        bytes_before=done.bytes_before,
        bytes_after=done.bytes_after,
        replaced_bytes=done.replaced_bytes,
        freed_time=None if done.freed_ns is None else to_rfc3339(done.freed_ns),
    )


@router.post("/storage/rebuild")
def post_rebuild(request: Request, admin: Admin, day: date) -> Rebuilt:
    """Compute again what other runs change about the runs of a day.

    For example, which session a run inherits from its trace, and which tokens and cost count for
    it. The values are computed from the recorded runs and not from stored values. The response is
    sent when all runs of the day (UTC) are done.
    """
    demand_all(admin)
    text = day.isoformat()
    start_ns = from_rfc3339(f"{text}T00:00:00Z", "day")
    done = find_service(request, CallResolver).rebuild(start_ns)
    return Rebuilt(day=text, traces=done.traces, runs=done.runs)


@router.post("/retention/confirm")
def confirm_clock(admin: Admin, retention: FromRetention) -> ConfirmedClock:
    """Confirm that the collector's clock is right, so that retention deletes again.

    Retention, the job that deletes old data, pauses if the clock has moved by more than 2 days
    since the job last ran. After this call, the job deletes again within seconds.
    """
    demand_all(admin)
    move = retention.confirm()
    last = to_rfc3339(move.last_ns) if move.last_ns else None
    return ConfirmedClock(time=to_rfc3339(move.now_ns), last_pass_time=last)


@router.get("/projects/{project:path}/retention")
def get_retention(project: str, admin: Admin, retention: FromRetention) -> KeptFor:
    """Read how long a project is kept, counted from the arrival of its records."""
    return kept_for(project, retention)


@router.put("/projects/{project:path}/retention")
def put_retention(
    project: str, wanted: WantedRetention, admin: Admin, retention: FromRetention
) -> KeptFor:
    """Set the retention of a project; within an hour, older data is deleted."""
    retention.set(project, Wish(wanted.record_days, wanted.payload_days))
    return kept_for(project, retention)


def kept_for(project: str, retention: Retention) -> KeptFor:
    """Return how long a project is kept, and the project's own setting."""
    wishes = retention.read()
    wish, days = wishes.get(project, Wish()), retention.days_of(project, wishes)
    return KeptFor(
        project=project,
        record_days=wish.records,
        payload_days=wish.payloads,
        holds_record_days=days.records,
        holds_payload_days=days.of_payloads,
    )


class SeenFolder(AnswerBody):
    """A folder as the caller sees it."""

    model_config = ConfigDict(extra="forbid")

    path: str = Field(min_length=1, max_length=4_000, description="Absolute path")
    device: int = Field(description="`st_dev` of the folder")
    inode: int = Field(description="`st_ino` of the folder")


class WantedBackup(BaseModel):
    """The folder to write a backup to."""

    model_config = ConfigDict(extra="forbid")

    folder: str = Field(
        min_length=1,
        max_length=4_000,
        description="Absolute path on the collector's machine, of an empty folder or a new one",
    )
    seen: SeenFolder | None = Field(
        default=None,
        description="Identity of the folder, or of its nearest existing parent folder. If the "
        "path is another folder for the collector, for example because of a private"
        " /tmp, the backup is refused",
    )


class WrittenBackup(AnswerBody):
    """A backup that is on disk."""

    folder: str
    bytes: int
    rested_ms: float = Field(
        description="How long writing was paused for the backup, in milliseconds"
    )


@router.post("/backup", status_code=201)
def post_backup(wanted: WantedBackup, request: Request, admin: Admin) -> WrittenBackup:
    """Write a backup of the embedded store while it is in use.

    Only from the collector's own machine, with a key over all projects.
    """
    demand_all(admin)
    if not is_local(request.scope):
        raise NotPermitted("Backups can be requested only from the collector's own machine")
    seen = wanted.seen
    identity = FolderIdentity(Path(seen.path), seen.device, seen.inode) if seen else None
    done = find_service(request, Backups).write(Path(wanted.folder), identity)
    return WrittenBackup(folder=str(done.folder), bytes=done.bytes, rested_ms=done.rested_ns / 1e6)


@router.get("/projects/{project:path}/deletions", dependencies=_ADMIN)
def list_deletions(project: str, deleter: FromDeleter) -> Deletions:
    """List the unfinished deletions, with their progress."""
    return Deletions(deletions=find_deletions(deleter, replace(OPEN, projects=(project,))))


@router.delete("/projects/{project:path}/runs/{run_id}", dependencies=_ADMIN, responses=_ACCEPTED)
def delete_run(project: str, run_id: str, deleter: FromDeleter, response: Response) -> Deleted:
    """Delete a run with all records about it; runs below it stay."""
    return _delete(deleter, response, Deletion(project, RUN, run_id))


@router.delete(
    "/projects/{project:path}/sessions/{session:path}", dependencies=_ADMIN, responses=_ACCEPTED
)
def delete_session(project: str, session: str, deleter: FromDeleter, response: Response) -> Deleted:
    """Delete the traces of a session, except runs that name another session.

    Runs of it that start later are stored again.
    """
    return _delete(deleter, response, Deletion(project, SESSION, session))


@router.delete(
    "/projects/{project:path}/users/{user:path}", dependencies=_ADMIN, responses=_ACCEPTED
)
def delete_user(project: str, user: str, deleter: FromDeleter, response: Response) -> Deleted:
    """Delete the traces of a user, except runs that name another user.

    Runs of the user that start later are stored again.
    """
    return _delete(deleter, response, Deletion(project, USER, user))


@router.delete(
    "/projects/{project:path}/models/{model:path}", dependencies=_ADMIN, responses=_ACCEPTED
)
def delete_model(project: str, model: str, deleter: FromDeleter, response: Response) -> Deleted:
    """Delete a model: its runs, versions and the records logged about them.

    Runs of it that start later are stored again; version numbers continue.
    """
    return _delete(deleter, response, Deletion(project, MODEL, model))


@router.delete("/projects/{project:path}", dependencies=_ADMIN, responses=_ACCEPTED)
def delete_project(project: str, deleter: FromDeleter, response: Response) -> Deleted:
    """Delete everything in a project. Runs that start later are stored again."""
    return _delete(deleter, response, Deletion(project, PROJECT, ""))


def find_deletions(deleter: Deleter, access: Access) -> list[Deleted]:
    """Find the unfinished deletions of the projects of an access."""
    return [
        _describe(progress)
        for progress in deleter.list_unfinished()
        if access.reaches(progress.deletion.project)
    ]


def _delete(deleter: Deleter, response: Response, wanted: Deletion) -> Deleted:
    progress = deleter.begin(wanted.project, wanted.kind, wanted.target)
    if progress.state != "done":
        response.status_code = HTTPStatus.ACCEPTED
    return _describe(progress)


def _describe(progress: DeletionProgress) -> Deleted:
    deletion = progress.deletion
    return Deleted(
        project=deletion.project,
        kind=deletion.kind,
        target=deletion.target,
        deleted_time=to_rfc3339(deletion.deleted_ns),
        deleted_runs=progress.runs,
        state=progress.state,
        steps_done=progress.steps_done,
        steps=progress.steps,
        trouble=progress.trouble,
    )
