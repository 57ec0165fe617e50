"""The background jobs of the collector: when each runs, and on which lane."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

from otel_ml_collector.alerts.evaluation import EVALUATE_S
from otel_ml_collector.judges.job import RUN_EVERY_S
from otel_ml_collector.log import going_on
from otel_ml_collector.measures.rollup import recompute_due
from otel_ml_collector.receive.health import PROBE_EVERY_S
from otel_ml_collector.serve.app import Collector
from otel_ml_collector.store.connection import Memory
from otel_ml_collector.store.predictions import keep_due
from otel_ml_collector.store.repair import Repair
from otel_ml_collector.store.retention import Retention
from otel_ml_collector.store.sketches import SketchJob
from otel_ml_collector.store.sql import StoreClient

# Seconds until a failed job runs again, at most.
_RETRY_S: Final = 60.0
# Seconds between two runs of a job while nothing is written. Results change even then: a day ends,
# or spans become older than 24 hours.
_DAYS_S: Final = 3_600.0
_LOSSES_S: Final = 600.0

_logger = logging.getLogger(__name__)


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
    rollup = collector.connections.open()
    # Only this process changes the keys in a data directory, so it rereads them rarely.
    keys_s = 2.0 if collector.connections.folder is None else 60.0
    disorder = "Replaced files of the store could not be removed"
    unwritten = "Failed writes could not be repaired"

    def is_changing() -> bool:
        return collector.connections.folder is None or collector.connections.may_be_merging()

    def after_writes(seldom_s: float) -> AfterWrites:
        return AfterWrites(is_changing, seldom_s, clock)

    lanes = (
        # If another collector at the same store revokes a key, the key stops working here within
        # 3 s, and its streams end.
        (
            BackgroundJob(
                collector.keyring.refresh, keys_s, "API keys could not be reloaded", first_s=keys_s
            ),
        ),
        (
            BackgroundJob(
                lambda: collector.losses.run_pass(time.time_ns()),
                60.0,
                "Missing spans could not be counted",
                has_work=after_writes(_LOSSES_S),
            ),
        ),
        (
            BackgroundJob(
                lambda: collector.series.run_pass(time.time_ns()),
                30.0,
                "Metrics of drift, slices, ground truth and experiments could not be computed",
                first_s=30.0,
            ),
        ),
        (
            BackgroundJob(
                lambda: collector.monitors.run_pass(time.time_ns()),
                30.0,
                "Pages of Monitor could not be prefetched",
                first_s=30.0,
            ),
        ),
        *(
            (
                (
                    BackgroundJob(
                        evaluator.evaluate,
                        EVALUATE_S,
                        "Alert rules could not be evaluated",
                        first_s=5.0,
                        has_work=lambda: evaluator.numbers.rules > 0 or is_changing(),
                    ),
                ),
            )
            if (evaluator := collector.alert_evaluator)
            else ()
        ),
        (
            BackgroundJob(
                collector.filed_judges.save,
                RUN_EVERY_S,
                "The judges of the configuration file could not be saved",
                has_work=collector.filed_judges.has_work,
            ),
            BackgroundJob(
                collector.rubric_judges.run_pass,
                RUN_EVERY_S,
                "Rubric judges could not run",
                first_s=RUN_EVERY_S,
                has_work=collector.rubric_judges.has_work,
            ),
        ),
        # Counts runs once it is known whether another run records the same call.
        (
            BackgroundJob(
                collector.runs.count_pending,
                0.25,
                "New runs are not counted in /metrics yet. The collector retries; if this line "
                "repeats, check the disk and the store. Reason",
                has_work=lambda: collector.runs.has_pending() or collector.calls.has_work(),
            ),
        ),
        # Probes the store only after a failed write.
        (
            BackgroundJob(
                collector.health.probe,
                PROBE_EVERY_S,
                "The store could not be checked",
                has_work=collector.health.has_trouble,
            ),
        ),
        # Every 2 s, long before the store removes the intact files that a repair needs.
        (
            BackgroundJob(
                Repair(collector.connections).run_pass,
                2.0,
                unwritten,
                first_s=2.0,
                has_work=collector.connections.may_be_merging,
            ),
        ),
        # Only speeds up statistics: without the totals they are correct but slow.
        (
            BackgroundJob(
                lambda: _roll_up(rollup, collector.connections.memory),
                30.0,
                "Daily totals could not be computed",
                has_work=after_writes(_DAYS_S),
            ),
            BackgroundJob(
                SketchJob(rollup, collector.connections.memory, clock).run,
                30.0,
                "Sketches of fields could not be computed",
                has_work=after_writes(_DAYS_S),
            ),
            BackgroundJob(
                lambda: keep_due(rollup, clock),
                30.0,
                "Predictions could not be materialized",
                has_work=after_writes(_DAYS_S),
            ),
        ),
        (
            BackgroundJob(
                lambda: _delete_unnamed(collector),
                3_600.0,
                "Artifacts that no record refers to could not be deleted",
                first_s=60.0,  # after the first pass of retention, which checks the clock
            ),
        ),
        (
            BackgroundJob(
                collector.deleter.complete,
                60.0,
                disorder,
                has_work=collector.deleter.may_be_undone,
            ),
            BackgroundJob(lambda: _delete_old(collector.retention), 3_600.0, disorder),
            BackgroundJob(lambda: _go_on(collector.retention), 5.0, disorder, first_s=5.0),
            BackgroundJob(collector.purger.purge, 86_400.0, disorder, first_s=86_400.0),
        ),
    )
    return [Lane(*duties, clock=clock) for duties in lanes]


def _roll_up(client: StoreClient, memory: Memory) -> None:
    days = recompute_due(client, memory)
    if days:
        _logger.debug("Daily totals were computed for %d days", days)


def _delete_old(retention: Retention) -> None:
    swept = retention.sweep()
    if swept.error:
        _logger.warning("%s", swept.error)
    if swept.rows:
        rows = ", ".join(f"{table} {number}" for table, number in swept.rows.items())
        _logger.info("Retention deleted rows: %s", rows)


def _go_on(retention: Retention) -> None:
    """Delete old records again as soon as there is evidence that the clock is right."""
    if retention.can_go_on():
        _logger.info("Retention deletes old data again: the clock is right")
        _delete_old(retention)


def _delete_unnamed(collector: Collector) -> None:
    if collector.retention.trusts_clock:
        collector.uploads.sweep()
