"""What the collector does again and again, on threads: one scheduler for all of it."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

# What failed is tried again by then.
_RETRY_S: Final = 60.0

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Duty:
    """Something to do again and again.

    Attributes:
        do: Does it once.
        every_s: Seconds from one time to the next.
        trouble: What the log says, before the reason, when it fails.
        first_s: Seconds to the first time.
    """

    do: Callable[[], object]
    every_s: float
    trouble: str
    first_s: float = 0.0


class Lane:
    """Does its duties one after the other; what another lane does meanwhile does not hold it up.

    Args:
        duties: Which; those that are due at once are done in this order.
        clock: Tells seconds that never fall.
    """

    def __init__(self, *duties: Duty, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        now_s = clock()
        self._due_s = {duty: now_s + duty.first_s for duty in duties}

    def run(self) -> float:
        """Do what is due; return in how many seconds something is due again.

        What failed is tried again after a minute at most, and keeps nothing else from being done.
        """
        for duty, due_s in self._due_s.items():
            now_s = self._clock()
            if now_s < due_s:
                continue
            wait_s = duty.every_s
            try:
                duty.do()
            except Exception as error:  # noqa: BLE001 - a border: it is tried again later
                _logger.warning("%s: %s", duty.trouble, error)
                wait_s = min(duty.every_s, _RETRY_S)
            self._due_s[duty] = now_s + wait_s
        return max(min(self._due_s.values()) - self._clock(), 0.0)

    async def run_for_ever(self) -> None:
        """Run on threads of the loop, until cancelled."""
        while True:
            await asyncio.sleep(await asyncio.to_thread(self.run))


@contextmanager
def running(lanes: Sequence[Lane]) -> Iterator[None]:
    """Run lanes beside what the event loop does within this block."""
    tasks = [asyncio.create_task(lane.run_for_ever()) for lane in lanes]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
