"""Workers of judges without code, connected to a collector, and the runs they scored."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from tests.support.collector import CollectorProcess
from tests.support.keys import ask
from tests.support.language_model import LanguageModel
from tests.support.services.processes import Service, start_service

FITTING: Final[dict[str, Any]] = {
    "instruction": "Does the answer fit the question?",
    "model": "small",
    "connection": "here",
    "calls_per_minute": 100_000,
    "calls_per_day": 100_000,
    "is_on": True,
}


def connected(model: LanguageModel, judges: str, **connection: Any) -> list[str]:
    """Return the settings of a collector with a connection to a model and settings of judges."""
    connections = json.dumps({"here": {**model.connection, **connection}})
    return ["--judge-connections", connections, "--judges", judges]


@contextmanager
def working(
    collector: CollectorProcess, model: LanguageModel, *arguments: str, **variables: str
) -> Iterator[Service]:
    """Run ``otel-ml judge-worker`` for a collector until the block ends."""
    connections = json.dumps({"here": {**model.connection, "timeout_s": 60}})
    command = [sys.executable, "-m", "otel_ml_collector", "judge-worker"]
    place = ["--endpoint", collector.endpoint, "--judge-connections", connections]
    worker = start_service([*command, *place, *arguments], {**os.environ, **variables}, None)
    try:
        yield worker
    finally:
        worker.kill()


def save_fitting(collector: CollectorProcess, project: str, key: str = "", **changes: Any) -> None:
    """Save and enable the judge ``fits`` in a project."""
    saved = ask(
        collector,
        f"/api/v1/projects/{project}/rubric-judges/fits",
        key,
        method="PUT",
        body=json.dumps({**FITTING, **changes}).encode(),
        content_type="application/json",
    )
    assert saved.status == 200, saved.text


def count_fitting(collector: CollectorProcess, project: str, key: str = "") -> int:
    """Return how many runs of a project have a score of the judge ``fits``."""
    path = f"/api/v1/projects/{project}/sums?where=scores[%22fits%22]>=0"
    answer = ask(collector, path, key)
    assert answer.status == 200, answer.text
    runs: int = answer.json["total"]["runs"]
    return runs
