"""Logged objects and their documents."""

from pydantic import BaseModel, Field

from otel_ml_collector.query.answers.values import JsonValue


class Artifact(BaseModel):
    """What was logged under a reference; its document is read by `url`."""

    ref: str
    type: str = Field(description="Such as otel_ml.types.Numpy")
    bytes: int = Field(description="Size of the document")
    sha256: str | None = Field(description="Of the document; null when it has none")
    preview: JsonValue = Field(description="The value in short")
    time: str = Field(description="RFC 3339, UTC")
    url: str | None = Field(description="Null while the document is not here")


class LoggedObject(Artifact):
    """An artifact with what it is about; the ids are null for what a run does not have."""

    obj_id: str
    trace_id: str | None = Field(description="The trace's id, or the key under which it was told")
    run_id: str | None


class ObjectsPage(BaseModel):
    """One page of a list, newest first; `next_cursor` is null on the last one."""

    objects: list[LoggedObject]
    next_cursor: str | None


class ObjectData(BaseModel):
    """An artifact with its document."""

    obj_id: str
    ref: str
    type: str
    trace_id: str | None
    run_id: str | None
    time: str
    obj_data: JsonValue = Field(description='{"type": ..., "params": {...}}')


class StoredArtifact(BaseModel):
    """A document that is stored."""

    sha256: str
    bytes: int
    url: str
