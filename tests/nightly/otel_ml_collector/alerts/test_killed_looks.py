"""Slow cases of tests/process/otel_ml_collector/alerts/test_killed_looks.py."""

import json
import random
import shutil
from pathlib import Path
from typing import Final

import pytest

from tests.process.otel_ml_collector.alerts.test_killed_looks import (
    LOOKS_NS,
    Moment,
    Undisturbed,
    check,
    fill,
    finish,
    heard,
    run_process,
)
from tests.support.otlp_sink import http_sink

# Kills by count: the number of sequences, and of kills in each.
_COURSES: Final = 3


_KILLS: Final = 8


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create a data directory with the runs and rules, before any pass."""
    folder = tmp_path_factory.mktemp("course") / "data"
    assert run_process(fill, folder) == 0
    return folder


@pytest.fixture(scope="module")
def undisturbed(course: Path, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """Return the outcome if nothing is killed."""
    folder = tmp_path_factory.mktemp("undisturbed") / "data"
    shutil.copytree(course, folder, symlinks=True)
    with http_sink(takes_otlp=False) as sink:
        assert finish(folder, sink, []) == 0
    outcome = json.loads((folder / "outcome").read_text())
    return Undisturbed(outcome, outcome.pop("calls"), heard(sink))


@pytest.mark.parametrize("seed", range(_COURSES))
def test_killed_again(seed: int, course: Path, undisturbed: Undisturbed, tmp_path: Path) -> None:
    """A sequence whose processes are killed one after the other ends like an undisturbed one."""
    folder = tmp_path / "data"
    shutil.copytree(course, folder, symlinks=True)
    draw = random.Random(seed)  # noqa: S311 - not for secrets
    most = undisturbed.calls // len(LOOKS_NS)
    moments = [Moment(times=draw.randint(1, most)) for _ in range(_KILLS)]
    with http_sink(takes_otlp=False) as sink:
        kills = finish(folder, sink, moments)
        check(json.loads((folder / "outcome").read_text()), sink, undisturbed)
    assert kills >= _KILLS // 2
