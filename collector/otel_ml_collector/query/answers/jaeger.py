"""What Jaeger's query API answers, field by field as its `model/json` and `http_handler` say."""

# ruff: noqa: N815 - the names are Jaeger's

from typing import Literal

from pydantic import BaseModel, Field

TagType = Literal["string", "bool", "int64", "float64", "binary"]


class KeyValue(BaseModel):
    """A tag, or a field of a log."""

    key: str
    type: TagType
    value: str | bool | int | float


class Reference(BaseModel):
    """One span's tie to another."""

    refType: Literal["CHILD_OF", "FOLLOWS_FROM"]
    traceID: str
    spanID: str


class Log(BaseModel):
    """Something that a span told while it went on."""

    timestamp: int = Field(description="Microseconds since the epoch")
    fields: list[KeyValue]


class Process(BaseModel):
    """Who sent spans."""

    serviceName: str
    tags: list[KeyValue]


class Span(BaseModel):
    """A span; times are microseconds."""

    traceID: str
    spanID: str
    flags: int = 1
    operationName: str
    references: list[Reference]
    startTime: int
    duration: int
    tags: list[KeyValue]
    logs: list[Log]
    processID: str
    warnings: list[str] | None


class JaegerTrace(BaseModel):
    """A trace with its spans, oldest first."""

    traceID: str
    spans: list[Span]
    processes: dict[str, Process]
    warnings: list[str] | None


class Operation(BaseModel):
    """What a service does."""

    name: str
    spanKind: str


class JaegerError(BaseModel):
    """What went wrong."""

    code: int
    msg: str


class Structured(BaseModel):
    """Every answer, also that of an error."""

    data: list[JaegerTrace] | list[Operation] | list[str] | None
    total: int = 0
    limit: int = 0
    offset: int = 0
    errors: list[JaegerError] | None = None
