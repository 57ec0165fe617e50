"""A background thread that starts at the first job, sleeps when idle and stops on time.

All threads end before the interpreter does. A thread that is inside native code such as PyTorch at
that moment would abort the process.

Finalizers and signal handlers may wake it in the middle of any code, so it takes no lock.
docs/design/024-interruptions.md lists the possible interruptions.
"""

import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from typing import Final

from otel_ml.errors import reraise_host_error
from otel_ml.loading import start_detached
from otel_ml.process import END, renew_each_in_child

_LAST_S: Final = 10.0  # wait for native code at exit, such as the copy of a large tensor
_END_POLL_S: Final = 0.01
_AWAY: Final[set[int]] = set()  # IDs of threads


class Worker:
    """A background thread that is started on demand and sleeps while it has no jobs.

    It is a daemon thread. Spans that it creates do not become children of the caller's run. A
    forked child starts without the thread.

    Attributes:
        is_asleep: True if the thread sleeps or is not started. If it is False, you need not call
            `wake` for a new job, which saves time.
        is_stopping: True once `stop` or `close` was called. `work` should then return.

    Args:
        name: Name of the thread.
        work: Function that the thread runs. It should return when `is_stopping` is True. If it
            returns earlier, the next `wake` starts it again.
    """

    def __init__(self, name: str, work: Callable[[], object]) -> None:
        self._name = name
        self._work = work
        self.renew()
        _WORKERS.add(self)

    def renew(self) -> None:
        """Forget the thread, because a forked child does not have it."""
        self.is_asleep = True
        self.is_stopping = False
        self._tokens: SimpleQueue[None] = SimpleQueue()
        # the start in progress, or the one that succeeded
        self._starts: dict[None, list[None]] = {}
        self._thread: threading.Thread | None = None

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs or is being started."""
        return bool(self._starts)

    @property
    def is_this_thread(self) -> bool:
        """Whether the caller runs in this thread. The thread must not wait for itself."""
        return threading.current_thread() is self._thread

    # Methods that other threads call.

    def wake(self) -> bool:
        """Wake the thread, starting it if necessary.

        Returns:
            True if the thread runs. False if it cannot be started, because the worker was stopped,
            there are too many threads, or the interpreter is shutting down.
        """
        is_woken = False
        try:
            self.is_asleep = False
            if self._starts or self._start():
                self._tokens.put(None)
                is_woken = True
        finally:
            if not is_woken:
                self.is_asleep = True  # the next job tries again
        return is_woken

    def stop(self) -> None:
        """Ask the thread to end, without waiting for it."""
        self.is_stopping = True
        self._tokens.put(None)

    def close(self, timeout_s: float) -> None:
        """Ask the thread to end and wait for it. If called in the thread itself, do not wait."""
        self.stop()
        if self._thread is not None and not self.is_this_thread:
            self._thread.join(timeout_s)

    def end(self, deadline: float) -> None:
        """Wait until the thread has ended, or waits for the network, where it may be left.

        Args:
            deadline: Longest time to wait, as a value of `time.monotonic`.
        """
        while self.is_alive and not self.is_this_thread and time.monotonic() < deadline:
            thread = self._thread
            if thread is None:  # it is being started
                time.sleep(_END_POLL_S)
            elif thread.ident in _AWAY:
                return
            else:
                thread.join(_END_POLL_S)

    def _start(self) -> bool:
        if self.is_stopping or END.is_over:
            return False
        # permission to start: taken by the new thread, or by the caller if the start failed
        right: list[None] = [None]
        arguments = (self._starts, right)
        thread = threading.Thread(target=self._run, args=arguments, name=self._name, daemon=True)
        is_begun = False
        try:
            if self._starts.setdefault(None, right) is right:
                start_detached(thread)
            is_begun = True
        except RuntimeError as error:
            reraise_host_error(error)
        finally:
            if not is_begun and self._starts.get(None) is right:
                with suppress(IndexError):
                    right.pop()
                    del self._starts[None]
        return is_begun

    # Methods that run in the thread itself.

    def rest(self, has_jobs: Callable[[], object], timeout_s: float | None = None) -> None:
        """Sleep until `wake` is called or until the timeout.

        If there are jobs, return immediately.
        """
        self.is_asleep = True
        if not has_jobs():  # a job that arrived before the thread slept did not wake it
            self.pause(timeout_s)
        self.is_asleep = False

    def pause(self, timeout_s: float | None) -> None:
        """Sleep until `wake` or `stop` is called, or until the timeout.

        Unlike `rest`, it sleeps even if there are jobs.
        """
        with suppress(Empty):
            self._tokens.get(timeout=timeout_s)

    def _run(self, starts: dict[None, list[None]], right: list[None]) -> None:
        try:
            right.pop()
        except IndexError:  # the caller that started it was interrupted and does not know about it
            return
        self._thread = threading.current_thread()
        try:
            self._work()
        finally:
            del starts[None]
            self.is_asleep = True


@contextmanager
def away() -> Iterator[None]:
    """Mark that this thread only waits for the network. The end of the process need not wait."""
    ident = threading.get_ident()
    _AWAY.add(ident)
    try:
        yield
    finally:
        _AWAY.discard(ident)


def _end_all() -> None:
    workers = list(_WORKERS)
    for worker in workers:
        worker.stop()
    deadline = time.monotonic() + _LAST_S
    for worker in workers:
        worker.end(deadline)


END.call_last(_end_all)
_WORKERS: Final["weakref.WeakSet[Worker]"] = renew_each_in_child(Worker.renew)
