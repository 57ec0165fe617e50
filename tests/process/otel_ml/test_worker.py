"""Cases of tests/unit/otel_ml/test_worker.py that start processes."""

import os
import signal
from collections.abc import Iterator

import pytest

from tests.support.waiting import wait_until
from tests.unit.otel_ml.test_worker import WAIT_S, Echo


@pytest.fixture
def echo() -> Iterator[Echo]:
    echo = Echo()
    yield echo
    echo.worker.close(WAIT_S)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks")
@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_forked_child_starts_its_own(echo: Echo) -> None:
    """A forked child starts without the worker thread, and its first job starts a new one."""
    echo.put(1)
    wait_until(lambda: echo.done == [1], WAIT_S)
    child = os.fork()
    if child == 0:
        signal.alarm(2 * WAIT_S)
        status = 1
        try:
            is_new = not echo.worker.is_alive
            echo.put(2)
            wait_until(lambda: echo.done == [1, 2], WAIT_S)
            status = 0 if is_new and len(echo.threads) <= 2 else 1
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
