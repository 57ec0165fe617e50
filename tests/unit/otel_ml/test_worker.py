"""The background worker thread: it starts once, wakes in time, and restarts when needed."""

import signal
import sys
import threading
from collections import deque
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

import pytest

from otel_ml import worker as module
from otel_ml.worker import Worker
from tests.support.waiting import wait_until

WAIT_S = 10
THREADS = 8


class Echo:
    """A worker that takes jobs, and keeps the ids of the threads that ran them."""

    def __init__(self) -> None:
        self.jobs: deque[int] = deque()
        self.done: list[int] = []
        self.threads: set[int] = set()
        self.is_done = threading.Semaphore(0)  # released once per job
        self.worker = Worker("echo", self._run)

    def put(self, job: int) -> None:
        self.jobs.append(job)
        if self.worker.is_asleep:
            self.worker.wake()

    def _run(self) -> None:
        self.threads.add(threading.get_ident())
        while not self.worker.is_stopping:
            while self.jobs:
                self.done.append(self.jobs.popleft())
                self.is_done.release()
            self.worker.rest(lambda: self.jobs)


@pytest.fixture
def echo() -> Iterator[Echo]:
    echo = Echo()
    yield echo
    echo.worker.close(WAIT_S)


def test_one_thread_for_all_who_wake_it(echo: Echo) -> None:
    """Threads that add first jobs at the same time start one worker thread, which runs all jobs."""
    together = threading.Barrier(THREADS)

    def bring(first: int) -> None:
        together.wait(WAIT_S)
        for number in range(100):
            echo.put(first * 100 + number)

    threads = [threading.Thread(target=bring, args=[first]) for first in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    wait_until(lambda: len(echo.done) == THREADS * 100, WAIT_S)
    assert sorted(echo.done) == list(range(THREADS * 100))
    assert len(echo.threads) == 1


def test_job_that_comes_as_it_falls_asleep(echo: Echo) -> None:
    """None of 10,000 jobs waits, each added just as the previous one finishes."""
    for number in range(10_000):
        echo.put(number)
        assert echo.is_done.acquire(timeout=WAIT_S)
        assert len(echo.done) == number + 1


def test_no_thread_is_to_be_had(echo: Echo, monkeypatch: pytest.MonkeyPatch) -> None:
    """If no thread can be started, `wake` returns False, and the next job starts one."""

    def refuse(thread: threading.Thread) -> NoReturn:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as refusing:
        refusing.setattr(threading.Thread, "start", refuse)
        echo.jobs.append(1)
        assert echo.worker.wake() is False
    assert (echo.worker.is_alive, echo.worker.is_asleep) == (False, True)
    echo.put(2)
    wait_until(lambda: echo.done == [1, 2], WAIT_S)


def test_interrupted_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Later jobs run wherever a signal handler interrupts the first `wake`."""

    class Limit(Exception):
        pass

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        raise Limit

    class Striker:
        def __init__(self, left: int) -> None:
            self.left = left

        def __call__(self, frame: FrameType, event: str, arg: object) -> None:
            if frame.f_code.co_filename == module.__file__ and event in {"call", "c_return"}:
                self.left -= 1
                if self.left == -1:
                    signal.raise_signal(signal.SIGALRM)

    before = signal.signal(signal.SIGALRM, stop)
    struck = 0
    try:
        for at in range(200):
            echo, striker = Echo(), Striker(at)
            echo.jobs.append(1)
            try:
                sys.setprofile(striker)
                echo.worker.wake()
            except Limit:
                struck += 1
            finally:
                sys.setprofile(None)
            echo.put(2)
            wait_until(lambda echo=echo: echo.done == [1, 2], WAIT_S)  # type: ignore[misc]
            assert len(echo.threads) == 1
            echo.worker.close(WAIT_S)
            if striker.left >= 0:
                break
    finally:
        signal.signal(signal.SIGALRM, before)
    assert struck > 3


def test_work_that_ends_begins_again() -> None:
    """If the worker's function has ended, the next job starts another thread."""
    begun: list[threading.Thread] = []
    worker = Worker("ends", lambda: begun.append(threading.current_thread()))
    for count in (1, 2):
        assert worker.wake()
        wait_until(lambda count=count: len(begun) == count, WAIT_S)  # type: ignore[misc]
        begun[-1].join(WAIT_S)
        assert not worker.is_alive
    assert begun[0] is not begun[1]


def test_stopped_worker_starts_no_more(echo: Echo) -> None:
    """After `close` the worker's thread has ended, and `wake` returns False."""
    echo.put(1)
    wait_until(lambda: echo.done == [1], WAIT_S)
    echo.worker.close(WAIT_S)
    assert not echo.worker.is_alive
    assert echo.worker.wake() is False
