"""Finds traces: one `find` behind the JSON API and the page of a run."""

from collections import Counter
from collections.abc import Sequence
from typing import Final

from otel_ml_collector.api.cursors import read_cursor
from otel_ml_collector.errors import NotFound
from otel_ml_collector.owners import TRACE_KEY_CHARS, is_run, own_key
from otel_ml_collector.query.answers.runs import RunSummary, Trace
from otel_ml_collector.query.answers.told import TraceRecords
from otel_ml_collector.runs.find import WHOLE_TRACE, TracePage, add_open, cursor_of
from otel_ml_collector.runs.late import find_told
from otel_ml_collector.runs.lines import find_loose_lines, make_lines
from otel_ml_collector.runs.shape import summarise
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.rows import run_id_of, winners
from otel_ml_collector.store.runs import (
    Place,
    Window,
    find_hidden,
    find_places,
    read_child_counts,
    read_trace,
)
from otel_ml_collector.store.targets import find_owners, find_projects_of, list_owners

_RECORDS: Final = 100


def find_trace(
    reader: Reader,
    key: str,
    project: str | None = None,
    *,
    now_ns: int,
    page: TracePage = WHOLE_TRACE,
) -> Trace:
    """Read the runs of the traces that have this id or key, oldest first, also open ones.

    Args:
        reader: The store.
        key: The trace id, or a key of the user's own.
        project: Where to look; None for all projects.
        now_ns: By it a run whose process is silent has crashed.
        page: Which of the runs. What was told besides comes with the first page only.

    Raises:
        BadQuery: Cursor or parent is wrong.
        NotFound: There is no such trace.
    """
    after = None if page.cursor is None else read_cursor(page.cursor)
    runs: list[RunSummary] = []
    until: list[tuple[int, str]] = []
    records = (
        []
        if after
        else [
            record
            for owner in find_projects_of(reader, key[:TRACE_KEY_CHARS])
            if project in {None, owner}
            for record in _records(reader, owner, [own_key(key)])
        ]
    )
    for place in find_places(reader, key):
        if project in {None, place.project}:
            want = page.limit + page.limit // 16 + 1
            rows = read_trace(reader, place, after, page.parent_span_id, want)
            if len(rows) >= want:
                until.append((rows[-1]["start_ns"], run_id_of(rows[-1])))
            rows = add_open(reader, place, winners(rows), now_ns, page=page, after=after)
            runs += summarise(reader, place.project, rows)
            records += _find_records(reader, place, key) if after is None else []
    if not runs and not records and after is None:
        raise NotFound(f"There is no trace {key[:80]!r}")
    shown, more = _cut(runs, until, page.limit)
    return Trace(
        key=key,
        runs=shown,
        records=records[:_RECORDS],
        truncated=more,
        next_cursor=cursor_of(shown[-1]) if more else None,
        hidden_parents=_find_hidden_parents(reader, shown),
    )


def find_extent(reader: Reader, trace_id: str) -> Window | None:
    """Find when a trace began and ended, as far as it may be read; None when it is not here."""
    places = find_places(reader, trace_id)
    if not places:
        return None
    return Window(min(one.start_ns for one in places), max(one.end_ns for one in places))


def count_children(reader: Reader, trace_id: str, run_ids: Sequence[str]) -> Counter[str]:
    """Count the ended runs below some runs of a trace, by run id."""
    counts: Counter[str] = Counter()
    span_ids = [run_id.partition("-")[2] for run_id in run_ids]
    for place in find_places(reader, trace_id) if span_ids else ():
        for row in read_child_counts(reader, place, span_ids):
            counts[f"{place.trace_id}-{row['span_id']}"] += row["children"]
    return counts


def _cut(
    runs: list[RunSummary], until: Sequence[tuple[int, str]], limit: int
) -> tuple[list[RunSummary], bool]:
    """Cut a page; what lies behind the end of a place that has more waits for the next one."""
    runs.sort(key=lambda run: (run.start_ns, run.run_id))
    known = [run for run in runs if not until or (run.start_ns, run.run_id) <= min(until)]
    return known[:limit], bool(until) or len(known) > limit


def _find_hidden_parents(reader: Reader, runs: Sequence[RunSummary]) -> list[str]:
    """Find the parents of runs that are here, but not for the one who asks."""
    if reader.access.projects is None:
        return []
    above = {run.parent_run_id for run in runs if run.parent_run_id}
    return find_hidden(reader, sorted(above - {run.run_id for run in runs}))


def _find_records(reader: Reader, place: Place, key: str) -> list[TraceRecords]:
    """Find what was told of a trace by its id, of runs that are not here, and lines of no run."""
    project, trace_id = place.project, place.trace_id
    own = own_key(trace_id)
    is_told = key != trace_id and own in find_owners(reader, project, [own])
    apart = list_owners(reader, project, trace_id)
    loose = find_loose_lines(reader, project, trace_id, _RECORDS)
    return [
        *_records(reader, project, [own] if is_told else []),
        *_records(reader, project, apart),
        *(
            TraceRecords(project=project, run_id=span, logs=make_lines(lines, lines[0]["time_ns"]))
            for span, lines in loose.items()
        ),
    ]


def _records(reader: Reader, project: str, owners: Sequence[str]) -> list[TraceRecords]:
    """Read what was told of keys of traces, or of runs that are not here."""
    if not owners:
        return []
    return [
        TraceRecords(project=project, run_id=owner if is_run(owner) else None, **dict(told))
        for owner, told in find_told(reader, project, owners).items()
    ]
