"""The part of the JSON API that deletes: for the scope admin."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request

from otel_ml_collector.access import ADMIN
from otel_ml_collector.api.parameters import needs
from otel_ml_collector.query.answers.storage import Deleted
from otel_ml_collector.query.times import to_rfc3339
from otel_ml_collector.store.deletion import Deleter
from otel_ml_collector.store.verdict import MODEL, PROJECT, RUN, SESSION, USER
from otel_ml_collector.upkeep import Upkeep

router = APIRouter(prefix="/api/v1", dependencies=[Depends(needs(ADMIN))], tags=["storage"])


async def deleter_of(request: Request) -> Deleter:
    """Return what deletes in the application's store."""
    upkeep: Upkeep = request.app.state.upkeep
    return upkeep.deleter


FromDeleter = Annotated[Deleter, Depends(deleter_of)]


@router.delete("/projects/{project:path}/runs/{run_id}")
def delete_run(project: str, run_id: str, deleter: FromDeleter) -> Deleted:
    """Delete one run with all that is about it; runs below it stay."""
    return _delete(deleter, project, RUN, run_id)


@router.delete("/projects/{project:path}/sessions/{session:path}")
def delete_session(project: str, session: str, deleter: FromDeleter) -> Deleted:
    """Delete the traces of a session, but for runs that name another one.

    Runs of it that start later are stored again.
    """
    return _delete(deleter, project, SESSION, session)


@router.delete("/projects/{project:path}/users/{user:path}")
def delete_user(project: str, user: str, deleter: FromDeleter) -> Deleted:
    """Delete the traces of a user, but for runs that name another one.

    Runs of theirs that start later are stored again.
    """
    return _delete(deleter, project, USER, user)


@router.delete("/projects/{project:path}/models/{model:path}")
def delete_model(project: str, model: str, deleter: FromDeleter) -> Deleted:
    """Delete a model: its runs, versions and what is logged about them.

    Runs of it that start later are stored again; the numbers of its versions go on.
    """
    return _delete(deleter, project, MODEL, model)


@router.delete("/projects/{project:path}")
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
