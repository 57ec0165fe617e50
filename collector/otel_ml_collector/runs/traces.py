"""Finds traces and their outlines, for the JSON API and the run page."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from otel_ml.attributes import JUDGE_KIND, JUDGING, JUDGING_RUN
from otel_ml_collector.errors import Missing
from otel_ml_collector.mapping.spans import name_without_id
from otel_ml_collector.owners import is_run, own_key
from otel_ml_collector.runs.answers import (
    RunSummary,
    SpanOutline,
    Totals,
    Trace,
    TraceRecords,
    find_owner_records,
    make_span_outline,
    summarise,
)
from otel_ml_collector.runs.find import (
    WHOLE_TRACE,
    TracePage,
    add_open,
    cursor_of,
    places_of,
    read_cursor,
)
from otel_ml_collector.runs.logs import find_loose_lines, make_lines
from otel_ml_collector.store.counted import RECORDED
from otel_ml_collector.store.reader import Reader, Row, load_json, run_id_of, span_of, winners
from otel_ml_collector.store.record_kinds import (
    find_owners,
    find_record_kinds,
    list_lost_owners,
    list_owners,
)
from otel_ml_collector.store.runs import (
    OF_SPANS,
    OF_TRACE,
    KeyedTraces,
    Place,
    find_hidden,
    find_key,
    find_places,
    outlines,
    read_trace,
)
from otel_ml_collector.store.sql import Sql
from otel_ml_collector.times import CurrentNs

_RECORDS: Final = 100
MOST: Final = 100_000
_MOST_PARENTS: Final = 1_000
# What the tree of a trace shows about a span, in addition to times, tokens and costs.
_OF_TREES: Final = Sql(""", toString(model) AS model, toString(outcome) AS outcome,
  toString(error_type) AS error_type, toString(span_kind) AS span_kind""")
_JUDGE_CALLS: Final = Sql("""
    SELECT concat(lower(hex(trace_id)), '-', lower(hex(span_id))) AS run_id,
      JSONExtractString(tags['{judging}']) AS judge, provider_model, cost
    FROM {recorded}
    WHERE project = {project:String} AND kind = '{kind}' AND has(tag_kv, {judged:String})
    ORDER BY start_ns, span_id LIMIT 100""").fill(
    judging=Sql(JUDGING), kind=Sql(JUDGE_KIND), recorded=RECORDED
)


def find_trace(
    reader: Reader,
    key: str,
    project: str | None = None,
    *,
    now_ns: CurrentNs,
    page: TracePage = WHOLE_TRACE,
    found: KeyedTraces | None = None,
) -> Trace:
    """Read one page of the runs of a trace, oldest first, including unfinished runs.

    If several traces have the key, the runs of all of them are read. If two spans have the same ID
    but different start times, both are returned, as two runs with the same run ID.

    Args:
        reader: The store.
        key: The trace ID, or a key that the user gave to the trace.
        project: The project of the trace. If None, all projects are searched.
        now_ns: Decides which unfinished runs have crashed.
        page: How many runs to read, and from which one on. It can also select only the children of
            one run. Records about the trace, such as feedback, are only on the first page.
        found: The traces with this key, if the caller has them already. If None, they are looked
            up.

    Raises:
        BadInput: `page.cursor` is not a cursor, or `page.parent` is not a run ID.
        Missing: There is no such trace.
    """
    after = None if page.cursor is None else read_cursor(page.cursor)
    runs: list[RunSummary] = []
    until: list[tuple[int, str]] = []
    found = found or find_key(reader, key)
    records = [
        record
        for owner in (found.annotated if after is None else ())
        if project in {None, owner}
        for record in _records(reader, owner, [own_key(key)])
    ]
    for place in found.places:
        if project in {None, place.project}:
            want = page.limit + page.limit // 16 + 1
            owners = None if after else reader.ahead(list_owners, place.project, place.trace_id)
            rows = read_trace(reader, place, after, page.parent_span_id, want)
            if len(rows) >= want:
                until.append((rows[-1]["start_ns"], run_id_of(rows[-1])))
            rows = winners(rows, span_of)
            rows = add_open(reader, place, rows, now_ns, page=page, after=after)
            runs += summarise(reader, place.project, rows)
            if owners is not None:
                is_whole = owners.result() <= {*map(run_id_of, rows)}
                records += _find_records(reader, place, key, is_whole=is_whole)
    if not runs and not records and after is None:
        raise Missing(f"There is no trace {key[:80]!r}")
    shown, more = _cut(runs, until, page.limit)
    return Trace(
        key=key,
        runs=shown,
        records=records[:_RECORDS],
        truncated=more,
        next_cursor=cursor_of(shown[-1]) if more else None,
        hidden_parents=_find_hidden_parents(reader, shown),
    )


def _cut(
    runs: list[RunSummary], until: Sequence[tuple[int, str]], limit: int
) -> tuple[list[RunSummary], bool]:
    """Cut a page. Runs after the end of an incomplete place are left for the next page."""
    runs.sort(key=lambda run: (run.start_ns, run.run_id))
    known = [run for run in runs if not until or (run.start_ns, run.run_id) <= min(until)]
    return known[:limit], bool(until) or len(known) > limit


def _find_hidden_parents(reader: Reader, runs: Sequence[RunSummary]) -> list[str]:
    """Find the parents of runs that are stored, but not readable with this access."""
    if reader.access.projects is None:
        return []
    above = {run.parent_run_id for run in runs if run.parent_run_id}
    return find_hidden(reader, sorted(above - {run.run_id for run in runs}))


def _find_records(reader: Reader, place: Place, key: str, *, is_whole: bool) -> list[TraceRecords]:
    """Find the late-arriving records of a trace and of missing runs, and lines without a run."""
    project, trace_id = place.project, place.trace_id
    own = own_key(trace_id)
    kinds = find_record_kinds(reader, project)
    has_records = key != trace_id and own in find_owners(reader, project, [own])
    others = [] if is_whole else list_lost_owners(reader, project, trace_id)
    loose = find_loose_lines(reader, project, trace_id, _RECORDS) if kinds.lines else {}
    return [
        *_records(reader, project, [own] if has_records else []),
        *_records(reader, project, others),
        *(
            TraceRecords(project=project, run_id=span, logs=make_lines(lines, lines[0]["time_ns"]))
            for span, lines in loose.items()
        ),
    ]


def _records(reader: Reader, project: str, owners: Sequence[str]) -> list[TraceRecords]:
    """Read the late-arriving records of trace keys, or of missing runs."""
    if not owners:
        return []
    return [
        TraceRecords(project=project, run_id=owner if is_run(owner) else None, **vars(value))
        for owner, value in find_owner_records(reader, project, owners).items()
    ]


@dataclass(frozen=True, slots=True)
class Sender:
    """The process that sent a run.

    Attributes:
        service: The name of its service; empty if it has none.
        process: Distinguishes it from other processes of that service.
    """

    service: str
    process: str


def find_outline(
    reader: Reader, trace_id: str, now_ns: CurrentNs | None = None
) -> list[SpanOutline] | None:
    """Find all runs of a trace; None if there are more than 100,000.

    Args:
        reader: The store.
        trace_id: The trace.
        now_ns: The current time, to include unfinished runs. If None, they are left out.
    """
    spans: dict[str, SpanOutline] = {}
    for place in find_places(reader, trace_id):
        rows = read_outline(reader, place, MOST + 1 - len(spans))
        for row in rows:
            span = _make_trace_span(row, place)
            spans[span.run_id] = span
        if len(spans) > MOST:
            return None
        if now_ns is not None:
            opened = add_open(reader, place, rows, now_ns)[len(rows) :]
            for span in outline_of(summarise(reader, place.project, opened), now_ns):
                spans[span.run_id] = span
    return list(spans.values())


def _make_trace_span(row: Row, place: Place) -> SpanOutline:
    return replace(
        make_span_outline(row, place.trace_id, place.project),
        model=row["model"],
        outcome=row["outcome"],
        error_type=row["error_type"],
        span_kind=row["span_kind"],
        has_end=row["end_ns"] > row["start_ns"],
    )


def outline_of(runs: Sequence[RunSummary], now_ns: CurrentNs) -> list[SpanOutline]:
    """Make the outline of a whole trace; a running run ends now."""
    return [
        SpanOutline(
            run_id=run.run_id,
            parent_run_id=run.parent_run_id,
            project=run.project,
            name=name_without_id(run.name),
            start_ns=run.start_ns,
            end_ns=run.start_ns + round(length_ms(run, now_ns) * 1e6),
            tokens=run.tokens if run.counted is None else run.counted.tokens,
            cost=run.cost if run.counted is None else run.counted.cost,
            is_resolved=run.counted is not None,
            kind=run.kind,
            names_provider=bool(run.provider or run.provider_model),
            own=Totals(run.tokens, run.cost) if run.record_of else None,
            model=run.model,
            outcome=run.outcome,
            error_type=run.error_type,
            span_kind=run.span_kind,
            has_end=run.latency_ms is not None,
        )
        for run in runs
    ]


def length_ms(run: RunSummary, now_ns: CurrentNs) -> float:
    """Return how long a run took: until now if it runs, else until its process was last active."""
    if run.latency_ms is not None:
        return run.latency_ms
    until_ns = now_ns if run.outcome == "running" else run.last_heard_ns or 0
    return max(until_ns - run.start_ns, 0) / 1e6  # the clocks of two machines can differ


def find_senders(reader: Reader, runs: Sequence[RunSummary | SpanOutline]) -> dict[str, Sender]:
    """Find the senders of at most 1,000 runs, by run ID."""
    runs = runs[:_MOST_PARENTS]
    span_ids = [run.run_id.partition("-")[2] for run in runs]
    return {
        f"{place.trace_id}-{row['span_id']}": _sender(row["resource"])
        for place in places_of(runs).values()
        for row in read_senders(reader, place, span_ids)
    }


def _sender(resource: str) -> Sender:
    service = load_json(resource, {}).get("service.name")
    return Sender(service if isinstance(service, str) else "", resource)


def read_outline(reader: Reader, place: Place, limit: int) -> list[Row]:
    """Read names, times, tokens and costs of the finished runs of a trace, each once."""
    sql = outlines(Sql("lower(hex(span_id)) AS span_id"), OF_TRACE, _OF_TREES)
    return reader.rows(sql, {**place.parameters, "limit": limit})


def find_text_matches(reader: Reader, trace_id: str, text: str) -> set[str]:
    """Find the runs of a trace whose input or output contains a text, in any case.

    Returns:
        The IDs of their spans, as 16 hex digits.
    """
    sql = Sql("""
        SELECT DISTINCT lower(hex(span_id)) AS span_id FROM (
          SELECT span_id, inputs, outputs FROM payloads WHERE {ours}
          UNION ALL
          SELECT span_id, inputs, '' AS outputs FROM open_runs WHERE {ours})
        WHERE positionCaseInsensitiveUTF8(inputs, {text:String}) > 0
          OR positionCaseInsensitiveUTF8(outputs, {text:String}) > 0
        """).fill(ours=OF_TRACE)
    return {
        row["span_id"]
        for place in find_places(reader, trace_id)
        for row in reader.rows(sql, {**place.parameters, "text": text})
    }


def read_senders(reader: Reader, place: Place, span_ids: Sequence[str]) -> list[Row]:
    """Read the resources of some runs of a trace, also open runs: `span_id` and `resource`."""
    sql = Sql("""
        SELECT lower(hex(span_id)) AS span_id, any(resource) AS resource FROM (
          SELECT span_id, resource FROM payloads WHERE {ours} AND {of_spans}
          UNION ALL
          SELECT span_id, resource FROM open_runs WHERE {ours} AND {of_spans})
        GROUP BY span_id
        """).fill(ours=OF_TRACE, of_spans=OF_SPANS)
    return reader.rows(sql, {**place.parameters, "spans": list(span_ids)})


@dataclass(frozen=True, slots=True)
class JudgeCall:
    """A call that a judge made to score a run: its model and cost."""

    run_id: str
    judge: str
    provider_model: str
    cost: float | None


def find_judge_calls(reader: Reader, project: str, run_id: str) -> list[JudgeCall]:
    """Return the first 100 calls that judges made to score a run."""
    parameters = {"project": project, "judged": f"{JUDGING_RUN}={run_id}"}
    return [JudgeCall(**row) for row in reader.rows(_JUDGE_CALLS, parameters)]
