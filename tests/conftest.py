"""Fixtures shared by all tests."""

from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.support.collector import CollectorProcess


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CollectorProcess]:
    """A collector for one module; tests keep apart by their projects."""
    process = CollectorProcess(tmp_path_factory.mktemp("data"))
    try:
        process.wait_ready()
        yield process
    finally:
        process.kill()


@pytest.fixture
def own_collector(tmp_path: Path) -> Iterator[CollectorProcess]:
    """A collector for one test that stops, kills or restarts it."""
    process = CollectorProcess(tmp_path / "data")
    try:
        process.wait_ready()
        yield process
    finally:
        process.kill()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option under which nothing may be left out."""
    parser.addoption("--forbid-skips", action="store_true", help="a skipped test is a failure")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip into a failure when the run is meant to be complete."""
    report = yield
    if (
        report.skipped
        and not hasattr(report, "wasxfail")
        and item.config.getoption("--forbid-skips")
    ):
        report.outcome = "failed"
        report.longrepr = f"skipped, which this run forbids: {report.longrepr}"
    return report
