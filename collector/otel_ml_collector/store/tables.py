"""The tables of records: columns from `otel_ml.records`, with the additions of each table.

DDL, Arrow columns and the columns to read are derived from here. The reasons for the shapes, with
measurements, are in docs/design/002-store.md. A column that a store has already never changes. A
new field of a record becomes a column here automatically. For older stores, it needs an empty step
in `store.migrations`.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from operator import attrgetter
from typing import Any, Final, Generic, TypeVar

import orjson
import pyarrow as pa

from otel_ml.attributes import METRIC_SOURCES_KNOWN
from otel_ml.records import (
    TOKENS,
    AliasMove,
    ArtifactRecord,
    Column,
    ItemContent,
    LateLog,
    LateTag,
    LineageLink,
    Metric,
    ModelVersion,
    Run,
    columns_of,
)
from otel_ml_collector.owners import FIRST, RESPONSE, is_run, tag_texts
from otel_ml_collector.records import (
    UNCOUNTED,
    Arrivals,
    CallPoint,
    ProcessSign,
    SpanRefusal,
    TraceKey,
)
from otel_ml_collector.resolution import NAMES, NOTHING, ResolvedRun
from otel_ml_collector.store.lives import Follows, Life
from otel_ml_collector.store.sql import Sql, declare, identifier, join_sql

Record = TypeVar("Record")

_STAMP: Final = "arrived_ns"
_COLLECTOR: Final = "collector"
_STORED: Final = "stored"
_TIME: Final = "Int64 CODEC(DoubleDelta, ZSTD(1))"
_LONG: Final = "String CODEC(ZSTD(1))"
_FLAT: Final[Mapping[str, pa.DataType]] = {
    "String": pa.string(),
    "Int64": pa.int64(),
    "UInt32": pa.uint32(),
    "UInt64": pa.uint64(),
    "UInt128": pa.binary(16),  # little-endian, because Arrow has no such integer
    "Float64": pa.float64(),
    "Bool": pa.bool_(),
}
_BEHIND: Final = re.compile(" (?:CODEC|DEFAULT|EPHEMERAL|ALIAS)")
_WRAPPED: Final = re.compile(r"(\w+)\((.*)\)")
_IDS: Final = frozenset({"FixedString(16)", "FixedString(8)", "FixedString(32)"})


@dataclass(frozen=True, slots=True)
class Stored:
    """A column of a table.

    Attributes:
        sql: Type of the column in ClickHouse, with codec and default: `String CODEC(ZSTD(1))`.
        read: Reads the value from a record; None if the writer or the engine sets it.
        after: Name of the column before it; empty for the last position.
    """

    name: str
    sql: str
    read: Callable[[Any], Any] | None = None
    comment: str = ""
    after: str = ""

    @property
    def ddl(self) -> str:
        """The line of this column in the CREATE statement."""
        name = f"`{self.name}`" if self.name == "group" else self.name
        return f"{name} {self.sql}" + (f" COMMENT '{self.comment}'" if self.comment else "")

    @property
    def arrow(self) -> pa.DataType:
        """The Arrow type in which values are sent."""
        return arrow_type(self.sql)

    @property
    def selected(self) -> Sql:
        """The SQL that reads the column, with IDs as hex text."""
        pattern = Sql("lower(hex({name})) AS {name}" if self.sql in _IDS else "`{name}`")
        return pattern.fill(name=identifier(self.name, [self.name]))


@cache
def arrow_type(sql: str) -> pa.DataType:
    """Return the Arrow type of a column. Ignores a codec or default after the type."""
    sql = _BEHIND.split(sql)[0]
    if sql in _FLAT:
        return _FLAT[sql]
    match = _WRAPPED.fullmatch(sql)
    assert match is not None, sql  # noqa: S101 - types are written here and in `otel_ml.records`
    outer, inner = match.groups()
    if outer == "FixedString":
        return pa.binary(int(inner))
    if outer == "Array":
        return pa.list_(arrow_type(inner))
    if outer in {"Map", "SimpleAggregateFunction"}:
        first, _, second = inner.partition(", ")
        if outer == "Map":
            return pa.map_(arrow_type(first), arrow_type(second))
        return arrow_type(second)
    return arrow_type(inner)  # LowCardinality and Nullable


@dataclass(frozen=True, slots=True)
class Table(Generic[Record]):
    """A table: its columns, and how the engine stores them.

    Attributes:
        engine: The part of the CREATE statement after the columns.
        indexes: Definitions of data skipping indexes, one line each.
        stamp: Column with the time of arrival; empty if the table has none.
        month_of: Function that reads a time from a record. Rows are partitioned by the month of
            this time. If None, the time of arrival decides, or the table has no partitions.
        source: Name of the list in `Records` that is stored in this table, such as `metrics`. Empty
            if the table is filled in another way.
        follows: The kind of record that a row belongs to, such as a run. If that record is deleted,
            the row is deleted too. If None, a row belongs to the record in its column `owner`.
            Without such a column, it is never deleted this way.
        time: Column with the time at which a row was stored or sent. When a project is deleted,
            newer rows are kept. The default is the time of arrival.
        is_payload: Whether the rows are inputs, outputs, log lines or artifacts, which can have a
            shorter retention.
        topic: The kind under which the storage page adds up the size of the table, such as
            ``metrics``.
    """

    name: str
    columns: Sequence[Stored]
    engine: str
    indexes: Sequence[str] = ()
    stamp: str = _STAMP
    month_of: Callable[[Record], int] | None = None
    source: str = ""
    follows: Follows | None = None
    time: str = ""
    is_payload: bool = False
    topic: str = "other"

    @property
    def life(self) -> Life | None:
        """How long rows are kept; None for forever."""
        names = self.names()
        follows = self.follows or (Follows.OWNER if "owner" in names else None)
        stamp = _STAMP if _STAMP in names else ""
        if follows is None:
            return None
        return Life(self.sql, follows, self.time or stamp, stamp, self.is_payload, self.topic)

    @property
    def sql(self) -> Sql:
        """The name of the table in a statement."""
        return identifier(self.name, [self.name])

    @property
    def ddl(self) -> Sql:
        """The statement that creates the table."""
        lines = [*(column.ddl for column in self.columns), *self.indexes]
        inside = ",\n  ".join(lines)
        return declare(f"CREATE TABLE IF NOT EXISTS {self.name} (\n  {inside}\n)\n{self.engine}\n")

    @property
    def added_columns(self) -> list[tuple[str, Sql]]:
        """The columns, each with the DDL that adds it to a table that has the columns before it."""
        places = ["FIRST", *(f"AFTER `{column.name}`" for column in self.columns)]
        return [
            (column.name, declare(f"ADD COLUMN IF NOT EXISTS {column.ddl} {place}"))
            for column, place in zip(self.columns, places, strict=False)
        ]

    @property
    def added_indexes(self) -> list[tuple[str, Sql]]:
        """The indexes, each with the DDL that adds it."""
        named = [(line.split()[1], line.removeprefix("INDEX ")) for line in self.indexes]
        return [(name, declare(f"ADD INDEX IF NOT EXISTS {line}")) for name, line in named]

    def names(self, *left_out: str) -> list[str]:
        """List the columns, except for the given ones."""
        return [column.name for column in self.columns if column.name not in left_out]

    def select(self, *left_out: str) -> Sql:
        """Write the SQL that reads the columns, except for the given ones. IDs are hex text."""
        chosen = [column for column in self.columns if column.name not in left_out]
        return join_sql(", ", [column.selected for column in chosen])

    def to_arrow(
        self, rows: Sequence[Record], arrived_ns: Sequence[int] = (), collector: str = ""
    ) -> pa.Table:
        """Make the Arrow columns of some records.

        Args:
            rows: The records.
            arrived_ns: Time of arrival of each row, if the table has a column for it.
            collector: Name of the collector, if the table has a column for it.

        Raises:
            ArrowException: A value does not fit its column.
        """
        given: dict[str, Callable[[], Sequence[Any]]] = {
            self.stamp: lambda: arrived_ns,
            _COLLECTOR: lambda: [collector] * len(rows),
            _STORED: lambda: [[(collector, stamp)] for stamp in arrived_ns],
        }
        return pa.table(
            {
                column.name: pa.array(
                    list(map(column.read, rows)) if column.read else given[column.name](),
                    column.arrow,
                )
                for column in self.columns
                if column.read or column.name in given
            }
        )


def warm_up() -> None:
    """Load the libraries that the first insert needs (half a second) before a request waits."""
    pa.array([""], pa.string())


def _stored(
    record: type,
    *added: Stored,
    reads: Mapping[str, Callable[[Any], Any]] | None = None,
    keep: Callable[[Column], bool] = lambda _: True,
    only: Sequence[str] = (),
    named: Mapping[str, str] | None = None,
) -> list[Stored]:
    """Make the columns of a table from the fields of a record, with additions and changes.

    Args:
        record: Type of the record.
        added: Further columns. One with an existing name replaces it.
        reads: How to compute a value that is not the field itself.
        keep: Decides which fields of the record become columns.
        only: Names of these fields, if there are few; empty for all.
        named: Column names that differ from the names of fields.
    """
    reads, named = reads or {}, named or {}
    storeds = [
        Stored(
            named.get(name, name),
            column.sql,
            None if name == _STAMP else reads.get(name, attrgetter(path)),
            column.comment,
        )
        for name, (path, column) in columns_of(record).items()
        if (not only or name in only) and keep(column)
    ]
    for item in added:
        names = [column.name for column in storeds]
        if item.name in names:
            storeds[names.index(item.name)] = item
        else:
            storeds.insert(names.index(item.after) + 1 if item.after else len(storeds), item)
    return storeds


def _tag_map(run: Run) -> list[tuple[str, str]]:
    return [(tag.name, _json(tag.value)) for tag in run.tags]


def _tag_details(run: Run) -> str:
    described = [tag for tag in run.tags if tag.type or tag.group]
    if not described:
        return ""
    return _json({tag.name: {"type": tag.type, "group": tag.group} for tag in described})


def _log_lines(run: Run) -> str:
    if not run.logs:
        return ""
    return _json(
        [
            {"time_ns": line.time_ns, "severity": line.severity, "message": line.message}
            for line in run.logs
        ]
    )


def _json(value: object) -> str:
    return orjson.dumps(value).decode()


def _highest(arrivals: Arrivals) -> list[tuple[int, int]]:
    """Return the highest span number by minute. Minute 0 has the final number."""
    highest = max((*arrivals.timely, *arrivals.late), default=0)
    return [(arrivals.minute, highest), (0, arrivals.settled)]


def rank_of_row(copy: int, folded_ns: int) -> bytes:
    """Return the rank of a row of `runs` as the engine reads it.

    Args:
        copy: Rank of the run's own record.
        folded_ns: When the facts of other records in the row were read. 0 if the row has none, 1 if
            they are from runs that were stored together.
    """
    return folded_ns.to_bytes(8, "little") + copy.to_bytes(8, "little")


def split_rank(rank: int) -> tuple[int, int]:
    """Return the parts of a rank: `copy` and `folded_ns` of `rank_of_row`."""
    return divmod(rank, 2**64)


# Makes acknowledged records durable. An insert is on disk before it is acknowledged. A merge is on
# disk before its source parts are deleted, because the engine flushes a merged part before using
# it. So replaced parts can be removed soon: at 300 spans/s, keeping them for 480 s instead of 8 s
# takes 4 GB for 26 MB of live records. Small parts use the compact format: 30 fsyncs per insert
# instead of 131.
DURABLE: Final = Sql(
    "fsync_after_insert = 1, fsync_part_directory = 1, "
    "min_rows_to_fsync_after_merge = 1, min_compressed_bytes_to_fsync_after_merge = 1, "
    "old_parts_lifetime = 8, min_bytes_for_wide_part = 134217728"
)

# Merges wait for more parts of one size. Under load, a row is rewritten half as often as with the
# default of 5, and a scan reads a few more parts.
MERGES: Final = "merge_selector_base = 8"

# Reading one key of a Map without reading all keys requires buckets.
BUCKETS: Final = (
    "map_serialization_version = 'with_buckets', "
    "map_serialization_version_for_zero_level_parts = 'with_buckets', "
    "map_buckets_min_avg_size = 0, map_buckets_strategy = 'constant', max_buckets_in_map = 4"
)

_NAME: Final = "LowCardinality(String)"
_WHICH: Final = Stored(_COLLECTOR, _NAME, comment="which one stored it")
_WHO: Final = Stored(_COLLECTOR, _NAME, comment="which one stored it", after=_STAMP)
_ARRIVED: Final = Stored(_STAMP, _TIME)
_BY_ARRIVAL: Final = "INDEX by_arrival arrived_ns TYPE minmax GRANULARITY 1"
_RUN_KEY: Final = {
    "project": _NAME,
    "start_ns": _TIME,
    "trace_id": "FixedString(16)",
    "span_id": "FixedString(8)",
}
_KEY: Final = (*_RUN_KEY,)
_TAG_KV: Final = Stored(
    "tag_kv",
    "Array(String)",
    tag_texts,
    "name=text, for equality from the index alone",
    after="tags",
)
_TAG_DETAILS: Final = Stored(
    "tag_details", _LONG, _tag_details, "JSON: type and group by tag", after="params"
)
_READS: Final[Mapping[str, Callable[[Run], Any]]] = {
    "parent_span_id": lambda run: run.parent_span_id or bytes(8),
    "tags": _tag_map,
    "logs": _log_lines,
}
# The rank of a row of `runs` (docs/design/068-rank-of-a-row.md): the rank of the record above the
# time at which facts of other records were folded into the row.
_RANK: Final = Stored(
    "rank",
    "UInt128",
    lambda run: rank_of_row(run.rank, 0),
    "rank of the record << 64, plus when later facts were read; the highest is kept",
)
COPY: Final = Sql("toUInt64(bitShiftRight(rank, 64))")
"""The rank of the record from which a row of `runs` was made: that of its row in `payloads`."""
_BY_START: Final = """ENGINE = ReplacingMergeTree(rank)
PARTITION BY toYYYYMM(fromUnixTimestamp64Nano(start_ns, 'UTC'))
PRIMARY KEY (project, start_ns) ORDER BY (project, start_ns, trace_id, span_id)"""
_BY_MONTH: Final = "PARTITION BY toYYYYMM(fromUnixTimestamp64Nano(arrived_ns, 'UTC'))"

_FACTS: Final = {
    "provider": _NAME,
    "provider_model": _NAME,
    "inputs_preview": _LONG,
    "outputs_preview": _LONG,
    "first_token_ms": "Nullable(Float64)",
    "stream_chunks": "Nullable(Int64)",
    "latency_ns": "Int64",
}


def _others(settled: ResolvedRun) -> str:
    others = settled.share.others
    return (
        ""
        if not others
        else _json(
            [
                {"span_id": other.span_id.hex(), "start_ns": other.start_ns, "scope": other.scope}
                | ({"trace_id": other.trace_id.hex()} if other.trace_id else {})
                for other in others
            ]
        )
    )


_UNCOUNTED_KINDS: Final = ", ".join(f"'{kind}'" for kind in UNCOUNTED)


def _write_final(name: str, kind: str) -> str:
    """Write the column with the value that a run shows for its call."""
    if kind.startswith("Nullable"):
        return f"{kind} ALIAS ifNull({name}, call_{name})"
    return f"String ALIAS if({name} = '', call_{name}, {name})"


def _items_of(name: str) -> Callable[[Any], Any]:
    read = attrgetter(name)
    return lambda settled: [*read(settled).items()]


# What records that arrive later say about a run that they name.
LATE: Final[Sequence[Stored]] = (
    Stored(
        "final_scores",
        "Map(String, Float64)",
        _items_of("late.scores"),
        "newest score of each judge and reviewer that names the run, its trace key or a tag",
    ),
    Stored(
        "final_passed",
        "Map(String, Bool)",
        _items_of("late.passed"),
        "the same for pass and fail",
    ),
    Stored(
        "final_failed",
        "Array(String)",
        attrgetter("late.failed"),
        "the judges whose newest score is an error",
    ),
    Stored(
        "final_labels",
        "Map(String, String)",
        _items_of("late.labels"),
        "newest label of each name by a reviewer, as JSON",
    ),
    Stored(
        "final_truth",
        "Map(String, String)",
        _items_of("late.truths"),
        "newest ground truth of each name, as JSON",
    ),
    Stored(
        "final_reports",
        "Map(String, String)",
        _items_of("late.reports"),
        "newest report of each name by a program, as JSON",
    ),
    Stored(
        "late_tags",
        "Map(LowCardinality(String), String)",
        lambda settled: [(name, value) for name, (value, _) in settled.late.tags.items()],
        "newest value as JSON of each tag that arrived later, if its span has no newer one",
    ),
)
# What other runs of its trace change about a run, as columns of its row in `runs`. Of a run that
# depends on no other, they are empty, so they take little space.
FOLDED: Final[Sequence[Stored]] = (
    Stored(
        "record_of",
        "FixedString(8)",
        lambda settled: settled.share.record_of or bytes(8),
        "the run that counts for their call; zeros if this one counts",
    ),
    Stored(
        "record_trace",
        "FixedString(16)",
        lambda settled: settled.share.trace_id or bytes(16),
        "the trace of the run that counts; zeros if it is this trace",
    ),
    Stored("others", _LONG, _others, "JSON: the other records of its call"),
    Stored(
        "has_amounts",
        "Bool",
        attrgetter("counts"),
        "whether totals count the amounts in the next columns instead of its own",
    ),
    *(
        Stored(
            f"other_{name}",
            "Nullable(Int64)",
            attrgetter(f"share.tokens.{name[: -len('_tokens')]}"),
        )
        for name in TOKENS
    ),
    Stored("other_cost", "Nullable(Float64)", attrgetter("share.cost")),
    *(
        Stored(
            f"call_{name}",
            kind,
            attrgetter(f"share.facts.{name}"),
            "that of another record of its call, if it has none",
        )
        for name, kind in _FACTS.items()
        if name != "latency_ns"
    ),
    Stored(
        "call_response_id",
        "String",
        attrgetter("share.facts.response_id"),
        "the id of the provider for the answer of its call",
    ),
    *(
        Stored(
            f"trace_{name}",
            "String",
            attrgetter(f"names.{name}"),
            f"{name} of its trace, if it names none",
        )
        for name in NAMES
    ),
    Stored(
        "is_whole",
        "Bool",
        attrgetter("share.facts.is_whole"),
        "whether its own payload has an input and an output, if its call has other records",
    ),
    Stored(
        "owners",
        "Array(String)",
        attrgetter("resolution.owners"),
        "the keys and tags with late records that name it",
    ),
    *LATE,
    # Computed when they are read.
    Stored("folded_ns", "UInt64 ALIAS toUInt64(rank)", comment="when the facts in it were read"),
    Stored(
        "is_counted",
        f"Bool ALIAS kind NOT IN ({_UNCOUNTED_KINDS}) AND record_of = toFixedString('', 8)"
        " AND experiment = '' AND trace_experiment = ''",
        comment="whether statistics count it",
    ),
    *(
        Stored(
            f"counted_{name}",
            f"Nullable({kind}) ALIAS if(has_amounts, other_{name}, {name})",
            comment="as totals count it",
        )
        for name, kind in (*((name, "Int64") for name in TOKENS), ("cost", "Float64"))
    ),
    *(
        Stored(f"final_{name}", f"String ALIAS if({name} = '', trace_{name}, {name})")
        for name in ("session", "user")
    ),
    Stored(
        "final_tags",
        "Map(LowCardinality(String), String) ALIAS mapUpdate(tags, late_tags)",
        comment="its tags with those that arrived later",
    ),
    *(
        Stored(f"final_{name}", _write_final(name, kind))
        for name, kind in _FACTS.items()
        if name != "latency_ns"
    ),
)
FOLDED_NAMES: Final = tuple(column.name for column in FOLDED)
_READ_FOLDED: Final = {column.name: column.read for column in FOLDED if column.read is not None}
_FOLDED_KINDS: Final = {
    column.name: _BEHIND.split(column.sql)[0] for column in FOLDED if column.name in _READ_FOLDED
}


def _type_in_json(kind: str) -> str:
    return "String" if kind in _IDS else kind.replace("LowCardinality(String)", "String")


def _from_json(name: str, kind: str) -> Sql:
    column = identifier(name, FOLDED_NAMES)
    if kind not in _IDS:
        return Sql("folded.{n}").fill(n=column)
    size = arrow_type(kind).byte_width
    return Sql("toFixedString(unhex(folded.{n}), {size})").fill(n=column, size=size)


# Type of the JSON of `write_folded`: the key of a run, and these columns with IDs as hex text.
FOLDED_TYPE: Final = declare(
    "Tuple(start_ns Int64, trace_id String, span_id String, {columns})".format(
        columns=", ".join(f"{name} {_type_in_json(kind)}" for name, kind in _FOLDED_KINDS.items())
    )
)
# Selects the columns from a tuple of that type, which is called `folded`.
FROM_FOLDED: Final = join_sql(
    ", ",
    [
        Sql("{value} AS {n}").fill(value=_from_json(name, kind), n=identifier(name, FOLDED_NAMES))
        for name, kind in _FOLDED_KINDS.items()
    ],
)


def write_folded(run: ResolvedRun) -> str:
    """Write the columns of `FOLDED` for a run that has no row in `runs`, as JSON."""
    values: dict[str, Any] = {
        "start_ns": run.start_ns,
        "trace_id": run.trace_id,
        "span_id": run.span_id,
    }
    for name, read in _READ_FOLDED.items():
        value = read(run)
        values[name] = dict(value) if _FOLDED_KINDS[name].startswith("Map(") else value
    texts = {name: v.hex() if isinstance(v, bytes) else v for name, v in values.items()}
    return orjson.dumps(texts).decode()


# Columns with values of other records of a call, each with the column that it completes.
CALL_VALUES: Final = {f"call_{name}": name for name in _FACTS if name != "latency_ns"}

# Ended runs, one row per span, small enough for lists.
RUNS: Final[Table[Run]] = Table(
    "runs",
    _stored(
        Run,
        Stored(
            "latency_ns",
            "Int64 CODEC(T64, ZSTD(1))",
            lambda run: run.end_ns - run.start_ns,
            after="parent_span_id",
        ),
        _TAG_KV,
        _RANK,
        _WHO,
        *(replace(column, read=None) for column in FOLDED),
        reads=_READS,
        keep=lambda column: not column.is_payload,
    ),
    f"{_BY_START}\nSETTINGS index_granularity = 1024, {BUCKETS}, {MERGES}, {DURABLE}",
    ["INDEX by_tag tag_kv TYPE text(tokenizer = 'array')", _BY_ARRIVAL],
    month_of=attrgetter("start_ns"),
    follows=Follows.RUN,
    topic="runs",
)
# Columns that only the page of a run needs, with the same key as `runs`. Indexes for word search in
# inputs and outputs are built when parts are merged.
PAYLOADS: Final[Table[Run]] = Table(
    "payloads",
    _stored(
        Run,
        _TAG_DETAILS,
        reads=_READS,
        only=[
            *_KEY,
            *(name for name, (_, column) in columns_of(Run).items() if column.is_payload),
            *(_STAMP, "rank"),
        ],
    ),
    f"{_BY_START}\nSETTINGS index_granularity = 256, {MERGES}, {DURABLE}",
    [
        "INDEX by_input inputs TYPE text(tokenizer = 'splitByNonAlpha')",
        "INDEX by_output outputs TYPE text(tokenizer = 'splitByNonAlpha')",
    ],
    month_of=attrgetter("start_ns"),
    follows=Follows.RUN,
    is_payload=True,
    topic="payloads",
)
# Start records of runs. `outcome` is computed when they are read. Two deliveries of a run are one
# row. Rows of ended runs are swept. `process` is a plain String, because almost every row of this
# small table has a different process.
OPEN_RUNS: Final[Table[Run]] = Table(
    "open_runs",
    _stored(
        Run,
        Stored("process", "String", attrgetter("process")),
        replace(_TAG_KV, comment="name=text"),
        Stored("inputs", _LONG, attrgetter("inputs"), "JSON: often a preview only"),
        _TAG_DETAILS,
        _WHO,
        reads=_READS,
        keep=lambda column: not column.at_end,
    ),
    f"""ENGINE = ReplacingMergeTree(rank)
{_BY_MONTH}
ORDER BY (project, trace_id, span_id)
SETTINGS index_granularity = 1024, {DURABLE}""",
    source="open_runs",
    follows=Follows.RUN,
    topic="runs",
)
# Sending processes. `arrived_ns` is the last time anything arrived from a process. All other times
# are from the clock of the process.
PROCESSES: Final[Table[ProcessSign]] = Table(
    "processes",
    _stored(ProcessSign, Stored(_STAMP, "SimpleAggregateFunction(max, Int64)")),
    f"""ENGINE = AggregatingMergeTree ORDER BY (project, process)
SETTINGS index_granularity = 1024, {DURABLE}""",
    follows=Follows.PROCESS,
)
# Received span numbers of each process, by the hour (since 1970, UTC) in which the spans ended.
# Receiving a number twice changes nothing: bitmaps and maxima merge in any order.
ARRIVALS: Final[Table[Arrivals]] = Table(
    "arrivals",
    [
        Stored("project", _NAME, attrgetter("project")),
        Stored("process", "String", attrgetter("process")),
        Stored("hour", "UInt32", attrgetter("hour")),
        Stored(
            "timely",
            "AggregateFunction(groupBitmap, UInt64) DEFAULT bitmapBuild(timely_numbers)",
        ),
        Stored("late", "AggregateFunction(groupBitmap, UInt64) DEFAULT bitmapBuild(late_numbers)"),
        Stored(
            "highest",
            "SimpleAggregateFunction(maxMap, Map(UInt32, UInt64))",
            _highest,
            "number by the minute (since 1970, UTC) in which it came",
        ),
        Stored(
            "dropped",
            "SimpleAggregateFunction(max, UInt64)",
            attrgetter("dropped"),
            "spans that it had dropped by then",
        ),
        Stored(
            "base",
            "SimpleAggregateFunction(max, UInt64)",
            comment="numbers up to it were not kept here",
        ),
        Stored("timely_numbers", "Array(UInt64) EPHEMERAL", attrgetter("timely")),
        Stored("late_numbers", "Array(UInt64) EPHEMERAL", attrgetter("late")),
    ],
    f"""ENGINE = AggregatingMergeTree ORDER BY (project, process, hour)
SETTINGS index_granularity = 1024, {DURABLE}""",
    stamp="",
    follows=Follows.PROCESS,
)
# Spans that can never be stored, by the hour of their arrival (since 1970, UTC).
REFUSALS: Final[Table[SpanRefusal]] = Table(
    "refusals",
    [
        Stored("project", _NAME, attrgetter("project")),
        Stored("reason", _NAME, attrgetter("reason"), "why, as the sender was told"),
        Stored("process", "String", attrgetter("process"), "empty if the spans name none"),
        Stored("hour", "UInt32", attrgetter("hour")),
        Stored(
            "last_ns",
            "SimpleAggregateFunction(max, Int64)",
            attrgetter("last_ns"),
            "when the last one arrived",
        ),
        Stored(
            "numbers",
            "AggregateFunction(groupBitmap, UInt64) DEFAULT bitmapBuild(span_numbers)",
        ),
        Stored(
            "unnumbered",
            "SimpleAggregateFunction(sum, UInt64)",
            attrgetter("unnumbered"),
            "how many have no number",
        ),
        Stored("span_numbers", "Array(UInt64) EPHEMERAL", attrgetter("numbers")),
    ],
    f"""ENGINE = AggregatingMergeTree ORDER BY (project, reason, process, hour)
SETTINGS index_granularity = 1024, {DURABLE}""",
    stamp="",
    source="refusals",
    follows=Follows.PROCESS,
    time="last_ns",
)
# Data points of metrics about model calls. Cumulative points within five minutes are one row, and
# so is a point that is sent again.
CALL_POINTS: Final[Table[CallPoint]] = Table(
    "call_points",
    [
        *(
            Stored(name, _NAME, attrgetter(name))
            for name in ("project", "service", "metric", "model", "provider", "operation", "kind")
        ),
        Stored("error_type", _NAME, attrgetter("error_type"), "empty if the calls succeeded"),
        Stored("series", "String", attrgetter("series"), "digest of all attributes"),
        Stored("start_ns", "Int64", attrgetter("start_ns"), "since when it counts"),
        Stored("time_ns", "Int64", attrgetter("time_ns"), "until when it counts"),
        Stored("slot", "Int64", attrgetter("slot"), "points of one slot replace each other"),
        Stored(
            "is_delta", "Bool", attrgetter("is_delta"), "whether it counts since the last point"
        ),
        Stored("count", "UInt64", attrgetter("count"), "number of values; 0 for a counter"),
        Stored("total", "Float64", attrgetter("total"), "sum of the values"),
        Stored("bounds", "Array(Float64)", attrgetter("bounds"), "upper bounds of the buckets"),
        Stored("buckets", "Array(UInt64)", attrgetter("buckets"), "number of values in each"),
        Stored(_STAMP, "Int64"),
    ],
    f"""ENGINE = ReplacingMergeTree(time_ns) ORDER BY (project, metric, series, start_ns, slot)
SETTINGS index_granularity = 1024, {DURABLE}""",
    source="points",
    follows=Follows.NOTHING,
    topic="runs",
)
# Maps a trace ID (hex) or a user's trace key to the times of the trace's runs.
TRACE_INDEX: Final[Table[TraceKey]] = Table(
    "trace_index",
    _stored(TraceKey),
    f"""ENGINE = AggregatingMergeTree ORDER BY (key, project, trace_id)
SETTINGS index_granularity = 1024, {MERGES}, {DURABLE}""",
    stamp="",
    source="trace_keys",
    follows=Follows.KEY,
)
# Maps a trace to the trace keys that users set for it.
TRACE_KEYS: Final[Table[TraceKey]] = Table(
    "trace_keys",
    [
        *_stored(TraceKey, only=["project", "trace_id"]),
        *_stored(TraceKey, only=["key"]),
        Stored(
            _STAMP,
            "Int64 DEFAULT toInt64(cityHash64(trace_id, key) % 1000000000000000000)",
            comment="when it came last; below all times where that was not kept",
        ),
        _WHICH,
    ],
    f"""ENGINE = ReplacingMergeTree ORDER BY (project, trace_id, key)
SETTINGS index_granularity = 1024, {DURABLE}""",
    follows=Follows.KEY,
)
# Kept forever, because the number of a version is its rank by first arrival.
MODEL_VERSIONS: Final[Table[ModelVersion]] = Table(
    "model_versions",
    _stored(
        ModelVersion,
        Stored("first_arrived_ns", "SimpleAggregateFunction(min, Int64)"),
        Stored(
            _STORED,
            "SimpleAggregateFunction(maxMap, Map(String, Int64)) DEFAULT map('', first_arrived_ns)",
            comment="when which collector stored something of it last",
        ),
    ),
    f"""ENGINE = AggregatingMergeTree ORDER BY (project, kind, name, digest, structure)
SETTINGS index_granularity = 256, {DURABLE}""",
    stamp="first_arrived_ns",
)
# Points and scores by subject, which is usually a run. A point is identified by (record_id,
# position), a judge's score by (owner, judge, version).
METRICS: Final[Table[Metric]] = Table(
    "metrics",
    [*_stored(Metric), _ARRIVED, _WHICH, Stored("rank", "UInt64", attrgetter("time_ns"))],
    f"""ENGINE = ReplacingMergeTree(rank)
{_BY_MONTH}
ORDER BY (project, owner, name, source, judge_version, record_id, position)
SETTINGS index_granularity = 1024, {DURABLE}""",
    [_BY_ARRIVAL],
    month_of=attrgetter("owner_start_ns"),  # also for the scores that are copied from them
    source="metrics",
    topic="metrics",
)


# Value of a ground truth, or of a label by a reviewer or agent, as JSON text: the first of the
# value, the label, the score and the pass that it has.
WORD: Final = Sql("""multiIf(
  source NOT IN ('human', 'actual', 'agent'), '',
  actual != '', actual,
  label != '', toJSONString(toString(label)),
  ifNull(isFinite(value), 0), toString(assumeNotNull(value)),
  passed IS NOT NULL, if(assumeNotNull(passed), 'true', 'false'),
  '')""")


# Metric points, which are not evaluations: logged by programs, or computed from a table.
IS_POINT: Final = Sql("source IN ('logged', 'data')")


def is_point(metric: Metric) -> bool:
    """Return whether a metric is a point and not an evaluation, like `IS_POINT`."""
    return metric.source in METRIC_SOURCES_KNOWN


# Scores of judges and reviewers, on any subject. Points, ground truth with a value and records of
# agents are excluded.
IS_SCORE: Final = Sql("NOT ({point}) AND source != 'agent' AND actual = ''").fill(point=IS_POINT)


def is_score(metric: Metric) -> bool:
    """Return whether a metric is the score of a judge or reviewer, like `IS_SCORE`."""
    is_word = not is_point(metric) and metric.source != "agent"
    return is_word and not metric.actual and is_run(metric.owner)


# The scores again, by the key of the run: filters and statistics join on it.
SCORES: Final[Table[Metric]] = Table(
    "scores",
    [
        *_stored(Metric, only=["project"]),
        *_stored(Metric, only=["name"], named={"name": "judge"}),
        Stored("start_ns", _TIME),
        Stored("trace_id", "FixedString(16)"),
        Stored("span_id", "FixedString(8)"),
        *_stored(Metric, only=["judge_version", "value"], named={"value": "score"}),
        *_stored(Metric, only=["passed"]),
        Stored("failed", "Bool", comment="the judge raised: no score, no pass"),
        *_stored(Metric, only=["time_ns"]),
        Stored("rank", "UInt64"),
        *_stored(Metric, only=["latency_ms", "cost"]),
        *_stored(Metric, only=["record_id"]),
    ],
    f"""ENGINE = ReplacingMergeTree(rank)
PARTITION BY toYYYYMM(fromUnixTimestamp64Nano(start_ns, 'UTC'))
PRIMARY KEY (project, judge, start_ns)
ORDER BY (project, judge, start_ns, trace_id, span_id, judge_version, record_id)
SETTINGS index_granularity = 1024, {DURABLE}""",
    stamp="",
    follows=Follows.RUN,
    time="time_ns",
    topic="metrics",
)


@dataclass(frozen=True, slots=True)
class Copy:
    """A table that the engine fills from another table, with a materialized view.

    The view copies the rows of each insert into the source table. If a row is deleted from the
    source table, its copy stays. The engine refuses an insert whose copies belong to too many
    partitions.

    Attributes:
        name: Name of the materialized view.
        columns: The expression for each column of the table.
        rows: The rest of the query after the columns.
    """

    name: str
    table: Table[Any]
    columns: Mapping[str, Sql]
    rows: Sql

    @property
    def select(self) -> Sql:
        """The SELECT statement of its rows, with the columns in the order of the table."""
        made = [
            Sql("{value} AS {name}").fill(
                value=self.columns.get(name, identifier(name, [name])),
                name=identifier(name, [name]),
            )
            for name in self.table.names()
        ]
        return Sql("SELECT {made} {rows}").fill(made=join_sql(", ", made), rows=self.rows)

    @property
    def ddl(self) -> Sql:
        """The statement that creates it."""
        return Sql("CREATE MATERIALIZED VIEW IF NOT EXISTS {name} TO {table} AS {select}").fill(
            name=identifier(self.name, [self.name]), table=self.table.sql, select=self.select
        )


SCORES_OF_METRICS: Final = Copy(
    "scores_of_metrics",
    SCORES,
    {
        "judge": Sql("name"),
        "start_ns": Sql("owner_start_ns"),
        "trace_id": Sql("toFixedString(unhex(substring(owner, 1, 32)), 16)"),
        "span_id": Sql("toFixedString(unhex(substring(owner, 34, 16)), 8)"),
        "score": Sql("value"),
        "failed": Sql("error != ''"),
        "rank": Sql("toUInt64(time_ns)"),
    },
    Sql("FROM metrics WHERE {is_score} AND owner < '{first}'").fill(
        is_score=IS_SCORE, first=Sql(FIRST)
    ),
)
LATE_TAGS: Final[Table[LateTag]] = Table(
    "late_tags",
    [
        *_stored(LateTag, reads={"value": lambda late: orjson.dumps(late.tag.value).decode()}),
        *(_ARRIVED, _WHICH),
    ],
    f"""ENGINE = ReplacingMergeTree
{_BY_MONTH}
ORDER BY (project, owner, name, record_id)
SETTINGS index_granularity = 1024, {DURABLE}""",
    [_BY_ARRIVAL],
    source="tags",
)
LATE_LOGS: Final[Table[LateLog]] = Table(
    "late_logs",
    [*_stored(LateLog), _ARRIVED, _WHICH],
    f"""ENGINE = ReplacingMergeTree
{_BY_MONTH}
ORDER BY (project, owner, record_id, position)
SETTINGS index_granularity = 1024, {DURABLE}""",
    [_BY_ARRIVAL],
    source="logs",
    is_payload=True,
    topic="logs",
)
# Artifacts by name and subject. A document that was sent along is in the row. Other documents are
# in `artifacts`, under their hash.
OBJECTS: Final[Table[ArtifactRecord]] = Table(
    "objects",
    _stored(
        ArtifactRecord,
        Stored(
            "is_inline",
            "Bool",
            lambda artifact: bool(artifact.json),
            "whether it did",
            after="json",
        ),
        Stored(_STAMP, _TIME, after="time_ns"),
        _WHO,
    ),
    f"""ENGINE = ReplacingMergeTree(rank)
{_BY_MONTH}
ORDER BY (project, owner, record_id, position)
SETTINGS index_granularity = 256, {DURABLE}""",
    ["INDEX by_sha256 sha256 TYPE bloom_filter GRANULARITY 1"],
    source="artifacts",
    is_payload=True,
    topic="artifacts",
)
# Aliases of versions. All moves are kept, and the last one counts.
ALIASES: Final[Table[AliasMove]] = Table(
    "aliases",
    [*_stored(AliasMove), _ARRIVED, _WHICH],
    f"""ENGINE = ReplacingMergeTree(rank)
ORDER BY (project, model, alias, record_id)
SETTINGS index_granularity = 256, {DURABLE}""",
    source="aliases",
)
# What runs used and produced, by run. To find the runs of a name, search it with the index.
LINEAGE: Final[Table[LineageLink]] = Table(
    "lineage",
    [*_stored(LineageLink), _ARRIVED, _WHICH],
    f"""ENGINE = ReplacingMergeTree(rank)
{_BY_MONTH}
ORDER BY (project, owner, record_id, position)
SETTINGS index_granularity = 256, {DURABLE}""",
    ["INDEX by_name name TYPE bloom_filter GRANULARITY 1"],
    source="lineage",
)
# Contents of data set items. Each is stored once, even if many versions contain it.
ITEMS: Final[Table[ItemContent]] = Table(
    "items",
    [*_stored(ItemContent), _ARRIVED, _WHICH],
    f"""ENGINE = ReplacingMergeTree(rank)
ORDER BY (project, digest)
SETTINGS index_granularity = 256, {DURABLE}""",
    source="items",
    follows=Follows.SOURCE,
)


def _response_token(settled: ResolvedRun) -> list[str]:
    response = settled.share.facts.response_id
    return [f"{RESPONSE}{response}"] if response else []


# Values of a run that its own row lacks, computed from all runs of its trace, including open ones,
# whenever they change. They are: the amounts that count, none if the run repeats the record of a
# call; the combined values of all records of its call, if this run counts for it; session, user and
# experiment of its trace, if the run names none; and the keys and tags with late records that name
# the run.
RESOLVED_RUNS: Final[Table[ResolvedRun]] = Table(
    "settled",
    [
        *(Stored(name, kind, attrgetter(name)) for name, kind in _RUN_KEY.items()),
        Stored(
            "record_of",
            "FixedString(8)",
            lambda settled: settled.share.record_of or bytes(8),
            "the run that counts for their call; zeros for one that counts itself",
        ),
        Stored("others", _LONG, _others, "JSON: the other records of its call"),
        Stored(
            "record_trace",
            "FixedString(16)",
            lambda settled: settled.share.trace_id or bytes(16),
            "the trace of the run that counts; zeros if it is this trace",
            after="others",
        ),
        *(
            Stored(name, "Nullable(Int64)", attrgetter(f"share.tokens.{name[: -len('_tokens')]}"))
            for name in TOKENS
        ),
        Stored("cost", "Nullable(Float64)", attrgetter("share.cost")),
        *(Stored(name, kind, attrgetter(f"share.facts.{name}")) for name, kind in _FACTS.items()),
        Stored("tag_kv", "Array(String)", _response_token, "the id of the provider for its answer"),
        Stored("rank", "UInt64", attrgetter("rank"), "when the trace was looked at"),
        Stored(
            "counts",
            "Bool DEFAULT true",
            attrgetter("counts"),
            "whether it is settled what counts of it",
        ),
        *(
            Stored(name, "String", attrgetter(f"names.{name}"), f"{name} of its trace")
            for name in NAMES
        ),
        Stored(
            "is_whole",
            "Bool",
            attrgetter("share.facts.is_whole"),
            "whether its own payload has an input and an output",
        ),
        Stored(
            "owners",
            "Array(String)",
            attrgetter("resolution.owners"),
            "the keys and tags with late records that name it",
        ),
    ],
    f"{_BY_START}\nSETTINGS index_granularity = 1024, {DURABLE}",
    ["INDEX by_owner owners TYPE bloom_filter GRANULARITY 1"],
    stamp="",
    month_of=attrgetter("start_ns"),
    follows=Follows.RUN,
)
HAS_OTHERS: Final = Sql("others NOT IN ('', '[]')")
# Runs that count for a call with several records.
COUNTING: Final = Sql("FROM settled FINAL WHERE {among} AND ") + HAS_OTHERS
# Those whose own payload lacks an input or output, which a different record may have.
LACKING: Final = COUNTING + Sql(" AND NOT is_whole")
# The other records of calls, by the run that counts. `place` is their order of precedence.
_RECORDS: Final = Sql("""
    SELECT trace_id AS heir_trace, span_id AS heir_span, place,
      toFixedString(unhex(one.1), 8) AS record_span, one.2 AS record_start,
      if(one.3 = '', trace_id, toFixedString(unhex(one.3), 16)) AS record_trace
    FROM (
      SELECT trace_id, span_id,
        JSONExtract(others, 'Array(Tuple(span_id String, start_ns Int64, trace_id String))')
          AS records {counting})
    ARRAY JOIN records AS one, arrayEnumerate(records) AS place""")


@dataclass(frozen=True, slots=True)
class InheritedColumn:
    """Describes how a run's empty payload column is filled from another record of the same call.

    All attributes are SQL expressions.

    Attributes:
        take: The value in the other record. Its alias is ``inherited_`` and the name of the column.
        has_value: Whether the other record has a value.
        put: The result: the value in the run's own row (``own``). If it is empty, the value that
            `take` selected.
    """

    take: Sql
    has_value: Sql
    put: Sql


def _inherit_text(name: str) -> InheritedColumn:
    column = identifier(name, [name])
    return InheritedColumn(
        column,
        Sql("{n} != ''").fill(n=column),
        Sql("if(own.{n} = '', inherited_{n}, own.{n})").fill(n=column),
    )


# Columns of `runs` in which a run that counts shows the value of any record of its call.
SHOWN: Final = (*TOKENS, "cost", *(name for name in _FACTS if name != "latency_ns"))
INHERITED_PAYLOAD: Final = {name: _inherit_text(name) for name in ("inputs", "outputs", "params")}


def count_for_others(among: Sql, counting: Sql = COUNTING) -> Sql:
    """Return the SQL condition for runs whose call several instrumentations recorded.

    Each of these records is stored as a run, but only one of them counts in statistics. The
    condition selects the runs that count.

    Args:
        among: A condition that limits the project and the start time of the runs.
        counting: One of two constants with SQL. `COUNTING` selects all these runs. `LACKING`
            selects only runs that lack an input or output, which another record of the call may
            have.
    """
    return Sql("(start_ns, trace_id, span_id) IN (SELECT start_ns, trace_id, span_id {of})").fill(
        of=counting.fill(among=among)
    )


def fill_payloads(
    rows: Sql, columns: Mapping[str, InheritedColumn], among: Sql, counting: Sql = COUNTING
) -> Sql:
    """Write the SQL that fills empty payload columns from other records of the same call.

    Payload columns are the inputs, outputs and parameters of a call. Two instrumentations can
    record the same call, and perhaps only one of the two records has the inputs. If several other
    records have a value, the record with the highest precedence in `same_calls` is used.

    Args:
        rows: SQL that selects the rows of `payloads` to fill, with these columns.
        columns: The columns to fill, by name.
        among: A condition that limits the project and the start time of the rows.
        counting: `COUNTING` fills all rows whose call has several records. `LACKING` fills only the
            rows without an input or output.
    """
    names = {name: identifier(name, [name]) for name in columns}
    taken = [
        Sql("argMinIf({take}, ({order}), {has_value}) AS inherited_{n}").fill(
            take=column.take,
            order=Sql("place, bitNot(rank)"),
            has_value=column.has_value,
            n=names[name],
        )
        for name, column in columns.items()
    ]
    put = [
        Sql("{put} AS {n}").fill(put=column.put, n=names[name]) for name, column in columns.items()
    ]
    return Sql("""
      SELECT own.* REPLACE ({put}) FROM ({rows}) AS own
      LEFT JOIN (
        SELECT heir_trace, heir_span, {taken} FROM ({records}) AS record
        INNER JOIN (
          SELECT * FROM payloads WHERE project = {project:String}
            AND start_ns IN (SELECT record_start FROM ({records}))
        ) AS other ON start_ns = record_start AND trace_id = record_trace AND span_id = record_span
        GROUP BY heir_trace, heir_span
      ) AS inherited ON heir_trace = own.trace_id AND heir_span = own.span_id""").fill(
        put=join_sql(", ", put),
        rows=rows,
        taken=join_sql(", ", taken),
        records=_RECORDS.fill(counting=counting.fill(among=among)),
    )


# In the order of writing. Readers never see a run or a data set version without its records, even
# if the collector is killed between two inserts.
RECORD_TABLES: Final[Sequence[Table[Any]]] = (
    *(LATE_LOGS, LATE_TAGS, METRICS, SCORES, OBJECTS, ALIASES, LINEAGE, ITEMS),
    *(TRACE_INDEX, TRACE_KEYS, MODEL_VERSIONS),
    *(PROCESSES, ARRIVALS, REFUSALS, CALL_POINTS, OPEN_RUNS, PAYLOADS, RUNS),
)
DECLARED_TABLES: Final[Sequence[Table[Any]]] = (*RECORD_TABLES, RESOLVED_RUNS)
# Tables of records about a subject (`owner`). They are deleted with it.
OWNED: Final = tuple(table for table in RECORD_TABLES if "owner" in table.names())
# The newest time of arrival that a collector has assigned.
LAST_ARRIVAL: Final = Sql("SELECT greatest({times})").fill(
    times=join_sql(
        ", ",
        [
            *(
                Sql("(SELECT max({stamp}) FROM {table})").fill(
                    stamp=identifier(table.stamp, table.names()), table=table.sql
                )
                for table in RECORD_TABLES
                if table.stamp
            ),
            Sql("(SELECT max(arrived_ns) FROM forward_cursors)"),
        ],
    )
)

# Columns of `runs` that lists show. IDs are hex text.
OWN: Final = RUNS.select("tag_kv", "process", "seq", _STAMP, _COLLECTOR, *FOLDED_NAMES)
# Lists also show these columns. Late-arriving records fill the first group, other runs the second.
FROM_RECORDS: Final = join_sql(", ", [column.selected for column in LATE])
FROM_RUNS: Final = join_sql(
    ", ",
    [
        column.selected
        for column in FOLDED
        if column.read is not None and column not in LATE and column.name != "is_whole"
    ],
)
LIGHT: Final = join_sql(", ", [OWN, FROM_RECORDS, FROM_RUNS])
# What these columns contain if a run has no late-arriving records and depends on no other run.
ALONE: Final[Mapping[str, Any]] = {
    name: value
    for name, value in orjson.loads(write_folded(ResolvedRun("", b"", b"", 0, NOTHING))).items()
    if name in _READ_FOLDED
}
# Columns that only the page of a run needs: their names, and the SQL that reads them.
_NO_PAYLOAD_COLUMNS: Final = (*_KEY, _STAMP, "rank")
PAYLOAD: Final = tuple(PAYLOADS.names(*_NO_PAYLOAD_COLUMNS))
OF_PAYLOADS: Final = PAYLOADS.select(*_NO_PAYLOAD_COLUMNS)
# The response ID of a provider among the tags of a run; empty if there is none.
RESPONSE_ID: Final = Sql("""substring(arrayFirst(text -> startsWith(text, '{response}'), tag_kv),
  {behind})""").fill(response=Sql(RESPONSE), behind=len(RESPONSE) + 1)
# Speed of a streamed answer after its first token; null if it cannot be computed.
TOKENS_PER_SECOND: Final = Sql("""if(latency_ns > first_token_ms * 1e6,
  output_tokens * 1e9 / (latency_ns - first_token_ms * 1e6), NULL)""")
OF_TOKENS: Final = join_sql(", ", [identifier(name, TOKENS) for name in TOKENS])
