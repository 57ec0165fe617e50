"""The part of the JSON API about what is on disk and how long: for the scope admin."""

import time
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request

from otel_ml_collector.api.parameters import Admin, demand_all
from otel_ml_collector.query.answers import storage as answers
from otel_ml_collector.storage.find import find_storage
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.retention import Retention, Wish
from otel_ml_collector.upkeep import Upkeep

router = APIRouter(prefix="/api/v1", tags=["storage"])

Days = Annotated[int | None, Query(ge=0, le=36_500, description="What would that many days free?")]


async def retention_of(request: Request) -> Retention:
    """Return what keeps the application's records no longer than wanted."""
    upkeep: Upkeep = request.app.state.upkeep
    return upkeep.retention


FromRetention = Annotated[Retention, Depends(retention_of)]


@router.get("/storage")
def get_storage(
    request: Request, admin: Admin, retention: FromRetention, days: Days = None
) -> answers.Storage:
    """Tell bytes by project, model and kind, and what a shorter retention would free.

    A key of some projects is told of these, and nothing of the whole.
    """
    reader: Reader = request.app.state.reader
    return find_storage(reader, admin, retention, days, time.time_ns())


@router.post("/storage/purge")
def post_purge(request: Request, admin: Admin) -> answers.Purged:
    """Take deleted rows off the disk now; the files that are replaced go 8 minutes later."""
    demand_all(admin)
    upkeep: Upkeep = request.app.state.upkeep
    done = upkeep.purger.purge()
    return answers.Purged(
        tables=done.tables, bytes_before=done.bytes_before, bytes_after=done.bytes_after
    )


@router.get("/projects/{project:path}/retention")
def get_retention(project: str, admin: Admin, retention: FromRetention) -> answers.KeptFor:
    """Tell how long a project is kept, counted from when its records arrive."""
    return _kept(project, retention)


@router.put("/projects/{project:path}/retention")
def put_retention(
    project: str, wanted: answers.Retention, admin: Admin, retention: FromRetention
) -> answers.KeptFor:
    """Set how long a project is kept; within an hour, what is older is deleted."""
    retention.set(project, Wish(wanted.record_days, wanted.payload_days))
    return _kept(project, retention)


def _kept(project: str, retention: Retention) -> answers.KeptFor:
    wishes = retention.read()
    wish, days = wishes.get(project, Wish()), retention.days_of(project, wishes)
    return answers.KeptFor(
        project=project,
        record_days=wish.records,
        payload_days=wish.payloads,
        holds_record_days=days.records,
        holds_payload_days=days.of_payloads,
    )
