"""Runs, their lists and their traces, as the API answers them and pages show them."""

from dataclasses import dataclass, field
from typing import Final

from pydantic import BaseModel, Field, TypeAdapter

from otel_ml.records import Evaluation, ListedRun, about
from otel_ml_collector.artifacts.find import Artifact
from otel_ml_collector.runs.series import MetricValue
from otel_ml_collector.store.reader import JsonValue


class TagDetail(BaseModel):
    """A tag with the user's own type and group."""

    name: str
    value: JsonValue
    type: str
    group: str


class LogLine(BaseModel):
    """A line of text of a run."""

    time_ns: int
    offset_ms: float = Field(description="Time since the run's start")
    severity: str
    message: str
    event: str = Field(default="", description="What kind of event it is, such as gen_ai.choice")
    attributes: dict[str, JsonValue] = Field(default={}, description="What else a log record says")


class Told(BaseModel):
    """What was told apart from any span: of a model's version, a trace key, a run not here."""

    tags: dict[str, JsonValue] = {}
    logs: list[LogLine] = Field(default=[], description="Offsets are from the first line")
    metrics: dict[str, MetricValue] = {}
    metric_points: dict[str, int] = {}
    evaluations: list[Evaluation] = []
    artifacts: list[Artifact] = []


class TraceRecords(Told):
    """What was told of a trace or its key (`run_id` is null), or of a run that is not here.

    Also the lines of a span that is here and has no run above it.
    """

    project: str
    run_id: str | None


@dataclass(slots=True, kw_only=True)
class RunSummary(ListedRun):
    """A run as lists show it: short previews stand for inputs and outputs."""

    start_time: str = field(metadata=about("RFC 3339, UTC"))
    last_heard_ns: int | None = field(
        metadata=about("Of a run without an end: when its process was last heard of")
    )
    inputs: str = field(metadata=about("A preview in plain text"))
    outputs: str | None = field(
        metadata=about("A preview in plain text, null while the run has no end")
    )


@dataclass(slots=True, kw_only=True)
class Run(RunSummary):
    """A run with everything that is known of it."""

    inputs: JsonValue
    outputs: JsonValue
    chunks: JsonValue = field(
        metadata=about("What a stream gave piece by piece, where its output is what they amount to")
    )
    params: JsonValue
    trace_keys: list[str] = field(metadata=about("All keys of the trace"))
    capture: dict[str, list[str]] = field(
        metadata=about("What was left out, by part: truncated, redacted, not_followed, ...")
    )
    metrics: dict[str, MetricValue] = field(
        metadata=about("A number or numbers; of a long series 1,000, the shape of its curve")
    )
    metric_points: dict[str, int] = field(metadata=about("How many points each metric has"))
    evaluations: list[Evaluation]
    tag_details: list[TagDetail]
    logs: list[LogLine]
    artifacts: list[Artifact] = field(metadata=about("Newest first, at most 1,000"))
    events: JsonValue
    links: JsonValue
    attributes: dict[str, JsonValue]
    resource: dict[str, JsonValue]
    scope: dict[str, JsonValue]
    dialect: str


# How they are written as JSON, as the API does.
SUMMARY: Final = TypeAdapter(RunSummary)
RUN: Final = TypeAdapter(Run)


class RunsPage(BaseModel):
    """One page of a list; `next_cursor` is null on the last one."""

    runs: list[RunSummary]
    next_cursor: str | None


class Trace(BaseModel):
    """All runs of the traces that have one id or key, oldest first."""

    key: str
    runs: list[RunSummary]
    records: list[TraceRecords] = Field(
        description="What was told of the trace or its key and of runs that are not here, and "
        "lines of no run, at most 100"
    )
    truncated: bool = Field(description="There are more runs than the answer holds")
    next_cursor: str | None = Field(default=None, description="Where the other runs go on")
    hidden_parents: list[str] = Field(
        default=[], description="Runs above these in projects that the key may not read"
    )
