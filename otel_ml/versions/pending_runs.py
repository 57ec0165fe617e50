"""Finished runs that wait for their version, because model weights are still being hashed."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from otel_ml.errors import quiet
from otel_ml.process import END, renew_in_child

_MOST_PENDING: Final = 1_000
_EXIT_S: Final = 2.0
# Python lets a busy thread run for 5 ms before it switches, so sleep briefly after 0.5 ms of work
_BUSY_S: Final = 0.0005
_YIELD_S: Final = 0.00005


class Job:
    """A background task that runs wait for, such as hashing model weights."""

    def __init__(self) -> None:
        self.done = threading.Event()


class PendingRuns:
    """Finished runs that are sent later, because model weights are still being hashed.

    At most 1,000 runs wait in a process.
    """

    def __init__(self) -> None:
        # reentrant: a finalizer may end a run while this thread holds it
        self._changed = threading.Condition(threading.RLock())
        self._pending: list[tuple[Sequence[Job], Callable[[], None]]] = []
        self._giving = 0

    def hold(self, jobs: Sequence[Job], give: Callable[[], None]) -> bool:
        """Keep a finished run until background jobs, such as hashing model weights, are done.

        Args:
            jobs: The background jobs.
            give: Function that sends the run. It is called when the jobs are done.

        Returns:
            False if the run is not kept, because the jobs are done already, too many runs wait or
            the process ends. Call `give` yourself in that case.
        """
        with self._changed:
            if len(self._pending) >= _MOST_PENDING or _are_done(jobs) or END.has_begun:
                return False
            self._pending.append((jobs, give))
            return True

    def send_ready(self, *, all_of_them: bool = False) -> None:
        """Send the runs whose jobs are finished, or all runs."""
        ready: list[Callable[[], None]] = []
        with self._changed:
            pending, self._pending = self._pending, []
            for jobs, give in pending:
                if all_of_them or _are_done(jobs):
                    ready.append(give)
                else:
                    self._pending.append((jobs, give))
            self._giving += len(ready)
        began_s = time.perf_counter()
        for give in ready:
            if time.perf_counter() - began_s > _BUSY_S:  # many runs may be ready
                time.sleep(_YIELD_S)
                began_s = time.perf_counter()
            with quiet("version"):
                give()
            with self._changed:
                self._giving -= 1
                self._changed.notify_all()

    def drain(self, timeout_s: float) -> int:
        """Wait at most `timeout_s` seconds until all runs are sent. Return how many are left."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while self._pending or self._giving:
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(left)
            return len(self._pending) + self._giving

    def close(self, timeout_s: float = _EXIT_S) -> None:
        """Wait up to `timeout_s` seconds, then send all runs.

        Runs whose model weights are not hashed by then are sent without a version.
        """
        self.drain(timeout_s)
        self.send_ready(all_of_them=True)

    def restart_in_child(self) -> None:
        """Reset in a forked child. The waiting runs belong to the parent."""
        self.__init__()  # type: ignore[misc]  # nothing else refers to it


def _are_done(jobs: Sequence[Job]) -> bool:
    return all(job.done.is_set() for job in jobs)


PENDING_RUNS: Final = PendingRuns()
renew_in_child(PENDING_RUNS.restart_in_child)
