"""Rows of the store as the API's answers: numbers for versions, what was said of runs joined in."""

from collections.abc import Sequence
from typing import Final

from otel_ml_collector.price import round_cost
from otel_ml_collector.query.answers.parts import Tokens
from otel_ml_collector.query.answers.runs import RunSummary
from otel_ml_collector.runs.late import Said, find_said
from otel_ml_collector.store.reader import Reader, Row
from otel_ml_collector.store.rows import is_open, load_json, run_id_of
from otel_ml_collector.times import to_rfc3339

_NO_PARENT: Final = "0" * 16


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
        project=row["project"],
        kind=row["kind"],
        name=row["name"],
        span_kind=row["span_kind"],
        model=row["model"],
        version=said.version,
        digest=row["digest"],
        start_time=to_rfc3339(row["start_ns"]),
        start_ns=row["start_ns"],
        latency_ms=None if is_open(row) else row["latency_ns"] / 1e6,
        outcome=row["outcome"],
        last_heard_ns=row["heard_ns"] if is_open(row) else None,
        error_type=row["error_type"],
        error_message=row["error_message"],
        inputs=row["inputs_preview"],
        outputs=row["outputs_preview"],
        tags={name: load_json(value) for name, value in tags.items()},
        scores={j: e.score for j, e in newest.items() if e.score is not None},
        passed={j: e.passed for j, e in newest.items() if e.passed is not None},
        failed_judges=[j for j, e in newest.items() if e.error],
        session=row["session"],
        user=row["user"],
        environment=row["environment"],
        release=row["release"],
        provider=row["provider"],
        provider_model=row["provider_model"],
        tokens=tokens_of(row),
        cost=round_cost(row["cost"]),
    )


def tokens_of(row: Row) -> Tokens:
    """Return the token counts of a light row, or the sums of several."""
    return Tokens(
        input=row["input_tokens"],
        output=row["output_tokens"],
        cached=row["cached_tokens"],
        reasoning=row["reasoning_tokens"],
    )
