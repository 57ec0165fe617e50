"""The thread that works for others: it starts at the first job, sleeps, wakes, ends in time.

A finaliser and a signal's handler may wake it in the middle of anything, so no lock is taken: what
may happen meanwhile stands in docs/design/024-interruptions.md.
"""

import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Final

from otel_ml.errors import hand_on
from otel_ml.loading import start_apart
from otel_ml.process import renew_each_in_child


class Worker:
    """A daemon thread of the package, outside every run; a forked child begins without it.

    Attributes:
        is_asleep: Whether it has to be woken for a new job: asked at each job, it spares `wake`.
        is_stopping: Whether its work is to return.

    Args:
        name: Of the thread.
        work: Returns once `is_stopping`. Where it ends otherwise the next `wake` starts it again.
    """

    def __init__(self, name: str, work: Callable[[], object]) -> None:
        self._name = name
        self._work = work
        self.renew()
        _WORKERS.add(self)

    def renew(self) -> None:
        """Begin without a thread, as in a forked child."""
        self.is_asleep = True
        self.is_stopping = False
        self._tokens: SimpleQueue[None] = SimpleQueue()
        self._starts: dict[None, list[None]] = {}  # the start that is under way, or was made
        self._thread: threading.Thread | None = None

    @property
    def is_alive(self) -> bool:
        """Whether it runs, or is being started."""
        return bool(self._starts)

    @property
    def is_this_thread(self) -> bool:
        """Whether the caller runs on it: it must never wait for itself."""
        return threading.current_thread() is self._thread

    # On the thread of a caller.

    def wake(self) -> bool:
        """Let it look for jobs, also for those that come until then.

        Returns:
            False where no thread is to be had: too many run, the interpreter ends, or it was
            stopped.
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
        """Let its work return."""
        self.is_stopping = True
        self._tokens.put(None)

    def close(self, timeout_s: float) -> None:
        """Let its work return, and wait for that, unless this is its own thread."""
        self.stop()
        if self._thread is not None and not self.is_this_thread:
            self._thread.join(timeout_s)

    def _start(self) -> bool:
        if self.is_stopping:
            return False
        right: list[None] = [None]  # to begin: the thread takes it, or who could not start it does
        arguments = (self._starts, right)
        thread = threading.Thread(target=self._run, args=arguments, name=self._name, daemon=True)
        is_begun = False
        try:
            if self._starts.setdefault(None, right) is right:
                start_apart(thread)
            is_begun = True
        except RuntimeError as error:
            hand_on(error)
        finally:
            if not is_begun and self._starts.get(None) is right:
                with suppress(IndexError):
                    right.pop()
                    del self._starts[None]
        return is_begun

    # On its thread.

    def rest(self, has_jobs: Callable[[], object], timeout_s: float | None = None) -> None:
        """Sleep until it is woken, or for some time; not at all while there are jobs."""
        self.is_asleep = True
        if not has_jobs():  # a job that came before it slept woke nobody
            self.pause(timeout_s)
        self.is_asleep = False

    def pause(self, timeout_s: float | None) -> None:
        """Sleep until somebody calls `wake` or `stop`, though not for a job that comes alone."""
        with suppress(Empty):
            self._tokens.get(timeout=timeout_s)

    def _run(self, starts: dict[None, list[None]], right: list[None]) -> None:
        try:
            right.pop()
        except IndexError:  # who started it was interrupted, and does not know of it
            return
        self._thread = threading.current_thread()
        try:
            self._work()
        finally:
            del starts[None]
            self.is_asleep = True


_WORKERS: Final["weakref.WeakSet[Worker]"] = renew_each_in_child(Worker.renew)
