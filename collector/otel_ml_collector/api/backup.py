"""The part of the JSON API that writes backups: for the scope admin, from this machine."""

from pathlib import Path

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from otel_ml_collector.access import is_local
from otel_ml_collector.api.parameters import Admin, demand_all
from otel_ml_collector.errors import Forbidden
from otel_ml_collector.upkeep import Upkeep

router = APIRouter(prefix="/api/v1", tags=["storage"])


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
    upkeep: Upkeep = request.app.state.upkeep
    done = upkeep.backups.write(Path(wanted.folder))
    return WrittenBackup(folder=str(done.folder), bytes=done.bytes, rested_ms=done.rested_ns / 1e6)
