"""Records as Arrow tables: one list of columns a table of the store."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final, Generic, TypeVar

import orjson
import pyarrow as pa

from otel_ml_collector.owners import RESPONSE
from otel_ml_collector.records import (
    Arrivals,
    Artifact,
    LateLog,
    LateTag,
    Metric,
    ModelVersion,
    ProcessSign,
    Run,
    TraceKey,
    text_of,
)

Row = TypeVar("Row")

_TEXT: Final = pa.string()
_INT: Final = pa.int64()
_RANK: Final = pa.uint64()
_TRACE_ID: Final = pa.binary(16)
_SPAN_ID: Final = pa.binary(8)
_NO_PARENT: Final = bytes(8)
_COLLECTOR: Final = "collector"
_STORED: Final = "stored"


@dataclass(frozen=True, slots=True)
class Table(Generic[Row]):
    """A table's name, and how each of its columns is read from a record.

    Attributes:
        stamp: The column that takes the time of arrival, empty when the table has none.
        month_of: The time of a record by whose month the table is partitioned; None when that
            is the time of arrival, or nothing.
        collector: The column that takes which collector stored a row: its name, or in a map its
            name and the stamp. Empty when the table has none.
    """

    name: str
    columns: Sequence[tuple[str, pa.DataType, Callable[[Row], Any]]]
    stamp: str = "arrived_ns"
    month_of: Callable[[Row], int] | None = None
    collector: str = ""

    def to_arrow(
        self, rows: Sequence[Row], arrived_ns: Sequence[int] = (), collector: str = ""
    ) -> pa.Table:
        """Build the columns.

        Args:
            rows: The records.
            arrived_ns: The stamp of each row, when the table has a column for it.
            collector: Which collector stores them, when the table has a column for it.

        Raises:
            ArrowException: A value does not fit its column.
        """
        arrays = {
            name: pa.array(list(map(read, rows)), type_) for name, type_, read in self.columns
        }
        if self.stamp:
            arrays[self.stamp] = pa.array(arrived_ns, _INT)
        if self.collector == _STORED:
            stored = [[(collector, stamp)] for stamp in arrived_ns]
            arrays[self.collector] = pa.array(stored, pa.map_(_TEXT, _INT))
        elif self.collector:
            arrays[self.collector] = pa.array([collector] * len(rows), _TEXT)
        return pa.table(arrays)


def warm_up() -> None:
    """Load what the first columns would load (pandas, half a second) before a request waits."""
    pa.array([""], _TEXT)


def _plain(type_: pa.DataType, *names: str) -> list[tuple[str, pa.DataType, Callable[..., Any]]]:
    return [(name, type_, attrgetter(name)) for name in names]


def _tag_map(run: Run) -> list[tuple[str, str]]:
    return [(tag.name, orjson.dumps(tag.value).decode()) for tag in run.tags]


def _tag_tokens(run: Run) -> list[str]:
    tokens = [f"{tag.name}={text_of(tag.value)}" for tag in run.tags]
    return [*tokens, f"{RESPONSE}{run.response_id}"] if run.response_id else tokens


def _tag_details(run: Run) -> str:
    details = {
        tag.name: {"type": tag.type, "group": tag.group}
        for tag in run.tags
        if tag.type or tag.group
    }
    return orjson.dumps(details).decode() if details else ""


def _log_lines(run: Run) -> str:
    lines = [
        {"time_ns": line.time_ns, "severity": line.severity, "message": line.message}
        for line in run.logs
    ]
    return orjson.dumps(lines).decode() if lines else ""


def _highest(arrivals: Arrivals) -> list[tuple[int, int]]:
    """Tell which number was the highest in which minute; what is settled was so for ever."""
    highest = max((*arrivals.timely, *arrivals.late), default=0)
    return [(arrivals.minute, highest), (0, arrivals.settled)]


RUNS: Final[Table[Run]] = Table(
    "runs",
    [
        *_plain(_TEXT, "project"),
        *_plain(_INT, "start_ns"),
        *_plain(_TRACE_ID, "trace_id"),
        *_plain(_SPAN_ID, "span_id"),
        ("parent_span_id", _SPAN_ID, lambda run: run.parent_span_id or _NO_PARENT),
        ("latency_ns", _INT, lambda run: run.end_ns - run.start_ns),
        *_plain(_TEXT, "kind", "name", "span_kind", "model", "digest", "structure"),
        *_plain(_TEXT, "outcome", "error_type", "error_message"),
        *_plain(_TEXT, "inputs_preview", "outputs_preview"),
        ("tags", pa.map_(_TEXT, _TEXT), _tag_map),
        ("tag_kv", pa.list_(_TEXT), _tag_tokens),
        *_plain(_TEXT, "session", "user", "environment", "release", "provider", "provider_model"),
        *_plain(_INT, "input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens"),
        *_plain(pa.float64(), "cost"),
        *_plain(_TEXT, "dialect", "process"),
        *_plain(_INT, "seq"),
        *_plain(_RANK, "rank"),
    ],
    month_of=attrgetter("start_ns"),
    collector=_COLLECTOR,
)

# Of a run that is open there are neither outputs nor latency, error, tokens and cost.
OPEN_RUNS: Final[Table[Run]] = Table(
    "open_runs",
    [
        *_plain(_TEXT, "project"),
        *_plain(_INT, "start_ns"),
        *_plain(_TRACE_ID, "trace_id"),
        *_plain(_SPAN_ID, "span_id"),
        ("parent_span_id", _SPAN_ID, lambda run: run.parent_span_id or _NO_PARENT),
        *_plain(_TEXT, "kind", "name", "span_kind", "model", "digest", "structure"),
        *_plain(_TEXT, "inputs_preview"),
        ("tags", pa.map_(_TEXT, _TEXT), _tag_map),
        ("tag_kv", pa.list_(_TEXT), _tag_tokens),
        *_plain(_TEXT, "session", "user", "environment", "release", "provider", "provider_model"),
        *_plain(_TEXT, "dialect", "process", "inputs", "params"),
        ("tag_details", _TEXT, _tag_details),
        ("logs", _TEXT, _log_lines),
        *_plain(_TEXT, "events", "links", "attributes", "resource", "scope"),
        *_plain(_RANK, "rank"),
    ],
    collector=_COLLECTOR,
)

PROCESSES: Final[Table[ProcessSign]] = Table(
    "processes",
    [
        *_plain(_TEXT, "project", "process"),
        *_plain(_INT, "heartbeat_ns", "goodbye_ns", "seq", "dropped"),
    ],
)

ARRIVALS: Final[Table[Arrivals]] = Table(
    "arrivals",
    [
        *_plain(_TEXT, "project", "process"),
        *_plain(pa.uint32(), "hour"),
        ("timely_numbers", pa.list_(pa.uint64()), attrgetter("timely")),
        ("late_numbers", pa.list_(pa.uint64()), attrgetter("late")),
        ("highest", pa.map_(pa.uint32(), pa.uint64()), _highest),
        *_plain(pa.uint64(), "dropped"),
    ],
    stamp="",
)

PAYLOADS: Final[Table[Run]] = Table(
    "payloads",
    [
        *_plain(_TEXT, "project"),
        *_plain(_INT, "start_ns"),
        *_plain(_TRACE_ID, "trace_id"),
        *_plain(_SPAN_ID, "span_id"),
        *_plain(_TEXT, "inputs", "outputs", "params"),
        ("tag_details", _TEXT, _tag_details),
        ("logs", _TEXT, _log_lines),
        *_plain(_TEXT, "events", "links", "attributes", "resource", "scope"),
        *_plain(_RANK, "rank"),
    ],
    month_of=attrgetter("start_ns"),
)

TRACE_INDEX: Final[Table[TraceKey]] = Table(
    "trace_index",
    [
        *_plain(_TEXT, "key", "project"),
        *_plain(_TRACE_ID, "trace_id"),
        *_plain(_INT, "start_ns", "end_ns"),
    ],
    stamp="",
)

TRACE_KEYS: Final[Table[TraceKey]] = Table(
    "trace_keys",
    [
        *_plain(_TEXT, "project"),
        *_plain(_TRACE_ID, "trace_id"),
        *_plain(_TEXT, "key"),
    ],
    collector=_COLLECTOR,
)

MODEL_VERSIONS: Final[Table[ModelVersion]] = Table(
    "model_versions",
    [
        *_plain(_TEXT, "project", "kind", "name", "digest", "structure"),
        *_plain(_INT, "last_seen_ns"),
        *_plain(_TEXT, "definition"),
    ],
    stamp="first_arrived_ns",
    collector=_STORED,
)

METRICS: Final[Table[Metric]] = Table(
    "metrics",
    [
        *_plain(_TEXT, "project", "owner", "name", "source", "judge_version", "record_id"),
        *_plain(_INT, "owner_start_ns"),
        *_plain(pa.uint32(), "position"),
        *_plain(pa.float64(), "value"),
        *_plain(_INT, "step", "time_ns"),
        *_plain(_TEXT, "mode"),
        *_plain(pa.bool_(), "passed"),
        *_plain(_TEXT, "label", "explanation", "error"),
        ("rank", _RANK, attrgetter("time_ns")),
    ],
    collector=_COLLECTOR,
)

SCORES: Final[Table[Metric]] = Table(
    "scores_by_judge",
    [
        *_plain(_TEXT, "project"),
        ("judge", _TEXT, attrgetter("name")),
        ("start_ns", _INT, attrgetter("owner_start_ns")),
        ("trace_id", _TRACE_ID, lambda metric: bytes.fromhex(metric.owner[:32])),
        ("span_id", _SPAN_ID, lambda metric: bytes.fromhex(metric.owner[33:])),
        *_plain(_TEXT, "judge_version"),
        ("score", pa.float64(), attrgetter("value")),
        *_plain(pa.bool_(), "passed"),
        ("failed", pa.bool_(), lambda metric: bool(metric.error)),
        *_plain(_INT, "time_ns"),
        ("rank", _RANK, attrgetter("time_ns")),
    ],
    stamp="",
    month_of=attrgetter("owner_start_ns"),
)

LATE_TAGS: Final[Table[LateTag]] = Table(
    "late_tags",
    [
        *_plain(_TEXT, "project", "owner"),
        ("name", _TEXT, attrgetter("tag.name")),
        ("value", _TEXT, lambda late: orjson.dumps(late.tag.value).decode()),
        ("type", _TEXT, attrgetter("tag.type")),
        ("group", _TEXT, attrgetter("tag.group")),
        *_plain(_INT, "time_ns"),
        *_plain(_TEXT, "record_id"),
    ],
    collector=_COLLECTOR,
)

LATE_LOGS: Final[Table[LateLog]] = Table(
    "late_logs",
    [
        *_plain(_TEXT, "project", "owner", "record_id"),
        *_plain(pa.uint32(), "position"),
        ("time_ns", _INT, attrgetter("line.time_ns")),
        ("severity", _TEXT, attrgetter("line.severity")),
        ("message", _TEXT, attrgetter("line.message")),
        *_plain(_TEXT, "event", "attributes"),
    ],
    collector=_COLLECTOR,
)

OBJECTS: Final[Table[Artifact]] = Table(
    "objects",
    [
        *_plain(_TEXT, "project", "owner", "record_id"),
        *_plain(pa.uint32(), "position"),
        *_plain(_TEXT, "ref", "type"),
        *_plain(_INT, "bytes"),
        *_plain(pa.binary(32), "sha256"),
        *_plain(_TEXT, "json"),
        ("is_inline", pa.bool_(), lambda artifact: bool(artifact.json)),
        *_plain(_TEXT, "preview"),
        *_plain(_INT, "time_ns"),
        *_plain(_RANK, "rank"),
    ],
    collector=_COLLECTOR,
)
