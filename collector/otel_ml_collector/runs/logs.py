"""What runs logged, as their records show it: lines, metrics and contents of calls.

The lines of plain spans belong to the run around them. Lines of a span without a run around it
belong to no run.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Final

from otel_ml import records
from otel_ml.records import about, about_field
from otel_ml_collector.fold.contents import complete_words
from otel_ml_collector.mapping.dialects.gen_ai_events import (
    CONTENT_EVENTS,
    EXCEPTION,
    CallEvent,
    event_of,
)
from otel_ml_collector.store.counted import DELIVERIES
from otel_ml_collector.store.facts import (
    SPANS_OF_TRACE,
    LoggedMetric,
    MetricValue,
    list_spans_with_lines,
    read_all_lines,
    read_events_of,
    read_lines,
)
from otel_ml_collector.store.reader import (
    ID16,
    JsonValue,
    Reader,
    Row,
    group_rows,
    load_json,
    run_id_of,
)
from otel_ml_collector.store.record_kinds import find_record_kinds
from otel_ml_collector.store.sql import Sql

_CONTENT_EVENTS: Final = (*sorted(CONTENT_EVENTS), EXCEPTION)
_BELOW: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLine(records.LineRecord):
    """A line of text of a run."""

    offset_ms: float = field(metadata=about("Time since the run's start"))
    event: str = about_field("", "What kind of event it is, such as gen_ai.choice")
    attributes: dict[str, JsonValue] = field(
        default_factory=dict, metadata=about("What else a log record says")
    )


@dataclass(frozen=True, slots=True)
class SpanNode:
    """The place of a span in its trace: its parent's run ID, and whether it is no plain span."""

    parent: str
    is_call: bool


def find_call_events(
    reader: Reader, project: str, run_ids: Sequence[str]
) -> dict[str, list[CallEvent]]:
    """Read the contents of calls that arrived as log records, by run ID."""
    events_of = read_events_of(reader, project, run_ids, _CONTENT_EVENTS)
    return {
        run_id: [
            event_of(item["event"], item["time_ns"], item["message"], item["attributes"])
            for item in of_run
        ]
        for run_id, of_run in events_of.items()
    }


def add_contents(reader: Reader, project: str, rows: Sequence[Row]) -> None:
    """Add previews, errors, sessions and users that arrived as log records to the rows of runs."""
    lacking = {run_id_of(row): row for row in rows if row["kind"] != "span" and _lacks_content(row)}
    if not lacking or not find_record_kinds(reader, project).contents:
        return
    for run_id, events in find_call_events(reader, project, list(lacking)).items():
        lacking[run_id].update(complete_words(lacking[run_id], events))


def _lacks_content(row: Row) -> bool:
    """Return whether a row lacks a preview, or the message of its error."""
    is_whole = row["inputs_preview"] and row["outputs_preview"]
    return not is_whole or (row["outcome"] == "error" and not row["error_message"])


def read_nodes(reader: Reader, project: str, trace_id: str) -> dict[str, SpanNode]:
    """Read the places of the spans in a trace, by run ID; at most 100,000."""
    times = Sql("FROM trace_index WHERE key = {trace:String} AND project = {project:String}")
    condition = Sql("project = {project:String} AND trace_id = {id16}").fill(id16=ID16)
    sql = Sql("""
        SELECT groupArray((span, above.1, above.2)) AS nodes FROM (
          SELECT lower(hex(span_id)) AS span,
            argMax((lower(hex(parent_span_id)), kind != 'span'), (is_ended, rank)) AS above
          FROM (
            SELECT span_id, parent_span_id, kind, 1 AS is_ended, rank FROM {deliveries}
            WHERE {ours} AND start_ns >= (SELECT minOrNull(start_ns) {times})
              AND start_ns <= (SELECT maxOrNull(end_ns) {times})
            UNION ALL
            SELECT span_id, parent_span_id, kind, 0, rank FROM open_runs WHERE {ours})
          GROUP BY span_id LIMIT {spans})
        """).fill(deliveries=DELIVERIES, ours=condition, times=times, spans=SPANS_OF_TRACE)
    (row,) = reader.rows(sql, {"project": project, "trace": trace_id})
    return {
        f"{trace_id}-{span}": SpanNode(f"{trace_id}-{parent}", bool(is_call))
        for span, parent, is_call in row["nodes"]
    }


def find_calls_above(nodes: Mapping[str, SpanNode], spans: Iterable[str]) -> dict[str, str]:
    """Find the run to which each span belongs: the span itself, or the nearest run above it.

    Ordinary spans, such as those of an HTTP request, are not runs. A span that is not inside a run
    is left out, for example because a parent is missing, or because the parents form a cycle.
    """
    known: dict[str, str] = {}
    for span in spans:
        path: list[str] = []
        here, text = span, ""
        while here in nodes and here not in known:
            if nodes[here].is_call:
                text = here
                break
            known[here] = ""  # until it is found; also ends a cycle of parents
            path.append(here)
            here = nodes[here].parent
        text = text or known.get(here, "")
        known.update(dict.fromkeys(path, text))
        known[span] = text
    return {span: known[span] for span in spans if known[span]}


def make_lines(rows: Iterable[Row], start_ns: int) -> list[RunLine]:
    """Make lines of text, oldest first, with their time since a start."""
    return [
        RunLine(
            time_ns=row["time_ns"],
            offset_ms=(row["time_ns"] - start_ns) / 1e6,
            severity=row["severity"],
            message=row["message"],
            event=row.get("event", ""),
            attributes=load_json(row.get("attributes", ""), {}),
        )
        for row in sorted(rows, key=itemgetter("time_ns"))
    ]


def find_lines(
    reader: Reader, project: str, rows: Sequence[Row], owners: Mapping[str, Sequence[str]]
) -> dict[str, list[Row]]:
    """Find the log lines of some runs, as far as they were sent separately from the spans.

    A run also gets the lines of ordinary spans inside it, such as the span of an HTTP request. If
    such a span is inside several runs, only the innermost run gets the lines of the span.

    Args:
        reader: The store.
        project: The project.
        rows: The rows of the runs. The columns with inputs and outputs are not needed.
        owners: By run ID, the names under which log lines about the run are stored. These are the
            run ID itself, and trace keys and tags of the run.

    Returns:
        Rows of log lines by run ID, oldest first, at most 10,000 for each run.
    """
    named = {run_id: [*of_run] for run_id, of_run in owners.items()}
    calls = {run_id_of(row) for row in rows if row["kind"] != "span"}
    for trace_id in sorted({run_id.partition("-")[0] for run_id in calls}):
        spans = [
            span
            for span in list_spans_with_lines(reader, project, trace_id)
            if span not in calls  # the lines of a call belong to the call itself
        ]
        above = find_calls_above(read_nodes(reader, project, trace_id), spans) if spans else {}
        below: defaultdict[str, list[str]] = defaultdict(list)
        for span, call in above.items():
            below[call].append(span)
        for call in calls & below.keys():
            named[call] += [span for span in below[call] if span != call][:_BELOW]
    return read_all_lines(reader, project, named)


def find_loose_lines(
    reader: Reader, project: str, trace_id: str, limit: int
) -> dict[str, list[Row]]:
    """Find the log lines of a trace that belong to no run.

    A run is, for example, a call of a model. These lines come from ordinary spans, such as those of
    a web server, that are not inside any run. Only spans that are stored are considered.

    Returns:
        Rows of log lines, for at most `limit` spans. The key is the trace ID and span ID:
            ``<32 hex>-<16 hex>``.
    """
    spans = list_spans_with_lines(reader, project, trace_id)
    if not spans:
        return {}
    nodes = read_nodes(reader, project, trace_id)
    here = [span for span in spans if span in nodes]
    calls = find_calls_above(nodes, here)
    loose = [span for span in here if span not in calls][:limit]
    return dict(group_rows(read_lines(reader, project, loose), "owner"))


def values_of(logged_metrics: Iterable[LoggedMetric]) -> dict[str, MetricValue]:
    """Return metrics as numbers and lists of numbers, by name."""
    return {series.name: series.value for series in logged_metrics}


def counts_of(logged_metrics: Iterable[LoggedMetric]) -> dict[str, int]:
    """Return the number of points of each metric, by name."""
    return {series.name: series.count for series in logged_metrics}


def sources_of(logged_metrics: Iterable[LoggedMetric]) -> dict[str, str]:
    """Return where metrics come from, by name: ``logged`` or ``data``."""
    return {series.name: series.source for series in logged_metrics}
