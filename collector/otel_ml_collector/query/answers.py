"""The shapes of the API's answers; pages are rendered from the same objects."""

from typing import Any

from pydantic import BaseModel, Field

JsonValue = Any  # a payload: whatever the traced code was given or gave
MetricValue = float | None | list[float | None]  # null is NaN or infinite


class Tokens(BaseModel):
    """Token counts as the model's provider said them; input includes cached ones."""

    input: int | None = None
    output: int | None = None
    cached: int | None = None
    reasoning: int | None = None


class Evaluation(BaseModel):
    """What a judge (or person) said of a run; `error` means that it failed, which is no fail."""

    judge: str
    version: int | None = Field(description="The judge's small version number")
    digest: str
    score: float | None
    passed: bool | None
    label: str
    explanation: str
    error: str
    source: str


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
    params: JsonValue
    trace_keys: list[str] = Field(description="All keys of the trace")
    capture: dict[str, list[str]] = Field(
        description="What was left out, by part: truncated, redacted, ..."
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
    truncated: bool = Field(description="There are more runs than 10,000")
    hidden_parents: list[str] = Field(
        default=[], description="Runs above these in projects that the key may not read"
    )


class Project(BaseModel):
    """A project and its recorded runs; other spans, such as HTTP requests, are counted apart."""

    project: str
    runs: int
    other_spans: int
    errors: int
    artifacts: int = Field(description="Different documents that are stored")
    artifact_bytes: int
    last_start_time: str


class Model(BaseModel):
    """A model and its recorded runs."""

    model: str
    kind: str
    runs: int
    errors: int
    versions: int
    latest_version: int | None
    last_start_time: str


class JudgeStats(BaseModel):
    """What one judge said of one version."""

    judge: str
    evaluations: int
    failed: int = Field(description="Evaluations in which the judge itself failed")
    mean_score: float | None
    passed: int
    judged: int = Field(description="Evaluations that say whether the run passed")


class Content(BaseModel):
    """The content that a version of a model was named by, such as its weights."""

    sha256: str
    bytes: int


class Definition(BaseModel):
    """What a version is made of."""

    source: str | None = None
    signature: str = ""
    params: JsonValue = None
    helpers: dict[str, str] = {}
    constants: dict[str, JsonValue] = {}
    output: str | None = None
    artifact: Content | None = Field(default=None, description="Of a model without a function")


class Version(Told):
    """One state of a model, what its recorded runs look like, and what was told of it."""

    model: str
    version: int
    digest: str
    first_seen_time: str
    runs: int
    errors: int
    p50_ms: float | None
    p95_ms: float | None
    judges: list[JudgeStats]
    definition: Definition


class MetricPoint(BaseModel):
    """One point: `step` is null when it has none, `value` when it is NaN or infinite."""

    value: float | None
    step: int | None
    time_ns: int


class MetricSeries(BaseModel):
    """The points of one metric of one run, in the order they were logged."""

    run_id: str
    name: str
    count: int = Field(
        description="How many points it has; where `points` are fewer, the first and the last, "
        "and of each stretch between them the lowest and the highest"
    )
    points: list[MetricPoint]


class MetricOwner(BaseModel):
    """A run that logged metrics; its model is empty while only its metrics are here."""

    run_id: str
    model: str
    names: list[str]
    points: int
    last_time: str


class Projects(BaseModel):
    """All projects, the one that ran last first."""

    projects: list[Project]


class Models(BaseModel):
    """The models of a project, the one that ran last first."""

    models: list[Model]


class Versions(BaseModel):
    """The versions of a model, the newest first."""

    versions: list[Version]


class Metrics(BaseModel):
    """Metric series of one run, or the runs of a project that have some."""

    series: list[MetricSeries]
    runs: list[MetricOwner]


class LossCounts(BaseModel):
    """How many spans came of those that processes numbered.

    Only spans of our SDK are numbered, also updates, evaluations and heartbeats.
    """

    received: int = Field(description="Spans that are here, each counted once")
    missing: int = Field(
        description="Sent but not here (lost, or dropped by sampling on the way): numbers below "
        "one that has been here for a minute; a span that comes later is not missing any more"
    )
    late: int = Field(description="Of those received, came more than 5 minutes after they ended")
    dropped: int = Field(
        description="What the process told that it had dropped itself, which is missing too"
    )


class LossHour(LossCounts):
    """What came of one process, of spans that ended in one hour.

    What is missing counts in the hour in which the next span that is here ended.
    """

    hour: str = Field(description="When it began: RFC 3339, UTC")
    process: str


class Loss(BaseModel):
    """What came and what is missing, the latest hour first; `totals` are of the whole time."""

    start_time: str
    end_time: str
    hours: list[LossHour]
    left_out: int = Field(description="How many rows there are beyond those in `hours`")
    totals: LossCounts


class Problem(BaseModel):
    """What is wrong with a request."""

    code: str
    message: str
    field: str | None
    column: int | None = Field(default=None, description="Where in the field's text, from 0")


class ErrorAnswer(BaseModel):
    """The body of every error."""

    error: Problem
