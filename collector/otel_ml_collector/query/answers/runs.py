"""Runs, their lists and their traces."""

from pydantic import BaseModel, Field

from otel_ml_collector.query.answers.artifacts import Artifact
from otel_ml_collector.query.answers.parts import Evaluation, LogLine, TagDetail, Tokens
from otel_ml_collector.query.answers.told import TraceRecords
from otel_ml_collector.query.answers.values import JsonValue, MetricValue


class RunSummary(BaseModel):
    """A run as lists show it: short previews stand for inputs and outputs."""

    run_id: str
    trace_id: str
    parent_run_id: str | None
    trace_key: str = Field(
        default="", description="The user's own key of the trace, the first of several"
    )
    project: str
    kind: str
    name: str
    span_kind: str = Field(description="OpenTelemetry's: server, client, internal, ...")
    model: str
    version: int | None = Field(description="The model version's small number")
    digest: str
    start_time: str = Field(description="RFC 3339, UTC")
    start_ns: int
    latency_ms: float | None = Field(description="Null while the run has no end")
    outcome: str = Field(
        description="ok, error, cancelled or abandoned; of a run without an end running, or "
        "crashed when its process ended or was silent for 5 minutes"
    )
    last_heard_ns: int | None = Field(
        description="Of a run without an end: when its process was last heard of"
    )
    error_type: str
    error_message: str
    inputs: str = Field(description="A preview in plain text")
    outputs: str | None = Field(
        description="A preview in plain text, null while the run has no end"
    )
    tags: dict[str, JsonValue]
    scores: dict[str, float]
    passed: dict[str, bool]
    failed_judges: list[str] = Field(description="Judges that raised instead of scoring")
    session: str
    user: str
    environment: str
    release: str
    provider: str
    provider_model: str
    tokens: Tokens
    cost: float | None


class Run(RunSummary):
    """A run with everything that is known of it."""

    inputs: JsonValue
    outputs: JsonValue
    chunks: JsonValue = Field(
        description="What a stream gave piece by piece, where its output is what they amount to"
    )
    params: JsonValue
    trace_keys: list[str] = Field(description="All keys of the trace")
    capture: dict[str, list[str]] = Field(
        description="What was left out, by part: truncated, redacted, not_followed, ..."
    )
    metrics: dict[str, MetricValue] = Field(
        description="A number or numbers; of a long series 1,000, the shape of its curve"
    )
    metric_points: dict[str, int] = Field(description="How many points each metric has")
    evaluations: list[Evaluation]
    tag_details: list[TagDetail]
    logs: list[LogLine]
    artifacts: list[Artifact] = Field(description="Newest first, at most 1,000")
    events: JsonValue
    links: JsonValue
    attributes: dict[str, JsonValue]
    resource: dict[str, JsonValue]
    scope: dict[str, JsonValue]
    dialect: str


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
