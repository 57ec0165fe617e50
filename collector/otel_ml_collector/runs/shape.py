"""Rows of the store as the API's answers: numbers for versions, what was said of runs joined in."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Final

from otel_ml.records import RunFields, tokens_of
from otel_ml_collector.price import round_cost
from otel_ml_collector.query.answers.runs import RunSummary
from otel_ml_collector.runs.late import Said, find_said
from otel_ml_collector.store.reader import Reader, Row
from otel_ml_collector.store.rows import is_open, load_json, run_id_of
from otel_ml_collector.times import to_rfc3339

_NO_PARENT: Final = "0" * 16
_AS_STORED: Final = tuple(one.name for one in fields(RunFields))


def summarise(reader: Reader, project: str, rows: Sequence[Row]) -> list[RunSummary]:
    """Make the summaries of light rows of one project."""
    if not rows:
        return []
    said = find_said(reader, project, rows)
    return [make_summary(row, said[run_id_of(row)]) for row in rows]


def make_summary(row: Row, said: Said) -> RunSummary:
    """Make the summary of a light row and what was said of it."""
    newest = {evaluation.judge: evaluation for evaluation in said.evaluations}
    parent = row["parent_span_id"]
    tags = row["tags"] | {name: tag["value"] for name, tag in said.tags.items()}
    return RunSummary(
        run_id=run_id_of(row),
        trace_id=row["trace_id"],
        parent_run_id=None if parent == _NO_PARENT else f"{row['trace_id']}-{parent}",
        trace_key=next(iter(said.keys), ""),
        version=said.version,
        start_time=to_rfc3339(row["start_ns"]),
        latency_ms=None if is_open(row) else row["latency_ns"] / 1e6,
        last_heard_ns=row["heard_ns"] if is_open(row) else None,
        inputs=row["inputs_preview"],
        outputs=row["outputs_preview"],
        tags={name: load_json(value) for name, value in tags.items()},
        scores={j: e.score for j, e in newest.items() if e.score is not None},
        passed={j: e.passed for j, e in newest.items() if e.passed is not None},
        failed_judges=[j for j, e in newest.items() if e.error],
        tokens=tokens_of(row),
        **{name: row[name] for name in _AS_STORED} | {"cost": round_cost(row["cost"])},
    )
