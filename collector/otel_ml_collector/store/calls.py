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
from operator import attrgetter
from typing import Any, Final

from otel_ml.records import tokens_of
from otel_ml_collector.errors import Unavailable
from otel_ml_collector.owners import RESPONSE
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
)
from otel_ml_collector.store.connection import Connections, Memory, store_trouble
from otel_ml_collector.store.counted import DELIVERIES
from otel_ml_collector.store.reader import Row, load_json, run_id_of, winners
from otel_ml_collector.store.recent_calls import RecentTrace
from otel_ml_collector.store.rollup import mark_days
from otel_ml_collector.store.sql import Sql, StoreClient, identifier, join_sql, split_long_values
from otel_ml_collector.store.tables import OF_TOKENS, RESPONSE_ID, SETTLED
from otel_ml_collector.times import DAY_NS, HOUR_NS, MINUTE_NS, SECOND_NS

# In what is known of a project: runs of which something else counts than they say, among them those
# that may show what another record of their call was asked or answered, runs whose
# session or user their trace names, and traces of experiments.
SHARED: Final = "same_calls"
LACKING: Final = "lacking"
NAMED: Final = "named"
EXPERIMENTS: Final = "experiments"
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

_IN_PROJECT: Final = Sql("project = {project:String}")
_TELLS: Final = Sql("""kind != 'span' AND (input_tokens IS NOT NULL OR output_tokens IS NOT NULL
  OR cost IS NOT NULL
  OR (kind IN ('model', 'embedding') AND (outcome = 'error' OR provider_model != ''))
  OR arrayExists(text -> startsWith(text, '{response}'), tag_kv))""").fill(response=Sql(RESPONSE))
_IDS: Final = Sql("lower(hex(trace_id)) AS trace_id, lower(hex(span_id)) AS span_id")
_NEW: Final = Sql("""
    SELECT project, lower(hex(trace_id)) AS trace_id FROM (
      SELECT project, trace_id FROM {deliveries} WHERE {new}
      UNION ALL SELECT project, trace_id FROM open_runs WHERE {new})
    LIMIT {most}""").fill(
    deliveries=DELIVERIES,
    new=Sql("arrived_ns > {after:Int64} AND arrived_ns <= {until:Int64}"),
    most=_NEW_RUNS,
)
_WHERE: Final = Sql("""
    SELECT min(start_ns) AS start, max(end_ns) AS end, toUnixTimestamp64Nano(now64(9)) AS now_ns
    FROM trace_index WHERE key IN {traces:Array(String)} AND {ours}""").fill(ours=_IN_PROJECT)
_OF_TRACES: Final = Sql("""{ours} AND start_ns >= {start:Int64} AND start_ns <= {end:Int64}
  AND trace_id IN (
    SELECT toFixedString(unhex(arrayJoin({traces:Array(String)})), 16))""").fill(ours=_IN_PROJECT)
_SAYS: Final = Sql("inputs_preview != '' OR outputs_preview != ''")
_CALL_RUNS: Final = Sql("""
    SELECT {ids}, lower(hex(parent_span_id)) AS parent_span_id, kind, start_ns, latency_ns,
      provider, provider_model, {tokens}, cost, outcome = 'error' AS has_failed, rank,
      {response} AS response, inputs_preview, outputs_preview, first_token_ms, stream_chunks,
      span_kind = 'client' AS is_client
    FROM {deliveries} WHERE {of_traces} AND {tells}
    ORDER BY start_ns, runs.span_id LIMIT {most} BY runs.trace_id""").fill(
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
      AND lower(hex(span_id)) IN {spans:Array(String)}""").fill(ids=_IDS, ours=_IN_PROJECT)
_OTHER_SPANS: Final = Sql("""
    SELECT {ids}, lower(hex(parent_span_id)) AS parent_span_id, kind, start_ns, rank
    FROM {deliveries} WHERE {of_traces} AND NOT ({tells}) LIMIT {most} BY runs.trace_id""").fill(
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
      SELECT trace_id, span_id, parent_span_id, start_ns, rank, {naming}, 1 AS has_ended
      FROM {deliveries} WHERE {of_traces}
      UNION ALL
      SELECT trace_id, span_id, parent_span_id, start_ns, rank, {naming}, 0 AS has_ended
      FROM open_runs WHERE {open}
    ) AS runs
    WHERE trace_id IN (
      SELECT trace_id FROM {deliveries} WHERE {of_traces} AND ({any})
      UNION ALL SELECT trace_id FROM open_runs WHERE {open} AND ({any})
      UNION ALL SELECT trace_id FROM settled WHERE {of_traces} AND experiment != '')
    LIMIT {most} BY runs.trace_id""").fill(
    deliveries=DELIVERIES,
    ids=_IDS,
    naming=_NAMING,
    any=_NAMES_ANY,
    of_traces=_OF_TRACES,
    open=Sql("""{ours} AND trace_id IN (
      SELECT toFixedString(unhex(arrayJoin({traces:Array(String)})), 16))""").fill(
        ours=_IN_PROJECT
    ),
    most=_MOST_SPANS,
)
_OF_SETTLED: Final = Sql("""SELECT {columns}, {response} AS response FROM settled FINAL""").fill(
    columns=SETTLED.select("project", "tag_kv"), response=RESPONSE_ID
)
_KNOWN: Final = _OF_SETTLED + Sql(" WHERE ") + _OF_TRACES
_SHARES: Final = _OF_SETTLED + Sql("""
    WHERE {ours} AND start_ns IN {starts:Array(Int64)}
      AND lower(hex(span_id)) IN {spans:Array(String)}""").fill(ours=_IN_PROJECT)
_NEWEST_CALLS: Final = Sql("""
    SELECT start_ns, trace_id, span_id, kind, provider_model, input_tokens, output_tokens, cost,
      NOT ({says}) AND {response} = '' AND process = '' AS is_account
    FROM {deliveries} WHERE {ours} AND {tells} ORDER BY start_ns DESC LIMIT {newest}""").fill(
    deliveries=DELIVERIES,
    ours=_IN_PROJECT,
    tells=_TELLS,
    newest=_NEWEST,
    says=_SAYS,
    response=RESPONSE_ID,
)
_NEWEST_SCOPES: Final = Sql("""
    SELECT DISTINCT scope FROM payloads
    WHERE {ours} AND (start_ns, trace_id, span_id) IN (
      SELECT start_ns, trace_id, span_id FROM ({newest}))
    UNION ALL SELECT '{bare}' FROM ({newest})
    WHERE kind IN ('model', 'embedding') AND if(
      input_tokens IS NULL AND output_tokens IS NULL AND cost IS NULL,
      provider_model != '', is_account) LIMIT 1
    UNION ALL SELECT '{shared}' FROM settled WHERE {ours} AND counts LIMIT 1""").fill(
    ours=_IN_PROJECT, newest=_NEWEST_CALLS, bare=Sql(_BARE), shared=Sql(SHARED)
)
# Which names the newest runs have, and those of traces that name anything for others.
_NEWEST_FORMS: Final = Sql("""
    SELECT DISTINCT {forms} FROM (
      SELECT {naming} FROM {deliveries} WHERE {ours} ORDER BY start_ns DESC LIMIT {newest}
      UNION ALL SELECT {naming} FROM open_runs WHERE {ours}
      UNION ALL SELECT '', '', '' FROM settled WHERE {ours} AND ({any}) LIMIT 1
      UNION ALL SELECT {naming} FROM settled WHERE {ours} AND ({any}) LIMIT 1)""").fill(
    deliveries=DELIVERIES,
    ours=_IN_PROJECT,
    naming=_NAMING,
    newest=_NEWEST,
    any=_NAMES_ANY,
    forms=join_sql(
        ", ", [Sql("{n} != '' AS has_{n}").fill(n=identifier(name, NAMES)) for name in NAMES]
    ),
)
_MARKS: Final = Sql("""
    SELECT name, max(value) AS value FROM store_meta WHERE startsWith(name, 'settled ')
    GROUP BY name""")
_LAST_ARRIVAL: Final = Sql("SELECT max(arrived_ns) AS last FROM {deliveries}").fill(
    deliveries=DELIVERIES
)
_FIRST: Final = Sql("SELECT min(arrived_ns) AS first FROM {deliveries}").fill(deliveries=DELIVERIES)
_LAST_END: Final = Sql("""
    SELECT max(end_ns) AS end_ns FROM (
      SELECT max(start_ns + latency_ns) AS end_ns FROM {deliveries} WHERE {ours}
      UNION ALL SELECT max(start_ns) FROM settled WHERE {ours})""").fill(
    deliveries=DELIVERIES, ours=_IN_PROJECT
)
_OPEN_TRACES: Final = Sql("""
    SELECT DISTINCT lower(hex(trace_id)) AS trace_id FROM open_runs WHERE {ours}""").fill(
    ours=_IN_PROJECT
)
_DELETED: Final = Sql("""
    SELECT DISTINCT lower(hex(trace_id)) AS trace_id FROM settled
    WHERE {ours} AND trace_id IN (
      SELECT trace_id FROM deleted_runs WHERE {ours} AND deleted_ns = {deleted:Int64})
    """).fill(ours=_IN_PROJECT)


def settle_deleted(client: StoreClient, memory: Memory, project: str, deleted_ns: int) -> None:
    """Settle the traces from which a deletion took runs, once these are gone."""
    values = {"project": project, "deleted": deleted_ns}
    traces = [row["trace_id"] for row in _rows(client, _DELETED, values)]
    settle(client, memory, project, traces)


def settle(client: StoreClient, memory: Memory, project: str, traces: Sequence[str]) -> int:
    """Work out what counts of the runs of some traces, and write what is not known so.

    Args:
        client: Of this thread.
        memory: What is known of projects; it is told before anything is written.
        project: Whose traces.
        traces: Their ids in hex.

    Returns:
        Of how many runs something else counts than before.
    """
    written = 0
    for first in range(0, len(traces), _TRACES):
        changed = _find_changed(client, project, traces[first : first + _TRACES])
        write_settled(client, memory, changed, mark=True)
        written += len(changed)
    return written


def write_settled(
    client: StoreClient, memory: Memory, settled: Sequence[SettledRun], *, mark: bool
) -> None:
    """Store what is settled of some runs, after the memory knows of their projects.

    With `mark`, the statistics of days that are over are computed again.
    """
    if not settled:
        return
    known: defaultdict[str, set[str]] = defaultdict(set)
    for run in settled:
        if run.counts:
            known[run.project].add(SHARED)
            if run.share.others and not run.share.facts.is_whole:
                known[run.project].add(LACKING)
        if run.names.session or run.names.user:
            known[run.project].add(NAMED)
        if run.names.experiment:
            known[run.project].add(EXPERIMENTS)
    for project, signs in known.items():
        memory.note(project, signs)
    if mark:
        today = (time.time_ns() - MINUTE_NS) // DAY_NS * DAY_NS
        days = {(run.project, run.start_ns // DAY_NS * DAY_NS) for run in settled}
        mark_days(client, memory, [day for day in days if day[1] < today])
    ordered = sorted(settled, key=attrgetter("start_ns"))
    for _, part in groupby(ordered, key=lambda run: run.start_ns // _MONTHS_NS):
        client.insert_arrow(SETTLED.name, SETTLED.to_arrow(list(part)))


def _find_changed(client: StoreClient, project: str, traces: Sequence[str]) -> list[SettledRun]:
    """Find the runs of some traces of which something else holds than is settled."""
    (place,) = _rows(client, _WHERE, {"project": project, "traces": list(traces)})
    values = {"project": project, "traces": list(traces), "start": place["start"]}
    values["end"] = place["end"]
    known = _by_trace(_rows(client, _KNOWN, values))
    telling = _by_trace(winners(_rows(client, _CALL_RUNS, values)))
    several = {trace for trace, rows in telling.items() if len(rows) > 1}
    scopes = _read_scopes(client, project, [row for trace in several for row in telling[trace]])
    calls = {
        trace: [_call_run(row, scopes.get(run_id_of(row), _NO_SCOPE)) for row in rows]
        for trace, rows in telling.items()
    }
    mixed = [trace for trace in several if _is_mixed(calls[trace])]
    others: Mapping[str, Sequence[Row]] = {}
    if mixed:
        others = _by_trace(winners(_rows(client, _OTHER_SPANS, {**values, "traces": mixed})))
    naming = _read_naming(client, values)
    changed: list[SettledRun] = []
    for trace in {*mixed, *known, *naming}:
        before = {bytes.fromhex(row["span_id"]): _settlement(row) for row in known.get(trace, ())}
        if trace in several and not all(run_id_of(row) in scopes for row in telling[trace]):
            runs = calls[trace]  # their payloads are not kept any more
            shares = _gather_again(before, runs)
        else:
            # Of one span the delivery that won: what it says, and not what another one said.
            rows = winners([*telling.get(trace, ()), *others.get(trace, ())])
            runs = [
                _call_run(row, scopes.get(run_id_of(row), _NO_SCOPE))
                if "latency_ns" in row
                else _link(row)
                for row in rows
            ]
            shares = find_shares(runs) if trace in mixed else {}
        names = lend_names(naming.get(trace, ()), before)
        everyone = {run.span_id: run for run in chain(naming.get(trace, ()), runs)}
        rank = _rank_after((row["rank"] for row in known.get(trace, ())), place["now_ns"])
        for run, settlement in _find_news(everyone.values(), shares, names, before):
            key = (project, bytes.fromhex(trace), run.span_id, run.start_ns)
            changed.append(SettledRun(*key, settlement, rank))
    return changed


def _read_naming(client: StoreClient, values: Mapping[str, Any]) -> dict[str, list[CallRun]]:
    """Read the runs of those traces in which anything is named; of one that ended its end."""
    rows = _rows(client, _NAMES_OF, values)
    ended = winners(row for row in rows if row["has_ended"])
    known = {run_id_of(row) for row in ended}
    still_open = winners(row for row in rows if not row["has_ended"])
    here = [*ended, *(row for row in still_open if run_id_of(row) not in known)]
    return {trace: [*map(_naming_run, of_trace)] for trace, of_trace in _by_trace(here).items()}


def _find_news(
    runs: Iterable[CallRun],
    shares: Mapping[bytes, CallShare],
    names: Mapping[bytes, TraceNames],
    before: Mapping[bytes, Settlement],
) -> Iterator[tuple[CallRun, Settlement]]:
    """Find the runs of a trace of which something else holds than is settled, with what does."""
    for run in runs:
        settlement = Settlement(shares.get(run.span_id), names.get(run.span_id, NO_NAMES))
        if settlement != before.get(run.span_id, NOTHING):
            yield run, settlement


def _rank_after(ranks: Iterable[int], now_ns: int) -> int:
    """Rank a look at a trace behind those before it, also where the clock was set back since."""
    return max(now_ns, max(ranks, default=0) + 1)


def _find_recent(
    project: str, traces: Mapping[bytes, RecentTrace], now_ns: int
) -> Iterator[SettledRun]:
    """Find the runs of whole traces of which something else holds than is settled."""
    for trace_id, trace in traces.items():
        runs = list(trace.runs.values())
        calls = [run for run in runs if run.tells]
        shares = find_shares(runs) if len(calls) > 1 and _is_mixed(calls) else {}
        everyone = (trace.open_runs | trace.runs).values()
        names = lend_names(everyone, trace.settled)
        rank = _rank_after(trace.settled_ranks.values(), now_ns)
        for run, settlement in _find_news(everyone, shares, names, trace.settled):
            yield SettledRun(project, trace_id, run.span_id, run.start_ns, settlement, rank)


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


def _read_scopes(client: StoreClient, project: str, calls: Sequence[Row]) -> dict[str, _Recorded]:
    """Read by which instrumentations some runs were recorded, by run id, as far as it is kept."""
    if not calls:
        return {}
    values = {
        "project": project,
        "starts": sorted({row["start_ns"] for row in calls}),
        "spans": sorted({row["span_id"] for row in calls}),
    }
    rows = winners(_rows(client, _SCOPES, values))
    return {
        run_id_of(row): _Recorded(name_scope(row["scope"]), bool(row["is_whole"])) for row in rows
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
    return Settlement(_share(row) if row["counts"] else None, names)


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


def _by_trace(rows: Iterable[Row]) -> dict[str, list[Row]]:
    entries: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        entries[row["trace_id"]].append(row)
    return dict(entries)


def _rows(client: StoreClient, sql: Sql, values: Mapping[str, Any]) -> list[Row]:
    sql, split = split_long_values(sql, values)
    return list(client.query(sql, split, settings=dict(_UNHURRIED)).named_results())


class CallWatch:
    """Settles the traces of what is stored, behind the commit.

    Where all calls of a project are recorded by one instrumentation, and all of its runs name the
    same of session, user and experiment, nothing is looked at. What a look costs depends on what is
    new, not on what is there: where nobody else writes to the store, traces that began after their
    project was first looked at are settled from memory.

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
        traces: defaultdict[str, set[bytes]] = defaultdict(set)
        for run in chain(records.runs, records.open_runs):
            traces[run.project].add(run.trace_id)
            forms[run.project].add(form_of(run))
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
            noted_ns = self._noted_ns
        try:
            for project, traces in dirty.items():
                self._learn(project)
                if not self._is_plain(project):
                    self._settle_traces(project, traces)
            while self._done_ns < min(noted_ns, self._memory.calls.doubtful_ns):
                self._done_ns = self._look_at(self._done_ns, noted_ns)
        except BaseException:
            with self._guard:
                for project, traces in dirty.items():
                    self._dirty.setdefault(project, set()).update(traces)
            raise
        self._done_ns = max(self._done_ns, noted_ns)

    def _settle_traces(self, project: str, traces: Collection[bytes]) -> None:
        """Settle traces with new runs: from memory those that are whole there."""
        recent = self._memory.calls
        now_ns = time.time_ns()
        whole = {trace_id: recent.find(project, trace_id) for trace_id in traces}
        known = {trace_id: trace for trace_id, trace in whole.items() if trace is not None}
        changed = list(_find_recent(project, known, now_ns))
        write_settled(self._client, self._memory, changed, mark=True)
        recent.keep(changed)
        others = sorted(trace_id.hex() for trace_id in traces if trace_id not in known)
        settle(self._client, self._memory, project, others)
        if self._memory.is_alone and not recent.is_followed(project):
            recent.follow(project)
            (last,) = _rows(self._client, _LAST_END, {"project": project})
            still_open = _rows(self._client, _OPEN_TRACES, {"project": project})
            open_traces = [bytes.fromhex(row["trace_id"]) for row in still_open]
            recent.note_others(project, last["end_ns"], open_traces)

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
        projects: defaultdict[str, list[Key]] = defaultdict(list)
        for run in runs:
            projects[run[0]].append(run)
        call_shares: dict[str, CallShare] = {}
        with self._looking, store_trouble():
            for project, of_project in projects.items():
                is_plain = self._counts_plainly(project)
                if is_plain and SHARED not in self._memory.recall(project)[0]:
                    continue
                unknown = list(self._find_kept(of_project, call_shares))
                if not unknown:
                    continue
                values = {
                    "project": project,
                    "starts": sorted({start_ns for _, start_ns, *_ in unknown}),
                    "spans": sorted({span_id.hex() for *_, span_id in unknown}),
                }
                rows = _rows(self._client, _SHARES, values)
                call_shares |= {run_id_of(row): _share(row) for row in rows if row["counts"]}
        return call_shares

    def _find_kept(self, runs: Sequence[Key], call_shares: dict[str, CallShare]) -> Iterator[Key]:
        """Find what counts of runs whose traces are whole in memory; yield the other runs."""
        traces: dict[bytes, RecentTrace | None] = {}
        for run in runs:
            project, _, trace_id, span_id = run
            if trace_id not in traces:
                traces[trace_id] = self._memory.calls.find(project, trace_id)
            trace = traces[trace_id]
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
        traces: defaultdict[str, set[str]] = defaultdict(set)
        for row in rows:
            traces[row["project"]].add(row["trace_id"])
        for project, of_project in traces.items():
            settle(self._client, self._memory, project, sorted(of_project))
        if len(rows) < _NEW_RUNS // 4:
            self._window_ns = min(2 * self._window_ns, _WIDEST_NS)
        return until_ns

    def _is_plain(self, project: str) -> bool:
        """Tell whether nothing has to be settled in a project."""
        return self._counts_plainly(project) and len(self._forms[project]) <= 1

    def _counts_plainly(self, project: str) -> bool:
        """Tell whether one instrumentation alone records the calls of a project."""
        known = self._scopes.get(project, {_UNREAD})
        return self._memory.is_alone and len(known) <= 1 and known.isdisjoint({_UNREAD, _BARE})

    def _learn(self, project: str) -> None:
        """Learn once by what the newest calls of a project were recorded, and what runs name."""
        if _UNREAD in self._scopes[project] and self._memory.is_alone:
            scopes = {row["scope"] for row in self._ask(_NEWEST_SCOPES, project)}
            forms = {
                (bool(row["has_session"]), bool(row["has_user"]), bool(row["has_experiment"]))
                for row in self._ask(_NEWEST_FORMS, project)
            }
            if SHARED in scopes:
                self._memory.note(project, [SHARED])
            with self._guard:
                self._scopes[project] |= scopes - {SHARED}
                self._forms[project] |= forms
                self._scopes[project].discard(_UNREAD)

    def _ask(self, sql: Sql, project: str) -> list[Row]:
        return _rows(self._client, sql, {"project": project})

    def _note_mark(self) -> None:
        """Note on disk up to where it was looked, for the next start."""
        done_ns = self._past_ns if self._past_ns < (self._began_ns or 0) else self._done_ns
        if done_ns > self._marked[1]:
            self._client.insert("store_meta", [[self._mark_name, done_ns]])
        self._marked = (time.monotonic(), done_ns)
