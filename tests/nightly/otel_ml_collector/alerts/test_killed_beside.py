"""Slow cases of tests/process/otel_ml_collector/alerts/test_killed_beside.py."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.otel_ml_collector.alerts.test_killed_beside import (
    keep_running,
    read_ended,
    run_both,
    serve,
)
from tests.process.otel_ml_collector.alerts.test_killed_looks import (
    MOMENTS,
    Undisturbed,
    check,
    fill,
    heard,
    run_process,
)
from tests.support.otlp_sink import http_sink


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a server with the runs and the rules, at which no process has looked."""
    folder = tmp_path_factory.mktemp("course")
    assert run_process(fill, folder) == 0
    (folder / "store/status").unlink(missing_ok=True)  # names the process that had it open
    return folder / "store"


@pytest.fixture
def url(course: Path, tmp_path: Path) -> Iterator[str]:
    """A server with the course, for one test."""
    with serve(course, tmp_path) as address:
        yield address


@pytest.fixture(scope="module")
def undisturbed(course: Path, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """The outcome of the course of a collector alone that nobody kills."""
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "second-gone").touch()
    with http_sink(takes_otlp=False) as sink, serve(course, folder) as address:
        assert not keep_running(folder, address, "first", sink, [], comes_back=False)
    outcome = read_ended(folder)
    assert len(sink.requests) == len(outcome["notifications"]) == 7  # each is sent once
    return Undisturbed(outcome, outcome.pop("calls"), heard(sink))


@pytest.mark.parametrize("name", MOMENTS)
def test_first_is_killed(name: str, url: str, undisturbed: Undisturbed, tmp_path: Path) -> None:
    """One of two that is killed at a moment, and does not come back, is not missed."""
    with http_sink(takes_otlp=False) as sink:
        kills = run_both(tmp_path, url, sink, [[MOMENTS[name]], []], comes_back=False)
        check(read_ended(tmp_path), sink, undisturbed)
    # The other may have stored or sent it before the first came to that moment.
    assert kills in ([1, 0], [0, 0])
