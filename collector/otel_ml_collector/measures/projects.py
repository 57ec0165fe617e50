"""Projects with the counts of their records."""

from collections.abc import Sequence
from dataclasses import replace

from otel_ml.records import ProjectCounts
from otel_ml_collector.measures.statistics import explain_missing, list_projects
from otel_ml_collector.store.artifacts import count_artifacts
from otel_ml_collector.store.reader import Reader
from otel_ml_collector.times import to_rfc3339


def find_projects(reader: Reader) -> list[ProjectCounts]:
    """List projects, the latest to run first."""
    ahead = reader.ahead(count_artifacts)
    listed = list_projects(reader)
    counts = ahead.result()
    projects = []
    for row in listed:
        last_start_time = to_rfc3339(row.pop("last_start_ns"))
        artifacts, size = counts.get(row["project"], (0, 0))
        projects.append(
            ProjectCounts(
                **row, artifacts=artifacts, artifact_bytes=size, last_start_time=last_start_time
            )
        )
    return projects


def select_projects(projects: Sequence[ProjectCounts], find: str) -> list[ProjectCounts]:
    """Select the projects whose names contain a text. Case does not matter."""
    wanted = find.strip().casefold()
    return [project for project in projects if wanted in project.project.casefold()]


def find_project(reader: Reader, project: str) -> ProjectCounts:
    """Count the records of one project.

    Raises:
        Missing: There is no such project.
    """
    for item in find_projects(reader.narrow(replace(reader.access, projects=(project,)))):
        return item
    raise explain_missing(reader, project)
