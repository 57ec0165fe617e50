"""What is on disk, how long it is kept, deletion and backups in the JSON API: for the scope admin.

Deletion stands behind all other routes: the name of a project may hold any of their paths.
"""

import time
from pathlib import Path
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from otel_ml_collector.access import ADMIN, is_local
from otel_ml_collector.api.parameters import Admin, demand_all, needs
from otel_ml_collector.errors import Forbidden
from otel_ml_collector.services import find_service, service_of
from otel_ml_collector.storage.find import (
    Deleted,
    KeptFor,
    Purged,
    Storage,
    WantedRetention,
    find_storage,
)
from otel_ml_collector.store.backup import Backups
from otel_ml_collector.store.deletion import Deleter
from otel_ml_collector.store.mutations import Purger
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.retention import Retention, Wish
from otel_ml_collector.store.verdict import MODEL, PROJECT, RUN, SESSION, USER
from otel_ml_collector.times import to_rfc3339

router = APIRouter(prefix="/api/v1", tags=["storage"])

Days = Annotated[int | None, Query(ge=0, le=36_500, description="What would that many days free?")]
_ADMIN: Final = [Depends(needs(ADMIN))]


FromRetention = Annotated[Retention, Depends(service_of(Retention))]


@router.get("/storage")
def get_storage(
    request: Request, admin: Admin, retention: FromRetention, days: Days = None
) -> Storage:
    """Tell bytes by project, model and kind, and what a shorter retention would free.

    A key of some projects is told of these, and nothing of the whole.
    """
    reader = find_service(request, Reader)
    return find_storage(reader, admin, retention, days, time.time_ns())


@router.post("/storage/purge")
def post_purge(request: Request, admin: Admin) -> Purged:
    """Take deleted rows off the disk now; the files that are replaced go 8 minutes later."""
    demand_all(admin)
    done = find_service(request, Purger).purge()
    return Purged(tables=done.tables, bytes_before=done.bytes_before, bytes_after=done.bytes_after)


@router.get("/projects/{project:path}/retention")
def get_retention(project: str, admin: Admin, retention: FromRetention) -> KeptFor:
    """Tell how long a project is kept, counted from when its records arrive."""
    return _kept(project, retention)


@router.put("/projects/{project:path}/retention")
def put_retention(
    project: str, wanted: WantedRetention, admin: Admin, retention: FromRetention
) -> KeptFor:
    """Set how long a project is kept; within an hour, what is older is deleted."""
    retention.set(project, Wish(wanted.record_days, wanted.payload_days))
    return _kept(project, retention)


def _kept(project: str, retention: Retention) -> KeptFor:
    wishes = retention.read()
    wish, days = wishes.get(project, Wish()), retention.days_of(project, wishes)
    return KeptFor(
        project=project,
        record_days=wish.records,
        payload_days=wish.payloads,
        holds_record_days=days.records,
        holds_payload_days=days.of_payloads,
    )


class WantedBackup(BaseModel):
    """Where a backup is to be."""

    model_config = ConfigDict(extra="forbid")

    folder: str = Field(
        min_length=1,
        max_length=4_000,
        description="Absolute path on the collector's machine, of an empty folder or a new one",
    )


class WrittenBackup(BaseModel):
    """A backup that is on disk."""

    folder: str
    bytes: int
    rested_ms: float = Field(description="How long what came in had to wait")


@router.post("/backup", status_code=201)
def post_backup(wanted: WantedBackup, request: Request, admin: Admin) -> WrittenBackup:
    """Write a backup of the embedded store while it is in use.

    Only from the collector's own machine, with a key over all projects.
    """
    demand_all(admin)
    if not is_local(request.scope):
        raise Forbidden("A backup is written for who asks from the collector's own machine")
    done = find_service(request, Backups).write(Path(wanted.folder))
    return WrittenBackup(folder=str(done.folder), bytes=done.bytes, rested_ms=done.rested_ns / 1e6)


FromDeleter = Annotated[Deleter, Depends(service_of(Deleter))]


@router.delete("/projects/{project:path}/runs/{run_id}", dependencies=_ADMIN)
def delete_run(project: str, run_id: str, deleter: FromDeleter) -> Deleted:
    """Delete one run with all that is about it; runs below it stay."""
    return _delete(deleter, project, RUN, run_id)


@router.delete("/projects/{project:path}/sessions/{session:path}", dependencies=_ADMIN)
def delete_session(project: str, session: str, deleter: FromDeleter) -> Deleted:
    """Delete the traces of a session, but for runs that name another one.

    Runs of it that start later are stored again.
    """
    return _delete(deleter, project, SESSION, session)


@router.delete("/projects/{project:path}/users/{user:path}", dependencies=_ADMIN)
def delete_user(project: str, user: str, deleter: FromDeleter) -> Deleted:
    """Delete the traces of a user, but for runs that name another one.

    Runs of theirs that start later are stored again.
    """
    return _delete(deleter, project, USER, user)


@router.delete("/projects/{project:path}/models/{model:path}", dependencies=_ADMIN)
def delete_model(project: str, model: str, deleter: FromDeleter) -> Deleted:
    """Delete a model: its runs, versions and what is logged about them.

    Runs of it that start later are stored again; the numbers of its versions go on.
    """
    return _delete(deleter, project, MODEL, model)


@router.delete("/projects/{project:path}", dependencies=_ADMIN)
def delete_project(project: str, deleter: FromDeleter) -> Deleted:
    """Delete all of a project. Runs that start later are stored again."""
    return _delete(deleter, project, PROJECT, "")


def _delete(deleter: Deleter, project: str, kind: str, target: str) -> Deleted:
    deletion, runs = deleter.delete(project, kind, target)
    return Deleted(
        project=project,
        kind=kind,
        target=target,
        deleted_time=to_rfc3339(deletion.deleted_ns),
        deleted_runs=runs,
    )
