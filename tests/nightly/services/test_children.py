"""Children of task queues and pools deliver their runs, and keep their own exceptions."""

from collections import Counter
from pathlib import Path
from typing import Final

import pytest

from tests.support.collector import CollectorProcess
from tests.support.services.processes import NEVER_BY_ITSELF, run, serving

CALLS: Final = 16
LIMITS: Final = 100
CELERY: Final = (
    "celery",
    "-A",
    "tests.nightly.services.programs.tasks",
    "worker",
    "--loglevel",
    "INFO",
)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("pool", ["executor", "retiring", "terminated"])
def test_pool(pool: str, method: str, collector: CollectorProcess) -> None:
    """All calls in the workers of a pool are delivered once by the end of the program.

    The pools are `ProcessPoolExecutor`; `Pool` whose workers end after three calls; `Pool` left by
    its ``with`` block, which sends SIGTERM to its workers.
    """
    project = f"{pool}-{method}"
    called_by = run(
        *("tests.nightly.services.programs.pools", pool, method, str(CALLS)),
        OTEL_ML_ENDPOINT=collector.endpoint,
        OTEL_ML_PROJECT=project,
        **NEVER_BY_ITSELF,
    )
    found = Counter((run["outputs"], run["tags"]["pid"]) for run in collector.runs(project))
    assert found == Counter((str(pid), pid) for pid in called_by)
    assert max(Counter(called_by).values()) <= (3 if pool == "retiring" else CALLS)


@pytest.mark.parametrize(
    "retire", [[], ["--max-tasks-per-child", "3"]], ids=["lasting", "retiring"]
)
def test_celery(retire: list[str], collector: CollectorProcess, tmp_path: Path) -> None:
    """All calls in the children of a Celery worker are delivered once by the end of the worker."""
    project = f"celery{len(retire)}"
    variables = celery_variables(tmp_path, collector, project)
    prefork = ("--pool", "prefork", "--concurrency", "2", *retire)
    assert run("tests.nightly.services.programs.tasks", "score", str(CALLS), **variables) == CALLS
    with serving(
        *CELERY, *prefork, ready=" succeeded ", times=CALLS, variables=variables
    ) as service:
        assert service.stop() == 0, service.output
    runs = collector.runs(project)
    assert sorted(int(run["outputs"]) for run in runs) == [2 * number for number in range(CALLS)]
    assert len({run["tags"]["pid"] for run in runs}) >= (CALLS // 3 if retire else 1)


def test_celery_limits(collector: CollectorProcess, tmp_path: Path) -> None:
    """Each soft time limit that Celery sends to a prefork child is raised in the task."""
    variables = celery_variables(tmp_path, collector, "celery-limits")
    prefork = ("--pool", "prefork", "--concurrency", "10")
    run("tests.nightly.services.programs.tasks", "limited", str(LIMITS), **variables)
    with serving(
        *CELERY, *prefork, ready=" succeeded ", times=LIMITS, variables=variables
    ) as service:
        # The children deliver their runs before they end. Later runs would belong to the next test.
        assert service.stop() == 0, service.output
        told = service.output
    asked, reached, lost = (
        told.count(text) for text in ("Soft time limit (1.0s) exceeded", "'reached'", "'lost'")
    )
    assert (asked, reached, lost) == (LIMITS, LIMITS, 0), told


def celery_variables(folder: Path, collector: CollectorProcess, project: str) -> dict[str, str]:
    """Create a broker in folders, and return the variables of its worker and senders."""
    for name in ("queue", "control"):
        (folder / name).mkdir()
    return {
        "BROKER": str(folder),
        "OTEL_ML_ENDPOINT": collector.endpoint,
        "OTEL_ML_PROJECT": project,
        **NEVER_BY_ITSELF,
    }
