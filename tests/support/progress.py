"""A pytest plugin that shows every 5 s how far a run is: ``pytest -p tests.support.progress``.

It replaces the dots of pytest, which stop while all workers run long tests.
"""

import os
import time
from collections.abc import Generator, Sequence
from threading import Event, Thread
from typing import Final

import pytest

EVERY_S: Final = 5.0


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that changes the interval."""
    parser.addoption("--progress-every", type=float, default=EVERY_S, metavar="SECONDS")


def pytest_configure(config: pytest.Config) -> None:
    """Watch the run in the process that receives the reports of all tests."""
    if not hasattr(config, "workerinput"):
        watch = _Watch(config.getoption("--progress-every"))
        config.pluginmanager.register(watch)
        config.add_cleanup(watch.close)


def write_progress(
    spent_s: float, done: int, total: int, running: Sequence[tuple[str, float]]
) -> str:
    """Write the line of one moment.

    Args:
        spent_s: Seconds since the run began.
        done: Number of finished tests.
        total: Number of all tests. 0 while they are collected.
        running: The tests that run now, with their seconds, and the oldest first.
    """
    if not total:
        return f"{spent_s:6.0f} s: collecting tests"
    line = f"{spent_s:6.0f} s: {done:,} of {total:,} tests"
    test, running_s = running[0] if running else ("", 0.0)
    return line if running_s < EVERY_S else f"{line}; for {running_s:.0f} s in {test}"


class _Watch:
    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._began_s = time.monotonic()
        self._total = 0
        self._done = 0
        self._running: dict[str, float] = {}
        self._ended = Event()
        self._output = os.dup(1)  # during a test, pytest replaces file 1
        self._thread = Thread(target=self._show, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        os.close(self._output)

    def _show(self) -> None:
        while not self._ended.wait(self._every_s):
            now_s = time.monotonic()
            running = [(test, now_s - began_s) for test, began_s in self._running.copy().items()]
            line = write_progress(now_s - self._began_s, self._done, self._total, running)
            os.write(self._output, f"{line}\n".encode(errors="replace"))

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._total = self._total or len(session.items)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: Sequence[str]) -> None:
        self._total = len(ids)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._running[nodeid] = time.monotonic()

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self._running.pop(nodeid, None)
        self._done += 1

    def pytest_sessionfinish(self) -> None:
        self._ended.set()

    @pytest.hookimpl(wrapper=True)
    def pytest_report_teststatus(
        self,
    ) -> Generator[None, tuple[str, str, object], tuple[str, str, object]]:
        category, _, word = yield
        return category, "", word
