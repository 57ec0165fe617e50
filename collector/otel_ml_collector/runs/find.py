"""Finds runs, for the JSON API and the pages."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, fields, replace
from itertools import groupby
from operator import attrgetter
from typing import Any, Final

from otel_ml import attributes as names
from otel_ml.orders import BY_TIME, NEWEST, OLDEST
from otel_ml.records import TOKENS, Tokens, tokens_of
from otel_ml_collector.api import parameters
from otel_ml_collector.api.parameters import MAX_LIMIT, TIMES, bad_cursor, write_place
from otel_ml_collector.artifacts.find import LinkedArtifact, find_artifacts
from otel_ml_collector.errors import BadInput, Missing
from otel_ml_collector.filter.fields import OF_ITEMS
from otel_ml_collector.filter.grammar import fields_of
from otel_ml_collector.filter.grammar import parse as parse_filter
from otel_ml_collector.filter.sql import REASONS, compile_tree
from otel_ml_collector.mapping.dialects.gen_ai_events import (
    CallEvent,
    read_content,
    read_error,
)
from otel_ml_collector.mapping.dialects.streams import find_first_token_ms, find_stream_chunks
from otel_ml_collector.mapping.dialects.tables import DIALECTS
from otel_ml_collector.mapping.response_ids import find_response_id
from otel_ml_collector.mapping.values import parse, read_structured
from otel_ml_collector.measures.statistics import bound_runs
from otel_ml_collector.records import UNCOUNTED
from otel_ml_collector.runs.answers import (
    NO_PARENT,
    LateFacts,
    Run,
    RunsPage,
    RunSummary,
    SpanOutline,
    TagDetail,
    find_late_facts,
    make_summary,
    others_of,
    summarise,
    tokens_per_second,
)
from otel_ml_collector.runs.lineage import Links, find_links
from otel_ml_collector.runs.logs import (
    counts_of,
    find_call_events,
    find_lines,
    make_lines,
    sources_of,
    values_of,
)
from otel_ml_collector.same_calls import CALLS
from otel_ml_collector.span import OTLP
from otel_ml_collector.store.counted import DELIVERIES
from otel_ml_collector.store.facts import (
    MOST_POINTS,
    LoggedMetric,
    find_all_series,
)
from otel_ml_collector.store.open_runs import (
    OpenKey,
    find_open_keys,
    list_open_keys,
    read_open_payloads,
    read_open_runs,
)
from otel_ml_collector.store.orders import OUTERMOST, make_ordering, resolve_worth
from otel_ml_collector.store.reader import IDS, Reader, Row, is_open, load_json, run_id_of, winners
from otel_ml_collector.store.record_kinds import find_record_kinds
from otel_ml_collector.store.runs import (
    FILTERED,
    KEY,
    OF_KEYS,
    OF_TRACES,
    Key,
    KeyedTraces,
    Listing,
    Place,
    find_all_places,
    find_first_calls,
    find_key,
    find_places,
    find_topped,
    key_parameters,
    list_keys,
    measure_payloads,
    outlines,
    read_ended,
    read_parents,
    read_payloads,
    read_runs,
    read_spans,
)
from otel_ml_collector.store.sql import Condition, Search, Sql, all_of
from otel_ml_collector.store.tables import COPY, INHERITED_PAYLOAD, split_rank
from otel_ml_collector.times import AHEAD_NS, DAY_NS, HOUR_NS, MINUTE_NS, CurrentNs, to_rfc3339
from otel_ml_collector.windows import Window

RUN_ID_FORM: Final = "32 hex digits, a dash, 16 hex digits"
_TRACE_SPANS: Final = 10_000
_RUN_ID: Final = re.compile("([0-9a-f]{32})-([0-9a-f]{16})")
_TRACE_ID_TEXT: Final = re.compile("[0-9a-f]{32}")
_SPAN_ID_TEXT: Final = re.compile("[0-9a-f]{16}")
# The newest runs are usually in the last day, or ahead of this machine's clock. Older ones are read
# only if needed. Searched payloads are read as a whole, so the first window is an hour.
_WINDOWS_NS: Final = (AHEAD_NS + DAY_NS, 30 * DAY_NS)
_SEARCHED_NS: Final = (AHEAD_NS + HOUR_NS, *_WINDOWS_NS)
# Lists in other orders than by time cover this much if no time is requested.
_ORDERED_NS: Final = 30 * DAY_NS
_FEWEST_PAYLOADS: Final = 100
_MOST_PAYLOADS: Final = 5_000
# A row can replace another one between the two queries of a list: the list is then read again.
_TRIES: Final = 3
_STORED_WITHIN_NS: Final = MINUTE_NS
_PART_RUNS: Final = 100
_NAMED_RUNS: Final = 25
_PART_BYTES: Final = 16 * 1024 * 1024
MATCHING: Final = Sql("""project = {project:String} AND start_ns >= {start:Int64}
  AND start_ns < {end:Int64} AND ({condition})""")
# This many plain spans between a run and the run around it are checked level by level. If there are
# more, this many spans of the trace are read at once.
_LEVELS_UP: Final = 16
_MOST_SPANS: Final = 20_000
# Kinds that do not turn the runs inside them into inner runs. An experiment does.
NO_CALLS: Final = frozenset(UNCOUNTED) - {"experiment"}
_IS_TOP: Final = 'kind != "judge" and (parent_run_id == "" or kind != "span")'
_TOPS: Final = parse_filter(_IS_TOP)
_PRODUCTION_TOPS: Final = parse_filter(f'{_IS_TOP} and kind != "experiment"')
# Attributes with the provider's response ID, or (True) with a response that contains it.
_RESPONSES: Final = {
    source: row.form == "held"
    for dialect in DIALECTS
    for row in dialect.rows
    if row.field == "response_id"
    for source in row.sources
}
_SUMMARY_FIELDS: Final = tuple(field.name for field in fields(RunSummary))


@dataclass(frozen=True, slots=True)
class RunsQuery:
    """Which runs to list, and in which order.

    Attributes:
        where: A filter. If empty, all runs are listed. Ordinary spans and calls of judges
            are left out unless the filter names ``kind``.
        cursor: Where the previous page ended.
        start_ns: List only runs that started at this time or later, in nanoseconds since 1970. 0
            for no limit.
        end_ns: List only runs that started before this time. None for no limit.
        order: The name of an order in `otel_ml.orders`.
        roots: List only requests: runs that are not inside another run.
        traces: List one span per trace: the top span. It may be an ordinary span, such as the one
            of an HTTP request. Traces without a run, such as a call of a model or a tool, are left
            out. If the top span has not arrived, the runs that are not inside another run are
            listed instead.
    """

    project: str
    where: str = ""
    limit: int = 50
    cursor: str | None = None
    start_ns: int = 0
    end_ns: int | None = None
    order: str = NEWEST
    roots: bool = False
    traces: bool = False

    @property
    def newest_first(self) -> bool:
        """Whether the newer of two runs comes first, if nothing but their time differs."""
        return self.order != OLDEST

    @property
    def is_of_tops(self) -> bool:
        """Whether each listed run also represents all runs inside it."""
        return self.roots or self.traces

    def window(self, now_ns: CurrentNs) -> Window:
        """Return the requested time. Without an end, it includes runs of clocks that are ahead."""
        return Window(self.start_ns, now_ns + AHEAD_NS if self.end_ns is None else self.end_ns)

    def values(self, condition: Condition, now_ns: CurrentNs) -> dict[str, Any]:
        """Return the query parameters that `MATCHING` needs, including those of the condition."""
        window = self.window(now_ns)
        return {
            "project": self.project,
            "start": window.start_ns,
            "end": window.end_ns,
            **condition.parameters,
        }


@dataclass(frozen=True, slots=True)
class TracePage:
    """Which runs of a trace to read.

    Attributes:
        limit: Maximum number of runs.
        cursor: Where the previous page ended.
        parent: Only the children of this run; None for all runs.
    """

    limit: int = _TRACE_SPANS
    cursor: str | None = None
    parent: str | None = None

    @property
    def parent_span_id(self) -> str | None:
        """The span ID of the parent.

        Raises:
            BadInput: The parent is not a run ID.
        """
        if self.parent is None:
            return None
        match = _RUN_ID.fullmatch(self.parent)
        if match is None:
            raise BadInput(
                f"Invalid parent {self.parent[:80]!r}: expected {RUN_ID_FORM}",
                "parent",
            )
        return match[2]


WHOLE_TRACE: Final = TracePage()


def find_runs(reader: Reader, query: RunsQuery, now_ns: CurrentNs) -> RunsPage:
    """List runs in the order of their start, or in another order of the query.

    By default, the list includes unfinished runs. For each page, at most 2,000 unfinished runs are
    checked against the filter. An unfinished run counts as crashed if its process has sent nothing
    in the 5 minutes before `now_ns`.

    A list that is sorted by a value, such as the cost, has only finished runs with this value. If
    the query has no start time, this list covers the last 30 days of the project. It covers only
    the last day if the filter searches inputs or outputs.

    Raises:
        BadInput: Filter, order or cursor is wrong.
    """
    given = query.order
    query, since_ns = _bound_order(reader, query)
    rows = _list_rows(reader, query, now_ns)
    page = rows[: query.limit]
    more = len(rows) > query.limit
    return RunsPage(
        runs=summarise(reader, query.project, page),
        next_cursor=write_cursor(_key(page[-1]), query.order) if more else None,
        ordered_since=None if since_ns is None else to_rfc3339(since_ns),
        ordered_by=None if query.order == given else query.order,
    )


def _bound_order(reader: Reader, query: RunsQuery) -> tuple[RunsQuery, int | None]:
    """Limit a list that is not ordered by time to recent runs.

    Also returns the start of that time if older runs are left out, else None. The orders `worst`
    and `best` of a judge become `lowest` or `highest`, so that all pages have the same order.
    """
    query = replace(query, order=resolve_worth(reader, query.project, query.order))
    if query.order in BY_TIME or query.start_ns > 0:
        return query, None
    whole = bound_runs(reader, query.project, plain=True)
    if whole is None:
        return query, None
    condition, _ = compile_query(reader, replace(query, start_ns=1))  # its time is limited below
    length_ns = DAY_NS if condition.reads_payloads else _ORDERED_NS
    end_ns = whole.end_ns if query.end_ns is None else min(query.end_ns, whole.end_ns)
    start_ns = max(end_ns - length_ns, 1)
    return replace(query, start_ns=start_ns), start_ns if start_ns > whole.start_ns else None


def find_neighbour(
    reader: Reader, run: RunSummary, now_ns: CurrentNs, *, newest_first: bool
) -> str | None:
    """Find the ID of the run that follows another in the list of its project; None if none does."""
    order = NEWEST if newest_first else OLDEST
    query = RunsQuery(run.project, limit=1, cursor=cursor_of(run), order=order)
    rows = _list_rows(reader, query, now_ns, columns=KEY)
    return run_id_of(rows[0]) if rows else None


def compile_query(reader: Reader, query: RunsQuery) -> tuple[Condition, bool]:
    """Compile the conditions of a list of runs to SQL.

    For a query with `roots` or `traces`, the SQL also selects some runs that do not belong in the
    list. Whether a run is inside another run is checked only after the rows are read.

    Returns:
        The condition, and whether it contains a filter that may leave out most of the runs.

    Raises:
        BadInput: The filter is wrong.
    """
    tree = parse_filter(query.where)
    also = None
    if query.traces:
        also = _PRODUCTION_TOPS if fields_of(tree).isdisjoint(OF_ITEMS) else _TOPS
    return compile_tree(reader, query.project, tree, is_bounded=query.start_ns > 0, also=also)


def _list_rows(
    reader: Reader,
    query: RunsQuery,
    now_ns: CurrentNs,
    *,
    columns: Sql | None = None,
) -> list[Row]:
    """List the rows of a page, and the first row of the next page."""
    listing = make_listing(reader, query, columns)
    whole = query.window(now_ns)
    want = query.limit + 1
    if listing.ordering is not None:
        return _fill(reader, listing, whole, want, now_ns, query=query)[:want]
    # Read unfinished runs first. A run that ends meanwhile is then in both lists, and the finished
    # one counts.
    keys = list_open_keys(reader, listing, whole)
    ended = _fill(reader, listing, whole, want, now_ns, query=query)
    near = _near(keys, ended, listing, want)
    still_open = read_open_runs(reader, query.project, near, now_ns, listing.condition)
    still_open = _keep(reader, query, still_open)
    rows = [*ended, *still_open]
    rows.sort(key=_place, reverse=query.newest_first)
    return rows[:want]


def make_listing(reader: Reader, query: RunsQuery, columns: Sql | None = None) -> Listing:
    """Make the query of a list for the store.

    Raises:
        BadInput: Filter, order or cursor is wrong.
    """
    condition, is_filtered = compile_query(reader, query)
    ordering = make_ordering(reader, query.project, query.order, is_of_tops=query.is_of_tops)
    if ordering is not None and query.is_of_tops:
        condition = all_of([condition, OUTERMOST])
    after = None if query.cursor is None else read_cursor(query.cursor, query.order)
    return Listing(
        query.project, condition, is_filtered, after, query.newest_first, columns, ordering
    )


def write_cursor(key: Key, order: str = NEWEST) -> str:
    """Return the cursor after a run in a list. Cursors of lists by time do not name the order."""
    place = (key.start_ns, key.trace_id, key.span_id)
    return write_place(place if order in BY_TIME else (order, key.value, *place))


def read_cursor(text: str, order: str = NEWEST) -> Key:
    """Read a cursor.

    Raises:
        BadInput: The text is not a cursor of `write_cursor` for that order.
    """
    value = 0.0
    if order in BY_TIME:
        start_ns, trace_id, span_id = parameters.read_cursor(text, int, str, str, numbers=TIMES)
    else:
        kinds = (str, float, int, str, str)
        of_order, value, start_ns, trace_id, span_id = parameters.read_cursor(
            text, *kinds, numbers=TIMES
        )
        if of_order != order:
            raise BadInput(
                f"Invalid cursor: it belongs to a list in the order {of_order}", "cursor"
            )
    if not (_TRACE_ID_TEXT.fullmatch(trace_id) and _SPAN_ID_TEXT.fullmatch(span_id)):
        raise bad_cursor(text)
    return Key(start_ns, trace_id, span_id, value=value)


def cursor_of(run: RunSummary) -> str:
    """Return the cursor that continues a list after a run."""
    return write_cursor(Key.of(run.start_ns, run.run_id))


def find_run(reader: Reader, run_id: str, project: str | None = None, *, now_ns: CurrentNs) -> Run:
    """Read a run with its inputs, outputs, scores, tags and other records about it.

    Args:
        reader: The store.
        run_id: The trace ID and the span ID: ``<32 hex>-<16 hex>``.
        project: The project of the run. If None, all projects are searched.
        now_ns: Decides which unfinished runs have crashed.

    Raises:
        BadInput: The ID is invalid, or several projects have the run.
        Missing: There is no such run.
    """
    return find_run_with_series(reader, run_id, project, now_ns=now_ns)[0]


def find_run_with_series(
    reader: Reader,
    run_id: str,
    project: str | None = None,
    *,
    now_ns: CurrentNs,
    found: KeyedTraces | None = None,
) -> tuple[Run, Sequence[LoggedMetric]]:
    """Read a run, and the points of the metrics that were logged under the ID of the run.

    Args:
        reader: The store.
        run_id: The trace ID and the span ID: ``<32 hex>-<16 hex>``.
        project: The project of the run. If None, all projects are searched.
        now_ns: Decides which unfinished runs have crashed.
        found: The projects and periods of the trace, if the caller has them already. If None, they
            are looked up.

    Raises:
        BadInput: The ID is invalid, or several projects have the run.
        Missing: There is no such run.
    """
    match = _RUN_ID.fullmatch(run_id)
    if match is None:
        raise BadInput(
            f"Invalid run ID {run_id[:80]!r}: expected {RUN_ID_FORM}",
            "run_id",
        )
    found = found or find_key(reader, match[1])
    here = [
        rows
        for place in found.places
        if project in {None, place.project}
        and (rows := _read_rows(reader, [place], [run_id], now_ns))
    ]
    if not here:
        raise Missing(f"There is no run {run_id}")
    if len(here) > 1:
        names = ", ".join(sorted(rows[0]["project"] for rows in here))
        raise BadInput(f"Several projects have run {run_id}: choose one of {names}", "project")
    ((run, series),) = _make_runs(reader, here[0])
    return run, series


def find_named_runs(
    reader: Reader, project: str, run_ids: Sequence[str], now_ns: CurrentNs, most: int = MOST_POINTS
) -> Iterator[tuple[Run, Sequence[LoggedMetric]]]:
    """Read runs of a project by ID, in the order of `run_ids`, each with its logged metrics.

    At most 25 runs are in memory at a time.

    Args:
        reader: The store.
        project: The project of the runs.
        run_ids: The trace ID and the span ID of each run: ``<32 hex>-<16 hex>``.
        now_ns: Decides which unfinished runs have crashed.
        most: Maximum number of points per metric.

    Raises:
        BadInput: An ID is invalid.
        Missing: There is no such run.
    """
    for first in range(0, len(run_ids), _NAMED_RUNS):
        part = run_ids[first : first + _NAMED_RUNS]
        places: dict[str, Place] = {}
        for run_id in part:
            match = _RUN_ID.fullmatch(run_id)
            if match is None:
                raise BadInput(
                    f"Invalid run ID {run_id[:80]!r}: expected {RUN_ID_FORM}",
                    "of",
                )
            if match[1] not in places:
                named_runs = [
                    place for place in find_places(reader, match[1]) if place.project == project
                ]
                places |= {item.trace_id: item for item in named_runs}
        rows = _read_rows(reader, [*places.values()], part, now_ns) if places else []
        missing = set(part).difference(map(run_id_of, rows))
        if missing:
            raise Missing(f"There is no run {min(missing)}")
        made = {run.run_id: (run, series) for run, series in _make_runs(reader, rows, most)}
        yield from (made[run_id] for run_id in part)


def find_present_runs(
    reader: Reader, project: str, run_ids: Sequence[str], now_ns: CurrentNs
) -> dict[str, Run]:
    """Read some runs of a project by ID, with one query per kind of record.

    Returns:
        The runs by ID, without those that do not exist.
    """
    traces = dict.fromkeys(run_id.partition("-")[0] for run_id in run_ids)
    found = find_all_places(reader, [*traces])
    places = [place for of_trace in found.values() for place in of_trace]
    own = [place for place in places if place.project == project]
    rows = _read_rows(reader, own, run_ids, now_ns) if own else []
    return {run.run_id: run for run, _ in _make_runs(reader, rows)} if rows else {}


def places_of(runs: Iterable[RunSummary | SpanOutline]) -> dict[tuple[str, str], Place]:
    """Group runs by trace, and return the time range of each trace.

    The range is from the earliest to the latest start of the given runs of the trace. The key is
    the project and the trace ID. The store is not read.
    """
    places: dict[tuple[str, str], Place] = {}
    for run in runs:
        key, start_ns = (run.project, run.trace_id), run.start_ns
        known = places.get(key) or Place(*key, start_ns, start_ns)
        bounds = min(known.start_ns, start_ns), max(known.end_ns, start_ns)
        places[key] = Place(*key, *bounds)
    return places


def find_whole_runs(reader: Reader, runs: Sequence[RunSummary], now_ns: CurrentNs) -> Iterator[Run]:
    """Read the full runs for some summaries, with payloads and late-arriving records.

    Yields the runs in the order of the summaries. Runs that were deleted in the meantime are left
    out. At most 100 runs and about 16 MiB of payloads are in memory at a time.
    """
    places = places_of(runs)
    for project, group in groupby(runs, key=attrgetter("project")):
        for part in _parts(reader, project, list(group)):
            traces = dict.fromkeys(run.trace_id for run in part)
            of_part = [places[project, trace_id] for trace_id in traces]
            rows = _read_rows(reader, of_part, [run.run_id for run in part], now_ns)
            by_id = {run.run_id: run for run, _ in _make_runs(reader, rows)} if rows else {}
            yield from (by_id[run.run_id] for run in part if run.run_id in by_id)


def _parts(
    reader: Reader, project: str, runs: Sequence[RunSummary]
) -> Iterator[Sequence[RunSummary]]:
    """Split the runs of a project so that the payloads of each part fit into memory."""
    for first in range(0, len(runs), _PART_RUNS):
        part = runs[first : first + _PART_RUNS]
        sizes = measure_payloads(
            reader, project, [Key.of(run.start_ns, run.run_id) for run in part]
        )
        begin = size = 0
        for place, run in enumerate(part):
            size += sizes[run.run_id]
            if size > _PART_BYTES and place > begin:
                yield part[begin:place]
                begin, size = place, sizes[run.run_id]
        yield part[begin:]


def _windows(listing: Listing, whole: Window) -> Iterator[Window]:
    """Split the requested time into windows, those with the first runs of the list first."""
    searches = listing.condition.reads_payloads
    if listing.ordering is not None or (listing.is_filtered and not searches):
        yield whole
        return
    start_ns, end_ns = whole.start_ns, whole.end_ns
    if listing.after is not None and listing.newest_first:
        end_ns = min(end_ns, listing.after.start_ns + 1)
    elif listing.after is not None:
        start_ns = max(start_ns, listing.after.start_ns)
    if not listing.newest_first and start_ns == 0:  # the start of the oldest runs is unknown
        yield whole
        return
    for length_ns in (*(_SEARCHED_NS if searches else _WINDOWS_NS), end_ns):
        if start_ns >= end_ns:
            return
        if listing.newest_first:
            edge_ns = max(end_ns - length_ns, start_ns)
            yield Window(edge_ns, end_ns)
            end_ns = edge_ns
        else:
            edge_ns = min(start_ns + length_ns, end_ns)
            yield Window(start_ns, edge_ns)
            start_ns = edge_ns


def _fill(
    reader: Reader,
    listing: Listing,
    whole: Window,
    want: int,
    now_ns: CurrentNs,
    *,
    query: RunsQuery,
) -> list[Row]:
    """Read matching runs in a window until there are enough.

    A run can be stored several times. Copies that a newer copy has replaced are dropped, and so are
    runs that `_keep` leaves out. More runs are read in their place.
    """
    rows: list[Row] = []
    missing = want + want // 16 + 1  # some may drop out; a second read costs as much
    rest = listing
    while len(rows) < want:
        keys, page = _read_page(reader, rest, whole, missing, now_ns)
        if keys:
            rows += _keep(reader, query, page)
            rest = replace(listing, after=keys[-1])
        if len(keys) < missing:
            break
        missing = min(2 * missing, MAX_LIMIT)
    return rows


def _read_page(
    reader: Reader, listing: Listing, whole: Window, limit: int, now_ns: CurrentNs
) -> tuple[list[Key], list[Row]]:
    """Find the first matching runs and read their rows, again if rows changed in between."""
    keys: list[Key] = []
    rows: list[Row] = []
    for _ in range(_TRIES):
        keys = _find_keys(reader, listing, whole, limit)
        rows, replacing = _read_matching(reader, listing, keys)
        if not any(_may_match(row, now_ns) for row in replacing):
            break
    return keys, rows


def _find_keys(reader: Reader, listing: Listing, whole: Window, limit: int) -> list[Key]:
    """Find the keys of the first matching runs, window by window, in order."""
    search = listing.condition.search if listing.ordering is None else None
    keys: list[Key] = []
    for window in _windows(listing, whole):
        left = limit - len(keys)
        if search is None:
            keys += list_keys(reader, listing, window, left)
        else:
            keys += search_keys(reader, listing, search, window, left)
        if len(keys) >= limit:
            break
    return keys


def _read_matching(
    reader: Reader, listing: Listing, keys: Sequence[Key]
) -> tuple[list[Row], list[Row]]:
    """Read the rows of the runs that a list found.

    Returns:
        The valid rows that the list found. Also the valid rows that it did not find, of runs of
            which it found a replaced row.
    """
    found = read_runs(reader, listing.project, keys, listing.columns) if keys else []
    best = {run_id_of(row): row for row in winners(found)}
    rows: dict[str, Row] = {}
    for key in keys:
        row = best.get(key.run_id)
        if row is not None and row["rank"] == key.rank and row["start_ns"] == key.start_ns:
            rows[key.run_id] = row | {"value": key.value}
    return list(rows.values()), [row for run_id, row in best.items() if run_id not in rows]


def _may_match(row: Row, now_ns: CurrentNs) -> bool:
    """Return whether a row may have been stored after the keys of its list were read."""
    _, folded_ns = split_rank(row["rank"])
    return folded_ns > now_ns - _STORED_WITHIN_NS


def _keep(reader: Reader, query: RunsQuery, rows: Sequence[Row]) -> list[Row]:
    """Leave out the runs that `roots` or `traces` of a query excludes."""
    if query.traces:
        return _keep_tops(reader, query.project, rows)
    return _keep_roots(reader, query.project, rows) if query.roots else [*rows]


def _keep_tops(reader: Reader, project: str, rows: Sequence[Row]) -> list[Row]:
    """Keep the top span of each trace with a call; if it is missing, the first call of the trace.

    A plain span at the top of a trace without a call is left out.
    """
    below = {run_id_of(row) for row in rows if row["parent_span_id"] != NO_PARENT}
    traces = {run_id[:32] for run_id in below}
    lost = traces - find_topped(reader, project, traces)
    left_out = below - find_first_calls(reader, project, lost)
    rows = [row for row in rows if run_id_of(row) not in left_out]
    plain = sorted({run_id_of(row)[:32] for row in rows if row["kind"] in NO_CALLS})
    parameters = {"project": project, "traces": plain, "limit": _MOST_SPANS}
    spans = reader.rows(outlines(IDS, OF_TRACES), parameters) if plain else ()
    called = {run_id_of(span)[:32] for span in spans if span["kind"] not in NO_CALLS}
    return [row for row in rows if row["kind"] not in NO_CALLS or run_id_of(row)[:32] in called]


def _keep_roots(reader: Reader, project: str, rows: Sequence[Row]) -> list[Row]:
    """Keep the runs that are not inside another run; a plain span around them does not count."""
    climbing = {run_id_of(row): row["parent_span_id"] for row in rows}
    inner: set[str] = set()
    for _ in range(_LEVELS_UP):
        above = {
            run_id: f"{run_id[:32]}-{span_id}"
            for run_id, span_id in climbing.items()
            if span_id != NO_PARENT
        }
        if not above:
            break
        parents = {
            run_id_of(row): row for row in read_parents(reader, project, [*{*above.values()}])
        }
        facts = {run_id: parents[at] for run_id, at in above.items() if at in parents}
        climbing = {run_id: row["parent_span_id"] for run_id, row in facts.items()}
        for run_id, row in facts.items():
            if row["kind"] not in NO_CALLS:
                inner.add(run_id)
                del climbing[run_id]
    if climbing:
        inner |= _find_inner(reader, project, climbing)
    return [row for row in rows if run_id_of(row) not in inner]


def _find_inner(reader: Reader, project: str, climbing: Mapping[str, str]) -> set[str]:
    """Find the runs inside another run, however many plain spans are between.

    `climbing` has, for each run, the lowest span above it that was not checked yet. In very long
    traces, some runs can be missing.
    """
    traces = sorted({run_id[:32] for run_id in climbing})
    parameters = {"project": project, "traces": traces, "limit": _MOST_SPANS}
    spans = {run_id_of(row): row for row in reader.rows(outlines(IDS, OF_TRACES), parameters)}
    inner: set[str] = set()
    for run_id, parent in climbing.items():
        passed: set[str] = set()
        at = f"{run_id[:32]}-{parent}"
        while at in spans and at not in passed:
            if spans[at]["kind"] not in NO_CALLS and not spans[at]["is_repeat"]:
                inner.add(run_id)
                break
            passed.add(at)
            at = f"{run_id[:32]}-{spans[at]['parent_span_id']}"
    return inner


def _near(
    keys: Sequence[OpenKey], ended: Sequence[Row], listing: Listing, want: int
) -> list[OpenKey]:
    """Choose the unfinished runs that can be on the page of the finished ones."""
    known = {run_id_of(row) for row in ended}
    near = [key for key in keys if key.run_id not in known]
    if len(ended) >= want:
        last = _place(ended[-1])
        near = [key for key in near if (key.place > last) == listing.newest_first]
    return near if listing.is_filtered else near[:want]


def _read_rows(
    reader: Reader, places: Sequence[Place], run_ids: Sequence[str], now_ns: CurrentNs
) -> list[Row]:
    """Read the rows, without payloads, of runs in traces of a project, finished or open."""
    asked = {*run_ids}
    span_ids = sorted({run_id.partition("-")[2] for run_id in run_ids})
    rows = winners(read_spans(reader, places, span_ids))
    if asked.difference(map(run_id_of, rows)):
        for place in places:
            rows += add_open(reader, place, [], now_ns)
    best: dict[str, Row] = {}
    for row in rows:  # finished runs are listed first, so they take precedence
        best.setdefault(run_id_of(row), row)
    return [row for run_id, row in best.items() if run_id in asked]


def add_open(
    reader: Reader,
    place: Place,
    ended: list[Row],
    now_ns: CurrentNs,
    *,
    page: TracePage = WHOLE_TRACE,
    after: Key | None = None,
) -> list[Row]:
    """Add the open runs of a trace to the finished runs of a page."""
    known = {row["span_id"] for row in ended}
    behind = (after.start_ns, after.trace_id, after.span_id) if after else (-1, "", "")
    keys = [
        key
        for key in find_open_keys(reader, place)
        if key.span_id not in known and key.place > behind
    ]
    if page != WHOLE_TRACE and keys:  # runs before this page may have ended
        ids = {row["span_id"] for row in read_ended(reader, place, [key.span_id for key in keys])}
        keys = [key for key in keys if key.span_id not in ids]
    rows = read_open_runs(reader, place.project, keys, now_ns)
    above = page.parent_span_id
    return [*ended, *(row for row in rows if above in {None, row["parent_span_id"]})]


def _key(row: Row) -> Key:
    return Key(row["start_ns"], row["trace_id"], row["span_id"], value=row.get("value", 0.0))


def _place(row: Row) -> tuple[int, str, str]:
    return row["start_ns"], row["trace_id"], row["span_id"]


def search_keys(
    reader: Reader, listing: Listing, search: Search, window: Window, limit: int
) -> list[Key]:
    """List the keys of the runs in a window with a matching payload, in order."""
    keys: list[Key] = []
    size = max(limit, _FEWEST_PAYLOADS)
    while True:
        page = _list_payloads(reader, listing, search, window, size)
        keys += _keep_matching(reader, listing, search, window, page)
        if len(page) < size or len(keys) >= limit:
            return keys[:limit]
        listing, size = replace(listing, after=page[-1]), min(2 * size, _MOST_PAYLOADS)


def _list_payloads(
    reader: Reader, listing: Listing, search: Search, window: Window, limit: int
) -> list[Key]:
    """List the keys of matching payloads, in the order of runs."""
    own = Sql("""
        FROM payloads
        WHERE project = {project:String}
          AND start_ns >= {start:Int64} AND start_ns < {end:Int64}
          AND {seek} AND ({tests})""").fill(seek=listing.seek, tests=search.tests)
    if search.others:
        own = Sql("""
            FROM (
              SELECT start_ns, trace_id, span_id, rank {own}
              UNION DISTINCT
              SELECT * FROM ({others}) WHERE {seek}
            ) AS payloads""").fill(own=own, others=search.others, seek=listing.seek)
    sql = Sql("""
        SELECT {key} {own}
        ORDER BY start_ns {direction}, payloads.trace_id {direction},
          payloads.span_id {direction}, rank DESC
        LIMIT {limit:UInt32}""").fill(key=KEY, own=own, direction=listing.direction)
    parameters = {**listing.parameters(window), "limit": limit}
    return [Key(**row) for row in reader.rows(sql, parameters, FILTERED)]


def _keep_matching(
    reader: Reader, listing: Listing, search: Search, window: Window, page: list[Key]
) -> list[Key]:
    """Keep the keys of runs that match the rest of the condition."""
    if not page:
        return []
    sql = Sql("""
        SELECT {key}, {copy} AS copy FROM {deliveries} WHERE {these} AND ({rest})
        ORDER BY rank
        """).fill(deliveries=DELIVERIES, key=KEY, copy=COPY, these=OF_KEYS, rest=search.rest)
    parameters = {
        **listing.parameters(window),
        **key_parameters(listing.project, page),
    }
    matches: dict[Key, Key] = {}
    for row in reader.rows(sql, parameters):
        copy = row.pop("copy")
        key = Key(**row)
        matches[replace(key, rank=copy)] = key
    return [matches[key] for key in page if key in matches]


def _make_content(
    row: Row, payload: Mapping[str, Any], events: Sequence[CallEvent], tokens: Tokens
) -> dict[str, Any]:
    """Return a run's content: input and output, tokens and cost, and its error.

    Content that its row and its payload (which may be gone) lack is taken from its events.
    """
    content = read_content(events)
    error_type, message = read_error(events) if row["outcome"] == "error" else ("", "")
    shown = dict(zip(TOKENS, astuple(tokens), strict=True))
    is_call = row["kind"] in CALLS  # events of other spans describe a different call
    used = {
        name: content.get(name) if is_call and value is None else value
        for name, value in shown.items()
    }
    return {
        "inputs": load_json(payload.get("inputs") or content.get("inputs", (None, ""))[1]),
        "outputs": load_json(payload.get("outputs") or content.get("outputs", (None, ""))[1]),
        "tokens": tokens_of(used),
        "error_type": row["error_type"] or error_type,
        "error_message": row["error_message"] or message,
    }


def _lacks_content(row: Row, payload: Mapping[str, Any]) -> bool:
    """Return whether a run lacks anything that its events can have."""
    is_whole = payload.get("inputs") and payload.get("outputs") and row["input_tokens"] is not None
    return not is_whole or (row["outcome"] == "error" and not row["error_message"])


def _find_events(
    reader: Reader, rows: Sequence[Row], payloads: Mapping[str, Row]
) -> dict[str, list[CallEvent]]:
    """Read the events of the runs that lack something, by run ID."""
    lacking = [
        run_id_of(row) for row in rows if _lacks_content(row, payloads.get(run_id_of(row), {}))
    ]
    return find_call_events(reader, rows[0]["project"], lacking)


@dataclass(frozen=True, slots=True)
class _Details:
    """Details of some runs, by run ID; metrics by the owners that they were logged for."""

    late: Mapping[str, LateFacts]
    payloads: Mapping[str, Row]
    events: Mapping[str, Sequence[CallEvent]]
    lines: Mapping[str, Sequence[Row]]
    artifacts: Mapping[str, Sequence[LinkedArtifact]]
    links: Mapping[str, Links]
    series: Mapping[tuple[str, ...], list[LoggedMetric]]


def _make_runs(
    reader: Reader, rows: Sequence[Row], most: int = MOST_POINTS
) -> list[tuple[Run, Sequence[LoggedMetric]]]:
    """Make the records of some runs of a project, each with the metrics logged under its ID."""
    details = _find_details(reader, rows, most)
    return [(_make_run(row, details), details.series.get((run_id_of(row),), ())) for row in rows]


def _find_details(reader: Reader, rows: Sequence[Row], most: int) -> _Details:
    """Find the details of some runs, with one query per kind, however many runs there are."""
    project, run_ids = rows[0]["project"], [run_id_of(row) for row in rows]
    ended = [_key(row) for row in rows if not is_open(row)]
    paid = reader.ahead(read_payloads, project, ended)
    words = find_late_facts(reader, project, rows)
    owners = {run_id: words[run_id].owners for run_id in run_ids}
    payloads = paid.result() | read_open_payloads(
        reader, project, [run_id_of(row) for row in rows if is_open(row)]
    )
    _fill_payloads(reader, project, rows, payloads)
    kinds = find_record_kinds(reader, project)
    has_series = kinds.metrics or kinds.keyed_metrics
    # What was logged for each run and its keys, and what was logged for the run alone.
    lists = {*map(tuple, owners.values()), *((run_id,) for run_id in run_ids)}
    return _Details(
        words,
        payloads,
        _find_events(reader, rows, payloads) if kinds.lines else {},
        find_lines(reader, project, rows, owners) if kinds.lines else {},
        find_artifacts(reader, project, owners) if kinds.artifacts else {},
        find_links(reader, project, run_ids) if kinds.links else {},
        find_all_series(reader, project, {one: one for one in lists}, most=most)
        if has_series
        else {},
    )


def _fill_payloads(
    reader: Reader, project: str, shown: Sequence[Row], payloads: dict[str, Row]
) -> None:
    """Fill the missing parts of a run's payload from the other records of its call."""
    recorded = {run_id_of(row): others for row in shown if (others := others_of(row))}
    keys = [Key.of(item.start_ns, item.run_id) for row in recorded.values() for item in row]
    others_payloads = read_payloads(reader, project, keys)
    for run_id, others in recorded.items():
        own = payloads.get(run_id, {})
        rows = [
            own,
            *(others_payloads[other.run_id] for other in others if other.run_id in others_payloads),
        ]
        payloads[run_id] = own | {
            name: next((text for row in rows if (text := row.get(name))), "")
            for name in INHERITED_PAYLOAD
        }
        all_attributes = [load_json(row.get("attributes", ""), {}) for row in rows]
        responses = (
            _find_response(attributes, load_json(row.get("outputs", "")))
            for attributes, row in zip(all_attributes, rows, strict=True)
        )
        payloads[run_id] |= {
            "reasons": next(filter(None, map(_find_reasons, all_attributes)), ""),
            "response": next(filter(None, responses), ""),
        }


def _find_reasons(attributes: Mapping[str, Any]) -> str:
    """Return why the model stopped, as in the field `finish_reason`; empty if unknown."""
    reasons: list[object] = []
    for name in REASONS:
        document = parse(attributes.get(name))
        reasons += (
            document
            if isinstance(document, list)
            else [document]
            if isinstance(document, str)
            else []
        )
    return ", ".join(dict.fromkeys(str(item) for item in reasons if item))


def _find_response(attributes: Mapping[str, Any], outputs: object) -> str:
    """Return the provider's response ID; empty if there is none."""
    texts = {name: attributes[name] for name in _RESPONSES if name in attributes}
    ids = (
        find_response_id(read_structured(text)) if _RESPONSES[name] else text
        for name, text in texts.items()
    )
    found = next((item for item in ids if isinstance(item, str) and item), "")
    return found if found or outputs is None else find_response_id(outputs)


def _make_run(row: Row, details: _Details) -> Run:
    """Make the record of a run."""
    run_id = run_id_of(row)
    words, payload = details.late[run_id], details.payloads.get(run_id, {})
    summary = make_summary(row, words.version, words.keys)
    attributes = load_json(payload.get("attributes", ""), {})
    content = _make_content(row, payload, details.events.get(run_id, ()), summary.tokens)
    links = details.links.get(run_id, Links())
    series = details.series.get(tuple(details.late[run_id].owners), ())
    lines = [*load_json(payload.get("logs", ""), []), *details.lines.get(run_id, ())]
    events = load_json(payload.get("events", ""), [])
    shown = {name: getattr(summary, name) for name in _SUMMARY_FIELDS if name not in content}
    shown |= _describe_stream(row, summary, content["tokens"], attributes, events)
    return Run(
        **shown,
        **content,
        finish_reason=payload.get("reasons") or _find_reasons(attributes),
        response_id=payload.get("response")
        or _find_response(attributes, content["outputs"] if row["kind"] in CALLS else None),
        chunks=_take_chunks(attributes),
        params=load_json(payload.get("params", "")),
        trace_keys=list(words.keys),
        capture=_take_capture(attributes),
        metrics=values_of(series),
        metric_points=counts_of(series),
        metric_sources=sources_of(series),
        evaluations=list(words.evaluations),
        tag_details=_tag_details(row, payload, words),
        logs=make_lines(lines, row["start_ns"]),
        artifacts=list(details.artifacts.get(run_id, ())),
        uses=list(links.uses),
        produced=list(links.produced),
        used_by=list(links.used_by),
        events=events,
        links=load_json(payload.get("links", ""), []),
        attributes=attributes,
        otlp=otlp if isinstance(otlp := attributes.pop(OTLP, {}), dict) else {},
        resource=load_json(payload.get("resource", ""), {}),
        scope=load_json(payload.get("scope", ""), {}),
        dialect=row["dialect"],
    )


def _describe_stream(
    row: Row,
    summary: RunSummary,
    tokens: Tokens,
    attributes: Mapping[str, Any],
    events: Sequence[Mapping[str, Any]],
) -> dict[str, float | int | None]:
    """Return time to first token, number of chunks and tokens per second of an answer.

    Older stores have the first two only among the attributes and events.
    """
    times = [(event["name"], event["time_ns"]) for event in events]
    first_ms, chunks = summary.first_token_ms, summary.stream_chunks
    if first_ms is None:
        end_ns = 0 if is_open(row) else row["start_ns"] + row["latency_ns"]
        first_ms = find_first_token_ms(attributes, times, row["start_ns"], end_ns)
    if chunks is None:
        chunks = find_stream_chunks(attributes, times)
    latency_ns = None if is_open(row) else row["latency_ns"]
    return {
        "first_token_ms": first_ms,
        "stream_chunks": chunks,
        "tokens_per_second": tokens_per_second(tokens.output, latency_ns, first_ms),
    }


def _take_chunks(attributes: dict[str, Any]) -> object:
    """Take the chunks of a streamed output out of the attributes, if they are a list."""
    chunks = parse(attributes.get(names.OUTPUTS_CHUNKS))
    if not isinstance(chunks, list):
        return None
    del attributes[names.OUTPUTS_CHUNKS]
    return chunks


def _take_capture(attributes: dict[str, Any]) -> dict[str, list[str]]:
    """Take the omitted parts of the payload out of the attributes, with the reasons.

    Anything else under that name stays in the attributes.
    """
    document = parse(attributes.get(names.CAPTURE))
    if not isinstance(document, dict):
        return {}
    whies = {part: [why] if isinstance(why, str) else why for part, why in document.items()}
    if not all(_is_texts(why) for why in whies.values()):
        return {}
    del attributes[names.CAPTURE]
    return whies


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _tag_details(row: Row, payload: Row, words: LateFacts) -> list[TagDetail]:
    details = load_json(payload.get("tag_details", ""), {})
    own = {
        name: {"name": name, "value": value, **details.get(name, {"type": "", "group": ""})}
        for name, value in row["tags"].items()
    }
    tags = [
        TagDetail(
            name=tag["name"],
            value=load_json(tag["value"]),
            type=tag["type"],
            group=tag["group"],
        )
        for tag in (own | dict(words.tags)).values()
    ]
    return sorted(tags, key=lambda tag: (tag.group, tag.name))
