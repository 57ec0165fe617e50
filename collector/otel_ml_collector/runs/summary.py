"""Runs as lists show them, with what was said apart from their spans: by ids, keys and tags."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import chain
from typing import Final

from otel_ml.records import Evaluation, RunFields, tokens_of
from otel_ml_collector.artifacts.find import find_artifacts
from otel_ml_collector.owners import is_run, own_key, own_tag
from otel_ml_collector.price import round_cost
from otel_ml_collector.records import text_of
from otel_ml_collector.runs.answers import RunSummary, Told
from otel_ml_collector.runs.lines import make_lines, read_lines
from otel_ml_collector.runs.series import counts_of, find_series, values_of
from otel_ml_collector.store.reader import Reader, Row, is_open, load_json, run_id_of, told_ns
from otel_ml_collector.store.runs import read_evaluations, read_late_tags
from otel_ml_collector.store.statistics import Numbers, read_version_numbers, version_numbers
from otel_ml_collector.store.targets import (
    find_calls,
    find_holders,
    find_owners,
    has_targets,
    read_responses,
    read_trace_keys,
)
from otel_ml_collector.times import to_rfc3339

_NO_PARENT: Final = "0" * 16
_AT_ONCE: Final = 1_000
_AS_STORED: Final = tuple(one.name for one in fields(RunFields))


@dataclass(frozen=True, slots=True)
class Said:
    """What was said of one run.

    Attributes:
        keys: The keys of its trace.
        owners: By what it was named: its id, and the keys and tags under which more is told.
        tags: The late tags that hold against those of its own span, by name.
        evaluations: What judges and people said, oldest first.
        version: The number of its model's version; None where it has none.
    """

    keys: Sequence[str]
    owners: Sequence[str]
    tags: Mapping[str, Row]
    evaluations: Sequence[Evaluation]
    version: int | None = None


def find_said(reader: Reader, project: str, rows: Sequence[Row]) -> dict[str, Said]:
    """Find what was said of the runs of some light rows of one project, by run id."""
    run_ids = [run_id_of(row) for row in rows]
    evaluated = reader.ahead(read_evaluations, project, run_ids)
    keys = _keys_of(reader, project, rows)
    tags = _by_owner(read_late_tags(reader, project, run_ids))
    owners = _find_owners(reader, project, rows, keys, tags)
    more = sorted({owner for named in owners.values() for owner in named if not is_run(owner)})
    evaluations = evaluated.result()
    if more:
        tags |= _by_owner(read_late_tags(reader, project, more))
        evaluations = [*evaluations, *read_evaluations(reader, project, more)]
    made = _by_owner(evaluations)
    judges = {row["judge"] for row in evaluations}
    numbers = read_version_numbers(
        reader, project, {"model": {row["model"] for row in rows}, "judge": judges}
    )
    return {
        run_id: Said(
            keys=keys.get(row["trace_id"], []),
            owners=owners[run_id],
            tags=_newest(row, [tag for owner in owners[run_id] for tag in tags.get(owner, [])]),
            evaluations=_evaluations(
                [one for owner in owners[run_id] for one in made.get(owner, [])], numbers["judge"]
            ),
            version=numbers["model"].get((row["model"], row["digest"], row["structure"])),
        )
        for row in rows
        for run_id in (run_id_of(row),)
    }


def find_told(reader: Reader, project: str, owners: Sequence[str]) -> dict[str, Told]:
    """Read what was told of owners that have no span here, by owner."""
    made = _by_owner(read_evaluations(reader, project, owners))
    judges = {row["judge"] for rows in made.values() for row in rows}
    numbers = version_numbers(reader, project, "judge", judges)
    tags = _by_owner(read_late_tags(reader, project, owners))
    lines = _by_owner(read_lines(reader, project, owners))
    measured, logged = find_holders(reader, project, owners)
    told: dict[str, Told] = {}
    for owner in owners:
        series = find_series(reader, project, [owner]) if owner in measured else []
        rows = lines.get(owner, [])
        told[owner] = Told(
            tags={tag["name"]: load_json(tag["value"]) for tag in tags.get(owner, [])},
            logs=make_lines(rows, rows[0]["time_ns"] if rows else 0),
            metrics=values_of(series),
            metric_points=counts_of(series),
            evaluations=_evaluations(made.get(owner, []), numbers),
            artifacts=find_artifacts(reader, project, [owner]) if owner in logged else [],
        )
    return told


def _keys_of(reader: Reader, project: str, rows: Sequence[Row]) -> dict[str, list[str]]:
    keys: defaultdict[str, list[str]] = defaultdict(list)
    for row in read_trace_keys(reader, project, sorted({row["trace_id"] for row in rows})):
        keys[row["trace_id"]].append(row["key"])
    return keys


def _find_owners(
    reader: Reader,
    project: str,
    rows: Sequence[Row],
    keys: Mapping[str, Sequence[str]],
    late_tags: Mapping[str, Sequence[Row]],
) -> dict[str, list[str]]:
    """Name, by run id, under what something may be told of the runs of some rows."""
    owners = {run_id_of(row): [run_id_of(row)] for row in rows}
    if not has_targets(reader, project):
        return owners
    calls = [row for row in rows if row["kind"] != "span"]
    by_key = {run_id_of(row): _owners_of_keys(row, keys) for row in calls}
    by_tag = {run_id_of(row): _owners_of_tags(row, late_tags) for row in rows}
    for run_id, response in read_responses(reader, project, rows).items():
        by_tag[run_id].append(own_tag(response))
    asked = sorted(set(chain(*by_key.values(), *by_tag.values())))
    known = {
        owner
        for place in range(0, len(asked), _AT_ONCE)
        for owner in find_owners(reader, project, asked[place : place + _AT_ONCE])
    }
    keyed = [row for row in calls if known.intersection(by_key[run_id_of(row)])]
    roots = _roots(reader, project, keyed)
    for run_id, named in owners.items():
        named += [owner for owner in by_key.get(run_id, []) if owner in known and run_id in roots]
        named += [owner for owner in by_tag.get(run_id, []) if owner in known]
    return owners


def _owners_of_keys(row: Row, keys: Mapping[str, Sequence[str]]) -> list[str]:
    """Name the keys that a run's trace has: the user's own ones, and its id."""
    return [own_key(key) for key in (*keys.get(row["trace_id"], []), row["trace_id"])]


def _owners_of_tags(row: Row, late_tags: Mapping[str, Sequence[Row]]) -> list[str]:
    """Name the tags that a run was given, on its span or later."""
    own = [(name, value) for name, value in row["tags"].items()]
    late = [(tag["name"], tag["value"]) for tag in late_tags.get(run_id_of(row), [])]
    return sorted({own_tag(f"{name}={text_of(load_json(value))}") for name, value in own + late})


def _roots(reader: Reader, project: str, rows: Sequence[Row]) -> set[str]:
    """Tell which of some model calls have none as their parent."""
    parents = {run_id_of(row): f"{row['trace_id']}-{row['parent_span_id']}" for row in rows}
    above = {parent for parent in parents.values() if not parent.endswith(f"-{_NO_PARENT}")}
    calls = find_calls(reader, project, sorted(above))
    return {run_id for run_id, parent in parents.items() if parent not in calls}


def _by_owner(rows: Iterable[Row]) -> dict[str, list[Row]]:
    found: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        found[row["owner"]].append(row)
    return dict(found)


def _newest(row: Row, tags: Iterable[Row]) -> dict[str, Row]:
    """Choose of each name the newest tag; the run's own count from when its span said them."""
    newest: dict[str, Row] = {}
    for tag in sorted(tags, key=lambda tag: (tag["time_ns"], tag["record_id"])):
        if tag["name"] not in row["tags"] or tag["time_ns"] >= told_ns(row):
            newest[tag["name"]] = tag
    return newest


def _evaluations(rows: Sequence[Row], numbers: Numbers) -> list[Evaluation]:
    ordered = sorted(rows, key=_order)
    return [
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
        for row in ordered
    ]


def _order(row: Row) -> tuple[int, str, str, str]:
    """Order what was said, as filters do."""
    record = "" if is_run(row["owner"]) else row["record_id"]
    return row["time_ns"], row["judge"], row["version"], record


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
