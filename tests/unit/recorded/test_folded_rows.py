"""Compares the rows of recorded traces with a table that a person can check."""

import json
import sys
from typing import Final

import pytest

from otel_ml_collector.decode.json import decode_json_logs, decode_json_traces
from otel_ml_collector.fold.fold import fold
from otel_ml_collector.fold.rows import Amounts, FoldedRun
from otel_ml_collector.mapping.logs import map_logs
from otel_ml_collector.mapping.spans import map_spans
from otel_ml_collector.records import Records
from tests.support.folders import RECORDED_FOLDER
from tests.support.otel_ml_collector.facts import facts_of
from tests.unit.recorded.test_recorded import RECORDED, filing_of, read

ROWS: Final = RECORDED_FOLDER / "folded.md"
HEAD: Final = (
    "| # | kind | name | place | reported | counted | inside | record of | asked | answered |\n"
    "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n"
)
_HEADING: Final = "## "
_TEXT_CHARS: Final = 30


def records_of(name: str) -> Records:
    """Map the spans and log records of a recording."""
    recording = read(f"{name}.json")
    filing = filing_of(recording["request"])
    records = map_spans(decode_json_traces(json.dumps(recording["request"]).encode()), filing)
    logs = decode_json_logs(json.dumps(recording.get("logs", {})).encode())
    records.extend(map_logs(logs, filing))
    return records


def fold_recording(name: str) -> list[FoldedRun]:
    """Fold a recording, and return the rows in the order in which the runs started."""
    rows = [row for facts in facts_of(records_of(name)).values() for row in fold(facts)]
    return sorted(rows, key=lambda row: (row.run.start_ns, row.run.span_id))


def write_amounts(amounts: Amounts) -> str:
    """Write tokens as ``in + out (cached)``, then the cost."""
    tokens = amounts.tokens
    is_known = tokens.input is not None or tokens.output is not None
    text = f"{tokens.input}+{tokens.output}" if is_known else ""
    text += "" if tokens.cached is None else f" ({tokens.cached})"
    return text if amounts.cost is None else f"{text} ${amounts.cost:.7g}"


def write_text(text: str) -> str:
    """Shorten a preview for the table."""
    shown = " ".join(text.replace("|", "/").split())
    return shown if len(shown) <= _TEXT_CHARS else shown[:_TEXT_CHARS].rstrip() + "…"


def table_of(rows: list[FoldedRun]) -> str:
    """Write the rows of a recording as a Markdown table."""
    numbers = {row.run.run_id: str(place) for place, row in enumerate(rows, 1)}
    lines = [
        [
            numbers[row.run.run_id],
            row.run.kind,
            row.run.model or row.run.name,
            "request" if row.is_request else "top" if row.is_top else "inside",
            write_amounts(row.own),
            "same" if row.counted == row.own else write_amounts(row.counted),
            write_amounts(row.inside),
            numbers[row.record_of.run_id] if row.record_of else "",
            write_text(row.inputs_preview),
            write_text(row.outputs_preview),
        ]
        for row in rows
    ]
    return HEAD + "".join(f"| {' | '.join(cell or '–' for cell in line)} |\n" for line in lines)


@pytest.mark.parametrize("name", RECORDED)
def test_rows(name: str) -> None:
    """The rows of a recording match the table."""
    sections = ROWS.read_text().split(f"\n{_HEADING}")
    tables = {title: text.strip() for title, _, text in (part.partition("\n") for part in sections)}
    found = table_of(fold_recording(name))
    assert found.strip() == tables[name]


if __name__ == "__main__":
    for recording in RECORDED:
        sys.stdout.write(f"\n{_HEADING}{recording}\n\n{table_of(fold_recording(recording))}")
