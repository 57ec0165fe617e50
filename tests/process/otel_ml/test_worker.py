"""Cases of tests/unit/otel_ml/test_worker.py that start processes."""

import os
import signal
import time
from collections.abc import Iterator

import pytest

from tests.support.collector import wait_until
from tests.unit.otel_ml.test_worker import WAIT_S, Echo


@pytest.fixture
def echo() -> Iterator[Echo]:
    echo = Echo()
    yield echo
    echo.worker.close(WAIT_S)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks")
@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_forked_child_starts_its_own(echo: Echo) -> None:
    """A forked child begins without the thread, and its first job starts one there."""
    echo.put(1)
    wait_until(lambda: echo.done == [1], WAIT_S)
    child = os.fork()
    if child == 0:
        signal.alarm(WAIT_S)
        is_new = not echo.worker.is_alive
        echo.put(2)
        while echo.done != [1, 2]:
            time.sleep(0.01)
        os._exit(0 if is_new and len(echo.threads) <= 2 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
