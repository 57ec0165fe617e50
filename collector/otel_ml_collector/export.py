"""Exports all runs of a project as JSON lines, CSV or Parquet, in batches of bounded memory."""

import io
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final, Literal

import orjson
import pyarrow as pa
from fastapi import APIRouter, Depends, Query
from starlette.responses import StreamingResponse

from otel_ml_collector.api.parameters import End, FromReader, Since, Where
from otel_ml_collector.api.route import DeferredRoute
from otel_ml_collector.api.streams import FromPlaces, Stream
from otel_ml_collector.artifacts.find import find_artifacts
from otel_ml_collector.errors import BadInput
from otel_ml_collector.filter.fields import FIELD_NAMES, Kind
from otel_ml_collector.filter.grammar import Field, read_field, split_list, step_into
from otel_ml_collector.filter.sql import compile_where, inherit_reasons, reasons_of
from otel_ml_collector.mapping.chat import line_in, line_out
from otel_ml_collector.mapping.dialects.gen_ai_events import read_content
from otel_ml_collector.runs.answers import LateFacts, find_late_facts
from otel_ml_collector.runs.logs import find_call_events, values_of
from otel_ml_collector.store.counted import (
    DELIVERIES,
    IS_REPEAT,
    MAIN_RECORD,
    NAMED,
    RECORDED,
    named,
    show_calls,
)
from otel_ml_collector.store.facts import find_all_series, write_first_keys
from otel_ml_collector.store.reader import Reader, winners
from otel_ml_collector.store.record_kinds import find_record_kinds
from otel_ml_collector.store.runs import Key, read_runs
from otel_ml_collector.store.sql import EMPTY, Condition, Sql, identifier, join_sql, substitute
from otel_ml_collector.store.tables import (
    FOLDED_NAMES,
    INHERITED_PAYLOAD,
    PAYLOAD,
    RESPONSE_ID,
    RUNS,
    TOKENS_PER_SECOND,
    fill_payloads,
)
from otel_ml_collector.store.targets import TAG_TEXT
from otel_ml_collector.store.versions import NUMBERED_VERSIONS
from otel_ml_collector.times import HOUR_NS, to_rfc3339

_STRING: Final = pa.string()
_INT: Final = pa.int64()
_FLOAT: Final = pa.float64()
# Columns that are computed or read from other records, by the run column that they follow.
_BEHIND: Final[dict[str, dict[str, pa.DataType]]] = {
    "model": {"version": _INT},
    "digest": {"start_time": pa.timestamp("ns", "UTC"), "start_ns": _INT, "latency_ms": _FLOAT},
    "tags": {
        "scores": pa.map_(_STRING, _FLOAT),
        "passed": pa.map_(_STRING, pa.bool_()),
        "failed_judges": pa.list_(_STRING),
        "truth": _STRING,
        "label": _STRING,
        "agent": _STRING,
    },
}
_NOT_GIVEN: Final = frozenset(
    {"trace_id", "span_id", "parent_span_id", "start_ns", "latency_ns", "structure", "tag_kv"}
    | {"process", "seq", "arrived_ns", "collector", "rank", *FOLDED_NAMES}
)
_NO_SPAN_ID: Final = Sql("toFixedString('', 8)")
_TRACE: Final = Sql("lower(hex(run.trace_id))")
_TAGS: Final = Sql("mapUpdate(run.tags, run.late_tags)")


def _write_object(values: Sql) -> Sql:
    """Write the SQL of a JSON object, from a map with the JSON text of each value."""
    return Sql("""concat('{', arrayStringConcat(arrayMap(
      (k, v) -> concat(toJSONString(toString(k)), ':', v), mapKeys({map}), mapValues({map})),
      ','), '}')""").fill(map=values)


# How columns are computed from the row of a run. All other columns are read unchanged.
_MADE: Final = {
    "run_id": Sql("concat({trace}, '-', lower(hex(run.span_id)))").fill(trace=_TRACE),
    "trace_id": _TRACE,
    "parent_run_id": Sql(
        "if(run.parent_span_id = {none}, NULL, "
        "concat({trace}, '-', lower(hex(run.parent_span_id))))"
    ).fill(none=_NO_SPAN_ID, trace=_TRACE),
    "latency_ms": Sql("nullIf(run.latency_ns, 0) / 1e6"),
    "version": Sql("numbered.number"),
    "trace_key": Sql("keyed.trace_key"),
    "response_id": RESPONSE_ID,
    "finish_reason": Sql("arrayStringConcat({reasons}, ', ')").fill(
        reasons=reasons_of(Sql("payload.telling"))
    ),
    "tokens_per_second": TOKENS_PER_SECOND,
    "record_of": Sql("if({repeat}, {main}, NULL)").fill(
        repeat=IS_REPEAT, main=substitute(MAIN_RECORD, Sql("trace_id"), Sql("run.trace_id"))
    ),
    **{name: named(identifier(name, NAMED)) for name in NAMED},
    "tags": Sql("mapApply((k, v) -> (toString(k), {text}), {tags})").fill(
        text=TAG_TEXT.fill(value=Sql("v")), tags=_TAGS
    ),
    "scores": Sql("run.final_scores"),
    "passed": Sql("run.final_passed"),
    "failed_judges": Sql("run.final_failed"),
    "truth": _write_object(Sql("run.final_truth")),
    "label": _write_object(Sql("run.final_labels")),
    "agent": _write_object(Sql("run.final_reports")),
}
# Tags with the JSON text of each value: numbers stay numbers.
JSON_TAGS: Final = _write_object(_TAGS)
# Ground truth, labels and programs' reports, each as a JSON object by name.
WORDS: Final = ("truth", "label", "agent")
# Runs and payloads are stored in this order, so an interval is read without sorting other rows.
_KEYS: Final = Sql("start_ns, trace_id, span_id")
_JOIN_TRACE_KEYS: Final = Sql("""
LEFT JOIN ({first_keys}) AS keyed ON keyed.trace_id = run.trace_id""")
_JOIN_VERSIONS: Final = Sql("""
LEFT JOIN (
  SELECT name, digest, structure, toNullable(toInt64(any(number))) AS number
  FROM ({numbered_versions}) WHERE kind = 'model' GROUP BY name, digest, structure
) AS numbered ON numbered.name = run.model AND numbered.digest = run.digest
  AND numbered.structure = run.structure""").fill(numbered_versions=NUMBERED_VERSIONS)
_KEPT: Final = Sql("""
  SELECT {asked}, {keys} FROM payloads FINAL
  WHERE project = {project:String} AND start_ns IN (SELECT start_ns FROM ({wanted}))
    AND ({keys}) IN ({wanted})""")
_JOIN_PAYLOADS: Final = Sql("""
LEFT JOIN ({payloads}) AS payload ON payload.start_ns = run.start_ns
  AND payload.trace_id = run.trace_id AND payload.span_id = run.span_id""")
# Payload columns that a run can inherit from another record of the same call. `telling` adds the
# other record's finish reason to the run's own attributes.
_INHERITED_PAYLOAD: Final = INHERITED_PAYLOAD | {"telling": inherit_reasons(Sql("telling"))}
# Skip indexes are off: an index that skips the newest delivery of a row would show an older one.
# Without them, the rows of one project are read whole.
_SETTINGS: Final = {"use_skip_indexes_if_final": 0, "join_use_nulls": 0, "max_execution_time": 60}
# Runs per read: few at first, then as many as fill a batch of this size.
_FIRST: Final = 500
_MOST_RUNS: Final = 25_000
_BATCH_BYTES: Final = 16 * 1024 * 1024
# If a filter matches few runs, an interval covers up to this many times the runs of a batch.
_WIDEST: Final = 64
_LATE_AT_ONCE: Final = 1_000
_PLACE: Final = ("start_ns", "run_id")
# Spreadsheets run a cell that begins like this as a formula, and anyone may have sent the text.
_FORMULA: Final = r"^([=+\-@\t\r])"
_TIME: Final = "%Y-%m-%dT%H:%M:%SZ"
# A batch becomes Python objects slice by slice.
_LINES: Final = 1_000


def _short() -> dict[str, pa.DataType]:
    data_types = dict.fromkeys(("run_id", "trace_id", "parent_run_id", "trace_key"), _STRING)
    for column in RUNS.columns:
        if column.name not in _NOT_GIVEN:
            data_types |= {column.name: column.arrow, **_BEHIND.get(column.name, {})}
    return data_types


# Columns of a run in a list. Token counts have the names that filters use.
SHORT: Final = _short()
# All records about a run that are separate from its span, read by run ID.
RECORD_LISTS: Final = ("evaluations", "metrics", "artifacts")
# Payload columns: JSON text in Parquet and CSV, nested JSON in JSON lines.
WHOLE: Final = dict.fromkeys((*PAYLOAD, *RECORD_LISTS), _STRING)
# Filter fields that are not columns of a run, but computed from them.
MADE: Final = {
    **dict.fromkeys(("response_id", "finish_reason", "record_of"), _STRING),
    "tokens_per_second": _FLOAT,
}
TYPES: Final = SHORT | WHOLE | MADE
# Columns that may arrive as log records, and how their text is made.
_CONTENT: Final[Mapping[str, Callable[[object], str]]] = {
    "inputs": str,
    "outputs": str,
    "inputs_preview": line_in,
    "outputs_preview": line_out,
}
# Columns from which a filter field is computed, if no column has its name.
_MADE_OF: Final[Mapping[str, tuple[str, ...]]] = {
    "start": ("start_time",),
    "end": ("start_ns", "latency_ms"),
    "latency": ("latency_ms",),
    "failed": ("failed_judges", "scores", "passed"),
    "judge_version": ("evaluations",),
}
# Types of values in maps. A value in JSON can have any type, so it is exported as JSON text.
_WITHIN: Final = {
    "scores": _FLOAT,
    "passed": pa.bool_(),
    "failed": pa.bool_(),
    "judge_version": _INT,
}
# Kinds of fields without parts.
_WHOLES: Final = frozenset({Kind.TEXT, Kind.REASON, Kind.NUMBER, Kind.DURATION, Kind.TIME})
_IS_JSON: Final = {b"form": b"json"}


def choose_columns(text: str) -> list[str]:
    """Parse the names of the columns that a user wants to export.

    Args:
        text: Names, separated by commas. A name can be a field of the filter language, such as
            ``tags["client"]``. ``*`` means all columns. If empty, the columns of `SHORT` are
            returned, which has no large columns such as ``inputs``.

    Raises:
        BadInput: A column is unknown or listed twice.
    """
    if not text.strip():
        return list(SHORT)
    if text.strip() == "*":
        return list(TYPES)
    names = split_list(text)
    for place, name in enumerate(names):
        try:
            field = None if name in TYPES else read_field(name)
        except BadInput as error:
            raise BadInput(
                f"Unknown column {name[:80]!r}: expected * or some of {', '.join(TYPES)}, or a "
                'field of the filters such as tags["client"]',
                "columns",
            ) from error
        if field is not None and field.path and FIELD_NAMES[field.name].kind in _WHOLES:
            raise BadInput(f"The column {name[:80]!r} has no parts", "columns")
        if field is not None and FIELD_NAMES[field.name].kind is Kind.DIGEST:
            raise BadInput(f"{name!r} can be used in filters, but not as a column", "columns")
        if name in names[:place]:
            raise BadInput(f"The column {name!r} is listed twice", "columns")
    return names


@dataclass(frozen=True, slots=True)
class ExportInterval:
    """An interval that is read in one query: runs that started from `start_ns` to before `end_ns`.

    Attributes:
        condition: The filter of these runs.
        after: The last run that was read before; None to begin at the start.
        limit: Maximum number of runs.
    """

    project: str
    condition: Condition
    start_ns: int
    end_ns: int
    after: Key | None
    limit: int


def find_interval_end(
    reader: Reader, project: str, start_ns: int, end_ns: int, deliveries: int
) -> int:
    """Choose the end of an interval, so that it contains a limited number of runs.

    A sender can send a run several times, and each copy may be stored. The interval has at most
    `deliveries` of these copies. It can have more only if all of them started in the same
    nanosecond.

    Args:
        reader: The store.
        project: The project.
        start_ns: Start of the interval, in nanoseconds since 1970.
        end_ns: Latest end, in nanoseconds since 1970. It is returned if the limit is not reached.
        deliveries: Maximum number of stored copies of runs in the interval.
    """
    sql = Sql("""
        SELECT start_ns FROM {deliveries}
        WHERE project = {project:String} AND start_ns >= {start:Int64} AND start_ns < {end:Int64}
        ORDER BY start_ns LIMIT 1 OFFSET {deliveries:UInt32}""").fill(deliveries=DELIVERIES)
    parameters = {"project": project, "start": start_ns, "end": end_ns, "deliveries": deliveries}
    rows = reader.rows(sql, parameters)
    return max(int(rows[0]["start_ns"]), start_ns + 1) if rows else end_ns


def read_interval(
    reader: Reader, interval: ExportInterval, columns: Sequence[str], *, json_tags: bool
) -> pa.Table:
    """Read the runs of an interval, ordered by start time, trace ID and span ID.

    A sender can send a run several times. Each run is returned once, as its newest stored copy.

    Args:
        reader: The store.
        interval: Which runs to read.
        columns: Names of the columns to return. These can be stored columns of runs and payloads,
            such as ``model`` and ``inputs``; computed columns, such as ``latency_ms`` and
            ``version``; columns about scores (``scores``, ``passed``, ``failed_judges``); and
            ``truth`` (ground truth), ``label`` (from reviewers) and ``agent`` (from agents).
        json_tags: Whether to return the tags as a JSON object. Otherwise they are returned as a
            map from text to text.
    """
    keys = _select(interval, _KEYS)
    near = Sql(
        "project = {project:String} AND start_ns >= {start:Int64} AND start_ns < {end:Int64}"
    )
    runs = _select(interval, Sql("*"))
    kept = {name: identifier(name, PAYLOAD) for name in columns if name in PAYLOAD}
    if "finish_reason" in columns:
        kept["telling"] = Sql("attributes AS telling")
    payloads = _KEPT.fill(asked=join_sql(", ", kept.values()), keys=_KEYS, wanted=keys)
    if find_record_kinds(reader, interval.project).same_calls:
        runs = show_calls(runs)
        if inherited := {name: value for name, value in _INHERITED_PAYLOAD.items() if name in kept}:
            payloads = fill_payloads(payloads, inherited, near)
    traces = Sql("SELECT trace_id FROM {deliveries} WHERE {near}")
    first_keys = write_first_keys(traces.fill(deliveries=DELIVERIES, near=near))
    joins = [
        _JOIN_TRACE_KEYS.fill(first_keys=first_keys) if "trace_key" in columns else EMPTY,
        _JOIN_VERSIONS if "version" in columns else EMPTY,
        _JOIN_PAYLOADS.fill(payloads=payloads) if kept else EMPTY,
    ]
    column = Sql("{value} AS `{name}`")
    asked = [
        column.fill(value=_sql_of(name, json_tags), name=identifier(name, columns))
        for name in columns
    ]
    sql = Sql("""
        SELECT {asked}
        FROM ({runs}) AS run {joins}
        ORDER BY run.start_ns, run.trace_id, run.span_id
        """).fill(asked=join_sql(", ", asked), runs=runs, joins=join_sql("", joins))
    return reader.arrow(sql, _parameters(interval), _SETTINGS)


def _select(interval: ExportInterval, what: Sql) -> Sql:
    after = Sql("1")
    if interval.after is not None:
        after = Sql("""({keys}) > ({start:Int64}, toFixedString(unhex({trace:String}), 16),
          toFixedString(unhex({span:String}), 8))""").fill(keys=_KEYS)
    return Sql("""
        SELECT {what} FROM {recorded}
        WHERE project = {project:String}
          AND start_ns >= {start:Int64} AND start_ns < {end:Int64}
          AND {after} AND ({condition})
        ORDER BY {keys} LIMIT {limit:UInt32}""").fill(
        recorded=RECORDED, what=what, after=after, condition=interval.condition.sql, keys=_KEYS
    )


def _parameters(interval: ExportInterval) -> dict[str, Any]:
    after = interval.after
    place = {} if after is None else {"trace": after.trace_id, "span": after.span_id}
    return {
        "project": interval.project,
        "start": interval.start_ns if after is None else after.start_ns,
        "end": interval.end_ns,
        "limit": interval.limit,
        **place,
        **interval.condition.parameters,
    }


def _sql_of(name: str, json_tags: bool) -> Sql:
    if name == "tags" and json_tags:
        return JSON_TAGS
    if name in PAYLOAD:
        return Sql("nullIf(payload.{name}, '')").fill(name=identifier(name, PAYLOAD))
    return _MADE.get(name) or Sql("run.") + identifier(name, RUNS.names())


@dataclass(frozen=True, slots=True)
class ExportQuery:
    """A query of an export: runs that have ended, oldest first.

    Attributes:
        columns: The columns, in their order; see `choose_columns`.
        json_tags: Whether tags are JSON text, so that numbers stay numbers.
    """

    project: str
    where: str
    start_ns: int
    end_ns: int
    columns: Sequence[str]
    json_tags: bool


def schema_of(query: ExportQuery) -> pa.Schema:
    """Return the names and types of the columns, which are the same in all batches."""
    types = TYPES | ({"tags": pa.string()} if query.json_tags else {})
    return pa.schema(
        [
            pa.field(name, types[name]) if name in types else _type_of(name, types)
            for name in query.columns
        ]
    )


def _type_of(column: str, types: Mapping[str, pa.DataType]) -> pa.Field:
    """Return the name and type of a column that is a filter field."""
    field = read_field(column)
    if field.name == "end":
        return pa.field(column, types["start_time"])
    if field.name in _WITHIN and field.path:
        return pa.field(column, _WITHIN[field.name])
    name = _parts_of(field)[0]
    if not field.path:
        is_json = name in WHOLE or name in WORDS
        return pa.field(column, types[name], metadata=_IS_JSON if is_json else None)
    return pa.field(column, _STRING, metadata=_IS_JSON)


def _pick(batch: pa.Table, query: ExportQuery) -> pa.Table:
    """Compute the columns that are filter fields from the columns they need."""
    schema = schema_of(query)
    arrays = [
        batch[name] if name in TYPES else _column_of(name, batch, schema.field(name), query)
        for name in query.columns
    ]
    return pa.table(arrays, schema=schema)


def _column_of(column: str, batch: pa.Table, kind: pa.Field, query: ExportQuery) -> pa.ChunkedArray:
    field = read_field(column)
    names = _parts_of(field)
    if field.name == "end":
        starts, lengths = (batch[name].to_pylist() for name in names)
        ends = [
            None if length is None else start + round(length * 1e6)
            for start, length in zip(starts, lengths, strict=True)
        ]
        return pa.chunked_array([pa.array(ends, _INT).cast(kind.type)])
    chunked_array = batch[names[0]]
    if not field.path:
        return chunked_array
    if field.name == "failed":
        cells = zip(*(batch[name].to_pylist() for name in names), strict=True)
        values: list[Any] = [_has_failed(field.key, *row) for row in cells]
        return pa.chunked_array([pa.array(values, kind.type)])
    if field.name == "judge_version":
        values = [
            _version_of(field.key, orjson.loads(item or "[]")) for item in chunked_array.to_pylist()
        ]
        return pa.chunked_array([pa.array(values, kind.type)])
    is_map = pa.types.is_map(chunked_array.type)
    values = [
        step_into(dict(item) if is_map else orjson.loads(item or "null"), field.path)
        if item is not None
        else None
        for item in chunked_array.to_pylist()
    ]
    if kind.metadata == _IS_JSON:
        values = [
            None if value is None else _to_text(value, is_plain=not query.json_tags)
            for value in values
        ]
    return pa.chunked_array([pa.array(values, kind.type)])


def _has_failed(judge: str | None, failed: Any, scores: Any, passed: Any) -> bool | None:
    """Return whether a judge failed on a run; None if it did not score the run."""
    if judge in failed:
        return True
    return False if judge in dict(scores) or judge in dict(passed) else None


def _version_of(judge: str | None, evaluations: list[dict[str, Any]]) -> int | None:
    """Return the number of the judge version that gave the newest score."""
    versions = [evaluation["version"] for evaluation in evaluations if evaluation["judge"] == judge]
    return versions[-1] if versions else None


def _to_text(value: object, *, is_plain: bool) -> str:
    """Write a value as JSON text. A string stays plain text if its type is clear."""
    return value if is_plain and isinstance(value, str) else _json(value)


def export_runs(reader: Reader, query: ExportQuery) -> Iterator[pa.Table]:
    """Read matching runs in batches, each run once.

    A run that is stored during the export is included if it started after the runs read so far.

    Raises:
        BadInput: The filter is wrong.
    """
    asked = query.columns
    if any(name not in TYPES for name in asked):
        made_of = [
            part
            for name in asked
            for part in ((name,) if name in TYPES else _parts_of(read_field(name)))
        ]
        base = replace(query, columns=list(dict.fromkeys(made_of)))
        yield from (_pick(batch, query) for batch in export_runs(reader, base))
        return
    limit, width, start_ns = _FIRST, 1, query.start_ns
    while start_ns < query.end_ns:
        reach = limit * width
        end_ns = find_interval_end(reader, query.project, start_ns, query.end_ns, reach)
        count = 0
        for batch in _read_until(reader, query, (start_ns, end_ns), limit):
            count += batch.num_rows
            fitting: int = _BATCH_BYTES * batch.num_rows // max(batch.nbytes, 1)
            limit = int(min(max(fitting, 1), 4 * batch.num_rows, _MOST_RUNS))
            yield batch
        if count < reach // 4:
            width = min(2 * width, _WIDEST)
        start_ns = end_ns


def _parts_of(field: Field) -> tuple[str, ...]:
    return _MADE_OF.get(field.name, (field.name,))


def _read_until(
    reader: Reader, query: ExportQuery, times: tuple[int, int], limit: int
) -> Iterator[pa.Table]:
    """Read the runs of an interval: in one batch, unless there are more than expected."""
    condition, _ = compile_where(reader, query.project, query.where, is_bounded=True)
    after: Key | None = None
    while True:
        interval = ExportInterval(query.project, condition, *times, after, limit + 1)
        batch, after = _read_batch(reader, query, interval)
        if batch.num_rows:
            yield batch
        if batch.num_rows < interval.limit:
            return


def _read_batch(
    reader: Reader, query: ExportQuery, interval: ExportInterval
) -> tuple[pa.Table, Key | None]:
    """Read a batch with the requested columns, and the key of its last run."""
    stored = [name for name in query.columns if name not in RECORD_LISTS and name != "start_time"]
    asked = list(dict.fromkeys([*stored, *_PLACE]))
    table = read_interval(reader, interval, asked, json_tags=query.json_tags)
    schema = schema_of(query)
    if not table.num_rows:
        return schema.empty_table(), None
    keys = [
        Key.of(*place) for place in zip(*(table[name].to_pylist() for name in _PLACE), strict=True)
    ]
    columns = {name: table[name] for name in asked}
    if "start_time" in query.columns:
        columns["start_time"] = table["start_ns"]
    columns |= _find_late(reader, query, keys, columns)
    arrays = [_cast(columns[name], schema.field(name).type) for name in query.columns]
    return pa.table(arrays, schema=schema), keys[-1]


def _cast(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    return column if column.type.equals(kind) else column.cast(kind)


def _find_late(
    reader: Reader, query: ExportQuery, keys: Sequence[Key], columns: dict[str, pa.ChunkedArray]
) -> dict[str, pa.ChunkedArray]:
    """Read the columns of `RECORD_LISTS`, and inputs and outputs that arrived as log records."""
    made = _find_contents(reader, query, keys, columns)
    items = [name for name in query.columns if name in RECORD_LISTS]
    values: dict[str, list[str | None]] = {name: [None] * len(keys) for name in items}
    places = {key.run_id: place for place, key in enumerate(keys)}
    for first in range(0, len(keys) if items else 0, _LATE_AT_ONCE):
        rows = winners(read_runs(reader, query.project, keys[first : first + _LATE_AT_ONCE]))
        words = find_late_facts(reader, query.project, rows)
        for name in items:
            for run_id, value in _whole_values(reader, query.project, name, words).items():
                values[name][places[run_id]] = value
    types = schema_of(query)
    return made | {
        name: pa.chunked_array([pa.array(values[name], types.field(name).type)]) for name in items
    }


def _find_contents(
    reader: Reader, query: ExportQuery, keys: Sequence[Key], columns: dict[str, pa.ChunkedArray]
) -> dict[str, pa.ChunkedArray]:
    """Fill the content columns of calls that sent their content as log records."""
    wanted = [name for name in query.columns if name in _CONTENT]
    if not wanted or not find_record_kinds(reader, query.project).contents:
        return {}
    values = {name: columns[name].to_pylist() for name in wanted}
    places = {
        key.run_id: place
        for place, key in enumerate(keys)
        if not all(values[name][place] for name in wanted)
    }
    ids = list(places)
    for first in range(0, len(ids), _LATE_AT_ONCE):
        part = find_call_events(reader, query.project, ids[first : first + _LATE_AT_ONCE])
        for run_id, events in part.items():
            content = read_content(events)
            for name in wanted:
                field, _, is_line = name.partition("_")
                if field in content and not values[name][places[run_id]]:
                    value, text = content[field]
                    values[name][places[run_id]] = _CONTENT[name](value) if is_line else text
    types = schema_of(query)
    return {
        name: pa.chunked_array([pa.array(values[name], types.field(name).type)]) for name in wanted
    }


def _whole_values(
    reader: Reader, project: str, name: str, words: Mapping[str, LateFacts]
) -> dict[str, str]:
    """Return a column of `RECORD_LISTS` as JSON text, by run ID."""
    if name == "evaluations":
        return {run_id: _json(late.evaluations) for run_id, late in words.items()}
    owners = {run_id: late.owners for run_id, late in words.items()}
    if name == "artifacts":
        artifacts = find_artifacts(reader, project, owners)
        return {run_id: _json(artifacts[run_id]) for run_id in owners}
    metrics = find_all_series(reader, project, owners)
    return {run_id: _json(values_of(metrics[run_id])) for run_id in owners}


def _json(value: object) -> str:
    return orjson.dumps(value).decode()


class Outgoing(io.RawIOBase):
    """A file in memory to which a writer appends. `take` returns the new bytes and drops them."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0
        self.waiting = 0  # bytes that were written, but not taken yet

    def writable(self) -> bool:
        """Return True: the file can be written."""
        return True

    def tell(self) -> int:
        """Return how many bytes were written."""
        return self._size

    def write(self, data: Any) -> int:
        """Write bytes."""
        part = bytes(data)
        self._parts.append(part)
        self._size += len(part)
        self.waiting += len(part)
        return len(part)

    def take(self) -> bytes:
        """Return the bytes written since the last call."""
        taken, self._parts, self.waiting = b"".join(self._parts), [], 0
        return taken


# Writes a file in parts, at least one per batch. The schema is the same for all batches.
FormatWriter = Callable[[pa.Schema, Iterator[pa.Table]], Iterator[bytes]]


def write_json_lines(schema: pa.Schema, batches: Iterator[pa.Table]) -> Iterator[bytes]:
    """Write one JSON object per line. Payloads and tags are nested unchanged."""
    readers = {field.name: reader for field in schema if (reader := _reader_of(field))}
    for batch in batches:
        for first in range(0, batch.num_rows, _LINES):
            part = batch.slice(first, _LINES)
            columns = {name: _read(part[name], readers.get(name)) for name in schema.names}
            rows = zip(*columns.values(), strict=True)
            lines = [orjson.dumps(dict(zip(columns, row, strict=True))) for row in rows]
            yield b"\n".join(lines) + b"\n"


def write_csv(schema: pa.Schema, batches: Iterator[pa.Table]) -> Iterator[bytes]:
    """Write a header, then one line per run. Nested values are JSON text.

    A text that a spreadsheet would run as a formula gets an apostrophe in front.
    """
    from pyarrow import csv  # slow to import, so only for exports; compute and parquet too

    file = Outgoing()
    flat = pa.schema([(field.name, _flat_type(field.type)) for field in schema])
    with csv.CSVWriter(file, flat) as writer:
        for batch in batches:
            columns = [
                _flat(_plain(column) if field.metadata == _IS_JSON else column)
                for field, column in zip(schema, batch.columns, strict=True)
            ]
            writer.write_table(pa.table(columns, schema=flat))
            yield file.take()
    yield file.take()


def write_parquet(schema: pa.Schema, batches: Iterator[pa.Table]) -> Iterator[bytes]:
    """Write one row group per batch. The footer comes last, so a truncated file is not valid."""
    from pyarrow import parquet  # slow to import

    file = Outgoing()
    with parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        for batch in batches:
            writer.write_table(batch)
            yield file.take()
    yield file.take()


WRITERS: Final[dict[str, tuple[str, FormatWriter]]] = {
    "jsonl": ("application/x-ndjson", write_json_lines),
    "csv": ("text/csv", write_csv),
    "parquet": ("application/vnd.apache.parquet", write_parquet),
}


def _reader_of(field: pa.Field) -> Callable[[Any], Any] | None:
    """Return the function that converts values of a column for JSON; None to keep them."""
    if (
        field.metadata == _IS_JSON
        or field.name in WHOLE
        or field.name in WORDS
        or (field.name == "tags" and pa.types.is_string(field.type))
    ):
        return lambda text: orjson.Fragment(text) if text else None
    if pa.types.is_map(field.type):
        return dict
    return to_rfc3339 if pa.types.is_timestamp(field.type) else None


def _read(column: pa.ChunkedArray, reader: Callable[[Any], Any] | None) -> list[Any]:
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    values: list[Any] = column.to_pylist()
    return values if reader is None else [None if v is None else reader(v) for v in values]


def _flat_type(kind: pa.DataType) -> pa.DataType:
    return pa.string() if pa.types.is_nested(kind) or pa.types.is_timestamp(kind) else kind


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Write JSON strings as plain text, and any other JSON unchanged."""
    items = [item and orjson.loads(item) for item in column.to_pylist()]
    values = [None if item is None else _to_text(item, is_plain=True) for item in items]
    return pa.chunked_array([pa.array(values, _STRING)])


def _flat(column: pa.ChunkedArray) -> pa.ChunkedArray:
    from pyarrow import compute  # slow to import

    kind = column.type
    if pa.types.is_timestamp(kind):
        return compute.strftime(column, _TIME)
    if pa.types.is_map(kind) or pa.types.is_list(kind):
        values = [dict(v) if pa.types.is_map(kind) else v for v in column.to_pylist()]
        return pa.chunked_array([[orjson.dumps(value).decode() for value in values]], pa.string())
    if pa.types.is_string(kind):
        return compute.replace_substring_regex(column, _FORMULA, r"'\1")
    return column


_FILES: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {media_type: {} for media_type, _ in WRITERS.values()}}
}
_ABOUT_COLUMNS: Final = (
    'Names separated by commas, also fields of the filters such as `tags["client"]`; `*` for all. '
    "Default: the columns that a list shows"
)

router = APIRouter(prefix="/api/v1", route_class=DeferredRoute)

Columns = Annotated[str, Query(max_length=2_000, description=_ABOUT_COLUMNS)]
Format = Literal["jsonl", "csv", "parquet"]


def parse_export(
    *,
    project: str,
    file_format: Annotated[Format, Query(alias="format")] = "jsonl",
    where: Where = "",
    start_ns: Since = 0,
    end_ns: End = None,
    columns: Columns = "",
) -> tuple[str, ExportQuery]:
    """Read the query of an export, and the format of its file.

    Raises:
        BadInput: A column is unknown.
    """
    query = ExportQuery(
        project=project,
        where=where,
        start_ns=start_ns,
        end_ns=time.time_ns() + HOUR_NS if end_ns is None else end_ns,
        columns=choose_columns(columns),
        json_tags=file_format != "parquet",
    )
    return file_format, query


@router.get(
    "/projects/{project:path}/export",
    response_class=StreamingResponse,
    response_model=None,
    responses=_FILES,
)
def get_export(
    wanted: Annotated[tuple[str, ExportQuery], Depends(parse_export)],
    reader: FromReader,
    places: FromPlaces,
) -> Stream:
    """Download the runs of a project that have ended, oldest first, as JSON lines, CSV or Parquet.

    The file is sent in chunks. If the connection breaks before the last chunk, the file is
    incomplete: discard it and download it again.
    """
    file_format, query = wanted
    media_type, write = WRITERS[file_format]
    parts = write(schema_of(query), export_runs(reader, query))
    return Stream(parts, media_type, f"runs.{file_format}", places.take())
