"""The records of a request: those that `otel_ml.records` declares, and the collector's own.

The collector takes all of them from here.
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

__all__ = [
    "UNCOUNTED",
    "AliasMove",
    "Arrivals",
    "ArtifactRecord",
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
    "Tag",
    "TagValue",
    "TraceKey",
    "run_id",
    "text_of",
]

# Of several signs of a process the highest number of each sort holds.
_HIGHEST = "SimpleAggregateFunction(max, Int64)"


# Kinds of runs that are no calls: lists and counts leave them out.
UNCOUNTED: Final = ("span", JUDGE_KIND, "experiment")


def text_of(value: TagValue) -> str:
    """Write a tag's value as the text that a filter compares: numbers and bools as JSON does."""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


@dataclass(slots=True)
class TraceKey:
    """A trace id, or a key of the user's own, by which a trace is found.

    A trace id of zeros stands for late records of the key itself.
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
        """Join two entries of the same key and trace, over the times of both."""
        start_ns, end_ns = min(self.start_ns, other.start_ns), max(self.end_ns, other.end_ns)
        return TraceKey(self.key, self.project, self.trace_id, start_ns, end_ns)

    @property
    def is_own(self) -> bool:
        """Whether it is the user's own key of a trace."""
        return any(self.trace_id) and self.key != self.trace_id.hex()


@dataclass(frozen=True, slots=True)
class ProcessSign:
    """A sign that a sending process lives, or its own counts; times are by its own clock.

    Attributes:
        heartbeat_ns: When it said that it lives; 0 when it did not, and so are the others.
    """

    project: str = field(metadata=kept("Where its spans are filed", "LowCardinality(String)"))
    process: str = field(metadata=kept("The process", "String"))
    heartbeat_ns: int = kept_field(0, "When it said that it lives", _HIGHEST)
    goodbye_ns: int = kept_field(0, "When it said that it ends", _HIGHEST)
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
        """Join two signs of the same process, whatever their order."""
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
    """Numbers of a process that came in a request, of spans that ended in an hour.

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
        """Join two of the same process and hour, whatever their order."""
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
    """The records of some spans, ready to be stored.

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
    artifacts: list[ArtifactRecord] = field(default_factory=list)
    aliases: list[AliasMove] = field(default_factory=list)
    lineage: list[LineageLink] = field(default_factory=list)
    items: list[ItemContent] = field(default_factory=list)
    trace_keys: list[TraceKey] = field(default_factory=list)
    signs: list[ProcessSign] = field(default_factory=list)
    arrivals: list[Arrivals] = field(default_factory=list)
    rejected: Counter[str] = field(default_factory=Counter)
    received: int = 0

    def extend(self, other: "Records") -> None:
        """Add the records of other spans."""
        for field_ in fields(self):
            joined = getattr(self, field_.name)
            joined += getattr(other, field_.name)
            setattr(self, field_.name, joined)

    def __len__(self) -> int:
        """Count the rows, for the size of a group; keys of traces come with others."""
        rows = (
            getattr(self, field_.name) for field_ in fields(self) if field_.name != "trace_keys"
        )
        return sum(len(row) for row in rows if isinstance(row, list))
