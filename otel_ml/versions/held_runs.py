"""Finished runs that wait until their version is known, because weights are still being read."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from otel_ml.errors import quiet
from otel_ml.process import renew_in_child

_MOST_HELD: Final = 1_000
_EXIT_S: Final = 2.0


class Job:
    """Something that is being read: a run may wait for it."""

    def __init__(self) -> None:
        self.done = threading.Event()


class HeldRuns:
    """The runs of this process that wait, at most 1,000 of them."""

    def __init__(self) -> None:
        # A finalizer may end a run while this thread holds it.
        self._changed = threading.Condition(threading.RLock())
        self._held: list[tuple[Sequence[Job], Callable[[], None]]] = []
        self._giving = 0

    def hold(self, jobs: Sequence[Job], give: Callable[[], None]) -> bool:
        """Call `give` once all jobs are done; returns False where that is to be done at once."""
        with self._changed:
            if len(self._held) >= _MOST_HELD or _are_done(jobs):
                return False
            self._held.append((jobs, give))
            return True

    def look(self, *, all_of_them: bool = False) -> None:
        """Give the held runs whose jobs are done, or all of them."""
        ready: list[Callable[[], None]] = []
        with self._changed:
            held, self._held = self._held, []
            for jobs, give in held:
                if all_of_them or _are_done(jobs):
                    ready.append(give)
                else:
                    self._held.append((jobs, give))
            self._giving += len(ready)
        for give in ready:
            with quiet("version"):
                give()
            with self._changed:
                self._giving -= 1
                self._changed.notify_all()

    def drain(self, timeout_s: float) -> int:
        """Wait until nothing waits; returns how many runs still do."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while self._held or self._giving:
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(left)
            return len(self._held) + self._giving

    def close(self, timeout_s: float = _EXIT_S) -> None:
        """Wait a little, then give all as they are: their runs name no version."""
        self.drain(timeout_s)
        self.look(all_of_them=True)

    def restart_in_child(self) -> None:
        """Begin anew in a forked child: the held runs are its parent's."""
        self.__init__()  # type: ignore[misc]  # nothing else holds it


def _are_done(jobs: Sequence[Job]) -> bool:
    return all(job.done.is_set() for job in jobs)


HELD: Final = HeldRuns()
renew_in_child(HELD.restart_in_child)
