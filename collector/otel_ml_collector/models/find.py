"""Finds projects, models, versions and metrics: the one `find` behind the JSON API and pages."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from pydantic import ValidationError

from otel_ml_collector.errors import BadQuery, NotFound
from otel_ml_collector.owners import model_of, own_model
from otel_ml_collector.query.answers.metrics import MetricOwner, Metrics, MetricSeries
from otel_ml_collector.query.answers.models import Definition, JudgeStats, Model, Version
from otel_ml_collector.query.answers.projects import Project, Projects
from otel_ml_collector.query.answers.told import Told
from otel_ml_collector.query.cursors import read_place, write_place
from otel_ml_collector.query.late import find_told
from otel_ml_collector.query.rows import run_id_of
from otel_ml_collector.query.series import MOST, find_series
from otel_ml_collector.query.times import from_rfc3339, to_rfc3339
from otel_ml_collector.store.artifacts import count_artifacts
from otel_ml_collector.store.open_runs import name_open_runs
from otel_ml_collector.store.reader import Reader, Row
from otel_ml_collector.store.runs import Key, read_runs
from otel_ml_collector.store.statistics import (
    list_metric_owners,
    list_models,
    list_projects,
    read_version_runs,
    read_version_scores,
    read_versions,
)
from otel_ml_collector.store.targets import find_owners

_OWNERS: Final = 200


def find_projects(reader: Reader) -> list[Project]:
    """List projects, the one that ran last first."""
    counts = count_artifacts(reader)
    return [
        Project(
            project=row["project"],
            runs=row["runs"],
            other_spans=row["other_spans"],
            errors=row["errors"],
            artifacts=counts.get(row["project"], (0, 0))[0],
            artifact_bytes=counts.get(row["project"], (0, 0))[1],
            last_start_time=to_rfc3339(row["last_start_ns"]),
        )
        for row in list_projects(reader)
    ]


def select_projects(projects: Sequence[Project], find: str) -> list[Project]:
    """Select the projects whose names have a text in them, whatever the case of its letters."""
    wanted = find.strip().casefold()
    return [one for one in projects if wanted in one.project.casefold()]


def page_projects(reader: Reader, find: str, limit: int, cursor: str | None) -> Projects:
    """List some projects, the one that ran last first.

    Raises:
        BadQuery: The cursor is none of an answer.
    """
    found = select_projects(find_projects(reader), find)
    if cursor is not None:
        place = _read_place(cursor)
        found = [one for one in found if place < _place_of(one)]
    page = found[:limit]
    goes_on = len(found) > limit
    last = [page[-1].last_start_time, page[-1].project] if goes_on else []
    return Projects(projects=page, next_cursor=write_place(last) if goes_on else None)


def _place_of(project: Project) -> tuple[int, str]:
    return -from_rfc3339(project.last_start_time, "cursor"), project.project


def _read_place(cursor: str) -> tuple[int, str]:
    parts = read_place(cursor, "cursor")
    if [type(part) for part in parts] != [str, str]:
        raise BadQuery(
            f"Invalid cursor {cursor[:80]!r}: expected a next_cursor of an answer", "cursor"
        )
    return -from_rfc3339(parts[0], "cursor"), parts[1]


def find_project(reader: Reader, project: str) -> Project:
    """Tell how much there is of one project, without a look at the others.

    Raises:
        NotFound: There is no such project.
    """
    alone = reader.narrow(replace(reader.access, projects=(project,)))
    for found in find_projects(alone):
        return found
    raise NotFound(f"There is no project {project[:80]!r}")


def find_models(reader: Reader, project: str) -> list[Model]:
    """List the models of a project, the one that ran last first."""
    rows = list_models(reader, project)
    numbers: defaultdict[str, set[int]] = defaultdict(set)
    for version in read_versions(reader, project, "model", [row["model"] for row in rows]):
        numbers[version["name"]].add(version["number"])
    return [
        Model(
            model=row["model"],
            kind=row["kind"],
            runs=row["runs"],
            errors=row["errors"],
            versions=len(numbers[row["model"]]),
            latest_version=max(numbers[row["model"]], default=None),
            last_start_time=to_rfc3339(row["last_start_ns"]),
        )
        for row in rows
    ]


def find_versions(reader: Reader, project: str, model: str) -> list[Version]:
    """Read the versions of a model with what their recorded runs look like, newest first.

    Raises:
        NotFound: The model has no version.
    """
    rows = read_versions(reader, project, "model", [model])
    if not rows:
        raise NotFound(f"Project {project!r} has no version of a model {model!r}")
    by_number: defaultdict[int, list[Row]] = defaultdict(list)
    for row in rows:
        by_number[row["number"]].append(row)
    definitions = _definitions(rows)
    runs = {row["number"]: row for row in read_version_runs(reader, project, model)}
    judges: defaultdict[int, list[JudgeStats]] = defaultdict(list)
    for row in read_version_scores(reader, project, model):
        judges[row.pop("number")].append(JudgeStats(**row))
    told = _find_told(reader, project, model, by_number)
    return [
        _version(
            model,
            structures,
            runs.get(number),
            judges=judges[number],
            definition=definitions[number],
            told=told[number],
        )
        for number, structures in sorted(by_number.items(), reverse=True)
    ]


def find_version(reader: Reader, project: str, model: str, number: int) -> Version:
    """Read one version of a model.

    Raises:
        NotFound: There is no such version.
    """
    for version in find_versions(reader, project, model):
        if version.version == number:
            return version
    raise NotFound(f"Model {model!r} has no version {number}")


def find_metrics(
    reader: Reader,
    project: str,
    run_id: str | None = None,
    name: str | None = None,
    points: int = MOST,
) -> Metrics:
    """Read the series of one run, or list the runs that logged metrics, the last one first."""
    if run_id is None:
        rows = list_metric_owners(reader, project, _OWNERS)
        keys = [Key.of(row["start_ns"], row["owner"]) for row in rows]
        found = read_runs(reader, project, keys) if keys else []
        names = {run_id_of(run): run["model"] or run["name"] for run in found}
        unnamed = [row["owner"] for row in rows if row["start_ns"] and row["owner"] not in names]
        names |= {run_id_of(run): run["model"] for run in name_open_runs(reader, project, unnamed)}
        owners = [
            MetricOwner(
                run_id=row["owner"],
                model=names.get(row["owner"], ""),
                names=row["names"],
                points=row["points"],
                last_time=to_rfc3339(row["last_time_ns"]),
            )
            for row in rows
        ]
        return Metrics(series=[], runs=owners)
    return _series_of(reader, project, run_id, name, points)


def find_version_metrics(
    reader: Reader,
    project: str,
    model: str,
    number: int,
    *,
    name: str | None = None,
    points: int = MOST,
) -> Metrics:
    """Read the series that were logged for a version of a model, and not for one of its runs.

    Raises:
        NotFound: There is no such version.
    """
    for row in read_versions(reader, project, "model", [model]):
        if row["number"] == number:
            return _series_of(reader, project, own_model(model, row["digest"]), name, points)
    raise NotFound(f"Model {model!r} has no version {number}")


def _series_of(reader: Reader, project: str, owner: str, name: str | None, points: int) -> Metrics:
    run_id = "" if model_of(owner) else owner
    series = [
        MetricSeries(run_id=run_id, name=one.name, count=one.count, points=list(one.points))
        for one in find_series(reader, project, [owner], name=name or "", most=points)
    ]
    return Metrics(series=series, runs=[])


def _find_told(
    reader: Reader, project: str, model: str, by_number: Mapping[int, Sequence[Row]]
) -> Mapping[int, Told]:
    """Find what was told of versions: of the first structure of their definition."""
    owners = {
        number: own_model(model, row["digest"])
        for number, structures in by_number.items()
        for row in structures
        if not row["structure"]
    }
    known = find_owners(reader, project, sorted(set(owners.values())))
    told = find_told(reader, project, sorted(known))
    return {number: told.get(owners.get(number, ""), Told()) for number in by_number}


def _version(
    model: str,
    structures: Sequence[Row],
    runs: Row | None,
    *,
    judges: list[JudgeStats],
    definition: Definition,
    told: Told,
) -> Version:
    """Make one version of its structures; runs without structure count as the first one."""
    first = structures[0]
    return Version(
        model=model,
        version=first["number"],
        digest=first["digest"],
        first_seen_time=to_rfc3339(min(row["first_ns"] for row in structures)),
        runs=runs["runs"] if runs else 0,
        errors=runs["errors"] if runs else 0,
        p50_ms=runs["p50_ns"] / 1e6 if runs else None,
        p95_ms=runs["p95_ns"] / 1e6 if runs else None,
        judges=judges,
        definition=definition,
        **dict(told),
    )


def find_definitions(
    reader: Reader, project: str, models: Sequence[str]
) -> dict[str, dict[int, Definition]]:
    """Read what some models were defined as: by model, and by version in their order."""
    by_model: defaultdict[str, list[Row]] = defaultdict(list)
    for row in read_versions(reader, project, "model", models):
        by_model[row["name"]].append(row)
    return {model: _definitions(rows) for model, rows in by_model.items()}


def _definitions(rows: Sequence[Row]) -> dict[int, Definition]:
    """Choose the definition of each version: its own one, or another one with its digest."""
    by_digest: dict[str, str] = {}
    own: dict[int, str] = {}
    for row in rows:
        if row["definition"]:
            by_digest.setdefault(row["digest"], row["definition"])
            own.setdefault(row["number"], row["definition"])
    first = {row["number"]: row["digest"] for row in reversed(rows)}
    texts = {number: own.get(number) or by_digest.get(first[number]) for number in sorted(first)}
    return {number: _definition(text) if text else Definition() for number, text in texts.items()}


def _definition(text: str) -> Definition:
    """Read a definition; one that is not in our form is shown as it came."""
    try:
        return Definition.model_validate_json(text)
    except ValidationError:
        return Definition(source=text)
