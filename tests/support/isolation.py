"""Keeps tests that share a collector or a store separate: each module has its own projects."""

import fcntl
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Final

from otel_ml_collector.store.sql import Sql
from tests.support.collector import CollectorProcess
from tests.support.otel_ml_collector.stores import Store

_RUNS: Final = "SELECT project, uniqExact(trace_id, span_id) FROM runs GROUP BY project"
# The project of spans without a project: their tests find their spans by trace ID.
_NOBODYS: Final = "default"


def project_of(test: str) -> str:
    """Return a project name that no other test has.

    Args:
        test: The ID of the test. Tests in different modules can share a name, so the module counts.
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
def isolated(
    owners: Path, module: str, place: str, count: Callable[[], Mapping[str, int]]
) -> Iterator[None]:
    """Fail a module that wrote to a project of another module, even in another worker.

    Args:
        owners: A file shared by all workers: which module wrote to a project first.
        module: Its path, or the ID of one of its tests.
        place: The shared resource: ``collector`` or ``store``.
        count: Counts the runs of each project.
    """
    before = count()
    yield
    # A count that falls is fine: retention and deletions run in all projects.
    written = [
        project
        for project, runs in count().items()
        if runs > before.get(project, 0) and project != _NOBODYS
    ]
    module = module.partition("::")[0]
    with owners.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        known = json.loads(file.read() or "{}")
        for project in written:
            owner = known.setdefault(f"{place} {project}", module)
            assert owner == module, f"{module} writes to project {project!r} of {owner}: rename it"
        file.truncate(0)
        json.dump(known, file)
