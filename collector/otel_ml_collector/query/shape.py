"""Rows of the store as the API's answers: numbers for versions, scores and tags joined in."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import orjson

from otel_ml_collector.query.answers import Evaluation, RunSummary, Tokens
from otel_ml_collector.query.times import to_rfc3339
from otel_ml_collector.store.reader import Reader, Row
from otel_ml_collector.store.runs import read_evaluations, read_late_tags
from otel_ml_collector.store.statistics import read_versions

_NO_PARENT: Final = "0" * 16


def run_id_of(row: Row) -> str:
    """Return the run id of a light row."""
    return f"{row['trace_id']}-{row['span_id']}"


def is_open(row: Row) -> bool:
    """Tell the light row of a run without an end."""
    return row["latency_ns"] is None


def winners(rows: Iterable[Row]) -> list[Row]:
    """Keep of each run the delivery with the highest rank, in the order of the rows."""
    best: dict[str, Row] = {}
    for row in rows:
        run_id = run_id_of(row)
        known = best.get(run_id)
        if known is None or row["rank"] > known["rank"]:
            best[run_id] = row
    return list(best.values())


def load_json(text: str, default: object = None) -> Any:
    """Read a column that holds JSON text; empty means that there is none."""
    return orjson.loads(text) if text else default


def summarise(reader: Reader, project: str, rows: Sequence[Row]) -> list[RunSummary]:
    """Make the summaries of light rows of one project."""
    if not rows:
        return []
    numbers = version_numbers(reader, project, "model", {row["model"] for row in rows})
    owners = [run_id_of(row) for row in rows]
    evaluations = find_evaluations(reader, project, owners)
    late_tags: defaultdict[str, dict[str, Any]] = defaultdict(dict)
    for tag in read_late_tags(reader, project, owners):
        late_tags[tag["owner"]][tag["name"]] = orjson.loads(tag["value"])
    return [
        _summary(row, numbers, evaluations.get(owner, []), late_tags.get(owner, {}))
        for row, owner in zip(rows, owners, strict=True)
    ]


def version_numbers(
    reader: Reader, project: str, kind: str, names: Iterable[str]
) -> dict[tuple[str, str, str], int]:
    """Return the small numbers of versions by (name, digest, structure)."""
    wanted = sorted(name for name in names if name)
    if not wanted:
        return {}
    return {
        (row["name"], row["digest"], row["structure"]): row["number"]
        for row in read_versions(reader, project, kind, wanted)
    }


def find_evaluations(
    reader: Reader, project: str, owners: Sequence[str]
) -> dict[str, list[Evaluation]]:
    """Read what judges and people said of some runs, by run id, oldest first."""
    rows = read_evaluations(reader, project, owners)
    numbers = version_numbers(reader, project, "judge", {row["judge"] for row in rows})
    found: defaultdict[str, list[Evaluation]] = defaultdict(list)
    for row in rows:
        found[row["owner"]].append(
            Evaluation(
                judge=row["judge"],
                version=numbers.get((row["judge"], row["version"], "")),
                digest=row["version"],
                score=row["score"],
                passed=row["passed"],
                label=row["label"],
                explanation=row["explanation"],
                error=row["error"],
                source=row["source"],
            )
        )
    return found


def _summary(
    row: Row,
    numbers: Mapping[tuple[str, str, str], int],
    evaluations: Sequence[Evaluation],
    late_tags: Mapping[str, Any],
) -> RunSummary:
    newest = {evaluation.judge: evaluation for evaluation in evaluations}
    parent = row["parent_span_id"]
    tags = {name: orjson.loads(value) for name, value in row["tags"].items()}
    return RunSummary(
        run_id=run_id_of(row),
        trace_id=row["trace_id"],
        parent_run_id=None if parent == _NO_PARENT else f"{row['trace_id']}-{parent}",
        project=row["project"],
        kind=row["kind"],
        name=row["name"],
        span_kind=row["span_kind"],
        model=row["model"],
        version=numbers.get((row["model"], row["digest"], row["structure"])),
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
        tags=tags | dict(late_tags),
        scores={j: e.score for j, e in newest.items() if e.score is not None},
        passed={j: e.passed for j, e in newest.items() if e.passed is not None},
        failed_judges=[j for j, e in newest.items() if e.error],
        session=row["session"],
        user=row["user"],
        environment=row["environment"],
        release=row["release"],
        provider=row["provider"],
        provider_model=row["provider_model"],
        tokens=Tokens(
            input=row["input_tokens"],
            output=row["output_tokens"],
            cached=row["cached_tokens"],
            reasoning=row["reasoning_tokens"],
        ),
        cost=row["cost"],
    )
