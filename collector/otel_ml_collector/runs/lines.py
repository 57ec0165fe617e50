"""Lines of text of a run, with those of the spans below it that are no runs; and of no run."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Final

from otel_ml_collector.query.answers.parts import LogLine
from otel_ml_collector.store.lines import (
    find_calls_above,
    list_spans_with_lines,
    read_lines,
    read_nodes,
)
from otel_ml_collector.store.reader import Reader, Row
from otel_ml_collector.store.rows import load_json, run_id_of

_BELOW: Final = 10_000


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
