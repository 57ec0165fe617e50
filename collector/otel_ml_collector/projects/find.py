"""Projects and what they hold: one `find` behind the JSON API and the pages."""

from collections.abc import Sequence
from dataclasses import replace

from pydantic import BaseModel, Field

from otel_ml_collector.api.parameters import read_place, write_place
from otel_ml_collector.errors import BadQuery, NotFound
from otel_ml_collector.store.artifacts import count_artifacts
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.store.statistics import (
    list_projects,
)
from otel_ml_collector.times import from_rfc3339, to_rfc3339


class Project(BaseModel):
    """A project and its recorded runs; other spans, such as HTTP requests, are counted apart."""

    project: str
    runs: int
    other_spans: int
    errors: int
    artifacts: int = Field(description="Different documents that are stored")
    artifact_bytes: int
    last_start_time: str


class Projects(BaseModel):
    """Projects, the one that ran last first."""

    projects: list[Project]
    next_cursor: str | None = Field(description="Where the list goes on; null at its end")


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
