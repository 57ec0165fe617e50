"""Queries for runs and traces.

If a span was delivered twice, the store may have two rows. Lists use the row with the higher rank.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from struct import pack, unpack
from typing import Any, Final

from otel_ml.records import TOKENS
from otel_ml_collector.owners import TRACE_KEY_CHARS
from otel_ml_collector.store.amounts import RunAmounts
from otel_ml_collector.store.counted import DELIVERIES, IS_REPEAT, ONCE, RECORDED, repeats
from otel_ml_collector.store.reader import (
    ID8,
    ID16,
    IDS,
    READABLE,
    Reader,
    Row,
    run_id_of,
    winners,
)
from otel_ml_collector.store.record_kinds import find_record_kinds
from otel_ml_collector.store.scores import BY_JUDGE, all_scores, newest_scores
from otel_ml_collector.store.sql import EMPTY, Condition, Sql, identifier, join_sql
from otel_ml_collector.store.tables import (
    ALONE,
    FROM_RECORDS,
    FROM_RUNS,
    OF_PAYLOADS,
    OWN,
    PAYLOAD,
)
from otel_ml_collector.windows import Window

# Settings for selective filters. At 10 M rows, reading in key order takes 134 ms instead of 31 ms.
# Statistics of the parts let the engine choose which condition to test first: a search for a word
# takes 10 % less.
FILTERED: Final = {
    "optimize_read_in_order": 0,
    "use_top_k_dynamic_filtering": 0,
    "use_statistics": 1,
}
# Settings for queries by key. PREWHERE already names what to read first. The search for a better
# plan takes 10 % of the time and finds none.
BY_KEY: Final = {"query_plan_enable_optimizations": 0}
# Metrics and scores are partitioned by arrival, so a repeated one may be in two partitions.
ACROSS_PARTITIONS: Final = {"do_not_merge_across_partitions_select_final": 0}

_NO_TRACE: Final = "0" * 32
# From this limit on, a trace usually fits completely. Then its rows are sorted here, not by the
# engine.
_ORDERED_WHOLE: Final = 1_000
_MOST_PLACES: Final = 100
_KEYED: Final = 2 * _MOST_PLACES
_FIRST_KEYED: Final = Sql(" LIMIT {most}").fill(most=_KEYED)

KEY: Final = Sql("start_ns, {ids}, rank").fill(ids=IDS)
# For few rows. IDs are compared as text: a subquery that converts them takes longer to plan.
OF_SPANS: Final = Sql("lower(hex(span_id)) IN {spans:Array(String)}")
_OF_TRACES: Final = Sql("""FROM trace_index
  WHERE project = {project:String} AND key IN {traces:Array(String)}""")
# Conditions on the runs in a `Place` (`OF_TRACE`), and on runs that may have one of some keys
# (`OF_KEYS`, with `key_parameters`).
OF_TRACE: Final = Sql("""project = {project:String} AND start_ns >= {start:Int64}
  AND start_ns <= {end:Int64} AND trace_id = {id16}""").fill(id16=ID16)
IS_TOP: Final = Sql("parent_span_id = toFixedString('', 8) AND kind != 'judge'")
_FIRST_CALLS: Final = Sql("""
    SELECT trace_id, min((start_ns, span_id)) AS first FROM (
      SELECT trace_id, start_ns, span_id FROM {deliveries}
      WHERE {ended} AND kind NOT IN ('span', 'judge') AND NOT {repeats}
      UNION ALL
      SELECT trace_id, start_ns, span_id FROM open_runs
      WHERE {opened} AND kind NOT IN ('span', 'judge')
    ) GROUP BY trace_id""")
OF_KEYS: Final = Sql("""project = {project:String} AND start_ns IN {starts:Array(Int64)}
  AND {of_spans}""").fill(of_spans=OF_SPANS)


# Condition on the runs of some traces in one project.
OF_TRACES: Final = Sql("""project = {project:String}
  AND start_ns >= (SELECT minOrNull(start_ns) {of}) AND start_ns <= (SELECT maxOrNull(end_ns) {of})
  AND lower(hex(trace_id)) IN {traces:Array(String)}""").fill(of=_OF_TRACES)
_OPEN_OF_TRACES: Final = Sql(
    "project = {project:String} AND lower(hex(trace_id)) IN {traces:Array(String)}"
)


@dataclass(frozen=True, slots=True)
class Key:
    """Sort key of a run in lists. `rank` distinguishes stored rows of the same run.

    Attributes:
        value: Value by which the list is ordered, if it is not ordered by time.
    """

    start_ns: int
    trace_id: str
    span_id: str
    rank: int = 0
    value: float = 0.0

    @classmethod
    def of(cls, start_ns: int, run_id: str) -> "Key":
        """Make the key of a run from its ID."""
        trace_id, _, span_id = run_id.partition("-")
        return cls(start_ns, trace_id, span_id)

    @property
    def run_id(self) -> str:
        """``<32 hex>-<16 hex>``."""
        return f"{self.trace_id}-{self.span_id}"


@dataclass(frozen=True, slots=True)
class Place:
    """A trace of a project, and the period that contains all of its runs, both ends inclusive."""

    project: str
    trace_id: str
    start_ns: int
    end_ns: int

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters of `OF_TRACE`."""
        return {
            "project": self.project,
            "start": self.start_ns,
            "end": self.end_ns,
            "trace": self.trace_id,
        }


def write_nothing(preview: Sql) -> Sql:
    """Write the condition that a preview of inputs or outputs is empty or shows None."""
    return Sql("""{preview} IN ('', 'null', '""', '[]', '{}')""").fill(preview=preview)


@dataclass(frozen=True, slots=True)
class Ordering:
    """Sorts a list of runs by a number, highest first. With equal numbers, the newer run is first.

    Attributes:
        name: Name of the order, such as ``slowest``.
        value: SQL expression for the number, such as ``toFloat64(latency_ns)``. Runs for which it
            is NULL or not finite are left out.
        join: SQL of the joins with other tables that `value` reads; empty if it reads only `runs`.
        parameters: Query parameters of `value` and `join`. Both also use `start` and `end`, the
            window of the query.
    """

    name: str
    value: Sql
    join: Sql = EMPTY
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Listing:
    """The runs that a list contains, and their order.

    Attributes:
        condition: A condition on the columns of `runs`.
        is_filtered: Whether the condition leaves out most runs.
        after: Last run of the previous page. If None, the list begins with its first page.
        newest_first: Whether the list begins with the run that started last.
        columns: Columns to read for each ended run.
        ordering: Sorts the list by a number, such as cost. Runs with equal numbers are sorted by
            time. If None, all runs are sorted by time.
    """

    project: str
    condition: Condition
    is_filtered: bool
    after: Key | None
    newest_first: bool
    columns: Sql | None = None
    ordering: Ordering | None = None

    @property
    def direction(self) -> Sql:
        """The direction in which starts, and then IDs, are ordered."""
        return Sql("DESC") if self.newest_first else Sql("ASC")

    @property
    def seek(self) -> Sql:
        """The condition on runs that come after the last run of the previous page."""
        if self.after is None:
            return Sql("1")
        if self.ordering is not None:
            return Sql("""({value}, start_ns, trace_id, span_id)
              < (reinterpretAsFloat64({after_value:Int64}), {after:Int64}, {id16}, {id8})""").fill(
                value=self.ordering.value, id16=ID16, id8=ID8
            )
        return Sql("(start_ns, trace_id, span_id) {sign} ({after:Int64}, {id16}, {id8})").fill(
            sign=Sql("<") if self.newest_first else Sql(">"), id16=ID16, id8=ID8
        )

    @property
    def join(self) -> Sql:
        """The join that the ordering needs."""
        return EMPTY if self.ordering is None else self.ordering.join

    @property
    def is_valued(self) -> Sql:
        """The condition on runs that have a value in this ordering."""
        if self.ordering is None:
            return Sql("1")
        return Sql("ifNull(isFinite({value}), 0)").fill(value=self.ordering.value)

    def parameters(self, window: Window) -> dict[str, Any]:
        """Return the parameters of `seek`, the project, a window and the condition."""
        parameters = {
            "project": self.project,
            "start": window.start_ns,
            "end": window.end_ns,
            **self.condition.parameters,
        }
        if self.ordering is not None:
            parameters |= self.ordering.parameters
        if self.after is not None:
            parameters |= {
                "after": self.after.start_ns,
                "trace": self.after.trace_id,
                "span": self.after.span_id,
            }
        if self.after is not None and self.ordering is not None:
            # Sent as an integer with the same bits: decimal text could change the last digit.
            [parameters["after_value"]] = unpack("<q", pack("<d", self.after.value))
        return parameters


def list_keys(reader: Reader, listing: Listing, window: Window, limit: int) -> list[Key]:
    """List the keys (start, IDs, rank) of the matching runs of a window, in the order of the list.

    If a sender repeated a run, the run has one key for each copy. The copy with the highest `rank`
    is valid. Among copies with the same start, its key comes first.

    Args:
        reader: The store.
        listing: The condition on the runs, and their order.
        window: Period in which the runs started.
        limit: Maximum number of keys.
    """
    value = first = EMPTY
    if listing.ordering is not None:
        value = Sql(", {value} AS value").fill(value=listing.ordering.value)
        first = Sql("value DESC,")
    sql = Sql("""
        SELECT {key} {value} FROM {deliveries} {join}
        WHERE project = {project:String}
          AND start_ns >= {start:Int64} AND start_ns < {end:Int64}
          AND {is_valued} AND {seek} AND ({condition})
        ORDER BY {first} start_ns {direction}, runs.trace_id {direction}, runs.span_id {direction},
          rank DESC
        LIMIT {limit:UInt32}""").fill(
        deliveries=DELIVERIES,
        key=KEY,
        value=value,
        join=listing.join,
        first=first,
        is_valued=listing.is_valued,
        seek=listing.seek,
        condition=listing.condition.sql,
        direction=listing.direction,
    )
    settings = FILTERED if listing.is_filtered or listing.ordering is not None else {}
    parameters = {**listing.parameters(window), "limit": limit}
    return [Key(**row) for row in reader.rows(sql, parameters, settings)]


def key_parameters(project: str, keys: Sequence[Key]) -> dict[str, Any]:
    """Return the parameters of `OF_KEYS`."""
    return {
        "project": project,
        "starts": sorted({key.start_ns for key in keys}),
        "spans": sorted({key.span_id for key in keys}),
    }


@dataclass(frozen=True, slots=True)
class _Shown:
    """How to read what lists show of the runs of a project, with as few columns as possible.

    Attributes:
        rows: The rows of `runs`. If other runs change some values, only those that count: of two
            rows with equal rank, the engine knows which is newer.
    """

    columns: Sql
    rows: Sql

    @staticmethod
    def of(reader: Reader, project: str) -> "_Shown":
        kinds = find_record_kinds(reader, project)
        columns = [OWN]
        if kinds.scores or kinds.tags or kinds.keyed_runs:
            columns.append(FROM_RECORDS)
        if kinds.resolved:
            columns.append(FROM_RUNS)
        return _Shown(join_sql(", ", columns), RECORDED if kinds.resolved else DELIVERIES)


def _complete(rows: Iterable[Row]) -> list[Row]:
    return [{**ALONE, **row} for row in rows]


def read_runs(
    reader: Reader, project: str, keys: Sequence[Key], columns: Sql | None = None
) -> list[Row]:
    """Read columns of the stored rows of some runs; by default, those that lists show."""
    shown = _Shown.of(reader, project)
    sql = Sql("SELECT {columns} FROM {rows} PREWHERE {these}").fill(
        rows=shown.rows, columns=columns or shown.columns, these=OF_KEYS
    )
    rows = reader.rows(sql, key_parameters(project, keys), BY_KEY)
    return rows if columns else _complete(rows)


def read_trace(
    reader: Reader, place: Place, after: Key | None, parent_span_id: str | None, limit: int
) -> list[Row]:
    """Read the rows of a trace without payloads, oldest first.

    A run can have several rows. If the limit is reached, each run has only the row that counts.

    Args:
        reader: The store.
        place: The trace, and the period of its runs.
        after: Read only runs that come later than this one, by start and then by ID. A page can
            show several traces, so this run may belong to a different trace.
        parent_span_id: Only children of this run; None for all.
        limit: Maximum number of rows.
    """
    parameters = {**place.parameters, "limit": limit}
    wanted = OF_TRACE
    if after is not None:
        wanted += Sql(""" AND (start_ns, trace_id, span_id) > ({after:Int64},
          toFixedString(unhex({after_trace:String}), 16),
          toFixedString(unhex({after_span:String}), 8))""")
        parameters["start"] = max(place.start_ns, after.start_ns)
        parameters |= {
            "after": after.start_ns,
            "after_trace": after.trace_id,
            "after_span": after.span_id,
        }
    if parent_span_id is not None:
        wanted += Sql(" AND parent_span_id = toFixedString(unhex({parent:String}), 8)")
        parameters["parent"] = parent_span_id
    shown = _Shown.of(reader, place.project)
    flat = Sql("SELECT {light} FROM {rows} PREWHERE {wanted}").fill(
        rows=shown.rows, light=shown.columns, wanted=wanted
    )
    last = Sql(" LIMIT {limit:UInt32}")
    order = Sql(" ORDER BY start_ns, runs.span_id, rank DESC ") + ONCE
    if limit >= _ORDERED_WHOLE:
        rows = reader.rows(flat + last, parameters, BY_KEY)
        if len(rows) < limit:
            return sorted(_complete(rows), key=itemgetter("start_ns", "span_id"))
    return _complete(reader.rows(flat + order + last, parameters))


def read_whole_traces(
    reader: Reader, project: str, places: Sequence[Place], limit: int
) -> list[Row]:
    """Read the spans of several traces of a project, without payloads.

    Args:
        reader: The store.
        project: The project.
        places: The traces, and the periods of their runs.
        limit: Maximum number of rows.

    Returns:
        A row for each span, in the order of `places`, and within a trace oldest first. Two spans
        with the same ID but different start times have two rows. In addition to the columns that
        lists show, rows have `process`, which sent the span, and `seq`, the number that this
        process gave to the span.
    """
    sql = Sql("""
        SELECT * FROM (
          SELECT {light}, toString(process) AS process, seq FROM {recorded}
          WHERE project = {project:String} AND start_ns >= {start:Int64} AND start_ns <= {end:Int64}
            AND lower(hex(trace_id)) IN {traces:Array(String)})
        ORDER BY indexOf({traces:Array(String)}, trace_id), start_ns, span_id LIMIT {limit:UInt32}
        """).fill(recorded=RECORDED, light=OWN)
    parameters = {
        "project": project,
        "start": min(place.start_ns for place in places),
        "end": max(place.end_ns for place in places),
        "traces": [place.trace_id for place in places],
        "limit": limit,
    }
    return reader.rows(sql, parameters)


def read_ended(reader: Reader, place: Place, span_ids: Sequence[str]) -> list[Row]:
    """Return the span IDs of those runs of a trace that have ended."""
    sql = Sql("""
        SELECT DISTINCT lower(hex(span_id)) AS span_id FROM {deliveries}
        WHERE {ours} AND {of_spans}
        """).fill(deliveries=DELIVERIES, ours=OF_TRACE, of_spans=OF_SPANS)
    return reader.rows(sql, {**place.parameters, "spans": list(span_ids)})


def read_spans(reader: Reader, places: Sequence[Place], span_ids: Sequence[str]) -> list[Row]:
    """Read the rows of some spans, without payloads."""
    shown = _Shown.of(reader, places[0].project)
    sql = Sql("""
        SELECT {light} FROM {rows}
        PREWHERE project = {project:String} AND start_ns >= {start:Int64}
          AND start_ns <= {end:Int64} AND lower(hex(trace_id)) IN {traces:Array(String)}
          AND {of_spans}
        """).fill(rows=shown.rows, light=shown.columns, of_spans=OF_SPANS)
    parameters = {
        "project": places[0].project,
        "start": min(place.start_ns for place in places),
        "end": max(place.end_ns for place in places),
        "traces": [place.trace_id for place in places],
        "spans": list(span_ids),
    }
    return _complete(reader.rows(sql, parameters, BY_KEY))


def read_parents(reader: Reader, project: str, run_ids: Sequence[str]) -> list[Row]:
    """Read the kind and parent of runs, including open runs.

    If several runs record the same call, only one of them counts for totals. All others get the
    kind ``span`` here, as if they were plain spans.
    """
    sql = Sql("""
        SELECT DISTINCT {ids}, lower(hex(parent_span_id)) AS parent_span_id,
          if({repeats}, 'span', toString(kind)) AS kind
        FROM {deliveries}
        WHERE {ours} AND {of_spans}
        UNION ALL
        SELECT DISTINCT {ids}, lower(hex(parent_span_id)) AS parent_span_id,
          toString(kind) AS kind
        FROM open_runs WHERE project = {project:String}
          AND lower(hex(trace_id)) IN {traces:Array(String)} AND {of_spans}
        """).fill(
        deliveries=DELIVERIES,
        ids=IDS,
        ours=OF_TRACES,
        of_spans=OF_SPANS,
        repeats=repeats(OF_TRACES),
    )
    ids = [run_id.partition("-") for run_id in run_ids]
    parameters = {
        "project": project,
        "traces": sorted({trace_id for trace_id, _, _ in ids}),
        "spans": sorted({span_id for _, _, span_id in ids}),
    }
    return reader.rows(sql, parameters)


def find_topped(reader: Reader, project: str, traces: Collection[str]) -> set[str]:
    """Return those of the traces that have a span without a parent, ended or open."""
    sql = Sql("""
        SELECT DISTINCT lower(hex(trace_id)) AS trace_id FROM {deliveries}
        WHERE {ours} AND {top} AND NOT {repeats}
        UNION DISTINCT
        SELECT DISTINCT lower(hex(trace_id)) AS trace_id FROM open_runs
        WHERE {opened} AND {top}
        """).fill(
        deliveries=DELIVERIES,
        ours=OF_TRACES,
        opened=_OPEN_OF_TRACES,
        top=IS_TOP,
        repeats=repeats(OF_TRACES),
    )
    parameters = {"project": project, "traces": sorted(traces)}
    return {row["trace_id"] for row in reader.rows(sql, parameters)} if traces else set()


def first_calls(ended: Sql, opened: Sql) -> Sql:
    """Write the query for the first call of each trace, ended or open.

    It represents a trace whose top span has not arrived. Calls that repeat another one are left
    out, and so are plain spans.

    Args:
        ended: A condition on the ended runs of the traces, on project, trace and start time only.
        opened: The same condition for the open runs.

    Returns:
        SQL for rows with `trace_id` and `first`, a tuple of start time and span ID.
    """
    return _FIRST_CALLS.fill(
        deliveries=DELIVERIES, ended=ended, opened=opened, repeats=repeats(ended)
    )


def find_first_calls(reader: Reader, project: str, traces: Collection[str]) -> set[str]:
    """Return the run IDs of the first calls of some traces, one for each trace."""
    sql = Sql("""
        SELECT concat(lower(hex(trace_id)), '-', lower(hex(first.2))) AS run_id
        FROM ({calls})""").fill(calls=first_calls(OF_TRACES, _OPEN_OF_TRACES))
    parameters = {"project": project, "traces": sorted(traces)}
    return {row["run_id"] for row in reader.rows(sql, parameters)} if traces else set()


def read_payloads(reader: Reader, project: str, keys: Sequence[Key]) -> dict[str, Row]:
    """Read the payloads of some runs, by run ID. Expired payloads are left out."""
    sql = Sql("SELECT {ids}, rank, {of_payloads} FROM payloads PREWHERE {these}").fill(
        ids=IDS, of_payloads=OF_PAYLOADS, these=OF_KEYS
    )
    rows = reader.rows(sql, key_parameters(project, keys), BY_KEY) if keys else []
    return {run_id_of(row): row for row in winners(rows)}


def measure_payloads(reader: Reader, project: str, keys: Sequence[Key]) -> Counter[str]:
    """Return the number of bytes of the payloads of runs, by run ID."""
    sql = Sql("SELECT {ids}, {size} AS size FROM payloads WHERE {these}").fill(
        ids=IDS,
        size=join_sql(
            " + ", [Sql("length({n})").fill(n=identifier(name, PAYLOAD)) for name in PAYLOAD]
        ),
        these=OF_KEYS,
    )
    sizes: Counter[str] = Counter()
    for row in reader.rows(sql, key_parameters(project, keys)) if keys else ():
        sizes[run_id_of(row)] += row["size"]
    return sizes


@dataclass(frozen=True, slots=True)
class KeyedTraces:
    """The traces with a given trace ID or trace key. A trace key is a text that a user set.

    Attributes:
        places: The traces, each with the period of its runs, earliest start first.
        annotated: Projects in which records, such as scores, were sent for the trace key instead of
            a run.
    """

    places: Sequence[Place]
    annotated: Sequence[str]


def find_places(reader: Reader, key: str) -> Sequence[Place]:
    """Find traces by trace ID (hex) or trace key: each with its period, at most 100."""
    return find_key(reader, key).places


def find_all_places(reader: Reader, trace_ids: Sequence[str]) -> dict[str, Sequence[Place]]:
    """Find several traces as `find_places` does, with one query. Leave out missing traces."""
    sql = Sql("""
        SELECT key, project, lower(hex(trace_id)) AS trace_id, min(start_ns) AS start_ns,
          max(end_ns) AS end_ns
        FROM trace_index WHERE key IN {keys:Array(String)} AND {readable}
        GROUP BY key, project, trace_id ORDER BY min(start_ns), project LIMIT {most} BY key
        """).fill(readable=READABLE, most=_MOST_PLACES)
    places: dict[str, Sequence[Place]] = {}
    keyed = set()
    for row in reader.rows(sql, {"keys": [*trace_ids]}):
        key = row.pop("key")
        places[key] = [*places.get(key, ()), Place(**row)]
        if row["trace_id"] != key:  # a user's trace key that looks like an ID
            keyed.add(key)
    return places | {key: find_places(reader, key) for key in keyed}


def read_state(reader: Reader, place: Place) -> Row:
    """Read numbers that change whenever the stored rows of a trace change: `rows` and `state`."""
    sql = Sql("""
        SELECT count() AS rows, sum(state) AS state FROM (
          SELECT cityHash64(0, span_id, start_ns, rank, arrived_ns) AS state
          FROM {deliveries} WHERE {ours}
          UNION ALL
          SELECT cityHash64(1, span_id, start_ns, rank) FROM settled WHERE {ours}
          UNION ALL
          SELECT cityHash64(2, span_id, start_ns, rank) FROM open_runs WHERE {ours})
        """).fill(deliveries=DELIVERIES, ours=OF_TRACE)
    return reader.rows(sql, place.parameters)[0]


def find_key(reader: Reader, key: str) -> KeyedTraces:
    """Find the traces with a trace ID or trace key, and projects with records about that key.

    At most 100 traces and 100 projects are returned.
    """
    key = key[:TRACE_KEY_CHARS]
    asked = Sql("FROM trace_index PREWHERE key = {key:String} WHERE {readable}").fill(
        readable=READABLE
    )
    # Most keys have few rows, so they are grouped here. Grouping in the engine doubles the time.
    flat = Sql("SELECT project, lower(hex(trace_id)) AS trace_id, start_ns, end_ns {asked}")
    rows = reader.rows(flat.fill(asked=asked) + _FIRST_KEYED, {"key": key}, BY_KEY)
    if len(rows) == _KEYED:
        grouped = Sql("""
            SELECT project, lower(hex(trace_id)) AS trace_id, min(start_ns) AS start_ns,
              max(end_ns) AS end_ns {asked}
            GROUP BY project, trace_id ORDER BY trace_index.trace_id, project""")
        rows = reader.rows(grouped.fill(asked=asked) + _FIRST_KEYED, {"key": key})
    entries: dict[tuple[str, str], Place] = {}
    for row in sorted(rows, key=itemgetter("trace_id", "project")):
        single = Place(**row)
        before = entries.get((single.project, single.trace_id), single)
        bounds = min(single.start_ns, before.start_ns), max(single.end_ns, before.end_ns)
        entries[single.project, single.trace_id] = Place(single.project, single.trace_id, *bounds)
    projects = [place.project for place in entries.values() if place.trace_id == _NO_TRACE]
    places = [*entries.values()][len(projects) :]
    if len(entries) == _KEYED or any(place.trace_id != key for place in places):
        places = _find_keyed(reader, key)  # rows of a trace key may lack runs of its traces
    places.sort(key=lambda place: place.start_ns)
    return KeyedTraces(places[:_MOST_PLACES], projects[:_MOST_PLACES])


def _find_keyed(reader: Reader, key: str) -> list[Place]:
    """Find the first traces with a trace key, each with the period of its runs."""
    sql = Sql("""
        SELECT project, lower(hex(trace_id)) AS trace_id, min(start_ns) AS start_ns,
          max(end_ns) AS end_ns
        FROM trace_index
        WHERE key IN (SELECT lower(hex(trace_id)) FROM trace_index WHERE key = {key:String})
          AND (project, trace_id) IN (
            SELECT project, trace_id FROM trace_index WHERE key = {key:String})
          AND trace_id != toFixedString('', 16) AND {readable}
        GROUP BY project, trace_id ORDER BY min(start_ns) LIMIT {most}
        """).fill(readable=READABLE, most=_MOST_PLACES)
    return [Place(**row) for row in reader.rows(sql, {"key": key})]


def find_hidden(reader: Reader, run_ids: Sequence[str]) -> list[str]:
    """Return the IDs of the runs that are in projects that the caller may not read."""
    if not run_ids:
        return []
    traces = Sql("FROM trace_index WHERE key IN {traces:Array(String)}")
    sql = Sql("""
        SELECT DISTINCT concat(lower(hex(trace_id)), '-', lower(hex(span_id))) AS run_id
        FROM {deliveries} WHERE NOT {readable} AND project IN (SELECT project {traces})
          AND start_ns >= (SELECT minOrNull(start_ns) {traces})
          AND start_ns <= (SELECT maxOrNull(end_ns) {traces})
          AND run_id IN {run_ids:Array(String)}
        ORDER BY run_id
        """).fill(deliveries=DELIVERIES, readable=READABLE, traces=traces)
    parameters = {
        "run_ids": list(run_ids),
        "traces": sorted({run_id.partition("-")[0] for run_id in run_ids}),
    }
    return [row["run_id"] for row in reader.rows(sql, parameters)]


def find_experiment_traces(reader: Reader, project: str, traces: Iterable[bytes]) -> set[bytes]:
    """Return those of the traces with runs on items of data sets."""
    sql = Sql("""
        SELECT DISTINCT lower(hex(named.trace_id)) AS trace FROM (
          SELECT trace_id FROM {deliveries} WHERE {ours}
          UNION ALL SELECT trace_id FROM open_runs WHERE {ours}
          UNION ALL SELECT trace_id FROM settled WHERE {ours}) AS named""").fill(
        deliveries=DELIVERIES, ours=OF_TRACES + Sql(" AND experiment != ''")
    )
    asked = {"project": project, "traces": [trace_id.hex() for trace_id in traces]}
    return {bytes.fromhex(row["trace"]) for row in reader.rows(sql, asked)}


def read_words(reader: Reader, project: str, traces: Sequence[str], limit: int) -> list[Row]:
    """Read the previews of inputs and outputs of ended runs, oldest first.

    A preview is the short text that lists show.

    Args:
        reader: The store.
        project: The project.
        traces: IDs of the traces of the runs.
        limit: Maximum number of runs.

    Returns:
        Rows with IDs, `asked` (of the inputs) and `answered` (of the outputs). Runs that have
        neither are left out.
    """
    sql = Sql("""
        SELECT {ids}, inputs_preview AS asked, outputs_preview AS answered FROM {deliveries}
        WHERE {of_traces} AND (inputs_preview != '' OR outputs_preview != '')
        ORDER BY start_ns, rank DESC LIMIT 1 BY runs.trace_id, runs.span_id
        LIMIT {limit:UInt32}""").fill(ids=IDS, deliveries=DELIVERIES, of_traces=OF_TRACES)
    return reader.rows(sql, {"project": project, "traces": list(traces), "limit": limit})


def read_params(reader: Reader, project: str, keys: Sequence[Key]) -> dict[str, str]:
    """Read the declared parameters of runs as JSON text, by run ID."""
    sql = Sql("SELECT {ids}, rank, params FROM payloads PREWHERE {these}").fill(
        ids=IDS, these=OF_KEYS
    )
    rows = reader.rows(sql, key_parameters(project, keys), BY_KEY) if keys else []
    return {run_id_of(row): row["params"] for row in winners(rows)}


def read_last_scores(
    reader: Reader, project: str, traces: Sequence[str], limit: int, *, has_keyed: bool
) -> list[Row]:
    """Read the newest score of each judge for the runs of some traces, lowest first.

    If a judge raised an error for a run, the run has no score from this judge. Some judges give no
    number, only pass or fail. Their results come after all numbers, and fails come before passes.

    Args:
        reader: The store.
        project: The project.
        traces: IDs of the traces.
        limit: Maximum number of rows.
        has_keyed: Whether to include scores that were sent for a trace key (a text that a user gave
            to a trace) or for a tag, instead of a run.

    Returns:
        Rows with IDs, `judge`, `score` and `passed`.
    """
    of_traces = Sql("lower(hex(trace_id)) IN {traces:Array(String)}")
    near = Sql("""(start_ns = 0 OR (start_ns >= (SELECT minOrNull(start_ns) {of})
      AND start_ns <= (SELECT maxOrNull(end_ns) {of}))) AND {of_traces}""").fill(
        of=_OF_TRACES, of_traces=of_traces
    )
    newest = newest_scores(all_scores(near, has_keyed=has_keyed), by=BY_JUDGE)
    sql = Sql("""
        SELECT {ids}, toString(judge) AS judge, if(isFinite(score), score, NULL) AS score, passed
        FROM ({newest}) WHERE NOT failed AND (isNotNull(score) OR isNotNull(passed))
        ORDER BY score NULLS LAST, passed NULLS LAST, trace_id, span_id
        LIMIT {limit:UInt32}""").fill(ids=IDS, newest=newest)
    return reader.rows(sql, {"project": project, "traces": list(traces), "limit": limit})


def outlines(ids: Sql, condition: Sql, more: Sql = EMPTY) -> Sql:
    """Write the query for names, times, tokens and costs of ended runs, each run once.

    Args:
        ids: Columns that identify a run.
        condition: The condition on the runs.
        more: More columns of the runs, each after a comma.

    Returns:
        SQL that needs the parameters of the condition, and `limit`, the maximum number of rows.
    """
    amounts = RunAmounts(is_resolved=True)
    counts = [
        Sql("{counted} AS {name}").fill(counted=amounts.read(name), name=identifier(name, TOKENS))
        for name in TOKENS
    ]
    return Sql("""
        SELECT {ids}, lower(hex(parent_span_id)) AS parent_span_id,
          toString(name) AS name, toString(kind) AS kind, start_ns, start_ns + latency_ns AS end_ns,
            {tokens}, {cost} AS cost, has_amounts, {is_repeat} AS is_repeat,
          provider != '' OR provider_model != '' AS names_provider{more}
        FROM {deliveries} WHERE {ours}
        ORDER BY rank DESC LIMIT 1 BY runs.trace_id, runs.span_id LIMIT {limit:UInt32}
        """).fill(
        deliveries=DELIVERIES,
        ids=ids,
        tokens=join_sql(", ", counts),
        cost=amounts.cost,
        is_repeat=IS_REPEAT,
        ours=condition,
        more=more,
    )
