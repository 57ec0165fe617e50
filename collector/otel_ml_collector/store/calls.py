"""Keeps what is settled of runs, as `same_calls` and `settlement` rule it.

What comes in one group is settled before it is stored. For all else the traces of what was stored
are looked at behind it: those that are whole among the recent runs without a question, whatever the
store holds, and all others by reading them. What a killed collector left, and what an older program
stored, is looked at from a mark on. Only what differs is written. Why so:
docs/design/021-counted-once.md.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain, groupby
from operator import attrgetter, itemgetter
from typing import Any, Final

from otel_ml.records import ArtifactRecord, LateLog, LateTag, Metric, tokens_of
from otel_ml_collector.errors import Unavailable
from otel_ml_collector.owners import FIRST, KEY, RESPONSE, TAG, is_run, own_key, own_tag
from otel_ml_collector.records import Records
from otel_ml_collector.same_calls import (
    CALLS,
    CallFacts,
    CallRun,
    CallShare,
    OtherRecord,
    find_shares,
    gather_facts,
    is_telling,
    may_be_second,
    name_scope,
)
from otel_ml_collector.settlement import (
    NAMES,
    NO_NAMES,
    NOTHING,
    SettledRun,
    Settlement,
    TraceNames,
    form_of,
    lend_names,
    name_owners,
)
from otel_ml_collector.store.connection import Connections, Memory, store_trouble
from otel_ml_collector.store.counted import DELIVERIES
from otel_ml_collector.store.reader import Row, load_json, run_id_of, winners
from otel_ml_collector.store.recent_calls import RecentTrace
from otel_ml_collector.store.rollup import mark_days
from otel_ml_collector.store.sql import Sql, StoreClient, identifier, join_sql, split_long_values
from otel_ml_collector.store.tables import (
    LATE_LOGS,
    LATE_TAGS,
    METRICS,
    OBJECTS,
    OF_TOKENS,
    RESPONSE_ID,
    SETTLED,
)
from otel_ml_collector.store.targets import TAG_TEXT
from otel_ml_collector.times import DAY_NS, HOUR_NS, MINUTE_NS, SECOND_NS

# In what is known of a project: runs of which something else counts than they say, among them those
# that may show what another record of their call was asked or answered, runs whose
# session or user their trace names, traces of experiments, and runs that keys or tags name of which
# something was told.
SHARED: Final = "same_calls"
LACKING: Final = "lacking"
NAMED: Final = "named"
EXPERIMENTS: Final = "experiments"
TOLD: Final = "told"
# Whether anything was told of keys or tags of a project, of runs or not: that it was, or that
# nothing was by when it was looked for.
_ANNOTATED: Final = "annotated"
_QUIET: Final = "quiet"
# Among the scopes of its calls: some may record calls of others of their scope; older ones are
# not read yet.
_BARE: Final = "bare"
_UNREAD: Final = "unread"
# Of one look: traces, and the new runs that name them.
_TRACES: Final = 500
_NEW_RUNS: Final = 20_000
# Of one trace: beyond these, runs count as they say.
_TELLING: Final = 20_000
_MOST_SPANS: Final = 200_000
# Of so many of its newest calls it is known by which scopes a project's calls are recorded.
_NEWEST: Final = 1_000
# Projects of so many runs in all are looked at together, also where all of these must be read.
_READ_AT_ONCE: Final = 100_000
# Keys and tags in one question.
_OWNERS: Final = 5_000
# Of a statement so many traces are settled before it is answered.
_NAMED_AT_ONCE: Final = 1_000
_MARK_EVERY_S: Final = 10.0
# An insert makes a part of each month that it touches.
_MONTHS_NS: Final = 1_000 * DAY_NS
_LEAST_WINDOW_NS: Final = SECOND_NS
_WIDEST_NS: Final = 1_000 * DAY_NS
# A clock that was set back gives times of arrival that were looked at before.
_OVERLAP_NS: Final = MINUTE_NS
# After trouble of the store it is let alone for so long.
_REST_S: Final = 5.0
_UNHURRIED: Final = {"max_execution_time": 60}

# Where a run is: its project, start, trace id and span id.
Key = tuple[str, int, bytes, bytes]
# A trace: its project, and its id in hex.
Trace = tuple[str, str]

_IN_PROJECT: Final = Sql("project = {project:String}")
_TELLS: Final = Sql("""kind != 'span' AND (input_tokens IS NOT NULL OR output_tokens IS NOT NULL
  OR cost IS NOT NULL
  OR (kind IN ('model', 'embedding') AND (outcome = 'error' OR provider_model != ''))
  OR arrayExists(text -> startsWith(text, '{response}'), tag_kv))""").fill(response=Sql(RESPONSE))
_IN_PROJECTS: Final = Sql("project IN {projects:Array(String)}")
_IDS: Final = Sql("""toString(project) AS project, lower(hex(trace_id)) AS trace_id,
  lower(hex(span_id)) AS span_id""")
_TELLING_TABLES: Final = (LATE_LOGS, LATE_TAGS, METRICS, OBJECTS)
_OF_KEY_OR_TAG: Final = Sql("(startsWith(owner, '{key}') OR startsWith(owner, '{tag}'))").fill(
    key=Sql(KEY), tag=Sql(TAG)
)


def _late_records(columns: Sql, where: Sql) -> Sql:
    """Write the SQL for records about keys and tags."""
    rows = Sql("SELECT {columns} FROM {table} WHERE {where}")
    return join_sql(
        " UNION ALL ",
        [rows.fill(columns=columns, table=table.sql, where=where) for table in _TELLING_TABLES],
    )


_IS_NEW: Final = Sql("arrived_ns > {after:Int64} AND arrived_ns <= {until:Int64}")
# What came anew: traces with runs, keys or late tags; keys and tags of which something was told.
_NEW: Final = Sql("""
    SELECT toString(project) AS project, lower(hex(trace_id)) AS trace_id, owner FROM (
      SELECT project, trace_id, '' AS owner FROM {deliveries} WHERE {new}
      UNION ALL SELECT project, trace_id, '' FROM open_runs WHERE {new}
      UNION ALL SELECT project, trace_id, '' FROM trace_keys WHERE {new}
      UNION ALL SELECT project, toFixedString(unhex(substring(owner, 1, 32)), 16), ''
      FROM late_tags WHERE {new} AND owner < '{first}'
      UNION ALL {annotated})
    LIMIT {most}""").fill(
    deliveries=DELIVERIES,
    annotated=_late_records(
        Sql("project, toFixedString('', 16), owner"), _IS_NEW + Sql(" AND ") + _OF_KEY_OR_TAG
    ),
    new=_IS_NEW,
    first=Sql(FIRST),
    most=_NEW_RUNS,
)
_OPEN_OF_TRACES: Final = Sql("""{ours} AND trace_id IN (
    SELECT toFixedString(unhex(arrayJoin({traces:Array(String)})), 16))""").fill(ours=_IN_PROJECTS)
# A trace of open runs alone stands in no index yet.
_PLACES: Final = Sql("""
    SELECT toString(project) AS project, key AS trace_id, min(start_ns) AS start,
      max(end_ns) AS end, toUnixTimestamp64Nano(now64(9)) AS now_ns
    FROM (
      SELECT project, key, start_ns, end_ns FROM trace_index
      WHERE key IN {traces:Array(String)} AND {ours}
      UNION ALL SELECT project, lower(hex(trace_id)), start_ns, start_ns FROM open_runs
      WHERE {of_traces})
    GROUP BY project, key""").fill(ours=_IN_PROJECTS, of_traces=_OPEN_OF_TRACES)
_OF_TRACES: Final = Sql("start_ns >= {start:Int64} AND start_ns <= {end:Int64} AND {open}").fill(
    open=_OPEN_OF_TRACES
)
_SAYS: Final = Sql("inputs_preview != '' OR outputs_preview != ''")
_CALL_RUNS: Final = Sql("""
    SELECT {ids}, lower(hex(parent_span_id)) AS parent_span_id, kind, start_ns, latency_ns,
      provider, provider_model, {tokens}, cost, outcome = 'error' AS has_failed, rank,
      {response} AS response, inputs_preview, outputs_preview, first_token_ms, stream_chunks,
      span_kind = 'client' AS is_client
    FROM {deliveries} WHERE {of_traces} AND {tells}
    ORDER BY start_ns, runs.span_id LIMIT {most} BY runs.project, runs.trace_id""").fill(
    deliveries=DELIVERIES,
    ids=_IDS,
    tokens=OF_TOKENS,
    response=RESPONSE_ID,
    of_traces=_OF_TRACES,
    tells=_TELLS,
    most=_TELLING,
)
_SCOPES: Final = Sql("""
    SELECT {ids}, scope, rank, inputs != '' AND outputs != '' AS is_whole FROM payloads
    WHERE {ours} AND start_ns IN {starts:Array(Int64)}
      AND lower(hex(span_id)) IN {spans:Array(String)}""").fill(ids=_IDS, ours=_IN_PROJECTS)
_OTHER_SPANS: Final = Sql("""
    SELECT {ids}, lower(hex(parent_span_id)) AS parent_span_id, kind, start_ns, rank
    FROM {deliveries} WHERE {of_traces} AND NOT ({tells})
    LIMIT {most} BY runs.project, runs.trace_id""").fill(
    deliveries=DELIVERIES, ids=_IDS, of_traces=_OF_TRACES, tells=_TELLS, most=_MOST_SPANS
)
_NAMING: Final = join_sql(
    ", ", [Sql("toString({n}) AS {n}").fill(n=identifier(name, NAMES)) for name in NAMES]
)
_NAMES_ANY: Final = join_sql(
    " OR ", [Sql("{n} != ''").fill(n=identifier(name, NAMES)) for name in NAMES]
)
# The runs of those traces in which anything is named, open ones too.
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
    ids=_IDS,
    naming=_NAMING,
    any=_NAMES_ANY,
    of_traces=_OF_TRACES,
    open=_OPEN_OF_TRACES,
    most=_MOST_SPANS,
)
# All runs of traces, open ones too, with the texts of their tags.
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
    ids=_IDS,
    of_traces=_OF_TRACES,
    open=_OPEN_OF_TRACES,
    most=_MOST_SPANS,
)
# The keys of traces, and the texts of late tags of their runs.
_KEYS_AND_LATE_TAGS: Final = Sql("""
    SELECT toString(project) AS project, lower(hex(trace_id)) AS trace_id, '' AS span_id,
      key AS text FROM trace_keys
    WHERE {ours} AND trace_id IN (
      SELECT toFixedString(unhex(arrayJoin({traces:Array(String)})), 16))
    UNION ALL
    SELECT toString(project), substring(owner, 1, 32), substring(owner, 34), {text} FROM late_tags
    WHERE {ours} AND owner IN {runs:Array(String)}""")
_TAG_OF: Final = Sql("concat(name, '=', {text})").fill(text=TAG_TEXT.fill(value=Sql("value")))
_KEYS_AND_TAGS: Final = _KEYS_AND_LATE_TAGS.fill(ours=_IN_PROJECTS, text=_TAG_OF)
_ANNOTATED_AMONG: Final = Sql(
    "SELECT DISTINCT toString(project) AS project, owner FROM ({annotated})"
).fill(
    annotated=_late_records(
        Sql("project, owner"), _IN_PROJECTS + Sql(" AND owner IN {owners:Array(String)}")
    )
)
# The traces that keys or tags name: with the key, or with those of some tags that a run has.
_KEYED: Final = Sql("""
    SELECT DISTINCT toString(project) AS project, lower(hex(trace_id)) AS trace_id, [key] AS texts
    FROM trace_index WHERE {ours} AND key IN {keys:Array(String)}
      AND trace_id != toFixedString('', 16)""").fill(ours=_IN_PROJECTS)
_WITH_TAGS: Final = Sql("""
    SELECT DISTINCT toString(project) AS project, lower(hex(trace_id)) AS trace_id, texts FROM (
      SELECT project, trace_id, arrayIntersect(tag_kv, {tags:Array(String)}) AS texts
      FROM {deliveries} WHERE {ours} AND hasAny(tag_kv, {tags:Array(String)})
      UNION ALL
      SELECT project, trace_id, arrayIntersect(tag_kv, {tags:Array(String)}) AS texts
      FROM open_runs WHERE {ours} AND hasAny(tag_kv, {tags:Array(String)})
      UNION ALL
      SELECT project, toFixedString(unhex(substring(owner, 1, 32)), 16), [{text}] FROM late_tags
      WHERE {ours} AND owner < '{first}' AND name IN {names:Array(String)}
        AND {text} IN {tags:Array(String)})""").fill(
    deliveries=DELIVERIES, ours=_IN_PROJECTS, first=Sql(FIRST), text=_TAG_OF
)
_OF_SETTLED: Final = Sql("""SELECT {columns}, {response} AS response FROM settled FINAL""").fill(
    columns=SETTLED.select("tag_kv"), response=RESPONSE_ID
)
_KNOWN: Final = _OF_SETTLED + Sql(" WHERE ") + _OF_TRACES
_SHARES: Final = _OF_SETTLED + Sql("""
    WHERE {ours} AND start_ns IN {starts:Array(Int64)}
      AND lower(hex(span_id)) IN {spans:Array(String)}""").fill(ours=_IN_PROJECTS)


def _newest_scopes(ours: Sql, newest: Sql) -> Sql:
    """Write the SQL for the instrumentations of the newest calls of one or more projects."""
    calls = Sql("""
        SELECT project, start_ns, trace_id, span_id, kind, provider_model, input_tokens,
          output_tokens, cost, NOT ({says}) AND {response} = '' AND process = '' AS is_account
        FROM {deliveries} WHERE {ours} AND {tells} ORDER BY start_ns DESC {newest}""").fill(
        deliveries=DELIVERIES,
        ours=ours,
        tells=_TELLS,
        newest=newest,
        says=_SAYS,
        response=RESPONSE_ID,
    )
    return Sql("""
        SELECT DISTINCT toString(project) AS project, scope FROM (
          SELECT project, scope FROM payloads
          WHERE {ours} AND (project, start_ns, trace_id, span_id) IN (
            SELECT project, start_ns, trace_id, span_id FROM ({calls}))
          UNION ALL
          SELECT project, '{bare}' FROM ({calls})
          WHERE kind IN ('model', 'embedding') AND if(
            input_tokens IS NULL AND output_tokens IS NULL AND cost IS NULL,
            provider_model != '', is_account) LIMIT 1 BY project
          UNION ALL
          SELECT project, '{shared}' FROM settled WHERE {ours} AND counts LIMIT 1 BY project)
        """).fill(ours=ours, calls=calls, bare=Sql(_BARE), shared=Sql(SHARED))


def _newest_forms(ours: Sql, newest: Sql) -> Sql:
    """Write the SQL for the names that the newest runs have, and those that traces lend any."""
    return Sql("""
        SELECT DISTINCT toString(project) AS project, {forms} FROM (
          SELECT project, {naming} FROM {deliveries} WHERE {ours} ORDER BY start_ns DESC {newest}
          UNION ALL
          SELECT project, {naming} FROM open_runs WHERE {ours}
          UNION ALL
          SELECT project, '', '', '' FROM settled WHERE {ours} AND ({any}) LIMIT 1 BY project
          UNION ALL
          SELECT project, {naming} FROM settled WHERE {ours} AND ({any}) LIMIT 1 BY project)
        """).fill(
        deliveries=DELIVERIES,
        ours=ours,
        newest=newest,
        naming=_NAMING,
        any=_NAMES_ANY,
        forms=join_sql(
            ", ", [Sql("{n} != '' AS has_{n}").fill(n=identifier(name, NAMES)) for name in NAMES]
        ),
    )


# Of one project the newest rows alone are read, of several all of them.
_OF_ONE: Final = (_IN_PROJECT, Sql("LIMIT {most}").fill(most=_NEWEST))
_OF_SEVERAL: Final = (_IN_PROJECTS, Sql("LIMIT {most} BY project").fill(most=_NEWEST))
_RUNS_BY_PROJECT: Final = Sql("""
    SELECT toString(project) AS project, count() AS runs FROM {deliveries} WHERE {ours}
    GROUP BY project""").fill(deliveries=DELIVERIES, ours=_IN_PROJECTS)
_TELLING_PROJECTS: Final = Sql(
    "SELECT DISTINCT toString(project) AS project FROM ({annotated})"
).fill(
    annotated=_late_records(Sql("DISTINCT project"), _IN_PROJECTS + Sql(" AND ") + _OF_KEY_OR_TAG)
)
_MARKS: Final = Sql("""
    SELECT name, max(value) AS value FROM store_meta WHERE startsWith(name, 'settled ')
    GROUP BY name""")


def _arrivals(end: Sql) -> Sql:
    """Write the SQL for the first or last arrival of all that a look finds.

    A killed collector may have stored feedback of a key behind the last run.
    """
    told = (table.sql for table in _TELLING_TABLES)
    tables = (DELIVERIES, Sql("open_runs"), Sql("trace_keys"), *told)
    rows = Sql("SELECT {end}(arrived_ns) AS arrived_ns FROM {table}")
    return join_sql(" UNION ALL ", [rows.fill(end=end, table=table) for table in tables])


_LAST_ARRIVAL: Final = Sql("SELECT max(arrived_ns) AS last FROM ({arrivals})").fill(
    arrivals=_arrivals(Sql("max"))
)
_FIRST: Final = Sql("SELECT min(arrived_ns) AS first FROM ({arrivals}) WHERE arrived_ns > 0").fill(
    arrivals=_arrivals(Sql("min"))
)
_LAST_ENDS: Final = Sql("""
    SELECT toString(project) AS project, max(end_ns) AS end_ns FROM (
      SELECT project, max(start_ns + latency_ns) AS end_ns FROM {deliveries} WHERE {ours}
      GROUP BY project
      UNION ALL SELECT project, max(start_ns) FROM settled WHERE {ours} GROUP BY project)
    GROUP BY project""").fill(deliveries=DELIVERIES, ours=_IN_PROJECTS)
_OPEN_TRACES: Final = Sql("""
    SELECT DISTINCT toString(project) AS project, lower(hex(trace_id)) AS trace_id FROM open_runs
    WHERE {ours}""").fill(ours=_IN_PROJECTS)
# Where the runs that count, or the root, may be others now.
_DELETED: Final = Sql("""
    SELECT DISTINCT lower(hex(trace_id)) AS trace_id FROM (
      SELECT trace_id FROM settled WHERE {ours}
      UNION ALL
      SELECT trace_id FROM trace_index WHERE {ours} AND concat('{key}', key) IN (
        SELECT owner FROM ({annotated}))
    ) AS known
    WHERE trace_id IN (
      SELECT trace_id FROM deleted_runs WHERE {ours} AND deleted_ns = {deleted:Int64})
    """).fill(
    annotated=_late_records(Sql("owner"), _IN_PROJECT + Sql(" AND startsWith(owner, '{key}')")),
    ours=_IN_PROJECT,
    key=Sql(KEY),
)


def settle_deleted(client: StoreClient, memory: Memory, project: str, deleted_ns: int) -> None:
    """Settle the traces from which a deletion took runs, once these are gone."""
    values = {"project": project, "deleted": deleted_ns}
    traces = [(project, row["trace_id"]) for row in _rows(client, _DELETED, values)]
    settle(client, memory, traces)


def settle(client: StoreClient, memory: Memory, traces: Sequence[Trace]) -> int:
    """Work out what holds of the runs of some traces, and write what is not known so.

    Args:
        client: Of this thread.
        memory: What is known of projects; it is told before anything is written.
        traces: The traces, each once, of any projects.

    Returns:
        Of how many runs something else holds than before.
    """
    written = 0
    for first in range(0, len(traces), _OWNERS):
        part = traces[first : first + _OWNERS]
        places = {
            (row["project"], row["trace_id"]): row for row in _rows(client, _PLACES, _ids_of(part))
        }
        here = [places[trace] for trace in part if trace in places]
        for together in _divide(here):
            changed = _find_changed(client, memory, together)
            write_settled(client, memory, changed, mark=True)
            written += len(changed)
    return written


def _ids_of(traces: Iterable[Trace]) -> dict[str, list[str]]:
    """Return the parameters that name some traces, and others of the same ids and projects."""
    projects, ids = {project for project, _ in traces}, {trace_id for _, trace_id in traces}
    return {"projects": sorted(projects), "traces": sorted(ids)}


def _divide(places: Sequence[Row]) -> Iterator[list[Row]]:
    """Divide traces into those that are read together: of several projects of about one time.

    Each project is read from the first start to the last end, where its runs are many.
    """
    part: list[Row] = []
    end_ns = 0
    for row in sorted(places, key=itemgetter("start", "project", "trace_id")):
        is_other = bool(part) and row["project"] != part[-1]["project"]
        if len(part) == _TRACES or (is_other and row["start"] > end_ns + DAY_NS):
            yield part
            part, end_ns = [], 0
        part.append(row)
        end_ns = max(end_ns, row["end"])
    if part:
        yield part


def write_settled(
    client: StoreClient, memory: Memory, settled: Sequence[SettledRun], *, mark: bool
) -> None:
    """Store settlements, after the memory knows of their projects.

    With `mark`, the statistics of days that are over are computed again.
    """
    if not settled:
        return
    known: defaultdict[str, set[str]] = defaultdict(set)
    for run in settled:
        known[run.project] |= _signs_of(run)
    for project, signs in known.items():
        memory.note(project, signs)
    if mark:
        today = (time.time_ns() - MINUTE_NS) // DAY_NS * DAY_NS
        days = {(run.project, run.start_ns // DAY_NS * DAY_NS) for run in settled}
        mark_days(client, memory, [day for day in days if day[1] < today])
    ordered = sorted(settled, key=attrgetter("start_ns"))
    for _, part in groupby(ordered, key=lambda run: run.start_ns // _MONTHS_NS):
        client.insert_arrow(SETTLED.name, SETTLED.to_arrow(list(part)))


def _signs_of(run: SettledRun) -> set[str]:
    """Name what its project has, where that is settled of a run."""
    lacks_content = bool(run.share.others) and not run.share.facts.is_whole
    signs = (
        (SHARED, run.counts),
        (LACKING, run.counts and lacks_content),
        (NAMED, bool(run.names.session or run.names.user)),
        (EXPERIMENTS, run.names.experiment != ""),
        (TOLD, bool(run.settlement.owners)),
    )
    return {name for name, is_there in signs if is_there}


def _find_changed(client: StoreClient, memory: Memory, places: Sequence[Row]) -> list[SettledRun]:
    """Find the runs of some traces of which something else holds than is settled."""
    wanted = {(row["project"], row["trace_id"]): row for row in places}
    values = {
        **_ids_of(wanted),
        "start": min(row["start"] for row in places),
        "end": max(row["end"] for row in places),
    }
    known = _by_trace(_rows(client, _KNOWN, values))
    telling = _by_trace(winners(_rows(client, _CALL_RUNS, values), _run_of))
    several = {trace for trace, rows in telling.items() if trace in wanted and len(rows) > 1}
    scopes = _read_scopes(client, [row for trace in several for row in telling[trace]])
    calls = {
        trace: [_call_run(row, scopes.get(_run_of(row), _NO_SCOPE)) for row in rows]
        for trace, rows in telling.items()
        if trace in wanted
    }
    mixed = [trace for trace in several if _is_mixed(calls[trace])]
    others: Mapping[Trace, Sequence[Row]] = {}
    if mixed:
        links = _rows(client, _OTHER_SPANS, {**values, **_ids_of(mixed)})
        others = _by_trace(winners(links, _run_of))
    naming = _read_naming(client, values)
    annotated = [trace for trace in wanted if _may_tell(memory, trace[0])]
    tagged = _read_tagged(client, {**values, **_ids_of(annotated)}) if annotated else {}
    owners = _find_owners(client, {trace: tagged[trace] for trace in annotated if trace in tagged})
    changed: list[SettledRun] = []
    for trace in wanted.keys() & {*mixed, *known, *naming, *owners}:
        before = {bytes.fromhex(row["span_id"]): _settlement(row) for row in known.get(trace, ())}
        if trace in several and not all(_run_of(row) in scopes for row in telling[trace]):
            runs = calls[trace]  # their payloads are not kept any more
            shares = _gather_again(before, runs)
        else:
            # Of one span the delivery that won: what it says, and not what another one said.
            rows = winners([*telling.get(trace, ()), *others.get(trace, ())])
            runs = [
                _call_run(row, scopes.get(_run_of(row), _NO_SCOPE))
                if "latency_ns" in row
                else _link(row)
                for row in rows
            ]
            shares = find_shares(runs) if trace in mixed else {}
        names = lend_names(naming.get(trace, ()), before)
        named = tagged[trace].runs if trace in tagged else ()
        everyone = {run.span_id: run for run in chain(named, naming.get(trace, ()), runs)}
        rank = _rank_after((row["rank"] for row in known.get(trace, ())), wanted[trace]["now_ns"])
        for run, settlement in _find_news(
            everyone.values(), shares, names, owners.get(trace, {}), before
        ):
            key = (trace[0], bytes.fromhex(trace[1]), run.span_id, run.start_ns)
            changed.append(SettledRun(*key, settlement, rank))
    return changed


def _read_naming(client: StoreClient, values: Mapping[str, Any]) -> dict[Trace, list[CallRun]]:
    """Read the runs of those traces in which anything is named; of one that ended its end."""
    here = _keep_ends(_rows(client, _NAMES_OF, values))
    return {trace: [*map(_naming_run, of_trace)] for trace, of_trace in _by_trace(here).items()}


def _keep_ends(rows: Sequence[Row]) -> list[Row]:
    """Keep of each run the delivery that won, of one that ended its end."""
    ended = winners((row for row in rows if row["has_ended"]), _run_of)
    known = {*map(_run_of, ended)}
    still_open = winners((row for row in rows if not row["has_ended"]), _run_of)
    return [*ended, *(row for row in still_open if _run_of(row) not in known)]


@dataclass(frozen=True, slots=True)
class _Tagged:
    """The runs of a trace with the texts of their tags, by span id."""

    runs: Collection[CallRun]
    tags: Mapping[bytes, Sequence[str]]


def _read_tagged(client: StoreClient, values: Mapping[str, Any]) -> dict[Trace, _Tagged]:
    """Read the runs of traces with their tags."""
    here = _by_trace(_keep_ends(_rows(client, _TAGGED, values)))
    return {
        trace: _Tagged(
            [*map(_link, of_trace)],
            {bytes.fromhex(row["span_id"]): row["tag_kv"] for row in of_trace},
        )
        for trace, of_trace in here.items()
    }


def _find_owners(
    client: StoreClient, traces: Mapping[Trace, _Tagged]
) -> dict[Trace, Mapping[bytes, Sequence[str]]]:
    """Find the keys and tags of which something was told and that name runs of some traces."""
    if not traces:
        return {}
    runs = [
        f"{of}-{run.span_id.hex()}" for (_, of), tagged in traces.items() for run in tagged.runs
    ]
    rows = _by_trace(_rows(client, _KEYS_AND_TAGS, {**_ids_of(traces), "runs": runs}))
    keys = {
        trace: {trace[1], *(row["text"] for row in rows.get(trace, ()) if not row["span_id"])}
        for trace in traces
    }
    tags = {trace: {**tagged.tags} for trace, tagged in traces.items()}
    for trace, texts in tags.items():
        for row in rows.get(trace, ()):
            if row["span_id"]:
                span_id = bytes.fromhex(row["span_id"])
                texts[span_id] = [*texts.get(span_id, ()), row["text"]]
    asked = {
        *map(own_key, chain.from_iterable(keys.values())),
        *(own_tag(text) for texts in tags.values() for text in chain.from_iterable(texts.values())),
    }
    projects = _ids_of(traces)["projects"]
    annotated: defaultdict[str, set[str]] = defaultdict(set)
    for owners in _parts(sorted(asked)):
        for row in _rows(client, _ANNOTATED_AMONG, {"projects": projects, "owners": owners}):
            annotated[row["project"]].add(row["owner"])
    found = {
        trace: name_owners(tagged.runs, tags[trace], keys[trace], annotated[trace[0]])
        for trace, tagged in traces.items()
    }
    return {trace: owners for trace, owners in found.items() if owners}


def _find_named(client: StoreClient, annotated: Mapping[str, Collection[str]]) -> set[Trace]:
    """Find the traces with runs that some keys and tags of projects name."""
    traces: set[Trace] = set()
    pairs = sorted((project, owner) for project, owners in annotated.items() for owner in owners)
    for part in _parts(pairs):
        keys = {(of, owner[len(KEY) :]) for of, owner in part if owner.startswith(KEY)}
        tags = {(of, owner[len(TAG) :]) for of, owner in part if owner.startswith(TAG)}
        for sql, name, texts in ((_KEYED, "keys", keys), (_WITH_TAGS, "tags", tags)):
            if texts:
                values = {
                    "projects": sorted({project for project, _ in texts}),
                    name: sorted({text for _, text in texts}),
                    "names": sorted({text.partition("=")[0] for _, text in texts}),
                }
                traces |= {
                    (row["project"], row["trace_id"])
                    for row in _rows(client, sql, values)
                    if any((row["project"], text) in texts for text in row["texts"])
                }
    return traces


def _parts(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Divide a list into those that one question takes."""
    for first in range(0, len(items), _OWNERS):
        yield items[first : first + _OWNERS]


def _may_tell(memory: Memory, project: str) -> bool:
    """Tell whether anything may have been told of keys or tags of a project."""
    known, _ = memory.recall(project)
    return _ANNOTATED in known or _QUIET not in known


def _find_news(
    runs: Iterable[CallRun],
    shares: Mapping[bytes, CallShare],
    names: Mapping[bytes, TraceNames],
    owners: Mapping[bytes, Sequence[str]],
    before: Mapping[bytes, Settlement],
) -> Iterator[tuple[CallRun, Settlement]]:
    """Find the runs of a trace of which something else holds than is settled, with what does."""
    for run in runs:
        settlement = Settlement(
            shares.get(run.span_id),
            names.get(run.span_id, NO_NAMES),
            owners.get(run.span_id, ()),
        )
        if settlement != before.get(run.span_id, NOTHING):
            yield run, settlement


def _rank_after(ranks: Iterable[int], now_ns: int) -> int:
    """Rank a look at a trace behind those before it, also where the clock was set back since."""
    return max(now_ns, max(ranks, default=0) + 1)


def _find_recent(
    traces: Mapping[Trace, RecentTrace],
    owners: Mapping[Trace, Mapping[bytes, Sequence[str]]],
    now_ns: int,
) -> Iterator[SettledRun]:
    """Find the runs of whole traces of which something else holds than is settled."""
    for (project, trace_id), trace in traces.items():
        runs = list(trace.runs.values())
        calls = [run for run in runs if run.tells]
        shares = find_shares(runs) if len(calls) > 1 and _is_mixed(calls) else {}
        everyone = (trace.open_runs | trace.runs).values()
        names = lend_names(everyone, trace.settled)
        rank = _rank_after(trace.settled_ranks.values(), now_ns)
        for run, settlement in _find_news(
            everyone, shares, names, owners.get((project, trace_id), {}), trace.settled
        ):
            key = (project, bytes.fromhex(trace_id), run.span_id, run.start_ns)
            yield SettledRun(*key, settlement, rank)


def _gather_again(
    before: Mapping[bytes, Settlement], runs: Sequence[CallRun]
) -> dict[bytes, CallShare]:
    """Keep what counts of runs as it was settled, with the facts that their calls have by now."""
    here = {run.span_id: run for run in runs}
    shares = {
        span_id: settlement.share
        for span_id, settlement in before.items()
        if settlement.share is not None
    }
    for span_id, share in shares.items():
        ids = (span_id, *(other.span_id for other in share.others))
        records = [here[other] for other in ids if other in here]
        if share.others and span_id in here:
            shares[span_id] = replace(share, facts=gather_facts(records))
    return shares


@dataclass(frozen=True, slots=True)
class _Recorded:
    """What the payload of a run tells of its record: its instrumentation, and whether it is whole.

    Attributes:
        is_whole: Whether it has an input and an output.
    """

    scope: str = ""
    is_whole: bool = False


_NO_SCOPE: Final = _Recorded()


def _read_scopes(client: StoreClient, calls: Sequence[Row]) -> dict[tuple[str, str], _Recorded]:
    """Read by which instrumentations some runs were recorded, as far as it is kept."""
    if not calls:
        return {}
    values = {
        "projects": sorted({row["project"] for row in calls}),
        "starts": sorted({row["start_ns"] for row in calls}),
        "spans": sorted({row["span_id"] for row in calls}),
    }
    rows = winners(_rows(client, _SCOPES, values), _run_of)
    return {
        _run_of(row): _Recorded(name_scope(row["scope"]), bool(row["is_whole"])) for row in rows
    }


def _is_mixed(runs: Sequence[CallRun]) -> bool:
    """Tell whether runs of a trace may record one call, or say the sum of others."""
    return (
        bool({run.kind for run in runs} - CALLS)
        or len({run.scope for run in runs}) > 1
        or any(run.is_bare or run.is_account for run in runs)
    )


def _call_run(row: Row, recorded: _Recorded) -> CallRun:
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
        is_whole=recorded.is_whole,
    )


def _link(row: Row) -> CallRun:
    ids = bytes.fromhex(row["span_id"]), bytes.fromhex(row["parent_span_id"])
    return CallRun(*ids, row["kind"], row["start_ns"])


def _naming_run(row: Row) -> CallRun:
    parent = bytes.fromhex(row["parent_span_id"])
    return CallRun(
        bytes.fromhex(row["span_id"]),
        parent if any(parent) else b"",
        "",
        row["start_ns"],
        **{name: row[name] for name in NAMES},
    )


def _settlement(row: Row) -> Settlement:
    names = TraceNames(**{name: row[name] for name in NAMES})
    return Settlement(_share(row) if row["counts"] else None, names, tuple(row["owners"]))


def _share(row: Row) -> CallShare:
    record_of = bytes.fromhex(row["record_of"])
    return CallShare(
        record_of if any(record_of) else b"",
        tuple(
            OtherRecord(bytes.fromhex(item["span_id"]), item["start_ns"], item["scope"])
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
    )


def _by_trace(rows: Iterable[Row]) -> dict[Trace, list[Row]]:
    entries: defaultdict[Trace, list[Row]] = defaultdict(list)
    for row in rows:
        entries[row["project"], row["trace_id"]].append(row)
    return dict(entries)


def _run_of(row: Row) -> tuple[str, str]:
    """Return the project and the id of a run."""
    return row["project"], run_id_of(row)


def _rows(client: StoreClient, sql: Sql, values: Mapping[str, Any]) -> list[Row]:
    sql, split = split_long_values(sql, values)
    return list(client.query(sql, split, settings=dict(_UNHURRIED)).named_results())


def _find_touched(records: Records) -> dict[str, set[bytes]]:
    """Find the traces of which runs, keys or late tags are among some records, by project."""
    traces: defaultdict[str, set[bytes]] = defaultdict(set)
    for run in chain(records.runs, records.open_runs):
        traces[run.project].add(run.trace_id)
    for key in records.trace_keys:
        if key.is_own and any(key.trace_id):
            traces[key.project].add(key.trace_id)
    for tag in records.tags:
        if is_run(tag.owner):
            traces[tag.project].add(bytes.fromhex(tag.owner.partition("-")[0]))
    return traces


def _find_annotated(records: Records) -> dict[str, set[str]]:
    """Find the keys and tags of which some records tell, by project."""
    annotated: defaultdict[str, set[str]] = defaultdict(set)
    late: Iterable[LateTag | Metric | LateLog | ArtifactRecord] = chain(
        records.tags, records.metrics, records.logs, records.artifacts
    )
    for record in late:
        if record.owner.startswith((KEY, TAG)):
            annotated[record.project].add(record.owner)
    return annotated


class NamedRuns:
    """Settles the runs of a statement about keys or tags, before it is answered.

    Where it names more than 1,000 traces, the look behind the commit does that.

    Args:
        connections: The store.
    """

    def __init__(self, connections: Connections) -> None:
        self._client = connections.open()
        self._memory = connections.memory
        self._guard = threading.Lock()

    def settle(self, project: str, owners: Collection[str]) -> None:
        """Settle the runs that some keys and tags of a project name.

        Raises:
            Unavailable: The store has trouble.
        """
        with self._guard, store_trouble():
            self._memory.note(project, [_ANNOTATED])
            traces = _find_named(self._client, {project: owners})
            if len(traces) <= _NAMED_AT_ONCE:
                settle(self._client, self._memory, sorted(traces))


class CallWatch:
    """Settles the traces of what is stored, behind the commit.

    Where all calls of a project are recorded by one instrumentation, and all of its runs name the
    same of session, user and experiment, nothing is looked at. What a look costs depends on what is
    new, not on what is there: where nobody else writes to the store, traces that began after their
    project was first looked at are settled from memory.

    A key or tag of which something is told is looked for at once: all runs that it names are
    settled, however many these are.

    Args:
        connections: The store.
        collector: The name of this collector among those of one store.
    """

    def __init__(self, connections: Connections, collector: str = "") -> None:
        self._client = connections.open()
        self._memory = connections.memory
        self._mark_name = f"settled {collector}"
        self._guard = threading.Lock()
        self._looking = threading.Lock()
        # Projects to look at, with the traces in which new runs were stored.
        self._dirty: dict[str, set[bytes]] = {}
        # Keys and tags of projects of which something new was told.
        self._annotated: dict[str, set[str]] = {}
        self._scopes: dict[str, set[str]] = {}
        # Which names runs of a project have: where all have the same ones, none is lent.
        self._forms: defaultdict[str, set[tuple[bool, bool, bool]]] = defaultdict(set)
        self._noted_ns = 0
        # Up to where it was looked of what came since the first look, and of what was there.
        self._began_ns: int | None = None
        self._done_ns = self._past_ns = 0
        self._window_ns = HOUR_NS
        self._rest_until_s = 0.0
        self._marked: tuple[float, int] = (0.0, 0)

    def note(self, records: Records, stamped_ns: int) -> Collection[str]:
        """Note what was stored, and the last time of arrival that it was given.

        Returns:
            The projects in which it has to be looked at what counts.
        """
        news: defaultdict[str, set[str]] = defaultdict(set)
        forms: defaultdict[str, set[tuple[bool, bool, bool]]] = defaultdict(set)
        traces = _find_touched(records)
        for run in chain(records.runs, records.open_runs):
            forms[run.project].add(form_of(run))
        annotated = _find_annotated(records)
        for project in annotated:
            self._memory.note(project, [_ANNOTATED])
        for run in records.runs:
            if is_telling(run):
                news[run.project].add(run.scope if run.kind in CALLS else run.kind)
            if may_be_second(run):
                news[run.project].add(_BARE)
        with self._guard:
            self._noted_ns = max(self._noted_ns, stamped_ns)
            for project, of_project in traces.items():
                known = self._scopes.setdefault(project, {_UNREAD})
                known |= news.get(project, set())
                self._forms[project] |= forms[project]
                if not self._is_plain(project):
                    self._dirty.setdefault(project, set()).update(of_project)
            for project, owners in annotated.items():
                self._annotated.setdefault(project, set()).update(owners)
            return {project for project in news if not self._counts_plainly(project)}

    def look(self) -> bool:
        """Settle what was stored since the last look, and a part of what was there before.

        Returns:
            Whether there is more of that.

        Raises:
            Unavailable: The store has trouble.
        """
        if time.monotonic() < self._rest_until_s:
            return True
        with self._resting(), self._looking, store_trouble():
            if self._began_ns is None:
                self._begin()
            self._settle_new()
            if is_behind := self._past_ns < (self._began_ns or 0):
                until_ns = min(self._past_ns + self._window_ns, self._began_ns or 0)
                self._past_ns = self._look_at(self._past_ns, until_ns)
            if is_behind or time.monotonic() - self._marked[0] > _MARK_EVERY_S:
                self._note_mark()
            return is_behind

    def _settle_new(self) -> None:
        """Settle the traces in which runs were stored since the last look."""
        with self._guard:
            dirty, self._dirty = self._dirty, {}
            annotated, self._annotated = self._annotated, {}
            noted_ns = self._noted_ns
        try:
            self._learn(dirty)
            traces = {
                (project, trace_id.hex())
                for project, of_project in dirty.items()
                if not self._is_plain(project)
                for trace_id in of_project
            }
            self._settle_traces(sorted(traces | _find_named(self._client, annotated)))
            while self._done_ns < min(noted_ns, self._memory.calls.doubtful_ns):
                self._done_ns = self._look_at(self._done_ns, noted_ns)
        except BaseException:
            with self._guard:
                for project, of_project in dirty.items():
                    self._dirty.setdefault(project, set()).update(of_project)
                for project, owners in annotated.items():
                    self._annotated.setdefault(project, set()).update(owners)
            raise
        self._done_ns = max(self._done_ns, noted_ns)

    def _settle_traces(self, traces: Sequence[Trace]) -> None:
        """Settle traces with news: from memory those that are whole there."""
        recent = self._memory.calls
        others: list[Trace] = []
        for part in _parts(traces):
            now_ns = time.time_ns()
            whole = {
                (project, trace_id): trace
                for project, trace_id in part
                if (trace := recent.find(project, bytes.fromhex(trace_id))) is not None
            }
            tagged = {
                key: _Tagged((trace.open_runs | trace.runs).values(), trace.tags)
                for key, trace in whole.items()
                if _may_tell(self._memory, key[0])
            }
            changed = list(_find_recent(whole, _find_owners(self._client, tagged), now_ns))
            write_settled(self._client, self._memory, changed, mark=True)
            recent.keep(changed)
            others += [trace for trace in part if trace not in whole]
        settle(self._client, self._memory, others)
        if self._memory.is_alone:
            self._follow({project for project, _ in traces if not recent.is_followed(project)})

    def _follow(self, projects: Collection[str]) -> None:
        """Keep the runs of some projects in memory from now on."""
        recent = self._memory.calls
        for project in projects:
            recent.follow(project)
        for part in _parts(sorted(projects)):
            values = {"projects": part}
            ends = {row["project"]: row["end_ns"] for row in self._ask(_LAST_ENDS, values)}
            open_traces: defaultdict[str, list[bytes]] = defaultdict(list)
            for row in self._ask(_OPEN_TRACES, values):
                open_traces[row["project"]].append(bytes.fromhex(row["trace_id"]))
            for project in part:
                recent.note_others(project, ends.get(project, 0), open_traces[project])

    @contextmanager
    def _resting(self) -> Iterator[None]:
        try:
            yield
        except Unavailable:
            self._rest_until_s = time.monotonic() + _REST_S
            raise

    def settle(self, runs: Sequence[Key]) -> dict[str, CallShare]:
        """Look until there is nothing more to look at; tell what counts of some runs.

        Args:
            runs: Their projects, starts and ids.

        Returns:
            By run id, what counts of those of which it is not what they say.

        Raises:
            Unavailable: The store has trouble.
        """
        self.look()
        call_shares: dict[str, CallShare] = {}
        with self._looking, store_trouble():
            counting = {
                project
                for project in {project for project, *_ in runs}
                if not self._counts_plainly(project) or SHARED in self._memory.recall(project)[0]
            }
            asked = [run for run in runs if run[0] in counting]
            for part in _parts([*self._find_kept(asked, call_shares)]):
                values = {
                    "projects": sorted({project for project, *_ in part}),
                    "starts": sorted({start_ns for _, start_ns, *_ in part}),
                    "spans": sorted({span_id.hex() for *_, span_id in part}),
                }
                rows = _rows(self._client, _SHARES, values)
                call_shares |= {run_id_of(row): _share(row) for row in rows if row["counts"]}
        return call_shares

    def _find_kept(self, runs: Sequence[Key], call_shares: dict[str, CallShare]) -> Iterator[Key]:
        """Find what counts of runs whose traces are whole in memory; yield the other runs."""
        traces: dict[tuple[str, bytes], RecentTrace | None] = {}
        for run in runs:
            project, _, trace_id, span_id = run
            if (project, trace_id) not in traces:
                traces[project, trace_id] = self._memory.calls.find(project, trace_id)
            trace = traces[project, trace_id]
            if trace is None:
                yield run
            elif share := trace.settled.get(span_id, NOTHING).share:
                call_shares[f"{trace_id.hex()}-{span_id.hex()}"] = share

    def _begin(self) -> None:
        """Find from where on this collector, or else another one, has not looked."""
        marks = {row["name"]: row["value"] for row in _rows(self._client, _MARKS, {})}
        own_ns = marks.get(self._mark_name)
        seen_ns = own_ns - _OVERLAP_NS if own_ns else max(marks.values(), default=0) - HOUR_NS
        last_ns = _rows(self._client, _LAST_ARRIVAL, {})[0]["last"]
        self._past_ns = max(seen_ns, 0)
        if not self._past_ns and last_ns:
            self._past_ns = _rows(self._client, _FIRST, {})[0]["first"] - 1
        self._began_ns = self._done_ns = last_ns
        self._marked = (time.monotonic(), self._past_ns)

    def _look_at(self, after_ns: int, until_ns: int) -> int:
        """Settle what arrived in a stretch of time, or in its beginning when that is too much.

        Returns:
            Up to where it was looked at.
        """
        while True:
            values = {"after": after_ns, "until": until_ns}
            rows = _rows(self._client, _NEW, values)
            if len(rows) < _NEW_RUNS or until_ns - after_ns <= _LEAST_WINDOW_NS:
                break
            until_ns = after_ns + (until_ns - after_ns) // 4
            self._window_ns = max(until_ns - after_ns, _LEAST_WINDOW_NS)
        traces = {(row["project"], row["trace_id"]) for row in rows if not row["owner"]}
        annotated: defaultdict[str, set[str]] = defaultdict(set)
        for row in rows:
            if row["owner"]:
                annotated[row["project"]].add(row["owner"])
                self._memory.note(row["project"], [_ANNOTATED])
        settle(self._client, self._memory, sorted(traces | _find_named(self._client, annotated)))
        if len(rows) < _NEW_RUNS // 4:
            self._window_ns = min(2 * self._window_ns, _WIDEST_NS)
        return until_ns

    def _is_plain(self, project: str) -> bool:
        """Tell whether nothing has to be settled in a project."""
        is_named_alike = len(self._forms[project]) <= 1 and not _may_tell(self._memory, project)
        return self._counts_plainly(project) and is_named_alike

    def _counts_plainly(self, project: str) -> bool:
        """Tell whether one instrumentation alone records the calls of a project."""
        known = self._scopes.get(project, {_UNREAD})
        return self._memory.is_alone and len(known) <= 1 and known.isdisjoint({_UNREAD, _BARE})

    def _learn(self, projects: Iterable[str]) -> None:
        """Learn once by what the newest calls of projects were recorded, and what runs name."""
        if not self._memory.is_alone:
            return
        unread = sorted(project for project in projects if _UNREAD in self._scopes[project])
        for part in _parts(unread):
            telling = {row["project"] for row in self._ask(_TELLING_PROJECTS, {"projects": part})}
            for project in part:
                self._memory.note(project, [_ANNOTATED if project in telling else _QUIET])
        for together in self._gather_small(unread):
            form = _OF_ONE if len(together) == 1 else _OF_SEVERAL
            values = {"projects": together, "project": together[0]}
            scopes = self._ask(_newest_scopes(*form), values)
            forms = self._ask(_newest_forms(*form), values)
            for row in scopes:
                if row["scope"] == SHARED:
                    self._memory.note(row["project"], [SHARED])
            with self._guard:
                for row in scopes:
                    self._scopes[row["project"]] |= {row["scope"]} - {SHARED}
                for row in forms:
                    self._forms[row["project"]].add(
                        (
                            bool(row["has_session"]),
                            bool(row["has_user"]),
                            bool(row["has_experiment"]),
                        )
                    )
                for project in together:
                    self._scopes[project].discard(_UNREAD)

    def _gather_small(self, projects: Sequence[str]) -> Iterator[list[str]]:
        """Gather projects that have few runs together; a large one stands alone."""
        if len(projects) <= 1:
            yield from [[*projects]] if projects else []
            return
        rows = [
            row
            for part in _parts(projects)
            for row in self._ask(_RUNS_BY_PROJECT, {"projects": part})
        ]
        sizes = {row["project"]: row["runs"] for row in rows}
        part: list[str] = []
        read = 0
        for project in sorted(projects, key=lambda project: sizes.get(project, 0)):
            read += sizes.get(project, 0)
            if part and (read > _READ_AT_ONCE or len(part) == _OWNERS):
                yield part
                part, read = [], sizes.get(project, 0)
            part.append(project)
        yield part

    def _ask(self, sql: Sql, values: Mapping[str, Any]) -> list[Row]:
        return _rows(self._client, sql, values)

    def _note_mark(self) -> None:
        """Note on disk up to where it was looked, for the next start."""
        done_ns = self._past_ns if self._past_ns < (self._began_ns or 0) else self._done_ns
        if done_ns > self._marked[1]:
            self._client.insert("store_meta", [[self._mark_name, done_ns]])
        self._marked = (time.monotonic(), done_ns)
