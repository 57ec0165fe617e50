"""Keeps tests that share a collector or a store apart: each module has projects of its own."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import blake2b
from typing import Final

from otel_ml_collector.store.sql import Sql
from tests.support.collector import CollectorProcess
from tests.support.otel_ml_collector.stores import Store

_RUNS: Final = "SELECT project, uniqExact(trace_id, span_id) FROM runs GROUP BY project"
# Which module wrote to a project of a place first, of all that this worker has run.
_OWNERS: Final[dict[tuple[str, str], str]] = {}
# Of spans that name no project: their tests find their own by trace ID.
_NOBODYS: Final = "default"


def project_of(test: str) -> str:
    """Return a project name that no other test has.

    Args:
        test: The ID of the test. Modules have tests of one name, so its module is part of it.
    """
    module, _, name = test.partition("::")
    return f"{name}-{blake2b(module.encode(), digest_size=4).hexdigest()}"


def count_runs(collector: CollectorProcess) -> Mapping[str, int]:
    """Count the runs of each project of a collector."""
    projects = collector.get("/projects")["projects"]
    return {project["project"]: project["runs"] for project in projects}


def count_stored(store: Store) -> Mapping[str, int]:
    """Count the runs of each project of a store."""
    rows = store.connections.open().query(Sql(_RUNS)).result_rows
    return {str(project): int(count) for project, count in rows}


@contextmanager
def isolated(module: str, place: str, count: Callable[[], Mapping[str, int]]) -> Iterator[None]:
    """Fail a module that wrote to a project of another module of this worker.

    Args:
        module: Its path.
        place: What is shared: ``collector`` or ``store``.
        count: Counts the runs of each project.
    """
    before = count()
    yield
    for project, runs in count().items():
        # A count that falls is no trouble: retention and deletions go on in all projects.
        if runs > before.get(project, 0) and project != _NOBODYS:
            owner = _OWNERS.setdefault((place, project), module)
            assert owner == module, f"{module} writes to project {project!r} of {owner}: rename it"
