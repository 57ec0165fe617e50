"""Background jobs: each topic lists its own, and `serve.jobs` runs them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

# Seconds between two runs of a job while nothing is written. Results change even then: a day ends,
# or spans become older than 24 hours.
SELDOM_S: Final = 3_600.0


@dataclass(frozen=True, slots=True)
class BackgroundJob:
    """A job that runs repeatedly in the background.

    Attributes:
        do: Runs the job once.
        every_s: Seconds between two runs.
        trouble: Start of the log line if the job fails; the reason follows.
        first_s: Seconds until the first run.
        has_work: Returns whether there is anything to do. Called on the event loop, so that an idle
            collector wakes no thread.
    """

    do: Callable[[], object]
    every_s: float
    trouble: str
    first_s: float = 0.0
    has_work: Callable[[], bool] = lambda: True


class AfterWrites:
    """Decides whether a background job has to run now.

    While the store changes, the job runs each time. Otherwise, it runs every `seldom_s` seconds.

    Args:
        is_changing: Returns whether the store may be changing: this process wrote to it recently,
            or other processes can write to it.
        seldom_s: Seconds between two runs while the store does not change.
        clock: Returns a monotonic time in seconds.
    """

    def __init__(
        self, is_changing: Callable[[], bool], seldom_s: float, clock: Callable[[], float]
    ) -> None:
        self._is_changing = is_changing
        self._seldom_s = seldom_s
        self._clock = clock
        self._due_s = clock()

    def __call__(self) -> bool:
        """Return whether to run the job now. If so, it counts as run."""
        now_s = self._clock()
        if not self._is_changing() and now_s < self._due_s:
            return False
        self._due_s = now_s + self._seldom_s
        return True


@dataclass(frozen=True, slots=True)
class StoreChanges:
    """Whether the store may be changing, for jobs that then run more often.

    Attributes:
        are_likely: Returns whether this process wrote to the store recently, or other processes can
            write to it.
        clock: Returns a monotonic time in seconds.
    """

    are_likely: Callable[[], bool]
    clock: Callable[[], float]

    def after_writes(self, seldom_s: float = SELDOM_S) -> AfterWrites:
        """Return a condition for a job that runs each time only while the store changes."""
        return AfterWrites(self.are_likely, seldom_s, self.clock)
