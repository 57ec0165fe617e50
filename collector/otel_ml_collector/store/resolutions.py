"""Computes the resolutions of the runs of traces, and stores the changed ones.

`fold.traces` has the rules. The reasons are in docs/design/021-counted-once.md.
"""

import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, chain, groupby
from operator import attrgetter, itemgetter
from typing import Any, Final

import pyarrow as pa

from otel_ml_collector.fold.traces import TraceRuns, fold_traces
from otel_ml_collector.owners import KEY
from otel_ml_collector.resolution import NOTHING, Resolution, ResolvedRun
from otel_ml_collector.same_calls import CallRun, find_alike, may_share
from otel_ml_collector.store.annotations import find_naming_owners, late_records, may_be_annotated
from otel_ml_collector.store.call_runs import (
    NOT_KEPT,
    Trace,
    divide,
    ids_of,
    make_call_run,
    make_link,
    make_resolution,
    name_run,
    read_answered,
    read_calls,
    read_links,
    read_naming,
    read_places,
    read_ranks,
    read_resolutions,
    read_rows,
    read_scopes,
    read_tagged,
    read_words,
)
from otel_ml_collector.store.connection import SINGLE_THREAD, Memory
from otel_ml_collector.store.counted import OF_PROJECT
from otel_ml_collector.store.late_values import add_late_values, find_mains, find_next_runs
from otel_ml_collector.store.reader import Row, winners
from otel_ml_collector.store.recent_calls import RecentTrace
from otel_ml_collector.store.rollup import QUIET_NS, mark_days
from otel_ml_collector.store.rows import (
    ROWS_AT_ONCE,
    RowUpdates,
    RunKey,
    RunName,
    TakenRuns,
    divide_by_start,
    fold_rows,
    key_of_row,
    name_of_row,
    read_clock,
    read_own_rows,
)
from otel_ml_collector.store.sql import Sql, StoreClient
from otel_ml_collector.store.tables import RESOLVED_RUNS, RUNS, split_rank
from otel_ml_collector.store.tombstones import Tombstones
from otel_ml_collector.times import DAY_NS, MINUTE_NS

# Names in the memory of a project. In order: runs whose resolved amounts differ from their own,
# runs that inherit content, runs that inherit names, traces of experiments, and runs with
# late-arriving records by key or tag.
SHARED: Final = "same_calls"
LACKING: Final = "lacking"
NAMED: Final = "named"
EXPERIMENTS: Final = "experiments"
KEYED_RUNS: Final = "keyed_runs"
# Maximum number of traces that one query reads.
_TRACES: Final = 500
# Seconds after which another collector has stored a run that it was about to store.
_STORED_WITHIN_S: Final = 60.0
# How often traces are added that share a response ID with those added before.
_ROUNDS: Final = 8
# Maximum time span of an insert, because an insert creates a part for each month that it touches.
_MONTHS_NS: Final = 1_000 * DAY_NS
# Traces in which a different run may now count or be the root.
_DELETED: Final = Sql("""
    SELECT DISTINCT lower(hex(trace_id)) AS trace_id FROM (
      SELECT trace_id, trace_id AS lost FROM settled WHERE {here}
      UNION ALL
      SELECT trace_id, trace_id FROM trace_index WHERE {here} AND concat('{key}', key) IN (
        SELECT owner FROM ({annotated}))
      UNION ALL
      SELECT trace_id, record_trace FROM settled
      WHERE {here} AND record_trace != toFixedString('', 16)
      UNION ALL
      SELECT trace_id, toFixedString(unhex(arrayJoin(
        extractAll(others, '"trace_id":"([0-9a-f]+)"'))), 16)
      FROM settled WHERE {here} AND position(others, '"trace_id"') > 0
    ) AS known
    WHERE lost IN (
      SELECT trace_id FROM deleted_runs WHERE {here} AND deleted_ns = {deleted:Int64})
    """).fill(
    annotated=late_records(Sql("owner"), OF_PROJECT + Sql(" AND startsWith(owner, '{key}')")),
    here=OF_PROJECT,
    key=Sql(KEY),
)


def resolve_deleted(client: StoreClient, memory: Memory, project: str, deleted_ns: int) -> None:
    """Resolve the traces from which a deletion removed runs, after the deletion."""
    values = {"project": project, "deleted": deleted_ns}
    traces = [(project, row["trace_id"]) for row in read_rows(client, _DELETED, values)]
    resolve(client, memory, traces)


def resolve(
    client: StoreClient,
    memory: Memory,
    traces: Sequence[Trace],
    *,
    again: bool = False,
    slack_ns: int = 0,
) -> int:
    """Find and store the values of runs that depend on other runs of their trace.

    For example, a run inherits the session of its trace. Or two instrumentations recorded the same
    call, so only one of the two runs counts. `otel_ml_collector.resolution` has the rules.

    Args:
        client: Client of this thread.
        memory: Cached facts about projects. They are updated before anything is written to the
            store.
        traces: The traces to check. They can belong to different projects; none may occur twice.
        again: Whether to store the values of all runs that depend on others, even if they have not
            changed.
        slack_ns: A row that was written less than this time after the values of its run were
            computed may lack them, and is written again. A killed collector leaves such rows: the
            values are stored a moment after they are computed, and scores are written in between.

    Returns:
        Number of runs whose values were stored.
    """
    written = 0
    for part in divide(traces):
        places = read_places(client, part)
        for near in _gather_near(places[trace] for trace in part if trace in places):
            changed = _find_changed(
                client, memory, _add_answered(client, near), again=again, slack_ns=slack_ns
            )
            write_resolutions(client, memory, changed, mark=True)
            written += len(changed)
    return written


def _add_answered(client: StoreClient, places: Sequence[Row]) -> Sequence[Row]:
    """Add the traces that record calls of some traces once more, and those that share theirs."""
    known = {(row["project"], row["trace_id"]): row for row in places}
    news = known
    for _ in range(_ROUNDS):
        values = {
            **ids_of(news),
            "start": min(row["start"] for row in news.values()),
            "end": max(row["end"] for row in news.values()),
        }
        missing = read_answered(client, values) - known.keys()
        news = read_places(client, missing) if missing else {}
        news = {trace: row for trace, row in news.items() if trace in missing}
        known |= news
        if not news:
            break
    return [*known.values()]


def _gather_near(places: Iterable[Row]) -> Iterator[list[Row]]:
    """Group traces that are read together, by time and across projects.

    A project with many runs is read from the first start to the last end of its traces.
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


def write_resolutions(
    client: StoreClient, memory: Memory, resolved: Sequence[ResolvedRun], *, mark: bool
) -> None:
    """Store resolutions. Their record kinds are noted in memory first.

    With `mark`, the runs are stored already: the totals of complete days are computed again, and
    the rows of the runs must be written again (`write_rows`).
    """
    if not resolved:
        return
    known: defaultdict[str, set[str]] = defaultdict(set)
    for run in resolved:
        known[run.project] |= _signs_of(run)
    for project, signs in known.items():
        memory.note(project, signs)
    if mark:
        today = (time.time_ns() - MINUTE_NS) // DAY_NS * DAY_NS
        days = {(run.project, run.start_ns // DAY_NS * DAY_NS) for run in resolved}
        mark_days(client, memory, [day for day in days if day[1] < today])
    ordered = sorted(resolved, key=attrgetter("start_ns"))
    for _, part in groupby(ordered, key=lambda run: run.start_ns // _MONTHS_NS):
        columns = RESOLVED_RUNS.to_arrow(list(part))
        client.insert_portions(RESOLVED_RUNS.name, iter([columns]), settings=dict(SINGLE_THREAD))
    if mark:
        memory.updates.put(resolved)


def mark_delayed(
    client: StoreClient, memory: Memory, runs: Iterable[ResolvedRun], now_ns: int
) -> None:
    """Mark the days of runs whose rows had to wait, for example until a deletion was finished.

    The totals of these days may have been computed since their runs were resolved.
    """
    mark_days(
        client,
        memory,
        [
            (run.project, run.start_ns // DAY_NS * DAY_NS)
            for run in runs
            if run.rank < now_ns - QUIET_NS // 2
        ],
    )


def write_rows(
    client: StoreClient, memory: Memory, tombstones: Tombstones, *, waits: bool = False
) -> set[str]:
    """Write the rows of runs again that other records have changed.

    Rows of a project with a deletion that is not finished are written later.

    Args:
        client: Client of this thread.
        memory: Has the runs, and most of their rows.
        tombstones: Keep deleted runs out of the store.
        waits: Whether rows in memory may wait for the next insert of the writer, if it stored runs
            a moment ago.

    Returns:
        The projects with rows to write and a deletion that is not finished.

    Raises:
        ClickHouseError: The store does not answer. The rows are written by the next call.
    """
    updates = memory.updates
    # A caller that finds nothing to write may answer: no other thread may have taken rows for it.
    with updates.writing:
        if not updates.has_pending:
            return set()
        with tombstones.hold():
            return write_held_rows(client, memory, tombstones, waits=waits)


def write_held_rows(
    client: StoreClient,
    memory: Memory,
    tombstones: Tombstones,
    *,
    waits: bool = False,
    scored: Collection[RunName] | None = None,
) -> set[str]:
    """Do the same for a caller that holds the tombstones.

    With `scored`, only the rows of these runs are written, which `put_late` got.
    """
    updates = memory.updates
    taken: list[ResolvedRun] = []
    named: dict[RunName, float] = {}
    try:
        unfinished = tombstones.find_unfinished(client, updates.list_projects())
        now_ns = read_clock(client)
        recent = others = TakenRuns((), ())
        changed: set[RunName] = set()
        if scored is None and not memory.is_alone:
            # Another collector may have resolved these runs since, or stored better records of
            # them: their newest resolutions and records are read after the rank is given.
            taken += updates.take_pending(unfinished)
            changed = {name_of_row(run) for run in taken}
        elif scored is None:
            if not (waits and updates.is_busy):
                recent = updates.take_recent(tombstones.generation, now_ns)
                taken += recent.runs
            others = updates.take_others(unfinished, now_ns)
            taken += others.runs
        if scored is None:
            _put_keyed(client, updates, unfinished, {key_of_row(run) for run in taken})
        named, rank = updates.take_late(unfinished, now_ns, scored)
        known, runs, copies, missing = _take_named(
            client, memory, tombstones.generation, changed.union(named), (now_ns, rank)
        )
        kept = TakenRuns((), (), updates.find_recent(tombstones.generation, copies))
        near = {key for _, keys in kept.rows for key in keys}
        mark_delayed(client, memory, taken, now_ns)
        parts = recent.stamped, known.stamped, others.stamped, runs
        final = add_late_values(client, memory, [*chain(*parts)])
        first_known, first_other, first_scored = accumulate(map(len, parts[:3]))
        tables = recent.fold(final[:first_known]) + known.fold(final[first_known:first_other])
        tables += kept.fold([run for run in final[first_scored:] if key_of_row(run) in near])
        stored = final[first_other:first_scored]
        stored += [run for run in final[first_scored:] if key_of_row(run) not in near]
        tables += _fold_stored(client, stored)
        for portions in divide_by_start(tables):
            client.insert_portions(RUNS.name, iter(portions), settings=dict(SINGLE_THREAD))
    except BaseException:
        updates.put(taken)
        updates.put_late(named)
        updates.finish_late(named)
        raise
    if not memory.is_alone:
        # Another collector may store these runs at this moment, without these scores.
        again = [run for run in missing if named.get(run) == 0]
        updates.put_late(again, time.monotonic() + _STORED_WITHIN_S)
    updates.finish_late(named)
    return unfinished


def _fold_stored(client: StoreClient, runs: Sequence[ResolvedRun]) -> Iterator[pa.Table]:
    """Make the new rows of runs from their stored rows."""
    for first in range(0, len(runs), ROWS_AT_ONCE):
        part = runs[first : first + ROWS_AT_ONCE]
        rows, keys = read_own_rows(client, part)
        # Of two rows of a run, the one with the higher rank has the newest facts.
        wanted = {key_of_row(run): run for run in sorted(part, key=attrgetter("rank"))}
        places = [place for place, key in enumerate(keys) if key in wanted]
        folded = {at: wanted[keys[place]] for at, place in enumerate(places)}
        yield fold_rows(rows.take(pa.array(places, pa.int64())), folded)


def _put_keyed(
    client: StoreClient,
    updates: RowUpdates,
    projects: Collection[str],
    taken: Collection[RunKey],
) -> None:
    """Add the next runs whose keys and tags have new values, except those of some projects.

    Runs that were taken already, but whose late values are read later, are left out.
    """
    waiting = updates.take_keyed(projects)
    try:
        while waiting:
            runs, rest = find_next_runs(client, waiting[-1], ROWS_AT_ONCE)
            updates.put_unless_pending(run for run in runs if run not in taken)
            updates.finish_keyed(waiting.pop(), rest)
    except BaseException:
        for keyed in waiting:
            updates.finish_keyed(keyed, keyed)
        raise


def _take_named(
    client: StoreClient,
    memory: Memory,
    generation: int,
    names: Collection[RunName],
    times: tuple[int, int],
) -> tuple[TakenRuns, list[ResolvedRun], dict[RunKey, int], set[RunName]]:
    """Take the runs that late-arriving records name, and the runs that these repeat.

    Args:
        client: Client of this thread.
        memory: Has most of the rows.
        generation: Number of the last change of the tombstones.
        names: The runs.
        times: The current time, by the store's clock, and the rank of the new rows.

    Returns:
        The runs whose row is in memory. For all other runs, the results of `_find_scored`.
    """
    now_ns, rank = times
    known, runs = TakenRuns((), ()), list[ResolvedRun]()
    copies: dict[RunKey, int] = {}
    missing: set[RunName] = set()
    looked_up: set[RunName] = set()
    unknown = {*names}
    while unknown:
        looked_up |= unknown
        taken = TakenRuns((), ())
        if memory.is_alone:
            taken, unknown = memory.updates.take_named(generation, now_ns, unknown)
        found, copies_found, lacking = _find_scored(client, unknown, rank)
        known = TakenRuns((), [*known.stamped, *taken.stamped], [*known.rows, *taken.rows])
        runs += found
        copies |= copies_found
        missing |= lacking
        unknown = find_mains(chain(taken.stamped, found)) - looked_up
    return known, runs, copies, missing


def _find_scored(
    client: StoreClient, scored: Collection[RunName], rank: int
) -> tuple[list[ResolvedRun], dict[RunKey, int], set[RunName]]:
    """Find the stored runs that scores name, with their stored resolutions.

    Returns:
        The runs; the ranks of their best records by key; and those of `scored` that are not stored.
    """
    runs: list[ResolvedRun] = []
    copies: dict[RunKey, int] = {}
    missing = {*scored}
    by_trace: defaultdict[Trace, list[str]] = defaultdict(list)
    for project, trace_id, span_id in scored:
        by_trace[project, trace_id].append(span_id)
    for part in divide(sorted(by_trace)):
        places = read_places(client, part)
        for near in _gather_near(places[trace] for trace in part if trace in places):
            traces = [(row["project"], row["trace_id"]) for row in near]
            values = {
                **ids_of(traces),
                "start": min(row["start"] for row in near),
                "end": max(row["end"] for row in near),
            }
            known = {
                (*trace, row["span_id"], row["start_ns"]): make_resolution(row)
                for trace, rows in read_resolutions(client, values).items()
                for row in rows
            }
            span_ids = {span_id for trace in traces for span_id in by_trace[trace]}
            for trace, rows in read_ranks(client, values, span_ids).items():
                for row in rows:
                    key = (*trace, row["span_id"])
                    if key in scored:
                        missing.discard(key)
                        ids = bytes.fromhex(trace[1]), bytes.fromhex(row["span_id"])
                        resolution = known.get((*key, row["start_ns"]), NOTHING)
                        run = ResolvedRun(trace[0], *ids, row["start_ns"], resolution, rank)
                        copies[key_of_row(run)], _ = split_rank(row["rank"])
                        runs.append(run)
    return runs, copies, missing


def _signs_of(run: ResolvedRun) -> set[str]:
    """Return the record kinds that a project has because of this resolution."""
    lacks_content = bool(run.share.others) and not run.share.facts.is_whole
    signs = (
        (SHARED, run.counts),
        (LACKING, run.counts and lacks_content),
        (NAMED, bool(run.names.session or run.names.user)),
        (EXPERIMENTS, run.names.experiment != ""),
        (KEYED_RUNS, bool(run.resolution.owners)),
    )
    return {name for name, is_there in signs if is_there}


def _find_changed(
    client: StoreClient,
    memory: Memory,
    places: Sequence[Row],
    *,
    again: bool,
    slack_ns: int,
) -> list[ResolvedRun]:
    """Find the runs of some traces whose resolution has changed, or all that have one."""
    wanted = {(row["project"], row["trace_id"]): row for row in places}
    values = {
        **ids_of(wanted),
        "start": min(row["start"] for row in places),
        "end": max(row["end"] for row in places),
    }
    known = read_resolutions(client, values)
    outdated = _find_outdated(client, values, known, again=again, slack_ns=slack_ns)
    with_facts = read_calls(client, values)
    answers = {
        (trace[0], bytes.fromhex(trace[1])): {row["response"] for row in rows}
        for trace, rows in with_facts.items()
        if trace in wanted
    }
    shared = {(project, trace_id.hex()) for project, trace_id in find_alike(answers)}
    several = {trace for trace, rows in with_facts.items() if trace in wanted and len(rows) > 1}
    several |= shared
    wordless = {
        trace
        for trace, rows in with_facts.items()
        if trace in wanted and any(row["lacks_words"] for row in rows)
    }
    words = read_words(client, {**values, **ids_of(wordless)}) if wordless else {}
    scoped = [row for trace in several | wordless for row in with_facts[trace]]
    scopes = read_scopes(client, [*scoped, *chain.from_iterable(words.values())])
    calls = {
        trace: [make_call_run(row, scopes.get(name_run(row), NOT_KEPT)) for row in rows]
        for trace, rows in with_facts.items()
        if trace in wanted
    }
    mixed = [trace for trace in several if trace in shared or may_share(calls[trace])]
    linked = {*mixed} - wordless
    others = read_links(client, {**values, **ids_of(linked)}) if linked else {}
    naming = read_naming(client, values)
    annotated = [trace for trace in wanted if may_be_annotated(memory, trace[0])]
    tagged = read_tagged(client, {**values, **ids_of(annotated)}) if annotated else {}
    owners = find_naming_owners(
        client, {trace: tagged[trace] for trace in annotated if trace in tagged}
    )

    def find_runs(trace: Trace) -> list[CallRun]:
        # If a span was delivered more than once, use only the winning delivery.
        calls, links = with_facts.get(trace, ()), (others.get(trace, ()), words.get(trace, ()))
        return [
            make_call_run(row, scopes.get(name_run(row), NOT_KEPT))
            if "latency_ns" in row
            else make_link(row, scopes.get(name_run(row), NOT_KEPT))
            for row in winners([*calls, *chain(*links)])
        ]

    expired = {
        trace
        for trace in several | wordless
        if not all(name_run(row) in scopes for row in with_facts[trace])
    }
    changed: list[ResolvedRun] = []
    touched = {*mixed, *wordless, *known, *naming, *owners, *outdated}
    traces = {
        trace: TraceRuns(
            # Some of the payloads have expired, or the others are not needed.
            calls.get(trace, []) if trace in expired else find_runs(trace),
            naming.get(trace, ()),
            owners.get(trace, {}),
            {bytes.fromhex(row["span_id"]): make_resolution(row) for row in known.get(trace, ())},
            has_expired=trace in expired,
        )
        for trace in wanted.keys() & touched
    }
    for trace, resolutions in _fold(traces):
        of_trace = traces[trace]
        named = tagged[trace].runs if trace in tagged else ()
        every_run = chain(outdated.get(trace, ()), named, of_trace.named, of_trace.runs)
        everyone = {run.span_id: run for run in every_run}
        rank = _rank_after((row["rank"] for row in known.get(trace, ())), wanted[trace]["now_ns"])
        renewed = {run.span_id for run in outdated.get(trace, ())}
        for run, resolution in _find_news(everyone.values(), resolutions, of_trace.known, renewed):
            key = (trace[0], bytes.fromhex(trace[1]), run.span_id, run.start_ns)
            changed.append(ResolvedRun(*key, resolution, rank))
    return changed


def _find_outdated(
    client: StoreClient,
    values: Mapping[str, Any],
    known: Mapping[Trace, Sequence[Row]],
    *,
    again: bool,
    slack_ns: int,
) -> dict[Trace, list[CallRun]]:
    """Find the ended runs whose row in `runs` lacks their stored resolution, by trace.

    This happens if a longer copy of the run arrived, or if the collector was killed between the two
    inserts. With `again`, all runs that have a resolution, or a row with one. With `slack_ns`, also
    those whose row was written soon after the resolution was computed.
    """
    ranks = {
        (trace, row["span_id"], row["start_ns"]): max(row["rank"], 1)
        for trace, rows in known.items()
        for row in rows
    }
    outdated: defaultdict[Trace, list[CallRun]] = defaultdict(list)
    span_ids = None if again else {span_id for _, span_id, _ in ranks}
    for trace, rows in read_ranks(client, values, span_ids).items():
        for row in rows:
            rank = ranks.get((trace, row["span_id"], row["start_ns"]), 0)
            _, folded = split_rank(row["rank"])
            is_doubtful = 1 < rank < folded < rank + slack_ns
            if folded < rank or is_doubtful or (again and (folded or rank)):
                outdated[trace].append(make_link(row))
    return dict(outdated)


def _fold(
    traces: Mapping[Trace, TraceRuns],
) -> Iterator[tuple[Trace, Mapping[bytes, Resolution]]]:
    """Fold traces whose IDs are in hex."""
    folded = fold_traces(
        {(project, bytes.fromhex(trace_id)): runs for (project, trace_id), runs in traces.items()}
    )
    for (project, trace_id), resolutions in folded.items():
        yield (project, trace_id.hex()), resolutions


def _find_news(
    runs: Iterable[CallRun],
    resolutions: Mapping[bytes, Resolution],
    before: Mapping[bytes, Resolution],
    outdated: Collection[bytes],
) -> Iterator[tuple[CallRun, Resolution]]:
    """Find the runs of a trace whose resolution has changed, with the new resolution.

    Also those of `outdated`, whose row in `runs` lacks their resolution.
    """
    for run in runs:
        resolution = resolutions.get(run.span_id, NOTHING)
        if run.span_id in outdated or resolution != before.get(run.span_id, NOTHING):
            yield run, resolution


def _rank_after(ranks: Iterable[int], now_ns: int) -> int:
    """Return a rank above all earlier ones of a trace, even if the clock was set back."""
    return max(now_ns, max(ranks, default=0) + 1)


def resolve_recent(
    traces: Mapping[Trace, RecentTrace],
    owners: Mapping[Trace, Mapping[bytes, Sequence[str]]],
    now_ns: int,
) -> Iterator[ResolvedRun]:
    """Find the runs of complete traces whose resolution has changed."""
    everyone = {key: (trace.open_runs | trace.runs).values() for key, trace in traces.items()}
    folded = _fold(
        {
            key: TraceRuns(trace.runs.values(), everyone[key], owners.get(key, {}), trace.resolved)
            for key, trace in traces.items()
        }
    )
    for (project, trace_id), resolutions in folded:
        trace = traces[project, trace_id]
        rank = _rank_after(trace.resolved_ranks.values(), now_ns)
        runs = everyone[project, trace_id]
        for run, resolution in _find_news(runs, resolutions, trace.resolved, trace.find_outdated()):
            key = (project, bytes.fromhex(trace_id), run.span_id, run.start_ns)
            yield ResolvedRun(*key, resolution, rank)
