"""Reads the runs of traces in the form that the rules of `same_calls` and `resolution` use.

One query covers traces of several projects within a range of time.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from otel_ml.records import tokens_of
from otel_ml_collector.owners import RESPONSE
from otel_ml_collector.resolution import NAMES, Resolution, TraceNames
from otel_ml_collector.same_calls import (
    MOST_TRACES,
    CallFacts,
    CallRun,
    CallShare,
    OtherRecord,
    name_scope,
)
from otel_ml_collector.store.counted import DELIVERIES
from otel_ml_collector.store.reader import Row, load_json, run_id_of, winners
from otel_ml_collector.store.rows import RunKey
from otel_ml_collector.store.sql import Sql, StoreClient, identifier, join_sql, split_long_values
from otel_ml_collector.store.tables import OF_TOKENS, RESOLVED_RUNS, RESPONSE_ID
from otel_ml_collector.times import MINUTE_NS

# Maximum number of traces, keys or tags per query.
_AT_ONCE: Final = 5_000
# Maximum numbers of calls and of other spans of a trace. Runs beyond them count as recorded.
_MOST_CALLS: Final = 20_000
_MOST_SPANS: Final = 200_000
_UNHURRIED: Final = {"max_execution_time": 60}

# Key of a run: project, start, trace ID and span ID.
Key = RunKey
# Key of a trace: project, and trace ID in hex.
Trace = tuple[str, str]

# Tool runs that a client or a server recorded, as MCP does.
REMOTE_TOOL: Final = Sql("(kind = 'tool' AND model != '' AND span_kind IN ('client', 'server'))")
HAS_FACTS: Final = Sql("""kind != 'span' AND (input_tokens IS NOT NULL OR output_tokens IS NOT NULL
  OR cost IS NOT NULL
  OR (kind IN ('model', 'embedding') AND (outcome = 'error' OR provider_model != ''))
  OR {remote_tool}
  OR arrayExists(text -> startsWith(text, '{response}'), tag_kv))""").fill(
    response=Sql(RESPONSE), remote_tool=REMOTE_TOOL
)
# Calls with only a question or only an answer, as `resolution.lacks_words` finds them. Only runs of
# our own decorators have a process.
LACKS_WORDS: Final = Sql("""(kind = 'model' AND process = ''
  AND (inputs_preview = '') != (outputs_preview = '')
  AND NOT (outcome = 'error' AND inputs_preview != ''))""")
IN_PROJECTS: Final = Sql("project IN {projects:Array(String)}")
TRACE_IDS: Final = Sql("""toString(project) AS project, lower(hex(trace_id)) AS trace_id,
  lower(hex(span_id)) AS span_id""")
_OPEN_IN_TRACES: Final = Sql("""{wanted} AND trace_id IN (
    SELECT toFixedString(unhex(arrayJoin({traces:Array(String)})), 16))""").fill(wanted=IN_PROJECTS)
# A trace with only open runs is not in `trace_index` yet, so `open_runs` is read too.
_PLACES: Final = Sql("""
    SELECT toString(project) AS project, key AS trace_id, min(start_ns) AS start,
      max(end_ns) AS end, toUnixTimestamp64Nano(now64(9)) AS now_ns
    FROM (
      SELECT project, key, start_ns, end_ns FROM trace_index
      WHERE key IN {traces:Array(String)} AND {wanted}
      UNION ALL SELECT project, lower(hex(trace_id)), start_ns, start_ns FROM open_runs
      WHERE {of_traces})
    GROUP BY project, key""").fill(wanted=IN_PROJECTS, of_traces=_OPEN_IN_TRACES)
_IN_TRACES: Final = Sql("start_ns >= {start:Int64} AND start_ns <= {end:Int64} AND {open}").fill(
    open=_OPEN_IN_TRACES
)
_CALL_RUNS: Final = Sql("""
    SELECT {ids}, lower(hex(parent_span_id)) AS parent_span_id, kind, start_ns, latency_ns,
      provider, provider_model, {tokens}, cost, outcome = 'error' AS has_failed, rank,
      {response} AS response, inputs_preview, outputs_preview, first_token_ms, stream_chunks,
      span_kind = 'client' AS is_client, span_kind = 'server' AS is_server,
      if(kind = 'tool', model, '') AS tool, {lacks_words} AS lacks_words
    FROM {deliveries} WHERE {of_traces} AND {has_facts}
    ORDER BY start_ns, runs.span_id LIMIT {most} BY runs.project, runs.trace_id""").fill(
    deliveries=DELIVERIES,
    ids=TRACE_IDS,
    tokens=OF_TOKENS,
    response=RESPONSE_ID,
    of_traces=_IN_TRACES,
    has_facts=HAS_FACTS,
    lacks_words=LACKS_WORDS,
    most=_MOST_CALLS,
)
_SCOPES: Final = Sql("""
    SELECT {ids}, scope, rank, inputs != '' AND outputs != '' AS is_whole FROM payloads
    WHERE {wanted} AND start_ns IN {starts:Array(Int64)}
      AND lower(hex(span_id)) IN {spans:Array(String)}""").fill(ids=TRACE_IDS, wanted=IN_PROJECTS)
# Traces with a response ID of some traces, at most a minute away.
_ANSWERED: Final = Sql("""
    SELECT DISTINCT toString(project) AS project, lower(hex(arrayJoin(traces))) AS trace_id
    FROM (
      SELECT project, groupUniqArray({most} + 1)(trace_id) AS traces
      FROM {deliveries} ARRAY JOIN tag_kv AS response
      WHERE {wanted} AND start_ns >= {start:Int64} - {near} AND start_ns <= {end:Int64} + {near}
        AND startsWith(response, '{response}') AND response IN (
          SELECT arrayJoin(tag_kv) FROM {deliveries} WHERE {of_traces})
      GROUP BY project, response
    ) WHERE length(traces) <= {most}""").fill(
    deliveries=DELIVERIES,
    wanted=IN_PROJECTS,
    near=MINUTE_NS,
    most=MOST_TRACES,
    response=Sql(RESPONSE),
    of_traces=_IN_TRACES,
)


def _other_spans(columns: Sql) -> Sql:
    """Write the query for the runs of traces that have no facts of a call."""
    return Sql("""
    SELECT {ids}, lower(hex(parent_span_id)) AS parent_span_id, kind, start_ns, rank, {columns}
    FROM {deliveries} WHERE {of_traces} AND NOT ({has_facts})
    LIMIT {most} BY runs.project, runs.trace_id""").fill(
        deliveries=DELIVERIES,
        ids=TRACE_IDS,
        columns=columns,
        of_traces=_IN_TRACES,
        has_facts=HAS_FACTS,
        most=_MOST_SPANS,
    )


_OTHER_SPANS: Final = _other_spans(Sql("'' AS inputs_preview, '' AS outputs_preview, '' AS tool"))
_SPANS_WITH_WORDS: Final = _other_spans(
    Sql("inputs_preview, outputs_preview, if(kind = 'tool', model, '') AS tool")
)
NAMING: Final = join_sql(
    ", ", [Sql("toString({n}) AS {n}").fill(n=identifier(name, NAMES)) for name in NAMES]
)
NAMES_ANY: Final = join_sql(
    " OR ", [Sql("{n} != ''").fill(n=identifier(name, NAMES)) for name in NAMES]
)
# The runs, including open ones, of traces in which a session, user or experiment is named.
_NAMES_OF: Final = Sql("""
    SELECT {ids}, lower(hex(parent_span_id)) AS parent_span_id, start_ns, rank, has_ended, {naming}
    FROM (
      SELECT project, trace_id, span_id, parent_span_id, start_ns, rank, {naming}, 1 AS has_ended
      FROM {deliveries} WHERE {of_traces}
      UNION ALL
      SELECT project, trace_id, span_id, parent_span_id, start_ns, rank, {naming}, 0 AS has_ended
      FROM open_runs WHERE {open}
    ) AS runs
    WHERE (project, trace_id) IN (
      SELECT project, trace_id FROM {deliveries} WHERE {of_traces} AND ({any})
      UNION ALL SELECT project, trace_id FROM open_runs WHERE {open} AND ({any})
      UNION ALL SELECT project, trace_id FROM settled WHERE {of_traces} AND experiment != '')
    LIMIT {most} BY runs.project, runs.trace_id""").fill(
    deliveries=DELIVERIES,
    ids=TRACE_IDS,
    naming=NAMING,
    any=NAMES_ANY,
    of_traces=_IN_TRACES,
    open=_OPEN_IN_TRACES,
    most=_MOST_SPANS,
)
# All runs of traces, including open ones, with their tags as text.
_TAGGED: Final = Sql("""
    SELECT {ids}, lower(hex(parent_span_id)) AS parent_span_id, toString(kind) AS kind, start_ns,
      rank, has_ended, tag_kv
    FROM (
      SELECT project, trace_id, span_id, parent_span_id, kind, start_ns, rank, tag_kv,
        1 AS has_ended FROM {deliveries} WHERE {of_traces}
      UNION ALL
      SELECT project, trace_id, span_id, parent_span_id, kind, start_ns, rank, tag_kv,
        0 AS has_ended FROM open_runs WHERE {open}
    ) AS runs LIMIT {most} BY runs.project, runs.trace_id""").fill(
    deliveries=DELIVERIES,
    ids=TRACE_IDS,
    of_traces=_IN_TRACES,
    open=_OPEN_IN_TRACES,
    most=_MOST_SPANS,
)
_OF_RESOLVED: Final = Sql("""SELECT {columns}, {response} AS response FROM settled FINAL""").fill(
    columns=RESOLVED_RUNS.select("tag_kv"), response=RESPONSE_ID
)
_RESOLUTIONS: Final = _OF_RESOLVED + Sql(" WHERE ") + _IN_TRACES
_ALL_RANKS: Final = Sql("""
    SELECT {ids}, lower(hex(parent_span_id)) AS parent_span_id, kind, start_ns, rank
    FROM {deliveries} WHERE {of_traces}""").fill(
    ids=TRACE_IDS, deliveries=DELIVERIES, of_traces=_IN_TRACES
)
_RANKS: Final = _ALL_RANKS + Sql(" AND lower(hex(span_id)) IN {spans:Array(String)}")
_SHARES: Final = _OF_RESOLVED + Sql("""
    WHERE {wanted} AND start_ns IN {starts:Array(Int64)}
      AND lower(hex(span_id)) IN {spans:Array(String)}""").fill(wanted=IN_PROJECTS)


def read_rows(client: StoreClient, sql: Sql, values: Mapping[str, Any]) -> list[Row]:
    """Run a query of a background job. It may take longer than the query of a page."""
    sql, split = split_long_values(sql, values)
    return list(client.query(sql, split, settings=dict(_UNHURRIED)).named_results())


def divide(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Divide a list into parts that fit into one query."""
    for first in range(0, len(items), _AT_ONCE):
        yield items[first : first + _AT_ONCE]


def name_run(row: Row) -> tuple[str, str]:
    """Return the project and the id of a run."""
    return row["project"], run_id_of(row)


def group_by_trace(rows: Iterable[Row]) -> dict[Trace, list[Row]]:
    """Group rows of runs by their trace."""
    entries: defaultdict[Trace, list[Row]] = defaultdict(list)
    for row in rows:
        entries[row["project"], row["trace_id"]].append(row)
    return dict(entries)


def ids_of(traces: Iterable[Trace]) -> dict[str, list[str]]:
    """Return query parameters for traces. They also match other traces with the same IDs."""
    projects, ids = {project for project, _ in traces}, {trace_id for _, trace_id in traces}
    return {"projects": sorted(projects), "traces": sorted(ids)}


def read_places(client: StoreClient, traces: Iterable[Trace]) -> dict[Trace, Row]:
    """Read the `start` and `end` of the traces that have runs, and the store's `now_ns`."""
    rows = read_rows(client, _PLACES, ids_of(traces))
    return {(row["project"], row["trace_id"]): row for row in rows}


def read_resolutions(client: StoreClient, values: Mapping[str, Any]) -> dict[Trace, list[Row]]:
    """Read the stored resolutions of the runs of traces."""
    return group_by_trace(read_rows(client, _RESOLUTIONS, values))


def read_ranks(
    client: StoreClient, values: Mapping[str, Any], span_ids: Collection[str] | None
) -> dict[Trace, list[Row]]:
    """Read place and rank of ended runs in traces, from the winning row of each.

    Args:
        client: Client of this thread.
        values: The traces, as for `read_calls`.
        span_ids: The span IDs of the runs in hex; None for all.
    """
    rows: list[Row] = []
    if span_ids is None:
        rows += read_rows(client, _ALL_RANKS, values)
    for part in divide(sorted(span_ids or ())):
        rows += read_rows(client, _RANKS, {**values, "spans": part})
    return group_by_trace(winners(rows, lambda row: (*name_run(row), row["start_ns"])))


def read_shares(client: StoreClient, runs: Collection[Key]) -> dict[str, CallShare]:
    """Read the resolved amounts of runs, by run ID. Runs without any are left out."""
    values = {
        "projects": sorted({project for project, *_ in runs}),
        "starts": sorted({start_ns for _, start_ns, *_ in runs}),
        "spans": sorted({span_id.hex() for *_, span_id in runs}),
    }
    rows = read_rows(client, _SHARES, values)
    return {run_id_of(row): _make_share(row) for row in rows if row["counts"]}


def read_calls(client: StoreClient, values: Mapping[str, Any]) -> dict[Trace, list[Row]]:
    """Read the runs of traces that have facts of a call, with the winning delivery of each."""
    return group_by_trace(winners(read_rows(client, _CALL_RUNS, values), name_run))


def read_answered(client: StoreClient, values: Mapping[str, Any]) -> set[Trace]:
    """Find the traces that may record calls of some traces once more, and these traces."""
    rows = read_rows(client, _ANSWERED, values)
    return {(row["project"], row["trace_id"]) for row in rows}


def read_links(client: StoreClient, values: Mapping[str, Any]) -> dict[Trace, list[Row]]:
    """Read the remaining runs of traces, which link the calls above and below them."""
    return group_by_trace(winners(read_rows(client, _OTHER_SPANS, values), name_run))


def read_words(client: StoreClient, values: Mapping[str, Any]) -> dict[Trace, list[Row]]:
    """Read the same runs as `read_links`, with the questions and answers that calls may inherit."""
    return group_by_trace(winners(read_rows(client, _SPANS_WITH_WORDS, values), name_run))


def read_naming(client: StoreClient, values: Mapping[str, Any]) -> dict[Trace, list[CallRun]]:
    """Read the runs of traces in which any run names a session, user or experiment."""
    rows = group_by_trace(_keep_ends(read_rows(client, _NAMES_OF, values)))
    return {trace: [*map(_naming_run, of_trace)] for trace, of_trace in rows.items()}


def _keep_ends(rows: Sequence[Row]) -> list[Row]:
    """Keep the winning delivery of each run. For an ended run, this is its end record."""
    ended = winners((row for row in rows if row["has_ended"]), name_run)
    known = {*map(name_run, ended)}
    still_open = winners((row for row in rows if not row["has_ended"]), name_run)
    return [*ended, *(row for row in still_open if name_run(row) not in known)]


@dataclass(frozen=True, slots=True)
class TaggedRuns:
    """The runs of a trace with their tags as text, by span ID."""

    runs: Collection[CallRun]
    tags: Mapping[bytes, Sequence[str]]


def read_tagged(client: StoreClient, values: Mapping[str, Any]) -> dict[Trace, TaggedRuns]:
    """Read the runs of traces with their tags."""
    rows = group_by_trace(_keep_ends(read_rows(client, _TAGGED, values)))
    return {
        trace: TaggedRuns(
            [*map(make_link, of_trace)],
            {bytes.fromhex(row["span_id"]): row["tag_kv"] for row in of_trace},
        )
        for trace, of_trace in rows.items()
    }


@dataclass(frozen=True, slots=True)
class RecordedBy:
    """Which instrumentation recorded a run, and whether its payload is complete.

    Attributes:
        is_whole: Whether the run has input and output.
    """

    scope: str = ""
    is_whole: bool = False


NOT_KEPT: Final = RecordedBy()


def read_scopes(client: StoreClient, calls: Sequence[Row]) -> dict[tuple[str, str], RecordedBy]:
    """Read which instrumentations recorded these runs, as far as this is stored."""
    if not calls:
        return {}
    values = {
        "projects": sorted({row["project"] for row in calls}),
        "starts": sorted({row["start_ns"] for row in calls}),
        "spans": sorted({row["span_id"] for row in calls}),
    }
    rows = winners(read_rows(client, _SCOPES, values), name_run)
    return {
        name_run(row): RecordedBy(name_scope(row["scope"]), bool(row["is_whole"])) for row in rows
    }


def make_call_run(row: Row, recorded: RecordedBy) -> CallRun:
    """Make the facts that the rules of `same_calls` compare, from a row of `read_calls`."""
    parent = bytes.fromhex(row["parent_span_id"])
    return CallRun(
        bytes.fromhex(row["span_id"]),
        parent if any(parent) else b"",
        row["kind"],
        row["start_ns"],
        row["start_ns"] + row["latency_ns"],
        recorded.scope,
        row["response"],
        row["provider"],
        row["provider_model"],
        tokens_of(row),
        row["cost"],
        bool(row["has_failed"]),
        row["inputs_preview"],
        row["outputs_preview"],
        row["first_token_ms"],
        row["stream_chunks"],
        is_client=bool(row["is_client"]),
        is_server=bool(row["is_server"]),
        tool=row["tool"],
        is_whole=recorded.is_whole,
    )


def make_link(row: Row, recorded: RecordedBy = NOT_KEPT) -> CallRun:
    """Make the place of a run in its trace, and its words if a call of the trace lacks some."""
    ids = bytes.fromhex(row["span_id"]), bytes.fromhex(row["parent_span_id"])
    return CallRun(
        *ids,
        row["kind"],
        row["start_ns"],
        scope=recorded.scope,
        inputs_preview=row.get("inputs_preview", ""),
        outputs_preview=row.get("outputs_preview", ""),
        tool=row.get("tool", ""),
    )


def _naming_run(row: Row) -> CallRun:
    parent = bytes.fromhex(row["parent_span_id"])
    return CallRun(
        bytes.fromhex(row["span_id"]),
        parent if any(parent) else b"",
        "",
        row["start_ns"],
        **{name: row[name] for name in NAMES},
    )


def make_resolution(row: Row) -> Resolution:
    """Make the resolution of a row of `read_resolutions`."""
    names = TraceNames(**{name: row[name] for name in NAMES})
    return Resolution(_make_share(row) if row["counts"] else None, names, tuple(row["owners"]))


def _make_share(row: Row) -> CallShare:
    record_of, record_trace = (bytes.fromhex(row[name]) for name in ("record_of", "record_trace"))
    return CallShare(
        record_of if any(record_of) else b"",
        tuple(
            OtherRecord(
                bytes.fromhex(item["span_id"]),
                item["start_ns"],
                item["scope"],
                bytes.fromhex(item.get("trace_id", "")),
            )
            for item in load_json(row["others"], [])
        ),
        tokens_of(row),
        row["cost"],
        CallFacts(
            row["provider"],
            row["provider_model"],
            row["response"],
            row["inputs_preview"],
            row["outputs_preview"],
            row["first_token_ms"],
            row["stream_chunks"],
            row["latency_ns"],
            bool(row["is_whole"]),
        ),
        record_trace if any(record_trace) else b"",
    )
