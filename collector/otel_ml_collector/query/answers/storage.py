"""Answers about what the store takes on disk, what is kept, and what was deleted."""

from pydantic import BaseModel, ConfigDict, Field

# Of what `bytes` and `rows` are told: light rows of runs; inputs, outputs and the rest of a run's
# page; lines of text that came late; points and scores; logged data; all else.
KINDS = ("runs", "payloads", "logs", "metrics", "artifacts", "other")


class Share(BaseModel):
    """What a part of the store takes on disk."""

    rows: int
    bytes: int = Field(description="Compressed; of a table's bytes, by its share of the rows")


class ModelShare(Share):
    """What the runs of one model take."""

    model: str = Field(description="Empty for runs of no model")


class ProjectShare(Share):
    """What a project takes."""

    project: str
    kinds: dict[str, Share] = Field(
        description="By kind: runs, payloads, logs, metrics, artifacts, other"
    )
    models: list[ModelShare] = Field(description="Runs and payloads, the largest first, 100")
    record_days: int = Field(description="How long its records are kept; 0 for ever")
    payload_days: int = Field(description="How long its payloads are kept; 0 for ever")
    freed_records: int | None = Field(description="Bytes of records older than `days`, or null")
    freed_payloads: int | None = Field(description="Bytes of payloads older than `days`, or null")


class RetentionRun(BaseModel):
    """What the last run of retention did."""

    time: str = Field(description="RFC 3339, UTC")
    deleted_rows: dict[str, int] = Field(description="By table")
    error: str | None = Field(description="Why it did not come to its end")


class Storage(BaseModel):
    """What the store takes on disk, by project, kind and model."""

    bytes: int = Field(description="Compressed; with a key of some projects, theirs alone")
    waiting_bytes: int = Field(
        description="Bytes of files that still hold rows that are deleted, until the next merge or "
        "a purge"
    )
    replaced_bytes: int = Field(description="Bytes of replaced files: they go 8 minutes later")
    tables: dict[str, Share]
    projects: list[ProjectShare] = Field(description="The largest first")
    days: int | None = Field(description="Of what `freed_records` and `freed_payloads` tell")
    retention: RetentionRun | None = Field(description="Null before the first one")


class Purged(BaseModel):
    """What a purge wrote anew without the deleted rows."""

    tables: list[str] = Field(description="Those that held deleted rows")
    bytes_before: int
    bytes_after: int


class Retention(BaseModel):
    """How long a project's records and payloads are kept, counted from their arrival."""

    model_config = ConfigDict(extra="forbid")

    record_days: int | None = Field(
        default=None, ge=0, le=36_500, description="0 for ever, null as configured"
    )
    payload_days: int | None = Field(
        default=None, ge=0, le=36_500, description="0 for ever, null as configured"
    )


class KeptFor(Retention):
    """What holds for a project, and what was set for it."""

    project: str
    holds_record_days: int = Field(description="0 for ever")
    holds_payload_days: int = Field(description="0 for ever, or as long as the records")


class Deleted(BaseModel):
    """What was deleted: no answer tells of it any more."""

    project: str
    kind: str = Field(description="run, session, user, model or project")
    target: str = Field(description="Run id or name; empty for a project")
    deleted_time: str = Field(description="RFC 3339, UTC")
    deleted_runs: int = Field(description="Runs and spans, open ones included")
