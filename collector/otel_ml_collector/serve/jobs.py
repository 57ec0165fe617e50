"""Runs the background jobs of the collector: which share a lane, and what happens if one fails."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from functools import partial
from typing import Final

from otel_ml_collector.background import BackgroundJob, StoreChanges
from otel_ml_collector.log import going_on
from otel_ml_collector.measures import rollup
from otel_ml_collector.serve.app import Collector
from otel_ml_collector.store import predictions
from otel_ml_collector.store.repair import Repair
from otel_ml_collector.store.sketches import SketchJob

# Seconds until a failed job runs again, at most.
_RETRY_S: Final = 60.0
_logger = logging.getLogger(__name__)


class Lane:
    """Runs its jobs one after the other. Jobs of other lanes do not delay them.

    Args:
        duties: The jobs. Jobs that are due at the same time run in this order.
        clock: Returns a monotonic time in seconds.
    """

    def __init__(self, *duties: BackgroundJob, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        now_s = clock()
        self._due_s = {job: now_s + job.first_s for job in duties}
        self._is_ending = False

    def skip_idle(self) -> bool:
        """Postpone the due jobs that have nothing to do; return whether a job has to run."""
        now_s = self._clock()
        due = [job for job, due_s in self._due_s.items() if due_s <= now_s]
        idle = [job for job in due if not job.has_work()]
        for job in idle:
            self._due_s[job] = now_s + job.every_s
        return len(idle) < len(due)

    def next_s(self) -> float:
        """Return the seconds until the next job is due."""
        return max(min(self._due_s.values()) - self._clock(), 0.0)

    def run(self) -> None:
        """Run the jobs that are due.

        A failed job runs again after a minute at the latest. It does not stop the others.
        """
        for job, due_s in self._due_s.items():
            now_s = self._clock()
            if now_s < due_s or self._is_ending:
                continue
            wait_s = min(job.every_s, _RETRY_S)
            with going_on(partial(self._report, job.trouble)):
                job.do()
                wait_s = job.every_s
            self._due_s[job] = now_s + wait_s

    def end(self) -> None:
        """Start no further job. The job in progress may fail without a line in the log."""
        self._is_ending = True

    async def run_for_ever(self, jobs: Executor) -> None:
        """Run the jobs on the executor's threads until cancelled."""
        while True:
            if self.skip_idle():
                await asyncio.get_running_loop().run_in_executor(jobs, self.run)
            await asyncio.sleep(self.next_s())

    def _report(self, trouble: str, error: Exception) -> None:
        if not self._is_ending:
            _logger.warning("%s: %s", trouble, error)


@contextmanager
def running(lanes: Sequence[Lane], jobs: Executor) -> Iterator[None]:
    """Run background jobs on other threads, for as long as the `with` block runs.

    Args:
        lanes: Groups of background jobs. The jobs of a group run one after the other, and different
            groups run at the same time.
        jobs: The thread pool for the jobs. Do not pass the default one of the event loop, because
            the event loop waits for its threads when it ends.
    """
    tasks = [asyncio.create_task(lane.run_for_ever(jobs)) for lane in lanes]
    try:
        yield
    finally:
        for lane in lanes:
            lane.end()
        for task in tasks:
            task.cancel()


def make_lanes(collector: Collector, clock: Callable[[], float] = time.monotonic) -> Sequence[Lane]:
    """Make the lanes of a collector's background jobs. Jobs of a lane run one after another."""
    connections = collector.connections
    # Only this process changes the keys in a data directory, so it rereads them rarely.
    keys_s = 2.0 if connections.folder is None else 60.0
    changes = StoreChanges(
        lambda: connections.folder is None or connections.may_be_merging(), clock
    )
    client = connections.open()
    lanes: list[Sequence[BackgroundJob]] = [
        collector.keyring.list_jobs(keys_s),
        collector.losses.list_jobs(changes),
        *collector.alerts.list_lanes(changes),
        collector.monitors.list_jobs(),
        collector.judges.list_jobs(),
        collector.runs.list_jobs(collector.calls.has_work),
        collector.health.list_jobs(),
        Repair(connections).list_jobs(),
        [
            *rollup.list_jobs(client, connections.memory, changes),
            *SketchJob(client, connections.memory, clock).list_jobs(changes),
            *predictions.list_jobs(client, changes),
        ],
        collector.uploads.list_jobs(lambda: collector.retention.trusts_clock),
        [
            *collector.deleter.list_jobs(),
            *collector.retention.list_jobs(),
            *collector.purger.list_jobs(),
        ],
    ]
    return [Lane(*jobs, clock=clock) for jobs in lanes]
