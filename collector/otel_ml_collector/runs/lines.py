"""Lines of text of a run, with those of the spans below it that are no runs; and of no run."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Final

from otel_ml import records
from otel_ml.records import about
from otel_ml_collector.store.reader import ID16, JsonValue, Reader, Row, load_json, run_id_of
from otel_ml_collector.store.sql import Sql

# Lines are in partitions by arrival: a repeated one may stand in two of them.
_ACROSS_PARTITIONS: Final = {"do_not_merge_across_partitions_select_final": 0}
_LINES: Final = 10_000
_AT_ONCE: Final = 1_000
_EVENTS: Final = 1_000
_SPANS: Final = 100_000  # of a trace


_OF_TRACE: Final = Sql("""project = {project:String} AND owner > concat({trace:String}, '-')
  AND owner < concat({trace:String}, '.')""")
_BELOW: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine(records.LogLine):
    """A line of text of a run."""

    offset_ms: float = field(metadata=about("Time since the run's start"))
    event: str = field(
        default="", metadata=about("What kind of event it is, such as gen_ai.choice")
    )
    attributes: dict[str, JsonValue] = field(
        default_factory=dict, metadata=about("What else a log record says")
    )


@dataclass(frozen=True, slots=True)
class SpanNode:
    """Where a span stands: the run id of its parent, and whether it is a model call itself."""

    parent: str
    is_call: bool


def read_lines(reader: Reader, project: str, owners: Sequence[str]) -> list[Row]:
    """Read the lines of text that were told of some owners, oldest first, at most 10,000."""
    sql = Sql("""
        SELECT owner, time_ns, severity, message, event, attributes, record_id, position
        FROM late_logs FINAL
        WHERE project = {project:String} AND owner IN {owners:Array(String)}
        ORDER BY time_ns, record_id, position LIMIT {lines}
        """).fill(lines=_LINES)
    rows: list[Row] = []
    for place in range(0, len(owners), _AT_ONCE):
        asked = list(owners[place : place + _AT_ONCE])
        rows += reader.rows(sql, {"project": project, "owners": asked}, _ACROSS_PARTITIONS)
    rows.sort(key=lambda row: (row["time_ns"], row["record_id"], row["position"]))
    return rows[:_LINES]


def list_events(reader: Reader, project: str, owner: str, events: Sequence[str]) -> list[Row]:
    """Read the events of some names that were told of an owner, oldest first, at most 1,000."""
    sql = Sql("""
        SELECT time_ns, message, event, attributes FROM late_logs FINAL
        WHERE project = {project:String} AND owner = {owner:String}
          AND event IN {events:Array(String)}
        ORDER BY time_ns, record_id, position LIMIT {events}
        """).fill(events=_EVENTS)
    parameters = {"project": project, "owner": owner, "events": list(events)}
    return reader.rows(sql, parameters, _ACROSS_PARTITIONS)


def list_spans_with_lines(reader: Reader, project: str, trace_id: str) -> list[str]:
    """List the spans of a trace of which lines came apart, by their run ids, at most 100,000."""
    sql = Sql("""
        SELECT DISTINCT owner FROM late_logs WHERE {of_trace} ORDER BY owner LIMIT {spans}
        """).fill(of_trace=_OF_TRACE, spans=_SPANS)
    rows = reader.rows(sql, {"project": project, "trace": trace_id})
    return [row["owner"] for row in rows]


def read_nodes(reader: Reader, project: str, trace_id: str) -> dict[str, SpanNode]:
    """Read where the spans of a trace stand, by their run ids, at most 100,000."""
    times = Sql("FROM trace_index WHERE key = {trace:String} AND project = {project:String}")
    ours = Sql("project = {project:String} AND trace_id = {id16}").fill(id16=ID16)
    sql = Sql("""
        SELECT groupArray((span, above.1, above.2)) AS nodes FROM (
          SELECT lower(hex(span_id)) AS span,
            argMax((lower(hex(parent_span_id)), kind != 'span'), (is_ended, rank)) AS above
          FROM (
            SELECT span_id, parent_span_id, kind, 1 AS is_ended, rank FROM runs
            WHERE {ours} AND start_ns >= (SELECT minOrNull(start_ns) {times})
              AND start_ns <= (SELECT maxOrNull(end_ns) {times})
            UNION ALL
            SELECT span_id, parent_span_id, kind, 0, rank FROM open_runs WHERE {ours})
          GROUP BY span_id LIMIT {spans})
        """).fill(ours=ours, times=times, spans=_SPANS)
    (row,) = reader.rows(sql, {"project": project, "trace": trace_id})
    return {
        f"{trace_id}-{span}": SpanNode(f"{trace_id}-{parent}", bool(is_call))
        for span, parent, is_call in row["nodes"]
    }


def find_calls_above(nodes: Mapping[str, SpanNode], spans: Iterable[str]) -> dict[str, str]:
    """Find the nearest model call at or above some spans; those that have none are left out.

    Spans that are each other's parents have none; neither has one below a span that is not here.
    """
    known: dict[str, str] = {}
    for span in spans:
        path: list[str] = []
        here, found = span, ""
        while here in nodes and here not in known:
            if nodes[here].is_call:
                found = here
                break
            known[here] = ""  # until it is found: whoever comes by again is in a circle
            path.append(here)
            here = nodes[here].parent
        found = found or known.get(here, "")
        known.update(dict.fromkeys(path, found))
        known[span] = found
    return {span: known[span] for span in spans if known[span]}


def make_lines(rows: Iterable[Row], start_ns: int) -> list[LogLine]:
    """Make lines of text, oldest first, with their time since a start."""
    return [
        LogLine(
            time_ns=row["time_ns"],
            offset_ms=(row["time_ns"] - start_ns) / 1e6,
            severity=row["severity"],
            message=row["message"],
            event=row.get("event", ""),
            attributes=load_json(row.get("attributes", ""), {}),
        )
        for row in sorted(rows, key=itemgetter("time_ns"))
    ]


def find_lines(reader: Reader, row: Row, owners: Sequence[str]) -> list[Row]:
    """Find the lines that came apart from a run: its own, and those of spans below it.

    Args:
        reader: The store.
        row: The run's light row.
        owners: By what the run was named.
    """
    below = _spans_below(reader, row) if row["kind"] != "span" else []
    return read_lines(reader, row["project"], [*owners, *below])


def find_loose_lines(
    reader: Reader, project: str, trace_id: str, limit: int
) -> dict[str, list[Row]]:
    """Find the lines of spans of a trace that are here, and have no run at or above them.

    Returns:
        Rows of lines by the run ids of their spans, of the first `limit` spans.
    """
    spans = list_spans_with_lines(reader, project, trace_id)
    if not spans:
        return {}
    nodes = read_nodes(reader, project, trace_id)
    here = [span for span in spans if span in nodes]
    calls = find_calls_above(nodes, here)
    loose = [span for span in here if span not in calls][:limit]
    lines: defaultdict[str, list[Row]] = defaultdict(list)
    for line in read_lines(reader, project, loose):
        lines[line["owner"]].append(line)
    return dict(lines)


def _spans_below(reader: Reader, row: Row) -> list[str]:
    """Name the spans with lines whose nearest model call is a run, at most 10,000."""
    project, trace_id, run_id = row["project"], row["trace_id"], run_id_of(row)
    spans = [span for span in list_spans_with_lines(reader, project, trace_id) if span != run_id]
    if not spans:
        return []
    calls = find_calls_above(read_nodes(reader, project, trace_id), spans)
    return [span for span in spans if calls.get(span) == run_id][:_BELOW]
