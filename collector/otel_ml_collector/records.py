"""The records that everything ends in: run, model version and metric, with tags and text lines.

Field names are those of ``records.proto``, of the store's columns and of the JSON API.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import orjson

TagValue = str | bool | int | float


def text_of(value: TagValue) -> str:
    """Write a tag's value as the text that a filter compares: numbers and bools as JSON does."""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


@dataclass(frozen=True, slots=True)
class Tag:
    """A name and a value to filter by; type and group are the user's own words."""

    name: str
    value: TagValue
    type: str = ""
    group: str = ""


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line of text that belongs to a run."""

    time_ns: int
    severity: str
    message: str


@dataclass(slots=True)  # not frozen: setting 45 frozen fields takes a quarter of the mapping
class Run:
    """One span, as it is stored; its kind says whether it is a model call.

    Attributes:
        parent_span_id: Empty for a root.
        kind: model, chain, tool, retriever, embedding, agent, training; or span.
        span_kind: OpenTelemetry's: internal, server, client, producer, consumer or empty.
        model: The name under which versions gather; empty for kind span.
        digest: The definition's digest; empty when the model has no version.
        structure: Digest of the output's structure, ``dynamic``, or empty.
        outcome: ok, error, cancelled or abandoned; running for a run that is open.
        inputs: JSON text, and so are outputs, params, attributes, resource and links. Empty
            when there is none.
        inputs_preview: Short plain text, for lists.
        attributes: What no dialect has a field for.
        rank: Says which of several deliveries of one span wins, in whatever order they come.
        response_id: The provider's id of what it answered; what is said of it is found by that.
        arrived_ns: When it was stored; 0 before that.
    """

    project: str
    trace_id: bytes
    span_id: bytes
    parent_span_id: bytes
    kind: str
    name: str
    span_kind: str
    model: str
    digest: str
    structure: str
    start_ns: int
    end_ns: int
    outcome: str
    error_type: str
    error_message: str
    inputs: str
    outputs: str
    inputs_preview: str
    outputs_preview: str
    tags: Sequence[Tag]
    session: str
    user: str
    environment: str
    release: str
    provider: str
    provider_model: str
    input_tokens: int | None
    output_tokens: int | None
    cached_tokens: int | None
    reasoning_tokens: int | None
    cost: float | None
    params: str
    logs: Sequence[LogLine]
    events: str
    links: str
    attributes: str
    resource: str
    scope: str
    dialect: str
    process: str
    seq: int
    rank: int
    response_id: str = ""
    arrived_ns: int = 0

    @property
    def run_id(self) -> str:
        """``<32 hex>-<16 hex>``."""
        return run_id(self.trace_id, self.span_id)


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One state of a model or judge.

    Attributes:
        kind: model, judge or dataset.
        definition: JSON text, or empty when this delivery did not carry it.
        first_seen_ns: Start of the first run that named it: orders versions that come together.
        last_seen_ns: Start of the last one.
        first_arrived_ns: When it was stored first; 0 before that.
    """

    project: str
    kind: str
    name: str
    digest: str
    structure: str
    definition: str
    first_seen_ns: int
    last_seen_ns: int
    first_arrived_ns: int = 0


@dataclass(frozen=True, slots=True)
class Metric:
    """One point of a metric, or one score.

    Attributes:
        owner: A run id, or what else it is about; see `owners`.
        owner_start_ns: The run's start, 0 when it is not known.
        name: The metric's name, or the judge's.
        value: None for a judge that failed.
        step: -1 when it has none.
        mode: How points of one name combine: append, auto, single, replace, restart.
        source: logged, judge, human or actual.
        record_id: The span that brought it; empty for a judge, whose score of a run is one
            and the same however it travels.
        position: The place among the points of that span.
    """

    project: str
    owner: str
    owner_start_ns: int
    name: str
    value: float | None
    step: int
    time_ns: int
    mode: str
    source: str
    passed: bool | None = None
    label: str = ""
    explanation: str = ""
    error: str = ""
    judge_version: str = ""
    record_id: str = ""
    position: int = 0


@dataclass(frozen=True, slots=True)
class LateTag:
    """A tag that came apart from its run."""

    project: str
    owner: str
    tag: Tag
    time_ns: int
    record_id: str


@dataclass(frozen=True, slots=True)
class LateLog:
    """A line of text that came apart from its run.

    Attributes:
        record_id: The span that brought it; for a log record the digest of its content.
        event: What kind of event it is; empty for an ordinary line.
        attributes: JSON text, empty when it has none.
    """

    project: str
    owner: str
    line: LogLine
    record_id: str
    position: int
    event: str = ""
    attributes: str = ""


@dataclass(frozen=True, slots=True)
class Artifact:
    """What was logged under a reference, on the span of a run or apart from it.

    Attributes:
        owner: A run id, or what else it is about; see `owners`.
        sha256: 32 bytes of the document's hash; zeros when it has no document.
        bytes: The size of the document.
        json: The document, as JSON text; empty when it did not come along.
        preview: JSON text.
        record_id: The span that brought it, and `position` its place among those of that span.
        rank: Says which of several deliveries wins, in whatever order they come.
    """

    project: str
    owner: str
    ref: str
    type: str
    sha256: bytes
    bytes: int
    json: str
    preview: str
    time_ns: int
    record_id: str
    position: int
    rank: int


@dataclass(slots=True)
class TraceKey:
    """A trace id, or a key of the user's own, by which a trace is found.

    A trace id of zeros says that something was told of the key itself.
    """

    key: str
    project: str
    trace_id: bytes
    start_ns: int
    end_ns: int

    def join(self, other: "TraceKey") -> "TraceKey":
        """Make one of two of the same key and trace, over the times of both."""
        start_ns, end_ns = min(self.start_ns, other.start_ns), max(self.end_ns, other.end_ns)
        return TraceKey(self.key, self.project, self.trace_id, start_ns, end_ns)

    @property
    def is_own(self) -> bool:
        """Whether it is the user's own key of a trace."""
        return any(self.trace_id) and self.key != self.trace_id.hex()


@dataclass(frozen=True, slots=True)
class ProcessSign:
    """That a sending process lives, or what it told of itself; times are by its own clock.

    Attributes:
        heartbeat_ns: When it said that it lives; 0 when it did not.
        goodbye_ns: When it said that it ends; 0 when it did not.
        seq: The highest number that it gave to a span of the project; 0 when it did not tell.
        dropped: How many spans of the project it dropped.
    """

    project: str
    process: str
    heartbeat_ns: int = 0
    goodbye_ns: int = 0
    seq: int = 0
    dropped: int = 0

    def join(self, other: "ProcessSign") -> "ProcessSign":
        """Make one sign of two of the same process, whatever their order."""
        return ProcessSign(
            self.project,
            self.process,
            max(self.heartbeat_ns, other.heartbeat_ns),
            max(self.goodbye_ns, other.goodbye_ns),
            max(self.seq, other.seq),
            max(self.dropped, other.dropped),
        )


@dataclass(slots=True)
class Arrivals:
    """Which numbers of a process came in one request, of spans that ended in one hour.

    Attributes:
        hour: In which they ended, in hours since 1970, UTC.
        minute: In which they came, in minutes since 1970, UTC.
        timely: Numbers that came soon after their span ended.
        late: Those that came later than that.
        dropped: How many spans the process had dropped by then, if it told.
        settled: Up to which number nothing is on its way any more, if it told.
    """

    project: str
    process: str
    hour: int
    minute: int
    timely: list[int] = field(default_factory=list)
    late: list[int] = field(default_factory=list)
    dropped: int = 0
    settled: int = 0

    def join(self, other: "Arrivals") -> "Arrivals":
        """Make one of two of the same process and hour, whatever their order."""
        return Arrivals(
            self.project,
            self.process,
            self.hour,
            max(self.minute, other.minute),
            self.timely + other.timely,
            self.late + other.late,
            max(self.dropped, other.dropped),
            max(self.settled, other.settled),
        )


@dataclass(slots=True)
class Records:
    """What some spans say, ready to be stored.

    Attributes:
        runs: Ended ones.
        open_runs: Those that said that they began, whether or not they have ended since.
        rejected: Number of spans that can never be stored, by reason.
        received: How many spans, or log records, they were made of.
    """

    runs: list[Run] = field(default_factory=list)
    open_runs: list[Run] = field(default_factory=list)
    versions: list[ModelVersion] = field(default_factory=list)
    metrics: list[Metric] = field(default_factory=list)
    tags: list[LateTag] = field(default_factory=list)
    logs: list[LateLog] = field(default_factory=list)
    artifacts: list[Artifact] = field(default_factory=list)
    trace_keys: list[TraceKey] = field(default_factory=list)
    signs: list[ProcessSign] = field(default_factory=list)
    arrivals: list[Arrivals] = field(default_factory=list)
    rejected: Counter[str] = field(default_factory=Counter)
    received: int = 0

    def extend(self, other: "Records") -> None:
        """Add what other spans say."""
        self.runs += other.runs
        self.open_runs += other.open_runs
        self.versions += other.versions
        self.metrics += other.metrics
        self.tags += other.tags
        self.logs += other.logs
        self.artifacts += other.artifacts
        self.trace_keys += other.trace_keys
        self.signs += other.signs
        self.arrivals += other.arrivals
        self.rejected += other.rejected
        self.received += other.received

    def __len__(self) -> int:
        """Count the rows, for the size of a group."""
        return (
            len(self.runs)
            + len(self.open_runs)
            + len(self.metrics)
            + len(self.versions)
            + len(self.tags)
            + len(self.logs)
            + len(self.artifacts)
            + len(self.signs)
            + len(self.arrivals)
        )


def run_id(trace_id: bytes, span_id: bytes) -> str:
    """Write the id of a run as the API does: ``<32 hex>-<16 hex>``."""
    return f"{trace_id.hex()}-{span_id.hex()}"
