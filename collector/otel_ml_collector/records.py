"""The records that are made from a request: those of `otel_ml.records`, and the collector's own.

The whole collector imports records from this module.
"""

from collections import Counter
from dataclasses import dataclass, field, fields
from typing import Final

import orjson

from otel_ml.attributes import JUDGE_KIND
from otel_ml.records import (
    AliasMove,
    ArtifactRecord,
    ItemContent,
    LateLog,
    LateTag,
    LineageLink,
    LineRecord,
    Metric,
    ModelVersion,
    Run,
    Tag,
    TagValue,
    kept,
    kept_field,
    run_id,
)
from otel_ml_collector.times import HOUR_NS

__all__ = [
    "UNCOUNTED",
    "AliasMove",
    "Arrivals",
    "ArtifactRecord",
    "CallPoint",
    "ItemContent",
    "LateLog",
    "LateTag",
    "LineRecord",
    "LineageLink",
    "Metric",
    "ModelVersion",
    "ProcessSign",
    "Records",
    "Run",
    "SpanRefusal",
    "SpanRefusals",
    "Tag",
    "TagValue",
    "TraceKey",
    "run_id",
    "text_of",
]

# Start of a document in `ArtifactRecord.json` that is a file rather than JSON.
DATA_URL: Final = "data:application/octet-stream;base64,"
# If a process has several signs, the highest value of each kind is kept.
_HIGHEST = "SimpleAggregateFunction(max, Int64)"


# Kinds of runs that are not calls. Lists and counts leave them out.
UNCOUNTED: Final = ("span", JUDGE_KIND, "experiment")


def text_of(value: TagValue) -> str:
    """Return the value of a tag as text for filters. Numbers and bools are written as in JSON."""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


@dataclass(slots=True)
class TraceKey:
    """An index entry that maps a key to a trace. The key is the trace ID or a user's own text.

    If the trace ID of an entry is all zeros, the entry belongs to no trace. It only
    records that feedback or the like has arrived for the key.
    """

    key: str = field(metadata=kept("The id in hex, or the user's own key", "String"))
    project: str = field(metadata=kept("Where it is filed", "LowCardinality(String)"))
    trace_id: bytes = field(metadata=kept("16 bytes", "FixedString(16)"))
    start_ns: int = field(
        metadata=kept("When its first run began", "SimpleAggregateFunction(min, Int64)")
    )
    end_ns: int = field(
        metadata=kept("When its last run ended", "SimpleAggregateFunction(max, Int64)")
    )

    def join(self, other: "TraceKey") -> "TraceKey":
        """Merge two index entries of the same key and trace, to cover the times of both."""
        start_ns, end_ns = min(self.start_ns, other.start_ns), max(self.end_ns, other.end_ns)
        return TraceKey(self.key, self.project, self.trace_id, start_ns, end_ns)

    @property
    def is_own(self) -> bool:
        """Whether it is a user's own key of a trace."""
        return any(self.trace_id) and self.key != self.trace_id.hex()


@dataclass(frozen=True, slots=True)
class ProcessSign:
    """What a sending process reports about itself: heartbeats, its end, and counts of its spans.

    The times come from the clock of that process.

    Attributes:
        heartbeat_ns: Time of the last heartbeat; 0 if there was none.
        goodbye_ns: Time when the process announced that it ends; 0 if it did not.
        seq: Highest sequence number that the process gave to a span of the project; 0 if unknown.
        dropped: Number of spans of the project that the process dropped; 0 if unknown.
    """

    project: str = field(metadata=kept("Where its spans are filed", "LowCardinality(String)"))
    process: str = field(metadata=kept("The process", "String"))
    heartbeat_ns: int = kept_field(0, "When it last sent a sign of life", _HIGHEST)
    goodbye_ns: int = kept_field(0, "When it announced its end", _HIGHEST)
    seq: int = kept_field(
        0,
        "The highest number that it gave to a span of the project",
        _HIGHEST,
        comment="highest number given to a span",
    )
    dropped: int = kept_field(
        0, "How many spans of the project it dropped", _HIGHEST, comment="spans that it dropped"
    )

    def join(self, other: "ProcessSign") -> "ProcessSign":
        """Merge two signs of the same process, in any order."""
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
    """The sequence numbers of spans that a process sent, for spans that ended in the same hour.

    otel-ml's SDK numbers the spans of a process, so that the collector can detect missing spans. At
    first, an entry is about the spans of one export request. `join` merges several entries.

    Attributes:
        hour: Hour in which the spans ended, in hours since 1970 (UTC).
        minute: Minute of arrival, in minutes since 1970 (UTC).
        timely: Sequence numbers of spans that arrived within 5 minutes after they ended.
        late: Sequence numbers of spans that arrived later.
        dropped: Number of spans that the process had dropped when it sent these; 0 if not reported.
        settled: The process has sent or dropped each span up to this sequence number. If one of
            them has not arrived, it never will. 0 if not reported.
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
        """Merge two entries of the same process and hour, in any order."""
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
class CallPoint:
    """A data point of a metric about model calls. Some services send such metrics, but no spans.

    Attributes:
        service: ``service.name`` of the sender.
        metric: Name of the metric.
        model: The requested model. If that is unknown, the model that answered.
        provider: Provider, spelled as in OpenTelemetry's semantic conventions.
        operation: Operation, such as ``chat``; empty if unknown.
        kind: What is counted, such as ``input`` for input tokens; empty for durations.
        error_type: Type of the error of the calls; empty if they succeeded.
        series: Digest of resource, scope name and attributes, which identifies a time series of
            the metric.
        start_ns: Start of the time that the point covers; 0 if unknown.
        time_ns: End of the time that the point covers.
        slot: Points of a series with the same slot replace each other. The latest one is kept.
        is_delta: Whether the point only counts what happened since the previous point.
        count: Number of values; 0 for a counter.
        total: Sum of the values; durations in seconds.
        bounds: Upper bounds of the buckets, except the last one.
        buckets: Number of values in each bucket.
    """

    project: str
    service: str
    metric: str
    model: str
    provider: str
    operation: str
    kind: str
    error_type: str
    series: str
    start_ns: int
    time_ns: int
    slot: int
    is_delta: bool
    count: int
    total: float
    bounds: list[float]
    buckets: list[int]


@dataclass(slots=True)
class SpanRefusal:
    """Spans of one process that can never be stored, and why.

    Attributes:
        reason: Why, as reported to the sender.
        process: Process that sent them; empty if they name none.
        hour: Hour of arrival, in hours since 1970 (UTC).
        last_ns: Time of arrival, in nanoseconds since 1970.
        numbers: Sequence numbers of the refused spans. otel-ml's SDK gives each span a number.
        unnumbered: Number of refused spans without a sequence number.
    """

    project: str
    reason: str
    process: str
    hour: int
    last_ns: int
    numbers: list[int] = field(default_factory=list)
    unnumbered: int = 0

    def add(self, number: int) -> None:
        """Add a span with its number, or 0 if it has none."""
        if number:
            self.numbers.append(number)
        else:
            self.unnumbered += 1


class SpanRefusals:
    """Collects refused spans: one `SpanRefusal` for each project, reason and process.

    Args:
        now_ns: Time of arrival.
    """

    def __init__(self, now_ns: int) -> None:
        self._now_ns = now_ns
        self._refusals: dict[tuple[str, str, str], SpanRefusal] = {}

    def add(self, project: str, reason: str, process: str, number: int) -> None:
        """Add a span with its number, or 0 if it has none."""
        key = (project, reason, process)
        if key not in self._refusals:
            hour = self._now_ns // HOUR_NS
            self._refusals[key] = SpanRefusal(*key, hour, self._now_ns)
        self._refusals[key].add(number)

    def all(self) -> list[SpanRefusal]:
        """Return what was collected."""
        return list(self._refusals.values())


@dataclass(slots=True)
class Records:
    """The records made from spans or log records, ready to be stored.

    Attributes:
        runs: Runs that have ended.
        open_runs: Runs that were announced at their start, even if they have ended since.
        rejected: Number of spans that can never be stored, by reason.
        received: Number of spans or log records that the records were made from.
        replaced: Where invalid UTF-8 was replaced: the span, and the path of the text in the
            request. Only the first few texts are listed.
        size: Bytes of the requests that the records were made from, decompressed.
    """

    runs: list[Run] = field(default_factory=list)
    open_runs: list[Run] = field(default_factory=list)
    versions: list[ModelVersion] = field(default_factory=list)
    metrics: list[Metric] = field(default_factory=list)
    tags: list[LateTag] = field(default_factory=list)
    logs: list[LateLog] = field(default_factory=list)
    artifacts: list[ArtifactRecord] = field(default_factory=list)
    aliases: list[AliasMove] = field(default_factory=list)
    lineage: list[LineageLink] = field(default_factory=list)
    items: list[ItemContent] = field(default_factory=list)
    trace_keys: list[TraceKey] = field(default_factory=list)
    signs: list[ProcessSign] = field(default_factory=list)
    arrivals: list[Arrivals] = field(default_factory=list)
    # Not compared: `rejected` counts the same spans.
    refusals: list[SpanRefusal] = field(default_factory=list, compare=False)
    points: list[CallPoint] = field(default_factory=list)
    rejected: Counter[str] = field(default_factory=Counter)
    received: int = 0
    replaced: tuple[str, ...] = ()
    size: int = 0

    @property
    def kept(self) -> int:
        """Number of data points of metrics."""
        return len(self.points)

    def extend(self, other: "Records") -> None:
        """Add the records of other spans."""
        for field_ in fields(self):
            joined = getattr(self, field_.name)
            joined += getattr(other, field_.name)
            setattr(self, field_.name, joined)

    def __len__(self) -> int:
        """Return the number of rows, for the size of a group. Trace keys are not counted."""
        rows = (
            getattr(self, field_.name) for field_ in fields(self) if field_.name != "trace_keys"
        )
        return sum(len(row) for row in rows if isinstance(row, list))
